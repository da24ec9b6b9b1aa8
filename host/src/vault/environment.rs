//! Variables and connections in the server's environment: `AIRLOCK_VAR_NAME`, `AIRLOCK_CONN_ID`. Airflow: `AIRFLOW_VAR_`,
//! `AIRFLOW_CONN_`.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;

use super::{Backend, BackendError, Found, ImportedConnection};
use crate::{
    model::ids::{ConnectionId, VariableKey},
    secrets::SecretString,
};

/// What names of variables begin with.
pub const VARIABLE_PREFIX: &str = "AIRLOCK_VAR_";
/// What names of connections begin with.
pub const CONNECTION_PREFIX: &str = "AIRLOCK_CONN_";

/// The environment as it was at the start.
#[derive(Debug)]
pub struct Environment {
    values: BTreeMap<String, SecretString>,
}

impl Environment {
    /// Of the variables of an environment; none if there is nothing in it for us. What is not in upper case is not asked for, and so
    /// not ours.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Option<Self> {
        let ours = |name: &str| {
            let rest = name.strip_prefix(VARIABLE_PREFIX).or_else(|| name.strip_prefix(CONNECTION_PREFIX));
            rest.is_some_and(|rest| is_plain(rest) && !rest.bytes().any(|byte| byte.is_ascii_lowercase()))
        };
        let values: BTreeMap<_, _> = variables
            .into_iter()
            .filter(|(name, _)| ours(name))
            .map(|(name, value)| (name, SecretString::from(value)))
            .collect();
        (!values.is_empty()).then_some(Self { values })
    }

    /// The value for `name`.
    fn get(&self, prefix: &str, name: &str) -> Option<(String, &SecretString)> {
        let variable = format!("{prefix}{}", name.to_ascii_uppercase());
        let value = self.values.get(&variable).filter(|_| is_plain(name))?;
        Some((variable, value))
    }
}

/// Names with other characters than letters, digits and `_` have no value: two names must not share a variable, but for their case.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Backend for Environment {
    fn name(&self) -> &'static str {
        "the environment"
    }

    fn variable<'a>(&'a self, key: &'a VariableKey) -> BoxFuture<'a, Result<Option<SecretString>, BackendError>> {
        let found = self.get(VARIABLE_PREFIX, key.as_str()).map(|(_, value)| value.clone());
        Box::pin(std::future::ready(Ok(found)))
    }

    fn connection<'a>(
        &'a self,
        id: &'a ConnectionId,
    ) -> BoxFuture<'a, Result<Option<ImportedConnection>, BackendError>> {
        let found = self.get(CONNECTION_PREFIX, id.as_str()).map(|(variable, value)| {
            ImportedConnection::parse(value.expose()).map_err(|why| BackendError {
                what: format!("connection `{id}`"),
                place: self.name().to_owned(),
                why: format!("`{variable}`: {why}"),
            })
        });
        Box::pin(std::future::ready(found.transpose()))
    }

    fn list(&self) -> BoxFuture<'_, Result<Found, BackendError>> {
        let named = |prefix: &str| {
            self.values.keys().filter_map(|name| name.strip_prefix(prefix)).map(str::to_ascii_lowercase).collect()
        };
        let (variables, connections) = (named(VARIABLE_PREFIX), named(CONNECTION_PREFIX));
        let found = Found { variables, connections, is_partial: false, ignores_case: true };
        Box::pin(std::future::ready(Ok(found)))
    }
}
