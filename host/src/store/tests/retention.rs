//! What retention finds and deletes.

use super::*;
use crate::model::{
    backfill::{Intervals, ReprocessBehavior},
    callback::{CallbackEvent, Target},
    ids::AssetName,
    limits::{DagLimits, Resource, Spent},
    retention::{DagRetention, Part, Place},
};

/// A dag `a` whose runs ended one after the other, but for those of `unfinished`.
async fn with_ended(keys: std::ops::RangeInclusive<i64>, unfinished: &[i64]) -> TestStore {
    let store = TestStore::with_runs(keys.clone()).await;
    let ended = keys.filter(|key| !unfinished.contains(key)).map(|key| ended(key, at(100 + key)));
    store.commit(&Commit { dag_runs: ended.collect(), now: at(200), ..Commit::default() }).await.unwrap();
    store
}

fn ended(key: i64, end: Timestamp) -> DagRunUpdate {
    DagRunUpdate {
        start_date: Some(at(100)),
        end_date: Some(end),
        ..DagRunUpdate::of_test(DagRunKey(key), RunState::Success)
    }
}

fn place(key: i64) -> Place {
    Place { end_date: at(100 + key), key }
}

/// Runs that ended, with those that are needed in the second list.
async fn found(store: &Store) -> (Vec<i64>, Vec<i64>) {
    let runs = store.dag_run_ended(&dag_id("a"), Place::FIRST, place(1_000), 100).await.unwrap();
    let (held, free): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.is_held);
    let keys = |runs: Vec<EndedRun>| runs.into_iter().map(|run| run.key.0).collect();
    (keys(free), keys(held))
}

#[tokio::test]
async fn runs_are_found_in_the_order_of_their_ends() {
    let store = with_ended(1..=5, &[]).await;
    let a = dag_id("a");
    store.commit(&Commit { dag_runs: vec![ended(2, at(300))], now: at(300), ..Commit::default() }).await.unwrap();
    let (free, held) = found(&store).await;
    assert_eq!(
        (free, held),
        (vec![1, 3, 4, 2], vec![5]),
        "there is none after the last that would look back at another"
    );
    assert_eq!(store.dag_run_place(&a, 0).await.unwrap(), Some(Place { end_date: at(300), key: 2 }));
    assert_eq!(store.dag_run_place(&a, 4).await.unwrap(), Some(place(1)));
    assert_eq!(store.dag_run_place(&a, 5).await.unwrap(), None);
    let some = store.dag_run_ended(&a, place(1), place(4), 1).await.unwrap();
    assert_eq!((some.len(), some[0].place()), (1, place(3)));
}

#[tokio::test]
async fn runs_that_something_needs_are_held() {
    let store = with_ended(1..=9, &[4, 9]).await;
    let callback = CallbackNew {
        dag_run: DagRunKey(1),
        task_id: None,
        map_index: -1,
        number: 0,
        event: CallbackEvent::Success,
        subject: None,
        target: Target::Dag(dag_id("a")),
        message: None,
    };
    let origin = |run, parent| {
        let dag_run = DagRunKey(run);
        (dag_run, OriginRow { dag_run, parent: instance(parent, "x").into(), parent_number: 1, depth: 1 })
    };
    let commit = Commit {
        callbacks: vec![callback],
        origins: [origin(5, 9), origin(6, 7)].into(),
        now: at(300),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    // 1: a callback is due; 3 and 8: an unfinished run may look back at them; 5: the run that started it goes on.
    assert_eq!(found(&store).await, (vec![2, 6, 7], vec![1, 3, 5, 8]));
}

#[tokio::test]
async fn runs_of_a_backfill_are_held_until_it_is_done() {
    let store = with_ended(1..=3, &[]).await;
    let new = BackfillNew {
        dag_id: dag_id("a"),
        intervals: Intervals { from: at(0), to: at(9), until: at(9), run_backwards: false },
        max_active_runs: 1,
        reprocess_behavior: ReprocessBehavior::None,
        dag_run_conf: "{}".into(),
        total: 3,
        triggering_user: None,
    };
    let mut backfill = store.backfill_create(&new).await.unwrap();
    let commit = Commit { backfill_runs: vec![(DagRunKey(1), backfill.id)], now: at(1), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    assert_eq!(found(&store).await, (vec![2], vec![1, 3]));
    backfill.completed_at = Some(at(9));
    store.commit(&Commit { backfills: vec![backfill], now: at(9), ..Commit::default() }).await.unwrap();
    assert_eq!(found(&store).await, (vec![1, 2], vec![3]));
}

#[tokio::test]
async fn only_finished_runs_are_deleted() {
    let store = with_ended(1..=3, &[2]).await;
    let all = [DagRunKey(1), DagRunKey(2), DagRunKey(3)];
    assert_eq!(store.dag_run_delete_finished(&all).await.unwrap(), 2);
    assert!(store.dag_run_get_by_key(DagRunKey(2)).await.unwrap().is_some());
    assert_eq!(store.dag_run_delete(&all).await.unwrap(), 1);
}

#[tokio::test]
async fn logs_go_before_their_runs_and_the_store_knows_how_far() {
    let store = with_ended(1..=3, &[]).await;
    let a = dag_id("a");
    let recording = RecordingRow {
        instance: instance(1, "x"),
        try_number: 1,
        size_bytes: 3,
        created_at: at(5),
        blob: "recordings/1".into(),
    };
    store.commit(&Commit { recordings: vec![recording], now: at(5), ..Commit::default() }).await.unwrap();
    let chunks: Vec<_> = (1..=3).map(|run| log_chunk(instance(run, "x"), 0, &format!("logs/{run}"))).collect();
    store.log_chunk_append(&chunks).await.unwrap();
    assert_eq!(store.retention_size(&[DagRunKey(1), DagRunKey(2)]).await.unwrap().log_bytes, 3 + 9 + 9);

    let step = store.dag_part_delete(&a, Part::Logs, place(2)).await.unwrap();
    let logs = Gone { rows: 2, bytes: 9 + 9 };
    assert_eq!((step.runs, step.has_more, step.swept.0["log_chunk"]), (2, true, logs));
    assert_eq!(store.dag_part_delete(&a, Part::Logs, place(2)).await.unwrap(), PartStep::default());
    assert_eq!(store.dag_part_deleted_until(&a, Part::Logs).await.unwrap(), Some(place(2)));
    for (run, is_deleted) in [(1, true), (2, true), (3, false)] {
        assert_eq!(store.dag_run_part_is_deleted(DagRunKey(run), Part::Logs).await.unwrap(), is_deleted, "{run}");
        let chunks = store.log_chunk_list(&instance(run, "x"), 1).await.unwrap();
        assert_eq!(chunks.is_empty(), is_deleted, "{run}");
    }
    assert_eq!(store.garbage_list(10).await.unwrap(), ["logs/1", "logs/2", "recordings/1"]);
    assert_eq!(store.dag_run_with_part(&a, Part::Logs, place(1_000), 9).await.unwrap(), [place(3)]);
    // What runs again has logs again.
    store.commit(&Commit { dag_runs: vec![ended(1, at(500))], now: at(500), ..Commit::default() }).await.unwrap();
    assert!(!store.dag_run_part_is_deleted(DagRunKey(1), Part::Logs).await.unwrap());
}

#[tokio::test]
async fn xcoms_and_artifacts_go_before_their_runs_and_leave_their_objects() {
    let store = with_ended(1..=3, &[]).await;
    let a = dag_id("a");
    for run in 1..=3 {
        store.xcom_put(&xcom(instance(run, "x"), "k", XComBody::Blob(format!("xcoms/{run}"))), at(5)).await.unwrap();
    }
    let step = store.dag_part_delete(&a, Part::Data, place(2)).await.unwrap();
    assert_eq!((step.runs, step.has_more, step.swept.0["xcom"].rows), (2, true, 2));
    assert_eq!(store.dag_part_delete(&a, Part::Data, place(2)).await.unwrap(), PartStep::default());
    assert_eq!(store.dag_part_deleted_until(&a, Part::Data).await.unwrap(), Some(place(2)));
    assert_eq!(store.dag_part_deleted_until(&a, Part::Logs).await.unwrap(), None);
    for (run, is_deleted) in [(1, true), (2, true), (3, false)] {
        assert_eq!(store.dag_run_part_is_deleted(DagRunKey(run), Part::Data).await.unwrap(), is_deleted, "{run}");
        assert!(!store.dag_run_part_is_deleted(DagRunKey(run), Part::Logs).await.unwrap());
        let key = XComKey::new("k").unwrap();
        assert_eq!(store.xcom_get(&instance(run, "x"), &key).await.unwrap().is_none(), is_deleted, "{run}");
    }
    assert_eq!(store.garbage_list(10).await.unwrap(), ["xcoms/1", "xcoms/2"]);
    assert_eq!(store.dag_run_with_part(&a, Part::Data, place(1_000), 9).await.unwrap(), [place(3)]);
}

#[tokio::test]
async fn a_run_with_a_long_log_loses_it_in_steps() {
    let store = with_ended(1..=1, &[]).await;
    let chunks: Vec<_> = (0..2_500).map(|seq| log_chunk(instance(1, "x"), seq, &format!("logs/{seq}"))).collect();
    store.log_chunk_append(&chunks).await.unwrap();
    let mut runs = Vec::new();
    while {
        let step = store.dag_part_delete(&dag_id("a"), Part::Logs, place(1)).await.unwrap();
        runs.push(step.runs);
        step.has_more
    } {}
    assert_eq!(runs, [0, 0, 1, 0]);
    assert!(store.log_chunk_list(&instance(1, "x"), 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn versions_and_components_that_nothing_needs_go() {
    let store = TestStore::new().await;
    for (component, label) in [(1, "one"), (2, "two"), (3, "three")] {
        let mut spec = spec("a");
        spec.description = Some(label.into());
        let deploy = Deploy {
            blob: format!("components/{component}"),
            now: at(i64::from(component)),
            ..deploy(component, vec![spec])
        };
        store.deploy(&deploy).await.unwrap();
    }
    let versions = store.dag_version_list(&DagVersionFilter::of_dag(dag_id("a")), Page::default()).await.unwrap().items;
    let second = versions.iter().find(|version| version.version_number == 2).unwrap().key;
    let commit = Commit { dag_runs_new: vec![run(1, "a", second)], now: at(9), ..Commit::default() };
    store.commit(&commit).await.unwrap();

    let first = DagVersionKey(i64::MIN);
    assert_eq!(store.dag_version_delete_unused(first, at(2), 0).await.unwrap().map(|(_, count)| count), Some(0));
    assert_eq!(store.dag_version_delete_unused(first, at(0), 3).await.unwrap().map(|(_, count)| count), Some(0));
    let (last, count) = store.dag_version_delete_unused(first, at(10), 0).await.unwrap().unwrap();
    assert_eq!(count, 1, "the second has a run, the third is the newest");
    assert_eq!(store.dag_version_delete_unused(last, at(10), 0).await.unwrap(), None);

    let unused = async |before| {
        let all = store.component_unused(None, before).await.unwrap();
        all.into_iter().filter(|(_, is_unused)| *is_unused).map(|(digest, _)| digest).collect::<Vec<_>>()
    };
    assert_eq!(unused(at(1)).await, []);
    assert_eq!(unused(at(10)).await, [Digest([1; 32])]);
    assert!(!store.component_delete_unused(Digest([2; 32]), "components/2").await.unwrap());
    assert!(store.component_delete_unused(Digest([1; 32]), "components/1").await.unwrap());
    assert_eq!(store.garbage_list(9).await.unwrap(), ["components/1"]);
    // It comes again before its object is gone.
    let again = Deploy { blob: "components/1".into(), ..deploy(1, vec![spec("b")]) };
    store.deploy(&again).await.unwrap();
    assert!(store.garbage_list(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_many_versions_the_newest_stay() {
    let store = TestStore::new().await;
    for label in ["one", "two", "three", "four"] {
        let mut spec = spec("a");
        spec.description = Some(label.into());
        store.deploy(&deploy(1, vec![spec])).await.unwrap();
    }
    let (first, long_ago) = (DagVersionKey(i64::MIN), at(0));
    let (_, count) = store.dag_version_delete_unused(first, long_ago, 2).await.unwrap().unwrap();
    assert_eq!(count, 2);
    let left = store.dag_version_list(&DagVersionFilter::of_dag(dag_id("a")), Page::default()).await.unwrap().items;
    assert_eq!(left.iter().map(|version| version.version_number).collect::<Vec<_>>(), [4, 3]);
    let (_, count) = store.dag_version_delete_unused(first, long_ago, 2).await.unwrap().unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn the_audit_log_is_deleted_by_retention_only_and_from_its_beginning() {
    let store = TestStore::new().await;
    let event = |at| EventNew { at, event: "dag.pause".into(), route: "PATCH /".into(), ..EventNew::default() };
    let events: Vec<_> = (1..=2_500).map(|second| event(at(second))).collect();
    assert_eq!(store.event_place(2, at(3_000)).await.unwrap(), None);
    store.event_append(&events).await.unwrap();
    for (count, oldest) in [(1, 2_500), (500, 2_001), (2_500, 1), (4_000_000_000, 1)] {
        assert_eq!(store.event_place(count, at(3_000)).await.unwrap(), Some(at(oldest)), "{count}");
    }
    let by_hand = db::query("DELETE FROM event_log WHERE id = 1");
    assert!(store.write(by_hand).await.is_err());

    assert_eq!(store.event_delete_before(at(1), at(3_000)).await.unwrap(), 0);
    let mut steps = Vec::new();
    while steps.last() != Some(&0) {
        steps.push(store.event_delete_before(at(2_000), at(3_000)).await.unwrap());
    }
    assert_eq!(steps, [1_000, 999, 0]);
    let left = store.event_list(&EventFilter::default(), Page::first(1)).await.unwrap();
    assert_eq!((left.total, left.items[0].event.at), (501, at(2_000)));
    let by_hand = db::query("DELETE FROM event_log WHERE at = $1").bind(at(2_000));
    assert!(store.write(by_hand).await.is_err());
    let back = db::query("UPDATE event_log_retention SET before = $1").bind(at(0));
    assert!(store.write(back).await.is_err());
}

#[tokio::test]
async fn an_entry_of_the_audit_log_by_a_clock_that_was_ahead_keeps_no_other() {
    let store = TestStore::new().await;
    let event = |at| EventNew { at, event: "dag.pause".into(), route: "PATCH /".into(), ..EventNew::default() };
    let seconds = std::iter::repeat_n(9_000, 1_001).chain(1..=3);
    store.event_append(&seconds.map(|second| event(at(second))).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.event_place(4, at(10)).await.unwrap(), Some(at(1)), "not the one before it");
    assert_eq!(store.event_delete_before(at(3), at(10)).await.unwrap(), 2);
    assert_eq!(store.event_delete_before(at(3), at(10)).await.unwrap(), 0);
    assert_eq!(store.event_list(&EventFilter::default(), Page::first(1)).await.unwrap().total, 1_002);
}

#[tokio::test]
async fn events_of_assets_go_but_the_newest_and_those_that_are_needed() {
    let store = TestStore::new().await;
    let mut dag = spec("a");
    dag.assets =
        serde_json::from_value(serde_json::json!([{"name": "stars", "uri": "stars", "group": "asset"}])).unwrap();
    dag.asset_schedule = serde_json::from_value(serde_json::json!({"asset": "stars"})).unwrap();
    let version = store.deploy(&deploy(1, vec![dag])).await.unwrap()[0].version;
    let event = |key, consumers| AssetEventNew {
        key,
        asset: AssetName::new("stars").unwrap(),
        timestamp: at(key),
        extra: "{}".into(),
        source: None,
        created_by: None,
        consumers,
        through: None,
    };
    // 1 is nobody's, 2 is what a run was made for, 3 waits for a run, 4 is the newest.
    let commit = |events| Commit { asset_events: events, now: at(1), ..Commit::default() };
    store.commit(&commit(vec![event(1, vec![]), event(2, vec![dag_id("a")])])).await.unwrap();
    let made = Commit {
        dag_runs_new: vec![run(1, "a", version)],
        asset_runs: vec![(DagRunKey(1), dag_id("a"))],
        now: at(2),
        ..Commit::default()
    };
    store.commit(&made).await.unwrap();
    store.commit(&commit(vec![event(3, vec![dag_id("a")]), event(4, vec![])])).await.unwrap();
    assert_eq!(store.asset_event_delete_unused(i64::MIN, at(1)).await.unwrap(), None);
    assert_eq!(store.asset_event_delete_unused(i64::MIN, at(9)).await.unwrap(), Some((4, 1)));
    assert_eq!(store.asset_event_delete_unused(i64::MIN, at(9)).await.unwrap(), Some((4, 0)));
    assert_eq!(store.asset_event_next_key().await.unwrap(), 5);
}

#[tokio::test]
async fn assets_that_no_dag_names_go_with_their_events_and_come_again() {
    let store = TestStore::new().await;
    let mut dag = spec("a");
    dag.assets = serde_json::from_value(serde_json::json!([
        {"name": "tables", "uri": "tables", "group": "asset", "is_alias": true},
        {"name": "stars", "uri": "stars", "group": "asset"},
    ]))
    .unwrap();
    let after = serde_json::json!({"any": [{"asset": "stars"}, {"asset": "tables"}]});
    dag.asset_schedule = serde_json::from_value(after).unwrap();
    let version = store.deploy(&deploy(1, vec![dag])).await.unwrap()[0].version;
    let name = |name: &str| AssetName::new(name).unwrap();
    let event = |key, asset: &str, consumers| AssetEventNew {
        key,
        asset: name(asset),
        timestamp: at(key),
        extra: "{}".into(),
        source: None,
        created_by: None,
        consumers,
        through: Some(Through { alias: name("tables"), consumers: vec![], uri: asset.into(), group: "asset".into() }),
    };
    let commit = |events| Commit { asset_events: events, now: at(1), ..Commit::default() };
    // What a run was made for stays, and so does the last event of all.
    let events = vec![event(1, "t/1", vec![]), event(2, "t/2", vec![]), event(3, "t/3", vec![dag_id("a")])];
    store.commit(&commit(events)).await.unwrap();
    let made = Commit {
        dag_runs_new: vec![run(1, "a", version)],
        asset_runs: vec![(DagRunKey(1), dag_id("a"))],
        now: at(2),
        ..Commit::default()
    };
    store.commit(&made).await.unwrap();
    store.commit(&commit(vec![event(4, "stars", vec![]), event(5, "t/5", vec![])])).await.unwrap();
    let names = async || -> Vec<String> {
        let listed = store.asset_list(&AssetFilter::default(), Page::default()).await.unwrap();
        listed.items.into_iter().map(|asset| asset.name.to_string()).collect()
    };
    let deleted = async |before| {
        while store.asset_event_delete_unused(i64::MIN, before).await.unwrap().is_some_and(|(_, gone)| gone > 0) {}
        store.asset_delete_unused(i64::MIN, before).await.unwrap().unwrap().1
    };
    assert_eq!(deleted(at(1)).await, 0);
    assert_eq!(deleted(at(99)).await, 2);
    assert_eq!(names().await, ["stars", "t/3", "t/5", "tables"]);
    assert_eq!(store.asset_event_next_key().await.unwrap(), 6);

    // The dag goes, and the run that was made for an event: all but the last event's asset goes with them, the alias when nothing
    // went through it any more.
    store.dag_delete(&dag_id("a")).await.unwrap();
    while store.leftover_sweep().await.unwrap().is_some() {}
    assert_eq!(deleted(at(99)).await, 2);
    assert_eq!(names().await, ["t/5", "tables"]);

    // A run of a version that nobody has any more still makes what it names.
    let late = AssetEventNew { through: None, ..event(6, "stars", vec![]) };
    store.commit(&commit(vec![late])).await.unwrap();
    assert_eq!(deleted(at(99)).await, 2);
    assert_eq!(names().await, ["stars"]);
    let stars = store.asset_get_by_name(&name("stars")).await.unwrap().unwrap();
    assert_eq!((stars.uri.as_str(), stars.group.as_str(), stars.last_event), ("stars", "asset", Some((6, at(6)))));
    assert_eq!(store.asset_delete_unused(stars.id, at(99)).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_said_of_a_dag_reads_back_and_goes_with_it() {
    let store = TestStore::with_runs(1..=1).await;
    let a = dag_id("a");
    let said = DagRetention { runs_days: Some(0), runs_count: None, logs_days: Some(7), data_days: Some(3) };
    assert!(store.dag_numbers_put(&a, said).await.unwrap());
    assert!(!store.dag_numbers_put(&dag_id("b"), said).await.unwrap());
    assert_eq!(store.dag_numbers_get::<DagRetention>(&a).await.unwrap(), said);
    assert_eq!(store.dag_numbers_list::<DagRetention>().await.unwrap(), [(a.clone(), said)]);
    assert!(store.dag_numbers_put(&a, DagRetention::default()).await.unwrap());
    assert_eq!(store.dag_numbers_list::<DagRetention>().await.unwrap(), []);
    assert!(store.dag_numbers_put(&a, said).await.unwrap());
    store.dag_delete(&a).await.unwrap();
    assert_eq!(store.dag_numbers_list::<DagRetention>().await.unwrap(), []);
}

#[tokio::test]
async fn limits_and_usage_of_a_dag_read_back_and_go_with_it() {
    let store = TestStore::with_runs(1..=1).await;
    let (a, gone) = (dag_id("a"), dag_id("gone"));
    let said = DagLimits { memory_mib: Some(0), log_mib_per_day: Some(7), ..DagLimits::default() };
    assert!(store.dag_numbers_put(&a, said).await.unwrap());
    assert!(!store.dag_numbers_put(&gone, said).await.unwrap());
    assert_eq!(store.dag_numbers_get::<DagLimits>(&a).await.unwrap(), said);
    assert_eq!(store.dag_numbers_list::<DagLimits>().await.unwrap(), [(a.clone(), said)]);
    assert!(store.dag_numbers_put(&a, DagLimits::default()).await.unwrap());
    assert_eq!(store.dag_numbers_list::<DagLimits>().await.unwrap(), []);
    assert!(store.dag_numbers_put(&a, said).await.unwrap());

    let spent = |day: i64| {
        Resource::ALL
            .into_iter()
            .fold(Spent::of_day(day), |spent, resource| spent.with(resource, (1 << 40) + resource.unit()))
    };
    assert_eq!(store.dag_usage_get(&a).await.unwrap(), None);
    store.dag_usage_put(&[]).await.unwrap();
    for day in [20_000, 20_001] {
        store.dag_usage_put(&[(gone.clone(), spent(day)), (a.clone(), spent(day))]).await.unwrap();
        assert_eq!(store.dag_usage_get(&a).await.unwrap(), Some(spent(day)));
    }
    assert_eq!(store.dag_usage_get(&gone).await.unwrap(), None);
    store.dag_delete(&a).await.unwrap();
    assert_eq!(store.dag_numbers_list::<DagLimits>().await.unwrap(), []);
    assert_eq!(store.dag_usage_get(&a).await.unwrap(), None);
}

#[tokio::test]
async fn space_that_deletions_left_goes_back_to_the_file_system() {
    let store = TestStore::on_sqlite().await.filled(1..=1).await;
    let many = |keys: std::ops::Range<i32>| {
        let new = |map_index| InstanceNew {
            key: InstanceKey { map_index, ..instance(1, "m") },
            ..new_instance(DagRunKey(1), "m")
        };
        Commit { instances_new: keys.map(new).collect(), now: at(1), ..Commit::default() }
    };
    store.commit(&many(0..100_000)).await.unwrap();
    let pages = async || {
        let mut writer = store.writer().await.unwrap();
        let count = db::query_scalar("PRAGMA page_count").fetch_one(&mut writer.connection).await;
        count.unwrap_or(0_i64)
    };
    let before = pages().await;
    store.dag_run_delete(&[DagRunKey(1)]).await.unwrap();
    while store.leftover_sweep().await.unwrap().is_some() {}
    while store.vacuum_step().await.unwrap() {}
    let after = pages().await;
    assert!(after < before - 300, "{before} {after}");
}

/// The walk over runs is an index's, and needs nothing sorted.
#[tokio::test]
async fn runs_that_ended_are_walked_by_their_index() {
    let store = TestStore::on_sqlite().await;
    for statement in [
        include_str!("../sql/dag_run_ended.sql"),
        include_str!("../sql/dag_run_ended_places.sql"),
        include_str!("../sql/dag_run_place.sql"),
    ] {
        let plan = super::plans::plan(&store, statement).await;
        assert!(plan[0].contains("dag_run_by_dag_end_date"), "{plan:#?}");
        assert!(!plan.iter().any(|line| line.contains("B-TREE")), "{plan:#?}");
    }
}
