//! Which attempts there are: what the supervisor believes, whatever a runner says.
//!
//! ```text
//! preparing --> waiting --> sent --> (closed: its event goes to the scheduler)
//!      inputs      code, slot    Done, or its runner died
//! ```
//!
//! An [`AttemptKey`] stands for one pass through this; what comes for a key that is closed is dropped.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    attempt::{Assignment, AttemptId},
    cached::Place,
    effects::Effects,
    ledger::Ledger,
    recording::Recorder,
};
use crate::{
    model::{
        dag::Node,
        limits::OverLimit,
        queue::Taken,
        time::{Clock, Timestamp},
    },
    store::InstanceKey,
    wire::AttemptKey,
};

/// One of the executor's runners, as it was started one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunnerId {
    pub index: usize,
    pub generation: u64,
}

/// Where an attempt is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Its inputs are being fetched, or it waits for code or a slot.
    Waiting,
    Sent {
        runner: RunnerId,
        at: Instant,
    },
}

/// An attempt that is not over.
#[derive(Debug)]
pub(super) struct Attempt {
    pub key: AttemptKey,
    pub assignment: Assignment,
    pub started_at: Timestamp,
    /// None: it is not recorded.
    pub recorder: Option<Recorder>,
    /// Counts what its dag has in a day; none: nothing of that is limited.
    pub ledger: Option<Arc<Ledger>>,
    state: Mutex<AttemptState>,
}

#[derive(Debug)]
pub(super) struct AttemptState {
    pub phase: Phase,
    /// When `kill` was asked for.
    pub killed: Option<Instant>,
    /// Why it is ended, if it is for having more than its dag may.
    pub over_limit: Option<OverLimit>,
    /// Where it was sent last.
    host: Option<Arc<str>>,
    /// Starts that came to nothing by no fault of the guest.
    pub not_run: u32,
    /// Its place among the cached results, if its task has a cache.
    pub cached: Option<Box<Place>>,
    effects: Option<Box<Effects>>,
    /// Nothing is taken in any more.
    closed: bool,
}

impl Attempt {
    pub fn id(&self) -> &AttemptId {
        &self.assignment.id
    }

    pub fn node(&self) -> &Node {
        self.assignment.dag.node(self.assignment.node)
    }

    /// What it takes of a worker.
    pub fn takes(&self) -> Taken {
        Taken::by(1, self.assignment.grants.memory_mib())
    }

    pub fn state(&self) -> MutexGuard<'_, AttemptState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Applies `act` to what the attempt has done so far; none if it is over.
    pub fn effects<T>(&self, act: impl FnOnce(&mut Effects) -> T) -> Option<T> {
        let mut state = self.state();
        if state.closed { None } else { Some(act(state.effects.get_or_insert_default())) }
    }

    /// Ends the attempt: what it has done, if anything.
    pub fn close(&self) -> Option<Box<Effects>> {
        let mut state = self.state();
        state.closed = true;
        state.effects.take()
    }

    /// Whether its event has gone to the scheduler, or is about to.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Where it runs, or ran last; none: it was sent nowhere.
    pub fn host(&self) -> Option<Arc<str>> {
        self.state().host.clone()
    }

    /// Notes that it is sent now; false if it is over, or unwanted, and must not be.
    pub fn sent_to(&self, runner: RunnerId, host: &Arc<str>) -> bool {
        let mut state = self.state();
        if state.is_closed() || state.killed.is_some() {
            return false;
        }
        state.phase = Phase::Sent { runner, at: Instant::now() };
        state.host = Some(Arc::clone(host));
        true
    }

    /// Notes that it is ended because its dag is over a limit; false if it is being ended already.
    pub fn is_over(&self, limit: OverLimit) -> bool {
        let mut state = self.state();
        let is_first = state.killed.is_none();
        if is_first {
            state.killed = Some(Instant::now());
            state.over_limit = Some(limit);
        }
        is_first
    }

    pub fn is_at(&self, id: RunnerId) -> bool {
        matches!(self.state().phase, Phase::Sent { runner, .. } if runner == id)
    }
}

impl AttemptState {
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// When the attempt should have ended at the latest, if it was sent and has an end.
    pub fn overdue_at(&self, timeout: Option<Duration>, grace: Duration) -> Option<Instant> {
        let Phase::Sent { at, .. } = self.phase else { return None };
        let by_timeout = timeout.and_then(|timeout| at.checked_add(timeout + grace));
        let by_kill = self.killed.map(|killed| killed.max(at) + grace);
        match (by_timeout, by_kill) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

/// All attempts that are not over.
#[derive(Debug, Default)]
pub(super) struct Books {
    table: Mutex<Table>,
    last_key: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<AttemptKey, Arc<Attempt>>,
    by_id: HashMap<AttemptId, AttemptKey>,
}

impl Books {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn open(
        &self,
        assignment: Assignment,
        recorder: Option<Recorder>,
        ledger: Option<Arc<Ledger>>,
    ) -> Arc<Attempt> {
        let key = AttemptKey(self.last_key.fetch_add(1, Ordering::Relaxed) + 1);
        let id = assignment.id.clone();
        let state = AttemptState {
            phase: Phase::Waiting,
            killed: None,
            over_limit: None,
            host: None,
            not_run: 0,
            cached: None,
            effects: None,
            closed: false,
        };
        let attempt =
            Arc::new(Attempt { key, assignment, started_at: Clock.now(), recorder, ledger, state: Mutex::new(state) });
        let mut table = self.table();
        table.by_key.insert(key, Arc::clone(&attempt));
        table.by_id.insert(id, key);
        attempt
    }

    pub fn get(&self, key: AttemptKey) -> Option<Arc<Attempt>> {
        self.table().by_key.get(&key).cloned()
    }

    /// The attempt, if it was open. Who gets it sends its event: nobody else does.
    pub fn close(&self, key: AttemptKey) -> Option<Arc<Attempt>> {
        let mut table = self.table();
        let attempt = table.by_key.remove(&key)?;
        if table.by_id.get(attempt.id()) == Some(&key) {
            table.by_id.remove(attempt.id());
        }
        Some(attempt)
    }

    pub fn find(&self, id: &AttemptId) -> Option<Arc<Attempt>> {
        let table = self.table();
        table.by_id.get(id).and_then(|key| table.by_key.get(key)).cloned()
    }

    /// Whether an attempt of this try is open.
    pub fn is_running(&self, instance: &InstanceKey, try_number: u32) -> bool {
        self.table().by_id.keys().any(|id| id.try_number == try_number && id.instance == *instance)
    }

    pub fn all(&self) -> Vec<Arc<Attempt>> {
        self.table().by_key.values().cloned().collect()
    }

    /// The attempts that were sent to `runner`.
    pub fn of_runner(&self, runner: RunnerId) -> Vec<Arc<Attempt>> {
        let mut all = self.all();
        all.retain(|attempt| matches!(attempt.state().phase, Phase::Sent { runner: sent, .. } if sent == runner));
        all
    }
}
