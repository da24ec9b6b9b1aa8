//! What each resource answers when all is well.

use axum::http::{Method, header};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{PASSWORD, TestApi, at, dag_access, task};
use crate::{
    model::ids::{AssetName, ConnectionId, DagId, XComKey},
    store::{AssetEventNew, Commit, XComBody, XComNew},
};

const RUN: &str = "/api/v2/dags/flow/dagRuns/done";
const TASK: &str = "/api/v2/dags/flow/dagRuns/done/taskInstances/extract";

#[tokio::test]
async fn health_and_version_are_told_to_everybody() {
    let api = TestApi { token: String::new(), ..TestApi::new().await };
    assert_eq!(api.get("/api/v2/version").await.ok()["version"], env!("CARGO_PKG_VERSION"));
    let health = api.get("/api/v2/monitor/health").await.ok();
    assert_eq!(health["metadatabase"]["status"], "healthy");
    assert_eq!(health["scheduler"]["status"], "healthy");
    assert!(health["scheduler"]["latest_scheduler_heartbeat"].is_string());
    assert_eq!(health["triggerer"]["status"], Value::Null);
}

#[tokio::test]
async fn dags_are_listed_shown_and_paused() {
    let api = TestApi::new().await;
    let list = api.get("/api/v2/dags?tags=etl&owners=ann&dag_id_pattern=lo&paused=true&order_by=-dag_id").await.ok();
    assert_eq!(list["total_entries"], 1);
    let dag = &list["dags"][0];
    assert_eq!((&dag["dag_id"], &dag["dag_display_name"]), (&json!("flow"), &json!("The flow")));
    assert_eq!((&dag["is_paused"], &dag["timetable_summary"]), (&json!(true), &json!("0 6 * * *")));
    assert_eq!(dag["tags"][0]["name"], "etl");
    let newest = api.get("/api/v2/dags/flow/dagRuns?order_by=-id&limit=1").await.ok()["dag_runs"][0].clone();
    let state = newest["state"].as_str().unwrap();
    assert_eq!(api.get(&format!("/api/v2/dags?last_dag_run_state={state}")).await.ok()["total_entries"], 1);
    api.get("/api/v2/dags?last_dag_run_state=tired").await.refused(422);
    let other = if state == "failed" { "last_dag_run_state=success" } else { "last_dag_run_state=failed" };
    for none in [other, "tags=x", "owners=x", "dag_id_pattern=x", "paused=false", "tags=etl&tags=x&tags_match_mode=all"]
    {
        assert_eq!(api.get(&format!("/api/v2/dags?{none}")).await.ok()["total_entries"], 0, "{none}");
    }
    let details = api.get("/api/v2/dags/flow/details").await.ok();
    assert_eq!(details["params"]["target"]["value"], 5);
    assert_eq!(details["timezone"], "Asia/Seoul");
    assert_eq!(details["latest_dag_version"]["version_number"], 1);

    assert_eq!(api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.ok()["is_paused"], true);
    api.patch("/api/v2/dags/flow?update_mask=tags", json!({"is_paused": true})).await.refused(400);
    let all = api.patch("/api/v2/dags?dag_id_pattern=~", json!({"is_paused": true})).await.ok();
    assert_eq!(all["total_entries"], 1);
    assert_eq!(api.patch("/api/v2/dags", json!({"is_paused": false})).await.ok()["total_entries"], 0);

    let tasks = api.get("/api/v2/dags/flow/tasks?order_by=-task_id").await.ok();
    assert_eq!(tasks["tasks"][0]["task_id"], "load");
    assert_eq!(tasks["tasks"][1]["downstream_task_ids"], json!(["load"]));
    assert_eq!(tasks["tasks"][0]["upstream_task_ids"], json!(["extract"]));
    let delay = json!({"__type": "TimeDelta", "days": 0, "seconds": 1, "microseconds": 500_000});
    assert_eq!(tasks["tasks"][0]["retry_delay"], delay);
    assert_eq!(api.get("/api/v2/dags/flow/dagVersions").await.ok()["total_entries"], 1);
    let of_all = api.get("/api/v2/dags/~/dagVersions?order_by=-id&version_number=1").await.ok();
    assert_eq!((&of_all["dag_versions"][0]["dag_id"], &of_all["total_entries"]), (&json!("flow"), &json!(1)));
    assert_eq!(api.get("/api/v2/dags/flow/dagVersions/1").await.ok()["bundle_version"], "07".repeat(32));
    assert_eq!(api.delete("/api/v2/dags/flow").await.status, 204);
    api.get("/api/v2/dags/flow").await.refused(404);
}

#[tokio::test]
async fn runs_are_triggered_listed_changed_and_deleted() {
    let api = TestApi::new().await;
    let runs = "/api/v2/dags/flow/dagRuns";
    let body = json!({"logical_date": "2026-03-01T00:00:00Z", "dag_run_id": "new", "conf": {"target": 9}});
    let run = api.post(runs, body).await.ok();
    assert_eq!(
        (&run["dag_run_id"], &run["state"], &run["run_type"]),
        (&json!("new"), &json!("queued"), &json!("manual"))
    );
    assert_eq!((&run["conf"], &run["triggered_by"]), (&json!({"target": 9}), &json!("rest_api")));
    assert_eq!(run["triggering_user_name"], "admin");
    assert_eq!(run["dag_versions"][0]["version_number"], 1);

    let list = |query: &str| {
        let path = format!("/api/v2/dags/~/dagRuns?{query}");
        let api = &api;
        async move {
            let list = api.get(&path).await.ok();
            let ids = list["dag_runs"].as_array().unwrap().iter().map(|run| run["dag_run_id"].clone());
            ids.collect::<Vec<_>>()
        }
    };
    assert_eq!(list("order_by=-logical_date").await, ["new", "done"]);
    assert_eq!(list("state=success&state=failed").await, ["done"]);
    assert_eq!(list("logical_date_gt=2026-03-01T00:00:00Z").await, Vec::<Value>::new());
    assert_eq!(list("logical_date_gte=2026-03-01T09:00:00%2B09:00").await, ["new"]);
    assert_eq!(list("limit=1&offset=1&order_by=id").await, ["new"]);
    assert_eq!(list("run_type=scheduled").await, Vec::<Value>::new());
    assert_eq!(list("run_type=asset_triggered").await, Vec::<Value>::new());
    assert_eq!(list("run_type=asset_materialization").await, Vec::<Value>::new());
    api.get(&format!("{runs}?run_type=manual&run_type=manuel")).await.refused(422);
    assert_eq!(list("run_type=scheduled&run_type=backfill").await, Vec::<Value>::new());
    assert_eq!(list("backfill_id=1").await, Vec::<Value>::new());
    let body = json!({"dag_ids": ["flow", "other"], "states": ["queued"], "page_limit": 5, "order_by": "-run_after"});
    assert_eq!(api.post("/api/v2/dags/~/dagRuns/list", body).await.ok()["total_entries"], 1);
    let stateless = json!({"states": [null]});
    assert_eq!(api.post("/api/v2/dags/~/dagRuns/list", stateless).await.ok()["total_entries"], 0);

    api.patch(&format!("{runs}/new"), json!({"state": "running"})).await.refused(422);
    assert_eq!(api.patch(&format!("{runs}/new"), json!({"state": "failed"})).await.ok()["state"], "failed");
    let line = api.get(&format!("{runs}/new/wait")).await;
    assert_eq!(line.bytes, b"{\"state\":\"failed\"}\n");
    assert!(!line.headers.contains_key(header::CONTENT_TYPE), "Airflow's client knows none of this");
    assert_eq!(api.delete(&format!("{runs}/new")).await.status, 204);
    api.get(&format!("{runs}/new")).await.refused(404);
}

#[tokio::test]
async fn a_run_or_a_task_may_be_called_list() {
    let api = TestApi::new().await;
    let run = "/api/v2/dags/flow/dagRuns/list";
    api.post("/api/v2/dags/flow/dagRuns", json!({"dag_run_id": "list", "logical_date": null})).await.ok();
    assert_eq!(api.get(run).await.ok()["dag_run_id"], "list");
    assert_eq!(api.patch(run, json!({"note": "short"})).await.ok()["note"], "short");
    assert_eq!(api.delete(run).await.status, 204);
    api.get(run).await.refused(404);
    let task = format!("{RUN}/taskInstances/list");
    let missing = [api.get(&task).await, api.patch(&task, json!({"note": "x"})).await, api.delete(&task).await];
    for answer in missing {
        let problem = answer.refused(404);
        assert!(problem["detail"].as_str().unwrap().contains("`list`"), "{problem}");
    }
    for asked in [run, &task] {
        api.post(&asked.replace("flow", "~").replace("done", "~"), json!({})).await.ok();
    }
}

#[tokio::test]
async fn clearing_shows_first_and_does_then() {
    let api = TestApi::new().await;
    let clear = "/api/v2/dags/flow/clearTaskInstances";
    let shown = api.post(clear, json!({"dag_run_id": "done", "only_failed": false})).await.ok();
    assert_eq!(shown["total_entries"], 2, "dry_run is the default");
    assert_eq!(api.get(RUN).await.ok()["state"], "success");
    assert_eq!(api.post(clear, json!({"dag_run_id": "done"})).await.ok()["total_entries"], 0, "only_failed too");
    let shown = api.post(&format!("{RUN}/clear"), json!({})).await.ok();
    assert_eq!(shown["total_entries"], 2);

    let none = json!({"dag_run_id": "done", "only_failed": false, "dry_run": false, "task_ids": []});
    assert_eq!(api.post(clear, none).await.ok()["total_entries"], 0, "no task is not all tasks");
    assert_eq!(api.get(RUN).await.ok()["state"], "success");
    api.post(clear, json!({"dag_run_id": "none", "task_ids": []})).await.refused(404);
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for wrong in [
        json!({"dag_run_id": "done", "start_date": early}),
        json!({"dag_run_id": "done", "end_date": late}),
        json!({"start_date": late, "end_date": early}),
        json!({"only_failed": true, "only_running": true}),
    ] {
        api.post(clear, wrong).await.refused(422);
    }
    api.post(clear, json!({"start_date": early, "end_date": early})).await.ok();
    let both = json!({"only_failed": true, "only_new": true, "dag_runs": [{"dag_run_id": "done"}]});
    api.post("/api/v2/dags/flow/clearDagRuns", both).await.refused(422);
    api.post(&format!("{RUN}/clear"), json!({"only_failed": true, "only_new": true})).await.refused(422);
    let dateless = json!({"dag_run_id": "dateless", "logical_date": null});
    api.post("/api/v2/dags/flow/dagRuns", dateless).await.ok();
    for around in ["include_past", "include_future"] {
        let refused = api.post(clear, json!({"dag_run_id": "dateless", around: true})).await.refused(400);
        let why = "can't use include_past or include_future with a run that has no logical_date";
        assert_eq!(refused["detail"], why);
        api.post(clear, json!({"dag_run_id": "done", around: true})).await.ok();
    }

    let body = json!({"dag_run_id": "done", "only_failed": false, "dry_run": false, "task_ids": [["load", -1]]});
    let cleared = api.post(clear, body).await.ok();
    assert_eq!(cleared["task_instances"][0]["task_id"], "load");
    assert_eq!(api.get(RUN).await.ok()["state"], "queued");
    let run = api.post(&format!("{RUN}/clear"), json!({"dry_run": false, "note": "again"})).await.ok();
    assert_eq!((&run["state"], &run["note"]), (&json!("queued"), &json!("again")));
}

#[tokio::test]
async fn task_instances_are_listed_shown_and_marked() {
    let api = TestApi::new().await;
    for scope in ["flow/dagRuns/done", "flow/dagRuns/~", "~/dagRuns/~"] {
        let list = api.get(&format!("/api/v2/dags/{scope}/taskInstances?state=success&limit=1")).await.ok();
        assert_eq!((&list["total_entries"], list["task_instances"].as_array().unwrap().len()), (&json!(2), 1));
    }
    let list = |query: &str| {
        let path = format!("{RUN}/taskInstances?{query}");
        let api = &api;
        async move { api.get(&path).await.ok()["total_entries"].clone() }
    };
    assert_eq!(list("task_id=load").await, 1);
    assert_eq!(list("state=none").await, 0);
    assert_eq!(list("state=deferred").await, 0);
    assert_eq!(list("pool=default_pool").await, 2);
    let batch = |body| api.post("/api/v2/dags/~/dagRuns/~/taskInstances/list", body);
    for (body, total) in [
        (json!({"dag_ids": ["flow"], "state": ["success", null], "task_ids": ["extract"]}), 1),
        (json!({"dag_ids": ["flow", "other"]}), 2),
        (json!({"dag_ids": ["other"]}), 0),
        (json!({"dag_ids": ["flow", "other"], "dag_run_ids": ["done", "new"]}), 2),
        (json!({"dag_run_ids": ["done"]}), 2),
        (json!({"dag_run_ids": ["new"]}), 0),
        (json!({"dag_ids": ["other"], "dag_run_ids": ["done"]}), 0),
    ] {
        let what = body.to_string();
        assert_eq!(batch(body).await.ok()["total_entries"], total, "{what}");
    }
    let many = |count: usize| (0..count).map(|nth| format!("n{nth}")).collect::<Vec<_>>();
    batch(json!({"dag_run_ids": many(100)})).await.ok();
    let refused = batch(json!({"dag_run_ids": many(101)})).await.refused(422);
    assert_eq!(refused["detail"][0]["loc"], json!(["body", "dag_run_ids"]));
    batch(json!({"dag_ids": many(1_000)})).await.ok();
    batch(json!({"dag_ids": many(1_001)})).await.refused(422);

    let instance = api.get(TASK).await.ok();
    assert_eq!((&instance["state"], &instance["duration"]), (&json!("success"), &json!(2.0)));
    assert_eq!((&instance["try_number"], &instance["operator_name"]), (&json!(1), &json!("work")));
    assert_eq!(api.get(&format!("{TASK}/-1")).await.ok()["id"], instance["id"]);
    let refused = api.get(&format!("{TASK}/listMapped")).await.refused(404);
    assert_eq!(refused["detail"], "task `extract` is not mapped");
    assert_eq!(api.get(&format!("{TASK}/tries")).await.ok()["total_entries"], 1);
    assert_eq!(api.get(&format!("{TASK}/tries/1")).await.ok()["state"], "success");
    assert_eq!(api.get(&format!("{TASK}/-1/tries/1")).await.ok()["state"], "success");

    let body = json!({"new_state": "failed"});
    let shown = api.patch(&format!("{TASK}/dry_run"), body.clone()).await.ok();
    assert_eq!(shown["total_entries"], 1);
    assert_eq!(api.get(TASK).await.ok()["state"], "success");
    api.patch(TASK, body).await.ok();
    assert_eq!(api.get(TASK).await.ok()["state"], "failed");
    api.patch(TASK, json!({"new_state": "running"})).await.refused(422);
}

/// The compressing layer asks a stream again that has told its end.
#[tokio::test]
async fn whoever_waits_for_a_run_is_told_what_its_tasks_gave_back() {
    let api = TestApi::new().await;
    let last = async |query: &str| {
        let request = api.request(Method::GET, &format!("{RUN}/wait{query}")).body(axum::body::Body::empty());
        let answer = api.raw(request.unwrap()).await;
        let text = String::from_utf8(answer.bytes).unwrap();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    assert_eq!(last("").await, json!({"state": "success"}));
    let extract = json!({"rows": [1, 2], "text": "a < b"});
    let told = last("?result=extract&result=load&result=none").await;
    assert_eq!(told, json!({"state": "success", "results": {"extract": extract}}));

    let large = XComNew {
        instance: task("load"),
        key: XComKey::return_value(),
        media_type: "application/json".into(),
        size_bytes: 17 << 20,
        body: XComBody::Inline(b"1".to_vec()),
    };
    api.store.xcom_put(&large, at(4)).await.unwrap();
    let told = last("?result=load&result=extract&result=extract").await;
    assert_eq!(told, json!({"state": "success", "results": {"extract": extract}, "left_out": ["load"]}));
    let many: Vec<_> = (0..101).map(|n| format!("result=t{n}")).collect();
    api.get(&format!("{RUN}/wait?{}", many.join("&"))).await.refused(422);
}

#[tokio::test]
async fn what_is_streamed_ends_well_when_it_is_compressed() {
    let api = TestApi::new().await;
    for path in [format!("{RUN}/wait?interval=1"), format!("{TASK}/logs/1?follow=true")] {
        let request = api.request(Method::GET, &path).header(header::ACCEPT_ENCODING, "gzip");
        let request = request.header(header::ACCEPT, "application/x-ndjson").body(axum::body::Body::empty());
        let answer = api.raw(request.unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers[header::CONTENT_ENCODING]),
            (200, &"gzip".parse().unwrap())
        );
        assert_eq!(answer.headers["x-accel-buffering"], "no", "or a proxy holds it back: {path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store, no-transform", "{path}");
    }
}

#[tokio::test]
async fn a_log_is_pages_or_lines() {
    let api = TestApi::new().await;
    let page = api.get(&format!("{TASK}/logs/1")).await.ok();
    assert_eq!(page, json!({"content": [], "continuation_token": null}));
    api.get(&format!("{TASK}/logs/1?token=x")).await.refused(422);
    for query in ["", "?follow=true"] {
        let request = api.request(Method::GET, &format!("{TASK}/logs/1{query}"));
        let request = request.header(header::ACCEPT, "application/x-ndjson").body(axum::body::Body::empty());
        let answer = api.raw(request.unwrap()).await;
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/x-ndjson");
        assert!(answer.bytes.is_empty());
    }
}

#[tokio::test]
async fn xcoms_are_read_written_and_deleted() {
    let api = TestApi::new().await;
    let entries = format!("{TASK}/xcomEntries");
    assert_eq!(api.get(&entries).await.ok()["total_entries"], 1);
    assert_eq!(api.get("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries").await.ok()["total_entries"], 1);
    let value = json!({"rows": [1, 2], "text": "a < b"});
    let shown = api.get(&format!("{entries}/return_value")).await.ok();
    assert_eq!((&shown["value"], &shown["map_index"]), (&value, &json!(-1)));
    let text = api.get(&format!("{entries}/return_value?stringify=true")).await.ok();
    assert_eq!(text["value"], r#"{"rows":[1,2],"text":"a < b"}"#);
    for value in [json!("said \"so\""), json!(null)] {
        api.post(&entries, json!({"key": "itself", "value": value})).await.ok();
        assert_eq!(api.get(&format!("{entries}/itself?stringify=true")).await.ok()["value"], value);
        assert_eq!(api.delete(&format!("{entries}/itself")).await.status, 204);
    }
    let content = api.get(&format!("{entries}/return_value/content")).await;
    assert_eq!(serde_json::from_slice::<Value>(&content.bytes).unwrap(), value);

    let large = json!({"key": "large", "value": "x".repeat(100_000)});
    assert_eq!(api.post(&entries, large.clone()).await.status, 201);
    api.post(&entries, large.clone()).await.refused(409);
    assert_eq!(api.get(&format!("{entries}/large")).await.ok()["value"], large["value"]);
    let patched = api.patch(&format!("{entries}/large"), json!({"value": null})).await.ok();
    assert_eq!(patched["value"], Value::Null);
    assert_eq!(api.delete(&format!("{entries}/large")).await.status, 204);
    api.get(&format!("{entries}/large")).await.refused(404);
    api.post(&entries, json!({"key": "huge", "value": "x".repeat(9 << 20)})).await.refused(413);
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let api = TestApi::new().await;
    let secret = "hunter2-hunter2";
    let variable = json!({"key": "db_password", "value": secret});
    assert_eq!(api.post("/api/v2/variables", variable).await.ok()["value"], "***");
    let nested = json!({"key": "settings", "value": {"host": "h", "api_key": secret}});
    assert_eq!(api.post("/api/v2/variables", nested).await.ok()["value"], r#"{"host":"h","api_key":"***"}"#);
    let extra = json!({"region": "eu", "token": secret}).to_string();
    let connection = json!({
        "connection_id": "db", "conn_type": "postgres", "host": "h", "port": 5432, "password": secret, "extra": extra,
    });
    let shown = api.post("/api/v2/connections", connection.clone()).await.ok();
    assert_eq!((&shown["password"], &shown["port"]), (&json!("***"), &json!(5432)));
    assert_eq!(shown["extra"], r#"{"region":"eu","token":"***"}"#);
    // Whoever sends back what was shown changes nothing; the next test reads it as the executor does.
    let mut again = shown.clone();
    again["login"] = "ada".into();
    let shown = api.patch("/api/v2/connections/db", again.clone()).await.ok();
    assert_eq!((&shown["login"], &shown["password"]), (&json!("ada"), &json!("***")));
    again["host"] = "elsewhere".into();
    api.patch("/api/v2/connections/db", again).await.refused(422);
    for bad in ["[1]", "{", &format!("{{\"token\": \"{secret}\"")] {
        let mut body = connection.clone();
        body["connection_id"] = "other".into();
        body["extra"] = bad.into();
        let problem = api.post("/api/v2/connections", body).await.refused(422);
        assert!(!problem.to_string().contains(secret));
    }
    for path in ["variables", "variables/db_password", "connections", "connections/db"] {
        let answer = api.get(&format!("/api/v2/{path}")).await.ok().to_string();
        assert!(!answer.contains(secret), "{answer}");
        assert!(!answer.contains(&STANDARD.encode(secret)), "{answer}");
    }
    assert_eq!(api.patch("/api/v2/connections/db?update_mask=password", connection).await.ok()["password"], "***");
    assert_eq!(api.delete("/api/v2/connections/db").await.status, 204);
    api.delete("/api/v2/connections/db").await.refused(404);
}

/// Also in bulk; what is named by an `update_mask` and left out is taken away, as before.
#[tokio::test]
async fn a_change_leaves_what_it_does_not_name() {
    let api = TestApi::new().await;
    let whole = json!({
        "connection_id": "c1", "conn_type": "http", "description": "first", "host": "a.example", "login": "ada",
        "schema": "s", "port": 80, "password": "hunter2", "extra": "{\"region\":\"eu\"}",
    });
    let path = "/api/v2/connections/c1";
    let mut shown = api.post("/api/v2/connections", whole).await.ok();
    let sealed = async || {
        let row = api.store.connection_get(&ConnectionId::new("c1").unwrap()).await.unwrap().unwrap();
        (row.sealed_password, row.sealed_extra)
    };
    let secrets = sealed().await;
    let second = json!({"connection_id": "c1", "conn_type": "http", "description": "second"});
    shown["description"] = "second".into();
    assert_eq!(api.patch(path, second.clone()).await.ok(), shown);
    assert_eq!(sealed().await, secrets);
    let bulk = |entity: Value| json!({"actions": [{"action": "update", "entities": [entity]}]});
    let third = json!({"connection_id": "c1", "conn_type": "http", "login": null});
    let answer = api.patch("/api/v2/connections", bulk(third)).await.ok();
    assert_eq!(answer["update"]["success"], json!(["c1"]), "{answer}");
    shown["login"] = Value::Null;
    assert_eq!(api.get(path).await.ok(), shown);
    assert_eq!(sealed().await, secrets);
    // A secret that stays does not go along to another host.
    let moved = json!({"connection_id": "c1", "conn_type": "http", "host": "evil.example"});
    api.patch(path, moved).await.refused(422);
    let cleared = json!({"connection_id": "c1", "conn_type": "http", "password": null, "port": null});
    let cleared = api.patch(path, cleared).await.ok();
    assert_eq!(
        (&cleared["password"], &cleared["port"], &cleared["host"]),
        (&Value::Null, &Value::Null, &shown["host"])
    );
    let masked = api.patch(&format!("{path}?update_mask=host&update_mask=extra"), second.clone()).await.ok();
    assert_eq!((&masked["host"], &masked["extra"], &masked["schema"]), (&Value::Null, &Value::Null, &json!("s")));
    // What overwrites is all that is there then.
    let overwrite =
        json!({"actions": [{"action": "create", "entities": [second], "action_on_existence": "overwrite"}]});
    api.patch("/api/v2/connections", overwrite).await.ok();
    assert_eq!(api.get(path).await.ok()["schema"], Value::Null);

    let variable = json!({"key": "a", "value": "v", "description": "first"});
    api.post("/api/v2/variables", variable).await.ok();
    let shown = api.patch("/api/v2/variables/a", json!({"key": "a", "value": "w"})).await.ok();
    assert_eq!((&shown["value"], &shown["description"]), (&json!("w"), &json!("first")));
    api.patch("/api/v2/variables", bulk(json!({"key": "a", "value": "x"}))).await.ok();
    let shown = api.get("/api/v2/variables/a").await.ok();
    assert_eq!((&shown["value"], &shown["description"]), (&json!("x"), &json!("first")));
    let null = json!({"key": "a", "value": "x", "description": null});
    assert_eq!(api.patch("/api/v2/variables/a", null).await.ok()["description"], Value::Null);

    let pool = json!({"name": "b1", "slots": 1, "description": "first", "include_deferred": true});
    api.post("/api/v2/pools", pool).await.ok();
    api.patch("/api/v2/pools", bulk(json!({"name": "b1", "slots": 7}))).await.ok();
    let shown = api.get("/api/v2/pools/b1").await.ok();
    assert_eq!(
        (&shown["slots"], &shown["description"], &shown["include_deferred"]),
        (&json!(7), &json!("first"), &json!(true))
    );
    let null = json!({"pool": "b1", "slots": 3, "description": null});
    let shown = api.patch("/api/v2/pools/b1", null).await.ok();
    assert_eq!((&shown["slots"], &shown["description"]), (&json!(3), &Value::Null));
}

/// `triggering` is told of the last event alone.
#[tokio::test]
async fn assets_tell_which_event_a_run_was_made_for_and_what_waits() {
    let api = TestApi::new().await;
    dag_access::seed(&api.store).await;
    let used = api.get("/api/v2/dags/open/dagRuns/open-run/upstreamAssetEvents").await.ok();
    let used = used["asset_events"].as_array().unwrap();
    let triggering: Vec<_> = used.iter().map(|event| &event["created_dagruns"][0]["triggering"]).collect();
    assert_eq!(triggering.last(), Some(&&json!(true)), "{used:?}");
    assert!(used.len() > 1 && triggering[..used.len() - 1].iter().all(|is| **is == json!(false)), "{used:?}");

    let assets = api.get("/api/v2/assets?name_pattern=shared").await.ok();
    let id = &assets["assets"][0]["id"];
    let path = format!("/api/v2/dags/flow/assets/{id}/queuedEvents");
    api.get(&path).await.refused(404);
    let key = api.store.asset_event_next_key().await.unwrap();
    let event = |nth: i64| AssetEventNew {
        key: key + nth,
        asset: AssetName::new("shared").unwrap(),
        timestamp: at(6 + nth),
        extra: "{}".into(),
        source: None,
        created_by: Some("ann".into()),
        consumers: vec![DagId::new("flow").unwrap()],
        through: None,
    };
    let commit = Commit { asset_events: vec![event(0), event(1)], now: at(8), ..Commit::default() };
    api.store.commit(&commit).await.unwrap();
    let first = api.get(&path).await.ok();
    assert_eq!((&first["dag_id"], &first["asset_id"]), (&json!("flow"), id));
    assert_eq!(first["dag_display_name"], "The flow");
    let all = api.get("/api/v2/dags/flow/assets/queuedEvents").await.ok();
    assert_eq!((&all["total_entries"], &all["queued_events"][0]), (&json!(2), &first));
    api.get(&format!("{path}?before=2020-01-01")).await.refused(404);
}

#[tokio::test]
async fn of_two_changes_of_different_fields_at_once_none_is_lost() {
    let api = TestApi::new().await;
    api.post("/api/v2/variables", json!({"key": "k", "value": "0", "description": "0"})).await.ok();
    for round in 1..=10 {
        let text = round.to_string();
        let body = json!({"key": "k", "value": text, "description": text});
        let (value, description) = tokio::join!(
            api.patch("/api/v2/variables/k?update_mask=value", body.clone()),
            api.patch("/api/v2/variables/k?update_mask=description", body),
        );
        value.ok();
        description.ok();
        let now = api.get("/api/v2/variables/k").await.ok();
        assert_eq!((&now["value"], &now["description"]), (&json!(text), &json!(text)));
    }
}

#[tokio::test]
async fn variables_and_pools_are_made_changed_and_deleted() {
    let api = TestApi::new().await;
    let body = json!({"key": "reports/target", "value": "5", "description": "how many"});
    assert_eq!(api.post("/api/v2/variables", body.clone()).await.status, 201);
    api.post("/api/v2/variables", body.clone()).await.refused(409);
    let path = "/api/v2/variables/reports%2Ftarget";
    assert_eq!(api.get(path).await.ok()["value"], "5");
    let patched = api.patch(&format!("{path}?update_mask=value"), json!({"key": "reports/target", "value": 6})).await;
    assert_eq!(
        patched.ok(),
        json!({
            "key": "reports/target", "value": "6", "description": "how many", "is_encrypted": true, "team_name": null,
        })
    );
    api.patch(path, json!({"key": "other", "value": 6})).await.refused(400);
    assert_eq!(api.get("/api/v2/variables?variable_key_pattern=targ").await.ok()["total_entries"], 1);
    assert_eq!(api.get("/api/v2/variables?variable_key_pattern=x").await.ok()["total_entries"], 0);
    // Airflow's commands leave it as it is.
    let path = "/api/v2/variables/reports/target";
    assert_eq!(api.get(path).await.ok()["value"], "6");
    assert_eq!(api.patch(path, json!({"key": "reports/target", "value": 7})).await.ok()["value"], "7");
    assert_eq!(api.delete(path).await.status, 204);
    assert_eq!(api.get(path).await.refused(404)["detail"], "variable `reports/target` does not exist");
    api.get("/api/v2/variables/reports/../target").await.refused(404);

    let default = api.get("/api/v2/pools/default_pool").await.ok();
    assert_eq!((&default["slots"], &default["open_slots"]), (&json!(128), &json!(128)));
    api.delete("/api/v2/pools/default_pool").await.refused(400);
    let pool = json!({"name": "my pool", "slots": -1});
    assert_eq!(api.post("/api/v2/pools", pool.clone()).await.ok()["open_slots"], -1);
    api.post("/api/v2/pools", pool).await.refused(409);
    assert_eq!(api.patch("/api/v2/pools/my%20pool", json!({"slots": 3})).await.ok()["slots"], 3);
    api.patch("/api/v2/pools/my%20pool", json!({"slots": -2})).await.refused(422);
    assert_eq!(api.get("/api/v2/pools").await.ok()["total_entries"], 2);
    assert_eq!(api.delete("/api/v2/pools/my%20pool").await.status, 204);
}

#[tokio::test]
async fn components_and_artifacts_are_downloads() {
    let api = TestApi::new().await;
    let digest = "07".repeat(32);
    let component = api.get(&format!("/api/v2/components/{digest}")).await.ok();
    assert_eq!((&component["dag_ids"], &component["sdk"]), (&json!(["flow"]), &json!("test")));
    assert_eq!(component["entries"][0]["name"], "work");
    let wasm = api.get(&format!("/api/v2/components/{digest}/wasm")).await;
    assert_eq!(wasm.bytes, b"\0asm not really");

    assert_eq!(api.get(&format!("{RUN}/artifacts")).await.ok()["total_entries"], 1);
    let list = api.get(&format!("{TASK}/artifacts")).await.ok();
    assert_eq!(list["artifacts"][0]["name"], "charts/report \"1\".svg");
    let file = api.get(&format!("{TASK}/artifacts/charts%2Freport%20%221%22.svg")).await;
    assert_eq!((file.status.as_u16(), file.bytes.as_slice()), (200, b"<svg/>".as_slice()));
    let disposition = file.headers[header::CONTENT_DISPOSITION].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"report__1_.svg\""), "{disposition}");
    assert!(file.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
    assert_eq!(file.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}

#[tokio::test]
async fn the_grid_is_a_letter_a_task() {
    let api = TestApi::new().await;
    let grid = api.get(&format!("{RUN}/grid?tasks=true")).await.ok();
    assert_eq!((&grid["states"], &grid["task_ids"]), (&json!("ss"), &json!(["extract", "load"])));
    assert_eq!(grid["letters"]["s"], "success");
    assert_eq!(api.get(&format!("{RUN}/grid")).await.ok().get("task_ids"), None);
}

#[tokio::test]
async fn events_tell_what_changed() {
    use futures_util::StreamExt;
    use tower::ServiceExt;
    let api = TestApi::new().await;
    api.get("/api/v2/events?dag_run_id=x").await.refused(422);
    let request = api.request(Method::GET, "/api/v2/events?dag_id=flow").body(axum::body::Body::empty()).unwrap();
    let response = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut events = response.into_body().into_data_stream();
    let hello = events.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&hello).contains("listening"));
    let body = json!({"logical_date": null, "dag_run_id": "told"});
    api.post("/api/v2/dags/flow/dagRuns", body).await.ok();
    let event = events.next().await.unwrap().unwrap();
    let event = String::from_utf8_lossy(&event);
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let told = json!({"kind": "run", "dag_id": "flow", "dag_run_id": "told", "state": "queued"});
    assert_eq!(data["changes"][0], told, "{event}");
}

/// What takes no other fields than its own can't be a part of something that has more.
#[test]
fn no_answer_of_the_document_is_made_of_a_part_that_refuses_the_others() {
    let document = serde_json::to_value(crate::api::document()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let part = part["$ref"].as_str().and_then(|path| schemas.get(path.rsplit('/').next()?));
            assert_ne!(part.and_then(|part| part.get("additionalProperties")), Some(&json!(false)), "{name}");
        }
    }
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_knows_airflows_fields() {
    let api = TestApi::new().await;
    let document = api.get("/openapi.json").await.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(!document.to_string().contains(PASSWORD));
    let trigger = &document["components"]["schemas"]["TriggerDagRunBody"];
    assert_eq!(trigger["required"], json!(["logical_date"]));
    // What refuses the fields that are not there is none itself.
    for name in ["TaskInstancesBatchBody", "DagRunsBatchBody"] {
        let body = document["components"]["schemas"][name].to_string();
        assert!(body.contains("order_by") && !body.contains("unknown") && !body.contains("executor"), "{name}: {body}");
    }
    // A clear answers one of two things.
    for (name, done) in
        [("DagRunClearResponse", "DagRunResponse"), ("BulkDagRunClearResponse", "DagRunCollectionResponse")]
    {
        let either = document["components"]["schemas"][name]["oneOf"].to_string();
        assert!(either.contains("TaskInstanceCollectionResponse") && either.contains(done), "{name}: {either}");
    }
    let paths: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    insta::assert_json_snapshot!(paths);
}
