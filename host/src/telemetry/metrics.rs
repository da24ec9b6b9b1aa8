//! Figures for Prometheus, in the OpenMetrics text format.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Metric, Registry},
};

use crate::model::{
    ids::{DagId, PoolName},
    state::{RunState, TaskState},
    time::Timestamp,
    warning::WarningKind,
};

/// The figures of one server. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    figures: Figures,
    rendering: Mutex<()>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    dag_id: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FleetLabel {
    fleet: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FleetLabels {
    fleet: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CreationLabels {
    fleet: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    fleet: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// An answer's way, as it is counted.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// Other methods than those of the HTTP standard are counted as `OTHER`, so that clients can't make up figures.
    pub method: &'a str,
    /// The route's pattern (`/api/v2/dags/{dag_id}`), never the path; empty if there is none.
    pub route: &'a str,
    pub status: u16,
    /// Until the answer's head.
    pub took: Duration,
}

/// What is counted by nobody and asked for when it is told.
#[derive(Debug, Default)]
pub struct Gauges {
    pub heartbeat: Timestamp,
    /// Task instances that run.
    pub running: u32,
    /// How many may.
    pub parallelism: u32,
    pub active_runs: u32,
    /// Of each warning its kind.
    pub warnings: Vec<WarningKind>,
    /// All of them: others are told no more.
    pub pools: Vec<PoolSlots>,
    /// All of them: others are told no more.
    pub fleets: Vec<FleetPods>,
    /// None: not known.
    pub database_bytes: Option<u64>,
}

/// The pods of a fleet.
#[derive(Debug, Default)]
pub struct FleetPods {
    pub fleet: String,
    /// As many as it may have.
    pub max: u32,
    pub starting: i64,
    pub running: i64,
    pub leaving: i64,
    pub ended: i64,
}

/// How the slots of a pool are used.
#[derive(Debug)]
pub struct PoolSlots {
    pub pool: PoolName,
    /// None: there is no limit.
    pub open: Option<i64>,
    pub running: i64,
    pub queued: i64,
    pub scheduled: i64,
    pub deferred: i64,
}

macro_rules! figures {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal $(, $make:expr)?;)*) => {
        struct Figures { $($field: $kind,)* }

        impl Figures {
            fn new(registry: &mut Registry) -> Self {
                Self { $($field: {
                    let figure = figures!(@make $kind $(, $make)?);
                    add(registry, $name, concat!($($help),+), figure)
                },)* }
            }
        }
    };
    (@make $kind:ty) => { <$kind>::default() };
    (@make $kind:ty, $make:expr) => { $make };
}

figures! {
    /// Runs of a dag that ended, by their state
    dag_runs_ended: Family<RunLabels, Counter> = "dag_runs_ended";
    /// Time from the start of a run to its end
    dag_run_seconds: Histogram = "dag_run_seconds", long();
    /// Time from when a run could start to its start
    dag_run_delay_seconds: Histogram = "dag_run_delay_seconds", long();
    /// Tries of task instances that ended, by the state that followed
    task_tries_ended: Family<StateLabel, Counter> = "task_instance_tries_ended";
    /// Time from the start of a try to its end
    task_try_seconds: Histogram = "task_instance_try_seconds", long();
    /// Time from when a task instance could start, but for limits and pools, to its start
    task_queued_seconds: Histogram = "task_instance_queued_seconds", short();
    /// When the scheduler's loop went round last, in seconds since 1970
    heartbeat: Gauge<f64, AtomicU64> = "scheduler_heartbeat_timestamp_seconds";
    /// Task instances that run or are being started
    running: Gauge = "scheduler_running_task_instances";
    /// Task instances that may run at a time
    parallelism: Gauge = "scheduler_parallelism";
    /// Runs that have started and not ended
    active_runs: Gauge = "scheduler_active_dag_runs";
    /// Slots of a pool, by how they are used
    pool_slots: Family<PoolLabels, Gauge> = "pool_slots";
    /// Pods of a fleet, by their state
    fleet_pods: Family<FleetLabels, Gauge> = "fleet_pods";
    /// Pods that a fleet may have
    fleet_max_pods: Family<FleetLabel, Gauge> = "fleet_max_pods";
    /// Pods that were asked for, by what the cluster answered
    pod_creations: Family<CreationLabels, Counter> = "pod_creations";
    /// Pods that ended, by why
    pod_ends: Family<EndLabels, Counter> = "pod_ends";
    /// Time of a commit of the scheduler, until it is durable
    commit_seconds: Histogram = "scheduler_commit_seconds", short();
    /// Commits of the scheduler that failed and were tried again
    commit_failures: Counter = "scheduler_commit_failures";
    /// Requests that were answered
    http_requests: Family<RequestLabels, Counter> = "http_requests";
    /// Time until an answer's head
    http_request_seconds: Histogram = "http_request_seconds", short();
    /// Runner processes that were started
    runner_starts: Counter = "runner_starts";
    /// Runner processes that ended without being asked to
    runner_losses: Counter = "runner_losses";
    /// Tries to deliver a callback, by their result
    callbacks: Family<ResultLabel, Counter> = "callback_deliveries";
    /// Spans that could not be sent
    spans_dropped: Counter = "spans_dropped";
    /// Warnings on the page, by what they are about
    warnings: Family<KindLabel, Gauge> = "warnings";
    /// Size of the database with its log
    database_bytes: Gauge = "database_bytes";
    /// Rows that retention and deletions took out of the database, by their table
    deleted_rows: Family<TableLabel, Counter> = "deleted_rows";
    /// Bytes of logs, recordings, artifacts and XComs whose rows were deleted, by their table
    deleted_bytes: Family<TableLabel, Counter> = "deleted_bytes";
    /// Objects that were deleted from object storage
    deleted_objects: Counter = "deleted_objects";
    /// Time of a look of retention at what is due, with the deletions that followed
    retention_look_seconds: Histogram = "retention_look_seconds", long();
    /// Backups of the server's own, by their result
    backups: Family<ResultLabel, Counter> = "backups";
    /// When the last of the server's own backups was made, in seconds since 1970
    backup_last: Gauge<f64, AtomicU64> = "backup_last_timestamp_seconds";
    /// When retention ended its last look, in seconds since 1970
    retention_last_look: Gauge<f64, AtomicU64> = "retention_last_look_timestamp_seconds";
}

impl Figures {
    fn set(&self, now: &Gauges) {
        self.heartbeat.set(now.heartbeat.since(Timestamp::from_micros(0)).as_secs_f64());
        self.running.set(now.running.into());
        self.active_runs.set(now.active_runs.into());
        self.parallelism.set(now.parallelism.into());
        if let Some(bytes) = now.database_bytes {
            self.database_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        for kind in WarningKind::ALL {
            let count = now.warnings.iter().filter(|warning| **warning == kind).count();
            let figure = self.warnings.get_or_create(&KindLabel { kind: kind.as_str() });
            figure.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.fleet_pods.clear();
        self.fleet_max_pods.clear();
        for pods in &now.fleets {
            let fleet = || pods.fleet.clone();
            self.fleet_max_pods.get_or_create(&FleetLabel { fleet: fleet() }).set(pods.max.into());
            let FleetPods { starting, running, leaving, ended, .. } = *pods;
            for (state, count) in [("starting", starting), ("running", running), ("leaving", leaving), ("ended", ended)]
            {
                self.fleet_pods.get_or_create(&FleetLabels { fleet: fleet(), state }).set(count);
            }
        }
        self.pool_slots.clear();
        for slots in &now.pools {
            let states = [
                ("open", slots.open),
                ("running", Some(slots.running)),
                ("queued", Some(slots.queued)),
                ("scheduled", Some(slots.scheduled)),
                ("deferred", Some(slots.deferred)),
            ];
            for (state, count) in states {
                let Some(count) = count else { continue };
                self.pool_slots.get_or_create(&PoolLabels { pool: slots.pool.to_string(), state }).set(count);
            }
        }
    }
}

/// 100 us to 26 s.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 10))
}

/// 1 ms to 18 h.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 14))
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, figure: M) -> M {
    registry.register(name, help.trim(), figure.clone());
    figure
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("airlock");
        let figures = Figures::new(&mut registry);
        registry.register("build", "This server", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self { shared: Arc::new(Shared { registry, figures, rendering: Mutex::default() }) }
    }
}

impl Metrics {
    fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// All figures, those of `now` among them, in the OpenMetrics text format 1.0.
    pub fn render(&self, now: &Gauges) -> String {
        // Whoever asks at the same time must not see half of it.
        let _alone = self.shared.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.figures().set(now);
        let mut text = String::new();
        // Writing to a string does not fail; what a figure wrote before it failed is of use.
        let _ = text::encode(&mut text, &self.shared.registry);
        text
    }

    /// A run has started, which could since `ready`.
    pub fn dag_run_started(&self, ready: Timestamp, started: Timestamp) {
        self.figures().dag_run_delay_seconds.observe(started.since(ready).as_secs_f64());
    }

    /// A run has ended. `started` is none if it never did.
    pub fn dag_run_ended(&self, dag_id: &DagId, state: RunState, started: Option<Timestamp>, ended: Timestamp) {
        let labels = RunLabels { dag_id: dag_id.to_string(), state: state.as_str() };
        self.figures().dag_runs_ended.get_or_create(&labels).inc();
        if let Some(started) = started {
            self.figures().dag_run_seconds.observe(ended.since(started).as_secs_f64());
        }
    }

    /// A dag is gone, and with it its figures.
    pub fn dag_deleted(&self, dag_id: &DagId) {
        for state in [RunState::Success, RunState::Failed] {
            self.figures().dag_runs_ended.remove(&RunLabels { dag_id: dag_id.to_string(), state: state.as_str() });
        }
    }

    /// A try of a task instance has ended, and the instance is in `state`.
    pub fn task_try_ended(&self, state: TaskState, started: Option<Timestamp>, ended: Timestamp) {
        self.figures().task_tries_ended.get_or_create(&StateLabel { state: state.as_str() }).inc();
        if let Some(started) = started {
            self.figures().task_try_seconds.observe(ended.since(started).as_secs_f64());
        }
    }

    /// A try of a task instance has started, which could have `scheduled`.
    pub fn task_try_started(&self, scheduled: Timestamp, started: Timestamp) {
        self.figures().task_queued_seconds.observe(started.since(scheduled).as_secs_f64());
    }

    /// A commit of the scheduler is durable.
    pub fn committed(&self, took: Duration) {
        self.figures().commit_seconds.observe(took.as_secs_f64());
    }

    /// A commit of the scheduler failed, and is tried again.
    pub fn commit_failed(&self) {
        self.figures().commit_failures.inc();
    }

    /// A request was answered.
    pub fn answered(&self, request: &HttpRequest<'_>) {
        let method = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = method.into_iter().find(|method| *method == request.method).unwrap_or("OTHER");
        let labels = RequestLabels { method, route: request.route.to_owned(), status: request.status };
        self.figures().http_requests.get_or_create(&labels).inc();
        self.figures().http_request_seconds.observe(request.took.as_secs_f64());
    }

    /// Rows of a table are gone, and `bytes` that they named or held.
    pub fn deleted(&self, table: &'static str, rows: u64, bytes: u64) {
        let figures = self.figures();
        for (figure, count) in [(&figures.deleted_rows, rows), (&figures.deleted_bytes, bytes)] {
            if count > 0 {
                figure.get_or_create(&TableLabel { table }).inc_by(count);
            }
        }
    }

    /// Objects are gone from object storage.
    pub fn deleted_objects(&self, count: u64) {
        self.figures().deleted_objects.inc_by(count);
    }

    /// Retention has looked at what is due.
    pub fn retention_looked(&self, at: Timestamp, took: Duration) {
        self.figures().retention_last_look.set(at.since(Timestamp::from_micros(0)).as_secs_f64());
        self.figures().retention_look_seconds.observe(took.as_secs_f64());
    }

    /// A backup was made.
    pub fn backup_made(&self) {
        self.figures().backups.get_or_create(&ResultLabel { result: "made" }).inc();
    }

    /// A backup could not be made.
    pub fn backup_failed(&self) {
        self.figures().backups.get_or_create(&ResultLabel { result: "failed" }).inc();
    }

    /// When the last backup was made; none: there is none.
    pub fn backup_is_of(&self, at: Option<Timestamp>) {
        let since = at.map_or(0.0, |at| at.since(Timestamp::from_micros(0)).as_secs_f64());
        self.figures().backup_last.set(since);
    }

    /// A runner process was started.
    pub fn runner_started(&self) {
        self.figures().runner_starts.inc();
    }

    /// A runner process ended that was not asked to, or had to be killed.
    pub fn runner_lost(&self) {
        self.figures().runner_losses.inc();
    }

    /// A pod of a fleet was created, or was not.
    pub fn pod_asked_for(&self, fleet: &str, created: bool) {
        let result = if created { "created" } else { "refused" };
        self.figures().pod_creations.get_or_create(&CreationLabels { fleet: fleet.to_owned(), result }).inc();
    }

    /// A pod of a fleet ended; `reason`: a word for why.
    pub fn pod_ended(&self, fleet: &str, reason: &'static str) {
        self.figures().pod_ends.get_or_create(&EndLabels { fleet: fleet.to_owned(), reason }).inc();
    }

    /// Spans could not be sent.
    pub fn spans_dropped(&self, count: u64) {
        self.figures().spans_dropped.inc_by(count);
    }

    /// A callback was delivered, or could not be.
    pub fn callback_tried(&self, delivered: bool) {
        let result = if delivered { "delivered" } else { "failed" };
        self.figures().callbacks.get_or_create(&ResultLabel { result }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn figures_are_told_in_the_openmetrics_format() {
        let metrics = Metrics::default();
        let dag_id: DagId = "sales".parse().unwrap();
        metrics.dag_run_started(at(10), at(12));
        metrics.dag_run_ended(&dag_id, RunState::Failed, Some(at(12)), at(20));
        metrics.task_try_ended(TaskState::Success, Some(at(12)), at(13));
        metrics.callback_tried(false);
        let request =
            |method| HttpRequest { method, route: "/api/v2/dags", status: 200, took: Duration::from_millis(3) };
        metrics.answered(&request("GET"));
        metrics.answered(&request("BREW"));
        let text = metrics.render(&Gauges::default());
        for line in [
            "# TYPE airlock_dag_runs_ended counter",
            r#"airlock_dag_runs_ended_total{dag_id="sales",state="failed"} 1"#,
            "airlock_dag_run_seconds_sum 8.0",
            "airlock_dag_run_delay_seconds_sum 2.0",
            r#"airlock_task_instance_tries_ended_total{state="success"} 1"#,
            r#"airlock_callback_deliveries_total{result="failed"} 1"#,
            r#"airlock_http_requests_total{method="OTHER",route="/api/v2/dags",status="200"} 1"#,
            "# EOF",
        ] {
            assert!(text.contains(line), "`{line}` is not in\n{text}");
        }
        metrics.dag_deleted(&dag_id);
        assert!(!metrics.render(&Gauges::default()).contains("sales"));
    }

    #[test]
    fn pools_that_are_gone_are_told_no_more() {
        let metrics = Metrics::default();
        let pool = |name: &str, open| PoolSlots {
            pool: name.parse().unwrap(),
            open,
            running: 2,
            queued: 0,
            scheduled: 1,
            deferred: 0,
        };
        let told = |pools| metrics.render(&Gauges { pools, ..Gauges::default() });
        let text = told(vec![pool("narrow", Some(3)), pool("wide", None)]);
        assert!(text.contains(r#"airlock_pool_slots{pool="narrow",state="open"} 3"#), "{text}");
        assert!(!text.contains(r#"pool="wide",state="open""#), "{text}");
        assert!(!told(vec![pool("wide", None)]).contains("narrow"));
    }

    /// Who reads the docs finds every figure, and no other.
    #[test]
    fn the_docs_name_every_figure() {
        let metrics = Metrics::default();
        // What has a label is told from the first time on.
        metrics.dag_run_ended(&"d".parse().unwrap(), RunState::Success, None, at(1));
        metrics.task_try_ended(TaskState::Success, None, at(1));
        let (running, queued, scheduled, deferred) = (0, 0, 0, 0);
        let pools = vec![PoolSlots { pool: "p".parse().unwrap(), open: None, running, queued, scheduled, deferred }];
        metrics.answered(&HttpRequest { method: "GET", route: "/", status: 200, took: Duration::ZERO });
        metrics.callback_tried(true);
        metrics.backup_made();
        metrics.deleted("log_chunk", 1, 1);
        metrics.pod_asked_for("gpu", true);
        metrics.pod_ended("gpu", "evicted");
        let fleets = vec![FleetPods { fleet: "gpu".into(), ..FleetPods::default() }];
        let text = metrics.render(&Gauges { pools, fleets, ..Gauges::default() });
        let figures: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let docs = include_str!("../../../docs/monitoring.md");
        let named: Vec<_> = docs
            .lines()
            .filter_map(|line| line.strip_prefix("| `airlock_")?.split(['`', '{']).next())
            .map(|name| format!("airlock_{}", name.trim_end_matches("_total").trim_end_matches("_info")))
            .collect();
        let missing: Vec<_> = figures.iter().filter(|name| !named.iter().any(|named| named == *name)).collect();
        assert!(missing.is_empty(), "not in docs/monitoring.md: {missing:?}");
        assert_eq!(named.len(), figures.len(), "{named:?}");
    }
}
