//! A cluster in small: an API server that keeps pods and says how they change, and a kubelet that starts the worker of each pod as a process.
//!
//! The API server is in this process, can be told to fail, and does what Airlock relies on as Kubernetes does it: names are taken once, a
//! watch goes on where it is told to or says 410, a pod that is deleted gets its time to end. Or `AIRLOCK_TEST_KUBECONFIG` names a real one
//! (a kubeconfig as JSON, whose user has a token and may do all; without nodes or controllers): then the kubelet alone is ours. There each
//! cluster is a namespace of its own, and a server has the rights in it that its documentation asks for, no others.

mod api;
mod kubelet;
mod namespace;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

use self::{
    api::Store,
    kubelet::{Kubelet, container},
    namespace::Namespace,
};
use crate::{Client, wait::until};

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
    namespace: Namespace,
    store: Option<Arc<Store>>,
    kubelet: Arc<Kubelet>,
    _serving: JoinSet<()>,
}

impl Cluster {
    /// Starts one in which a Secret `airlock` holds `token` as `workers-token`.
    pub async fn start(token: &str) -> Self {
        let folder = TempDir::with_prefix("airlock-cluster-").expect("a temporary folder can be made");
        let mut serving = JoinSet::new();
        let (store, namespace, config) = if let Ok(path) = std::env::var("AIRLOCK_TEST_KUBECONFIG") {
            let (namespace, config) = Namespace::make(path.as_ref()).await;
            (None, namespace, config)
        } else {
            let store = Arc::new(Store::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
            let server = format!("http://{}", listener.local_addr().expect("a listener has an address"));
            let app = api::router(Arc::clone(&store));
            serving.spawn(async move { axum::serve(listener, app).await.expect("it serves until it is dropped") });
            let user = json!({ "token": "a token" });
            let config = namespace::kubeconfig(&json!({ "server": server }), &user, "default");
            (Some(store), Namespace { api: Client::anonymous(&server), name: "default".to_owned() }, config)
        };
        let kubeconfig = folder.path().join("kubeconfig");
        fs::write(&kubeconfig, config.to_string()).expect("the temporary folder can be written");
        let kubelet = Arc::new(Kubelet::new(namespace.clone(), token));
        serving.spawn(Arc::clone(&kubelet).run());
        Self { folder, kubeconfig, namespace, store, kubelet, _serving: serving }
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
        self.namespace.pods().await.unwrap_or_default()
    }

    /// The pods that have not ended, once they are so many.
    pub async fn live(&self, count: usize) -> Vec<String> {
        until(&format!("{count} pods that live"), Duration::from_mins(1), async || {
            let pods = self.pods().await;
            let live = pods.iter().filter(|pod| !has_ended(pod));
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
        self.fake().cut_watches();
    }

    /// Forgets all that happened: no watch can go on.
    pub fn compact(&self) {
        self.fake().compact();
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
        self.kubelet.kill(pod);
        self.namespace.remove(pod).await.ok();
    }

    async fn end(&self, pod: &str, status: &Value) {
        // Dead first, told later: as it is.
        self.kubelet.kill(pod);
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.namespace.put_status(pod, status).await;
    }
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

fn has_ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&phase(pod))
}
