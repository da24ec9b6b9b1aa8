//! What a supervisor and its child processes say to each other.
//!
//! A supervisor (room `executor`) starts children of the same binary (room `sandbox`): a *compiler* for each upload and
//! long-lived *runners*. Both ends trust the frames' shape only: the supervisor knows from its own
//! books which attempt an [`AttemptKey`] stands for and what that attempt was granted; nothing in a
//! frame from a runner can widen it.
//!
//! A frame is a little-endian `u32` length and that many bytes of postcard. Both directions are batched: a
//! writer sends all frames that wait in one write.

mod frame;
#[cfg(test)]
mod tests;

pub use frame::{FrameError, FrameReader, FrameWriter, MAX_FRAME_BYTES, frame};

use serde::{Deserialize, Serialize};

use crate::model::{
    approval::Answer,
    ids::{AssetName, DagId, Digest, RunId, TaskId},
    sql::{Column, Datum, Row, Transaction},
    state::{RunState, TaskState},
    time::Timestamp,
    wait::{RunWait, Wait},
};

/// The number of this protocol. It grows with each change of what is said, so that a worker of another version, whose runner would read frames
/// wrongly, is told so instead.
pub const PROTOCOL: u32 = 1;

/// Stands for one start of one attempt on one runner. Given out by the supervisor, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey(pub u64);

/// Stands for one host call of an attempt. Given out by the runner, unique for the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallKey(pub u32);

/// Stands for an open artifact, HTTP exchange, session of a database or answer of it, of an attempt. Given out by the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamKey(pub u32);

/// Bytes and what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    pub media_type: String,
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

// ---- supervisor to runner -----------------------------------------------------------------------

/// From a supervisor to a runner.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToRunner {
    /// Makes a component ready to run. Sent before the first attempt that needs it. `code` is compiled code
    /// that the supervisor has authenticated.
    Load {
        component: Digest,
        #[serde(with = "serde_bytes")]
        code: Vec<u8>,
    },
    /// Forgets a component; attempts that run it go on.
    Unload {
        component: Digest,
    },
    Run(Box<RunAttempt>),
    /// As [`ToRunner::Run`], and [`FromRunner::Used`] tells of its CPU time.
    RunMetered(Box<RunAttempt>),
    Reply {
        attempt: AttemptKey,
        call: CallKey,
        reply: Result<Reply, CallError>,
    },
    /// Ends an attempt; `Done` follows with [`AttemptEnd::Killed`].
    Kill {
        attempt: AttemptKey,
    },
    /// Asks for a [`FromRunner::Pong`] at once; a runner that gives none is stuck and is killed.
    Ping,
}

/// All that a runner is told of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAttempt {
    pub attempt: AttemptKey,
    pub component: Digest,
    pub entry: String,
    pub instance: Instance,
    pub inputs: Vec<Input>,
    pub limits: Limits,
    pub tape: TapeMode,
}

/// Whether what a guest sees of time and chance is written down, or given as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TapeMode {
    Off,
    /// [`FromRunner::Tape`] comes before `Done`; at most so many bytes are kept.
    Record {
        max_bytes: u64,
    },
    Play {
        tape: Box<Tape>,
        /// Whether the attempt was ended from outside, so that it is killed at the first wait that is not on the tape.
        stops: bool,
    },
}

/// What a guest saw of time and chance, in its order. Each reading is less the one before it; the first, less 0.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tape {
    /// What all randomness is made of.
    pub seed: [u8; 32],
    /// `wasi:clocks/wall-clock`, since 1970 in nanoseconds.
    pub wall_ns: Vec<i64>,
    /// `wasi:clocks/monotonic-clock`.
    pub monotonic_ns: Vec<i64>,
    /// Since 1970 in microseconds: when lines of the log were written.
    pub lines_us: Vec<i64>,
    /// What each wait of `wasi:io/poll` answered, when it was over.
    pub polls: Vec<Vec<u32>>,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").finish_non_exhaustive()
    }
}

/// Which task instance an attempt is for. Fields as `runner.instance` in `wit/task.wit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub dag_id: String,
    pub run_id: String,
    pub task_id: String,
    pub map_index: i32,
    pub try_number: u32,
    pub max_tries: u32,
    pub started_at: Timestamp,
    pub logical_date: Option<Timestamp>,
    pub data_interval_start: Option<Timestamp>,
    pub data_interval_end: Option<Timestamp>,
    pub run_after: Timestamp,
    pub next_run_after: Option<Timestamp>,
    pub timezone: String,
    pub params: String,
    pub traceparent: Option<String>,
}

/// A resolved input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub name: String,
    pub value: Option<Value>,
}

/// What an attempt may use of its runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory in all.
    pub memory_bytes: u64,
    /// Wall clock from start to end; none: unlimited.
    pub timeout_ms: Option<u64>,
    /// Log lines and output in all; what is above is counted and dropped.
    pub log_bytes: u64,
    /// Host calls in all (log lines excepted); above it the attempt traps.
    pub host_calls: u64,
}

/// A host call's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Unit,
    Value(Value),
    RunValues(Vec<RunValue>),
    Text(String),
    Connection(Connection),
    /// A stream was opened; `size` is that of an artifact that is read.
    Stream {
        stream: StreamKey,
        size: u64,
    },
    /// The next bytes of a stream; empty at its end.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Size(u64),
    /// The head of an HTTP response; its body is read from `stream`.
    Response {
        stream: StreamKey,
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
    },
    DagRun(DagRun),
    Look(Look),
    AssetEvents(Vec<AssetEvent>),
    Approval(Option<Answer>),
    /// A query was answered; its rows are read from `stream`.
    Rows {
        stream: StreamKey,
        columns: Vec<Column>,
    },
    /// The next rows; none at the end.
    Batch(Vec<Row>),
    /// An object was opened; its bytes are read from `stream`.
    Object {
        stream: StreamKey,
        info: ObjectInfo,
    },
    ObjectInfo(ObjectInfo),
    Objects {
        objects: Vec<ObjectInfo>,
        has_more: bool,
    },
}

/// As `objects.object`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    pub key: String,
    pub size_bytes: u64,
    pub modified_at: Timestamp,
    pub etag: Option<String>,
}

/// As `assets.asset-event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetEvent {
    pub asset: AssetName,
    pub uri: String,
    pub timestamp: Timestamp,
    pub extra: String,
    /// Dag, run, task and `map_index`.
    pub source: Option<(DagId, RunId, TaskId, i32)>,
}

/// As `dags.dag-run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DagRun {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub state: RunState,
    pub logical_date: Option<Timestamp>,
    pub run_after: Timestamp,
}

/// As `dags.look`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    NotYet,
    All(DagRun),
    Any(DagRun, TaskState),
}

/// As `dags.run-request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    pub dag_id: DagId,
    /// JSON.
    pub conf: String,
    pub logical_date: Option<Timestamp>,
    pub run_id: Option<RunId>,
    pub reset: bool,
    pub note: Option<String>,
}

/// As `xcom.run-value`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunValue {
    pub run_id: String,
    pub logical_date: Timestamp,
    pub map_index: i32,
    pub value: Value,
}

/// As `connections.connection`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Connection {
    pub id: String,
    pub conn_type: String,
    pub host: Option<String>,
    pub schema: Option<String>,
    pub login: Option<String>,
    pub password: Option<String>,
    pub port: Option<u16>,
    pub extra: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).finish_non_exhaustive()
    }
}

/// As `types.error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallError {
    Denied(String),
    NotFound(String),
    TooLarge(String),
    Unavailable(String),
    Invalid(String),
}

// ---- runner to supervisor -----------------------------------------------------------------------

/// From a runner to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromRunner {
    /// The runner takes work. Sent once, first.
    Ready,
    /// The answer to [`ToRunner::Ping`].
    Pong,
    /// `Load` failed: the code is not for this engine, or the component does not link.
    LoadFailed {
        component: Digest,
        message: String,
    },
    Call {
        attempt: AttemptKey,
        call: CallKey,
        request: Call,
    },
    /// Log lines in the order in which they were written.
    Log {
        attempt: AttemptKey,
        lines: Vec<Line>,
    },
    /// What a recorded attempt saw of time and chance; none if it was more than may be kept. Comes before `Done`.
    Tape {
        attempt: AttemptKey,
        tape: Option<Box<Tape>>,
    },
    /// CPU time that a metered attempt took and that was not told before, microseconds. The last one comes before `Done`.
    Used {
        attempt: AttemptKey,
        cpu_us: u64,
    },
    /// The attempt's store is gone. The last frame of an attempt.
    Done {
        attempt: AttemptKey,
        end: AttemptEnd,
        usage: Usage,
    },
}

/// What a guest asks of the host. Meaning and limits stand in `wit/task.wit`; the supervisor decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    XComPush {
        key: String,
        value: Value,
    },
    XComPull {
        task_id: String,
        map_index: Option<i32>,
        key: String,
    },
    XComPullRuns {
        task_id: String,
        key: String,
        since: Timestamp,
        until: Timestamp,
    },
    VariableGet {
        key: String,
    },
    ConnectionGet {
        id: String,
    },
    ArtifactCreate {
        name: String,
        media_type: String,
    },
    ArtifactWrite {
        stream: StreamKey,
        #[serde(with = "serde_bytes")]
        chunk: Vec<u8>,
    },
    ArtifactFinish {
        stream: StreamKey,
    },
    ArtifactOpen {
        task_id: String,
        map_index: Option<i32>,
        name: String,
    },
    /// Answers [`Reply::Bytes`]; for artifact readers and HTTP response bodies.
    StreamRead {
        stream: StreamKey,
        max_bytes: u32,
    },
    /// The guest no longer wants the stream. Not answered.
    StreamDrop {
        stream: StreamKey,
    },
    /// One HTTP exchange. The body is sent with it, at most 16 MiB.
    HttpRequest {
        method: String,
        /// Absolute, `http` or `https`.
        uri: String,
        headers: Vec<(String, Vec<u8>)>,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
        timeout_ms: Option<u64>,
    },
    AssetSetExtra {
        asset: AssetName,
        extra: String,
    },
    AssetAdd {
        alias: AssetName,
        name: AssetName,
        uri: String,
        group: String,
        extra: String,
    },
    AssetTriggering,
    AssetEvents {
        asset: AssetName,
        limit: u32,
    },
    ApprovalFind {
        subject: String,
    },
    LabelSet {
        label: String,
    },
    RetryDelaySet {
        delay_ms: u64,
    },
    DagLook(RunWait),
    DagTrigger(RunRequest),
    /// Answers [`Reply::Stream`]: a session.
    SqlOpen {
        id: String,
    },
    /// Answers [`Reply::Rows`].
    SqlQuery {
        session: StreamKey,
        statement: String,
        parameters: Vec<Datum>,
    },
    /// Answers [`Reply::Size`].
    SqlExecute {
        session: StreamKey,
        statement: String,
        parameters: Vec<Datum>,
    },
    SqlTransaction {
        session: StreamKey,
        act: Transaction,
    },
    /// Answers [`Reply::Batch`].
    SqlNext {
        stream: StreamKey,
    },
    /// Answers [`Reply::Object`].
    ObjectGet {
        connection: String,
        key: String,
    },
    /// Answers [`Reply::Stream`], which is written and finished as an artifact's.
    ObjectPut {
        connection: String,
        key: String,
        media_type: String,
    },
    /// Answers [`Reply::Objects`].
    ObjectList {
        connection: String,
        prefix: String,
        after: Option<String>,
        limit: u32,
    },
    /// Answers [`Reply::ObjectInfo`].
    ObjectHead {
        connection: String,
        key: String,
    },
    ObjectDelete {
        connection: String,
        key: String,
    },
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub at: Timestamp,
    pub level: Level,
    pub source: LineSource,
    /// Which module of the guest speaks; empty for output.
    pub target: String,
    pub message: String,
    pub fields: Vec<(String, String)>,
}

/// Severity, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineSource {
    /// The `log` import.
    Log,
    Stdout,
    Stderr,
    /// Airlock itself, about the attempt.
    Airlock,
}

/// How an attempt ended, as the runner saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AttemptEnd {
    Success(Option<Value>),
    Skipped(Option<String>),
    Branch(Vec<String>),
    /// What is downstream is skipped: all of it, or only what follows directly.
    ShortCircuit {
        all: bool,
    },
    /// To be started again at this instant.
    Later(Timestamp),
    /// To be started again when this has come, or at this instant at the latest.
    Wait(Wait, Timestamp),
    /// The guest said that another try may help.
    Retryable(String),
    /// The guest said that no other try helps.
    Fatal(String),
    /// The guest trapped, exited, or broke a limit; `message` names it, `backtrace` has the guest's functions, innermost first.
    Trapped {
        message: String,
        backtrace: Vec<String>,
    },
    TimedOut {
        limit_ms: u64,
    },
    Killed,
    /// The runner could not run it (the component is not loaded, no instance slot); says nothing about the guest.
    NotRun(String),
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall clock from the store's making to its end, microseconds.
    pub wall_us: u64,
    /// The most linear memory it had at a time.
    pub memory_bytes: u64,
    /// Log lines and output that were dropped for being above the limit.
    pub log_bytes_dropped: u64,
}

// ---- supervisor and compiler --------------------------------------------------------------------

/// What the compiler child answers, as its only frame.
#[derive(Debug, Serialize, Deserialize)]
pub enum Compiled {
    Ready {
        /// A [`ModuleSpec`](crate::model::spec::ModuleSpec) as JSON (postcard has no optional fields).
        #[serde(with = "serde_bytes")]
        module: Vec<u8>,
        /// A [`Provenance`](crate::model::provenance::Provenance) as JSON.
        #[serde(with = "serde_bytes")]
        provenance: Vec<u8>,
        #[serde(with = "serde_bytes")]
        code: Vec<u8>,
    },
    /// The bytes are not a component that can run here; the text says what is wrong and what to do.
    Refused(String),
}
