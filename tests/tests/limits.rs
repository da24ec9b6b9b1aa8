//! What all attempts of one dag may have together, on the real binary and with dags that mean harm.

use std::time::{Duration, Instant};

use airlock_tests::{ADMIN_PASSWORD, Client, Server, Shell, build, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn hostile(settings: &[(&str, &str)]) -> (Server, Client) {
    let builder = settings.iter().fold(Server::builder(), |builder, (name, value)| builder.env(name, value));
    let server = builder.start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    (server, client)
}

async fn limit(client: &Client, dag_id: &str, limits: Value) -> Value {
    let put = client.request(Method::PUT, &format!("/api/v2/dags/{dag_id}/limits"));
    client.send(put.json(&limits)).await.ok()
}

async fn used(client: &Client, dag_id: &str) -> Value {
    client.get(&format!("/api/v2/dags/{dag_id}/limits")).await.ok()["used_today"].clone()
}

/// Runs a dag with one task; answers how it ended and what its log says.
async fn ended(client: &Client, dag_id: &str, task_id: &str) -> (Value, String) {
    let run_id = client.trigger(dag_id, json!({})).await;
    let state = client.finished(dag_id, &run_id).await["state"].clone();
    (state, client.log(dag_id, &run_id, task_id, 1).await)
}

/// Whether a day of UTC has just begun, or begins within a minute: what is counted by day would begin anew in the middle of a test.
async fn away_from_midnight() {
    let to_midnight = || {
        #[expect(clippy::disallowed_methods, reason = "this test is about the time of day")]
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        86_400 - since_1970 % 86_400
    };
    if to_midnight() < 120 {
        tokio::time::sleep(Duration::from_secs(to_midnight() + 1)).await;
    }
}

#[tokio::test]
async fn a_dag_that_burns_its_time_is_ended_and_starts_nothing_more_also_after_kill_9() {
    away_from_midnight().await;
    let (mut server, client) = hostile(&[]).await;
    let free = client.get("/api/v2/dags/hostile_spin/limits").await.ok();
    assert_eq!((&free["own"]["cpu_seconds_per_day"], &free["effective"]["memory_mib"]), (&json!(null), &json!(0)));
    limit(&client, "hostile_spin", json!({"cpu_seconds_per_day": 1})).await;
    let said =
        "more than the 1 seconds of CPU time that dag `hostile_spin` may have a day (limit `cpu_seconds_per_day`)";
    // Each ends by itself after two seconds, in which it may have had little of a busy machine.
    let mut log = String::new();
    for _ in 0..20 {
        if !log.contains(said) {
            log = ended(&client, "hostile_spin", "spin").await.1;
        }
    }
    assert!(log.contains("its dag used") && log.contains(said), "{log}");
    assert!(log.contains("airlock limits set hostile_spin --cpu-seconds-per-day N"), "{log}");
    let (state, log) = ended(&client, "hostile_spin", "spin").await;
    assert!(state == "failed" && log.contains("it can't start") && log.contains(said), "{log}");
    assert_eq!(ended(&client, "canary", "echo").await.0, "success", "others are not concerned");
    until("what was used is stored", Duration::from_secs(10), async || {
        (used(&client, "hostile_spin").await["cpu_seconds"].as_f64()? > 1.0).then_some(())
    })
    .await;

    server.kill();
    server.restart().await;
    let client = server.client().await;
    let (state, log) = ended(&client, "hostile_spin", "spin").await;
    assert!(state == "failed" && log.contains("it can't start") && log.contains(said), "{log}");

    // An admin says more, and it goes as far as it may by itself.
    let cli = Shell::signed_in(&server).await;
    let set = cli.run(&["limits", "set", "hostile_spin", "--cpu-seconds-per-day", "1000"]).await.ok();
    assert!(set.contains("cpu_seconds_per_day") && set.contains("1000"), "{set}");
    let (_, log) = ended(&client, "hostile_spin", "spin").await;
    assert!(log.contains("ran longer than its limit of 2000 ms"), "{log}");
    let entries = client.list("/api/v2/eventLogs?event=limits.write", "event_logs").await;
    assert!(entries.iter().all(|entry| entry["dag_id"] == "hostile_spin") && entries.len() >= 2, "{entries:?}");
    let page = client.request(Method::GET, "/dags/hostile_spin/details").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("of 1,000 seconds of CPU time today"), "{page}");
}

#[tokio::test]
async fn attempts_that_run_together_share_the_time_of_their_dag() {
    away_from_midnight().await;
    let (_server, client) = hostile(&[("AIRLOCK_LIMITS_CPU_SECONDS_PER_DAY", "2")]).await;
    let mut took = 0.0;
    for _ in 0..10 {
        let mut runs = Vec::new();
        for _ in 0..8 {
            runs.push(client.trigger("hostile_spin", json!({})).await);
        }
        for run_id in &runs {
            assert_eq!(client.finished("hostile_spin", run_id).await["state"], "failed");
        }
        // It is stored within a second.
        tokio::time::sleep(Duration::from_secs(2)).await;
        took = used(&client, "hostile_spin").await["cpu_seconds"].as_f64().unwrap();
    }
    // Each of eight is noticed about a tenth of a second late; without the limit eighty would take up to 160 seconds.
    assert!((1.9..5.0).contains(&took), "{took}");
}

#[tokio::test]
async fn what_a_dag_writes_and_asks_for_is_counted_and_refused() {
    away_from_midnight().await;
    let settings = [
        ("AIRLOCK_LIMITS_LOG_MIB_PER_DAY", "1"),
        ("AIRLOCK_LIMITS_DATA_MIB_PER_DAY", "3"),
        ("AIRLOCK_LIMITS_HOST_CALLS_PER_DAY", "400"),
    ];
    let (mut server, client) = hostile(&settings).await;
    let (state, log) = ended(&client, "hostile_flood", "flood").await;
    assert_eq!(state, "success");
    let said =
        "from here on lines were dropped: they are more than the 1 MiB of logs that dag `hostile_flood` may have";
    assert_eq!(log.matches(said).count(), 1, "{}", log.chars().rev().take(2_000).collect::<String>());
    assert!(log.len() < 3 << 20, "{}", log.len());

    let (state, log) = ended(&client, "hostile_hoard", "hoard").await;
    let said =
        "artifact `3.bin` makes more than the 3 MiB of artifacts and XComs that dag `hostile_hoard` may have a day";
    assert!(state == "failed" && log.contains(said), "{log}");
    let (state, log) = ended(&client, "hostile_litter", "litter").await;
    let said =
        "this is more than the 400 host calls that dag `hostile_litter` may have a day (limit `host_calls_per_day`)";
    assert!(state == "failed" && log.contains(said), "{log}");
    assert_eq!(ended(&client, "canary", "echo").await.0, "success");

    until("what was used is stored", Duration::from_secs(10), async || {
        (used(&client, "hostile_litter").await["host_calls"] == 400).then_some(())
    })
    .await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    assert_eq!(used(&client, "hostile_hoard").await["data_bytes"], 3 << 20);
    let (state, log) = ended(&client, "hostile_hoard", "hoard").await;
    assert!(state == "failed" && log.contains("artifact `0.bin` makes more than the 3 MiB"), "{log}");
}

#[tokio::test]
async fn attempts_wait_for_the_memory_of_their_dag_and_are_told_so() {
    let (mut server, client) = hostile(&[]).await;
    let waits = async |client: &Client, run_id: &str| {
        let path = format!("/api/v2/dags/hostile_oversleep/dagRuns/{run_id}/taskInstances/oversleep/dependencies");
        client.get(&path).await.ok()["dependencies"].to_string()
    };
    // One takes 256 MiB.
    limit(&client, "hostile_oversleep", json!({"memory_mib": 300})).await;
    let begun = Instant::now();
    let first = client.trigger("hostile_oversleep", json!({})).await;
    let second = client.trigger("hostile_oversleep", json!({})).await;
    until("the second one waits", Duration::from_secs(10), async || {
        waits(&client, &second)
            .await
            .contains("of the 300 that all attempts of its dag may have together")
            .then_some(())
    })
    .await;
    assert_eq!(ended(&client, "canary", "echo").await.0, "success", "others are not concerned");
    server.kill();
    server.restart().await;
    let client = server.client().await;
    for run_id in [&first, &second] {
        assert_eq!(client.finished("hostile_oversleep", run_id).await["state"], "failed");
    }
    assert!(begun.elapsed() > Duration::from_secs(4), "two of them slept for two seconds each, one after the other");

    limit(&client, "hostile_oversleep", json!({"memory_mib": 255})).await;
    let third = client.trigger("hostile_oversleep", json!({})).await;
    until("it is told that it never starts", Duration::from_secs(10), async || {
        waits(&client, &third).await.contains("until an admin allows more").then_some(())
    })
    .await;
    limit(&client, "hostile_oversleep", json!({})).await;
    client.finished("hostile_oversleep", &third).await;
}

#[tokio::test]
async fn limits_are_for_admins_and_bounded() {
    let (server, admin) = hostile(&[]).await;
    let body = json!({"username": "olga", "password": ADMIN_PASSWORD, "role": "operator"});
    admin.post("/api/v2/users", &body).await.ok();
    let operator = Client::signed_in(&server.url, "olga", ADMIN_PASSWORD).await;
    let path = "/api/v2/dags/canary/limits";
    operator.get(path).await.ok();
    let put = async |client: &Client, path: &str, body: Value| {
        client.send(client.request(Method::PUT, path).json(&body)).await
    };
    assert!(put(&operator, path, json!({"memory_mib": 0})).await.refused(403).contains("limits.write"));
    let refused = put(&admin, path, json!({"log_mib_per_day": 1_000_000_001})).await.refused(422);
    assert!(refused.contains("`log_mib_per_day` can be 0 (any) to 1000000000"), "{refused}");
    put(&admin, path, json!({"memory": 1})).await.refused(422);
    put(&admin, "/api/v2/dags/nobody/limits", json!({"memory_mib": 1})).await.refused(404);
    let said = put(&admin, path, json!({"memory_mib": 512, "network_mib_per_day": 0})).await.ok();
    assert_eq!((&said["own"]["network_mib_per_day"], &said["own"]["log_mib_per_day"]), (&json!(0), &json!(null)));
}
