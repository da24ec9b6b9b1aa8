//! The hot path.

use super::*;
use crate::model::time::DataInterval;

#[tokio::test]
async fn what_is_committed_reads_back_the_same() {
    let store = TestStore::new().await;
    let version = store.deployed(&["a"]).await[0].version;
    let interval = DataInterval { start: at(1), end: at(2) };
    let new = DagRunNew {
        run_type: RunType::Scheduled,
        data_interval: Some(interval),
        start_date: Some(at(3)),
        note: Some("ä\n\0\"'".into()),
        ..run(1, "a", version)
    };
    let (x, y) = (instance(1, "x"), instance(1, "y"));
    let body = vec![0, 0xff, b'"', b'\\', 0xc3];
    let all = InstanceUpdate {
        key: x.clone(),
        state: TaskState::Success,
        try_number: 2,
        max_tries: 4,
        restarts: 1,
        scheduled_at: Some(at(1)),
        queued_at: Some(at(2)),
        start_date: Some(at(3)),
        end_date: Some(at(4)),
        wake_at: Some(at(5)),
        message: Some("it \"failed\"; ' -- \u{1F512}".into()),
        followed: Some(vec!["y".into(), "z".into()]),
        list_length: Some(3),
        hostname: Some("worker-1".into()),
    };
    let mapped = InstanceNew { key: InstanceKey { map_index: 7, ..y.clone() }, ..new_instance(DagRunKey(1), "y") };
    store
        .commit(&Commit {
            dag_runs_new: vec![new.clone()],
            last_scheduled: [(dag_id("a"), interval)].into(),
            instances_new: vec![new_instance(DagRunKey(1), "x"), mapped],
            instances: vec![all],
            xcoms: vec![
                xcom(x.clone(), "return_value", XComBody::Inline(body.clone())),
                xcom(x.clone(), "empty", XComBody::Inline(Vec::new())),
                xcom(x.clone(), "large", XComBody::Blob("xcoms/1".into())),
            ],
            artifacts: vec![artifact(x.clone(), "chart <b>.svg", "artifacts/1")],
            now: at(9),
            ..Commit::default()
        })
        .await
        .unwrap();
    let store = store.reopen().await;

    let row = store.dag_run_get(&dag_id("a"), &new.run_id).await.unwrap().unwrap();
    assert_eq!((row.key, row.version, row.version_number), (DagRunKey(1), version, 1));
    assert_eq!((row.run_type, row.state, row.clear_number), (RunType::Scheduled, RunState::Queued, 0));
    assert_eq!((row.logical_date, row.data_interval), (new.logical_date, Some(interval)));
    assert_eq!((row.run_after, row.queued_at, row.start_date), (new.run_after, new.queued_at, new.start_date));
    // PostgreSQL's text holds no NUL.
    let note = new.note.map(|note| if store.is_shared() { note.replace('\0', "\u{fffd}") } else { note });
    assert_eq!((row.conf, row.note), (Some(new.conf), note));
    assert_eq!((row.triggered_by, row.triggering_user), (new.triggered_by, new.triggering_user));
    assert_eq!(store.dag_get(&dag_id("a")).await.unwrap().unwrap().last_scheduled, Some(interval));

    let row = store.task_instance_get(&x).await.unwrap().unwrap();
    assert_eq!((row.state, row.try_number, row.max_tries, row.restarts), (TaskState::Success, 2, 4, 1));
    assert_eq!([row.scheduled_at, row.queued_at, row.start_date], [Some(at(1)), Some(at(2)), Some(at(3))]);
    assert_eq!([row.end_date, row.wake_at], [Some(at(4)), Some(at(5))]);
    assert_eq!(row.message.as_deref(), Some("it \"failed\"; ' -- \u{1F512}"));
    assert_eq!(row.followed, Some(vec!["y".to_owned(), "z".to_owned()]));
    assert_eq!((row.list_length, row.dag_id.as_str(), row.run_id.as_str()), (Some(3), "a", "run-1"));
    assert_eq!(store.task_instance_list_of_run(DagRunKey(1)).await.unwrap()[1].map_index, 7);

    let key = |text| (x.clone(), XComKey::new(text).unwrap());
    let values = store.xcom_get_many(&[key("large"), key("none"), key("return_value"), key("empty")]).await.unwrap();
    let bodies: Vec<_> = values.into_iter().map(|value| value.body).collect();
    let empty = XComBody::Inline(Vec::new());
    assert_eq!(bodies, [XComBody::Blob("xcoms/1".into()), XComBody::Inline(body), empty]);
    let artifact = store.artifact_get(&x, "chart <b>.svg").await.unwrap().unwrap();
    assert_eq!((artifact.sha256, artifact.created_at), (Digest([0xab; 32]), at(5)));
    assert_eq!(store.artifact_list(&x).await.unwrap().len(), 1);
    assert_eq!(store.artifact_list_of_run(DagRunKey(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing() {
    let store = TestStore::with_runs(1..=1).await;
    let version = store.dag_get(&dag_id("a")).await.unwrap().unwrap().version;
    let good = Commit {
        dag_runs_new: vec![run(2, "a", version)],
        instances: vec![update(instance(1, "x"), TaskState::Running, 1)],
        xcoms: vec![xcom(instance(1, "x"), "k", XComBody::Inline(b"1".to_vec()))],
        now: at(2),
        ..Commit::default()
    };
    let run_update =
        |key| DagRunUpdate { start_date: Some(at(2)), ..DagRunUpdate::of_test(DagRunKey(key), RunState::Running) };

    let mut missing_instance = good.clone();
    missing_instance.instances.push(update(instance(1, "z"), TaskState::Running, 1));
    assert!(matches!(store.commit(&missing_instance).await, Err(StoreError::Stale)));

    let mut missing_run = good.clone();
    missing_run.dag_runs = vec![run_update(1), run_update(9)];
    assert!(matches!(store.commit(&missing_run).await, Err(StoreError::Stale)));

    let mut same_run_id = good.clone();
    same_run_id.dag_runs_new.push(DagRunNew { key: DagRunKey(3), logical_date: None, ..run(1, "a", version) });
    assert!(matches!(store.commit(&same_run_id).await, Err(StoreError::Conflict(_))));

    let mut same_date = good.clone();
    same_date.dag_runs_new.push(DagRunNew { logical_date: Some(at(1)), ..run(3, "a", version) });
    assert!(matches!(store.commit(&same_date).await, Err(StoreError::Conflict(_))));

    let mut last_part = good.clone();
    last_part.artifacts.push(ArtifactRow { size_bytes: -1, ..artifact(instance(1, "x"), "a", "b") });
    assert!(matches!(store.commit(&last_part).await, Err(StoreError::Refused(_))));

    assert!(store.dag_run_get_by_key(DagRunKey(2)).await.unwrap().is_none());
    assert_eq!(store.task_instance_get(&instance(1, "x")).await.unwrap().unwrap().state, TaskState::None);
    assert!(store.xcom_get(&instance(1, "x"), &XComKey::new("k").unwrap()).await.unwrap().is_none());
    store.commit(&good).await.unwrap();
    assert_eq!(store.task_instance_get(&instance(1, "x")).await.unwrap().unwrap().state, TaskState::Running);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_all_or_nothing() {
    let store = TestStore::with_runs(1..=1).await;
    let large = |from: i32| {
        let key = |at| InstanceKey { map_index: at, ..instance(1, "m") };
        let new = |at| InstanceNew { key: key(at), ..new_instance(DagRunKey(1), "m") };
        Commit { instances_new: (from..from + 10_000).map(new).collect(), now: at(1), ..Commit::default() }
    };
    for round in 0..20 {
        let batch = large(round * 10_000);
        let commit = store.commit(&batch);
        let _ =
            tokio::time::timeout(std::time::Duration::from_millis(u64::from(round.unsigned_abs()) * 3), commit).await;
        // The next writer waits for it, or rolls it back.
        store.dag_run_set_note(DagRunKey(1), Some("there")).await.unwrap();
        let counts = store.task_instance_counts(DagRunKey(1)).await.unwrap();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<i64>() % 10_000, 2);
    }
}

#[tokio::test]
async fn large_commits_are_one_transaction() {
    let store = TestStore::with_runs(1..=1).await;
    let key = |at| InstanceKey { map_index: at, ..instance(1, "m") };
    let new = |at| InstanceNew { key: key(at), ..new_instance(DagRunKey(1), "m") };
    let body = |at: i32| XComBody::Inline(at.to_string().repeat(1_000).into_bytes());
    let mut commit = Commit {
        instances_new: (0..10_000).map(new).collect(),
        instances: (0..10_000).map(|at| update(key(at), TaskState::Success, 1)).collect(),
        xcoms: (0..2_000).map(|at| xcom(key(at), "return_value", body(at))).collect(),
        now: at(1),
        ..Commit::default()
    };
    commit.instances.push(update(key(10_000), TaskState::Success, 1));
    assert!(matches!(store.commit(&commit).await, Err(StoreError::Stale)));
    assert_eq!(store.task_instance_states(DagRunKey(1)).await.unwrap().len(), 2);

    commit.instances.pop();
    store.commit(&commit).await.unwrap();
    let states = store.task_instance_states(DagRunKey(1)).await.unwrap();
    let mapped = StateOfTask { task_id: TaskId::new("m").unwrap(), state: TaskState::Success, mapped: 10_000 };
    assert!(states.contains(&mapped), "{states:?}");
    for at in [0, 1_999] {
        let value = store.xcom_get(&key(at), &XComKey::return_value()).await.unwrap().unwrap();
        assert_eq!(value.body, body(at));
    }
}

#[tokio::test]
async fn an_earlier_try_is_kept_as_it_was() {
    let store = TestStore::with_runs(1..=1).await;
    let x = instance(1, "x");
    let first = InstanceUpdate {
        message: Some("boom".into()),
        hostname: Some("worker-1".into()),
        ..update(x.clone(), TaskState::UpForRetry, 1)
    };
    let commit = |instances| Commit { instances, now: at(1), ..Commit::default() };
    store.commit(&commit(vec![first])).await.unwrap();
    let mut second = commit(vec![update(x.clone(), TaskState::Running, 2)]);
    second.histories = [&x, &instance(1, "y")].map(|key| HistoryNew { key: key.clone(), ended: None }).into();
    store.commit(&second).await.unwrap();

    let tries = store.task_instance_tries(&x).await.unwrap();
    let seen = tries.iter().map(|row| (row.try_number, row.state, row.message.as_deref(), row.hostname.as_deref()));
    let expected = [(1, TaskState::UpForRetry, Some("boom"), Some("worker-1")), (2, TaskState::Running, None, None)];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
    assert_eq!(store.task_instance_tries(&instance(1, "y")).await.unwrap().len(), 1, "a try that never was");

    // One that ended in the commit in which the next begins.
    let ended = InstanceUpdate {
        message: Some("bang".into()),
        hostname: Some("worker-2".into()),
        end_date: Some(at(2)),
        wake_at: Some(at(2)),
        ..update(x.clone(), TaskState::UpForRetry, 2)
    };
    let mut third = commit(vec![update(x.clone(), TaskState::Scheduled, 3)]);
    third.histories = vec![HistoryNew { key: x.clone(), ended: Some(Box::new(ended)) }];
    store.commit(&third).await.unwrap();
    let second = &store.task_instance_tries(&x).await.unwrap()[1];
    assert_eq!((second.try_number, second.state, second.end_date), (2, TaskState::UpForRetry, Some(at(2))));
    assert_eq!((second.message.as_deref(), second.wake_at), (Some("bang"), Some(at(2))));
    assert_eq!(second.hostname.as_deref(), Some("worker-2"));
}

#[tokio::test]
async fn where_a_try_ran_stays_known_until_it_ends_elsewhere_or_is_cleared() {
    let store = TestStore::with_runs(1..=1).await;
    let x = instance(1, "x");
    let host = async |update: InstanceUpdate| {
        store.commit(&Commit { instances: vec![update], now: at(1), ..Commit::default() }).await.unwrap();
        store.task_instance_get(&x).await.unwrap().unwrap().hostname
    };
    let ended = |hostname: &str| InstanceUpdate {
        hostname: Some(hostname.into()),
        ..update(x.clone(), TaskState::UpForReschedule, 1)
    };
    assert_eq!(host(ended("worker-1")).await.as_deref(), Some("worker-1"));
    assert_eq!(host(update(x.clone(), TaskState::Running, 1)).await.as_deref(), Some("worker-1"));
    assert_eq!(host(ended("worker-2")).await.as_deref(), Some("worker-2"));
    let cleared = InstanceUpdate { start_date: None, ..update(x.clone(), TaskState::None, 1) };
    assert_eq!(host(cleared).await, None);
}

#[tokio::test]
async fn clearing_takes_xcoms_and_artifacts_of_those_instances_only() {
    let store = TestStore::with_runs(1..=1).await;
    let (x, y) = (instance(1, "x"), instance(1, "y"));
    let commit = Commit {
        xcoms: [&x, &y].map(|key| xcom(key.clone(), "k", XComBody::Blob(format!("xcoms/{}", key.task_id)))).into(),
        artifacts: vec![artifact(x.clone(), "a", "artifacts/x")],
        now: at(1),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let again = xcom(x.clone(), "k2", XComBody::Inline(b"2".to_vec()));
    let clear = Commit { xcoms_cleared: vec![x.clone()], xcoms: vec![again], now: at(2), ..Commit::default() };
    store.commit(&clear).await.unwrap();

    let left = store.xcom_list(&XComFilter::default(), Page::default()).await.unwrap();
    let left: Vec<_> = left.items.iter().map(|row| (row.instance.task_id.as_str(), row.key.as_str())).collect();
    assert_eq!(left, [("x", "k2"), ("y", "k")]);
    assert!(store.artifact_list(&x).await.unwrap().is_empty());
    assert_eq!(store.garbage_list(10).await.unwrap(), ["xcoms/x", "artifacts/x"]);
    store.garbage_forget(&["xcoms/x".into()]).await.unwrap();
    assert_eq!(store.garbage_list(10).await.unwrap(), ["artifacts/x"]);
}

#[tokio::test]
async fn run_updates_overwrite_what_they_say() {
    let store = TestStore::with_runs(1..=2).await;
    let update = DagRunUpdate {
        start_date: Some(at(2)),
        end_date: Some(at(3)),
        clear_number: 4,
        ..DagRunUpdate::of_test(DagRunKey(1), RunState::Failed)
    };
    let commit = Commit { dag_runs: vec![update.clone()], now: at(3), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    let row = store.dag_run_get_by_key(DagRunKey(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.queued_at, row.clear_number), (RunState::Failed, at(1), 4));
    assert_eq!((row.start_date, row.end_date), (Some(at(2)), Some(at(3))));

    let again = DagRunUpdate { queued_at: Some(at(9)), start_date: None, end_date: None, ..update };
    store.commit(&Commit { dag_runs: vec![again], ..commit }).await.unwrap();
    let row = store.dag_run_get_by_key(DagRunKey(1)).await.unwrap().unwrap();
    assert_eq!((row.queued_at, row.start_date, row.end_date), (at(9), None, None));
    assert_eq!(store.dag_run_get_by_key(DagRunKey(2)).await.unwrap().unwrap().state, RunState::Queued);
}

#[tokio::test]
async fn a_log_that_has_its_full_size_is_read_as_far_as_it_was_written() {
    let store = TestStore::on_sqlite().await.filled(1..=2).await;
    store.log_allocate().await.unwrap();
    let version = store.deployed(&["b"]).await[0].version;
    let new = Commit { dag_runs_new: vec![run(3, "b", version)], now: at(0), ..Commit::default() };
    store.commit(&new).await.unwrap();
    let log = store.folder.path().join("airlock.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() >= sqlite::LOG_BYTES);

    // What a `kill -9` leaves.
    let left = tempfile::tempdir().unwrap();
    for file in ["airlock.db", "airlock.db-wal"] {
        std::fs::copy(store.folder.path().join(file), left.path().join(file)).unwrap();
    }
    let again = Store::open(&sqlite_config(&left)).await.unwrap();
    assert_eq!(again.dag_run_list_unfinished(None, 10).await.unwrap().len(), 3);
}
