//! Creates runs, drives them, and tells who listens.
//!
//! One loop (`driver`) owns every unfinished run. Whatever happens - a request, an attempt's end, a
//! timer - is an event of that loop:
//!
//! ```text
//! requests ─┐                       ┌─> answers
//! attempts ─┼─> engine ─> Tick ─> commit ─┼─> executor (starts, kills)
//! timers   ─┘                       └─> changes (pages, commands)
//! ```
//!
//! All events that wait are applied together and committed in one transaction; only then does anything of it show. One link of a
//! chain costs one commit: A's success, its XComs and B's start. What the loop can't commit it holds
//! and tries again; what the database refuses for good makes it read its state anew.
//!
//! It promises: what was answered is durable; an attempt starts after the commit that says so; limits
//! are never exceeded. It leaves out what a run means (`engine`) and how an attempt runs (`executor`).

mod backfills;
mod change;
mod dag_numbers;
mod dag_warnings;
mod dags;
mod deploy;
mod driver;
mod garbage;
mod grants;
mod heartbeat;
mod intake;
mod limits;
mod params;
mod reply;
mod request;
mod retention;
mod run_keys;
mod runs;
mod select;
#[cfg(test)]
mod tests;
mod tick;
mod triggers;
mod version;
mod waits;
mod watch;

use std::sync::{Arc, atomic::AtomicU32};

pub use backfills::PlannedRun;
pub use change::Change;
pub use dag_numbers::HeldNumbers;
pub use grants::{GrantsDecision, GrantsDifference};
pub use intake::{IntakeError, MAX_UPLOAD_BYTES, Upload};
pub use limits::LimitsSeen;
pub use request::{
    AnswerRequest, BackfillRequest, ClearRequest, Dependency, DeployError, Deployed, Health, MarkRequest, Origin,
    RequestError, RunRequest, SchedulerConfig,
};
pub use retention::{DagPreview, Deletions, Preview, RetentionConfig};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, Notify, RwLock, broadcast, mpsc},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
pub use version::{VersionError, graph};

use self::{driver::Driver, heartbeat::Heartbeat, intake::Intake, reply::Reply, request::Request, retention::Ended};
use crate::{
    blobs::Blobs,
    executor::AttemptId,
    model::{
        approval::Answer,
        ids::{AssetName, DagId, QueueName, RunId, TaskId},
        spec::ScheduleSpec,
        state::{RunState, RunType},
        time::{Clock, Timestamp},
        timetable::{Bounds, NextRun, Timetable},
        warning::Warning,
    },
    store::{Audit, DagRunRow, InstanceKey, QueuedEventFilter, Store, StoreError, TaskInstanceRow},
    telemetry::{Duties, Metrics},
    vault::Connection,
};
pub use crate::{
    executor::{
        CompileError, Executor, ExecutorEvent, Fleet, FleetsSeen, Hello, LogError, LogFrom, LogLine, LogPage, Logs,
        Pod, PodState, Tested, Worker, Workload,
    },
    store::DeployedDag,
};

/// Requests that wait for the loop at a time; more make their senders wait.
const MAX_REQUESTS: usize = 1_024;
/// Batches of changes that a slow listener may lag behind before it must read the store.
const MAX_CHANGES: usize = 1_024;
/// Runs that tasks ask for and that wait to be checked; more are refused.
const MAX_TRIGGERS: usize = 4_096;
/// Instances that are read one by one; more are picked from all of their run.
const FEW: usize = 100;

/// The way to the scheduler. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    store: Store,
    blobs: Blobs,
    executor: Executor,
    clock: Clock,
    config: Arc<SchedulerConfig>,
    requests: mpsc::Sender<Request>,
    changes: broadcast::Sender<Arc<Vec<Change>>>,
    heartbeat: Arc<Heartbeat>,
    garbage: Arc<Notify>,
    /// Held while the object of a component is stored and its row is not.
    uploads: Arc<RwLock<()>>,
    /// How often dags became others, and held while they do: what an upload was checked against holds until it has grown.
    deployed: Arc<Mutex<u64>>,
    intake: Arc<Intake>,
    retention: retention::Handle,
    found: Arc<watch::Found>,
}

/// The scheduler's loop and its background duties. It ends when it is told to, or when all [`Scheduler`]s are gone.
#[derive(Debug)]
pub struct SchedulerTask {
    driver: JoinHandle<()>,
    garbage: AbortOnDropHandle<()>,
    triggers: AbortOnDropHandle<()>,
    retention: AbortOnDropHandle<()>,
    watch: AbortOnDropHandle<()>,
}

impl SchedulerTask {
    /// Waits for the loop's end.
    pub async fn ended(self) {
        let Self { driver, garbage, triggers, retention, watch } = self;
        // If it panicked, its duty has told so.
        let _ = driver.await;
        drop((garbage, triggers, retention, watch));
    }
}

impl Scheduler {
    /// Reads what is unfinished, starts it again, and starts the loop.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn start(
        config: SchedulerConfig,
        store: Store,
        blobs: Blobs,
        executor: Executor,
        events: mpsc::Receiver<ExecutorEvent>,
    ) -> Result<(Self, SchedulerTask), StoreError> {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let (changes, _) = broadcast::channel(MAX_CHANGES);
        let (triggers, trigger_calls) = mpsc::channel(MAX_TRIGGERS);
        let clock = Clock;
        let heartbeat = Arc::new(Heartbeat::new(clock.now()));
        let (config, garbage) = (Arc::new(config), Arc::new(Notify::new()));
        let (commands, retention_commands) = mpsc::channel(retention::MAX_COMMANDS);
        let uploads = Arc::new(RwLock::new(()));
        let scheduler = Self {
            store: store.clone(),
            blobs,
            executor: executor.clone(),
            clock,
            config: Arc::clone(&config),
            requests,
            changes: changes.clone(),
            heartbeat: Arc::clone(&heartbeat),
            garbage: Arc::clone(&garbage),
            uploads: Arc::clone(&uploads),
            deployed: Arc::default(),
            intake: Arc::default(),
            retention: retention::Handle::new(commands),
            found: Arc::default(),
        };
        let ended = Arc::<Ended>::default();
        let driver =
            Driver::recover(config, store, executor, clock.now(), changes, heartbeat, Arc::clone(&ended)).await?;
        let task = {
            let duties = scheduler.duties();
            let collector = garbage::Collector {
                store: scheduler.store.clone(),
                blobs: scheduler.blobs.clone(),
                metrics: scheduler.metrics().clone(),
                uploads,
                stuck: AtomicU32::new(0),
            };
            let collector = garbage::collect(collector, garbage);
            let retention = retention::Job::new(scheduler.clone(), retention_commands, ended);
            SchedulerTask {
                garbage: duties.spawn("the collector of garbage", collector),
                triggers: duties
                    .spawn("who checks the runs that tasks ask for", triggers::serve(scheduler.clone(), trigger_calls)),
                retention: duties.spawn("retention", retention.run()),
                watch: duties
                    .spawn("the look after the server", watch::watch(scheduler.clone(), scheduler.found.clone())),
                // When it is told to end, it commits what it has.
                driver: duties.spawn("the scheduler's loop", driver.run(clock, receiver, events, triggers)).detach(),
            }
        };
        Ok((scheduler, task))
    }

    /// Creates a dag_run. It is durable when this returns.
    ///
    /// # Errors
    /// If the dag does not exist, a run of that id or logical_date does, the id is reserved, or the params don't fit.
    pub async fn trigger(&self, dag_id: &DagId, request: RunRequest) -> Result<DagRunRow, RequestError> {
        let dag = self.store.dag_get(dag_id).await?.ok_or_else(|| no_dag(dag_id))?;
        dag.spec.check_run_type(RunType::Manual).map_err(RequestError::Invalid)?;
        params::check(&dag.spec.params, &request.conf).map_err(RequestError::Invalid)?;
        let checked_at = self.clock.now();
        self.refuse_duplicate(dag_id, request.run_id.as_ref(), request.logical_date).await?;
        let conf = serde_json::to_string(&request.conf).unwrap_or_else(|_| "{}".to_owned());
        self.ask(|reply| Request::Trigger {
            dag_id: dag_id.clone(),
            request: Box::new(request),
            conf: conf.into(),
            checked_at,
            reply,
        })
        .await
    }

    async fn refuse_duplicate(
        &self,
        dag_id: &DagId,
        run_id: Option<&RunId>,
        logical_date: Option<Timestamp>,
    ) -> Result<(), RequestError> {
        // An id that the scheduler makes is new.
        let is_named = run_id.is_some() || logical_date.is_some();
        if is_named && self.store.dag_run_exists(dag_id, run_id, logical_date).await? {
            return Err(runs::duplicate(dag_id, run_id, logical_date));
        }
        Ok(())
    }

    /// Pauses a dag (no new scheduled run, no new attempt) or lets it go on. Answers whether that changed anything.
    ///
    /// # Errors
    /// If the dag does not exist.
    pub async fn dag_set_paused(&self, dag_id: &DagId, paused: bool) -> Result<bool, RequestError> {
        self.ask(|reply| Request::SetPaused { dag_id: dag_id.clone(), paused, reply }).await
    }

    /// Deletes a dag, its runs and all that they left.
    ///
    /// # Errors
    /// If the dag does not exist, or has running task instances.
    pub async fn dag_delete(&self, dag_id: &DagId) -> Result<(), RequestError> {
        self.ask(|reply| Request::DeleteDag { dag_id: dag_id.clone(), reply }).await?;
        self.config.telemetry.metrics.dag_deleted(dag_id);
        self.garbage.notify_one();
        Ok(())
    }

    /// Deletes a run and all that it left.
    ///
    /// # Errors
    /// If the run does not exist.
    pub async fn dag_run_delete(&self, dag_id: &DagId, run_id: &RunId) -> Result<(), RequestError> {
        self.ask(|reply| Request::DeleteRun { dag_id: dag_id.clone(), run_id: run_id.clone(), reply }).await?;
        self.garbage.notify_one();
        Ok(())
    }

    /// Deletes a task instance and all that it left. `map_index`: -1 if its task is not mapped.
    ///
    /// # Errors
    /// If there is no such instance, or its run is not over.
    pub async fn task_instance_delete(
        &self,
        dag_id: &DagId,
        run_id: &RunId,
        task_id: &TaskId,
        map_index: i32,
    ) -> Result<(), RequestError> {
        let (dag_id, run_id, task_id) = (dag_id.clone(), run_id.clone(), task_id.clone());
        self.ask(|reply| Request::DeleteInstance { dag_id, run_id, task_id, map_index, reply }).await?;
        self.garbage.notify_one();
        Ok(())
    }

    /// Marks a run as success or failed (Airflow: `PATCH dagRuns/{id}`), or puts it back to queued, which clears it.
    ///
    /// # Errors
    /// If the run does not exist or can't be marked so.
    pub async fn dag_run_mark(
        &self,
        dag_id: &DagId,
        run_id: &RunId,
        state: RunState,
    ) -> Result<DagRunRow, RequestError> {
        self.ask(|reply| Request::MarkRun { dag_id: dag_id.clone(), run_id: run_id.clone(), state, reply }).await
    }

    /// Makes task instances run again, with what the request says around them. Answers which.
    ///
    /// # Errors
    /// If the dag, run or a task does not exist.
    pub async fn task_clear(&self, request: ClearRequest) -> Result<Vec<TaskInstanceRow>, RequestError> {
        let affected = self.ask(|reply| Request::Clear { request: Box::new(request), reply }).await?;
        self.rows(affected).await
    }

    /// Marks task instances. Answers which.
    ///
    /// # Errors
    /// If the dag, run or task does not exist, or the state is none to mark with.
    pub async fn task_mark(&self, request: MarkRequest) -> Result<Vec<TaskInstanceRow>, RequestError> {
        let affected = self.ask(|reply| Request::Mark { request: Box::new(request), reply }).await?;
        self.rows(affected).await
    }

    async fn rows(&self, affected: Vec<InstanceKey>) -> Result<Vec<TaskInstanceRow>, RequestError> {
        let mut rows = Vec::with_capacity(affected.len());
        let mut affected = affected.as_slice();
        while let Some(first) = affected.first() {
            let (of_run, rest) = affected.split_at(affected.partition_point(|key| key.dag_run <= first.dag_run));
            if of_run.len() <= FEW {
                for key in of_run {
                    rows.extend(self.store.task_instance_get(key).await?);
                }
                affected = rest;
                continue;
            }
            let all = self.store.task_instance_list_of_run(first.dag_run).await?;
            let wanted = |row: &TaskInstanceRow| {
                of_run.binary_search_by(|key| (&key.task_id, key.map_index).cmp(&(&row.task_id, row.map_index))).is_ok()
            };
            rows.extend(all.into_iter().filter(wanted));
            affected = rest;
        }
        Ok(rows)
    }

    /// What a task instance waits for; nothing if it does not wait.
    ///
    /// # Errors
    /// If the run does not exist.
    pub async fn task_dependencies(
        &self,
        dag_id: &DagId,
        run_id: &RunId,
        task_id: &TaskId,
        map_index: i32,
    ) -> Result<Vec<Dependency>, RequestError> {
        let (dag_id, run_id, task_id) = (dag_id.clone(), run_id.clone(), task_id.clone());
        self.ask(|reply| Request::Why { dag_id, run_id, task_id, map_index, reply }).await
    }

    /// What is committed from now on, in batches; an empty one says that something else has changed. A listener that lags loses the
    /// oldest and must read the store.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Vec<Change>>> {
        self.changes.subscribe()
    }

    /// The next `count` runs that the dag's timetable makes, were it not paused: those that start after `after`; none:
    /// what is due now, and what follows.
    ///
    /// # Errors
    /// If the dag does not exist.
    pub async fn next_runs(
        &self,
        dag_id: &DagId,
        after: Option<Timestamp>,
        count: usize,
    ) -> Result<Vec<NextRun>, RequestError> {
        let dag = self.store.dag_get(dag_id).await?.ok_or_else(|| no_dag(dag_id))?;
        let timetable = Timetable::of(&dag.spec).map_err(|error| RequestError::Invalid(error.to_string()))?;
        let from = after.unwrap_or_else(|| self.clock.now());
        let bounds = Bounds::of(&dag.spec, dag.scheduled_since(from));
        // Where nobody asks for what is missed until then, it need not be gone through.
        let bounds = Bounds { catchup: bounds.catchup && after.is_none(), ..bounds };
        let (mut runs, mut last, mut seen_from) = (Vec::new(), dag.last_scheduled, from);
        while runs.len() < count {
            let Some(next) = timetable.next_run(last, bounds, seen_from) else { break };
            (last, seen_from) = (Some(next.data_interval), next.run_after.max(from));
            if dag.spec.schedule == ScheduleSpec::Continuous {
                // What comes after it depends on when it ends.
                runs.push(next);
                break;
            }
            if after.is_none_or(|after| next.run_after > after) {
                runs.push(next);
            }
        }
        Ok(runs)
    }

    /// How the loop is.
    pub fn health(&self) -> Health {
        self.heartbeat.health()
    }

    /// What an operator should know of, as it was some seconds ago.
    pub fn warnings(&self) -> Arc<[Warning]> {
        self.found.get()
    }

    /// Attempts that may run at a time.
    pub fn parallelism(&self) -> u32 {
        self.config.parallelism
    }

    /// The figures of this server.
    pub fn metrics(&self) -> &Metrics {
        &self.config.telemetry.metrics
    }

    /// The long-lived tasks of this server.
    pub fn duties(&self) -> &Duties {
        &self.config.telemetry.duties
    }

    /// Where a try runs, or ran last; none: nowhere.
    pub fn host_of(&self, row: &TaskInstanceRow) -> Option<String> {
        let is_active = row.state.is_active();
        let attempt = is_active.then(|| AttemptId {
            instance: row.instance(),
            try_number: row.try_number,
            restart: row.restarts,
        });
        let present = attempt.and_then(|attempt| self.executor.host_of(&attempt));
        present.map(|host| host.to_string()).or_else(|| row.hostname.clone())
    }

    /// What attempts there are to run, of `queue` or of all, and who runs them.
    pub fn workload(&self, queue: Option<&QueueName>) -> Workload {
        Workload { fleets: self.executor.fleets(queue), ..self.work_and_workers(queue) }
    }

    /// As [`workload`](Self::workload), without fleets.
    pub fn work_and_workers(&self, queue: Option<&QueueName>) -> Workload {
        let load = self.executor.workload(queue);
        load.and_waiting(self.heartbeat.waiting(queue))
    }

    /// Waits until what there is to run, or who runs it, may have changed. For one listener.
    pub async fn workload_changed(&self) {
        self.heartbeat.turned().await;
    }

    /// Tells what is seen of the fleets of pods.
    pub fn show_fleets(&self, seen: FleetsSeen) {
        if self.executor.show_fleets(seen) {
            self.changed_otherwise();
        }
    }

    /// Whether a worker of this name was connected since this process runs.
    pub fn has_met_worker(&self, name: &str) -> bool {
        self.executor.has_met(name)
    }

    /// Lets a worker run attempts until its stream ends, or it has drained.
    ///
    /// # Errors
    /// If there are too many workers, or why its stream ended.
    pub async fn serve_worker<S: AsyncRead + AsyncWrite>(&self, hello: Hello, stream: S) -> Result<(), String> {
        self.executor.serve_worker(hello, stream).await
    }

    /// Whether there is a place for the worker of this process.
    pub fn takes_worker(&self, process: Uuid) -> bool {
        self.executor.takes_worker(process)
    }

    /// Whether the worker of this process was drained, and is not to come back.
    pub fn worker_is_drained(&self, process: Uuid) -> bool {
        self.executor.is_drained(process)
    }

    /// Gives a worker no more attempts; false if there is none of that name.
    pub fn drain_worker(&self, name: &str) -> bool {
        self.executor.drain_worker(name)
    }

    /// Gives the worker of this process no more attempts; false if it is not here.
    pub fn drain_process(&self, process: Uuid) -> bool {
        self.executor.drain_process(process)
    }

    /// Logs of attempts, live and stored.
    pub fn logs(&self) -> &Logs {
        self.executor.logs()
    }

    /// Tries a connection out for a user.
    pub async fn test_connection(&self, connection: &Connection, username: &str) -> Tested {
        self.executor.test_connection(connection, username, Clock.now()).await
    }

    /// Takes no more requests and ends the loop; what runs is left to the next start.
    pub async fn stop(&self) {
        drop(self.requests.send(Request::Stop).await);
    }

    /// To be called after an XCom of an instance was changed by hand.
    pub fn xcom_changed(&self, instance: &InstanceKey) {
        self.executor.forget_result(instance);
    }

    /// Updates an asset by hand. `extra`: a JSON object. Answers the event's key and time.
    ///
    /// # Errors
    /// If there is no such asset.
    pub async fn asset_update(
        &self,
        asset: AssetName,
        extra: String,
        user: String,
    ) -> Result<(i64, Timestamp), RequestError> {
        Audit::tell(asset.as_str(), &Value::Null, &Value::Null);
        self.ask(|reply| Request::AssetEvent { asset, extra, user, reply }).await
    }

    /// Drops events that a dag (none: all), of an asset (none: all), has not consumed. Answers how many.
    ///
    /// # Errors
    /// If the store can't be written.
    pub async fn asset_queue_delete(&self, which: QueuedEventFilter) -> Result<u64, RequestError> {
        self.ask(|reply| Request::AssetQueueDelete { which, reply }).await
    }

    /// Answers what a task instance asks, and starts it again. A delivery that comes again changes nothing: this is the answer that
    /// it gave.
    ///
    /// # Errors
    /// If it asks nothing, was answered already, others are asked, or the answer does not fit the question.
    pub async fn approval_answer(&self, request: AnswerRequest) -> Result<Answer, RequestError> {
        let request = Box::new(request);
        self.ask(|reply| Request::Answer { request, reply }).await
    }

    /// Takes over the pools as they now are in the store. To be called after one was changed.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn pools_changed(&self) -> Result<(), RequestError> {
        self.ask(|reply| Request::ReloadPools { reply }).await
    }

    /// Takes over the pools and these dags as they now are in the store. To be called after an import.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn settings_imported(&self, dag_ids: Vec<DagId>) -> Result<(), RequestError> {
        self.pools_changed().await?;
        self.reload_dags(dag_ids.clone()).await?;
        for dag_id in &dag_ids {
            self.retention_changed(dag_id).await?;
        }
        self.publish(dag_ids.into_iter().map(|dag_id| Change::Dag { dag_id }).collect());
        Ok(())
    }

    async fn reload_dags(&self, dag_ids: Vec<DagId>) -> Result<(), RequestError> {
        self.ask(|reply| Request::ReloadDags { dag_ids, reply }).await
    }

    /// Has whoever listens look again, though no [`Change`] says why: settings, workers or what people wrote are others than before.
    pub fn changed_otherwise(&self) {
        tell_to_look(&self.changes);
    }

    fn publish(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            // No listener is no fault.
            drop(self.changes.send(Arc::new(changes)));
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, RequestError> {
        let (reply, answer) = Reply::new();
        self.requests.send(request(reply)).await.map_err(|_| RequestError::Stopped)?;
        answer.await.map_err(|_| RequestError::Stopped)?
    }
}

/// Sends a batch that is empty. Where listeners lag, they have enough to look at: it is to push no change out.
fn tell_to_look(listeners: &broadcast::Sender<Arc<Vec<Change>>>) {
    if listeners.len() < MAX_CHANGES / 2 {
        // No listener is no fault.
        drop(listeners.send(Arc::default()));
    }
}

fn no_dag(dag_id: &DagId) -> RequestError {
    RequestError::NotFound(format!("dag `{dag_id}` does not exist"))
}

fn no_run(dag_id: &DagId, run_id: &RunId) -> RequestError {
    RequestError::NotFound(format!("dag_run `{run_id}` of dag `{dag_id}` does not exist"))
}
