//! Who of the ready instances may start now.
//!
//! Ready instances stand in lanes: one for each (run, pool, number of slots). The head of each lane whose run is open
//! stands at a gate: one for each (pool, number of slots). The head of each gate whose pool has room stands in the
//! front. So a full run hides its lanes, a full pool its gates, and neither is in the way of others; an admission
//! costs a few look-ups in ordered sets.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::InstanceId;
use crate::model::ids::{DagId, PoolName};

/// Names a run among all runs; a smaller one is older. The driver's number of the dag_run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub i64);

/// An instance that has its slots from now on, until [`Admission::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    pub run: RunKey,
    pub instance: InstanceId,
}

/// Why a ready instance does not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    DagPaused,
    /// The run has as many active tasks as its dag allows.
    RunFull {
        max_active_tasks: u32,
    },
    PoolMissing,
    /// The pool has fewer free slots than the task takes.
    PoolFull {
        free: u32,
        wanted: u32,
    },
    /// The installation runs as many tasks as it may.
    ParallelismFull {
        parallelism: u32,
    },
    /// Others go first.
    Turn,
}

/// A pool, by its place in [`Admission::pools`].
type PoolIndex = u32;

/// A pool and a number of its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gate {
    pool: PoolIndex,
    slots: u32,
}

/// Where an instance stands among those of its run: the smaller goes first.
type Rank = (Reverse<i32>, InstanceId);
/// Where it stands among all.
type GlobalRank = (Reverse<i32>, RunKey, InstanceId);

/// How large a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Size {
    /// There is no such pool.
    #[default]
    Missing,
    Slots(u32),
    Unlimited,
}

#[derive(Debug)]
struct Pool {
    size: Size,
    used: u64,
    /// By number of slots: the heads of the open lanes.
    gates: BTreeMap<u32, BTreeSet<GlobalRank>>,
}

#[derive(Debug, Default)]
struct Run {
    dag: Option<DagId>,
    max_active_tasks: u32,
    lanes: BTreeMap<Gate, BTreeSet<Rank>>,
    ready: BTreeMap<InstanceId, (Gate, Rank)>,
    active: BTreeMap<InstanceId, Gate>,
    is_open: bool,
}

/// Gives slots to ready instances of all runs.
#[derive(Debug, Default)]
pub struct Admission {
    parallelism: u32,
    active: u32,
    pool_index: BTreeMap<PoolName, PoolIndex>,
    pools: Vec<Pool>,
    runs: BTreeMap<RunKey, Run>,
    runs_of: BTreeMap<DagId, BTreeSet<RunKey>>,
    paused: BTreeSet<DagId>,
    /// The heads of the gates whose pool has room.
    front: BTreeSet<(GlobalRank, Gate)>,
}

impl Admission {
    /// No pools yet: each is to be made by [`Admission::set_pool`].
    pub fn new(parallelism: u32) -> Self {
        Self { parallelism, ..Self::default() }
    }

    /// Changes how many instances may hold slots in all. What is above it stays until it is released.
    pub fn set_parallelism(&mut self, parallelism: u32) {
        self.parallelism = parallelism;
    }

    /// Makes or resizes a pool; `None`: unlimited. What holds more than there is now stays until it is released.
    pub fn set_pool(&mut self, pool: &PoolName, slots: Option<u32>) {
        let index = self.pool(pool);
        self.resize(index, |pool| pool.size = slots.map_or(Size::Unlimited, Size::Slots));
    }

    /// Removes a pool: what waits for it waits until it is made again.
    pub fn remove_pool(&mut self, pool: &PoolName) {
        let index = self.pool(pool);
        self.resize(index, |pool| pool.size = Size::Missing);
    }

    /// Stops or resumes the admission of a dag's instances, of runs present and to come.
    pub fn set_paused(&mut self, dag: &DagId, paused: bool) {
        if paused {
            self.paused.insert(dag.clone());
        } else {
            self.paused.remove(dag);
        }
        let runs: Vec<_> = self.runs_of.get(dag).into_iter().flatten().copied().collect();
        for run in runs {
            self.refresh(run);
        }
    }

    /// Tells of a run, or of a new limit of its own. To be called before its first [`Admission::ready`].
    pub fn open(&mut self, run: RunKey, dag: &DagId, max_active_tasks: u32) {
        let entry = self.runs.entry(run).or_default();
        entry.max_active_tasks = max_active_tasks;
        entry.dag = Some(dag.clone());
        self.runs_of.entry(dag.clone()).or_default().insert(run);
        self.refresh(run);
    }

    /// Forgets a run: nothing of it is ready, and what it held is free.
    pub fn forget(&mut self, run: RunKey) {
        self.shut(run);
        let Some(gone) = self.runs.remove(&run) else { return };
        if let Some(dag) = gone.dag
            && let Some(runs) = self.runs_of.get_mut(&dag)
        {
            runs.remove(&run);
            if runs.is_empty() {
                self.runs_of.remove(&dag);
            }
        }
        for gate in gone.active.into_values() {
            self.active -= 1;
            self.resize(gate.pool, |pool| pool.used -= u64::from(gate.slots));
        }
    }

    /// An instance is ready. One that is ready already, or that holds slots, stays as it is.
    pub fn ready(&mut self, run: RunKey, instance: InstanceId, pool: &PoolName, slots: u32, priority: i32) {
        let gate = Gate { pool: self.pool(pool), slots };
        let rank = (Reverse(priority), instance);
        let Some(entry) = self.runs.get_mut(&run) else { return };
        if entry.active.contains_key(&instance) || entry.ready.contains_key(&instance) {
            return;
        }
        entry.ready.insert(instance, (gate, rank));
        let lane = entry.lanes.entry(gate).or_default();
        let head = lane.first().copied();
        lane.insert(rank);
        if entry.is_open && head.is_none_or(|head| rank < head) {
            self.change_gate(gate, head.map(|head| global(run, head)), Some(global(run, rank)));
        }
    }

    /// An instance is not ready any more. Does nothing if it was not.
    pub fn withdraw(&mut self, run: RunKey, instance: InstanceId) {
        let Some(entry) = self.runs.get_mut(&run) else { return };
        let Some((gate, rank)) = entry.ready.remove(&instance) else { return };
        let is_open = entry.is_open;
        let Some(lane) = entry.lanes.get_mut(&gate) else { return };
        let was_head = lane.first() == Some(&rank);
        lane.remove(&rank);
        let head = lane.first().copied();
        if lane.is_empty() {
            entry.lanes.remove(&gate);
        }
        if is_open && was_head {
            self.change_gate(gate, Some(global(run, rank)), head.map(|head| global(run, head)));
        }
    }

    /// An instance that was admitted holds its slots no longer. Does nothing if it held none.
    pub fn release(&mut self, run: RunKey, instance: InstanceId) {
        let Some(gate) = self.runs.get_mut(&run).and_then(|entry| entry.active.remove(&instance)) else { return };
        self.active -= 1;
        self.resize(gate.pool, |pool| pool.used -= u64::from(gate.slots));
        self.refresh(run);
    }

    /// All that may start now, the most urgent first: higher priority, then older run, then the dag's order, then
    /// map_index.
    pub fn admit(&mut self) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        while self.active < self.parallelism
            && let Some(((_, run, instance), gate)) = self.front.first().copied()
        {
            self.withdraw(run, instance);
            if let Some(entry) = self.runs.get_mut(&run) {
                entry.active.insert(instance, gate);
            }
            self.active += 1;
            self.resize(gate.pool, |pool| pool.used += u64::from(gate.slots));
            self.refresh(run);
            admitted.push(Admitted { run, instance });
        }
        admitted
    }

    /// Why a ready instance was not admitted; none if it is not ready.
    pub fn waiting(&self, run: RunKey, instance: InstanceId) -> Option<Waiting> {
        let entry = self.runs.get(&run)?;
        let (gate, _) = entry.ready.get(&instance)?;
        let pool = &self.pools[gate.pool as usize];
        Some(if entry.dag.as_ref().is_some_and(|dag| self.paused.contains(dag)) {
            Waiting::DagPaused
        } else if !entry.is_open {
            Waiting::RunFull { max_active_tasks: entry.max_active_tasks }
        } else if pool.size == Size::Missing {
            Waiting::PoolMissing
        } else if !pool.has_room(gate.slots) {
            let free = u32::try_from(pool.free()).unwrap_or(u32::MAX);
            Waiting::PoolFull { free, wanted: gate.slots }
        } else if self.active >= self.parallelism {
            Waiting::ParallelismFull { parallelism: self.parallelism }
        } else {
            Waiting::Turn
        })
    }

    /// How many instances hold slots.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// How many slots of a pool are in use.
    pub fn used(&self, pool: &PoolName) -> u64 {
        self.pool_index.get(pool).map_or(0, |index| self.pools[*index as usize].used)
    }

    fn pool(&mut self, name: &PoolName) -> PoolIndex {
        if let Some(index) = self.pool_index.get(name) {
            return *index;
        }
        let index = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        self.pools.push(Pool { size: Size::Missing, used: 0, gates: BTreeMap::new() });
        self.pool_index.insert(name.clone(), index);
        index
    }

    /// Changes how much room a pool has, and opens or closes its gates.
    fn resize(&mut self, index: PoolIndex, change: impl FnOnce(&mut Pool)) {
        let pool = &mut self.pools[index as usize];
        let before = pool.free();
        change(pool);
        let after = pool.free();
        let (low, high) = (before.min(after), before.max(after));
        // Those that ask for more than `low` and at most `high` slots change sides.
        let Ok(first) = u32::try_from(low.saturating_add(1)) else { return };
        let last = u32::try_from(high).unwrap_or(u32::MAX);
        if first > last {
            return;
        }
        for (slots, heads) in pool.gates.range(first..=last) {
            if let Some(head) = heads.first() {
                let entry = (*head, Gate { pool: index, slots: *slots });
                if after > before {
                    self.front.insert(entry);
                } else {
                    self.front.remove(&entry);
                }
            }
        }
    }

    /// Opens or shuts a run, as its limit and its dag say.
    fn refresh(&mut self, run: RunKey) {
        let Some(entry) = self.runs.get(&run) else { return };
        let is_paused = entry.dag.as_ref().is_some_and(|dag| self.paused.contains(dag));
        let has_room = (entry.active.len() as u64) < u64::from(entry.max_active_tasks);
        if is_paused || !has_room {
            self.shut(run);
        } else if !entry.is_open {
            for (gate, head) in self.heads(run) {
                self.change_gate(gate, None, Some(head));
            }
            if let Some(entry) = self.runs.get_mut(&run) {
                entry.is_open = true;
            }
        }
    }

    fn shut(&mut self, run: RunKey) {
        if !self.runs.get(&run).is_some_and(|entry| entry.is_open) {
            return;
        }
        for (gate, head) in self.heads(run) {
            self.change_gate(gate, Some(head), None);
        }
        if let Some(entry) = self.runs.get_mut(&run) {
            entry.is_open = false;
        }
    }

    fn heads(&self, run: RunKey) -> Vec<(Gate, GlobalRank)> {
        let lanes = self.runs.get(&run).into_iter().flat_map(|entry| &entry.lanes);
        lanes.filter_map(|(gate, lane)| Some((*gate, global(run, *lane.first()?)))).collect()
    }

    /// Replaces the head of one lane at its gate.
    fn change_gate(&mut self, gate: Gate, gone: Option<GlobalRank>, come: Option<GlobalRank>) {
        let pool = &mut self.pools[gate.pool as usize];
        let has_room = pool.has_room(gate.slots);
        let heads = pool.gates.entry(gate.slots).or_default();
        let before = heads.first().copied();
        if let Some(gone) = gone {
            heads.remove(&gone);
        }
        heads.extend(come);
        let after = heads.first().copied();
        if heads.is_empty() {
            pool.gates.remove(&gate.slots);
        }
        if has_room && before != after {
            if let Some(before) = before {
                self.front.remove(&(before, gate));
            }
            self.front.extend(after.map(|after| (after, gate)));
        }
    }
}

impl Pool {
    /// Slots that are free; the largest number if there is no limit.
    fn free(&self) -> u64 {
        match self.size {
            Size::Missing => 0,
            Size::Unlimited => u64::MAX,
            Size::Slots(slots) => u64::from(slots).saturating_sub(self.used),
        }
    }

    fn has_room(&self, slots: u32) -> bool {
        self.size != Size::Missing && self.free() >= u64::from(slots)
    }
}

fn global(run: RunKey, (priority, instance): Rank) -> GlobalRank {
    (priority, run, instance)
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::FileFailurePersistence};

    use super::*;

    fn dag() -> DagId {
        DagId::new("d").unwrap()
    }

    fn pool(name: &str) -> PoolName {
        PoolName::new(name).unwrap()
    }

    fn admission(parallelism: u32, pools: &[(&str, Option<u32>)]) -> Admission {
        let mut admission = Admission::new(parallelism);
        for (name, slots) in pools {
            admission.set_pool(&pool(name), *slots);
        }
        admission
    }

    fn nodes(admitted: &[Admitted]) -> Vec<(i64, u32)> {
        admitted.iter().map(|one| (one.run.0, one.instance.node)).collect()
    }

    #[test]
    fn priority_goes_before_age_and_age_before_the_dags_order() {
        let mut admission = admission(100, &[("p", None)]);
        for run in [2, 1] {
            admission.open(RunKey(run), &dag(), 10);
            for (node, priority) in [(1, 1), (0, 1), (2, 5)] {
                admission.ready(RunKey(run), InstanceId::plain(node), &pool("p"), 1, priority);
            }
        }
        assert_eq!(nodes(&admission.admit()), [(1, 2), (2, 2), (1, 0), (1, 1), (2, 0), (2, 1)]);
    }

    #[test]
    fn a_full_pool_or_run_is_in_nobodys_way() {
        let mut admission = admission(100, &[("small", Some(1)), ("large", None)]);
        for run in [1, 2] {
            admission.open(RunKey(run), &dag(), 2);
        }
        for node in 0..4 {
            admission.ready(RunKey(1), InstanceId::plain(node), &pool("small"), 1, 9);
        }
        admission.ready(RunKey(1), InstanceId::plain(4), &pool("large"), 1, 1);
        admission.ready(RunKey(1), InstanceId::plain(5), &pool("large"), 1, 1);
        admission.ready(RunKey(2), InstanceId::plain(0), &pool("large"), 1, 1);
        assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 4), (2, 0)]);
        assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(1)), Some(Waiting::RunFull { max_active_tasks: 2 }));
        admission.release(RunKey(1), InstanceId::plain(4));
        assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(1)), Some(Waiting::PoolFull { free: 0, wanted: 1 }));
        assert_eq!(nodes(&admission.admit()), [(1, 5)]);
    }

    #[test]
    fn what_asks_for_many_slots_does_not_hold_up_what_asks_for_few() {
        let mut admission = admission(100, &[("p", Some(3))]);
        admission.open(RunKey(1), &dag(), 10);
        admission.ready(RunKey(1), InstanceId::plain(0), &pool("p"), 2, 1);
        admission.ready(RunKey(1), InstanceId::plain(1), &pool("p"), 2, 1);
        admission.ready(RunKey(1), InstanceId::plain(2), &pool("p"), 1, 1);
        assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 2)]);
        admission.set_pool(&pool("p"), Some(5));
        assert_eq!(nodes(&admission.admit()), [(1, 1)]);
    }

    #[test]
    fn a_paused_dag_and_a_missing_pool_wait() {
        let mut admission = admission(100, &[]);
        admission.open(RunKey(1), &dag(), 10);
        let instance = InstanceId::plain(0);
        admission.ready(RunKey(1), instance, &pool("p"), 1, 1);
        assert_eq!(admission.waiting(RunKey(1), instance), Some(Waiting::PoolMissing));
        admission.set_paused(&dag(), true);
        admission.set_pool(&pool("p"), Some(1));
        assert_eq!(admission.waiting(RunKey(1), instance), Some(Waiting::DagPaused));
        assert_eq!(admission.admit(), []);
        admission.set_paused(&dag(), false);
        assert_eq!(nodes(&admission.admit()), [(1, 0)]);
        admission.forget(RunKey(1));
        assert_eq!((admission.active(), admission.used(&pool("p"))), (0, 0));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Ready { run: i64, node: u32, pool: usize, slots: u32, priority: i32 },
        Withdraw { run: i64, node: u32 },
        Release { run: i64, node: u32 },
        Forget { run: i64 },
        Pause(bool),
        Resize { pool: usize, slots: Option<u32> },
        Remove { pool: usize },
        Parallelism(u32),
        Admit,
    }

    fn op() -> impl Strategy<Value = Op> {
        let run = 0..3_i64;
        let node = 0..6_u32;
        prop_oneof![
            6 => (run.clone(), node.clone(), 0..2_usize, 1..4_u32, 0..3).prop_map(|(run, node, pool, slots, priority)| {
                Op::Ready { run, node, pool, slots, priority }
            }),
            1 => (run.clone(), node.clone()).prop_map(|(run, node)| Op::Withdraw { run, node }),
            3 => (run.clone(), node).prop_map(|(run, node)| Op::Release { run, node }),
            1 => run.prop_map(|run| Op::Forget { run }),
            1 => any::<bool>().prop_map(Op::Pause),
            1 => (0..2_usize, proptest::option::of(0..6_u32)).prop_map(|(pool, slots)| Op::Resize { pool, slots }),
            1 => (0..2_usize).prop_map(|pool| Op::Remove { pool }),
            1 => (0..6_u32).prop_map(Op::Parallelism),
            5 => Just(Op::Admit),
        ]
    }

    const POOLS: [&str; 2] = ["a", "b"];
    const MAX_ACTIVE_TASKS: u32 = 3;

    /// The same, written to be plainly right: each admission looks at everything.
    #[derive(Default)]
    struct Plain {
        parallelism: u32,
        paused: bool,
        pools: [Size; 2],
        ready: BTreeMap<(i64, u32), (usize, u32, i32)>,
        active: BTreeMap<(i64, u32), (usize, u32)>,
    }

    impl Plain {
        fn admit(&mut self) -> Vec<(i64, u32)> {
            let mut admitted = Vec::new();
            loop {
                let in_run = |run: i64| self.active.keys().filter(|(other, _)| *other == run).count();
                let used = |pool: usize| {
                    self.active.values().filter(|(other, _)| *other == pool).map(|(_, slots)| slots).sum::<u32>()
                };
                let next = self
                    .ready
                    .iter()
                    .filter(|((run, _), (pool, slots, _))| {
                        !self.paused
                            && self.active.len() < self.parallelism as usize
                            && in_run(*run) < MAX_ACTIVE_TASKS as usize
                            && match self.pools[*pool] {
                                Size::Missing => false,
                                Size::Unlimited => true,
                                Size::Slots(all) => used(*pool) + slots <= all,
                            }
                    })
                    .min_by_key(|((run, node), (_, _, priority))| (Reverse(*priority), *run, *node))
                    .map(|(key, (pool, slots, _))| (*key, (*pool, *slots)));
                let Some((key, taken)) = next else { return admitted };
                self.ready.remove(&key);
                self.active.insert(key, taken);
                admitted.push(key);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
            ..ProptestConfig::default()
        })]

        #[test]
        fn it_admits_as_a_plain_one_does_and_never_above_a_limit(ops in proptest::collection::vec(op(), 1..120)) {
            let mut admission = admission(4, &[("a", Some(3)), ("b", None)]);
            let mut plain = Plain { parallelism: 4, pools: [Size::Slots(3), Size::Unlimited], ..Plain::default() };
            for op in ops {
                match op {
                    Op::Ready { run, node, pool: at, slots, priority } => {
                        admission.open(RunKey(run), &dag(), MAX_ACTIVE_TASKS);
                        admission.ready(RunKey(run), InstanceId::plain(node), &pool(POOLS[at]), slots, priority);
                        if !plain.active.contains_key(&(run, node)) {
                            plain.ready.entry((run, node)).or_insert((at, slots, priority));
                        }
                    }
                    Op::Withdraw { run, node } => {
                        admission.withdraw(RunKey(run), InstanceId::plain(node));
                        plain.ready.remove(&(run, node));
                    }
                    Op::Release { run, node } => {
                        admission.release(RunKey(run), InstanceId::plain(node));
                        plain.active.remove(&(run, node));
                    }
                    Op::Forget { run } => {
                        admission.forget(RunKey(run));
                        plain.ready.retain(|(other, _), _| *other != run);
                        plain.active.retain(|(other, _), _| *other != run);
                    }
                    Op::Pause(paused) => {
                        admission.set_paused(&dag(), paused);
                        plain.paused = paused;
                    }
                    Op::Resize { pool: at, slots } => {
                        admission.set_pool(&pool(POOLS[at]), slots);
                        plain.pools[at] = slots.map_or(Size::Unlimited, Size::Slots);
                    }
                    Op::Remove { pool: at } => {
                        admission.remove_pool(&pool(POOLS[at]));
                        plain.pools[at] = Size::Missing;
                    }
                    Op::Parallelism(parallelism) => {
                        admission.set_parallelism(parallelism);
                        plain.parallelism = parallelism;
                    }
                    Op::Admit => prop_assert_eq!(nodes(&admission.admit()), plain.admit()),
                }
                prop_assert_eq!(admission.active() as usize, plain.active.len());
            }
        }
    }
}
