//! Runs that wait for the run before: `depends_on_past` and `wait_for_downstream`.
//!
//! A run of a dag that looks back is linked to the run before it when it begins, is recovered, or when a run is made or
//! deleted between the two. Only that one run is looked at: in memory if it is loaded, else in the store. Nothing of
//! this is stored, for all of it follows from the states that are.
//!
//! A queued run that a running one waits for starts even if max_active_runs are running: those may all be waiting for it.

use std::collections::{BTreeSet, HashMap};

use super::{ActiveRun, Driver, Turn};
use crate::{
    engine::Event,
    model::{
        dag::NodeIndex,
        ids::{DagId, TaskId},
        state::RunType,
        time::Timestamp,
    },
    scheduler::tick::Dispatch,
    store::{DagRunKey, DagRunRow, StoreError},
};

/// Which runs wait for which.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_follower: HashMap<DagRunKey, Link>,
    by_prior: HashMap<DagRunKey, BTreeSet<DagRunKey>>,
    /// Runs that others wait for and of which something changed.
    touched: BTreeSet<DagRunKey>,
    /// Runs whose run before may be another now.
    open: BTreeSet<DagRunKey>,
}

#[derive(Debug)]
struct Link {
    dag_id: DagId,
    logical_date: Timestamp,
    prior: Option<DagRunKey>,
}

impl Links {
    /// Something of a run changed.
    pub fn touch(&mut self, key: DagRunKey) {
        if self.by_prior.contains_key(&key) {
            self.touched.insert(key);
        }
    }

    /// A run was made: later ones may have another run before them.
    pub fn made(&mut self, dag_id: &DagId, logical_date: Option<Timestamp>) {
        let Some(date) = logical_date else { return };
        let later = self.by_follower.iter().filter(|(_, link)| link.dag_id == *dag_id && link.logical_date > date);
        self.open.extend(later.map(|(key, _)| *key));
    }

    /// A run was deleted: who waited for it waits for the one before.
    pub fn deleted(&mut self, key: DagRunKey) {
        self.open.extend(self.by_prior.remove(&key).into_iter().flatten());
    }

    /// Whether a run that is loaded looks back at this one.
    pub fn is_looked_back_at(&self, key: DagRunKey) -> bool {
        self.by_prior.contains_key(&key)
    }

    /// A run waits for nothing any more.
    pub fn close(&mut self, key: DagRunKey) {
        self.open.remove(&key);
        if let Some(prior) = self.by_follower.remove(&key).and_then(|link| link.prior)
            && let Some(followers) = self.by_prior.get_mut(&prior)
        {
            followers.remove(&key);
            if followers.is_empty() {
                self.by_prior.remove(&prior);
                self.touched.remove(&prior);
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn is_settled(&self) -> bool {
        self.touched.is_empty() && self.open.is_empty()
    }

    fn link(&mut self, row: &DagRunRow, logical_date: Timestamp, prior: Option<DagRunKey>) {
        self.close(row.key);
        if let Some(prior) = prior {
            self.by_prior.entry(prior).or_default().insert(row.key);
        }
        self.by_follower.insert(row.key, Link { dag_id: row.dag_id.clone(), logical_date, prior });
    }
}

impl<D: Dispatch> Driver<D> {
    /// Links a run to the one before it, and tells it which of its tasks wait.
    ///
    /// Airflow's rules: a run about no logical_date has none before it; with catchup, runs that people made don't count.
    pub(super) async fn look_back(&mut self, key: DagRunKey, turn: &mut Turn) -> Result<(), StoreError> {
        let Some(run) = self.runs.get(&key).filter(|run| run.version.dag.looks_back()) else { return Ok(()) };
        let Some(date) = run.row.logical_date else { return Ok(()) };
        let (row, but_manual) = (run.row.clone(), run.version.dag.catchup);
        let stored = self.store.dag_run_before(&row.dag_id, date, but_manual).await?;
        let made_now = turn.new_runs.values().filter(|new| {
            new.dag_id == row.dag_id
                && new.logical_date.is_some_and(|other| other < date)
                && (!but_manual || new.run_type != RunType::Manual)
        });
        let newest = stored.iter().map(|row| (row.logical_date, row.key));
        let prior = newest.chain(made_now.map(|new| (new.logical_date, new.key))).max().map(|(_, key)| key);
        // The first run of a backfill waits for none.
        let is_first = prior.is_some() && self.is_first_of_backfill(key, date, &run.version.dag.timetable).await?;
        let prior = prior.filter(|_| !is_first);
        self.links.link(&row, date, prior);
        let held = match prior {
            Some(prior) => self.held(key, prior, stored.filter(|row| row.key == prior)).await?,
            None => BTreeSet::new(),
        };
        self.apply(key, &Event::Past(held), turn);
        Ok(())
    }

    /// Tells runs what became of the run before them. To be called until [`Links::is_settled`].
    pub(super) async fn follow_past(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        while let Some(key) = self.links.open.pop_first() {
            self.look_back(key, turn).await?;
        }
        while let Some(prior) = self.links.touched.pop_first() {
            let followers = self.links.by_prior.get(&prior).cloned().unwrap_or_default();
            for follower in followers {
                let held = self.held(follower, prior, None).await?;
                if self.runs.get(&follower).is_some_and(|run| *run.state.held() != held) {
                    self.apply(follower, &Event::Past(held), turn);
                }
            }
        }
        Ok(())
    }

    /// The run before `key`, if it is loaded.
    pub(super) fn prior_of(&self, key: DagRunKey) -> Option<&ActiveRun> {
        self.runs.get(&self.links.by_follower.get(&key)?.prior?)
    }

    /// Whether a running run waits for this one.
    pub(super) fn is_awaited(&self, key: DagRunKey) -> bool {
        let is_held = |key: &DagRunKey| self.runs.get(key).is_some_and(|run| !run.state.held().is_empty());
        self.links.by_prior.get(&key).is_some_and(|followers| followers.iter().any(is_held))
    }

    /// The tasks of `key` that wait for what is not done in `prior`, the run before it.
    async fn held(
        &self,
        key: DagRunKey,
        prior: DagRunKey,
        row: Option<DagRunRow>,
    ) -> Result<BTreeSet<NodeIndex>, StoreError> {
        let Some(run) = self.runs.get(&key) else { return Ok(BTreeSet::new()) };
        let dag = &run.version.dag;
        if let Some(prior) = self.runs.get(&prior) {
            return Ok(dag.held(|task| prior.state.is_past(task)));
        }
        let row = match row {
            Some(row) => Some(row),
            None => self.store.dag_run_get_by_key(prior).await?,
        };
        // A run that never began has no instances yet.
        let is_new =
            row.is_none_or(|row| !row.state.is_finished() && row.start_date.is_none() && row.clear_number == 0);
        if is_new {
            return Ok(dag.held(|_| false));
        }
        let tasks: BTreeSet<&TaskId> = (0..).take(dag.nodes.len()).flat_map(|node| dag.past_of(node)).collect();
        let not_past = self.store.task_instance_not_past(prior, &tasks).await?;
        Ok(dag.held(|task| !not_past.contains(task)))
    }
}
