//! Recordings of tries: list and download.

use axum::{Json, extract::State, response::Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    artifacts::download,
    error::ApiError,
    extract::{Path, Query},
    paths::{MapIndex, TaskPath, TryPath},
    retention::refuse_retired,
    task_instances::find_instance,
};
use crate::{model::retention::Part, store::RecordingRow};

#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingResponse {
    try_number: u32,
    /// Of the download.
    size_bytes: i64,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct RecordingCollectionResponse {
    recordings: Vec<RecordingResponse>,
    total_entries: usize,
}

impl From<RecordingRow> for RecordingResponse {
    fn from(row: RecordingRow) -> Self {
        Self { try_number: row.try_number, size_bytes: row.size_bytes, created_at: row.created_at.to_utc() }
    }
}

/// The recordings of a task instance, of the last try first.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/recordings", tag = "Recording",
    params(TaskPath, MapIndex), responses((status = 200, body = RecordingCollectionResponse)),
)]
pub async fn get_recordings(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<MapIndex>,
) -> Result<Json<RecordingCollectionResponse>, ApiError> {
    let (instance, _) = find_instance(&api, &path, index.map_index).await?;
    let recordings = api.store.recording_list(&instance).await?;
    let recordings: Vec<_> = recordings.into_iter().map(RecordingResponse::from).collect();
    Ok(Json(RecordingCollectionResponse { total_entries: recordings.len(), recordings }))
}

/// The recording of a try, for `airlock replay`.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/recordings/{try_number}",
    tag = "Recording", params(TryPath, MapIndex),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 410, description = "Retention deleted it."),
    ),
)]
pub async fn get_recording(
    State(api): State<Api>,
    Path(path): Path<TryPath>,
    Query(index): Query<MapIndex>,
) -> Result<Response, ApiError> {
    let (path, try_number) = path.split();
    let (instance, _) = find_instance(&api, &path, index.map_index).await?;
    let Some(row) = api.store.recording_get(&instance, try_number).await? else {
        refuse_retired(&api, instance.dag_run, Part::Logs).await?;
        return Err(ApiError::not_found(format!(
            "try {try_number} of task instance `{}` was not recorded; set `record` of the task or its dag",
            path.task_id
        )));
    };
    let read = api.blobs.stream(&row.blob).await?;
    let read = read.ok_or_else(|| ApiError::unavailable("the recording is not in object storage"))?;
    Ok(download(read, &format!("{}-{try_number}.recording", path.task_id), "application/octet-stream"))
}
