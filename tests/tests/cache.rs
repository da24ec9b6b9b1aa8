//! Tasks that take earlier results, through the real binary.

use std::time::Duration;

use airlock_tests::{Client, Server, build, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn shapes() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    (server, client)
}

/// A run that succeeded.
async fn run(client: &Client, dag_id: &str, conf: Value) -> String {
    let run_id = client.trigger(dag_id, conf).await;
    assert_eq!(client.finished(dag_id, &run_id).await["state"], "success");
    run_id
}

async fn instance(client: &Client, dag_id: &str, run_id: &str, task: &str) -> Value {
    let instances = client.instances(dag_id, run_id).await;
    instances.into_iter().find(|instance| instance["task_id"] == task).unwrap()
}

/// What the task returned, and where it has that from.
async fn rolled(client: &Client, dag_id: &str, run_id: &str) -> (Value, Value) {
    let message = instance(client, dag_id, run_id, "roll").await["message"].clone();
    (client.xcom(dag_id, run_id, "roll", "return_value").await, message)
}

async fn page(client: &Client, path: &str) -> String {
    client.request(Method::GET, path).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_result_is_taken_whole_and_outlives_the_run_that_made_it() {
    let (mut server, client) = shapes().await;
    let first = run(&client, "remembered", json!({})).await;
    let (drawn, message) = rolled(&client, "remembered", &first).await;
    assert_eq!(message, Value::Null);

    let second = run(&client, "remembered", json!({})).await;
    let from = format!("from the cache: run `{first}` of dag `remembered`");
    assert_eq!(rolled(&client, "remembered", &second).await, (drawn.clone(), json!(from)));
    let seen = client.xcom("remembered", &second, "look", "return_value").await;
    assert_eq!(seen, json!([drawn, drawn, drawn, drawn]), "large values and artifacts too");
    let log = client.log("remembered", &second, "roll", 1).await;
    assert!(log.contains(&from) && !log.contains("rolled"), "{log}");
    let shown = page(&client, &format!("/dags/remembered/runs/{second}/tasks/roll")).await;
    assert!(shown.contains("from the cache: run"), "{shown}");
    let events = client.list("/api/v2/assets/events", "asset_events").await;
    assert_eq!(events.len(), 2, "a success is a success");
    assert!(events.iter().all(|event| event["extra"] == json!({"drawn": drawn})), "{events:?}");

    // Each run has its own objects, and the last one keeps the result.
    client.delete(&format!("/api/v2/dags/remembered/dagRuns/{first}")).await.ok();
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let third = run(&client, "remembered", json!({})).await;
    assert_eq!(rolled(&client, "remembered", &third).await, (drawn.clone(), json!(from)));
    let seen = client.xcom("remembered", &third, "look", "return_value").await;
    assert_eq!(seen, json!([drawn, drawn, drawn, drawn]));
    for run_id in [&second, &third] {
        client.delete(&format!("/api/v2/dags/remembered/dagRuns/{run_id}")).await.ok();
    }
    let fourth = run(&client, "remembered", json!({})).await;
    assert_ne!(rolled(&client, "remembered", &fourth).await.0, drawn, "nobody has it any more");
}

#[tokio::test]
async fn other_inputs_grants_and_components_run() {
    let (_server, client) = shapes().await;
    let first = run(&client, "remembered", json!({})).await;
    let (drawn, _) = rolled(&client, "remembered", &first).await;
    let others = [("remembered", json!({"sides": 7})), ("remembered_elsewhere", json!({}))];
    for (dag_id, conf) in others {
        let other = run(&client, dag_id, conf).await;
        let (other, message) = rolled(&client, dag_id, &other).await;
        assert!(other != drawn && message.is_null(), "{dag_id}: {message}");
    }
    // A custom section more: the same code in another component.
    let mut component = build::component("shapes");
    component.extend([0, 3, 1, b'x', 0]);
    client.upload(component).await.ok();
    let other = run(&client, "remembered", json!({})).await;
    let (other, message) = rolled(&client, "remembered", &other).await;
    assert!(other != drawn && message.is_null(), "{message}");
}

#[tokio::test]
async fn who_clears_a_task_wants_it_to_run_and_the_new_result_counts() {
    let (_server, client) = shapes().await;
    let first = run(&client, "remembered", json!({})).await;
    let second = run(&client, "remembered", json!({})).await;
    let (drawn, _) = rolled(&client, "remembered", &second).await;
    for run_id in [&second, &first] {
        let clear = json!({"dry_run": false, "dag_run_id": run_id, "only_failed": false, "task_ids": ["roll"]});
        client.post("/api/v2/dags/remembered/clearTaskInstances", &clear).await.ok();
        assert_eq!(client.finished("remembered", run_id).await["state"], "success");
    }
    let (newest, message) = rolled(&client, "remembered", &first).await;
    assert!(newest != drawn && message.is_null(), "{message}");
    let third = run(&client, "remembered", json!({})).await;
    let from = format!("from the cache: run `{first}` of dag `remembered`");
    assert_eq!(rolled(&client, "remembered", &third).await, (newest, json!(from)));

    // An XCom that was changed by hand is no result.
    let path = format!("/api/v2/dags/remembered/dagRuns/{third}/taskInstances/roll/xcomEntries/return_value");
    client.patch(&path, &json!({"value": 1})).await.ok();
    let fourth = run(&client, "remembered", json!({})).await;
    assert_eq!(rolled(&client, "remembered", &fourth).await.1, Value::Null);
}

#[tokio::test]
async fn mapped_instances_and_lists_come_from_the_cache_until_they_expire() {
    let (_server, client) = shapes().await;
    let first = run(&client, "remembered_each", json!({})).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let second = run(&client, "remembered_each", json!({})).await;
    let instances = client.instances("remembered_each", &second).await;
    let taken = |task: &str| {
        let of_task = instances.iter().filter(|instance| instance["task_id"] == task);
        of_task.map(|instance| instance["message"].is_string()).collect::<Vec<_>>()
    };
    assert_eq!(taken("brief"), [false], "it counts for a second");
    assert_eq!(taken("fixed"), [true; 3]);
    assert_eq!((taken("list"), taken("list__1"), taken("kept")), (vec![true], vec![true], vec![true; 3]));
    assert_eq!(taken("count_all"), [false], "it has no cache");
    for run_id in [&first, &second] {
        assert_eq!(client.xcom("remembered_each", run_id, "count_all", "return_value").await, json!(7_000));
    }
    let log = client.log("remembered_each", &second, "brief", 1).await;
    assert!(!log.contains("from the cache"), "{log}");
}

#[tokio::test]
async fn a_result_counts_as_soon_as_it_is_committed_whatever_crashes() {
    let (mut server, client) = shapes().await;
    let first = run(&client, "remembered", json!({})).await;
    let (drawn, _) = rolled(&client, "remembered", &first).await;
    // Killed as they come: what was answered goes on, and each instance takes the result or draws one, once.
    for wait_ms in [0, 3, 10, 30] {
        let run_id = client.trigger("remembered", json!({})).await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        server.kill();
        server.restart().await;
        let client = server.client().await;
        assert_eq!(client.finished("remembered", &run_id).await["state"], "success");
        assert_eq!(rolled(&client, "remembered", &run_id).await.0, drawn);
        let seen = client.xcom("remembered", &run_id, "look", "return_value").await;
        assert_eq!(seen, json!([drawn, drawn, drawn, drawn]));
    }
}

#[tokio::test]
async fn what_is_no_result_is_refused() {
    let (_server, client) = shapes().await;
    client.upload(build::component("control")).await.ok();
    let run_id = client.trigger("remembered_wait", json!({})).await;
    assert_eq!(client.finished("remembered_wait", &run_id).await["state"], "failed");
    let waits = instance(&client, "remembered_wait", &run_id, "waits").await;
    let why = "task `waits` has `cache` and ended in a wait: only results are remembered; take `cache` out";
    assert_eq!((&waits["message"], &waits["try_number"]), (&json!(why), &json!(1)));

    let dag = "dag_id: d\ntasks:\n  a: {uses: control/empty, OPTIONS}\n  b: {uses: control/empty, teardown: [a]}\n";
    for (options, why) in [
        ("setup: true, cache: 1h", "task `a`: it is a setup and has `cache`"),
        ("setup: true, cache: 10ms", "task `a`: it is a setup"),
        ("setup: true, cache: soon", "`soon` is not a length of time"),
    ] {
        let refused = client.upload(dag.replace("OPTIONS", options).into()).await.refused(422);
        assert!(refused.contains(why), "{refused}");
    }
    let short = "dag_id: d\ntasks: {a: {uses: control/empty, cache: 10ms}}\n";
    let refused = client.upload(short.into()).await.refused(422);
    assert!(refused.contains("task `a`: its `cache` of 10 ms is not from 1 s to 366 days"), "{refused}");
    // What is said for all tasks is said for those that work.
    client
        .upload(dag.replace("OPTIONS", "setup: true").replace("tasks:", "default_args: {cache: 1h}\ntasks:").into())
        .await
        .ok();
    let run_id = run(&client, "d", json!({})).await;
    until("the tasks", Duration::from_secs(5), async || {
        (client.instances("d", &run_id).await.len() == 2).then_some(())
    })
    .await;
    let path = "/api/v2/dags/remembered/tasks/roll";
    assert_eq!(client.get(path).await.ok()["cache"]["seconds"], 3_600);
}
