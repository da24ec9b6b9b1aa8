//! The supervisor's own side, without a runner process: what it answers to frames, and what it makes of ends.

mod calls;
mod ends;
mod inputs;
mod limits;
mod logs;
mod rendered;
mod workers;

use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    Assignment, AttemptId, Completion, ExecutorConfig, ExecutorEvent, RunContext, Shared,
    books::{Attempt, Phase, RunnerId},
    outbox::{Outbox, Outgoing},
};
use crate::{
    blobs::Blobs,
    model::{
        dag::{Catalog, Dag},
        ids::{DagId, Digest, EntryName, RunId, TaskId, XComKey},
        spec::{DagSpec, EntrySpec, ModuleSpec},
        state::{RunState, RunType, TaskState},
        time::Timestamp,
    },
    secrets::{Secrets, SecretsConfig},
    store::{
        Commit, DagRunKey, DagRunNew, Deploy, InstanceKey, InstanceNew, Placement, Store, StoreConfig, XComBody,
        XComNew,
    },
    vault::Vault,
    wire::{Call, CallError, CallKey, Reply, ToRunner, Value},
};

/// An executor without runners and a `dag_run` with an instance of each of its tasks.
struct Fixture {
    shared: Arc<Shared>,
    events: mpsc::Receiver<ExecutorEvent>,
    dag: Arc<Dag>,
    run: Arc<RunContext>,
    outbox: Outbox,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    _folder: TempDir,
}

const RUNNER: RunnerId = RunnerId { index: 0, generation: 1 };

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn json(text: &str) -> Value {
    Value { media_type: "application/json".into(), bytes: text.into() }
}

fn text(size: usize) -> Value {
    Value { media_type: "text/plain".into(), bytes: vec![b'x'; size] }
}

/// A dag with these nodes; each entry takes the inputs `x` (required) and `y`.
fn spec(nodes: &serde_json::Value, grants: &serde_json::Value) -> (DagSpec, Vec<EntrySpec>) {
    let mut nodes = nodes.clone();
    for node in nodes.as_array_mut().unwrap() {
        let defaults = serde_json::json!({
            "entry": "e", "retries": 0, "retry_delay_ms": 0, "retry_backoff": 0.0, "trigger_rule": "all_success",
            "pool": "default_pool", "pool_slots": 1, "priority_weight": 1,
        });
        for (name, value) in defaults.as_object().unwrap() {
            node.as_object_mut().unwrap().entry(name).or_insert(value.clone());
        }
    }
    let dag = serde_json::json!({
        "dag_id": "d", "schedule": "manual", "timezone": "Asia/Seoul", "max_active_runs": 1, "max_active_tasks": 16,
        "params": [{"name": "p", "schema": "{}", "default": "1"}], "grants": grants, "nodes": nodes,
    });
    let entries = serde_json::json!([
        {"name": "e", "inputs": []},
        {"name": "in", "inputs": [
            {"name": "x", "schema": "{}", "required": true}, {"name": "y", "schema": "{}", "required": false},
        ]},
    ]);
    (serde_json::from_value(dag).unwrap(), serde_json::from_value(entries).unwrap())
}

impl Fixture {
    async fn new(nodes: serde_json::Value, grants: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::of_test(folder.path()).await;
        let store = Store::open(&config).await.unwrap();
        let (spec, entries) = spec(&nodes, &grants);
        let dag = Arc::new(Dag::from_spec(&spec, &Catalog::new(&entries)).unwrap());
        let module = ModuleSpec { sdk: "test".into(), entries, dags: vec![spec], ..ModuleSpec::default() };
        let version = store.deploy(&Deploy::of_test(1, module, now())).await.unwrap()[0].version;
        let run = RunContext {
            dag_run: DagRunKey(1),
            dag_id: DagId::new("d").unwrap(),
            run_id: RunId::new("r").unwrap(),
            run_type: RunType::Manual,
            logical_date: Some(now()),
            data_interval: None,
            run_after: now(),
            next_run_after: None,
            params: r#"{"p": {"a": [1, "two"]}, "q\u0041": 2}"#.into(),
        };
        let new_run = DagRunNew {
            state: RunState::Running,
            logical_date: run.logical_date,
            ..DagRunNew::queued(run.dag_run, run.dag_id.clone(), run.run_id.clone(), version, now())
        };
        let instances = dag.nodes.iter().map(|node| InstanceNew {
            key: InstanceKey { dag_run: run.dag_run, task_id: node.task_id.clone(), map_index: -1 },
            state: TaskState::Running,
            max_tries: 1,
            placement: Placement::usual(EntryName::new("e").unwrap()),
        });
        let commit =
            Commit { dag_runs_new: vec![new_run], instances_new: instances.collect(), now: now(), ..Commit::default() };
        store.commit(&commit).await.unwrap();
        let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
        let (sender, events) = mpsc::channel(64);
        let config = ExecutorConfig { runners: 1, ..ExecutorConfig::new(folder.path().to_owned()) };
        let shared = Shared::new(config, Blobs::in_memory(), Vault::new(store, secrets), sender).unwrap();
        let (outbox, outgoing) = Outbox::new();
        Self { shared: Arc::new(shared), events, dag, run: Arc::new(run), outbox, outgoing, _folder: folder }
    }

    /// Two tasks, `b` after `a`.
    async fn pair(grants: serde_json::Value) -> Self {
        Self::new(
            serde_json::json!([{"task_id": "a"}, {"task_id": "b", "entry": "in",
            "inputs": [{"name": "x", "source": {"output": "a"}}]}]),
            grants,
        )
        .await
    }

    fn instance(&self, task: &str, map_index: i32) -> InstanceKey {
        InstanceKey { dag_run: self.run.dag_run, task_id: TaskId::new(task).unwrap(), map_index }
    }

    fn assignment(&self, task: &str, map_index: i32) -> Assignment {
        let instance = self.instance(task, map_index);
        Assignment {
            node: self.dag.index(&instance.task_id).unwrap(),
            id: AttemptId { instance, try_number: 1, restart: 0 },
            dag: Arc::clone(&self.dag),
            grants: Arc::new(self.dag.grants.clone()),
            run: Arc::clone(&self.run),
            component: Digest([1; 32]),
            refused: None,
            max_tries: 1,
            started_at: now(),
        }
    }

    /// An attempt that runs.
    fn attempt(&self, task: &str) -> Arc<Attempt> {
        let attempt = self.shared.books.open(self.assignment(task, -1), None, None);
        attempt.state().phase = Phase::Sent { runner: RUNNER, at: std::time::Instant::now() };
        attempt
    }

    /// What the supervisor answers to `request`.
    async fn call(&mut self, attempt: &Arc<Attempt>, request: Call) -> Result<Reply, CallError> {
        super::calls::receive(&self.shared, &self.outbox, attempt, CallKey(7), request, None);
        match self.outgoing.recv().await.unwrap().frame {
            ToRunner::Reply { attempt: key, call: CallKey(7), reply } if key == attempt.key => reply,
            other => panic!("{other:?}"),
        }
    }

    async fn completion(&mut self) -> Completion {
        match self.events.recv().await.unwrap() {
            ExecutorEvent::Finished(completion) => *completion,
            other => panic!("{other:?}"),
        }
    }

    /// Commits an XCom as the scheduler does.
    async fn commit_xcom(&self, task: &str, map_index: i32, key: &str, value: Value) {
        let xcom = XComNew {
            instance: self.instance(task, map_index),
            key: XComKey::new(key).unwrap(),
            size_bytes: i64::try_from(value.bytes.len()).unwrap(),
            media_type: value.media_type,
            body: XComBody::Inline(value.bytes),
        };
        self.shared.store.commit(&Commit { xcoms: vec![xcom], now: now(), ..Commit::default() }).await.unwrap();
    }
}
