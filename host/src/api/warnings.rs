//! What an operator should know of.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::model::warning::Warning;

#[derive(Debug, Serialize, ToSchema)]
pub struct WarningCollectionResponse {
    warnings: Vec<WarningResponse>,
    total_entries: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WarningResponse {
    /// `scheduler_late`, `clock_behind`, `database_failing`, `storage_failing`, `disk_nearly_full`, `backup_failing`, `queue_unserved`, `slow_task` or `slow_statements`.
    kind: &'static str,
    text: String,
    since: DateTime<Utc>,
    /// Of the task instance that it is about, if it is about one.
    dag_id: Option<String>,
    dag_run_id: Option<String>,
    task_id: Option<String>,
    map_index: Option<i32>,
}

impl From<&Warning> for WarningResponse {
    fn from(warning: &Warning) -> Self {
        let task = warning.task.as_ref();
        Self {
            kind: warning.kind.as_str(),
            text: warning.text.clone(),
            since: warning.since.to_utc(),
            dag_id: task.map(|task| task.dag_id.to_string()),
            dag_run_id: task.map(|task| task.run_id.to_string()),
            task_id: task.map(|task| task.task_id.to_string()),
            map_index: task.map(|task| task.map_index),
        }
    }
}

/// What is not well, or may soon not be, the worst first, as it was some seconds ago. Nothing, if all is well.
#[utoipa::path(
    get, path = "/api/v2/monitor/warnings", tag = "Monitor", responses((status = 200, body = WarningCollectionResponse)),
)]
pub async fn get_warnings(State(api): State<Api>) -> Json<WarningCollectionResponse> {
    let warnings: Vec<_> = api.scheduler.warnings().iter().map(WarningResponse::from).collect();
    Json(WarningCollectionResponse { total_entries: warnings.len(), warnings })
}
