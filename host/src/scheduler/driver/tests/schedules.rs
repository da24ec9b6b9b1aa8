//! Runs that timetables make.

use super::*;
use crate::{
    model::backfill::{Intervals, ReprocessBehavior},
    store::{BackfillNew, DagRunFilter, Page},
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
    assert_eq!(world.dates("p").await, Vec::new());
    world.pass(3_600).await;
    assert_eq!(world.dates("p").await, [at(5_400)]);
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
