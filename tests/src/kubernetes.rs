//! A cluster in small: an API server that keeps pods and says how they change, and a kubelet that starts the worker of each pod as a process.
//!
//! The API server is in this process, can be told to fail, and does what Airlock relies on as Kubernetes does it: names are taken once, a
//! watch goes on where it is told to or says 410, a pod that is deleted gets its time to end. Or `AIRLOCK_TEST_KUBECONFIG` names a real one
//! (a kubeconfig as JSON, whose user has a token; best without nodes): then the kubelet alone is ours.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::stream;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
};

use crate::{Client, build, wait::until};

/// How often the kubelet looks.
const LOOK: Duration = Duration::from_millis(25);
/// Why a pod has not started, in the words of a kubelet.
const NO_IMAGE: &str = "nowhere";

/// What the API server does wrong.
#[derive(Debug, Clone)]
pub enum Failure {
    /// It answers so, and does nothing.
    Refuse { status: u16, reason: &'static str, message: &'static str },
    /// It does what is asked, and its answer is lost.
    LoseAnswer,
    /// It answers late.
    Slow(Duration),
}

/// A namespace with its pods. Ends with them when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    kubeconfig: PathBuf,
    api: Client,
    store: Option<Arc<Store>>,
    kubelet: Arc<Kubelet>,
    _serving: JoinSet<()>,
}

impl Cluster {
    /// Starts one in which a Secret `airlock` holds `token` as `workers-token`.
    pub async fn start(token: &str) -> Self {
        let folder = TempDir::with_prefix("airlock-cluster-").expect("a temporary folder can be made");
        let mut serving = JoinSet::new();
        let (store, server, credentials, kubeconfig) = if let Ok(path) = std::env::var("AIRLOCK_TEST_KUBECONFIG") {
            let text = fs::read_to_string(&path).expect("AIRLOCK_TEST_KUBECONFIG names a file");
            let config: Value = serde_json::from_str(&text).expect("AIRLOCK_TEST_KUBECONFIG is JSON");
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let server = text(&config["clusters"][0]["cluster"]["server"]).expect("it names a server");
            (None, server, text(&config["users"][0]["user"]["token"]), PathBuf::from(path))
        } else {
            let store = Arc::new(Store::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
            let server = format!("http://{}", listener.local_addr().expect("a listener has an address"));
            let app = router(Arc::clone(&store));
            serving.spawn(async move { axum::serve(listener, app).await.expect("it serves until it is dropped") });
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "test",
                "clusters": [{ "name": "test", "cluster": { "server": server } }],
                "users": [{ "name": "test", "user": { "token": "a token" } }],
                "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "default" } }],
            });
            let path = folder.path().join("kubeconfig");
            fs::write(&path, config.to_string()).expect("the temporary folder can be written");
            (Some(store), server, Some("a token".to_owned()), path)
        };
        let mut api = Client::anonymous(&server);
        api.token = credentials;
        if store.is_none() {
            let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build();
            api.http = client.expect("a client can be made");
        }
        let kubelet = Arc::new(Kubelet { token: token.to_owned(), running: Mutex::default() });
        serving.spawn(Arc::clone(&kubelet).run(api.clone()));
        Self { folder, kubeconfig, api, store, kubelet, _serving: serving }
    }

    /// Whether its API server is ours, so that it can be told to fail.
    pub fn is_fake(&self) -> bool {
        self.store.is_some()
    }

    /// What a server is told of it: variables.
    pub fn env(&self, fleets: &str) -> [(String, String); 2] {
        let path = self.folder.path().join("fleets.yaml");
        fs::write(&path, fleets).expect("the temporary folder can be written");
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        [("KUBECONFIG".into(), text(&self.kubeconfig)), ("AIRLOCK_KUBERNETES_FLEETS".into(), text(&path))]
    }

    /// Changes the file of fleets, for the next start of a server.
    pub fn set_fleets(&self, fleets: &str) {
        fs::write(self.folder.path().join("fleets.yaml"), fleets).expect("the temporary folder can be written");
    }

    /// All pods of Airlock.
    pub async fn pods(&self) -> Vec<Value> {
        pods(&self.api).await.unwrap_or_default()
    }

    /// The pods that have not ended, once they are so many.
    pub async fn live(&self, count: usize) -> Vec<String> {
        until(&format!("{count} pods that live"), Duration::from_mins(1), async || {
            let pods = self.pods().await;
            let live = pods.iter().filter(|pod| !["Succeeded", "Failed"].contains(&phase(pod)));
            let live: Vec<_> = live.map(|pod| name(pod).to_owned()).collect();
            (live.len() == count).then_some(live)
        })
        .await
    }

    fn fake(&self) -> &Store {
        self.store.as_ref().expect("a real API server does as it likes")
    }

    /// The names of all pods that were ever created.
    pub fn created(&self) -> Vec<String> {
        self.fake().inner().created.clone()
    }

    /// What the next creations are answered.
    pub fn fail(&self, failures: impl IntoIterator<Item = Failure>) {
        self.fake().inner().failures.extend(failures);
    }

    /// Ends all watches.
    pub fn cut_watches(&self) {
        self.fake().cut.send_modify(|cut| *cut += 1);
    }

    /// Forgets all that happened: no watch can go on.
    pub fn compact(&self) {
        let mut inner = self.fake().inner();
        inner.history.clear();
        inner.version += 1;
        inner.oldest = inner.version;
        drop(inner);
        self.cut_watches();
    }

    /// The system kills the process of a pod that took too much memory.
    pub async fn oom(&self, pod: &str) {
        let state = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
        self.end(pod, &json!({ "phase": "Failed", "containerStatuses": container(&state) })).await;
    }

    /// The node ends a pod because it is short of memory.
    pub async fn evict(&self, pod: &str) {
        let status =
            json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory." });
        self.end(pod, &status).await;
    }

    /// Somebody deletes a pod by force.
    pub async fn vanish(&self, pod: &str) {
        drop(self.kubelet.running().remove(pod));
        self.api.delete(&format!("/api/v1/namespaces/default/pods/{pod}?gracePeriodSeconds=0")).await.ok();
    }

    async fn end(&self, pod: &str, status: &Value) {
        // Dead first, told later: as it is.
        drop(self.kubelet.running().remove(pod));
        tokio::time::sleep(Duration::from_millis(200)).await;
        put_status(&self.api, pod, status).await;
    }
}

/// Starts and ends the workers of pods.
#[derive(Debug)]
struct Kubelet {
    token: String,
    running: Mutex<BTreeMap<String, Child>>,
}

impl Kubelet {
    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, api: Client) {
        loop {
            tokio::time::sleep(LOOK).await;
            // One that does not answer is asked again.
            for pod in pods(&api).await.unwrap_or_default() {
                self.look_at(&api, &pod).await;
            }
        }
    }

    async fn look_at(&self, api: &Client, pod: &Value) {
        let (name, is_leaving) = (name(pod), !pod["metadata"]["deletionTimestamp"].is_null());
        let ended = self.running().get_mut(name).and_then(|child| child.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.running().remove(name);
            let code = status.code().unwrap_or(137);
            let state =
                json!({ "terminated": { "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" } } });
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            put_status(api, name, &json!({ "phase": phase, "containerStatuses": container(&state) })).await;
        }
        let pid = self.running().get(name).and_then(Child::id);
        match (is_leaving, pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)) {
            (true, Some(pid)) => drop(kill_process(pid, Signal::TERM)),
            (true, None) => {
                api.delete(&format!("/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")).await;
            }
            (false, None) if phase(pod) == "Pending" => self.start(api, name, pod).await,
            (false, _) => {}
        }
    }

    async fn start(&self, api: &Client, name: &str, pod: &Value) {
        let spec = &pod["spec"];
        let worker = &spec["containers"][0];
        let waiting = |reason: &str, message: &str| {
            let state = json!({ "waiting": { "reason": reason, "message": message } });
            json!({ "phase": "Pending", "containerStatuses": container(&state) })
        };
        let status = if spec["nodeSelector"]["disk"] == "none" {
            let message = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
            let condition =
                json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
            json!({ "phase": "Pending", "conditions": [condition] })
        } else if worker["image"] == NO_IMAGE {
            waiting("ErrImagePull", "nowhere: not found")
        } else {
            let env = worker["env"].as_array().cloned().unwrap_or_default();
            let value = |var: &Value| match var["valueFrom"]["secretKeyRef"]["name"].as_str() {
                Some("airlock") => Some(self.token.clone()),
                Some(_) => None,
                None => var["value"].as_str().map(str::to_owned),
            };
            let env: Option<Vec<_>> =
                env.iter().map(|var| Some((var["name"].as_str()?.to_owned(), value(var)?))).collect();
            match env {
                None => waiting("CreateContainerConfigError", "secret \"missing\" not found"),
                Some(env) => {
                    let args = worker["args"].as_array().cloned().unwrap_or_default();
                    let child = Command::new(build::binary())
                        .args(args.iter().filter_map(Value::as_str))
                        .env_clear()
                        .envs(env)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .kill_on_drop(true)
                        .spawn()
                        .expect("the binary can be started");
                    self.running().insert(name.to_owned(), child);
                    json!({ "phase": "Running", "containerStatuses": container(&json!({ "running": {} })) })
                }
            }
        };
        if pod["status"] != status {
            put_status(api, name, &status).await;
        }
    }
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

fn container(state: &Value) -> Value {
    json!([{ "name": "worker", "image": "airlock", "imageID": "", "ready": false, "restartCount": 0, "state": state }])
}

async fn pods(api: &Client) -> Option<Vec<Value>> {
    let path = "/api/v1/namespaces/default/pods?labelSelector=app.kubernetes.io/name=airlock";
    let answer = api.try_send(api.request(Method::GET, path)).await?;
    answer.body["items"].as_array().cloned()
}

async fn put_status(api: &Client, pod: &str, status: &Value) {
    let request = api.request(Method::PATCH, &format!("/api/v1/namespaces/default/pods/{pod}/status"));
    let request = request.header("content-type", "application/merge-patch+json");
    // It may be gone.
    api.try_send(request.body(json!({ "status": status }).to_string())).await;
}

/// What the API server keeps.
#[derive(Debug, Default)]
struct Store {
    inner: Mutex<Inner>,
    /// Told when something changed.
    changed: watch::Sender<u64>,
    /// Told when watches are to end.
    cut: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    /// Watches can't go on from before.
    oldest: u64,
    pods: BTreeMap<String, Value>,
    history: Vec<(u64, Value)>,
    created: Vec<String>,
    failures: VecDeque<Failure>,
}

impl Store {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
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

fn router(store: Arc<Store>) -> Router {
    Router::new()
        .route("/api/v1/namespaces/default/pods", get(list).post(create))
        .route("/api/v1/namespaces/default/pods/{name}", get(read).delete(delete))
        .route("/api/v1/namespaces/default/pods/{name}/status", axum::routing::patch(patch_status))
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
    let is_over = query.get("gracePeriodSeconds").is_some_and(|seconds| seconds == "0");
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
