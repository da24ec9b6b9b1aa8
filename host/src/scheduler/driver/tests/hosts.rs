//! Where tries ran.

use super::*;

#[tokio::test]
async fn where_a_try_ran_is_kept_with_its_end_also_if_a_person_ended_it() {
    let mut world = World::new(vec![dag("a", &["x", "y", "z"])]).await;
    let run = world.trigger("a", "run", None).await;
    assert_eq!(world.row(&run, "x").await.hostname, None, "nobody knows when it is started");

    let ExecutorEvent::Finished(mut lost) = world.ended(&run, "x", AttemptResult::Lost) else { panic!() };
    lost.hostname = Some("worker-1".into());
    world.turn(Vec::new(), vec![ExecutorEvent::Finished(lost)]).await;
    assert_eq!(world.row(&run, "x").await.hostname.as_deref(), Some("worker-1"));
    let ExecutorEvent::Finished(mut end) = world.ended(&run, "x", AttemptResult::Success) else { panic!() };
    end.hostname = Some("worker-2".into());
    world.turn(Vec::new(), vec![ExecutorEvent::Finished(end)]).await;
    assert_eq!(world.row(&run, "x").await.hostname.as_deref(), Some("worker-2"));

    let (dag_id, run_id) = (dag_id("a"), run.run_id.clone());
    world.ask(|reply| Request::MarkRun { dag_id, run_id, state: RunState::Failed, reply }).await.unwrap();
    let row = world.row(&run, "y").await;
    assert!(row.state.is_finished() && row.hostname.as_deref() == Some("worker-1"), "{row:?}");
}
