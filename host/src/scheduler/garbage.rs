//! Deletes objects that no row names any more, and cached results that have expired.
//!
//! The store notes them when it deletes or replaces the rows that named them; here they are deleted from object storage and then
//! forgotten. A crash between the two deletes them again, which does nothing.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{
    blobs::{BlobError, Blobs},
    model::time::{Clock, Timestamp},
    store::{Store, StoreError},
};

#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// Objects that are deleted at a time.
const BATCH: u32 = 500;
/// How long it waits if nothing wakes it: retries replace results without telling.
const INTERVAL: Duration = Duration::from_mins(1);

/// Collects until it is dropped; `wake` says that there may be something.
pub async fn collect(store: Store, blobs: Blobs, wake: Arc<Notify>) {
    loop {
        if let Err(error) = collect_all(&store, &blobs).await {
            tracing::warn!(error = %error, "objects that nothing names can't be deleted now; this is tried again");
        }
        if let Err(error) = forget_expired(&store, Clock.now()).await {
            tracing::warn!(error = %error, "cached results that expired can't be deleted now; this is tried again");
        }
        // Either way it is time to look.
        let _ = tokio::time::timeout(INTERVAL, wake.notified()).await;
    }
}

async fn collect_all(store: &Store, blobs: &Blobs) -> Result<(), CollectError> {
    loop {
        let keys = store.garbage_list(BATCH).await?;
        if keys.is_empty() {
            return Ok(());
        }
        blobs.delete_many(&keys).await?;
        store.garbage_forget(&keys).await?;
    }
}

/// In small steps, between which others write.
async fn forget_expired(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    while store.cached_result_delete_expired(now).await? > 0 {}
    Ok(())
}
