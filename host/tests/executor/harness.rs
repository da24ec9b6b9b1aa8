//! An executor with its own storage, and a dag of guests.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use airlock::{
    blobs::{self, Blobs},
    executor::{
        Assignment, AttemptId, Completion, Executor, ExecutorConfig, ExecutorEvent, LogFrom, LogLine, RunContext,
    },
    model::{
        dag::{Catalog, Dag},
        ids::{DagId, Digest, RunId, TaskId},
        spec::ComponentKind,
        state::{RunState, RunType},
        time::Timestamp,
    },
    secrets::{Secrets, SecretsConfig},
    store::{Commit, DagRunKey, DagRunNew, Deploy, InstanceKey, Store, StoreConfig, StorePlace, Synchronous},
    vault::Vault,
};
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::sync::mpsc;

const AIRLOCK: &str = env!("CARGO_BIN_EXE_airlock");

static GUESTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let target: PathBuf = Path::new(AIRLOCK).ancestors().nth(2).unwrap().into();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "guests", "--target", "wasm32-wasip2", "--profile", "task"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root)
        .status()
        .unwrap();
    assert!(built.success(), "the guests do not build; is the target there? rustup target add wasm32-wasip2");
    std::fs::read(target.join("wasm32-wasip2/task/guests.wasm")).unwrap()
});

pub struct Harness {
    pub executor: Executor,
    pub store: Store,
    pub blobs: Blobs,
    events: mpsc::Receiver<ExecutorEvent>,
    dag: Arc<Dag>,
    run: Arc<RunContext>,
    component: Digest,
    folder: TempDir,
}

/// Logs are kept of runs that are there.
async fn insert(store: &Store, run: &RunContext, deploy: Deploy) {
    let version = store.deploy(&deploy).await.unwrap()[0].version;
    let new = DagRunNew {
        state: RunState::Running,
        start_date: Some(run.run_after),
        ..DagRunNew::queued(run.dag_run, run.dag_id.clone(), run.run_id.clone(), version, run.run_after)
    };
    store.commit(&Commit { dag_runs_new: vec![new], ..Commit::default() }).await.unwrap();
}

impl Harness {
    /// A dag of `nodes` without grants, whose component is uploaded.
    pub async fn new(nodes: serde_json::Value) -> Self {
        Self::with(nodes, |config| config).await
    }

    /// As [`Harness::new`], with other settings.
    pub async fn with(mut nodes: serde_json::Value, settings: impl FnOnce(ExecutorConfig) -> ExecutorConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            place: StorePlace::Sqlite(folder.path().join("airlock.db")),
            synchronous: Synchronous::Normal,
        };
        let store = Store::open(&config).await.unwrap();
        let blobs = Blobs::in_memory();
        let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
        let (sender, events) = mpsc::channel(256);
        let config = ExecutorConfig { binary: Some(AIRLOCK.into()), ..ExecutorConfig::new(folder.path().to_owned()) };
        let config = settings(config);
        let executor = Executor::start(config, blobs.clone(), Vault::new(store.clone(), secrets), sender).unwrap();

        let mut entries = Vec::new();
        for node in nodes.as_array_mut().unwrap() {
            let node = node.as_object_mut().unwrap();
            for (name, value) in [
                ("retries", 0.into()),
                ("retry_delay_ms", 0.into()),
                ("retry_backoff", 0.0.into()),
                ("trigger_rule", "all_success".into()),
                ("pool", "default_pool".into()),
                ("pool_slots", 1.into()),
                ("priority_weight", 1.into()),
            ] {
                node.insert(name.to_owned(), value);
            }
            entries.push(serde_json::json!({"name": node["entry"], "inputs": [
                {"name": "x", "schema": "{}", "required": false}]}));
        }
        let spec = serde_json::json!({"dag_id": "guests", "schedule": "manual", "timezone": "Asia/Seoul",
            "max_active_runs": 1, "max_active_tasks": 1, "nodes": nodes});
        let entries: Vec<_> = serde_json::from_value(entries.into()).unwrap();
        let dag = Dag::from_spec(&serde_json::from_value(spec).unwrap(), &Catalog::new(&entries)).unwrap();
        let run = RunContext {
            dag_run: DagRunKey(1),
            dag_id: DagId::new("guests").unwrap(),
            run_id: RunId::new("run-1").unwrap(),
            run_type: RunType::Manual,
            logical_date: None,
            data_interval: None,
            run_after: Timestamp::default(),
            next_run_after: None,
            params: "{}".into(),
        };
        let component = Digest(sha2::Sha256::digest(&*GUESTS).into());
        let blob = blobs::keys::component(&component, ComponentKind::Wasm);
        blobs.put(&blob, GUESTS.clone().into()).await.unwrap();
        let module = executor.compile(GUESTS.clone().into()).await.unwrap().module;
        assert_eq!(module.dags[0].dag_id, "guests");
        insert(
            &store,
            &run,
            Deploy {
                module: Arc::new(module),
                digest: component,
                blob,
                size_bytes: 1,
                uploaded_by: "ann".into(),
                signer: None,
                provenance: None,
                paused_default: false,
                now: Timestamp::default(),
            },
        )
        .await;
        Self { executor, store, blobs, events, dag: Arc::new(dag), run: Arc::new(run), component, folder }
    }

    pub fn id(&self, task: &str) -> AttemptId {
        let task_id = TaskId::new(task).unwrap();
        let instance = InstanceKey { dag_run: self.run.dag_run, task_id, map_index: -1 };
        AttemptId { instance, try_number: 1, restart: 0 }
    }

    fn assignment(&self, id: AttemptId) -> Assignment {
        Assignment {
            refused: None,
            node: self.dag.index(&id.instance.task_id).unwrap(),
            id,
            dag: Arc::clone(&self.dag),
            grants: Arc::new(self.dag.grants.clone()),
            run: Arc::clone(&self.run),
            component: self.component,
            max_tries: 1,
            started_at: Timestamp::from_micros(0),
        }
    }

    pub fn dispatch(&self, tasks: &[&str]) {
        self.executor.dispatch(tasks.iter().map(|task| self.assignment(self.id(task))).collect());
    }

    /// As many instances of one task.
    pub fn dispatch_mapped(&self, task: &str, map_indexes: Range<i32>) {
        let mapped = map_indexes.map(|map_index| {
            let mut id = self.id(task);
            id.instance.map_index = map_index;
            self.assignment(id)
        });
        self.executor.dispatch(mapped.collect());
    }

    pub async fn completion(&mut self) -> Completion {
        loop {
            let event = tokio::time::timeout(Duration::from_mins(1), self.events.recv()).await;
            match event.expect("an attempt should have ended").unwrap() {
                ExecutorEvent::Finished(completion) => return *completion,
                ExecutorEvent::Workers => {}
                other => panic!("no task of these tests starts runs: {other:?}"),
            }
        }
    }

    pub async fn read(&self, task: &str) -> Vec<LogLine> {
        self.executor.logs().read(&self.id(task).instance, 1, LogFrom::Line(0), 1_000).await.unwrap().lines
    }

    /// Waits until the task has written something.
    pub async fn line(&self, task: &str) {
        let written = async {
            while self.read(task).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), written).await.expect("the task should have written a line");
    }

    /// Changes a byte of all compiled code on disk.
    pub fn spoil_cache(&self) {
        let files: Vec<_> = std::fs::read_dir(self.folder.path().join("compiled")).unwrap().collect();
        assert!(!files.is_empty());
        for file in files {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
}
