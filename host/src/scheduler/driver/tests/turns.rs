//! What comes together in one turn, and turns that don't become durable.

use super::*;
use crate::{
    executor::Rendered,
    model::ids::XComKey,
    scheduler::ClearRequest,
    store::{
        RecordingRow, XComBody, XComFilter, XComNew,
        testing::{CommitFault, plan_failing_reads},
    },
};

/// One whose tasks try again at once.
fn trying_again(id: &str, tasks: &[&str]) -> serde_json::Value {
    let mut dag = dag(id, tasks);
    for node in dag["nodes"].as_array_mut().unwrap() {
        node["retries"] = 1.into();
    }
    dag
}

fn returned(run: &DagRunRow, task: &str) -> XComNew {
    XComNew {
        instance: instance(run, task),
        key: XComKey::return_value(),
        media_type: "application/json".into(),
        size_bytes: 1,
        body: XComBody::Inline(b"1".to_vec()),
    }
}

fn clear(run: &DagRunRow, task: &str) -> Request {
    let of_run = ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone());
    let request = Box::new(ClearRequest { tasks: vec![(task_id(task), None)], ..of_run });
    Request::Clear { request, reply: Reply::new().0 }
}

/// The end of the try of `x` that runs, with its recording.
fn recorded(world: &mut World, run: &DagRunRow, blob: &str) -> ExecutorEvent {
    let ExecutorEvent::Finished(mut end) = world.ended(run, "x", AttemptResult::Success) else {
        panic!("it is no end")
    };
    let (instance, try_number) = (end.id.instance.clone(), end.id.try_number);
    end.recording =
        Some(RecordingRow { instance, try_number, size_bytes: 1, created_at: world.now, blob: blob.to_owned() });
    ExecutorEvent::Finished(end)
}

#[tokio::test]
async fn the_recording_of_a_try_that_counts_for_nothing_is_deleted() {
    let mut world = World::new(vec![dag("a", &["x", "y"])]).await;
    let run = world.trigger("a", "r", None).await;
    let late = recorded(&mut world, &run, "recordings/late");
    world.turn(vec![clear(&run, "x")], Vec::new()).await;
    world.turn(Vec::new(), vec![late]).await;
    assert_eq!(*world.script.1.lock().unwrap(), ["recordings/late"]);
    let kept = recorded(&mut world, &run, "recordings/kept");
    world.turn(Vec::new(), vec![kept]).await;
    assert_eq!(world.script.1.lock().unwrap().len(), 1);
    let recordings = world.store.recording_list(&instance(&run, "x")).await.unwrap();
    assert_eq!(recordings.len(), 1);
}

#[tokio::test]
async fn a_run_that_did_not_become_durable_is_made_again() {
    let mut hourly = dag("hourly", &["x"]);
    hourly["schedule"] = serde_json::json!({"every": {"period_ms": 3_600_000, "data_interval": true}});
    hourly["start"] = serde_json::to_value(at(0)).unwrap();
    let mut world = World::new(vec![hourly, dag("a", &["x"])]).await;
    world.now = at(3_600);
    world.store.plan_fault(CommitFault::Refused);
    assert!(world.driver.turn(&mut Vec::new(), &mut Vec::new(), world.now).await.is_err());
    world.driver.reload(world.now).await.unwrap();
    let key = DagRunKey(world.store.dag_run_next_key().await.unwrap() - 1);
    let run = world.store.dag_run_get_by_key(key).await.unwrap().expect("the interval has its run");
    assert_eq!((run.dag_id, run.logical_date), (dag_id("hourly"), Some(at(0))));

    // One that somebody asked for may be asked for again.
    world.store.plan_fault(CommitFault::Refused);
    let request =
        RunRequest { run_id: Some(RunId::new("mine").unwrap()), triggered_by: "rest_api", ..RunRequest::default() };
    let (reply, _) = Reply::new();
    let (request, checked_at) = (Box::new(request), world.now);
    let trigger = Request::Trigger { dag_id: dag_id("a"), request, conf: "{}".into(), checked_at, reply };
    assert!(world.driver.turn(&mut vec![trigger], &mut Vec::new(), world.now).await.is_err());
    world.driver.reload(world.now).await.unwrap();
    let mine = world.trigger("a", "mine", None).await;

    // One that was made before the reading is known by the database alone.
    let (request, checked_at) = (RunRequest { run_id: Some(mine.run_id), ..RunRequest::default() }, at(0));
    let (dag_id, request) = (dag_id("a"), Box::new(request));
    world.driver.reload(world.now).await.unwrap();
    let asked = world.ask(|reply| Request::Trigger { dag_id, request, conf: "{}".into(), checked_at, reply }).await;
    assert!(matches!(asked, Err(RequestError::Conflict(_))), "{asked:?}");
}

#[tokio::test]
async fn runs_of_a_dag_that_was_deleted_can_be_made_again() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    let run = world.trigger("a", "one", None).await;
    world.end(&run, "x", AttemptResult::Success).await;
    let dag_id = dag_id("a");
    world.ask(|reply| Request::DeleteDag { dag_id: dag_id.clone(), reply }).await.unwrap();
    world.driver.recent.has(&dag_id, Some(&run.run_id), None).then(|| panic!("it is known still"));
}

#[tokio::test]
async fn what_is_cleared_in_the_turn_in_which_it_succeeds_leaves_no_xcoms() {
    let mut world = World::new(vec![dag("a", &["x", "y"])]).await;
    let run = world.trigger("a", "run", None).await;
    let ends = ["x", "y"].map(|task| {
        let ExecutorEvent::Finished(mut end) = world.ended(&run, task, AttemptResult::Success) else { panic!() };
        end.xcoms = vec![returned(&run, task)];
        ExecutorEvent::Finished(end)
    });
    world.turn(vec![clear(&run, "x")], ends.into()).await;
    assert_eq!(world.row(&run, "x").await.try_number, 2);
    let left = world.store.xcom_list(&XComFilter::default(), crate::store::Page::default()).await.unwrap();
    assert_eq!(left.items.iter().map(|row| row.instance.task_id.as_str()).collect::<Vec<_>>(), ["y"]);
}

#[tokio::test]
async fn a_try_is_kept_as_it_ended_though_the_next_begins_in_the_same_turn() {
    let mut world = World::new(vec![trying_again("a", &["x", "y"])]).await;
    let run = world.trigger("a", "run", None).await;
    let failed = |world: &mut World, task| {
        let ExecutorEvent::Finished(mut end) = world.ended(&run, task, AttemptResult::Failed { retry: true }) else {
            panic!()
        };
        end.message = Some("boom".into());
        ExecutorEvent::Finished(end)
    };
    world.now = at(5);
    let ends = vec![failed(&mut world, "x"), failed(&mut world, "y")];
    world.turn(vec![clear(&run, "y")], ends).await;
    for task in ["x", "y"] {
        let tries = world.store.task_instance_tries(&instance(&run, task)).await.unwrap();
        assert_eq!((tries.len(), tries[1].state), (2, TaskState::Running), "{task}");
        let first = &tries[0];
        assert_eq!((first.state, first.message.as_deref()), (TaskState::UpForRetry, Some("boom")), "{task}");
        assert_eq!((first.start_date, first.end_date), (Some(at(0)), Some(at(5))), "{task}");
    }
}

#[tokio::test]
async fn of_what_a_try_became_in_one_turn_the_last_counts() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    let run = world.trigger("a", "run", None).await;
    let id = world.script.0.lock().unwrap()[&instance(&run, "x")].clone();
    let rendered = |fields: &str| {
        let rendered = Rendered { id: id.clone(), fields: Some(fields.into()), label: None };
        ExecutorEvent::Rendered(Box::new(rendered))
    };
    world.turn(Vec::new(), vec![rendered(r#"{"n":1}"#), rendered(r#"{"n":2}"#)]).await;
    let key = (instance(&run, "x"), 1);
    let fields = world.store.rendered_fields_list(std::slice::from_ref(&key)).await.unwrap();
    assert_eq!(fields[&key], r#"{"n":2}"#);
}

#[tokio::test]
async fn a_turn_asks_a_database_that_is_away_until_it_answers() {
    let mut world = World::new(vec![dag("a", &["x"])]).await;
    plan_failing_reads(0, 3);
    // The dag is read when its first run starts.
    let run = world.trigger("a", "run", None).await;
    assert!(world.runs(&run, "x"));
}

#[tokio::test]
async fn a_queued_run_that_can_not_be_read_when_it_is_asked_for_waits_as_before() {
    let mut one_at_a_time = dag("a", &["x"]);
    one_at_a_time["max_active_runs"] = 1.into();
    let mut world = World::new(vec![one_at_a_time]).await;
    let first = world.trigger("a", "first", None).await;
    let second = world.trigger("a", "second", None).await;
    world.crash().await;
    // The run itself is found, its instances are not.
    plan_failing_reads(1, 1);
    let (dag_id, run_id) = (dag_id("a"), second.run_id.clone());
    let marked = world.ask(|reply| Request::MarkRun { dag_id, run_id, state: RunState::Failed, reply }).await;
    assert!(marked.is_err());
    world.end(&first, "x", AttemptResult::Success).await;
    assert!(world.runs(&second, "x"));
}
