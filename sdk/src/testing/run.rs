//! A whole dag, run natively.

use std::{collections::BTreeMap, rc::Rc};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use super::{Host, PastRun};
use crate::{
    context::Context,
    dag::{Definition, Graph, Source},
    entry::{self, Ending, Inputs},
    error::{Error, Result, ResultExt},
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

/// What a run of [`Host::run_dag`] left.
///
/// The methods that take a task's id panic if the dag has no such task: a test that names one is wrong.
#[derive(Debug)]
pub struct DagRun {
    tasks: BTreeMap<String, TaskRun>,
}

impl DagRun {
    fn task(&self, task_id: &str) -> &TaskRun {
        self.tasks.get(task_id).unwrap_or_else(|| {
            let known: Vec<_> = self.tasks.keys().map(String::as_str).collect();
            panic!("the dag has no task `{task_id}`; it has {}", known.join(", "))
        })
    }

    /// Where the task stands.
    ///
    /// # Panics
    /// If the dag has no such task.
    pub fn state(&self, task_id: &str) -> TaskState {
        self.task(task_id).state
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
        let value = self.task(task_id).xcoms.get(key).cloned()?;
        let read = value::decode(value).with_context(|| format!("xcom `{key}` of task `{task_id}`"));
        Some(read.expect("the test names the type that was pushed"))
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

    /// Whether no task failed: Airlock would call the run a success.
    pub fn succeeded(&self) -> bool {
        self.tasks.values().all(|task| matches!(task.state, TaskState::Success | TaskState::Skipped))
    }
}

pub(super) fn run(host: &Host, definition: &Definition) -> Result<DagRun> {
    let graph = definition.graph()?;
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
        branched: vec![false; graph.nodes.len()],
    };
    for index in &edges.order {
        run.step(*index, &mut context);
    }
    let done = run.done;
    if let Some(logical_date) = context.logical_date {
        let mut state = host.state.borrow_mut();
        let past = state.past.entry(logical_date).or_default();
        *past = PastRun { run_id: context.run_id, xcoms: BTreeMap::new() };
        for (index, task) in &done {
            for (key, value) in &task.xcoms {
                past.xcoms.insert((graph.nodes[*index].task_id.clone(), None, key.clone()), value.clone());
            }
        }
    }
    Ok(DagRun { tasks: done.into_iter().map(|(index, task)| (graph.nodes[index].task_id.clone(), task)).collect() })
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
            if ids.insert(node.task_id.as_str(), index).is_some() {
                let id = &node.task_id;
                return Err(Error::new(format!("two tasks are called `{id}`; rename one with `.id(\"...\")`")));
            }
        }
        let mut upstream = vec![Vec::new(); graph.nodes.len()];
        let mut downstream = upstream.clone();
        let carried = graph.nodes.iter().enumerate().flat_map(|(to, node)| {
            node.inputs.iter().filter_map(move |(_, source)| match source {
                Source::Output(from) => Some((*from as usize, to)),
                Source::Literal(_) | Source::Param(_) => None,
            })
        });
        let ordered = graph.edges.iter().map(|(from, to)| (*from as usize, *to as usize));
        for (from, to) in carried.chain(ordered) {
            if !upstream[to].contains(&from) {
                upstream[to].push(from);
                downstream[from].push(to);
            }
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

    fn descends(&self, from: usize, to: usize) -> bool {
        self.downstream[from].iter().any(|next| *next == to || self.descends(*next, to))
    }
}

struct Running<'a> {
    host: &'a Host,
    graph: &'a Graph,
    edges: &'a Edges,
    params: serde_json::Map<String, serde_json::Value>,
    done: BTreeMap<usize, TaskRun>,
    /// Whether a branch upstream went another way.
    branched: Vec<bool>,
}

impl Running<'_> {
    fn step(&mut self, index: usize, context: &mut Context) {
        let node = &self.graph.nodes[index];
        let states: Vec<TaskState> = self.edges.upstream[index].iter().map(|from| self.done[from].state).collect();
        let decision =
            if self.branched[index] { Err(TaskState::Skipped) } else { decide(node.options().trigger_rule, &states) };
        let task = match decision {
            Err(state) => TaskRun {
                state,
                tries: 0,
                message: None,
                later: None,
                xcoms: BTreeMap::new(),
                artifacts: BTreeMap::new(),
            },
            Ok(()) => self.try_until_done(index, context),
        };
        self.done.insert(index, task);
    }

    fn try_until_done(&mut self, index: usize, context: &mut Context) -> TaskRun {
        let node = &self.graph.nodes[index];
        node.task_id.clone_into(&mut context.task_id);
        context.max_tries = node.options().retries + 1;
        let mut try_number = 1;
        loop {
            context.try_number = try_number;
            let inputs = self.inputs(index);
            let ending = self.host.attempt(context, || entry::run(node.entry, context, inputs));
            if let Ending::Failed { fatal: false, .. } = ending
                && try_number < context.max_tries
            {
                try_number += 1;
                continue;
            }
            return self.end(index, ending, try_number);
        }
    }

    fn inputs(&self, index: usize) -> Inputs {
        let value = |source: &Source| match source {
            Source::Literal(value) => Some(value.clone()),
            Source::Param(index) => {
                let value = self.params.get(&self.graph.params[*index as usize].name)?;
                Some(Value { media_type: JSON.into(), bytes: value.to_string().into_bytes() })
            }
            Source::Output(from) => self.done[&(*from as usize)].xcoms.get(RETURN_VALUE).cloned(),
        };
        let inputs = &self.graph.nodes[index].inputs;
        Inputs(inputs.iter().map(|(name, source)| ((*name).to_owned(), value(source))).collect())
    }

    fn end(&mut self, index: usize, ending: Ending, tries: u32) -> TaskRun {
        let task_id = &self.graph.nodes[index].task_id;
        let mut task = TaskRun {
            state: TaskState::Success,
            tries,
            message: None,
            later: None,
            xcoms: BTreeMap::new(),
            artifacts: BTreeMap::new(),
        };
        let mut result = None;
        match ending {
            Ending::Success(value) => result = value,
            Ending::Branch(followed) => {
                if let Err(error) = self.follow(index, &followed) {
                    (task.state, task.message) = (TaskState::Failed, Some(error.to_string()));
                    return task;
                }
            }
            Ending::Skipped(reason) => {
                (task.state, task.message) = (TaskState::Skipped, reason);
                return task;
            }
            Ending::Later(at) => {
                (task.state, task.later) = (TaskState::UpForReschedule, Some(at));
                return task;
            }
            Ending::Failed { message, .. } => {
                (task.state, task.message) = (TaskState::Failed, Some(message));
                return task;
            }
        }
        let state = Rc::clone(&self.host.state);
        let mut state = state.borrow_mut();
        task.xcoms.clone_from(&state.pushed);
        task.xcoms.extend(result.map(|value| (RETURN_VALUE.to_owned(), value)));
        task.artifacts.clone_from(&state.written);
        for (key, value) in &task.xcoms {
            state.xcoms.insert((task_id.clone(), None, key.clone()), value.clone());
        }
        for (name, file) in &task.artifacts {
            state.files.insert((task_id.clone(), None, name.clone()), file.clone());
        }
        task
    }

    fn follow(&mut self, index: usize, followed: &[String]) -> Result<()> {
        let downstream = &self.edges.downstream[index];
        let find = |id: &String| {
            let found = downstream.iter().copied().find(|next| self.graph.nodes[*next].task_id == *id);
            found.ok_or_else(|| Error::new(format!("it branches to `{id}`, which is not directly downstream of it")))
        };
        let followed = followed.iter().map(find).collect::<Result<Vec<_>>>()?;
        for next in downstream {
            if !followed.iter().any(|wanted| wanted == next || self.edges.descends(*wanted, *next)) {
                self.branched[*next] = true;
            }
        }
        Ok(())
    }
}

/// Whether a task starts, given the states of its upstream tasks; else the state that it gets. Airflow's rules.
fn decide(rule: TriggerRule, upstream: &[TaskState]) -> std::result::Result<(), TaskState> {
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
            let decided = match decide(rule, &states) {
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
