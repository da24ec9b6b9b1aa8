//! The loop: takes what happened, asks the engine, commits, shows.

mod requests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use lru::LruCache;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Change, ClearRequest, Health, MarkRequest, RequestError, RunRequest, SchedulerConfig,
    dags::Dags,
    params, runs,
    tick::Tick,
    version::{self, Version},
};
use crate::{
    engine::{self, Admission, Command, Event, InstanceId, Outcome, RunIdentity, RunSnapshot},
    executor::{Assignment, AttemptId, AttemptResult, Completion, Executor, ExecutorEvent, RunContext},
    model::{
        ids::{DagId, RunId},
        state::{RunState, RunType, TaskState},
        time::{Clock, Timestamp},
    },
    store::{
        DagRunKey, DagRunNew, DagRunRow, DagRunUpdate, DagVersionKey, InstanceKey, InstanceNew, InstanceUpdate,
        MAX_PAGE, Page, Store, StoreError,
    },
};

/// Events and requests that are applied in one turn, at most.
const MAX_EVENTS: usize = 4_096;
/// Runs that start in one turn, at most; the rest start in the next.
const MAX_STARTS: usize = 256;
/// Graphs of dag_versions that are kept for the next run.
const MAX_GRAPHS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");
/// Unfinished runs that are read at a time at the start.
const RECOVERY_PAGE: u32 = 500;
/// How long the loop waits before it tries a commit again.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// What the loop can be asked.
pub enum Request {
    /// `conf`: the resolved params. `checked_at`: when the store was seen to hold no such run.
    Trigger {
        dag_id: DagId,
        request: Box<RunRequest>,
        conf: String,
        checked_at: Timestamp,
        reply: Reply<DagRunRow>,
    },
    ReloadDags {
        dag_ids: Vec<DagId>,
        reply: Reply<()>,
    },
    SetPaused {
        dag_id: DagId,
        paused: bool,
        reply: Reply<bool>,
    },
    DeleteDag {
        dag_id: DagId,
        reply: Reply<()>,
    },
    DeleteRun {
        dag_id: DagId,
        run_id: RunId,
        reply: Reply<()>,
    },
    MarkRun {
        dag_id: DagId,
        run_id: RunId,
        state: RunState,
        reply: Reply<DagRunRow>,
    },
    Clear {
        request: Box<ClearRequest>,
        reply: Reply<Vec<InstanceKey>>,
    },
    Mark {
        request: Box<MarkRequest>,
        reply: Reply<Vec<InstanceKey>>,
    },
    ReloadPools {
        reply: Reply<()>,
    },
    Stop,
}

/// What the loop tells of itself.
#[derive(Debug)]
pub struct Heartbeat {
    at_us: AtomicI64,
    running: AtomicU32,
    active_runs: AtomicU32,
}

impl Heartbeat {
    pub fn new(now: Timestamp) -> Self {
        Self { at_us: AtomicI64::new(now.as_micros()), running: AtomicU32::new(0), active_runs: AtomicU32::new(0) }
    }

    fn beat(&self, now: Timestamp, active_runs: usize, running: u32) {
        self.at_us.store(now.as_micros(), Ordering::Relaxed);
        self.active_runs.store(u32::try_from(active_runs).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.running.store(running, Ordering::Relaxed);
    }

    pub fn health(&self) -> Health {
        Health {
            heartbeat: Timestamp::from_micros(self.at_us.load(Ordering::Relaxed)),
            running: self.running.load(Ordering::Relaxed),
            active_runs: self.active_runs.load(Ordering::Relaxed),
        }
    }
}

/// When something is to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Run(DagRunKey),
    Dag(DagId),
}

/// A run that is loaded: running, or about to be changed by a person.
struct ActiveRun {
    row: DagRunRow,
    version: Arc<Version>,
    context: Arc<RunContext>,
    state: engine::RunState,
    wake_at: Option<Timestamp>,
}

/// One turn of the loop.
struct Turn {
    tick: Tick,
    /// What the engine says of instances, by run.
    instances: BTreeMap<DagRunKey, engine::Changes>,
    /// What the engine says of runs.
    runs: BTreeMap<DagRunKey, RunSnapshot>,
    /// Runs that are inserted.
    new_runs: BTreeMap<DagRunKey, DagRunNew>,
    /// Who asked for a run, and is told how it stands when the turn is committed.
    run_replies: Vec<(DagRunKey, Reply<DagRunRow>)>,
    /// Runs that were started.
    started: usize,
}

impl Turn {
    fn new(now: Timestamp) -> Self {
        Self {
            tick: Tick::new(now),
            instances: BTreeMap::new(),
            runs: BTreeMap::new(),
            new_runs: BTreeMap::new(),
            run_replies: Vec::new(),
            started: 0,
        }
    }

    fn now(&self) -> Timestamp {
        self.tick.now
    }
}

/// Everything that is unfinished.
pub struct Driver {
    config: Arc<SchedulerConfig>,
    store: Store,
    executor: Executor,
    clock: Clock,
    changes: broadcast::Sender<Arc<Vec<Change>>>,
    heartbeat: Arc<Heartbeat>,
    next_key: i64,
    dags: Dags,
    versions: LruCache<DagVersionKey, Arc<Version>>,
    /// Runs in state queued that never started.
    queued: HashMap<DagRunKey, DagRunRow>,
    /// Runs that are loaded.
    runs: HashMap<DagRunKey, ActiveRun>,
    admission: Admission,
    /// Attempts that hold slots.
    running: u32,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Dags whose timetable and queue are to be looked at in this turn.
    touched: BTreeSet<DagId>,
    /// Identities of runs that were made lately.
    recent: runs::Recent,
    /// Loaded runs that had an event in this turn: if one is finished now, it is unloaded.
    maybe_over: Vec<DagRunKey>,
}

impl Driver {
    /// Reads what is unfinished. Attempts that were in flight are started again.
    pub async fn recover(
        config: Arc<SchedulerConfig>,
        store: Store,
        executor: Executor,
        clock: Clock,
        changes: broadcast::Sender<Arc<Vec<Change>>>,
        heartbeat: Arc<Heartbeat>,
    ) -> Result<Self, StoreError> {
        let mut driver = Self {
            admission: Admission::new(config.parallelism),
            running: 0,
            config,
            store,
            executor,
            clock,
            changes,
            heartbeat,
            next_key: 0,
            dags: Dags::default(),
            versions: LruCache::new(MAX_GRAPHS),
            queued: HashMap::new(),
            runs: HashMap::new(),
            timers: BTreeSet::new(),
            touched: BTreeSet::new(),
            recent: runs::Recent::default(),
            maybe_over: Vec::new(),
        };
        driver.reload().await?;
        Ok(driver)
    }

    /// Forgets all and reads it anew.
    async fn reload(&mut self) -> Result<(), StoreError> {
        self.admission = Admission::new(self.config.parallelism);
        self.running = 0;
        self.dags = Dags::default();
        self.queued.clear();
        self.runs.clear();
        self.timers.clear();
        self.next_key = self.store.dag_run_next_key().await?;
        self.reload_pools().await?;
        for row in self.store.dag_list_all().await? {
            self.admission.set_paused(&row.dag_id, row.is_paused);
            self.touched.insert(row.dag_id.clone());
            self.dags.put(row);
        }
        let mut turn = Turn::new(self.clock.now());
        let mut after = None;
        loop {
            let page = self.store.dag_run_list_unfinished(after, RECOVERY_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            for row in page {
                self.recover_run(row, &mut turn).await?;
            }
        }
        self.settle(&mut turn).await?;
        self.commit(turn).await
    }

    async fn recover_run(&mut self, row: DagRunRow, turn: &mut Turn) -> Result<(), StoreError> {
        if row.run_type == RunType::Scheduled
            && let Some(entry) = self.dags.get_mut(&row.dag_id)
        {
            entry.scheduled += 1;
        }
        if row.state == RunState::Queued {
            self.enqueue(&row);
            self.queued.insert(row.key, row);
            return Ok(());
        }
        if let Some(entry) = self.dags.get_mut(&row.dag_id) {
            entry.running += 1;
        }
        let key = row.key;
        if let Some(run) = self.load(row.clone(), turn).await? {
            self.open(run);
            self.apply(key, &Event::Resume, turn);
        }
        Ok(())
    }

    async fn reload_pools(&mut self) -> Result<(), StoreError> {
        let mut offset = 0;
        loop {
            let pools = self.store.pool_list(None, Page { limit: MAX_PAGE, offset }).await?;
            for pool in &pools.items {
                self.admission.set_pool(&pool.name, u32::try_from(pool.slots).ok());
            }
            offset += MAX_PAGE;
            if pools.items.len() < MAX_PAGE as usize {
                return Ok(());
            }
        }
    }

    /// Goes round until it is told to stop, or nobody is left who could.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut events: mpsc::Receiver<ExecutorEvent>) {
        let (mut new_requests, mut new_events) = (Vec::new(), Vec::new());
        loop {
            let wait = self.next_look();
            tokio::select! {
                count = events.recv_many(&mut new_events, MAX_EVENTS) => if count == 0 { return },
                count = requests.recv_many(&mut new_requests, MAX_EVENTS) => if count == 0 { return },
                () = tokio::time::sleep(wait) => {}
            }
            while new_requests.len() < MAX_EVENTS
                && let Ok(request) = requests.try_recv()
            {
                new_requests.push(request);
            }
            while new_events.len() < MAX_EVENTS
                && let Ok(event) = events.try_recv()
            {
                new_events.push(event);
            }
            let stop = new_requests.iter().any(|request| matches!(request, Request::Stop));
            let mut turn = Turn::new(self.clock.now());
            for ExecutorEvent::Finished(completion) in new_events.drain(..) {
                self.finished(*completion, &mut turn);
            }
            let mut result = Ok(());
            for request in new_requests.drain(..) {
                result = self.request(request, &mut turn).await;
                if result.is_err() {
                    break;
                }
            }
            self.due(&mut turn);
            if result.is_ok() {
                result = self.settle(&mut turn).await;
            }
            if result.is_ok() {
                result = self.commit(turn).await;
            }
            if let Err(error) = result {
                self.start_over(&error).await;
            }
            self.heartbeat.beat(self.clock.now(), self.runs.len(), self.running);
            if stop {
                return;
            }
        }
    }

    /// How long the loop may sleep.
    fn next_look(&self) -> Duration {
        let safety = self.config.safety_interval;
        if !self.touched.is_empty() {
            return Duration::ZERO;
        }
        self.timers.first().map_or(safety, |(at, _)| at.since(self.clock.now()).min(safety))
    }

    /// What is in memory can't be trusted any more: the database is what counts.
    async fn start_over(&mut self, error: &StoreError) {
        tracing::error!(error = %error, source = ?std::error::Error::source(error).map(ToString::to_string), "the scheduler reads its state anew");
        for (key, run) in &self.runs {
            for instance in run.state.instances() {
                if let Some(row) = run.state.instance(instance)
                    && row.state.is_active()
                {
                    let attempt = engine::Attempt { instance, try_number: row.try_number, restart: row.restarts };
                    self.executor.kill(&attempt_id(*key, &run.version, &attempt));
                }
            }
        }
        while let Err(error) = self.reload().await {
            tracing::error!(error = %error, "the scheduler can't read its state; it will try again");
            tokio::time::sleep(COMMIT_RETRY).await;
        }
    }

    // ---- what happened --------------------------------------------------------------------------

    fn finished(&mut self, completion: Completion, turn: &mut Turn) {
        let Completion { id, result, message, xcoms, artifacts, list_length, .. } = completion;
        let key = id.instance.dag_run;
        let Some(run) = self.runs.get(&key) else { return };
        let Some(node) = run.version.dag.index(&id.instance.task_id) else { return };
        let instance = InstanceId { node, map_index: id.instance.map_index };
        let attempt = engine::Attempt { instance, try_number: id.try_number, restart: id.restart };
        let outcome = match result {
            AttemptResult::Success => Outcome::Success { list_length },
            AttemptResult::Skipped => Outcome::Skipped,
            AttemptResult::Branch(followed) => Outcome::Branch(followed),
            AttemptResult::Later(at) => Outcome::Later(at),
            AttemptResult::Failed { retry } => Outcome::Failed { retry },
            AttemptResult::Lost => Outcome::Lost,
            AttemptResult::Killed => Outcome::Killed,
        };
        let succeeded = self.apply(key, &Event::Finished { attempt, outcome, message }, turn).contains(&instance);
        if succeeded {
            turn.tick.commit.xcoms.extend(xcoms);
            turn.tick.commit.artifacts.extend(artifacts);
        }
    }

    fn due(&mut self, turn: &mut Turn) {
        while let Some((at, _)) = self.timers.first()
            && *at <= turn.now()
            && let Some((_, timer)) = self.timers.pop_first()
        {
            match timer {
                Timer::Dag(dag_id) => drop(self.touched.insert(dag_id)),
                Timer::Run(key) => {
                    if let Some(run) = self.runs.get_mut(&key) {
                        run.wake_at = None;
                        self.apply(key, &Event::Timer, turn);
                    }
                }
            }
        }
    }

    /// Tells a run's engine and does what it says. Answers which instances became success by it.
    fn apply(&mut self, key: DagRunKey, event: &Event, turn: &mut Turn) -> Vec<InstanceId> {
        let (mut succeeded, mut moves) = (Vec::new(), Vec::new());
        let Some(run) = self.runs.get_mut(&key) else { return succeeded };
        if self.maybe_over.last() != Some(&key) {
            self.maybe_over.push(key);
        }
        let slots = engine::RunKey(key.0);
        for command in run.state.apply(event, turn.now()) {
            match command {
                Command::Persist(change) => {
                    if change.row.state == TaskState::Success {
                        succeeded.push(change.instance);
                    }
                    turn.instances.entry(key).or_default().persist(change);
                }
                Command::Delete(instance) => turn.instances.entry(key).or_default().delete(instance),
                Command::Ready(instance) => {
                    let node = run.version.dag.node(instance.node);
                    self.admission.ready(slots, instance, &node.pool, node.pool_slots, node.priority_weight);
                }
                Command::Withdraw(instance) => self.admission.withdraw(slots, instance),
                Command::Release(instance) => {
                    self.running = self.running.saturating_sub(1);
                    self.admission.release(slots, instance);
                }
                Command::Kill(attempt) => turn.tick.kill(attempt_id(key, &run.version, &attempt)),
                Command::WakeAt(at) => {
                    if let Some(before) = run.wake_at.replace(at) {
                        self.timers.remove(&(before, Timer::Run(key)));
                    }
                    self.timers.insert((at, Timer::Run(key)));
                }
                Command::Run(change) => {
                    if let Some(message) = &change.message {
                        tracing::warn!(dag_id = %run.row.dag_id, run_id = %run.row.run_id, "{message}");
                    }
                    let was = std::mem::replace(&mut run.row.state, change.row.state);
                    run.row.start_date = change.row.start_date;
                    run.row.end_date = change.row.end_date;
                    run.row.queued_at = change.row.queued_at;
                    run.row.clear_number = change.row.clear_number;
                    turn.runs.insert(key, change.row);
                    moves.push((run.row.clone(), was));
                }
            }
        }
        for (row, was) in moves {
            self.moved(&row, was);
        }
        succeeded
    }

    /// Keeps count of the runs of a dag when one changes its state.
    fn moved(&mut self, row: &DagRunRow, was: RunState) {
        self.touched.insert(row.dag_id.clone());
        let Some(entry) = self.dags.get_mut(&row.dag_id) else { return };
        match was {
            RunState::Running => entry.running = entry.running.saturating_sub(1),
            RunState::Queued => drop(entry.queue.remove(&(row.run_after, row.key))),
            RunState::Success | RunState::Failed => {}
        }
        match row.state {
            RunState::Running => entry.running += 1,
            RunState::Queued => drop(entry.queue.insert((row.run_after, row.key))),
            RunState::Success | RunState::Failed => {}
        }
        if row.run_type == RunType::Scheduled {
            match (was.is_finished(), row.state.is_finished()) {
                (false, true) => entry.scheduled = entry.scheduled.saturating_sub(1),
                (true, false) => entry.scheduled += 1,
                (true, true) | (false, false) => {}
            }
        }
    }

    fn enqueue(&mut self, row: &DagRunRow) {
        if let Some(entry) = self.dags.get_mut(&row.dag_id) {
            entry.queue.insert((row.run_after, row.key));
        }
        self.touched.insert(row.dag_id.clone());
    }

    // ---- what follows ---------------------------------------------------------------------------

    /// Makes the runs that are due, starts those that may, and admits attempts, until nothing more follows.
    async fn settle(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let mut later = BTreeSet::new();
        loop {
            while let Some(dag_id) = self.touched.pop_first() {
                if !self.look_at_dag(&dag_id, turn).await? {
                    later.insert(dag_id);
                }
            }
            for admitted in self.admission.admit() {
                self.start_attempt(DagRunKey(admitted.run.0), admitted.instance, turn);
            }
            if self.touched.is_empty() {
                break;
            }
        }
        self.touched = later;
        Ok(())
    }

    /// Answers false if more is due than one turn may start.
    async fn look_at_dag(&mut self, dag_id: &DagId, turn: &mut Turn) -> Result<bool, StoreError> {
        let now = turn.now();
        let due = loop {
            let Some(entry) = self.dags.get(dag_id) else { return Ok(true) };
            match entry.next_run(now).filter(|_| self.config.timetables) {
                Some(next) if next.run_after <= now => {
                    let new = runs::scheduled(DagRunKey(self.next_key), dag_id, entry.row.version, &next, now);
                    turn.tick.commit.last_scheduled.retain(|(other, _)| other != dag_id);
                    turn.tick.commit.last_scheduled.push((dag_id.clone(), next.data_interval));
                    let number = entry.row.version_number;
                    if let Some(entry) = self.dags.get_mut(dag_id) {
                        entry.row.last_scheduled = Some(next.data_interval);
                        entry.scheduled += 1;
                    }
                    // A person may have made a run of this logical_date; then the interval has its run.
                    if self.store.dag_run_exists(dag_id, Some(&new.run_id), new.logical_date).await?
                        || self.recent.has(dag_id, Some(&new.run_id), new.logical_date)
                    {
                        if let Some(entry) = self.dags.get_mut(dag_id) {
                            entry.scheduled = entry.scheduled.saturating_sub(1);
                        }
                        continue;
                    }
                    self.add_run(new, number, turn);
                }
                next => break next.map(|next| next.run_after),
            }
        };
        while let Some(key) = self.dags.get(dag_id).and_then(|entry| entry.startable(now)) {
            if turn.started >= MAX_STARTS {
                return Ok(false);
            }
            turn.started += 1;
            self.start_run(key, turn).await?;
        }
        let Some(entry) = self.dags.get_mut(dag_id) else { return Ok(true) };
        let queue_due = entry.queue_due().filter(|at| *at > now);
        let wake_at = due.into_iter().chain(queue_due).min();
        if entry.wake_at != wake_at {
            if let Some(before) = std::mem::replace(&mut entry.wake_at, wake_at) {
                self.timers.remove(&(before, Timer::Dag(dag_id.clone())));
            }
            if let Some(at) = wake_at {
                self.timers.insert((at, Timer::Dag(dag_id.clone())));
            }
        }
        Ok(true)
    }

    /// Records a new run, queued.
    fn add_run(&mut self, new: DagRunNew, version_number: i64, turn: &mut Turn) {
        debug_assert_eq!(new.key.0, self.next_key);
        self.next_key += 1;
        self.recent.add(&new, turn.now());
        let row = runs::row_of(&new, version_number);
        self.enqueue(&row);
        self.queued.insert(new.key, row);
        turn.new_runs.insert(new.key, new);
    }

    /// Starts a queued run.
    async fn start_run(&mut self, key: DagRunKey, turn: &mut Turn) -> Result<(), StoreError> {
        if let Some(row) = self.queued.remove(&key) {
            let Some(run) = self.load(row.clone(), turn).await? else {
                return Ok(());
            };
            self.open(run);
        }
        self.apply(key, &Event::Start, turn);
        Ok(())
    }

    /// Makes a run ready for events. None if it can't be: then it has failed.
    async fn load(&mut self, row: DagRunRow, turn: &mut Turn) -> Result<Option<ActiveRun>, StoreError> {
        let version = match self.version(row.version).await {
            Ok(version) => version,
            Err(version::VersionError::Store(error)) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(dag_id = %row.dag_id, run_id = %row.run_id, error = %error, "the run can't go on and has failed");
                self.quarantine(row, turn);
                return Ok(None);
            }
        };
        let identity = RunIdentity { run_id: row.run_id.clone(), logical_date: row.logical_date };
        let dag = Arc::clone(&version.dag);
        let state = if row.start_date.is_none() && row.clear_number == 0 {
            engine::RunState::new(dag, &identity, row.queued_at)
        } else {
            let instances = self.store.task_instance_list_of_run(row.key).await?;
            let snapshot = RunSnapshot {
                state: row.state,
                queued_at: row.queued_at,
                start_date: row.start_date,
                end_date: row.end_date,
                clear_number: row.clear_number,
            };
            engine::RunState::restore(dag, &identity, snapshot, instances.into_iter().map(runs::snapshot_of))
        };
        let context = Arc::new(RunContext {
            dag_run: row.key,
            dag_id: row.dag_id.clone(),
            run_id: row.run_id.clone(),
            logical_date: row.logical_date,
            data_interval: row.data_interval,
            run_after: row.run_after,
            params: params::merged(&version.dag.params, &row.conf).into(),
        });
        Ok(Some(ActiveRun { row, version, context, state, wake_at: None }))
    }

    /// Takes a loaded run among those that have events.
    fn open(&mut self, run: ActiveRun) {
        let key = run.row.key;
        self.admission.open(engine::RunKey(key.0), &run.row.dag_id, run.version.dag.max_active_tasks);
        self.runs.insert(key, run);
    }

    /// Ends a run whose version can't be run, so that it does not come back at each start.
    fn quarantine(&mut self, mut row: DagRunRow, turn: &mut Turn) {
        let was = std::mem::replace(&mut row.state, RunState::Failed);
        row.end_date = Some(turn.now());
        turn.runs.insert(
            row.key,
            RunSnapshot {
                state: row.state,
                queued_at: row.queued_at,
                start_date: row.start_date,
                end_date: row.end_date,
                clear_number: row.clear_number,
            },
        );
        self.moved(&row, was);
    }

    async fn version(&mut self, key: DagVersionKey) -> Result<Arc<Version>, version::VersionError> {
        if let Some(version) = self.versions.get(&key) {
            return Ok(Arc::clone(version));
        }
        let version = Arc::new(version::load(&self.store, key).await?);
        self.versions.put(key, Arc::clone(&version));
        Ok(version)
    }

    fn start_attempt(&mut self, key: DagRunKey, instance: InstanceId, turn: &mut Turn) {
        self.running += 1;
        self.apply(key, &Event::Started(instance), turn);
        let Some(run) = self.runs.get(&key) else { return };
        let Some(row) = run.state.instance(instance) else { return };
        let attempt = engine::Attempt { instance, try_number: row.try_number, restart: row.restarts };
        turn.tick.start(Assignment {
            id: attempt_id(key, &run.version, &attempt),
            dag: Arc::clone(&run.version.dag),
            node: instance.node,
            run: Arc::clone(&run.context),
            component: run.version.component,
            max_tries: row.max_tries + 1,
        });
    }

    // ---- commit ---------------------------------------------------------------------------------

    /// Makes the turn durable, then shows it. While the database can't be written, nothing shows and the loop waits.
    async fn commit(&mut self, mut turn: Turn) -> Result<(), StoreError> {
        self.gather(&mut turn);
        if turn.tick.is_empty() {
            return Ok(());
        }
        while !turn.tick.commit.is_empty()
            && let Err(error) = self.store.commit(&turn.tick.commit).await
        {
            if !error.is_transient() {
                let error = Arc::new(error);
                turn.tick.refused(&error);
                return Err(StoreError::Stale);
            }
            tracing::error!(error = %error, source = ?std::error::Error::source(&error).map(ToString::to_string), "a commit is tried again");
            tokio::time::sleep(COMMIT_RETRY).await;
        }
        turn.tick.committed(&self.executor, &self.changes);
        Ok(())
    }

    /// Turns what the engines said into rows, and unloads the runs that are over.
    fn gather(&mut self, turn: &mut Turn) {
        let listened = self.changes.receiver_count() > 0;
        let commit = &mut turn.tick.commit;
        let mut changes = Vec::new();
        for (key, rows) in std::mem::take(&mut turn.instances) {
            let Some(run) = self.runs.get(&key) else { continue };
            for (instance, change) in rows.into_iter_rows() {
                let node = run.version.dag.node(instance.node);
                let id = InstanceKey { dag_run: key, task_id: node.task_id.clone(), map_index: instance.map_index };
                let Some(change) = change else {
                    commit.instances_gone.push(id);
                    continue;
                };
                let row = &change.row;
                if listened {
                    changes.push(Change::Task {
                        dag_id: run.row.dag_id.clone(),
                        run_id: run.row.run_id.clone(),
                        key,
                        task_id: id.task_id.clone(),
                        map_index: id.map_index,
                        state: row.state,
                        try_number: row.try_number,
                    });
                }
                if change.archive {
                    commit.histories.push(id.clone());
                }
                if change.drop_results {
                    self.executor.forget_result(&id);
                    commit.xcoms_cleared.push(id.clone());
                }
                let untouched = row.try_number == 0 && row.end_date.is_none() && row.scheduled_at.is_none();
                if change.is_new {
                    commit.instances_new.push(InstanceNew {
                        key: id.clone(),
                        state: row.state,
                        max_tries: row.max_tries,
                        pool: node.pool.clone(),
                        pool_slots: node.pool_slots,
                        priority_weight: node.priority_weight,
                        entry: node.entry.clone(),
                    });
                }
                if !change.is_new || !untouched {
                    commit.instances.push(InstanceUpdate {
                        key: id,
                        state: row.state,
                        try_number: row.try_number,
                        max_tries: row.max_tries,
                        restarts: row.restarts,
                        scheduled_at: row.scheduled_at,
                        queued_at: row.queued_at,
                        start_date: row.start_date,
                        end_date: row.end_date,
                        wake_at: row.wake_at,
                        message: change.message,
                        followed: row
                            .followed
                            .as_ref()
                            .map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect()),
                        list_length: row.list_length,
                    });
                }
            }
        }
        for (key, row) in std::mem::take(&mut turn.runs) {
            commit.dag_runs.push(DagRunUpdate {
                key,
                state: row.state,
                queued_at: Some(row.queued_at),
                start_date: row.start_date,
                end_date: row.end_date,
                clear_number: row.clear_number,
            });
            if let Some(run) = self.runs.get(&key) {
                changes.push(change_of(&run.row));
            }
        }
        for (key, new) in std::mem::take(&mut turn.new_runs) {
            if let Some(row) = self.queued.get(&key) {
                changes.push(change_of(row));
            }
            commit.dag_runs_new.push(new);
        }
        for (key, reply) in std::mem::take(&mut turn.run_replies) {
            let row = self.runs.get(&key).map(|run| &run.row).or_else(|| self.queued.get(&key));
            if let Some(row) = row {
                turn.tick.answer(reply, row.clone());
            }
        }
        changes.into_iter().for_each(|change| turn.tick.change(change));
        self.unload();
    }

    /// Forgets runs that are finished and have no attempt in flight.
    fn unload(&mut self) {
        let over: Vec<_> = std::mem::take(&mut self.maybe_over);
        for key in over {
            let Some(run) = self.runs.get(&key) else { continue };
            if run.row.state.is_finished() && !run.state.is_busy() {
                self.close(key);
            }
        }
    }

    /// Takes a run out of the loop.
    fn close(&mut self, key: DagRunKey) {
        self.admission.forget(engine::RunKey(key.0));
        if let Some(run) = self.runs.remove(&key)
            && let Some(at) = run.wake_at
        {
            self.timers.remove(&(at, Timer::Run(key)));
        }
    }
}

fn attempt_id(key: DagRunKey, version: &Version, attempt: &engine::Attempt) -> AttemptId {
    let node = version.dag.node(attempt.instance.node);
    AttemptId {
        instance: InstanceKey { dag_run: key, task_id: node.task_id.clone(), map_index: attempt.instance.map_index },
        try_number: attempt.try_number,
        restart: attempt.restart,
    }
}

fn change_of(row: &DagRunRow) -> Change {
    Change::Run { dag_id: row.dag_id.clone(), run_id: row.run_id.clone(), key: row.key, state: Some(row.state) }
}
