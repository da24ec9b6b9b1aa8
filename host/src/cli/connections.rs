//! `airlock connections`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    local::LocalArgs,
    login::ask_password,
    output::{self, Format, note},
    variables::{Existing, import, read_object, set},
};
use crate::{
    model::{ids::ConnectionId, time::Clock},
    secrets::{SecretString, place},
    store::{ConnectionRow, Like, Order, Page},
    vault::{ImportedConnection as Connection, Vault},
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
    /// Create a connection, or change one: what is not named stays. An empty text takes a field's value away.
    Set(Box<SetArgs>),
    /// Try a connection out: whether the system is reached, and lets us in.
    Test { id: String },
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
    /// Of a new one: generic, if it is left out.
    #[arg(long = "type", value_name = "TYPE")]
    conn_type: Option<String>,
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
            Self::Test { id } => {
                let tested = client()?.post(&["connections", &id, "test"], &json!({})).await?;
                let message = tested["message"].as_str().unwrap_or_default().to_owned();
                if tested["status"] == true {
                    note(&message);
                    return Ok(());
                }
                Err(CliError::text(Kind::Failed, format!("connection `{id}` can't be used: {message}")))
            }
            Self::Set(args) => args.run(&client()?).await,
            Self::Delete { id } => client()?.delete(&["connections", &id]).await,
            Self::Import { file, existing } => {
                let (client, connections) = (client()?, read(&file)?);
                let bodies = connections.iter().map(|(id, connection)| (id.as_str(), body(id, connection)));
                import(&client, "connections", bodies, existing).await
            }
            Self::Export(local) => export(&local.open().await?).await,
        }
    }
}

impl SetArgs {
    async fn run(self, client: &Client) -> Result<()> {
        let password =
            if self.password { Some(ask_password(&format!("Password of connection {}: ", self.id))?) } else { None };
        let id = self.id.clone();
        let (body, given) = self.into_body(password);
        set(client, "connections", &id, &body, &given).await
    }

    /// The API's form, and the fields that are given.
    fn into_body(self, password: Option<String>) -> (Value, Vec<&'static str>) {
        let given = [
            ("conn_type", self.conn_type.is_some()),
            ("description", self.description.is_some()),
            ("host", self.host.is_some()),
            ("login", self.login.is_some()),
            ("schema", self.schema.is_some()),
            ("port", self.port.is_some()),
            ("password", password.is_some()),
            ("extra", self.extra.is_some()),
        ];
        let given = given.into_iter().filter_map(|(field, is_given)| is_given.then_some(field)).collect();
        let text = |text: Option<String>| text.filter(|text| !text.is_empty());
        let connection = Connection {
            conn_type: self.conn_type.unwrap_or_else(|| "generic".to_owned()),
            description: text(self.description),
            login: text(self.login),
            password,
            host: text(self.host),
            port: self.port,
            schema: text(self.schema),
            extra: self.extra.map(|extra| Value::Object(extra).to_string()),
        };
        (body(&self.id, &connection), given)
    }
}

/// The API's form. It names all fields: one that is left out would stay what it is.
fn body(id: &str, connection: &Connection) -> Value {
    json!({
        "connection_id": id,
        "conn_type": connection.conn_type,
        "description": connection.description,
        "login": connection.login,
        "password": connection.password,
        "host": connection.host,
        "port": connection.port,
        "schema": connection.schema,
        "extra": connection.extra,
    })
}

/// Stores it in the database itself.
pub async fn store(id: &str, connection: Connection, vault: &Vault) -> Result<()> {
    let id = ConnectionId::new(id).map_err(|error| CliError::new(Kind::Usage, error))?;
    let seal = |place: String, text: Option<String>| text.map(|text| vault.secrets().seal(&place, text.as_bytes()));
    let row = ConnectionRow {
        sealed_password: seal(place::connection_password(&id), connection.password),
        sealed_extra: seal(place::connection_extra(&id), connection.extra),
        id,
        conn_type: connection.conn_type,
        description: connection.description,
        host: connection.host,
        schema: connection.schema,
        login: connection.login,
        port: connection.port,
        updated_at: Clock.now(),
    };
    vault.store().connection_put(&row).await.or_fail(Kind::Failed, || "can't store the connection".into())
}

/// The connections in `file`; `-` is standard input.
pub fn read(file: &Path) -> Result<Vec<(String, Connection)>> {
    let read = |(id, value)| match Connection::new(value) {
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
        let rows = vault
            .store()
            .connection_list(&Like::default(), Order::Ascending, page)
            .await
            .or_fail(Kind::Failed, failed)?
            .items;
        let is_last = rows.len() < 1000;
        for row in rows {
            let opened = vault.opened(row).or_fail(Kind::Failed, failed)?;
            let text = |secret: Option<SecretString>| secret.map(|secret| secret.expose().to_owned());
            let row = opened.row;
            let connection = Connection {
                password: text(opened.password),
                extra: text(opened.extra),
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
            return output::json(&Value::Object(all));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SetArgs,
    }

    #[test]
    fn what_is_not_named_is_not_among_the_fields_that_change() {
        let of = |words: &[&str], password: Option<&str>| {
            let line = Line::try_parse_from([&["set", "db"][..], words].concat()).unwrap();
            let (mut body, given) = line.args.into_body(password.map(str::to_owned));
            body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            (body, given)
        };
        assert_eq!(of(&[], None), (json!({"connection_id": "db", "conn_type": "generic"}), vec![]));
        let (body, given) = of(&["--login", "me", "--host", "", "--port", "5432"], Some("pw"));
        assert_eq!(
            body,
            json!({"connection_id": "db", "conn_type": "generic", "login": "me", "port": 5432, "password": "pw"}),
        );
        assert_eq!(given, ["host", "login", "port", "password"]);
        let (body, given) = of(&["--type", "postgres", "--extra", r#"{"a": 1}"#, "--description", "d"], None);
        assert_eq!((&body["conn_type"], &body["extra"]), (&json!("postgres"), &json!(r#"{"a":1}"#)));
        assert_eq!(given, ["conn_type", "description", "extra"]);
    }
}
