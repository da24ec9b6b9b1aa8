//! Deletes what is superfluous already: what deleted runs left in other tables, objects that no row names any more, cached
//! results that have expired; at first, what processes that were killed did not finish writing. Then it gives the space back.
//!
//! The store notes all of it in the transaction that made it superfluous; objects are deleted from object storage and then
//! forgotten. A crash between the two deletes them again, which does nothing.
//!
//! What an attempt stored that was in flight when its server died is named by no row. Whoever leads next notes which attempts those
//! are, before it starts them again; their objects are found here, by what their keys begin with, and become garbage as others do.
//!
//! Object storage knows no epochs: it would delete the object of a component for a leader of before, although it was
//! uploaded again under the next one. So what is deleted is asked for in a transaction that is fenced, and no request is
//! begun when the lease is over. What is left is a request that is on its way for longer than the lease.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::TryStreamExt as _;
use tokio::{
    sync::{Notify, RwLock},
    time::Instant,
};

use crate::{
    blobs::{BlobError, Blobs, keys},
    executor::AttemptId,
    model::time::{Clock, Timestamp},
    store::{LostAttempt, Store, StoreError, Swept},
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
/// Lost attempts whose objects are looked for at a time.
const MAX_LOST: u32 = 10_000;
/// How long it waits if nothing wakes it: retries replace results without telling.
const INTERVAL: Duration = Duration::from_mins(1);
/// What was written to so long before this process led, nobody writes any more; clocks may differ by as much.
const UNFINISHED: Duration = Duration::from_mins(1);

/// What it works with.
pub struct Collector {
    pub store: Store,
    pub blobs: Blobs,
    pub metrics: Metrics,
    /// Held by who stores a component's object and has not committed its row.
    pub uploads: Arc<RwLock<()>>,
    /// Objects that stand first and could not be deleted: they are passed over until all others had their turn.
    pub stuck: AtomicU32,
}

/// Collects until it is dropped; `wake` says that there may be something.
pub async fn collect(collector: Collector, wake: Arc<Notify>) {
    let store = &collector.store;
    if let Err(error) = delete_unfinished(&collector.blobs, Clock.now().before(UNFINISHED)).await {
        tracing::warn!(error = %error, "half-written files can't be deleted; the next start tries again");
    }
    loop {
        if let Err(error) = find_lost(store, &collector.blobs, Clock.now()).await {
            tracing::warn!(error = %error, "what attempts left that were lost can't be found now; this is tried again");
        }
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

/// Finds what lost attempts stored, and makes it garbage. Those of one folder are looked for together: a local one is read as a whole.
async fn find_lost(store: &Store, blobs: &Blobs, now: Timestamp) -> Result<(), CollectError> {
    // Whoever led before may have begun a request to object storage in its last moment.
    let until = if store.is_shared() { now.before(UNFINISHED) } else { now };
    let mut shards = BTreeMap::<String, BTreeMap<keys::Stem, (LostAttempt, Vec<String>)>>::new();
    for lost in store.lost_attempt_list(until, MAX_LOST).await? {
        let LostAttempt { instance, try_number, restart } = lost.clone();
        let stem = AttemptId { instance, try_number, restart }.stem();
        shards.entry(stem.shard().to_owned()).or_default().insert(stem, (lost, Vec::new()));
    }
    for (shard, mut lost) in shards {
        let (Some(first), Some(last)) = (lost.keys().next().cloned(), lost.keys().next_back().cloned()) else {
            continue;
        };
        for folder in keys::OF_ATTEMPTS {
            let place = format!("{folder}/{shard}");
            let mut listed = blobs.list_between(&place, &first.prefix(folder), &last.prefix(folder))?;
            while let Some(key) = listed.try_next().await? {
                if let Some((_, found)) = keys::Stem::in_key(&key).and_then(|stem| lost.get_mut(&stem)) {
                    found.push(key);
                }
            }
        }
        let found: Vec<_> = lost.into_values().collect();
        paced(store.lost_attempt_settle(&found)).await?;
    }
    Ok(())
}

async fn collect_all(Collector { store, blobs, metrics, uploads, stuck }: &Collector) -> Result<(), CollectError> {
    while let Some(swept) = paced(store.leftover_sweep()).await? {
        count(metrics, &swept);
    }
    let mut failed = Ok(());
    loop {
        let passed = stuck.load(Ordering::Relaxed);
        let listed = store.garbage_list_behind(passed, BATCH).await?;
        if listed.is_empty() {
            stuck.store(0, Ordering::Relaxed);
            break;
        }
        // The object of a component has the same key when it is uploaded again.
        let has_components = listed.iter().any(|key| keys::is_component(key));
        let no_uploads = if has_components { Some(uploads.write().await) } else { None };
        let mut claimed = store.garbage_claim(passed, BATCH).await?;
        // One that came just now is for the next turn, in which there are no uploads.
        claimed.retain(|key| no_uploads.is_some() || !keys::is_component(key));
        // Or it was taken in again before whoever took it for garbage said so.
        let needed = components(store, &claimed).await?;
        store.garbage_forget(&needed).await?;
        claimed.retain(|key| !needed.contains(key));
        // If it leads no more, somebody else collects them, and the process ends.
        let Some((gone, deleted)) = store.while_it_leads(blobs.delete_each(&claimed)).await else { return Ok(()) };
        store.garbage_forget(&gone).await?;
        metrics.deleted_objects(gone.len() as u64);
        // One that can't be deleted keeps no other. If none of them can, the storage may be away: the others wait a while.
        let is_vain = gone.is_empty() && deleted.is_err();
        if deleted.is_err() {
            let left = u32::try_from(claimed.len() - gone.len()).unwrap_or(u32::MAX);
            stuck.store(passed.saturating_add(left), Ordering::Relaxed);
            failed = deleted;
        }
        if is_vain {
            break;
        }
    }
    while paced(store.vacuum_step()).await? {}
    failed?;
    Ok(())
}

/// Those of the objects that are of components which are there.
async fn components(store: &Store, blobs: &[String]) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for blob in blobs {
        if let Some(digest) = keys::component_of(blob)
            && store.component_get(digest).await?.is_some()
        {
            found.push(blob.clone());
        }
    }
    Ok(found)
}

async fn delete_unfinished(blobs: &Blobs, before: Timestamp) -> Result<(), BlobError> {
    for folder in keys::FOLDERS {
        blobs.delete_unfinished(folder, before).await?;
    }
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
