//! `objects` of `wit/task.wit`.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use tokio::sync::Mutex;

use super::{Shared, check_media_type, invalid, over, settings, writer_slot};
use crate::{
    blobs::{BlobError, BlobInfo, Blobs},
    connections::Bucket,
    executor::{
        books::Attempt,
        effects::{Object, Stream, Upload},
    },
    model::ids::ConnectionId,
    wire::{CallError, ObjectInfo, Reply, StreamKey},
};

/// What is read of an object at a time.
const PIECE_BYTES: u64 = 4 << 20;
/// Of a page.
const MAX_LISTED: u32 = 1_000;
const MAX_KEY_BYTES: usize = 1_024;

/// The objects of a connection that the attempt may use, and its id.
async fn open(shared: &Shared, attempt: &Attempt, id: &str) -> Result<(Blobs, ConnectionId), CallError> {
    let id = ConnectionId::new(id).map_err(invalid)?;
    attempt.assignment.permit(|grants| grants.allows_connection(&id), || format!("connection:{id}"))?;
    let connection = settings::open(shared, &id).await?;
    settings::hide_all(attempt, connection.secrets())?;
    let bucket = Bucket::of(&connection).map_err(|error| CallError::Invalid(error.to_string()))?;
    if let Some(why) = bucket.refused() {
        return Err(CallError::Denied(format!("connection `{id}` can't be used: its host is {why}")));
    }
    let client = shared.egress.by_connection().clone();
    let blobs = Blobs::of_bucket(bucket.config(), client, shared.tasks.clone()).map_err(|error| told(&id, &error))?;
    Ok((blobs, id))
}

pub(super) async fn get(shared: &Shared, attempt: &Attempt, id: &str, key: &str) -> Result<Reply, CallError> {
    check_key(key)?;
    let (blobs, id) = open(shared, attempt, id).await?;
    let info = find(&blobs, &id, key).await?;
    let told = ObjectInfo::from(info.clone());
    let object = Object { blobs, connection: id, info, at: 0, rest: bytes::Bytes::new() };
    let stream = Stream::Object(Arc::new(Mutex::new(object)));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Object { stream, info: told })
}

/// The next bytes of an object, if there are none left of the last; none at its end.
pub(super) async fn fill(object: &mut Object) -> Result<(), CallError> {
    if object.rest.is_empty() && object.at < object.info.size_bytes {
        // By ranges, so that a slow guest holds no connection open.
        let range = object.at..object.info.size_bytes.min(object.at + PIECE_BYTES);
        let found = object.blobs.get_range_of(&object.info, range).await;
        let bytes = found.map_err(|error| told(&object.connection, &error))?.filter(|bytes| !bytes.is_empty());
        object.rest = bytes.ok_or_else(|| {
            CallError::Unavailable(format!("object `{}` was changed or deleted while it was read", object.info.key))
        })?;
        object.at += object.rest.len() as u64;
    }
    Ok(())
}

pub(super) async fn put(
    shared: &Shared,
    attempt: &Attempt,
    id: &str,
    key: &str,
    media_type: &str,
) -> Result<Reply, CallError> {
    check_key(key)?;
    check_media_type(media_type)?;
    let (blobs, id) = open(shared, attempt, id).await?;
    let slot = writer_slot(shared).await?;
    let to = blobs.writer_of(key, media_type).map_err(|error| told(&id, &error))?;
    let upload = Upload { connection: id, to, size_bytes: 0, _slot: slot };
    let stream = Stream::Upload(Arc::new(Mutex::new(Some(upload))));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Stream { stream, size: 0 })
}

pub(super) async fn write(
    attempt: &Attempt,
    upload: &Mutex<Option<Upload>>,
    chunk: Vec<u8>,
) -> Result<Reply, CallError> {
    let mut upload = upload.lock().await;
    let open = upload.as_mut().ok_or_else(closed)?;
    attempt.effects(|effects| effects.count_object_bytes(chunk.len())).ok_or_else(over)??;
    open.size_bytes += chunk.len() as u64;
    if let Err(error) = open.to.write(chunk.into()).await {
        let error = told(&open.connection, &error);
        // What was written is not known; nothing more may be added.
        *upload = None;
        return Err(error);
    }
    Ok(Reply::Unit)
}

pub(super) async fn finish(
    attempt: &Attempt,
    stream: StreamKey,
    upload: &Mutex<Option<Upload>>,
) -> Result<Reply, CallError> {
    let Upload { connection, to, size_bytes, _slot } = upload.lock().await.take().ok_or_else(closed)?;
    attempt.effects(|effects| effects.streams.remove(&stream)).ok_or_else(over)?;
    to.finish().await.map_err(|error| told(&connection, &error))?;
    Ok(Reply::Size(size_bytes))
}

pub(super) async fn list(
    shared: &Shared,
    attempt: &Attempt,
    id: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Reply, CallError> {
    if !prefix.is_empty() {
        check_key(prefix)?;
    }
    after.map(check_key).transpose()?;
    let (blobs, id) = open(shared, attempt, id).await?;
    let limit = limit.clamp(1, MAX_LISTED) as usize;
    let mut listed = blobs.list_after(prefix, after).map_err(|error| told(&id, &error))?;
    let mut objects = Vec::new();
    let mut has_more = false;
    while let Some(info) = listed.try_next().await.map_err(|error| told(&id, &error))? {
        if objects.len() == limit {
            has_more = true;
            break;
        }
        objects.push(ObjectInfo::from(info));
    }
    Ok(Reply::Objects { objects, has_more })
}

pub(super) async fn head(shared: &Shared, attempt: &Attempt, id: &str, key: &str) -> Result<Reply, CallError> {
    check_key(key)?;
    let (blobs, id) = open(shared, attempt, id).await?;
    Ok(Reply::ObjectInfo(find(&blobs, &id, key).await?.into()))
}

pub(super) async fn delete(shared: &Shared, attempt: &Attempt, id: &str, key: &str) -> Result<Reply, CallError> {
    check_key(key)?;
    let (blobs, id) = open(shared, attempt, id).await?;
    blobs.delete(key).await.map_err(|error| told(&id, &error))?;
    Ok(Reply::Unit)
}

async fn find(blobs: &Blobs, id: &ConnectionId, key: &str) -> Result<BlobInfo, CallError> {
    let found = blobs.info(key).await.map_err(|error| told(id, &error))?;
    found.ok_or_else(|| CallError::NotFound(format!("connection `{id}` has no object `{key}`")))
}

impl From<BlobInfo> for ObjectInfo {
    fn from(info: BlobInfo) -> Self {
        Self { key: info.key, size_bytes: info.size_bytes, modified_at: info.modified_at, etag: info.etag }
    }
}

/// A key that every storage takes, and that stays below its prefix.
fn check_key(key: &str) -> Result<(), CallError> {
    let good_part = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if key.len() <= MAX_KEY_BYTES && key.split('/').all(good_part) {
        return Ok(());
    }
    Err(CallError::Invalid(format!(
        "`{}` is no key of an object: parts divided by `/`, none of them empty, `.` or `..`, in at most {MAX_KEY_BYTES} bytes",
        key.chars().take(80).collect::<String>()
    )))
}

fn closed() -> CallError {
    CallError::Invalid("the object is not open".into())
}

/// Without the storage's own words: they may repeat what was sent.
fn told(id: &ConnectionId, error: &BlobError) -> CallError {
    tracing::warn!(connection = %id, error = error as &dyn std::error::Error, "a task could not use a storage");
    match error {
        BlobError::Denied(_) => CallError::Invalid(format!(
            "the storage of connection `{id}` refuses: its credentials are wrong, or may not do this"
        )),
        BlobError::Refused(_) | BlobError::Url { .. } | BlobError::Folder { .. } => {
            CallError::Invalid(format!("the storage of connection `{id}` refuses the request"))
        }
        BlobError::Unavailable(_) => {
            CallError::Unavailable(format!("the storage of connection `{id}` can't be used just now"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_lead_elsewhere_are_refused() {
        for good in ["a", "a/b.csv", "day 1/ä.json", "..a", "x#1"] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "a\nb", &"x".repeat(1_025)] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
    }
}
