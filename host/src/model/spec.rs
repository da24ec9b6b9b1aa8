//! A module as it is described: by a component's `describe`, and stored with each dag_version.
//!
//! Plain data, not yet believed. [`Dag::from_spec`](super::dag::Dag::from_spec) turns a [`DagSpec`] into a graph.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    callback::CallbackEvent,
    ids::{Digest, PoolName},
    recording::Recording,
    state::RunType,
    time::Timestamp,
    trigger_rule::TriggerRule,
};

/// How a component is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    /// A WebAssembly component.
    #[default]
    Wasm,
    /// Dags in YAML, whose tasks are entries of other components.
    Yaml,
}

impl ComponentKind {
    /// `wasm` or `yaml`: the word of the API, and how names of files end.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Yaml => "yaml",
        }
    }

    /// The media type of its bytes. RFC 9512 for YAML.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Wasm => "application/wasm",
            Self::Yaml => "application/yaml",
        }
    }
}

/// All that a component carries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleSpec {
    #[serde(default)]
    pub kind: ComponentKind,
    /// What dags in YAML call it. Empty: they can't name it, as it is one of them.
    #[serde(default)]
    pub name: String,
    /// Its package's version. Shown, never trusted.
    #[serde(default)]
    pub version: String,
    /// Which SDK made it. Shown, never trusted.
    pub sdk: String,
    pub entries: Vec<EntrySpec>,
    pub dags: Vec<DagSpec>,
}

/// A task type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntrySpec {
    pub name: String,
    pub doc: Option<String>,
    pub inputs: Vec<ParameterSpec>,
    /// JSON Schema of the result, as text.
    pub output: Option<String>,
}

/// A named input of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParameterSpec {
    pub name: String,
    /// JSON Schema, as text.
    pub schema: String,
    pub required: bool,
}

/// A graph of tasks and when it runs. The fields' meaning stands in `wit/task.wit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DagSpec {
    pub dag_id: String,
    #[serde(default)]
    pub display_name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub doc: Option<String>,
    #[serde(default)]
    pub owners: Vec<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub schedule: ScheduleSpec,
    pub timezone: String,
    #[serde(default)]
    pub start: Option<Timestamp>,
    #[serde(default)]
    pub end: Option<Timestamp>,
    #[serde(default)]
    pub catchup: bool,
    /// The longest that a scheduled run starts late, on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    pub max_active_runs: u32,
    pub max_active_tasks: u32,
    #[serde(default)]
    pub run_timeout_ms: Option<u64>,
    #[serde(default)]
    pub fail_fast: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_consecutive_failed_dag_runs: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<CallbackSpec>,
    #[serde(default)]
    pub paused_upon_creation: Option<bool>,
    /// How its runs may come about; empty: in any way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_run_types: Vec<RunType>,
    /// Of tasks that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Recording>,
    #[serde(default)]
    pub params: Vec<ParamSpec>,
    #[serde(default)]
    pub grants: GrantsSpec,
    pub nodes: Vec<NodeSpec>,
    /// (upstream, downstream) edges that carry no value.
    #[serde(default)]
    pub edges: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<EdgeLabelSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSpec>,
    /// The assets that it names elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<AssetSpec>,
    /// Beside `schedule`: either makes runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_schedule: Option<AssetConditionSpec>,
    /// Of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
}

/// What tasks make and other dags run after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetSpec {
    pub name: String,
    pub uri: String,
    pub group: String,
    /// A JSON object, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<String>,
    /// Whether it stands for assets that tasks name when they run. Airflow: AssetAlias.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_alias: bool,
}

/// Which assets a dag waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssetConditionSpec {
    Asset(String),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl AssetConditionSpec {
    /// Adds the assets that it names.
    pub fn names<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        match self {
            Self::Asset(name) => drop(names.insert(name)),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.names(names)),
        }
    }
}

impl DagSpec {
    /// What people call the dag: its display name; its id, if it has none.
    pub fn shown_name(&self) -> &str {
        self.other_name().unwrap_or(&self.dag_id)
    }

    /// What people call the dag, if that is not its id. A blank name, which nobody could read or click, is none.
    pub fn other_name(&self) -> Option<&str> {
        self.display_name.as_deref().filter(|name| !name.trim().is_empty() && *name != self.dag_id)
    }

    /// Whether it has runs that nobody asks for.
    pub fn runs_by_itself(&self) -> bool {
        self.schedule != ScheduleSpec::Manual || self.asset_schedule.is_some()
    }

    /// A dag that says nothing but its id: it has no tasks yet and runs when it is triggered. Limits are Airflow's.
    pub fn new(dag_id: impl Into<String>) -> Self {
        Self {
            dag_id: dag_id.into(),
            display_name: None,
            description: None,
            doc: None,
            owners: Vec::new(),
            tags: Vec::new(),
            schedule: ScheduleSpec::Manual,
            timezone: "UTC".to_owned(),
            start: None,
            end: None,
            catchup: false,
            jitter_ms: None,
            max_active_runs: 16,
            max_active_tasks: 16,
            run_timeout_ms: None,
            fail_fast: false,
            max_consecutive_failed_dag_runs: 0,
            deadline_ms: None,
            callbacks: Vec::new(),
            paused_upon_creation: None,
            allowed_run_types: Vec::new(),
            record: None,
            params: Vec::new(),
            grants: GrantsSpec::default(),
            nodes: Vec::new(),
            edges: Vec::new(),
            labels: Vec::new(),
            groups: Vec::new(),
            assets: Vec::new(),
            asset_schedule: None,
            concurrency: None,
        }
    }

    /// # Errors
    /// If runs may not come about like this; the text says how they may.
    pub fn check_run_type(&self, run_type: RunType) -> Result<(), String> {
        if self.allowed_run_types.is_empty() || self.allowed_run_types.contains(&run_type) {
            return Ok(());
        }
        let allowed: Vec<_> = self.allowed_run_types.iter().map(|it| format!("`{}`", it.as_str())).collect();
        Err(format!(
            "dag `{}` has no `{}` runs: its `allowed_run_types` are {}",
            self.dag_id,
            run_type.as_str(),
            allowed.join(", ")
        ))
    }

    /// The tasks of a group, and of the groups in it; none if there is no such group.
    pub fn tasks_of_group(&self, group_id: &str) -> Option<Vec<&str>> {
        self.groups.iter().find(|group| group.group_id == group_id)?;
        let parents: BTreeMap<&str, &str> =
            self.groups.iter().filter_map(|group| Some((group.group_id.as_str(), group.parent.as_deref()?))).collect();
        // A circle, which no checked dag has, would end here too.
        let is_in = |group: &str| {
            std::iter::successors(Some(group), |group| parents.get(group).copied())
                .take(self.groups.len())
                .any(|group| group == group_id)
        };
        let nodes = self.nodes.iter().filter(|node| node.group.as_deref().is_some_and(is_in));
        Some(nodes.map(|node| node.task_id.as_str()).collect())
    }

    /// Whether a task has an instance for each of something: itself, or a group around it.
    pub fn is_mapped(&self, node: &NodeSpec) -> bool {
        let group = |group_id: &str| self.groups.iter().find(|group| group.group_id == group_id);
        // A circle, which no checked dag has, would end here too.
        let mut around = std::iter::successors(node.group.as_deref().and_then(group), |inner| {
            inner.parent.as_deref().and_then(group)
        })
        .take(self.groups.len());
        node.expand.is_some() || around.any(|group| group.expand.is_some())
    }

    /// The pools that its tasks name, each with those tasks.
    pub fn pools(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut pools: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for node in &self.nodes {
            pools.entry(node.pool.as_str()).or_default().push(node.task_id.as_str());
        }
        pools
    }

    /// The other components that its nodes name entries of.
    pub fn used_components(&self) -> BTreeSet<Digest> {
        self.nodes.iter().filter_map(|node| node.component).collect()
    }
}

/// Whether a field says nothing beyond its default, and need not be stored.
fn is_default<T: Default + PartialEq>(field: &T) -> bool {
    *field == T::default()
}

/// Who is told when something becomes so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackSpec {
    pub event: CallbackEvent,
    /// The id of a connection, or `dag:<dag_id>`.
    #[serde(alias = "connection")]
    pub target: String,
}

/// What the page shows at an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeLabelSpec {
    pub upstream: String,
    pub downstream: String,
    pub label: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleSpec {
    Manual,
    Once,
    /// A run as soon as the one before is over.
    Continuous,
    /// Whenever one of the expressions fires. At least one.
    Cron {
        expressions: Vec<String>,
        data_interval: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        calendar: Option<CalendarSpec>,
    },
    /// Every so many milliseconds from the dag's start (or 1970-01-01T00:00:00Z), whatever clocks show.
    Every {
        period_ms: u64,
        data_interval: bool,
    },
    /// At each of these instants, ascending. Airflow: `EventsTimetable`.
    Events(Vec<Timestamp>),
}

/// Business days, in the dag's time zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarSpec {
    /// Dates as `2026-12-25`.
    #[serde(default)]
    pub holidays: Vec<String>,
    pub weekend: Vec<WeekdaySpec>,
    /// The numbers of the business days of a month that count: 1 is its first, -1 its last. Empty: all.
    #[serde(default)]
    pub nth: Vec<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeekdaySpec {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl ScheduleSpec {
    /// A single cron expression.
    pub fn cron(expression: impl Into<String>, data_interval: bool) -> Self {
        Self::Cron { expressions: vec![expression.into()], data_interval, calendar: None }
    }

    /// Whether it makes run after run.
    pub fn is_periodic(&self) -> bool {
        matches!(self, Self::Cron { .. } | Self::Every { .. } | Self::Continuous)
    }
}

impl std::fmt::Display for ScheduleSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Manual => f.write_str("manual"),
            Self::Once => f.write_str("@once"),
            Self::Continuous => f.write_str("@continuous"),
            Self::Cron { expressions, calendar, .. } => {
                f.write_str(&expressions.join(", "))?;
                calendar.as_ref().map_or(Ok(()), |calendar| write!(f, " on {calendar}"))
            }
            Self::Events(instants) => match instants.as_slice() {
                [only] => write!(f, "at {only}"),
                many => write!(f, "at {} instants", many.len()),
            },
            Self::Every { period_ms, .. } => {
                f.write_str("every")?;
                let mut rest = *period_ms;
                for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
                    if rest >= ms {
                        write!(f, " {}{unit}", rest / ms)?;
                        rest %= ms;
                    }
                }
                Ok(())
            }
        }
    }
}

impl std::fmt::Display for CalendarSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nth.is_empty() {
            return f.write_str("business days");
        }
        let numbers: Vec<_> = self.nth.iter().map(i32::to_string).collect();
        write!(f, "business days {} of the month", numbers.join(", "))
    }
}

/// A value that whoever triggers a run may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamSpec {
    pub name: String,
    /// JSON Schema, as text.
    pub schema: String,
    /// JSON, as text; none: a trigger must give it.
    #[serde(default)]
    pub default: Option<String>,
}

/// What the tasks of a dag ask to reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantsSpec {
    #[serde(default)]
    pub variables: Vec<String>,
    /// May be used.
    #[serde(default)]
    pub connections: Vec<String>,
    /// May be used, and their secrets read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connection_secrets: Vec<String>,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dags: Vec<String>,
    #[serde(default)]
    pub memory_mib: Option<u32>,
}

/// A task of a dag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeSpec {
    pub task_id: String,
    /// The component that the entry is of, if it is another than the one that the dag came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Digest>,
    pub entry: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<BindingSpec>,
    pub retries: u32,
    pub retry_delay_ms: u64,
    pub retry_backoff: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retry_delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    pub trigger_rule: TriggerRule,
    pub pool: String,
    pub pool_slots: u32,
    /// None: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    pub priority_weight: i32,
    #[serde(default, skip_serializing_if = "is_default")]
    pub depends_on_past: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_for_downstream: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_tis_per_dag: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_tis_per_dagrun: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Recording>,
    /// How long a result counts, if it does at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<CallbackSpec>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub role: RoleSpec,
    /// The innermost task group, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<ExpandSpec>,
    /// Names of the assets that it makes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlets: Vec<String>,
    /// Names of the assets that it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inlets: Vec<String>,
    /// A template: what the page calls each of its instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_index_template: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight_rule: WeightRule,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
}

/// What makes up the weight by which instances go before others. The words are Airflow's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// The task's own `priority_weight`.
    #[default]
    Absolute,
    /// That, and those of all tasks downstream of it: what much depends on goes first.
    Downstream,
    /// That, and those of all tasks upstream of it: runs that are nearly done go first.
    Upstream,
}

impl WeightRule {
    /// `absolute`, `downstream` or `upstream`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absolute => "absolute",
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

/// How many may be at a time of those that render this to the same text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcurrencySpec {
    /// A template.
    pub key: String,
    /// At least 1.
    pub limit: u32,
}

impl EntrySpec {
    /// An entry that says nothing but its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), doc: None, inputs: Vec::new(), output: None }
    }
}

impl NodeSpec {
    /// A task that says nothing but which entry it is of. Options are Airflow's defaults.
    pub fn new(task_id: impl Into<String>, entry: impl Into<String>) -> Self {
        Self {
            task_id: task_id.into(),
            component: None,
            entry: entry.into(),
            display_name: None,
            doc: None,
            inputs: Vec::new(),
            retries: 0,
            retry_delay_ms: 300_000,
            retry_backoff: 1.0,
            max_retry_delay_ms: None,
            timeout_ms: None,
            trigger_rule: TriggerRule::AllSuccess,
            pool: PoolName::DEFAULT.to_owned(),
            pool_slots: 1,
            queue: None,
            priority_weight: 1,
            depends_on_past: false,
            wait_for_downstream: false,
            max_active_tis_per_dag: None,
            max_active_tis_per_dagrun: None,
            record: None,
            cache_ms: None,
            callbacks: Vec::new(),
            role: RoleSpec::Work,
            group: None,
            expand: None,
            outlets: Vec::new(),
            inlets: Vec::new(),
            map_index_template: None,
            weight_rule: WeightRule::Absolute,
            concurrency: None,
        }
    }

    /// Whether it has a limit of its own. Airflow: `has_task_concurrency_limits`.
    pub fn has_limit(&self) -> bool {
        self.max_active_tis_per_dag.is_some() || self.max_active_tis_per_dagrun.is_some()
    }
}

/// Whether a task does the work, prepares it or cleans up after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleSpec {
    #[default]
    Work,
    Setup,
    Teardown {
        /// Task ids of the setups that it undoes.
        setups: Vec<String>,
        on_failure_fail_dagrun: bool,
    },
}

/// What a mapped task (or group) has an instance for each of: axes that multiply, each of lists that go along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExpandSpec {
    pub axes: Vec<Vec<ListSpec>>,
}

/// A list that is expanded over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListSpec {
    /// A JSON list, as text.
    Literal(String),
    /// The list that this task returns; of a mapped task, all that its instances return.
    Output(String),
}

impl ExpandSpec {
    /// The tasks whose lists it needs.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().flatten().filter_map(|list| match list {
            ListSpec::Output(task) => Some(task.as_str()),
            ListSpec::Literal(_) => None,
        })
    }
}

/// A task group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    pub group_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<ExpandSpec>,
}

/// One input of a node and where its value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BindingSpec {
    pub name: String,
    pub source: SourceSpec,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// JSON, as text.
    Literal(String),
    /// Another media type than JSON.
    Bytes {
        media_type: String,
        base64: String,
    },
    /// JSON, as text, in which some texts are [templates](super::template).
    Template(String),
    Param(String),
    /// The `return_value` of this task; also an edge. Of a mapped task: the list of all, unless both lie in one
    /// mapped group.
    Output(String),
    /// The element, for each instance another, of a list that the task or the mapped group around it is expanded over.
    Element {
        axis: u32,
        list: u32,
    },
}
