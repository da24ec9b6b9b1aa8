//! The executor with its real children and a real component (`tests/guests`).
#![expect(clippy::unwrap_used, reason = "tests fail by panicking; clippy knows test functions only, not their harness")]

mod harness;
mod hostile_worker;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use airlock::{
    executor::{AttemptResult, CompileError, ExecutorConfig, LogFrom},
    store::XComBody,
};
use futures_util::StreamExt;
use harness::Harness;
use serde_json::json;

fn failed(retry: bool) -> AttemptResult {
    AttemptResult::Failed { retry }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_compiled_and_its_attempts_are_run() {
    let mut harness = Harness::new(json!([{"task_id": "a", "entry": "echo",
        "inputs": [{"name": "x", "source": {"literal": "[1]"}}]}, {"task_id": "b", "entry": "instance"}]))
    .await;
    harness.dispatch(&["a", "b"]);
    let mut ended = [harness.completion().await, harness.completion().await];
    ended.sort_by_key(|completion| completion.id.instance.task_id.clone());
    let [a, b] = ended;
    assert_eq!(a.result, AttemptResult::Success);
    assert_eq!(
        (a.xcoms[0].media_type.as_str(), &a.xcoms[0].body),
        ("application/json", &XComBody::Inline(b"[1]".into()))
    );
    let XComBody::Inline(shown) = &b.xcoms[0].body else { panic!("{:?}", b.xcoms) };
    let shown = String::from_utf8_lossy(shown);
    for part in ["Asia/Seoul", "try-number: 1", "map-index: -1", "run-1"] {
        assert!(shown.contains(part), "{shown}");
    }
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused() {
    let harness = Harness::new(json!([{"task_id": "a", "entry": "noop"}])).await;
    let refused = harness.executor.compile(b"\0asm\x01\0\0\0".to_vec().into()).await;
    assert!(matches!(refused, Err(CompileError::Refused(_))), "{refused:?}");
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_that_was_changed_on_disk_is_made_again() {
    let mut harness = Harness::new(json!([{"task_id": "a", "entry": "noop"}])).await;
    harness.spoil_cache();
    harness.dispatch(&["a"]);
    assert_eq!(harness.completion().await.result, AttemptResult::Success);
    harness.executor.shutdown().await;
}

/// As workers do that connect with a server which has compiled nothing yet.
#[tokio::test(flavor = "multi_thread")]
async fn code_that_several_runners_want_at_once_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let (binary, compilations) = (folder.path().join("airlock"), folder.path().join("compilations"));
    let note = format!("[ \"$1\" = compile-child ] && echo one >> '{}'", compilations.display());
    fs::write(&binary, format!("#!/bin/sh\n{note}\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_airlock"))).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let nodes = json!([{"task_id": "a", "entry": "noop"}]);
    let settings = |config: ExecutorConfig| ExecutorConfig { binary: Some(binary.clone()), runners: 4, ..config };
    let mut harness = Harness::with(nodes, settings).await;
    harness.spoil_cache();
    harness.dispatch_mapped("a", 0..32);
    for _ in 0..32 {
        assert_eq!(harness.completion().await.result, AttemptResult::Success);
    }
    // Once for the upload, and once for all runners.
    assert_eq!(fs::read_to_string(&compilations).unwrap(), "one\none\n");
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_ended_by_its_timeout_and_by_a_kill() {
    let mut harness = Harness::new(json!([{"task_id": "a", "entry": "loop", "timeout_ms": 300},
        {"task_id": "b", "entry": "print_and_wait"}]))
    .await;
    harness.dispatch(&["a"]);
    let completion = harness.completion().await;
    assert_eq!(completion.result, failed(true));
    assert_eq!(completion.message.as_deref(), Some("task `a` ran longer than its limit of 300 ms"));
    harness.dispatch(&["b"]);
    harness.line("b").await;
    harness.executor.kill(&harness.id("b"));
    assert_eq!(harness.completion().await.result, AttemptResult::Killed);
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attempts_of_a_runner_that_dies_are_lost_and_the_next_ones_run() {
    let mut harness =
        Harness::new(json!([{"task_id": "a", "entry": "print_and_wait"}, {"task_id": "b", "entry": "noop"}])).await;
    harness.dispatch(&["a"]);
    harness.line("a").await;
    for pid in harness.executor.runner_pids() {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    harness.dispatch(&["b"]);
    let mut results = Vec::new();
    for _ in 0..2 {
        let completion = harness.completion().await;
        results.push((completion.id.instance.task_id.to_string(), completion.result));
    }
    results.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(results[0], ("a".to_owned(), AttemptResult::Lost));
    // `b` may have been sent just before the death was noticed.
    if results[1].1 == AttemptResult::Lost {
        harness.dispatch(&["b"]);
        assert_eq!(harness.completion().await.result, AttemptResult::Success);
    }
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_while_the_task_runs_and_afterwards() {
    let mut harness =
        Harness::new(json!([{"task_id": "a", "entry": "print_and_wait"}, {"task_id": "b", "entry": "print"}])).await;
    harness.dispatch(&["a"]);
    let id = harness.id("a");
    let mut follow = Box::pin(harness.executor.logs().follow(id.instance.clone(), 1, 0));
    let lines = follow.next().await.unwrap().unwrap();
    assert!(lines[0].contains(r#""source":"stdout","event":"waiting""#), "{lines:?}");
    harness.executor.kill(&id);
    harness.completion().await;
    let rest: Vec<_> = follow.map(Result::unwrap).collect().await;
    assert!(rest.concat()[0].contains("it was ended from outside"), "{rest:?}");

    harness.dispatch(&["b"]);
    assert_eq!(harness.completion().await.result, AttemptResult::Success);
    let before = harness.read("b").await;
    harness.executor.shutdown().await;
    assert_eq!(harness.store.log_chunk_list(&harness.id("b").instance, 1).await.unwrap().len(), 1);
    let after = harness.read("b").await;
    assert_eq!(before, after);
    let has = |part: &str| after.iter().any(|line| line.contains(part));
    assert!(
        has(r#""level":"warning","source":"log","logger":"guests","event":"to the log","key":"value""#),
        "{after:?}"
    );
    assert!(has("to stdout") && has("to stderr") && has("no line end"), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_shown_with_the_guests_functions() {
    let mut harness = Harness::new(json!([{"task_id": "a", "entry": "trap"}])).await;
    harness.dispatch(&["a"]);
    assert_eq!(harness.completion().await.result, failed(true));
    let lines = harness.read("a").await;
    assert!(lines.iter().any(|line| line.contains("guests::run::inner")), "{lines:?}");
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn host_calls_are_answered_within_the_grants() {
    let mut harness =
        Harness::new(json!([{"task_id": "a", "entry": "variable"}, {"task_id": "t", "entry": "artifact_write"},
        {"task_id": "c", "entry": "connection"}, {"task_id": "h", "entry": "http"}]))
        .await;
    for (task, grant) in [("a", "`variable:a/b`"), ("c", "`connection-secret:db`"), ("h", "`http:example.test`")] {
        harness.dispatch(&[task]);
        let completion = harness.completion().await;
        assert_eq!(completion.result, failed(false), "{task}");
        let lines = harness.read(task).await;
        assert!(lines.iter().any(|line| line.contains(grant)), "{task}: {lines:?}");
    }
    harness.dispatch(&["t"]);
    let completion = harness.completion().await;
    assert_eq!(completion.result, AttemptResult::Success);
    assert_eq!((completion.artifacts[0].name.as_str(), completion.artifacts[0].size_bytes), ("dir/file.bin", 3 << 20));
    let stored = harness.blobs.get(&completion.artifacts[0].blob).await.unwrap().unwrap();
    assert_eq!(stored.len(), 3 << 20);
    harness.executor.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_attempts_at_a_time_each_end_once() {
    let mut harness = Harness::new(json!([{"task_id": "a", "entry": "noop"}])).await;
    let from = std::time::Instant::now();
    harness.dispatch_mapped("a", 0..2_000);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let completion = tokio::time::timeout(Duration::from_mins(1), harness.completion()).await.unwrap();
        assert_eq!(completion.result, AttemptResult::Success);
        assert!(seen.insert(completion.id.instance.map_index));
    }
    println!("2,000 attempts in {:?}", from.elapsed());
    let page = harness.executor.logs().read(&harness.id("a").instance, 1, LogFrom::Tail, 1).await.unwrap();
    assert_eq!(page.total_lines, 0, "an attempt without words costs no log");
    harness.executor.shutdown().await;
}
