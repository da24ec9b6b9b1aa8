//! What pages and commands are told after a commit.

use crate::{
    model::{
        ids::{DagId, RunId, TaskId},
        state::{RunState, TaskState},
    },
    store::DagRunKey,
};

/// Something that has been committed. A hint to look: whoever missed some reads the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A dag was deployed, paused, unpaused or deleted.
    Dag { dag_id: DagId },
    /// A dag_run was made or changed its state. `state` is none if it was deleted.
    Run { dag_id: DagId, run_id: RunId, key: DagRunKey, state: Option<RunState> },
    /// A task instance changed its state.
    Task {
        dag_id: DagId,
        run_id: RunId,
        key: DagRunKey,
        task_id: TaskId,
        map_index: i32,
        state: TaskState,
        try_number: u32,
    },
}

impl Change {
    /// The dag that it is about.
    pub fn dag_id(&self) -> &DagId {
        match self {
            Self::Dag { dag_id } | Self::Run { dag_id, .. } | Self::Task { dag_id, .. } => dag_id,
        }
    }

    /// The run that it is about, if it is about one.
    pub fn run_id(&self) -> Option<&RunId> {
        match self {
            Self::Dag { .. } => None,
            Self::Run { run_id, .. } | Self::Task { run_id, .. } => Some(run_id),
        }
    }
}
