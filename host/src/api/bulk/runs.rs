//! Runs in bulk.

use super::{Action, Item, Resource};
use crate::{
    api::{
        Api,
        dag_runs::many::{BulkDagRunBody, place},
        dags::UpdateMask,
        error::ApiError,
        paths::RunPath,
    },
    auth::{Audit, DagScope, NotYours},
    model::{ids::DagId, role::Permission},
};

pub struct Runs<'a> {
    pub api: &'a Api,
    /// The dags whose runs may be marked,
    pub scope: DagScope,
    /// and those whose runs may be deleted.
    pub deletes: DagScope,
    /// The dag of runs that do not say theirs.
    pub dag_id: Option<DagId>,
}

impl Runs<'_> {
    fn place(&self, item: &Item<BulkDagRunBody>) -> Result<RunPath, ApiError> {
        match item {
            Item::Name(name) => {
                let run_id = name.parse().map_err(|error| ApiError::not_found(format!("{error}")))?;
                place(self.dag_id.as_ref(), run_id)
            }
            Item::Entity(body) => body.place(self.dag_id.as_ref()),
        }
    }
}

impl Resource for Runs<'_> {
    type Entity = BulkDagRunBody;
    const NAMES: &'static str = "dag_runs";
    const ACTIONS: &'static [Action] = &[Action::Update, Action::Delete];

    fn name(&self, item: &Item<BulkDagRunBody>) -> Result<String, ApiError> {
        let RunPath { dag_id, dag_run_id } = self.place(item)?;
        Ok(format!("{dag_id}.{dag_run_id}"))
    }

    async fn exists(&self, item: &Item<BulkDagRunBody>, action: Action) -> Result<bool, ApiError> {
        let RunPath { dag_id, dag_run_id } = self.place(item)?;
        let scope = if action == Action::Delete { &self.deletes } else { &self.scope };
        match scope.check(&dag_id) {
            Ok(()) => Ok(self.api.store.dag_run_get(&dag_id, &dag_run_id).await?.is_some()),
            Err(NotYours::Unknown(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn update(&self, body: BulkDagRunBody, mask: &UpdateMask) -> Result<(), ApiError> {
        let path = body.place(self.dag_id.as_ref())?;
        body.apply(self.api, &path, mask).await
    }

    async fn delete(&self, item: Item<BulkDagRunBody>) -> Result<(), ApiError> {
        let RunPath { dag_id, dag_run_id } = self.place(&item)?;
        Ok(self.api.scheduler.dag_run_delete(&dag_id, &dag_run_id).await?)
    }

    fn tell(&self, entry: &Audit, item: &Item<BulkDagRunBody>, action: Action) {
        if let Ok(path) = self.place(item) {
            entry.about(path.dag_id.as_str(), Some(path.dag_run_id.as_str()), None);
        }
        if action == Action::Delete {
            entry.rename(Permission::RunDelete.as_str());
        }
    }
}
