//! Attempts that were in flight when their server died: what they stored, and no row names, is garbage.

use super::{
    InstanceKey, Store, StoreError,
    db::{self, Query, from_row},
};
use crate::model::time::Timestamp;

/// An attempt of which the server that began it never heard the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostAttempt {
    pub instance: InstanceKey,
    pub try_number: u32,
    pub restart: u32,
}

from_row!(LostAttempt { try_number, restart: "restarts", ..instance });

impl LostAttempt {
    /// Its row, if it is there and the attempt is not in flight: a task instance that was deleted and came back may be at the same try.
    fn forget(&self) -> Query {
        let Self { instance: InstanceKey { dag_run, task_id, map_index }, try_number, restart } = self;
        let query = db::query(include_str!("sql/lost_attempt_forget.sql"));
        query.bind(*dag_run).bind(task_id).bind(*map_index).bind(*try_number).bind(*restart)
    }
}

impl Store {
    /// Notes all attempts that are in flight as lost, for who begins to lead and starts them again after this. Answers how many there are.
    pub async fn lost_attempt_note(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(db::query(include_str!("sql/lost_attempt_note.sql")).bind(now)).await
    }

    /// Some of those that were lost by `until`.
    pub async fn lost_attempt_list(&self, until: Timestamp, limit: u32) -> Result<Vec<LostAttempt>, StoreError> {
        let query = db::query_as(include_str!("sql/lost_attempt_list.sql")).bind(until).bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Forgets lost attempts, and takes the objects that were found of each for garbage, but for those that rows name. One that is in
    /// flight again stays as it is.
    ///
    /// The objects must have been found before this is called: whatever the same attempt stores from then on is none of them.
    pub async fn lost_attempt_settle(&self, found: &[(LostAttempt, Vec<String>)]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for (attempt, blobs) in found {
            if attempt.forget().execute(&mut *transaction).await? == 0 || blobs.is_empty() {
                continue;
            }
            let InstanceKey { dag_run, task_id, map_index } = &attempt.instance;
            let named = db::query_scalar(include_str!("sql/blob_list_of_instance.sql"));
            let named = named.bind(*dag_run).bind(task_id).bind(*map_index);
            let named: Vec<String> = named.fetch_all(&mut *transaction).await?;
            for blob in blobs.iter().filter(|blob| !named.contains(blob)) {
                db::query(include_str!("sql/garbage_add.sql")).bind(blob).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await
    }
}
