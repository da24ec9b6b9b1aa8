//! Databases, by the connections that a dag was granted: `PostgreSQL`, `MySQL` and `MariaDB`, `SQLite`.
//!
//! `#[dag(connections = ["warehouse"])]` is all that it takes: the server makes the connection and signs in, and the task never
//! holds the password.
//!
//! ```
//! # use airlock_sdk::prelude::*;
//! #[data]
//! struct Order {
//!     id: i64,
//!     customer: String,
//! }
//!
//! #[task(retries = 3)]
//! fn orders(day: &str) -> Result<Vec<Order>> {
//!     let warehouse = sql::connect("warehouse")?;
//!     warehouse.query("select id, customer from orders where day = $1", &[&day])?.all()
//! }
//!
//! #[task]
//! fn close(day: &str) -> Result<u64> {
//!     let mut warehouse = sql::connect("warehouse")?;
//!     let transaction = warehouse.transaction()?;
//!     let closed = transaction.execute("update orders set open = false where day = $1", &[&day])?;
//!     transaction.execute("insert into closings (day, orders) values ($1, $2)", &[&day, &closed])?;
//!     transaction.commit()?; // dropped without it, nothing of this has happened
//!     Ok(closed)
//! }
//!
//! let host = airlock_sdk::testing::Host::new().sql(
//!     "warehouse",
//!     "select id, customer from orders where day = $1",
//!     sql::Answer::rows(["id", "customer"]).row(&[&7, &"ada"]),
//! );
//! assert_eq!(host.run(|_| orders::run("2026-01-31")).unwrap()[0].customer, "ada");
//! ```
//!
//! Parameters are bound, never pasted into the statement: `$1` in `PostgreSQL` and `SQLite`, `?` in `MySQL`.

mod datum;
mod read;

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::de::DeserializeOwned;

pub use self::datum::{Datum, ToDatum};
use crate::{
    error::{HostError, Result},
    host,
};

/// Opens connection `id`, of type `postgres`, `mysql` or `sqlite`. An attempt may have 8 of them open at a time.
///
/// # Errors
/// [`HostError::Denied`] without the grant; [`HostError::NotFound`] if there is no such connection;
/// [`HostError::Unavailable`] if the database can't be reached.
pub fn connect(id: &str) -> Result<Connection, HostError> {
    Ok(Connection(host::sql_open(id)?))
}

/// A connection to a database. Dropped, it is closed.
///
/// It does one thing at a time: rows that are being read have to be read to their end or dropped before the next statement.
pub struct Connection(host::Session);

impl Connection {
    /// Runs a statement that answers rows, which come as they are read.
    ///
    /// # Errors
    /// [`HostError::Invalid`] with what the database says of the statement.
    pub fn query(&self, statement: &str, parameters: &[&dyn ToDatum]) -> Result<Rows<'_>, HostError> {
        let (columns, source) = self.0.query(statement, data(parameters))?;
        Ok(Rows { columns, source, batch: Vec::new().into_iter(), ended: false, connection: PhantomData })
    }

    /// Runs a statement and answers how many rows it changed.
    ///
    /// # Errors
    /// [`HostError::Invalid`] with what the database says of the statement.
    pub fn execute(&self, statement: &str, parameters: &[&dyn ToDatum]) -> Result<u64, HostError> {
        self.0.execute(statement, data(parameters))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// If the database does not begin one.
    pub fn transaction(&mut self) -> Result<Transaction<'_>, HostError> {
        self.0.begin()?;
        Ok(Transaction { connection: self, is_open: true })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Statements that take effect together, or not at all. Dropped without [`commit`](Self::commit), it is rolled back.
#[must_use = "a transaction that is not committed is rolled back"]
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c Connection,
    is_open: bool,
}

impl Transaction<'_> {
    /// Makes it happen.
    ///
    /// # Errors
    /// If the database refuses; then nothing of it has happened. If the connection is lost meanwhile, nobody knows.
    pub fn commit(mut self) -> Result<(), HostError> {
        self.is_open = false;
        self.connection.0.commit()
    }

    /// Undoes it.
    ///
    /// # Errors
    /// If the connection is lost, which undoes it as well.
    pub fn rollback(mut self) -> Result<(), HostError> {
        self.is_open = false;
        self.connection.0.rollback()
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // A connection that is lost has rolled it back.
            let _ = self.connection.0.rollback();
        }
    }
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What the database calls its type, as `int4`.
    pub type_name: String,
}

/// The answer to a query: an iterator over rows as they are, or by [`read`](Self::read) over values of a type.
pub struct Rows<'c> {
    columns: Vec<Column>,
    source: host::Rows,
    batch: std::vec::IntoIter<Vec<Datum>>,
    ended: bool,
    connection: PhantomData<&'c Connection>,
}

impl<'c> Rows<'c> {
    /// The columns, in their order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Each row as a `T`: a struct, by the names of columns; a tuple, by their order; or the value of the only column.
    pub fn read<T: DeserializeOwned>(self) -> impl Iterator<Item = Result<T>> + use<'c, T> {
        let mut rows = self;
        std::iter::from_fn(move || {
            let row = rows.next()?;
            Some(row.map_err(Into::into).and_then(|row| read::row(&rows.columns, row)))
        })
    }

    /// All rows at once.
    ///
    /// # Errors
    /// If one can't be had, or is no `T`.
    pub fn all<T: DeserializeOwned>(self) -> Result<Vec<T>> {
        self.read().collect()
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// If it can't be had, or is no `T`.
    pub fn first<T: DeserializeOwned>(self) -> Result<Option<T>> {
        self.read().next().transpose()
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Vec<Datum>, HostError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.batch.next() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            match self.source.next() {
                Ok(batch) => {
                    self.ended = batch.is_empty();
                    self.batch = batch.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("columns", &self.columns).finish_non_exhaustive()
    }
}

fn data(parameters: &[&dyn ToDatum]) -> Vec<Datum> {
    parameters.iter().map(ToDatum::to_datum).collect()
}

/// What a statement is answered in a native test, by [`Host::sql`](crate::testing::Host::sql).
#[cfg(not(target_family = "wasm"))]
#[derive(Debug, Clone)]
#[must_use = "an answer does nothing until a host has it"]
pub struct Answer {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Datum>>,
    pub(crate) changed: u64,
    pub(crate) error: Option<HostError>,
}

#[cfg(not(target_family = "wasm"))]
impl Answer {
    fn empty() -> Self {
        Self { columns: Vec::new(), rows: Vec::new(), changed: 0, error: None }
    }

    /// Rows with these columns: none, before [`row`](Self::row) adds them.
    pub fn rows<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        let column = |name: &str| Column { name: name.to_owned(), type_name: String::new() };
        Self { columns: columns.into_iter().map(column).collect(), ..Self::empty() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has more or fewer values than there are columns.
    pub fn row(mut self, values: &[&dyn ToDatum]) -> Self {
        assert_eq!(values.len(), self.columns.len(), "a row has a value for each column");
        self.rows.push(data(values));
        self
    }

    /// So many rows were changed.
    pub fn changed(rows: u64) -> Self {
        Self { changed: rows, ..Self::empty() }
    }

    /// The statement fails.
    pub fn error(error: HostError) -> Self {
        Self { error: Some(error), ..Self::empty() }
    }
}
