//! What can go wrong with the database, by what the caller can do about it.

/// Why the database did not do what it was asked. A failed write changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("can't open the database `{place}`; check that it is there and can be written")]
    Open {
        /// A path, or database, host and port.
        place: String,
        #[source]
        source: sqlx::Error,
    },
    /// It holds a password, and is not shown.
    #[error(
        "`database.url` is no address of PostgreSQL; write it as `postgres://user:password@host/database`, in the password `%40` for `@`, `%2F` \
         for `/`, `%23` for `#`"
    )]
    NotAnAddress(#[source] sqlx::Error),
    #[error("PostgreSQL {found} is too old; {wanted} or newer is needed")]
    TooOld { found: i32, wanted: i32 },
    #[error(
        "a pooler before PostgreSQL lends connections for a transaction or a statement; let it pool sessions (pgbouncer: `pool_mode = session`), or \
         name PostgreSQL itself in `database.url`"
    )]
    Lent,
    #[error("the database has dags or users already; a database is moved into an empty one only")]
    NotEmpty,
    #[error("a database is moved from a file of SQLite to PostgreSQL")]
    NotPostgres,
    /// What is in it does not fit together, or is none of it.
    #[error(
        "the database is damaged, or is none; restore a backup (`airlock restore`), or save what can be read with the database's own tools"
    )]
    Damaged(#[source] sqlx::Error),
    #[error(
        "the database `{place}` was moved to `{to}`, where all has gone on since; name that one by AIRLOCK_DATABASE_URL (database.url), or run \
         `airlock db take-back` to go on with this one as it was then"
    )]
    Moved {
        place: String,
        /// Database, host and port.
        to: String,
    },
    /// Another process leads, and does what this one would have done.
    #[error("another process schedules by now")]
    Fenced,
    #[error("can't bring the database to this version's schema")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Its schema is of a version that is not known here.
    #[error(
        "the database has schema {found} of a newer airlock, and this one knows those up to {known}; start the newer one, or restore a backup \
         that this one made"
    )]
    Newer { found: i64, known: i64 },
    /// Several processes share it, and none of this version has led yet.
    #[error(
        "the database has the schema of an older airlock; start `airlock serve` of this version, which brings it up to date when it leads"
    )]
    Behind,
    /// A row that should be changed is not there (any more).
    #[error("a row that should be changed is not in the database")]
    Stale,
    /// A unique name, date or key is taken.
    #[error("it exists already: {0}")]
    Conflict(String),
    /// A standby, for now, or a setting of the role or the database.
    #[error(
        "the database can only be read; name the primary in `database.url`, or see what sets `default_transaction_read_only`"
    )]
    ReadOnly(#[source] sqlx::Error),
    /// Busy, disk full, I/O error: the same call may work later.
    #[error("the database can't be used right now")]
    Unavailable(#[source] sqlx::Error),
    /// It reads for a request, and would have taken too long.
    #[error(
        "the database did not find this within 20 seconds; ask for less: fewer days, one dag, or names without wildcards"
    )]
    TooSlow(#[source] sqlx::Error),
    /// A row does not read as what it must be.
    #[error("the database holds a row that can't be read")]
    Corrupt(#[source] sqlx::error::BoxDynError),
    /// The statement is wrong for this database: a bug.
    #[error("the database refused a statement")]
    Refused(#[source] sqlx::Error),
}

impl StoreError {
    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::ReadOnly(_) => true,
            Self::Open { .. }
            | Self::NotAnAddress(_)
            | Self::TooOld { .. }
            | Self::Lent
            | Self::NotEmpty
            | Self::Fenced
            | Self::NotPostgres
            | Self::Moved { .. }
            | Self::Damaged(_)
            | Self::Migrate(_)
            | Self::Newer { .. }
            | Self::Behind
            | Self::Stale
            | Self::Conflict(_)
            | Self::TooSlow(_)
            | Self::Corrupt(_)
            | Self::Refused(_) => false,
        }
    }

    pub(super) fn corrupt(error: impl Into<sqlx::error::BoxDynError>) -> Self {
        Self::Corrupt(error.into())
    }
}

/// SQLite's primary result codes that say something about the disk or the moment, not about the statement:
/// BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN.
const TRANSIENT_CODES: [i32; 7] = [5, 6, 7, 8, 10, 13, 14];
/// Of a file that is damaged: CORRUPT, NOTADB.
const DAMAGED_CODES: [i32; 2] = [11, 26];
/// PostgreSQL's `data_corrupted` and `index_corrupted`.
const DAMAGED_STATES: [&str; 2] = ["XX001", "XX002"];
/// PostgreSQL's classes of such codes: connection, user or database that is refused one, transaction rollback (serialization, deadlock), resources,
/// object in use, intervention of an operator, system. <https://www.postgresql.org/docs/15/errcodes-appendix.html>
const TRANSIENT_CLASSES: [&str; 8] = ["08", "28", "3D", "40", "53", "55", "57", "58"];
/// The constraint that fails where another process leads.
const LEADS: &str = "scheduler_leads";
/// The constraint that fails where rows to be changed are not there.
const GUARD: &str = "rows_are_there";
/// PostgreSQL's `read_only_sql_transaction`.
pub(super) const READ_ONLY: &str = "25006";

/// SQLite's `INTERRUPT`, and PostgreSQL's `query_canceled`.
const TOO_SLOW: [&str; 2] = ["9", "57014"];

pub(super) fn is_transient(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class));
    }
    code.parse::<i32>().is_ok_and(|code| TRANSIENT_CODES.contains(&(code & 0xff)))
}

pub(super) fn is_damaged(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return DAMAGED_STATES.contains(&&*code);
    }
    code.parse::<i32>().is_ok_and(|code| DAMAGED_CODES.contains(&(code & 0xff)))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { source, .. } | sqlx::Error::Decode(source) => Self::Corrupt(source),
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                Self::Conflict(database.message().to_owned())
            }
            sqlx::Error::Database(database)
                if database.constraint() == Some(GUARD) || database.message().ends_with(GUARD) =>
            {
                Self::Stale
            }
            sqlx::Error::Database(database) if database.constraint() == Some(LEADS) => Self::Fenced,
            sqlx::Error::Database(database) if database.code().as_deref() == Some(READ_ONLY) => {
                Self::ReadOnly(sqlx::Error::Database(database))
            }
            sqlx::Error::Database(database)
                if database.code().is_some_and(|code| TOO_SLOW.contains(&code.as_ref())) =>
            {
                Self::TooSlow(sqlx::Error::Database(database))
            }
            sqlx::Error::Database(database) if is_damaged(&*database) => Self::Damaged(sqlx::Error::Database(database)),
            sqlx::Error::Database(database) if is_transient(&*database) => {
                Self::Unavailable(sqlx::Error::Database(database))
            }
            // Of a server that is going away, or something before it, in the middle of a word.
            sqlx::Error::Protocol(_)
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            other => Self::Refused(other),
        }
    }
}
