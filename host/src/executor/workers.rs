//! Runners on other machines.
//!
//! A worker is a process elsewhere that starts a runner and passes its stream on to this supervisor. To all else it is a runner
//! like those here: it holds no secret, no database and no storage, and what its attempts ask for is answered from here, within
//! their grants. One that is lost costs its attempts a restart.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use super::{
    Executor, ExecutorEvent, Fleet, Shared,
    outbox::{self, Outbox},
    runner::{self, Hello, OfWorker, Ready, Runner},
};
use crate::{
    model::{
        ids::QueueName,
        queue::{Room, Taken},
        time::{Clock, Timestamp},
    },
    store::InstanceKey,
    wire::{FrameReader, FrameWriter},
};

/// Workers at a time.
pub(super) const MAX_WORKERS: usize = 1_000;

/// A worker that is connected.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Worker {
    pub name: String,
    /// The queues that it serves, with commas between; `*`: all.
    pub queues: String,
    /// Attempts that it runs at a time.
    pub slots: u32,
    /// Attempts that it runs now.
    pub running: u32,
    /// Attempts of its that wait until it has loaded their component.
    #[serde(skip)]
    pub loading: u32,
    /// Memory that its attempts may have together, each as much as its limit; none: any.
    pub memory_mib: Option<u64>,
    /// What those that it runs now may have.
    pub running_memory_mib: u64,
    /// Since when it runs nothing; left out while it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub idle_since: Option<Timestamp>,
    /// It gets no more attempts, and leaves when it has ended those that it has.
    pub is_draining: bool,
    #[schema(value_type = String, format = DateTime)]
    pub connected_at: Timestamp,
}

/// What workers have to do, of one queue or of all: for whoever starts and ends them.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct Workload {
    /// Attempts that wait for a slot of a worker.
    pub waiting: u32,
    /// Attempts that run, here and on workers that serve the queue: also those of their other queues.
    pub running: u32,
    /// Attempts that could run at a time, here and on the workers that take some.
    pub slots: u32,
    /// Slots that there is work for: `waiting` and `running`, and more where they may have more memory than the share of as many slots.
    pub wanted: u32,
    /// Memory that attempts which wait or run may have.
    pub wanted_memory_mib: u64,
    /// Memory that attempts may have on the workers that take some; none: any.
    pub memory_mib: Option<u64>,
    pub workers: Vec<Worker>,
    /// Fleets of pods that workers are in, with those that are about to start.
    pub fleets: Vec<Fleet>,
}

impl Workload {
    /// With what waits elsewhere.
    #[must_use]
    pub fn and_waiting(self, waiting: Taken) -> Self {
        let attempts = self.waiting.saturating_add(waiting.attempts);
        let wanted = Taken {
            attempts: attempts.saturating_add(self.running),
            memory_mib: self.wanted_memory_mib.saturating_add(waiting.memory_mib),
        };
        let slots = Room::of(self.slots, self.memory_mib).slots_for(wanted);
        Self { waiting: attempts, wanted: slots, wanted_memory_mib: wanted.memory_mib, ..self }
    }
}

/// All runners, and what waits for one.
#[derive(Debug)]
pub(super) struct Runners {
    all: RwLock<Vec<Arc<Runner>>>,
    /// The index of the next one: one that is lost still counts for a while, so that it is not given again.
    next: AtomicUsize,
    /// Attempts that none has room for, or whose queue none serves. Locked while an attempt is given its place: so room that comes
    /// meanwhile is either chosen or asks for those that found none, no two take the same slot, and none goes to who leaves.
    homeless: Mutex<Vec<Ready>>,
    /// Workers that were drained, the last ones: they are not to come back.
    drained: Mutex<VecDeque<Uuid>>,
}

impl Runners {
    pub fn new(local: Vec<Arc<Runner>>) -> Self {
        let next = AtomicUsize::new(local.len());
        Self { all: RwLock::new(local), next, homeless: Mutex::default(), drained: Mutex::default() }
    }

    pub fn all(&self) -> Vec<Arc<Runner>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn get(&self, index: usize) -> Option<Arc<Runner>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).iter().find(|runner| runner.index() == index).cloned()
    }

    fn drained(&self) -> MutexGuard<'_, VecDeque<Uuid>> {
        self.drained.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn homeless(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.homeless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of those that serve the queue, and have room for what `wanted` is, the one that has the most, seen from its size.
    fn choose(&self, queue: &QueueName, wanted: Taken) -> Option<Arc<Runner>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        match all.as_slice() {
            [only] if only.worker().is_none() => Some(Arc::clone(only)).filter(|only| only.takes(queue)),
            many => {
                let take = many.iter().filter(|runner| runner.takes(queue));
                let fullness = take.filter_map(|runner| Some((runner.fullness(wanted)?, runner)));
                fullness.min_by_key(|(fullness, _)| *fullness).map(|(_, runner)| Arc::clone(runner))
            }
        }
    }

    fn room_of(&self, queue: &QueueName) -> Option<Room> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let serve = || all.iter().filter(|runner| runner.queues().serve(queue));
        let is_here = serve().any(|runner| runner.worker().is_none());
        // Who drains has the room that it still needs, and none for others.
        let room = |runner: &Arc<Runner>| {
            let running = runner.running();
            let still = Room { slots: running.attempts, memory_mib: running.memory_mib, largest_mib: 0 };
            if runner.is_draining() { still } else { runner.room() }
        };
        (!is_here).then(|| serve().map(room).fold(Room::default(), Room::and))
    }

    pub(super) fn is_left(&self, queue: &QueueName) -> bool {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut serve = all.iter().filter(|runner| runner.queues().serve(queue)).peekable();
        serve.peek().is_some() && serve.all(|runner| runner.is_draining())
    }

    /// Whether there are not too many for one more, which is of this process.
    pub(super) fn has_place_for(&self, process: Uuid) -> bool {
        has_place(&self.all.read().unwrap_or_else(PoisonError::into_inner), process)
    }

    /// A worker's; none if there are too many.
    pub(super) fn add(&self, hello: Hello) -> Option<Arc<Runner>> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if !has_place(&all, hello.process) {
            return None;
        }
        // A stream that only this side believes in: what it ran ended with the other side.
        for runner in all.iter().filter(|runner| runner.worker().is_some_and(|worker| worker.process == hello.process))
        {
            runner.replace();
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let runner = Arc::new(Runner::of_worker(index, hello, Clock.now()));
        all.push(Arc::clone(&runner));
        Some(runner)
    }

    /// The worker of this process is not to come back.
    fn let_go(&self, process: Uuid) {
        let mut drained = self.drained();
        if !drained.contains(&process) {
            drained.truncate(MAX_WORKERS - 1);
            drained.push_front(process);
        }
    }

    pub(super) fn remove(&self, index: usize) {
        self.all.write().unwrap_or_else(PoisonError::into_inner).retain(|runner| runner.index() != index);
    }
}

impl Shared {
    /// Hands an attempt to a runner, or keeps it until there is one.
    pub(super) fn place(self: &Arc<Self>, ready: Ready) {
        let mut homeless = self.runners.homeless();
        if ready.attempt.is_closed() {
            return;
        }
        match self.runners.choose(ready.queue(), ready.attempt.takes()) {
            Some(runner) => runner.submit(self, ready),
            None => homeless.push(ready),
        }
    }

    /// What waits for a worker that is given no more goes elsewhere.
    pub(super) fn place_waiting(self: &Arc<Self>, worker: &Runner) {
        let waiting = {
            let _placing = self.runners.homeless();
            worker.take_waiting()
        };
        for ready in waiting {
            self.place(ready);
        }
    }

    /// There is room, perhaps for those that found none.
    pub(super) fn place_homeless(self: &Arc<Self>) {
        let homeless = std::mem::take(&mut *self.runners.homeless());
        for ready in homeless {
            self.place(ready);
        }
    }
}

impl Executor {
    /// Serves a worker until its stream ends, or it has drained.
    ///
    /// # Errors
    /// If there are too many workers, or why its stream ended.
    pub async fn serve_worker<S: AsyncRead + AsyncWrite>(&self, hello: Hello, stream: S) -> Result<(), String> {
        let shared = &self.shared;
        let Some(runner) = shared.runners.add(hello.clone()) else {
            return Err(format!("there are {MAX_WORKERS} workers"));
        };
        let (slots, memory_mib) = (hello.room.slots, hello.room.memory_mib);
        tracing::info!(worker = hello.name, slots, memory_mib, queues = %hello.queues, "a worker is here");
        shared.fleets.meet(&hello.name);
        let (from, to) = tokio::io::split(stream);
        let (outbox, outgoing) = Outbox::new();
        shared.place_homeless();
        shared.tell(ExecutorEvent::Workers);
        let served = tokio::select! {
            served = runner::serve(shared, &runner, 1, outbox, FrameReader::new(from)) => served.map_err(|error| error.to_string()),
            Err(error) = outbox::write(outgoing, FrameWriter::new(to)) => Err(error.to_string()),
            () = runner.drained() => {
                // Its stream may seem to break to it, rather than to end.
                shared.runners.let_go(hello.process);
                Ok(())
            }
            () = runner.replaced() => Err("the worker has connected again".to_owned()),
        };
        shared.runners.remove(runner.index());
        let lost = if served.is_err() && runner.running().attempts > 0 {
            shared.tell(ExecutorEvent::Workers);
            let of_pod = shared.closing.run_until_cancelled(shared.fleets.fate(&hello.name)).await.flatten();
            Some(of_pod.unwrap_or_else(|| format!("its worker `{}` was lost", hello.name)))
        } else {
            None
        };
        runner.down(shared, lost.as_deref());
        shared.place_waiting(&runner);
        tracing::info!(worker = hello.name, why = lost, "a worker is gone");
        shared.tell(ExecutorEvent::Workers);
        served
    }

    /// Gives a worker no more attempts, or several if they have the same name; false if there is none of that name.
    pub fn drain_worker(&self, name: &str) -> bool {
        self.drain_workers(|worker| worker.name == name)
    }

    /// Gives the worker of this process no more attempts; false if it is not here.
    pub fn drain_process(&self, process: Uuid) -> bool {
        self.drain_workers(|worker| worker.process == process)
    }

    fn drain_workers(&self, is_it: impl Fn(&OfWorker) -> bool) -> bool {
        let mut found = false;
        for runner in self.shared.runners.all() {
            if let Some(worker) = runner.worker().filter(|worker| is_it(worker)) {
                found = true;
                self.shared.runners.let_go(worker.process);
                runner.drain();
                self.shared.place_waiting(&runner);
            }
        }
        self.shared.tell(ExecutorEvent::Workers);
        found
    }

    /// Whether there is a place for the worker of this process.
    pub fn takes_worker(&self, process: Uuid) -> bool {
        self.shared.runners.has_place_for(process)
    }

    /// Whether the worker of this process was drained, and is not to come back.
    pub fn is_drained(&self, process: Uuid) -> bool {
        self.shared.runners.drained().contains(&process)
    }

    /// What there is to do, of `queue` or of all, and who does it; without fleets.
    pub fn workload(&self, queue: Option<&QueueName>) -> Workload {
        let counts = |ready: &Ready| queue.is_none_or(|queue| ready.queue() == queue);
        let mut load = Workload::default();
        let homeless = self.shared.runners.homeless();
        let mut waiting = homeless.iter().filter(|ready| counts(ready)).map(|ready| ready.attempt.takes());
        let mut waiting = waiting.by_ref().fold(Taken::default(), Taken::and);
        drop(homeless);
        let (mut all_running, mut all) = (Taken::default(), Room::default());
        for runner in self.shared.runners.all() {
            // At one moment: an attempt that starts meanwhile would count twice.
            let (loading, running) = runner.waiting_and_running(counts);
            waiting = waiting.and(loading);
            if queue.is_some_and(|queue| !runner.queues().serve(queue)) {
                continue;
            }
            all_running = all_running.and(running);
            if !runner.is_draining() {
                all = all.and(runner.room());
            }
            if let Some(of) = runner.worker() {
                load.workers.push(Worker {
                    name: of.name.clone(),
                    queues: runner.queues().to_string(),
                    slots: runner.room().slots,
                    running: running.attempts,
                    loading: loading.attempts,
                    memory_mib: limited(runner.room().memory_mib),
                    running_memory_mib: running.memory_mib,
                    idle_since: runner.idle_since(),
                    is_draining: of.is_draining.load(Ordering::Relaxed),
                    connected_at: of.connected_at,
                });
            }
        }
        (load.slots, load.memory_mib) = (all.slots, limited(all.memory_mib));
        (load.running, load.wanted_memory_mib) = (all_running.attempts, all_running.memory_mib);
        load.and_waiting(waiting)
    }

    /// Whether all workers that serve `queue` are to leave, and take no more.
    pub fn is_left(&self, queue: &QueueName) -> bool {
        self.shared.runners.is_left(queue)
    }

    /// Whether the attempt of an instance was dispatched, and no worker of its queue has room for it.
    pub fn is_homeless(&self, instance: &InstanceKey) -> bool {
        let homeless = self.shared.runners.homeless();
        homeless.iter().any(|ready| ready.attempt.id().instance == *instance && !ready.attempt.is_closed())
    }

    /// What the workers have room for that serve `queue`; none: its attempts run here, and the server's own limit counts.
    pub fn room_of(&self, queue: &QueueName) -> Option<Room> {
        self.shared.runners.room_of(queue)
    }
}

/// Whether one more may come. A worker that was here already takes its own place.
fn has_place(all: &[Arc<Runner>], process: Uuid) -> bool {
    let others = all.iter().filter(|runner| runner.worker().is_none_or(|worker| worker.process != process));
    others.count() < MAX_WORKERS
}

/// None: any.
fn limited(memory_mib: u64) -> Option<u64> {
    (memory_mib != u64::MAX).then_some(memory_mib)
}
