//! Connections that tasks use without ever holding their secrets.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use airlock_tests::{
    Client, Peer, Server, Shell, build,
    s3::{BUCKET, Bucket},
    until,
};
use serde_json::{Value, json};

async fn server() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("http")).await.ok();
    (server, client)
}

async fn set(client: &Client, id: &str, fields: Value, extra: Value) {
    let mut body = fields;
    body["connection_id"] = json!(id);
    body["extra"] = json!(extra.to_string());
    client.post("/api/v2/connections", &body).await.ok();
}

/// Runs a dag of one task by hand; answers how it ended, its result and its log.
async fn run(client: &Client, text: &str) -> (String, Value, String) {
    client.upload(text.to_owned().into()).await.ok();
    let run_id = client.trigger("asks", json!({})).await;
    let state = client.finished("asks", &run_id).await["state"].as_str().unwrap().to_owned();
    let base = format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/t");
    let result = client.get(&format!("{base}/xcomEntries/return_value")).await.body["value"].clone();
    let log = client.get(&format!("{base}/logs/1")).await.ok().to_string();
    (state, result, log)
}

fn get(url: &str, grants: &str) -> String {
    format!("dag_id: asks\ngrants: {grants}\ntasks: {{t: {{uses: http/get, with: {{url: \"{url}\"}}}}}}\n")
}

#[tokio::test]
async fn a_request_by_a_connection_gets_its_credentials_and_the_task_does_not() {
    let peer = Peer::answering(|taken| {
        let sent = taken.head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
        (200, json!({"echo": sent}).to_string())
    })
    .await;
    let (_server, client) = server().await;
    let url = peer.url("/base/");
    set(
        &client,
        "Shop",
        json!({"conn_type": "http", "host": url, "login": "ada", "password": "s3cret-pw"}),
        json!({"headers": {"x-team": "data"}}),
    )
    .await;

    let text = get("http://shop.connection.internal/v1/orders?day=1", "{connections: [Shop]}");
    let (state, result, log) = run(&client, &text).await;
    assert_eq!(state, "success", "{log}");
    // A peer that echoes the credentials gives them to the task: that is the peer's doing; no log shows them.
    assert_eq!(result, json!({"echo": "Basic YWRhOnMzY3JldC1wdw=="}));
    let head = &peer.taken()[0].head;
    assert!(head.starts_with("GET /base/v1/orders?day=1 HTTP/1.1"), "{head}");
    assert!(head.contains("x-team: data") && !head.contains("connection.internal"), "{head}");

    // The grant to use it does not let the secret be read, and without a grant nothing goes out.
    for (grants, missing) in [("{}", "connection:shop"), ("{connections: [other]}", "connection:shop")] {
        let (state, _, log) = run(&client, &get("http://shop.connection.internal/", grants)).await;
        assert!(state == "failed" && log.contains(&format!("grant `{missing}` is missing")), "{log}");
    }
    let (state, _, log) = run(&client, &get("http://shop.connection.internal:8080/", "{connections: [Shop]}")).await;
    assert!(state == "failed" && log.contains("takes no port"), "{log}");
    assert_eq!(peer.taken().len(), 1);
}

#[tokio::test]
async fn a_connection_does_not_lead_out_of_its_base_nor_to_where_machines_keep_their_credentials() {
    let peer = Peer::start(&[]).await;
    let (_server, client) = server().await;
    set(&client, "api", json!({"conn_type": "http", "host": peer.url("/v1")}), json!({})).await;
    set(&client, "cloud", json!({"conn_type": "http", "host": "http://169.254.169.254"}), json!({})).await;
    for path in ["/../../etc", "//evil.example.org/x", "/%2e%2e/%2e%2e/etc", "/@evil.example.org"] {
        run(&client, &get(&format!("http://api.connection.internal{path}"), "{connections: [api]}")).await;
    }
    let taken = peer.taken();
    assert!(taken.len() == 4 && taken.iter().all(|taken| taken.head.starts_with("GET /v1/")), "{taken:?}");
    let (state, _, log) = run(&client, &get("http://cloud.connection.internal/latest", "{connections: [cloud]}")).await;
    assert!(state == "failed" && log.contains("link-local"), "{log}");
}

#[tokio::test]
async fn a_token_is_got_once_and_used_while_it_holds() {
    let peer = Peer::answering(|taken| {
        let is_token = taken.head.starts_with("POST /token");
        let answer =
            if is_token { json!({"access_token": "granted-token", "expires_in": 3600}) } else { json!("fine") };
        (200, answer.to_string())
    })
    .await;
    let (_server, client) = server().await;
    let extra = json!({"auth": "oauth2", "token_url": peer.url("/token"), "scope": "read"});
    set(&client, "crm", json!({"conn_type": "http", "host": peer.url(""), "login": "id", "password": "hush"}), extra)
        .await;
    for _ in 0..2 {
        let (state, result, log) = run(&client, &get("http://crm.connection.internal/x", "{connections: [crm]}")).await;
        assert_eq!((state.as_str(), &result), ("success", &json!("fine")), "{log}");
    }
    let taken = peer.taken();
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert_eq!(taken[0].body, json!("grant_type=client_credentials&scope=read"));
    assert!(taken[2].head.contains("authorization: Bearer granted-token"), "{taken:?}");
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_used_once_more_at_most() {
    let given = AtomicU32::new(0);
    let peer = Peer::answering(move |taken| {
        if taken.head.starts_with("POST /token") {
            let number = given.fetch_add(1, Ordering::Relaxed);
            return (200, json!({"access_token": format!("token-number-{number}"), "expires_in": 3600}).to_string());
        }
        let status = if taken.head.contains("Bearer token-number-0") { 401 } else { 200 };
        (status, json!("fine").to_string())
    })
    .await;
    let (_server, client) = server().await;
    let extra = json!({"auth": "oauth2", "token_url": peer.url("/token")});
    set(&client, "crm", json!({"conn_type": "http", "host": peer.url(""), "login": "id", "password": "hush"}), extra)
        .await;
    let text = get("http://crm.connection.internal/x", "{connections: [crm]}");
    assert_eq!(run(&client, &text).await.0, "failed");
    assert_eq!(run(&client, &text).await.0, "success");
}

#[tokio::test]
async fn a_task_waits_for_an_object_in_storage_and_reads_it() {
    let bucket = Bucket::local().await;
    let (address, key_id, secret_key) = bucket.endpoint();
    let (_server, client) = server().await;
    let fields = json!({"conn_type": "aws", "login": key_id, "password": secret_key});
    set(&client, "lake", fields, json!({"endpoint_url": format!("http://{address}/{BUCKET}")})).await;
    let text = "
dag_id: asks
grants: {connections: [lake]}
tasks:
  there: {uses: http/wait, with: {url: 'http://lake.connection.internal/day 1.json', poke_interval: 300ms}}
  t: {uses: http/download, with: {url: 'http://lake.connection.internal/day 1.json', name: day.json}, needs: [there]}
";
    client.upload(text.to_owned().into()).await.ok();
    let run_id = client.trigger("asks", json!({})).await;
    let there = format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/there");
    until("it waits", Duration::from_secs(20), async || {
        (client.get(&there).await.ok()["state"] == "up_for_reschedule").then_some(())
    })
    .await;
    bucket.put("day 1.json", "[1, 2]");
    assert_eq!(client.finished("asks", &run_id).await["state"], "success");
    let base = format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/t");
    let result = client.get(&format!("{base}/xcomEntries/return_value")).await.ok();
    assert_eq!(result["value"]["size_bytes"], 6);
}

#[tokio::test]
async fn a_connection_that_can_not_serve_says_why() {
    let (_server, client) = server().await;
    set(&client, "lost", json!({"conn_type": "http"}), json!({})).await;
    set(&client, "odd", json!({"conn_type": "http", "host": "x"}), json!({"auth": "magic"})).await;
    for (id, why) in [("lost", "has no host"), ("odd", "unknown `auth`"), ("gone", "there is no connection")] {
        let text = get(&format!("http://{id}.connection.internal/"), &format!("{{connections: [{id}]}}"));
        let (state, _, log) = run(&client, &text).await;
        assert!(state == "failed" && log.contains(why), "{id}: {log}");
    }
}

#[tokio::test]
async fn a_test_says_whether_a_connection_leads_somewhere_and_is_no_way_to_look_around() {
    let peer = Peer::answering(|taken| {
        (if taken.head.contains("Basic YWRhOnMzY3JldC1wdw==") { 200 } else { 401 }, String::new())
    })
    .await;
    let (server, client) = server().await;
    let fields =
        |password: &str| json!({"conn_type": "http", "host": peer.url("/"), "login": "ada", "password": password});
    set(&client, "good", fields("s3cret-pw"), json!({})).await;
    set(&client, "bad", fields("other-secret"), json!({})).await;
    set(&client, "test", json!({"conn_type": "generic"}), json!({})).await;
    set(&client, "cloud", json!({"conn_type": "http", "host": "http://169.254.169.254"}), json!({})).await;
    let stored = async |id: &str| client.post(&format!("/api/v2/connections/{id}/test"), &json!({})).await.ok();
    assert_eq!(stored("good").await, json!({"status": true, "message": "the server was reached: HTTP 200"}));
    for (id, expected) in [("bad", "refuses the credentials"), ("test", "can't be tested"), ("cloud", "link-local")] {
        let told = stored(id).await;
        assert!(told["status"] == false && told["message"].as_str().unwrap().contains(expected), "{told}");
    }
    assert_eq!(client.get("/api/v2/connections/test").await.ok()["conn_type"], "generic", "one may be called so");

    // One that is not kept, with its own password: those that are kept go to no other host.
    let mut body = fields("s3cret-pw");
    body["connection_id"] = json!("new");
    assert_eq!(client.post("/api/v2/connections/test", &body).await.ok()["status"], true);
    body["connection_id"] = json!("good");
    body["password"] = json!("***");
    let refused = client.post("/api/v2/connections/test", &body).await;
    assert!(refused.status == 422 && refused.body.to_string().contains("it is masked"), "{}", refused.body);
    assert_eq!(client.get("/api/v2/connections/new").await.status, 404);

    let shell = Shell::signed_in(&server).await;
    shell.run(&["connections", "test", "good"]).await.ok();
    let failed = shell.run(&["connections", "test", "bad"]).await;
    assert!(format!("{failed:?}").contains("refuses the credentials"), "{failed:?}");

    // Not more than so many, by whatever way, and each is written down.
    let mut last = client.post("/api/v2/connections/test/test", &json!({})).await;
    for _ in 0..10 {
        last = client.post("/api/v2/connections/test/test", &json!({})).await;
    }
    assert_eq!(last.status, 429, "{}", last.body);
    let log = client.get("/api/v2/eventLogs?limit=100").await.ok().to_string();
    assert!(log.contains("test") && !log.contains("other-secret") && !log.contains("s3cret-pw"), "{log}");
}
