//! The checker bites: histories that are wrong, each in its own way.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::chaos::evidence::{Chunk, Dag, Found, Lease, Live, Output, Sample, Sent, Task};

fn sent(what: Asked, outcome: Outcome) -> Sent {
    Sent { what, outcome }
}

fn asked(run_id: &str) -> Asked {
    Asked::Run { dag_id: "d".into(), run_id: run_id.into() }
}

fn run(key: i64, run_id: &str) -> Run {
    Run {
        key,
        dag_id: "d".into(),
        run_id: run_id.into(),
        run_type: "manual".into(),
        state: "success".into(),
        logical_date: None,
        start_date: Some(100),
        end_date: Some(400),
    }
}

fn tick(key: i64, date: i64) -> Run {
    let (dag_id, run_type) = ("ticks".to_owned(), "scheduled".to_owned());
    Run { dag_id, run_type, logical_date: Some(date), ..run(key, &format!("tick-{date}-{key}")) }
}

fn instance(task_id: &str, start: i64, end: i64) -> Instance {
    Instance {
        dag_run: 1,
        task_id: task_id.into(),
        map_index: -1,
        state: "success".into(),
        try_number: 1,
        max_tries: 2,
        restarts: 0,
        start_date: Some(start),
        end_date: Some(end),
    }
}

fn output(name: &str) -> Output {
    Output {
        dag_run: 1,
        task_id: "a".into(),
        map_index: -1,
        name: name.into(),
        try_number: None,
        size_bytes: 3,
        committed_at: Some(200),
        blob: Some(format!("xcoms/{name}")),
        sha256: None,
        found: Some(Found { size_bytes: 3, sha256: "aa".into() }),
    }
}

fn chunk(seq: i64) -> Chunk {
    Chunk {
        dag_run: 1,
        task_id: "a".into(),
        map_index: -1,
        try_number: 1,
        seq,
        offset_bytes: 10,
        length_bytes: 10,
        blob: "logs/1".into(),
        object_bytes: Some(20),
    }
}

fn live(try_number: i64, restarts: i64) -> Live {
    Live { dag_run: 1, task_id: "b".into(), map_index: -1, try_number, restarts }
}

fn sample(epoch: i64, unfinished: &[i64]) -> Sample {
    Sample {
        leases: vec![Lease { holder: format!("process {epoch}"), epoch }],
        pools: vec![("narrow".into(), 3)],
        tasks: vec![(1, "d".into(), 2)],
        active_runs: vec![("d".into(), 1)],
        unfinished: unfinished.to_vec(),
        live: Vec::new(),
    }
}

/// A history in which everything is right: a run of two tasks, the second of which needed two tries, and three ticks.
fn right() -> Evidence {
    let task = |downstream: &[&str]| Task {
        trigger_rule: "all_success".into(),
        downstream: downstream.iter().map(|id| (*id).to_owned()).collect(),
    };
    let dag = |tasks: &[(&str, Task)]| Dag {
        max_active_runs: 1,
        max_active_tasks: 2,
        tasks: tasks.iter().map(|(id, task)| ((*id).to_owned(), task.clone())).collect(),
        ..Dag::default()
    };
    let ticks = Dag { period_us: Some(10), paused_at: Some(125), ..dag(&[]) };
    let variable = |found: Option<&str>| Asked::Variable {
        key: "v".into(),
        value: "1".into(),
        found: found.map(ToOwned::to_owned),
    };
    let artifact = Output { try_number: Some(1), committed_at: None, sha256: Some("aa".into()), ..output("artifact") };
    Evidence {
        sent: vec![
            sent(asked("one"), Outcome::Acknowledged),
            sent(asked("never arrived"), Outcome::Unknown),
            sent(variable(Some("1")), Outcome::Acknowledged),
            sent(variable(None), Outcome::Unknown),
        ],
        dags: BTreeMap::from([("d".into(), dag(&[("a", task(&["b"])), ("b", task(&[]))])), ("ticks".into(), ticks)]),
        runs: vec![
            run(1, "one"),
            tick(2, 100),
            tick(3, 110),
            tick(4, 120),
            Run { dag_id: "started".into(), ..run(5, "started") },
        ],
        instances: vec![instance("a", 110, 200), Instance { try_number: 2, ..instance("b", 300, 400) }],
        tries: vec![Instance { state: "up_for_retry".into(), ..instance("b", 200, 250) }],
        outputs: vec![output("value"), artifact],
        chunks: vec![chunk(0), chunk(1)],
        starts: vec![("d".into(), "started".into())],
        pools: BTreeMap::from([("narrow".into(), Some(3)), ("default_pool".into(), None)]),
        parallelism: 4,
        left_over: Vec::new(),
        samples: vec![
            sample(1, &[1]),
            Sample { live: vec![live(1, 0)], ..sample(1, &[1]) },
            Sample { live: vec![live(1, 1)], ..sample(2, &[1, 2]) },
            Sample { live: vec![live(2, 0)], ..sample(2, &[2]) },
        ],
        at_rest_after: Some(Duration::from_secs(1)),
        rest_limit: Duration::from_secs(2),
    }
}

fn broken_by(evidence: &Evidence) -> Vec<&'static str> {
    PROMISES.iter().filter(|promise| !(promise.broken)(evidence).is_empty()).map(|promise| promise.name).collect()
}

#[test]
fn a_history_that_is_right_breaks_nothing() {
    let right = right();
    for promise in PROMISES {
        assert_eq!((promise.broken)(&right), Vec::<String>::new(), "{}", promise.name);
    }
}

/// What is planted, and the number of the promise that it breaks.
type Planted = (&'static str, u32, fn(&mut Evidence));

const PLANTED: &[Planted] = &[
    ("an acknowledged run is not there", 1, |it| it.sent.push(sent(asked("two"), Outcome::Acknowledged))),
    ("a refused run is there", 1, |it| it.sent.push(sent(asked("one"), Outcome::Refused(409)))),
    ("a run was refused for nothing", 1, |it| it.sent.push(sent(asked("two"), Outcome::Refused(409)))),
    ("a run failed", 1, |it| it.runs[0].state = "failed".into()),
    ("a tick was left out", 1, |it| drop(it.runs.remove(2))),
    ("the last ticks were left out", 1, |it| it.dags.get_mut("ticks").unwrap().paused_at = Some(200)),
    ("no tick was taken", 1, |it| it.runs.truncate(1)),
    ("a task succeeded twice", 2, |it| it.tries[0].state = "success".into()),
    ("two lead", 3, |it| it.samples[1].leases.push(Lease { holder: "other".into(), epoch: 1 })),
    ("an epoch is of two", 3, |it| it.samples[1].leases[0].holder = "other".into()),
    ("an epoch comes back", 3, |it| it.samples.push(sample(1, &[]))),
    ("a task has more tries than it may have", 4, |it| it.instances[1].max_tries = 0),
    ("a task succeeded without a start", 4, |it| it.instances[0].start_date = None),
    ("a task ended without an end", 4, |it| it.instances[1].end_date = None),
    ("a try is missing", 4, |it| it.tries.clear()),
    ("a try is there twice", 4, |it| it.tries.push(Instance { state: "running".into(), ..instance("a", 110, 200) })),
    ("tries of nobody", 4, |it| it.tries.push(Instance { dag_run: 2, ..it.tries[0].clone() })),
    ("a run goes on after its end", 4, |it| it.samples.push(sample(2, &[1, 2]))),
    ("a try comes back", 4, |it| it.samples[3].live = vec![live(1, 0)]),
    ("a restart comes back", 4, |it| it.samples[2].live = vec![live(1, 0), live(1, 1), live(1, 0)]),
    ("a run ended before it began", 4, |it| it.runs[0].end_date = Some(1)),
    ("a finished run without an end", 4, |it| it.runs[0].end_date = None),
    ("a task of a finished run goes on", 4, |it| it.instances[1].state = "running".into()),
    ("it never came to rest", 5, |it| it.at_rest_after = None),
    ("it came to rest too late", 5, |it| it.at_rest_after = Some(Duration::from_secs(3))),
    ("a task waits for ever", 5, |it| it.instances[1].state = "scheduled".into()),
    ("a run waits for ever", 5, |it| it.runs[3].state = "queued".into()),
    ("somebody was not told", 5, |it| it.left_over.push("a callback".into())),
    ("a variable is gone", 6, |it| {
        if let Asked::Variable { found, .. } = &mut it.sent[2].what {
            *found = None;
        }
    }),
    ("an object is gone", 6, |it| it.outputs[0].found = None),
    ("an object was cut off", 6, |it| it.outputs[0].found = Some(Found { size_bytes: 2, sha256: "aa".into() })),
    ("an object is another", 6, |it| it.outputs[1].found = Some(Found { size_bytes: 3, sha256: "bb".into() })),
    ("a log is gone", 6, |it| it.chunks[0].object_bytes = None),
    ("a log was cut off", 6, |it| it.chunks[1].object_bytes = Some(15)),
    ("a piece of a log is missing", 6, |it| drop(it.chunks.remove(0))),
    ("a pool is too full", 7, |it| it.samples[0].pools[0].1 = 4),
    ("too many tasks of a run", 7, |it| it.samples[0].tasks[0].2 = 3),
    ("too many runs of a dag", 7, |it| it.samples[0].active_runs[0].1 = 2),
    ("too many attempts", 7, |it| it.samples[0].tasks.extend([(7, "d".into(), 2), (8, "d".into(), 1)])),
    ("two runs of a date", 8, |it| it.runs.push(tick(9, 110))),
    ("two runs of a name", 8, |it| it.runs.push(run(9, "one"))),
    ("a run was started twice", 8, |it| it.runs.push(Run { dag_id: "started".into(), ..run(10, "started again") })),
    ("a run between two dates", 8, |it| it.runs[2].logical_date = Some(113)),
    ("a task began too early", 9, |it| it.tries[0].start_date = Some(150)),
    ("a task began before its upstream had ended at all", 9, |it| it.instances[0].end_date = None),
    ("a value of a task that failed", 10, |it| it.instances[0].state = "failed".into()),
    ("a value of an earlier moment", 10, |it| it.outputs[0].committed_at = Some(150)),
    ("an artifact of a try that lost", 10, |it| it.outputs[1].try_number = Some(2)),
    ("a value of nobody", 10, |it| it.outputs[0].task_id = "z".into()),
    ("rows of a run that is not there", 10, |it| it.chunks[0].dag_run = 77),
];

#[test]
fn every_history_that_is_wrong_breaks_its_promise() {
    for (what, number, plant) in PLANTED {
        let mut evidence = right();
        plant(&mut evidence);
        let name = format!("I{number} ");
        let broken = broken_by(&evidence);
        assert!(broken.iter().any(|promise| promise.starts_with(&name)), "{what}: {broken:?}");
    }
    for promise in PROMISES {
        let number: u32 = promise.name[1..].split_once(' ').unwrap().0.parse().unwrap();
        assert!(PLANTED.iter().any(|(_, breaks, _)| *breaks == number), "nothing breaks {}", promise.name);
    }
}

/// An element of a mapped group waits for itself alone, all else for all elements.
#[test]
fn elements_of_a_mapped_group_wait_for_themselves() {
    let mut evidence = right();
    let of = |task_id: &str, map_index, start, end| Instance { map_index, ..instance(task_id, start, end) };
    evidence.tries.clear();
    evidence.instances = vec![of("a", 0, 1, 10), of("a", 1, 1, 90), of("b", 0, 10, 20), of("b", 1, 90, 95)];
    assert!(order(&evidence).is_empty());
    evidence.instances.pop();
    evidence.instances.push(of("b", -1, 50, 95));
    assert_eq!(order(&evidence).len(), 1);
}
