//! Who of the ready instances may start now.

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Gives slots to ready instances of all runs.
#[derive(Debug, Default)]
pub struct Admission {
    parallelism: u32,
}

impl Admission {
    pub fn new(parallelism: u32) -> Self {
        Self { parallelism }
    }

    /// Changes how many instances may hold slots in all. What is above it stays until it is released.
    pub fn set_parallelism(&mut self, parallelism: u32) {
        self.parallelism = parallelism;
    }

    /// Makes or resizes a pool; `None`: unlimited.
    pub fn set_pool(&mut self, _pool: &PoolName, _slots: Option<u32>) {}

    /// Removes a pool: what waits for it waits until it is made again.
    pub fn remove_pool(&mut self, _pool: &PoolName) {}

    /// Stops or resumes the admission of a dag's instances, of runs present and to come.
    pub fn set_paused(&mut self, _dag: &DagId, _paused: bool) {}

    /// Tells of a run. To be called before its first [`Admission::ready`].
    pub fn open(&mut self, _run: RunKey, _dag: &DagId, _max_active_tasks: u32) {}

    /// Forgets a run: nothing of it is ready, and what it held is free.
    pub fn forget(&mut self, _run: RunKey) {}

    /// An instance is ready.
    pub fn ready(&mut self, _run: RunKey, _instance: InstanceId, _pool: &PoolName, _slots: u32, _priority: i32) {}

    /// An instance is not ready any more. Does nothing if it was not.
    pub fn withdraw(&mut self, _run: RunKey, _instance: InstanceId) {}

    /// An instance that was admitted holds its slots no longer. Does nothing if it held none.
    pub fn release(&mut self, _run: RunKey, _instance: InstanceId) {}

    /// All that may start now, the most urgent first: higher priority, then older run, then the dag's order.
    pub fn admit(&mut self) -> Vec<Admitted> {
        Vec::new()
    }

    /// Why a ready instance was not admitted; none if it is not ready.
    pub fn waiting(&self, _run: RunKey, _instance: InstanceId) -> Option<Waiting> {
        None
    }
}
