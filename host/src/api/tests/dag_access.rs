//! DAG permissions: what somebody may see, run and edit, over every route that there is.

use std::{sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PASSWORD, TestApi, at};
use crate::{
    auth::routes::{Access, access},
    model::{
        approval::Question,
        backfill::{Intervals, ReprocessBehavior},
        callback::{CallbackEvent, Target},
        grants::GrantsPolicy,
        ids::{AssetName, DagId, Digest, EntryName, RunId, TaskId, XComKey},
        role::Permission,
        spec::{AssetConditionSpec, AssetSpec, DagSpec, EntrySpec, ModuleSpec, NodeSpec},
        state::{RunState, RunType, TaskState},
        wait::Wait,
    },
    notifier::{Notice, StartRun},
    scheduler::SchedulerConfig,
    store::{
        ArtifactRow, AssetEventNew, BackfillNew, CallbackNew, Commit, DagRunKey, DagRunNew, Deploy, DeployedDag,
        InstanceKey, InstanceNew, InstanceUpdate, OriginRow, Placement, Store, WaitRow, XComBody, XComNew,
    },
};

/// Stands in whatever is of the dag that may not be seen, and in nothing else.
pub(crate) const HIDDEN: &str = "zzhidden";
const RUN: i64 = 2_000_000;

/// What was seeded, to fill into paths.
pub(crate) struct Hidden {
    digest: Digest,
    version: i64,
    asset: i64,
    backfill: i64,
}

impl Hidden {
    /// The route's path about the hidden dag.
    pub(crate) fn fill(&self, route: &str) -> String {
        let run = format!("{HIDDEN}-run");
        let artifact = format!("{HIDDEN}.svg");
        [
            ("{dag_id}", HIDDEN),
            ("{dag_run_id}", &run),
            ("{run_id}", &run),
            ("{task_id}", "ask"),
            ("{map_index}", "-1"),
            ("{try_number}", "1"),
            ("{task_try_number}", "1"),
            ("{version_number}", "1"),
            ("{number}", "1"),
            ("{xcom_key}", "return_value"),
            ("{name}", &artifact),
            ("{verb}", "pause"),
            ("{version}", &self.version.to_string()),
            ("{digest}", &self.digest.to_string()),
            ("{asset_id}", &self.asset.to_string()),
            ("{asset_alias_id}", &self.asset.to_string()),
            ("{backfill_id}", &self.backfill.to_string()),
            ("{id}", &self.backfill.to_string()),
        ]
        .iter()
        .fold(route.to_owned(), |path, (name, value)| path.replace(name, value))
    }
}

fn component(digest: u8, dag: DagSpec) -> Deploy {
    let entries = vec![EntrySpec::new("work")];
    let module = ModuleSpec { sdk: "test".into(), entries, dags: vec![dag], ..ModuleSpec::default() };
    Deploy { blob: format!("components/{digest}.wasm"), paused_default: true, ..Deploy::of_test(digest, module, at(0)) }
}

fn run(key: i64, dag: &DeployedDag, run_id: &str) -> DagRunNew {
    DagRunNew {
        run_type: RunType::AssetTriggered,
        state: RunState::Success,
        logical_date: Some(at(key)),
        start_date: Some(at(1)),
        triggered_by: "asset".into(),
        ..DagRunNew::queued(DagRunKey(key), dag.dag_id.clone(), RunId::new(run_id).unwrap(), dag.version, at(0))
    }
}

/// A dag that has something of everything, and a dag `open` (tag `team`) that has to do with it: it waits for an asset that the
/// hidden dag makes, its run was started by one of the hidden dag's, and started one of those itself.
pub(crate) async fn seed(store: &Store) -> Hidden {
    let asset = |name: &str| AssetSpec {
        name: name.into(),
        uri: name.into(),
        group: "asset".into(),
        extra: None,
        is_alias: false,
    };
    let hidden_asset = format!("{HIDDEN}-asset");
    let ask = NodeSpec { outlets: vec!["shared".into(), hidden_asset.clone()], ..NodeSpec::new("ask", "work") };
    let hidden = DagSpec {
        tags: vec![format!("{HIDDEN}-tag")],
        nodes: vec![ask],
        assets: vec![asset("shared"), asset(&hidden_asset)],
        ..DagSpec::new(HIDDEN)
    };
    let open = DagSpec {
        tags: vec!["team".into()],
        nodes: vec![NodeSpec::new("ask", "work")],
        assets: vec![asset("shared")],
        asset_schedule: Some(AssetConditionSpec::Asset("shared".into())),
        ..DagSpec::new("open")
    };
    let hidden_component = component(21, hidden);
    let digest = hidden_component.digest;
    let hidden = store.deploy(&hidden_component).await.unwrap().remove(0);
    let open = store.deploy(&component(22, open)).await.unwrap().remove(0);

    let instance =
        |dag_run| InstanceKey { dag_run: DagRunKey(dag_run), task_id: TaskId::new("ask").unwrap(), map_index: -1 };
    let new = |dag_run| InstanceNew {
        key: instance(dag_run),
        state: TaskState::Success,
        max_tries: 1,
        placement: Placement::usual(EntryName::new("work").unwrap()),
    };
    let tried = |dag_run| InstanceUpdate {
        scheduled_at: Some(at(0)),
        queued_at: Some(at(0)),
        start_date: Some(at(1)),
        end_date: Some(at(2)),
        ..InstanceUpdate::of_test(instance(dag_run), TaskState::Success, 1)
    };
    let origin = |run, parent: i64, depth| {
        let dag_run = DagRunKey(run);
        (dag_run, OriginRow { dag_run, parent: instance(parent).into(), parent_number: 1, depth })
    };
    let event = |key, asset: &str, source: Option<i64>| AssetEventNew {
        key,
        asset: AssetName::new(asset).unwrap(),
        timestamp: at(2),
        extra: json!({"by": if source.is_some() { HIDDEN } else { "hand" }}).to_string(),
        source: source
            .map(|run| (DagId::new(HIDDEN).unwrap(), RunId::new(&format!("{HIDDEN}-run")).unwrap(), instance(run))),
        created_by: None,
        consumers: vec![open.dag_id.clone()],
        through: None,
    };
    let question = Question {
        subject: format!("{HIDDEN}?"),
        body: Some(format!("Details of {HIDDEN}")),
        options: vec!["yes".into()],
        multiple: false,
        defaults: Vec::new(),
        fields: Vec::new(),
        assignees: Vec::new(),
    };
    let commit = Commit {
        dag_runs_new: vec![
            run(RUN, &hidden, &format!("{HIDDEN}-run")),
            run(RUN + 1, &open, "open-run"),
            run(RUN + 2, &hidden, &format!("{HIDDEN}-child")),
        ],
        instances_new: vec![new(RUN), new(RUN + 1), new(RUN + 2)],
        instances: vec![tried(RUN), tried(RUN + 1), tried(RUN + 2)],
        origins: [origin(RUN + 1, RUN, 1), origin(RUN + 2, RUN + 1, 2)].into(),
        xcoms: vec![XComNew {
            instance: instance(RUN),
            key: XComKey::return_value(),
            media_type: "application/json".into(),
            size_bytes: 10,
            body: XComBody::Inline(format!("\"{HIDDEN}\"").into_bytes()),
        }],
        artifacts: vec![ArtifactRow {
            instance: instance(RUN),
            try_number: 1,
            name: format!("{HIDDEN}.svg"),
            media_type: "image/svg+xml".into(),
            size_bytes: 6,
            sha256: Digest([9; 32]),
            blob: "artifact/1".into(),
            created_at: at(3),
        }],
        now: at(3),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let first = store.asset_event_next_key().await.unwrap();
    let commit = Commit {
        asset_events: vec![
            event(first, "shared", Some(RUN)),
            event(first + 1, "shared", None),
            event(first + 2, &hidden_asset, Some(RUN)),
        ],
        waits_new: vec![WaitRow { instance: instance(RUN), wait: Wait::Approval(Box::new(question)) }],
        now: at(4),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
    let commit =
        Commit { asset_runs: vec![(DagRunKey(RUN + 1), open.dag_id.clone())], now: at(5), ..Commit::default() };
    store.commit(&commit).await.unwrap();
    let backfill = BackfillNew {
        dag_id: hidden.dag_id.clone(),
        intervals: Intervals { from: at(0), to: at(9), until: at(9), run_backwards: false },
        max_active_runs: 1,
        reprocess_behavior: ReprocessBehavior::None,
        dag_run_conf: "{}".into(),
        total: 1,
        triggering_user: None,
    };
    let backfill = store.backfill_create(&backfill).await.unwrap().id.0;
    let asset = store.asset_get_by_name(&AssetName::new(&hidden_asset).unwrap()).await.unwrap().unwrap().id;
    Hidden { digest, version: hidden.version.0, asset, backfill }
}

impl TestApi {
    /// Goes on as a new user, a member with these DAG permissions.
    async fn sign_in_with(&mut self, username: &str, permissions: Value) {
        let user = json!({
            "username": username, "password": PASSWORD, "role": "member", "dag_permissions": permissions,
        });
        self.post("/api/v2/users", user).await.ok();
        let token = self.post("/auth/token", json!({"username": username, "password": PASSWORD})).await.ok();
        self.token = token["access_token"].as_str().unwrap().to_owned();
    }
}

/// What a new route forgets is found here: it answers about the hidden dag, or its text has the word in it.
#[tokio::test]
async fn no_route_shows_a_dag_to_whoever_may_not_see_it() {
    let mut api = TestApi::new().await;
    let hidden = seed(&api.store).await;
    let seen_by_admin = api.get("/api/v2/assets/events").await.ok().to_string();
    assert!(seen_by_admin.contains(HIDDEN), "{seen_by_admin}");
    api.sign_in_with("ada", json!([{"dags": "flow", "role": "viewer"}, {"dags": "tag:team", "role": "viewer"}])).await;
    let (mut lists, mut ones) = (0, 0);
    for (method, route, _) in super::access::routes() {
        // Streams have their own tests.
        if route.starts_with("/hooks/") || route == "/api/v2/events" || route.starts_with("/auth/token") {
            continue;
        }
        let path = hidden.fill(&route);
        let is_list = path == route || route.ends_with("/list");
        match access(method.as_str(), &route).unwrap() {
            Access::Public | Access::SignedIn => {}
            Access::Needs(permission) => {
                api.send(method.clone(), &path, None).await.refused(403);
                assert!(!permission.is_of_dag() || !route.contains("dag_id"), "{route}");
            }
            Access::OfDag(permission) => {
                let problem = api.send(method.clone(), &path, Some(json!({}))).await.refused(404);
                assert_eq!(problem["detail"], format!("dag `{HIDDEN}` does not exist"), "{method} {path}");
                ones += 1;
                if permission != Permission::Read {
                    let own = route.replace("{dag_id}", "flow").replace(['{', '}'], "");
                    api.send(method.clone(), &own, Some(json!({}))).await.refused(403);
                    continue;
                }
                for wild in [
                    route.replace("{dag_id}", "~"),
                    route.replace("{dag_id}", "~").replace("{dag_run_id}", "~"),
                    route.replace("{dag_id}", "~").replace("{dag_run_id}", "~").replace("{task_id}", "~"),
                ] {
                    let wild = hidden.fill(&wild);
                    let answer = api.send(method.clone(), &wild, Some(json!({}))).await;
                    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
                    let is_shown = answer.status.is_success() && text.contains(HIDDEN);
                    assert!(!is_shown, "{method} {wild}: {text}");
                    lists += usize::from(answer.status.is_success());
                }
            }
            Access::OfDags(Permission::Read) => {
                let answer = api.send(method.clone(), &path, None).await;
                let text = String::from_utf8_lossy(&answer.bytes).into_owned();
                if is_list {
                    assert!(answer.status.is_success() && !text.contains(HIDDEN), "{method} {path}: {text}");
                    lists += 1;
                } else {
                    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}: {text}");
                    ones += 1;
                }
            }
            Access::OfDags(_) => drop(api.send(method.clone(), &path, None).await.refused(403)),
        }
    }
    assert!(lists >= 10 && ones > 50, "{lists} {ones}");

    // What is the user's own is there.
    let dags = api.get("/api/v2/dags").await.ok();
    assert_eq!((&dags["total_entries"], &dags["dags"][1]["dag_id"]), (&json!(2), &json!("open")), "{dags}");
    assert_eq!(api.get("/api/v2/dags/~/dagRuns").await.ok()["total_entries"], 2);
    assert_eq!(api.get("/api/v2/dags/~/dagRuns/~/taskInstances?limit=1").await.ok()["total_entries"], 3);
    let triggers = api.get("/api/v2/dags/open/dagRuns/open-run/triggers").await.ok();
    assert!(triggers["triggering_task"].is_null() && triggers["total_entries"] == 0, "{triggers}");
    let events = api.get("/api/v2/assets/events").await.ok();
    assert_eq!(events["total_entries"], 1, "{events}");
    for (name, count) in [("shared", 1), (HIDDEN, 0)] {
        let runs = api.get(&format!("/api/v2/dags/open/dagRuns?consuming_asset_pattern={name}")).await.ok();
        assert_eq!(runs["total_entries"], count, "{name}");
        let events = api.get(&format!("/api/v2/assets/events?name_pattern={name}")).await.ok();
        assert_eq!(events["total_entries"], count, "{name}");
    }
    let used = api.get("/api/v2/dags/open/dagRuns/open-run/upstreamAssetEvents").await.ok();
    assert!(!used.to_string().contains(HIDDEN), "{used}");
    for list in ["dagRuns/list", "dagRuns/~/taskInstances/list"] {
        let body = json!({"dag_ids": [HIDDEN]});
        api.post(&format!("/api/v2/dags/~/{list}"), body).await.refused(404);
    }
}

#[tokio::test]
async fn whoever_edits_some_dags_changes_no_others() {
    let mut api = TestApi::new().await;
    let hidden = seed(&api.store).await;
    api.sign_in_with("ada", json!([{"dags": "flow", "role": "operator"}, {"dags": "open", "role": "viewer"}])).await;
    let me = api.get("/api/v2/users/me").await.ok();
    assert_eq!((&me["role"], &me["dag_permissions"][0]["role"]), (&json!("member"), &json!("operator")), "{me}");
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.ok();
    api.patch("/api/v2/dags/open", json!({"is_paused": true})).await.refused(403);
    let paused = api.patch("/api/v2/dags?dag_id_pattern=~", json!({"is_paused": true})).await.ok();
    assert_eq!(paused["total_entries"], 1, "{paused}");
    let backfill =
        |dag: &str| json!({"dag_id": dag, "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"});
    for path in ["/api/v2/backfills", "/api/v2/backfills/dry_run"] {
        api.post(path, backfill(HIDDEN)).await.refused(404);
        api.post(path, backfill("open")).await.refused(403);
    }
    api.post("/api/v2/backfills/dry_run", backfill("flow")).await.ok();
    for verb in ["pause", "unpause", "cancel"] {
        let path = format!("/api/v2/backfills/{}/{verb}", hidden.backfill);
        api.send(Method::PUT, &path, None).await.refused(404);
    }
    for asset in [hidden.asset, 999_999] {
        let refused = api.delete(&format!("/api/v2/dags/flow/assets/{asset}/queuedEvents")).await.refused(404);
        assert_eq!(refused["detail"], format!("asset {asset} does not exist"), "whether it is there or not");
    }
    // What is about all dags is nothing that some of them give.
    api.post("/api/v2/pools", json!({"name": "gpu", "slots": 1})).await.refused(403);
    api.post("/api/v2/assets/events", json!({"asset_id": hidden.asset})).await.refused(403);
    api.get("/api/v2/eventLogs").await.refused(403);
    api.get("/api/v2/variables").await.refused(403);
}

/// A component with the entry `work` that brings this dag.
async fn named_component(store: &Store, digest: u8, name: &str, dag_id: &str) {
    let dag = DagSpec { nodes: vec![NodeSpec::new("ask", "work")], ..DagSpec::new(dag_id) };
    let deploy = component(digest, dag);
    let module = ModuleSpec { name: name.into(), ..ModuleSpec::clone(&deploy.module) };
    store.deploy(&Deploy { module: Arc::new(module), ..deploy }).await.unwrap();
}

/// A component `lib` with the entry `work`, and no dag.
pub(super) async fn library(store: &Store) {
    let work = EntrySpec::new("work");
    let library = ModuleSpec { name: "lib".into(), sdk: "test".into(), entries: vec![work], ..ModuleSpec::default() };
    let library = Deploy { module: Arc::new(library), ..component(23, DagSpec::new("none")) };
    store.deploy(&library).await.unwrap();
}

async fn upload(api: &TestApi, dag_id: &str, tag: &str) -> super::Answer {
    upload_with(api, dag_id, tag, "lib/work").await
}

async fn upload_with(api: &TestApi, dag_id: &str, tag: &str, uses: &str) -> super::Answer {
    upload_text(api, format!("dag_id: {dag_id}\ntags: [{tag}]\ntasks: {{a: {{uses: {uses}}}}}\n")).await
}

async fn upload_text(api: &TestApi, text: String) -> super::Answer {
    let request = api.request(Method::POST, "/api/v2/components").header("content-type", "application/yaml");
    api.raw(request.body(text.into()).unwrap()).await
}

#[tokio::test]
async fn an_upload_brings_dags_that_are_the_uploaders_before_and_after() {
    let mut api = TestApi::new().await;
    seed(&api.store).await;
    library(&api.store).await;
    api.sign_in_with("ada", json!([{"dags": "sales-*", "role": "author"}, {"dags": "tag:mine", "role": "author"}]))
        .await;
    upload(&api, "sales-eu", "x").await.ok();
    upload(&api, "other", "mine").await.ok();
    // It is the uploader's by its tag alone, and would no longer be.
    upload(&api, "other", "x").await.refused(403);
    upload(&api, "another", "x").await.refused(403);
    // It is somebody else's, whatever it would become.
    for dag_id in [HIDDEN, "flow"] {
        let problem = upload(&api, dag_id, "mine").await.refused(403);
        assert!(problem["detail"].as_str().unwrap().contains("not yours"), "{problem}");
    }
    let seen = api.get("/api/v2/dags").await.ok();
    assert_eq!(seen["total_entries"], 2, "{seen}");
}

/// Asks for the run of a callback as the notifier does; `number`: of the callback.
async fn start_by_callback(api: &TestApi, told: DagRunKey, number: i64, dag_id: &str) -> Result<(), String> {
    let target = DagId::new(dag_id).unwrap();
    let callback = CallbackNew {
        dag_run: told,
        task_id: None,
        map_index: -1,
        number,
        event: CallbackEvent::Success,
        subject: None,
        target: Target::Dag(target.clone()),
        message: None,
    };
    let run = api.store.dag_run_get_by_key(told).await.unwrap().unwrap();
    let notice = Notice::new(&callback, &run);
    StartRun::start(&api.scheduler, &target, &callback, &notice).await
}

#[tokio::test]
async fn a_callback_starts_no_dag_that_its_own_was_not_granted() {
    let config = SchedulerConfig {
        grants_policy: GrantsPolicy::review(),
        dags_paused_at_creation: true,
        ..SchedulerConfig::default()
    };
    let mut api = TestApi::with(config).await;
    library(&api.store).await;
    let admin = api.token.clone();
    api.sign_in_with("lim", json!([{"dags": "sales-*", "role": "author"}])).await;
    let text = "dag_id: sales-cb\non_success: ['dag:flow']\ntasks: {a: {uses: lib/work, on_failure: 'dag:none'}}\n";
    let uploaded = upload_text(&api, text.to_owned()).await.ok();
    let pending = json!(["dag:flow", "dag:none"]);
    assert_eq!(uploaded["dags"][0]["grants"]["pending"], pending, "{uploaded}");
    let run = json!({"dag_run_id": "told", "logical_date": null});
    api.post("/api/v2/dags/sales-cb/dagRuns", run).await.ok();
    let unfinished = api.store.dag_run_list_unfinished(None, 10).await.unwrap();
    let told = unfinished.iter().find(|run| run.dag_id.as_str() == "sales-cb").unwrap().key;

    // The same is said of a dag that is there and of one that is not.
    let refused = start_by_callback(&api, told, 0, "flow").await.unwrap_err();
    assert!(refused.contains("grant `dag:flow` waits for an admin"), "{refused}");
    let missing = start_by_callback(&api, told, 0, "none").await.unwrap_err();
    assert_eq!(refused.replace("flow", "none"), missing);

    api.token = admin;
    let runs = async |api: &TestApi| api.get("/api/v2/dags/flow/dagRuns").await.ok()["total_entries"].clone();
    assert_eq!(runs(&api).await, 1);
    let grants = json!({"grants": ["dag:flow"]});
    api.post("/api/v2/dags/sales-cb/grants/approve", grants.clone()).await.ok();
    start_by_callback(&api, told, 0, "flow").await.unwrap();
    assert_eq!(runs(&api).await, 2);
    // What was taken is not granted by a policy either; without that, the policy says.
    api.post("/api/v2/dags/sales-cb/grants/revoke", grants).await.ok();
    api.patch("/api/v2/dags/sales-cb/grants", json!({"policy": "grant"})).await.ok();
    let revoked = start_by_callback(&api, told, 1, "flow").await.unwrap_err();
    assert!(revoked.contains("grant `dag:flow` was revoked"), "{revoked}");
    assert!(start_by_callback(&api, told, 1, "none").await.unwrap_err().contains("does not exist"));
    assert_eq!(runs(&api).await, 2);
}

#[tokio::test]
async fn an_upload_says_nothing_else_of_an_asset_that_dags_of_others_name() {
    let mut api = TestApi::new().await;
    seed(&api.store).await;
    library(&api.store).await;
    let admin = api.token.clone();
    api.sign_in_with("lim", json!([{"dags": "sales-*", "role": "author"}])).await;
    let makes = |dag_id: &str, asset: &str, said: &str| {
        format!("dag_id: {dag_id}\nassets: {{{asset}: {said}}}\ntasks: {{a: {{uses: lib/work, outlets: [{asset}]}}}}\n")
    };
    let known = async |api: &TestApi| {
        let asset = api.store.asset_get_by_name(&AssetName::new("shared").unwrap()).await.unwrap().unwrap();
        (asset.uri, asset.group, asset.extra, asset.is_alias)
    };
    let before = known(&api).await;
    for said in ["{uri: 's3://mine'}", "{group: mine}", "{extra: {a: 1}}", "{alias: true}"] {
        let problem = upload_text(&api, makes("sales-a", "shared", said)).await.refused(403);
        assert!(problem["detail"].as_str().unwrap().contains("an asset `shared` is there"), "{problem}");
    }
    assert_eq!(known(&api).await, before);
    api.get("/api/v2/dags/sales-a").await.refused(404);
    // What is said already may be said again, and of one's own anything.
    upload_text(&api, makes("sales-a", "shared", "{uri: shared, group: asset}")).await.ok();
    for said in ["{uri: 's3://one'}", "{uri: 's3://two', group: mine}"] {
        upload_text(&api, makes("sales-b", "sold", said)).await.ok();
    }
    assert_eq!(known(&api).await, before);

    // Nor does one who goes back to what was said once.
    upload(&api, "sales-a", "x").await.ok();
    let limited = std::mem::replace(&mut api.token, admin);
    upload_text(&api, makes("any", "shared", "{uri: 's3://ours'}")).await.ok();
    let now = known(&api).await;
    assert_eq!(now.0, "s3://ours");
    api.token = limited;
    api.post("/api/v2/dags/sales-a/dagVersions/1/rollBack", json!({})).await.refused(403);
    assert_eq!(known(&api).await, now);
}

#[tokio::test]
async fn an_upload_uses_no_component_that_its_uploader_does_not_see() {
    let mut api = TestApi::new().await;
    library(&api.store).await;
    named_component(&api.store, 24, "theirs", HIDDEN).await;
    named_component(&api.store, 25, "shared", "shown").await;
    upload_with(&api, "of-admin", "x", "theirs/work").await.ok();
    api.sign_in_with("ada", json!([{"dags": "sales-*", "role": "author"}, {"dags": "shown", "role": "viewer"}])).await;
    for uses in ["lib/work", "shared/work"] {
        upload_with(&api, "sales-eu", "x", uses).await.ok();
    }
    // Whether it is there, and what is in it, is not told.
    let nowhere = upload_with(&api, "sales-us", "x", "nobody/work").await.refused(422)["detail"].to_string();
    assert!(nowhere.contains("no component named `nobody`"), "{nowhere}");
    for entry in ["work", "none"] {
        let hidden = upload_with(&api, "sales-us", "x", &format!("theirs/{entry}")).await.refused(422);
        assert_eq!(hidden["detail"].to_string().replace("theirs", "nobody"), nowhere);
    }
}

#[tokio::test]
async fn a_token_may_no_more_than_its_role_on_any_dag_and_rights_end_at_once() {
    let mut api = TestApi::new().await;
    let admin = api.token.clone();
    api.sign_in_with("ada", json!([{"dags": "flow", "role": "operator"}])).await;
    let session = api.token.clone();
    let made = api.post("/api/v2/tokens", json!({"name": "ci", "role": "viewer"})).await.ok();
    api.post("/api/v2/tokens", json!({"name": "more", "role": "admin"})).await.refused(422);
    api.token = made["token"].as_str().unwrap().to_owned();
    api.get("/api/v2/dags/flow").await.ok();
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.refused(403);
    let token = std::mem::replace(&mut api.token, admin);
    for wrong in [
        json!([{"dags": "flow", "role": "admin"}]),
        json!([{"dags": "", "role": "viewer"}]),
        json!([{"dags": "flow", "role": "viewer"}, {"dags": "flow", "role": "author"}]),
    ] {
        api.patch("/api/v2/users/ada", json!({"dag_permissions": wrong})).await.refused(422);
    }
    api.patch("/api/v2/users/ada", json!({"dag_permissions": []})).await.ok();
    let entry = api.get("/api/v2/eventLogs?event=user.write&order_by=-event_log_id&limit=1").await.ok();
    let extra: Value = serde_json::from_str(entry["event_logs"][0]["extra"].as_str().unwrap()).unwrap();
    assert!(extra.to_string().contains("operator"), "{extra}");
    for shown in [&session, &token] {
        let admin = std::mem::replace(&mut api.token, shown.clone());
        api.get("/api/v2/dags/flow").await.refused(404);
        api.token = admin;
    }
}

/// Tells how long the stream at `path` goes on, once `until` is over.
async fn stream_ends(api: &TestApi, path: &str, until: impl Future<Output = ()>) -> bool {
    let (answer, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(20), api.get(path)), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        until.await;
    });
    answer.is_ok()
}

#[tokio::test]
async fn signing_out_everywhere_ends_sessions_tokens_and_what_they_listen_to() {
    let mut api = TestApi::new().await;
    let admin = TestApi { token: api.token.clone(), ..TestApi::new().await };
    let admin = TestApi { router: api.router.clone(), ..admin };
    api.sign_in_with("ada", json!([{"dags": "flow", "role": "viewer"}])).await;
    let token = api.post("/api/v2/tokens", json!({"name": "ci"})).await.ok()["token"].as_str().unwrap().to_owned();
    let out = async {
        assert_eq!(admin.post("/api/v2/users/ada/signOut", json!({})).await.status, StatusCode::NO_CONTENT);
    };
    assert!(stream_ends(&api, "/api/v2/events", out).await);
    api.get("/api/v2/users/me").await.refused(401);
    api.token = token;
    api.get("/api/v2/users/me").await.refused(401);
    admin.get("/api/v2/users/me").await.ok();
    admin.post("/api/v2/users/nobody/signOut", json!({})).await.refused(404);
    // And one's own; a right that is taken ends a stream, too.
    let body = json!({"username": "ada", "password": PASSWORD});
    let token = api.post("/auth/token", body.clone()).await.ok();
    api.token = token["access_token"].as_str().unwrap().to_owned();
    let less = async {
        admin.patch("/api/v2/users/ada", json!({"dag_permissions": []})).await.ok();
    };
    assert!(stream_ends(&api, "/api/v2/events", less).await);
    assert_eq!(api.post("/api/v2/users/me/signOut", json!({})).await.status, StatusCode::NO_CONTENT);
    api.get("/api/v2/users/me").await.refused(401);
}
