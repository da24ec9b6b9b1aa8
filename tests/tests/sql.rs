//! Databases that tasks use by connections, through the real binary and real servers.

use std::time::Duration;

use airlock_tests::{
    Client, MariaDb, Postgres, Server, Shell, build, mariadb,
    postgres::{PASSWORD, USER},
    until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

async fn server() -> (Server, Client) {
    with_server(Server::builder()).await
}

async fn with_server(builder: airlock_tests::server::Builder) -> (Server, Client) {
    let server = builder.start().await;
    let client = server.client().await;
    for component in ["shapes", "sql"] {
        client.upload(build::component(component)).await.ok();
    }
    (server, client)
}

async fn set(client: &Client, id: &str, fields: Value) {
    let mut body = fields;
    body["connection_id"] = json!(id);
    client.post("/api/v2/connections", &body).await.ok();
}

/// Connection `db` to a new database of `postgres`.
async fn connect(client: &Client, postgres: &Postgres) -> String {
    let database = postgres.database();
    let fields = json!({"conn_type": "postgres", "host": "127.0.0.1", "port": postgres.port(), "schema": database,
        "login": USER, "password": PASSWORD});
    set(client, "db", fields).await;
    database
}

/// A dag of one task `t`.
fn dag(uses: &str, with: &Value, grants: &str) -> String {
    format!("dag_id: asks\ngrants: {grants}\ntasks: {{t: {{uses: {uses}, timeout: 60s, with: {with}}}}}\n")
}

/// Runs a dag; answers how it ended, its result and its log.
async fn run(client: &Client, text: String) -> (String, Value, String) {
    client.upload(text.into_bytes()).await.ok();
    let run_id = client.trigger("asks", json!({})).await;
    let state = client.finished("asks", &run_id).await["state"].as_str().unwrap().to_owned();
    let base = format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/t");
    let result = client.get(&format!("{base}/xcomEntries/return_value?stringify=false")).await.body["value"].clone();
    let log = client.get(&format!("{base}/logs/1")).await.ok().to_string();
    (state, result, log)
}

/// What came of `steps` on connection `db`.
async fn steps(client: &Client, steps: Value) -> Vec<Value> {
    let with = json!({"connection": "db", "steps": steps});
    let (state, result, log) = run(client, dag("shapes/statements", &with, "{connections: [db]}")).await;
    assert_eq!(state, "success", "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
    result.as_array().unwrap_or_else(|| panic!("{result}")).clone()
}

fn error(outcome: &Value) -> &str {
    outcome["error"].as_str().unwrap_or_else(|| panic!("{outcome}"))
}

#[tokio::test]
async fn values_of_every_type_go_to_postgres_and_come_back() {
    let postgres = Postgres::start().await;
    let (_server, client) = server().await;
    let database = connect(&client, &postgres).await;
    postgres.sql(
        &database,
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE TABLE v (b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric, t text, v varchar(9), y bytea, \
         d date, h time, ts timestamp, tz timestamptz, j json, jb jsonb, u uuid, m mood, p positive)",
    );
    let uuid = "6f1c1b1e-2f0a-4d3a-9d27-0b1b7b6a0001";
    let insert =
        "insert into v values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";
    let given = json!([
        true, -2, 4, 9_007_199_254_740_993_i64, 0.5, 1.5, {"decimal": "-12345678901234567890.1200"},
        "it's; drop table v; --", "Zoë", {"bytes": "\u{1}a"}, {"time": "2026-01-31"}, {"time": "12:30:00.5"},
        {"time": "2026-01-31T12:30:00"}, {"time": "2026-01-31T21:30:00+09:00"}, {"json": "{\"a\": 1}"},
        {"json": "[1, 2]"}, uuid, "ok", 3
    ]);
    let nulls = json!(vec![Value::Null; 19]);
    let outcomes = steps(
        &client,
        json!([
            {"execute": insert, "parameters": given},
            {"execute": insert, "parameters": nulls},
            {"query": "select * from v order by i4"},
        ]),
    )
    .await;
    assert_eq!(outcomes[..2], [json!(1), json!(1)]);
    let expected = [
        "Boolean(true)".to_owned(),
        "Integer(-2)".into(),
        "Integer(4)".into(),
        "Integer(9007199254740993)".into(),
        "Float(0.5)".into(),
        "Float(1.5)".into(),
        "Decimal(\"-12345678901234567890.1200\")".into(),
        "Text(\"it's; drop table v; --\")".into(),
        "Text(\"Zoë\")".into(),
        "Bytes([1, 97])".into(),
        "Time(\"2026-01-31\")".into(),
        "Time(\"12:30:00.500\")".into(),
        "Time(\"2026-01-31T12:30:00\")".into(),
        "Time(\"2026-01-31T12:30:00Z\")".into(),
        "Json(\"{\\\"a\\\": 1}\")".into(),
        "Json(\"[1, 2]\")".into(),
        format!("Text(\"{uuid}\")"),
        "Text(\"ok\")".into(),
        "Integer(3)".into(),
    ];
    assert_eq!(outcomes[2]["rows"], json!([expected, vec!["Null"; 19]]));
    let columns = outcomes[2]["columns"].as_array().unwrap();
    assert_eq!(
        (&columns[2], &columns[13], &columns[17]),
        (&json!("i4 int4"), &json!("tz timestamptz"), &json!("m mood"))
    );
}

#[tokio::test]
async fn what_postgres_refuses_is_told_and_the_connection_goes_on() {
    let postgres = Postgres::start().await;
    let (_server, client) = server().await;
    let database = connect(&client, &postgres).await;
    postgres.sql(&database, "CREATE TABLE n (n int PRIMARY KEY)");
    let outcomes = steps(
        &client,
        json!([
            {"execute": "selec 1"},
            {"execute": "insert into n values ($1)", "parameters": [1]},
            {"execute": "insert into n values ($1)", "parameters": [1]},
            {"execute": "insert into n values ($1)", "parameters": ["one"]},
            {"execute": "insert into n values ($1)", "parameters": []},
            {"execute": "insert into n values ($1)", "parameters": [5_000_000_000_i64]},
            {"query": "select interval '1 day'"},
            {"execute": "select $1::inet", "parameters": ["::1"]},
            {"execute": "select 1; select 2"},
            {"query": "select 1 / (n - 1) from n"},
            {"half": "select generate_series(1, 100000)"},
            {"query": "select count(*) from n"},
            {"execute": "copy n from stdin"},
        ]),
    )
    .await;
    let told = [
        (0, "invalid: the database says: syntax error"),
        (2, "duplicate key"),
        (3, "parameter $1: a text can't be a value of type `int4`"),
        (4, "has 1 parameters, and 0 are given"),
        (5, "parameter $1: out of range"),
        (6, "column `interval`: its type `interval` can't be read; write it as `::text`"),
        (7, "give a text and write it as `$1::text::inet`"),
        (8, "cannot insert multiple commands"),
        (9, "division by zero"),
        (12, "invalid: COPY from and to the task can't be used"),
    ];
    for (step, expected) in told {
        assert!(error(&outcomes[step]).contains(expected), "{step}: {}", outcomes[step]);
    }
    assert_eq!(outcomes[1], 1);
    let half = outcomes[10].to_string();
    assert!(half.contains("Integer(1)") && half.contains("rows of an earlier query are open"), "{half}");
    assert_eq!(outcomes[11]["rows"], json!([["Integer(1)"]]), "unread rows are no obstacle");

    // A statement that was parsed when the table was another.
    let all = json!({"query": "select * from n"});
    let outcomes = steps(&client, json!([all, {"execute": "alter table n add t text"}, all])).await;
    assert_eq!(outcomes[2]["columns"], json!(["n int4", "t text"]));
    assert_eq!(outcomes[2]["rows"], json!([["Integer(1)", "Null"]]));
}

#[tokio::test]
async fn transactions_take_effect_as_a_whole_or_not_at_all() {
    let postgres = Postgres::start().await;
    let (_server, client) = server().await;
    let database = connect(&client, &postgres).await;
    postgres.sql(&database, "CREATE TABLE n (n int)");
    let insert = |n: u32| json!({"execute": "insert into n values ($1)", "parameters": [n]});
    let outcomes = steps(
        &client,
        json!([
            {"transaction": [insert(1), insert(2)], "end": "commit"},
            {"transaction": [insert(3)], "end": "rollback"},
            {"transaction": [insert(4)]},
            {"transaction": [insert(5), {"execute": "selec"}], "end": "commit"},
            {"execute": "insert into n values (6)"},
        ]),
    )
    .await;
    assert_eq!(outcomes[0], json!([1, 1]));
    assert!(error(&outcomes[3]).contains("syntax"));
    assert_eq!(postgres.sql(&database, "SELECT string_agg(n::text, ',' ORDER BY n) FROM n"), "1,2,6");
}

#[tokio::test]
async fn a_commit_that_commits_nothing_is_an_error_and_the_session_goes_on() {
    let postgres = Postgres::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let (_server, client) = with_server(Server::builder().flag("--sql-sqlite-folder", &path)).await;
    let database = connect(&client, &postgres).await;
    let tables = "CREATE TABLE p (n int PRIMARY KEY);
                  CREATE TABLE c (n int REFERENCES p (n) DEFERRABLE INITIALLY DEFERRED)";
    postgres.sql(&database, tables);
    let insert = |table: &str, n: u32| json!({"execute": format!("insert into {table} values ({n})")});
    let regardless = json!({"execute": "insert into p values (1)", "regardless": true});
    let outcomes = steps(
        &client,
        json!([
            insert("p", 1),
            {"transaction": [insert("p", 2), regardless], "end": "commit"},
            {"transaction": [{"execute": "savepoint s"}, regardless, {"execute": "rollback to s"}, insert("p", 3)], "end": "commit"},
            {"transaction": [insert("c", 9)], "end": "commit"},
            {"transaction": [insert("p", 4)], "end": "commit"},
            insert("p", 5),
        ]),
    )
    .await;
    assert!(error(&outcomes[1]).contains("current transaction is aborted"), "{}", outcomes[1]);
    assert!(error(&outcomes[3]).contains("violates foreign key"), "{}", outcomes[3]);
    assert_eq!(postgres.sql(&database, "SELECT string_agg(n::text, ',' ORDER BY n) FROM p"), "1,3,4,5");

    client.delete("/api/v2/connections/db").await.ok();
    set(&client, "db", json!({"conn_type": "sqlite", "host": "a.db"})).await;
    let outcomes = steps(
        &client,
        json!([
            {"execute": "create table p (n integer primary key)"},
            {"execute": "create table c (n int references p (n) deferrable initially deferred)"},
            {"transaction": [insert("c", 9)], "end": "commit"},
            insert("p", 5),
            {"transaction": [insert("p", 6)], "end": "commit"},
        ]),
    )
    .await;
    assert!(error(&outcomes[2]).contains("FOREIGN KEY"), "{}", outcomes[2]);
    let outcomes = steps(&client, json!([{"query": "select n from p"}, {"count": "select n from c"}])).await;
    assert_eq!(outcomes[0]["rows"], json!([["Integer(5)"], ["Integer(6)"]]));
    assert_eq!(outcomes[1], 0);
}

#[tokio::test]
async fn a_connection_that_was_kept_and_does_not_answer_any_more_holds_nobody_up() {
    let postgres = Postgres::start().await;
    let (_server, client) = server().await;
    connect(&client, &postgres).await;
    let pid = json!([{"query": "select pg_backend_pid()::text"}]);
    let first = steps(&client, pid.clone()).await[0]["rows"][0][0].as_str().unwrap().to_owned();
    let process = first.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let process = Pid::from_raw(process).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    let second = steps(&client, pid).await[0]["rows"][0][0].as_str().unwrap().to_owned();
    kill_process(process, Signal::CONT).unwrap();
    assert_ne!(second, first);
}

#[tokio::test]
async fn a_session_sees_nothing_of_the_one_before_it_on_the_same_connection() {
    let postgres = Postgres::start().await;
    let (_server, client) = server().await;
    connect(&client, &postgres).await;
    let pid = json!({"query": "select pg_backend_pid()"});
    let first = steps(
        &client,
        json!([
            pid,
            {"execute": "set search_path to nowhere"},
            {"execute": "create temporary table hidden (n int)"},
            {"execute": "select pg_advisory_lock(7)"},
            {"execute": "prepare mine as select 1"},
        ]),
    )
    .await;
    let second = steps(
        &client,
        json!([
            pid,
            {"query": "select current_setting('search_path'), to_regclass('pg_temp.hidden')::text, \
                       (select count(*) from pg_locks where locktype = 'advisory'), \
                       (select count(*) from pg_prepared_statements where name = 'mine')"},
            // What a session leaves in a transaction goes with its connection.
            {"execute": "begin"},
        ]),
    )
    .await;
    assert_eq!(first[0], second[0], "the connection was used again");
    assert_eq!(second[1]["rows"], json!([["Text(\"\\\"$user\\\", public\")", "Null", "Integer(0)", "Integer(0)"]]));
    let third = steps(&client, json!([pid])).await;
    assert_ne!(third[0], first[0]);
    // Other credentials never get it.
    let fields = json!({"conn_type": "postgres", "host": "127.0.0.1", "port": postgres.port(), "schema": "postgres",
        "login": USER, "password": PASSWORD});
    client.delete("/api/v2/connections/db").await.ok();
    set(&client, "db", fields).await;
    assert_ne!(steps(&client, json!([pid])).await[0], third[0]);
}

#[tokio::test]
async fn rows_come_as_they_are_read_and_one_that_is_too_large_is_cut_off() {
    let postgres = Postgres::start().await;
    let (server, client) = server().await;
    connect(&client, &postgres).await;
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory();
    let outcomes = steps(
        &client,
        json!([
            {"count": "select repeat('x', 1000) from generate_series(1, 300000)"},
            {"count": "select repeat('x', 8000000)"},
            {"execute": "select length($1::text)", "parameters": [{"long": 8_000_000}]},
            {"execute": "select length($1::text)", "parameters": [{"long": 9_000_000}]},
            {"count": "select repeat('x', 900000000)"},
            {"count": "select 1"},
            {"open": "db", "times": 7},
            {"open": "db", "times": 8},
        ]),
    )
    .await;
    assert_eq!(outcomes[..3], [json!(300_000), json!(1), json!(1)]);
    assert!(error(&outcomes[3]).contains("too large"), "{}", outcomes[3]);
    assert!(error(&outcomes[4]).contains("a row is larger than the limit"), "{}", outcomes[4]);
    assert!(error(&outcomes[5]).contains("lost; open it again"), "{}", outcomes[5]);
    assert!(error(&outcomes[7]).contains("too many connections"), "{}", outcomes[7]);
    let grown = memory().saturating_sub(before);
    assert!(grown < 160 << 10, "300 MB of rows and one of 900 MB took {grown} KiB");
}

#[tokio::test]
async fn nobody_gets_in_without_a_grant_or_the_password_and_nothing_tells_it() {
    let postgres = Postgres::start().await;
    let (_server, client) = server().await;
    connect(&client, &postgres).await;
    let with = json!({"connection": "db", "statement": "select 1 as one"});
    let (state, _, log) = run(&client, dag("sql/query", &with, "{connections: [other]}")).await;
    assert!(state == "failed" && log.contains("grant `connection:db` is missing"), "{log}");
    let (state, result, log) = run(&client, dag("sql/query", &with, "{connections: [db]}")).await;
    assert_eq!((state.as_str(), result), ("success", json!([{"one": 1}])), "{log}");

    let wrong = "wrong-password-4711";
    let fields = |host: &str, conn_type: &str| {
        json!({"conn_type": conn_type, "host": host, "port": postgres.port(),
        "schema": "postgres", "login": USER, "password": wrong})
    };
    set(&client, "wrong", fields("127.0.0.1", "postgres")).await;
    set(&client, "cloud", fields("169.254.169.254", "postgres")).await;
    set(&client, "web", fields("127.0.0.1", "http")).await;
    set(&client, "file", json!({"conn_type": "sqlite", "host": "a.db"})).await;
    for (id, expected) in [
        ("wrong", "password authentication failed"),
        ("cloud", "which is link-local"),
        ("web", "is of type `http`"),
        ("file", "sql.sqlite_folder"),
        ("absent", "there is no connection"),
    ] {
        let with = json!({"connection": id, "statement": "select 1"});
        let (state, _, log) = run(&client, dag("sql/query", &with, &format!("{{connections: [{id}]}}"))).await;
        assert!(state == "failed" && log.contains(expected), "{id}: {log}");
        assert!(!log.contains(wrong), "{log}");
    }
    // What a database echoes of the password is masked, also in an error.
    let text = format!("select 1 as \"{PASSWORD}\" from nowhere.\"{PASSWORD}\"");
    let with = json!({"connection": "db", "statement": text});
    let (state, _, log) = run(&client, dag("sql/query", &with, "{connections: [db]}")).await;
    assert!(state == "failed" && log.contains("does not exist") && log.contains("***"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test]
async fn an_attempt_that_ends_takes_its_statement_with_it() {
    let mut postgres = Postgres::start().await;
    let (_server, client) = server().await;
    let database = connect(&client, &postgres).await;
    postgres.sql(&database, "CREATE TABLE n (n int)");
    let with = json!({"connection": "db", "steps": [{"transaction": [
        {"execute": "insert into n values (1)"}, {"execute": "select pg_sleep(600)"}], "end": "commit"}]});
    let text = dag("shapes/statements", &with, "{connections: [db]}").replace("timeout: 60s", "timeout: 2s");
    let (state, _, log) = run(&client, text).await;
    assert!(state == "failed" && log.contains("2000 ms"), "{log}");
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    until("the statement's end", Duration::from_secs(30), async || {
        (postgres.sql(&database, asleep) == "0").then_some(())
    })
    .await;
    assert_eq!(postgres.sql(&database, "SELECT count(*) FROM n"), "0");

    // A server that crashes costs the attempt its connection, and is used again when it is back.
    assert_eq!(steps(&client, json!([{"count": "select 1"}])).await, [1]);
    postgres.kill();
    let with = json!({"connection": "db", "statement": "select 1 as n"});
    let (state, _, log) = run(&client, dag("sql/query", &with, "{connections: [db]}")).await;
    assert!(state == "failed" && log.contains("unavailable"), "{log}");
    postgres.restart().await;
    assert_eq!(steps(&client, json!([{"count": "select 1"}])).await, [1]);
}

#[tokio::test]
async fn what_a_database_answered_is_replayed_without_it() {
    let postgres = Postgres::start().await;
    let (mut server, client) = server().await;
    let database = connect(&client, &postgres).await;
    postgres
        .sql(&database, &format!("CREATE TABLE n (n int, t text); INSERT INTO n VALUES (1, '{PASSWORD}'), (2, 'b')"));
    let with = json!({"connection": "db", "steps": [
        {"query": "select n from n where n < $1 order by n", "parameters": [9]},
        {"count": "select t from n"},
        {"transaction": [{"execute": "update n set n = n + 1"}], "end": "commit"},
        {"execute": "selec"}]});
    let text = dag("shapes/statements", &with, "{connections: [db]}");
    client.upload(text.replace("grants:", "record: always\ngrants:").into_bytes()).await.ok();
    let run_id = client.trigger("asks", json!({})).await;
    assert_eq!(client.finished("asks", &run_id).await["state"], "success");
    let shell = Shell::signed_in(&server).await;
    let args = ["replay", "asks", &run_id, "t", "--save", "r", "--output", "json"];
    let told = shell.run(&args).await.ok();
    let end: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(end["same"], true, "{told}");
    server.kill();
    drop(postgres);
    let wasm = shell.path().join("shapes.wasm");
    std::fs::write(&wasm, build::component("shapes")).unwrap();
    let args = ["replay", "--recording", "r", "--component", &wasm.to_string_lossy(), "--output", "json"];
    let told = shell.run(&args).await.ok();
    let end: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(end["same"], true, "{told}");
    let file = std::fs::read(shell.path().join("r")).unwrap();
    let plain = file.splitn(2, |byte| *byte == b'\n').last().map(|body| zstd::decode_all(body).unwrap_or_default());
    let plain = plain.unwrap_or_default();
    assert!(!plain.is_empty());
    assert!(!plain.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()), "the password was recorded");
}

#[tokio::test]
async fn sqlite_stays_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let (server, client) = with_server(Server::builder().flag("--sql-sqlite-folder", &path)).await;
    set(&client, "db", json!({"conn_type": "sqlite", "host": "a.db"})).await;
    let other = folder.path().join("other.db").to_string_lossy().into_owned();
    let wide = (0..200).map(|at| format!("hex(zeroblob({}))", 4_000_000 + at)).collect::<Vec<_>>().join(", ");
    let outcomes = steps(
        &client,
        json!([
            {"execute": "create table n (n integer primary key, t text)"},
            {"execute": "insert into n (t) values ($1), ($2)", "parameters": ["it's", null]},
            {"transaction": [{"execute": "delete from n"}]},
            {"query": "select n, t, 1.5 as f, x'01' as b from n order by n"},
            {"execute": format!("attach database '{other}' as other")},
            {"execute": format!("vacuum into '{other}'")},
            {"execute": "pragma writable_schema = on"},
            {"execute": "pragma journal_mode = delete"},
            {"execute": "select load_extension('/tmp/x')"},
            {"execute": "create virtual table v using fts5(t)"},
            {"execute": "begin"},
            {"execute": "select 1; select 2"},
            {"count": "select zeroblob(100000000)"},
            {"execute": "update n set n = n + 10"},
            {"count": format!("select {wide}")},
            {"count": "select 'a' like hex(zeroblob(1000))"},
        ]),
    )
    .await;
    assert_eq!((&outcomes[1], &outcomes[13]), (&json!(2), &json!(2)));
    assert_eq!(
        outcomes[3]["rows"],
        json!([
            ["Integer(1)", "Text(\"it's\")", "Float(1.5)", "Bytes([1])"],
            ["Integer(2)", "Null", "Float(1.5)", "Bytes([1])"]
        ])
    );
    assert_eq!(outcomes[3]["columns"][0], "n integer");
    for (step, expected) in [
        (4, "denied"),
        (5, "denied"),
        (6, "denied"),
        (7, "denied"),
        (8, "not authorized"),
        (9, "denied"),
        (10, "denied"),
        (11, "several statements"),
        (12, "too large"),
        (14, "too large"),
        (15, "too complex"),
    ] {
        assert!(error(&outcomes[step]).contains(expected), "{step}: {}", outcomes[step]);
    }
    // Two hundred values of 8 MB were not there at a time.
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    assert!(peak.parse::<u64>().unwrap() < 1 << 20, "{peak} KiB");
    assert!(!folder.path().join("other.db").exists());
    set(&client, "out", json!({"conn_type": "sqlite", "host": "../a.db"})).await;
    let with = json!({"connection": "out", "statement": "select 1"});
    let (state, _, log) = run(&client, dag("sql/query", &with, "{connections: [out]}")).await;
    assert!(state == "failed" && log.contains("must be a relative path"), "{log}");

    // What has no end ends with its attempt.
    let endless = "with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c";
    let with = json!({"connection": "db", "statement": endless});
    let text = dag("sql/query", &with, "{connections: [db]}").replace("timeout: 60s", "timeout: 1s");
    let (state, _, _) = run(&client, text).await;
    assert_eq!(state, "failed");
    let busy = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().map(ToOwned::to_owned).collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    until("an idle server", Duration::from_secs(20), async || {
        let before = busy();
        tokio::time::sleep(Duration::from_millis(500)).await;
        (busy() - before < 25).then_some(())
    })
    .await;
}

#[tokio::test]
async fn values_go_to_mysql_and_come_back() {
    let mysql = MariaDb::start().await;
    let (_server, client) = server().await;
    mysql.sql(
        mariadb::DATABASE,
        "CREATE TABLE v (id int, u bigint unsigned, f double, n decimal(30, 4), t text, y blob, d date, h time, ts datetime(6), \
         at timestamp, b boolean) ENGINE=InnoDB",
    );
    let fields = json!({"conn_type": "mysql", "host": "127.0.0.1", "port": mysql.port(), "schema": mariadb::DATABASE,
        "login": mariadb::USER, "password": mariadb::PASSWORD});
    set(&client, "db", fields).await;
    let insert = "insert into v values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let given = json!([
        1, {"decimal": "18446744073709551615"}, 1.5, {"decimal": "-12345678901234567890.1200"}, "it's; drop table v",
        {"bytes": "\u{1}a"}, {"time": "2026-01-31"}, {"time": "12:30:00"}, {"time": "2026-01-31T12:30:00.5"},
        {"time": "2026-01-31T21:30:00+09:00"}, true
    ]);
    let outcomes = steps(
        &client,
        json!([
            {"execute": insert, "parameters": given},
            {"execute": insert, "parameters": vec![Value::Null; 11]},
            {"transaction": [{"execute": "delete from v"}]},
            {"query": "select * from v order by id desc"},
            {"execute": "selec 1"},
            {"execute": "select ?", "parameters": []},
            {"half": "select seq from seq_1_to_100000"},
            {"count": "select 1; select 2"},
            {"query": "insert into v (id) values (7) returning id"},
            {"execute": "set max_statement_time = 0.1"},
            {"execute": "select sleep(9)"},
            {"execute": "signal sqlstate 'HY000' set mysql_errno = 1205, message_text = 'lock wait timeout'"},
            {"execute": "signal sqlstate 'HY000' set mysql_errno = 1213, message_text = 'deadlock'"},
        ]),
    )
    .await;
    assert_eq!(outcomes[..3], [json!(1), json!(1), json!([2])], "{outcomes:?}");
    assert_eq!(
        outcomes[3]["rows"],
        json!([
            [
                "Integer(1)",
                "Decimal(\"18446744073709551615\")",
                "Float(1.5)",
                "Decimal(\"-12345678901234567890.1200\")",
                "Text(\"it's; drop table v\")",
                "Bytes([1, 97])",
                "Time(\"2026-01-31\")",
                "Time(\"12:30:00\")",
                "Time(\"2026-01-31T12:30:00.500\")",
                "Time(\"2026-01-31T12:30:00Z\")",
                "Boolean(true)"
            ],
            vec!["Null"; 11]
        ])
    );
    assert!(error(&outcomes[4]).contains("invalid: the database says: You have an error"), "{}", outcomes[4]);
    assert!(error(&outcomes[5]).contains("has 1 parameters, and 0 are given"), "{}", outcomes[5]);
    assert!(outcomes[6].to_string().contains("rows of an earlier query"), "{}", outcomes[6]);
    assert!(error(&outcomes[7]).contains("invalid"), "{}", outcomes[7]);
    assert_eq!(outcomes[8], json!({"columns": ["id int"], "rows": [["Integer(7)"]]}));
    for outcome in &outcomes[10..] {
        assert!(error(outcome).starts_with("unavailable: the database says"), "{outcome}");
    }
    assert_eq!(mysql.sql(mariadb::DATABASE, "SELECT count(*) FROM v"), "3");

    // What is compared by its bytes is a text all the same.
    let outcomes = steps(
        &client,
        json!([
            {"execute": "create table b (j json, t text collate utf8mb4_bin, v varchar(9) collate utf8mb4_bin, c char(3) collate utf8mb4_bin, \
                         b blob, y varbinary(9), n tinyint(1), u tinyint(1) unsigned)"},
            {"execute": "insert into b values (?, ?, ?, ?, ?, ?, 5, 200)",
                "parameters": [{"json": "{\"a\": 1}"}, "Zoë", "v", "c", {"bytes": "b"}, {"bytes": "y"}]},
            {"query": "select *, lower(t) as l from b"},
        ]),
    )
    .await;
    let columns =
        ["j text", "t text", "v varchar", "c char", "b blob", "y varbinary", "n boolean", "u boolean", "l mediumtext"];
    assert_eq!(outcomes[2]["columns"], json!(columns));
    let row = [
        "Text(\"{\\\"a\\\": 1}\")",
        "Text(\"Zoë\")",
        "Text(\"v\")",
        "Text(\"c\")",
        "Bytes([98])",
        "Bytes([121])",
        "Integer(5)",
        "Integer(200)",
        "Text(\"zoë\")",
    ];
    assert_eq!(outcomes[2]["rows"], json!([row]));

    // A statement that was parsed when the table was another.
    let all = json!({"query": "select * from b2"});
    let tables = ["create table b2 (n int, m int)", "insert into b2 values (1, 2)", "alter table b2 drop n"];
    let [create, insert, alter] = tables.map(|statement| json!({"execute": statement}));
    let outcomes = steps(&client, json!([create, insert, all, alter, all])).await;
    assert_eq!(outcomes[4], json!({"columns": ["m int"], "rows": [["Integer(2)"]]}));
}
