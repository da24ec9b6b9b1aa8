//! Task instances that people delete.

use super::*;
use crate::scheduler::ClearRequest;

async fn delete(world: &mut World, run: &DagRunRow, task: &str) -> Result<(), RequestError> {
    let (dag_id, run_id, task_id) = (run.dag_id.clone(), run.run_id.clone(), task_id(task));
    world.ask(|reply| Request::DeleteInstance { dag_id, run_id, task_id, map_index: -1, reply }).await
}

async fn clear(world: &mut World, run: &DagRunRow, task: &str, dry_run: bool) -> usize {
    let request = ClearRequest {
        tasks: vec![(task_id(task), None)],
        dry_run,
        ..ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone())
    };
    world.ask(|reply| Request::Clear { request: Box::new(request), reply }).await.unwrap().len()
}

async fn is_there(world: &World, run: &DagRunRow, task: &str) -> bool {
    world.store.task_instance_get(&instance(run, task)).await.unwrap().is_some()
}

async fn state_of(world: &World, run: &DagRunRow) -> RunState {
    world.store.dag_run_get_by_key(run.key).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_deleted_instance_is_there_anew_when_its_run_goes_on() {
    let mut world = World::new(vec![dag("a", &["x", "y"])]).await;
    let run = world.trigger("a", "one", None).await;
    world.end(&run, "x", AttemptResult::Success).await;
    let refused = delete(&mut world, &run, "x").await.unwrap_err();
    assert!(matches!(&refused, RequestError::Conflict(text) if text.contains("is not over")), "{refused:?}");
    world.end(&run, "y", AttemptResult::Success).await;
    delete(&mut world, &run, "x").await.unwrap();
    assert!(!is_there(&world, &run, "x").await && is_there(&world, &run, "y").await);
    assert!(matches!(delete(&mut world, &run, "x").await, Err(RequestError::NotFound(_))));

    // A look changes nothing.
    assert_eq!(clear(&mut world, &run, "y", true).await, 1);
    assert!(!is_there(&world, &run, "x").await);
    assert_eq!(clear(&mut world, &run, "y", false).await, 1);
    assert!(world.runs(&run, "x") && world.runs(&run, "y"), "both have to run");
    assert_eq!(world.row(&run, "x").await.try_number, 1, "its tries are gone");
    world.crash().await;
    world.end(&run, "x", AttemptResult::Success).await;
    world.end(&run, "y", AttemptResult::Success).await;
    assert_eq!((world.state(&run, "x").await, state_of(&world, &run).await), (TaskState::Success, RunState::Success));
}

#[tokio::test]
async fn a_run_of_which_all_was_deleted_runs_again() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    let run = world.trigger("a", "one", None).await;
    world.end(&run, "x", AttemptResult::Failed { retry: false }).await;
    delete(&mut world, &run, "x").await.unwrap();
    world.crash().await;
    assert_eq!(state_of(&world, &run).await, RunState::Failed);
    let run_id = run.run_id.clone();
    let clear = Box::new(ClearRequest::of_run(dag_id("a"), run_id));
    world.ask(|reply| Request::Clear { request: clear, reply }).await.unwrap();
    world.end(&run, "x", AttemptResult::Success).await;
    assert_eq!((world.state(&run, "x").await, state_of(&world, &run).await), (TaskState::Success, RunState::Success));
}
