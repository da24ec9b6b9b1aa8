//! A run in memory.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    engine::{self, InstanceId, InstanceSnapshot, RunIdentity, RunSnapshot},
    executor::RunContext,
    model::{ids::TaskId, time::Timestamp},
    scheduler::{params, runs, version::Version},
    store::{DagRunRow, InstanceKey},
};

/// A run that is loaded: running, or about to be changed by a person.
pub(super) struct ActiveRun {
    pub row: DagRunRow,
    pub version: Arc<Version>,
    pub context: Arc<RunContext>,
    pub state: engine::RunState,
    pub wake_at: Option<Timestamp>,
    /// Instances that have no row, because it was deleted: they get one anew when something happens in the run.
    pub unwritten: Vec<InstanceId>,
}

impl ActiveRun {
    pub fn new(row: DagRunRow, version: Arc<Version>, state: engine::RunState) -> Self {
        let context = Arc::new(RunContext {
            dag_run: row.key,
            dag_id: row.dag_id.clone(),
            run_id: row.run_id.clone(),
            run_type: row.run_type,
            logical_date: row.logical_date,
            data_interval: row.data_interval,
            run_after: row.run_after,
            next_run_after: runs::next_run_after(&row, &version.dag),
            params: params::merged(&version.dag.params, row.conf.as_deref().unwrap_or("{}")).into(),
        });
        Self { row, version, context, state, wake_at: None, unwritten: Vec::new() }
    }

    /// A run whose instances stand as stored.
    pub fn restore(
        row: DagRunRow,
        version: Arc<Version>,
        instances: impl IntoIterator<Item = (TaskId, i32, InstanceSnapshot)>,
    ) -> Self {
        let identity = RunIdentity { run_id: row.run_id.clone(), logical_date: row.logical_date };
        let snapshot = snapshot_of(&row);
        let state = engine::RunState::restore(Arc::clone(&version.dag), &identity, snapshot, instances);
        Self::new(row, version, state)
    }

    /// A finished run, of whose instances some may have been deleted.
    pub fn restore_finished(
        row: DagRunRow,
        version: Arc<Version>,
        instances: Vec<(TaskId, i32, InstanceSnapshot)>,
    ) -> Self {
        let place = |(task_id, map_index, _): &(TaskId, i32, InstanceSnapshot)| {
            Some(InstanceId { node: version.dag.index(task_id)?, map_index: *map_index })
        };
        let written: BTreeSet<_> = instances.iter().filter_map(place).collect();
        let mut run = Self::restore(row, version, instances);
        run.unwritten = run.state.instances().filter(|id| !written.contains(id)).collect();
        run
    }

    pub fn instance_key(&self, id: InstanceId) -> InstanceKey {
        let task_id = self.version.dag.node(id.node).task_id.clone();
        InstanceKey { dag_run: self.row.key, task_id, map_index: id.map_index }
    }
}

/// A stored run as the engine takes it.
pub(super) fn snapshot_of(row: &DagRunRow) -> RunSnapshot {
    RunSnapshot {
        state: row.state,
        queued_at: row.queued_at,
        start_date: row.start_date,
        end_date: row.end_date,
        clear_number: row.clear_number,
        // One that is over has none; of the others, see `Driver::reload`.
        verdict: None,
    }
}
