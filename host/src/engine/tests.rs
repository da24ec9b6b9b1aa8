//! What a run does.

mod histories;
mod mapping;
mod past;
mod people;
mod scopes;

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use std::{collections::BTreeSet, time::Duration};

use super::{
    Attempt, Command, Event, InstanceId, MAX_RESTARTS, Outcome, RunState, Verdict,
    testing::{Driver, at, build, identity, literal, node, over_literal, over_output, spec},
};
use crate::model::{
    dag::{Catalog, Dag, Role},
    ids::TaskId,
    spec::{DagSpec, EntrySpec, ExpandSpec, GroupSpec, ListSpec, NodeSpec, RoleSpec},
    state::{RunState as State, TaskState},
    trigger_rule::{Decision, TriggerRule},
};

const SUCCESS: Outcome = Outcome::Success { list_length: None, has_result: true };
const FAILED: Outcome = Outcome::Failed { retry: true, delay: None };

fn list(length: u32) -> Outcome {
    Outcome::Success { list_length: Some(length), has_result: true }
}

fn chain(ids: &[&str]) -> DagSpec {
    let edges: Vec<_> = ids.windows(2).map(|pair| (pair[0], pair[1])).collect();
    spec(ids.iter().map(|id| node(id)).collect(), &edges)
}

fn follow(ids: &[&str]) -> Outcome {
    Outcome::Branch(ids.iter().map(|id| TaskId::new(id).unwrap()).collect())
}

fn states(driver: &Driver) -> Vec<&'static str> {
    driver.rows.values().map(|row| row.state.as_str()).collect()
}

#[test]
fn a_link_of_a_chain_is_one_turn() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    let attempt = driver.start(driver.id("a"));
    driver.log.clear();
    driver.end(attempt, SUCCESS);
    let kinds: Vec<_> = driver
        .log
        .iter()
        .map(|command| match command {
            Command::Release(id) => format!("release {}", id.node),
            Command::Persist(change) => format!("{} {}", change.row.state, change.instance.node),
            Command::Ready(id) => format!("ready {}", id.node),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["release 0", "success 0", "scheduled 1", "ready 1"]);
    driver.succeed("b");
    assert_eq!(driver.run_state(), State::Success);
    assert!(!driver.state.is_busy());
}

#[test]
fn a_retry_waits_and_counts_a_try() {
    let task = NodeSpec { retries: 1, retry_delay_ms: 30_000, ..node("a") };
    let mut driver = Driver::started(build(&spec(vec![task], &[])));
    driver.play("a", FAILED);
    assert_eq!(driver.state_of("a"), TaskState::UpForRetry);
    assert_eq!(driver.log.last(), Some(&Command::WakeAt(at(30))));
    driver.sleep();
    let row = &driver.rows[&driver.id("a")];
    assert_eq!((row.state, row.try_number, row.start_date), (TaskState::Scheduled, 2, None));
    assert_eq!(driver.archived.len(), 1, "the first try goes to the history");
    driver.play("a", FAILED);
    assert_eq!((driver.state_of("a"), driver.run_state()), (TaskState::Failed, State::Failed));
}

#[test]
fn a_failure_says_itself_when_it_is_tried_again_and_that_is_no_try_more() {
    let task = NodeSpec { retries: 1, retry_delay_ms: 30_000, retry_backoff: 2.0, ..node("a") };
    let mut driver = Driver::started(build(&spec(vec![task], &[])));
    let failed = Outcome::Failed { retry: true, delay: Some(Duration::from_mins(10)) };
    driver.play("a", failed.clone());
    assert_eq!((driver.state_of("a"), driver.log.last()), (TaskState::UpForRetry, Some(&Command::WakeAt(at(600)))));
    driver.crash();
    driver.sleep();
    assert_eq!((driver.now, driver.rows[&driver.id("a")].try_number), (at(600), 2));
    driver.play("a", failed);
    assert_eq!((driver.state_of("a"), driver.run_state()), (TaskState::Failed, State::Failed));
}

#[test]
fn a_fatal_failure_is_not_tried_again() {
    let mut driver = Driver::started(build(&spec(vec![NodeSpec { retries: 3, ..node("a") }], &[])));
    driver.play("a", Outcome::Failed { retry: false, delay: None });
    assert_eq!(driver.state_of("a"), TaskState::Failed);
}

#[test]
fn later_is_the_same_try() {
    let mut driver = Driver::started(build(&chain(&["a"])));
    driver.play("a", Outcome::Later(at(60)));
    assert_eq!((driver.state_of("a"), driver.state.is_busy()), (TaskState::UpForReschedule, false));
    driver.crash();
    driver.sleep();
    assert_eq!((driver.now, driver.rows[&driver.id("a")].try_number), (at(60), 1));
    driver.succeed("a");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn a_lost_attempt_is_a_restart_and_not_a_try_until_it_was_lost_too_often() {
    let mut driver = Driver::started(build(&chain(&["a"])));
    for (restart, pause) in (0..=MAX_RESTARTS).zip([0, 1, 2, 4, 8, 0]) {
        let row = &driver.rows[&driver.id("a")];
        assert_eq!((row.try_number, row.restarts), (1, restart));
        driver.play("a", Outcome::Lost);
        if pause > 0 {
            assert_eq!((driver.state_of("a"), driver.state.is_busy()), (TaskState::UpForReschedule, false));
            // Whoever takes over keeps to it.
            driver.crash();
            let lost_at = driver.now;
            driver.sleep();
            assert_eq!(driver.now, lost_at.after(Duration::from_secs(pause)));
        }
    }
    assert_eq!(driver.state_of("a"), TaskState::Failed);
    assert_eq!(driver.messages[&driver.id("a")], "its runner was lost 6 times");
}

#[test]
fn why_an_attempt_was_lost_is_told_until_it_runs_again() {
    let mut driver = Driver::started(build(&chain(&["a"])));
    let lose = |driver: &mut Driver| {
        let attempt = driver.start(driver.id("a"));
        let message = Some("its pod `x` was evicted".to_owned());
        driver.apply(&Event::Finished { attempt, outcome: Outcome::Lost, message });
    };
    lose(&mut driver);
    assert_eq!(
        (driver.state_of("a"), &*driver.messages[&driver.id("a")]),
        (TaskState::Scheduled, "its pod `x` was evicted")
    );
    for _ in 0..MAX_RESTARTS {
        lose(&mut driver);
        if driver.state_of("a") == TaskState::UpForReschedule {
            assert_eq!(driver.messages[&driver.id("a")], "its pod `x` was evicted");
            driver.sleep();
        }
    }
    let told = "its runner was lost 6 times; the last time: its pod `x` was evicted";
    assert_eq!((driver.state_of("a"), &*driver.messages[&driver.id("a")]), (TaskState::Failed, told));
}

#[test]
fn a_late_result_of_another_attempt_is_dropped() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    let first = driver.start(driver.id("a"));
    driver.end(first, Outcome::Lost);
    let second = driver.start(driver.id("a"));
    driver.log.clear();
    driver.end(first, SUCCESS);
    driver.end(Attempt { try_number: 2, ..second }, SUCCESS);
    assert_eq!(driver.log, []);
    driver.end(second, SUCCESS);
    driver.log.clear();
    driver.end(second, FAILED);
    assert_eq!(driver.log, []);
    assert_eq!(driver.state_of("b"), TaskState::Scheduled);
}

#[test]
fn an_unknown_branch_fails_the_task_and_says_so() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.play("a", follow(&["nowhere"]));
    assert_eq!(states(&driver), ["failed", "upstream_failed"]);
    assert!(driver.messages[&driver.id("a")].contains("`nowhere`"));
}

#[test]
fn a_branch_is_held_to_when_a_child_is_cleared_even_after_a_crash() {
    let dag = build(&spec(vec![node("br"), node("a"), node("b")], &[("br", "a"), ("br", "b")]));
    let mut driver = Driver::started(dag);
    driver.play("br", follow(&["a"]));
    driver.succeed("a");
    assert_eq!(states(&driver), ["success", "success", "skipped"]);
    driver.state = driver_after_restart(&driver);
    let instances = vec![driver.id("a"), driver.id("b")];
    driver.apply(&Event::Clear { instances });
    driver.apply(&Event::Start);
    assert_eq!(states(&driver), ["success", "scheduled", "skipped"]);
    let instances = vec![driver.id("br"), driver.id("b")];
    driver.apply(&Event::Clear { instances });
    driver.play("br", follow(&["b"]));
    assert_eq!(states(&driver), ["success", "skipped", "scheduled"]);
}

#[test]
fn a_branch_skips_what_another_failure_was_quicker_to_end() {
    let nodes = ["br", "bad", "a", "join", "end", "other"].map(node).into();
    let edges = [("br", "a"), ("br", "join"), ("bad", "join"), ("join", "end"), ("bad", "other"), ("other", "end")];
    for (rest, all) in [(&edges[..4], "skipped"), (&edges[..], "upstream_failed")] {
        let mut driver = Driver::started(build(&spec(Vec::clone(&nodes), rest)));
        driver.play("bad", FAILED);
        assert_eq!(driver.state_of("end"), TaskState::UpstreamFailed);
        driver.play("br", follow(&["a"]));
        assert_eq!(driver.state_of("join"), TaskState::Skipped);
        assert_eq!(driver.state_of("end").as_str(), all);
    }
}

fn driver_after_restart(driver: &Driver) -> RunState {
    let dag = driver.state.dag().clone();
    let rows: Vec<_> =
        driver.rows.iter().map(|(id, row)| (dag.node(id.node).task_id.clone(), id.map_index, row.clone())).collect();
    RunState::restore(dag, &identity(), driver.run.clone(), rows)
}

#[test]
fn a_short_circuit_skips_everything_behind_it_but_teardowns() {
    let down = RoleSpec::Teardown { setups: vec!["s".to_owned()], on_failure_fail_dagrun: false };
    let nodes = vec![
        NodeSpec { role: RoleSpec::Setup, ..node("s") },
        node("gate"),
        node("a"),
        NodeSpec { trigger_rule: TriggerRule::AllDone, ..node("b") },
        NodeSpec { role: down, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") },
    ];
    let mut driver = Driver::started(build(&spec(nodes, &[("s", "gate"), ("gate", "a"), ("a", "b"), ("b", "t")])));
    driver.succeed("s");
    driver.play("gate", Outcome::ShortCircuit { ignore_downstream_trigger_rules: true });
    assert_eq!([driver.state_of("a"), driver.state_of("b")], [TaskState::Skipped; 2]);
    driver.succeed("t");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn the_first_failure_ends_a_run_that_is_fail_fast() {
    let teardown = RoleSpec::Teardown { setups: vec!["s".to_owned()], on_failure_fail_dagrun: false };
    let nodes = vec![
        NodeSpec { role: RoleSpec::Setup, ..node("s") },
        NodeSpec { retries: 1, ..node("a") },
        node("b"),
        node("c"),
        NodeSpec { role: teardown, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") },
    ];
    let edges = [("s", "a"), ("s", "b"), ("b", "c"), ("a", "t"), ("c", "t")];
    let mut spec = spec(nodes, &edges);
    spec.fail_fast = true;
    let mut driver = Driver::started(build(&spec));
    driver.succeed("s");
    driver.play("a", FAILED);
    assert_eq!(driver.state_of("a"), TaskState::UpForRetry, "a retry is left");
    let running = driver.start(driver.id("b"));
    driver.sleep();
    driver.play("a", FAILED);
    assert_eq!(["b", "c"].map(|task| driver.state_of(task)), [TaskState::Failed, TaskState::Skipped]);
    assert!(driver.messages[&driver.id("b")].contains("fail_fast"));
    driver.end(running, Outcome::Killed);
    driver.succeed("t");
    assert_eq!(driver.run_state(), State::Failed);

    spec.nodes[2].trigger_rule = TriggerRule::AllDone;
    let entry = EntrySpec::new("noop");
    let refused = Dag::from_spec(&spec, &Catalog::new(&[entry])).unwrap_err().to_string();
    assert!(refused.contains("task `b`") && refused.contains("fail_fast"), "{refused}");
}

/// Airflow's succeeds: all that counts there, what comes last, was skipped.
#[test]
fn a_run_that_is_fail_fast_fails_though_all_that_follows_is_skipped() {
    let teardown = RoleSpec::Teardown { setups: Vec::new(), on_failure_fail_dagrun: false };
    let last = NodeSpec { role: teardown, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") };
    let mut spec = spec(vec![node("a"), node("b"), last], &[("a", "b"), ("a", "t")]);
    spec.fail_fast = true;
    for (a, t, seen, state) in [
        (FAILED, SUCCESS, ["failed", "skipped", "success"], State::Failed),
        (SUCCESS, FAILED, ["success", "success", "failed"], State::Success),
    ] {
        let mut driver = Driver::started(build(&spec));
        driver.play("a", a.clone());
        if a == SUCCESS {
            driver.succeed("b");
        }
        driver.play("t", t);
        assert_eq!((states(&driver), driver.run_state()), (seen.to_vec(), state));
    }
}

#[test]
fn a_run_that_takes_too_long_fails() {
    let mut spec = chain(&["a", "b"]);
    spec.run_timeout_ms = Some(10_000);
    let mut driver = Driver::started(build(&spec));
    let attempt = driver.start(driver.id("a"));
    assert!(driver.log.contains(&Command::WakeAt(at(10))));
    driver.sleep();
    assert_eq!((states(&driver), driver.run_state()), (vec!["skipped", "skipped"], State::Failed));
    assert!(driver.flying[&attempt], "it was told to end");
    assert!(driver.state.is_busy());
    driver.end(attempt, Outcome::Killed);
    assert!(!driver.state.is_busy());
    assert_eq!(states(&driver), ["skipped", "skipped"]);
}

#[test]
fn a_hundred_thousand_tasks_are_a_modest_run() {
    let width = 99_998;
    let ids: Vec<_> = (0..width).map(|at| format!("w{at}")).collect();
    let nodes = ["r"].into_iter().chain(ids.iter().map(String::as_str)).chain(["j"]).map(node).collect();
    let edges: Vec<_> = ids.iter().flat_map(|id| [("r", id.as_str()), (id.as_str(), "j")]).collect();
    let dag = build(&spec(nodes, &edges));
    let mut state = RunState::new(dag, &identity(), at(0));
    let mut queue = state.apply(&Event::Start, at(0));
    let mut events = 0;
    while let Some(command) = queue.pop() {
        if let Command::Ready(id) = command {
            state.apply(&Event::Started(id), at(0));
            let attempt = state.attempt(id).unwrap();
            queue.extend(state.apply(&Event::Finished { attempt, outcome: SUCCESS, message: None }, at(0)));
            events += 2;
        }
    }
    assert_eq!((events, state.row().state), (200_000, State::Success));
    assert!(state.bytes_per_instance() < 200, "{} bytes", state.bytes_per_instance());
}

#[test]
fn waits_between_tries_are_the_same_on_every_machine() {
    let task = NodeSpec { retries: 3, retry_delay_ms: 60_000, retry_backoff: 2.0, ..node("a") };
    let mut driver = Driver::started(build(&spec(vec![task], &[])));
    let mut waits = Vec::new();
    for _ in 0..3 {
        driver.play("a", FAILED);
        waits.push(driver.state.wake_at().unwrap().since(driver.now));
        driver.sleep();
    }
    assert_eq!(waits, [90, 189, 244].map(Duration::from_secs));
    assert!(matches!(driver.state.dag().node(0).role, Role::Work));
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let refuse = |node: NodeSpec| {
        let entry = EntrySpec::new("noop");
        Dag::from_spec(&spec(vec![node], &[]), &Catalog::new(&[entry])).unwrap_err().to_string()
    };
    let per_dag = refuse(NodeSpec { max_active_tis_per_dag: Some(0), ..node("a") });
    assert!(per_dag.contains("task `a`: max_active_tis_per_dag must be at least 1"), "{per_dag}");
    assert!(refuse(NodeSpec { max_active_tis_per_dagrun: Some(0), ..node("a") }).contains("at least 1"));
}
