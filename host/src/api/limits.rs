//! What the attempts of one dag may have together.

use axum::{Json, extract::State};
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
use crate::model::{
    ids::DagId,
    limits::{DagLimits, Resource},
};

body! {
    /// What the attempts of a dag may have together. Null: what the server's settings say; 0: as much as there is. Days are those of UTC.
    DagLimitsBody = DagLimits {
        /// Memory of the attempts that run at a time; the others wait.
        #[schema(maximum = 1_000_000_000)]
        memory_mib,
        /// CPU time; above it attempts fail.
        #[schema(maximum = 1_000_000_000)]
        cpu_seconds_per_day,
        /// Lines of logs; what is above is dropped.
        #[schema(maximum = 1_000_000_000)]
        log_mib_per_day,
        /// Artifacts and XComs that are written; what is above is refused.
        #[schema(maximum = 1_000_000_000)]
        data_mib_per_day,
        /// What is sent and received; what is above is refused.
        #[schema(maximum = 1_000_000_000)]
        network_mib_per_day,
        /// What is above is refused.
        #[schema(maximum = 1_000_000_000)]
        host_calls_per_day,
    }
}

/// What the attempts of a dag had today, as it was a second ago. Of a dag of which nothing is limited by day nothing is counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagUsageResponse {
    cpu_seconds: f64,
    log_bytes: u64,
    data_bytes: u64,
    network_bytes: u64,
    host_calls: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagLimitsResponse {
    dag_id: String,
    /// What is said of this dag.
    own: DagLimitsBody,
    /// What holds for it. 0: as much as there is.
    effective: DagLimitsBody,
    used_today: DagUsageResponse,
}

/// What is said of a dag.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnLimitsResponse {
    dag_id: String,
    memory_mib: Option<u32>,
    cpu_seconds_per_day: Option<u32>,
    log_mib_per_day: Option<u32>,
    data_mib_per_day: Option<u32>,
    network_mib_per_day: Option<u32>,
    host_calls_per_day: Option<u32>,
}

impl OwnLimitsResponse {
    fn new(dag_id: &DagId, own: DagLimits) -> Self {
        Self {
            dag_id: dag_id.to_string(),
            memory_mib: own.memory_mib,
            cpu_seconds_per_day: own.cpu_seconds_per_day,
            log_mib_per_day: own.log_mib_per_day,
            data_mib_per_day: own.data_mib_per_day,
            network_mib_per_day: own.network_mib_per_day,
            host_calls_per_day: own.host_calls_per_day,
        }
    }
}

/// The dags of which something is said.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnLimitsCollectionResponse {
    dags: Vec<OwnLimitsResponse>,
    total_entries: usize,
}

async fn show(api: &Api, path: &DagPath) -> Result<Json<DagLimitsResponse>, ApiError> {
    let dag = find_dag(api, &path.dag_id).await?;
    let seen = api.scheduler.dag_limits(&dag.dag_id).await?;
    let used = |resource| seen.spent.of(resource);
    #[expect(clippy::cast_precision_loss, reason = "who has used so much does not look at microseconds")]
    let cpu_seconds = used(Resource::Cpu) as f64 / Resource::Cpu.unit() as f64;
    Ok(Json(DagLimitsResponse {
        dag_id: dag.dag_id.to_string(),
        own: seen.own.into(),
        effective: seen.effective.into(),
        used_today: DagUsageResponse {
            cpu_seconds,
            log_bytes: used(Resource::Logs),
            data_bytes: used(Resource::Data),
            network_bytes: used(Resource::Network),
            host_calls: used(Resource::HostCalls),
        },
    }))
}

/// Of which dags something else is said than what the server's settings say.
#[utoipa::path(
    get, path = "/api/v2/limits", tag = "Limits", responses((status = 200, body = OwnLimitsCollectionResponse)),
)]
pub async fn get_limits(State(api): State<Api>) -> Result<Json<OwnLimitsCollectionResponse>, ApiError> {
    let all = api.store.dag_numbers_list::<DagLimits>().await?.into_iter();
    let dags: Vec<_> = all.map(|(dag_id, own)| OwnLimitsResponse::new(&dag_id, own)).collect();
    Ok(Json(OwnLimitsCollectionResponse { total_entries: dags.len(), dags }))
}

/// What the attempts of the dag may have together, and what they had today.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/limits", tag = "Limits", params(DagPath),
    responses((status = 200, body = DagLimitsResponse)),
)]
pub async fn get_dag_limits(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
) -> Result<Json<DagLimitsResponse>, ApiError> {
    show(&api, &path).await
}

/// Says what the attempts of the dag may have together; what is left out, the server's settings say.
#[utoipa::path(
    put, path = "/api/v2/dags/{dag_id}/limits", tag = "Limits", params(DagPath), request_body = DagLimitsBody,
    responses((status = 200, body = DagLimitsResponse)),
)]
pub async fn put_dag_limits(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<DagLimitsBody>,
) -> Result<Json<DagLimitsResponse>, ApiError> {
    dag_numbers::put::<DagLimits>(&api, &path.dag_id, body).await?;
    show(&api, &path).await
}
