//! Where the recordings of tries are.

use super::{
    InstanceKey, Store, StoreError,
    db::{self, FromRow, Row},
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

impl FromRow for RecordingRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        Ok(Self {
            instance: InstanceKey::from_row(row)?,
            try_number: row.try_get("try_number")?,
            size_bytes: row.try_get("size_bytes")?,
            created_at: row.try_get("created_at")?,
            blob: row.try_get("blob")?,
        })
    }
}

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
