//! Task instances that run again.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    super::{
        Api,
        dag_runs::{check_note, find_run, yes},
        dags::find_dag,
        error::ApiError,
        extract::{self, Path},
        paths::DagPath,
    },
    TaskInstanceCollectionResponse,
};
use crate::{
    auth::Audit,
    model::{
        ids::{RunId, TaskId},
        time::Timestamp,
    },
    scheduler::ClearRequest,
};

/// A task, or one instance of a mapped one: `"load"` or `["load", 3]`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TaskChoice {
    All(TaskId),
    One(TaskId, i32),
}

/// Airflow: `ClearTaskInstancesBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Airflow's")]
pub struct ClearTaskInstancesBody {
    /// Answers what would be cleared, and changes nothing.
    #[serde(default = "yes")]
    #[schema(default = true)]
    dry_run: bool,
    /// Only runs whose logical_date is not before it.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    start_date: Option<Timestamp>,
    /// Only runs whose logical_date is not after it.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    end_date: Option<Timestamp>,
    #[serde(default = "yes")]
    #[schema(default = true)]
    only_failed: bool,
    #[serde(default)]
    only_running: bool,
    #[serde(default = "yes")]
    #[schema(default = true)]
    reset_dag_runs: bool,
    /// Task ids, or pairs of task id and map_index; all tasks if it is left out, none if it is empty.
    #[serde(default)]
    #[schema(value_type = Option<Vec<Object>>)]
    task_ids: Option<Vec<TaskChoice>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    dag_run_id: Option<RunId>,
    #[serde(default)]
    include_upstream: bool,
    #[serde(default)]
    include_downstream: bool,
    #[serde(default)]
    include_future: bool,
    #[serde(default)]
    include_past: bool,
    /// Whether the runs go on under the newest version of the dag, not the one that they were made with.
    #[serde(default)]
    run_on_latest_version: Option<bool>,
    /// Refuses with 409 if one of the instances runs.
    #[serde(default)]
    prevent_running_task: bool,
    #[serde(default)]
    note: Option<String>,
}

/// Makes task instances run again, with what the body says around them. Answers which.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/clearTaskInstances", tag = "Task Instance", params(DagPath),
    request_body = ClearTaskInstancesBody, responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn post_clear_task_instances(
    State(api): State<Api>,
    audit: Audit,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<ClearTaskInstancesBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    if body.only_failed && body.only_running {
        return Err(ApiError::invalid(["body"], "only_failed and only_running exclude each other"));
    }
    if body.dag_run_id.is_some() && (body.start_date.is_some() || body.end_date.is_some()) {
        return Err(ApiError::invalid(["body"], "dag_run_id says of which run: leave out start_date and end_date"));
    }
    if body.start_date.zip(body.end_date).is_some_and(|(start, end)| end < start) {
        return Err(ApiError::invalid(["body", "end_date"], "it must not be before start_date"));
    }
    check_note(body.note.as_deref())?;
    let run = match &body.dag_run_id {
        Some(run_id) => Some(find_run(&api, &path.dag_id, run_id).await?),
        None => None,
    };
    if (body.include_past || body.include_future) && run.is_some_and(|run| run.logical_date.is_none()) {
        return Err(ApiError::bad_request(
            "can't use include_past or include_future with a run that has no logical_date",
        ));
    }
    if body.task_ids.as_ref().is_some_and(Vec::is_empty) {
        find_dag(&api, &path.dag_id).await?;
        audit.nothing();
        return Ok(Json(TaskInstanceCollectionResponse::of(&api, Vec::new()).await?));
    }
    let tasks = body.task_ids.unwrap_or_default().into_iter().map(|choice| match choice {
        TaskChoice::All(task_id) => (task_id, None),
        TaskChoice::One(task_id, map_index) => (task_id, Some(map_index)),
    });
    let request = ClearRequest {
        dag_id: path.dag_id,
        run_id: body.dag_run_id,
        since: body.start_date,
        until: body.end_date,
        tasks: tasks.collect(),
        upstream: body.include_upstream,
        downstream: body.include_downstream,
        past: body.include_past,
        future: body.include_future,
        only_failed: body.only_failed,
        only_running: body.only_running,
        reset_dag_runs: body.reset_dag_runs,
        only_new: false,
        run_on_latest_version: body.run_on_latest_version.unwrap_or_default(),
        dry_run: body.dry_run,
    };
    if body.prevent_running_task {
        let would = api.scheduler.task_clear(ClearRequest { dry_run: true, ..request.clone() }).await?;
        if let Some(running) = would.iter().find(|row| row.state.is_active()) {
            return Err(ApiError::conflict(format!("task instance `{}` is {}", running.task_id, running.state)));
        }
    }
    if body.dry_run {
        audit.nothing();
    }
    let cleared = api.scheduler.task_clear(request).await?;
    if let Some(note) = body.note.filter(|_| !body.dry_run) {
        for row in &cleared {
            api.store.task_instance_set_note(&row.instance(), Some(&note)).await?;
        }
    }
    Ok(Json(TaskInstanceCollectionResponse::of(&api, cleared).await?))
}
