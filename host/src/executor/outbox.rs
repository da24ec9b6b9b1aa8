//! What is to be written to a runner.

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::wire::{AttemptKey, CallError, CallKey, FrameError, FrameWriter, Reply, ToRunner};

/// So much is collected before it is written.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_FRAMES: usize = 512;

/// A frame, and the memory that it takes until it is written.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub frame: ToRunner,
    pub memory: Option<OwnedSemaphorePermit>,
}

/// The way to one runner. Has no bound of its own: attempts, their calls under way and the memory of large values have.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::UnboundedSender<Outgoing>);

impl Outbox {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Sends `frame`, or drops it if the runner is gone: its attempts are lost then anyway.
    pub fn send(&self, frame: ToRunner, memory: Option<OwnedSemaphorePermit>) {
        let _ = self.0.send(Outgoing { frame, memory });
    }

    pub fn reply(
        &self,
        attempt: AttemptKey,
        call: CallKey,
        reply: Result<Reply, CallError>,
        memory: Option<OwnedSemaphorePermit>,
    ) {
        self.send(ToRunner::Reply { attempt, call, reply }, memory);
    }
}

/// Writes what comes, all that waits in one write, until the runner is gone or nobody can send any more.
pub(super) async fn write<W: tokio::io::AsyncWrite + Unpin>(
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    mut to: FrameWriter<W>,
) -> Result<(), FrameError> {
    let mut batch = Vec::with_capacity(BATCH_FRAMES);
    while outgoing.recv_many(&mut batch, BATCH_FRAMES).await > 0 {
        let mut memory = Vec::new();
        for next in batch.drain(..) {
            to.push(&next.frame)?;
            memory.extend(next.memory);
            if to.pending_bytes() > BATCH_BYTES {
                to.flush().await?;
                memory.clear();
            }
        }
        to.flush().await?;
    }
    Ok(())
}
