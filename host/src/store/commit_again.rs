//! A commit whose answer did not come: it may have been made all the same.
//!
//! Made twice, most parts of a commit come to the same. Not so new rows, which would be refused or be there twice, and tries that
//! are copied to the history before the next one overwrites them: the second time they would be copies of that. Whether those are
//! there tells whether all of it is.

use super::{
    Commit, EventNew, InstanceKey, InstanceUpdate, Store, StoreError,
    db::{self, Connection},
};
use crate::model::time::Timestamp;

/// A row from which it can be told whether the commit was made.
enum Sign<'a> {
    Run(&'a super::DagRunNew),
    AssetEvent(i64),
    /// It was not there before.
    Instance(&'a InstanceKey),
    /// It was of another try, or had not been cleared.
    Changed(&'a InstanceUpdate),
    /// Of the audit log.
    Event(&'a EventNew),
}

impl Commit {
    /// None if it may be made twice.
    fn sign(&self) -> Option<Sign<'_>> {
        if let Some(run) = self.dag_runs_new.first() {
            return Some(Sign::Run(run));
        }
        if let Some(event) = self.asset_events.first() {
            return Some(Sign::AssetEvent(event.key));
        }
        let is_gone = |key: &InstanceKey| self.instances_gone.contains(key);
        if let Some(new) = self.instances_new.iter().find(|new| !is_gone(&new.key)) {
            return Some(Sign::Instance(&new.key));
        }
        if let Some(event) = self.events.first() {
            return Some(Sign::Event(event));
        }
        let history = self.histories.first()?;
        self.instances.iter().find(|instance| instance.key == history.key).map(Sign::Changed)
    }
}

impl Store {
    /// As [`Store::commit`], for a batch with which that failed as [`StoreError::Unavailable`]: makes its changes unless they were
    /// made then.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub async fn commit_again(&self, batch: &Commit) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        // The last connection's transaction is over from here on, whatever became of it.
        self.lease_advance(&mut writer).await?;
        let was_made = match batch.sign() {
            Some(sign) => sign.is_there(&mut writer.connection).await?,
            None => false,
        };
        drop(writer);
        if !was_made {
            return self.commit(batch).await;
        }
        tracing::info!("the commit whose answer did not come was made");
        if !batch.callbacks.is_empty() {
            self.shared.callbacks.notify_one();
        }
        Ok(())
    }
}

impl Sign<'_> {
    async fn is_there(&self, connection: &mut Connection) -> Result<bool, StoreError> {
        let query = match self {
            Self::Run(run) => {
                db::query_scalar(include_str!("sql/commit_sign_run.sql")).bind(run.key).bind(run.run_id.as_str())
            }
            Self::AssetEvent(key) => db::query_scalar(include_str!("sql/commit_sign_asset_event.sql")).bind(*key),
            Self::Instance(InstanceKey { dag_run, task_id, map_index }) => {
                db::query_scalar(include_str!("sql/commit_sign_instance.sql"))
                    .bind(*dag_run)
                    .bind(task_id.as_str())
                    .bind(*map_index)
            }
            Self::Event(event) => db::query_scalar(include_str!("sql/commit_sign_event.sql"))
                .bind(event.at.as_micros())
                .bind(event.event.as_str())
                .bind(event.route.as_str()),
            Self::Changed(update) => {
                let micros = |at: Option<Timestamp>| at.map_or(-1, Timestamp::as_micros);
                db::query_scalar(include_str!("sql/commit_sign_changed.sql"))
                    .bind(update.key.dag_run)
                    .bind(update.key.task_id.as_str())
                    .bind(update.key.map_index)
                    .bind(i64::from(update.try_number))
                    .bind(micros(update.start_date))
            }
        };
        Ok(query.fetch_optional(connection).await?.is_some_and(|one: i64| one == 1))
    }
}
