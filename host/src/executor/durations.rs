//! How long tasks took of late, by which one that runs now is said to be slow. In memory only: after a restart there is nothing to
//! compare with for a while.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;

use super::{Executor, books::Phase};
use crate::model::{
    ids::{DagId, TaskId},
    warning::{NEEDED_TRIES, REMEMBERED_TRIES, RunningTask, TaskPlace},
};

/// Tasks that are remembered; those that ended least recently are forgotten.
const REMEMBERED_TASKS: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// The last successful tries of each task.
#[derive(Debug)]
pub(super) struct Durations(Mutex<LruCache<(DagId, TaskId), VecDeque<Duration>>>);

impl Default for Durations {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED_TASKS)))
    }
}

impl Durations {
    pub fn add(&self, dag_id: &DagId, task_id: &TaskId, took: Duration) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = known.get_or_insert_mut((dag_id.clone(), task_id.clone()), VecDeque::new);
        if tries.len() == REMEMBERED_TRIES {
            tries.pop_front();
        }
        tries.push_back(took);
    }

    /// The longest of them; none if there are too few to say.
    fn longest(&self, dag_id: &DagId, task_id: &TaskId) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = known.peek(&(dag_id.clone(), task_id.clone()))?;
        tries.iter().max().copied().filter(|_| tries.len() >= NEEDED_TRIES)
    }
}

impl Executor {
    /// All tries that run now.
    pub fn running_tasks(&self) -> Vec<RunningTask> {
        let shared = &self.shared;
        let mut running = shared.books.all();
        running.retain(|attempt| matches!(attempt.state().phase, Phase::Sent { .. }));
        let told = running.iter().map(|attempt| {
            let (run, task_id) = (&attempt.assignment.run, &attempt.node().task_id);
            RunningTask {
                longest: shared.durations.longest(&run.dag_id, task_id),
                started_at: attempt.started_at,
                place: TaskPlace {
                    dag_id: run.dag_id.clone(),
                    run_id: run.run_id.clone(),
                    task_id: task_id.clone(),
                    map_index: attempt.id().instance.map_index,
                },
            }
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_the_last_tries_counts() {
        let durations = Durations::default();
        let (dag_id, task_id) = (DagId::new("d").unwrap(), TaskId::new("t").unwrap());
        for seconds in [9, 1] {
            durations.add(&dag_id, &task_id, Duration::from_secs(seconds));
            assert_eq!(durations.longest(&dag_id, &task_id), None, "too few");
        }
        durations.add(&dag_id, &task_id, Duration::from_secs(3));
        assert_eq!(durations.longest(&dag_id, &task_id), Some(Duration::from_secs(9)));
        for _ in 1..REMEMBERED_TRIES - 1 {
            durations.add(&dag_id, &task_id, Duration::from_secs(2));
        }
        assert_eq!(durations.longest(&dag_id, &task_id), Some(Duration::from_secs(3)), "nine was long ago");
        assert_eq!(durations.longest(&dag_id, &TaskId::new("other").unwrap()), None);
    }
}
