//! Who is to be told of what this turn commits.

use std::time::Duration;

use super::{ActiveRun, Driver, Timer, Turn};
use crate::{
    engine::{InstanceChange, InstanceId},
    model::{
        approval::Question,
        callback::{CallbackEvent, Callbacks},
        ids::DagId,
        state::{RunState, RunType},
        time::Timestamp,
    },
    scheduler::tick::Dispatch,
    store::{CallbackNew, DagRunKey, DagRunRow},
};

/// Of a change of a task instance.
pub(super) fn of_task<'a>(run: &'a ActiveRun, change: &'a InstanceChange) -> impl Iterator<Item = CallbackNew> + 'a {
    let node = run.version.dag.node(change.instance.node);
    let told =
        (!node.callbacks.is_empty()).then(|| CallbackEvent::of_task(change.row.state, change.row.try_number)).flatten();
    told.into_iter().flat_map(move |event| {
        node.callbacks.of(event).map(move |target| CallbackNew {
            dag_run: run.row.key,
            task_id: Some(node.task_id.clone()),
            map_index: change.instance.map_index,
            number: i64::from(change.row.try_number),
            event,
            subject: None,
            target: target.clone(),
            message: change.message.clone(),
        })
    })
}

/// Of an instance that begins to wait for an answer, in its try `try_number`. Nobody is told of what another system answers.
pub(super) fn of_question(
    run: &ActiveRun,
    instance: InstanceId,
    try_number: u32,
    question: &Question,
) -> impl Iterator<Item = CallbackNew> {
    let node = run.version.dag.node(instance.node);
    let told = (!question.is_for_webhook()).then_some(CallbackEvent::Question);
    told.into_iter().flat_map(move |event| node.callbacks.of(event)).map(move |target| CallbackNew {
        dag_run: run.row.key,
        task_id: Some(node.task_id.clone()),
        map_index: instance.map_index,
        number: i64::from(try_number),
        event: CallbackEvent::Question,
        subject: Some(question.subject.clone()),
        target: target.clone(),
        message: Some(question.subject.clone()),
    })
}

/// Of a run that came to `state`.
pub(super) fn of_run<'a>(
    callbacks: &'a Callbacks,
    row: &'a DagRunRow,
    state: RunState,
    message: Option<&'a str>,
) -> impl Iterator<Item = CallbackNew> + 'a {
    CallbackEvent::of_run(state).into_iter().flat_map(move |event| about(callbacks, row, event, message))
}

fn about<'a>(
    callbacks: &'a Callbacks,
    row: &'a DagRunRow,
    event: CallbackEvent,
    message: Option<&'a str>,
) -> impl Iterator<Item = CallbackNew> + 'a {
    callbacks.of(event).map(move |target| CallbackNew {
        dag_run: row.key,
        task_id: None,
        map_index: -1,
        number: row.clear_number,
        event,
        subject: None,
        target: target.clone(),
        message: message.map(ToOwned::to_owned),
    })
}

impl<D: Dispatch> Driver<D> {
    /// Looks at a run that is not over again when its deadline comes, if its dag has one.
    pub(super) fn watch_deadline(&mut self, row: &DagRunRow) {
        if let Some(at) = self.deadline_of(row).filter(|_| !row.state.is_finished()) {
            self.timers.insert((at, Timer::Deadline(row.key)));
        }
    }

    /// Forgets the deadline of a run that is over.
    pub(super) fn forget_deadline(&mut self, row: &DagRunRow) {
        if let Some(at) = self.deadline_of(row) {
            self.timers.remove(&(at, Timer::Deadline(row.key)));
        }
    }

    /// Counted from when the run could start: one that runs again, or is made for the past, not before it was queued for it.
    fn deadline_of(&self, row: &DagRunRow) -> Option<Timestamp> {
        let deadline = Duration::from_millis(self.dags.get(&row.dag_id)?.row.spec.deadline_ms?);
        let is_ordered = row.clear_number > 0 || row.run_type == RunType::Backfill;
        let since = if is_ordered { row.run_after.max(row.queued_at) } else { row.run_after };
        Some(since.after(deadline))
    }

    /// The deadline of a run has come: whoever waits for it is told. A second time of the same run is not committed.
    pub(super) fn deadline_has_come(&mut self, key: DagRunKey, turn: &mut Turn) {
        let row = self.runs.get(&key).map(|run| &run.row).or_else(|| self.queued.get(&key));
        // It was cleared meanwhile, or its dag gives it longer.
        if let Some(at) = row.and_then(|row| self.deadline_of(row)).filter(|at| *at > turn.now()) {
            self.timers.insert((at, Timer::Deadline(key)));
            return;
        }
        let tell = |callbacks: &Callbacks, row: &DagRunRow| -> Vec<_> {
            about(callbacks, row, CallbackEvent::Deadline, None).collect()
        };
        if let Some(run) = self.runs.get(&key) {
            if !run.row.state.is_finished() {
                turn.tick.commit.callbacks.extend(tell(&run.version.dag.callbacks, &run.row));
            }
        } else if let Some(row) = self.queued.get(&key)
            && let Some(callbacks) = self.callbacks_of(&row.dag_id)
        {
            turn.tick.commit.callbacks.extend(tell(&callbacks, row));
        }
    }

    /// Who is told of runs that are not loaded: as the dag's newest version has it.
    pub(super) fn callbacks_of(&self, dag_id: &DagId) -> Option<Callbacks> {
        let of_runs = [CallbackEvent::Success, CallbackEvent::Failure, CallbackEvent::Deadline];
        Callbacks::from_specs(&self.dags.get(dag_id)?.row.spec.callbacks, &of_runs).ok()
    }
}
