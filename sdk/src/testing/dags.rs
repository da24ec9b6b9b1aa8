//! Other dags and their runs, as a test says that they are.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Host, State, host::with, is_granted};
use crate::{
    dags::{Condition, DagRun, EndState, Progress, RunState, Trigger, WhichRun},
    error::HostError,
};

type Result<T> = std::result::Result<T, HostError>;

/// The other dags of the test.
#[derive(Debug, Default)]
pub(super) struct Dags {
    /// Their runs, as they were made.
    runs: BTreeMap<String, Vec<Run>>,
    triggered: Vec<Triggered>,
}

#[derive(Debug)]
struct Run {
    run: DagRun,
    tasks: BTreeMap<String, EndState>,
}

/// A run that a task started.
#[derive(Debug, Clone, PartialEq)]
pub struct Triggered {
    /// The run.
    pub run: DagRun,
    /// The params that the task gave it.
    pub params: serde_json::Map<String, serde_json::Value>,
}

impl Host {
    /// Says that there is a dag `dag_id`.
    pub fn dag(self, dag_id: impl Into<String>) -> Self {
        self.with(|state| {
            state.dags.runs.entry(dag_id.into()).or_default();
        })
    }

    /// Says that there is a dag `dag_id` with this run, newer than those that were said before.
    pub fn dag_run(
        self,
        dag_id: impl Into<String>,
        run_id: impl Into<String>,
        logical_date: Option<DateTime<Utc>>,
        state: RunState,
    ) -> Self {
        let (dag_id, run_id) = (dag_id.into(), run_id.into());
        let run_after = logical_date.unwrap_or(DateTime::UNIX_EPOCH);
        let run = DagRun { dag_id: dag_id.clone(), run_id, state, logical_date, run_after };
        self.with(|state| state.dags.runs.entry(dag_id).or_default().push(Run { run, tasks: BTreeMap::new() }))
    }

    /// Says that a task of a run that was said before has ended.
    ///
    /// # Panics
    /// If there is no such run.
    pub fn ended_task(self, dag_id: &str, run_id: &str, task_id: impl Into<String>, state: EndState) -> Self {
        self.with(|all| {
            let mut runs = all.dags.runs.get_mut(dag_id).into_iter().flatten();
            let run = runs.find(|run| run.run.run_id == run_id);
            run.expect("the run is said with `Host::dag_run` before").tasks.insert(task_id.into(), state);
        })
    }

    /// The runs that tasks started, in this order.
    pub fn triggered(&self) -> Vec<Triggered> {
        self.state.borrow().dags.triggered.clone()
    }
}

/// # Errors
/// If the dag is not granted or not said.
fn runs_of<'a>(state: &'a mut State, dag_id: &str, is_own_free: bool) -> Result<&'a mut Vec<Run>> {
    let is_own = is_own_free && state.dag_id == dag_id;
    if !is_own && state.grants.as_ref().is_some_and(|grants| !is_granted(grants.dags, dag_id)) {
        return Err(HostError::Denied(format!("dag:{dag_id}")));
    }
    let missing = || HostError::NotFound(format!("dag `{dag_id}`; say that it is there with `Host::dag`"));
    if is_own {
        return Ok(state.dags.runs.entry(dag_id.to_owned()).or_default());
    }
    state.dags.runs.get_mut(dag_id).ok_or_else(missing)
}

pub fn dag_look(condition: &Condition) -> Result<Progress> {
    with(&condition.dag_id, |state| {
        let runs = runs_of(state, &condition.dag_id, true)?;
        let found = match &condition.run {
            WhichRun::Newest => runs.last(),
            WhichRun::LogicalDate(date) => runs.iter().find(|run| run.run.logical_date == Some(*date)),
            WhichRun::RunId(run_id) => runs.iter().find(|run| run.run.run_id == *run_id),
        };
        let Some(found) = found else { return Ok(Progress::NotYet) };
        let states: Vec<Option<EndState>> = if condition.tasks.is_empty() {
            vec![match found.run.state {
                RunState::Success => Some(EndState::Success),
                RunState::Failed => Some(EndState::Failed),
                RunState::Queued | RunState::Running => None,
            }]
        } else {
            condition.tasks.iter().map(|task| found.tasks.get(task).copied()).collect()
        };
        let feared = states.iter().flatten().find(|state| condition.any.contains(state));
        let is_all = states.iter().all(|state| state.is_some_and(|state| condition.all.contains(&state)));
        Ok(match feared {
            Some(state) => Progress::Any(found.run.clone(), *state),
            None if is_all => Progress::All(found.run.clone()),
            None => Progress::NotYet,
        })
    })
}

pub fn dag_trigger(trigger: &Trigger) -> Result<DagRun> {
    with(&trigger.dag_id, |state| {
        let task = state.place.0.clone();
        let runs = runs_of(state, &trigger.dag_id, false)?;
        let run_id = trigger.run_id.clone().unwrap_or_else(|| format!("operator_triggered__{task}"));
        if let Some(known) = runs.iter().find(|run| run.run.run_id == run_id) {
            return Ok(known.run.clone());
        }
        let run = DagRun {
            dag_id: trigger.dag_id.clone(),
            run_id,
            state: RunState::Queued,
            logical_date: trigger.logical_date,
            run_after: trigger.logical_date.unwrap_or(DateTime::UNIX_EPOCH),
        };
        runs.push(Run { run: run.clone(), tasks: BTreeMap::new() });
        state.dags.triggered.push(Triggered { run: run.clone(), params: trigger.conf.clone() });
        Ok(run)
    })
}
