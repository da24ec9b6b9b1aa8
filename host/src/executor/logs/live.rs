//! The lines of one try that are not yet stored.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use super::{LogLine, line};
use crate::{
    model::time::Clock,
    store::InstanceKey,
    wire::{Level, Line, LineSource},
};

/// Lines of one stored chunk, before compression.
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// What a line costs beside its text, about.
const OVERHEAD_BYTES: usize = 32;

/// Which log: a try of a task instance. Its restarts write on in the same.
pub(super) type LogKey = (InstanceKey, u32);

/// Lines from when they are written until they are stored.
#[derive(Debug)]
pub(super) struct LiveLog {
    pub key: LogKey,
    inner: Mutex<Inner>,
    /// Ticks whenever there is something to see.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    lines: VecDeque<LogLine>,
    /// How many lines went out at the front since the log was made.
    gone: u64,
    /// How many lines at the front are on their way to storage.
    taken: usize,
    /// Lines that were dropped behind those, for want of memory.
    dropped: u64,
    /// By how much lines moved back because others were dropped before them, or on because a marker was put in.
    shift: i64,
    /// The number of the first chunk that this log makes, once that is known.
    first_seq: Option<u32>,
    chunks: u32,
    /// Whether an attempt is writing.
    is_open: bool,
    /// Whether it is on the writer's list.
    is_listed: bool,
}

/// The log at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub lines: Vec<LogLine>,
    /// The number of the first chunk that does not hold what is before `lines`, if it is known.
    pub until_seq: Option<u32>,
    pub end: Position,
}

/// A place between two lines of a [`LiveLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    line: u64,
    pub shift: i64,
}

/// What follows a position.
#[derive(Debug)]
pub(super) enum Next {
    Lines(Vec<LogLine>, Position),
    /// The lines there are stored already.
    Stored,
    Nothing,
    End,
}

impl LiveLog {
    pub fn new(key: LogKey) -> Self {
        let inner = Inner {
            lines: VecDeque::new(),
            gone: 0,
            taken: 0,
            dropped: 0,
            shift: 0,
            first_seq: None,
            chunks: 0,
            is_open: true,
            is_listed: false,
        };
        Self { key, inner: Mutex::new(inner), changed: watch::Sender::new(0) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn announce(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Adds lines; `pending` counts the bytes of all logs and may be at most `max_pending`. True: the log must be put on the
    /// writer's list.
    pub fn append(&self, lines: impl Iterator<Item = LogLine>, pending: &AtomicUsize, max_pending: usize) -> bool {
        let mut inner = self.inner();
        inner.is_open = true;
        for line in lines {
            let all = pending.fetch_add(cost(&line), Ordering::Relaxed) + cost(&line);
            inner.lines.push_back(line);
            if all > max_pending {
                inner.drop_oldest(pending, all - max_pending);
            }
        }
        let list = !inner.is_listed && inner.has_news();
        inner.is_listed |= list;
        drop(inner);
        self.announce();
        list
    }

    /// The attempt that wrote is over.
    pub fn close(&self) {
        self.inner().is_open = false;
        self.announce();
    }

    /// Whether nobody would miss it.
    pub fn is_spent(&self) -> bool {
        let inner = self.inner();
        !inner.is_open && !inner.is_listed && inner.lines.is_empty()
    }

    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner();
        Snapshot {
            lines: inner.lines.iter().cloned().collect(),
            until_seq: inner.first_seq.map(|first| first + inner.chunks),
            end: inner.end(),
        }
    }

    /// The lines after `position`.
    pub fn after(&self, position: Position) -> Next {
        let inner = self.inner();
        // What was dropped meanwhile was before it, or is gone before it was shown.
        let line = position.line.saturating_add_signed(inner.shift - position.shift);
        if inner.shift == position.shift && line < inner.gone {
            return Next::Stored;
        }
        let skip = usize::try_from(line.saturating_sub(inner.gone)).unwrap_or(usize::MAX);
        let lines: Vec<LogLine> = inner.lines.iter().skip(skip).cloned().collect();
        if !lines.is_empty() {
            return Next::Lines(lines, inner.end());
        }
        if inner.is_open { Next::Nothing } else { Next::End }
    }

    // ---- for the writer -------------------------------------------------------------------------

    /// The number of the first chunk, if it is known.
    pub fn first_seq(&self) -> Option<u32> {
        self.inner().first_seq
    }

    /// Lets the next chunk have number `seq`.
    pub fn set_next_seq(&self, seq: u32) {
        let mut inner = self.inner();
        inner.first_seq = Some(seq.saturating_sub(inner.chunks));
    }

    /// The number that the next chunk gets.
    pub fn next_seq(&self) -> u32 {
        let inner = self.inner();
        inner.first_seq.unwrap_or(0) + inner.chunks
    }

    /// Lines for one chunk; they stay here until [`LiveLog::stored`].
    pub fn take(&self, pending: &AtomicUsize) -> Vec<LogLine> {
        let mut inner = self.inner();
        if inner.dropped > 0 {
            let marker = marker(inner.dropped);
            inner.dropped = 0;
            pending.fetch_add(cost(&marker), Ordering::Relaxed);
            inner.lines.push_front(marker);
            inner.shift += 1;
        }
        let (mut bytes, mut count) = (0, 0);
        for line in &inner.lines {
            bytes += line.len() + 1;
            if count > 0 && bytes > MAX_CHUNK_BYTES {
                break;
            }
            count += 1;
        }
        inner.taken = count;
        inner.is_listed = false;
        inner.lines.iter().take(count).cloned().collect()
    }

    /// The lines that were taken are stored, or given up. True: there are more, and the log must be put on the writer's list
    /// again.
    pub fn stored(&self, pending: &AtomicUsize, is_chunk: bool) -> bool {
        let mut inner = self.inner();
        let taken = std::mem::take(&mut inner.taken);
        let bytes = inner.lines.drain(..taken).map(|line| cost(&line)).sum();
        pending.fetch_sub(bytes, Ordering::Relaxed);
        inner.gone += taken as u64;
        inner.chunks += u32::from(is_chunk);
        let list = !inner.is_listed && inner.has_news();
        inner.is_listed |= list;
        list
    }
}

impl Inner {
    fn end(&self) -> Position {
        Position { line: self.gone + self.lines.len() as u64, shift: self.shift }
    }

    fn has_news(&self) -> bool {
        self.dropped > 0 || self.lines.len() > self.taken
    }

    /// Frees at least `bytes` if it can, from the oldest line on that is not on its way.
    fn drop_oldest(&mut self, pending: &AtomicUsize, bytes: usize) {
        let mut freed = 0;
        while freed < bytes
            && let Some(line) = self.lines.remove(self.taken)
        {
            freed += cost(&line);
            self.dropped += 1;
            self.shift -= 1;
        }
        pending.fetch_sub(freed, Ordering::Relaxed);
    }
}

fn cost(line: &LogLine) -> usize {
    line.len() + OVERHEAD_BYTES
}

fn marker(dropped: u64) -> LogLine {
    let message = format!("{dropped} lines are missing here: the log could not be stored as fast as it was written");
    let line = Line {
        at: Clock.now(),
        level: Level::Warn,
        source: LineSource::Airlock,
        target: String::new(),
        message,
        fields: Vec::new(),
    };
    line::render(&line, None)
}

#[cfg(test)]
mod tests {
    use crate::{model::ids::TaskId, store::DagRunKey};

    use super::*;

    fn log() -> LiveLog {
        let task_id = TaskId::new("a").unwrap();
        LiveLog::new((InstanceKey { dag_run: DagRunKey(1), task_id, map_index: -1 }, 1))
    }

    fn lines(numbers: std::ops::Range<u32>) -> impl Iterator<Item = LogLine> {
        numbers.map(|number| LogLine::from(format!("{number:068}")))
    }

    fn numbers(lines: &[LogLine]) -> Vec<Option<u32>> {
        lines.iter().map(|line| line.parse().ok()).collect()
    }

    #[test]
    fn when_memory_is_short_the_oldest_lines_go_and_a_line_says_how_many() {
        let (log, pending) = (log(), AtomicUsize::new(0));
        assert!(log.append(lines(0..2), &pending, 1_000), "it must be listed");
        assert_eq!(numbers(&log.take(&pending)), [Some(0), Some(1)]);
        // A line costs 100, so there is room for 8 more beside the two that are on their way.
        assert!(log.append(lines(2..20), &pending, 1_000), "it must be listed again");
        assert_eq!(pending.load(Ordering::Relaxed), 1_000);
        assert!(!log.stored(&pending, true), "it is listed");
        let taken = log.take(&pending);
        assert!(taken[0].contains("10 lines are missing here"), "{}", taken[0]);
        assert_eq!(numbers(&taken[1..]), (12..20).map(Some).collect::<Vec<_>>());
        assert!(!log.stored(&pending, true));
        assert_eq!(pending.load(Ordering::Relaxed), 0);
        assert_eq!(log.next_seq(), 2);
    }

    #[test]
    fn a_reader_is_not_confused_by_lines_that_went() {
        let (log, pending) = (log(), AtomicUsize::new(0));
        log.append(lines(0..2), &pending, 1_000);
        let start = Position { line: 0, shift: 0 };
        let Next::Lines(read, at) = log.after(start) else { panic!() };
        assert_eq!(numbers(&read), [Some(0), Some(1)]);
        assert!(matches!(log.after(at), Next::Nothing));
        log.append(lines(2..20), &pending, 1_000);
        let Next::Lines(read, at) = log.after(at) else { panic!() };
        assert_eq!(numbers(&read), (10..20).map(Some).collect::<Vec<_>>());
        log.take(&pending);
        assert!(matches!(log.after(at), Next::Nothing), "the marker stands before it");
        log.stored(&pending, true);
        assert!(matches!(log.after(at), Next::Nothing));
        log.close();
        assert!(matches!(log.after(at), Next::End));
        assert!(matches!(log.after(start), Next::End | Next::Stored));
    }

    #[test]
    fn a_chunk_has_a_bound() {
        let (log, pending) = (log(), AtomicUsize::new(0));
        log.append((0..5).map(|_| LogLine::from("x".repeat(400 << 10))), &pending, usize::MAX);
        for expected in [2, 2, 1] {
            assert_eq!(log.take(&pending).len(), expected);
            log.stored(&pending, true);
        }
    }
}
