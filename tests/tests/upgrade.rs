//! A database that an older version made, full of data, is brought to the present schema; one of a newer version is left alone; and
//! processes of two versions work side by side while an upgrade goes on.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use airlock_tests::{
    Client, Peer, Server, Worker, build,
    server::{Builder, SECRET_KEY},
    until,
};
use reqwest::Method;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::{Place, is_led};

/// What a version before data keys made of the variable and the password below, with [`SECRET_KEY`].
const SEALED_VARIABLE: &str = "01a6de2c9f64c968976465666768696a6b6c6d6e6f707172737475767778797a7b141695dc900eeff0e85dbd5dc309d2bb3e8ea28019bc79e9e7ebdbabf826b3b92f";
const SEALED_PASSWORD: &str = "01a6de2c9f64c9689782838485868788898a8b8c8d8e8f90919293949596979899ec8caea293edb44241908fea3683a708b21a5923f20186d3fa004e08f246ec2175";
const VARIABLE: &str = "hello from before";
/// The migrations with which data keys, and roles, came.
const DATA_KEYS: i64 = 64;
const ROLES: i64 = 60;
const USERS_PASSWORD: &str = "a password of the reader";

/// Schemas that are brought up to date with data: the first, and those before changes of tables that hold some.
const SQLITE: [i64; 6] = [1, 32, 50, 63, 69, 82];
const POSTGRES: [i64; 3] = [1, 74, 82];

/// A migration: its number and its statements.
fn migrations(of: &str) -> Vec<(i64, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(of);
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name().unwrap().to_str().unwrap()[..4].parse().unwrap();
            (number, fs::read_to_string(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// What a server held when it was killed.
struct Filled {
    finished: String,
    unfinished: String,
}

impl Filled {
    async fn by(server: &mut Server) -> Self {
        let client = server.client().await;
        client.upload(build::component("hostile")).await.ok();
        client.post("/api/v2/variables", &json!({"key": "greeting", "value": VARIABLE})).await.ok();
        let warehouse =
            json!({"connection_id": "warehouse", "conn_type": "http", "host": "w.example.org", "password": "x"});
        client.post("/api/v2/connections", &warehouse).await.ok();
        client.post("/api/v2/pools", &json!({"name": "narrow", "slots": 3})).await.ok();
        let reader = json!({"username": "reader", "password": USERS_PASSWORD, "role": "viewer"});
        client.post("/api/v2/users", &reader).await.ok();
        let finished = client.trigger("canary", json!({"text": "of before"})).await;
        client.finished("canary", &finished).await;
        let unfinished = client.trigger("busy_bees", json!({"steps": 3})).await;
        server.kill();
        Self { finished, unfinished }
    }

    /// All of it is there, and works.
    async fn is_in(&self, server: &Server, before: i64) {
        let client = server.client().await;
        let runs = client.get("/api/v2/dags/~/dagRuns").await.ok();
        let runs: BTreeSet<_> =
            runs["dag_runs"].as_array().unwrap().iter().map(|run| run["dag_run_id"].to_string()).collect();
        assert!(runs.contains(&json!(self.finished).to_string()), "{runs:?}");
        let run = client.get(&format!("/api/v2/dags/canary/dagRuns/{}", self.finished)).await.ok();
        assert_eq!((&run["state"], &run["conf"]["text"]), (&json!("success"), &json!("of before")), "{run}");
        let called = client.get("/api/v2/dags?dag_display_name_pattern=at%20work").await.ok();
        assert_eq!(called["dags"][0]["dag_id"], "busy_bees", "schema {before}: {called}");
        let instances = client.instances("canary", &self.finished).await;
        assert!(instances.len() == 2 && instances.iter().all(|of| of["state"] == "success" && of["try_number"] == 1));
        assert_eq!(client.xcom("canary", &self.finished, "echo", "return_value").await, "of before");
        client.log("canary", &self.finished, "echo", 1).await;
        assert_eq!(client.get("/api/v2/variables/greeting").await.ok()["value"], VARIABLE, "schema {before}");
        assert_eq!(client.get("/api/v2/connections/warehouse").await.ok()["host"], "w.example.org");
        assert_eq!(client.get("/api/v2/pools/narrow").await.ok()["slots"], 3);
        let reader = Client::signed_in(&server.url, "reader", USERS_PASSWORD).await;
        let made = reader.post("/api/v2/pools", &json!({"name": "of_reader", "slots": 1})).await;
        // Before there were roles, whoever could sign in could do everything.
        assert_eq!(made.status.is_success(), before < ROLES, "schema {before}: {}", made.body);

        assert_eq!(client.finished("busy_bees", &self.unfinished).await["state"], "success");
        client.upload(build::component("shapes")).await.ok();
        let run_id = client.trigger("canary", json!({"text": "of now"})).await;
        assert_eq!(client.finished("canary", &run_id).await["state"], "success");
    }
}

fn with_key() -> Builder {
    Server::builder().env("AIRLOCK_SECRET_KEY", SECRET_KEY)
}

/// Makes the file at `to` what a version with the migrations up to `number` would have left of the one at `from`.
fn age_sqlite(from: &std::path::Path, to: &std::path::Path, number: i64) {
    let database = Connection::open(to).unwrap();
    database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = OFF").unwrap();
    for (_, statements) in migrations("sqlite").iter().filter(|(of, _)| *of <= number) {
        database.execute_batch(statements).unwrap();
    }
    database.execute("ATTACH $1 AS filled", [from.to_str().unwrap()]).unwrap();
    let texts = |statement: &str| {
        let mut statement = database.prepare(statement).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    let made = "SELECT sql FROM filled.sqlite_schema WHERE name = '_sqlx_migrations'";
    database.execute_batch(&texts(made)[0]).unwrap();
    for table in
        texts("SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    {
        let columns = texts(&format!(
            "SELECT name FROM pragma_table_info('{table}', 'main') INTERSECT SELECT name FROM pragma_table_info('{table}', 'filled')"
        ));
        let columns = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let copy = format!(
            "DELETE FROM main.\"{table}\"; INSERT INTO main.\"{table}\" ({columns}) SELECT {columns} FROM filled.\"{table}\""
        );
        database.execute_batch(&copy).unwrap();
    }
    database.execute("DELETE FROM main._sqlx_migrations WHERE version > $1", [number]).unwrap();
    if number < DATA_KEYS {
        database.execute_batch(&format!("UPDATE main.variable SET sealed = x'{SEALED_VARIABLE}'")).unwrap();
        database.execute_batch(&format!("UPDATE main.connection SET sealed_password = x'{SEALED_PASSWORD}'")).unwrap();
    }
    database.execute_batch("DETACH filled").unwrap();
}

#[tokio::test]
async fn a_file_of_each_older_schema_is_brought_up_to_date_with_all_that_is_in_it() {
    let objects = TempDir::new().unwrap();
    let storage = format!("file://{}", objects.path().display());
    let process = || with_key().env("AIRLOCK_STORAGE_URL", &storage);
    let mut server = process().start().await;
    let filled = Filled::by(&mut server).await;
    for number in SQLITE {
        assert!(migrations("sqlite").iter().any(|(of, _)| *of == number), "{number} is no migration");
        let mut old = process().start().await;
        old.stop().await;
        let file = old.data_dir().join("airlock.db");
        for end in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(file.with_extension(format!("db{end}")));
        }
        age_sqlite(&server.data_dir().join("airlock.db"), &file, number);
        old.restart().await;
        filled.is_in(&old, number).await;
    }
}

#[tokio::test]
async fn a_database_of_each_older_schema_is_brought_up_to_date_with_all_that_is_in_it() {
    let place = Place::new().await;
    let mut server = place.process().start().await;
    let filled = Filled::by(&mut server).await;
    for number in POSTGRES {
        let schema = format!("older{number}");
        let sql = |statements: &str| place.sql(&format!("SET search_path = {schema}; {statements}"));
        sql(&format!("CREATE SCHEMA {schema}"));
        for (_, statements) in migrations("postgres").iter().filter(|(of, _)| *of <= number) {
            sql(statements);
        }
        sql("CREATE TABLE _sqlx_migrations (LIKE public._sqlx_migrations INCLUDING ALL)");
        let tables = sql(&format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}' AND table_type = 'BASE TABLE'"
        ));
        for table in tables.lines().filter(|table| *table != "lease") {
            let columns = sql(&format!(
                "SELECT string_agg(format('%I', column_name), ', ') FROM (SELECT column_name FROM information_schema.columns \
                 WHERE table_schema = '{schema}' AND table_name = '{table}' INTERSECT SELECT column_name FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name = '{table}') AS both_have"
            ));
            // Whatever refers to what comes later.
            sql(&format!(
                "SET session_replication_role = replica; DELETE FROM \"{table}\"; \
                 INSERT INTO \"{table}\" ({columns}) SELECT {columns} FROM public.\"{table}\""
            ));
            let identity = sql(&format!(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = '{schema}' AND table_name = '{table}' AND is_identity = 'YES'"
            ));
            if !identity.is_empty() {
                sql(&format!(
                    "SELECT setval(pg_get_serial_sequence('\"{table}\"', '{identity}'), (SELECT coalesce(max(\"{identity}\"), 0) + 1 FROM \"{table}\"), FALSE)"
                ));
            }
        }
        sql(&format!("DELETE FROM _sqlx_migrations WHERE version > {number}"));
        let url = format!("{}?options=-c%20search_path%3D{schema}", place.url());
        let process = place.process().env("AIRLOCK_DATABASE_URL", &url);
        let old = process.start().await;
        filled.is_in(&old, DATA_KEYS.max(number)).await;
        let applied = sql("SELECT count(*) FROM _sqlx_migrations");
        assert_eq!(applied, migrations("postgres").len().to_string());
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_as_it_is() {
    let mut server = with_key().start().await;
    let filled = Filled::by(&mut server).await;
    let file = server.data_dir().join("airlock.db");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'of then', TRUE, x'00', 0)";
    let database = Connection::open(&file).unwrap();
    database.execute_batch(newer).unwrap();
    database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(database);
    let before = fs::read(&file).unwrap();
    server.start_again();
    until("the server's end", Duration::from_secs(30), async || server.has_ended().then_some(())).await;
    let said = server.log();
    assert!(said.contains("schema 9999 of a newer airlock") && said.contains("start the newer one"), "{said}");
    assert!(fs::read(&file).unwrap() == before, "nothing was changed");

    let database = Connection::open(&file).unwrap();
    database.execute_batch("DELETE FROM _sqlx_migrations WHERE version = 9999").unwrap();
    drop(database);
    server.restart().await;
    filled.is_in(&server, i64::MAX).await;
}

/// The schema that a version before this one has left, where what it does not know is of no use to it.
const LAST: &str = "DELETE FROM _sqlx_migrations WHERE version = 93; ALTER TABLE dag_retention DROP COLUMN data_days; DROP TABLE dag_data_deleted";
const APPLIED: &str = "SELECT count(*) FROM _sqlx_migrations";

#[tokio::test]
async fn a_newer_process_waits_for_its_turn_before_it_changes_the_schema() {
    let place = Place::new().await;
    let mut old = place.process().start().await;
    let client = old.client().await;
    client.upload(build::component("hostile")).await.ok();
    let unfinished = client.trigger("busy_bees", json!({"steps": 30})).await;
    // From here on the one that leads is of the version before.
    let all = place.sql(APPLIED);
    place.sql(LAST);
    let before = place.sql(APPLIED);

    let new = place.process().start().await;
    // What it is asked, it passes on.
    let run = new.client().await.get(&format!("/api/v2/dags/busy_bees/dagRuns/{unfinished}")).await.ok();
    assert_eq!(run["dag_run_id"], json!(unfinished));
    assert_eq!(place.sql(APPLIED), before);
    let shell = airlock_tests::Shell::new();
    let mut command = shell.command(&["users", "list"]);
    command.env("AIRLOCK_DATABASE_URL", place.url()).env("AIRLOCK_SECRET_KEY", SECRET_KEY);
    let refused = command.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("the schema of an older airlock"), "{said}");
    assert_eq!(place.sql(APPLIED), before);

    old.stop().await;
    is_led(&new).await;
    assert_eq!(place.sql(APPLIED), all);
    let client = new.client().await;
    assert_eq!(client.finished("busy_bees", &unfinished).await["state"], "success");
    // It has all of the tables of its version.
    client.get("/api/v2/dags/busy_bees/retention").await.ok();
}

#[tokio::test]
async fn an_older_process_leads_no_more_when_a_newer_one_has_changed_the_schema() {
    let place = Place::new().await;
    let mut new = place.process().start().await;
    let old = place.process().start().await;
    place.sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'of then', TRUE, '', 0)");
    // It goes on to pass on.
    let client = old.client().await;
    client.upload(build::component("hostile")).await.ok();
    let epoch = place.epoch();
    new.stop().await;
    let told = || old.log().contains("this process leads no more");
    until("that it says why", Duration::from_secs(30), async || told().then_some(())).await;
    until("that nobody leads", Duration::from_secs(30), async || {
        let health = client.send(client.request(Method::GET, "/api/v2/monitor/health")).await;
        (health.status == 503).then_some(())
    })
    .await;
    assert_eq!(place.epoch(), epoch);
    // One that starts says so at once.
    new.start_again();
    until("its end", Duration::from_secs(30), async || new.has_ended().then_some(())).await;
    assert!(new.log().contains("schema 9999 of a newer airlock"), "{}", new.log());
}

const TOKEN: &str = "a token that workers show";

#[tokio::test]
async fn a_worker_of_another_version_is_told_so_and_waits_for_a_server_of_its_own() {
    let server =
        Server::builder().env("AIRLOCK_WORKERS_TOKEN", TOKEN).env("AIRLOCK_WORKERS_LOCAL", "false").start().await;
    let client = server.client().await;
    let shows = |protocol: &'static str| {
        let request = client.http.get(format!("{}/api/v2/workers/stream", server.url)).bearer_auth(TOKEN);
        let request = request.header("connection", "upgrade").header("upgrade", "airlock-runner");
        let request = request.header("x-airlock-worker", "other").header("x-airlock-slots", "1");
        let request = request
            .header("x-airlock-queues", "default")
            .header("x-airlock-process", "67e55044-10b1-426f-9247-bb680e5fe0c8");
        client.send(request.header("x-airlock-version", "0.99.0").header("x-airlock-protocol", protocol))
    };
    let refused = shows("99").await.refused(409);
    let said = ["airlock 0.99.0, protocol 99", "speak differently", "as soon as a server of its version leads"];
    assert!(said.iter().all(|said| refused.contains(said)), "{refused}");
    let refused = shows("1").await.refused(409);
    assert!(refused.contains("can't run the code"), "the versions may differ, the code may not: {refused}");

    // A server that refuses twice, and then says that the other one leads.
    let url = server.url.clone();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let upgraded = Peer::answering(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 | 1 => (409, json!({"detail": "the worker and this server speak differently"}).to_string()),
        _ => (307, format!("{url}/api/v2/workers/stream")),
    });
    let upgraded = upgraded.await;
    let worker = Worker::start(&upgraded.url(""), TOKEN, "patient", 4);
    until("the worker", Duration::from_secs(30), async || {
        let load = client.get("/api/v2/workers").await.ok();
        (load["workers"][0]["name"] == "patient").then_some(())
    })
    .await;
    assert!(worker.log().contains("speak differently"), "{}", worker.log());
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("canary", json!({})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
}

#[tokio::test]
async fn children_are_of_the_version_that_runs_whatever_lies_at_its_path_by_now() {
    let folder = TempDir::new().unwrap();
    let binary = folder.path().join("airlock");
    fs::copy(build::binary(), &binary).unwrap();
    let server = Server::builder().binary(&binary).start().await;
    let client = server.client().await;
    fs::rename(&binary, folder.path().join("old")).unwrap();
    fs::write(&binary, "another version").unwrap();
    // A compiler starts, and a runner in place of one that is killed.
    client.upload(build::component("hostile")).await.ok();
    server.kill_children();
    let run_id = client.trigger("canary", json!({})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
}
