//! Dags that start dags and wait for them, through the real binary.

use std::{fmt::Write as _, time::Duration};

use airlock_tests::{Client, Server, build, until};
use reqwest::Method;
use serde_json::json;

async fn shapes() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    (server, client)
}

#[tokio::test]
async fn a_task_starts_a_run_waits_for_it_and_both_lead_to_each_other() {
    let (_server, client) = shapes().await;
    let run_id = client.trigger("starter", json!({})).await;
    assert_eq!(client.finished("starter", &run_id).await["state"], "success");
    let started = client.xcom("starter", &run_id, "start", "return_value").await;
    let started = started.as_str().unwrap();
    let run = client.get(&format!("/api/v2/dags/awaited/dagRuns/{started}")).await.ok();
    assert_eq!((&run["run_type"], &run["triggered_by"]), (&json!("operator_triggered"), &json!("operator")));
    assert_eq!((&run["note"], &run["conf"]), (&json!("started by a test"), &json!({"fail": false})));

    let of_child = client.get(&format!("/api/v2/dags/awaited/dagRuns/{started}/triggers")).await.ok();
    assert_eq!(of_child["triggering_task"]["dag_run_id"], json!(run_id));
    let of_parent = client.get(&format!("/api/v2/dags/starter/dagRuns/{run_id}/triggers")).await.ok();
    assert_eq!(of_parent["total_entries"], 1);
    assert_eq!(of_parent["triggered_dag_runs"][0]["dag_run"]["dag_run_id"], started);
    assert_eq!(client.list("/api/v2/dags/awaited/dagRuns", "dag_runs").await.len(), 1, "however often it asked");

    let run_id = client.trigger("starter", json!({"fail": true})).await;
    assert_eq!(client.finished("starter", &run_id).await["state"], "failed");
    let log = client.log("starter", &run_id, "start", 1).await;
    assert!(log.contains("of dag `awaited` is failed"), "{log}");
}

#[tokio::test]
async fn what_is_not_granted_not_there_or_does_not_fit_is_told() {
    let (_server, client) = shapes().await;
    for (dag_id, why) in [
        ("starter", "grant `dag:starter` is missing"),
        ("missing", "dag `missing` does not exist"),
        ("awaited", "param `fail`: \"maybe\" is not of type \"boolean\""),
    ] {
        let run_id = client.trigger("wrong_starter", json!({"dag_id": dag_id})).await;
        assert_eq!(client.finished("wrong_starter", &run_id).await["state"], "failed");
        let log = client.log("wrong_starter", &run_id, "start_wrong", 1).await;
        assert!(log.contains(why), "{log}");
    }
    for (dag_id, why) in [("missing", "there is no dag `missing`"), ("starter", "grant `dag:starter` is missing")] {
        let run_id = client.trigger("waiter", json!({"dag_id": dag_id})).await;
        assert_eq!(client.finished("waiter", &run_id).await["state"], "failed");
        let log = client.log("waiter", &run_id, "newest", 1).await;
        assert!(log.contains(why), "{log}");
    }
}

#[tokio::test]
async fn runs_that_start_each_other_come_to_an_end() {
    let (_server, client) = shapes().await;
    client.trigger("endless", json!({})).await;
    let path = "/api/v2/dags/endless/dagRuns?state=failed";
    let failed = airlock_tests::until("the last run", std::time::Duration::from_mins(1), async || {
        client.get(path).await.ok()["dag_runs"].as_array().unwrap().first().cloned()
    })
    .await;
    let log = client.log("endless", failed["dag_run_id"].as_str().unwrap(), "start_itself", 1).await;
    assert!(log.contains("do dags trigger each other in a circle?"), "{log}");
    assert_eq!(client.get("/api/v2/dags/endless/dagRuns").await.ok()["total_entries"], 101);
}

#[tokio::test]
async fn a_wait_outlives_the_server() {
    let (mut server, client) = shapes().await;
    let run_id = client.trigger("waiter", json!({})).await;
    let waits = async |client: &Client| {
        airlock_tests::until("the task to wait", std::time::Duration::from_secs(30), async || {
            let instance = client.instances("waiter", &run_id).await.remove(0);
            (instance["state"] == "up_for_reschedule").then_some(())
        })
        .await;
    };
    waits(&client).await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    waits(&client).await;
    let awaited = client.trigger("awaited", json!({})).await;
    assert_eq!(client.finished("waiter", &run_id).await["state"], "success");
    assert_eq!(client.xcom("waiter", &run_id, "newest", "return_value").await, json!(awaited));
}

#[tokio::test]
async fn a_task_says_through_an_alias_which_assets_it_made() {
    let (mut server, client) = shapes().await;
    client.patch("/api/v2/dags/on_tables", &json!({"is_paused": true})).await.ok();
    let run_id = client.trigger("make_tables", json!({"fails": true})).await;
    assert_eq!(client.finished("make_tables", &run_id).await["state"], "failed");
    let queued = "/api/v2/dags/on_tables/assets/queuedEvents";
    assert_eq!(client.get(queued).await.ok()["total_entries"], 0, "a task that fails makes nothing");
    let run_id = client.trigger("make_tables", json!({})).await;
    assert_eq!(client.finished("make_tables", &run_id).await["state"], "success");
    // Under the alias all three, and under its own name the one that the dag waits for itself.
    assert_eq!(client.get(queued).await.ok()["total_entries"], 4);
    server.kill();
    server.restart().await;
    let client = server.client().await;
    client.patch("/api/v2/dags/on_tables", &json!({"is_paused": false})).await.ok();
    let run = airlock_tests::until("the run", std::time::Duration::from_secs(30), async || {
        client.list("/api/v2/dags/on_tables/dagRuns", "dag_runs").await.pop()
    })
    .await;
    let run_id = run["dag_run_id"].as_str().unwrap();
    assert_eq!(client.finished("on_tables", run_id).await["state"], "success");
    let updated = client.xcom("on_tables", run_id, "updated", "return_value").await;
    assert_eq!(updated, json!([["tables/a", 0], ["tables/b", 1], ["tables/ledger", 2]]));
    // No dag names what tasks updated through an alias.
    let active = client.list("/api/v2/assets", "assets").await;
    assert!(active.iter().all(|asset| asset["name"] != "tables/a"), "{active:?}");
    let assets = client.list("/api/v2/assets?only_active=false", "assets").await;
    let uri = |name: &str| assets.iter().find(|asset| asset["name"] == name).unwrap()["uri"].clone();
    assert_eq!((uri("tables/a"), uri("tables/ledger")), (json!("tables/a"), json!("s3://shop/ledger")));
    assert_eq!(client.get(queued).await.ok()["total_entries"], 0);

    let aliases = client.get("/api/v2/assets/aliases").await.ok();
    assert_eq!((&aliases["total_entries"], &aliases["asset_aliases"][0]["name"]), (&json!(1), &json!("tables")));
    assert!(assets.iter().all(|asset| asset["name"] != "tables"), "an alias is no asset: {assets:?}");
    let id = &aliases["asset_aliases"][0]["id"];
    let through = client.list(&format!("/api/v2/assets/events?asset_id={id}&order_by=id"), "asset_events").await;
    let names: Vec<_> = through.iter().map(|event| event["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tables/a", "tables/b", "tables/ledger"]);

    let run_id = client.trigger("on_own", json!({})).await;
    assert_eq!(client.finished("on_own", &run_id).await["state"], "failed");
    let log = client.log("on_own", &run_id, "tables", 1).await;
    assert!(log.contains("dag `on_own` runs after it and would start itself for ever"), "{log}");
}

#[tokio::test]
async fn events_are_dropped_that_were_made_before_an_instant_and_the_others_count() {
    let (_server, client) = shapes().await;
    let make = async |dag_id: &str, conf| {
        let run_id = client.trigger(dag_id, conf).await;
        assert_eq!(client.finished(dag_id, &run_id).await["state"], "success");
    };
    make("make_orders", json!({"rows": 3})).await;
    make("make_orders", json!({"rows": 4})).await;
    let queued = "/api/v2/dags/on_both/assets/queuedEvents";
    let events = client.list(queued, "queued_events").await;
    let before = format!("{queued}?before={}", events[1]["created_at"].as_str().unwrap());
    assert_eq!(client.get(&before).await.ok()["queued_events"], json!([events[0]]));
    client.delete(&before).await.ok();
    client.delete(&before).await.refused(404);
    assert_eq!(client.get(queued).await.ok()["queued_events"], json!([events[1]]));
    make("make_prices", json!({})).await;
    let run = airlock_tests::until("the run", std::time::Duration::from_secs(30), async || {
        client.list("/api/v2/dags/on_both/dagRuns", "dag_runs").await.pop()
    })
    .await;
    let run_id = run["dag_run_id"].as_str().unwrap();
    client.finished("on_both", run_id).await;
    assert_eq!(client.xcom("on_both", run_id, "rows", "return_value").await, json!([4, 4]));

    for (query, expected) in [
        ("has_asset_schedule=true&asset_dependency=ORDERS", 1),
        ("has_asset_schedule=true&asset_dependency=s3://shop/orders", 1),
        ("has_asset_schedule=false&asset_dependency=orders", 0),
        ("asset_dependency=nothing", 0),
        ("dag_run_state=success&dag_id_pattern=on_both&dag_run_end_date_gte=2020-01-01", 1),
        ("dag_run_state=failed&dag_run_state=queued&dag_id_pattern=on_both", 0),
        ("dag_run_start_date_lt=2020-01-01", 0),
    ] {
        assert_eq!(client.get(&format!("/api/v2/dags?{query}")).await.ok()["total_entries"], expected, "{query}");
    }
    for (query, expected) in [("dag_ids=on_both", 2), ("dag_ids=make_prices&dag_ids=none", 1), ("dag_ids=none", 0)] {
        assert_eq!(client.get(&format!("/api/v2/assets?{query}")).await.ok()["total_entries"], expected, "{query}");
    }
}

#[tokio::test]
async fn a_dag_runs_when_the_assets_that_it_waits_for_were_made() {
    let (_server, client) = shapes().await;
    let make = async |dag_id: &str, conf| {
        let run_id = client.trigger(dag_id, conf).await;
        client.finished(dag_id, &run_id).await
    };
    make("make_orders", json!({})).await;
    assert_eq!(make("make_orders", json!({"rows": 0})).await["state"], "failed");
    make("make_orders", json!({"rows": 4})).await;
    let queued = client.get("/api/v2/dags/on_both/assets/queuedEvents").await.ok();
    assert_eq!(queued["total_entries"], 2);
    make("make_prices", json!({})).await;
    let run = airlock_tests::until("the run", std::time::Duration::from_secs(30), async || {
        client.list("/api/v2/dags/on_both/dagRuns", "dag_runs").await.pop()
    })
    .await;
    assert_eq!((&run["run_type"], &run["logical_date"]), (&json!("asset_triggered"), &json!(null)));
    let run_id = run["dag_run_id"].as_str().unwrap();
    assert_eq!(client.finished("on_both", run_id).await["state"], "success");
    assert_eq!(client.xcom("on_both", run_id, "rows", "return_value").await, json!([7, 4]));
    let events = client.get(&format!("/api/v2/dags/on_both/dagRuns/{run_id}/upstreamAssetEvents")).await.ok();
    assert_eq!(events["total_entries"], 3);
    let event = &events["asset_events"][0];
    assert_eq!((&event["name"], &event["extra"]), (&json!("orders"), &json!({"rows": 3})));
    assert_eq!((&event["source_dag_id"], &event["source_task_id"]), (&json!("make_orders"), &json!("orders")));
    assert_eq!(event["created_dagruns"][0]["run_id"], json!(run_id));

    let assets = client.list("/api/v2/assets", "assets").await;
    let orders = &assets[0];
    assert_eq!((&orders["uri"], &orders["group"]), (&json!("s3://shop/orders"), &json!("tables")));
    assert_eq!(orders["scheduled_dags"][0]["dag_id"], "on_both");
    assert_eq!(orders["producing_tasks"][0]["task_id"], "orders");
    assert_eq!(orders["consuming_tasks"][0]["task_id"], "rows");
    let details = client.get("/api/v2/dags/on_both/details").await.ok();
    assert_eq!(
        details["asset_expression"],
        json!({"all": [
            {"asset": {"uri": "s3://shop/orders", "name": "orders", "group": "tables"}},
            {"asset": {"uri": "prices", "name": "prices", "group": "asset"}},
        ]})
    );

    for asset in &assets {
        let body = json!({"asset_id": asset["id"], "extra": {"by": "hand"}});
        let event = client.post("/api/v2/assets/events", &body).await.ok();
        assert_eq!(event["created_by"], "admin");
        assert_eq!(event["extra"], json!({"by": "hand", "from_rest_api": true}));
        let stored = client.get(&format!("/api/v2/assets/{}", asset["id"])).await.ok();
        assert_eq!(stored["last_asset_event"], json!({"id": event["id"], "timestamp": event["timestamp"]}));
    }
    airlock_tests::until("the second run", std::time::Duration::from_secs(30), async || {
        (client.list("/api/v2/dags/on_both/dagRuns", "dag_runs").await.len() == 2).then_some(())
    })
    .await;
    client.post("/api/v2/assets/events", &json!({"asset_id": 999_999})).await.refused(404);
    let log = client.list("/api/v2/eventLogs?event=run.trigger", "event_logs").await;
    let named = |name: &str| log.iter().any(|entry| entry["extra"].to_string().contains(&format!("\\\"{name}\\\"")));
    assert!(named("orders") && named("prices"), "{log:?}");
    client.delete("/api/v2/dags/on_both/assets/queuedEvents").await.refused(404);
}

#[tokio::test]
async fn dags_that_would_start_each_other_for_ever_are_refused() {
    let (_server, client) = shapes().await;
    client.upload(build::component("control")).await.ok();
    let dag = |id: &str, after: &str, makes: &str| {
        let task = format!("{{uses: control/empty, outlets: [{makes}]}}");
        format!("dag_id: {id}\nasset_schedule: {after}\ntasks:\n  make: {task}\n").into_bytes()
    };
    client.upload(dag("first", "a", "b")).await.ok();
    let refused = client.upload(dag("second", "b", "a")).await.refused(422);
    assert!(refused.contains("`second` -> `first` -> `second`"), "{refused}");
    client.upload(dag("second", "[b, c]", "a")).await.ok();
}

/// Posts `body` to a webhook, signed as another system does it.
async fn post_signed(client: &Client, path: &str, secret: &str, key: Option<&str>, body: &str) -> u16 {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    #[expect(clippy::disallowed_methods, reason = "another system has a clock of its own")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let target = path.trim_start_matches("/hooks/").replace("%2B", "+").replace("%3A", ":");
    mac.update(format!("{now}\n{target}\n{}\n{body}", key.unwrap_or_default()).as_bytes());
    let mut signature = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}").unwrap();
    }
    let request = client.http.post(format!("{}{path}", client.base)).header("x-airlock-timestamp", now);
    let request = request.header("x-airlock-signature", signature);
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    request.body(body.to_owned()).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_webhook_wakes_the_task_that_waits_for_it_and_no_other() {
    let (mut server, client) = shapes().await;
    let run_id = client.trigger("paying", json!({})).await;
    let task = format!("/api/v2/dags/paying/dagRuns/{run_id}/taskInstances/paid");
    let waits = async |client: &Client| {
        until("it waits", Duration::from_secs(20), async || {
            (client.get(&task).await.ok()["state"] == "up_for_reschedule").then_some(())
        })
        .await;
    };
    waits(&client).await;
    let made = client.send(client.request(Method::PUT, "/api/v2/dags/paying/webhook")).await.ok();
    let secret = made["secret"].as_str().unwrap().to_owned();
    server.kill();
    server.restart().await;
    let client = server.client().await;
    waits(&client).await;

    let hook = format!("/hooks/paying/{}/paid", run_id.replace('+', "%2B").replace(':', "%3A"));
    let post = async |path: &str, secret: &str, body: &str| post_signed(&client, path, secret, None, body).await;
    assert_eq!(post(&hook, "wrong", r#"{"amount": 7}"#).await, 401);
    assert_eq!(post(&hook, &secret, "{").await, 422);
    assert_eq!(post(&hook.replace("/paid", "/other"), &secret, "{}").await, 404);
    // No person may answer in its place.
    let answer = json!({"chosen_options": ["received"], "params_input": {"payload": {"amount": 1}}});
    client.patch(&format!("{task}/-1/hitlDetails"), &answer).await.refused(403);

    assert_eq!(post(&hook, &secret, r#"{"amount": 7}"#).await, 204);
    assert_eq!(client.finished("paying", &run_id).await["state"], "success");
    assert_eq!(client.get(&format!("{task}/xcomEntries/return_value")).await.ok()["value"], 7);
    // The same again is as good as the first; another is too late.
    assert_eq!(post(&hook, &secret, r#"{"amount":7}"#).await, 204);
    assert_eq!(post(&hook, &secret, r#"{"amount": 8}"#).await, 409);
}

#[tokio::test]
async fn a_delivery_that_comes_again_answers_no_other_question_of_the_task() {
    let (_server, client) = shapes().await;
    let run_id = client.trigger("paying", json!({})).await;
    let task = format!("/api/v2/dags/paying/dagRuns/{run_id}/taskInstances/paid");
    let waits = async || {
        until("it waits", Duration::from_secs(20), async || {
            (client.get(&task).await.ok()["state"] == "up_for_reschedule").then_some(())
        })
        .await;
    };
    let made = client.send(client.request(Method::PUT, "/api/v2/dags/paying/webhook")).await.ok();
    let secret = made["secret"].as_str().unwrap();
    let hook = format!("/hooks/paying/{}/paid", run_id.replace('+', "%2B").replace(':', "%3A"));
    let post = async |key: &str, body: &str| post_signed(&client, &hook, secret, Some(key), body).await;
    waits().await;
    assert_eq!(post("first", r#"{"amount": 7}"#).await, 204);
    assert_eq!(client.finished("paying", &run_id).await["state"], "success");

    let clear = json!({"dag_run_id": run_id, "task_ids": ["paid"], "only_failed": false, "dry_run": false});
    client.post("/api/v2/dags/paying/clearTaskInstances", &clear).await.ok();
    waits().await;
    assert_eq!(post("first", r#"{"amount":7}"#).await, 204);
    assert_eq!(post("first", r#"{"amount": 8}"#).await, 409);
    assert_eq!(client.get(&task).await.ok()["state"], "up_for_reschedule");
    assert_eq!(post("second", r#"{"amount": 9}"#).await, 204);
    assert_eq!(client.finished("paying", &run_id).await["state"], "success");
    assert_eq!(client.get(&format!("{task}/xcomEntries/return_value")).await.ok()["value"], 9);
    assert_eq!(post("first", r#"{"amount": 7}"#).await, 204);
}
