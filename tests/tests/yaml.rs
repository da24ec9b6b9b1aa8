//! Dags in YAML, through the real binary: what runs, what is refused, and each whole dag of the peer.

use std::{collections::BTreeMap, time::Duration};

use airlock_tests::{Client, Server, Shell, build, until};
use reqwest::Method;
use serde_json::{Map, Value, json};

async fn control() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    (server, client)
}

const NIGHTLY: &str = "
dag_id: nightly
params: {sizes: [1, 2, 3]}
default_args: {retry_delay: 0s}
tasks:
  list: {uses: control/map_list, from: {items: params.sizes}}
  each: {uses: control/fail_first_n, each: {n: tasks.list}, retries: 2}
  pause: {uses: control/sleep, with: {duration: 10ms}, needs: [each], trigger_rule: all_done}
  decide: {uses: control/branch, with: {follow: [full]}, needs: [pause]}
  full: {uses: control/empty, needs: [decide]}
  quick: {uses: control/empty, needs: [decide], labels: {decide: in a hurry}}
";

#[tokio::test]
async fn tasks_are_entries_of_other_components() {
    let (_server, client) = control().await;
    let uploaded = client.upload(NIGHTLY.into()).await.ok();
    assert_eq!((&uploaded["created"], &uploaded["dags"][0]["dag_id"]), (&json!(true), &json!("nightly")));
    let again = client.upload(NIGHTLY.into()).await.ok();
    assert_eq!((&again["created"], &again["dags"][0]["changed"]), (&json!(false), &json!(false)));

    let run_id = client.trigger("nightly", json!({})).await;
    assert_eq!(client.finished("nightly", &run_id).await["state"], "success");
    let states = states(&client, "nightly", &run_id).await;
    // The third needs four tries and has three.
    assert_eq!(states["each"], json!({"0": "success", "1": "success", "2": "failed"}));
    assert_eq!((&states["full"], &states["quick"]), (&json!("success"), &json!("skipped")));
    let instances = format!("/api/v2/dags/nightly/dagRuns/{run_id}/taskInstances");
    for (index, ended) in [(0, &["failed", "success"][..]), (2, &["failed", "failed", "failed"])] {
        let tries = client.get(&format!("{instances}/each/{index}/tries")).await.ok();
        let tries = tries["task_instances"].as_array().unwrap();
        assert!(tries.iter().map(|one| one["state"].as_str().unwrap()).eq(ended.iter().copied()), "{tries:?}");
    }
    let list = client.get(&format!("{instances}/list")).await.ok();
    assert_eq!((&list["task_id"], &list["state"]), (&json!("list"), &json!("success")));
    // What no template names is named by its index.
    let second = client.get(&format!("{instances}?rendered_map_index_pattern=1")).await.ok();
    assert_eq!(second["total_entries"], 1);
    assert_eq!(second["task_instances"][0]["rendered_map_index"], "1");
    assert_eq!(client.get(&format!("{instances}/full")).await.ok()["rendered_map_index"], Value::Null);

    let digest = uploaded["digest"].as_str().unwrap();
    let component = client.get(&format!("/api/v2/components/{digest}")).await.ok();
    assert_eq!((&component["kind"], &component["name"]), (&json!("yaml"), &Value::Null));
    let request = client.request(Method::GET, &format!("/api/v2/components/{digest}/yaml"));
    assert_eq!(request.send().await.unwrap().text().await.unwrap(), NIGHTLY);
    let refused = client.get(&format!("/api/v2/components/{digest}/wasm")).await.refused(404);
    assert!(refused.contains("/yaml"), "{refused}");
}

const ASKING: &str = "
dag_id: asking_in_yaml
grants: {dags: [asking_in_yaml]}
tasks:
  itself: {uses: control/external_task_sensor, with: {dag_id: asking_in_yaml, newest: true}}
  ship: {uses: control/approve, with: {subject: Ship it?, assignees: [admin]}}
  pay: {uses: control/approve, with: {subject: Pay it?}}
  paid: {uses: control/empty, needs: [pay], trigger_rule: none_failed}
  share:
    uses: control/ask
    with: {subject: How many?, options: [some, all], params: {percent: {type: integer, maximum: 100, default: 5}}}
  way: {uses: control/ask_branch, with: {subject: Which way?, options: [left, right]}}
  left: {uses: control/empty, needs: [way]}
  right: {uses: control/empty, needs: [way]}
  orders: {uses: control/wait_for_asset, with: {asset: orders}, inlets: [orders]}
";

#[tokio::test]
async fn people_and_assets_are_waited_for_and_the_own_run_is_not() {
    let (_server, client) = control().await;
    client.upload(ASKING.into()).await.ok();
    let run_id = client.trigger("asking_in_yaml", json!({})).await;
    let wait = "waits";
    until("all wait", Duration::from_secs(30), async || {
        let states = states(&client, "asking_in_yaml", &run_id).await;
        let waiting = ["ship", "pay", "share", "way", "orders"].iter().all(|task| states[*task] == "up_for_reschedule");
        (waiting && states["itself"] == "failed").then_some(wait)
    })
    .await;
    let log = client.log("asking_in_yaml", &run_id, "itself", 1).await;
    assert!(log.contains("it waits for its own run, which can't end before it does"), "{log}");
    for (task, options, values) in [
        ("ship", "Approve", json!({})),
        ("pay", "Reject", json!({})),
        ("share", "some", json!({"percent": 7})),
        ("way", "right", json!({})),
    ] {
        let path = format!("/api/v2/dags/asking_in_yaml/dagRuns/{run_id}/taskInstances/{task}/-1/hitlDetails");
        client.patch(&path, &json!({"chosen_options": [options], "params_input": values})).await.ok();
    }
    let assets = client.get("/api/v2/assets").await.ok();
    let event = json!({"asset_id": assets["assets"][0]["id"], "extra": {"rows": 3}});
    client.post("/api/v2/assets/events", &event).await.ok();
    client.finished("asking_in_yaml", &run_id).await;
    let states = states(&client, "asking_in_yaml", &run_id).await;
    assert_eq!(
        (&states["ship"], &states["left"], &states["right"]),
        (&json!("success"), &json!("skipped"), &json!("success"))
    );
    // Whatever the trigger rule says of what is skipped.
    assert_eq!((&states["pay"], &states["paid"]), (&json!("success"), &json!("skipped")));
    let answer = client.xcom("asking_in_yaml", &run_id, "share", "return_value").await;
    assert_eq!(answer, json!({"chosen": ["some"], "values": {"percent": 7}, "username": "admin"}));
    let orders = client.xcom("asking_in_yaml", &run_id, "orders", "return_value").await;
    assert_eq!(orders, json!({"rows": 3, "from_rest_api": true}));
}

#[tokio::test]
async fn a_new_component_of_the_name_is_used_from_the_next_upload_of_the_text_on() {
    let (mut server, client) = control().await;
    client.upload(NIGHTLY.into()).await.ok();
    // Another build of the same component: a custom section is no part of what it does.
    let mut other = build::component("control");
    other.extend_from_slice(b"\x00\x05\x04note");
    let other = client.upload(other).await.ok();
    let version = async |client: &Client| {
        client.get("/api/v2/dags/nightly/dagVersions").await.ok()["dag_versions"].as_array().unwrap().len()
    };
    assert_eq!(version(&client).await, 1, "a dag keeps the components that it was uploaded with");
    let uploaded = client.upload(NIGHTLY.into()).await.ok();
    assert_eq!((&uploaded["created"], &uploaded["dags"][0]["changed"]), (&json!(false), &json!(true)));
    assert_eq!(version(&client).await, 2);
    assert_eq!(other["created"], true);
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let run_id = client.trigger("nightly", json!({"sizes": []})).await;
    assert_eq!(client.finished("nightly", &run_id).await["state"], "success");
}

#[tokio::test]
async fn versions_are_compared_and_rolled_back() {
    let (server, client) = control().await;
    client.upload(NIGHTLY.into()).await.ok();
    let changed =
        NIGHTLY.replace("retries: 2}", "retries: 7}").replace("dag_id: nightly", "dag_id: nightly\ntags: [new]");
    client.upload(changed.into()).await.ok();
    let differences = client.get("/api/v2/dags/nightly/dagVersions/2/differences").await.ok();
    // The text is another, and the code of its tasks is not.
    assert_eq!((&differences["since"], &differences["component_changed"]), (&json!(1), &json!(false)));
    let lines: Vec<_> =
        differences["differences"].as_array().unwrap().iter().map(|it| (&it["of"], &it["field"])).collect();
    assert_eq!(lines, [(&json!("dag"), &json!("tags")), (&json!("task each"), &json!("retries"))]);
    client.get("/api/v2/dags/nightly/dagVersions/1/differences").await.refused(404);
    client.get("/api/v2/dags/nightly/dagVersions/2/differences?since=9").await.refused(404);

    let run_id = client.trigger("nightly", json!({"sizes": []})).await;
    let shell = Shell::signed_in(&server).await;
    let told = shell.run(&["dags", "roll-back", "nightly", "2"]).await.failed(4);
    assert!(told.contains("version 2 of dag `nightly` is what its newest version, 2, is"), "{told}");
    shell.run(&["dags", "roll-back", "nightly", "1"]).await.ok();
    assert!(shell.run(&["dags", "versions", "nightly"]).await.ok().contains('3'));
    assert!(shell.run(&["dags", "diff", "nightly", "3", "--since", "2"]).await.ok().contains("retries"));
    let same = client.get("/api/v2/dags/nightly/dagVersions/3/differences?since=1").await.ok();
    assert_eq!((&same["differences"], &same["component_changed"]), (&json!([]), &json!(false)));
    assert_eq!(client.get("/api/v2/dags/nightly").await.ok()["tags"], json!([]));
    // A run keeps its version; the next has the newest.
    assert_eq!(client.finished("nightly", &run_id).await["dag_versions"][0]["version_number"], 2);
    let run_id = client.trigger("nightly", json!({"sizes": []})).await;
    assert_eq!(client.finished("nightly", &run_id).await["dag_versions"][0]["version_number"], 3);

    let page = async |path: &str| client.request(Method::GET, path).send().await.unwrap().text().await.unwrap();
    assert!(page("/dags/nightly/details").await.contains("/dags/nightly/versions/2"));
    let shown = page("/dags/nightly/versions/2").await;
    assert!(shown.contains("What changed since version 1") && shown.contains("Roll back to it"), "{shown}");
    assert!(page("/dags/nightly/versions/1").await.contains("The first version"));
}

/// It once counted after a restart only.
#[tokio::test]
async fn a_pool_that_is_changed_on_the_page_counts_at_once() {
    let (_server, client) = control().await;
    client.post("/api/v2/pools", &json!({"name": "narrow", "slots": 0})).await.ok();
    client.upload("dag_id: pooled\ntasks: {t: {uses: control/empty, pool: narrow}}\n".into()).await.ok();
    let run_id = client.trigger("pooled", json!({})).await;
    until("it waits for a slot", Duration::from_secs(10), async || {
        (states(&client, "pooled", &run_id).await["t"] == "scheduled").then_some(())
    })
    .await;
    let form = client.request(Method::POST, "/pools/edit").header("content-type", "application/x-www-form-urlencoded");
    let saved = form.body("key=narrow&slots=1&description=&is_new=false").send().await.unwrap();
    assert!(saved.status().is_success() || saved.status().is_redirection(), "{}", saved.status());
    assert_eq!(client.finished("pooled", &run_id).await["state"], "success");
}

/// One slot, and a task that waits with it: the other starts when the pool no longer counts those who wait.
#[tokio::test]
async fn a_waiting_task_keeps_its_slot_in_a_pool_that_says_so() {
    let (mut server, client) = control().await;
    let pool = json!({"name": "narrow", "slots": 1, "include_deferred": true});
    client.post("/api/v2/pools", &pool).await.ok();
    let dag = "dag_id: slotted\ntasks:\n  first: {uses: control/wait_until, with: {at: \"2099-01-01T00:00:00Z\"}, \
               pool: narrow, priority_weight: 9}\n  second: {uses: control/empty, pool: narrow}\n";
    client.upload(dag.into()).await.ok();
    let run_id = client.trigger("slotted", json!({})).await;
    let stands = async |client: &Client, first: &str, second: &str| {
        until("both stand so", Duration::from_secs(20), async || {
            let states = states(client, "slotted", &run_id).await;
            (states["first"] == first && states["second"] == second).then_some(())
        })
        .await;
    };
    stands(&client, "up_for_reschedule", "scheduled").await;
    let pool = client.get("/api/v2/pools/narrow").await.ok();
    assert_eq!(
        (&pool["deferred_slots"], &pool["occupied_slots"], &pool["open_slots"]),
        (&json!(1), &json!(1), &json!(0))
    );
    server.kill();
    server.restart().await;
    let client = server.client().await;
    stands(&client, "up_for_reschedule", "scheduled").await;
    let path = format!("/api/v2/dags/slotted/dagRuns/{run_id}/taskInstances/second/dependencies");
    assert!(client.get(&path).await.ok().to_string().contains("1 slots of its pool, of which 0 are free"));
    client.patch("/api/v2/pools/narrow", &json!({"include_deferred": false})).await.ok();
    stands(&client, "up_for_reschedule", "success").await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_line_and_column_and_changes_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let refused = client.upload(NIGHTLY.into()).await.refused(422);
    assert!(refused.contains("line 6, column 16: no component named `control` has been uploaded"), "{refused}");
    client.upload(build::component("control")).await.ok();

    let twice = format!("{NIGHTLY}---{NIGHTLY}");
    assert!(client.upload(twice.into()).await.refused(422).contains("carries dag `nightly` twice"));
    let second_is_wrong = format!("{NIGHTLY}---\ndag_id: other\ntasks:\n  t: {{uses: control/nothing}}\n");
    let refused = client.upload(second_is_wrong.into()).await.refused(422);
    assert!(refused.contains("line 15, column 13: component `control` has no entry `nothing`"), "{refused}");
    assert!(client.upload(vec![0xff, 0xfe]).await.refused(422).contains("neither a WebAssembly component nor"));
    client.get("/api/v2/dags/nightly").await.refused(404);

    let shell = Shell::signed_in(&server).await;
    let file = shell.file("nightly.yaml", "dag_id: nightly\ntasks: 7\n");
    let told = shell.run(&["deploy", &file]).await.failed(4);
    assert!(told.contains("nightly.yaml") && told.contains("line 2, column 8"), "{told}");
    let file = shell.file("good.yaml", NIGHTLY);
    assert!(shell.run(&["deploy", &file]).await.ok().contains("nightly"));
}

#[tokio::test]
async fn the_examples_of_the_docs_are_accepted() {
    let (_server, client) = control().await;
    let docs = concat!(include_str!("../../docs/yaml.md"), include_str!("../../docs/templates.md"));
    let examples: Vec<_> = docs.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        client.upload(example.into()).await.ok();
    }
    let run_id = client.trigger("grouped", json!({})).await;
    assert_eq!(client.finished("grouped", &run_id).await["state"], "success");
    let states = states(&client, "grouped", &run_id).await;
    assert_eq!(states["check"], json!({"0": "success", "1": "skipped"}));
    assert_eq!(states["close"], "success");
}

#[tokio::test]
async fn editors_get_a_schema() {
    let server = Server::start().await;
    let anonymous = Client::anonymous(&server.url);
    let schema = anonymous.get("/schemas/dag.json").await.ok();
    assert!(schema["properties"]["tasks"].is_object());
    assert!(schema["$defs"]["TaskFile"]["properties"]["uses"]["description"].is_string());
    let printed = Shell::new().run(&["schema"]).await.ok();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), schema);
}

/// The states of a run's tasks; of a mapped task, by map_index.
async fn states(client: &Client, dag_id: &str, run_id: &str) -> BTreeMap<String, Value> {
    let mut states: BTreeMap<String, Value> = BTreeMap::new();
    for instance in client.instances(dag_id, run_id).await {
        let (task_id, state) = (instance["task_id"].as_str().unwrap().to_owned(), instance["state"].clone());
        match instance["map_index"].as_i64().unwrap() {
            -1 => drop(states.insert(task_id, state)),
            index => states.entry(task_id).or_insert_with(|| json!({}))[index.to_string()] = state,
        }
    }
    states
}

/// A case of `states.json` as YAML (of which JSON is a part).
fn dag(case: &Value) -> Value {
    let mut tasks = Map::new();
    let mut groups = Map::new();
    for task in case["tasks"].as_array().unwrap() {
        if let Some(group) = task["group"].as_str() {
            groups.insert(group.to_owned(), json!({}));
        }
        tasks.insert(task["id"].as_str().unwrap().to_owned(), entry(task));
    }
    if case["mapped_group"].is_object() {
        let group = &case["mapped_group"];
        let id = group["id"].as_str().unwrap();
        groups.insert(id.to_owned(), json!({"each": {"how": group["over"]}}));
        let mut before: Option<String> = None;
        for inner in group["inner"].as_array().unwrap() {
            let mut task = entry(inner);
            task["group"] = json!(id);
            match &before {
                None => {
                    task["uses"] = json!("control/end");
                    task["from"] = json!({"how": "each.how"});
                }
                Some(before) => task["needs"] = json!([before]),
            }
            let task_id = format!("{id}.{}", inner["id"].as_str().unwrap());
            tasks.insert(task_id.clone(), task);
            before = Some(task_id);
        }
    }
    for edge in case["edges"].as_array().unwrap() {
        let (from, to) = (edge[0].as_str().unwrap(), edge[1].as_str().unwrap());
        let downstream = tasks.get_mut(to).or_else(|| groups.get_mut(to)).unwrap();
        match downstream["needs"].as_array_mut() {
            Some(needs) => needs.push(json!(from)),
            None => downstream["needs"] = json!([from]),
        }
    }
    json!({"dag_id": case["id"], "description": case["name"], "default_args": {"retry_delay": "0s"}, "tasks": tasks, "groups": groups})
}

/// The entry that acts as the task of a case did.
fn entry(task: &Value) -> Value {
    let (uses, with) = match (task["kind"].as_str().unwrap_or("task"), task["outcome"].as_str()) {
        (_, Some("fail")) => ("fail", json!({})),
        (_, Some("fail_no_retry")) => ("fail", json!({"retry": false})),
        (_, Some("skip")) => ("skip", json!({})),
        ("branch", _) => ("branch", json!({"follow": task["follow"].as_array().cloned().unwrap_or_default()})),
        ("short_circuit", _) => {
            let rules = task["ignore_downstream_trigger_rules"].as_bool().unwrap_or(true);
            ("short_circuit", json!({"condition": task["condition"], "ignore_downstream_trigger_rules": rules}))
        }
        ("sensor", _) => {
            let soft_fail = task["soft_fail"].as_bool().unwrap_or(false);
            ("sensor", json!({"satisfied": task["satisfied"], "timeout": "0s", "soft_fail": soft_fail}))
        }
        ("latest_only", _) => ("latest_only", json!({})),
        _ if task["fail_attempts"].is_u64() => ("fail_first_n", json!({"n": task["fail_attempts"]})),
        _ if task["returns"].is_array() => ("map_list", json!({"items": task["returns"]})),
        _ if task["mapped"].is_array() || task["mapped_from"].is_string() => ("end", json!({})),
        _ => ("empty", json!({})),
    };
    let mut entry = json!({"uses": format!("control/{uses}"), "with": with});
    if task["mapped"].is_array() {
        entry["each"] = json!({"how": task["mapped"]});
    }
    if let Some(list) = task["mapped_from"].as_str() {
        entry["each"] = json!({"how": format!("tasks.{list}")});
    }
    for key in ["group", "retries", "trigger_rule", "setup", "teardown", "on_failure_fail_dagrun"] {
        if !task[key].is_null() {
            entry[key] = task[key].clone();
        }
    }
    entry
}

#[tokio::test]
async fn whole_dags_end_as_the_peers() {
    let (_server, client) = control().await;
    let file: Value = serde_json::from_str(include_str!("../conformance/states.json")).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let text: Vec<_> = cases.iter().map(|case| dag(case).to_string()).collect();
    let uploaded = client.upload(text.join("\n---\n").into()).await.ok();
    assert_eq!(uploaded["dags"].as_array().unwrap().len(), cases.len());

    let mut runs = Vec::new();
    for case in cases {
        let dag_id = case["id"].as_str().unwrap();
        runs.push((case, dag_id, client.trigger(dag_id, json!({})).await));
    }
    let mut wrong = Vec::new();
    for (case, dag_id, run_id) in runs {
        let state = client.finished(dag_id, &run_id).await["state"].clone();
        let seen = json!({"tasks": states(&client, dag_id, &run_id).await, "run": state});
        let expected = [&case["expected"]].into_iter().chain(case["alternatives"].as_array().into_iter().flatten());
        let mut expected = expected.map(|it| json!({"tasks": it["tasks"], "run": it["run"]}));
        if !expected.any(|expected| expected == seen) {
            wrong.push(format!("{dag_id} {}: {seen}\n    not {}", case["name"], case["expected"]));
        }
        for (task_id, attempts) in case["expected"]["attempts"].as_object().into_iter().flatten() {
            let path = format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}");
            let tried = client.get(&path).await.ok()["try_number"].clone();
            if tried != *attempts {
                wrong.push(format!("{dag_id}: {task_id} had {tried} tries, not {attempts}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
