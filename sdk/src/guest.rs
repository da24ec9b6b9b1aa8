//! The wasm side: the component's exports and the host's imports.

pub(crate) mod host;
mod http;
mod objects;
mod sql;

use std::{
    io::Write as _,
    sync::{Mutex, OnceLock, PoisonError},
};

use chrono::{DateTime, Utc};

use crate::{
    assets::{Asset, AssetCondition},
    context::{Context, DataInterval},
    dag::{Definition, Expand, Graph, ListSource, Node, Role, Schedule, Source},
    entry::{self, Ending, Entry, Inputs},
    error::Awaited,
    logging,
    options::{Callback, CallbackEvent, Recording, RunType, TriggerRule, WeightRule},
    value::Value,
};

pub mod bindings {
    #![expect(missing_docs, reason = "generated; its documentation is wit/task.wit")]
    #![expect(clippy::pedantic, reason = "generated")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "airlock:task/task",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_task",
        default_bindings_module: "airlock_sdk::__private::bindings",
    });
}

pub use bindings::exports::airlock::task::runner;

use bindings::airlock::task as imports;
use runner::{Failure, Input, Instance, Module, Outcome};

/// A task function that is linked into the component. `#[task]` makes one, and a constructor that registers it:
/// `run` is asked for an entry by name and has no time to build the dags to find it.
#[derive(Debug)]
pub struct Registered {
    entry: fn() -> &'static Entry,
    next: OnceLock<Option<&'static Self>>,
}

static REGISTERED: Mutex<Option<&'static Registered>> = Mutex::new(None);

impl Registered {
    /// Not yet registered.
    pub const fn new(entry: fn() -> &'static Entry) -> Self {
        Self { entry, next: OnceLock::new() }
    }

    /// Runs before the first export does, and again if the linker wraps each of them: no allocation, no host call.
    pub fn register(&'static self) {
        let mut first = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
        if self.next.set(*first).is_ok() {
            *first = Some(self);
        }
    }

    fn all() -> impl Iterator<Item = &'static Entry> {
        let first = *REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::successors(first, |one| one.next.get().copied().flatten()).map(|one| (one.entry)())
    }
}

type Entries = [fn() -> &'static Entry];

fn find(tasks: &Entries, name: &str) -> Option<&'static Entry> {
    tasks.iter().map(|entry| entry()).chain(Registered::all()).find(|entry| entry.name == name)
}

/// `runner.run`.
pub fn run(tasks: &Entries, name: &str, instance: Instance, inputs: Vec<Input>) -> Result<Outcome, Failure> {
    let Some(entry) = find(tasks, name) else {
        return Err(Failure::Fatal(format!("the component has no entry `{name}`")));
    };
    logging::install();
    let inputs = inputs.into_iter().map(|input| (input.name, input.value.map(Value::from))).collect();
    let ending = entry::run(entry, &Context::from(instance), Inputs(inputs));
    // A line without its end is still in the buffer. There is nobody to tell that it could not be written.
    let _ = std::io::stdout().flush();
    match ending {
        Ending::Success(value) => Ok(Outcome::Success(value.map(Into::into))),
        Ending::Branch(task_ids) => Ok(Outcome::Branch(task_ids)),
        Ending::ShortCircuit(all) => Ok(Outcome::ShortCircuit(all)),
        Ending::Skipped(reason) => Ok(Outcome::Skipped(reason)),
        Ending::Later(later) => {
            let at = later.at.timestamp_micros();
            Ok(Outcome::Later(match later.awaited.map(|awaited| *awaited) {
                Some(Awaited::Run(condition)) => runner::Wake::Run((condition.into(), at)),
                Some(Awaited::Asset { asset, since }) => runner::Wake::Asset((asset, since.timestamp_micros(), at)),
                Some(Awaited::Approval(question)) => runner::Wake::Approval((question.into(), at)),
                None => runner::Wake::At(at),
            }))
        }
        Ending::Failed(error) if error.is_fatal() => Err(Failure::Fatal(error.to_string())),
        Ending::Failed(failure) => {
            if let Some(delay) = failure.retry_after()
                && let Err(error) = host::retry_delay_set(delay)
            {
                log::warn!("the next try comes when the task's settings say: {error}");
            }
            Err(Failure::Retryable(failure.to_string()))
        }
    }
}

/// The crate that became the component.
#[derive(Debug)]
pub struct Package {
    /// `CARGO_PKG_NAME`.
    pub name: &'static str,
    /// `CARGO_PKG_VERSION`.
    pub version: &'static str,
}

/// `runner.describe`.
pub fn describe(package: Package, dags: &[fn() -> &'static Definition], tasks: &Entries) -> Result<Module, String> {
    let mut entries: Vec<&'static Entry> = tasks.iter().map(|entry| entry()).collect();
    let mut described = Vec::with_capacity(dags.len());
    for definition in dags {
        let definition = definition();
        let graph = definition.graph().map_err(|error| error.to_string())?;
        let condition = definition.assets.map(|assets| assets());
        let assets =
            graph.assets(condition.as_ref()).map_err(|error| format!("dag `{}`: {error}", definition.dag_id))?;
        for node in &graph.nodes {
            match entries.iter().find(|entry| entry.name == node.entry.name) {
                Some(known) if std::ptr::eq(*known, node.entry) => {}
                Some(known) => {
                    return Err(format!(
                        "two tasks are called `{}`; rename one with `#[task(name = \"...\")]`",
                        known.name
                    ));
                }
                None => entries.push(node.entry),
            }
        }
        described.push(describe_dag(definition, graph, &assets, condition.as_ref()));
    }
    for entry in &entries {
        if !find(tasks, entry.name).is_some_and(|found| std::ptr::eq(found, *entry)) {
            return Err(format!("task `{0}` is not linked in; write `export!(.., tasks = [{0}])`", entry.name));
        }
    }
    Ok(Module {
        name: package.name.to_owned(),
        version: package.version.to_owned(),
        sdk: concat!("airlock-sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
        entries: entries.into_iter().map(describe_entry).collect(),
        dags: described,
    })
}

fn describe_entry(entry: &Entry) -> runner::Entry {
    let inputs = entry.inputs.iter().map(|input| runner::Parameter {
        name: input.name.to_owned(),
        schema: (input.schema)().to_string(),
        required: input.required,
    });
    runner::Entry {
        name: entry.name.to_owned(),
        doc: entry.doc.map(ToOwned::to_owned),
        inputs: inputs.collect(),
        output: (entry.output)().map(|schema| schema.to_string()),
    }
}

fn describe_callbacks(callbacks: &[Callback]) -> Vec<runner::Callback> {
    let describe = |callback: &Callback| runner::Callback {
        event: match callback.event {
            CallbackEvent::Success => runner::CallbackEvent::Success,
            CallbackEvent::Failure => runner::CallbackEvent::Failure,
            CallbackEvent::Retry => runner::CallbackEvent::Retry,
            CallbackEvent::Skipped => runner::CallbackEvent::Skipped,
            CallbackEvent::Deadline => runner::CallbackEvent::Deadline,
            CallbackEvent::Question => runner::CallbackEvent::Question,
        },
        target: callback.target.to_owned(),
    };
    callbacks.iter().map(describe).collect()
}

fn describe_dag(
    definition: &Definition,
    graph: Graph,
    assets: &[Asset],
    condition: Option<&AssetCondition>,
) -> runner::Dag {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let task_id = |index: u32| graph.nodes[index as usize].task_id.clone();
    runner::Dag {
        dag_id: definition.dag_id.to_owned(),
        display_name: definition.display_name.map(ToOwned::to_owned),
        description: definition.description.map(ToOwned::to_owned),
        doc: definition.doc.map(ToOwned::to_owned),
        owners: owned(definition.owners),
        tags: owned(definition.tags),
        schedule: match definition.schedule {
            Schedule::Manual => runner::Schedule::Manual,
            Schedule::Once => runner::Schedule::Once,
            Schedule::Every { period_ms, data_interval } => {
                runner::Schedule::Every(runner::Every { period: period_ms, data_interval })
            }
            Schedule::Continuous => runner::Schedule::Continuous,
            Schedule::Events { instants_us } => runner::Schedule::Events(instants_us.to_vec()),
            Schedule::Cron { expressions, data_interval, calendar } => runner::Schedule::Cron(runner::Cron {
                expressions: owned(expressions),
                data_interval,
                calendar: calendar.map(|calendar| runner::Calendar {
                    holidays: owned(calendar.holidays),
                    weekend: calendar.weekend.iter().map(|day| weekday(*day)).collect(),
                    nth: calendar.nth.to_vec(),
                }),
            }),
        },
        timezone: definition.timezone.to_owned(),
        start: definition.start_us,
        end: definition.end_us,
        catchup: definition.catchup,
        jitter: definition.jitter_ms,
        max_active_runs: definition.max_active_runs,
        max_active_tasks: definition.max_active_tasks,
        run_timeout: definition.run_timeout_ms,
        fail_fast: definition.fail_fast,
        max_consecutive_failed_dag_runs: definition.max_consecutive_failed_dag_runs,
        deadline: definition.deadline_ms,
        callbacks: describe_callbacks(definition.callbacks),
        paused_upon_creation: definition.paused,
        allowed_run_types: definition.allowed_run_types.iter().map(|it| run_type(*it)).collect(),
        record: definition.record.map(recording),
        grants: runner::Grants {
            variables: owned(definition.variables),
            connections: owned(definition.connections),
            connection_secrets: owned(definition.connection_secrets),
            hosts: owned(definition.hosts),
            dags: owned(definition.dags),
            memory_mib: definition.memory_mib,
        },
        edges: graph.edges.iter().map(|(to, from)| (task_id(*from), task_id(*to))).collect(),
        labels: graph
            .labels
            .iter()
            .map(|(from, to, label)| runner::EdgeLabel {
                upstream: task_id(*from),
                downstream: task_id(*to),
                label: label.clone(),
            })
            .collect(),
        groups: graph
            .groups
            .iter()
            .map(|group| runner::Group {
                group_id: group.name.clone(),
                parent: group.parent.map(|parent| graph.groups[parent as usize].name.clone()),
                doc: group.doc.clone(),
                expand: group.expand.as_ref().map(|expand| describe_expand(expand, &graph)),
            })
            .collect(),
        assets: assets
            .iter()
            .map(|asset| runner::Asset {
                name: asset.name.to_owned(),
                uri: asset.uri.unwrap_or(asset.name).to_owned(),
                group: asset.group.to_owned(),
                extra: asset.extra.map(ToOwned::to_owned),
                is_alias: asset.is_alias,
            })
            .collect(),
        asset_schedule: condition.map(describe_condition).unwrap_or_default(),
        concurrency: definition.concurrency.map(|(key, limit)| runner::Concurrency { key: key.to_owned(), limit }),
        nodes: graph.nodes.iter().map(|node| describe_node(node, &graph, definition)).collect(),
        params: graph
            .params
            .into_iter()
            .map(|param| runner::Param {
                name: param.name,
                schema: param.schema.to_string(),
                default: param.default.map(|value| value.to_string()),
            })
            .collect(),
    }
}

fn run_type(run_type: RunType) -> runner::RunType {
    match run_type {
        RunType::Scheduled => runner::RunType::Scheduled,
        RunType::Manual => runner::RunType::Manual,
        RunType::AssetTriggered => runner::RunType::AssetTriggered,
        RunType::OperatorTriggered => runner::RunType::OperatorTriggered,
        RunType::Backfill => runner::RunType::Backfill,
    }
}

fn recording(recording: Recording) -> runner::Recording {
    match recording {
        Recording::Off => runner::Recording::Off,
        Recording::Failure => runner::Recording::Failure,
        Recording::Always => runner::Recording::Always,
    }
}

fn weekday(from_monday: u8) -> runner::Weekday {
    match from_monday {
        0 => runner::Weekday::Monday,
        1 => runner::Weekday::Tuesday,
        2 => runner::Weekday::Wednesday,
        3 => runner::Weekday::Thursday,
        4 => runner::Weekday::Friday,
        5 => runner::Weekday::Saturday,
        _ => runner::Weekday::Sunday,
    }
}

fn describe_node(node: &Node, graph: &Graph, definition: &Definition) -> runner::Node {
    let inputs = node.inputs.iter().map(|(name, source)| runner::Binding {
        name: (*name).to_owned(),
        source: match source {
            Source::Literal(value) => runner::Source::Literal(value.clone().into()),
            Source::Template(json) => runner::Source::Template(json.clone()),
            Source::Param(index) => runner::Source::Param(graph.params[*index as usize].name.clone()),
            Source::Output(index) | Source::All(index) => {
                runner::Source::Output(graph.nodes[*index as usize].task_id.clone())
            }
            Source::Element { axis, place } => {
                runner::Source::Element(runner::Element { axis: small(*axis), place: small(*place) })
            }
        },
    });
    let options = node.options();
    runner::Node {
        task_id: node.task_id.clone(),
        entry: node.entry.name.to_owned(),
        display_name: options.display_name.as_deref().map(ToOwned::to_owned),
        doc: options.doc.as_deref().map(ToOwned::to_owned),
        inputs: inputs.collect(),
        retries: options.retries,
        retry_delay: options.retry_delay_ms,
        retry_backoff: options.retry_backoff,
        max_retry_delay: options.max_retry_delay_ms,
        timeout: options.timeout_ms,
        trigger_rule: options.trigger_rule.into(),
        pool: options.pool.as_ref().to_owned(),
        pool_slots: options.pool_slots,
        queue: options.queue.as_deref().map(ToOwned::to_owned),
        priority_weight: options.priority_weight,
        depends_on_past: options.depends_on_past,
        wait_for_downstream: options.wait_for_downstream,
        max_active_tis_per_dag: options.max_active_tis_per_dag,
        max_active_tis_per_dagrun: options.max_active_tis_per_dagrun,
        record: options.record.map(recording),
        cache: options.cache_ms,
        callbacks: describe_callbacks(options.callbacks),
        role: match &node.role {
            Role::Work => runner::Role::Work,
            Role::Setup => runner::Role::Setup,
            Role::Teardown { setups, on_failure_fail_dagrun } => runner::Role::Teardown(runner::Teardown {
                setups: setups.iter().map(|setup| graph.nodes[*setup as usize].task_id.clone()).collect(),
                on_failure_fail_dagrun: *on_failure_fail_dagrun,
            }),
        },
        group: node.group.map(|group| graph.groups[group as usize].name.clone()),
        expand: node.expand.as_ref().map(|expand| describe_expand(expand, graph)),
        outlets: node.assets.as_ref().map(|assets| names(&assets.outlets)).unwrap_or_default(),
        inlets: node.assets.as_ref().map(|assets| names(&assets.inlets)).unwrap_or_default(),
        map_index_template: options.map_index_template.as_deref().map(ToOwned::to_owned),
        weight_rule: match options.weight_rule.unwrap_or(definition.weight_rule) {
            WeightRule::Absolute => runner::WeightRule::Absolute,
            WeightRule::Downstream => runner::WeightRule::Downstream,
            WeightRule::Upstream => runner::WeightRule::Upstream,
        },
        concurrency: options
            .concurrency
            .as_ref()
            .map(|(key, limit)| runner::Concurrency { key: key.as_ref().to_owned(), limit: *limit }),
    }
}

fn names(assets: &[Asset]) -> Vec<String> {
    assets.iter().map(|asset| asset.name.to_owned()).collect()
}

/// The parts before what joins them.
fn describe_condition(condition: &AssetCondition) -> Vec<runner::AssetCondition> {
    let (parts, joined) = match condition {
        AssetCondition::Asset(asset) => return vec![runner::AssetCondition::Asset(asset.name.to_owned())],
        AssetCondition::All(parts) => (parts, runner::AssetCondition::All(small(parts.len()))),
        AssetCondition::Any(parts) => (parts, runner::AssetCondition::Any(small(parts.len()))),
    };
    parts.iter().flat_map(describe_condition).chain([joined]).collect()
}

fn describe_expand(expand: &Expand, graph: &Graph) -> runner::Expand {
    let list = |list: &ListSource| match list {
        ListSource::Literal(value) => runner::ListSource::Literal(value.clone().into()),
        ListSource::Output(of) | ListSource::All(of) => {
            runner::ListSource::Output(graph.nodes[*of as usize].task_id.clone())
        }
    };
    expand.axes().map(|lists| lists.map(list).collect()).collect()
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<TriggerRule> for runner::TriggerRule {
    fn from(rule: TriggerRule) -> Self {
        match rule {
            TriggerRule::AllSuccess => Self::AllSuccess,
            TriggerRule::AllFailed => Self::AllFailed,
            TriggerRule::AllDone => Self::AllDone,
            TriggerRule::AllDoneMinOneSuccess => Self::AllDoneMinOneSuccess,
            TriggerRule::AllDoneSetupSuccess => Self::AllDoneSetupSuccess,
            TriggerRule::AllSkipped => Self::AllSkipped,
            TriggerRule::OneSuccess => Self::OneSuccess,
            TriggerRule::OneFailed => Self::OneFailed,
            TriggerRule::OneDone => Self::OneDone,
            TriggerRule::NoneFailed => Self::NoneFailed,
            TriggerRule::NoneFailedMinOneSuccess => Self::NoneFailedMinOneSuccess,
            TriggerRule::NoneSkipped => Self::NoneSkipped,
            TriggerRule::Always => Self::Always,
        }
    }
}

impl From<imports::types::Value> for Value {
    fn from(value: imports::types::Value) -> Self {
        Self { media_type: value.media_type.into(), bytes: value.bytes }
    }
}

impl From<Value> for imports::types::Value {
    fn from(value: Value) -> Self {
        Self { media_type: value.media_type.into_owned(), bytes: value.bytes }
    }
}

impl From<Instance> for Context {
    fn from(instance: Instance) -> Self {
        let interval = instance.data_interval_start.zip(instance.data_interval_end);
        Self {
            dag_id: instance.dag_id,
            run_id: instance.run_id,
            task_id: instance.task_id,
            map_index: u32::try_from(instance.map_index).ok(),
            try_number: instance.try_number,
            max_tries: instance.max_tries,
            started_at: instant(instance.started_at),
            logical_date: instance.logical_date.map(instant),
            data_interval: interval.map(|(start, end)| DataInterval { start: instant(start), end: instant(end) }),
            run_after: instant(instance.run_after),
            next_run_after: instance.next_run_after.map(instant),
            timezone: instance.timezone,
            params: instance.params,
            traceparent: instance.traceparent,
        }
    }
}

fn instant(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or(if us < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}
