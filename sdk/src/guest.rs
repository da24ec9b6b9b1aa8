//! The wasm side: the component's exports and the host's imports.

use std::{
    io::Write as _,
    ops::Range,
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
    options::TriggerRule,
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
        // The linker runs the constructors of a wasm32-wasip2 reactor in `_initialize`.
        disable_run_ctors_once_workaround: true,
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

    /// Runs at instantiation: no allocation, no host call.
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
                Some(Awaited::Asset { asset, since }) => {
                    runner::Wake::Asset((asset.to_owned(), since.timestamp_micros(), at))
                }
                None => runner::Wake::At(at),
            }))
        }
        Ending::Failed { message, fatal: true } => Err(Failure::Fatal(message)),
        Ending::Failed { message, fatal: false } => Err(Failure::Retryable(message)),
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
        paused_upon_creation: definition.paused,
        grants: runner::Grants {
            variables: owned(definition.variables),
            connections: owned(definition.connections),
            hosts: owned(definition.hosts),
            dags: owned(definition.dags),
            memory_mib: definition.memory_mib,
        },
        edges: graph.edges.iter().map(|(from, to)| (task_id(*from), task_id(*to))).collect(),
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
            })
            .collect(),
        asset_schedule: condition.map(describe_condition).unwrap_or_default(),
        nodes: graph.nodes.iter().map(|node| describe_node(node, &graph)).collect(),
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

fn describe_node(node: &Node, graph: &Graph) -> runner::Node {
    let inputs = node.inputs.iter().map(|(name, source)| runner::Binding {
        name: (*name).to_owned(),
        source: match source {
            Source::Literal(value) => runner::Source::Literal(value.clone().into()),
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
        priority_weight: options.priority_weight,
        depends_on_past: options.depends_on_past,
        wait_for_downstream: options.wait_for_downstream,
        max_active_tis_per_dag: options.max_active_tis_per_dag,
        max_active_tis_per_dagrun: options.max_active_tis_per_dagrun,
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

/// The host's imports, in the words of this crate.
pub(crate) mod host {
    use super::{DateTime, OnceLock, Range, Utc, Value, imports, instant};
    use crate::{
        assets::{EventSource, RawEvent},
        connections::Connection,
        dags::{Condition, DagRun, EndState, Progress, RunState, Trigger, WhichRun},
        error::HostError,
        logging::Level,
        xcom::RunValue,
    };

    type Result<T> = std::result::Result<T, HostError>;

    impl From<imports::types::Error> for HostError {
        fn from(error: imports::types::Error) -> Self {
            use imports::types::Error;
            match error {
                Error::Denied(text) => Self::Denied(text),
                Error::NotFound(text) => Self::NotFound(text),
                Error::TooLarge(text) => Self::TooLarge(text),
                Error::Unavailable(text) => Self::Unavailable(text),
                Error::Invalid(text) => Self::Invalid(text),
            }
        }
    }

    fn signed(map_index: Option<u32>) -> Option<i32> {
        map_index.map(|index| i32::try_from(index).unwrap_or(i32::MAX))
    }

    pub fn xcom_push(key: &str, value: Value) -> Result<()> {
        Ok(imports::xcom::push(key, &value.into())?)
    }

    pub fn xcom_pull(task_id: &str, map_index: Option<u32>, key: &str) -> Result<Value> {
        let source =
            imports::xcom::Source { task_id: task_id.to_owned(), map_index: signed(map_index), key: key.to_owned() };
        Ok(imports::xcom::pull(&source)?.into())
    }

    pub fn xcom_pull_runs(task_id: &str, key: &str, dates: Range<DateTime<Utc>>) -> Result<Vec<RunValue<Value>>> {
        let (since, until) = (dates.start.timestamp_micros(), dates.end.timestamp_micros());
        let found = imports::xcom::pull_runs(task_id, key, since, until)?;
        let run_value = |run: imports::xcom::RunValue| RunValue {
            run_id: run.run_id,
            logical_date: instant(run.logical_date),
            map_index: u32::try_from(run.map_index).ok(),
            value: run.value.into(),
        };
        Ok(found.into_iter().map(run_value).collect())
    }

    pub fn variable_get(key: &str) -> Result<String> {
        Ok(imports::variables::get(key)?)
    }

    pub fn connection_get(id: &str) -> Result<Connection> {
        let found = imports::connections::get(id)?;
        Ok(Connection {
            id: found.id,
            conn_type: found.conn_type,
            host: found.host,
            schema: found.schema,
            login: found.login,
            password: found.password,
            port: found.port,
            extra: found.extra,
        })
    }

    pub struct Writer(imports::artifacts::Writer);

    pub fn artifact_create(name: &str, media_type: &str) -> Result<Writer> {
        Ok(Writer(imports::artifacts::create(name, media_type)?))
    }

    impl Writer {
        pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
            Ok(self.0.write(chunk)?)
        }

        pub fn finish(self) -> Result<u64> {
            Ok(self.0.finish()?)
        }
    }

    pub struct Reader(imports::artifacts::Reader);

    pub fn artifact_open(task_id: &str, map_index: Option<u32>, name: &str) -> Result<Reader> {
        Ok(Reader(imports::artifacts::open(task_id, signed(map_index), name)?))
    }

    impl Reader {
        pub fn size(&self) -> u64 {
            self.0.size()
        }

        pub fn read(&mut self, most: usize) -> Result<Vec<u8>> {
            Ok(self.0.read(u32::try_from(most).unwrap_or(u32::MAX))?)
        }
    }

    fn raw(event: imports::assets::AssetEvent) -> RawEvent {
        RawEvent {
            asset: event.asset,
            uri: event.uri,
            timestamp: instant(event.timestamp),
            extra: event.extra,
            source: event.source.map(|source| EventSource {
                dag_id: source.dag_id,
                run_id: source.run_id,
                task_id: source.task_id,
                map_index: u32::try_from(source.map_index).ok(),
            }),
        }
    }

    pub fn asset_set_extra(asset: &str, extra: &str) -> Result<()> {
        Ok(imports::assets::set_extra(asset, extra)?)
    }

    pub fn asset_triggering() -> Result<Vec<RawEvent>> {
        Ok(imports::assets::triggering()?.into_iter().map(raw).collect())
    }

    pub fn asset_events(asset: &str, limit: u32) -> Result<Vec<RawEvent>> {
        Ok(imports::assets::events(asset, limit)?.into_iter().map(raw).collect())
    }

    impl From<Condition> for imports::dags::Condition {
        fn from(condition: Condition) -> Self {
            use imports::dags::WhichRun as Wit;
            let states = |states: Vec<EndState>| states.into_iter().map(Into::into).collect();
            Self {
                dag_id: condition.dag_id,
                run: match condition.run {
                    WhichRun::Newest => Wit::Newest,
                    WhichRun::LogicalDate(date) => Wit::LogicalDate(date.timestamp_micros()),
                    WhichRun::RunId(run_id) => Wit::RunId(run_id),
                },
                tasks: condition.tasks,
                all: states(condition.all),
                any: states(condition.any),
            }
        }
    }

    impl From<EndState> for imports::dags::EndState {
        fn from(state: EndState) -> Self {
            match state {
                EndState::Success => Self::Success,
                EndState::Failed => Self::Failed,
                EndState::Skipped => Self::Skipped,
                EndState::UpstreamFailed => Self::UpstreamFailed,
                EndState::Removed => Self::Removed,
            }
        }
    }

    impl From<imports::dags::EndState> for EndState {
        fn from(state: imports::dags::EndState) -> Self {
            use imports::dags::EndState as Wit;
            match state {
                Wit::Success => Self::Success,
                Wit::Failed => Self::Failed,
                Wit::Skipped => Self::Skipped,
                Wit::UpstreamFailed => Self::UpstreamFailed,
                Wit::Removed => Self::Removed,
            }
        }
    }

    impl From<imports::dags::DagRun> for DagRun {
        fn from(run: imports::dags::DagRun) -> Self {
            use imports::dags::RunState as Wit;
            Self {
                dag_id: run.dag_id,
                run_id: run.run_id,
                state: match run.state {
                    Wit::Queued => RunState::Queued,
                    Wit::Running => RunState::Running,
                    Wit::Success => RunState::Success,
                    Wit::Failed => RunState::Failed,
                },
                logical_date: run.logical_date.map(instant),
                run_after: instant(run.run_after),
            }
        }
    }

    pub fn dag_look(condition: &Condition) -> Result<Progress> {
        use imports::dags::Progress as Wit;
        Ok(match imports::dags::look(&condition.clone().into())? {
            Wit::NotYet => Progress::NotYet,
            Wit::All(run) => Progress::All(run.into()),
            Wit::Any((run, state)) => Progress::Any(run.into(), state.into()),
        })
    }

    pub fn dag_trigger(trigger: &Trigger) -> Result<DagRun> {
        let request = imports::dags::RunRequest {
            dag_id: trigger.dag_id.clone(),
            conf: serde_json::Value::Object(trigger.conf.clone()).to_string(),
            logical_date: trigger.logical_date.map(|date| date.timestamp_micros()),
            run_id: trigger.run_id.clone(),
            reset: trigger.reset,
            note: trigger.note.clone(),
        };
        Ok(imports::dags::trigger(&request)?.into())
    }

    pub fn log_emit(level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        use imports::log::Level as Wit;
        let level = match level {
            Level::Trace => Wit::Trace,
            Level::Debug => Wit::Debug,
            Level::Info => Wit::Info,
            Level::Warn => Wit::Warn,
            Level::Error => Wit::Error,
        };
        imports::log::emit(level, target, message, fields);
    }

    /// The host is asked at the first line that is logged.
    pub fn log_enabled() -> Level {
        use imports::log::Level as Wit;
        static ENABLED: OnceLock<Level> = OnceLock::new();
        *ENABLED.get_or_init(|| match imports::log::enabled() {
            Wit::Trace => Level::Trace,
            Wit::Debug => Level::Debug,
            Wit::Info => Level::Info,
            Wit::Warn => Level::Warn,
            Wit::Error => Level::Error,
        })
    }
}
