//! The dags that the loop knows, and the runs of each that wait or run.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{
        ids::DagId,
        time::Timestamp,
        timetable::{Bounds, NextRun, Timetable},
    },
    store::{DagRow, DagRunKey},
};

/// A dag, as its newest version has it, and its unfinished runs.
#[derive(Debug)]
pub struct DagEntry {
    pub row: DagRow,
    pub timetable: Timetable,
    /// Runs in state running.
    pub running: u32,
    /// Scheduled runs that are not finished. A timetable makes no more than may be active.
    pub scheduled: u32,
    /// Runs in state queued, in the order in which they start.
    pub queue: BTreeSet<(Timestamp, DagRunKey)>,
    /// When the loop looks at it again by itself.
    pub wake_at: Option<Timestamp>,
}

/// All dags.
#[derive(Debug, Default)]
pub struct Dags(BTreeMap<DagId, DagEntry>);

impl Dags {
    /// Takes a dag as it now is in the store; what is known of its runs stays.
    pub fn put(&mut self, row: DagRow) {
        let timetable = match Timetable::of(&row.spec) {
            Ok(timetable) => timetable,
            // Stored specs were validated by the version that stored them; a newer one may be stricter. Such a
            // dag keeps its history and can be triggered, but makes no runs by itself.
            Err(error) => {
                tracing::error!(dag_id = %row.dag_id, error = %error, "the dag's schedule can't be used; it runs only when triggered");
                Timetable::manual()
            }
        };
        if let Some(entry) = self.0.get_mut(&row.dag_id) {
            entry.row = row;
            entry.timetable = timetable;
        } else {
            let entry = DagEntry { timetable, running: 0, scheduled: 0, queue: BTreeSet::new(), wake_at: None, row };
            self.0.insert(entry.row.dag_id.clone(), entry);
        }
    }

    pub fn get(&self, dag_id: &DagId) -> Option<&DagEntry> {
        self.0.get(dag_id)
    }

    pub fn get_mut(&mut self, dag_id: &DagId) -> Option<&mut DagEntry> {
        self.0.get_mut(dag_id)
    }

    pub fn remove(&mut self, dag_id: &DagId) {
        self.0.remove(dag_id);
    }
}

impl DagEntry {
    /// The run that the timetable makes next, due or not. None while the dag is paused or as many of its scheduled runs
    /// are unfinished as may be active: what is missed meanwhile is made (or, without catchup, passed over) later.
    pub fn next_run(&self, now: Timestamp) -> Option<NextRun> {
        let spec = &self.row.spec;
        if self.row.is_paused || self.scheduled >= spec.max_active_runs {
            return None;
        }
        self.timetable.next_run(self.row.last_scheduled, Bounds::of(spec), now)
    }

    /// The queued run that may start now. A paused dag starts none; one with its runs all active only what is awaited
    /// by them.
    pub fn startable(&self, now: Timestamp, is_awaited: impl Fn(DagRunKey) -> bool) -> Option<DagRunKey> {
        if self.row.is_paused {
            return None;
        }
        let is_full = self.running >= self.row.spec.max_active_runs;
        let mut due = self.queue.iter().take_while(|(run_after, _)| *run_after <= now).map(|(_, key)| *key);
        if is_full { due.find(|key| is_awaited(*key)) } else { due.next() }
    }

    /// When the first queued run is due, if one is not yet.
    pub fn queue_due(&self) -> Option<Timestamp> {
        self.queue.first().map(|(run_after, _)| *run_after)
    }
}
