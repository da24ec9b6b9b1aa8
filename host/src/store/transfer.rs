//! All rows of one database, in another of the other kind: how a database is moved to PostgreSQL, and how one of PostgreSQL is
//! backed up, as a file of SQLite. One of both is always SQLite, which says what tables and columns there are.

use std::path::Path;

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _,
    postgres::PgConnection,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use super::{
    Store, StoreError, Synchronous,
    db::{self, Connection, Raw, Row, Sql, Value},
    postgres, sqlite,
};

/// Those that hold nothing of an installation: of sqlx, and what makes commits fail.
const NOT_COPIED: [&str; 2] = ["_sqlx_migrations", "commit_guard"];
/// A statement's parameters at most; SQLite takes 32,766.
const PARAMETERS: usize = 4_000;

/// A table and its columns, each with the NULL of its type.
#[derive(Debug)]
struct Table {
    name: String,
    columns: Vec<(String, Value)>,
}

/// The setting in a file whose rows were moved that says where to.
const MOVED_TO: &str = "moved_to";

const IS_USED: &str = "SELECT EXISTS (SELECT 1 FROM dag_version) OR EXISTS (SELECT 1 FROM airlock_user)";

impl Store {
    /// Whether it has dags or users.
    pub async fn is_used(&self) -> Result<bool, StoreError> {
        Ok(db::query_scalar(IS_USED).fetch_one(self.readers()).await?)
    }

    /// Copies all rows of the database in `file`, which nobody may use meanwhile, into this one, which is empty. The file stays, and
    /// is not opened any more until [`take_back`].
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] if this one has dags or users, [`StoreError::Moved`] if the file's rows are in another one. If it fails,
    /// nothing was copied.
    pub async fn fill_from(&self, file: &Path) -> Result<u64, StoreError> {
        // Brought to this version's schema first.
        let (mut from, _) = sqlite::open(file, Synchronous::Full).await?;
        let mut writer = self.writer().await?;
        let place = writer.reconnect.as_ref().map(postgres::WriterOptions::place).unwrap_or_default();
        let mut transaction = writer.begin().await?;
        if db::query_scalar(IS_USED).fetch_one(&mut *transaction).await? {
            return Err(StoreError::NotEmpty);
        }
        let Connection::Postgres(to) = &mut *transaction else {
            return Err(StoreError::NotPostgres);
        };
        if let Some(to) = moved(&mut from).await?.filter(|to| *to != place) {
            return Err(StoreError::Moved { place: file.display().to_string(), to });
        }
        // What an earlier try said that did not come to its end.
        forget(&mut from, MOVED_TO).await?;
        let tables = tables(&mut from).await?;
        let last_deleted: i64 = sqlx::query_scalar(LAST_DELETED_SQLITE).fetch_one(&mut from).await?;
        let mut rows = 0;
        for table in &tables {
            let read = sqlx::query(AssertSqlSafe(table.select())).fetch(&mut from).map_ok(Row::Sqlite).boxed();
            rows += table.fill(read, &mut db::Executor::Postgres(&mut *to)).await?;
        }
        set_sequences(to, &tables, last_deleted).await?;
        // First: whatever happens now, there are never two that go on.
        let moved = sqlx::query(include_str!("sql/setting_put.sql")).bind(MOVED_TO).bind(place.into_bytes());
        moved.execute(&mut from).await?;
        transaction.commit().await?;
        // Both are as they will stay.
        let _ = from.close().await;
        Ok(rows)
    }

    /// Writes a copy of the database as of this moment into a new file of SQLite. Others read and write meanwhile.
    pub async fn snapshot(&self, to: &Path) -> Result<(), StoreError> {
        match self.readers() {
            db::Pool::Sqlite(_) => {
                let path = to.to_str().ok_or_else(|| StoreError::corrupt("the copy's path is not text"))?;
                db::query("VACUUM INTO $1").bind(path).execute(self.readers()).await?;
                Ok(())
            }
            db::Pool::Postgres(pool) => {
                let mut from = pool.acquire().await?;
                sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *from).await?;
                let copied = copy_to_file(&mut from, to).await;
                // There is nothing to undo.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *from).await;
                copied
            }
        }
    }
}

/// Deletes a setting in the file of a database, which nobody uses meanwhile.
///
/// # Errors
/// If it is no database, or can't be written.
pub async fn setting_forget(file: &Path, name: &str) -> Result<(), StoreError> {
    let mut connection = connect(file).await?;
    forget(&mut connection, name).await?;
    connection.close().await?;
    Ok(())
}

/// Where the rows of the database in a file were moved, if they were.
///
/// # Errors
/// If it is no database.
pub async fn moved_to(file: &Path) -> Result<Option<String>, StoreError> {
    let mut connection = connect(file).await?;
    let to = moved(&mut connection).await?;
    connection.close().await?;
    Ok(to)
}

/// Lets the database in a file, which was moved, be opened again, as it was then.
///
/// # Errors
/// If it is no database, or can't be written.
pub async fn take_back(file: &Path) -> Result<(), StoreError> {
    setting_forget(file, MOVED_TO).await
}

/// # Errors
/// [`StoreError::Moved`]
pub(super) async fn refuse_moved(file: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    match moved(connection).await? {
        Some(to) => Err(StoreError::Moved { place: file.display().to_string(), to }),
        None => Ok(()),
    }
}

async fn connect(file: &Path) -> sqlx::Result<SqliteConnection> {
    SqliteConnectOptions::new().filename(file).disable_statement_logging().connect().await
}

async fn moved(connection: &mut SqliteConnection) -> sqlx::Result<Option<String>> {
    let to = sqlx::query_scalar(include_str!("sql/setting_get.sql")).bind(MOVED_TO).fetch_optional(connection).await?;
    Ok(to.map(|to: Vec<u8>| String::from_utf8_lossy(&to).into_owned()))
}

async fn forget(connection: &mut SqliteConnection, name: &str) -> sqlx::Result<()> {
    let query = sqlx::query(include_str!("sql/setting_delete.sqlite.sql")).bind(name);
    query.execute(connection).await.map(drop)
}

const LAST_DELETED_SQLITE: &str =
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'dag_run_leftover'), 0)";
const LAST_DELETED_POSTGRES: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM dag_run_deleted_key";

async fn copy_to_file(from: &mut PgConnection, path: &Path) -> Result<(), StoreError> {
    let (mut to, readers) = sqlite::open(path, Synchronous::Full).await?;
    let tables = tables(&mut to).await?;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut to).await?;
    for table in &tables {
        let read = sqlx::query(AssertSqlSafe(table.select())).fetch(&mut *from).map_ok(Row::Postgres).boxed();
        table.fill(read, &mut db::Executor::Sqlite(&mut to)).await?;
    }
    let last_deleted: i64 = sqlx::query_scalar(LAST_DELETED_POSTGRES).fetch_one(&mut *from).await?;
    sqlx::query("DELETE FROM sqlite_sequence WHERE name = 'dag_run_leftover'").execute(&mut to).await?;
    sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES ('dag_run_leftover', $1)")
        .bind(last_deleted)
        .execute(&mut to)
        .await?;
    sqlx::raw_sql("COMMIT; PRAGMA journal_mode = DELETE").execute(&mut to).await?;
    readers.own.close().await;
    Ok(())
}

/// All tables that are copied, in the order in which they were made: those that are referred to come first.
async fn tables(sqlite: &mut SqliteConnection) -> Result<Vec<Table>, StoreError> {
    let names =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut *sqlite).await?;
    let mut tables = Vec::new();
    for name in names.into_iter().filter(|name| !NOT_COPIED.contains(&name.as_str())) {
        let columns: Vec<(String, String)> =
            sqlx::query_as("SELECT name, type FROM pragma_table_info($1)").bind(&name).fetch_all(&mut *sqlite).await?;
        let null = |of: &str| match of {
            "INTEGER" => Ok(Value::Int(None)),
            "TEXT" => Ok(Value::Text(None)),
            "BLOB" => Ok(Value::Blob(None)),
            other => Err(StoreError::corrupt(format!("a column of type {other}"))),
        };
        let columns =
            columns.into_iter().map(|(name, of)| Ok((name, null(&of)?))).collect::<Result<Vec<_>, StoreError>>()?;
        tables.push(Table { name, columns });
    }
    Ok(tables)
}

impl Table {
    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    }

    fn select(&self) -> String {
        format!("SELECT {} FROM \"{}\"", self.names(), self.name)
    }

    fn insert(&self, rows: usize) -> Sql {
        let row = |at: usize| {
            let places = (1..=self.columns.len()).map(|column| format!("${}", at * self.columns.len() + column));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        let rows: Vec<_> = (0..rows).map(row).collect();
        let text = format!("INSERT INTO \"{}\" ({}) VALUES {}", self.name, self.names(), rows.join(", "));
        Sql::both(AssertSqlSafe(text).into_sql_str())
    }

    /// Replaces what the table holds - what migrations put there - by `rows`; how many.
    async fn fill(
        &self,
        mut rows: BoxStream<'_, sqlx::Result<Row>>,
        to: &mut db::Executor<'_>,
    ) -> Result<u64, StoreError> {
        let clear = AssertSqlSafe(format!("DELETE FROM \"{}\"", self.name)).into_sql_str();
        db::query(Sql::both(clear)).execute(to.reborrow()).await?;
        let most = PARAMETERS / self.columns.len();
        let (mut values, mut waiting, mut copied) = (Vec::new(), 0, 0);
        loop {
            let row = rows.try_next().await?;
            if let Some(row) = &row {
                for (at, (_, null)) in self.columns.iter().enumerate() {
                    values.push(match row.raw(at)? {
                        Raw::Null => null.clone(),
                        Raw::Int(value) => Value::Int(Some(value)),
                        Raw::Text(value) => Value::Text(Some(value.to_owned())),
                        Raw::Blob(value) => Value::Blob(Some(value.to_vec())),
                    });
                }
                waiting += 1;
            }
            if waiting == most || (row.is_none() && waiting > 0) {
                let query = db::query(self.insert(waiting));
                let query = std::mem::take(&mut values).into_iter().fold(query, db::Query::bind);
                query.execute(to.reborrow()).await?;
                copied += waiting as u64;
                waiting = 0;
            }
            if row.is_none() {
                return Ok(copied);
            }
        }
    }
}

/// Makes PostgreSQL count on from what was copied.
async fn set_sequences(to: &mut PgConnection, tables: &[Table], last_deleted: i64) -> Result<(), StoreError> {
    for table in tables {
        let (name, first) = (&table.name, table.columns.first().map_or("", |(name, _)| name));
        let next = format!(
            "SELECT setval(pg_get_serial_sequence('\"{name}\"', '{first}'), (SELECT coalesce(max(\"{first}\"), 0) + 1 FROM \"{name}\"), FALSE) \
             WHERE pg_get_serial_sequence('\"{name}\"', '{first}') IS NOT NULL"
        );
        if table.columns.first().is_some_and(|(_, null)| *null == Value::Int(None)) {
            sqlx::query(AssertSqlSafe(next)).execute(&mut *to).await?;
        }
    }
    if last_deleted > 0 {
        sqlx::query("SELECT setval('dag_run_deleted_key', $1)").bind(last_deleted).execute(&mut *to).await?;
    }
    Ok(())
}
