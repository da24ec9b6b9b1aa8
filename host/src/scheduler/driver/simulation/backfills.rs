//! Backfills over the real loop and database: each interval once, whatever crashes.

use serde_json::json;

use super::*;
use crate::{
    model::{
        backfill::{Intervals, ReprocessBehavior},
        state::RunType,
    },
    scheduler::RequestError,
    store::{BackfillNew, BackfillRow, DagRunFilter, DagRunOrder, DagRunRow, Page},
};

/// A dag that is due at noon, which has not come.
async fn noon(max_active_runs: u32) -> World {
    let mut task = node("a");
    task["retries"] = 0.into();
    let schedule = json!({"cron": {"expressions": ["0 12 * * *"], "data_interval": false}});
    World::with(json!({"nodes": [task], "schedule": schedule, "max_active_runs": max_active_runs})).await
}

fn december(day: u32) -> Timestamp {
    format!("2025-12-{day:02}T12:00:00Z").parse().unwrap()
}

impl World {
    async fn backfill(&mut self, days: (u32, u32), behavior: ReprocessBehavior) -> Result<BackfillRow, RequestError> {
        self.backfill_with(days, |new| new.reprocess_behavior = behavior).await
    }

    async fn backfill_with(
        &mut self,
        days: (u32, u32),
        change: impl FnOnce(&mut BackfillNew),
    ) -> Result<BackfillRow, RequestError> {
        let (from, to) = (december(days.0), december(days.1));
        let mut new = BackfillNew {
            dag_id: self.dag_id.clone(),
            intervals: Intervals { from, to, until: self.now, run_backwards: false },
            max_active_runs: 3,
            reprocess_behavior: ReprocessBehavior::None,
            dag_run_conf: "{}".into(),
            total: days.1 - days.0 + 1,
            triggering_user: None,
        };
        change(&mut new);
        let (reply, answer) = Reply::new();
        self.turn(vec![Request::CreateBackfill { new: Box::new(new), reply }], Vec::new()).await;
        answer.await.unwrap()
    }

    async fn all_runs(&self) -> Vec<DagRunRow> {
        let filter = DagRunFilter { order_by: DagRunOrder::LogicalDate, ..DagRunFilter::default() };
        self.store.dag_run_list(&filter, Page::first(1_000)).await.unwrap().items
    }

    fn in_flight(&self) -> Vec<AttemptId> {
        self.script.0.lock().unwrap().attempts.iter().cloned().collect()
    }

    async fn end_first(&mut self, end: End) {
        let first = self.in_flight().into_iter().next().expect("something is in flight");
        self.end(first, end).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_interval_is_run_once_whatever_crashes(crashes in prop::collection::vec(any::<bool>(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = noon(1).await;
            let row = world.backfill((10, 19), ReprocessBehavior::None).await.unwrap();
            let mut crashes = crashes.into_iter();
            while !world.in_flight().is_empty() {
                assert!(world.in_flight().len() <= 3, "max_active_runs of the backfill");
                if crashes.next() == Some(true) {
                    world.apply(Op::Crash).await;
                }
                world.end_first(End::Success).await;
            }
            let runs = world.all_runs().await;
            let dates: Vec<_> = runs.iter().filter_map(|run| run.logical_date).collect();
            assert_eq!(dates, (10..20).map(december).collect::<Vec<_>>());
            assert!(runs.iter().all(|run| run.run_type == RunType::Backfill && run.state == RunState::Success));
            let row = world.store.backfill_get(row.id).await.unwrap().unwrap();
            assert_eq!((row.dealt_with, row.skipped), (10, 0));
            assert!(row.completed_at.is_some());
        });
    }
}

#[tokio::test]
async fn a_backfill_has_a_limit_of_its_own_and_there_is_one_of_a_dag() {
    let mut world = noon(1).await;
    let (reply, _answer) = Reply::new();
    let request = Box::new(RunRequest { triggered_by: "ui", ..RunRequest::default() });
    let dag_id = world.dag_id.clone();
    let trigger = Request::Trigger { dag_id, request, conf: "{}".into(), checked_at: world.now, reply };
    let (mut requests, mut events) = (vec![trigger], Vec::new());
    world.driver.turn(&mut requests, &mut events, world.now).await.unwrap();
    assert_eq!(world.in_flight().len(), 1, "as many as the dag may have");
    let backwards = |new: &mut BackfillNew| {
        new.max_active_runs = 2;
        new.intervals.run_backwards = true;
    };
    world.backfill_with((1, 9), backwards).await.unwrap();
    assert_eq!(world.in_flight().len(), 3, "its runs do not count for the dag");
    let dates: Vec<_> = world.all_runs().await.iter().filter_map(|run| run.logical_date).collect();
    assert_eq!(dates, [december(8), december(9)], "the newest first");

    let refused = world.backfill((1, 9), ReprocessBehavior::None).await.unwrap_err().to_string();
    assert!(refused.contains("has a backfill that is not over"), "{refused}");
}

#[tokio::test]
async fn runs_that_are_there_are_run_again_as_was_asked() {
    let mut world = noon(8).await;
    for (day, end) in [(10, End::Success), (11, End::Fatal)] {
        world.trigger(december(day)).await;
        world.end_first(end).await;
    }
    let kept = world.backfill((10, 11), ReprocessBehavior::None).await.unwrap();
    let kept = world.store.backfill_get(kept.id).await.unwrap().unwrap();
    assert_eq!((world.in_flight().len(), kept.skipped), (0, 2));
    assert!(kept.completed_at.is_some(), "there was nothing to do");

    let again = world.backfill((10, 11), ReprocessBehavior::Failed).await.unwrap();
    assert_eq!(world.in_flight().len(), 1, "the one that failed");
    world.succeeded.clear();
    world.end_first(End::Success).await;
    let states = world.store.backfill_states(again.id).await.unwrap();
    assert_eq!(states, [(RunState::Success, 1)]);

    world.succeeded.clear();
    world.backfill((10, 12), ReprocessBehavior::Completed).await.unwrap();
    assert_eq!(world.in_flight().len(), 3, "both, and the one that was not there");
}

#[tokio::test]
async fn a_paused_backfill_waits_and_a_cancelled_one_ends() {
    let mut world = noon(1).await;
    let row = world.backfill((10, 19), ReprocessBehavior::None).await.unwrap();
    let pause = |is_paused| {
        let (reply, answer) = Reply::new();
        (Request::PauseBackfill { id: row.id, is_paused, reply }, answer)
    };
    let (request, answer) = pause(true);
    world.turn_any(vec![request]).await;
    assert!(answer.await.unwrap().unwrap().is_paused);
    for _ in 0..3 {
        world.end_first(End::Success).await;
    }
    assert_eq!(world.in_flight().len(), 0);
    world.apply(Op::Crash).await;
    assert_eq!(world.in_flight().len(), 0, "it is paused still");
    let (request, answer) = pause(false);
    world.turn_any(vec![request]).await;
    answer.await.unwrap().unwrap();
    assert_eq!(world.in_flight().len(), 3);
    let (reply, answer) = Reply::new();
    world.turn_any(vec![Request::CancelBackfill { id: row.id, reply }]).await;
    assert!(answer.await.unwrap().unwrap().completed_at.is_some());
    for _ in 0..3 {
        world.end_first(End::Success).await;
    }
    assert_eq!((world.in_flight().len(), world.all_runs().await.len()), (0, 6), "those that ran went on");
    let (request, answer) = pause(true);
    world.turn_any(vec![request]).await;
    assert!(answer.await.unwrap().unwrap_err().to_string().contains("is over"));
}

impl World {
    async fn turn_any(&mut self, requests: Vec<Request>) {
        self.turn(requests, Vec::new()).await;
    }
}
