//! Deletions: of runs, of what they leave in other tables, and the objects that no row names any more.
//!
//! A run is gone with its row, in one small transaction. What it left follows in steps of bounded size, and the objects after
//! that. Both are known from the transaction on that made them superfluous, so that a crash leaves nothing behind.

use std::{collections::BTreeMap, sync::LazyLock};

use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use super::{
    DagRunKey, InstanceKey, MAX_PAGE, Store, StoreError,
    codec::json,
    db::{self, Connection, Sql, each},
    sqlite,
};
use crate::model::{ids::DagId, retention::Part};

/// Runs whose leftovers a step takes at most.
const SWEEP_RUNS: i64 = 250;
/// Rows that a step takes at most.
const SWEEP_ROWS: i64 = 1_000;

/// A table with rows of runs, and the statement that deletes some of them: of the runs `$1`, at most `$2` rows. It answers the bytes
/// of what each row names or holds.
pub(super) struct Leftover {
    table: &'static str,
    delete: Sql,
}

impl Leftover {
    /// `key`: the columns that are the table's key. `bytes`: an expression.
    fn new(table: &'static str, key: &str, bytes: &str) -> Self {
        let runs = "SELECT value FROM json_each($1)";
        let some = format!("SELECT {key} FROM {table} WHERE dag_run IN ({runs}) LIMIT $2");
        let sqlite = format!("DELETE FROM {table} WHERE ({key}) IN ({some}) RETURNING {bytes}");
        let runs = "SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb)";
        let some = format!("SELECT ctid FROM {table} WHERE dag_run = ANY (ARRAY({runs})) LIMIT $2");
        // Arrays of places: whatever PostgreSQL believes of the table, it looks at these rows only.
        let postgres = format!("DELETE FROM {table} WHERE ctid = ANY (ARRAY({some})) RETURNING {bytes}");
        let [sqlite, postgres] = [sqlite, postgres].map(|text| AssertSqlSafe(text).into_sql_str());
        Self { table, delete: Sql::of_each(sqlite, postgres) }
    }
}

const NO_BYTES: &str = "CAST(0 AS BIGINT)";

/// What a part of a run is, by table, in the order in which it goes.
pub(super) fn tables_of(part: Part) -> &'static [Leftover] {
    match part {
        Part::Logs => LOGS.as_slice(),
        Part::Data => DATA.as_slice(),
    }
}

static LOGS: LazyLock<[Leftover; 2]> = LazyLock::new(|| {
    [
        Leftover::new("log_chunk", "dag_run, task_id, map_index, try_number, seq", "length_bytes"),
        Leftover::new("recording", "dag_run, task_id, map_index, try_number", "size_bytes"),
    ]
});

static DATA: LazyLock<[Leftover; 3]> = LazyLock::new(|| {
    [
        // Before what it consists of.
        Leftover::new("cached_result", "key", NO_BYTES),
        Leftover::new("artifact", "dag_run, task_id, map_index, name", "size_bytes"),
        Leftover::new("xcom", "dag_run, task_id, map_index, key", "size_bytes"),
    ]
});

/// What else a run leaves.
static REST: LazyLock<[Leftover; 7]> = LazyLock::new(|| {
    let of_instance = "dag_run, task_id, map_index";
    let of_try = "dag_run, task_id, map_index, try_number";
    [
        Leftover::new("callback", "key", NO_BYTES),
        Leftover::new("task_instance_history", of_try, NO_BYTES),
        Leftover::new("task_instance", of_instance, NO_BYTES),
        Leftover::new("rendered_fields", of_try, NO_BYTES),
        Leftover::new("wait", of_instance, NO_BYTES),
        Leftover::new("approval", of_instance, NO_BYTES),
        Leftover::new("dag_run_asset_event", "dag_run, event", NO_BYTES),
    ]
});

/// What is gone, by table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept(pub BTreeMap<&'static str, Gone>);

/// Rows, and the bytes of what they name or hold: logs, recordings, artifacts, XComs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    pub rows: u64,
    pub bytes: u64,
}

/// Tables in which a task instance leaves rows, in the order in which they go. Who was told of it stays with the run.
pub(super) const OF_INSTANCE: [&str; 10] = [
    "log_chunk",
    "recording",
    "cached_result",
    "artifact",
    "xcom",
    "task_instance_history",
    "rendered_fields",
    "wait",
    "approval",
    "task_instance",
];

static INSTANCE: LazyLock<[Sql; 10]> = LazyLock::new(|| {
    OF_INSTANCE.map(|table| {
        let text = || {
            let text = format!("DELETE FROM {table} WHERE dag_run = $1 AND task_id = $2 AND map_index = $3");
            AssertSqlSafe(text).into_sql_str()
        };
        Sql::of_each(text(), text())
    })
});

impl Swept {
    /// Deletes rows of `runs`, as many as there is room for; the room that is left.
    pub(super) async fn sweep(
        &mut self,
        transaction: &mut Connection,
        Leftover { table, delete }: &Leftover,
        runs: &db::Json,
        room: i64,
    ) -> Result<i64, StoreError> {
        let sizes: Vec<i64> = db::query_scalar(delete.clone()).bind(runs).bind(room).fetch_all(transaction).await?;
        if !sizes.is_empty() {
            let gone = self.0.entry(table).or_default();
            gone.rows += sizes.len() as u64;
            gone.bytes += sizes.iter().map(|bytes| bytes.unsigned_abs()).sum::<u64>();
        }
        Ok(room.saturating_sub_unsigned(sizes.len() as u64))
    }
}

impl Store {
    /// Deletes runs; how many of them there were. What they left is to be swept away: [`Store::leftover_sweep`].
    pub async fn dag_run_delete(&self, runs: &[DagRunKey]) -> Result<u64, StoreError> {
        self.delete_runs(runs, false).await
    }

    /// Deletes those of the runs that are finished; how many.
    pub async fn dag_run_delete_finished(&self, runs: &[DagRunKey]) -> Result<u64, StoreError> {
        self.delete_runs(runs, true).await
    }

    /// Deletes a task instance and all that it left, in one transaction. Whether it was there.
    pub async fn task_instance_delete(&self, instance: &InstanceKey) -> Result<bool, StoreError> {
        let InstanceKey { dag_run, task_id, map_index } = instance;
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let mut was_there = false;
        for delete in INSTANCE.iter() {
            let query = db::query(delete.clone()).bind(*dag_run).bind(task_id).bind(*map_index);
            // The last one is of the instance itself.
            was_there = query.execute(&mut *transaction).await? == 1;
        }
        if was_there {
            transaction.commit().await?;
        }
        Ok(was_there)
    }

    async fn delete_runs(&self, runs: &[DagRunKey], only_finished: bool) -> Result<u64, StoreError> {
        let keys = json(runs)?;
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let noted = db::query(each!("dag_run_delete")).bind(&keys).bind(only_finished);
        noted.execute(&mut *transaction).await?;
        let deleted = db::query(each!("dag_run_delete_left")).bind(&keys);
        let deleted = deleted.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(deleted)
    }

    /// Deletes a dag and its runs; how many runs there were. Its components stay.
    ///
    /// The runs go in steps of bounded size, the dag last: after a crash in the middle, call it again.
    pub async fn dag_delete(&self, dag_id: &DagId) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let some = db::query_scalar(include_str!("sql/dag_run_any_of.sql")).bind(dag_id).bind(MAX_PAGE);
            let some: Vec<DagRunKey> = some.fetch_all(self.readers()).await?;
            if some.is_empty() {
                break;
            }
            deleted += self.dag_run_delete(&some).await?;
        }
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for statement in [include_str!("sql/dag_delete.sql"), include_str!("sql/dag_version_delete.sql")] {
            db::query(statement).bind(dag_id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(deleted)
    }

    /// A step of deleting what deleted runs left in other tables. None: there is nothing more, and nothing was written.
    pub async fn leftover_sweep(&self) -> Result<Option<Swept>, StoreError> {
        let runs = db::query_scalar(include_str!("sql/dag_run_leftover_list.sql")).bind(SWEEP_RUNS);
        let runs: Vec<DagRunKey> = runs.fetch_all(self.readers()).await?;
        if runs.is_empty() {
            return Ok(None);
        }
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let runs = json(&runs)?;
        let (mut room, mut swept) = (SWEEP_ROWS, Swept::default());
        for leftover in LOGS.iter().chain(DATA.iter()).chain(REST.iter()) {
            room = swept.sweep(&mut transaction, leftover, &runs, room).await?;
            if room <= 0 {
                break;
            }
        }
        if room > 0 {
            // There is nothing more of any of them.
            for statement in [each!("dag_run_origin_delete"), each!("dag_run_leftover_delete")] {
                db::query(statement).bind(&runs).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(Some(swept))
    }

    /// Keys of objects that no row names any more.
    pub async fn garbage_list(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        self.garbage_list_behind(0, limit).await
    }

    /// As [`garbage_list`](Self::garbage_list), without the `first` of them.
    pub async fn garbage_list_behind(&self, first: u32, limit: u32) -> Result<Vec<String>, StoreError> {
        let query = db::query_scalar(include_str!("sql/garbage_list.sql")).bind(limit.min(MAX_PAGE)).bind(first);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// As [`garbage_list_behind`](Self::garbage_list_behind), for who deletes them from object storage and then forgets them: as of a
    /// moment at which this process led, so that none is among them which another process has taken back.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if it leads no more.
    pub async fn garbage_claim(&self, first: u32, limit: u32) -> Result<Vec<String>, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let query = db::query_scalar(include_str!("sql/garbage_list.sql")).bind(limit.min(MAX_PAGE)).bind(first);
        let listed = query.fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(listed)
    }

    /// Forgets objects that were deleted from object storage.
    pub async fn garbage_forget(&self, blobs: &[String]) -> Result<(), StoreError> {
        for blobs in blobs.chunks(MAX_PAGE as usize) {
            self.write(db::query(each!("garbage_forget")).bind(json(blobs)?)).await?;
        }
        Ok(())
    }

    /// A step of giving the space that deletions left free back to the file system; whether there is more to give. A tenth of
    /// the file stays free.
    pub async fn vacuum_step(&self) -> Result<bool, StoreError> {
        match &mut self.writer().await?.connection {
            Connection::Sqlite(connection) => sqlite::vacuum_step(connection).await,
            // Its autovacuum does that.
            Connection::Postgres(_) => Ok(false),
        }
    }
}
