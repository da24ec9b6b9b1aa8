//! Several processes on PostgreSQL, beside what PostgreSQL does by itself on the same disk.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Postgres, Server, Worker, build, server::SECRET_KEY, until};
use chrono::{DateTime, SecondsFormat};
use futures_util::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    http::{Bench, run_path},
    measure::{median, ms, per_second, percentile, wall_us},
    report::{Figure, Goal, Unit},
};

const TOKEN: &str = "a token that workers show";
const WORKERS: u32 = 4;
const SLOTS: u32 = 64;
/// The lease of whoever leads, and two seconds.
const RECOVERY_MS: f64 = 12_000.0;
/// Runs that go through when the leader is lost.
const IN_FLIGHT: usize = 1_000;
/// Rows that are claimed, and then completed, by one statement each.
const BATCH: u32 = 100;

struct Cluster {
    postgres: Postgres,
    bench: Bench,
    second: Server,
    workers: Vec<Worker>,
    _storage: TempDir,
}

impl Cluster {
    /// Two servers, which run nothing themselves, and their workers.
    async fn start() -> Self {
        let postgres = Postgres::start_durable().await;
        let url = postgres.url(&postgres.database());
        let storage = TempDir::with_prefix("airlock-bench-").expect("a temporary folder can be made");
        let server = || {
            Server::builder()
                .env("AIRLOCK_DATABASE_URL", &url)
                .env("AIRLOCK_STORAGE_URL", &format!("file://{}", storage.path().display()))
                .env("AIRLOCK_SECRET_KEY", SECRET_KEY)
                .env("AIRLOCK_WORKERS_TOKEN", TOKEN)
                .env("AIRLOCK_WORKERS_LOCAL", "false")
                .start()
        };
        let (first, second) = (server().await, server().await);
        // All slots at a time, whatever the machine has.
        let memory_mib = (SLOTS * 256).to_string();
        let memory = ["--workers-memory-mib", &memory_mib];
        let worker = |number| Worker::with(&second.url, TOKEN, &format!("worker-{number}"), SLOTS, &memory);
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        let client = first.client().await;
        client.upload(build::component("bench")).await.ok();
        let bench = Bench { server: first, client };
        bench.set_default_pool(WORKERS * SLOTS).await;
        let all = u64::from(WORKERS);
        until("the workers", Duration::from_mins(1), async || {
            (at_work(&bench.client).await.len() as u64 == all).then_some(())
        })
        .await;
        // Each worker loads the code.
        bench.runs("fan_1000", 2).await;
        Self { postgres, bench, second, workers, _storage: storage }
    }
}

/// The workers by name, and how many attempts each runs.
async fn at_work(client: &Client) -> Vec<(String, u64)> {
    let load = client.get("/api/v2/workers").await.ok();
    let worker = |worker: &serde_json::Value| {
        (worker["name"].as_str().unwrap_or_default().to_owned(), worker["running"].as_u64().unwrap_or(0))
    };
    load["workers"].as_array().into_iter().flatten().map(worker).collect()
}

/// Rows that are claimed and completed in a second, on two connections: no task, no network but the database's, no Airlock.
fn bare(postgres: &Postgres) -> f64 {
    let database = postgres.database();
    postgres.sql(
        &database,
        "CREATE TABLE task (id BIGINT PRIMARY KEY, state TEXT NOT NULL, attempt BIGINT NOT NULL);
         INSERT INTO task SELECT n, 'queued', 0 FROM generate_series(1, 2000000) AS n;
         CREATE INDEX queued ON task (id) WHERE state = 'queued'; ANALYZE task; CHECKPOINT",
    );
    let script = format!(
        "WITH claimed AS MATERIALIZED (SELECT id FROM task WHERE state = 'queued' ORDER BY id LIMIT {BATCH} \
         FOR UPDATE SKIP LOCKED), begun AS (UPDATE task SET state = 'running', attempt = attempt + 1 FROM claimed \
         WHERE task.id = claimed.id RETURNING task.id) SELECT array_agg(id)::text AS ids FROM begun \\gset\n\
         UPDATE task SET state = 'success' WHERE id = ANY (':ids'::bigint[]) AND state = 'running' AND attempt = 1;\n"
    );
    postgres.pgbench(&database, &script, 2, Duration::from_secs(3)) * f64::from(BATCH)
}

/// How many tasks a second, how soon they start, and how soon the loss of a process is made good.
pub async fn cluster() -> Vec<Figure> {
    let mut cluster = Cluster::start().await;
    let workload = "PostgreSQL, 2 servers, 4 workers";
    let limit = bare(&cluster.postgres);
    let thousand = per_second(1_000, median(&mut cluster.bench.runs("fan_1000", 9).await));
    let limit = limit.max(bare(&cluster.postgres));
    let beside = format!("bare claim and complete, {BATCH} at a time: {limit:.0}/s");
    let mut figures = vec![
        Figure::new(
            workload,
            "1,000 tasks in a run, fsync, median of 9",
            Unit::TasksPerSecond,
            thousand,
            Goal::AtLeast(3_000.0),
        )
        .beside(beside),
        Figure::new(workload, "of the bare loop", Unit::Percent, 100.0 * thousand / limit, Goal::AtLeast(40.0)),
    ];
    let mut waits = starts(&cluster.bench).await;
    for (what, share, goal) in [("p50", 0.5, 5.0), ("p99", 0.99, 50.0)] {
        let wait = ms(percentile(&mut waits, share));
        figures.push(Figure::new(
            workload,
            format!("ready to started on a worker, {what}"),
            Unit::Milliseconds,
            wait,
            Goal::AtMost(goal),
        ));
    }
    for (what, time) in [
        ("kill -9 of a worker until its task runs elsewhere", worker_is_lost(&mut cluster).await),
        ("kill -9 of the leader, 1,000 runs in flight, until a task starts", leader_is_lost(cluster).await),
    ] {
        figures.push(Figure::new(workload, what, Unit::Milliseconds, ms(time), Goal::AtMost(RECOVERY_MS)));
    }
    figures
}

/// From the commit that says that a task may start to its own first look at a clock, on the same machine.
async fn starts(bench: &Bench) -> Vec<Duration> {
    const RUNS: usize = 400;
    let run = || async {
        let (run_id, _) = bench.run_of("one_task").await;
        let instances = bench.client.instances("one_task", &run_id).await;
        let ready = instances[0]["scheduled_when"].as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let started = bench.client.xcom("one_task", &run_id, "clock", "return_value").await;
        let (started, ready) = (started.as_i64().unwrap_or(0), ready.map_or(0, |ready| ready.timestamp_micros()));
        Duration::from_micros(u64::try_from(started - ready).unwrap_or(0))
    };
    stream::iter(0..RUNS).map(|_| run()).buffer_unordered(4).collect().await
}

async fn worker_is_lost(cluster: &mut Cluster) -> Duration {
    let client = &cluster.bench.client;
    let run_id = client.trigger("busy", json!({})).await;
    let busy = async || at_work(client).await.into_iter().find(|(_, running)| *running > 0).map(|(name, _)| name);
    let first = until("a worker that works", Duration::from_mins(1), &busy).await;
    let number: usize = first.rsplit('-').next().and_then(|number| number.parse().ok()).expect("workers have numbers");
    cluster.workers[number].kill();
    let begun = Instant::now();
    until("another worker that works", Duration::from_mins(1), async || busy().await.filter(|name| *name != first))
        .await;
    let time = begun.elapsed();
    client.patch(&run_path("busy", &run_id), &json!({"state": "failed"})).await.ok();
    time
}

/// From the loss of the leader to the first start of a task that another one leads. All runs then end well.
async fn leader_is_lost(mut cluster: Cluster) -> Duration {
    let trigger = |_| cluster.bench.client.trigger("naps", json!({}));
    let runs: Vec<String> = stream::iter(0..IN_FLIGHT).map(trigger).buffer_unordered(16).collect().await;
    let client = Client { base: cluster.second.url.clone(), ..cluster.bench.client.clone() };
    let killed = wall_us();
    cluster.bench.server.kill();
    let since =
        DateTime::from_timestamp_micros(killed).expect("it is a time").to_rfc3339_opts(SecondsFormat::Micros, true);
    let path = format!("/api/v2/dags/naps/dagRuns/~/taskInstances?start_date_gt={since}&order_by=start_date&limit=1");
    let started = until("a task under another leader", Duration::from_mins(1), async || {
        let answer =
            client.try_send(client.request(Method::GET, &path)).await.filter(|answer| answer.status.is_success())?;
        DateTime::parse_from_rfc3339(answer.body["task_instances"][0]["start_date"].as_str()?).ok()
    })
    .await;
    until("the end of all runs", Duration::from_mins(3), async || {
        let ended = client.get("/api/v2/dags/naps/dagRuns?state=success&limit=1").await.ok();
        (ended["total_entries"] == runs.len()).then_some(())
    })
    .await;
    Duration::from_micros(u64::try_from(started.timestamp_micros() - killed).unwrap_or(0))
}
