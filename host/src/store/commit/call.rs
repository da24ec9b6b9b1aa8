//! How a commit reaches the database: its parts, the calls that they are sent by, and what each connection makes so that it understands
//! them.

use std::{collections::HashMap, sync::LazyLock};

use serde::Serialize;
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqliteConnection};

use super::key;
use crate::{
    model::time::Timestamp,
    store::{
        StoreError, XComBody, XComNew,
        codec::json,
        db::{self, Bind as _, Connection, Json, Sql, Value},
    },
};

/// Parts of a commit in the order of their execution: the parameter that holds their rows, and their statements.
macro_rules! parts {
    ($($part:ident = $parameter:literal, $file:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Part { $($part),* }

        impl Part {
            const ALL: [Self; [$($parameter),*].len()] = [$(Self::$part),*];

            /// From 1.
            fn parameter(self) -> usize {
                match self { $(Self::$part => $parameter),* }
            }

            fn sqlite(self) -> &'static str {
                match self { $(Self::$part => include_str!(concat!("../sql/", $file, ".sqlite.sql"))),* }
            }

            fn postgres(self) -> &'static str {
                match self { $(Self::$part => include_str!(concat!("../sql/", $file, ".postgres.sql"))),* }
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
pub struct Calls(HashMap<u32, Sql>);

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
pub fn postgres_function() -> String {
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
pub(super) struct Sender<'a> {
    calls: &'a mut Calls,
    connection: &'a mut Connection,
    now: Timestamp,
    call: Call,
}

impl<'a> Sender<'a> {
    /// One for a commit of `now`. `epoch`: what its transaction is fenced by; 0: by nothing.
    pub fn new(calls: &'a mut Calls, connection: &'a mut Connection, epoch: i64, now: Timestamp) -> Self {
        let mut call = Call::new(now, true);
        // The first call of a transaction is enough.
        call.parameters[EPOCH - 1] = Value::Int((epoch != 0).then_some(epoch));
        Self { calls, connection, now, call }
    }

    /// Sends what is left, and ends the transaction.
    pub async fn end(self) -> Result<(), StoreError> {
        self.call.send(self.calls, self.connection, true).await
    }

    /// Sends what is gathered when the next rows would be too much with it.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        if self.call.bytes >= CALL_MAX_BYTES {
            let call = std::mem::replace(&mut self.call, Call::new(self.now, false));
            call.send(self.calls, self.connection, false).await?;
        }
        Ok(())
    }

    /// Gathers `items` as the rows of `part`.
    pub async fn add<I: IntoIterator, R: Serialize>(
        &mut self,
        part: Part,
        items: I,
        row: impl Fn(I::Item) -> R,
    ) -> Result<(), StoreError> {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            self.make_room().await?;
            let rows: Vec<_> = items.by_ref().take(CALL_MAX_ROWS).map(&row).collect();
            self.put(part, json(&rows)?, rows.len());
            if items.peek().is_some() {
                // A call has a part once.
                self.call.bytes = CALL_MAX_BYTES;
            }
        }
        Ok(())
    }

    fn put(&mut self, part: Part, rows: Json, count: usize) {
        self.call.parts |= part.bit();
        self.call.bytes += rows.0.len();
        self.call.parameters[part.parameter() - 1] = rows.into_value();
        let count_at = match part {
            Part::DagRuns => DAG_RUNS_COUNT,
            Part::Instances => INSTANCES_COUNT,
            _ => return,
        };
        self.call.parameters[count_at - 1] = i64::try_from(count).unwrap_or(i64::MAX).into_value();
    }

    /// Gathers XComs, with their bodies.
    pub async fn add_xcoms(&mut self, mut xcoms: &[XComNew]) -> Result<(), StoreError> {
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
