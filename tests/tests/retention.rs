//! History that goes by itself, through the real binary.

use std::{fs, time::Duration};

use airlock_tests::{Client, Database, Server, Shell, build, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn with(flags: &[(&str, &str)]) -> (Server, Client) {
    let builder = flags.iter().fold(Server::builder(), |builder, (flag, value)| builder.flag(flag, value));
    let server = builder.start().await;
    let client = server.client().await;
    client.upload(build::component("hello")).await.ok();
    (server, client)
}

async fn total(client: &Client, dag_id: &str) -> u64 {
    let runs = client.get(&format!("/api/v2/dags/{dag_id}/dagRuns?limit=1")).await.ok();
    runs["total_entries"].as_u64().unwrap()
}

/// Makes runs and waits until all are finished; some may be gone by then.
async fn runs(client: &Client, dag_id: &str, count: usize) -> Vec<String> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(client.trigger(dag_id, json!({})).await);
    }
    let unfinished = format!("/api/v2/dags/{dag_id}/dagRuns?state=queued&state=running");
    until("the runs' ends", Duration::from_mins(2), async || {
        (client.get(&unfinished).await.ok()["total_entries"] == 0).then_some(())
    })
    .await;
    runs
}

/// Bytes of the files in a folder.
fn size(folder: &std::path::Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .map(
            |file| if file.path().is_dir() { size(&file.path()) } else { file.metadata().map_or(0, |data| data.len()) },
        )
        .sum()
}

#[tokio::test]
async fn of_many_runs_the_last_stay_and_nothing_grows() {
    let (mut server, client) = with(&[("--retention-runs-count", "50")]).await;
    let blobs = server.data_dir().join("blobs");
    runs(&client, "hello", 200).await;
    let settled = async |client: &Client| {
        until("only the last runs", Duration::from_mins(1), async || {
            (total(client, "hello").await <= 50).then_some(())
        })
        .await;
    };
    settled(&client).await;
    let objects = size(&blobs.join("logs"));
    let database = Database::of(&server);
    let size_before = database.size_bytes().await;
    for round in 0..3 {
        let made = runs(&client, "hello", 200).await;
        if round == 1 {
            server.kill();
            server.restart().await;
        }
        settled(&client).await;
        let newest = client.get(&format!("/api/v2/dags/hello/dagRuns/{}", made[199])).await;
        assert_eq!(newest.ok()["state"], "success", "the last one stays");
    }
    let size_after = database.size_bytes().await;
    assert!(size_after < size_before + (8 << 20), "the database grew from {size_before} to {size_after} bytes");
    until("as few objects as before", Duration::from_secs(30), async || {
        (size(&blobs.join("logs")) < objects * 2 + (1 << 20)).then_some(())
    })
    .await;
    let shown = client.request(Method::GET, "/dags/hello/runs").send().await.unwrap();
    assert!(shown.status().is_success());
    assert!(server.log().contains("deleted by retention: runs="), "{}", server.log());
}

#[tokio::test]
async fn what_is_said_of_a_dag_holds_and_is_written_down() {
    let (server, client) = with(&[]).await;
    runs(&client, "hello", 4).await;
    let path = "/api/v2/dags/hello/retention";
    let nothing = client.get(path).await.ok();
    assert_eq!(
        nothing["effective"],
        json!({"runs_days": null, "runs_count": null, "logs_days": null, "data_days": null})
    );
    let preview = client.post("/api/v2/retention/dry_run", &json!({})).await.ok();
    assert_eq!(preview["total_entries"], 0, "nothing goes unless somebody says so");

    let put = async |body: Value| client.send(client.request(Method::PUT, path).json(&body)).await;
    let refused = put(json!({"runs_count": 1_000_000})).await.refused(422);
    assert!(refused.contains("100000"), "{refused}");
    let said = put(json!({"runs_count": 2})).await.ok();
    assert_eq!((&said["own"]["runs_count"], &said["effective"]["runs_count"]), (&json!(2), &json!(2)));
    until("two runs", Duration::from_mins(1), async || (total(&client, "hello").await == 2).then_some(())).await;
    let entries = client.list("/api/v2/eventLogs", "event_logs").await;
    let entry = entries.iter().find(|entry| entry["event"] == "retention.write").expect("an entry");
    assert_eq!(entry["dag_id"], "hello");

    let cli = Shell::signed_in(&server).await;
    let shown = cli
        .run(&[
            "retention",
            "set",
            "hello",
            "--runs-count",
            "for-ever",
            "--logs-days",
            "3",
            "--data-days",
            "5",
            "-o",
            "json",
        ])
        .await;
    let own = json!({"runs_days": null, "runs_count": 0, "logs_days": 3, "data_days": 5});
    assert_eq!(shown.json()["own"], own);
    let done = cli.run(&["retention", "run", "-o", "json"]).await.json();
    for what in ["runs", "logs_of_runs", "data_of_runs"] {
        assert_eq!(done[what], json!(0), "{what}");
    }
    let all = cli.run(&["retention", "show", "-o", "json"]).await.json();
    assert_eq!(all["dags"], json!([{"dag_id": "hello", "own": own}]));
    let page = client.request(Method::GET, "/dags/hello/details").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("for 3 days") && page.contains("for 5 days"), "{page}");
}

#[tokio::test]
async fn logs_and_data_of_an_old_run_are_gone_and_said_to_be() {
    let (mut server, client) = with(&[("--retention-logs-days", "5"), ("--retention-data-days", "5")]).await;
    let run = runs(&client, "hello", 1).await.remove(0);
    server.stop().await;
    Database::of(&server).change("UPDATE dag_run SET end_date = end_date - 6 * 86400000000");
    server.restart().await;
    let client = server.client().await;
    let done = client.post("/api/v2/retention/run", &json!({})).await.ok();
    assert_eq!((&done["runs"], &done["is_done"]), (&json!(0), &json!(true)));
    let of_task = format!("/api/v2/dags/hello/dagRuns/{run}/taskInstances/get_ready");
    until("that its data is gone", Duration::from_secs(30), async || {
        let entries = client.get(&format!("{of_task}/xcomEntries")).await.ok();
        (entries["total_entries"] == 0).then_some(())
    })
    .await;
    let said = client.get(&format!("{of_task}/xcomEntries/return_value")).await.refused(410);
    assert!(said.contains("`data_days`"), "{said}");
    let said = client.get(&format!("{of_task}/logs/1")).await.refused(410);
    assert!(said.contains("`logs_days`"), "{said}");
    let page = client.request(Method::GET, &format!("/dags/hello/runs/{run}/tasks/get_ready?tab=outputs"));
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("What was pushed was deleted by retention."), "{page}");

    // It runs again with what it needs, and not without.
    let clear = async |tasks: Value| {
        let clear = json!({"dag_run_id": run, "task_ids": tasks, "dry_run": false, "only_failed": false});
        client.post("/api/v2/dags/hello/clearTaskInstances", &clear).await.ok();
        client.finished("hello", &run).await["state"].clone()
    };
    assert_eq!(clear(json!(["say"])).await, "failed");
    let log = client.get(&format!("/api/v2/dags/hello/dagRuns/{run}/taskInstances/say/logs/2")).await.ok();
    assert!(log.to_string().contains("clear it, too"), "{log}");
    assert_eq!(clear(json!(["make_greeting", "get_ready", "say"])).await, "success");
    client.get(&format!("{of_task}/xcomEntries/return_value")).await.ok();
}
