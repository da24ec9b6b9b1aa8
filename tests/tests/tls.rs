//! Servers and workers that speak TLS with each other, and what they say where that can't be.

use std::{fs, process::Command};

use airlock_tests::{
    Authority, Client, Server, Worker, build,
    http::RUN_LIMIT,
    server::{Builder, SECRET_KEY},
    until,
};
use serde_json::json;

use crate::cluster::{Place, is_led};

const TOKEN: &str = "a token that workers show";
/// A year that is far, and one that is over.
const LATER: i32 = 2200;
const BEFORE: i32 = 2020;

fn taking_workers(server: Builder) -> Builder {
    server.env("AIRLOCK_WORKERS_TOKEN", TOKEN).env("AIRLOCK_WORKERS_LOCAL", "false")
}

/// Waits until the worker says `what` and checks that it does not say its token.
async fn says(worker: &Worker, what: &str) {
    until(&format!("a worker that says `{what}`"), RUN_LIMIT, async || worker.log().contains(what).then_some(())).await;
    assert!(!worker.log().contains(TOKEN), "{}", worker.log());
}

#[tokio::test]
async fn processes_speak_tls_with_each_other() {
    let (place, authority) = (Place::new().await, Authority::new("ours"));
    let issued = authority.issue("127.0.0.1", LATER);
    let server = || taking_workers(place.process()).tls(&authority, &issued);
    let mut first = server().start().await;
    let second = server().start().await;
    assert!(first.url.starts_with("https://"), "{}", first.url);

    // One is asked and another answers; a worker is sent on to who leads.
    let client = second.client().await;
    client.upload(build::component("hostile")).await.ok();
    let worker = Worker::trusting(&second.url, TOKEN, "a", 4, &authority);
    let run = async |text: &str| {
        let run_id = client.trigger("canary", json!({ "text": text })).await;
        assert_eq!(client.finished("canary", &run_id).await["state"], "success");
        let xcom = format!("/api/v2/dags/canary/dagRuns/{run_id}/taskInstances/echo/xcomEntries/return_value");
        assert_eq!(client.get(&xcom).await.ok()["value"], text);
    };
    run("far away").await;
    assert!(worker.log().contains(&first.url), "{}", worker.log());
    first.kill();
    is_led(&second).await;
    run("further").await;
    assert!(worker.log().contains(&second.url), "{}", worker.log());
}

#[tokio::test]
async fn a_proxy_that_is_not_named_is_told_of_once() {
    let server = Server::start().await;
    let client = Client::anonymous(&server.url);
    for _ in 0..2 {
        let asked = client.http.get(format!("{}/livez", server.url)).header("x-forwarded-proto", "https");
        assert_eq!(asked.send().await.unwrap().headers().get("strict-transport-security"), None);
    }
    let told = || server.log().matches("name it in `server.trusted_proxies`").count();
    until("the log", RUN_LIMIT, async || (told() > 0).then_some(())).await;
    assert_eq!(told(), 1, "{}", server.log());
}

#[tokio::test]
async fn what_is_wrong_with_a_connection_is_told_by_the_worker() {
    let authority = Authority::new("ours");
    let issued = authority.issue("127.0.0.1", LATER);
    let server = taking_workers(Server::builder()).tls(&authority, &issued).start().await;
    let client = server.client().await;
    client.upload(build::component("hostile")).await.ok();

    for (stranger, why) in [("another", "UnknownIssuer"), ("ours", "BadSignature")] {
        let stranger = Authority::new(stranger);
        let unknown = Worker::trusting(&server.url, TOKEN, "unknown", 4, &stranger);
        says(&unknown, &format!("{why} (name the file of your authority's certificate by SSL_CERT_FILE)")).await;
    }
    let elsewhere = server.url.replace("127.0.0.1", "localhost");
    let elsewhere = Worker::trusting(&elsewhere, TOKEN, "elsewhere", 4, &authority);
    says(&elsewhere, "certificate not valid for name").await;
    let mut plain = Worker::start(&server.url.replace("https", "http"), TOKEN, "plain", 4);
    assert!(!plain.ended().await.success());
    says(&plain, "400 Bad Request: this address speaks TLS only: ask for https://").await;
    let no_tls = taking_workers(Server::builder()).start().await;
    let no_tls = Worker::trusting(&no_tls.url.replace("http", "https"), TOKEN, "no-tls", 4, &authority);
    says(&no_tls, "what answers there speaks no TLS").await;

    // A certificate whose time is over is one that can be renewed: nobody has to be started again.
    let expired = authority.issue("127.0.0.1", BEFORE);
    let put = |from: &airlock_tests::authority::Issued| {
        fs::copy(&from.key, &issued.key).unwrap();
        fs::copy(&from.cert, &issued.cert).unwrap();
    };
    let kept = authority.issue("127.0.0.1", LATER + 1);
    put(&expired);
    // The server looks at its files from time to time only.
    says(&elsewhere, "certificate expired").await;
    let worker = Worker::trusting(&server.url, TOKEN, "late", 4, &authority);
    says(&worker, "certificate expired").await;
    let run_id = client.trigger("canary", json!({ "text": "in time" })).await;
    put(&kept);
    assert_eq!(client.finished("canary", &run_id).await["state"], "success");
}

#[tokio::test]
async fn a_connection_to_a_server_of_an_unknown_authority_says_how_to_trust_it() {
    let authority = Authority::new("theirs");
    let issued = authority.issue("127.0.0.1", LATER);
    let theirs = Server::builder().tls(&authority, &issued).start().await;
    let server = Server::start().await;
    let client = server.client().await;
    let connection = json!({"connection_id": "theirs", "conn_type": "http", "host": theirs.url});
    let told = client.post("/api/v2/connections/test", &connection).await.ok();
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("UnknownIssuer; the server trusts") && message.contains("SSL_CERT_FILE"), "{message}");
}

#[tokio::test]
async fn a_token_that_was_hidden_is_not_shown_in_the_clear() {
    let (place, authority) = (Place::new().await, Authority::new("ours"));
    let issued = authority.issue("127.0.0.1", LATER);
    // It leads, and tells the others to come without.
    let first = taking_workers(place.process()).start().await;
    let second = taking_workers(place.process()).tls(&authority, &issued).start().await;
    let worker = Worker::trusting(&second.url, TOKEN, "a", 4, &authority);
    says(&worker, &format!("the server passes on to `{}", first.url)).await;
    assert_eq!(first.client().await.get("/api/v2/workers").await.ok()["workers"], json!([]));

    for (url, wanted) in
        [("http://127.0.0.1:8080", "this process speaks TLS only"), ("10.0.0.5:8080", "it is no address of a server")]
    {
        let folder = tempfile::tempdir().unwrap();
        let refused = Command::new(build::binary())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env_clear()
            .envs([("AIRLOCK_DATABASE_URL", place.url().as_str()), ("AIRLOCK_SECRET_KEY", SECRET_KEY)])
            .envs([("AIRLOCK_CLUSTER_URL", url), ("AIRLOCK_STORAGE_URL", &place.storage_url())])
            .envs([("AIRLOCK_TLS_CERT", &issued.cert), ("AIRLOCK_TLS_KEY", &issued.key)])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{told}");
        assert!(told.contains(&format!("`cluster.url` can't be `{url}`: {wanted}")), "{told}");
    }
}
