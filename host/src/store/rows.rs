//! What the database holds, as Rust sees it. Shared by all dialects.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::{
    dag_access::DagPermission,
    ids::{ConnectionId, DagId, Digest, PoolName, RunId, TaskId, VariableKey, XComKey},
    role::Role,
    sign_in::Identity,
    spec::{DagSpec, ModuleSpec},
    state::{RunState, RunType, TaskState},
    time::{DataInterval, Timestamp},
    wait::Wait,
};

/// A `dag_run`'s number in the database. Grows with time; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct DagRunKey(pub i64);

/// A `dag_version`'s number in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct DagVersionKey(pub i64);

/// Names a task instance: a task, a run, and an index (-1 if the task is not mapped).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    pub dag_run: DagRunKey,
    pub task_id: TaskId,
    pub map_index: i32,
}

#[derive(Debug, Clone)]
pub struct ComponentRow {
    pub digest: Digest,
    pub size_bytes: i64,
    /// What it carries, with `dags` left empty: they are `dag_versions` of their own and may be large.
    pub module: Arc<ModuleSpec>,
    /// The dags that it ever brought and that were not deleted, ascending.
    pub dag_ids: Vec<DagId>,
    /// Whether it is known that none was deleted.
    pub has_all_dags: bool,
    pub uploaded_at: Timestamp,
    pub uploaded_by: String,
    /// Whose signature it came with, if one was asked for.
    pub signer: Option<String>,
}

/// A dag with its newest version.
#[derive(Debug, Clone)]
pub struct DagRow {
    pub dag_id: DagId,
    pub is_paused: bool,
    /// Why Airlock itself paused it.
    pub pause_reason: Option<String>,
    pub version: DagVersionKey,
    pub version_number: i64,
    pub component: Digest,
    pub spec: Arc<DagSpec>,
    /// The `logical_date` of the last scheduled run that was created; where the timetable goes on.
    pub last_scheduled: Option<DataInterval>,
    pub created_at: Timestamp,
    /// When its newest version came, or it was paused or let go on.
    pub updated_at: Timestamp,
}

impl DagRow {
    /// Since when its timetable makes runs; of a paused dag, as if it were let go on now.
    pub fn scheduled_since(&self, now: Timestamp) -> Timestamp {
        if self.is_paused { now } else { self.updated_at }
    }
}

#[derive(Debug, Clone)]
pub struct DagVersionRow {
    pub key: DagVersionKey,
    pub dag_id: DagId,
    pub version_number: i64,
    pub component: Digest,
    pub spec: Arc<DagSpec>,
    pub created_at: Timestamp,
}

/// A state that instances of a task are in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct StateOfTask {
    pub task_id: TaskId,
    pub state: TaskState,
    /// How many of a mapped task's instances 0, 1, ... are; 0: the task's one instance is, which a mapped task has until its
    /// list is known.
    pub mapped: u32,
}

#[derive(Debug, Clone)]
pub struct DagRunRow {
    pub key: DagRunKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub version: DagVersionKey,
    pub version_number: i64,
    pub run_type: RunType,
    pub state: RunState,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    pub run_after: Timestamp,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    /// The params given at the trigger: a JSON object. Whoever asks for one run has it. None: it is left in the database, since the row is one
    /// of many and it is longer than [`MAX_LISTED_CONF_BYTES`], or nobody shows it; see [`Store::dag_run_conf`](super::Store::dag_run_conf).
    pub conf: Option<Arc<str>>,
    /// `timetable`, `rest_api`, `ui`, `cli`. Airflow: `triggered_by`.
    pub triggered_by: String,
    pub triggering_user: Option<String>,
    pub note: Option<String>,
    /// How often it was cleared.
    pub clear_number: i64,
    /// Why it failed, where its task instances alone do not tell: it timed out, or could not go on.
    pub message: Option<String>,
}

/// A task instance's present try.
#[derive(Debug, Clone)]
pub struct TaskInstanceRow {
    pub dag_run: DagRunKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub logical_date: Option<Timestamp>,
    pub run_after: Timestamp,
    pub task_id: TaskId,
    pub map_index: i32,
    pub state: TaskState,
    /// 0 before the first try.
    pub try_number: u32,
    pub max_tries: u32,
    /// How often this try was started again because its runner was lost.
    pub restarts: u32,
    pub scheduled_at: Option<Timestamp>,
    pub queued_at: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    /// When a waiting retry or reschedule is due.
    pub wake_at: Option<Timestamp>,
    /// Why it failed or was skipped, for people; secrets masked.
    pub message: Option<String>,
    pub note: Option<String>,
    pub pool: String,
    pub pool_slots: u32,
    pub priority_weight: i32,
    pub entry: String,
    /// Of a branch: the task ids that it chose.
    pub followed: Option<Vec<String>>,
    /// The length of the list that it returned, for mapped tasks.
    pub list_length: Option<u32>,
    /// What the instance of a mapped task is called.
    pub rendered_map_index: Option<String>,
    /// Where the try ran last: a worker's name, or that of the server's own machine. None: it did not run, or still runs.
    pub hostname: Option<String>,
}

impl TaskInstanceRow {
    pub fn instance(&self) -> InstanceKey {
        InstanceKey { dag_run: self.dag_run, task_id: self.task_id.clone(), map_index: self.map_index }
    }
}

/// What a task instance waits for, beside its `wake_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitRow {
    pub instance: InstanceKey,
    pub wait: Wait,
}

/// What started a `dag_run`: a task instance, or a callback of one or of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRow {
    /// The run that was started.
    pub dag_run: DagRunKey,
    pub parent: Parent,
    /// The parent's try that last started or restarted it; of a run, its `clear_number`.
    pub parent_number: u32,
    /// 1 if the parent's run has no origin, else one more than that run's.
    pub depth: u32,
}

/// A run, or a task instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub dag_run: DagRunKey,
    /// With the map_index. None: the run itself.
    pub task: Option<(TaskId, i32)>,
}

impl From<InstanceKey> for Parent {
    fn from(key: InstanceKey) -> Self {
        Self { dag_run: key.dag_run, task: Some((key.task_id, key.map_index)) }
    }
}

/// An XCom without its value.
#[derive(Debug, Clone)]
pub struct XComRow {
    pub instance: InstanceKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub logical_date: Option<Timestamp>,
    pub run_after: Timestamp,
    pub key: XComKey,
    pub media_type: String,
    pub size_bytes: i64,
    pub created_at: Timestamp,
}

/// Where an XCom's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XComBody {
    /// In the database: at most 64 KiB.
    Inline(Vec<u8>),
    /// In object storage, under this key.
    Blob(String),
}

impl XComBody {
    /// Its object's key, if it has one.
    pub fn into_blob(self) -> Option<String> {
        match self {
            Self::Inline(_) => None,
            Self::Blob(blob) => Some(blob),
        }
    }
}

/// An XCom to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XComNew {
    pub instance: InstanceKey,
    pub key: XComKey,
    pub media_type: String,
    /// The length of the value, wherever it is.
    pub size_bytes: i64,
    pub body: XComBody,
}

#[derive(Debug, Clone)]
pub struct XComValue {
    pub row: XComRow,
    pub body: XComBody,
}

#[derive(Debug, Clone)]
pub struct ArtifactRow {
    pub instance: InstanceKey,
    pub try_number: u32,
    pub name: String,
    pub media_type: String,
    pub size_bytes: i64,
    pub sha256: Digest,
    pub blob: String,
    pub created_at: Timestamp,
}

/// A piece of an attempt's log: an independent zstd frame inside an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunkRow {
    pub instance: InstanceKey,
    pub try_number: u32,
    /// From 0, without gaps.
    pub seq: u32,
    pub blob: String,
    pub offset: i64,
    pub length: i64,
    pub lines: i64,
    pub created_at: Timestamp,
}

/// A variable as it is stored: its value is sealed by the room `secrets`.
#[derive(Debug, Clone)]
pub struct VariableRow {
    pub key: VariableKey,
    pub sealed: Vec<u8>,
    pub description: Option<String>,
    pub updated_at: Timestamp,
}

/// What lists tell of a variable: all but its value.
#[derive(Debug, Clone)]
pub struct VariableHead {
    pub key: VariableKey,
    pub description: Option<String>,
    pub updated_at: Timestamp,
}

/// A connection as it is stored: password and extra are sealed by the room `secrets`.
#[derive(Debug, Clone)]
pub struct ConnectionRow {
    pub id: ConnectionId,
    pub conn_type: String,
    pub description: Option<String>,
    pub host: Option<String>,
    pub schema: Option<String>,
    pub login: Option<String>,
    pub port: Option<u16>,
    pub sealed_password: Option<Vec<u8>>,
    pub sealed_extra: Option<Vec<u8>>,
    pub updated_at: Timestamp,
}

/// What lists tell of a connection: nothing that is sealed.
#[derive(Debug, Clone)]
pub struct ConnectionHead {
    pub id: ConnectionId,
    pub conn_type: String,
    pub description: Option<String>,
    pub host: Option<String>,
    pub login: Option<String>,
    pub port: Option<u16>,
    pub has_password: bool,
}

#[derive(Debug, Clone)]
pub struct UserRow {
    pub username: String,
    /// An argon2 PHC string; empty: there is no password.
    pub password_hash: String,
    pub role: Role,
    /// Sorted.
    pub dag_permissions: Vec<DagPermission>,
    /// Whom a provider vouches for, if one does; then there is no password.
    pub identity: Option<Identity>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl UserRow {
    /// What the audit log shows of it.
    pub fn shown(&self) -> Value {
        let mut shown = json!({"role": self.role, "dag_permissions": self.dag_permissions});
        if let Some(Identity { issuer, subject }) = &self.identity {
            (shown["issuer"], shown["subject"]) = (issuer.as_str().into(), subject.as_str().into());
        }
        shown
    }
}

/// A session of the page or a bearer token of the API. The secret itself is not stored.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    pub username: String,
    /// `cookie` or `bearer`.
    pub kind: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Slots that limit how many task instances run at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    pub name: PoolName,
    /// -1: unlimited.
    pub slots: i32,
    pub description: Option<String>,
    /// Whether instances that wait (rescheduled) hold their slots. Airflow: `include_deferred`.
    pub include_deferred: bool,
}

/// Slots of a pool that task instances hold or ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolUse {
    pub pool: String,
    pub running: i64,
    pub queued: i64,
    /// Of instances that wait for slots.
    pub scheduled: i64,
    /// Of instances that asked to be started again later.
    pub deferred: i64,
}

impl PoolUse {
    /// Slots that are taken.
    pub fn occupied(&self, pool: &PoolRow) -> i64 {
        self.running + self.queued + if pool.include_deferred { self.deferred } else { 0 }
    }

    /// Slots that are free; none if there is no limit.
    pub fn open(&self, pool: &PoolRow) -> Option<i64> {
        (pool.slots >= 0).then(|| (i64::from(pool.slots) - self.occupied(pool)).max(0))
    }
}

/// What the audit log shows of what people set: no secrets.
impl VariableRow {
    pub fn shown(&self) -> Value {
        json!({"description": self.description, "value": HIDDEN})
    }
}

impl ConnectionRow {
    pub fn shown(&self) -> Value {
        json!({
            "conn_type": self.conn_type, "description": self.description, "host": self.host, "schema": self.schema,
            "login": self.login, "port": self.port, "password": self.sealed_password.as_ref().map(|_| HIDDEN),
            "extra": self.sealed_extra.as_ref().map(|_| HIDDEN),
        })
    }
}

impl PoolRow {
    pub fn shown(&self) -> Value {
        json!({"slots": self.slots, "description": self.description, "include_deferred": self.include_deferred})
    }
}

/// Stands for a secret that is there.
const HIDDEN: &str = "***";
