//! `variables` and `connections` of `wit/task.wit`.

use super::{Shared, invalid, over, storage_failed};
use crate::{
    connections as opened,
    executor::books::Attempt,
    model::{
        ids::{ConnectionId, VariableKey},
        template::ConnectionFacts,
    },
    secrets::{self, SecretString},
    vault::VaultError,
    wire::{Call, CallError, Connection, Reply},
};

pub(super) async fn variable(shared: &Shared, attempt: &Attempt, key: &str) -> Result<Reply, CallError> {
    let key = VariableKey::new(key).map_err(invalid)?;
    variable_text(shared, attempt, &key).await.map(Reply::Text)
}

/// The value of a variable that the attempt's dag was granted. It is hidden in all that the attempt says.
pub(in crate::executor) async fn variable_text(
    shared: &Shared,
    attempt: &Attempt,
    key: &VariableKey,
) -> Result<String, CallError> {
    attempt.assignment.permit(|grants| grants.allows_variable(key), || format!("variable:{key}"))?;
    let found = shared.vault.variable(key).await.map_err(failed)?;
    let value = found.ok_or_else(|| CallError::NotFound(format!("there is no variable `{key}`")))?;
    let text = value.expose().to_owned();
    hide(attempt, &Call::VariableGet { key: key.to_string() }, &Reply::Text(text.clone()))?;
    Ok(text)
}

/// What is no secret of a connection that the attempt's dag was granted.
pub(in crate::executor) async fn connection_facts(
    shared: &Shared,
    attempt: &Attempt,
    id: &ConnectionId,
) -> Result<ConnectionFacts, CallError> {
    attempt.assignment.permit(|grants| grants.allows_connection(id), || format!("connection:{id}"))?;
    let row = open(shared, id).await?.row;
    Ok(ConnectionFacts {
        conn_type: row.conn_type,
        host: row.host,
        schema: row.schema,
        login: row.login,
        port: row.port,
    })
}

pub(super) async fn connection(shared: &Shared, attempt: &Attempt, id: &str) -> Result<Reply, CallError> {
    let id = ConnectionId::new(id).map_err(invalid)?;
    attempt.assignment.permit(|grants| grants.allows_connection_secret(&id), || format!("connection-secret:{id}"))?;
    let opened::Connection { row, password, extra } = open(shared, &id).await?;
    let reply = Reply::Connection(Connection {
        id: id.to_string(),
        conn_type: row.conn_type,
        host: row.host,
        schema: row.schema,
        login: row.login,
        password: password.map(|password| password.expose().to_owned()),
        port: row.port,
        extra: extra.map(|extra| extra.expose().to_owned()),
    });
    hide(attempt, &Call::ConnectionGet { id: id.to_string() }, &reply)?;
    Ok(reply)
}

/// Connection `id` with its secrets, whatever the grants say.
pub async fn open(shared: &Shared, id: &ConnectionId) -> Result<opened::Connection, CallError> {
    match shared.connections.open(id).await {
        Ok(Some(connection)) => Ok(connection),
        Ok(None) => Err(CallError::NotFound(format!("there is no connection `{id}`"))),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: VaultError) -> CallError {
    match error {
        VaultError::Store(error) => storage_failed(&error),
        VaultError::Secrets(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a secret can't be opened");
            let text = "the server can't open what is stored; its operator finds the reason in its log";
            CallError::Unavailable(text.into())
        }
        VaultError::Backend(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a host call could not use a secret backend");
            CallError::Unavailable(error.to_string())
        }
    }
}

/// Hides what `reply` tells in all that the attempt says from now on.
fn hide(attempt: &Attempt, request: &Call, reply: &Reply) -> Result<(), CallError> {
    attempt.effects(|effects| effects.hide(hidden_in(request, reply), secret_in(request, reply))).ok_or_else(over)
}

/// What of a reply is masked in the log of the attempt that gets it: all of a variable, and what in it nobody is shown; the password
/// and the extra of a connection.
pub(in crate::executor) fn hidden_in(request: &Call, reply: &Reply) -> Vec<SecretString> {
    let mut hidden = Vec::new();
    match (request, reply) {
        (Call::VariableGet { key }, Reply::Text(text)) => {
            hidden.push(text.clone().into());
            hidden.extend(secrets::sensitive_in(key, text));
        }
        (_, Reply::Text(text)) => hidden.push(text.clone().into()),
        (_, Reply::Connection(Connection { password, extra, .. })) => {
            hidden.extend(password.iter().chain(extra).cloned().map(SecretString::from));
            if let Some(extra) = extra.as_deref().and_then(|extra| serde_json::from_str(extra).ok()) {
                opened::texts(&mut hidden, extra);
            }
        }
        _ => {}
    }
    hidden
}

/// What of a reply is in no recording: of a variable, only what nobody is shown either.
pub(in crate::executor) fn secret_in(request: &Call, reply: &Reply) -> Vec<SecretString> {
    match (request, reply) {
        (Call::VariableGet { key }, Reply::Text(text)) => secrets::sensitive_in(key, text),
        _ => hidden_in(request, reply),
    }
}

/// Hides `secrets`, which the attempt never gets, in all that it says and that is recorded of it from now on.
pub fn hide_all(attempt: &Attempt, secrets: Vec<SecretString>) -> Result<(), CallError> {
    attempt.effects(|effects| effects.hide(secrets.clone(), secrets)).ok_or_else(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_is_shown_of_a_variable_is_hidden_apart_from_the_rest_too() {
        let text = r#"{"user":"ann","password":"hunter22","tokens":["swordfish"]}"#;
        let hidden = hidden_in(&Call::VariableGet { key: "shop".into() }, &Reply::Text(text.into()));
        let hidden: Vec<_> = hidden.iter().map(SecretString::expose).collect();
        assert_eq!(hidden, [text, "hunter22", "swordfish"]);
    }
}
