//! The task instances of a run, and counts that make each decision cheap.
//!
//! An instance is one entry of one long list; those of a task lie side by side. Each task holds a tally of its direct
//! upstream instances, which a finished instance updates: O(its direct downstream tasks). Inside a mapped group, where
//! instances depend on each other index by index, each instance has a tally of its own.

use std::collections::{BTreeMap, VecDeque};

use super::{Attempt, InstanceId, InstanceSnapshot};
use crate::model::{
    dag::{Dag, NodeIndex, Role, Watched},
    expand::Expand,
    state::TaskState,
    time::Timestamp,
    trigger_rule::{Decision, Tally, Upstream},
};

/// What must be looked at again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Check {
    /// All undecided instances of a task.
    Node(NodeIndex),
    Instance(InstanceId),
    /// A task that others are expanded over, and that is finished.
    Source(NodeIndex),
}

/// An instant or none, in eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(i64);

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance {
    pub state: TaskState,
    pub restarts: u32,
    pub try_number: u32,
    pub max_tries: u32,
    pub scheduled_at: Moment,
    pub queued_at: Moment,
    pub start_date: Moment,
    pub end_date: Moment,
    pub wake_at: Moment,
}

/// The instances of a task.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// Where its instances begin in [`Table::instances`].
    first: u32,
    len: u32,
    /// Whether its instances have indexes; if not, there is one, -1.
    is_expanded: bool,
    /// Whether it decides how the run ends. Airflow: effective leaf.
    is_leaf: bool,
    /// How many of its instances are in state none.
    undecided: u32,
    /// Its own instances.
    own: Tally,
    /// All instances of its direct upstream tasks, but for those that it depends on index by index.
    direct: Tally,
    /// Where its instances' tallies begin in [`Table::by_index`].
    by_index: Option<u32>,
}

/// What one instance, or all instances of a task, look at.
#[derive(Debug, Clone, Copy, Default)]
struct Tallies {
    direct: Tally,
    setups: Tally,
    scope: Tally,
}

/// How a task looks at another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    Direct,
    Watched(Watched),
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    instances: Vec<Instance>,
    blocks: Vec<Block>,
    by_index: Vec<Tallies>,
    /// Of tasks with setups or teardown scopes: what they look at without being directly downstream of it.
    scopes: BTreeMap<NodeIndex, Tallies>,
    unfinished: u32,
    waiting: u32,
    active: u32,
    bad_leaves: u32,
}

impl Table {
    /// The table of a run whose instances stand as `rows` say; what has no row is in state none.
    pub fn new(dag: &Dag, rows: &BTreeMap<InstanceId, Instance>) -> Self {
        let mut table = Self {
            instances: Vec::with_capacity(dag.nodes.len()),
            blocks: Vec::with_capacity(dag.nodes.len()),
            by_index: Vec::new(),
            scopes: BTreeMap::new(),
            unfinished: 0,
            waiting: 0,
            active: 0,
            bad_leaves: 0,
        };
        let has_leaf = dag.nodes.iter().any(|node| is_effective_leaf(dag, &node.role, &node.downstream));
        for (index, node) in (0..).zip(&dag.nodes) {
            let last =
                rows.range(InstanceId { node: index, map_index: 0 }..=InstanceId { node: index, map_index: i32::MAX });
            let known = last.last().map_or(0, |(id, _)| id.map_index.unsigned_abs() + 1);
            let written = dag.expansion(node).and_then(Expand::fixed_length).unwrap_or(0);
            let written = u32::try_from(written).unwrap_or(u32::MAX);
            let length = known.max(written);
            let is_leaf = if has_leaf {
                is_effective_leaf(dag, &node.role, &node.downstream)
            } else {
                node.downstream.is_empty()
            };
            let block = Block {
                first: length_of(&table.instances),
                len: length.max(1),
                is_expanded: length > 0,
                is_leaf,
                undecided: 0,
                own: Tally::default(),
                direct: Tally::default(),
                by_index: None,
            };
            table.blocks.push(block);
            for id in table.ids_of(index) {
                let fresh = Instance { max_tries: node.retry.retries, ..Instance::default() };
                let instance = rows.get(&id).copied().unwrap_or(fresh);
                table.instances.push(instance);
                table.account(dag, id, instance.state, 1);
                let own = &mut table.blocks[index as usize].own;
                own.expect(1, node.role == Role::Setup);
                own.count(instance.state, node.role == Role::Setup, 1);
            }
        }
        for node in (0..).take(dag.nodes.len()) {
            table.recount(dag, node);
        }
        table
    }

    pub fn get(&self, id: InstanceId) -> Option<Instance> {
        Some(self.instances[self.slot(id)?])
    }

    pub fn ids_of(&self, node: NodeIndex) -> impl Iterator<Item = InstanceId> + use<> {
        let indexes = match self.blocks.get(node as usize) {
            Some(block) if block.is_expanded => 0..i32::try_from(block.len).unwrap_or(i32::MAX),
            Some(_) => -1..0,
            None => 0..0,
        };
        indexes.map(move |map_index| InstanceId { node, map_index })
    }

    pub fn iter(&self) -> impl Iterator<Item = (InstanceId, Instance)> + '_ {
        (0..).take(self.blocks.len()).flat_map(|node| self.ids_of(node)).filter_map(|id| Some((id, self.get(id)?)))
    }

    /// How many instances are not finished.
    pub fn unfinished(&self) -> u32 {
        self.unfinished
    }

    /// How many instances are in state none.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// How many instances have an attempt in flight.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Whether a leaf failed, for itself or for want of its upstream.
    pub fn has_bad_leaf(&self) -> bool {
        self.bad_leaves > 0
    }

    pub fn is_expanded(&self, node: NodeIndex) -> bool {
        self.blocks[node as usize].is_expanded
    }

    /// Whether an instance of `node` is not finished.
    pub fn is_pending(&self, node: NodeIndex) -> bool {
        !self.blocks[node as usize].own.is_done()
    }

    /// Whether all instances of `node` succeeded, were skipped or removed.
    pub fn is_past(&self, node: NodeIndex) -> bool {
        let own = self.blocks[node as usize].own;
        own.success + own.skipped + own.removed >= own.total
    }

    /// What becomes of `id`, were it in state none.
    pub fn decide(&self, dag: &Dag, id: InstanceId) -> Decision {
        let block = self.blocks[id.node as usize];
        let own = block.by_index.map_or_else(Tallies::default, |at| {
            self.by_index[at as usize + usize::try_from(id.map_index).unwrap_or(0)]
        });
        self.decide_with(dag, id.node, own, u32::try_from(id.map_index).ok())
    }

    fn decide_with(&self, dag: &Dag, node: NodeIndex, own: Tallies, map_index: Option<u32>) -> Decision {
        let scope = self.scopes.get(&node).copied().unwrap_or_default();
        let node_of_dag = dag.node(node);
        let upstream = Upstream {
            direct: self.blocks[node as usize].direct.plus(own.direct),
            setups: scope.setups.plus(own.setups),
            scope: scope.scope.plus(own.scope),
            is_teardown: matches!(node_of_dag.role, Role::Teardown { .. }),
            map_index,
            hold_skip: false,
        };
        node_of_dag.trigger_rule.decide(&upstream)
    }

    /// Whether it is worth while to look at each undecided instance of `node`: what they have in common may decide
    /// them. O(1).
    pub fn may_decide(&self, dag: &Dag, node: NodeIndex) -> bool {
        let block = self.blocks[node as usize];
        if block.undecided == 0 {
            return false;
        }
        if block.by_index.is_none() {
            return self.decide_with(dag, node, Tallies::default(), None) != Decision::Wait;
        }
        // What is not done of the upstream by index is looked at when it is.
        let mut open = Tallies::default();
        open.direct.expect(1, false);
        block.direct.is_done() || self.decide_with(dag, node, open, None) != Decision::Wait
    }

    /// Puts `id` where `next` says; what may be decided by it is added to `checks`.
    pub fn set(&mut self, dag: &Dag, id: InstanceId, next: Instance, checks: &mut VecDeque<Check>) {
        let Some(slot) = self.slot(id) else { return };
        let before = std::mem::replace(&mut self.instances[slot], next).state;
        if before == next.state {
            return;
        }
        self.account(dag, id, before, -1);
        self.account(dag, id, next.state, 1);
        if !before.is_finished() && !next.state.is_finished() {
            return;
        }
        let is_setup = dag.node(id.node).role == Role::Setup;
        let turn = |tally: &mut Tally| {
            tally.count(before, is_setup, -1);
            tally.count(next.state, is_setup, 1);
        };
        turn(&mut self.blocks[id.node as usize].own);
        for (node, link) in lookers(dag, id.node) {
            if is_by_index(dag, id.node, node) {
                for seen in self.seen_by(id, node) {
                    if let Some(tallies) = self.tallies_by_index(seen) {
                        turn(tallies.of(link));
                        checks.push_back(Check::Instance(seen));
                    }
                }
            } else {
                turn(self.tally(node, link));
                checks.push_back(Check::Node(node));
            }
        }
    }

    /// Gives `node` at least `length` instances, and returns those that are new.
    pub fn grow(&mut self, dag: &Dag, node: NodeIndex, length: u32) -> Vec<InstanceId> {
        let block = self.blocks[node as usize];
        let (kept, gone) = if block.is_expanded { (block.len, 0) } else { (0, 1) };
        if length <= kept {
            return Vec::new();
        }
        let is_setup = dag.node(node).role == Role::Setup;
        let old = block.first as usize..(block.first + block.len) as usize;
        let first = length_of(&self.instances);
        if gone > 0 {
            let placeholder = self.instances[block.first as usize];
            self.account(dag, InstanceId::plain(node), placeholder.state, -1);
            self.blocks[node as usize].own = Tally::default();
            let max_tries = placeholder.max_tries;
            self.instances.extend((0..length).map(|_| Instance { max_tries, ..Instance::default() }));
        } else {
            let max_tries = dag.node(node).retry.retries;
            self.instances.extend_from_within(old);
            self.instances.extend((kept..length).map(|_| Instance { max_tries, ..Instance::default() }));
        }
        let added = length - kept;
        let block = &mut self.blocks[node as usize];
        (block.first, block.len, block.is_expanded) = (first, length, true);
        block.own.expect(i32::try_from(added).unwrap_or(i32::MAX), is_setup);
        let made: Vec<_> = self.ids_of(node).skip(kept as usize).collect();
        for id in &made {
            self.account(dag, *id, TaskState::None, 1);
        }
        self.recount(dag, node);
        for (looker, _) in lookers(dag, node) {
            self.recount(dag, looker);
        }
        made
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.instances.capacity() * size_of::<Instance>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.by_index.capacity() * size_of::<Tallies>()
    }

    fn slot(&self, id: InstanceId) -> Option<usize> {
        let block = self.blocks.get(id.node as usize)?;
        let offset = match (block.is_expanded, u32::try_from(id.map_index)) {
            (true, Ok(index)) if index < block.len => index,
            (false, Err(_)) => 0,
            (true | false, _) => return None,
        };
        Some((block.first + offset) as usize)
    }

    /// Counts an instance in `state` (`sign` 1) or no longer (-1) among all of the run.
    fn account(&mut self, dag: &Dag, id: InstanceId, state: TaskState, sign: i32) {
        let block = &mut self.blocks[id.node as usize];
        let add = |field: &mut u32| *field = field.saturating_add_signed(sign);
        if !state.is_finished() {
            add(&mut self.unfinished);
        }
        if state == TaskState::None {
            add(&mut self.waiting);
            add(&mut block.undecided);
        }
        if state.is_active() {
            add(&mut self.active);
        }
        if block.is_leaf && matches!(state, TaskState::Failed | TaskState::UpstreamFailed) {
            add(&mut self.bad_leaves);
        }
        debug_assert!((id.node as usize) < dag.nodes.len());
    }

    /// Makes the tallies of `node` anew from where its upstream stands.
    fn recount(&mut self, dag: &Dag, node: NodeIndex) {
        let mut common = Tallies::default();
        let mut by_index = Vec::new();
        for (upstream, link) in looked_at(dag, node) {
            if is_by_index(dag, upstream, node) {
                by_index.push((upstream, link));
            } else {
                let tally = common.of(link);
                *tally = tally.plus(self.blocks[upstream as usize].own);
            }
        }
        self.blocks[node as usize].direct = common.direct;
        if (common.setups.total, common.scope.total) != (0, 0) {
            self.scopes.insert(node, common);
        }
        if by_index.is_empty() {
            return;
        }
        let start = length_of(&self.by_index);
        for id in self.ids_of(node) {
            let mut tallies = Tallies::default();
            for (upstream, link) in &by_index {
                let is_setup = dag.node(*upstream).role == Role::Setup;
                for seen in self.ids_of(*upstream).filter(|seen| is_seen(*seen, id)) {
                    let Some(instance) = self.get(seen) else { continue };
                    tallies.of(*link).expect(1, is_setup);
                    tallies.of(*link).count(instance.state, is_setup, 1);
                }
            }
            self.by_index.push(tallies);
        }
        self.blocks[node as usize].by_index = Some(start);
    }

    /// The instances of `node` that look at `id`, index by index.
    fn seen_by(&self, id: InstanceId, node: NodeIndex) -> Vec<InstanceId> {
        let same = InstanceId { node, map_index: id.map_index };
        if id.map_index >= 0 && self.slot(same).is_some() {
            return vec![same];
        }
        self.ids_of(node).filter(|looker| is_seen(id, *looker)).collect()
    }

    fn tallies_by_index(&mut self, id: InstanceId) -> Option<&mut Tallies> {
        let at = self.blocks[id.node as usize].by_index?;
        self.by_index.get_mut(at as usize + usize::try_from(id.map_index).unwrap_or(0))
    }

    fn tally(&mut self, node: NodeIndex, link: Link) -> &mut Tally {
        match link {
            Link::Direct => &mut self.blocks[node as usize].direct,
            Link::Watched(_) => self.scopes.entry(node).or_default().of(link),
        }
    }
}

impl Tallies {
    fn of(&mut self, link: Link) -> &mut Tally {
        match link {
            Link::Direct => &mut self.direct,
            Link::Watched(Watched::Setup) => &mut self.setups,
            Link::Watched(Watched::Work) => &mut self.scope,
        }
    }
}

impl Instance {
    /// The attempt that is in flight, or that begins next.
    pub fn attempt(&self, instance: InstanceId) -> Attempt {
        Attempt { instance, try_number: self.try_number, restart: self.restarts }
    }

    /// When it is due, if it waits for an instant.
    pub fn wakes(&self) -> Option<Timestamp> {
        let is_due = matches!(self.state, TaskState::UpForRetry | TaskState::UpForReschedule);
        self.wake_at.get().filter(|_| is_due)
    }

    /// Finished in `state` at `now`.
    pub fn ended(self, state: TaskState, now: Timestamp) -> Self {
        Self { state, end_date: now.into(), wake_at: None.into(), ..self }
    }

    /// The same, by a person: one that had finished keeps when it did.
    pub fn marked(self, state: TaskState, now: Timestamp) -> Self {
        let end_date = self.end_date.get().filter(|_| self.state.is_finished()).unwrap_or(now);
        self.ended(state, end_date)
    }

    /// To be run again, with all its retries.
    pub fn cleared(self, retries: u32) -> Self {
        let max_tries = self.try_number.saturating_add(retries);
        Self { try_number: self.try_number, max_tries, ..Self::default() }
    }
}

impl Default for Instance {
    fn default() -> Self {
        let never = Moment::from(None);
        Self {
            state: TaskState::None,
            restarts: 0,
            try_number: 0,
            max_tries: 0,
            scheduled_at: never,
            queued_at: never,
            start_date: never,
            end_date: never,
            wake_at: never,
        }
    }
}

impl From<&InstanceSnapshot> for Instance {
    fn from(row: &InstanceSnapshot) -> Self {
        Self {
            state: row.state,
            restarts: row.restarts,
            try_number: row.try_number,
            max_tries: row.max_tries,
            scheduled_at: row.scheduled_at.into(),
            queued_at: row.queued_at.into(),
            start_date: row.start_date.into(),
            end_date: row.end_date.into(),
            wake_at: row.wake_at.into(),
        }
    }
}

impl Moment {
    pub fn get(self) -> Option<Timestamp> {
        (self.0 != i64::MIN).then(|| Timestamp::from_micros(self.0))
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(at: Option<Timestamp>) -> Self {
        Self(at.map_or(i64::MIN, Timestamp::as_micros))
    }
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Some(at).into()
    }
}

/// Whether two tasks of one mapped group depend on each other index by index.
fn is_by_index(dag: &Dag, upstream: NodeIndex, node: NodeIndex) -> bool {
    let group = dag.node(upstream).mapped_group;
    group.is_some() && group == dag.node(node).mapped_group
}

/// Whether `looker`, by index, looks at `id`: at that of its own index; one that was not expanded stands for all.
fn is_seen(id: InstanceId, looker: InstanceId) -> bool {
    id.map_index < 0 || looker.map_index < 0 || id.map_index == looker.map_index
}

/// The tasks that look at `node`.
pub(super) fn lookers(dag: &Dag, node: NodeIndex) -> impl Iterator<Item = (NodeIndex, Link)> {
    let direct = dag.node(node).downstream.iter().map(|looker| (*looker, Link::Direct));
    let watchers = dag.watchers.get(&node).map_or(&[][..], Vec::as_slice);
    direct.chain(watchers.iter().map(|watcher| (watcher.node, Link::Watched(watcher.of))))
}

/// The tasks that `node` looks at.
fn looked_at(dag: &Dag, node: NodeIndex) -> impl Iterator<Item = (NodeIndex, Link)> {
    let direct = dag.node(node).upstream.iter().map(|upstream| (*upstream, Link::Direct));
    let watches = dag.watches.get(&node).map_or(&[][..], Vec::as_slice);
    direct.chain(watches.iter().map(|watch| (watch.node, Link::Watched(watch.of))))
}

/// Whether no downstream task but teardowns that don't matter follows, and it is not one itself.
fn is_effective_leaf(dag: &Dag, role: &Role, downstream: &[NodeIndex]) -> bool {
    let is_ignored = |role: &Role| matches!(role, Role::Teardown { on_failure_fail_dagrun: false, .. });
    !is_ignored(role) && downstream.iter().all(|node| is_ignored(&dag.node(*node).role))
}

fn length_of<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
