//! What a run does.

use std::{collections::BTreeSet, time::Duration};

use proptest::{prelude::*, test_runner::FileFailurePersistence};

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

const SUCCESS: Outcome = Outcome::Success { list_length: None };
const FAILED: Outcome = Outcome::Failed { retry: true };

fn list(length: u32) -> Outcome {
    Outcome::Success { list_length: Some(length) }
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
fn a_fatal_failure_is_not_tried_again() {
    let mut driver = Driver::started(build(&spec(vec![NodeSpec { retries: 3, ..node("a") }], &[])));
    driver.play("a", Outcome::Failed { retry: false });
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
    for restart in 0..=MAX_RESTARTS {
        let row = &driver.rows[&driver.id("a")];
        assert_eq!((row.try_number, row.restarts), (1, restart));
        driver.play("a", Outcome::Lost);
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
fn a_mapped_task_has_an_instance_per_element_of_the_list() {
    let mapped = NodeSpec { expand: Some(over_output("list")), ..node("m") };
    let dag = build(&spec(vec![node("list"), mapped, node("end")], &[("m", "end")]));
    let mut driver = Driver::started(dag.clone());
    assert_eq!(driver.state_of("m"), TaskState::None);
    driver.play("list", list(2));
    assert!(!driver.rows.contains_key(&driver.id("m")), "the placeholder is gone");
    driver.crash();
    driver.succeed("m[1]");
    driver.succeed("m[0]");
    driver.succeed("end");
    assert_eq!(driver.run_state(), State::Success);

    // The list shrinks when it is made again, then grows.
    let all = |driver: &Driver| ["list", "m", "end"].map(|task| driver.id(task)).to_vec();
    driver.apply(&Event::Clear { instances: all(&driver) });
    driver.apply(&Event::Start);
    driver.play("list", list(1));
    assert_eq!(driver.state_of("m[1]"), TaskState::Removed);
    driver.succeed("m[0]");
    driver.succeed("end");
    assert_eq!(driver.run_state(), State::Success);
    driver.apply(&Event::Clear { instances: all(&driver) });
    driver.apply(&Event::Start);
    driver.play("list", list(3));
    driver.succeed("m[0]");
    driver.succeed("m[2]");
    driver.succeed("end");
    assert_eq!((driver.state_of("m[1]"), driver.run_state()), (TaskState::Removed, State::Success));

    let mut empty = Driver::started(dag.clone());
    empty.play("list", list(0));
    assert_eq!(states(&empty), ["success", "skipped", "skipped"]);

    let mut wrong = Driver::started(dag);
    wrong.succeed("list");
    assert_eq!(states(&wrong), ["failed", "upstream_failed", "upstream_failed"]);
    assert!(wrong.messages[&wrong.id("list")].contains("not a list"));
}

#[test]
fn several_lists_multiply_or_go_along() {
    let over = |axes| NodeSpec { expand: Some(ExpandSpec { axes }), ..node("m") };
    let output = |task: &str| ListSpec::Output(task.to_owned());
    let product = over(vec![vec![output("a")], vec![output("b")]]);
    let dag = build(&spec(vec![node("a"), node("b"), product, node("end")], &[("m", "end")]));
    let mut driver = Driver::started(dag.clone());
    driver.play("a", list(2));
    assert_eq!(driver.state_of("m"), TaskState::None, "it waits for the other list");
    driver.crash();
    driver.play("b", list(3));
    for index in 0..6 {
        driver.succeed(&format!("m[{index}]"));
    }
    driver.succeed("end");
    assert_eq!(driver.run_state(), State::Success);

    let mut empty = Driver::started(dag.clone());
    empty.play("b", list(0));
    empty.play("a", list(2));
    assert_eq!(empty.state_of("m"), TaskState::Skipped);
    let mut failed = Driver::started(dag.clone());
    failed.play("a", FAILED);
    failed.play("b", list(2));
    assert_eq!(failed.state_of("m"), TaskState::UpstreamFailed);
    let mut many = Driver::started(dag);
    many.play("a", list(1_000));
    many.play("b", list(1_000));
    assert_eq!(many.state_of("m"), TaskState::Failed);
    assert!(many.messages[&many.id("m")].contains("1000000 instances; at most 100000"));

    let zip = over(vec![vec![output("a"), literal(3)]]);
    let mut driver = Driver::started(build(&spec(vec![node("a"), zip], &[])));
    driver.play("a", list(2));
    driver.succeed("m[0]");
    driver.succeed("m[1]");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn a_mapped_group_goes_depth_first() {
    let inner = |id: &str| NodeSpec { group: Some("g".to_owned()), ..node(id) };
    let mut spec = spec(vec![node("list"), inner("g.a"), inner("g.b"), node("end")], &[("g.a", "g.b"), ("g.b", "end")]);
    let expand = Some(over_output("list"));
    spec.groups.push(GroupSpec { group_id: "g".to_owned(), parent: None, doc: None, expand });
    let mut driver = Driver::started(build(&spec));
    driver.play("list", list(2));
    driver.succeed("g.a[1]");
    assert_eq!(driver.ready, [driver.id("g.a[0]"), driver.id("g.b[1]")]);
    driver.crash();
    driver.succeed("g.b[1]");
    driver.play("g.a[0]", FAILED);
    assert_eq!(driver.state_of("g.b[0]"), TaskState::UpstreamFailed);
    assert_eq!((driver.state_of("end"), driver.run_state()), (TaskState::UpstreamFailed, State::Failed));
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
    let entry = EntrySpec { name: "noop".to_owned(), doc: None, inputs: Vec::new(), output: None };
    let refused = Dag::from_spec(&spec, &Catalog::new(&[entry])).unwrap_err().to_string();
    assert!(refused.contains("task `b`") && refused.contains("fail_fast"), "{refused}");
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
fn what_is_cleared_while_it_runs_is_ended_and_run_again() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    let attempt = driver.start(driver.id("a"));
    let instances = vec![driver.id("a")];
    driver.apply(&Event::Clear { instances });
    assert_eq!((driver.state_of("a"), driver.flying[&attempt]), (TaskState::Restarting, true));
    // It may have succeeded before it was reached: it was to be run again all the same.
    driver.end(attempt, SUCCESS);
    let row = &driver.rows[&driver.id("a")];
    assert_eq!((row.state, row.try_number, row.max_tries), (TaskState::Scheduled, 2, 1));
    assert_eq!((driver.run.clear_number, driver.run_state()), (1, State::Running));
    driver.succeed("a");
    driver.succeed("b");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn a_finished_run_that_is_cleared_waits_for_its_turn() {
    let task = NodeSpec { retries: 1, ..node("a") };
    let mut driver = Driver::started(build(&spec(vec![task, node("b")], &[("a", "b")])));
    driver.play("a", FAILED);
    driver.sleep();
    driver.play("a", FAILED);
    assert_eq!((states(&driver), driver.run_state()), (vec!["failed", "upstream_failed"], State::Failed));
    let instances = vec![driver.id("a"), driver.id("b")];
    driver.apply(&Event::Clear { instances });
    assert_eq!((driver.run_state(), driver.run.start_date, driver.ready.len()), (State::Queued, None, 0));
    driver.apply(&Event::Start);
    driver.play("a", FAILED);
    assert_eq!(driver.state_of("a"), TaskState::UpForRetry, "its retries are back");
    driver.sleep();
    driver.succeed("a");
    driver.succeed("b");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn what_was_to_start_waits_again_when_its_upstream_is_cleared() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.succeed("a");
    assert_eq!(driver.state_of("b"), TaskState::Scheduled);
    let instances = vec![driver.id("a")];
    driver.apply(&Event::Clear { instances });
    assert_eq!((states(&driver), driver.ready.len()), (vec!["scheduled", "none"], 1));
    assert_eq!(driver.rows[&driver.id("b")].try_number, 0);
}

#[test]
fn what_was_to_start_does_not_when_its_upstream_is_marked_failed() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.succeed("a");
    driver.apply(&Event::Mark { instances: vec![driver.id("a")], state: TaskState::Failed, message: None });
    assert_eq!((states(&driver), driver.run_state()), (vec!["failed", "upstream_failed"], State::Failed));
    assert_eq!(driver.ready, []);
}

#[test]
fn a_failure_that_is_marked_success_lets_the_rest_go_on() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.play("a", FAILED);
    assert_eq!(driver.run_state(), State::Failed);
    let event = Event::Mark { instances: vec![driver.id("a")], state: TaskState::Success, message: None };
    driver.apply(&event);
    assert_eq!((states(&driver), driver.run_state()), (vec!["success", "none"], State::Queued));
    driver.apply(&Event::Start);
    driver.succeed("b");
    assert_eq!(driver.run_state(), State::Success);
    let event = Event::Mark { instances: vec![driver.id("b")], state: TaskState::Failed, message: None };
    driver.apply(&event);
    assert_eq!(driver.run_state(), State::Failed, "the run ends as its leaves do");
}

#[test]
fn an_attempt_whose_task_was_marked_ends_before_the_next_begins() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    let attempt = driver.start(driver.id("a"));
    let id = driver.id("a");
    driver.apply(&Event::Mark { instances: vec![id], state: TaskState::Failed, message: Some("by hand".into()) });
    assert_eq!((states(&driver), driver.run_state()), (vec!["failed", "upstream_failed"], State::Failed));
    let instances = vec![id, driver.id("b")];
    driver.apply(&Event::Clear { instances });
    driver.apply(&Event::Start);
    assert_eq!((driver.state_of("a"), driver.ready.len()), (TaskState::Scheduled, 0));
    driver.end(attempt, SUCCESS);
    assert_eq!(driver.ready, [id]);
    driver.succeed("a");
    driver.succeed("b");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn a_run_that_is_marked_failed_still_tears_down() {
    let down = RoleSpec::Teardown { setups: vec!["s".to_owned()], on_failure_fail_dagrun: false };
    let nodes = vec![
        NodeSpec { role: RoleSpec::Setup, ..node("s") },
        node("w"),
        node("x"),
        NodeSpec { role: down, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") },
    ];
    let mut driver = Driver::started(build(&spec(nodes, &[("s", "w"), ("w", "x"), ("x", "t")])));
    driver.succeed("s");
    let attempt = driver.start(driver.id("w"));
    driver.apply(&Event::MarkRun(Verdict::Failed));
    assert_eq!([driver.state_of("w"), driver.state_of("x")], [TaskState::Failed, TaskState::Skipped]);
    assert_eq!(driver.run_state(), State::Running);
    driver.end(attempt, Outcome::Killed);
    driver.succeed("t");
    assert_eq!(driver.run_state(), State::Failed);
}

#[test]
fn a_queued_run_can_be_ended_before_it_began() {
    let mut driver = Driver::new(build(&chain(&["a", "b"])));
    driver.apply(&Event::MarkRun(Verdict::Failed));
    assert_eq!((states(&driver), driver.run_state()), (vec!["skipped", "skipped"], State::Failed));
    driver.apply(&Event::Start);
    assert_eq!(driver.run_state(), State::Failed);
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

// ---- properties ---------------------------------------------------------------------------------

const RULES: [TriggerRule; 12] = [
    TriggerRule::AllSuccess,
    TriggerRule::AllFailed,
    TriggerRule::AllDone,
    TriggerRule::AllDoneMinOneSuccess,
    TriggerRule::AllSkipped,
    TriggerRule::OneSuccess,
    TriggerRule::OneFailed,
    TriggerRule::OneDone,
    TriggerRule::NoneFailed,
    TriggerRule::NoneFailedMinOneSuccess,
    TriggerRule::NoneSkipped,
    TriggerRule::AllDoneSetupSuccess,
];

/// What each task does, each time it is run.
#[derive(Debug, Clone)]
struct Plan {
    spec: DagSpec,
    /// By task: what it does at its first and at later tries.
    acts: Vec<[u8; 2]>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let task = (
        prop_oneof![3 => Just(0_usize), 2 => 0..RULES.len()],
        0..3_u32,
        0..6_u8,
        proptest::collection::vec(any::<bool>(), 8),
        [0..10_u8, 0..4_u8],
    );
    proptest::collection::vec(task, 1..8).prop_map(|tasks| {
        let mut nodes = Vec::new();
        let mut edges = Vec::new();
        for (at, (rule, retries, sort, upstream, _)) in tasks.iter().enumerate() {
            let id = format!("t{at}");
            for (from, _) in upstream.iter().take(at).enumerate().filter(|(_, is)| **is) {
                edges.push((format!("t{from}"), id.clone()));
            }
            let mut task = NodeSpec { retries: *retries, trigger_rule: RULES[*rule], ..node(&id) };
            match sort {
                1 => task.expand = Some(over_literal(2)),
                2 if at > 0 => task.expand = Some(over_output(&format!("t{}", at - 1))),
                3 => task.role = RoleSpec::Setup,
                4 | 5 => task.group = Some("g".to_owned()),
                _ => {}
            }
            nodes.push(task);
        }
        let mut spec = spec(nodes, &[]);
        spec.edges = edges;
        spec.groups.push(GroupSpec {
            group_id: "g".to_owned(),
            parent: None,
            doc: None,
            expand: Some(over_literal(2)),
        });
        // A teardown of the first setup, behind everything.
        let setup = spec.nodes.iter().find(|node| node.role == RoleSpec::Setup).map(|node| node.task_id.clone());
        if let Some(setup) = setup {
            let last = spec.nodes.last().unwrap().task_id.clone();
            let role = RoleSpec::Teardown { setups: vec![setup], on_failure_fail_dagrun: false };
            spec.nodes.push(NodeSpec { role, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("down") });
            spec.edges.push((last, "down".to_owned()));
        }
        Plan { spec, acts: tasks.iter().map(|task| task.4).collect() }
    })
}

impl Plan {
    fn outcome(&self, driver: &Driver, attempt: Attempt) -> Outcome {
        let dag = driver.state.dag();
        let task = dag.node(attempt.instance.node);
        let place = task.task_id.as_str().strip_prefix('t').and_then(|at| at.parse::<usize>().ok());
        let acts = place.map_or([0, 0], |at| self.acts[at]);
        match acts[usize::from(attempt.try_number > 1)] {
            0 => FAILED,
            1 => Outcome::Skipped,
            2 => {
                Outcome::Branch(task.downstream.iter().take(1).map(|child| dag.node(*child).task_id.clone()).collect())
            }
            3 => Outcome::ShortCircuit { ignore_downstream_trigger_rules: attempt.instance.node.is_multiple_of(2) },
            // An instance that slept wakes to succeed, or it would sleep for ever.
            4 if driver.now < at(100) => Outcome::Later(at(100)),
            act => list(u32::from(act % 3)),
        }
    }

    /// One step: the `choice`-th of what is ready or flies is started or ended; if there is none, time passes.
    fn step(&self, driver: &mut Driver, choice: usize) {
        driver.ready.sort();
        let started = driver.flying.keys().copied().map(Ok);
        let open: Vec<_> = started.chain(driver.ready.iter().map(|id| Err(*id))).collect();
        match open.get(choice % open.len().max(1)) {
            Some(Err(id)) => {
                assert_holds(driver, *id);
                driver.start(*id);
            }
            Some(Ok(attempt)) => {
                let outcome = self.outcome(driver, *attempt);
                driver.end(*attempt, outcome);
            }
            None => driver.sleep(),
        }
    }
}

/// Asserts that a first start of `id` is what its trigger rule allows.
fn assert_holds(driver: &Driver, id: InstanceId) {
    if driver.rows[&id].try_number == 1 && driver.rows[&id].start_date.is_none() {
        assert_eq!(driver_after_restart(driver).decision(id), Some(Decision::Run), "{id:?}");
    }
}

/// Plays a run to its end in the order of `choices`.
fn play(plan: &Plan, choices: &[usize], mut disturb: impl FnMut(usize, &mut Driver)) -> Driver {
    let mut driver = Driver::started(build(&plan.spec));
    for step in 0..400 {
        if driver.run_state().is_finished() && driver.flying.is_empty() {
            return driver;
        }
        disturb(step, &mut driver);
        if driver.run_state() == State::Queued {
            driver.apply(&Event::Start);
        } else if !driver.run_state().is_finished() || !driver.flying.is_empty() {
            plan.step(&mut driver, choices[step % choices.len()]);
        }
    }
    panic!("the run does not end: {:?}", driver.rows);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_run_ends_and_no_task_starts_before_its_rule_holds(
        plan in plan(),
        choices in proptest::collection::vec(0..6_usize, 1..20),
    ) {
        let driver = play(&plan, &choices, |_, _| {});
        prop_assert!(driver.rows.values().all(|row| row.state.is_finished()));
        prop_assert!(driver.run_message.is_none(), "no run is stuck: {:?}", driver.run_message);
    }

    #[test]
    fn replaying_the_same_events_gives_the_same_commands(
        plan in plan(),
        choices in proptest::collection::vec(0..6_usize, 1..20),
    ) {
        prop_assert_eq!(play(&plan, &choices, |_, _| {}).log, play(&plan, &choices, |_, _| {}).log);
    }

    #[test]
    fn a_crash_at_any_point_changes_nothing_but_restarts(
        plan in plan(),
        crash in 0..30_usize,
    ) {
        // One attempt at a time, in the order of ids: a crash does not change the order in which they end.
        let choices = [0];
        let whole = play(&plan, &choices, |_, _| {});
        let broken = play(&plan, &choices, |step, driver| {
            if step == crash && driver.run_state() == State::Running {
                driver.crash();
            }
        });
        let of = |driver: &Driver| {
            let states = driver.rows.iter().map(|(id, row)| (*id, row.state, row.try_number, row.followed.clone()));
            (driver.run_state(), states.collect::<Vec<_>>())
        };
        prop_assert_eq!(of(&whole), of(&broken));
    }

    #[test]
    fn nothing_a_person_does_breaks_a_run(
        plan in plan(),
        choices in proptest::collection::vec(0..6_usize, 1..20),
        acts in proptest::collection::vec((0..40_usize, 0..7_u8, 0..9_usize), 0..6),
    ) {
        let driver = play(&plan, &choices, |step, driver| {
            for (_, act, at) in acts.iter().filter(|(when, _, _)| *when == step) {
                let ids: Vec<_> = driver.state.instances().collect();
                let id = ids[at % ids.len()];
                let event = match act {
                    0 => Event::Clear { instances: vec![id] },
                    1 => Event::Clear {
                        instances: driver.state.dag().descendants([id.node]).into_iter().map(InstanceId::plain).collect(),
                    },
                    2 => Event::Mark { instances: vec![id], state: TaskState::Success, message: None },
                    3 => Event::Mark { instances: vec![id], state: TaskState::Failed, message: None },
                    4 => Event::MarkRun(Verdict::Failed),
                    5 => Event::MarkRun(Verdict::Success),
                    _ => Event::Timer,
                };
                driver.apply(&event);
                // What is told is what a fresh reader of the rows would hold.
                let restored = driver_after_restart(driver);
                for id in restored.instances() {
                    assert_eq!(restored.instance(id), driver.state.instance(id));
                    assert_eq!(restored.decision(id), driver.state.decision(id), "{id:?}");
                }
            }
        });
        prop_assert!(driver.run_state().is_finished());
    }
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
fn a_teardown_waits_for_work_in_its_scope_that_is_run_again() {
    let down = RoleSpec::Teardown { setups: vec!["s".to_owned()], on_failure_fail_dagrun: false };
    let nodes = vec![
        NodeSpec { role: RoleSpec::Setup, ..node("s") },
        node("w"),
        NodeSpec { trigger_rule: TriggerRule::OneDone, ..node("x") },
        NodeSpec { role: down, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") },
    ];
    let mut driver = Driver::started(build(&spec(nodes, &[("s", "w"), ("s", "x"), ("w", "x"), ("x", "t")])));
    assert_eq!(driver.state.dag().watchers.len(), 1);
    driver.succeed("s");
    driver.succeed("x");
    assert_eq!(driver.state_of("t"), TaskState::None);
    driver.succeed("w");
    assert_eq!(driver.state_of("t"), TaskState::Scheduled);
    let instances = vec![driver.id("w")];
    driver.apply(&Event::Clear { instances });
    assert_eq!(driver.state_of("t"), TaskState::None);
    driver.succeed("w");
    driver.succeed("t");
    assert_eq!(driver.run_state(), State::Success);
}

#[test]
fn the_scope_of_tasks_is_the_setups_that_they_lie_behind() {
    let down = RoleSpec::Teardown { setups: vec!["s".to_owned()], on_failure_fail_dagrun: false };
    let dag = build(&spec(
        vec![
            NodeSpec { role: RoleSpec::Setup, ..node("s") },
            node("in"),
            NodeSpec { role: down, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") },
            node("out"),
            NodeSpec { role: RoleSpec::Setup, ..node("open_ended") },
            node("later"),
        ],
        &[("s", "in"), ("in", "t"), ("s", "t"), ("s", "out"), ("open_ended", "later")],
    ));
    let index = |name: &str| dag.index(&TaskId::new(name).unwrap()).unwrap();
    let scope = |names: &[&str]| {
        let scope = dag.scope_of(&names.iter().map(|name| index(name)).collect());
        scope.into_iter().map(|node| dag.node(node).task_id.to_string()).collect::<BTreeSet<_>>()
    };
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(scope(&["in"]), set(&["s", "t"]));
    assert_eq!(scope(&["out"]), set(&[]));
    assert_eq!(scope(&["later"]), set(&["open_ended"]));
    assert_eq!(scope(&["out", "later", "in"]), set(&["s", "t", "open_ended"]));
}

/// Clearing all of a run was once as slow as the square of its tasks, in the scheduler's loop.
#[test]
fn the_scope_of_all_tasks_of_a_large_dag_is_found_at_once() {
    let dag = build(&spec((0..100_000).map(|nth| node(&format!("t{nth}"))).collect(), &[]));
    let start = std::time::Instant::now();
    assert!(dag.scope_of(&(0..100_000).collect()).is_empty());
    assert!(dag.descendants(0..100_000).is_empty());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_task_waits_for_the_run_before() {
    let dag = build(&spec(vec![node("a"), NodeSpec { depends_on_past: true, ..node("b") }], &[("a", "b")]));
    let held = BTreeSet::from([dag.index(&TaskId::new("b").unwrap()).unwrap()]);
    let mut driver = Driver::new(dag.clone());
    driver.apply(&Event::Past(held.clone()));
    driver.apply(&Event::Start);
    driver.succeed("a");
    assert_eq!((states(&driver), driver.run_state()), (vec!["success", "none"], State::Running), "it is not stuck");
    driver.crash();
    assert_eq!(driver.state_of("b"), TaskState::Scheduled, "whoever restores it says again what it waits for");

    let mut driver = Driver::new(dag.clone());
    driver.apply(&Event::Start);
    driver.apply(&Event::Past(held.clone()));
    driver.succeed("a");
    assert_eq!(driver.state_of("b"), TaskState::None);
    driver.apply(&Event::Past(BTreeSet::new()));
    driver.succeed("b");
    assert_eq!(driver.run_state(), State::Success);

    let mut driver = Driver::new(dag);
    driver.apply(&Event::Past(held));
    driver.apply(&Event::Start);
    driver.play("a", FAILED);
    assert_eq!((states(&driver), driver.run_state()), (vec!["failed", "upstream_failed"], State::Failed));
}

#[test]
fn the_past_is_the_task_and_what_follows_it() {
    let nodes = vec![
        node("a"),
        NodeSpec { wait_for_downstream: true, ..node("b") },
        NodeSpec { depends_on_past: true, expand: Some(over_literal(2)), ..node("c") },
    ];
    let dag = build(&spec(nodes, &[("a", "b"), ("b", "c")]));
    assert!(dag.looks_back());
    let held_by = |not_past: &str| -> Vec<_> {
        let held = dag.held(|task| task.as_str() != not_past);
        held.into_iter().map(|node| dag.node(node).task_id.to_string()).collect()
    };
    assert_eq!(
        (held_by("a"), held_by("b"), held_by("c")),
        (vec![], vec!["b".to_owned()], vec!["b".into(), "c".into()])
    );

    let mut driver = Driver::started(dag);
    let is_past = |driver: &Driver, task: &str| driver.state.is_past(&TaskId::new(task).unwrap());
    assert!(!is_past(&driver, "a") && is_past(&driver, "no_such_task"));
    driver.succeed("a");
    driver.play("b", Outcome::Skipped);
    assert!(is_past(&driver, "a") && is_past(&driver, "b"), "skipped is done as well");
    assert!(is_past(&driver, "c"), "it was skipped too");
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let refuse = |node: NodeSpec| {
        let entry = EntrySpec { name: "noop".to_owned(), doc: None, inputs: Vec::new(), output: None };
        Dag::from_spec(&spec(vec![node], &[]), &Catalog::new(&[entry])).unwrap_err().to_string()
    };
    let per_dag = refuse(NodeSpec { max_active_tis_per_dag: Some(0), ..node("a") });
    assert!(per_dag.contains("task `a`: max_active_tis_per_dag must be at least 1"), "{per_dag}");
    assert!(refuse(NodeSpec { max_active_tis_per_dagrun: Some(0), ..node("a") }).contains("at least 1"));
}
