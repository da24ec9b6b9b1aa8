//! The router in process, over a real database, with runs in all states.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{UiState, router};
use crate::{
    auth::{Auth, AuthConfig, SessionKind},
    blobs::Blobs,
    executor::{Executor, ExecutorConfig},
    model::{
        ids::{DagId, Digest, EntryName, PoolName, RunId, TaskId, XComKey},
        spec::{
            BindingSpec, DagSpec, EntrySpec, ExpandSpec, GrantsSpec, ModuleSpec, NodeSpec, ParamSpec, ParameterSpec,
            RoleSpec, ScheduleSpec, SourceSpec,
        },
        state::{RunState, RunType, TaskState},
        time::{Clock, DataInterval, Timestamp},
        trigger_rule::TriggerRule,
    },
    scheduler::{Scheduler, SchedulerConfig, SchedulerTask},
    secrets::{Secrets, SecretsConfig},
    store::{
        ArtifactRow, Commit, DagRunKey, DagRunNew, DagRunUpdate, DagVersionKey, Deploy, InstanceKey, InstanceNew,
        InstanceUpdate, Store, StoreConfig, Synchronous, XComBody, XComNew,
    },
};

/// Text that would be seen if it were not escaped.
const EVIL: &str = "<script>alert('\"1\"')</script>";
const NOW: &str = "2026-11-20T06:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn node(task_id: &str, upstream: &[&str]) -> NodeSpec {
    let bind = |(nth, task): (usize, &&str)| BindingSpec {
        name: format!("in{nth}"),
        source: SourceSpec::Output((*task).to_owned()),
    };
    NodeSpec {
        task_id: task_id.into(),
        entry: "work".into(),
        display_name: None,
        doc: Some(EVIL.into()),
        inputs: upstream.iter().take(3).enumerate().map(bind).collect(),
        retries: 2,
        retry_delay_ms: 30_000,
        retry_backoff: 2.0,
        max_retry_delay_ms: None,
        timeout_ms: Some(600_000),
        trigger_rule: TriggerRule::AllSuccess,
        pool: "default_pool".into(),
        pool_slots: 1,
        priority_weight: 1,
        role: RoleSpec::Work,
        group: None,
        expand: None,
    }
}

fn dag(dag_id: &str, schedule: Option<&str>, nodes: Vec<NodeSpec>) -> DagSpec {
    let expression = schedule.map(str::to_owned);
    DagSpec {
        dag_id: dag_id.into(),
        display_name: None,
        description: Some(format!("What {dag_id} does {EVIL}")),
        doc: Some(format!("# {EVIL}\n\nIt does `{EVIL}`.\n\n- {EVIL}")),
        owners: vec![EVIL.into()],
        tags: vec!["demo".into(), EVIL.into()],
        schedule: expression
            .map_or(ScheduleSpec::Manual, |expression| ScheduleSpec::Cron { expression, data_interval: true }),
        timezone: "America/Los_Angeles".into(),
        start: Some(at("2012-01-01T08:00:00Z")),
        end: None,
        catchup: false,
        max_active_runs: 4,
        max_active_tasks: 16,
        run_timeout_ms: None,
        paused_upon_creation: None,
        params: Vec::new(),
        grants: GrantsSpec {
            variables: vec!["reports/*".into()],
            hosts: vec!["api.example.org".into()],
            ..GrantsSpec::default()
        },
        nodes,
        edges: Vec::new(),
        groups: Vec::new(),
    }
}

fn module() -> ModuleSpec {
    let input = |nth| ParameterSpec { name: format!("in{nth}"), schema: "{}".into(), required: false };
    let entry = EntrySpec {
        name: "work".into(),
        doc: Some(EVIL.into()),
        inputs: (0..3).map(input).collect(),
        output: Some(json!({"title": EVIL}).to_string()),
    };
    let param = |name: &str, schema: Value, default: Option<Value>| ParamSpec {
        name: name.into(),
        schema: schema.to_string(),
        default: default.map(|value| value.to_string()),
    };
    let mut weather = dag(
        "weather",
        Some("0 6 1 * *"),
        vec![
            node("extract", &[]),
            node("check_quality", &["extract"]),
            node("monthly_figures", &["check_quality"]),
            node("quarantine", &["check_quality"]),
            node("report", &["monthly_figures", "quarantine"]),
            node("yearly_summary", &["report"]),
        ],
    );
    weather.params = vec![
        param("station", json!({"type": "string", "title": "Station", "description": EVIL}), Some(json!("Seattle"))),
        param("days", json!({"type": "integer", "minimum": 1, "maximum": 31}), Some(json!(31))),
        param("unit", json!({"enum": ["mm", "inch"]}), Some(json!("mm"))),
        param("strict", json!({"type": "boolean", "description": "Fail on a missing day"}), Some(json!(false))),
        param("from", json!({"type": "string", "format": "date"}), Some(json!("2012-01-01"))),
        param("extra", json!({"type": "object"}), Some(json!({"a": [1, 2]}))),
    ];
    let mut fan = vec![node("start", &[])];
    fan.extend((0..298).map(|nth| node(&format!("part_{nth:03}"), &["start"])));
    let mut fan = dag("fan_300", None, fan);
    fan.nodes.push(node("join", &[]));
    fan.edges = (0..298).map(|nth| (format!("part_{nth:03}"), "join".to_owned())).collect();
    let mut mapped = node("each", &["list"]);
    mapped.expand = Some(ExpandSpec::Output("list".into()));
    let mapped = dag("mapped", None, vec![node("list", &[]), mapped, node("sum", &["each"])]);
    let layers = (0..10_000).map(|nth: usize| {
        let upstream = (nth >= 100).then(|| format!("t{:05}", nth - 100));
        let more = (nth >= 100 && nth % 7 == 0).then(|| format!("t{:05}", nth - 99));
        let names: Vec<&str> = upstream.iter().chain(&more).map(String::as_str).collect();
        node(&format!("t{nth:05}"), &names)
    });
    let mut large = dag("large", None, layers.collect());
    large.nodes.iter_mut().for_each(|node| node.doc = None);
    ModuleSpec { sdk: EVIL.into(), entries: vec![entry], dags: vec![weather, fan, mapped, large] }
}

pub struct World {
    pub router: Router,
    pub ui: UiState,
    cookie: String,
    _scheduler: SchedulerTask,
    executor: Executor,
    _folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock;
        let path = folder.path().join("airlock.db");
        let store = Store::open(&StoreConfig { path, synchronous: Synchronous::Normal }).await.unwrap();
        let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
        let blobs = Blobs::in_memory();
        let deploy = Deploy {
            module: Arc::new(module()),
            digest: Digest([7; 32]),
            size_bytes: 345_678,
            uploaded_by: EVIL.into(),
            paused_default: false,
            now: at(NOW),
        };
        let versions = store.deploy(&deploy).await.unwrap();
        store.dag_set_paused(&id("mapped"), true, at(NOW)).await.unwrap();
        let (events, receiver) = mpsc::channel(64);
        // No attempt is ever made: the runner is none.
        let config =
            ExecutorConfig { binary: Some("/bin/false".into()), ..ExecutorConfig::new(folder.path().to_owned()) };
        let executor = Executor::start(config, store.clone(), blobs.clone(), secrets.clone(), events).unwrap();
        let config = SchedulerConfig { timetables: false, ..SchedulerConfig::default() };
        let (scheduler, task) =
            Scheduler::start(config, store.clone(), blobs.clone(), executor.clone(), receiver).await.unwrap();
        for version in &versions {
            seed(&store, &blobs, &version.dag_id, version.version).await;
        }
        let auth = Auth::new(AuthConfig::default(), store.clone(), clock);
        auth.user_create("ada", "a long password").await.unwrap();
        let session = auth.open("ada", SessionKind::Cookie).await.unwrap();
        let ui = UiState {
            logs: scheduler.logs().clone(),
            scheduler,
            store,
            blobs,
            secrets,
            auth,
            clock,
            stopping: tokio_util::sync::CancellationToken::new(),
            shapes: super::UiCache::default(),
        };
        Self {
            router: router(ui.clone()),
            ui,
            cookie: format!("airlock_session={}", session.secret.expose()),
            _scheduler: task,
            executor,
            _folder: folder,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::COOKIE, &self.cookie).body(Body::empty()).unwrap();
        self.send(request).await
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", super::links::part(value))).collect();
        let request = Request::post(path)
            .header(header::COOKIE, &self.cookie)
            .header("sec-fetch-site", "same-origin")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(body.join("&")))
            .unwrap();
        self.send(request).await
    }

    async fn end(self) {
        self.ui.scheduler.stop().await;
        self.executor.shutdown().await;
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn id(text: &str) -> DagId {
    DagId::new(text).unwrap()
}

/// The states of a run's tasks, in the order of its spec.
fn states(run: usize, tasks: usize) -> Vec<TaskState> {
    use TaskState::{Failed, None, Queued, Running, Scheduled, Skipped, Success, UpForRetry, UpstreamFailed};
    let cycle = [Success, Success, Success, Success, Success, Success, Skipped, Failed, UpForRetry, Running, Queued];
    (0..tasks)
        .map(|task| match run {
            0 => [Success, Success, Running, Skipped, None, None].get(task).copied().unwrap_or(cycle[task % 11]),
            1 => [Success, Success, Failed, Skipped, UpstreamFailed, UpstreamFailed]
                .get(task)
                .copied()
                .unwrap_or(if task % 50 == 0 { Failed } else { Success }),
            2 if task == 4 => UpForRetry,
            2 if task == 5 => Scheduled,
            _ if task == 3 => Skipped,
            _ => Success,
        })
        .collect()
}

/// Writes runs of a dag, newest last.
async fn seed(store: &Store, blobs: &Blobs, dag_id: &DagId, version: DagVersionKey) {
    let spec = store.dag_version_get(version).await.unwrap().unwrap().spec.clone();
    let runs: usize = if spec.nodes.len() > 1_000 {
        2
    } else if dag_id.as_str() == "weather" {
        25
    } else {
        6
    };
    for nth in (0..runs).rev() {
        let key = DagRunKey(store.dag_run_next_key().await.unwrap());
        let start = at(NOW).before(Duration::from_hours(24 * 30 * u64::try_from(nth + 1).unwrap()));
        let took = Duration::from_millis(u64::try_from(1_500 + nth * 7_919 % 90_000).unwrap());
        let state = match nth {
            0 => RunState::Running,
            1 => RunState::Failed,
            2 if dag_id.as_str() == "weather" => RunState::Running,
            _ => RunState::Success,
        };
        let manual = nth % 5 == 1;
        let new = DagRunNew {
            key,
            dag_id: dag_id.clone(),
            run_id: RunId::new(&format!("{}__{start}", if manual { "manual" } else { "scheduled" })).unwrap(),
            version,
            run_type: if manual { RunType::Manual } else { RunType::Scheduled },
            state,
            logical_date: Some(start),
            data_interval: Some(DataInterval { start, end: start.after(Duration::from_hours(720)) }),
            run_after: start,
            queued_at: start,
            start_date: Some(start),
            conf: json!({"station": EVIL, "days": 30}).to_string(),
            triggered_by: if manual { "ui" } else { "timetable" }.into(),
            triggering_user: manual.then(|| EVIL.into()),
            note: (nth == 1).then(|| format!("Looked at it {EVIL}")),
        };
        let update = DagRunUpdate {
            key,
            state,
            queued_at: None,
            start_date: Some(start),
            end_date: state.is_finished().then(|| start.after(took)),
            clear_number: 0,
        };
        let mut commit = Commit { dag_runs_new: vec![new], dag_runs: vec![update], now: start, ..Commit::default() };
        let all = states(nth, spec.nodes.len());
        for (task, (node, state)) in spec.nodes.iter().zip(all).enumerate() {
            let indexes = if node.expand.is_some() { 0..7 } else { -1..0 };
            for map_index in indexes {
                add_instance(
                    &mut commit,
                    key,
                    node,
                    map_index,
                    state,
                    start.after(took / 8 * u32::try_from(task % 8).unwrap()),
                );
            }
        }
        if dag_id.as_str() == "weather" {
            outputs(&mut commit, blobs, key, start).await;
        }
        store.commit(&commit).await.unwrap();
    }
}

fn add_instance(
    commit: &mut Commit,
    run: DagRunKey,
    node: &NodeSpec,
    map_index: i32,
    state: TaskState,
    start: Timestamp,
) {
    let key = InstanceKey { dag_run: run, task_id: TaskId::new(&node.task_id).unwrap(), map_index };
    commit.instances_new.push(InstanceNew {
        key: key.clone(),
        state,
        max_tries: node.retries + 1,
        pool: PoolName::default_pool(),
        pool_slots: 1,
        priority_weight: 1,
        entry: EntryName::new(&node.entry).unwrap(),
    });
    let ran = matches!(state, TaskState::Success | TaskState::Failed | TaskState::Running | TaskState::UpForRetry);
    let ended = state.is_finished() || state == TaskState::UpForRetry;
    let message = match state {
        TaskState::Failed => Some(format!(
            "trap: wasm `unreachable` instruction executed {EVIL}\n  0: weather::figures::mean\n  1: weather::monthly_figures\n  2: <airlock_sdk::Task>::run"
        )),
        TaskState::UpForRetry => Some("the station did not answer: HTTP 503".into()),
        TaskState::Skipped => Some("the branch `check_quality` went to `monthly_figures`".into()),
        _ => None,
    };
    commit.instances.push(InstanceUpdate {
        key,
        state,
        try_number: u32::from(ran) + u32::from(state == TaskState::Failed) * 2,
        max_tries: node.retries + 1,
        restarts: 0,
        scheduled_at: Some(start),
        queued_at: Some(start),
        start_date: ran.then_some(start),
        end_date: ended.then(|| start.after(Duration::from_millis(437))),
        wake_at: (state == TaskState::UpForRetry).then(|| start.after(Duration::from_secs(30))),
        message,
        followed: None,
        list_length: None,
    });
}

async fn outputs(commit: &mut Commit, blobs: &Blobs, run: DagRunKey, now: Timestamp) {
    let key = |task: &str| InstanceKey { dag_run: run, task_id: TaskId::new(task).unwrap(), map_index: -1 };
    let body = json!({"rows": 31, "station": EVIL, "wettest": {"day": "2012-01-18", "mm": 20.3}}).to_string();
    commit.xcoms.push(XComNew {
        instance: key("extract"),
        key: XComKey::return_value(),
        media_type: "application/json".into(),
        size_bytes: i64::try_from(body.len()).unwrap(),
        body: XComBody::Inline(body.into_bytes()),
    });
    let chart = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 300 100\"><title>{}</title>{}</svg>",
        super::show::escape(EVIL),
        (0..30)
            .map(|day| format!(
                "<rect x=\"{}\" y=\"{}\" width=\"7\" height=\"{}\" fill=\"#2f79dd\"/>",
                day * 10,
                100 - day * 37 % 90,
                day * 37 % 90
            ))
            .collect::<String>()
    );
    let blob = format!("artifacts/{}", run.0);
    blobs.put(&blob, chart.clone().into()).await.unwrap();
    for (name, media_type) in [("report/chart.svg", "image/svg+xml"), ("page.html", "text/html")] {
        commit.artifacts.push(ArtifactRow {
            instance: key("extract"),
            try_number: 1,
            name: name.into(),
            media_type: media_type.into(),
            size_bytes: i64::try_from(chart.len()).unwrap(),
            sha256: Digest([9; 32]),
            blob: blob.clone(),
            created_at: now,
        });
    }
}

/// Where the newest run of a dag is.
async fn newest(world: &World, dag_id: &str) -> String {
    let run = super::data::newest_runs(&world.ui, &id(dag_id), 1).await.unwrap().pop().unwrap();
    super::links::run(&run.dag_id, &run.run_id)
}

async fn all_pages(world: &World) -> Vec<String> {
    let (weather, mapped, large) =
        (newest(world, "weather").await, newest(world, "mapped").await, newest(world, "large").await);
    let fixed = [
        "/dags",
        "/dags?q=wea",
        "/dags?tag=demo&paused=true",
        "/dags?q=nothing",
        "/dags/weather",
        "/dags/weather?q=check&runs=5",
        "/dags/weather/graph",
        "/dags/weather/runs",
        "/dags/weather/runs?state=failed",
        "/dags/weather/details",
        "/dags/weather/trigger",
        "/dags/weather/delete",
        "/dags/fan_300",
        "/dags/fan_300/graph",
        "/dags/fan_300/graph?fold=false",
        "/dags/large",
        "/dags/large/graph",
        "/dags/mapped",
        "/components",
        "/variables",
        "/variables/edit",
        "/connections",
        "/connections/edit",
        "/pools",
        "/pools/edit",
        "/pools/edit?key=default_pool",
    ];
    let component = format!("/components/{}", Digest([7; 32]));
    let of_run = [
        "",
        "?state=success",
        "?state=failed&q=mon",
        "?fold=false",
        "/clear",
        "/clear?only_failed=true&chosen=true",
        "/mark?state=failed",
        "/mark?state=success",
        "/delete",
    ];
    let of_task = [
        "/extract",
        "/extract?tab=outputs",
        "/extract?tab=inputs",
        "/extract?tab=details",
        "/extract?try=1&level=warn&q=x",
        "/report?tab=inputs",
        "/monthly_figures",
        "/extract/clear",
        "/extract/clear?chosen=true&upstream=true&past=true",
        "/extract/mark",
        "/extract/mark?state=skipped&downstream=true",
    ];
    let of_mapped =
        ["/each", "/each?map_index=3", "/each?map_index=3&tab=inputs", "/each/clear?map_index=3", "/sum?tab=inputs"];
    fixed
        .iter()
        .map(|path| (*path).to_owned())
        .chain([component, large])
        .chain(of_run.iter().map(|rest| format!("{weather}{rest}")))
        .chain(of_task.iter().map(|rest| format!("{weather}/tasks{rest}")))
        .chain(of_mapped.iter().map(|rest| format!("{mapped}/tasks{rest}")))
        .collect()
}

#[tokio::test]
async fn every_page_is_there_and_holds_nothing_that_is_not_escaped() {
    let world = World::new().await;
    for path in all_pages(&world).await {
        let answer = world.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        assert!(answer.header("content-type").starts_with("text/html"), "{path}");
        assert!(!answer.body.contains("<script>"), "{path} has text that is markup");
        assert!(!answer.body.contains(" style="), "{path} has an inline style");
        assert!(!answer.body.contains(" onclick="), "{path} has an inline script");
        let rows = answer.body.matches("<tr").count() + answer.body.matches("<li").count();
        assert!(rows < 500, "{path} has {rows} rows");
        assert!(answer.body.len() < 300_000, "{path} has {} bytes", answer.body.len());
    }
    world.end().await;
}

#[tokio::test]
async fn without_a_session_there_is_nothing_but_the_sign_in() {
    let world = World::new().await;
    for path in all_pages(&world).await {
        let answer = world.send(Request::get(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(answer.header("location").starts_with("/login?next=%2F"), "{path}: {}", answer.header("location"));
    }
    for path in ["/ui/events", "/ui/dags/weather/grid", "/ui/dag_versions/1/tasks"] {
        let answer = world.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let answer = world.send(Request::get("/login?next=//evil.example").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("name=\"next\" value=\"/dags\""));
    world.end().await;
}

#[tokio::test]
async fn every_answer_has_the_policy() {
    let world = World::new().await;
    let style = super::assets::address("app.css");
    for path in ["/login", "/dags", "/nothing", "/dags/nothing", "/ui/dags/weather/grid", &style, "/"] {
        let answer = world.get(path).await;
        assert!(
            answer.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
    }
    assert_eq!(world.get("/nothing").await.status, StatusCode::NOT_FOUND);
    assert!(world.get("/nothing").await.body.contains("id=\"error\""));
    world.end().await;
}
