//! What retention would delete now.

use std::collections::BTreeMap;

use super::Bounds;
use crate::{
    model::{
        ids::DagId,
        retention::{Part, Place, Retention},
        time::Timestamp,
    },
    scheduler::Scheduler,
    store::{DagRunKey, MAX_PAGE, StoreError},
};

/// Runs of a dag that are looked at, at most.
const MAX_RUNS: u64 = 10_000;

/// What would go of a dag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagPreview {
    pub dag_id: DagId,
    /// Runs that would go, with all that they left.
    pub runs: u64,
    /// Runs that are due and stay, because something in the database needs them.
    pub held: u64,
    /// Runs whose logs and recordings would go, with those that go themselves.
    pub logs_of_runs: u64,
    /// Runs whose XComs and artifacts would go, with those that go themselves.
    pub data_of_runs: u64,
    pub task_instances: i64,
    /// Of objects that would go.
    pub bytes: i64,
    /// There is more than was looked at.
    pub has_more: bool,
}

/// What would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// Dags of which something would, by id.
    pub dags: Vec<DagPreview>,
}

impl Scheduler {
    /// What retention would delete at `now`: of each dag up to 10,000 runs are looked at.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn retention_preview(&self, now: Timestamp) -> Result<Preview, StoreError> {
        let said: BTreeMap<_, _> = self.store.dag_numbers_list().await?.into_iter().collect();
        let mut preview = Preview::default();
        for dag in self.store.dag_list_all().await? {
            let policy = self.retention().dags.of_dag(said.get(&dag.dag_id).copied().unwrap_or_default());
            if policy.is_for_ever() {
                continue;
            }
            let least = dag.spec.max_consecutive_failed_dag_runs;
            let of_dag = self.preview_dag(dag.dag_id, policy, least, now).await?;
            if of_dag.runs + of_dag.held + of_dag.logs_of_runs + of_dag.data_of_runs > 0 {
                preview.dags.push(of_dag);
            }
        }
        Ok(preview)
    }

    async fn preview_dag(
        &self,
        dag_id: DagId,
        policy: Retention,
        max_consecutive_failed_dag_runs: u32,
        now: Timestamp,
    ) -> Result<DagPreview, StoreError> {
        let mut seen = DagPreview {
            dag_id: dag_id.clone(),
            runs: 0,
            held: 0,
            logs_of_runs: 0,
            data_of_runs: 0,
            task_instances: 0,
            bytes: 0,
            has_more: false,
        };
        let bounds = Bounds::read(self, &dag_id, policy, max_consecutive_failed_dag_runs).await?;
        let runs_until = policy.runs_until(now, bounds.may_go, bounds.beyond);
        let (mut after, mut gone) = (Place::FIRST, None);
        while let Some(until) = runs_until {
            let runs = self.store.dag_run_ended(&dag_id, after, until, MAX_PAGE).await?;
            let Some(last) = runs.last() else { break };
            after = last.place();
            gone = Some(after);
            let keys: Vec<_> = runs.iter().filter(|run| !run.is_held).map(|run| run.key).collect();
            seen.runs += keys.len() as u64;
            seen.held += (runs.len() - keys.len()) as u64;
            let size = self.store.retention_size(&keys).await?;
            seen.task_instances += size.task_instances;
            seen.bytes += size.data_bytes + size.log_bytes;
            if seen.runs >= MAX_RUNS {
                seen.has_more = true;
                return Ok(seen);
            }
        }
        for part in Part::ALL {
            let Some(until) = policy.part_until(part, now) else { continue };
            let limit = u32::try_from(MAX_RUNS).unwrap_or(u32::MAX);
            let places = self.store.dag_run_with_part(&dag_id, part, until, limit).await?;
            let runs = places.len() as u64;
            seen.has_more |= runs >= MAX_RUNS;
            match part {
                Part::Logs => seen.logs_of_runs = runs,
                Part::Data => seen.data_of_runs = runs,
            }
            // What goes with its run is counted already.
            let alone = places.into_iter().filter(|place| gone.is_none_or(|gone| *place > gone));
            let keys: Vec<_> = alone.map(|place| DagRunKey(place.key)).collect();
            for keys in keys.chunks(MAX_PAGE as usize) {
                let size = self.store.retention_size(keys).await?;
                seen.bytes += match part {
                    Part::Logs => size.log_bytes,
                    Part::Data => size.data_bytes,
                };
            }
        }
        Ok(seen)
    }
}
