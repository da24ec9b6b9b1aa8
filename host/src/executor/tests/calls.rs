use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::Digest as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use super::*;
use crate::{
    executor::{calls::receive, finish},
    model::{
        ids::{ConnectionId, VariableKey},
        traffic::TrafficCaps,
    },
    secrets::place,
    store::{ConnectionRow, VariableRow},
    wire::{AttemptEnd, StreamKey, Usage},
};

fn push(key: &str, value: Value) -> Call {
    Call::XComPush { key: key.into(), value }
}

fn pull(task_id: &str, key: &str) -> Call {
    Call::XComPull { task_id: task_id.into(), map_index: None, key: key.into() }
}

fn denied(result: Result<Reply, CallError>) -> String {
    match result {
        Err(CallError::Denied(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_pushed_is_seen_by_the_attempt_itself_and_comes_with_its_success() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let (a, b) = (fixture.attempt("a"), fixture.attempt("b"));
    for value in ["1", "2"] {
        assert!(matches!(fixture.call(&a, push("k", json(value))).await, Ok(Reply::Unit)));
    }
    assert!(matches!(fixture.call(&a, pull("a", "k")).await, Ok(Reply::Value(value)) if value == json("2")));
    assert!(matches!(fixture.call(&b, pull("a", "k")).await, Err(CallError::NotFound(_))));
    finish::done(&fixture.shared, &a, AttemptEnd::Success(Some(json("3"))), Usage::default(), None);
    let completion = fixture.completion().await;
    let keys: Vec<_> = completion.xcoms.iter().map(|xcom| (xcom.key.as_str(), xcom.body.clone())).collect();
    assert_eq!(keys, [("k", XComBody::Inline(b"2".to_vec())), ("return_value", XComBody::Inline(b"3".to_vec()))]);
    fixture.commit_xcom("a", -1, "k", json("2")).await;
    assert!(matches!(fixture.call(&b, pull("a", "k")).await, Ok(Reply::Value(value)) if value == json("2")));
}

#[tokio::test]
async fn large_values_go_to_object_storage_and_leave_nothing_if_the_attempt_fails() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    let large = text(65_537);
    assert!(matches!(fixture.call(&a, push("k", large.clone())).await, Ok(Reply::Unit)));
    assert!(matches!(fixture.call(&a, pull("a", "k")).await, Ok(Reply::Value(value)) if value == large));
    let blobs = a.effects(|effects| effects.blobs()).unwrap();
    assert_eq!(blobs.len(), 1);
    finish::done(&fixture.shared, &a, AttemptEnd::Retryable("no".into()), Usage::default(), None);
    assert!(fixture.completion().await.xcoms.is_empty());
    fixture.shared.tasks.close();
    fixture.shared.tasks.wait().await;
    assert_eq!(fixture.shared.blobs.get(&blobs[0]).await.unwrap(), None);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A file is written to its end, whoever still waits for it; so is what a server of objects has received.
#[tokio::test]
async fn what_is_being_stored_when_its_attempt_is_ended_is_left_nowhere() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let storage = Blobs::open(&format!("file://{}", folder.path().display())).unwrap();
    Arc::get_mut(&mut fixture.shared).unwrap().blobs = storage;
    let a = fixture.attempt("a");
    receive(&fixture.shared, &fixture.outbox, &a, CallKey(7), push("k", text(4 << 20)), None);
    while files(folder.path()).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    finish::killed(&fixture.shared, a.key);
    fixture.shared.tasks.close();
    fixture.shared.tasks.wait().await;
    let is_half = |file: &PathBuf| file.display().to_string().contains('#');
    while files(folder.path()).iter().any(is_half) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
}

/// A value that is pushed again and again counts once, so that it must not take more room than that.
#[tokio::test]
async fn what_is_replaced_takes_no_room_while_the_attempt_runs() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    let mut replaced = Vec::new();
    for value in [text(65_537), text(65_538), text(1)] {
        replaced.extend(a.effects(|effects| effects.blobs()).unwrap());
        assert!(matches!(fixture.call(&a, push("k", value)).await, Ok(Reply::Unit)));
    }
    for _ in 0..2 {
        let create = Call::ArtifactCreate { name: "f".into(), media_type: "text/csv".into() };
        let Ok(Reply::Stream { stream, .. }) = fixture.call(&a, create).await else { panic!() };
        assert!(fixture.call(&a, Call::ArtifactFinish { stream }).await.is_ok());
        replaced.extend(a.effects(|effects| effects.blobs()).unwrap());
    }
    let kept = replaced.pop().unwrap();
    fixture.shared.tasks.close();
    fixture.shared.tasks.wait().await;
    assert_eq!(replaced.len(), 3);
    for blob in &replaced {
        assert_eq!(fixture.shared.blobs.get(blob).await.unwrap(), None, "{blob}");
    }
    assert!(fixture.shared.blobs.get(&kept).await.unwrap().is_some());
}

#[tokio::test]
async fn many_small_values_do_not_fill_the_memory() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    for n in 0..300 {
        assert!(matches!(fixture.call(&a, push(&format!("k{n}"), text(65_536))).await, Ok(Reply::Unit)));
    }
    let inline = |pushed: &&crate::executor::effects::Pushed| matches!(pushed.body, XComBody::Inline(_));
    let count = a.effects(|effects| effects.xcoms.values().filter(inline).count()).unwrap();
    assert_eq!(count, 256, "16 MiB");
}

#[tokio::test]
async fn xcoms_have_limits_that_are_named() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    for bad in ["", "a b", "a/b", "..", &"x".repeat(251)] {
        assert!(matches!(fixture.call(&a, push(bad, json("1"))).await, Err(CallError::Invalid(_))), "{bad}");
    }
    assert!(matches!(fixture.call(&a, push("k", json("{"))).await, Err(CallError::Invalid(_))));
    let header = Value { media_type: "text/plain\r\nx: y".into(), bytes: Vec::new() };
    assert!(matches!(fixture.call(&a, push("k", header)).await, Err(CallError::Invalid(_))));
    for n in 0..1_000 {
        assert!(fixture.call(&a, push(&format!("k{n}"), json("1"))).await.is_ok());
    }
    assert!(fixture.call(&a, push("k7", json("2"))).await.is_ok(), "a key that is there is replaced");
    let refused = fixture.call(&a, push("one-more", json("1"))).await;
    assert!(matches!(&refused, Err(CallError::TooLarge(why)) if why.contains("one-more")), "{refused:?}");
    assert!(
        matches!(fixture.call(&a, pull("nobody", "k")).await, Err(CallError::NotFound(why)) if why.contains("nobody"))
    );
}

#[tokio::test]
async fn runs_of_the_dag_are_pulled_by_logical_date() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let b = fixture.attempt("b");
    fixture.commit_xcom("a", -1, "k", json("[1]")).await;
    let ask = |since: Timestamp, until| Call::XComPullRuns { task_id: "a".into(), key: "k".into(), since, until };
    let Ok(Reply::RunValues(values)) = fixture.call(&b, ask(now(), now().after(Duration::from_secs(1)))).await else {
        panic!()
    };
    assert_eq!(values.len(), 1);
    assert_eq!((values[0].run_id.as_str(), &values[0].value), ("r", &json("[1]")));
    let later = fixture.call(&b, ask(now().after(Duration::from_secs(1)), Timestamp::MAX)).await;
    assert!(matches!(later, Ok(Reply::RunValues(values)) if values.is_empty()));
}

#[tokio::test]
async fn a_variable_is_read_if_it_is_granted_and_masked_from_then_on() {
    let mut fixture = Fixture::pair(serde_json::json!({"variables": ["reports/*"]})).await;
    let a = fixture.attempt("a");
    let key = VariableKey::new("reports/target").unwrap();
    let sealed = fixture.shared.vault.secrets().seal(&place::variable(&key), b"swordfish");
    let row = VariableRow { key, sealed, description: None, updated_at: now() };
    fixture.shared.store.variable_put(&row).await.unwrap();
    let ask = |key: &str| Call::VariableGet { key: key.into() };
    assert!(matches!(fixture.call(&a, ask("reports/target")).await, Ok(Reply::Text(text)) if text == "swordfish"));
    assert!(denied(fixture.call(&a, ask("other")).await).contains("`variable:other`"));
    assert!(matches!(fixture.call(&a, ask("reports/none")).await, Err(CallError::NotFound(_))));
    finish::done(&fixture.shared, &a, AttemptEnd::Fatal("it is swordfish".into()), Usage::default(), None);
    assert_eq!(fixture.completion().await.message.as_deref(), Some("it is ***"));
}

#[tokio::test]
async fn a_connection_is_read_if_it_is_granted_and_its_secrets_are_masked() {
    let mut fixture = Fixture::pair(serde_json::json!({"connection_secrets": ["db"], "connections": ["db2"]})).await;
    let a = fixture.attempt("a");
    let id = ConnectionId::new("db").unwrap();
    let secrets = fixture.shared.vault.secrets();
    let row = ConnectionRow {
        conn_type: "postgres".into(),
        description: None,
        host: Some("db.example.org".into()),
        schema: None,
        login: Some("ann".into()),
        port: Some(5432),
        sealed_password: Some(secrets.seal(&place::connection_password(&id), b"pass-word")),
        sealed_extra: Some(secrets.seal(&place::connection_extra(&id), br#"{"keys": {"api": "api-secret"}}"#)),
        updated_at: now(),
        id,
    };
    fixture.shared.store.connection_put(&row).await.unwrap();
    let ask = |id: &str| Call::ConnectionGet { id: id.into() };
    let Ok(Reply::Connection(connection)) = fixture.call(&a, ask("db")).await else { panic!() };
    assert_eq!(connection.password.as_deref(), Some("pass-word"));
    assert_eq!(connection.port, Some(5432));
    assert!(denied(fixture.call(&a, ask("db2")).await).contains("`connection-secret:db2`"));
    let masked = a.effects(|effects| effects.masker().mask("pass-word api-secret").into_owned()).unwrap();
    assert_eq!(masked, "*** ***");
}

#[tokio::test]
async fn a_secret_that_was_moved_to_another_row_is_not_opened() {
    let mut fixture = Fixture::pair(serde_json::json!({"variables": ["mine"]})).await;
    let a = fixture.attempt("a");
    let (mine, others) = (VariableKey::new("mine").unwrap(), VariableKey::new("others").unwrap());
    let sealed = fixture.shared.vault.secrets().seal(&place::variable(&others), b"swordfish");
    let row = VariableRow { key: mine, sealed, description: None, updated_at: now() };
    fixture.shared.store.variable_put(&row).await.unwrap();
    let answer = fixture.call(&a, Call::VariableGet { key: "mine".into() }).await;
    assert!(matches!(answer, Err(CallError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn an_artifact_is_written_kept_with_the_success_and_read_by_others() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let (a, b) = (fixture.attempt("a"), fixture.attempt("b"));
    let create = || Call::ArtifactCreate { name: "dir/file.csv".into(), media_type: "text/csv".into() };
    let Ok(Reply::Stream { stream, .. }) = fixture.call(&a, create()).await else { panic!() };
    for chunk in [b"one,".to_vec(), b"two".to_vec()] {
        assert!(fixture.call(&a, Call::ArtifactWrite { stream, chunk }).await.is_ok());
    }
    let too_large = Call::ArtifactWrite { stream, chunk: vec![0; (1 << 20) + 1] };
    assert!(matches!(fixture.call(&a, too_large).await, Err(CallError::TooLarge(_))));
    assert!(matches!(fixture.call(&a, Call::ArtifactFinish { stream }).await, Ok(Reply::Size(7))));
    assert!(matches!(fixture.call(&a, Call::ArtifactFinish { stream }).await, Err(CallError::Invalid(_))));
    let Ok(Reply::Stream { stream: dropped, .. }) =
        fixture.call(&a, Call::ArtifactCreate { name: "dropped".into(), media_type: "text/csv".into() }).await
    else {
        panic!()
    };
    crate::executor::calls::receive(
        &fixture.shared,
        &fixture.outbox,
        &a,
        CallKey(8),
        Call::StreamDrop { stream: dropped },
        None,
    );
    finish::done(&fixture.shared, &a, AttemptEnd::Success(None), Usage::default(), None);
    let artifacts = fixture.completion().await.artifacts;
    assert_eq!(artifacts.len(), 1);
    assert_eq!(artifacts[0].sha256.0, <[u8; 32]>::from(sha2::Sha256::digest(b"one,two")));
    fixture.shared.store.commit(&Commit { artifacts, now: now(), ..Commit::default() }).await.unwrap();

    let open = |name: &str| Call::ArtifactOpen { task_id: "a".into(), map_index: None, name: name.into() };
    let Ok(Reply::Stream { stream, size: 7 }) = fixture.call(&b, open("dir/file.csv")).await else { panic!() };
    let mut read = Vec::new();
    loop {
        let Ok(Reply::Bytes(chunk)) = fixture.call(&b, Call::StreamRead { stream, max_bytes: 3 }).await else {
            panic!()
        };
        if chunk.is_empty() {
            break;
        }
        assert!(chunk.len() <= 3);
        read.extend(chunk);
    }
    assert_eq!(read, b"one,two");
    assert!(matches!(fixture.call(&b, open("none")).await, Err(CallError::NotFound(_))));
    assert!(matches!(fixture.call(&b, open("../etc")).await, Err(CallError::Invalid(_))));
    let stranger = Call::StreamRead { stream: StreamKey(99), max_bytes: 1 };
    assert!(matches!(fixture.call(&b, stranger).await, Err(CallError::Invalid(_))));
}

#[tokio::test]
async fn http_goes_to_granted_hosts_only_and_without_what_is_not_the_tasks_business() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut fixture = Fixture::pair(serde_json::json!({"hosts": [format!("127.0.0.1:{port}")]})).await;
    let a = fixture.attempt("a");
    let request = |uri: String| Call::HttpRequest {
        method: "POST".into(),
        uri,
        headers: vec![("x-ask".into(), b"yes".to_vec()), ("host".into(), b"evil".to_vec())],
        body: b"ping".to_vec(),
        timeout_ms: Some(5_000),
    };
    let uri = format!("http://127.0.0.1:{port}/path");
    assert!(denied(fixture.call(&a, request(uri.clone())).await).contains("loopback"));
    let other = denied(fixture.call(&a, request("https://example.org/".into())).await);
    assert!(other.contains("`http:example.org`"), "{other}");

    let shared = Arc::get_mut(&mut fixture.shared).unwrap();
    shared.egress = crate::executor::egress::Egress::new(true, &crate::connections::Lookups::default()).unwrap();
    let server = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"ping") {
            assert!(peer.read_buf(&mut asked).await.unwrap() > 0);
        }
        peer.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 4\r\n\r\npong")
            .await
            .unwrap();
        String::from_utf8(asked).unwrap()
    };
    let (answer, asked) = tokio::join!(fixture.call(&a, request(uri)), server);
    let Ok(Reply::Response { stream, status: 302, .. }) = answer else { panic!("{answer:?}") };
    assert!(
        asked.starts_with("POST /path HTTP/1.1\r\n") && asked.contains("x-ask: yes") && !asked.contains("evil"),
        "{asked}"
    );
    let read = || Call::StreamRead { stream, max_bytes: 100 };
    assert!(matches!(fixture.call(&a, read()).await, Ok(Reply::Bytes(bytes)) if bytes == b"pong"));
    assert!(matches!(fixture.call(&a, read()).await, Ok(Reply::Bytes(bytes)) if bytes.is_empty()));
}

/// A host that answers each connection with this, and reads nothing but what it must.
async fn answering(answer: &'static [u8]) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let _ = peer.read_buf(&mut Vec::new()).await;
            let _ = peer.write_all(answer).await;
        }
    });
    (port, serving)
}

#[tokio::test]
async fn an_attempt_has_so_much_of_the_network_and_no_more() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\npong";
    let (port, _serving) = answering(ANSWER).await;
    let request = |body: usize| Call::HttpRequest {
        method: "GET".into(),
        uri: format!("http://127.0.0.1:{port}/"),
        headers: Vec::new(),
        body: vec![0; body],
        timeout_ms: Some(5_000),
    };
    let with = async |traffic: TrafficCaps| {
        let mut fixture = Fixture::pair(serde_json::json!({"hosts": [format!("127.0.0.1:{port}")]})).await;
        let shared = Arc::get_mut(&mut fixture.shared).unwrap();
        shared.egress = crate::executor::egress::Egress::new(true, &crate::connections::Lookups::default()).unwrap();
        shared.config.traffic = traffic;
        fixture
    };
    let told = |answer: Result<Reply, CallError>| match answer {
        Err(CallError::TooLarge(text) | CallError::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    };
    let caps = TrafficCaps::default();

    let mut fixture = with(TrafficCaps { requests: 2, ..caps }).await;
    let (a, b) = (fixture.attempt("a"), fixture.attempt("b"));
    for _ in 0..2 {
        let Ok(Reply::Response { stream, .. }) = fixture.call(&a, request(0)).await else { panic!() };
        // What goes on is no further request.
        let read = fixture.call(&a, Call::StreamRead { stream, max_bytes: 100 }).await;
        assert!(matches!(read, Ok(Reply::Bytes(bytes)) if bytes == b"pong"));
    }
    assert!(told(fixture.call(&a, request(0)).await).contains("`egress.max_requests`"));
    // What stays in the house goes on, and so does another attempt.
    assert!(fixture.call(&a, Call::XComPush { key: "k".into(), value: json("1") }).await.is_ok());
    assert!(fixture.call(&b, request(0)).await.is_ok());

    let mut fixture = with(TrafficCaps { sent_bytes: 100, ..caps }).await;
    let a = fixture.attempt("a");
    assert!(told(fixture.call(&a, request(100)).await).contains("`egress.max_sent_bytes`"));
    assert!(fixture.call(&a, request(10)).await.is_ok());

    // The head of the answer fits, its body does not.
    let head = b"connection".len() + b"close".len() + b"content-length".len() + b"4".len();
    let mut fixture = with(TrafficCaps { received_bytes: head as u64 + 3, ..caps }).await;
    let a = fixture.attempt("a");
    let Ok(Reply::Response { stream, .. }) = fixture.call(&a, request(0)).await else { panic!() };
    let read = fixture.call(&a, Call::StreamRead { stream, max_bytes: 100 }).await;
    assert!(told(read).contains("`egress.max_received_bytes`"));
    assert!(told(fixture.call(&a, request(0)).await).contains("`egress.max_received_bytes`"));

    let mut fixture = with(TrafficCaps { at_a_time: 1, ..caps }).await;
    let a = fixture.attempt("a");
    let Ok(Reply::Response { stream, .. }) = fixture.call(&a, request(0)).await else { panic!() };
    assert!(told(fixture.call(&a, request(0)).await).contains("`egress.max_at_a_time`"));
    crate::executor::calls::receive(
        &fixture.shared,
        &fixture.outbox,
        &a,
        CallKey(8),
        Call::StreamDrop { stream },
        None,
    );
    assert!(fixture.call(&a, request(0)).await.is_ok());
}

#[tokio::test]
async fn a_host_that_never_answers_costs_no_more_time_than_there_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut fixture = Fixture::pair(serde_json::json!({"hosts": [format!("127.0.0.1:{port}")]})).await;
    let shared = Arc::get_mut(&mut fixture.shared).unwrap();
    shared.egress = crate::executor::egress::Egress::new(true, &crate::connections::Lookups::default()).unwrap();
    shared.config.traffic.time = std::time::Duration::from_millis(200);
    let a = fixture.attempt("a");
    let request = || Call::HttpRequest {
        method: "GET".into(),
        uri: format!("http://127.0.0.1:{port}/"),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: Some(60_000),
    };
    for _ in 0..2 {
        let Err(CallError::TooLarge(text)) = fixture.call(&a, request()).await else { panic!() };
        assert!(text.contains("`egress.max_seconds`"), "{text}");
    }
}

#[tokio::test]
async fn a_refusal_stands_in_the_log_but_not_a_thousand_times() {
    let mut fixture = Fixture::pair(serde_json::json!({})).await;
    let a = fixture.attempt("a");
    for _ in 0..100 {
        denied(fixture.call(&a, Call::VariableGet { key: "other".into() }).await);
    }
    let page = fixture.shared.logs.read(&a.id().instance, 1, crate::executor::LogFrom::Line(0), 1_000).await.unwrap();
    assert_eq!(page.lines.len(), 20);
    assert!(page.lines[0].contains("grant `variable:other` is missing"), "{}", page.lines[0]);
}
