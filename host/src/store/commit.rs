//! The hot path: all changes of a tick in one transaction and one call.
//!
//! A statement to SQLite by sqlx hops to the connection's thread and back, one to PostgreSQL over the network, which costs more
//! than the rows it carries. So a commit is one statement, a call: on PostgreSQL of a function that skips the parts without rows;
//! on SQLite of a trigger, one for each combination of parts. Each connection makes them anew, in its temporary schema, so that
//! versions of Airlock that differ do not meet. Each part takes its rows as one JSON array. Very large commits are cut into several
//! calls within one transaction, so that memory stays bounded. Parameters are numbered the same in all parts: `$1` is now, the others
//! stand in `call`.

mod call;
mod rows;

use std::{collections::BTreeMap, sync::Arc};

use self::call::Sender;
pub(super) use self::call::{Calls, postgres_function};
use super::{
    ArtifactRow, BackfillId, BackfillRow, CachedResultRow, CallbackNew, DagRunKey, DagVersionKey, EventNew,
    InstanceKey, OriginRow, RecordingRow, Store, StoreError, WaitRow, Writer, XComNew,
};
use crate::model::{
    approval::Answer,
    ids::{AssetName, DagId, EntryName, PoolName, RunId},
    state::{RunState, RunType, TaskState},
    time::{DataInterval, Timestamp},
};

/// A `dag_run` to insert.
#[derive(Debug, Clone)]
pub struct DagRunNew {
    /// Given by the caller, who counts on from [`Store::dag_run_next_key`].
    pub key: DagRunKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub version: DagVersionKey,
    pub run_type: RunType,
    pub state: RunState,
    pub logical_date: Option<Timestamp>,
    pub data_interval: Option<DataInterval>,
    pub run_after: Timestamp,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    /// A JSON object.
    pub conf: Arc<str>,
    pub triggered_by: String,
    pub triggering_user: Option<String>,
    pub note: Option<String>,
}

impl DagRunNew {
    /// A manual run, queued from `now` on, that is about no date and whose params nobody gave.
    pub fn queued(key: DagRunKey, dag_id: DagId, run_id: RunId, version: DagVersionKey, now: Timestamp) -> Self {
        Self {
            key,
            dag_id,
            run_id,
            version,
            run_type: RunType::Manual,
            state: RunState::Queued,
            logical_date: None,
            data_interval: None,
            run_after: now,
            queued_at: now,
            start_date: None,
            conf: "{}".into(),
            triggered_by: "rest_api".to_owned(),
            triggering_user: None,
            note: None,
        }
    }
}

/// What a `dag_run` is from now on; overwrites all of these columns.
#[derive(Debug, Clone)]
pub struct DagRunUpdate {
    pub key: DagRunKey,
    pub state: RunState,
    /// None leaves it as it is.
    pub queued_at: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub clear_number: i64,
    /// Why it failed, where its task instances alone do not tell.
    pub message: Option<String>,
    /// How a person ended it, while its teardowns still run.
    pub verdict: Option<RunState>,
}

/// A task instance to insert, before its first try.
#[derive(Debug, Clone)]
pub struct InstanceNew {
    pub key: InstanceKey,
    pub state: TaskState,
    pub max_tries: u32,
    pub placement: Placement,
}

/// What a task instance runs, and what it takes to start.
#[derive(Debug, Clone)]
pub struct Placement {
    pub entry: EntryName,
    pub pool: PoolName,
    pub pool_slots: u32,
    pub priority_weight: i32,
}

impl Placement {
    /// One slot of the default pool, with the default weight.
    pub fn usual(entry: EntryName) -> Self {
        Self { entry, pool: PoolName::default_pool(), pool_slots: 1, priority_weight: 1 }
    }
}

/// A run goes on under another version of its dag.
#[derive(Debug, Clone)]
pub struct Renewal {
    pub dag_run: DagRunKey,
    pub version: DagVersionKey,
    /// Those of its instances that stay.
    pub instances: Vec<(InstanceKey, Placement)>,
}

/// What a task instance is from now on; overwrites all of these columns.
#[derive(Debug, Clone)]
pub struct InstanceUpdate {
    pub key: InstanceKey,
    pub state: TaskState,
    pub try_number: u32,
    pub max_tries: u32,
    pub restarts: u32,
    pub scheduled_at: Option<Timestamp>,
    pub queued_at: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    pub message: Option<String>,
    /// Of a branch: the task ids that it chose.
    pub followed: Option<Vec<String>>,
    pub list_length: Option<u32>,
    /// Where it ran. None leaves what is known of the try.
    pub hostname: Option<Arc<str>>,
}

/// A try that is over and followed by another.
#[derive(Debug, Clone)]
pub struct HistoryNew {
    pub key: InstanceKey,
    /// How it ended, if its row does not say so yet.
    pub ended: Option<Box<InstanceUpdate>>,
}

/// An asset was updated.
#[derive(Debug, Clone)]
pub struct AssetEventNew {
    /// Given by the caller, who counts on from [`Store::asset_event_next_key`].
    pub key: i64,
    pub asset: AssetName,
    pub timestamp: Timestamp,
    /// A JSON object.
    pub extra: String,
    /// The task instance that made it, with the dag and run that it is of.
    pub source: Option<(DagId, RunId, InstanceKey)>,
    /// Who made it by hand.
    pub created_by: Option<String>,
    /// The dags that wait for the asset.
    pub consumers: Vec<DagId>,
    /// How a task named it that does not make it by its dag.
    pub through: Option<Through>,
}

/// The alias through which an asset was updated.
#[derive(Debug, Clone)]
pub struct Through {
    pub alias: AssetName,
    /// The dags that wait for the alias.
    pub consumers: Vec<DagId>,
    /// Of the asset, if it is not there yet.
    pub uri: String,
    pub group: String,
}

/// An answer to a question.
#[derive(Debug, Clone)]
pub struct AnswerNew {
    pub instance: InstanceKey,
    pub try_number: u32,
    pub subject: String,
    pub answer: Answer,
    /// What names the delivery that it came by, if another system gave it.
    pub delivery: Option<String>,
}

/// Changes that are made all together or not at all, in the order of the fields.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub dag_runs_new: Vec<DagRunNew>,
    /// Each replaces one of the same run.
    pub origins: BTreeMap<DagRunKey, OriginRow>,
    /// Each must be there, at most once.
    pub dag_runs: Vec<DagRunUpdate>,
    pub last_scheduled: BTreeMap<DagId, DataInterval>,
    /// Dags that are paused, and why.
    pub dags_paused: Vec<(DagId, String)>,
    /// How far backfills are, each at most once.
    pub backfills: Vec<BackfillRow>,
    /// Runs that are of a backfill from now on.
    pub backfill_runs: Vec<(DagRunKey, BackfillId)>,
    /// Placeholders of mapped tasks that were expanded: their rows are deleted.
    pub renewals: Vec<Renewal>,
    pub instances_gone: Vec<InstanceKey>,
    pub instances_new: Vec<InstanceNew>,
    /// Instances whose present try is over and followed by another: it is copied to the history before `instances`
    /// overwrites it.
    pub histories: Vec<HistoryNew>,
    /// Each must be there, at most once.
    pub instances: Vec<InstanceUpdate>,
    /// Instances whose XComs and artifacts are deleted.
    pub xcoms_cleared: Vec<InstanceKey>,
    /// Each replaces one of the same key.
    pub xcoms: Vec<XComNew>,
    pub artifacts: Vec<ArtifactRow>,
    /// Each replaces one of the same try.
    pub recordings: Vec<RecordingRow>,
    /// Each replaces one of the same key.
    pub cached_results: Vec<CachedResultRow>,
    pub asset_events: Vec<AssetEventNew>,
    /// Runs that consume all events that wait for their dag, `asset_events` included.
    pub asset_runs: Vec<(DagRunKey, DagId)>,
    /// Instances that wait no longer.
    pub waits_gone: Vec<InstanceKey>,
    /// Those for an answer are also questions of the instance's try, unless they were asked before.
    pub waits_new: Vec<WaitRow>,
    /// A question that was answered already keeps its answer.
    pub answers: Vec<AnswerNew>,
    /// What the templates of tries became, as JSON; of what those of one try became in a turn, the last counts.
    pub rendered_fields: BTreeMap<(InstanceKey, u32), String>,
    /// What instances of mapped tasks are called; of what one was called in a turn, the last counts.
    pub labels: BTreeMap<InstanceKey, String>,
    /// Those that are there already stay as they are.
    pub callbacks: Vec<CallbackNew>,
    /// What people asked for, for the audit log.
    pub events: Vec<EventNew>,
    pub now: Timestamp,
}

impl Commit {
    pub fn is_empty(&self) -> bool {
        self.dag_runs_new.is_empty()
            && self.origins.is_empty()
            && self.dag_runs.is_empty()
            && self.last_scheduled.is_empty()
            && self.dags_paused.is_empty()
            && self.backfills.is_empty()
            && self.backfill_runs.is_empty()
            && self.renewals.is_empty()
            && self.instances_gone.is_empty()
            && self.instances_new.is_empty()
            && self.histories.is_empty()
            && self.instances.is_empty()
            && self.xcoms_cleared.is_empty()
            && self.xcoms.is_empty()
            && self.artifacts.is_empty()
            && self.recordings.is_empty()
            && self.cached_results.is_empty()
            && self.asset_events.is_empty()
            && self.asset_runs.is_empty()
            && self.waits_gone.is_empty()
            && self.waits_new.is_empty()
            && self.answers.is_empty()
            && self.rendered_fields.is_empty()
            && self.labels.is_empty()
            && self.callbacks.is_empty()
            && self.events.is_empty()
    }
}

pub(super) fn key(instance: &InstanceKey) -> (DagRunKey, &str, i32) {
    (instance.dag_run, instance.task_id.as_str(), instance.map_index)
}

/// An instant as it stands in a column.
fn micros(instant: Option<Timestamp>) -> Option<i64> {
    instant.map(Timestamp::as_micros)
}

impl Store {
    /// Makes all changes of `batch` in one transaction. When it returns, they are as durable as
    /// [`StoreConfig::synchronous`](super::StoreConfig) says; when it fails, none was made.
    ///
    /// A caller that goes away before it returns can't know which of the two it was.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if a row to be changed is not there, [`StoreError::Conflict`] if a row to be inserted is.
    pub async fn commit(&self, batch: &Commit) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        #[cfg(test)]
        if let Some(fault) = self.shared.faults.next() {
            return fault.befall(self, batch).await;
        }
        self.commit_now(batch).await
    }

    pub(super) async fn commit_now(&self, batch: &Commit) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        // Until it is known to be over.
        writer.is_unclean = true;
        let sent = {
            let Writer { connection, calls, epoch, .. } = &mut *writer;
            rows::send(Sender::new(calls, connection, *epoch, batch.now), batch).await
        };
        match sent {
            Ok(()) => writer.is_unclean = false,
            // If it fails, the next writer tries again.
            Err(_) => drop(writer.clean().await),
        }
        if sent.is_ok() && !batch.callbacks.is_empty() {
            self.shared.callbacks.notify_one();
        }
        sent
    }
}
