//! Bounds on what large values take of memory while they pass through.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Smaller values are not counted: attempts are, and that bounds them.
const COUNTED_BYTES: u64 = 256 << 10;

/// So many bytes at a time, counted in KiB.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    free: Arc<Semaphore>,
    all_kib: u32,
}

impl Budget {
    pub fn new(mib: u32) -> Self {
        let all_kib = mib << 10;
        Self { free: Arc::new(Semaphore::new(all_kib as usize)), all_kib }
    }

    fn kib(&self, bytes: u64) -> u32 {
        // What is larger than all goes alone.
        u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.all_kib)
    }

    /// Waits until there is room for `bytes`; none if they are too few to count.
    pub async fn reserve(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        if bytes < COUNTED_BYTES {
            return None;
        }
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_many_owned(self.kib(bytes)).await.ok()
    }

    /// As [`Budget::reserve`], but without waiting.
    ///
    /// # Errors
    /// If there is no room now.
    pub fn try_reserve(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        if bytes < COUNTED_BYTES {
            return Ok(None);
        }
        Arc::clone(&self.free).try_acquire_many_owned(self.kib(bytes)).map(Some)
    }
}
