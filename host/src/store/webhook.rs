//! Secrets by which other systems may start runs.

use super::{
    Store, StoreError,
    db::{self, from_row},
};
use crate::model::{ids::DagId, time::Timestamp};

/// A dag's webhook. The secret is sealed by the room `secrets`.
#[derive(Debug, Clone)]
pub struct WebhookRow {
    pub dag_id: DagId,
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    pub created_by: String,
}

from_row!(WebhookRow { dag_id, sealed, created_at, created_by });

impl Store {
    pub async fn webhook_get(&self, dag_id: &DagId) -> Result<Option<WebhookRow>, StoreError> {
        let query = db::query_as(include_str!("sql/webhook_get.sql")).bind(dag_id);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Makes a dag's webhook, or gives it another secret. The dag must be there.
    pub async fn webhook_put(&self, row: &WebhookRow) -> Result<(), StoreError> {
        let query = db::query(include_str!("sql/webhook_put.sql"))
            .bind(&row.dag_id)
            .bind(&row.sealed)
            .bind(row.created_at)
            .bind(&row.created_by);
        self.write(query).await?;
        Ok(())
    }

    /// Whether there was one.
    pub async fn webhook_delete(&self, dag_id: &DagId) -> Result<bool, StoreError> {
        Ok(self.write(db::query(include_str!("sql/webhook_delete.sql")).bind(dag_id)).await? == 1)
    }
}
