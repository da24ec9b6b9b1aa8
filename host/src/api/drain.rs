//! Bodies that a handler leaves unread.
//!
//! A server that answers early and closes makes the sender's system throw away what it received: a client that is still
//! sending an upload sees a broken pipe, and never the 401 or 413 that tells why. So the rest is read for a while.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// How much of a body is read on after it was refused, in bytes, and for how long: longer senders are cut off.
const MOST: usize = 256 << 20;
const LONGEST: Duration = Duration::from_secs(5);

/// Sees to it that an answer reaches also those that are still sending.
pub async fn drain(request: Request, next: Next) -> Response {
    // Whoever waits to be told to send has sent nothing, and to ask for the body would tell them.
    if request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    next.run(request.map(|body| Body::new(Drained(body)))).await
}

/// A body whose rest is read when it is dropped.
struct Drained(Body);

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.0.is_end_stream() {
            return;
        }
        let mut rest = mem::take(&mut self.0);
        runtime.spawn(tokio::time::timeout(LONGEST, async move {
            let mut read = 0;
            while let Some(Ok(frame)) = rest.frame().await
                && read < MOST
            {
                read += frame.data_ref().map_or(0, Bytes::len);
            }
        }));
    }
}
