//! `airlock:task/dags`.

use wasmtime::Result;

use super::answer;
use crate::{
    model::{
        ids::{DagId, NameError, RunId, TaskId},
        state::{RunState, TaskState},
        time::Timestamp,
        wait::{RunChoice, RunWait, WhichRun},
    },
    sandbox::{
        bindings::airlock::task::{
            dags::{self, Condition, EndState},
            types::Error,
        },
        guest::Guest,
    },
    wire::{Call, DagRun, Look, Reply, RunRequest},
};

impl dags::Host for Guest {
    async fn look(&mut self, condition: Condition) -> Result<Result<dags::Progress, Error>> {
        let wait = match run_wait(condition) {
            Ok(wait) => wait,
            Err(error) => return Ok(Err(Error::Invalid(error.to_string()))),
        };
        answer!(self.attempt.call(Call::DagLook(wait)).await, Reply::Look(look) => look.into())
    }

    async fn trigger(&mut self, request: dags::RunRequest) -> Result<Result<dags::DagRun, Error>> {
        let request = match run_request(request) {
            Ok(request) => request,
            Err(error) => return Ok(Err(Error::Invalid(error.to_string()))),
        };
        answer!(self.attempt.call(Call::DagTrigger(request)).await, Reply::DagRun(run) => run.into())
    }
}

/// # Errors
/// If it names what can't be a dag, run or task.
pub fn run_wait(condition: Condition) -> Result<RunWait, NameError> {
    let run = match condition.run {
        dags::WhichRun::Newest => WhichRun::Newest,
        dags::WhichRun::LogicalDate(date) => WhichRun::LogicalDate(Timestamp::from_micros(date)),
        dags::WhichRun::RunId(run_id) => WhichRun::RunId(RunId::new(&run_id)?),
    };
    Ok(RunWait {
        of: RunChoice { dag_id: DagId::new(&condition.dag_id)?, run },
        tasks: condition.tasks.iter().map(|task| TaskId::new(task)).collect::<Result<_, _>>()?,
        all: condition.all.into_iter().map(TaskState::from).collect(),
        any: condition.any.into_iter().map(TaskState::from).collect(),
    })
}

fn run_request(request: dags::RunRequest) -> Result<RunRequest, NameError> {
    Ok(RunRequest {
        dag_id: DagId::new(&request.dag_id)?,
        conf: request.conf,
        logical_date: request.logical_date.map(Timestamp::from_micros),
        run_id: request.run_id.map(|run_id| RunId::new(&run_id)).transpose()?,
        reset: request.reset,
        note: request.note,
    })
}

impl From<EndState> for TaskState {
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

/// A state that the guest named itself, so that it is an end.
fn end_state(state: TaskState) -> EndState {
    match state {
        TaskState::Success => EndState::Success,
        TaskState::Skipped => EndState::Skipped,
        TaskState::UpstreamFailed => EndState::UpstreamFailed,
        TaskState::Removed => EndState::Removed,
        _ => EndState::Failed,
    }
}

impl From<DagRun> for dags::DagRun {
    fn from(run: DagRun) -> Self {
        Self {
            dag_id: run.dag_id.to_string(),
            run_id: run.run_id.to_string(),
            state: match run.state {
                RunState::Queued => dags::RunState::Queued,
                RunState::Running => dags::RunState::Running,
                RunState::Success => dags::RunState::Success,
                RunState::Failed => dags::RunState::Failed,
            },
            logical_date: run.logical_date.map(Timestamp::as_micros),
            run_after: run.run_after.as_micros(),
        }
    }
}

impl From<Look> for dags::Progress {
    fn from(look: Look) -> Self {
        match look {
            Look::NotYet => Self::NotYet,
            Look::All(run) => Self::All(run.into()),
            Look::Any(run, state) => Self::Any((run.into(), end_state(state))),
        }
    }
}
