//! A run that is over goes on under a newer version of its dag.

use airlock_tests::{Client, Server, Shell, build};
use serde_json::{Value, json};

const OLD: &str = "
dag_id: moving
tasks:
  first: {uses: control/map_list, with: {items: [1, 2, 3]}}
  each: {uses: control/fail_first_n, each: {n: [0, 0, 9]}, needs: [first]}
  gone: {uses: control/empty}
";

/// `each` has one element less and another pool, `gone` is gone, `added` is new.
const NEW: &str = "
dag_id: moving
params: {strict: false}
tasks:
  first: {uses: control/map_list, with: {items: [1, 2, 3]}}
  each: {uses: control/fail_first_n, each: {n: [0, 0]}, needs: [first], pool: narrow, priority_weight: 7}
  added: {uses: control/empty, needs: [each]}
";

async fn moving() -> (Server, Client, String) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(OLD.into()).await.ok();
    let run_id = client.trigger("moving", json!({})).await;
    assert_eq!(client.finished("moving", &run_id).await["state"], "failed");
    client.post("/api/v2/pools", &json!({"name": "narrow", "slots": 1})).await.ok();
    (server, client, run_id)
}

/// The instances of a run as `task[map_index] state tries`, in order.
async fn instances(client: &Client, run_id: &str) -> Vec<String> {
    let listed = client.get(&format!("/api/v2/dags/moving/dagRuns/{run_id}/taskInstances")).await.ok();
    let line = |row: &Value| {
        format!(
            "{}[{}] {} {}",
            row["task_id"].as_str().unwrap(),
            row["map_index"],
            row["state"].as_str().unwrap_or("none"),
            row["try_number"]
        )
    };
    let mut lines: Vec<_> = listed["task_instances"].as_array().unwrap().iter().map(line).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn what_both_versions_have_stays_and_the_rest_runs_or_is_gone() {
    let (mut server, client, run_id) = moving().await;
    client.upload(NEW.into()).await.ok();
    let clear = format!("/api/v2/dags/moving/dagRuns/{run_id}/clear");
    // Without the option the run keeps its version, and fails again.
    client.post(&clear, &json!({"dry_run": false, "only_failed": true})).await.ok();
    let run = client.finished("moving", &run_id).await;
    assert_eq!((&run["state"], &run["dag_versions"][0]["version_number"]), (&json!("failed"), &json!(1)));

    let would = client.post(&clear, &json!({"only_failed": true, "run_on_latest_version": true})).await.ok();
    assert_eq!(would["total_entries"], 0, "what would be added has no row yet: {would}");
    assert!(instances(&client, &run_id).await.contains(&"gone[-1] success 1".to_owned()));

    client.post(&clear, &json!({"dry_run": false, "only_failed": true, "run_on_latest_version": true})).await.ok();
    let run = client.finished("moving", &run_id).await;
    assert_eq!((&run["state"], &run["dag_versions"][0]["version_number"]), (&json!("success"), &json!(2)));
    let expected = ["added[-1] success 1", "each[0] success 1", "each[1] success 1", "first[-1] success 1"];
    assert_eq!(instances(&client, &run_id).await, expected);
    let each = client.get(&format!("/api/v2/dags/moving/dagRuns/{run_id}/taskInstances/each/0")).await.ok();
    assert_eq!((&each["pool"], &each["priority_weight"]), (&json!("narrow"), &json!(7)));
    let gone = client.get(&format!("/api/v2/dags/moving/dagRuns/{run_id}/taskInstances/gone")).await;
    gone.refused(404);

    // All of it again, also after a crash.
    let shell = Shell::signed_in(&server).await;
    shell.run(&["runs", "clear", "moving", &run_id, "--latest-version"]).await.ok();
    server.kill();
    server.restart().await;
    let client = server.client().await;
    assert_eq!(client.finished("moving", &run_id).await["state"], "success");
    assert!(instances(&client, &run_id).await.contains(&"each[1] success 2".to_owned()));
}

#[tokio::test]
async fn a_run_that_can_not_move_stays_as_it_is() {
    let (_server, client, run_id) = moving().await;
    let before = instances(&client, &run_id).await;
    client.upload(NEW.replace("strict: false", "strict: {type: boolean}").into()).await.ok();
    let clear = format!("/api/v2/dags/moving/dagRuns/{run_id}/clear");
    let body = json!({"dry_run": false, "run_on_latest_version": true});
    let refused = client.post(&clear, &body).await.refused(409);
    assert!(refused.contains("version 2") && refused.contains("param `strict` has no default"), "{refused}");
    assert_eq!(instances(&client, &run_id).await, before);

    let slow = "dag_id: moving\ntasks: {first: {uses: control/sleep, with: {duration: 1h}}}\n";
    client.upload(slow.into()).await.ok();
    let running = client.trigger("moving", json!({})).await;
    client.upload(NEW.into()).await.ok();
    let clear = format!("/api/v2/dags/moving/dagRuns/{running}/clear");
    let refused = client.post(&clear, &body).await.refused(409);
    assert!(refused.contains("it is not finished"), "{refused}");

    // Only what the newest version adds.
    let clear = format!("/api/v2/dags/moving/dagRuns/{run_id}/clear");
    client.post(&clear, &json!({"dry_run": false, "only_new": true})).await.ok();
    assert_eq!(client.finished("moving", &run_id).await["state"], "success");
    assert!(instances(&client, &run_id).await.contains(&"added[-1] success 1".to_owned()));
    // There is nothing new any more.
    client.post(&clear, &json!({"dry_run": false, "only_new": true})).await.ok();
    assert!(instances(&client, &run_id).await.contains(&"added[-1] success 1".to_owned()));
}
