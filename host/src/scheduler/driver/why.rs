//! Why an instance does not run. Airflow: the dependencies of a task instance.

use super::{ActiveRun, Driver};
use std::sync::Arc;

use crate::{
    engine::{self, InstanceId, Key, Waiting},
    model::{
        ids::{DagId, QueueName, RunId, TaskId},
        state::{RunState, TaskState},
        time::Timestamp,
    },
    scheduler::{Dependency, Fleet, PodState, RequestError, no_run, request::HeldBy, tick::Dispatch},
    store::{DagRunKey, DagRunRow},
};

impl<D: Dispatch> Driver<D> {
    /// What an instance waits for; nothing if it does not wait.
    pub(super) async fn why(
        &self,
        dag_id: &DagId,
        run_id: &RunId,
        task_id: &TaskId,
        map_index: i32,
        now: Timestamp,
    ) -> Result<Vec<Dependency>, RequestError> {
        let row = self.store.dag_run_get(dag_id, run_id).await?.ok_or_else(|| no_run(dag_id, run_id))?;
        let mut waits = Vec::new();
        let is_paused = self.dags.get(dag_id).is_some_and(|entry| entry.row.is_paused);
        if is_paused && !row.state.is_finished() {
            waits.push(Dependency::new("Dag Not Paused", format!("dag `{dag_id}` is paused")));
        }
        let run = self.runs.get(&row.key);
        if run.map_or(row.state, |run| run.row.state) == RunState::Queued {
            let limit = self.dags.get(dag_id).map_or(0, |entry| entry.row.spec.max_active_runs);
            waits.push(Dependency::new(
                "Dagrun Running",
                if row.run_after > now {
                    format!("the run does not start before {}", row.run_after)
                } else if is_paused {
                    "the run is queued".to_owned()
                } else if let Some(held) = self.why_key(&row) {
                    held
                } else {
                    format!("the run is queued, and {limit} runs of the dag run, as many as may (max_active_runs)")
                },
            ));
            return Ok(waits);
        }
        let Some(run) = run else { return Ok(waits) };
        let Some(node) = run.version.dag.index(task_id) else { return Ok(waits) };
        let id = InstanceId { node, map_index };
        let Some(instance) = run.state.instance(id) else { return Ok(waits) };
        match instance.state {
            TaskState::None => waits.push(self.why_undecided(run, id)),
            TaskState::Scheduled => {
                let key = engine::RunKey(run.row.key.0);
                waits.extend(self.admission.waiting(key, id).and_then(|waiting| match &waiting {
                    Waiting::KeyHeld { key: Key::Named(name), limit } => Some(self.why_named(name, *limit)),
                    Waiting::KeyHeld { key: Key::Queue(queue), limit } => Some(self.why_queue(queue, *limit)),
                    Waiting::MemoryTaken { queue, .. } if self.executor.is_left(queue) => {
                        Some(self.why_queue(queue, 0))
                    }
                    other => why_ready(other, task_id),
                }));
            }
            TaskState::UpForRetry | TaskState::UpForReschedule => {
                let name =
                    if instance.state == TaskState::UpForRetry { "Not In Retry Period" } else { "Ready To Reschedule" };
                waits.extend(instance.wake_at.map(|at| Dependency::new(name, format!("it goes on at {at}"))));
            }
            // What was free when it got its turn another queue's took, or it is gone.
            TaskState::Running if self.executor.is_homeless(&run.instance_key(id)) => {
                let queue = &run.version.dag.node(id.node).queue;
                let text = format!(
                    "it had its turn, and waits for room on a worker of its queue `{queue}`: those that serve it are full with tasks of \
                     their other queues, or have left"
                );
                waits = vec![Dependency::new("Queue", text)];
            }
            TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed => waits.clear(),
        }
        Ok(waits)
    }

    /// Who runs with the key of a queued run, if as many do as may.
    fn why_key(&self, row: &DagRunRow) -> Option<String> {
        let keys = self.dags.get(&row.dag_id)?.keys.as_ref().filter(|keys| !keys.has_room(row))?;
        let (key, limit, holders) = keys.held(row)?;
        let names: Vec<_> = holders
            .iter()
            .take(5)
            .filter_map(|holder| Some(format!("`{}`", self.runs.get(holder)?.row.run_id)))
            .collect();
        let more = if holders.len() > names.len() { ", ..." } else { "" };
        Some(format!(
            "the run is queued: {limit} run with the key `{key}`, as many as may (concurrency_limit): {}{more}",
            names.join(", ")
        ))
    }

    /// Who holds a key that an instance waits for: tasks of any dag.
    fn why_named(&self, name: &Arc<str>, limit: u32) -> Dependency {
        let holders = self.admission.holders(&Key::Named(Arc::clone(name)));
        let tasks = holders.iter().take(5).filter_map(|holder| {
            let run = self.runs.get(&DagRunKey(holder.run.0))?;
            let task_id = run.version.dag.node(holder.instance.node).task_id.clone();
            Some((run.row.dag_id.clone(), run.row.run_id.clone(), task_id))
        });
        let tasks: Vec<_> = tasks.collect();
        let has_more = holders.len() > tasks.len();
        let reason = format!("it waits for the key `{name}`, which as many as may (concurrency_limit {limit}) hold");
        Dependency::held("Task Concurrency", reason, HeldBy { tasks, has_more })
    }

    fn why_queue(&self, queue: &QueueName, slots: u32) -> Dependency {
        why_worker(queue, slots, self.executor.fleet_of(queue).as_ref(), self.executor.is_left(queue))
    }

    fn why_undecided(&self, run: &ActiveRun, id: InstanceId) -> Dependency {
        let dag = &run.version.dag;
        let pending: Vec<_> = dag.node(id.node).upstream.iter().filter(|node| !run.state.is_done(**node)).collect();
        if pending.is_empty() && run.state.held().contains(&id.node) {
            let prior = self.prior_of(run.row.key);
            let tasks: Vec<_> = dag
                .past_of(id.node)
                .filter(|task| prior.is_none_or(|prior| !prior.state.is_past(task)))
                .map(|task| format!("`{task}`"))
                .collect();
            let before = prior.map_or_else(String::new, |prior| format!(" `{}`", prior.row.run_id));
            let text = format!(
                "in the run before{before}, {} did not succeed and was not skipped (depends_on_past)",
                tasks.join(", ")
            );
            return Dependency::new("Previous Dagrun State", text);
        }
        let names: Vec<_> = pending.iter().take(10).map(|node| format!("`{}`", dag.node(**node).task_id)).collect();
        let more = if pending.len() > names.len() { ", ..." } else { "" };
        Dependency::new("Trigger Rule", format!("not finished upstream: {}{more}", names.join(", ")))
    }
}

/// Why no worker of a queue, which have so many slots and may all be about to leave, takes an instance.
fn why_worker(queue: &QueueName, slots: u32, fleet: Option<&Fleet>, is_left: bool) -> Dependency {
    let text = match fleet {
        Some(fleet) => why_fleet(fleet, slots),
        None if is_left => format!(
            "all workers of its queue `{queue}` leave, and take no more tasks; start another by `airlock serve --worker --workers-queues {queue}`"
        ),
        None if slots == 0 => {
            format!(
                "no worker serves its queue `{queue}`; start one by `airlock serve --worker --workers-queues {queue}`"
            )
        }
        None if slots == 1 => format!("one task runs on the workers of its queue `{queue}`, which have one slot"),
        None => format!("{slots} tasks run on the workers of its queue `{queue}`, as many as they have slots"),
    };
    Dependency::new("Queue", text)
}

/// Why no pod of the fleet takes an instance.
fn why_fleet(fleet: &Fleet, slots: u32) -> String {
    let Fleet { name, max, pods, .. } = fleet;
    let there = pods.iter().filter(|pod| pod.state != PodState::Ended);
    let starting = there.clone().filter(|pod| pod.state == PodState::Starting);
    let stuck = starting.clone().find_map(|pod| Some(format!("pod `{}` {}", pod.name, pod.trouble.as_ref()?)));
    if let Some(trouble) = stuck.or_else(|| fleet.trouble.clone()) {
        return format!("it waits for a pod of the fleet `{name}`: {trouble}");
    }
    let (there, starting) = (there.count(), starting.count());
    if starting > 0 {
        return format!("it waits for a pod of the fleet `{name}`, of which {starting} are starting");
    }
    if there >= *max as usize {
        return format!(
            "the {there} pods of the fleet `{name}`, as many as may be (max), run {slots} tasks, as many as they have slots"
        );
    }
    format!("it waits for a pod of the fleet `{name}`, which is about to be created")
}

/// None if it only waits for the loop to come round.
fn why_ready(waiting: &Waiting, task_id: &TaskId) -> Option<Dependency> {
    let (name, reason) = match waiting {
        // Said before.
        Waiting::DagPaused => return None,
        Waiting::RunFull { max_active_tasks } => (
            "Task Instance Slots Available",
            format!("{max_active_tasks} tasks of the run are active, as many as may (max_active_tasks)"),
        ),
        Waiting::DagMemoryTaken { wanted_mib, cap_mib } if wanted_mib > cap_mib => (
            "Dag Memory",
            format!(
                "it takes {wanted_mib} MiB, and all attempts of its dag may have {cap_mib} together (limit `memory_mib`): it waits until an admin \
                 allows more (`airlock limits set`)"
            ),
        ),
        Waiting::DagMemoryTaken { wanted_mib, cap_mib } => (
            "Dag Memory",
            format!(
                "it takes {wanted_mib} MiB, and of the {cap_mib} that all attempts of its dag may have together (limit `memory_mib`) fewer are free"
            ),
        ),
        Waiting::KeyHeld { key: Key::Task(..), limit } => (
            "Task Concurrency",
            format!("{limit} instances of `{task_id}` are active in all runs, as many as may (max_active_tis_per_dag)"),
        ),
        Waiting::KeyHeld { key: Key::TaskInRun(..), limit } => (
            "Task Concurrency",
            format!(
                "{limit} instances of `{task_id}` are active in the run, as many as may (max_active_tis_per_dagrun)"
            ),
        ),
        Waiting::KeyHeld { key: Key::Named(name), limit } => {
            ("Task Concurrency", format!("{limit} instances hold the key `{name}`, as many as may (concurrency_limit)"))
        }
        Waiting::KeyHeld { key: Key::Queue(queue), limit } => return Some(why_worker(queue, *limit, None, false)),
        Waiting::MemoryTaken { queue, wanted_mib, room } if u64::from(*wanted_mib) > room.largest_mib => (
            "Queue",
            format!(
                "it takes {wanted_mib} MiB, and the largest worker of its queue `{queue}` has {} for its attempts (workers.memory_mib); start a \
                 larger one",
                room.largest_mib
            ),
        ),
        Waiting::MemoryTaken { queue, wanted_mib, room } => (
            "Queue",
            format!(
                "it takes {wanted_mib} MiB, and of the {} that the workers of its queue `{queue}` have for their attempts fewer are free",
                room.memory_mib
            ),
        ),
        Waiting::PoolMissing => ("Pool Slots Available", "its pool does not exist; make it, and it goes on".to_owned()),
        Waiting::PoolFull { free, wanted } => {
            ("Pool Slots Available", format!("it takes {wanted} slots of its pool, of which {free} are free"))
        }
        Waiting::ParallelismFull { parallelism } => {
            ("Parallelism", format!("{parallelism} tasks run on this server, as many as may"))
        }
        Waiting::Turn => ("Priority", "others go first".to_owned()),
    };
    Some(Dependency::new(name, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dag_access::DagSet;

    #[test]
    fn a_task_is_told_whether_its_workers_are_full_leave_or_are_not_there() {
        let queue = QueueName::new("gpu").unwrap();
        for (slots, is_left, told) in [
            (0, false, "no worker serves its queue `gpu`"),
            (1, false, "one task runs on the workers of its queue `gpu`, which have one slot"),
            (2, false, "2 tasks run on the workers of its queue `gpu`"),
            (0, true, "all workers of its queue `gpu` leave"),
            (2, true, "all workers of its queue `gpu` leave"),
        ] {
            let reason = why_worker(&queue, slots, None, is_left).reason(&DagSet::all());
            assert!(reason.starts_with(told), "{slots} {is_left}: {reason}");
        }
    }
}
