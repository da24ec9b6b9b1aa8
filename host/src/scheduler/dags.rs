//! The dags that the loop knows, and the runs of each that wait or run.

use std::collections::{BTreeMap, BTreeSet};

use super::run_keys::{KeyOf, RunKeys};
use crate::{
    model::{
        asset::AssetCondition,
        dag::run_concurrency,
        grants::Decisions,
        ids::{AssetName, DagId},
        state::RunType,
        time::Timestamp,
        timetable::{Bounds, NextRun, Timetable},
    },
    store::{DagRow, DagRunKey},
};

/// A dag, as its newest version has it, and its unfinished runs.
#[derive(Debug)]
pub struct DagEntry {
    pub row: DagRow,
    /// What admins decided about what it asks for.
    pub decisions: Decisions,
    pub timetable: Timetable,
    /// Runs in state running.
    pub running: u32,
    /// Scheduled runs that are not finished. A timetable makes no more than may be active.
    pub scheduled: u32,
    /// Runs in state queued, in the order in which they start.
    pub queue: BTreeSet<(Timestamp, DagRunKey)>,
    /// The assets that it waits for, if it does.
    pub assets: Option<AssetCondition>,
    /// Those of them with events that it has not consumed.
    pub updated: BTreeSet<AssetName>,
    /// Runs made for assets that are not finished. No more are made than may be active: what comes meanwhile is consumed
    /// together by the next.
    pub asset_triggered: u32,
    /// Those runs by key, if only so many with the same key may run at a time.
    pub keys: Option<RunKeys>,
    /// When the loop looks at it again by itself.
    pub wake_at: Option<Timestamp>,
}

/// All dags.
#[derive(Debug, Default)]
pub struct Dags {
    entries: BTreeMap<DagId, DagEntry>,
    /// Who waits for each asset.
    consumers: BTreeMap<AssetName, BTreeSet<DagId>>,
}

impl Dags {
    /// Takes a dag as it now is in the store; what is known of its runs stays, but for their keys: if it has such, its
    /// unfinished runs must be entered again.
    pub fn put(&mut self, row: DagRow, decisions: Decisions) {
        let timetable = match Timetable::of(&row.spec) {
            Ok(timetable) => timetable,
            // Stored specs were validated by the version that stored them; a newer one may be stricter. Such a
            // dag keeps its history and can be triggered, but makes no runs by itself.
            Err(error) => {
                tracing::error!(dag_id = %row.dag_id, error = %error, "the dag's schedule can't be used; it runs only when triggered");
                Timetable::manual()
            }
        };
        let assets = row.spec.asset_schedule.as_ref().and_then(|spec| AssetCondition::from_spec(spec).ok());
        let keys = key_of(&row, &timetable).map(RunKeys::new);
        self.forget_consumer(&row.dag_id);
        let awaited = assets.as_ref().map(AssetCondition::assets).unwrap_or_default();
        for name in &awaited {
            self.consumers.entry(name.clone()).or_default().insert(row.dag_id.clone());
        }
        if let Some(entry) = self.entries.get_mut(&row.dag_id) {
            entry.row = row;
            entry.decisions = decisions;
            entry.timetable = timetable;
            entry.assets = assets;
            entry.keys = keys;
            // The store has dropped what it does not wait for any more.
            entry.updated.retain(|name| awaited.contains(name));
        } else {
            let entry = DagEntry {
                decisions,
                timetable,
                running: 0,
                scheduled: 0,
                queue: BTreeSet::new(),
                assets,
                updated: BTreeSet::new(),
                asset_triggered: 0,
                keys,
                wake_at: None,
                row,
            };
            self.entries.insert(entry.row.dag_id.clone(), entry);
        }
    }

    fn forget_consumer(&mut self, dag_id: &DagId) {
        self.consumers.retain(|_, consumers| {
            consumers.remove(dag_id);
            !consumers.is_empty()
        });
    }

    /// The dags that wait for an asset, paused ones too.
    pub fn consumers(&self, name: &AssetName) -> Vec<DagId> {
        self.consumers.get(name).map(|dags| dags.iter().cloned().collect()).unwrap_or_default()
    }

    pub fn get(&self, dag_id: &DagId) -> Option<&DagEntry> {
        self.entries.get(dag_id)
    }

    pub fn get_mut(&mut self, dag_id: &DagId) -> Option<&mut DagEntry> {
        self.entries.get_mut(dag_id)
    }

    pub fn remove(&mut self, dag_id: &DagId) {
        self.forget_consumer(dag_id);
        self.entries.remove(dag_id);
    }
}

/// By what the keys of a dag's runs are found, if they have any.
fn key_of(row: &DagRow, timetable: &Timetable) -> Option<KeyOf> {
    match run_concurrency(&row.spec) {
        Ok(concurrency) => {
            let key_of =
                |concurrency| KeyOf { concurrency, timezone: timetable.timezone, params: row.spec.params.clone() };
            concurrency.map(key_of)
        }
        // Its runs fail when they start, as the version can't be built.
        Err(error) => {
            tracing::error!(dag_id = %row.dag_id, error, "the dag's concurrency_key can't be used");
            None
        }
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
        self.timetable.next_run(self.row.last_scheduled, Bounds::of(spec, self.row.scheduled_since(now)), now)
    }

    /// Whether a run is to be made for the assets that were updated. Not while the dag is paused: what comes meanwhile is
    /// kept for it.
    pub fn is_due_by_assets(&self) -> bool {
        !self.row.is_paused
            && self.asset_triggered < self.row.spec.max_active_runs
            && !self.updated.is_empty()
            && self.assets.as_ref().is_some_and(|wanted| wanted.holds(&self.updated))
    }

    /// The unfinished runs of this sort, where they are counted.
    pub fn unfinished(&mut self, run_type: RunType) -> Option<&mut u32> {
        match run_type {
            RunType::Scheduled => Some(&mut self.scheduled),
            RunType::AssetTriggered => Some(&mut self.asset_triggered),
            RunType::Manual | RunType::OperatorTriggered | RunType::Backfill => None,
        }
    }

    /// The queued run that may start now. A paused dag starts none; one with its runs all active only what is awaited
    /// by them.
    pub fn startable(&self, now: Timestamp, is_awaited: impl Fn(DagRunKey) -> bool) -> Option<DagRunKey> {
        if self.row.is_paused {
            return None;
        }
        let is_full = self.running >= self.row.spec.max_active_runs;
        if let Some(keys) = &self.keys {
            let mut due = keys.startable(now);
            return if is_full { due.find(|key| is_awaited(*key)) } else { due.next() };
        }
        let mut due = self.queue.iter().take_while(|(run_after, _)| *run_after <= now).map(|(_, key)| *key);
        if is_full { due.find(|key| is_awaited(*key)) } else { due.next() }
    }

    /// When the first queued run is due, if one is not yet.
    pub fn queue_due(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(keys) = &self.keys {
            return keys.next_due(now);
        }
        self.queue.first().map(|(run_after, _)| *run_after)
    }
}
