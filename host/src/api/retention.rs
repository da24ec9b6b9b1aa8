//! How long history is kept, and what goes.

use std::{num::NonZeroU32, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    dag_numbers::{self, body},
    dags::find_dag,
    error::ApiError,
    extract::{self, Path},
    paths::DagPath,
};
use crate::{
    auth::Audit,
    model::retention::{DagRetention, Part, Retention},
    scheduler::{DagPreview, Deletions},
    store::DagRunKey,
};

/// How long a request waits for what it deletes.
const PATIENCE: Duration = Duration::from_secs(10);

body! {
    /// How long history of a dag is kept. Null: what the server's settings say; 0: for ever.
    DagRetentionBody = DagRetention {
        /// A run is deleted so many days after its end.
        #[schema(maximum = 36_500)]
        runs_days,
        /// So many finished runs stay, those that ended last.
        #[schema(maximum = 100_000)]
        runs_count,
        /// Logs and recordings are deleted so many days after the end of their run.
        #[schema(maximum = 36_500)]
        logs_days,
        /// XComs and artifacts are deleted so many days after the end of their run.
        #[schema(maximum = 36_500)]
        data_days,
    }
}

/// How long history is kept. Null: for ever.
#[derive(Debug, Serialize, ToSchema)]
pub struct EffectiveRetentionResponse {
    runs_days: Option<u32>,
    runs_count: Option<u32>,
    logs_days: Option<u32>,
    data_days: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagRetentionResponse {
    dag_id: String,
    /// What is said of this dag.
    own: DagRetentionBody,
    /// What holds for it.
    effective: EffectiveRetentionResponse,
    /// Runs that ended until then have no logs any more. Null: none were deleted.
    logs_deleted_until: Option<DateTime<Utc>>,
    /// The same of XComs and artifacts.
    data_deleted_until: Option<DateTime<Utc>>,
}

/// What is said of a dag.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnRetentionResponse {
    dag_id: String,
    own: DagRetentionBody,
}

/// What the server's settings say, and of which dags something else is said.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionResponse {
    #[serde(flatten)]
    settings: EffectiveRetentionResponse,
    /// Null: for ever. So are those below.
    versions_days: Option<u32>,
    versions_count: Option<u32>,
    asset_events_days: Option<u32>,
    audit_days: Option<u32>,
    audit_count: Option<u32>,
    /// The dags of which something is said.
    dags: Vec<OwnRetentionResponse>,
}

/// What would be deleted of a dag.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionPreviewResponse {
    dag_id: String,
    /// Runs, with all that they left.
    runs: u64,
    /// Runs that are due and stay for now, because something needs them.
    held: u64,
    /// Runs whose logs and recordings are deleted.
    logs_of_runs: u64,
    /// Runs whose XComs and artifacts are deleted.
    data_of_runs: u64,
    /// Of the runs that are deleted.
    task_instances: i64,
    /// Of objects: artifacts, large XComs, logs, recordings.
    bytes: i64,
    /// There is more: at most 10,000 runs were looked at.
    has_more: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionPreviewCollectionResponse {
    dags: Vec<RetentionPreviewResponse>,
    total_entries: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionRunResponse {
    #[serde(flatten)]
    deleted: Deletions,
    /// False: it goes on; ask again to hear when it is done.
    is_done: bool,
}

impl From<Retention> for EffectiveRetentionResponse {
    fn from(Retention { runs_days, runs_count, logs_days, data_days }: Retention) -> Self {
        let number = |number: Option<NonZeroU32>| number.map(NonZeroU32::get);
        Self {
            runs_days: number(runs_days),
            runs_count: number(runs_count),
            logs_days: number(logs_days),
            data_days: number(data_days),
        }
    }
}

impl From<DagPreview> for RetentionPreviewResponse {
    fn from(preview: DagPreview) -> Self {
        let DagPreview { dag_id, runs, held, logs_of_runs, data_of_runs, task_instances, bytes, has_more } = preview;
        Self { dag_id: dag_id.to_string(), runs, held, logs_of_runs, data_of_runs, task_instances, bytes, has_more }
    }
}

/// How long history is kept.
#[utoipa::path(get, path = "/api/v2/retention", tag = "Retention", responses((status = 200, body = RetentionResponse)))]
pub async fn get_retention(State(api): State<Api>) -> Result<Json<RetentionResponse>, ApiError> {
    let config = api.scheduler.retention();
    let number = |number: Option<NonZeroU32>| number.map(NonZeroU32::get);
    let all = api.store.dag_numbers_list::<DagRetention>().await?.into_iter();
    Ok(Json(RetentionResponse {
        settings: config.dags.into(),
        versions_days: number(config.versions_days),
        versions_count: number(config.versions_count),
        asset_events_days: number(config.asset_events_days),
        audit_days: number(config.audit_days),
        audit_count: number(config.audit_count),
        dags: all.map(|(dag_id, own)| OwnRetentionResponse { dag_id: dag_id.to_string(), own: own.into() }).collect(),
    }))
}

/// What retention would delete of which dag now.
#[utoipa::path(
    post, path = "/api/v2/retention/dry_run", tag = "Retention",
    responses((status = 200, body = RetentionPreviewCollectionResponse)),
)]
pub async fn dry_run_retention(State(api): State<Api>) -> Result<Json<RetentionPreviewCollectionResponse>, ApiError> {
    let preview = api.scheduler.retention_preview(api.clock.now()).await?;
    let dags: Vec<_> = preview.dags.into_iter().map(RetentionPreviewResponse::from).collect();
    Ok(Json(RetentionPreviewCollectionResponse { total_entries: dags.len(), dags }))
}

/// Deletes now what is due, rather than when its time comes in the background. Answers after ten seconds at the latest.
#[utoipa::path(
    post, path = "/api/v2/retention/run", tag = "Retention", responses((status = 200, body = RetentionRunResponse)),
)]
pub async fn run_retention(State(api): State<Api>, audit: Audit) -> Result<Json<RetentionRunResponse>, ApiError> {
    audit.begun();
    let (deleted, is_done) = api.scheduler.retention_run(PATIENCE).await?;
    Ok(Json(RetentionRunResponse { deleted, is_done }))
}

/// Refuses what a run does not have any more, if retention deleted it.
pub(super) async fn refuse_retired(api: &Api, run: DagRunKey, part: Part) -> Result<(), ApiError> {
    if !api.store.dag_run_part_is_deleted(run, part).await? {
        return Ok(());
    }
    let what = match part {
        Part::Logs => "logs and recordings of this run were deleted by retention (`logs_days`)",
        Part::Data => "XComs and artifacts of this run were deleted by retention (`data_days`)",
    };
    Err(ApiError::new(StatusCode::GONE, "deleted", what))
}

async fn show(api: &Api, path: &DagPath) -> Result<Json<DagRetentionResponse>, ApiError> {
    let dag = find_dag(api, &path.dag_id).await?;
    let own = api.store.dag_numbers_get::<DagRetention>(&dag.dag_id).await?;
    let deleted_until = async |part| {
        let place = api.store.dag_part_deleted_until(&dag.dag_id, part).await?;
        Ok::<_, ApiError>(place.map(|place| place.end_date.to_utc()))
    };
    Ok(Json(DagRetentionResponse {
        dag_id: dag.dag_id.to_string(),
        own: own.into(),
        effective: api.scheduler.retention().dags.of_dag(own).into(),
        logs_deleted_until: deleted_until(Part::Logs).await?,
        data_deleted_until: deleted_until(Part::Data).await?,
    }))
}

/// How long history of the dag is kept.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/retention", tag = "Retention", params(DagPath),
    responses((status = 200, body = DagRetentionResponse)),
)]
pub async fn get_dag_retention(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
) -> Result<Json<DagRetentionResponse>, ApiError> {
    show(&api, &path).await
}

/// Says how long history of the dag is kept; what is left out, the server's settings say.
#[utoipa::path(
    put, path = "/api/v2/dags/{dag_id}/retention", tag = "Retention", params(DagPath), request_body = DagRetentionBody,
    responses((status = 200, body = DagRetentionResponse)),
)]
pub async fn put_dag_retention(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<DagRetentionBody>,
) -> Result<Json<DagRetentionResponse>, ApiError> {
    dag_numbers::put::<DagRetention>(&api, &path.dag_id, body).await?;
    show(&api, &path).await
}
