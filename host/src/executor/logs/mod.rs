//! Logs of attempts: what is being written and what is stored, as one list of lines.
//!
//! It promises that a line which an attempt wrote can be read at once, is in object storage about a second later, and is in the
//! list exactly once all the time. Lines are lost only if storage is down for so long that their memory's bound is reached
//! (a line in the log says how many), or with the process, for the last second.

pub(super) mod line;
mod live;
mod read;
mod writer;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::Stream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::live::{LiveLog, LogKey};
use super::{
    attempt::AttemptId,
    books::{Attempt, Books},
    effects::Effects,
};
use crate::{
    blobs::Blobs,
    model::{limits::Resource, time::Clock},
    store::{InstanceKey, Store},
    wire::{Level, Line, LineSource},
};

/// Lines of one attempt, as they are counted by the supervisor; the runner's limit is lower.
const MAX_ATTEMPT_BYTES: u64 = 20 << 20;
/// Lines of all attempts that are not stored yet.
const MAX_PENDING_BYTES: usize = 64 << 20;
/// From here on the writer does not wait for its second to be over.
const FULL_BYTES: usize = 1 << 20;

/// One line: a JSON object without line break, as `{"timestamp": "...", "level": "info", "source": "log", "logger":
/// "module", "event": "text", ...fields}`. Airflow: `StructuredLogMessage`. Secrets are masked. `source` is `log`, `stdout`,
/// `stderr` or `airlock`.
pub type LogLine = Arc<str>;

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At this line, counted from 0.
    Line(u64),
    /// So that the last line is the last of the answer.
    Tail,
}

/// Lines that stand together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The number of the first of `lines`, counted from 0.
    pub first_line: u64,
    /// Fewer than asked for if they are large.
    pub lines: Vec<LogLine>,
    /// Lines that there are in all, as of now.
    pub total_lines: u64,
    /// Whether an attempt may still add lines.
    pub is_live: bool,
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log is in storage that can't be read now; try again")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a stored piece of the log is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// All logs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    blobs: Blobs,
    books: Arc<Books>,
    live: Mutex<HashMap<LogKey, Arc<LiveLog>>>,
    /// Logs with lines that the writer has not taken.
    listed: Mutex<Vec<Arc<LiveLog>>>,
    pending_bytes: AtomicUsize,
    news: Notify,
    full: Notify,
    closing: CancellationToken,
}

impl Logs {
    pub(super) fn new(store: Store, blobs: Blobs, books: Arc<Books>) -> Self {
        let shared = Shared {
            store,
            blobs,
            books,
            live: Mutex::default(),
            listed: Mutex::default(),
            pending_bytes: AtomicUsize::new(0),
            news: Notify::new(),
            full: Notify::new(),
            closing: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// At most `limit` lines of try `try_number`: stored and not yet stored alike, without gaps or duplicates.
    pub async fn read(
        &self,
        instance: &InstanceKey,
        try_number: u32,
        from: LogFrom,
        limit: usize,
    ) -> Result<LogPage, LogError> {
        read::read(&self.shared, &(instance.clone(), try_number), from, limit).await
    }

    /// The lines of try `try_number` from `from_line` on, in batches, and then those that are still to come; ends when
    /// no attempt of this try is running.
    pub fn follow(
        &self,
        instance: InstanceKey,
        try_number: u32,
        from_line: u64,
    ) -> impl Stream<Item = Result<Vec<LogLine>, LogError>> + Send + 'static + use<> {
        let follower = read::Follower::new(Arc::clone(&self.shared), (instance, try_number), from_line);
        futures_util::stream::unfold(Some(follower), async |follower| {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(lines)) => Some((Ok(lines), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Writes lines to storage until [`Logs::close`], and then what is left.
    pub(super) async fn write(self) {
        writer::run(self.shared).await;
    }

    pub(super) fn close(&self) {
        self.shared.closing.cancel();
    }

    /// Takes in what an attempt wrote.
    pub(super) fn append(&self, attempt: &Attempt, lines: &[Line]) {
        let cost = lines.iter().map(Line::cost).sum();
        let taken =
            attempt.effects(|effects| effects.count_log(cost, MAX_ATTEMPT_BYTES).then(|| effects.masker().clone()));
        let Some(Some(masker)) = taken else { return };
        if let Some(ledger) = &attempt.ledger
            && let Err(over) = ledger.spend(Resource::Logs, cost)
        {
            if attempt.effects(Effects::log_is_over) == Some(true) {
                self.tell_masked(attempt, Level::Warn, &format!("from here on lines were dropped: they are {over}"));
            }
            return;
        }
        self.add(attempt, lines.iter().map(|line| line::render(line, Some(&masker))));
    }

    /// Adds a line of Airlock's own; `text` may hold what the guest said.
    pub(super) fn tell(&self, attempt: &Attempt, level: Level, text: &str) {
        let masked = attempt.effects(|effects| effects.masker().mask(text).into_owned());
        self.tell_masked(attempt, level, masked.as_deref().unwrap_or(text));
    }

    /// Adds a line of Airlock's own, in which no secret stands.
    pub(super) fn tell_masked(&self, attempt: &Attempt, level: Level, text: &str) {
        let line = Line {
            at: Clock.now(),
            level,
            source: LineSource::Airlock,
            target: String::new(),
            message: text.to_owned(),
            fields: Vec::new(),
        };
        self.add(attempt, std::iter::once(line::render(&line, None)));
    }

    fn add(&self, attempt: &Attempt, lines: impl Iterator<Item = LogLine>) {
        let id = attempt.id();
        let shared = &self.shared;
        let mut live = shared.live();
        let log = live.entry((id.instance.clone(), id.try_number));
        let log = log.or_insert_with_key(|key| Arc::new(LiveLog::new(key.clone())));
        if log.append(lines, &shared.pending_bytes, MAX_PENDING_BYTES) {
            shared.list(Arc::clone(log));
        }
        if shared.pending_bytes.load(Ordering::Relaxed) >= FULL_BYTES {
            shared.full.notify_one();
        }
    }

    /// No attempt of this try is running any more.
    pub(super) fn end(&self, id: &AttemptId) {
        let mut live = self.shared.live();
        if live.is_empty() {
            return;
        }
        let key = (id.instance.clone(), id.try_number);
        if let Some(log) = live.get(&key) {
            log.close();
            if log.is_spent() {
                live.remove(&key);
            }
        }
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, HashMap<LogKey, Arc<LiveLog>>> {
        self.live.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn listed(&self) -> MutexGuard<'_, Vec<Arc<LiveLog>>> {
        self.listed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn list(&self, log: Arc<LiveLog>) {
        self.listed().push(log);
        self.news.notify_one();
    }

    fn find(&self, key: &LogKey) -> Option<Arc<LiveLog>> {
        self.live().get(key).cloned()
    }

    /// The live log, also if it has no line yet and an attempt is running that may write one.
    fn find_or_await(&self, key: &LogKey) -> Option<Arc<LiveLog>> {
        let mut live = self.live();
        if let Some(log) = live.get(key) {
            return Some(Arc::clone(log));
        }
        // Under the lock: who ends the attempt leaves the books first and then asks for it here.
        if !self.books.is_running(&key.0, key.1) {
            return None;
        }
        let log = Arc::new(LiveLog::new(key.clone()));
        live.insert(key.clone(), Arc::clone(&log));
        Some(log)
    }

    fn forget_if_spent(&self, log: &Arc<LiveLog>) {
        let mut live = self.live();
        if log.is_spent() && live.get(&log.key).is_some_and(|known| Arc::ptr_eq(known, log)) {
            live.remove(&log.key);
        }
    }
}
