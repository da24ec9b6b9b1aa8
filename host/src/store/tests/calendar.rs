//! How many runs a dag has on which day, and which dags somebody marked.

use super::*;
use crate::{model::days::Day, store::dag_run};

/// Two days of a hundred seconds each.
fn days() -> [Day; 2] {
    let date = chrono::NaiveDate::default();
    [(0, 100), (100, 200)].map(|(start, end)| Day { date, start: at(start), end: at(end) })
}

#[tokio::test]
async fn runs_are_counted_on_the_day_that_they_were_to_start() {
    let store = TestStore::new().await;
    let versions = store.deployed(&["a", "b"]).await;
    let states = [
        (99, RunState::Success),
        (100, RunState::Failed),
        (199, RunState::Failed),
        (150, RunState::Running),
        (160, RunState::Queued),
        (200, RunState::Failed),
    ];
    let of_a = states.map(|(seconds, state)| DagRunNew { state, ..run(seconds, "a", versions[0].version) });
    let of_b = run(120, "b", versions[1].version);
    let commit = Commit { dag_runs_new: of_a.into_iter().chain([of_b]).collect(), now: at(0), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    let (a, none) = (dag_id("a"), dag_id("none"));
    assert_eq!(store.dag_run_days(&a, &days()).await.unwrap(), [(1, 0), (4, 2)]);
    assert_eq!(store.dag_run_days(&none, &days()).await.unwrap(), [(0, 0), (0, 0)]);
    assert_eq!(store.dag_run_days(&a, &[]).await.unwrap(), []);
    assert_eq!(store.dag_run_unfinished_of(&a).await.unwrap(), [at(150), at(160)]);
    assert_eq!(store.dag_run_first_and_last(&a).await.unwrap(), Some((at(99), at(200))));
    assert_eq!(store.dag_run_first_and_last(&none).await.unwrap(), None);

    let filter =
        DagRunFilter { spans: Spans { run_after: days()[1].into(), ..Spans::default() }, ..DagRunFilter::of_dag(a) };
    assert_eq!(store.dag_run_list(&filter, Page::default()).await.unwrap().total, 4);
}

#[tokio::test]
async fn a_day_of_more_runs_costs_no_more_than_it_is_counted_to() {
    let store = TestStore::with_runs(1..=1).await;
    let version = store.dag_get(&dag_id("a")).await.unwrap().unwrap().version;
    let failed =
        |key| DagRunNew { run_after: at(1), logical_date: None, state: RunState::Failed, ..run(key, "a", version) };
    let runs: Vec<_> = (2..=i64::from(MOST_OF_DAY) + 5).map(failed).collect();
    for runs in runs.chunks(500) {
        let commit = Commit { dag_runs_new: runs.to_vec(), now: at(0), ..Commit::default() };
        store.commit(&commit).await.unwrap();
    }
    let most = i64::from(MOST_OF_DAY);
    assert_eq!(store.dag_run_days(&dag_id("a"), &days()).await.unwrap(), [(most, most), (0, 0)]);
}

/// The runs of a day are found by it, and not by a walk over all that the dag ever had.
#[tokio::test]
async fn days_are_looked_up_in_an_index() {
    let store = TestStore::on_sqlite().await;
    let plan = super::plans::plan(&store, include_str!("../sql/dag_run_days.sqlite.sql")).await;
    let by = |index: &str| {
        plan.iter().any(|line| line.ends_with(&format!("{index} (dag_id=? AND run_after>? AND run_after<?)")))
    };
    assert!(by("INDEX dag_run_by_dag_run_after") && by("INDEX dag_run_failed_by_run_after"), "{plan:#?}");
    let plan = super::plans::plan(&store, include_str!("../sql/dag_run_unfinished_of.sql")).await;
    assert!(plan[0].contains("dag_run_unfinished") && plan.len() == 1, "{plan:#?}");
    let filter = DagRunFilter {
        spans: Spans { run_after: days()[1].into(), ..Spans::default() },
        order_by: DagRunOrder::RunAfter,
        order: Order::Descending,
        ..DagRunFilter::of_dag(dag_id("a"))
    };
    let list = dag_run::list_query(&filter, Page::default()).unwrap();
    let plan = super::plans::plan(&store, list.sql()).await;
    assert!(plan[0].contains("dag_run_by_dag_run_after (dag_id=? AND run_after>? AND run_after<?)"), "{plan:#?}");
}

#[tokio::test]
async fn marks_are_of_one_user_and_go_with_user_and_dag() {
    let store = TestStore::new().await;
    store.deployed(&["a", "b"]).await;
    for name in ["ann", "bob"] {
        store.user_create(&user(name)).await.unwrap();
    }
    let (a, b, none) = (dag_id("a"), dag_id("b"), dag_id("none"));
    let both = [a.clone(), b.clone()];
    assert!(store.dag_favorite_put("ann", &a).await.unwrap());
    assert!(!store.dag_favorite_put("ann", &a).await.unwrap());
    assert!(!store.dag_favorite_put("ann", &none).await.unwrap());
    assert!(!store.dag_favorite_put("nobody", &a).await.unwrap());
    assert!(store.dag_favorite_put("bob", &b).await.unwrap());
    let of = async |name: &str| store.dag_favorite_list(name, &both).await.unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!((of("ann").await, of("bob").await), (vec![a.clone()], vec![b.clone()]));
    assert!(store.dag_favorite_list("ann", std::slice::from_ref(&b)).await.unwrap().is_empty());
    for (is_favorite, dag) in [(true, &a), (false, &b)] {
        let filter = DagFilter { favorite_of: Some(("ann".into(), is_favorite)), ..DagFilter::default() };
        let listed = store.dag_list(&filter, Page::default()).await.unwrap();
        assert_eq!((listed.items.len(), listed.total, &listed.items[0].dag_id), (1, 1, dag));
    }
    assert!(store.dag_favorite_delete("ann", &a).await.unwrap());
    assert!(!store.dag_favorite_delete("ann", &a).await.unwrap());
    assert!(store.dag_favorite_put("ann", &b).await.unwrap());
    store.dag_delete(&b).await.unwrap();
    assert_eq!(of("ann").await, []);
}
