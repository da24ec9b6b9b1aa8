//! Webhooks: who knows the secret starts runs, and nobody else learns anything.

use axum::{
    body::Body,
    http::{Method, Request},
};
use serde_json::{Value, json};

use super::{Answer, TestApi};
use crate::{
    model::time::Clock,
    secrets::{
        SecretString,
        hook::{self, Signed},
    },
};

/// Sends a payload as another system does.
async fn send(api: &TestApi, dag_id: &str, secret: &str, late_s: i64, key: Option<&str>, body: &str) -> Answer {
    let timestamp = (Clock.now().as_micros() / 1_000_000 - late_s).to_string();
    let signed = Signed { timestamp: &timestamp, target: dag_id, key: key.unwrap_or_default(), body: body.as_bytes() };
    let signature = hook::sign(&SecretString::from(secret.to_owned()), signed);
    let request = Request::builder().method(Method::POST).uri(format!("/hooks/{dag_id}"));
    let request = request.header("x-airlock-timestamp", timestamp).header("x-airlock-signature", signature);
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    api.raw(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_signed_payload_starts_a_run_and_the_same_key_answers_it() {
    let api = TestApi::new().await;
    api.get("/api/v2/dags/flow/webhook").await.refused(404);
    let made = api.send(Method::PUT, "/api/v2/dags/flow/webhook", None).await.ok();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!((&made["path"], &made["created_by"]), (&json!("/hooks/flow"), &json!("admin")));
    assert_eq!(api.get("/api/v2/dags/flow/webhook").await.ok().get("secret"), None);

    let answer = send(&api, "flow", secret, 0, Some("order 7"), r#"{"target": 9}"#).await;
    assert_eq!(answer.status, 201);
    let run = answer.ok();
    assert_eq!((&run["conf"], &run["triggering_user_name"]), (&json!({"target": 9}), &json!("webhook")));
    let again = send(&api, "flow", secret, 0, Some("order 7"), r#"{"target":9}"#).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.ok()["dag_run_id"], run["dag_run_id"]);
    send(&api, "flow", secret, 0, Some("order 7"), r#"{"target": 8}"#).await.refused(409);
    send(&api, "flow", secret, 0, Some(""), "{}").await.refused(400);
    let other = send(&api, "flow", secret, 0, Some("order 8"), "").await.ok();
    assert_ne!(other["dag_run_id"], run["dag_run_id"]);

    send(&api, "flow", secret, 0, None, r#"{"target": 0}"#).await.refused(422);
    send(&api, "flow", secret, 0, None, "[]").await.refused(422);
}

#[tokio::test]
async fn a_copy_of_a_request_starts_nothing_new() {
    let api = TestApi::new().await;
    let made = api.send(Method::PUT, "/api/v2/dags/flow/webhook", None).await.ok();
    let secret = SecretString::from(made["secret"].as_str().unwrap().to_owned());
    let timestamp = (Clock.now().as_micros() / 1_000_000).to_string();
    let signature = hook::sign(&secret, Signed { timestamp: &timestamp, target: "flow", key: "", body: b"{}" });
    let request = || {
        let request = Request::builder().method(Method::POST).uri("/hooks/flow");
        let request = request.header("x-airlock-timestamp", &timestamp).header("x-airlock-signature", &signature);
        api.raw(request.body(Body::from("{}")).unwrap())
    };
    let first = request().await.ok();
    assert_eq!(request().await.ok()["dag_run_id"], first["dag_run_id"]);
    // Nor if it is written otherwise: the digits of its signature are the same.
    let large = signature.to_uppercase().replace("SHA256=", "sha256=");
    let request = Request::builder().method(Method::POST).uri("/hooks/flow");
    let request = request.header("x-airlock-timestamp", &timestamp).header("x-airlock-signature", large);
    let answer = api.raw(request.body(Body::from("{}")).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.ok()["dag_run_id"]), (200, &first["dag_run_id"]));
    // Nor with a key that it was not signed with, nor for a task that waits.
    let changed = |uri: &str, key: Option<&str>| {
        let request = Request::builder().method(Method::POST).uri(uri);
        let request = request.header("x-airlock-timestamp", &timestamp).header("x-airlock-signature", &signature);
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        api.raw(request.body(Body::from("{}")).unwrap())
    };
    changed("/hooks/flow", Some("another")).await.refused(401);
    changed("/hooks/flow/run/task", None).await.refused(401);
}

#[tokio::test]
async fn one_key_that_comes_several_times_at_once_is_one_run() {
    let api = TestApi::new().await;
    let made = api.send(Method::PUT, "/api/v2/dags/flow/webhook", None).await.ok();
    let secret = made["secret"].as_str().unwrap();
    let before = api.get("/api/v2/dags/flow/dagRuns").await.ok()["total_entries"].as_i64().unwrap();
    let all = (0..8).map(|_| send(&api, "flow", secret, 0, Some("order 7"), r#"{"target": 9}"#));
    let answers = futures_util::future::join_all(all).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    let ids: std::collections::BTreeSet<_> =
        answers.into_iter().map(|answer| answer.ok()["dag_run_id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(api.get("/api/v2/dags/flow/dagRuns").await.ok()["total_entries"], before + 1);
}

#[tokio::test]
async fn who_does_not_know_the_secret_learns_nothing() {
    let api = TestApi::new().await;
    let without_id = |mut answer: Value| {
        answer.as_object_mut().unwrap().remove("request_id");
        answer.as_object_mut().unwrap().remove("instance");
        answer
    };
    let none_there = without_id(send(&api, "missing", "guess", 0, None, "{}").await.refused(401));
    assert_eq!(without_id(send(&api, "flow", "guess", 0, None, "{}").await.refused(401)), none_there, "no webhook");
    let made = api.send(Method::PUT, "/api/v2/dags/flow/webhook", None).await.ok();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(without_id(send(&api, "flow", "guess", 0, None, "{}").await.refused(401)), none_there, "wrong");
    assert_eq!(without_id(send(&api, "flow", "", 0, None, "{}").await.refused(401)), none_there, "empty");
    assert_eq!(without_id(send(&api, "flow", secret, 301, None, "{}").await.refused(401)), none_there, "old");
    let unsigned = Request::builder().method(Method::POST).uri("/hooks/flow").body(Body::from("{}")).unwrap();
    assert_eq!(without_id(api.raw(unsigned).await.refused(401)), none_there, "unsigned");

    api.send(Method::PUT, "/api/v2/dags/flow/webhook", None).await.ok();
    assert_eq!(without_id(send(&api, "flow", secret, 0, None, "{}").await.refused(401)), none_there, "replaced");
    assert_eq!(api.delete("/api/v2/dags/flow/webhook").await.status, 204);
    api.delete("/api/v2/dags/flow/webhook").await.refused(404);
    let long = "x".repeat((1 << 20) + 1);
    send(&api, "flow", secret, 0, None, &long).await.refused(413);
}
