//! Mapped tasks: how many instances they have, and when that is known.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, RunState, Turn};
use crate::{
    engine::{Command, InstanceChange, InstanceId},
    model::{dag::NodeIndex, expand::MAX_MAP_LENGTH, state::TaskState, trigger_rule::Decision},
};

/// What is known of a list that a task is expanded over, or of all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// A task that makes one is not finished.
    Unknown,
    /// There will be none: its task failed.
    Failed,
    /// There will be none: its task was skipped.
    Skipped,
    /// There is none: a person said that its task succeeded. What is expanded already stays so.
    Lost,
    Known(u32),
    /// Several lists multiply to more instances than may be.
    TooMany(u64),
}

/// Stands where the length of a list would: the instance succeeded, and has no result.
const NO_RESULT: u32 = u32::MAX;

/// Whether an element of a list has a result; `length` is what is kept of it, and nothing where its state tells.
fn has_result(state: TaskState, length: Option<u32>) -> bool {
    length.map_or(state == TaskState::Success, |length| length != NO_RESULT)
}

/// Whether an element has a result and is not gone.
fn is_counted(state: TaskState, length: Option<u32>) -> bool {
    state.is_finished() && state != TaskState::Removed && has_result(state, length)
}

impl RunState {
    /// Whether the result of `id` is one element of a list that others are expanded over.
    pub(super) fn is_element(&self, id: InstanceId) -> bool {
        id.map_index >= 0 && self.dag.expands.contains_key(&id.node)
    }

    /// Keeps what is known of the result of `id` right while it goes from one state to another, and answers whether it
    /// has none any more. The result of an element stays whatever a person makes of it, and goes when it is to be run
    /// again; how long a list is counts for what its task made of it by itself.
    pub(super) fn note_result(&mut self, id: InstanceId, before: TaskState, next: TaskState) -> bool {
        if !self.is_element(id) {
            if next != TaskState::Success {
                self.lengths.remove(&id);
            }
            return false;
        }
        let length = self.lengths.remove(&id);
        let (was_counted, has_result) = (is_counted(before, length), has_result(before, length));
        let length = match (next.is_finished(), has_result) {
            (true, true) => length.or(Some(1)),
            (true, false) => (next == TaskState::Success).then_some(NO_RESULT),
            (false, _) => None,
        };
        self.lengths.extend(length.map(|length| (id, length)));
        let count = self.results.entry(id.node).or_default();
        *count = *count + u32::from(is_counted(next, length)) - u32::from(was_counted);
        has_result && !next.is_finished()
    }

    /// Counts the results of elements, of a run that is restored.
    pub(super) fn count_results(&mut self) {
        let mut results: BTreeMap<NodeIndex, u32> = BTreeMap::new();
        for (id, instance) in self.table.iter() {
            if self.is_element(id) && is_counted(instance.state, self.lengths.get(&id).copied()) {
                *results.entry(id.node).or_default() += 1;
            }
        }
        self.results = results;
    }

    /// The list of `source` is known, or will never be: what is expanded over it follows, whatever its trigger rule.
    pub(super) fn check_source(&mut self, source: NodeIndex, turn: &mut Turn) {
        let tasks = self.dag.expands.get(&source).cloned().unwrap_or_default();
        for node in tasks {
            match self.length_for(node).unwrap_or(Length::Unknown) {
                Length::Unknown => {}
                Length::Failed | Length::Skipped | Length::Lost => {
                    for id in self.table.ids_of(node) {
                        self.check_instance(id, turn);
                    }
                }
                Length::TooMany(length) => {
                    let message = too_many(length);
                    for id in self.table.ids_of(node) {
                        if let Some(instance) = self.table.get(id).filter(|instance| instance.state == TaskState::None)
                        {
                            self.put(id, instance.ended(TaskState::Failed, turn.now), Some(&message), turn);
                        }
                    }
                }
                Length::Known(length) => {
                    let is_expanded = self.table.is_expanded(node);
                    let is_undecided =
                        self.table.get(InstanceId::plain(node)).is_some_and(|it| it.state == TaskState::None);
                    // A mapped group expands as one; a mapped task when its own rule holds.
                    let is_group = self.dag.node(node).mapped_group.is_some();
                    if is_expanded || (is_group && is_undecided && length > 0) {
                        self.resize(node, length, turn);
                    }
                    turn.checks.push_back(Check::Node(node));
                }
            }
        }
    }

    /// What becomes of `id`, were it in state none: its trigger rule decides, unless the list that it is expanded over
    /// will never be. Airflow: `MappedTaskUpstreamDep`.
    pub(super) fn decide(&self, id: InstanceId, length: Option<Length>) -> Decision {
        let decision = self.table.decide(&self.dag, id);
        match length {
            Some(Length::Failed) => Decision::UpstreamFailed,
            Some(Length::Lost) if id.map_index < 0 => Decision::UpstreamFailed,
            // A list that was skipped is no excuse for what failed beside it.
            Some(Length::Skipped) if decision != Decision::UpstreamFailed => Decision::Skipped,
            _ => decision,
        }
    }

    /// Gives a mapped task `length` instances: new ones are made, those that were removed come back, those beyond it
    /// are removed.
    pub(super) fn resize(&mut self, node: NodeIndex, length: u32, turn: &mut Turn) {
        if !self.table.is_expanded(node) {
            turn.commands.push(Command::Delete(InstanceId::plain(node)));
        }
        let made = self.table.grow(&self.dag, node, length);
        for id in made {
            let row = self.table.get(id).map(|instance| self.snapshot(id, instance));
            turn.commands.extend(row.map(|row| {
                let change = InstanceChange {
                    instance: id,
                    row,
                    message: None,
                    is_new: true,
                    archive: false,
                    drop_results: false,
                    ended: None,
                };
                Command::Persist(Box::new(change))
            }));
        }
        for id in self.table.ids_of(node) {
            let (Some(instance), Ok(index)) = (self.table.get(id), u32::try_from(id.map_index)) else { continue };
            match (instance.state == TaskState::Removed, index < length) {
                (true, true) => self.put(id, instance.cleared(self.retries(id)), None, turn),
                (false, false) => {
                    self.abandon(id, instance, turn);
                    self.put(id, instance.ended(TaskState::Removed, turn.now), None, turn);
                }
                (true, false) | (false, true) => {}
            }
        }
        self.reconsider(&BTreeSet::from([node]), turn);
        turn.checks.push_back(Check::Node(node));
        turn.checks.extend(self.dag.node(node).downstream.iter().copied().map(Check::Node));
    }

    /// How many instances `node` is to have; none if it is not mapped.
    pub(super) fn length_for(&self, node: NodeIndex) -> Option<Length> {
        let expand = self.dag.expansion(self.dag.node(node))?;
        for missing in [Length::Unknown, Length::Failed, Length::Skipped, Length::Lost] {
            if expand.sources().any(|source| self.length_of(source) == missing) {
                return Some(missing);
            }
        }
        let length = expand.length(|source| match self.length_of(source) {
            Length::Known(length) => Some(length),
            _ => None,
        });
        let fits = length.and_then(|length| u32::try_from(length).ok()).filter(|length| *length <= MAX_MAP_LENGTH);
        Some(fits.map_or(Length::TooMany(length.unwrap_or(u64::MAX)), Length::Known))
    }

    fn length_of(&self, source: NodeIndex) -> Length {
        if self.table.is_pending(source) {
            return Length::Unknown;
        }
        if self.table.is_expanded(source) {
            // What succeeded without a result (a person said so, or it returned nothing) is no element: the list that
            // tasks are given is made of results.
            return Length::Known(self.results.get(&source).copied().unwrap_or(0));
        }
        let id = InstanceId::plain(source);
        match self.table.get(id).map(|instance| instance.state) {
            Some(TaskState::Success) => {
                self.lengths.get(&id).map_or(Length::Lost, |length| Length::Known((*length).min(MAX_MAP_LENGTH)))
            }
            Some(TaskState::Skipped | TaskState::Removed) => Length::Skipped,
            _ => Length::Failed,
        }
    }
}

/// Why a mapped task can't be expanded.
pub(super) fn too_many(length: u64) -> String {
    format!("the lists that it is expanded over multiply to {length} instances; at most {MAX_MAP_LENGTH} are allowed")
}
