//! Task instances: list, get, tries, mark, clear.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api,
    dag_runs::{TOTAL_LIMIT, check_note, find_run, yes},
    dags::{UpdateMask, check_mask, find_dag},
    error::ApiError,
    extract::{self, Paging, Patch, Path, Query, Scope},
    names::{DagVersionResponse, Names},
    paths::{DagPath, InstancePath, InstanceTryPath, MapIndex, RunScopePath, TaskPath, TaskTryPath},
    permit::Scoped,
    ranges::DateRanges,
};
use crate::{
    auth::Audit,
    model::{
        ids::{DagId, PoolName, RunId, TaskId},
        state::TaskState,
        time::Timestamp,
    },
    scheduler::{ClearRequest, MarkRequest},
    store::{DagRunKey, InstanceKey, Order, TaskInstanceFilter, TaskInstanceOrder, TaskInstanceRow},
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
    /// What the instance of a mapped task is called.
    rendered_map_index: Option<String>,
    /// What the templates among its inputs became; secrets masked, long values cut.
    #[schema(value_type = Object)]
    rendered_fields: serde_json::Map<String, serde_json::Value>,
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

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskInstanceHistoryCollectionResponse {
    task_instances: Vec<TaskInstanceResponse>,
    total_entries: usize,
}

/// A state as Airflow's clients write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StateWord {
    Known(TaskState),
    /// A state that Airflow has and Airlock does not: nothing is in it.
    Foreign,
}

impl<'de> Deserialize<'de> for StateWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("none" | "no_status") => Ok(Self::Known(TaskState::None)),
            Some("deferred" | "awaiting_input") => Ok(Self::Foreign),
            Some(text) => text.parse().map(Self::Known).map_err(serde::de::Error::custom),
        }
    }
}

/// Which task instances.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TaskInstanceQuery {
    #[param(value_type = Option<String>)]
    task_id: Option<TaskId>,
    /// `none` asks for those whose state is null.
    #[param(value_type = Vec<String>)]
    state: Vec<StateWord>,
    #[param(value_type = Vec<String>)]
    pool: Vec<PoolName>,
}

/// Airflow: `TaskInstancesBatchBody`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct TaskInstancesBatchBody {
    #[schema(value_type = Option<Vec<String>>)]
    dag_ids: Option<Vec<DagId>>,
    #[schema(value_type = Option<Vec<String>>)]
    dag_run_ids: Option<Vec<RunId>>,
    #[schema(value_type = Option<Vec<String>>)]
    task_ids: Option<Vec<TaskId>>,
    #[schema(value_type = Option<Vec<String>>)]
    state: Option<Vec<StateWord>>,
    #[schema(value_type = Option<Vec<String>>)]
    pool: Option<Vec<PoolName>>,
    order_by: Option<String>,
    #[serde(default)]
    page_offset: u32,
    page_limit: Option<u32>,
    #[serde(flatten)]
    dates: DateRanges,
}

/// Airflow: `PatchTaskInstanceBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Airflow's")]
pub struct PatchTaskInstanceBody {
    /// `success`, `failed` or `skipped`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    new_state: Option<TaskState>,
    /// Null takes the note away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: Patch<String>,
    #[serde(default)]
    include_upstream: bool,
    #[serde(default)]
    include_downstream: bool,
    #[serde(default)]
    include_future: bool,
    #[serde(default)]
    include_past: bool,
}

/// A task, or one instance of a mapped one: `"load"` or `["load", 3]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TaskChoice {
    All(TaskId),
    One(TaskId, i32),
}

/// Airflow: `ClearTaskInstancesBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Airflow's")]
pub struct ClearTaskInstancesBody {
    /// Answers what would be cleared, and changes nothing.
    #[serde(default = "yes")]
    #[schema(default = true)]
    dry_run: bool,
    /// Only runs whose logical_date is not before it.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    start_date: Option<Timestamp>,
    /// Only runs whose logical_date is not after it.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    end_date: Option<Timestamp>,
    #[serde(default = "yes")]
    #[schema(default = true)]
    only_failed: bool,
    #[serde(default)]
    only_running: bool,
    #[serde(default = "yes")]
    #[schema(default = true)]
    reset_dag_runs: bool,
    /// Task ids, or pairs of task id and map_index; all tasks if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    task_ids: Option<Vec<TaskChoice>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    dag_run_id: Option<RunId>,
    #[serde(default)]
    include_upstream: bool,
    #[serde(default)]
    include_downstream: bool,
    #[serde(default)]
    include_future: bool,
    #[serde(default)]
    include_past: bool,
    /// Whether the runs go on under the newest version of the dag, not the one that they were made with.
    #[serde(default)]
    run_on_latest_version: Option<bool>,
    /// Refuses with 409 if one of the instances runs.
    #[serde(default)]
    prevent_running_task: bool,
    #[serde(default)]
    note: Option<String>,
}

impl TaskInstanceResponse {
    /// `fields`: what its templates became, a JSON object.
    fn new(row: TaskInstanceRow, fields: Option<String>, names: &Names, now: Timestamp) -> Self {
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
            hostname: None,
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
            rendered_map_index: row.rendered_map_index,
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
    let key = |row: &TaskInstanceRow| {
        let instance = InstanceKey { dag_run: row.dag_run, task_id: row.task_id.clone(), map_index: row.map_index };
        (instance, row.try_number)
    };
    let mut fields = api.store.rendered_fields_list(&rows.iter().map(key).collect::<Vec<_>>()).await?;
    let show = |row: TaskInstanceRow| {
        let fields = fields.remove(&key(&row));
        TaskInstanceResponse::new(row, fields, &names, now)
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

fn order(paging: &Paging) -> Result<(TaskInstanceOrder, Order), ApiError> {
    let known = [
        ("id", TaskInstanceOrder::Key),
        ("map_index", TaskInstanceOrder::Key),
        ("task_id", TaskInstanceOrder::Key),
        ("state", TaskInstanceOrder::State),
        ("start_date", TaskInstanceOrder::StartDate),
        ("end_date", TaskInstanceOrder::EndDate),
        ("duration", TaskInstanceOrder::Duration),
    ];
    Ok(paging.order(&known)?.unwrap_or_default())
}

/// The filter's states; none if only such are asked for that nothing is in.
fn known_states(words: &[StateWord]) -> Option<Vec<TaskState>> {
    let known: Vec<_> = words
        .iter()
        .filter_map(|word| match word {
            StateWord::Known(state) => Some(*state),
            StateWord::Foreign => None,
        })
        .collect();
    (words.is_empty() || !known.is_empty()).then_some(known)
}

async fn list(
    api: &Api,
    filter: &TaskInstanceFilter,
    paging: &Paging,
) -> Result<TaskInstanceCollectionResponse, ApiError> {
    let listed = api.store.task_instance_list(filter, paging.page()).await?;
    Ok(TaskInstanceCollectionResponse::new(show_all(api, listed.items).await?, listed.total))
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
    let row = api.store.task_instance_get(&key).await?.ok_or_else(|| {
        let index = if map_index < 0 { String::new() } else { format!(" with map_index {map_index}") };
        ApiError::not_found(format!("dag_run `{}` has no task instance `{}`{index}", path.dag_run_id, path.task_id))
    })?;
    Ok((key, row))
}

impl InstancePath {
    fn split(self) -> (TaskPath, i32) {
        (TaskPath { dag_id: self.dag_id, dag_run_id: self.dag_run_id, task_id: self.task_id }, self.map_index)
    }
}

/// Task instances of a run, of a dag (`~` for the run) or of all (`~` for both).
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", tag = "Task Instance",
    params(RunScopePath, Paging, TaskInstanceQuery, DateRanges),
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn get_task_instances(
    State(api): State<Api>,
    Scoped(seen): Scoped,
    Path(path): Path<RunScopePath>,
    Query(paging): Query<Paging>,
    Query(query): Query<TaskInstanceQuery>,
    Query(dates): Query<DateRanges>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (dag_id, dag_run) = find_scope(&api, path.dag_id, path.dag_run_id).await?;
    let Some(states) = known_states(&query.state) else {
        return Ok(Json(TaskInstanceCollectionResponse::new(Vec::new(), 0)));
    };
    let (order_by, order) = order(&paging)?;
    let filter = TaskInstanceFilter {
        dag_id,
        dags: seen.seen().clone(),
        dag_run,
        task_ids: query.task_id.into_iter().collect(),
        states,
        pools: query.pool,
        logical_date: dates.logical_date(),
        run_after: dates.run_after(),
        start_date: dates.start_date(),
        end_date: dates.end_date(),
        order_by,
        order,
    };
    Ok(Json(list(&api, &filter, &paging).await?))
}

/// Task instances that the body asks for; the path's dag and run must be `~`.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", tag = "Task Instance",
    params(RunScopePath), request_body = TaskInstancesBatchBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn get_task_instances_batch(
    State(api): State<Api>,
    Scoped(seen): Scoped,
    Path(path): Path<RunScopePath>,
    extract::Json(body): extract::Json<TaskInstancesBatchBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    if path.dag_id != Scope::All || path.dag_run_id != Scope::All {
        return Err(ApiError::invalid(["path"], "dag and run must be `~`; name them in dag_ids and dag_run_ids"));
    }
    let scope = |ids: &[RunId]| ids.first().cloned().map_or(Scope::All, Scope::One);
    let dag_ids = body.dag_ids.unwrap_or_default();
    let run_ids = body.dag_run_ids.unwrap_or_default();
    if dag_ids.len() > 1 || run_ids.len() > 1 {
        return Err(ApiError::invalid(["body"], "only one dag and one run, or all, can be asked for at a time"));
    }
    dag_ids.iter().try_for_each(|dag_id| seen.check(dag_id))?;
    let dag_id = dag_ids.into_iter().next().map_or(Scope::All, Scope::One);
    let (dag_id, dag_run) = find_scope(&api, dag_id, scope(&run_ids)).await?;
    let paging = Paging::new(body.page_limit.unwrap_or(100), body.page_offset, body.order_by);
    let (order_by, order) = order(&paging)?;
    let Some(states) = known_states(&body.state.unwrap_or_default()) else {
        return Ok(Json(TaskInstanceCollectionResponse::new(Vec::new(), 0)));
    };
    let filter = TaskInstanceFilter {
        dag_id,
        dags: seen.seen().clone(),
        dag_run,
        task_ids: body.task_ids.unwrap_or_default(),
        states,
        pools: body.pool.unwrap_or_default(),
        logical_date: body.dates.logical_date(),
        run_after: body.dates.run_after(),
        start_date: body.dates.start_date(),
        end_date: body.dates.end_date(),
        order_by,
        order,
    };
    Ok(Json(list(&api, &filter, &paging).await?))
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

/// The instances of a mapped task.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped",
    tag = "Task Instance", params(TaskPath, Paging, TaskInstanceQuery),
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn get_mapped_task_instances(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(paging): Query<Paging>,
    Query(query): Query<TaskInstanceQuery>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let Some(states) = known_states(&query.state) else {
        return Ok(Json(TaskInstanceCollectionResponse::new(Vec::new(), 0)));
    };
    let (order_by, order) = order(&paging)?;
    let filter = TaskInstanceFilter {
        dag_id: Some(path.dag_id),
        dag_run: Some(run.key),
        task_ids: vec![path.task_id],
        states,
        pools: query.pool,
        order_by,
        order,
        ..TaskInstanceFilter::default()
    };
    Ok(Json(list(&api, &filter, &paging).await?))
}

async fn show_tries(api: &Api, path: &TaskPath, map_index: i32) -> Result<Vec<TaskInstanceResponse>, ApiError> {
    let (key, _) = find_instance(api, path, map_index).await?;
    show_all(api, api.store.task_instance_tries(&key).await?).await
}

async fn show_try(
    api: &Api,
    path: &TaskPath,
    map_index: i32,
    number: u32,
) -> Result<Json<TaskInstanceResponse>, ApiError> {
    let tries = show_tries(api, path, map_index).await?;
    let found = tries.into_iter().find(|one| one.try_number == number);
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("task instance `{}` has no try {number}", path.task_id)))
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
    let number = path.task_try_number;
    let path = TaskPath { dag_id: path.dag_id, dag_run_id: path.dag_run_id, task_id: path.task_id };
    show_try(&api, &path, index.map_index, number).await
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
    let (number, map_index) = (path.task_try_number, path.map_index);
    let path = TaskPath { dag_id: path.dag_id, dag_run_id: path.dag_run_id, task_id: path.task_id };
    show_try(&api, &path, map_index, number).await
}

/// Which instance a patch is about; all of the task's if it is left out.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AnyMapIndex {
    map_index: Option<i32>,
}

async fn patch(
    api: &Api,
    path: TaskPath,
    map_index: Option<i32>,
    mask: &UpdateMask,
    body: PatchTaskInstanceBody,
    dry_run: bool,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    const STATE_FIELDS: &[&str] =
        &["new_state", "include_upstream", "include_downstream", "include_future", "include_past"];
    check_mask(mask, &[STATE_FIELDS, &["note"]].concat())?;
    let asked = |field: &str| mask.update_mask.is_empty() || mask.update_mask.iter().any(|name| name == field);
    let note = if asked("note") { body.note } else { Patch::Keep };
    if let Patch::Set(note) = &note {
        check_note(note.as_deref())?;
    }
    let run = find_run(api, &path.dag_id, &path.dag_run_id).await?;
    let of_task = TaskInstanceFilter {
        dag_run: Some(run.key),
        task_ids: vec![path.task_id.clone()],
        ..TaskInstanceFilter::default()
    };
    let mut named =
        api.store.task_instance_list(&of_task, crate::store::Page::first(crate::store::MAX_PAGE)).await?.items;
    named.retain(|row| map_index.is_none_or(|index| row.map_index == index));
    if named.is_empty() {
        let what = format!("dag_run `{}` has no such instance of task `{}`", path.dag_run_id, path.task_id);
        return Err(ApiError::not_found(what));
    }
    let rows = match body.new_state.filter(|_| asked("new_state")) {
        Some(state) => {
            let request = MarkRequest {
                dag_id: path.dag_id,
                run_id: path.dag_run_id,
                task_id: path.task_id,
                map_index,
                state,
                upstream: body.include_upstream,
                downstream: body.include_downstream,
                past: body.include_past,
                future: body.include_future,
                dry_run,
            };
            api.scheduler.task_mark(request).await?
        }
        None => named.clone(),
    };
    let note = match note {
        Patch::Set(note) if !dry_run => note,
        Patch::Set(_) | Patch::Keep => return Ok(Json(TaskInstanceCollectionResponse::of(api, rows).await?)),
    };
    Audit::settle();
    for row in named {
        let key = InstanceKey { dag_run: row.dag_run, task_id: row.task_id, map_index: row.map_index };
        api.store.task_instance_set_note(&key, note.as_deref()).await?;
    }
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        let key = InstanceKey { dag_run: row.dag_run, task_id: row.task_id.clone(), map_index: row.map_index };
        fresh.push(api.store.task_instance_get(&key).await?.unwrap_or(row));
    }
    Ok(Json(TaskInstanceCollectionResponse::of(api, fresh).await?))
}

/// Marks a task instance as `success`, `failed` or `skipped`, or changes its note. Answers all that it changed.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", tag = "Task Instance",
    params(TaskPath, AnyMapIndex, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_task_instance(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<AnyMapIndex>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    patch(&api, path, index.map_index, &mask, body, false).await
}

#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
    tag = "Task Instance", params(InstancePath, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_mapped_task_instance(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (path, map_index) = path.split();
    patch(&api, path, Some(map_index), &mask, body, false).await
}

/// Answers what the patch would change.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run",
    tag = "Task Instance", params(TaskPath, AnyMapIndex, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_task_instance_dry_run(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<AnyMapIndex>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    patch(&api, path, index.map_index, &mask, body, true).await
}

/// Answers what the patch would change.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run",
    tag = "Task Instance", params(InstancePath, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_mapped_task_instance_dry_run(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (path, map_index) = path.split();
    patch(&api, path, Some(map_index), &mask, body, true).await
}

/// Makes task instances run again, with what the body says around them. Answers which.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/clearTaskInstances", tag = "Task Instance", params(DagPath),
    request_body = ClearTaskInstancesBody, responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn post_clear_task_instances(
    State(api): State<Api>,
    audit: Audit,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<ClearTaskInstancesBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    if body.only_failed && body.only_running {
        return Err(ApiError::invalid(["body"], "only_failed and only_running exclude each other"));
    }
    check_note(body.note.as_deref())?;
    let tasks = body.task_ids.unwrap_or_default().into_iter().map(|choice| match choice {
        TaskChoice::All(task_id) => (task_id, None),
        TaskChoice::One(task_id, map_index) => (task_id, Some(map_index)),
    });
    let request = ClearRequest {
        dag_id: path.dag_id,
        run_id: body.dag_run_id,
        since: body.start_date,
        until: body.end_date,
        tasks: tasks.collect(),
        upstream: body.include_upstream,
        downstream: body.include_downstream,
        past: body.include_past,
        future: body.include_future,
        only_failed: body.only_failed,
        only_running: body.only_running,
        reset_dag_runs: body.reset_dag_runs,
        only_new: false,
        run_on_latest_version: body.run_on_latest_version.unwrap_or_default(),
        dry_run: body.dry_run,
    };
    if body.prevent_running_task {
        let would = api.scheduler.task_clear(ClearRequest { dry_run: true, ..request.clone() }).await?;
        if let Some(running) = would.iter().find(|row| row.state.is_active()) {
            return Err(ApiError::conflict(format!("task instance `{}` is {}", running.task_id, running.state)));
        }
    }
    if body.dry_run {
        audit.nothing();
    }
    let cleared = api.scheduler.task_clear(request).await?;
    if let Some(note) = body.note.filter(|_| !body.dry_run) {
        for row in &cleared {
            let key = InstanceKey { dag_run: row.dag_run, task_id: row.task_id.clone(), map_index: row.map_index };
            api.store.task_instance_set_note(&key, Some(&note)).await?;
        }
    }
    Ok(Json(TaskInstanceCollectionResponse::of(&api, cleared).await?))
}
