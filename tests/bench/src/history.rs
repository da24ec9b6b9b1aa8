//! A database that was in use for long: ten million task instances.

use std::time::Duration;

use airlock_tests::Server;
use rusqlite::{Connection, params};

use crate::{
    http::{Bench, run_path},
    measure::{ms, percentile},
    report::{Figure, Goal, Unit},
};

const DAG: &str = "fan_100";
const TASKS: usize = 100;
const RUNS: i64 = 100_000;
/// 2020-01-01.
const FIRST_RUN_US: i64 = 1_577_836_800_000_000;
const BETWEEN_RUNS_US: i64 = 600_000_000;
/// Requests to each endpoint.
const REQUESTS: usize = 60;

/// How fast pages and API answer when there is much that they must not look at.
pub async fn history() -> Vec<Figure> {
    let mut bench = Bench::start(&[]).await;
    let (run_id, _) = bench.run_of(DAG).await;
    bench.server.stop().await;
    let tasks = fill(&bench.server, &run_id);
    bench.server.restart().await;

    // Runs from all of the history, none of them twice in a row.
    let runs: Vec<_> = (0..REQUESTS).map(|at| history_run_id(i64::try_from(at * 7_919).unwrap_or(0) % RUNS)).collect();
    let each = |path: &dyn Fn(&str) -> String| runs.iter().map(|run_id| path(run_id)).collect::<Vec<_>>();
    let same = |path: &str| vec![path.to_owned()];
    let page = |run_id: &str| format!("/dags/{DAG}/runs/{run_id}");
    let task = &tasks[TASKS / 2];
    let kinds = [
        (
            "lists",
            vec![
                same("/api/v2/dags?limit=50"),
                same(&format!("/api/v2/dags/{DAG}/dagRuns?limit=50&order_by=-run_after")),
                same("/api/v2/dags/~/dagRuns?limit=50&state=failed&order_by=-start_date"),
                same("/api/v2/dags/~/dagRuns/~/taskInstances?limit=50"),
                same("/dags"),
                same(&format!("/dags/{DAG}/runs")),
            ],
        ),
        (
            "grid",
            vec![
                same(&format!("/dags/{DAG}")),
                same(&format!("/ui/dags/{DAG}/grid?runs=25")),
                each(&|run_id| format!("{}/grid", run_path(DAG, run_id))),
            ],
        ),
        (
            "run",
            vec![
                each(&|run_id| run_path(DAG, run_id)),
                each(&|run_id| format!("{}/taskInstances?limit=100", run_path(DAG, run_id))),
                each(&page),
            ],
        ),
        (
            "task",
            vec![
                each(&|run_id| format!("{}/taskInstances/{task}", run_path(DAG, run_id))),
                each(&|run_id| format!("{}/tasks/{task}", page(run_id))),
            ],
        ),
    ];
    let mut figures = Vec::new();
    for (kind, endpoints) in kinds {
        let mut slowest = (Duration::ZERO, String::new());
        for paths in endpoints {
            let p95 = percentile(&mut bench.gets(&paths, REQUESTS).await, 0.95);
            slowest = slowest.max((p95, paths[0].clone()));
        }
        let (p95, path) = slowest;
        let path = path.replace(&history_run_id(0), "{run}");
        let figure = Figure::new(
            "10 million task instances",
            format!("{kind}, p95 of the slowest endpoint"),
            Unit::Milliseconds,
            ms(p95),
            Goal::AtMost(50.0),
        );
        figures.push(figure.beside(format!("(slowest: {path})")));
    }
    figures
}

fn history_run_id(at: i64) -> String {
    format!("manual__history_{at:06}")
}

/// Writes the history straight into the database of a server that is down, after the run `like`, and answers the task ids.
fn fill(server: &Server, like: &str) -> Vec<String> {
    let database = Connection::open(server.data_dir().join("airlock.db")).expect("the server left a database");
    database
        .execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; PRAGMA foreign_keys = OFF; BEGIN")
        .expect("the database takes its settings");
    let like: i64 = database
        .query_row("SELECT key FROM dag_run WHERE dag_id = ?1 AND run_id = ?2", [DAG, like], |row| row.get(0))
        .expect("the run is there");
    database
        .execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?2)
             INSERT INTO dag_run (key, dag_id, run_id, version, run_type, state, logical_date, data_interval_start,
                 data_interval_end, run_after, queued_at, start_date, end_date, clear_number, triggered_by, conf)
             SELECT like.key + 1 + n, like.dag_id, printf('manual__history_%06d', n), like.version, 'manual',
                 iif(n % 50 = 0, 'failed', 'success'), ?3 + n * ?4, ?3 + n * ?4, ?3 + (n + 1) * ?4, ?3 + n * ?4,
                 ?3 + n * ?4, ?3 + n * ?4 + 1000, ?3 + n * ?4 + 90000, 0, 'rest_api', '{}'
             FROM numbers, dag_run AS like WHERE like.key = ?1",
            params![like, RUNS, FIRST_RUN_US, BETWEEN_RUNS_US],
        )
        .expect("runs can be made");
    let rows = database
        .execute(
            "INSERT INTO task_instance (dag_run, task_id, map_index, state, try_number, max_tries, restarts, scheduled_at,
                 queued_at, start_date, end_date, pool_slots, priority_weight, pool, entry)
             SELECT run.key, like.task_id, -1, iif(run.state = 'failed' AND like.task_id LIKE '%7', 'failed', 'success'),
                 1, 0, 0, run.start_date, run.start_date, run.start_date + 2000, run.start_date + 3000, 1, 1,
                 'default_pool', like.entry
             FROM dag_run AS run CROSS JOIN task_instance AS like
             WHERE run.key > ?1 AND run.key <= ?1 + ?2 AND like.dag_run = ?1
             ORDER BY run.key, like.task_id",
            params![like, RUNS],
        )
        .expect("task instances can be made");
    assert_eq!(rows, TASKS * usize::try_from(RUNS).expect("it is positive"), "rows of a history");
    database.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").expect("the history can be kept");
    let mut ids = database
        .prepare("SELECT task_id FROM task_instance WHERE dag_run = ?1 ORDER BY task_id")
        .expect("the statement is SQL");
    let ids = ids.query_map([like], |row| row.get(0)).expect("the tasks can be read");
    ids.collect::<Result<_, _>>().expect("task ids are text")
}
