//! Runs of dags: trigger, list, get, patch, clear, delete, wait.

pub mod clear;
pub mod wait;

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    cursor::{CursorQuery, Neighbours, Part},
    dags::{UpdateMask, check_mask, find_dag},
    error::ApiError,
    extract::{self, Paging, Patch, Path, Query, refuse_unknown, required},
    names::{Bundles, DagVersionResponse, Names},
    paths::{DagPath, DagScopePath, RunPath},
    patterns::DagRunPatterns,
    permit::Scoped,
    ranges::{DateRanges, DurationRange},
};
use crate::{
    auth::{Audit, CurrentUser, DagScope},
    model::{
        dag_access::DagSet,
        ids::{DagId, RunId},
        state::{RunState, RunType},
        time::{DataInterval, Timestamp},
    },
    scheduler::RunRequest,
    store::{BackfillId, DagRunFilter, DagRunOrder, DagRunRow, Order, Page},
};

/// The longest note in characters. Airflow: 1,000.
const MAX_NOTE_CHARS: usize = 1_000;
/// Dags that a batch names.
const MAX_BATCH_DAGS: usize = 1_000;
/// Totals above it are not counted exactly.
pub const TOTAL_LIMIT: i64 = crate::store::MAX_TOTAL - 1;

#[derive(Debug, Serialize, ToSchema)]
pub struct DagRunResponse {
    dag_run_id: String,
    dag_id: String,
    dag_display_name: String,
    logical_date: Option<DateTime<Utc>>,
    queued_at: Option<DateTime<Utc>>,
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    /// Seconds.
    duration: Option<f64>,
    data_interval_start: Option<DateTime<Utc>>,
    data_interval_end: Option<DateTime<Utc>>,
    run_after: DateTime<Utc>,
    last_scheduling_decision: Option<DateTime<Utc>>,
    /// Airflow's `DagRunType`: `scheduled`, `manual`, `operator_triggered`.
    run_type: &'static str,
    /// `queued`, `running`, `success` or `failed`.
    state: &'static str,
    triggered_by: String,
    triggering_user_name: Option<String>,
    /// Null in lists if it is longer than 16 KiB; the run itself has it then.
    #[schema(value_type = Option<Object>)]
    conf: Option<Box<RawValue>>,
    note: Option<String>,
    dag_versions: Vec<DagVersionResponse>,
    bundle_version: Option<String>,
    partition_key: Option<String>,
    partition_date: Option<DateTime<Utc>>,
    /// How often it was cleared.
    clear_number: i64,
    /// Why it failed, where its task instances alone do not tell: it took too long, or its version can't be read.
    message: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagRunCollectionResponse {
    dag_runs: Vec<DagRunResponse>,
    /// Exact up to `total_entries_limit`.
    total_entries: i64,
    total_entries_limit: i64,
    next_cursor: Option<String>,
    previous_cursor: Option<String>,
}

/// Airflow: `TriggerDAGRunPostBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerDagRunBody {
    /// What the run is about; must be there but may be null. No two runs of a dag are about the same.
    #[serde(deserialize_with = "required")]
    #[schema(value_type = Option<DateTime<Utc>>, required = true)]
    pub(super) logical_date: Option<Timestamp>,
    /// Not one that begins with `scheduled__`, `backfill__` or `asset_triggered__`: those runs have these ids to themselves.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) dag_run_id: Option<RunId>,
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub(super) data_interval_start: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub(super) data_interval_end: Option<Timestamp>,
    /// The run does not start before it.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub(super) run_after: Option<Timestamp>,
    /// Values for the dag's params.
    #[serde(default)]
    pub(super) conf: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) note: Option<String>,
    /// Not supported: must be null.
    #[serde(default)]
    pub(super) partition_key: Option<String>,
}

/// Airflow: `DAGRunPatchBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagRunPatchBody {
    /// `queued` (clears it), `success` or `failed`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) state: Option<RunState>,
    /// Null takes the note away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) note: Patch<String>,
}

/// Which runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct DagRunQuery {
    /// `queued`, `running`, `success`, `failed`.
    #[param(value_type = Vec<String>)]
    state: Vec<RunState>,
    /// `manual`, `scheduled`, `backfill`, `asset_triggered`; what is no kind finds nothing.
    run_type: Vec<String>,
    /// Numbers of versions of the dag.
    dag_version: Vec<i64>,
    /// What the run's conf holds, as text.
    conf_contains: Option<String>,
    /// The digest of the component that the run's version came with.
    bundle_version: Option<String>,
    /// Any text that the name or the uri of an asset holds of which the run consumed an event; no character has a meaning of its own.
    consuming_asset_pattern: Option<String>,
    /// Runs that this backfill made or ran again. Airlock's.
    backfill_id: Option<i64>,
}

/// Airflow: `DAGRunsBatchBody`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct DagRunsBatchBody {
    order_by: Option<String>,
    #[serde(default)]
    page_offset: u32,
    page_limit: Option<u32>,
    #[schema(value_type = Option<Vec<String>>)]
    dag_ids: Option<Vec<DagId>>,
    #[schema(value_type = Option<Vec<String>>)]
    states: Option<Vec<Option<RunState>>>,
    conf_contains: Option<String>,
    #[serde(flatten)]
    dates: DateRanges,
    #[serde(flatten)]
    duration: DurationRange,
    /// The last: it takes what the others leave.
    #[serde(flatten)]
    #[schema(ignore)]
    unknown: BTreeMap<String, Value>,
}

pub fn yes() -> bool {
    true
}

impl DagRunResponse {
    pub fn new(run: DagRunRow, names: &Names, now: Timestamp) -> Self {
        let version = names.version(run.version);
        let seconds = |start: Timestamp| run.end_date.unwrap_or(now).since(start).as_secs_f64();
        Self {
            dag_run_id: run.run_id.to_string(),
            dag_display_name: version
                .map_or_else(|| run.dag_id.to_string(), |names| names.version.dag_display_name().to_owned()),
            dag_id: run.dag_id.to_string(),
            logical_date: run.logical_date.map(Timestamp::to_utc),
            queued_at: Some(run.queued_at.to_utc()),
            start_date: run.start_date.map(Timestamp::to_utc),
            end_date: run.end_date.map(Timestamp::to_utc),
            duration: run.start_date.map(seconds),
            data_interval_start: run.data_interval.map(|interval| interval.start.to_utc()),
            data_interval_end: run.data_interval.map(|interval| interval.end.to_utc()),
            run_after: run.run_after.to_utc(),
            last_scheduling_decision: None,
            run_type: run.run_type.as_str(),
            state: run.state.as_str(),
            triggered_by: run.triggered_by,
            triggering_user_name: run.triggering_user,
            conf: run.conf.and_then(|conf| serde_json::from_str(&conf).ok()),
            note: run.note,
            bundle_version: version.map(|names| names.version.bundle_version().to_owned()),
            dag_versions: version.map(|names| names.version.clone()).into_iter().collect(),
            partition_key: None,
            partition_date: None,
            clear_number: run.clear_number,
            message: run.message,
        }
    }
}

impl TryFrom<TriggerDagRunBody> for RunRequest {
    type Error = ApiError;

    fn try_from(body: TriggerDagRunBody) -> Result<Self, ApiError> {
        if body.partition_key.is_some() {
            return Err(ApiError::invalid(["body", "partition_key"], "partitions are not supported"));
        }
        check_note(body.note.as_deref())?;
        if let Some(kind) = body.dag_run_id.as_ref().and_then(|run_id| RunType::reserving(run_id.as_str())) {
            let kind = kind.as_str();
            let why = format!("ids that begin with `{kind}__` are reserved for {kind} runs; choose another");
            return Err(ApiError::invalid(["body", "dag_run_id"], why));
        }
        let data_interval = match (body.data_interval_start, body.data_interval_end) {
            (None, None) => None,
            (Some(start), Some(end)) if start <= end => Some(DataInterval { start, end }),
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(["body", "data_interval_end"], "it must not be before the start"));
            }
            _ => {
                let why = "give both data_interval_start and data_interval_end, or none of them";
                return Err(ApiError::invalid(["body", "data_interval_start"], why));
            }
        };
        Ok(Self {
            run_id: body.dag_run_id,
            logical_date: body.logical_date,
            data_interval,
            run_after: body.run_after,
            conf: body.conf.unwrap_or_default(),
            note: body.note,
            triggered_by: "rest_api",
            user: None,
            origin: None,
        })
    }
}

/// # Errors
/// If the note is too long.
pub fn check_note(note: Option<&str>) -> Result<(), ApiError> {
    if note.is_some_and(|note| note.chars().count() > MAX_NOTE_CHARS) {
        return Err(ApiError::invalid(["body", "note"], "it must have at most 1000 characters"));
    }
    Ok(())
}

/// The run, or a 404 that names it.
///
/// # Errors
/// If it does not exist.
pub async fn find_run(api: &Api, dag_id: &DagId, run_id: &RunId) -> Result<DagRunRow, ApiError> {
    let run = api.store.dag_run_get(dag_id, run_id).await?;
    run.ok_or_else(|| ApiError::not_found(format!("dag_run `{run_id}` of dag `{dag_id}` does not exist")))
}

/// As the API shows it.
///
/// # Errors
/// If the store can't be read.
pub async fn show(api: &Api, run: DagRunRow) -> Result<DagRunResponse, ApiError> {
    let names = Names::of_versions(api, [run.version]).await?;
    Ok(DagRunResponse::new(run, &names, api.clock.now()))
}

fn order(paging: &Paging) -> Result<(Page, DagRunOrder, Order), ApiError> {
    let known = [
        ("id", DagRunOrder::Key),
        ("run_after", DagRunOrder::RunAfter),
        ("logical_date", DagRunOrder::LogicalDate),
        ("start_date", DagRunOrder::StartDate),
        ("end_date", DagRunOrder::EndDate),
        ("dag_id", DagRunOrder::DagId),
        ("run_id", DagRunOrder::RunId),
        ("dag_run_id", DagRunOrder::RunId),
        ("state", DagRunOrder::State),
        ("duration", DagRunOrder::Duration),
    ];
    let (page, asked) = paging.sorted(&known)?;
    let (order_by, order) = asked.unwrap_or_default();
    Ok((page, order_by, order))
}

/// The dags that a batch is about: of those that may be seen all, or those that it names.
///
/// # Errors
/// If it names too many, or one that may not be seen.
pub fn asked_dags(scope: &DagScope, named: Option<Vec<DagId>>) -> Result<DagSet, ApiError> {
    let named = named.unwrap_or_default();
    if named.len() > MAX_BATCH_DAGS {
        let why = format!("at most {MAX_BATCH_DAGS} dags can be named; name none for all");
        return Err(ApiError::invalid(["body", "dag_ids"], why));
    }
    named.iter().try_for_each(|dag_id| scope.check(dag_id))?;
    Ok(scope.seen().narrowed(named))
}

async fn list(api: &Api, mut filter: DagRunFilter, part: &Part) -> Result<DagRunCollectionResponse, ApiError> {
    if filter.dags.the_one().is_none() && filter.looks_into_each() {
        return Err(ApiError::bad_request(
            "runs are found by names, lengths, versions, conf and what they consumed within one dag: of all dags that would read \
             all history; name the dag",
        ));
    }
    if filter.dags.the_one().is_none() && filter.sorts_each() {
        return Err(ApiError::bad_request(
            "runs are ordered by run_id, state and duration within one dag: of all dags that would sort all history; name the dag",
        ));
    }
    let page = part.begin(&mut filter)?;
    let mut listed = api.store.dag_run_list(&filter, page).await?;
    let Neighbours { next, previous } = part.end(&filter, &mut listed.items);
    let shown = DagRunCollectionResponse::of(api, listed.items).await?;
    Ok(DagRunCollectionResponse { total_entries: listed.total, next_cursor: next, previous_cursor: previous, ..shown })
}

impl DagRunCollectionResponse {
    /// All of `runs`.
    async fn of(api: &Api, runs: Vec<DagRunRow>) -> Result<Self, ApiError> {
        let names = Names::of_versions(api, runs.iter().map(|run| run.version)).await?;
        let (total, now) = (i64::try_from(runs.len()).unwrap_or(i64::MAX), api.clock.now());
        let dag_runs = runs.into_iter().map(|run| DagRunResponse::new(run, &names, now)).collect();
        Ok(Self { dag_runs, total_entries: total, ..Self::empty() })
    }

    fn empty() -> Self {
        Self {
            dag_runs: Vec::new(),
            total_entries: 0,
            total_entries_limit: TOTAL_LIMIT,
            next_cursor: None,
            previous_cursor: None,
        }
    }
}

/// Runs of a dag, or with `~` of all.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns", tag = "DagRun",
    params(DagScopePath, Paging, CursorQuery, DagRunQuery, DagRunPatterns, DateRanges, DurationRange),
    responses((status = 200, body = DagRunCollectionResponse)),
)]
pub async fn get_dag_runs(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagScopePath>,
    pages: (Query<Paging>, Query<CursorQuery>),
    Query(query): Query<DagRunQuery>,
    Query(patterns): Query<DagRunPatterns>,
    spans: (Query<DateRanges>, Query<DurationRange>),
) -> Result<Json<DagRunCollectionResponse>, ApiError> {
    let (Query(dates), Query(duration)) = spans;
    let (Query(paging), Query(cursor)) = pages;
    let dag_id = path.dag_id.one();
    if let Some(dag_id) = &dag_id {
        find_dag(&api, dag_id).await?;
    }
    let mut run_types: Vec<RunType> = Vec::new();
    for word in &query.run_type {
        match word.parse() {
            Ok(run_type) => run_types.push(run_type),
            // Airflow has such, and Airlock none.
            Err(_) if word == "asset_materialization" => {}
            Err(_) => return Err(ApiError::invalid(["query", "run_type"], "it is not a type of runs")),
        }
    }
    let bundles = Bundles::asked(None, query.bundle_version.as_deref());
    if (!query.run_type.is_empty() && run_types.is_empty()) || bundles == Bundles::Unknown {
        return Ok(Json(DagRunCollectionResponse::empty()));
    }
    let (page, order_by, order) = order(&paging)?;
    let filter = DagRunFilter {
        dags: dag_id.map_or_else(|| scope.seen().clone(), DagSet::one),
        states: query.state,
        run_types,
        backfill: query.backfill_id.map(BackfillId),
        spans: dates.with(&duration),
        version_numbers: query.dag_version,
        component: bundles.one(),
        consumed_like: extract::literal(query.consuming_asset_pattern.as_deref())?,
        consumed_of: scope.seen().clone(),
        dag_id_like: patterns.dag_id()?,
        run_id_like: patterns.run_id()?,
        triggering_user_like: patterns.triggering_user()?,
        conf_like: extract::text(query.conf_contains.as_deref())?,
        order_by,
        order,
        after: None,
    };
    Ok(Json(list(&api, filter, &cursor.part(page, &paging)?).await?))
}

/// Runs of the dags that the body names; the path's dag must be `~`.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/list", tag = "DagRun", params(DagScopePath),
    request_body = DagRunsBatchBody, responses((status = 200, body = DagRunCollectionResponse)),
)]
pub async fn get_list_dag_runs_batch(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagScopePath>,
    extract::Json(body): extract::Json<DagRunsBatchBody>,
) -> Result<Json<DagRunCollectionResponse>, ApiError> {
    refuse_unknown(&body.unknown)?;
    if path.dag_id.one().is_some() {
        return Err(ApiError::invalid(["path", "dag_id"], "it must be `~`; name dags in dag_ids"));
    }
    let paging = Paging::new(body.page_limit.unwrap_or(100), body.page_offset, body.order_by);
    let (page, order_by, order) = order(&paging)?;
    let asked = body.states.unwrap_or_default();
    let states: Vec<_> = asked.iter().copied().flatten().collect();
    let dags = asked_dags(&scope, body.dag_ids)?;
    let filter = DagRunFilter {
        // All runs are in some state.
        dags: if states.is_empty() && !asked.is_empty() { std::iter::empty().collect() } else { dags },
        states,
        spans: body.dates.with(&body.duration),
        conf_like: extract::text(body.conf_contains.as_deref())?,
        order_by,
        order,
        ..DagRunFilter::default()
    };
    Ok(Json(list(&api, filter, &Part::new(page, &paging)).await?))
}

/// Creates a run. 409 if the dag has one with this id or logical_date.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns", tag = "DagRun", params(DagPath),
    request_body = TriggerDagRunBody, responses((status = 200, body = DagRunResponse)),
)]
pub async fn trigger_dag_run(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<TriggerDagRunBody>,
) -> Result<Json<DagRunResponse>, ApiError> {
    let request = RunRequest { user: Some(user.username), ..RunRequest::try_from(body)? };
    let run = api.scheduler.trigger(&path.dag_id, request).await?;
    Ok(Json(show(&api, run).await?))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", tag = "DagRun", params(RunPath),
    responses((status = 200, body = DagRunResponse)),
)]
pub async fn get_dag_run(State(api): State<Api>, Path(path): Path<RunPath>) -> Result<Json<DagRunResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    Ok(Json(show(&api, run).await?))
}

/// Marks a run (`success`, `failed`), clears it (`queued`), or changes its note.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", tag = "DagRun", params(RunPath, UpdateMask),
    request_body = DagRunPatchBody, responses((status = 200, body = DagRunResponse)),
)]
pub async fn patch_dag_run(
    State(api): State<Api>,
    Path(path): Path<RunPath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<DagRunPatchBody>,
) -> Result<Json<DagRunResponse>, ApiError> {
    patch(&api, &path, &mask, body).await?;
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    Ok(Json(show(&api, run).await?))
}

pub async fn patch(api: &Api, path: &RunPath, mask: &UpdateMask, body: DagRunPatchBody) -> Result<(), ApiError> {
    check_mask(mask, &["state", "note"])?;
    let asked = |field: &str| mask.update_mask.is_empty() || mask.update_mask.iter().any(|name| name == field);
    let run = find_run(api, &path.dag_id, &path.dag_run_id).await?;
    let note = if asked("note") { body.note } else { Patch::Keep };
    if let Patch::Set(note) = &note {
        check_note(note.as_deref())?;
    }
    if let Some(state) = body.state.filter(|_| asked("state")) {
        if state == RunState::Running {
            return Err(ApiError::invalid(["body", "state"], "it must be `queued`, `success` or `failed`"));
        }
        api.scheduler.dag_run_mark(&path.dag_id, &path.dag_run_id, state).await?;
    }
    if let Patch::Set(note) = note {
        Audit::settle();
        api.store.dag_run_set_note(run.key, note.as_deref()).await?;
    }
    Ok(())
}

/// Deletes a run with its task instances, XComs, logs and artifacts.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", tag = "DagRun", params(RunPath),
    responses((status = 204)),
)]
pub async fn delete_dag_run(State(api): State<Api>, Path(path): Path<RunPath>) -> Result<StatusCode, ApiError> {
    api.scheduler.dag_run_delete(&path.dag_id, &path.dag_run_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
