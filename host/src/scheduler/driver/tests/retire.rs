//! Runs that retention gives up, against what is in memory.

use super::*;
use crate::{
    model::{
        retention::Place,
        wait::{RunChoice, RunWait, Wait, WhichRun},
    },
    store::EndedRun,
};

/// Gives up all finished runs of a dag that nothing in the database needs. Answers those that are left.
async fn retire(world: &mut World, dag: &str) -> Vec<String> {
    let last = Place { end_date: Timestamp::MAX, key: i64::MAX };
    let runs = world.store.dag_run_ended(&dag_id(dag), Place::FIRST, last, 100).await.unwrap();
    let runs: Vec<EndedRun> = runs.into_iter().filter(|run| !run.is_held).collect();
    let asked = runs.len() as u64;
    let id = dag_id(dag);
    let deleted = world.ask(|reply| Request::Retire { dag_id: id, runs, reply }).await.unwrap();
    assert!(deleted <= asked);
    let filter = crate::store::DagRunFilter::of_dag(dag_id(dag));
    let left = world.store.dag_run_list(&filter, crate::store::Page::default()).await.unwrap();
    left.items.into_iter().map(|run| run.run_id.to_string()).collect()
}

async fn done(world: &mut World, dag: &str, run_id: &str, result: AttemptResult) -> DagRunRow {
    let run = world.trigger(dag, run_id, None).await;
    world.end(&run, "x", result).await;
    run
}

#[tokio::test]
async fn finished_runs_go_and_can_be_made_again() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    done(&mut world, "a", "one", AttemptResult::Success).await;
    done(&mut world, "a", "two", AttemptResult::Failed { retry: false }).await;
    let going_on = world.trigger("a", "three", None).await;
    assert_eq!(retire(&mut world, "a").await, ["three"]);
    let again = done(&mut world, "a", "one", AttemptResult::Success).await;
    assert!(again.key > going_on.key);
    world.end(&going_on, "x", AttemptResult::Success).await;
    assert_eq!(world.state(&going_on, "x").await, TaskState::Success);
}

#[tokio::test]
async fn runs_go_when_the_database_is_there_again_and_nothing_is_restarted() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    done(&mut world, "a", "one", AttemptResult::Success).await;
    let going_on = world.trigger("a", "two", None).await;
    world.store.plan_absence();
    assert_eq!(retire(&mut world, "a").await, ["two"]);
    assert!(world.runs(&going_on, "x"));
}

#[tokio::test]
async fn a_run_that_runs_again_stays() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    let one = done(&mut world, "a", "one", AttemptResult::Success).await;
    let last = Place { end_date: Timestamp::MAX, key: i64::MAX };
    let seen = world.store.dag_run_ended(&dag_id("a"), Place::FIRST, last, 100).await.unwrap();
    // Between the look and the turn it is cleared.
    let clear = Box::new(crate::scheduler::ClearRequest::of_run(dag_id("a"), one.run_id.clone()));
    world.ask(|reply| Request::Clear { request: clear, reply }).await.unwrap();
    let deleted = world.ask(|reply| Request::Retire { dag_id: dag_id("a"), runs: seen, reply }).await.unwrap();
    assert_eq!(deleted, 0);
    world.end(&one, "x", AttemptResult::Success).await;
    assert_eq!(world.state(&one, "x").await, TaskState::Success);
}

#[tokio::test]
async fn a_run_that_somebody_waits_for_stays() {
    let mut world = World::new(vec![dag("a", &["w"]), dag("b", &["x"])]).await;
    let waiter = world.trigger("a", "a", None).await;
    done(&mut world, "b", "one", AttemptResult::Failed { retry: false }).await;
    done(&mut world, "b", "two", AttemptResult::Failed { retry: false }).await;
    // A failure is not what it waits for: it waits until somebody clears the run.
    let of = RunChoice { dag_id: dag_id("b"), run: WhichRun::RunId(RunId::new("one").unwrap()) };
    let wait = RunWait { of, tasks: [].into(), all: [TaskState::Success].into(), any: [].into() };
    world.end(&waiter, "w", AttemptResult::Wait(Wait::Run(wait), at(3_600))).await;
    assert_eq!(world.state(&waiter, "w").await, TaskState::UpForReschedule);
    assert_eq!(retire(&mut world, "b").await, ["one"]);
}
