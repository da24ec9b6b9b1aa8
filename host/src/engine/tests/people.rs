//! What people do to runs: clear, mark.

use super::*;

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
