//! A turn becomes durable, and then shows.

use std::sync::Arc;

use super::{COMMIT_RETRY, Chain, Driver, Timer, Turn, change_of};
use crate::{
    engine::{self, RunChange},
    model::dag::Node,
    scheduler::{Change, tick::Dispatch},
    store::{DagRunKey, DagRunUpdate, InstanceKey, InstanceNew, InstanceUpdate, Placement, StoreError, WaitRow},
};

impl<D: Dispatch> Driver<D> {
    /// Makes the turn durable, then shows it. While the database can't be written, nothing shows and the loop waits.
    pub(super) async fn commit(&mut self, mut turn: Turn) -> Result<(), StoreError> {
        self.gather(&mut turn);
        if turn.tick.is_empty() {
            return Ok(());
        }
        while !turn.tick.commit.is_empty()
            && let Err(error) = self.store.commit(&turn.tick.commit).await
        {
            if !error.is_transient() {
                let error = Arc::new(error);
                turn.tick.refused(&error);
                return Err(Arc::into_inner(error).unwrap_or(StoreError::Stale));
            }
            tracing::error!(error = %Chain(&error), "a commit is tried again");
            tokio::time::sleep(COMMIT_RETRY).await;
        }
        turn.tick.committed(&self.executor, &self.changes);
        Ok(())
    }

    /// Turns what the engines said into rows, and unloads the runs that are over.
    fn gather(&mut self, turn: &mut Turn) {
        let listened = self.changes.receiver_count() > 0;
        let commit = &mut turn.tick.commit;
        let mut changes = Vec::new();
        for (key, rows) in std::mem::take(&mut turn.instances) {
            let Some(run) = self.runs.get(&key) else { continue };
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
                    commit.histories.push(id.clone());
                }
                if change.drop_results {
                    self.executor.forget_result(&id);
                    commit.xcoms_cleared.push(id.clone());
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
                if !change.is_new || !untouched {
                    commit.instances.push(InstanceUpdate {
                        key: id,
                        state: row.state,
                        try_number: row.try_number,
                        max_tries: row.max_tries,
                        restarts: row.restarts,
                        scheduled_at: row.scheduled_at,
                        queued_at: row.queued_at,
                        start_date: row.start_date,
                        end_date: row.end_date,
                        wake_at: row.wake_at,
                        message: change.message,
                        followed: row
                            .followed
                            .as_ref()
                            .map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect()),
                        list_length: row.list_length,
                    });
                }
            }
        }
        for (key, RunChange { row, message }) in std::mem::take(&mut turn.runs) {
            commit.dag_runs.push(DagRunUpdate {
                key,
                state: row.state,
                queued_at: Some(row.queued_at),
                start_date: row.start_date,
                end_date: row.end_date,
                clear_number: row.clear_number,
                message,
            });
            let row = self.runs.get(&key).map(|run| &run.row).or_else(|| turn.stillborn.get(&key));
            changes.extend(row.map(change_of));
        }
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
                turn.tick.answer(reply, row.clone());
            }
        }
        for change in changes {
            turn.tick.change(change);
        }
        self.unload();
    }

    /// Forgets runs that are finished and have no attempt in flight.
    fn unload(&mut self) {
        let over: Vec<_> = std::mem::take(&mut self.maybe_over);
        for key in over {
            let Some(run) = self.runs.get(&key) else { continue };
            if run.row.state.is_finished() && !run.state.is_busy() {
                self.close(key);
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

/// What instances of `node` run, and what they take to start.
pub(super) fn placement(node: &Node) -> Placement {
    Placement {
        entry: node.entry.clone(),
        pool: node.pool.clone(),
        pool_slots: node.pool_slots,
        priority_weight: node.weight,
    }
}
