//! Uploads on their way: how much of them is in memory, and whose turn it is.
//!
//! Compiling is the dearest thing that a request can ask for. So each user's uploads are compiled one after another, beside those of
//! others, and nobody's bytes fill the memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Scheduler;
use crate::model::shares::{Full, Share, Shares};

/// The largest component, or text in YAML, in bytes.
pub const MAX_UPLOAD_BYTES: usize = 64 << 20;
/// Bytes of uploads that are received or wait, altogether and of one user.
const MAX_BYTES: usize = 512 << 20;
const MAX_BYTES_OF_USER: usize = 256 << 20;
/// Uploads that wait or are compiled, altogether and of one user.
const MAX_WAITING: usize = 256;
const MAX_WAITING_OF_USER: usize = 32;

/// Why an upload is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    #[error("the component is larger than {} MiB, the most allowed", MAX_UPLOAD_BYTES >> 20)]
    TooLarge,
    #[error("{}", match .0 {
        Full::One => "too many of your uploads are under way; wait until some are done",
        Full::All => "too many uploads are under way; try again later",
    })]
    Full(Full),
}

/// What is under way.
#[derive(Debug)]
pub(super) struct Intake {
    bytes: Shares<String>,
    waiting: Shares<String>,
    /// Of each user who waits, whose one permit is the turn.
    turns: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// Ends when it is dropped, and the next of the same user begins.
pub(super) struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
    _place: Share<String>,
}

/// An upload while it is received, and what it takes of the memory for uploads until it is dropped.
#[derive(Debug)]
pub struct Upload {
    bytes: BytesMut,
    share: Share<String>,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            bytes: Shares::new(MAX_BYTES, MAX_BYTES_OF_USER),
            waiting: Shares::new(MAX_WAITING, MAX_WAITING_OF_USER),
            turns: Mutex::default(),
        }
    }
}

impl Intake {
    /// Waits until no other upload of `username` is compiled.
    pub(super) async fn turn(&self, username: &str) -> Result<Turn, IntakeError> {
        let place = self.waiting.take(&username.to_owned(), 1).map_err(IntakeError::Full)?;
        let turns = {
            let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turns| turns.strong_count() > 0);
            all.get(username).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turns = Arc::new(Semaphore::new(1));
                all.insert(username.to_owned(), Arc::downgrade(&turns));
                turns
            })
        };
        // It is never closed.
        Ok(Turn { _permit: turns.acquire_owned().await.ok(), _place: place })
    }
}

impl Scheduler {
    /// Begins to receive an upload of `username`.
    ///
    /// # Errors
    /// If too much is under way.
    pub fn upload(&self, username: &str) -> Result<Upload, IntakeError> {
        let share = self.intake.bytes.take(&username.to_owned(), 0).map_err(IntakeError::Full)?;
        Ok(Upload { bytes: BytesMut::new(), share })
    }
}

impl Upload {
    /// Adds what came.
    ///
    /// # Errors
    /// If the upload becomes too large, or too much is under way.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), IntakeError> {
        if self.bytes.len() + piece.len() > MAX_UPLOAD_BYTES {
            return Err(IntakeError::TooLarge);
        }
        self.share.add(piece.len()).map_err(IntakeError::Full)?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// All that came. Keep the upload until nobody needs them.
    pub fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn uploads_of_one_wait_for_each_other_and_not_for_those_of_others() {
        let intake = Intake::default();
        let moment = Duration::from_millis(100);
        let first = intake.turn("ann").await.unwrap();
        assert!(timeout(moment, intake.turn("ann")).await.is_err());
        assert!(timeout(moment, intake.turn("bob")).await.is_ok());
        drop(first);
        assert!(timeout(moment, intake.turn("ann")).await.is_ok());
        assert_eq!(intake.turns.lock().unwrap().len(), 1, "who waits for nothing is forgotten with the next");
    }

    #[tokio::test]
    async fn a_queue_has_an_end() {
        let intake = Intake::default();
        let first = intake.turn("ann").await.unwrap();
        let mut waiting: Vec<_> = (1..MAX_WAITING_OF_USER).map(|_| Box::pin(intake.turn("ann"))).collect();
        for turn in &mut waiting {
            let _ = futures_util::poll!(turn);
        }
        assert_eq!(intake.turn("ann").await.err(), Some(IntakeError::Full(Full::One)));
        assert!(intake.turn("bob").await.is_ok());
        drop((first, waiting));
        assert!(intake.turn("ann").await.is_ok());
    }

    #[test]
    fn what_is_received_has_a_bound() {
        let intake = Intake::default();
        let upload =
            |name: &str| Upload { bytes: BytesMut::new(), share: intake.bytes.take(&name.to_owned(), 0).unwrap() };
        let piece = vec![0; 32 << 20];
        let mut all: Vec<_> = (0..5).map(|_| upload("ann")).collect();
        for upload in &mut all[..4] {
            assert_eq!((upload.push(&piece), upload.push(&piece)), (Ok(()), Ok(())));
            assert_eq!(upload.push(b"x"), Err(IntakeError::TooLarge));
        }
        assert_eq!(all[4].push(b"x"), Err(IntakeError::Full(Full::One)));
        assert_eq!(upload("bob").push(&piece), Ok(()));
        assert_eq!(all.remove(0).take().len(), 64 << 20);
        assert_eq!(all[3].push(&piece), Ok(()), "one is gone");
    }
}
