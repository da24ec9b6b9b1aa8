//! Where the runs of a dag are counted: those that run, those that are queued, by their keys, and for their backfill.

use super::{super::tick::Dispatch, Driver};
use crate::{
    model::{ids::DagId, state::RunState},
    store::{DagRunRow, StoreError},
};

impl<D: Dispatch> Driver<D> {
    /// Keeps count of the runs of a dag when one changes its state.
    pub(super) fn moved(&mut self, row: &DagRunRow, was: RunState) {
        self.touched.insert(row.dag_id.clone());
        self.links.touch(row.key);
        if let Some(unfinished) = self.unfinished_of(row) {
            match (was.is_finished(), row.state.is_finished()) {
                (false, true) => *unfinished = unfinished.saturating_sub(1),
                (true, false) => *unfinished += 1,
                (true, true) | (false, false) => {}
            }
        }
        self.leave(row, was);
        self.enter(row);
        match (was.is_finished(), row.state.is_finished()) {
            (false, true) => self.forget_deadline(row),
            (true, false) => self.watch_deadline(row),
            (true, true) | (false, false) => {}
        }
        let Some(entry) = self.dags.get(&row.dag_id) else { return };
        if row.state == RunState::Failed && entry.row.spec.max_consecutive_failed_dag_runs > 0 {
            self.failing.insert(row.dag_id.clone());
        }
    }

    /// Where a run counts while it is not finished, if its dag counts those of its sort; one of a backfill counts for that only.
    pub(super) fn unfinished_of(&mut self, row: &DagRunRow) -> Option<&mut u32> {
        if self.backfills.is_of(row.key) {
            return None;
        }
        self.dags.get_mut(&row.dag_id)?.unfinished(row.run_type)
    }

    pub(super) fn enqueue(&mut self, row: &DagRunRow) {
        self.watch_deadline(row);
        self.enter(row);
        self.touched.insert(row.dag_id.clone());
    }

    /// Counts a run where it stands: for its backfill or for its dag.
    pub(super) fn enter(&mut self, row: &DagRunRow) {
        let is_of_backfill = self.backfills.enter(row);
        let Some(entry) = self.dags.get_mut(&row.dag_id) else { return };
        if let Some(keys) = &mut entry.keys {
            keys.enter(row, !is_of_backfill);
        }
        if is_of_backfill {
            return;
        }
        match row.state {
            RunState::Running => entry.running += 1,
            RunState::Queued => drop(entry.queue.insert((row.run_after, row.key))),
            RunState::Success | RunState::Failed => {}
        }
    }

    /// Counts the unfinished runs of a dag by their keys anew: what their keys are may have changed.
    pub(super) async fn enter_keys(&mut self, dag_id: &DagId) -> Result<(), StoreError> {
        let Some(mut keys) = self.dags.get_mut(dag_id).and_then(|entry| entry.keys.take()) else { return Ok(()) };
        let rows = self.queued.values().chain(self.runs.values().map(|run| &run.row));
        for row in rows.filter(|row| row.dag_id == *dag_id) {
            keys.enter(&self.with_conf(row.clone()).await?, !self.backfills.is_of(row.key));
        }
        if let Some(entry) = self.dags.get_mut(dag_id) {
            entry.keys = Some(keys);
        }
        Ok(())
    }

    /// Counts a run no longer where it stood.
    pub(super) fn leave(&mut self, row: &DagRunRow, was: RunState) {
        let is_of_backfill = self.backfills.leave(row, was);
        let Some(entry) = self.dags.get_mut(&row.dag_id) else { return };
        if let Some(keys) = &mut entry.keys {
            keys.leave(row);
        }
        if is_of_backfill {
            return;
        }
        match was {
            RunState::Running => entry.running = entry.running.saturating_sub(1),
            RunState::Queued => drop(entry.queue.remove(&(row.run_after, row.key))),
            RunState::Success | RunState::Failed => {}
        }
    }
}
