//! Databases for tests: SQLite, or PostgreSQL if a server is named. And what goes wrong with them.

use std::{
    cell::Cell,
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, ConnectOptions as _, postgres::PgConnectOptions};
use tokio::sync::Notify;

use super::{
    Commit, DagRunKey, DagRunUpdate, Deploy, InstanceKey, InstanceUpdate, Store, StoreConfig, StoreError, StorePlace,
    Synchronous, db,
};
use crate::model::{
    ids::Digest,
    spec::ModuleSpec,
    state::{RunState, TaskState},
    time::Timestamp,
};

/// What befalls a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The database can't be reached.
    Fails,
    /// The database refuses it for good.
    Refused,
    /// It is made, and the answer is lost.
    LosesAnswer,
    /// The process dies before it.
    DiesBefore,
    /// It is made, and the process dies before it hears of that.
    DiesAfter,
}

/// What befalls the next commits, the first of them first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: Mutex<VecDeque<CommitFault>>,
    died: Notify,
    is_away: AtomicBool,
}

impl Faults {
    pub fn next(&self) -> Option<CommitFault> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Whether the next change finds no database; the one after it does.
    pub fn is_away(&self) -> bool {
        self.is_away.swap(false, Ordering::Relaxed)
    }
}

impl CommitFault {
    pub(super) async fn befall(self, store: &Store, batch: &Commit) -> Result<(), StoreError> {
        if matches!(self, Self::LosesAnswer | Self::DiesAfter) {
            store.commit_now(batch).await?;
        }
        if matches!(self, Self::DiesBefore | Self::DiesAfter) {
            store.shared.faults.died.notify_one();
            std::future::pending::<()>().await;
        }
        if self == Self::Refused {
            return Err(StoreError::Stale);
        }
        Err(StoreError::Unavailable(sqlx::Error::WorkerCrashed))
    }
}

thread_local! {
    static READS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Of what this thread reads, lets `count` statements find no database, after as many as `pass`.
pub fn plan_failing_reads(pass: u32, count: u32) {
    READS.set((pass, count));
}

/// What becomes of the answer to a statement that reads.
pub(super) fn befall_read<T>(answer: sqlx::Result<T>) -> sqlx::Result<T> {
    match READS.get() {
        (0, 0) => answer,
        (0, count) => {
            READS.set((0, count - 1));
            Err(sqlx::Error::PoolTimedOut)
        }
        (pass, count) => {
            READS.set((pass - 1, count));
            answer
        }
    }
}

impl Store {
    /// Lets something go wrong with a commit after those that are planned already.
    pub fn plan_fault(&self, fault: CommitFault) {
        self.shared.faults.next.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// Lets the database be away when the next change is made.
    pub fn plan_absence(&self) {
        self.shared.faults.is_away.store(true, Ordering::Relaxed);
    }

    /// Which tries of an instance are in the history.
    ///
    /// # Panics
    /// If the database can't be read.
    pub async fn history_of(&self, instance: &InstanceKey) -> Vec<u32> {
        let statement = "SELECT try_number FROM task_instance_history \
            WHERE dag_run = $1 AND task_id = $2 AND map_index = $3 ORDER BY try_number";
        let query = db::query_scalar(statement).bind(instance.dag_run).bind(&instance.task_id).bind(instance.map_index);
        query.fetch_all(self.readers()).await.unwrap()
    }

    /// From now on no entry of the audit log can be written; or again, it can.
    ///
    /// # Panics
    /// If the database can't be changed.
    pub async fn break_audit_log(&self, broken: bool) {
        let statement = if broken {
            "ALTER TABLE event_log RENAME TO event_log_away"
        } else {
            "ALTER TABLE event_log_away RENAME TO event_log"
        };
        self.write(db::query(statement)).await.unwrap();
    }

    /// Nothing goes wrong any more.
    pub fn plan_no_faults(&self) {
        self.shared.faults.next.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until a fault has let the process die: whatever it was about to do must be dropped then.
    pub async fn died(&self) {
        self.shared.faults.died.notified().await;
    }
}

impl Deploy {
    /// A component of one byte, its digest `digest` over and over, that `ann` uploaded.
    pub fn of_test(digest: u8, module: ModuleSpec, now: Timestamp) -> Self {
        Self {
            module: Arc::new(module),
            digest: Digest([digest; 32]),
            blob: "components/test.wasm".to_owned(),
            size_bytes: 1,
            uploaded_by: "ann".to_owned(),
            signer: None,
            provenance: None,
            paused_default: false,
            now,
        }
    }
}

impl InstanceUpdate {
    /// An instance of which no more is said.
    pub fn of_test(key: InstanceKey, state: TaskState, try_number: u32) -> Self {
        Self {
            key,
            state,
            try_number,
            max_tries: 1,
            restarts: 0,
            scheduled_at: None,
            queued_at: None,
            start_date: None,
            end_date: None,
            wake_at: None,
            message: None,
            followed: None,
            list_length: None,
            hostname: None,
        }
    }
}

impl DagRunUpdate {
    /// A run of which no more is said.
    pub fn of_test(key: DagRunKey, state: RunState) -> Self {
        Self {
            key,
            state,
            queued_at: None,
            start_date: None,
            end_date: None,
            clear_number: 0,
            message: None,
            verdict: None,
        }
    }
}

/// The URL of a database in which tests may make schemas.
const SERVER: &str = "AIRLOCK_TEST_DATABASE_URL";

impl StoreConfig {
    /// The database that belongs to `folder`; a new one the first time.
    ///
    /// # Panics
    /// If the server that is named does not answer.
    pub async fn of_test(folder: &Path) -> Self {
        let place = match std::env::var(SERVER) {
            Ok(url) => StorePlace::Postgres(schema_of(&url, folder).await),
            Err(_) => StorePlace::Sqlite(folder.join("airlock.db")),
        };
        Self { place, synchronous: Synchronous::Normal }
    }

    /// Whether tests run on PostgreSQL.
    pub fn tests_use_postgres() -> bool {
        std::env::var_os(SERVER).is_some()
    }
}

async fn schema_of(url: &str, folder: &Path) -> String {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    let schema = digest.iter().take(12).fold("test_".to_owned(), |name, byte| format!("{name}{byte:02x}"));
    let mut connection = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    let make = AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
    sqlx::raw_sql(make).execute(&mut connection).await.unwrap();
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-c%20search_path%3D{schema}")
}
