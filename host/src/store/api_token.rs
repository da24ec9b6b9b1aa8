//! Tokens that users made for programs.

use serde_json::{Value, json};

use super::{
    Listed, MAX_PAGE, Page, Store, StoreError, dag_permission,
    db::{self, FromRow, from_row},
};
use crate::model::{dag_access::DagAccess, role::Role, time::Timestamp};

/// A token of a user. Its secret is not stored.
#[derive(Debug, Clone)]
pub struct ApiTokenRow {
    pub id: i64,
    pub username: String,
    pub name: String,
    /// It may no more than this, nor more than its user.
    pub role: Role,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Timestamp,
    /// Less than an hour before its last use; none: it was never used.
    pub last_used_at: Option<Timestamp>,
}

impl ApiTokenRow {
    /// What the audit log shows of it.
    pub fn shown(&self) -> Value {
        shown(&self.username, self.role, self.expires_at)
    }
}

fn shown(username: &str, role: Role, expires_at: Timestamp) -> Value {
    json!({"username": username, "role": role, "expires_at": expires_at})
}

/// A token to store.
#[derive(Debug, Clone)]
pub struct ApiTokenNew {
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    pub username: String,
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Timestamp,
}

impl ApiTokenNew {
    /// As [`ApiTokenRow::shown`].
    pub fn shown(&self) -> Value {
        shown(&self.username, self.role, self.expires_at)
    }
}

from_row!(ApiTokenRow { id, username, name, role, created_at, created_by, expires_at, last_used_at });

impl Store {
    /// Stores a token unless its user has `limit` already; whether it was stored.
    ///
    /// # Errors
    /// If the user has one of that name.
    pub async fn api_token_create(&self, new: &ApiTokenNew, limit: u32) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/api_token_create.sql"))
            .bind(new.secret_hash.as_slice())
            .bind(&new.username)
            .bind(&new.name)
            .bind(new.role)
            .bind(new.created_at)
            .bind(&new.created_by)
            .bind(new.expires_at)
            .bind(limit);
        Ok(self.write(query).await? == 1)
    }

    pub async fn api_token_get(&self, id: i64) -> Result<Option<ApiTokenRow>, StoreError> {
        let query = db::query_as(include_str!("sql/api_token_get.sql")).bind(id);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The token with this secret, expired or not, and what its user may do at present.
    pub async fn api_token_get_by_hash(&self, hash: &[u8; 32]) -> Result<Option<(ApiTokenRow, DagAccess)>, StoreError> {
        let query = db::query(include_str!("sql/api_token_get_by_hash.sql")).bind(hash.as_slice());
        let row = query.fetch_optional(self.readers()).await?;
        Ok(row
            .map(|row| {
                Ok::<_, sqlx::Error>((ApiTokenRow::from_row(&row)?, dag_permission::access_of_row(&row, "user_role")?))
            })
            .transpose()?)
    }

    /// Tokens by user and name: of one user, or (none) of all.
    pub async fn api_token_list(&self, username: Option<&str>, page: Page) -> Result<Listed<ApiTokenRow>, StoreError> {
        let items = db::query_as(include_str!("sql/api_token_list.sql"))
            .bind(username)
            .bind(page.limit.min(MAX_PAGE))
            .bind(page.offset)
            .fetch_all(self.readers());
        let total = db::query_scalar(include_str!("sql/api_token_count.sql")).bind(username).fetch_one(self.readers());
        let (items, total) = tokio::try_join!(items, total)?;
        Ok(Listed { items, total })
    }

    /// Whether there was one to delete.
    pub async fn api_token_delete(&self, id: i64) -> Result<bool, StoreError> {
        Ok(self.write(db::query(include_str!("sql/api_token_delete.sql")).bind(id)).await? == 1)
    }

    /// How many there were.
    pub async fn api_token_delete_of_user(&self, username: &str) -> Result<u64, StoreError> {
        self.write(db::query(include_str!("sql/api_token_delete_of_user.sql")).bind(username)).await
    }

    /// How many had expired at `before`.
    pub async fn api_token_delete_expired(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(db::query(include_str!("sql/api_token_delete_expired.sql")).bind(before)).await
    }

    pub async fn api_token_set_used(&self, id: i64, at: Timestamp) -> Result<(), StoreError> {
        self.write(db::query(include_str!("sql/api_token_set_used.sql")).bind(id).bind(at)).await?;
        Ok(())
    }
}
