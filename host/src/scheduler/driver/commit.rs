//! A turn becomes durable, and then shows.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Driver, Timer, Turn, change_of, conf, patience::Patience};
use crate::{
    engine::{self, InstanceSnapshot, RunChange},
    executor::RunContext,
    model::{
        causes::chain,
        dag::Node,
        ids::{DagId, RunId},
        state::{RunState, RunType, TaskState},
        time::Timestamp,
    },
    scheduler::{Change, tick::Dispatch},
    store::{
        Commit, DagRunKey, DagRunUpdate, HistoryNew, InstanceKey, InstanceNew, InstanceUpdate, Placement, StoreError,
        WaitRow,
    },
    telemetry::{RunSpan, Telemetry, TryId, TrySpan},
};

impl<D: Dispatch> Driver<D> {
    /// Makes the turn durable, then shows it. While the database can't be written, nothing shows and the loop waits.
    pub(super) async fn commit(&mut self, mut turn: Turn) -> Result<(), StoreError> {
        self.gather(&mut turn);
        if turn.tick.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut patience = Patience::new("a commit");
        let mut committed = self.store.commit(&turn.tick.commit).await;
        while let Err(error) = committed {
            if !error.is_transient() {
                tracing::error!(error = %chain(&error), "a commit is refused");
                let error = Arc::new(error);
                turn.tick.refused(&error);
                return Err(Arc::into_inner(error).unwrap_or(StoreError::Stale));
            }
            self.config.telemetry.metrics.commit_failed();
            patience.wait(&error, self.config.commit_retry).await;
            // Only its answer may have been lost.
            committed = self.store.commit_again(&turn.tick.commit).await;
        }
        patience.over();
        tell(&self.config.telemetry, &turn, begun.elapsed());
        for run in turn.told.iter().filter(|run| run.state.is_finished()) {
            self.ended.tell(&run.dag_id);
        }
        self.heartbeat.count(&self.admission);
        turn.tick.committed(&self.executor, &self.changes);
        Ok(())
    }

    /// Turns what the engines said into rows, and unloads the runs that are over.
    fn gather(&mut self, turn: &mut Turn) {
        let listened = self.changes.receiver_count() > 0;
        let traced = self.config.telemetry.traces.is_on();
        let now = turn.now();
        let hosts = std::mem::take(&mut turn.hosts);
        let host_of = |id: &InstanceKey, row: &InstanceSnapshot| {
            let (try_number, host) = hosts.get(id)?;
            (*try_number == row.try_number && row.start_date.is_some()).then(|| Arc::clone(host))
        };
        let commit = &mut turn.tick.commit;
        let mut changes = Vec::new();
        for (key, rows) in std::mem::take(&mut turn.instances) {
            let Some(run) = self.runs.get(&key) else { continue };
            let ends_now = |row: &InstanceSnapshot| row.end_date == Some(now) && row.start_date.is_some();
            let told = |update| TryTold { run: Arc::clone(&run.context), queued_at: run.row.queued_at, update };
            for (instance, change) in rows.into_iter_rows() {
                let node = run.version.dag.node(instance.node);
                let id = InstanceKey { dag_run: key, task_id: node.task_id.clone(), map_index: instance.map_index };
                let Some(change) = change else {
                    commit.instances_gone.push(id);
                    continue;
                };
                let row = &change.row;
                if listened {
                    changes.push(Change::Task {
                        dag_id: run.row.dag_id.clone(),
                        run_id: run.row.run_id.clone(),
                        key,
                        task_id: id.task_id.clone(),
                        map_index: id.map_index,
                        state: row.state,
                        try_number: row.try_number,
                    });
                }
                if change.archive {
                    if traced && change.ended.as_ref().is_some_and(|ended| ends_now(&ended.row)) {
                        turn.tries_told.push(told(Told::History(commit.histories.len())));
                    }
                    let ended = change.ended.map(|ended| {
                        let hostname = host_of(&id, &ended.row);
                        Box::new(InstanceUpdate { hostname, ..update_of(id.clone(), ended.row, ended.message) })
                    });
                    commit.histories.push(HistoryNew { key: id.clone(), ended });
                }
                if change.drop_results {
                    commit.xcoms_cleared.push(id.clone());
                }
                // The list of a mapped task may be remembered with the result of one that is no element of it any more.
                if change.drop_results || row.state == TaskState::Removed {
                    self.executor.forget_result(&id);
                }
                let untouched = row.try_number == 0 && row.end_date.is_none() && row.scheduled_at.is_none();
                if change.is_new {
                    commit.instances_new.push(InstanceNew {
                        key: id.clone(),
                        state: row.state,
                        max_tries: row.max_tries,
                        placement: placement(node),
                    });
                }
                if traced && ends_now(row) {
                    turn.tries_told.push(told(Told::Instance(commit.instances.len())));
                }
                if !change.is_new || !untouched {
                    let hostname = host_of(&id, &change.row);
                    commit.instances.push(InstanceUpdate { hostname, ..update_of(id, change.row, change.message) });
                }
            }
        }
        self.executor.discard(drop_cleared(commit));
        for (key, RunChange { row, message }) in std::mem::take(&mut turn.runs) {
            commit.dag_runs.push(DagRunUpdate {
                key,
                state: row.state,
                queued_at: Some(row.queued_at),
                start_date: row.start_date,
                end_date: row.end_date,
                clear_number: row.clear_number,
                message,
                verdict: row.verdict.map(RunState::from),
            });
            let row = self.runs.get(&key).map(|run| &run.row).or_else(|| turn.stillborn.get(&key));
            let Some(row) = row else { continue };
            turn.told.push(RunTold {
                key,
                run_id: row.run_id.clone(),
                run_type: row.run_type,
                queued_at: row.queued_at,
                dag_id: row.dag_id.clone(),
                state: row.state,
                run_after: row.run_after,
                start_date: row.start_date,
                end_date: row.end_date,
            });
            changes.push(change_of(row));
        }
        let made: Vec<_> = turn.new_runs.keys().copied().collect();
        for (key, new) in std::mem::take(&mut turn.new_runs) {
            if let Some(row) = self.queued.get(&key) {
                changes.push(change_of(row));
            }
            commit.dag_runs_new.push(new);
        }
        for (instance, wait) in std::mem::take(&mut turn.waits) {
            match wait {
                Some(wait) => commit.waits_new.push(WaitRow { instance, wait }),
                None => commit.waits_gone.push(instance),
            }
        }
        for (key, reply) in std::mem::take(&mut turn.run_replies) {
            let row = self.runs.get(&key).map(|run| &run.row).or_else(|| self.queued.get(&key));
            if let Some(row) = row.or_else(|| turn.stillborn.get(&key)) {
                turn.tick.answer(reply, Ok(row.clone()));
            }
        }
        for key in made {
            if let Some(row) = self.queued.get_mut(&key) {
                conf::rest(row);
            }
        }
        for change in changes {
            turn.tick.change(change);
        }
        self.unload();
    }

    /// Forgets runs that are finished or queued and have no attempt in flight. There may be very many that were cleared and wait.
    fn unload(&mut self) {
        for key in std::mem::take(&mut self.maybe_over) {
            let Some(run) = self.runs.get(&key).filter(|run| !run.state.is_busy()) else { continue };
            match run.row.state {
                RunState::Success | RunState::Failed => self.close(key),
                RunState::Queued => {
                    let mut row = run.row.clone();
                    conf::rest(&mut row);
                    self.close(key);
                    self.queued.insert(key, row);
                }
                RunState::Running => {}
            }
        }
    }

    /// Takes a run out of the loop.
    pub(super) fn close(&mut self, key: DagRunKey) {
        self.admission.forget(engine::RunKey(key.0));
        self.waits.forget(key);
        self.links.close(key);
        if let Some(run) = self.runs.remove(&key)
            && let Some(at) = run.wake_at
        {
            self.timers.remove(&(at, Timer::Run(key)));
        }
    }
}

/// A run that changed, as it is told to those who watch.
pub(super) struct RunTold {
    key: DagRunKey,
    dag_id: DagId,
    run_id: RunId,
    run_type: RunType,
    state: RunState,
    run_after: Timestamp,
    queued_at: Timestamp,
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
}

/// A try that ended, as it is told to those who follow traces.
pub(super) struct TryTold {
    run: Arc<RunContext>,
    queued_at: Timestamp,
    update: Told,
}

/// Where a commit says how a try ended.
enum Told {
    Instance(usize),
    History(usize),
}

/// Tells what began and ended in a turn that is durable.
fn tell(Telemetry { metrics, traces, .. }: &Telemetry, turn: &Turn, took: Duration) {
    let now = turn.now();
    let commit = &turn.tick.commit;
    if !commit.is_empty() {
        metrics.committed(took);
    }
    for run in &turn.told {
        if run.start_date == Some(now) {
            // One of a catchup or a backfill, or that was cleared, could not start before.
            metrics.dag_run_started(run.run_after.max(run.queued_at), now);
        }
        if run.end_date == Some(now) {
            metrics.dag_run_ended(&run.dag_id, run.state, run.start_date, now);
            if let Some(started) = run.start_date {
                traces.run_ended(&RunSpan {
                    dag_run: run.key.0,
                    dag_id: &run.dag_id,
                    run_id: &run.run_id,
                    run_type: run.run_type,
                    state: run.state,
                    queued_at: run.queued_at,
                    started,
                    ended: now,
                });
            }
        }
    }
    let ended = commit.histories.iter().filter_map(|history| history.ended.as_deref());
    for instance in commit.instances.iter().chain(ended) {
        if instance.start_date == Some(now)
            && let Some(scheduled_at) = instance.scheduled_at
        {
            metrics.task_try_started(scheduled_at, now);
        }
        // What was skipped, or marked, without a try had none that ended.
        if instance.end_date == Some(now) && instance.queued_at.is_some() {
            metrics.task_try_ended(instance.state, instance.start_date, now);
        }
    }
    for TryTold { run, queued_at, update } in &turn.tries_told {
        let instance = match update {
            Told::Instance(at) => commit.instances.get(*at),
            Told::History(at) => commit.histories.get(*at).and_then(|history| history.ended.as_deref()),
        };
        let Some(instance) = instance else { continue };
        traces.try_ended(&TrySpan {
            id: TryId {
                dag_run: run.dag_run.0,
                task_id: &instance.key.task_id,
                map_index: instance.key.map_index,
                try_number: instance.try_number,
                restart: instance.restarts,
            },
            dag_id: &run.dag_id,
            run_id: &run.run_id,
            queued_at: *queued_at,
            state: instance.state,
            started: instance.start_date.unwrap_or(now),
            ended: now,
            message: instance.message.as_deref(),
        });
    }
}

/// Leaves out the results of instances that were cleared in the turn in which they succeeded. Answers the blobs that nobody names now.
fn drop_cleared(commit: &mut Commit) -> Vec<String> {
    if commit.xcoms_cleared.is_empty() || commit.xcoms.is_empty() && commit.artifacts.is_empty() {
        return Vec::new();
    }
    let cleared: HashSet<&InstanceKey> = commit.xcoms_cleared.iter().collect();
    let xcoms = commit.xcoms.extract_if(.., |xcom| cleared.contains(&xcom.instance));
    let mut blobs: Vec<_> = xcoms.filter_map(|xcom| xcom.body.into_blob()).collect();
    let artifacts = commit.artifacts.extract_if(.., |artifact| cleared.contains(&artifact.instance));
    blobs.extend(artifacts.map(|artifact| artifact.blob));
    commit.cached_results.retain(|cached| !cleared.contains(&cached.instance));
    blobs
}

fn update_of(key: InstanceKey, row: InstanceSnapshot, message: Option<String>) -> InstanceUpdate {
    InstanceUpdate {
        key,
        state: row.state,
        try_number: row.try_number,
        max_tries: row.max_tries,
        restarts: row.restarts,
        scheduled_at: row.scheduled_at,
        queued_at: row.queued_at,
        start_date: row.start_date,
        end_date: row.end_date,
        wake_at: row.wake_at,
        message,
        followed: row.followed.map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect()),
        list_length: row.list_length,
        hostname: None,
    }
}

/// What instances of `node` run, and what they take to start.
pub(super) fn placement(node: &Node) -> Placement {
    Placement {
        entry: node.entry.clone(),
        pool: node.pool.clone(),
        pool_slots: node.pool_slots,
        priority_weight: node.weight,
    }
}
