//! The processes that keep runs going, as far as this server knows them.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{Paging, Query, flag},
    ranges::JobRanges,
};
use crate::{
    model::{time::Timestamp, warning::HEARTBEAT_LIMIT},
    store::Page,
};

/// Airflow: `JobResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobResponse {
    /// Its place in the list of all: 1 is the scheduler.
    id: usize,
    dag_id: Option<String>,
    dag_display_name: Option<String>,
    /// `running`.
    state: &'static str,
    /// `SchedulerJob`, or `WorkerJob` for a worker.
    job_type: &'static str,
    /// Since when a worker is connected.
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    /// Of the scheduler. A worker is gone as soon as it is silent for long.
    latest_heartbeat: Option<DateTime<Utc>>,
    executor_class: Option<String>,
    /// What a worker is called.
    hostname: Option<String>,
    unixname: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct JobCollectionResponse {
    jobs: Vec<JobResponse>,
    total_entries: usize,
}

/// Which jobs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    #[serde(deserialize_with = "flag")]
    is_alive: Option<bool>,
    /// `SchedulerJob` or `WorkerJob`.
    job_type: Option<String>,
    job_state: Option<String>,
    hostname: Option<String>,
    /// No job has one.
    executor_class: Option<String>,
}

/// The scheduler that leads, and the workers that are connected with it.
#[utoipa::path(
    get, path = "/api/v2/jobs", tag = "Job", params(Paging, JobQuery, JobRanges),
    responses((status = 200, body = JobCollectionResponse)),
)]
pub async fn get_jobs(
    State(api): State<Api>,
    Query(paging): Query<Paging>,
    Query(query): Query<JobQuery>,
    Query(dates): Query<JobRanges>,
) -> Result<Json<JobCollectionResponse>, ApiError> {
    let Page { limit, offset } = paging.in_order(&["id"])?;
    let job = |id, job_type, since: Option<Timestamp>| JobResponse {
        id,
        dag_id: None,
        dag_display_name: None,
        state: "running",
        job_type,
        start_date: since.map(Timestamp::to_utc),
        end_date: None,
        latest_heartbeat: None,
        executor_class: None,
        hostname: None,
        unixname: None,
    };
    let heartbeat = api.scheduler.health().heartbeat;
    let scheduler = JobResponse { latest_heartbeat: Some(heartbeat.to_utc()), ..job(1, "SchedulerJob", None) };
    let is_beating = api.clock.now().since(heartbeat) < HEARTBEAT_LIMIT;
    let workers = api.scheduler.workload(None).workers;
    let workers = workers.into_iter().zip(2..).map(|(worker, id)| {
        let since = Some(worker.connected_at);
        (JobResponse { hostname: Some(worker.name), ..job(id, "WorkerJob", since) }, true, since)
    });
    let mut jobs: Vec<_> = std::iter::once((scheduler, is_beating, None)).chain(workers).collect();
    let asked = |asked: &Option<String>, is: &str| asked.as_ref().is_none_or(|asked| asked == is);
    jobs.retain(|(job, is_alive, since)| {
        query.is_alive.is_none_or(|asked| asked == *is_alive)
            && asked(&query.job_type, job.job_type)
            && asked(&query.job_state, job.state)
            && asked(&query.hostname, job.hostname.as_deref().unwrap_or_default())
            && asked(&query.executor_class, "")
            && dates.start_date().holds(*since)
            && dates.end_date().holds(None)
    });
    let total_entries = jobs.len();
    let jobs = jobs.into_iter().map(|(job, ..)| job).skip(offset as usize).take(limit as usize).collect();
    Ok(Json(JobCollectionResponse { jobs, total_entries }))
}
