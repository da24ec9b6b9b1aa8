//! What dags may reach, and who says so.

use airlock_tests::{Client, Peer, Server, Shell, build};
use serde_json::{Value, json};

/// A server where all requests wait, and one variable.
async fn server(policy: &str) -> (Server, Client) {
    let server = Server::builder()
        .env("AIRLOCK_GRANTS_POLICY", policy)
        .env("AIRLOCK_EGRESS_ALLOW_PRIVATE", "true")
        .start()
        .await;
    let client = server.client().await;
    for name in ["http", "shapes"] {
        client.upload(build::component(name)).await.ok();
    }
    for (key, value) in [("city", "Seoul"), ("team/a", "blue")] {
        client.post("/api/v2/variables", &json!({"key": key, "value": value})).await.ok();
    }
    (server, client)
}

/// A dag of one task that says a text.
fn says(text: &str, grants: &str) -> String {
    format!("dag_id: asks\ngrants: {grants}\ntasks: {{t: {{uses: shapes/say, with: {{text: \"{text}\"}}}}}}\n")
}

/// Uploads; answers what the upload says of the dag's grants.
async fn upload(client: &Client, text: String) -> Value {
    client.upload(text.into()).await.ok()["dags"][0]["grants"].clone()
}

/// Runs the dag; answers how it ended, its result and its log.
async fn run(client: &Client) -> (String, Value, String) {
    let run_id = client.trigger("asks", json!({})).await;
    let state = client.finished("asks", &run_id).await["state"].as_str().unwrap().to_owned();
    let base = format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/t");
    let result = client.get(&format!("{base}/xcomEntries/return_value")).await.body["value"].clone();
    (state, result, client.get(&format!("{base}/logs/1")).await.ok().to_string())
}

async fn decide(client: &Client, verb: &str, grants: &[&str]) -> Value {
    client.post(&format!("/api/v2/dags/asks/grants/{verb}"), &json!({ "grants": grants })).await.ok()
}

#[tokio::test]
async fn a_request_waits_for_an_admin_and_the_old_grants_stay() {
    let (mut server, client) = server("review").await;
    let city = "{{ var.value.city }}";
    let asked = upload(&client, says(city, "{variables: [city]}")).await;
    assert_eq!(asked, json!({"added": ["variable:city"], "removed": [], "pending": ["variable:city"]}));
    let (state, _, log) = run(&client).await;
    assert!(state == "failed" && log.contains("grant `variable:city` waits for an admin"), "{log}");
    let events = client.get("/api/v2/eventLogs?event=grant.use").await.ok();
    let event = &events["event_logs"][0];
    assert_eq!((&event["dag_id"], &event["task_id"]), (&json!("asks"), &json!("t")), "{events}");
    assert!(event.to_string().contains("variable:city"), "{event}");

    let now = decide(&client, "approve", &["variable:city"]).await;
    assert_eq!((&now["pending"], &now["effective"]), (&json!([]), &json!(["variable:city"])));
    assert_eq!(now["decisions"][0]["decided_by"], "admin");
    let (state, _, log) = run(&client).await;
    assert!(
        state == "success" && log.contains("***") && !log.contains("Seoul"),
        "what a variable holds is masked: {log}"
    );

    // A version that asks for more is the newest at once, and has what it had.
    let asked = upload(&client, says(city, "{variables: [city, team/*], hosts: ['x.org:8443']}")).await;
    assert_eq!(asked["added"], json!(["variable:team/*", "http:x.org:8443"]));
    assert_eq!(asked["pending"], asked["added"]);
    assert_eq!(run(&client).await.0, "success");
    upload(&client, says("{{ var.value['team/a'] }}", "{variables: [city, team/*]}")).await;
    let (state, _, log) = run(&client).await;
    assert!(state == "failed" && log.contains("grant `variable:team/a` waits"), "{log}");
    decide(&client, "approve", &["variable:team/*"]).await;
    // One that asks for less needs no approval; nor is what was approved lost by a crash.
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let asked = upload(&client, says("{{ var.value['team/a'] }}", "{variables: [team/a]}")).await;
    assert_eq!((&asked["pending"], &asked["added"]), (&json!([]), &json!(["variable:team/a"])));
    let (state, _, log) = run(&client).await;
    assert!(state == "success" && log.contains("blue"), "{log}");

    decide(&client, "revoke", &["variable:team/a"]).await;
    let (state, _, log) = run(&client).await;
    assert!(state == "failed" && log.contains("grant `variable:team/a` waits"), "{log}");
    let events = client.get("/api/v2/eventLogs?event=grant.write").await.ok();
    assert_eq!(events["total_entries"], 3, "{events}");
}

#[tokio::test]
async fn a_host_is_granted_with_its_port() {
    let peer = Peer::answering(|_| (200, json!("fine").to_string())).await;
    let (_server, client) = server("http").await;
    let get = |grants: &str| {
        let url = peer.url("/");
        format!("dag_id: asks\ngrants: {grants}\ntasks: {{t: {{uses: http/get, with: {{url: \"{url}\"}}}}}}\n")
    };
    for (grants, says) in [
        ("{hosts: [127.0.0.1]}".to_owned(), "is missing in the dag"),
        (format!("{{hosts: ['127.0.0.1:{}']}}", peer.port), "waits for an admin"),
    ] {
        upload(&client, get(&grants)).await;
        let (state, _, log) = run(&client).await;
        let wanted = format!("grant `http:127.0.0.1:{}` {says}", peer.port);
        assert!(state == "failed" && log.contains(&wanted), "{log}");
    }
    assert_eq!(peer.taken().len(), 0);
    decide(&client, "approve", &[&format!("http:127.0.0.1:{}", peer.port)]).await;
    assert_eq!(run(&client).await.1, json!("fine"));
}

#[tokio::test]
async fn admins_decide_by_command_and_others_see() {
    let (server, client) = server("grant").await;
    let shell = Shell::signed_in(&server).await;
    let file = shell.file("asks.yaml", &says("{{ var.value.city }}", "{variables: [city]}"));
    let done = shell.run(&["deploy", &file]).await;
    assert!(done.err.contains("asks asks for `variable:city`"), "{}", done.err);
    assert_eq!(run(&client).await.0, "success", "the policy grants it");

    shell.run(&["grants", "policy", "asks", "variable,connection"]).await.ok();
    assert_eq!(run(&client).await.0, "failed", "the dag's own policy does not");
    let list = shell.run(&["grants", "list", "asks"]).await.ok();
    assert!(list.contains("variable:city") && list.contains("waits"), "{list}");
    shell.run(&["grants", "approve", "asks", "--all"]).await.ok();
    assert_eq!(run(&client).await.0, "success");
    shell.run(&["grants", "policy", "asks", "default"]).await.ok();
    shell.run(&["grants", "revoke", "asks", "variable:c*"]).await.ok();
    let now = shell.run(&["-o", "json", "grants", "list", "asks"]).await.json();
    assert_eq!((&now["requested"][0]["standing"], &now["has_own_policy"]), (&json!("revoked"), &json!(false)));
    assert_eq!(run(&client).await.0, "failed");

    let wrong = shell.run(&["grants", "approve", "asks", "variable:*"]).await.failed(4);
    assert!(wrong.contains("grant `variable:*` is not valid") && !wrong.contains("column"), "{wrong}");
    for (verb, grant, is_asked_for) in [
        ("approve", "variable:c*", true),
        ("approve", "variable:towns/*", false),
        ("revoke", "variable:city/*", false),
        ("revoke", "variable:city", true),
    ] {
        let done = shell.run(&["grants", verb, "asks", grant]).await;
        assert_eq!(!done.err.contains("asks for nothing of"), is_asked_for, "{verb} {grant}: {}", done.err);
    }
    let wrong = shell.run(&["grants", "policy", "asks", "strict"]).await.failed(4);
    assert!(wrong.contains("`review`"), "{wrong}");
    shell.run(&["grants", "list", "gone"]).await.failed(3);

    let password = "correct horse battery";
    let operator = json!({"username": "op", "password": password, "role": "operator"});
    client.post("/api/v2/users", &operator).await.ok();
    let operator = Client::signed_in(&server.url, "op", password).await;
    assert_eq!(operator.get("/api/v2/dags/asks/grants").await.ok()["requested"][0]["grant"], "variable:city");
    let body = json!({"grants": ["variable:city"]});
    assert!(operator.post("/api/v2/dags/asks/grants/approve", &body).await.refused(403).contains("grant.write"));
}
