//! The validated graph of a dag: what everything above works with.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};

use super::{
    grants::Grants,
    ids::{DagId, EntryName, PoolName, TaskId},
    retry::Retry,
    spec::{DagSpec, EntrySpec, ExpandSpec, NodeSpec, ParamSpec, RoleSpec, ScheduleSpec, SourceSpec},
    time::Timestamp,
    timetable::Timetable,
    trigger_rule::TriggerRule,
};

/// The most tasks that a dag may have.
pub const MAX_NODES: usize = 100_000;
/// The most edges that a dag may have.
pub const MAX_EDGES: usize = 1_000_000;

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
    pub params: Vec<ParamSpec>,
    pub grants: Grants,
    /// In a topological order: upstream before downstream.
    pub nodes: Vec<Node>,
    pub groups: Vec<Group>,
    by_id: BTreeMap<TaskId, NodeIndex>,
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
    pub expand: Option<Expand>,
}

/// Whether a task does the work, prepares it or cleans up after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Work,
    Setup,
    Teardown { setups: Vec<NodeIndex>, on_failure_fail_dagrun: bool },
}

/// What a mapped task or group has an instance for each of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expand {
    Literal(u32),
    Output(NodeIndex),
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
        let timetable =
            Timetable::from_spec(&spec.schedule, timezone).map_err(|error| fail("schedule", error.to_string()))?;
        if spec.catchup && spec.start.is_none() {
            return Err(fail("catchup", "catchup needs a start; set `start`".into()));
        }
        if let (Some(start), Some(end)) = (spec.start, spec.end)
            && end < start
        {
            return Err(fail("end", format!("the end {end} is before the start {start}")));
        }
        let grants = Grants::from_spec(&spec.grants).map_err(|error| fail("grants", error.to_string()))?;
        check_params(spec).map_err(|(place, why)| fail(&place, why))?;

        let graph = Graph::new(spec, entries).map_err(|(place, why)| fail(&place, why))?;
        Ok(Self {
            dag_id,
            timetable,
            start: spec.start,
            end: spec.end,
            catchup: spec.catchup,
            max_active_runs: spec.max_active_runs,
            max_active_tasks: spec.max_active_tasks,
            run_timeout: spec.run_timeout_ms.map(Duration::from_millis),
            params: spec.params.clone(),
            grants,
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

    /// All tasks downstream of `index`, directly or not, without itself; ascending.
    pub fn descendants(&self, index: NodeIndex) -> BTreeSet<NodeIndex> {
        self.reach(index, |node| &node.downstream)
    }

    /// All tasks upstream of `index`, directly or not, without itself; ascending.
    pub fn ancestors(&self, index: NodeIndex) -> BTreeSet<NodeIndex> {
        self.reach(index, |node| &node.upstream)
    }

    fn reach(&self, index: NodeIndex, next: impl Fn(&Node) -> &[NodeIndex]) -> BTreeSet<NodeIndex> {
        let mut seen = BTreeSet::new();
        let mut stack = next(self.node(index)).to_vec();
        while let Some(index) = stack.pop() {
            if seen.insert(index) {
                stack.extend_from_slice(next(self.node(index)));
            }
        }
        seen
    }

    /// What multiplies `node`: its own expansion, or that of a group around it.
    pub fn expansion(&self, node: &Node) -> Option<Expand> {
        node.expand.or_else(|| self.mapped_group(node).and_then(|group| self.groups[group as usize].expand))
    }

    /// The mapped group around `node`, if any.
    pub fn mapped_group(&self, node: &Node) -> Option<GroupIndex> {
        let mut at = node.group;
        while let Some(index) = at {
            let group = &self.groups[index as usize];
            if group.expand.is_some() {
                return Some(index);
            }
            at = group.parent;
        }
        None
    }
}

/// `text` cut to what fits into a message.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

type Wrong = (String, String);

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
        Ok(Self { nodes, groups, by_id })
    }
}

/// The tasks that `node` takes values or setups from: its edges that are not in [`DagSpec::edges`].
pub fn upstream_ids(node: &NodeSpec) -> impl Iterator<Item = &str> {
    let inputs = node.inputs.iter().filter_map(|binding| match &binding.source {
        SourceSpec::Output(task) => Some(task.as_str()),
        SourceSpec::Literal(_) | SourceSpec::Bytes { .. } | SourceSpec::Param(_) => None,
    });
    let expand = match &node.expand {
        Some(ExpandSpec::Output(task)) => Some(task.as_str()),
        Some(ExpandSpec::Literal(_)) | None => None,
    };
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

fn build_groups(spec: &DagSpec, by_id: &BTreeMap<TaskId, NodeIndex>) -> Result<Vec<Group>, Wrong> {
    let mut groups: Vec<Group> = Vec::with_capacity(spec.groups.len());
    for group in &spec.groups {
        let place = format!("group `{}`", shorten(&group.group_id));
        let group_id = TaskId::new(&group.group_id).map_err(|error| (place.clone(), error.to_string()))?;
        if by_id.contains_key(&group_id) || groups.iter().any(|other| other.group_id == group_id) {
            return Err((place, "a task or another group has this id".into()));
        }
        let parent = match &group.parent {
            None => None,
            Some(parent) => {
                let index = (0..).zip(&groups).find(|(_, other)| other.group_id.as_str() == parent);
                Some(
                    index
                        .ok_or_else(|| {
                            (
                                place.clone(),
                                format!("its parent `{}` must be a group that stands before it", shorten(parent)),
                            )
                        })?
                        .0,
                )
            }
        };
        let expand = resolve_expand(group.expand.as_ref(), by_id).map_err(|why| (place, why))?;
        groups.push(Group { group_id, parent, expand });
    }
    Ok(groups)
}

fn resolve_expand(expand: Option<&ExpandSpec>, by_id: &BTreeMap<TaskId, NodeIndex>) -> Result<Option<Expand>, String> {
    match expand {
        None => Ok(None),
        Some(ExpandSpec::Literal(length)) => Ok(Some(Expand::Literal(*length))),
        Some(ExpandSpec::Output(task)) => Ok(Some(Expand::Output(resolve(task, by_id)?))),
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
    groups: &[Group],
    entries: &BTreeMap<&str, &EntrySpec>,
    spec: &DagSpec,
    upstream: Vec<NodeIndex>,
    downstream: Vec<NodeIndex>,
) -> Result<Node, String> {
    let entry = entries
        .get(node.entry.as_str())
        .ok_or_else(|| format!("the component has no entry `{}`", shorten(&node.entry)))?;
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
    let group = match &node.group {
        None => None,
        Some(group) => Some(
            (0..)
                .zip(groups)
                .find(|(_, known)| known.group_id.as_str() == group)
                .map(|(index, _)| index)
                .ok_or_else(|| format!("group `{}` is not a group of this dag", shorten(group)))?,
        ),
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
        expand: resolve_expand(node.expand.as_ref(), by_id)?,
    })
}
