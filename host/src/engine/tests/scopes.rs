//! Setups, teardowns and the work between them.

use super::*;

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
    assert_eq!(scope(&["s", "open_ended"]), set(&["t"]), "what is made again is torn down again");
    assert_eq!(scope(&["t"]), set(&[]));
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
