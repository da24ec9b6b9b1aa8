//! The real loop over a real database, with virtual time, scripted attempts, and crashes between any two turns.
//!
//! Commits fail, are made while their answers are lost, and are the last that a process does.
//!
//! After each turn DESIGN's promises that concern the loop are checked: limits hold, no attempt starts before what it waits
//! for is committed, an attempt is started once, nothing succeeds twice, no try is in the history that is not over, an attempt that a
//! crash ended is noted as lost. At the end everything that was accepted has ended.
//!
//! A history follows from its seed. One that breaks a promise is shown with its seed and shrunk; `AIRLOCK_TEST_SEED` plays it again,
//! `AIRLOCK_TEST_SEEDS` says how many are tried (`cargo xtask simulate`).

mod backfills;
mod faults;
mod limits;
mod town;
mod waits;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use super::{super::tick::Dispatch, Driver, Heartbeat, Reply, Request};
use crate::{
    executor::{Assignment, AttemptId, AttemptResult, Completion, ExecutorEvent},
    model::{
        ids::{DagId, Digest},
        spec::{DagSpec, EntrySpec, ModuleSpec},
        state::{RunState, RunType, TaskState},
        time::Timestamp,
    },
    scheduler::{RunRequest, SchedulerConfig},
    store::{
        DagRunKey, DagRunRow, Deploy, InstanceKey, LostAttempt, Store, StoreConfig, TaskInstanceRow,
        testing::CommitFault,
    },
};

const PARALLELISM: u32 = 5;
const MAX_ACTIVE_TASKS: u32 = 3;
const MAX_ACTIVE_RUNS: u32 = 2;
/// How many histories are played if nobody says how many.
const SEEDS: u64 = 64;

/// What happens between two turns.
#[derive(Debug, Clone)]
enum Op {
    /// A person triggers the dag.
    Trigger,
    /// The n-th attempt in flight (modulo how many there are) ends so.
    End(usize, End),
    /// Time passes.
    Wait(u32),
    Pause(bool),
    /// The process dies and is started again.
    Crash,
    /// Everything that failed in all runs is cleared.
    ClearFailed,
    /// The next commit goes wrong.
    Fault(CommitFault),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Success,
    Failed,
    Fatal,
    Skipped,
    Lost,
    Later,
    /// The same end is reported twice.
    Twice,
}

/// How attempts end: of each twelve or so, so many fail and so many go on later.
fn end(failed: u32, later: u32) -> impl Strategy<Value = End> {
    prop_oneof![
        6 => Just(End::Success),
        failed => Just(End::Failed),
        1 => Just(End::Fatal),
        1 => Just(End::Skipped),
        1 => Just(End::Lost),
        later => Just(End::Later),
        1 => Just(End::Twice),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Trigger),
        12 => (any::<usize>(), end(2, 1)).prop_map(|(at, end)| Op::End(at, end)),
        2 => (1_u32..100).prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => Just(Op::Crash),
        1 => Just(Op::ClearFailed),
        2 => fault().prop_map(Op::Fault),
    ]
}

fn fault() -> impl Strategy<Value = CommitFault> {
    prop_oneof![
        1 => Just(CommitFault::Fails),
        2 => Just(CommitFault::LosesAnswer),
        1 => Just(CommitFault::DiesBefore),
        1 => Just(CommitFault::DiesAfter),
    ]
}

/// Takes what the loop dispatches.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<InFlight>>);

#[derive(Debug, Default)]
struct InFlight {
    attempts: BTreeSet<AttemptId>,
    ever: BTreeSet<AttemptId>,
    killed: Vec<AttemptId>,
    /// What each attempt ran that was ever started.
    components: BTreeMap<AttemptId, Digest>,
}

impl Dispatch for Script {
    fn dispatch(&self, assignments: Vec<Assignment>) {
        let mut script = self.0.lock().unwrap();
        for assignment in assignments {
            assert!(script.ever.insert(assignment.id.clone()), "{:?} was started twice", assignment.id);
            script.components.insert(assignment.id.clone(), assignment.component);
            script.attempts.insert(assignment.id);
        }
    }

    fn kill(&self, attempt: &AttemptId) {
        self.0.lock().unwrap().killed.push(attempt.clone());
    }

    fn host_of(&self, _: &AttemptId) -> Option<Arc<str>> {
        None
    }

    fn discard(&self, _: Vec<String>) {}
}

fn node(id: &str) -> serde_json::Value {
    serde_json::json!({
        "task_id": id, "entry": "e", "retries": 1, "retry_delay_ms": 10_000, "retry_backoff": 0.0,
        "trigger_rule": "all_success", "pool": "default_pool", "pool_slots": 1, "priority_weight": 1,
    })
}

struct World {
    store: Store,
    script: Script,
    driver: Driver<Script>,
    now: Timestamp,
    dag_id: DagId,
    triggered: usize,
    /// Dates that runs were triggered for.
    days: u64,
    /// Then runs that are waited for start beyond max_active_runs.
    looks_back: bool,
    max_active_runs: BTreeMap<DagId, usize>,
    /// Attempts whose success was reported, by instance.
    succeeded: BTreeMap<InstanceKey, u32>,
    /// What was started and ended so far, one after the other.
    events: Vec<String>,
    /// How often the process died.
    deaths: u32,
    _folder: tempfile::TempDir,
}

impl World {
    /// One with a dag of retries, a join, a limit for all runs and, perhaps, a task that waits for the run before.
    async fn new(looks_back: bool) -> Self {
        let nodes = ["a", "b1", "b2", "b3", "b4", "c"].map(|id| {
            let mut node = node(id);
            node["trigger_rule"] = if id == "c" { "all_done" } else { "all_success" }.into();
            node["depends_on_past"] = (looks_back && id == "c").into();
            if id == "b1" {
                node["max_active_tis_per_dag"] = 1.into();
            }
            node
        });
        Self::with(serde_json::json!({
            "nodes": nodes,
            "edges": [["a", "b1"], ["a", "b2"], ["a", "b3"], ["a", "b4"], ["b1", "c"], ["b2", "c"], ["b3", "c"], ["b4", "c"]],
        }))
        .await
    }

    /// One whose dag `d` is as usual but for what `fields` say.
    async fn with(fields: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::of_test(folder.path()).await;
        let store = Store::open(&config).await.unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut dag = serde_json::json!({
            "dag_id": "d", "schedule": "manual", "timezone": "UTC",
            "max_active_runs": MAX_ACTIVE_RUNS, "max_active_tasks": MAX_ACTIVE_TASKS,
        });
        dag.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let dag: DagSpec = serde_json::from_value(dag).unwrap();
        let max_active_runs = dag.max_active_runs as usize;
        let looks_back = dag.nodes.iter().any(|node| node.depends_on_past || node.wait_for_downstream);
        let entry = EntrySpec::new("e");
        let module = ModuleSpec { sdk: "test".into(), entries: vec![entry], dags: vec![dag], ..ModuleSpec::default() };
        store.deploy(&Deploy::of_test(1, module, now)).await.unwrap();
        let script = Script::default();
        let driver = Self::start(&store, &script, now).await;
        let dag_id = DagId::new("d").unwrap();
        let succeeded = BTreeMap::new();
        Self {
            store,
            script,
            driver,
            now,
            dag_id,
            triggered: 0,
            days: 0,
            looks_back,
            max_active_runs: [(DagId::new("d").unwrap(), max_active_runs)].into(),
            succeeded,
            events: Vec::new(),
            deaths: 0,
            _folder: folder,
        }
    }

    async fn start(store: &Store, script: &Script, now: Timestamp) -> Driver<Script> {
        let commit_retry = Duration::from_millis(1);
        let config = SchedulerConfig { parallelism: PARALLELISM, commit_retry, ..SchedulerConfig::default() };
        let (changes, _) = tokio::sync::broadcast::channel(16);
        let heartbeat = Arc::new(Heartbeat::new(now));
        Driver::recover(Arc::new(config), store.clone(), script.clone(), now, changes, heartbeat, Arc::default())
            .await
            .unwrap()
    }

    async fn turn(&mut self, requests: Vec<Request>, events: Vec<ExecutorEvent>) {
        self.turn_of_loop(requests, events).await;
        let killed = std::mem::take(&mut self.script.0.lock().unwrap().killed);
        let ends =
            killed.into_iter().filter_map(|id| self.take(&id).then(|| completion(id, AttemptResult::Killed, self.now)));
        let ends: Vec<_> = ends.collect();
        if !ends.is_empty() {
            self.turn_of_loop(Vec::new(), ends).await;
        }
        self.check().await;
    }

    async fn turn_of_loop(&mut self, mut requests: Vec<Request>, mut events: Vec<ExecutorEvent>) {
        let has_died = tokio::select! {
            biased;
            turned = self.driver.turn(&mut requests, &mut events, self.now) => {
                turned.unwrap();
                false
            }
            () = self.store.died() => true,
        };
        if has_died {
            self.crash().await;
        }
    }

    /// The process dies and is started again. What goes wrong as it starts makes it start again.
    async fn crash(&mut self) {
        self.deaths += 1;
        // The attempts of a dead process are dead; nobody reports their ends.
        let in_flight = {
            let mut in_flight = self.script.0.lock().unwrap();
            in_flight.killed.clear();
            std::mem::take(&mut in_flight.attempts)
        };
        let mut lost = Vec::new();
        for AttemptId { instance, try_number, restart } in in_flight {
            let row = self.store.task_instance_get(&instance).await.unwrap();
            let is_current = |row: TaskInstanceRow| {
                row.state == TaskState::Running && (row.try_number, row.restarts) == (try_number, restart)
            };
            if row.is_some_and(is_current) {
                lost.push(LostAttempt { instance, try_number, restart });
            }
        }
        loop {
            tokio::select! {
                biased;
                driver = Self::start(&self.store, &self.script, self.now) => {
                    self.driver = driver;
                    break;
                }
                () = self.store.died() => self.deaths += 1,
            }
        }
        let noted = self.store.lost_attempt_list(self.now, u32::MAX).await.unwrap();
        assert!(lost.iter().all(|lost| noted.contains(lost)), "{lost:?} are not all among {noted:?}");
    }

    fn take(&self, id: &AttemptId) -> bool {
        self.script.0.lock().unwrap().attempts.remove(id)
    }

    async fn check(&self) {
        let in_flight: Vec<_> = self.script.0.lock().unwrap().attempts.iter().cloned().collect();
        assert!(in_flight.len() <= PARALLELISM as usize, "parallelism: {in_flight:?}");
        let mut of_run: BTreeMap<DagRunKey, u32> = BTreeMap::new();
        for id in &in_flight {
            let row =
                self.store.task_instance_get(&id.instance).await.unwrap().expect("it was committed before it started");
            let current = row.try_number == id.try_number && row.restarts == id.restart;
            assert!(current && row.state == TaskState::Running, "{id:?} is in flight, its row says {row:?}");
            *of_run.entry(id.instance.dag_run).or_default() += 1;
        }
        assert!(of_run.values().all(|count| *count <= MAX_ACTIVE_TASKS), "max_active_tasks: {of_run:?}");
        let limited = in_flight.iter().filter(|id| id.instance.task_id.as_str() == "b1").count();
        assert!(limited <= 1, "max_active_tis_per_dag: {in_flight:?}");
        let unfinished = self.store.dag_run_list_unfinished(None, 1_000).await.unwrap();
        for (dag_id, limit) in self.max_active_runs.iter().filter(|_| !self.looks_back) {
            let of_dag = |run: &&DagRunRow| {
                run.dag_id == *dag_id && run.state == RunState::Running && run.run_type != RunType::Backfill
            };
            let running = unfinished.iter().filter(of_dag).count();
            assert!(running <= *limit, "max_active_runs of `{dag_id}`: {running}");
        }
    }

    /// When all is over: the tries before the last are in the history, and no others.
    async fn check_histories(&self) {
        for key in (1..self.store.dag_run_next_key().await.unwrap()).map(DagRunKey) {
            for row in self.store.task_instance_list_of_run(key).await.unwrap() {
                let instance = row.instance();
                let tries = self.store.history_of(&instance).await;
                // A try that was to follow and was taken back left the one before it there.
                let was_taken_back = matches!(row.state, TaskState::Skipped | TaskState::UpstreamFailed);
                let last = row.try_number + u32::from(was_taken_back);
                assert!(
                    tries.iter().all(|number| *number < last),
                    "{tries:?} came before {}: {instance:?}",
                    row.try_number
                );
            }
        }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Trigger => {
                self.days += 1;
                let days = self.days;
                let first: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
                self.trigger(first.after(Duration::from_hours(24 * days))).await;
            }
            Op::End(at, end) => {
                let in_flight: Vec<_> = self.script.0.lock().unwrap().attempts.iter().cloned().collect();
                if !in_flight.is_empty() {
                    self.end(in_flight[at % in_flight.len()].clone(), end).await;
                }
            }
            Op::Wait(seconds) => {
                self.now = self.now.after(Duration::from_secs(u64::from(seconds)));
                self.turn(Vec::new(), Vec::new()).await;
            }
            Op::Pause(paused) => {
                let (reply, answer) = Reply::new();
                let request = Request::SetPaused { dag_id: self.dag_id.clone(), paused, reply };
                self.turn(vec![request], Vec::new()).await;
                // None if the process died.
                if let Ok(answer) = answer.await {
                    answer.unwrap();
                }
            }
            Op::Crash => {
                self.crash().await;
                self.check().await;
            }
            Op::Fault(fault) => self.store.plan_fault(fault),
            Op::ClearFailed => {
                let (reply, answer) = Reply::new();
                let mut request = crate::scheduler::ClearRequest::of_run(self.dag_id.clone(), "x".parse().unwrap());
                request.run_id = None;
                request.only_failed = true;
                self.turn(vec![Request::Clear { request: Box::new(request), reply }], Vec::new()).await;
                match answer.await {
                    Ok(cleared) => {
                        for instance in cleared.unwrap() {
                            self.succeeded.remove(&instance);
                        }
                    }
                    // Whether it was done before the process died shows in what succeeds again.
                    Err(_) => self.succeeded.clear(),
                }
            }
        }
    }

    async fn trigger(&mut self, logical_date: Timestamp) -> DagRunKey {
        self.triggered += 1;
        let (reply, answer) = Reply::new();
        let request =
            RunRequest { logical_date: Some(logical_date), triggered_by: "rest_api", ..RunRequest::default() };
        let (dag_id, request) = (self.dag_id.clone(), Box::new(request));
        let request = Request::Trigger { dag_id, request, conf: "{}".into(), checked_at: self.now, reply };
        self.turn(vec![request], Vec::new()).await;
        let stored = self.store.dag_run_of_date(&self.dag_id, logical_date).await.unwrap();
        let Some(run) = stored else {
            assert!(answer.await.is_err(), "answered before it was durable");
            self.triggered -= 1;
            return DagRunKey(0);
        };
        if let Ok(answered) = answer.await {
            assert_eq!(answered.expect("a run that is there was not refused").key, run.key);
        }
        run.key
    }

    async fn end(&mut self, id: AttemptId, end: End) {
        assert!(self.take(&id));
        let result = match end {
            End::Success | End::Twice => AttemptResult::Success,
            End::Failed => AttemptResult::Failed { retry: true },
            End::Fatal => AttemptResult::Failed { retry: false },
            End::Skipped => AttemptResult::Skipped,
            End::Lost => AttemptResult::Lost,
            End::Later => AttemptResult::Later(self.now.after(Duration::from_secs(5))),
        };
        if result == AttemptResult::Success {
            let times = self.succeeded.entry(id.instance.clone()).or_default();
            *times += 1;
            assert_eq!(*times, 1, "{id:?} succeeded twice");
        }
        if let End::Later = end {
            // It will be started again, as the same attempt.
            self.script.0.lock().unwrap().ever.remove(&id);
        }
        self.events.push(format!("{id:?} {end:?}"));
        let mut events = vec![completion(id.clone(), result.clone(), self.now)];
        if let End::Twice = end {
            events.push(completion(id.clone(), result.clone(), self.now));
        }
        self.turn(Vec::new(), events).await;
        if result == AttemptResult::Success {
            let row = self.store.task_instance_get(&id.instance).await.unwrap();
            // The process may have died before it was recorded; then it is nobody's success.
            if row.is_none_or(|row| row.state != TaskState::Success) {
                self.succeeded.remove(&id.instance);
            }
        }
    }

    /// Lets everything go on and succeed.
    async fn calm(&mut self) {
        self.store.plan_no_faults();
        self.apply(Op::Pause(false)).await;
        // What failed is in the way of what waits for the run before.
        self.apply(Op::ClearFailed).await;
        for _ in 0..10_000 {
            let next = self.script.0.lock().unwrap().attempts.first().cloned();
            match next {
                Some(id) => self.end(id, End::Success).await,
                None if self.store.dag_run_list_unfinished(None, 1).await.unwrap().is_empty() => return,
                None => self.apply(Op::Wait(60)).await,
            }
        }
        panic!("runs are stuck: {:?}", self.store.dag_run_list_unfinished(None, 10).await.unwrap());
    }
}

fn completion(id: AttemptId, result: AttemptResult, now: Timestamp) -> ExecutorEvent {
    ExecutorEvent::Finished(Box::new(Completion::new(id, result, now, now)))
}

/// Plays a history, and answers what happened.
async fn play(looks_back: bool, ops: Vec<Op>) -> Vec<String> {
    let mut world = World::new(looks_back).await;
    for op in ops {
        world.apply(op).await;
    }
    world.calm().await;
    world.check_histories().await;
    assert_eq!(world.store.dag_run_next_key().await.unwrap() - 1, i64::try_from(world.triggered).unwrap());
    world.events
}

fn histories() -> impl Strategy<Value = (bool, Vec<Op>)> {
    (any::<bool>(), prop::collection::vec(op(), 1..120))
}

/// A source of histories; the first that it gives follows from the seed.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        ProptestConfig { cases: 1, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("it is a number"))
}

/// Plays the history of each seed that was asked for.
fn each_seed<E: std::fmt::Display>(play: impl Fn(&mut TestRunner) -> Result<(), E>) {
    let first = number("AIRLOCK_TEST_SEED");
    let count = if first.is_some() { 1 } else { number("AIRLOCK_TEST_SEEDS").unwrap_or(SEEDS) };
    for seed in (first.unwrap_or(0)..).take(usize::try_from(count).unwrap()) {
        if let Err(error) = play(&mut runner(seed)) {
            panic!("AIRLOCK_TEST_SEED={seed} breaks a promise: {error}");
        }
    }
}

#[test]
fn promises_hold_over_any_history() {
    each_seed(|runner| {
        runner.run(&histories(), |(looks_back, ops)| {
            runtime().block_on(play(looks_back, ops));
            Ok(())
        })
    });
}

#[test]
fn a_seed_gives_the_same_history_again() {
    for seed in 0..5 {
        let play_seed = || {
            let (looks_back, ops) = histories().new_tree(&mut runner(seed)).unwrap().current();
            runtime().block_on(play(looks_back, ops))
        };
        assert_eq!(play_seed(), play_seed(), "AIRLOCK_TEST_SEED={seed}");
    }
}
