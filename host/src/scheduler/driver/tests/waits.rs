//! Instances that wait for runs, and runs that instances start.

use super::*;
use crate::{
    model::{
        state::{RunState, RunType},
        wait::{RunChoice, RunWait, Wait, WhichRun},
    },
    scheduler::{ClearRequest, Origin},
    store::Page,
};

fn wait_for(dag: &str, run: WhichRun, tasks: &[&str]) -> AttemptResult {
    AttemptResult::Wait(
        Wait::Run(RunWait {
            of: RunChoice { dag_id: dag_id(dag), run },
            tasks: tasks.iter().map(|task| task_id(task)).collect(),
            all: [TaskState::Success].into(),
            any: [TaskState::Failed].into(),
        }),
        at(3_600),
    )
}

/// A dag `a` whose only task waits, and a dag `b` of two tasks.
async fn world() -> (World, DagRunRow) {
    let mut world = World::new(vec![dag("a", &["w"]), dag("b", &["x", "y"])]).await;
    let run = world.trigger("a", "a", None).await;
    (world, run)
}

#[tokio::test]
async fn it_goes_on_when_the_run_ends_and_not_before() {
    let (mut world, a) = world().await;
    world.end(&a, "w", wait_for("b", WhichRun::LogicalDate(at(0)), &[])).await;
    assert_eq!((world.state(&a, "w").await, world.waits().await), (TaskState::UpForReschedule, 1));
    let other = world.trigger("b", "other", Some(at(1))).await;
    let b = world.trigger("b", "b", Some(at(0))).await;
    for task in ["x", "y"] {
        world.end(&other, task, AttemptResult::Success).await;
    }
    world.end(&b, "x", AttemptResult::Success).await;
    assert_eq!(world.state(&a, "w").await, TaskState::UpForReschedule);
    world.end(&b, "y", AttemptResult::Success).await;
    assert!(world.runs(&a, "w"));
    let row = world.row(&a, "w").await;
    assert_eq!((row.try_number, row.message, world.waits().await), (1, None, 0));
}

#[tokio::test]
async fn what_has_come_already_wakes_at_once_even_in_the_same_turn() {
    let (mut world, a) = world().await;
    let b = world.trigger("b", "b", Some(at(0))).await;
    world.end(&b, "x", AttemptResult::Failed { retry: false }).await;
    let id = WhichRun::RunId(b.run_id.clone());
    let events =
        vec![world.ended(&a, "w", wait_for("b", id.clone(), &[])), world.ended(&b, "y", AttemptResult::Success)];
    world.turn(Vec::new(), events).await;
    assert!(world.runs(&a, "w"), "the run failed in the turn in which the task began to wait");
    world.end(&a, "w", wait_for("b", id, &[])).await;
    assert!(world.runs(&a, "w"), "the run had failed before");
    assert_eq!(world.waits().await, 0);
}

#[tokio::test]
async fn a_run_that_fails_before_it_is_loaded_is_a_run_that_fails() {
    let mut b = dag("b", &["x"]);
    b["concurrency"] = serde_json::json!({"key": "{{ conf.missing }}", "limit": 1});
    b["callbacks"] = serde_json::json!([{"event": "failure", "target": "pager"}]);
    let mut world = World::new(vec![dag("a", &["w"]), b]).await;
    let a = world.trigger("a", "a", None).await;
    for which in [WhichRun::Newest, WhichRun::LogicalDate(at(0))] {
        world.end(&a, "w", wait_for("b", which.clone(), &[])).await;
        assert!(!world.runs(&a, "w"), "{which:?}");
        let b = world.trigger("b", &format!("{which:?}").to_lowercase()[..5], Some(at(0))).await;
        assert_eq!(b.state, RunState::Failed);
        assert!(world.runs(&a, "w"), "{which:?}");
        let told = world.store.callback_list(b.key, Page::first(10)).await.unwrap().items;
        assert_eq!(told.len(), 1, "{told:?}");
        let run_id = b.run_id.clone();
        world.ask(|reply| Request::DeleteRun { dag_id: dag_id("b"), run_id, reply }).await.unwrap();
    }
}

#[tokio::test]
async fn a_task_is_waited_for_and_a_failure_is_told_early() {
    let (mut world, a) = world().await;
    let b = world.trigger("b", "b", None).await;
    let id = WhichRun::RunId(b.run_id.clone());
    world.end(&a, "w", wait_for("b", id.clone(), &["y"])).await;
    world.end(&b, "x", AttemptResult::Success).await;
    assert!(!world.runs(&a, "w"));
    world.end(&b, "y", AttemptResult::Success).await;
    assert!(world.runs(&a, "w"));

    world
        .ask(|reply| Request::Clear { request: Box::new(ClearRequest::of_run(dag_id("b"), b.run_id.clone())), reply })
        .await
        .unwrap();
    world.end(&a, "w", wait_for("b", id, &["x", "y"])).await;
    world.end(&b, "x", AttemptResult::Failed { retry: false }).await;
    assert!(world.runs(&a, "w"), "`y` still runs");
}

#[tokio::test]
async fn nothing_is_missed_by_a_crash() {
    let (mut world, a) = world().await;
    let b = world.trigger("b", "b", None).await;
    world.end(&a, "w", wait_for("b", WhichRun::RunId(b.run_id.clone()), &[])).await;
    world.crash().await;
    assert_eq!(world.state(&a, "w").await, TaskState::UpForReschedule);
    world.end(&b, "x", AttemptResult::Success).await;
    world.crash().await;
    world.end(&b, "y", AttemptResult::Success).await;
    assert!(world.runs(&a, "w"));
    world.crash().await;
    assert!(world.runs(&a, "w"), "it was woken before the crash");
    assert_eq!(world.waits().await, 0);
}

#[tokio::test]
async fn the_newest_run_is_the_newest_when_it_ends() {
    let (mut world, a) = world().await;
    let old = world.trigger("b", "old", None).await;
    world.end(&a, "w", wait_for("b", WhichRun::Newest, &[])).await;
    world.pass(1).await;
    let new = world.trigger("b", "new", None).await;
    for task in ["x", "y"] {
        world.end(&old, task, AttemptResult::Success).await;
    }
    assert!(!world.runs(&a, "w"));
    for task in ["x", "y"] {
        world.end(&new, task, AttemptResult::Success).await;
    }
    assert!(world.runs(&a, "w"));
}

#[tokio::test]
async fn it_goes_on_at_the_latest_at_its_deadline_and_a_mark_ends_the_wait() {
    let (mut world, a) = world().await;
    world.end(&a, "w", wait_for("b", WhichRun::Newest, &[])).await;
    world.pass(3_599).await;
    assert!(!world.runs(&a, "w"));
    world.pass(1).await;
    assert!(world.runs(&a, "w"));
    assert_eq!(world.waits().await, 0);
    world.now = at(0);
    world.end(&a, "w", wait_for("b", WhichRun::Newest, &[])).await;
    assert_eq!(world.waits().await, 1);
    let run_id = a.run_id.clone();
    world.ask(|reply| Request::MarkRun { dag_id: dag_id("a"), run_id, state: RunState::Success, reply }).await.unwrap();
    assert_eq!((world.waits().await, world.state(&a, "w").await), (0, TaskState::Success));
}

#[tokio::test]
async fn a_dag_that_is_not_there_fails_the_wait_and_one_that_goes_wakes() {
    let (mut world, a) = world().await;
    world.end(&a, "w", wait_for("b", WhichRun::Newest, &[])).await;
    world.ask(|reply| Request::DeleteDag { dag_id: dag_id("b"), reply }).await.unwrap();
    assert!(world.runs(&a, "w"));
    world.end(&a, "w", wait_for("b", WhichRun::Newest, &[])).await;
    let row = world.row(&a, "w").await;
    assert_eq!(
        (row.state, row.message.as_deref()),
        (TaskState::Failed, Some("it waits for dag `b`, which does not exist; upload it"))
    );
    assert_eq!(world.waits().await, 0);
}

#[tokio::test]
async fn a_run_that_is_deleted_wakes_those_who_wait_for_it_and_nobody_else() {
    let (mut world, a) = world().await;
    let other = world.trigger("a", "other", None).await;
    world.end(&other, "w", wait_for("b", WhichRun::LogicalDate(at(1)), &[])).await;
    world.ask(|reply| Request::SetPaused { dag_id: dag_id("b"), paused: true, reply }).await.unwrap();
    for which in [WhichRun::RunId(RunId::new("b").unwrap()), WhichRun::LogicalDate(at(0)), WhichRun::Newest] {
        let b = world.trigger("b", "b", Some(at(0))).await;
        world.end(&a, "w", wait_for("b", which.clone(), &[])).await;
        assert!(!world.runs(&a, "w"), "{which:?}");
        let run_id = b.run_id.clone();
        world.ask(|reply| Request::DeleteRun { dag_id: dag_id("b"), run_id, reply }).await.unwrap();
        assert!(world.runs(&a, "w"), "{which:?}");
    }
    assert_eq!((world.state(&other, "w").await, world.waits().await), (TaskState::UpForReschedule, 1));
}

#[tokio::test]
async fn thousands_who_wait_are_not_looked_at_by_other_runs_and_all_wake() {
    const WAITERS: usize = 3_000;
    let tasks: Vec<_> = (0..WAITERS).map(|number| format!("w{number}")).collect();
    let tasks: Vec<_> = tasks.iter().map(String::as_str).collect();
    let mut many = dag("a", &tasks);
    many["max_active_tasks"] = WAITERS.into();
    let mut world = World::new(vec![many, dag("b", &["x"]), dag("c", &["x"])]).await;
    world
        .store
        .pool_put(&crate::store::PoolRow {
            name: crate::model::ids::PoolName::default_pool(),
            slots: -1,
            description: None,
            include_deferred: false,
        })
        .await
        .unwrap();
    world.ask(|reply| Request::ReloadPools { reply }).await.unwrap();
    let a = world.trigger("a", "a", None).await;
    while world.store.wait_list(None).await.unwrap().len() < WAITERS {
        let running: Vec<_> = world.script.0.lock().unwrap().keys().map(|key| key.task_id.to_string()).collect();
        let ends = running.iter().map(|task| world.ended(&a, task, wait_for("b", WhichRun::Newest, &[]))).collect();
        world.turn(Vec::new(), ends).await;
    }
    let c = world.trigger("c", "c", None).await;
    let started = std::time::Instant::now();
    world.end(&c, "x", AttemptResult::Success).await;
    world.turn(Vec::new(), Vec::new()).await;
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    let b = world.trigger("b", "b", None).await;
    world.end(&b, "x", AttemptResult::Success).await;
    assert_eq!(world.waits().await, 0);
}

fn by(parent: &DagRunRow, try_number: u32, reset: bool) -> RunRequest {
    RunRequest {
        run_id: Some(RunId::new("child").unwrap()),
        triggered_by: "operator",
        origin: Some(Origin { parent: instance(parent, "w").into(), number: try_number, depth: 1, reset }),
        ..RunRequest::default()
    }
}

#[tokio::test]
async fn an_instance_starts_a_run_once() {
    let (mut world, a) = world().await;
    let child = world.trigger_with("b", by(&a, 1, false)).await.unwrap();
    assert_eq!((child.run_type, child.triggered_by.as_str()), (RunType::OperatorTriggered, "operator"));
    let again = world.trigger_with("b", by(&a, 2, false)).await.unwrap();
    assert_eq!(again.key, child.key);
    world.crash().await;
    assert_eq!(world.trigger_with("b", by(&a, 2, false)).await.unwrap().key, child.key);
    let started = world
        .store
        .dag_run_list_started_by(a.key, &crate::model::dag_access::DagSet::all(), crate::store::Page::first(10))
        .await
        .unwrap();
    assert_eq!((started.total, started.items[0].run.key), (1, child.key));

    let other = world.trigger("a", "other", None).await;
    let refused = world.trigger_with("b", by(&other, 1, false)).await.unwrap_err();
    assert!(matches!(refused, RequestError::Conflict(_)), "{refused}");
}

#[tokio::test]
async fn nobody_asks_for_a_run_with_an_id_of_the_scheduler() {
    let (mut world, a) = world().await;
    for run_id in ["scheduled__2026-11-23T12:19:20+00:00", "backfill__x", "asset_triggered__x"] {
        let run_id = Some(RunId::new(run_id).unwrap());
        for asked in [by(&a, 1, false), by(&a, 1, true), RunRequest { origin: None, ..by(&a, 1, false) }] {
            let refused = world.trigger_with("b", RunRequest { run_id: run_id.clone(), ..asked }).await.unwrap_err();
            assert!(matches!(refused, RequestError::Invalid(_)), "{refused}");
        }
    }
}

#[tokio::test]
async fn each_try_resets_a_run_once() {
    let (mut world, a) = world().await;
    let child = world.trigger_with("b", by(&a, 1, true)).await.unwrap();
    for task in ["x", "y"] {
        world.end(&child, task, AttemptResult::Success).await;
    }
    let same_try = world.trigger_with("b", by(&a, 1, true)).await.unwrap();
    assert_eq!((same_try.state, same_try.clear_number), (RunState::Success, 0), "the task looks how it ended");
    let next_try = world.trigger_with("b", by(&a, 2, true)).await.unwrap();
    assert_eq!((next_try.key, next_try.clear_number), (child.key, 1));
    assert!(world.runs(&child, "x"));
    let again = world.trigger_with("b", by(&a, 2, true)).await.unwrap();
    assert_eq!(again.clear_number, 1);
}

#[tokio::test]
async fn a_run_that_several_reset_in_one_turn_is_of_the_last() {
    let (mut world, a) = world().await;
    let other = world.trigger("a", "other", None).await;
    let mut answers = Vec::new();
    let mut ask = |parent, number| {
        let (reply, answer) = Reply::new();
        answers.push(answer);
        let request = Box::new(by(parent, number, true));
        Request::Trigger { dag_id: dag_id("b"), request, conf: "{}".into(), checked_at: world.now, reply }
    };
    let requests = vec![ask(&a, 1), ask(&a, 2), ask(&other, 1)];
    world.turn(requests, Vec::new()).await;
    for answer in answers {
        assert_eq!(answer.await.unwrap().unwrap().run_id.as_str(), "child");
    }
    let child = world.store.dag_run_get(&dag_id("b"), &RunId::new("child").unwrap()).await.unwrap().unwrap();
    let origin = world.store.origin_get(child.key).await.unwrap().unwrap();
    assert_eq!((origin.parent, origin.parent_number), (instance(&other, "w").into(), 1));
}
