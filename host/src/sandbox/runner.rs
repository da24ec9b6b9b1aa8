//! The runner child: reads frames, starts attempts, answers with frames. The protocol stands in [the room's page](super).

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    os::fd::AsFd,
    panic::AssertUnwindSafe,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{net::unix::pipe, sync::mpsc};
use tokio_util::task::TaskTracker;
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use super::{
    attempt::{Attempt, Outgoing, lock},
    bindings::{Task, TaskPre, exports::airlock::task::runner as wit},
    confine, engine,
    failure::{self, Failure},
    guest::{self, Denied, Guest},
    imports,
    log::Flusher,
    meter::Meter,
    tape::Tape,
    ticker::Ticker,
};
use crate::{
    model::{
        ids::{AssetName, Digest},
        time::Timestamp,
        wait::Wait,
    },
    wire::{
        AttemptEnd, AttemptKey, FrameError, FrameReader, FrameWriter, FromRunner, Input, Instance, RunAttempt,
        ToRunner, Usage, Value,
    },
};

/// Frames that wait to be written. When they are so many, guests wait.
const QUEUE_FRAMES: usize = 512;

/// Bytes that are written at once, if so many wait.
const WRITE_BYTES: usize = 256 << 10;

/// Kernel mappings that a live instance takes, and how many the process may leave for all else.
const MAPPINGS_OF_SLOT: u32 = 7;
const MAPPINGS_OF_PROCESS: u32 = 2_000;

/// Runs until the supervisor closes its end.
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("airlock run-child: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: impl IntoIterator<Item = String>) -> Result<(), Box<dyn std::error::Error>> {
    let mut args = args.into_iter();
    let slots: u32 = args.next().ok_or("the number of slots is missing")?.parse()?;
    let threads = match args.next() {
        Some(threads) => threads.parse::<NonZero<usize>>()?,
        None => std::thread::available_parallelism()?,
    };

    let limits = confine::Limits { cpu_s: None, memory_bytes: None, open_files: 4_096, nice: 5 };
    let mut notes = confine::limit(&limits);
    let slots = within_mappings(slots, &mut notes);
    let (engine, no_pool) = engine::engine(slots)?;
    notes.extend(no_pool);
    let linker = imports::linker(&engine)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.get())
        .max_blocking_threads(4)
        // Sockets and timers are looked at between guests, not after 61 of them.
        .event_interval(8)
        .enable_all()
        .build()?;
    let ticker = Ticker::start(engine.clone(), threads.get())?;
    let (from, to) = {
        let _runtime = runtime.enter();
        let from = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        (from, pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?)
    };
    notes.extend(confine::seal());
    for note in notes {
        eprintln!("airlock run-child: {note}");
    }
    runtime.block_on(serve(from, to, engine, linker, ticker, slots))?;
    // What still runs is of no use to anyone, and may not come to an end.
    std::process::exit(0)
}

/// At most as many slots as the kernel has mappings for: `vm.max_map_count`.
fn within_mappings(slots: u32, notes: &mut Vec<String>) -> u32 {
    let Some(most) = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .map(|mappings| (mappings.saturating_sub(MAPPINGS_OF_PROCESS) / MAPPINGS_OF_SLOT).max(1))
    else {
        return slots.max(1);
    };
    if slots > most {
        notes.push(format!("{slots} slots are more than the kernel's vm.max_map_count has room for; taking {most}"));
    }
    slots.clamp(1, most)
}

/// What the runner's tasks share.
struct Runner {
    engine: Engine,
    ticker: Ticker,
    slots: u32,
    live: AtomicU32,
    attempts: Mutex<HashMap<AttemptKey, Arc<Attempt>>>,
    outgoing: Outgoing,
}

async fn serve(
    from: pipe::Receiver,
    to: pipe::Sender,
    engine: Engine,
    linker: Linker<Guest>,
    ticker: Ticker,
    slots: u32,
) -> Result<(), FrameError> {
    let (frames, queue) = mpsc::channel(QUEUE_FRAMES);
    let outgoing = Outgoing { frames, flusher: Flusher::default() };
    let flusher = outgoing.flusher.clone();
    let runner =
        Arc::new(Runner { engine, ticker, slots, live: AtomicU32::new(0), attempts: Mutex::default(), outgoing });
    // On the workers, like all else: `block_on`'s own thread is one more to wake for each frame.
    let tasks = TaskTracker::new();
    tasks.spawn(flusher.run());
    let write = tasks.spawn(write(to, queue));
    let mut read = tasks.spawn(read(from, linker, runner, tasks.clone()));
    let over =
        |ended: Result<_, tokio::task::JoinError>| ended.unwrap_or_else(|panic| Err(io::Error::other(panic).into()));
    tokio::select! {
        ended = &mut read => over(ended),
        ended = write => {
            over(ended)?;
            // Nobody writes any more, for reading is at its end: how that came tells how this ends.
            over(read.await)
        }
    }
}

/// Writes what waits, as much at a time as there is.
async fn write(to: pipe::Sender, mut queue: mpsc::Receiver<FromRunner>) -> Result<(), FrameError> {
    let mut writer = FrameWriter::new(to);
    writer.push(&FromRunner::Ready)?;
    writer.flush().await?;
    let mut frames = Vec::with_capacity(QUEUE_FRAMES);
    while queue.recv_many(&mut frames, QUEUE_FRAMES).await > 0 {
        for frame in frames.drain(..) {
            // Never too large: see `guest::MAX_HOSTCALL_BYTES`.
            writer.push(&frame)?;
            if writer.pending_bytes() >= WRITE_BYTES {
                writer.flush().await?;
            }
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn read(
    from: pipe::Receiver,
    linker: Linker<Guest>,
    runner: Arc<Runner>,
    tasks: TaskTracker,
) -> Result<(), FrameError> {
    let mut components: HashMap<Digest, TaskPre<Guest>> = HashMap::new();
    let mut reader = FrameReader::new(from);
    // Not sent from here: who reads may wait for nothing, or both sides could.
    let say = |frame| {
        let frames = runner.outgoing.frames.clone();
        tasks.spawn(async move { frames.send(frame).await });
    };
    while let Some(frame) = reader.next::<ToRunner>().await? {
        match frame {
            ToRunner::Load { component, code } => match load(&runner.engine, &linker, &code) {
                Ok(loaded) => drop(components.insert(component, loaded)),
                Err(error) => say(FromRunner::LoadFailed { component, message: format!("{error:#}") }),
            },
            ToRunner::Ping => say(FromRunner::Pong),
            ToRunner::Unload { component } => drop(components.remove(&component)),
            ToRunner::Run(run) => runner.begin(&tasks, &components, *run, None),
            ToRunner::RunMetered(run) => {
                let meter = Meter::new(run.attempt, runner.outgoing.frames.clone());
                runner.begin(&tasks, &components, *run, Some(Arc::new(meter)));
            }
            ToRunner::Reply { attempt, call, reply } => {
                let attempt = lock(&runner.attempts).get(&attempt).cloned();
                if let Some(attempt) = attempt {
                    attempt.answer(call, reply);
                }
            }
            ToRunner::Kill { attempt } => {
                if let Some(attempt) = lock(&runner.attempts).get(&attempt) {
                    attempt.stop(AttemptEnd::Killed);
                }
            }
        }
    }
    Ok(())
}

fn load(engine: &Engine, linker: &Linker<Guest>, code: &[u8]) -> wasmtime::Result<TaskPre<Guest>> {
    #[expect(
        unsafe_code,
        reason = "compiled code can only be loaded so; the supervisor has authenticated it as what a compiler child made"
    )]
    // SAFETY: see the reason above; code for another engine or version is refused by wasmtime.
    let component = unsafe { Component::deserialize(engine, code)? };
    TaskPre::new(linker.instantiate_pre(&component)?)
}

impl Runner {
    /// Has one attempt run.
    fn begin(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        components: &HashMap<Digest, TaskPre<Guest>>,
        run: RunAttempt,
        meter: Option<Arc<Meter>>,
    ) {
        let component = components.get(&run.component).cloned();
        let tape = Tape::new(&run.tape);
        let attempt = Arc::new(Attempt::new(run.attempt, &run.limits, tape, Some(self.outgoing.clone())));
        lock(&self.attempts).insert(run.attempt, attempt.clone());
        tasks.spawn(self.clone().attempt(attempt, component, run, meter));
    }

    /// Runs one attempt and tells its end, whatever happens.
    async fn attempt(
        self: Arc<Self>,
        attempt: Arc<Attempt>,
        component: Option<TaskPre<Guest>>,
        run: RunAttempt,
        meter: Option<Arc<Meter>>,
    ) {
        let begin = Instant::now();
        let (end, memory_bytes) = if self.live.fetch_add(1, Ordering::Relaxed) >= self.slots {
            (AttemptEnd::NotRun(format!("the runner has no more than {} slots", self.slots)), 0)
        } else if let Some(component) = component {
            AssertUnwindSafe(self.run(&attempt, component, run, meter.clone())).catch_unwind().await.unwrap_or_else(
                |_| {
                    let message = "the sandbox failed in itself; this is a bug of airlock".to_owned();
                    (AttemptEnd::Trapped { message, backtrace: Vec::new() }, 0)
                },
            )
        } else {
            (AttemptEnd::NotRun(format!("component {} is not loaded", run.component)), 0)
        };
        self.live.fetch_sub(1, Ordering::Relaxed);
        lock(&self.attempts).remove(&attempt.key);

        attempt.log().end();
        attempt.flush_log().await;
        let usage = Usage {
            wall_us: u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX),
            memory_bytes,
            log_bytes_dropped: attempt.log().dropped_bytes(),
        };
        if let Some(tape) = attempt.tape().filter(|tape| tape.is_recorded()) {
            let frame = FromRunner::Tape { attempt: attempt.key, tape: tape.finish() };
            let _ = self.outgoing.frames.send(frame).await;
        }
        if let Some(meter) = meter {
            let _ = self.outgoing.frames.send(meter.told()).await;
        }
        // An error means that the supervisor is gone, and soon this process is.
        let _ = self.outgoing.frames.send(FromRunner::Done { attempt: attempt.key, end, usage }).await;
    }

    /// Runs the guest until it ends or is stopped; its store is gone after it.
    async fn run(
        &self,
        attempt: &Arc<Attempt>,
        component: TaskPre<Guest>,
        run: RunAttempt,
        meter: Option<Arc<Meter>>,
    ) -> (AttemptEnd, u64) {
        let limits = run.limits;
        let mut store = guest::store(&self.engine, attempt.clone(), limits.memory_bytes, || Ok(()));
        let result = {
            let guest = self.ticker.watch(call(&mut store, &component, run), meter);
            let timeout = async {
                match limits.timeout_ms {
                    Some(limit_ms) => {
                        tokio::time::sleep(Duration::from_millis(limit_ms)).await;
                        AttemptEnd::TimedOut { limit_ms }
                    }
                    None => std::future::pending().await,
                }
            };
            // The guest first: most end at once, and then no timer is set.
            tokio::select! {
                biased;
                result = guest => result,
                end = attempt.stopped() => Ok(end),
                end = timeout => Ok(end),
            }
        };
        let end = result.unwrap_or_else(|error| {
            if failure::is_no_room(&error) {
                return AttemptEnd::NotRun(format!("the runner has no room: {error:#}"));
            }
            let Failure { mut message, backtrace } = failure::explain(&error, &store);
            if let Some(Denied::Memory { .. }) = store.data().limiter.denied {
                message.push_str(
                    "; its dag asks for more by `memory = \"1GiB\"`, in YAML by `grants: {memory_mib: 1024}`",
                );
            }
            AttemptEnd::Trapped { message, backtrace }
        });
        (end, store.data().limiter.peak as u64)
    }
}

/// One call of `run`.
async fn call(
    store: &mut wasmtime::Store<Guest>,
    component: &TaskPre<Guest>,
    run: RunAttempt,
) -> wasmtime::Result<AttemptEnd> {
    let task: Task = component.instantiate_async(&mut *store).await?;
    let instance = instance(run.instance);
    let inputs: Vec<_> = run.inputs.into_iter().map(input).collect();
    let outcome = task.airlock_task_runner().call_run(&mut *store, &run.entry, &instance, &inputs).await?;
    Ok(match outcome {
        Ok(wit::Outcome::Success(value)) => AttemptEnd::Success(value.map(Value::from)),
        Ok(wit::Outcome::Skipped(reason)) => AttemptEnd::Skipped(reason),
        Ok(wit::Outcome::Branch(task_ids)) => AttemptEnd::Branch(task_ids),
        Ok(wit::Outcome::ShortCircuit(all)) => AttemptEnd::ShortCircuit { all },
        Ok(wit::Outcome::Later(wit::Wake::At(at))) => AttemptEnd::Later(Timestamp::from_micros(at)),
        Ok(wit::Outcome::Later(wit::Wake::Run((condition, until)))) => match imports::dags::run_wait(condition) {
            Ok(wait) => AttemptEnd::Wait(Wait::Run(wait), Timestamp::from_micros(until)),
            Err(error) => AttemptEnd::Fatal(error.to_string()),
        },
        Ok(wit::Outcome::Later(wit::Wake::Asset((asset, since, until)))) => match AssetName::new(&asset) {
            Ok(asset) => {
                let since = Timestamp::from_micros(since);
                AttemptEnd::Wait(Wait::Asset { asset, since }, Timestamp::from_micros(until))
            }
            Err(error) => AttemptEnd::Fatal(error.to_string()),
        },
        Ok(wit::Outcome::Later(wit::Wake::Approval((question, until)))) => {
            match imports::approvals::question(question) {
                Ok(question) => AttemptEnd::Wait(Wait::Approval(Box::new(question)), Timestamp::from_micros(until)),
                Err(error) => AttemptEnd::Fatal(format!("the question can't be asked: {error}")),
            }
        }
        Err(wit::Failure::Retryable(message)) => AttemptEnd::Retryable(message),
        Err(wit::Failure::Fatal(message)) => AttemptEnd::Fatal(message),
    })
}

fn instance(instance: Instance) -> wit::Instance {
    let micros = |instant: Option<Timestamp>| instant.map(Timestamp::as_micros);
    wit::Instance {
        dag_id: instance.dag_id,
        run_id: instance.run_id,
        task_id: instance.task_id,
        map_index: instance.map_index,
        try_number: instance.try_number,
        max_tries: instance.max_tries,
        started_at: instance.started_at.as_micros(),
        logical_date: micros(instance.logical_date),
        data_interval_start: micros(instance.data_interval_start),
        data_interval_end: micros(instance.data_interval_end),
        run_after: instance.run_after.as_micros(),
        next_run_after: micros(instance.next_run_after),
        timezone: instance.timezone,
        params: instance.params,
        traceparent: instance.traceparent,
    }
}

fn input(input: Input) -> wit::Input {
    wit::Input { name: input.name, value: input.value.map(Into::into) }
}
