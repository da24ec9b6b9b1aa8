//! Keys and their rotation, and values that are kept outside of the database.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use airlock_tests::{Client, Peer, Server, Shell, build, until};
use serde_json::{Value, json};

/// Two keys of 32 bytes.
const KEYS: [&str; 2] =
    ["9jgTwVVan2yDl8r0jtlkfsPDqvLv8eVsbcCFQQYX8kY=", "phcuOKbUvt8obZt6E5q2SudxoX8Upokq2ZLNAmqxq6Q="];

async fn set(client: &Client, key: &str, value: &str) {
    client.post("/api/v2/variables", &json!({"key": key, "value": value})).await.ok();
}

async fn value(client: &Client, key: &str) -> Value {
    client.get(&format!("/api/v2/variables/{key}")).await.ok()["value"].clone()
}

async fn keys(client: &Client) -> Value {
    client.get("/api/v2/secrets/keys").await.ok()
}

async fn all_sealed_anew(client: &Client) -> Value {
    until("all is sealed anew", Duration::from_secs(30), async || {
        let keys = keys(client).await;
        (keys["waiting"] == 0).then_some(keys)
    })
    .await
}

#[tokio::test]
async fn keys_are_rotated_while_the_server_serves_and_over_a_crash() {
    let mut server = Server::start().await;
    let client = server.client().await;
    for nth in 0..300 {
        set(&client, &format!("v{nth}"), &format!("value {nth}")).await;
    }
    let first = keys(&client).await["data_keys"][0]["id"].clone();
    client.post("/api/v2/secrets/keys/rotate", &json!({})).await.ok();
    // In the middle of it, as likely as not.
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let now = all_sealed_anew(&client).await;
    assert_ne!(now["data_keys"][0]["id"], first);
    assert_eq!(now["data_keys"][0]["values"], 300, "{now}");
    assert_eq!(now["data_keys"][1]["id"], first, "it is kept for a while: {now}");
    for nth in [0, 150, 299] {
        assert_eq!(value(&client, &format!("v{nth}")).await, json!(format!("value {nth}")));
    }
    let shell = Shell::signed_in(&server).await;
    let told = shell.run(&["-o", "json", "secrets", "rotate"]).await.json();
    assert_eq!((&told["waiting"], told["data_keys"].as_array().map(Vec::len)), (&json!(0), Some(3)), "{told}");
    let events = client.get("/api/v2/eventLogs?event=secret.rotate").await.ok();
    assert_eq!(events["total_entries"], 2, "{events}");
}

#[tokio::test]
async fn a_new_master_key_is_given_in_front_of_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let write = |keys: &[&str]| {
        fs::write(&path, keys.join("\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&KEYS[..1]);
    let command = format!("cat {}", path.display());
    let mut server = Server::builder().env("AIRLOCK_SECRET_KEY_COMMAND", &command).start().await;
    set(&server.client().await, "city", "Seoul").await;
    for (given, needed) in [(&[KEYS[1], KEYS[0]][..], json!([1, 0])), (&KEYS[1..], json!([1]))] {
        server.stop().await;
        write(given);
        server.restart().await;
        let client = server.client().await;
        let keys = keys(&client).await;
        let by: Vec<_> = keys["master_keys"].as_array().unwrap().iter().map(|key| key["needed_by"].clone()).collect();
        assert_eq!(json!(by), needed);
        assert_eq!(value(&client, "city").await, "Seoul");
    }
}

/// A Vault with one variable and one connection, for those who have the token.
async fn vault() -> Peer {
    Peer::answering(|taken| {
        let is_allowed = taken.head.contains("x-vault-token: hvs.token");
        let path = taken.head.split_whitespace().nth(1).unwrap_or_default();
        let (status, body) = match path {
            "/v1/auth/kubernetes/login" if taken.body["role"] == "airlock" && taken.body["jwt"] == "j.w.t" => {
                (200, json!({"auth": {"client_token": "hvs.token", "lease_duration": 3600}}))
            }
            _ if !is_allowed => (403, json!({"errors": ["permission denied"]})),
            "/v1/kv/data/team/airlock/variables/city" => (200, json!({"data": {"data": {"value": "Busan"}}})),
            "/v1/kv/data/team/airlock/variables/forbidden" => (500, json!({"errors": ["sealed"]})),
            "/v1/kv/data/team/airlock/connections/shop" => {
                (200, json!({"data": {"data": {"conn_type": "http", "host": "shop.example.org"}}}))
            }
            _ => (404, json!({"errors": []})),
        };
        (status, body.to_string())
    })
    .await
}

#[tokio::test]
async fn values_come_from_the_environment_from_files_from_vault_and_then_from_the_database() {
    let peer = vault().await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("variables")).unwrap();
    fs::write(folder.path().join("variables/team"), "blue").unwrap();
    fs::write(folder.path().join("jwt"), "j.w.t\n").unwrap();
    let server = Server::builder()
        .env("AIRLOCK_VAR_CODE", "seven")
        .env("AIRLOCK_SECRETS_FILES", &folder.path().display().to_string())
        .env("AIRLOCK_SECRETS_VAULT_URL", &peer.url(""))
        .env("AIRLOCK_SECRETS_VAULT_MOUNT", "kv")
        .env("AIRLOCK_SECRETS_VAULT_PATH", "team/airlock")
        .env("AIRLOCK_SECRETS_VAULT_ROLE", "airlock")
        .env("AIRLOCK_SECRETS_VAULT_JWT_FILE", &folder.path().join("jwt").display().to_string())
        .start()
        .await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    for key in ["code", "team", "city", "own", "forbidden"] {
        set(&client, key, "of the database").await;
    }
    let says = async |key: &str| {
        // The first letters are no secret: a mask needs five characters.
        let text = format!("{{{{ var.value.{key}[:3] }}}}{{{{ conn.shop.host[:4] }}}}");
        let dag = "dag_id: asks\ngrants: {variables: [code, team, city, own, forbidden], connections: [shop]}\n";
        let dag = format!("{dag}tasks: {{t: {{uses: shapes/say, with: {{text: \"{text}\"}}}}}}\n");
        client.upload(dag.into()).await.ok();
        let run_id = client.trigger("asks", json!({})).await;
        let state = client.finished("asks", &run_id).await["state"].as_str().unwrap().to_owned();
        let log = client.get(&format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/t/logs/1")).await.ok();
        (state, log.to_string())
    };
    for (key, wanted) in [("code", "sevshop"), ("team", "blushop"), ("city", "Busshop"), ("own", "of shop")] {
        let (state, log) = says(key).await;
        assert!(state == "success" && log.contains(wanted), "{key}: {log}");
    }
    // A place that can't be asked is no reason to take another value.
    let (state, log) = says("forbidden").await;
    assert!(
        state == "failed" && log.contains("500 Internal Server Error (sealed)") && log.contains("variable `forbidden`"),
        "{log}"
    );
    let asked = peer.taken();
    assert_eq!(asked.iter().filter(|taken| taken.head.contains("/login")).count(), 1, "one login is enough");
    let city = asked.iter().filter(|taken| taken.head.contains("variables/city"));
    assert_eq!(city.count(), 1, "answers are remembered");
    let sources = client.get("/api/v2/secrets/sources").await.ok();
    assert_eq!(sources["sources"][0]["variables"], json!(["code"]), "{sources}");
    assert_eq!(sources["sources"][1]["variables"], json!(["team"]), "{sources}");
    assert_eq!(sources["sources"][2]["is_partial"], json!(true), "{sources}");
}
