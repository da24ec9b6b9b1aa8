//! What the attempts of one dag may have together: what is said of it, and what it has had.

use super::{RequestError, Scheduler};
use crate::model::{
    ids::DagId,
    limits::{DagLimits, Spent},
};

/// How a dag stands to its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsSeen {
    /// What is said of it.
    pub own: DagLimits,
    /// What holds for it.
    pub effective: DagLimits,
    /// What its attempts had today, as it was a second ago; of what nobody limits nothing is counted.
    pub spent: Spent,
}

impl Scheduler {
    /// How a dag stands to its limits.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn dag_limits(&self, dag_id: &DagId) -> Result<LimitsSeen, RequestError> {
        let own = self.store.dag_numbers_get::<DagLimits>(dag_id).await?;
        let now = self.clock.now();
        let spent = self.store.dag_usage_get(dag_id).await?.unwrap_or_default().at(now);
        Ok(LimitsSeen { own, effective: own.or(self.config.dag_limits), spent })
    }
}
