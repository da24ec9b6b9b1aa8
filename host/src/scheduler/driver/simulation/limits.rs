//! Limits between runs, over the real loop and database.

use serde_json::{Value, json};

use super::*;
use crate::model::ids::RunId;

/// The dag's only task, with these fields.
fn only_task(fields: &Value) -> Value {
    let mut node = node("a");
    node["retries"] = 0.into();
    node.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!([node])
}

fn day(day: u64) -> Timestamp {
    let first: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    first.after(Duration::from_hours(24 * day))
}

impl World {
    /// The runs that have an attempt in flight.
    fn flying(&self) -> Vec<DagRunKey> {
        self.script.0.lock().unwrap().attempts.iter().map(|id| id.instance.dag_run).collect()
    }

    async fn end_of(&mut self, run: DagRunKey, end: End) {
        let attempts = self.script.0.lock().unwrap().attempts.clone();
        let id = attempts.into_iter().find(|id| id.instance.dag_run == run).expect("it is in flight");
        self.end(id, end).await;
    }

    async fn state_of(&self, run: DagRunKey) -> RunState {
        self.store.dag_run_get_by_key(run).await.unwrap().unwrap().state
    }

    async fn delete(&mut self, run: DagRunKey) {
        let run_id: RunId = self.store.dag_run_get_by_key(run).await.unwrap().unwrap().run_id;
        let (reply, answer) = Reply::new();
        self.turn(vec![Request::DeleteRun { dag_id: self.dag_id.clone(), run_id, reply }], Vec::new()).await;
        answer.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_task_waits_for_itself_in_the_run_before() {
    let nodes = only_task(&json!({"depends_on_past": true}));
    let mut world = World::with(json!({"nodes": nodes, "max_active_runs": 8})).await;
    let first = world.trigger(day(1)).await;
    let third = world.trigger(day(3)).await;
    assert_eq!(world.flying(), [first], "the first run waits for none");
    world.apply(Op::Crash).await;
    assert_eq!(world.flying(), [first], "what waited waits after a crash");
    let second = world.trigger(day(2)).await;
    world.end_of(first, End::Skipped).await;
    assert_eq!(world.flying(), [second], "skipped is done as well, and what came between comes first");
    world.end_of(second, End::Fatal).await;
    assert_eq!((world.flying(), world.state_of(second).await), (vec![], RunState::Failed));
    world.apply(Op::Wait(3_600)).await;
    assert_eq!(world.state_of(third).await, RunState::Running, "it waits and is not stuck");
    world.apply(Op::Crash).await;
    assert_eq!(world.flying(), []);
    world.apply(Op::ClearFailed).await;
    assert_eq!(world.flying(), [second]);
    world.end_of(second, End::Success).await;
    assert_eq!(world.flying(), [third]);
    world.end_of(third, End::Success).await;
    assert_eq!(world.state_of(third).await, RunState::Success);
}

#[tokio::test]
async fn a_run_that_others_wait_for_is_not_kept_from_starting_by_them() {
    let nodes = only_task(&json!({"depends_on_past": true}));
    let mut world = World::with(json!({"nodes": nodes, "max_active_runs": 1})).await;
    let (first, second, third) =
        (world.trigger(day(1)).await, world.trigger(day(2)).await, world.trigger(day(3)).await);
    world.end_of(first, End::Fatal).await;
    assert_eq!((world.state_of(second).await, world.state_of(third).await), (RunState::Running, RunState::Queued));
    world.apply(Op::ClearFailed).await;
    assert_eq!(world.flying(), [first]);
    world.calm().await;
}

#[tokio::test]
async fn who_waited_for_a_run_that_is_deleted_waits_for_the_one_before() {
    let nodes = only_task(&json!({"depends_on_past": true}));
    let mut world = World::with(json!({"nodes": nodes, "max_active_runs": 8})).await;
    let (first, second) = (world.trigger(day(1)).await, world.trigger(day(2)).await);
    world.end_of(first, End::Success).await;
    world.end_of(second, End::Fatal).await;
    let third = world.trigger(day(3)).await;
    assert_eq!(world.flying(), []);
    world.delete(second).await;
    assert_eq!(world.flying(), [third]);
}

#[tokio::test]
async fn tables_are_swapped_after_all_have_read_them() {
    let mut first = node("swap");
    first["wait_for_downstream"] = true.into();
    let fields = json!({"nodes": [first, node("read")], "edges": [["swap", "read"]], "max_active_runs": 8});
    let mut world = World::with(fields).await;
    let (one, two) = (world.trigger(day(1)).await, world.trigger(day(2)).await);
    world.end_of(one, End::Success).await;
    assert_eq!(world.flying(), [one], "the first run reads; the second may not swap yet");
    world.end_of(one, End::Success).await;
    assert_eq!(world.flying(), [two]);
}

#[tokio::test]
async fn a_task_is_limited_over_all_runs() {
    let nodes = only_task(&json!({"max_active_tis_per_dag": 2}));
    let mut world = World::with(json!({"nodes": nodes, "max_active_runs": 8})).await;
    let mut runs = Vec::new();
    for at in 0..4 {
        runs.push(world.trigger(day(at)).await);
    }
    assert_eq!(world.flying(), runs[..2]);
    world.apply(Op::Crash).await;
    assert_eq!(world.flying(), runs[..2]);
    world.end_of(runs[0], End::Success).await;
    assert_eq!(world.flying(), runs[1..3]);
}

#[tokio::test]
async fn a_mapped_task_is_limited_in_its_run() {
    let nodes = only_task(&json!({"max_active_tis_per_dagrun": 1, "expand": [[{"literal": "[1, 2, 3]"}]]}));
    let mut world = World::with(json!({"nodes": nodes, "max_active_runs": 8})).await;
    let (one, two) = (world.trigger(day(1)).await, world.trigger(day(2)).await);
    for _ in 0..3 {
        assert_eq!(world.flying(), [one, two]);
        world.end_of(one, End::Success).await;
        world.end_of(two, End::Success).await;
    }
    assert_eq!(world.state_of(two).await, RunState::Success);
}

#[tokio::test]
async fn a_dag_that_fails_again_and_again_is_paused() {
    let nodes = only_task(&json!({}));
    let mut world = World::with(json!({"nodes": nodes, "max_consecutive_failed_dag_runs": 2})).await;
    let dag = async |world: &World| world.store.dag_get(&world.dag_id).await.unwrap().unwrap();
    for (at, end) in [End::Fatal, End::Success, End::Fatal].into_iter().enumerate() {
        let run = world.trigger(day(at as u64)).await;
        world.end_of(run, end).await;
    }
    assert!(!dag(&world).await.is_paused, "a success was between");
    let fourth = world.trigger(day(4)).await;
    world.apply(Op::Crash).await;
    world.end_of(fourth, End::Fatal).await;
    let paused = dag(&world).await;
    assert!(paused.is_paused);
    let reason = paused.pause_reason.unwrap();
    assert!(reason.contains("its last 2 runs failed"), "{reason}");
    let fifth = world.trigger(day(5)).await;
    assert_eq!((world.flying(), world.state_of(fifth).await), (vec![], RunState::Queued));
    world.apply(Op::Pause(false)).await;
    assert_eq!((world.flying(), dag(&world).await.pause_reason), (vec![fifth], None));
}
