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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use uuid::Uuid;

    use super::*;
    use crate::{
        model::{
            ids::{DagId, Digest, EntryName, RunId, TaskId},
            spec::{ComponentKind, ModuleSpec},
            state::{RunState, RunType, TaskState},
        },
        store::{
            ArtifactRow, Commit, DagRunKey, DagRunNew, Deploy, InstanceKey, InstanceNew, InstanceUpdate, Placement,
            StoreConfig,
        },
    };

    /// A leader, and the object of a component that nothing needs any more.
    async fn collector(folder: &std::path::Path, blobs: &Blobs) -> (Collector, String) {
        let store = Store::open(&StoreConfig::of_test(folder).await).await.unwrap();
        let collector = Collector {
            store,
            blobs: blobs.clone(),
            metrics: Metrics::default(),
            uploads: Arc::new(RwLock::new(())),
            stuck: AtomicU32::new(0),
        };
        let key = keys::component(&Digest([1; 32]), ComponentKind::Wasm);
        blobs.put(&key, "code".into()).await.unwrap();
        (collector, key)
    }

    #[tokio::test]
    async fn a_leader_whose_lease_is_over_by_its_own_clock_deletes_no_object() {
        let (folder, blobs) = (tempfile::tempdir().unwrap(), Blobs::in_memory());
        let (collector, key) = collector(folder.path(), &blobs).await;
        collector.store.garbage_add(std::slice::from_ref(&key)).await.unwrap();
        // It was stopped, and continues: another process may have taken the component in again.
        collector.store.fence_until(Instant::now());
        tokio::time::sleep(Duration::from_millis(2)).await;
        collect_all(&collector).await.unwrap();
        assert!(blobs.exists(&key).await.unwrap());
        assert_eq!(collector.store.garbage_list(9).await.unwrap(), [key.as_str()]);
        // Nobody else had taken the lease.
        collector.store.fence_until(Instant::now() + Duration::from_mins(1));
        collect_all(&collector).await.unwrap();
        assert!(!blobs.exists(&key).await.unwrap());
        assert!(collector.store.garbage_list(9).await.unwrap().is_empty());
    }

    /// As `storage check --repair` does that looked before the component was uploaded again.
    #[tokio::test]
    async fn the_object_of_a_component_that_is_there_is_no_garbage() {
        let (folder, blobs) = (tempfile::tempdir().unwrap(), Blobs::in_memory());
        let (collector, key) = collector(folder.path(), &blobs).await;
        let deploy = Deploy {
            module: Arc::new(ModuleSpec::default()),
            digest: Digest([1; 32]),
            blob: key.clone(),
            size_bytes: 4,
            uploaded_by: "ann".into(),
            signer: None,
            provenance: None,
            paused_default: false,
            now: Timestamp::from_micros(0),
        };
        collector.store.deploy(&deploy).await.unwrap();
        collector.store.garbage_add(std::slice::from_ref(&key)).await.unwrap();
        collect_all(&collector).await.unwrap();
        assert!(blobs.exists(&key).await.unwrap());
        assert!(collector.store.garbage_list(9).await.unwrap().is_empty());
    }

    /// An attempt that runs.
    async fn attempt(store: &Store, now: Timestamp) -> AttemptId {
        let dag = serde_json::json!({
            "dag_id": "d", "schedule": "manual", "timezone": "UTC", "max_active_runs": 1, "max_active_tasks": 1, "nodes": [],
        });
        let deploy = Deploy {
            module: Arc::new(ModuleSpec { dags: vec![serde_json::from_value(dag).unwrap()], ..ModuleSpec::default() }),
            digest: Digest([2; 32]),
            blob: "components/test.wasm".into(),
            size_bytes: 4,
            uploaded_by: "ann".into(),
            signer: None,
            provenance: None,
            paused_default: false,
            now,
        };
        let run = DagRunNew {
            key: DagRunKey(1),
            dag_id: DagId::new("d").unwrap(),
            run_id: RunId::new("r").unwrap(),
            version: store.deploy(&deploy).await.unwrap()[0].version,
            run_type: RunType::Manual,
            state: RunState::Running,
            logical_date: None,
            data_interval: None,
            run_after: now,
            queued_at: now,
            start_date: None,
            conf: "{}".into(),
            triggered_by: "cli".into(),
            triggering_user: None,
            note: None,
        };
        let instance = InstanceKey { dag_run: run.key, task_id: TaskId::new("t").unwrap(), map_index: -1 };
        let new = InstanceNew {
            key: instance.clone(),
            state: TaskState::Running,
            max_tries: 1,
            placement: Placement::usual(EntryName::new("e").unwrap()),
        };
        let commit = Commit { dag_runs_new: vec![run], instances_new: vec![new], now, ..Commit::default() };
        store.commit(&commit).await.unwrap();
        AttemptId { instance, try_number: 0, restart: 0 }
    }

    /// The same as it is started again.
    async fn restarted(store: &Store, lost: &AttemptId, now: Timestamp) -> AttemptId {
        let again = AttemptId { restart: lost.restart + 1, ..lost.clone() };
        let update = InstanceUpdate {
            key: again.instance.clone(),
            state: TaskState::Running,
            try_number: again.try_number,
            max_tries: 1,
            restarts: again.restart,
            scheduled_at: None,
            queued_at: None,
            start_date: Some(now),
            end_date: None,
            wake_at: None,
            message: None,
            hostname: None,
            followed: None,
            list_length: None,
        };
        store.commit(&Commit { instances: vec![update], now, ..Commit::default() }).await.unwrap();
        again
    }

    #[tokio::test]
    async fn what_a_lost_attempt_left_is_collected_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&format!("file://{}", folder.path().join("objects").display())).unwrap();
        let (collector, component) = collector(folder.path(), &blobs).await;
        let (store, now) = (&collector.store, Clock.now());
        let lost = attempt(store, now).await;
        let mut left = Vec::new();
        for key in [keys::xcom, keys::artifact, keys::recording] {
            left.push(key(&lost.stem(), Uuid::now_v7()));
            left.push(key(&lost.stem(), Uuid::now_v7()));
        }
        store.lost_attempt_note(now).await.unwrap();
        let again = restarted(store, &lost, now).await;
        let [named, in_flight] = [&lost, &again].map(|of| keys::artifact(&of.stem(), Uuid::now_v7()));
        let row = ArtifactRow {
            instance: lost.instance.clone(),
            try_number: 0,
            name: "a".into(),
            media_type: "text/plain".into(),
            size_bytes: 1,
            sha256: Digest([1; 32]),
            blob: named.clone(),
            created_at: now,
        };
        store.commit(&Commit { artifacts: vec![row], now, ..Commit::default() }).await.unwrap();
        for key in left.iter().chain([&named, &in_flight]) {
            blobs.put(key, "x".into()).await.unwrap();
        }

        // A server that was cut off may be writing still.
        find_lost(store, &blobs, now.before(Duration::from_secs(1))).await.unwrap();
        assert!(store.garbage_list(9).await.unwrap().is_empty());
        find_lost(store, &blobs, now.after(UNFINISHED)).await.unwrap();
        collect_all(&collector).await.unwrap();
        for key in &left {
            assert!(!blobs.exists(key).await.unwrap(), "{key}");
        }
        for key in [&named, &in_flight, &component] {
            assert!(blobs.exists(key).await.unwrap(), "{key}");
        }
        assert!(store.lost_attempt_list(now.after(UNFINISHED), 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_object_that_can_not_be_deleted_keeps_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let objects = folder.path().join("objects");
        let blobs = Blobs::open(&format!("file://{}", objects.display())).unwrap();
        let (collector, key) = collector(folder.path(), &blobs).await;
        // A folder is no file that can be deleted.
        std::fs::create_dir_all(objects.join("artifacts/ab/held")).unwrap();
        let garbage = ["artifacts/ab/held".to_owned(), "artifacts/ab/gone".to_owned(), key.clone()];
        collector.store.garbage_add(&garbage).await.unwrap();
        assert!(matches!(collect_all(&collector).await, Err(CollectError::Blobs(_))));
        assert!(!blobs.exists(&key).await.unwrap());
        assert_eq!(collector.store.garbage_list(9).await.unwrap(), ["artifacts/ab/held"]);
    }

    #[tokio::test]
    async fn objects_that_can_not_be_deleted_keep_no_other_however_many_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let objects = folder.path().join("objects");
        let blobs = Blobs::open(&format!("file://{}", objects.display())).unwrap();
        let (collector, key) = collector(folder.path(), &blobs).await;
        let held: Vec<_> = (0..=BATCH).map(|number| format!("artifacts/ab/{number}")).collect();
        for key in &held {
            std::fs::create_dir_all(objects.join(key)).unwrap();
        }
        collector.store.garbage_add(&held).await.unwrap();
        collector.store.garbage_add(std::slice::from_ref(&key)).await.unwrap();
        // A whole batch of them ends a turn: it may as well be the storage that is away.
        assert!(matches!(collect_all(&collector).await, Err(CollectError::Blobs(_))));
        assert!(blobs.exists(&key).await.unwrap());
        assert!(matches!(collect_all(&collector).await, Err(CollectError::Blobs(_))));
        assert!(!blobs.exists(&key).await.unwrap());
        // From then on the first have their turn again.
        let first = objects.join(&held[0]);
        std::fs::remove_dir(&first).unwrap();
        assert!(matches!(collect_all(&collector).await, Err(CollectError::Blobs(_))));
        assert!(!collector.store.garbage_list(9).await.unwrap().contains(&held[0]));
    }

    #[tokio::test]
    async fn a_leader_of_before_deletes_no_object_whatever_its_clock_says() {
        if !StoreConfig::tests_use_postgres() {
            return;
        }
        let (folder, blobs) = (tempfile::tempdir().unwrap(), Blobs::in_memory());
        let (before, key) = collector(folder.path(), &blobs).await;
        let after = Store::open(&StoreConfig::of_test(folder.path()).await).await.unwrap();
        before.store.garbage_add(std::slice::from_ref(&key)).await.unwrap();
        for (store, holder) in [(&before.store, "before"), (&after, "after")] {
            let epoch = loop {
                if let Some(epoch) = store.lease_take(holder, "http://x", Duration::ZERO, None).await.unwrap() {
                    break epoch;
                }
            };
            store.fence(holder, epoch, Instant::now() + Duration::from_mins(1));
        }
        let refused = collect_all(&before).await;
        assert!(matches!(refused, Err(CollectError::Store(StoreError::Fenced))), "{refused:?}");
        assert!(blobs.exists(&key).await.unwrap());
    }
}
