//! Artifacts: list and download. Never shown in place: a browser saves them.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    dag_runs::find_run,
    error::ApiError,
    extract::{Path, Query},
    paths::{ArtifactPath, MapIndex, RunPath, TaskPath},
    retention::refuse_retired,
    task_instances::find_instance,
};
use crate::{blobs::BlobRead, model::retention::Part, store::ArtifactRow};

#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactResponse {
    task_id: String,
    map_index: i32,
    try_number: u32,
    name: String,
    media_type: String,
    size_bytes: i64,
    /// In hexadecimal digits.
    sha256: String,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactCollectionResponse {
    artifacts: Vec<ArtifactResponse>,
    total_entries: usize,
}

impl From<ArtifactRow> for ArtifactResponse {
    fn from(row: ArtifactRow) -> Self {
        Self {
            task_id: row.instance.task_id.to_string(),
            map_index: row.instance.map_index,
            try_number: row.try_number,
            name: row.name,
            media_type: row.media_type,
            size_bytes: row.size_bytes,
            sha256: row.sha256.to_string(),
            created_at: row.created_at.to_utc(),
        }
    }
}

fn show(rows: Vec<ArtifactRow>) -> Json<ArtifactCollectionResponse> {
    let artifacts: Vec<_> = rows.into_iter().map(ArtifactResponse::from).collect();
    Json(ArtifactCollectionResponse { total_entries: artifacts.len(), artifacts })
}

/// A `Content-Disposition` that saves a file under `name`, whatever is in it (RFC 6266, RFC 8187).
pub fn attachment(name: &str) -> HeaderValue {
    /// What RFC 8187 lets stand as it is.
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');
    let file = name.rsplit('/').next().unwrap_or(name);
    let plain: String =
        file.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' }).collect();
    let value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(file, PLAIN));
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// An object that a browser saves under `name`.
pub fn download(read: BlobRead, name: &str, media_type: &str) -> Response {
    let media_type = HeaderValue::from_str(media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, attachment(name)),
        (header::CONTENT_LENGTH, HeaderValue::from(read.size_bytes)),
    ];
    (headers, Body::from_stream(read.stream)).into_response()
}

/// All artifacts of a run.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/artifacts", tag = "Artifact", params(RunPath),
    responses((status = 200, body = ArtifactCollectionResponse)),
)]
pub async fn get_run_artifacts(
    State(api): State<Api>,
    Path(path): Path<RunPath>,
) -> Result<Json<ArtifactCollectionResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    Ok(show(api.store.artifact_list_of_run(run.key).await?))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/artifacts", tag = "Artifact",
    params(TaskPath, MapIndex), responses((status = 200, body = ArtifactCollectionResponse)),
)]
pub async fn get_artifacts(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<MapIndex>,
) -> Result<Json<ArtifactCollectionResponse>, ApiError> {
    let (instance, _) = find_instance(&api, &path, index.map_index).await?;
    Ok(show(api.store.artifact_list(&instance).await?))
}

/// An artifact's bytes. A `/` in its name is written as `%2F`.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/artifacts/{name}",
    tag = "Artifact", params(ArtifactPath, MapIndex),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>)),
)]
pub async fn get_artifact(
    State(api): State<Api>,
    Path(path): Path<ArtifactPath>,
    Query(index): Query<MapIndex>,
) -> Result<Response, ApiError> {
    let (path, name) = path.split();
    let (instance, _) = find_instance(&api, &path, index.map_index).await?;
    let missing = || {
        let shown: String = name.chars().take(80).collect();
        ApiError::not_found(format!("task instance `{}` has no artifact `{shown}`", path.task_id))
    };
    let Some(row) = api.store.artifact_get(&instance, &name).await? else {
        refuse_retired(&api, instance.dag_run, Part::Data).await?;
        return Err(missing());
    };
    let read = api.blobs.stream(&row.blob).await?;
    let read = read.ok_or_else(|| ApiError::unavailable("the artifact is not in object storage"))?;
    Ok(download(read, &row.name, &row.media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_break_out_of_its_header() {
        assert_eq!(
            attachment("a/report.svg").to_str().unwrap(),
            "attachment; filename=\"report.svg\"; filename*=UTF-8''report.svg"
        );
        let hostile = attachment("x\"; filename=\"evil.html\r\nä").to_str().unwrap().to_owned();
        assert_eq!(hostile.matches('"').count(), 2, "{hostile}");
        assert!(hostile.ends_with("filename*=UTF-8''x%22%3B%20filename%3D%22evil.html%0D%0A%C3%A4"), "{hostile}");
    }
}
