//! Clears and marks of several runs at a time.

use super::*;
use crate::scheduler::{ClearRequest, MarkRequest};

const TASKS: [&str; 2] = ["x", "y"];

async fn clear(world: &mut World, run_id: Option<&str>, dry_run: bool) -> Result<usize, RequestError> {
    let run_id = run_id.map(|run_id| RunId::new(run_id).unwrap());
    let of_one = ClearRequest::of_run(dag_id("a"), RunId::new("any").unwrap());
    let request = Box::new(ClearRequest { run_id, dry_run, ..of_one });
    world.ask(|reply| Request::Clear { request, reply }).await.map(|cleared| cleared.len())
}

async fn mark(world: &mut World) -> Result<usize, RequestError> {
    let request = Box::new(MarkRequest {
        dag_id: dag_id("a"),
        run_id: RunId::new("run-1").unwrap(),
        tasks: vec![(task_id("x"), None)],
        state: TaskState::Failed,
        upstream: false,
        downstream: false,
        past: false,
        future: true,
        dry_run: false,
    });
    world.ask(|reply| Request::Mark { request, reply }).await.map(|marked| marked.len())
}

#[tokio::test]
async fn a_clear_of_too_much_is_refused_and_changes_nothing() {
    let mut world = World::new(vec![dag("a", &TASKS)]).await;
    let mut runs = Vec::new();
    for number in 1..=3 {
        let run = world.trigger("a", &format!("run-{number}"), Some(at(number))).await;
        for task in TASKS {
            world.end(&run, task, AttemptResult::Success).await;
        }
        runs.push(run);
    }
    let most = |most| Arc::new(SchedulerConfig { max_changed: most, ..SchedulerConfig::default() });
    world.driver.config = most(5);
    for refused in [clear(&mut world, None, true).await, clear(&mut world, None, false).await, mark(&mut world).await] {
        let Err(RequestError::Invalid(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("more than 5 task instances or 64 MiB of conf"), "{why}");
    }
    for run in &runs {
        assert_eq!(world.store.dag_run_get(&run.dag_id, &run.run_id).await.unwrap().unwrap().state.as_str(), "success");
        for task in TASKS {
            assert_eq!(world.state(run, task).await, TaskState::Success);
        }
    }

    // One run is never too large.
    world.driver.config = most(1);
    assert_eq!(clear(&mut world, Some("run-2"), false).await.unwrap(), 2);
    assert!(world.runs(&runs[1], "x") && !world.runs(&runs[0], "x"));
    world.driver.config = most(6);
    assert_eq!(mark(&mut world).await.unwrap(), 3);
    assert_eq!(clear(&mut world, None, false).await.unwrap(), 6);
    world.pass(1).await;
    assert!(world.runs(&runs[0], "x") && world.runs(&runs[2], "y"));
}

/// Airflow: `find_relevant_relatives` in one run, `partial_subset` over many.
#[tokio::test]
async fn a_clear_up_and_down_takes_what_is_beside_in_one_run() {
    let mut fork = dag("a", &["x", "y", "z"]);
    fork["edges"] = serde_json::json!([["x", "y"], ["x", "z"]]);
    let mut world = World::new(vec![fork]).await;
    let run = world.trigger("a", "one", Some(at(1))).await;
    for (run_id, count) in [(Some(run.run_id.clone()), 3), (None, 2)] {
        let of_run = ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone());
        let (tasks, upstream, downstream) = (vec![(task_id("y"), None)], true, true);
        let request = ClearRequest { run_id, tasks, upstream, downstream, dry_run: true, ..of_run };
        let request = Box::new(request);
        let cleared = world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
        assert_eq!(cleared.len(), count);
    }
}

#[tokio::test]
async fn a_clear_of_what_runs_leaves_what_ends_to_be_run_again() {
    let mut world = World::new(vec![dag("a", &TASKS)]).await;
    let run = world.trigger("a", "one", None).await;
    for (tasks, cleared) in [(vec![(task_id("x"), None)], "x"), (Vec::new(), "y")] {
        let of_run = ClearRequest::of_run(run.dag_id.clone(), run.run_id.clone());
        let request = Box::new(ClearRequest { tasks, only_running: true, ..of_run });
        let instances = world.ask(|reply| Request::Clear { request, reply }).await.unwrap();
        assert_eq!(instances, [instance(&run, cleared)]);
        assert_eq!(world.state(&run, cleared).await, TaskState::Restarting);
    }
}

#[tokio::test]
async fn a_mark_downstream_leaves_teardowns_to_run() {
    let mut torn_down = dag("a", &["setup", "work", "after", "undo"]);
    let role = serde_json::json!({"teardown": {"setups": ["setup"], "on_failure_fail_dagrun": false}});
    torn_down["nodes"][0]["role"] = "setup".into();
    torn_down["nodes"][3]["role"] = role;
    torn_down["nodes"][3]["trigger_rule"] = "all_done_setup_success".into();
    torn_down["edges"] =
        serde_json::json!([["setup", "work"], ["work", "after"], ["after", "undo"], ["setup", "undo"]]);
    let mut world = World::new(vec![torn_down]).await;
    let run = world.trigger("a", "one", None).await;
    world.end(&run, "setup", AttemptResult::Success).await;
    let mut marked = Vec::new();
    for task in ["work", "undo"] {
        let request = Box::new(MarkRequest {
            dag_id: dag_id("a"),
            run_id: run.run_id.clone(),
            tasks: vec![(task_id(task), None)],
            state: TaskState::Success,
            upstream: false,
            downstream: true,
            past: false,
            future: false,
            dry_run: false,
        });
        let instances = world.ask(|reply| Request::Mark { request, reply }).await.unwrap();
        marked.push(instances.into_iter().map(|instance| instance.task_id.to_string()).collect::<Vec<_>>());
        assert_eq!(world.runs(&run, "undo"), task == "work", "{task}");
    }
    assert_eq!(marked, [vec!["after", "work"], vec!["undo"]], "a teardown is marked by its name");
}
