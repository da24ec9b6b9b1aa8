//! Who was told of a run and its task instances.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    dag_runs::find_run,
    error::ApiError,
    extract::{Paging, Path, Query},
    paths::RunPath,
};
use crate::store::CallbackRow;

#[derive(Debug, Serialize, ToSchema)]
pub struct CallbackResponse {
    /// `success`, `failure`, `retry`, `skipped`, `deadline` or `question`.
    event: &'static str,
    /// Null: it is about the run itself.
    task_id: Option<String>,
    map_index: i32,
    /// Null: it is about the run itself.
    try_number: Option<i64>,
    /// The connection by which it is told, or `dag:<dag_id>`: by a run of that dag.
    target: String,
    message: Option<String>,
    created_at: DateTime<Utc>,
    /// `pending`, `delivered` or `failed`.
    state: String,
    /// Deliveries that were tried.
    attempts: u32,
    /// When a pending one is tried next.
    due_at: DateTime<Utc>,
    /// Why the last delivery failed.
    error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CallbackCollectionResponse {
    callbacks: Vec<CallbackResponse>,
    total_entries: i64,
}

impl From<CallbackRow> for CallbackResponse {
    fn from(row: CallbackRow) -> Self {
        let callback = row.callback;
        Self {
            event: callback.event.as_str(),
            try_number: callback.task_id.is_some().then_some(callback.number),
            task_id: callback.task_id.map(|id| id.to_string()),
            map_index: callback.map_index,
            target: callback.target.to_string(),
            message: callback.message,
            created_at: row.created_at.to_utc(),
            state: row.state,
            attempts: row.attempts,
            due_at: row.due_at.to_utc(),
            error: row.error,
        }
    }
}

/// The callbacks of a run and its task instances, the oldest first.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/callbacks", tag = "DagRun", params(RunPath, Paging),
    responses((status = 200, body = CallbackCollectionResponse)),
)]
pub async fn get_callbacks(
    State(api): State<Api>,
    Path(path): Path<RunPath>,
    Query(paging): Query<Paging>,
) -> Result<Json<CallbackCollectionResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let listed = api.store.callback_list(run.key, paging.in_order(&[])?).await?;
    let callbacks = listed.items.into_iter().map(CallbackResponse::from).collect();
    Ok(Json(CallbackCollectionResponse { callbacks, total_entries: listed.total }))
}
