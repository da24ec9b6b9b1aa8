//! What Airflow lists besides: stats, tags, warnings, sources, aliases, jobs, settings.

use serde_json::{Value, json};

use super::{TestApi, at, task};
use crate::{
    blobs::keys,
    model::{
        ids::{DagId, Digest, EntryName, RunId},
        role::Role,
        spec::{AssetSpec, ComponentKind, DagSpec, ExpandSpec, GroupSpec, ListSpec, ModuleSpec, NodeSpec},
        state::TaskState,
    },
    store::{Commit, DagRunKey, DagRunNew, Deploy, InstanceKey, InstanceNew, Placement},
};

/// Adds a dag, of a component of this kind.
async fn deploy(api: &TestApi, digest: u8, kind: ComponentKind, dag: DagSpec) {
    let module = ModuleSpec { kind, sdk: "test".into(), dags: vec![dag], ..ModuleSpec::default() };
    let blob = keys::component(&Digest([digest; 32]), kind);
    let deploy = Deploy { blob, paused_default: true, ..Deploy::of_test(digest, module, at(0)) };
    api.store.deploy(&deploy).await.unwrap();
}

fn asset(name: &str, is_alias: bool) -> AssetSpec {
    AssetSpec { name: name.into(), uri: name.into(), group: "asset".into(), extra: None, is_alias }
}

#[tokio::test]
async fn runs_are_counted_by_state_for_each_dag() {
    let api = TestApi::new().await;
    deploy(&api, 9, ComponentKind::Wasm, DagSpec::new("quiet")).await;
    api.post("/api/v2/dags/flow/dagRuns", json!({"dag_run_id": "new", "logical_date": null})).await.ok();
    let stats = api.get("/api/v2/dagStats").await.ok();
    assert_eq!(stats["total_entries"], 2);
    let counted = |dag: &Value| {
        let of = |stat: &Value| format!("{} {}", stat["state"].as_str().unwrap(), stat["count"]);
        dag["stats"].as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(stats["dags"][0]["dag_display_name"], "The flow");
    assert_eq!(counted(&stats["dags"][0]), "queued 1, running 0, success 1, failed 0");
    assert_eq!(counted(&stats["dags"][1]), "queued 0, running 0, success 0, failed 0");
    assert_eq!(api.get("/api/v2/dagStats?dag_ids=flow&dag_ids=none").await.ok()["total_entries"], 1);
    let many: Vec<_> = (0..101).map(|at| format!("dag_ids=d{at}")).collect();
    api.get(&format!("/api/v2/dagStats?{}", many.join("&"))).await.refused(422);
}

#[tokio::test]
async fn a_page_of_runs_has_a_bound_in_bytes_and_the_run_itself_has_its_whole_conf() {
    let api = TestApi::new().await;
    let conf = json!({"target": 7, "much": "x".repeat(500_000)});
    let body = json!({"dag_run_id": "large", "logical_date": null, "conf": conf});
    assert_eq!(api.post("/api/v2/dags/flow/dagRuns", body).await.ok()["conf"], conf);
    assert_eq!(api.get("/api/v2/dags/flow/dagRuns/large").await.ok()["conf"], conf);
    for listed in [
        api.get("/api/v2/dags/flow/dagRuns?order_by=-id").await.ok(),
        api.post("/api/v2/dags/~/dagRuns/list", json!({"order_by": "-id"})).await.ok(),
    ] {
        let runs = listed["dag_runs"].as_array().unwrap();
        assert_eq!((&runs[0]["dag_run_id"], &runs[0]["conf"]), (&json!("large"), &Value::Null));
        assert!(runs[1]["conf"].is_object(), "{listed}");
    }
}

#[tokio::test]
async fn what_all_runs_of_a_backfill_are_given_has_a_bound() {
    let api = TestApi::new().await;
    let backfill = |bytes: usize| {
        let conf = json!({"target": 7, "much": "x".repeat(bytes)});
        json!({"dag_id": "flow", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z", "dag_run_conf": conf})
    };
    let refused = api.post("/api/v2/backfills/dry_run", backfill(70_000)).await.refused(422);
    assert!(refused.to_string().contains("65536 are the most"), "{refused}");
    api.post("/api/v2/backfills/dry_run", backfill(1_000)).await.ok();
}

/// As `airflowctl backfill create` asks.
#[tokio::test]
async fn a_backfill_is_asked_for_as_airflows_command_does() {
    let api = TestApi::new().await;
    let asked = |latest: Value, reprocess: &str| {
        json!({
            "dag_id": "flow", "from_date": "2026-01-01T00:00:00", "to_date": "2026-01-02", "run_backwards": false,
            "reprocess_behavior": reprocess, "max_active_runs": 10, "run_on_latest_version": latest,
        })
    };
    let dry_run = "/api/v2/backfills/dry_run";
    for (latest, reprocess) in [(json!(false), "none"), (json!(false), "completed"), (json!(true), "none")] {
        let planned = api.post(dry_run, asked(latest, reprocess)).await.ok();
        assert_eq!(planned["backfills"][0]["logical_date"], "2026-01-01T21:00:00Z", "{planned}");
    }
    api.post(dry_run, asked(Value::Null, "failed")).await.ok();
    let refused = api.post(dry_run, asked(json!(true), "failed")).await.refused(400);
    assert!(refused["detail"].as_str().unwrap().contains("keep their version"), "{refused}");
}

#[tokio::test]
async fn patterns_have_a_bound_and_tags_are_counted() {
    let api = TestApi::new().await;
    let tags = ["raw".to_owned(), "etl".to_owned()];
    deploy(&api, 9, ComponentKind::Wasm, DagSpec { tags: tags.into(), ..DagSpec::new("load") }).await;
    for (list, field) in [
        ("dags", "dag_id"),
        ("variables", "variable_key"),
        ("connections", "connection_id"),
        ("pools", "pool_name"),
        ("assets", "name"),
        ("assets", "uri"),
        ("assets/aliases", "name"),
        ("dagTags", "tag_name"),
    ] {
        for kind in ["pattern", "prefix_pattern"] {
            let ask = async |pattern: &str| api.get(&format!("/api/v2/{list}?{field}_{kind}={pattern}")).await;
            ask(&"a%7C".repeat(100)).await.ok();
            ask(&"a%7C".repeat(101)).await.refused(400);
            ask(&"a".repeat(50_000)).await.refused(400);
        }
    }
    let found = async |tags: String| api.get(&format!("/api/v2/dags?{tags}tags_match_mode=all")).await.ok();
    assert_eq!(found("tags=raw&tags=etl&".repeat(1_000)).await["total_entries"], 1);
    let many: Vec<_> = (0..4_000).map(|number| format!("tags=t{number}&")).collect();
    assert_eq!(found(many.concat()).await["total_entries"], 0);
}

#[tokio::test]
async fn patterns_know_or_and_beginnings() {
    let api = TestApi::new().await;
    deploy(&api, 9, ComponentKind::Wasm, DagSpec { tags: vec!["raw".into(), "etl".into()], ..DagSpec::new("Load_x") })
        .await;
    deploy(&api, 10, ComponentKind::Wasm, DagSpec { tags: vec!["Etc".into()], ..DagSpec::new("reload") }).await;
    let found = async |list: &str, field: &str, query: &str| {
        let answer = api.get(&format!("/api/v2/{list}?{query}")).await.ok();
        let names = answer[list].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned());
        let names: Vec<_> = names.collect();
        assert_eq!(answer["total_entries"], names.len(), "{list} {query}");
        names.join(" ")
    };
    for (query, dags) in [
        ("dag_id_pattern=load", "Load_x reload"),
        ("dag_id_pattern=flow%7Cre", "flow reload"),
        ("dag_id_pattern=flow%20%7C%20~", "Load_x flow reload"),
        ("dag_id_pattern=%7C", "Load_x flow reload"),
        ("dag_id_prefix_pattern=Load", "Load_x"),
        ("dag_id_prefix_pattern=load", ""),
        ("dag_id_prefix_pattern=L%25", ""),
        ("dag_id_prefix_pattern=fl%7Cre", "flow reload"),
        ("dag_id_prefix_pattern=fl%7Cre&dag_id_pattern=e", "reload"),
    ] {
        assert_eq!(found("dags", "dag_id", query).await, dags, "{query}");
    }
    for name in ["alpha", "Beta", "gamma"] {
        api.post("/api/v2/variables", json!({"key": name, "value": ""})).await.ok();
        api.post("/api/v2/pools", json!({"name": name, "slots": 1})).await.ok();
        api.post("/api/v2/connections", json!({"connection_id": name, "conn_type": "http"})).await.ok();
    }
    assert_eq!(found("variables", "key", "variable_key_pattern=BET%7Cgam").await, "Beta gamma");
    assert_eq!(found("variables", "key", "variable_key_prefix_pattern=b%7Cal").await, "alpha");
    assert_eq!(found("connections", "connection_id", "connection_id_pattern=ta%7Cmm").await, "Beta gamma");
    assert_eq!(found("connections", "connection_id", "connection_id_prefix_pattern=Be").await, "Beta");
    assert_eq!(found("pools", "name", "pool_name_pattern=alph%7Cdefault").await, "alpha default_pool");
    assert_eq!(found("pools", "name", "pool_name_prefix_pattern=ga").await, "gamma");

    let tags = async |query: &str| api.get(&format!("/api/v2/dagTags?{query}")).await.ok();
    assert_eq!(tags("").await, json!({"tags": ["Etc", "etl", "raw"], "total_entries": 3}));
    assert_eq!(tags("tag_name_pattern=et&order_by=-name&limit=1").await, json!({"tags": ["etl"], "total_entries": 2}));
    assert_eq!(tags("tag_name_prefix_pattern=et%7Cr").await["tags"], json!(["etl", "raw"]));
}

/// Dags without runs come where the others have nothing.
#[tokio::test]
async fn dags_are_ordered_by_their_last_runs() {
    let api = TestApi::new().await;
    for (digest, name) in [(8, "zebra"), (9, "ape")] {
        deploy(&api, digest, ComponentKind::Wasm, DagSpec::new(name)).await;
    }
    for field in ["last_run_state", "last_run_start_date"] {
        let listed = api.get(&format!("/api/v2/dags?order_by=-{field}")).await.ok();
        let ids: Vec<_> =
            listed["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["flow", "zebra", "ape"], "{field}");
    }
    api.get("/api/v2/dags?order_by=next_dagrun").await.refused(400);
}

#[tokio::test]
async fn lists_are_ordered_as_asked_or_refuse_it() {
    let api = TestApi::new().await;
    let assets = vec![asset("wheat", false), asset("barley", false)];
    let node = NodeSpec { outlets: vec!["wheat".into(), "barley".into()], ..NodeSpec::new("make", "work") };
    deploy(&api, 9, ComponentKind::Wasm, DagSpec { nodes: vec![node], assets, ..DagSpec::new("load") }).await;
    for name in ["beta", "gamma"] {
        api.post("/api/v2/variables", json!({"key": name, "value": ""})).await.ok();
        api.post("/api/v2/pools", json!({"name": name, "slots": 1})).await.ok();
        api.post("/api/v2/connections", json!({"connection_id": name, "conn_type": "http"})).await.ok();
    }
    for (list, field, forth) in [
        ("variables", "key", "beta gamma"),
        ("connections", "connection_id", "beta gamma"),
        ("pools", "name", "beta default_pool gamma"),
        ("assets", "name", "barley wheat"),
    ] {
        let listed = async |query: &str| {
            let answer = api.get(&format!("/api/v2/{list}?{query}")).await.ok();
            let names = answer[list].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        let forth: Vec<_> = forth.split(' ').collect();
        let back: Vec<_> = forth.iter().rev().copied().collect();
        assert_eq!(listed("").await, forth, "{list}");
        assert_eq!(listed(&format!("order_by={field}")).await, forth, "{list}");
        assert_eq!(listed(&format!("order_by=-{field}")).await, back, "{list}");
        assert_eq!(listed(&format!("order_by=-{field}&limit=1")).await, back[..1], "{list}");
        api.get(&format!("/api/v2/{list}?order_by=description")).await.refused(400);
    }
    let ids = api.get("/api/v2/assets?order_by=-id").await.ok();
    assert!(ids["assets"][0]["id"].as_i64() > ids["assets"][1]["id"].as_i64(), "{ids}");

    let runs = "dags/flow/dagRuns";
    for (list, taken) in [
        ("assets/aliases".to_owned(), "-name"),
        ("importErrors".to_owned(), "-timestamp"),
        ("jobs".to_owned(), "id"),
        ("backfills".to_owned(), "-id"),
        ("components".to_owned(), "-uploaded_at"),
        ("users".to_owned(), "username"),
        ("tokens".to_owned(), "username"),
        ("dags/flow/dagVersions".to_owned(), "-version_number"),
        (runs.to_owned(), "start_date&order_by=id"),
        (format!("{runs}/done/taskInstances"), "-map_index&order_by=-task_id"),
        (format!("{runs}/done/taskInstances/~/xcomEntries"), "task_id&order_by=map_index"),
        (format!("{runs}/~/hitlDetails"), ""),
        (format!("{runs}/done/callbacks"), ""),
        (format!("{runs}/done/triggers"), ""),
    ] {
        let order = if taken.is_empty() { String::new() } else { format!("?order_by={taken}") };
        api.get(&format!("/api/v2/{list}{order}")).await.ok();
        let refused = api.get(&format!("/api/v2/{list}?order_by=-colour")).await.refused(400);
        assert!(refused["detail"].as_str().unwrap().contains("can't be ordered by"), "{list}: {refused}");
    }
    for order in ["uri", "-created_at", "updated_at"] {
        assert_eq!(api.get(&format!("/api/v2/assets?order_by={order}")).await.ok()["total_entries"], 2, "{order}");
    }
    let barley = &ids["assets"].as_array().unwrap().iter().find(|asset| asset["name"] == "barley").unwrap()["id"];
    let events = "/api/v2/assets/events";
    for _ in 0..2 {
        api.post(events, json!({"asset_id": barley})).await.ok();
    }
    for source in ["source_dag_id", "source_run_id", "source_task_id", "source_map_index"] {
        let first = async |order: &str| {
            let answer = api.get(&format!("{events}?asset_id={barley}&order_by={order}")).await.ok();
            assert_eq!(answer["total_entries"], 2, "{order}");
            answer["asset_events"][0]["id"].as_i64().unwrap()
        };
        let (forth, back) = (first(source).await, first(&format!("-{source}")).await);
        assert!(forth < back, "those of one source are told apart by their key");
        assert!(forth == first("timestamp").await && back == first("-id").await);
        let refused = api.get(&format!("{events}?order_by={source}")).await.refused(400);
        assert!(refused["detail"].as_str().unwrap().contains("name `asset_id`"), "{refused}");
    }
    for wrong in [
        "jobs?order_by=-id".to_owned(),
        format!("{runs}?order_by=start_date&order_by=end_date"),
        format!("{runs}?order_by=start_date&order_by=-id"),
        format!("{runs}/done/taskInstances?order_by=state&order_by=start_date"),
    ] {
        api.get(&format!("/api/v2/{wrong}")).await.refused(400);
    }
}

#[tokio::test]
async fn instances_of_a_mapped_task_are_listed_and_of_no_other() {
    let api = TestApi::new().await;
    let each = ExpandSpec { axes: vec![vec![ListSpec::Literal("[1,2]".into())]] };
    let group = |id: &str, parent: Option<&str>, expand| GroupSpec {
        group_id: id.into(),
        parent: parent.map(Into::into),
        doc: None,
        expand,
    };
    let spec = DagSpec {
        nodes: vec![
            NodeSpec { expand: Some(each.clone()), ..NodeSpec::new("count", "work") },
            NodeSpec { expand: Some(each.clone()), ..NodeSpec::new("idle", "work") },
            NodeSpec { group: Some("inner".into()), ..NodeSpec::new("inside", "work") },
            NodeSpec::new("plain", "work"),
        ],
        groups: vec![group("outer", None, Some(each)), group("inner", Some("outer"), None)],
        ..DagSpec::new("mapped")
    };
    deploy(&api, 9, ComponentKind::Wasm, spec).await;
    let dag = api.store.dag_get(&DagId::new("mapped").unwrap()).await.unwrap().unwrap();
    let run = DagRunNew::queued(DagRunKey(2), dag.dag_id, RunId::new("one").unwrap(), dag.version, at(0));
    let new = |(task_id, map_index)| InstanceNew {
        key: InstanceKey { dag_run: DagRunKey(2), map_index, ..task(task_id) },
        state: TaskState::None,
        max_tries: 1,
        placement: Placement::usual(EntryName::new("work").unwrap()),
    };
    let instances = [("count", 0), ("count", 1), ("inside", 0), ("inside", 1), ("plain", -1)].map(new);
    let commit = Commit { dag_runs_new: vec![run], instances_new: instances.into(), now: at(1), ..Commit::default() };
    api.store.commit(&commit).await.unwrap();

    let instances = "/api/v2/dags/mapped/dagRuns/one/taskInstances";
    for (query, count) in [
        ("count/listMapped", 2),
        ("count/listMapped?map_index=1", 1),
        ("count/listMapped?state=success", 0),
        ("inside/listMapped", 2),
        ("idle/listMapped", 0),
    ] {
        assert_eq!(api.get(&format!("{instances}/{query}")).await.ok()["total_entries"], count, "{query}");
    }
    let refused = api.get(&format!("{instances}/plain/listMapped")).await.refused(404);
    assert_eq!(refused["detail"], "task `plain` is not mapped");
    let refused = api.get(&format!("{instances}/none/listMapped")).await.refused(404);
    assert_eq!(refused["detail"], "the run's dag_version has no task `none`");
    // Also while a run that was cleared is queued again.
    let refused = api.get(&format!("{instances}/count")).await.refused(404);
    assert!(refused["detail"].as_str().unwrap().contains("the task is mapped"), "{refused}");

    let listed = async |order: &str| {
        let answer = api.get(&format!("{instances}?order_by={order}")).await.ok();
        let name = |one: &Value| format!("{} {}", one["task_id"].as_str().unwrap(), one["map_index"]);
        answer["task_instances"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    let mut expected = ["plain -1", "count 0", "inside 0", "count 1", "inside 1"];
    assert_eq!(listed("map_index").await, expected);
    expected.reverse();
    assert_eq!(listed("-map_index").await, expected);
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_a_warning_until_it_is_made() {
    let api = TestApi::new().await;
    assert_eq!(api.get("/api/v2/dagWarnings").await.ok(), json!({"dag_warnings": [], "total_entries": 0}));
    let node = |task_id: &str| NodeSpec { pool: "few".into(), ..NodeSpec::new(task_id, "work") };
    deploy(&api, 9, ComponentKind::Wasm, DagSpec { nodes: vec![node("a"), node("b")], ..DagSpec::new("load") }).await;
    let warnings = api.get("/api/v2/dagWarnings").await.ok();
    let warning = &warnings["dag_warnings"][0];
    assert_eq!((&warnings["total_entries"], &warning["dag_id"]), (&json!(1), &json!("load")));
    assert_eq!(warning["warning_type"], "non-existent pool");
    assert_eq!(warning["message"], "there is no pool `few`: until it is made, `a`, `b` wait");
    for (query, count) in [
        ("dag_id=load", 1),
        ("dag_id=flow", 0),
        ("warning_type=non-existent%20pool", 1),
        ("warning_type=asset%20conflict", 0),
        ("offset=1", 1),
    ] {
        assert_eq!(api.get(&format!("/api/v2/dagWarnings?{query}")).await.ok()["total_entries"], count, "{query}");
    }
    api.post("/api/v2/pools", json!({"name": "few", "slots": 1})).await.ok();
    assert_eq!(api.get("/api/v2/dagWarnings").await.ok()["total_entries"], 0);
}

#[tokio::test]
async fn a_component_has_no_source_and_a_text_that_is_gone_is_said() {
    let api = TestApi::new().await;
    let refused = api.get("/api/v2/dagSources/flow").await.refused(404);
    assert!(refused["detail"].as_str().unwrap().contains("/wasm"), "{refused}");
    api.get("/api/v2/dagSources/flow?version_number=7").await.refused(404);
    api.get("/api/v2/dagSources/none").await.refused(404);
    deploy(&api, 9, ComponentKind::Yaml, DagSpec::new("text")).await;
    api.get("/api/v2/dagSources/text").await.refused(503);
}

#[tokio::test]
async fn aliases_are_listed_apart_from_assets() {
    let api = TestApi::new().await;
    let node = NodeSpec { outlets: vec!["tables".into(), "orders".into()], ..NodeSpec::new("make", "work") };
    let assets = vec![asset("tables", true), asset("orders", false)];
    deploy(&api, 9, ComponentKind::Wasm, DagSpec { nodes: vec![node], assets, ..DagSpec::new("load") }).await;
    let aliases = api.get("/api/v2/assets/aliases?name_pattern=TAB").await.ok();
    let alias = aliases["asset_aliases"][0].clone();
    assert_eq!(
        (&aliases["total_entries"], &alias["name"], &alias["group"]),
        (&json!(1), &json!("tables"), &json!("asset"))
    );
    assert_eq!(api.get(&format!("/api/v2/assets/aliases/{}", alias["id"])).await.ok(), alias);
    assert_eq!(api.get("/api/v2/assets/aliases?name_prefix_pattern=o").await.ok()["total_entries"], 0);
    let assets = api.get("/api/v2/assets").await.ok();
    assert_eq!((&assets["total_entries"], &assets["assets"][0]["name"]), (&json!(1), &json!("orders")));
    assert_eq!(assets["assets"][0]["last_asset_event"], json!({"id": null, "timestamp": null}));
    api.get(&format!("/api/v2/assets/aliases/{}", assets["assets"][0]["id"])).await.refused(404);
    api.get("/api/v2/assets/aliases/100").await.refused(404);
    // What the next upload says counts.
    let not_any_more = DagSpec { assets: vec![asset("tables", false)], ..DagSpec::new("load") };
    deploy(&api, 10, ComponentKind::Wasm, not_any_more).await;
    assert_eq!(api.get("/api/v2/assets/aliases").await.ok()["total_entries"], 0);
}

#[tokio::test]
async fn an_asset_is_materialized_by_the_one_dag_that_makes_it() {
    let api = TestApi::new().await;
    let maker = |dag_id: &str, outlets: &[&str]| DagSpec {
        nodes: vec![NodeSpec {
            outlets: outlets.iter().map(|name| (*name).into()).collect(),
            ..NodeSpec::new("make", "work")
        }],
        assets: ["one", "both", "nobodys"].map(|name| asset(name, false)).into(),
        ..DagSpec::new(dag_id)
    };
    deploy(&api, 9, ComponentKind::Wasm, maker("flow", &["one", "both"])).await;
    deploy(&api, 10, ComponentKind::Wasm, maker("other", &["both"])).await;
    let id = async |name: &str| {
        let found = api.get(&format!("/api/v2/assets?only_active=false&name_pattern={name}")).await.ok();
        found["assets"][0]["id"].to_string()
    };
    // No task makes or reads it, and no dag runs after it.
    assert_eq!(api.get("/api/v2/assets?name_pattern=nobodys").await.ok()["total_entries"], 0);
    assert_eq!(api.get("/api/v2/assets").await.ok()["total_entries"], 2);
    let path = |id: &str| format!("/api/v2/assets/{id}/materialize");
    let one = id("one").await;
    let run = api.send(axum::http::Method::POST, &path(&one), None).await.ok();
    assert_eq!((&run["dag_id"], &run["state"], &run["run_type"]), (&json!("flow"), &json!("queued"), &json!("manual")));
    let body = json!({"dag_run_id": "mine", "note": "by hand", "conf": {}});
    assert_eq!(api.post(&path(&one), body.clone()).await.ok()["dag_run_id"], "mine");
    api.post(&path(&one), body).await.refused(409);
    api.post(&path(&one), json!({"partition_key": "k"})).await.refused(422);
    api.post(&path(&id("both").await), json!({})).await.refused(409);
    api.post(&path(&id("nobodys").await), json!({})).await.refused(404);
    api.post(&path("100"), json!({})).await.refused(404);
    let logs = api.get("/api/v2/eventLogs?limit=100").await.ok();
    let made: Vec<_> =
        logs["event_logs"].as_array().unwrap().iter().filter(|entry| entry["event"] == "run.trigger").collect();
    assert_eq!(made.len(), 2);
    assert_eq!((&made[1]["dag_id"], &made[1]["run_id"]), (&json!("flow"), &json!("mine")));
}

#[tokio::test]
async fn tasks_of_a_group_are_marked_together() {
    let api = TestApi::new().await;
    let group = |id: &str, parent: Option<&str>| GroupSpec {
        group_id: id.into(),
        parent: parent.map(Into::into),
        doc: None,
        expand: None,
    };
    let spec = DagSpec {
        nodes: [("a", Some("outer")), ("b", Some("inner")), ("c", None)]
            .map(|(task, group)| NodeSpec { group: group.map(Into::into), ..NodeSpec::new(task, "work") })
            .into(),
        groups: vec![group("outer", None), group("inner", Some("outer")), group("empty", None)],
        ..DagSpec::new("flow")
    };
    assert_eq!(spec.tasks_of_group("outer"), Some(vec!["a", "b"]));
    assert_eq!(spec.tasks_of_group("inner"), Some(vec!["b"]));
    assert_eq!(spec.tasks_of_group("empty"), Some(Vec::new()));
    assert_eq!(spec.tasks_of_group("none"), None);
    let path = "/api/v2/dags/flow/dagRuns/done/taskGroupInstances/none";
    let refused = api.patch(path, json!({"new_state": "failed"})).await.refused(404);
    assert_eq!(refused["detail"], "dag_run `done` has no task group `none`");
}

#[tokio::test]
async fn what_can_not_be_there_is_an_empty_list() {
    let api = TestApi::new().await;
    for (path, field) in [
        ("importErrors", "import_errors"),
        ("plugins", "plugins"),
        ("plugins/importErrors", "import_errors"),
        ("providers", "providers"),
    ] {
        assert_eq!(api.get(&format!("/api/v2/{path}")).await.ok(), json!({field: [], "total_entries": 0}), "{path}");
    }
    api.get("/api/v2/importErrors/1").await.refused(404);
    let jobs = api.get("/api/v2/jobs").await.ok();
    assert_eq!((&jobs["total_entries"], &jobs["jobs"][0]["job_type"]), (&json!(1), &json!("SchedulerJob")));
    assert!(jobs["jobs"][0]["latest_heartbeat"].is_string(), "{jobs}");
    for (query, count) in
        [("is_alive=true", 1), ("is_alive=false", 0), ("job_type=WorkerJob", 0), ("job_state=running", 1)]
    {
        assert_eq!(api.get(&format!("/api/v2/jobs?{query}")).await.ok()["total_entries"], count, "{query}");
    }
    // The router in process has no settings.
    assert_eq!(api.get("/api/v2/config").await.ok(), json!({"sections": []}));
    api.get("/api/v2/config?section=core").await.refused(404);
    api.get("/api/v2/config/section/core/option/listen").await.refused(404);
}

#[tokio::test]
async fn favorites_are_ones_own() {
    let mut api = TestApi::new().await;
    deploy(&api, 9, ComponentKind::Wasm, DagSpec::new("quiet")).await;
    let listed = async |api: &TestApi, is_favorite: bool| {
        let answer = api.get(&format!("/api/v2/dags?is_favorite={is_favorite}")).await.ok();
        let names = answer["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let is_favorite = async |api: &TestApi| api.get("/api/v2/dags/flow/details").await.ok()["is_favorite"].clone();
    assert_eq!((listed(&api, true).await.len(), is_favorite(&api).await), (0, json!(false)));
    let answer = api.post("/api/v2/dags/flow/favorite", Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.bytes.len()), (204, 0));
    assert_eq!((listed(&api, true).await, listed(&api, false).await), (vec!["flow".into()], vec!["quiet".into()]));
    assert_eq!(is_favorite(&api).await, true);
    let again = api.post("/api/v2/dags/flow/favorite", Value::Null).await.refused(409);
    assert_eq!(again["detail"], "dag `flow` is already a favorite of yours");
    api.post("/api/v2/dags/quiet/unfavorite", Value::Null).await.refused(409);
    api.post("/api/v2/dags/nothing/favorite", Value::Null).await.refused(404);

    // Whoever may only look has marks too.
    api.sign_in_as(Role::Viewer).await;
    assert_eq!((listed(&api, true).await.len(), is_favorite(&api).await), (0, json!(false)));
    api.post("/api/v2/dags/flow/favorite", Value::Null).await.ok();
    api.post("/api/v2/dags/flow/unfavorite", Value::Null).await.ok();
    assert!(listed(&api, true).await.is_empty());
}

#[tokio::test]
async fn links_of_operators_and_logs_elsewhere_are_none() {
    let api = TestApi::new().await;
    let runs = api.get("/api/v2/dags/flow/dagRuns").await.ok();
    let run_id = runs["dag_runs"][0]["dag_run_id"].as_str().unwrap();
    let instances = format!("/api/v2/dags/flow/dagRuns/{run_id}/taskInstances");
    let listed = api.get(&instances).await.ok();
    let task_id = listed["task_instances"][0]["task_id"].as_str().unwrap();
    let links = api.get(&format!("{instances}/{task_id}/links")).await.ok();
    assert_eq!(links, json!({"extra_links": {}, "total_entries": 0}));
    for of_none in ["links", "dependencies", "7/dependencies"] {
        api.get(&format!("{instances}/nothing/{of_none}")).await.refused(404);
    }
    api.get(&format!("{instances}/{task_id}/dependencies")).await.ok();
    assert_eq!(api.get(&format!("{instances}/{task_id}/links?try_number=1")).await.ok(), links);
    api.get(&format!("{instances}/{task_id}/links?try_number=9")).await.refused(404);
    let refused = api.get(&format!("{instances}/{task_id}/externalLogUrl/1")).await.refused(400);
    assert!(refused["detail"].as_str().unwrap().contains(&format!("{task_id}/logs/1")), "{refused}");
}
