//! The router in process, over a real store and a scheduler whose one dag is paused.

mod access;
mod bad_input;
mod bulk;
mod cursors;
pub(crate) mod dag_access;
mod filters;
mod lists;
mod resources;
mod signatures;
mod webhooks;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::{ApiConfig, ApiState, router};
use crate::{
    auth::{Auth, AuthConfig, PasswordRules},
    blobs::{Blobs, keys},
    executor::{Executor, ExecutorConfig},
    model::{
        ids::{DagId, Digest, EntryName, RunId, TaskId, XComKey},
        role::Role,
        spec::{ComponentKind, EntrySpec, ModuleSpec},
        state::{RunState, TaskState},
        time::{Clock, Timestamp},
    },
    scheduler::{Scheduler, SchedulerConfig, SchedulerTask},
    secrets::{SecretString, Secrets, SecretsConfig},
    store::{
        ArtifactRow, Commit, DagRunKey, DagRunNew, DagRunUpdate, Deploy, InstanceKey, InstanceNew, InstanceUpdate,
        Placement, Store, StoreConfig, XComBody, XComNew,
    },
    vault::Vault,
};

const PASSWORD: &str = "correct horse battery";
/// Text that must come back as it went in, from any field that takes free text.
const HOSTILE: &str = "'; DROP TABLE dag_run; -- <script>alert(1)</script> \u{202e}\u{1f600} \\ %_ \"";

struct TestApi {
    router: Router,
    store: Store,
    scheduler: Scheduler,
    token: String,
    _scheduler: SchedulerTask,
    _folder: TempDir,
}

/// An answer whose body was read.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// The problem of an answer that must have `status`; checks what all problems have.
    #[track_caller]
    fn refused(self, status: u16) -> Value {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(body["status"], status);
        assert!(body["code"].is_string() && body["request_id"].is_string(), "{body}");
        assert_eq!(self.headers["x-request-id"], body["request_id"].as_str().unwrap());
        assert_eq!(body["detail"].is_array(), status == 422, "{body}");
        body
    }
}

impl TestApi {
    async fn new() -> Self {
        Self::with(SchedulerConfig::default()).await
    }

    async fn with(config: SchedulerConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = StoreConfig::of_test(folder.path()).await;
        let store = Store::open(&store).await.unwrap();
        let blobs = Blobs::in_memory();
        let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
        seed(&store, &blobs).await;

        let (events, receiver) = mpsc::channel(16);
        let scheduler_config = config;
        let config = ExecutorConfig {
            // Nothing is dispatched: the dag is paused.
            binary: Some("/bin/false".into()),
            ..ExecutorConfig::new(folder.path().to_owned())
        };
        let vault = Vault::new(store.clone(), secrets);
        let executor = Executor::start(config, blobs.clone(), vault.clone(), events).unwrap();
        let (scheduler, task) =
            Scheduler::start(scheduler_config, store.clone(), blobs.clone(), executor, receiver).await.unwrap();
        let config = AuthConfig { password: PasswordRules { memory_kib: 64, passes: 1 }, ..AuthConfig::default() };
        let auth = Auth::new(config, store.clone(), Clock);
        assert!(auth.ensure_admin(Some(SecretString::from(PASSWORD.to_owned()))).await.unwrap().is_none());

        let mut api = Self {
            router: router(ApiState::new(scheduler.clone(), blobs, vault, auth, ApiConfig::default())),
            store,
            scheduler,
            token: String::new(),
            _scheduler: task,
            _folder: folder,
        };
        let body = json!({"username": "admin", "password": PASSWORD});
        let token = api.post("/auth/token", body).await.ok();
        api.token = token["access_token"].as_str().unwrap().to_owned();
        api
    }

    /// Goes on as a new user `<role>1`, whom the present one makes.
    async fn sign_in_as(&mut self, role: Role) {
        let username = format!("{role}1");
        let user = json!({"username": username, "password": PASSWORD, "role": role});
        self.post("/api/v2/users", user).await.ok();
        let token = self.post("/auth/token", json!({"username": username, "password": PASSWORD})).await.ok();
        self.token = token["access_token"].as_str().unwrap().to_owned();
    }

    async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 100 << 20).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        if self.token.is_empty() {
            return request;
        }
        request.header(header::AUTHORIZATION, format!("Bearer {}", self.token))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, path);
        let request = match body {
            None => request.body(Body::empty()),
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
        };
        self.raw(request.unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn task(task_id: &str) -> InstanceKey {
    InstanceKey { dag_run: DagRunKey(1), task_id: TaskId::new(task_id).unwrap(), map_index: -1 }
}

/// Dag `flow` (paused) with the tasks `extract` and `load`, and its run `done`, in which both succeeded.
async fn seed(store: &Store, blobs: &Blobs) {
    let node = json!({
        "entry": "work", "retries": 2, "retry_delay_ms": 1500, "retry_backoff": 2.0, "trigger_rule": "all_success",
        "pool": "default_pool", "pool_slots": 1, "priority_weight": 1,
    });
    let mut nodes = vec![node.clone(), node];
    nodes[0]["task_id"] = "extract".into();
    nodes[0]["display_name"] = HOSTILE.into();
    nodes[1]["task_id"] = "load".into();
    let spec = json!({
        "dag_id": "flow", "display_name": "The flow", "description": HOSTILE, "doc": HOSTILE, "owners": ["ann"],
        "tags": ["etl"], "schedule": {"cron": {"expressions": ["0 6 * * *"], "data_interval": true}},
        "timezone": "Asia/Seoul", "start": "2026-01-01T00:00:00Z", "max_active_runs": 4, "max_active_tasks": 16,
        "nodes": nodes, "edges": [["extract", "load"]],
        "params": [{"name": "target", "schema": "{\"type\":\"integer\",\"minimum\":1}", "default": "5"}],
    });
    let work = EntrySpec::new("work");
    let dags = vec![serde_json::from_value(spec).unwrap()];
    let wasm = b"\0asm not really".to_vec();
    let module = ModuleSpec { sdk: "test".into(), entries: vec![work], dags, ..ModuleSpec::default() };
    let deploy = Deploy {
        size_bytes: i64::try_from(wasm.len()).unwrap(),
        paused_default: true,
        ..Deploy::of_test(7, module, at(0))
    };
    blobs.put(&keys::component(&deploy.digest, ComponentKind::Wasm), wasm.into()).await.unwrap();
    blobs.put("artifact/1", "<svg/>".into()).await.unwrap();
    let deployed = store.deploy(&deploy).await.unwrap();

    let (dag_id, run_id) = (DagId::new("flow").unwrap(), RunId::new("done").unwrap());
    let run = DagRunNew {
        logical_date: Some(at(0)),
        conf: "{\"target\":7}".into(),
        triggering_user: Some("ann".into()),
        ..DagRunNew::queued(DagRunKey(1), dag_id, run_id, deployed[0].version, at(0))
    };
    let new = |task_id| InstanceNew {
        key: task(task_id),
        state: TaskState::None,
        max_tries: 3,
        placement: Placement::usual(EntryName::new("work").unwrap()),
    };
    let success = |task_id| InstanceUpdate {
        max_tries: 3,
        scheduled_at: Some(at(0)),
        queued_at: Some(at(0)),
        start_date: Some(at(1)),
        end_date: Some(at(3)),
        ..InstanceUpdate::of_test(task(task_id), TaskState::Success, 1)
    };
    let value = br#"{"rows":[1,2],"text":"a < b"}"#;
    let artifact = ArtifactRow {
        instance: task("extract"),
        try_number: 1,
        name: "charts/report \"1\".svg".into(),
        media_type: "image/svg+xml".into(),
        size_bytes: 6,
        sha256: Digest([9; 32]),
        blob: "artifact/1".into(),
        created_at: at(3),
    };
    let over = DagRunUpdate {
        start_date: Some(at(1)),
        end_date: Some(at(3)),
        ..DagRunUpdate::of_test(DagRunKey(1), RunState::Success)
    };
    let commit = Commit {
        dag_runs_new: vec![run],
        dag_runs: vec![over],
        instances_new: vec![new("extract"), new("load")],
        instances: vec![success("extract"), success("load")],
        xcoms: vec![XComNew {
            instance: task("extract"),
            key: XComKey::return_value(),
            media_type: "application/json".into(),
            size_bytes: i64::try_from(value.len()).unwrap(),
            body: XComBody::Inline(value.to_vec()),
        }],
        artifacts: vec![artifact],
        now: at(3),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
}
