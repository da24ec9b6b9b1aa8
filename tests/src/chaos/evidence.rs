//! What is known when all is over: what the client was told, what was seen meanwhile, and what is there.
//!
//! Plain data, so that histories can be planted. Instants are microseconds of the database's clock.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    pub sent: Vec<Sent>,
    pub dags: BTreeMap<String, Dag>,
    pub runs: Vec<Run>,
    pub instances: Vec<Instance>,
    /// Tries that were followed by another.
    pub tries: Vec<Instance>,
    /// XComs and artifacts.
    pub outputs: Vec<Output>,
    pub chunks: Vec<Chunk>,
    /// Dags each of whose runs starts one run of another.
    pub starts: Vec<(String, String)>,
    /// Slots; none: as many as wanted.
    pub pools: BTreeMap<String, Option<i64>>,
    /// Attempts at a time.
    pub parallelism: i64,
    /// Rows of `callback` that are pending and of `wait`.
    pub left_over: Vec<String>,
    pub samples: Vec<Sample>,
    /// How long it took after the last fault until nothing was left to do; none: it was not waited for any longer.
    pub at_rest_after: Option<Duration>,
    /// How long that may take.
    pub rest_limit: Duration,
}

/// Something that the client asked for.
#[derive(Debug, Clone)]
pub struct Sent {
    pub what: Asked,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Run {
        dag_id: String,
        run_id: String,
    },
    /// `found`: its value when all was over.
    Variable {
        key: String,
        value: String,
        found: Option<String>,
    },
}

/// What the client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx answer.
    Acknowledged,
    /// A 4xx answer.
    Refused(u16),
    /// No answer, or a 5xx.
    Unknown,
}

/// What a dag asks for.
#[derive(Debug, Clone, Default)]
pub struct Dag {
    pub max_active_runs: i64,
    pub max_active_tasks: i64,
    pub tasks: BTreeMap<String, Task>,
    /// Between two scheduled runs.
    pub period_us: Option<i64>,
    /// When it was paused at the end: until then runs were due.
    pub paused_at: Option<i64>,
}

#[derive(Debug, Clone, Default)]
pub struct Task {
    pub trigger_rule: String,
    pub downstream: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    pub key: i64,
    pub dag_id: String,
    pub run_id: String,
    pub run_type: String,
    pub state: String,
    pub logical_date: Option<i64>,
    pub start_date: Option<i64>,
    pub end_date: Option<i64>,
}

impl Run {
    pub const COLUMNS: &[&str] =
        &["key", "dag_id", "run_id", "run_type", "state", "logical_date", "start_date", "end_date"];

    pub fn is_finished(&self) -> bool {
        matches!(self.state.as_str(), "success" | "failed")
    }
}

/// Which task instance: run, task, map_index.
pub type Key<'a> = (i64, &'a str, i64);

#[derive(Debug, Clone, Deserialize)]
pub struct Instance {
    pub dag_run: i64,
    pub task_id: String,
    pub map_index: i64,
    pub state: String,
    pub try_number: i64,
    pub max_tries: i64,
    pub restarts: i64,
    pub start_date: Option<i64>,
    pub end_date: Option<i64>,
}

impl Instance {
    pub const COLUMNS: &[&str] =
        &["dag_run", "task_id", "map_index", "state", "try_number", "max_tries", "restarts", "start_date", "end_date"];

    pub fn key(&self) -> Key<'_> {
        (self.dag_run, &self.task_id, self.map_index)
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.state.as_str(), "success" | "failed" | "skipped" | "upstream_failed" | "removed")
    }
}

/// What a task left.
#[derive(Debug, Clone, Deserialize)]
pub struct Output {
    pub dag_run: i64,
    pub task_id: String,
    pub map_index: i64,
    pub name: String,
    /// Of artifacts: the try that wrote it.
    pub try_number: Option<i64>,
    pub size_bytes: u64,
    /// Of XComs: when it was committed.
    pub committed_at: Option<i64>,
    pub blob: Option<String>,
    /// Of artifacts, hexadecimal.
    pub sha256: Option<String>,
    /// The object.
    #[serde(skip)]
    pub found: Option<Found>,
}

impl Output {
    pub const XCOM: &[&str] =
        &["dag_run", "task_id", "map_index", "key", "NULL", "size_bytes", "created_at", "blob", "NULL"];

    pub fn key(&self) -> Key<'_> {
        (self.dag_run, &self.task_id, self.map_index)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub size_bytes: u64,
    /// Hexadecimal.
    pub sha256: String,
}

/// A piece of log.
#[derive(Debug, Clone, Deserialize)]
pub struct Chunk {
    pub dag_run: i64,
    pub task_id: String,
    pub map_index: i64,
    pub try_number: i64,
    pub seq: i64,
    pub offset_bytes: u64,
    pub length_bytes: u64,
    pub blob: String,
    /// Of the object, if it is there.
    #[serde(skip)]
    pub object_bytes: Option<u64>,
}

impl Chunk {
    pub const COLUMNS: &[&str] =
        &["dag_run", "task_id", "map_index", "try_number", "seq", "offset_bytes", "length_bytes", "blob"];
}

/// The database at an instant.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Sample {
    #[serde(default)]
    pub leases: Vec<Lease>,
    /// Taken slots by pool.
    pub pools: Vec<(String, i64)>,
    /// Instances that hold slots, by run and dag.
    pub tasks: Vec<(i64, String, i64)>,
    /// Running runs by dag.
    pub active_runs: Vec<(String, i64)>,
    /// Keys of runs.
    pub unfinished: Vec<i64>,
    pub live: Vec<Live>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Lease {
    pub holder: String,
    pub epoch: i64,
}

/// An instance that began and is not finished.
#[derive(Debug, Clone, Deserialize)]
pub struct Live {
    pub dag_run: i64,
    pub task_id: String,
    pub map_index: i64,
    pub try_number: i64,
    pub restarts: i64,
}
