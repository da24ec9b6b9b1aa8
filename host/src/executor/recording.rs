//! Recordings: all that an attempt saw of the world, so that it can be run again elsewhere.
//!
//! The supervisor writes down what it was asked and what it answered; time and chance come from the runner
//! ([`Tape`](crate::wire::Tape)). What an attempt only gave away - XComs, artifacts - is not kept. A recording is in memory
//! until the attempt ends, for only then are all its secrets known, which are taken out before it is stored ([`hide`]).

mod file;
mod hide;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

pub use self::file::RecordingError;
pub(super) use self::hide::{mask_end, mask_request};
use crate::{
    model::recording::Recording as Which,
    secrets::Masker,
    wire::{
        AttemptEnd, Call, CallError, CallKey, MAX_FRAME_BYTES, MAX_NUMBERS, Reply, RunAttempt, Tape, TapeMode, Value,
    },
};

/// What recordings of attempts that are under way may take in all.
const MAX_HELD_BYTES: u64 = 512 << 20;

/// What a tape may take: it travels in one frame.
const MAX_TAPE_BYTES: u64 = MAX_FRAME_BYTES as u64 / 4;
/// What is counted for a call beside what it says, and for each number, text and list of that: written they take a byte or two.
const CALL_BYTES: u64 = size_of::<RecordedCall>() as u64;
const PIECE_BYTES: u64 = 24;
// A reading counts as 8 bytes.
const _: () = assert!(MAX_TAPE_BYTES / 8 + 64 < MAX_NUMBERS as u64);

/// One attempt, as it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recording {
    /// What the runner was told.
    pub run: RunAttempt,
    /// In the order in which they were asked.
    pub calls: Vec<RecordedCall>,
    pub tape: Tape,
    pub end: AttemptEnd,
}

/// What an attempt asked of its host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedCall {
    /// Without the bytes that it only gave away.
    pub request: Call,
    /// None: the attempt was ended before it was answered.
    pub reply: Option<Result<Reply, CallError>>,
}

impl Recording {
    /// The bytes that are stored, with nothing in them that `masker` knows.
    ///
    /// # Errors
    /// If it can't be written.
    pub(super) fn into_bytes(mut self, masker: &Masker) -> Result<Vec<u8>, RecordingError> {
        hide::hide(&mut self, masker);
        file::write(&self)
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// If `bytes` are damaged, or were written by another version of Airlock.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RecordingError> {
        file::read(bytes)
    }
}

/// Counts what all recordings hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<AtomicU64>);

/// Writes down one attempt.
#[derive(Debug)]
pub(super) struct Recorder {
    which: Which,
    max_bytes: u64,
    held: Held,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    run: Option<Box<RunAttempt>>,
    calls: Vec<RecordedCall>,
    /// Calls that are not answered: their places in `calls`.
    open: HashMap<CallKey, usize>,
    tape: Option<Box<Tape>>,
    end: Option<AttemptEnd>,
    bytes: u64,
    /// Why nothing more is written down, and nothing kept.
    dropped: Option<Dropped>,
}

/// Why there is no recording of an attempt that was to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    TooLarge { max_bytes: u64 },
    NoMemory,
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { max_bytes } => {
                write!(f, "the recording is larger than {} KiB and was dropped (recording.max_bytes)", max_bytes >> 10)
            }
            Self::NoMemory => f.write_str("the recording was dropped: too many attempts are being recorded just now"),
        }
    }
}

impl Recorder {
    /// None: nothing is to be recorded.
    pub fn new(which: Which, max_bytes: u64, held: &Held) -> Option<Self> {
        (which != Which::Off).then(|| Self { which, max_bytes, held: held.clone(), state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What the runner is to write down.
    pub fn tape_mode(&self) -> TapeMode {
        TapeMode::Record { max_bytes: self.max_bytes.min(MAX_TAPE_BYTES) }
    }

    /// An attempt begins, or begins once more because no runner ran it.
    pub fn begin(&self, run: &RunAttempt) {
        let mut state = self.state();
        self.forget(&mut state, None);
        if self.takes(&mut state, in_memory(run)) {
            state.run = Some(Box::new(RunAttempt { tape: TapeMode::Off, ..run.clone() }));
        }
    }

    /// The attempt asks something.
    pub fn asked(&self, call: CallKey, request: &Call) {
        let mut state = self.state();
        if matches!(request, Call::StreamDrop { .. }) || state.dropped.is_some() {
            return;
        }
        let request = without_gifts(request);
        if self.takes(&mut state, in_memory(&request).saturating_add(CALL_BYTES)) {
            let place = state.calls.len();
            state.calls.push(RecordedCall { request, reply: None });
            state.open.insert(call, place);
        }
    }

    /// It is answered.
    pub fn answered(&self, call: CallKey, reply: &Result<Reply, CallError>) {
        let mut state = self.state();
        let Some(place) = state.open.remove(&call) else { return };
        if self.takes(&mut state, in_memory(reply)) {
            state.calls[place].reply = Some(reply.clone());
        }
    }

    /// The runner's part; none if it was too large.
    pub fn tape(&self, tape: Option<Box<Tape>>) {
        let mut state = self.state();
        let Some(tape) = tape else {
            return self.forget(&mut state, Some(Dropped::TooLarge { max_bytes: self.max_bytes }));
        };
        if self.takes(&mut state, of_tape(&tape)) {
            state.tape = Some(tape);
        }
    }

    /// How it ended, as its runner saw it.
    pub fn ended(&self, end: &AttemptEnd) {
        let mut state = self.state();
        if self.takes(&mut state, in_memory(end)) {
            state.end = Some(end.clone());
        }
    }

    /// The recording of an attempt that is over, if it is to be kept; none if the attempt never ran to an end.
    pub fn finish(&self, failed: bool) -> Option<Result<Recording, Dropped>> {
        let mut state = self.state();
        if !self.which.keeps(failed) {
            self.forget(&mut state, None);
            return None;
        }
        if let Some(dropped) = state.dropped {
            return Some(Err(dropped));
        }
        let (run, tape, end) = (state.run.take()?, state.tape.take()?, state.end.take()?);
        Some(Ok(Recording { run: *run, calls: std::mem::take(&mut state.calls), tape: *tape, end }))
    }

    /// Whether there is room for so many bytes more; if not, all is forgotten.
    fn takes(&self, state: &mut State, bytes: u64) -> bool {
        if state.dropped.is_some() {
            return false;
        }
        if state.bytes.saturating_add(bytes) > self.max_bytes {
            self.forget(state, Some(Dropped::TooLarge { max_bytes: self.max_bytes }));
            return false;
        }
        if self.held.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > MAX_HELD_BYTES {
            self.held.0.fetch_sub(bytes, Ordering::Relaxed);
            self.forget(state, Some(Dropped::NoMemory));
            return false;
        }
        state.bytes += bytes;
        true
    }

    fn forget(&self, state: &mut State, dropped: Option<Dropped>) {
        self.held.0.fetch_sub(state.bytes, Ordering::Relaxed);
        *state = State { dropped, ..State::default() };
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.held.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a thing takes, about.
fn in_memory(thing: &impl Serialize) -> u64 {
    postcard::serialize_with_flavor(thing, InMemory(0)).unwrap_or(u64::MAX)
}

/// Counts instead of writing.
struct InMemory(u64);

impl Flavor for InMemory {
    type Output = u64;

    /// A byte in a list of them, or a mark of something that counts itself.
    fn try_push(&mut self, _: u8) -> postcard::Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 += bytes.len() as u64 + PIECE_BYTES;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(self.0)
    }
}

fn of_tape(tape: &Tape) -> u64 {
    let Tape { seed, wall_ns, monotonic_ns, lines_us, polls } = tape;
    let readings = wall_ns.len() + monotonic_ns.len() + lines_us.len();
    let polled: u64 = polls.iter().map(|ready| PIECE_BYTES + 4 * ready.len() as u64).sum();
    (seed.len() + 8 * readings) as u64 + polled
}

/// A request without what nobody needs to answer it again: the bytes of XComs and artifacts.
pub(super) fn without_gifts(request: &Call) -> Call {
    match request {
        Call::XComPush { key, value } => {
            let value = Value { media_type: value.media_type.clone(), bytes: Vec::new() };
            Call::XComPush { key: key.clone(), value }
        }
        Call::ArtifactWrite { stream, .. } => Call::ArtifactWrite { stream: *stream, chunk: Vec::new() },
        other => other.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::{
        model::{ids::Digest, time::Timestamp},
        wire::{AttemptKey, Instance, Limits, StreamKey},
    };

    use super::*;

    pub fn run() -> RunAttempt {
        RunAttempt {
            attempt: AttemptKey(1),
            component: Digest([1; 32]),
            entry: "entry".into(),
            instance: Instance {
                dag_id: "dag".into(),
                run_id: "run".into(),
                task_id: "task".into(),
                map_index: -1,
                try_number: 1,
                max_tries: 1,
                started_at: Timestamp::from_micros(1),
                logical_date: None,
                data_interval_start: None,
                data_interval_end: None,
                run_after: Timestamp::from_micros(1),
                next_run_after: None,
                timezone: "UTC".into(),
                params: "{}".into(),
                traceparent: None,
            },
            inputs: Vec::new(),
            limits: Limits { memory_bytes: 1, timeout_ms: None, log_bytes: 1, host_calls: 1 },
            tape: TapeMode::Off,
        }
    }

    fn variable(key: &str) -> Call {
        Call::VariableGet { key: key.into() }
    }

    #[test]
    fn what_was_asked_and_answered_is_kept_in_order() {
        let recorder = Recorder::new(Which::Always, 10_000, &Held::default()).unwrap();
        recorder.begin(&run());
        for (key, name) in [(1, "a"), (2, "b"), (3, "c")] {
            recorder.asked(CallKey(key), &variable(name));
        }
        recorder.answered(CallKey(2), &Ok(Reply::Text("two".into())));
        recorder.answered(CallKey(1), &Err(CallError::NotFound("one".into())));
        recorder.asked(CallKey(4), &Call::StreamDrop { stream: StreamKey(1) });
        recorder.tape(Some(Box::default()));
        recorder.ended(&AttemptEnd::Success(None));
        let recording = recorder.finish(false).unwrap().unwrap();
        let told: Vec<_> = recording.calls.iter().map(|call| (call.request.clone(), call.reply.is_some())).collect();
        assert_eq!(told, [(variable("a"), true), (variable("b"), true), (variable("c"), false)]);
        let bytes = recording.into_bytes(&Masker::new([])).unwrap();
        assert_eq!(Recording::from_bytes(&bytes).unwrap().calls.len(), 3);
    }

    #[test]
    fn what_is_too_large_is_dropped_whole_and_gives_its_memory_back() {
        let held = Held::default();
        let recorder = Recorder::new(Which::Failure, 10_000, &held).unwrap();
        recorder.begin(&run());
        assert_ne!(held.0.load(Ordering::Relaxed), 0);
        recorder.asked(CallKey(1), &variable("a"));
        recorder.answered(CallKey(1), &Ok(Reply::Text("x".repeat(10_000))));
        recorder.asked(CallKey(2), &variable("b"));
        recorder.tape(Some(Box::default()));
        recorder.ended(&AttemptEnd::Retryable("no".into()));
        assert_eq!(recorder.finish(true).unwrap().unwrap_err(), Dropped::TooLarge { max_bytes: 10_000 });
        assert_eq!(held.0.load(Ordering::Relaxed), 0);
        held.0.store(MAX_HELD_BYTES, Ordering::Relaxed);
        recorder.begin(&run());
        assert_eq!(recorder.finish(true).unwrap().unwrap_err(), Dropped::NoMemory);
    }

    /// They take some bytes when they are written, and some hundred in memory.
    #[test]
    fn many_small_things_count_as_what_they_take() {
        let max_bytes = 1 << 20;
        let recorder = Recorder::new(Which::Always, max_bytes, &Held::default()).unwrap();
        let dropped = || recorder.finish(false).unwrap().unwrap_err();
        recorder.begin(&run());
        for key in 0..10_000 {
            recorder.asked(CallKey(key), &variable("a"));
            recorder.answered(CallKey(key), &Ok(Reply::Unit));
        }
        assert_eq!(dropped(), Dropped::TooLarge { max_bytes });
        recorder.begin(&run());
        recorder.tape(Some(Box::new(Tape { polls: vec![Vec::new(); 100_000], ..Tape::default() })));
        assert_eq!(dropped(), Dropped::TooLarge { max_bytes });
        recorder.begin(&run());
        recorder.asked(CallKey(1), &variable("a"));
        recorder.answered(CallKey(1), &Ok(Reply::Bytes(vec![0; 1 << 19])));
        recorder.tape(Some(Box::default()));
        recorder.ended(&AttemptEnd::Success(None));
        assert!(recorder.finish(false).unwrap().is_ok());
    }

    #[test]
    fn only_what_is_wanted_is_kept() {
        assert!(Recorder::new(Which::Off, 10_000, &Held::default()).is_none());
        let recorder = Recorder::new(Which::Failure, 10_000, &Held::default()).unwrap();
        recorder.begin(&run());
        assert!(recorder.finish(false).is_none());
        recorder.begin(&run());
        assert!(recorder.finish(true).is_none(), "its runner died before it told its part");
    }

    #[test]
    fn gifts_are_not_kept() {
        let value = Value { media_type: "text/plain".into(), bytes: vec![1; 500] };
        let Call::XComPush { value, .. } = without_gifts(&Call::XComPush { key: "k".into(), value }) else { panic!() };
        assert!(value.bytes.is_empty());
    }
}
