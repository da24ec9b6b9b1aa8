//! One runner: a child process that is kept alive, fed and listened to.
//!
//! ```text
//! starting --Ready--> up --died, silent, overdue--> down --after a pause--> starting
//! ```
//!
//! What was sent to a runner that goes down is lost and said so; what only waited for it waits for its successor.

mod life;

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use self::life::{keep, repeat, serve, start};
use super::{
    Assignment, ExecutorEvent, Shared,
    books::{Attempt, RunnerId},
    finish,
    outbox::Outbox,
};
use crate::{
    model::{
        ids::{Digest, QueueName},
        queue::{Queues, Room, Taken},
        time::{Clock, Timestamp},
    },
    wire::{AttemptKey, RunAttempt, ToRunner},
};

/// Compiled code that one runner holds; above it the code that was used longest ago is unloaded.
const MAX_LOADED_BYTES: usize = 512 << 20;

/// An attempt on its way to a runner.
#[derive(Debug)]
pub(super) struct Ready {
    pub attempt: Arc<Attempt>,
    pub run: Box<RunAttempt>,
    pub memory: Option<OwnedSemaphorePermit>,
}

impl Ready {
    pub fn queue(&self) -> &QueueName {
        let Assignment { dag, node, .. } = &self.attempt.assignment;
        &dag.node(*node).queue
    }

    fn memory_mib(&self) -> u32 {
        self.attempt.assignment.grants.memory_mib()
    }
}

/// A place for a runner process, and who waits for it.
#[derive(Debug)]
pub(super) struct Runner {
    index: usize,
    /// The name of its worker, or of this machine.
    host: Arc<str>,
    room: Room,
    queues: Queues,
    /// Where it is, if not here.
    worker: Option<OfWorker>,
    state: Mutex<State>,
}

/// What a worker says of itself when it comes.
#[derive(Debug, Clone)]
pub struct Hello {
    /// For people.
    pub name: String,
    /// The same as long as its process lives, for no other.
    pub process: Uuid,
    /// What it runs at a time.
    pub room: Room,
    /// Those whose attempts it takes.
    pub queues: Queues,
    /// After how many attempts it leaves; none: never.
    pub attempts: Option<NonZeroU32>,
}

/// What is known of a runner's worker.
#[derive(Debug)]
pub(super) struct OfWorker {
    pub name: String,
    pub process: Uuid,
    pub connected_at: Timestamp,
    pub is_draining: AtomicBool,
    /// How many more attempts it takes; none: as many as there are.
    left: Option<AtomicU32>,
    /// Told when it drains, and when one of its attempts ended.
    changed: Notify,
    /// Its process has another stream by now.
    replaced: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// How often a process was started.
    generation: u64,
    /// None: no process is up.
    outbox: Option<Outbox>,
    pid: Option<u32>,
    running: Taken,
    /// Since when it runs nothing; none: it does, or no process is up.
    idle_since: Option<Timestamp>,
    components: HashMap<Digest, Component>,
    /// Attempts whose component is loaded and that wait for a slot.
    queue: VecDeque<Ready>,
    uses: u64,
}

#[derive(Debug)]
enum Component {
    /// Its code is being fetched; these wait for it.
    Loading(Vec<Ready>),
    Loaded {
        code_bytes: usize,
        last_use: u64,
        /// Its code was made anew, because the process could not use what there was.
        is_anew: bool,
    },
}

impl Runner {
    /// One of this machine.
    pub fn new(index: usize, host: Arc<str>, slots: u32, queues: Queues) -> Self {
        Self { index, host, room: Room::of(slots, None), queues, worker: None, state: Mutex::default() }
    }

    /// One of a worker.
    pub fn of_worker(index: usize, hello: Hello, connected_at: Timestamp) -> Self {
        let Hello { name, process, room, queues, attempts } = hello;
        let host = name.as_str().into();
        let left = attempts.map(|attempts| AtomicU32::new(attempts.get()));
        let worker = OfWorker {
            name,
            process,
            connected_at,
            is_draining: AtomicBool::new(false),
            left,
            changed: Notify::new(),
            replaced: CancellationToken::new(),
        };
        Self { index, host, room, queues, worker: Some(worker), state: Mutex::default() }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn room(&self) -> Room {
        self.room
    }

    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Whether it is given attempts of `queue`.
    pub fn takes(&self, queue: &QueueName) -> bool {
        self.queues.serve(queue) && !self.is_draining()
    }

    pub fn worker(&self) -> Option<&OfWorker> {
        self.worker.as_ref()
    }

    /// Gives it no more attempts.
    pub fn drain(&self) {
        if let Some(worker) = &self.worker {
            worker.is_draining.store(true, Ordering::Relaxed);
            worker.changed.notify_one();
        }
    }

    /// Ends its stream: the worker's process has another one.
    pub fn replace(&self) {
        if let Some(worker) = &self.worker {
            worker.replaced.cancel();
        }
    }

    /// Waits until its stream is to end.
    pub async fn replaced(&self) {
        match &self.worker {
            Some(worker) => worker.replaced.cancelled().await,
            None => std::future::pending().await,
        }
    }

    pub fn is_draining(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.is_draining.load(Ordering::Relaxed))
    }

    /// Waits until it has drained: that is never, if nobody asks for it.
    pub async fn drained(&self) {
        let Some(worker) = &self.worker else { return std::future::pending().await };
        while !self.is_draining() || self.has_attempts() {
            worker.changed.notified().await;
        }
    }

    /// Since when it runs nothing; none: it does.
    pub fn idle_since(&self) -> Option<Timestamp> {
        self.state().idle_since
    }

    /// What its attempts take that run.
    pub fn running(&self) -> Taken {
        self.state().running
    }

    /// What attempts would take that wait here, of those that `counts`, and what those take that run.
    pub fn waiting_and_running(&self, counts: impl Fn(&Ready) -> bool) -> (Taken, Taken) {
        let state = self.state();
        (state.waiting(counts), state.running)
    }

    fn has_attempts(&self) -> bool {
        let (waiting, running) = self.waiting_and_running(|_| true);
        waiting.attempts > 0 || running.attempts > 0
    }

    /// What waits here, to be placed elsewhere.
    pub fn take_waiting(&self) -> Vec<Ready> {
        let mut state = self.state();
        let mut waiting: Vec<_> = state.queue.drain(..).collect();
        for component in state.components.values_mut() {
            if let Component::Loading(of_component) = component {
                waiting.append(of_component);
            }
        }
        drop(state);
        if let Some(worker) = &self.worker {
            worker.changed.notify_one();
        }
        waiting
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The process, if one is up.
    pub fn pid(&self) -> Option<u32> {
        let state = self.state();
        state.outbox.as_ref().and(state.pid)
    }

    /// How much it has to do, in thousandths of its room; none: it is a worker that has no room for one that takes `wanted`. What is here
    /// always takes more, and lets it wait.
    pub fn fullness(&self, wanted: Taken) -> Option<u64> {
        let state = self.state();
        let taken = state.running.and(state.waiting(|_| true));
        let wanted_mib = u32::try_from(wanted.memory_mib).unwrap_or(u32::MAX);
        (self.worker.is_none() || self.room.has_room(taken, wanted_mib)).then(|| self.room.fullness(taken))
    }

    /// Sends an attempt as soon as there are a process, the code and a slot.
    pub fn submit(self: &Arc<Self>, shared: &Arc<Shared>, ready: Ready) {
        let component = ready.run.component;
        let mut state = self.state();
        match state.components.get_mut(&component) {
            Some(Component::Loaded { .. }) => self.send_or_queue(&mut state, ready),
            Some(Component::Loading(waiting)) => waiting.push(ready),
            None => {
                state.components.insert(component, Component::Loading(vec![ready]));
                if state.outbox.is_some() {
                    self.start_load(shared, state.generation, component, false);
                }
            }
        }
        drop(state);
        // Not before it is here: who drains leaves when nothing is.
        let left = self.worker.as_ref().and_then(|worker| worker.left.as_ref());
        if left.is_some_and(|left| left.fetch_sub(1, Ordering::Relaxed) == 1) {
            self.drain();
            shared.tell(ExecutorEvent::Workers);
        }
    }

    fn send_or_queue(&self, state: &mut State, ready: Ready) {
        let Some(outbox) = &state.outbox else { return state.queue.push_back(ready) };
        let takes = ready.attempt.takes();
        if !self.room.has_room(state.running, ready.memory_mib()) {
            return state.queue.push_back(ready);
        }
        let runner = RunnerId { index: self.index, generation: state.generation };
        if !ready.attempt.sent_to(runner, &self.host) {
            return;
        }
        state.running = state.running.and(takes);
        state.idle_since = None;
        state.uses += 1;
        if let Some(Component::Loaded { last_use, .. }) = state.components.get_mut(&ready.run.component) {
            *last_use = state.uses;
        }
        let frame = if ready.attempt.ledger.is_some() { ToRunner::RunMetered } else { ToRunner::Run };
        outbox.send(frame(ready.run), ready.memory);
    }

    /// What an attempt took is free.
    fn ended(&self, shared: &Arc<Shared>, took: Taken) {
        let mut state = self.state();
        state.running = state.running.less(took);
        while state.queue.front().is_some_and(|first| self.room.has_room(state.running, first.memory_mib()))
            && let Some(ready) = state.queue.pop_front()
        {
            self.send_or_queue(&mut state, ready);
        }
        state.idle_since = (state.running.attempts == 0).then(|| Clock.now());
        drop(state);
        self.made_room(shared);
        if self.is_draining() {
            shared.tell(ExecutorEvent::Workers);
        }
    }

    /// Asks the process to end an attempt.
    pub fn kill(&self, generation: u64, attempt: AttemptKey) {
        let state = self.state();
        if state.generation == generation
            && let Some(outbox) = &state.outbox
        {
            outbox.send(ToRunner::Kill { attempt }, None);
        }
    }

    fn start_load(self: &Arc<Self>, shared: &Arc<Shared>, generation: u64, component: Digest, again: bool) {
        let (runner, shared) = (Arc::clone(self), Arc::clone(shared));
        shared.tasks.clone().spawn(async move {
            let code = shared.code.get(&shared, component, again).await;
            let mut state = runner.state();
            if state.generation != generation || state.outbox.is_none() {
                // The successor loads for itself what is waited for.
                return;
            }
            let Some(Component::Loading(waiting)) = state.components.remove(&component) else { return };
            match code {
                Ok(code) => {
                    state.uses += 1;
                    let loaded = Component::Loaded { code_bytes: code.len(), last_use: state.uses, is_anew: again };
                    state.components.insert(component, loaded);
                    if let Some(outbox) = &state.outbox {
                        outbox.send(ToRunner::Load { component, code }, None);
                    }
                    for ready in waiting {
                        runner.send_or_queue(&mut state, ready);
                    }
                    state.unload_above(MAX_LOADED_BYTES);
                    drop(state);
                    // Some may have been ended while they waited.
                    runner.made_room(&shared);
                }
                Err(error) => {
                    drop(state);
                    runner.not_started(&shared, waiting, error.retry, &error.message);
                }
            }
        });
    }

    /// The process could not use the code: it is made again, once.
    fn load_failed(self: &Arc<Self>, shared: &Arc<Shared>, component: Digest, message: &str) {
        let mut state = self.state();
        let Some(Component::Loaded { is_anew, .. }) = state.components.get(&component) else { return };
        let is_anew = *is_anew;
        let (waiting, others) = state.queue.drain(..).partition(|ready| ready.run.component == component);
        state.queue = others;
        let waiting = Vec::from_iter::<VecDeque<Ready>>(waiting);
        if !is_anew {
            tracing::warn!(%component, message, "a runner can't use compiled code; compiling again");
            state.components.insert(component, Component::Loading(waiting));
            return self.start_load(shared, state.generation, component, true);
        }
        tracing::warn!(%component, message, "a runner can't use compiled code, which was made for it");
        state.components.remove(&component);
        drop(state);
        self.not_started(shared, waiting, true, &format!("its runner can't use the code of its component: {message}"));
    }

    /// These are not sent, and won't be.
    fn not_started(&self, shared: &Arc<Shared>, waiting: Vec<Ready>, retry: bool, why: &str) {
        for ready in waiting {
            finish::not_started(shared, ready.attempt.key, retry, why.to_owned());
        }
        self.made_room(shared);
    }

    /// Tells those who wait for a worker to have less to do.
    fn made_room(&self, shared: &Arc<Shared>) {
        if let Some(worker) = &self.worker {
            worker.changed.notify_one();
            shared.place_homeless();
        }
    }

    fn up(self: &Arc<Self>, shared: &Arc<Shared>, outbox: Outbox, generation: u64) {
        let mut state = self.state();
        state.generation = generation;
        state.outbox = Some(outbox);
        state.idle_since = Some(Clock.now());
        for component in state.components.keys().copied().collect::<Vec<_>>() {
            self.start_load(shared, generation, component, false);
        }
    }

    /// Its process is gone, and what ran in it is lost; why, if that is known.
    pub fn down(&self, shared: &Arc<Shared>, why: Option<&str>) {
        let mut state = self.state();
        let runner = RunnerId { index: self.index, generation: state.generation };
        state.outbox = None;
        (state.running, state.idle_since) = (Taken::default(), None);
        state.components.retain(|_, component| matches!(component, Component::Loading(_)));
        for ready in std::mem::take(&mut state.queue) {
            match state.components.entry(ready.run.component).or_insert_with(|| Component::Loading(Vec::new())) {
                Component::Loading(waiting) => waiting.push(ready),
                Component::Loaded { .. } => {}
            }
        }
        drop(state);
        for attempt in shared.books.of_runner(runner) {
            finish::lost(shared, attempt.key, why);
        }
    }
}

impl State {
    fn waiting(&self, counts: impl Fn(&Ready) -> bool) -> Taken {
        let loading = self.components.values().flat_map(|component| match component {
            Component::Loading(waiting) => waiting.as_slice(),
            Component::Loaded { .. } => &[],
        });
        // Those that were ended meanwhile are dropped when their turn comes.
        let waiting = self.queue.iter().chain(loading).filter(|ready| counts(ready) && !ready.attempt.is_closed());
        waiting.map(|ready| ready.attempt.takes()).fold(Taken::default(), Taken::and)
    }

    fn unload_above(&mut self, max_bytes: usize) {
        loop {
            let loaded = self.components.iter().filter_map(|(component, state)| match state {
                Component::Loaded { code_bytes, last_use, .. } => Some((*last_use, *code_bytes, *component)),
                Component::Loading(_) => None,
            });
            let loaded: Vec<_> = loaded.collect();
            let total: usize = loaded.iter().map(|(_, code_bytes, _)| code_bytes).sum();
            let waited_for = |component| self.queue.iter().any(|ready| ready.run.component == component);
            let oldest = loaded.iter().filter(|(_, _, component)| !waited_for(*component)).min();
            match oldest {
                Some((last_use, _, component)) if total > max_bytes && *last_use < self.uses => {
                    self.components.remove(component);
                    if let Some(outbox) = &self.outbox {
                        outbox.send(ToRunner::Unload { component: *component }, None);
                    }
                }
                _ => return,
            }
        }
    }
}
