//! What a task that answered `later` waits for, besides an instant: another run, or tasks of one.
//!
//! Airflow: `ExternalTaskSensor`. The condition is looked at when the task begins to wait and when a run of the dag (or one
//! of its tasks) ends, never in between.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{
    approval::Question,
    ids::{AssetName, DagId, RunId, TaskId},
    spec::DagSpec,
    state::{RunState, TaskState},
    time::Timestamp,
};

/// Tasks and groups that one wait may name.
pub const MAX_TASKS: usize = 1_000;

/// Which run of a dag is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichRun {
    /// The one with the latest `run_after`; of several, the one that was made last.
    Newest,
    LogicalDate(Timestamp),
    RunId(RunId),
}

/// A dag and which of its runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunChoice {
    pub dag_id: DagId,
    pub run: WhichRun,
}

/// What is waited for: a run, or tasks of a run, in certain states. Ordered by the run first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunWait {
    pub of: RunChoice,
    /// Ids of tasks or groups; empty: the run itself. At most [`MAX_TASKS`].
    pub tasks: Vec<TaskId>,
    /// The wait is over when all that is watched is in one of these states. Airflow: `allowed_states`.
    pub all: BTreeSet<TaskState>,
    /// Or when one of what is watched is in one of these. Airflow: `failed_states`, `skipped_states`.
    pub any: BTreeSet<TaskState>,
}

/// What a task waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    Run(RunWait),
    /// For an event of an asset that is later than an instant.
    Asset {
        asset: AssetName,
        since: Timestamp,
    },
    /// For somebody's answer.
    Approval(Box<Question>),
}

/// What a look at a condition found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    NotYet,
    /// All is in one of the states of `all`.
    All,
    /// One is in this state of `any`.
    Any(TaskState),
}

/// Why something can't be waited for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error("it waits for {0} tasks and groups; at most {MAX_TASKS} are allowed")]
    TooMany(usize),
    #[error("it waits for no state; name at least one")]
    NoState,
    #[error("it waits for state `{0}`; a wait can end at success, failed, skipped, upstream_failed or removed")]
    NotAnEnd(TaskState),
    #[error("it waits for its own run, which can't end before it does; wait for another logical_date, or make an edge")]
    Itself,
}

impl RunWait {
    /// # Errors
    /// If it could never end, or is larger than a limit.
    pub fn check(&self) -> Result<(), WaitError> {
        if self.tasks.len() > MAX_TASKS {
            return Err(WaitError::TooMany(self.tasks.len()));
        }
        if self.all.is_empty() && self.any.is_empty() {
            return Err(WaitError::NoState);
        }
        let mut states = self.all.iter().chain(&self.any);
        states.find(|state| !state.is_finished()).map_or(Ok(()), |state| Err(WaitError::NotAnEnd(*state)))
    }

    /// # Errors
    /// If the run that it waits for is the one that it is in.
    pub fn check_not_of(&self, dag_id: &DagId, run_id: &RunId, date: Option<Timestamp>) -> Result<(), WaitError> {
        let is_own = self.of.dag_id == *dag_id
            && match &self.of.run {
                WhichRun::Newest => false,
                WhichRun::LogicalDate(wanted) => date == Some(*wanted),
                WhichRun::RunId(wanted) => wanted == run_id,
            };
        if is_own { Err(WaitError::Itself) } else { Ok(()) }
    }

    /// What is said of a run in `state`; of a wait for tasks, `NotYet`.
    pub fn of_run(&self, state: RunState) -> Verdict {
        if !self.tasks.is_empty() {
            return Verdict::NotYet;
        }
        match state {
            RunState::Success => self.of_states([TaskState::Success]),
            RunState::Failed => self.of_states([TaskState::Failed]),
            RunState::Queued | RunState::Running => Verdict::NotYet,
        }
    }

    /// What is said of the instances of the tasks, of which there must be at least one; a state may come several times.
    pub fn of_states(&self, states: impl IntoIterator<Item = TaskState>) -> Verdict {
        let (mut are_all, mut is_empty) = (true, true);
        for state in states {
            is_empty = false;
            if self.any.contains(&state) {
                return Verdict::Any(state);
            }
            are_all &= self.all.contains(&state);
        }
        if are_all && !is_empty { Verdict::All } else { Verdict::NotYet }
    }
}

/// The tasks that `named` stands for: itself, or those of the group of that id, in groups inside it too. Empty if the dag
/// has neither.
pub fn members(spec: &DagSpec, named: &TaskId) -> Vec<TaskId> {
    if spec.nodes.iter().any(|node| node.task_id == named.as_str()) {
        return vec![named.clone()];
    }
    let mut inside = BTreeSet::new();
    // A parent stands before its groups.
    for group in &spec.groups {
        let is_inside = group.parent.as_ref().is_some_and(|parent| inside.contains(parent));
        if is_inside || group.group_id == named.as_str() {
            inside.insert(group.group_id.clone());
        }
    }
    let is_inside = |group: &Option<String>| group.as_ref().is_some_and(|group| inside.contains(group));
    let nodes = spec.nodes.iter().filter(|node| is_inside(&node.group));
    nodes.filter_map(|node| TaskId::new(&node.task_id).ok()).collect()
}

impl fmt::Display for RunChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            WhichRun::Newest => write!(f, "the newest run of dag `{}`", self.dag_id),
            WhichRun::LogicalDate(date) => write!(f, "the run of dag `{}` with logical_date {date}", self.dag_id),
            WhichRun::RunId(run_id) => write!(f, "run `{run_id}` of dag `{}`", self.dag_id),
        }
    }
}

/// What each that is told begins with.
const TOLD: &str = "waits for ";

impl Wait {
    /// Whether an instance's message says what it waits for, and not what became of the attempt before.
    pub fn is_told_by(message: &str) -> bool {
        message.starts_with(TOLD)
    }
}

/// For people: what is shown of an instance that waits.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let wait = match self {
            Self::Run(wait) => wait,
            Self::Asset { asset, .. } => return write!(f, "{TOLD}asset `{asset}`"),
            Self::Approval(question) => return write!(f, "{TOLD}an answer: {}", question.subject),
        };
        f.write_str(TOLD)?;
        for (at, task) in wait.tasks.iter().take(SHOWN).enumerate() {
            write!(f, "{}`{task}`", if at == 0 { "" } else { ", " })?;
        }
        if wait.tasks.len() > SHOWN {
            write!(f, " and {} more", wait.tasks.len() - SHOWN)?;
        }
        if !wait.tasks.is_empty() {
            f.write_str(" in ")?;
        }
        write!(f, "{}", wait.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(tasks: &[&str], all: &[TaskState], any: &[TaskState]) -> RunWait {
        RunWait {
            of: RunChoice { dag_id: DagId::new("d").unwrap(), run: WhichRun::Newest },
            tasks: tasks.iter().map(|task| TaskId::new(task).unwrap()).collect(),
            all: all.iter().copied().collect(),
            any: any.iter().copied().collect(),
        }
    }

    #[test]
    fn a_wait_ends_when_all_is_as_wanted_or_one_is_as_feared() {
        use TaskState::{Failed, None, Running, Skipped, Success};
        let wait = wait(&["t"], &[Success], &[Failed]);
        for (states, verdict) in [
            (&[][..], Verdict::NotYet),
            (&[None], Verdict::NotYet),
            (&[Success], Verdict::All),
            (&[Success, Running], Verdict::NotYet),
            (&[Success, Skipped], Verdict::NotYet),
            (&[Running, Failed], Verdict::Any(Failed)),
            (&[Success, Success], Verdict::All),
        ] {
            assert_eq!(wait.of_states(states.iter().copied()), verdict, "{states:?}");
        }
    }

    #[test]
    fn a_run_is_looked_at_only_if_no_task_is_named() {
        use TaskState::{Failed, Success};
        let of_run = wait(&[], &[Success], &[Failed]);
        assert_eq!(of_run.of_run(RunState::Running), Verdict::NotYet);
        assert_eq!(of_run.of_run(RunState::Success), Verdict::All);
        assert_eq!(of_run.of_run(RunState::Failed), Verdict::Any(Failed));
        assert_eq!(wait(&["t"], &[Success], &[]).of_run(RunState::Success), Verdict::NotYet);
        assert_eq!(
            wait(&[], &[Success], &[]).of_run(RunState::Failed),
            Verdict::NotYet,
            "it may be cleared and succeed"
        );
    }

    #[test]
    fn what_could_never_end_is_refused() {
        let refused = |wait: RunWait| wait.check().unwrap_err();
        assert_eq!(refused(wait(&[], &[], &[])), WaitError::NoState);
        assert_eq!(refused(wait(&[], &[TaskState::Running], &[])), WaitError::NotAnEnd(TaskState::Running));
        let many: Vec<_> = (0..=MAX_TASKS).map(|number| format!("t{number}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(refused(wait(&many, &[TaskState::Success], &[])), WaitError::TooMany(1_001));

        let own = |run| RunWait { of: RunChoice { dag_id: DagId::new("d").unwrap(), run }, ..wait(&[], &[], &[]) };
        let (dag, run, date) = (DagId::new("d").unwrap(), RunId::new("r").unwrap(), Some(Timestamp::from_micros(7)));
        let is_own = |wanted| own(wanted).check_not_of(&dag, &run, date).is_err();
        assert!(is_own(WhichRun::RunId(run.clone())));
        assert!(is_own(WhichRun::LogicalDate(Timestamp::from_micros(7))));
        assert!(!is_own(WhichRun::LogicalDate(Timestamp::from_micros(8))));
        assert!(!is_own(WhichRun::Newest), "a newer run may follow");
    }

    #[test]
    fn a_group_stands_for_its_tasks() {
        let node = |id: &str, group: Option<&str>| {
            serde_json::json!({
                "task_id": id, "entry": "e", "retries": 0, "retry_delay_ms": 0, "retry_backoff": 0.0, "group": group,
                "trigger_rule": "all_success", "pool": "default_pool", "pool_slots": 1, "priority_weight": 1,
            })
        };
        let spec: DagSpec = serde_json::from_value(serde_json::json!({
            "dag_id": "d", "schedule": "manual", "timezone": "UTC", "max_active_runs": 1, "max_active_tasks": 1,
            "nodes": [node("a", None), node("g.b", Some("g")), node("g.h.c", Some("g.h"))],
            "groups": [{"group_id": "g"}, {"group_id": "g.h", "parent": "g"}],
        }))
        .unwrap();
        let members =
            |id: &str| members(&spec, &TaskId::new(id).unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(members("a"), ["a"]);
        assert_eq!(members("g"), ["g.b", "g.h.c"]);
        assert_eq!(members("g.h"), ["g.h.c"]);
        assert_eq!(members("x"), [""; 0]);
    }

    #[test]
    fn it_says_what_is_waited_for() {
        let text = Wait::Run(wait(&["a", "b", "c", "d"], &[TaskState::Success], &[])).to_string();
        assert_eq!(text, "waits for `a`, `b`, `c` and 1 more in the newest run of dag `d`");
        let wait = Wait::Asset { asset: AssetName::new("s3://a").unwrap(), since: Timestamp::from_micros(0) };
        assert_eq!(wait.to_string(), "waits for asset `s3://a`");
    }
}
