//! How much of what clients send, and of what they are slow to take, is in memory: a handler holds the body of its request, and what it reads
//! from it, until it is answered, and the answer is held until its client took it.
//!
//! An address may have a thousand connections and each a hundred requests: what is small enough each time would fill the memory, before
//! anybody has asked whose it is.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body as AnyBody, Bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::error::ApiError;
use crate::model::shares::{Full, Share, Shares};

/// Bytes of bodies and answers that are held, of all clients and of one address.
const MAX_HELD: usize = 512 << 20;
const MAX_HELD_OF_ADDRESS: usize = 128 << 20;
/// So much of a body counts: what may be larger, uploads, has a bound of its own.
const MAX_COUNTED: usize = 8 << 20;
/// Answers that are smaller don't count: the connections that may be waiting for them have a bound.
const MIN_ANSWER: u64 = 64 << 10;
/// What a value takes in memory, with its share of what it is in; in JSON it has a mark - of `,:[{` - and may have no more.
const TREE_BYTES: usize = 160;

/// What all requests hold.
#[derive(Debug)]
pub struct Held(Shares<IpAddr>);

/// What one request holds, until it is dropped.
#[derive(Debug)]
pub struct Holding(Mutex<State>);

#[derive(Debug)]
struct State {
    share: Share<IpAddr>,
    refused: Option<Full>,
}

/// A body that counts as it comes, and fails if there is no room for it.
#[derive(Debug)]
pub struct Counted<B> {
    body: B,
    holding: Arc<Holding>,
    came: usize,
}

impl Default for Held {
    fn default() -> Self {
        Self(Shares::new(MAX_HELD, MAX_HELD_OF_ADDRESS))
    }
}

impl Held {
    /// What a request of `client` holds: nothing yet.
    pub fn holding(&self, client: IpAddr) -> Arc<Holding> {
        Arc::new(Holding(Mutex::new(State { share: self.0.nothing(client), refused: None })))
    }
}

impl Holding {
    fn add(&self, bytes: usize) -> Result<(), Full> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let added = state.share.add(bytes);
        state.refused = state.refused.or(added.err());
        added
    }

    /// Counts what `json` becomes when it is read into memory, value by value: that may be eighty times as much.
    ///
    /// # Errors
    /// If there is no room for it.
    pub fn add_tree(&self, json: &[u8]) -> Result<(), ApiError> {
        let marks = json.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
        self.add(marks.saturating_mul(TREE_BYTES)).map_err(refusal)
    }

    /// What is answered if there was no room.
    pub fn refusal(&self) -> Option<Response> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner).refused?;
        Some(refusal(refused).into_response())
    }
}

fn refusal(full: Full) -> ApiError {
    match full {
        Full::One => {
            let why = "too much of your address is under way; take what you asked for, and wait until some is answered";
            ApiError::too_many(why, Duration::from_secs(1))
        }
        Full::All => ApiError::unavailable("too much of what clients send and ask for is under way; try again"),
    }
}

/// Counts an answer that is in memory as a whole, for as long as any of it is. To be asked before it is compressed, which hides how much
/// that is.
pub async fn hold(request: Request, next: Next) -> Response {
    let holding = request.extensions().get::<Arc<Holding>>().cloned();
    let response = next.run(request).await;
    let size = response.body().size_hint().exact().filter(|size| *size >= MIN_ANSWER);
    let (Some(holding), Some(size)) = (holding, size) else { return response };
    if holding.add(usize::try_from(size).unwrap_or(usize::MAX)).is_err() {
        return holding.refusal().unwrap_or(response);
    }
    // Whoever writes to the socket may have taken the bytes long before they are gone.
    response.map(|body| {
        AnyBody::new(body.map_frame(move |frame| {
            frame.map_data(|data| Bytes::from_owner(Kept { data, _holding: Arc::clone(&holding) }))
        }))
    })
}

/// Bytes that count until the last copy of them is dropped.
struct Kept {
    data: Bytes,
    _holding: Arc<Holding>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl<B> Counted<B> {
    pub fn new(body: B, holding: Arc<Holding>) -> Self {
        Self { body, holding, came: 0 }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Error = axum::BoxError> + Unpin,
{
    type Data = B::Data;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, axum::BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let came = frame.data_ref().map_or(0, Buf::remaining).min(MAX_COUNTED - self.came);
            self.came += came;
            if came > 0 && self.holding.add(came).is_err() {
                return Poll::Ready(Some(Err("there is no room for the body".into())));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
