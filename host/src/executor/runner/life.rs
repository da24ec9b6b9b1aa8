//! A runner's process, from its start to its end: what is heard from it, and when it counts as lost.

use std::{
    io,
    path::Path,
    pin::pin,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _,
    future::{Fuse, FusedFuture as _},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::MissedTickBehavior,
};

use super::Runner;
use crate::{
    executor::{
        Shared,
        books::RunnerId,
        calls::{self, Memory},
        egress::shorten,
        finish,
        outbox::{self, Outbox},
    },
    model::limits::Resource,
    wire::{AttemptKey, Call, FrameError, FrameReader, FrameWriter, FromRunner, MAX_FRAME_BYTES, ToRunner},
};

/// How long a runner may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// What a runner gets on top of an attempt's own limit, or after a kill, before it counts as stuck.
const GRACE: Duration = Duration::from_secs(15);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A runner that lived so long was not broken from the start.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// How long its first frame may be.
const MAX_READY_BYTES: usize = 16;
/// So much of a frame is a sign of life: less than that within its patience is a line too slow for frames so large, or somebody who wants to
/// keep the room of one.
const PACE_BYTES: u64 = 4 << 20;
/// A runner's own words that are logged in its life.
const MAX_STDERR_BYTES: u64 = 64 << 10;

/// Keeps a process up until the executor closes.
pub(in crate::executor) async fn keep(shared: Arc<Shared>, runner: Arc<Runner>) {
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
pub(in crate::executor) enum RunnerError {
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
pub(in crate::executor) fn start(
    binary: &Path,
    slots: u32,
    threads: Option<u32>,
) -> io::Result<(Child, ChildStdout, ChildStdin)> {
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
pub(in crate::executor) async fn serve<R: tokio::io::AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    runner: &Arc<Runner>,
    generation: u64,
    outbox: Outbox,
    mut frames: FrameReader<R>,
) -> Result<(), RunnerError> {
    frames.limit(MAX_READY_BYTES);
    match tokio::time::timeout(START_TIMEOUT, frames.next::<FromRunner>()).await {
        Ok(first) => match first? {
            Some(FromRunner::Ready) => {}
            Some(_) => return Err(RunnerError::Protocol),
            None => return Err(RunnerError::Ended("it closed its stream".into())),
        },
        Err(_) => return Err(RunnerError::NotReady),
    }
    frames.limit(MAX_FRAME_BYTES);
    runner.up(shared, outbox.clone(), generation);
    let id = RunnerId { index: runner.index, generation };
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::heard_now(frames.came());
    // So that workers, whose lines may be slow, do not hold up what is here.
    let budget = if runner.worker.is_some() { &shared.inbound_of_workers } else { &shared.inbound };
    // What the next frame takes, from when its head is there.
    let mut memory = None;
    let mut reserving = pin!(Fuse::terminated());
    loop {
        while reserving.is_terminated()
            && outbox.has_room()
            && let Some(length) = frames.head()?
        {
            if memory.is_none() {
                let Ok(reserved) = budget.try_reserve(length as u64) else {
                    reserving.set(budget.reserve(length as u64).fuse());
                    break;
                };
                memory = Some(reserved);
            }
            let Some(frame) = frames.buffered()? else { break };
            take(shared, runner, id, &outbox, frame, memory.take().flatten())?;
            watch = Watch::heard_now(frames.came());
        }
        let waits_for_us = !reserving.is_terminated();
        tokio::select! {
            // What was said comes first, so that silence is the runner's and not ours.
            biased;
            more = frames.read(), if !waits_for_us && outbox.has_room() => {
                if !more? {
                    return Err(RunnerError::Ended("it closed its stream".into()));
                }
                watch.hears(frames.came());
            }
            reserved = &mut reserving, if waits_for_us => memory = Some(reserved),
            () = outbox.room(), if !outbox.has_room() => {}
            _ = tick.tick() => {
                if waits_for_us {
                    watch = Watch::heard_now(frames.came());
                }
                watch.check(shared, runner, id, &outbox)?;
            }
            () = shared.closing.cancelled() => return Ok(()),
        }
    }
}

/// Notices a runner that is stuck.
struct Watch {
    heard: Instant,
    /// Bytes that had come by then.
    came: u64,
    /// When it was asked for a sign of life.
    asked: Option<Instant>,
}

impl Watch {
    fn heard_now(came: u64) -> Self {
        Self { heard: Instant::now(), came, asked: None }
    }

    /// A large frame that takes its time is no silence, as long as it comes at some pace.
    fn hears(&mut self, came: u64) {
        if came - self.came >= PACE_BYTES {
            *self = Self::heard_now(came);
        }
    }

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

/// One frame, and the memory that it takes.
fn take(
    shared: &Arc<Shared>,
    runner: &Arc<Runner>,
    id: RunnerId,
    outbox: &Outbox,
    frame: FromRunner,
    memory: Memory,
) -> Result<(), RunnerError> {
    // A runner speaks for the attempts that were sent to it, and for no other.
    let find = |key| shared.books.get(key).filter(|attempt| attempt.is_at(id));
    match frame {
        FromRunner::Ready => return Err(RunnerError::Protocol),
        FromRunner::Pong => {}
        FromRunner::LoadFailed { component, message } => runner.load_failed(shared, component, &shorten(&message)),
        FromRunner::Call { attempt, call, request } => {
            let Some(attempt) = find(attempt) else { return Ok(()) };
            // Bodies of requests are long under way, and have a budget of their own.
            let memory = memory.filter(|_| !matches!(request, Call::HttpRequest { .. }));
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
            finish::done(shared, &attempt, end, usage, memory);
        }
    }
    Ok(())
}

/// Passes a runner's own words on to our log.
pub(in crate::executor) async fn repeat(index: usize, stderr: ChildStderr) {
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
