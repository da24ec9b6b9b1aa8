//! How much of what clients send is in memory: a handler holds the body of its request until it is answered.
//!
//! An address may have a thousand connections and each a hundred requests: bodies that each are small enough would fill the memory,
//! before anybody has asked whose they are.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};

use crate::model::shares::{Full, Share, Shares};

/// Bytes of bodies that are held, of all clients and of one address.
const MAX_HELD: usize = 512 << 20;
const MAX_HELD_OF_ADDRESS: usize = 128 << 20;
/// So much of a body counts: what may be larger, uploads, has a bound of its own.
const MAX_COUNTED: usize = 8 << 20;

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
    counted: usize,
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

    /// Why the body could not be taken.
    pub fn refused(&self) -> Option<Full> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused
    }
}

impl<B> Counted<B> {
    pub fn new(body: B, holding: Arc<Holding>) -> Self {
        Self { body, holding, counted: 0 }
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
            let came = frame.data_ref().map_or(0, |data| data.remaining()).min(MAX_COUNTED - self.counted);
            self.counted += came;
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
