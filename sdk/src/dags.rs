//! Runs of other dags: to start them and to wait for them.
//!
//! A dag reaches those that it was granted: `#[dag(dags = ["load", "report-*"])]`. Waiting for other runs of its own needs no
//! grant.
//!
//! ```
//! use airlock_sdk::prelude::*;
//! use std::time::Duration;
//!
//! /// Waits for the run of `load` of the same logical date, for six hours at most.
//! #[task]
//! fn loaded(ctx: &Context) -> Result<()> {
//!     dags::run("load").timeout(Duration::from_hours(6)).wait(ctx)?;
//!     Ok(())
//! }
//!
//! /// Starts a run and is done when that is.
//! #[task(retries = 1)]
//! fn report(ctx: &Context, shop: &str) -> Result<String> {
//!     let run = dags::trigger("report-daily").param("shop", shop).start()?;
//!     Ok(run.wait(ctx)?.run_id)
//! }
//!
//! #[dag(schedule = "@daily", dags = ["load", "report-*"])]
//! fn after_load(dag: &Dag) {
//!     report(dag, "Oslo").after(loaded(dag));
//! }
//! # use airlock_sdk::testing::{Host, TaskState};
//! # let run = Host::new().logical_date(Default::default()).dag("load").dag("report-daily").run_dag::<after_load>().unwrap();
//! # assert_eq!(run.state("loaded"), TaskState::UpForReschedule);
//! ```
//!
//! A task that waits holds nothing, and is started again from its beginning when what it waits for has come: `start` and
//! `wait` then find what they asked for before.

use std::{fmt, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{
    context::Context,
    error::{Awaited, Error, Fatal, HostError, Later, Result, Skip},
    host,
};

/// A week: Airflow's timeout of sensors.
const TIMEOUT: Duration = Duration::from_hours(7 * 24);

/// Where a `dag_run` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It has not begun.
    Queued,
    /// It has begun.
    Running,
    /// It ended well.
    Success,
    /// It failed.
    Failed,
}

/// A state in which a task instance ends; a run ends in success or failed only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndState {
    /// It ended well.
    Success,
    /// It failed and has no tries left.
    Failed,
    /// It was skipped.
    Skipped,
    /// It could not start, for what it needs failed.
    UpstreamFailed,
    /// It is not in the dag any more.
    Removed,
}

impl fmt::Display for EndState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::UpstreamFailed => "upstream_failed",
            Self::Removed => "removed",
        })
    }
}

/// A run of a dag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagRun {
    /// Its dag.
    pub dag_id: String,
    /// Unique in its dag.
    pub run_id: String,
    /// Where it stood when it was asked for.
    pub state: RunState,
    /// The instant that names it, if it has one.
    pub logical_date: Option<DateTime<Utc>>,
    /// The earliest instant that it could start.
    pub run_after: DateTime<Utc>,
}

impl DagRun {
    /// The run as it is when it has ended. If it failed, the task fails, with the tries that it has left; to choose otherwise, see
    /// [`awaited`](Self::awaited).
    ///
    /// # Errors
    /// As [`RunOf::wait`].
    pub fn wait(&self, ctx: &Context) -> Result<Self> {
        self.awaited().wait(ctx)
    }

    /// What to wait for.
    pub fn awaited(&self) -> RunOf {
        run(&self.dag_id).run_id(&self.run_id)
    }
}

/// Which run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WhichRun {
    Newest,
    LogicalDate(DateTime<Utc>),
    RunId(String),
}

/// What a task waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub dag_id: String,
    pub run: WhichRun,
    pub tasks: Vec<String>,
    pub all: Vec<EndState>,
    pub any: Vec<EndState>,
}

/// What a look at it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    NotYet,
    All(DagRun),
    Any(DagRun, EndState),
}

/// A run that a task wants to wait for. Airflow: `ExternalTaskSensor`.
///
/// If nothing is said, the run with the same `logical_date` as the task's own, until it succeeds.
#[derive(Debug, Clone)]
#[must_use = "nothing is waited for before `wait`"]
pub struct RunOf {
    dag_id: String,
    run: Option<WhichRun>,
    delta: TimeDelta,
    tasks: Vec<String>,
    allowed: Vec<EndState>,
    failed: Vec<EndState>,
    skipped: Vec<EndState>,
    timeout: Duration,
    soft_fail: bool,
}

/// A run of dag `dag_id`, to wait for. It does not need to exist yet; the dag must.
pub fn run(dag_id: impl Into<String>) -> RunOf {
    RunOf {
        dag_id: dag_id.into(),
        run: None,
        delta: TimeDelta::zero(),
        tasks: Vec::new(),
        allowed: vec![EndState::Success],
        failed: vec![EndState::Failed, EndState::UpstreamFailed],
        skipped: Vec::new(),
        timeout: TIMEOUT,
        soft_fail: false,
    }
}

impl RunOf {
    /// The run with this logical date.
    pub fn logical_date(mut self, date: DateTime<Utc>) -> Self {
        self.run = Some(WhichRun::LogicalDate(date));
        self
    }

    /// The run whose logical date is so much after the task's own; before it, if `delta` is negative. (Airflow's
    /// `execution_delta` counts backwards.)
    pub fn logical_date_delta(mut self, delta: TimeDelta) -> Self {
        self.delta = delta;
        self
    }

    /// The newest run, whatever its date. If a newer one begins meanwhile, that one.
    pub fn newest(mut self) -> Self {
        self.run = Some(WhichRun::Newest);
        self
    }

    /// The run with this id.
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run = Some(WhichRun::RunId(run_id.into()));
        self
    }

    /// Not the whole run but this task of it, or this group; all of them if it is said several times.
    pub fn task(mut self, task_id: impl Into<String>) -> Self {
        self.tasks.push(task_id.into());
        self
    }

    /// The wait is over when all that is watched is in one of these states; success, if nothing is said.
    pub fn allowed_states(mut self, states: impl IntoIterator<Item = EndState>) -> Self {
        self.allowed = states.into_iter().collect();
        self
    }

    /// The waiting task fails as soon as something that is watched is in one of these states; failed and upstream_failed, if
    /// nothing is said. (Airflow: nothing, so that its sensor waits for its timeout.)
    pub fn failed_states(mut self, states: impl IntoIterator<Item = EndState>) -> Self {
        self.failed = states.into_iter().collect();
        self
    }

    /// The waiting task is skipped as soon as something that is watched is in one of these states.
    pub fn skipped_states(mut self, states: impl IntoIterator<Item = EndState>) -> Self {
        self.skipped = states.into_iter().collect();
        self
    }

    /// How long to wait at most, from the first start of the try; a week if nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether the waiting task is skipped where it would fail.
    pub fn soft_fail(mut self, soft_fail: bool) -> Self {
        self.soft_fail = soft_fail;
        self
    }

    /// The run, once it has come so far. Until then an error that, handed on with `?`, ends the attempt; the task is started
    /// again when it has.
    ///
    /// # Errors
    /// [`Later`] if it has not come so far; [`Fatal`] (or [`Skip`] with `soft_fail`) after the timeout; an error (or [`Skip`])
    /// if it failed; [`HostError::Denied`] without the grant; [`HostError::NotFound`] if there is no such dag or task.
    pub fn wait(self, ctx: &Context) -> Result<DagRun> {
        #[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
        self.wait_at(ctx, Utc::now())
    }

    fn wait_at(&self, ctx: &Context, now: DateTime<Utc>) -> Result<DagRun> {
        let condition = self.condition(ctx)?;
        match host::dag_look(&condition)? {
            Progress::All(run) => Ok(run),
            Progress::Any(run, state) => {
                let what = if self.tasks.is_empty() { "run" } else { "a task of run" };
                let message = format!("{what} `{}` of dag `{}` is {state}", run.run_id, run.dag_id);
                Err(self.failure(self.skipped.contains(&state), message, Error::new))
            }
            Progress::NotYet => {
                let timeout = TimeDelta::from_std(self.timeout).unwrap_or(TimeDelta::MAX);
                let until = ctx.started_at().checked_add_signed(timeout).unwrap_or(DateTime::<Utc>::MAX_UTC);
                if now < until {
                    return Err(Later::on(Awaited::Run(condition), until).into());
                }
                let message = format!(
                    "the run of dag `{}` that it waits for did not come so far within {} s",
                    self.dag_id,
                    self.timeout.as_secs_f64()
                );
                Err(self.failure(false, message, |message| Fatal::new(message).into()))
            }
        }
    }

    fn failure(&self, skip: bool, message: String, fail: impl FnOnce(String) -> Error) -> Error {
        if skip || self.soft_fail { Skip::because(message).into() } else { fail(message) }
    }

    /// The run whose logical date is `delta` after the task's own.
    fn run_beside(&self, ctx: &Context) -> Result<WhichRun> {
        let own = ctx.logical_date().ok_or_else(|| {
            Fatal::new(format!(
                "the run has no logical date, so that dag `{}` has no run of the same; choose one with `logical_date`, \
                 `run_id` or `newest`",
                self.dag_id
            ))
        })?;
        let date = own.checked_add_signed(self.delta);
        Ok(WhichRun::LogicalDate(
            date.ok_or_else(|| Fatal::new(format!("there is no logical date {} from {own}", self.delta)))?,
        ))
    }

    fn condition(&self, ctx: &Context) -> Result<Condition> {
        let run = self.run.clone().map_or_else(|| self.run_beside(ctx), Ok)?;
        let any = self.failed.iter().chain(&self.skipped).copied().filter(|state| !self.allowed.contains(state));
        Ok(Condition {
            dag_id: self.dag_id.clone(),
            run,
            tasks: self.tasks.clone(),
            all: self.allowed.clone(),
            any: any.collect(),
        })
    }
}

/// A run that is to be started. Airflow: `TriggerDagRunOperator`.
#[derive(Debug, Clone)]
#[must_use = "no run is started before `start`"]
pub struct Trigger {
    pub(crate) dag_id: String,
    pub(crate) conf: serde_json::Map<String, serde_json::Value>,
    pub(crate) logical_date: Option<DateTime<Utc>>,
    pub(crate) run_id: Option<String>,
    pub(crate) reset: bool,
    pub(crate) note: Option<String>,
    wrong: Option<String>,
}

/// A run of dag `dag_id`, to be started.
pub fn trigger(dag_id: impl Into<String>) -> Trigger {
    Trigger {
        dag_id: dag_id.into(),
        conf: serde_json::Map::new(),
        logical_date: None,
        run_id: None,
        reset: false,
        note: None,
        wrong: None,
    }
}

impl Trigger {
    /// Sets a param of the run.
    pub fn param(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        match serde_json::to_value(value) {
            Ok(value) => drop(self.conf.insert(name, value)),
            Err(error) => drop(self.wrong.get_or_insert(format!("param `{name}`: {error}"))),
        }
        self
    }

    /// The instant that names the run; unique in the dag. None, if nothing is said.
    pub fn logical_date(mut self, date: DateTime<Utc>) -> Self {
        self.logical_date = Some(date);
        self
    }

    /// The run's id; if nothing is said, one that is made of this task instance, so that it starts one run however often it is
    /// started again.
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = Some(run_id.into());
        self
    }

    /// Whether a run of that id that is there already is cleared, once in each try, so that it runs again. Airflow:
    /// `reset_dag_run`.
    pub fn reset(mut self, reset: bool) -> Self {
        self.reset = reset;
        self
    }

    /// What the page shows about the run.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Starts the run; it stays even if this attempt fails. If this task instance started it before, answers it as it now is.
    ///
    /// # Errors
    /// [`HostError::Denied`] without the grant; [`HostError::NotFound`] if there is no such dag; [`HostError::Invalid`] if the
    /// params don't fit, others made a run of that id or logical date, or too many runs started each other.
    pub fn start(self) -> Result<DagRun, HostError> {
        if let Some(wrong) = self.wrong {
            return Err(HostError::Invalid(wrong));
        }
        host::dag_trigger(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn host() -> Host {
        Host::new().logical_date(at(0)).started_at(at(0)).dag("load")
    }

    #[test]
    fn the_run_of_the_same_date_is_waited_for_or_one_beside_it() {
        let host = host().dag_run("load", "day", Some(at(-86_400)), RunState::Success);
        host.run(|ctx| {
            let error = run("load").wait_at(ctx, at(1)).unwrap_err();
            let later = error.find::<Later>().unwrap();
            assert_eq!(later.at - at(0), TimeDelta::days(7));
            let Some(Awaited::Run(condition)) = later.awaited.as_deref() else { panic!("{later}") };
            assert_eq!(condition.run, WhichRun::LogicalDate(at(0)));
            let before = run("load").logical_date_delta(TimeDelta::days(-1)).wait_at(ctx, at(1)).unwrap();
            assert_eq!((before.run_id.as_str(), before.state), ("day", RunState::Success));
            assert_eq!(run("load").newest().wait_at(ctx, at(1)).unwrap().run_id, "day");
            let unknown = run("lode").wait_at(ctx, at(1)).unwrap_err();
            assert!(matches!(unknown.find::<HostError>(), Some(HostError::NotFound(_))));
        });
    }

    #[test]
    fn a_failed_run_fails_or_skips_the_one_that_waits_unless_it_is_allowed() {
        let host = host().dag_run("load", "r", Some(at(0)), RunState::Failed);
        host.run(|ctx| {
            let error = run("load").wait_at(ctx, at(1)).unwrap_err();
            assert_eq!(error.to_string(), "run `r` of dag `load` is failed");
            assert!(!error.is_fatal(), "a retry looks again");
            assert!(run("load").soft_fail(true).wait_at(ctx, at(1)).unwrap_err().find::<Skip>().is_some());
            let skipping = run("load").skipped_states([EndState::Failed]);
            assert!(skipping.wait_at(ctx, at(1)).unwrap_err().find::<Skip>().is_some());
            let any_end = run("load").allowed_states([EndState::Success, EndState::Failed]);
            assert_eq!(any_end.wait_at(ctx, at(1)).unwrap().state, RunState::Failed);
            let patient = run("load").failed_states([]).timeout(Duration::from_secs(10));
            assert!(patient.wait_at(ctx, at(9)).unwrap_err().find::<Later>().is_some());
            assert!(patient.wait_at(ctx, at(10)).unwrap_err().is_fatal());
        });
    }

    #[test]
    fn a_task_is_waited_for_before_its_run_ends() {
        let host = host().dag_run("load", "r", Some(at(0)), RunState::Running).ended_task(
            "load",
            "r",
            "rows",
            EndState::Success,
        );
        host.run(|ctx| {
            assert!(run("load").wait_at(ctx, at(1)).unwrap_err().find::<Later>().is_some());
            assert_eq!(run("load").task("rows").wait_at(ctx, at(1)).unwrap().run_id, "r");
            assert!(run("load").task("rows").task("x").wait_at(ctx, at(1)).unwrap_err().find::<Later>().is_some());
        });
    }

    #[test]
    fn a_run_is_started_once_and_found_again() {
        let host = host();
        let start = || host.run(|_| trigger("load").param("day", 7).start()).unwrap();
        assert_eq!(start(), start());
        let started = host.triggered();
        assert_eq!(started.len(), 1);
        assert_eq!(started[0].params["day"], 7);
        let error = host.run(|ctx| start().wait(ctx)).unwrap_err();
        assert!(error.find::<Later>().is_some());
        let unknown = host.run(|_| trigger("lode").start()).unwrap_err();
        assert!(matches!(unknown, HostError::NotFound(_)));
    }
}
