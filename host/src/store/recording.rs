//! Where the recordings of tries are.

use super::{
    InstanceKey, Store, StoreError,
    db::{self, from_row},
};
use crate::model::time::Timestamp;

/// A recording of one try, in object storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingRow {
    pub instance: InstanceKey,
    pub try_number: u32,
    pub size_bytes: i64,
    pub created_at: Timestamp,
    pub blob: String,
}

from_row!(RecordingRow { try_number, size_bytes, created_at, blob, ..instance });

impl Store {
    /// An instance's recordings, of the last try first; at most 1,000.
    pub async fn recording_list(&self, instance: &InstanceKey) -> Result<Vec<RecordingRow>, StoreError> {
        let query = db::query_as(include_str!("sql/recording_list.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index);
        Ok(query.fetch_all(self.readers()).await?)
    }

    pub async fn recording_get(
        &self,
        instance: &InstanceKey,
        try_number: u32,
    ) -> Result<Option<RecordingRow>, StoreError> {
        let query = db::query_as(include_str!("sql/recording_get.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(try_number);
        Ok(query.fetch_optional(self.readers()).await?)
    }
}
