//! Who we are, and whether we are well.

use axum::{Json, extract::State};
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
    let heartbeat = api.scheduler.health().heartbeat;
    let beats = api.clock.now().since(heartbeat) < HEARTBEAT_LIMIT;
    let status = |well: bool| if well { "healthy" } else { "unhealthy" };
    Json(HealthInfoResponse {
        metadatabase: BaseInfoResponse { status: status(api.store.ping().await.is_ok()) },
        scheduler: SchedulerInfoResponse { status: status(beats), latest_scheduler_heartbeat: heartbeat.to_utc() },
        triggerer: NoHeartbeat { status: None, latest_triggerer_heartbeat: None },
        dag_processor: None,
    })
}
