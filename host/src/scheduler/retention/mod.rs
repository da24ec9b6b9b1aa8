//! Retention: deletes old runs, logs, versions and entries of the audit log, in the background.
//!
//! ```text
//! ends of runs ─┐
//! settings ─────┼─> Agenda ─> a look at a dag ─> steps: logs, runs (by the loop), each followed by a pause
//! the clock ────┘                └─> when to look again
//! ```
//!
//! It promises: nothing goes that nobody asked for, and nothing that is needed; between two steps, each one small transaction, at
//! least half of the time is for others; a look costs what goes, not what stays; after a crash the next look goes on. It decides
//! nothing itself: the rules are `model::retention`, what is needed is known to the store and, for what is in memory, to the loop.

mod agenda;
mod ended;
mod preview;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(super) use ended::Ended;
pub use preview::{DagPreview, Preview};
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use utoipa::ToSchema;

use self::agenda::{Agenda, Duty};
use super::{
    RequestError, Scheduler,
    garbage::{self, paced},
    request::Request,
};
use crate::{
    blobs::keys,
    model::{
        dag_numbers::DagNumbers,
        ids::DagId,
        retention::{self, DagRetention, Left, Part, Place, Retention},
        time::{Clock, Timestamp},
    },
    store::{DagVersionKey, EndedRun, StoreError},
};

/// Runs that go in one transaction of the loop.
const RUNS: u32 = 50;
/// How often what all dags share is looked at.
const SHARED_INTERVAL: Duration = Duration::from_hours(1);
/// How soon a look that failed is tried again.
const RETRY: Duration = Duration::from_mins(1);
/// How long it sleeps if nothing is due.
const IDLE: Duration = Duration::from_hours(1);
/// Commands that wait; more make their senders wait.
pub(super) const MAX_COMMANDS: usize = 64;

/// How long what is kept. None: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Of dags of which nothing else is said.
    pub dags: Retention,
    /// Versions of dags, and components, that nothing needs go so many days after others took their place,
    pub versions_days: Option<NonZeroU32>,
    /// or when so many others of their dag are newer.
    pub versions_count: Option<NonZeroU32>,
    pub audit_days: Option<NonZeroU32>,
    /// Entries of the audit log that stay, the newest.
    pub audit_count: Option<NonZeroU32>,
    /// Events of assets that no run was made for, and assets that no dag names and that have no events any more.
    pub asset_events_days: Option<NonZeroU32>,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Deletions {
    /// Runs, with all that they left.
    pub runs: u64,
    /// Runs whose logs and recordings were deleted before them.
    pub logs_of_runs: u64,
    /// Runs whose XComs and artifacts were deleted before them.
    pub data_of_runs: u64,
    pub dag_versions: u64,
    pub components: u64,
    pub event_logs: u64,
    pub asset_events: u64,
    /// That no dag names and that have no events any more.
    pub assets: u64,
}

impl Deletions {
    /// What was deleted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            runs: self.runs - before.runs,
            logs_of_runs: self.logs_of_runs - before.logs_of_runs,
            data_of_runs: self.data_of_runs - before.data_of_runs,
            dag_versions: self.dag_versions - before.dag_versions,
            components: self.components - before.components,
            event_logs: self.event_logs - before.event_logs,
            asset_events: self.asset_events - before.asset_events,
            assets: self.assets - before.assets,
        }
    }

    /// All that there may be, by the name of its field.
    fn counts(self) -> [(&'static str, u64); 8] {
        [
            ("runs", self.runs),
            ("logs_of_runs", self.logs_of_runs),
            ("data_of_runs", self.data_of_runs),
            ("dag_versions", self.dag_versions),
            ("components", self.components),
            ("event_logs", self.event_logs),
            ("asset_events", self.asset_events),
            ("assets", self.assets),
        ]
    }

    /// Those that were rows, by table.
    fn rows(self) -> [(&'static str, u64); 6] {
        [
            ("dag_run", self.runs),
            ("dag_version", self.dag_versions),
            ("component", self.components),
            ("event_log", self.event_logs),
            ("asset_event", self.asset_events),
            ("asset", self.assets),
        ]
    }
}

/// As the log tells it: `runs=50 assets=2`, without what there was nothing of.
impl fmt::Display for Deletions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts().into_iter().filter(|(_, count)| *count > 0);
        f.write_str(&counts.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" "))
    }
}

/// What it can be told.
#[derive(Debug)]
pub(super) enum Command {
    /// Something else is said of a dag.
    Changed(DagId),
    /// Look at everything now, and answer then.
    RunNow(oneshot::Sender<()>),
}

/// The way to it.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    done: Arc<Mutex<Deletions>>,
}

impl Handle {
    pub fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, done: Arc::default() }
    }

    fn done(&self) -> Deletions {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, add: impl FnOnce(&mut Deletions)) {
        add(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Scheduler {
    /// What the server's settings say.
    pub fn retention(&self) -> RetentionConfig {
        self.config.retention
    }

    /// Deletes finished runs of a dag, but those that somebody waits for or that run again. Answers how many.
    async fn retire(&self, dag_id: &DagId, runs: Vec<EndedRun>) -> Result<u64, RequestError> {
        self.ask(|reply| Request::Retire { dag_id: dag_id.clone(), runs, reply }).await
    }

    /// Something else is said of a dag.
    pub(super) async fn retention_changed(&self, dag_id: &DagId) -> Result<(), RequestError> {
        let changed = self.retention.commands.send(Command::Changed(dag_id.clone()));
        changed.await.map_err(|_| RequestError::Stopped)
    }

    /// Looks at everything now. Answers what was deleted after `patience`, and whether that is all.
    ///
    /// # Errors
    /// If the scheduler has stopped.
    pub async fn retention_run(&self, patience: Duration) -> Result<(Deletions, bool), RequestError> {
        let before = self.retention.done();
        let (reply, answer) = oneshot::channel();
        self.retention.commands.send(Command::RunNow(reply)).await.map_err(|_| RequestError::Stopped)?;
        let is_all = match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer.map(|()| true).map_err(|_| RequestError::Stopped)?,
            Err(_) => false,
        };
        Ok((self.retention.done().since(before), is_all))
    }
}

/// The background duty.
pub(super) struct Job {
    scheduler: Scheduler,
    clock: Clock,
    commands: mpsc::Receiver<Command>,
    ended: Arc<Ended>,
    agenda: Agenda,
    said: BTreeMap<DagId, DagRetention>,
}

impl Job {
    pub fn new(scheduler: Scheduler, commands: mpsc::Receiver<Command>, ended: Arc<Ended>) -> Self {
        Self { scheduler, clock: Clock, commands, ended, agenda: Agenda::default(), said: BTreeMap::new() }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        while let Err(error) = self.plan().await {
            tracing::warn!(error = %error, "what retention is to do can't be read now; this is tried again");
            tokio::time::sleep(RETRY).await;
        }
        loop {
            let now = self.clock.now();
            let sleep = self.agenda.next().map_or(IDLE, |at| at.since(now).min(IDLE));
            // Without anything to delete, nothing that happens matters.
            let listens = self.listens();
            let mut asked = None;
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return,
                    Some(command) => asked = self.told(command).await,
                },
                dags = self.ended.take(), if listens => self.runs_ended(&dags),
                () = tokio::time::sleep(sleep) => {}
            }
            while let Some(duty) = self.agenda.pop(self.clock.now()) {
                self.perform(duty).await;
            }
            if let Some(reply) = asked {
                // Whoever asked may have gone.
                let _ = reply.send(());
            }
        }
    }

    fn listens(&self) -> bool {
        !self.scheduler.config.retention.dags.is_for_ever() || !self.said.is_empty()
    }

    fn policy(&self, dag_id: &DagId) -> Retention {
        let said = self.said.get(dag_id).copied().unwrap_or_default();
        self.scheduler.config.retention.dags.of_dag(said)
    }

    /// Puts everything on the agenda.
    async fn plan(&mut self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.said = self.scheduler.store.dag_numbers_list().await?.into_iter().collect();
        self.agenda.add(Duty::Shared, now);
        if !self.listens() {
            return Ok(());
        }
        for dag in self.scheduler.store.dag_list_all().await? {
            if !self.policy(&dag.dag_id).is_for_ever() {
                self.agenda.add(Duty::Dag(dag.dag_id), now);
            }
        }
        Ok(())
    }

    async fn plan_anew(&mut self) {
        if let Err(error) = self.plan().await {
            tracing::warn!(error = %error, "what retention is to do can't be read now; this is tried again");
            self.agenda.add(Duty::Shared, self.clock.now().after(RETRY));
        }
    }

    /// Answers who waits until all is done.
    async fn told(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        match command {
            Command::Changed(dag_id) => {
                match self.scheduler.store.dag_numbers_get::<DagRetention>(&dag_id).await {
                    Ok(said) if said.is_empty() => drop(self.said.remove(&dag_id)),
                    Ok(said) => drop(self.said.insert(dag_id.clone(), said)),
                    Err(error) => tracing::warn!(error = %error, %dag_id, "a dag's retention can't be read now"),
                }
                self.agenda.add(Duty::Dag(dag_id), self.clock.now());
                None
            }
            Command::RunNow(reply) => {
                self.plan_anew().await;
                Some(reply)
            }
        }
    }

    fn runs_ended(&mut self, dags: &BTreeSet<DagId>) {
        let now = self.clock.now();
        for dag_id in dags {
            if let Some(at) = self.policy(dag_id).look_after_end(now) {
                self.agenda.add(Duty::Dag(dag_id.clone()), at);
            }
        }
    }

    async fn perform(&mut self, duty: Duty) {
        let start = Instant::now();
        let before = self.scheduler.retention.done();
        let again = match &duty {
            Duty::Dag(dag_id) => self.look_at_dag(dag_id).await,
            Duty::Shared => self.look_at_shared().await.map(|()| Some(self.clock.now().after(SHARED_INTERVAL))),
        };
        let deleted = self.scheduler.retention.done().since(before);
        if deleted != Deletions::default() {
            self.scheduler.garbage.notify_one();
            let dag_id = match &duty {
                Duty::Dag(dag_id) => Some(dag_id.as_str()),
                Duty::Shared => None,
            };
            for (table, rows) in deleted.rows() {
                self.scheduler.metrics().deleted(table, rows, 0);
            }
            tracing::info!(dag_id, "deleted by retention: {deleted}");
        }
        self.scheduler.metrics().retention_looked(self.clock.now(), start.elapsed());
        match again {
            Ok(again) => again.into_iter().for_each(|at| self.agenda.add(duty.clone(), at)),
            Err(error) => {
                tracing::warn!(error = %error, "retention could not do all that is due; this is tried again");
                self.agenda.add(duty, self.clock.now().after(RETRY));
            }
        }
    }

    /// Deletes what is due of a dag; answers when the next thing is.
    async fn look_at_dag(&self, dag_id: &DagId) -> Result<Option<Timestamp>, RequestError> {
        let (policy, store) = (self.policy(dag_id), &self.scheduler.store);
        if policy.is_for_ever() {
            return Ok(None);
        }
        let Some(dag) = store.dag_get(dag_id).await? else { return Ok(None) };
        let now = self.clock.now();
        let mut left = Left::default();
        for part in Part::ALL {
            let Some(until) = policy.part_until(part, now) else { continue };
            while {
                let step = paced(store.dag_part_delete(dag_id, part, until)).await?;
                garbage::count(self.scheduler.metrics(), &step.swept);
                self.scheduler.retention.count(|done| match part {
                    Part::Logs => done.logs_of_runs += step.runs,
                    Part::Data => done.data_of_runs += step.runs,
                });
                step.has_more
            } {}
            let next = store.dag_run_with_part(dag_id, part, LAST, 1).await?;
            let oldest = next.first().map(|place| place.end_date);
            match part {
                Part::Logs => left.oldest_with_logs = oldest,
                Part::Data => left.oldest_with_data = oldest,
            }
        }
        let bounds = Bounds::read(&self.scheduler, dag_id, policy, dag.spec.max_consecutive_failed_dag_runs).await?;
        if let Some(until) = policy.runs_until(now, bounds.may_go, bounds.beyond) {
            left.is_held = self.delete_runs(dag_id, until).await?;
        }
        left.is_young = bounds.beyond.is_some_and(|beyond| now.since(beyond.end_date) <= retention::GRACE);
        if let Some(may_go) = bounds.may_go {
            let oldest = store.dag_run_ended(dag_id, Place::FIRST, may_go, 1).await?;
            left.oldest = oldest.first().map(|run| run.end_date);
        }
        Ok(policy.look_again(now, left))
    }

    /// Deletes runs up to a place; whether some had to stay.
    async fn delete_runs(&self, dag_id: &DagId, until: Place) -> Result<bool, RequestError> {
        let (mut after, mut is_held) = (Place::FIRST, false);
        loop {
            let runs = self.scheduler.store.dag_run_ended(dag_id, after, until, RUNS).await?;
            let Some(last) = runs.last() else { return Ok(is_held) };
            after = last.place();
            let due = runs.len() as u64;
            let goes: Vec<EndedRun> = runs.into_iter().filter(|run| !run.is_held).collect();
            let deleted = if goes.is_empty() { 0 } else { paced(self.scheduler.retire(dag_id, goes)).await? };
            is_held |= deleted < due;
            self.scheduler.retention.count(|done| done.runs += deleted);
        }
    }

    /// Deletes what is due of all that dags share.
    async fn look_at_shared(&self) -> Result<(), RequestError> {
        let Scheduler { store, retention: handle, .. } = &self.scheduler;
        let config = self.scheduler.config.retention;
        let before = |days: NonZeroU32| self.clock.now().before(Duration::from_hours(24) * days.get());
        let beyond = match config.audit_count {
            Some(count) => store.event_place(count.get(), self.clock.now()).await?,
            None => None,
        };
        if let Some(before) = config.audit_days.map(before).max(beyond) {
            loop {
                let deleted = paced(store.event_delete_before(before, self.clock.now())).await?;
                if deleted == 0 {
                    break;
                }
                handle.count(|done| done.event_logs += deleted);
            }
        }
        if let Some(before) = config.asset_events_days.map(before) {
            let mut after = i64::MIN;
            while let Some((last, deleted)) = paced(store.asset_event_delete_unused(after, before)).await? {
                after = last;
                handle.count(|done| done.asset_events += deleted);
            }
            let mut after = i64::MIN;
            while let Some((last, deleted)) = paced(store.asset_delete_unused(after, before)).await? {
                after = last;
                handle.count(|done| done.assets += deleted);
            }
        }
        if config.versions_days.is_some() || config.versions_count.is_some() {
            let aged = config.versions_days.map_or(Timestamp::MIN, before);
            let count = config.versions_count.map_or(0, NonZeroU32::get);
            let mut after = DagVersionKey(i64::MIN);
            while let Some((last, deleted)) = paced(store.dag_version_delete_unused(after, aged, count)).await? {
                after = last;
                handle.count(|done| done.dag_versions += deleted);
            }
            let unneeded = if config.versions_count.is_some() { before(NonZeroU32::MIN) } else { aged };
            self.delete_components(unneeded).await?;
        }
        Ok(())
    }

    async fn delete_components(&self, before: Timestamp) -> Result<(), StoreError> {
        let store = &self.scheduler.store;
        let mut after = None;
        loop {
            let components = store.component_unused(after, before).await?;
            let Some((last, _)) = components.last().copied() else { return Ok(()) };
            after = Some(last);
            for (digest, _) in components.into_iter().filter(|(_, is_unused)| *is_unused) {
                let Some(row) = store.component_get(digest).await? else { continue };
                let blob = keys::component(&digest, row.module.kind);
                if paced(store.component_delete_unused(digest, &blob)).await? {
                    self.scheduler.retention.count(|done| done.components += 1);
                }
            }
        }
    }
}

/// After all runs.
const LAST: Place = Place { end_date: Timestamp::MAX, key: i64::MAX };

/// Places in the order of a dag's runs that its retention depends on.
struct Bounds {
    /// The last run that may go at all.
    may_go: Option<Place>,
    /// The last run that is one too many.
    beyond: Option<Place>,
}

impl Bounds {
    async fn read(
        scheduler: &Scheduler,
        dag_id: &DagId,
        policy: Retention,
        max_consecutive_failed_dag_runs: u32,
    ) -> Result<Self, StoreError> {
        let least = Retention::least_kept(max_consecutive_failed_dag_runs);
        let may_go = scheduler.store.dag_run_place(dag_id, least).await?;
        let beyond = match policy.kept_by_count(least) {
            Some(kept) => scheduler.store.dag_run_place(dag_id, kept).await?,
            None => None,
        };
        Ok(Self { may_go, beyond })
    }
}
