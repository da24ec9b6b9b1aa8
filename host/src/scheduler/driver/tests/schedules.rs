//! Runs that timetables make.

use super::*;
use crate::{
    model::{
        backfill::{Intervals, ReprocessBehavior},
        timetable::Timetable,
    },
    scheduler::ClearRequest,
    store::{BackfillNew, DagRunFilter, Page},
    telemetry::Gauges,
};

/// A dag that is due at half past each hour, and does not say since when.
fn half_past(id: &str) -> serde_json::Value {
    let mut hourly = dag(id, &["x"]);
    hourly["schedule"] = serde_json::json!({"cron": {"expressions": ["30 * * * *"], "data_interval": false}});
    hourly
}

/// A backfill of the first half past.
fn first_again(until: Timestamp) -> BackfillNew {
    BackfillNew {
        dag_id: dag_id("d"),
        intervals: Intervals { from: at(0), to: at(1_800), until, run_backwards: false },
        max_active_runs: 1,
        reprocess_behavior: ReprocessBehavior::Completed,
        dag_run_conf: "{}".into(),
        total: 1,
        triggering_user: None,
    }
}

impl World {
    async fn made(&self, dag: &str) -> Vec<DagRunRow> {
        self.store.dag_run_list(&DagRunFilter::of_dag(dag_id(dag)), Page::first(10)).await.unwrap().items
    }

    async fn dates(&self, dag: &str) -> Vec<Timestamp> {
        self.made(dag).await.into_iter().filter_map(|run| run.logical_date).collect()
    }
}

#[tokio::test]
async fn a_dag_without_a_start_begins_with_the_first_tick_since_it_is_there_and_not_paused() {
    let mut world = World::new(vec![half_past("d"), half_past("p")]).await;
    world.ask(|reply| Request::SetPaused { dag_id: dag_id("p"), paused: true, reply }).await.unwrap();
    // The loop never looks at the very instant of a tick.
    world.pass(1_801).await;
    assert_eq!((world.dates("d").await, world.dates("p").await), (vec![at(1_800)], Vec::new()));
    world.ask(|reply| Request::SetPaused { dag_id: dag_id("p"), paused: false, reply }).await.unwrap();
    world.crash().await;
    assert_eq!(world.dates("p").await, Vec::<Timestamp>::new());
    world.pass(3_600).await;
    assert_eq!(world.dates("p").await, [at(5_400)]);
}

#[tokio::test]
async fn a_clock_that_was_ahead_is_known_after_a_restart_too() {
    let mut world = World::new(vec![half_past("d")]).await;
    world.pass(7_200).await;
    assert_eq!(world.driver.heartbeat.scheduled_until(), at(5_400));
    world.now = at(60);
    world.crash().await;
    assert_eq!(world.driver.heartbeat.scheduled_until(), at(5_400));
    world.pass(3_600).await;
    assert_eq!(world.dates("d").await, [at(5_400)], "of what was missed the newest, and none again");
}

#[tokio::test]
async fn a_scheduled_run_that_a_backfill_runs_again_keeps_none_from_being_made() {
    let mut hourly = half_past("d");
    hourly["max_active_runs"] = 1.into();
    let mut world = World::new(vec![hourly]).await;
    world.pass(1_800).await;
    let first = world.made("d").await.remove(0);
    world.end(&first, "x", AttemptResult::Success).await;
    let new = Box::new(first_again(world.now));
    world.ask(|reply| Request::CreateBackfill { new, reply }).await.unwrap();
    assert!(world.runs(&first, "x"), "it runs again");
    world.pass(3_600).await;
    assert_eq!(world.dates("d").await, [at(1_800), at(5_400)]);
    let second = world.made("d").await.remove(1);
    world.end(&second, "x", AttemptResult::Success).await;
    world.crash().await;
    world.pass(3_600).await;
    assert_eq!(world.dates("d").await, [at(1_800), at(5_400), at(9_000)]);
    world.end(&first, "x", AttemptResult::Success).await;
    world.pass(3_600).await;
    assert_eq!(world.dates("d").await.len(), 3, "as many as may run");
}

#[tokio::test]
async fn a_dag_that_was_deleted_meanwhile_has_no_backfill() {
    let mut world = World::new(vec![half_past("d")]).await;
    let (reply, _deleted) = Reply::new();
    let delete = Request::DeleteDag { dag_id: dag_id("d"), reply };
    let (reply, answer) = Reply::new();
    let create = Request::CreateBackfill { new: Box::new(first_again(at(3_600))), reply };
    world.turn(vec![delete, create], Vec::new()).await;
    assert!(matches!(answer.await.unwrap(), Err(RequestError::NotFound(_))));
    assert!(world.store.backfill_list_unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_schedule_has_no_more_is_skipped_by_a_backfill() {
    let mut world = World::new(vec![half_past("d")]).await;
    let from = "2025-12-31T22:00:00Z".parse().unwrap();
    let intervals = Intervals { from, to: at(0), until: world.now, run_backwards: false };
    let new = Box::new(BackfillNew { intervals, total: 2, ..first_again(world.now) });
    let row = world.ask(|reply| Request::CreateBackfill { new, reply }).await.unwrap();
    let first = world.made("d").await.remove(0);
    world.driver.dags.get_mut(&dag_id("d")).unwrap().timetable = Timetable::manual();
    world.end(&first, "x", AttemptResult::Success).await;
    let row = world.store.backfill_get(row.id).await.unwrap().unwrap();
    assert_eq!((row.dealt_with, row.skipped, row.completed_at), (2, 1, Some(world.now)));
}

#[tokio::test]
async fn the_first_run_of_a_backfill_waits_for_none_when_it_is_cleared_either() {
    let mut looking_back = half_past("d");
    looking_back["nodes"][0]["depends_on_past"] = true.into();
    let mut world = World::new(vec![looking_back]).await;
    let fails = AttemptResult::Failed { retry: false };
    let before = world.trigger("d", "before", Some("2025-12-31T22:30:00Z".parse().unwrap())).await;
    world.end(&before, "x", fails.clone()).await;
    let from = "2025-12-31T23:00:00Z".parse().unwrap();
    let intervals = Intervals { from, to: at(0), until: world.now, run_backwards: false };
    let new = Box::new(BackfillNew { intervals, ..first_again(world.now) });
    world.ask(|reply| Request::CreateBackfill { new, reply }).await.unwrap();
    let first = world.made("d").await.remove(1);
    world.end(&first, "x", fails).await;
    assert!(world.store.backfill_list_unfinished().await.unwrap().is_empty());
    let request = Box::new(ClearRequest::of_run(first.dag_id.clone(), first.run_id.clone()));
    world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    assert!(world.runs(&first, "x"));
}

#[tokio::test]
async fn figures_count_from_when_a_run_could_start_and_tries_that_there_were() {
    let mut late = dag("d", &["x", "y"]);
    late["schedule"] = serde_json::json!({"events": ["2025-12-01T00:00:00Z"]});
    late["start"] = serde_json::json!("2025-11-01T00:00:00Z");
    late["catchup"] = true.into();
    late["edges"] = serde_json::json!([["x", "y"]]);
    let mut world = World::new(vec![late]).await;
    let run = world.made("d").await.remove(0);
    world.end(&run, "x", AttemptResult::Failed { retry: false }).await;
    assert_eq!(world.state(&run, "y").await, TaskState::UpstreamFailed);
    let told = world.driver.config.telemetry.metrics.render(&Gauges::default());
    for line in ["airlock_dag_run_delay_seconds_sum 0.0", r#"tries_ended_total{state="failed"} 1"#] {
        assert!(told.contains(line), "`{line}` is not in\n{told}");
    }
    assert!(!told.contains("upstream_failed"), "{told}");
}
