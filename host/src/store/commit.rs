//! The hot path: all changes of a tick in one transaction and one call.
//!
//! A statement to SQLite by sqlx hops to the connection's thread and back, one to PostgreSQL over the network, which costs more
//! than the rows it carries. So a commit is one statement, a call: on PostgreSQL of a function that skips the parts without rows;
//! on SQLite of a trigger, one for each combination of parts. Each connection makes them anew, in its temporary schema, so that
//! versions of Airlock that differ do not meet. Each part takes its rows as one JSON array. Very large commits are cut into several
//! calls within one transaction, so that memory stays bounded. Parameters are numbered the same in all parts: `$1` is now, the others
//! stand in [`parts`].

use std::{collections::HashMap, sync::LazyLock};

use serde::Serialize;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqliteConnection};

use super::{
    ArtifactRow, BackfillId, BackfillRow, CachedResultRow, CallbackNew, DagRunKey, DagVersionKey, EventNew,
    InstanceKey, OriginRow, RecordingRow, RenderedFieldsRow, Store, StoreError, WaitRow, Writer, XComBody, XComNew,
    codec::{json, without_nul},
    db::{self, Bind as _, Connection, Sql, Value},
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

/// Parts of a commit in the order of their execution: the parameter that holds their rows, and their statements.
macro_rules! parts {
    ($($part:ident = $parameter:literal, $file:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Part { $($part),* }

        impl Part {
            const ALL: [Self; [$($parameter),*].len()] = [$(Self::$part),*];

            /// From 1.
            fn parameter(self) -> usize {
                match self { $(Self::$part => $parameter),* }
            }

            fn sqlite(self) -> &'static str {
                match self { $(Self::$part => include_str!(concat!("sql/", $file, ".sqlite.sql"))),* }
            }

            fn postgres(self) -> &'static str {
                match self { $(Self::$part => include_str!(concat!("sql/", $file, ".postgres.sql"))),* }
            }
        }
    };
}

parts! {
    DagRunsNew = 2, "commit_dag_runs_new";
    Origins = 15, "commit_origins";
    DagRuns = 3, "commit_dag_runs";
    LastScheduled = 5, "commit_last_scheduled";
    DagsPaused = 18, "commit_dags_paused";
    Backfills = 23, "commit_backfills";
    BackfillRuns = 24, "commit_backfill_runs";
    Renewals = 27, "commit_renewals";
    InstancesGone = 14, "commit_instances_gone";
    InstancesNew = 6, "commit_instances_new";
    Histories = 7, "commit_histories";
    Instances = 8, "commit_instances";
    XComsCleared = 10, "commit_xcoms_cleared";
    XComs = 11, "commit_xcoms";
    Artifacts = 13, "commit_artifacts";
    Recordings = 28, "commit_recordings";
    CachedResults = 29, "commit_cached_results";
    WaitsGone = 16, "commit_waits_gone";
    WaitsNew = 17, "commit_waits_new";
    Approvals = 25, "commit_approvals";
    Answers = 26, "commit_answers";
    AssetEvents = 19, "commit_asset_events";
    AssetQueue = 20, "commit_asset_queue";
    AssetRuns = 21, "commit_asset_runs";
    RenderedFields = 31, "commit_rendered_fields";
    Labels = 32, "commit_labels";
    Callbacks = 22, "commit_callbacks";
    Events = 33, "commit_events";
}

/// How many there are of `DagRuns`, and of `Instances`: so many rows must be there.
const DAG_RUNS_COUNT: usize = 4;
const INSTANCES_COUNT: usize = 9;
/// The bodies of `XComs`, one after another.
const BODIES: usize = 12;
/// What PostgreSQL is fenced by, if it is.
const EPOCH: usize = 30;
const PARAMETERS: usize = 33;

impl Part {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// SQLite's calls, by the combination of parts that they run: those that the connection knows.
///
/// A combination is a view. A row that is inserted into it is a call, and the view's trigger runs the parts. So a commit is one
/// statement, as it is with PostgreSQL: sqlx hands the result of each statement to another thread by itself, which often takes longer
/// than the statement.
#[derive(Debug, Default)]
pub(super) struct Calls(HashMap<u32, Sql>);

impl Calls {
    async fn get(&mut self, parts: u32, connection: &mut SqliteConnection) -> sqlx::Result<Sql> {
        if let Some(call) = self.0.get(&parts) {
            return Ok(call.clone());
        }
        sqlx::raw_sql(AssertSqlSafe(sqlite_view(parts))).execute(connection).await?;
        let values = numbered("$");
        let call =
            Sql::sqlite(AssertSqlSafe(format!("INSERT INTO temp.commit_{parts} VALUES ({values})")).into_sql_str());
        self.0.insert(parts, call.clone());
        Ok(call)
    }

    /// Some may have been made in a transaction that is undone.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// The statements that make the view of `parts` and its trigger.
fn sqlite_view(parts: u32) -> String {
    let (columns, nulls) = (numbered("p"), ["NULL"; PARAMETERS].join(", "));
    let parts_of_it = Part::ALL.into_iter().filter(|part| parts & part.bit() != 0);
    let statements: String = parts_of_it.map(|part| part.sqlite().replace('$', "NEW.p")).collect();
    format!(
        "CREATE TEMP VIEW IF NOT EXISTS commit_{parts} ({columns}) AS SELECT {nulls};\n\
         CREATE TEMP TRIGGER IF NOT EXISTS run_{parts} INSTEAD OF INSERT ON commit_{parts} BEGIN\n{statements}END;"
    )
}

/// The parameters, each as `prefix` and its number.
fn numbered(prefix: &str) -> String {
    (1..=PARAMETERS).map(|number| format!("{prefix}{number}")).collect::<Vec<_>>().join(", ")
}

/// The statement that makes PostgreSQL's function.
pub(super) fn postgres_function() -> String {
    let mut types = ["text"; PARAMETERS];
    for (parameter, its_type) in
        [(1, "bigint"), (DAG_RUNS_COUNT, "bigint"), (INSTANCES_COUNT, "bigint"), (BODIES, "bytea"), (EPOCH, "bigint")]
    {
        types[parameter - 1] = its_type;
    }
    let part = |part: Part| format!("IF ${} IS NOT NULL THEN\n{}END IF;\n", part.parameter(), part.postgres());
    let parts: String = Part::ALL.into_iter().map(part).collect();
    format!(
        "CREATE FUNCTION pg_temp.airlock_commit({}) RETURNS void LANGUAGE plpgsql AS $airlock$\n\
         DECLARE changed bigint;\nBEGIN\nIF ${EPOCH} IS NOT NULL THEN PERFORM airlock_fence(${EPOCH}); END IF;\n{parts}END $airlock$",
        types.join(", "),
    )
}

/// Its call.
static POSTGRES_CALL: LazyLock<Sql> = LazyLock::new(|| {
    Sql::both(AssertSqlSafe(format!("SELECT pg_temp.airlock_commit({})", numbered("$"))).into_sql_str())
});

/// A call's rows at most, and about how many bytes its JSON may have before it is sent.
const CALL_MAX_ROWS: usize = 4_096;
const CALL_MAX_BYTES: usize = 2 << 20;

/// One call: which parts run, and their rows.
struct Call {
    /// Of its transaction.
    is_first: bool,
    parts: u32,
    bytes: usize,
    parameters: [Value; PARAMETERS],
}

impl Call {
    fn new(now: Timestamp, is_first: bool) -> Self {
        let mut parameters = [const { Value::Text(None) }; PARAMETERS];
        parameters[0] = now.into_value();
        parameters[DAG_RUNS_COUNT - 1] = Value::Int(Some(0));
        parameters[INSTANCES_COUNT - 1] = Value::Int(Some(0));
        parameters[BODIES - 1] = Value::Blob(None);
        parameters[EPOCH - 1] = Value::Int(None);
        Self { is_first, parts: 0, bytes: 0, parameters }
    }

    async fn send(self, calls: &mut Calls, connection: &mut Connection, is_last: bool) -> Result<(), StoreError> {
        // One call is a transaction by itself.
        let is_one_of_several = !(self.is_first && is_last);
        if is_one_of_several && self.is_first {
            connection.begin().await?;
        }
        let sql = match connection {
            Connection::Sqlite(connection) => calls.get(self.parts, connection).await?,
            Connection::Postgres(_) => POSTGRES_CALL.clone(),
        };
        self.parameters.into_iter().fold(db::query(sql), db::Query::bind).execute(&mut *connection).await?;
        if is_one_of_several && is_last {
            connection.run("COMMIT").await?;
        }
        Ok(())
    }
}

/// Cuts a commit into calls and sends them.
struct Sender<'a> {
    calls: &'a mut Calls,
    connection: &'a mut Connection,
    now: Timestamp,
    call: Call,
}

impl Sender<'_> {
    /// Sends what is gathered when the next rows would be too much with it.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        if self.call.bytes >= CALL_MAX_BYTES {
            let call = std::mem::replace(&mut self.call, Call::new(self.now, false));
            call.send(self.calls, self.connection, false).await?;
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
        let rows = match self.connection {
            Connection::Sqlite(_) => rows,
            Connection::Postgres(_) => without_nul(rows),
        };
        self.call.parameters[part.parameter() - 1] = rows.into_value();
        let count_at = match part {
            Part::DagRuns => DAG_RUNS_COUNT,
            Part::Instances => INSTANCES_COUNT,
            _ => return,
        };
        self.call.parameters[count_at - 1] = i64::try_from(count).unwrap_or(i64::MAX).into_value();
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
            self.call.parameters[BODIES - 1] = bodies.into_value();
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
            send(calls, connection, *epoch, batch).await
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

async fn send(calls: &mut Calls, connection: &mut Connection, epoch: i64, batch: &Commit) -> Result<(), StoreError> {
    let mut call = Call::new(batch.now, true);
    // The first call of a transaction is enough.
    call.parameters[EPOCH - 1] = Value::Int((epoch != 0).then_some(epoch));
    let mut sender = Sender { calls, connection, now: batch.now, call };
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
            (
                run.key,
                run.state,
                micros(run.queued_at),
                start_date,
                end_date,
                run.clear_number,
                &run.message,
                run.verdict,
            )
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
                event.through.as_ref().map(|through| &through.uri),
                event.through.as_ref().map(|through| &through.group),
                event.through.as_ref().map(|through| &through.alias),
            )
        })
        .await?;
    let mut queue = Vec::new();
    for event in &batch.asset_events {
        queue.extend(event.consumers.iter().map(|dag_id| (dag_id, event.key, None)));
        if let Some(Through { alias, consumers, .. }) = &event.through {
            queue.extend(consumers.iter().map(|dag_id| (dag_id, event.key, Some(alias))));
        }
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
                callback.subject.as_deref().unwrap_or_default(),
                callback.target.to_string(),
                &callback.message,
            )
        })
        .await?;
    sender
        .add(Part::Events, &batch.events, |event| {
            (
                event.at.as_micros(),
                &event.event,
                i32::from(event.is_denied),
                &event.username,
                &event.token,
                &event.peer,
                &event.route,
                &event.dag_id,
                &event.run_id,
                &event.task_id,
                event.map_index,
                &event.object,
                &event.before,
                &event.after,
            )
        })
        .await?;
    let Sender { calls, connection, call, .. } = sender;
    call.send(calls, connection, true).await
}
