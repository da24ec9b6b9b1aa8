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
        ids::{AssetName, DagId, Digest, EntryName, RunId, TaskId, XComKey},
        role::Permission,
        spec::{AssetConditionSpec, AssetSpec, DagSpec, EntrySpec, ModuleSpec, NodeSpec},
        state::{RunState, RunType, TaskState},
        wait::Wait,
    },
    store::{
        ArtifactRow, AssetEventNew, BackfillNew, Commit, DagRunKey, DagRunNew, Deploy, DeployedDag, InstanceKey,
        InstanceNew, InstanceUpdate, OriginRow, Placement, Store, WaitRow, XComBody, XComNew,
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
    let work = EntrySpec { name: "work".into(), doc: None, inputs: Vec::new(), output: None };
    Deploy {
        module: Arc::new(ModuleSpec {
            sdk: "test".into(),
            entries: vec![work],
            dags: vec![dag],
            ..ModuleSpec::default()
        }),
        digest: Digest([digest; 32]),
        blob: format!("components/{digest}.wasm"),
        size_bytes: 3,
        uploaded_by: "ann".into(),
        signer: None,
        provenance: None,
        paused_default: true,
        now: at(0),
    }
}

fn run(key: i64, dag: &DeployedDag, run_id: &str) -> DagRunNew {
    DagRunNew {
        key: DagRunKey(key),
        dag_id: dag.dag_id.clone(),
        run_id: RunId::new(run_id).unwrap(),
        version: dag.version,
        run_type: RunType::AssetTriggered,
        state: RunState::Success,
        logical_date: Some(at(key)),
        data_interval: None,
        run_after: at(0),
        queued_at: at(0),
        start_date: Some(at(1)),
        conf: "{}".into(),
        triggered_by: "asset".into(),
        triggering_user: None,
        note: None,
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
        key: instance(dag_run),
        state: TaskState::Success,
        try_number: 1,
        max_tries: 1,
        restarts: 0,
        scheduled_at: Some(at(0)),
        queued_at: Some(at(0)),
        start_date: Some(at(1)),
        end_date: Some(at(2)),
        wake_at: None,
        message: None,
        followed: None,
        list_length: None,
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
        body: None,
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
    // What is about all dags is nothing that some of them give.
    api.post("/api/v2/pools", json!({"name": "gpu", "slots": 1})).await.refused(403);
    api.post("/api/v2/assets/events", json!({"asset_id": hidden.asset})).await.refused(403);
    api.get("/api/v2/eventLogs").await.refused(403);
    api.get("/api/v2/variables").await.refused(403);
}

/// A component `lib` with the entry `work`, and no dag.
pub(super) async fn library(store: &Store) {
    let work = EntrySpec { name: "work".into(), doc: None, inputs: Vec::new(), output: None };
    let library = ModuleSpec { name: "lib".into(), sdk: "test".into(), entries: vec![work], ..ModuleSpec::default() };
    let library = Deploy { module: Arc::new(library), ..component(23, DagSpec::new("none")) };
    store.deploy(&library).await.unwrap();
}

async fn upload(api: &TestApi, dag_id: &str, tag: &str) -> super::Answer {
    let text = format!("dag_id: {dag_id}\ntags: [{tag}]\ntasks: {{a: {{uses: lib/work}}}}\n");
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
