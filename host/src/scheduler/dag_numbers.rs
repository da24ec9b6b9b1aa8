//! What is said of one dag in place of what the server's settings say, and what follows when it changes.

use serde_json::json;

use super::{Change, RequestError, Scheduler, no_dag};
use crate::{
    model::{ids::DagId, limits::DagLimits, retention::DagRetention},
    store::{Audit, StoredNumbers},
};

/// What holds from when it is said.
pub trait HeldNumbers: StoredNumbers {
    /// Makes what is stored hold.
    ///
    /// # Errors
    /// If the scheduler has stopped.
    fn hold(scheduler: &Scheduler, dag_id: &DagId) -> impl Future<Output = Result<(), RequestError>> + Send;
}

impl HeldNumbers for DagLimits {
    /// Attempts that start, and that are counted already, are held to it when this has returned.
    async fn hold(scheduler: &Scheduler, dag_id: &DagId) -> Result<(), RequestError> {
        scheduler.reload_dags(vec![dag_id.clone()]).await?;
        scheduler.publish(vec![Change::Dag { dag_id: dag_id.clone() }]);
        Ok(())
    }
}

impl HeldNumbers for DagRetention {
    /// What can go now goes soon.
    async fn hold(scheduler: &Scheduler, dag_id: &DagId) -> Result<(), RequestError> {
        scheduler.retention_changed(dag_id).await
    }
}

impl Scheduler {
    /// Says it of a dag, and makes it hold. The audit log is told what was said before.
    ///
    /// # Errors
    /// If there is no such dag.
    pub async fn dag_set_numbers<T: HeldNumbers>(&self, dag_id: &DagId, said: T) -> Result<(), RequestError> {
        let before: T = self.store.dag_numbers_get(dag_id).await?;
        Audit::tell(dag_id.as_str(), &json!(before), &json!(said));
        if !self.store.dag_numbers_put(dag_id, said).await? {
            return Err(no_dag(dag_id));
        }
        T::hold(self, dag_id).await
    }
}
