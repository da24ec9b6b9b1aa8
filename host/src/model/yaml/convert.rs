//! From what stands in the text to a [`DagSpec`].

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr as _,
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;
use indexmap::IndexMap;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{
    Libraries, YamlError,
    file::{AssetConditionFile, CalendarFile, DagFile, GroupFile, TaskFile, Words, length_ms},
};
use crate::model::{
    callback::CallbackEvent,
    days::midnight,
    ids::Digest,
    schema::{Effort, Schema},
    spec::{
        AssetConditionSpec, AssetSpec, BindingSpec, CalendarSpec, CallbackSpec, ConcurrencySpec, DagSpec,
        EdgeLabelSpec, EntrySpec, ExpandSpec, GrantsSpec, GroupSpec, ListSpec, NodeSpec, ParamSpec, ParameterSpec,
        RoleSpec, ScheduleSpec, SourceSpec, WeekdaySpec,
    },
    template::has_template,
    time::Timestamp,
    trigger_rule::TriggerRule,
};

impl DagFile {
    /// The dag, whose tasks name entries of `libraries` by digest.
    ///
    /// # Errors
    /// The first thing that is wrong: a component, entry, input or value that does not fit, a reference to nothing. What
    /// remains is for [`Dag::from_spec`](crate::model::dag::Dag::from_spec) to say.
    pub fn to_spec(&self, libraries: &Libraries) -> Result<DagSpec, YamlError> {
        let timezone = self.timezone.as_ref().map_or("UTC", |name| name.value.as_str());
        let zone = Tz::from_str(timezone).unwrap_or(Tz::UTC);
        let instant = |text: &Option<Spanned<String>>| text.as_ref().map(|text| instant(text, zone)).transpose();
        let mut spec = DagSpec {
            display_name: self.display_name.clone(),
            description: self.description.clone(),
            doc: self.doc.clone(),
            owners: self.owners.clone(),
            tags: self.tags.clone(),
            schedule: self.schedule.as_ref().map_or(Ok(ScheduleSpec::Manual), |words| {
                let calendar = self.business_days.as_ref().map(|calendar| CalendarSpec::from(&calendar.value));
                schedule(words, self.data_interval, calendar, zone)
            })?,
            jitter_ms: self.jitter.map(|length| length.0),
            max_consecutive_failed_dag_runs: self.max_consecutive_failed_dag_runs,
            timezone: timezone.to_owned(),
            start: instant(&self.start)?,
            end: instant(&self.end)?,
            catchup: self.catchup,
            run_timeout_ms: self.run_timeout.map(|length| length.0),
            fail_fast: self.fail_fast,
            deadline_ms: self.deadline.map(|length| length.0),
            callbacks: callbacks([
                (CallbackEvent::Success, self.on_success.as_ref()),
                (CallbackEvent::Failure, self.on_failure.as_ref()),
                (CallbackEvent::Deadline, self.on_deadline.as_ref()),
            ]),
            paused_upon_creation: self.paused_upon_creation,
            allowed_run_types: self.allowed_run_types.clone(),
            record: self.record,
            concurrency: concurrency(self.concurrency_key.as_ref(), self.concurrency_limit),
            params: self.params.iter().map(|(name, value)| param(name, value)).collect(),
            grants: GrantsSpec {
                variables: self.grants.variables.clone(),
                connections: self.grants.connections.clone(),
                connection_secrets: self.grants.connection_secrets.clone(),
                hosts: self.grants.hosts.clone(),
                dags: self.grants.dags.clone(),
                memory_mib: self.grants.memory_mib,
            },
            ..DagSpec::new(&self.dag_id.value)
        };
        spec.max_active_runs = self.max_active_runs.unwrap_or(spec.max_active_runs);
        spec.max_active_tasks = self.max_active_tasks.unwrap_or(spec.max_active_tasks);
        if self.tasks.is_empty() {
            let why = format!("dag `{}` has no tasks; name at least one under `tasks`", self.dag_id.value);
            return Err(YamlError::at(self.dag_id.referenced, why));
        }
        let mut values = Values::default();
        for (task_id, task) in &self.tasks {
            spec.nodes.push(self.node(task_id, &task.value, libraries, &mut values)?);
        }
        spec.asset_schedule = self.asset_schedule.as_ref().map(asset_condition);
        spec.assets = self.assets(&spec);
        for (group_id, group) in &self.groups {
            spec.groups.push(GroupSpec {
                parent: group.value.parent.as_ref().map(|parent| parent.value.clone()),
                doc: group.value.doc.clone(),
                expand: self.expand(&group.value.each, &group.value.zip)?,
                group_id: group_id.clone(),
            });
        }
        let edges = Edges::new(self, &spec);
        for (task_id, task) in &self.tasks {
            for upstream in &task.value.needs {
                spec.edges.extend(edges.between(upstream, std::iter::once(task_id.as_str()))?);
            }
            for (upstream, label) in &task.value.labels {
                if !self.tasks.contains_key(upstream) {
                    return Err(YamlError::at(label.referenced, format!("`{upstream}` is not a task of this dag")));
                }
                let label = label.value.clone();
                spec.labels.push(EdgeLabelSpec { upstream: upstream.clone(), downstream: task_id.clone(), label });
            }
        }
        for (group_id, group) in &self.groups {
            for upstream in &group.value.needs {
                spec.edges.extend(edges.between(upstream, edges.roots(group_id))?);
            }
        }
        Ok(spec)
    }

    /// The assets that the dag names, with what it says of them.
    fn assets(&self, spec: &DagSpec) -> Vec<AssetSpec> {
        let mut names: BTreeSet<&str> = self.assets.keys().map(String::as_str).collect();
        names.extend(spec.nodes.iter().flat_map(|node| node.outlets.iter().chain(&node.inlets)).map(String::as_str));
        if let Some(condition) = &spec.asset_schedule {
            condition.names(&mut names);
        }
        let asset = |name: &str| {
            let said = self.assets.get(name).cloned().unwrap_or_default();
            AssetSpec {
                uri: said.uri.unwrap_or_else(|| name.to_owned()),
                group: said.group.unwrap_or_else(|| if said.alias { "alias" } else { "asset" }.to_owned()),
                is_alias: said.alias,
                extra: said.extra.map(|extra| serde_json::Value::Object(extra).to_string()),
                name: name.to_owned(),
            }
        };
        names.into_iter().map(asset).collect()
    }

    fn node(
        &self,
        task_id: &str,
        task: &TaskFile,
        libraries: &Libraries,
        values: &mut Values,
    ) -> Result<NodeSpec, YamlError> {
        let (component, entry) = entry(&task.uses, libraries)?;
        let mut inputs = Vec::new();
        let parameter = |name: &str, location| {
            entry.inputs.iter().find(|parameter| parameter.name == name).ok_or_else(|| {
                let known: Vec<_> = entry.inputs.iter().map(|known| format!("`{}`", known.name)).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                YamlError::at(location, format!("entry `{}` has no input `{name}`; it has {known}", entry.name))
            })
        };
        for (name, value) in &task.with {
            let parameter = parameter(name, value.referenced)?;
            if has_template(&value.value) {
                // What it becomes is not known yet: the task says if it does not fit.
                inputs.push((name, SourceSpec::Template(value.value.to_string())));
                continue;
            }
            values.check(component, entry, parameter, value, std::slice::from_ref(&value.value))?;
            inputs.push((name, SourceSpec::Literal(value.value.to_string())));
        }
        for (name, source) in &task.from {
            parameter(name, source.referenced)?;
            inputs.push((name, self.source(task, source)?));
        }
        for (name, place) in places(&task.each, &task.zip) {
            let list = task.each.get(name).or_else(|| task.zip.get(name));
            if let Some(list) = list {
                let parameter = parameter(name, list.referenced)?;
                if let Value::Array(elements) = &list.value {
                    values.check(component, entry, parameter, list, elements)?;
                }
            }
            inputs.push((name, SourceSpec::Element { axis: place.0, list: place.1 }));
        }
        let mut node = NodeSpec {
            component: Some(component),
            display_name: task.display_name.clone(),
            doc: task.doc.clone(),
            inputs: inputs.into_iter().map(|(name, source)| BindingSpec { name: name.clone(), source }).collect(),
            role: role(task)?,
            group: task.group.as_ref().map(|group| group.value.clone()),
            outlets: task.outlets.clone(),
            inlets: task.inlets.clone(),
            expand: self.expand(&task.each, &task.zip)?,
            ..NodeSpec::new(task_id, &entry.name)
        };
        if let RoleSpec::Teardown { .. } = node.role {
            node.trigger_rule = TriggerRule::AllDoneSetupSuccess;
        } else {
            node.trigger_rule = self.default_args.trigger_rule.unwrap_or(node.trigger_rule);
        }
        node.trigger_rule = task.trigger_rule.unwrap_or(node.trigger_rule);
        let default = &self.default_args;
        node.retries = task.retries.or(default.retries).unwrap_or(node.retries);
        node.retry_delay_ms = task.retry_delay.or(default.retry_delay).map_or(node.retry_delay_ms, |length| length.0);
        node.retry_backoff = task.retry_backoff.or(default.retry_backoff).unwrap_or(node.retry_backoff);
        node.max_retry_delay_ms = task.max_retry_delay.or(default.max_retry_delay).map(|length| length.0);
        node.timeout_ms = task.timeout.or(default.timeout).map(|length| length.0);
        node.pool = task.pool.as_ref().or(default.pool.as_ref()).cloned().unwrap_or(node.pool);
        node.queue = task.queue.as_ref().or(default.queue.as_ref()).cloned();
        node.pool_slots = task.pool_slots.or(default.pool_slots).unwrap_or(node.pool_slots);
        node.callbacks = callbacks([
            (CallbackEvent::Success, task.on_success.as_ref().or(default.on_success.as_ref())),
            (CallbackEvent::Failure, task.on_failure.as_ref().or(default.on_failure.as_ref())),
            (CallbackEvent::Retry, task.on_retry.as_ref().or(default.on_retry.as_ref())),
            (CallbackEvent::Skipped, task.on_skipped.as_ref().or(default.on_skipped.as_ref())),
            (CallbackEvent::Question, task.on_question.as_ref().or(default.on_question.as_ref())),
        ]);
        node.priority_weight = task.priority_weight.or(default.priority_weight).unwrap_or(node.priority_weight);
        node.weight_rule = task.weight_rule.or(default.weight_rule).unwrap_or_default();
        node.map_index_template.clone_from(&task.map_index_template);
        node.concurrency = concurrency(task.concurrency_key.as_ref(), task.concurrency_limit);
        node.depends_on_past = task.depends_on_past.or(default.depends_on_past).unwrap_or(false);
        node.wait_for_downstream = task.wait_for_downstream.or(default.wait_for_downstream).unwrap_or(false);
        node.max_active_tis_per_dag = task.max_active_tis_per_dag.or(default.max_active_tis_per_dag);
        node.max_active_tis_per_dagrun = task.max_active_tis_per_dagrun.or(default.max_active_tis_per_dagrun);
        node.record = task.record.or(default.record);
        // Defaults are for work: setups and teardowns do theirs in each run.
        let prepares = !matches!(node.role, RoleSpec::Work);
        node.cache_ms = task.cache.or(default.cache.filter(|_| !prepares)).map(|length| length.0);
        Ok(node)
    }

    /// Where the value of a `from` comes from.
    fn source(&self, task: &TaskFile, text: &Spanned<String>) -> Result<SourceSpec, YamlError> {
        let fail = |why: String| Err(YamlError::at(text.referenced, why));
        match text.value.split_once('.') {
            Some(("tasks", id)) if self.tasks.contains_key(id) => Ok(SourceSpec::Output(id.to_owned())),
            Some(("tasks", id)) => fail(format!("`{id}` is not a task of this dag")),
            Some(("params", name)) if self.params.contains_key(name) => Ok(SourceSpec::Param(name.to_owned())),
            Some(("params", name)) => fail(format!("`{name}` is not a param of this dag; declare it in `params`")),
            Some(("each", name)) => match self.element(task, name) {
                Some((axis, list)) => Ok(SourceSpec::Element { axis, list }),
                None => fail(format!("no group around the task has `{name}` in its `each` or `zip`")),
            },
            _ => fail(format!(
                "`{}` names no value; write `tasks.<task_id>`, `params.<name>` or `each.<name>`, or a fixed value in `with`",
                text.value
            )),
        }
    }

    /// The place of list `name` in the expansion of the mapped group around `task`.
    fn element(&self, task: &TaskFile, name: &str) -> Option<(u32, u32)> {
        let mut id = task.group.as_ref().map(|group| &group.value);
        // A group that is its own ancestor is refused later; it must not be walked for ever.
        for _ in 0..self.groups.len() {
            let GroupFile { parent, each, zip, .. } = &self.groups.get(id?)?.value;
            if !each.is_empty() || !zip.is_empty() {
                return places(each, zip).find(|(known, _)| *known == name).map(|(_, place)| place);
            }
            id = parent.as_ref().map(|parent| &parent.value);
        }
        None
    }

    fn expand(&self, each: &Lists, zip: &Lists) -> Result<Option<ExpandSpec>, YamlError> {
        if each.is_empty() && zip.is_empty() {
            return Ok(None);
        }
        if let (Some(list), false) = (each.values().next(), zip.is_empty()) {
            return Err(YamlError::at(list.referenced, "lists either multiply (`each`) or go along (`zip`), not both"));
        }
        let list = |list: &Spanned<Value>| match &list.value {
            Value::Array(_) => Ok(ListSpec::Literal(list.value.to_string())),
            Value::String(text) => match text.strip_prefix("tasks.") {
                Some(id) if self.tasks.contains_key(id) => Ok(ListSpec::Output(id.to_owned())),
                Some(id) => Err(YamlError::at(list.referenced, format!("`{id}` is not a task of this dag"))),
                None => Err(YamlError::at(list.referenced, "write a list, or `tasks.<task_id>` that returns one")),
            },
            _ => Err(YamlError::at(list.referenced, "write a list, or `tasks.<task_id>` that returns one")),
        };
        let axes = if zip.is_empty() {
            each.values().map(|one| Ok(vec![list(one)?])).collect::<Result<_, _>>()?
        } else {
            vec![zip.values().map(list).collect::<Result<_, _>>()?]
        };
        Ok(Some(ExpandSpec { axes }))
    }
}

/// A limit without a key would count for nothing, and is refused for its empty key.
fn concurrency(key: Option<&String>, limit: Option<u32>) -> Option<ConcurrencySpec> {
    let is_said = key.is_some() || limit.is_some();
    is_said.then(|| ConcurrencySpec { key: key.cloned().unwrap_or_default(), limit: limit.unwrap_or(1) })
}

type Lists = IndexMap<String, Spanned<Value>>;

/// The names of the lists with their places: axis, and list of the axis.
fn places<'a>(each: &'a Lists, zip: &'a Lists) -> impl Iterator<Item = (&'a String, (u32, u32))> {
    let each = each.keys().zip(0..).map(|(name, axis)| (name, (axis, 0)));
    each.chain(zip.keys().zip(0..).map(|(name, list)| (name, (0, list))))
}

fn entry<'a>(uses: &Spanned<String>, libraries: &'a Libraries) -> Result<(Digest, &'a EntrySpec), YamlError> {
    let fail = |why: String| YamlError::at(uses.referenced, why);
    let Some((library, entry)) = uses.value.split_once('/') else {
        return Err(fail(format!(
            "`{}` is no entry; write the component's name and the entry's, as `http/get`",
            uses.value
        )));
    };
    let (digest, module) = libraries.get(library).ok_or_else(|| YamlError {
        misses_component: true,
        ..fail(format!("no component named `{library}` has been uploaded; upload it first, as with `airlock deploy`"))
    })?;
    let found = module.entries.iter().find(|known| known.name == entry).ok_or_else(|| {
        let known: Vec<_> = module.entries.iter().take(20).map(|known| format!("`{}`", known.name)).collect();
        fail(format!("component `{library}` has no entry `{entry}`; it has {}", known.join(", ")))
    })?;
    Ok((*digest, found))
}

fn callbacks<const N: usize>(told: [(CallbackEvent, Option<&Words>); N]) -> Vec<CallbackSpec> {
    let of = |(event, targets): (CallbackEvent, Option<&Words>)| -> Vec<_> {
        let targets = targets.map_or(&[][..], Words::as_slice);
        targets.iter().map(|target| CallbackSpec { event, target: target.clone() }).collect()
    };
    told.into_iter().flat_map(of).collect()
}

fn role(task: &TaskFile) -> Result<RoleSpec, YamlError> {
    match &task.teardown {
        Some(setups) if task.setup => {
            Err(YamlError::at(setups.referenced, "a task is a setup or a teardown, not both"))
        }
        Some(setups) => {
            Ok(RoleSpec::Teardown { setups: setups.value.clone(), on_failure_fail_dagrun: task.on_failure_fail_dagrun })
        }
        None if task.setup => Ok(RoleSpec::Setup),
        None => Ok(RoleSpec::Work),
    }
}

/// A param is a JSON Schema, which may have a default; anything but a mapping, null too, is itself the default. Airflow: `params`.
fn param(name: &str, value: &Value) -> ParamSpec {
    let (schema, default) = match value {
        Value::Object(schema) => (value.to_string(), schema.get("default").map(Value::to_string)),
        other => ("{}".to_owned(), Some(other.to_string())),
    };
    ParamSpec { name: name.to_owned(), schema, default }
}

impl From<&CalendarFile> for CalendarSpec {
    fn from(file: &CalendarFile) -> Self {
        let weekend = file.weekend.clone().unwrap_or_else(|| vec![WeekdaySpec::Saturday, WeekdaySpec::Sunday]);
        Self { holidays: file.holidays.clone(), weekend, nth: file.nth.clone() }
    }
}

fn schedule(
    written: &Spanned<Words>,
    data_interval: bool,
    calendar: Option<CalendarSpec>,
    zone: Tz,
) -> Result<ScheduleSpec, YamlError> {
    let fail = |why: &str| Err(YamlError::at(written.referenced, why));
    let words = written.value.as_slice();
    let is_alone = |word: &String| ["@once", "@continuous"].contains(&word.as_str()) || word.starts_with("every ");
    // A year, and no minute, has four digits.
    let is_instant = |word: &String| word.bytes().take_while(u8::is_ascii_digit).count() == 4;
    let is_cron = !words.iter().any(|word| is_alone(word) || is_instant(word));
    if calendar.is_some() && !is_cron {
        return fail("`business_days` go with cron expressions");
    }
    match words {
        [] => fail("a list of schedules can't be empty; leave `schedule` out for a dag that runs when triggered"),
        [once] if once == "@once" => Ok(ScheduleSpec::Once),
        [continuous] if continuous == "@continuous" => Ok(ScheduleSpec::Continuous),
        [word] if let Some(period) = word.strip_prefix("every ") => {
            let period_ms = length_ms(period).map_err(|why| YamlError::at(written.referenced, why))?;
            Ok(ScheduleSpec::Every { period_ms, data_interval })
        }
        instants if instants.iter().all(is_instant) => {
            let instants = instants.iter().map(|text| instant_in(text, zone));
            let instants = instants.collect::<Result<_, _>>().map_err(|why| YamlError::at(written.referenced, why))?;
            Ok(ScheduleSpec::Events(instants))
        }
        expressions if is_cron => Ok(ScheduleSpec::Cron { expressions: expressions.to_vec(), data_interval, calendar }),
        _ => fail("several schedules are all cron expressions, or all instants"),
    }
}

/// As [`instant_in`], or what is wrong and where.
fn instant(text: &Spanned<String>, zone: Tz) -> Result<Timestamp, YamlError> {
    instant_in(&text.value, zone).map_err(|why| YamlError::at(text.referenced, why))
}

/// An instant with its offset, or a date, with or without a time, in `zone`.
fn instant_in(written: &str, zone: Tz) -> Result<Timestamp, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(written) {
        return Ok(instant.to_utc().into());
    }
    if let Ok(date) = NaiveDate::parse_from_str(written, "%Y-%m-%d") {
        return Ok(midnight(date, zone));
    }
    let time = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    let local = time.iter().find_map(|format| NaiveDateTime::parse_from_str(written, format).ok());
    let local =
        local.ok_or_else(|| format!("`{written}` is no instant; write `2026-01-01` or `2026-01-01T06:00:00+09:00`"))?;
    // Of a time that comes twice, the second, as with cron expressions.
    zone.from_local_datetime(&local)
        .latest()
        .map(|at| at.to_utc().into())
        .ok_or_else(|| format!("`{written}` does not exist in {zone}: the clocks go forward then"))
}

fn asset_condition(file: &AssetConditionFile) -> AssetConditionSpec {
    let all = |parts: &[AssetConditionFile]| parts.iter().map(asset_condition).collect();
    match file {
        AssetConditionFile::Asset(name) => AssetConditionSpec::Asset(name.clone()),
        AssetConditionFile::List(parts) | AssetConditionFile::All { all: parts } => AssetConditionSpec::All(all(parts)),
        AssetConditionFile::Any { any: parts } => AssetConditionSpec::Any(all(parts)),
    }
}

/// Checks values against the schemas of the inputs that they are for; each schema is compiled once.
#[derive(Default)]
struct Values {
    schemas: BTreeMap<(Digest, String, String), Option<Schema>>,
    effort: Effort,
}

impl Values {
    fn check(
        &mut self,
        component: Digest,
        entry: &EntrySpec,
        parameter: &ParameterSpec,
        written: &Spanned<Value>,
        values: &[Value],
    ) -> Result<(), YamlError> {
        let key = (component, entry.name.clone(), parameter.name.clone());
        // A schema that can't be used was accepted with its component: the task itself says what does not fit.
        let Self { schemas, effort } = self;
        let compile = || Schema::new(&serde_json::from_str(&parameter.schema).ok()?, effort).ok();
        let Some(schema) = schemas.entry(key).or_insert_with(compile) else { return Ok(()) };
        for value in values {
            schema.check(value, effort).map_err(|error| {
                YamlError::at(
                    written.referenced,
                    format!("input `{}` of entry `{}`: {error}", parameter.name, entry.name),
                )
            })?;
        }
        Ok(())
    }
}

/// What stands first and last in each group, for edges from and to groups. Airflow: `group >> task`.
struct Edges<'a> {
    file: &'a DagFile,
    /// The tasks of each group and of those in it.
    members: BTreeMap<&'a str, Vec<&'a str>>,
    upstream: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Edges<'a> {
    fn new(file: &'a DagFile, spec: &DagSpec) -> Self {
        let mut members: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (task_id, task) in &file.tasks {
            let mut group = task.value.group.as_ref().map(|group| group.value.as_str());
            for _ in 0..file.groups.len() {
                let Some(id) = group else { break };
                members.entry(id).or_default().push(task_id);
                group = file.groups.get(id).and_then(|group| Some(group.value.parent.as_ref()?.value.as_str()));
            }
        }
        let mut upstream: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (node, (task_id, task)) in spec.nodes.iter().zip(&file.tasks) {
            let from = upstream.entry(task_id).or_default();
            from.extend(
                crate::model::dag::upstream_ids(node).filter_map(|id| Some(file.tasks.get_key_value(id)?.0.as_str())),
            );
            from.extend(task.value.needs.iter().map(|needed| needed.value.as_str()));
        }
        Self { file, members, upstream }
    }

    fn of(&self, group: &str) -> &[&'a str] {
        self.members.get(group).map_or(&[], Vec::as_slice)
    }

    /// The tasks of `group` without an upstream in it.
    fn roots(&self, group: &str) -> impl Iterator<Item = &'a str> {
        let inside: BTreeSet<_> = self.of(group).iter().copied().collect();
        let is_root = |task: &&&str| self.upstream.get(**task).is_none_or(|from| from.is_disjoint(&inside));
        self.of(group).iter().filter(is_root).copied().collect::<Vec<_>>().into_iter()
    }

    /// The tasks of `group` that no task of it has upstream.
    fn leaves(&self, group: &str) -> Vec<&'a str> {
        let feeds: BTreeSet<_> = self.of(group).iter().filter_map(|task| self.upstream.get(task)).flatten().collect();
        self.of(group).iter().filter(|task| !feeds.contains(*task)).copied().collect()
    }

    /// The edges from a task, or the last tasks of a group, to `downstream`.
    fn between<'d>(
        &self,
        upstream: &Spanned<String>,
        downstream: impl Iterator<Item = &'d str>,
    ) -> Result<Vec<(String, String)>, YamlError> {
        let id = upstream.value.as_str();
        let from = match (self.file.tasks.contains_key(id), self.file.groups.contains_key(id)) {
            (true, _) => vec![id],
            // Whoever needs it would start at once.
            (false, true) if self.of(id).is_empty() => {
                return Err(YamlError::at(upstream.referenced, format!("group `{id}` has no task to wait for")));
            }
            (false, true) => self.leaves(id),
            (false, false) => {
                return Err(YamlError::at(upstream.referenced, format!("`{id}` is no task or group of this dag")));
            }
        };
        Ok(downstream.flat_map(|to| from.iter().map(move |from| ((*from).to_owned(), to.to_owned()))).collect())
    }
}
