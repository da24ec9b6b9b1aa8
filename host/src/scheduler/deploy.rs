//! An upload, from bytes to active dags: all of it, or nothing.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Change, DeployError, Deployed, Scheduler};
use crate::{
    blobs::keys,
    model::{dag::Dag, ids::Digest, spec::ModuleSpec},
    store::{ComponentRow, Deploy, DeployedDag},
};

impl Scheduler {
    /// Makes a component's dags active: they are when this returns.
    ///
    /// The same bytes again change nothing. Order of effects: the code is checked and compiled, the dags are validated,
    /// the blob is written, the rows are committed, the loop is told.
    ///
    /// # Errors
    /// If it is not a component of our world, its dags are wrong, or it can't be stored; then nothing has changed.
    pub async fn deploy(&self, wasm: Bytes, user: &str) -> Result<Deployed, DeployError> {
        let digest = Digest(Sha256::digest(&wasm).into());
        let known = self.store.component_get(digest).await?;
        if let Some(row) = &known
            && let Some(dags) = self.all_current(row).await?
        {
            return Ok(Deployed { digest, created: false, entries: entry_names(&row.module), dags });
        }
        let module = self.executor.compile(wasm.clone()).await?;
        check_dags(&module)?;
        let size_bytes = i64::try_from(wasm.len()).unwrap_or(i64::MAX);
        self.blobs.put(&keys::component(&digest), wasm).await?;
        let deploy = Deploy {
            module: Arc::new(module),
            digest,
            size_bytes,
            uploaded_by: user.to_owned(),
            paused_default: self.config.dags_paused_at_creation,
            now: self.clock.now(),
        };
        let dags = self.store.deploy(&deploy).await?;
        let changed: Vec<_> = dags.iter().filter(|dag| dag.changed).map(|dag| dag.dag_id.clone()).collect();
        self.reload_dags(changed.clone()).await.map_err(|_| DeployError::Stopped)?;
        self.publish(changed.into_iter().map(|dag_id| Change::Dag { dag_id }).collect());
        Ok(Deployed { digest, created: known.is_none(), entries: entry_names(&deploy.module), dags })
    }

    /// The dags of a component that was uploaded before, if each still runs what it brought: then there is nothing to do.
    async fn all_current(&self, component: &ComponentRow) -> Result<Option<Vec<DeployedDag>>, DeployError> {
        let mut dags = Vec::with_capacity(component.dag_ids.len());
        for dag_id in &component.dag_ids {
            match self.store.dag_get(dag_id).await? {
                Some(dag) if dag.component == component.digest => dags.push(DeployedDag {
                    dag_id: dag.dag_id,
                    version: dag.version,
                    version_number: dag.version_number,
                    created: false,
                    changed: false,
                }),
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(dags))
    }
}

fn entry_names(module: &ModuleSpec) -> Vec<String> {
    module.entries.iter().map(|entry| entry.name.clone()).collect()
}

fn check_dags(module: &ModuleSpec) -> Result<(), DeployError> {
    let mut ids = BTreeSet::new();
    for spec in &module.dags {
        if !ids.insert(&spec.dag_id) {
            return Err(DeployError::Duplicate(spec.dag_id.clone()));
        }
        Dag::from_spec(spec, &module.entries)?;
    }
    Ok(())
}
