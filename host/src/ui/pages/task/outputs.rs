//! What an instance left: its XComs and artifacts.

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt as _;
use serde::Deserialize;

use super::{super::run::pretty, Found, TaskPath, find, part};
use crate::{
    model::{ids::XComKey, retention::Part},
    store::{ArtifactRow, Page, XComBody, XComFilter, XComValue},
    ui::{
        UiState,
        error::UiError,
        links,
        show::{Bytes as Size, Html},
    },
};

/// Bytes of a value that are shown.
const MOST_SHOWN: usize = 64 << 10;

#[derive(Template)]
#[template(path = "task_outputs.html")]
struct OutputsPart {
    xcoms: Vec<XComView>,
    artifacts: Vec<ArtifactView>,
    /// Retention deleted them.
    is_deleted: bool,
}

struct XComView {
    key: XComKey,
    media_type: String,
    size: Size,
    href: String,
    text: Option<String>,
    not_shown: Option<String>,
}

struct ArtifactView {
    name: String,
    media_type: String,
    size: Size,
    sha256: String,
    href: String,
    image: Option<String>,
}

pub async fn view(ui: &UiState, found: &Found) -> Result<Html, UiError> {
    let filter = XComFilter {
        dag_run: Some(found.key.dag_run),
        task_id: Some(found.key.task_id.clone()),
        map_index: Some(found.key.map_index),
        ..XComFilter::default()
    };
    let rows = ui.store.xcom_list(&filter, Page::first(100)).await?.items;
    let keys: Vec<_> = rows.into_iter().map(|row| (row.instance, row.key)).collect();
    let xcoms = ui.store.xcom_get_many(&keys).await?.into_iter().map(|value| {
        let (text, not_shown) = shown(&value);
        let map_index = found.key.map_index.to_string();
        let path = links::xcom_content(&value.row);
        XComView {
            href: links::with_query(&path, &[("map_index", &map_index)]),
            key: value.row.key,
            media_type: value.row.media_type,
            size: Size(value.row.size_bytes),
            text,
            not_shown,
        }
    });
    let artifacts = ui.store.artifact_list(&found.key).await?.into_iter().map(|artifact| {
        let address = |inline: &str| found.href("/artifact", &[("name", &artifact.name), ("inline", inline)]);
        ArtifactView {
            href: address(""),
            image: is_image(&artifact).then(|| address("true")),
            media_type: artifact.media_type.clone(),
            size: Size(artifact.size_bytes),
            sha256: artifact.sha256.to_string(),
            name: artifact.name.clone(),
        }
    });
    let (xcoms, artifacts): (Vec<_>, Vec<_>) = (xcoms.collect(), artifacts.collect());
    let is_deleted = xcoms.is_empty()
        && artifacts.is_empty()
        && ui.store.dag_run_part_is_deleted(found.key.dag_run, Part::Data).await?;
    part(&OutputsPart { xcoms, artifacts, is_deleted })
}

/// The value as text, or why it is not shown.
pub fn shown(value: &XComValue) -> (Option<String>, Option<String>) {
    let media_type = value.row.media_type.as_str();
    let bytes = match &value.body {
        XComBody::Blob(_) => return (None, Some("It is in object storage: too large to show here.".into())),
        XComBody::Inline(bytes) => bytes,
    };
    let is_text = media_type.starts_with("text/") || media_type.contains("json");
    match std::str::from_utf8(bytes) {
        Ok(text) if is_text && bytes.len() <= MOST_SHOWN => {
            let text = if media_type.contains("json") { pretty(text) } else { text.to_owned() };
            (Some(text), None)
        }
        _ => (None, Some("It is not text.".into())),
    }
}

/// Whether it is shown as a picture: by `<img>`, in which nothing runs.
fn is_image(artifact: &ArtifactRow) -> bool {
    let known = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"];
    known.contains(&artifact.media_type.as_str()) && artifact.size_bytes < 8 << 20
}

#[derive(Debug, Deserialize)]
pub struct ArtifactQuery {
    name: String,
    #[serde(default)]
    map_index: Option<i32>,
    #[serde(default)]
    inline: bool,
}

/// `GET .../artifact?name=...`: a download; with `inline=true` a picture. Nothing in it may run or load.
pub async fn artifact(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Query(query): Query<ArtifactQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let missing = || UiError::NotFound(format!("artifact `{}` does not exist", query.name));
    let artifact = ui.store.artifact_get(&found.key, &query.name).await?.ok_or_else(missing)?;
    let blob = ui.blobs.stream(&artifact.blob).await?.ok_or_else(missing)?;
    let is_inline = query.inline && is_image(&artifact);
    let media_type = if is_inline { artifact.media_type.as_str() } else { "application/octet-stream" };
    let disposition = disposition(if is_inline { "inline" } else { "attachment" }, &artifact.name);
    let about: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(UiError::internal)?),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).map_err(UiError::internal)?),
        (header::CONTENT_LENGTH, blob.size_bytes.into()),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        ),
    ];
    Ok((about, Body::from_stream(blob.stream.into_stream())).into_response())
}

/// What a browser does with a download, and what it calls it: the last part of `name`.
fn disposition(kind: &str, name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or("artifact");
    let plain: String =
        file.chars().map(|c| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect();
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", links::part(file))
}

#[derive(Debug, Deserialize)]
pub struct RecordingQuery {
    r#try: u32,
    #[serde(default)]
    map_index: Option<i32>,
}

/// `GET .../recording?try=N`: a download, for `airlock replay --recording`.
pub async fn recording(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Query(query): Query<RecordingQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let missing = || UiError::NotFound(format!("try {} was not recorded", query.r#try));
    let row = ui.store.recording_get(&found.key, query.r#try).await?.ok_or_else(missing)?;
    let blob = ui.blobs.stream(&row.blob).await?.ok_or_else(missing)?;
    let name = format!("{}-{}.recording", found.key.task_id, query.r#try);
    let about: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&disposition("attachment", &name)).map_err(UiError::internal)?,
        ),
        (header::CONTENT_LENGTH, blob.size_bytes.into()),
    ];
    Ok((about, Body::from_stream(blob.stream.into_stream())).into_response())
}
