//! Plans, by tables and by worlds in which anything happens.

use proptest::prelude::*;

use super::*;
use crate::model::pods::settings::Fleets;

const INSTALLATION: &str = "0f3c5a77";

fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(0).after(Duration::from_millis(ms))
}

/// A fleet of these settings.
fn fleet(settings: &str) -> Fleet {
    let text = format!("{{server: 'http://airlock', image: x, fleets: {{gpu: {{{settings}}}}}}}");
    Fleets::parse(&text).unwrap().fleets.into_values().next().unwrap()
}

fn name(place: u32, generation: u64) -> PodName {
    PodName { fleet: "gpu".parse().unwrap(), place, generation }
}

/// A cluster with one fleet, and whoever plans for it.
struct World {
    fleet: Fleet,
    fleet_name: FleetName,
    spec: String,
    pods: BTreeMap<PodName, Pod>,
    workers: BTreeMap<PodName, Worker>,
    met: BTreeSet<PodName>,
    others: u32,
    wanted: u32,
    now: Timestamp,
    book: Book,
    bucket: Bucket,
    /// Every creation that the cluster carried out.
    created: Vec<(Timestamp, PodName)>,
}

impl World {
    fn new(settings: &str) -> Self {
        let now = at(0);
        let fleet = fleet(settings);
        Self {
            fleet,
            fleet_name: "gpu".parse().unwrap(),
            spec: "s".into(),
            pods: BTreeMap::new(),
            workers: BTreeMap::new(),
            met: BTreeSet::new(),
            others: 0,
            wanted: 0,
            now,
            book: Book::new(INSTALLATION),
            bucket: Bucket::new(Rate::default(), now),
            created: Vec::new(),
        }
    }

    fn plan(&mut self) -> Plan {
        let sight = Sight {
            fleet: &self.fleet_name,
            pods: &self.pods,
            workers: &self.workers,
            met: &self.met,
            others: self.others,
            wanted: self.wanted,
            spec: &self.spec,
            now: self.now,
        };
        self.book.plan(&self.fleet, &sight, &mut self.bucket)
    }

    /// What the plan creates, as texts.
    fn creates(&mut self) -> Vec<(u32, u64)> {
        self.plan().create.into_iter().map(|name| (name.place, name.generation)).collect()
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    fn put(&mut self, name: &PodName, phase: Phase) {
        let pod = Pod { phase, is_leaving: false, spec: self.spec.clone(), created_at: self.now, node: None };
        self.pods.insert(name.clone(), pod);
    }

    /// The cluster takes a creation; one of a name that is there changes nothing.
    fn take(&mut self, name: &PodName) {
        if !self.pods.contains_key(name) {
            self.put(name, Phase::Starting(None));
            self.created.push((self.now, name.clone()));
        }
    }

    fn create(&mut self, plan: &Plan) {
        for name in &plan.create {
            self.take(name);
            self.book.created(name);
        }
    }

    fn connect(&mut self, name: &PodName, running: u32) {
        self.pods.get_mut(name).unwrap().phase = Phase::Running;
        let idle_since = (running == 0).then_some(self.now);
        let worker = Worker { slots: self.fleet.slots_of_new(), running, is_draining: false, idle_since };
        self.workers.insert(name.clone(), worker);
        self.met.insert(name.clone());
    }

    /// A pod that has done its work.
    fn end(&mut self, name: &PodName, fault: Option<Fault>) {
        self.workers.remove(name);
        self.pods.get_mut(name).unwrap().phase = Phase::Ended(self.now, fault);
    }

    fn live(&self) -> Vec<PodName> {
        let lives = |(_, pod): &(&PodName, &Pod)| !matches!(pod.phase, Phase::Ended(..));
        self.pods.iter().filter(lives).map(|(name, _)| name.clone()).collect()
    }
}

#[test]
fn as_many_pods_as_there_is_work_for_and_no_more_than_may() {
    for (settings, wanted, others, created) in [
        ("max: 3", 0, 0, 0),
        ("max: 3", 1, 0, 1),
        ("max: 3", 5, 0, 3),
        ("max: 3, slots: 4", 5, 0, 2),
        ("max: 3, slots: 4", 5, 4, 1),
        ("max: 3, slots: 4", 5, 5, 0),
        ("max: 3, slots: 4, attempts: 2", 5, 0, 3),
        ("max: 3, min: 2", 0, 0, 2),
        ("max: 3, min: 2", 1, 9, 2),
        ("max: 100", 100, 0, 20),
    ] {
        let mut world = World::new(settings);
        (world.wanted, world.others) = (wanted, others);
        let plan = world.plan();
        assert_eq!(plan.create.len(), created, "{settings} {wanted} {others}");
        assert_eq!(world.plan().create, [], "what is asked for is not asked for again: {settings} {wanted}");
    }
}

#[test]
fn creations_keep_to_the_rate() {
    let mut world = World::new("max: 1000");
    world.wanted = 1000;
    let plan = world.plan();
    assert_eq!((plan.create.len(), plan.look_at), (20, Some(at(200))));
    world.create(&plan);
    world.pass(100);
    assert_eq!(world.plan().create.len(), 0);
    world.pass(100);
    let plan = world.plan();
    assert_eq!(plan.create.len(), 1);
    world.create(&plan);
    world.pass(60_000);
    assert_eq!(world.plan().create.len(), 20);
}

#[test]
fn a_place_is_given_again_with_the_next_generation() {
    let mut world = World::new("max: 2, attempts: 1");
    world.wanted = 2;
    let plan = world.plan();
    world.create(&plan);
    world.connect(&name(0, 0), 1);
    world.connect(&name(1, 0), 1);
    assert_eq!(world.creates(), []);
    world.end(&name(0, 0), None);
    assert_eq!(world.creates(), [(0, 1)]);
    // One that was lost with its book is asked for under the same name.
    world.book = Book::new(INSTALLATION);
    assert_eq!(world.creates(), [(0, 1)]);
    world.take(&name(0, 1));
    world.book = Book::new(INSTALLATION);
    assert_eq!(world.creates(), []);
}

#[test]
fn a_pod_that_is_idle_is_drained_unless_it_is_one_of_the_least() {
    let mut world = World::new("max: 3, min: 1, slots: 2, idle_seconds: 60");
    world.wanted = 6;
    let plan = world.plan();
    world.create(&plan);
    for place in 0..3 {
        world.connect(&name(place, 0), 0);
    }
    world.wanted = 1;
    assert_eq!(world.plan().look_at, Some(at(60_000)));
    world.pass(59_999);
    assert_eq!(world.plan().drain, []);
    world.pass(1);
    assert_eq!(world.plan().drain, [name(2, 0), name(1, 0)]);
    // Those that are still needed stay.
    world.wanted = 4;
    assert_eq!(world.plan().drain, [name(2, 0)]);
    world.wanted = 0;
    world.workers.get_mut(&name(2, 0)).unwrap().is_draining = true;
    assert_eq!(world.plan().drain, [name(1, 0)]);
}

#[test]
fn ended_pods_stay_for_a_while_and_not_too_many_of_them() {
    let mut world = World::new("max: 1, keep_seconds: 10");
    world.put(&name(0, 7), Phase::Ended(at(0), None));
    assert_eq!((world.plan().delete, world.plan().look_at), (vec![], Some(at(10_000))));
    world.pass(10_000);
    assert_eq!(world.plan().delete, [name(0, 7)]);
    assert_eq!(world.plan().delete, []);
    world.book.not_deleted(&name(0, 7), world.now);
    assert_eq!((world.plan().delete, world.plan().look_at), (vec![], Some(at(15_000))));
    world.pass(5_000);
    assert_eq!(world.plan().delete, [name(0, 7)]);
    let mut world = World::new("max: 1");
    for generation in 0..25 {
        world.put(&name(0, generation), Phase::Ended(at(generation), None));
    }
    assert_eq!(world.plan().delete, (0..5).map(|generation| name(0, generation)).collect::<Vec<_>>());
}

#[test]
fn one_that_never_starts_is_given_up_and_tried_again_later_each_time() {
    let mut world = World::new("max: 1, start_seconds: 100");
    world.wanted = 1;
    let mut pauses = Vec::new();
    for generation in 0..4 {
        let plan = world.plan();
        assert_eq!(plan.create, [name(0, generation)]);
        world.create(&plan);
        assert_eq!(world.plan().look_at, Some(world.now.after(Duration::from_secs(100))));
        world.pass(100_000);
        let plan = world.plan();
        assert_eq!(plan.delete, [name(0, generation)]);
        assert!(world.book.trouble().unwrap().contains("was not here within 100 s"), "{:?}", world.book.trouble());
        world.pods.clear();
        let plan = world.plan();
        let retry = plan.look_at.unwrap();
        pauses.push(retry.since(world.now).as_secs());
        world.now = retry;
    }
    assert_eq!(pauses, [1, 2, 4, 8]);
    let plan = world.plan();
    world.create(&plan);
    world.connect(&name(0, 4), 0);
    world.plan();
    assert_eq!(world.book.trouble(), None);
}

#[test]
fn one_has_its_time_to_start_whatever_the_clock_of_the_cluster_says() {
    for created_at in [at(0), at(999_000_000)] {
        let mut world = World::new("max: 1, start_seconds: 100");
        world.pass(500_000);
        world.wanted = 1;
        let plan = world.plan();
        world.create(&plan);
        world.pods.get_mut(&name(0, 0)).unwrap().created_at = created_at;
        assert!(world.plan().delete.is_empty(), "{created_at:?}");
        world.pass(100_000);
        assert_eq!(world.plan().delete, [name(0, 0)], "{created_at:?}");
    }
}

#[test]
fn where_an_image_can_not_be_had_no_more_pods_are_created() {
    let image = Fault::Image { image: "x".into(), why: "not found".into() };
    for (fault, created) in [(image, 0), (Fault::Unschedulable("no node".into()), 2)] {
        let mut world = World::new("max: 3");
        world.wanted = 1;
        let plan = world.plan();
        world.create(&plan);
        world.put(&name(0, 0), Phase::Starting(Some(fault.clone())));
        world.wanted = 3;
        assert_eq!(world.plan().create.len(), created, "{fault:?}");
    }
}

#[test]
fn refusals_make_the_next_ones_wait_and_are_told() {
    let mut world = World::new("max: 5");
    world.wanted = 2;
    let plan = world.plan();
    for name in &plan.create {
        world.book.not_created(name, "exceeded quota".into(), None, world.now);
    }
    // Both failed at once: that is one failure.
    assert_eq!((world.creates(), world.plan().look_at), (vec![], Some(at(1_000))));
    assert_eq!(world.book.trouble(), Some("exceeded quota"));
    world.pass(1_000);
    let plan = world.plan();
    assert_eq!(plan.create, [name(0, 1), name(1, 1)].map(|name| PodName { generation: 0, ..name }));
    world.book.not_created(&plan.create[0], "later".into(), Some(Duration::from_secs(30)), world.now);
    assert_eq!(world.plan().look_at, Some(at(31_000)));
}

#[test]
fn one_whose_worker_was_lost_counts_for_a_moment_and_is_then_given_up() {
    let mut world = World::new("max: 2");
    world.wanted = 1;
    let plan = world.plan();
    world.create(&plan);
    world.connect(&name(0, 0), 1);
    world.plan();
    world.workers.clear();
    assert_eq!((world.creates(), world.plan().look_at), (vec![], Some(at(15_000))));
    world.pass(15_000);
    assert_eq!(world.creates(), [(1, 0)]);
    world.pass(45_000);
    assert_eq!(world.plan().delete, [name(0, 0)]);
}

#[test]
fn pods_of_settings_of_before_make_room_for_those_of_now() {
    let mut world = World::new("max: 2, min: 2");
    let plan = world.plan();
    world.create(&plan);
    world.connect(&name(1, 0), 1);
    world.spec = "other".into();
    let plan = world.plan();
    assert_eq!((plan.drain, plan.delete), (vec![name(1, 0)], vec![name(0, 0)]));
    // A fleet that is no more.
    world.spec = "s".into();
    world.fleet.max = 0;
    world.fleet.min = 0;
    let plan = world.plan();
    assert_eq!((plan.create, plan.drain), (vec![], vec![name(1, 0)]));
}

#[test]
fn one_that_ends_before_its_worker_was_here_has_failed() {
    let mut world = World::new("max: 1");
    world.wanted = 1;
    let plan = world.plan();
    world.create(&plan);
    world.end(&name(0, 0), Some(Fault::Exited { code: 4, why: String::new() }));
    assert_eq!(world.creates(), []);
    let trouble = world.book.trouble().unwrap();
    assert_eq!(trouble, "pod `airlock-0f3c5a-gpu-0-0` ended with code 4, before its worker was here");
    world.pass(1_000);
    assert_eq!(world.creates(), [(0, 1)]);
}

/// What may happen in a world.
#[derive(Debug, Clone)]
enum Op {
    Want(u32),
    Pass(u64),
    Connect(usize),
    Work(usize),
    Rest(usize),
    LoseWorker(usize),
    End(usize, bool),
    Vanish(usize),
    /// The cluster refuses what is asked from now on, or no more.
    Refuse(bool),
    /// The cluster does what is asked from now on and its answers are lost, or no more.
    Mute(bool),
    /// Whoever plans is started again, and knows nothing.
    Crash,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..12_u32).prop_map(Op::Want),
        (0..40_000_u64).prop_map(Op::Pass),
        (0..6_usize).prop_map(Op::Connect),
        (0..6_usize).prop_map(Op::Work),
        (0..6_usize).prop_map(Op::Rest),
        (0..6_usize).prop_map(Op::LoseWorker),
        ((0..6_usize), any::<bool>()).prop_map(|(index, fails)| Op::End(index, fails)),
        (0..6_usize).prop_map(Op::Vanish),
        any::<bool>().prop_map(Op::Refuse),
        any::<bool>().prop_map(Op::Mute),
        Just(Op::Crash),
    ];
    prop::collection::vec(op, 0..80)
}

/// One plan, carried out.
fn turn(world: &mut World, refuse: bool, mute: bool) {
    let plan = world.plan();
    for name in &plan.create {
        if !refuse {
            world.take(name);
        }
        if refuse || mute {
            world.book.not_created(name, "it did not say".into(), None, world.now);
        } else {
            world.book.created(name);
        }
    }
    for name in &plan.drain {
        let worker = world.workers.get_mut(name).expect("only a worker that is here is drained");
        worker.is_draining = true;
        if worker.running == 0 {
            world.end(name, None);
        }
    }
    for name in &plan.delete {
        if refuse {
            world.book.not_deleted(name, world.now);
        } else {
            world.workers.remove(name);
            world.pods.remove(name);
        }
    }
    let live = world.live();
    assert!(live.len() <= world.fleet.max as usize, "{live:?}");
    let places: BTreeSet<_> = live.iter().map(|name| name.place).collect();
    assert_eq!(places.len(), live.len(), "a place is one pod's: {live:?}");
}

fn happens(world: &mut World, op: &Op) {
    let live = world.live();
    let nth = |index: &usize| live.get(*index).cloned();
    match op {
        Op::Want(wanted) => world.wanted = *wanted,
        Op::Pass(ms) => world.pass(*ms),
        Op::Connect(index) => {
            if let Some(name) = nth(index).filter(|name| !world.workers.contains_key(name)) {
                world.connect(&name, 0);
            }
        }
        Op::Work(index) | Op::Rest(index) => {
            let now = world.now;
            if let Some(worker) = nth(index).and_then(|name| world.workers.get_mut(&name)) {
                let works = matches!(op, Op::Work(_)) && !worker.is_draining;
                (worker.running, worker.idle_since) = if works { (1, None) } else { (0, Some(now)) };
            }
        }
        Op::LoseWorker(index) => drop(nth(index).map(|name| world.workers.remove(&name))),
        Op::End(index, fails) => {
            if let Some(name) = nth(index) {
                let fault = fails.then_some(Fault::OomKilled { limit: None });
                world.end(&name, fault);
            }
        }
        Op::Vanish(index) => {
            if let Some(name) = nth(index) {
                world.pods.remove(&name);
                world.workers.remove(&name);
            }
        }
        Op::Refuse(_) | Op::Mute(_) => {}
        Op::Crash => world.book = Book::new(INSTALLATION),
    }
}

proptest! {
    #[test]
    fn whatever_happens_pods_are_few_enough_and_at_last_as_many_as_wanted(ops in ops(), min in 0..3_u32, slots in 1..3_u32) {
        let mut world = World::new(&format!("max: 4, min: {min}, slots: {slots}, start_seconds: 60, idle_seconds: 30"));
        let (mut refuse, mut mute) = (false, false);
        for op in &ops {
            happens(&mut world, op);
            match op {
                Op::Refuse(is_so) => refuse = *is_so,
                Op::Mute(is_so) => mute = *is_so,
                _ => {}
            }
            turn(&mut world, refuse, mute);
        }
        // Now all goes well again, for a while.
        for wanted in [5, 0] {
            world.wanted = wanted;
            for _ in 0..1_000 {
                turn(&mut world, false, false);
                for name in world.live() {
                    if !world.workers.contains_key(&name) {
                        world.connect(&name, 0);
                    }
                    let worker = world.workers.get_mut(&name).unwrap();
                    if wanted == 0 && worker.running > 0 {
                        (worker.running, worker.idle_since) = (0, Some(world.now));
                    }
                    if worker.is_draining {
                        world.end(&name, None);
                    }
                }
                world.pass(1_000);
            }
            let pods = if wanted > 0 { 5_u32.div_ceil(slots).clamp(min, 4) } else { min };
            let live = world.live().len();
            prop_assert!(if wanted > 0 { live >= pods as usize } else { live == pods as usize }, "{live} of {pods}, {wanted} wanted");
        }
        // In no time were there more creations than the rate allows.
        for (index, (since, _)) in world.created.iter().enumerate() {
            let later = &world.created[index..];
            for (count, (at, _)) in later.iter().enumerate() {
                let may = 20 + at.since(*since).as_micros() / 200_000;
                prop_assert!((count as u128) < may + 1, "{count} in {:?}", at.since(*since));
            }
        }
    }

    #[test]
    fn the_same_sight_makes_the_same_plan(ops in ops()) {
        let run = || {
            let mut world = World::new("max: 4, slots: 2");
            ops.iter().map(|op| { happens(&mut world, op); world.plan() }).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }
}
