//! Connections as the server uses them for others: opened, and with their credentials added to what is sent.
//!
//! Tasks and callbacks name a connection; what it holds stays here. It promises that a name leads to no address that
//! may not be connected to ([`Resolver`]). It leaves out who may use which connection, which is its callers' business, and
//! where connections are kept, which is the room `vault`'s.

mod bucket;
mod endpoint;
mod network;
mod tokens;

use serde_json::Value;

pub use self::{
    bucket::Bucket,
    endpoint::{Endpoint, EndpointError},
    network::{AddressRefused, LookupError, Lookups, Reach, Resolver, refused_literally, without_brackets},
};
pub use crate::vault::Connection;
use crate::{
    model::ids::ConnectionId,
    secrets::SecretString,
    vault::{Vault, VaultError},
};

/// Opens connections. Clones share what it keeps: tokens that other systems gave out.
#[derive(Debug, Clone)]
pub struct Connections {
    vault: Vault,
    tokens: tokens::Tokens,
}

impl Connections {
    pub fn new(vault: Vault) -> Self {
        Self { vault, tokens: tokens::Tokens::default() }
    }

    /// Connection `id` with its secrets; none if there is no such connection.
    ///
    /// # Errors
    /// If a place where it may be can't be asked, or its secrets can't be opened.
    pub async fn open(&self, id: &ConnectionId) -> Result<Option<Connection>, VaultError> {
        self.vault.connection(id).await
    }

    /// Takes note that `token` was refused where it was sent: it may have been taken back, and the next request gets another.
    pub fn forget(&self, token: &SecretString) {
        self.tokens.forget(token);
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

/// What extras say of how a system is spoken to, in words that logs have, too: hidden, they would be missing everywhere.
const WORDS: [&str; 13] = [
    "basic",
    "bearer",
    "disable",
    "disabled",
    "header",
    "oauth2",
    "prefer",
    "preferred",
    "require",
    "required",
    "sigv4",
    "verify-ca",
    "verify-full",
];

/// Adds each text inside of a JSON value, but for [`WORDS`].
pub fn texts(secrets: &mut Vec<SecretString>, value: Value) {
    match value {
        Value::String(text) if WORDS.contains(&text.to_ascii_lowercase().as_str()) => {}
        Value::String(text) => secrets.push(text.into()),
        Value::Array(values) => values.into_iter().for_each(|value| texts(secrets, value)),
        Value::Object(fields) => fields.into_iter().for_each(|(_, value)| texts(secrets, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_every_log_are_no_secrets() {
        let mut secrets = Vec::new();
        texts(
            &mut secrets,
            json!({"sslmode": "Require", "auth": "header", "headers": {"x-key": ["hush", "header-7"]}}),
        );
        let secrets: Vec<_> = secrets.iter().map(SecretString::expose).collect();
        assert_eq!(secrets, ["hush", "header-7"]);
    }
}
