//! The task that has a connection and does what its session is asked.

use std::sync::Arc;

use futures_util::StreamExt;
use sqlx::{
    AssertSqlSafe, Connection, Database, Either, Executor, Row as _, SqlSafeStr, Statement as _,
    database::HasStatementCache, mysql::MySqlDatabaseError,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    DatabaseError, Shared,
    relay::{MAX_ROW_BYTES, Meter},
    session::{self, Asked, Command, Failure, Session, Sink, Statement},
};
use crate::model::sql::{Column, Datum, Row, Transaction};

/// SQLSTATEs (or their classes) of what another try may not meet: lost connections, transactions that were in each other's way
/// or took too long, want of resources, locks, statements that were interrupted, and a server that is being shut down.
const PASSING: [&str; 8] = ["08", "25P03", "25P04", "40", "53", "55P03", "57", "70100"];
/// The same as numbers of `MySQL`, whose SQLSTATE may say nothing: waits for a lock, and statements, that took too long, and deadlocks.
const PASSING_NUMBERS: [u16; 3] = [1205, 1213, 3024];

/// What `PostgreSQL` says of a statement that was parsed before its tables were changed.
const CHANGED_COLUMNS: &str = "cached plan must not change result type";

/// How one kind of server is spoken to.
pub(super) trait Dialect: Sized + Send + 'static {
    type Database: Database + HasStatementCache;

    /// The parameters, as the statement wants them.
    ///
    /// # Errors
    /// A text for people, if one of them can't be.
    fn arguments(
        parameters: &[Datum],
        prepared: &<Self::Database as Database>::Statement,
    ) -> Result<<Self::Database as Database>::Arguments, String>;

    fn column(column: &<Self::Database as Database>::Column) -> Column;

    /// # Errors
    /// A text for people, if a value is of a type that can't be read.
    fn row(row: &<Self::Database as Database>::Row) -> Result<Row, String>;

    fn rows_affected(result: &<Self::Database as Database>::QueryResult) -> u64;

    /// What becomes of a connection that is good and that nobody needs any more.
    fn keep(shared: &Arc<Shared>, driver: Driver<Self>) -> impl Future<Output = ()> + Send;
}

/// A connection to a server.
pub(super) struct Driver<D: Dialect> {
    pub connection: <D::Database as Database>::Connection,
    pub meter: Meter,
    /// Whose it is, so that nobody with other credentials gets it.
    pub owner: [u8; 32],
}

impl<D: Dialect> std::fmt::Debug for Driver<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// A session on `driver`.
pub(super) fn start<D: Dialect>(shared: &Arc<Shared>, driver: Driver<D>, place: OwnedSemaphorePermit) -> Session
where
    for<'c> &'c mut <D::Database as Database>::Connection: Executor<'c, Database = D::Database>,
    <D::Database as Database>::Arguments: sqlx::IntoArguments<D::Database>,
{
    let (session, asked) = Session::new();
    let owned = Arc::clone(shared);
    shared.tasks.spawn(async move {
        let kept = serve(driver, asked).await;
        if let Some(driver) = kept {
            D::keep(&owned, driver).await;
        }
        drop(place);
    });
    session
}

/// Until the session is dropped, or the connection lost. Answers the connection if it can be used on.
async fn serve<D: Dialect>(mut driver: Driver<D>, mut asked: Asked) -> Option<Driver<D>>
where
    for<'c> &'c mut <D::Database as Database>::Connection: Executor<'c, Database = D::Database>,
    <D::Database as Database>::Arguments: sqlx::IntoArguments<D::Database>,
{
    let mut in_transaction = false;
    // Whether something was refused since the last transaction began or ended.
    let mut refused = false;
    while let Some(command) = asked.commands.recv().await {
        let failed = match command {
            Command::Query(statement, reply) => {
                let mut sink = Sink::rows(&mut asked, reply);
                match driver.run(&statement, &mut sink).await {
                    Ok(_) => sink.finish().await.err(),
                    Err(Failure::Refused(error)) => {
                        refused = true;
                        sink.fail(error).await;
                        None
                    }
                    Err(Failure::Broken(error)) => {
                        sink.fail(error).await;
                        Some(Failure::Over)
                    }
                    Err(Failure::Over) => Some(Failure::Over),
                }
            }
            Command::Execute(statement, reply) => {
                let done = driver.run(&statement, &mut Sink::none(&mut asked)).await;
                refused |= done.is_err();
                tell(done, reply)
            }
            Command::Transaction(act, reply) => match check(act, in_transaction) {
                Ok(()) => {
                    let done = driver.transact(act, refused, &Sink::none(&mut asked)).await;
                    in_transaction = act == Transaction::Begin && done.is_ok();
                    refused = false;
                    tell(done, reply)
                }
                Err(error) => {
                    // Who asked may be gone.
                    let _ = reply.send(Err(error));
                    None
                }
            },
        };
        if failed.is_some() {
            return None;
        }
    }
    // A connection that is closed rolls back by itself.
    (!in_transaction).then_some(driver)
}

/// Answers; the failure, if it ends the connection.
pub(super) fn tell<T>(
    done: Result<T, Failure>,
    reply: tokio::sync::oneshot::Sender<Result<T, DatabaseError>>,
) -> Option<Failure> {
    let (answer, failed) = match done {
        Ok(answer) => (Ok(answer), None),
        Err(Failure::Refused(error)) => (Err(error), None),
        Err(Failure::Broken(error)) => (Err(error), Some(Failure::Over)),
        Err(Failure::Over) => (Err(session::lost()), Some(Failure::Over)),
    };
    // Who asked may be gone.
    let _ = reply.send(answer);
    failed
}

/// Whether `act` makes sense now.
pub(super) fn check(act: Transaction, in_transaction: bool) -> Result<(), DatabaseError> {
    match (act, in_transaction) {
        (Transaction::Begin, true) => {
            Err(DatabaseError::Invalid("a transaction is under way; commit it or roll it back first".into()))
        }
        (Transaction::Commit | Transaction::Rollback, false) => {
            Err(DatabaseError::Invalid("there is no transaction to end".into()))
        }
        _ => Ok(()),
    }
}

impl<D: Dialect> Driver<D>
where
    for<'c> &'c mut <D::Database as Database>::Connection: Executor<'c, Database = D::Database>,
    <D::Database as Database>::Arguments: sqlx::IntoArguments<D::Database>,
{
    /// Runs a statement to its end; answers how many rows it changed.
    async fn run(&mut self, statement: &Statement, sink: &mut Sink<'_>) -> Result<u64, Failure> {
        let why = match self.run_once(statement, sink).await {
            Err(Failure::Refused(DatabaseError::Invalid(why))) if why.ends_with(CHANGED_COLUMNS) => why,
            done => return done,
        };
        // It did nothing yet. Parsed anew it fits; but in a transaction nothing runs any more.
        let cleared = sink.within(self.connection.clear_cached_statements()).await?;
        cleared.map_err(|error| failure(&self.meter, &error))?;
        match self.run_once(statement, sink).await {
            Err(Failure::Refused(_)) => Err(Failure::Refused(DatabaseError::Unavailable(why))),
            done => done,
        }
    }

    async fn run_once(&mut self, statement: &Statement, sink: &mut Sink<'_>) -> Result<u64, Failure> {
        self.meter.reset();
        let text = AssertSqlSafe(statement.text.clone()).into_sql_str();
        let prepared = sink.within(self.connection.prepare(text)).await?;
        let prepared = prepared.map_err(|error| failure(&self.meter, &error))?;
        let arguments = D::arguments(&statement.parameters, &prepared).map_err(Failure::invalid)?;
        sink.columns(prepared.columns().iter().map(D::column).collect());
        let mut answers = self.connection.fetch_many(prepared.query_with(arguments));
        let mut changed = 0;
        // What was read wrong is told when all is read: the connection can be used on then.
        let mut unreadable = None;
        while let Some(answer) = sink.within(answers.next()).await? {
            match answer.map_err(|error| failure(&self.meter, &error))? {
                Either::Left(result) => changed += D::rows_affected(&result),
                Either::Right(row) => {
                    if prepared.columns().len() != row.columns().len() {
                        // MariaDB tells those of RETURNING and CALL with the rows only; and MySQL, too, parses anew by itself.
                        sink.columns(row.columns().iter().map(D::column).collect());
                    }
                    let row_bytes = self.meter.reset();
                    if unreadable.is_some() || !sink.wants_rows() {
                        sink.skip(row_bytes)?;
                        continue;
                    }
                    match D::row(&row) {
                        Ok(row) => sink.row(row).await?,
                        Err(why) => unreadable = Some(why),
                    }
                }
            }
        }
        match unreadable {
            Some(why) => Err(Failure::invalid(why)),
            None => Ok(changed),
        }
    }

    /// Begins or ends a transaction; one that can't be committed is rolled back. `refused`: a statement of it may have been.
    async fn transact(&mut self, act: Transaction, refused: bool, sink: &Sink<'_>) -> Result<(), Failure> {
        let is_commit = act == Transaction::Commit;
        let mut done: sqlx::Result<()> = Ok(());
        if is_commit && refused {
            // PostgreSQL refuses this where nothing can be committed any more; the commit itself it calls done.
            done = sink.within(self.connection.execute("SELECT 1")).await?.map(drop);
        }
        if done.is_ok() {
            done = sink.within(self.connection.execute(act.statement())).await?.map(drop);
        }
        let Err(error) = done else { return Ok(()) };
        let failed = failure(&self.meter, &error);
        if is_commit && matches!(failed, Failure::Refused(_)) {
            let undone = sink.within(self.connection.execute(Transaction::Rollback.statement())).await?;
            undone.map_err(|error| failure(&self.meter, &error))?;
        }
        Err(failed)
    }

    /// Says goodbye, so that the server need not find out.
    pub async fn close(self) {
        // It is dropped either way.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.connection.close()).await;
    }
}

/// What the database says, and whether it can be asked on.
pub(super) fn failure(meter: &Meter, error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Database(said) => {
            let text = format!("the database says: {}", said.message());
            let code = said.code().unwrap_or_default();
            let number = said.try_downcast_ref::<MySqlDatabaseError>().map(MySqlDatabaseError::number);
            let passes = PASSING.iter().any(|class| code.starts_with(class))
                || number.is_some_and(|number| PASSING_NUMBERS.contains(&number));
            Failure::Refused(if passes { DatabaseError::Unavailable(text) } else { DatabaseError::Invalid(text) })
        }
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            Failure::invalid(error.to_string())
        }
        _ if meter.is_above() => Failure::Broken(DatabaseError::TooLarge(format!(
            "a row is larger than the limit of {MAX_ROW_BYTES} bytes; the connection is closed"
        ))),
        // As `CopyInResponse`.
        sqlx::Error::Protocol(said) if said.contains("message: Copy") => Failure::Broken(DatabaseError::Invalid(
            "COPY from and to the task can't be used; read and write rows; the connection is closed".into(),
        )),
        other => {
            Failure::Broken(DatabaseError::Unavailable(format!("the connection to the database is lost: {other}")))
        }
    }
}
