//! Runs, instances and XComs in lists.

use super::*;
use crate::{model::ids::AssetName, store::task_instance::Reach};

async fn runs(store: &Store, filter: DagRunFilter) -> Vec<i64> {
    let listed = store.dag_run_list(&filter, Page::default()).await.unwrap();
    assert_eq!(listed.total, i64::try_from(listed.items.len()).unwrap());
    listed.items.iter().map(|run| run.key.0).collect()
}

#[tokio::test]
async fn runs_are_found_by_their_ids_in_all_dags_or_some() {
    let store = TestStore::with_runs(1..=4).await;
    let ids = |keys: &[i64]| keys.iter().map(|key| RunId::new(&format!("run-{key}")).unwrap()).collect::<Vec<_>>();
    let a = DagSet::one(dag_id("a"));
    let both: DagSet = [dag_id("a"), dag_id("b")].into_iter().collect();
    for (dags, asked, found) in [
        (DagSet::all(), &[2, 4, 9][..], &[2, 4][..]),
        (a, &[3, 1], &[1, 3]),
        (both, &[1], &[1]),
        (DagSet::one(dag_id("b")), &[1], &[]),
        ([].into_iter().collect(), &[1], &[]),
    ] {
        let mut keys = store.dag_run_keys(&dags, &ids(asked)).await.unwrap();
        keys.sort_unstable();
        assert_eq!(keys.iter().map(|key| key.0).collect::<Vec<_>>(), found, "{dags:?} {asked:?}");
    }
}

#[tokio::test]
async fn runs_are_filtered_by_all_that_is_asked_for() {
    let store = TestStore::with_runs(1..=4).await;
    let update = |key: i64, state, end_date| DagRunUpdate {
        start_date: Some(at(100 - key)),
        end_date,
        ..DagRunUpdate::of_test(DagRunKey(key), state)
    };
    let dag_runs = vec![
        update(1, RunState::Success, Some(at(1))),
        update(2, RunState::Failed, Some(at(2))),
        update(3, RunState::Running, None),
    ];
    store.commit(&Commit { dag_runs, now: at(9), ..Commit::default() }).await.unwrap();
    let all = DagRunFilter::default;
    assert_eq!(runs(&store, all()).await, [1, 2, 3, 4]);
    assert_eq!(
        runs(&store, DagRunFilter { order: Order::Descending, order_by: DagRunOrder::RunAfter, ..all() }).await,
        [4, 3, 2, 1]
    );
    assert_eq!(runs(&store, DagRunFilter { order_by: DagRunOrder::StartDate, ..all() }).await, [4, 3, 2, 1]);
    let by = |order_by, order| DagRunFilter { order_by, order, ..all() };
    for (order_by, forth, back) in [
        (DagRunOrder::DagId, [1, 2, 3, 4], [4, 3, 2, 1]),
        (DagRunOrder::RunId, [1, 2, 3, 4], [4, 3, 2, 1]),
        // failed, queued, running, success
        (DagRunOrder::State, [2, 4, 3, 1], [1, 3, 4, 2]),
    ] {
        assert_eq!(runs(&store, by(order_by, Order::Ascending)).await, forth, "{order_by:?}");
        assert_eq!(runs(&store, by(order_by, Order::Descending)).await, back, "{order_by:?}");
    }
    // Those that have not ended are last.
    assert_eq!(runs(&store, by(DagRunOrder::Duration, Order::Descending)).await, [2, 1, 4, 3]);
    assert_eq!(runs(&store, DagRunFilter::of_dag(dag_id("b"))).await, [0; 0]);
    assert_eq!(runs(&store, DagRunFilter { states: vec![RunState::Failed], ..all() }).await, [2]);
    assert_eq!(runs(&store, DagRunFilter { states: vec![RunState::Running, RunState::Queued], ..all() }).await, [3, 4]);
    assert_eq!(runs(&store, DagRunFilter { states: vec![RunState::Success, RunState::Queued], ..all() }).await, [1, 4]);
    assert_eq!(runs(&store, DagRunFilter { run_types: vec![RunType::Scheduled], ..all() }).await, [0; 0]);
    let range = Range { gte: Some(at(2)), lte: Some(at(3)) };
    assert_eq!(
        runs(&store, DagRunFilter { spans: Spans { logical_date: range, ..Spans::default() }, ..all() }).await,
        [2, 3]
    );
    assert_eq!(
        runs(&store, DagRunFilter { spans: Spans { run_after: range, ..Spans::default() }, ..all() }).await,
        [2, 3]
    );
    assert_eq!(runs(&store, DagRunFilter { spans: Spans { end_date: range, ..Spans::default() }, ..all() }).await, [2]);
    let unfinished = store.dag_run_list_unfinished(None, 1).await.unwrap();
    assert_eq!(unfinished[0].key, DagRunKey(3));
    let unfinished = store.dag_run_list_unfinished(Some(DagRunKey(3)), 10).await.unwrap();
    assert_eq!(unfinished.iter().map(|run| run.key.0).collect::<Vec<_>>(), [4]);
    assert_eq!(store.dag_run_next_key().await.unwrap(), 5);
}

#[tokio::test]
async fn lists_of_runs_come_without_what_is_long() {
    let store = TestStore::with_runs(1..=1).await;
    let version = store.deployed(&["b"]).await[0].version;
    let of_bytes = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "é".repeat((bytes - 8) / 2));
    let confs = [of_bytes(MAX_LISTED_CONF_BYTES), of_bytes(MAX_LISTED_CONF_BYTES + 2)];
    let new = |(key, conf): (i64, &String)| DagRunNew { conf: conf.as_str().into(), ..run(key, "b", version) };
    let dag_runs_new = (2..).zip(&confs).map(new).collect();
    store.commit(&Commit { dag_runs_new, now: at(4), ..Commit::default() }).await.unwrap();
    let filter = DagRunFilter::of_dag(dag_id("b"));
    let listed = store.dag_run_list(&filter, Page::default()).await.unwrap().items;
    let unfinished = store.dag_run_list_unfinished(Some(DagRunKey(1)), 10).await.unwrap();
    for rows in [listed, unfinished] {
        assert_eq!(rows.iter().map(|run| run.conf.as_deref()).collect::<Vec<_>>(), [Some(confs[0].as_str()), None]);
    }
    for (key, conf) in (2..).map(DagRunKey).zip(&confs) {
        assert_eq!(store.dag_run_conf(key).await.unwrap().as_deref(), Some(conf.as_str()));
        let row = store.dag_run_get_by_key(key).await.unwrap().unwrap();
        assert_eq!(row.conf.as_deref(), Some(conf.as_str()));
    }
}

#[tokio::test]
async fn events_of_assets_are_found_by_names_and_times() {
    let store = TestStore::new().await;
    let mut dag = spec("a");
    let assets = serde_json::json!([
        {"name": "stars", "uri": "stars", "group": "asset"}, {"name": "moons", "uri": "moons", "group": "asset"},
    ]);
    dag.assets = serde_json::from_value(assets).unwrap();
    dag.asset_schedule = serde_json::from_value(serde_json::json!({"asset": "stars"})).unwrap();
    let version = store.deploy(&deploy(1, vec![dag])).await.unwrap()[0].version;
    let event = |key, asset: &str, seconds, consumers| AssetEventNew {
        key,
        asset: AssetName::new(asset).unwrap(),
        timestamp: at(seconds),
        extra: "{}".into(),
        source: None,
        created_by: None,
        consumers,
        through: None,
    };
    // The clock went back once.
    let asset_events = vec![
        event(1, "stars", 1, vec![dag_id("a")]),
        event(2, "moons", 2, vec![]),
        event(3, "stars", 5, vec![]),
        event(4, "moons", 4, vec![]),
    ];
    store.commit(&Commit { asset_events, now: at(6), ..Commit::default() }).await.unwrap();
    let made = Commit {
        dag_runs_new: vec![run(1, "a", version), run(2, "a", version)],
        asset_runs: vec![(DagRunKey(1), dag_id("a"))],
        now: at(7),
        ..Commit::default()
    };
    store.commit(&made).await.unwrap();

    let keys = async |filter: AssetEventFilter| {
        let listed = store.asset_event_list(&filter, Page::default()).await.unwrap();
        assert_eq!(listed.total, i64::try_from(listed.items.len()).unwrap());
        listed.items.iter().map(|event| event.key).collect::<Vec<_>>()
    };
    let named = |text: &str| AssetEventFilter { name: Like::one(text), ..AssetEventFilter::default() };
    assert_eq!(keys(named("ST%")).await, [1, 3]);
    assert_eq!(keys(named("%s")).await, [1, 2, 3, 4]);
    assert_eq!(keys(named("s")).await, [0; 0]);
    let since = AssetEventFilter { timestamp: Range { gte: Some(at(2)), lte: None }, ..AssetEventFilter::default() };
    assert_eq!(keys(since.clone()).await, [2, 4, 3]);
    assert_eq!(keys(AssetEventFilter { order: Order::Descending, ..since.clone() }).await, [3, 4, 2]);
    let moons = store.asset_get_by_name(&AssetName::new("moons").unwrap()).await.unwrap().unwrap().id;
    assert_eq!(keys(AssetEventFilter { asset: Some(moons), ..since }).await, [2, 4]);

    let listed = |only_named| AssetFilter { only_named, ..AssetFilter::default() };
    assert_eq!(store.asset_list(&listed(true), Page::default()).await.unwrap().total, 1);
    assert_eq!(store.asset_list(&listed(false), Page::default()).await.unwrap().total, 2);

    let consumed = |text: &str| DagRunFilter { consumed_like: Like::one(text), ..DagRunFilter::of_dag(dag_id("a")) };
    assert_eq!(runs(&store, consumed("%TAR%")).await, [1]);
    assert_eq!(runs(&store, consumed("%moon%")).await, [0; 0]);
    assert_eq!(runs(&store, DagRunFilter { consumed_of: DagSet::one(dag_id("b")), ..consumed("%tar%") }).await, [0; 0]);
    let came_with = |digest| DagRunFilter { component: Some(Digest([digest; 32])), ..DagRunFilter::default() };
    assert_eq!(runs(&store, came_with(1)).await, [1, 2]);
    assert_eq!(runs(&store, came_with(2)).await, [0; 0]);
}

#[tokio::test]
async fn pages_follow_each_other_however_often_a_row_fits() {
    let store = TestStore::new().await;
    let named = |dag: &str| {
        let mut dag = spec(dag);
        let assets = serde_json::json!([
            {"name": "stars", "uri": "stars", "group": "asset"}, {"name": "moons", "uri": "moons", "group": "asset"},
        ]);
        dag.assets = serde_json::from_value(assets).unwrap();
        let both = serde_json::json!({"all": [{"asset": "stars"}, {"asset": "moons"}]});
        dag.asset_schedule = serde_json::from_value(both).unwrap();
        dag
    };
    store.deploy(&deploy(1, vec![named("a"), named("b")])).await.unwrap();
    let like = Like { any: vec!["%a%".into(), "%s".into(), "m%".into(), "b".into(), "_".into()], prefixes: Vec::new() };
    let begin = Like { any: Vec::new(), prefixes: vec!["a".into(), "b".into(), String::new()] };
    let page = |offset| Page { limit: 1, offset };
    for filter in [
        AssetFilter { only_named: true, ..AssetFilter::default() },
        AssetFilter { name: like.clone(), ..AssetFilter::default() },
    ] {
        for (offset, found) in [(0, &["moons"][..]), (1, &["stars"]), (2, &[])] {
            let items = store.asset_list(&filter, page(offset)).await.unwrap().items;
            assert!(items.iter().map(|asset| asset.name.as_str()).eq(found.iter().copied()), "{filter:?} {items:?}");
        }
    }
    for filter in [
        DagFilter { on_assets: Some(true), ..DagFilter::default() },
        DagFilter { dag_id: like, ..DagFilter::default() },
        DagFilter { dag_id: begin, ..DagFilter::default() },
    ] {
        for (offset, found) in [(0, &["a"][..]), (1, &["b"]), (2, &[])] {
            let items = store.dag_list(&filter, page(offset)).await.unwrap().items;
            assert!(items.iter().map(|dag| dag.dag_id.as_str()).eq(found.iter().copied()), "{filter:?} {offset}");
        }
    }
}

#[tokio::test]
async fn versions_of_runs_are_found_by_their_names() {
    let store = TestStore::with_runs(1..=3).await;
    let [second, third, of_another, missing] = [("a", "run-2"), ("a", "run-3"), ("b", "run-1"), ("a", "none")]
        .map(|(dag, run)| (dag_id(dag), RunId::new(run).unwrap()));
    let version = store.dag_get(&dag_id("a")).await.unwrap().unwrap().version;
    let found = store.dag_run_versions(&[third.clone(), missing, second.clone(), of_another]).await.unwrap();
    assert!(found.into_iter().eq([(second, version), (third, version)]));
    assert!(store.dag_run_versions(&[]).await.unwrap().is_empty());
    let by_key = store.dag_run_versions_by_key(&[DagRunKey(3), DagRunKey(9), DagRunKey(1)]).await.unwrap();
    assert!(by_key.into_iter().eq([(DagRunKey(1), version), (DagRunKey(3), version)]));
}

#[tokio::test]
async fn the_latest_runs_are_those_of_each_dag() {
    let store = TestStore::with_runs(1..=3).await;
    let version = store.deployed(&["b"]).await[0].version;
    let commit = Commit { dag_runs_new: vec![run(4, "b", version)], now: at(4), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    let latest = store.dag_run_latest(&[dag_id("b"), dag_id("a"), dag_id("none")], 2).await.unwrap();
    let latest: Vec<_> = latest.iter().map(|run| (run.dag_id.as_str(), run.key.0)).collect();
    assert_eq!(latest, [("a", 3), ("a", 2), ("b", 4)]);
    let exists = async |run: &str, date| {
        store.dag_run_exists(&dag_id("a"), Some(&RunId::new(run).unwrap()), date).await.unwrap()
    };
    assert!(exists("run-1", None).await);
    assert!(exists("new", Some(at(2))).await);
    assert!(!exists("new", Some(at(4))).await);
    assert!(!exists("new", None).await);
}

#[tokio::test]
async fn instances_are_filtered_by_all_that_is_asked_for() {
    let store = TestStore::with_runs(1..=3).await;
    let started = |run, task, state, start| InstanceUpdate {
        start_date: Some(at(start)),
        ..update(instance(run, task), state, 1)
    };
    let instances = vec![
        started(1, "x", TaskState::Failed, 9),
        started(2, "x", TaskState::Running, 8),
        started(2, "y", TaskState::Success, 7),
        started(3, "y", TaskState::UpstreamFailed, 6),
    ];
    store.commit(&Commit { instances, now: at(9), ..Commit::default() }).await.unwrap();
    let list = async |filter: TaskInstanceFilter| {
        let listed = store.task_instance_list(&filter, Page::default()).await.unwrap();
        assert_eq!(listed.total, i64::try_from(listed.items.len()).unwrap());
        let name = |row: &TaskInstanceRow| format!("{}{}", row.dag_run.0, row.task_id);
        listed.items.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    let all = TaskInstanceFilter::default;
    assert_eq!(list(all()).await, "1x 1y 2x 2y 3x 3y");
    let a = TaskInstanceFilter { dags: DagSet::one(dag_id("a")), ..all() };
    assert_eq!(list(TaskInstanceFilter { order: Order::Descending, ..a.clone() }).await, "3y 3x 2y 2x 1y 1x");
    assert_eq!(
        list(TaskInstanceFilter { order_by: TaskInstanceOrder::StartDate, ..TaskInstanceFilter::of_run(DagRunKey(2)) })
            .await,
        "2y 2x"
    );
    for (order_by, listed) in [
        (TaskInstanceOrder::RunAfter, "3y 3x 2y 2x 1y 1x"),
        (TaskInstanceOrder::LogicalDate, "3y 3x 2y 2x 1y 1x"),
        (TaskInstanceOrder::TryNumber, "3y 3x 2y 2x 1x 1y"),
        (TaskInstanceOrder::RenderedMapIndex, "3y 3x 2y 2x 1y 1x"),
        (TaskInstanceOrder::Entry, "3y 3x 2y 2x 1y 1x"),
    ] {
        let filter = TaskInstanceFilter { order_by, order: Order::Descending, ..all() };
        assert_eq!(list(filter).await, listed, "{order_by:?}");
    }
    let dag_runs = vec![DagRunKey(3), DagRunKey(1)];
    assert_eq!(list(TaskInstanceFilter { dag_runs, ..a }).await, "1x 1y 3x 3y");
    assert_eq!(list(TaskInstanceFilter { task_ids: vec![TaskId::new("x").unwrap()], ..all() }).await, "1x 2x 3x");
    assert_eq!(
        list(TaskInstanceFilter { states: vec![TaskState::Failed, TaskState::UpstreamFailed], ..all() }).await,
        "1x 3y"
    );
    assert_eq!(list(TaskInstanceFilter { states: vec![TaskState::Running], ..all() }).await, "2x");
    assert_eq!(
        list(TaskInstanceFilter { states: vec![TaskState::Running, TaskState::Success], ..all() }).await,
        "2x 2y"
    );
    assert_eq!(list(TaskInstanceFilter { pools: vec![PoolName::new("p").unwrap()], ..all() }).await, "");
    let range = Range { gte: Some(at(2)), lte: None };
    assert_eq!(
        list(TaskInstanceFilter { spans: Spans { logical_date: range, ..Spans::default() }, ..all() }).await,
        "2x 2y 3x 3y"
    );
    let range = Range { gte: None, lte: Some(at(7)) };
    assert_eq!(
        list(TaskInstanceFilter { spans: Spans { start_date: range, ..Spans::default() }, ..all() }).await,
        "2y 3y"
    );
    let page = store.task_instance_list(&all(), Page { limit: 2, offset: 3 }).await.unwrap();
    assert_eq!((page.items.len(), page.total), (2, 6));

    assert_eq!(
        store.task_instance_counts(DagRunKey(2)).await.unwrap(),
        [(TaskState::Running, 1), (TaskState::Success, 1)]
    );
    let tasks = ["x", "none"].map(|task| TaskId::new(task).unwrap());
    let of_tasks = store.task_instance_counts_of(DagRunKey(2), &tasks).await.unwrap();
    assert_eq!(of_tasks, [(TaskId::new("x").unwrap(), TaskState::Running, 1)]);
    assert!(store.task_instance_set_note(&instance(1, "x"), Some("look")).await.unwrap());
    assert!(!store.task_instance_set_note(&instance(1, "none"), None).await.unwrap());
    assert_eq!(store.task_instance_get(&instance(1, "x")).await.unwrap().unwrap().note.as_deref(), Some("look"));
    assert!(store.dag_run_set_note(DagRunKey(1), Some("n")).await.unwrap());
    assert!(!store.dag_run_set_note(DagRunKey(9), None).await.unwrap());
}

/// The pages of a search, to its end.
async fn searched(store: &Store, mut filter: TaskInstanceFilter, limit: u32, reach: Reach) -> Vec<String> {
    let mut pages = Vec::new();
    loop {
        let found = store.task_instance_search_within(&filter, limit, reach).await.unwrap();
        let names: Vec<_> = found.items.iter().map(|row| format!("{}{}", row.dag_run.0, row.task_id)).collect();
        let reached = found.reached.map(|run| format!(" to {}", run.0)).unwrap_or_default();
        pages.push(names.join(" ") + &reached);
        match found.next {
            Some(place) => filter.after = Some(place),
            None => return pages,
        }
        assert!(pages.len() < 20, "{pages:?}");
    }
}

#[tokio::test]
async fn a_search_for_instances_goes_back_step_by_step_whatever_it_finds() {
    let store = TestStore::with_runs(1..=4).await;
    let in_states = [(1, "x", TaskState::Failed), (2, "y", TaskState::Skipped), (3, "y", TaskState::Running)];
    let instances = in_states.map(|(run, task, state)| update(instance(run, task), state, 1)).into();
    store.commit(&Commit { instances, now: at(9), ..Commit::default() }).await.unwrap();
    let (all, reach) = (TaskInstanceFilter::default, |runs, instances| Reach { runs, instances });
    assert_eq!(searched(&store, all(), 3, reach(9, 100)).await, ["4y 4x 3y", "3x 2y 2x", "1y 1x"]);
    assert_eq!(searched(&store, all(), 9, reach(9, 3)).await, ["4y 4x 3y to 3", "3x 2y 2x to 2", "1y 1x"]);
    let task = TaskInstanceFilter { task_ids: vec![TaskId::new("x").unwrap()], ..all() };
    assert_eq!(searched(&store, task.clone(), 9, reach(9, 5)).await, ["4x 3x to 2", "2x 1x"]);
    let pool = TaskInstanceFilter { pools: vec![PoolName::new("p").unwrap()], ..all() };
    assert_eq!(searched(&store, pool, 9, reach(9, 3)).await, [" to 3", " to 2", ""]);
    let in_state = |state| TaskInstanceFilter { states: vec![state], ..all() };
    // An index has these, however old they are.
    assert_eq!(searched(&store, in_state(TaskState::Failed), 9, reach(9, 3)).await, ["1x"]);
    assert_eq!(searched(&store, in_state(TaskState::Failed), 9, reach(9, 1)).await, [" to 2", "1x to 1", ""]);
    let of = |dag: &str, filter| TaskInstanceFilter { dags: DagSet::one(dag_id(dag)), ..filter };
    let pages = ["4y 4x 3y 3x to 3", "2y 2x to 2", "1y 1x to 1", ""];
    assert_eq!(searched(&store, of("a", all()), 9, reach(2, 100)).await, pages);
    assert_eq!(searched(&store, of("a", all()), 3, reach(9, 100)).await, ["4y 4x 3y", "3x 2y 2x", "1y 1x"]);
    let pages = ["4y 4x 3y to 3", "3x 2y 2x to 2", "1y 1x"];
    assert_eq!(searched(&store, of("a", all()), 9, reach(9, 3)).await, pages);
    assert_eq!(searched(&store, of("a", task), 9, reach(3, 100)).await, ["4x 3x 2x to 2", "1x"]);
    assert_eq!(searched(&store, of("a", in_state(TaskState::Running)), 9, reach(9, 100)).await, ["3y"]);
    assert_eq!(searched(&store, of("b", all()), 9, reach(9, 100)).await, [""]);
}

#[tokio::test]
async fn of_each_run_the_instance_that_failed_first_is_found() {
    let store = TestStore::with_runs(1..=3).await;
    let ended =
        |run, task, state, end| InstanceUpdate { end_date: Some(at(end)), ..update(instance(run, task), state, 1) };
    let instances = vec![
        ended(1, "x", TaskState::Failed, 9),
        ended(1, "y", TaskState::Failed, 8),
        ended(2, "x", TaskState::Success, 6),
        ended(2, "y", TaskState::UpstreamFailed, 7),
        ended(3, "x", TaskState::Skipped, 5),
        ended(3, "y", TaskState::Failed, 6),
    ];
    store.commit(&Commit { instances, now: at(9), ..Commit::default() }).await.unwrap();
    let found = async |runs: &[i64]| {
        let runs: Vec<_> = runs.iter().copied().map(DagRunKey).collect();
        let mut found = store.task_instance_first_failed(&runs).await.unwrap();
        found.sort_by_key(|row| row.dag_run);
        found.iter().map(|row| format!("{}{}", row.dag_run.0, row.task_id)).collect::<Vec<_>>()
    };
    assert_eq!(found(&[1, 2, 3, 9]).await, ["1y", "3y"]);
    assert!(found(&[2]).await.is_empty());
    assert!(found(&[]).await.is_empty());
}

#[tokio::test]
async fn totals_are_counted_up_to_a_bound() {
    let store = TestStore::with_runs(1..=1).await;
    let new =
        |at| InstanceNew { key: InstanceKey { map_index: at, ..instance(1, "m") }, ..new_instance(DagRunKey(1), "m") };
    let commit = Commit { instances_new: (0..10_500).map(new).collect(), now: at(1), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    let listed =
        store.task_instance_list(&TaskInstanceFilter::default(), Page { limit: u32::MAX, offset: 0 }).await.unwrap();
    assert_eq!(listed.total, MAX_TOTAL);
    assert_eq!(listed.items.len(), MAX_PAGE as usize);
}

#[tokio::test]
async fn xcoms_of_several_runs_come_by_logical_date() {
    let store = TestStore::with_runs(1..=4).await;
    let value = |key: i64| xcom(instance(key, "x"), "return_value", XComBody::Inline(key.to_string().into_bytes()));
    let commit = Commit { xcoms: (1..=4).map(value).collect(), now: at(5), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    let task = TaskId::new("x").unwrap();
    let listed = store.xcom_list_runs(&dag_id("a"), &task, &XComKey::return_value(), at(2), at(4), 10).await.unwrap();
    let seen: Vec<_> = listed.into_iter().map(|value| (value.row.logical_date, value.body)).collect();
    assert_eq!(seen, [2, 3].map(|key: i64| (Some(at(key)), XComBody::Inline(key.to_string().into_bytes()))));

    let filter = XComFilter { dag_id: Some(dag_id("a")), dag_run: Some(DagRunKey(2)), ..XComFilter::default() };
    let listed = store.xcom_list(&filter, Page::default()).await.unwrap();
    assert_eq!((listed.total, listed.items[0].size_bytes, listed.items[0].created_at), (1, 1, at(5)));
    let filter = XComFilter { key: Some(XComKey::new("other").unwrap()), ..filter };
    assert_eq!(store.xcom_list(&filter, Page::default()).await.unwrap().total, 0);
}

#[tokio::test]
async fn runs_of_some_dags_are_listed_in_the_order_of_all() {
    let store = TestStore::new().await;
    let deployed = store.deployed(&["a", "b", "c"]).await;
    let new = |key: i64| {
        let dag = &deployed[usize::try_from(key % 3).unwrap()];
        run(key, dag.dag_id.as_str(), dag.version)
    };
    store.commit(&Commit { dag_runs_new: (1..=12).map(new).collect(), now: at(1), ..Commit::default() }).await.unwrap();
    let two = [0, 1].map(|index: usize| deployed[index].dag_id.clone());
    for order in [Order::Ascending, Order::Descending] {
        let mut expected: Vec<i64> = (1..=12).filter(|key| key % 3 != 2).collect();
        if order == Order::Descending {
            expected.reverse();
        }
        let mut filter = DagRunFilter { dags: two.iter().cloned().collect(), order, ..DagRunFilter::default() };
        for offset in 0..9 {
            let listed = store.dag_run_list(&filter, Page { limit: 3, offset }).await.unwrap();
            let keys: Vec<_> = listed.items.iter().map(|row| row.key.0).collect();
            let wanted: Vec<_> = expected.iter().copied().skip(offset as usize).take(3).collect();
            assert_eq!((keys, listed.total), (wanted, 8), "{order:?} {offset}");
        }
        filter.after = Some(serde_json::from_str(&format!("[{}]", expected[4])).unwrap());
        let listed = store.dag_run_list(&filter, Page { limit: 3, offset: 0 }).await.unwrap();
        assert_eq!(listed.items.iter().map(|row| row.key.0).collect::<Vec<_>>(), expected[5..]);
    }
}
