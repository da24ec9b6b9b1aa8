//! Which objects the rows of a database name, in a scratch database of its own: to be compared with what is in object storage,
//! without holding either in memory.
//!
//! Its statements stand here, because they are for no other database.

use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::{
    ConnectOptions as _, PgPool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    DagRunKey, Store, StoreError,
    codec::json,
    db::{self, Connection, Pool, from_row},
};
use crate::model::{ids::Digest, time::Timestamp};

const TABLES: &str = "
CREATE TABLE named (
    blob      TEXT    NOT NULL PRIMARY KEY,
    kind      TEXT    NOT NULL,
    dag_run   INTEGER NOT NULL,
    task_id   TEXT    NOT NULL,
    map_index INTEGER NOT NULL,
    is_there  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE kept (
    blob       TEXT    NOT NULL PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    sha256     BLOB    NOT NULL,
    is_there   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";
const FILL: [&str; 5] = [
    "INSERT OR IGNORE INTO named SELECT blob, 'xcom', dag_run, task_id, map_index, 0 FROM source.xcom WHERE blob IS NOT NULL",
    "INSERT OR IGNORE INTO named SELECT blob, 'artifact', dag_run, task_id, map_index, 0 FROM source.artifact",
    "INSERT OR IGNORE INTO named SELECT blob, 'recording', dag_run, task_id, map_index, 0 FROM source.recording",
    "INSERT OR IGNORE INTO named SELECT blob, 'log', dag_run, task_id, map_index, 0 FROM source.log_chunk",
    // To be deleted: whether they are there matters to nobody.
    "INSERT OR IGNORE INTO named SELECT blob, 'garbage', 0, '', -1, 1 FROM source.garbage",
];

/// The same, read from PostgreSQL in one statement.
const NAMED: &str = "
SELECT blob, 'xcom', dag_run, task_id, map_index, 0::bigint FROM xcom WHERE blob IS NOT NULL
UNION ALL SELECT blob, 'artifact', dag_run, task_id, map_index, 0 FROM artifact
UNION ALL SELECT blob, 'recording', dag_run, task_id, map_index, 0 FROM recording
UNION ALL SELECT blob, 'log', dag_run, task_id, map_index, 0 FROM log_chunk
UNION ALL SELECT blob, 'garbage', 0, '', -1, 1 FROM garbage
";
const FILL_ROWS: usize = 1_000;

/// An object that a row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBlob {
    pub blob: String,
    /// `xcom`, `artifact`, `recording`, `log` or `component`.
    pub kind: String,
    /// Of a component: 0.
    pub dag_run: DagRunKey,
    pub task_id: String,
    pub map_index: i32,
}

from_row!(NamedBlob { blob, kind, dag_run, task_id, map_index });

/// An object that a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBlob {
    pub blob: String,
    pub size_bytes: i64,
    pub sha256: Digest,
}

from_row!(KeptBlob { blob, size_bytes, sha256 });

/// The scratch database. Its file is the caller's to delete.
#[derive(Debug)]
pub struct Inventory {
    connection: Connection,
}

impl Inventory {
    /// Reads which objects the rows of `store` name, all at one moment, into a new file at `scratch`. Components are left out:
    /// see [`Inventory::name_component`].
    ///
    /// # Errors
    /// If the database can't be read, or the file not be written.
    pub async fn read(store: &Store, scratch: &Path) -> Result<Self, StoreError> {
        match (&store.shared.path, store.readers()) {
            (None, Pool::Postgres(pool)) => {
                let mut inventory = Self::new(scratch).await?;
                inventory.fill(pool).await?;
                Ok(inventory)
            }
            (path, _) => Self::read_file(path.as_deref().unwrap_or(Path::new("")), scratch).await,
        }
    }

    /// As [`Inventory::read`], of a file of SQLite.
    pub async fn read_file(source: &Path, scratch: &Path) -> Result<Self, StoreError> {
        let mut inventory = Self::new(scratch).await?;
        let connection = &mut inventory.connection;
        let path = source.to_str().ok_or_else(|| StoreError::corrupt("the database's path is not text"))?;
        db::query("ATTACH $1 AS source").bind(path).execute(&mut *connection).await?;
        connection.run("BEGIN").await?;
        for statement in FILL {
            db::query(statement).execute(&mut *connection).await?;
        }
        connection.run("COMMIT").await?;
        connection.run("DETACH source").await?;
        Ok(inventory)
    }

    async fn new(scratch: &Path) -> Result<Self, StoreError> {
        let open_error = |source| StoreError::Open { place: scratch.display().to_string(), source };
        let connection = SqliteConnectOptions::new()
            .filename(scratch)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Off)
            // It is gone with a crash, and nobody misses it.
            .synchronous(SqliteSynchronous::Off)
            .disable_statement_logging()
            .connect()
            .await
            .map_err(open_error)?;
        let mut connection = Connection::Sqlite(connection);
        connection.run(TABLES).await?;
        Ok(Self { connection })
    }

    async fn fill(&mut self, from: &PgPool) -> Result<(), StoreError> {
        let mut rows = sqlx::query_as(NAMED).fetch(from).try_chunks(FILL_ROWS);
        self.connection.run("BEGIN").await?;
        while let Some(named) = rows.try_next().await.map_err(|error| error.1)? {
            let named: Vec<(String, String, i64, String, i64, i64)> = named;
            let add = "INSERT OR IGNORE INTO named \
                       SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM jsonb_each($1)";
            db::query(add).bind(json(&named)?).execute(&mut self.connection).await?;
        }
        self.connection.run("COMMIT").await?;
        Ok(())
    }

    /// Adds the object of a component.
    pub async fn name_component(&mut self, blob: &str) -> Result<(), StoreError> {
        let add = db::query("INSERT OR IGNORE INTO named VALUES ($1, 'component', 0, '', -1, 0)").bind(blob);
        add.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Notes that these objects are there. Answers those that no row names.
    pub async fn see(&mut self, blobs: &[String]) -> Result<Vec<String>, StoreError> {
        let keys = json(blobs)?;
        let seen = "UPDATE named SET is_there = 1 WHERE blob IN (SELECT value FROM json_each($1))";
        db::query(seen).bind(&keys).execute(&mut self.connection).await?;
        let unnamed = "SELECT value FROM json_each($1) WHERE value NOT IN (SELECT blob FROM named)";
        Ok(db::query_scalar(unnamed).bind(&keys).fetch_all(&mut self.connection).await?)
    }

    /// Objects that rows name and that were not seen, by key, after `after`.
    pub async fn unseen(&mut self, after: &str, limit: u32) -> Result<Vec<NamedBlob>, StoreError> {
        let unseen = "SELECT blob, kind, dag_run, task_id, map_index FROM named \
                      WHERE blob > $1 AND is_there = 0 ORDER BY blob LIMIT $2";
        Ok(db::query_as(unseen).bind(after).bind(limit).fetch_all(&mut self.connection).await?)
    }

    /// Adds objects that backups hold.
    pub async fn keep(&mut self, kept: &[KeptBlob]) -> Result<(), StoreError> {
        self.connection.run("BEGIN").await?;
        for KeptBlob { blob, size_bytes, sha256 } in kept {
            let add = db::query("INSERT OR REPLACE INTO kept VALUES ($1, $2, $3, 0)");
            add.bind(blob).bind(size_bytes).bind(sha256).execute(&mut self.connection).await?;
        }
        self.connection.run("COMMIT").await?;
        Ok(())
    }

    /// Notes that the storage of backups holds these objects of these sizes.
    pub async fn see_kept(&mut self, objects: &[(String, i64)]) -> Result<(), StoreError> {
        let seen = "UPDATE kept SET is_there = 1 \
                    FROM (SELECT value ->> 0 AS blob, value ->> 1 AS size_bytes FROM json_each($1)) AS seen \
                    WHERE kept.blob = seen.blob AND kept.size_bytes = seen.size_bytes";
        db::query(seen).bind(json(objects)?).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Forgets objects that backups should hold and do not.
    pub async fn forget_unkept(&mut self) -> Result<(), StoreError> {
        self.connection.run("DELETE FROM kept WHERE is_there = 0").await?;
        Ok(())
    }

    /// Forgets which objects backups hold.
    pub async fn forget_all(&mut self) -> Result<(), StoreError> {
        self.connection.run("DELETE FROM kept").await?;
        Ok(())
    }

    /// Objects that rows name and backups do not hold, by key, after `after`.
    pub async fn wanted(&mut self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let wanted = "SELECT blob FROM named \
                      WHERE blob > $1 AND kind <> 'garbage' AND NOT EXISTS (SELECT 1 FROM kept WHERE kept.blob = named.blob) \
                      ORDER BY blob LIMIT $2";
        Ok(db::query_scalar(wanted).bind(after).bind(limit).fetch_all(&mut self.connection).await?)
    }

    /// Objects that rows name and backups hold, by key, after `after`.
    pub async fn named_and_kept(&mut self, after: &str, limit: u32) -> Result<Vec<KeptBlob>, StoreError> {
        let both = "SELECT kept.blob, kept.size_bytes, kept.sha256 FROM kept JOIN named ON named.blob = kept.blob \
                    WHERE kept.blob > $1 AND named.kind <> 'garbage' ORDER BY kept.blob LIMIT $2";
        Ok(db::query_as(both).bind(after).bind(limit).fetch_all(&mut self.connection).await?)
    }

    /// Those of the objects that no backup holds.
    pub async fn not_kept(&mut self, blobs: &[String]) -> Result<Vec<String>, StoreError> {
        let unkept = "SELECT value FROM json_each($1) WHERE value NOT IN (SELECT blob FROM kept)";
        Ok(db::query_scalar(unkept).bind(json(blobs)?).fetch_all(&mut self.connection).await?)
    }

    /// How many objects rows name.
    pub async fn count(&mut self) -> Result<i64, StoreError> {
        let count = "SELECT count(*) FROM named WHERE kind <> 'garbage'";
        Ok(db::query_scalar(count).fetch_one(&mut self.connection).await?)
    }
}

impl Store {
    /// Whether a row still names the object.
    pub async fn blob_is_named(&self, named: &NamedBlob) -> Result<bool, StoreError> {
        let statement = match named.kind.as_str() {
            "xcom" => include_str!("sql/blob_is_named_by_xcom.sql"),
            "artifact" => include_str!("sql/blob_is_named_by_artifact.sql"),
            "recording" => include_str!("sql/blob_is_named_by_recording.sql"),
            "log" => include_str!("sql/blob_is_named_by_log.sql"),
            _ => return Ok(true),
        };
        let query = db::query_scalar(statement)
            .bind(named.dag_run)
            .bind(&named.task_id)
            .bind(named.map_index)
            .bind(&named.blob);
        Ok(query.fetch_one(self.readers()).await?)
    }

    /// When the attempt began that has been running for longest; none runs without.
    pub async fn oldest_running(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(db::query_scalar(include_str!("sql/task_instance_oldest_running.sql")).fetch_one(self.readers()).await?)
    }

    /// Notes objects that no row names, to be collected by the server.
    pub async fn garbage_add(&self, blobs: &[String]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for blob in blobs {
            db::query(include_str!("sql/garbage_add.sql")).bind(blob).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}
