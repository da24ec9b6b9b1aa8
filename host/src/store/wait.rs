//! What task instances wait for.

use super::{
    InstanceKey, Store, StoreError, WaitRow,
    db::{self, FromRow, Row},
};

/// Rows that are read at a time.
const PAGE: u32 = 5_000;

impl FromRow for WaitRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let condition: String = row.try_get("condition")?;
        Ok(Self {
            instance: InstanceKey::from_row(row)?,
            wait: serde_json::from_str(&condition).map_err(|error| sqlx::Error::Decode(error.into()))?,
        })
    }
}

impl Store {
    /// The next of all waits, ascending by instance; those after `after`. Empty: there are no more.
    pub async fn wait_list(&self, after: Option<&InstanceKey>) -> Result<Vec<WaitRow>, StoreError> {
        let (run, task_id, map_index) =
            after.map_or((i64::MIN, "", -1), |key| (key.dag_run.0, key.task_id.as_str(), key.map_index));
        let query = db::query_as(include_str!("sql/wait_list.sql")).bind(run).bind(task_id).bind(map_index).bind(PAGE);
        Ok(query.fetch_all(self.readers()).await?)
    }
}
