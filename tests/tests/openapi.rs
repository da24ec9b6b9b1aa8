//! The API against its own document: schemathesis, from PyPI, makes up requests - those that the document allows, and those that it does
//! not - and looks whether the answers are what it says, and none is a 5xx.
//!
//! A short run as each of two roles here; `cargo xtask schemathesis --examples 1000` is a long one.

use std::{env, path::Path, process::Command};

use airlock_tests::{Client, Server, build};
use reqwest::Method;
use serde_json::json;

/// Requests of each kind for each operation.
const EXAMPLES: &str = "AIRLOCK_SCHEMATHESIS_EXAMPLES";
/// What ends the session of who asks, does not end, takes long, or leads to the page.
const EXCLUDED: &str = "/events$|/users/me|/auth/token|/auth/login$|signOut|/rotate$|/wait$|/retention/run$";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
    ensure_resource_availability,ignored_auth,use_after_free";

/// Runs schemathesis as the client's user; answers how many requests it made.
async fn schemathesis(client: &Client, known: bool) -> u64 {
    let python =
        env::var_os("AIRLOCK_TEST_PYTHON").expect("`cargo xtask test` installs schemathesis and names its Python");
    let examples = env::var(EXAMPLES).ok();
    let mut command = Command::new(python);
    command.args(["-m", "schemathesis.cli"]);
    if known {
        command.arg("--config-file").arg(build::root().join("tests/python/schemathesis.toml"));
    }
    command.args(["run", &format!("{}/openapi.json", client.base)]);
    command.args(["--header", &format!("Authorization: Bearer {}", client.token.as_deref().unwrap_or_default())]);
    command.args([
        "--exclude-path-regex",
        EXCLUDED,
        "--checks",
        CHECKS,
        "--continue-on-failure",
        "--generation-deterministic",
    ]);
    command.args(["--request-timeout", "30", "--no-color", "--warnings", "off"]);
    match &examples {
        Some(examples) => command.args(["--max-examples", examples]),
        None => command.args(["--max-examples", "5", "--no-shrink", "--max-time", "20"]),
    };
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(Path::new(folder.path()));
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let (_, after) = said.split_once("Test cases:").unwrap_or_else(|| panic!("no count in {said}"));
    after.split_whitespace().next().and_then(|count| count.replace(',', "").parse().ok()).unwrap()
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let server = Server::start().await;
    let admin = server.client().await;
    for component in ["hostile", "hello"] {
        admin.upload(build::component(component)).await.ok();
    }
    let run = json!({"dag_run_id": "known", "logical_date": null, "conf": {"text": "tweet"}});
    admin.post("/api/v2/dags/canary/dagRuns", &run).await.ok();
    admin.finished("canary", "known").await;
    admin.post("/api/v2/variables", &json!({"key": "known", "value": "x"})).await.ok();
    admin
        .post("/api/v2/connections", &json!({"connection_id": "known", "conn_type": "http", "host": "x.example"}))
        .await
        .ok();
    admin.post("/api/v2/pools", &json!({"name": "known", "slots": 1})).await.ok();
    let put = admin.request(Method::PUT, "/api/v2/dags/canary/retention").json(&json!({"runs_days": 30}));
    admin.send(put).await.ok();
    let body = json!({"username": "vera", "password": "tall giraffes eat at noon", "role": "viewer"});
    admin.post("/api/v2/users", &body).await.ok();
    let viewer = Client::signed_in(&server.url, "vera", "tall giraffes eat at noon").await;

    let mut cases = 0;
    for (client, known) in [(&viewer, true), (&admin, false), (&admin, true)] {
        cases += schemathesis(client, known).await;
    }
    println!("schemathesis: {cases} requests, 0 answers of 5xx, 0 that the document does not allow");
    assert_eq!(admin.get("/api/v2/monitor/health").await.ok()["scheduler"]["status"], "healthy");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
