//! Connections as the server uses them for others: opened, and with their credentials added to what is sent.
//!
//! Tasks and callbacks name a connection; what it holds stays here.

mod endpoint;
mod tokens;

use serde_json::Value;

pub use self::endpoint::{Endpoint, EndpointError};
use crate::{
    model::ids::ConnectionId,
    secrets::{self, SecretString, Secrets, SecretsError},
    store::{ConnectionRow, Store, StoreError},
};

/// Opens connections. Clones share what it keeps: tokens that other systems gave out.
#[derive(Debug, Clone)]
pub struct Connections {
    store: Store,
    secrets: Secrets,
    tokens: tokens::Tokens,
}

/// A connection with its secrets.
#[derive(Debug)]
pub struct Connection {
    pub row: ConnectionRow,
    pub password: Option<SecretString>,
    /// JSON.
    pub extra: Option<SecretString>,
}

/// Why a connection can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("a connection can't be read")]
    Store(#[from] StoreError),
    #[error("a connection's secrets can't be opened")]
    Secrets(#[from] SecretsError),
}

impl Connections {
    pub fn new(store: Store, secrets: Secrets) -> Self {
        Self { store, secrets, tokens: tokens::Tokens::default() }
    }

    /// Connection `id` with its secrets; none if there is no such connection.
    ///
    /// # Errors
    /// If the database can't be read, or the secrets were sealed with another key.
    pub async fn open(&self, id: &ConnectionId) -> Result<Option<Connection>, OpenError> {
        let Some(row) = self.store.connection_get(id).await? else { return Ok(None) };
        let open = |place: String, sealed: &Option<Vec<u8>>| {
            sealed.as_ref().map(|sealed| self.secrets.unseal(&place, sealed)).transpose()
        };
        let password = open(secrets::place::connection_password(id), &row.sealed_password)?;
        let extra = open(secrets::place::connection_extra(id), &row.sealed_extra)?;
        Ok(Some(Connection { row, password, extra }))
    }
}

impl Connection {
    /// The extra as JSON: null if there is none, or it is no JSON.
    pub fn extra(&self) -> Value {
        self.extra.as_ref().and_then(|extra| serde_json::from_str(extra.expose()).ok()).unwrap_or(Value::Null)
    }

    /// All that must not be read in a log: the password, the extra, and each text in it.
    pub fn secrets(&self) -> Vec<SecretString> {
        let mut secrets: Vec<_> = self.password.iter().chain(&self.extra).cloned().collect();
        texts(&mut secrets, self.extra());
        secrets
    }
}

/// Adds each text inside of a JSON value.
pub fn texts(secrets: &mut Vec<SecretString>, value: Value) {
    match value {
        Value::String(text) => secrets.push(text.into()),
        Value::Array(values) => values.into_iter().for_each(|value| texts(secrets, value)),
        Value::Object(fields) => fields.into_iter().for_each(|(_, value)| texts(secrets, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
