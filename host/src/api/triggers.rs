//! What started which runs.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    dag_runs::{DagRunResponse, find_run},
    error::ApiError,
    extract::{Paging, Path, Query},
    names::Names,
    paths::RunPath,
    permit::Scoped,
};
use crate::{
    model::ids::{DagId, RunId},
    store::{DagRunRow, OriginRow},
};

/// The task instance that started a run, or that one of its callbacks started.
#[derive(Debug, Serialize, ToSchema)]
pub struct TriggeringTaskResponse {
    dag_id: String,
    dag_run_id: String,
    /// Null: a callback of the run itself.
    task_id: Option<String>,
    map_index: i32,
    /// The try that last started or reset the run; null: a callback of the run itself.
    try_number: Option<u32>,
    /// How many runs started each other up to the one that was asked for.
    depth: u32,
}

/// A run that a task of the run that was asked for started.
#[derive(Debug, Serialize, ToSchema)]
pub struct TriggeredRunResponse {
    /// The task that started it.
    triggering_task: TriggeringTaskResponse,
    dag_run: DagRunResponse,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TriggersResponse {
    /// The task that started the run; none if no task did, or its run is deleted.
    triggering_task: Option<TriggeringTaskResponse>,
    /// The runs that its tasks started, as they were made.
    triggered_dag_runs: Vec<TriggeredRunResponse>,
    total_entries: i64,
}

fn task(dag_id: &DagId, run_id: &RunId, origin: &OriginRow) -> TriggeringTaskResponse {
    let task = origin.parent.task.as_ref();
    TriggeringTaskResponse {
        dag_id: dag_id.to_string(),
        dag_run_id: run_id.to_string(),
        task_id: task.map(|(task_id, _)| task_id.to_string()),
        map_index: task.map_or(-1, |(_, map_index)| *map_index),
        try_number: task.map(|_| origin.parent_number),
        depth: origin.depth,
    }
}

/// The task that started a run, and the runs that its tasks started. Airflow: the link of `TriggerDagRunOperator`.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/triggers", tag = "DagRun", params(RunPath, Paging),
    responses((status = 200, body = TriggersResponse)),
)]
pub async fn get_triggers(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<RunPath>,
    Query(paging): Query<Paging>,
) -> Result<Json<TriggersResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let mut triggering_task = None;
    if let Some(origin) = api.store.origin_get(run.key).await?
        && let Some(parent) = api.store.dag_run_get_by_key(origin.parent.dag_run).await?
        && scope.sees(&parent.dag_id)
    {
        triggering_task = Some(task(&parent.dag_id, &parent.run_id, &origin));
    }
    let listed = api.store.dag_run_list_started_by(run.key, scope.seen(), paging.in_order(&[])?).await?;
    let names = Names::of_versions(&api, listed.items.iter().map(|started| started.run.version)).await?;
    let now = api.clock.now();
    let DagRunRow { dag_id, run_id, .. } = run;
    let triggered_dag_runs = listed
        .items
        .into_iter()
        .map(|started| TriggeredRunResponse {
            triggering_task: task(&dag_id, &run_id, &started.origin),
            dag_run: DagRunResponse::new(started.run, &names, now),
        })
        .collect();
    Ok(Json(TriggersResponse { triggering_task, triggered_dag_runs, total_entries: listed.total }))
}
