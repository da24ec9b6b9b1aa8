//! Attempts and workers that come and go at the same moment.

use std::{hint, sync::Barrier, thread};

use uuid::Uuid;

use super::*;
use crate::{
    executor::{
        Hello,
        runner::{Ready, Runner},
        workers::MAX_WORKERS,
    },
    model::{
        ids::QueueName,
        queue::{Queues, Room},
    },
    wire::{Instance, Limits, RunAttempt, TapeMode},
};

/// Moments are short: something that comes between them does so in a few of these.
const ROUNDS: usize = 20_000;

impl Fixture {
    /// One whose attempts run on workers only.
    async fn of_workers() -> Self {
        let fixture = Self::pair(serde_json::json!([])).await;
        fixture.shared.runners.remove(0);
        fixture
    }

    fn ready(&self) -> Ready {
        let attempt = self.shared.books.open(self.assignment("a", -1), None, None);
        let instance = Instance {
            dag_id: "d".into(),
            run_id: "r".into(),
            task_id: "a".into(),
            map_index: -1,
            try_number: 1,
            max_tries: 1,
            started_at: now(),
            logical_date: None,
            data_interval_start: None,
            data_interval_end: None,
            run_after: now(),
            next_run_after: None,
            timezone: "UTC".into(),
            params: "{}".into(),
            traceparent: None,
        };
        let limits = Limits { memory_bytes: 1 << 20, timeout_ms: None, log_bytes: 1, host_calls: 1 };
        let run = RunAttempt {
            attempt: attempt.key,
            component: Digest([1; 32]),
            entry: "e".into(),
            instance,
            inputs: Vec::new(),
            limits,
            tape: TapeMode::Off,
        };
        Ready { attempt, run: Box::new(run), memory: None }
    }

    /// A worker with one slot.
    fn worker(&self) -> Arc<Runner> {
        let hello = Hello {
            name: "w".into(),
            process: Uuid::new_v4(),
            room: Room::of(1, None),
            queues: Queues::All,
            attempts: None,
        };
        self.shared.runners.add(hello).unwrap()
    }
}

/// Does both as nearly at once as two threads can, in each round with another delay of the first.
fn at_once<A: Send, B>(round: usize, one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let one = scope.spawn(|| {
            barrier.wait();
            (0..round % 128).for_each(|_| hint::spin_loop());
            one()
        });
        barrier.wait();
        let other = other();
        (one.join().unwrap(), other)
    })
}

fn waiting(worker: &Runner) -> u32 {
    worker.waiting_and_running(|_| true).0.attempts
}

#[tokio::test]
async fn an_attempt_and_a_worker_that_come_at_once_find_each_other() {
    let fixture = Fixture::of_workers().await;
    let shared = &fixture.shared;
    for round in 0..ROUNDS {
        let ready = fixture.ready();
        let come = || {
            let worker = fixture.worker();
            shared.place_homeless();
            worker
        };
        let ((), worker) = at_once(round, || shared.place(ready), come);
        assert_eq!(waiting(&worker), 1, "round {round}");
        shared.runners.remove(worker.index());
    }
}

#[tokio::test]
async fn attempts_that_come_at_once_do_not_take_the_same_slot() {
    let fixture = Fixture::of_workers().await;
    let shared = &fixture.shared;
    for round in 0..ROUNDS {
        let workers = [fixture.worker(), fixture.worker()];
        let (one, other) = (fixture.ready(), fixture.ready());
        at_once(round, || shared.place(one), || shared.place(other));
        assert_eq!(workers.each_ref().map(|worker| waiting(worker)), [1, 1], "round {round}");
        for worker in workers {
            shared.runners.remove(worker.index());
        }
    }
}

#[tokio::test]
async fn an_attempt_that_comes_as_its_worker_leaves_goes_elsewhere() {
    let fixture = Fixture::of_workers().await;
    let shared = &fixture.shared;
    for round in 0..ROUNDS {
        let worker = fixture.worker();
        let ready = fixture.ready();
        let leave = || {
            shared.runners.remove(worker.index());
            shared.place_waiting(&worker);
        };
        at_once(round, || shared.place(ready), leave);
        let successor = fixture.worker();
        shared.place_homeless();
        assert_eq!((waiting(&worker), waiting(&successor)), (0, 1), "round {round}");
        shared.runners.remove(successor.index());
    }
}

#[tokio::test]
async fn no_more_workers_come_than_may_but_one_that_is_here_comes_back() {
    let fixture = Fixture::of_workers().await;
    let runners = &fixture.shared.runners;
    let workers: Vec<_> = (0..MAX_WORKERS).map(|_| fixture.worker()).collect();
    let process = |worker: &Runner| worker.worker().unwrap().process;
    assert!(!runners.has_place_for(Uuid::new_v4()));
    assert!(runners.has_place_for(process(&workers[0])));
    runners.remove(workers[1].index());
    assert!(runners.has_place_for(Uuid::new_v4()));
}

#[tokio::test]
async fn a_queue_is_left_when_all_who_serve_it_leave() {
    let fixture = Fixture::of_workers().await;
    let runners = &fixture.shared.runners;
    let queue = QueueName::default();
    assert!(!runners.is_left(&queue));
    let workers = [fixture.worker(), fixture.worker()];
    for (at, worker) in workers.iter().enumerate() {
        assert!(!runners.is_left(&queue), "{at}");
        worker.drain();
    }
    assert!(runners.is_left(&queue));
    fixture.worker();
    assert!(!runners.is_left(&queue));
}
