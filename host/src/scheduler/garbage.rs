//! Deletes what is superfluous already: what deleted runs left in other tables, objects that no row names any more, cached
//! results that have expired. Then it gives the space back.
//!
//! The store notes all of it in the transaction that made it superfluous; objects are deleted from object storage and then
//! forgotten. A crash between the two deletes them again, which does nothing.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, RwLock},
    time::Instant,
};

use crate::{
    blobs::{BlobError, Blobs, keys},
    model::time::{Clock, Timestamp},
    store::{Store, StoreError, Swept},
    telemetry::Metrics,
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

/// What it works with.
pub struct Collector {
    pub store: Store,
    pub blobs: Blobs,
    pub metrics: Metrics,
    /// Held by who stores a component's object and has not committed its row.
    pub uploads: Arc<RwLock<()>>,
}

/// Collects until it is dropped; `wake` says that there may be something.
pub async fn collect(collector: Collector, wake: Arc<Notify>) {
    let store = &collector.store;
    loop {
        if let Err(error) = collect_all(&collector).await {
            tracing::warn!(error = %error, "what deletions left can't be deleted now; this is tried again");
        }
        if let Err(error) = forget_expired(store, Clock.now()).await {
            tracing::warn!(error = %error, "cached results that expired can't be deleted now; this is tried again");
        }
        // Either way it is time to look.
        let _ = tokio::time::timeout(INTERVAL, wake.notified()).await;
    }
}

async fn collect_all(Collector { store, blobs, metrics, uploads }: &Collector) -> Result<(), CollectError> {
    while let Some(swept) = paced(store.leftover_sweep()).await? {
        count(metrics, &swept);
    }
    loop {
        let mut listed = store.garbage_list(BATCH).await?;
        // The object of a component has the same key when it is uploaded again.
        let _no_uploads = if listed.iter().any(|key| keys::is_component(key)) {
            let guard = uploads.write().await;
            listed = store.garbage_list(BATCH).await?;
            Some(guard)
        } else {
            None
        };
        if listed.is_empty() {
            break;
        }
        blobs.delete_many(&listed).await?;
        store.garbage_forget(&listed).await?;
        metrics.deleted_objects(listed.len() as u64);
    }
    while paced(store.vacuum_step()).await? {}
    Ok(())
}

/// Tells what is gone.
pub fn count(metrics: &Metrics, swept: &Swept) {
    for (table, gone) in &swept.0 {
        metrics.deleted(table, gone.rows, gone.bytes);
    }
}

/// In small steps, between which others write.
async fn forget_expired(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    while paced(store.cached_result_delete_expired(now)).await? > 0 {}
    Ok(())
}

/// A step, and a pause as long as the step took: at least half of the time the database is for others.
pub async fn paced<T>(step: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let done = step.await;
    tokio::time::sleep(start.elapsed()).await;
    done
}
