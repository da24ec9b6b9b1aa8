//! A new data key, and all that earlier ones sealed sealed anew: in small steps, while everything goes on.
//!
//! What is left to do follows from the rows, so that a crash interrupts it and no more. A key is deleted when no row needs it, and not
//! before whoever took it for sealing has written what it sealed.

use std::time::Duration;

use super::{Vault, VaultError, keys};
use crate::{
    model::time::{Clock, Timestamp},
    secrets::{KeyId, SecretsError, place},
    store::{SealedPlace, SealedRow},
};

/// Values that are sealed anew in one transaction.
const STEP: u32 = 100;
/// How long a retired key is kept at least: longer than any request takes.
const GRACE: Duration = Duration::from_mins(10);
const RETRY: Duration = Duration::from_secs(30);

/// The keys, and how much each sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysStatus {
    /// The one that seals first.
    pub data_keys: Vec<DataKeyStatus>,
    /// In the order in which they were given: the first seals the data keys.
    pub master_keys: Vec<MasterKeyStatus>,
    /// Values that are still to be sealed by the newest data key.
    pub waiting: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyStatus {
    /// A digest's beginning; it tells nothing of the key.
    pub id: String,
    pub created_at: Timestamp,
    /// Since when it seals nothing any more; null: it is the one that seals.
    pub retired_at: Option<Timestamp>,
    pub values: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKeyStatus {
    pub id: String,
    /// Data keys and values that only this one opens. If there are none, it may be taken away.
    pub needed_by: i64,
}

impl Vault {
    /// Makes a new data key, by which all is sealed from now on. What others sealed is sealed anew in the background.
    ///
    /// # Errors
    /// If the database can't be written. Then nothing has changed.
    pub async fn rotate(&self) -> Result<(), VaultError> {
        keys::rotate(&self.shared.store, &self.shared.secrets, Clock.now()).await?;
        tracing::info!("there is a new data key");
        self.shared.rotated.notify_one();
        Ok(())
    }

    /// The keys, and how much each sealed.
    ///
    /// # Errors
    /// If the database can't be read.
    pub async fn keys(&self) -> Result<KeysStatus, VaultError> {
        let (store, secrets) = (&self.shared.store, &self.shared.secrets);
        let (rows, counts) = (store.data_key_list().await?, store.sealed_counts().await?);
        let present = secrets.header();
        let of = |id: KeyId| {
            counts.iter().filter(move |count| count.header.get(1..) == Some(id.0.as_slice())).map(|count| count.values)
        };
        let wrapped_by = |id: KeyId| rows.iter().filter(|row| row.wrapped.get(1..9) == Some(id.0.as_slice())).count();
        Ok(KeysStatus {
            waiting: counts.iter().filter(|count| count.header != present).map(|count| count.values).sum(),
            master_keys: secrets
                .master_ids()
                .map(|id| MasterKeyStatus {
                    id: id.to_string(),
                    needed_by: of(id).sum::<i64>() + i64::try_from(wrapped_by(id)).unwrap_or(i64::MAX),
                })
                .collect(),
            data_keys: rows
                .iter()
                .map(|row| DataKeyStatus {
                    id: KeyId(row.id).to_string(),
                    created_at: row.created_at,
                    retired_at: row.retired_at,
                    values: of(KeyId(row.id)).sum(),
                })
                .collect(),
        })
    }

    /// Seals anew what is not sealed by the newest data key, and deletes keys that nothing needs. Never ends.
    pub async fn keep_sealed(self) {
        loop {
            let wait = match self.seal_anew().await {
                Ok(()) => self.forget_keys(Clock.now()).await,
                Err(error) => Err(error),
            };
            let wait = wait.unwrap_or_else(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "sealing anew is tried again later");
                Some(RETRY)
            });
            match wait {
                Some(wait) => drop(tokio::time::timeout(wait, self.shared.rotated.notified()).await),
                None => self.shared.rotated.notified().await,
            }
        }
    }

    /// Seals all values with the newest data key that are not. One that can't be opened is told, and left as it is.
    pub(super) async fn seal_anew(&self) -> Result<(), VaultError> {
        let (store, secrets) = (&self.shared.store, &self.shared.secrets);
        let (mut after, mut done) = ((String::new(), String::new()), 0);
        loop {
            let rows = store.sealed_otherwise(&secrets.header(), &after, STEP).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.at);
            let mut anew = Vec::with_capacity(rows.len());
            for row in rows {
                match sealed_anew(self, &row) {
                    Ok(sealed) => anew.push((row, sealed)),
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a value stays as it is sealed");
                    }
                }
            }
            done += anew.len();
            store.sealed_replace(&anew).await?;
        }
        if done > 0 {
            tracing::info!(values = done, "values were sealed by the newest data key");
        }
        Ok(())
    }

    /// Deletes the keys that nothing needs any more; says when there may be others.
    pub(super) async fn forget_keys(&self, now: Timestamp) -> Result<Option<Duration>, VaultError> {
        let store = &self.shared.store;
        if store.data_key_delete_unused(now.before(GRACE)).await? > 0 {
            keys::install(store, &self.shared.secrets).await?;
        }
        let retired = store.data_key_list().await?.into_iter().filter_map(|key| key.retired_at);
        // Those that have been there for longer are needed by what can't be opened.
        let next = retired.map(|at| at.after(GRACE)).filter(|due| *due > now).min();
        Ok(next.map(|due| due.since(now) + Duration::from_secs(1)))
    }
}

fn sealed_anew(vault: &Vault, row: &SealedRow) -> Result<Vec<u8>, SecretsError> {
    let place = match &row.place {
        SealedPlace::Variable(key) => place::variable(key),
        SealedPlace::ConnectionPassword(id) => place::connection_password(id),
        SealedPlace::ConnectionExtra(id) => place::connection_extra(id),
        SealedPlace::Webhook(dag_id) => place::webhook(dag_id),
    };
    let secrets = &vault.shared.secrets;
    let plain = secrets.unseal(&place, &row.sealed)?;
    Ok(secrets.seal(&place, plain.expose().as_bytes()))
}
