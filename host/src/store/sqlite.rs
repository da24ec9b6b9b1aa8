//! What only SQLite has: a file with a log, and space that deletions leave free in it.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    ConnectOptions as _, Connection as _, SqlitePool,
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

use super::{
    StoreError, Synchronous,
    asked::{READ_LIMIT, Readers},
    error, schema,
};

/// Connections at most that read for the process itself, and as many for those who ask it; each is a thread and a page cache while it is open.
const READERS: u32 = 4;
/// Rows that a connection's thread may be ahead of their reader: with few, reading thousands is mostly waking each other.
const ROW_BUFFER: usize = 2_048;
/// Pages of 4 KiB that the log holds before they are copied into the database.
const LOG_PAGES: u64 = 4_096;
/// The log's size then: 24 bytes before each page, 32 at its start.
pub(super) const LOG_BYTES: u64 = LOG_PAGES * (4_096 + 24) + 32;
/// Instructions of SQLite's machine after which it is looked at the clock: a millisecond or less.
const LOOK_AFTER: i32 = 10_000;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages that a step gives back to the file system: 1 MiB.
const VACUUM_PAGES: i64 = 256;
/// Free pages that stay, because they will be needed again: 4 MiB, or a tenth of the file.
const MIN_FREE_PAGES: i64 = 1_024;

/// The file's connections: one that writes, and those that read.
pub(super) async fn open(
    path: &Path,
    synchronous: Synchronous,
) -> Result<(SqliteConnection, Readers<SqlitePool>), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|id| format!("store-{id}"))
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging();
    let write_options = options
        .clone()
        .create_if_missing(true)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .synchronous(match synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .pragma("journal_size_limit", "67108864")
        // Much log before it is copied into the database: fewer waits of the writer for the disk.
        .pragma("wal_autocheckpoint", LOG_PAGES.to_string())
        // Views, see `commit::Calls`.
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-8192");
    let open_error = |source: sqlx::Error| {
        if let Some(database) = source.as_database_error()
            && error::is_damaged(database)
        {
            return StoreError::Damaged(source);
        }
        StoreError::Open { place: path.display().to_string(), source }
    };
    if path.exists() {
        // Before anything is set, which would be written already.
        let mut connection = options.clone().connect().await.map_err(open_error)?;
        schema::sqlite_age(&mut connection).await.map_err(open_error)?.refuse_newer()?;
        connection.close().await.map_err(open_error)?;
    }
    let mut connection = write_options.connect().await.map_err(open_error)?;
    schema::update_sqlite(&mut connection).await?;
    let options = options.read_only(true).pragma("cache_size", "-4096");
    let readers = SqlitePoolOptions::new()
        .min_connections(0)
        .max_connections(READERS)
        .test_before_acquire(false)
        .idle_timeout(Duration::from_mins(1))
        .acquire_timeout(Duration::from_secs(10));
    let asked = readers
        .clone()
        .after_connect(|connection, _| Box::pin(begin(connection)))
        .before_acquire(|connection, _| Box::pin(async { begin(connection).await.map(|()| true) }));
    let readers = Readers { own: readers.connect_lazy_with(options.clone()), asked: asked.connect_lazy_with(options) };
    Ok((connection, readers))
}

/// What is read by this connection from now on ends after [`READ_LIMIT`].
async fn begin(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let until = Instant::now() + READ_LIMIT;
    connection.lock_handle().await?.set_progress_handler(LOOK_AFTER, move || Instant::now() < until);
    Ok(())
}

pub(super) fn log_path(database: &Path) -> PathBuf {
    let mut path = database.to_owned().into_os_string();
    path.push("-wal");
    path.into()
}

/// Gives the log its full size now. A commit that makes a file longer waits about twice as long for the disk as one that
/// overwrites it, because the file system commits the new length too.
///
/// SQLite reads a log up to the first frame whose checksum is wrong, so what follows may be zeros. Nobody may write meanwhile.
pub(super) async fn log_allocate(database: &Path) -> Result<(), StoreError> {
    let path = log_path(database);
    let allocate = move || -> std::io::Result<()> {
        let mut log = std::fs::File::options().append(true).open(path)?;
        let missing = LOG_BYTES.saturating_sub(log.metadata()?.len());
        std::io::copy(&mut std::io::repeat(0).take(missing), &mut log)?;
        log.sync_all()
    };
    let done = tokio::task::spawn_blocking(allocate).await.map_err(std::io::Error::other).flatten();
    done.map_err(|error| StoreError::from(sqlx::Error::Io(error)))
}

/// A step of giving free pages back to the file system; whether there are more to give.
pub(super) async fn vacuum_step(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
    let all: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *connection).await?;
    let keep = MIN_FREE_PAGES.max(all / 10);
    if free <= keep {
        return Ok(false);
    }
    let pages = VACUUM_PAGES.min(free - keep);
    let statement = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"));
    sqlx::query(statement).execute(connection).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_no_database_is_told_as_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("airlock.db");
        std::fs::write(&path, "x".repeat(100_000)).unwrap();
        assert!(matches!(open(&path, Synchronous::Full).await, Err(StoreError::Damaged(_))));
    }
}
