//! Who we are, and whether we are well.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// A scheduler whose loop has not gone round for so long is not well. Airflow: 30 s.
const HEARTBEAT_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Debug, Serialize, ToSchema)]
pub struct VersionInfo {
    version: &'static str,
    git_version: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HealthInfoResponse {
    metadatabase: BaseInfoResponse,
    scheduler: SchedulerInfoResponse,
    /// Airlock has none.
    triggerer: NoHeartbeat,
    /// Airlock has none.
    dag_processor: Option<BaseInfoResponse>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BaseInfoResponse {
    /// `healthy` or `unhealthy`.
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SchedulerInfoResponse {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    latest_scheduler_heartbeat: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NoHeartbeat {
    status: Option<&'static str>,
    latest_triggerer_heartbeat: Option<DateTime<Utc>>,
}

#[utoipa::path(get, path = "/api/v2/version", tag = "Version", responses((status = 200, body = VersionInfo)))]
pub async fn get_version() -> Json<VersionInfo> {
    Json(VersionInfo { version: env!("CARGO_PKG_VERSION"), git_version: option_env!("AIRLOCK_GIT_VERSION") })
}

/// 200 even if something is not well, as Airflow: the body says what.
#[utoipa::path(
    get, path = "/api/v2/monitor/health", tag = "Monitor", responses((status = 200, body = HealthInfoResponse)),
)]
pub async fn get_health(State(api): State<Api>) -> Json<HealthInfoResponse> {
    let wellness = Wellness::of(&api).await;
    let latest_scheduler_heartbeat = api.scheduler.health().heartbeat.to_utc();
    Json(HealthInfoResponse {
        metadatabase: BaseInfoResponse { status: status(wellness.database) },
        scheduler: SchedulerInfoResponse { status: status(wellness.scheduler), latest_scheduler_heartbeat },
        triggerer: NoHeartbeat { status: None, latest_triggerer_heartbeat: None },
        dag_processor: None,
    })
}

/// What has to be well.
struct Wellness {
    database: bool,
    scheduler: bool,
}

impl Wellness {
    async fn of(api: &Api) -> Self {
        let heartbeat = api.scheduler.health().heartbeat;
        Self { database: api.store.ping().await.is_ok(), scheduler: api.clock.now().since(heartbeat) < HEARTBEAT_LIMIT }
    }
}

fn status(well: bool) -> &'static str {
    if well { "healthy" } else { "unhealthy" }
}

/// Whether the process answers. It is what a liveness probe asks: no more, because to start again mends no database.
#[utoipa::path(get, path = "/livez", tag = "Monitor", responses((status = 200, body = BaseInfoResponse)))]
pub async fn get_live() -> Json<BaseInfoResponse> {
    Json(BaseInfoResponse { status: status(true) })
}

/// What a readiness probe is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReadyResponse {
    /// `healthy` or `unhealthy`.
    metadatabase: &'static str,
    /// `healthy` or `unhealthy`.
    scheduler: &'static str,
}

/// Whether this server can do its work now.
#[utoipa::path(
    get, path = "/readyz", tag = "Monitor",
    responses((status = 200, body = ReadyResponse), (status = 503, body = ReadyResponse)),
)]
pub async fn get_ready(State(api): State<Api>) -> (StatusCode, Json<ReadyResponse>) {
    let Wellness { database, scheduler } = Wellness::of(&api).await;
    let code = if database && scheduler { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(ReadyResponse { metadatabase: status(database), scheduler: status(scheduler) }))
}
