//! SQLite and PostgreSQL behind one face: what the rest of this room says in SQL is run on either.
//!
//! Three kinds of values - integers, text, bytes - are all that columns hold, so that a statement means the same on both.
//! sqlx's own `Any` driver is not used: it converts each row before anybody reads it, and can't be given options of a database.

mod connection;
mod query;
mod row;
mod slow;
mod value;

pub use connection::{Connection, Executor, Pool};
pub(super) use query::each;
pub use query::{Builder, Query, QueryAs, Sql, patiently, query, query_as, query_scalar};
pub(super) use row::from_row;
pub use row::{FromRow, Row};
pub use slow::slow_statements;
pub use value::{Bind, Json, Raw, Read, Value};
