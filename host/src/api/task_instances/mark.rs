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
        paths::{GroupPath, InstancePath, RunPath, TaskPath},
    },
    TaskInstanceCollectionResponse, find_spec,
};
use crate::{
    auth::Audit,
    model::{
        ids::{DagId, NameError, RunId, TaskId},
        state::TaskState,
    },
    scheduler::MarkRequest,
    store::{InstanceKey, MAX_PAGE, Page, TaskInstanceFilter, TaskInstanceRow, Walk},
};

/// A body that says what becomes of task instances, behind what it says of its own.
macro_rules! patch_body {
    ($(#[$about:meta])* $name:ident { $($(#[$of:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$of])* $field: $type,)*
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
    };
}

patch_body! {
    /// Airflow: `PatchTaskInstanceBody`.
    PatchTaskInstanceBody {}
}

patch_body! {
    /// Airflow: `BulkTaskInstanceBody`.
    BulkTaskInstanceBody {
        #[schema(value_type = String)]
        task_id: TaskId,
        /// All of the task's instances if it is left out.
        #[serde(default)]
        #[schema(value_type = Option<i32>)]
        map_index: Option<i32>,
        /// That of the path if it is left out.
        #[serde(default)]
        #[schema(value_type = Option<String>)]
        dag_id: Option<DagId>,
        /// That of the path if it is left out.
        #[serde(default)]
        #[schema(value_type = Option<String>)]
        dag_run_id: Option<RunId>,
    }
}

/// Which instance a patch is about; all of the task's if it is left out.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AnyMapIndex {
    map_index: Option<i32>,
}

impl BulkTaskInstanceBody {
    /// Which task and instances it is about, in which run.
    pub fn place(&self) -> (Option<DagId>, Option<RunId>, TaskId, Option<i32>) {
        (self.dag_id.clone(), self.dag_run_id.clone(), self.task_id.clone(), self.map_index)
    }

    pub fn into_patch(self) -> PatchTaskInstanceBody {
        let Self { new_state, note, include_upstream, include_downstream, include_future, include_past, .. } = self;
        PatchTaskInstanceBody { new_state, note, include_upstream, include_downstream, include_future, include_past }
    }
}

/// Which instances of a run a patch is about.
pub struct Named {
    pub run: RunPath,
    /// A map_index of none: all instances of the task.
    pub tasks: Vec<(TaskId, Option<i32>)>,
}

impl Named {
    fn of(path: TaskPath, map_index: Option<i32>) -> Self {
        let run = RunPath { dag_id: path.dag_id, dag_run_id: path.dag_run_id };
        Self { run, tasks: vec![(path.task_id, map_index)] }
    }

    /// Those of all tasks of a group, and of the groups in it.
    async fn of_group(api: &Api, path: GroupPath) -> Result<Self, ApiError> {
        let run = find_run(api, &path.dag_id, &path.dag_run_id).await?;
        let spec = find_spec(api, run.version).await?;
        let missing =
            || ApiError::not_found(format!("dag_run `{}` has no task group `{}`", path.dag_run_id, path.group_id));
        let tasks = spec.tasks_of_group(path.group_id.as_str()).ok_or_else(missing)?;
        let tasks = tasks.into_iter().map(|task_id| Ok((TaskId::new(task_id)?, None)));
        let tasks = tasks.collect::<Result<_, NameError>>()?;
        Ok(Self { run: RunPath { dag_id: path.dag_id, dag_run_id: path.dag_run_id }, tasks })
    }

    /// Those that there are.
    ///
    /// # Errors
    /// If there is none.
    pub async fn find(&self, api: &Api) -> Result<Vec<TaskInstanceRow>, ApiError> {
        let run = find_run(api, &self.run.dag_id, &self.run.dag_run_id).await?;
        let mut found = Vec::new();
        for (task_id, map_index) in &self.tasks {
            if let Some(map_index) = *map_index {
                let key = InstanceKey { dag_run: run.key, task_id: task_id.clone(), map_index };
                found.extend(api.store.task_instance_get(&key).await?);
            }
        }
        let task_ids = self.tasks.iter().filter(|(_, map_index)| map_index.is_none());
        let task_ids: Vec<_> = task_ids.map(|(task_id, _)| task_id.clone()).collect();
        let mut whole = TaskInstanceFilter { task_ids, ..TaskInstanceFilter::of_run(run.key) };
        while !whole.task_ids.is_empty() {
            let listed = api.store.task_instance_list(&whole, Page::first(MAX_PAGE)).await?.items;
            whole.after = listed.last().map(|row| whole.place(row));
            let is_last = listed.len() < MAX_PAGE as usize;
            found.extend(listed);
            if is_last {
                break;
            }
        }
        if found.is_empty() {
            let tasks: Vec<_> = self.tasks.iter().map(|(task_id, _)| format!("`{task_id}`")).collect();
            let what = format!("dag_run `{}` has no such instance of task {}", self.run.dag_run_id, tasks.join(", "));
            return Err(ApiError::not_found(what));
        }
        Ok(found)
    }
}

/// Marks instances and changes their notes, or with `dry_run` only answers which it would mark.
///
/// # Errors
/// If there are none, or the body is wrong.
pub async fn patch(
    api: &Api,
    named: Named,
    mask: &UpdateMask,
    body: PatchTaskInstanceBody,
    dry_run: bool,
) -> Result<Vec<TaskInstanceRow>, ApiError> {
    const STATE_FIELDS: &[&str] =
        &["new_state", "include_upstream", "include_downstream", "include_future", "include_past"];
    check_mask(mask, &[STATE_FIELDS, &["note"]].concat())?;
    let asked = |field: &str| mask.update_mask.is_empty() || mask.update_mask.iter().any(|name| name == field);
    let note = if asked("note") { body.note } else { Patch::Keep };
    if let Patch::Set(note) = &note {
        check_note(note.as_deref())?;
    }
    let found = named.find(api).await?;
    let rows = match body.new_state.filter(|_| asked("new_state")) {
        Some(state) => {
            let request = MarkRequest {
                dag_id: named.run.dag_id,
                run_id: named.run.dag_run_id,
                tasks: named.tasks,
                state,
                upstream: body.include_upstream,
                downstream: body.include_downstream,
                past: body.include_past,
                future: body.include_future,
                dry_run,
            };
            api.scheduler.task_mark(request).await?
        }
        None => found.clone(),
    };
    let note = match note {
        Patch::Set(note) if !dry_run => note,
        Patch::Set(_) | Patch::Keep => return Ok(rows),
    };
    Audit::settle();
    for row in found {
        api.store.task_instance_set_note(&row.instance(), note.as_deref()).await?;
    }
    let mut fresh = Vec::with_capacity(rows.len());
    for row in rows {
        fresh.push(api.store.task_instance_get(&row.instance()).await?.unwrap_or(row));
    }
    Ok(fresh)
}

async fn show(api: &Api, rows: Vec<TaskInstanceRow>) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    Ok(Json(TaskInstanceCollectionResponse::of(api, rows).await?))
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
    show(&api, patch(&api, Named::of(path, index.map_index), &mask, body, false).await?).await
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
    show(&api, patch(&api, Named::of(path, Some(map_index)), &mask, body, false).await?).await
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
    show(&api, patch(&api, Named::of(path, index.map_index), &mask, body, true).await?).await
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
    show(&api, patch(&api, Named::of(path, Some(map_index)), &mask, body, true).await?).await
}

/// Marks the instances of all tasks of a task group, or changes their notes. Answers all that it changed.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}", tag = "Task Instance",
    params(GroupPath, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_task_group_instances(
    State(api): State<Api>,
    Path(path): Path<GroupPath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let named = Named::of_group(&api, path).await?;
    show(&api, patch(&api, named, &mask, body, false).await?).await
}

/// Answers what the patch would change.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}/dry_run",
    tag = "Task Instance", params(GroupPath, UpdateMask), request_body = PatchTaskInstanceBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn patch_task_group_instances_dry_run(
    State(api): State<Api>,
    Path(path): Path<GroupPath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PatchTaskInstanceBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let named = Named::of_group(&api, path).await?;
    show(&api, patch(&api, named, &mask, body, true).await?).await
}
