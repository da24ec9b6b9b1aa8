//! Backfills through the real binary: each interval once, also when the server is killed in the middle.

use std::{collections::BTreeSet, time::Duration};

use airlock_tests::{Client, Server, build, until};
use reqwest::Method;
use serde_json::{Value, json};

/// Whoever may keep backfills of one dag keeps no other's: neither by the API nor on the page of theirs.
#[tokio::test]
async fn a_backfill_is_kept_by_those_of_its_own_dag() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(format!("{DAILY}---\ndag_id: theirs\ntasks: {{t: {{uses: control/empty}}}}\n").into()).await.ok();
    client.set_paused("daily", true).await;
    let body = json!({"dag_id": "daily", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-30T00:00:00Z"});
    let id = client.post("/api/v2/backfills", &body).await.ok()["id"].clone();
    let eve = json!({"username": "eve", "password": "correct-horse-7", "role": "member",
        "dag_permissions": [{"dags": "daily", "role": "viewer"}, {"dags": "theirs", "role": "operator"}]});
    client.post("/api/v2/users", &eve).await.ok();
    let eve = Client::signed_in(&server.url, "eve", "correct-horse-7").await;
    let by_api = eve.send(eve.request(Method::PUT, &format!("/api/v2/backfills/{id}/cancel"))).await;
    by_api.refused(403);
    let by_page = eve.request(Method::POST, &format!("/dags/theirs/backfills/{id}/cancel"));
    let by_page = by_page.header("origin", &server.url).send().await.unwrap();
    assert_eq!(by_page.status(), 404);
    assert!(client.get(&format!("/api/v2/backfills/{id}")).await.ok()["completed_at"].is_null());
    let own = client.request(Method::POST, &format!("/dags/daily/backfills/{id}/cancel"));
    own.header("origin", &server.url).send().await.unwrap();
    assert!(client.get(&format!("/api/v2/backfills/{id}")).await.ok()["completed_at"].is_string());
}

const DAILY: &str = "
dag_id: daily
schedule: 0 6 * * *
max_active_runs: 1
tasks:
  work: {uses: control/sleep, with: {duration: 100ms}}
";

#[tokio::test]
async fn each_interval_is_run_once_though_the_server_is_killed() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(DAILY.into()).await.ok();
    let body = json!({"dag_id": "daily", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-30T23:00:00Z",
        "max_active_runs": 4, "run_backwards": true});
    let would = client.post("/api/v2/backfills/dry_run", &body).await.ok();
    assert_eq!(would["total_entries"], 30);
    assert_eq!(client.get("/api/v2/dags/daily/dagRuns").await.ok()["total_entries"], 0, "a dry run makes nothing");

    let id = client.post("/api/v2/backfills", &body).await.ok()["id"].clone();
    let path = format!("/api/v2/backfills/{id}");
    until("some runs are over", Duration::from_secs(30), async || {
        let runs = client.get("/api/v2/dags/daily/dagRuns?state=success").await.ok();
        (runs["total_entries"].as_i64().unwrap() >= 5).then_some(())
    })
    .await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    until("it is over", Duration::from_mins(1), async || {
        client.get(&path).await.ok()["completed_at"].is_string().then_some(())
    })
    .await;
    let runs = client.list("/api/v2/dags/daily/dagRuns?run_type=backfill", "dag_runs").await;
    let dates: BTreeSet<_> = runs.iter().map(|run| run["logical_date"].as_str().unwrap()).collect();
    assert_eq!((runs.len(), dates.len()), (30, 30));
    assert_eq!(dates.first(), Some(&"2026-01-01T06:00:00Z"));
    assert!(runs.iter().all(|run| run["state"] == "success" && run["run_type"] == "backfill"));

    // On the page a backfill leads to its runs, and they lead back.
    let list = format!("/dags/daily/runs?backfill={id}");
    assert!(client.text("/dags/daily/backfills", "text/html").await.contains(&format!("href=\"{list}\"")));
    let listed = client.text(&list, "text/html").await;
    assert!(listed.contains("of 30") && listed.contains(&format!("of backfill {id}")), "{listed}");
    assert!(client.text("/dags/daily/runs?backfill=99", "text/html").await.contains("No runs here"));
    let run = client.text(&format!("/dags/daily/runs/{}", runs[0]["dag_run_id"].as_str().unwrap()), "text/html").await;
    assert!(run.contains(&format!("href=\"{list}\"")), "{run}");

    // What is there stays, unless it is asked for.
    let again = client.post("/api/v2/backfills", &body).await.ok()["id"].clone();
    let done: Value = until("it is over", Duration::from_secs(30), async || {
        let backfill = client.get(&format!("/api/v2/backfills/{again}")).await.ok();
        backfill["completed_at"].is_string().then_some(backfill)
    })
    .await;
    assert_eq!(done["skipped"], 30);
    let entries = client.list("/api/v2/eventLogs?event=backfill.write", "event_logs").await;
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry["dag_id"] == "daily"), "{entries:?}");
}

/// Airflow: LatestOnlyOperator, which lets only runs go on that somebody made by hand.
#[tokio::test]
async fn what_is_for_the_latest_run_only_is_skipped_in_a_backfill_of_the_past() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    let tasks = "{newest: {uses: control/latest_only}, mail: {uses: control/empty, needs: [newest]}}";
    client.upload(format!("dag_id: latest\nschedule: 0 6 * * *\ntasks: {tasks}\n").into()).await.ok();
    let body = json!({"dag_id": "latest", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T23:00:00Z"});
    let id = client.post("/api/v2/backfills", &body).await.ok()["id"].clone();
    until("it is over", Duration::from_secs(30), async || {
        client.get(&format!("/api/v2/backfills/{id}")).await.ok()["completed_at"].is_string().then_some(())
    })
    .await;
    let runs = client.list("/api/v2/dags/latest/dagRuns?run_type=backfill", "dag_runs").await;
    assert_eq!(runs.len(), 2);
    for run in runs {
        let run_id = run["dag_run_id"].as_str().unwrap();
        let mail = client.get(&format!("/api/v2/dags/latest/dagRuns/{run_id}/taskInstances/mail")).await.ok();
        assert_eq!((&mail["state"], &run["state"]), (&json!("skipped"), &json!("success")), "{mail}");
    }
}
