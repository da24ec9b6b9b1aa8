//! What the scheduler hands over, and what it gets back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    blobs::keys::Stem,
    model::{
        asset::Added,
        dag::{Dag, NodeIndex},
        grants::Grants,
        ids::{AssetName, DagId, Digest, RunId, TaskId},
        state::RunType,
        time::{DataInterval, Timestamp},
        wait::Wait,
    },
    store::{ArtifactRow, CachedResultRow, DagRunKey, DagRunRow, InstanceKey, RecordingRow, XComNew},
    wire::CallError,
};

/// Names one start of one attempt. The scheduler never starts the same twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub instance: InstanceKey,
    /// From 1.
    pub try_number: u32,
    /// How often this try was started before and lost.
    pub restart: u32,
}

impl AttemptId {
    /// What the keys of all objects begin with that it stores.
    pub fn stem(&self) -> Stem {
        let Self { instance, try_number, restart } = self;
        Stem::of_attempt(instance.dag_run.0, &instance.task_id, instance.map_index, *try_number, *restart)
    }
}

/// An attempt that is to be made. The state that says so is committed.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub id: AttemptId,
    /// The dag as it was when the run was created, with all that it asks for.
    pub dag: Arc<Dag>,
    /// What of it is granted as the attempt starts.
    pub grants: Arc<Grants>,
    pub node: NodeIndex,
    pub run: Arc<RunContext>,
    pub component: Digest,
    /// Why it can't run: it ends with this before it begins.
    pub refused: Option<String>,
    /// Tries that the instance may have in all.
    pub max_tries: u32,
    /// When this try was first started: earlier than now if the task asked to be started again later.
    pub started_at: Timestamp,
}

impl Assignment {
    pub fn granted(&self) -> Granted<'_> {
        Granted { grants: &self.grants, asked: &self.dag.grants, dag_id: &self.dag.dag_id }
    }

    /// Lets through what is granted. `grant`: what it takes, as `variable:target`.
    ///
    /// # Errors
    /// [`CallError::Denied`], which says whether the dag asks for it at all.
    pub fn permit(&self, allows: impl Fn(&Grants) -> bool, grant: impl Fn() -> String) -> Result<(), CallError> {
        self.granted().find(|grants| allows(grants).then_some(()), grant)
    }
}

/// What an attempt may reach, and what its dag asks for.
#[derive(Debug, Clone, Copy)]
pub struct Granted<'a> {
    pub grants: &'a Grants,
    pub asked: &'a Grants,
    pub dag_id: &'a DagId,
}

impl<'a> Granted<'a> {
    /// What `find` finds in what is granted. `grant`: what it takes, as `http:example.org`.
    ///
    /// # Errors
    /// [`CallError::Denied`], which says whether the dag asks for it at all.
    pub fn find<T>(self, find: impl Fn(&'a Grants) -> Option<T>, grant: impl Fn() -> String) -> Result<T, CallError> {
        if let Some(found) = find(self.grants) {
            return Ok(found);
        }
        let (grant, dag_id) = (grant(), self.dag_id);
        Err(CallError::Denied(if find(self.asked).is_some() {
            format!("grant `{grant}` waits for an admin to approve it (`airlock grants list {dag_id}`)")
        } else {
            format!("grant `{grant}` is missing in the dag")
        }))
    }
}

/// What all attempts of a `dag_run` have in common.
#[derive(Debug, Clone)]
pub struct RunContext {
    pub dag_run: DagRunKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub run_type: RunType,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    pub run_after: Timestamp,
    /// Of a run about a date that nobody made by hand: when the schedule's run after it is due.
    pub next_run_after: Option<Timestamp>,
    /// A JSON object: the dag's defaults and what the trigger gave.
    pub params: Arc<str>,
}

/// What the executor tells the scheduler.
#[derive(Debug)]
pub enum ExecutorEvent {
    /// An attempt is over. Exactly one for each dispatched assignment, unless the executor is shut down first.
    Finished(Box<Completion>),
    /// What the templates of an attempt became, before it starts. Of those without templates, never.
    Rendered(Box<Rendered>),
    /// Workers came, went, or take no more.
    Workers,
    /// A task asks for a run of another dag. The grant was checked.
    Trigger(Box<TriggerCall>),
}

/// What the templates of an attempt became, to be shown. Secrets are hidden.
#[derive(Debug)]
pub struct Rendered {
    pub id: AttemptId,
    /// A JSON object: inputs by name.
    pub fields: Option<String>,
    /// What the instance is called.
    pub label: Option<String>,
}

/// A run that a task asks for.
#[derive(Debug)]
pub struct TriggerCall {
    pub by: AttemptId,
    pub dag_id: DagId,
    /// Values for the dag's params, not yet checked.
    pub conf: serde_json::Map<String, serde_json::Value>,
    pub logical_date: Option<Timestamp>,
    pub run_id: Option<RunId>,
    /// Whether a run that is there already is cleared.
    pub reset: bool,
    pub note: Option<String>,
    /// How many runs of the dag the attempt has asked for before.
    pub ordinal: u32,
    /// The run, or why there is none.
    pub reply: oneshot::Sender<Result<DagRunRow, TriggerRefusal>>,
}

/// Why a task gets no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerRefusal {
    NotFound(String),
    Invalid(String),
    /// Another try may help.
    Unavailable(String),
}

/// How an attempt ended and what it leaves behind.
#[derive(Debug)]
pub struct Completion {
    pub id: AttemptId,
    pub result: AttemptResult,
    /// Why, or whence the result is if it did not run, for people; secrets masked.
    pub message: Option<String>,
    /// To be committed with the success; empty for what did not succeed.
    pub xcoms: Vec<XComNew>,
    /// To be committed with the success; empty for what did not succeed.
    pub artifacts: Vec<ArtifactRow>,
    /// To be committed with the end, if the attempt was current.
    pub recording: Option<RecordingRow>,
    /// To be committed with the success, if the task has a cache.
    pub cached: Option<CachedResultRow>,
    /// What the events of outlets carry, where the attempt said so.
    pub asset_extras: BTreeMap<AssetName, String>,
    /// What it updated through aliases; to be committed with the success.
    pub added: Vec<Added>,
    /// What the instance is called, if the attempt said so; to be committed with the end, if the attempt was current.
    pub label: Option<String>,
    /// How long to wait before the next try, if it failed and said so.
    pub retry_delay: Option<Duration>,
    /// The length of the returned list, if a task or group of the dag is mapped over it and it is a list.
    pub list_length: Option<u32>,
    /// Where it ran; none: nowhere.
    pub hostname: Option<Arc<str>>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

impl Completion {
    /// An end that leaves nothing behind.
    pub fn new(id: AttemptId, result: AttemptResult, started_at: Timestamp, ended_at: Timestamp) -> Self {
        Self {
            id,
            result,
            message: None,
            xcoms: Vec::new(),
            artifacts: Vec::new(),
            recording: None,
            cached: None,
            asset_extras: BTreeMap::new(),
            added: Vec::new(),
            label: None,
            retry_delay: None,
            list_length: None,
            hostname: None,
            started_at,
            ended_at,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptResult {
    Success,
    Skipped,
    /// Success; of the direct downstream tasks only these run. Each is one.
    Branch(Vec<TaskId>),
    /// Success; what is downstream is skipped: all of it, or only what follows directly.
    ShortCircuit {
        all: bool,
    },
    /// To be started again at this instant with the same `try_number`.
    Later(Timestamp),
    /// As `Later`, but as soon as this has come.
    Wait(Wait, Timestamp),
    Failed {
        /// Whether another try may help.
        retry: bool,
    },
    /// Its runner died, or was shut down: says nothing about the task.
    Lost,
    /// As [`Executor::kill`](super::Executor::kill) asked.
    Killed,
}
