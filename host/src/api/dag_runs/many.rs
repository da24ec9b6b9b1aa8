//! Many runs in one request: marked, noted, deleted, cleared.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        bulk::{BulkBody, BulkResponse, apart, carry_out, check_count, runs::Runs},
        dags::UpdateMask,
        error::{ApiError, Place},
        extract::{self, Patch, Path},
        paths::{DagScopePath, RunPath},
        permit::{Scoped, Visitor},
        task_instances::TaskInstanceCollectionResponse,
    },
    DagRunCollectionResponse, DagRunPatchBody, check_note, find_run, patch, yes,
};
use crate::{
    auth::Audit,
    model::{
        ids::{DagId, RunId},
        role::Permission,
        state::RunState,
    },
    scheduler::ClearRequest,
};

/// Task instances that a dry run shows, if they are of several runs.
const MAX_SHOWN: usize = 10_000;

/// Airflow: `BulkDAGRunBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDagRunBody {
    #[schema(value_type = String)]
    dag_run_id: RunId,
    /// That of the path if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    dag_id: Option<DagId>,
    /// `queued` (clears it), `success` or `failed`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    state: Option<RunState>,
    /// Null takes the note away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: Patch<String>,
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

impl BulkDagRunBody {
    /// The run, of `dag_id` unless it says another.
    ///
    /// # Errors
    /// If no dag is said.
    pub fn place(&self, dag_id: Option<&DagId>) -> Result<RunPath, ApiError> {
        place(self.dag_id.as_ref().or(dag_id), self.dag_run_id.clone())
    }

    /// # Errors
    /// If there is no such run, or it can't be marked so.
    pub async fn apply(self, api: &Api, path: &RunPath, mask: &UpdateMask) -> Result<(), ApiError> {
        patch(api, path, mask, DagRunPatchBody { state: self.state, note: self.note }).await
    }
}

/// A run of a dag.
///
/// # Errors
/// If no dag is said.
pub fn place(dag_id: Option<&DagId>, dag_run_id: RunId) -> Result<RunPath, ApiError> {
    let Some(dag_id) = dag_id.cloned() else {
        let why = format!("dag_run `{dag_run_id}`: with `~` in the path, each dag_run says its dag_id");
        return Err(ApiError::bad_request(why));
    };
    Ok(RunPath { dag_id, dag_run_id })
}

/// Marks, notes and deletes many runs. They can't be made so: 405 in the answer.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns", tag = "DagRun", params(DagScopePath),
    request_body = BulkBody<BulkDagRunBody>, responses((status = 200, body = BulkResponse)),
)]
pub async fn bulk_dag_runs(
    State(api): State<Api>,
    audit: Audit,
    visitor: Visitor,
    Path(path): Path<DagScopePath>,
    extract::Json(body): extract::Json<BulkBody<BulkDagRunBody>>,
) -> Result<Json<BulkResponse>, ApiError> {
    let scope = visitor.scope().await?;
    let deletes = visitor.scope_of(Permission::RunDelete).await?;
    let runs = Runs { api: &api, scope, deletes, dag_id: path.dag_id.one() };
    carry_out(&api, &audit, &runs, body).await
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
        if run.state.is_some() || run.note != Patch::Keep {
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
