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
fn a_run_that_is_set_to_queued_is_decided_again() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.succeed("a");
    driver.succeed("b");
    driver.apply(&Event::MarkRun(Verdict::Failed));
    assert_eq!((states(&driver), driver.run_state()), (vec!["success", "success"], State::Failed));
    driver.apply(&Event::Requeue);
    assert_eq!((driver.run_state(), driver.run.end_date, driver.run.clear_number), (State::Queued, None, 1));
    driver.apply(&Event::Start);
    assert_eq!((states(&driver), driver.run_state()), (vec!["success", "success"], State::Success));

    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.play("a", FAILED);
    driver.apply(&Event::Requeue);
    assert_eq!((states(&driver), driver.run_state()), (vec!["none", "none"], State::Queued));
}

#[test]
fn what_had_ended_keeps_when_it_did_when_it_is_marked() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.play("a", FAILED);
    let ended = driver.rows[&driver.id("a")].end_date;
    assert!(ended.is_some());
    driver.now = driver.now.after(Duration::from_mins(1));
    driver.apply(&Event::Mark { instances: vec![driver.id("a")], state: TaskState::Success, message: None });
    assert_eq!(driver.rows[&driver.id("a")].end_date, ended);
    driver.apply(&Event::MarkRun(Verdict::Success));
    assert_eq!(driver.rows[&driver.id("b")].end_date, Some(driver.now), "it had not");
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
    assert_eq!(driver.run_state(), State::Success, "nothing was cleared: the run is over");
}

/// Airflow: `set_task_instance_state` clears what failed of the partial dag, which has the setups and teardowns.
#[test]
fn a_mark_also_clears_setups_and_teardowns_that_failed_around_what_goes_on() {
    let down = RoleSpec::Teardown { setups: vec!["s".to_owned()], on_failure_fail_dagrun: false };
    let nodes = vec![
        NodeSpec { role: RoleSpec::Setup, ..node("s") },
        node("a"),
        node("b"),
        NodeSpec { role: down, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..node("t") },
        node("beside"),
    ];
    let edges = [("s", "b"), ("a", "b"), ("b", "t"), ("s", "beside")];
    let mut driver = Driver::started(build(&spec(nodes, &edges)));
    driver.play("s", FAILED);
    driver.play("a", FAILED);
    assert_eq!(states(&driver), ["failed", "failed", "upstream_failed", "upstream_failed", "upstream_failed"]);
    driver.apply(&Event::Mark { instances: vec![driver.id("a")], state: TaskState::Success, message: None });
    assert_eq!(states(&driver), ["none", "success", "none", "none", "upstream_failed"]);
}

#[test]
fn a_mark_that_clears_nothing_leaves_the_run_as_it_ended() {
    let mut spec = chain(&["a", "b"]);
    spec.run_timeout_ms = Some(10_000);
    let mut driver = Driver::started(build(&spec));
    let attempt = driver.start(driver.id("a"));
    driver.sleep();
    driver.end(attempt, Outcome::Killed);
    let message = driver.run_message.clone();
    assert!(message.as_ref().is_some_and(|message| message.contains("its limit of 10 s")), "{message:?}");
    let instances = vec![driver.id("a"), driver.id("b")];
    driver.apply(&Event::Mark { instances, state: TaskState::Success, message: None });
    assert_eq!((states(&driver), driver.run_state()), (vec!["success", "success"], State::Failed));
    assert_eq!(driver.run_message, message);
}

#[test]
fn what_waits_to_be_started_again_waits_for_its_upstream_too() {
    let again = NodeSpec { retries: 1, retry_delay_ms: 30_000, ..node("b") };
    let dag = build(&spec(vec![node("a"), again], &[("a", "b")]));
    for end in [FAILED, Outcome::Later(at(30))] {
        let waiting = || {
            let mut driver = Driver::started(dag.clone());
            driver.succeed("a");
            driver.play("b", end.clone());
            driver
        };
        let mut driver = waiting();
        let instances = vec![driver.id("a")];
        driver.apply(&Event::Clear { instances });
        driver.sleep();
        assert_eq!(states(&driver), ["scheduled", "none"], "{end:?}");
        driver.succeed("a");
        assert_eq!(driver.rows[&driver.id("b")].try_number, 2);
        driver.succeed("b");
        assert_eq!(driver.run_state(), State::Success);

        let mut driver = waiting();
        let instances = vec![driver.id("a")];
        driver.apply(&Event::Mark { instances, state: TaskState::Failed, message: None });
        driver.sleep();
        assert_eq!((states(&driver), driver.run_state()), (vec!["failed", "upstream_failed"], State::Failed));
    }
}

#[test]
fn what_is_to_be_started_again_at_once_waits_for_its_upstream_too() {
    let dag = build(&chain(&["a", "b"]));
    for end in [Outcome::Lost, Outcome::Later(at(30))] {
        let ready = || {
            let mut driver = Driver::started(dag.clone());
            driver.succeed("a");
            driver.play("b", end.clone());
            if driver.state_of("b") == TaskState::UpForReschedule {
                driver.sleep();
            }
            assert_eq!((driver.state_of("b"), driver.ready.clone()), (TaskState::Scheduled, vec![driver.id("b")]));
            driver
        };
        let mut driver = ready();
        let instances = vec![driver.id("a")];
        driver.apply(&Event::Clear { instances });
        assert_eq!((states(&driver), driver.ready.clone()), (vec!["scheduled", "none"], vec![driver.id("a")]));
        driver.crash();
        driver.succeed("a");
        let row = &driver.rows[&driver.id("b")];
        assert_eq!((row.state, row.try_number, row.max_tries), (TaskState::Scheduled, 2, 1), "{end:?}");
        driver.succeed("b");
        assert_eq!(driver.run_state(), State::Success);

        let mut driver = ready();
        let instances = vec![driver.id("a")];
        driver.apply(&Event::Mark { instances, state: TaskState::Failed, message: None });
        assert_eq!((states(&driver), driver.run_state()), (vec!["failed", "upstream_failed"], State::Failed));
        assert_eq!(driver.ready, []);
    }
}

#[test]
fn what_runs_is_left_alone_when_its_upstream_is_cleared() {
    let mut driver = Driver::started(build(&chain(&["a", "b"])));
    driver.succeed("a");
    let id = driver.id("b");
    driver.apply(&Event::Queued(id));
    let instances = vec![driver.id("a")];
    driver.apply(&Event::Clear { instances });
    assert_eq!(states(&driver), ["scheduled", "queued"]);
    let attempt = driver.start(id);
    driver.end(attempt, SUCCESS);
    driver.succeed("a");
    assert_eq!(driver.run_state(), State::Success);
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
    let mut cleared = driver.clone();
    let instances = vec![driver.id("t")];
    driver.apply(&Event::Clear { instances });
    driver.succeed("t");
    assert_eq!(driver.run_state(), State::Failed);

    // What is cleared meanwhile decides how it ends.
    let instances = ["s", "w", "x", "t"].map(|task| cleared.id(task)).to_vec();
    cleared.apply(&Event::Clear { instances });
    assert_eq!((cleared.run_state(), cleared.run.verdict), (State::Running, None));
    for task in ["s", "w", "x", "t"] {
        cleared.succeed(task);
    }
    assert_eq!(cleared.run_state(), State::Success);
}

#[test]
fn a_run_that_is_marked_keeps_what_is_finished_and_skips_what_did_not_run() {
    let again = NodeSpec { retries: 1, retry_delay_ms: 30_000, ..node("again") };
    let nodes = ["done", "bad", "after_bad", "runs", "after", "ready", "sleeps"].map(node);
    let nodes = nodes.into_iter().chain([again]).collect();
    let dag = build(&spec(nodes, &[("bad", "after_bad"), ("runs", "after")]));
    for (verdict, of_running) in [(Verdict::Success, TaskState::Success), (Verdict::Failed, TaskState::Failed)] {
        let mut driver = Driver::started(dag.clone());
        driver.succeed("done");
        driver.play("bad", FAILED);
        driver.play("sleeps", Outcome::Later(at(60)));
        driver.play("again", FAILED);
        let attempt = driver.start(driver.id("runs"));
        driver.apply(&Event::MarkRun(verdict));
        for (task, state) in [
            ("done", TaskState::Success),
            ("bad", TaskState::Failed),
            ("after_bad", TaskState::UpstreamFailed),
            ("runs", of_running),
            ("after", TaskState::Skipped),
            ("ready", TaskState::Skipped),
            ("sleeps", of_running),
            ("again", TaskState::Skipped),
        ] {
            assert_eq!(driver.state_of(task), state, "{task}, {verdict:?}");
        }
        assert_eq!((driver.run_state(), driver.ready.len()), (State::from(verdict), 0));
        driver.end(attempt, Outcome::Killed);
        assert!(!driver.state.is_busy());
    }
}

#[test]
fn a_queued_run_can_be_ended_before_it_began() {
    let mut driver = Driver::new(build(&chain(&["a", "b"])));
    driver.apply(&Event::MarkRun(Verdict::Failed));
    assert_eq!((states(&driver), driver.run_state()), (vec!["skipped", "skipped"], State::Failed));
    driver.apply(&Event::Start);
    assert_eq!(driver.run_state(), State::Failed);
}
