//! The router in process, over a real database, and a browser of few words.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{dags::module, runs::seed};
use crate::{
    api::{ApiConfig, ApiState},
    auth::{Auth, AuthConfig, SessionKind},
    blobs::Blobs,
    executor::{Executor, ExecutorConfig},
    model::{
        ids::DagId,
        role::Role,
        time::{Clock, Timestamp},
    },
    scheduler::{Scheduler, SchedulerConfig, SchedulerTask},
    secrets::{Secrets, SecretsConfig},
    store::{Deploy, Store, StoreConfig},
    ui::{UiState, router},
};

/// Text that would be seen if it were not escaped.
pub const EVIL: &str = "<script>alert('\"1\"')</script>";
pub const NOW: &str = "2026-11-20T06:00:00Z";

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub struct World {
    pub router: Router,
    pub ui: UiState,
    pub cookie: String,
    _scheduler: SchedulerTask,
    executor: Executor,
    _folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::of_test(folder.path()).await).await.unwrap();
        let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
        let blobs = Blobs::in_memory();
        let component = Deploy::of_test(7, module(), at(NOW));
        let deploy = Deploy { size_bytes: 345_678, uploaded_by: EVIL.into(), ..component };
        let versions = store.deploy(&deploy).await.unwrap();
        store.dag_set_paused(&id("mapped"), true, at(NOW)).await.unwrap();
        let (events, receiver) = mpsc::channel(64);
        // No attempt is ever made: the runner is none.
        let config =
            ExecutorConfig { binary: Some("/bin/false".into()), ..ExecutorConfig::new(folder.path().to_owned()) };
        let vault = crate::vault::Vault::new(store.clone(), secrets);
        let executor = Executor::start(config, blobs.clone(), vault.clone(), events).unwrap();
        let config = SchedulerConfig { timetables: false, ..SchedulerConfig::default() };
        let (scheduler, task) =
            Scheduler::start(config, store.clone(), blobs.clone(), executor.clone(), receiver).await.unwrap();
        for version in &versions {
            seed(&store, &blobs, &version.dag_id, version.version).await;
        }
        let auth = Auth::new(AuthConfig::default(), store, Clock);
        auth.user_create("ada", Some("a long password"), Role::Admin, Vec::new()).await.unwrap();
        let session = auth.open("ada", SessionKind::Cookie).await.unwrap();
        let api = ApiState::new(scheduler, blobs, vault, auth, ApiConfig::default());
        let ui = UiState::new(&api, tokio_util::sync::CancellationToken::new());
        Self {
            router: router(ui.clone()),
            ui,
            cookie: format!("airlock_session={}", session.secret.expose()),
            _scheduler: task,
            executor,
            _folder: folder,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::COOKIE, &self.cookie).body(Body::empty()).unwrap();
        self.send(request).await
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let body: Vec<_> =
            form.iter().map(|(name, value)| format!("{name}={}", crate::ui::links::part(value))).collect();
        let request = Request::post(path)
            .header(header::COOKIE, &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.join("&")))
            .unwrap();
        self.send(request).await
    }

    /// Goes on as a new user of this role.
    pub async fn sign_in_as(&mut self, role: Role) {
        self.ui.auth.user_create(role.as_str(), Some("a long password"), role, Vec::new()).await.unwrap();
        let session = self.ui.auth.open(role.as_str(), SessionKind::Cookie).await.unwrap();
        self.cookie = format!("airlock_session={}", session.secret.expose());
    }

    /// Goes on as a new user, a member with these DAG permissions.
    pub async fn sign_in_with(&mut self, username: &str, permissions: &[&str]) {
        let permissions = permissions.iter().map(|text| text.parse().unwrap()).collect();
        self.ui.auth.user_create(username, None, Role::Member, permissions).await.unwrap();
        let session = self.ui.auth.open(username, SessionKind::Cookie).await.unwrap();
        self.cookie = format!("airlock_session={}", session.secret.expose());
    }

    pub async fn end(self) {
        self.ui.scheduler.stop().await;
        self.executor.shutdown().await;
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub fn id(text: &str) -> DagId {
    DagId::new(text).unwrap()
}

/// Where the newest run of a dag is.
pub async fn newest(world: &World, dag_id: &str) -> String {
    let run = crate::ui::data::newest_runs(&world.ui, &id(dag_id), 1).await.unwrap().pop().unwrap();
    crate::ui::links::run(&run.dag_id, &run.run_id)
}
