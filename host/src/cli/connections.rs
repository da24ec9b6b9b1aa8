//! `airlock connections`.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, Result},
    login::ask_password,
    output::{Format, note},
    variables::{Existing, put, read_object},
};

#[derive(Debug, clap::Subcommand)]
pub enum ConnectionsCommand {
    /// List connections; secrets as `***`.
    List {
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Show a connection; secrets as `***`.
    Get { id: String },
    /// Create a connection, or change one.
    Set(Box<SetArgs>),
    /// Delete a connection.
    Delete { id: String },
    /// Create and change connections from Airflow's JSON: an object from id to the connection's fields, or to its URI.
    Import {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// What becomes of connections that exist.
        #[arg(long, value_enum, default_value_t)]
        existing: Existing,
    },
}

#[derive(Debug, clap::Args)]
pub struct SetArgs {
    id: String,
    #[arg(long = "type", value_name = "TYPE", default_value = "generic")]
    conn_type: String,
    #[arg(long)]
    host: Option<String>,
    #[arg(long)]
    schema: Option<String>,
    #[arg(long)]
    login: Option<String>,
    #[arg(long)]
    port: Option<u16>,
    /// Asks for the password, or reads a line of standard input: it stands in no command line.
    #[arg(long)]
    password: bool,
    /// A JSON object.
    #[arg(long, value_parser = super::json_object)]
    extra: Option<Map<String, Value>>,
    #[arg(long)]
    description: Option<String>,
}

impl ConnectionsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { limit } => {
                let connections = client.list(&["connections"], &[], "connections", limit).await?;
                format.list(
                    &connections,
                    &[
                        ("id", "/connection_id"),
                        ("type", "/conn_type"),
                        ("host", "/host"),
                        ("port", "/port"),
                        ("schema", "/schema"),
                        ("login", "/login"),
                        ("description", "/description"),
                    ],
                )
            }
            Self::Get { id } => format.object(&client.get(&["connections", &id], &[]).await?),
            Self::Set(args) => args.run(client).await,
            Self::Delete { id } => client.delete(&["connections", &id]).await,
            Self::Import { file, existing } => {
                let connections = read_object(&file)?;
                let mut done = 0;
                for (id, value) in &connections {
                    let connection = imported(id, value)
                        .map_err(|why| CliError::text(Kind::Usage, format!("connection `{id}`: {why}")))?;
                    done += usize::from(put(client, "connections", id, &connection, existing).await?);
                }
                note(&format!("{done} of {} connections imported", connections.len()));
                Ok(())
            }
        }
    }
}

impl SetArgs {
    async fn run(self, client: &Client) -> Result<()> {
        let mut body = json!({"connection_id": self.id, "conn_type": self.conn_type});
        let fields = [
            ("host", self.host.map(Value::from)),
            ("schema", self.schema.map(Value::from)),
            ("login", self.login.map(Value::from)),
            ("port", self.port.map(Value::from)),
            ("extra", self.extra.map(|extra| Value::Object(extra).to_string().into())),
            ("description", self.description.map(Value::from)),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                body[field] = value;
            }
        }
        if self.password {
            body["password"] = ask_password(&format!("Password of connection {}: ", self.id))?.into();
        }
        put(client, "connections", &self.id, &body, Existing::Overwrite).await.map(|_| ())
    }
}

/// The API's form of a connection of an Airflow export: an object, or a URI.
fn imported(id: &str, value: &Value) -> Result<Value, String> {
    let fields = match value {
        Value::Object(fields) => fields.clone(),
        Value::String(uri) => from_uri(uri)?,
        _ => return Err("it must be an object or a URI".into()),
    };
    let mut body = json!({"connection_id": id});
    for (field, value) in fields {
        let value = match (field.as_str(), value) {
            ("conn_id" | "connection_id" | "id", _) | (_, Value::Null) => continue,
            ("extra", Value::Object(extra)) => Value::Object(extra).to_string().into(),
            ("extra", Value::String(extra)) if extra.is_empty() => continue,
            ("port", Value::String(port)) => port.parse::<u16>().map_err(|_| format!("`{port}` is not a port"))?.into(),
            ("conn_type" | "description" | "host" | "schema" | "login" | "password" | "port" | "extra", value) => value,
            (other, _) => return Err(format!("`{other}` is not a field of a connection")),
        };
        body[field] = value;
    }
    if body.get("conn_type").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err("it has no `conn_type`".into());
    }
    Ok(body)
}

/// Airflow's `conn-type://login:password@host:port/schema?key=value`; the query is `extra`.
fn from_uri(uri: &str) -> Result<Map<String, Value>, String> {
    // The text may hold a password: no message shows it.
    let uri = Url::parse(uri).map_err(|error| format!("it is not a URI: {error}"))?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut fields = Map::new();
    let mut add = |field: &str, text: &str| {
        if !text.is_empty() {
            fields.insert(field.to_owned(), decode(text).into());
        }
    };
    add("conn_type", &uri.scheme().replace('-', "_"));
    add("login", uri.username());
    add("password", uri.password().unwrap_or_default());
    add("host", uri.host_str().unwrap_or_default());
    add("schema", uri.path().trim_start_matches('/'));
    if let Some(port) = uri.port() {
        fields.insert("port".into(), port.into());
    }
    let mut extra: Map<String, Value> =
        uri.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned().into())).collect();
    if let Some(Value::String(whole)) = extra.remove("__extra__") {
        extra = super::json_object(&whole).map_err(|why| format!("`__extra__`: {why}"))?;
    }
    if !extra.is_empty() {
        fields.insert("extra".into(), Value::Object(extra));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn airflows_objects_and_uris_are_read() {
        let object = json!({"conn_type": "http", "host": "h", "port": "8080", "extra": {"a": 1}, "login": null});
        let expected = json!({
            "connection_id": "c", "conn_type": "http", "host": "h", "port": 8080, "extra": "{\"a\":1}"
        });
        assert_eq!(imported("c", &object), Ok(expected));

        let uri = json!("google-cloud://me:p%40ss@db.example:5432/main?mode=ro");
        let expected = json!({
            "connection_id": "c", "conn_type": "google_cloud", "host": "db.example", "port": 5432, "schema": "main",
            "login": "me", "password": "p@ss", "extra": "{\"mode\":\"ro\"}"
        });
        assert_eq!(imported("c", &uri), Ok(expected));
    }

    #[test]
    fn what_is_not_a_connection_is_refused_without_showing_it() {
        for bad in [json!(1), json!({"host": "h"}), json!({"conn_type": "x", "hots": 1}), json!("p4ssw0rd")] {
            let why = imported("c", &bad).unwrap_err();
            assert!(!why.contains("p4ssw0rd"), "{why}");
        }
    }
}
