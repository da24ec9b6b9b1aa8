//! Variables and connections wherever they are kept, and the keys that seal those in the database.
//!
//! It promises that a value is looked for in the same order everywhere - the environment, files, HashiCorp Vault, the database - and
//! that a place that can't be asked is an error and not a miss: nobody gets another value because a server was down. It
//! leaves out who may read what, which is its callers' business.

mod backend;
mod environment;
mod files;
mod hashicorp;
mod imported;
mod keys;
mod moved;
mod rotation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Notify;

use self::backend::Cached;
pub use self::{
    backend::{Backend, BackendError, Found},
    environment::{CONNECTION_PREFIX, Environment, VARIABLE_PREFIX},
    files::Files,
    hashicorp::{HashiCorp, HashiCorpConfig, Login},
    imported::ImportedConnection,
    keys::{are_agreed, is_sealed},
    moved::{Kept, SecretMoved, refuse_moved_secret},
    rotation::{DataKeyStatus, KeysStatus, MasterKeyStatus},
};
use crate::{
    model::{
        ids::{ConnectionId, VariableKey},
        time::{Clock, Timestamp},
    },
    secrets::{SecretString, Secrets, SecretsError, place},
    store::{ConnectionRow, Store, StoreError},
};

/// Finds variables and connections, and keeps the keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    secrets: Secrets,
    /// In the order in which they are asked, before the database.
    backends: Vec<Cached>,
    /// There is a new data key.
    rotated: Notify,
}

/// A connection with its secrets.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Of one that is not in the database, what would stand there.
    pub row: ConnectionRow,
    pub password: Option<SecretString>,
    /// JSON.
    pub extra: Option<SecretString>,
}

/// Why something can't be looked up, or the keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("the database can't be used")]
    Store(#[from] StoreError),
    #[error("a secret can't be opened")]
    Secrets(#[from] SecretsError),
    /// Told to tasks and users as it is: it holds no secret.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl Vault {
    /// One whose keys are not in the database: what it seals is sealed by the master key, as in tests of other rooms.
    pub fn new(store: Store, secrets: Secrets) -> Self {
        Self { shared: Arc::new(Shared { store, secrets, backends: Vec::new(), rotated: Notify::new() }) }
    }

    /// Makes the keys ready, and asks `backends` before the database, in this order.
    ///
    /// # Errors
    /// If the master keys are not those of this database.
    pub async fn open(store: Store, secrets: Secrets, backends: Vec<Box<dyn Backend>>) -> Result<Self, VaultError> {
        keys::prepare(&store, &secrets, Clock.now()).await?;
        let backends = backends.into_iter().map(Cached::new).collect();
        Ok(Self { shared: Arc::new(Shared { store, secrets, backends, rotated: Notify::new() }) })
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    pub fn secrets(&self) -> &Secrets {
        &self.shared.secrets
    }

    /// The value of a variable; none if there is no such variable anywhere.
    ///
    /// # Errors
    /// If a place that comes before it can't be asked, or what is stored can't be opened.
    pub async fn variable(&self, key: &VariableKey) -> Result<Option<SecretString>, VaultError> {
        for backend in &self.shared.backends {
            if let Some(found) = backend.variable(key).await? {
                return Ok(Some(found));
            }
        }
        let Some(row) = self.shared.store.variable_get(key).await? else { return Ok(None) };
        Ok(Some(self.shared.secrets.unseal(&place::variable(key), &row.sealed)?))
    }

    /// A connection with its secrets; none if there is no such connection anywhere.
    ///
    /// # Errors
    /// If a place that comes before it can't be asked, or what is stored can't be opened.
    pub async fn connection(&self, id: &ConnectionId) -> Result<Option<Connection>, VaultError> {
        for backend in &self.shared.backends {
            if let Some(found) = backend.connection(id).await? {
                return Ok(Some(found.into_connection(id)));
            }
        }
        let Some(row) = self.shared.store.connection_get(id).await? else { return Ok(None) };
        Ok(Some(self.opened(row)?))
    }

    /// A connection of the database with its secrets.
    ///
    /// # Errors
    /// If they can't be opened.
    pub fn opened(&self, row: ConnectionRow) -> Result<Connection, SecretsError> {
        let open = |place: String, sealed: &Option<Vec<u8>>| {
            sealed.as_ref().map(|sealed| self.shared.secrets.unseal(&place, sealed)).transpose()
        };
        let password = open(place::connection_password(&row.id), &row.sealed_password)?;
        let extra = open(place::connection_extra(&row.id), &row.sealed_extra)?;
        Ok(Connection { row, password, extra })
    }

    /// Whether anything is looked for outside of the database.
    pub fn has_backends(&self) -> bool {
        !self.shared.backends.is_empty()
    }

    /// The places outside of the database in the order in which they are asked, each with the variables and connections that it has, as
    /// far as it can list them.
    ///
    /// # Errors
    /// If one can't be asked.
    pub async fn outside(&self) -> Result<Vec<(String, Found)>, VaultError> {
        let mut all = Vec::with_capacity(self.shared.backends.len());
        for backend in &self.shared.backends {
            all.push((backend.name().to_owned(), backend.list().await?));
        }
        Ok(all)
    }
}

impl ImportedConnection {
    fn into_connection(self, id: &ConnectionId) -> Connection {
        Connection {
            row: ConnectionRow {
                id: id.clone(),
                conn_type: self.conn_type,
                description: self.description,
                host: self.host,
                schema: self.schema,
                login: self.login,
                port: self.port,
                sealed_password: None,
                sealed_extra: None,
                updated_at: Timestamp::default(),
            },
            password: self.password.map(Into::into),
            extra: self.extra.map(Into::into),
        }
    }
}
