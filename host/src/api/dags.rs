//! Dags: list, get, details, pause, delete, next runs.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{self, Instant, Paging, Path, Query},
    names::{BUNDLE, Bundles, DagVersionResponse},
    paths::DagPath,
    permit::Scoped,
    ranges::LastRunRanges,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{
        asset::AssetCondition,
        dag_access::DagSet,
        ids::DagId,
        spec::{DagSpec, NodeSpec, ParamSpec, ScheduleSpec},
        state::RunState,
        time::Timestamp,
        timetable::{Bounds, NextRun, Timetable},
    },
    store::{DagFilter, DagOrder, DagRow, DagRunFilter, LastRunFilter, Like, Page, TagMatch},
};

/// Runs that a request may look ahead.
const MAX_NEXT_RUNS: usize = 1_000;

#[derive(Debug, Serialize, ToSchema)]
pub struct DagTagResponse {
    name: String,
    dag_id: String,
    dag_display_name: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Airflow's")]
pub struct DagResponse {
    dag_id: String,
    dag_display_name: String,
    is_paused: bool,
    is_stale: bool,
    last_parsed_time: DateTime<Utc>,
    last_parse_duration: Option<f64>,
    last_expired: Option<DateTime<Utc>>,
    bundle_name: &'static str,
    /// The digest of the component that the newest version came with.
    bundle_version: String,
    relative_fileloc: Option<String>,
    fileloc: String,
    description: Option<String>,
    timetable_summary: Option<String>,
    timetable_description: Option<String>,
    timetable_partitioned: bool,
    timetable_periodic: bool,
    tags: Vec<DagTagResponse>,
    max_active_tasks: u32,
    max_active_runs: u32,
    max_consecutive_failed_dag_runs: u32,
    has_task_concurrency_limits: bool,
    has_import_errors: bool,
    next_dagrun_logical_date: Option<DateTime<Utc>>,
    next_dagrun_data_interval_start: Option<DateTime<Utc>>,
    next_dagrun_data_interval_end: Option<DateTime<Utc>>,
    next_dagrun_run_after: Option<DateTime<Utc>>,
    /// How its runs may come about; null: in any way.
    allowed_run_types: Option<Vec<&'static str>>,
    is_backfillable: bool,
    /// Why Airlock itself paused the dag; null: a person did, or it is not paused.
    pause_reason: Option<String>,
    owners: Vec<String>,
    file_token: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagDetailsResponse {
    #[serde(flatten)]
    dag: DagResponse,
    catchup: bool,
    concurrency: u32,
    /// ISO 8601, as `PT1H`.
    dag_run_timeout: Option<String>,
    default_args: Option<Map<String, Value>>,
    doc_md: Option<String>,
    asset_expression: Option<Map<String, Value>>,
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    is_paused_upon_creation: Option<bool>,
    is_favorite: bool,
    active_runs_count: i64,
    last_parsed: DateTime<Utc>,
    latest_dag_version: Option<DagVersionResponse>,
    owner_links: Option<Map<String, Value>>,
    params: Map<String, Value>,
    render_template_as_native_obj: bool,
    template_search_path: Option<Vec<String>>,
    /// Always null: whether a cleared run goes on under the newest version is said by who clears it.
    rerun_with_latest_version: Option<bool>,
    timezone: String,
    /// What its tasks may reach.
    grants: GrantsResponse,
}

/// What the tasks of a dag may reach.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantsResponse {
    variables: Vec<String>,
    /// That they may use without seeing the secrets.
    connections: Vec<String>,
    /// That they may use, and whose secrets they may read.
    connection_secrets: Vec<String>,
    hosts: Vec<String>,
    /// Whose runs they may start and wait for.
    dags: Vec<String>,
    memory_mib: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagCollectionResponse {
    dags: Vec<DagResponse>,
    total_entries: i64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagPatchBody {
    is_paused: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NextRunResponse {
    logical_date: DateTime<Utc>,
    data_interval_start: DateTime<Utc>,
    data_interval_end: DateTime<Utc>,
    run_after: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NextRunCollectionResponse {
    next_runs: Vec<NextRunResponse>,
    total_entries: usize,
}

/// Which dags.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct DagQuery {
    /// Any text that the id holds; `%` stands for any text, `_` for any character, `|` for or.
    dag_id_pattern: Option<String>,
    /// How the id begins; `|` stands for or.
    dag_id_prefix_pattern: Option<String>,
    /// As of the id.
    dag_display_name_pattern: Option<String>,
    /// As of the id.
    dag_display_name_prefix_pattern: Option<String>,
    tags: Vec<String>,
    /// `any` or `all` of the tags.
    tags_match_mode: Option<String>,
    owners: Vec<String>,
    #[serde(deserialize_with = "extract::flag")]
    paused: Option<bool>,
    /// The state of the dag's newest run: `queued`, `running`, `success`, `failed`.
    #[param(value_type = Option<String>)]
    last_dag_run_state: Option<RunState>,
    /// The same, of several states.
    #[param(value_type = Vec<String>)]
    dag_run_state: Vec<RunState>,
    /// Whether it is scheduled on assets.
    #[serde(deserialize_with = "extract::flag")]
    has_asset_schedule: Option<bool>,
    /// Any text that the name or the uri of an asset holds on which it is scheduled; no character has a meaning of its own.
    asset_dependency: Option<String>,
    /// Whether it is a favorite of whoever asks.
    #[serde(deserialize_with = "extract::flag")]
    is_favorite: Option<bool>,
    /// No dag has any: true finds none.
    #[serde(deserialize_with = "extract::flag")]
    has_import_errors: Option<bool>,
    /// All dags are in `component`.
    bundle_name: Option<String>,
    /// The digest of the component that the newest version came with.
    bundle_version: Option<String>,
}

/// What is changed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct UpdateMask {
    /// The fields of the body that count; those that stand in it if it is left out.
    pub update_mask: Vec<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct NextRunQuery {
    /// Runs whose run_after is after it; after now if it is left out.
    #[param(value_type = Option<DateTime<Utc>>)]
    after: Option<Instant>,
    /// At most 1,000; 10 if it is left out.
    limit: Option<usize>,
}

impl UpdateMask {
    /// Whether `field` is changed: it is named here, or nothing is and it stands in the body.
    pub fn asks(&self, field: &str, is_there: bool) -> bool {
        if self.update_mask.is_empty() { is_there } else { self.update_mask.iter().any(|name| name == field) }
    }
}

impl DagQuery {
    fn filter(
        &self,
        last_run: &LastRunRanges,
        dags: &DagSet,
        user: &CurrentUser,
        paging: &Paging,
    ) -> Result<(DagFilter, Page), ApiError> {
        let tag_match = match self.tags_match_mode.as_deref() {
            None | Some("any") => TagMatch::Any,
            Some("all") => TagMatch::All,
            Some(_) => return Err(ApiError::invalid(["query", "tags_match_mode"], "it must be `any` or `all`")),
        };
        let known = [
            ("dag_id", DagOrder::DagId),
            ("dag_display_name", DagOrder::DisplayName),
            ("last_parsed_time", DagOrder::UpdatedAt),
            ("last_run_state", DagOrder::LastRunState),
            ("last_run_start_date", DagOrder::LastRunStartDate),
        ];
        let (page, asked) = paging.sorted(&known)?;
        let (order_by, order) = asked.unwrap_or_default();
        let bundles = Bundles::asked(self.bundle_name.as_deref(), self.bundle_version.as_deref());
        // What can't be read is refused at the upload: no dag has import errors.
        let is_none = self.has_import_errors == Some(true) || bundles == Bundles::Unknown;
        let dags = if is_none { std::iter::empty::<DagId>().collect() } else { dags.clone() };
        let filter = DagFilter {
            ids: Vec::new(),
            dags,
            dag_id: extract::pattern(self.dag_id_pattern.as_deref(), self.dag_id_prefix_pattern.as_deref())?,
            display_name: extract::pattern(
                self.dag_display_name_pattern.as_deref(),
                self.dag_display_name_prefix_pattern.as_deref(),
            )?,
            dag_id_or_name: Like::default(),
            tags: self.tags.clone(),
            tag_match,
            owners: self.owners.clone(),
            paused: self.paused,
            last_run: LastRunFilter {
                state: self.last_dag_run_state,
                states: self.dag_run_state.clone(),
                start_date: last_run.start_date(),
                end_date: last_run.end_date(),
            },
            on_assets: self.has_asset_schedule,
            asset_like: extract::literal(self.asset_dependency.as_deref())?,
            component: bundles.one(),
            favorite_of: self.is_favorite.map(|is_favorite| (user.username.clone(), is_favorite)),
            order_by,
            order,
        };
        Ok((filter, page))
    }
}

impl DagResponse {
    pub fn new(dag: &DagRow, now: Timestamp) -> Self {
        let spec = &*dag.spec;
        let dag_display_name = spec.shown_name().to_owned();
        let tag = |name: &String| DagTagResponse {
            name: name.clone(),
            dag_id: dag.dag_id.to_string(),
            dag_display_name: dag_display_name.clone(),
        };
        let next = next_run(dag, now);
        let (summary, description) = describe_schedule(spec);
        Self {
            dag_id: dag.dag_id.to_string(),
            is_paused: dag.is_paused,
            is_stale: false,
            last_parsed_time: dag.updated_at.to_utc(),
            last_parse_duration: None,
            last_expired: None,
            bundle_name: BUNDLE,
            bundle_version: dag.component.to_string(),
            relative_fileloc: None,
            fileloc: format!("component:{}", dag.component),
            description: spec.description.clone(),
            timetable_summary: summary,
            timetable_description: Some(description),
            timetable_partitioned: false,
            timetable_periodic: spec.schedule.is_periodic(),
            tags: spec.tags.iter().map(tag).collect(),
            max_active_tasks: spec.max_active_tasks,
            max_active_runs: spec.max_active_runs,
            max_consecutive_failed_dag_runs: spec.max_consecutive_failed_dag_runs,
            has_task_concurrency_limits: spec.nodes.iter().any(NodeSpec::has_limit),
            pause_reason: dag.pause_reason.clone(),
            has_import_errors: false,
            next_dagrun_logical_date: next.map(|next| next.logical_date.to_utc()),
            next_dagrun_data_interval_start: next.map(|next| next.data_interval.start.to_utc()),
            next_dagrun_data_interval_end: next.map(|next| next.data_interval.end.to_utc()),
            next_dagrun_run_after: next.map(|next| next.run_after.to_utc()),
            allowed_run_types: (!spec.allowed_run_types.is_empty())
                .then(|| spec.allowed_run_types.iter().map(|it| it.as_str()).collect()),
            is_backfillable: Timetable::of(spec).is_ok_and(|timetable| timetable.is_backfillable()),
            owners: spec.owners.clone(),
            file_token: dag.component.to_string(),
            dag_display_name,
        }
    }
}

/// The run that the timetable makes next.
fn next_run(dag: &DagRow, now: Timestamp) -> Option<NextRun> {
    let timetable = Timetable::of(&dag.spec).ok()?;
    let bounds = Bounds::of(&dag.spec, dag.scheduled_since(now));
    timetable.next_run(dag.last_scheduled, bounds, now)
}

fn asset_condition(spec: &DagSpec) -> Option<AssetCondition> {
    spec.asset_schedule.as_ref().and_then(|spec| AssetCondition::from_spec(spec).ok())
}

fn describe_schedule(spec: &DagSpec) -> (Option<String>, String) {
    if let Some(condition) = asset_condition(spec) {
        let by_time =
            if spec.schedule == ScheduleSpec::Manual { String::new() } else { format!(" or {}", spec.schedule) };
        return (Some(format!("{condition}{by_time}")), format!("Triggered by assets{by_time}"));
    }
    match &spec.schedule {
        ScheduleSpec::Manual => (None, "Never, external triggers only".to_owned()),
        schedule @ ScheduleSpec::Once => (Some(schedule.to_string()), "Once, as soon as possible".to_owned()),
        schedule @ ScheduleSpec::Cron { .. } => {
            (Some(schedule.to_string()), format!("At `{schedule}` in {}", spec.timezone))
        }
        schedule @ (ScheduleSpec::Every { .. } | ScheduleSpec::Events(_)) => {
            (Some(schedule.to_string()), schedule.to_string())
        }
        schedule @ ScheduleSpec::Continuous => {
            (Some(schedule.to_string()), "As soon as the run before is over".to_owned())
        }
    }
}

/// A param as Airflow shows it: its default, and its JSON Schema.
fn param_view(param: &ParamSpec) -> (String, Value) {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    let schema = read(&param.schema);
    let description = schema.get("description").cloned().unwrap_or(Value::Null);
    let value = param.default.as_deref().map_or(Value::Null, read);
    let view = json!({
        "value": value, "schema": schema, "description": description, "required": param.default.is_none(),
    });
    (param.name.clone(), view)
}

fn iso_duration(ms: u64) -> String {
    let duration = Duration::from_millis(ms);
    match duration.subsec_millis() {
        0 => format!("PT{}S", duration.as_secs()),
        _ => format!("PT{}S", duration.as_secs_f64()),
    }
}

/// The dag, or a 404 that names it.
///
/// # Errors
/// If it does not exist.
pub async fn find_dag(api: &Api, dag_id: &DagId) -> Result<DagRow, ApiError> {
    let dag = api.store.dag_get(dag_id).await?;
    dag.ok_or_else(|| ApiError::not_found(format!("dag `{dag_id}` does not exist")))
}

#[utoipa::path(
    get, path = "/api/v2/dags", tag = "DAG", params(Paging, DagQuery, LastRunRanges),
    responses((status = 200, body = DagCollectionResponse)),
)]
pub async fn get_dags(
    State(api): State<Api>,
    user: CurrentUser,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<DagQuery>,
    Query(last_run): Query<LastRunRanges>,
) -> Result<Json<DagCollectionResponse>, ApiError> {
    let (filter, page) = query.filter(&last_run, scope.seen(), &user, &paging)?;
    let listed = api.store.dag_list(&filter, page).await?;
    let now = api.clock.now();
    let dags = listed.items.iter().map(|dag| DagResponse::new(dag, now)).collect();
    Ok(Json(DagCollectionResponse { dags, total_entries: listed.total }))
}

/// Pauses or unpauses the dags that the query finds; without `dag_id_pattern` it finds none, as Airflow.
#[utoipa::path(
    patch, path = "/api/v2/dags", tag = "DAG", params(Paging, DagQuery, LastRunRanges, UpdateMask), request_body = DagPatchBody,
    responses((status = 200, body = DagCollectionResponse)),
)]
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub async fn patch_dags(
    State(api): State<Api>,
    user: CurrentUser,
    audit: Audit,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<DagQuery>,
    Query(last_run): Query<LastRunRanges>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<DagPatchBody>,
) -> Result<Json<DagCollectionResponse>, ApiError> {
    check_mask(&mask, &["is_paused"])?;
    let (filter, page) = query.filter(&last_run, scope.held(), &user, &paging)?;
    if query.dag_id_pattern.is_none() && query.dag_id_prefix_pattern.is_none() {
        return Ok(Json(DagCollectionResponse { dags: Vec::new(), total_entries: 0 }));
    }
    let listed = api.store.dag_list(&filter, page).await?;
    let now = api.clock.now();
    let mut dags = Vec::with_capacity(listed.items.len());
    let names: Vec<_> = listed.items.iter().map(|dag| dag.dag_id.to_string()).collect();
    audit.change("dags", &Value::Null, &json!({"is_paused": body.is_paused, "dag_ids": names}));
    for dag in listed.items {
        api.scheduler.dag_set_paused(&dag.dag_id, body.is_paused).await?;
        audit.begun();
        dags.push(DagResponse::new(&DagRow { is_paused: body.is_paused, ..dag }, now));
    }
    Ok(Json(DagCollectionResponse { dags, total_entries: listed.total }))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}", tag = "DAG", params(DagPath), responses((status = 200, body = DagResponse)),
)]
pub async fn get_dag(State(api): State<Api>, Path(path): Path<DagPath>) -> Result<Json<DagResponse>, ApiError> {
    let dag = find_dag(&api, &path.dag_id).await?;
    Ok(Json(DagResponse::new(&dag, api.clock.now())))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/details", tag = "DAG", params(DagPath),
    responses((status = 200, body = DagDetailsResponse)),
)]
pub async fn get_dag_details(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
) -> Result<Json<DagDetailsResponse>, ApiError> {
    let dag = find_dag(&api, &path.dag_id).await?;
    let active =
        DagRunFilter { states: vec![RunState::Queued, RunState::Running], ..DagRunFilter::of_dag(dag.dag_id.clone()) };
    let active = api.store.dag_run_list(&active, Page::first(1)).await?;
    let version = api.store.dag_version_get(dag.version).await?;
    let favorites = api.store.dag_favorite_list(&user.username, std::slice::from_ref(&dag.dag_id)).await?;
    let spec = &*dag.spec;
    Ok(Json(DagDetailsResponse {
        catchup: spec.catchup,
        concurrency: spec.max_active_tasks,
        dag_run_timeout: spec.run_timeout_ms.map(iso_duration),
        default_args: None,
        doc_md: spec.doc.clone(),
        asset_expression: asset_condition(spec)
            .and_then(|condition| condition.to_json(&spec.assets).as_object().cloned()),
        start_date: spec.start.map(Timestamp::to_utc),
        end_date: spec.end.map(Timestamp::to_utc),
        is_paused_upon_creation: spec.paused_upon_creation,
        is_favorite: !favorites.is_empty(),
        active_runs_count: active.total,
        last_parsed: dag.updated_at.to_utc(),
        latest_dag_version: version.as_ref().map(DagVersionResponse::from),
        owner_links: None,
        params: spec.params.iter().map(param_view).collect(),
        render_template_as_native_obj: false,
        template_search_path: None,
        rerun_with_latest_version: None,
        timezone: spec.timezone.clone(),
        grants: GrantsResponse {
            variables: spec.grants.variables.clone(),
            connections: spec.grants.connections.clone(),
            connection_secrets: spec.grants.connection_secrets.clone(),
            hosts: spec.grants.hosts.clone(),
            dags: spec.grants.dags.clone(),
            memory_mib: spec.grants.memory_mib.unwrap_or(crate::model::grants::DEFAULT_MEMORY_MIB),
        },
        dag: DagResponse::new(&dag, api.clock.now()),
    }))
}

#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}", tag = "DAG", params(DagPath, UpdateMask), request_body = DagPatchBody,
    responses((status = 200, body = DagResponse)),
)]
pub async fn patch_dag(
    State(api): State<Api>,
    audit: Audit,
    Path(path): Path<DagPath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<DagPatchBody>,
) -> Result<Json<DagResponse>, ApiError> {
    check_mask(&mask, &["is_paused"])?;
    audit.change(path.dag_id.as_str(), &Value::Null, &json!({"is_paused": body.is_paused}));
    api.scheduler.dag_set_paused(&path.dag_id, body.is_paused).await?;
    let dag = find_dag(&api, &path.dag_id).await?;
    Ok(Json(DagResponse::new(&dag, api.clock.now())))
}

/// Deletes the dag with its runs, logs and artifacts. A component that carries it brings it back when uploaded anew.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}", tag = "DAG", params(DagPath), responses((status = 204)),
)]
pub async fn delete_dag(State(api): State<Api>, Path(path): Path<DagPath>) -> Result<StatusCode, ApiError> {
    api.scheduler.dag_delete(&path.dag_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The runs that the dag's timetable makes next, were it not paused.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/nextRuns", tag = "DAG", params(DagPath, NextRunQuery),
    responses((status = 200, body = NextRunCollectionResponse)),
)]
pub async fn get_next_runs(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
    Query(query): Query<NextRunQuery>,
) -> Result<Json<NextRunCollectionResponse>, ApiError> {
    let after = query.after.map(|after| after.0);
    let count = query.limit.unwrap_or(10).min(MAX_NEXT_RUNS);
    let runs = api.scheduler.next_runs(&path.dag_id, after, count).await?;
    let next_runs: Vec<_> = runs
        .into_iter()
        .map(|run| NextRunResponse {
            logical_date: run.logical_date.to_utc(),
            data_interval_start: run.data_interval.start.to_utc(),
            data_interval_end: run.data_interval.end.to_utc(),
            run_after: run.run_after.to_utc(),
        })
        .collect();
    Ok(Json(NextRunCollectionResponse { total_entries: next_runs.len(), next_runs }))
}

/// Refuses a mask that names a field that can't be changed.
///
/// # Errors
/// 400, as Airflow.
pub fn check_mask(mask: &UpdateMask, known: &[&str]) -> Result<(), ApiError> {
    match mask.update_mask.iter().find(|field| !known.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) => {
            let field: String = field.chars().take(80).collect();
            Err(ApiError::bad_request(format!("`{field}` in update_mask is not a field that can be changed here")))
        }
    }
}
