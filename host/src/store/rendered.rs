//! What templates became.

use std::collections::HashMap;

use super::{
    InstanceKey, Store, StoreError,
    codec::json,
    commit::key,
    db::{self, Row, each},
};

impl Store {
    /// What the templates of these tries became, of those that have any.
    pub async fn rendered_fields_list(
        &self,
        tries: &[(InstanceKey, u32)],
    ) -> Result<HashMap<(InstanceKey, u32), String>, StoreError> {
        let wanted = tries.iter().map(|(instance, try_number)| {
            let (dag_run, task_id, map_index) = key(instance);
            (dag_run, task_id, map_index, try_number)
        });
        let rows = db::query(each!("rendered_fields_list"))
            .bind(json(&wanted.collect::<Vec<_>>())?)
            .fetch_all(self.readers())
            .await?;
        let entry = |row: Row| {
            let (dag_run, task_id, map_index) =
                (row.try_get("dag_run")?, row.try_get("task_id")?, row.try_get("map_index")?);
            let instance = InstanceKey { dag_run, task_id, map_index };
            Ok(((instance, row.try_get("try_number")?), row.try_get("fields")?))
        };
        rows.into_iter().map(entry).collect()
    }
}
