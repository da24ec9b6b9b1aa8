//! The lines of an attempt, from its stdout, its stderr and the `log` import, on their way to the supervisor.
//!
//! Lines are collected and sent together: when there are enough of them, when the oldest is [`DELAY`] old, and when the
//! attempt ends. What is above the attempt's limit is counted and dropped; a guest is never stopped for what it says.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use super::{
    attempt::{Attempt, lock},
    last_words::LastWords,
    tape::Tape,
};
use crate::{
    model::time::Clock,
    wire::{Level, Line, LineSource},
};

/// How long a line waits for others.
pub const DELAY: Duration = Duration::from_millis(100);

/// So many lines, or lines of this cost, are sent at once.
const BATCH_LINES: usize = 64;
const BATCH_COST: u64 = 16 << 10;

/// The rest of a longer line is cut. `wit/task.wit`: `log.emit`.
const LINE_BYTES: usize = 64 << 10;

/// The lines of one attempt.
pub struct Log(Mutex<State>);

struct State {
    waiting: Vec<Line>,
    waiting_cost: u64,
    /// The flusher knows that lines wait.
    timed: bool,
    left: u64,
    limit: u64,
    dropped: u64,
    stdout: Partial,
    stderr: Partial,
    last_words: LastWords,
    tape: Option<Arc<Tape>>,
}

/// A line of output that has no end yet.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    cut: u64,
}

impl Log {
    pub fn new(limit: u64, tape: Option<Arc<Tape>>) -> Self {
        Self(Mutex::new(State {
            waiting: Vec::new(),
            waiting_cost: 0,
            timed: false,
            left: limit,
            limit,
            dropped: 0,
            stdout: Partial::default(),
            stderr: Partial::default(),
            last_words: LastWords::default(),
            tape,
        }))
    }

    /// Adds a line, or counts it as dropped.
    pub fn add(
        &self,
        level: Level,
        source: LineSource,
        target: String,
        message: String,
        fields: Vec<(String, String)>,
    ) {
        lock(&self.0).add(level, source, target, message, fields);
    }

    /// Adds what the guest wrote to an output.
    pub fn write(&self, source: LineSource, bytes: &[u8]) {
        lock(&self.0).write(source, bytes);
    }

    /// Makes lines of output that has no line end. When the guest is gone.
    pub fn end(&self) {
        let mut state = lock(&self.0);
        state.end_line(LineSource::Stdout);
        state.end_line(LineSource::Stderr);
    }

    pub fn is_empty(&self) -> bool {
        lock(&self.0).waiting.is_empty()
    }

    /// Whether the lines that wait should be sent before others are added.
    pub fn is_full(&self) -> bool {
        let state = lock(&self.0);
        state.waiting.len() >= BATCH_LINES || state.waiting_cost >= BATCH_COST
    }

    /// Whether lines wait of which the flusher was not told. The caller must tell it.
    pub fn wants_timer(&self) -> bool {
        let mut state = lock(&self.0);
        !state.waiting.is_empty() && !mem::replace(&mut state.timed, true)
    }

    /// Hands the lines that wait to `send`, in their order whatever others do meanwhile.
    pub fn take(&self, send: impl FnOnce(Vec<Line>)) {
        let mut state = lock(&self.0);
        if !state.waiting.is_empty() {
            state.waiting_cost = 0;
            send(mem::take(&mut state.waiting));
        }
    }

    /// Bytes that were dropped.
    pub fn dropped_bytes(&self) -> u64 {
        lock(&self.0).dropped
    }

    /// What the guest said before it aborted.
    pub fn last_words(&self) -> Option<String> {
        let state = lock(&self.0);
        let mut words = state.last_words.clone();
        if !state.stderr.bytes.is_empty() {
            words.add(&String::from_utf8_lossy(&state.stderr.bytes));
        }
        words.told()
    }
}

impl State {
    fn add(
        &mut self,
        level: Level,
        source: LineSource,
        mut target: String,
        mut message: String,
        mut fields: Vec<(String, String)>,
    ) {
        let mut room = LINE_BYTES;
        self.dropped += cut(&mut target, &mut room) + cut(&mut message, &mut room);
        for (key, value) in &mut fields {
            self.dropped += cut(key, &mut room) + cut(value, &mut room);
        }
        fields.retain(|(key, value)| !key.is_empty() || !value.is_empty());

        let bytes = LINE_BYTES - room;
        if self.left == 0 {
            self.dropped += bytes as u64;
            return;
        }
        let cost = bytes as u64 + Line::COST;
        if cost > self.left {
            self.left = 0;
            self.dropped += bytes as u64;
            let message = format!("the log has reached its limit of {} bytes; what follows is dropped", self.limit);
            self.push(Level::Warn, LineSource::Airlock, String::new(), message, Vec::new());
            return;
        }
        self.left -= cost;
        self.push(level, source, target, message, fields);
    }

    fn push(
        &mut self,
        level: Level,
        source: LineSource,
        target: String,
        message: String,
        fields: Vec<(String, String)>,
    ) {
        let at = self.tape.as_ref().map_or_else(|| Clock.now(), |tape| tape.line_at());
        let line = Line { at, level, source, target, message, fields };
        self.waiting_cost += line.cost();
        self.waiting.push(line);
    }

    fn write(&mut self, source: LineSource, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let partial = self.partial(source);
            let taken = part.len().min(LINE_BYTES - partial.bytes.len());
            partial.bytes.extend_from_slice(&part[..taken]);
            partial.cut += (part.len() - taken) as u64;
            if lines.peek().is_some() {
                self.put_line(source);
            }
        }
    }

    fn partial(&mut self, source: LineSource) -> &mut Partial {
        if source == LineSource::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn end_line(&mut self, source: LineSource) {
        if !self.partial(source).bytes.is_empty() {
            self.put_line(source);
        }
    }

    fn put_line(&mut self, source: LineSource) {
        let Partial { mut bytes, cut } = mem::take(self.partial(source));
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        self.dropped += cut;
        let message =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        // Airflow: what a task writes to stderr is logged as errors.
        let level = if source == LineSource::Stderr { Level::Error } else { Level::Info };
        if source == LineSource::Stderr {
            self.last_words.add(&message);
        }
        self.add(level, source, String::new(), message, Vec::new());
    }
}

/// Cuts `text` to at most `room` bytes and takes them from it; answers how many were cut.
fn cut(text: &mut String, room: &mut usize) -> u64 {
    let before = text.len();
    if before > *room {
        text.truncate(text.floor_char_boundary(*room));
    }
    *room -= text.len();
    (before - text.len()) as u64
}

/// The guest's stdout or stderr.
pub struct Output {
    pub attempt: Arc<Attempt>,
    pub source: LineSource,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self { attempt: self.attempt.clone(), source: self.source })
    }

    /// For WASI 0.3, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Output {
    fn check_write(&mut self) -> StreamResult<usize> {
        if let Some(tape) = self.attempt.tape() {
            return Ok(usize::try_from(tape.room()).unwrap_or(usize::MAX));
        }
        Ok(if self.attempt.log().is_full() { 0 } else { 64 << 10 })
    }

    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        if let Some(tape) = self.attempt.tape() {
            tape.printed(bytes.len());
        }
        self.attempt.log().write(self.source, &bytes);
        self.attempt.flush_log_soon();
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        if self.attempt.log().is_full() {
            self.attempt.flush_log().await;
        }
        if let Some(tape) = self.attempt.tape() {
            tape.waited_for_output();
        }
    }
}

/// Sends lines that have waited for [`DELAY`]. One for all attempts, so that an attempt which says little sets no timer.
#[derive(Clone, Default)]
pub struct Flusher(Arc<(Mutex<Vec<Arc<Attempt>>>, Notify)>);

impl Flusher {
    pub fn add(&self, attempt: Arc<Attempt>) {
        let mut waiting = lock(&self.0.0);
        waiting.push(attempt);
        if waiting.len() == 1 {
            self.0.1.notify_one();
        }
    }

    /// Runs for ever.
    pub async fn run(self) {
        loop {
            self.0.1.notified().await;
            tokio::time::sleep(DELAY).await;
            let attempts = mem::take(&mut *lock(&self.0.0));
            for attempt in attempts {
                lock(&attempt.log().0).timed = false;
                attempt.flush_log().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &Log) -> Vec<(LineSource, String)> {
        let mut all = Vec::new();
        log.take(|lines| all = lines.into_iter().map(|line| (line.source, line.message)).collect());
        all
    }

    #[test]
    fn output_is_cut_into_lines_wherever_writes_end() {
        let log = Log::new(1 << 20, None);
        for part in ["one\ntw", "o\r\n", "\n", "thr\u{fffd}ee"] {
            log.write(LineSource::Stdout, part.as_bytes());
        }
        log.write(LineSource::Stderr, b"err\xff\n");
        assert_eq!(lines(&log).len(), 4);
        log.end();
        assert_eq!(lines(&log), [(LineSource::Stdout, "thr\u{fffd}ee".to_owned())]);
        assert_eq!(log.last_words().unwrap(), "the task aborted; it wrote last: err\u{fffd}");
    }

    #[test]
    fn what_is_above_a_limit_is_counted_and_dropped() {
        let log = Log::new(100, None);
        log.write(LineSource::Stdout, b"0123456789\n");
        log.write(LineSource::Stdout, &[b'x'; 90]);
        log.write(LineSource::Stdout, b"\nmore\n");
        let lines = lines(&log);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].0, LineSource::Airlock);
        assert_eq!(log.dropped_bytes(), 94);

        let log = Log::new(1 << 20, None);
        log.write(LineSource::Stdout, &vec![b'x'; LINE_BYTES + 7]);
        log.write(LineSource::Stdout, b"y\n");
        assert_eq!(log.dropped_bytes(), 8);
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let log = Log::new(1 << 20, None);
        let text = "\u{20ac}".repeat(LINE_BYTES);
        log.add(Level::Info, LineSource::Log, "t".to_owned(), text.clone(), vec![(text, String::new())]);
        let mut line = None;
        log.take(|mut lines| line = lines.pop());
        let line = line.unwrap();
        assert!(line.message.len() <= LINE_BYTES && line.message.len() > LINE_BYTES - 8);
        assert!(line.fields.is_empty() || line.fields[0].0.len() < 4);
    }
}
