//! Airflow's own Python client, from PyPI, against Airlock.

use std::{env, process::Command};

use airlock_tests::{Server, build};

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
    let python = env::var_os("AIRLOCK_TEST_PYTHON").expect(
        "`cargo xtask test` installs apache-airflow-client and names its Python in AIRLOCK_TEST_PYTHON; \
         else do so by hand: python3 -m venv DIR && DIR/bin/pip install apache-airflow-client",
    );
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("hello")).await.ok();
    client.upload(build::component("control")).await.ok();
    client.upload(DAG.into()).await.ok();

    let script = build::root().join("tests").join("python").join("client.py");
    let mut command = Command::new(python);
    command.arg(script).args(["--url", &server.url, "--token", client.token.as_deref().unwrap_or_default()]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}
