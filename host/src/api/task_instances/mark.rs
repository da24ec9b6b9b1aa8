//! Task instances that somebody says the state of, and their notes.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Api,
        dag_runs::{check_note, find_run},
        dags::{UpdateMask, check_mask},
        error::ApiError,
        extract::{self, Patch, Path, Query},
        paths::{InstancePath, TaskPath},
    },
    TaskInstanceCollectionResponse,
};
use crate::{
    auth::Audit,
    model::state::TaskState,
    scheduler::MarkRequest,
    store::{InstanceKey, TaskInstanceFilter},
};

/// Airflow: `PatchTaskInstanceBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are Airflow's")]
pub struct PatchTaskInstanceBody {
    /// `success`, `failed` or `skipped`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    new_state: Option<TaskState>,
    /// Null takes the note away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: Patch<String>,
    #[serde(default)]
    include_upstream: bool,
    #[serde(default)]
    include_downstream: bool,
    #[serde(default)]
    include_future: bool,
    #[serde(default)]
    include_past: bool,
}

/// Which instance a patch is about; all of the task's if it is left out.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AnyMapIndex {
    map_index: Option<i32>,
}

async fn patch(
    api: &Api,
    path: TaskPath,
    map_index: Option<i32>,
    mask: &UpdateMask,
    body: PatchTaskInstanceBody,
    dry_run: bool,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    const STATE_FIELDS: &[&str] =
        &["new_state", "include_upstream", "include_downstream", "include_future", "include_past"];
    check_mask(mask, &[STATE_FIELDS, &["note"]].concat())?;
    let asked = |field: &str| mask.update_mask.is_empty() || mask.update_mask.iter().any(|name| name == field);
    let note = if asked("note") { body.note } else { Patch::Keep };
    if let Patch::Set(note) = &note {
        check_note(note.as_deref())?;
    }
    let run = find_run(api, &path.dag_id, &path.dag_run_id).await?;
    let of_task = TaskInstanceFilter {
        dag_run: Some(run.key),
        task_ids: vec![path.task_id.clone()],
        ..TaskInstanceFilter::default()
    };
    let mut named =
        api.store.task_instance_list(&of_task, crate::store::Page::first(crate::store::MAX_PAGE)).await?.items;
    named.retain(|row| map_index.is_none_or(|index| row.map_index == index));
    if named.is_empty() {
        let what = format!("dag_run `{}` has no such instance of task `{}`", path.dag_run_id, path.task_id);
        return Err(ApiError::not_found(what));
    }
    let rows = match body.new_state.filter(|_| asked("new_state")) {
        Some(state) => {
            let request = MarkRequest {
                dag_id: path.dag_id,
                run_id: path.dag_run_id,
                task_id: path.task_id,
                map_index,
                state,
                upstream: body.include_upstream,
                downstream: body.include_downstream,
                past: body.include_past,
                future: body.include_future,
                dry_run,
            };
            api.scheduler.task_mark(request).await?
        }
        None => named.clone(),
    };
    let note = match note {
        Patch::Set(note) if !dry_run => note,
        Patch::Set(_) | Patch::Keep => return Ok(Json(TaskInstanceCollectionResponse::of(api, rows).await?)),
    };
    Audit::settle();
    for row in named {
        let key = InstanceKey { dag_run: row.dag_run, task_id: row.task_id, map_index: row.map_index };
        api.store.task_instance_set_note(&key, note.as_deref()).await?;
    }
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        let key = InstanceKey { dag_run: row.dag_run, task_id: row.task_id.clone(), map_index: row.map_index };
        fresh.push(api.store.task_instance_get(&key).await?.unwrap_or(row));
    }
    Ok(Json(TaskInstanceCollectionResponse::of(api, fresh).await?))
}

/// Marks a task instance as `success`, `failed` or `skipped`, or changes its note. Answers all that it changed.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", tag = "Task Instance",
    params(TaskPath, AnyMapIndex, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_task_instance(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<AnyMapIndex>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    patch(&api, path, index.map_index, &mask, body, false).await
}

#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
    tag = "Task Instance", params(InstancePath, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_mapped_task_instance(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (path, map_index) = path.split();
    patch(&api, path, Some(map_index), &mask, body, false).await
}

/// Answers what the patch would change.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run",
    tag = "Task Instance", params(TaskPath, AnyMapIndex, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_task_instance_dry_run(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<AnyMapIndex>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    patch(&api, path, index.map_index, &mask, body, true).await
}

/// Answers what the patch would change.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run",
    tag = "Task Instance", params(InstancePath, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_mapped_task_instance_dry_run(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (path, map_index) = path.split();
    patch(&api, path, Some(map_index), &mask, body, true).await
}
