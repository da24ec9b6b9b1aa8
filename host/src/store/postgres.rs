//! What only PostgreSQL has: a server somewhere else, which may restart.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgPool, Row as _, SqlSafeStr as _, SqlStr,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};

use super::{
    StoreError, Synchronous,
    asked::{READ_LIMIT, Readers},
    commit,
    schema::{self, Age},
};

/// Connections of a process at most that read for itself, and as many for those who ask it.
const READERS: u32 = 8;
/// The oldest version that is supported.
const MIN_VERSION: i32 = 150_000;

/// What each connection sets, whatever is set for its role, the database or the server.
const SETTINGS: [(&str, &str); 7] = [
    ("jit", "off"),
    // A backslash is one.
    ("standard_conforming_strings", "on"),
    // A transaction sees the lease as it is when it has waited for its turn, and not as it was before.
    ("default_transaction_isolation", "read committed"),
    // Limits are for people: a commit or a backup that is too long for one would be so for ever.
    ("statement_timeout", "0"),
    ("transaction_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// Tells which history the database has: another one once a standby took its place, or a copy of it did, or a crash may have lost commits.
pub(super) const HISTORY: &str = include_str!("sql/history_get.postgres.sql");

/// How the connection that writes is opened.
#[derive(Debug, Clone)]
pub(super) struct WriterOptions {
    options: PgConnectOptions,
    /// See [`settings`].
    settings: SqlStr,
    /// Whose presence it shows.
    holder: Option<String>,
    /// [`HISTORY`] as it was when this process began to lead. None before, and where the server does not tell it.
    pub history: Option<String>,
}

/// The database, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub options: WriterOptions,
    /// The connection that writes.
    pub connection: PgConnection,
    pub readers: Readers<PgPool>,
    /// Its schema is older than this version's, and processes that may be at work share it: whoever leads brings it up to date.
    pub is_behind: bool,
}

/// The database's connections: one that writes, and those that read.
///
/// `url`: as libpq takes it, `postgres://user:password@host:port/database?sslmode=verify-full`.
pub(super) async fn open(url: &str, synchronous: Synchronous) -> Result<Opened, StoreError> {
    let options = options_of(url).map_err(StoreError::NotAnAddress)?;
    let place = place_of(&options);
    let open_error = |source| StoreError::Open { place: place.clone(), source };
    let options = without_brackets(options)
        .disable_statement_logging()
        .application_name("airlock")
        // Poolers refuse it, and no number is read from a text.
        .extra_float_digits(None::<i8>);
    let durable = ("synchronous_commit", if synchronous == Synchronous::Full { "on" } else { "off" });
    let for_writer = settings(&[
        durable,
        // One that was stopped in the middle of a transaction must not keep others waiting for its locks.
        ("idle_in_transaction_session_timeout", "10s"),
        // What is written is found by its key, however many rows the planner believes that there are.
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ]);
    let readers = |settings: SqlStr| {
        PgPoolOptions::new()
            .min_connections(0)
            .max_connections(READERS)
            .idle_timeout(Duration::from_mins(5))
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(move |connection, _| Box::pin(set(connection, settings.clone())))
            .connect_lazy_with(options.clone())
    };
    let limit = READ_LIMIT.as_millis().to_string();
    let readers = Readers {
        asked: readers(settings(&[durable, ("statement_timeout", limit.as_str())])),
        own: readers(settings(&[durable])),
    };
    let mut connection = options.connect().await.map_err(open_error)?;
    if is_lent(&mut connection, &readers.own).await.map_err(open_error)? {
        return Err(StoreError::Lent);
    }
    set(&mut connection, for_writer.clone()).await.map_err(open_error)?;
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&mut connection)
        .await
        .map_err(open_error)?;
    if version < MIN_VERSION {
        return Err(StoreError::TooOld { found: version / 10_000, wanted: MIN_VERSION / 10_000 });
    }
    let age = schema::postgres_age(&mut connection).await.map_err(open_error)?;
    let is_behind = age == Age::Older { is_shared: true };
    if !is_behind {
        schema::update_postgres(&mut connection, None).await?;
    }
    make_function(&mut connection).await.map_err(open_error)?;
    let options = WriterOptions { options, settings: for_writer, holder: None, history: None };
    Ok(Opened { options, connection, readers, is_behind })
}

/// The statement by which a connection sets [`SETTINGS`] and then `others`, but for those that an older server does not know. In the message
/// that begins a session, a pooler would refuse them.
fn settings(others: &[(&str, &str)]) -> SqlStr {
    let rows: Vec<_> = SETTINGS.iter().chain(others).map(|(name, value)| format!("('{name}', '{value}')")).collect();
    let statement = format!(
        "SELECT set_config(name, value, false) FROM (VALUES {}) AS wanted (name, value) \
         WHERE current_setting(name, true) IS NOT NULL",
        rows.join(", ")
    );
    AssertSqlSafe(statement).into_sql_str()
}

async fn set(connection: &mut PgConnection, settings: SqlStr) -> sqlx::Result<()> {
    sqlx::raw_sql(settings).execute(connection).await.map(drop)
}

/// Whether a pooler lends the server's connections for a transaction, or a statement, to whoever comes next: what is prepared, set or
/// locked by one is another one's then.
async fn is_lent(connection: &mut PgConnection, readers: &PgPool) -> sqlx::Result<bool> {
    let mut other = readers.acquire().await?;
    let (first, second) = (backend(connection).await?, backend(&mut other).await?);
    Ok(first == second || first != backend(connection).await?)
}

/// What serves `connection`, asked without a statement that is prepared.
async fn backend(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Where a database is, for people: `database@host:port`.
fn place_of(options: &PgConnectOptions) -> String {
    format!("{}@{}:{}", options.get_database().unwrap_or_default(), options.get_host(), options.get_port())
}

/// sqlx takes the address of any service for one of PostgreSQL. Airflow's `postgresql+psycopg2://` is one.
fn options_of(url: &str) -> sqlx::Result<PgConnectOptions> {
    let refused = |why: &str| Err(sqlx::Error::Configuration(why.into()));
    if !url.starts_with("postgres") {
        return refused("it does not begin with `postgres://`");
    }
    // libpq asks several servers one after another; sqlx takes them for one name.
    let servers = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit('@').next());
    if servers.is_some_and(|servers| servers.contains(',')) {
        return refused("it names several servers; name one address, which follows the primary");
    }
    url.parse()
}

/// In a URL an address of IPv6 has brackets, with which neither the system nor TLS knows it; sqlx hands them on.
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let address = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    match address {
        Some(address) => options.host(&address),
        None => options,
    }
}

impl WriterOptions {
    /// Which database it is, for people.
    pub(super) fn place(&self) -> String {
        place_of(&self.options)
    }

    /// Another connection, after the earlier one was lost.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] if the database has another history than the one that this process leads: then the lease is given back.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let mut connection = self.options.connect().await?;
        set(&mut connection, self.settings.clone()).await?;
        if let (Some(led), Some(holder)) = (&self.history, &self.holder) {
            let history: String = sqlx::query_scalar(HISTORY).fetch_one(&mut connection).await?;
            if history != *led {
                tell_replaced();
                let release = sqlx::query(include_str!("sql/lease_release.postgres.sql")).bind(holder);
                release.execute(&mut connection).await?;
                return Err(StoreError::Fenced);
            }
        }
        make_function(&mut connection).await?;
        if let Some(holder) = &self.holder {
            show(&mut connection, holder).await?;
        }
        Ok(connection)
    }

    /// Shows the presence of `holder` by `connection`, and by those that will come after it.
    pub(super) async fn show_presence(&mut self, connection: &mut PgConnection, holder: &str) -> sqlx::Result<()> {
        self.holder = Some(holder.to_owned());
        show(connection, holder).await
    }
}

/// What this process holds in memory may follow from commits that are gone.
pub(super) fn tell_replaced() {
    tracing::error!(
        "the database was replaced by a standby or a copy, or it crashed, and its last commits may be lost: this process leads no more"
    );
}

async fn make_function(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(commit::postgres_function())).execute(connection).await.map(drop)
}

/// By a lock that ends with the connection, and so with its process, whatever that comes to. It is shared: an earlier connection that was
/// cut may still be there for the server.
async fn show(connection: &mut PgConnection, holder: &str) -> sqlx::Result<()> {
    sqlx::query(include_str!("sql/lease_show.postgres.sql")).bind(holder).execute(connection).await.map(drop)
}

/// Whether the server still answers on this connection.
pub(super) async fn answers(connection: &mut PgConnection) -> bool {
    connection.ping().await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_postgresql_is_refused() {
        for url in ["postgres://u:p%40,s@h/db", "postgresql://u:p@h/db", "postgresql+psycopg2://u:p@h/db"] {
            assert_eq!(options_of(url).unwrap().get_host(), "h", "{url}");
        }
        for url in
            ["sqlite:////var/lib/airlock.db", "mysql://u:p@h/db", "/var/lib/airlock.db", "postgres://u:p#ss@h/db"]
        {
            let error = StoreError::NotAnAddress(options_of(url).expect_err(url));
            assert!(error.to_string().contains("`%23` for `#`"), "{error}");
        }
        for url in ["postgres://u:p@one:5432,two:5432/db", "postgres://one,two/db?target_session_attrs=read-write"] {
            assert!(options_of(url).expect_err(url).to_string().contains("several servers"));
        }
    }

    #[test]
    fn an_address_of_ipv6_has_no_brackets_behind_its_url() {
        for (url, host) in [
            ("postgres://u:p@[::1]:5432/db?sslmode=verify-full", "::1"),
            ("postgres://u:p@db.example.org/db", "db.example.org"),
            ("postgres://u:p@127.0.0.1/db", "127.0.0.1"),
        ] {
            assert_eq!(without_brackets(url.parse().unwrap()).get_host(), host);
        }
    }
}
