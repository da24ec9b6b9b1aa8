use proptest::{prelude::*, test_runner::FileFailurePersistence};

use super::*;

fn dag() -> DagId {
    DagId::new("d").unwrap()
}

fn pool(name: &str) -> PoolName {
    PoolName::new(name).unwrap()
}

fn key(number: usize) -> (Key, u32) {
    let task_id = TaskId::new(&format!("k{number}")).unwrap();
    (Key::Task(dag(), task_id), u32::try_from(number).unwrap() + 1)
}

/// `keys`: each may be held by one more than its number.
fn demand(name: &'static str, pool_slots: u32, priority_weight: i32, keys: &[usize]) -> Demand<'static> {
    let pool = Box::leak(Box::new(pool(name)));
    Demand { pool, pool_slots, priority_weight, keys: keys.iter().map(|number| key(*number)).collect() }
}

fn admission(parallelism: u32, pools: &[(&str, Option<u32>)]) -> Admission {
    let mut admission = Admission::new(parallelism);
    for (name, slots) in pools {
        admission.set_pool(&pool(name), *slots, false);
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
        admission.open(RunKey(run), &dag(), 10, 1);
        for (node, priority) in [(1, 1), (0, 1), (2, 5)] {
            admission.ready(RunKey(run), InstanceId::plain(node), demand("p", 1, priority, &[]));
        }
    }
    assert_eq!(nodes(&admission.admit()), [(1, 2), (2, 2), (1, 0), (1, 1), (2, 0), (2, 1)]);
}

#[test]
fn a_queue_has_the_slots_of_its_workers() {
    let mut admission = admission(100, &[("p", None)]);
    admission.open(RunKey(1), &dag(), 10, 1);
    let gpu = QueueName::new("gpu").unwrap();
    let ready = |admission: &mut Admission, node, is_queued: bool| {
        let keys = is_queued.then(|| (Key::Queue(gpu.clone()), 0)).into_iter().collect();
        admission.ready(RunKey(1), InstanceId::plain(node), Demand { keys, ..demand("p", 1, 1, &[]) });
    };
    for node in 0..4 {
        ready(&mut admission, node, true);
    }
    ready(&mut admission, 4, false);
    // Nobody serves it, and it is in nobody's way.
    assert_eq!(nodes(&admission.admit()), [(1, 4)]);
    assert_eq!(admission.waiting_in(&gpu).attempts, 4);
    let held = |limit| Some(Waiting::KeyHeld { key: Key::Queue(gpu.clone()), limit });
    assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(0)), held(0));

    admission.set_queue(&gpu, Room::of(2, None));
    assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 1)]);
    assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(2)), held(2));
    // A worker goes: what runs, runs on, and nothing new starts.
    admission.set_queue(&gpu, Room::of(1, None));
    admission.release(RunKey(1), InstanceId::plain(0));
    assert_eq!(nodes(&admission.admit()), []);
    assert_eq!(admission.waiting_in(&gpu).attempts, 2);
    admission.release(RunKey(1), InstanceId::plain(1));
    assert_eq!(nodes(&admission.admit()), [(1, 2)]);
    admission.set_queue(&gpu, Room::default());
    admission.release(RunKey(1), InstanceId::plain(2));
    assert_eq!(nodes(&admission.admit()), []);
    admission.withdraw(RunKey(1), InstanceId::plain(3));
    assert_eq!(admission.waiting_in(&gpu), Taken::default());
    assert_eq!(admission.queues().collect::<Vec<_>>(), [&gpu]);
}

#[test]
fn a_queue_has_the_memory_of_its_workers() {
    let mut admission = admission(100, &[("p", None)]);
    admission.open(RunKey(1), &dag(), 10, 1);
    let queue = QueueName::default();
    for (node, mib) in [(0, 512), (1, 512), (2, 256), (3, 4_096)] {
        let keys = vec![(Key::Queue(queue.clone()), mib)];
        admission.ready(RunKey(1), InstanceId::plain(node), Demand { keys, ..demand("p", 1, 1, &[]) });
    }
    let room = Room::of(8, Some(512)).and(Room::of(8, Some(256)));
    admission.set_queue(&queue, room);
    // The second does not fit beside the first, and is not in the way of the third; the last fits no worker.
    assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 2)]);
    assert_eq!(admission.waiting_in(&queue), Taken { attempts: 2, memory_mib: 512 + 4_096 });
    let waits = |wanted_mib, room| Some(Waiting::MemoryTaken { queue: queue.clone(), wanted_mib, room });
    assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(1)), waits(512, room));
    admission.release(RunKey(1), InstanceId::plain(0));
    assert_eq!(nodes(&admission.admit()), [(1, 1)]);
    admission.release(RunKey(1), InstanceId::plain(1));
    admission.release(RunKey(1), InstanceId::plain(2));
    assert_eq!(nodes(&admission.admit()), []);
    assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(3)), waits(4_096, room));
    admission.set_queue(&queue, room.and(Room::of(1, Some(8_192))));
    assert_eq!(nodes(&admission.admit()), [(1, 3)]);
}

#[test]
fn a_full_pool_or_run_is_in_nobodys_way() {
    let mut admission = admission(100, &[("small", Some(1)), ("large", None)]);
    for run in [1, 2] {
        admission.open(RunKey(run), &dag(), 2, 1);
    }
    for node in 0..4 {
        admission.ready(RunKey(1), InstanceId::plain(node), demand("small", 1, 9, &[]));
    }
    admission.ready(RunKey(1), InstanceId::plain(4), demand("large", 1, 1, &[]));
    admission.ready(RunKey(1), InstanceId::plain(5), demand("large", 1, 1, &[]));
    admission.ready(RunKey(2), InstanceId::plain(0), demand("large", 1, 1, &[]));
    assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 4), (2, 0)]);
    assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(1)), Some(Waiting::RunFull { max_active_tasks: 2 }));
    admission.release(RunKey(1), InstanceId::plain(4));
    assert_eq!(admission.waiting(RunKey(1), InstanceId::plain(1)), Some(Waiting::PoolFull { free: 0, wanted: 1 }));
    assert_eq!(nodes(&admission.admit()), [(1, 5)]);
}

#[test]
fn attempts_of_a_dag_have_the_memory_that_it_may_and_others_are_in_nobodys_way() {
    let mut admission = admission(100, &[("p", None)]);
    let other = DagId::new("other").unwrap();
    for (run, dag, memory_mib) in [(1, dag(), 64), (2, dag(), 256), (3, other, 256)] {
        admission.open(RunKey(run), &dag, 10, memory_mib);
        for node in 0..3 {
            admission.ready(RunKey(run), InstanceId::plain(node), demand("p", 1, 1, &[]));
        }
    }
    admission.set_memory(&dag(), Some(400));
    assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2)]);
    let waits = Some(Waiting::DagMemoryTaken { wanted_mib: 256, cap_mib: 400 });
    assert_eq!(admission.waiting(RunKey(2), InstanceId::plain(0)), waits);
    admission.release(RunKey(1), InstanceId::plain(0));
    assert_eq!(nodes(&admission.admit()), [(2, 0)]);
    assert_eq!(admission.waiting(RunKey(2), InstanceId::plain(1)), waits);
    admission.set_memory(&dag(), Some(1_000));
    assert_eq!(nodes(&admission.admit()), [(2, 1), (2, 2)]);
    // What it has above a new cap stays.
    admission.set_memory(&dag(), Some(10));
    admission.ready(RunKey(1), InstanceId::plain(3), demand("p", 1, 1, &[]));
    admission.forget(RunKey(2));
    assert_eq!(nodes(&admission.admit()), []);
    // A newer version of the run's dag asks for less.
    admission.open(RunKey(1), &dag(), 10, 2);
    assert_eq!(nodes(&admission.admit()), [(1, 3)]);
    admission.set_memory(&dag(), None);
    admission.ready(RunKey(1), InstanceId::plain(4), demand("p", 1, 1, &[]));
    assert_eq!(nodes(&admission.admit()), [(1, 4)]);
}

#[test]
fn what_asks_for_many_slots_does_not_hold_up_what_asks_for_few() {
    let mut admission = admission(100, &[("p", Some(3))]);
    admission.open(RunKey(1), &dag(), 10, 1);
    admission.ready(RunKey(1), InstanceId::plain(0), demand("p", 2, 1, &[]));
    admission.ready(RunKey(1), InstanceId::plain(1), demand("p", 2, 1, &[]));
    admission.ready(RunKey(1), InstanceId::plain(2), demand("p", 1, 1, &[]));
    assert_eq!(nodes(&admission.admit()), [(1, 0), (1, 2)]);
    admission.set_pool(&pool("p"), Some(5), false);
    assert_eq!(nodes(&admission.admit()), [(1, 1)]);
}

#[test]
fn a_paused_dag_and_a_missing_pool_wait() {
    let mut admission = admission(100, &[]);
    admission.open(RunKey(1), &dag(), 10, 1);
    let instance = InstanceId::plain(0);
    admission.ready(RunKey(1), instance, demand("p", 1, 1, &[]));
    assert_eq!(admission.waiting(RunKey(1), instance), Some(Waiting::PoolMissing));
    admission.set_paused(&dag(), true);
    admission.set_pool(&pool("p"), Some(1), false);
    assert_eq!(admission.waiting(RunKey(1), instance), Some(Waiting::DagPaused));
    assert_eq!(admission.admit(), []);
    admission.set_paused(&dag(), false);
    assert_eq!(nodes(&admission.admit()), [(1, 0)]);
    admission.forget(RunKey(1));
    assert_eq!((admission.active(), admission.used(&pool("p"))), (0, 0));
}

#[test]
fn as_many_hold_a_key_as_may_and_the_others_are_in_nobodys_way() {
    let mut admission = admission(100, &[("p", None)]);
    let all = |admission: &mut Admission| nodes(&admission.admit());
    for run in 1..=3 {
        admission.open(RunKey(run), &dag(), 10, 1);
        admission.ready(RunKey(run), InstanceId::plain(0), demand("p", 1, 1, &[0]));
        admission.ready(RunKey(run), InstanceId::plain(1), demand("p", 1, 1, &[]));
    }
    assert_eq!(all(&mut admission), [(1, 0), (1, 1), (2, 1), (3, 1)]);
    let (key, limit) = key(0);
    let held = Waiting::KeyHeld { key, limit };
    assert_eq!(admission.waiting(RunKey(2), InstanceId::plain(0)), Some(held.clone()));
    admission.withdraw(RunKey(2), InstanceId::plain(0));
    admission.release(RunKey(1), InstanceId::plain(0));
    assert_eq!(all(&mut admission), [(3, 0)]);
    admission.ready(RunKey(2), InstanceId::plain(0), demand("p", 1, 1, &[0]));
    assert_eq!(all(&mut admission), []);
    assert_eq!(admission.waiting(RunKey(2), InstanceId::plain(0)), Some(held));
    admission.forget(RunKey(3));
    assert_eq!(all(&mut admission), [(2, 0)]);
    admission.release(RunKey(2), InstanceId::plain(0));
    assert!(admission.keys.is_empty(), "what nobody holds takes no room");
}

#[derive(Debug, Clone)]
enum Op {
    Ready {
        run: i64,
        node: u32,
        pool: usize,
        slots: u32,
        priority: i32,
        keys: Vec<usize>,
    },
    Withdraw {
        run: i64,
        node: u32,
    },
    Release {
        run: i64,
        node: u32,
    },
    Forget {
        run: i64,
    },
    Pause(bool),
    Resize {
        pool: usize,
        slots: Option<u32>,
        include_deferred: bool,
    },
    /// Of an active one: to be started again later. Of one that waits: it waits no longer.
    Later {
        run: i64,
        node: u32,
    },
    Remove {
        pool: usize,
    },
    Parallelism(u32),
    /// What the dag may have at a time.
    Memory(Option<u32>),
    Admit,
}

fn op() -> impl Strategy<Value = Op> {
    let run = 0..3_i64;
    let node = 0..6_u32;
    let keys = proptest::sample::subsequence(vec![0_usize, 1], 0..=2);
    prop_oneof![
        6 => (run.clone(), node.clone(), 0..2_usize, 1..4_u32, 0..3, keys).prop_map(|(run, node, pool, slots, priority, keys)| {
            Op::Ready { run, node, pool, slots, priority, keys }
        }),
        1 => (run.clone(), node.clone()).prop_map(|(run, node)| Op::Withdraw { run, node }),
        3 => (run.clone(), node.clone()).prop_map(|(run, node)| Op::Release { run, node }),
        2 => (run.clone(), node).prop_map(|(run, node)| Op::Later { run, node }),
        1 => run.prop_map(|run| Op::Forget { run }),
        1 => any::<bool>().prop_map(Op::Pause),
        1 => (0..2_usize, proptest::option::of(0..6_u32), any::<bool>()).prop_map(|(pool, slots, include_deferred)| {
            Op::Resize { pool, slots, include_deferred }
        }),
        1 => (0..2_usize).prop_map(|pool| Op::Remove { pool }),
        1 => (0..6_u32).prop_map(Op::Parallelism),
        2 => proptest::option::of(0..8_u32).prop_map(Op::Memory),
        5 => Just(Op::Admit),
    ]
}

const POOLS: [&str; 2] = ["a", "b"];
const MAX_ACTIVE_TASKS: u32 = 3;

/// What an attempt of a run takes.
fn memory_of(run: i64) -> u32 {
    u32::try_from(run).unwrap() + 1
}

/// Pool, slots, priority and keys.
type Needs = (usize, u32, i32, Vec<usize>);

/// The same, written to be plainly right: each admission looks at everything.
#[derive(Default)]
struct Plain {
    parallelism: u32,
    paused: bool,
    memory: Option<u32>,
    pools: [Size; 2],
    ready: BTreeMap<(i64, u32), Needs>,
    active: BTreeMap<(i64, u32), (usize, u32, Vec<usize>)>,
    deferred: BTreeMap<(i64, u32), (usize, u32)>,
    include_deferred: [bool; 2],
}

impl Plain {
    fn admit(&mut self) -> Vec<(i64, u32)> {
        let mut admitted = Vec::new();
        loop {
            let in_run = |run: i64| self.active.keys().filter(|(other, _)| *other == run).count();
            let used = |pool: usize| {
                let deferred =
                    self.deferred.values().filter(|(other, _)| *other == pool && self.include_deferred[pool]);
                let active = self.active.values().filter(|(other, ..)| *other == pool).map(|(_, slots, _)| slots);
                active.chain(deferred.map(|(_, slots)| slots)).sum::<u32>()
            };
            let memory: u32 = self.active.keys().map(|(run, _)| memory_of(*run)).sum();
            let holders = |key: usize| self.active.values().filter(|(.., keys)| keys.contains(&key)).count();
            let next = self
                .ready
                .iter()
                .filter(|((run, _), (pool, slots, _, keys))| {
                    !self.paused
                        && self.active.len() < self.parallelism as usize
                        && in_run(*run) < MAX_ACTIVE_TASKS as usize
                        && self.memory.is_none_or(|cap| memory + memory_of(*run) <= cap)
                        && keys.iter().all(|key| holders(*key) < key + 1)
                        && match self.pools[*pool] {
                            Size::Missing => false,
                            Size::Unlimited => true,
                            Size::Slots(all) => used(*pool) + slots <= all,
                        }
                })
                .min_by_key(|((run, node), (_, _, priority, _))| (Reverse(*priority), *run, *node))
                .map(|(key, (pool, slots, _, keys))| (*key, (*pool, *slots, keys.clone())));
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
                Op::Ready { run, node, pool: at, slots, priority, keys } => {
                    admission.open(RunKey(run), &dag(), MAX_ACTIVE_TASKS, memory_of(run));
                    admission.undefer(RunKey(run), InstanceId::plain(node));
                    plain.deferred.remove(&(run, node));
                    admission.ready(RunKey(run), InstanceId::plain(node), demand(POOLS[at], slots, priority, &keys));
                    if !plain.active.contains_key(&(run, node)) {
                        plain.ready.entry((run, node)).or_insert((at, slots, priority, keys));
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
                Op::Later { run, node } => {
                    admission.release(RunKey(run), InstanceId::plain(node));
                    if let Some((at, slots, _)) = plain.active.remove(&(run, node)) {
                        admission.defer(RunKey(run), InstanceId::plain(node), &pool(POOLS[at]), slots);
                        plain.deferred.insert((run, node), (at, slots));
                    } else {
                        admission.undefer(RunKey(run), InstanceId::plain(node));
                        plain.deferred.remove(&(run, node));
                    }
                }
                Op::Forget { run } => {
                    admission.forget(RunKey(run));
                    plain.deferred.retain(|(other, _), _| *other != run);
                    plain.ready.retain(|(other, _), _| *other != run);
                    plain.active.retain(|(other, _), _| *other != run);
                }
                Op::Pause(paused) => {
                    admission.set_paused(&dag(), paused);
                    plain.paused = paused;
                }
                Op::Resize { pool: at, slots, include_deferred } => {
                    admission.set_pool(&pool(POOLS[at]), slots, include_deferred);
                    plain.include_deferred[at] = include_deferred;
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
                Op::Memory(cap) => {
                    admission.set_memory(&dag(), cap);
                    plain.memory = cap;
                }
                Op::Admit => prop_assert_eq!(nodes(&admission.admit()), plain.admit()),
            }
            prop_assert_eq!(admission.active() as usize, plain.active.len());
        }
    }
}
