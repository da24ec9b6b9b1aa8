//! When a run is late.

use super::*;
use crate::{
    model::{
        backfill::{Intervals, ReprocessBehavior},
        state::RunType,
    },
    scheduler::{ClearRequest, driver::Timer},
    store::{BackfillNew, DagRunFilter, Page},
};

/// A dag whose runs are late a minute after they could start.
async fn world() -> World {
    let mut late = dag("d", &["x"]);
    late["schedule"] =
        serde_json::json!({"events": ["2025-12-01T00:00:00Z", "2025-12-02T00:00:00Z", "2026-06-01T00:00:00Z"]});
    late["deadline_ms"] = 60_000.into();
    late["callbacks"] = serde_json::json!([{"event": "deadline", "target": "chat"}]);
    late["catchup"] = true.into();
    late["start"] = serde_json::json!("2026-05-01T00:00:00Z");
    World::new(vec![late]).await
}

impl World {
    /// How often it was told that the run is late.
    async fn told_late(&self, run: &DagRunRow) -> i64 {
        self.store.callback_list(run.key, Page::first(10)).await.unwrap().total
    }
}

#[tokio::test]
async fn a_run_that_is_cleared_is_late_when_it_takes_too_long_again() {
    let mut world = world().await;
    let run = world.trigger("d", "r", None).await;
    world.end(&run, "x", AttemptResult::Success).await;
    world.pass(3_600).await;
    assert_eq!(world.told_late(&run).await, 0);
    let request = Box::new(ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone()));
    world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    world.pass(59).await;
    assert_eq!(world.told_late(&run).await, 0, "it was cleared a moment ago");
    world.crash().await;
    world.pass(1).await;
    assert_eq!(world.told_late(&run).await, 1);
    world.pass(60).await;
    assert_eq!(world.told_late(&run).await, 1);
}

#[tokio::test]
async fn a_run_that_is_over_leaves_no_deadline_in_memory() {
    let mut world = world().await;
    let ended = world.trigger("d", "ended", None).await;
    world.end(&ended, "x", AttemptResult::Success).await;
    let request = Box::new(ClearRequest::of_run(ended.dag_id.clone(), ended.run_id.clone()));
    world.pass(10).await;
    world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
    let deadlines =
        |world: &World| world.driver.timers.iter().filter(|(_, timer)| matches!(timer, Timer::Deadline(_))).count();
    assert_eq!(deadlines(&world), 1);
    world.end(&ended, "x", AttemptResult::Success).await;
    assert_eq!(deadlines(&world), 0);
}

#[tokio::test]
async fn a_run_of_a_backfill_is_not_late_before_it_is_made() {
    let mut world = world().await;
    world.pass(1).await;
    let new = BackfillNew {
        dag_id: dag_id("d"),
        intervals: Intervals {
            from: "2025-12-01T00:00:00Z".parse().unwrap(),
            to: "2025-12-31T00:00:00Z".parse().unwrap(),
            until: world.now,
            run_backwards: false,
        },
        max_active_runs: 1,
        reprocess_behavior: ReprocessBehavior::None,
        dag_run_conf: "{}".into(),
        total: 2,
        triggering_user: None,
    };
    world.ask(|reply| Request::CreateBackfill { new: Box::new(new), reply }).await.unwrap();
    let listed = world.store.dag_run_list(&DagRunFilter::of_dag(dag_id("d")), Page::first(10)).await.unwrap();
    let first = &listed.items[0];
    assert_eq!((listed.total, first.run_type), (1, RunType::Backfill));
    world.pass(59).await;
    assert_eq!(world.told_late(first).await, 0);
    world.pass(1).await;
    assert_eq!(world.told_late(first).await, 1);
}
