//! What will not do in dags as they are, while things are as they are.

use super::Scheduler;
use crate::{
    model::{dag_access::DagSet, dag_warning::DagWarning, ids::PoolName, spec::DagSpec},
    store::{DagRow, StoreError},
};

impl Scheduler {
    /// Of one dag. Asks the store only if the dag names a pool other than the default one.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn dag_warnings(&self, spec: &DagSpec) -> Result<Vec<DagWarning>, StoreError> {
        if spec.nodes.iter().all(|node| node.pool == PoolName::DEFAULT) {
            return Ok(Vec::new());
        }
        Ok(DagWarning::of(spec, &self.store.pool_names().await?))
    }

    /// Of each of `dags` that has one, by dag.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn dag_warnings_of(&self, dags: &DagSet) -> Result<Vec<(DagRow, DagWarning)>, StoreError> {
        let pools = self.store.pool_names().await?;
        let seen = self.store.dag_list_all().await?.into_iter().filter(|dag| dags.contains(&dag.dag_id));
        let warned = seen.flat_map(|dag| {
            let warnings = DagWarning::of(&dag.spec, &pools);
            warnings.into_iter().map(move |warning| (dag.clone(), warning))
        });
        Ok(warned.collect())
    }
}
