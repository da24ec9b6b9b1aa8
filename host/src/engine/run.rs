//! One dag_run.

use std::sync::Arc;

use super::{Command, Event, InstanceId, InstanceSnapshot, RunSnapshot};
use crate::model::{
    dag::Dag,
    ids::{RunId, TaskId},
    time::Timestamp,
};

/// What tells a run from others; seeds the jitter of retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdentity {
    pub run_id: RunId,
    pub logical_date: Option<Timestamp>,
}

/// One dag_run: where each of its task instances stands.
#[derive(Debug, Clone)]
pub struct RunState {
    dag: Arc<Dag>,
    row: RunSnapshot,
}

impl RunState {
    /// A run that was just created: queued, every instance in state none.
    pub fn new(dag: Arc<Dag>, _identity: &RunIdentity, queued_at: Timestamp) -> Self {
        let state = crate::model::state::RunState::Queued;
        Self { dag, row: RunSnapshot { state, queued_at, start_date: None, end_date: None, clear_number: 0 } }
    }

    /// A run as it was last persisted. If it is running, [`Event::Resume`] must be applied next.
    ///
    /// Rows of tasks that the dag does not have are ignored.
    pub fn restore(
        dag: Arc<Dag>,
        _identity: &RunIdentity,
        row: RunSnapshot,
        _instances: impl IntoIterator<Item = (TaskId, i32, InstanceSnapshot)>,
    ) -> Self {
        Self { dag, row }
    }

    /// Applies `event` and returns what must now happen, in order.
    ///
    /// An event of an attempt that is not the current one changes nothing.
    pub fn apply(&mut self, _event: &Event, _now: Timestamp) -> Vec<Command> {
        Vec::new()
    }

    pub fn dag(&self) -> &Arc<Dag> {
        &self.dag
    }

    pub fn row(&self) -> &RunSnapshot {
        &self.row
    }

    /// The row of an instance, if there is such an instance.
    pub fn instance(&self, _instance: InstanceId) -> Option<InstanceSnapshot> {
        None
    }

    /// The instances of a task, by map_index.
    pub fn instances_of(&self, _node: crate::model::dag::NodeIndex) -> impl Iterator<Item = InstanceId> + '_ {
        std::iter::empty()
    }

    /// All instances, in the dag's order, then by map_index.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> + '_ {
        std::iter::empty()
    }

    /// When [`Event::Timer`] is to come next: a retry, a reschedule or the run's timeout is due.
    pub fn wake_at(&self) -> Option<Timestamp> {
        None
    }

    /// Whether an attempt is in flight. A finished run is to be kept until it is not.
    pub fn is_busy(&self) -> bool {
        false
    }
}
