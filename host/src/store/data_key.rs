//! The keys that seal, and what they sealed.

use super::{
    Store, StoreError,
    db::{self, FromRow, Row},
};
use crate::model::{
    ids::{ConnectionId, DagId, VariableKey},
    time::Timestamp,
};

/// A data key, sealed by a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyRow {
    pub id: [u8; 8],
    pub wrapped: Vec<u8>,
    pub created_at: Timestamp,
    /// Since when another one seals; none: it is the one that seals.
    pub retired_at: Option<Timestamp>,
}

/// Where a sealed value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedPlace {
    Variable(VariableKey),
    ConnectionPassword(ConnectionId),
    ConnectionExtra(ConnectionId),
    Webhook(DagId),
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    pub place: SealedPlace,
    pub sealed: Vec<u8>,
    /// Its place in the order of [`Store::sealed_otherwise`].
    pub at: (String, String),
}

/// How many sealed values begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCount {
    /// The version and the id of the key.
    pub header: Vec<u8>,
    pub values: i64,
}

impl FromRow for DataKeyRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let id: Vec<u8> = row.try_get("id")?;
        Ok(Self {
            id: id.as_slice().try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            wrapped: row.try_get("wrapped")?,
            created_at: row.try_get("created_at")?,
            retired_at: row.try_get("retired_at")?,
        })
    }
}

impl FromRow for SealedRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let (kind, name): (String, String) = (row.try_get("kind")?, row.try_get("name")?);
        let wrong = |error: crate::model::ids::NameError| sqlx::Error::Decode(error.into());
        let place = match kind.as_str() {
            "variable" => SealedPlace::Variable(VariableKey::new(&name).map_err(wrong)?),
            "password" => SealedPlace::ConnectionPassword(ConnectionId::new(&name).map_err(wrong)?),
            "extra" => SealedPlace::ConnectionExtra(ConnectionId::new(&name).map_err(wrong)?),
            _ => SealedPlace::Webhook(DagId::new(&name).map_err(wrong)?),
        };
        Ok(Self { place, sealed: row.try_get("sealed")?, at: (kind, name) })
    }
}

impl FromRow for SealedCount {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        Ok(Self { header: row.try_get("header")?, values: row.try_get("amount")? })
    }
}

impl Store {
    /// The data keys, the one that seals first.
    pub async fn data_key_list(&self) -> Result<Vec<DataKeyRow>, StoreError> {
        Ok(db::query_as(include_str!("sql/data_key_list.sql")).fetch_all(self.readers()).await?)
    }

    /// Makes `id` the data key that seals; the one that did is retired.
    pub async fn data_key_put(&self, id: [u8; 8], wrapped: &[u8], now: Timestamp) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        db::query(include_str!("sql/data_key_retire.sql")).bind(now).execute(&mut *transaction).await?;
        db::query(include_str!("sql/data_key_put.sql"))
            .bind(id.as_slice())
            .bind(wrapped)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Stores data keys that are sealed by another master key, and the value by which a wrong one is noticed: all or nothing.
    pub async fn data_key_rewrap(&self, keys: &[([u8; 8], Vec<u8>)], check: (&str, &[u8])) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for (id, wrapped) in keys {
            db::query(include_str!("sql/data_key_rewrap.sql"))
                .bind(id.as_slice())
                .bind(wrapped)
                .execute(&mut *transaction)
                .await?;
        }
        let (name, value) = check;
        db::query(include_str!("sql/setting_put.sql")).bind(name).bind(value).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Deletes the data keys that were retired before `before` and that no value needs. Answers how many.
    pub async fn data_key_delete_unused(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.write(db::query(include_str!("sql/data_key_delete_unused.sql")).bind(before)).await
    }

    /// How many values each key sealed.
    pub async fn sealed_counts(&self) -> Result<Vec<SealedCount>, StoreError> {
        Ok(db::query_as(include_str!("sql/sealed_counts.sql")).fetch_all(self.readers()).await?)
    }

    /// At most `limit` values behind `after` that don't begin with `header`.
    pub async fn sealed_otherwise(
        &self,
        header: &[u8],
        after: &(String, String),
        limit: u32,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let query = db::query_as(include_str!("sql/sealed_otherwise.sql"))
            .bind(header)
            .bind(&after.0)
            .bind(&after.1)
            .bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Puts the second value of each in the place of the first, in one transaction; not where somebody has changed it meanwhile.
    pub async fn sealed_replace(&self, values: &[(SealedRow, Vec<u8>)]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for (old, new) in values {
            let statement = match old.place {
                SealedPlace::Variable(_) => include_str!("sql/sealed_replace_variable.sql"),
                SealedPlace::ConnectionPassword(_) => include_str!("sql/sealed_replace_password.sql"),
                SealedPlace::ConnectionExtra(_) => include_str!("sql/sealed_replace_extra.sql"),
                SealedPlace::Webhook(_) => include_str!("sql/sealed_replace_webhook.sql"),
            };
            db::query(statement).bind(&old.at.1).bind(&old.sealed).bind(new).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}
