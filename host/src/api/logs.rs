//! Logs of tries, as pages of JSON or as a stream of lines.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{Path, Query, flag},
    paths::{MapIndex, TryPath},
    permit::{UNBUFFERED, Visitor},
    retention::refuse_retired,
    task_instances::find_instance,
};
use crate::{
    model::{causes::chain, retention::Part},
    scheduler::{LogFrom, LogLine, LogPage, Logs},
    store::InstanceKey,
};

/// Lines of a page.
const PAGE_LINES: usize = 1_000;
/// Lines of an answer that was asked to be whole; the rest follows by its token.
const FULL_LINES: usize = 50_000;

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskInstancesLogResponse {
    /// Lines as objects: `timestamp`, `level`, `source`, `event` and the fields that the task added.
    #[schema(value_type = Vec<Object>)]
    content: Vec<Box<RawValue>>,
    /// Where to go on; null if the try is over and this was its end.
    continuation_token: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// All lines in one answer (up to 50,000), not in pages of 1,000.
    #[serde(deserialize_with = "flag")]
    full_content: bool,
    /// The `continuation_token` of the page before.
    token: Option<String>,
    /// With `Accept: application/x-ndjson`: go on until the try is over.
    #[serde(deserialize_with = "flag")]
    follow: bool,
}

/// The log of a try: JSON in pages, or with `Accept: application/x-ndjson` a line each, all of them.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}",
    tag = "Task Instance", params(TryPath, MapIndex, LogQuery),
    responses(
        (status = 200, content(
            (TaskInstancesLogResponse = "application/json"),
            (String = "application/x-ndjson"),
        )),
        (status = 410, description = "Retention deleted it."),
    ),
)]
pub async fn get_log(
    State(api): State<Api>,
    visitor: Visitor,
    Path(path): Path<TryPath>,
    Query(index): Query<MapIndex>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (path, try_number) = path.split();
    let (instance, row) = find_instance(&api, &path, index.map_index).await?;
    if try_number == 0 || try_number > row.try_number {
        return Err(ApiError::not_found(format!("task instance `{}` has no try {try_number}", path.task_id)));
    }
    refuse_deleted(&api, &instance, try_number).await?;
    let first = match &query.token {
        None => 0,
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::invalid(["query", "token"], "it is not a token of an earlier answer"))?,
    };
    if wants_lines(&headers) {
        let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
        let body = if query.follow {
            Body::from_stream(visitor.listen(in_pieces(api.logs.follow(instance, try_number, first)))?)
        } else {
            Body::from_stream(in_pieces(all_lines(api.logs.clone(), instance, try_number, first)))
        };
        return Ok((UNBUFFERED, headers, body).into_response());
    }
    let limit = if query.full_content { FULL_LINES } else { PAGE_LINES };
    let page = api.logs.read(&instance, try_number, LogFrom::Line(first), limit).await?;
    let next = first + page.lines.len() as u64;
    let has_more = page.is_live || next < page.total_lines;
    let content = page.lines.iter().map(as_json).collect();
    Ok(Json(TaskInstancesLogResponse { content, continuation_token: has_more.then(|| next.to_string()) })
        .into_response())
}

/// Says so if the log was there and retention deleted it.
async fn refuse_deleted(api: &Api, instance: &InstanceKey, try_number: u32) -> Result<(), ApiError> {
    if api.logs.read(instance, try_number, LogFrom::Tail, 1).await?.total_lines == 0 {
        refuse_retired(api, instance.dag_run, Part::Logs).await?;
    }
    Ok(())
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("application/x-ndjson") && !accept.contains("application/json")
}

fn as_json(line: &LogLine) -> Box<RawValue> {
    // Whatever a line is, the page is JSON.
    RawValue::from_string(line.to_string())
        .or_else(|_| serde_json::value::to_raw_value(&serde_json::json!({"event": &**line})))
        .unwrap_or_default()
}

/// All lines that there are now, page by page, so that no log is in memory as a whole.
fn all_lines(
    logs: Logs,
    instance: InstanceKey,
    try_number: u32,
    first: u64,
) -> impl Stream<Item = Result<Vec<LogLine>, crate::scheduler::LogError>> + Send + 'static {
    stream::unfold(Some(first), move |next| {
        let (logs, instance) = (logs.clone(), instance.clone());
        async move {
            let from = next?;
            match logs.read(&instance, try_number, LogFrom::Line(from), PAGE_LINES).await {
                Ok(LogPage { lines, .. }) if lines.is_empty() => None,
                Ok(page) => {
                    let next = from + page.lines.len() as u64;
                    Some((Ok(page.lines), Some(next)))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

fn in_pieces(
    lines: impl Stream<Item = Result<Vec<LogLine>, crate::scheduler::LogError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, crate::scheduler::LogError>> + Send + 'static {
    let piece = |lines: Result<Vec<LogLine>, crate::scheduler::LogError>| {
        let lines = lines.inspect_err(|error| tracing::warn!(error = %chain(error), "a log broke off"))?;
        let mut piece = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in lines {
            piece.extend_from_slice(line.as_bytes());
            piece.push(b'\n');
        }
        Ok(piece.into())
    };
    // A compressed body is asked once more after its end.
    lines.map(piece).fuse()
}
