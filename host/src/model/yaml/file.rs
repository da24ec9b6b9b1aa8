//! What stands in the text: the keys of a dag, its tasks and its groups.
//!
//! The doc comments are also the descriptions in the JSON Schema that editors read. A task repeats the fields of
//! [`OptionsFile`]: serde's `flatten` would lose the line and column of what is wrong in them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::model::{
    recording::Recording,
    spec::{WeekdaySpec, WeightRule},
    state::RunType,
    trigger_rule::TriggerRule,
};

/// A dag of Airlock, whose tasks are entries of uploaded components.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DagFile {
    /// Unique in the installation: 1 to 250 letters, digits, `_`, `-`, `.`; no `..`.
    #[schemars(with = "String")]
    pub dag_id: Spanned<String>,
    /// What the page calls it, instead of its id.
    pub display_name: Option<String>,
    /// One line about it.
    pub description: Option<String>,
    /// Markdown about it.
    pub doc: Option<String>,
    #[serde(default)]
    pub owners: Vec<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it runs: a cron expression or several, a preset as `@daily`, `@once`, `@continuous`, a period as
    /// `every 90m`, or instants as `2026-04-15T09:00:00`. Without it, only when it is triggered.
    #[schemars(with = "Option<Words>")]
    pub schedule: Option<Spanned<Words>>,
    /// True: a run covers the interval between two ticks of the schedule and runs at its end. False: a run happens at a
    /// tick and is about no interval.
    #[serde(default)]
    pub data_interval: bool,
    /// The assets that it runs after, beside its schedule: one, a list of which all are needed, or `all` and `any` of others, nested.
    pub asset_schedule: Option<AssetConditionFile>,
    /// What is known of the assets that the dag names, by name. One that is not here has its name as its uri.
    #[serde(default)]
    pub assets: IndexMap<String, AssetFile>,
    /// Keeps cron expressions to business days.
    #[schemars(with = "Option<CalendarFile>")]
    pub business_days: Option<Spanned<CalendarFile>>,
    /// Scheduled runs start up to so much later, each by a span of its own, as `10m`.
    pub jitter: Option<Length>,
    /// IANA name, as `Asia/Seoul`; `UTC` if it is left out. Cron expressions, `start` and `end` are read in it.
    #[schemars(with = "Option<String>")]
    pub timezone: Option<Spanned<String>>,
    /// The first instant that a data interval may start at, as `2026-01-01` or `2026-01-01T06:00:00+09:00`.
    #[schemars(with = "Option<String>")]
    pub start: Option<Spanned<String>>,
    /// No data interval starts after it.
    #[schemars(with = "Option<String>")]
    pub end: Option<Spanned<String>>,
    /// Whether intervals missed since `start` are run too, oldest first.
    #[serde(default)]
    pub catchup: bool,
    /// Runs of this dag in state running at a time; 16 if it is left out.
    pub max_active_runs: Option<u32>,
    /// Task instances of one run that are queued or running at a time; 16 if it is left out.
    pub max_active_tasks: Option<u32>,
    /// Counted from the run's start, as `2h`; then the run fails.
    pub run_timeout: Option<Length>,
    /// Whether the first task that fails for good ends the others.
    #[serde(default)]
    pub fail_fast: bool,
    /// After so many runs that failed in a row the dag is paused; never if it is left out.
    #[serde(default)]
    pub max_consecutive_failed_dag_runs: u32,
    /// Counted from when a run could start, as `2h`: if it is not finished by then, `on_deadline` is told.
    pub deadline: Option<Length>,
    /// A template over the run and its params, as `{{ params.customer }}`: so many runs of the dag that render it to the same
    /// text run at a time; the others are queued.
    pub concurrency_key: Option<String>,
    /// How many, at least 1; 1 if it is left out.
    pub concurrency_limit: Option<u32>,
    /// Connections (of type `http` or `smtp`) by which it is told that a run succeeded.
    pub on_success: Option<Words>,
    /// Connections by which it is told that a run failed.
    pub on_failure: Option<Words>,
    /// Connections by which it is told that a run missed its deadline.
    pub on_deadline: Option<Words>,
    /// Whether the dag is paused when it is new. As the server is set, if it is left out.
    pub paused_upon_creation: Option<bool>,
    /// How its runs may come about; in any way, if it is left out.
    #[serde(default)]
    pub allowed_run_types: Vec<RunType>,
    /// Which attempts are recorded for `airlock replay`, where the task does not say. As the server is set, if it is left
    /// out.
    pub record: Option<Recording>,
    /// What whoever triggers a run may set, by name: a default, or a JSON Schema with a `default`.
    #[serde(default)]
    pub params: IndexMap<String, Value>,
    /// What the tasks may reach.
    #[serde(default)]
    pub grants: GrantsFile,
    /// Options of all tasks that do not say otherwise.
    #[serde(default)]
    pub default_args: OptionsFile,
    /// The tasks, by task_id.
    #[schemars(with = "IndexMap<String, TaskFile>")]
    pub tasks: IndexMap<String, Spanned<TaskFile>>,
    /// The task groups, by group_id; a parent stands before the groups in it.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, GroupFile>")]
    pub groups: IndexMap<String, Spanned<GroupFile>>,
}

/// Data that tasks make and other dags run after.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetFile {
    /// Where the data is, for people; the asset's name if it is left out.
    pub uri: Option<String>,
    /// What sort of thing it is; `asset` if it is left out.
    pub group: Option<String>,
    /// What else is known of it.
    pub extra: Option<serde_json::Map<String, Value>>,
    /// Whether it stands for assets that tasks name when they run.
    #[serde(default)]
    pub alias: bool,
}

/// Which assets a dag runs after.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AssetConditionFile {
    Asset(String),
    List(Vec<Self>),
    All { all: Vec<Self> },
    Any { any: Vec<Self> },
}

/// Business days: those that are neither weekend nor holiday, in the dag's time zone.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarFile {
    /// Dates, as `2026-12-25`.
    #[serde(default)]
    pub holidays: Vec<String>,
    /// Saturday and Sunday if it is left out.
    pub weekend: Option<Vec<WeekdaySpec>>,
    /// Only the business days of a month with these numbers: 1 is its first, -1 its last. All if it is left out.
    #[serde(default)]
    pub nth: Vec<i32>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

/// What the tasks of a dag may reach.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsFile {
    /// Variable keys; a trailing `*` grants a prefix.
    #[serde(default)]
    pub variables: Vec<String>,
    /// Connection ids that the tasks may use without seeing their secrets.
    #[serde(default)]
    pub connections: Vec<String>,
    /// Connection ids that the tasks may use and whose secrets they may read.
    #[serde(default)]
    pub connection_secrets: Vec<String>,
    /// Hosts for outgoing HTTP, as `api.example.org`, `api.example.org:8443`, `*.example.org`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Dags that the tasks may start and wait for; a trailing `*` grants a prefix.
    #[serde(default)]
    pub dags: Vec<String>,
    /// Memory of one attempt in MiB; 256 if it is left out. At most 4,096.
    pub memory_mib: Option<u32>,
}

/// How a task is run. What is left out is as Airflow has it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptionsFile {
    /// Tries after the first; 0 if it is left out.
    pub retries: Option<u32>,
    /// How long a failed task waits for its next try, as `30s`; `5m` if it is left out.
    pub retry_delay: Option<Length>,
    /// Each wait is the one before times this; 1 if it is left out.
    pub retry_backoff: Option<f64>,
    /// The longest wait.
    pub max_retry_delay: Option<Length>,
    /// Wall-clock limit of one attempt. Airflow: execution_timeout.
    pub timeout: Option<Length>,
    /// When the task may start, given its upstream tasks; `all_success` if it is left out.
    pub trigger_rule: Option<TriggerRule>,
    /// The pool whose slots it takes; `default_pool` if it is left out.
    pub pool: Option<String>,
    /// Slots that an attempt takes, at least 1.
    pub pool_slots: Option<u32>,
    /// Which workers run it: those that serve this queue; `default` if it is left out.
    pub queue: Option<String>,
    /// Higher goes first; 1 if it is left out.
    pub priority_weight: Option<i32>,
    /// What makes up the weight that counts: `absolute` (the task's own, if it is left out), or the sum with those
    /// `downstream` or `upstream` of it.
    pub weight_rule: Option<WeightRule>,
    /// Whether an instance waits until the task succeeded or was skipped in the run before.
    pub depends_on_past: Option<bool>,
    /// The same, and for the tasks directly downstream of it in that run.
    pub wait_for_downstream: Option<bool>,
    /// Instances that run at a time in all runs together, at least 1.
    pub max_active_tis_per_dag: Option<u32>,
    /// Instances of a mapped task that run at a time in one run, at least 1.
    pub max_active_tis_per_dagrun: Option<u32>,
    /// Which attempts are recorded for `airlock replay`; as the dag says, if it is left out.
    pub record: Option<Recording>,
    /// How long a result counts, as `24h`: until then instances with the same inputs take it instead of running.
    pub cache: Option<Length>,
    /// Connections (of type `http` or `smtp`) by which it is told that an instance succeeded.
    pub on_success: Option<Words>,
    /// Connections by which it is told that an instance failed for good.
    pub on_failure: Option<Words>,
    /// Connections by which it is told that a try failed and another follows.
    pub on_retry: Option<Words>,
    /// Connections by which it is told that an instance decided to be skipped.
    pub on_skipped: Option<Words>,
    /// Connections by which it is told that an instance waits for a person's answer.
    pub on_question: Option<Words>,
}

/// A task: an entry of a component, its inputs and what it waits for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// The component's name and its entry, as `http/get`.
    #[schemars(with = "String")]
    pub uses: Spanned<String>,
    /// Inputs with fixed values, by name. Texts that hold `{{` or `{%` are templates, rendered for each attempt.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, Value>")]
    pub with: IndexMap<String, Spanned<Value>>,
    /// Inputs whose values come from elsewhere, by name: `tasks.<task_id>` (its result), `params.<name>`, or, in a
    /// mapped group, `each.<name>`.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, String>")]
    pub from: IndexMap<String, Spanned<String>>,
    /// Inputs for whose values there is an instance each, by name: a list, or `tasks.<task_id>` that returns one. Several
    /// multiply; the first varies slowest.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, Value>")]
    pub each: IndexMap<String, Spanned<Value>>,
    /// As `each`, but several go along with each other, as far as the shortest.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, Value>")]
    pub zip: IndexMap<String, Spanned<Value>>,
    /// Tasks and groups that stand upstream of it and hand it no value.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub needs: Vec<Spanned<String>>,
    /// Texts that the page shows at the edges from these upstream tasks.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, String>")]
    pub labels: IndexMap<String, Spanned<String>>,
    /// Assets that it makes: each has an event when it succeeds.
    #[serde(default)]
    pub outlets: Vec<String>,
    /// Assets that it reads.
    #[serde(default)]
    pub inlets: Vec<String>,
    /// The innermost group that it lies in.
    #[schemars(with = "Option<String>")]
    pub group: Option<Spanned<String>>,
    /// Whether it prepares what the tasks downstream need, and is cleared together with them.
    #[serde(default)]
    pub setup: bool,
    /// It cleans up after these setups, however the work between ended.
    #[schemars(with = "Option<Vec<String>>")]
    pub teardown: Option<Spanned<Vec<String>>>,
    /// Of a teardown: whether the run fails if it does.
    #[serde(default)]
    pub on_failure_fail_dagrun: bool,
    /// What the page calls it, instead of its id.
    pub display_name: Option<String>,
    /// Markdown about it.
    pub doc: Option<String>,
    /// Tries after the first; 0 if it is left out.
    pub retries: Option<u32>,
    /// How long a failed task waits for its next try, as `30s`; `5m` if it is left out.
    pub retry_delay: Option<Length>,
    /// Each wait is the one before times this; 1 if it is left out.
    pub retry_backoff: Option<f64>,
    /// The longest wait.
    pub max_retry_delay: Option<Length>,
    /// Wall-clock limit of one attempt. Airflow: execution_timeout.
    pub timeout: Option<Length>,
    /// When it may start, given its upstream tasks; `all_success` if it is left out.
    pub trigger_rule: Option<TriggerRule>,
    /// The pool whose slots it takes; `default_pool` if it is left out.
    pub pool: Option<String>,
    /// Slots that an attempt takes, at least 1.
    pub pool_slots: Option<u32>,
    /// Which workers run it: those that serve this queue; `default` if it is left out.
    pub queue: Option<String>,
    /// Higher goes first; 1 if it is left out.
    pub priority_weight: Option<i32>,
    /// What makes up the weight that counts: `absolute` (the task's own, if it is left out), or the sum with those
    /// `downstream` or `upstream` of it.
    pub weight_rule: Option<WeightRule>,
    /// A template for what the page calls an instance of a mapped task, as `{{ inputs.file }}`.
    pub map_index_template: Option<String>,
    /// A template: so many instances that render it to the same text run at a time, of all tasks in all dags that have one.
    pub concurrency_key: Option<String>,
    /// How many, at least 1; 1 if it is left out.
    pub concurrency_limit: Option<u32>,
    /// Whether an instance waits until the task succeeded or was skipped in the run before.
    pub depends_on_past: Option<bool>,
    /// The same, and for the tasks directly downstream of it in that run.
    pub wait_for_downstream: Option<bool>,
    /// Instances that run at a time in all runs together, at least 1.
    pub max_active_tis_per_dag: Option<u32>,
    /// Instances of a mapped task that run at a time in one run, at least 1.
    pub max_active_tis_per_dagrun: Option<u32>,
    /// Which attempts are recorded for `airlock replay`; as the dag says, if it is left out.
    pub record: Option<Recording>,
    /// How long a result counts, as `24h`: until then instances with the same inputs take it instead of running.
    pub cache: Option<Length>,
    /// Connections (of type `http` or `smtp`) by which it is told that an instance succeeded.
    pub on_success: Option<Words>,
    /// Connections by which it is told that an instance failed for good.
    pub on_failure: Option<Words>,
    /// Connections by which it is told that a try failed and another follows.
    pub on_retry: Option<Words>,
    /// Connections by which it is told that an instance decided to be skipped.
    pub on_skipped: Option<Words>,
    /// Connections by which it is told that an instance waits for a person's answer.
    pub on_question: Option<Words>,
}

/// Tasks that belong together: the page draws a box around them, and a mapped group is run once for each element.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupFile {
    /// The group that it lies in.
    #[schemars(with = "Option<String>")]
    pub parent: Option<Spanned<String>>,
    /// Markdown about it.
    pub doc: Option<String>,
    /// What the group has an instance for each of, by names that its tasks use as `each.<name>`. Several multiply.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, Value>")]
    pub each: IndexMap<String, Spanned<Value>>,
    /// As `each`, but several go along with each other, as far as the shortest.
    #[serde(default)]
    #[schemars(with = "IndexMap<String, Value>")]
    pub zip: IndexMap<String, Spanned<Value>>,
    /// Tasks and groups that stand upstream of the tasks that come first in it.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub needs: Vec<Spanned<String>>,
}

/// A length of time in milliseconds, written as `90s`, `1h 30m`, `2 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Length(pub u64);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        length_ms(&text).map(Self).map_err(D::Error::custom)
    }
}

/// The milliseconds of a length of time as people write it.
///
/// # Errors
/// If `text` is none, or longer than 292 million years.
pub fn length_ms(text: &str) -> Result<u64, String> {
    let length = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a length of time ({error}); write it as `90s` or `1h 30m`"))?;
    u64::try_from(length.as_millis()).map_err(|_| format!("`{text}` is too long"))
}
