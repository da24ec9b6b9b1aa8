//! A session as its user has it, and what goes between it and the task that has the connection.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::DatabaseError;
use crate::model::sql::{Column, Datum, Row, Transaction};

/// Of one statement.
pub const MAX_STATEMENT_BYTES: usize = 1 << 20;
/// Of all parameters of a statement.
pub const MAX_PARAMETER_BYTES: usize = 8 << 20;

/// Of one query.
const MAX_ROWS: u64 = 10_000_000;
const MAX_BYTES: u64 = 1 << 30;
/// What `next` answers at a time; a larger row comes alone.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
/// What is read of rows that nobody wants, so that the connection can be used on.
const MAX_UNREAD_BYTES: u64 = 64 << 20;
/// Until the database answers something.
pub const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);
/// For a statement with all its rows, however slowly they are read.
const STATEMENT_TIMEOUT: Duration = Duration::from_hours(1);

/// One statement, and a value for each of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub text: String,
    pub parameters: Vec<Datum>,
}

/// A connection that is open. Dropped, what is under way on it ends and is rolled back.
#[derive(Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    _over: DropGuard,
}

/// The rows of a query.
#[derive(Debug)]
pub struct Rows {
    pub columns: Vec<Column>,
    /// An empty one is the last.
    batches: mpsc::Receiver<Result<Vec<Row>, DatabaseError>>,
    ended: bool,
}

/// What a session is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Query(Statement, oneshot::Sender<Result<Rows, DatabaseError>>),
    Execute(Statement, oneshot::Sender<Result<u64, DatabaseError>>),
    Transaction(Transaction, oneshot::Sender<Result<(), DatabaseError>>),
}

/// The other side of a [`Session`].
#[derive(Debug)]
pub(super) struct Asked {
    pub commands: mpsc::Receiver<Command>,
    /// Nobody holds the session any more.
    pub over: CancellationToken,
}

impl Session {
    pub(super) fn new() -> (Self, Asked) {
        let (commands, asked) = mpsc::channel(1);
        let over = CancellationToken::new();
        let session = Self { commands, _over: over.clone().drop_guard() };
        (session, Asked { commands: asked, over })
    }

    /// Runs a statement and answers when its first row is there.
    ///
    /// # Errors
    /// What the database says, or that it is gone.
    pub async fn query(&self, statement: Statement) -> Result<Rows, DatabaseError> {
        self.ask(|reply| Command::Query(statement, reply)).await
    }

    /// Runs a statement to its end; answers how many rows it changed.
    ///
    /// # Errors
    /// What the database says, or that it is gone.
    pub async fn execute(&self, statement: Statement) -> Result<u64, DatabaseError> {
        self.ask(|reply| Command::Execute(statement, reply)).await
    }

    /// Begins or ends a transaction.
    ///
    /// # Errors
    /// If there is one already, or none.
    pub async fn transaction(&self, act: Transaction) -> Result<(), DatabaseError> {
        self.ask(|reply| Command::Transaction(act, reply)).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, DatabaseError>>) -> Command,
    ) -> Result<T, DatabaseError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| lost())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Rows {
    /// The next rows; none at the end.
    ///
    /// # Errors
    /// If the rest can't be had.
    pub async fn next(&mut self) -> Result<Vec<Row>, DatabaseError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let batch = self.batches.recv().await.unwrap_or_else(|| Err(lost()))?;
        self.ended = batch.is_empty();
        Ok(batch)
    }
}

impl Command {
    /// Answers with an error.
    pub fn refuse(self, error: DatabaseError) {
        // Who asked may be gone.
        match self {
            Self::Query(_, reply) => drop(reply.send(Err(error))),
            Self::Execute(_, reply) => drop(reply.send(Err(error))),
            Self::Transaction(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

pub(super) fn lost() -> DatabaseError {
    DatabaseError::Unavailable("the connection to the database is lost; open it again".into())
}

/// Why a statement did not come to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection can be used on.
    Refused(DatabaseError),
    /// It can't.
    Broken(DatabaseError),
    /// Nobody waits for it any more.
    Over,
}

impl Failure {
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::Refused(DatabaseError::Invalid(why.into()))
    }
}

/// Takes what a statement answers, and stops it in time.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    asked: &'a mut Asked,
    until: Instant,
    out: Out,
    rows: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Out {
    /// To a query that waits for its first row.
    First { reply: oneshot::Sender<Result<Rows, DatabaseError>>, columns: Vec<Column> },
    /// To a query that reads.
    Batches { to: mpsc::Sender<Result<Vec<Row>, DatabaseError>>, batch: Vec<Row>, batch_bytes: usize },
    /// To nobody: they are not wanted, or not any more.
    Nowhere { unread_bytes: u64 },
}

impl<'a> Sink<'a> {
    /// Of a query.
    pub fn rows(asked: &'a mut Asked, reply: oneshot::Sender<Result<Rows, DatabaseError>>) -> Self {
        Self::to(asked, Out::First { reply, columns: Vec::new() })
    }

    /// Of a statement whose rows nobody wants.
    pub fn none(asked: &'a mut Asked) -> Self {
        Self::to(asked, Out::Nowhere { unread_bytes: 0 })
    }

    fn to(asked: &'a mut Asked, out: Out) -> Self {
        Self { asked, until: Instant::now() + STATEMENT_TIMEOUT, out, rows: 0, bytes: 0 }
    }

    /// What is known before the first row.
    pub fn columns(&mut self, known: Vec<Column>) {
        if let Out::First { columns, .. } = &mut self.out {
            *columns = known;
        }
    }

    /// Whether somebody wants rows, so that they have to be read.
    pub fn wants_rows(&self) -> bool {
        !matches!(self.out, Out::Nowhere { .. })
    }

    /// A token that ends what runs where nobody waits.
    pub fn over(&self) -> CancellationToken {
        self.asked.over.clone()
    }

    /// Waits for the database.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let until = self.until.min(Instant::now() + ANSWER_TIMEOUT);
        tokio::select! {
            () = self.asked.over.cancelled() => Err(Failure::Over),
            done = tokio::time::timeout_at(until, work) => done.map_err(|_| Failure::Broken(too_slow())),
        }
    }

    /// Takes a row; waits until there is room for it.
    pub async fn row(&mut self, row: Row) -> Result<(), Failure> {
        let row_bytes = row.iter().map(Datum::size_bytes).sum::<usize>();
        self.count(row_bytes)?;
        self.begin();
        if let Out::Batches { batch, batch_bytes, .. } = &mut self.out {
            batch.push(row);
            *batch_bytes += row_bytes;
            if batch.len() >= BATCH_ROWS || *batch_bytes >= BATCH_BYTES {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    /// Takes note of a row that was not read.
    pub fn skip(&mut self, row_bytes: usize) -> Result<(), Failure> {
        self.count(row_bytes)
    }

    fn count(&mut self, row_bytes: usize) -> Result<(), Failure> {
        self.rows += 1;
        self.bytes += row_bytes as u64;
        if let Out::Nowhere { unread_bytes } = &mut self.out {
            *unread_bytes += row_bytes as u64;
            if *unread_bytes > MAX_UNREAD_BYTES {
                let text = "the connection was closed: rows of a query were left unread; ask for fewer, with LIMIT";
                return Err(Failure::Broken(DatabaseError::Unavailable(text.into())));
            }
        }
        if self.rows > MAX_ROWS {
            let text = format!("the query answers more than {MAX_ROWS} rows; ask for fewer, with LIMIT");
            return Err(Failure::Broken(DatabaseError::TooLarge(text)));
        }
        if self.bytes > MAX_BYTES {
            let text = format!("the query answers more than {MAX_BYTES} bytes; ask for fewer, with LIMIT");
            return Err(Failure::Broken(DatabaseError::TooLarge(text)));
        }
        Ok(())
    }

    /// Tells a query that waits that its rows come.
    fn begin(&mut self) {
        match std::mem::replace(&mut self.out, Out::Nowhere { unread_bytes: 0 }) {
            Out::First { reply, columns } => {
                let (to, batches) = mpsc::channel(1);
                if reply.send(Ok(Rows { columns, batches, ended: false })).is_ok() {
                    self.out = Out::Batches { to, batch: Vec::new(), batch_bytes: 0 };
                }
            }
            other => self.out = other,
        }
    }

    async fn hand_over(&mut self) -> Result<(), Failure> {
        let Out::Batches { to, batch, batch_bytes } = &mut self.out else { return Ok(()) };
        let to = to.clone();
        *batch_bytes = 0;
        let batch = std::mem::take(batch);
        loop {
            let asked = tokio::select! {
                // Rows that were dropped are in nobody's way, whatever is asked after that.
                biased;
                room = to.reserve() => {
                    match room {
                        Ok(room) => room.send(Ok(batch)),
                        Err(_) => self.out = Out::Nowhere { unread_bytes: 0 },
                    }
                    return Ok(());
                }
                asked = self.asked.commands.recv() => asked,
                () = tokio::time::sleep_until(self.until) => return Err(Failure::Broken(too_slow())),
            };
            let Some(asked) = asked else { return Err(Failure::Over) };
            let text =
                "rows of an earlier query are open; read them to their end, drop them, or open another connection";
            asked.refuse(DatabaseError::Invalid(text.into()));
        }
    }

    /// The statement came to its end.
    pub async fn finish(mut self) -> Result<(), Failure> {
        self.begin();
        if matches!(&self.out, Out::Batches { batch, .. } if !batch.is_empty()) {
            self.hand_over().await?;
        }
        self.hand_over().await
    }

    /// It did not.
    pub async fn fail(self, error: DatabaseError) {
        match self.out {
            Out::First { reply, .. } => drop(reply.send(Err(error))),
            Out::Batches { to, .. } => {
                tokio::select! {
                    _ = to.send(Err(error)) => {}
                    () = self.asked.over.cancelled() => {}
                    () = tokio::time::sleep_until(self.until) => {}
                }
            }
            Out::Nowhere { .. } => {}
        }
    }
}

fn too_slow() -> DatabaseError {
    let (answer_s, all_s) = (ANSWER_TIMEOUT.as_secs(), STATEMENT_TIMEOUT.as_secs());
    DatabaseError::Unavailable(format!(
        "the statement was not answered within {answer_s} s, or not to its end within {all_s} s; the connection is closed"
    ))
}
