//! Reading logs: stored chunks and live lines as one list.

use std::{pin::pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;

use super::{
    LogError, LogFrom, LogLine, LogPage, Shared,
    live::{LiveLog, LogKey, Next, Position, Snapshot},
};
use crate::store::LogChunkRow;

/// A page ends here, however many lines were asked for.
const MAX_PAGE_BYTES: usize = 8 << 20;
/// What a stored chunk may be decompressed to; more is damage.
const MAX_CHUNK_BYTES: usize = 4 << 20;
/// Chunks that are fetched at a time: a log that grows slowly has one for each of its lines.
const FETCHES: usize = 16;
/// Lines of a batch of `follow`.
const FOLLOW_LINES: usize = 1_000;

/// Where lines are.
struct View {
    chunks: Vec<LogChunkRow>,
    /// Lines in `chunks`.
    stored_lines: u64,
    live: Vec<LogLine>,
    /// The live log, and where it ended at the time.
    end: Option<(Arc<LiveLog>, Position)>,
}

impl View {
    async fn new(shared: &Shared, key: &LogKey, live: Option<Arc<LiveLog>>) -> Result<Self, LogError> {
        // The lines first, then the rows: what is stored in between is in both and is left out of the rows.
        let snapshot = live.as_ref().map(|live| live.snapshot());
        let (instance, try_number) = key;
        let chunks = shared.store.log_chunk_list(instance, *try_number).await;
        let mut chunks = chunks.map_err(|error| LogError::Unavailable(Box::new(error)))?;
        if let (Some(Snapshot { until_seq, .. }), Some(live)) = (&snapshot, &live)
            && let Some(until) = until_seq.or_else(|| live.first_seq())
        {
            chunks.retain(|chunk| chunk.seq < until);
        }
        let stored_lines = chunks.iter().map(lines_of).sum();
        let (lines, end) = snapshot.map(|snapshot| (snapshot.lines, snapshot.end)).unzip();
        Ok(Self { chunks, stored_lines, live: lines.unwrap_or_default(), end: live.zip(end) })
    }

    fn total_lines(&self) -> u64 {
        self.stored_lines + self.live.len() as u64
    }

    /// Lines from `first` on, at most `limit` and at most a page's bytes.
    async fn lines_from(&self, shared: &Shared, first: u64, limit: usize) -> Result<Vec<LogLine>, LogError> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        let mut take = |candidates: &mut dyn Iterator<Item = LogLine>| {
            for line in candidates {
                if lines.len() >= limit || bytes > MAX_PAGE_BYTES {
                    return false;
                }
                bytes += line.len();
                lines.push(line);
            }
            true
        };
        let until = first.saturating_add(limit as u64);
        let (mut at, mut skip, mut wanted) = (0, 0, Vec::new());
        for chunk in &self.chunks {
            let end = at + lines_of(chunk);
            if end > first && at < until {
                if wanted.is_empty() {
                    skip = usize::try_from(first.saturating_sub(at)).unwrap_or(usize::MAX);
                }
                wanted.push(chunk.clone());
            }
            at = end;
        }
        let mut chunks = pin!(load_all(shared, wanted));
        while let Some(stored) = chunks.try_next().await? {
            if !take(&mut stored.into_iter().skip(std::mem::take(&mut skip))) {
                return Ok(lines);
            }
        }
        let skip = usize::try_from(first.saturating_sub(at)).unwrap_or(usize::MAX);
        take(&mut self.live.iter().skip(skip).cloned());
        Ok(lines)
    }

    /// The last lines, at most `limit` and at most a page's bytes.
    async fn last_lines(&self, shared: &Shared, limit: usize) -> Result<Vec<LogLine>, LogError> {
        let mut reversed = Vec::new();
        let mut bytes = 0;
        let mut take = |candidates: &mut dyn Iterator<Item = LogLine>| {
            for line in candidates {
                if reversed.len() >= limit || bytes > MAX_PAGE_BYTES {
                    return false;
                }
                bytes += line.len();
                reversed.push(line);
            }
            true
        };
        let mut wanted = Vec::new();
        if take(&mut self.live.iter().rev().cloned()) {
            let mut left = limit.saturating_sub(self.live.len()) as u64;
            for chunk in self.chunks.iter().rev() {
                if left == 0 {
                    break;
                }
                left = left.saturating_sub(lines_of(chunk));
                wanted.push(chunk.clone());
            }
        }
        let mut chunks = pin!(load_all(shared, wanted));
        while let Some(stored) = chunks.try_next().await? {
            if !take(&mut stored.into_iter().rev()) {
                break;
            }
        }
        reversed.reverse();
        Ok(reversed)
    }
}

fn lines_of(chunk: &LogChunkRow) -> u64 {
    u64::try_from(chunk.lines).unwrap_or(0)
}

/// The lines of stored chunks, in this order.
fn load_all(shared: &Shared, chunks: Vec<LogChunkRow>) -> impl Stream<Item = Result<Vec<LogLine>, LogError>> {
    stream::iter(chunks).map(move |chunk| async move { load(shared, &chunk).await }).buffered(FETCHES)
}

/// The lines of a stored chunk.
async fn load(shared: &Shared, chunk: &LogChunkRow) -> Result<Vec<LogLine>, LogError> {
    let damaged = |why: &str| LogError::Damaged(format!("`{}` at {}: {why}", chunk.blob, chunk.offset).into());
    let (Ok(start), Ok(length)) = (u64::try_from(chunk.offset), u64::try_from(chunk.length)) else {
        return Err(damaged("its place is negative"));
    };
    let frame = shared.blobs.get_range(&chunk.blob, start..start + length).await;
    let frame = frame.map_err(|error| LogError::Unavailable(Box::new(error)))?;
    let frame = frame.ok_or_else(|| damaged("the object is gone"))?;
    let text = zstd::bulk::decompress(&frame, MAX_CHUNK_BYTES).map_err(|error| damaged(&error.to_string()))?;
    let text = String::from_utf8(text).map_err(|error| damaged(&error.to_string()))?;
    Ok(text.lines().map(Arc::from).collect())
}

pub(super) async fn read(shared: &Shared, key: &LogKey, from: LogFrom, limit: usize) -> Result<LogPage, LogError> {
    let is_live = shared.books.is_running(&key.0, key.1);
    let view = View::new(shared, key, shared.find(key)).await?;
    let total_lines = view.total_lines();
    let (first_line, lines) = match from {
        LogFrom::Line(first) => (first, view.lines_from(shared, first, limit).await?),
        LogFrom::Tail => {
            let lines = view.last_lines(shared, limit).await?;
            (total_lines.saturating_sub(lines.len() as u64), lines)
        }
    };
    Ok(LogPage { first_line, lines, total_lines, is_live })
}

/// A reader that stays.
pub(super) struct Follower {
    shared: Arc<Shared>,
    key: LogKey,
    next_line: u64,
    /// When all that was stored has been read.
    live: Option<(Arc<LiveLog>, watch::Receiver<u64>, Position)>,
}

impl Follower {
    pub fn new(shared: Arc<Shared>, key: LogKey, from_line: u64) -> Self {
        Self { shared, key, next_line: from_line, live: None }
    }

    /// The next lines; none at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<LogLine>>, LogError> {
        loop {
            if let Some((live, changed, position)) = &mut self.live {
                changed.mark_unchanged();
                match live.after(*position) {
                    Next::Lines(lines, end) => {
                        let moved = end.shift - position.shift;
                        *position = end;
                        self.next_line = self.next_line.saturating_add_signed(moved) + lines.len() as u64;
                        return Ok(Some(lines));
                    }
                    Next::Stored => self.live = None,
                    Next::Nothing => {
                        // An error means that the log is gone, which `after` will tell.
                        let _ = changed.changed().await;
                    }
                    Next::End => return Ok(None),
                }
                continue;
            }
            let live = self.shared.find_or_await(&self.key);
            let view = View::new(&self.shared, &self.key, live).await?;
            let lines = view.lines_from(&self.shared, self.next_line, FOLLOW_LINES).await?;
            self.next_line += lines.len() as u64;
            let is_end = self.next_line >= view.total_lines();
            match view.end {
                Some((live, position)) if is_end => {
                    let changed = live.subscribe();
                    self.live = Some((live, changed, position));
                }
                None if lines.is_empty() => return Ok(None),
                _ => {}
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }
}
