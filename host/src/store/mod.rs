//! The metadata database: every line of SQL.
//!
//! It promises that a write which returned is on disk (with [`Synchronous::Full`]), that a write which failed
//! changed nothing, and that no call's cost grows with history. It decides nothing: which state follows which is
//! the engine's business.
//!
//! One connection writes, a few read; those that read for requests end what takes too long ([`asked`]). The hot path is
//! [`Store::commit`]: all state changes of a tick in one transaction and one call. Statements are files in `sql/`, the same for both databases but for those of `*.sqlite.sql` and
//! `*.postgres.sql`; `db` runs them on either.
//!
//! What is absent: object storage (rows hold keys, the room `blobs` the bytes) and secrets (columns `sealed*` are
//! what the room `secrets` made).

mod api_token;
mod approval;
mod asked;
mod asset;
mod audit;
mod backfill;
mod cached_result;
mod calendar;
mod callback;
mod codec;
mod commit;
mod commit_again;
mod component;
mod dag;
mod dag_numbers;
mod dag_permission;
mod dag_run;
mod data_key;
mod db;
mod deletion;
mod error;
mod event_log;
mod favorite;
mod filter;
mod grant;
mod import;
mod inventory;
mod lease;
mod limits;
mod log;
mod lost_attempt;
mod origin;
mod place;
mod postgres;
mod recording;
mod rendered;
mod retention;
mod rows;
mod schema;
mod settings;
mod sqlite;
mod task_instance;
mod transfer;
mod user_change;
mod wait;
mod webhook;
mod xcom;

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Notify, OwnedMutexGuard},
};

use db::{Connection, Pool, Query};

pub use api_token::{ApiTokenNew, ApiTokenRow};
pub use approval::{ApprovalFilter, ApprovalRow, WhichApprovals};
pub use asked::asked;
pub use asset::{
    AssetEventFilter, AssetEventOrder, AssetEventRow, AssetFilter, AssetOrder, AssetReference, AssetRow, EventConsumer,
    QueuedEvent, QueuedEventFilter,
};
pub use audit::Audit;
pub use backfill::{BackfillId, BackfillNew, BackfillRow};
pub use cached_result::{CachedResult, CachedResultRow};
pub use calendar::{MOST_OF_DAY, MOST_UNFINISHED};
pub use callback::{CallbackNew, CallbackRow};
pub use commit::{
    AnswerNew, AssetEventNew, Commit, DagRunNew, DagRunUpdate, HistoryNew, InstanceNew, InstanceUpdate, Placement,
    Renewal, Through,
};
pub use dag::{DagFilter, DagOrder, DagVersionFilter, Deploy, DeployedDag, LastRunFilter, TagMatch};
pub use dag_numbers::StoredNumbers;
pub use dag_run::{DagRunFilter, DagRunOrder, MAX_LISTED_CONF_BYTES};
pub use data_key::{DataKeyRow, SealedCount, SealedPlace, SealedRow};
pub use db::{patiently, slow_statements};
pub use deletion::{Gone, Swept};
pub use error::StoreError;
pub use event_log::{EventFilter, EventNew, EventOrder, EventRow};
pub use filter::{Lengths, Like, Listed, MAX_PAGE, MAX_TOTAL, Order, Page, Range, Spans};
pub use grant::{DagGrantRow, GrantsChanged};
pub use import::{DagSettings, SettingsImport};
pub use inventory::{Inventory, KeptBlob, NamedBlob};
pub use lease::Leader;
pub use lost_attempt::LostAttempt;
pub use origin::StartedRun;
pub use place::{Place, Walk};
pub use recording::RecordingRow;
pub use retention::{EndedRun, PartStep, RetentionSize};
pub use rows::*;
pub use schema::migrations;
pub use task_instance::{FoundInstances, TaskInstanceFilter, TaskInstanceOrder};
pub use transfer::{moved_to, setting_forget, take_back};
pub use user_change::{UserChange, UserChanged};
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
    pub place: StorePlace,
    pub synchronous: Synchronous,
}

/// Which database it is.
#[derive(Debug, Clone)]
pub enum StorePlace {
    /// A file of SQLite, made if it is not there. Its folder must be.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL database of version 15 or newer, which must be there. It may hold a password.
    Postgres(String),
}

/// The metadata database. Clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Arc<Mutex<Writer>>,
    readers: asked::Readers<Pool>,
    specs: dag::SpecCache,
    /// What writes are fenced by.
    fence: lease::Fence,
    /// SQLite's file.
    path: Option<PathBuf>,
    /// See [`Store::is_behind`].
    is_behind: AtomicBool,
    /// Told when a commit brings callbacks.
    callbacks: Notify,
    #[cfg(test)]
    faults: testing::Faults,
}

/// The connection that writes.
#[derive(Debug)]
struct Writer {
    connection: Connection,
    /// Nobody knows what became of the last use: a caller went away in its middle, or it failed. A transaction may be open, or
    /// the connection lost.
    is_unclean: bool,
    /// What its transactions are fenced by; 0: by nothing.
    epoch: i64,
    /// How a lost connection to PostgreSQL is replaced.
    reconnect: Option<postgres::WriterOptions>,
    /// What `connection` knows of commits.
    calls: commit::Calls,
}

/// The turn of one writer.
///
/// A transaction that it leaves open, because it failed, changed its mind or went away, is rolled back at once and not in the next
/// turn: until then it would hold its locks, which other processes wait for.
struct WriterTurn(OwnedMutexGuard<Writer>);

/// A transaction that no other writer interrupts. What it did is undone with the end of the turn unless [`Transaction::commit`]
/// returned `Ok`.
///
/// It is not sqlx's: that counts the transactions that it began, and its count stays wrong after an error (a full disk) on
/// which SQLite rolls back by itself. From then on it begins none.
struct Transaction<'w> {
    writer: &'w mut Writer,
}

impl Store {
    /// Opens the database, makes it if it is a file that is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version was there, [`StoreError::Behind`] if a server has to bring the schema up to date; both
    /// change nothing. [`StoreError::Moved`] if all goes on elsewhere.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let store = Self::join(config).await?;
        if store.is_behind() { Err(StoreError::Behind) } else { Ok(store) }
    }

    /// As [`Store::open`], for a process that may have to wait for its turn: where others share the database, and may be at work with an
    /// older schema, that stays as it is until [`Store::schema_update`].
    pub async fn join(config: &StoreConfig) -> Result<Self, StoreError> {
        let (connection, readers, reconnect, path, is_behind) = match &config.place {
            StorePlace::Sqlite(path) => {
                let (mut connection, readers) = sqlite::open(path, config.synchronous).await?;
                transfer::refuse_moved(path, &mut connection).await?;
                (Connection::Sqlite(connection), readers.map(Pool::Sqlite), None, Some(path.clone()), false)
            }
            StorePlace::Postgres(url) => {
                let postgres::Opened { options, connection, readers, is_behind } =
                    postgres::open(url, config.synchronous).await?;
                (Connection::Postgres(connection), readers.map(Pool::Postgres), Some(options), None, is_behind)
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                writer: Arc::new(Mutex::new(Writer {
                    connection,
                    is_unclean: false,
                    epoch: 0,
                    reconnect,
                    calls: commit::Calls::default(),
                })),
                readers,
                specs: dag::SpecCache::default(),
                fence: lease::Fence::none(),
                path,
                is_behind: AtomicBool::new(is_behind),
                callbacks: Notify::new(),
                #[cfg(test)]
                faults: testing::Faults::default(),
            }),
        })
    }

    /// Whether the schema is older than this version's. Then only the lease and the settings may be used.
    pub fn is_behind(&self) -> bool {
        self.shared.is_behind.load(Ordering::SeqCst)
    }

    /// Brings the schema of a shared database up to date, if it is behind, for the process that leads.
    ///
    /// # Errors
    /// [`StoreError::Newer`] or [`StoreError::Migrate`], the latter also if another process leads by now.
    pub async fn schema_update(&self) -> Result<(), StoreError> {
        if self.is_behind() {
            let mut writer = self.writer().await?;
            let epoch = writer.epoch;
            if let Connection::Postgres(connection) = &mut writer.connection {
                schema::update_postgres(connection, Some(epoch)).await?;
            }
            self.shared.is_behind.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Gives SQLite's log its full size now, which makes the first commits as quick as later ones.
    pub async fn log_allocate(&self) -> Result<(), StoreError> {
        // Nobody writes meanwhile.
        let _writer = self.writer().await?;
        match &self.shared.path {
            Some(path) => sqlite::log_allocate(path).await,
            None => Ok(()),
        }
    }

    /// How large the database is on disk, in bytes; of SQLite with its log. Reads no rows.
    pub async fn size_bytes(&self) -> Result<u64, StoreError> {
        let Some(path) = &self.shared.path else {
            let size = db::query_scalar("SELECT pg_database_size(current_database())").fetch_one(self.readers()).await;
            return Ok(u64::try_from(size.map(|size: i64| size)?).unwrap_or(0));
        };
        let log = sqlite::log_path(path).metadata().map_or(0, |log| log.len());
        Ok(path.metadata().map_err(sqlx::Error::Io)?.len() + log)
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        db::query("SELECT 1").execute(self.readers()).await?;
        Ok(())
    }

    /// Waits for the calls under way and closes the database. Calls that come later fail.
    pub async fn close(&self) {
        self.shared.readers.own.close().await;
        self.shared.readers.asked.close().await;
        let mut writer = self.shared.writer.lock().await;
        if let Connection::Sqlite(_) = writer.connection {
            // Left in the log, it would be copied into the database by the next start.
            let _ = writer.connection.run("PRAGMA wal_checkpoint(TRUNCATE)").await;
        }
    }

    fn readers(&self) -> &Pool {
        self.shared.readers.for_this_task()
    }

    /// The write connection, with no transaction open.
    async fn writer(&self) -> Result<WriterTurn, StoreError> {
        #[cfg(test)]
        if self.shared.faults.is_away() {
            return Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed));
        }
        let mut writer = WriterTurn(Arc::clone(&self.shared.writer).lock_owned().await);
        if writer.is_unclean {
            writer.clean().await?;
        }
        writer.epoch = self.shared.fence.epoch();
        Ok(writer)
    }

    /// Runs `query` for its effect; returns how many rows it changed.
    async fn write(&self, query: Query) -> Result<u64, StoreError> {
        let mut writer = self.writer().await?;
        if writer.epoch != 0 || Audit::due().is_some() {
            let mut transaction = writer.begin().await?;
            let changed = query.execute(&mut *transaction).await?;
            // What changed nothing is no entry of the audit log.
            if changed > 0 {
                transaction.commit().await?;
            }
            return Ok(changed);
        }
        writer.is_unclean = true;
        let changed = query.execute(&mut writer.connection).await?;
        writer.is_unclean = false;
        Ok(changed)
    }
}

impl Deref for WriterTurn {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.0
    }
}

impl DerefMut for WriterTurn {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.0
    }
}

impl Drop for WriterTurn {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the connection with it.
        let (true, Ok(runtime)) = (self.is_unclean, Handle::try_current()) else { return };
        let writer = Arc::clone(OwnedMutexGuard::mutex(&self.0));
        runtime.spawn(async move {
            let mut writer = writer.lock().await;
            if writer.is_unclean {
                // If that is refused, the next turn looks what is the matter.
                writer.is_unclean = writer.roll_back().await.is_err();
            }
        });
    }
}

impl Writer {
    async fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        self.is_unclean = true;
        if let (Err(_), Some(_)) = (self.connection.begin().await, &self.reconnect) {
            // Of a server that restarted meanwhile.
            self.clean().await?;
            self.is_unclean = true;
            self.connection.begin().await?;
        }
        if self.epoch != 0 {
            let fence = db::query("SELECT airlock_fence($1)").bind(self.epoch);
            fence.execute(&mut self.connection).await?;
        }
        Ok(Transaction { writer: self })
    }

    async fn roll_back(&mut self) -> sqlx::Result<()> {
        self.calls.forget();
        self.connection.run("ROLLBACK").await
    }

    /// Undoes what was not committed, on a new connection if this one is lost.
    async fn clean(&mut self) -> Result<(), StoreError> {
        // Refused if there is none, which is as good.
        let _ = self.roll_back().await;
        if let (Connection::Postgres(connection), Some(options)) = (&mut self.connection, &self.reconnect)
            && !postgres::answers(connection).await
        {
            *connection = options.connect().await?;
        }
        self.is_unclean = false;
        Ok(())
    }
}

impl Transaction<'_> {
    async fn commit(mut self) -> Result<(), StoreError> {
        let due = Audit::due();
        if let Some((_, event)) = &due {
            event_log::append(&mut self, std::slice::from_ref(event)).await?;
        }
        self.writer.connection.run("COMMIT").await?;
        self.writer.is_unclean = false;
        if let Some((audit, _)) = due {
            audit.nothing();
        }
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.writer.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.writer.connection
    }
}

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
