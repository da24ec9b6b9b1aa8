//! Runs that retention gives up.

use super::{Driver, Turn};
use crate::{
    model::{
        ids::DagId,
        wait::{RunChoice, WhichRun},
    },
    scheduler::{Change, tick::Dispatch},
    store::{EndedRun, StoreError},
};

impl<D: Dispatch> Driver<D> {
    /// Deletes finished runs, but those that are being worked on again, that a run looks back at or that an instance waits for.
    /// Answers how many. It is one small transaction: what the runs left goes later.
    pub(super) async fn retire(
        &mut self,
        dag_id: &DagId,
        runs: Vec<EndedRun>,
        turn: &mut Turn,
    ) -> Result<u64, StoreError> {
        let (goes, _): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| !self.is_needed(dag_id, run, turn));
        if goes.is_empty() {
            return Ok(0);
        }
        let keys: Vec<_> = goes.iter().map(|run| run.key).collect();
        let deleted = self.until_answered(|| self.store.dag_run_delete_finished(&keys)).await?;
        for run in goes {
            self.recent.forget(dag_id, &run.run_id, run.logical_date);
            turn.tick.change(Change::Run { dag_id: dag_id.clone(), run_id: run.run_id, key: run.key, state: None });
        }
        Ok(deleted)
    }

    fn is_needed(&self, dag_id: &DagId, run: &EndedRun, turn: &Turn) -> bool {
        let awaited = |choice| self.waits.is_choice_awaited(RunChoice { dag_id: dag_id.clone(), run: choice });
        self.runs.contains_key(&run.key)
            || self.queued.contains_key(&run.key)
            || self.links.is_looked_back_at(run.key)
            || turn.found.values().flatten().any(|found| found.key == run.key)
            || awaited(WhichRun::RunId(run.run_id.clone()))
            || run.logical_date.is_some_and(|date| awaited(WhichRun::LogicalDate(date)))
    }
}
