//! Connections as people write them.

use percent_encoding::percent_decode_str;
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

/// Airflow's `conn-type://login:password@host:port/schema?key=value`; the query is `extra`. A host with a protocol has it in
/// front of the login: `conn-type://protocol://login:password@host`. Airflow: `Connection._parse_from_uri`. Browsers' rules
/// are others: they leave out usual ports, and know what a host may be.
fn from_uri(uri: &str) -> Result<ImportedConnection, String> {
    let (scheme, rest) = after_scheme(uri).ok_or("it is not a URI: it must begin as `conn-type://`")?;
    let (protocol, rest) = after_scheme(rest).map_or((None, rest), |(protocol, rest)| (Some(protocol), rest));
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (netloc, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, server) = netloc.rsplit_once('@').unwrap_or(("", netloc));
    let (login, password) = user.split_once(':').unwrap_or((user, ""));
    let (host, port) = host_and_port(server)?;

    let text = |text: &str| Some(unquoted(text)).filter(|text| !text.is_empty());
    let host = text(host).map(|host| match &protocol {
        Some(protocol) => format!("{protocol}://{host}"),
        None => host,
    });
    Ok(ImportedConnection {
        conn_type: if scheme == "postgresql" { "postgres".to_owned() } else { scheme.replace('-', "_") },
        description: None,
        login: text(login),
        password: text(password),
        host,
        port,
        schema: text(path),
        extra: extra_of(query)?,
    })
}

/// The scheme of `text` and what comes after its `://`.
fn after_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

/// The parts of `host:port`; an address of IPv6 stands in brackets, and keeps them.
fn host_and_port(server: &str) -> Result<(&str, Option<u16>), String> {
    let bracket = if server.starts_with('[') { server.find(']') } else { None };
    let end = bracket.map(|at| at + 1).or_else(|| server.find(':')).unwrap_or(server.len());
    let (host, after) = server.split_at(end);
    if matches!(after, "" | ":") {
        return Ok((host, None));
    }
    let digits = after.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port: u16 = digits.and_then(|port| port.parse().ok()).ok_or("its port is not one")?;
    Ok((host, Some(port)))
}

/// The extra in a query: its pairs, or the object in its `__extra__`.
fn extra_of(query: &str) -> Result<Option<String>, String> {
    let word = |text: &str| unquoted(&text.replace('+', " "));
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (word(key), Value::String(word(value)))
    };
    let mut extra: Map<String, Value> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    if let Some(Value::String(whole)) = extra.remove("__extra__") {
        extra = serde_json::from_str(&whole).map_err(|_| "its `__extra__` is not a JSON object".to_owned())?;
    }
    Ok(if extra.is_empty() { None } else { Some(Value::Object(extra).to_string()) })
}

/// `text` without its percent-encoding.
fn unquoted(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
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
    fn uris_are_read_as_airflow_writes_them() {
        for (uri, expected) in [
            (
                "http://u:p@h:80/https",
                json!({"conn_type": "http", "login": "u", "password": "p", "host": "h", "port": 80, "schema": "https"}),
            ),
            ("http://my_host:80/", json!({"conn_type": "http", "host": "my_host", "port": 80})),
            (
                "http://https://api.example.org:8443/x",
                json!({"conn_type": "http", "host": "https://api.example.org", "port": 8443, "schema": "x"}),
            ),
            (
                "http://https://me:p%3Aw@api.example.org/",
                json!({"conn_type": "http", "login": "me", "password": "p:w", "host": "https://api.example.org"}),
            ),
            ("http://http://h", json!({"conn_type": "http", "host": "http://h"})),
            (
                "aws://AKIA:secret%2Fx@/?region_name=eu",
                json!({"conn_type": "aws", "login": "AKIA", "password": "secret/x", "extra": r#"{"region_name":"eu"}"#}),
            ),
            (
                "aws://?endpoint_url=http://minio:9000&name=a+b%2B&empty=",
                json!({
                    "conn_type": "aws",
                    "extra": r#"{"endpoint_url":"http://minio:9000","name":"a b+","empty":""}"#
                }),
            ),
            ("http://https%3A%2F%2Fapi.example.org", json!({"conn_type": "http", "host": "https://api.example.org"})),
            ("http://user@h%40x", json!({"conn_type": "http", "login": "user", "host": "h@x"})),
            ("ftp://a@b:c@h", json!({"conn_type": "ftp", "login": "a@b", "password": "c", "host": "h"})),
            ("smtp://:pw@:25", json!({"conn_type": "smtp", "password": "pw", "port": 25})),
            ("PostgreSQL://h:/a%2Fb/c#part", json!({"conn_type": "postgres", "host": "h", "schema": "a/b/c"})),
            ("mysql://[::1]:3306", json!({"conn_type": "mysql", "host": "[::1]", "port": 3306})),
            (
                "google-cloud-platform://?__extra__=%7B%22n%22%3A+%7B%22a%22%3A+1%7D%7D&other=1",
                json!({"conn_type": "google_cloud_platform", "extra": r#"{"n":{"a":1}}"#}),
            ),
        ] {
            assert_eq!(ImportedConnection::parse(uri).map(|read| json!(read)), Ok(expected), "{uri}");
        }
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
            json!("http://h:p4ssw0rd"),
            json!("http://h:65536"),
            json!("http://[::1:p4ssw0rd"),
            json!("http://[::1]p4ssw0rd"),
            json!("no scheme://p4ssw0rd"),
            json!("x://h?__extra__=p4ssw0rd"),
            secret,
        ] {
            let why = ImportedConnection::new(bad).err().expect("it is refused");
            assert!(!why.contains("p4ssw0rd"), "{why}");
        }
        assert!(!ImportedConnection::parse("{\"password\": p4ssw0rd").err().unwrap().contains("p4ssw0rd"));
    }
}
