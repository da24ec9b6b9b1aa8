//! A run or a task that is called `list`: where its path stands, the router has the lists that are asked for by `POST`.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::Value;

use super::{
    Api,
    dag_runs::{self, DagRunPatchBody, DagRunResponse},
    dags::UpdateMask,
    error::ApiError,
    extract::{self, Path, Query},
    paths::{DagPath, MapIndex, RunPath, TaskPath},
    task_instances::{
        self, TaskInstanceCollectionResponse, TaskInstanceResponse,
        mark::{self, AnyMapIndex, PatchTaskInstanceBody},
    },
};
use crate::{
    auth::Audit,
    model::ids::{RunId, TaskId},
};

const NAME: &str = "list";

fn run(Path(path): Path<DagPath>) -> Result<Path<RunPath>, ApiError> {
    let dag_run_id = RunId::new(NAME).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Path(RunPath { dag_id: path.dag_id, dag_run_id }))
}

pub async fn get_run(state: State<Api>, path: Path<DagPath>) -> Result<Json<DagRunResponse>, ApiError> {
    dag_runs::get_dag_run(state, run(path)?).await
}

pub async fn patch_run(
    state: State<Api>,
    audit: Audit,
    path: Path<DagPath>,
    mask: Query<UpdateMask>,
    body: extract::Json<DagRunPatchBody>,
) -> Result<Json<DagRunResponse>, ApiError> {
    audit.about(path.0.dag_id.as_str(), Some(NAME), None);
    dag_runs::patch_dag_run(state, run(path)?, mask, body).await
}

pub async fn delete_run(state: State<Api>, audit: Audit, path: Path<DagPath>) -> Result<StatusCode, ApiError> {
    audit.about(path.0.dag_id.as_str(), Some(NAME), None);
    dag_runs::delete_dag_run(state, run(path)?).await
}

fn task(Path(path): Path<RunPath>) -> Result<Path<TaskPath>, ApiError> {
    let task_id = TaskId::new(NAME).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Path(TaskPath { dag_id: path.dag_id, dag_run_id: path.dag_run_id, task_id }))
}

pub async fn get_task(state: State<Api>, path: Path<RunPath>) -> Result<Json<TaskInstanceResponse>, ApiError> {
    task_instances::get_task_instance(state, task(path)?).await
}

pub async fn patch_task(
    state: State<Api>,
    audit: Audit,
    path: Path<RunPath>,
    index: Query<AnyMapIndex>,
    mask: Query<UpdateMask>,
    body: extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    audit.about(path.0.dag_id.as_str(), Some(path.0.dag_run_id.as_str()), Some((NAME, None)));
    mark::patch_task_instance(state, task(path)?, index, mask, body).await
}

pub async fn delete_task(
    state: State<Api>,
    audit: Audit,
    path: Path<RunPath>,
    index: Query<MapIndex>,
) -> Result<Json<Value>, ApiError> {
    audit.about(path.0.dag_id.as_str(), Some(path.0.dag_run_id.as_str()), Some((NAME, None)));
    task_instances::delete_task_instance(state, task(path)?, index).await
}
