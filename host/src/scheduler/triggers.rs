//! Runs that tasks and callbacks ask for: checked here, off the loop, then made by it as those that people ask for.

use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::{Map, Value};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Origin, RequestError, RunRequest, Scheduler, no_dag, params, request::Request, runs};
use crate::{
    executor::{TriggerCall, TriggerRefusal},
    model::{
        grants::{Grant, Standing},
        ids::DagId,
        state::RunType,
    },
    notifier::{Notice, StartRun},
    store::{CallbackNew, DagRunKey, DagRunRow, Parent},
};

/// Runs that may start each other in a chain. More is a loop of dags that trigger each other.
pub const MAX_DEPTH: u32 = 100;
/// Calls that are checked at a time.
const MAX_AT_WORK: usize = 64;

/// Answers calls until nobody can make one.
pub async fn serve(scheduler: Scheduler, mut calls: mpsc::Receiver<Box<TriggerCall>>) {
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            call = calls.recv(), if at_work.len() < MAX_AT_WORK => {
                let Some(call) = call else { return };
                let scheduler = scheduler.clone();
                at_work.spawn(async move { scheduler.answer(*call).await });
            }
            Some(ended) = at_work.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(error = %error, "a run that a task asked for could not be checked");
                }
            }
        }
    }
}

impl StartRun for Scheduler {
    fn start<'a>(
        &'a self,
        dag_id: &'a DagId,
        callback: &'a CallbackNew,
        notice: &'a Notice,
    ) -> BoxFuture<'a, Result<(), String>> {
        let started = self.trigger_by_callback(dag_id, callback, notice);
        started.map(|made| made.map(drop).map_err(|error| error.to_string())).boxed()
    }
}

impl Scheduler {
    async fn answer(&self, mut call: TriggerCall) {
        let conf = std::mem::take(&mut call.conf);
        let made = self.trigger_by_task(&call, conf).await.map_err(|error| match error {
            RequestError::NotFound(why) => TriggerRefusal::NotFound(why),
            RequestError::Conflict(why) | RequestError::Invalid(why) | RequestError::Forbidden(why) => {
                TriggerRefusal::Invalid(why)
            }
            RequestError::Store(error) => {
                tracing::error!(
                    error = &*error as &dyn std::error::Error,
                    "a run that a task asked for could not be made"
                );
                TriggerRefusal::Unavailable("the run could not be recorded just now".into())
            }
            RequestError::Stopped => TriggerRefusal::Unavailable("the server is shutting down".into()),
        });
        // The attempt may be over; the run stays, and is found if the task asks again.
        drop(call.reply.send(made));
    }

    /// Starts a run of `dag_id` that tells `notice`; once for each callback, however often it is asked for.
    ///
    /// # Errors
    /// If the dag that tells is not granted to start it, there is no such dag, its params do not take the notice, or too many runs
    /// have started each other in a chain.
    async fn trigger_by_callback(
        &self,
        dag_id: &DagId,
        callback: &CallbackNew,
        notice: &Notice,
    ) -> Result<DagRunRow, RequestError> {
        self.permit_callback(dag_id, callback.dag_run).await?;
        let conf = notice.as_object();
        self.check_conf(dag_id, &conf).await?;
        let depth = self.depth_below(callback.dag_run).await?;
        let parent = Parent {
            dag_run: callback.dag_run,
            task: callback.task_id.clone().map(|task_id| (task_id, callback.map_index)),
        };
        let number = u32::try_from(callback.number).unwrap_or(u32::MAX);
        let request = RunRequest {
            run_id: Some(runs::callback_id(callback)),
            note: Some(notice.text.clone()),
            triggered_by: "operator",
            origin: Some(Origin { parent, number, depth, reset: false }),
            ..RunRequest::default()
        };
        self.ask_for_run(dag_id, request, conf).await
    }

    /// Lets through what the dag of the run `told` is granted now. That it asks for `dag_id` is certain: the callback is its own.
    /// Asked before anything is looked up of `dag_id`, so that a refusal does not tell whether that is there.
    async fn permit_callback(&self, dag_id: &DagId, told: DagRunKey) -> Result<(), RequestError> {
        let run = self.store.dag_run_get_by_key(told).await?;
        let by = run.ok_or_else(|| RequestError::NotFound("the run was deleted".to_owned()))?.dag_id;
        let decisions = self.store.dag_decisions(std::slice::from_ref(&by)).await?.remove(&by).unwrap_or_default();
        let grant = Grant::of_dag(dag_id);
        let why = match decisions.standing_of(&grant, &self.config.grants_policy) {
            Standing::Granted | Standing::Approved => return Ok(()),
            Standing::Waits => "waits for an admin to approve it",
            Standing::Revoked => "was revoked by an admin",
        };
        Err(RequestError::Forbidden(format!("grant `{grant}` {why} (`airlock grants list {by}`)")))
    }

    async fn trigger_by_task(&self, call: &TriggerCall, conf: Map<String, Value>) -> Result<DagRunRow, RequestError> {
        let dag_id = &call.dag_id;
        self.check_conf(dag_id, &conf).await?;
        let parent = call.by.instance.clone();
        let depth = self.depth_below(parent.dag_run).await?;
        let run_id = call.run_id.clone().unwrap_or_else(|| runs::operator_id(&parent, call.ordinal));
        let request = RunRequest {
            run_id: Some(run_id),
            logical_date: call.logical_date,
            note: call.note.clone(),
            triggered_by: "operator",
            origin: Some(Origin { parent: parent.into(), number: call.by.try_number, depth, reset: call.reset }),
            ..RunRequest::default()
        };
        self.ask_for_run(dag_id, request, conf).await
    }

    async fn check_conf(&self, dag_id: &DagId, conf: &Map<String, Value>) -> Result<(), RequestError> {
        let dag = self.store.dag_get(dag_id).await?.ok_or_else(|| no_dag(dag_id))?;
        let allowed = dag.spec.check_run_type(RunType::OperatorTriggered);
        allowed
            .and_then(|()| params::check(&dag.spec.params, conf))
            .map_err(|why| RequestError::Invalid(format!("a run of dag `{dag_id}` can't be started: {why}")))
    }

    /// The depth of a run that `parent` starts.
    async fn depth_below(&self, parent: DagRunKey) -> Result<u32, RequestError> {
        let above = self.store.origin_get(parent).await?.map_or(0, |origin| origin.depth);
        if above >= MAX_DEPTH {
            return Err(RequestError::Invalid(format!(
                "{MAX_DEPTH} runs have started each other in a chain up to this one, and no more may; do dags trigger each \
                 other in a circle? A dag that is to go on for ever has a schedule"
            )));
        }
        Ok(above + 1)
    }

    async fn ask_for_run(
        &self,
        dag_id: &DagId,
        request: RunRequest,
        conf: Map<String, Value>,
    ) -> Result<DagRunRow, RequestError> {
        let conf = Value::Object(conf).to_string().into();
        let (dag_id, checked_at) = (dag_id.clone(), self.clock.now());
        self.ask(|reply| Request::Trigger { dag_id, request: Box::new(request), conf, checked_at, reply }).await
    }
}
