//! Many changes in one request.

use axum::http::Method;
use serde_json::{Value, json};

use super::{HOSTILE, TestApi};
use crate::model::role::Role;

async fn entries(api: &TestApi, event: &str) -> Vec<Value> {
    let logs = api.get("/api/v2/eventLogs?limit=100").await.ok();
    let of_event = logs["event_logs"].as_array().unwrap().iter().filter(|entry| entry["event"] == event).cloned();
    of_event.collect()
}

fn object(entry: &Value) -> Value {
    serde_json::from_str::<Value>(entry["extra"].as_str().unwrap()).unwrap()["object"].clone()
}

#[tokio::test]
async fn variables_are_made_changed_and_deleted_many_at_a_time() {
    let api = TestApi::new().await;
    let create = |entities: Value, more: Value| {
        let mut action = json!({"action": "create", "entities": entities});
        action.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"actions": [action]})
    };
    let bulk = async |body: Value| api.patch("/api/v2/variables", body).await.ok();
    let two = json!([{"key": "a", "value": 1}, {"key": "b", "value": HOSTILE, "description": "second"}]);
    let made = bulk(create(two.clone(), json!({}))).await;
    assert_eq!(made, json!({"create": {"success": ["a", "b"], "errors": []}, "update": null, "delete": null}));
    assert_eq!(api.get("/api/v2/variables/b").await.ok()["value"], HOSTILE);

    // One is there: nothing is made, and what is there stays.
    let again = bulk(create(json!([{"key": "b", "value": "new"}, {"key": "c", "value": "3"}]), json!({}))).await;
    assert_eq!((&again["create"]["success"], &again["create"]["errors"][0]["status_code"]), (&json!([]), &json!(409)));
    assert!(again["create"]["errors"][0]["error"].as_str().unwrap().ends_with("made: `b`"), "{again}");
    api.get("/api/v2/variables/c").await.refused(404);
    let mixed = json!([{"key": "b", "value": "new"}, {"key": "c", "value": "3"}]);
    let skip = bulk(create(mixed.clone(), json!({"action_on_existence": "skip"}))).await;
    assert_eq!(skip["create"], json!({"success": ["c"], "errors": []}));
    assert_eq!(api.get("/api/v2/variables/b").await.ok()["value"], HOSTILE);
    let overwrite = bulk(create(mixed, json!({"action_on_existence": "overwrite"}))).await;
    assert_eq!(overwrite["create"]["success"], json!(["b", "c"]));
    assert_eq!(api.get("/api/v2/variables/b").await.ok()["value"], "new");

    // Several actions, in their order; one that is refused does not hold up the others.
    let answer = bulk(json!({"actions": [
        {"action": "update", "entities": [{"key": "nobody", "value": "x"}, {"key": "a", "value": "x"}]},
        {"action": "update", "entities": [{"key": "nobody", "value": "x"}, {"key": "a", "value": "2", "description": "no"}],
         "action_on_non_existence": "skip", "update_mask": ["value"]},
        {"action": "update", "entities": [{"key": "b", "value": "x", "team_name": "t"}, {"key": "c", "value": "4"}]},
        {"action": "delete", "entities": ["b", {"key": "c", "value": null}, "nobody"], "action_on_non_existence": "skip"},
        {"action": "delete", "entities": ["a b"]},
        {"action": "delete", "entities": ["b"]},
    ]}))
    .await;
    assert_eq!(answer["update"]["success"], json!(["a", "c"]), "{answer}");
    let said = |at: usize| {
        (answer["update"]["errors"][at]["status_code"].clone(), answer["update"]["errors"][at]["error"].clone())
    };
    assert_eq!(said(0), (json!(404), json!("variables do not exist, so that nothing was changed: `nobody`")));
    assert_eq!(said(1), (json!(422), json!("`b`: body.team_name: teams are not supported")));
    assert_eq!(answer["delete"]["success"], json!(["b", "c"]));
    let codes: Vec<_> = answer["delete"]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["status_code"].as_i64().unwrap())
        .collect();
    assert_eq!(codes, [404, 404]);
    let a = api.get("/api/v2/variables/a").await.ok();
    assert_eq!((&a["value"], &a["description"]), (&json!("2"), &Value::Null));

    // Each change is an entry of its own, and says what it was about.
    let objects: Vec<_> = entries(&api, "variable.write").await.iter().map(object).collect();
    assert_eq!(objects, ["a", "b", "c", "b", "c", "a", "c", "b", "c"].map(Value::from), "{objects:?}");
}

#[tokio::test]
async fn connections_and_pools_are_changed_many_at_a_time() {
    let api = TestApi::new().await;
    let connection = |id: &str, host: &str, password: &str| json!({"connection_id": id, "conn_type": "http", "host": host, "password": password});
    let body = json!({"actions": [
        {"action": "create", "entities": [connection("one", "a.example", "hunter2"), connection("two", "b.example", "x")]},
        // A secret does not go along to another host, here as elsewhere.
        {"action": "update", "entities": [connection("one", "evil.example", "***"), connection("two", "c.example", "y")]},
        {"action": "delete", "entities": ["two"]},
    ]});
    let answer = api.patch("/api/v2/connections", body).await.ok();
    assert_eq!(answer["create"]["success"], json!(["one", "two"]));
    assert_eq!(answer["update"]["success"], json!(["two"]));
    assert_eq!(answer["update"]["errors"][0]["status_code"], 422, "{answer}");
    assert_eq!(answer["delete"]["success"], json!(["two"]));
    assert!(!answer.to_string().contains("hunter2"));
    assert_eq!(api.get("/api/v2/connections/one").await.ok()["host"], "a.example");
    let written = entries(&api, "connection.write").await;
    assert_eq!(written.len(), 4);
    assert!(!Value::from(written).to_string().contains("hunter2"));

    let answer = api
        .patch(
            "/api/v2/pools",
            json!({"actions": [
                {"action": "create", "entities": [{"name": "few", "slots": 2}, {"name": "bad", "slots": -2}]},
                {"action": "update", "entities": [{"name": "few", "slots": 3}]},
                {"action": "delete", "entities": ["default_pool", "few"]},
            ]}),
        )
        .await
        .ok();
    assert_eq!(answer["create"]["success"], json!(["few"]));
    assert_eq!(answer["create"]["errors"][0]["error"], "`bad`: body.slots: it must be -1 (unlimited), 0 or more");
    assert_eq!(answer["update"]["success"], json!(["few"]));
    assert_eq!(answer["delete"]["success"], json!(["few"]));
    assert_eq!(answer["delete"]["errors"][0]["status_code"], 400, "{answer}");
    api.get("/api/v2/pools/default_pool").await.ok();
    api.get("/api/v2/pools/few").await.refused(404);
}

#[tokio::test]
async fn what_makes_no_sense_in_bulk_is_refused_with_its_place() {
    let api = TestApi::new().await;
    let a = json!({"key": "a", "value": 1});
    let many: Vec<_> = (0..1_001).map(|at| Value::from(format!("v{at}"))).collect();
    for (action, place) in [
        (json!({"action": "replace", "entities": []}), json!(["body", "actions", 0, "action"])),
        (json!({"action": "create", "entities": ["a"]}), json!(["body", "actions", 0, "entities"])),
        (
            json!({"action": "create", "entities": [{"key": "a"}]}),
            json!(["body", "actions", 0, "entities", 0, "value"]),
        ),
        (
            json!({"action": "create", "entities": [{"key": "a", "value": 1, "x": 1}]}),
            json!(["body", "actions", 0, "entities", 0, "x"]),
        ),
        (
            json!({"action": "create", "entities": [a], "update_mask": ["value"]}),
            json!(["body", "actions", 0, "update_mask"]),
        ),
        (
            json!({"action": "create", "entities": [], "action_on_non_existence": "skip"}),
            json!(["body", "actions", 0, "action_on_non_existence"]),
        ),
        (
            json!({"action": "delete", "entities": [], "action_on_existence": "skip"}),
            json!(["body", "actions", 0, "action_on_existence"]),
        ),
        (json!({"action": "delete", "entities": many}), json!(["body", "actions"])),
    ] {
        let refused = api.patch("/api/v2/variables", json!({"actions": [action]})).await.refused(422);
        assert_eq!(refused["detail"][0]["loc"], place, "{action}: {refused}");
    }
    assert_eq!(api.get("/api/v2/variables").await.ok()["total_entries"], 0);
    assert!(entries(&api, "variable.write").await.is_empty());
}

/// What can't be written down is not done, also where others of the request are.
#[tokio::test]
async fn a_change_in_bulk_and_its_entry_are_one_transaction() {
    let api = TestApi::new().await;
    api.store.break_audit_log(true).await;
    let body = json!({"actions": [{"action": "create", "entities": [{"key": "a", "value": 1}]}]});
    let answer = api.patch("/api/v2/variables", body).await.ok();
    api.store.break_audit_log(false).await;
    assert_eq!(answer["create"]["success"], json!([]));
    assert!(answer["create"]["errors"][0]["status_code"].as_u64().unwrap() >= 500, "{answer}");
    api.get("/api/v2/variables/a").await.refused(404);
}

#[tokio::test]
async fn runs_and_task_instances_are_changed_many_at_a_time() {
    let api = TestApi::new().await;
    for id in ["one", "two"] {
        api.post("/api/v2/dags/flow/dagRuns", json!({"dag_run_id": id, "logical_date": null})).await.ok();
    }
    let instances = "/api/v2/dags/flow/dagRuns/done/taskInstances";
    let body = json!({"actions": [
        {"action": "update", "entities": [
            {"task_id": "extract", "note": "seen"}, {"task_id": "load", "map_index": -1, "new_state": "failed"},
        ]},
        {"action": "update", "entities": [{"task_id": "load", "map_index": 7, "note": "x"}]},
        {"action": "create", "entities": [{"task_id": "extract"}]},
    ]});
    let answer = api.patch(instances, body.clone()).await.ok();
    assert_eq!(answer["update"]["success"], json!(["flow.done.extract", "flow.done.load[-1]"]), "{answer}");
    assert_eq!(answer["update"]["errors"][0]["status_code"], 404);
    assert_eq!(answer["create"]["errors"][0]["status_code"], 405, "{answer}");
    assert_eq!(api.get(&format!("{instances}/extract")).await.ok()["note"], "seen");
    assert_eq!(api.get(&format!("{instances}/load")).await.ok()["state"], "failed");
    let nowhere = api.patch("/api/v2/dags/~/dagRuns/~/taskInstances", body).await.ok();
    assert_eq!(nowhere["update"]["errors"][0]["status_code"], 400, "{nowhere}");
    let body = json!({"actions": [
        {"action": "delete", "entities": ["extract", "nothing"], "action_on_non_existence": "skip"},
        {"action": "delete", "entities": [{"task_id": "extract"}]},
    ]});
    let answer = api.patch(instances, body).await.ok();
    assert_eq!(answer["delete"]["success"], json!(["flow.done.extract[-1]"]), "{answer}");
    assert_eq!(answer["delete"]["errors"][0]["status_code"], 404, "{answer}");
    api.get(&format!("{instances}/extract")).await.refused(404);

    let body = json!({"actions": [
        {"action": "update", "entities": [
            {"dag_id": "flow", "dag_run_id": "one", "state": "failed", "note": "no"}, {"dag_run_id": "two", "note": "x"},
        ]},
        {"action": "update", "entities": [{"dag_id": "none", "dag_run_id": "one", "note": "x"}], "action_on_non_existence": "skip"},
        {"action": "delete", "entities": [{"dag_id": "flow", "dag_run_id": "two"}]},
    ]});
    let answer = api.patch("/api/v2/dags/~/dagRuns", body).await.ok();
    assert_eq!(answer["update"]["success"], json!(["flow.one"]), "{answer}");
    assert_eq!(answer["update"]["errors"][0]["status_code"], 400);
    assert_eq!(answer["delete"]["success"], json!(["flow.two"]));
    let one = api.get("/api/v2/dags/flow/dagRuns/one").await.ok();
    assert_eq!((&one["state"], &one["note"]), (&json!("failed"), &json!("no")));
    api.get("/api/v2/dags/flow/dagRuns/two").await.refused(404);

    let marks = entries(&api, "run.mark").await;
    assert_eq!(marks.len(), 3, "{marks:?}");
    assert_eq!((&marks[1]["task_id"], &marks[2]["run_id"]), (&json!("load"), &json!("one")), "{marks:?}");
    let deleted = entries(&api, "run.delete").await;
    let deleted: Vec<_> = deleted.iter().map(|entry| (&entry["dag_id"], &entry["run_id"], &entry["task_id"])).collect();
    let flow = json!("flow");
    assert_eq!(deleted, [(&flow, &json!("done"), &json!("extract")), (&flow, &json!("two"), &Value::Null)]);

    let clear = |more: Value| {
        let mut body = json!({"dag_runs": [{"dag_run_id": "done"}, {"dag_run_id": "one", "dag_id": "flow"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.post("/api/v2/dags/flow/clearDagRuns", body)
    };
    let of_both = clear(json!({})).await.ok();
    assert_eq!(of_both["total_entries"], 3, "what was deleted has nothing to show before it is there anew");
    let twice = json!({"dag_runs": vec![json!({"dag_run_id": "done"}); 1_000]});
    assert_eq!(clear(twice).await.ok()["total_entries"], 1, "a run that is named again is the same run");
    assert!(entries(&api, "task.clear").await.is_empty(), "a dry run changes nothing");
    let cleared = clear(json!({"dry_run": false, "note": "again"})).await.ok();
    let states: Vec<_> =
        cleared["dag_runs"].as_array().unwrap().iter().map(|run| (&run["state"], &run["note"])).collect();
    assert_eq!(states, [(&json!("queued"), &json!("again")); 2]);
    assert_eq!(entries(&api, "task.clear").await.len(), 2);
    assert_eq!(api.get(&format!("{instances}/extract")).await.ok()["try_number"], 0);
    for (wrong, status) in [
        (json!({"dag_runs": []}), 422),
        (json!({"dag_runs": [{"dag_run_id": "nobody"}]}), 404),
        (json!({"dag_runs": [{"dag_run_id": "done", "state": "failed"}]}), 422),
        (json!({"dag_runs": [{"dag_run_id": "done"}], "partition_key": "k"}), 422),
        (json!({"dag_runs": [{"dag_run_id": "done", "dag_id": "nobody"}]}), 404),
    ] {
        api.post("/api/v2/dags/flow/clearDagRuns", wrong).await.refused(status);
    }
}

/// Who may mark runs may not delete them by this way either, nor those of other dags.
#[tokio::test]
async fn bulk_gives_nobody_more_than_one_by_one() {
    let mut api = TestApi::new().await;
    let admin = api.token.clone();
    api.sign_in_as(Role::Viewer).await;
    let nothing = json!({"actions": []});
    for path in [
        "/api/v2/variables",
        "/api/v2/connections",
        "/api/v2/pools",
        "/api/v2/dags/flow/dagRuns",
        "/api/v2/dags/~/dagRuns",
        "/api/v2/dags/flow/dagRuns/done/taskInstances",
        "/api/v2/dags/~/dagRuns/~/taskInstances",
    ] {
        api.patch(path, nothing.clone()).await.refused(403);
    }
    api.post("/api/v2/dags/flow/clearDagRuns", json!({"dag_runs": [{"dag_run_id": "done"}]})).await.refused(403);
    let group = "/api/v2/dags/flow/dagRuns/done/taskGroupInstances/g";
    api.patch(group, json!({"note": "x"})).await.refused(403);
    api.send(Method::PATCH, &format!("{group}/dry_run"), Some(json!({"note": "x"}))).await.refused(403);
    api.post("/api/v2/assets/1/materialize", json!({})).await.refused(403);
    api.get("/api/v2/config").await.refused(403);
    api.token = admin;
    let permissions = json!([{"dags": "other", "role": "operator"}, {"dags": "flow", "role": "viewer"}]);
    let user =
        json!({"username": "eve", "password": super::PASSWORD, "role": "member", "dag_permissions": permissions});
    api.post("/api/v2/users", user).await.ok();
    let token = api.post("/auth/token", json!({"username": "eve", "password": super::PASSWORD})).await.ok();
    api.token = token["access_token"].as_str().unwrap().to_owned();
    let body = json!({"actions": [
        {"action": "update", "entities": [{"dag_id": "flow", "dag_run_id": "done", "note": "mine"}]},
        {"action": "delete", "entities": [{"dag_id": "flow", "dag_run_id": "done"}]},
    ]});
    let answer = api.patch("/api/v2/dags/~/dagRuns", body).await.ok();
    for action in ["update", "delete"] {
        assert_eq!(answer[action]["errors"][0]["status_code"], 403, "{answer}");
    }
    let body = json!({"actions": [
        {"action": "update", "entities": [{"dag_id": "flow", "dag_run_id": "done", "task_id": "load", "note": "mine"}]},
        {"action": "delete", "entities": [{"dag_id": "flow", "dag_run_id": "done", "task_id": "load"}]},
    ]});
    let answer = api.patch("/api/v2/dags/~/dagRuns/~/taskInstances", body).await.ok();
    for action in ["update", "delete"] {
        assert_eq!(answer[action]["errors"][0]["status_code"], 403, "{answer}");
    }
    let body = json!({"dag_runs": [{"dag_id": "flow", "dag_run_id": "done"}], "dry_run": false});
    api.post("/api/v2/dags/~/clearDagRuns", body).await.refused(403);
    assert_eq!(api.get("/api/v2/dags/flow/dagRuns/done").await.ok()["note"], Value::Null);
}
