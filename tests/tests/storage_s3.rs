//! Backups, and what rows and objects know of each other, where both are on S3.

use std::time::{Duration, SystemTime};

use airlock_tests::{Server, Shell, build, s3::Bucket, server::Builder, until};
use serde_json::{Value, json};

use crate::backup::{seen, text, with_history_of};

/// The same bucket, below another prefix.
fn at(bucket: &Bucket, prefix: &str) -> String {
    bucket.url.replacen("/files?", &format!("/{prefix}?"), 1)
}

/// A server whose objects are in the bucket below `prefix`.
fn on(bucket: &Bucket, prefix: &str) -> Builder {
    let builder = Server::builder().env("AIRLOCK_STORAGE_URL", &at(bucket, prefix));
    bucket.env.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// Commands as they are run on the server's machine: with its settings.
fn with_settings(shell: Shell, bucket: &Bucket, prefix: &str) -> Shell {
    let shell = shell.env("AIRLOCK_STORAGE_URL", &at(bucket, prefix));
    bucket.env.iter().fold(shell, |shell, (name, value)| shell.env(name, value))
}

#[tokio::test]
async fn a_backup_in_a_bucket_brings_all_back_into_an_empty_one() {
    let bucket = Bucket::local().await;
    let (mut server, client, runs) = with_history_of(on(&bucket, "files")).await;
    let before = seen(&client, &runs).await;
    let cli = with_settings(Shell::signed_in(&server).await, &bucket, "files");
    let backups = at(&bucket, "backups");
    let data = server.data_dir();
    let backup = ["backup", &backups, "--data-dir", text(&data), "--with-key", "-o", "json"];
    let first = cli.run(&backup).await.json();
    assert!(first["copied"].as_u64().unwrap() > 3 && first["missing"] == 0, "{first}");
    let second = cli.run(&backup).await.json();
    assert_eq!((&second["copied"], &second["objects"]), (&json!(0), &first["objects"]), "objects are copied once");

    // The machine is lost, and so are the objects.
    server.kill();
    bucket.delete("files");
    let mut again = on(&bucket, "restored").start().await;
    again.lose_all().await;
    let cli = with_settings(Shell::beside(&again), &bucket, "restored");
    cli.run(&["restore", &backups, "--data-dir", text(&again.data_dir())]).await.ok();
    again.restart().await;
    let client = again.client().await;
    assert_eq!(seen(&client, &runs).await, before);
    let run = client.trigger("remembered", json!({})).await;
    assert_eq!(client.finished("remembered", &run).await["state"], "success");
    let data = again.data_dir();
    let check = ["storage", "check", "--data-dir", text(&data), "-o", "json"];
    assert_eq!(cli.run(&check).await.json(), json!([]));
    // Objects that are there already are nobody's to write over.
    let place = cli.path().join("elsewhere");
    let refused = cli.run(&["restore", &backups, "--data-dir", text(&place)]).await;
    assert!(refused.code != 0 && !place.join("airlock.db").exists(), "{}", refused.err);
}

#[tokio::test]
async fn a_server_makes_backups_in_a_bucket_by_itself_and_the_older_ones_go() {
    let bucket = Bucket::local().await;
    let backups = at(&bucket, "backups");
    let server = on(&bucket, "files")
        .env("AIRLOCK_BACKUP_URL", &backups)
        // Of seconds, too: each of them.
        .env("AIRLOCK_BACKUP_SCHEDULE", "* * * * * *")
        .env("AIRLOCK_BACKUP_KEEP", "2")
        .start()
        .await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    let cli = with_settings(Shell::new(), &bucket, "files");
    let listed = async || {
        let listed = cli.run(&["restore", &backups, "--list", "-o", "json"]).await;
        let Ok(Value::Array(listed)) = serde_json::from_str(&listed.out) else { return Vec::new() };
        listed.iter().map(|backup| backup["backup"].as_str().unwrap().to_owned()).collect()
    };
    let first = until("two backups", Duration::from_secs(30), async || {
        Some(listed().await).filter(|backups: &Vec<String>| backups.len() >= 2)
    })
    .await;
    until("newer backups", Duration::from_mins(1), async || {
        let now = listed().await;
        (now.len() == 2 && now.iter().all(|backup| backup > &first[1])).then_some(())
    })
    .await;
    let place = cli.path().join("restored");
    let cli = with_settings(Shell::new(), &bucket, "elsewhere");
    cli.run(&["restore", &backups, "--data-dir", text(&place)]).await.ok();
    assert!(place.join("airlock.db").exists());
    assert!(!place.join("secret.key").exists(), "a server's own backups never hold the key");
}

#[tokio::test]
async fn a_backup_whose_bucket_is_down_is_told_and_made_later_and_harms_nothing() {
    let mut bucket = Bucket::local().await;
    bucket.go_down();
    let builder = Server::builder()
        .env("AIRLOCK_BACKUP_URL", &at(&bucket, "backups"))
        .env("AIRLOCK_BACKUP_SCHEDULE", "0 0 * * *");
    let server = bucket.env.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start().await;
    let client = server.client().await;
    let warned = async || {
        let warnings = client.get("/api/v2/monitor/warnings").await.ok();
        let warnings = warnings["warnings"].as_array().unwrap().clone();
        warnings.into_iter().find(|warning| warning["kind"] == "backup_failing")
    };
    let figure = async |name: &str| {
        let text = client.text("/metrics", "application/openmetrics-text").await;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
    };
    client.upload(build::component("shapes")).await.ok();
    let run = client.trigger("remembered", json!({})).await;
    assert_eq!(client.finished("remembered", &run).await["state"], "success", "others are not concerned");
    // The storage's client tries for half a minute before it says so.
    let warning = until("the warning", Duration::from_mins(1), warned).await;
    assert!(warning["text"].as_str().unwrap().contains("the server's backup can't be made"), "{warning}");
    assert!(figure("airlock_backups_total{result=\"failed\"}").await.unwrap() >= 1.0);
    assert_eq!(figure("airlock_backup_last_timestamp_seconds").await, Some(0.0));
    assert!(server.log().contains("the backup can't be made now; this is tried again"), "{}", server.log());
    let run = client.trigger("remembered", json!({})).await;
    assert_eq!(client.finished("remembered", &run).await["state"], "success", "others are not concerned");

    bucket.come_back().await;
    until("the backup", Duration::from_mins(1), async || {
        (!bucket.keys_below("backups/backups").is_empty()).then_some(())
    })
    .await;
    until("no warning any more", Duration::from_secs(30), async || warned().await.is_none().then_some(())).await;
    assert_eq!(figure("airlock_backups_total{result=\"made\"}").await, Some(1.0));
    assert!(figure("airlock_backup_last_timestamp_seconds").await.unwrap() > 1_700_000_000.0);
}

#[tokio::test]
async fn what_a_bucket_has_too_much_or_too_little_is_found_and_mended() {
    let bucket = Bucket::local().await;
    let (mut server, _, runs) = with_history_of(on(&bucket, "files")).await;
    let cli = with_settings(Shell::signed_in(&server).await, &bucket, "files");
    let data = server.data_dir();
    let check = ["storage", "check", "--data-dir", text(&data), "-o", "json"];
    assert_eq!(cli.run(&check).await.json(), json!([]));

    let (forgotten, young) =
        ("xcoms/ab/00000000000000000000000000000000ab", "xcoms/ab/00000000000000000000000000000001ab");
    bucket.put_dated(
        &format!("files/{forgotten}"),
        b"left behind",
        Some(SystemTime::UNIX_EPOCH + Duration::from_hours(1)),
    );
    bucket.put_dated(&format!("files/{young}"), b"in flight", None);
    let found = cli.run(&check).await;
    assert_eq!(found.code, 1);
    assert!(found.out.contains(forgotten) && !found.out.contains(young), "{}", found.out);
    let repair = ["storage", "check", "--data-dir", text(&data), "-o", "json", "--repair"];
    cli.run(&repair).await.ok();
    server.stop().await;
    server.restart().await;
    let client = server.client().await;
    until("the collector", Duration::from_mins(1), async || {
        bucket.read(&format!("files/{forgotten}")).is_none().then_some(())
    })
    .await;
    assert!(bucket.read(&format!("files/{young}")).is_some());
    assert_eq!(cli.run(&check).await.json(), json!([]));

    // What a row names is gone: it is told whose it was, and a backup brings it back.
    let backups = at(&bucket, "backups");
    cli.run(&["backup", &backups, "--data-dir", text(&data)]).await.ok();
    let lost = bucket.keys_below("files/artifacts");
    assert!(!lost.is_empty());
    for key in &lost {
        bucket.delete(key);
    }
    let found = cli.run(&check).await;
    assert_eq!(found.code, 1);
    assert!(found.out.contains("the object is not there") && found.out.contains("remembered "), "{}", found.out);
    for key in &lost {
        let copied = key.replacen("files/", "backups/objects/", 1);
        let content = bucket.read(&copied).unwrap_or_else(|| panic!("`{copied}` is not in the backup"));
        bucket.put_dated(key, &content, None);
    }
    assert_eq!(cli.run(&check).await.json(), json!([]));

    // Or the runs go, and with them the rows.
    for key in &lost {
        bucket.delete(key);
    }
    for run in &runs {
        client.delete(&format!("/api/v2/dags/remembered/dagRuns/{run}")).await.ok();
    }
    until("rows that fit again", Duration::from_mins(1), async || {
        (cli.run(&check).await.out.trim() == "[]").then_some(())
    })
    .await;
}
