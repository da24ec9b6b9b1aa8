//! Tasks that mean harm, beyond those of `hostile.rs`.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Peer, Server, build};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use super::{assert_unharmed, resident_mib};

async fn hostile() -> (Server, Client) {
    let server = Server::builder().env("AIRLOCK_EGRESS_ALLOW_PRIVATE", "true").start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    (server, client)
}

/// Runs a dag with one task; answers how it ended and what its log says.
async fn ended(client: &Client, dag_id: &str, task_id: &str, conf: Value) -> (String, String, String) {
    let run_id = client.trigger(dag_id, conf).await;
    let state = client.finished(dag_id, &run_id).await["state"].as_str().unwrap().to_owned();
    (state, client.log(dag_id, &run_id, task_id, 1).await, run_id)
}

#[tokio::test]
async fn gu_002_a_hundred_endless_loops_end_in_time_and_the_canary_sings() {
    let (server, client) = hostile().await;
    let pid = server.pid();
    let canary = async || {
        let start = Instant::now();
        let run_id = client.trigger("canary", json!({"text": "tweet"})).await;
        assert_eq!(client.finished("canary", &run_id).await["state"], "success");
        start.elapsed()
    };
    canary().await;
    let mut runs = Vec::new();
    for _ in 0..100 {
        runs.push(client.trigger("hostile_spin", json!({})).await);
    }
    for _ in 0..5 {
        // Two cores are shared with a hundred loops, and with other tests.
        assert!(canary().await < Duration::from_secs(20));
    }
    for run_id in runs {
        assert_eq!(client.finished("hostile_spin", &run_id).await["state"], "failed");
    }
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn gu_008_storms_of_host_calls_end_by_the_clock() {
    let (server, client) = hostile().await;
    let pid = server.pid();
    for (dag_id, task_id) in [("hostile_storm", "storm"), ("hostile_chatter", "chatter")] {
        let start = Instant::now();
        let (state, log, _) = ended(&client, dag_id, task_id, json!({})).await;
        assert_eq!(state, "failed", "{dag_id}");
        assert!(
            log.contains("ran longer than its limit of 2000 ms") || log.contains("host calls"),
            "{dag_id}: {}",
            &log[log.len().saturating_sub(500)..]
        );
        assert!(start.elapsed() < Duration::from_mins(1), "{dag_id}: {:?}", start.elapsed());
    }
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn gu_021_we_015_what_looks_like_an_object_is_data() {
    let (_server, client) = hostile().await;
    let (state, _, run_id) = ended(&client, "hostile_gadget", "gadget", json!({})).await;
    assert_eq!(state, "success");
    let value = client.xcom("hostile_gadget", &run_id, "gadget", "return_value").await;
    assert_eq!(value["__proto__"], json!({"polluted": true}));
    assert_eq!((&value["__class__"], &value["jinja"]), (&json!("os.system"), &json!("{{7*7}}${7*7}")));
}

#[tokio::test]
async fn gu_033_fresh_memory_holds_nothing_of_others() {
    let (_server, client) = hostile().await;
    for _ in 0..20 {
        let (state, log, run_id) = ended(&client, "hostile_peek", "peek", json!({})).await;
        assert_eq!(state, "success", "{log}");
        assert_eq!(client.xcom("hostile_peek", &run_id, "peek", "return_value").await, 0);
    }
}

#[tokio::test]
async fn gu_034_attempts_that_are_cancelled_at_any_moment_harm_nobody() {
    let (server, client) = hostile().await;
    let pid = server.pid();
    let mut runs = Vec::new();
    for n in 0..60 {
        runs.push(client.trigger("busy_bees", json!({"steps": 50})).await);
        if n % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(37 * n)).await;
            for run_id in runs.drain(..) {
                let path = format!("/api/v2/dags/busy_bees/dagRuns/{run_id}");
                client.patch(&path, &json!({"state": "failed"})).await.ok();
            }
        }
    }
    let (state, ..) = ended(&client, "canary", "echo", json!({"text": "tweet"})).await;
    assert_eq!(state, "success");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn gu_036_a_task_starts_a_thousand_runs_and_no_more() {
    let (server, client) = hostile().await;
    client.set_paused("victim", true).await;
    let (state, log, _) = ended(&client, "hostile_spawn_flood", "spawn_flood", json!({})).await;
    assert!(state == "failed" && log.contains("one more than the 1000 that an attempt may start"), "{state}: {log}");
    let runs = client.get("/api/v2/dags/victim/dagRuns?limit=1").await.ok();
    assert_eq!(runs["total_entries"], 1_000);
    assert_unharmed(&server, server.pid()).await;
}

#[tokio::test]
async fn gi_005_gi_008_a_hostile_peer_gets_nowhere() {
    let (server, client) = hostile().await;
    let pid = server.pid();
    let before = resident_mib(&server);
    let inside = Peer::start(&[]).await;
    let redirects =
        ["http://169.254.169.254/", &inside.url("/"), "file:///etc/passwd", "gopher://127.0.0.1:70/", "//127.0.0.1/"];
    let mut answers: Vec<(String, &str)> = redirects
        .iter()
        .map(|to| (format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"), "302"))
        .collect();
    let headers = (0..100_000).map(|n| format!("x-{n}: y\r\n")).collect::<Vec<_>>().concat();
    answers.push((format!("HTTP/1.1 200 OK\r\n{headers}\r\n"), ""));
    answers.push((format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(16 << 20)), ""));
    answers.push(("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nx".to_owned(), ""));
    answers.push(("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n".to_owned(), ""));
    answers.push(("HTTP/1.1 999999 \u{1b}[31mred\r\n\r\n".to_owned(), ""));
    answers.push(("\0\0\0\0\0\0\0\0".to_owned(), ""));
    for (answer, result) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut peer = JoinSet::new();
        peer.spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 4_096]).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        let conf = json!({"authority": format!("127.0.0.1:{port}")});
        let (state, log, run_id) = ended(&client, "neighbourly", "asks", conf).await;
        if result == "302" {
            assert_eq!(
                (&*state, client.xcom("neighbourly", &run_id, "asks", "return_value").await),
                ("success", json!("302")),
                "{log}"
            );
        }
    }
    assert!(inside.taken().is_empty(), "a redirect was followed");
    assert!(resident_mib(&server) < before + 256, "{} MiB", resident_mib(&server));
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn gi_012_guesses_at_names_are_answered_alike_and_written_down_but_not_for_ever() {
    let (server, client) = hostile().await;
    client.post("/api/v2/variables", &json!({"key": "other_teams_password", "value": "not for you"})).await.ok();
    let (state, log, run_id) = ended(&client, "hostile_guesses", "guesses", json!({})).await;
    assert_eq!(state, "success", "{log}");
    let said = client.xcom("hostile_guesses", &run_id, "guesses", "return_value").await;
    let shape = |n: usize, name: &str| said[n].as_str().unwrap().replace(name, "NAME");
    assert_eq!(shape(1, "other_teams_password"), shape(6, "nothing"), "whether it is there is not told");
    assert!(log.lines().count() < 100, "{} lines", log.lines().count());
    assert_unharmed(&server, server.pid()).await;
}
