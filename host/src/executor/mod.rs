//! Runs attempts in child processes and answers what they ask for, within their grants.
//!
//! It promises that each dispatched attempt is answered exactly once, whatever guests, runners or storage do; that a guest
//! reaches nothing its dag was not granted; that what an attempt pushed or wrote is handed over with its success and never
//! before; and that everything it holds has a bound. It decides nothing about states, tries or slots: those are the
//! scheduler's.
//!
//! ```text
//! scheduler -- dispatch --> books -> inputs -> runner (code, slot) ===Run===> runner process
//!                             |                                    <==Call=== host calls: grants, store, blobs, egress
//!                             |                                    <==Log==== logs: masked, live, then object storage
//!                             +<- finish <------------------------ <==Done===
//! scheduler <- Completion ----+
//! ```
//!
//! Absent: a runner's word is never taken for what it may do (the books say which attempt a key stands for and on which
//! runner it is), and no guest code runs in this process.

mod attempt;
mod books;
mod cached;
mod calls;
mod code;
mod code_cache;
mod compiler;
mod config;
mod denials;
mod durations;
mod effects;
mod egress;
mod finish;
mod fleets;
mod inputs;
mod ledger;
mod logs;
mod memory;
mod outbox;
mod probe;
mod recording;
mod rendered;
mod replay;
mod results;
mod runner;
mod values;
mod workers;

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    process::{Child, ChildStdin, ChildStdout},
    sync::{Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use attempt::{
    Assignment, AttemptId, AttemptResult, Completion, ExecutorEvent, Granted, Rendered, RunContext, TriggerCall,
    TriggerRefusal,
};
pub use compiler::Described;
pub use config::ExecutorConfig;
pub use fleets::{Fleet, FleetsSeen, Pod, PodState};
pub use logs::{LogError, LogFrom, LogLine, LogPage, Logs};
pub use probe::Tested;
pub use recording::{Recording, RecordingError};
pub use replay::{Given, Placeholder, Replay, ReplayError, Replayed};
pub use runner::Hello;
pub use workers::{Worker, Workload};

use self::{
    books::{Attempt, Books, Phase},
    code::Code,
    code_cache::CodeCache,
    compiler::Compiler,
    denials::Denials,
    durations::Durations,
    egress::Egress,
    fleets::Fleets,
    inputs::{InputError, Inputs},
    ledger::{Ledger, Ledgers},
    memory::Budget,
    probe::Probes,
    recording::{Held, Recorder},
    results::Results,
    runner::{Ready, Runner},
    workers::Runners,
};
use crate::{
    blobs::Blobs,
    connections::{Connections, Lookups},
    databases::Databases,
    model::{ids::DagId, limits::DagLimits},
    store::{InstanceKey, Store},
    telemetry::TryId,
    vault::Vault,
    wire::{Instance, Limits, RunAttempt, TapeMode},
};

/// Log of one attempt, see `log.emit` of `wit/task.wit`.
const MAX_LOG_BYTES: u64 = 16 << 20;
/// Host calls of one attempt: enough to read 10 GiB of artifacts by 4 KiB.
const MAX_HOST_CALLS: u64 = 5_000_000;
/// Large frames from runners here, from workers, and large values on their way to both.
const VALUES_MIB: u32 = 512;
/// Large request bodies that are being sent.
const REQUEST_BODIES_MIB: u32 = 128;
/// Artifacts that are being written at a time, up to 15 MiB of memory each.
const MAX_WRITERS: usize = 64;
/// Work that was begun for attempts gets so long at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a component could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is at fault; the text says what is wrong and what to do.
    #[error("{0}")]
    Refused(String),
    /// Airlock is at fault, or its machine; another try may help.
    #[error("the compiler did not do its work: {0}")]
    Failed(String),
}

/// Why an executor could not start.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("`{path}` can't be used for compiled code", path = path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the path of this program is not known, so that it can't be started as a child")]
    Binary(#[source] std::io::Error),
    #[error("the HTTP client for tasks can't be made")]
    Egress(#[source] reqwest::Error),
}

/// Starts, feeds and ends runners. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

/// What all parts of the executor use.
#[derive(Debug)]
struct Shared {
    config: ExecutorConfig,
    binary: PathBuf,
    store: Store,
    blobs: Blobs,
    vault: Vault,
    events: mpsc::Sender<ExecutorEvent>,
    books: Arc<Books>,
    runners: Runners,
    fleets: Fleets,
    results: Results,
    recordings: Held,
    logs: Logs,
    code: Code,
    egress: Egress,
    connections: Connections,
    databases: Databases,
    lookups: Lookups,
    probes: Probes,
    denials: Denials,
    durations: Durations,
    ledgers: Ledgers,
    inbound: Budget,
    inbound_of_workers: Budget,
    outbound: Budget,
    request_bodies: Budget,
    writers: Arc<Semaphore>,
    /// All that was spawned.
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// Starts a runner that another supervisor feeds: a worker's. Must be called within a tokio runtime.
///
/// # Errors
/// If the process can't be started.
pub fn start_runner(slots: u32) -> std::io::Result<(Child, ChildStdout, ChildStdin)> {
    let (mut child, from, to) = runner::start(&own_binary()?, slots, None)?;
    if let Some(stderr) = child.stderr.take() {
        #[expect(clippy::disallowed_methods, reason = "it ends with the process")]
        tokio::spawn(runner::repeat(0, stderr));
    }
    Ok((child, from, to))
}

/// The binary of this process, also after another version was put in its place: children speak as their supervisor does.
fn own_binary() -> std::io::Result<PathBuf> {
    let of_kernel = PathBuf::from("/proc/self/exe");
    if of_kernel.exists() { Ok(of_kernel) } else { std::env::current_exe() }
}

impl Executor {
    /// Starts the runners. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the folder for compiled code can't be used, or the HTTP client can't be made.
    pub fn start(
        config: ExecutorConfig,
        blobs: Blobs,
        vault: Vault,
        events: mpsc::Sender<ExecutorEvent>,
    ) -> Result<Self, ExecutorError> {
        let shared = Arc::new(Shared::new(config, blobs, vault, events)?);
        let duties = &shared.config.telemetry.duties;
        shared.tasks.spawn(duties.keep("the writer of logs", shared.logs.clone().write()));
        let of_ledgers = Arc::clone(&shared);
        let keep = async move { of_ledgers.ledgers.keep(&of_ledgers.store, &of_ledgers.closing).await };
        shared.tasks.spawn(duties.keep("who counts what dags had today", keep));
        for runner in shared.runners.all() {
            shared.tasks.spawn(duties.keep("the keeper of a runner", runner::keep(Arc::clone(&shared), runner)));
        }
        Ok(Self { shared })
    }

    /// Checks, compiles and describes a component in a child process, and keeps its code for the runners.
    ///
    /// # Errors
    /// [`CompileError::Refused`] if the component is at fault.
    pub async fn compile(&self, wasm: Bytes) -> Result<Described, CompileError> {
        self.shared.code.compile(wasm).await
    }

    /// Starts attempts. Never blocks; each answers with an [`ExecutorEvent::Finished`].
    ///
    /// The scheduler's parallelism bounds how many there are; those above the runners' slots wait here.
    pub fn dispatch(&self, assignments: Vec<Assignment>) {
        for assignment in assignments {
            // What an earlier try returned is void.
            self.shared.results.forget(&assignment.id.instance);
            let recorder = self.shared.recorder(&assignment);
            let ledger = self.shared.ledgers.of(&assignment.dag.dag_id);
            let attempt = self.shared.books.open(assignment, recorder, ledger);
            self.shared.prepare(&attempt);
        }
    }

    /// Ends an attempt. It answers with `Killed`, unless it was over before.
    ///
    /// Who no longer wants the result of an attempt must kill it even if it may be over: its result is forgotten then.
    pub fn kill(&self, id: &AttemptId) {
        let Some(attempt) = self.shared.books.find(id) else {
            return self.shared.results.forget(&id.instance);
        };
        let phase = {
            let mut state = attempt.state();
            state.killed.get_or_insert_with(Instant::now);
            state.over_limit = None;
            state.phase
        };
        match phase {
            Phase::Waiting => finish::killed(&self.shared, attempt.key),
            Phase::Sent { runner, .. } => {
                if let Some(at) = self.shared.runners.get(runner.index) {
                    at.kill(runner.generation, attempt.key);
                }
            }
        }
    }

    /// Where an attempt runs; none: it waits, or is over.
    pub fn host_of(&self, id: &AttemptId) -> Option<Arc<str>> {
        self.shared.books.find(id)?.host()
    }

    /// Says what the attempts of a dag may have together, beside what holds for all dags.
    pub fn limit_dag(&self, dag_id: &DagId, own: DagLimits) {
        self.shared.ledgers.limit(dag_id, own);
    }

    /// Forgets a dag that was deleted.
    pub fn forget_dag(&self, dag_id: &DagId) {
        self.shared.ledgers.forget(dag_id);
    }

    /// Forgets what is remembered of an instance's result, because it was changed by hand.
    pub fn forget_result(&self, instance: &InstanceKey) {
        self.shared.results.forget(instance);
    }

    /// Deletes objects of attempts whose success does not count.
    pub fn discard(&self, blobs: Vec<String>) {
        self.shared.discard(blobs);
    }

    /// The logs of all attempts.
    pub fn logs(&self) -> &Logs {
        &self.shared.logs
    }

    /// Process ids of the runners that are up.
    pub fn runner_pids(&self) -> Vec<u32> {
        self.shared.runners.all().iter().filter_map(|runner| runner.pid()).collect()
    }

    /// Ends all attempts as `Lost`, stores what is left of the logs, and ends the children.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.closing.cancel();
        for attempt in shared.books.all() {
            finish::lost(shared, attempt.key, None);
        }
        shared.logs.close();
        shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT * 2, shared.tasks.wait()).await.is_err() {
            tracing::warn!("some work for attempts did not end in time");
        }
    }
}

impl Shared {
    /// Tells the scheduler. The order of what is told of different attempts does not matter, so that a full channel is waited
    /// for aside.
    fn tell(&self, event: ExecutorEvent) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            let events = self.events.clone();
            self.tasks.spawn(async move {
                // The scheduler is gone: it will find what it was not told when it is back.
                let _ = events.send(event).await;
            });
        }
    }

    fn new(
        config: ExecutorConfig,
        blobs: Blobs,
        vault: Vault,
        events: mpsc::Sender<ExecutorEvent>,
    ) -> Result<Self, ExecutorError> {
        let store = vault.store().clone();
        let cache = CodeCache::open(&config.data_dir)
            .map_err(|source| ExecutorError::Cache { path: config.data_dir.join("compiled"), source })?;
        let binary = match &config.binary {
            Some(binary) => binary.clone(),
            None => own_binary().map_err(ExecutorError::Binary)?,
        };
        let compiler = Compiler::new(binary.clone(), config.compile_timeout, config.compilers);
        let count = config.runners;
        // Some to spare: a killed attempt holds its slot until it has ended, while its successor may start.
        let slots = config.parallelism.div_ceil(count.max(1)) + config.parallelism / 16 + 4;
        let local = |index| Arc::new(Runner::new(index, Arc::clone(&config.hostname), slots, config.queues.clone()));
        let books = Arc::new(Books::default());
        let logs = Logs::new(store.clone(), blobs.clone(), Arc::clone(&books));
        let lookups = Lookups::default();
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self {
            egress: Egress::new(config.egress_allow_private, &lookups).map_err(ExecutorError::Egress)?,
            databases: Databases::new(config.databases.clone(), lookups.clone(), tasks.clone(), closing.clone()),
            lookups,
            probes: Probes::default(),
            connections: Connections::new(vault.clone()),
            denials: Denials::default(),
            durations: Durations::default(),
            ledgers: Ledgers::new(config.dag_limits),
            binary,
            store,
            blobs,
            vault,
            events,
            books,
            runners: Runners::new((0..count as usize).map(local).collect()),
            fleets: Fleets::default(),
            results: Results::new(),
            recordings: Held::default(),
            logs,
            code: Code::new(cache, compiler),
            inbound: Budget::new(VALUES_MIB),
            inbound_of_workers: Budget::new(VALUES_MIB),
            outbound: Budget::new(VALUES_MIB),
            request_bodies: Budget::new(REQUEST_BODIES_MIB),
            writers: Arc::new(Semaphore::new(MAX_WRITERS)),
            tasks,
            closing,
            config,
        })
    }

    /// The span of an attempt, for whatever it calls.
    fn traceparent(&self, id: &AttemptId) -> Option<String> {
        self.config.telemetry.traces.traceparent(&TryId {
            dag_run: id.instance.dag_run.0,
            task_id: &id.instance.task_id,
            map_index: id.instance.map_index,
            try_number: id.try_number,
            restart: id.restart,
        })
    }

    /// What records the attempt, if it is to be.
    fn recorder(&self, assignment: &Assignment) -> Option<Recorder> {
        let Assignment { dag, node, .. } = assignment;
        let which = dag.node(*node).record.or(dag.record).unwrap_or(self.config.record);
        Recorder::new(which, self.config.max_recording_bytes, &self.recordings)
    }

    /// Gets an attempt's inputs and hands it to a runner.
    fn prepare(self: &Arc<Self>, attempt: &Arc<Attempt>) {
        if let Some(why) = &attempt.assignment.refused {
            return finish::not_started(self, attempt.key, false, why.clone());
        }
        if let Some(ledger) = &attempt.ledger {
            if !ledger.is_loaded() {
                return self.prepare_later(attempt, ledger);
            }
            if let Err(over) = ledger.admit() {
                return finish::not_started(self, attempt.key, true, format!("it can't start: its dag used {over}"));
            }
        }
        // What may be in the cache has to be looked for.
        let has_cache = attempt.node().cache.is_some();
        if !has_cache && let Some(inputs) = inputs::resolve_now(self, &attempt.assignment) {
            return self.start(attempt, inputs);
        }
        let (shared, attempt) = (Arc::clone(self), Arc::clone(attempt));
        self.tasks.spawn(async move {
            let inputs = match inputs::resolve(&shared, &attempt.assignment).await {
                Ok(inputs) if attempt.node().has_templates() => rendered::fill(&shared, &attempt, inputs).await,
                inputs => inputs,
            };
            if has_cache
                && let Ok(inputs) = &inputs
                && let Some(taken) = cached::find(&shared, &attempt, &inputs.inputs).await
            {
                return finish::taken(&shared, attempt.key, taken);
            }
            shared.start(&attempt, inputs);
        });
    }

    /// Prepares an attempt when it is known what its dag has had today.
    fn prepare_later(self: &Arc<Self>, attempt: &Arc<Attempt>, ledger: &Arc<Ledger>) {
        let (shared, attempt, ledger) = (Arc::clone(self), Arc::clone(attempt), Arc::clone(ledger));
        self.tasks.spawn(async move {
            let mut delays = finish::RETRY_DELAYS.iter();
            while let Err(error) = ledger.load(&shared.store).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "what a dag had today can't be read");
                let Some(delay) = delays.next() else {
                    let why = "what its dag had today can't be read: the database can't be used just now";
                    return finish::not_started(&shared, attempt.key, true, why.to_owned());
                };
                tokio::time::sleep(*delay).await;
            }
            shared.prepare(&attempt);
        });
    }

    fn start(self: &Arc<Self>, attempt: &Arc<Attempt>, inputs: Result<Inputs, InputError>) {
        let Inputs { inputs, memory } = match inputs {
            Ok(inputs) => inputs,
            Err(error) => return finish::not_started(self, attempt.key, error.retry, error.message),
        };
        let Assignment { id, dag, grants, run, component, max_tries, started_at, .. } = &attempt.assignment;
        let node = attempt.node();
        let run = RunAttempt {
            attempt: attempt.key,
            component: *component,
            entry: node.entry.to_string(),
            instance: Instance {
                dag_id: run.dag_id.to_string(),
                run_id: run.run_id.to_string(),
                task_id: id.instance.task_id.to_string(),
                map_index: id.instance.map_index,
                try_number: id.try_number,
                max_tries: *max_tries,
                started_at: *started_at,
                logical_date: run.logical_date,
                data_interval_start: run.data_interval.map(|interval| interval.start),
                data_interval_end: run.data_interval.map(|interval| interval.end),
                run_after: run.run_after,
                next_run_after: run.next_run_after,
                timezone: dag.timetable.timezone.name().to_owned(),
                params: run.params.to_string(),
                traceparent: self.traceparent(id),
            },
            inputs,
            limits: Limits {
                memory_bytes: grants.memory_bytes(),
                timeout_ms: node.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
                log_bytes: MAX_LOG_BYTES,
                host_calls: MAX_HOST_CALLS,
            },
            tape: attempt.recorder.as_ref().map_or(TapeMode::Off, Recorder::tape_mode),
        };
        if let Some(recorder) = &attempt.recorder {
            recorder.begin(&run);
        }
        let ready = Ready { attempt: Arc::clone(attempt), run: Box::new(run), memory };
        self.place(ready);
    }

    /// Deletes objects that no row names, or that may be there: now, or else with the garbage, when storage can be used again.
    fn discard(&self, blobs: Vec<String>) {
        if blobs.is_empty() {
            return;
        }
        let (storage, store) = (self.blobs.clone(), self.store.clone());
        self.tasks.spawn(async move {
            if storage.delete_many(&blobs).await.is_ok() {
                return;
            }
            if let Err(error) = store.garbage_add(&blobs).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "objects that nobody needs were left behind");
            }
        });
    }
}
