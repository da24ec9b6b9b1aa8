//! Who of the ready instances may start now.
//!
//! Ready instances stand in lanes: one for each (run, pool, number of slots, keys). The head of each lane whose run is
//! open stands at a gate: one for each (pool, number of slots). The head of each gate whose pool has room stands in the
//! front. So a full run hides its lanes, a full pool its gates, and neither is in the way of others; an admission
//! costs a few look-ups in ordered sets.
//!
//! A [`Key`] is what only so many instances may hold at a time, beyond pools. A lane whose turn comes and whose key is
//! held by enough others is parked until one of them lets go.

mod memory;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::memory::Memory;
use super::InstanceId;
use crate::model::{
    dag::NodeIndex,
    ids::{DagId, PoolName, QueueName, TaskId},
    queue::{Room, Taken},
};

/// Names a run among all runs; a smaller one is older. The driver's number of the dag_run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey(pub i64);

/// An instance that has its slots from now on, until [`Admission::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    pub run: RunKey,
    pub instance: InstanceId,
}

/// What only so many instances may hold at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A task in all runs of its dag. Airflow: `max_active_tis_per_dag`.
    Task(DagId, TaskId),
    /// A task in one run. Airflow: `max_active_tis_per_dagrun`.
    TaskInRun(RunKey, NodeIndex),
    /// A text that tasks of any dags share.
    Named(Arc<str>),
    /// A slot, and memory, of a worker that serves the queue. How much there is, [`Admission::set_queue`] says.
    Queue(QueueName),
}

/// What an instance needs in order to start.
#[derive(Debug, Clone)]
pub struct Demand<'a> {
    pub pool: &'a PoolName,
    pub pool_slots: u32,
    /// Higher goes first.
    pub priority_weight: i32,
    /// What it must hold, and how many may hold each at a time, at least 1; of a queue, how many MiB it takes there.
    pub keys: Vec<(Key, u32)>,
}

/// Why a ready instance does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    DagPaused,
    /// The run has as many active tasks as its dag allows.
    RunFull {
        max_active_tasks: u32,
    },
    /// Attempts of the dag have so much memory that it may not have as much more.
    DagMemoryTaken {
        wanted_mib: u32,
        cap_mib: u32,
    },
    /// As many instances hold the key as may.
    KeyHeld {
        key: Key,
        limit: u32,
    },
    /// The workers of the queue don't have the memory that it takes: now, or at all.
    MemoryTaken {
        queue: QueueName,
        wanted_mib: u32,
        room: Room,
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

/// Names a lane in its run: the gate that it leads to, and what those in it must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    gate: Gate,
    keys: Option<Arc<[(Key, u32)]>>,
}

impl Route {
    /// What those in it must hold, each with its number.
    fn keys(&self) -> impl Iterator<Item = &(Key, u32)> {
        self.keys.iter().flat_map(|keys| keys.iter())
    }

    fn amount_of(&self, key: &Key) -> u32 {
        self.keys().find(|(own, _)| own == key).map_or(0, |(_, amount)| *amount)
    }
}

/// Ready instances that need the same.
#[derive(Debug, Default)]
struct Lane {
    ranks: BTreeSet<Rank>,
    /// The key that it waits for; then its head does not stand at the gate.
    parked: Option<Key>,
}

/// A key that instances hold.
#[derive(Debug, Default)]
struct Holders {
    /// Of a queue, with their memory.
    taken: Taken,
    /// The lanes that wait for one of them to let go.
    parked: BTreeSet<(RunKey, Route)>,
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
    /// Slots of those that asked to be started again later.
    deferred: u64,
    /// Whether those are taken, too.
    include_deferred: bool,
    /// By number of slots: the heads of the open lanes.
    gates: BTreeMap<u32, BTreeSet<GlobalRank>>,
}

#[derive(Debug, Default)]
struct Run {
    dag: Option<DagId>,
    max_active_tasks: u32,
    /// What each of its attempts takes.
    memory_mib: u32,
    lanes: BTreeMap<Route, Lane>,
    ready: BTreeMap<InstanceId, (Route, Rank)>,
    active: BTreeMap<InstanceId, Route>,
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
    memory: Memory,
    paused: BTreeSet<DagId>,
    /// The keys that are held.
    keys: BTreeMap<Key, Holders>,
    /// What workers have room for, by the queue that they serve.
    queues: BTreeMap<QueueName, Room>,
    /// Instances that asked to be started again later, and what they had.
    deferred: BTreeMap<(RunKey, InstanceId), Gate>,
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
    /// `include_deferred`: who asked to be started again later keeps its slots until then.
    pub fn set_pool(&mut self, pool: &PoolName, slots: Option<u32>, include_deferred: bool) {
        let index = self.pool(pool);
        self.resize(index, |pool| {
            pool.size = slots.map_or(Size::Unlimited, Size::Slots);
            pool.include_deferred = include_deferred;
        });
    }

    /// Removes a pool: what waits for it waits until it is made again.
    pub fn remove_pool(&mut self, pool: &PoolName) {
        let index = self.pool(pool);
        self.resize(index, |pool| pool.size = Size::Missing);
    }

    /// Removes all pools but these.
    pub fn keep_pools(&mut self, pools: &BTreeSet<PoolName>) {
        let gone: Vec<_> = self.pool_index.keys().filter(|name| !pools.contains(*name)).cloned().collect();
        for pool in gone {
            self.remove_pool(&pool);
        }
    }

    /// Says what the workers have room for that serve a queue. What holds more than there is now stays until it is released.
    pub fn set_queue(&mut self, queue: &QueueName, room: Room) {
        if self.queues.insert(queue.clone(), room) == Some(room) {
            return;
        }
        let holders = self.keys.get_mut(&Key::Queue(queue.clone()));
        let parked = holders.map(|holders| std::mem::take(&mut holders.parked)).unwrap_or_default();
        self.unpark(parked);
    }

    /// The queues of which that was said.
    pub fn queues(&self) -> impl Iterator<Item = &QueueName> {
        self.queues.keys()
    }

    /// What ready instances would take that wait for a worker that serves `queue`.
    pub fn waiting_in(&self, queue: &QueueName) -> Taken {
        let key = Key::Queue(queue.clone());
        let parked = self.keys.get(&key).into_iter().flat_map(|holders| &holders.parked);
        let lanes = parked.filter_map(|(run, route)| Some((route, self.runs.get(run)?.lanes.get(route)?)));
        let wanted = lanes.map(|(route, lane)| Taken::by(lane.ranks.len(), route.amount_of(&key)));
        wanted.fold(Taken::default(), Taken::and)
    }

    /// Stops or resumes the admission of a dag's instances, of runs present and to come.
    pub fn set_paused(&mut self, dag: &DagId, paused: bool) {
        if paused {
            self.paused.insert(dag.clone());
        } else {
            self.paused.remove(dag);
        }
        self.refresh_all(dag);
    }

    /// Tells of a run, or of a new limit of its own; each of its attempts takes `memory_mib`. To be called before its first
    /// [`Admission::ready`].
    pub fn open(&mut self, run: RunKey, dag: &DagId, max_active_tasks: u32, memory_mib: u32) {
        let entry = self.runs.entry(run).or_default();
        let before = entry.dag.is_some().then_some(entry.memory_mib);
        entry.max_active_tasks = max_active_tasks;
        entry.memory_mib = memory_mib;
        entry.dag = Some(dag.clone());
        self.runs_of.entry(dag.clone()).or_default().insert(run);
        self.memory_opened(dag, run, before);
        self.refresh(run);
    }

    /// Forgets a run: nothing of it is ready, and what it held is free.
    pub fn forget(&mut self, run: RunKey) {
        self.shut(run);
        let Some(gone) = self.runs.remove(&run) else { return };
        if let Some(dag) = gone.dag {
            if let Some(runs) = self.runs_of.get_mut(&dag) {
                runs.remove(&run);
                if runs.is_empty() {
                    self.runs_of.remove(&dag);
                }
            }
            self.memory_forgotten(&dag, run, gone.memory_mib, gone.active.len());
        }
        for (route, lane) in gone.lanes {
            if let Some(holders) = lane.parked.and_then(|key| self.keys.get_mut(&key)) {
                holders.parked.remove(&(run, route));
            }
        }
        for route in gone.active.into_values() {
            self.let_go(&route);
        }
        let first = InstanceId { node: NodeIndex::MIN, map_index: i32::MIN };
        let last = InstanceId { node: NodeIndex::MAX, map_index: i32::MAX };
        let deferred: Vec<_> = self.deferred.range((run, first)..=(run, last)).map(|((_, id), _)| *id).collect();
        for instance in deferred {
            self.undefer(run, instance);
        }
    }

    /// An instance that holds no slots asked to be started again later: in a pool that counts such, it takes them until
    /// [`Admission::undefer`].
    pub fn defer(&mut self, run: RunKey, instance: InstanceId, pool: &PoolName, pool_slots: u32) {
        let gate = Gate { pool: self.pool(pool), slots: pool_slots };
        if self.deferred.insert((run, instance), gate).is_none() {
            self.resize(gate.pool, |pool| pool.deferred += u64::from(gate.slots));
        }
    }

    /// An instance waits no longer: it is ready again, or over. Does nothing if it did not wait.
    pub fn undefer(&mut self, run: RunKey, instance: InstanceId) {
        if let Some(gate) = self.deferred.remove(&(run, instance)) {
            self.resize(gate.pool, |pool| pool.deferred -= u64::from(gate.slots));
        }
    }

    /// An instance is ready. One that is ready already, or that holds slots, stays as it is.
    pub fn ready(&mut self, run: RunKey, instance: InstanceId, demand: Demand<'_>) {
        let gate = Gate { pool: self.pool(demand.pool), slots: demand.pool_slots };
        let rank = (Reverse(demand.priority_weight), instance);
        let Some(entry) = self.runs.get_mut(&run) else { return };
        if entry.active.contains_key(&instance) || entry.ready.contains_key(&instance) {
            return;
        }
        let route = Route { gate, keys: (!demand.keys.is_empty()).then(|| demand.keys.into()) };
        entry.ready.insert(instance, (route.clone(), rank));
        let lane = entry.lanes.entry(route).or_default();
        let head = lane.ranks.first().copied();
        lane.ranks.insert(rank);
        if entry.is_open && lane.parked.is_none() && head.is_none_or(|head| rank < head) {
            self.change_gate(gate, head.map(|head| global(run, head)), Some(global(run, rank)));
        }
    }

    /// An instance is not ready any more. Does nothing if it was not.
    pub fn withdraw(&mut self, run: RunKey, instance: InstanceId) {
        let Some(entry) = self.runs.get_mut(&run) else { return };
        let Some((route, rank)) = entry.ready.remove(&instance) else { return };
        let gate = route.gate;
        let Some(lane) = entry.lanes.get_mut(&route) else { return };
        let was_shown = entry.is_open && lane.parked.is_none() && lane.ranks.first() == Some(&rank);
        lane.ranks.remove(&rank);
        let head = lane.ranks.first().copied();
        if head.is_none()
            && let Some(key) = entry.lanes.remove(&route).and_then(|lane| lane.parked)
            && let Some(holders) = self.keys.get_mut(&key)
        {
            holders.parked.remove(&(run, route));
        }
        if was_shown {
            self.change_gate(gate, Some(global(run, rank)), head.map(|head| global(run, head)));
        }
    }

    /// An instance that was admitted holds its slots no longer. Does nothing if it held none.
    pub fn release(&mut self, run: RunKey, instance: InstanceId) {
        let Some(route) = self.runs.get_mut(&run).and_then(|entry| entry.active.remove(&instance)) else { return };
        self.let_go(&route);
        self.free_memory(run);
        self.refresh(run);
    }

    /// All that may start now, the most urgent first: higher priority, then older run, then the dag's order, then
    /// map_index.
    pub fn admit(&mut self) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        while self.active < self.parallelism
            && let Some(((_, run, instance), gate)) = self.front.first().copied()
        {
            let route =
                self.runs.get(&run).and_then(|entry| entry.ready.get(&instance)).map(|(route, _)| route.clone());
            let route = route.unwrap_or(Route { gate, keys: None });
            if let Some(key) = self.key_held(&route) {
                let key = key.clone();
                self.park(run, route, key);
                continue;
            }
            self.withdraw(run, instance);
            for (key, amount) in route.keys() {
                let holders = self.keys.entry(key.clone()).or_default();
                holders.taken = holders.taken.and(Taken::by(1, *amount));
            }
            if let Some(entry) = self.runs.get_mut(&run) {
                entry.active.insert(instance, route);
            }
            self.active += 1;
            self.resize(gate.pool, |pool| pool.used += u64::from(gate.slots));
            self.take_memory(run);
            self.refresh(run);
            admitted.push(Admitted { run, instance });
        }
        admitted
    }

    /// Why a ready instance was not admitted; none if it is not ready.
    pub fn waiting(&self, run: RunKey, instance: InstanceId) -> Option<Waiting> {
        let entry = self.runs.get(&run)?;
        let (route, _) = entry.ready.get(&instance)?;
        let gate = route.gate;
        let pool = &self.pools[gate.pool as usize];
        Some(if entry.dag.as_ref().is_some_and(|dag| self.paused.contains(dag)) {
            Waiting::DagPaused
        } else if !entry.is_open && !entry.has_slot() {
            Waiting::RunFull { max_active_tasks: entry.max_active_tasks }
        } else if !entry.is_open {
            let cap_mib = entry.dag.as_ref().and_then(|dag| self.memory.cap_of(dag)).unwrap_or_default();
            Waiting::DagMemoryTaken { wanted_mib: entry.memory_mib, cap_mib }
        } else if let Some(key) = self.key_held(route) {
            self.why_held(key, route.amount_of(key))
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

    /// The instances that hold a key; a walk over all that hold slots.
    pub fn holders(&self, key: &Key) -> Vec<Admitted> {
        let holds = |route: &Route| route.keys().any(|(held, _)| held == key);
        let of_run = |(run, entry): (&RunKey, &Run)| -> Vec<_> {
            let held = entry.active.iter().filter(|(_, route)| holds(route));
            held.map(|(instance, _)| Admitted { run: *run, instance: *instance }).collect()
        };
        self.runs.iter().flat_map(of_run).collect()
    }

    /// How many instances hold slots.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// How many slots of a pool are in use.
    pub fn used(&self, pool: &PoolName) -> u64 {
        self.pool_index.get(pool).map_or(0, |index| self.pools[*index as usize].used)
    }

    /// What an instance of `route` must hold and too many others do.
    fn key_held<'a>(&self, route: &'a Route) -> Option<&'a Key> {
        let is_held = |key: &Key, amount: u32| {
            let taken = self.keys.get(key).map_or_else(Taken::default, |holders| holders.taken);
            match key {
                Key::Queue(queue) => !self.room_of(queue).has_room(taken, amount),
                Key::Task(..) | Key::TaskInRun(..) | Key::Named(_) => taken.attempts >= amount,
            }
        };
        route.keys().find(|(key, amount)| is_held(key, *amount)).map(|(key, _)| key)
    }

    fn room_of(&self, queue: &QueueName) -> Room {
        self.queues.get(queue).copied().unwrap_or_default()
    }

    /// What is said of a `key` that is held, where one more would take `amount`.
    fn why_held(&self, key: &Key, amount: u32) -> Waiting {
        let Key::Queue(queue) = key else { return Waiting::KeyHeld { key: key.clone(), limit: amount } };
        let (room, taken) = (self.room_of(queue), self.keys.get(key).map_or(0, |holders| holders.taken.attempts));
        if taken < room.slots {
            return Waiting::MemoryTaken { queue: queue.clone(), wanted_mib: amount, room };
        }
        Waiting::KeyHeld { key: key.clone(), limit: room.slots }
    }

    /// Takes a lane from its gate until one who holds `key` lets go.
    fn park(&mut self, run: RunKey, route: Route, key: Key) {
        let Some(lane) = self.runs.get_mut(&run).and_then(|entry| entry.lanes.get_mut(&route)) else { return };
        lane.parked = Some(key.clone());
        let head = lane.ranks.first().copied();
        let gate = route.gate;
        self.keys.entry(key).or_default().parked.insert((run, route));
        self.change_gate(gate, head.map(|head| global(run, head)), None);
    }

    /// Frees what an instance of `route` held.
    fn let_go(&mut self, route: &Route) {
        self.active -= 1;
        self.resize(route.gate.pool, |pool| pool.used -= u64::from(route.gate.slots));
        for (key, amount) in route.keys() {
            let Some(holders) = self.keys.get_mut(key) else { continue };
            holders.taken = holders.taken.less(Taken::by(1, *amount));
            let parked = std::mem::take(&mut holders.parked);
            if holders.taken.attempts == 0 {
                self.keys.remove(key);
            }
            self.unpark(parked);
        }
    }

    /// Puts lanes back to their gates.
    fn unpark(&mut self, parked: BTreeSet<(RunKey, Route)>) {
        for (run, route) in parked {
            let Some(entry) = self.runs.get_mut(&run) else { continue };
            let Some(lane) = entry.lanes.get_mut(&route) else { continue };
            lane.parked = None;
            if entry.is_open {
                let head = lane.ranks.first().copied();
                self.change_gate(route.gate, None, head.map(|head| global(run, head)));
            }
        }
    }

    fn pool(&mut self, name: &PoolName) -> PoolIndex {
        if let Some(index) = self.pool_index.get(name) {
            return *index;
        }
        let index = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        self.pools.push(Pool {
            size: Size::Missing,
            used: 0,
            deferred: 0,
            include_deferred: false,
            gates: BTreeMap::new(),
        });
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
        let may_start = |dag: &DagId| !self.paused.contains(dag) && self.memory.has_room(dag, entry.memory_mib);
        if !entry.has_slot() || !entry.dag.as_ref().is_none_or(may_start) {
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
        let shown = lanes.filter(|(_, lane)| lane.parked.is_none());
        shown.filter_map(|(route, lane)| Some((route.gate, global(run, *lane.ranks.first()?)))).collect()
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

impl Run {
    /// Whether it may have one more active instance.
    fn has_slot(&self) -> bool {
        (self.active.len() as u64) < u64::from(self.max_active_tasks)
    }
}

impl Pool {
    /// Slots that are free; the largest number if there is no limit.
    fn free(&self) -> u64 {
        match self.size {
            Size::Missing => 0,
            Size::Unlimited => u64::MAX,
            Size::Slots(slots) => {
                let deferred = if self.include_deferred { self.deferred } else { 0 };
                u64::from(slots).saturating_sub(self.used + deferred)
            }
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
mod tests;
