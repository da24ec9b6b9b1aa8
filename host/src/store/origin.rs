//! What started which runs.

use super::{
    DagRunKey, DagRunRow, Listed, OriginRow, Page, Parent, Store, StoreError,
    db::{self, Builder, FromRow, Row},
    filter::{counting, push_count_end, push_dags, push_page},
};
use crate::model::dag_access::DagSet;

impl FromRow for OriginRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        Ok(Self {
            dag_run: row.try_get("dag_run")?,
            parent: Parent {
                dag_run: row.try_get("parent_run")?,
                task: match row.try_get::<String>("parent_task_id")?.as_str() {
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

impl FromRow for StartedRun {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        Ok(Self { run: DagRunRow::from_row(row)?, origin: OriginRow::from_row(row)? })
    }
}

impl Store {
    /// What started the run, if a task or a callback did.
    pub async fn origin_get(&self, run: DagRunKey) -> Result<Option<OriginRow>, StoreError> {
        let query = db::query_as(include_str!("sql/origin_get.sql")).bind(run);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The runs of `dags` that tasks and callbacks of `parent` started, as they were made.
    pub async fn dag_run_list_started_by(
        &self,
        parent: DagRunKey,
        dags: &DagSet,
        page: Page,
    ) -> Result<Listed<StartedRun>, StoreError> {
        let filtered = |mut builder: Builder| {
            builder.push(" AND o.parent_run = ").push_bind(parent);
            push_dags(&mut builder, "r.dag_id", dags).map(|()| builder)
        };
        let mut list = filtered(Builder::new(include_str!("sql/dag_run_list_started_by.sql")))?;
        list.push(" ORDER BY o.dag_run");
        push_page(&mut list, page);
        let mut count = filtered(counting(include_str!("sql/dag_run_count_started_by.sql")))?;
        push_count_end(&mut count);
        self.listed(list, count).await
    }
}
