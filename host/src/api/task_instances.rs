//! Task instances: list, get, tries, mark, clear.

pub mod clear;
pub mod list;
pub mod mark;
pub mod tries;

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Api,
    dag_runs::{TOTAL_LIMIT, find_run},
    dags::find_dag,
    error::ApiError,
    extract::{Path, Query, Scope},
    names::{DagVersionResponse, Names},
    paths::{InstancePath, MapIndex, TaskPath},
};
use crate::{
    model::{
        ids::{DagId, RunId, TaskId},
        spec::DagSpec,
        state::{RunState, TaskState},
        time::Timestamp,
    },
    store::{DagRunKey, DagVersionKey, InstanceKey, TaskInstanceRow},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskInstanceResponse {
    id: Uuid,
    task_id: String,
    dag_id: String,
    dag_run_id: String,
    map_index: i32,
    logical_date: Option<DateTime<Utc>>,
    run_after: DateTime<Utc>,
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    /// Seconds.
    duration: Option<f64>,
    /// Null: its trigger rule is not decided.
    state: Option<&'static str>,
    try_number: u32,
    max_tries: u32,
    task_display_name: String,
    dag_display_name: String,
    /// Where the try runs, or ran last: the name of a worker, or of the server's own machine. Null: nowhere.
    hostname: Option<String>,
    unixname: Option<String>,
    pool: String,
    pool_slots: u32,
    queue: String,
    priority_weight: i32,
    operator: String,
    /// The entry of the component that it runs.
    operator_name: String,
    queued_when: Option<DateTime<Utc>>,
    scheduled_when: Option<DateTime<Utc>>,
    pid: Option<i64>,
    executor: Option<String>,
    executor_config: &'static str,
    note: Option<String>,
    /// What the instance of a mapped task is called: its index, if nothing named it.
    rendered_map_index: Option<String>,
    /// What the templates among its inputs became; secrets masked, long values cut.
    #[schema(value_type = Object)]
    rendered_fields: serde_json::Map<String, Value>,
    #[schema(value_type = Option<Object>)]
    trigger: (),
    #[schema(value_type = Option<Object>)]
    triggerer_job: (),
    dag_version: Option<DagVersionResponse>,
    /// How often this try was started again because its runner was lost.
    restarts: u32,
    /// When a waiting retry or reschedule is due.
    wake_at: Option<DateTime<Utc>>,
    /// Why it failed or was skipped.
    message: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskInstanceCollectionResponse {
    task_instances: Vec<TaskInstanceResponse>,
    /// Exact up to `total_entries_limit`.
    total_entries: i64,
    total_entries_limit: i64,
    next_cursor: Option<String>,
    previous_cursor: Option<String>,
}

impl TaskInstanceResponse {
    /// `fields`: what its templates became, a JSON object. `hostname`: where it runs, or ran.
    fn new(
        row: TaskInstanceRow,
        fields: Option<String>,
        hostname: Option<String>,
        names: &Names,
        now: Timestamp,
    ) -> Self {
        let seconds = |start: Timestamp| row.end_date.unwrap_or(now).since(start).as_secs_f64();
        Self {
            id: instance_uuid(row.dag_run, &row.task_id, row.map_index),
            task_display_name: names.task(row.dag_run, &row.task_id),
            dag_display_name: names.dag(row.dag_run, &row.dag_id),
            dag_version: names.of_run(row.dag_run).map(|names| names.version.clone()),
            task_id: row.task_id.to_string(),
            dag_id: row.dag_id.to_string(),
            dag_run_id: row.run_id.to_string(),
            map_index: row.map_index,
            logical_date: row.logical_date.map(Timestamp::to_utc),
            run_after: row.run_after.to_utc(),
            start_date: row.start_date.map(Timestamp::to_utc),
            end_date: row.end_date.map(Timestamp::to_utc),
            duration: row.start_date.map(seconds),
            state: (row.state != TaskState::None).then(|| row.state.as_str()),
            try_number: row.try_number,
            max_tries: row.max_tries,
            hostname,
            unixname: None,
            pool: row.pool,
            pool_slots: row.pool_slots,
            queue: names.queue(row.dag_run, &row.task_id),
            priority_weight: row.priority_weight,
            operator: row.entry.clone(),
            operator_name: row.entry,
            queued_when: row.queued_at.map(Timestamp::to_utc),
            scheduled_when: row.scheduled_at.map(Timestamp::to_utc),
            pid: None,
            executor: None,
            executor_config: "{}",
            note: row.note,
            rendered_map_index: row
                .rendered_map_index
                .or_else(|| (row.map_index >= 0).then(|| row.map_index.to_string())),
            rendered_fields: fields.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
            trigger: (),
            triggerer_job: (),
            restarts: row.restarts,
            wake_at: row.wake_at.map(Timestamp::to_utc),
            message: row.message,
        }
    }
}

/// An instance's name as the UUID that Airflow's clients expect: the same each time.
fn instance_uuid(run: DagRunKey, task_id: &TaskId, map_index: i32) -> Uuid {
    let hash = Sha256::digest(format!("{}/{task_id}/{map_index}", run.0));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// As the API shows them, in the same order.
///
/// # Errors
/// If the store can't be read.
pub async fn show_all(api: &Api, rows: Vec<TaskInstanceRow>) -> Result<Vec<TaskInstanceResponse>, ApiError> {
    let names = Names::of_runs(api, rows.iter().map(|row| row.dag_run)).await?;
    let now = api.clock.now();
    let key = |row: &TaskInstanceRow| (row.instance(), row.try_number);
    let mut fields = api.store.rendered_fields_list(&rows.iter().map(key).collect::<Vec<_>>()).await?;
    let show = |row: TaskInstanceRow| {
        let fields = fields.remove(&key(&row));
        let hostname = api.scheduler.host_of(&row);
        TaskInstanceResponse::new(row, fields, hostname, &names, now)
    };
    Ok(rows.into_iter().map(show).collect())
}

impl TaskInstanceCollectionResponse {
    fn new(task_instances: Vec<TaskInstanceResponse>, total_entries: i64) -> Self {
        Self {
            task_instances,
            total_entries,
            total_entries_limit: TOTAL_LIMIT,
            next_cursor: None,
            previous_cursor: None,
        }
    }

    /// All of `rows`.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn of(api: &Api, rows: Vec<TaskInstanceRow>) -> Result<Self, ApiError> {
        let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        Ok(Self::new(show_all(api, rows).await?, total))
    }
}

/// The run that a path with wildcards names, if it names one.
///
/// # Errors
/// If it does not exist, or a run is named without its dag.
pub async fn find_scope(
    api: &Api,
    dag_id: Scope<DagId>,
    run_id: Scope<RunId>,
) -> Result<(Option<DagId>, Option<DagRunKey>), ApiError> {
    match (dag_id, run_id) {
        (Scope::One(dag_id), Scope::One(run_id)) => {
            let run = find_run(api, &dag_id, &run_id).await?;
            Ok((Some(dag_id), Some(run.key)))
        }
        (Scope::One(dag_id), Scope::All) => {
            find_dag(api, &dag_id).await?;
            Ok((Some(dag_id), None))
        }
        (Scope::All, Scope::All) => Ok((None, None)),
        (Scope::All, Scope::One(_)) => {
            Err(ApiError::invalid(["path", "dag_id"], "a run has its id within a dag; name the dag too"))
        }
    }
}

/// What a run's dag_version says.
///
/// # Errors
/// If it is gone, with its runs.
pub async fn find_spec(api: &Api, version: DagVersionKey) -> Result<Arc<DagSpec>, ApiError> {
    let version = api.store.dag_version_get(version).await?;
    Ok(version.ok_or_else(|| ApiError::not_found("the run's dag_version is not there any more"))?.spec)
}

/// The row of an instance, or a 404 that names it.
///
/// # Errors
/// If the run or the instance does not exist.
pub async fn find_instance(
    api: &Api,
    path: &TaskPath,
    map_index: i32,
) -> Result<(InstanceKey, TaskInstanceRow), ApiError> {
    let run = find_run(api, &path.dag_id, &path.dag_run_id).await?;
    let key = InstanceKey { dag_run: run.key, task_id: path.task_id.clone(), map_index };
    if let Some(row) = api.store.task_instance_get(&key).await? {
        return Ok((key, row));
    }
    let index = if map_index < 0 { String::new() } else { format!(" with map_index {map_index}") };
    let what = format!("dag_run `{}` has no task instance `{}`{index}", path.dag_run_id, path.task_id);
    let first = InstanceKey { map_index: 0, ..key };
    if map_index < 0 && api.store.task_instance_get(&first).await?.is_some() {
        return Err(ApiError::not_found(format!(
            "{what}: the task is mapped; name one of its instances by `map_index`"
        )));
    }
    if run.state == RunState::Queued {
        return Err(ApiError::not_found(format!("{what}: it is queued, and has its task instances once it starts")));
    }
    Err(ApiError::not_found(what))
}

async fn show_instance(api: &Api, path: &TaskPath, map_index: i32) -> Result<Json<TaskInstanceResponse>, ApiError> {
    let (_, row) = find_instance(api, path, map_index).await?;
    let mut rows = show_all(api, vec![row]).await?;
    rows.pop().map(Json).ok_or_else(ApiError::internal_unlogged)
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", tag = "Task Instance",
    params(TaskPath), responses((status = 200, body = TaskInstanceResponse)),
)]
pub async fn get_task_instance(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
) -> Result<Json<TaskInstanceResponse>, ApiError> {
    show_instance(&api, &path, -1).await
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
    tag = "Task Instance", params(InstancePath), responses((status = 200, body = TaskInstanceResponse)),
)]
pub async fn get_mapped_task_instance(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
) -> Result<Json<TaskInstanceResponse>, ApiError> {
    let (path, map_index) = path.split();
    show_instance(&api, &path, map_index).await
}

/// Deletes a task instance of a run that is over, with its tries, logs, XComs and artifacts. When the run goes on, it is there anew, as one that has not run.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", tag = "Task Instance",
    params(TaskPath, MapIndex), responses((status = 200, body = Value), (status = 409)),
)]
pub async fn delete_task_instance(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<MapIndex>,
) -> Result<Json<Value>, ApiError> {
    delete(&api, &path, index.map_index).await
}

/// The same of an instance of a mapped task.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
    tag = "Task Instance", params(InstancePath), responses((status = 200, body = Value), (status = 409)),
)]
pub async fn delete_mapped_task_instance(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
) -> Result<Json<Value>, ApiError> {
    let (path, map_index) = path.split();
    delete(&api, &path, map_index).await
}

async fn delete(api: &Api, path: &TaskPath, map_index: i32) -> Result<Json<Value>, ApiError> {
    let TaskPath { dag_id, dag_run_id, task_id } = path;
    api.scheduler.task_instance_delete(dag_id, dag_run_id, task_id, map_index).await?;
    Ok(Json(Value::Null))
}
