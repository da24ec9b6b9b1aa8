//! A secret stays with the place that it was given for.
//!
//! Who may say where a connection leads may not thereby read what it holds: a changed host with the password of before would send that
//! password to whoever made the change.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Connection;
use crate::secrets::{SecretString, sensitive_in};

/// Parts of the names of fields in an extra that say where a connection leads, or how safely.
const LEADING: &[&str] =
    &["url", "uri", "host", "endpoint", "server", "address", "domain", "proxy", "port", "ssl", "tls", "auth", "verify"];

/// Which secrets a change keeps as they are, without having been told them.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub password: bool,
    pub extra: bool,
}

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the connection would lead elsewhere with secrets that were given for where it leads now; give its password (and the secrets in its extra) anew, or clear them"
)]
pub struct SecretMoved;

/// Refuses to become `after` what `before` was, if that leads elsewhere and keeps a secret.
///
/// # Errors
/// If so.
pub fn refuse_moved_secret(before: &Connection, after: &Connection, kept: Kept) -> Result<(), SecretMoved> {
    let text = |secret: &Option<SecretString>| secret.as_ref().map_or("", SecretString::expose).to_owned();
    let keeps_password = kept.password && before.password.is_some() && after.password.is_some();
    let keeps_extra = kept.extra && after.extra.is_some() && !sensitive_in("extra", &text(&before.extra)).is_empty();
    if (keeps_password || keeps_extra) && leads_to(before) != leads_to(after) {
        return Err(SecretMoved);
    }
    Ok(())
}

/// All that decides where the secrets of a connection go.
fn leads_to(connection: &Connection) -> impl PartialEq + use<> {
    let row = &connection.row;
    let mut leading = BTreeMap::new();
    let extra = connection.extra.as_ref().and_then(|extra| serde_json::from_str(extra.expose()).ok());
    if let Some(Value::Object(extra)) = extra {
        let is_leading = |name: &str| LEADING.iter().any(|part| name.to_lowercase().contains(part));
        leading.extend(extra.into_iter().filter(|(name, _)| is_leading(name)));
    }
    (row.conn_type.clone(), row.host.clone(), row.port, row.schema.clone(), leading)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        model::{ids::ConnectionId, time::Timestamp},
        store::ConnectionRow,
    };

    fn connection(host: &str, port: u16, extra: &Value) -> Connection {
        let row = ConnectionRow {
            id: ConnectionId::new("shop").unwrap(),
            conn_type: "http".into(),
            description: None,
            host: Some(host.into()),
            schema: Some("https".into()),
            login: Some("ada".into()),
            port: Some(port),
            sealed_password: None,
            sealed_extra: None,
            updated_at: Timestamp::default(),
        };
        Connection { row, password: Some("pw".to_owned().into()), extra: Some(extra.to_string().into()) }
    }

    #[test]
    fn a_secret_is_not_sent_to_where_it_was_not_given_for() {
        let plain = json!({"timeout": 1, "client_secret": "s", "token_url": "https://a/token"});
        let before = connection("a.example", 443, &plain);
        let (all, none) = (Kept { password: true, extra: true }, Kept { password: false, extra: false });
        let mut downgraded = connection("a.example", 443, &plain);
        downgraded.row.schema = Some("http".into());
        for after in [
            connection("evil.example", 443, &plain),
            connection("a.example", 8443, &plain),
            connection("a.example", 443, &json!({"client_secret": "s", "token_url": "https://evil/token"})),
            downgraded,
        ] {
            assert_eq!(refuse_moved_secret(&before, &after, all), Err(SecretMoved));
            assert_eq!(refuse_moved_secret(&before, &after, Kept { password: false, ..all }), Err(SecretMoved));
            assert_eq!(refuse_moved_secret(&before, &after, Kept { extra: false, ..all }), Err(SecretMoved));
            assert_eq!(refuse_moved_secret(&before, &after, none), Ok(()), "all was given anew");
            let cleared = Connection { password: None, extra: None, ..after };
            assert_eq!(refuse_moved_secret(&before, &cleared, all), Ok(()), "nothing is left to send");
        }
        let other_timeout = json!({"timeout": 2, "client_secret": "s", "token_url": "https://a/token"});
        assert_eq!(refuse_moved_secret(&before, &connection("a.example", 443, &other_timeout), all), Ok(()));
        let open = Connection { password: None, ..connection("a.example", 443, &json!({"timeout": 1})) };
        assert_eq!(refuse_moved_secret(&open, &connection("b.example", 443, &json!({})), all), Ok(()), "it had none");
    }
}
