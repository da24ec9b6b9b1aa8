//! Who is told when a run or a task instance comes to a state. Airflow: callbacks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    ids::{ConnectionId, DagId},
    spec::CallbackSpec,
    state::{RunState, TaskState},
};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackEvent {
    Success,
    Failure,
    /// A try failed, and another follows.
    Retry,
    /// A task decided to be skipped.
    Skipped,
    /// A run was not finished by its deadline.
    Deadline,
    /// A task begins to wait for a person's answer.
    Question,
}

impl CallbackEvent {
    /// What an instance's new state is to those who are told.
    ///
    /// Without a try there is nothing to tell: whoever is skipped by a trigger rule, or has an upstream that failed, did
    /// nothing. Airflow: `on_skipped_callback` is of `AirflowSkipException` only.
    pub fn of_task(state: TaskState, try_number: u32) -> Option<Self> {
        match state {
            _ if try_number == 0 => None,
            TaskState::Success => Some(Self::Success),
            TaskState::Failed => Some(Self::Failure),
            TaskState::UpForRetry => Some(Self::Retry),
            TaskState::Skipped => Some(Self::Skipped),
            _ => None,
        }
    }

    /// What a run's new state is to those who are told.
    pub fn of_run(state: RunState) -> Option<Self> {
        match state {
            RunState::Success => Some(Self::Success),
            RunState::Failed => Some(Self::Failure),
            RunState::Queued | RunState::Running => None,
        }
    }

    /// The word of the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Retry => "retry",
            Self::Skipped => "skipped",
            Self::Deadline => "deadline",
            Self::Question => "question",
        }
    }
}

/// By what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// By what the connection says.
    Connection(ConnectionId),
    /// By a run of this dag, written `dag:<dag_id>`.
    Dag(DagId),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("dag:") {
            Some(dag_id) => DagId::new(dag_id).map(Self::Dag).map_err(|error| error.to_string()),
            None => ConnectionId::new(text).map(Self::Connection).map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(id) => write!(f, "{id}"),
            Self::Dag(id) => write!(f, "dag:{id}"),
        }
    }
}

/// The callbacks of a dag or of a task, checked.
#[derive(Debug, Clone, Default)]
pub struct Callbacks(Vec<(CallbackEvent, Target)>);

impl Callbacks {
    /// Checks `specs`, which may be of `allowed` events only.
    ///
    /// # Errors
    /// The first that can't be.
    pub fn from_specs(specs: &[CallbackSpec], allowed: &[CallbackEvent]) -> Result<Self, String> {
        let mut callbacks = Vec::with_capacity(specs.len());
        for CallbackSpec { event, target } in specs {
            if !allowed.contains(event) {
                let allowed: Vec<_> = allowed.iter().map(|event| event.as_str()).collect();
                return Err(format!("a callback of `{}` can't be; there are {}", event.as_str(), allowed.join(", ")));
            }
            callbacks.push((*event, target.parse()?));
        }
        Ok(Self(callbacks))
    }

    /// By what `event` is told.
    pub fn of(&self, event: CallbackEvent) -> impl Iterator<Item = &Target> {
        self.0.iter().filter(move |(of, _)| *of == event).map(|(_, target)| target)
    }

    /// Whether one of them starts a run of `dag_id`.
    pub fn start(&self, dag_id: &DagId) -> bool {
        self.0.iter().any(|(_, target)| matches!(target, Target::Dag(id) if id == dag_id))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
