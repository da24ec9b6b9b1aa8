//! What started which runs.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::{DagRunKey, DagRunRow, Listed, MAX_PAGE, MAX_TOTAL, OriginRow, Page, Parent, Store, StoreError};

impl sqlx::FromRow<'_, SqliteRow> for OriginRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            dag_run: row.try_get("dag_run")?,
            parent: Parent {
                dag_run: row.try_get("parent_run")?,
                task: match row.try_get::<&str, _>("parent_task_id")? {
                    "" => None,
                    _ => Some((row.try_get("parent_task_id")?, row.try_get("parent_map_index")?)),
                },
            },
            parent_number: row.try_get("parent_try_number")?,
            depth: row.try_get("depth")?,
        })
    }
}

/// A run that a task or a callback started.
#[derive(Debug, Clone)]
pub struct StartedRun {
    pub run: DagRunRow,
    pub origin: OriginRow,
}

impl sqlx::FromRow<'_, SqliteRow> for StartedRun {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self { run: DagRunRow::from_row(row)?, origin: OriginRow::from_row(row)? })
    }
}

impl Store {
    /// What started the run, if a task or a callback did.
    pub async fn origin_get(&self, run: DagRunKey) -> Result<Option<OriginRow>, StoreError> {
        let query = sqlx::query_as(include_str!("sql/origin_get.sql")).bind(run);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The runs that tasks and callbacks of `parent` started, as they were made.
    pub async fn dag_run_list_started_by(
        &self,
        parent: DagRunKey,
        page: Page,
    ) -> Result<Listed<StartedRun>, StoreError> {
        let items = sqlx::query_as(include_str!("sql/dag_run_list_started_by.sql"))
            .bind(parent)
            .bind(page.limit.min(MAX_PAGE))
            .bind(page.offset)
            .fetch_all(self.readers());
        let total = sqlx::query_scalar(include_str!("sql/origin_count.sql"))
            .bind(parent)
            .bind(MAX_TOTAL)
            .fetch_one(self.readers());
        let (items, total) = tokio::try_join!(items, total)?;
        Ok(Listed { items, total })
    }
}
