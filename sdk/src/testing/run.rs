//! A whole dag, run natively.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Host, PastRun};
use crate::{
    context::Context,
    dag::{Definition, Expand, Graph, ListSource, Role, Source},
    entry::{self, Ending, Inputs},
    error::{Error, Fatal, Result, ResultExt},
    options::TriggerRule,
    value::{self, Bytes, JSON, Value},
    xcom::RETURN_VALUE,
};

/// Where a task stands after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// It succeeded.
    Success,
    /// It failed and has no tries left.
    Failed,
    /// It skipped itself, or a branch or its trigger rule skipped it.
    Skipped,
    /// It could not start, for a task upstream failed.
    UpstreamFailed,
    /// It asked to be started again later.
    UpForReschedule,
    /// It waits for a task that asked to be started again later.
    None,
}

impl TaskState {
    fn is_finished(self) -> bool {
        !matches!(self, Self::UpForReschedule | Self::None)
    }
}

#[derive(Debug)]
struct TaskRun {
    state: TaskState,
    tries: u32,
    message: Option<String>,
    later: Option<DateTime<Utc>>,
    xcoms: BTreeMap<String, Value>,
    artifacts: BTreeMap<String, Bytes>,
}

impl TaskRun {
    /// One that was decided without an attempt.
    fn of(state: TaskState) -> Self {
        Self { state, tries: 0, message: None, later: None, xcoms: BTreeMap::new(), artifacts: BTreeMap::new() }
    }
}

/// The instances of a task.
#[derive(Debug)]
enum TaskRuns {
    One(TaskRun),
    /// By map_index, at least one.
    Mapped(Vec<TaskRun>),
}

impl TaskRuns {
    /// With their map_index.
    fn all(&self) -> impl Iterator<Item = (Option<u32>, &TaskRun)> {
        let (one, mapped) = match self {
            Self::One(run) => (Some((None, run)), [].as_slice()),
            Self::Mapped(runs) => (None, runs.as_slice()),
        };
        one.into_iter().chain((0..).map(Some).zip(mapped))
    }

    /// What an instance of `map_index` in the same mapped group looks at.
    fn at(&self, map_index: Option<u32>) -> Option<&TaskRun> {
        match (self, map_index) {
            (Self::One(run), _) => Some(run),
            (Self::Mapped(runs), Some(index)) => runs.get(index as usize),
            (Self::Mapped(_), None) => None,
        }
    }
}

/// What a run of [`Host::run_dag`] left.
///
/// The methods that take a task's id panic if the dag has no such task: a test that names one is wrong. Of a mapped task
/// they tell of all instances; [`instance`](Self::instance) tells of one.
#[derive(Debug)]
pub struct DagRun {
    tasks: BTreeMap<String, TaskRuns>,
    /// Whose failure is not the run's.
    teardowns: BTreeSet<String>,
}

impl DagRun {
    fn runs(&self, task_id: &str) -> &TaskRuns {
        self.tasks.get(task_id).unwrap_or_else(|| {
            let known: Vec<_> = self.tasks.keys().map(String::as_str).collect();
            panic!("the dag has no task `{task_id}`; it has {}", known.join(", "))
        })
    }

    fn task(&self, task_id: &str) -> &TaskRun {
        match self.runs(task_id) {
            TaskRuns::One(run) => run,
            TaskRuns::Mapped(_) => panic!("task `{task_id}` is mapped; see `instance` and `results`"),
        }
    }

    /// The state of instance `map_index` of a mapped task.
    ///
    /// # Panics
    /// If there is no such instance.
    pub fn instance(&self, task_id: &str, map_index: u32) -> TaskState {
        match self.runs(task_id) {
            TaskRuns::Mapped(runs) if runs.len() > map_index as usize => runs[map_index as usize].state,
            runs => panic!("task `{task_id}` has no instance {map_index}; it has {}", runs.all().count()),
        }
    }

    /// What the instances of a task returned, by map_index.
    ///
    /// # Panics
    /// If the dag has no such task, or one did not return a `T`.
    pub fn results<T: DeserializeOwned + 'static>(&self, task_id: &str) -> Vec<Option<T>> {
        self.runs(task_id).all().map(|(_, run)| read(task_id, RETURN_VALUE, run)).collect()
    }

    /// Where the task stands. A mapped task stands where the worst of its instances does.
    ///
    /// # Panics
    /// If the dag has no such task.
    pub fn state(&self, task_id: &str) -> TaskState {
        use TaskState::{Failed, None, Skipped, Success, UpForReschedule, UpstreamFailed};
        let states: Vec<_> = self.runs(task_id).all().map(|(_, run)| run.state).collect();
        let worst = [Failed, UpstreamFailed, UpForReschedule, None, Success, Skipped];
        worst.into_iter().find(|state| states.contains(state)).unwrap_or(Skipped)
    }

    /// Why the task failed or was skipped.
    ///
    /// # Panics
    /// If the dag has no such task.
    pub fn message(&self, task_id: &str) -> Option<&str> {
        self.task(task_id).message.as_deref()
    }

    /// How many tries it took.
    ///
    /// # Panics
    /// If the dag has no such task.
    pub fn tries(&self, task_id: &str) -> u32 {
        self.task(task_id).tries
    }

    /// When the task asked to be started again.
    ///
    /// # Panics
    /// If the dag has no such task.
    pub fn later(&self, task_id: &str) -> Option<DateTime<Utc>> {
        self.task(task_id).later
    }

    /// What the task returned.
    ///
    /// # Panics
    /// If the dag has no such task, or it did not return a `T`.
    pub fn result<T: DeserializeOwned + 'static>(&self, task_id: &str) -> Option<T> {
        self.xcom(task_id, RETURN_VALUE)
    }

    /// What the task pushed under `key`.
    ///
    /// # Panics
    /// If the dag has no such task, or the XCom is not a `T`.
    pub fn xcom<T: DeserializeOwned + 'static>(&self, task_id: &str, key: &str) -> Option<T> {
        read(task_id, key, self.task(task_id))
    }

    /// The artifact `name` of the task.
    ///
    /// # Panics
    /// If the dag has no such task.
    pub fn artifact(&self, task_id: &str, name: &str) -> Option<&Bytes> {
        self.task(task_id).artifacts.get(name)
    }

    /// The ids of the tasks.
    pub fn task_ids(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }

    /// Whether no task failed, but for teardowns: Airlock would call the run a success.
    pub fn succeeded(&self) -> bool {
        self.tasks
            .iter()
            .filter(|(task_id, _)| !self.teardowns.contains(*task_id))
            .all(|(_, runs)| runs.all().all(|(_, run)| matches!(run.state, TaskState::Success | TaskState::Skipped)))
    }
}

fn read<T: DeserializeOwned + 'static>(task_id: &str, key: &str, run: &TaskRun) -> Option<T> {
    let value = run.xcoms.get(key).cloned()?;
    let read = value::decode(value).with_context(|| format!("xcom `{key}` of task `{task_id}`"));
    Some(read.expect("the test names the type that was pushed"))
}

pub(super) fn run(host: &Host, definition: &Definition) -> Result<DagRun> {
    let graph = definition.graph()?;
    let condition = definition.assets.map(|assets| assets());
    graph.assets(condition.as_ref()).with_context(|| format!("dag `{}`", definition.dag_id))?;
    let edges = Edges::of(&graph).with_context(|| format!("dag `{}`", definition.dag_id))?;
    let params = params(host, &graph).with_context(|| format!("dag `{}`", definition.dag_id))?;
    let mut context = host.context.clone();
    definition.dag_id.clone_into(&mut context.dag_id);
    definition.timezone.clone_into(&mut context.timezone);
    context.params = serde_json::Value::Object(params.clone()).to_string();

    let mut run = Running {
        host,
        graph: &graph,
        edges: &edges,
        params,
        done: BTreeMap::new(),
        lists: Vec::new(),
        branched: BTreeSet::new(),
    };
    for index in &edges.order {
        let runs = run.task(*index, &mut context);
        run.done.insert(*index, runs);
    }
    let done = run.done;
    if let Some(logical_date) = context.logical_date {
        let mut state = host.state.borrow_mut();
        let past = state.past.entry(logical_date).or_default();
        *past = PastRun { run_id: context.run_id, xcoms: BTreeMap::new() };
        for (index, runs) in &done {
            for (map_index, task) in runs.all() {
                for (key, value) in &task.xcoms {
                    past.xcoms.insert((graph.nodes[*index].task_id.clone(), map_index, key.clone()), value.clone());
                }
            }
        }
    }
    let is_free = |role: &Role| matches!(role, Role::Teardown { on_failure_fail_dagrun: false, .. });
    let teardowns = graph.nodes.iter().filter(|node| is_free(&node.role)).map(|node| node.task_id.clone()).collect();
    let tasks = done.into_iter().map(|(index, runs)| (graph.nodes[index].task_id.clone(), runs)).collect();
    Ok(DagRun { tasks, teardowns })
}

fn params(host: &Host, graph: &Graph) -> Result<serde_json::Map<String, serde_json::Value>> {
    let mut params = host.params.clone();
    for param in &graph.params {
        if let Some(default) = &param.default {
            params.entry(param.name.clone()).or_insert_with(|| default.clone());
        } else if !params.contains_key(&param.name) {
            return Err(Error::new(format!(
                "param `{0}` has no value; set it with `Host::param(\"{0}\", ..)`",
                param.name
            )));
        }
    }
    Ok(params)
}

/// As the server says when the component is uploaded.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (1..=250).contains(&text.len()) && text.chars().all(is_plain) && !text.contains("..") && text != "."
}

/// The graph's edges, both those that carry values and those that do not.
struct Edges {
    upstream: Vec<Vec<usize>>,
    downstream: Vec<Vec<usize>>,
    /// Upstream first.
    order: Vec<usize>,
}

impl Edges {
    fn of(graph: &Graph) -> Result<Self> {
        let mut ids = BTreeMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if !is_name(&node.task_id) {
                let id = &node.task_id;
                let wanted = "1 to 250 letters, digits, `_`, `-` and `.`, without `..`";
                return Err(Error::new(format!("`{id}` can't be a task's id: use {wanted}")));
            }
            if ids.insert(node.task_id.as_str(), index).is_some() {
                let id = &node.task_id;
                return Err(Error::new(format!("two tasks are called `{id}`; rename one with `.id(\"...\")`")));
            }
        }
        let mut upstream = vec![Vec::new(); graph.nodes.len()];
        let mut downstream = upstream.clone();
        for (from, to) in graph.all_edges() {
            let (from, to) = (from as usize, to as usize);
            upstream[to].push(from);
            downstream[from].push(to);
        }
        let mut missing: Vec<usize> = upstream.iter().map(Vec::len).collect();
        let mut order: Vec<usize> = (0..graph.nodes.len()).filter(|index| missing[*index] == 0).collect();
        let mut at = 0;
        while let Some(from) = order.get(at).copied() {
            at += 1;
            for to in &downstream[from] {
                missing[*to] -= 1;
                if missing[*to] == 0 {
                    order.push(*to);
                }
            }
        }
        if order.len() < graph.nodes.len() {
            let stuck = (0..graph.nodes.len()).filter(|index| missing[*index] > 0);
            let stuck: Vec<_> = stuck.take(10).map(|index| format!("`{}`", graph.nodes[index].task_id)).collect();
            return Err(Error::new(format!("there is a cycle through or before {}", stuck.join(", "))));
        }
        Ok(Self { upstream, downstream, order })
    }

    /// All that is downstream of `from`.
    fn below(&self, from: &[usize]) -> BTreeSet<usize> {
        let mut below = BTreeSet::new();
        let mut open = from.to_vec();
        while let Some(at) = open.pop() {
            open.extend(self.downstream[at].iter().copied().filter(|next| below.insert(*next)));
        }
        below
    }
}

struct Running<'a> {
    host: &'a Host,
    graph: &'a Graph,
    edges: &'a Edges,
    params: serde_json::Map<String, serde_json::Value>,
    done: BTreeMap<usize, TaskRuns>,
    /// The lists that the task that is run now has an instance for each element of, axis by axis.
    lists: Vec<Vec<Vec<Box<RawValue>>>>,
    /// Instances past which a branch or a short circuit upstream went; without a map_index: all of the task's.
    branched: BTreeSet<(usize, Option<u32>)>,
}

impl Running<'_> {
    /// Runs all instances of a task.
    fn task(&mut self, index: usize, context: &mut Context) -> TaskRuns {
        let node = &self.graph.nodes[index];
        let of_group = self.group(index).and_then(|group| self.graph.groups[group as usize].expand.as_ref());
        let Some(expand) = node.expand.as_ref().or(of_group) else {
            return TaskRuns::One(self.instance(index, None, context));
        };
        // The instances of a group are decided on one by one, those of a mapped task together.
        let decision = if node.expand.is_some() { self.decide(index, None) } else { Ok(()) };
        let length = decision.and_then(|()| self.read_lists(expand));
        match length {
            Err(state) => TaskRuns::One(TaskRun::of(state)),
            Ok(0) => TaskRuns::One(TaskRun::of(TaskState::Skipped)),
            Ok(length) => TaskRuns::Mapped((0..length).map(|at| self.instance(index, Some(at), context)).collect()),
        }
    }

    fn instance(&mut self, index: usize, map_index: Option<u32>, context: &mut Context) -> TaskRun {
        match self.decide(index, map_index) {
            Err(state) => TaskRun::of(state),
            Ok(()) => self.try_until_done(index, map_index, context),
        }
    }

    fn decide(&self, index: usize, map_index: Option<u32>) -> std::result::Result<(), TaskState> {
        if self.branched.contains(&(index, None)) || self.branched.contains(&(index, map_index)) {
            return Err(TaskState::Skipped);
        }
        let node = &self.graph.nodes[index];
        let mut states = Vec::new();
        let mut setups = Vec::new();
        for from in &self.edges.upstream[index] {
            let runs = &self.done[from];
            let looked_at: Vec<TaskState> = if self.is_together(index, *from) {
                runs.at(map_index).map(|run| run.state).into_iter().collect()
            } else {
                runs.all().map(|(_, run)| run.state).collect()
            };
            if matches!(&node.role, Role::Teardown { setups, .. } if setups.iter().any(|setup| *setup as usize == *from))
            {
                setups.extend(looked_at.iter().copied());
            }
            states.extend(looked_at);
        }
        decide(node.options().trigger_rule, &states, &setups)
    }

    fn group(&self, index: usize) -> Option<u32> {
        self.graph.mapped_around(self.graph.nodes[index].group)
    }

    /// Whether two tasks look at each other instance by instance.
    fn is_together(&self, index: usize, upstream: usize) -> bool {
        self.group(index).is_some() && self.group(index) == self.group(upstream)
    }

    /// Reads the lists of the task that is run now, and says how many instances there are; else the state that a task
    /// without them gets.
    fn read_lists(&mut self, expand: &Expand) -> std::result::Result<u32, TaskState> {
        let read = |lists: Vec<&ListSource>| lists.into_iter().map(|list| self.elements(list)).collect();
        self.lists = expand.axes().map(|lists| read(lists.collect())).collect::<std::result::Result<_, _>>()?;
        let length = self.lists.iter().fold(1, |length: usize, lists| length.saturating_mul(shortest(lists)));
        u32::try_from(length).ok().filter(|length| *length <= 100_000).ok_or(TaskState::Failed)
    }

    fn elements(&self, list: &ListSource) -> std::result::Result<Vec<Box<RawValue>>, TaskState> {
        let value = match list {
            ListSource::Literal(value) => Some(value.clone()),
            ListSource::All(of) => Some(self.all_results(*of as usize)),
            ListSource::Output(of) => match self.done[&(*of as usize)].at(None) {
                Some(run) if run.state == TaskState::Skipped => return Err(TaskState::Skipped),
                run => run.and_then(|run| run.xcoms.get(RETURN_VALUE).cloned()),
            },
        };
        let list = value.and_then(|value| serde_json::from_slice(&value.bytes).ok());
        list.ok_or(TaskState::UpstreamFailed)
    }

    /// The element of an instance of the task that is run now.
    fn element(&self, map_index: Option<u32>, axis: usize, place: usize) -> Option<Value> {
        let mut at = map_index? as usize;
        for later in self.lists.get(axis + 1..)?.iter().rev() {
            at = at.checked_div(shortest(later))?;
        }
        let lists = self.lists.get(axis)?;
        let element = lists.get(place)?.get(at.checked_rem(shortest(lists))?)?;
        Some(Value { media_type: JSON.into(), bytes: element.get().into() })
    }

    fn all_results(&self, of: usize) -> Value {
        let results = self.done[&of].all().filter_map(|(_, run)| run.xcoms.get(RETURN_VALUE));
        let results: Vec<_> = results.map(|value| String::from_utf8_lossy(&value.bytes)).collect();
        Value { media_type: JSON.into(), bytes: format!("[{}]", results.join(",")).into_bytes() }
    }

    fn try_until_done(&mut self, index: usize, map_index: Option<u32>, context: &mut Context) -> TaskRun {
        let node = &self.graph.nodes[index];
        node.task_id.clone_into(&mut context.task_id);
        context.map_index = map_index;
        context.max_tries = node.options().retries + 1;
        let mut try_number = 1;
        loop {
            context.try_number = try_number;
            let ending = match self.inputs(index, map_index) {
                Ok(inputs) => self.host.attempt(context, || entry::run(node.entry, context, inputs)),
                Err(error) => Ending::Failed(error),
            };
            if let Ending::Failed(error) = &ending
                && !error.is_fatal()
                && try_number < context.max_tries
            {
                try_number += 1;
                continue;
            }
            return self.end(index, map_index, ending, try_number);
        }
    }

    fn inputs(&self, index: usize, map_index: Option<u32>) -> Result<Inputs> {
        let value = |source: &Source| match source {
            Source::Literal(value) => Some(value.clone()),
            Source::Template(json) => {
                let rendered = self.host.rendered.get(json)?;
                Some(Value { media_type: JSON.into(), bytes: rendered.to_string().into_bytes() })
            }
            Source::Param(index) => {
                let value = self.params.get(&self.graph.params[*index as usize].name)?;
                Some(Value { media_type: JSON.into(), bytes: value.to_string().into_bytes() })
            }
            Source::Output(from) => {
                let from = *from as usize;
                let map_index = map_index.filter(|_| self.is_together(index, from));
                self.done[&from].at(map_index)?.xcoms.get(RETURN_VALUE).cloned()
            }
            Source::All(from) => Some(self.all_results(*from as usize)),
            Source::Element { axis, place } => self.element(map_index, *axis, *place),
        };
        let node = &self.graph.nodes[index];
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (name, source) in &node.inputs {
            let value = value(source);
            if let (None, Source::Template(json)) = (&value, source)
                && node.entry.inputs.iter().any(|input| input.name == *name && input.required)
            {
                let why = format!("input `{name}`: say what `{json}` is rendered to, with `Host::rendered`");
                return Err(Fatal::new(why).into());
            }
            inputs.push(((*name).to_owned(), value));
        }
        Ok(Inputs(inputs))
    }

    fn end(&mut self, index: usize, map_index: Option<u32>, ending: Ending, tries: u32) -> TaskRun {
        let task_id = &self.graph.nodes[index].task_id;
        let mut task = TaskRun { tries, ..TaskRun::of(TaskState::Success) };
        let mut result = None;
        match ending {
            Ending::Success(value) => result = value,
            Ending::Branch(followed) => {
                if let Err(error) = self.follow(index, map_index, &followed) {
                    (task.state, task.message) = (TaskState::Failed, Some(error.to_string()));
                    return task;
                }
            }
            Ending::ShortCircuit(all) => self.short_circuit(index, map_index, all),
            Ending::Skipped(reason) => {
                (task.state, task.message) = (TaskState::Skipped, reason);
                return task;
            }
            Ending::Later(later) => {
                (task.state, task.later) = (TaskState::UpForReschedule, Some(later.at));
                return task;
            }
            Ending::Failed(error) => {
                (task.state, task.message) = (TaskState::Failed, Some(error.to_string()));
                return task;
            }
        }
        let state = Rc::clone(&self.host.state);
        let mut state = state.borrow_mut();
        task.xcoms.clone_from(&state.pushed);
        task.xcoms.extend(result.map(|value| (RETURN_VALUE.to_owned(), value)));
        task.artifacts.clone_from(&state.written);
        for (key, value) in &task.xcoms {
            state.xcoms.insert((task_id.clone(), map_index, key.clone()), value.clone());
        }
        for (name, file) in &task.artifacts {
            state.files.insert((task_id.clone(), map_index, name.clone()), file.clone());
        }
        task
    }

    fn follow(&mut self, index: usize, map_index: Option<u32>, followed: &[String]) -> Result<()> {
        let below = self.edges.below(&[index]);
        let mut chosen = Vec::new();
        for id in followed {
            let is_in = |node: usize| {
                let prefix = self.graph.nodes[node].task_id.strip_prefix(id.as_str());
                prefix.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let found: Vec<usize> = below.iter().copied().filter(|node| is_in(*node)).collect();
            if found.is_empty() {
                return Err(Error::new(format!("it branches to `{id}`, which is not downstream of it")));
            }
            chosen.extend(found);
        }
        let followed = self.edges.below(&chosen);
        let skipped =
            self.edges.downstream[index].iter().filter(|next| !chosen.contains(next) && !followed.contains(next));
        self.branched.extend(skipped.map(|next| (*next, map_index)));
        Ok(())
    }

    fn short_circuit(&mut self, index: usize, map_index: Option<u32>, all: bool) {
        let mut skipped =
            if all { self.edges.below(&[index]) } else { self.edges.downstream[index].iter().copied().collect() };
        skipped.retain(|next| !matches!(self.graph.nodes[*next].role, Role::Teardown { .. }));
        self.branched.extend(skipped.into_iter().map(|next| (next, map_index)));
    }
}

/// How far lists go along with each other.
fn shortest(lists: &[Vec<Box<RawValue>>]) -> usize {
    lists.iter().map(Vec::len).min().unwrap_or(0)
}

/// Whether a task starts, given the states of its upstream tasks and, of those, its setups; else the state that it gets. Airflow's rules.
fn decide(rule: TriggerRule, upstream: &[TaskState], setups: &[TaskState]) -> std::result::Result<(), TaskState> {
    use TaskState::{Failed, Skipped, Success, UpstreamFailed};
    if upstream.is_empty() || rule == TriggerRule::Always {
        return Ok(());
    }
    let any = |states: &[TaskState]| upstream.iter().any(|state| states.contains(state));
    let failed = any(&[Failed, UpstreamFailed]);
    let all_finished = upstream.iter().all(|state| state.is_finished());
    let all_skipped = upstream.iter().all(|state| *state == Skipped);
    let started_early = match rule {
        TriggerRule::OneSuccess => any(&[Success]),
        TriggerRule::OneFailed => failed,
        TriggerRule::OneDone => any(&[Success, Failed]),
        _ => false,
    };
    if started_early {
        return Ok(());
    }
    if !all_finished {
        return Err(TaskState::None);
    }
    let skipped_if = |refused: bool| refused.then_some(Skipped);
    let refusal = match rule {
        TriggerRule::AllSuccess | TriggerRule::NoneFailed | TriggerRule::NoneFailedMinOneSuccess if failed => {
            Some(UpstreamFailed)
        }
        TriggerRule::AllSuccess | TriggerRule::NoneSkipped => skipped_if(any(&[Skipped])),
        TriggerRule::NoneFailedMinOneSuccess => skipped_if(all_skipped),
        TriggerRule::AllFailed => skipped_if(any(&[Success, Skipped])),
        TriggerRule::AllSkipped => skipped_if(!all_skipped),
        TriggerRule::AllDoneMinOneSuccess if any(&[Skipped]) => Some(Skipped),
        TriggerRule::AllDoneMinOneSuccess => (!any(&[Success])).then_some(UpstreamFailed),
        TriggerRule::OneSuccess => Some(if all_skipped { Skipped } else { UpstreamFailed }),
        TriggerRule::OneFailed | TriggerRule::OneDone => Some(Skipped),
        TriggerRule::AllDoneSetupSuccess if setups.is_empty() || setups.contains(&Success) => None,
        TriggerRule::AllDoneSetupSuccess if setups.iter().all(|state| *state == Skipped) => Some(Skipped),
        TriggerRule::AllDoneSetupSuccess => Some(UpstreamFailed),
        TriggerRule::NoneFailed | TriggerRule::AllDone | TriggerRule::Always => None,
    };
    refusal.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;

    fn rule(word: &str) -> Option<TriggerRule> {
        Some(match word {
            "all_success" => TriggerRule::AllSuccess,
            "all_failed" => TriggerRule::AllFailed,
            "all_done" => TriggerRule::AllDone,
            "all_done_min_one_success" => TriggerRule::AllDoneMinOneSuccess,
            "all_skipped" => TriggerRule::AllSkipped,
            "one_success" => TriggerRule::OneSuccess,
            "one_failed" => TriggerRule::OneFailed,
            "one_done" => TriggerRule::OneDone,
            "none_failed" => TriggerRule::NoneFailed,
            "none_failed_min_one_success" => TriggerRule::NoneFailedMinOneSuccess,
            "none_skipped" => TriggerRule::NoneSkipped,
            "always" => TriggerRule::Always,
            _ => return None,
        })
    }

    fn state(upstream: &Json) -> Option<TaskState> {
        let plain = upstream.as_object()?.keys().all(|key| key == "id" || key == "state");
        Some(match upstream["state"].as_str()? {
            _ if !plain => return None,
            "success" => TaskState::Success,
            "failed" => TaskState::Failed,
            "skipped" => TaskState::Skipped,
            "upstream_failed" => TaskState::UpstreamFailed,
            _ => return None,
        })
    }

    /// The cases that a run of one task after another can come to.
    #[test]
    fn trigger_rules_decide_as_airflow_does() {
        let cases: Json = serde_json::from_str(include_str!("../../../tests/conformance/trigger_rules.json")).unwrap();
        let mut checked = 0;
        for case in cases["cases"].as_array().unwrap() {
            let structured =
                ["edges", "indirect", "teardowns", "target", "dubious", "wait_for_past_depends_before_skipping"];
            let Some(rule) = rule(case["rule"].as_str().unwrap()) else { continue };
            let states: Option<Vec<_>> = case["upstream"].as_array().unwrap().iter().map(state).collect();
            let Some(states) = states.filter(|_| structured.iter().all(|key| case.get(key).is_none())) else {
                continue;
            };
            let decided = match decide(rule, &states, &[]) {
                Ok(()) => "run",
                Err(TaskState::Skipped) => "skipped",
                Err(TaskState::UpstreamFailed) => "upstream_failed",
                Err(_) => "wait",
            };
            assert_eq!(decided, case["expected"].as_str().unwrap(), "{case}");
            checked += 1;
        }
        assert!(checked >= 179, "{checked} cases");
    }
}
