//! Backfills: create, dry run, list, get, pause, cancel.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{self, Instant, Paging, Path, Query},
    permit::Scoped,
};
use crate::{
    auth::{Audit, CurrentUser, DagScope, NotYours},
    model::{backfill::ReprocessBehavior, ids::DagId, state::RunState, time::Timestamp},
    scheduler::{BackfillRequest, PlannedRun},
    store::{BackfillId, BackfillRow},
};

/// Airflow: `BackfillPostBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackfillPostBody {
    #[schema(value_type = String)]
    dag_id: DagId,
    /// No logical_date before it. As in Airflow, it may be without an offset: in UTC then.
    #[schema(value_type = DateTime<Utc>)]
    from_date: Instant,
    /// No logical_date after it.
    #[schema(value_type = DateTime<Utc>)]
    to_date: Instant,
    /// The newest first.
    #[serde(default)]
    run_backwards: bool,
    #[serde(default)]
    dag_run_conf: Option<Map<String, Value>>,
    /// `none`, `failed` or `completed`: which of the runs that are there are run again.
    #[serde(default)]
    #[schema(value_type = String)]
    reprocess_behavior: ReprocessBehavior,
    /// Its runs that are not finished at a time.
    #[serde(default = "ten")]
    #[schema(default = 10, minimum = 1)]
    max_active_runs: u32,
    /// New runs are of the newest version, those that are run again of their own: true is refused if any may be.
    #[serde(default)]
    run_on_latest_version: Option<bool>,
}

fn ten() -> u32 {
    10
}

/// Airflow: `BackfillResponse`, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillResponse {
    id: i64,
    dag_id: String,
    dag_display_name: String,
    from_date: DateTime<Utc>,
    to_date: DateTime<Utc>,
    #[schema(value_type = Object)]
    dag_run_conf: Box<RawValue>,
    is_paused: bool,
    reprocess_behavior: &'static str,
    max_active_runs: u32,
    run_backwards: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
    /// Its intervals.
    total: u32,
    /// Intervals that it has come to.
    dealt_with: u32,
    /// Of those: their runs were there and stay as they are, or the dag's schedule has them no more.
    skipped: u32,
    queued: i64,
    running: i64,
    success: i64,
    failed: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillCollectionResponse {
    backfills: Vec<BackfillResponse>,
    total_entries: i64,
}

/// Airflow: `DryRunBackfillResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunBackfillResponse {
    logical_date: DateTime<Utc>,
    data_interval_start: DateTime<Utc>,
    data_interval_end: DateTime<Utc>,
    /// Always null: there are no partitions.
    partition_key: Option<String>,
    /// Always null.
    partition_date: Option<DateTime<Utc>>,
    /// `create`, `reprocess` or `skip`.
    action: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DryRunBackfillCollectionResponse {
    backfills: Vec<DryRunBackfillResponse>,
    total_entries: usize,
}

/// Which backfills.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct BackfillQuery {
    #[param(value_type = Option<String>)]
    dag_id: Option<DagId>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct BackfillPath {
    backfill_id: i64,
}

impl BackfillPostBody {
    fn request(self, user: Option<String>) -> Result<BackfillRequest, ApiError> {
        if self.run_on_latest_version == Some(true) && self.reprocess_behavior != ReprocessBehavior::None {
            return Err(ApiError::bad_request(
                "runs that are there keep their version; leave `run_on_latest_version` out, or clear them with it",
            ));
        }
        Ok(BackfillRequest {
            dag_id: self.dag_id,
            from_date: self.from_date.0,
            to_date: self.to_date.0,
            run_backwards: self.run_backwards,
            max_active_runs: self.max_active_runs,
            reprocess_behavior: self.reprocess_behavior,
            conf: self.dag_run_conf.unwrap_or_default(),
            user,
        })
    }
}

async fn show(api: &Api, row: BackfillRow) -> Result<BackfillResponse, ApiError> {
    let states = api.store.backfill_states(row.id).await?;
    let count = |state: RunState| states.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| *count);
    let dag = api.store.dag_get(&row.new.dag_id).await?;
    Ok(BackfillResponse {
        id: row.id.0,
        dag_display_name: dag.map_or_else(|| row.new.dag_id.to_string(), |dag| dag.spec.shown_name().to_owned()),
        dag_id: row.new.dag_id.to_string(),
        from_date: row.new.intervals.from.to_utc(),
        to_date: row.new.intervals.to.to_utc(),
        dag_run_conf: RawValue::from_string(row.new.dag_run_conf).unwrap_or_default(),
        is_paused: row.is_paused,
        reprocess_behavior: row.new.reprocess_behavior.as_str(),
        max_active_runs: row.new.max_active_runs,
        run_backwards: row.new.intervals.run_backwards,
        created_at: row.created_at.to_utc(),
        updated_at: row.updated_at.to_utc(),
        completed_at: row.completed_at.map(Timestamp::to_utc),
        total: row.new.total,
        dealt_with: row.dealt_with,
        skipped: row.skipped,
        queued: count(RunState::Queued),
        running: count(RunState::Running),
        success: count(RunState::Success),
        failed: count(RunState::Failed),
    })
}

/// A backfill with whose dag the request may do what it does; that of a dag which the user may not see is none. What the request
/// changes is about that dag.
async fn find(api: &Api, scope: &DagScope, id: i64) -> Result<BackfillRow, ApiError> {
    let missing = || ApiError::not_found(format!("backfill {id} does not exist"));
    let row = api.store.backfill_get(BackfillId(id)).await?.ok_or_else(missing)?;
    match scope.check(&row.new.dag_id) {
        Ok(()) => {
            Audit::about_dag(row.new.dag_id.as_str());
            Ok(row)
        }
        Err(NotYours::Unknown(_)) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

#[utoipa::path(
    get, path = "/api/v2/backfills", tag = "Backfill", params(Paging, BackfillQuery),
    responses((status = 200, body = BackfillCollectionResponse)),
)]
pub async fn list_backfills(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<BackfillQuery>,
) -> Result<Json<BackfillCollectionResponse>, ApiError> {
    let page = paging.in_order(&["-id"])?;
    let listed = api.store.backfill_list(query.dag_id.as_ref(), scope.seen(), page).await?;
    let mut backfills = Vec::with_capacity(listed.items.len());
    for row in listed.items {
        backfills.push(show(&api, row).await?);
    }
    Ok(Json(BackfillCollectionResponse { backfills, total_entries: listed.total }))
}

#[utoipa::path(
    post, path = "/api/v2/backfills", tag = "Backfill", request_body = BackfillPostBody,
    responses((status = 200, body = BackfillResponse)),
)]
pub async fn create_backfill(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    user: CurrentUser,
    extract::Json(body): extract::Json<BackfillPostBody>,
) -> Result<Json<BackfillResponse>, ApiError> {
    scope.check(&body.dag_id)?;
    let row = api.scheduler.backfill_create(body.request(Some(user.username))?).await?;
    Ok(Json(show(&api, row).await?))
}

/// What the backfill would do, in its order; nothing is changed.
#[utoipa::path(
    post, path = "/api/v2/backfills/dry_run", tag = "Backfill", request_body = BackfillPostBody,
    responses((status = 200, body = DryRunBackfillCollectionResponse)),
)]
pub async fn create_backfill_dry_run(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    extract::Json(body): extract::Json<BackfillPostBody>,
) -> Result<Json<DryRunBackfillCollectionResponse>, ApiError> {
    scope.check(&body.dag_id)?;
    let planned = api.scheduler.backfill_dry_run(&body.request(None)?).await?;
    let view = |PlannedRun { run, plan }: &PlannedRun| DryRunBackfillResponse {
        logical_date: run.logical_date.to_utc(),
        data_interval_start: run.data_interval.start.to_utc(),
        data_interval_end: run.data_interval.end.to_utc(),
        partition_key: None,
        partition_date: None,
        action: plan.as_str(),
    };
    let backfills: Vec<_> = planned.iter().map(view).collect();
    Ok(Json(DryRunBackfillCollectionResponse { total_entries: backfills.len(), backfills }))
}

#[utoipa::path(
    get, path = "/api/v2/backfills/{backfill_id}", tag = "Backfill", params(BackfillPath),
    responses((status = 200, body = BackfillResponse)),
)]
pub async fn get_backfill(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<BackfillPath>,
) -> Result<Json<BackfillResponse>, ApiError> {
    let row = find(&api, &scope, path.backfill_id).await?;
    Ok(Json(show(&api, row).await?))
}

#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/pause", tag = "Backfill", params(BackfillPath),
    responses((status = 200, body = BackfillResponse)),
)]
pub async fn pause_backfill(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<BackfillPath>,
) -> Result<Json<BackfillResponse>, ApiError> {
    let found = find(&api, &scope, path.backfill_id).await?;
    let row = api.scheduler.backfill_set_paused(found.id, true).await?;
    Ok(Json(show(&api, row).await?))
}

#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/unpause", tag = "Backfill", params(BackfillPath),
    responses((status = 200, body = BackfillResponse)),
)]
pub async fn unpause_backfill(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<BackfillPath>,
) -> Result<Json<BackfillResponse>, ApiError> {
    let found = find(&api, &scope, path.backfill_id).await?;
    let row = api.scheduler.backfill_set_paused(found.id, false).await?;
    Ok(Json(show(&api, row).await?))
}

/// Ends the backfill: its queued runs fail, those that run go on.
#[utoipa::path(
    put, path = "/api/v2/backfills/{backfill_id}/cancel", tag = "Backfill", params(BackfillPath),
    responses((status = 200, body = BackfillResponse)),
)]
pub async fn cancel_backfill(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<BackfillPath>,
) -> Result<Json<BackfillResponse>, ApiError> {
    let found = find(&api, &scope, path.backfill_id).await?;
    let row = api.scheduler.backfill_cancel(found.id).await?;
    Ok(Json(show(&api, row).await?))
}
