//! What a task instance waits for.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    dag_runs::find_run,
    error::ApiError,
    extract::{Path, Query},
    paths::{InstancePath, MapIndex, TaskPath},
    permit::Scoped,
    task_instances::find_spec,
};
use crate::{auth::DagScope, scheduler::Dependency};

/// Airflow: `TaskDependencyResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskDependencyResponse {
    /// The kind, as `Trigger Rule` or `Pool Slots Available`.
    name: &'static str,
    reason: String,
}

/// Airflow: `TaskDependencyCollectionResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskDependencyCollectionResponse {
    dependencies: Vec<TaskDependencyResponse>,
}

async fn dependencies(
    api: &Api,
    scope: &DagScope,
    path: &TaskPath,
    map_index: i32,
) -> Result<Json<TaskDependencyCollectionResponse>, ApiError> {
    let TaskPath { dag_id, dag_run_id, task_id } = path;
    let run = find_run(api, dag_id, dag_run_id).await?;
    // Its instances are not there before the run starts, or its list is; what they wait for is known.
    if !find_spec(api, run.version).await?.nodes.iter().any(|node| node.task_id == task_id.as_str()) {
        return Err(ApiError::not_found(format!("dag_run `{dag_run_id}` has no task `{task_id}`")));
    }
    let waits = api.scheduler.task_dependencies(dag_id, dag_run_id, task_id, map_index).await?;
    let view = |wait: &Dependency| TaskDependencyResponse { name: wait.name, reason: wait.reason(scope.seen()) };
    Ok(Json(TaskDependencyCollectionResponse { dependencies: waits.iter().map(view).collect() }))
}

/// What the task instance waits for; empty if it does not wait.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies",
    tag = "Task Instance", params(TaskPath, MapIndex), responses((status = 200, body = TaskDependencyCollectionResponse)),
)]
pub async fn get_task_instance_dependencies(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<TaskPath>,
    Query(index): Query<MapIndex>,
) -> Result<Json<TaskDependencyCollectionResponse>, ApiError> {
    dependencies(&api, &scope, &path, index.map_index).await
}

/// What an instance of a mapped task waits for; empty if it does not wait.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dependencies",
    tag = "Task Instance", params(InstancePath), responses((status = 200, body = TaskDependencyCollectionResponse)),
)]
pub async fn get_mapped_task_instance_dependencies(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<InstancePath>,
) -> Result<Json<TaskDependencyCollectionResponse>, ApiError> {
    let (path, map_index) = path.split();
    dependencies(&api, &scope, &path, map_index).await
}
