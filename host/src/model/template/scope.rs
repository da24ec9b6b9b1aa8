//! What templates are rendered from.

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde_json::Value;

use crate::model::{
    ids::{ConnectionId, TaskId, VariableKey, XComKey},
    state::RunType,
    time::{DataInterval, Timestamp},
};

/// All that a template may see.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub run: RunScope<'a>,
    /// None: it is rendered for a run.
    pub task: Option<TaskScope<'a>>,
    pub known: &'a Known,
}

/// The run. Airflow: `dag_run`.
#[derive(Debug, Clone, Copy)]
pub struct RunScope<'a> {
    pub dag_id: &'a str,
    pub run_id: &'a str,
    pub run_type: RunType,
    /// The dag's.
    pub timezone: Tz,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    pub run_after: Timestamp,
    /// An object, with what the trigger gave beyond the dag's params.
    pub params: &'a Value,
}

/// The task instance. Airflow: `ti`.
#[derive(Debug, Clone, Copy)]
pub struct TaskScope<'a> {
    pub task_id: &'a str,
    /// -1: the task is not mapped.
    pub map_index: i32,
    /// From 1.
    pub try_number: u32,
    /// Tries that it may have in all.
    pub max_tries: u32,
    /// An object; none: they are what is being rendered.
    pub inputs: Option<&'a Value>,
}

/// What was asked for by [`Halt::Needs`](super::Halt) so far. None: it does not exist.
#[derive(Debug, Default)]
pub struct Known {
    pub variables: BTreeMap<VariableKey, Option<String>>,
    pub connections: BTreeMap<ConnectionId, Option<ConnectionFacts>>,
    pub xcoms: BTreeMap<Pull, Option<Value>>,
    /// The newest run before this one that succeeded; the outer none: it was not asked for.
    pub previous_success: Option<Option<PreviousRun>>,
    /// The events that the run was made for, by asset.
    pub asset_events: Option<Value>,
}

impl Known {
    /// How many things were asked for.
    pub fn count(&self) -> usize {
        let once = usize::from(self.previous_success.is_some()) + usize::from(self.asset_events.is_some());
        self.variables.len() + self.connections.len() + self.xcoms.len() + once
    }
}

/// What `ti.xcom_pull` pulls from one task of the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pull {
    pub task_id: TaskId,
    pub key: XComKey,
    /// None: as an input that is bound to the task. Of a mapped task that is the list of all instances' values, within one
    /// mapped group the value of the same element.
    pub map_index: Option<i32>,
}

/// What templates may know of an earlier run. Airflow: `prev_data_interval_start_success` and its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousRun {
    pub data_interval: Option<DataInterval>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
}

/// What templates may know of a connection: no password and no `extra`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFacts {
    pub conn_type: String,
    pub host: Option<String>,
    pub schema: Option<String>,
    pub login: Option<String>,
    pub port: Option<u16>,
}

/// Something that must be read before a template can be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    Variable(VariableKey),
    Connection(ConnectionId),
    XCom(Pull),
    PreviousSuccess,
    AssetEvents,
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Variable(key) => write!(f, "variable `{key}`"),
            Self::Connection(id) => write!(f, "connection `{id}`"),
            Self::XCom(Pull { task_id, key, .. }) => write!(f, "xcom `{key}` of task `{task_id}`"),
            Self::PreviousSuccess => f.write_str("the newest run before it that succeeded"),
            Self::AssetEvents => f.write_str("the events that the run was made for"),
        }
    }
}
