//! The validated graph of a dag: what everything above works with.

mod build;
mod cache;
mod catalog;
mod compare;
mod weight;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

pub use build::upstream_ids;
pub use catalog::{Catalog, check_entries};
pub use compare::{Difference, differences, is_other_code};
pub use words::{Concurrency, TemplateInput, run_concurrency};

use self::{
    build::{Graph, check_fail_fast, check_params, check_run_types, check_schemas, check_started},
    words::Words,
};
use super::{
    asset::{self, AssetCondition},
    callback::{CallbackEvent, Callbacks},
    expand::Expand,
    grants::Grants,
    ids::{AssetName, DagId, Digest, EntryName, PoolName, QueueName, TaskId},
    recording::Recording,
    retry::Retry,
    spec::{DagSpec, NodeSpec, ParamSpec, ScheduleSpec, SourceSpec, WeightRule},
    template::TextTemplate,
    time::Timestamp,
    timetable::Timetable,
    trigger_rule::TriggerRule,
};

/// The most tasks that a dag may have.
pub const MAX_NODES: usize = 100_000;
/// The most edges that a dag may have.
pub const MAX_EDGES: usize = 1_000_000;
/// The most dags that callbacks of a dag may start, each of which is a request for a grant.
pub const MAX_STARTED: usize = 1_000;
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
    /// Failed runs in a row after which the dag is paused; 0: never.
    pub max_consecutive_failed_dag_runs: u32,
    /// Counted from a run's `run_after`.
    pub deadline: Option<Duration>,
    pub callbacks: Callbacks,
    /// Which attempts of its tasks are recorded, where the task does not say.
    pub record: Option<Recording>,
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
    /// Those of its assets that stand for others, which tasks name when they run.
    pub aliases: BTreeSet<AssetName>,
    /// The assets that it runs after.
    pub asset_schedule: Option<AssetCondition>,
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
    /// The component that the entry is of, if it is another than the one that the dag came with.
    pub component: Option<Digest>,
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
    pub queue: QueueName,
    /// The task's own; higher goes first.
    pub priority_weight: i32,
    pub weight_rule: WeightRule,
    /// What `weight_rule` makes of it: what counts.
    pub weight: i32,
    pub past: Past,
    /// Instances in all runs together that hold slots at a time. Airflow: `max_active_tis_per_dag`.
    pub max_active_tis_per_dag: Option<u32>,
    /// The same in one run. Airflow: `max_active_tis_per_dagrun`.
    pub max_active_tis_per_dagrun: Option<u32>,
    /// Which attempts are recorded; none: as the dag says.
    pub record: Option<Recording>,
    /// How long its results count: until then other instances with the same inputs take them instead of running.
    pub cache: Option<Duration>,
    pub callbacks: Callbacks,
    pub role: Role,
    pub group: Option<GroupIndex>,
    /// The mapped group around the task, if any. Instances of two tasks of one mapped group depend on each other
    /// index by index.
    pub mapped_group: Option<GroupIndex>,
    pub expand: Option<Expand>,
    /// The assets that it makes.
    pub outlets: Vec<AssetName>,
    /// The assets that it reads.
    pub inlets: Vec<AssetName>,
    /// What its instances are called; it is mapped.
    pub map_index_template: Option<TextTemplate>,
    /// Of instances, over all dags, by a key over their inputs.
    pub concurrency: Option<Concurrency>,
}

impl Node {
    /// Whether anything of it is rendered for each attempt.
    pub fn has_templates(&self) -> bool {
        let is_template = |binding: &Binding| matches!(binding.source, Source::Template(_));
        self.map_index_template.is_some() || self.inputs.iter().any(is_template)
    }
}

/// What an instance waits for in the run before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Past {
    #[default]
    Nothing,
    /// The task itself. Airflow: `depends_on_past`.
    Task,
    /// The task and those directly downstream of it. Airflow: `wait_for_downstream`.
    TaskAndDownstream,
}

impl Past {
    pub fn from_spec(node: &NodeSpec) -> Self {
        match (node.depends_on_past, node.wait_for_downstream) {
            (_, true) => Self::TaskAndDownstream,
            (true, false) => Self::Task,
            (false, false) => Self::Nothing,
        }
    }
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
    /// Rendered for each attempt.
    Template(TemplateInput),
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
    /// [`from_spec`](Self::from_spec) of what is uploaded: also the schemas of its params must be of use, and its callbacks start
    /// [`MAX_STARTED`] dags at most. Versions that are there stay, whatever they hold.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_new_spec(spec: &DagSpec, catalog: &Catalog<'_>) -> Result<Self, DagError> {
        let dag = Self::from_spec(spec, catalog)?;
        match check_schemas(spec).and_then(|()| check_started(spec)) {
            Ok(()) => Ok(dag),
            Err((place, why)) => Err(DagError { dag_id: shorten(&spec.dag_id), place, why }),
        }
    }

    /// Checks `spec` and builds its graph; `catalog` holds the entries that its nodes may name.
    ///
    /// # Errors
    /// The first thing that is wrong: a name, a reference, a cycle, a schedule, a limit.
    pub fn from_spec(spec: &DagSpec, catalog: &Catalog<'_>) -> Result<Self, DagError> {
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
            .map_err(|error| fail("schedule", error.to_string()))?
            .with_jitter(&spec.dag_id, spec.jitter_ms.map(Duration::from_millis))
            .map_err(|error| fail("jitter", error.to_string()))?;
        if spec.schedule == ScheduleSpec::Continuous && spec.max_active_runs != 1 {
            let why = format!(
                "a continuous dag runs one after another; max_active_runs is {}, set it to 1",
                spec.max_active_runs
            );
            return Err(fail("schedule", why));
        }
        if spec.catchup && spec.start.is_none() {
            return Err(fail("catchup", "catchup needs a start; set `start`".into()));
        }
        if let (Some(start), Some(end)) = (spec.start, spec.end)
            && end < start
        {
            return Err(fail("end", format!("the end {end} is before the start {start}")));
        }
        check_run_types(spec).map_err(|(place, why)| fail(&place, why))?;
        check_fail_fast(spec).map_err(|(place, why)| fail(&place, why))?;
        let grants = Grants::from_dag_spec(spec).map_err(|error| fail("grants", error.to_string()))?;
        check_params(spec).map_err(|(place, why)| fail(&place, why))?;
        let asset_schedule = asset::check(spec).map_err(|(place, why)| fail(&place, why))?;
        let aliases = spec.assets.iter().filter(|asset| asset.is_alias);
        let aliases = aliases.filter_map(|asset| AssetName::new(&asset.name).ok()).collect();
        let of_runs = [CallbackEvent::Success, CallbackEvent::Failure, CallbackEvent::Deadline];
        let callbacks = Callbacks::from_specs(&spec.callbacks, &of_runs).map_err(|why| fail("callbacks", why))?;
        if spec.deadline_ms.is_none() && callbacks.of(CallbackEvent::Deadline).next().is_some() {
            return Err(fail("callbacks", "a callback of `deadline` needs a deadline; set `deadline`".into()));
        }

        let words = Words::new(spec, &grants);
        run_concurrency(spec).map_err(|why| fail("concurrency", why))?;
        let graph = Graph::new(spec, catalog, &words).map_err(|(place, why)| fail(&place, why))?;
        let watchers = graph.watchers().map_err(|why| fail("setups", why))?;
        if callbacks.start(&dag_id) || graph.nodes.iter().any(|node| node.callbacks.start(&dag_id)) {
            return Err(fail(
                "callbacks",
                format!("`dag:{dag_id}` is the dag itself, which would start itself for ever"),
            ));
        }
        Ok(Self {
            dag_id,
            aliases,
            asset_schedule,
            timetable,
            start: spec.start,
            end: spec.end,
            catchup: spec.catchup,
            max_active_runs: spec.max_active_runs,
            max_active_tasks: spec.max_active_tasks,
            run_timeout: spec.run_timeout_ms.map(Duration::from_millis),
            fail_fast: spec.fail_fast,
            max_consecutive_failed_dag_runs: spec.max_consecutive_failed_dag_runs,
            deadline: spec.deadline_ms.map(Duration::from_millis),
            callbacks,
            record: spec.record,
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

    /// Whether a run of it waits for anything in the run before.
    pub fn looks_back(&self) -> bool {
        self.nodes.iter().any(|node| node.past != Past::Nothing)
    }

    /// The tasks of the run before that `node` waits for.
    pub fn past_of(&self, node: NodeIndex) -> impl Iterator<Item = &TaskId> {
        let Node { task_id, past, downstream, .. } = self.node(node);
        let itself = (*past != Past::Nothing).then_some(task_id);
        let below = if *past == Past::TaskAndDownstream { downstream.as_slice() } else { &[] };
        itself.into_iter().chain(below.iter().map(|below| &self.node(*below).task_id))
    }

    /// The tasks that must wait, given whether a task is done in the run before.
    pub fn held(&self, is_past: impl Fn(&TaskId) -> bool) -> BTreeSet<NodeIndex> {
        (0..).take(self.nodes.len()).filter(|node| !self.past_of(*node).all(&is_past)).collect()
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
    /// in whose scope one of them is, and their teardowns. Of setups among `tasks`: their teardowns.
    pub fn scope_of(&self, tasks: &BTreeSet<NodeIndex>) -> BTreeSet<NodeIndex> {
        let mut scope = BTreeSet::new();
        if !self.nodes.iter().any(|node| node.role == Role::Setup) {
            return scope;
        }
        let above = self.ancestors(tasks.iter().copied());
        for setup in above.union(tasks).copied().filter(|setup| self.node(*setup).role == Role::Setup) {
            let teardowns: BTreeSet<_> = teardowns_of(&self.nodes, setup).collect();
            let below = self.descendants([setup]);
            let before_teardown = self.ancestors(teardowns.iter().copied());
            let is_inside =
                |task: &NodeIndex| below.contains(task) && (teardowns.is_empty() || before_teardown.contains(task));
            let is_needed = tasks.iter().any(is_inside);
            if is_needed {
                scope.insert(setup);
            }
            if is_needed || tasks.contains(&setup) {
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
