//! Results that count for other instances, too.

use super::*;
use crate::model::ids::AssetName;

const KEY: Digest = Digest([7; 32]);

/// That of try 1 of task `x` in run `run`, which ended at 10 s and counts for 100 s.
fn row(run: i64) -> CachedResultRow {
    CachedResultRow {
        key: KEY,
        instance: instance(run, "x"),
        try_number: 1,
        dag_id: dag_id("a"),
        run_id: RunId::new("first").unwrap(),
        made_at: at(10),
        expires_at: at(110),
        asset_extras: [(AssetName::new("rolls").unwrap(), r#"{"n":1}"#.to_owned())].into(),
    }
}

fn success(run: i64) -> Commit {
    Commit {
        instances: vec![update(instance(run, "x"), TaskState::Success, 1)],
        xcoms: vec![xcom(instance(run, "x"), "return_value", XComBody::Inline(vec![b'1']))],
        artifacts: vec![artifact(instance(run, "x"), "a", &format!("artifacts/{run}"))],
        cached_results: vec![row(run)],
        now: at(10),
        ..Commit::default()
    }
}

async fn with_result() -> TestStore {
    let store = TestStore::with_runs(1..=2).await;
    store.commit(&success(1)).await.unwrap();
    store
}

impl TestStore {
    async fn found(&self) -> Option<CachedResultRow> {
        self.cached_result_find(&KEY, at(0)).await.unwrap().map(|found| found.row)
    }
}

#[tokio::test]
async fn a_result_is_found_whole_while_it_is_young() {
    let store = with_result().await;
    let found = store.cached_result_find(&KEY, at(9)).await.unwrap().unwrap();
    assert_eq!((found.row, found.xcoms.len(), found.artifacts.len()), (row(1), 1, 1));
    assert!(store.cached_result_find(&KEY, at(10)).await.unwrap().is_none(), "it was made then");
    assert!(store.cached_result_find(&Digest([8; 32]), at(9)).await.unwrap().is_none());
    assert_eq!(store.cached_result_delete_expired(at(109)).await.unwrap(), 0);
    assert_eq!(store.cached_result_delete_expired(at(110)).await.unwrap(), 1);
    assert_eq!(store.found().await, None);
}

#[tokio::test]
async fn who_took_it_last_keeps_it() {
    let store = with_result().await;
    store.commit(&success(2)).await.unwrap();
    store.dag_run_delete(&[DagRunKey(1)]).await.unwrap();
    assert_eq!(store.found().await, Some(row(2)));
    let found = store.cached_result_find(&KEY, at(0)).await.unwrap().unwrap();
    assert_eq!(found.artifacts[0].blob, "artifacts/2");
    store.dag_run_delete(&[DagRunKey(2)]).await.unwrap();
    assert_eq!(store.found().await, None);
}

#[tokio::test]
async fn it_goes_with_the_instance_that_has_it() {
    let clear = |store: TestStore| async move {
        let clear = Commit { xcoms_cleared: vec![instance(1, "x")], now: at(20), ..Commit::default() };
        store.commit(&clear).await.unwrap();
        store
    };
    assert_eq!(clear(with_result().await).await.found().await, None);

    for (state, try_number, counts) in
        [(TaskState::Success, 1, true), (TaskState::Failed, 1, false), (TaskState::Success, 2, false)]
    {
        let store = with_result().await;
        let instances = vec![update(instance(1, "x"), state, try_number)];
        store.commit(&Commit { instances, now: at(20), ..Commit::default() }).await.unwrap();
        assert_eq!(store.found().await.is_some(), counts, "{state} {try_number}");
    }

    let key = XComKey::return_value();
    let store = with_result().await;
    assert!(!store.xcom_delete(&instance(2, "x"), &key).await.unwrap());
    assert_eq!(store.found().await, Some(row(1)));
    assert!(store.xcom_delete(&instance(1, "x"), &key).await.unwrap());
    assert_eq!(store.found().await, None, "an XCom was deleted by hand");
    let store = with_result().await;
    let changed = xcom(instance(1, "x"), "return_value", XComBody::Inline(vec![b'2']));
    assert!(store.xcom_put(&changed, at(20)).await.unwrap());
    assert_eq!(store.found().await, None, "an XCom was changed by hand");
}

#[tokio::test]
async fn of_two_in_one_commit_the_later_counts() {
    let store = TestStore::with_runs(1..=2).await;
    let (mut commit, other) = (success(1), success(2));
    commit.instances.extend(other.instances);
    commit.cached_results.extend(other.cached_results);
    store.commit(&commit).await.unwrap();
    assert_eq!(store.found().await, Some(row(2)));
}
