//! `SQLite`: files below a folder that the server's settings name.
//!
//! Statements run in this process, on threads of their own. What they may do an authorizer says, from a list of what
//! is harmless: no other file can be opened, no extension loaded, and no pragma changed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{
    Batch, Connection, ErrorCode, OpenFlags, StatementStatus,
    config::DbConfig,
    fallible_iterator::FallibleIterator as _,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::{ToSqlOutput, Value, ValueRef},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::{
    DatabaseError, Shared,
    relay::MAX_ROW_BYTES,
    run::{check, tell},
    session::{ANSWER_TIMEOUT, Asked, Command, Failure, MAX_STATEMENT_BYTES, Session, Sink, Statement},
};
use crate::{
    connections,
    model::sql::{Column, Datum, Row, Transaction},
};

/// How long a statement waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Steps of its machine between two looks at whether somebody still waits.
const STEPS: i32 = 10_000;
/// What one connection keeps of the file in memory, in KiB.
const CACHE_KIB: i64 = 8 << 10;

/// Of `LIKE` and `GLOB`: comparing takes as long as pattern and text multiplied, and is not interrupted.
const MAX_PATTERN_BYTES: i32 = 1_000;
/// What a prepared statement takes whose values may be as long as a row. It has some hundred registers, each of which can hold one.
const SHORT_BYTES: u64 = 16 << 10;

/// Opens the file that `connection` names as its host (or schema), a path below the folder of the settings.
pub(super) async fn open(
    shared: &Arc<Shared>,
    connection: &connections::Connection,
    place: OwnedSemaphorePermit,
) -> Result<Session, DatabaseError> {
    let id = connection.row.id.to_string();
    let Some(folder) = shared.config.sqlite_folder.clone() else {
        return Err(DatabaseError::Invalid(format!(
            "connection `{id}` is of type `sqlite`, which this server does not open; its setting `sql.sqlite_folder` names \
             the folder of such files"
        )));
    };
    let row = &connection.row;
    let name = row.host.as_deref().or(row.schema.as_deref()).unwrap_or_default().to_owned();
    let (session, asked) = Session::new();
    let (opened, open) = tokio::sync::oneshot::channel();
    shared.tasks.spawn_blocking(move || {
        let connection = path(&folder, &name)
            .and_then(|path| connect(&path, asked.over.clone()))
            .map_err(|why| DatabaseError::Invalid(format!("the file of connection `{id}` can't be opened: {why}")));
        match connection {
            Ok(connection) => {
                // Who asked may be gone; then there are no commands.
                let _ = opened.send(Ok(()));
                serve(&connection, asked);
            }
            Err(error) => drop(opened.send(Err(error))),
        }
        drop(place);
    });
    open.await.unwrap_or_else(|_| Err(super::session::lost()))?;
    Ok(session)
}

/// The file `name` below `folder`.
fn path(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    if name.len() > 250 || !name.split('/').all(plain) {
        return Err("its host must be a relative path of letters, digits, `_`, `-` and `.`, without `..`".into());
    }
    // The file's own path must have no symbolic links, the folder's may.
    let folder = folder.canonicalize().map_err(|error| format!("the folder `sql.sqlite_folder`: {error}"))?;
    Ok(folder.join(name))
}

fn connect(path: &Path, over: CancellationToken) -> Result<Connection, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let set_up = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, limit(MAX_STATEMENT_BYTES as u64))?;
        connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN_BYTES)?;
        connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
        connection.progress_handler(STEPS, Some(move || over.is_cancelled()))?;
        // From here on.
        connection.authorizer(Some(|context: AuthContext<'_>| {
            if is_harmless(&context.action) { Authorization::Allow } else { Authorization::Deny }
        }))?;
        Ok(connection)
    };
    set_up().map_err(|error| error.to_string())
}

fn limit(bytes: u64) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// Whether a statement may do this: all that stays in the file's own tables.
fn is_harmless(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::DropTable { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropView { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::DropTempIndex { .. }
        | AuthAction::DropTempView { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::AlterTable { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. }
        | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        // What a file says of itself.
        AuthAction::Pragma { pragma_name, .. } => {
            let lower = pragma_name.to_ascii_lowercase();
            matches!(
                lower.as_str(),
                "table_info" | "table_xinfo" | "table_list" | "index_list" | "index_info" | "foreign_key_list"
            )
        }
        // Attach and detach (also those that a vacuum is made of), virtual tables, and what is not known. Transactions are
        // begun and ended by calls of their own.
        _ => false,
    }
}

/// Until the session is dropped.
fn serve(connection: &Connection, mut asked: Asked) {
    while let Some(command) = asked.commands.blocking_recv() {
        let in_transaction = !connection.is_autocommit();
        let failed = match command {
            Command::Query(statement, reply) => {
                let mut sink = Sink::rows(&mut asked, reply);
                match run(connection, &statement, &mut sink) {
                    Ok(_) => Handle::current().block_on(sink.finish()).err(),
                    Err(Failure::Refused(error)) => {
                        Handle::current().block_on(sink.fail(error));
                        None
                    }
                    Err(Failure::Broken(error)) => {
                        Handle::current().block_on(sink.fail(error));
                        Some(Failure::Over)
                    }
                    Err(Failure::Over) => Some(Failure::Over),
                }
            }
            Command::Execute(statement, reply) => tell(run(connection, &statement, &mut Sink::none(&mut asked)), reply),
            Command::Transaction(act, reply) => {
                let done =
                    check(act, in_transaction).map_err(Failure::Refused).and_then(|()| transact(connection, act));
                tell(done, reply)
            }
        };
        if failed.is_some() {
            return;
        }
    }
}

fn transact(connection: &Connection, act: Transaction) -> Result<(), Failure> {
    // The authorizer lets no statement of a task begin or end one.
    let trusted = |trusted: bool| {
        let authorizer = move |context: AuthContext<'_>| {
            let is_fine =
                (trusted && matches!(context.action, AuthAction::Transaction { .. })) || is_harmless(&context.action);
            if is_fine { Authorization::Allow } else { Authorization::Deny }
        };
        connection.authorizer(Some(authorizer)).map_err(|error| failure(&error))
    };
    trusted(true)?;
    let mut done = connection.execute_batch(act.statement());
    if done.is_err() && act == Transaction::Commit && !connection.is_autocommit() {
        // Else what follows would be part of it, and go with it.
        done = connection.execute_batch(Transaction::Rollback.statement()).and(done);
    }
    trusted(false)?;
    done.map_err(|error| failure(&error))
}

/// Runs a statement to its end; answers how many rows it changed.
fn run(connection: &Connection, statement: &Statement, sink: &mut Sink<'_>) -> Result<u64, Failure> {
    let until = Instant::now() + ANSWER_TIMEOUT;
    let over = sink.over();
    let is_late = move || over.is_cancelled() || Instant::now() > until;
    connection.progress_handler(STEPS, Some(is_late)).map_err(|error| failure(&error))?;
    let longest = |bytes: u64| connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit(bytes));
    longest(MAX_ROW_BYTES).map_err(|error| failure(&error))?;
    let mut all = Batch::new(connection, &statement.text);
    let first = all.next().map_err(|error| failure(&error))?;
    let mut prepared = first.ok_or_else(|| Failure::invalid("there is no statement"))?;
    if all.next().map_err(|error| failure(&error))?.is_some() {
        return Err(Failure::invalid("there are several statements; run them one after the other"));
    }
    // The more it computes at a time, the shorter its values: they are in this process's memory.
    let own_bytes = u64::try_from(prepared.get_status(StatementStatus::MemUsed)).unwrap_or(u64::MAX);
    longest(MAX_ROW_BYTES * SHORT_BYTES / own_bytes.max(SHORT_BYTES)).map_err(|error| failure(&error))?;
    let wanted = prepared.parameter_count();
    if wanted != statement.parameters.len() {
        return Err(Failure::invalid(format!(
            "the statement has {wanted} parameters, and {} are given",
            statement.parameters.len()
        )));
    }
    for (at, datum) in statement.parameters.iter().enumerate() {
        prepared.raw_bind_parameter(at + 1, Parameter(datum)).map_err(|error| failure(&error))?;
    }
    let columns: Vec<Column> = prepared
        .columns()
        .into_iter()
        .map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.decl_type().unwrap_or_default().to_lowercase(),
        })
        .collect();
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    sink.columns(columns);
    let before = connection.total_changes();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next().map_err(|error| failure(&error))? {
        let mut values: Row = Vec::with_capacity(names.len());
        let mut bytes = 0;
        for (at, name) in names.iter().enumerate() {
            let value = row.get_ref(at).map_err(|error| failure(&error))?;
            let value = read(value).map_err(|why| Failure::invalid(format!("column `{name}`: {why}")))?;
            bytes += value.size_bytes();
            if bytes as u64 > MAX_ROW_BYTES {
                let text = format!("a row is larger than the limit of {MAX_ROW_BYTES} bytes");
                return Err(Failure::Refused(DatabaseError::TooLarge(text)));
            }
            values.push(value);
        }
        if sink.wants_rows() {
            Handle::current().block_on(sink.row(values))?;
        } else {
            sink.skip(bytes)?;
        }
    }
    Ok(connection.total_changes() - before)
}

struct Parameter<'a>(&'a Datum);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Datum::Null => ToSqlOutput::Owned(Value::Null),
            Datum::Boolean(value) => ToSqlOutput::Owned(Value::Integer(i64::from(*value))),
            Datum::Integer(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Datum::Float(value) => ToSqlOutput::Owned(Value::Real(*value)),
            Datum::Decimal(text) | Datum::Text(text) | Datum::Time(text) | Datum::Json(text) => {
                ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
            }
            Datum::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

fn read(value: ValueRef<'_>) -> Result<Datum, String> {
    Ok(match value {
        ValueRef::Null => Datum::Null,
        ValueRef::Integer(value) => Datum::Integer(value),
        ValueRef::Real(value) => Datum::Float(value),
        ValueRef::Text(text) => Datum::Text(
            String::from_utf8(text.to_vec()).map_err(|_| "its text is not UTF-8; cast it to blob".to_owned())?,
        ),
        ValueRef::Blob(bytes) => Datum::Bytes(bytes.to_vec()),
    })
}

fn failure(error: &rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => {
            let text = format!("the statement was not done within {} s", ANSWER_TIMEOUT.as_secs());
            Failure::Refused(DatabaseError::Unavailable(text))
        }
        Some(
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::SystemIoFailure,
        ) => Failure::Refused(DatabaseError::Unavailable(format!("the database says: {error}"))),
        Some(ErrorCode::TooBig) => Failure::Refused(DatabaseError::TooLarge(format!("the database says: {error}"))),
        Some(ErrorCode::AuthorizationForStatementDenied) => Failure::Refused(DatabaseError::Denied(format!(
            "the statement does what a task may not: it can't attach files, load extensions, set pragmas or begin transactions \
             ({error})"
        ))),
        _ => Failure::invalid(format!("the database says: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_below_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        for good in ["a.db", "year/2026.sqlite", "..a"] {
            let path = path(folder.path(), good).unwrap();
            assert!(path.starts_with(folder.path().canonicalize().unwrap()), "{path:?}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "file:x?mode=rw", ":memory:", "a\0b", "ä"] {
            assert!(path(folder.path(), bad).is_err(), "{bad}");
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        let link = path(folder.path(), "link").unwrap();
        assert!(connect(&link, CancellationToken::new()).is_err());
    }
}
