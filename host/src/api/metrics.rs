//! Figures for Prometheus.

use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use super::{Api, error::ApiError};
use crate::{
    scheduler::{Fleet, Health, PodState},
    store::{Like, MAX_PAGE, Order, Page},
    telemetry::{FleetPods, Gauges, PoolSlots},
};

/// What Prometheus asks for and knows how to read.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server tells of itself: counters and histograms as they stand, gauges as they are now.
#[utoipa::path(
    get, path = "/metrics", tag = "Monitor",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")),
)]
pub async fn get_metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let Health { heartbeat, running, active_runs } = api.scheduler.health();
    let size = api.store.size_bytes().await;
    let now = Gauges {
        heartbeat,
        running,
        parallelism: api.scheduler.parallelism(),
        active_runs,
        pools: pools(&api).await?,
        fleets: api.scheduler.workload(None).fleets.iter().map(pods).collect(),
        warnings: api.scheduler.warnings().iter().map(|warning| warning.kind).collect(),
        database_bytes: size.inspect_err(|error| tracing::warn!(%error, "the database's size is not known")).ok(),
    };
    Ok(([(CONTENT_TYPE, OPENMETRICS)], api.scheduler.metrics().render(&now)).into_response())
}

fn pods(fleet: &Fleet) -> FleetPods {
    let count = |state| {
        let pods = fleet.pods.iter().filter(|pod| pod.state == state).count();
        i64::try_from(pods).unwrap_or(i64::MAX)
    };
    FleetPods {
        fleet: fleet.name.clone(),
        max: fleet.max,
        starting: count(PodState::Starting),
        running: count(PodState::Running),
        leaving: count(PodState::Leaving),
        ended: count(PodState::Ended),
    }
}

async fn pools(api: &Api) -> Result<Vec<PoolSlots>, ApiError> {
    let listed = api.store.pool_list(&Like::default(), Order::Ascending, Page::first(MAX_PAGE)).await?;
    let used = api.store.pool_use().await?;
    let slots = listed.items.into_iter().map(|row| {
        let used = used.iter().find(|used| used.pool == row.name.as_str()).cloned().unwrap_or_default();
        PoolSlots {
            open: used.open(&row),
            running: used.running,
            queued: used.queued,
            scheduled: used.scheduled,
            deferred: used.deferred,
            pool: row.name,
        }
    });
    Ok(slots.collect())
}
