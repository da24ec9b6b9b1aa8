//! What tasks ask people. Airflow: `hitlDetails`.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{self, Paging, Path, Query},
    paths::{HitlTryPath, InstancePath, RunScopePath, TaskPath},
    patterns::ApprovalPatterns,
    permit::Scoped,
    ranges::CreatedRange,
    task_instances::{
        TaskInstanceResponse, find_instance, find_scope,
        list::{StateWord, known_states},
        show_all,
        tries::find_try,
    },
};
use crate::{
    auth::CurrentUser,
    model::ids::TaskId,
    scheduler::AnswerRequest,
    store::{ApprovalFilter, ApprovalRow, WhichApprovals},
};

/// Airflow: `HITLUser`. Users have no other id than their name.
#[derive(Debug, Serialize, ToSchema)]
pub struct HitlUser {
    id: String,
    name: String,
}

/// Airflow: `HITLDetail`.
#[derive(Debug, Serialize, ToSchema)]
pub struct HitlDetail {
    task_instance: TaskInstanceResponse,
    /// The try that asks.
    try_number: u32,
    options: Vec<String>,
    subject: String,
    /// Markdown.
    body: Option<String>,
    defaults: Option<Vec<String>>,
    multiple: bool,
    /// What the form asks for beside the options: for each value its `schema` and its default as `value`.
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    assigned_users: Vec<HitlUser>,
    created_at: DateTime<Utc>,
    /// Whether the task instance waits for the answer.
    waiting: bool,
    responded_by_user: Option<HitlUser>,
    responded_at: Option<DateTime<Utc>>,
    chosen_options: Option<Vec<String>>,
    #[schema(value_type = Object)]
    params_input: Map<String, Value>,
    response_received: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HitlDetailCollection {
    hitl_details: Vec<HitlDetail>,
    total_entries: i64,
}

/// Airflow: `UpdateHITLDetailPayload`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateHitlDetailPayload {
    chosen_options: Vec<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    params_input: Map<String, Value>,
}

/// Airflow: `HITLDetailResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct HitlDetailResponse {
    responded_by: HitlUser,
    responded_at: DateTime<Utc>,
    chosen_options: Vec<String>,
    #[schema(value_type = Object)]
    params_input: Map<String, Value>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HitlQuery {
    /// True: those that were answered. False: those whose answer is waited for, the oldest first.
    #[serde(default, deserialize_with = "extract::flag")]
    response_received: Option<bool>,
    #[param(value_type = Option<String>)]
    task_id: Option<TaskId>,
    map_index: Option<i32>,
    /// Any text that the subject holds, as of `dag_id_pattern`.
    subject_search: Option<String>,
    /// The same of the body.
    body_search: Option<String>,
    /// Of the task instance; `none` asks for those whose state is null.
    #[serde(default)]
    #[param(value_type = Vec<String>)]
    state: Vec<StateWord>,
    /// Who answered.
    #[serde(default)]
    responded_by_user_id: Vec<String>,
    /// The same: users have no other id than their name.
    #[serde(default)]
    responded_by_user_name: Vec<String>,
}

fn user(name: &str) -> HitlUser {
    HitlUser { id: name.to_owned(), name: name.to_owned() }
}

/// JSON that was written by the scheduler, or checked by it.
fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    serde_json::from_str(text).map_err(|error| ApiError::internal(&error))
}

impl HitlDetail {
    fn new(row: ApprovalRow, task_instance: TaskInstanceResponse) -> Result<Self, ApiError> {
        let question = row.question;
        let mut params = Map::new();
        for field in question.fields {
            let schema: Value = json(&field.schema)?;
            let value: Value = field.default.as_deref().map(json).transpose()?.unwrap_or_default();
            let description = schema.get("description").cloned().unwrap_or_default();
            let param = serde_json::json!({"value": value, "schema": schema, "description": description});
            params.insert(field.name, param);
        }
        let answer = row.answer;
        let params_input = answer.as_ref().map(|answer| json(&answer.values)).transpose()?.unwrap_or_default();
        Ok(Self {
            task_instance,
            try_number: row.try_number,
            options: question.options,
            subject: question.subject,
            body: question.body,
            defaults: Some(question.defaults).filter(|defaults| !defaults.is_empty()),
            multiple: question.multiple,
            params,
            assigned_users: question.assignees.iter().map(|name| user(name)).collect(),
            created_at: row.created_at.to_utc(),
            waiting: row.waiting,
            responded_by_user: answer.as_ref().map(|answer| user(&answer.username)),
            responded_at: answer.as_ref().map(|answer| answer.at.to_utc()),
            response_received: answer.is_some(),
            chosen_options: answer.map(|answer| answer.chosen),
            params_input,
        })
    }
}

/// What is asked in a run, in a dag (`~` for the run) or in all (`~` for both).
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails", tag = "Task Instance",
    params(RunScopePath, Paging, HitlQuery, ApprovalPatterns, CreatedRange),
    responses((status = 200, body = HitlDetailCollection)),
)]
pub async fn get_hitl_details(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<RunScopePath>,
    Query(paging): Query<Paging>,
    Query(query): Query<HitlQuery>,
    Query(names): Query<ApprovalPatterns>,
    Query(created): Query<CreatedRange>,
) -> Result<Json<HitlDetailCollection>, ApiError> {
    let (dag_id, dag_run) = find_scope(&api, path.dag_id, path.dag_run_id).await?;
    let which = match query.response_received {
        None => WhichApprovals::All,
        Some(true) => WhichApprovals::Answered,
        Some(false) => WhichApprovals::Waiting,
    };
    let Some(states) = known_states(&query.state) else {
        return Ok(Json(HitlDetailCollection { hitl_details: Vec::new(), total_entries: 0 }));
    };
    let filter = ApprovalFilter {
        dag_id,
        dags: scope.seen().clone(),
        dag_run,
        which,
        task_id: query.task_id,
        map_index: query.map_index,
        dag_id_like: names.dag_id()?,
        task_id_like: names.task_id()?,
        subject_like: extract::pattern(query.subject_search.as_deref(), None)?,
        body_like: extract::pattern(query.body_search.as_deref(), None)?,
        created_at: created.created_at(),
        states,
        answered_by: [query.responded_by_user_id, query.responded_by_user_name],
    };
    if filter.dag_run.is_none() && filter.which != WhichApprovals::Waiting && filter.looks_into_each() {
        return Err(ApiError::bad_request(
            "questions are found by names, texts and times within one run, or with `response_received=false` among those that wait: \
             else that would read all history",
        ));
    }
    let page = paging.in_order(if filter.which == WhichApprovals::Waiting { &["created_at"] } else { &[] })?;
    let listed = api.store.approval_list(&filter, page).await?;
    let (mut rows, mut instances) = (Vec::new(), Vec::new());
    for row in listed.items {
        // One that is gone since its run's dag changed is not shown.
        if let Some(instance) = api.store.task_instance_get(&row.instance).await? {
            instances.push(instance);
            rows.push(row);
        }
    }
    let instances = show_all(&api, instances).await?;
    let details = rows.into_iter().zip(instances).map(|(row, instance)| HitlDetail::new(row, instance));
    let hitl_details = details.collect::<Result<_, _>>()?;
    Ok(Json(HitlDetailCollection { hitl_details, total_entries: listed.total }))
}

/// What a task instance asks (`map_index` -1: the task is not mapped), or asked last.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
    tag = "Task Instance", params(InstancePath),
    responses((status = 200, body = HitlDetail)),
)]
pub async fn get_hitl_detail(
    State(api): State<Api>,
    Path(path): Path<InstancePath>,
) -> Result<Json<HitlDetail>, ApiError> {
    let none = ApiError::not_found(format!("task `{}` of dag_run `{}` asks nothing", path.task_id, path.dag_run_id));
    let (path, map_index) = path.split();
    let (key, instance) = find_instance(&api, &path, map_index).await?;
    let row = api.store.approval_list_of(&key, None, 1).await?.pop();
    let shown = show_all(&api, vec![instance]).await?.pop();
    let (row, shown) = row.zip(shown).ok_or(none)?;
    Ok(Json(HitlDetail::new(row, shown)?))
}

/// What a try of a task instance asked.
#[utoipa::path(
    get,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails/tries/{try_number}",
    tag = "Task Instance", params(HitlTryPath), responses((status = 200, body = HitlDetail)),
)]
pub async fn get_hitl_detail_try_detail(
    State(api): State<Api>,
    Path(path): Path<HitlTryPath>,
) -> Result<Json<HitlDetail>, ApiError> {
    let (task, map_index, try_number) = path.split();
    let (key, _) = find_instance(&api, &task, map_index).await?;
    let row = api.store.approval_list_of(&key, Some(try_number), 1).await?.pop();
    let row = row.ok_or_else(|| {
        let TaskPath { task_id, dag_run_id, .. } = &task;
        ApiError::not_found(format!("try {try_number} of task `{task_id}` of dag_run `{dag_run_id}` asked nothing"))
    })?;
    Ok(Json(HitlDetail::new(row, find_try(&api, &task, map_index, try_number).await?)?))
}

/// Answers what a task instance asks; the task goes on. 409: it was answered already, or is not waited for any more. 403: others
/// are asked.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/hitlDetails",
    tag = "Task Instance", params(InstancePath), request_body = UpdateHitlDetailPayload,
    responses((status = 200, body = HitlDetailResponse)),
)]
pub async fn update_hitl_detail(
    State(api): State<Api>,
    by: CurrentUser,
    Path(path): Path<InstancePath>,
    extract::Json(body): extract::Json<UpdateHitlDetailPayload>,
) -> Result<Json<HitlDetailResponse>, ApiError> {
    let request = AnswerRequest {
        dag_id: path.dag_id,
        run_id: path.dag_run_id,
        task_id: path.task_id,
        map_index: path.map_index,
        chosen: body.chosen_options,
        values: body.params_input,
        username: by.username,
        delivery: None,
    };
    let answer = api.scheduler.approval_answer(request).await?;
    Ok(Json(HitlDetailResponse {
        responded_by: user(&answer.username),
        responded_at: answer.at.to_utc(),
        chosen_options: answer.chosen,
        params_input: json(&answer.values)?,
    }))
}
