//! The tries of task instances.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        error::ApiError,
        extract::{Path, Query},
        paths::{InstancePath, InstanceTryPath, MapIndex, TaskPath, TaskTryPath},
    },
    TaskInstanceResponse, find_instance, show_all,
};
use crate::model::state::TaskState;

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskInstanceHistoryCollectionResponse {
    task_instances: Vec<TaskInstanceResponse>,
    total_entries: usize,
}

async fn show_tries(api: &Api, path: &TaskPath, map_index: i32) -> Result<Vec<TaskInstanceResponse>, ApiError> {
    let (key, present) = find_instance(api, path, map_index).await?;
    let mut tries = api.store.task_instance_tries(&key).await?;
    // Airflow: one that another followed waits for nothing any more, it failed.
    for row in tries.iter_mut().filter(|row| row.try_number < present.try_number && !row.state.is_finished()) {
        row.state = TaskState::Failed;
    }
    show_all(api, tries).await
}

/// A try of a task instance.
///
/// # Errors
/// 404 if there is none.
pub async fn find_try(
    api: &Api,
    path: &TaskPath,
    map_index: i32,
    number: u32,
) -> Result<TaskInstanceResponse, ApiError> {
    let tries = show_tries(api, path, map_index).await?;
    let found = tries.into_iter().find(|one| one.try_number == number);
    found.ok_or_else(|| ApiError::not_found(format!("task instance `{}` has no try {number}", path.task_id)))
}

/// All tries of a task instance, the present one last.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries", tag = "Task Instance",
    params(TaskPath, MapIndex), responses((status = 200, body = TaskInstanceHistoryCollectionResponse)),
)]
pub async fn get_task_instance_tries(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<MapIndex>,
) -> Result<Json<TaskInstanceHistoryCollectionResponse>, ApiError> {
    let task_instances = show_tries(&api, &path, index.map_index).await?;
    Ok(Json(TaskInstanceHistoryCollectionResponse { total_entries: task_instances.len(), task_instances }))
}

/// All tries of an instance of a mapped task, the present one last.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries",
    tag = "Task Instance", params(InstancePath),
    responses((status = 200, body = TaskInstanceHistoryCollectionResponse)),
)]
pub async fn get_mapped_task_instance_tries(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
) -> Result<Json<TaskInstanceHistoryCollectionResponse>, ApiError> {
    let (path, map_index) = path.split();
    let task_instances = show_tries(&api, &path, map_index).await?;
    Ok(Json(TaskInstanceHistoryCollectionResponse { total_entries: task_instances.len(), task_instances }))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries/{task_try_number}",
    tag = "Task Instance", params(TaskTryPath, MapIndex), responses((status = 200, body = TaskInstanceResponse)),
)]
pub async fn get_task_instance_try_details(
    State(api): State<Api>,
    Path(path): Path<TaskTryPath>,
    Query(index): Query<MapIndex>,
) -> Result<Json<TaskInstanceResponse>, ApiError> {
    let (path, number) = path.split();
    find_try(&api, &path, index.map_index, number).await.map(Json)
}

#[utoipa::path(
    get,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries/{task_try_number}",
    tag = "Task Instance", params(InstanceTryPath), responses((status = 200, body = TaskInstanceResponse)),
)]
pub async fn get_mapped_task_instance_try_details(
    State(api): State<Api>,
    Path(path): Path<InstanceTryPath>,
) -> Result<Json<TaskInstanceResponse>, ApiError> {
    let (path, map_index, number) = path.split();
    find_try(&api, &path, map_index, number).await.map(Json)
}
