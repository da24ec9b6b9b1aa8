//! What went wrong once.

use serde_json::json;

use super::*;
use crate::model::ids::RunId;

impl World {
    /// The only attempt in flight.
    fn only(&self) -> AttemptId {
        let attempts = self.script.0.lock().unwrap().attempts.clone();
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        attempts.into_iter().next().unwrap()
    }
}

fn day(day: u64) -> Timestamp {
    let first: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    first.after(Duration::from_hours(24 * day))
}

/// The commit was refused when it was tried again, all that ran was started again, and who had asked was told that there is no run.
#[tokio::test]
async fn a_run_whose_answer_was_lost_is_there_once_and_disturbs_nobody() {
    let mut world = World::with(json!({"nodes": [node("a")]})).await;
    world.trigger(day(1)).await;
    let before = world.only();
    world.store.plan_fault(CommitFault::LosesAnswer);
    let run = world.trigger(day(2)).await;
    assert!(world.store.dag_run_get_by_key(run).await.unwrap().is_some());
    let flying = world.script.0.lock().unwrap().attempts.clone();
    assert!(flying.len() == 2 && flying.contains(&before), "{flying:?}");
}

/// The second copy was one of the try that had just begun.
#[tokio::test]
async fn a_try_whose_answer_was_lost_is_not_in_the_history_before_it_is_over() {
    let mut world = World::with(json!({"nodes": [node("a")]})).await;
    world.trigger(day(1)).await;
    let first = world.only();
    world.end(first.clone(), End::Failed).await;
    world.store.plan_fault(CommitFault::LosesAnswer);
    world.apply(Op::Wait(30)).await;
    assert_eq!(world.only().try_number, 2);
    assert_eq!(world.store.history_of(&first.instance).await, [1]);
}

#[tokio::test]
async fn what_could_not_be_committed_is_committed_later() {
    let mut world = World::with(json!({"nodes": [node("a")]})).await;
    for fault in [CommitFault::Fails, CommitFault::Fails, CommitFault::LosesAnswer] {
        world.store.plan_fault(fault);
    }
    world.trigger(day(1)).await;
    assert_eq!((world.only().try_number, world.only().restart), (1, 0));
}

/// The commit was refused, for a row that it changed was gone, and all that ran was started again.
#[tokio::test]
async fn a_run_that_is_deleted_in_the_turn_in_which_it_ends_disturbs_nobody() {
    let mut world = World::with(json!({"nodes": [node("a")]})).await;
    let run = world.trigger(day(1)).await;
    let ends = world.only();
    world.trigger(day(2)).await;
    assert!(world.take(&ends));
    let run_id: RunId = world.store.dag_run_get_by_key(run).await.unwrap().unwrap().run_id;
    let (reply, answer) = Reply::new();
    let delete = Request::DeleteRun { dag_id: world.dag_id.clone(), run_id, reply };
    world.turn(vec![delete], vec![completion(ends, AttemptResult::Success, world.now)]).await;
    answer.await.unwrap().unwrap();
    assert!(world.store.dag_run_get_by_key(run).await.unwrap().is_none());
    assert_eq!(world.only().restart, 0);
}

/// It once ended as its tasks had.
#[tokio::test]
async fn how_a_person_ended_a_run_outlives_a_crash_while_teardowns_run() {
    let mut nodes = ["setup", "work", "undo"].map(node);
    nodes[0]["role"] = json!("setup");
    nodes[2]["role"] = json!({"teardown": {"setups": ["setup"], "on_failure_fail_dagrun": false}});
    let edges = json!([["setup", "work"], ["work", "undo"], ["setup", "undo"]]);
    let mut world = World::with(json!({"nodes": nodes, "edges": edges})).await;
    let run = world.trigger(day(1)).await;
    for _ in 0..2 {
        world.end(world.only(), End::Success).await;
    }
    assert_eq!(world.only().instance.task_id.as_str(), "undo");
    let run_id: RunId = world.store.dag_run_get_by_key(run).await.unwrap().unwrap().run_id;
    let (reply, answer) = Reply::new();
    let mark = Request::MarkRun { dag_id: world.dag_id.clone(), run_id, state: RunState::Failed, reply };
    world.turn(vec![mark], Vec::new()).await;
    assert_eq!(answer.await.unwrap().unwrap().state, RunState::Running, "its teardown still runs");
    world.apply(Op::Crash).await;
    world.end(world.only(), End::Success).await;
    assert_eq!(world.store.dag_run_get_by_key(run).await.unwrap().unwrap().state, RunState::Failed);
}
