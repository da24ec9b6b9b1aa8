//! What a component says of itself, as `model::spec`.
//!
//! Limits of size are kept here, before the text leaves the child; whether it makes sense is for `model::dag` to say.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::bindings::{airlock::task::types::Value, exports::airlock::task::runner as wit};
use crate::model::{
    asset,
    callback::CallbackEvent,
    recording::Recording,
    spec::{
        AssetConditionSpec, AssetSpec, BindingSpec, CalendarSpec, CallbackSpec, ComponentKind, ConcurrencySpec,
        DagSpec, EdgeLabelSpec, EntrySpec, ExpandSpec, GrantsSpec, GroupSpec, ListSpec, ModuleSpec, NodeSpec,
        ParamSpec, ParameterSpec, RoleSpec, ScheduleSpec, SourceSpec, WeekdaySpec, WeightRule,
    },
    state::RunType,
    time::Timestamp,
    trigger_rule::TriggerRule,
};

/// The whole description.
const MAX_BYTES: usize = 64 << 20;
/// A text that people read, and a JSON schema or value.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// A name, as of a tag, an owner, a host.
const MAX_WORD_BYTES: usize = 1 << 10;
const MAX_DAGS: usize = 1_000;
const MAX_ENTRIES: usize = 10_000;
const MAX_NODES: usize = 100_000;
const MAX_NODES_IN_ALL: usize = 1_000_000;
const MAX_EDGES: usize = 1_000_000;
const MAX_GROUPS: usize = 10_000;
const MAX_LIST: usize = 1_000;
/// Dates of a calendar, and instants of a schedule.
const MAX_DATES: usize = 10_000;

/// Converts, or says what is too large and where.
pub fn module(module: wit::Module) -> Result<ModuleSpec, String> {
    let mut sizes = Sizes { bytes: 0 };
    count("the component", "entries", module.entries.len(), MAX_ENTRIES)?;
    count("the component", "dags", module.dags.len(), MAX_DAGS)?;
    let nodes: usize = module.dags.iter().map(|dag| dag.nodes.len()).sum();
    count("the component", "nodes in all dags", nodes, MAX_NODES_IN_ALL)?;
    Ok(ModuleSpec {
        kind: ComponentKind::Wasm,
        name: sizes.word("the component", "name", module.name)?,
        version: sizes.word("the component", "version", module.version)?,
        sdk: sizes.word("the component", "sdk", module.sdk)?,
        entries: module.entries.into_iter().map(|entry| sizes.entry(entry)).collect::<Result<_, _>>()?,
        dags: module.dags.into_iter().map(|dag| sizes.dag(dag)).collect::<Result<_, _>>()?,
    })
}

fn count(place: &str, what: &str, found: usize, most: usize) -> Result<(), String> {
    if found > most {
        return Err(format!("{place} has {found} {what}; the limit is {most}"));
    }
    Ok(())
}

/// A text that may be shown in an answer about it.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Adds up what the description has in all.
struct Sizes {
    bytes: usize,
}

impl Sizes {
    fn sized(&mut self, place: &str, what: &str, text: String, most: usize) -> Result<String, String> {
        if text.len() > most {
            return Err(format!("{place}: {what} has {} bytes; the limit is {most}", text.len()));
        }
        self.bytes += text.len();
        if self.bytes > MAX_BYTES {
            return Err(format!("the component describes itself in more than {MAX_BYTES} bytes; shorten its texts"));
        }
        Ok(text)
    }

    fn word(&mut self, place: &str, what: &str, text: String) -> Result<String, String> {
        self.sized(place, what, text, MAX_WORD_BYTES)
    }

    fn text(&mut self, place: &str, what: &str, text: String) -> Result<String, String> {
        self.sized(place, what, text, MAX_TEXT_BYTES)
    }

    fn maybe(&mut self, place: &str, what: &str, text: Option<String>) -> Result<Option<String>, String> {
        text.map(|text| self.text(place, what, text)).transpose()
    }

    fn words(&mut self, place: &str, what: &str, words: Vec<String>) -> Result<Vec<String>, String> {
        count(place, what, words.len(), MAX_LIST)?;
        words.into_iter().map(|word| self.word(place, what, word)).collect()
    }

    fn entry(&mut self, entry: wit::Entry) -> Result<EntrySpec, String> {
        let place = format!("entry `{}`", shown(&entry.name));
        count(&place, "inputs", entry.inputs.len(), MAX_LIST)?;
        Ok(EntrySpec {
            name: self.word(&place, "name", entry.name)?,
            doc: self.maybe(&place, "doc", entry.doc)?,
            inputs: entry
                .inputs
                .into_iter()
                .map(|input| {
                    Ok(ParameterSpec {
                        name: self.word(&place, "name of an input", input.name)?,
                        schema: self.text(&place, "schema of an input", input.schema)?,
                        required: input.required,
                    })
                })
                .collect::<Result<_, String>>()?,
            output: self.maybe(&place, "schema of the output", entry.output)?,
        })
    }

    fn dag(&mut self, dag: wit::Dag) -> Result<DagSpec, String> {
        let place = format!("dag `{}`", shown(&dag.dag_id));
        count(&place, "nodes", dag.nodes.len(), MAX_NODES)?;
        count(&place, "params", dag.params.len(), MAX_LIST)?;
        let bound: usize = dag.nodes.iter().map(|node| node.inputs.len()).sum();
        count(&place, "edges and inputs", dag.edges.len() + bound, MAX_EDGES)?;
        count(&place, "labels", dag.labels.len(), MAX_EDGES)?;
        count(&place, "groups", dag.groups.len(), MAX_GROUPS)?;
        count(&place, "assets", dag.assets.len(), MAX_LIST)?;
        count(&place, "parts of its asset schedule", dag.asset_schedule.len(), MAX_LIST)?;
        let instant = |at: Option<i64>| at.map(Timestamp::from_micros);
        Ok(DagSpec {
            start: instant(dag.start),
            end: instant(dag.end),
            catchup: dag.catchup,
            jitter_ms: dag.jitter,
            max_active_runs: dag.max_active_runs,
            max_active_tasks: dag.max_active_tasks,
            run_timeout_ms: dag.run_timeout,
            fail_fast: dag.fail_fast,
            max_consecutive_failed_dag_runs: dag.max_consecutive_failed_dag_runs,
            deadline_ms: dag.deadline,
            callbacks: self.callbacks(&place, dag.callbacks)?,
            paused_upon_creation: dag.paused_upon_creation,
            allowed_run_types: dag.allowed_run_types.into_iter().map(run_type).collect(),
            record: dag.record.map(recording),
            display_name: self.maybe(&place, "display name", dag.display_name)?,
            description: self.maybe(&place, "description", dag.description)?,
            doc: self.maybe(&place, "doc", dag.doc)?,
            owners: self.words(&place, "owners", dag.owners)?,
            tags: self.words(&place, "tags", dag.tags)?,
            schedule: match dag.schedule {
                wit::Schedule::Manual => ScheduleSpec::Manual,
                wit::Schedule::Once => ScheduleSpec::Once,
                wit::Schedule::Cron(cron) => ScheduleSpec::Cron {
                    expressions: self.words(&place, "cron expressions", cron.expressions)?,
                    data_interval: cron.data_interval,
                    calendar: cron.calendar.map(|calendar| self.calendar(&place, calendar)).transpose()?,
                },
                wit::Schedule::Continuous => ScheduleSpec::Continuous,
                wit::Schedule::Events(instants) => {
                    count(&place, "instants in its schedule", instants.len(), MAX_DATES)?;
                    ScheduleSpec::Events(instants.into_iter().map(Timestamp::from_micros).collect())
                }
                wit::Schedule::Every(every) => {
                    ScheduleSpec::Every { period_ms: every.period, data_interval: every.data_interval }
                }
            },
            timezone: self.word(&place, "timezone", dag.timezone)?,
            params: dag
                .params
                .into_iter()
                .map(|param| {
                    Ok(ParamSpec {
                        name: self.word(&place, "name of a param", param.name)?,
                        schema: self.text(&place, "schema of a param", param.schema)?,
                        default: self.maybe(&place, "default of a param", param.default)?,
                    })
                })
                .collect::<Result<_, String>>()?,
            grants: GrantsSpec {
                variables: self.words(&place, "granted variables", dag.grants.variables)?,
                connections: self.words(&place, "granted connections", dag.grants.connections)?,
                connection_secrets: self.words(
                    &place,
                    "connections whose secrets are granted",
                    dag.grants.connection_secrets,
                )?,
                hosts: self.words(&place, "granted hosts", dag.grants.hosts)?,
                dags: self.words(&place, "granted dags", dag.grants.dags)?,
                memory_mib: dag.grants.memory_mib,
            },
            nodes: dag.nodes.into_iter().map(|node| self.node(&place, node)).collect::<Result<_, _>>()?,
            edges: dag
                .edges
                .into_iter()
                .map(|(from, to)| {
                    Ok((
                        self.word(&place, "upstream of an edge", from)?,
                        self.word(&place, "downstream of an edge", to)?,
                    ))
                })
                .collect::<Result<_, String>>()?,
            labels: dag
                .labels
                .into_iter()
                .map(|label| {
                    Ok(EdgeLabelSpec {
                        upstream: self.word(&place, "upstream of a label", label.upstream)?,
                        downstream: self.word(&place, "downstream of a label", label.downstream)?,
                        label: self.word(&place, "label", label.label)?,
                    })
                })
                .collect::<Result<_, String>>()?,
            groups: dag.groups.into_iter().map(|group| self.group(&place, group)).collect::<Result<_, _>>()?,
            assets: dag.assets.into_iter().map(|asset| self.asset(&place, asset)).collect::<Result<_, _>>()?,
            asset_schedule: self.asset_schedule(&place, dag.asset_schedule)?,
            concurrency: self.concurrency(&place, dag.concurrency)?,
            dag_id: self.word(&place, "id", dag.dag_id)?,
        })
    }

    fn calendar(&mut self, place: &str, calendar: wit::Calendar) -> Result<CalendarSpec, String> {
        count(place, "holidays", calendar.holidays.len(), MAX_DATES)?;
        count(place, "numbers of business days", calendar.nth.len(), MAX_LIST)?;
        count(place, "weekdays of its weekend", calendar.weekend.len(), 7)?;
        let holidays = calendar.holidays.into_iter().map(|date| self.word(place, "holiday", date));
        Ok(CalendarSpec {
            holidays: holidays.collect::<Result<_, _>>()?,
            weekend: calendar.weekend.into_iter().map(weekday).collect(),
            nth: calendar.nth,
        })
    }

    fn asset(&mut self, dag: &str, asset: wit::Asset) -> Result<AssetSpec, String> {
        let place = format!("{dag}, asset `{}`", shown(&asset.name));
        Ok(AssetSpec {
            uri: self.text(&place, "uri", asset.uri)?,
            group: self.word(&place, "group", asset.group)?,
            extra: self.maybe(&place, "extra", asset.extra)?,
            is_alias: asset.is_alias,
            name: self.word(&place, "name", asset.name)?,
        })
    }

    /// Puts together what comes with its operators last.
    fn asset_schedule(
        &mut self,
        place: &str,
        parts: Vec<wit::AssetCondition>,
    ) -> Result<Option<AssetConditionSpec>, String> {
        // With how deep each is.
        let mut stack: Vec<(AssetConditionSpec, usize)> = Vec::new();
        for part in parts {
            let mut last = |count: u32| {
                let from = stack.len().checked_sub(count as usize).ok_or_else(|| {
                    format!("{place}: a part of its asset schedule joins {count} others that are not there")
                })?;
                let (parts, depths): (Vec<_>, Vec<_>) = stack.drain(from..).unzip();
                let depth = depths.into_iter().max().unwrap_or(0) + 1;
                if depth > asset::MAX_DEPTH {
                    return Err(format!("{place}: its asset schedule is more than {} deep", asset::MAX_DEPTH));
                }
                Ok((parts, depth))
            };
            let part = match part {
                wit::AssetCondition::Asset(name) => {
                    (AssetConditionSpec::Asset(self.word(place, "asset of its schedule", name)?), 1)
                }
                wit::AssetCondition::All(count) => {
                    last(count).map(|(parts, depth)| (AssetConditionSpec::All(parts), depth))?
                }
                wit::AssetCondition::Any(count) => {
                    last(count).map(|(parts, depth)| (AssetConditionSpec::Any(parts), depth))?
                }
            };
            stack.push(part);
        }
        match stack.len() {
            0 | 1 => Ok(stack.pop().map(|(condition, _)| condition)),
            many => Err(format!("{place}: its asset schedule is {many} conditions; join them with `all` or `any`")),
        }
    }

    fn callbacks(&mut self, place: &str, callbacks: Vec<wit::Callback>) -> Result<Vec<CallbackSpec>, String> {
        count(place, "callbacks", callbacks.len(), MAX_LIST)?;
        let mut callback = |callback: wit::Callback| {
            Ok(CallbackSpec {
                event: match callback.event {
                    wit::CallbackEvent::Success => CallbackEvent::Success,
                    wit::CallbackEvent::Failure => CallbackEvent::Failure,
                    wit::CallbackEvent::Retry => CallbackEvent::Retry,
                    wit::CallbackEvent::Skipped => CallbackEvent::Skipped,
                    wit::CallbackEvent::Deadline => CallbackEvent::Deadline,
                    wit::CallbackEvent::Question => CallbackEvent::Question,
                },
                target: self.word(place, "target of a callback", callback.target)?,
            })
        };
        callbacks.into_iter().map(&mut callback).collect()
    }

    fn group(&mut self, dag: &str, group: wit::Group) -> Result<GroupSpec, String> {
        let place = format!("{dag}, group `{}`", shown(&group.group_id));
        Ok(GroupSpec {
            parent: group.parent.map(|parent| self.word(&place, "parent", parent)).transpose()?,
            doc: self.maybe(&place, "doc", group.doc)?,
            expand: group.expand.map(|expand| self.expand(&place, expand)).transpose()?,
            group_id: self.word(&place, "id", group.group_id)?,
        })
    }

    fn expand(&mut self, place: &str, axes: wit::Expand) -> Result<ExpandSpec, String> {
        count(place, "lists to expand over", axes.iter().map(Vec::len).sum(), MAX_LIST)?;
        let mut list = |list| match list {
            wit::ListSource::Output(task_id) => {
                Ok(ListSpec::Output(self.word(place, "task of a list to expand over", task_id)?))
            }
            wit::ListSource::Literal(value) => match self.literal(place, "a list to expand over", value)? {
                SourceSpec::Literal(json) => Ok(ListSpec::Literal(json)),
                _ => Err(format!("{place}: a list to expand over is not JSON")),
            },
        };
        let axes = axes.into_iter().map(|lists| lists.into_iter().map(&mut list).collect());
        Ok(ExpandSpec { axes: axes.collect::<Result<_, String>>()? })
    }

    fn node(&mut self, dag: &str, node: wit::Node) -> Result<NodeSpec, String> {
        let place = format!("{dag}, task `{}`", shown(&node.task_id));
        count(&place, "inputs", node.inputs.len(), MAX_LIST)?;
        if !node.retry_backoff.is_finite() {
            return Err(format!("{place}: retry_backoff is not a number"));
        }
        Ok(NodeSpec {
            component: None,
            entry: self.word(&place, "entry", node.entry)?,
            display_name: self.maybe(&place, "display name", node.display_name)?,
            doc: self.maybe(&place, "doc", node.doc)?,
            inputs: node
                .inputs
                .into_iter()
                .map(|binding| {
                    Ok(BindingSpec {
                        source: self.source(&place, &binding.name, binding.source)?,
                        name: self.word(&place, "name of an input", binding.name)?,
                    })
                })
                .collect::<Result<_, String>>()?,
            retries: node.retries,
            retry_delay_ms: node.retry_delay,
            retry_backoff: node.retry_backoff,
            max_retry_delay_ms: node.max_retry_delay,
            timeout_ms: node.timeout,
            trigger_rule: trigger_rule(node.trigger_rule),
            pool: self.word(&place, "pool", node.pool)?,
            pool_slots: node.pool_slots,
            queue: self.maybe(&place, "queue", node.queue)?,
            priority_weight: node.priority_weight,
            depends_on_past: node.depends_on_past,
            wait_for_downstream: node.wait_for_downstream,
            max_active_tis_per_dag: node.max_active_tis_per_dag,
            max_active_tis_per_dagrun: node.max_active_tis_per_dagrun,
            record: node.record.map(recording),
            cache_ms: node.cache,
            callbacks: self.callbacks(&place, node.callbacks)?,
            role: match node.role {
                wit::Role::Work => RoleSpec::Work,
                wit::Role::Setup => RoleSpec::Setup,
                wit::Role::Teardown(teardown) => RoleSpec::Teardown {
                    setups: self.words(&place, "setups", teardown.setups)?,
                    on_failure_fail_dagrun: teardown.on_failure_fail_dagrun,
                },
            },
            group: node.group.map(|group| self.word(&place, "group", group)).transpose()?,
            expand: node.expand.map(|expand| self.expand(&place, expand)).transpose()?,
            outlets: self.words(&place, "outlets", node.outlets)?,
            inlets: self.words(&place, "inlets", node.inlets)?,
            map_index_template: self.maybe(&place, "map_index_template", node.map_index_template)?,
            weight_rule: match node.weight_rule {
                wit::WeightRule::Absolute => WeightRule::Absolute,
                wit::WeightRule::Downstream => WeightRule::Downstream,
                wit::WeightRule::Upstream => WeightRule::Upstream,
            },
            concurrency: self.concurrency(&place, node.concurrency)?,
            task_id: self.word(&place, "id", node.task_id)?,
        })
    }

    fn concurrency(
        &mut self,
        place: &str,
        concurrency: Option<wit::Concurrency>,
    ) -> Result<Option<ConcurrencySpec>, String> {
        let spec = |concurrency: wit::Concurrency| {
            let key = self.text(place, "concurrency_key", concurrency.key)?;
            Ok(ConcurrencySpec { key, limit: concurrency.limit })
        };
        concurrency.map(spec).transpose()
    }

    fn source(&mut self, place: &str, input: &str, source: wit::Source) -> Result<SourceSpec, String> {
        let what = format!("input `{}`", shown(input));
        Ok(match source {
            wit::Source::Literal(value) => self.literal(place, &what, value)?,
            wit::Source::Element(element) => SourceSpec::Element { axis: element.axis, list: element.place },
            wit::Source::Template(json) => SourceSpec::Template(self.text(place, &what, json)?),
            wit::Source::Param(name) => SourceSpec::Param(self.word(place, &what, name)?),
            wit::Source::Output(task_id) => SourceSpec::Output(self.word(place, &what, task_id)?),
        })
    }

    fn literal(&mut self, place: &str, what: &str, value: Value) -> Result<SourceSpec, String> {
        if !is_plain_json(&value.media_type) {
            return Ok(SourceSpec::Bytes {
                media_type: self.word(place, "media type", value.media_type)?,
                base64: self.text(place, what, BASE64_STANDARD.encode(value.bytes))?,
            });
        }
        let text = String::from_utf8(value.bytes).map_err(|_| format!("{place}: {what} is not UTF-8"))?;
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_err(|error| format!("{place}: {what} is not JSON: {error}"))?;
        Ok(SourceSpec::Literal(self.text(place, what, text)?))
    }
}

/// Whether a literal stands for its JSON alone. One of another type, as `application/geo+json`, keeps its type.
fn is_plain_json(media_type: &str) -> bool {
    media_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn run_type(run_type: wit::RunType) -> RunType {
    match run_type {
        wit::RunType::Scheduled => RunType::Scheduled,
        wit::RunType::Manual => RunType::Manual,
        wit::RunType::AssetTriggered => RunType::AssetTriggered,
        wit::RunType::OperatorTriggered => RunType::OperatorTriggered,
        wit::RunType::Backfill => RunType::Backfill,
    }
}

fn recording(recording: wit::Recording) -> Recording {
    match recording {
        wit::Recording::Off => Recording::Off,
        wit::Recording::Failure => Recording::Failure,
        wit::Recording::Always => Recording::Always,
    }
}

fn weekday(day: wit::Weekday) -> WeekdaySpec {
    match day {
        wit::Weekday::Monday => WeekdaySpec::Monday,
        wit::Weekday::Tuesday => WeekdaySpec::Tuesday,
        wit::Weekday::Wednesday => WeekdaySpec::Wednesday,
        wit::Weekday::Thursday => WeekdaySpec::Thursday,
        wit::Weekday::Friday => WeekdaySpec::Friday,
        wit::Weekday::Saturday => WeekdaySpec::Saturday,
        wit::Weekday::Sunday => WeekdaySpec::Sunday,
    }
}

fn trigger_rule(rule: wit::TriggerRule) -> TriggerRule {
    match rule {
        wit::TriggerRule::AllSuccess => TriggerRule::AllSuccess,
        wit::TriggerRule::AllFailed => TriggerRule::AllFailed,
        wit::TriggerRule::AllDone => TriggerRule::AllDone,
        wit::TriggerRule::AllDoneMinOneSuccess => TriggerRule::AllDoneMinOneSuccess,
        wit::TriggerRule::AllDoneSetupSuccess => TriggerRule::AllDoneSetupSuccess,
        wit::TriggerRule::AllSkipped => TriggerRule::AllSkipped,
        wit::TriggerRule::OneSuccess => TriggerRule::OneSuccess,
        wit::TriggerRule::OneFailed => TriggerRule::OneFailed,
        wit::TriggerRule::OneDone => TriggerRule::OneDone,
        wit::TriggerRule::NoneFailed => TriggerRule::NoneFailed,
        wit::TriggerRule::NoneFailedMinOneSuccess => TriggerRule::NoneFailedMinOneSuccess,
        wit::TriggerRule::NoneSkipped => TriggerRule::NoneSkipped,
        wit::TriggerRule::Always => TriggerRule::Always,
    }
}
