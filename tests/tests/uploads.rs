//! Uploads that must be refused, each by a message that names what is wrong, and that change nothing.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Server, Shell, build};
use reqwest::Method;
use serde_json::{Value, json};

use crate::attacks::bytes::{leb, section};

/// What the sandbox's guest does when it is described: these bytes are overwritten in the built component.
const MARK: &[u8] = b"guest-describe:ok               ";

fn described(behaviour: &str) -> Vec<u8> {
    let mut wasm = build::component("guests");
    let at = wasm.windows(MARK.len()).position(|window| window == MARK).expect("the guest has its mark");
    let text = format!("guest-describe:{behaviour:17}");
    wasm[at..at + MARK.len()].copy_from_slice(text.as_bytes());
    wasm
}

#[tokio::test]
async fn what_is_not_a_component_of_this_world_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let whole = build::component("hello");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    let cases = [
        ("nothing", Vec::new()),
        ("random bytes", (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("text", b"#!/bin/sh\nrm -rf /\n".to_vec()),
        ("a core module", b"\0asm\x01\0\0\0".to_vec()),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec()),
        ("a damaged component", damaged),
    ];
    for (what, wasm) in cases {
        let detail = client.upload(wasm).await.refused(422);
        assert!(detail.len() > 10, "{what}: {detail}");
    }
    for part in 1..20 {
        client.upload(whole[..whole.len() * part / 20].to_vec()).await.refused(422);
    }
    assert_nothing_changed(&client).await;
}

#[tokio::test]
async fn a_core_module_is_told_what_to_do() {
    let server = Server::start().await;
    let client = server.client().await;
    let detail = client.upload(b"\0asm\x01\0\0\0".to_vec()).await.refused(422);
    assert!(detail.contains("component") && detail.contains("module"), "{detail}");
}

#[tokio::test]
async fn a_body_of_100_mib_is_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let request = client.request(Method::POST, "/api/v2/components").header("content-type", "application/wasm");
    client.send(request.body(vec![0; 100 << 20])).await.refused(413);
    assert_nothing_changed(&client).await;
}

#[tokio::test]
async fn a_large_upload_without_a_token_sees_why_it_is_refused() {
    let server = Server::start().await;
    let stranger = Client::anonymous(&server.url);
    for _ in 0..5 {
        let request = stranger.request(Method::POST, "/api/v2/components").header("content-type", "application/wasm");
        stranger.send(request.body(vec![0; 30 << 20])).await.refused(401);
    }
}

#[tokio::test]
async fn a_describe_that_misbehaves_is_refused_in_time() {
    let server = Server::start().await;
    let client = server.client().await;
    for (behaviour, said) in [
        ("error", "does not feel like it"),
        ("trap", "describe had enough"),
        ("loop", ""),
        ("sleep", ""),
        ("allocate", ""),
        ("nodes", "100"),
        ("text", ""),
        ("json", ""),
        ("variable", ""),
    ] {
        let start = Instant::now();
        let detail = client.upload(described(behaviour)).await.refused(422);
        assert!(detail.contains(said), "{behaviour}: {detail}");
        assert!(start.elapsed() < Duration::from_mins(1), "{behaviour} took {:?}", start.elapsed());
    }
    assert_nothing_changed(&client).await;
    client.upload(described("ok")).await.ok();
    client.upload(described("many")).await.ok();
}

async fn assert_nothing_changed(client: &Client) {
    for (path, field) in [("/api/v2/components", "components"), ("/api/v2/dags", "dags")] {
        assert_eq!(client.list(path, field).await.len(), 0, "{path}");
    }
    assert_eq!(client.get("/api/v2/monitor/health").await.ok()["scheduler"]["status"], "healthy");
}

#[tokio::test]
async fn an_upload_that_changes_something_is_in_the_audit_log() {
    let server = Server::start().await;
    let client = server.client().await;
    let digest = client.upload(build::component("hello")).await.ok()["digest"].clone();
    client.upload(build::component("hello")).await.ok();
    client.upload(b"\0asm".to_vec()).await;
    let events = client.list("/api/v2/eventLogs?event=dag.upload", "event_logs").await;
    assert_eq!(events.len(), 1, "neither the same again nor what was refused is a change: {events:?}");
    let extra: Value = serde_json::from_str(events[0]["extra"].as_str().unwrap()).unwrap();
    assert_eq!((&extra["object"], &extra["after"]), (&digest, &json!({"dags": {"hello": 1}})));
}

#[tokio::test]
async fn a_dag_that_was_deleted_comes_back_with_the_same_bytes() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("bench")).await.ok();
    client.delete("/api/v2/dags/one_task").await.ok();
    client.get("/api/v2/dags/one_task").await.refused(404);
    client.upload(build::component("bench")).await.ok();
    let run_id = client.trigger("one_task", json!({})).await;
    assert_eq!(client.finished("one_task", &run_id).await["state"], "success");
    // The others are what they were.
    assert_eq!(client.get("/api/v2/dags/fan_100/dagVersions").await.ok()["total_entries"], 1);
}

/// A component with one more custom section.
fn with_section(wasm: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    [wasm, &section(0, &[&leb(name.len()), name.as_bytes(), data].concat())].concat()
}

#[tokio::test]
async fn what_a_component_says_of_its_origin_is_shown_and_not_believed() {
    let server = Server::start().await;
    let client = server.client().await;
    let packages = json!({"packages": [
        {"name": "hello", "version": "0.1.0", "source": "local", "root": true},
        {"name": "serde", "version": "1.0.228", "source": "crates.io"},
        {"name": "<b>cc", "version": "1.2.0", "source": "crates.io", "kind": "build"},
    ]});
    let packed = miniz_oxide::deflate::compress_to_vec_zlib(packages.to_string().as_bytes(), 6);
    let mut wasm = with_section(&build::component("hello"), ".dep-v0", &packed);
    wasm = with_section(&wasm, "licenses", b"MIT</dd><script>alert(1)</script>");
    wasm = with_section(&wasm, "source", b"javascript:alert(1)");
    let digest = client.upload(wasm).await.ok()["digest"].as_str().unwrap().to_owned();
    let component = client.get(&format!("/api/v2/components/{digest}")).await.ok();
    let said = &component["provenance"];
    assert_eq!(said["labels"]["licenses"], "MIT</dd><script>alert(1)</script>");
    let rust = said["producers"].as_array().unwrap().iter().find(|tool| tool["name"] == "rustc").expect("its compiler");
    assert_eq!(rust["field"], "processed-by");
    let found: Vec<_> = said["packages"].as_array().unwrap().iter().map(|package| &package["name"]).collect();
    assert_eq!(found, ["<b>cc", "hello", "serde"]);
    assert_eq!(said["notes"], json!([]));

    let cli = Shell::signed_in(&server).await;
    let shown = cli.run(&["components", "show", &digest]).await.ok();
    assert!(shown.contains("rustc") && shown.contains("1.0.228"), "{shown}");
    let json = cli.run(&["components", "show", &digest, "-o", "json"]).await.json();
    assert_eq!(json["provenance"], *said);
    let page =
        client.request(Method::GET, &format!("/components/{digest}")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("3 packages") && page.contains("&#60;b&#62;cc"), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("href=\"javascript"), "{page}");

    // What can't be read refuses nothing.
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(&vec![b' '; 256 << 20], 9);
    let digest = client.upload(with_section(&build::component("hello"), ".dep-v0", &bomb)).await.ok();
    let component = client.get(&format!("/api/v2/components/{}", digest["digest"].as_str().unwrap())).await.ok();
    assert_eq!(component["provenance"]["packages"], Value::Null);
    assert!(component["provenance"]["notes"][0].as_str().unwrap().contains("8 MiB"), "{component}");
}
