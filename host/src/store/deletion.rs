//! Deletions: of runs, of what they leave in other tables, and the objects that no row names any more.
//!
//! A run is gone with its row, in one small transaction. What it left follows in steps of bounded size, and the objects after
//! that. Both are known from the transaction on that made them superfluous, so that a crash leaves nothing behind.

use super::{DagRunKey, MAX_PAGE, Store, StoreError, codec::json};
use crate::model::ids::DagId;

/// Runs whose leftovers a step takes at most.
const SWEEP_RUNS: i64 = 25;
/// Rows that a step takes at most.
const SWEEP_ROWS: i64 = 1_000;
/// Pages that a step gives back to the file system: 1 MiB.
const VACUUM_PAGES: i64 = 256;
/// Free pages that stay, because they will be needed again: 4 MiB, or a tenth of the file.
const MIN_FREE_PAGES: i64 = 1_024;

/// What a run leaves, in the order in which it goes.
const LEFTOVERS: [&str; 12] = [
    // Before what it consists of.
    include_str!("sql/leftover_delete_cached_result.sqlite.sql"),
    include_str!("sql/leftover_delete_log_chunk.sqlite.sql"),
    include_str!("sql/leftover_delete_recording.sqlite.sql"),
    include_str!("sql/leftover_delete_callback.sqlite.sql"),
    include_str!("sql/leftover_delete_artifact.sqlite.sql"),
    include_str!("sql/leftover_delete_xcom.sqlite.sql"),
    include_str!("sql/leftover_delete_task_instance_history.sqlite.sql"),
    include_str!("sql/leftover_delete_task_instance.sqlite.sql"),
    include_str!("sql/leftover_delete_rendered_fields.sqlite.sql"),
    include_str!("sql/leftover_delete_wait.sqlite.sql"),
    include_str!("sql/leftover_delete_approval.sqlite.sql"),
    include_str!("sql/leftover_delete_asset_event.sqlite.sql"),
];

impl Store {
    /// Deletes runs; how many of them there were. What they left is to be swept away: [`Store::leftover_sweep`].
    pub async fn dag_run_delete(&self, runs: &[DagRunKey]) -> Result<u64, StoreError> {
        self.delete_runs(runs, false).await
    }

    /// Deletes those of the runs that are finished; how many.
    pub async fn dag_run_delete_finished(&self, runs: &[DagRunKey]) -> Result<u64, StoreError> {
        self.delete_runs(runs, true).await
    }

    async fn delete_runs(&self, runs: &[DagRunKey], only_finished: bool) -> Result<u64, StoreError> {
        let keys = json(runs)?;
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let noted = sqlx::query(include_str!("sql/dag_run_delete.sqlite.sql")).bind(&keys).bind(only_finished);
        noted.execute(&mut *transaction).await?;
        let deleted = sqlx::query(include_str!("sql/dag_run_delete_left.sqlite.sql")).bind(&keys);
        let deleted = deleted.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(deleted)
    }

    /// Deletes a dag and its runs; how many runs there were. Its components stay.
    ///
    /// The runs go in steps of bounded size, the dag last: after a crash in the middle, call it again.
    pub async fn dag_delete(&self, dag_id: &DagId) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let some = sqlx::query_scalar(include_str!("sql/dag_run_any_of.sql")).bind(dag_id).bind(MAX_PAGE);
            let some: Vec<DagRunKey> = some.fetch_all(self.readers()).await?;
            if some.is_empty() {
                break;
            }
            deleted += self.dag_run_delete(&some).await?;
        }
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for statement in [include_str!("sql/dag_delete.sql"), include_str!("sql/dag_version_delete.sql")] {
            sqlx::query(statement).bind(dag_id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(deleted)
    }

    /// A step of deleting what deleted runs left in other tables; whether there may be more. If there is nothing, nothing is
    /// written.
    pub async fn leftover_sweep(&self) -> Result<bool, StoreError> {
        let runs = sqlx::query_scalar(include_str!("sql/dag_run_leftover_list.sql")).bind(SWEEP_RUNS);
        let runs: Vec<DagRunKey> = runs.fetch_all(self.readers()).await?;
        if runs.is_empty() {
            return Ok(false);
        }
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let mut room = SWEEP_ROWS;
        'runs: for run in runs {
            for statement in LEFTOVERS {
                let rows =
                    sqlx::query(statement).bind(run).bind(room).execute(&mut *transaction).await?.rows_affected();
                room = room.saturating_sub_unsigned(rows);
                if room <= 0 {
                    break 'runs;
                }
            }
            for statement in
                [include_str!("sql/leftover_delete_origin.sql"), include_str!("sql/dag_run_leftover_delete.sql")]
            {
                sqlx::query(statement).bind(run).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Keys of objects that no row names any more, to be deleted from object storage and then forgotten.
    pub async fn garbage_list(&self, limit: u32) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar(include_str!("sql/garbage_list.sql")).bind(limit.min(MAX_PAGE));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Forgets objects that were deleted from object storage.
    pub async fn garbage_forget(&self, blobs: &[String]) -> Result<(), StoreError> {
        for blobs in blobs.chunks(MAX_PAGE as usize) {
            self.write(sqlx::query(include_str!("sql/garbage_forget.sqlite.sql")).bind(json(blobs)?)).await?;
        }
        Ok(())
    }

    /// A step of giving the space that deletions left free back to the file system; whether there is more to give. A tenth of
    /// the file stays free.
    pub async fn vacuum_step(&self) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
        let connection = &mut writer.connection;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
        let all: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *connection).await?;
        let keep = MIN_FREE_PAGES.max(all / 10);
        if free <= keep {
            return Ok(false);
        }
        let pages = VACUUM_PAGES.min(free - keep);
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"));
        sqlx::query(statement).execute(connection).await?;
        Ok(true)
    }
}
