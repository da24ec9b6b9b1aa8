//! `dags` of `wit/task.wit`: runs of other dags.

use tokio::sync::oneshot;

use super::{Shared, invalid, over, storage_failed};
use crate::{
    executor::{
        attempt::{ExecutorEvent, TriggerCall, TriggerRefusal},
        books::Attempt,
    },
    model::{
        ids::{DagId, TaskId},
        state::{RunType, TaskState},
        template::PreviousRun,
        wait::{self, RunWait, Verdict, WaitError},
    },
    store::DagRunRow,
    wire::{CallError, DagRun, Look, Reply, RunRequest},
};

/// The params of a run, as text.
const MAX_CONF_BYTES: usize = 1 << 20;
const MAX_NOTE_BYTES: usize = 1_000;

/// Whether the condition has come, as far as it is committed.
pub(super) async fn look(shared: &Shared, attempt: &Attempt, wait: &RunWait) -> Result<Reply, CallError> {
    check(attempt, wait)?;
    let dag_id = &wait.of.dag_id;
    let dag = shared.store.dag_get(dag_id).await.map_err(|error| storage_failed(&error))?;
    let dag = dag.ok_or_else(|| no_dag(dag_id))?;
    let run = shared.store.dag_run_find(&wait.of).await.map_err(|error| storage_failed(&error))?;
    let spec = match &run {
        Some(run) if run.version != dag.version => {
            let version = shared.store.dag_version_get(run.version).await.map_err(|error| storage_failed(&error))?;
            version.map_or(dag.spec, |version| version.spec)
        }
        Some(_) | None => dag.spec,
    };
    let mut tasks: Vec<TaskId> = Vec::new();
    for named in &wait.tasks {
        let members = wait::members(&spec, named);
        if members.is_empty() {
            return Err(CallError::NotFound(format!("dag `{dag_id}` has no task or group `{named}`")));
        }
        tasks.extend(members);
    }
    let Some(run) = run else { return Ok(Reply::Look(Look::NotYet)) };
    if run.key == attempt.id().instance.dag_run {
        return Err(invalid(WaitError::Itself));
    }
    let verdict = if tasks.is_empty() {
        wait.of_run(run.state)
    } else {
        let counts = shared.store.task_instance_counts_of(run.key, &tasks).await;
        let counts: Vec<(TaskId, TaskState, i64)> = counts.map_err(|error| storage_failed(&error))?;
        wait.of_states(counts.into_iter().map(|(_, state, _)| state))
    };
    Ok(Reply::Look(match verdict {
        Verdict::NotYet => Look::NotYet,
        Verdict::All => Look::All(run.into()),
        Verdict::Any(state) => Look::Any(run.into(), state),
    }))
}

/// Whether the attempt may wait for this.
pub(in crate::executor) fn check(attempt: &Attempt, wait: &RunWait) -> Result<(), CallError> {
    let run = &attempt.assignment.run;
    if wait.of.dag_id != run.dag_id {
        granted(attempt, &wait.of.dag_id)?;
    }
    wait.check().map_err(invalid)?;
    wait.check_not_of(&run.dag_id, &run.run_id, run.logical_date).map_err(invalid)
}

/// The newest run before the attempt's own that succeeded, for templates.
pub(in crate::executor) async fn previous_success(
    shared: &Shared,
    attempt: &Attempt,
) -> Result<Option<PreviousRun>, CallError> {
    let run = &attempt.assignment.run;
    let but_manual = run.run_type != RunType::Manual;
    let found = match run.logical_date {
        Some(date) => shared.store.dag_run_success_before(&run.dag_id, date, but_manual).await,
        None => shared.store.dag_run_success_started_before(&run.dag_id, run.run_after, but_manual).await,
    };
    let found = found.map_err(|error| storage_failed(&error))?;
    Ok(found.map(|run| PreviousRun {
        data_interval: run.data_interval,
        start_date: run.start_date,
        end_date: run.end_date,
    }))
}

/// Has a run started by the scheduler.
pub(super) async fn trigger(shared: &Shared, attempt: &Attempt, request: RunRequest) -> Result<Reply, CallError> {
    let dag_id = &request.dag_id;
    granted(attempt, dag_id)?;
    for (what, size, limit) in [
        ("params", request.conf.len(), MAX_CONF_BYTES),
        ("note", request.note.as_ref().map_or(0, String::len), MAX_NOTE_BYTES),
    ] {
        if size > limit {
            let text = format!("the {what} for a run of dag `{dag_id}` are {size} bytes; the limit is {limit}");
            return Err(CallError::TooLarge(text));
        }
    }
    let conf_bytes = request.conf.len();
    let conf = serde_json::from_str(&request.conf).map_err(|error| {
        CallError::Invalid(format!("the params for a run of dag `{dag_id}` are not a JSON object: {error}"))
    })?;
    let ordinal = attempt.effects(|effects| effects.count_run(dag_id, conf_bytes)).ok_or_else(over)??;
    let (reply, answer) = oneshot::channel();
    let RunRequest { dag_id, logical_date, run_id, reset, note, .. } = request;
    let by = attempt.id().clone();
    let call = TriggerCall { by, dag_id, conf, logical_date, run_id, reset, note, ordinal, reply };
    let stopped = || CallError::Unavailable("the server is shutting down".into());
    shared.events.send(ExecutorEvent::Trigger(Box::new(call))).await.map_err(|_| stopped())?;
    match answer.await.map_err(|_| stopped())? {
        Ok(run) => Ok(Reply::DagRun(run.into())),
        Err(TriggerRefusal::NotFound(why)) => Err(CallError::NotFound(why)),
        Err(TriggerRefusal::Invalid(why)) => Err(CallError::Invalid(why)),
        Err(TriggerRefusal::Unavailable(why)) => Err(CallError::Unavailable(why)),
    }
}

fn granted(attempt: &Attempt, dag_id: &DagId) -> Result<(), CallError> {
    attempt.assignment.permit(|grants| grants.allows_dag(dag_id), || format!("dag:{dag_id}"))
}

fn no_dag(dag_id: &DagId) -> CallError {
    CallError::NotFound(format!("there is no dag `{dag_id}`"))
}

impl From<DagRunRow> for DagRun {
    fn from(run: DagRunRow) -> Self {
        Self {
            dag_id: run.dag_id,
            run_id: run.run_id,
            state: run.state,
            logical_date: run.logical_date,
            run_after: run.run_after,
        }
    }
}
