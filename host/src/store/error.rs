//! What can go wrong with the database, by what the caller can do about it.

use std::path::PathBuf;

/// Why the database did not do what it was asked. A failed write changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("can't open the database `{path}`; check that its folder exists and can be written")]
    Open {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    #[error("can't bring the database to this version's schema; was it made by a newer airlock?")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A row that should be changed is not there (any more).
    #[error("a row that should be changed is not in the database")]
    Stale,
    /// A unique name, date or key is taken.
    #[error("it exists already: {0}")]
    Conflict(String),
    /// Busy, disk full, I/O error: the same call may work later.
    #[error("the database can't be used right now")]
    Unavailable(#[source] sqlx::Error),
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
            Self::Unavailable(_) => true,
            Self::Open { .. }
            | Self::Migrate(_)
            | Self::Stale
            | Self::Conflict(_)
            | Self::Corrupt(_)
            | Self::Refused(_) => false,
        }
    }

    pub(super) fn corrupt(error: impl Into<sqlx::error::BoxDynError>) -> Self {
        Self::Corrupt(error.into())
    }
}

/// SQLite's primary result codes that say something about the disk or the moment, not about the statement:
/// BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN.
const TRANSIENT_CODES: [i32; 8] = [5, 6, 7, 8, 9, 10, 13, 14];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { source, .. } | sqlx::Error::Decode(source) => Self::Corrupt(source),
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                Self::Conflict(database.message().to_owned())
            }
            sqlx::Error::Database(database) if database.message().ends_with("rows_are_there") => Self::Stale,
            sqlx::Error::Database(database) => {
                let code = database.code().and_then(|code| code.parse::<i32>().ok());
                let transient = code.is_some_and(|code| TRANSIENT_CODES.contains(&(code & 0xff)));
                let error = sqlx::Error::Database(database);
                if transient { Self::Unavailable(error) } else { Self::Refused(error) }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error),
            other => Self::Refused(other),
        }
    }
}
