//! What comes from PyPI, against Airlock: Airflow's own Python client, and tasks that are written in Python.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use airlock_tests::{Server, build};
use serde_json::json;

/// Each call goes by way of C, and takes some 1,700 bytes of the sandbox's stack.
const DEEP: &str = "
import functools

@functools.cache
def depth(n):
    return n and depth(n - 1) + 1

@task
def deep():
    return depth(900)
";

/// Has what the client asks for beyond a plain dag: a group, an asset, a tag, a pool that is not there.
const DAG: &str = "
dag_id: client_dag
tags: [client]
tasks:
  first: {uses: control/empty, group: parts, outlets: [client_asset]}
  second: {uses: control/empty, group: parts}
  waits: {uses: control/empty, needs: [parts], pool: no_such_pool}
groups:
  parts: {}
";

#[tokio::test]
async fn airflows_python_client_works() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hello")).await.ok();
    client.upload(build::component("control")).await.ok();
    client.upload(DAG.into()).await.ok();

    let script = build::root().join("tests").join("python").join("client.py");
    let mut command = Command::new(python());
    command.arg(script).args(["--url", &server.url, "--token", client.token.as_deref().unwrap_or_default()]);
    succeed(command).await;
}

#[tokio::test]
async fn the_python_tasks_of_the_docs_run() {
    let docs = include_str!("../../docs/languages.md");
    let example = |language: &str| {
        let (_, rest) = docs.split_once(&format!("```{language}\n")).expect("an example begins");
        rest.split("```").next().expect("it ends").to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("shop.py"), example("python") + DEEP).unwrap();
    let mut command = Command::new(Path::new(&python()).with_file_name("componentize-py"));
    command.current_dir(folder.path()).arg("-d").arg(build::root().join("wit"));
    command.args(["-w", "task", "componentize", "shop", "-o", "shop.wasm"]);
    succeed(command).await;

    let server = Server::start().await;
    let client = server.client().await;
    client.post("/api/v2/variables", &json!({"key": "shop_currency", "value": "KRW"})).await.ok();
    client.upload(fs::read(folder.path().join("shop.wasm")).unwrap()).await.ok();
    client.upload((example("yaml") + "---\ndag_id: deep\ntasks: {deep: {uses: shop/deep}}\n").into()).await.ok();

    let run_id = client.trigger("shop", json!({})).await;
    assert_eq!(client.finished("shop", &run_id).await["state"], "success");
    assert_eq!(client.xcom("shop", &run_id, "total", "return_value").await, json!(42.5));
    assert_eq!(client.log("shop", &run_id, "total", 1).await, "adding up 2 orders\n");

    let run_id = client.trigger("shop", json!({"minimum": 100})).await;
    assert_eq!(client.finished("shop", &run_id).await["state"], "failed");
    let log = client.log("shop", &run_id, "total", 2).await;
    assert!(log.contains("\"/0/shop.py\", line ") && log.ends_with("\nValueError: 42.5 is less than 100\n"), "{log}");

    let run_id = client.trigger("deep", json!({})).await;
    assert_eq!(client.finished("deep", &run_id).await["state"], "success");
}

fn python() -> OsString {
    env::var_os("AIRLOCK_TEST_PYTHON").expect(
        "`cargo xtask test` installs apache-airflow-client and componentize-py and names their Python in AIRLOCK_TEST_PYTHON; \
         else do so by hand: python3 -m venv DIR && DIR/bin/pip install apache-airflow-client componentize-py",
    )
}

async fn succeed(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}
