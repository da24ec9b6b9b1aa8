//! Dags for `cargo xtask bench`. Each is one workload of its table, and nothing else: no log lines, no params.

use std::{
    hint::black_box,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use airlock_sdk::{chrono::TimeDelta, prelude::*};

/// Does nothing.
#[task]
fn noop() {}

/// The `n`th Fibonacci number, the slow way. `before` is the link of a chain.
#[task]
fn fib(n: u32, before: Option<u64>) -> u64 {
    black_box(before);
    slow_fib(black_box(n))
}

fn slow_fib(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { slow_fib(n - 1) + slow_fib(n - 2) }
}

/// When it started: microseconds since the epoch.
#[task]
fn clock() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a task has no other clock")]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Waits in a host call.
#[task]
fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Never ends by itself.
#[task]
fn spin() {
    loop {
        black_box(());
    }
}

/// A list of so many numbers.
#[task]
fn count(to: u32) -> Vec<u32> {
    (0..to).collect()
}

/// Takes a number and does nothing with it.
#[task]
fn take(number: u32) {
    black_box(number);
}

/// Has to wait when it is poked the first time: until a second after its run began, when all are poked at once.
#[task]
fn poked(ctx: &Context) -> Result<()> {
    let until = ctx.run_after() + TimeDelta::seconds(1);
    let now = i64::try_from(clock::run()).unwrap_or(i64::MAX);
    if now < until.timestamp_micros() {
        return Err(Later::at(until).into());
    }
    Ok(())
}

fn chain(dag: &Dag, length: u32, n: u32) {
    let mut link = fib(dag, n, None::<u64>);
    for _ in 1..length {
        link = fib(dag, n, link);
    }
}

fn fan(dag: &Dag, width: u32) {
    for _ in 0..width {
        noop(dag);
    }
}

/// A chain of 40 tasks, each fib(10): what a step costs.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn chain_40(dag: &Dag) {
    chain(dag, 40, 10);
}

/// A chain of 10 tasks, each fib(33): what computing costs.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn chain_10_fib_33(dag: &Dag) {
    chain(dag, 10, 33);
}

/// A single task, which tells when it started.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 100_000)]
fn one_task(dag: &Dag) {
    clock(dag);
}

/// 100 independent tasks: the shape of a long history.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn fan_100(dag: &Dag) {
    fan(dag, 100);
}

/// 1,000 independent tasks.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn fan_1000(dag: &Dag) {
    fan(dag, 1_000);
}

/// One task, then 298, then one.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn diamond_300(dag: &Dag) {
    let first = noop(dag).id("first");
    let last = noop(dag).id("last");
    for _ in 0..298 {
        noop(dag).after(first).before(last);
    }
}

/// 10,000 independent tasks.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn wide_10000(dag: &Dag) {
    fan(dag, 10_000);
}

/// 100,000 independent tasks.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn wide_100000(dag: &Dag) {
    fan(dag, 100_000);
}

/// 10,000 instances of one task.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn mapped_10000(dag: &Dag) {
    take(dag, count(dag, 10_000).each());
}

/// 1,000 tasks that are poked twice.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn pokes_1000(dag: &Dag) {
    for _ in 0..1_000 {
        poked(dag);
    }
}

/// 1,000 tasks that each wait a second in a host call.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn sleepers(dag: &Dag) {
    for _ in 0..1_000 {
        sleep(dag, 1_000);
    }
}

/// Five tasks one after another, each of which waits a second in a host call.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 100_000)]
fn naps(dag: &Dag) {
    let mut before = sleep(dag, 1_000);
    for _ in 1..5 {
        before = sleep(dag, 1_000).after(before);
    }
}

/// One task that loops for ever: trigger it once per core, and end the runs.
#[dag(tags = ["bench"], max_active_tasks = 100_000, max_active_runs = 1_000)]
fn busy(dag: &Dag) {
    spin(dag);
}

airlock_sdk::export!(
    dags = [
        chain_40,
        chain_10_fib_33,
        one_task,
        fan_100,
        fan_1000,
        diamond_300,
        wide_10000,
        wide_100000,
        mapped_10000,
        pokes_1000,
        sleepers,
        naps,
        busy
    ]
);

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::{Host, TaskState};

    use super::*;

    #[test]
    fn a_chain_hands_its_numbers_on() {
        let run = Host::new().run_dag::<chain_40>().unwrap();
        assert_eq!(run.task_ids().count(), 40);
        assert_eq!(run.result::<u64>("fib"), Some(55));
        assert_eq!(run.result::<u64>("fib__39"), Some(55));
    }

    #[test]
    fn fans_and_diamonds_have_as_many_tasks_as_they_say() {
        assert_eq!(Host::new().run_dag::<fan_1000>().unwrap().task_ids().count(), 1_000);
        let diamond = Host::new().run_dag::<diamond_300>().unwrap();
        assert_eq!(diamond.task_ids().count(), 300);
        assert!(diamond.task_ids().all(|id| diamond.state(id) == TaskState::Success));
    }

    #[test]
    fn a_sleeper_waits() {
        let started = std::time::Instant::now();
        sleep::run(20);
        assert!(started.elapsed() >= Duration::from_millis(20));
    }
}
