//! What a run's engine is told, and what it says: kept for the turn's commit, and told to the admission.

use super::{super::tick::Dispatch, ActiveRun, Driver, Timer, Turn, attempt_id, callbacks, task_key};
use crate::{
    engine::{self, Command, Event, InstanceChange, InstanceId, Outcome},
    executor::{AttemptResult, Completion},
    model::{ids::XComKey, state::TaskState, wait::Wait},
    store::{ArtifactRow, DagRunKey, InstanceKey, RecordingRow, XComNew},
};

impl<D: Dispatch> Driver<D> {
    pub(super) fn finished(&mut self, completion: Completion, turn: &mut Turn) {
        let Completion {
            id,
            result,
            message,
            xcoms,
            artifacts,
            recording,
            cached,
            asset_extras,
            added,
            label,
            retry_delay,
            list_length,
            hostname,
            ..
        } = completion;
        let key = id.instance.dag_run;
        let run = self.runs.get(&key);
        let Some((run, node)) = run.and_then(|run| Some((run, run.version.dag.index(&id.instance.task_id)?))) else {
            self.discard(recording);
            return self.void(&id.instance, xcoms, artifacts);
        };
        let instance = InstanceId { node, map_index: id.instance.map_index };
        let attempt = engine::Attempt { instance, try_number: id.try_number, restart: id.restart };
        // One of a try that was given up, or cleared, is of no use to anyone.
        let is_current = run.state.instance(instance).is_some_and(|row| {
            row.state == TaskState::Running && (row.try_number, row.restarts) == (id.try_number, id.restart)
        });
        if is_current {
            turn.tick.commit.recordings.extend(recording);
        } else {
            self.discard(recording);
        }
        turn.ran_at(&id, hostname);
        turn.tick.commit.labels.extend(label.filter(|_| is_current).map(|label| (id.instance.clone(), label)));
        let mut message = message;
        let mut wait = None;
        let outcome = match result {
            AttemptResult::Success => {
                let has_result = xcoms.iter().any(|xcom| xcom.key == XComKey::return_value());
                Outcome::Success { list_length, has_result }
            }
            AttemptResult::Skipped => Outcome::Skipped,
            AttemptResult::Branch(followed) => Outcome::Branch(followed),
            AttemptResult::ShortCircuit { all } => Outcome::ShortCircuit { ignore_downstream_trigger_rules: all },
            AttemptResult::Later(at) => Outcome::Later(at),
            AttemptResult::Wait(Wait::Run(condition), _) if self.dags.get(&condition.of.dag_id).is_none() => {
                message = Some(format!("it waits for dag `{}`, which does not exist; upload it", condition.of.dag_id));
                Outcome::Failed { retry: true, delay: None }
            }
            AttemptResult::Wait(condition, until) => {
                wait = Some(condition);
                Outcome::Later(until)
            }
            AttemptResult::Failed { retry } => Outcome::Failed { retry, delay: retry_delay },
            AttemptResult::Lost => Outcome::Lost,
            AttemptResult::Killed => Outcome::Killed,
        };
        let succeeded = self.apply(key, &Event::Finished { attempt, outcome, message }, turn).contains(&instance);
        turn.waiting.extend(wait.map(|wait| (key, instance, wait)));
        if succeeded {
            turn.tick.commit.xcoms.extend(xcoms);
            turn.tick.commit.artifacts.extend(artifacts);
            turn.tick.commit.cached_results.extend(cached);
            self.update_outlets(key, instance, asset_extras, added, turn);
        } else {
            self.void(&id.instance, xcoms, artifacts);
        }
    }

    /// What an attempt left counts for nothing: it did not succeed, or was given up.
    fn void(&self, instance: &InstanceKey, xcoms: Vec<XComNew>, artifacts: Vec<ArtifactRow>) {
        self.executor.forget_result(instance);
        let blobs = xcoms.into_iter().filter_map(|xcom| xcom.body.into_blob());
        self.executor.discard(blobs.chain(artifacts.into_iter().map(|artifact| artifact.blob)).collect());
    }

    /// Nobody will ask for the recording.
    fn discard(&self, recording: Option<RecordingRow>) {
        self.executor.discard(recording.into_iter().map(|recording| recording.blob).collect());
    }

    /// Tells a run's engine and does what it says. Answers which instances became success by it.
    pub(super) fn apply(&mut self, key: DagRunKey, event: &Event, turn: &mut Turn) -> Vec<InstanceId> {
        let (mut succeeded, mut moves) = (Vec::new(), Vec::new());
        let Some(run) = self.runs.get_mut(&key) else { return succeeded };
        if self.maybe_over.last() != Some(&key) {
            self.maybe_over.push(key);
        }
        self.links.touch(key);
        let slots = engine::RunKey(key.0);
        for instance in std::mem::take(&mut run.unwritten) {
            if let Some(row) = run.state.instance(instance) {
                let rows = turn.instances.entry(key).or_default();
                rows.persist(Box::new(InstanceChange::new(instance, row)));
            }
        }
        for command in run.state.apply(event, turn.now()) {
            match command {
                Command::Persist(change) => {
                    if change.row.state == TaskState::Success {
                        succeeded.push(change.instance);
                    }
                    if change.row.state.is_finished() && self.waits.is_awaited(&run.row.dag_id) {
                        turn.ended.insert(key);
                    }
                    let node = run.version.dag.node(change.instance.node);
                    if change.row.state == TaskState::UpForReschedule {
                        self.admission.defer(slots, change.instance, &node.pool, node.pool_slots);
                    } else {
                        self.admission.undefer(slots, change.instance);
                    }
                    if change.row.state != TaskState::UpForReschedule && self.waits.remove((key, change.instance)) {
                        turn.waits.insert(run.instance_key(change.instance), None);
                    }
                    turn.tick.commit.callbacks.extend(callbacks::of_task(run, &change));
                    turn.instances.entry(key).or_default().persist(change);
                }
                Command::Delete(instance) => turn.instances.entry(key).or_default().delete(instance),
                Command::Ready(instance) => {
                    let queue = &run.version.dag.node(instance.node).queue;
                    let on_workers = self.executor.room_of(queue);
                    if let Some(room) = on_workers {
                        self.admission.set_queue(queue, room);
                    }
                    self.admission.ready(slots, instance, demand(run, slots, instance, on_workers.is_some()));
                }
                Command::Withdraw(instance) => self.admission.withdraw(slots, instance),
                Command::Release(instance) => {
                    self.running = self.running.saturating_sub(1);
                    self.admission.release(slots, instance);
                }
                Command::Kill(attempt) => {
                    let id = attempt_id(key, &run.version, &attempt);
                    turn.ran_at(&id, self.executor.host_of(&id));
                    turn.tick.kill(id);
                }
                Command::WakeAt(at) => {
                    if let Some(before) = run.wake_at.replace(at) {
                        self.timers.remove(&(before, Timer::Run(key)));
                    }
                    self.timers.insert((at, Timer::Run(key)));
                }
                Command::Run(change) => {
                    if let Some(message) = &change.message {
                        tracing::warn!(dag_id = %run.row.dag_id, run_id = %run.row.run_id, "{message}");
                    }
                    let was = std::mem::replace(&mut run.row.state, change.row.state);
                    run.row.start_date = change.row.start_date;
                    run.row.end_date = change.row.end_date;
                    run.row.queued_at = change.row.queued_at;
                    run.row.clear_number = change.row.clear_number;
                    run.row.message.clone_from(&change.message);
                    if change.row.state.is_finished() && self.waits.is_awaited(&run.row.dag_id) {
                        turn.ended.insert(key);
                    }
                    let (row, callbacks) = (&run.row, &run.version.dag.callbacks);
                    let told = callbacks::of_run(callbacks, row, change.row.state, change.message.as_deref());
                    turn.tick.commit.callbacks.extend(told);
                    turn.runs.insert(key, change);
                    moves.push((run.row.clone(), was));
                }
            }
        }
        for (row, was) in moves {
            self.moved(&row, was);
        }
        succeeded
    }
}

/// What an instance needs in order to start.
fn demand(loaded: &ActiveRun, run: engine::RunKey, instance: InstanceId, on_workers: bool) -> engine::Demand<'_> {
    let dag = &loaded.version.dag;
    let node = dag.node(instance.node);
    let per_dag = || engine::Key::Task(dag.dag_id.clone(), node.task_id.clone());
    let per_dagrun = || engine::Key::TaskInRun(run, instance.node);
    let of_dag = node.max_active_tis_per_dag.map(|limit| (per_dag(), limit));
    let of_run = node.max_active_tis_per_dagrun.map(|limit| (per_dagrun(), limit));
    // One whose key can't be told is admitted and fails.
    let named = task_key::of(loaded, instance).and_then(Result::ok);
    let named = named.map(|(key, limit)| (engine::Key::Named(key.into()), limit));
    // What it asks for; it gets no more.
    let queue = on_workers.then(|| (engine::Key::Queue(node.queue.clone()), dag.grants.memory_mib()));
    engine::Demand {
        pool: &node.pool,
        pool_slots: node.pool_slots,
        priority_weight: node.weight,
        keys: of_dag.into_iter().chain(of_run).chain(named).chain(queue).collect(),
    }
}
