//! What is to be written to a runner.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::wire::{AttemptKey, CallError, CallKey, FrameError, FrameWriter, Reply, ToRunner};

/// So much is collected before it is written.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FRAMES: usize = 512;

/// Answers that wait to be written when nothing more is asked of us, until some are: a runner asks for what it does not read no more.
const MAX_REPLIES: usize = 1_024;

/// A frame, and what it takes until it is written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub frame: ToRunner,
    pub memory: Option<OwnedSemaphorePermit>,
    /// Its place, if it is an answer.
    place: Option<OwnedSemaphorePermit>,
}

/// The way to one runner. Never refuses: attempts, their calls under way and the memory of large values have bounds, and whoever takes calls
/// in waits while there is no [room](Self::has_room).
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    frames: mpsc::UnboundedSender<Outgoing>,
    places: Arc<Semaphore>,
}

impl Outbox {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (frames, receiver) = mpsc::unbounded_channel();
        (Self { frames, places: Arc::new(Semaphore::new(MAX_REPLIES)) }, receiver)
    }

    /// Sends `frame`, or drops it if the runner is gone: its attempts are lost then anyway.
    pub fn send(&self, frame: ToRunner, memory: Option<OwnedSemaphorePermit>) {
        let _ = self.frames.send(Outgoing { frame, memory, place: None });
    }

    /// Whether fewer answers wait than may.
    pub fn has_room(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Waits until fewer do.
    pub async fn room(&self) {
        // The semaphore is never closed.
        drop(self.places.acquire().await);
    }

    pub fn reply(
        &self,
        attempt: AttemptKey,
        call: CallKey,
        reply: Result<Reply, CallError>,
        memory: Option<OwnedSemaphorePermit>,
    ) {
        // Calls that were under way when there was no place more have none: there are so many of an attempt at most.
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let _ = self.frames.send(Outgoing { frame: ToRunner::Reply { attempt, call, reply }, memory, place });
    }
}

/// Writes what comes, all that waits in one write, until the runner is gone or nobody can send any more.
pub(super) async fn write<W: tokio::io::AsyncWrite + Unpin>(
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    mut to: FrameWriter<W>,
) -> Result<(), FrameError> {
    let mut batch = Vec::with_capacity(BATCH_FRAMES);
    while outgoing.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
        let mut taken = Vec::new();
        for Outgoing { frame, memory, place } in batch.drain(..) {
            to.push(&frame)?;
            taken.extend(memory.into_iter().chain(place));
            if to.pending_bytes() > BATCH_BYTES {
                to.flush().await?;
                taken.clear();
            }
        }
        to.flush().await?;
    }
    Ok(())
}
