//! From what was described to a graph whose every reference holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use serde_json::value::RawValue;

use super::{
    Binding, Catalog, Group, GroupIndex, MAX_EDGES, MAX_SETUPS, MAX_STARTED, Node, NodeIndex, Past, Role, Source,
    Watched, Watcher, cache::cache, expansion, reach, shorten, teardowns_of, weight::weigh, words::Words,
};
use crate::model::{
    callback::{CallbackEvent, Callbacks},
    expand::{Expand, List, MAX_MAP_LENGTH},
    grants,
    ids::{AssetName, EntryName, PoolName, QueueName, TaskId},
    retry::Retry,
    schema::{Effort, Schema},
    spec::{DagSpec, ExpandSpec, ListSpec, NodeSpec, RoleSpec, ScheduleSpec, SourceSpec},
    state::RunType,
    trigger_rule::TriggerRule,
};

type Wrong = (String, String);

/// What callbacks of tasks tell.
const OF_TASKS: [CallbackEvent; 5] = [
    CallbackEvent::Success,
    CallbackEvent::Failure,
    CallbackEvent::Retry,
    CallbackEvent::Skipped,
    CallbackEvent::Question,
];

/// What makes runs by itself must be allowed to.
pub(super) fn check_run_types(spec: &DagSpec) -> Result<(), Wrong> {
    let makers = [
        (spec.schedule != ScheduleSpec::Manual, RunType::Scheduled, "it has a schedule"),
        (spec.asset_schedule.is_some(), RunType::AssetTriggered, "it runs after assets"),
    ];
    makers.iter().filter(|(is_said, ..)| *is_said).try_for_each(|(_, run_type, what)| {
        let allowed = spec.check_run_type(*run_type);
        allowed.map_err(|why| ("allowed_run_types".to_owned(), format!("{what}, and {why}")))
    })
}

/// Airflow: `FailFastDagInvalidTriggerRule`.
pub(super) fn check_fail_fast(spec: &DagSpec) -> Result<(), Wrong> {
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

pub(super) fn check_params(spec: &DagSpec) -> Result<(), Wrong> {
    let mut names = BTreeSet::new();
    for param in &spec.params {
        let place = format!("param `{}`", shorten(&param.name));
        if param.name.is_empty() || !names.insert(&param.name) {
            return Err((place, "param names must be unique and not empty".into()));
        }
        if spec.runs_by_itself() && param.default.is_none() {
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

/// Each dag that a callback starts is a request for a grant, which somebody may have to read.
pub(super) fn check_started(spec: &DagSpec) -> Result<(), Wrong> {
    match grants::started_by_callbacks(spec).len() {
        0..=MAX_STARTED => Ok(()),
        many => Err(("callbacks".into(), format!("they start {many} dags; at most {MAX_STARTED} are allowed"))),
    }
}

/// That the params of a new version can be used: a run would be refused only when somebody needs it. Airflow: `DAG.validate`.
pub(super) fn check_schemas(spec: &DagSpec) -> Result<(), Wrong> {
    let mut effort = Effort::default();
    for param in &spec.params {
        let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
        let checked = Schema::new(&json(&param.schema), &mut effort)
            .map_err(|error| format!("its schema can't be used: {error}"))
            .and_then(|schema| match param.default.as_deref().filter(|_| spec.runs_by_itself()) {
                Some(default) => schema
                    .check(&json(default), &mut effort)
                    .map_err(|error| format!("a scheduled dag needs a default that fits its schema: {error}")),
                None => Ok(()),
            });
        checked.map_err(|why| (format!("param `{}`", shorten(&param.name)), why))?;
    }
    Ok(())
}

pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub groups: Vec<Group>,
    pub by_id: BTreeMap<TaskId, NodeIndex>,
}

impl Graph {
    pub fn new(spec: &DagSpec, catalog: &Catalog<'_>, words: &Words<'_>) -> Result<Self, Wrong> {
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
        let mut nodes = Vec::with_capacity(ids.len());
        for ((at, upstream), downstream) in order.into_iter().zip(upstream).zip(downstream) {
            let node = &spec.nodes[at];
            let task_id = ids[at].clone();
            let built = build_node(node, task_id, &by_id, &groups, catalog, spec, words, upstream, downstream);
            nodes.push(built.map_err(|why| (format!("task `{}`", node.task_id), why))?);
        }
        for (index, node) in (0..).zip(&nodes) {
            let checked = check_roles(&nodes, index, node).and_then(|()| check_pulls(&nodes, &by_id, index, node));
            checked.map_err(|why| (format!("task `{}`", node.task_id), why))?;
        }
        weigh(&mut nodes).map_err(|why| ("weight_rule".to_owned(), why))?;
        Ok(Self { nodes, groups: groups.list, by_id })
    }

    pub fn expands(&self) -> BTreeMap<NodeIndex, Vec<NodeIndex>> {
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

    pub fn watchers(&self) -> Result<BTreeMap<NodeIndex, Vec<Watcher>>, String> {
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

/// Whether what its templates pull by `ti.xcom_pull` is sure to be over: of tasks upstream of it.
fn check_pulls(
    nodes: &[Node],
    by_id: &BTreeMap<TaskId, NodeIndex>,
    index: NodeIndex,
    node: &Node,
) -> Result<(), String> {
    let of_input = |binding: &Binding| match &binding.source {
        Source::Template(input) => {
            let what = format!("input `{}`", binding.name);
            input.template.pulled().into_iter().map(|pulled| (what.clone(), pulled.clone())).collect()
        }
        Source::Literal(_) | Source::Param(_) | Source::Output(_) | Source::Element { .. } => Vec::new(),
    };
    let of_label = node.map_index_template.iter().flat_map(|label| label.pulled().iter().cloned());
    let of_label = of_label.map(|pulled| ("its map_index_template".to_owned(), pulled));
    let all: Vec<_> = node.inputs.iter().flat_map(of_input).chain(of_label).collect();
    if all.is_empty() {
        return Ok(());
    }
    let upstream = reach(nodes, [index], |node| &node.upstream);
    for (what, pulled) in all {
        let task_id = shorten(&pulled.task_id);
        let found = TaskId::new(&pulled.task_id).ok().and_then(|task_id| by_id.get(&task_id));
        let why = match found {
            None => format!("there is no task `{task_id}` in this dag"),
            Some(index) if !upstream.contains(index) => {
                format!("task `{task_id}` is not upstream of it and may not be over; make an edge from it")
            }
            Some(_) => continue,
        };
        return Err(format!("{what}: the template is wrong in {}", pulled.wrong(why)));
    }
    Ok(())
}

/// The tasks that `node` takes values or setups from: its edges that are not in [`DagSpec::edges`].
pub fn upstream_ids(node: &NodeSpec) -> impl Iterator<Item = &str> {
    let inputs = node.inputs.iter().filter_map(|binding| match &binding.source {
        SourceSpec::Output(task) => Some(task.as_str()),
        SourceSpec::Literal(_)
        | SourceSpec::Bytes { .. }
        | SourceSpec::Template(_)
        | SourceSpec::Param(_)
        | SourceSpec::Element { .. } => None,
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
    catalog: &Catalog<'_>,
    spec: &DagSpec,
    words: &Words<'_>,
    upstream: Vec<NodeIndex>,
    downstream: Vec<NodeIndex>,
) -> Result<Node, String> {
    let entry = catalog.entry(node)?;
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
    let is_mapped = own.is_some() || mapped_group.is_some();
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
            SourceSpec::Template(json) => Source::Template(words.input(&name, json, &parameter.schema)?),
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
    for (name, limit) in [
        ("max_active_tis_per_dag", node.max_active_tis_per_dag),
        ("max_active_tis_per_dagrun", node.max_active_tis_per_dagrun),
    ] {
        if limit == Some(0) {
            return Err(format!("{name} must be at least 1, or it would never run; leave it out for no limit"));
        }
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
        component: node.component,
        entry: EntryName::new(&node.entry).map_err(|error| error.to_string())?,
        inputs,
        upstream,
        downstream,
        retry: Retry::from_spec(node)?,
        timeout: node.timeout_ms.map(Duration::from_millis),
        trigger_rule: node.trigger_rule,
        pool: PoolName::new(&node.pool).map_err(|error| error.to_string())?,
        pool_slots: node.pool_slots,
        queue: node
            .queue
            .as_deref()
            .map_or_else(|| Ok(QueueName::default()), QueueName::new)
            .map_err(|error| error.to_string())?,
        priority_weight: node.priority_weight,
        weight_rule: node.weight_rule,
        weight: node.priority_weight,
        past: Past::from_spec(node),
        max_active_tis_per_dag: node.max_active_tis_per_dag,
        max_active_tis_per_dagrun: node.max_active_tis_per_dagrun,
        record: node.record,
        cache: cache(node)?,
        callbacks: Callbacks::from_specs(&node.callbacks, &OF_TASKS)?,
        role,
        group,
        mapped_group,
        expand: own,
        outlets: names(&node.outlets)?,
        inlets: names(&node.inlets)?,
        map_index_template: words.label(node, is_mapped)?,
        concurrency: words.concurrency_of_task(node)?,
    })
}

fn names(names: &[String]) -> Result<Vec<AssetName>, String> {
    names.iter().map(|name| AssetName::new(name).map_err(|error| error.to_string())).collect()
}
