//! An API server in small: it keeps pods, says how they change, and can be told to fail.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, patch, post},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Failure, has_ended, name};

/// What the API server keeps.
#[derive(Debug, Default)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    /// Told when something changed.
    changed: watch::Sender<u64>,
    /// Told when watches are to end.
    cut: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    version: u64,
    /// Watches can't go on from before.
    oldest: u64,
    pods: BTreeMap<String, Value>,
    history: Vec<(u64, Value)>,
    pub created: Vec<String>,
    pub failures: VecDeque<Failure>,
}

impl Store {
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all watches.
    pub fn cut_watches(&self) {
        self.cut.send_modify(|cut| *cut += 1);
    }

    /// Forgets all that happened: no watch can go on.
    pub fn compact(&self) {
        let mut inner = self.inner();
        inner.history.clear();
        inner.version += 1;
        inner.oldest = inner.version;
        drop(inner);
        self.cut_watches();
    }

    /// Writes down that a pod is now so.
    fn note(&self, inner: &mut Inner, kind: &str, mut pod: Value) -> Value {
        inner.version += 1;
        pod["metadata"]["resourceVersion"] = json!(inner.version.to_string());
        if kind == "DELETED" {
            inner.pods.remove(name(&pod));
        } else {
            inner.pods.insert(name(&pod).to_owned(), pod.clone());
        }
        inner.history.push((inner.version, json!({ "type": kind, "object": pod })));
        self.changed.send_replace(inner.version);
        pod
    }
}

pub(super) fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/api/v1/namespaces/default/pods", get(list).post(create))
        .route("/api/v1/namespaces/default/pods/{name}", get(read).delete(delete))
        .route("/api/v1/namespaces/default/pods/{name}/status", patch(patch_status))
        .route("/api/v1/namespaces/default/pods/{name}/binding", post(bind))
        .with_state(store)
}

fn refuse(status: u16, reason: &str, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message,
    });
    (code, Json(body)).into_response()
}

fn no_pod(name: &str) -> Response {
    refuse(404, "NotFound", &format!("pods \"{name}\" not found"))
}

async fn list(State(store): State<Arc<Store>>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let labels: Vec<(String, String)> = query.get("labelSelector").map_or_else(Vec::new, |labels| {
        labels.split(',').filter_map(|one| one.split_once('=')).map(|(key, is)| (key.into(), is.into())).collect()
    });
    let fits = move |pod: &Value| labels.iter().all(|(key, is)| pod["metadata"]["labels"][key] == is.as_str());
    if query.get("watch").is_none_or(|watch| watch == "false") {
        let inner = store.inner();
        let items: Vec<_> = inner.pods.values().filter(|pod| fits(pod)).collect();
        return Json(json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": { "resourceVersion": inner.version.to_string() }, "items": items,
        }))
        .into_response();
    }
    let from = query.get("resourceVersion").and_then(|version| version.parse::<u64>().ok()).unwrap_or(0);
    let (changed, cut) = (store.changed.subscribe(), store.cut.subscribe());
    let events = stream::unfold(
        (store, from, changed, cut, false),
        move |(store, from, mut changed, mut cut, is_over)| {
            let fits = fits.clone();
            async move {
                if is_over {
                    return None;
                }
                loop {
                    let (lines, next) = {
                        let inner = store.inner();
                        if from < inner.oldest {
                            let status = json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version" });
                            let line = format!("{}\n", json!({ "type": "ERROR", "object": status }));
                            drop(inner);
                            return Some((
                                Ok::<_, std::io::Error>(Bytes::from(line)),
                                (store, from, changed, cut, true),
                            ));
                        }
                        let news =
                            inner.history.iter().filter(|(version, event)| *version > from && fits(&event["object"]));
                        let mut lines: Vec<_> = news.map(|(_, event)| event.to_string()).collect();
                        // Each ends its line.
                        lines.extend((!lines.is_empty()).then(String::new));
                        (lines.join("\n"), inner.version)
                    };
                    if !lines.is_empty() {
                        return Some((Ok(Bytes::from(lines)), (store, next, changed, cut, false)));
                    }
                    tokio::select! {
                        _ = changed.changed() => {}
                        _ = cut.changed() => return None,
                        () = tokio::time::sleep(Duration::from_mins(1)) => return None,
                    }
                }
            }
        },
    );
    Response::new(Body::from_stream(events))
}

async fn create(State(store): State<Arc<Store>>, Json(mut pod): Json<Value>) -> Response {
    let failure = store.inner().failures.pop_front();
    match &failure {
        Some(Failure::Refuse { status, reason, message }) => return refuse(*status, reason, message),
        Some(Failure::Slow(late)) => tokio::time::sleep(*late).await,
        Some(Failure::LoseAnswer) | None => {}
    }
    let mut inner = store.inner();
    if inner.pods.contains_key(name(&pod)) {
        return refuse(409, "AlreadyExists", &format!("pods \"{}\" already exists", name(&pod)));
    }
    inner.created.push(name(&pod).to_owned());
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod["status"] = json!({ "phase": "Pending" });
    let pod = store.note(&mut inner, "ADDED", pod);
    if let Some(Failure::LoseAnswer) = failure {
        return refuse(500, "InternalError", "etcdserver: request timed out");
    }
    (StatusCode::CREATED, Json(pod)).into_response()
}

async fn read(State(store): State<Arc<Store>>, Path(name): Path<String>) -> Response {
    let inner = store.inner();
    inner.pods.get(&name).map_or_else(|| no_pod(&name), |pod| Json(pod).into_response())
}

async fn delete(
    State(store): State<Arc<Store>>,
    Path(name): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut inner = store.inner();
    let Some(mut pod) = inner.pods.get(&name).cloned() else { return no_pod(&name) };
    // Nobody has to end one that is on no node, or that has ended (pkg/registry/core/pod/strategy.go).
    let is_nowhere = pod["spec"]["nodeName"].is_null() || has_ended(&pod);
    let is_over = is_nowhere || query.get("gracePeriodSeconds").is_some_and(|seconds| seconds == "0");
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let pod = store.note(&mut inner, if is_over { "DELETED" } else { "MODIFIED" }, pod);
    Json(pod).into_response()
}

async fn patch_status(State(store): State<Arc<Store>>, Path(name): Path<String>, body: Bytes) -> Response {
    let Ok(patch) = serde_json::from_slice::<Value>(&body) else { return refuse(400, "BadRequest", "no JSON") };
    let mut inner = store.inner();
    let Some(mut pod) = inner.pods.get(&name).cloned() else { return no_pod(&name) };
    pod["status"] = patch["status"].clone();
    Json(store.note(&mut inner, "MODIFIED", pod)).into_response()
}

async fn bind(State(store): State<Arc<Store>>, Path(name): Path<String>, Json(binding): Json<Value>) -> Response {
    let mut inner = store.inner();
    let Some(mut pod) = inner.pods.get(&name).cloned() else { return no_pod(&name) };
    if !pod["spec"]["nodeName"].is_null() {
        return refuse(409, "Conflict", &format!("pod {name} is already assigned to node"));
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    store.note(&mut inner, "MODIFIED", pod);
    (StatusCode::CREATED, Json(json!({ "kind": "Status", "status": "Success" }))).into_response()
}
