//! An attempt as its store, the reader of frames and the timer of its log see it: calls under way, log, and how it is stopped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tokio::sync::{Notify, mpsc, oneshot};
use wasmtime::{Result, bail, format_err};

use super::{
    log::{Flusher, Log},
    tape::Tape,
};
use crate::wire::{AttemptEnd, AttemptKey, Call, CallError, CallKey, FromRunner, Limits, Reply};

/// What is shared of an attempt.
pub struct Attempt {
    pub key: AttemptKey,
    /// Where frames go. None: `describe` runs, nobody is there to be asked.
    outgoing: Option<Outgoing>,
    calls: Mutex<Calls>,
    host_calls: u64,
    log: Log,
    /// None: the guest sees time and chance as they are, and nobody writes it down.
    tape: Option<Arc<Tape>>,
    stop: OnceLock<AttemptEnd>,
    stopped: Notify,
}

/// The way to the supervisor.
#[derive(Clone)]
pub struct Outgoing {
    pub frames: mpsc::Sender<FromRunner>,
    pub flusher: Flusher,
}

#[derive(Default)]
struct Calls {
    made: u64,
    waiting: HashMap<CallKey, oneshot::Sender<Answer>>,
}

type Answer = Result<Reply, CallError>;

impl Attempt {
    pub fn new(key: AttemptKey, limits: &Limits, tape: Option<Arc<Tape>>, outgoing: Option<Outgoing>) -> Self {
        Self {
            key,
            outgoing,
            calls: Mutex::default(),
            host_calls: limits.host_calls,
            log: Log::new(limits.log_bytes, tape.clone()),
            tape,
            stop: OnceLock::new(),
            stopped: Notify::new(),
        }
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn tape(&self) -> Option<&Arc<Tape>> {
        self.tape.as_ref()
    }

    /// Asks the supervisor and waits for its answer.
    ///
    /// # Errors
    /// Traps the guest: it has made more calls than it may, or the supervisor is gone.
    pub async fn call(&self, request: Call) -> Result<Answer> {
        let Some(outgoing) = &self.outgoing else {
            return Ok(Err(CallError::Denied("`describe` runs without any grant; ask for it in `run`".to_owned())));
        };
        // What the supervisor says of the call stands below what the guest said before it.
        self.flush_log().await;
        let (answer, answered) = oneshot::channel();
        let permit = outgoing.frames.reserve().await.map_err(|_| gone())?;
        {
            let mut calls = lock(&self.calls);
            let call = self.count(&mut calls)?;
            calls.waiting.insert(call, answer);
            permit.send(FromRunner::Call { attempt: self.key, call, request });
        }
        answered.await.map_err(|_| gone())
    }

    /// Tells the supervisor that the guest dropped a stream. Never waits for long: a full channel drops the message, and
    /// the supervisor closes the stream when the attempt ends.
    pub fn tell(&self, request: Call) {
        let Some(outgoing) = &self.outgoing else { return };
        if let Ok(permit) = outgoing.frames.try_reserve() {
            let mut calls = lock(&self.calls);
            if let Ok(call) = self.count(&mut calls) {
                permit.send(FromRunner::Call { attempt: self.key, call, request });
            }
        }
    }

    fn count(&self, calls: &mut Calls) -> Result<CallKey> {
        if calls.made >= self.host_calls {
            let error = format!("the task made more than its limit of {} host calls", self.host_calls);
            self.stop(AttemptEnd::Trapped { message: error.clone(), backtrace: Vec::new() });
            bail!("{error}");
        }
        let key = u32::try_from(calls.made).map_err(|_| format_err!("the task made too many host calls"))?;
        calls.made += 1;
        Ok(CallKey(key))
    }

    /// Hands an answer to the call that waits for it, if it still does.
    pub fn answer(&self, call: CallKey, answer: Answer) {
        let waiting = lock(&self.calls).waiting.remove(&call);
        if let Some(waiting) = waiting {
            // An error means that the guest stopped waiting.
            let _ = waiting.send(answer);
        }
    }

    /// Ends the attempt from outside its guest; the first reason counts.
    pub fn stop(&self, end: AttemptEnd) {
        if self.stop.set(end).is_ok() {
            self.stopped.notify_one();
        }
    }

    /// Waits until the attempt is to be stopped, for one waiter.
    pub async fn stopped(&self) -> AttemptEnd {
        loop {
            if let Some(end) = self.stop.get() {
                return end.clone();
            }
            self.stopped.notified().await;
        }
    }

    /// Sends the lines that wait, when the channel has room for them.
    pub async fn flush_log(&self) {
        if let Some(outgoing) = &self.outgoing {
            if self.log.is_empty() {
                return;
            }
            if let Ok(permit) = outgoing.frames.reserve().await {
                self.log.take(|lines| permit.send(FromRunner::Log { attempt: self.key, lines }));
            }
        } else {
            self.log.take(drop);
        }
    }

    /// Whoever adds lines calls this after it: has them sent now if they are many, or soon.
    pub async fn lines_added(self: &Arc<Self>) {
        if self.log.is_full() {
            self.flush_log().await;
        } else {
            self.flush_log_soon();
        }
    }

    /// Has the lines that wait sent within [`log::DELAY`](super::log::DELAY).
    pub fn flush_log_soon(self: &Arc<Self>) {
        if let Some(outgoing) = &self.outgoing
            && self.log.wants_timer()
        {
            outgoing.flusher.add(self.clone());
        }
    }
}

fn gone() -> wasmtime::Error {
    format_err!("the supervisor is gone")
}

/// Locks, also after a panic of another holder: what these locks guard is whole between any two statements.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
