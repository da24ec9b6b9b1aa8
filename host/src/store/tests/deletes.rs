//! Deletions, and what they leave to be collected.

use super::*;

async fn with_leftovers() -> TestStore {
    let store = TestStore::with_runs(1..=2).await;
    let (x, y) = (instance(1, "x"), instance(2, "x"));
    let commit = Commit {
        instances: vec![update(x.clone(), TaskState::Failed, 1)],
        xcoms: vec![
            xcom(x.clone(), "k", XComBody::Blob("xcoms/1".into())),
            xcom(x.clone(), "i", XComBody::Inline(vec![1])),
        ],
        artifacts: vec![artifact(x.clone(), "a", "artifacts/1"), artifact(y.clone(), "a", "artifacts/2")],
        now: at(1),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let rendered_fields = [((x.clone(), 1), "{}".to_owned())].into();
    store.commit(&Commit { rendered_fields, now: at(1), ..Commit::default() }).await.unwrap();
    let history =
        Commit { histories: vec![HistoryNew { key: x.clone(), ended: None }], now: at(2), ..Commit::default() };
    store.commit(&history).await.unwrap();
    store
        .log_chunk_append(&[
            log_chunk(x.clone(), 0, "logs/shared"),
            log_chunk(x, 1, "logs/own"),
            log_chunk(y, 0, "logs/shared"),
        ])
        .await
        .unwrap();
    store
}

/// Sweeps all away; answers the objects that nothing names then, in order.
async fn swept(store: &Store) -> Vec<String> {
    while store.leftover_sweep().await.unwrap().is_some() {}
    let mut blobs = store.garbage_list(100).await.unwrap();
    blobs.sort();
    blobs
}

#[tokio::test]
async fn a_deleted_run_names_only_objects_that_nobody_else_names() {
    let store = with_leftovers().await;
    assert_eq!(store.dag_run_delete(&[DagRunKey(1)]).await.unwrap(), 1);
    assert!(store.task_instance_get(&instance(1, "x")).await.unwrap().is_none(), "what is left is not seen");
    assert_eq!(swept(&store).await, ["artifacts/1", "logs/own", "xcoms/1"]);
    for table in [
        "task_instance",
        "task_instance_history",
        "xcom",
        "artifact",
        "log_chunk",
        "rendered_fields",
        "dag_run_leftover",
    ] {
        let statement = db::Sql::of_test(format!("SELECT count(*) FROM {table} WHERE dag_run = 1"));
        let left: i64 = db::query_scalar(statement).fetch_one(store.readers()).await.unwrap();
        assert_eq!(left, 0, "{table}");
    }
    assert_eq!(store.log_chunk_list(&instance(2, "x"), 1).await.unwrap().len(), 1);
    assert_eq!(store.dag_run_delete(&[DagRunKey(1)]).await.unwrap(), 0);
    assert_eq!(store.leftover_sweep().await.unwrap(), None);
}

#[tokio::test]
async fn a_deleted_instance_leaves_nothing_and_takes_nothing_of_others() {
    let store = with_leftovers().await;
    let (x, others) = (instance(1, "x"), [instance(1, "y"), instance(2, "x")]);
    assert!(store.task_instance_delete(&x).await.unwrap());
    assert!(!store.task_instance_delete(&x).await.unwrap());
    assert!(store.task_instance_get(&x).await.unwrap().is_none());
    for other in &others {
        assert!(store.task_instance_get(other).await.unwrap().is_some());
    }
    assert_eq!(store.log_chunk_list(&others[1], 1).await.unwrap().len(), 1);
    for table in deletion::OF_INSTANCE {
        let statement = format!("SELECT count(*) FROM {table} WHERE dag_run = 1 AND task_id = 'x'");
        let left: i64 = db::query_scalar(db::Sql::of_test(statement)).fetch_one(store.readers()).await.unwrap();
        assert_eq!(left, 0, "{table}");
    }
    assert_eq!(swept(&store).await, ["artifacts/1", "logs/own", "xcoms/1"]);
}

/// Whatever has a column that names an instance goes with it, or is known to stay.
#[tokio::test]
async fn no_table_of_instances_is_forgotten() {
    let store = TestStore::on_sqlite().await;
    let tables = "SELECT t.name FROM sqlite_schema AS t WHERE t.type = 'table'
        AND EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE name = 'map_index') ORDER BY t.name";
    let tables: Vec<String> = db::query_scalar(tables).fetch_all(store.readers()).await.unwrap();
    // Who was told of it, what the audit log says of it, and what of it in storage is still to be collected.
    let stay = ["callback", "event_log", "lost_attempt"];
    for table in &tables {
        assert!(deletion::OF_INSTANCE.contains(&table.as_str()) || stay.contains(&table.as_str()), "{table}");
    }
    assert!(tables.len() >= deletion::OF_INSTANCE.len(), "{tables:?}");
}

#[tokio::test]
async fn the_key_of_a_deleted_run_is_not_given_again() {
    let store = TestStore::with_runs(1..=3).await;
    assert_eq!(store.dag_run_delete(&[DagRunKey(3)]).await.unwrap(), 1);
    while store.leftover_sweep().await.unwrap().is_some() {}
    let store = store.reopen().await;
    assert_eq!(store.dag_run_next_key().await.unwrap(), 4);
}

#[tokio::test]
async fn lines_of_a_deleted_run_that_come_late_leave_nothing() {
    let store = with_leftovers().await;
    store.dag_run_delete(&[DagRunKey(1)]).await.unwrap();
    swept(&store).await;
    let (gone, there) = (instance(1, "x"), instance(2, "x"));
    store.log_chunk_append(&[log_chunk(gone.clone(), 7, "logs/late")]).await.unwrap();
    store.log_chunk_append(&[log_chunk(gone.clone(), 8, "logs/both"), log_chunk(there, 1, "logs/both")]).await.unwrap();
    assert_eq!(store.log_chunk_list(&gone, 1).await.unwrap(), []);
    let garbage = store.garbage_list(100).await.unwrap();
    assert!(garbage.contains(&"logs/late".into()) && !garbage.contains(&"logs/both".into()), "{garbage:?}");
}

#[tokio::test]
async fn a_deleted_dag_leaves_its_component_and_its_objects_to_be_collected() {
    let store = with_leftovers().await;
    assert_eq!(store.dag_delete(&dag_id("a")).await.unwrap(), 2);
    assert_eq!(swept(&store).await, ["artifacts/1", "artifacts/2", "logs/own", "logs/shared", "xcoms/1"]);
    assert!(store.dag_get(&dag_id("a")).await.unwrap().is_none());
    assert_eq!(store.dag_version_list(&DagVersionFilter::of_dag(dag_id("a")), Page::default()).await.unwrap().total, 0);
    assert!(store.component_get(Digest([1; 32])).await.unwrap().is_some());
    assert_eq!(store.dag_delete(&dag_id("a")).await.unwrap(), 0);

    let again = store.deployed(&["a"]).await;
    assert!(again[0].created && again[0].version_number == 1);
    assert!(!store.vacuum_step().await.unwrap(), "so little is worth nothing");
}

#[tokio::test]
async fn a_run_larger_than_a_step_is_deleted_whole() {
    let store = TestStore::with_runs(1..=1).await;
    let new =
        |at| InstanceNew { key: InstanceKey { map_index: at, ..instance(1, "m") }, ..new_instance(DagRunKey(1), "m") };
    let commit = Commit { instances_new: (0..12_000).map(new).collect(), now: at(1), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    assert_eq!(store.dag_run_delete(&[DagRunKey(1)]).await.unwrap(), 1);
    let mut steps = 0;
    while store.leftover_sweep().await.unwrap().is_some() {
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
    assert!(store.task_instance_states(DagRunKey(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_xcom_that_is_edited_leaves_its_object() {
    let store = TestStore::with_runs(1..=1).await;
    let (x, k) = (instance(1, "x"), XComKey::new("k").unwrap());
    let put = async |key: &InstanceKey, body| store.xcom_put(&xcom(key.clone(), "k", body), at(1)).await.unwrap();
    assert!(put(&x, XComBody::Blob("xcoms/1".into())).await);
    assert!(put(&x, XComBody::Blob("xcoms/1".into())).await);
    assert!(store.garbage_list(10).await.unwrap().is_empty());
    assert!(put(&x, XComBody::Inline(b"2".to_vec())).await);
    assert_eq!(store.garbage_list(10).await.unwrap(), ["xcoms/1"]);
    assert!(!put(&instance(1, "none"), XComBody::Inline(b"2".to_vec())).await);
    assert!(!put(&instance(1, "none"), XComBody::Blob("xcoms/2".into())).await);
    assert_eq!(store.garbage_list(10).await.unwrap(), ["xcoms/1", "xcoms/2"]);
    assert!(store.xcom_delete(&x, &k).await.unwrap());
    assert!(!store.xcom_delete(&x, &k).await.unwrap());
    assert!(store.xcom_get(&x, &k).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_found_of_lost_attempts_is_garbage_unless_a_row_names_it() {
    let store = TestStore::with_runs(1..=1).await;
    let (x, y) = (instance(1, "x"), instance(1, "y"));
    let running = |restarts| InstanceUpdate { restarts, ..update(x.clone(), TaskState::Running, 1) };
    let waiting = update(y.clone(), TaskState::UpForRetry, 1);
    store.commit(&Commit { instances: vec![running(0), waiting], now: at(1), ..Commit::default() }).await.unwrap();
    for second in [2, 3] {
        store.lost_attempt_note(at(second)).await.unwrap();
    }
    let lost = LostAttempt { instance: x.clone(), try_number: 1, restart: 0 };
    assert!(store.lost_attempt_list(at(1), 9).await.unwrap().is_empty());
    assert_eq!(store.lost_attempt_list(at(2), 9).await.unwrap(), std::slice::from_ref(&lost));

    // It is in flight, or is so again: its task instance was deleted and came back.
    let blobs = ["xcoms/1", "xcoms/left", "artifacts/1", "artifacts/left", "recordings/1"].map(str::to_owned);
    let found = [(lost.clone(), blobs.to_vec())];
    store.lost_attempt_settle(&found).await.unwrap();
    assert_eq!(store.garbage_list(9).await.unwrap(), [""; 0]);
    assert_eq!(store.lost_attempt_list(at(2), 9).await.unwrap(), [lost]);

    let recording = RecordingRow {
        instance: x.clone(),
        try_number: 1,
        size_bytes: 9,
        created_at: at(2),
        blob: "recordings/1".into(),
    };
    let commit = Commit {
        instances: vec![running(1)],
        xcoms: vec![
            xcom(x.clone(), "k", XComBody::Blob("xcoms/1".into())),
            xcom(x.clone(), "i", XComBody::Inline(vec![1])),
        ],
        artifacts: vec![artifact(x.clone(), "a", "artifacts/1")],
        recordings: vec![recording],
        now: at(3),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    store.lost_attempt_settle(&found).await.unwrap();
    assert_eq!(store.garbage_list(9).await.unwrap(), ["xcoms/left", "artifacts/left"]);
    assert!(store.lost_attempt_list(at(9), 9).await.unwrap().is_empty());
    // Who comes too late does nothing.
    store.garbage_forget(&store.garbage_list(9).await.unwrap()).await.unwrap();
    store.lost_attempt_settle(&found).await.unwrap();
    assert!(store.garbage_list(9).await.unwrap().is_empty());
}
