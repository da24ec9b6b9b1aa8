//! Which task instances a clear or a mark is about: pure.

use std::collections::BTreeSet;

use crate::model::{
    dag::{Dag, NodeIndex, Role},
    ids::TaskId,
    state::TaskState,
};

/// Which tasks are meant, around those that are named.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    pub upstream: bool,
    pub downstream: bool,
    /// Teardowns downstream are not meant: they are still to run. Those that are named are.
    pub spares_teardowns: bool,
}

/// The instances of one run that are meant: those named (none: all), with what is upstream or downstream of them, that
/// `wanted` accepts. `instances` lists all that the run has; the answer is ascending.
///
/// What is up- or downstream of a named map_index is meant with all its instances.
///
/// # Errors
/// A named task that the dag does not have.
pub fn instances(
    dag: &Dag,
    named: &[(TaskId, Option<i32>)],
    around: Around,
    instances: impl Iterator<Item = (NodeIndex, i32, TaskState)>,
    wanted: impl Fn(TaskState) -> bool,
) -> Result<Vec<(NodeIndex, i32)>, TaskId> {
    let mut whole: BTreeSet<NodeIndex> = BTreeSet::new();
    let mut single: BTreeSet<(NodeIndex, i32)> = BTreeSet::new();
    for (task_id, map_index) in named {
        let index = dag.index(task_id).ok_or_else(|| task_id.clone())?;
        match map_index {
            Some(map_index) => drop(single.insert((index, *map_index))),
            None => drop(whole.insert(index)),
        }
    }
    let tasks: Vec<_> = whole.iter().copied().chain(single.iter().map(|(index, _)| *index)).collect();
    if around.upstream {
        whole.extend(dag.ancestors(tasks.iter().copied()));
    }
    if around.downstream {
        let is_spared =
            |node: &NodeIndex| around.spares_teardowns && matches!(dag.node(*node).role, Role::Teardown { .. });
        whole.extend(dag.descendants(tasks).into_iter().filter(|node| !is_spared(node)));
    }
    let mut chosen: Vec<_> = instances
        .filter(|(index, map_index, state)| {
            wanted(*state) && (named.is_empty() || whole.contains(index) || single.contains(&(*index, *map_index)))
        })
        .map(|(index, map_index, _)| (index, map_index))
        .collect();
    chosen.sort_unstable();
    Ok(chosen)
}
