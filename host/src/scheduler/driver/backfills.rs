//! Runs of the past that people ordered, some at a time.
//!
//! A backfill makes the runs of its intervals as others of it end, so that at most `max_active_runs` of them are not
//! finished. They count for it and not for the dag. How far it is, and the run that it made or cleared for that, are
//! one commit: after a crash it goes on behind the last interval that was dealt with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Driver, MAX_STARTS, Turn};
use crate::{
    engine::{Event, Verdict},
    model::{
        backfill::{Intervals, Plan, plan},
        ids::DagId,
        state::RunState,
        time::Timestamp,
        timetable::{NextRun, Timetable},
    },
    scheduler::{RequestError, no_dag, runs, tick::Dispatch},
    store::{BackfillId, BackfillNew, BackfillRow, DagRunKey, DagRunRow, StoreError},
};

/// The backfills that are not over, and their unfinished runs.
#[derive(Debug, Default)]
pub(super) struct Backfills {
    by_id: BTreeMap<BackfillId, Entry>,
    of_run: HashMap<DagRunKey, BackfillId>,
}

#[derive(Debug)]
struct Entry {
    row: BackfillRow,
    /// Its runs in state running.
    running: u32,
    /// Its runs in state queued.
    queue: BTreeSet<DagRunKey>,
}

impl Entry {
    fn unfinished(&self) -> u32 {
        self.running.saturating_add(u32::try_from(self.queue.len()).unwrap_or(u32::MAX))
    }
}

impl Backfills {
    /// Counts a run where it now stands. False: it is of no backfill, and counts for its dag.
    pub fn enter(&mut self, run: &DagRunRow) -> bool {
        let Some(entry) = self.of_run.get(&run.key).and_then(|id| self.by_id.get_mut(id)) else { return false };
        match run.state {
            RunState::Running => entry.running += 1,
            RunState::Queued => drop(entry.queue.insert(run.key)),
            RunState::Success | RunState::Failed => drop(self.of_run.remove(&run.key)),
        }
        true
    }

    /// Counts a run no longer where it stood. False: it is of no backfill.
    pub fn leave(&mut self, run: &DagRunRow, was: RunState) -> bool {
        let Some(entry) = self.of_run.get(&run.key).and_then(|id| self.by_id.get_mut(id)) else { return false };
        match was {
            RunState::Running => entry.running = entry.running.saturating_sub(1),
            RunState::Queued => drop(entry.queue.remove(&run.key)),
            RunState::Success | RunState::Failed => {}
        }
        true
    }

    /// Takes in an unfinished backfill and its unfinished runs, which [`Backfills::enter`] is yet to count.
    pub fn put(&mut self, row: BackfillRow, runs: impl IntoIterator<Item = DagRunKey>) {
        self.of_run.extend(runs.into_iter().map(|run| (run, row.id)));
        self.by_id.insert(row.id, Entry { row, running: 0, queue: BTreeSet::new() });
    }

    /// Whether the run is of a backfill.
    pub fn is_of(&self, run: DagRunKey) -> bool {
        self.of_run.contains_key(&run)
    }

    pub fn forget_dag(&mut self, dag_id: &DagId) {
        self.by_id.retain(|_, entry| entry.row.new.dag_id != *dag_id);
        self.of_run.retain(|_, id| self.by_id.contains_key(id));
    }

    /// The intervals of the backfill that the run is of.
    fn intervals_of(&self, run: DagRunKey) -> Option<Intervals> {
        let entry = self.of_run.get(&run).and_then(|id| self.by_id.get(id))?;
        Some(entry.row.new.intervals)
    }

    fn of_dag(&self, dag_id: &DagId) -> Vec<BackfillId> {
        self.by_id.iter().filter(|(_, entry)| entry.row.new.dag_id == *dag_id).map(|(id, _)| *id).collect()
    }
}

impl<D: Dispatch> Driver<D> {
    pub(super) async fn recover_backfills(&mut self) -> Result<(), StoreError> {
        self.backfills = Backfills::default();
        for row in self.store.backfill_list_unfinished().await? {
            let runs = self.store.backfill_runs_unfinished(row.id).await?;
            self.touched.insert(row.new.dag_id.clone());
            self.backfills.put(row, runs);
        }
        Ok(())
    }

    /// Whether `run`, of this logical_date, is the first of a backfill, which may be over: it was cleared then.
    pub(super) async fn is_first_of_backfill(
        &self,
        run: DagRunKey,
        logical_date: Timestamp,
        timetable: &Timetable,
    ) -> Result<bool, StoreError> {
        let mut intervals = self.backfills.intervals_of(run);
        if intervals.is_none()
            && let Some(id) = self.store.backfill_of_run(run).await?
        {
            intervals = self.store.backfill_get(id).await?.map(|row| row.new.intervals);
        }
        let first = intervals.and_then(|intervals| intervals.next(timetable, None));
        Ok(first.is_some_and(|first| first.logical_date == logical_date))
    }

    /// Begins a backfill that was checked. Airflow: a dag has one at a time.
    pub(super) async fn create_backfill(&mut self, new: &BackfillNew) -> Result<BackfillRow, RequestError> {
        let dag_id = &new.dag_id;
        if self.dags.get(dag_id).is_none() {
            return Err(no_dag(dag_id));
        }
        let of_dag = self.backfills.of_dag(dag_id);
        if let Some(id) = of_dag.iter().find(|id| self.backfills.by_id[*id].row.completed_at.is_none()) {
            return Err(RequestError::Conflict(format!(
                "dag `{dag_id}` has a backfill that is not over, {}; wait for it or cancel it",
                id.0
            )));
        }
        let row = self.store.backfill_create(new).await?;
        self.backfills.put(row.clone(), []);
        self.touched.insert(dag_id.clone());
        Ok(row)
    }

    /// Pauses a backfill or lets it go on; runs that run go on.
    pub(super) fn pause_backfill(
        &mut self,
        id: BackfillId,
        is_paused: bool,
        turn: &mut Turn,
    ) -> Result<BackfillRow, RequestError> {
        let entry = self.backfills.by_id.get_mut(&id).filter(|entry| entry.row.completed_at.is_none());
        let entry = entry.ok_or_else(|| is_over(id))?;
        entry.row.is_paused = is_paused;
        entry.row.updated_at = turn.now();
        let row = entry.row.clone();
        self.touched.insert(row.new.dag_id.clone());
        keep(turn, &row);
        Ok(row)
    }

    /// Ends a backfill: its queued runs fail, those that run go on. Airflow does the same.
    pub(super) async fn cancel_backfill(
        &mut self,
        id: BackfillId,
        turn: &mut Turn,
    ) -> Result<BackfillRow, RequestError> {
        let entry = self.backfills.by_id.get_mut(&id).filter(|entry| entry.row.completed_at.is_none());
        let entry = entry.ok_or_else(|| is_over(id))?;
        (entry.row.completed_at, entry.row.updated_at) = (Some(turn.now()), turn.now());
        let (row, queue) = (entry.row.clone(), entry.queue.clone());
        keep(turn, &row);
        for key in queue {
            let queued = self.queued.get(&key).or_else(|| self.runs.get(&key).map(|run| &run.row)).cloned();
            if let Some(queued) = queued {
                self.ensure_loaded(queued, turn).await?;
                self.apply(key, &Event::MarkRun(Verdict::Failed), turn);
            }
        }
        self.touched.insert(row.new.dag_id.clone());
        Ok(row)
    }

    /// Goes on with the backfills of a dag. Answers false if more is due than one turn may start.
    pub(super) async fn advance_backfills(&mut self, dag_id: &DagId, turn: &mut Turn) -> Result<bool, StoreError> {
        for id in self.backfills.of_dag(dag_id) {
            while let Some(entry) = self.backfills.by_id.get(&id) {
                if entry.row.completed_at.is_some() {
                    if entry.unfinished() == 0 {
                        self.backfills.by_id.remove(&id);
                    }
                    break;
                }
                let Some(dag) = self.dags.get(dag_id).filter(|dag| !dag.row.is_paused) else { break };
                if entry.row.is_paused {
                    break;
                }
                if turn.started >= MAX_STARTS {
                    return Ok(false);
                }
                let may_start = |key: &&DagRunKey| {
                    let row = self.queued.get(*key).or_else(|| self.runs.get(*key).map(|run| &run.row));
                    dag.keys.as_ref().zip(row).is_none_or(|(keys, row)| keys.has_room(row))
                };
                if let Some(key) = entry.queue.iter().find(may_start).copied() {
                    turn.started += 1;
                    self.start_run(key, turn).await?;
                    continue;
                }
                if entry.unfinished() >= entry.row.new.max_active_runs {
                    break;
                }
                turn.started += 1;
                match entry.row.new.intervals.next(&dag.timetable, entry.row.last_date) {
                    Some(next) => self.backfill_interval(id, &next, turn).await?,
                    None if entry.unfinished() > 0 => break,
                    None => self.change_backfill(id, turn, |row, now| {
                        // Intervals that the dag's schedule had when it was made, and has no more.
                        let gone = row.new.total.saturating_sub(row.dealt_with);
                        row.dealt_with += gone;
                        row.skipped += gone;
                        row.completed_at = Some(now);
                    }),
                }
            }
        }
        Ok(true)
    }

    /// Makes the run of an interval, clears it, or leaves it as it is.
    async fn backfill_interval(&mut self, id: BackfillId, next: &NextRun, turn: &mut Turn) -> Result<(), StoreError> {
        let Some(row) = self.backfills.by_id.get(&id).map(|entry| entry.row.clone()) else { return Ok(()) };
        let dag_id = &row.new.dag_id;
        let stored = self.store.dag_run_of_date(dag_id, next.logical_date).await?.map(|run| self.newest(run));
        let is_new =
            turn.new_runs.values().any(|new| new.dag_id == *dag_id && new.logical_date == Some(next.logical_date));
        let state = stored.as_ref().map(|run| run.state).or(is_new.then_some(RunState::Queued));
        let mut planned = plan(state, row.new.reprocess_behavior);
        match (planned, stored) {
            (Plan::Create, _) => {
                let Some((version, number)) =
                    self.dags.get(dag_id).map(|dag| (dag.row.version, dag.row.version_number))
                else {
                    return Ok(());
                };
                let new = runs::backfill(DagRunKey(self.next_key), version, &row, next, turn.now());
                if self.store.dag_run_exists(dag_id, Some(&new.run_id), None).await? {
                    // A person gave its id to a run of another date.
                    planned = Plan::Skip;
                } else {
                    self.backfills.of_run.insert(new.key, id);
                    turn.tick.commit.backfill_runs.push((new.key, id));
                    self.add_run(new, number, turn);
                }
            }
            (Plan::Reprocess, Some(run)) => {
                let key = run.key;
                if self.ensure_loaded(run, turn).await.is_err() {
                    planned = Plan::Skip;
                } else if let Some(run) = self.runs.get(&key) {
                    let instances = run.state.instances().collect();
                    self.backfills.of_run.insert(key, id);
                    turn.tick.commit.backfill_runs.push((key, id));
                    self.apply(key, &Event::Clear { instances }, turn);
                }
            }
            (Plan::Reprocess | Plan::Skip, _) => {}
        }
        self.change_backfill(id, turn, |row, _| {
            row.dealt_with += 1;
            row.skipped += u32::from(planned == Plan::Skip);
            row.last_date = Some(next.logical_date);
        });
        Ok(())
    }

    fn change_backfill(&mut self, id: BackfillId, turn: &mut Turn, change: impl FnOnce(&mut BackfillRow, Timestamp)) {
        if let Some(entry) = self.backfills.by_id.get_mut(&id) {
            change(&mut entry.row, turn.now());
            keep(turn, &entry.row);
        }
    }
}

/// Commits a backfill as it now is.
fn keep(turn: &mut Turn, row: &BackfillRow) {
    let rows = &mut turn.tick.commit.backfills;
    rows.retain(|other| other.id != row.id);
    rows.push(row.clone());
}

fn is_over(id: BackfillId) -> RequestError {
    RequestError::Conflict(format!("backfill {} is over, or there is none", id.0))
}
