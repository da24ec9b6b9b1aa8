//! The metadata database: every line of SQL.
//!
//! It promises that a write which returned is on disk (with [`Synchronous::Full`]), that a write which failed
//! changed nothing, and that no call's cost grows with history. It decides nothing: which state follows which is
//! the engine's business.
//!
//! One connection writes, a few read. The hot path is [`Store::commit`]: all state changes of a tick in one
//! transaction and one call. Statements are files in `sql/`; those of `*.sqlite.sql` are for SQLite only.
//!
//! What is absent: object storage (rows hold keys, the room `blobs` the bytes) and secrets (columns `sealed*` are
//! what the room `secrets` made).

mod api_token;
mod approval;
mod asset;
mod backfill;
mod cached_result;
mod callback;
mod codec;
mod commit;
mod dag;
mod dag_permission;
mod dag_run;
mod data_key;
mod deletion;
mod error;
mod event_log;
mod filter;
mod grant;
mod import;
mod inventory;
mod log;
mod origin;
mod recording;
mod rendered;
mod retention;
mod rows;
mod settings;
mod task_instance;
mod wait;
mod webhook;
mod xcom;

use std::{
    io::Read as _,
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::{
    ConnectOptions as _, Sqlite, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, MutexGuard, Notify};

pub use api_token::{ApiTokenNew, ApiTokenRow};
pub use approval::{ApprovalFilter, ApprovalRow, WhichApprovals};
pub use asset::{AssetEventFilter, AssetEventRow, AssetReference, AssetRow, QueuedEvent};
pub use backfill::{BackfillId, BackfillNew, BackfillRow};
pub use cached_result::{CachedResult, CachedResultRow};
pub use callback::{CallbackNew, CallbackRow};
pub use commit::{
    AnswerNew, AssetEventNew, Commit, DagRunNew, DagRunUpdate, InstanceNew, InstanceUpdate, Placement, Renewal,
};
pub use dag::{DagFilter, DagOrder, Deploy, DeployedDag, TagMatch};
pub use dag_run::{DagRunFilter, DagRunOrder};
pub use data_key::{DataKeyRow, SealedCount, SealedPlace, SealedRow};
pub use error::StoreError;
pub use event_log::{EventFilter, EventNew, EventRow};
pub use filter::{Listed, MAX_PAGE, MAX_TOTAL, Order, Page, Range};
pub use grant::{DagGrantRow, GrantsChanged};
pub use import::{DagSettings, SettingsImport};
pub use inventory::{Inventory, KeptBlob, NamedBlob};
pub use origin::StartedRun;
pub use recording::RecordingRow;
pub use rendered::RenderedFieldsRow;
pub use retention::{EndedRun, LogsStep, RetentionSize};
pub use rows::*;
pub use task_instance::{TaskInstanceFilter, TaskInstanceOrder};
pub use webhook::WebhookRow;
pub use xcom::XComFilter;

/// When a commit is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// When it returns: it survives the loss of power.
    #[default]
    Full,
    /// Some time after it returned: it survives `kill -9`, but the last commits may be lost with the power.
    Normal,
}

/// Where the database is and how it is written.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The database's file, made if it is not there. Its folder must be.
    pub path: PathBuf,
    pub synchronous: Synchronous,
}

/// The metadata database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Mutex<Writer>,
    readers: SqlitePool,
    specs: dag::SpecCache,
    commit_texts: commit::Texts,
    /// Told when a commit brings callbacks.
    callbacks: Notify,
}

/// The connection that writes.
#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    /// A transaction may be open: a caller went away in its middle, or it failed.
    open_transaction: bool,
}

/// A transaction that no other writer interrupts. What it did is undone, before the next writer's turn at the latest, unless
/// [`Transaction::commit`] returned `Ok`.
///
/// It is not sqlx's: that counts the transactions that it began, and its count stays wrong after an error (a full disk) on
/// which SQLite rolls back by itself. From then on it begins none.
struct Transaction<'w> {
    writer: &'w mut Writer,
}

/// Read connections at most; each is a thread and a page cache while it is open.
const READERS: u32 = 4;
/// Rows that a connection's thread may be ahead of their reader: with few, reading thousands is mostly waking each other.
const ROW_BUFFER: usize = 2_048;
/// Pages of 4 KiB that the log holds before they are copied into the database.
const LOG_PAGES: u64 = 4_096;
/// The log's size then: 24 bytes before each page, 32 at its start.
const LOG_BYTES: u64 = LOG_PAGES * (4_096 + 24) + 32;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The schema's history: number, name, statements. What was released never changes.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../../../migrations/sqlite/0001_first.sql")),
    (2, "libraries", include_str!("../../../migrations/sqlite/0002_libraries.sql")),
    (3, "callbacks", include_str!("../../../migrations/sqlite/0003_callbacks.sql")),
    (10, "waits and origins", include_str!("../../../migrations/sqlite/0010_waits_and_origins.sql")),
    (11, "assets", include_str!("../../../migrations/sqlite/0011_assets.sql")),
    (12, "webhooks", include_str!("../../../migrations/sqlite/0012_webhooks.sql")),
    (13, "approvals", include_str!("../../../migrations/sqlite/0013_approvals.sql")),
    (20, "pause_reason", include_str!("../../../migrations/sqlite/0020_pause_reason.sql")),
    (21, "backfill", include_str!("../../../migrations/sqlite/0021_backfill.sql")),
    (30, "recordings", include_str!("../../../migrations/sqlite/0030_recordings.sql")),
    (31, "cached results", include_str!("../../../migrations/sqlite/0031_cached_results.sql")),
    (32, "retention", include_str!("../../../migrations/sqlite/0032_retention.sql")),
    (40, "rendered fields", include_str!("../../../migrations/sqlite/0040_rendered_fields.sql")),
    (50, "callbacks by runs", include_str!("../../../migrations/sqlite/0050_callbacks_by_runs.sql")),
    (60, "roles", include_str!("../../../migrations/sqlite/0060_roles.sql")),
    (61, "api tokens", include_str!("../../../migrations/sqlite/0061_api_tokens.sql")),
    (62, "event log", include_str!("../../../migrations/sqlite/0062_event_log.sql")),
    (63, "grants", include_str!("../../../migrations/sqlite/0063_grants.sql")),
    (64, "data keys", include_str!("../../../migrations/sqlite/0064_data_keys.sql")),
    (69, "event log retention", include_str!("../../../migrations/sqlite/0069_event_log_retention.sql")),
    (73, "dag permissions", include_str!("../../../migrations/sqlite/0073_dag_permissions.sql")),
    (74, "component signer", include_str!("../../../migrations/sqlite/0074_component_signer.sql")),
];

/// The numbers of the migrations that this version knows, and that a database which it has opened went through.
pub fn migrations() -> impl Iterator<Item = i64> {
    MIGRATIONS.iter().map(|(number, ..)| *number)
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(number, name, statements)| {
        let statements = sqlx::SqlSafeStr::into_sql_str(*statements);
        Migration::new(*number, (*name).into(), MigrationType::Simple, statements, false)
    });
    Migrator { migrations: migrations.collect::<Vec<_>>().into(), ..Migrator::DEFAULT }
}

impl Store {
    /// Opens the database, makes it if it is not there, and brings its schema up to date.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(&config.path)
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
            .synchronous(match config.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            })
            .pragma("journal_size_limit", "67108864")
            // Much log before it is copied into the database: fewer waits of the writer for the disk.
            .pragma("wal_autocheckpoint", LOG_PAGES.to_string())
            .pragma("cache_size", "-8192");
        let open_error = |source| StoreError::Open { path: config.path.clone(), source };
        let mut connection = write_options.connect().await.map_err(open_error)?;
        migrator().run(&mut connection).await.map_err(StoreError::Migrate)?;

        let readers = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(READERS)
            .test_before_acquire(false)
            .idle_timeout(Duration::from_mins(1))
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(options.read_only(true).pragma("cache_size", "-4096"));
        let writer = Mutex::new(Writer { connection, open_transaction: false });
        let specs = dag::SpecCache::default();
        Ok(Self {
            shared: Arc::new(Shared {
                path: config.path.clone(),
                writer,
                readers,
                specs,
                commit_texts: commit::Texts::default(),
                callbacks: Notify::new(),
            }),
        })
    }

    /// Gives the log its full size now. A commit that makes a file longer waits about twice as long for the disk as one that
    /// overwrites it, because the file system commits the new length too.
    ///
    /// SQLite reads a log up to the first frame whose checksum is wrong, so what follows may be zeros.
    pub async fn log_allocate(&self) -> Result<(), StoreError> {
        // Nobody writes meanwhile.
        let _writer = self.writer().await?;
        let path = self.log_path();
        let allocate = move || -> std::io::Result<()> {
            let mut log = std::fs::File::options().append(true).open(path)?;
            let missing = LOG_BYTES.saturating_sub(log.metadata()?.len());
            std::io::copy(&mut std::io::repeat(0).take(missing), &mut log)?;
            log.sync_all()
        };
        let done = tokio::task::spawn_blocking(allocate).await.map_err(std::io::Error::other).flatten();
        done.map_err(|error| StoreError::from(sqlx::Error::Io(error)))
    }

    /// How large the database is on disk with its log, in bytes. Reads nothing of it.
    pub fn size_bytes(&self) -> std::io::Result<u64> {
        let log = self.log_path().metadata().map_or(0, |log| log.len());
        Ok(self.shared.path.metadata()?.len() + log)
    }

    fn log_path(&self) -> PathBuf {
        let mut path = self.shared.path.clone().into_os_string();
        path.push("-wal");
        path.into()
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(self.readers()).await?;
        Ok(())
    }

    /// Waits for the calls under way and closes the database. Calls that come later fail.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        let mut writer = self.shared.writer.lock().await;
        // Left in the log, it would be copied into the database by the next start.
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut writer.connection).await;
    }

    fn readers(&self) -> &SqlitePool {
        &self.shared.readers
    }

    /// The write connection, with no transaction open.
    async fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let mut writer = self.shared.writer.lock().await;
        if writer.open_transaction {
            writer.rollback().await;
        }
        Ok(writer)
    }

    /// Runs `query` for its effect; returns how many rows it changed.
    async fn write(&self, query: Query<'_>) -> Result<u64, StoreError> {
        let mut writer = self.writer().await?;
        Ok(query.execute(&mut writer.connection).await?.rows_affected())
    }
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

impl Writer {
    async fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        self.open_transaction = true;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        Ok(Transaction { writer: self })
    }

    /// Undoes what was not committed.
    async fn rollback(&mut self) {
        // Refused if there is none, which is as good.
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
        self.open_transaction = false;
    }
}

impl Transaction<'_> {
    async fn commit(self) -> Result<(), StoreError> {
        sqlx::raw_sql("COMMIT").execute(&mut self.writer.connection).await?;
        self.writer.open_transaction = false;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.writer.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.writer.connection
    }
}

#[cfg(test)]
mod tests;
