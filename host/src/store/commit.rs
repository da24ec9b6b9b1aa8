//! The hot path: all changes of a tick in one transaction and one call.
//!
//! A call to sqlx hops to the connection's thread and back, which costs more than the rows it carries. So a commit is
//! one text - `BEGIN IMMEDIATE; ...; COMMIT` - with the parts that have something to do, each of which takes its rows
//! as one JSON array. Very large commits are cut into several calls within one transaction, so that memory stays
//! bounded. Parameters are numbered the same in all parts:
//!
//! | | | | |
//! |---|---|---|---|
//! | `$1` now | `$2` dag_runs_new | `$3`, `$4` dag_runs, how many | `$5` last_scheduled |
//! | `$6` instances_new | `$7` histories | `$8`, `$9` instances, how many | `$10` xcoms_cleared |
//! | `$11`, `$12` xcoms, their bodies | `$13` artifacts | `$14` instances_gone | `$15` origins |
//! | `$16` waits_gone | `$17` waits_new | `$18` dags_paused | `$19` asset_events |
//! | `$20` asset_queue | `$21` asset_runs | `$22` callbacks | `$23` backfills |
//! | `$24` backfill_runs | `$25` approvals | `$26` answers | `$27` renewals |
//! | `$28` recordings | `$29` cached_results | `$31` rendered_fields | `$32` labels |

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use sqlx::{AssertSqlSafe, sqlite::SqliteConnection};

use super::{
    ArtifactRow, BackfillId, BackfillRow, CachedResultRow, CallbackNew, DagRunKey, DagVersionKey, InstanceKey,
    OriginRow, RecordingRow, RenderedFieldsRow, Store, StoreError, WaitRow, XComBody, XComNew, codec::json,
};
use crate::model::{
    approval::Answer,
    ids::{AssetName, DagId, EntryName, PoolName, RunId, TaskId},
    state::{RunState, RunType, TaskState},
    time::{DataInterval, Timestamp},
    wait::Wait,
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
    pub conf: String,
    pub triggered_by: String,
    pub triggering_user: Option<String>,
    pub note: Option<String>,
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
}

/// An answer to a question.
#[derive(Debug, Clone)]
pub struct AnswerNew {
    pub instance: InstanceKey,
    pub try_number: u32,
    pub subject: String,
    pub answer: Answer,
}

/// Changes that are made all together or not at all, in the order of the fields.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub dag_runs_new: Vec<DagRunNew>,
    /// Each replaces one of the same run.
    pub origins: Vec<OriginRow>,
    /// Each must be there, at most once.
    pub dag_runs: Vec<DagRunUpdate>,
    pub last_scheduled: Vec<(DagId, DataInterval)>,
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
    pub histories: Vec<InstanceKey>,
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
    /// What the templates of tries became.
    pub rendered_fields: Vec<RenderedFieldsRow>,
    /// What instances of mapped tasks are called.
    pub labels: Vec<(InstanceKey, String)>,
    /// Those that are there already stay as they are.
    pub callbacks: Vec<CallbackNew>,
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
    }
}

/// A part of a commit's text, in the order of their execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Begin,
    DagRunsNew,
    Origins,
    DagRuns,
    LastScheduled,
    DagsPaused,
    Backfills,
    BackfillRuns,
    Renewals,
    InstancesGone,
    InstancesNew,
    Histories,
    Instances,
    XComsCleared,
    XComs,
    Artifacts,
    Recordings,
    CachedResults,
    WaitsGone,
    WaitsNew,
    Approvals,
    Answers,
    AssetEvents,
    AssetQueue,
    AssetRuns,
    RenderedFields,
    Labels,
    Callbacks,
    End,
}

impl Part {
    const ALL: [Self; 29] = [
        Self::Begin,
        Self::DagRunsNew,
        Self::Origins,
        Self::DagRuns,
        Self::LastScheduled,
        Self::DagsPaused,
        Self::Backfills,
        Self::BackfillRuns,
        Self::Renewals,
        Self::InstancesGone,
        Self::InstancesNew,
        Self::Histories,
        Self::Instances,
        Self::XComsCleared,
        Self::XComs,
        Self::Artifacts,
        Self::Recordings,
        Self::CachedResults,
        Self::WaitsGone,
        Self::WaitsNew,
        Self::Approvals,
        Self::Answers,
        Self::AssetEvents,
        Self::AssetQueue,
        Self::AssetRuns,
        Self::RenderedFields,
        Self::Labels,
        Self::Callbacks,
        Self::End,
    ];

    fn sql(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN IMMEDIATE;\n",
            Self::DagRunsNew => include_str!("sql/commit_dag_runs_new.sqlite.sql"),
            Self::Origins => include_str!("sql/commit_origins.sqlite.sql"),
            Self::DagRuns => include_str!("sql/commit_dag_runs.sqlite.sql"),
            Self::LastScheduled => include_str!("sql/commit_last_scheduled.sqlite.sql"),
            Self::DagsPaused => include_str!("sql/commit_dags_paused.sqlite.sql"),
            Self::Backfills => include_str!("sql/commit_backfills.sqlite.sql"),
            Self::BackfillRuns => include_str!("sql/commit_backfill_runs.sqlite.sql"),
            Self::Renewals => include_str!("sql/commit_renewals.sqlite.sql"),
            Self::InstancesGone => include_str!("sql/commit_instances_gone.sqlite.sql"),
            Self::InstancesNew => include_str!("sql/commit_instances_new.sqlite.sql"),
            Self::Histories => include_str!("sql/commit_histories.sqlite.sql"),
            Self::Instances => include_str!("sql/commit_instances.sqlite.sql"),
            Self::XComsCleared => include_str!("sql/commit_xcoms_cleared.sqlite.sql"),
            Self::XComs => include_str!("sql/commit_xcoms.sqlite.sql"),
            Self::Artifacts => include_str!("sql/commit_artifacts.sqlite.sql"),
            Self::Recordings => include_str!("sql/commit_recordings.sqlite.sql"),
            Self::CachedResults => include_str!("sql/commit_cached_results.sqlite.sql"),
            Self::WaitsGone => include_str!("sql/commit_waits_gone.sqlite.sql"),
            Self::WaitsNew => include_str!("sql/commit_waits_new.sqlite.sql"),
            Self::Approvals => include_str!("sql/commit_approvals.sqlite.sql"),
            Self::Answers => include_str!("sql/commit_answers.sqlite.sql"),
            Self::AssetEvents => include_str!("sql/commit_asset_events.sqlite.sql"),
            Self::AssetQueue => include_str!("sql/commit_asset_queue.sqlite.sql"),
            Self::AssetRuns => include_str!("sql/commit_asset_runs.sqlite.sql"),
            Self::RenderedFields => include_str!("sql/commit_rendered_fields.sqlite.sql"),
            Self::Labels => include_str!("sql/commit_labels.sqlite.sql"),
            Self::Callbacks => include_str!("sql/commit_callbacks.sqlite.sql"),
            Self::End => "COMMIT;\n",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The texts of the combinations of parts that were needed so far.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<HashMap<u32, Arc<str>>>);

impl Texts {
    fn get(&self, parts: u32) -> Arc<str> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = |part: &Part| if parts & part.bit() == 0 { "" } else { part.sql() };
        let build = || Part::ALL.iter().map(sql).collect::<String>().into();
        Arc::clone(texts.entry(parts).or_insert_with(build))
    }
}

/// A call's rows at most, and about how many bytes its JSON may have before it is sent.
const CALL_MAX_ROWS: usize = 4_096;
const CALL_MAX_BYTES: usize = 2 << 20;

/// One call: which parts run, and their rows.
#[derive(Default)]
struct Call {
    parts: u32,
    bytes: usize,
    rows: [Option<String>; Part::ALL.len()],
    counts: [i64; Part::ALL.len()],
    bodies: Vec<u8>,
}

impl Call {
    async fn send(
        self,
        texts: &Texts,
        connection: &mut SqliteConnection,
        now: Timestamp,
        more: u32,
    ) -> Result<(), StoreError> {
        let text = texts.get(self.parts | more);
        let mut rows = self.rows;
        let mut take = |part: Part| rows[part as usize].take();
        sqlx::query(AssertSqlSafe(text))
            .bind(now)
            .bind(take(Part::DagRunsNew))
            .bind(take(Part::DagRuns))
            .bind(self.counts[Part::DagRuns as usize])
            .bind(take(Part::LastScheduled))
            .bind(take(Part::InstancesNew))
            .bind(take(Part::Histories))
            .bind(take(Part::Instances))
            .bind(self.counts[Part::Instances as usize])
            .bind(take(Part::XComsCleared))
            .bind(take(Part::XComs))
            .bind(self.bodies)
            .bind(take(Part::Artifacts))
            .bind(take(Part::InstancesGone))
            .bind(take(Part::Origins))
            .bind(take(Part::WaitsGone))
            .bind(take(Part::WaitsNew))
            .bind(take(Part::DagsPaused))
            .bind(take(Part::AssetEvents))
            .bind(take(Part::AssetQueue))
            .bind(take(Part::AssetRuns))
            .bind(take(Part::Callbacks))
            .bind(take(Part::Backfills))
            .bind(take(Part::BackfillRuns))
            .bind(take(Part::Approvals))
            .bind(take(Part::Answers))
            .bind(take(Part::Renewals))
            .bind(take(Part::Recordings))
            .bind(take(Part::CachedResults))
            .bind(None::<String>)
            .bind(take(Part::RenderedFields))
            .bind(take(Part::Labels))
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// Cuts a commit into calls and sends them.
struct Sender<'a> {
    texts: &'a Texts,
    connection: &'a mut SqliteConnection,
    now: Timestamp,
    call: Call,
}

impl Sender<'_> {
    /// Sends what is gathered when the next rows would be too much with it.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        if self.call.bytes >= CALL_MAX_BYTES {
            let call = std::mem::take(&mut self.call);
            call.send(self.texts, self.connection, self.now, 0).await?;
        }
        Ok(())
    }

    /// Gathers `items` as the rows of `part`.
    async fn add<'b, T, R: Serialize + 'b>(
        &mut self,
        part: Part,
        items: &'b [T],
        row: impl Fn(&'b T) -> R,
    ) -> Result<(), StoreError> {
        for (at, chunk) in items.chunks(CALL_MAX_ROWS).enumerate() {
            if at > 0 {
                // A call has a part once.
                self.call.bytes = CALL_MAX_BYTES;
            }
            self.make_room().await?;
            let rows = json(&chunk.iter().map(&row).collect::<Vec<_>>())?;
            self.put(part, rows, chunk.len());
        }
        Ok(())
    }

    fn put(&mut self, part: Part, rows: String, count: usize) {
        self.call.parts |= part.bit();
        self.call.bytes += rows.len();
        self.call.rows[part as usize] = Some(rows);
        self.call.counts[part as usize] = i64::try_from(count).unwrap_or(i64::MAX);
    }

    async fn add_xcoms(&mut self, mut xcoms: &[XComNew]) -> Result<(), StoreError> {
        while !xcoms.is_empty() {
            self.make_room().await?;
            let mut rows = Vec::new();
            let mut bodies = Vec::new();
            while let Some(xcom) = xcoms.get(rows.len())
                && rows.len() < CALL_MAX_ROWS
                && bodies.len() < CALL_MAX_BYTES
            {
                let (dag_run, task_id, map_index) = key(&xcom.instance);
                let (blob, start) = match &xcom.body {
                    XComBody::Blob(blob) => (Some(blob), 0),
                    XComBody::Inline(body) => {
                        let start = bodies.len() + 1;
                        bodies.extend_from_slice(body);
                        (None, start)
                    }
                };
                rows.push((dag_run, task_id, map_index, &xcom.key, &xcom.media_type, xcom.size_bytes, blob, start));
            }
            let (count, rows) = (rows.len(), json(&rows)?);
            self.put(Part::XComs, rows, count);
            self.call.bytes += bodies.len();
            self.call.bodies = bodies;
            xcoms = &xcoms[count..];
            if !xcoms.is_empty() {
                self.call.bytes = CALL_MAX_BYTES;
            }
        }
        Ok(())
    }
}

pub(super) fn key(instance: &InstanceKey) -> (DagRunKey, &str, i32) {
    (instance.dag_run, instance.task_id.as_str(), instance.map_index)
}

/// An instant as it stands in a column.
fn micros(instant: Option<Timestamp>) -> Option<i64> {
    instant.map(Timestamp::as_micros)
}

/// A list that stands in a column as JSON text.
struct JsonText<'a>(&'a Vec<String>);

impl Serialize for JsonText<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(self.0).map_err(serde::ser::Error::custom)?)
    }
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
        let mut writer = self.writer().await?;
        // Until it is known to be over; `writer()` rolls back what a failure or a lost caller left open.
        writer.open_transaction = true;
        let sent = send(&self.shared.commit_texts, &mut writer.connection, batch).await;
        match sent {
            Ok(()) => writer.open_transaction = false,
            Err(_) => writer.rollback().await,
        }
        if sent.is_ok() && !batch.callbacks.is_empty() {
            self.shared.callbacks.notify_one();
        }
        sent
    }
}

async fn send(texts: &Texts, connection: &mut SqliteConnection, batch: &Commit) -> Result<(), StoreError> {
    let call = Call { parts: Part::Begin.bit(), ..Call::default() };
    let mut sender = Sender { texts, connection, now: batch.now, call };
    sender
        .add(Part::DagRunsNew, &batch.dag_runs_new, |run| {
            (
                run.key,
                &run.dag_id,
                &run.run_id,
                run.version,
                run.run_type,
                run.state,
                micros(run.logical_date),
                micros(run.data_interval.map(|interval| interval.start)),
                micros(run.data_interval.map(|interval| interval.end)),
                run.run_after.as_micros(),
                run.queued_at.as_micros(),
                micros(run.start_date),
                &run.triggered_by,
                &run.triggering_user,
                &run.note,
                &run.conf,
            )
        })
        .await?;
    sender
        .add(Part::Origins, &batch.origins, |origin| {
            let (task_id, map_index) =
                origin.parent.task.as_ref().map_or(("", -1), |(task_id, map_index)| (task_id.as_str(), *map_index));
            (origin.dag_run, origin.parent.dag_run, task_id, map_index, origin.parent_number, origin.depth)
        })
        .await?;
    sender
        .add(Part::DagRuns, &batch.dag_runs, |run| {
            let (start_date, end_date) = (micros(run.start_date), micros(run.end_date));
            (run.key, run.state, micros(run.queued_at), start_date, end_date, run.clear_number, &run.message)
        })
        .await?;
    sender
        .add(Part::LastScheduled, &batch.last_scheduled, |(dag_id, interval)| {
            (dag_id, interval.start.as_micros(), interval.end.as_micros())
        })
        .await?;
    sender.add(Part::DagsPaused, &batch.dags_paused, |(dag_id, reason)| (dag_id, reason)).await?;
    sender
        .add(Part::Backfills, &batch.backfills, |row| {
            let (last_date, completed_at) = (micros(row.last_date), micros(row.completed_at));
            (row.id, row.dealt_with, row.skipped, last_date, i32::from(row.is_paused), completed_at)
        })
        .await?;
    sender.add(Part::BackfillRuns, &batch.backfill_runs, |(run, backfill)| (*run, *backfill)).await?;
    sender
        .add(Part::Renewals, &batch.renewals, |renewal| {
            let instances = renewal.instances.iter().map(|(id, placement)| {
                let Placement { entry, pool, pool_slots, priority_weight } = placement;
                (&id.task_id, id.map_index, pool_slots, priority_weight, pool, entry)
            });
            (renewal.dag_run, renewal.version, instances.collect::<Vec<_>>())
        })
        .await?;
    sender.add(Part::InstancesGone, &batch.instances_gone, key).await?;
    sender
        .add(Part::InstancesNew, &batch.instances_new, |new| {
            let (dag_run, task_id, map_index) = key(&new.key);
            (
                dag_run,
                task_id,
                map_index,
                new.state,
                new.max_tries,
                new.placement.pool_slots,
                new.placement.priority_weight,
                &new.placement.pool,
                &new.placement.entry,
            )
        })
        .await?;
    sender.add(Part::Histories, &batch.histories, key).await?;
    sender
        .add(Part::Instances, &batch.instances, |instance| {
            let (dag_run, task_id, map_index) = key(&instance.key);
            (
                dag_run,
                task_id,
                map_index,
                instance.state,
                instance.try_number,
                instance.max_tries,
                instance.restarts,
                micros(instance.scheduled_at),
                micros(instance.queued_at),
                micros(instance.start_date),
                micros(instance.end_date),
                micros(instance.wake_at),
                instance.list_length,
                instance.followed.as_ref().map(JsonText),
                &instance.message,
            )
        })
        .await?;
    sender.add(Part::XComsCleared, &batch.xcoms_cleared, key).await?;
    sender.add_xcoms(&batch.xcoms).await?;
    sender
        .add(Part::Artifacts, &batch.artifacts, |artifact| {
            let (dag_run, task_id, map_index) = key(&artifact.instance);
            (
                dag_run,
                task_id,
                map_index,
                &artifact.name,
                artifact.try_number,
                &artifact.media_type,
                artifact.size_bytes,
                artifact.sha256,
                artifact.created_at.as_micros(),
                &artifact.blob,
            )
        })
        .await?;
    sender
        .add(Part::Recordings, &batch.recordings, |row| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (dag_run, task_id, map_index, row.try_number, row.size_bytes, row.created_at.as_micros(), &row.blob)
        })
        .await?;
    let extras = |row: &CachedResultRow| {
        let extras = (!row.asset_extras.is_empty()).then_some(&row.asset_extras);
        extras.map(json).transpose()
    };
    let extras = batch.cached_results.iter().map(extras).collect::<Result<Vec<_>, _>>()?;
    let cached: Vec<_> = batch.cached_results.iter().zip(extras).collect();
    sender
        .add(Part::CachedResults, &cached, |(row, extras)| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (
                row.key,
                dag_run,
                task_id,
                map_index,
                row.try_number,
                &row.dag_id,
                &row.run_id,
                row.made_at.as_micros(),
                row.expires_at.as_micros(),
                extras,
            )
        })
        .await?;
    sender.add(Part::WaitsGone, &batch.waits_gone, key).await?;
    let conditions = batch.waits_new.iter().map(|row| json(&row.wait)).collect::<Result<Vec<_>, _>>()?;
    let waits: Vec<_> = batch.waits_new.iter().zip(conditions).collect();
    sender
        .add(Part::WaitsNew, &waits, |(row, condition)| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (dag_run, task_id, map_index, condition)
        })
        .await?;
    let mut approvals = Vec::new();
    for row in &batch.waits_new {
        if let Wait::Approval(question) = &row.wait {
            approvals.push((key(&row.instance), &question.subject, json(question)?));
        }
    }
    sender
        .add(Part::Approvals, &approvals, |((dag_run, task_id, map_index), subject, question)| {
            (dag_run, task_id, map_index, subject, question)
        })
        .await?;
    let answers = batch.answers.iter().map(|answer| json(&answer.answer)).collect::<Result<Vec<_>, _>>()?;
    let answers: Vec<_> = batch.answers.iter().zip(answers).collect();
    sender
        .add(Part::Answers, &answers, |(new, answer)| {
            let (dag_run, task_id, map_index) = key(&new.instance);
            (dag_run, task_id, map_index, new.try_number, &new.subject, answer)
        })
        .await?;
    sender
        .add(Part::AssetEvents, &batch.asset_events, |event| {
            let source = event.source.as_ref();
            (
                event.key,
                &event.asset,
                event.timestamp.as_micros(),
                &event.extra,
                source.map(|(dag_id, ..)| dag_id),
                source.map(|(_, run_id, _)| run_id),
                source.map(|(.., instance)| &instance.task_id),
                source.map_or(-1, |(.., instance)| instance.map_index),
                &event.created_by,
            )
        })
        .await?;
    let mut queue = Vec::new();
    for event in &batch.asset_events {
        queue.extend(event.consumers.iter().map(|dag_id| (dag_id, event.key)));
    }
    sender.add(Part::AssetQueue, &queue, |row| row).await?;
    sender.add(Part::AssetRuns, &batch.asset_runs, |row| row).await?;
    sender
        .add(Part::RenderedFields, &batch.rendered_fields, |row| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (dag_run, task_id, map_index, row.try_number, &row.fields)
        })
        .await?;
    sender
        .add(Part::Labels, &batch.labels, |(instance, label)| {
            let (dag_run, task_id, map_index) = key(instance);
            (dag_run, task_id, map_index, label)
        })
        .await?;
    sender
        .add(Part::Callbacks, &batch.callbacks, |callback| {
            let task_id = callback.task_id.as_ref().map_or("", TaskId::as_str);
            (
                callback.dag_run,
                task_id,
                callback.map_index,
                callback.number,
                callback.event,
                callback.target.to_string(),
                &callback.message,
            )
        })
        .await?;
    let Sender { call, connection, .. } = sender;
    call.send(texts, connection, batch.now, Part::End.bit()).await
}
