//! Task instances that wait for other runs: when they begin to, and when what they wait for ends.

use super::{Driver, Turn, callbacks};
use crate::{
    engine::{Event, InstanceId},
    model::{
        ids::{DagId, TaskId},
        state::TaskState,
        wait::{self, RunWait, Verdict, Wait, WhichRun},
    },
    scheduler::{tick::Dispatch, waits::Waiter},
    store::{DagRunKey, DagRunRow, StoreError},
};

impl<D: Dispatch> Driver<D> {
    /// Lets those begin to wait who asked for it in this turn, and wakes those whose condition has come by now.
    ///
    /// Both see the same states, so that nothing can end in between unseen.
    pub(super) async fn settle_waits(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        for (key, instance, wait) in std::mem::take(&mut turn.waiting) {
            self.begin_wait(key, instance, wait, turn).await?;
        }
        while let Some(key) = turn.ended.pop_first() {
            let row = self.runs.get(&key).map(|run| &run.row).or_else(|| turn.stillborn.get(&key)).cloned();
            let Some(row) = row else { continue };
            let is_newest = self.waits.is_newest_awaited(&row.dag_id) && self.is_newest(&row).await?;
            for condition in self.waits.about(&row, is_newest) {
                if self.verdict(&row, &condition).await? != Verdict::NotYet {
                    let waiters = self.waits.waiters(&condition);
                    self.wake_all(waiters, turn);
                }
            }
        }
        Ok(())
    }

    async fn begin_wait(
        &mut self,
        key: DagRunKey,
        instance: InstanceId,
        wait: Wait,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        let row = self.runs.get(&key).and_then(|run| run.state.instance(instance));
        let Some(try_number) = row.filter(|row| row.state == TaskState::UpForReschedule).map(|row| row.try_number)
        else {
            return Ok(());
        };
        if self.has_come((key, instance), &wait, turn).await? {
            self.apply(key, &Event::Wake(instance), turn);
            return Ok(());
        }
        if let Some(run) = self.runs.get(&key) {
            if let Wait::Approval(question) = &wait {
                // Once for each question: that of a start before, of the same try, is there already.
                turn.tick.commit.callbacks.extend(callbacks::of_question(run, instance, try_number, question));
            }
            turn.waits.insert(run.instance_key(instance), Some(wait.clone()));
        }
        self.waits.add((key, instance), wait);
        Ok(())
    }

    /// Whether it has come, as things stand in this turn.
    async fn has_come(&self, waiter: Waiter, wait: &Wait, turn: &mut Turn) -> Result<bool, StoreError> {
        let condition = match wait {
            Wait::Run(condition) => condition,
            Wait::Asset { asset, since } => {
                let of_turn = turn.tick.commit.asset_events.iter();
                if of_turn.filter(|event| event.asset == *asset).any(|event| event.timestamp > *since) {
                    return Ok(true);
                }
                let row = self.store.asset_get_by_name(asset).await?;
                return Ok(row.and_then(|row| row.last_event).is_some_and(|(_, at)| at > *since));
            }
            Wait::Approval(question) => {
                // Nobody can answer before it waits: only what an earlier start of the same try asked can be answered.
                let Some(run) = self.runs.get(&waiter.0) else { return Ok(false) };
                let Some(try_number) = run.state.instance(waiter.1).map(|row| row.try_number) else { return Ok(false) };
                let asked = self.store.approval_get(&run.instance_key(waiter.1), try_number, &question.subject).await?;
                return Ok(asked.is_some_and(|row| row.answer.is_some()));
            }
        };
        let found = if let Some(found) = turn.found.get(&condition.of) {
            found.clone()
        } else {
            let found = self.store.dag_run_find(&condition.of).await?;
            turn.found.insert(condition.of.clone(), found.clone());
            found
        };
        match found.map(|row| self.newest(row)) {
            Some(row) => Ok(self.verdict(&row, condition).await? != Verdict::NotYet),
            None => Ok(false),
        }
    }

    /// What is said of a run as it now is.
    async fn verdict(&self, row: &DagRunRow, wait: &RunWait) -> Result<Verdict, StoreError> {
        if wait.tasks.is_empty() {
            return Ok(wait.of_run(row.state));
        }
        let Some(version) = self.store.dag_version_get(row.version).await? else { return Ok(Verdict::NotYet) };
        let tasks: Vec<TaskId> = wait.tasks.iter().flat_map(|named| wait::members(&version.spec, named)).collect();
        if let Some(run) = self.runs.get(&row.key) {
            let nodes = tasks.iter().filter_map(|task| run.version.dag.index(task));
            let instances = nodes.flat_map(|node| run.state.instances_of(node));
            return Ok(wait.of_states(instances.filter_map(|id| Some(run.state.instance(id)?.state))));
        }
        let counts = self.store.task_instance_counts_of(row.key, &tasks).await?;
        Ok(wait.of_states(counts.into_iter().map(|(_, state, _)| state)))
    }

    /// Whether no other run of its dag is newer.
    async fn is_newest(&self, row: &DagRunRow) -> Result<bool, StoreError> {
        // Runs of this turn are not stored yet; they are queued.
        let queued = self.dags.get(&row.dag_id).and_then(|entry| entry.queue.last().copied());
        let choice = wait::RunChoice { dag_id: row.dag_id.clone(), run: WhichRun::Newest };
        let stored = self.store.dag_run_find(&choice).await?.map(|newest| (newest.run_after, newest.key));
        Ok(queued.max(stored).is_none_or(|newest| newest <= (row.run_after, row.key)))
    }

    /// Starts these again, whatever they wait for.
    pub(super) fn wake_all(&mut self, waiters: Vec<(DagRunKey, InstanceId)>, turn: &mut Turn) {
        for (key, instance) in waiters {
            self.apply(key, &Event::Wake(instance), turn);
        }
    }

    /// Those who wait for a dag that is gone find out.
    pub(super) fn wake_waiters_of(&mut self, dag_id: &DagId, turn: &mut Turn) {
        let waiters = self.waits.of_dag(dag_id);
        self.wake_all(waiters, turn);
    }

    /// Reads who waits. A row whose instance does not wait any more, as it never is, goes.
    pub(super) async fn recover_waits(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = self.store.wait_list(after.as_ref()).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.instance.clone());
            for row in rows {
                let run = self.runs.get(&row.instance.dag_run);
                let node = run.and_then(|run| run.version.dag.index(&row.instance.task_id));
                let instance = node.map(|node| InstanceId { node, map_index: row.instance.map_index });
                let state = run.zip(instance).and_then(|(run, instance)| run.state.instance(instance));
                let waits = state.is_some_and(|row| row.state == TaskState::UpForReschedule);
                let Some(instance) = instance.filter(|_| waits) else {
                    turn.waits.insert(row.instance, None);
                    continue;
                };
                let is_there = match &row.wait {
                    Wait::Run(condition) => self.dags.get(&condition.of.dag_id).is_some(),
                    Wait::Asset { .. } | Wait::Approval(_) => true,
                };
                self.waits.add((row.instance.dag_run, instance), row.wait);
                if !is_there {
                    // Deleted just before the end.
                    self.apply(row.instance.dag_run, &Event::Wake(instance), turn);
                }
            }
        }
    }
}
