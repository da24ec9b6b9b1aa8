//! Several dags at a time and all that people do to them, several things in one turn: assets, questions, waits for runs, backfills, pools,
//! callbacks, new versions, deletions, retention.

use serde_json::json;

use super::{waits::Waiters, *};
use crate::{
    model::{
        approval::Question,
        backfill::{Intervals, ReprocessBehavior},
        ids::{AssetName, PoolName, RunId},
        retention::Place,
        wait::{RunChoice, RunWait, Wait, WhichRun},
    },
    scheduler::{AnswerRequest, ClearRequest, RequestError},
    store::{
        ApprovalFilter, AssetEventFilter, BackfillNew, DagRunFilter, DagRunOrder, EndedRun, Page, PoolRow,
        QueuedEventFilter, WhichApprovals,
    },
};

/// What the dags are, in the order of their ids.
const DAGS: [&str; 5] = ["asker", "maker", "noon", "taker", "waiter"];
/// Its runs are due by a timetable: it is never deleted.
const NOON: usize = 2;
const MAKER: usize = 1;
const TAKER: usize = 3;
const MAX_SLOTS: u32 = 4;
/// Slots of the pool that the tasks take which are in it.
const TAKES: [(&str, u32); 3] = [("make", 1), ("take", 2), ("tick", 1)];
/// Who waits for whose success.
const AFTER: [(&str, &str); 2] = [("after", "make"), ("then", "ask")];

/// Something that is asked, or that ends. `usize`: which of those that there are, modulo how many.
#[derive(Debug, Clone)]
enum Deed {
    Trigger(usize),
    End(usize, End),
    Pause(usize, bool),
    ClearFailed(usize),
    /// A run, whatever it does.
    Clear(usize),
    MarkRun(usize, bool),
    DeleteRun(usize),
    DeleteDag(usize),
    /// The next version of all dags, whichever of them are gone.
    Deploy,
    Answer(usize),
    Backfill {
        days: u32,
        runs: u32,
    },
    PauseBackfill(bool),
    CancelBackfill,
    AssetEvent,
    DropQueue,
    Retire(usize),
    Slots(u32),
}

#[derive(Debug, Clone)]
enum Hour {
    /// A turn in which all of this comes.
    Turn(Vec<Deed>),
    Wait(u32),
    Crash,
    Fault(CommitFault),
}

fn deed() -> impl Strategy<Value = Deed> {
    let which = any::<usize>;
    prop_oneof![
        6 => which().prop_map(Deed::Trigger),
        20 => (which(), end(1, 3)).prop_map(|(at, end)| Deed::End(at, end)),
        1 => (which(), any::<bool>()).prop_map(|(at, paused)| Deed::Pause(at, paused)),
        1 => which().prop_map(Deed::ClearFailed),
        2 => which().prop_map(Deed::Clear),
        2 => (which(), any::<bool>()).prop_map(|(at, success)| Deed::MarkRun(at, success)),
        2 => which().prop_map(Deed::DeleteRun),
        1 => which().prop_map(Deed::DeleteDag),
        2 => Just(Deed::Deploy),
        4 => which().prop_map(Deed::Answer),
        1 => (1_u32..6, 1_u32..4).prop_map(|(days, runs)| Deed::Backfill { days, runs }),
        1 => any::<bool>().prop_map(Deed::PauseBackfill),
        1 => Just(Deed::CancelBackfill),
        1 => Just(Deed::AssetEvent),
        1 => Just(Deed::DropQueue),
        1 => which().prop_map(Deed::Retire),
        1 => (1..=MAX_SLOTS).prop_map(Deed::Slots),
    ]
}

fn hours() -> impl Strategy<Value = Vec<Hour>> {
    let hour = prop_oneof![
        16 => prop::collection::vec(deed(), 1..5).prop_map(Hour::Turn),
        2 => (1_u32..100).prop_map(Hour::Wait),
        1 => (1_u32..40).prop_map(|hours| Hour::Wait(hours * 3_600)),
        1 => Just(Hour::Crash),
        2 => fault().prop_map(Hour::Fault),
    ];
    prop::collection::vec(hour, 1..60)
}

/// The dags of a version: each second one has one task more in `maker`.
fn dags(version: u8) -> Vec<DagSpec> {
    let task = |id: &str, pool: &str, slots: u32| {
        let mut task = node(id);
        task["pool"] = pool.into();
        task["pool_slots"] = slots.into();
        task
    };
    let dag = |id: &str, runs: u32, fields: serde_json::Value| {
        let mut dag = json!({
            "dag_id": id, "schedule": "manual", "timezone": "UTC", "description": format!("version {version}"),
            "max_active_runs": runs, "max_active_tasks": MAX_ACTIVE_TASKS,
        });
        dag.as_object_mut().expect("it is one").extend(fields.as_object().expect("it is one").clone());
        serde_json::from_value(dag).expect("it is a dag")
    };
    let asset = json!([{"name": "a", "uri": "a", "group": "asset"}]);
    let mut made = vec![task("make", "narrow", 1), task("after", "default_pool", 1)];
    made[0]["outlets"] = json!(["a"]);
    if version.is_multiple_of(2) {
        made.push(task("more", "default_pool", 1));
    }
    let told = json!([{"event": "success", "target": "pager"}, {"event": "failure", "target": "pager"}]);
    let noon = json!({"cron": {"expressions": ["0 12 * * *"], "data_interval": false}});
    vec![
        dag(
            DAGS[0],
            2,
            json!({"nodes": [task("ask", "default_pool", 1), task("then", "default_pool", 1)], "edges": [["ask", "then"]]}),
        ),
        dag(DAGS[1], 2, json!({"nodes": made, "edges": [["make", "after"]], "assets": asset, "callbacks": told})),
        dag(
            DAGS[2],
            1,
            json!({"nodes": [task("tick", "narrow", 1)], "schedule": noon, "start": "2026-01-01T00:00:00Z", "catchup": true}),
        ),
        dag(
            DAGS[3],
            1,
            json!({"nodes": [task("take", "narrow", 2)], "assets": asset, "asset_schedule": {"asset": "a"}}),
        ),
        dag(DAGS[4], 2, json!({"nodes": [task("wait", "default_pool", 1), task("watch", "default_pool", 1)]})),
    ]
}

fn dag_id(at: usize) -> DagId {
    DagId::new(DAGS[at % DAGS.len()]).expect("it is an id")
}

/// What a request came to; none: the process died before it said so.
type Answered = std::pin::Pin<Box<dyn Future<Output = Option<Result<(), RequestError>>>>>;

/// What one turn is told.
#[derive(Default)]
struct Told {
    requests: Vec<Request>,
    answers: Vec<Answered>,
    events: Vec<ExecutorEvent>,
}

impl Told {
    fn ask<T: 'static>(&mut self, request: impl FnOnce(Reply<T>) -> Request) {
        let (reply, answer) = Reply::new();
        self.requests.push(request(reply));
        self.answers.push(Box::pin(async { answer.await.ok().map(|done| done.map(drop)) }));
    }
}

struct Town {
    world: World,
    version: u8,
    slots: u32,
    questions: u32,
    /// Successes that were reported of tasks that make an asset, and events that people asked for: there are no more events than that.
    events_asked: usize,
    /// Dates of runs that somebody may have deleted.
    deleted: BTreeSet<Timestamp>,
    waiters: Waiters,
    /// What was started and ended so far.
    history: Vec<String>,
}

impl Town {
    async fn new() -> Self {
        let mut world = World::with(json!({"nodes": [node("a")]})).await;
        world.max_active_runs =
            (0..DAGS.len()).map(|at| (dag_id(at), if [NOON, TAKER].contains(&at) { 1 } else { 2 })).collect();
        let mut town = Self {
            world,
            version: 1,
            slots: MAX_SLOTS,
            questions: 0,
            events_asked: 0,
            deleted: BTreeSet::new(),
            waiters: Waiters::default(),
            history: Vec::new(),
        };
        let mut told = Told::default();
        town.tell(Deed::Slots(MAX_SLOTS), &mut told).await;
        town.tell(Deed::Deploy, &mut told).await;
        town.turn(told).await;
        town
    }

    async fn runs_of(&self, at: usize) -> Vec<DagRunRow> {
        let filter = DagRunFilter { order_by: DagRunOrder::LogicalDate, ..DagRunFilter::of_dag(dag_id(at)) };
        self.world.store.dag_run_list(&filter, Page::first(1_000)).await.unwrap().items
    }

    /// One of all runs.
    async fn run(&self, which: usize) -> Option<DagRunRow> {
        let filter = DagRunFilter::default();
        let mut runs = self.world.store.dag_run_list(&filter, Page::first(1_000)).await.unwrap().items;
        runs.sort_by_key(|run| run.key.0);
        let at = which % runs.len().max(1);
        runs.into_iter().nth(at)
    }

    /// Adds a deed to what the next turn is told.
    async fn tell(&mut self, deed: Deed, told: &mut Told) {
        match deed {
            Deed::Trigger(at) => {
                self.world.triggered += 1;
                let run_id = RunId::new(&format!("run-{}", self.world.triggered)).ok();
                let request = Box::new(RunRequest { run_id, triggered_by: "rest_api", ..RunRequest::default() });
                let (dag_id, conf, checked_at) = (dag_id(at), "{}".into(), self.world.now);
                told.ask(|reply| Request::Trigger { dag_id, request, conf, checked_at, reply });
            }
            Deed::End(at, end) => {
                let in_flight: Vec<_> = self.world.script.0.lock().unwrap().attempts.iter().cloned().collect();
                if !in_flight.is_empty() {
                    let id = in_flight[at % in_flight.len()].clone();
                    self.end(&id, end, told);
                }
            }
            Deed::Pause(at, paused) => told.ask(|reply| Request::SetPaused { dag_id: dag_id(at), paused, reply }),
            Deed::ClearFailed(at) => {
                let mut request = Box::new(ClearRequest::of_run(dag_id(at), "x".parse().unwrap()));
                (request.run_id, request.only_failed) = (None, true);
                told.ask(|reply| Request::Clear { request, reply });
            }
            Deed::Clear(which) => {
                if let Some(run) = self.run(which).await {
                    let request = Box::new(ClearRequest::of_run(run.dag_id, run.run_id));
                    told.ask(|reply| Request::Clear { request, reply });
                }
            }
            Deed::MarkRun(which, success) => {
                if let Some(DagRunRow { dag_id, run_id, .. }) = self.run(which).await {
                    let state = if success { RunState::Success } else { RunState::Failed };
                    told.ask(|reply| Request::MarkRun { dag_id, run_id, state, reply });
                }
            }
            Deed::DeleteRun(which) => {
                if let Some(DagRunRow { dag_id, run_id, logical_date, .. }) = self.run(which).await {
                    self.deleted.extend(logical_date);
                    self.waiters.excuse(&self.world.store).await;
                    told.ask(|reply| Request::DeleteRun { dag_id, run_id, reply });
                }
            }
            Deed::DeleteDag(at) if at % DAGS.len() == NOON => {}
            Deed::DeleteDag(at) => told.ask(|reply| Request::DeleteDag { dag_id: dag_id(at), reply }),
            Deed::Deploy => {
                self.deploy().await;
                let dag_ids = (0..DAGS.len()).map(dag_id).collect();
                told.ask(|reply| Request::ReloadDags { dag_ids, reply });
            }
            Deed::Answer(which) => {
                let filter = ApprovalFilter { which: WhichApprovals::Waiting, ..ApprovalFilter::default() };
                let asked = self.world.store.approval_list(&filter, Page::first(100)).await.unwrap().items;
                let at = which % asked.len().max(1);
                if let Some(asked) = asked.into_iter().nth(at) {
                    let request = Box::new(AnswerRequest {
                        dag_id: asked.dag_id,
                        run_id: asked.run_id,
                        task_id: asked.instance.task_id,
                        map_index: asked.instance.map_index,
                        chosen: vec!["yes".into()],
                        values: serde_json::Map::new(),
                        username: "ann".into(),
                        delivery: None,
                    });
                    told.ask(|reply| Request::Answer { request, reply });
                }
            }
            Deed::Backfill { days, runs } => {
                let day = |day: u32| -> Timestamp { format!("2025-12-{day:02}T12:00:00Z").parse().unwrap() };
                let intervals = Intervals { from: day(1), to: day(days), until: self.world.now, run_backwards: false };
                let new = Box::new(BackfillNew {
                    dag_id: dag_id(NOON),
                    intervals,
                    max_active_runs: runs,
                    reprocess_behavior: ReprocessBehavior::Failed,
                    dag_run_conf: "{}".into(),
                    total: days,
                    triggering_user: None,
                });
                told.ask(|reply| Request::CreateBackfill { new, reply });
            }
            Deed::PauseBackfill(is_paused) => {
                for row in self.world.store.backfill_list_unfinished().await.unwrap() {
                    told.ask(|reply| Request::PauseBackfill { id: row.id, is_paused, reply });
                }
            }
            Deed::CancelBackfill => {
                for row in self.world.store.backfill_list_unfinished().await.unwrap() {
                    told.ask(|reply| Request::CancelBackfill { id: row.id, reply });
                }
            }
            Deed::AssetEvent => {
                self.events_asked += 1;
                let (asset, extra, user) = (AssetName::new("a").unwrap(), "{}".to_owned(), "ann".to_owned());
                told.ask(|reply| Request::AssetEvent { asset, extra, user, reply });
            }
            Deed::DropQueue => {
                told.ask(|reply| Request::AssetQueueDelete { which: QueuedEventFilter::default(), reply });
            }
            Deed::Retire(at) => {
                let last = Place { end_date: Timestamp::MAX, key: i64::MAX };
                let ended = self.world.store.dag_run_ended(&dag_id(at), Place::FIRST, last, 100).await.unwrap();
                let runs: Vec<EndedRun> = ended.into_iter().filter(|run| !run.is_held).collect();
                self.deleted.extend(runs.iter().filter_map(|run| run.logical_date));
                self.waiters.excuse(&self.world.store).await;
                told.ask(|reply| Request::Retire { dag_id: dag_id(at), runs, reply });
            }
            Deed::Slots(slots) => {
                self.slots = slots;
                let slots = i32::try_from(slots).unwrap();
                let name = PoolName::new("narrow").unwrap();
                let pool = PoolRow { name, slots, description: None, include_deferred: false };
                self.world.store.pool_put(&pool).await.unwrap();
                told.ask(|reply| Request::ReloadPools { reply });
            }
        }
    }

    /// The next version is there; the loop is yet to be told.
    async fn deploy(&mut self) {
        let entry = EntrySpec::new("e");
        let dags = dags(self.version);
        let module = ModuleSpec { sdk: "test".into(), entries: vec![entry], dags, ..ModuleSpec::default() };
        // That of version 1 is the one that the world began with.
        let component = Deploy::of_test(self.version.wrapping_add(1), module, self.world.now);
        let deploy = Deploy { blob: format!("components/{}.wasm", self.version), ..component };
        self.world.store.deploy(&deploy).await.unwrap();
        self.version += 1;
    }

    /// An attempt ends. `End::Later` is to ask, or to wait for another run or an asset, where the task does such things.
    fn end(&mut self, id: &AttemptId, end: End, told: &mut Told) {
        assert!(self.world.take(id));
        self.history.push(format!("{id:?} {end:?}"));
        let now = self.world.now;
        let until = now.after(Duration::from_hours(1));
        let task = id.instance.task_id.as_str();
        let result = match end {
            End::Success | End::Twice => AttemptResult::Success,
            End::Failed => AttemptResult::Failed { retry: true },
            End::Fatal => AttemptResult::Failed { retry: false },
            End::Skipped => AttemptResult::Skipped,
            End::Lost => AttemptResult::Lost,
            End::Later if task == "ask" => {
                self.questions += 1;
                let question = Question {
                    subject: format!("question {}", self.questions),
                    body: None,
                    options: vec!["yes".into(), "no".into()],
                    multiple: false,
                    defaults: Vec::new(),
                    fields: Vec::new(),
                    assignees: Vec::new(),
                };
                AttemptResult::Wait(Wait::Approval(Box::new(question)), until)
            }
            End::Later if task == "wait" => {
                let of = RunChoice { dag_id: DagId::new("maker").unwrap(), run: WhichRun::Newest };
                let (all, any) = ([TaskState::Success].into(), [TaskState::Failed].into());
                AttemptResult::Wait(Wait::Run(RunWait { of, tasks: Vec::new(), all, any }), until)
            }
            End::Later if task == "watch" => {
                // What comes at the same instant counts.
                let since = now.before(Duration::from_micros(1));
                AttemptResult::Wait(Wait::Asset { asset: AssetName::new("a").unwrap(), since }, until)
            }
            End::Later => AttemptResult::Later(now.after(Duration::from_secs(5))),
        };
        if result == AttemptResult::Success && task == "make" {
            self.events_asked += 1;
        }
        if matches!(result, AttemptResult::Later(_) | AttemptResult::Wait(..)) {
            // It will be started again, as the same attempt.
            self.world.script.0.lock().unwrap().ever.remove(id);
        }
        let times = if let End::Twice = end { 2 } else { 1 };
        told.events.extend((0..times).map(|_| completion(id.clone(), result.clone(), now)));
    }

    async fn turn(&mut self, told: Told) {
        let before = self.world.script.0.lock().unwrap().attempts.clone();
        let Told { requests, answers, events } = told;
        let had_died = self.world.deaths;
        self.world.turn(requests, events).await;
        for answer in answers {
            match answer.await {
                None => assert!(self.world.deaths > had_died, "nobody answered"),
                Some(Err(RequestError::Store(error))) => panic!("the database refused: {error:?}"),
                Some(_) => {}
            }
        }
        self.check_starts(&before).await;
        self.waiters.check(&self.world.store).await;
    }

    /// What started since `before` might.
    async fn check_starts(&self, before: &BTreeSet<AttemptId>) {
        let (in_flight, components) = {
            let script = self.world.script.0.lock().unwrap();
            (script.attempts.clone(), script.components.clone())
        };
        let slots_of = |id: &AttemptId| {
            let task = id.instance.task_id.as_str();
            TAKES.iter().find(|(name, _)| *name == task).map_or(0, |(_, slots)| *slots)
        };
        let new: Vec<_> = in_flight.difference(before).collect();
        let taken: u32 = in_flight.iter().map(slots_of).sum();
        assert!(
            taken <= self.slots || new.iter().all(|id| slots_of(id) == 0),
            "{taken} of {} slots: {in_flight:?}",
            self.slots
        );
        for id in new {
            let run =
                self.world.store.dag_run_get_by_key(id.instance.dag_run).await.unwrap().expect("its run is there");
            let version = self.world.store.dag_version_get(run.version).await.unwrap().expect("its version is there");
            assert_eq!(components.get(id), Some(&version.component), "{id:?} is not of its run's version");
            let task = id.instance.task_id.as_str();
            let Some((_, upstream)) = AFTER.iter().find(|(name, _)| *name == task) else { continue };
            let upstream = InstanceKey { task_id: upstream.parse().unwrap(), ..id.instance.clone() };
            let row = self.world.store.task_instance_get(&upstream).await.unwrap().expect("it is there");
            assert_eq!(row.state, TaskState::Success, "{id:?} started before its upstream had succeeded");
        }
    }

    async fn pass(&mut self, hour: Hour) {
        match hour {
            Hour::Turn(deeds) => {
                let mut told = Told::default();
                for deed in deeds {
                    self.tell(deed, &mut told).await;
                }
                self.turn(told).await;
            }
            Hour::Wait(seconds) => {
                self.world.now = self.world.now.after(Duration::from_secs(u64::from(seconds)));
                self.turn(Told::default()).await;
            }
            Hour::Crash => {
                self.world.crash().await;
                self.world.check().await;
                self.check_starts(&BTreeSet::new()).await;
                self.waiters.check(&self.world.store).await;
            }
            Hour::Fault(fault) => self.world.store.plan_fault(fault),
        }
    }

    /// Lets everything go on and succeed.
    async fn calm(&mut self) {
        self.world.store.plan_no_faults();
        let mut told = Told::default();
        self.tell(Deed::Deploy, &mut told).await;
        self.tell(Deed::Slots(MAX_SLOTS), &mut told).await;
        self.tell(Deed::PauseBackfill(false), &mut told).await;
        self.turn(told).await;
        for at in 0..DAGS.len() {
            let mut told = Told::default();
            self.tell(Deed::Pause(at, false), &mut told).await;
            self.tell(Deed::ClearFailed(at), &mut told).await;
            self.turn(told).await;
        }
        for _ in 0..10_000 {
            let next = self.world.script.0.lock().unwrap().attempts.first().cloned();
            let mut told = Told::default();
            if let Some(id) = next {
                self.end(&id, End::Success, &mut told);
                self.turn(told).await;
            } else if self.world.store.dag_run_list_unfinished(None, 1).await.unwrap().is_empty() {
                return;
            } else {
                self.tell(Deed::Answer(0), &mut told).await;
                self.turn(told).await;
                self.pass(Hour::Wait(60)).await;
            }
        }
        panic!("runs are stuck: {:?}", self.world.store.dag_run_list_unfinished(None, 10).await.unwrap());
    }

    /// When all is over.
    async fn check_end(&mut self) {
        let store = self.world.store.clone();
        self.world.check_histories().await;
        // Of runs that were deleted.
        while store.leftover_sweep().await.unwrap().is_some() {}
        assert!(store.wait_list(None).await.unwrap().is_empty(), "somebody waits still");
        let filter = ApprovalFilter { which: WhichApprovals::Waiting, ..ApprovalFilter::default() };
        assert_eq!(store.approval_list(&filter, Page::first(1)).await.unwrap().total, 0, "a question is open still");
        assert!(store.backfill_list_unfinished().await.unwrap().is_empty(), "a backfill goes on");

        let made = store.asset_event_list(&AssetEventFilter::default(), Page::first(1_000)).await.unwrap();
        assert!(made.items.len() <= self.events_asked, "{} of {} events", made.items.len(), self.events_asked);
        let keys: Vec<_> = made.items.iter().map(|event| event.key).collect();
        let consumers = store.dag_run_list_by_asset_events(&keys).await.unwrap();
        let consumed: BTreeSet<_> = consumers.iter().map(|consumer| consumer.event).collect();
        assert_eq!(consumed.len(), consumers.len(), "an event was consumed twice");
        assert!(store.asset_queue_names().await.unwrap().is_empty(), "an event is consumed by nobody");

        for run in self.runs_of(MAKER).await {
            let told = store.callback_list(run.key, Page::first(1_000)).await.unwrap().items;
            let is_it = |row: &crate::store::CallbackRow| {
                let word = if run.state == RunState::Success { "success" } else { "failure" };
                row.callback.task_id.is_none()
                    && row.callback.number == run.clear_number
                    && row.callback.event.as_str() == word
            };
            assert!(told.iter().any(is_it), "nobody was told of {run:?}: {told:?}");
        }

        let dates: BTreeSet<_> = self.runs_of(NOON).await.iter().filter_map(|run| run.logical_date).collect();
        let mut noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        while noon <= self.world.now {
            assert!(dates.contains(&noon) || self.deleted.contains(&noon), "no run of {noon}: {dates:?}");
            noon = noon.after(Duration::from_hours(24));
        }

        for key in (1..store.dag_run_next_key().await.unwrap()).map(DagRunKey) {
            if store.dag_run_get_by_key(key).await.unwrap().is_none() {
                assert!(store.task_instance_list_of_run(key).await.unwrap().is_empty(), "what is left of {key:?}");
            }
        }
        self.world.crash().await;
        assert!(self.world.script.0.lock().unwrap().attempts.is_empty(), "what is over was started again");
    }
}

async fn play(hours: Vec<Hour>) -> Vec<String> {
    let mut town = Town::new().await;
    for hour in hours {
        town.pass(hour).await;
    }
    town.calm().await;
    town.check_end().await;
    town.history
}

#[test]
fn promises_hold_over_any_history_of_several_dags() {
    each_seed(|runner| {
        runner.run(&hours(), |hours| {
            runtime().block_on(play(hours));
            Ok(())
        })
    });
}

#[test]
fn a_seed_gives_the_same_history_of_several_dags_again() {
    for seed in 0..3 {
        let play_seed = || runtime().block_on(play(hours().new_tree(&mut runner(seed)).unwrap().current()));
        assert_eq!(play_seed(), play_seed(), "AIRLOCK_TEST_SEED={seed}");
    }
}
