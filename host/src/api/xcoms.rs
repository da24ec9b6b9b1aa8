//! XComs: list, get, create, update, delete; and their bytes.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Api,
    artifacts::attachment,
    error::ApiError,
    extract::{FlatJson, Paging, Path, Query, flag},
    names::Names,
    paths::{MapIndex, TaskPath, TaskScopePath, XComPath},
    patterns::XComPatterns,
    permit::Scoped,
    ranges::DateRanges,
    retention::refuse_retired,
    task_instances::{find_instance, find_scope},
};
use crate::{
    auth::Audit,
    blobs::keys,
    model::{ids::XComKey, media_type::is_json, retention::Part},
    store::{DagFilter, InstanceKey, Like, XComBody, XComFilter, XComNew, XComRow, XComValue},
};

/// The longest value in bytes that is answered as JSON; longer ones are downloaded from `.../content`.
pub const MAX_SHOWN_BYTES: i64 = 16 << 20;
/// Arrays and objects in each other that readers of JSON take, this one, too.
const MAX_DEPTH: usize = 127;
/// The longest value in bytes that stays in the database.
const MAX_INLINE_BYTES: usize = 64 << 10;
/// The longest request in bytes that carries a value.
pub const MAX_BODY_BYTES: usize = 8 << 20;

#[derive(Debug, Serialize, ToSchema)]
pub struct XComResponse {
    key: String,
    timestamp: DateTime<Utc>,
    logical_date: Option<DateTime<Utc>>,
    map_index: i32,
    task_id: String,
    dag_id: String,
    run_id: String,
    run_after: DateTime<Utc>,
    dag_display_name: String,
    task_display_name: String,
    media_type: String,
    size_bytes: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct XComValueResponse {
    #[serde(flatten)]
    xcom: XComResponse,
    /// JSON as it is (with `stringify` as text, but for null); anything else as `{"media_type": ..., "base64": ...}`.
    #[schema(value_type = Value)]
    value: Box<RawValue>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct XComCollectionResponse {
    xcom_entries: Vec<XComResponse>,
    total_entries: i64,
}

/// Airflow: `XComCreateBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct XComCreateBody {
    #[schema(value_type = String)]
    key: XComKey,
    #[schema(value_type = Value)]
    value: Box<RawValue>,
    #[serde(default = "unmapped")]
    #[schema(default = -1)]
    map_index: i32,
}

/// Airflow: `XComUpdateBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct XComUpdateBody {
    #[schema(value_type = Value)]
    value: Box<RawValue>,
    #[serde(default = "unmapped")]
    #[schema(default = -1)]
    map_index: i32,
}

fn unmapped() -> i32 {
    -1
}

/// Which XComs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct XComQuery {
    #[param(value_type = Option<String>)]
    xcom_key: Option<XComKey>,
    map_index: Option<i32>,
    /// The same.
    map_index_filter: Option<i32>,
}

impl XComQuery {
    fn map_index(&self) -> Result<Option<i32>, ApiError> {
        match (self.map_index, self.map_index_filter) {
            (Some(one), Some(other)) if one != other => Err(ApiError::invalid(
                ["query", "map_index_filter"],
                "it is another than `map_index`; leave one of them out",
            )),
            (one, other) => Ok(one.or(other)),
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct XComShape {
    /// Answers the value as text.
    #[serde(deserialize_with = "flag")]
    stringify: bool,
}

impl XComResponse {
    fn new(row: XComRow, names: &Names) -> Self {
        let InstanceKey { dag_run, task_id, map_index } = row.instance;
        Self {
            key: row.key.to_string(),
            timestamp: row.created_at.to_utc(),
            logical_date: row.logical_date.map(crate::model::time::Timestamp::to_utc),
            map_index,
            task_display_name: names.task(dag_run, &task_id),
            task_id: task_id.to_string(),
            dag_display_name: names.dag(dag_run, &row.dag_id),
            dag_id: row.dag_id.to_string(),
            run_id: row.run_id.to_string(),
            run_after: row.run_after.to_utc(),
            media_type: row.media_type,
            size_bytes: row.size_bytes,
        }
    }
}

/// XComs of a task, or with `~` for task, run and dag of all.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", tag = "XCom",
    params(TaskScopePath, Paging, XComQuery, XComPatterns, DateRanges), responses((status = 200, body = XComCollectionResponse)),
)]
pub async fn get_xcom_entries(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<TaskScopePath>,
    Query(paging): Query<Paging>,
    Query(query): Query<XComQuery>,
    Query(names): Query<XComPatterns>,
    Query(dates): Query<DateRanges>,
) -> Result<Json<XComCollectionResponse>, ApiError> {
    let (dag_id, dag_run) = find_scope(&api, path.dag_id, path.dag_run_id).await?;
    let called = names.dag_display_name()?;
    let dags = if called == Like::default() {
        scope.seen().clone()
    } else {
        let called = DagFilter { display_name: called, dags: scope.seen().clone(), ..DagFilter::default() };
        api.store.dag_list_ids(&called).await?.into_iter().collect()
    };
    let filter = XComFilter {
        dag_id,
        dags,
        dag_run,
        task_id: path.task_id.one(),
        map_index: query.map_index()?,
        key: query.xcom_key,
        key_like: names.key()?,
        run_id_like: names.run_id()?,
        task_id_like: names.task_id()?,
        logical_date: dates.logical_date(),
        run_after: dates.run_after(),
    };
    if filter.dag_run.is_none() && filter.looks_into_each() {
        return Err(ApiError::bad_request(
            "XComs are found by names within one run: of all runs that would read all history; name the run",
        ));
    }
    // Runs come one after another as they were made.
    let page = paging.in_order(if filter.dag_run.is_some() { &["task_id", "map_index", "key"] } else { &[] })?;
    let listed = api.store.xcom_list(&filter, page).await?;
    let names = Names::of_runs(&api, listed.items.iter().map(|row| row.instance.dag_run)).await?;
    let xcom_entries = listed.items.into_iter().map(|row| XComResponse::new(row, &names)).collect();
    Ok(Json(XComCollectionResponse { xcom_entries, total_entries: listed.total }))
}

async fn find_xcom(api: &Api, path: XComPath, map_index: i32) -> Result<XComValue, ApiError> {
    let (path, key) = path.split();
    let (instance, _) = find_instance(api, &path, map_index).await?;
    if let Some(found) = api.store.xcom_get(&instance, &key).await? {
        return Ok(found);
    }
    refuse_retired(api, instance.dag_run, Part::Data).await?;
    Err(ApiError::not_found(format!("task instance `{}` has no XCom `{key}`", path.task_id)))
}

async fn show(api: &Api, found: XComValue, stringify: bool) -> Result<XComValueResponse, ApiError> {
    if found.row.size_bytes > MAX_SHOWN_BYTES {
        let detail = "the value is too large for a JSON answer; download it from `.../content`";
        return Err(ApiError::too_large(detail));
    }
    let names = Names::of_runs(api, [found.row.instance.dag_run]).await?;
    let value = value(api, &found, stringify).await?;
    Ok(XComValueResponse { xcom: XComResponse::new(found.row, &names), value })
}

/// A value, at most [`MAX_SHOWN_BYTES`], as JSON shows it.
///
/// # Errors
/// If it can't be read.
pub async fn value(api: &Api, found: &XComValue, stringify: bool) -> Result<Box<RawValue>, ApiError> {
    let _turn = api.turn(found.row.size_bytes).await;
    let stored;
    let body: &[u8] = match &found.body {
        XComBody::Inline(body) => body,
        XComBody::Blob(blob) => {
            stored = api.blobs.get(blob).await?;
            stored.as_deref().ok_or_else(|| ApiError::unavailable("the value is not in object storage"))?
        }
    };
    // As text, a string is itself, and null is no text.
    let is_text = body.trim_ascii_start().starts_with(b"\"") || body.trim_ascii() == b"null";
    let is_shown = is_json(&found.row.media_type) && (!stringify || is_text);
    let value = match std::str::from_utf8(body) {
        // It is never read into memory as a tree, which takes thirty times as much.
        Ok(text) if is_shown => match RawValue::from_string(text.to_owned()) {
            Ok(json) if depth(text) <= MAX_DEPTH => Ok(json),
            // A task may write what is no JSON, or nests too deep; then the text is shown.
            _ => to_raw_value(text),
        },
        Ok(text) if stringify => to_raw_value(text),
        _ => to_raw_value(&json!({"media_type": found.row.media_type, "base64": STANDARD.encode(body)})),
    };
    value.map_err(|error| ApiError::internal(&error))
}

/// How many arrays and objects lie in each other in JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
    tag = "XCom", params(XComPath, MapIndex, XComShape), responses((status = 200, body = XComValueResponse)),
)]
pub async fn get_xcom_entry(
    State(api): State<Api>,
    Path(path): Path<XComPath>,
    Query(index): Query<MapIndex>,
    Query(shape): Query<XComShape>,
) -> Result<Json<XComValueResponse>, ApiError> {
    let found = find_xcom(&api, path, index.map_index).await?;
    Ok(Json(show(&api, found, shape.stringify).await?))
}

/// The bytes of a value, whatever their type and size.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}/content",
    tag = "XCom", params(XComPath, MapIndex),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>)),
)]
pub async fn get_xcom_content(
    State(api): State<Api>,
    Path(path): Path<XComPath>,
    Query(index): Query<MapIndex>,
) -> Result<Response, ApiError> {
    let name = path.xcom_key.to_string();
    let found = find_xcom(&api, path, index.map_index).await?;
    let body = match found.body {
        XComBody::Inline(body) => Body::from(body),
        XComBody::Blob(blob) => {
            let read = api.blobs.stream(&blob).await?;
            Body::from_stream(read.ok_or_else(|| ApiError::unavailable("the value is not in object storage"))?.stream)
        }
    };
    let media_type =
        HeaderValue::from_str(&found.row.media_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, attachment(&name)),
        (header::CONTENT_LENGTH, HeaderValue::from(found.row.size_bytes)),
    ];
    Ok((headers, body).into_response())
}

async fn put(api: &Api, instance: InstanceKey, key: XComKey, value: &RawValue) -> Result<XComValueResponse, ApiError> {
    let text = value.get().to_owned();
    if depth(&text) > MAX_DEPTH {
        return Err(ApiError::invalid(["body", "value"], format!("it nests deeper than {MAX_DEPTH} levels")));
    }
    let size_bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let body = if text.len() <= MAX_INLINE_BYTES {
        XComBody::Inline(text.into_bytes())
    } else {
        let blob = keys::xcom_by_hand(Uuid::new_v4());
        api.blobs.put(&blob, text.into()).await?;
        XComBody::Blob(blob)
    };
    let xcom = XComNew { instance, key, media_type: "application/json".to_owned(), size_bytes, body };
    Audit::settle();
    api.store.xcom_put(&xcom, api.clock.now()).await?;
    api.scheduler.xcom_changed(&xcom.instance);
    let found = api.store.xcom_get(&xcom.instance, &xcom.key).await?;
    show(api, found.ok_or_else(|| ApiError::not_found("it was deleted a moment ago"))?, false).await
}

/// Adds an XCom to a task instance. 409 if it has one of this key.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", tag = "XCom",
    params(TaskPath), request_body = XComCreateBody, responses((status = 201, body = XComValueResponse)),
)]
pub async fn create_xcom_entry(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    FlatJson(body): FlatJson<XComCreateBody>,
) -> Result<(StatusCode, Json<XComValueResponse>), ApiError> {
    let (instance, _) = find_instance(&api, &path, body.map_index).await?;
    if api.store.xcom_get(&instance, &body.key).await?.is_some() {
        let detail = format!("task instance `{}` has an XCom `{}` already", path.task_id, body.key);
        return Err(ApiError::conflict(detail));
    }
    Ok((StatusCode::CREATED, Json(put(&api, instance, body.key, &body.value).await?)))
}

#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
    tag = "XCom", params(XComPath), request_body = XComUpdateBody, responses((status = 200, body = XComValueResponse)),
)]
pub async fn update_xcom_entry(
    State(api): State<Api>,
    Path(path): Path<XComPath>,
    FlatJson(body): FlatJson<XComUpdateBody>,
) -> Result<Json<XComValueResponse>, ApiError> {
    let found = find_xcom(&api, path, body.map_index).await?;
    Ok(Json(put(&api, found.row.instance, found.row.key, &body.value).await?))
}

#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}",
    tag = "XCom", params(XComPath, MapIndex), responses((status = 204)),
)]
pub async fn delete_xcom_entry(
    State(api): State<Api>,
    Path(path): Path<XComPath>,
    Query(index): Query<MapIndex>,
) -> Result<StatusCode, ApiError> {
    let found = find_xcom(&api, path, index.map_index).await?;
    Audit::settle();
    api.store.xcom_delete(&found.row.instance, &found.row.key).await?;
    api.scheduler.xcom_changed(&found.row.instance);
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_lies_in_texts_is_not_deep() {
        for (json, deep) in
            [("7", 0), ("[]", 1), (r#"{"a": [[1], {}], "b": "[[[[\"[["}"#, 3), (r#"["\\", [["x"]]]"#, 3)]
        {
            assert_eq!(depth(json), deep, "{json}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH)).is_ok());
        assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH + 1)).is_err());
    }
}
