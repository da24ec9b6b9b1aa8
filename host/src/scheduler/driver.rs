//! The loop: takes what happened, asks the engine, commits, shows.

mod active_run;
mod apply;
mod approvals;
mod assets;
mod backfills;
mod callbacks;
mod commit;
mod conf;
mod counts;
mod past;
mod patience;
mod recover;
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
    sync::Arc,
    time::Duration,
};

use lru::LruCache;
use tokio::sync::{broadcast, mpsc};

use self::{active_run::ActiveRun, patience::Patience};
use super::{
    Change, SchedulerConfig,
    dags::Dags,
    heartbeat::Heartbeat,
    reply::Reply,
    request::Request,
    retention::Ended,
    runs,
    tick::{Dispatch, Tick},
    version::Version,
    waits::Waits,
};
use crate::{
    engine::{self, Admission, Event, InstanceId, RunChange},
    executor::{AttemptId, ExecutorEvent, TriggerCall, TriggerRefusal},
    model::{
        causes::chain,
        grants::Grants,
        ids::DagId,
        time::{Clock, Timestamp},
        wait::{RunChoice, Wait},
    },
    store::{self, DagRunKey, DagRunNew, DagRunRow, DagVersionKey, InstanceKey, Store, StoreError},
};

/// Events and requests that are applied in one turn, at most.
const MAX_EVENTS: usize = 4_096;
/// Runs that start in one turn, at most; the rest start in the next.
const MAX_STARTS: usize = 256;

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
    /// Where tries ran that ended, or are being ended.
    hosts: BTreeMap<InstanceKey, (u32, Arc<str>)>,
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
            hosts: BTreeMap::new(),
            found: BTreeMap::new(),
        }
    }

    fn ran_at(&mut self, id: &AttemptId, host: Option<Arc<str>>) {
        if let Some(host) = host {
            self.hosts.insert(id.instance.clone(), (id.try_number, host));
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
                tracing::error!(error = %chain(&error), "the scheduler reads its state anew");
                self.kill_all();
                let mut patience = Patience::new("reading the scheduler's state");
                while let Err(error) = self.reload(clock.now()).await {
                    patience.wait(&error, self.config.commit_retry).await;
                }
                patience.over();
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
                ExecutorEvent::Workers => {
                    self.count_workers();
                    super::tell_to_look(&self.changes);
                }
                ExecutorEvent::Trigger(_) => {}
            }
        }
        for request in requests.drain(..) {
            if request.deletes() {
                // Rows that go at once must not be among those that this turn changes.
                store::patiently(self.settle(&mut turn)).await?;
                self.commit(std::mem::replace(&mut turn, Turn::new(now))).await?;
            }
            self.request(request, &mut turn).await?;
        }
        self.due(&mut turn);
        store::patiently(self.settle(&mut turn)).await?;
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
