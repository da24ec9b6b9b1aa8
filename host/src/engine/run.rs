//! One dag_run.

mod mapping;
mod outcomes;
mod people;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use self::mapping::{Length, too_many};
use super::{
    Attempt, Command, Event, InstanceChange, InstanceId, InstanceSnapshot, MAX_RESTARTS, Outcome, RunChange,
    RunSnapshot, Verdict,
    table::{Check, Instance, Table},
};
use crate::model::{
    dag::{Dag, NodeIndex},
    ids::{RunId, TaskId},
    state::{RunState as State, TaskState},
    time::Timestamp,
    trigger_rule::Decision,
};

/// What tells a run from others; seeds the jitter of retries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdentity {
    pub run_id: RunId,
    pub logical_date: Option<Timestamp>,
}

/// One dag_run: where each of its task instances stands.
#[derive(Debug, Clone)]
pub struct RunState {
    dag: Arc<Dag>,
    row: RunSnapshot,
    table: Table,
    /// Of branches that succeeded: the tasks directly downstream that they follow.
    followed: BTreeMap<InstanceId, Vec<NodeIndex>>,
    /// Lengths of the lists that were returned.
    lengths: BTreeMap<InstanceId, u32>,
    /// Of mapped tasks that others are expanded over: how many instances have a result.
    results: BTreeMap<NodeIndex, u32>,
    /// Attempts in flight whose instance no longer waits for them: they were told to end.
    stray: BTreeMap<InstanceId, (u32, u32)>,
    /// Retries and reschedules that are due later.
    timers: BTreeSet<(Timestamp, InstanceId)>,
    /// What the driver was told last.
    told_wake_at: Option<Timestamp>,
    /// Tasks that wait for the run before.
    held: BTreeSet<NodeIndex>,
    seed: u64,
}

/// The work of one event: what it commands and what it leaves to look at.
#[derive(Debug)]
struct Turn {
    now: Timestamp,
    commands: Vec<Command>,
    checks: VecDeque<Check>,
}

impl RunState {
    /// A run that was just created: queued, every instance in state none.
    pub fn new(dag: Arc<Dag>, identity: &RunIdentity, queued_at: Timestamp) -> Self {
        let row = RunSnapshot {
            state: State::Queued,
            queued_at,
            start_date: None,
            end_date: None,
            clear_number: 0,
            verdict: None,
        };
        Self::restore(dag, identity, row, [])
    }

    /// A run as it was last persisted. If it is running, [`Event::Resume`] must be applied next.
    ///
    /// Rows of tasks that the dag does not have are ignored.
    pub fn restore(
        dag: Arc<Dag>,
        identity: &RunIdentity,
        row: RunSnapshot,
        instances: impl IntoIterator<Item = (TaskId, i32, InstanceSnapshot)>,
    ) -> Self {
        let mut rows = BTreeMap::new();
        let mut followed = BTreeMap::new();
        let mut lengths = BTreeMap::new();
        for (task_id, map_index, snapshot) in instances {
            let Some(node) = dag.index(&task_id) else { continue };
            let id = InstanceId { node, map_index };
            rows.insert(id, Instance::from(&snapshot));
            if let Some(tasks) = snapshot.followed {
                followed.insert(id, tasks.iter().filter_map(|task| dag.index(task)).collect());
            }
            if let Some(length) = snapshot.list_length {
                lengths.insert(id, length);
            }
        }
        let table = Table::new(&dag, &rows);
        let timers = table.iter().filter_map(|(id, instance)| Some((instance.wakes()?, id))).collect();
        let seed = seed(&dag, identity);
        let stray = BTreeMap::new();
        let held = BTreeSet::new();
        let results = BTreeMap::new();
        let mut run =
            Self { dag, row, table, followed, lengths, results, stray, timers, told_wake_at: None, held, seed };
        run.count_results();
        run
    }

    /// Of a run that is restored: how a person ended it, while teardowns still run.
    pub fn set_verdict(&mut self, verdict: Verdict) {
        self.row.verdict = Some(verdict);
    }

    /// Applies `event` and returns what must now happen, in order.
    ///
    /// An event of an attempt that is not the current one changes nothing.
    pub fn apply(&mut self, event: &Event, now: Timestamp) -> Vec<Command> {
        let mut turn = Turn { now, commands: Vec::new(), checks: VecDeque::new() };
        match event {
            Event::Start => self.start(&mut turn),
            Event::Resume => self.resume(&mut turn),
            Event::Past(held) => self.hold(held, &mut turn),
            Event::Queued(id) => self.hand_on(*id, TaskState::Queued, &mut turn),
            Event::Started(id) => self.hand_on(*id, TaskState::Running, &mut turn),
            Event::Finished { attempt, outcome, message } => {
                self.finish(*attempt, outcome, message.as_deref(), &mut turn);
            }
            Event::Timer => self.wake(&mut turn),
            Event::Wake(id) => self.wake_instance(*id, &mut turn),
            Event::Mark { instances, state, message } => self.mark(instances, *state, message.as_deref(), &mut turn),
            Event::MarkRun(verdict) => self.mark_run(*verdict, &mut turn),
            Event::Clear { instances } => {
                self.clear(instances.iter().copied(), &mut turn);
            }
            Event::Requeue => self.requeue(&mut turn),
        }
        self.settle(&mut turn);
        turn.commands
    }

    pub fn dag(&self) -> &Arc<Dag> {
        &self.dag
    }

    pub fn row(&self) -> &RunSnapshot {
        &self.row
    }

    /// The row of an instance, if there is such an instance.
    pub fn instance(&self, id: InstanceId) -> Option<InstanceSnapshot> {
        Some(self.snapshot(id, self.table.get(id)?))
    }

    /// The instances of a task, by map_index.
    pub fn instances_of(&self, node: NodeIndex) -> impl Iterator<Item = InstanceId> + use<> {
        self.table.ids_of(node)
    }

    /// All instances, in the dag's order, then by map_index.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> + '_ {
        self.table.iter().map(|(id, _)| id)
    }

    /// The attempt that is in flight, or that [`Event::Started`] would begin.
    pub fn attempt(&self, id: InstanceId) -> Option<Attempt> {
        self.table.get(id).map(|instance| instance.attempt(id))
    }

    /// What its trigger rule says of an instance, from where its upstream stands now.
    pub fn decision(&self, id: InstanceId) -> Option<Decision> {
        self.table.get(id).map(|_| self.table.decide(&self.dag, id))
    }

    /// When [`Event::Timer`] is to come next: a retry, a reschedule or the run's timeout is due.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.row.state != State::Running {
            return None;
        }
        let due = self.timers.first().map(|(at, _)| *at);
        due.into_iter().chain(self.times_out_at()).min()
    }

    /// Whether an attempt is in flight. A finished run is to be kept until it is not.
    pub fn is_busy(&self) -> bool {
        !self.stray.is_empty() || self.table.active() > 0
    }

    /// What the state takes of memory beyond the dag.
    #[cfg(test)]
    pub fn bytes_per_instance(&self) -> usize {
        self.table.bytes() / self.table.iter().count()
    }

    /// Whether `task_id` is done as far as the next run is concerned: all its instances succeeded, were skipped or are
    /// no longer in the dag, or there is no such task.
    pub fn is_past(&self, task_id: &TaskId) -> bool {
        self.dag.index(task_id).is_none_or(|node| self.table.is_past(node))
    }

    /// Whether all instances of a task are finished.
    pub fn is_done(&self, node: NodeIndex) -> bool {
        !self.table.is_pending(node)
    }

    /// The tasks that wait for the run before.
    pub fn held(&self) -> &BTreeSet<NodeIndex> {
        &self.held
    }

    // ---- events ---------------------------------------------------------------------------------

    fn start(&mut self, turn: &mut Turn) {
        if self.row.state != State::Queued {
            return;
        }
        self.row.state = State::Running;
        self.row.start_date = Some(turn.now);
        self.row.end_date = None;
        turn.run(&self.row, None);
        self.check_all(turn);
    }

    fn resume(&mut self, turn: &mut Turn) {
        if self.row.state != State::Running {
            return;
        }
        let unfinished: Vec<_> = self.table.iter().filter(|(_, instance)| !instance.state.is_finished()).collect();
        for (id, instance) in unfinished {
            match instance.state {
                TaskState::Scheduled => turn.commands.push(Command::Ready(id)),
                TaskState::Queued | TaskState::Running => self.restart(id, instance, None, turn),
                TaskState::Restarting => self.put(id, instance.cleared(self.retries(id)), None, turn),
                TaskState::None
                | TaskState::UpForRetry
                | TaskState::UpForReschedule
                | TaskState::Success
                | TaskState::Failed
                | TaskState::Skipped
                | TaskState::UpstreamFailed
                | TaskState::Removed => {}
            }
        }
        self.check_all(turn);
    }

    fn hold(&mut self, held: &BTreeSet<NodeIndex>, turn: &mut Turn) {
        let before = std::mem::replace(&mut self.held, held.clone());
        turn.checks.extend(before.difference(held).copied().map(Check::Node));
    }

    fn hand_on(&mut self, id: InstanceId, state: TaskState, turn: &mut Turn) {
        let Some(mut next) = self.table.get(id) else { return };
        let from = next.state;
        let is_next = from == TaskState::Scheduled || (from == TaskState::Queued && state == TaskState::Running);
        if !is_next || self.stray.contains_key(&id) {
            return;
        }
        if from == TaskState::Scheduled {
            next.queued_at = turn.now.into();
        }
        if state == TaskState::Running && next.start_date.get().is_none() {
            next.start_date = turn.now.into();
        }
        next.state = state;
        self.put(id, next, None, turn);
    }

    fn finish(&mut self, attempt: Attempt, outcome: &Outcome, message: Option<&str>, turn: &mut Turn) {
        let id = attempt.instance;
        let Some(instance) = self.table.get(id) else { return };
        if self.stray.get(&id) == Some(&(attempt.try_number, attempt.restart)) {
            self.stray.remove(&id);
            turn.commands.push(Command::Release(id));
            if instance.state == TaskState::Scheduled {
                turn.commands.push(Command::Ready(id));
            }
            return;
        }
        if !instance.state.is_active() || self.stray.contains_key(&id) || instance.attempt(id) != attempt {
            return;
        }
        turn.commands.push(Command::Release(id));
        if instance.state == TaskState::Restarting {
            self.put(id, instance.cleared(self.retries(id)), None, turn);
            turn.checks.push_back(Check::Instance(id));
            return;
        }
        match outcome {
            Outcome::Success { list_length, has_result } => {
                self.succeed(id, *list_length, *has_result, message, turn);
            }
            Outcome::Skipped => self.put(id, instance.ended(TaskState::Skipped, turn.now), message, turn),
            Outcome::Branch(tasks) => self.branch(id, tasks, turn),
            Outcome::ShortCircuit { ignore_downstream_trigger_rules } => {
                self.short_circuit(id, *ignore_downstream_trigger_rules, turn);
            }
            Outcome::Later(at) => {
                let next = Instance { state: TaskState::UpForReschedule, wake_at: (*at).into(), ..instance };
                self.put(id, next, message, turn);
            }
            Outcome::Failed { retry, delay } => self.fail(id, *retry, *delay, message, turn),
            Outcome::Lost | Outcome::Killed if instance.restarts >= MAX_RESTARTS => {
                let last = message.map_or_else(String::new, |message| format!("; the last time: {message}"));
                let text = format!("its runner was lost {} times{last}", instance.restarts + 1);
                self.fail(id, true, None, Some(&text), turn);
            }
            Outcome::Lost | Outcome::Killed => self.lose(id, instance, message, turn),
        }
    }

    fn wake(&mut self, turn: &mut Turn) {
        self.told_wake_at = None;
        if self.row.state != State::Running {
            return;
        }
        if self.times_out_at().is_some_and(|at| at <= turn.now) {
            self.time_out(turn);
            return;
        }
        while let Some((at, id)) = self.timers.first().copied()
            && at <= turn.now
        {
            self.timers.pop_first();
            let Some(instance) = self.table.get(id) else { continue };
            self.go_on(id, instance, turn);
        }
    }

    fn wake_instance(&mut self, id: InstanceId, turn: &mut Turn) {
        let waiting = self.table.get(id).filter(|instance| instance.state == TaskState::UpForReschedule);
        if let Some(instance) = waiting.filter(|_| self.row.state == State::Running) {
            self.go_on(id, instance, turn);
        }
    }

    /// The wait for a retry or a reschedule is over. What is upstream may have been cleared or marked meanwhile: then the
    /// trigger rule decides anew, as of an instance that is cleared.
    fn go_on(&mut self, id: InstanceId, instance: Instance, turn: &mut Turn) {
        if self.decide(id, self.length_for(id.node)) != Decision::Run {
            self.take_back(id, instance, turn);
        } else if instance.state == TaskState::UpForRetry {
            self.schedule(id, instance, turn);
        } else {
            self.start_again(id, instance, turn);
        }
    }

    /// Gives up a try that has begun and waits to go on, or to be followed by the next: what is upstream decides anew.
    fn take_back(&mut self, id: InstanceId, instance: Instance, turn: &mut Turn) {
        self.abandon(id, instance, turn);
        // A try that did not fail is none of its retries.
        let max_tries = instance.max_tries.saturating_add(u32::from(instance.state != TaskState::UpForRetry));
        let next = Instance { try_number: instance.try_number, max_tries, ..Instance::default() };
        self.put(id, next, None, turn);
        turn.checks.push_back(Check::Instance(id));
    }

    /// Goes on with a try that asked to be started again.
    fn start_again(&mut self, id: InstanceId, instance: Instance, turn: &mut Turn) {
        let (scheduled_at, wake_at) = (turn.now.into(), None.into());
        let next = Instance { state: TaskState::Scheduled, scheduled_at, wake_at, ..instance };
        self.put(id, next, None, turn);
        self.announce(id, turn);
    }

    /// Decides all that can be decided, and ends the run if nothing more can happen in it.
    fn settle(&mut self, turn: &mut Turn) {
        while self.row.state == State::Running {
            let Some(check) = turn.checks.pop_front() else { break };
            match check {
                Check::Node(node) => self.check_node(node, turn),
                Check::Instance(id) => self.check_instance(id, turn),
                Check::Source(node) => self.check_source(node, turn),
            }
        }
        if self.row.state == State::Running && self.table.unfinished() == 0 {
            let state = self.row.verdict.map_or_else(|| self.outcome(), State::from);
            self.end(state, None, turn);
        } else if self.row.state == State::Running
            && self.table.waiting() == self.table.unfinished()
            && !self.is_busy()
            && !self.held.iter().any(|node| self.table.is_pending(*node))
        {
            let text = format!("{} tasks wait for each other, and nothing can start", self.table.unfinished());
            self.end(State::Failed, Some(text), turn);
        }
        let wake_at = self.wake_at();
        if wake_at != self.told_wake_at {
            self.told_wake_at = wake_at;
            turn.commands.extend(wake_at.map(Command::WakeAt));
        }
    }

    fn check_all(&mut self, turn: &mut Turn) {
        for node in (0..).take(self.dag.nodes.len()) {
            turn.checks.push_back(Check::Node(node));
        }
    }

    fn check_node(&mut self, node: NodeIndex, turn: &mut Turn) {
        if !self.table.may_decide(&self.dag, node) {
            return;
        }
        for id in self.table.ids_of(node) {
            self.check_instance(id, turn);
        }
    }

    fn check_instance(&mut self, id: InstanceId, turn: &mut Turn) {
        let Some(instance) = self.table.get(id).filter(|instance| instance.state == TaskState::None) else { return };
        let length = self.length_for(id.node);
        let is_placeholder = length.is_some() && id.map_index < 0;
        if !is_placeholder && length == Some(Length::Unknown) {
            return;
        }
        if let Some(Length::Known(length)) = length
            && u32::try_from(id.map_index).is_ok_and(|index| index >= length)
        {
            self.put(id, instance.ended(TaskState::Removed, turn.now), None, turn);
            return;
        }
        let state = match (self.decide(id, length), length.filter(|_| is_placeholder)) {
            (Decision::Wait, _) | (Decision::Run, Some(Length::Unknown)) => return,
            (Decision::Skipped, _) | (Decision::Run, Some(Length::Known(0))) => TaskState::Skipped,
            (Decision::UpstreamFailed, _) => TaskState::UpstreamFailed,
            (Decision::Removed, _) => TaskState::Removed,
            (Decision::Run, _) => {
                if let Some(branch) = self.branch_against(id) {
                    let next = instance.ended(TaskState::Skipped, turn.now);
                    self.put(id, next, Some(&by_branch(&branch)), turn);
                } else if let (true, Some(Length::Known(length))) = (is_placeholder, length) {
                    self.resize(id.node, length, turn);
                } else if let (true, Some(Length::TooMany(length))) = (is_placeholder, length) {
                    self.put(id, instance.ended(TaskState::Failed, turn.now), Some(&too_many(length)), turn);
                } else if !self.held.contains(&id.node) {
                    self.schedule(id, instance, turn);
                }
                return;
            }
        };
        self.put(id, instance.ended(state, turn.now), None, turn);
    }

    // ---- changes --------------------------------------------------------------------------------

    /// Begins the next try.
    fn schedule(&mut self, id: InstanceId, instance: Instance, turn: &mut Turn) {
        let next = Instance {
            state: TaskState::Scheduled,
            try_number: instance.try_number + 1,
            max_tries: instance.max_tries,
            restarts: 0,
            scheduled_at: turn.now.into(),
            ..Instance::default()
        };
        self.put(id, next, None, turn);
        self.announce(id, turn);
    }

    /// Takes back a try that never began.
    fn unschedule(&mut self, id: InstanceId, instance: Instance, turn: &mut Turn) {
        turn.commands.push(Command::Withdraw(id));
        let next = Instance {
            try_number: instance.try_number.saturating_sub(1),
            max_tries: instance.max_tries,
            ..Instance::default()
        };
        self.put(id, next, None, turn);
    }

    /// Says that `id` is ready, unless an attempt that was told to end is still in flight: then at its end.
    fn announce(&self, id: InstanceId, turn: &mut Turn) {
        if !self.stray.contains_key(&id) {
            turn.commands.push(Command::Ready(id));
        }
    }

    /// Lets go of what goes on for `id`, before it is put into a state by force.
    fn abandon(&mut self, id: InstanceId, instance: Instance, turn: &mut Turn) {
        if instance.state.is_active() {
            self.stray.insert(id, (instance.try_number, instance.restarts));
            if instance.state != TaskState::Restarting {
                turn.commands.push(Command::Kill(instance.attempt(id)));
            }
        } else if instance.state == TaskState::Scheduled && !self.stray.contains_key(&id) {
            turn.commands.push(Command::Withdraw(id));
        }
    }

    /// Puts `id` where `next` says, and tells everyone whom it concerns.
    fn put(&mut self, id: InstanceId, next: Instance, message: Option<&str>, turn: &mut Turn) {
        let Some(before) = self.table.get(id) else { return };
        if let Some(at) = before.wakes() {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = next.wakes() {
            self.timers.insert((at, id));
        }
        if next.state != TaskState::Success {
            self.followed.remove(&id);
        }
        let loses_result = self.note_result(id, before.state, next.state);
        self.table.set(&self.dag, id, next, &mut turn.checks);
        if next.state.is_finished() && self.dag.expands.contains_key(&id.node) && !self.table.is_pending(id.node) {
            turn.checks.push_front(Check::Source(id.node));
        }
        let change = InstanceChange {
            instance: id,
            row: self.snapshot(id, next),
            message: message.map(str::to_owned),
            is_new: false,
            archive: before.start_date.get().is_some() && next.start_date.get().is_none(),
            // What was removed may have succeeded before.
            drop_results: (loses_result || matches!(before.state, TaskState::Success | TaskState::Removed))
                && next.state == TaskState::None,
            ended: None,
        };
        turn.commands.push(Command::Persist(Box::new(change)));
    }

    fn time_out(&mut self, turn: &mut Turn) {
        let unfinished: Vec<_> = self.table.iter().filter(|(_, instance)| !instance.state.is_finished()).collect();
        let limit = self.dag.run_timeout.unwrap_or_default();
        let message = format!("the run took longer than its limit of {} s", limit.as_secs_f64());
        self.end(State::Failed, Some(message.clone()), turn);
        for (id, instance) in unfinished {
            self.abandon(id, instance, turn);
            self.put(id, instance.ended(TaskState::Skipped, turn.now), Some(&message), turn);
        }
    }

    fn end(&mut self, state: State, message: Option<String>, turn: &mut Turn) {
        self.row.state = state;
        self.row.end_date = Some(turn.now);
        self.row.verdict = None;
        turn.run(&self.row, message);
    }

    // ---- reading --------------------------------------------------------------------------------

    fn outcome(&self) -> State {
        // What follows a task that failed is skipped there: leaves alone would have the run succeed.
        let is_failed =
            |(id, instance): (InstanceId, Instance)| instance.state == TaskState::Failed && !self.is_teardown(id.node);
        let failed_fast = self.dag.fail_fast && self.table.iter().any(is_failed);
        if failed_fast || self.table.has_bad_leaf() { State::Failed } else { State::Success }
    }

    fn times_out_at(&self) -> Option<Timestamp> {
        Some(self.row.start_date?.after(self.dag.run_timeout?))
    }

    fn retries(&self, id: InstanceId) -> u32 {
        self.dag.node(id.node).retry.retries
    }

    /// The instances that are meant: -1 of an expanded task stands for all of them.
    fn named(&self, instances: impl Iterator<Item = InstanceId>) -> BTreeSet<InstanceId> {
        let mut named = BTreeSet::new();
        for id in instances.filter(|id| (id.node as usize) < self.dag.nodes.len()) {
            if id.map_index < 0 && self.table.is_expanded(id.node) {
                named.extend(self.table.ids_of(id.node));
            } else {
                named.insert(id);
            }
        }
        named
    }

    fn snapshot(&self, id: InstanceId, instance: Instance) -> InstanceSnapshot {
        let name = |nodes: &Vec<NodeIndex>| nodes.iter().map(|node| self.dag.node(*node).task_id.clone()).collect();
        InstanceSnapshot {
            state: instance.state,
            try_number: instance.try_number,
            max_tries: instance.max_tries,
            restarts: instance.restarts,
            scheduled_at: instance.scheduled_at.get(),
            queued_at: instance.queued_at.get(),
            start_date: instance.start_date.get(),
            end_date: instance.end_date.get(),
            wake_at: instance.wake_at.get(),
            followed: self.followed.get(&id).map(name),
            list_length: self.lengths.get(&id).copied(),
        }
    }

    fn jitter(&self, id: InstanceId, try_number: u32) -> u64 {
        let task = self.dag.node(id.node).task_id.as_str();
        let place = id.map_index.to_le_bytes().into_iter().chain(try_number.to_le_bytes());
        hash(self.seed, task.bytes().chain(place))
    }
}

impl Turn {
    fn run(&mut self, row: &RunSnapshot, message: Option<String>) {
        self.commands.push(Command::Run(RunChange { row: row.clone(), message }));
    }
}

impl From<Verdict> for State {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Success => Self::Success,
            Verdict::Failed => Self::Failed,
        }
    }
}

fn by_branch(task_id: &TaskId) -> String {
    format!("`{task_id}` did not follow it")
}

fn seed(dag: &Dag, identity: &RunIdentity) -> u64 {
    let run = match identity.logical_date {
        Some(date) => date.to_string(),
        None => identity.run_id.to_string(),
    };
    hash(0xcbf2_9ce4_8422_2325, dag.dag_id.as_str().bytes().chain([b'#']).chain(run.bytes()))
}

/// FNV-1a with a last mix: the same on every machine and in every version, unlike the standard library's.
fn hash(seed: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    let mixed = bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}
