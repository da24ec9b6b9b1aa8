//! Which task instances a clear or a mark is about: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    dag::{Dag, GroupIndex, Node, NodeIndex, Role},
    ids::TaskId,
    state::TaskState,
};

/// Which tasks are meant, around those that are named.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "these are the switches of Airflow's clears and marks")]
pub struct Around {
    pub upstream: bool,
    pub downstream: bool,
    /// With both: also what is downstream of what is upstream.
    pub beside: bool,
    /// Teardowns downstream are not meant: they are still to run. Those that are named are.
    pub spares_teardowns: bool,
}

/// Tasks with all their instances, and single instances of others.
#[derive(Debug, Clone, Default)]
struct Chosen {
    whole: BTreeSet<NodeIndex>,
    single: BTreeSet<(NodeIndex, i32)>,
}

/// The instances of one run that are meant: those named (none: all), with what is upstream or downstream of them, that
/// `wanted` accepts. `instances` lists all that the run has; the answer is ascending.
///
/// What is up- or downstream of a named map_index is meant with the same map_index inside their mapped group, and with
/// all its instances outside. Airflow: `get_relevant_upstream_map_indexes`.
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
    let is_all = named.is_empty();
    let mut chosen = Chosen::default();
    for (task_id, map_index) in named {
        let index = dag.index(task_id).ok_or_else(|| task_id.clone())?;
        match map_index {
            Some(map_index) => drop(chosen.single.insert((index, *map_index))),
            None => drop(chosen.whole.insert(index)),
        }
    }
    let mut relatives = Vec::new();
    if around.upstream {
        let above = chosen.relatives(dag, |node| &node.upstream);
        if around.downstream && around.beside {
            relatives.push(above.relatives(dag, |node| &node.downstream));
        }
        relatives.push(above);
    }
    if around.downstream {
        let mut below = chosen.relatives(dag, |node| &node.downstream);
        if around.spares_teardowns {
            let is_teardown = |node: NodeIndex| matches!(dag.node(node).role, Role::Teardown { .. });
            below.whole.retain(|node| !is_teardown(*node));
            below.single.retain(|(node, _)| !is_teardown(*node));
        }
        relatives.push(below);
    }
    let is_meant = |index: NodeIndex, map_index: i32| {
        is_all
            || chosen.whole.contains(&index)
            || chosen.single.contains(&(index, map_index))
            || relatives.iter().any(|relatives| relatives.has(index, map_index))
    };
    let meant = instances.filter(|(index, map_index, state)| wanted(*state) && is_meant(*index, *map_index));
    let mut meant: Vec<_> = meant.map(|(index, map_index, _)| (index, map_index)).collect();
    meant.sort_unstable();
    Ok(meant)
}

/// `chosen`, with the setups and teardowns of these, so that resources are made again; ascending. Airflow does the
/// same.
///
/// Those of a mapped group are meant with the map_indexes that are chosen in it, unless what is chosen outside needs
/// them. `instances_of` lists the instances of a task.
pub fn with_scope<I: Iterator<Item = (NodeIndex, i32)>>(
    dag: &Dag,
    chosen: Vec<(NodeIndex, i32)>,
    instances_of: impl Fn(NodeIndex) -> I,
) -> Vec<(NodeIndex, i32)> {
    let tasks: BTreeSet<_> = chosen.iter().map(|(task, _)| *task).collect();
    let scope = dag.scope_of(&tasks);
    let group_of = |task: NodeIndex| dag.node(task).mapped_group;
    // Of each mapped group with some of them: those that are needed from outside, and what is chosen inside.
    let mut groups: BTreeMap<GroupIndex, (BTreeSet<NodeIndex>, BTreeSet<i32>)> = BTreeMap::new();
    for group in scope.iter().filter_map(|task| group_of(*task)) {
        groups.entry(group).or_insert_with(|| {
            let outside = tasks.iter().copied().filter(|task| group_of(*task) != Some(group)).collect();
            let inside = chosen.iter().filter(|(task, _)| group_of(*task) == Some(group));
            (dag.scope_of(&outside), inside.map(|(_, map_index)| *map_index).collect())
        });
    }
    let mut needed = Chosen::default();
    for task in &scope {
        match group_of(*task).and_then(|group| groups.get(&group)) {
            Some((outside, inside)) if !outside.contains(task) => {
                needed.single.extend(inside.iter().map(|map_index| (*task, *map_index)));
            }
            Some(_) | None => drop(needed.whole.insert(*task)),
        }
    }
    let of_scope = scope.into_iter().flat_map(instances_of).filter(|(task, map_index)| needed.has(*task, *map_index));
    let all: BTreeSet<_> = of_scope.chain(chosen).collect();
    all.into_iter().collect()
}

impl Chosen {
    /// All that is one step or more from these, where `next` makes a step. A single instance of a mapped group leads to
    /// single ones in it.
    fn relatives(&self, dag: &Dag, next: impl Fn(&Node) -> &[NodeIndex]) -> Self {
        let mut found = Self::default();
        let mut tasks = Vec::new();
        for task in &self.whole {
            tasks.extend_from_slice(next(dag.node(*task)));
        }
        let mut singles: Vec<_> = self.single.iter().copied().collect();
        while let Some((task, map_index)) = singles.pop() {
            let node = dag.node(task);
            for relative in next(node).iter().copied() {
                let group = dag.node(relative).mapped_group;
                if map_index < 0 || group.is_none() || group != node.mapped_group {
                    tasks.push(relative);
                } else if found.single.insert((relative, map_index)) {
                    singles.push((relative, map_index));
                }
            }
        }
        while let Some(task) = tasks.pop() {
            if found.whole.insert(task) {
                tasks.extend_from_slice(next(dag.node(task)));
            }
        }
        found
    }

    /// Whether these have an instance. One that was not expanded stands for all of its task.
    fn has(&self, task: NodeIndex, map_index: i32) -> bool {
        let has_other = || self.single.range((task, 0)..=(task, i32::MAX)).next().is_some();
        self.whole.contains(&task) || self.single.contains(&(task, map_index)) || (map_index < 0 && has_other())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        dag::Catalog,
        spec::{DagSpec, EntrySpec, ExpandSpec, GroupSpec, ListSpec, NodeSpec, RoleSpec},
        trigger_rule::TriggerRule,
    };

    /// `list -> [g.s -> g.a -> g.b -> g.t] -> end`, `g.a -> out -> g.c` with `g` mapped over three elements; `g.t`
    /// tears `g.s` down.
    fn dag() -> Dag {
        let inner = |id: &str| NodeSpec { group: Some("g".into()), ..NodeSpec::new(id, "noop") };
        let down = RoleSpec::Teardown { setups: vec!["g.s".into()], on_failure_fail_dagrun: false };
        let nodes = vec![
            NodeSpec::new("list", "noop"),
            NodeSpec { role: RoleSpec::Setup, ..inner("g.s") },
            inner("g.a"),
            inner("g.b"),
            NodeSpec { role: down, trigger_rule: TriggerRule::AllDoneSetupSuccess, ..inner("g.t") },
            NodeSpec::new("out", "noop"),
            inner("g.c"),
            NodeSpec::new("end", "noop"),
        ];
        let edges = [
            ("list", "g.s"),
            ("g.s", "g.a"),
            ("g.a", "g.b"),
            ("g.b", "g.t"),
            ("g.b", "end"),
            ("g.a", "out"),
            ("out", "g.c"),
        ];
        let expand = Some(ExpandSpec { axes: vec![vec![ListSpec::Literal("[1, 2, 3]".into())]] });
        let spec = DagSpec {
            nodes,
            edges: edges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
            groups: vec![GroupSpec { group_id: "g".into(), parent: None, doc: None, expand }],
            ..DagSpec::new("d")
        };
        let entry = EntrySpec::new("noop");
        Dag::from_spec(&spec, &Catalog::new(&[entry])).unwrap()
    }

    fn instances_of(dag: &Dag, task: NodeIndex) -> Vec<(NodeIndex, i32)> {
        let map_indexes = if dag.node(task).mapped_group.is_some() { 0..3 } else { -1..0 };
        map_indexes.map(|map_index| (task, map_index)).collect()
    }

    fn names(dag: &Dag, instances: &[(NodeIndex, i32)]) -> BTreeSet<String> {
        let name = |(task, map_index): &(NodeIndex, i32)| format!("{} {map_index}", dag.node(*task).task_id);
        instances.iter().map(name).collect()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn index(dag: &Dag, task: &str) -> NodeIndex {
        dag.index(&TaskId::new(task).unwrap()).unwrap()
    }

    const ALL: [&str; 18] = [
        "list -1", "g.s 0", "g.s 1", "g.s 2", "g.a 0", "g.a 1", "g.a 2", "g.b 0", "g.b 1", "g.b 2", "g.t 0", "g.t 1",
        "g.t 2", "out -1", "g.c 0", "g.c 1", "g.c 2", "end -1",
    ];

    #[test]
    fn inside_a_mapped_group_what_is_around_an_instance_has_its_map_index() {
        let dag = dag();
        let down = Around { downstream: true, ..Around::default() };
        let up = Around { upstream: true, ..Around::default() };
        let spares = Around { spares_teardowns: true, ..down };
        let both = Around { upstream: true, ..down };
        let cases: [(&str, Option<i32>, Around, &[&str]); 11] = [
            ("g.b", Some(1), down, &["g.b 1", "g.t 1", "end -1"]),
            ("g.b", Some(1), spares, &["g.b 1", "end -1"]),
            ("g.t", Some(1), spares, &["g.t 1"]),
            ("g.b", Some(1), up, &["g.b 1", "g.a 1", "g.s 1", "list -1"]),
            ("g.b", Some(1), Around::default(), &["g.b 1"]),
            ("g.a", None, up, &["g.a 0", "g.a 1", "g.a 2", "g.s 0", "g.s 1", "g.s 2", "list -1"]),
            // What comes back into the group by way of a task outside waited for all instances.
            ("g.a", Some(2), down, &["g.a 2", "g.b 2", "g.t 2", "end -1", "out -1", "g.c 0", "g.c 1", "g.c 2"]),
            ("out", Some(-1), down, &["out -1", "g.c 0", "g.c 1", "g.c 2"]),
            ("end", None, down, &["end -1"]),
            ("g.b", Some(1), both, &["list -1", "g.s 1", "g.a 1", "g.b 1", "g.t 1", "end -1"]),
            ("g.b", Some(1), Around { beside: true, ..both }, &ALL),
        ];
        for (task, map_index, around, meant) in cases {
            let named = [(TaskId::new(task).unwrap(), map_index)];
            let all = (0..).take(dag.nodes.len()).flat_map(|task| instances_of(&dag, task));
            let all = all.map(|(task, map_index)| (task, map_index, TaskState::Success));
            let chosen = instances(&dag, &named, around, all, |_| true).unwrap();
            assert_eq!(names(&dag, &chosen), set(meant), "{task} {map_index:?} {around:?}");
        }
    }

    #[test]
    fn setups_and_teardowns_of_a_mapped_group_have_the_map_index_of_what_needs_them() {
        let dag = dag();
        let cases: [(&[&str], &[&str]); 5] = [
            (&["g.s 1"], &["g.s 1", "g.t 1"]),
            (&["g.b 1"], &["g.b 1", "g.s 1", "g.t 1"]),
            (&["g.a 0", "g.b 2"], &["g.a 0", "g.b 2", "g.s 0", "g.s 2", "g.t 0", "g.t 2"]),
            (&["list -1"], &["list -1"]),
            (&["end -1"], &["end -1"]),
        ];
        for (chosen, meant) in cases {
            let named = chosen.iter().map(|name| name.split_once(' ').unwrap());
            let chosen: Vec<_> = named.map(|(task, map)| (index(&dag, task), map.parse().unwrap())).collect();
            let all = with_scope(&dag, chosen, |task| instances_of(&dag, task).into_iter());
            assert_eq!(names(&dag, &all), set(meant));
        }
    }
}
