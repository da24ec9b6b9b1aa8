//! Machines that run task instances for this server.

use std::fmt::Write as _;

use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONNECTION, UPGRADE},
    },
    response::Response,
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    Api,
    error::ApiError,
    extract::{Path, Query},
};
use crate::{
    auth::Audit,
    model::{build::Build, ids::QueueName, queue::Room},
    scheduler::{Hello, Workload},
};

/// What a worker asks its connection to become: frames of room `wire`, as between a supervisor and a runner.
pub const PROTOCOL: &str = "airlock-runner";
/// What the worker is called.
pub const NAME: HeaderName = HeaderName::from_static("x-airlock-worker");
/// A UUID, of the worker's process.
pub const PROCESS: HeaderName = HeaderName::from_static("x-airlock-process");
/// How many attempts it runs at a time.
pub const SLOTS: HeaderName = HeaderName::from_static("x-airlock-slots");
/// Memory that its attempts may have together, in MiB; left out: any.
pub const MEMORY: HeaderName = HeaderName::from_static("x-airlock-memory-mib");
/// The queues that it serves, with commas between; `*`: all.
pub const QUEUES: HeaderName = HeaderName::from_static("x-airlock-queues");
/// The worker's version, for people.
pub const VERSION: HeaderName = HeaderName::from_static("x-airlock-version");
/// The number of the protocol that its runner speaks: `wire::PROTOCOL`.
pub const SPEAKS: HeaderName = HeaderName::from_static("x-airlock-protocol");
/// What compiled code has to fit: compiler, its settings, CPU.
pub const CODE: HeaderName = HeaderName::from_static("x-airlock-code");
/// After how many attempts it leaves; left out: never.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-airlock-attempts");
const MAX_NAME: usize = 250;
const MAX_SLOTS: u32 = 100_000;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct WorkersQuery {
    /// Counts what is of this queue only, and the workers that serve it.
    #[param(value_type = Option<String>)]
    queue: Option<QueueName>,
}

/// What waits and runs, and who runs it: what an autoscaler needs to know.
#[utoipa::path(
    get, path = "/api/v2/workers", tag = "Worker", params(WorkersQuery), responses((status = 200, body = Workload)),
)]
pub async fn get_workers(State(api): State<Api>, Query(query): Query<WorkersQuery>) -> Json<Workload> {
    Json(api.scheduler.workload(query.queue.as_ref()))
}

/// Gives a worker no more attempts. It leaves when it has ended those that it has.
#[utoipa::path(
    post, path = "/api/v2/workers/{name}/drain", tag = "Worker",
    params(("name" = String, Path)),
    responses((status = 204), (status = 404)),
)]
pub async fn drain_worker(
    State(api): State<Api>,
    audit: Audit,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    is_there(api.scheduler.drain_worker(&name), &name)?;
    audit.change(&name, &Value::Null, &json!({ "is_draining": true }));
    Ok(StatusCode::NO_CONTENT)
}

/// What a worker says that wants to leave, with the token of workers: as `drain`, but for itself only, whoever has the same name.
#[utoipa::path(
    post, path = "/api/v2/workers/{name}/leave", tag = "Worker",
    params(("name" = String, Path)),
    responses((status = 204), (status = 403), (status = 404)),
)]
pub async fn leave(
    State(api): State<Api>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    shows_token(&api, &headers)?;
    let process = headers.get(PROCESS).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    let is_drained = match process {
        Some(process) => api.scheduler.drain_process(process),
        // A worker of an earlier version.
        None => api.scheduler.drain_worker(&name),
    };
    is_there(is_drained, &name)?;
    Ok(StatusCode::NO_CONTENT)
}

fn is_there(is_there: bool, name: &str) -> Result<(), ApiError> {
    is_there.then_some(()).ok_or_else(|| ApiError::not_found(format!("there is no worker `{name}`")))
}

/// Becomes the stream of a runner: `Upgrade: airlock-runner`, with the token of workers.
#[utoipa::path(
    get, path = "/api/v2/workers/stream", tag = "Worker",
    responses(
        (status = 101),
        (status = 403),
        (status = 409, description = "It speaks another protocol than this server, or runs other code than it compiles"),
        (status = 410, description = "It was drained"),
        (status = 503, description = "As many workers are connected as may be"),
    ),
)]
pub async fn connect_worker(State(api): State<Api>, mut request: Request) -> Result<Response, ApiError> {
    shows_token(&api, request.headers())?;
    let text =
        |name: &HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text(&UPGRADE) != PROTOCOL {
        let why = format!(
            "the header `Upgrade: {PROTOCOL}` is missing: a proxy before the server has to let upgrades through"
        );
        return Err(ApiError::bad_request(why));
    }
    let (name, slots) = (text(&NAME).to_owned(), text(&SLOTS).parse().unwrap_or(0));
    if name.is_empty() || name.len() > MAX_NAME || !(1..=MAX_SLOTS).contains(&slots) {
        return Err(ApiError::bad_request("a worker says its name and how many slots it has, 1 to 100,000".to_owned()));
    }
    let memory_mib = match text(&MEMORY) {
        "" => None,
        given => Some(given.parse().map_err(|_| ApiError::bad_request("a worker says its memory in MiB".to_owned()))?),
    };
    let queues =
        text(&QUEUES).parse().map_err(|error| ApiError::bad_request(format!("the worker's queues: {error}")))?;
    let process = text(&PROCESS).parse();
    let process: Uuid =
        process.map_err(|_| ApiError::bad_request("a worker names its process by a UUID".to_owned()))?;
    if api.scheduler.worker_is_drained(process) {
        return Err(ApiError::new(StatusCode::GONE, "gone", "the worker was drained".to_owned()));
    }
    let attempts = match text(&ATTEMPTS) {
        "" => None,
        given => Some(
            given.parse().map_err(|_| ApiError::bad_request("a worker leaves after 1 attempt or more".to_owned()))?,
        ),
    };
    let build = Build {
        version: text(&VERSION).to_owned(),
        protocol: text(&SPEAKS).parse().unwrap_or(0),
        code: text(&CODE).to_owned(),
    };
    if let Some(why) = api.config.workers.as_ref().and_then(|workers| workers.build.misfit(&build)) {
        tracing::warn!(worker = name, why, "a worker is refused");
        return Err(ApiError::conflict(why));
    }
    if !api.scheduler.takes_worker(process) {
        let why = "as many workers are connected as may be: start fewer, with more slots each";
        return Err(ApiError::unavailable(why));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let scheduler = api.scheduler.clone();
    #[expect(clippy::disallowed_methods, reason = "it ends with its stream, or with the executor")]
    tokio::spawn(async move {
        let served = match upgrade.await {
            Ok(stream) => {
                scheduler
                    .serve_worker(
                        Hello { name: name.clone(), process, room: Room::of(slots, memory_mib), queues, attempts },
                        TokioIo::new(stream),
                    )
                    .await
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = served {
            tracing::warn!(worker = name, error, "a worker was lost");
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Compared by digests, which takes as long for any text.
fn shows_token(api: &Api, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(workers) = &api.config.workers else {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this server takes no workers: its setting `workers.token` is not set".to_owned(),
        ));
    };
    let mut wanted = String::from("Bearer ");
    // Writing to a String does not fail.
    let _ = wanted.write_str(workers.token.expose());
    let shown = headers.get(AUTHORIZATION).map(|value| Sha256::digest(value.as_bytes()));
    if shown == Some(Sha256::digest(wanted.as_bytes())) {
        return Ok(());
    }
    Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "the token of workers is wrong".to_owned()))
}
