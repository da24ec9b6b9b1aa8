//! Questions that tasks ask people, and the answers.

use sqlx::{Row as _, sqlite::SqliteRow};

use super::{DagRunKey, InstanceKey, Listed, MAX_PAGE, MAX_TOTAL, Page, Store, StoreError};
use crate::model::{
    approval::{Answer, Question},
    ids::{DagId, RunId},
    time::Timestamp,
};

/// A question of one try of a task instance.
#[derive(Debug, Clone)]
pub struct ApprovalRow {
    pub instance: InstanceKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub try_number: u32,
    pub question: Question,
    pub created_at: Timestamp,
    /// Whether the instance waits for the answer.
    pub waiting: bool,
    pub answer: Option<Answer>,
}

impl sqlx::FromRow<'_, SqliteRow> for ApprovalRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let corrupt = |error: serde_json::Error| sqlx::Error::Decode(error.into());
        let question: String = row.try_get("question")?;
        let answer: Option<String> = row.try_get("answer")?;
        Ok(Self {
            instance: InstanceKey::from_row(row)?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            try_number: row.try_get("try_number")?,
            question: serde_json::from_str(&question).map_err(corrupt)?,
            created_at: row.try_get("created_at")?,
            waiting: row.try_get("waiting")?,
            answer: answer.map(|json| serde_json::from_str(&json)).transpose().map_err(corrupt)?,
        })
    }
}

/// Which questions are listed, by how they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhichApprovals {
    /// The newest run first.
    #[default]
    All,
    /// Those that are waited for, the oldest first.
    Waiting,
    /// The newest run first.
    Answered,
}

/// Which questions are listed.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    pub dag_id: Option<DagId>,
    pub dag_run: Option<DagRunKey>,
    pub which: WhichApprovals,
}

impl Store {
    pub async fn approval_get(
        &self,
        instance: &InstanceKey,
        try_number: u32,
        subject: &str,
    ) -> Result<Option<ApprovalRow>, StoreError> {
        let query = sqlx::query_as(include_str!("sql/approval_get.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(try_number)
            .bind(subject);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The questions of an instance, at most `limit`: the one that is waited for, then the newest.
    pub async fn approval_list_of(&self, instance: &InstanceKey, limit: u32) -> Result<Vec<ApprovalRow>, StoreError> {
        let query = sqlx::query_as(include_str!("sql/approval_list_of.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    pub async fn approval_list(&self, filter: &ApprovalFilter, page: Page) -> Result<Listed<ApprovalRow>, StoreError> {
        let (list, count) = if filter.which == WhichApprovals::Waiting {
            (include_str!("sql/approval_list_waiting.sql"), include_str!("sql/approval_count_waiting.sql"))
        } else {
            (include_str!("sql/approval_list.sql"), include_str!("sql/approval_count.sql"))
        };
        let answered = filter.which == WhichApprovals::Answered;
        let items = sqlx::query_as(list)
            .bind(&filter.dag_id)
            .bind(filter.dag_run)
            .bind(answered)
            .bind(page.limit.min(MAX_PAGE))
            .bind(page.offset)
            .fetch_all(self.readers());
        let total = sqlx::query_scalar(count)
            .bind(&filter.dag_id)
            .bind(filter.dag_run)
            .bind(answered)
            .bind(MAX_TOTAL)
            .fetch_one(self.readers());
        let (items, total) = tokio::try_join!(items, total)?;
        Ok(Listed { items, total })
    }
}
