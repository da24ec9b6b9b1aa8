//! Streams that guests hold, whatever stands behind them: artifacts, objects, responses.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::{Shared, artifacts, http, objects, over};
use crate::{
    executor::{
        books::Attempt,
        effects::{Stream, Writer},
    },
    wire::{CallError, Reply, StreamKey},
};

/// The most that one `write` takes or one `read` gives.
const MAX_CHUNK_BYTES: usize = 1 << 20;

pub(super) async fn write(attempt: &Attempt, stream: StreamKey, chunk: Vec<u8>) -> Result<Reply, CallError> {
    if chunk.len() > MAX_CHUNK_BYTES {
        return Err(CallError::TooLarge(format!(
            "a chunk of {} bytes is above the limit of {MAX_CHUNK_BYTES}",
            chunk.len()
        )));
    }
    match find(attempt, stream)? {
        Stream::Upload(upload) => objects::write(attempt, &upload, chunk).await,
        other => artifacts::write(attempt, &*writer(other)?, chunk).await,
    }
}

pub(super) async fn finish(shared: &Shared, attempt: &Attempt, stream: StreamKey) -> Result<Reply, CallError> {
    match find(attempt, stream)? {
        Stream::Upload(upload) => objects::finish(attempt, stream, &upload).await,
        other => artifacts::finish(shared, attempt, stream, &*writer(other)?).await,
    }
}

/// The next bytes, at most `max_bytes`; none at the end.
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
            artifacts::fill(shared, &mut reader).await?;
            Ok(split(&mut reader.rest, max))
        }
        Stream::Body(body) => {
            let mut body = body.lock().await;
            http::fill(&mut body).await?;
            Ok(split(&mut body.rest, max))
        }
        Stream::Object(object) => {
            let mut object = object.lock().await;
            objects::fill(&mut object).await?;
            Ok(split(&mut object.rest, max))
        }
        Stream::Writer(_) | Stream::Upload(_) => Err(CallError::Invalid("what is being written can't be read".into())),
        Stream::Session(_) | Stream::Rows(_) => Err(CallError::Invalid("a database is no stream of bytes".into())),
    }
}

/// At most `max` bytes off the front of `rest`.
fn split(rest: &mut Bytes, max: usize) -> Reply {
    let length = max.min(rest.len());
    Reply::Bytes(rest.split_to(length).into())
}

fn find(attempt: &Attempt, stream: StreamKey) -> Result<Stream, CallError> {
    let found = attempt.effects(|effects| effects.streams.get(&stream).cloned()).ok_or_else(over)?;
    found.ok_or_else(|| CallError::Invalid("the stream is not open".into()))
}

fn writer(stream: Stream) -> Result<Arc<Mutex<Option<Writer>>>, CallError> {
    match stream {
        Stream::Writer(writer) => Ok(writer),
        _ => Err(CallError::Invalid("what is being read can't be written".into())),
    }
}
