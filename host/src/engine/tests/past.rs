//! Runs that wait for the one before.

use super::*;

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
