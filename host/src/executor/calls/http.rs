//! Outgoing HTTP of guests.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use super::{Shared, over};
use crate::{
    executor::{
        books::Attempt,
        effects::{Body, Stream},
        egress::{self, HttpRequest},
    },
    wire::{CallError, Reply},
};

const MAX_RESPONSE_BYTES: u64 = 256 << 20;
/// Between two pieces of a response.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// For a whole exchange: a server that sends a byte a second must not hold its place for ever.
const EXCHANGE_TIMEOUT: Duration = Duration::from_hours(1);

pub(super) async fn request(shared: &Shared, attempt: &Attempt, request: HttpRequest) -> Result<Reply, CallError> {
    let until = Instant::now() + EXCHANGE_TIMEOUT;
    let at_a_time = shared.config.traffic.at_a_time;
    let slot = attempt.effects(|effects| effects.http_slot(at_a_time)).ok_or_else(over)?.ok_or_else(|| {
        CallError::Unavailable(format!(
            "{at_a_time} HTTP exchanges are under way, which is all that an attempt may have at a time (setting \
             `egress.max_at_a_time`); end or drop some first"
        ))
    })?;
    let _memory = shared
        .request_bodies
        .try_reserve(request.body.len() as u64)
        .map_err(|_| CallError::Unavailable("too many large request bodies are under way; try again".into()))?;
    let response = shared.egress.send(shared, attempt, request).await?;
    let status = response.status().as_u16();
    let headers =
        response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let host = response.url().host_str().unwrap_or_default().to_owned();
    let body = Body { host, response, rest: bytes::Bytes::new(), size_bytes: 0, until, _slot: slot };
    let stream = Stream::Body(Arc::new(Mutex::new(body)));
    let stream = attempt.effects(|effects| effects.open_stream(stream)).ok_or_else(over)??;
    Ok(Reply::Response { stream, status, headers })
}

/// The next bytes of a response, if there are none left of the last; none at its end.
pub(super) async fn fill(body: &mut Body) -> Result<(), CallError> {
    while body.rest.is_empty() {
        let until = body.until.min(Instant::now() + IDLE_TIMEOUT);
        match tokio::time::timeout_at(until, body.response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                body.size_bytes += chunk.len() as u64;
                if body.size_bytes > MAX_RESPONSE_BYTES {
                    return Err(CallError::TooLarge(format!(
                        "the response of `{}` is above the limit of {MAX_RESPONSE_BYTES} bytes",
                        body.host
                    )));
                }
                body.rest = chunk;
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(egress::unavailable(&body.host, error)),
            Err(_) => return Err(CallError::Unavailable(format!("`{}` sends nothing more", body.host))),
        }
    }
    Ok(())
}
