//! Statements with their parameters, run on either database.

use std::{
    fmt::Write as _,
    marker::PhantomData,
    time::{Duration, Instant},
};

use sqlx::{
    Arguments as _, AssertSqlSafe, Postgres, SqlSafeStr as _, SqlStr, Sqlite, postgres::PgArguments,
    sqlite::SqliteArguments,
};

use super::{
    connection::Executor,
    row::{FromRow, Row},
    slow::Timed,
    value::{Bind, Read, Value},
};
use crate::store::error::is_transient;

/// A statement's text, for each database. Parameters are `$1`, `$2`, ...
#[derive(Debug, Clone)]
pub struct Sql {
    sqlite: SqlStr,
    postgres: SqlStr,
}

/// The statement of `sql/NAME.sqlite.sql` and `sql/NAME.postgres.sql`.
macro_rules! each {
    ($name:literal) => {
        $crate::store::db::Sql::each(
            include_str!(concat!("sql/", $name, ".sqlite.sql")),
            include_str!(concat!("sql/", $name, ".postgres.sql")),
        )
    };
}
pub(in crate::store) use each;

impl Sql {
    pub fn each(sqlite: &'static str, postgres: &'static str) -> Self {
        Self::of_each(sqlite.into_sql_str(), postgres.into_sql_str())
    }

    pub fn of_each(sqlite: SqlStr, postgres: SqlStr) -> Self {
        Self { sqlite, postgres }
    }

    /// Looks how long it takes. The text is that of one database, which says enough.
    fn timed(&self) -> Timed {
        Timed::begin(if self.postgres.as_str().is_empty() { &self.sqlite } else { &self.postgres })
    }

    /// The same text for both.
    pub fn both(text: SqlStr) -> Self {
        Self::of_each(text.clone(), text)
    }

    /// A text that SQLite alone understands.
    pub fn sqlite(text: SqlStr) -> Self {
        Self { sqlite: text, postgres: "".into_sql_str() }
    }
}

#[cfg(test)]
impl Sql {
    pub fn of_test(text: String) -> Self {
        Self::both(AssertSqlSafe(text).into_sql_str())
    }
}

impl From<&'static str> for Sql {
    /// The same text for both.
    fn from(text: &'static str) -> Self {
        Self::each(text, text)
    }
}

/// How long a statement that reads waits for a server that restarts, or a network that is mended.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

tokio::task_local! {
    static PATIENT: ();
}

/// Carries out what can't be left half done: while the database is away, or busy, what it reads is asked for again without an end.
pub fn patiently<F: Future>(work: F) -> impl Future<Output = F::Output> {
    PATIENT.scope((), work)
}

/// Whoever reads has nothing to undo when the connection is lost, and asks again: the scheduler would have to read all of its
/// state anew.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    /// The answer to a statement; none: it is worth another try, now.
    async fn judge<T>(&self, answer: sqlx::Result<T>) -> Option<sqlx::Result<T>> {
        #[cfg(test)]
        let answer = crate::store::testing::befall_read(answer);
        if answer.as_ref().err().is_none_or(|error| !self.is_worth_it(error)) {
            return Some(answer);
        }
        drop(answer);
        tokio::time::sleep(PAUSE).await;
        None
    }

    fn is_worth_it(&self, error: &sqlx::Error) -> bool {
        if PATIENT.try_with(|()| ()).is_err() {
            return is_lost(error) && self.0.elapsed() < PATIENCE;
        }
        let may_pass = may_pass(error);
        if may_pass {
            tracing::error!(error = error as &dyn std::error::Error, "the database is asked again");
        }
        may_pass
    }
}

/// Whether it says something about the database or the moment, not about the statement.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => is_transient(&**error),
        sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => true,
        _ => is_lost(error),
    }
}

fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        // Of class 57P, "operator intervention": it shuts down, crashed, or starts.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P0")),
        _ => false,
    }
}

#[derive(Debug, Clone)]
pub struct Query {
    sql: Sql,
    values: Vec<Value>,
}

/// A [`Query`] whose rows are read as `T`.
#[derive(Debug, Clone)]
pub struct QueryAs<T> {
    query: Query,
    row: PhantomData<fn() -> T>,
}

/// A [`Query`] whose rows' first columns are read as `T`.
#[derive(Debug, Clone)]
pub struct QueryScalar<T> {
    query: Query,
    column: PhantomData<fn() -> T>,
}

pub fn query(sql: impl Into<Sql>) -> Query {
    Query { sql: sql.into(), values: Vec::new() }
}

pub fn query_as<T: FromRow>(sql: impl Into<Sql>) -> QueryAs<T> {
    query(sql).rows()
}

pub fn query_scalar<T: Read>(sql: impl Into<Sql>) -> QueryScalar<T> {
    query(sql).scalars()
}

type SqliteQuery<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;
type PostgresQuery<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

impl Query {
    #[must_use]
    pub fn bind(mut self, value: impl Bind) -> Self {
        self.values.push(value.into_value());
        self
    }

    fn rows<T>(self) -> QueryAs<T> {
        QueryAs { query: self, row: PhantomData }
    }

    fn scalars<T>(self) -> QueryScalar<T> {
        QueryScalar { query: self, column: PhantomData }
    }

    fn sqlite<'q>(self) -> sqlx::Result<SqliteQuery<'q>> {
        let mut arguments = SqliteArguments::default();
        for value in self.values {
            value.add_sqlite(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(self.sql.sqlite, arguments))
    }

    fn postgres<'q>(self) -> sqlx::Result<PostgresQuery<'q>> {
        let mut arguments = PgArguments::default();
        arguments.reserve(self.values.len(), 0);
        for value in self.values {
            value.add_postgres(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        Ok(sqlx::query_with(self.sql.postgres, arguments))
    }

    /// Runs it for its effect; returns how many rows it changed.
    pub async fn execute<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<u64> {
        let _timed = self.sql.timed();
        Ok(match on.into() {
            Executor::SqlitePool(on) => self.sqlite()?.execute(on).await?.rows_affected(),
            Executor::Sqlite(on) => self.sqlite()?.execute(on).await?.rows_affected(),
            Executor::PostgresPool(on) => self.postgres()?.execute(on).await?.rows_affected(),
            Executor::Postgres(on) => self.postgres()?.execute(on).await?.rows_affected(),
        })
    }

    pub async fn fetch_all<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Vec<Row>> {
        fn all<R>(rows: Vec<R>, row: fn(R) -> Row) -> Vec<Row> {
            rows.into_iter().map(row).collect()
        }
        let _timed = self.sql.timed();
        Ok(match on.into() {
            Executor::SqlitePool(on) => {
                let patience = Patience::new();
                loop {
                    if let Some(rows) = patience.judge(self.clone().sqlite()?.fetch_all(on).await).await {
                        break all(rows?, Row::Sqlite);
                    }
                }
            }
            Executor::Sqlite(on) => all(self.sqlite()?.fetch_all(on).await?, Row::Sqlite),
            Executor::PostgresPool(on) => {
                let patience = Patience::new();
                loop {
                    if let Some(rows) = patience.judge(self.clone().postgres()?.fetch_all(on).await).await {
                        break all(rows?, Row::Postgres);
                    }
                }
            }
            Executor::Postgres(on) => all(self.postgres()?.fetch_all(on).await?, Row::Postgres),
        })
    }

    pub async fn fetch_optional<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Option<Row>> {
        let _timed = self.sql.timed();
        Ok(match on.into() {
            Executor::SqlitePool(on) => {
                let patience = Patience::new();
                loop {
                    if let Some(row) = patience.judge(self.clone().sqlite()?.fetch_optional(on).await).await {
                        break row?.map(Row::Sqlite);
                    }
                }
            }
            Executor::Sqlite(on) => self.sqlite()?.fetch_optional(on).await?.map(Row::Sqlite),
            Executor::PostgresPool(on) => {
                let patience = Patience::new();
                loop {
                    if let Some(row) = patience.judge(self.clone().postgres()?.fetch_optional(on).await).await {
                        break row?.map(Row::Postgres);
                    }
                }
            }
            Executor::Postgres(on) => self.postgres()?.fetch_optional(on).await?.map(Row::Postgres),
        })
    }

    pub async fn fetch_one<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Row> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }
}

impl<T: FromRow> QueryAs<T> {
    #[must_use]
    pub fn bind(self, value: impl Bind) -> Self {
        self.query.bind(value).rows()
    }

    pub async fn fetch_all<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Vec<T>> {
        self.query.fetch_all(on).await?.iter().map(T::from_row).collect()
    }

    pub async fn fetch_optional<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Option<T>> {
        self.query.fetch_optional(on).await?.as_ref().map(T::from_row).transpose()
    }

    pub async fn fetch_one<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<T> {
        T::from_row(&self.query.fetch_one(on).await?)
    }
}

impl<T: Read> QueryScalar<T> {
    #[must_use]
    pub fn bind(self, value: impl Bind) -> Self {
        self.query.bind(value).scalars()
    }

    pub async fn fetch_all<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Vec<T>> {
        self.query.fetch_all(on).await?.iter().map(|row| row.try_get(0)).collect()
    }

    pub async fn fetch_optional<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<Option<T>> {
        self.query.fetch_optional(on).await?.as_ref().map(|row| row.try_get(0)).transpose()
    }

    pub async fn fetch_one<'c>(self, on: impl Into<Executor<'c>>) -> sqlx::Result<T> {
        self.query.fetch_one(on).await?.try_get(0)
    }
}

/// A statement that grows by conditions.
#[derive(Debug, Clone)]
pub struct Builder {
    sqlite: String,
    postgres: String,
    values: Vec<Value>,
}

impl Builder {
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { sqlite: text.clone(), postgres: text, values: Vec::new() }
    }

    /// Adds text that both databases understand. It is never what a user wrote.
    pub fn push(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.push_each(text.as_ref(), text.as_ref())
    }

    /// Adds text for each database.
    pub fn push_each(&mut self, sqlite: &str, postgres: &str) -> &mut Self {
        self.sqlite.push_str(sqlite);
        self.postgres.push_str(postgres);
        self
    }

    /// Adds a parameter.
    pub fn push_bind(&mut self, value: impl Bind) -> &mut Self {
        self.values.push(value.into_value());
        for text in [&mut self.sqlite, &mut self.postgres] {
            // Writing to a String does not fail.
            let _ = write!(text, "${}", self.values.len());
        }
        self
    }

    /// The text for SQLite.
    #[cfg(test)]
    pub fn sql(&self) -> &str {
        &self.sqlite
    }

    /// The text for PostgreSQL.
    #[cfg(test)]
    pub fn postgres(&self) -> &str {
        &self.postgres
    }

    pub fn build(self) -> Query {
        let text = |text: String| AssertSqlSafe(text).into_sql_str();
        Query { sql: Sql { sqlite: text(self.sqlite), postgres: text(self.postgres) }, values: self.values }
    }

    pub fn build_query_as<T: FromRow>(self) -> QueryAs<T> {
        self.build().rows()
    }

    pub fn build_query_scalar<T: Read>(self) -> QueryScalar<T> {
        self.build().scalars()
    }
}
