//! Power cuts, a full disk, an object store that is away: what was accepted ends right.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    backup::{files, text},
    load::{all_ended_right, load},
};
use airlock_tests::{Server, Shell, build, http::RUN_LIMIT, s3::Bucket, until};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// `kill -9` so often in this test; `AIRLOCK_TEST_KILLS` says another number.
const KILLS: u32 = 20;

#[tokio::test]
async fn no_accepted_run_is_lost_and_no_task_succeeds_twice_over_kill_9() {
    let kills = std::env::var("AIRLOCK_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("AIRLOCK_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let mut loads = JoinSet::new();
    for _ in 0..3 {
        loads.spawn(load(client.clone(), Arc::clone(&accepted)));
    }
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(20..1_200))).await;
        server.kill();
        server.restart().await;
    }
    loads.shutdown().await;

    let accepted = accepted.lock().unwrap().clone();
    println!("{} runs accepted over {kills} kills", accepted.len());
    assert!(accepted.len() > kills as usize, "the load was a load");
    all_ended_right(&client, &accepted).await;
    // Nothing else was made up either.
    let all = client.list("/api/v2/dags/~/dagRuns", "dag_runs").await;
    assert!(all.iter().all(|run| run["state"] == "success" || run["state"] == "queued" || run["state"] == "running"));
}

#[tokio::test]
async fn a_runner_that_is_killed_costs_a_restart_and_not_a_retry() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("busy_bees", json!({"steps": 20})).await;
    until("both bees", RUN_LIMIT, async || {
        let instances = client.instances("busy_bees", &run_id).await;
        (instances.iter().filter(|instance| instance["state"] == "running").count() == 2).then_some(())
    })
    .await;
    server.kill_children();
    assert_eq!(client.finished("busy_bees", &run_id).await["state"], "success");
    for instance in client.instances("busy_bees", &run_id).await {
        assert_eq!(instance["try_number"], 1, "{instance}");
    }
}

#[tokio::test]
async fn a_server_that_is_asked_to_end_ends_soon_and_goes_on_later() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("busy_bees", json!({"steps": 100})).await;
    let children = until("a runner", RUN_LIMIT, async || {
        let all = server.processes();
        (all.len() > 1).then_some(all)
    })
    .await;
    let start = std::time::Instant::now();
    assert!(server.stop().await.success());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    until("the end of all its processes", Duration::from_secs(5), async || {
        children.iter().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
    server.restart().await;
    assert_eq!(client.finished("busy_bees", &run_id).await["state"], "success");
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.contains("airlock"))
}

#[tokio::test]
async fn states_stay_right_while_the_object_store_is_away() {
    if std::env::var_os("AIRLOCK_TEST_S3_URL").is_some() {
        println!("another's S3 server can't be taken down: this test uses its own");
    }
    let mut bucket = Bucket::local().await;
    let server = Server::builder().flag("--storage-url", &bucket.url);
    let server = bucket.env.iter().fold(server, |server, (name, value)| server.env(name, value)).start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    bucket.go_down();

    // A run that needs no object goes on; its logs wait.
    let run_id = client.trigger("canary", json!({"text": "in the dark"})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
    let refused = client.upload(build::component("hello")).await;
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert_eq!(client.get("/api/v2/dags/hello").await.status.as_u16(), 404, "a failed upload changes nothing");

    bucket.come_back().await;
    client.upload(build::component("hello")).await.ok();
    let run_id = client.trigger("hello", json!({})).await;
    assert_eq!(client.finished("hello", &run_id).await["state"], "success");
    let log = until("the log of the run", RUN_LIMIT, async || {
        let log = client.log("hello", &run_id, "say", 1).await;
        log.contains("Hello, world!").then_some(log)
    })
    .await;
    assert!(!log.is_empty());
}

#[tokio::test]
async fn what_a_killed_server_left_in_storage_is_collected_by_the_next() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    client.post("/api/v2/variables", &json!({"key": "go_on", "value": "no"})).await.ok();
    let run_id = client.trigger("left", json!({})).await;
    let data = server.data_dir();
    let stored = || {
        let mut found = Vec::new();
        for folder in ["xcoms", "artifacts", "recordings"] {
            files(&data.join("blobs").join(folder), &mut found);
        }
        // Half-written ones are no objects.
        found.retain(|file| !file.display().to_string().contains('#'));
        found
    };
    let left = until("an artifact and an XCom", RUN_LIMIT, async || Some(stored()).filter(|all| all.len() == 2)).await;
    server.kill();
    server.restart().await;
    // At once, or after a minute where another server may be writing still.
    until("what was left to be gone", Duration::from_mins(3), async || {
        left.iter().all(|file| !file.exists()).then_some(())
    })
    .await;
    client.patch("/api/v2/variables/go_on", &json!({"key": "go_on", "value": "yes"})).await.ok();
    assert_eq!(client.finished("left", &run_id).await["state"], "success");
    // The artifact, two XComs, the recording.
    assert_eq!(stored().len(), 4, "{:?}", stored());
    let check = ["storage", "check", "--data-dir", text(&data), "-o", "json"];
    assert_eq!(Shell::signed_in(&server).await.run(&check).await.json(), json!([]));
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let server = Server::builder().on_disk_of("48m").start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let before = client.trigger("canary", json!({})).await;
    client.finished("canary", &before).await;

    server.fill_disk();
    let mut accepted = BTreeMap::new();
    let mut is_refused = false;
    for number in 0..200 {
        let body =
            json!({"logical_date": null, "conf": {"text": "x".repeat(10_000)}, "dag_run_id": format!("full-{number}")});
        let answer = client.post("/api/v2/dags/canary/dagRuns", &body).await;
        if answer.status.is_success() {
            accepted.insert(number, answer.body["dag_run_id"].as_str().unwrap().to_owned());
        } else {
            assert!(answer.status.is_server_error(), "{answer:?}");
            is_refused = true;
            break;
        }
    }
    assert!(is_refused, "200 runs fit into a full disk");
    // It still answers, and knows what it knew.
    let run = client.get(&format!("/api/v2/dags/canary/dagRuns/{before}")).await.ok();
    assert_eq!(run["state"], "success");

    server.empty_disk();
    for run_id in accepted.values() {
        assert_eq!(client.finished("canary", run_id).await["state"], "success", "{run_id}");
    }
    let after = client.trigger("canary", json!({})).await;
    assert_eq!(client.finished("canary", &after).await["state"], "success");
    let states: Vec<Value> = client.instances("canary", &after).await;
    assert_eq!(states.len(), 2);
    let log = server.log();
    assert!(!log.contains("a commit fails") || log.contains("a commit has an answer now"), "{log}");
}
