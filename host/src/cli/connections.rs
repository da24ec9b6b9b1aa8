//! `airlock connections`.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    local::LocalArgs,
    login::ask_password,
    output::{self, Format, note},
    services::Vault,
    variables::{Existing, put, read_object},
};
use crate::{
    model::{ids::ConnectionId, time::Clock},
    secrets::place,
    store::{ConnectionRow, Page},
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
    /// Print all connections, with their secrets, as Airflow's JSON. Works on the data directory: the API shows no secrets.
    Export(LocalArgs),
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
    pub async fn run(self, client: impl FnOnce() -> Result<Client>, format: Format) -> Result<()> {
        match self {
            Self::List { limit } => {
                let connections = client()?.list(&["connections"], &[], "connections", limit).await?;
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
            Self::Get { id } => format.object(&client()?.get(&["connections", &id], &[]).await?),
            Self::Set(args) => args.run(&client()?).await,
            Self::Delete { id } => client()?.delete(&["connections", &id]).await,
            Self::Import { file, existing } => {
                let (client, connections) = (client()?, read(&file)?);
                let mut done = 0;
                for (id, connection) in &connections {
                    done += usize::from(put(&client, "connections", id, &connection.body(id), existing).await?);
                }
                note(&format!("{done} of {} connections imported", connections.len()));
                Ok(())
            }
            Self::Export(local) => export(&local.open().await?).await,
        }
    }
}

impl SetArgs {
    async fn run(self, client: &Client) -> Result<()> {
        let password =
            if self.password { Some(ask_password(&format!("Password of connection {}: ", self.id))?) } else { None };
        let connection = Connection {
            conn_type: self.conn_type,
            description: self.description,
            login: self.login,
            password,
            host: self.host,
            port: self.port,
            schema: self.schema,
            extra: self.extra.map(|extra| Value::Object(extra).to_string()),
        };
        put(client, "connections", &self.id, &connection.body(&self.id), Existing::Overwrite).await.map(|_| ())
    }
}

/// A connection as people write it, and as Airflow exports it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
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

impl Connection {
    /// One of Airflow's JSON: an object, or a URI. No message shows a value: it may be a secret.
    fn imported(value: Value) -> Result<Self, String> {
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

    /// The API's form.
    fn body(&self, id: &str) -> Value {
        let mut body = json!(self);
        body["connection_id"] = id.into();
        body
    }

    /// Stores it in the database itself.
    pub async fn put(self, id: &str, vault: &Vault) -> Result<()> {
        let id = ConnectionId::new(id).map_err(|error| CliError::new(Kind::Usage, error))?;
        let seal = |place: String, text: Option<String>| text.map(|text| vault.secrets.seal(&place, text.as_bytes()));
        let row = ConnectionRow {
            sealed_password: seal(place::connection_password(&id), self.password),
            sealed_extra: seal(place::connection_extra(&id), self.extra),
            id,
            conn_type: self.conn_type,
            description: self.description,
            host: self.host,
            schema: self.schema,
            login: self.login,
            port: self.port,
            updated_at: Clock.now(),
        };
        vault.store.connection_put(&row).await.or_fail(Kind::Failed, || "can't store the connection".into())
    }
}

const FIELDS: &[&str] = &["conn_type", "description", "login", "password", "host", "port", "schema", "extra"];

/// The connections in `file`; `-` is standard input.
pub fn read(file: &Path) -> Result<Vec<(String, Connection)>> {
    let read = |(id, value)| match Connection::imported(value) {
        Ok(connection) => Ok((id, connection)),
        Err(why) => Err(CliError::text(Kind::Usage, format!("connection `{id}` in `{}`: {why}", file.display()))),
    };
    read_object(file)?.into_iter().map(read).collect()
}

async fn export(vault: &Vault) -> Result<()> {
    let failed = || "can't read the connections".into();
    let mut all = Map::new();
    loop {
        let page = Page { limit: 1000, offset: u32::try_from(all.len()).unwrap_or(u32::MAX) };
        let rows = vault.store.connection_list(None, page).await.or_fail(Kind::Failed, failed)?.items;
        let is_last = rows.len() < 1000;
        for row in rows {
            let unseal = |place: String, sealed: Option<Vec<u8>>| {
                let open = |sealed: Vec<u8>| vault.secrets.unseal(&place, &sealed).map(|text| text.expose().to_owned());
                sealed.map(open).transpose().or_fail(Kind::Failed, failed)
            };
            let connection = Connection {
                password: unseal(place::connection_password(&row.id), row.sealed_password)?,
                extra: unseal(place::connection_extra(&row.id), row.sealed_extra)?,
                conn_type: row.conn_type,
                description: row.description,
                login: row.login,
                host: row.host,
                port: row.port,
                schema: row.schema,
            };
            all.insert(row.id.as_str().to_owned(), json!(connection));
        }
        if is_last {
            return output::print(&format!("{:#}\n", Value::Object(all)));
        }
    }
}

/// Airflow's `conn-type://login:password@host:port/schema?key=value`; the query is `extra`.
fn from_uri(uri: &str) -> Result<Connection, String> {
    let uri = Url::parse(uri).map_err(|error| format!("it is not a URI: {error}"))?;
    let text = |text: &str| {
        let text = percent_decode_str(text).decode_utf8_lossy().into_owned();
        if text.is_empty() { None } else { Some(text) }
    };
    let mut extra: Map<String, Value> =
        uri.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned().into())).collect();
    if let Some(Value::String(whole)) = extra.remove("__extra__") {
        extra = super::json_object(&whole).map_err(|_| "its `__extra__` is not a JSON object".to_owned())?;
    }
    Ok(Connection {
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
    use super::*;

    #[test]
    fn airflows_objects_and_uris_are_read() {
        let object = json!({"conn_type": "http", "host": "h", "port": "8080", "extra": {"a": 1}, "login": null});
        let expected = json!({
            "connection_id": "c", "conn_type": "http", "host": "h", "port": 8080, "extra": "{\"a\":1}"
        });
        assert_eq!(Connection::imported(object).unwrap().body("c"), expected);

        let uri = json!("google-cloud://me:p%40ss@db.example:5432/main?mode=ro");
        let expected = json!({
            "connection_id": "c", "conn_type": "google_cloud", "host": "db.example", "port": 5432, "schema": "main",
            "login": "me", "password": "p@ss", "extra": "{\"mode\":\"ro\"}"
        });
        assert_eq!(Connection::imported(uri).unwrap().body("c"), expected);
    }

    #[test]
    fn what_is_exported_is_imported_as_it_was() {
        let uri = json!("postgres://me:p%40ss@db.example:5432/main?mode=ro");
        let connection = Connection::imported(uri).unwrap();
        assert!(Connection::imported(json!(connection)).unwrap() == connection);
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
            let why = Connection::imported(bad).err().expect("it is refused");
            assert!(!why.contains("p4ssw0rd"), "{why}");
        }
    }
}
