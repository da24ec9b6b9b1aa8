//! Histories of any dag, in any order: what holds over all of them.

use super::*;

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
