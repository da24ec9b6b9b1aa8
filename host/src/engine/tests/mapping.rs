//! Mapped tasks and groups.

use super::*;

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
    for task in ["m[0]", "m[1]", "m[2]", "end"] {
        driver.succeed(task);
    }
    assert_eq!(driver.run_state(), State::Success, "what was removed is back");

    let mut empty = Driver::started(dag.clone());
    empty.play("list", list(0));
    assert_eq!(states(&empty), ["success", "skipped", "skipped"]);

    let mut wrong = Driver::started(dag);
    wrong.succeed("list");
    assert_eq!(states(&wrong), ["failed", "upstream_failed", "upstream_failed"]);
    assert!(wrong.messages[&wrong.id("list")].contains("not a list"));
}

/// Airflow: `MappedTaskUpstreamDep` skips no task whose trigger rule has it fail.
#[test]
fn a_list_that_is_skipped_does_not_hide_what_failed() {
    for (rule, outcome, seen) in [
        (TriggerRule::AllSkipped, FAILED, ["failed", "skipped", "upstream_failed"]),
        (TriggerRule::AllSuccess, FAILED, ["failed", "upstream_failed", "upstream_failed"]),
        (TriggerRule::AllSuccess, Outcome::Skipped, ["skipped"; 3]),
    ] {
        let made = NodeSpec { trigger_rule: rule, ..node("list") };
        let mapped = NodeSpec { expand: Some(over_output("list")), ..node("m") };
        let edges = [("a", "list"), ("a", "m")];
        let mut driver = Driver::started(build(&spec(vec![node("a"), made, mapped], &edges)));
        driver.play("a", outcome);
        assert_eq!(states(&driver), seen);
    }
}

/// Airflow: `MappedTaskUpstreamDep` asks for the list's task also of instances that are there already.
#[test]
fn instances_that_are_run_again_ask_how_their_list_stands_now() {
    use TaskState::{Failed, Scheduled, Skipped, Success, UpstreamFailed};
    let mapped = NodeSpec { expand: Some(over_output("list")), trigger_rule: TriggerRule::AllDone, ..node("m") };
    let dag = build(&spec(vec![node("list"), mapped], &[]));
    for (marks, becomes) in [
        (&[Skipped][..], Skipped),
        (&[Failed], UpstreamFailed),
        // A list that a person said succeeded is lost; what was made of it is not.
        (&[Failed, Success], Scheduled),
    ] {
        let mut driver = Driver::started(dag.clone());
        driver.play("list", list(2));
        driver.succeed("m[0]");
        driver.play("m[1]", FAILED);
        for state in marks {
            driver.apply(&Event::Mark { instances: vec![driver.id("list")], state: *state, message: None });
        }
        let instances = vec![driver.id("m[1]")];
        driver.apply(&Event::Clear { instances });
        driver.apply(&Event::Start);
        assert_eq!([driver.state_of("m[0]"), driver.state_of("m[1]")], [Success, becomes], "{marks:?}");
    }
}

#[test]
fn what_was_removed_comes_back_when_the_list_has_it_again() {
    let mapped = NodeSpec { expand: Some(over_output("list")), ..node("m") };
    let mut driver = Driver::started(build(&spec(vec![node("list"), mapped], &[])));
    let again = |driver: &mut Driver, tasks: &[&str]| {
        let instances = tasks.iter().map(|task| driver.id(task)).collect();
        driver.apply(&Event::Clear { instances });
        driver.apply(&Event::Start);
    };
    driver.play("list", list(2));
    driver.succeed("m[0]");
    driver.succeed("m[1]");
    again(&mut driver, &["list"]);
    driver.play("list", list(1));
    assert_eq!((driver.state_of("m[1]"), driver.run_state()), (TaskState::Removed, State::Success));

    again(&mut driver, &["m[1]"]);
    assert_eq!((driver.state_of("m[1]"), driver.run_state()), (TaskState::Removed, State::Success), "as it is beyond");
    again(&mut driver, &["list"]);
    driver.play("list", list(3));
    assert_eq!(driver.state_of("m[0]"), TaskState::Success, "it was not cleared");
    driver.crash();
    driver.succeed("m[1]");
    driver.succeed("m[2]");
    assert_eq!((driver.rows[&driver.id("m[1]")].try_number, driver.run_state()), (2, State::Success));
}

#[test]
fn what_was_removed_of_a_mapped_group_comes_back() {
    let inner = |id: &str| NodeSpec { group: Some("g".to_owned()), ..node(id) };
    let mut spec = spec(vec![node("list"), inner("g.a"), inner("g.b")], &[("g.a", "g.b")]);
    let expand = Some(over_output("list"));
    spec.groups.push(GroupSpec { group_id: "g".to_owned(), parent: None, doc: None, expand });
    let mut driver = Driver::started(build(&spec));
    for (round, length) in [2, 1, 3].into_iter().enumerate() {
        if round > 0 {
            let instances = ["list", "g.a", "g.b"].map(|task| driver.id(task)).to_vec();
            driver.apply(&Event::Clear { instances });
            driver.apply(&Event::Start);
        }
        driver.play("list", list(length));
        for index in 0..length {
            driver.succeed(&format!("g.a[{index}]"));
            driver.succeed(&format!("g.b[{index}]"));
        }
        assert_eq!(driver.run_state(), State::Success, "{length}");
        let removed = driver.rows.values().filter(|row| row.state == TaskState::Removed).count();
        assert_eq!(removed, if length == 1 { 2 } else { 0 });
    }
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
fn an_instance_without_a_result_is_no_element_of_the_list() {
    let maps = |id, expand| NodeSpec { expand: Some(expand), trigger_rule: TriggerRule::AllDone, ..node(id) };
    let dag = build(&spec(vec![maps("m", over_literal(3)), maps("n", over_output("m"))], &[]));
    let mark = |driver: &mut Driver, state: TaskState| {
        let instances = vec![driver.id("m[1]")];
        driver.apply(&Event::Mark { instances, state, message: None });
    };
    let length_after_the_others = |mut driver: Driver| {
        driver.crash();
        driver.succeed("m[0]");
        driver.succeed("m[2]");
        let last = driver.id("n").node;
        driver.rows.keys().filter(|id| id.node == last && id.map_index >= 0).count()
    };
    let nothing = Outcome::Success { list_length: None, has_result: false };
    let cases: [(Outcome, &[TaskState], usize); 10] = [
        (SUCCESS, &[], 3),
        (list(0), &[], 3),
        (nothing, &[], 2),
        (FAILED, &[], 2),
        (Outcome::Skipped, &[], 2),
        (follow(&["n"]), &[], 2),
        (FAILED, &[TaskState::Success], 2),
        (FAILED, &[TaskState::Success, TaskState::Skipped, TaskState::Success], 2),
        (SUCCESS, &[TaskState::Failed], 3),
        (SUCCESS, &[TaskState::Skipped, TaskState::Success], 3),
    ];
    for (outcome, marks, length) in cases {
        let mut driver = Driver::started(dag.clone());
        driver.play("m[1]", outcome.clone());
        for state in marks {
            mark(&mut driver, *state);
        }
        assert_eq!(length_after_the_others(driver), length, "{outcome:?}, {marks:?}");
    }

    // What is run again has a result when it has made one.
    let mut driver = Driver::started(dag.clone());
    driver.play("m[1]", SUCCESS);
    mark(&mut driver, TaskState::Failed);
    let id = driver.id("m[1]");
    driver.apply(&Event::Clear { instances: vec![id] });
    let drops = |command: &Command| matches!(command, Command::Persist(it) if it.instance == id && it.drop_results);
    assert!(driver.log.iter().any(drops));
    driver.play("m[1]", FAILED);
    assert_eq!(length_after_the_others(driver), 2);

    // A success that was stored when only lists were counted has a result.
    for list_length in [None, Some(0), Some(7)] {
        let mut driver = Driver::started(dag.clone());
        driver.play("m[1]", SUCCESS);
        driver.rows.get_mut(&id).unwrap().list_length = list_length;
        assert_eq!(length_after_the_others(driver), 3, "{list_length:?}");
    }
}

#[test]
fn results_are_counted_while_the_list_shrinks_and_grows_and_elements_run_again() {
    let maps = |id, list| NodeSpec { expand: Some(over_output(list)), trigger_rule: TriggerRule::AllDone, ..node(id) };
    let dag = build(&spec(vec![node("list"), maps("m", "list"), maps("n", "m")], &[]));
    let nothing = Outcome::Success { list_length: None, has_result: false };
    let again = |driver: &mut Driver, task: &str| {
        let instances = vec![driver.id(task)];
        driver.apply(&Event::Clear { instances });
        driver.apply(&Event::Start);
        driver.crash();
    };
    let ended_with = |driver: &Driver, length: usize| {
        let last = driver.id("n").node;
        let there = driver.rows.iter().filter(|(id, row)| id.node == last && row.state != TaskState::Removed);
        assert_eq!((there.count(), driver.run_state()), (length, State::Success));
    };
    let mut driver = Driver::started(dag);
    driver.play("list", list(3));
    for task in ["m[0]", "m[1]", "m[2]", "n[0]", "n[1]", "n[2]"] {
        driver.succeed(task);
    }
    ended_with(&driver, 3);

    again(&mut driver, "list");
    driver.play("list", list(1));
    ended_with(&driver, 1);

    // What comes back has no result until it has run.
    again(&mut driver, "list");
    driver.play("list", list(3));
    driver.play("m[1]", nothing.clone());
    driver.crash();
    driver.succeed("m[2]");
    driver.succeed("n[1]");
    ended_with(&driver, 2);

    // Cleared, and once more while it runs.
    again(&mut driver, "m[0]");
    let id = driver.id("m[0]");
    let attempt = driver.start(id);
    driver.apply(&Event::Clear { instances: vec![id] });
    driver.end(attempt, SUCCESS);
    driver.play("m[0]", nothing);
    ended_with(&driver, 1);
}

#[test]
fn a_list_of_no_results_is_empty() {
    let maps = |id, expand| NodeSpec { expand: Some(expand), ..node(id) };
    let dag = build(&spec(vec![maps("m", over_literal(2)), maps("n", over_output("m"))], &[]));
    let mut driver = Driver::started(dag);
    let instances = vec![driver.id("m")];
    driver.apply(&Event::Mark { instances, state: TaskState::Success, message: None });
    assert_eq!((driver.state_of("n"), driver.run_state()), (TaskState::Skipped, State::Success));
}
