//! What the loop tells of itself.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use tokio::sync::Notify;

use super::Health;
use crate::{
    engine::Admission,
    model::{ids::QueueName, queue::Taken, time::Timestamp},
};

/// What the loop tells of itself.
#[derive(Debug)]
pub struct Heartbeat {
    at_us: AtomicI64,
    /// The end of the newest interval that a timetable made a run of.
    scheduled_until_us: AtomicI64,
    running: AtomicU32,
    active_runs: AtomicU32,
    /// What instances would take that wait for workers, by queue.
    waiting: Mutex<BTreeMap<QueueName, Taken>>,
    /// Told after each turn.
    turned: Notify,
}

impl Heartbeat {
    pub fn new(now: Timestamp) -> Self {
        Self {
            at_us: AtomicI64::new(now.as_micros()),
            scheduled_until_us: AtomicI64::new(0),
            running: AtomicU32::new(0),
            active_runs: AtomicU32::new(0),
            waiting: Mutex::default(),
            turned: Notify::new(),
        }
    }

    /// What instances would take that wait for workers that serve `queue`, or any.
    pub fn waiting(&self, queue: Option<&QueueName>) -> Taken {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let of_queue = waiting.iter().filter(|(name, _)| queue.is_none_or(|queue| queue == *name));
        of_queue.map(|(_, wanted)| *wanted).fold(Taken::default(), Taken::and)
    }

    /// The queues that instances wait for, and how many.
    pub fn waiting_queues(&self) -> Vec<(QueueName, u32)> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waited_for = waiting.iter().filter(|(_, wanted)| wanted.attempts > 0);
        waited_for.map(|(queue, wanted)| (queue.clone(), wanted.attempts)).collect()
    }

    /// Counts what waits. Before what was admitted is dispatched, which counts it: nothing counts twice, or a pod would be started too many.
    pub(super) fn count(&self, admission: &Admission) {
        let counts = admission.queues().map(|queue| (queue.clone(), admission.waiting_in(queue))).collect();
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// A turn is over.
    pub(super) fn wait(&self, admission: &Admission) {
        self.count(admission);
        self.turned.notify_one();
    }

    /// Waits for the end of the next turn, or has missed one. For one listener.
    pub async fn turned(&self) {
        self.turned.notified().await;
    }

    pub(super) fn beat(&self, now: Timestamp, active_runs: usize, running: u32) {
        self.at_us.store(now.as_micros(), Ordering::Relaxed);
        self.active_runs.store(u32::try_from(active_runs).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.running.store(running, Ordering::Relaxed);
    }

    /// A timetable has made the run of an interval that ends at `end`.
    pub(super) fn scheduled(&self, end: Timestamp) {
        self.scheduled_until_us.fetch_max(end.as_micros(), Ordering::Relaxed);
    }

    pub fn scheduled_until(&self) -> Timestamp {
        Timestamp::from_micros(self.scheduled_until_us.load(Ordering::Relaxed))
    }

    pub fn health(&self) -> Health {
        Health {
            heartbeat: Timestamp::from_micros(self.at_us.load(Ordering::Relaxed)),
            running: self.running.load(Ordering::Relaxed),
            active_runs: self.active_runs.load(Ordering::Relaxed),
        }
    }
}
