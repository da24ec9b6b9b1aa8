//! Dags that start dags and wait for them, through the real binary.

use airlock_tests::{Client, Server, build};
use serde_json::json;

async fn shapes() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    (server, client)
}

#[tokio::test]
async fn a_task_starts_a_run_waits_for_it_and_both_lead_to_each_other() {
    let (_server, client) = shapes().await;
    let run_id = client.trigger("starter", json!({})).await;
    assert_eq!(client.finished("starter", &run_id).await["state"], "success");
    let started = client.xcom("starter", &run_id, "start", "return_value").await;
    let started = started.as_str().unwrap();
    let run = client.get(&format!("/api/v2/dags/awaited/dagRuns/{started}")).await.ok();
    assert_eq!((&run["run_type"], &run["triggered_by"]), (&json!("operator_triggered"), &json!("operator")));
    assert_eq!((&run["note"], &run["conf"]), (&json!("started by a test"), &json!({"fail": false})));

    let of_child = client.get(&format!("/api/v2/dags/awaited/dagRuns/{started}/triggers")).await.ok();
    assert_eq!(of_child["triggering_task"]["dag_run_id"], json!(run_id));
    let of_parent = client.get(&format!("/api/v2/dags/starter/dagRuns/{run_id}/triggers")).await.ok();
    assert_eq!(of_parent["total_entries"], 1);
    assert_eq!(of_parent["triggered_dag_runs"][0]["dag_run"]["dag_run_id"], started);
    assert_eq!(client.list("/api/v2/dags/awaited/dagRuns", "dag_runs").await.len(), 1, "however often it asked");

    let run_id = client.trigger("starter", json!({"fail": true})).await;
    assert_eq!(client.finished("starter", &run_id).await["state"], "failed");
    let log = client.log("starter", &run_id, "start", 1).await;
    assert!(log.contains("of dag `awaited` is failed"), "{log}");
}

#[tokio::test]
async fn what_is_not_granted_not_there_or_does_not_fit_is_told() {
    let (_server, client) = shapes().await;
    for (dag_id, why) in [
        ("starter", "grant `dag:starter` is missing"),
        ("missing", "dag `missing` does not exist"),
        ("awaited", "param `fail`: \"maybe\" is not of type \"boolean\""),
    ] {
        let run_id = client.trigger("wrong_starter", json!({"dag_id": dag_id})).await;
        assert_eq!(client.finished("wrong_starter", &run_id).await["state"], "failed");
        let log = client.log("wrong_starter", &run_id, "start_wrong", 1).await;
        assert!(log.contains(why), "{log}");
    }
    for (dag_id, why) in [("missing", "there is no dag `missing`"), ("starter", "grant `dag:starter` is missing")] {
        let run_id = client.trigger("waiter", json!({"dag_id": dag_id})).await;
        assert_eq!(client.finished("waiter", &run_id).await["state"], "failed");
        let log = client.log("waiter", &run_id, "newest", 1).await;
        assert!(log.contains(why), "{log}");
    }
}

#[tokio::test]
async fn runs_that_start_each_other_come_to_an_end() {
    let (_server, client) = shapes().await;
    client.trigger("endless", json!({})).await;
    let path = "/api/v2/dags/endless/dagRuns?state=failed";
    let failed = airlock_tests::until("the last run", std::time::Duration::from_mins(1), async || {
        client.get(path).await.ok()["dag_runs"].as_array().unwrap().first().cloned()
    })
    .await;
    let log = client.log("endless", failed["dag_run_id"].as_str().unwrap(), "start_itself", 1).await;
    assert!(log.contains("do dags trigger each other in a circle?"), "{log}");
    assert_eq!(client.get("/api/v2/dags/endless/dagRuns").await.ok()["total_entries"], 101);
}

#[tokio::test]
async fn a_wait_outlives_the_server() {
    let (mut server, client) = shapes().await;
    let run_id = client.trigger("waiter", json!({})).await;
    let waits = async |client: &Client| {
        airlock_tests::until("the task to wait", std::time::Duration::from_secs(30), async || {
            let instance = client.instances("waiter", &run_id).await.remove(0);
            (instance["state"] == "up_for_reschedule").then_some(())
        })
        .await;
    };
    waits(&client).await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    waits(&client).await;
    let awaited = client.trigger("awaited", json!({})).await;
    assert_eq!(client.finished("waiter", &run_id).await["state"], "success");
    assert_eq!(client.xcom("waiter", &run_id, "newest", "return_value").await, json!(awaited));
}
