//! Dags that do what no dag should. Each ends within its limits and says why; the canary does not notice.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Database, Server, build};
use serde_json::json;

/// How a hostile run must end, and what its log must say.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("hostile_spin", "spin", "failed", "ran longer than its limit of 2000 ms"),
    ("hostile_oversleep", "oversleep", "failed", "ran longer than its limit of 2000 ms"),
    ("hostile_recurse", "recurse", "failed", "the call stack is exhausted"),
    ("hostile_allocate", "allocate", "failed", "out of memory"),
    ("hostile_flood", "flood", "success", "of log above the limit were dropped"),
    ("hostile_endless_line", "endless_line", "success", "yyyyyyyy"),
    ("hostile_litter", "litter", "failed", "one more than the 1000 of an attempt"),
    ("hostile_huge_result", "huge_result", "failed", "out of memory"),
    ("hostile_panics", "panics", "failed", "panicked: the guest gave up in panics"),
    ("hostile_exits", "exits", "failed", "the task called exit with 0"),
    ("hostile_reads_variable", "reads_variable", "failed", "variable:other_teams_password"),
    ("hostile_reads_connection", "reads_connection", "failed", "connection-secret:other_teams_database"),
    ("hostile_calls_host", "calls_host", "failed", "127.0.0.1"),
    ("hostile_looks_around", "looks_around", "success", ""),
];

#[tokio::test]
async fn each_limit_holds_and_says_so() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let variable = json!({"key": "other_teams_password", "value": "not for you"});
    client.post("/api/v2/variables", &variable).await.ok();

    let mut runs = Vec::new();
    for (dag_id, ..) in CASES {
        runs.push(client.trigger(dag_id, json!({})).await);
    }
    // All of them are under way now. Nobody else is slowed down by more than sharing two cores takes.
    let start = Instant::now();
    assert_canary_sings(&client).await;
    assert!(start.elapsed() < Duration::from_secs(10), "the canary took {:?}", start.elapsed());

    for ((dag_id, task_id, state, said), run_id) in CASES.iter().zip(&runs) {
        let run = client.finished(dag_id, run_id).await;
        assert_eq!(run["state"], *state, "{dag_id}");
        let log = client.log(dag_id, run_id, task_id, 1).await;
        assert!(log.contains(said), "{dag_id}: {}", log.chars().take(2_000).collect::<String>());
        assert!(!log.contains("not for you"), "{dag_id}");
    }
    assert_canary_sings(&client).await;
    let health = client.get("/api/v2/monitor/health").await.ok();
    assert_eq!(health["scheduler"]["status"], "healthy");
}

#[tokio::test]
async fn a_secret_that_a_task_tells_is_masked_everywhere() {
    const SECRET: &str = "Tr0ub4dor-and-3";
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    client.post("/api/v2/variables", &json!({"key": "api_password", "value": SECRET})).await.ok();
    let run_id = client.trigger("hostile_tells_secret", json!({})).await;
    let run = client.finished("hostile_tells_secret", &run_id).await;
    assert_eq!(run["state"], "failed");

    let instance = format!("/api/v2/dags/hostile_tells_secret/dagRuns/{run_id}/taskInstances/tells_secret");
    let mut seen = String::new();
    for path in ["", "/logs/1", "/xcomEntries", "/tries"] {
        seen += &client.get(&format!("{instance}{path}")).await.ok().to_string();
    }
    seen += &client.get("/api/v2/variables/api_password").await.ok().to_string();
    seen += &client.get("/api/v2/variables").await.ok().to_string();
    seen += &server.log();
    assert!(seen.contains("the secret is ***, so it is"), "{seen}");
    assert!(!seen.contains(SECRET), "{seen}");
    assert!(!Database::of(&server).holds(SECRET), "it is in the database");
}

#[tokio::test]
async fn an_attempt_starts_with_nothing_of_the_one_before() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    for _ in 0..5 {
        let run_id = client.trigger("counted", json!({})).await;
        client.finished("counted", &run_id).await;
        assert_eq!(client.xcom("counted", &run_id, "counts", "return_value").await, 1);
    }
    let run_id = client.trigger("retried", json!({})).await;
    assert_eq!(client.finished("retried", &run_id).await["state"], "success");
    assert_eq!(client.xcom("retried", &run_id, "third_time", "return_value").await, 3);
    assert!(client.log("retried", &run_id, "third_time", 1).await.contains("not yet"));
}

#[tokio::test]
async fn a_granted_host_is_reached_and_a_private_address_only_if_the_operator_says_so() {
    for (setting, state, said) in [("true", "success", ""), ("false", "failed", "loopback")] {
        let server = Server::builder().env("AIRLOCK_EGRESS_ALLOW_PRIVATE", setting).start().await;
        let client = server.client().await;
        client.upload(build::component("hostile")).await.ok();
        let authority = server.url.trim_start_matches("http://");
        let run_id = client.trigger("neighbourly", json!({"authority": authority})).await;
        let log = async || client.log("neighbourly", &run_id, "asks", 1).await;
        assert_eq!(client.finished("neighbourly", &run_id).await["state"], state, "{}", log().await);
        assert!(log().await.contains(said), "{}", log().await);
        if state == "success" {
            // The page's answer to a stranger: go and sign in.
            assert_eq!(client.xcom("neighbourly", &run_id, "asks", "return_value").await, "303");
        }
    }
}

#[tokio::test]
async fn a_cap_on_the_network_is_named_in_the_log() {
    let server = Server::builder()
        .env("AIRLOCK_EGRESS_ALLOW_PRIVATE", "true")
        .env("AIRLOCK_EGRESS_MAX_RECEIVED_BYTES", "1")
        .start()
        .await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let authority = server.url.trim_start_matches("http://");
    let run_id = client.trigger("neighbourly", json!({"authority": authority})).await;
    assert_eq!(client.finished("neighbourly", &run_id).await["state"], "failed");
    let log = client.log("neighbourly", &run_id, "asks", 1).await;
    assert!(log.contains("more than 1 bytes") && log.contains("`egress.max_received_bytes`"), "{log}");
}

#[tokio::test]
async fn a_last_line_without_its_end_is_not_lost() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("murmuring", json!({})).await;
    assert_eq!(client.finished("murmuring", &run_id).await["state"], "success");
    let log = client.log("murmuring", &run_id, "murmurs", 1).await;
    assert!(log.contains("a whole line") && log.contains("half a line"), "{log}");
}

#[tokio::test]
async fn a_run_that_takes_too_long_fails_and_says_why() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("overdue", json!({})).await;
    let run = client.finished("overdue", &run_id).await;
    assert_eq!(
        (&run["state"], &run["message"]),
        (&json!("failed"), &json!("the run took longer than its limit of 1 s"))
    );
    for instance in client.instances("overdue", &run_id).await {
        assert_eq!(instance["state"], "skipped", "{instance}");
    }
}

async fn assert_canary_sings(client: &Client) {
    let run_id = client.trigger("canary", json!({"text": "tweet"})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
}
