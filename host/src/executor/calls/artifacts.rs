//! `artifacts` of `wit/task.wit`, and reading of streams.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use super::{Shared, check_media_type, http, objects, over, storage_failed, xcoms::instance_of};
use crate::{
    blobs,
    executor::{
        books::Attempt,
        effects::{Finished, Reader, Stream, Writer},
        ledger::spend,
    },
    model::{ids::Digest, limits::Resource},
    wire::{CallError, Reply, StreamKey},
};

/// The most that one `write` takes or one `read` gives.
const MAX_CHUNK_BYTES: usize = 1 << 20;
/// How long `create` waits until fewer artifacts are being written.
const SLOT_TIMEOUT: Duration = Duration::from_mins(1);

pub(super) async fn create(
    shared: &Shared,
    attempt: &Attempt,
    name: String,
    media_type: String,
) -> Result<Reply, CallError> {
    check_name(&name)?;
    check_media_type(&media_type)?;
    attempt.effects(|effects| effects.admit_artifact(&name)).ok_or_else(over)??;
    let slot = writer_slot(shared).await?;
    let blob = blobs::keys::artifact(uuid::Uuid::now_v7());
    let to = shared.blobs.writer(&blob).map_err(|error| storage_failed(&error))?;
    let writer = Writer { name, media_type, blob, to, hash: Sha256::new(), size_bytes: 0, _slot: slot };
    let stream = Stream::Writer(Arc::new(Mutex::new(Some(writer))));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Stream { stream, size: 0 })
}

/// Leave to write something, of all attempts together.
pub(super) async fn writer_slot(shared: &Shared) -> Result<OwnedSemaphorePermit, CallError> {
    match tokio::time::timeout(SLOT_TIMEOUT, Arc::clone(&shared.writers).acquire_owned()).await {
        Ok(Ok(slot)) => Ok(slot),
        _ => Err(CallError::Unavailable("too many artifacts and objects are being written just now".into())),
    }
}

pub(super) async fn write(attempt: &Attempt, stream: StreamKey, chunk: Vec<u8>) -> Result<Reply, CallError> {
    if chunk.len() > MAX_CHUNK_BYTES {
        return Err(CallError::TooLarge(format!(
            "a chunk of {} bytes is above the limit of {MAX_CHUNK_BYTES}",
            chunk.len()
        )));
    }
    let writer = match find(attempt, stream)? {
        Stream::Upload(upload) => return objects::write(attempt, &upload, chunk).await,
        other => writer(other)?,
    };
    let mut writer = writer.lock().await;
    let open = writer.as_mut().ok_or_else(closed)?;
    attempt.effects(|effects| effects.count_artifact_bytes(&open.name, chunk.len())).ok_or_else(over)??;
    spend(attempt.ledger.as_ref(), Resource::Data, chunk.len(), &format!("artifact `{}` makes", open.name))?;
    open.hash.update(&chunk);
    open.size_bytes += chunk.len() as u64;
    if let Err(error) = open.to.write(chunk.into()).await {
        // What was written is not known; nothing more may be added.
        *writer = None;
        return Err(storage_failed(&error));
    }
    Ok(Reply::Unit)
}

pub(super) async fn finish(shared: &Shared, attempt: &Attempt, stream: StreamKey) -> Result<Reply, CallError> {
    let writer = match find(attempt, stream)? {
        Stream::Upload(upload) => return objects::finish(attempt, stream, &upload).await,
        other => writer(other)?,
    };
    let Writer { name, media_type, blob, to, hash, size_bytes, _slot } =
        writer.lock().await.take().ok_or_else(closed)?;
    to.finish().await.map_err(|error| storage_failed(&error))?;
    let sha256 = Digest(hash.finalize().into());
    let finished = Finished { media_type, size_bytes, sha256, blob: blob.clone() };
    let kept = attempt.effects(|effects| {
        effects.streams.remove(&stream);
        if let Some(replaced) = effects.artifacts.insert(name, finished) {
            effects.garbage.push(replaced.blob);
        }
    });
    if kept.is_none() {
        shared.discard(vec![blob]);
        return Err(over());
    }
    Ok(Reply::Size(size_bytes))
}

pub(super) async fn open(
    shared: &Shared,
    attempt: &Attempt,
    task_id: &str,
    map_index: Option<i32>,
    name: &str,
) -> Result<Reply, CallError> {
    check_name(name)?;
    let instance = instance_of(attempt, task_id, map_index)?;
    let found = shared.store.artifact_get(&instance, name).await.map_err(|error| storage_failed(&error))?;
    let row = found.ok_or_else(|| {
        CallError::NotFound(format!(
            "task `{}` (map_index {}) has no artifact `{name}` in this run",
            instance.task_id, instance.map_index
        ))
    })?;
    let size = u64::try_from(row.size_bytes).unwrap_or(0);
    let reader = Reader { blob: row.blob, size_bytes: size, at: 0, rest: Bytes::new() };
    let stream = Stream::Reader(Arc::new(Mutex::new(reader)));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Stream { stream, size })
}

/// The next bytes of an artifact or a response.
pub(super) async fn read(
    shared: &Shared,
    attempt: &Attempt,
    stream: StreamKey,
    max_bytes: u32,
) -> Result<Reply, CallError> {
    let max = (max_bytes as usize).clamp(1, MAX_CHUNK_BYTES);
    match find(attempt, stream)? {
        Stream::Reader(reader) => {
            let mut reader = reader.lock().await;
            if reader.rest.is_empty() && reader.at < reader.size_bytes {
                // By ranges, so that a slow guest holds no connection open.
                let range = reader.at..reader.size_bytes.min(reader.at + MAX_CHUNK_BYTES as u64);
                let bytes =
                    shared.blobs.get_range(&reader.blob, range).await.map_err(|error| storage_failed(&error))?;
                let bytes = bytes.filter(|bytes| !bytes.is_empty());
                reader.rest = bytes.ok_or_else(|| CallError::NotFound("the artifact was deleted".into()))?;
                reader.at += reader.rest.len() as u64;
            }
            Ok(Reply::Bytes(split(&mut reader.rest, max)))
        }
        Stream::Body(body) => http::read(&mut *body.lock().await, max).await,
        Stream::Object(object) => objects::read(&mut *object.lock().await, max).await,
        Stream::Writer(_) | Stream::Upload(_) => Err(CallError::Invalid("what is being written can't be read".into())),
        Stream::Session(_) | Stream::Rows(_) => Err(CallError::Invalid("a database is no stream of bytes".into())),
    }
}

/// At most `max` bytes off the front of `rest`.
pub(super) fn split(rest: &mut Bytes, max: usize) -> Vec<u8> {
    let length = max.min(rest.len());
    rest.split_to(length).into()
}

fn find(attempt: &Attempt, stream: StreamKey) -> Result<Stream, CallError> {
    attempt.effects(|effects| effects.streams.get(&stream).cloned()).ok_or_else(over)?.ok_or_else(closed)
}

fn writer(stream: Stream) -> Result<Arc<Mutex<Option<Writer>>>, CallError> {
    match stream {
        Stream::Writer(writer) => Ok(writer),
        _ => Err(CallError::Invalid("what is being read can't be written".into())),
    }
}

fn closed() -> CallError {
    CallError::Invalid("the stream is not open".into())
}

/// As `artifacts.create` says; a name is also the last part of a download's address.
fn check_name(name: &str) -> Result<(), CallError> {
    let good_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(&byte))
    };
    if (1..=250).contains(&name.len()) && name.split('/').all(good_part) {
        return Ok(());
    }
    Err(CallError::Invalid(format!(
        "artifact name `{}` is not valid: it must be a relative path of letters, digits, `_`, `-`, `.` and spaces, \
         in at most 250 bytes, without `..`",
        name.chars().take(80).collect::<String>()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for good in ["a", "a.csv", "year 2012/month-01/report_1.svg", "..a", &"x".repeat(250)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\\b", "a\0", "a\nb", "ä", "a\"b", &"x".repeat(251)]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
