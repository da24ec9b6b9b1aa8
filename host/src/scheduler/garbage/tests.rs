use std::time::Instant;

use uuid::Uuid;

use super::*;
use crate::{
    model::{
        ids::{Digest, EntryName, RunId, TaskId},
        spec::{ComponentKind, ModuleSpec},
        state::{RunState, TaskState},
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
    let component = Deploy::of_test(1, ModuleSpec::default(), Timestamp::from_micros(0));
    let deploy = Deploy { blob: key.clone(), ..component };
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
    let module = ModuleSpec { dags: vec![serde_json::from_value(dag).unwrap()], ..ModuleSpec::default() };
    let dag = store.deploy(&Deploy::of_test(2, module, now)).await.unwrap().remove(0);
    let run = DagRunNew {
        state: RunState::Running,
        ..DagRunNew::queued(DagRunKey(1), dag.dag_id, RunId::new("r").unwrap(), dag.version, now)
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
        restarts: again.restart,
        start_date: Some(now),
        ..InstanceUpdate::of_test(again.instance.clone(), TaskState::Running, again.try_number)
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
