//! Runs cleared: one, or many in one request.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        bulk::{apart, check_count, runs::BulkDagRunBody},
        error::{ApiError, Place},
        extract::{self, Path},
        paths::{DagScopePath, RunPath},
        permit::Scoped,
        task_instances::TaskInstanceCollectionResponse,
    },
    DagRunCollectionResponse, DagRunResponse, check_note, find_run, show, yes,
};
use crate::{auth::Audit, scheduler::ClearRequest};

/// Task instances that a dry run shows, if they are of several runs.
const MAX_SHOWN: usize = 10_000;

/// What a clear of a run did, or would do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum DagRunClearResponse {
    /// With `dry_run`: what would be cleared.
    Would(TaskInstanceCollectionResponse),
    /// The run, as it is then.
    Run(Box<DagRunResponse>),
}

/// Airflow: `DAGRunClearBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagRunClearBody {
    /// Answers what would be cleared, and changes nothing.
    #[serde(default = "yes")]
    #[schema(default = true)]
    dry_run: bool,
    #[serde(default)]
    only_failed: bool,
    /// Tasks only that the newest version of the dag has and the run's did not; the run goes on under the newest.
    #[serde(default)]
    only_new: bool,
    /// Whether the run goes on under the newest version of its dag, not the one that it was made with.
    #[serde(default)]
    run_on_latest_version: Option<bool>,
    #[serde(default)]
    note: Option<String>,
}

/// What a clear of many runs did, or would do.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BulkDagRunClearResponse {
    /// With `dry_run`: what would be cleared.
    Would(TaskInstanceCollectionResponse),
    /// The runs, as they are then.
    Runs(DagRunCollectionResponse),
}

/// Airflow: `BulkDAGRunClearBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDagRunClearBody {
    /// At least one, and at most 1,000.
    #[serde(default)]
    dag_runs: Option<Vec<BulkDagRunBody>>,
    /// Answers what would be cleared, and changes nothing.
    #[serde(default = "yes")]
    #[schema(default = true)]
    dry_run: bool,
    #[serde(default)]
    only_failed: bool,
    /// Tasks only that the newest version of the dag has and the run's did not; the run goes on under the newest.
    #[serde(default)]
    only_new: bool,
    /// Whether the run goes on under the newest version of its dag, not the one that it was made with.
    #[serde(default)]
    run_on_latest_version: Option<bool>,
    #[serde(default)]
    note: Option<String>,
    /// Not supported: must be null.
    #[serde(default)]
    partition_key: Option<String>,
    /// Not supported: must be null.
    #[serde(default)]
    partition_date_start: Option<String>,
    /// Not supported: must be null.
    #[serde(default)]
    partition_date_end: Option<String>,
}

/// A task that is new has not failed.
fn check_only(failed: bool, new: bool) -> Result<(), ApiError> {
    if failed && new {
        return Err(ApiError::invalid(["body"], "only_failed and only_new exclude each other"));
    }
    Ok(())
}

/// Makes a run run again. Answers the run, or with `dry_run` (the default) the task instances that would be cleared.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", tag = "DagRun", params(RunPath),
    request_body = DagRunClearBody,
    responses((status = 200, body = DagRunClearResponse)),
)]
pub async fn clear_dag_run(
    State(api): State<Api>,
    audit: Audit,
    Path(path): Path<RunPath>,
    extract::Json(body): extract::Json<DagRunClearBody>,
) -> Result<Json<DagRunClearResponse>, ApiError> {
    check_only(body.only_failed, body.only_new)?;
    check_note(body.note.as_deref())?;
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let request = ClearRequest {
        only_failed: body.only_failed,
        only_new: body.only_new,
        run_on_latest_version: body.only_new || body.run_on_latest_version.unwrap_or_default(),
        dry_run: body.dry_run,
        ..ClearRequest::of_run(path.dag_id.clone(), path.dag_run_id.clone())
    };
    if body.dry_run {
        audit.nothing();
    }
    let cleared = api.scheduler.task_clear(request).await?;
    if body.dry_run {
        return Ok(Json(DagRunClearResponse::Would(TaskInstanceCollectionResponse::of(&api, cleared).await?)));
    }
    if let Some(note) = &body.note {
        Audit::settle();
        api.store.dag_run_set_note(run.key, Some(note)).await?;
    }
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    Ok(Json(DagRunClearResponse::Run(Box::new(show(&api, run).await?))))
}

/// Makes many runs run again. Answers the runs, or with `dry_run` (the default) the task instances that would be cleared.
///
/// All of them must be there; each is cleared by itself.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/clearDagRuns", tag = "DagRun", params(DagScopePath),
    request_body = BulkDagRunClearBody,
    responses((status = 200, body = BulkDagRunClearResponse)),
)]
pub async fn clear_dag_runs(
    State(api): State<Api>,
    audit: Audit,
    Scoped(scope): Scoped,
    Path(path): Path<DagScopePath>,
    extract::Json(body): extract::Json<BulkDagRunClearBody>,
) -> Result<Json<BulkDagRunClearResponse>, ApiError> {
    for (field, given) in [
        ("partition_key", &body.partition_key),
        ("partition_date_start", &body.partition_date_start),
        ("partition_date_end", &body.partition_date_end),
    ] {
        if given.is_some() {
            return Err(ApiError::invalid(["body", field], "partitions are not supported"));
        }
    }
    check_only(body.only_failed, body.only_new)?;
    check_note(body.note.as_deref())?;
    let named = body.dag_runs.unwrap_or_default();
    if named.is_empty() {
        return Err(ApiError::invalid(["body", "dag_runs"], "name at least one dag_run"));
    }
    check_count(named.len(), ["body", "dag_runs"])?;
    let of_path = path.dag_id.one();
    let mut places: Vec<RunPath> = Vec::with_capacity(named.len());
    let mut seen = BTreeSet::new();
    for (index, run) in named.iter().enumerate() {
        if run.changes() {
            let place = [Place::from("body"), "dag_runs".into(), Place::Index(index)];
            return Err(ApiError::invalid(place, "only dag_id and dag_run_id mean something here"));
        }
        let place = run.place(of_path.as_ref())?;
        scope.check(&place.dag_id)?;
        find_run(&api, &place.dag_id, &place.dag_run_id).await?;
        // One that is named twice is cleared once.
        if seen.insert((place.dag_id.clone(), place.dag_run_id.clone())) {
            places.push(place);
        }
    }
    let request = |place: &RunPath| ClearRequest {
        only_failed: body.only_failed,
        only_new: body.only_new,
        run_on_latest_version: body.only_new || body.run_on_latest_version.unwrap_or_default(),
        dry_run: body.dry_run,
        ..ClearRequest::of_run(place.dag_id.clone(), place.dag_run_id.clone())
    };
    if body.dry_run {
        audit.nothing();
        let mut would = Vec::new();
        for place in &places {
            let more = api.scheduler.task_clear(request(place)).await?;
            if !would.is_empty() && would.len() + more.len() > MAX_SHOWN {
                let why = format!("it is about more than {MAX_SHOWN} task instances; name fewer runs to see which");
                return Err(ApiError::invalid(["body", "dag_runs"], why));
            }
            would.extend(more);
        }
        return Ok(Json(BulkDagRunClearResponse::Would(TaskInstanceCollectionResponse::of(&api, would).await?)));
    }
    let mut runs = Vec::with_capacity(places.len());
    for place in &places {
        let entry = audit.part();
        entry.about(place.dag_id.as_str(), Some(place.dag_run_id.as_str()), None);
        let clear = async {
            api.scheduler.task_clear(request(place)).await?;
            let run = find_run(&api, &place.dag_id, &place.dag_run_id).await?;
            if let Some(note) = &body.note {
                api.store.dag_run_set_note(run.key, Some(note)).await?;
            }
            Ok(())
        };
        apart(&api, entry, clear).await?;
        runs.push(find_run(&api, &place.dag_id, &place.dag_run_id).await?);
    }
    audit.nothing();
    Ok(Json(BulkDagRunClearResponse::Runs(DagRunCollectionResponse::of(&api, runs).await?)))
}
