//! The validated graph of a dag: what everything above works with.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use serde_json::value::RawValue;

use super::{
    expand::{Expand, List, MAX_MAP_LENGTH},
    grants::Grants,
    ids::{DagId, EntryName, PoolName, TaskId},
    retry::Retry,
    spec::{DagSpec, EntrySpec, ExpandSpec, ListSpec, NodeSpec, ParamSpec, RoleSpec, ScheduleSpec, SourceSpec},
    time::Timestamp,
    timetable::Timetable,
    trigger_rule::TriggerRule,
};

/// The most tasks that a dag may have.
pub const MAX_NODES: usize = 100_000;
/// The most edges that a dag may have.
pub const MAX_EDGES: usize = 1_000_000;
/// The most setups that a dag may have.
pub const MAX_SETUPS: usize = 200;

/// A task's place in [`Dag::nodes`].
pub type NodeIndex = u32;
/// A group's place in [`Dag::groups`].
pub type GroupIndex = u32;

/// A dag whose every reference holds. Made by [`Dag::from_spec`] only.
#[derive(Debug, Clone)]
pub struct Dag {
    pub dag_id: DagId,
    pub timetable: Timetable,
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    pub catchup: bool,
    pub max_active_runs: u32,
    pub max_active_tasks: u32,
    pub run_timeout: Option<Duration>,
    /// The first task that fails for good ends the others, but for teardowns.
    pub fail_fast: bool,
    pub params: Vec<ParamSpec>,
    pub grants: Grants,
    /// In a topological order: upstream before downstream.
    pub nodes: Vec<Node>,
    pub groups: Vec<Group>,
    /// Of each task whose list others are expanded over: those, ascending. Tasks of a mapped group are each in it.
    pub expands: BTreeMap<NodeIndex, Vec<NodeIndex>>,
    /// Of each task that others look at without being directly downstream of it: those, ascending.
    pub watchers: BTreeMap<NodeIndex, Vec<Watcher>>,
    /// The reverse of `watchers`: of each task that looks at others without an edge, those.
    pub watches: BTreeMap<NodeIndex, Vec<Watcher>>,
    by_id: BTreeMap<TaskId, NodeIndex>,
}

/// One end of a dependency that is not an edge: whom it leads to, and what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watcher {
    pub node: NodeIndex,
    pub of: Watched,
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// A setup, by a task in its scope: it must succeed. The scope is what lies between the setup and its teardowns,
    /// or all that is downstream of a setup without one.
    Setup,
    /// Work, by a teardown in whose scope it is: it must be finished.
    Work,
}

/// A task of a dag.
#[derive(Debug, Clone)]
pub struct Node {
    pub task_id: TaskId,
    pub entry: EntryName,
    pub inputs: Vec<Binding>,
    /// Direct upstream tasks, ascending.
    pub upstream: Vec<NodeIndex>,
    /// Direct downstream tasks, ascending.
    pub downstream: Vec<NodeIndex>,
    pub retry: Retry,
    /// Wall-clock limit of one attempt.
    pub timeout: Option<Duration>,
    pub trigger_rule: TriggerRule,
    pub pool: PoolName,
    pub pool_slots: u32,
    pub priority_weight: i32,
    pub role: Role,
    pub group: Option<GroupIndex>,
    /// The mapped group around the task, if any. Instances of two tasks of one mapped group depend on each other
    /// index by index.
    pub mapped_group: Option<GroupIndex>,
    pub expand: Option<Expand>,
}

/// Whether a task does the work, prepares it or cleans up after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Work,
    Setup,
    Teardown { setups: Vec<NodeIndex>, on_failure_fail_dagrun: bool },
}

/// A task group.
#[derive(Debug, Clone)]
pub struct Group {
    pub group_id: TaskId,
    pub parent: Option<GroupIndex>,
    pub expand: Option<Expand>,
}

/// One input of a node.
#[derive(Debug, Clone)]
pub struct Binding {
    pub name: String,
    pub source: Source,
    /// Whether an attempt must fail if the bound upstream has no value.
    pub required: bool,
}

/// Where an input's value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A spec's literal, decoded when the attempt is prepared.
    Literal(SourceSpec),
    Param(String),
    Output(NodeIndex),
    /// Of the expansion of the task, or of the mapped group around it.
    Element {
        axis: u32,
        list: u32,
    },
}

/// Something in a described dag that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dag `{dag_id}`: {place}: {why}")]
pub struct DagError {
    pub dag_id: String,
    /// Where in the dag, as "task `load`".
    pub place: String,
    pub why: String,
}

impl Dag {
    /// Checks `spec` and builds its graph; `entries` are those of the component it came with.
    ///
    /// # Errors
    /// The first thing that is wrong: a name, a reference, a cycle, a schedule, a limit.
    pub fn from_spec(spec: &DagSpec, entries: &[EntrySpec]) -> Result<Self, DagError> {
        let fail = |place: &str, why: String| DagError { dag_id: shorten(&spec.dag_id), place: place.to_owned(), why };
        let dag_id = DagId::new(&spec.dag_id).map_err(|error| fail("dag_id", error.to_string()))?;
        if spec.nodes.is_empty() {
            return Err(fail("nodes", "it has no tasks; call at least one task in the dag function".into()));
        }
        if spec.nodes.len() > MAX_NODES {
            return Err(fail("nodes", format!("it has {} tasks; at most {MAX_NODES} are allowed", spec.nodes.len())));
        }
        if spec.max_active_runs == 0 || spec.max_active_tasks == 0 {
            return Err(fail("limits", "max_active_runs and max_active_tasks must be at least 1".into()));
        }
        let timezone = chrono_tz::Tz::from_str(&spec.timezone).map_err(|_| {
            fail(
                "timezone",
                format!("`{}` is not an IANA time zone; write it as `Asia/Seoul`", shorten(&spec.timezone)),
            )
        })?;
        let timetable = Timetable::from_spec(&spec.schedule, timezone, spec.start)
            .map_err(|error| fail("schedule", error.to_string()))?;
        if spec.catchup && spec.start.is_none() {
            return Err(fail("catchup", "catchup needs a start; set `start`".into()));
        }
        if let (Some(start), Some(end)) = (spec.start, spec.end)
            && end < start
        {
            return Err(fail("end", format!("the end {end} is before the start {start}")));
        }
        check_fail_fast(spec).map_err(|(place, why)| fail(&place, why))?;
        let grants = Grants::from_spec(&spec.grants).map_err(|error| fail("grants", error.to_string()))?;
        check_params(spec).map_err(|(place, why)| fail(&place, why))?;

        let graph = Graph::new(spec, entries).map_err(|(place, why)| fail(&place, why))?;
        let watchers = graph.watchers().map_err(|why| fail("setups", why))?;
        Ok(Self {
            dag_id,
            timetable,
            start: spec.start,
            end: spec.end,
            catchup: spec.catchup,
            max_active_runs: spec.max_active_runs,
            max_active_tasks: spec.max_active_tasks,
            run_timeout: spec.run_timeout_ms.map(Duration::from_millis),
            fail_fast: spec.fail_fast,
            params: spec.params.clone(),
            grants,
            expands: graph.expands(),
            watches: reverse(&watchers),
            watchers,
            nodes: graph.nodes,
            groups: graph.groups,
            by_id: graph.by_id,
        })
    }

    /// The index of task `task_id`.
    pub fn index(&self, task_id: &TaskId) -> Option<NodeIndex> {
        self.by_id.get(task_id).copied()
    }

    /// The task at `index`.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index as usize]
    }

    /// All tasks downstream of one of `tasks`, directly or not; ascending. One of them is among these only if it is
    /// downstream of another.
    pub fn descendants(&self, tasks: impl IntoIterator<Item = NodeIndex>) -> BTreeSet<NodeIndex> {
        reach(&self.nodes, tasks, |node| &node.downstream)
    }

    /// All tasks upstream of one of `tasks`, directly or not; ascending. One of them is among these only if it is
    /// upstream of another.
    pub fn ancestors(&self, tasks: impl IntoIterator<Item = NodeIndex>) -> BTreeSet<NodeIndex> {
        reach(&self.nodes, tasks, |node| &node.upstream)
    }

    /// What multiplies `node`: its own expansion, or that of a group around it.
    pub fn expansion<'a>(&'a self, node: &'a Node) -> Option<&'a Expand> {
        expansion(&self.groups, node)
    }

    /// The mapped group around `node`, if any.
    pub fn mapped_group(&self, node: &Node) -> Option<GroupIndex> {
        node.mapped_group
    }

    /// The tasks of group `group_id`, in groups inside it too, that have no upstream task in it; none if there is no
    /// such group. Airflow: `TaskGroup.roots`.
    pub fn group_roots(&self, group_id: &TaskId) -> Option<Vec<NodeIndex>> {
        let group = (0..).zip(&self.groups).find(|(_, group)| group.group_id == *group_id)?.0;
        // A parent stands before its groups.
        let mut inside = BTreeSet::from([group]);
        for (index, group) in (0..).zip(&self.groups) {
            if group.parent.is_some_and(|parent| inside.contains(&parent)) {
                inside.insert(index);
            }
        }
        let is_inside = |node: &Node| node.group.is_some_and(|group| inside.contains(&group));
        let roots = (0..).zip(&self.nodes).filter(|(_, node)| {
            is_inside(node) && !node.upstream.iter().any(|upstream| is_inside(self.node(*upstream)))
        });
        Some(roots.map(|(index, _)| index).collect())
    }

    /// The setups and teardowns that must be cleared together with `tasks`, as what those need may be gone: the setups
    /// in whose scope one of them is, and their teardowns.
    pub fn scope_of(&self, tasks: &BTreeSet<NodeIndex>) -> BTreeSet<NodeIndex> {
        let mut scope = BTreeSet::new();
        if !self.nodes.iter().any(|node| node.role == Role::Setup) {
            return scope;
        }
        let above = self.ancestors(tasks.iter().copied());
        for setup in above.into_iter().filter(|setup| self.node(*setup).role == Role::Setup) {
            let teardowns: BTreeSet<_> = teardowns_of(&self.nodes, setup).collect();
            let below = self.descendants([setup]);
            let before_teardown = self.ancestors(teardowns.iter().copied());
            let is_inside =
                |task: &NodeIndex| below.contains(task) && (teardowns.is_empty() || before_teardown.contains(task));
            if tasks.iter().any(is_inside) {
                scope.insert(setup);
                scope.extend(teardowns);
            }
        }
        scope
    }
}

fn expansion<'a>(groups: &'a [Group], node: &'a Node) -> Option<&'a Expand> {
    node.expand.as_ref().or_else(|| node.mapped_group.and_then(|group| groups[group as usize].expand.as_ref()))
}

fn reverse(watchers: &BTreeMap<NodeIndex, Vec<Watcher>>) -> BTreeMap<NodeIndex, Vec<Watcher>> {
    let mut reversed: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (watched, watchers) in watchers {
        for Watcher { node, of } in watchers {
            reversed.entry(*node).or_default().push(Watcher { node: *watched, of: *of });
        }
    }
    reversed
}

/// The teardowns directly downstream of `setup`.
fn teardowns_of(nodes: &[Node], setup: NodeIndex) -> impl Iterator<Item = NodeIndex> {
    let is_teardown = |index: &NodeIndex| matches!(nodes[*index as usize].role, Role::Teardown { .. });
    nodes[setup as usize].downstream.iter().copied().filter(is_teardown)
}

/// What can be reached from `tasks` by one step or more.
fn reach(
    nodes: &[Node],
    tasks: impl IntoIterator<Item = NodeIndex>,
    next: impl Fn(&Node) -> &[NodeIndex],
) -> BTreeSet<NodeIndex> {
    let mut seen = BTreeSet::new();
    let mut stack: Vec<_> = tasks.into_iter().flat_map(|task| next(&nodes[task as usize])).copied().collect();
    while let Some(task) = stack.pop() {
        if seen.insert(task) {
            stack.extend_from_slice(next(&nodes[task as usize]));
        }
    }
    seen
}

/// `text` cut to what fits into a message.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

type Wrong = (String, String);

/// Airflow: `FailFastDagInvalidTriggerRule`.
fn check_fail_fast(spec: &DagSpec) -> Result<(), Wrong> {
    let is_other = |node: &&NodeSpec| {
        node.trigger_rule != TriggerRule::AllSuccess && !matches!(node.role, RoleSpec::Teardown { .. })
    };
    match spec.nodes.iter().find(is_other).filter(|_| spec.fail_fast) {
        None => Ok(()),
        Some(node) => Err((
            format!("task `{}`", shorten(&node.task_id)),
            "in a dag that is fail_fast, all tasks but teardowns have the trigger rule `all_success`".into(),
        )),
    }
}

fn check_params(spec: &DagSpec) -> Result<(), Wrong> {
    let mut names = BTreeSet::new();
    for param in &spec.params {
        let place = format!("param `{}`", shorten(&param.name));
        if param.name.is_empty() || !names.insert(&param.name) {
            return Err((place, "param names must be unique and not empty".into()));
        }
        if spec.schedule != ScheduleSpec::Manual && param.default.is_none() {
            return Err((place, "a scheduled dag needs a default for each param".into()));
        }
        serde_json::from_str::<serde_json::Value>(&param.schema)
            .map_err(|error| (place.clone(), format!("its schema is not JSON: {error}")))?;
        if let Some(default) = &param.default {
            serde_json::from_str::<serde_json::Value>(default)
                .map_err(|error| (place, format!("its default is not JSON: {error}")))?;
        }
    }
    Ok(())
}

struct Graph {
    nodes: Vec<Node>,
    groups: Vec<Group>,
    by_id: BTreeMap<TaskId, NodeIndex>,
}

impl Graph {
    fn new(spec: &DagSpec, entries: &[EntrySpec]) -> Result<Self, Wrong> {
        let ids = spec
            .nodes
            .iter()
            .map(|node| TaskId::new(&node.task_id).map_err(|error| ("nodes".to_owned(), error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let mut place_in_spec = BTreeMap::new();
        for (at, id) in ids.iter().enumerate() {
            if place_in_spec.insert(id.as_str(), at).is_some() {
                return Err((format!("task `{id}`"), "two tasks have this id; rename one with `.id(\"...\")`".into()));
            }
        }

        let mut edges = BTreeSet::new();
        for (at, node) in spec.nodes.iter().enumerate() {
            let place = || format!("task `{}`", node.task_id);
            for upstream in upstream_ids(node) {
                let from = place_in_spec.get(upstream).ok_or_else(|| {
                    (place(), format!("its upstream `{}` is not a task of this dag", shorten(upstream)))
                })?;
                edges.insert((*from, at));
            }
        }
        for (from, to) in &spec.edges {
            let find = |id: &str| {
                place_in_spec
                    .get(id)
                    .copied()
                    .ok_or_else(|| ("edges".to_owned(), format!("`{}` is not a task of this dag", shorten(id))))
            };
            edges.insert((find(from)?, find(to)?));
        }
        edges.extend(edges_into_mapped_groups(spec, &place_in_spec, &edges)?);
        if edges.len() > MAX_EDGES {
            return Err(("edges".into(), format!("it has {} edges; at most {MAX_EDGES} are allowed", edges.len())));
        }

        let order = topological_order(&ids, &edges)?;
        let mut index_of = vec![0; ids.len()];
        for (index, at) in (0..).zip(&order) {
            index_of[*at] = index;
        }
        let by_id: BTreeMap<_, _> = ids.iter().cloned().zip(index_of.iter().copied()).collect();
        let mut upstream = vec![Vec::new(); ids.len()];
        let mut downstream = vec![Vec::new(); ids.len()];
        for (from, to) in edges {
            let (from, to) = (index_of[from], index_of[to]);
            upstream[to as usize].push(from);
            downstream[from as usize].push(to);
        }
        upstream.iter_mut().chain(&mut downstream).for_each(|list| list.sort_unstable());

        let groups = build_groups(spec, &by_id)?;
        let entries: BTreeMap<&str, &EntrySpec> = entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut nodes = Vec::with_capacity(ids.len());
        for ((at, upstream), downstream) in order.into_iter().zip(upstream).zip(downstream) {
            let node = &spec.nodes[at];
            let built = build_node(node, ids[at].clone(), &by_id, &groups, &entries, spec, upstream, downstream);
            nodes.push(built.map_err(|why| (format!("task `{}`", node.task_id), why))?);
        }
        for (index, node) in (0..).zip(&nodes) {
            check_roles(&nodes, index, node).map_err(|why| (format!("task `{}`", node.task_id), why))?;
        }
        Ok(Self { nodes, groups: groups.list, by_id })
    }

    fn expands(&self) -> BTreeMap<NodeIndex, Vec<NodeIndex>> {
        let mut expands: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (index, node) in (0..).zip(&self.nodes) {
            let sources: BTreeSet<_> =
                expansion(&self.groups, node).map(|expand| expand.sources().collect()).unwrap_or_default();
            for source in sources {
                expands.entry(source).or_default().push(index);
            }
        }
        expands
    }

    fn watchers(&self) -> Result<BTreeMap<NodeIndex, Vec<Watcher>>, String> {
        let setups: Vec<_> =
            (0..).zip(&self.nodes).filter(|(_, node)| node.role == Role::Setup).map(|(index, _)| index).collect();
        if setups.len() > MAX_SETUPS {
            return Err(format!("it has {} setups; at most {MAX_SETUPS} are allowed", setups.len()));
        }
        let mut found = BTreeSet::new();
        for setup in setups {
            let below = reach(&self.nodes, [setup], |node| &node.downstream);
            let teardowns: Vec<_> = teardowns_of(&self.nodes, setup).collect();
            let mut scope = if teardowns.is_empty() { below.clone() } else { BTreeSet::new() };
            for teardown in teardowns {
                let between: BTreeSet<_> =
                    reach(&self.nodes, [teardown], |node| &node.upstream).intersection(&below).copied().collect();
                let direct = &self.nodes[teardown as usize].upstream;
                let work = between.iter().filter(|work| direct.binary_search(work).is_err());
                found.extend(work.map(|work| (*work, Watcher { node: teardown, of: Watched::Work })));
                scope.extend(between);
            }
            let inside = scope.into_iter().filter(|task| {
                let node = &self.nodes[*task as usize];
                node.upstream.binary_search(&setup).is_err() && !matches!(node.role, Role::Teardown { .. })
            });
            found.extend(inside.map(|task| (setup, Watcher { node: task, of: Watched::Setup })));
            if found.len() > MAX_EDGES {
                return Err(format!("the scopes of its setups hold more than {MAX_EDGES} tasks in all"));
            }
        }
        let mut watchers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (watched, watcher) in found {
            watchers.entry(watched).or_default().push(watcher);
        }
        Ok(watchers)
    }
}

fn check_roles(nodes: &[Node], index: NodeIndex, node: &Node) -> Result<(), String> {
    if let Role::Teardown { setups, .. } = &node.role {
        for setup in setups {
            let setup = &nodes[*setup as usize];
            if setup.role != Role::Setup {
                return Err(format!("it tears down `{}`, which is not a setup", setup.task_id));
            }
        }
    }
    let is_fed =
        node.expand.as_ref().is_some_and(|expand| expand.sources().next().is_some()) || node.mapped_group.is_some();
    if is_fed && node.trigger_rule == TriggerRule::Always {
        return Err("a mapped task that waits for a list can't have the trigger rule `always`".into());
    }
    debug_assert!(node.upstream.iter().all(|upstream| *upstream < index), "nodes stand in a topological order");
    Ok(())
}

/// The tasks that `node` takes values or setups from: its edges that are not in [`DagSpec::edges`].
pub fn upstream_ids(node: &NodeSpec) -> impl Iterator<Item = &str> {
    let inputs = node.inputs.iter().filter_map(|binding| match &binding.source {
        SourceSpec::Output(task) => Some(task.as_str()),
        SourceSpec::Literal(_) | SourceSpec::Bytes { .. } | SourceSpec::Param(_) | SourceSpec::Element { .. } => None,
    });
    let expand = node.expand.iter().flat_map(ExpandSpec::sources);
    let setups = match &node.role {
        RoleSpec::Teardown { setups, .. } => setups.as_slice(),
        RoleSpec::Work | RoleSpec::Setup => &[],
    };
    inputs.chain(expand).chain(setups.iter().map(String::as_str))
}

/// The places of the tasks, upstream first; among equals as they are written.
fn topological_order(ids: &[TaskId], edges: &BTreeSet<(usize, usize)>) -> Result<Vec<usize>, Wrong> {
    let mut missing = vec![0_u32; ids.len()];
    let mut downstream = vec![Vec::new(); ids.len()];
    for (from, to) in edges {
        missing[*to] += 1;
        downstream[*from].push(*to);
    }
    let mut ready: BTreeSet<usize> = (0..ids.len()).filter(|at| missing[*at] == 0).collect();
    let mut order = Vec::with_capacity(ids.len());
    while let Some(at) = ready.pop_first() {
        order.push(at);
        for to in &downstream[at] {
            missing[*to] -= 1;
            if missing[*to] == 0 {
                ready.insert(*to);
            }
        }
    }
    if order.len() == ids.len() {
        return Ok(order);
    }
    let graph: DiGraphMap<usize, ()> = edges.iter().copied().collect();
    let cycle = tarjan_scc(&graph).into_iter().find(|part| part.len() > 1 || graph.contains_edge(part[0], part[0]));
    let names: Vec<_> = cycle.unwrap_or_default().iter().rev().take(10).map(|at| format!("`{}`", ids[*at])).collect();
    Err(("edges".into(), format!("there is a cycle through {}", names.join(", "))))
}

/// The groups as they are written: what each is expanded over, and the mapped group that it is or lies in.
struct GroupOutline<'a> {
    expand: Option<&'a ExpandSpec>,
    mapped: Option<&'a str>,
}

fn outline_groups(spec: &DagSpec) -> Result<BTreeMap<&str, GroupOutline<'_>>, Wrong> {
    let mut outlines: BTreeMap<&str, GroupOutline> = BTreeMap::new();
    for group in &spec.groups {
        let fail = |why: String| (format!("group `{}`", shorten(&group.group_id)), why);
        let parent = match &group.parent {
            None => None,
            Some(parent) => Some(outlines.get(parent.as_str()).ok_or_else(|| {
                fail(format!("its parent `{}` must be a group that stands before it", shorten(parent)))
            })?),
        };
        let around = parent.and_then(|parent| parent.mapped);
        if around.is_some() && group.expand.is_some() {
            return Err(fail("a mapped group can't lie in another mapped group".into()));
        }
        let mapped = if group.expand.is_some() { Some(group.group_id.as_str()) } else { around };
        let outline = GroupOutline { expand: group.expand.as_ref(), mapped };
        if outlines.insert(&group.group_id, outline).is_some() {
            return Err(fail("another group has this id".into()));
        }
    }
    Ok(outlines)
}

/// The edges from the list that a mapped group is expanded over to the tasks that stand first in it.
fn edges_into_mapped_groups(
    spec: &DagSpec,
    place_in_spec: &BTreeMap<&str, usize>,
    edges: &BTreeSet<(usize, usize)>,
) -> Result<BTreeSet<(usize, usize)>, Wrong> {
    let outlines = outline_groups(spec)?;
    let outline_of = |node: &NodeSpec| node.group.as_deref().and_then(|group| outlines.get(group));
    let mapped_of = |at: usize| outline_of(&spec.nodes[at]).and_then(|outline| outline.mapped);
    let inner: BTreeSet<usize> = edges
        .iter()
        .filter(|(from, to)| mapped_of(*to).is_some() && mapped_of(*from) == mapped_of(*to))
        .map(|(_, to)| *to)
        .collect();
    let mut found = BTreeSet::new();
    for (at, node) in spec.nodes.iter().enumerate() {
        let Some(mapped) = mapped_of(at) else { continue };
        if node.expand.is_some() {
            let why = format!("a mapped task can't lie in a mapped group (`{}`)", shorten(mapped));
            return Err((format!("task `{}`", node.task_id), why));
        }
        if inner.contains(&at) {
            continue;
        }
        for source in outlines.get(mapped).and_then(|outline| outline.expand).iter().flat_map(|expand| expand.sources())
        {
            let from = place_in_spec.get(source).ok_or_else(|| {
                (format!("group `{}`", shorten(mapped)), format!("`{}` is not a task of this dag", shorten(source)))
            })?;
            found.insert((*from, at));
        }
    }
    Ok(found)
}

/// The groups of a dag, by the index that they have in it.
struct Groups<'a> {
    list: Vec<Group>,
    by_id: BTreeMap<&'a str, GroupIndex>,
    /// Of each group: the mapped group that it is or lies in.
    mapped: Vec<Option<GroupIndex>>,
}

fn build_groups<'a>(spec: &'a DagSpec, by_id: &BTreeMap<TaskId, NodeIndex>) -> Result<Groups<'a>, Wrong> {
    let outlines = outline_groups(spec)?;
    let indexes: BTreeMap<_, _> = spec.groups.iter().map(|group| group.group_id.as_str()).zip(0..).collect();
    let find = |group: &str| indexes.get(group).copied();
    let (mut list, mut mapped) = (Vec::with_capacity(spec.groups.len()), Vec::new());
    for group in &spec.groups {
        let place = || format!("group `{}`", shorten(&group.group_id));
        let group_id = TaskId::new(&group.group_id).map_err(|error| (place(), error.to_string()))?;
        if by_id.contains_key(&group_id) {
            return Err((place(), "a task has this id".into()));
        }
        let expand = resolve_expand(group.expand.as_ref(), by_id).map_err(|why| (place(), why))?;
        list.push(Group { group_id, parent: group.parent.as_deref().and_then(find), expand });
        mapped.push(outlines.get(group.group_id.as_str()).and_then(|outline| outline.mapped).and_then(find));
    }
    Ok(Groups { list, by_id: indexes, mapped })
}

fn resolve_expand(expand: Option<&ExpandSpec>, by_id: &BTreeMap<TaskId, NodeIndex>) -> Result<Option<Expand>, String> {
    let Some(ExpandSpec { axes }) = expand else { return Ok(None) };
    if axes.is_empty() || axes.iter().any(Vec::is_empty) {
        return Err("it is expanded over nothing".into());
    }
    let list = |list: &ListSpec| match list {
        ListSpec::Output(task) => Ok(List::Output(resolve(task, by_id)?)),
        ListSpec::Literal(json) => serde_json::from_str::<Vec<Box<RawValue>>>(json)
            .map(|elements| List::Literal(elements.into_iter().map(|element| element.get().into()).collect()))
            .map_err(|error| format!("what it is expanded over is not a JSON list: {error}")),
    };
    let axes = axes.iter().map(|lists| lists.iter().map(list).collect()).collect::<Result<_, String>>()?;
    let expand = Expand { axes };
    match expand.fixed_length() {
        Some(length) if length > u64::from(MAX_MAP_LENGTH) => {
            Err(format!("it is expanded to {length} instances; at most {MAX_MAP_LENGTH} are allowed"))
        }
        _ => Ok(Some(expand)),
    }
}

fn resolve(task: &str, by_id: &BTreeMap<TaskId, NodeIndex>) -> Result<NodeIndex, String> {
    TaskId::new(task)
        .ok()
        .and_then(|id| by_id.get(&id).copied())
        .ok_or_else(|| format!("`{}` is not a task of this dag", shorten(task)))
}

#[expect(clippy::too_many_arguments, reason = "a node is where all parts of the graph meet")]
fn build_node(
    node: &NodeSpec,
    task_id: TaskId,
    by_id: &BTreeMap<TaskId, NodeIndex>,
    groups: &Groups<'_>,
    entries: &BTreeMap<&str, &EntrySpec>,
    spec: &DagSpec,
    upstream: Vec<NodeIndex>,
    downstream: Vec<NodeIndex>,
) -> Result<Node, String> {
    let entry = entries
        .get(node.entry.as_str())
        .ok_or_else(|| format!("the component has no entry `{}`", shorten(&node.entry)))?;
    let group = match &node.group {
        None => None,
        Some(group) => Some(
            *groups
                .by_id
                .get(group.as_str())
                .ok_or_else(|| format!("group `{}` is not a group of this dag", shorten(group)))?,
        ),
    };
    let mapped_group = group.and_then(|group| groups.mapped[group as usize]);
    let own = resolve_expand(node.expand.as_ref(), by_id)?;
    let expand = own.as_ref().or_else(|| mapped_group.and_then(|group| groups.list[group as usize].expand.as_ref()));
    let mut bound = BTreeSet::new();
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for binding in &node.inputs {
        let name = shorten(&binding.name);
        let parameter = entry
            .inputs
            .iter()
            .find(|parameter| parameter.name == binding.name)
            .ok_or_else(|| format!("entry `{}` has no input `{name}`", entry.name))?;
        if !bound.insert(binding.name.as_str()) {
            return Err(format!("input `{name}` is bound twice"));
        }
        let source = match &binding.source {
            SourceSpec::Output(task) => Source::Output(resolve(task, by_id)?),
            SourceSpec::Param(param) => {
                if !spec.params.iter().any(|known| known.name == *param) {
                    return Err(format!(
                        "input `{name}` names param `{}`, which the dag does not have",
                        shorten(param)
                    ));
                }
                Source::Param(param.clone())
            }
            SourceSpec::Literal(json) => {
                serde_json::from_str::<serde::de::IgnoredAny>(json)
                    .map_err(|error| format!("input `{name}` is not JSON: {error}"))?;
                Source::Literal(binding.source.clone())
            }
            SourceSpec::Bytes { .. } => Source::Literal(binding.source.clone()),
            SourceSpec::Element { axis, list } => {
                let lists = expand.and_then(|expand| expand.axes.get(*axis as usize));
                if lists.is_none_or(|lists| lists.len() <= *list as usize) {
                    return Err(format!(
                        "input `{name}` names list {list} of axis {axis}, over which it is not expanded"
                    ));
                }
                Source::Element { axis: *axis, list: *list }
            }
        };
        inputs.push(Binding { name: binding.name.clone(), source, required: parameter.required });
    }
    if let Some(missing) =
        entry.inputs.iter().find(|parameter| parameter.required && !bound.contains(parameter.name.as_str()))
    {
        return Err(format!("input `{}` of entry `{}` is not bound", shorten(&missing.name), entry.name));
    }
    if node.pool_slots == 0 {
        return Err("pool_slots must be at least 1".into());
    }
    let role = match &node.role {
        RoleSpec::Work => Role::Work,
        RoleSpec::Setup => Role::Setup,
        RoleSpec::Teardown { setups, on_failure_fail_dagrun } => Role::Teardown {
            setups: setups.iter().map(|setup| resolve(setup, by_id)).collect::<Result<_, _>>()?,
            on_failure_fail_dagrun: *on_failure_fail_dagrun,
        },
    };
    Ok(Node {
        task_id,
        entry: EntryName::new(&node.entry).map_err(|error| error.to_string())?,
        inputs,
        upstream,
        downstream,
        retry: Retry::from_spec(node)?,
        timeout: node.timeout_ms.map(Duration::from_millis),
        trigger_rule: node.trigger_rule,
        pool: PoolName::new(&node.pool).map_err(|error| error.to_string())?,
        pool_slots: node.pool_slots,
        priority_weight: node.priority_weight,
        role,
        group,
        mapped_group,
        expand: own,
    })
}
