//! Concurrency keys of runs and tasks, through the real binary.

use std::time::Duration;

use airlock_tests::{Client, Server, build, until};
use serde_json::{Value, json};

const KEYED: &str = r#"
dag_id: keyed
params: {customer: acme}
concurrency_key: "customer {{ params.customer }}"
tasks:
  wait: {uses: control/wait_until, with: {at: "2099-01-01T00:00:00Z"}}
---
dag_id: wrong
concurrency_key: "{{ conf.missing }}"
tasks: {t: {uses: control/empty}}
---
dag_id: holder
params: {account: 10m}
tasks: {hold: {uses: shapes/say_and_wait, from: {text: params.account}, concurrency_key: "{{ inputs.text }}"}}
---
dag_id: other
tasks:
  next: {uses: control/empty, concurrency_key: 10m}
  apart: {uses: control/empty, concurrency_key: "another {{ ti.task_id }}"}
  broken: {uses: control/empty, concurrency_key: "{{ conf.missing }}"}
"#;

const PASSWORD: &str = "a long enough password";

async fn started() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(build::component("shapes")).await.ok();
    client.upload(KEYED.into()).await.ok();
    (server, client)
}

async fn run_is(client: &Client, dag: &str, run_id: &str, state: &str) -> Value {
    until("the run's state", Duration::from_secs(20), async || {
        let run = client.get(&format!("/api/v2/dags/{dag}/dagRuns/{run_id}")).await.ok();
        (run["state"] == state).then_some(run)
    })
    .await
}

async fn task_is(client: &Client, dag: &str, run_id: &str, task: &str, state: &str) -> Value {
    until("the task's state", Duration::from_secs(20), async || {
        let instances = client.instances(dag, run_id).await;
        instances.into_iter().find(|instance| instance["task_id"] == task && instance["state"] == state)
    })
    .await
}

async fn why(client: &Client, dag: &str, run_id: &str, task: &str) -> String {
    let path = format!("/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task}/dependencies");
    client.get(&path).await.ok().to_string()
}

#[tokio::test]
async fn runs_with_one_key_run_one_after_another_over_a_crash() {
    let (mut server, client) = started().await;
    let first = client.trigger("keyed", json!({})).await;
    task_is(&client, "keyed", &first, "wait", "up_for_reschedule").await;
    let second = client.trigger("keyed", json!({"customer": "acme"})).await;
    let other = client.trigger("keyed", json!({"customer": "emca"})).await;
    task_is(&client, "keyed", &other, "wait", "up_for_reschedule").await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let third = client.trigger("keyed", json!({"customer": "third"})).await;
    task_is(&client, "keyed", &third, "wait", "up_for_reschedule").await;
    run_is(&client, "keyed", &second, "queued").await;
    let told = why(&client, "keyed", &second, "wait").await;
    assert!(told.contains("the key `customer acme`") && told.contains(&first), "{told}");

    // A new version, by whose key no run is like another.
    client.upload(KEYED.replace("customer {{ params.customer }}", "{{ run_id }}").into()).await.ok();
    task_is(&client, "keyed", &second, "wait", "up_for_reschedule").await;
    client.upload(KEYED.replace("customer {{ params.customer }}", "all").into()).await.ok();
    let last = client.trigger("keyed", json!({})).await;
    for run_id in [&first, &second, &other, &third] {
        run_is(&client, "keyed", &last, "queued").await;
        client.patch(&format!("/api/v2/dags/keyed/dagRuns/{run_id}"), &json!({"state": "success"})).await.ok();
    }
    task_is(&client, "keyed", &last, "wait", "up_for_reschedule").await;
}

#[tokio::test]
async fn tasks_of_all_dags_share_a_key() {
    let (_server, client) = started().await;
    let holder = client.trigger("holder", json!({})).await;
    task_is(&client, "holder", &holder, "hold", "running").await;
    let run_id = client.trigger("other", json!({})).await;
    task_is(&client, "other", &run_id, "apart", "success").await;
    let broken = task_is(&client, "other", &run_id, "broken", "failed").await;
    assert!(broken["message"].as_str().unwrap().contains("the concurrency_key of task `broken` can't be rendered"));
    task_is(&client, "other", &run_id, "next", "scheduled").await;
    let told = why(&client, "other", &run_id, "next").await;
    assert!(told.contains("it waits for the key `10m`") && told.contains("`hold` of"), "{told}");
    // To who does not see its dag, the one that has the key is nameless, by API and on the page.
    let member = json!({"username": "ada", "password": PASSWORD, "role": "member",
        "dag_permissions": [{"dags": "other", "role": "viewer"}]});
    let made = client.post("/api/v2/users", &member).await;
    assert!(made.status.is_success(), "{made:?}");
    let ada = client.clone().sign_in("ada", PASSWORD).await;
    let told = why(&ada, "other", &run_id, "next").await;
    assert!(told.contains("(concurrency_limit 1) hold: a task of another dag"), "{told}");
    assert!(!told.contains("hold` of") && !told.contains(&holder), "{told}");
    let page = format!("/dags/other/runs/{run_id}/tasks/next");
    let page = async |client: &Client| {
        let answer = client.request(reqwest::Method::GET, &page).send().await.unwrap();
        answer.text().await.unwrap()
    };
    assert!(page(&client).await.contains(&holder));
    let seen = page(&ada).await;
    assert!(seen.contains("a task of another dag") && !seen.contains(&holder), "{seen}");
    let path = format!("/api/v2/dags/holder/dagRuns/{holder}/taskInstances/hold");
    client.patch(&path, &json!({"new_state": "success"})).await.ok();
    task_is(&client, "other", &run_id, "next", "success").await;
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said() {
    let (_server, client) = started().await;
    let run_id = client.trigger("wrong", json!({})).await;
    let run = run_is(&client, "wrong", &run_id, "failed").await;
    assert!(run.to_string().contains("its concurrency_key can't be rendered"), "{run}");
    let fine = client.trigger("wrong", json!({"missing": "no more"})).await;
    run_is(&client, "wrong", &fine, "success").await;

    for (dag, expected) in [
        ("dag_id: d\nconcurrency_limit: 2\ntasks: {t: {uses: control/empty}}", "its concurrency_key is empty"),
        ("dag_id: d\nconcurrency_key: x\nconcurrency_limit: 0\ntasks: {t: {uses: control/empty}}", "at least 1"),
        (
            "dag_id: d\nconcurrency_key: '{{ ti.task_id }}'\ntasks: {t: {uses: control/empty}}",
            "it is rendered for a run",
        ),
        ("dag_id: d\ntasks: {t: {uses: control/empty, concurrency_key: '{{ var.value.x }}'}}", "can't be read here"),
        (
            "dag_id: d\ntasks:\n  a: {uses: control/map_list, with: {items: [1]}}\n  t: {uses: control/map_list, \
             from: {items: tasks.a}, concurrency_key: '{{ inputs.items }}'}",
            "a key sees inputs that are fixed",
        ),
    ] {
        let refused = client.upload(dag.into()).await.refused(422);
        assert!(refused.contains(expected), "{refused}");
    }
}
