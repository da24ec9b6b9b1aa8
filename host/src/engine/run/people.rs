//! What people do to a run: mark its instances or all of it, clear.

use std::collections::BTreeSet;

use super::{
    super::{
        Command, InstanceId, RunSnapshot, Verdict,
        table::{Instance, lookers},
    },
    Check, RunState, Turn, by_branch,
};
use crate::model::{
    dag::{NodeIndex, Role},
    state::{RunState as State, TaskState},
    trigger_rule::Decision,
};

impl RunState {
    pub(super) fn mark(&mut self, instances: &[InstanceId], state: TaskState, message: Option<&str>, turn: &mut Turn) {
        if !matches!(state, TaskState::Success | TaskState::Failed | TaskState::Skipped) {
            return;
        }
        let mut marked = BTreeSet::new();
        for id in self.named(instances.iter().copied()) {
            if let Some(instance) = self.table.get(id).filter(|instance| instance.state != state) {
                self.abandon(id, instance, turn);
                self.put(id, instance.marked(state, turn.now), message, turn);
                marked.insert(id);
            }
        }
        if marked.is_empty() {
            return;
        }
        // What failed for want of these may now succeed, and what failed around these and that is made again. The run
        // goes on for it, or stays as it ended.
        let tasks: BTreeSet<_> = marked.iter().map(|id| id.node).collect();
        self.reconsider(&tasks, turn);
        let below = self.dag.descendants(tasks.iter().copied());
        let is_work = |node: &NodeIndex| self.dag.node(*node).role == Role::Work;
        let around = self.dag.scope_of(&below.union(&tasks).copied().filter(is_work).collect());
        let stuck: Vec<_> = around
            .difference(&tasks)
            .chain(&below)
            .flat_map(|node| self.table.ids_of(*node))
            .filter(|id| {
                let state = self.table.get(*id).map(|instance| instance.state);
                !marked.contains(id) && matches!(state, Some(TaskState::Failed | TaskState::UpstreamFailed))
            })
            .collect();
        self.clear(stuck.into_iter(), turn);
    }

    /// Airflow: `_set_dag_run_terminal_state`.
    pub(super) fn mark_run(&mut self, verdict: Verdict, turn: &mut Turn) {
        let is_waiting = self.row.state == State::Queued;
        let unfinished: Vec<_> = self.table.iter().filter(|(_, instance)| !instance.state.is_finished()).collect();
        for (id, instance) in unfinished {
            if self.is_teardown(id.node) && !is_waiting {
                continue;
            }
            let state = match (instance.state, verdict) {
                (TaskState::Running | TaskState::UpForReschedule, Verdict::Success) => TaskState::Success,
                (TaskState::Running | TaskState::UpForReschedule, Verdict::Failed) => TaskState::Failed,
                _ => TaskState::Skipped,
            };
            self.abandon(id, instance, turn);
            let message = format!("the run was marked {}", State::from(verdict));
            self.put(id, instance.marked(state, turn.now), Some(&message), turn);
        }
        if self.row.state == State::Running {
            self.row.verdict = Some(verdict);
            turn.run(&self.row, None);
        } else if self.row.state != State::from(verdict) {
            self.end(State::from(verdict), None, turn);
        }
    }

    pub(super) fn requeue(&mut self, turn: &mut Turn) {
        let is_failed = |state| matches!(state, TaskState::Failed | TaskState::UpstreamFailed);
        let all = self.table.iter();
        let failed: Vec<_> = all.filter(|(_, instance)| is_failed(instance.state)).map(|(id, _)| id).collect();
        let is_cleared = self.clear(failed.into_iter(), turn);
        // How it ended is decided again, where nothing is left to do.
        if !is_cleared && self.row.state.is_finished() {
            self.wait_again(turn);
        }
    }

    /// Whether anything was cleared.
    pub(super) fn clear(&mut self, instances: impl Iterator<Item = InstanceId>, turn: &mut Turn) -> bool {
        let ids = self.named(instances);
        let mut cleared = Vec::new();
        for id in ids {
            let Some(instance) = self.table.get(id) else { continue };
            match instance.state {
                // A run that is over goes on with what it had not at all before.
                TaskState::None if self.row.state.is_finished() => {}
                TaskState::None | TaskState::Restarting => continue,
                TaskState::Queued | TaskState::Running => {
                    let next = Instance { state: TaskState::Restarting, ..instance };
                    self.put(id, next, None, turn);
                    turn.commands.push(Command::Kill(instance.attempt(id)));
                }
                TaskState::Scheduled if instance.start_date.get().is_none() => self.unschedule(id, instance, turn),
                TaskState::Scheduled
                | TaskState::Success
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::UpstreamFailed
                | TaskState::UpForRetry
                | TaskState::UpForReschedule
                // Its list may be longer now; if it is not, it is removed again.
                | TaskState::Removed => {
                    self.abandon(id, instance, turn);
                    self.put(id, instance.cleared(self.retries(id)), None, turn);
                }
            }
            cleared.push(id);
        }
        if cleared.is_empty() {
            return false;
        }
        // With work to do again, the run ends as that does, and no more as a person said.
        if cleared.iter().any(|id| !self.is_teardown(id.node)) {
            self.row.verdict = None;
        }
        self.wait_again(turn);

        let nodes: BTreeSet<_> = cleared.iter().map(|id| id.node).collect();
        for id in cleared {
            let instance = self.table.get(id);
            if let Some(instance) = instance.filter(|instance| instance.state == TaskState::None)
                && let Some(branch) = self.branch_against(id)
            {
                self.put(id, instance.ended(TaskState::Skipped, turn.now), Some(&by_branch(&branch)), turn);
            }
        }
        self.reconsider(&nodes, turn);
        turn.checks.extend(nodes.into_iter().map(Check::Node));
        true
    }

    /// Has a run that is over wait for its turn once more.
    fn wait_again(&mut self, turn: &mut Turn) {
        self.row.clear_number += 1;
        if self.row.state.is_finished() {
            let clear_number = self.row.clear_number;
            self.row = RunSnapshot {
                state: State::Queued,
                queued_at: turn.now,
                start_date: None,
                end_date: None,
                clear_number,
                verdict: None,
            };
        }
        turn.run(&self.row, None);
    }

    /// What was to start, or to be started again, on the strength of where `nodes` stood is decided again. What has its
    /// slots goes on; what waits for an instant is decided when that has come.
    pub(super) fn reconsider(&mut self, nodes: &BTreeSet<NodeIndex>, turn: &mut Turn) {
        let below: BTreeSet<_> =
            nodes.iter().flat_map(|node| lookers(&self.dag, *node)).map(|(node, _)| node).collect();
        let below: Vec<_> = below.into_iter().flat_map(|node| self.table.ids_of(node)).collect();
        for id in below {
            let Some(instance) = self.table.get(id).filter(|instance| instance.state == TaskState::Scheduled) else {
                continue;
            };
            if self.decide(id, self.length_for(id.node)) == Decision::Run {
                continue;
            }
            if instance.start_date.get().is_some() {
                self.take_back(id, instance, turn);
            } else {
                self.unschedule(id, instance, turn);
                turn.checks.push_back(Check::Instance(id));
            }
        }
    }

    pub(super) fn is_teardown(&self, node: NodeIndex) -> bool {
        matches!(self.dag.node(node).role, Role::Teardown { .. })
    }
}
