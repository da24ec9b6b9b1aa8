//! How fast the body of a request must come.
//!
//! What a handler waits for is held in memory, and often a slot with it: a thousand clients that send a byte a second must not
//! keep others from theirs.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// A tenth of what a bad mobile network manages.
const PACE: Pace = Pace { grace: Duration::from_secs(20), bytes_per_s: 8 << 10 };

/// How long is waited for a body: `grace`, however little of it came, and a second more for each `bytes_per_s` that did.
#[derive(Debug, Clone, Copy)]
struct Pace {
    grace: Duration,
    bytes_per_s: u64,
}

/// A body that fails if it is waited for too long.
pub struct Paced<B> {
    body: B,
    pace: Pace,
    received: u64,
    /// Spent waiting for pieces that came.
    waited: Duration,
    /// Set while the next piece is waited for: since when, and until when.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    pub fn new(body: B) -> Self {
        Self { body, pace: PACE, received: 0, waited: Duration::ZERO, waiting: None }
    }

    /// How long the sender may still take for the next piece.
    fn left(&self) -> Duration {
        let earned = Duration::from_millis(self.received.saturating_mul(1_000) / self.pace.bytes_per_s);
        (self.pace.grace + earned).saturating_sub(self.waited)
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data: Send, Error: Into<axum::BoxError>> + Unpin,
{
    type Data = B::Data;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            if let Some((since, _)) = self.waiting.take() {
                self.waited += since.elapsed();
            }
            if let Some(Ok(frame)) = &frame {
                self.received += frame.data_ref().map_or(0, |data| bytes::Buf::remaining(data) as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let left = self.left();
        let (_, until) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + left)))
        });
        match until.as_mut().poll(context) {
            Poll::Ready(()) => {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "the body comes too slowly");
                Poll::Ready(Some(Err(slow.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::sleep;

    use super::*;

    const QUICK: Pace = Pace { grace: Duration::from_millis(300), bytes_per_s: 10_000 };

    /// `pieces` of `size` bytes, each after a `pause` in milliseconds; how many bytes came.
    async fn came(pieces: usize, size: usize, pause: u64) -> Result<usize, axum::BoxError> {
        let pieces = stream::unfold(0, move |sent| async move {
            sleep(Duration::from_millis(pause)).await;
            let piece = Frame::data(Bytes::from(vec![0; size]));
            (sent < pieces).then_some((Ok::<_, io::Error>(piece), sent + 1))
        });
        let body = Paced { pace: QUICK, ..Paced::new(StreamBody::new(Box::pin(pieces))) };
        Ok(body.collect().await?.to_bytes().len())
    }

    #[tokio::test]
    async fn a_body_has_a_grace_and_then_a_pace() {
        assert_eq!(came(50, 1_000, 20).await.unwrap(), 50_000, "fast enough");
        assert_eq!(came(3, 1, 30).await.unwrap(), 3, "short enough");
        assert!(came(100, 1, 20).await.is_err(), "a byte at a time");
        assert!(came(1, 64 << 10, 1_000).await.is_err(), "a pause before the first piece");
        assert!(came(1_000, 50, 10).await.is_err(), "half of what is asked for");
    }

    #[tokio::test]
    async fn what_the_server_takes_is_not_the_senders_time() {
        let pieces =
            stream::iter([b"a", b"b", b"c"].map(|piece| Ok::<_, io::Error>(Frame::data(Bytes::from_static(piece)))));
        let mut body = Paced { pace: QUICK, ..Paced::new(StreamBody::new(pieces)) };
        while let Some(frame) = body.frame().await {
            assert!(frame.is_ok());
            sleep(2 * QUICK.grace).await;
        }
    }
}
