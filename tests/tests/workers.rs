//! Task instances run on other machines, which may go away.

use std::time::{Duration, Instant};

use airlock_tests::{
    Client, Server, Shell, Worker, build,
    http::RUN_LIMIT,
    proxy::{Mode, Proxy},
    until,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const TOKEN: &str = "a token that workers show";

/// A server that runs nothing itself.
async fn server() -> (Server, Client) {
    let server = Server::builder().env("AIRLOCK_WORKERS_TOKEN", TOKEN).env("AIRLOCK_WORKERS_LOCAL", "false");
    let server = server.start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    (server, client)
}

/// Waits until what is said of workers is as it should be.
async fn workload(client: &Client, is_so: impl Fn(&Value) -> bool) -> Value {
    until("such a workload", RUN_LIMIT, async || {
        let load = client.get("/api/v2/workers").await.ok();
        is_so(&load).then_some(load)
    })
    .await
}

/// The instances of a run all succeeded in their first try.
async fn succeeded_at_once(client: &Client, dag_id: &str, run_id: &str) {
    assert_eq!(client.finished(dag_id, run_id).await["state"], "success");
    for instance in client.instances(dag_id, run_id).await {
        assert_eq!(instance["try_number"], 1, "{instance}");
    }
}

#[tokio::test]
async fn attempts_wait_for_workers_and_survive_their_loss() {
    let (server, client) = server().await;
    let run_id = client.trigger("canary", json!({"text": "far away"})).await;
    workload(&client, |load| load["waiting"] == 1 && load["slots"] == 0).await;

    let mut first = Worker::start(&server.url, TOKEN, "first", 8);
    succeeded_at_once(&client, "canary", &run_id).await;
    // Its XComs and all else are with the server.
    let xcom = format!("/api/v2/dags/canary/dagRuns/{run_id}/taskInstances/echo/xcomEntries/return_value");
    assert_eq!(client.get(&xcom).await.ok()["value"], "far away");

    let run_id = client.trigger("busy_bees", json!({"steps": 20})).await;
    workload(&client, |load| load["running"] == 2 && load["workers"][0]["name"] == "first").await;
    let slow_a = format!("/api/v2/dags/busy_bees/dagRuns/{run_id}/taskInstances/slow_a");
    assert_eq!(client.get(&slow_a).await.ok()["hostname"], "first", "where it runs is told while it does");
    first.kill();
    let _second = Worker::start(&server.url, TOKEN, "second", 8);
    succeeded_at_once(&client, "busy_bees", &run_id).await;
    assert_eq!(client.get(&slow_a).await.ok()["hostname"], "second");
    let log = client.log("busy_bees", &run_id, "slow_a", 1).await;
    assert!(log.contains("its worker `first` was lost"), "{log}");
    let load = workload(&client, |load| load["running"] == 0).await;
    assert_eq!(load["workers"].as_array().unwrap().len(), 1, "{load}");
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_ends_what_it_has_begun() {
    let (server, client) = server().await;
    let mut first = Worker::start(&server.url, TOKEN, "first", 8);
    workload(&client, |load| load["slots"] == 8).await;
    let run_id = client.trigger("busy_bees", json!({"steps": 30})).await;
    workload(&client, |load| load["running"] == 2).await;
    first.signal(Signal::TERM);
    let load = workload(&client, |load| load["workers"][0]["is_draining"] == true).await;
    assert_eq!(load["slots"], 0, "{load}");
    assert!(first.ended().await.success());
    workload(&client, |load| load["workers"] == json!([])).await;

    // The sum, which had not begun, waits for the next.
    let _second = Worker::start(&server.url, TOKEN, "second", 8);
    succeeded_at_once(&client, "busy_bees", &run_id).await;
}

#[tokio::test]
async fn a_worker_that_leaves_takes_nobody_along_who_has_its_name() {
    let (server, client) = server().await;
    let mut leaves = Worker::start(&server.url, TOKEN, "a/worker", 8);
    workload(&client, |load| load["workers"].as_array().is_some_and(|workers| workers.len() == 1)).await;
    let mut stays = Worker::start(&server.url, TOKEN, "a/worker", 8);
    workload(&client, |load| load["workers"].as_array().is_some_and(|workers| workers.len() == 2)).await;
    leaves.signal(Signal::TERM);
    assert!(leaves.ended().await.success());
    let load = workload(&client, |load| load["workers"].as_array().is_some_and(|workers| workers.len() == 1)).await;
    assert_eq!(load["workers"][0]["is_draining"], false, "{load}");
    let run_id = client.trigger("canary", json!({"text": "still here"})).await;
    succeeded_at_once(&client, "canary", &run_id).await;
    assert!(!stays.has_ended());
}

#[tokio::test]
async fn a_worker_whose_runners_end_says_so_and_comes_back_later_each_time() {
    let (server, client) = server().await;
    let first = Worker::start(&server.url, TOKEN, "first", 8);
    let run_id = client.trigger("busy_bees", json!({"steps": 20})).await;
    let mut killed = Instant::now();
    for _ in 0..2 {
        workload(&client, |load| load["running"] == 2).await;
        killed = Instant::now();
        first.kill_runner();
        workload(&client, |load| load["workers"] == json!([])).await;
    }
    workload(&client, |load| load["running"] == 2).await;
    assert!(killed.elapsed() > Duration::from_millis(1_900), "{:?}", killed.elapsed());
    succeeded_at_once(&client, "busy_bees", &run_id).await;
    let log = first.log();
    assert!(log.matches("the runner of this worker is gone").count() == 2 && log.contains("SIGKILL"), "{log}");
}

/// What comes to the server by a proxy is not answered from some moment on, as behind a machine whose process is stopped.
#[tokio::test]
async fn a_worker_that_is_not_heard_when_it_leaves_goes_on_and_says_it_again() {
    let (server, client) = server().await;
    let there = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let (proxy, silent) = (Proxy::start().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    proxy.lead_to(there);
    let mut worker = Worker::start(&format!("http://{}", proxy.address()), TOKEN, "first", 8);
    workload(&client, |load| load["slots"] == 8).await;
    let run_id = client.trigger("busy_bees", json!({"steps": 10})).await;
    workload(&client, |load| load["running"] == 2).await;
    proxy.lead_to(silent.local_addr().unwrap());
    worker.signal(Signal::TERM);
    let (unanswered, _) = silent.accept().await.unwrap();
    succeeded_at_once(&client, "busy_bees", &run_id).await;
    let log = client.log("busy_bees", &run_id, "slow_a", 1).await;
    assert_eq!(log.matches("step 0 of").count(), 1, "{log}");
    assert!(!worker.has_ended());
    proxy.lead_to(there);
    drop(unanswered);
    assert!(worker.ended().await.success(), "{}", worker.log());
}

#[tokio::test]
async fn a_worker_waits_for_no_server_that_takes_its_connection_and_says_nothing() {
    let (server, client) = server().await;
    let (proxy, silent) = (Proxy::start().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    proxy.lead_to(silent.local_addr().unwrap());
    let url = format!("http://{}", proxy.address());
    let (first, mut second) = (Worker::start(&url, TOKEN, "first", 3), Worker::start(&url, TOKEN, "second", 5));
    let (_unanswered, _neither) = (silent.accept().await.unwrap(), silent.accept().await.unwrap());
    second.signal(Signal::TERM);
    assert!(second.ended().await.success(), "{}", second.log());
    proxy.lead_to(server.url.strip_prefix("http://").unwrap().parse().unwrap());
    workload(&client, |load| load["slots"] == 3).await;
    assert!(first.log().contains("does not answer"), "{}", first.log());
}

#[tokio::test]
async fn a_stream_that_only_the_server_believes_in_ends_when_its_worker_is_back() {
    let (server, client) = server().await;
    let hello = Worker::hello(TOKEN, "twice", 8).await;
    let come = async || {
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
        stream.write_all(hello.as_bytes()).await.unwrap();
        stream
    };
    let mut before = come().await;
    workload(&client, |load| load["slots"] == 8).await;
    let _now = come().await;
    // Sooner than its silence would be noticed.
    let ended = tokio::time::timeout(Duration::from_secs(10), before.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok(), "the server holds on to a stream of a worker that has another one");
    let load = workload(&client, |load| load["slots"] == 8).await;
    assert_eq!(load["workers"].as_array().unwrap().len(), 1, "{load}");
}

#[tokio::test]
async fn a_worker_that_was_stopped_has_ended_what_others_took_over() {
    let (server, client) = server().await;
    let first = Worker::start(&server.url, TOKEN, "first", 8);
    workload(&client, |load| load["slots"] == 8).await;
    let run_id = client.trigger("busy_bees", json!({"steps": 20})).await;
    workload(&client, |load| load["running"] == 2).await;
    first.signal(Signal::STOP);
    let _second = Worker::start(&server.url, TOKEN, "second", 8);
    succeeded_at_once(&client, "busy_bees", &run_id).await;
    first.signal(Signal::CONT);
    // It comes back, with nothing of what it had.
    workload(&client, |load| load["workers"].as_array().is_some_and(|all| all.len() == 2) && load["running"] == 0)
        .await;
}

#[tokio::test]
async fn a_worker_without_the_token_is_refused() {
    let (server, client) = server().await;
    let mut stranger = Worker::start(&server.url, "a guess", "stranger", 1);
    let ended = tokio::time::timeout(Duration::from_secs(30), stranger.ended()).await.unwrap();
    assert!(!ended.success());
    assert!(stranger.log().contains("token of workers is wrong"), "{}", stranger.log());
    // What a proxy makes of one that has it.
    let downgraded = client.http.get(format!("{}/api/v2/workers/stream", server.url)).bearer_auth(TOKEN);
    let refused = client.send(downgraded).await.refused(400);
    assert!(refused.contains("a proxy before the server has to let upgrades through"), "{refused}");
    let closed = Server::start().await;
    let mut stranger = Worker::start(&closed.url, TOKEN, "stranger", 1);
    assert!(!stranger.ended().await.success());
    assert!(stranger.log().contains("workers.token"), "{}", stranger.log());
}

const QUEUED: &str = "
dag_id: queued
tasks:
  here: {uses: control/empty}
  there: {uses: control/empty, queue: gpu}
";

#[tokio::test]
async fn a_queue_is_served_by_its_workers_only() {
    let server = Server::builder().env("AIRLOCK_WORKERS_TOKEN", TOKEN).start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(QUEUED.into()).await.ok();
    let run_id = client.trigger("queued", json!({})).await;
    let waits = async |queue: &str| {
        let load = client.get(&format!("/api/v2/workers?queue={queue}")).await.ok();
        (load["waiting"].clone(), load["slots"].clone())
    };
    let instances = format!("/api/v2/dags/queued/dagRuns/{run_id}/taskInstances");
    until("the task of the default queue", RUN_LIMIT, async || {
        let here = client.get(&format!("{instances}/here")).await.ok();
        (here["state"] == "success" && here["queue"] == "default").then_some(())
    })
    .await;
    assert_eq!(waits("gpu").await, (json!(1), json!(0)));
    assert_eq!(waits("default").await.0, 0);
    let there = client.get(&format!("{instances}/there")).await.ok();
    assert_eq!((&there["state"], &there["queue"]), (&json!("scheduled"), &json!("gpu")));
    let why = client.get(&format!("{instances}/there/dependencies")).await.ok();
    let why = why["dependencies"][0]["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("no worker serves its queue `gpu`"), "{why}");

    let other = Worker::start(&server.url, TOKEN, "other", 2);
    workload(&client, |load| load["workers"].as_array().is_some_and(|all| all.len() == 1)).await;
    assert_eq!(waits("gpu").await, (json!(1), json!(0)));
    let mut worker = Worker::with(&server.url, TOKEN, "gpu-1", 3, &["--workers-queues", "fast,gpu"]);
    succeeded_at_once(&client, "queued", &run_id).await;
    assert_eq!(waits("gpu").await, (json!(0), json!(3)));

    let shell = Shell::signed_in(&server).await;
    let listed = shell.run(&["workers", "list", "--queue", "gpu", "--output", "json"]).await.json();
    assert_eq!((&listed[0]["name"], &listed[0]["queues"]), (&json!("gpu-1"), &json!("fast,gpu")));
    let page = client.text("/workers", "text/html").await;
    assert!(page.contains("gpu-1") && page.contains("fast,gpu") && page.contains("other"), "{page}");
    shell.run(&["workers", "drain", "gpu-1"]).await.ok();
    assert!(worker.ended().await.success());
    let refused = shell.run(&["workers", "drain", "gpu-1"]).await.failed(3);
    assert!(refused.contains("there is no worker `gpu-1`"), "{refused}");
    drop(other);
}

const SHARED: &str = "
dag_id: shared
tasks:
  here: {uses: hostile/slow, queue: here, with: {steps: 30}}
  there: {uses: hostile/slow, queue: there, with: {steps: 30}}
";

#[tokio::test]
async fn a_task_whose_place_one_of_another_queue_took_says_so() {
    let (server, client) = server().await;
    client.upload(SHARED.into()).await.ok();
    let _worker = Worker::with(&server.url, TOKEN, "both", 1, &["--workers-queues", "here,there"]);
    workload(&client, |load| load["slots"] == 1).await;
    let run_id = client.trigger("shared", json!({})).await;
    workload(&client, |load| load["running"] == 1 && load["waiting"] == 1).await;
    // What runs waits for nothing, also not for its dag.
    client.set_paused("shared", true).await;
    let mut waits = Vec::new();
    for task_id in ["here", "there"] {
        let path = format!("/api/v2/dags/shared/dagRuns/{run_id}/taskInstances/{task_id}/dependencies");
        let why = client.get(&path).await.ok();
        waits.extend(why["dependencies"][0]["reason"].as_str().map(str::to_owned));
    }
    assert!(matches!(waits.as_slice(), [why] if why.contains("tasks of their other queues")), "{waits:?}");
    succeeded_at_once(&client, "shared", &run_id).await;
}

/// As a pod for one task does.
#[tokio::test]
async fn a_worker_leaves_after_its_attempts() {
    let (server, client) = server().await;
    let once = async || {
        let mut worker = Worker::with(&server.url, TOKEN, "once", 1, &["--workers-attempts", "1"]);
        assert!(worker.ended().await.success());
    };
    // Two tasks, one after the other.
    let run_id = client.trigger("canary", json!({"text": "once"})).await;
    for _ in 0..2 {
        let load = workload(&client, |load| load["waiting"] == 1 && load["workers"] == json!([])).await;
        assert_eq!(load["wanted"], 1, "{load}");
        once().await;
    }
    succeeded_at_once(&client, "canary", &run_id).await;

    // Two tasks, then one that follows them: each has a worker of its own.
    let run_id = client.trigger("busy_bees", json!({"steps": 2})).await;
    for wanted in [2, 1, 1] {
        workload(&client, |load| load["waiting"] == wanted && load["workers"] == json!([])).await;
        once().await;
    }
    succeeded_at_once(&client, "busy_bees", &run_id).await;
}

#[tokio::test]
async fn a_worker_for_one_attempt_fails_with_its_runner() {
    let (server, client) = server().await;
    client.trigger("busy_bees", json!({"steps": 20})).await;
    let mut once = Worker::with(&server.url, TOKEN, "once", 1, &["--workers-attempts", "1"]);
    workload(&client, |load| load["running"] == 1).await;
    once.kill_runner();
    assert!(!once.ended().await.success());
    let log = once.log();
    assert!(log.contains("the runner of this worker is gone: "), "{log}");
}

#[tokio::test]
async fn a_worker_that_has_had_its_attempts_leaves_however_its_connection_ends() {
    let (server, client) = server().await;
    let proxy = Proxy::start().await;
    proxy.lead_to(server.url.strip_prefix("http://").unwrap().parse().unwrap());
    proxy.set(Mode::Reset);
    client.trigger("canary", json!({"text": "once"})).await;
    let url = format!("http://{}", proxy.address());
    let mut worker = Worker::with(&url, TOKEN, "once", 1, &["--workers-attempts", "1"]);
    assert!(worker.ended().await.success(), "{}", worker.log());
    assert!(worker.log().contains("drained"), "{}", worker.log());
    workload(&client, |load| load["waiting"] == 1 && load["workers"] == json!([])).await;
}

#[tokio::test]
async fn a_queue_that_is_no_name_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    let refused = client.upload(QUEUED.replace("gpu", "'a b'").into()).await.refused(422);
    assert!(refused.contains("queue"), "{refused}");
    let mut worker = Worker::with(&server.url, TOKEN, "lost", 1, &["--workers-queues", "a b"]);
    assert_eq!(worker.ended().await.code(), Some(2));
    assert!(worker.log().contains("workers.queues"), "{}", worker.log());
}

/// `large` asks for more than any of the first workers has for all of its attempts.
const LARGE: &str = "
dag_id: large
grants: {memory_mib: 1024}
tasks: {there: {uses: control/empty}}
";

#[tokio::test]
async fn attempts_take_of_their_workers_memory_what_they_may_have() {
    let (server, client) = server().await;
    client.upload(build::component("control")).await.ok();
    client.upload(LARGE.into()).await.ok();
    // Two at a time of 256 MiB, though it has slots for eight.
    let _small = Worker::with(&server.url, TOKEN, "small", 8, &["--workers-memory-mib", "600"]);
    workload(&client, |load| load["slots"] == 8 && load["memory_mib"] == 600).await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        runs.push(client.trigger("busy_bees", json!({"steps": 20})).await);
    }
    let load = workload(&client, |load| load["running"] == 2 && load["waiting"] == 2).await;
    assert_eq!((&load["wanted_memory_mib"], &load["workers"][0]["running_memory_mib"]), (&json!(1_024), &json!(512)));
    // A slot's share is 75 MiB.
    assert_eq!(load["wanted"], 14, "{load}");
    let page = client.text("/workers", "text/html").await;
    assert!(page.contains("512 of 600 MiB"), "{page}");

    let large = client.trigger("large", json!({})).await;
    let why = format!("/api/v2/dags/large/dagRuns/{large}/taskInstances/there/dependencies");
    let why = until("why it waits", RUN_LIMIT, async || {
        let why = client.get(&why).await.ok();
        Some(why["dependencies"][0]["reason"].as_str()?.to_owned())
    })
    .await;
    assert!(why.contains("1024 MiB") && why.contains("has 600") && why.contains("start a larger one"), "{why}");
    for run_id in &runs {
        succeeded_at_once(&client, "busy_bees", run_id).await;
    }
    let _other = Worker::with(&server.url, TOKEN, "other", 1, &["--workers-memory-mib", "1024"]);
    succeeded_at_once(&client, "large", &large).await;

    // Without the flag a worker has most of what the machine has, and says so.
    let _usual = Worker::start(&server.url, TOKEN, "usual", 1);
    let load = workload(&client, |load| load["workers"].as_array().is_some_and(|all| all.len() == 3)).await;
    let usual = load["workers"].as_array().unwrap().iter().find(|worker| worker["name"] == "usual").unwrap();
    assert!(usual["memory_mib"].as_u64().is_some_and(|mib| mib >= 256), "{usual}");
}
