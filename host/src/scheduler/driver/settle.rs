//! What follows from what happened: runs that are due, runs that may start, attempts that are admitted.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Driver, MAX_STARTS, Timer, Turn,
    active_run::{self, ActiveRun},
    attempt_id, callbacks, task_key,
};
use crate::{
    engine::{self, Event, InstanceChange, InstanceId, RunChange, RunIdentity},
    executor::Assignment,
    model::{
        grants::{Decisions, Grants},
        ids::DagId,
        state::RunState,
    },
    scheduler::{
        runs,
        tick::Dispatch,
        version::{self, Version},
    },
    store::{DagRunKey, DagRunNew, DagRunRow, DagVersionKey, StoreError},
};

impl<D: Dispatch> Driver<D> {
    /// Makes the runs that are due, starts those that may, and admits attempts, until nothing more follows.
    pub(super) async fn settle(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let mut later = BTreeSet::new();
        loop {
            self.pause_failing(turn).await?;
            self.follow_past(turn).await?;
            while let Some(dag_id) = self.touched.pop_first() {
                if !self.look_at_dag(&dag_id, turn).await? {
                    later.insert(dag_id);
                }
            }
            self.settle_waits(turn).await?;
            for admitted in self.admission.admit() {
                self.start_attempt(DagRunKey(admitted.run.0), admitted.instance, turn);
            }
            if self.touched.is_empty() && turn.ended.is_empty() && self.links.is_settled() && self.failing.is_empty() {
                break;
            }
        }
        self.touched = later;
        Ok(())
    }

    /// Answers false if more is due than one turn may start.
    async fn look_at_dag(&mut self, dag_id: &DagId, turn: &mut Turn) -> Result<bool, StoreError> {
        let now = turn.now();
        let due = loop {
            let Some(entry) = self.dags.get(dag_id) else { return Ok(true) };
            match entry.next_run(now).filter(|_| self.config.timetables) {
                Some(next) if next.run_after <= now => {
                    let new = runs::scheduled(DagRunKey(self.next_key), dag_id, entry.row.version, &next, now);
                    turn.tick.commit.last_scheduled.insert(dag_id.clone(), next.data_interval);
                    self.heartbeat.scheduled(next.data_interval.end);
                    let number = entry.row.version_number;
                    if let Some(entry) = self.dags.get_mut(dag_id) {
                        entry.row.last_scheduled = Some(next.data_interval);
                        entry.scheduled += 1;
                    }
                    // A person may have made a run of this logical_date; then the interval has its run.
                    if self.store.dag_run_exists(dag_id, Some(&new.run_id), new.logical_date).await?
                        || self.recent.has(dag_id, Some(&new.run_id), new.logical_date)
                    {
                        if let Some(entry) = self.dags.get_mut(dag_id) {
                            entry.scheduled = entry.scheduled.saturating_sub(1);
                        }
                        continue;
                    }
                    self.add_run(new, number, turn);
                }
                next => break next.map(|next| next.run_after),
            }
        };
        if self.config.timetables {
            self.run_for_assets(dag_id, turn);
        }
        while let Some(key) = self.dags.get(dag_id).and_then(|entry| entry.startable(now, |key| self.is_awaited(key))) {
            if turn.started >= MAX_STARTS {
                return Ok(false);
            }
            turn.started += 1;
            self.start_run(key, turn).await?;
        }
        if !self.advance_backfills(dag_id, turn).await? {
            return Ok(false);
        }
        let Some(entry) = self.dags.get_mut(dag_id) else { return Ok(true) };
        let queue_due = entry.queue_due(now).filter(|at| *at > now);
        let wake_at = due.into_iter().chain(queue_due).min();
        if entry.wake_at != wake_at {
            if let Some(before) = std::mem::replace(&mut entry.wake_at, wake_at) {
                self.timers.remove(&(before, Timer::Dag(dag_id.clone())));
            }
            if let Some(at) = wake_at {
                self.timers.insert((at, Timer::Dag(dag_id.clone())));
            }
        }
        Ok(true)
    }

    /// Records a new run, queued.
    pub(super) fn add_run(&mut self, new: DagRunNew, version_number: i64, turn: &mut Turn) {
        debug_assert_eq!(new.key.0, self.next_key);
        self.next_key += 1;
        self.recent.add(&new, turn.now());
        self.links.made(&new.dag_id, new.logical_date);
        let row = runs::row_of(&new, version_number);
        self.enqueue(&row);
        self.queued.insert(new.key, row);
        self.never_loaded.insert(new.key);
        turn.new_runs.insert(new.key, new);
    }

    /// Starts a queued run.
    pub(super) async fn start_run(&mut self, key: DagRunKey, turn: &mut Turn) -> Result<(), StoreError> {
        if let Some(row) = self.queued.remove(&key) {
            let keys = self.dags.get(&row.dag_id).and_then(|entry| entry.keys.as_ref());
            if let Some(why) = keys.and_then(|keys| keys.wrong(&row)) {
                self.never_loaded.remove(&key);
                self.quarantine(row, why, turn);
                return Ok(());
            }
            let Some(run) = self.load(row.clone(), turn).await? else {
                return Ok(());
            };
            self.open(run);
        }
        self.look_back(key, turn).await?;
        self.apply(key, &Event::Start, turn);
        Ok(())
    }

    /// Makes a run ready for events. None if it can't be: then it has failed.
    pub(super) async fn load(&mut self, row: DagRunRow, turn: &mut Turn) -> Result<Option<ActiveRun>, StoreError> {
        let row = self.with_conf(row).await?;
        let version = match self.version(row.version).await {
            Ok(version) => version,
            Err(version::VersionError::Store(error)) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(dag_id = %row.dag_id, run_id = %row.run_id, error = %error, "the run can't go on and has failed");
                self.quarantine(row, format!("the run can't go on: {error}"), turn);
                return Ok(None);
            }
        };
        let instances = if self.never_loaded.remove(&row.key) {
            Vec::new()
        } else {
            self.store.task_instance_list_of_run(row.key).await?
        };
        if row.start_date.is_some() || row.clear_number > 0 || !instances.is_empty() {
            let instances = instances.into_iter().map(runs::snapshot_of);
            return Ok(Some(if row.state.is_finished() {
                ActiveRun::restore_finished(row, version, instances.collect())
            } else {
                ActiveRun::restore(row, version, instances)
            }));
        }
        let identity = RunIdentity { run_id: row.run_id.clone(), logical_date: row.logical_date };
        let state = engine::RunState::new(Arc::clone(&version.dag), &identity, row.queued_at);
        let rows = turn.instances.entry(row.key).or_default();
        for (instance, row) in state.instances().filter_map(|id| Some((id, state.instance(id)?))) {
            rows.persist(Box::new(InstanceChange::new(instance, row)));
        }
        Ok(Some(ActiveRun::new(row, version, state)))
    }

    /// Takes a loaded run among those that have events.
    pub(super) fn open(&mut self, run: ActiveRun) {
        let key = run.row.key;
        self.watch_deadline(&run.row);
        let dag = &run.version.dag;
        let (slots, memory_mib) = (engine::RunKey(key.0), dag.grants.memory_mib());
        self.admission.open(slots, &run.row.dag_id, dag.max_active_tasks, memory_mib);
        self.runs.insert(key, run);
    }

    /// Ends a run that can't be loaded, so that it does not come back at each start. Who waits for it, or is to be told, is as with any
    /// run that fails.
    fn quarantine(&mut self, mut row: DagRunRow, why: String, turn: &mut Turn) {
        let was = std::mem::replace(&mut row.state, RunState::Failed);
        row.end_date = Some(turn.now());
        row.message = Some(why.clone());
        if let Some(callbacks) = self.callbacks_of(&row.dag_id) {
            turn.tick.commit.callbacks.extend(callbacks::of_run(&callbacks, &row, row.state, Some(&why)));
        }
        turn.ended.insert(row.key);
        turn.runs.insert(row.key, RunChange { row: active_run::snapshot_of(&row), message: Some(why) });
        self.moved(&row, was);
        turn.stillborn.insert(row.key, row);
    }

    pub(super) async fn version(&mut self, key: DagVersionKey) -> Result<Arc<Version>, version::VersionError> {
        if let Some(version) = self.versions.get(&key) {
            return Ok(Arc::clone(version));
        }
        let version = Arc::new(version::load(&self.store, key).await?);
        self.versions.put(key, Arc::clone(&version));
        Ok(version)
    }

    /// What an attempt of the run may reach that starts now; none if there is no such run.
    fn grants_of(&mut self, key: DagRunKey) -> Option<Arc<Grants>> {
        let run = self.runs.get(&key)?;
        let decide = || {
            let requested = &run.version.dag.grants;
            let policy = &self.config.grants_policy;
            let entry = self.dags.get(&run.row.dag_id);
            let verdict = match entry {
                Some(entry) => entry.decisions.decide(requested, policy),
                None => Decisions::default().decide(requested, policy),
            };
            Arc::new(verdict.effective)
        };
        Some(Arc::clone(self.grants.get_or_insert(run.row.version, decide)))
    }

    fn start_attempt(&mut self, key: DagRunKey, instance: InstanceId, turn: &mut Turn) {
        self.running += 1;
        self.apply(key, &Event::Started(instance), turn);
        let Some(grants) = self.grants_of(key) else { return };
        let Some(run) = self.runs.get(&key) else { return };
        let Some(row) = run.state.instance(instance) else { return };
        let attempt = engine::Attempt { instance, try_number: row.try_number, restart: row.restarts };
        turn.tick.start(Assignment {
            id: attempt_id(key, &run.version, &attempt),
            dag: Arc::clone(&run.version.dag),
            grants,
            node: instance.node,
            run: Arc::clone(&run.context),
            component: run.version.dag.node(instance.node).component.unwrap_or(run.version.component),
            refused: task_key::of(run, instance).and_then(Result::err),
            max_tries: row.max_tries + 1,
            started_at: row.start_date.unwrap_or(turn.now()),
        });
    }
}
