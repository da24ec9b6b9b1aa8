//! Backfills.

use super::{
    DagRunKey, DagRunRow, Listed, Page, Store, StoreError,
    db::{self, Builder, FromRow, Row},
    filter::{counting, push_count_end, push_dags, push_page},
};
use crate::model::{
    backfill::{Intervals, ReprocessBehavior},
    dag_access::DagSet,
    ids::DagId,
    state::RunState,
    time::Timestamp,
};

/// A backfill's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct BackfillId(pub i64);

/// A backfill that is to be made.
#[derive(Debug, Clone)]
pub struct BackfillNew {
    pub dag_id: DagId,
    pub intervals: Intervals,
    /// Its runs that are not finished at a time.
    pub max_active_runs: u32,
    pub reprocess_behavior: ReprocessBehavior,
    /// A JSON object.
    pub dag_run_conf: String,
    /// Its intervals, at least one.
    pub total: u32,
    pub triggering_user: Option<String>,
}

#[derive(Debug, Clone)]
pub struct BackfillRow {
    pub id: BackfillId,
    pub new: BackfillNew,
    /// Intervals that were looked at.
    pub dealt_with: u32,
    /// Of those: their runs were there and stay as they are, or the dag's schedule has them no more.
    pub skipped: u32,
    /// The logical_date of the last interval that was looked at.
    pub last_date: Option<Timestamp>,
    pub is_paused: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When all of it was done, or it was cancelled.
    pub completed_at: Option<Timestamp>,
}

impl FromRow for BackfillRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let created_at = row.try_get("created_at")?;
        Ok(Self {
            id: BackfillId(row.try_get("id")?),
            new: BackfillNew {
                dag_id: row.try_get("dag_id")?,
                intervals: Intervals {
                    from: row.try_get("from_date")?,
                    to: row.try_get("to_date")?,
                    until: created_at,
                    run_backwards: row.try_get("run_backwards")?,
                },
                max_active_runs: row.try_get("max_active_runs")?,
                reprocess_behavior: row.try_get("reprocess_behavior")?,
                dag_run_conf: row.try_get("dag_run_conf")?,
                total: row.try_get("total")?,
                triggering_user: row.try_get("triggering_user")?,
            },
            dealt_with: row.try_get("dealt_with")?,
            skipped: row.try_get("skipped")?,
            last_date: row.try_get("last_date")?,
            is_paused: row.try_get("is_paused")?,
            created_at,
            updated_at: row.try_get("updated_at")?,
            completed_at: row.try_get("completed_at")?,
        })
    }
}

impl Store {
    /// Makes a backfill at the instant of its `intervals.until`.
    pub async fn backfill_create(&self, new: &BackfillNew) -> Result<BackfillRow, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let row = db::query_as(include_str!("sql/backfill_create.sql"))
            .bind(&new.dag_id)
            .bind(new.intervals.from)
            .bind(new.intervals.to)
            .bind(new.intervals.run_backwards)
            .bind(new.max_active_runs)
            .bind(new.reprocess_behavior)
            .bind(&new.dag_run_conf)
            .bind(new.total)
            .bind(&new.triggering_user)
            .bind(new.intervals.until)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(row)
    }

    pub async fn backfill_get(&self, id: BackfillId) -> Result<Option<BackfillRow>, StoreError> {
        let query = db::query_as(include_str!("sql/backfill_get.sql")).bind(id.0);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The backfills of a dag, or of all of `dags`, the newest first.
    pub async fn backfill_list(
        &self,
        dag_id: Option<&DagId>,
        dags: &DagSet,
        page: Page,
    ) -> Result<Listed<BackfillRow>, StoreError> {
        let filtered = |mut builder: Builder| {
            if let Some(dag_id) = dag_id {
                builder.push(" AND b.dag_id = ").push_bind(dag_id.clone());
            }
            push_dags(&mut builder, "b.dag_id", dags).map(|()| builder)
        };
        let mut list = filtered(Builder::new(include_str!("sql/backfill_list.sql")))?;
        list.push(" ORDER BY b.id DESC");
        push_page(&mut list, page);
        let mut count = filtered(counting(include_str!("sql/backfill_count.sql")))?;
        push_count_end(&mut count);
        self.listed(list, count).await
    }

    /// All backfills that are not completed. There is at most one of a dag.
    pub async fn backfill_list_unfinished(&self) -> Result<Vec<BackfillRow>, StoreError> {
        Ok(db::query_as(include_str!("sql/backfill_list_unfinished.sql")).fetch_all(self.readers()).await?)
    }

    /// The runs of a backfill that are not finished.
    pub async fn backfill_runs_unfinished(&self, id: BackfillId) -> Result<Vec<DagRunKey>, StoreError> {
        let query = db::query_scalar(include_str!("sql/backfill_runs_unfinished.sql")).bind(id.0);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The backfill that made a run, or ran it again last.
    pub async fn backfill_of_run(&self, run: DagRunKey) -> Result<Option<BackfillId>, StoreError> {
        let query = db::query_scalar(include_str!("sql/backfill_of_run.sql")).bind(run);
        Ok(query.fetch_optional(self.readers()).await?.map(BackfillId))
    }

    /// How many of its runs stand where.
    pub async fn backfill_states(&self, id: BackfillId) -> Result<Vec<(RunState, i64)>, StoreError> {
        let query = db::query_as(include_str!("sql/backfill_states.sql")).bind(id.0);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The run of the dag with this logical_date.
    pub async fn dag_run_of_date(&self, dag_id: &DagId, date: Timestamp) -> Result<Option<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_get_by_logical_date.sql")).bind(dag_id).bind(date);
        Ok(query.fetch_optional(self.readers()).await?)
    }
}
