//! What a well-meaning guest gets.

use airlock::{
    model::time::Timestamp,
    wire::{
        AttemptEnd, Call, CallError, Connection, FromRunner, Level, LineSource, Reply, RunValue, StreamKey, ToRunner,
    },
};

use crate::children::{COMPONENT, LIMITS, Runner, success, text};

#[tokio::test]
async fn outcomes_and_failures_arrive_as_the_guest_gave_them() {
    let mut runner = Runner::start(8).await;
    for (entry, input, end) in [
        ("noop", "", AttemptEnd::Success(None)),
        ("echo", "as it is", success("as it is")),
        ("fib", "20", success("6765")),
        ("skip", "", AttemptEnd::Skipped(Some("nothing to do".to_owned()))),
        ("branch", "", AttemptEnd::Branch(vec!["left".to_owned()])),
        ("later", "", AttemptEnd::Later(Timestamp::from_micros(60_000_007))),
        ("retryable", "", AttemptEnd::Retryable("try again".to_owned())),
        ("fatal", "", AttemptEnd::Fatal("give up".to_owned())),
    ] {
        let went = runner.go(entry, input).await;
        assert_eq!(went.end, end, "{entry}");
        assert!(went.lines.is_empty() && went.usage.memory_bytes > 0 && went.usage.wall_us > 0, "{went:?}");
    }
    let AttemptEnd::Success(Some(value)) = runner.go("instance", "").await.end else { panic!("no value") };
    let shown = String::from_utf8(value.bytes).unwrap();
    assert!(shown.contains("the_task") && shown.contains("logical-date: Some(5)"), "{shown}");
}

#[tokio::test]
async fn attempts_share_nothing() {
    let mut runner = Runner::start(8).await;
    let (one, two) = (runner.go("random", "").await.end, runner.go("random", "").await.end);
    assert_ne!(one, two);
    let end = runner.go("environment", "").await.end;
    assert_eq!(end, success("0 0 Some(NotFound) Some(PermissionDenied)"));
}

#[tokio::test]
async fn output_and_log_become_lines_in_their_order() {
    let mut runner = Runner::start(8).await;
    let went = runner.go("print", "").await;
    let lines: Vec<_> = went.lines.iter().map(|line| (line.source, line.level, line.message.as_str())).collect();
    assert_eq!(
        lines,
        [
            (LineSource::Stdout, Level::Info, "to stdout"),
            (LineSource::Stderr, Level::Error, "to stderr"),
            (LineSource::Log, Level::Warn, "to the log"),
            (LineSource::Stdout, Level::Info, "no line end"),
        ]
    );
    assert_eq!((went.lines[2].target.as_str(), went.lines[2].fields.len()), ("guests", 1));

    let went = runner.go("flood_log", "1000").await;
    assert!(went.lines.iter().enumerate().all(|(n, line)| line.message == n.to_string()));
    assert_eq!(went.lines.len(), 1_000);
}

#[tokio::test]
async fn a_line_arrives_while_the_task_runs() {
    let mut runner = Runner::start(8).await;
    let attempt = runner.run("print_and_wait", "", LIMITS).await;
    let FromRunner::Log { lines, .. } = runner.next().await else { panic!("not a log frame") };
    assert_eq!(lines[0].message, "waiting");
    runner.send(ToRunner::Kill { attempt }).await;
    assert_eq!(runner.finish(attempt).await.end, AttemptEnd::Killed);
}

#[tokio::test]
async fn a_line_arrives_before_the_call_that_follows_it() {
    let mut runner = Runner::start(8).await;
    let attempt = runner.run("print_and_ask", "", LIMITS).await;
    let FromRunner::Log { lines, .. } = runner.next().await else { panic!("not a log frame") };
    assert_eq!(lines[0].message, "before");
    let went = runner.finish_with(attempt, |_| Some(Ok(Reply::Text("the value".to_owned())))).await;
    assert!(matches!(went.end, AttemptEnd::Success(_)), "{:?}", went.end);
}

#[tokio::test]
async fn host_calls_reach_the_supervisor_and_its_answers_the_guest() {
    let mut runner = Runner::start(8).await;
    let end = runner
        .ask("variable", |call| {
            assert!(matches!(call, Call::VariableGet { key } if key == "a/b"));
            Some(Ok(Reply::Text("the value".to_owned())))
        })
        .await;
    assert_eq!(end, success("the value"));

    let end = runner
        .ask("push", |call| {
            assert!(matches!(call, Call::XComPush { key, value } if key == "pushed" && value.bytes.len() == 1024));
            Some(Ok(Reply::Unit))
        })
        .await;
    assert_eq!(end, success(""));

    let end = runner.ask("pull", |_| Some(Ok(Reply::Value(text("pulled"))))).await;
    assert_eq!(end, success("pulled"));

    let value =
        RunValue { run_id: "r1".to_owned(), logical_date: Timestamp::from_micros(1), map_index: -1, value: text("A") };
    let mut values = Some(vec![value]);
    let end = runner.ask("pull_runs", |_| Some(Ok(Reply::RunValues(values.take().unwrap())))).await;
    assert_eq!(end, success("r1=[65];"));

    let end = runner
        .ask("connection", |call| {
            assert!(matches!(call, Call::ConnectionGet { id } if id == "db"));
            Some(Ok(Reply::Connection(Connection {
                id: "db".to_owned(),
                conn_type: "postgres".to_owned(),
                host: None,
                schema: None,
                login: None,
                password: Some("secret".to_owned()),
                port: None,
                extra: None,
            })))
        })
        .await;
    assert_eq!(end, success("db:Some(\"secret\")"));
}

#[tokio::test]
async fn refusals_are_typed_errors() {
    let mut runner = Runner::start(8).await;
    for (error, says) in [
        (CallError::Denied("variable:a/b".to_owned()), "Error::Denied(\"variable:a/b\")"),
        (CallError::NotFound("x".to_owned()), "Error::NotFound(\"x\")"),
        (CallError::TooLarge("x".to_owned()), "Error::TooLarge(\"x\")"),
        (CallError::Unavailable("x".to_owned()), "Error::Unavailable(\"x\")"),
        (CallError::Invalid("x".to_owned()), "Error::Invalid(\"x\")"),
    ] {
        let mut error = Some(error);
        let end = runner.ask("variable", |_| Some(Err(error.take().unwrap()))).await;
        assert_eq!(end, AttemptEnd::Fatal(says.to_owned()));
    }
    // An answer that does not fit the question is nobody's fault but the host's.
    let end = runner.ask("variable", |_| Some(Ok(Reply::Unit))).await;
    assert!(matches!(end, AttemptEnd::Trapped { message, .. } if message.contains("bug of airlock")));
}

#[tokio::test]
async fn artifacts_are_streamed() {
    let mut runner = Runner::start(8).await;
    let mut written = 0;
    let end = runner
        .ask("artifact_write", |call| match call {
            Call::ArtifactCreate { name, media_type } => {
                assert_eq!((name.as_str(), media_type.as_str()), ("dir/file.bin", "application/octet-stream"));
                Some(Ok(Reply::Stream { stream: StreamKey(4), size: 0 }))
            }
            Call::ArtifactWrite { stream: StreamKey(4), chunk } => {
                written += chunk.len();
                Some(Ok(Reply::Unit))
            }
            Call::ArtifactFinish { stream: StreamKey(4) } => Some(Ok(Reply::Size(written as u64))),
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!(end, success("3145728"));

    let mut chunks = vec![Vec::new(), vec![1; 10], vec![1; 1 << 20]];
    let mut dropped = false;
    let end = runner
        .ask("artifact_read", |call| match call {
            Call::ArtifactOpen { .. } => Some(Ok(Reply::Stream { stream: StreamKey(5), size: 1_048_586 })),
            Call::StreamRead { stream: StreamKey(5), .. } => Some(Ok(Reply::Bytes(chunks.pop().unwrap()))),
            Call::StreamDrop { stream: StreamKey(5) } => {
                dropped = true;
                None
            }
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!((end, dropped), (success("1048586 of 1048586"), true));

    let mut dropped = false;
    runner
        .ask("artifact_drop", |call| match call {
            Call::ArtifactCreate { .. } => Some(Ok(Reply::Stream { stream: StreamKey(6), size: 0 })),
            Call::StreamDrop { stream: StreamKey(6) } => {
                dropped = true;
                None
            }
            other => panic!("{other:?}"),
        })
        .await;
    assert!(dropped);
}

#[tokio::test]
async fn http_is_one_call_and_a_stream() {
    let mut runner = Runner::start(8).await;
    let mut chunks = vec![Vec::new(), b"world".to_vec(), b"hello ".to_vec()];
    let end = runner
        .ask("http", |call| match call {
            Call::HttpRequest { method, uri, headers, body, timeout_ms: None } => {
                assert_eq!((method.as_str(), uri.as_str()), ("POST", "http://example.test/path?x=1"));
                assert!(headers.contains(&("x-ask".to_owned(), b"yes".to_vec())), "{headers:?}");
                assert_eq!(body, b"ping");
                let headers = vec![("x-answer".to_owned(), b"yes".to_vec())];
                Some(Ok(Reply::Response { stream: StreamKey(9), status: 201, headers }))
            }
            Call::StreamRead { stream: StreamKey(9), .. } => Some(Ok(Reply::Bytes(chunks.pop().unwrap()))),
            Call::StreamDrop { .. } => None,
            other => panic!("{other:?}"),
        })
        .await;
    assert_eq!(end, success("201 [[121, 101, 115]] hello world"));

    let attempt = runner.run("http", "", LIMITS).await;
    let denied = "host `example.test` is not granted; grant `http:example.test`";
    let went = runner.finish_with(attempt, |_| Some(Err(CallError::Denied(denied.to_owned())))).await;
    assert!(matches!(&went.end, AttemptEnd::Fatal(text) if text.contains("HttpRequestDenied")), "{went:?}");
    assert!(went.lines[0].source == LineSource::Airlock && went.lines[0].message.contains(denied), "{went:?}");

    let went = runner.go("http_big_body", "").await;
    assert!(matches!(&went.end, AttemptEnd::Fatal(text) if text.contains("HttpRequestBodySize")), "{went:?}");
}

#[tokio::test]
async fn many_attempts_run_side_by_side() {
    let mut runner = Runner::start(300).await;
    let mut waiting = std::collections::BTreeMap::new();
    for n in 0..300_u32 {
        let attempt = runner.run("variable", "", LIMITS).await;
        waiting.insert(attempt, n);
    }
    let mut calls = Vec::new();
    while calls.len() < 300 {
        if let FromRunner::Call { attempt, call, .. } = runner.next().await {
            calls.push((attempt, call));
        }
    }
    for (attempt, call) in calls.into_iter().rev() {
        let reply = Ok(Reply::Text(waiting[&attempt].to_string()));
        runner.send(ToRunner::Reply { attempt, call, reply }).await;
    }
    while !waiting.is_empty() {
        let FromRunner::Done { attempt, end, .. } = runner.next().await else { panic!("not an end") };
        assert_eq!(end, success(&waiting.remove(&attempt).unwrap().to_string()));
    }
}

#[tokio::test]
async fn what_can_not_be_run_is_told_and_harms_nobody() {
    let mut runner = Runner::start_empty(1).await;
    assert!(matches!(runner.go("noop", "").await.end, AttemptEnd::NotRun(why) if why.contains("not loaded")));

    runner.send(ToRunner::Load { component: COMPONENT, code: b"not code".to_vec() }).await;
    assert!(matches!(runner.next().await, FromRunner::LoadFailed { component: COMPONENT, .. }));

    runner.send(ToRunner::Load { component: COMPONENT, code: crate::children::CODE.clone() }).await;
    let first = runner.run("variable", "", LIMITS).await;
    let (call, _) = runner.call_of(first).await;
    assert!(matches!(runner.go("noop", "").await.end, AttemptEnd::NotRun(why) if why.contains("1 slots")));

    // Unloading does not touch what runs; answers and kills for what is over are ignored.
    runner.send(ToRunner::Unload { component: COMPONENT }).await;
    runner.send(ToRunner::Reply { attempt: first, call, reply: Ok(Reply::Text("v".to_owned())) }).await;
    assert_eq!(runner.finish(first).await.end, success("v"));
    runner.send(ToRunner::Reply { attempt: first, call, reply: Ok(Reply::Unit) }).await;
    runner.send(ToRunner::Kill { attempt: first }).await;
    assert!(matches!(runner.go("noop", "").await.end, AttemptEnd::NotRun(_)));
}

#[tokio::test]
async fn a_runner_ends_with_its_supervisor() {
    let mut runner = Runner::start(4).await;
    runner.run("loop", "", LIMITS).await;
    let mut child = std::mem::replace(&mut runner.child, std::process::Command::new("true").spawn().unwrap());
    drop(runner);
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status:?}");
}

#[tokio::test]
async fn a_broken_frame_ends_the_runner_and_not_with_success() {
    let mut runner = Runner::start(4).await;
    runner.writer.push(&[99_u8; 4]).unwrap();
    runner.writer.flush().await.unwrap();
    let mut child = std::mem::replace(&mut runner.child, std::process::Command::new("true").spawn().unwrap());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(!status.success(), "{status:?}");
}
