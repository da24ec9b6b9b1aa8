//! What a guest that means harm, or is broken, gets: a reason, and nobody else notices.

use std::time::{Duration, Instant};

use airlock::wire::{AttemptEnd, FromRunner, Limits, LineSource, Reply, ToRunner};

use crate::children::{LIMITS, Runner, success};

fn trapped(end: AttemptEnd) -> (String, Vec<String>) {
    match end {
        AttemptEnd::Trapped { message, backtrace } => (message, backtrace),
        other => panic!("it did not trap: {other:?}"),
    }
}

/// What the system says of a runner.
fn status(runner: &Runner, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", runner.child.id())).expect("it runs");
    status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says so").trim().to_owned()
}

#[tokio::test]
async fn traps_tell_why_and_where() {
    let mut runner = Runner::start(4).await;
    let (message, backtrace) = trapped(runner.go("panic", "").await.end);
    assert!(message.starts_with("panicked: the guest gave up on the_task (tests/guests/src/run.rs:"), "{message}");
    assert!(backtrace[0].contains("guests::run::give_up"), "{backtrace:?}");

    let (message, backtrace) = trapped(runner.go("trap", "").await.end);
    assert!(message.contains("unreachable"), "{message}");
    assert!(
        backtrace[0].contains("guests::run::inner") && backtrace[1].contains("guests::run::outer"),
        "{backtrace:?}"
    );

    let (message, _) = trapped(runner.go("exit", "").await.end);
    assert!(message.contains("exit with a code other than 0"), "{message}");

    let (message, backtrace) = trapped(runner.go("recurse", "").await.end);
    assert_eq!(message, "the call stack is exhausted; does `guests::run::recurse` call itself for ever?");
    assert!(backtrace[0].contains("recurse") && backtrace.len() <= 50, "{backtrace:?}");

    assert_eq!(runner.go("echo", "still here").await.end, success("still here"));
}

#[tokio::test]
async fn memory_has_a_limit_that_is_named() {
    let mut runner = Runner::start(4).await;
    let went = runner.go("allocate", "").await;
    assert!(went.usage.memory_bytes <= 64 << 20 && went.usage.memory_bytes > 32 << 20);
    let (message, _) = trapped(went.end);
    let told = "out of memory: the task asked for more than its limit of 64 MiB; its dag asks for more by `memory = ";
    assert!(message.starts_with(told), "{message}");

    // 1 GiB as a result is more than a frame, and more than what a guest may hand over.
    let limits = Limits { memory_bytes: 3 << 30, ..LIMITS };
    let attempt = runner.run("big_result", &(1_u32 << 30).to_string(), limits).await;
    let (message, _) = trapped(runner.finish(attempt).await.end);
    assert!(message.contains("in one call than it may; the limit is 256 MiB"), "{message}");

    let attempt = runner.run("big_result", &(200_u32 << 20).to_string(), limits).await;
    let AttemptEnd::Success(Some(value)) = runner.finish(attempt).await.end else { panic!("no result") };
    assert_eq!(value.bytes.len(), 200 << 20);
}

#[tokio::test]
async fn endless_loops_end_by_timeout_or_kill_and_starve_nobody() {
    let mut runner = Runner::start(16).await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        busy.push(runner.run("loop", "", LIMITS).await);
    }
    let timed = runner.run("loop", "", Limits { timeout_ms: Some(200), ..LIMITS }).await;
    let begin = Instant::now();
    for _ in 0..20 {
        let attempt = runner.run("variable", "", LIMITS).await;
        let went = runner.finish_with(attempt, |_| Some(Ok(Reply::Text("v".to_owned())))).await;
        assert_eq!(went.end, success("v"));
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(runner.finish(timed).await.end, AttemptEnd::TimedOut { limit_ms: 200 });
    for attempt in busy {
        runner.send(ToRunner::Kill { attempt }).await;
        assert_eq!(runner.finish(attempt).await.end, AttemptEnd::Killed);
    }
}

#[tokio::test]
async fn sleepers_and_waiters_are_stopped_too() {
    let mut runner = Runner::start(4).await;
    let limits = Limits { timeout_ms: Some(50), ..LIMITS };
    let attempt = runner.run("sleep", "3600000", limits).await;
    assert_eq!(runner.finish(attempt).await.end, AttemptEnd::TimedOut { limit_ms: 50 });

    // The supervisor never answers.
    let attempt = runner.run("variable", "", limits).await;
    assert_eq!(runner.finish_with(attempt, |_| None).await.end, AttemptEnd::TimedOut { limit_ms: 50 });

    assert_eq!(runner.go("sleep", "20").await.end, AttemptEnd::Success(None));
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_counted() {
    let mut runner = Runner::start(4).await;
    let attempt = runner.run("flood", "20000", Limits { log_bytes: 1 << 20, ..LIMITS }).await;
    let went = runner.finish(attempt).await;
    assert_eq!(went.end, AttemptEnd::Success(None));
    let last = went.lines.last().unwrap();
    assert!(last.source == LineSource::Airlock && last.message.contains("limit of 1048576 bytes"), "{last:?}");
    let kept: usize = went.lines.iter().map(|line| line.message.len()).sum();
    assert!(kept <= 1 << 20, "{kept}");
    assert_eq!(kept - last.message.len() + usize::try_from(went.usage.log_bytes_dropped).unwrap(), 20_000 * 1_023);

    let went = runner.go("long_line", "").await;
    assert_eq!((went.lines[0].message.len(), went.lines[1].message.as_str()), (64 << 10, "after"));
    assert_eq!(went.usage.log_bytes_dropped, 200_000 - (64 << 10));
}

#[tokio::test]
async fn a_flood_waits_for_a_slow_supervisor() {
    let mut runner = Runner::start(4).await;
    let limits = Limits { log_bytes: 1 << 30, ..LIMITS };
    let attempt = runner.run("flood", "300000", limits).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let resident = status(&runner, "VmRSS:");
    let kib: u64 = resident.trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 150 << 10, "{resident}");
    let went = runner.finish(attempt).await;
    assert_eq!((went.end, went.lines.len()), (AttemptEnd::Success(None), 300_000));
}

#[tokio::test]
async fn host_calls_have_a_limit_that_is_named() {
    let mut runner = Runner::start(4).await;
    let attempt = runner.run("variables", "1000", Limits { host_calls: 10, ..LIMITS }).await;
    let mut calls = 0;
    let went = runner
        .finish_with(attempt, |_| {
            calls += 1;
            Some(Ok(Reply::Text(String::new())))
        })
        .await;
    let (message, _) = trapped(went.end);
    assert_eq!((message.as_str(), calls), ("the task made more than its limit of 10 host calls", 10));
}

#[tokio::test]
async fn a_thousand_waiting_attempts_take_little() {
    let mut runner = Runner::start(1_000).await;
    assert_eq!(status(&runner, "THP_enabled:"), "0", "huge pages would hold 2 MiB for each");
    for _ in 0..1_000 {
        runner.run("sleep", "1000", LIMITS).await;
    }
    let begin = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(runner.next().await, FromRunner::Done { end: AttemptEnd::Success(None), .. }));
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
