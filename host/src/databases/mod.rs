//! Databases of others, in which tasks run statements: PostgreSQL, MySQL and SQLite.
//!
//! It promises that a statement's answer is never whole in memory, that nothing of one session is seen by the next, and that
//! a session ends when nobody holds it, with what it began rolled back. It leaves out who may use which connection, which is
//! its callers' business.
//!
//! ```text
//! Session -- Command --> a task of its own, which has the connection -- relay --> the database
//! Rows    <-- batches --+
//! ```
//!
//! sqlx opens sockets by itself; here it opens one to a [relay](relay), which has looked the name up, knows which addresses may
//! be connected to, and cuts off what answers more than fits. SQLite has no server: its statements run in this process, so an
//! authorizer says what they may do.

mod mysql;
mod numeric;
mod pool;
mod postgres;
mod relay;
mod run;
mod session;
mod sqlite;
mod times;

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::session::{MAX_PARAMETER_BYTES, MAX_STATEMENT_BYTES, Rows, Session, Statement};
use self::{pool::Pool, relay::Relay};
use crate::connections::{Connection, Lookups, without_brackets};

/// Sessions in all.
const MAX_SESSIONS: usize = 128;
/// How long `open` waits until there are fewer.
const PLACE_TIMEOUT: Duration = Duration::from_mins(1);
/// From the first packet to the end of the sign-in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a database did not do what it was asked. Texts are for people; they hold what the database says, which may be anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The connection or the statement is not right.
    #[error("{0}")]
    Invalid(String),
    /// A host or a statement that nobody may use.
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    TooLarge(String),
    /// Another try may help.
    #[error("{0}")]
    Unavailable(String),
}

/// How databases are used.
#[derive(Debug, Clone, Default)]
pub struct DatabasesConfig {
    /// The folder of `SQLite`'s files; none: connections of that type can't be used.
    pub sqlite_folder: Option<PathBuf>,
}

/// Opens sessions. Clones share connections that are idle, and the limits.
#[derive(Debug, Clone)]
pub struct Databases {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: DatabasesConfig,
    lookups: Lookups,
    pool: Pool,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// All is to end.
    closing: CancellationToken,
}

/// What sort of database a connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Postgres,
    MySql,
    Sqlite,
}

/// Where a server listens and how to speak to it.
#[derive(Debug)]
struct Server<'a> {
    connection: &'a Connection,
    host: &'a str,
    port: u16,
    /// How much TLS, in the words of `PostgreSQL`'s `sslmode`.
    sslmode: SslMode,
    /// Certificates that are trusted beside the system's, as PEM.
    root_cert: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Databases {
    /// `tasks`: where what it spawns is waited for; `closing` ends it.
    pub fn new(config: DatabasesConfig, lookups: Lookups, tasks: TaskTracker, closing: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(MAX_SESSIONS));
        Self { shared: Arc::new(Shared { config, lookups, pool: Pool::default(), places, tasks, closing }) }
    }

    /// Opens a session by `connection`.
    ///
    /// # Errors
    /// If it is no database's, or the database can't be reached or does not let us in.
    pub async fn open(&self, connection: &Connection) -> Result<Session, DatabaseError> {
        let id = &connection.row.id;
        let kind = Kind::of(connection)?;
        let place = self.place().await?;
        let shared = &self.shared;
        match kind {
            Kind::Sqlite => sqlite::open(shared, connection, place).await,
            Kind::Postgres => {
                let server = Server::of(connection, 5432)?;
                let driver = match shared.pool.take(connection).await {
                    Some(idle) => idle,
                    None => connecting(id.as_str(), postgres::connect(shared, &server)).await?,
                };
                Ok(run::start(shared, driver, place))
            }
            Kind::MySql => {
                let server = Server::of(connection, 3306)?;
                let driver = connecting(id.as_str(), mysql::connect(shared, &server)).await?;
                Ok(run::start(shared, driver, place))
            }
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        match tokio::time::timeout(PLACE_TIMEOUT, Arc::clone(&self.shared.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(DatabaseError::Unavailable("too many connections to databases are open just now".into())),
        }
    }
}

async fn connecting<T>(id: &str, connect: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
    tokio::time::timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| {
        let limit_s = CONNECT_TIMEOUT.as_secs();
        Err(DatabaseError::Unavailable(format!("the database of connection `{id}` did not answer within {limit_s} s")))
    })
}

impl Kind {
    fn of(connection: &Connection) -> Result<Self, DatabaseError> {
        match connection.row.conn_type.as_str() {
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::MySql),
            "sqlite" => Ok(Self::Sqlite),
            other => Err(DatabaseError::Invalid(format!(
                "connection `{}` is of type `{other}`; statements run by those of type postgres, mysql or sqlite",
                connection.row.id
            ))),
        }
    }
}

impl<'a> Server<'a> {
    fn of(connection: &'a Connection, usual_port: u16) -> Result<Self, DatabaseError> {
        let row = &connection.row;
        let wrong = |what: &str| DatabaseError::Invalid(format!("connection `{}` {what}", row.id));
        let extra = connection.extra();
        if connection.extra.is_some() && !extra.is_object() {
            return Err(wrong("has an extra that is no JSON object"));
        }
        let text = |field: &str| extra.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let host = row.host.as_deref().filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?;
        if host.contains('/') {
            return Err(wrong("has a host that is no name; write the database's name as its schema"));
        }
        let sslmode = match text("sslmode").or(text("ssl_mode")).unwrap_or("prefer").to_ascii_lowercase().as_str() {
            "disable" | "disabled" => SslMode::Disable,
            "prefer" | "preferred" => SslMode::Prefer,
            "require" | "required" => SslMode::Require,
            "verify-ca" | "verify_ca" => SslMode::VerifyCa,
            "verify-full" | "verify_identity" => SslMode::VerifyFull,
            _ => {
                return Err(wrong(
                    "has an unknown `sslmode` in its extra; there are disable, prefer, require, verify-ca, verify-full",
                ));
            }
        };
        let root_cert = text("sslrootcert").or(text("ssl_ca")).map(ToOwned::to_owned);
        if root_cert.as_ref().is_some_and(|pem| !pem.trim_start().starts_with("-----BEGIN")) {
            return Err(wrong("has an `sslrootcert` that is no certificate; write the PEM itself, not where it is"));
        }
        let host = without_brackets(host);
        Ok(Self { connection, host, port: row.port.unwrap_or(usual_port), sslmode, root_cert })
    }

    /// A way to the server, by which one connection can be made.
    async fn relay(&self, shared: &Shared) -> Result<Relay, DatabaseError> {
        Relay::to(&shared.lookups, &shared.tasks, self.host, self.port).await
    }

    fn login(&self) -> Option<&'a str> {
        self.connection.row.login.as_deref().filter(|login| !login.is_empty())
    }

    fn database(&self) -> Option<&'a str> {
        self.connection.row.schema.as_deref().filter(|schema| !schema.is_empty())
    }
}

/// Why there is no connection: what the server says of the sign-in, or what was not reached.
fn not_connected(id: &str, error: &sqlx::Error) -> DatabaseError {
    match error {
        sqlx::Error::Database(said) => {
            DatabaseError::Unavailable(format!("the database of connection `{id}` refuses: {}", said.message()))
        }
        other => DatabaseError::Unavailable(format!("the database of connection `{id}` can't be reached: {other}")),
    }
}
