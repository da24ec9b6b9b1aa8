//! What calls take of the network, counted against what an attempt may have.

use tokio::time::Instant;

use super::{Shared, over};
use crate::{
    executor::{books::Attempt, effects::Stream},
    model::{
        limits::{OverLimit, Resource},
        sql::Datum,
        traffic::{TrafficCaps, TrafficError},
    },
    wire::{Call, CallError, Reply, StreamKey},
};

/// What a call asks of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// Whether it is a request of its own, not the next piece of one.
    is_request: bool,
    sent_bytes: u64,
}

impl Use {
    fn request(sent_bytes: usize) -> Self {
        Self { is_request: true, sent_bytes: sent_bytes as u64 }
    }

    fn piece(sent_bytes: usize) -> Self {
        Self { is_request: false, sent_bytes: sent_bytes as u64 }
    }

    /// None: the call stays in the house. `leads_out`: whether a stream does not.
    fn of(call: &Call, leads_out: impl Fn(StreamKey) -> bool) -> Option<Self> {
        Some(match call {
            Call::HttpRequest { method, uri, headers, body, .. } => {
                let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                Self::request(method.len() + uri.len() + headers + body.len())
            }
            Call::ObjectGet { key, .. }
            | Call::ObjectPut { key, .. }
            | Call::ObjectHead { key, .. }
            | Call::ObjectDelete { key, .. } => Self::request(key.len()),
            Call::ObjectList { prefix, .. } => Self::request(prefix.len()),
            Call::SqlOpen { .. } | Call::SqlTransaction { .. } => Self::request(0),
            Call::SqlQuery { statement, parameters, .. } | Call::SqlExecute { statement, parameters, .. } => {
                Self::request(statement.len() + parameters.iter().map(Datum::size_bytes).sum::<usize>())
            }
            Call::SqlNext { .. } => Self::piece(0),
            Call::StreamRead { stream, .. } | Call::ArtifactFinish { stream } => {
                leads_out(*stream).then_some(Self::piece(0))?
            }
            Call::ArtifactWrite { stream, chunk } => leads_out(*stream).then_some(Self::piece(chunk.len()))?,
            Call::XComPush { .. }
            | Call::XComPull { .. }
            | Call::XComPullRuns { .. }
            | Call::VariableGet { .. }
            | Call::ConnectionGet { .. }
            | Call::ArtifactCreate { .. }
            | Call::ArtifactOpen { .. }
            | Call::AssetSetExtra { .. }
            | Call::AssetAdd { .. }
            | Call::AssetTriggering
            | Call::AssetEvents { .. }
            | Call::ApprovalFind { .. }
            | Call::LabelSet { .. }
            | Call::RetryDelaySet { .. }
            | Call::DagLook(_)
            | Call::DagTrigger(_)
            | Call::StreamDrop { .. } => return None,
        })
    }

    /// As `attempt` asks for it.
    pub(super) fn by(attempt: &Attempt, call: &Call) -> Option<Self> {
        Self::of(call, |stream| {
            let leads_out = attempt.effects(|effects| {
                let stream = effects.streams.get(&stream);
                matches!(stream, Some(Stream::Body(_) | Stream::Object(_) | Stream::Upload(_)))
            });
            leads_out.unwrap_or(false)
        })
    }
}

/// Bytes of the network that the guest is given.
fn received_bytes(reply: &Reply) -> u64 {
    let bytes = match reply {
        Reply::Bytes(bytes) => bytes.len(),
        Reply::Response { headers, .. } => headers.iter().map(|(name, value)| name.len() + value.len()).sum(),
        Reply::Batch(rows) => rows.iter().flatten().map(Datum::size_bytes).sum(),
        Reply::Objects { objects, .. } => objects.iter().map(|object| object.key.len()).sum(),
        _ => 0,
    };
    bytes as u64
}

fn beyond(limit: &OverLimit) -> CallError {
    CallError::TooLarge(format!("this is {limit}"))
}

/// Does `work`, which uses so much of the network, if the attempt may; not longer than it may.
pub(super) async fn counted(
    shared: &Shared,
    attempt: &Attempt,
    used: Use,
    work: impl Future<Output = Result<Reply, CallError>>,
) -> Result<Reply, CallError> {
    let caps = &shared.config.traffic;
    let count = |error: TrafficError| CallError::TooLarge(error.to_string());
    let begin = |caps: &TrafficCaps| {
        attempt.effects(|effects| effects.traffic.begin(caps, used.is_request, used.sent_bytes)).ok_or_else(over)
    };
    let left = begin(caps)?.map_err(count)?;
    if let Some(ledger) = &attempt.ledger {
        ledger.spend(Resource::Network, used.sent_bytes).map_err(|limit| beyond(&limit))?;
    }
    let started = Instant::now();
    let result = tokio::time::timeout(left, work).await;
    let result = result.unwrap_or_else(|_| Err(count(TrafficError::Time(caps.time))));
    let received_bytes = result.as_ref().map_or(0, received_bytes);
    let ended = attempt.effects(|effects| effects.traffic.end(caps, started.elapsed(), received_bytes));
    ended.ok_or_else(over)?.map_err(count)?;
    if let Some(ledger) = &attempt.ledger {
        ledger.had(Resource::Network, received_bytes).map_err(|limit| beyond(&limit))?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_house_is_counted() {
        let inside = |_| false;
        let outside = |_| true;
        let stream = StreamKey(1);
        let request = Call::HttpRequest {
            method: "POST".into(),
            uri: "http://a/".into(),
            headers: vec![("x".into(), vec![0; 2])],
            body: vec![0; 10],
            timeout_ms: None,
        };
        assert_eq!(Use::of(&request, inside), Some(Use::request(4 + 9 + 3 + 10)));
        let write = Call::ArtifactWrite { stream, chunk: vec![0; 7] };
        assert_eq!((Use::of(&write, inside), Use::of(&write, outside)), (None, Some(Use::piece(7))));
        let read = Call::StreamRead { stream, max_bytes: 9 };
        assert_eq!((Use::of(&read, inside), Use::of(&read, outside)), (None, Some(Use::piece(0))));
        assert_eq!(Use::of(&Call::VariableGet { key: "a".into() }, outside), None);
        assert_eq!(received_bytes(&Reply::Bytes(vec![0; 5])), 5);
        assert_eq!(received_bytes(&Reply::Unit), 0);
    }
}
