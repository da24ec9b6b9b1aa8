//! Task instances in bulk.

use super::{Action, Item, Resource};
use crate::{
    api::{
        Api,
        dags::UpdateMask,
        error::ApiError,
        paths::RunPath,
        task_instances::mark::{BulkTaskInstanceBody, Named, patch},
    },
    auth::{Audit, DagScope, NotYours},
    model::ids::{DagId, RunId},
};

pub struct TaskInstances<'a> {
    pub api: &'a Api,
    /// The dags whose task instances may be marked.
    pub scope: DagScope,
    /// The dag of instances that do not say theirs.
    pub dag_id: Option<DagId>,
    /// The run of instances that do not say theirs.
    pub run_id: Option<RunId>,
}

impl TaskInstances<'_> {
    fn named(&self, body: &BulkTaskInstanceBody) -> Result<Named, ApiError> {
        let (dag_id, run_id, task_id, map_index) = body.place();
        let place = dag_id.or(self.dag_id.as_ref()).cloned().zip(run_id.or(self.run_id.as_ref()).cloned());
        let Some((dag_id, dag_run_id)) = place else {
            let why = format!("task `{task_id}`: with `~` in the path, each instance says its dag_id and dag_run_id");
            return Err(ApiError::bad_request(why));
        };
        Ok(Named { run: RunPath { dag_id, dag_run_id }, tasks: vec![(task_id.clone(), map_index)] })
    }
}

/// Only to be deleted do things go by a bare name, and instances can't be.
fn body(item: &Item<BulkTaskInstanceBody>) -> Result<&BulkTaskInstanceBody, ApiError> {
    match item {
        Item::Entity(body) => Ok(body),
        Item::Name(name) => Err(ApiError::bad_request(format!("task `{name}`: a name alone is not enough"))),
    }
}

impl Resource for TaskInstances<'_> {
    type Entity = BulkTaskInstanceBody;
    const NAMES: &'static str = "task instances";
    const ACTIONS: &'static [Action] = &[Action::Update];

    fn name(&self, item: &Item<BulkTaskInstanceBody>) -> Result<String, ApiError> {
        let Named { run: RunPath { dag_id, dag_run_id }, tasks } = self.named(body(item)?)?;
        let tasks = tasks.iter().map(|(task_id, map_index)| match map_index {
            Some(index) => format!("{dag_id}.{dag_run_id}.{task_id}[{index}]"),
            None => format!("{dag_id}.{dag_run_id}.{task_id}"),
        });
        Ok(tasks.collect())
    }

    async fn exists(&self, item: &Item<BulkTaskInstanceBody>, _: Action) -> Result<bool, ApiError> {
        let named = self.named(body(item)?)?;
        match self.scope.check(&named.run.dag_id) {
            Ok(()) => match named.find(self.api).await {
                Ok(found) => Ok(!found.is_empty()),
                Err(error) if error.status() == axum::http::StatusCode::NOT_FOUND => Ok(false),
                Err(error) => Err(error),
            },
            Err(NotYours::Unknown(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn update(&self, body: BulkTaskInstanceBody, mask: &UpdateMask) -> Result<(), ApiError> {
        let named = self.named(&body)?;
        patch(self.api, named, mask, body.into_patch(), false).await.map(drop)
    }

    fn tell(&self, entry: &Audit, item: &Item<BulkTaskInstanceBody>, _: Action) {
        if let Ok(Named { run, tasks }) = body(item).and_then(|body| self.named(body)) {
            let task = tasks.first().map(|(task_id, map_index)| (task_id.as_str(), *map_index));
            entry.about(run.dag_id.as_str(), Some(run.dag_run_id.as_str()), task);
        }
    }
}
