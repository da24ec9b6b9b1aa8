//! How a task is run: retries, limits, trigger rule, pool.

use std::borrow::Cow;

/// When a task may start, given its upstream tasks. The words and their meaning are Airflow's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TriggerRule {
    /// All upstream tasks succeeded.
    #[default]
    AllSuccess,
    /// All upstream tasks failed.
    AllFailed,
    /// All upstream tasks are finished, however they ended.
    AllDone,
    /// All upstream tasks are finished, none was skipped and at least one succeeded.
    AllDoneMinOneSuccess,
    /// All upstream tasks were skipped.
    AllSkipped,
    /// At least one upstream task succeeded; the others are not waited for.
    OneSuccess,
    /// At least one upstream task failed; the others are not waited for.
    OneFailed,
    /// At least one upstream task succeeded or failed.
    OneDone,
    /// No upstream task failed: each succeeded or was skipped.
    NoneFailed,
    /// No upstream task failed and at least one succeeded.
    NoneFailedMinOneSuccess,
    /// No upstream task was skipped.
    NoneSkipped,
    /// That of a teardown: all upstream tasks are finished, and of its setups at least one succeeded.
    AllDoneSetupSuccess,
    /// At once, whatever stands upstream.
    Always,
}

/// How a run came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunType {
    /// By the dag's schedule.
    Scheduled,
    /// Somebody asked for it: on the page, by API or a webhook.
    Manual,
    /// Assets were updated.
    AssetTriggered,
    /// A task or a callback asked for it.
    OperatorTriggered,
    /// A backfill made it.
    Backfill,
}

/// Which attempts are recorded: all that the task saw of the world, so that `airlock replay` can run it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recording {
    /// None.
    Off,
    /// Those that failed.
    Failure,
    /// All.
    Always,
}

/// What makes up the weight by which instances go before others where slots are short. Airflow: `weight_rule`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WeightRule {
    /// The task's own `priority_weight`.
    #[default]
    Absolute,
    /// That, and those of all tasks downstream of it: what much depends on goes first. Airflow's default.
    Downstream,
    /// That, and those of all tasks upstream of it: runs that are nearly done go first.
    Upstream,
}

/// How the instances of a task are run.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Options {
    pub display_name: Option<Cow<'static, str>>,
    pub doc: Option<Cow<'static, str>>,
    pub retries: u32,
    pub retry_delay_ms: u64,
    pub retry_backoff: f64,
    pub max_retry_delay_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub trigger_rule: TriggerRule,
    pub pool: Cow<'static, str>,
    pub pool_slots: u32,
    /// None: `default`.
    pub queue: Option<Cow<'static, str>>,
    pub priority_weight: i32,
    /// None: as the dag says.
    pub weight_rule: Option<WeightRule>,
    pub map_index_template: Option<Cow<'static, str>>,
    /// A key, and how many with it may run at a time.
    pub concurrency: Option<(Cow<'static, str>, u32)>,
    pub depends_on_past: bool,
    pub wait_for_downstream: bool,
    pub max_active_tis_per_dag: Option<u32>,
    pub max_active_tis_per_dagrun: Option<u32>,
    pub record: Option<Recording>,
    pub cache_ms: Option<u64>,
    pub callbacks: &'static [Callback],
}

/// Who is told when something becomes so: the id of a connection, or `dag:<dag_id>`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Callback {
    pub event: CallbackEvent,
    pub target: &'static str,
}

/// What is told.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackEvent {
    Success,
    Failure,
    Retry,
    Skipped,
    Deadline,
    Question,
}

impl Options {
    /// Airflow's.
    pub const DEFAULT: Self = Self {
        display_name: None,
        doc: None,
        retries: 0,
        retry_delay_ms: 300_000,
        retry_backoff: 1.0,
        max_retry_delay_ms: None,
        timeout_ms: None,
        trigger_rule: TriggerRule::AllSuccess,
        pool: Cow::Borrowed("default_pool"),
        pool_slots: 1,
        queue: None,
        priority_weight: 1,
        weight_rule: None,
        map_index_template: None,
        concurrency: None,
        depends_on_past: false,
        wait_for_downstream: false,
        max_active_tis_per_dag: None,
        max_active_tis_per_dagrun: None,
        record: None,
        cache_ms: None,
        callbacks: &[],
    };
}
