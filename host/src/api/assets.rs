//! Assets, their events, and which of those dags have yet to consume.

pub mod aliases;
pub mod materialize;

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dag_runs::find_run,
    dags::find_dag,
    error::ApiError,
    extract::{self, Instant, Paging, Path, Query, pattern},
    paths::{AssetPath, DagAssetPath, DagPath, RunPath},
    permit::Scoped,
    ranges::TimestampRange,
};
use crate::{
    auth::{CurrentUser, DagScope},
    model::{
        asset,
        ids::{DagId, RunId, TaskId},
        time::Timestamp,
    },
    store::{
        AssetEventFilter, AssetEventOrder, AssetEventRow, AssetFilter, AssetOrder, AssetReference, AssetRow,
        EventConsumer, Order, Page, QueuedEvent, QueuedEventFilter,
    },
};

/// Events that a run is shown to have consumed.
const MAX_UPSTREAM: u32 = 10_000;

/// Airflow: `AssetResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetResponse {
    id: i64,
    name: String,
    uri: String,
    group: String,
    #[schema(value_type = Object)]
    extra: Box<RawValue>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    scheduled_dags: Vec<DagReferenceResponse>,
    producing_tasks: Vec<TaskReferenceResponse>,
    consuming_tasks: Vec<TaskReferenceResponse>,
    aliases: Vec<String>,
    watchers: Vec<String>,
    last_asset_event: LastAssetEventResponse,
}

/// Both are null if there was none.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastAssetEventResponse {
    id: Option<i64>,
    timestamp: Option<DateTime<Utc>>,
}

/// A dag that is scheduled on the asset.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagReferenceResponse {
    dag_id: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A task that makes or reads the asset.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskReferenceResponse {
    dag_id: String,
    task_id: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AssetCollectionResponse {
    assets: Vec<AssetResponse>,
    total_entries: i64,
}

/// Airflow: `AssetEventResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetEventResponse {
    id: i64,
    asset_id: i64,
    uri: String,
    name: String,
    group: String,
    #[schema(value_type = Object)]
    extra: Box<RawValue>,
    source_dag_id: Option<String>,
    source_run_id: Option<String>,
    source_task_id: Option<String>,
    source_map_index: i32,
    /// Who made it by hand.
    created_by: Option<String>,
    /// The runs that consumed it.
    created_dagruns: Vec<CreatedRunResponse>,
    timestamp: DateTime<Utc>,
    partition_key: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedRunResponse {
    run_id: String,
    dag_id: String,
    logical_date: Option<DateTime<Utc>>,
    /// Of a run that has not started: since when it is queued, as Airflow's clients know no null here.
    start_date: DateTime<Utc>,
    end_date: Option<DateTime<Utc>>,
    state: &'static str,
    data_interval_start: Option<DateTime<Utc>>,
    data_interval_end: Option<DateTime<Utc>>,
    partition_key: Option<String>,
    /// Whether it is the last of the events that the run consumed, the one with which the run was due.
    triggering: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AssetEventCollectionResponse {
    asset_events: Vec<AssetEventResponse>,
    total_entries: i64,
}

/// Airflow: `QueuedEventResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueuedEventResponse {
    dag_id: String,
    asset_id: i64,
    created_at: DateTime<Utc>,
    dag_display_name: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct QueuedEventCollectionResponse {
    queued_events: Vec<QueuedEventResponse>,
    total_entries: i64,
}

/// Airflow: `CreateAssetEventsBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAssetEventsBody {
    asset_id: i64,
    /// A JSON object of at most 64 KiB. As in Airflow, the event's has `"from_rest_api": true` besides.
    #[serde(default)]
    extra: serde_json::Map<String, serde_json::Value>,
    /// Not supported: must be null.
    #[serde(default)]
    partition_key: Option<String>,
    /// Which teams may consume it. There are no teams: must be null.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    access_control: Option<serde_json::Value>,
}

/// Which assets.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AssetQuery {
    /// Any text that the name holds; `%` stands for any text, `_` for any character, `|` for or.
    name_pattern: Option<String>,
    /// How the name begins; `|` stands for or.
    name_prefix_pattern: Option<String>,
    /// Any text that the uri holds.
    uri_pattern: Option<String>,
    /// How the uri begins.
    uri_prefix_pattern: Option<String>,
    /// Dags of which one names it.
    #[param(value_type = Vec<String>)]
    dag_ids: Vec<DagId>,
    /// Whether only those are listed that the newest version of some dag makes, reads or is scheduled on; true if it is left out.
    #[serde(deserialize_with = "extract::flag")]
    only_active: Option<bool>,
}

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AssetEventQuery {
    /// Of an alias: the events of assets that went through it.
    asset_id: Option<i64>,
    #[param(value_type = Option<String>)]
    source_dag_id: Option<DagId>,
    #[param(value_type = Option<String>)]
    source_run_id: Option<RunId>,
    #[param(value_type = Option<String>)]
    source_task_id: Option<TaskId>,
    source_map_index: Option<i32>,
    /// Any text that the asset's name holds; `%` stands for any text, `_` for any character, `|` for or.
    name_pattern: Option<String>,
    /// How the asset's name begins; `|` stands for or.
    name_prefix_pattern: Option<String>,
}

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_default()
}

impl AssetResponse {
    fn new(row: AssetRow, references: &[AssetReference]) -> Self {
        let of_kind = |kind: &'static str| {
            let id = row.id;
            references.iter().filter(move |reference| reference.asset == id && reference.kind == kind)
        };
        let tasks = |kind| {
            let task = |reference: &AssetReference| {
                let at = reference.created_at.to_utc();
                Some(TaskReferenceResponse {
                    dag_id: reference.dag_id.to_string(),
                    task_id: reference.task_id.as_ref()?.to_string(),
                    created_at: at,
                    updated_at: at,
                })
            };
            of_kind(kind).filter_map(task).collect()
        };
        let dag = |reference: &AssetReference| {
            let at = reference.created_at.to_utc();
            DagReferenceResponse { dag_id: reference.dag_id.to_string(), created_at: at, updated_at: at }
        };
        let (id, timestamp) = row.last_event.map(|(id, at)| (id, at.to_utc())).unzip();
        Self {
            id: row.id,
            scheduled_dags: of_kind("schedule").map(dag).collect(),
            producing_tasks: tasks("outlet"),
            consuming_tasks: tasks("inlet"),
            name: row.name.to_string(),
            uri: row.uri,
            group: row.group,
            extra: raw(row.extra),
            created_at: row.created_at.to_utc(),
            updated_at: row.updated_at.to_utc(),
            aliases: Vec::new(),
            watchers: Vec::new(),
            last_asset_event: LastAssetEventResponse { id, timestamp },
        }
    }
}

impl AssetEventResponse {
    fn new(row: AssetEventRow, runs: Option<&Vec<EventConsumer>>) -> Self {
        Self {
            id: row.key,
            asset_id: row.asset,
            uri: row.uri,
            name: row.name.to_string(),
            group: row.group,
            extra: raw(row.extra),
            source_dag_id: row.source_dag_id.map(|id| id.to_string()),
            source_run_id: row.source_run_id.map(|id| id.to_string()),
            source_task_id: row.source_task_id.map(|id| id.to_string()),
            source_map_index: row.source_map_index,
            created_by: row.created_by,
            created_dagruns: runs.into_iter().flatten().map(CreatedRunResponse::from).collect(),
            timestamp: row.timestamp.to_utc(),
            partition_key: None,
        }
    }
}

impl From<&EventConsumer> for CreatedRunResponse {
    fn from(consumer: &EventConsumer) -> Self {
        let run = &consumer.run;
        Self {
            run_id: run.run_id.to_string(),
            dag_id: run.dag_id.to_string(),
            logical_date: run.logical_date.map(Timestamp::to_utc),
            start_date: run.start_date.unwrap_or(run.queued_at).to_utc(),
            end_date: run.end_date.map(Timestamp::to_utc),
            state: run.state.as_str(),
            data_interval_start: run.data_interval.map(|interval| interval.start.to_utc()),
            data_interval_end: run.data_interval.map(|interval| interval.end.to_utc()),
            partition_key: None,
            triggering: consumer.is_last,
        }
    }
}

async fn find(api: &Api, id: i64) -> Result<AssetRow, ApiError> {
    let row = api.store.asset_get(id).await?;
    row.ok_or_else(|| missing(id))
}

fn missing(id: i64) -> ApiError {
    ApiError::not_found(format!("asset {id} does not exist"))
}

/// Where dags that may be seen name an asset.
async fn references(api: &Api, scope: &DagScope, ids: &[i64]) -> Result<Vec<AssetReference>, ApiError> {
    let references = api.store.asset_reference_list(ids).await?;
    Ok(references.into_iter().filter(|reference| scope.sees(&reference.dag_id)).collect())
}

/// An asset that a dag names which may be seen, and where such dags name it.
async fn find_seen(api: &Api, scope: &DagScope, id: i64) -> Result<(AssetRow, Vec<AssetReference>), ApiError> {
    let row = find(api, id).await?;
    let references = references(api, scope, &[id]).await?;
    if references.is_empty() && scope.seen().listed().is_some() {
        return Err(missing(id));
    }
    Ok((row, references))
}

async fn show_events(
    api: &Api,
    scope: &DagScope,
    rows: Vec<AssetEventRow>,
) -> Result<Vec<AssetEventResponse>, ApiError> {
    let keys: Vec<_> = rows.iter().map(|row| row.key).collect();
    let mut runs: BTreeMap<i64, Vec<EventConsumer>> = BTreeMap::new();
    for consumer in api.store.dag_run_list_by_asset_events(&keys).await? {
        if !scope.sees(&consumer.run.dag_id) {
            continue;
        }
        runs.entry(consumer.event).or_default().push(consumer);
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let of_event = runs.get(&row.key);
            AssetEventResponse::new(row, of_event)
        })
        .collect())
}

fn order(paging: &Paging) -> Result<(Page, AssetOrder, Order), ApiError> {
    let known = [
        ("name", AssetOrder::Name),
        ("id", AssetOrder::Id),
        ("uri", AssetOrder::Uri),
        ("created_at", AssetOrder::CreatedAt),
        ("updated_at", AssetOrder::UpdatedAt),
    ];
    let (page, asked) = paging.sorted(&known)?;
    let (order_by, order) = asked.unwrap_or_default();
    Ok((page, order_by, order))
}

#[utoipa::path(
    get, path = "/api/v2/assets", tag = "Asset", params(Paging, AssetQuery),
    responses((status = 200, body = AssetCollectionResponse)),
)]
pub async fn get_assets(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<AssetQuery>,
) -> Result<Json<AssetCollectionResponse>, ApiError> {
    let (page, order_by, order) = order(&paging)?;
    let filter = AssetFilter {
        name: pattern(query.name_pattern.as_deref(), query.name_prefix_pattern.as_deref())?,
        uri: pattern(query.uri_pattern.as_deref(), query.uri_prefix_pattern.as_deref())?,
        is_alias: Some(false),
        only_named: query.only_active.unwrap_or(true),
        dags: scope.seen().narrowed(query.dag_ids),
        order_by,
        order,
    };
    let listed = api.store.asset_list(&filter, page).await?;
    let ids: Vec<_> = listed.items.iter().map(|row| row.id).collect();
    let references = references(&api, &scope, &ids).await?;
    let assets = listed.items.into_iter().map(|row| AssetResponse::new(row, &references)).collect();
    Ok(Json(AssetCollectionResponse { assets, total_entries: listed.total }))
}

#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}", tag = "Asset", params(AssetPath),
    responses((status = 200, body = AssetResponse)),
)]
pub async fn get_asset(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<AssetPath>,
) -> Result<Json<AssetResponse>, ApiError> {
    let (row, references) = find_seen(&api, &scope, path.asset_id).await?;
    Ok(Json(AssetResponse::new(row, &references)))
}

/// Events of all assets, the newest first unless `order_by` says otherwise.
#[utoipa::path(
    get, path = "/api/v2/assets/events", tag = "Asset", params(Paging, AssetEventQuery, TimestampRange),
    responses((status = 200, body = AssetEventCollectionResponse)),
)]
pub async fn get_asset_events(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<AssetEventQuery>,
    Query(range): Query<TimestampRange>,
) -> Result<Json<AssetEventCollectionResponse>, ApiError> {
    let known = [
        ("id", AssetEventOrder::Key),
        ("timestamp", AssetEventOrder::Key),
        ("source_dag_id", AssetEventOrder::SourceDagId),
        ("source_run_id", AssetEventOrder::SourceRunId),
        ("source_task_id", AssetEventOrder::SourceTaskId),
        ("source_map_index", AssetEventOrder::SourceMapIndex),
    ];
    let (page, asked) = paging.sorted(&known)?;
    let (order_by, order) = asked.unwrap_or((AssetEventOrder::Key, Order::Descending));
    let alias = match query.asset_id {
        Some(id) => api.store.asset_get(id).await?.filter(|row| row.is_alias).map(|row| row.id),
        None => None,
    };
    let filter = AssetEventFilter {
        dags: scope.seen().clone(),
        asset: query.asset_id.filter(|_| alias.is_none()),
        alias,
        source_dag_id: query.source_dag_id,
        source_run_id: query.source_run_id,
        source_task_id: query.source_task_id,
        source_map_index: query.source_map_index,
        name: pattern(query.name_pattern.as_deref(), query.name_prefix_pattern.as_deref())?,
        timestamp: range.timestamp(),
        order_by,
        order,
    };
    if filter.sorts_all() {
        return Err(ApiError::bad_request(
            "events are ordered by their source of one asset or one dag: of all that would sort all history; name `asset_id` or \
             `source_dag_id`",
        ));
    }
    let listed = api.store.asset_event_list(&filter, page).await?;
    let asset_events = show_events(&api, &scope, listed.items).await?;
    Ok(Json(AssetEventCollectionResponse { asset_events, total_entries: listed.total }))
}

/// Updates an asset by hand: the dags that wait for it have their runs.
#[utoipa::path(
    post, path = "/api/v2/assets/events", tag = "Asset", request_body = CreateAssetEventsBody,
    responses((status = 200, body = AssetEventResponse)),
)]
pub async fn create_asset_event(
    State(api): State<Api>,
    user: CurrentUser,
    extract::Json(body): extract::Json<CreateAssetEventsBody>,
) -> Result<(StatusCode, Json<AssetEventResponse>), ApiError> {
    if body.partition_key.is_some() {
        return Err(ApiError::invalid(["body", "partition_key"], "partitions are not supported"));
    }
    if body.access_control.is_some() {
        return Err(ApiError::invalid(["body", "access_control"], "there are no teams"));
    }
    let mut extra = body.extra;
    extra.insert("from_rest_api".to_owned(), true.into());
    let extra = serde_json::Value::Object(extra).to_string();
    asset::check_extra(&extra).map_err(|why| ApiError::invalid(["body", "extra"], why))?;
    let row = find(&api, body.asset_id).await?;
    let (key, timestamp) = api.scheduler.asset_update(row.name.clone(), extra.clone(), user.username.clone()).await?;
    let event = AssetEventRow {
        key,
        asset: row.id,
        name: row.name,
        uri: row.uri,
        group: row.group,
        timestamp,
        extra,
        source_dag_id: None,
        source_run_id: None,
        source_task_id: None,
        source_map_index: -1,
        created_by: Some(user.username),
    };
    Ok((StatusCode::OK, Json(AssetEventResponse::new(event, None))))
}

/// The events that a run consumed.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents", tag = "DagRun", params(RunPath),
    responses((status = 200, body = AssetEventCollectionResponse)),
)]
pub async fn get_upstream_asset_events(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<RunPath>,
) -> Result<Json<AssetEventCollectionResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let mut rows = api.store.asset_event_list_of_run(run.key, MAX_UPSTREAM).await?;
    rows.retain(|row| row.source_dag_id.as_ref().is_none_or(|dag_id| scope.sees(dag_id)));
    let asset_events = show_events(&api, &scope, rows).await?;
    let total_entries = i64::try_from(asset_events.len()).unwrap_or(i64::MAX);
    Ok(Json(AssetEventCollectionResponse { asset_events, total_entries }))
}

/// Which events that were not consumed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct QueuedEventQuery {
    /// Those that were made before.
    #[param(value_type = Option<DateTime<Utc>>)]
    before: Option<Instant>,
}

impl QueuedEventQuery {
    fn filter(&self, dag_id: Option<DagId>, asset: Option<i64>) -> QueuedEventFilter {
        QueuedEventFilter { dag_id, asset, before: self.before.map(|before| before.0) }
    }
}

/// Events that were not consumed, of dags that may be seen, by dag and asset in the order in which they came.
async fn waiting(api: &Api, scope: &DagScope, which: &QueuedEventFilter) -> Result<Vec<QueuedEventResponse>, ApiError> {
    if let Some(dag_id) = &which.dag_id {
        find_dag(api, dag_id).await?;
    }
    if let Some(asset) = which.asset {
        find_seen(api, scope, asset).await?;
    }
    let mut events = api.store.asset_queue_list(which).await?;
    events.retain(|event| scope.sees(&event.dag_id));
    let dags: BTreeSet<_> = events.iter().map(|event| event.dag_id.clone()).collect();
    let names = api.store.dag_names(&Vec::from_iter(dags)).await?;
    let view = |event: QueuedEvent| QueuedEventResponse {
        dag_display_name: names.get(&event.dag_id).cloned().unwrap_or_else(|| event.dag_id.to_string()),
        dag_id: event.dag_id.to_string(),
        asset_id: event.asset,
        created_at: event.timestamp.to_utc(),
    };
    Ok(events.into_iter().map(view).collect())
}

async fn queued(
    api: &Api,
    scope: &DagScope,
    which: &QueuedEventFilter,
) -> Result<Json<QueuedEventCollectionResponse>, ApiError> {
    let queued_events = waiting(api, scope, which).await?;
    let total_entries = i64::try_from(queued_events.len()).unwrap_or(i64::MAX);
    Ok(Json(QueuedEventCollectionResponse { queued_events, total_entries }))
}

async fn unqueue(api: &Api, scope: &DagScope, which: QueuedEventFilter) -> Result<StatusCode, ApiError> {
    if let Some(dag_id) = &which.dag_id {
        find_dag(api, dag_id).await?;
    }
    if let Some(asset) = which.asset {
        find_seen(api, scope, asset).await?;
    }
    if api.scheduler.asset_queue_delete(which).await? == 0 {
        return Err(ApiError::not_found("no event waits to be consumed"));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Events of an asset that dags have not consumed.
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}/queuedEvents", tag = "Asset", params(AssetPath, QueuedEventQuery),
    responses((status = 200, body = QueuedEventCollectionResponse)),
)]
pub async fn get_asset_queued_events(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<AssetPath>,
    Query(query): Query<QueuedEventQuery>,
) -> Result<Json<QueuedEventCollectionResponse>, ApiError> {
    queued(&api, &scope, &query.filter(None, Some(path.asset_id))).await
}

#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/queuedEvents", tag = "Asset", params(AssetPath, QueuedEventQuery),
    responses((status = 204)),
)]
pub async fn delete_asset_queued_events(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<AssetPath>,
    Query(query): Query<QueuedEventQuery>,
) -> Result<StatusCode, ApiError> {
    unqueue(&api, &scope, query.filter(None, Some(path.asset_id))).await
}

/// Events that a dag has not consumed.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/assets/queuedEvents", tag = "Asset", params(DagPath, QueuedEventQuery),
    responses((status = 200, body = QueuedEventCollectionResponse)),
)]
pub async fn get_dag_asset_queued_events(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagPath>,
    Query(query): Query<QueuedEventQuery>,
) -> Result<Json<QueuedEventCollectionResponse>, ApiError> {
    queued(&api, &scope, &query.filter(Some(path.dag_id), None)).await
}

#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/assets/queuedEvents", tag = "Asset", params(DagPath, QueuedEventQuery),
    responses((status = 204)),
)]
pub async fn delete_dag_asset_queued_events(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagPath>,
    Query(query): Query<QueuedEventQuery>,
) -> Result<StatusCode, ApiError> {
    unqueue(&api, &scope, query.filter(Some(path.dag_id), None)).await
}

/// The event of an asset that a dag has not consumed; of several the first. 404 if there is none.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", tag = "Asset", params(DagAssetPath, QueuedEventQuery),
    responses((status = 200, body = QueuedEventResponse)),
)]
pub async fn get_dag_asset_queued_event(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagAssetPath>,
    Query(query): Query<QueuedEventQuery>,
) -> Result<Json<QueuedEventResponse>, ApiError> {
    let DagAssetPath { dag_id, asset_id } = path;
    let events = waiting(&api, &scope, &query.filter(Some(dag_id.clone()), Some(asset_id))).await?;
    let first = events.into_iter().next();
    let none = || ApiError::not_found(format!("no event of asset {asset_id} waits to be consumed by dag `{dag_id}`"));
    first.map(Json).ok_or_else(none)
}

#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", tag = "Asset", params(DagAssetPath, QueuedEventQuery),
    responses((status = 204)),
)]
pub async fn delete_dag_asset_queued_event(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagAssetPath>,
    Query(query): Query<QueuedEventQuery>,
) -> Result<StatusCode, ApiError> {
    unqueue(&api, &scope, query.filter(Some(path.dag_id), Some(path.asset_id))).await
}
