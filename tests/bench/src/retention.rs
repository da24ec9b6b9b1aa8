//! History that is kept short: what was reached after the first runs is what there is after all the others.

use std::{fs, path::Path, time::Duration};

use airlock_tests::{Client, Postgres, Server, build, until};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    http::Bench,
    measure::{ms, percentile},
    report::{Figure, Goal, Unit},
};

const DAG: &str = "one_task";
const KEPT: usize = 1_000;
/// Runs before the first look, so that what is kept is as much as it will be, and what is free of the files, too.
const FIRST: usize = 5_000;
const RUNS: usize = 100_000;
const AT_A_TIME: usize = 32;
/// Requests to each endpoint.
const REQUESTS: usize = 200;

/// Where the history is.
enum Place {
    Sqlite,
    Postgres(Box<Postgres>, String, TempDir),
}

/// 100,000 runs of which 1,000 are kept: sizes and answers before and after.
pub async fn retention(postgres: bool) -> Vec<Figure> {
    let kept = KEPT.to_string();
    // Each trigger is an entry of the audit log.
    let builder = Server::builder().flag("--retention-runs-count", &kept).flag("--retention-audit-count", &kept);
    let (builder, place) = if postgres {
        let postgres = Postgres::start_durable().await;
        let database = postgres.database();
        let storage = TempDir::with_prefix("airlock-bench-").expect("a temporary folder can be made");
        let builder = builder
            .env("AIRLOCK_DATABASE_URL", &postgres.url(&database))
            .env("AIRLOCK_STORAGE_URL", &format!("file://{}", storage.path().display()));
        (builder, Place::Postgres(Box::new(postgres), database, storage))
    } else {
        (builder, Place::Sqlite)
    };
    let server = builder.start().await;
    let client = server.client().await;
    client.upload(build::component("bench")).await.ok();
    let bench = Bench { server, client };

    runs(&bench.client, FIRST).await;
    let before = look(&bench, &place).await;
    runs(&bench.client, RUNS).await;
    let after = look(&bench, &place).await;

    let workload = if postgres {
        "100,000 runs of which 1,000 are kept, PostgreSQL"
    } else {
        "100,000 runs of which 1,000 are kept"
    };
    let figure = |what, unit, measured: f64, before: f64, most: f64| {
        Figure::new(workload, what, unit, measured, Goal::AtMost(most))
            .beside(format!("after the first {FIRST} runs {before:.1}"))
    };
    vec![
        figure("the database", Unit::Mib, after.database_mib, before.database_mib, before.database_mib * 1.25 + 8.0),
        figure("objects", Unit::Mib, after.objects_mib, before.objects_mib, before.objects_mib * 1.25 + 8.0),
        figure("slowest page, p95", Unit::Milliseconds, after.page_ms, before.page_ms, before.page_ms * 1.5 + 2.0),
    ]
}

struct Seen {
    database_mib: f64,
    objects_mib: f64,
    page_ms: f64,
}

/// Makes runs, and waits until they have ended and those that are too many are gone.
async fn runs(client: &Client, count: usize) {
    stream::iter(0..count)
        .map(|_| async { client.trigger(DAG, json!({})).await })
        .buffer_unordered(AT_A_TIME)
        .for_each(async |_| ())
        .await;
    let total = async |filter: &str| {
        let path = format!("/api/v2/dags/{DAG}/dagRuns?limit=1{filter}");
        client.get(&path).await.ok()["total_entries"].as_u64().expect("a total")
    };
    until("the runs' ends", Duration::from_mins(10), async || {
        (total("&state=queued&state=running").await == 0).then_some(())
    })
    .await;
    until("those that are too many", Duration::from_mins(10), async || (total("").await <= KEPT as u64).then_some(()))
        .await;
}

/// Sizes when nothing more goes, and answers.
async fn look(bench: &Bench, place: &Place) -> Seen {
    until("retention has nothing more to do", Duration::from_mins(10), async || {
        let done = bench.client.post("/api/v2/retention/run", &json!({})).await.ok();
        (done["is_done"] == true).then_some(())
    })
    .await;
    let (mut last, mut same) = ((0, 0), 0);
    let (database, objects) = until("nothing more to go", Duration::from_mins(10), async || {
        let now = place.sizes(&bench.server);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Half a minute without a change; PostgreSQL's autovacuum gives back no sooner than each minute, and gives little back.
        (same >= 30).then_some(now)
    })
    .await;
    let mut slowest = Duration::ZERO;
    for path in ["/dags".to_owned(), format!("/dags/{DAG}"), format!("/dags/{DAG}/runs")] {
        bench.get(&path).await;
        slowest = slowest.max(percentile(&mut bench.gets(&[path], REQUESTS).await, 0.95));
    }
    Seen { database_mib: mib(database), objects_mib: mib(objects), page_ms: ms(slowest) }
}

impl Place {
    /// Bytes of the database with its log, and of the objects.
    fn sizes(&self, server: &Server) -> (u64, u64) {
        let data = server.data_dir();
        match self {
            Self::Sqlite => {
                let file = |name: &str| fs::metadata(data.join(name)).map_or(0, |file| file.len());
                (file("airlock.db") + file("airlock.db-wal"), folder(&data.join("blobs")))
            }
            Self::Postgres(postgres, database, storage) => {
                let size = postgres.sql(database, "SELECT pg_database_size(current_database())");
                (size.trim().parse().expect("a number of bytes"), folder(storage.path()))
            }
        }
    }
}

/// Bytes of the files in a folder.
fn folder(path: &Path) -> u64 {
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |file: fs::DirEntry| {
        if file.path().is_dir() { folder(&file.path()) } else { file.metadata().map_or(0, |file| file.len()) }
    };
    files.map(size).sum()
}

fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size that is shown")]
    let mib = bytes as f64 / 1_048_576.0;
    mib
}
