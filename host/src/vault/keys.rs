//! The data keys of the installation: made, sealed by the present master key, installed.

use super::VaultError;
use crate::{
    model::time::Timestamp,
    secrets::{KeyId, Secrets, WrappedKey},
    store::{DataKeyRow, Store, StoreError},
};

/// The setting by which a wrong master key is noticed.
const KEY_CHECK: &str = "key_check";

/// Whether there is a master key already that all processes on this database have to have.
///
/// # Errors
/// If the database can't be asked.
pub async fn is_sealed(store: &Store) -> Result<bool, VaultError> {
    Ok(store.setting_get(KEY_CHECK).await?.is_some())
}

/// Whether `secrets` are those of this database; false if it has none yet.
///
/// # Errors
/// If its master key is another one.
pub async fn are_agreed(store: &Store, secrets: &Secrets) -> Result<bool, VaultError> {
    let check = store.setting_get(KEY_CHECK).await?;
    check.as_ref().map(|check| secrets.verify_key_check(check)).transpose()?;
    Ok(check.is_some())
}

/// Makes `secrets` ready to seal and open what is in `store`. A first data key is made; those that an earlier master key sealed are
/// sealed by the first one.
///
/// # Errors
/// If the master keys are not those of this database.
pub(super) async fn prepare(store: &Store, secrets: &Secrets, now: Timestamp) -> Result<(), VaultError> {
    store.setting_put_new(KEY_CHECK, &secrets.key_check()).await?;
    are_agreed(store, secrets).await?;
    if store.data_key_list().await?.is_empty() {
        add(store, secrets, now).await?;
    }
    let keys = wrapped(&store.data_key_list().await?);
    let mut rewrapped = Vec::new();
    for key in &keys {
        rewrapped.extend(secrets.rewrap(key)?.map(|key| (key.id.0, key.wrapped)));
    }
    if !rewrapped.is_empty() {
        store.data_key_rewrap(&rewrapped, (KEY_CHECK, &secrets.key_check())).await?;
        tracing::info!(keys = rewrapped.len(), "the data keys are sealed by the new master key");
    }
    install(store, secrets).await
}

/// Makes a data key that seals from when it is installed.
async fn add(store: &Store, secrets: &Secrets, now: Timestamp) -> Result<(), VaultError> {
    let key = secrets.new_data_key();
    match store.data_key_put(key.id.0, &key.wrapped, now).await {
        // A command on the data directory and a server may start at the same time: one of them makes it.
        Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a data key that seals from now on. It is stored before it seals anything.
pub(super) async fn rotate(store: &Store, secrets: &Secrets, now: Timestamp) -> Result<(), VaultError> {
    add(store, secrets, now).await?;
    install(store, secrets).await
}

/// Takes the keys as they are stored.
pub(super) async fn install(store: &Store, secrets: &Secrets) -> Result<(), VaultError> {
    Ok(secrets.install(&wrapped(&store.data_key_list().await?))?)
}

fn wrapped(rows: &[DataKeyRow]) -> Vec<WrappedKey> {
    rows.iter().map(|row| WrappedKey { id: KeyId(row.id), wrapped: row.wrapped.clone() }).collect()
}
