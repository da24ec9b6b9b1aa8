//! Backups, and what rows and objects know of each other, through the real binary.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use airlock_tests::{Client, Server, Shell, build, server::Builder, until};
use serde_json::{Value, json};

/// A server with runs that left logs, XComs in object storage and artifacts, and with settings.
async fn with_history() -> (Server, Client, Vec<String>) {
    with_history_of(Server::builder()).await
}

/// As [`with_history`], of a server that is started so.
pub async fn with_history_of(builder: Builder) -> (Server, Client, Vec<String>) {
    let mut server = builder.start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = client.trigger("remembered", json!({})).await;
        client.finished("remembered", &run).await;
        runs.push(run);
    }
    // The last second of the logs may still be in memory.
    server.stop().await;
    server.restart().await;
    let client = server.client().await;
    client.post("/api/v2/variables", &json!({"key": "colour", "value": "blue"})).await.ok();
    let connection =
        json!({"connection_id": "store", "conn_type": "http", "host": "example.org", "password": "hidden"});
    client.post("/api/v2/connections", &connection).await.ok();
    client.post("/api/v2/pools", &json!({"name": "few", "slots": 3})).await.ok();
    (server, client, runs)
}

/// What the API says of all that there is.
pub async fn seen(client: &Client, runs: &[String]) -> Vec<Value> {
    let mut all = Vec::new();
    for (path, field) in [
        ("/api/v2/dags", "dags"),
        ("/api/v2/components", "components"),
        ("/api/v2/dags/remembered/dagRuns", "dag_runs"),
        ("/api/v2/variables", "variables"),
        ("/api/v2/connections", "connections"),
        ("/api/v2/pools", "pools"),
    ] {
        all.extend(client.list(path, field).await);
    }
    for dag in &mut all {
        // Of a continuous dag it is now.
        dag.as_object_mut().expect("an object").retain(|name, _| !name.starts_with("next_dagrun"));
    }
    for run in runs {
        all.extend(client.instances("remembered", run).await);
        for task in ["roll", "look"] {
            all.push(client.log("remembered", run, task, 1).await.into());
            all.push(client.xcom("remembered", run, task, "return_value").await);
        }
        let path = format!("/api/v2/dags/remembered/dagRuns/{run}/artifacts");
        for artifact in client.list(&path, "artifacts").await {
            let of_task = format!(
                "/api/v2/dags/remembered/dagRuns/{run}/taskInstances/{}/artifacts/{}",
                artifact["task_id"].as_str().unwrap(),
                artifact["name"].as_str().unwrap().replace('/', "%2F")
            );
            let bytes = client.request(reqwest::Method::GET, &of_task).send().await.unwrap().bytes().await.unwrap();
            all.push(json!({"artifact": artifact, "bytes": bytes.len(), "sum": bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>()}));
        }
    }
    all
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// A server that lost all and had a backup restored.
async fn restored(backups: &str) -> (Server, Client) {
    let mut server = Server::start().await;
    server.lose_all().await;
    let cli = Shell::beside(&server);
    cli.run(&["restore", backups, "--data-dir", text(&server.data_dir())]).await.ok();
    server.restart().await;
    let client = server.client().await;
    (server, client)
}

#[tokio::test]
async fn a_backup_brings_all_back_into_an_empty_place() {
    let (mut server, client, runs) = with_history().await;
    let cli = Shell::signed_in(&server).await;
    let (data, backups) = (server.data_dir(), cli.path().join("backups"));
    let (data, target) = (text(&data), text(&backups));
    let before = seen(&client, &runs).await;
    let first = cli.run(&["backup", target, "--data-dir", data, "--with-key", "-o", "json"]).await.json();
    assert!(first["copied"].as_u64().unwrap() > 3 && first["missing"] == 0, "{first}");

    // What is there is not copied again; what comes later is in the next backup only.
    let later = client.trigger("remembered", json!({"sides": 9})).await;
    client.finished("remembered", &later).await;
    let second = cli.run(&["backup", target, "--data-dir", data, "--with-key", "-o", "json"]).await.json();
    assert!(second["copied"].as_u64() < first["copied"].as_u64(), "{first} {second}");
    assert!(second["objects"].as_u64() > first["objects"].as_u64());
    let listed = cli.run(&["restore", target, "--list", "-o", "json"]).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));

    server.stop().await;
    let refused = cli.run(&["restore", target, "--data-dir", data]).await;
    let is_there = match server.postgres_url() {
        Some(_) => "there are dags or users in its database",
        None => "there is a database in",
    };
    assert!(refused.failed(4).contains(is_there));

    let (again, client) = restored(target).await;
    let mut with_later = runs.clone();
    with_later.push(later.clone());
    assert_eq!(client.list("/api/v2/dags/remembered/dagRuns", "dag_runs").await.len(), 3);
    client.delete(&format!("/api/v2/dags/remembered/dagRuns/{later}")).await.ok();
    assert_eq!(seen(&client, &runs).await, before);
    // It goes on from there, and no run gets the id of an earlier one.
    let more = client.trigger("remembered", json!({})).await;
    assert_eq!(client.finished("remembered", &more).await["state"], "success");
    assert!(!with_later.contains(&more));
    let checked = Shell::beside(&again).run(&["storage", "check", "--data-dir", text(&again.data_dir())]).await;
    checked.ok();
}

#[tokio::test]
async fn damage_is_found_and_old_backups_go() {
    let (server, client, _) = with_history().await;
    let cli = Shell::signed_in(&server).await;
    let (data, backups) = (server.data_dir(), cli.path().join("backups"));
    let (data, target) = (text(&data), text(&backups));
    // Of a backup that failed long ago, and of one that is being made elsewhere.
    let (failed, made) = (backups.join("databases/1.db.zst"), backups.join("databases/2.db.zst"));
    fs::create_dir_all(backups.join("databases")).unwrap();
    fs::create_dir_all(backups.join("objects/logs")).unwrap();
    let (failed_object, made_object) = (backups.join("objects/logs/1"), backups.join("objects/logs/2"));
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
    for path in [&failed, &failed_object] {
        fs::File::create(path).unwrap().set_modified(long_ago).unwrap();
    }
    for path in [&made, &made_object] {
        fs::write(path, b"made").unwrap();
    }
    let mut ids = Vec::new();
    for _ in 0..3 {
        let run = client.trigger("remembered", json!({})).await;
        client.finished("remembered", &run).await;
        let made = cli.run(&["backup", target, "--data-dir", data, "--keep", "2", "-o", "json"]).await.json();
        ids.push(made["backup"].as_str().unwrap().to_owned());
        client.delete(&format!("/api/v2/dags/remembered/dagRuns/{run}")).await.ok();
    }
    let listed = cli.run(&["restore", target, "--list", "-o", "json"]).await.json();
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|backup| backup["backup"].clone()).collect();
    assert_eq!(listed, [json!(ids[1]), json!(ids[2])]);
    assert!(!failed.exists() && made.exists());
    assert!(!failed_object.exists() && made_object.exists());

    // Restored into SQLite, wherever the server's rows were. Objects are not what they were, and others are gone.
    let cli = Shell::new();
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    files(&backups.join("objects/xcoms"), &mut changed);
    files(&backups.join("objects/artifacts"), &mut gone);
    for file in &changed {
        fs::write(file, b"changed").unwrap();
    }
    for file in &gone {
        fs::remove_file(file).unwrap();
    }
    let lost = cli.run(&["restore", target, "--data-dir", text(&cli.path().join("lossy"))]).await;
    assert!(lost.code == 1 && lost.err.contains("objects could not be restored"), "{}", lost.err);
    assert!(lost.err.contains("damaged: xcoms/") && lost.err.contains("damaged: artifacts/"), "{}", lost.err);
    assert!(cli.path().join("lossy/airlock.db").exists(), "the rest is there");
    fs::write(backups.join(format!("databases/{}.db.zst", ids[2])), b"changed").unwrap();
    let place = cli.path().join("damaged");
    let refused = cli.run(&["restore", target, "--data-dir", text(&place)]).await.failed(1);
    assert!(refused.contains("is not what the backup says it is"), "{refused}");
    assert!(!place.join("airlock.db").exists());
    // A newer airlock's.
    let manifest = backups.join(format!("backups/{}.json", ids[1]));
    let newer = fs::read_to_string(&manifest).unwrap().replace("\"migrations\": [", "\"migrations\": [9999, ");
    fs::write(&manifest, newer).unwrap();
    let place = cli.path().join("newer");
    let refused = cli.run(&["restore", target, "--backup", &ids[1], "--data-dir", text(&place)]).await;
    assert!(refused.err.contains("is of a newer airlock"), "{}", refused.err);
}

#[tokio::test]
async fn a_restore_that_was_ended_after_its_file_was_there_goes_on() {
    let mut server = Server::start().await;
    server.client().await.post("/api/v2/variables", &json!({"key": "colour", "value": "blue"})).await.ok();
    let cli = Shell::beside(&server);
    let (data, backups) = (server.data_dir(), cli.path().join("backups"));
    let (data, target) = (text(&data), text(&backups));
    let backup = cli.run(&["backup", target, "--data-dir", data, "--with-key", "-o", "json"]).await.json();
    let is_postgres = server.postgres_url().is_some();
    // With PostgreSQL the end may have come before the rows were there, or after.
    for is_filled in [false, true].into_iter().take(if is_postgres { 2 } else { 1 }) {
        server.lose_all().await;
        Shell::new().run(&["restore", target, "--data-dir", data]).await.ok();
        let refused = cli.run(&["restore", target, "--data-dir", data]).await;
        assert!(refused.failed(4).contains("there is a database in"), "it is of nobody knows what");
        let marker = server.data_dir().join("restoring.json");
        fs::write(&marker, backup["backup"].as_str().unwrap()).unwrap();
        // A server that is started by itself meanwhile does not begin anew.
        server.start_again();
        until("the server's end", Duration::from_secs(30), async || server.has_ended().then_some(())).await;
        assert!(server.log().contains("did not come to its end"), "{}", server.log());
        if is_filled {
            cli.run(&["db", "move", "--data-dir", data]).await.ok();
        }
        let again = cli.run(&["restore", target, "--data-dir", data]).await;
        assert!(again.err.contains("an earlier try restored it"), "{}", again.err);
        again.ok();
        assert!(!marker.exists());
        assert_eq!(server.data_dir().join("airlock.db").exists(), !is_postgres);
        server.restart().await;
        assert_eq!(server.client().await.get("/api/v2/variables/colour").await.ok()["value"], "blue");
    }
}

#[tokio::test]
async fn looking_for_backups_makes_no_folder() {
    let cli = Shell::new();
    let typo = cli.path().join("typo");
    for args in [&["restore", text(&typo)][..], &["restore", text(&typo), "--list"][..]] {
        let refused = cli.run(args).await.failed(3);
        assert!(refused.contains("there is no folder") && !typo.exists(), "{refused}");
    }
}

#[tokio::test]
async fn a_backup_in_a_folder_is_nobody_elses() {
    let server = Server::start().await;
    let cli = Shell::beside(&server);
    let (data, backups) = (server.data_dir(), cli.path().join("backups"));
    // Whose folder it is does not matter: files of others may be in it.
    fs::create_dir(&backups).unwrap();
    cli.run(&["backup", text(&backups), "--data-dir", text(&data), "--with-key"]).await.ok();
    let mut written = Vec::new();
    files(&backups, &mut written);
    files(&data, &mut written);
    assert!(written.iter().any(|path| path.parent().is_some_and(|folder| folder.ends_with("keys"))), "{written:?}");
    for path in written {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    }
}

/// The files below a folder.
pub fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
    }
}

#[tokio::test]
async fn objects_without_rows_and_rows_without_objects_are_found() {
    let (mut server, _client, _) = with_history().await;
    let cli = Shell::signed_in(&server).await;
    let data = server.data_dir();
    let check = ["storage", "check", "--data-dir", text(&data), "-o", "json"];
    assert_eq!(cli.run(&check).await.json(), json!([]));

    let forgotten = data.join("blobs/xcoms/ab");
    fs::create_dir_all(&forgotten).unwrap();
    let old = fs::File::create(forgotten.join("00000000000000000000000000000000ab")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(1)).unwrap();
    fs::write(forgotten.join("00000000000000000000000000000001ab"), b"in flight").unwrap();
    let found = cli.run(&check).await;
    assert!(found.out.contains("00000000000000000000000000000000ab") && !found.out.contains("0001ab"), "{}", found.out);
    let mut repair = check.to_vec();
    repair.push("--repair");
    cli.run(&repair).await.ok();
    server.stop().await;
    server.restart().await;
    until("the collector", Duration::from_mins(1), async || {
        (!forgotten.join("00000000000000000000000000000000ab").exists()).then_some(())
    })
    .await;
    assert_eq!(cli.run(&check).await.json(), json!([]));

    let mut objects = Vec::new();
    files(&data.join("blobs/artifacts"), &mut objects);
    fs::remove_file(&objects[0]).unwrap();
    let lost = cli.run(&check).await;
    assert!(lost.out.contains("the object is not there") && lost.out.contains("remembered "), "{}", lost.out);
}

#[tokio::test]
async fn settings_are_taken_over_by_another_server_or_not_at_all() {
    let (server, client, _) = with_history().await;
    client.post("/api/v2/variables", &json!({"key": "api_password", "value": "hunter22"})).await.ok();
    client.set_paused("remembered", true).await;
    let said = client.request(reqwest::Method::PUT, "/api/v2/dags/remembered/retention").json(&json!({"runs_days": 9}));
    client.send(said).await.ok();
    let limits =
        client.request(reqwest::Method::PUT, "/api/v2/dags/remembered/limits").json(&json!({"memory_mib": 700}));
    client.send(limits).await.ok();
    client.patch("/api/v2/dags/remembered/grants", &json!({"policy": "review"})).await.ok();
    let decide = async |verb: &str, grant: &str| {
        client.post(&format!("/api/v2/dags/remembered/grants/{verb}"), &json!({"grants": [grant]})).await.ok();
    };
    decide("revoke", "variable:colours/*").await;
    decide("approve", "variable:colours/blue").await;
    let cli = Shell::signed_in(&server).await;
    let plain = cli.run(&["export"]).await.ok();
    assert!(!plain.contains("hunter22") && !plain.contains("hidden"), "{plain}");
    let whole = cli.run(&["export", "--with-secrets", "--data-dir", text(&server.data_dir())]).await.ok();
    assert!(whole.contains("hunter22") && whole.contains("hidden"));

    let other = Server::start().await;
    let there = other.client().await;
    there.upload(build::component("shapes")).await.ok();
    let cli = Shell::signed_in(&other).await;
    let settings = async || {
        let mut all = Vec::new();
        for field in ["variables", "connections", "pools"] {
            all.extend(there.list(&format!("/api/v2/{field}"), field).await);
        }
        (all, there.get("/api/v2/dags/remembered/retention").await.ok()["own"]["runs_days"].clone())
    };
    let untouched = settings().await;
    let said = async || {
        let (limits, grants) = (there.get("/api/v2/limits").await.ok(), there.get("/api/v2/grants").await.ok());
        (limits["dags"].clone(), grants["dags"].clone())
    };

    // One of its things is wrong: nothing is taken over.
    let mut wrong: Value = serde_json::from_str(&whole).unwrap();
    wrong["pools"][1]["slots"] = json!(-7);
    let refused = cli.run_with(&["import", "-"], &wrong.to_string()).await;
    assert!(refused.code != 0 && refused.err.contains("-1"), "{}", refused.err);
    let dry = cli.run_with(&["import", "-", "--dry-run", "-o", "json"], &whole).await.json();
    assert_eq!((&dry["variables"], &dry["to_be_set"]), (&json!(2), &json!([])));
    assert_eq!(settings().await, untouched);

    // What admins say of dags is changed by nobody else.
    let account = json!({"username": "op", "password": "correct-horse-7", "role": "operator"});
    there.post("/api/v2/users", &account).await.ok();
    let token = Client::signed_in(&other.url, "op", "correct-horse-7").await.token;
    let operator = Shell::signed_in(&other).await.env("AIRLOCK_TOKEN", &token.unwrap());
    let refused = operator.run_with(&["import", "-"], &whole).await;
    assert!(refused.err.contains("`limits.write`") && refused.err.contains("`remembered`"), "{}", refused.err);
    assert_eq!((settings().await, said().await), (untouched, (json!([]), json!([]))));

    let done = cli.run_with(&["import", "-", "-o", "json"], &plain).await.json();
    let (limits, grants) = said().await;
    assert_eq!((&limits[0]["dag_id"], &limits[0]["own"]["memory_mib"]), (&json!("remembered"), &json!(700)));
    let decided = json!({"policy": "review", "approved": ["variable:colours/blue"], "revoked": ["variable:colours/*"]});
    assert_eq!(grants, json!([{"dag_id": "remembered", "own": decided}]));
    operator.run_with(&["import", "-"], &plain).await.ok();
    // A file that says nothing of them leaves them alone.
    let mut silent: Value = serde_json::from_str(&plain).unwrap();
    let dag = silent["dags"].as_array_mut().unwrap().iter_mut().find(|dag| dag["dag_id"] == "remembered").unwrap();
    let before = dag.clone();
    dag.as_object_mut().unwrap().retain(|said, _| said != "limits" && said != "grants");
    assert_ne!(*dag, before);
    cli.run_with(&["import", "-"], &silent.to_string()).await.ok();
    assert_eq!(said().await, (limits, grants));
    assert_eq!(done["to_be_set"], json!(["variable api_password", "connection store"]));
    assert_eq!(there.get("/api/v2/variables/colour").await.ok()["value"], "blue");
    assert_eq!(there.get("/api/v2/dags/remembered").await.ok()["is_paused"], true);
    cli.run_with(&["import", "-"], &whole).await.ok();
    assert_eq!(there.get("/api/v2/connections/store").await.ok()["password"], "***");
    // What is masked in the file stays as it is here.
    let again = cli.run_with(&["import", "-", "-o", "json"], &plain).await.json();
    assert_eq!(again["to_be_set"], json!([]));
    let kept = cli.run(&["export", "--with-secrets", "--data-dir", text(&other.data_dir())]).await.ok();
    assert!(kept.contains("hunter22") && kept.contains("hidden"), "{kept}");
}
