//! What those who watch a server are told.

use std::time::Duration;

use airlock_tests::{ADMIN_PASSWORD, Client, Peer, Server, browser::Browser, build, until};
use serde_json::json;

/// The value of a figure, as `name{label="value"}`.
async fn figure(client: &Client, name: &str) -> Option<f64> {
    let text = client.text("/metrics", "application/openmetrics-text").await;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn what_runs_and_requests_do_is_counted() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hello")).await.ok();
    let run_id = client.trigger("hello", json!({})).await;
    assert_eq!(client.finished("hello", &run_id).await["state"], "success");
    let is = async |name: &str, expected: f64| assert_eq!(figure(&client, name).await, Some(expected), "{name}");
    is(r#"airlock_dag_runs_ended_total{dag_id="hello",state="success"}"#, 1.0).await;
    is("airlock_dag_run_seconds_count", 1.0).await;
    is("airlock_dag_run_delay_seconds_count", 1.0).await;
    is(r#"airlock_task_instance_tries_ended_total{state="success"}"#, 3.0).await;
    is("airlock_task_instance_try_seconds_count", 3.0).await;
    is("airlock_task_instance_queued_seconds_count", 3.0).await;
    is("airlock_scheduler_active_dag_runs", 0.0).await;
    is(r#"airlock_http_requests_total{method="POST",route="/api/v2/dags/{dag_id}/dagRuns",status="200"}"#, 1.0).await;
    is(r#"airlock_pool_slots{pool="default_pool",state="running"}"#, 0.0).await;
    is("airlock_runner_starts_total", 1.0).await;
    is("airlock_runner_losses_total", 0.0).await;
    assert!(figure(&client, "airlock_database_bytes").await.unwrap() > 100_000.0);

    server.kill_children();
    until("the runner's loss", Duration::from_secs(10), async || {
        (figure(&client, "airlock_runner_losses_total").await == Some(1.0)).then_some(())
    })
    .await;

    client.delete("/api/v2/dags/hello").await.ok();
    assert_eq!(figure(&client, r#"airlock_dag_runs_ended_total{dag_id="hello",state="success"}"#).await, None);
}

#[tokio::test]
async fn probes_need_no_sign_in_and_figures_do() {
    let server = Server::start().await;
    let anybody = Client::anonymous(&server.url);
    anybody.get("/livez").await.ok();
    assert_eq!(anybody.get("/readyz").await.ok(), json!({"metadatabase": "healthy", "scheduler": "healthy"}));
    anybody.get("/metrics").await.refused(401);
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_told_to_operators() {
    let server = Server::builder().on_disk_of("64m").start().await;
    let admin = server.client().await;
    let told = until("the warning", Duration::from_secs(30), async || {
        let told = admin.get("/api/v2/monitor/warnings").await.ok();
        (told["total_entries"] == 1).then_some(told)
    })
    .await;
    let warning = &told["warnings"][0];
    assert_eq!((&warning["kind"], &warning["dag_id"]), (&json!("disk_nearly_full"), &json!(null)), "{told}");
    let text = warning["text"].as_str().unwrap();
    assert!(text.contains("the disk of the data directory is nearly full"), "{text}");
    assert_eq!(figure(&admin, r#"airlock_warnings{kind="disk_nearly_full"}"#).await, Some(1.0));
    assert_eq!(figure(&admin, r#"airlock_warnings{kind="slow_task"}"#).await, Some(0.0));

    let body = json!({"username": "vic", "password": ADMIN_PASSWORD, "role": "viewer"});
    admin.post("/api/v2/users", &body).await.ok();
    let viewer = Client::signed_in(&server.url, "vic", ADMIN_PASSWORD).await;
    let refused = viewer.get("/api/v2/monitor/warnings").await.refused(403);
    assert!(refused.contains("warning.read") && refused.contains("operators and admins"), "{refused}");

    let browser = Browser::start(1280, 800).await.unwrap();
    browser.sign_in(&server).await;
    assert!(browser.text("#warnings li").await.contains("nearly full"));
    if let Ok(folder) = std::env::var("AIRLOCK_TEST_SHOTS") {
        let path = std::path::Path::new(&folder).join("warnings.png");
        browser.driver.screenshot(&path).await.unwrap();
    }
    assert!(admin.text("/pools", "text/html").await.contains(r#"id="warnings""#));
    assert!(!viewer.text("/pools", "text/html").await.contains(r#"id="warnings""#));
}

const TRACED: &str = "
dag_id: traced
grants: {connections: [shop]}
tasks:
  fetch: {uses: http/get, with: {url: \"http://shop.connection.internal/stock\"}}
  fails: {uses: control/fail, with: {message: nothing in stock}, needs: [fetch]}
";

#[tokio::test]
async fn a_run_is_a_trace_and_what_its_tasks_call_belongs_to_it() {
    let (collector, shop) = (Peer::start(&[]).await, Peer::answering(|_| (200, "{}".into())).await);
    let mut server = Server::builder()
        .flag("--traces-url", &collector.url("/v1/traces"))
        .env("AIRLOCK_TRACES_HEADERS", "x-team=data")
        .start()
        .await;
    let client = server.client().await;
    for component in ["http", "control"] {
        client.upload(build::component(component)).await.ok();
    }
    client
        .post("/api/v2/connections", &json!({"connection_id": "shop", "conn_type": "http", "host": shop.url("")}))
        .await
        .ok();
    client.upload(TRACED.into()).await.ok();
    let run_id = client.trigger("traced", json!({})).await;
    assert_eq!(client.finished("traced", &run_id).await["state"], "failed");
    // What waits to be sent is sent before the server's end.
    assert!(server.stop().await.success());

    let sent = collector.taken();
    assert!(sent.iter().all(|taken| taken.head.starts_with("POST /v1/traces ") && taken.head.contains("x-team: data")));
    let spans: String = sent.iter().map(|taken| taken.body.to_string()).collect();
    for word in ["dag_run traced", "task_instance fetch", "task_instance fails", "nothing in stock", &run_id] {
        assert!(spans.contains(word), "`{word}` is not in {spans}");
    }
    let asked = shop.taken();
    let span = asked[0].head.lines().find_map(|line| line.strip_prefix("traceparent: 00-")).unwrap();
    assert_eq!(span.trim().len(), "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".len(), "{span}");
}

#[tokio::test]
async fn a_server_runs_on_if_nobody_takes_its_traces() {
    let server = Server::builder().flag("--traces-url", "http://127.0.0.1:9/v1/traces").start().await;
    let client = server.client().await;
    client.upload(build::component("hello")).await.ok();
    let run_id = client.trigger("hello", json!({})).await;
    assert_eq!(client.finished("hello", &run_id).await["state"], "success");
    until("spans that are given up", Duration::from_mins(1), async || {
        figure(&client, "airlock_spans_dropped_total").await.filter(|dropped| *dropped >= 4.0)
    })
    .await;
}
