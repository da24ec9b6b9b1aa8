//! Task instances in bulk.

use axum::{Json, extract::State};

use super::{Action, BulkBody, BulkResponse, Item, Resource, carry_out};
use crate::{
    api::{
        Api,
        dags::UpdateMask,
        error::ApiError,
        extract::{self, Path},
        paths::{RunPath, RunScopePath},
        permit::Visitor,
        task_instances::mark::{BulkTaskInstanceBody, Named, patch},
    },
    auth::{Audit, DagScope, NotYours},
    model::{
        ids::{DagId, RunId, TaskId},
        role::Permission,
    },
};

pub struct TaskInstances<'a> {
    pub api: &'a Api,
    /// The dags whose task instances may be marked.
    pub scope: DagScope,
    /// Those whose task instances may be deleted.
    pub deletes: DagScope,
    /// The dag of instances that do not say theirs.
    pub dag_id: Option<DagId>,
    /// The run of instances that do not say theirs.
    pub run_id: Option<RunId>,
}

impl TaskInstances<'_> {
    fn named(&self, item: &Item<BulkTaskInstanceBody>) -> Result<Named, ApiError> {
        let (dag_id, run_id, task_id, map_index) = match item {
            Item::Entity(body) => body.place(),
            // Airflow: the task's one instance.
            Item::Name(name) => (None, None, TaskId::new(name)?, Some(-1)),
        };
        let place = dag_id.or(self.dag_id.clone()).zip(run_id.or(self.run_id.clone()));
        let Some((dag_id, dag_run_id)) = place else {
            let why = format!("task `{task_id}`: with `~` in the path, each instance says its dag_id and dag_run_id");
            return Err(ApiError::bad_request(why));
        };
        Ok(Named { run: RunPath { dag_id, dag_run_id }, tasks: vec![(task_id, map_index)] })
    }
}

impl Resource for TaskInstances<'_> {
    type Entity = BulkTaskInstanceBody;
    const NAMES: &'static str = "task instances";
    const ACTIONS: &'static [Action] = &[Action::Update, Action::Delete];

    fn name(&self, item: &Item<BulkTaskInstanceBody>) -> Result<String, ApiError> {
        let Named { run: RunPath { dag_id, dag_run_id }, tasks } = self.named(item)?;
        let tasks = tasks.iter().map(|(task_id, map_index)| match map_index {
            Some(index) => format!("{dag_id}.{dag_run_id}.{task_id}[{index}]"),
            None => format!("{dag_id}.{dag_run_id}.{task_id}"),
        });
        Ok(tasks.collect())
    }

    async fn exists(&self, item: &Item<BulkTaskInstanceBody>, action: Action) -> Result<bool, ApiError> {
        let named = self.named(item)?;
        let scope = if action == Action::Delete { &self.deletes } else { &self.scope };
        match scope.check(&named.run.dag_id) {
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
        let item = Item::Entity(body);
        let named = self.named(&item)?;
        // A name alone comes with `delete` only.
        let Item::Entity(body) = item else { return Ok(()) };
        patch(self.api, named, mask, body.into_patch(), false).await.map(drop)
    }

    async fn delete(&self, item: Item<BulkTaskInstanceBody>) -> Result<(), ApiError> {
        let named = self.named(&item)?;
        for row in named.find(self.api).await? {
            let RunPath { dag_id, dag_run_id } = &named.run;
            self.api.scheduler.task_instance_delete(dag_id, dag_run_id, &row.task_id, row.map_index).await?;
        }
        Ok(())
    }

    fn tell(&self, entry: &Audit, item: &Item<BulkTaskInstanceBody>, action: Action) {
        if let Ok(Named { run, tasks }) = self.named(item) {
            let task = tasks.first().map(|(task_id, map_index)| (task_id.as_str(), *map_index));
            entry.about(run.dag_id.as_str(), Some(run.dag_run_id.as_str()), task);
        }
        if action == Action::Delete {
            entry.rename(Permission::RunDelete.as_str());
        }
    }
}

/// Marks many task instances, changes their notes, or deletes them. They can't be made: 405 in the answer.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", tag = "Task Instance",
    params(RunScopePath), request_body = BulkBody<BulkTaskInstanceBody>,
    responses((status = 200, body = BulkResponse)),
)]
pub async fn bulk_task_instances(
    State(api): State<Api>,
    audit: Audit,
    visitor: Visitor,
    Path(path): Path<RunScopePath>,
    extract::Json(body): extract::Json<BulkBody<BulkTaskInstanceBody>>,
) -> Result<Json<BulkResponse>, ApiError> {
    let (dag_id, run_id) = (path.dag_id.one(), path.dag_run_id.one());
    let scope = visitor.scope().await?;
    let deletes = visitor.scope_of(Permission::RunDelete).await?;
    carry_out(&api, &audit, &TaskInstances { api: &api, scope, deletes, dag_id, run_id }, body).await
}
