//! The memory that the attempts of one dag may have at a time.
//!
//! All attempts of a run take the same. So a dag that has no room for one more of a run shuts that run, as one does that is full,
//! and a dag without a cap costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Admission, RunKey};
use crate::model::ids::DagId;

/// Dags with a cap.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<DagId, OfDag>);

#[derive(Debug, Default)]
struct OfDag {
    cap_mib: u32,
    taken_mib: u64,
    /// The dag's runs, by what an attempt of each takes.
    runs: BTreeSet<(u32, RunKey)>,
}

impl OfDag {
    fn free_mib(&self) -> u64 {
        u64::from(self.cap_mib).saturating_sub(self.taken_mib)
    }
}

impl Memory {
    /// Whether one more attempt that takes `wanted_mib` may start.
    pub fn has_room(&self, dag: &DagId, wanted_mib: u32) -> bool {
        self.0.is_empty() || self.0.get(dag).is_none_or(|of_dag| u64::from(wanted_mib) <= of_dag.free_mib())
    }

    pub fn cap_of(&self, dag: &DagId) -> Option<u32> {
        Some(self.0.get(dag)?.cap_mib)
    }

    /// A run was opened.
    fn opened(&mut self, dag: &DagId, run: RunKey, memory_mib: u32) {
        if let Some(of_dag) = self.0.get_mut(dag) {
            of_dag.runs.insert((memory_mib, run));
        }
    }

    /// Changes what is taken. Answers the runs that there is room for now and was not before, or the other way.
    fn change(&mut self, dag: &DagId, change: impl FnOnce(u64) -> u64) -> Vec<RunKey> {
        let Some(of_dag) = self.0.get_mut(dag) else { return Vec::new() };
        let before = of_dag.free_mib();
        of_dag.taken_mib = change(of_dag.taken_mib);
        let after = of_dag.free_mib();
        let Ok(first) = u32::try_from(before.min(after) + 1) else { return Vec::new() };
        let last = u32::try_from(before.max(after)).unwrap_or(u32::MAX);
        if first > last {
            return Vec::new();
        }
        let changed = of_dag.runs.range((first, RunKey(i64::MIN))..=(last, RunKey(i64::MAX)));
        changed.map(|(_, run)| *run).collect()
    }
}

impl Admission {
    /// Says how much memory the attempts of a dag may have at a time; None: any. What they have above it stays until it is released.
    pub fn set_memory(&mut self, dag: &DagId, cap_mib: Option<u32>) {
        if self.memory.cap_of(dag) == cap_mib {
            return;
        }
        self.memory.0.remove(dag);
        if let Some(cap_mib) = cap_mib {
            self.memory.0.insert(dag.clone(), self.count(dag, cap_mib));
        }
        self.refresh_all(dag);
    }

    /// The runs of a dag as they stand, for a cap that is new.
    fn count(&self, dag: &DagId, cap_mib: u32) -> OfDag {
        let mut of_dag = OfDag { cap_mib, ..OfDag::default() };
        for run in self.runs_of.get(dag).into_iter().flatten() {
            let Some(entry) = self.runs.get(run) else { continue };
            of_dag.runs.insert((entry.memory_mib, *run));
            of_dag.taken_mib += entry.active.len() as u64 * u64::from(entry.memory_mib);
        }
        of_dag
    }

    /// A run was opened, or its attempts take another amount from now on.
    pub(super) fn memory_opened(&mut self, dag: &DagId, run: RunKey, before_mib: Option<u32>) {
        let Some(memory_mib) = self.runs.get(&run).map(|entry| entry.memory_mib) else { return };
        match (before_mib, self.memory.cap_of(dag)) {
            (Some(before), Some(cap_mib)) if before != memory_mib => {
                self.memory.0.insert(dag.clone(), self.count(dag, cap_mib));
                self.refresh_all(dag);
            }
            _ => self.memory.opened(dag, run, memory_mib),
        }
    }

    /// An attempt of `run` takes its memory.
    pub(super) fn take_memory(&mut self, run: RunKey) {
        self.change_memory(run, |taken, mib| taken + mib);
    }

    /// An attempt of `run` takes it no more.
    pub(super) fn free_memory(&mut self, run: RunKey) {
        self.change_memory(run, u64::saturating_sub);
    }

    fn change_memory(&mut self, run: RunKey, change: impl FnOnce(u64, u64) -> u64) {
        if self.memory.0.is_empty() {
            return;
        }
        let Some(entry) = self.runs.get(&run) else { return };
        let (Some(dag), memory_mib) = (entry.dag.as_ref(), entry.memory_mib) else { return };
        for changed in self.memory.change(dag, |taken| change(taken, u64::from(memory_mib))) {
            self.refresh(changed);
        }
    }

    /// A run is gone, of which `active` attempts had memory.
    pub(super) fn memory_forgotten(&mut self, dag: &DagId, run: RunKey, memory_mib: u32, active: usize) {
        if let Some(of_dag) = self.memory.0.get_mut(dag) {
            of_dag.runs.remove(&(memory_mib, run));
        }
        let freed = active as u64 * u64::from(memory_mib);
        for changed in self.memory.change(dag, |taken| taken.saturating_sub(freed)) {
            self.refresh(changed);
        }
    }

    pub(super) fn refresh_all(&mut self, dag: &DagId) {
        let runs: Vec<_> = self.runs_of.get(dag).into_iter().flatten().copied().collect();
        for run in runs {
            self.refresh(run);
        }
    }
}
