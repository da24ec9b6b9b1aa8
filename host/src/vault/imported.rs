//! Connections as people write them.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A connection as people write it, and as Airflow exports it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedConnection {
    pub conn_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// A JSON object, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<String>,
}

impl ImportedConnection {
    /// One of Airflow's JSON: an object, or a URI. No message shows a value: it may be a secret.
    ///
    /// # Errors
    /// If it is neither.
    pub fn new(value: Value) -> Result<Self, String> {
        let mut fields = match value {
            Value::Object(fields) => fields,
            Value::String(uri) => return from_uri(&uri),
            _ => return Err("it must be an object or a URI".into()),
        };
        for id in ["conn_id", "connection_id", "id"] {
            fields.remove(id);
        }
        if let Some(extra @ Value::Object(_)) = fields.get("extra") {
            fields["extra"] = extra.to_string().into();
        }
        if let Some(Value::String(port)) = fields.get("port") {
            fields["port"] = port.parse::<u16>().map_err(|_| "its port is not one".to_owned())?.into();
        }
        if let Some(unknown) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            return Err(format!("`{unknown}` is not a field of a connection"));
        }
        let mut connection: Self = serde_json::from_value(Value::Object(fields))
            .map_err(|_| "a field is missing or of the wrong type".to_owned())?;
        if connection.conn_type.is_empty() {
            return Err("it has no `conn_type`".into());
        }
        connection.extra = connection.extra.filter(|extra| !extra.is_empty());
        Ok(connection)
    }

    /// One as text: JSON or a URI, as in Airflow's `AIRFLOW_CONN_*`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.starts_with('{') {
            return from_uri(text);
        }
        // The cause could show a piece of a secret.
        let value = serde_json::from_str(text).map_err(|_| "it begins as JSON and is none".to_owned())?;
        Self::new(value)
    }
}

const FIELDS: &[&str] = &["conn_type", "description", "login", "password", "host", "port", "schema", "extra"];

/// Airflow's `conn-type://login:password@host:port/schema?key=value`; the query is `extra`.
fn from_uri(uri: &str) -> Result<ImportedConnection, String> {
    let uri = Url::parse(uri).map_err(|error| format!("it is not a URI: {error}"))?;
    let text = |text: &str| {
        let text = percent_decode_str(text).decode_utf8_lossy().into_owned();
        if text.is_empty() { None } else { Some(text) }
    };
    let mut extra: Map<String, Value> =
        uri.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned().into())).collect();
    if let Some(Value::String(whole)) = extra.remove("__extra__") {
        extra = serde_json::from_str(&whole).map_err(|_| "its `__extra__` is not a JSON object".to_owned())?;
    }
    Ok(ImportedConnection {
        conn_type: uri.scheme().replace('-', "_"),
        description: None,
        login: text(uri.username()),
        password: text(uri.password().unwrap_or_default()),
        host: text(uri.host_str().unwrap_or_default()),
        port: uri.port(),
        schema: text(uri.path().trim_start_matches('/')),
        extra: if extra.is_empty() { None } else { Some(Value::Object(extra).to_string()) },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn airflows_objects_and_uris_are_read() {
        let object = json!({"conn_type": "http", "host": "h", "port": "8080", "extra": {"a": 1}, "login": null});
        let expected = json!({"conn_type": "http", "host": "h", "port": 8080, "extra": "{\"a\":1}"});
        assert_eq!(json!(ImportedConnection::new(object.clone()).unwrap()), expected);
        assert_eq!(json!(ImportedConnection::parse(&object.to_string()).unwrap()), expected);

        let uri = "google-cloud://me:p%40ss@db.example:5432/main?mode=ro";
        let expected = json!({
            "conn_type": "google_cloud", "host": "db.example", "port": 5432, "schema": "main",
            "login": "me", "password": "p@ss", "extra": "{\"mode\":\"ro\"}"
        });
        assert_eq!(json!(ImportedConnection::new(json!(uri)).unwrap()), expected);
        assert_eq!(json!(ImportedConnection::parse(&format!(" {uri}\n")).unwrap()), expected);
    }

    #[test]
    fn what_is_exported_is_imported_as_it_was() {
        let uri = json!("postgres://me:p%40ss@db.example:5432/main?mode=ro");
        let connection = ImportedConnection::new(uri).unwrap();
        assert!(ImportedConnection::new(json!(connection)).unwrap() == connection);
    }

    #[test]
    fn what_is_not_a_connection_is_refused_without_showing_it() {
        let secret = json!("p4ssw0rd");
        for bad in [
            json!(1),
            json!({"host": "h"}),
            json!({"conn_type": "x", "hots": 1}),
            json!({"conn_type": "x", "port": secret}),
            secret,
        ] {
            let why = ImportedConnection::new(bad).err().expect("it is refused");
            assert!(!why.contains("p4ssw0rd"), "{why}");
        }
        assert!(!ImportedConnection::parse("{\"password\": p4ssw0rd").err().unwrap().contains("p4ssw0rd"));
    }
}
