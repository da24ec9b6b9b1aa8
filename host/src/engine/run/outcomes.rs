//! What the end of an attempt does to its instance and to what follows.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{FIRST_RESTART_PAUSE, InstanceId, MAX_RESTARTS, table::Instance},
    Check, RunState, Turn, by_branch,
};
use crate::model::{
    dag::{NodeIndex, Role},
    expand::MAX_MAP_LENGTH,
    ids::TaskId,
    state::TaskState,
};

impl RunState {
    pub(super) fn succeed(
        &mut self,
        id: InstanceId,
        list_length: Option<u32>,
        has_result: bool,
        message: Option<&str>,
        turn: &mut Turn,
    ) {
        if let Some(tasks) = self.dag.expands.get(&id.node)
            && id.map_index < 0
        {
            let task = &self.dag.node(tasks[0]).task_id;
            let wrong = match list_length {
                None => Some(format!("its result is not a list, and task `{task}` is expanded over it")),
                Some(length) if length > MAX_MAP_LENGTH => Some(format!(
                    "its result has {length} elements, and task `{task}` is expanded over it; at most {MAX_MAP_LENGTH} \
                     are allowed"
                )),
                Some(_) => None,
            };
            if let Some(wrong) = wrong {
                self.fail(id, true, None, Some(&wrong), turn);
                return;
            }
        }
        let length = if self.is_element(id) { has_result.then_some(1) } else { list_length };
        if let Some(length) = length {
            self.lengths.insert(id, length);
        }
        self.end_well(id, message, turn);
    }

    fn end_well(&mut self, id: InstanceId, message: Option<&str>, turn: &mut Turn) {
        if let Some(instance) = self.table.get(id) {
            self.put(id, instance.ended(TaskState::Success, turn.now), message, turn);
        }
    }

    pub(super) fn fail(
        &mut self,
        id: InstanceId,
        retry: bool,
        delay: Option<Duration>,
        message: Option<&str>,
        turn: &mut Turn,
    ) {
        let Some(instance) = self.table.get(id) else { return };
        let mut next = instance.ended(TaskState::Failed, turn.now);
        if retry && instance.try_number <= instance.max_tries {
            let settings = &self.dag.node(id.node).retry;
            // A clear gives the task its retries back, and with them the first wait.
            let before_clear = instance.max_tries.saturating_sub(settings.retries);
            let failed = instance.try_number.saturating_sub(before_clear).max(1);
            let wait = settings.wait(failed, self.jitter(id, instance.try_number), delay);
            next.state = TaskState::UpForRetry;
            next.wake_at = turn.now.after(wait).into();
        }
        self.put(id, next, message, turn);
        if next.state == TaskState::Failed && self.dag.fail_fast {
            self.fail_the_others(id.node, turn);
        }
    }

    /// Ends what is not a teardown: attempts in flight fail, the rest is skipped. Airflow: `_stop_remaining_tasks`.
    fn fail_the_others(&mut self, failed: NodeIndex, turn: &mut Turn) {
        let message = format!("task `{}` failed, and the dag is fail_fast", self.dag.node(failed).task_id);
        let unfinished: Vec<_> = self.table.iter().filter(|(_, instance)| !instance.state.is_finished()).collect();
        for (id, instance) in unfinished {
            if matches!(self.dag.node(id.node).role, Role::Teardown { .. }) {
                continue;
            }
            let state = if instance.state.is_active() { TaskState::Failed } else { TaskState::Skipped };
            self.abandon(id, instance, turn);
            self.put(id, instance.ended(state, turn.now), Some(&message), turn);
        }
    }

    /// Starts a try again that was lost, and keeps why. The first time at once; whatever it is that ends its runners has longer each time
    /// after that.
    pub(super) fn lose(&mut self, id: InstanceId, instance: Instance, why: Option<&str>, turn: &mut Turn) {
        let Some(doublings) = instance.restarts.checked_sub(1) else { return self.restart(id, instance, why, turn) };
        let wake_at = turn.now.after(FIRST_RESTART_PAUSE * 2_u32.saturating_pow(doublings.min(MAX_RESTARTS))).into();
        let restarts = instance.restarts.saturating_add(1);
        self.put(id, Instance { state: TaskState::UpForReschedule, restarts, wake_at, ..instance }, why, turn);
    }

    /// Starts a try again at once, and keeps why.
    pub(super) fn restart(&mut self, id: InstanceId, instance: Instance, why: Option<&str>, turn: &mut Turn) {
        let restarts = instance.restarts.saturating_add(1);
        let next = Instance { state: TaskState::Scheduled, restarts, scheduled_at: turn.now.into(), ..instance };
        self.put(id, next, why, turn);
        self.announce(id, turn);
    }

    pub(super) fn branch(&mut self, id: InstanceId, tasks: &[TaskId], turn: &mut Turn) {
        let mut chosen = BTreeSet::new();
        for task in tasks {
            if let Some(node) = self.dag.index(task) {
                chosen.insert(node);
            } else if let Some(roots) = self.dag.group_roots(task) {
                chosen.extend(roots);
            } else {
                let text = format!("it followed `{task}`, which is neither a task nor a group of this dag");
                self.fail(id, true, None, Some(&text), turn);
                return;
            }
        }
        let children = self.dag.node(id.node).downstream.clone();
        let followed = self.followed_of(chosen, &children);
        let skipped = children.into_iter().filter(|child| followed.binary_search(child).is_err()).collect();
        self.follow(id, followed, skipped, turn);
    }

    /// Of `children`: those that are chosen or downstream of what is.
    fn followed_of(&self, chosen: BTreeSet<NodeIndex>, children: &[NodeIndex]) -> Vec<NodeIndex> {
        // Nodes stand in a topological order: nothing behind the last child leads to a child.
        let last = children.last().copied().unwrap_or(0);
        let mut reached = chosen;
        let mut stack: Vec<_> = reached.iter().copied().collect();
        while let Some(node) = stack.pop() {
            for next in &self.dag.node(node).downstream {
                if *next <= last && reached.insert(*next) {
                    stack.push(*next);
                }
            }
        }
        children.iter().copied().filter(|child| reached.contains(child)).collect()
    }

    pub(super) fn short_circuit(&mut self, id: InstanceId, ignore_downstream_trigger_rules: bool, turn: &mut Turn) {
        let is_teardown = |node: &NodeIndex| matches!(self.dag.node(*node).role, Role::Teardown { .. });
        let children = &self.dag.node(id.node).downstream;
        let followed = children.iter().copied().filter(is_teardown).collect();
        let skipped = if ignore_downstream_trigger_rules {
            self.dag.descendants([id.node]).into_iter().filter(|node| !is_teardown(node)).collect()
        } else {
            children.iter().copied().filter(|node| !is_teardown(node)).collect()
        };
        self.follow(id, followed, skipped, turn);
    }

    /// Ends `id` well and skips what has not begun of `skipped`. A mapped branch decides for its own index only.
    ///
    /// What was `upstream_failed` before is skipped, too, as Airflow has it: how a run ends does not depend on which of
    /// a branch and another upstream task that fails was quicker.
    fn follow(&mut self, id: InstanceId, followed: Vec<NodeIndex>, skipped: Vec<NodeIndex>, turn: &mut Turn) {
        self.followed.insert(id, followed);
        self.end_well(id, None, turn);
        let message = by_branch(&self.dag.node(id.node).task_id);
        let mut undone = BTreeSet::new();
        for node in skipped {
            for child in self.table.ids_of(node).filter(|child| id.map_index < 0 || child.map_index == id.map_index) {
                let Some(instance) = self.table.get(child) else { continue };
                match instance.state {
                    TaskState::None | TaskState::Scheduled | TaskState::UpForRetry | TaskState::UpForReschedule => {
                        self.abandon(child, instance, turn);
                    }
                    TaskState::UpstreamFailed => drop(undone.insert(node)),
                    _ => continue,
                }
                let mut next = instance.ended(TaskState::Skipped, turn.now);
                if instance.state == TaskState::Scheduled && instance.start_date.get().is_none() {
                    next.try_number = next.try_number.saturating_sub(1);
                }
                self.put(child, next, Some(&message), turn);
            }
        }
        self.decide_again_below(undone, turn);
    }

    /// What is `upstream_failed` downstream of `nodes` may be so because of them, which are not any more.
    fn decide_again_below(&mut self, nodes: BTreeSet<NodeIndex>, turn: &mut Turn) {
        for node in self.dag.descendants(nodes) {
            for id in self.table.ids_of(node) {
                if let Some(instance) = self.table.get(id).filter(|it| it.state == TaskState::UpstreamFailed) {
                    self.put(id, instance.cleared(self.retries(id)), None, turn);
                    turn.checks.push_back(Check::Instance(id));
                }
            }
        }
    }

    /// The branch directly upstream that does not follow `id`, if there is one.
    pub(super) fn branch_against(&self, id: InstanceId) -> Option<TaskId> {
        if self.followed.is_empty() {
            return None;
        }
        let upstream = self.dag.node(id.node).upstream.iter().copied();
        upstream
            .filter(|node| {
                let whole = InstanceId::plain(*node);
                let same = InstanceId { node: *node, map_index: id.map_index };
                [whole, same].iter().any(|branch| {
                    self.followed.get(branch).is_some_and(|followed| followed.binary_search(&id.node).is_err())
                })
            })
            .map(|node| self.dag.node(node).task_id.clone())
            .next()
    }
}
