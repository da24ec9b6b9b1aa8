//! Objects that tasks use by connections, through the real binary and a real S3 server.

use airlock_tests::{
    Client, Server, Shell, build,
    cloud::{Cloud, Service},
    s3::{BUCKET, Bucket},
};
use serde_json::{Value, json};

async fn set(client: &Client, id: &str, fields: Value, extra: Value) {
    let mut body = fields;
    body["connection_id"] = json!(id);
    body["extra"] = json!(extra.to_string());
    client.post("/api/v2/connections", &body).await.ok();
}

fn dag(connection: &str, steps: &Value, grants: &str) -> String {
    let with = json!({"connection": connection, "steps": steps});
    format!("dag_id: asks\ngrants: {grants}\ntasks: {{t: {{uses: shapes/stored, timeout: 60s, with: {with}}}}}\n")
}

/// Runs a dag; answers its result and its log.
async fn run(client: &Client, text: String) -> (Value, String, String) {
    client.upload(text.into_bytes()).await.ok();
    let run_id = client.trigger("asks", json!({})).await;
    client.finished("asks", &run_id).await;
    let base = format!("/api/v2/dags/asks/dagRuns/{run_id}/taskInstances/t");
    let result = client.get(&format!("{base}/xcomEntries/return_value?stringify=false")).await.body["value"].clone();
    (result, client.get(&format!("{base}/logs/1")).await.ok().to_string(), run_id)
}

#[tokio::test]
async fn objects_are_read_and_written_below_the_connections_prefix() {
    let mut bucket = Bucket::local().await;
    let (address, key_id, secret_key) = bucket.endpoint();
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    let fields = || json!({"conn_type": "s3", "login": key_id, "password": secret_key});
    let url = format!("http://{address}/{BUCKET}");
    set(&client, "lake", fields(), json!({"endpoint_url": url, "prefix": "team-a"})).await;
    set(&client, "all", fields(), json!({"endpoint_url": format!("http://{address}"), "bucket_name": BUCKET})).await;
    let steps = json!([
        {"write": "raw/a b.txt", "content": "hällo"},
        {"put": "raw/large", "pieces": 120},
        {"put": "raw/dropped", "pieces": 120, "drop": true},
        {"read": "raw/a b.txt"},
        {"length": "raw/large"},
        {"list": "raw"},
        {"list": ""},
        {"head": "raw/large"},
        {"head": "raw/absent"},
        {"read": "raw/absent"},
        {"delete": "raw/large"},
        {"delete": "raw/large"},
        {"head": "raw/large"},
        {"read": "../x"},
        {"write": "/x", "content": ""},
        {"list": "a//b"},
    ]);
    let (told, log, _) = run(&client, dag("lake", &steps, "{connections: [lake]}")).await;
    let expected = json!([
        6,
        12_000_000,
        null,
        "hällo",
        [12_000_000, 12_000_000],
        ["raw/a b.txt", "raw/large"],
        ["raw/a b.txt", "raw/large"],
        12_000_000,
        null
    ]);
    assert_eq!(told.as_array().unwrap_or_else(|| panic!("{log}"))[..9], expected.as_array().unwrap()[..], "{told}");
    assert!(told[9].to_string().contains("has no object `raw/absent`"), "{told}");
    assert_eq!([&told[10], &told[11], &told[12]], [&Value::Null; 3]);
    for bad in 13..16 {
        assert!(told[bad].to_string().contains("is no key of an object"), "{told}");
    }
    assert!(!log.contains(secret_key), "{log}");
    let (told, log, _) =
        run(&client, dag("all", &json!([{"list": ""}, {"list": "team-a/raw"}]), "{connections: [all]}")).await;
    assert_eq!(told, json!([["team-a/raw/a b.txt"], ["team-a/raw/a b.txt"]]), "{log}");

    // Not without the grant, not with wrong keys, not to where machines keep their credentials, not with another type.
    set(
        &client,
        "wrong",
        json!({"conn_type": "s3", "login": key_id, "password": "wrong-key-4711"}),
        json!({"endpoint_url": url}),
    )
    .await;
    set(&client, "cloud", fields(), json!({"endpoint_url": "http://169.254.169.254/latest"})).await;
    set(&client, "web", json!({"conn_type": "http", "host": url}), json!({})).await;
    for (id, grants, expected) in [
        ("lake", "{connections: [all]}", "grant `connection:lake` is missing"),
        ("wrong", "{connections: [wrong]}", "refuses: its credentials are wrong"),
        ("cloud", "{connections: [cloud]}", "its host is link-local"),
        ("web", "{connections: [web]}", "is of type `http`"),
    ] {
        let (told, log, _) = run(&client, dag(id, &json!([{"read": "a"}]), grants)).await;
        assert!(told[0].to_string().contains(expected), "{id}: {told} {log}");
    }

    // A recorded attempt is replayed when the storage is gone.
    let text = dag(
        "lake",
        &json!([{"read": "raw/a b.txt"}, {"put": "new", "pieces": 3}, {"list": ""}]),
        "{connections: [lake]}",
    );
    let (told, _, run_id) = run(&client, text.replace("grants:", "record: always\ngrants:")).await;
    assert_eq!(told[1], 300_000);
    bucket.go_down();
    let shell = Shell::signed_in(&server).await;
    let told = shell.run(&["replay", "asks", &run_id, "t", "--output", "json"]).await.ok();
    let end: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(end["same"], true, "{told}");
}

#[tokio::test]
async fn the_installations_own_objects_may_be_with_azure_or_google() {
    for (service, scheme) in [(Service::Azure, "az"), (Service::Google, "gs")] {
        let cloud = Cloud::start(service).await;
        let mut builder = Server::builder().env("AIRLOCK_STORAGE_URL", &cloud.url(scheme));
        for (name, value) in cloud.env() {
            builder = builder.env(name, value);
        }
        let mut server = builder.start().await;
        let client = server.client().await;
        client.upload(build::component("hostile")).await.ok();
        let run_id = client.trigger("busy_bees", json!({"steps": 1})).await;
        assert_eq!(client.finished("busy_bees", &run_id).await["state"], "success");
        // What was compiled is gone, and comes from there again.
        server.stop().await;
        std::fs::remove_dir_all(server.data_dir().join("compiled")).unwrap();
        server.restart().await;
        let client = server.client().await;
        let run_id = client.trigger("canary", json!({})).await;
        assert_eq!(client.finished("canary", &run_id).await["state"], "success");
        assert!(cloud.keys().iter().any(|key| key.starts_with("files/components/")), "{:?}", cloud.keys());
    }
}
