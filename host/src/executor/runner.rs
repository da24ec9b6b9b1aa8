//! One runner: a child process that is kept alive, fed and listened to.
//!
//! ```text
//! starting --Ready--> up --died, silent, overdue--> down --after a pause--> starting
//! ```
//!
//! What was sent to a runner that goes down is lost and said so; what only waited for it waits for its successor.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{Notify, OwnedSemaphorePermit},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Assignment, ExecutorEvent, Shared,
    books::{Attempt, Phase, RunnerId},
    calls, finish,
    outbox::{self, Outbox},
    workers::Hello,
};
use crate::{
    model::{
        ids::{Digest, QueueName},
        limits::{OverLimit, Resource},
        queue::{Queues, Room, Taken},
        sql::Datum,
        time::{Clock, Timestamp},
    },
    wire::{AttemptEnd, AttemptKey, Call, FrameError, FrameReader, FrameWriter, FromRunner, RunAttempt, ToRunner},
};

/// How long a runner may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// What a runner gets on top of an attempt's own limit, or after a kill, before it counts as stuck.
const GRACE: Duration = Duration::from_secs(15);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A runner that lived so long was not broken from the start.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// Compiled code that one runner holds; above it the code that was used longest ago is unloaded.
const MAX_LOADED_BYTES: usize = 512 << 20;
/// A runner's own words that are logged in its life.
const MAX_STDERR_BYTES: u64 = 64 << 10;

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
    room: Room,
    queues: Queues,
    /// Where it is, if not here.
    worker: Option<OfWorker>,
    state: Mutex<State>,
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
    },
}

impl Runner {
    /// One of this machine.
    pub fn new(index: usize, slots: u32, queues: Queues) -> Self {
        Self { index, room: Room::of(slots, None), queues, worker: None, state: Mutex::default() }
    }

    /// One of a worker.
    pub fn of_worker(index: usize, hello: Hello, connected_at: Timestamp) -> Self {
        let Hello { name, process, room, queues, attempts } = hello;
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
        Self { index, room, queues, worker: Some(worker), state: Mutex::default() }
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
        if !ready.attempt.sent_to(runner) {
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
        if let Some(worker) = &self.worker {
            worker.changed.notify_one();
            shared.place_homeless();
            if self.is_draining() {
                shared.tell(ExecutorEvent::Workers);
            }
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
                    let loaded = Component::Loaded { code_bytes: code.len(), last_use: state.uses };
                    state.components.insert(component, loaded);
                    if let Some(outbox) = &state.outbox {
                        outbox.send(ToRunner::Load { component, code }, None);
                    }
                    for ready in waiting {
                        runner.send_or_queue(&mut state, ready);
                    }
                    state.unload_above(MAX_LOADED_BYTES);
                }
                Err(error) => {
                    drop(state);
                    for ready in waiting {
                        finish::not_started(&shared, ready.attempt.key, error.retry, error.message.clone());
                    }
                    if let Some(worker) = &runner.worker {
                        worker.changed.notify_one();
                    }
                }
            }
        });
    }

    /// The process could not use the code: it is made again.
    fn load_failed(self: &Arc<Self>, shared: &Arc<Shared>, component: Digest, message: &str) {
        tracing::warn!(%component, message, "a runner can't use compiled code; compiling again");
        let mut state = self.state();
        if matches!(state.components.get(&component), Some(Component::Loaded { .. })) {
            let (waiting, others) = state.queue.drain(..).partition(|ready| ready.run.component == component);
            state.queue = others;
            state.components.insert(component, Component::Loading(Vec::from_iter::<VecDeque<Ready>>(waiting)));
            self.start_load(shared, state.generation, component, true);
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
        let waiting = self.queue.iter().chain(loading).filter(|ready| counts(ready));
        waiting.map(|ready| ready.attempt.takes()).fold(Taken::default(), Taken::and)
    }

    fn unload_above(&mut self, max_bytes: usize) {
        loop {
            let loaded = self.components.iter().filter_map(|(component, state)| match state {
                Component::Loaded { code_bytes, last_use } => Some((*last_use, *code_bytes, *component)),
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

/// Keeps a process up until the executor closes.
pub(super) async fn keep(shared: Arc<Shared>, runner: Arc<Runner>) {
    let mut pause = Duration::ZERO;
    for generation in 1.. {
        let started = Instant::now();
        let life = live(&shared, &runner, generation).await;
        runner.down(&shared, None);
        if shared.closing.is_cancelled() {
            return;
        }
        if let Err(error) = life {
            shared.config.telemetry.metrics.runner_lost();
            tracing::error!(runner = runner.index, error = &error as &dyn std::error::Error, "a runner is gone");
        }
        pause = if started.elapsed() > GOOD_LIFE {
            Duration::ZERO
        } else {
            (pause * 2).clamp(Duration::from_millis(50), MAX_PAUSE)
        };
        if shared.closing.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Why a runner is no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunnerError {
    #[error("its process can't be started")]
    Start(#[source] io::Error),
    #[error("it was not ready within {} s", START_TIMEOUT.as_secs())]
    NotReady,
    #[error("it does not answer")]
    Silent,
    #[error("it did not end attempt {0:?}, which is over its time")]
    Overdue(AttemptKey),
    #[error("it speaks out of turn")]
    Protocol,
    #[error("its stream broke")]
    Stream(#[from] FrameError),
    #[error("it ended by itself: {0}")]
    Ended(String),
}

/// Starts a runner's process: what it says, what it is told, and the process, whose words about itself are to be read from its stderr.
pub(super) fn start(binary: &Path, slots: u32, threads: Option<u32>) -> io::Result<(Child, ChildStdout, ChildStdin)> {
    let mut child = Command::new(binary)
        .arg0("airlock")
        .arg("run-child")
        .arg(slots.to_string())
        .args(threads.map(|threads| threads.to_string()))
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    match (child.stdout.take(), child.stdin.take()) {
        (Some(from), Some(to)) => Ok((child, from, to)),
        _ => Err(io::Error::other("its pipes are not there")),
    }
}

/// One process, from its start to its end.
async fn live(shared: &Arc<Shared>, runner: &Arc<Runner>, generation: u64) -> Result<(), RunnerError> {
    let started = start(&shared.binary, runner.room.slots, shared.config.runner_threads);
    let (mut child, from, to) = started.map_err(RunnerError::Start)?;
    shared.config.telemetry.metrics.runner_started();
    if let Some(stderr) = child.stderr.take() {
        shared.tasks.spawn(repeat(runner.index, stderr));
    }
    runner.state().pid = child.id();
    let (outbox, outgoing) = Outbox::new();
    let served = tokio::select! {
        served = serve(shared, runner, generation, outbox, FrameReader::new(from)) => served,
        Err(error) = outbox::write(outgoing, FrameWriter::new(to)) => Err(error.into()),
    };
    end(&mut child, served).await
}

/// Ends the process, if it is still there, and says why it ended.
async fn end(child: &mut Child, served: Result<(), RunnerError>) -> Result<(), RunnerError> {
    // Our end of the stream is closed by now, at which a runner ends by itself.
    if let Ok(Ok(status)) = tokio::time::timeout(Duration::from_millis(100), child.wait()).await {
        return match served {
            Ok(()) => Ok(()),
            Err(RunnerError::Stream(_) | RunnerError::Ended(_)) => Err(RunnerError::Ended(status.to_string())),
            Err(other) => Err(other),
        };
    }
    let _ = child.kill().await;
    served
}

/// Listens to a runner until its stream ends.
pub(super) async fn serve<R: tokio::io::AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    runner: &Arc<Runner>,
    generation: u64,
    outbox: Outbox,
    mut frames: FrameReader<R>,
) -> Result<(), RunnerError> {
    match tokio::time::timeout(START_TIMEOUT, frames.next::<FromRunner>()).await {
        Ok(first) => match first? {
            Some(FromRunner::Ready) => {}
            Some(_) => return Err(RunnerError::Protocol),
            None => return Err(RunnerError::Ended(String::new())),
        },
        Err(_) => return Err(RunnerError::NotReady),
    }
    runner.up(shared, outbox.clone(), generation);
    let id = RunnerId { index: runner.index, generation };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch { heard: Instant::now(), asked: None };
    loop {
        tokio::select! {
            // What was said comes first, so that silence is the runner's and not ours.
            biased;
            frame = frames.next::<FromRunner>() => {
                let Some(mut frame) = frame? else { return Err(RunnerError::Ended(String::new())) };
                watch = Watch { heard: Instant::now(), asked: None };
                loop {
                    take(shared, runner, id, &outbox, frame).await?;
                    match frames.buffered()? {
                        Some(next) => frame = next,
                        None => break,
                    }
                }
            }
            _ = tick.tick() => watch.check(shared, runner, id, &outbox)?,
            () = shared.closing.cancelled() => return Ok(()),
        }
    }
}

/// Notices a runner that is stuck.
struct Watch {
    heard: Instant,
    /// When it was asked for a sign of life.
    asked: Option<Instant>,
}

impl Watch {
    fn check(&mut self, shared: &Shared, runner: &Runner, id: RunnerId, outbox: &Outbox) -> Result<(), RunnerError> {
        let patience = shared.config.runner_silence;
        if self.asked.is_some_and(|asked| asked.elapsed() > patience) {
            return Err(RunnerError::Silent);
        }
        if runner.worker.is_none() && runner.running().attempts == 0 {
            return Ok(());
        }
        // One that is elsewhere hears from us all the time, so that it knows that it still belongs to somebody.
        if self.asked.is_none() && (runner.worker.is_some() || self.heard.elapsed() > patience / 3) {
            self.asked = Some(Instant::now());
            outbox.send(ToRunner::Ping, None);
        }
        let now = Instant::now();
        for attempt in shared.books.of_runner(id) {
            let due = attempt.state().overdue_at(attempt.node().timeout, GRACE);
            if due.is_some_and(|due| due < now) {
                return Err(RunnerError::Overdue(attempt.key));
            }
        }
        Ok(())
    }
}

/// One frame. Waits only for memory, which holds up this runner alone.
async fn take(
    shared: &Arc<Shared>,
    runner: &Arc<Runner>,
    id: RunnerId,
    outbox: &Outbox,
    frame: FromRunner,
) -> Result<(), RunnerError> {
    // A runner speaks for the attempts that were sent to it, and for no other.
    let find = |key| shared.books.get(key).filter(|attempt| attempt.is_at(id));
    match frame {
        FromRunner::Ready => return Err(RunnerError::Protocol),
        FromRunner::Pong => {}
        FromRunner::LoadFailed { component, message } => runner.load_failed(shared, component, &message),
        FromRunner::Call { attempt, call, request } => {
            let Some(attempt) = find(attempt) else { return Ok(()) };
            let size = match &request {
                Call::XComPush { value, .. } => value.bytes.len(),
                Call::SqlQuery { parameters, .. } | Call::SqlExecute { parameters, .. } => {
                    parameters.iter().map(Datum::size_bytes).sum()
                }
                _ => 0,
            };
            let memory = shared.inbound.reserve(size as u64).await;
            calls::receive(shared, outbox, &attempt, call, request, memory);
        }
        FromRunner::Log { attempt, lines } => {
            if let Some(attempt) = find(attempt) {
                shared.logs.append(&attempt, &lines);
            }
        }
        FromRunner::Tape { attempt, tape } => {
            if let Some(recorder) = find(attempt).as_ref().and_then(|attempt| attempt.recorder.as_ref()) {
                recorder.tape(tape);
            }
        }
        FromRunner::Used { attempt, cpu_us } => {
            if let Some(attempt) = find(attempt)
                && let Some(ledger) = &attempt.ledger
                && let Err(over) = ledger.had(Resource::Cpu, cpu_us)
                && attempt.is_over(over)
            {
                outbox.send(ToRunner::Kill { attempt: attempt.key }, None);
            }
        }
        FromRunner::Done { attempt, end, usage } => {
            let Some(attempt) = find(attempt) else { return Ok(()) };
            runner.ended(shared, attempt.takes());
            let size = match &end {
                AttemptEnd::Success(Some(value)) => value.bytes.len(),
                _ => 0,
            };
            let memory = shared.inbound.reserve(size as u64).await;
            finish::done(shared, &attempt, end, usage, memory);
        }
    }
    Ok(())
}

/// Passes a runner's own words on to our log.
pub(super) async fn repeat(index: usize, stderr: ChildStderr) {
    let mut stderr = BufReader::new(stderr).take(MAX_STDERR_BYTES);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stderr.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::warn!(runner = index, text = text.trim_end(), "a runner says");
            }
        }
    }
    // It must not block on a full pipe.
    let _ = tokio::io::copy(stderr.get_mut(), &mut tokio::io::sink()).await;
}

impl Attempt {
    /// Notes that it is sent now; false if it is over, or unwanted, and must not be.
    fn sent_to(&self, runner: RunnerId) -> bool {
        let mut state = self.state();
        if state.is_closed() || state.killed.is_some() {
            return false;
        }
        state.phase = Phase::Sent { runner, at: Instant::now() };
        true
    }

    /// Notes that it is ended because its dag is over a limit; false if it is being ended already.
    fn is_over(&self, limit: OverLimit) -> bool {
        let mut state = self.state();
        let is_first = state.killed.is_none();
        if is_first {
            state.killed = Some(Instant::now());
            state.over_limit = Some(limit);
        }
        is_first
    }

    fn is_at(&self, id: RunnerId) -> bool {
        matches!(self.state().phase, Phase::Sent { runner, .. } if runner == id)
    }
}
