//! The streams of workers, and what processes of one database say to each other, in the hands of somebody else. What may be said on such a stream is
//! tried where the supervisor is (`host/tests/executor/hostile_worker.rs`).

use airlock_tests::{Client, Server, Worker, build};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{SOON, assert_unharmed, connect, resident_mib, said, status};
use crate::cluster::{Place, is_led};

const TOKEN: &str = "a token that workers show";

/// `head` with another line for that header, or with none.
fn with_header(head: &str, name: &str, line: &str) -> String {
    let kept = head.trim_end().split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with(name));
    format!("{}\r\n{line}\r\n", kept.collect::<Vec<_>>().join("\r\n"))
}

/// The status of the answer to `request`; 0: there was none.
async fn answered(server: &Server, request: &str) -> u16 {
    let mut socket = connect(server).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    match timeout(SOON, socket.read_exact(&mut begin)).await {
        Ok(Ok(_)) => status(&String::from_utf8_lossy(&begin)),
        _ => 0,
    }
}

#[tokio::test]
async fn in_009_only_who_has_the_token_opens_a_stream_and_nonsense_harms_nobody() {
    let server = Server::builder().env("AIRLOCK_WORKERS_TOKEN", TOKEN).start().await;
    let (client, pid) = (server.client().await, server.pid());
    client.upload(build::component("hostile")).await.ok();
    let hello = Worker::hello(TOKEN, "mallory", 4).await;
    let session = client.token.clone().unwrap();
    for (name, line, wanted) in [
        ("authorization:", String::new(), 403),
        ("authorization:", "authorization: Bearer \r\n".into(), 403),
        ("authorization:", "authorization: Bearer a guess\r\n".into(), 403),
        ("authorization:", format!("authorization: Bearer {TOKEN}x\r\n"), 403),
        ("authorization:", format!("authorization: Bearer {}\r\n", &TOKEN[..TOKEN.len() - 1]), 403),
        ("authorization:", format!("authorization: Basic {TOKEN}\r\n"), 403),
        ("authorization:", format!("authorization: {TOKEN}\r\n"), 403),
        // An admin is no worker.
        ("authorization:", format!("authorization: Bearer {session}\r\n"), 403),
        ("upgrade:", "upgrade: websocket\r\n".into(), 400),
        ("x-airlock-worker:", String::new(), 400),
        ("x-airlock-worker:", format!("x-airlock-worker: {}\r\n", "n".repeat(251)), 400),
        ("x-airlock-slots:", "x-airlock-slots: 0\r\n".into(), 400),
        ("x-airlock-slots:", "x-airlock-slots: -1\r\n".into(), 400),
        ("x-airlock-slots:", "x-airlock-slots: 100001\r\n".into(), 400),
        ("x-airlock-slots:", "x-airlock-slots: 99999999999999999999\r\n".into(), 400),
        ("x-airlock-memory-mib:", "x-airlock-memory-mib: -1\r\n".into(), 400),
        ("x-airlock-process:", "x-airlock-process: 1\r\n".into(), 400),
        ("x-airlock-queues:", "x-airlock-queues: a b\r\n".into(), 400),
        ("x-airlock-attempts:", "x-airlock-attempts: 0\r\n".into(), 400),
        ("x-airlock-protocol:", "x-airlock-protocol: 0\r\n".into(), 409),
        ("x-airlock-code:", "x-airlock-code: mine\r\n".into(), 409),
    ] {
        assert_eq!(answered(&server, &with_header(&hello, name, &line)).await, wanted, "{line}");
    }
    let posted = answered(&server, &hello.replacen("GET", "POST", 1)).await;
    assert!([401, 405].contains(&posted), "{posted}");
    let leave = "POST /api/v2/workers/mallory/leave HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a guess\r\n\r\n";
    assert_eq!(answered(&server, leave).await, 403);
    assert_eq!(client.get("/api/v2/workers").await.ok()["workers"], json!([]));

    // With the token one is a worker, and what it says is read as if it were hostile.
    let before = resident_mib(&server);
    for garbage in
        [vec![0xff; 1 << 20], vec![0; 1 << 20], b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![1, 0, 0, 0, 0, 0xff]]
    {
        let mut socket = connect(&server).await;
        socket.write_all(hello.as_bytes()).await.unwrap();
        let _ = socket.write_all(&garbage).await;
        let answer = said(&mut socket, SOON).await;
        assert_eq!(status(&answer), 101, "{answer}");
        assert_unharmed(&server, pid).await;
    }
    assert!(resident_mib(&server) < before + 64, "{} MiB", resident_mib(&server));
    let run_id = client.trigger("canary", json!({"text": "unharmed"})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
    let log = server.log();
    assert!(!log.contains(TOKEN) && log.contains("a worker was lost"), "{log}");
}

#[tokio::test]
async fn in_010_who_is_no_member_of_a_cluster_is_told_nothing_and_believed_nothing() {
    let place = Place::new().await;
    let first = place.process().start().await;
    let second = place.process().switch("--api").start().await;
    is_led(&second).await;
    let epoch = place.epoch();
    let ask = async |server: &Server, path: &str, headers: &[(&str, &str)]| {
        let client = Client::anonymous(&server.url);
        let request = headers
            .iter()
            .fold(client.request(reqwest::Method::GET, path), |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    let token = place.sql("SELECT convert_from(value, 'UTF8') FROM setting WHERE name = 'cluster_token'");
    for server in [&first, &second] {
        for shown in ["", "a guess", &token[1..], &format!("{token}0"), &token.to_ascii_uppercase()] {
            assert_eq!(ask(server, "/cluster/presence", &[("x-airlock-cluster", shown)]).await, 404, "{shown}");
        }
        assert_eq!(ask(server, "/cluster/presence", &[]).await, 404);
        assert_eq!(ask(server, "/cluster/presence", &[("x-airlock-cluster", &token)]).await, 200);
    }
    // What was passed on to the wrong one is not passed on again.
    assert_eq!(ask(&second, "/livez", &[("x-airlock-cluster", &token)]).await, 200);
    assert_eq!(ask(&second, "/api/v2/version", &[("x-airlock-cluster", &token)]).await, 503);

    // Nobody says of himself where he comes from, nor that he came by https.
    for server in [&first, &second] {
        for shown in ["a guess", ""] {
            let client = Client::anonymous(&server.url);
            let body = json!({"username": "admin", "password": "a guess that is wrong"});
            let request = client.request(reqwest::Method::POST, "/auth/token").json(&body);
            let request = request.header("x-airlock-cluster", shown).header("x-airlock-peer", "203.0.113.9");
            let request = request.header("x-airlock-proto", "https").header("x-forwarded-for", "203.0.113.9");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401);
            assert!(!answer.headers().contains_key("strict-transport-security"));
        }
    }
    let log = first.client().await.get("/api/v2/eventLogs?event=sign_in&limit=100").await.ok().to_string();
    assert!(log.contains("127.0.0.1") && !log.contains("203.0.113.9"), "{log}");

    // However a request names its target, it is asked of the leader or refused.
    for target in
        ["*", "?x", "@203.0.113.9/", "203.0.113.9:1", "http://203.0.113.9/livez", "//203.0.113.9/", "/@203.0.113.9"]
    {
        for method in ["GET", "OPTIONS", "CONNECT"] {
            let answer = answered(&second, &format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
            assert!((200..500).contains(&answer), "{method} {target}: {answer}");
        }
    }
    assert!(!first.log().contains(&token) && !second.log().contains(&token));
    assert_eq!(place.epoch(), epoch);
}
