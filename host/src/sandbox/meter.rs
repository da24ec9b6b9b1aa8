//! Tells the supervisor how much CPU time an attempt takes, while it takes it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use crate::wire::{AttemptKey, FromRunner};

/// So much is told at a time: an attempt whose dag may have no more ends about so much later.
const TELL_US: u64 = 100_000;

/// Of one attempt.
pub struct Meter {
    attempt: AttemptKey,
    frames: mpsc::Sender<FromRunner>,
    /// Not told yet, microseconds.
    spent_us: AtomicU64,
}

impl Meter {
    pub fn new(attempt: AttemptKey, frames: mpsc::Sender<FromRunner>) -> Self {
        Self { attempt, frames, spent_us: AtomicU64::new(0) }
    }

    /// Counts what `work` takes of this thread.
    pub fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = thread_time();
        let done = work();
        let took = u64::try_from(thread_time().saturating_sub(begun).as_micros()).unwrap_or(u64::MAX);
        let spent = self.spent_us.fetch_add(took, Ordering::Relaxed).saturating_add(took);
        if spent >= TELL_US
            && let Ok(permit) = self.frames.try_reserve()
        {
            permit.send(self.told());
        }
        done
    }

    /// What was not told yet; from now on it is.
    pub fn told(&self) -> FromRunner {
        FromRunner::Used { attempt: self.attempt, cpu_us: self.spent_us.swap(0, Ordering::Relaxed) }
    }
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_told_in_parts_and_once() {
        let (frames, mut queue) = mpsc::channel(1_000);
        let meter = Meter::new(AttemptKey(7), frames);
        let begun = thread_time();
        while thread_time().saturating_sub(begun) < Duration::from_millis(250) {
            meter.measure(|| std::hint::black_box((0..10_000_u64).sum::<u64>()));
        }
        let rest = meter.told();
        queue.close();
        let mut told = Vec::new();
        while let Ok(frame) = queue.try_recv() {
            told.push(frame);
        }
        assert!(!told.is_empty());
        told.push(rest);
        let of = |frame: &FromRunner| match frame {
            FromRunner::Used { attempt: AttemptKey(7), cpu_us } => *cpu_us,
            other => panic!("{other:?}"),
        };
        let all: u64 = told.iter().map(of).sum();
        let took = u64::try_from(thread_time().saturating_sub(begun).as_micros()).unwrap();
        assert!((100_000..=took).contains(&all), "{all} of {took}");
        assert!(matches!(meter.told(), FromRunner::Used { cpu_us: 0, .. }));
    }

    #[test]
    fn waiting_costs_nothing() {
        let (frames, _queue) = mpsc::channel(1);
        let meter = Meter::new(AttemptKey(1), frames);
        meter.measure(|| std::thread::sleep(Duration::from_millis(200)));
        assert!(matches!(meter.told(), FromRunner::Used { cpu_us: ..50_000, .. }));
    }
}
