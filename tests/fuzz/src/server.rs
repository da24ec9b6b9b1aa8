//! The whole server in process, API and page, asked by an admin for whatever comes.

use std::{
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use airlock::{
    api::{self, ApiConfig, ApiState},
    auth::{Auth, AuthConfig, PasswordRules, routes::ROUTES},
    blobs::Blobs,
    executor::{Executor, ExecutorConfig},
    model::{
        ids::{DagId, Digest, RunId},
        spec::ModuleSpec,
        time::{Clock, Timestamp},
    },
    scheduler::{Scheduler, SchedulerConfig, SchedulerTask},
    secrets::{SecretString, Secrets, SecretsConfig},
    store::{Commit, DagRunKey, DagRunNew, Deploy, Store, StoreConfig, StorePlace, Synchronous},
    ui::{self, UiState},
    vault::Vault,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";
/// Streams have no end; of an answer so much is read.
const PATIENCE: Duration = Duration::from_millis(50);
const MAX_BODY_BYTES: usize = 16 << 20;

struct Server {
    runtime: Runtime,
    router: Router,
    auth: Auth,
    token: String,
    _scheduler: SchedulerTask,
    _folder: TempDir,
}

/// One, because a database takes longer to make than an input to read. What an input changes is there for the next.
static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));

/// Asks what the input says: method, path and type of the body in the first line, the body after it. No answer is an error of
/// the server's, and no page holds markup that is not its own.
pub fn request(input: &[u8]) -> String {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let (line, body) = input.split_at(input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len()));
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // A test of a connection waits for the network.
    if path.contains("test") {
        return "not asked".to_owned();
    }
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, words.next().unwrap_or("application/json"))
        .header("sec-fetch-site", "same-origin")
        .header(header::AUTHORIZATION, format!("Bearer {}", server.token))
        .body(Body::from(body.get(1..).unwrap_or_default().to_vec()));
    let Ok(request) = request else { return "no request".to_owned() };
    let (status, text) = server.ask(request);
    assert!(
        status.as_u16() < 500 || status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::NOT_IMPLEMENTED,
        "{status}: {text}"
    );
    assert!(!text.contains("<!doctype") || !text.contains("<script>"), "{text}");
    if status == StatusCode::UNAUTHORIZED {
        server.sign_in();
    }
    format!("{status} {}", text.chars().take(200).collect::<String>())
}

/// Each route, asked for what is there and with a body that may be right.
pub fn routes() -> Vec<Vec<u8>> {
    let route = |(method, path, _): &(&str, &str, _)| {
        let path = path
            .replace("{dag_id}", "flow")
            .replace("{dag_run_id}", "done")
            .replace("{run_id}", "done")
            .replace("{task_id}", "extract")
            .replace("{map_index}", "-1")
            .replace("{digest}", &Digest([1; 32]).to_string())
            .replace(['{', '}'], "");
        let form = if path.starts_with("/api/") || path.starts_with("/auth/") {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        let query = if *method == "GET" { "?limit=5&offset=1&order_by=-id" } else { "" };
        let body = if form == "application/json" {
            r#"{"username": "ann", "name": "x", "key": "k", "value": "v", "conf": {}, "slots": 3, "is_paused": true, "dry_run": true}"#
        } else {
            "key=k&value=v&name=x&slots=3"
        };
        format!("{method} {path}{query} {form}\n{body}").into_bytes()
    };
    ROUTES.iter().map(route).collect()
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (router, auth, scheduler) = runtime.block_on(serve(folder.path()));
        let mut server = Self { runtime, router, auth, token: String::new(), _scheduler: scheduler, _folder: folder };
        server.sign_in();
        server
    }

    /// Whatever the inputs did to the admin.
    fn sign_in(&mut self) {
        self.runtime.block_on(async {
            let set = self.auth.user_set_password("admin", PASSWORD).await;
            set.expect("the last admin can't be deleted");
        });
        let body = json!({"username": "admin", "password": PASSWORD}).to_string();
        let request = Request::post("/auth/token").header(header::CONTENT_TYPE, "application/json");
        let (_, text) = self.ask(request.body(Body::from(body)).unwrap());
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        // Too many in too short a time wait for the next.
        answer["access_token"].as_str().unwrap_or_default().clone_into(&mut self.token);
    }

    fn ask(&self, request: Request<Body>) -> (StatusCode, String) {
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let read = timeout(PATIENCE, to_bytes(response.into_body(), MAX_BODY_BYTES)).await;
            let bytes = read.ok().and_then(Result::ok).unwrap_or_default();
            (status, String::from_utf8_lossy(&bytes).into_owned())
        })
    }
}

async fn serve(folder: &std::path::Path) -> (Router, Auth, SchedulerTask) {
    let config = StoreConfig { place: StorePlace::Sqlite(folder.join("airlock.db")), synchronous: Synchronous::Normal };
    let store = Store::open(&config).await.unwrap();
    let blobs = Blobs::in_memory();
    let secrets = Secrets::open(&SecretsConfig::default(), folder).unwrap();
    seed(&store).await;
    let (events, receiver) = mpsc::channel(16);
    // No task is started: the dag is paused, and there is nothing that could run one.
    let config = ExecutorConfig { binary: Some("/bin/false".into()), ..ExecutorConfig::new(folder.to_owned()) };
    let vault = Vault::new(store.clone(), secrets);
    let executor = Executor::start(config, blobs.clone(), vault.clone(), events).unwrap();
    let (scheduler, task) =
        Scheduler::start(SchedulerConfig::default(), store.clone(), blobs.clone(), executor, receiver).await.unwrap();
    let config = AuthConfig { password: PasswordRules { memory_kib: 64, passes: 1 }, ..AuthConfig::default() };
    let auth = Auth::new(config, store, Clock);
    auth.ensure_admin(Some(SecretString::from(PASSWORD.to_owned()))).await.unwrap();
    let state = ApiState::new(scheduler, blobs, vault, auth.clone(), ApiConfig::default());
    let page = ui::router(UiState::new(&state, CancellationToken::new()));
    (api::router(state).merge(page), auth, task)
}

/// Dag `flow`, paused, with the tasks `extract` and `load`, and its run `done`, which is queued.
async fn seed(store: &Store) {
    let node = |task_id: &str| {
        json!({"task_id": task_id, "entry": "work", "retries": 2, "retry_delay_ms": 1500, "retry_backoff": 2.0,
            "trigger_rule": "all_success", "pool": "default_pool", "pool_slots": 1, "priority_weight": 1})
    };
    let module: ModuleSpec = serde_json::from_value(json!({
        "name": "works", "sdk": "test", "entries": [{"name": "work", "doc": "Works.", "inputs": []}],
        "dags": [{
            "dag_id": "flow", "schedule": "manual", "timezone": "Asia/Seoul", "max_active_runs": 4, "max_active_tasks": 16,
            "paused_upon_creation": true, "nodes": [node("extract"), node("load")], "edges": [["extract", "load"]],
            "params": [{"name": "target", "schema": "{\"type\":\"integer\",\"minimum\":1}", "default": "5"}],
        }],
    }))
    .unwrap();
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let deploy = Deploy {
        module: Arc::new(module),
        digest: Digest([1; 32]),
        blob: "components/1".into(),
        size_bytes: 1,
        uploaded_by: "ann".into(),
        signer: None,
        provenance: None,
        paused_default: true,
        now,
    };
    let version = store.deploy(&deploy).await.unwrap()[0].version;
    let (dag_id, run_id) = (DagId::new("flow").unwrap(), RunId::new("done").unwrap());
    let run = DagRunNew::queued(DagRunKey(1), dag_id, run_id, version, now);
    store.commit(&Commit { dag_runs_new: vec![run], ..Commit::default() }).await.unwrap();
}
