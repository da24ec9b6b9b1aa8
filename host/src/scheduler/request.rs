//! What can be asked of the scheduler, and how it can be refused.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{IntakeError, RetentionConfig, grants::GrantsDifference, reply::Reply};
use crate::{
    executor::CompileError,
    model::{
        approval::Answer,
        backfill::ReprocessBehavior,
        dag::DagError,
        dag_access::DagSet,
        grants::{Grant, GrantsPolicy},
        ids::{AssetName, DagId, Digest, NameError, RunId, TaskId},
        limits::DagLimits,
        signers::{SignatureError, Signers},
        state::{RunState, TaskState},
        time::{DataInterval, Timestamp},
        warning::Failing,
        yaml::YamlError,
    },
    store::{
        BackfillId, BackfillNew, BackfillRow, DagRunKey, DagRunRow, DeployedDag, EndedRun, InstanceKey, OriginRow,
        Parent, QueuedEventFilter, StoreError,
    },
    telemetry::Telemetry,
};

/// How a scheduler runs.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Attempts that run at a time, over all dags. Airflow: `[core] parallelism`.
    pub parallelism: u32,
    /// Whether a new dag starts paused unless it says otherwise. Airflow: `dags_are_paused_at_creation`.
    pub dags_paused_at_creation: bool,
    /// Whose components are accepted; empty: everybody's.
    pub signers: Signers,
    /// Which requests of dags wait for an admin.
    pub grants_policy: GrantsPolicy,
    /// What the attempts of one dag may have together, where nothing else is said of it.
    pub dag_limits: DagLimits,
    /// Whether timetables make runs; else runs are made by hand only, as for a trial.
    pub timetables: bool,
    /// Task instances that one clear or mark may be about, if it is about several runs: they are in memory at a time.
    pub max_changed: usize,
    /// How often the loop looks at the time even if nothing woke it.
    pub safety_interval: Duration,
    /// How long the loop waits before it tries a commit again that the database could not take.
    pub commit_retry: Duration,
    /// Where it tells what it does.
    pub telemetry: Telemetry,
    /// How long history is kept.
    pub retention: RetentionConfig,
    /// Whose disk is looked at, for it may be full; none: no disk is.
    pub data_dir: Option<PathBuf>,
    /// Whether the backup that the server makes by itself fails; none: it makes none.
    pub backup: Option<watch::Receiver<Option<Failing>>>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            parallelism: 256,
            dags_paused_at_creation: false,
            signers: Signers::default(),
            grants_policy: GrantsPolicy::default(),
            dag_limits: DagLimits::default(),
            timetables: true,
            max_changed: 200_000,
            safety_interval: Duration::from_secs(5),
            commit_retry: Duration::from_millis(500),
            telemetry: Telemetry::default(),
            retention: RetentionConfig::default(),
            data_dir: None,
            backup: None,
        }
    }
}

/// A run that somebody asks for. What is none is chosen by the scheduler, as Airflow does.
#[derive(Debug, Clone, Default)]
pub struct RunRequest {
    /// Default: `manual__<run_after>`.
    pub run_id: Option<RunId>,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    /// The run does not start before it. Default: now.
    pub run_after: Option<Timestamp>,
    /// Values for the dag's params. Airflow: `conf`.
    pub conf: serde_json::Map<String, serde_json::Value>,
    pub note: Option<String>,
    /// `rest_api`, `ui`, `cli` or `operator`.
    pub triggered_by: &'static str,
    pub user: Option<String>,
    /// The task instance that asks.
    pub origin: Option<Origin>,
}

/// What asks for a run: a task instance, or a callback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub parent: Parent,
    /// The try of the instance; of a run, its `clear_number`.
    pub number: u32,
    /// How many runs started each other up to the one that is asked for.
    pub depth: u32,
    /// Whether a run that is there already is cleared, once for each try.
    pub reset: bool,
}

impl Origin {
    pub fn row(&self, dag_run: DagRunKey) -> OriginRow {
        OriginRow { dag_run, parent: self.parent.clone(), parent_number: self.number, depth: self.depth }
    }
}

/// A backfill that somebody asks for. Airflow: `BackfillPostBody`.
#[derive(Debug, Clone)]
pub struct BackfillRequest {
    pub dag_id: DagId,
    /// No logical_date before it.
    pub from_date: Timestamp,
    /// No logical_date after it.
    pub to_date: Timestamp,
    pub run_backwards: bool,
    /// Its runs that are not finished at a time, at least 1.
    pub max_active_runs: u32,
    pub reprocess_behavior: ReprocessBehavior,
    /// Values for the dag's params.
    pub conf: serde_json::Map<String, serde_json::Value>,
    pub user: Option<String>,
}

/// Which task instances to clear: to make run again.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "these are the switches of Airflow's clearTaskInstances")]
pub struct ClearRequest {
    pub dag_id: DagId,
    /// None: all runs whose logical_date lies in `since`..=`until`.
    pub run_id: Option<RunId>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Empty: all tasks. A map_index of none: all instances of the task.
    pub tasks: Vec<(TaskId, Option<i32>)>,
    pub upstream: bool,
    pub downstream: bool,
    /// Also in earlier runs of the dag.
    pub past: bool,
    /// Also in later runs of the dag.
    pub future: bool,
    pub only_failed: bool,
    /// Only what is in state running: not what waits for a slot, or ends to be run again.
    pub only_running: bool,
    /// Whether finished runs run again; else the instances are cleared and wait.
    pub reset_dag_runs: bool,
    /// Tasks only that the newest version has and the run's did not.
    pub only_new: bool,
    /// Whether runs go on under the newest version of their dag, not the one that they were made with.
    pub run_on_latest_version: bool,
    /// Answers what would be cleared and changes nothing.
    pub dry_run: bool,
}

impl ClearRequest {
    /// Clears all of one run.
    pub fn of_run(dag_id: DagId, run_id: RunId) -> Self {
        Self {
            dag_id,
            run_id: Some(run_id),
            since: None,
            until: None,
            tasks: Vec::new(),
            upstream: false,
            downstream: false,
            past: false,
            future: false,
            only_failed: false,
            only_running: false,
            reset_dag_runs: true,
            only_new: false,
            run_on_latest_version: false,
            dry_run: false,
        }
    }
}

/// Which task instances to mark, and as what.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "these are the switches of Airflow's PATCH taskInstances")]
pub struct MarkRequest {
    pub dag_id: DagId,
    pub run_id: RunId,
    /// A map_index of none: all instances of the task.
    pub tasks: Vec<(TaskId, Option<i32>)>,
    /// `Success`, `Failed` or `Skipped`.
    pub state: TaskState,
    pub upstream: bool,
    pub downstream: bool,
    pub past: bool,
    pub future: bool,
    /// Answers what would be marked and changes nothing.
    pub dry_run: bool,
}

/// What an upload did.
#[derive(Debug, Clone)]
pub struct Deployed {
    pub digest: Digest,
    /// Whether these bytes were new.
    pub created: bool,
    pub entries: Vec<String>,
    pub dags: Vec<DeployedDag>,
    /// What each of the dags asks to reach that it did not before.
    pub grants: BTreeMap<DagId, GrantsDifference>,
}

impl Deployed {
    /// The dags that wait for an admin, each with what it may not reach until then.
    pub fn pending(&self) -> impl Iterator<Item = (&DagId, &[Grant])> {
        self.grants
            .iter()
            .map(|(dag_id, grants)| (dag_id, grants.pending.as_slice()))
            .filter(|(_, all)| !all.is_empty())
    }

    /// Whether anything is otherwise than it was before the upload.
    pub fn is_change(&self) -> bool {
        self.created || self.dags.iter().any(|dag| dag.changed)
    }
}

/// Somebody's answer to what a task instance asks.
#[derive(Debug, Clone)]
pub struct AnswerRequest {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub task_id: TaskId,
    pub map_index: i32,
    pub chosen: Vec<String>,
    /// Values of the question's fields; those that are left out have their defaults.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Who answers.
    pub username: String,
    /// Names what another system delivers: once it has answered a question of the instance, it answers no other.
    pub delivery: Option<String>,
}

/// Something that a task instance waits for. Airflow: `TaskDependencyResponse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Airflow's name of the kind, as `Trigger Rule`.
    pub name: &'static str,
    /// What is of the instance's own dag.
    reason: String,
    held_by: Option<HeldBy>,
}

/// Who has what is waited for. They may be of dags that whoever asks does not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBy {
    pub tasks: Vec<(DagId, RunId, TaskId)>,
    /// Whether there are more than these.
    pub has_more: bool,
}

impl Dependency {
    pub fn new(name: &'static str, reason: String) -> Self {
        Self { name, reason, held_by: None }
    }

    /// One whose reason goes on with who has it.
    pub fn held(name: &'static str, reason: String, held_by: HeldBy) -> Self {
        Self { name, reason, held_by: Some(held_by) }
    }

    /// It for people, to one who sees the dags of `seen`: of others nothing is named.
    pub fn reason(&self, seen: &DagSet) -> String {
        let Self { reason, held_by, .. } = self;
        let Some(HeldBy { tasks, has_more }) = held_by else { return reason.clone() };
        let told = |(dag_id, run_id, task_id): &(DagId, RunId, TaskId)| {
            if seen.contains(dag_id) {
                format!("`{task_id}` of `{run_id}` in `{dag_id}`")
            } else {
                "a task of another dag".to_owned()
            }
        };
        let tasks: Vec<_> = tasks.iter().map(told).collect();
        let more = if *has_more { ", ..." } else { "" };
        format!("{reason}: {}{more}", tasks.join(", "))
    }
}

/// Why an upload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Dag(#[from] DagError),
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("the component's name: {0}")]
    Name(#[from] NameError),
    #[error("{0}")]
    Entry(String),
    #[error("the component carries dag `{0}` twice; rename one")]
    Duplicate(String),
    #[error("it is neither a WebAssembly component nor a text in YAML")]
    Unknown,
    #[error(
        "the dags {} would start each other for ever by their assets; let one of them wait for something else too",
        shown(.0)
    )]
    AssetCycle(Vec<DagId>),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("dag `{0}` is not yours to upload: your role on it is too weak, as it is or as it would become")]
    NotTheirs(DagId),
    #[error("a component without dags is for everybody's; who uploads one needs the role author for all dags")]
    LibraryOfAll,
    #[error("a component named `{0}` is there, and not only of dags that are yours; give this one another name")]
    NameOfOthers(String),
    #[error(
        "an asset `{0}` is there, and named not only by dags that are yours; say of it (uri, group, extra, alias) what is said of it, or give this one another name"
    )]
    AssetOfOthers(String),
    #[error(transparent)]
    TooMany(#[from] IntakeError),
    #[error("the component could not be stored")]
    Blobs(#[from] crate::blobs::BlobError),
    #[error("the component could not be recorded")]
    Store(#[from] StoreError),
    #[error("the server is shutting down; try again")]
    Stopped,
}

impl DeployError {
    /// Whether what was uploaded is wrong, not the server.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Compile(error) => matches!(error, CompileError::Refused(_)),
            Self::Dag(_)
            | Self::Yaml(_)
            | Self::Name(_)
            | Self::Entry(_)
            | Self::Duplicate(_)
            | Self::AssetCycle(_)
            | Self::Signature(_)
            | Self::NotTheirs(_)
            | Self::LibraryOfAll
            | Self::NameOfOthers(_)
            | Self::AssetOfOthers(_)
            | Self::Unknown => true,
            Self::TooMany(_) | Self::Blobs(_) | Self::Store(_) | Self::Stopped => false,
        }
    }
}

fn shown(circle: &[DagId]) -> String {
    circle.iter().chain(circle.first()).map(|dag_id| format!("`{dag_id}`")).collect::<Vec<_>>().join(" -> ")
}

/// Why something that was asked for was not done. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The dag, run or task does not exist; the text names it.
    #[error("{0}")]
    NotFound(String),
    /// It collides with what is there, as a second run with the same logical_date.
    #[error("{0}")]
    Conflict(String),
    /// The request is wrong; the text says where and what is right.
    #[error("{0}")]
    Invalid(String),
    /// Others may do it; the text names them.
    #[error("{0}")]
    Forbidden(String),
    #[error("the change could not be recorded")]
    Store(#[from] Arc<StoreError>),
    #[error("the server is shutting down; try again")]
    Stopped,
}

impl From<StoreError> for RequestError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// How the scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// When its loop last went round.
    pub heartbeat: Timestamp,
    /// Attempts that hold a slot.
    pub running: u32,
    /// Runs that are not finished.
    pub active_runs: u32,
}

/// What the loop can be asked.
pub enum Request {
    /// `conf`: the resolved params. `checked_at`: when the store was seen to hold no such run.
    Trigger {
        dag_id: DagId,
        request: Box<RunRequest>,
        conf: Arc<str>,
        checked_at: Timestamp,
        reply: Reply<DagRunRow>,
    },
    ReloadDags {
        dag_ids: Vec<DagId>,
        reply: Reply<()>,
    },
    SetPaused {
        dag_id: DagId,
        paused: bool,
        reply: Reply<bool>,
    },
    DeleteDag {
        dag_id: DagId,
        reply: Reply<()>,
    },
    DeleteRun {
        dag_id: DagId,
        run_id: RunId,
        reply: Reply<()>,
    },
    DeleteInstance {
        dag_id: DagId,
        run_id: RunId,
        task_id: TaskId,
        map_index: i32,
        reply: Reply<()>,
    },
    /// Finished runs of a dag are too old. Answers how many were deleted.
    Retire {
        dag_id: DagId,
        runs: Vec<EndedRun>,
        reply: Reply<u64>,
    },
    MarkRun {
        dag_id: DagId,
        run_id: RunId,
        state: RunState,
        reply: Reply<DagRunRow>,
    },
    Clear {
        request: Box<ClearRequest>,
        reply: Reply<Vec<InstanceKey>>,
    },
    Mark {
        request: Box<MarkRequest>,
        reply: Reply<Vec<InstanceKey>>,
    },
    /// An asset was updated by hand. `extra`: a JSON object. Answers the event's key and time.
    AssetEvent {
        asset: AssetName,
        extra: String,
        user: String,
        reply: Reply<(i64, Timestamp)>,
    },
    /// Events that dags have not consumed are dropped. Answers how many.
    AssetQueueDelete {
        which: QueuedEventFilter,
        reply: Reply<u64>,
    },
    /// Somebody answers what a task asks.
    Answer {
        request: Box<AnswerRequest>,
        reply: Reply<Answer>,
    },
    ReloadPools {
        reply: Reply<()>,
    },
    CreateBackfill {
        new: Box<BackfillNew>,
        reply: Reply<BackfillRow>,
    },
    PauseBackfill {
        id: BackfillId,
        is_paused: bool,
        reply: Reply<BackfillRow>,
    },
    CancelBackfill {
        id: BackfillId,
        reply: Reply<BackfillRow>,
    },
    /// What an instance waits for.
    Why {
        dag_id: DagId,
        run_id: RunId,
        task_id: TaskId,
        map_index: i32,
        reply: Reply<Vec<Dependency>>,
    },
    Stop,
}

impl Request {
    /// Whether it deletes rows at once, not with its turn.
    pub(super) fn deletes(&self) -> bool {
        matches!(
            self,
            Self::DeleteDag { .. } | Self::DeleteRun { .. } | Self::Retire { .. } | Self::AssetQueueDelete { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_key_is_named_to_those_who_see_its_dag() {
        let task = |dag_id: &str| {
            let (run_id, task_id) = (format!("run-{dag_id}"), format!("task-{dag_id}"));
            (DagId::new(dag_id).unwrap(), RunId::new(&run_id).unwrap(), TaskId::new(&task_id).unwrap())
        };
        let held_by = HeldBy { tasks: vec![task("open"), task("hidden")], has_more: true };
        let held = Dependency::held("Task Concurrency", "it waits".to_owned(), held_by);
        let all = "it waits: `task-open` of `run-open` in `open`, `task-hidden` of `run-hidden` in `hidden`, ...";
        assert_eq!(held.reason(&DagSet::all()), all);
        let some = "it waits: `task-open` of `run-open` in `open`, a task of another dag, ...";
        assert_eq!(held.reason(&DagSet::one(DagId::new("open").unwrap())), some);
    }
}
