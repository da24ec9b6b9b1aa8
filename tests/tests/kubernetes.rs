//! Task instances run in pods, which a server keeps in a cluster.

use std::{collections::BTreeSet, time::Duration};

use airlock_tests::{
    Client, Server, Shell,
    browser::Browser,
    build,
    http::RUN_LIMIT,
    kubernetes::{Cluster, Failure},
    server::Builder,
    until,
};
use serde_json::{Value, json};

use crate::cluster::{Place, is_led};

const TOKEN: &str = "a token that workers show";

/// A server that runs nothing itself and keeps these fleets; `{server}` is where it is.
async fn server(cluster: &Cluster, fleets: &str) -> (Server, Client) {
    let port = free_port();
    let server = keeping(Server::builder(), cluster, fleets, port).port(port).start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    client.upload(build::component("control")).await.ok();
    (server, client)
}

/// Pods have to be told where a server is before it knows.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One that keeps these fleets, whose pods look for a server on `port`.
fn keeping(server: Builder, cluster: &Cluster, fleets: &str, port: u16) -> Builder {
    let env = cluster.env(&fleets.replace("{server}", &format!("http://127.0.0.1:{port}")));
    let server = server.env("AIRLOCK_WORKERS_TOKEN", TOKEN).env("AIRLOCK_WORKERS_LOCAL", "false");
    env.iter().fold(server, |server, (name, value)| server.env(name, value))
}

/// Fleets that serve the default queue by pods of these settings.
fn fleets(settings: &str) -> String {
    format!("{{server: '{{server}}', image: airlock, fleets: {{small: {{queue: default, {settings}}}}}}}")
}

async fn fleet(client: &Client, is_so: impl Fn(&Value) -> bool) -> Value {
    until("such a fleet", RUN_LIMIT, async || {
        let fleet = client.get("/api/v2/workers").await.ok()["fleets"][0].clone();
        is_so(&fleet).then_some(fleet)
    })
    .await
}

/// A run of `busy_bees` whose tasks take so many tenths of a second.
async fn bees(client: &Client, steps: u32) -> String {
    client.trigger("busy_bees", json!({ "steps": steps })).await
}

async fn succeeded(client: &Client, run_id: &str) {
    let run = client.finished("busy_bees", run_id).await;
    let instances = client.instances("busy_bees", run_id).await;
    assert_eq!(run["state"], "success", "{instances:?}");
    for instance in instances {
        assert_eq!(instance["try_number"], 1, "{instance}");
    }
}

/// Why `task` of the run waits.
async fn why(client: &Client, run_id: &str, task: &str) -> String {
    let path = format!("/api/v2/dags/busy_bees/dagRuns/{run_id}/taskInstances/{task}/dependencies");
    client.get(&path).await.ok()["dependencies"][0]["reason"].as_str().unwrap_or_default().to_owned()
}

async fn why_is(client: &Client, run_id: &str, wanted: &str) -> String {
    until(&format!("`{wanted}` as the reason"), RUN_LIMIT, async || {
        let why = why(client, run_id, "slow_a").await;
        why.contains(wanted).then_some(why)
    })
    .await
}

/// The page of workers as people see it, on a desk and on a phone.
async fn look_at_workers(server: &Server, wanted: &str) {
    let browser = Browser::start(1280, 800).await.expect("a browser is there");
    browser.sign_in(server).await;
    browser.open(server, "/workers").await;
    let list = browser.text("#list").await;
    assert!(list.contains("fleet small") && list.contains(wanted), "{list}");
    browser.be_a_phone().await;
    browser.holds("return document.documentElement.scrollWidth <= innerWidth").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn pods_come_and_go_with_their_work() {
    let cluster = Cluster::start(TOKEN).await;
    let (server, client) = server(&cluster, &fleets("max: 2, idle_seconds: 1, keep_seconds: 1")).await;
    assert_eq!(cluster.pods().await, Vec::<Value>::new());
    let run_id = bees(&client, 10).await;
    let live = cluster.live(2).await;
    let shell = Shell::signed_in(&server).await;
    fleet(&client, |fleet| fleet["pods"][1]["state"] == "running").await;
    let listed = shell.run(&["workers", "pods", "--output", "json"]).await.json();
    assert_eq!((&listed[0]["name"], &listed[0]["fleet"]), (&json!(live[0]), &json!("small")));
    let page = client.text("/workers", "text/html").await;
    assert!(page.contains(&live[0]) && page.contains("fleet small") && page.contains("2 of 2 pods"), "{page}");
    succeeded(&client, &run_id).await;
    // To zero, and from there again.
    until("no pods", RUN_LIMIT, async || cluster.pods().await.is_empty().then_some(())).await;
    let fleet = fleet(&client, |fleet| fleet["pods"] == json!([])).await;
    assert_eq!(fleet["trouble"], Value::Null, "{fleet}");
    let run_id = bees(&client, 1).await;
    succeeded(&client, &run_id).await;
}

#[tokio::test]
async fn each_task_may_have_a_pod_of_its_own() {
    let cluster = Cluster::start(TOKEN).await;
    let (_server, client) =
        server(&cluster, &fleets("max: 5, attempts: 1, resources: {limits: {memory: 256Mi}}")).await;
    let run_id = bees(&client, 1).await;
    succeeded(&client, &run_id).await;
    let ended = until("three pods that ended", RUN_LIMIT, async || {
        let pods = cluster.pods().await;
        (pods.len() == 3 && pods.iter().all(|pod| pod["status"]["phase"] == "Succeeded")).then_some(pods)
    })
    .await;
    // The token is in none of them.
    let text = json!(ended).to_string();
    assert!(!text.contains(TOKEN) && text.contains("secretKeyRef"), "{text}");
    assert_eq!(ended[0]["spec"]["containers"][0]["resources"]["limits"]["memory"], "256Mi");
    let is_over = |fleet: &Value| {
        fleet["pods"].as_array().is_some_and(|pods| pods.len() == 3 && pods.iter().all(|pod| pod["state"] == "ended"))
    };
    let fleet = fleet(&client, is_over).await;
    assert_eq!(fleet["trouble"], Value::Null, "{fleet}");
    let figures = client.text("/metrics", "*/*").await;
    for figure in [
        r#"airlock_fleet_pods{fleet="small",state="ended"} 3"#,
        r#"airlock_fleet_max_pods{fleet="small"} 5"#,
        r#"airlock_pod_creations_total{fleet="small",result="created"} 3"#,
        r#"airlock_pod_ends_total{fleet="small",reason="done"} 3"#,
    ] {
        assert!(figures.contains(figure), "`{figure}` is not in\n{figures}");
    }
}

#[tokio::test]
async fn a_server_that_was_killed_keeps_the_pods_of_before() {
    let cluster = Cluster::start(TOKEN).await;
    let (mut server, client) = server(&cluster, &fleets("max: 6, idle_seconds: 600")).await;
    // The server is killed while its creations are under way; of some it never hears.
    if cluster.is_fake() {
        cluster.fail([Failure::LoseAnswer, Failure::Slow(Duration::from_millis(300))]);
    }
    let runs = [bees(&client, 20).await, bees(&client, 20).await];
    until("a pod", RUN_LIMIT, async || (!cluster.pods().await.is_empty()).then_some(())).await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let live = cluster.live(4).await;
    fleet(&client, |fleet| {
        fleet["pods"].as_array().is_some_and(|pods| pods.iter().all(|pod| pod["state"] == "running"))
    })
    .await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    for run_id in &runs {
        succeeded(&client, run_id).await;
    }
    assert_eq!(cluster.live(4).await, live, "nobody was made twice, nobody was lost");
    if cluster.is_fake() {
        let created = cluster.created();
        assert_eq!(created.iter().collect::<BTreeSet<_>>().len(), created.len(), "{created:?}");
        assert_eq!(created.len(), 4, "{created:?}");
    }
}

#[tokio::test]
async fn a_server_that_takes_over_keeps_the_pods_of_the_one_before() {
    let (cluster, place) = (Cluster::start(TOKEN).await, Place::new().await);
    let (port, fleets) = (free_port(), fleets("max: 6, idle_seconds: 600"));
    let process = || keeping(place.process(), &cluster, &fleets, port);
    let mut first = process().start().await;
    // Pods know the one that waits, which sends them on to the one that leads.
    let second = process().port(port).start().await;
    let client = second.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = bees(&client, 30).await;
    let live = cluster.live(2).await;
    fleet(&client, |fleet| fleet["pods"][1]["state"] == "running").await;
    first.kill();
    is_led(&second).await;
    succeeded(&client, &run_id).await;
    assert_eq!(cluster.live(2).await, live);
    if cluster.is_fake() {
        assert_eq!(cluster.created().len(), 2, "{:?}", cluster.created());
    }
}

#[tokio::test]
async fn faults_of_the_api_delay_and_double_nothing() {
    let cluster = Cluster::start(TOKEN).await;
    if !cluster.is_fake() {
        return;
    }
    let (_server, client) = server(&cluster, &fleets("max: 2, idle_seconds: 600")).await;
    let refuse = |status, reason, message| Failure::Refuse { status, reason, message };
    let quota = "pods is forbidden: exceeded quota: pods, requested: pods=1";
    cluster.fail([
        Failure::LoseAnswer,
        refuse(429, "TooManyRequests", "the server is busy"),
        refuse(500, "InternalError", "no leader"),
        refuse(403, "Forbidden", quota),
        refuse(403, "Forbidden", quota),
        refuse(403, "Forbidden", quota),
    ]);
    cluster.compact();
    let run_id = bees(&client, 30).await;
    let why = until("the quota as the fleet's trouble", RUN_LIMIT, async || {
        let fleet = client.get("/api/v2/workers").await.ok()["fleets"][0].clone();
        let trouble = fleet["trouble"].as_str()?.to_owned();
        trouble.contains("exceeded quota").then_some(trouble)
    })
    .await;
    assert!(why.contains("can't be created") && why.contains("(403)"), "{why}");
    for _ in 0..5 {
        cluster.cut_watches();
        cluster.compact();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    succeeded(&client, &run_id).await;
    let created = cluster.created();
    assert!(created.len() <= 2, "{created:?}");
    assert_eq!(cluster.live(created.len()).await.len(), created.len());
}

#[tokio::test]
async fn what_keeps_a_pod_from_starting_is_told_where_its_task_waits() {
    let cluster = Cluster::start(TOKEN).await;
    let (mut server, client) = server(&cluster, &fleets("max: 2, image: nowhere")).await;
    let run_id = bees(&client, 1).await;
    let why = why_is(&client, &run_id, "nowhere: not found").await;
    assert!(why.contains("a pod of the fleet `small`") && why.contains("can't be pulled"), "{why}");
    // No other one is tried meanwhile.
    let pods = cluster.pods().await;
    assert!(pods.len() <= 2, "{pods:?}");
    look_at_workers(&server, "nowhere: not found").await;

    // With other settings, other pods take the place of those that are there.
    for (settings, wanted) in [
        ("max: 2, node_selector: {disk: none}", "can't be scheduled: 0/1 nodes are available"),
        (
            "max: 2, template: {spec: {containers: [{name: worker, env: [{name: X, valueFrom: {secretKeyRef: {name: missing, key: x}}}]}]}}",
            "secret \"missing\" not found",
        ),
    ] {
        server.stop().await;
        cluster.set_fleets(&fleets(settings).replace("{server}", &server.url));
        server.restart().await;
        why_is(&server.client().await, &run_id, wanted).await;
    }
    server.stop().await;
    cluster.set_fleets(&fleets("max: 2").replace("{server}", &server.url));
    server.restart().await;
    succeeded(&server.client().await, &run_id).await;
}

#[tokio::test]
async fn what_became_of_a_pod_is_told_in_the_log_of_what_it_ran() {
    let cluster = Cluster::start(TOKEN).await;
    let (_server, client) = server(&cluster, &fleets("max: 1, slots: 2, resources: {limits: {memory: 256Mi}}")).await;
    let run_id = bees(&client, 20).await;
    let runs = async |client: &Client| {
        until("tasks that run in a pod", RUN_LIMIT, async || {
            let load = client.get("/api/v2/workers").await.ok();
            (load["workers"][0]["running"] == 2).then(|| load["workers"][0]["name"].as_str().unwrap().to_owned())
        })
        .await
    };
    let first = runs(&client).await;
    cluster.oom(&first).await;
    let second = runs(&client).await;
    assert_ne!(first, second);
    cluster.evict(&second).await;
    let third = runs(&client).await;
    cluster.vanish(&third).await;
    succeeded(&client, &run_id).await;
    let log = client.get(&format!("/api/v2/dags/busy_bees/dagRuns/{run_id}/taskInstances/slow_a/logs/1")).await.ok();
    let log = log.to_string();
    assert!(log.contains(&format!("its pod `{first}` was OOM-killed (limit 256Mi)")), "{log}");
    assert!(log.contains(&format!("its pod `{second}` was evicted: The node was low on resource: memory.")), "{log}");
    assert!(log.contains(&format!("its pod `{third}` was deleted")), "{log}");
}

#[tokio::test]
async fn settings_that_can_not_be_kept_are_refused_at_the_start() {
    let folder = tempfile::TempDir::with_prefix("airlock-fleets-").unwrap();
    let path = folder.path().join("fleets.yaml");
    let kubeconfig = folder.path().join("kubeconfig");
    for (fleets, env, wanted) in [
        ("server: x", vec![], "missing field `fleets`"),
        ("server: http://a\nfleets: {a: {max: 1, slot: 1}}", vec![], "slot"),
        ("server: http://a\nfleets: {a: {max: 1}}", vec![], "`workers.token` is not set"),
        (
            "server: http://a\nfleets: {a: {max: 1, queue: default}}",
            vec![("AIRLOCK_WORKERS_TOKEN", TOKEN)],
            "this server runs the tasks of its queue `default` itself",
        ),
        ("server: http://a\nfleets: {a: {max: 1}}", vec![("AIRLOCK_WORKERS_TOKEN", TOKEN)], "no cluster is known"),
    ] {
        std::fs::write(&path, fleets).unwrap();
        let refused = std::process::Command::new(build::binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--kubernetes-fleets"])
            .arg(&path)
            .env_clear()
            .env("KUBECONFIG", &kubeconfig)
            .envs(env)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{fleets}: {told}");
        assert!(told.contains(wanted), "{fleets}: {told}");
    }
}
