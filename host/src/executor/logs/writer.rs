//! Carries lines from memory to object storage: one object a second at most for all attempts together, or one for each
//! [`FULL_BYTES`] of lines.
//!
//! An object is a row of independent zstd frames, one for each log that had news, so that a log is read without the others.
//! While storage is down the lines stay in memory, up to a bound.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{LogLine, Shared, live::LiveLog};
use crate::{
    blobs::{self, BlobError},
    model::time::Clock,
    store::{LogChunkRow, StoreError},
};

const INTERVAL: Duration = Duration::from_secs(1);
/// So many bytes that wait are written before their second is over.
const FULL_BYTES: usize = 1 << 20;
/// Lines of one object, before compression.
const MAX_OBJECT_BYTES: usize = 8 << 20;
const COMPRESSION_LEVEL: i32 = 3;
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// What is left at the end gets so long.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a batch is tried that the database refuses for good.
const MAX_REFUSALS: u32 = 3;

/// One log's part of an object.
struct Part {
    log: Arc<LiveLog>,
    offset: usize,
    length: usize,
    lines: usize,
}

/// Why a batch is not stored yet.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("object storage does not take it")]
    Blobs(#[from] BlobError),
    #[error("the database does not take it")]
    Store(#[from] StoreError),
}

/// Writes until the executor closes, and then what is left.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.news.notified() => {}
            () = shared.closing.cancelled() => break,
        }
        let due = Instant::now() + INTERVAL;
        while shared.pending_bytes.load(Ordering::Relaxed) < FULL_BYTES {
            tokio::select! {
                () = tokio::time::sleep_until(due) => break,
                () = shared.full.notified() => {}
                () = shared.closing.cancelled() => break,
            }
        }
        let mut written = std::pin::pin!(write_all(&shared));
        tokio::select! {
            () = &mut written => {}
            () = shared.closing.cancelled() => {
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, written).await;
                break;
            }
        }
    }
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, write_all(&shared)).await;
    if shared.pending_bytes.load(Ordering::Relaxed) > 0 {
        let bytes = shared.pending_bytes.load(Ordering::Relaxed);
        tracing::error!(bytes, "the end of some logs could not be stored and is lost");
    }
}

/// Writes what waits.
async fn write_all(shared: &Arc<Shared>) {
    loop {
        let logs = std::mem::take(&mut *shared.listed());
        if logs.is_empty() {
            return;
        }
        let mut logs = logs.into_iter().peekable();
        while logs.peek().is_some() {
            let mut taken = Vec::new();
            let mut bytes = 0;
            while bytes < MAX_OBJECT_BYTES
                && let Some(log) = logs.next()
            {
                let lines = log.take(&shared.pending_bytes);
                bytes += lines.iter().map(|line| line.len()).sum::<usize>();
                taken.push((log, lines));
            }
            write_object(shared, taken).await;
        }
    }
}

/// Writes one object and its rows; tries until it is done.
async fn write_object(shared: &Arc<Shared>, taken: Vec<(Arc<LiveLog>, Vec<LogLine>)>) {
    let encoded = tokio::task::spawn_blocking(move || encode(taken)).await;
    let Ok((object, parts)) = encoded else {
        tracing::error!("a piece of log could not be compressed");
        return;
    };
    let blob = blobs::keys::log_segment(uuid::Uuid::now_v7());
    let mut pause = MIN_PAUSE;
    let mut refusals = 0;
    let mut is_put = false;
    let is_stored = loop {
        match try_write(shared, &blob, &object, &parts, &mut is_put).await {
            Ok(()) => break true,
            Err(error) => {
                if let WriteError::Store(error) = &error
                    && !error.is_transient()
                {
                    refusals += 1;
                }
                tracing::warn!(error = &error as &dyn std::error::Error, "a piece of log can't be stored");
                if refusals > MAX_REFUSALS {
                    break false;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    };
    for part in parts {
        if part.log.stored(&shared.pending_bytes, is_stored) {
            shared.list(Arc::clone(&part.log));
        }
        shared.forget_if_spent(&part.log);
    }
}

async fn try_write(
    shared: &Shared,
    blob: &str,
    object: &Bytes,
    parts: &[Part],
    is_put: &mut bool,
) -> Result<(), WriteError> {
    if !*is_put {
        shared.blobs.put(blob, object.clone()).await?;
        *is_put = true;
    }
    for part in parts {
        if part.log.first_seq().is_none() {
            let seq = next_seq(shared, &part.log, None).await?;
            part.log.set_next_seq(seq.unwrap_or(0));
        }
    }
    let rows: Vec<LogChunkRow> = parts.iter().map(|part| row(part, blob)).collect();
    match shared.store.log_chunk_append(&rows).await {
        Err(StoreError::Conflict(_)) => {}
        other => return Ok(other?),
    }
    // Some of the rows are there: of an earlier try whose answer was lost, or of another process.
    for part in parts {
        if let Some(seq) = next_seq(shared, &part.log, Some(blob)).await? {
            part.log.set_next_seq(seq);
            shared.store.log_chunk_append(&[row(part, blob)]).await?;
        }
    }
    Ok(())
}

/// The number of the next chunk of `log`; none if `blob` holds its last one.
async fn next_seq(shared: &Shared, log: &LiveLog, blob: Option<&str>) -> Result<Option<u32>, StoreError> {
    let (instance, try_number) = &log.key;
    let chunks = shared.store.log_chunk_list(instance, *try_number).await?;
    match chunks.last() {
        Some(last) if Some(last.blob.as_str()) == blob => Ok(None),
        last => Ok(Some(last.map_or(0, |last| last.seq + 1))),
    }
}

fn row(part: &Part, blob: &str) -> LogChunkRow {
    let (instance, try_number) = &part.log.key;
    LogChunkRow {
        instance: instance.clone(),
        try_number: *try_number,
        seq: part.log.next_seq(),
        blob: blob.to_owned(),
        offset: count(part.offset),
        length: count(part.length),
        lines: count(part.lines),
        created_at: Clock.now(),
    }
}

/// An object is far smaller than what the database can count.
fn count(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// Each log's lines as a frame of their own, one after the other.
fn encode(taken: Vec<(Arc<LiveLog>, Vec<LogLine>)>) -> (Bytes, Vec<Part>) {
    let mut object = Vec::new();
    let mut parts = Vec::with_capacity(taken.len());
    for (log, lines) in taken {
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        let offset = object.len();
        match zstd::bulk::compress(text.as_bytes(), COMPRESSION_LEVEL) {
            Ok(frame) => object.extend_from_slice(&frame),
            // Memory is the only thing that can be missing.
            Err(error) => tracing::error!(%error, "a piece of log could not be compressed"),
        }
        let length = object.len() - offset;
        if length > 0 {
            parts.push(Part { log, offset, length, lines: lines.len() });
        }
    }
    (object.into(), parts)
}
