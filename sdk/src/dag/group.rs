//! Task groups: tasks that belong together, under one name.

use std::{collections::BTreeSet, ops::Range};

use super::{Dag, Elements, Expand, Graph, Handles, NodeRef, Role, Source, last, mapping::ListSource, next};
use crate::error::Result;

/// A group while the dag is built.
#[derive(Debug)]
pub(crate) struct GroupNode {
    /// With those of the groups around it, as `load.clean`.
    pub name: String,
    pub parent: Option<u32>,
    pub doc: Option<String>,
    pub expand: Option<Expand>,
    /// What was added while it was open: its tasks, and those of the groups in it.
    nodes: Range<u32>,
}

impl Graph {
    /// The mapped group around what is added now.
    pub(super) fn mapped_group(&self) -> Option<u32> {
        self.mapped_around(self.open_group)
    }

    /// `group`, or the group around it, that is mapped.
    pub(crate) fn mapped_around(&self, group: Option<u32>) -> Option<u32> {
        let mut around = group;
        while let Some(group) = around {
            if self.groups[group as usize].expand.is_some() {
                return Some(group);
            }
            around = self.groups[group as usize].parent;
        }
        None
    }

    /// All edges, whether they carry a value or not.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn all_edges(&self) -> BTreeSet<(u32, u32)> {
        self.edges_to(0..next(&self.nodes))
    }

    /// Those that lead to `nodes`. It looks at no others: a dag may have thousands of groups, and `describe` two seconds.
    fn edges_to(&self, nodes: Range<u32>) -> BTreeSet<(u32, u32)> {
        let plain = self.edges.range((nodes.start, 0)..(nodes.end, 0));
        let mut edges: BTreeSet<_> = plain.map(|(to, from)| (*from, *to)).collect();
        for index in nodes.clone() {
            let node = &self.nodes[index as usize];
            edges.extend(node.inputs.iter().filter_map(|(_, source)| match source {
                Source::Output(of) | Source::All(of) => Some((*of, index)),
                Source::Literal(_) | Source::Template(_) | Source::Param(_) | Source::Element { .. } => None,
            }));
            edges.extend(sources(node.expand.as_ref()).map(|of| (of, index)));
            if let Role::Teardown { setups, .. } = &node.role {
                edges.extend(setups.iter().map(|setup| (*setup, index)));
            }
        }
        // Into a mapped group lead those of its lists, to what comes first in it.
        let group_of = |node: u32| self.mapped_around(self.nodes[node as usize].group);
        let inner: BTreeSet<u32> = edges
            .iter()
            .filter(|(from, to)| group_of(*to).is_some() && group_of(*from) == group_of(*to))
            .map(|(_, to)| *to)
            .collect();
        for node in nodes.filter(|node| !inner.contains(node)) {
            let expand = group_of(node).and_then(|group| self.groups[group as usize].expand.as_ref());
            edges.extend(sources(expand).map(|of| (of, node)));
        }
        edges
    }

    /// The tasks of `group` that come first, or last, in it. A teardown does not count as last.
    fn ends(&self, group: u32, is_first: bool) -> Vec<u32> {
        let is_teardown = |node: u32| matches!(self.nodes[node as usize].role, Role::Teardown { .. });
        let inside = self.groups[group as usize].nodes.clone();
        let mut linked = BTreeSet::new();
        for (from, to) in self.edges_to(inside.clone()) {
            if inside.contains(&from) && (is_first || !is_teardown(to)) {
                linked.insert(if is_first { to } else { from });
            }
        }
        inside.filter(|node| !linked.contains(node) && (is_first || !is_teardown(*node))).collect()
    }
}

/// The tasks whose lists something is expanded over.
fn sources(expand: Option<&Expand>) -> impl Iterator<Item = u32> {
    expand.into_iter().flat_map(Expand::lists).filter_map(|list| match list {
        ListSource::Output(of) | ListSource::All(of) => Some(*of),
        ListSource::Literal(_) => None,
    })
}

impl Dag {
    /// Adds a group: the tasks that `build` adds lie in it, and their ids begin with its own, as `load.clean`.
    ///
    /// ```
    /// use airlock_sdk::prelude::*;
    ///
    /// #[task]
    /// fn extract() -> u32 { 20 }
    /// #[task]
    /// fn double(n: u32) -> u32 { 2 * n }
    /// #[task]
    /// fn say(n: u32) { info!("{n}") }
    ///
    /// #[dag]
    /// fn doubled(dag: &Dag) {
    ///     let n = extract(dag);
    ///     let twice = dag.group("twice", || double(dag, double(dag, n)));
    ///     say(dag, twice.output);
    ///     say(dag, 0).after(twice); // after all that comes last in the group
    /// }
    /// # let run = airlock_sdk::testing::Host::new().run_dag::<doubled>().unwrap();
    /// # assert_eq!(run.result::<u32>("twice.double__1").unwrap(), 80);
    /// ```
    pub fn group<R>(&self, name: &str, build: impl FnOnce() -> R) -> Group<'_, R> {
        self.add_group(name, |_, ()| Ok(()), (), |()| build())
    }

    /// Adds a group that is run once for each element of a list. Within it each task takes the results of its own
    /// instance; outside, `.all()` of a task's handle has the results of all.
    ///
    /// ```
    /// use airlock_sdk::prelude::*;
    ///
    /// #[task]
    /// fn files() -> Vec<String> { vec!["a".into(), "bcd".into()] }
    /// #[task]
    /// fn read(file: &str) -> String { format!("({file})") }
    /// #[task]
    /// fn size(text: &str) -> usize { text.len() }
    /// #[task]
    /// fn total(sizes: Vec<usize>) -> usize { sizes.iter().sum() }
    ///
    /// #[dag]
    /// fn sizes(dag: &Dag) {
    ///     let each = dag.mapped_group("each", files(dag).each(), |file| size(dag, read(dag, file)));
    ///     total(dag, each.output.all());
    /// }
    /// # let run = airlock_sdk::testing::Host::new().run_dag::<sizes>().unwrap();
    /// # assert_eq!(run.results::<usize>("each.size"), [Some(3), Some(5)]);
    /// # assert_eq!(run.result::<usize>("total").unwrap(), 8);
    /// ```
    pub fn mapped_group<E: Elements, R>(&self, name: &str, over: E, build: impl FnOnce(E) -> R) -> Group<'_, R> {
        self.add_group(name, |group, over: &E| over.join(self, group), over, build)
    }

    fn add_group<E, R>(
        &self,
        name: &str,
        join: impl FnOnce(u32, &E) -> Result<()>,
        over: E,
        build: impl FnOnce(E) -> R,
    ) -> Group<'_, R> {
        let mut graph = self.graph.borrow_mut();
        let parent = graph.open_group;
        let name = match parent {
            None => name.to_owned(),
            Some(parent) => format!("{}.{name}", graph.groups[parent as usize].name),
        };
        let first = next(&graph.nodes);
        graph.groups.push(GroupNode { name, parent, doc: None, expand: None, nodes: first..first });
        let index = last(&graph.groups);
        drop(graph);
        let joined = join(index, &over);
        let mut graph = self.graph.borrow_mut();
        if let Err(error) = joined {
            graph.refuse(error);
        }
        graph.open_group = Some(index);
        drop(graph);
        let output = build(over);
        let graph = &mut *self.graph.borrow_mut();
        graph.open_group = parent;
        graph.groups[index as usize].nodes.end = next(&graph.nodes);
        Group { dag: self, index, output }
    }
}

/// A group of tasks, and what the function that made it returned: usually handles.
#[derive(Debug, Clone, Copy)]
pub struct Group<'dag, R> {
    dag: &'dag Dag,
    index: u32,
    /// What the function returned.
    pub output: R,
}

#[expect(clippy::return_self_not_must_use, reason = "the group is in the dag whatever becomes of its handle")]
impl<R> Group<'_, R> {
    /// Markdown that the page shows.
    pub fn doc(self, markdown: impl Into<String>) -> Self {
        self.dag.graph.borrow_mut().groups[self.index as usize].doc = Some(markdown.into());
        self
    }

    /// What comes first in the group comes after `upstream`.
    pub fn after(self, upstream: impl Handles) -> Self {
        upstream.lasts(&mut |from| self.firsts(&mut |to| self.dag.order(from, to)));
        self
    }

    /// What comes last in the group comes before `downstream`.
    pub fn before(self, downstream: impl Handles) -> Self {
        downstream.firsts(&mut |to| self.lasts(&mut |from| self.dag.order(from, to)));
        self
    }

    fn ends(&self, is_first: bool, visit: &mut dyn FnMut(NodeRef<'_>)) {
        let ends = self.dag.graph.borrow().ends(self.index, is_first);
        for index in ends {
            visit(NodeRef { dag: self.dag, index });
        }
    }
}

impl<R> Handles for Group<'_, R> {
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        self.ends(true, visit);
    }

    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        self.ends(false, visit);
    }
}
