//! `artifacts` of `wit/task.wit`.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{Shared, check_media_type, over, storage_failed, writer_slot, xcoms::instance_of};
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

/// What is read at a time.
const PIECE_BYTES: u64 = 1 << 20;

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
    let blob = blobs::keys::artifact(&attempt.id().stem(), uuid::Uuid::now_v7());
    let to = shared.blobs.writer(&blob).map_err(|error| storage_failed(&error))?;
    let writer = Writer { name, media_type, blob, to, hash: Sha256::new(), size_bytes: 0, _slot: slot };
    let stream = Stream::Writer(Arc::new(Mutex::new(Some(writer))));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Stream { stream, size: 0 })
}

pub(super) async fn write(
    attempt: &Attempt,
    writer: &Mutex<Option<Writer>>,
    chunk: Vec<u8>,
) -> Result<Reply, CallError> {
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

pub(super) async fn finish(
    shared: &Shared,
    attempt: &Attempt,
    stream: StreamKey,
    writer: &Mutex<Option<Writer>>,
) -> Result<Reply, CallError> {
    let Writer { name, media_type, blob, to, hash, size_bytes, _slot } =
        writer.lock().await.take().ok_or_else(closed)?;
    if let Err(error) = to.finish().await {
        // It may be there.
        shared.discard(vec![blob]);
        return Err(storage_failed(&error));
    }
    let sha256 = Digest(hash.finalize().into());
    let finished = Finished { media_type, size_bytes, sha256, blob: blob.clone() };
    let kept = attempt.effects(|effects| {
        effects.streams.remove(&stream);
        effects.artifacts.insert(name, finished)
    });
    let Some(replaced) = kept else {
        shared.discard(vec![blob]);
        return Err(over());
    };
    shared.discard(replaced.map(|replaced| replaced.blob).into_iter().collect());
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

/// The next bytes of an artifact, if there are none left of the last; none at its end.
pub(super) async fn fill(shared: &Shared, reader: &mut Reader) -> Result<(), CallError> {
    if reader.rest.is_empty() && reader.at < reader.size_bytes {
        // By ranges, so that a slow guest holds no connection open.
        let range = reader.at..reader.size_bytes.min(reader.at + PIECE_BYTES);
        let bytes = shared.blobs.get_range(&reader.blob, range).await.map_err(|error| storage_failed(&error))?;
        let bytes = bytes.filter(|bytes| !bytes.is_empty());
        reader.rest = bytes.ok_or_else(|| CallError::NotFound("the artifact was deleted".into()))?;
        reader.at += reader.rest.len() as u64;
    }
    Ok(())
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
