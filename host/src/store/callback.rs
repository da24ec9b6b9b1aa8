//! Who is to be told, and who was.

use sha2::Digest as _;

use super::{
    DagRunKey, Listed, MAX_PAGE, MAX_TOTAL, Page, Store, StoreError,
    db::{self, FromRow, Row},
};
use crate::model::{
    callback::{CallbackEvent, Target},
    ids::{Digest, TaskId},
    time::Timestamp,
};

/// Somebody who is to be told; written with what is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackNew {
    pub dag_run: DagRunKey,
    /// None: it is about the run itself.
    pub task_id: Option<TaskId>,
    pub map_index: i32,
    /// The try; of a run, its `clear_number`. Of one number each event is told once.
    pub number: i64,
    pub event: CallbackEvent,
    /// Of a question, its subject: a try may ask several.
    pub subject: Option<String>,
    pub target: Target,
    pub message: Option<String>,
}

impl CallbackNew {
    /// What of its number it tells: the event, and of a question a digest of its subject.
    pub fn told(&self) -> String {
        let event = self.event.as_str();
        match &self.subject {
            None => event.to_owned(),
            Some(subject) => format!("{event}_{}", Digest(sha2::Sha256::digest(subject.as_bytes()).into())),
        }
    }
}

/// A callback and how its delivery stands.
#[derive(Debug, Clone)]
pub struct CallbackRow {
    pub key: i64,
    pub callback: CallbackNew,
    pub created_at: Timestamp,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Deliveries that were tried.
    pub attempts: u32,
    pub due_at: Timestamp,
    /// Why the last one failed.
    pub error: Option<String>,
}

impl FromRow for CallbackRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let task_id: String = row.try_get("task_id")?;
        let corrupt = |error: String| sqlx::Error::Decode(error.into());
        let event: String = row.try_get("event")?;
        let target: String = row.try_get("target")?;
        let subject: String = row.try_get("subject")?;
        let event = serde_json::from_value(event.into()).map_err(|error| corrupt(error.to_string()))?;
        Ok(Self {
            key: row.try_get("key")?,
            callback: CallbackNew {
                dag_run: row.try_get("dag_run")?,
                task_id: match task_id.as_str() {
                    "" => None,
                    id => Some(TaskId::new(id).map_err(|error| corrupt(error.to_string()))?),
                },
                map_index: row.try_get("map_index")?,
                number: row.try_get("number")?,
                event,
                subject: Some(subject).filter(|subject| !subject.is_empty()),
                target: target.parse().map_err(corrupt)?,
                message: row.try_get("message")?,
            },
            created_at: row.try_get("created_at")?,
            state: row.try_get("state")?,
            attempts: row.try_get("attempts")?,
            due_at: row.try_get("due_at")?,
            error: row.try_get("error")?,
        })
    }
}

impl Store {
    /// Waits until a commit brings a callback. One waits at a time.
    pub async fn callback_added(&self) {
        self.shared.callbacks.notified().await;
    }

    /// The callbacks that are to be delivered next, due or not, the earliest first.
    pub async fn callback_due(&self, limit: u32) -> Result<Vec<CallbackRow>, StoreError> {
        let query = db::query_as(include_str!("sql/callback_due.sql")).bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The callbacks of a run, the oldest first.
    pub async fn callback_list(&self, run: DagRunKey, page: Page) -> Result<Listed<CallbackRow>, StoreError> {
        let items = db::query_as(include_str!("sql/callback_list.sql"))
            .bind(run)
            .bind(page.limit.min(MAX_PAGE))
            .bind(page.offset)
            .fetch_all(self.readers());
        let total = db::query_scalar(include_str!("sql/callback_count.sql"))
            .bind(run)
            .bind(MAX_TOTAL)
            .fetch_one(self.readers());
        let (items, total) = tokio::try_join!(items, total)?;
        Ok(Listed { items, total })
    }

    /// Notes how a delivery went: `Ok` it was made, `Err` it failed and is tried again at the instant, if there is one.
    pub async fn callback_tried(
        &self,
        key: i64,
        outcome: Result<(), (&str, Option<Timestamp>)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (state, due_at, error) = match outcome {
            Ok(()) => ("delivered", now, None),
            Err((error, Some(again))) => ("pending", again, Some(error)),
            Err((error, None)) => ("failed", now, Some(error)),
        };
        let query = db::query(include_str!("sql/callback_update.sql")).bind(key).bind(state).bind(due_at).bind(error);
        self.write(query).await?;
        Ok(())
    }
}
