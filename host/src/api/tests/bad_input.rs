//! Input that is wrong, too much, or hostile.

use axum::{
    body::Body,
    http::{Method, header},
};
use serde_json::{Value, json};

use super::{HOSTILE, TestApi};

const RUNS: &str = "/api/v2/dags/flow/dagRuns";

async fn post_text(api: &TestApi, path: &str, content_type: &str, body: impl Into<Body>) -> super::Answer {
    let request = api.request(Method::POST, path).header(header::CONTENT_TYPE, content_type);
    api.raw(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn json_that_is_broken_deep_large_or_of_wrong_types_is_refused_with_its_place() {
    let api = TestApi::new().await;
    let json = "application/json";
    for broken in ["", "{", "nul", "[]", "{\"logical_date\":null} x", "\u{feff}{}"] {
        post_text(&api, RUNS, json, broken).await.refused(422);
    }
    let deep = format!("{{\"logical_date\":null,\"conf\":{}{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let problem = post_text(&api, RUNS, json, deep).await.refused(422);
    assert!(problem["detail"][0]["msg"].as_str().unwrap().contains("recursion limit"), "{problem}");
    let large = format!("{{\"logical_date\":null,\"note\":\"{}\"}}", "x".repeat(2 << 20));
    post_text(&api, RUNS, json, large).await.refused(413);
    post_text(&api, RUNS, "text/plain", "{}").await.refused(415);
    post_text(&api, RUNS, "application/x-www-form-urlencoded", "logical_date=").await.refused(415);

    for (body, place) in [
        (json!({}), "logical_date"),
        (json!({"logical_date": 5}), "logical_date"),
        (json!({"logical_date": "yesterday"}), "logical_date"),
        (json!({"logical_date": null, "conf": [1]}), "conf"),
        (json!({"logical_date": null, "conf": "{}"}), "conf"),
        (json!({"logical_date": null, "dag_run_id": "../x"}), "dag_run_id"),
        (json!({"logical_date": null, "dag_run_id": "<script>"}), "dag_run_id"),
        (json!({"logical_date": null, "note": {"a": 1}}), "note"),
        (json!({"logical_date": null, "note": "x".repeat(1_001)}), "note"),
        (json!({"logical_date": null, "surprise": 1}), "surprise"),
        (json!({"logical_date": null, "data_interval_start": "2026-01-01T00:00:00Z"}), "data_interval"),
    ] {
        let problem = api.post(RUNS, body.clone()).await.refused(422);
        assert!(problem["detail"].to_string().contains(place), "{body}: {problem}");
        assert_eq!(problem["detail"][0]["loc"][0], "body");
    }
    for (path, field) in [
        ("dags/~/dagRuns/list", "surprise"),
        ("dags/~/dagRuns/~/taskInstances/list", "surprise"),
        ("dags/~/dagRuns/~/taskInstances/list", "executor"),
        ("assets/1/materialize", "surprise"),
    ] {
        let problem = api.post(&format!("/api/v2/{path}"), json!({field: ["local"]})).await.refused(422);
        assert!(problem["detail"].to_string().contains(field), "{path}: {problem}");
        assert_eq!(problem["detail"][0]["loc"][0], "body");
    }
    for (path, body, wanted) in [
        ("connections", json!({"connection_id": "c", "conn_type": "http", "port": 99_999}), "from 0 to 65535"),
        ("assets/events", json!({"asset_id": "first"}), "expected a whole number"),
        ("dags/flow/clearDagRuns", json!({"dag_runs": ["done"]}), "expected an object"),
    ] {
        let problem = api.post(&format!("/api/v2/{path}"), body).await.refused(422);
        let said = problem["detail"][0]["msg"].as_str().unwrap();
        assert!(said.ends_with(wanted), "{said}");
    }
    let missing = api.post(RUNS, json!({})).await.refused(422);
    assert_eq!(missing["detail"][0]["loc"], json!(["body", "logical_date"]), "{missing}");
    for list in [json!([]), json!([null, "by_place"])] {
        api.post(RUNS, list.clone()).await.refused(422);
        api.patch(&format!("{RUNS}/done"), list).await.refused(422);
    }
    api.post("/api/v2/variables", json!(["key", "value"])).await.refused(422);
    for target in [json!("5"), json!(0), json!(null), json!(1.5)] {
        let body = json!({"logical_date": null, "conf": {"target": target}});
        let problem = api.post(RUNS, body).await.refused(422);
        assert!(problem["detail"].to_string().contains("target"), "{problem}");
    }
    assert_eq!(api.get(RUNS).await.ok()["total_entries"], 1, "nothing was made");
}

#[tokio::test]
async fn wrong_queries_are_refused_and_pages_are_bounded() {
    let api = TestApi::new().await;
    for interval in ["NaN", "-nan", "soon"] {
        api.get(&format!("{RUNS}/done/wait?interval={interval}")).await.refused(422);
    }
    for query in ["limit=x", "limit=-1", "offset=-1", "state=done", "start_date_gte=yesterday"] {
        let problem = api.get(&format!("{RUNS}?{query}")).await.refused(422);
        assert_eq!(problem["detail"][0]["loc"][0], "query", "{problem}");
    }
    for query in ["order_by=nothing", "order_by=-id;DROP"] {
        api.get(&format!("{RUNS}?{query}")).await.refused(400);
    }
    api.get(&format!("{RUNS}?limit=4000000000&offset=4000000000")).await.ok();
    api.get(&format!("{RUNS}?limit=99999999999&offset=99999999999")).await.ok();
    for (query, why) in [
        ("limit=-1", "a whole number, 0 or more"),
        ("offset=", "a whole number, 0 or more"),
        ("limit=2&limit=3", "more than once"),
        ("duration_gte=1&duration_gte=2", "more than once"),
    ] {
        let problem = api.get(&format!("{RUNS}?{query}")).await.refused(422);
        assert!(problem["detail"][0]["msg"].as_str().unwrap().contains(why), "{query}: {problem}");
    }
    for (paused, dags) in [("True", 1), ("1", 1), ("on", 1), ("yes", 1), ("False", 0), ("0", 0), ("off", 0), ("", 1)] {
        let listed = api.get(&format!("/api/v2/dags?paused={paused}")).await.ok();
        assert_eq!(listed["total_entries"], dags, "{paused}");
    }
    let value = format!("{RUNS}/done/taskInstances/extract/xcomEntries/return_value?stringify=True");
    assert!(api.get(&value).await.ok()["value"].is_string());
    let problem = api.get("/api/v2/dags?paused=maybe").await.refused(422);
    assert_eq!(problem["detail"][0]["msg"], "it must be `true` or `false`");
    // A script whose variable is empty changes nothing.
    api.post("/api/v2/import?dry_run=", json!({"airlock_export": 1})).await.refused(422);
    let problem = api.get(&format!("{RUNS}/done/taskInstances/extract/links?try_number=x")).await.refused(422);
    assert_eq!(problem["detail"][0]["msg"], "it must be a whole number");
    api.get("/api/v2/dags/~/dagRuns/done/taskInstances").await.refused(422);
    api.get("/api/v2/dags/flow/dagRuns/done/taskInstances/extract/x").await.refused(422);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let api = TestApi::new().await;
    let task = "/api/v2/dags/flow/dagRuns/done/taskInstances/extract";
    for path in [
        "/api/v2/dags/none",
        "/api/v2/dags/none/details",
        "/api/v2/dags/none/tasks",
        "/api/v2/dags/none/dagRuns",
        "/api/v2/dags/none/dagVersions",
        "/api/v2/dags/flow/tasks/none",
        "/api/v2/dags/flow/dagVersions/2",
        "/api/v2/dags/flow/dagVersions/-1",
        "/api/v2/dags/flow/dagRuns/none",
        "/api/v2/dags/flow/dagRuns/none/grid",
        "/api/v2/dags/flow/dagRuns/none/wait",
        "/api/v2/dags/flow/dagRuns/done/taskInstances/none",
        &format!("{task}/5"),
        &format!("{task}/tries/9"),
        &format!("{task}/logs/9"),
        &format!("{task}/xcomEntries/none"),
        &format!("{task}/artifacts/none"),
        &format!("{task}/artifacts/..%2F..%2Fsecret.key"),
        "/api/v2/dags/%3Cscript%3E",
        "/api/v2/dags/..%2Fx",
        "/api/v2/dags/%FF",
        "/api/v2/variables/none",
        "/api/v2/connections/none",
        "/api/v2/pools/none",
        "/api/v2/components/zz",
        &format!("/api/v2/components/{}", "0".repeat(64)),
    ] {
        api.get(path).await.refused(404);
    }
    for path in ["/api/v2/dags/none", "/api/v2/dags/flow/dagRuns/none", "/api/v2/variables/none"] {
        api.delete(path).await.refused(404);
    }
    api.patch("/api/v2/dags/none", json!({"is_paused": true})).await.refused(404);
    api.post("/api/v2/dags/none/dagRuns", json!({"logical_date": null})).await.refused(404);
    api.post("/api/v2/dags/none/clearTaskInstances", json!({})).await.refused(404);
    let clear = json!({"dag_run_id": "done", "task_ids": ["none"], "only_failed": false});
    api.post("/api/v2/dags/flow/clearTaskInstances", clear).await.refused(404);
}

#[tokio::test]
async fn a_run_id_or_logical_date_is_used_once() {
    let api = TestApi::new().await;
    let run = json!({"logical_date": "2026-02-01T00:00:00+00:00", "dag_run_id": "once"});
    api.post(RUNS, run).await.ok();
    let same_date = json!({"logical_date": "2026-02-01T09:00:00+09:00"});
    assert!(api.post(RUNS, same_date).await.refused(409)["detail"].as_str().unwrap().contains("logical_date"));
    api.post(RUNS, json!({"logical_date": null, "dag_run_id": "once"})).await.refused(409);
    api.post(RUNS, json!({"logical_date": null})).await.ok();
    api.post(RUNS, json!({"logical_date": null})).await.ok();
}

/// With it the run whose id it is would be skipped.
#[tokio::test]
async fn a_run_id_of_the_scheduler_is_not_for_others() {
    let api = TestApi::new().await;
    for kind in ["scheduled", "backfill", "asset_triggered"] {
        let body = json!({"logical_date": null, "dag_run_id": format!("{kind}__2026-11-23T12:19:20+00:00")});
        let problem = api.post(RUNS, body).await.refused(422);
        assert_eq!(problem["detail"][0]["loc"], json!(["body", "dag_run_id"]), "{problem}");
    }
    for run_id in ["manual__1", "scheduled", "scheduled_1", "operator_triggered__x"] {
        api.post(RUNS, json!({"logical_date": null, "dag_run_id": run_id})).await.ok();
    }
}

#[tokio::test]
async fn text_is_stored_as_it_is_and_answered_as_json() {
    let api = TestApi::new().await;
    let dag = api.get("/api/v2/dags/flow/details").await.ok();
    assert_eq!((&dag["description"], &dag["doc_md"]), (&Value::from(HOSTILE), &Value::from(HOSTILE)));
    assert_eq!(api.get("/api/v2/dags/flow/tasks/extract").await.ok()["task_display_name"], HOSTILE);

    let run = json!({"logical_date": null, "dag_run_id": "odd", "note": HOSTILE});
    assert_eq!(api.post(RUNS, run).await.ok()["note"], HOSTILE);
    let note = format!("{HOSTILE}!");
    assert_eq!(api.patch(&format!("{RUNS}/odd"), json!({"note": note})).await.ok()["note"], note);
    assert_eq!(api.patch(&format!("{RUNS}/odd"), json!({"note": null})).await.ok()["note"], Value::Null);
    let task = format!("{RUNS}/done/taskInstances/extract");
    let patched = api.patch(&task, json!({"note": HOSTILE})).await.ok();
    assert_eq!(patched["task_instances"][0]["note"], HOSTILE);

    let variable = json!({"key": "odd", "value": HOSTILE, "description": HOSTILE});
    let shown = api.post("/api/v2/variables", variable).await.ok();
    assert_eq!((&shown["value"], &shown["description"]), (&Value::from(HOSTILE), &Value::from(HOSTILE)));
    let connection = json!({
        "connection_id": "odd", "conn_type": HOSTILE, "host": HOSTILE, "login": HOSTILE, "schema": HOSTILE,
        "description": HOSTILE, "extra": json!({"note": HOSTILE}).to_string(),
    });
    let shown = api.post("/api/v2/connections", connection.clone()).await.ok();
    for field in ["conn_type", "host", "login", "schema", "description", "extra"] {
        assert_eq!(shown[field], connection[field], "{field}");
    }
    let pool = json!({"name": "odd", "slots": 1, "description": HOSTILE});
    assert_eq!(api.post("/api/v2/pools", pool).await.ok()["description"], HOSTILE);
    let xcom = json!({"key": "odd", "value": {HOSTILE: [HOSTILE]}});
    assert_eq!(api.post(&format!("{task}/xcomEntries"), xcom.clone()).await.ok()["value"], xcom["value"]);
    let filtered = api.get("/api/v2/dags?dag_id_pattern=%27%20OR%201%3D1%20--&tags=%27%22").await.ok();
    assert_eq!(filtered["total_entries"], 0);
    for (path, name) in [("variables", "key"), ("connections", "connection_id"), ("pools", "name")] {
        let body = json!({name: HOSTILE, "value": "", "conn_type": "http", "slots": 1});
        assert_eq!(api.post(&format!("/api/v2/{path}"), body).await.status, 422, "{path}");
    }
}

#[tokio::test]
async fn uploads_have_a_limit_and_bad_ones_change_nothing() {
    let api = TestApi::new().await;
    post_text(&api, "/api/v2/components", "application/wasm", "").await.refused(422);
    let large = vec![0_u8; (64 << 20) + 1];
    post_text(&api, "/api/v2/components", "application/wasm", large).await.refused(413);
    let request = api.request(Method::POST, "/api/v2/components").header(header::CONTENT_LENGTH, "99999999999");
    api.raw(request.body(Body::empty()).unwrap()).await.refused(413);
    assert_eq!(api.get("/api/v2/components").await.ok()["total_entries"], 1);
}
