//! The real loop over a real database, several dags, virtual time, attempts that end as the test says.

mod approvals;
mod assets;
mod conf;
mod deadlines;
mod delete;
mod hosts;
mod many;
mod mapped;
mod rendered;
mod retire;
mod schedules;
mod turns;
mod waits;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Driver, Heartbeat, Reply, Request};
use crate::{
    executor::{Assignment, AttemptId, AttemptResult, Completion, ExecutorEvent},
    model::{
        ids::{DagId, RunId, TaskId},
        spec::{DagSpec, EntrySpec, ModuleSpec},
        state::{RunState, TaskState},
        time::Timestamp,
    },
    scheduler::{RequestError, RunRequest, SchedulerConfig, tick::Dispatch},
    store::{DagRunKey, DagRunRow, Deploy, InstanceKey, Store, StoreConfig, TaskInstanceRow},
};

/// Takes what the loop dispatches, and the keys of objects that nobody needs.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<BTreeMap<InstanceKey, AttemptId>>>, Arc<Mutex<Vec<String>>>);

impl Dispatch for Script {
    fn dispatch(&self, assignments: Vec<Assignment>) {
        self.0.lock().unwrap().extend(assignments.into_iter().map(|new| (new.id.instance.clone(), new.id)));
    }

    fn kill(&self, attempt: &AttemptId) {
        self.0.lock().unwrap().remove(&attempt.instance);
    }

    fn host_of(&self, attempt: &AttemptId) -> Option<Arc<str>> {
        self.0.lock().unwrap().contains_key(&attempt.instance).then(|| "worker-1".into())
    }

    fn discard(&self, blobs: Vec<String>) {
        self.1.lock().unwrap().extend(blobs);
    }
}

/// A server without runners.
struct World {
    store: Store,
    script: Script,
    driver: Driver<Script>,
    now: Timestamp,
    _folder: tempfile::TempDir,
}

fn at(seconds: u64) -> Timestamp {
    "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().after(Duration::from_secs(seconds))
}

fn dag_id(text: &str) -> DagId {
    DagId::new(text).unwrap()
}

fn task_id(text: &str) -> TaskId {
    TaskId::new(text).unwrap()
}

/// A dag that is only triggered, of tasks that have no edges.
fn dag(id: &str, tasks: &[&str]) -> serde_json::Value {
    let node = |id: &&str| {
        serde_json::json!({
            "task_id": id, "entry": "e", "retries": 0, "retry_delay_ms": 0, "retry_backoff": 0.0,
            "trigger_rule": "all_success", "pool": "default_pool", "pool_slots": 1, "priority_weight": 1,
        })
    };
    serde_json::json!({
        "dag_id": id, "schedule": "manual", "timezone": "UTC", "max_active_runs": 16, "max_active_tasks": 16,
        "nodes": tasks.iter().map(node).collect::<Vec<_>>(),
    })
}

impl World {
    async fn new(dags: Vec<serde_json::Value>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::of_test(folder.path()).await;
        let store = Store::open(&config).await.unwrap();
        let entry = EntrySpec::new("e");
        let dags: Vec<DagSpec> = dags.into_iter().map(|dag| serde_json::from_value(dag).unwrap()).collect();
        let module = ModuleSpec { sdk: "test".into(), entries: vec![entry], dags, ..ModuleSpec::default() };
        store.deploy(&Deploy::of_test(1, module, at(0))).await.unwrap();
        let script = Script::default();
        let driver = Self::start(&store, &script, at(0)).await;
        Self { store, script, driver, now: at(0), _folder: folder }
    }

    async fn start(store: &Store, script: &Script, now: Timestamp) -> Driver<Script> {
        let (changes, _) = tokio::sync::broadcast::channel(16);
        let heartbeat = Arc::new(Heartbeat::new(now));
        let config = Arc::new(SchedulerConfig::default());
        Driver::recover(config, store.clone(), script.clone(), now, changes, heartbeat, Arc::default()).await.unwrap()
    }

    /// The process dies and is started again; what ran is lost.
    async fn crash(&mut self) {
        self.script.0.lock().unwrap().clear();
        self.driver = Self::start(&self.store, &self.script, self.now).await;
    }

    async fn turn(&mut self, mut requests: Vec<Request>, mut events: Vec<ExecutorEvent>) {
        self.driver.turn(&mut requests, &mut events, self.now).await.unwrap();
    }

    async fn ask<T>(&mut self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, RequestError> {
        let (reply, answer) = Reply::new();
        self.turn(vec![request(reply)], Vec::new()).await;
        answer.await.unwrap()
    }

    async fn trigger_with(&mut self, dag: &str, request: RunRequest) -> Result<DagRunRow, RequestError> {
        let checked_at = self.now;
        let (dag_id, request) = (dag_id(dag), Box::new(request));
        self.ask(|reply| Request::Trigger { dag_id, request, conf: "{}".into(), checked_at, reply }).await
    }

    /// A run of this id and logical date.
    async fn trigger(&mut self, dag: &str, run_id: &str, logical_date: Option<Timestamp>) -> DagRunRow {
        let run_id = Some(RunId::new(run_id).unwrap());
        let request = RunRequest { run_id, logical_date, triggered_by: "rest_api", ..RunRequest::default() };
        self.trigger_with(dag, request).await.unwrap()
    }

    /// The attempt of a task ends so.
    async fn end(&mut self, run: &DagRunRow, task: &str, result: AttemptResult) {
        let end = self.ended(run, task, result);
        self.turn(Vec::new(), vec![end]).await;
    }

    fn ended(&mut self, run: &DagRunRow, task: &str, result: AttemptResult) -> ExecutorEvent {
        self.ended_of(&instance(run, task), result)
    }

    fn ended_of(&mut self, key: &InstanceKey, result: AttemptResult) -> ExecutorEvent {
        let id = self.script.0.lock().unwrap().remove(key).unwrap_or_else(|| panic!("{key:?} does not run"));
        ExecutorEvent::Finished(Box::new(Completion::new(id, result, self.now, self.now)))
    }

    async fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.turn(Vec::new(), Vec::new()).await;
    }

    fn runs(&self, run: &DagRunRow, task: &str) -> bool {
        self.script.0.lock().unwrap().contains_key(&instance(run, task))
    }

    async fn row(&self, run: &DagRunRow, task: &str) -> TaskInstanceRow {
        self.store.task_instance_get(&instance(run, task)).await.unwrap().unwrap()
    }

    async fn state(&self, run: &DagRunRow, task: &str) -> TaskState {
        self.row(run, task).await.state
    }

    async fn waits(&self) -> usize {
        self.store.wait_list(None).await.unwrap().len()
    }
}

fn instance(run: &DagRunRow, task: &str) -> InstanceKey {
    InstanceKey { dag_run: run.key, task_id: task_id(task), map_index: -1 }
}
