//! The loop: takes what happened, asks the engine, commits, shows.

mod active_run;
mod approvals;
mod assets;
mod backfills;
mod callbacks;
mod commit;
mod past;
mod rendered;
mod renew;
mod requests;
mod retire;
mod settle;
#[cfg(test)]
mod simulation;
mod streak;
mod task_key;
#[cfg(test)]
mod tests;
mod waits;
mod why;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use lru::LruCache;
use tokio::sync::{Notify, broadcast, mpsc};

use self::active_run::ActiveRun;
use super::{
    AnswerRequest, Change, ClearRequest, Dependency, Health, MarkRequest, RunRequest, SchedulerConfig,
    dags::Dags,
    reply::Reply,
    retention::Ended,
    runs,
    tick::{Dispatch, Tick},
    version::Version,
    waits::Waits,
};
use crate::{
    engine::{self, Admission, Command, Event, InstanceChange, InstanceId, Outcome, RunChange, Verdict},
    executor::{AttemptId, AttemptResult, Completion, ExecutorEvent, TriggerCall, TriggerRefusal},
    model::{
        approval::Answer,
        grants::Grants,
        ids::{AssetName, DagId, QueueName, RunId, TaskId},
        limits::DagLimits,
        queue::Taken,
        state::{RunState, TaskState},
        time::{Clock, Timestamp},
        wait::{RunChoice, Wait},
    },
    store::{
        BackfillId, BackfillNew, BackfillRow, DagRunKey, DagRunNew, DagRunRow, DagVersionKey, EndedRun, InstanceKey,
        Like, MAX_PAGE, Page, Store, StoreError,
    },
};

/// Events and requests that are applied in one turn, at most.
const MAX_EVENTS: usize = 4_096;
/// Runs that start in one turn, at most; the rest start in the next.
const MAX_STARTS: usize = 256;
/// Graphs of dag_versions that are kept for the next run.
const MAX_GRAPHS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");
/// A conf that is longer is not kept in memory while its run waits: so much as the rest of the row has.
const MAX_KEPT_CONF_BYTES: usize = 256;
/// Unfinished runs that are read at a time at the start.
const RECOVERY_PAGE: u32 = 500;

/// What the loop can be asked.
pub enum Request {
    /// `conf`: the resolved params. `checked_at`: when the store was seen to hold no such run.
    Trigger {
        dag_id: DagId,
        request: Box<RunRequest>,
        conf: Arc<str>,
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
    DeleteInstance {
        dag_id: DagId,
        run_id: RunId,
        task_id: TaskId,
        map_index: i32,
        reply: Reply<()>,
    },
    /// Finished runs of a dag are too old. Answers how many were deleted.
    Retire {
        dag_id: DagId,
        runs: Vec<EndedRun>,
        reply: Reply<u64>,
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
    /// An asset was updated by hand. `extra`: a JSON object. Answers the event's key.
    AssetEvent {
        asset: AssetName,
        extra: String,
        user: String,
        reply: Reply<i64>,
    },
    /// Events that a dag (none: all) has not consumed are dropped, of one asset (none: all). Answers how many.
    AssetQueueDelete {
        dag_id: Option<DagId>,
        asset: Option<i64>,
        reply: Reply<u64>,
    },
    /// Somebody answers what a task asks.
    Answer {
        request: Box<AnswerRequest>,
        reply: Reply<Answer>,
    },
    ReloadPools {
        reply: Reply<()>,
    },
    CreateBackfill {
        new: Box<BackfillNew>,
        reply: Reply<BackfillRow>,
    },
    PauseBackfill {
        id: BackfillId,
        is_paused: bool,
        reply: Reply<BackfillRow>,
    },
    CancelBackfill {
        id: BackfillId,
        reply: Reply<BackfillRow>,
    },
    /// What an instance waits for.
    Why {
        dag_id: DagId,
        run_id: RunId,
        task_id: TaskId,
        map_index: i32,
        reply: Reply<Vec<Dependency>>,
    },
    Stop,
}

impl Request {
    /// Whether it deletes runs.
    fn deletes(&self) -> bool {
        matches!(self, Self::DeleteDag { .. } | Self::DeleteRun { .. } | Self::Retire { .. })
    }
}

/// What the loop tells of itself.
#[derive(Debug)]
pub struct Heartbeat {
    at_us: AtomicI64,
    running: AtomicU32,
    active_runs: AtomicU32,
    /// What instances would take that wait for workers, by queue.
    waiting: Mutex<BTreeMap<QueueName, Taken>>,
    /// Told after each turn.
    turned: Notify,
}

impl Heartbeat {
    pub fn new(now: Timestamp) -> Self {
        Self {
            at_us: AtomicI64::new(now.as_micros()),
            running: AtomicU32::new(0),
            active_runs: AtomicU32::new(0),
            waiting: Mutex::default(),
            turned: Notify::new(),
        }
    }

    /// What instances would take that wait for workers that serve `queue`, or any.
    pub fn waiting(&self, queue: Option<&QueueName>) -> Taken {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_queue = waiting.iter().filter(|(name, _)| queue.is_none_or(|queue| queue == *name));
        of_queue.map(|(_, wanted)| *wanted).fold(Taken::default(), Taken::and)
    }

    /// The queues that instances wait for, and how many.
    pub fn waiting_queues(&self) -> Vec<(QueueName, u32)> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waited_for = waiting.iter().filter(|(_, wanted)| wanted.attempts > 0);
        waited_for.map(|(queue, wanted)| (queue.clone(), wanted.attempts)).collect()
    }

    /// Counts what waits. Before what was admitted is dispatched, which counts it: nothing counts twice, or a pod would be started too many.
    fn count(&self, admission: &Admission) {
        let counts = admission.queues().map(|queue| (queue.clone(), admission.waiting_in(queue))).collect();
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// A turn is over.
    fn wait(&self, admission: &Admission) {
        self.count(admission);
        self.turned.notify_one();
    }

    /// Waits for the end of the next turn, or has missed one. For one listener.
    pub async fn turned(&self) {
        self.turned.notified().await;
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
    Deadline(DagRunKey),
}

/// One turn of the loop.
struct Turn {
    tick: Tick,
    /// What the engine says of instances, by run.
    instances: BTreeMap<DagRunKey, engine::Changes>,
    /// What the engine says of runs.
    runs: BTreeMap<DagRunKey, RunChange>,
    /// Runs that are inserted.
    new_runs: BTreeMap<DagRunKey, DagRunNew>,
    /// Runs that failed before they were loaded.
    stillborn: BTreeMap<DagRunKey, DagRunRow>,
    /// Who asked for a run, and is told how it stands when the turn is committed.
    run_replies: Vec<(DagRunKey, Reply<DagRunRow>)>,
    /// Runs that were started.
    started: usize,
    /// Runs that changed.
    told: Vec<commit::RunTold>,
    /// Tries that ended, if traces are sent.
    tries_told: Vec<commit::TryTold>,
    /// Instances that ended to wait for this.
    waiting: Vec<(DagRunKey, InstanceId, Wait)>,
    /// Runs that ended, or whose tasks did, and that somebody may wait for.
    ended: BTreeSet<DagRunKey>,
    /// What instances wait for from now on; none: for nothing any more.
    waits: BTreeMap<InstanceKey, Option<Wait>>,
    /// Runs that were looked for in the store.
    found: BTreeMap<RunChoice, Option<DagRunRow>>,
}

impl Turn {
    fn new(now: Timestamp) -> Self {
        Self {
            tick: Tick::new(now),
            instances: BTreeMap::new(),
            runs: BTreeMap::new(),
            new_runs: BTreeMap::new(),
            stillborn: BTreeMap::new(),
            run_replies: Vec::new(),
            started: 0,
            told: Vec::new(),
            tries_told: Vec::new(),
            waiting: Vec::new(),
            ended: BTreeSet::new(),
            waits: BTreeMap::new(),
            found: BTreeMap::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.tick.now
    }
}

/// Everything that is unfinished.
pub struct Driver<D> {
    config: Arc<SchedulerConfig>,
    store: Store,
    executor: D,
    changes: broadcast::Sender<Arc<Vec<Change>>>,
    heartbeat: Arc<Heartbeat>,
    /// Told of dags whose runs ended.
    ended: Arc<Ended>,
    next_key: i64,
    next_event: i64,
    dags: Dags,
    versions: LruCache<DagVersionKey, Arc<Version>>,
    /// What attempts of a version may reach. Forgotten when a dag or a decision about one changes.
    grants: LruCache<DagVersionKey, Arc<Grants>>,
    /// Runs in state queued that are not loaded: there may be very many, so those of earlier turns have no long conf.
    queued: HashMap<DagRunKey, DagRunRow>,
    /// Queued runs that were made here and never loaded: their instances have no rows.
    never_loaded: HashSet<DagRunKey>,
    /// Runs that are loaded.
    runs: HashMap<DagRunKey, ActiveRun>,
    admission: Admission,
    /// Attempts that hold slots.
    running: u32,
    timers: BTreeSet<(Timestamp, Timer)>,
    /// Instances that wait for runs.
    waits: Waits,
    /// Dags whose timetable and queue are to be looked at in this turn.
    touched: BTreeSet<DagId>,
    /// Identities of runs that were made lately.
    recent: runs::Recent,
    backfills: backfills::Backfills,
    /// Which runs wait for the run before them.
    links: past::Links,
    /// Dags with a limit of failures in a row, of which a run failed in this turn.
    failing: BTreeSet<DagId>,
    /// Loaded runs that had an event in this turn: if one is finished now, it is unloaded.
    maybe_over: Vec<DagRunKey>,
}

impl<D: Dispatch> Driver<D> {
    /// Reads what is unfinished. Attempts that were in flight are started again.
    pub async fn recover(
        config: Arc<SchedulerConfig>,
        store: Store,
        executor: D,
        now: Timestamp,
        changes: broadcast::Sender<Arc<Vec<Change>>>,
        heartbeat: Arc<Heartbeat>,
        ended: Arc<Ended>,
    ) -> Result<Self, StoreError> {
        let mut driver = Self {
            admission: Admission::new(config.parallelism),
            running: 0,
            config,
            store,
            executor,
            changes,
            heartbeat,
            ended,
            next_key: 0,
            next_event: 0,
            dags: Dags::default(),
            versions: LruCache::new(MAX_GRAPHS),
            grants: LruCache::new(MAX_GRAPHS),
            queued: HashMap::new(),
            never_loaded: HashSet::new(),
            runs: HashMap::new(),
            timers: BTreeSet::new(),
            waits: Waits::default(),
            touched: BTreeSet::new(),
            recent: runs::Recent::default(),
            backfills: backfills::Backfills::default(),
            links: past::Links::default(),
            failing: BTreeSet::new(),
            maybe_over: Vec::new(),
        };
        driver.reload(now).await?;
        Ok(driver)
    }

    /// Forgets all and reads it anew.
    async fn reload(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.admission = Admission::new(self.config.parallelism);
        self.running = 0;
        self.dags = Dags::default();
        self.queued.clear();
        self.never_loaded.clear();
        self.runs.clear();
        self.timers.clear();
        self.waits = Waits::default();
        self.links.clear();
        self.failing.clear();
        self.next_key = self.store.dag_run_next_key().await?;
        self.next_event = self.store.asset_event_next_key().await?;
        self.reload_pools().await?;
        let mut decisions = self.store.dag_decisions_all().await?;
        let mut limits: BTreeMap<_, _> = self.store.dag_numbers_list().await?.into_iter().collect();
        self.grants.clear();
        for row in self.store.dag_list_all().await? {
            self.admission.set_paused(&row.dag_id, row.is_paused);
            self.limit_dag(&row.dag_id, limits.remove(&row.dag_id).unwrap_or_default());
            self.touched.insert(row.dag_id.clone());
            let decisions = decisions.remove(&row.dag_id).unwrap_or_default();
            self.dags.put(row, decisions);
        }
        for (dag_id, name) in self.store.asset_queue_names().await? {
            if let Some(entry) = self.dags.get_mut(&dag_id) {
                entry.updated.insert(name);
            }
        }
        let mut turn = Turn::new(now);
        self.recover_backfills().await?;
        let (mut after, mut resumed) = (None, Vec::new());
        loop {
            let page = self.store.dag_run_list_unfinished(after, RECOVERY_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            for row in page {
                self.recover_run(row, &mut resumed, &mut turn).await?;
            }
        }
        for (key, state) in self.store.dag_run_verdicts().await? {
            if let Some(run) = self.runs.get_mut(&key) {
                run.state.set_verdict(if state == RunState::Success { Verdict::Success } else { Verdict::Failed });
            }
        }
        // Only now is all in memory that a run may look back at.
        for key in resumed {
            self.look_back(key, &mut turn).await?;
            self.apply(key, &Event::Resume, &mut turn);
        }
        self.recover_waits(&mut turn).await?;
        self.settle(&mut turn).await?;
        self.commit(turn).await
    }

    /// Says what the attempts of a dag may have together, beside what holds for all dags.
    fn limit_dag(&mut self, dag_id: &DagId, own: DagLimits) {
        self.admission.set_memory(dag_id, own.or(self.config.dag_limits).memory_mib());
        self.executor.limit_dag(dag_id, own);
    }

    /// Takes in an unfinished run; one that is running is added to `resumed`.
    async fn recover_run(
        &mut self,
        mut row: DagRunRow,
        resumed: &mut Vec<DagRunKey>,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        if let Some(unfinished) = self.dags.get_mut(&row.dag_id).and_then(|entry| entry.unfinished(row.run_type)) {
            *unfinished += 1;
        }
        if self.dags.get(&row.dag_id).is_some_and(|entry| entry.keys.is_some()) {
            row = self.with_conf(row).await?;
        }
        if row.state == RunState::Queued {
            self.enqueue(&row);
            rest(&mut row);
            self.queued.insert(row.key, row);
            return Ok(());
        }
        self.enter(&row);
        let key = row.key;
        if let Some(run) = self.load(row.clone(), turn).await? {
            self.open(run);
            self.defer_again(key);
            resumed.push(key);
        }
        Ok(())
    }

    /// Those of a run that wait to be started again still have their slots where pools say so.
    fn defer_again(&mut self, key: DagRunKey) {
        let Some(run) = self.runs.get(&key) else { return };
        for instance in run.state.instances() {
            if run.state.instance(instance).is_some_and(|row| row.state == TaskState::UpForReschedule) {
                let node = run.version.dag.node(instance.node);
                self.admission.defer(engine::RunKey(key.0), instance, &node.pool, node.pool_slots);
            }
        }
    }

    async fn reload_pools(&mut self) -> Result<(), StoreError> {
        let (mut offset, mut names) = (0, BTreeSet::new());
        loop {
            let pools = self.store.pool_list(&Like::default(), Page { limit: MAX_PAGE, offset }).await?;
            for pool in &pools.items {
                names.insert(pool.name.clone());
                self.admission.set_pool(&pool.name, u32::try_from(pool.slots).ok(), pool.include_deferred);
            }
            offset += MAX_PAGE;
            if pools.items.len() < MAX_PAGE as usize {
                self.admission.keep_pools(&names);
                return Ok(());
            }
        }
    }

    /// Goes round until it is told to stop, or nobody is left who could.
    pub async fn run(
        mut self,
        clock: Clock,
        mut requests: mpsc::Receiver<Request>,
        mut events: mpsc::Receiver<ExecutorEvent>,
        triggers: mpsc::Sender<Box<TriggerCall>>,
    ) {
        let (mut new_requests, mut new_events) = (Vec::new(), Vec::new());
        loop {
            let wait = self.next_look(clock.now());
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
            hand_on(&mut new_events, &triggers);
            let stop = new_requests.iter().any(|request| matches!(request, Request::Stop));
            if let Err(error) = self.turn(&mut new_requests, &mut new_events, clock.now()).await {
                tracing::error!(error = %Chain(&error), "the scheduler reads its state anew");
                self.kill_all();
                while let Err(error) = self.reload(clock.now()).await {
                    tracing::error!(error = %Chain(&error), "the scheduler can't read its state; it will try again");
                    tokio::time::sleep(self.config.commit_retry).await;
                }
            }
            self.heartbeat.beat(clock.now(), self.runs.len(), self.running);
            self.heartbeat.wait(&self.admission);
            if stop {
                return;
            }
        }
    }

    /// One turn: takes what happened, decides, commits, shows.
    ///
    /// # Errors
    /// If the database refuses for good; then what is in memory can't be trusted any more, the database is what counts.
    pub async fn turn(
        &mut self,
        requests: &mut Vec<Request>,
        events: &mut Vec<ExecutorEvent>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut turn = Turn::new(now);
        for event in events.drain(..) {
            // What tasks ask for comes back as requests.
            match event {
                ExecutorEvent::Finished(completion) => self.finished(*completion, &mut turn),
                ExecutorEvent::Rendered(rendered) => self.rendered(*rendered, &mut turn),
                ExecutorEvent::Workers => self.count_workers(),
                ExecutorEvent::Trigger(_) => {}
            }
        }
        for request in requests.drain(..) {
            if request.deletes() {
                // Rows that go at once must not be among those that this turn changes.
                self.settle(&mut turn).await?;
                self.commit(std::mem::replace(&mut turn, Turn::new(now))).await?;
            }
            self.request(request, &mut turn).await?;
        }
        self.due(&mut turn);
        self.settle(&mut turn).await?;
        self.commit(turn).await
    }

    /// How long the loop may sleep.
    fn next_look(&self, now: Timestamp) -> Duration {
        let safety = self.config.safety_interval;
        if !self.touched.is_empty() {
            return Duration::ZERO;
        }
        self.timers.first().map_or(safety, |(at, _)| at.since(now).min(safety))
    }

    fn kill_all(&self) {
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
    }

    fn finished(&mut self, completion: Completion, turn: &mut Turn) {
        let Completion {
            id,
            result,
            message,
            xcoms,
            artifacts,
            recording,
            cached,
            asset_extras,
            added,
            label,
            list_length,
            ..
        } = completion;
        let key = id.instance.dag_run;
        let Some(run) = self.runs.get(&key) else { return };
        let Some(node) = run.version.dag.index(&id.instance.task_id) else { return };
        let instance = InstanceId { node, map_index: id.instance.map_index };
        let attempt = engine::Attempt { instance, try_number: id.try_number, restart: id.restart };
        // One of a try that was given up, or cleared, is of no use to anyone.
        let is_current = run.state.instance(instance).is_some_and(|row| {
            row.state == TaskState::Running && (row.try_number, row.restarts) == (id.try_number, id.restart)
        });
        turn.tick.commit.recordings.extend(recording.filter(|_| is_current));
        turn.tick.commit.labels.extend(label.filter(|_| is_current).map(|label| (id.instance.clone(), label)));
        let mut message = message;
        let mut wait = None;
        let outcome = match result {
            AttemptResult::Success => Outcome::Success { list_length },
            AttemptResult::Skipped => Outcome::Skipped,
            AttemptResult::Branch(followed) => Outcome::Branch(followed),
            AttemptResult::ShortCircuit { all } => Outcome::ShortCircuit { ignore_downstream_trigger_rules: all },
            AttemptResult::Later(at) => Outcome::Later(at),
            AttemptResult::Wait(Wait::Run(condition), _) if self.dags.get(&condition.of.dag_id).is_none() => {
                message = Some(format!("it waits for dag `{}`, which does not exist; upload it", condition.of.dag_id));
                Outcome::Failed { retry: true }
            }
            AttemptResult::Wait(condition, until) => {
                wait = Some(condition);
                Outcome::Later(until)
            }
            AttemptResult::Failed { retry } => Outcome::Failed { retry },
            AttemptResult::Lost => Outcome::Lost,
            AttemptResult::Killed => Outcome::Killed,
        };
        let succeeded = self.apply(key, &Event::Finished { attempt, outcome, message }, turn).contains(&instance);
        turn.waiting.extend(wait.map(|wait| (key, instance, wait)));
        if succeeded {
            turn.tick.commit.xcoms.extend(xcoms);
            turn.tick.commit.artifacts.extend(artifacts);
            turn.tick.commit.cached_results.extend(cached);
            self.update_outlets(key, instance, asset_extras, added, turn);
        }
    }

    /// Looks anew what workers have room for.
    fn count_workers(&mut self) {
        let queues: Vec<_> = self.admission.queues().cloned().collect();
        for queue in queues {
            if let Some(room) = self.executor.room_of(&queue) {
                self.admission.set_queue(&queue, room);
            }
        }
    }

    fn due(&mut self, turn: &mut Turn) {
        while let Some((at, _)) = self.timers.first()
            && *at <= turn.now()
            && let Some((_, timer)) = self.timers.pop_first()
        {
            match timer {
                Timer::Dag(dag_id) => drop(self.touched.insert(dag_id)),
                Timer::Deadline(key) => self.deadline_has_come(key, turn),
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
        self.links.touch(key);
        let slots = engine::RunKey(key.0);
        for instance in std::mem::take(&mut run.unwritten) {
            if let Some(row) = run.state.instance(instance) {
                let rows = turn.instances.entry(key).or_default();
                rows.persist(Box::new(InstanceChange::new(instance, row)));
            }
        }
        for command in run.state.apply(event, turn.now()) {
            match command {
                Command::Persist(change) => {
                    if change.row.state == TaskState::Success {
                        succeeded.push(change.instance);
                    }
                    if change.row.state.is_finished() && self.waits.is_awaited(&run.row.dag_id) {
                        turn.ended.insert(key);
                    }
                    let node = run.version.dag.node(change.instance.node);
                    if change.row.state == TaskState::UpForReschedule {
                        self.admission.defer(slots, change.instance, &node.pool, node.pool_slots);
                    } else {
                        self.admission.undefer(slots, change.instance);
                    }
                    if change.row.state != TaskState::UpForReschedule && self.waits.remove((key, change.instance)) {
                        turn.waits.insert(run.instance_key(change.instance), None);
                    }
                    turn.tick.commit.callbacks.extend(callbacks::of_task(run, &change));
                    turn.instances.entry(key).or_default().persist(change);
                }
                Command::Delete(instance) => turn.instances.entry(key).or_default().delete(instance),
                Command::Ready(instance) => {
                    let queue = &run.version.dag.node(instance.node).queue;
                    let on_workers = self.executor.room_of(queue);
                    if let Some(room) = on_workers {
                        self.admission.set_queue(queue, room);
                    }
                    self.admission.ready(slots, instance, demand(run, slots, instance, on_workers.is_some()));
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
                    run.row.message.clone_from(&change.message);
                    if change.row.state.is_finished() && self.waits.is_awaited(&run.row.dag_id) {
                        turn.ended.insert(key);
                    }
                    let (row, callbacks) = (&run.row, &run.version.dag.callbacks);
                    let told = callbacks::of_run(callbacks, row, change.row.state, change.message.as_deref());
                    turn.tick.commit.callbacks.extend(told);
                    turn.runs.insert(key, change);
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
        self.links.touch(row.key);
        self.leave(row, was);
        self.enter(row);
        let Some(entry) = self.dags.get_mut(&row.dag_id) else { return };
        if row.state == RunState::Failed && entry.row.spec.max_consecutive_failed_dag_runs > 0 {
            self.failing.insert(row.dag_id.clone());
        }
        if let Some(unfinished) = entry.unfinished(row.run_type) {
            match (was.is_finished(), row.state.is_finished()) {
                (false, true) => *unfinished = unfinished.saturating_sub(1),
                (true, false) => *unfinished += 1,
                (true, true) | (false, false) => {}
            }
        }
    }

    fn enqueue(&mut self, row: &DagRunRow) {
        self.watch_deadline(row);
        self.enter(row);
        self.touched.insert(row.dag_id.clone());
    }

    /// Counts a run where it stands: for its backfill or for its dag.
    fn enter(&mut self, row: &DagRunRow) {
        let is_of_backfill = self.backfills.enter(row);
        let Some(entry) = self.dags.get_mut(&row.dag_id) else { return };
        if let Some(keys) = &mut entry.keys {
            keys.enter(row, !is_of_backfill);
        }
        if is_of_backfill {
            return;
        }
        match row.state {
            RunState::Running => entry.running += 1,
            RunState::Queued => drop(entry.queue.insert((row.run_after, row.key))),
            RunState::Success | RunState::Failed => {}
        }
    }

    /// Counts the unfinished runs of a dag by their keys anew: what their keys are may have changed.
    async fn enter_keys(&mut self, dag_id: &DagId) -> Result<(), StoreError> {
        let Some(mut keys) = self.dags.get_mut(dag_id).and_then(|entry| entry.keys.take()) else { return Ok(()) };
        let rows = self.queued.values().chain(self.runs.values().map(|run| &run.row));
        for row in rows.filter(|row| row.dag_id == *dag_id) {
            keys.enter(&self.with_conf(row.clone()).await?, !self.backfills.is_of(row.key));
        }
        if let Some(entry) = self.dags.get_mut(dag_id) {
            entry.keys = Some(keys);
        }
        Ok(())
    }

    /// A run's row with what it was given, which is read if the row came without.
    async fn with_conf(&self, mut row: DagRunRow) -> Result<DagRunRow, StoreError> {
        if row.conf.is_none() {
            row.conf = self.store.dag_run_conf(row.key).await?;
        }
        Ok(row)
    }

    /// Counts a run no longer where it stood.
    fn leave(&mut self, row: &DagRunRow, was: RunState) {
        let is_of_backfill = self.backfills.leave(row, was);
        let Some(entry) = self.dags.get_mut(&row.dag_id) else { return };
        if let Some(keys) = &mut entry.keys {
            keys.leave(row);
        }
        if is_of_backfill {
            return;
        }
        match was {
            RunState::Running => entry.running = entry.running.saturating_sub(1),
            RunState::Queued => drop(entry.queue.remove(&(row.run_after, row.key))),
            RunState::Success | RunState::Failed => {}
        }
    }
}

/// Takes the runs that tasks ask for out of `events`, for those who check their params.
fn hand_on(events: &mut Vec<ExecutorEvent>, triggers: &mpsc::Sender<Box<TriggerCall>>) {
    for event in events.extract_if(.., |event| matches!(event, ExecutorEvent::Trigger(_))) {
        if let ExecutorEvent::Trigger(call) = event
            && let Err(refused) = triggers.try_send(call)
        {
            let why = "too many runs are being started by tasks; try again".to_owned();
            // The attempt may be over.
            drop(refused.into_inner().reply.send(Err(TriggerRefusal::Unavailable(why))));
        }
    }
}

/// Forgets what need not be in memory while a run waits.
fn rest(row: &mut DagRunRow) {
    row.conf.take_if(|conf| conf.len() > MAX_KEPT_CONF_BYTES);
}

/// What an instance needs in order to start.
fn demand(loaded: &ActiveRun, run: engine::RunKey, instance: InstanceId, on_workers: bool) -> engine::Demand<'_> {
    let dag = &loaded.version.dag;
    let node = dag.node(instance.node);
    let per_dag = || engine::Key::Task(dag.dag_id.clone(), node.task_id.clone());
    let per_dagrun = || engine::Key::TaskInRun(run, instance.node);
    let of_dag = node.max_active_tis_per_dag.map(|limit| (per_dag(), limit));
    let of_run = node.max_active_tis_per_dagrun.map(|limit| (per_dagrun(), limit));
    // One whose key can't be told is admitted and fails.
    let named = task_key::of(loaded, instance).and_then(Result::ok);
    let named = named.map(|(key, limit)| (engine::Key::Named(key.into()), limit));
    // What it asks for; it gets no more.
    let queue = on_workers.then(|| (engine::Key::Queue(node.queue.clone()), dag.grants.memory_mib()));
    engine::Demand {
        pool: &node.pool,
        pool_slots: node.pool_slots,
        priority_weight: node.weight,
        keys: of_dag.into_iter().chain(of_run).chain(named).chain(queue).collect(),
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

/// An error and its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
