//! The command line: what it prints, how it ends.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use airlock_tests::{ADMIN_PASSWORD, Client, Server, Shell, build, cli::Done, http::RUN_LIMIT, until};
use serde_json::{Value, json};

fn wasm(name: &str) -> String {
    build::component_path(name).to_string_lossy().into_owned()
}

const ENDS: &str = "
dag_id: ends
tasks:
  m: {uses: control/end, each: {how: [ok, skip, fail]}, map_index_template: 'it is to {{ inputs.how }}'}
";

#[tokio::test]
async fn one_instance_of_a_mapped_task_is_cleared_and_marked() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(ENDS.into()).await.ok();
    let run_id = client.trigger("ends", json!({})).await;
    assert_eq!(client.finished("ends", &run_id).await["state"], "failed");
    let shell = Shell::signed_in(&server).await;
    let states = shell.run(&["tasks", "states", "ends", &run_id]).await.ok();
    assert!(states.contains("LABEL") && states.contains("it is to skip"), "{states}");
    let told = shell.run(&["tasks", "show", "ends", &run_id, "m"]).await.failed(3);
    assert!(told.contains("the task is mapped; name one of its instances by `map_index`"), "{told}");
    let told = shell.run(&["dags", "webhook", "ends"]).await.failed(3);
    assert!(told.contains("airlock dags webhook ends --create"), "{told}");
    let next = shell.run(&["dags", "next-runs", "ends"]).await;
    assert!(next.err.contains("it has no schedule"), "{}", next.err);
    let clear =
        ["tasks", "clear", "ends", "--run", &run_id, "--task", "m", "--map-index", "2", "--dry-run", "-o", "json"];
    let cleared = shell.run(&clear).await.json();
    assert_eq!((cleared.as_array().unwrap().len(), &cleared[0]["map_index"]), (1, &json!(2)), "{cleared}");
    shell.run(&["tasks", "clear", "ends", "--map-index", "2"]).await.failed(2);
    let marked = ["tasks", "set-state", "ends", &run_id, "m", "success", "--map-index", "2", "-o", "json"];
    let marked = shell.run(&marked).await.json();
    assert_eq!((&marked[0]["map_index"], &marked[0]["state"]), (&json!(2), &json!("success")), "{marked}");
    assert_eq!(client.finished("ends", &run_id).await["state"], "failed", "nothing is left to run");
    shell.run(&["runs", "set-state", "ends", &run_id, "success"]).await.ok();
    assert_eq!(client.finished("ends", &run_id).await["state"], "success");
    let told = shell.run(&["dags", "diff", "ends", "1"]).await.failed(3);
    assert!(told.contains("version 1 of dag `ends` is its first"), "{told}");
}

const SLOW: &str = "
dag_id: slow
tasks:
  nap: {uses: control/sleep, with: {duration: 600s}}
  rows: {uses: control/map_list, with: {items: ['of {{ dag.dag_id }}']}, needs: [nap]}
";

async fn naps(client: &Client, run_id: &str) {
    let path = format!("/api/v2/dags/slow/dagRuns/{run_id}/taskInstances/nap");
    let waits = async || (client.get(&path).await.ok()["state"] == "up_for_reschedule").then_some(());
    until("the nap begins", Duration::from_secs(10), waits).await;
}

#[tokio::test]
async fn a_run_is_cancelled_and_its_tasks_say_what_they_wait_for() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    let shell = Shell::signed_in(&server).await;
    let file = shell.file("slow.yaml", SLOW);
    shell.run(&["deploy", &file]).await.ok();
    let run_id = client.trigger("slow", json!({})).await;
    naps(&client, &run_id).await;
    let shown = shell.run(&["tasks", "show", "slow", &run_id, "rows"]).await.ok();
    assert!(shown.contains("waits_for") && shown.contains("Trigger Rule: ") && !shown.contains("pid"), "{shown}");
    shell.run(&["tasks", "show", "slow", &run_id, "nobody"]).await.failed(3);
    shell.run(&["runs", "set-state", "slow", &run_id, "queued"]).await.failed(2);
    shell.run(&["tasks", "set-state", "slow", &run_id, "nap", "success"]).await.ok();
    client.finished("slow", &run_id).await;
    let rows = shell.run(&["tasks", "show", "slow", &run_id, "rows", "-o", "json"]).await.json();
    assert_eq!((&rows["rendered_fields"]["items"], &rows["waits_for"]), (&json!(["of slow"]), &json!([])), "{rows}");

    let run_id = client.trigger("slow", json!({})).await;
    naps(&client, &run_id).await;
    let marked = shell.run(&["runs", "set-state", "slow", &run_id, "failed", "-o", "json"]).await.json();
    assert_eq!(marked[0]["state"], "failed", "{marked}");
    assert_eq!(client.finished("slow", &run_id).await["state"], "failed");

    let changed = SLOW.replace("600s}", "1s}, retries: 2") + "  last: {uses: control/empty, needs: [rows]}\n";
    let file = shell.file("slow.yaml", &changed);
    shell.run(&["deploy", &file]).await.ok();
    let diff = shell.run(&["dags", "diff", "slow", "2"]).await.ok();
    for line in ["task nap\n", "  + retries: 2\n", "+ task last\n", "+ edge rows -> last\n"] {
        assert!(diff.contains(line), "{line:?} in {diff}");
    }
    assert!(diff.lines().all(|line| line.len() < 120), "{diff}");
}

#[tokio::test]
async fn who_waits_for_a_run_waits_over_a_restart_of_the_server() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    client.upload(SLOW.into()).await.ok();
    let shell = Shell::signed_in(&server).await;
    let restart = async {
        let newest = async || {
            let runs = client.get("/api/v2/dags/slow/dagRuns").await.ok();
            runs["dag_runs"][0]["dag_run_id"].as_str().map(str::to_owned)
        };
        let run_id = until("the run is made", Duration::from_secs(10), newest).await;
        naps(&client, &run_id).await;
        server.kill();
        // Longer than between two of its questions.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        server.restart().await;
        let nap = format!("/api/v2/dags/slow/dagRuns/{run_id}/taskInstances/nap");
        server.client().await.patch(&nap, &json!({"new_state": "success"})).await.ok();
    };
    let (waited, ()) = tokio::join!(shell.run(&["dags", "trigger", "slow", "--wait", "-o", "json"]), restart);
    assert!(waited.err.contains("asked again"), "{}", waited.err);
    assert_eq!(waited.json()["state"], "success");
}

#[tokio::test]
async fn a_day_with_airlock() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    let tokens = shell.path().join(".config/airlock/tokens.json");
    assert_eq!(fs::metadata(tokens).unwrap().permissions().mode() & 0o777, 0o600);

    let dags = shell.run(&["deploy", &wasm("hello"), &wasm("hostile"), "--output", "json"]).await.json();
    assert_eq!((&dags[0]["dag_id"], &dags[0]["version_number"]), (&json!("hello"), &json!(1)));
    assert!(shell.run(&["dags", "list"]).await.ok().contains("Greets someone."));
    assert_eq!(shell.run(&["dags", "show", "hello", "-o", "json"]).await.json()["dag_id"], "hello");
    assert!(shell.run(&["dags", "show", "hello", "-o", "yaml"]).await.ok().contains("dag_id: hello\n"));

    let args = ["dags", "trigger", "hello", "--params", r#"{"name":"ada"}"#, "--wait", "-o", "json"];
    let run = shell.run(&args).await.json();
    assert_eq!(run["state"], "success");
    let run_id = run["dag_run_id"].as_str().unwrap();
    assert!(shell.run(&["tasks", "logs", "hello", run_id, "say"]).await.ok().contains("Hello, ada!"));
    let states = shell.run(&["tasks", "states", "hello", run_id, "-o", "json"]).await.json();
    assert_eq!(states.as_array().unwrap().len(), 3);
    assert!(shell.run(&["tasks", "list", "hello"]).await.ok().contains("make_greeting"));

    let cleared = shell.run(&["tasks", "clear", "hello", "--run", run_id, "--task", "say", "-o", "json"]).await.json();
    assert_eq!(cleared.as_array().unwrap().len(), 1);
    let shown = shell.run(&["runs", "show", "hello", run_id, "--wait", "-o", "json"]).await.json();
    assert_eq!(shown["state"], "success");
    let states = shell.run(&["tasks", "states", "hello", run_id, "-o", "json"]).await.json();
    assert_eq!(states.as_array().unwrap().iter().find(|row| row["task_id"] == "say").unwrap()["try_number"], 2);

    shell.run(&["runs", "delete", "hello", run_id]).await.ok();
    assert_eq!(shell.run(&["runs", "list", "hello", "-o", "json"]).await.json(), json!([]));
    shell.run(&["dags", "pause", "hello"]).await.ok();
    shell.run(&["dags", "delete", "hello"]).await.ok();
    shell.run(&["dags", "show", "hello"]).await.failed(3);
    assert!(shell.run(&["components", "list"]).await.ok().contains("airlock-sdk"));
    shell.run(&["logout"]).await.ok();
    assert!(shell.run(&["dags", "list"]).await.failed(5).contains("hint: sign in with `airlock login`"));
    // A sign-in would change nothing where the variable comes first.
    let shell = shell.env("AIRLOCK_TOKEN", "airlock_of_last_year");
    assert!(shell.run(&["dags", "list"]).await.failed(5).contains("hint: AIRLOCK_TOKEN is set"));
}

#[tokio::test]
async fn exit_codes_tell_scripts_what_happened() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    shell.run(&["deploy", &wasm("hostile"), &wasm("hello")]).await.ok();

    // What has no dag says what it is good for.
    let tasks = shell.run(&["deploy", &wasm("control")]).await;
    assert!(tasks.err.contains("tasks for dags in YAML") && tasks.err.contains("short_circuit"), "{}", tasks.err);
    tasks.ok();

    // A failed run, waited for.
    let failed = shell.run(&["dags", "trigger", "hostile_panics", "--wait"]).await;
    assert!(failed.out.contains("failed"));
    assert!(failed.failed(1).contains("hint: "));
    // Wrong arguments: nothing was tried.
    assert_eq!(shell.run(&["dags", "trigger", "hello", "--params", "[1]"]).await.code, 2);
    assert_eq!(shell.run(&["dags", "trigger", "hello", "--logical-date", "yesterday"]).await.code, 2);
    assert_eq!(shell.run(&["no-such-command"]).await.code, 2);
    shell.run(&["deploy", "no/such/file.wasm"]).await.failed(2);
    let folder = shell.path().to_string_lossy().into_owned();
    let told = shell.run(&["deploy", &wasm("hello"), &folder]).await.failed(2);
    assert!(told.contains(&format!("`{folder}` is a folder; name a file")), "{told}");
    // Not there; refused.
    shell.run(&["dags", "trigger", "nobody"]).await.failed(3);
    shell.run(&["runs", "show", "hello", "nothing"]).await.failed(3);
    let text = shell.file("text.wasm", "not wasm");
    assert!(shell.run(&["deploy", &text]).await.failed(4).contains("text.wasm"));
    let date = ["dags", "trigger", "hello", "--logical-date", "2026-01-01", "--wait"];
    shell.run(&date).await.ok();
    shell.run(&date).await.failed(4);
    // Nobody there.
    let nobody = shell.run(&["--url", "http://127.0.0.1:1", "dags", "list"]).await;
    assert!(nobody.failed(6).contains("airlock serve"));
}

#[tokio::test]
async fn who_signs_in_is_told_of_a_token_that_stands_before() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await.env("AIRLOCK_TOKEN", "airlock_of_another");
    let told = shell.run_with(&["login"], ADMIN_PASSWORD).await;
    assert!(told.err.contains("warning: AIRLOCK_TOKEN is set and stands before this token"), "{}", told.err);
    told.ok();
    // So it is.
    assert!(shell.run(&["dags", "list"]).await.failed(5).contains("AIRLOCK_TOKEN is set"));
    assert!(shell.run(&["logout"]).await.err.contains("warning: AIRLOCK_TOKEN is set"));
    // A wrong password is not mended by signing in, but perhaps by another name.
    let wrong = shell.run_with(&["login"], "wrong").await.failed(5);
    assert!(wrong.contains("--username") && !wrong.contains("airlock login"), "{wrong}");
}

#[tokio::test]
async fn a_server_is_reached_at_an_address_of_ipv6() {
    let shell = Shell::new();
    for url in ["127.0.0.1:8080", "http://::1:8080"] {
        let told = shell.run(&["--url", url, "dags", "list"]).await.failed(2);
        assert!(told.contains("http://[::1]:8080"), "{told}");
    }
    let nobody = shell.run(&["--url", "http://[::1]:1", "dags", "list"]).await.failed(6);
    assert!(nobody.contains("can't reach http://[::1]:1/") && nobody.contains("airlock serve"), "{nobody}");
}

#[tokio::test]
async fn a_worker_is_told_how_a_url_is_written() {
    for url in ["airlock:8080", "airlock", "ftp://airlock"] {
        let shell =
            Shell::new().env("AIRLOCK_WORKERS_URL", url).env("AIRLOCK_WORKERS_TOKEN", "a token that workers show");
        let told = shell.run(&["serve", "--worker"]).await.failed(2);
        assert!(told.contains("`workers.url`") && told.contains("http://airlock:8080"), "{told}");
    }
}

#[tokio::test]
async fn a_log_is_followed_over_its_tries_to_its_end() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    shell.run(&["deploy", &wasm("hostile")]).await.ok();
    let args = ["dags", "trigger", "busy_bees", "--params", r#"{"steps":12}"#, "-o", "json"];
    let run = shell.run(&args).await.json();
    let run_id = run["dag_run_id"].as_str().unwrap();
    let log = shell.run(&["tasks", "logs", "-f", "busy_bees", run_id, "slow_a"]).await.ok();
    assert!(log.contains("step 0 of slow_a") && log.contains("step 11 of slow_a"), "{log}");

    // Also from before its run starts: as long as the dag is paused.
    shell.run(&["dags", "pause", "retried"]).await.ok();
    let made = shell.run(&["dags", "trigger", "retried", "-o", "json"]).await;
    assert!(made.err.contains("airlock dags unpause retried"), "{}", made.err);
    let run = made.json();
    let run_id = run["dag_run_id"].as_str().unwrap();
    let log_of = ["tasks", "logs", "retried", run_id, "third_time"];
    let follow = [&log_of[..], &["-f"]].concat();
    let start = async {
        let told = shell.run(&log_of).await.failed(3);
        assert!(told.contains("it is queued"), "{told}");
        shell.run(&["dags", "unpause", "retried"]).await.ok();
    };
    let (log, ()) = tokio::join!(shell.run(&follow), start);
    let log = log.ok();
    assert!(log.contains("not yet"), "{log}");
    assert_eq!(shell.run(&["runs", "show", "retried", run_id, "-o", "json"]).await.json()["state"], "success");
}

#[tokio::test]
async fn a_log_is_followed_over_the_end_of_a_server_and_the_start_of_the_next() {
    let mut server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    shell.run(&["deploy", &wasm("hostile")]).await.ok();
    let args = ["dags", "trigger", "busy_bees", "--params", r#"{"steps":40}"#, "-o", "json"];
    let run = shell.run(&args).await.json();
    let run_id = run["dag_run_id"].as_str().unwrap();
    let log_of = ["tasks", "logs", "busy_bees", run_id, "slow_a"];
    let follow = [&log_of[..], &["-f"]].concat();
    let restart = async {
        until("it has begun", RUN_LIMIT, async || {
            let log = shell.run(&log_of).await;
            log.out.contains("step 10 of slow_a").then_some(())
        })
        .await;
        server.kill();
        server.restart().await;
    };
    let (followed, ()) = tokio::join!(shell.run(&follow), restart);
    assert!(followed.err.contains("asked for again"), "{}", followed.err);
    let log = followed.ok();
    assert_eq!(log.matches("step 0 of slow_a").count(), 2, "{log}");
    assert_eq!(log.matches("step 39 of slow_a").count(), 1, "{log}");
}

#[tokio::test]
async fn a_dag_runs_without_a_server() {
    let shell = Shell::new();
    let run = shell.run(&["test", &wasm("hello"), "hello", "--params", r#"{"name":"ada"}"#, "-o", "json"]).await;
    assert!(run.err.contains("say INFO  Hello, ada!"), "{}", run.err);
    let tasks = run.json();
    assert!(tasks.as_array().unwrap().iter().all(|task| task["state"] == "success"), "{tasks}");
    assert!(shell.run(&["test", &wasm("hostile"), "hostile_panics"]).await.err.contains("the guest gave up"));
    assert_eq!(shell.run(&["test", &wasm("hostile"), "hostile_panics"]).await.code, 1);
    assert!(shell.run(&["test", &wasm("hello"), "nobody"]).await.failed(3).contains("`hello`"));
    // In YAML, whatever stands first.
    let yaml = shell.file("ends.yaml", ENDS);
    let run = shell.run(&["test", &yaml, &wasm("control"), "ends"]).await;
    assert!(run.code == 1 && run.err.contains("dag `ends` ended as failed"), "{}", run.err);
    assert!(shell.run(&["test", &yaml, "ends"]).await.failed(4).contains("the components whose files are given"));
    let typo = shell.run(&["test", &shell.file("typo.yaml", "dag_id: d\ntags: x\n"), "d"]).await.failed(4);
    assert!(typo.contains("a list is expected") && !typo.contains("the components whose files"), "{typo}");
    assert!(shell.run(&["test", &wasm("control"), "ends"]).await.failed(3).contains("tasks for dags in YAML"));
    let weekly = shell.file("weekly.yaml", "dag_id: weekly\nschedule: '@weekly'\ntasks: {t: {uses: control/empty}}\n");
    let next = ["dags", "next-runs", "weekly", "--file", &weekly, "--file", &wasm("control"), "--count", "2"];
    assert_eq!(shell.run(&[&next[..], &["-o", "json"]].concat()).await.json().as_array().unwrap().len(), 2);
    let behind =
        "dag_id: behind\nschedule: '@daily'\nstart: '2026-01-01'\ncatchup: true\ntasks: {t: {uses: control/empty}}\n";
    let behind = shell.file("behind.yaml", behind);
    let next =
        ["dags", "next-runs", "behind", "--file", &behind, "--file", &wasm("control"), "--count", "1", "-o", "json"];
    let first = async |more: &[&str]| shell.run(&[&next[..], more].concat()).await.json()[0]["run_after"].clone();
    assert_eq!(first(&[]).await, "2026-01-01T00:00:00Z", "what is missed comes first");
    assert_eq!(first(&["--after", "2096-05-01T00:00:00Z"]).await, "2096-05-02T00:00:00Z");

    // Nobody is there to answer, but who started it.
    let ask = "dag_id: asks\ntasks: {ask: {uses: control/ask, with: {subject: Which?, options: [a, b], assignees: [ann], timeout: 5s}}}\n";
    let asks = ["test", &shell.file("asks.yaml", ask), &wasm("control"), "asks"];
    let run = shell.run(&asks).await;
    assert!(
        run.err.contains(r#"ask waits for `a`, `b`, as by --answers '{"Which?":{"chosen_options":["a"]}}'"#),
        "{}",
        run.err
    );
    let answered = async |json: &str| shell.run(&[&asks[..], &["--answers", json]].concat()).await;
    answered(r#"{"Which?": {"chosen_options": ["b"]}}"#).await.ok();
    let unfit = answered(r#"{"Which?": {"chosen_options": ["c"]}}"#).await;
    assert!(unfit.code == 4 && unfit.err.contains("error: the answer to `Which?`: `c` is no option"), "{}", unfit.err);
    answered(r#"{"Which?": "b"}"#).await.failed(2);

    let variables = shell.file("variables.json", r#"{"api_password": "s3cr3t-value", "other": 1}"#);
    let args = ["test", &wasm("hostile"), "hostile_tells_secret", "--variables", &variables];
    let told = shell.run(&args).await;
    assert!(told.err.contains("the secret is ***") && !told.err.contains("s3cr3t-value"), "{}", told.err);

    // Only what was asked for runs: the timetable of `weather` is far behind.
    let run = shell.run(&["test", &wasm("weather"), "weather", "--logical-date", "2014-03-01", "-o", "json"]).await;
    assert!(run.json().as_array().unwrap().len() >= 6);
}

#[tokio::test]
async fn variables_and_connections_move_between_airlocks_with_their_secrets() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    let variables = json!({
        "plain": "text", "number": 12, "object": {"a": [1, 2]}, "password": {"value": "s3cr3t", "description": "a secret"},
    });
    let connections = json!({
        "db": {"conn_type": "postgres", "host": "db.example", "port": 5432, "login": "me", "password": "p@ss", "schema": "main"},
        "api": "https://token:x@api.example/v1?retries=3",
    });
    let (one, other) = (shell.file("v.json", &variables.to_string()), shell.file("c.json", &connections.to_string()));
    shell.run(&["variables", "import", &one]).await.ok();
    shell.run(&["connections", "import", &other]).await.ok();
    // What is refused does not keep the rest from being imported.
    let refused = shell.file("refused.json", r#"{"a@b": 1, "c@d": 2, "plain": "text"}"#);
    let told = shell.run(&["variables", "import", &refused]).await.failed(4);
    assert!(told.contains("`a@b`") && told.contains("`c@d`") && told.contains("1 of 3 variables imported"), "{told}");
    assert_eq!(shell.run(&["variables", "get", "plain"]).await.ok(), "text\n");
    shell.run_with(&["variables", "set", "typed", "-"], "from a pipe\n").await.ok();
    assert_eq!(shell.run(&["variables", "get", "typed"]).await.ok(), "from a pipe\n");
    shell.run(&["variables", "delete", "typed"]).await.ok();
    shell.run(&["variables", "import", &one, "--existing", "fail"]).await.failed(4);
    shell.run(&["variables", "import", &one, "--existing", "skip"]).await.ok();

    let listed = shell.run(&["variables", "list", "--limit", "2", "-o", "json"]).await;
    assert!(listed.err.contains("2 of 4 shown; --limit shows more"), "{}", listed.err);
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    let listed = shell.run(&["variables", "list", "--limit", "4"]).await;
    assert!(!listed.err.contains("shown"), "{}", listed.err);

    let listed = shell.run(&["connections", "get", "db", "-o", "json"]).await.ok();
    assert!(listed.contains("db.example") && !listed.contains("p@ss"), "{listed}");

    let data_dir = server.data_dir().to_string_lossy().into_owned();
    let exported = shell.run(&["variables", "export", "--data-dir", &data_dir]).await.json();
    assert_eq!(exported, variables);
    let exported = shell.run(&["connections", "export", "--data-dir", &data_dir]).await.json();
    assert_eq!(exported["db"], connections["db"]);
    assert_eq!(
        (&exported["api"]["host"], &exported["api"]["password"], &exported["api"]["extra"]),
        (&json!("api.example"), &json!("x"), &json!(r#"{"retries":"3"}"#)),
    );
}

#[tokio::test]
async fn what_set_is_not_told_stays_as_it_is() {
    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    let data_dir = server.data_dir().to_string_lossy().into_owned();
    let set = async |args: &[&str], input: &str| -> Done {
        let args: Vec<_> = ["connections", "set"].iter().chain(args).copied().collect();
        shell.run_with(&args, input).await
    };
    let exported = async || shell.run(&["connections", "export", "--data-dir", &data_dir]).await.json();
    set(&["db", "--type", "postgres", "--host", "db.example", "--login", "me", "--password"], "p@ss\n").await.ok();
    set(&["db", "--login", "you", "--description", "the shop's"], "").await.ok();
    set(&["db"], "").await.ok();
    let mut db = json!({
        "conn_type": "postgres", "host": "db.example", "login": "you", "password": "p@ss", "description": "the shop's",
    });
    assert_eq!(exported().await["db"], db);
    // The password was given for another place.
    set(&["db", "--host", "other.example"], "").await.failed(4);
    set(&["db", "--host", "other.example", "--description", "", "--password"], "n3w\n").await.ok();
    db["host"] = json!("other.example");
    db["password"] = json!("n3w");
    db.as_object_mut().unwrap().remove("description");
    assert_eq!(exported().await["db"], db);
    // What signs in here is not what is handed to another system.
    let shell_of_ci = Shell::signed_in(&server).await.env("AIRLOCK_PASSWORD", ADMIN_PASSWORD);
    shell_of_ci.run_with(&["connections", "set", "db", "--password"], "n3w\n").await.ok();
    assert_eq!(exported().await["db"], db);
    set(&["api", "--host", "api.example"], "").await.ok();
    assert_eq!(exported().await["api"], json!({"conn_type": "generic", "host": "api.example"}));

    let exported = async || shell.run(&["variables", "export", "--data-dir", &data_dir]).await.json();
    shell.run(&["variables", "set", "city", "Seoul", "--description", "where"]).await.ok();
    shell.run(&["variables", "set", "city", "Busan"]).await.ok();
    assert_eq!(exported().await["city"], json!({"value": "Busan", "description": "where"}));
    shell.run(&["variables", "set", "city", "Busan", "--description", ""]).await.ok();
    assert_eq!(exported().await["city"], "Busan");

    let description = async |args: &[&str]| -> Value {
        let args: Vec<_> = ["pools", "set", "few", "3", "-o", "json"].iter().chain(args).copied().collect();
        shell.run(&args).await.json()["description"].clone()
    };
    assert_eq!(description(&["--description", "for few"]).await, "for few");
    assert_eq!(description(&[]).await, "for few");
    assert_eq!(description(&["--description", ""]).await, Value::Null);
}

#[tokio::test]
async fn users_are_kept_on_the_data_directory() {
    let server = Server::start().await;
    let shell = Shell::beside(&server);
    let data_dir = server.data_dir().to_string_lossy().into_owned();
    let users = async |args: &[&str], input: &str| -> Done {
        let args: Vec<_> = ["users", "--data-dir", &data_dir].iter().chain(args).copied().collect();
        shell.run_with(&args, input).await
    };
    users(&["add", "ada"], "a long password\n").await.ok();
    users(&["add", "ada"], "a long password\n").await.failed(4);
    users(&["add", "bob"], "short\n").await.failed(2);
    users(&["set-role", "ada", "operator"], "").await.ok();
    assert!(users(&["list"], "").await.ok().contains("operator"));
    users(&["set-role", "ada", "root"], "").await.failed(2);
    users(&["set-role", "admin", "viewer"], "").await.failed(4);
    Client::signed_in(&server.url, "ada", "a long password").await;
    users(&["set-password", "ada"], "another password\n").await.ok();
    Client::signed_in(&server.url, "ada", "another password").await;
    assert!(shell.run(&["users", "list", "--data-dir", &data_dir]).await.ok().contains("ada"));
    users(&["delete", "ada"], "").await.ok();
    users(&["delete", "ada"], "").await.failed(3);
    users(&["delete", "admin"], "").await.failed(4);
    Shell::new().run(&["users", "--data-dir", "no/such/folder", "list"]).await.failed(3);
}

#[tokio::test]
async fn one_data_directory_has_one_server() {
    let server = Server::start().await;
    let shell = Shell::new();
    let data_dir = server.data_dir().to_string_lossy().into_owned();
    let second = shell.run(&["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"]).await;
    assert!(second.failed(4).contains("another `airlock serve` works on the data directory"));
    let busy = server.url.trim_start_matches("http://");
    let second = shell.run(&["serve", "--data-dir", "other", "--listen", busy]).await;
    assert!(second.failed(1).contains("can't listen on"));
}

#[tokio::test]
async fn a_wrong_key_is_noticed_at_the_start() {
    let mut server = Server::start().await;
    server.stop().await;
    fs::write(server.data_dir().join("secret.key"), "P5cVGF1tb4aGzNhQnJ8vY3t1dWkRmB0oE7sCqLh2wXg=\n").unwrap();
    let data_dir = server.data_dir().to_string_lossy().into_owned();
    let started = Shell::beside(&server).run(&["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"]).await;
    assert!(started.failed(1).contains("secret.key"));
    // A new key would open nothing, and look like the lost one.
    let key = server.data_dir().join("secret.key");
    fs::remove_file(&key).unwrap();
    let serve = ["serve", "--data-dir", &data_dir, "--listen", "127.0.0.1:0"];
    for args in [&serve[..], &["users", "--data-dir", &data_dir, "list"]] {
        let refused = Shell::beside(&server).run(args).await;
        assert!(refused.failed(1).contains("there is no secret key: none is named"), "{args:?}");
        assert!(!key.exists(), "{args:?}");
    }
}

#[tokio::test]
async fn settings_come_from_flags_variables_and_the_file() {
    let shell = Shell::new();
    shell.file("airlock.toml", "parallelism = 7\n[database]\nsynchronous = \"normal\"\n");
    let settings = shell.run(&["config", "show", "--listen", "127.0.0.1:9", "-o", "json"]).await.json();
    let of = |key: &str| settings.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(of("parallelism")["value"], "7");
    assert_eq!(of("parallelism")["origin"], "airlock.toml");
    assert_eq!((&of("listen")["value"], &of("listen")["origin"]), (&json!("127.0.0.1:9"), &json!("flag")));
    assert_eq!(of("data_dir")["origin"], "default");

    shell.file("airlock.toml", "paralelism = 7\n");
    assert!(shell.run(&["serve"]).await.failed(2).contains("`paralelism`"));
    shell.file("airlock.toml", "parallelism = 0\n");
    assert!(shell.run(&["serve"]).await.failed(2).contains("`parallelism`"));
    shell.file("airlock.toml", "[[[\n");
    shell.run(&["config", "show"]).await.failed(2);
}

#[tokio::test]
async fn next_runs_of_a_cron_expression_need_no_server() {
    let shell = Shell::new();
    let next = async |cron: &str, timezone: &str, after: &str| {
        let args = ["dags", "next-runs", "--cron", cron, "--timezone", timezone, "--after", after, "--count", "2"];
        let runs = shell.run(&[&args[..], &["-o", "json"]].concat()).await.json();
        let texts = runs.as_array().unwrap().iter().map(|run| run["run_after"].as_str().unwrap().to_owned());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(
        next("0 6 * * 1-5", "Asia/Seoul", "2026-01-02T00:00:00Z").await,
        ["2026-01-04T21:00:00Z", "2026-01-05T21:00:00Z"],
    );
    assert_eq!(next("@monthly", "UTC", "2026-01-31").await, ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]);
    shell.run(&["dags", "next-runs", "--cron", "61 * * * *"]).await.failed(2);
    assert_eq!(shell.run(&["dags", "next-runs", "--cron", "@daily", "--timezone", "Mars/Olympus"]).await.code, 2);

    let server = Server::start().await;
    let shell = Shell::signed_in(&server).await;
    shell.run(&["deploy", &wasm("hello")]).await.ok();
    assert_eq!(shell.run(&["dags", "next-runs", "hello", "-o", "json"]).await.json(), Value::Array(Vec::new()));
}

#[tokio::test]
async fn completions_and_help_need_nothing() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(shell.run(&["completions", name]).await.ok().contains("airlock"), "{name}");
    }
    // As with `| head`: who has read enough is no fault.
    let mut child = shell.command(&["completions", "bash"]).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    let help = shell.run(&["--help"]).await.ok();
    assert!(help.contains("Exit codes:") && help.contains("deploy"));
    assert!(!help.contains("run-child"), "children are nobody's commands");
    for command in [&["backup"][..], &["restore"], &["db", "move"], &["users", "add"]] {
        let help = shell.run(&[command, &["--help"]].concat()).await.ok();
        assert!(help.contains("[env: AIRLOCK_DATA_DIR]") && help.contains("[env: AIRLOCK_CONFIG]"), "{help}");
    }
    assert!(shell.run(&["version"]).await.ok().contains("airlock"));
}

#[tokio::test]
async fn a_new_project_builds_and_tests_at_once() {
    let shell = Shell::new();
    shell.run(&["new", "daily-sales"]).await.ok();
    let made = shell.run(&["new", "it's here/daily-sales"]).await;
    assert!(made.err.contains(r"cd 'it'\''s here/daily-sales'"), "{}", made.err);
    shell.run(&["new", "daily-sales"]).await.failed(4);
    shell.run(&["new", "Daily Sales"]).await.failed(2);
    // What has no name of its own, as `.`, is called as the folder is.
    fs::create_dir_all(shell.path().join("here/src")).unwrap();
    assert!(shell.run(&["new", "here/src/.."]).await.failed(4).contains("not empty"));
    assert!(shell.run(&["new", "there/.."]).await.failed(2).contains("can't use `there/..`"));
    let project = shell.path().join("daily-sales");
    // Built beside this workspace: what both need is compiled once more, and downloaded no more.
    let target = build::target_dir().join("new-project");
    let cargo = async |args: &'static [&str]| {
        let mut command = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args).arg("--offline").current_dir(&project).env("CARGO_TARGET_DIR", &target);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    cargo(&["test"]).await;
    cargo(&["build", "--release", "--target", "wasm32-wasip2"]).await;
    // Without link-time optimization, too.
    cargo(&["build", "--target", "wasm32-wasip2"]).await;
    for profile in ["release", "debug"] {
        let wasm = target.join("wasm32-wasip2").join(profile).join("daily_sales.wasm");
        shell.run(&["test", &wasm.to_string_lossy(), "daily_sales"]).await.ok();
    }
}
