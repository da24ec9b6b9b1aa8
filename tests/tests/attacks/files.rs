//! What lies on the disk, and what is said to have been set.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use airlock_tests::{Client, Server, build};
use serde_json::json;
use tokio::task::JoinSet;

use super::{assert_unharmed, raw, status};

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        }
        all.push(path);
    }
    all
}

#[tokio::test]
async fn cf_001_cf_009_keys_are_random_and_what_is_written_is_nobody_elses() {
    let (one, two) = (Server::start().await, Server::start().await);
    let key = |server: &Server| fs::read_to_string(server.data_dir().join("secret.key")).unwrap();
    assert_ne!(key(&one), key(&two));
    let client = one.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("canary", json!({})).await;
    client.finished("canary", &run_id).await;
    for path in files(&one.data_dir()) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", path.display());
    }
    for pid in one.processes() {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or("0 0");
        assert!(core.split_whitespace().filter(|word| *word == "0").count() >= 2, "{core}");
    }
    // A session of one is nothing to the other.
    let foreign = Client { token: client.token.clone(), ..Client::anonymous(&two.url) };
    foreign.get("/api/v2/dags").await.refused(401);
}

/// What `airlock serve` says when it does not start.
fn refused_start(folder: &Path, env: &[(&str, &str)], config: Option<&[u8]>) -> String {
    let mut command = Command::new("timeout");
    command
        .arg("20")
        .arg(build::binary())
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen", "127.0.0.1:0"]);
    if let Some(config) = config {
        let path = folder.join("airlock.toml");
        fs::write(&path, config).unwrap();
        command.arg("--config").arg(path);
    }
    command.env_clear().envs(env.iter().copied()).current_dir(folder);
    let output = command.output().unwrap();
    assert!(!matches!(output.status.code(), None | Some(0 | 124)), "it started: {env:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn cf_011_cf_014_settings_that_are_wrong_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, value, said) in [
        ("AIRLOCK_PARALLELISM", "0", "parallelism"),
        ("AIRLOCK_PARALLELISM", "-1", "parallelism"),
        ("AIRLOCK_PARALLELISM", "18446744073709551616", "parallelism"),
        ("AIRLOCK_DATABASE_SYNCHRONOUS", "sometimes", "database.synchronous"),
        ("AIRLOCK_NONSENSE", "1", "AIRLOCK_NONSENSE"),
        ("AIRLOCK_SERVER_TRUSTED_PROXIES", "0.0.0.0/0", "server.trusted_proxies"),
        ("AIRLOCK_SERVER_TRUSTED_PROXIES", "::/0", "server.trusted_proxies"),
        ("AIRLOCK_SECRET_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "secret key"),
        ("AIRLOCK_SECRET_KEY", "short", "secret key"),
        ("AIRLOCK_ADMIN_PASSWORD", "admin", "password"),
        ("AIRLOCK_ADMIN_PASSWORD", "password1", "password"),
    ] {
        let stderr = refused_start(folder, &[(name, value)], None);
        assert!(stderr.contains(said), "{name}={value}: {stderr}");
    }
    let big = [&b"# "[..], &vec![b'x'; 2 << 20], b"\nnonsense = 1\n"].concat();
    for (config, said) in [
        (&b"nonsense = 1"[..], "nonsense"),
        (b"parallelism = [1]", "parallelism"),
        (b"parallelism = 1\nparallelism = 2", "airlock.toml"),
        (b"listen = \"a\0b\"", "airlock.toml"),
        (b"\xff\xfe", "airlock.toml"),
        (&big, "nonsense"),
    ] {
        let stderr = refused_start(folder, &[], Some(config));
        assert!(stderr.contains(said) && stderr.len() < 10_000, "{said}: {stderr}");
    }
}

#[tokio::test]
async fn cf_008_addresses_with_passwords_stand_in_no_log_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("AIRLOCK_DATABASE_URL", "postgres://ada:s3cr3t-canary@127.0.0.1:1/x"),
        ("AIRLOCK_STORAGE_URL", "s3://b?endpoint=http://ada:s3cr3t-canary@127.0.0.1:1&allow_http=true"),
    ] {
        let env = [(name, value), ("AIRLOCK_LOG_LEVEL", "trace"), ("RUST_BACKTRACE", "full")];
        let mut command = Command::new("timeout");
        command.arg("20").arg(build::binary()).arg("serve").arg("--data-dir").arg(folder.path().join(name));
        command.args(["--listen", "127.0.0.1:0"]).env_clear().envs(env).current_dir(folder.path());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &*String::from_utf8_lossy(&output.stdout);
        assert!(!said.contains("s3cr3t-canary"), "{name}: {said}");
    }
}

#[tokio::test]
async fn cr_004_an_upload_that_is_interrupted_is_there_or_not() {
    let mut server = Server::start().await;
    for round in 0..8_u64 {
        let client = server.client().await;
        let wasm = build::component(if round % 2 == 0 { "hello" } else { "hostile" });
        let mut upload = JoinSet::new();
        upload.spawn(async move {
            let request = client.request(reqwest::Method::POST, "/api/v2/components");
            client.try_send(request.body(wasm)).await
        });
        tokio::time::sleep(std::time::Duration::from_millis(150 * round)).await;
        server.kill();
        let answered = upload.join_next().await.unwrap().unwrap().is_some_and(|answer| answer.status.is_success());
        server.restart().await;
        let client = server.client().await;
        let components = client.list("/api/v2/components", "components").await;
        let dags = client.list("/api/v2/dags", "dags").await;
        assert!(!answered || !components.is_empty(), "what was answered is there");
        for component in &components {
            assert!(
                component["dag_ids"].as_array().unwrap().iter().all(|id| dags.iter().any(|dag| dag["dag_id"] == *id))
            );
            let path = format!("/api/v2/components/{}/wasm", component["digest"].as_str().unwrap());
            assert!(client.request(reqwest::Method::GET, &path).send().await.unwrap().status().is_success());
        }
    }
}

#[tokio::test]
async fn fa_007_what_was_changed_in_storage_is_never_run_nor_shown_as_whole() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    server.stop().await;
    // Both the component and its compiled code are not what they were.
    for path in files(&server.data_dir()) {
        let name = path.to_string_lossy().into_owned();
        // Whose storage it is, is another matter: with another mark nothing starts.
        let is_mark = name.ends_with("/airlock-storage");
        if path.is_file() && !is_mark && (name.contains("/blobs/") || name.contains("/compiled/")) {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            let mut mode = fs::metadata(&path).unwrap().permissions();
            mode.set_mode(0o600);
            fs::set_permissions(&path, mode).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    server.restart().await;
    let pid = server.pid();
    let client = server.client().await;
    let run_id = client.trigger("canary", json!({})).await;
    assert_eq!(client.finished("canary", &run_id).await["state"], "failed", "a component that was changed was run");
    assert_unharmed(&server, pid).await;
}

#[tokio::test]
async fn ap_009_no_path_leads_out_of_where_things_are_kept() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();
    let run_id = client.trigger("canary", json!({})).await;
    client.finished("canary", &run_id).await;
    let token = client.token.clone().unwrap();
    let host = server.url.trim_start_matches("http://").to_owned();
    let tricks = [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%252e%252e%252fetc%252fpasswd",
        "..\\..\\etc\\passwd",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "%00",
        "a%00.txt",
        "%c0%ae%c0%ae%c0%af",
        "%e0%80%ae",
        "..;/..;/etc/passwd",
        "%ff%fe",
        "a%0d%0ax:%20y",
        "....//",
        ".",
        "..",
        "%2e%2e",
        "~",
        "-1",
        "%f0%9f%92%a9",
        "CON",
        "a%3a%3a$DATA",
    ];
    let run = format!("/api/v2/dags/canary/dagRuns/{run_id}/taskInstances");
    for trick in tricks {
        for path in [
            format!("{run}/echo/logs/{trick}"),
            format!("{run}/{trick}/logs/1"),
            format!("{run}/echo/artifacts/{trick}"),
            format!("{run}/echo/recordings/{trick}"),
            format!("{run}/echo/xcomEntries/{trick}/content"),
            format!("/api/v2/dags/canary/dagRuns/{trick}"),
            format!("/api/v2/dags/{trick}"),
            format!("/api/v2/components/{trick}/wasm"),
            format!("/static/{trick}/{trick}"),
            format!("/static/x/{trick}"),
            format!("/dags/{trick}"),
            format!("/components/{trick}"),
            format!("/dags/canary/runs/{run_id}/tasks/echo/artifact?name={trick}"),
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
            );
            let answer = raw(&server, request.as_bytes()).await;
            // `~` stands for all where that is known.
            let is_fine =
                (400..500).contains(&status(&answer)) || (trick == "~" || trick == ".") || status(&answer) == 303;
            assert!(is_fine && !answer.contains("root:"), "{path}: {answer}");
            let head = answer.split("\r\n\r\n").next().unwrap_or_default();
            assert!(!head.contains("\r\nx: y"), "{path}: {head}");
            assert!(status(&answer) < 500, "{path}: {answer}");
        }
    }
}
