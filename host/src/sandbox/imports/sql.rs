//! `airlock:task/sql`.

use wasmtime::{Result, component::Resource};

use super::{answer, artifacts::Stream};
use crate::{
    model::sql,
    sandbox::{
        bindings::airlock::task::{
            sql::{self as wit, Datum},
            types::Error,
        },
        guest::Guest,
    },
    wire::{Call, Reply},
};

/// A connection that is open.
pub struct OpenSession(Stream);

/// The answer to a query.
pub struct OpenRows {
    stream: Stream,
    columns: Vec<wit::Column>,
}

impl wit::Host for Guest {
    async fn open(&mut self, id: String) -> Result<Result<Resource<OpenSession>, Error>> {
        answer!(self.attempt.call(Call::SqlOpen { id }).await, Reply::Stream { stream, .. } => {
            let session = OpenSession(self.stream(stream));
            self.table.push(session)?
        })
    }
}

impl wit::HostSession for Guest {
    async fn query(
        &mut self,
        session: Resource<OpenSession>,
        statement: String,
        parameters: Vec<Datum>,
    ) -> Result<Result<Resource<OpenRows>, Error>> {
        let session = self.table.get(&session)?.0.key;
        let parameters = match all(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error)),
        };
        let call = Call::SqlQuery { session, statement, parameters };
        answer!(self.attempt.call(call).await, Reply::Rows { stream, columns } => {
            let columns = columns.into_iter().map(|column| wit::Column { name: column.name, type_name: column.type_name });
            let rows = OpenRows { stream: self.stream(stream), columns: columns.collect() };
            self.table.push(rows)?
        })
    }

    async fn execute(
        &mut self,
        session: Resource<OpenSession>,
        statement: String,
        parameters: Vec<Datum>,
    ) -> Result<Result<u64, Error>> {
        let session = self.table.get(&session)?.0.key;
        let parameters = match all(parameters) {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error)),
        };
        let call = Call::SqlExecute { session, statement, parameters };
        answer!(self.attempt.call(call).await, Reply::Size(changed) => changed)
    }

    async fn begin(&mut self, session: Resource<OpenSession>) -> Result<Result<(), Error>> {
        self.transaction(&session, sql::Transaction::Begin).await
    }

    async fn commit(&mut self, session: Resource<OpenSession>) -> Result<Result<(), Error>> {
        self.transaction(&session, sql::Transaction::Commit).await
    }

    async fn rollback(&mut self, session: Resource<OpenSession>) -> Result<Result<(), Error>> {
        self.transaction(&session, sql::Transaction::Rollback).await
    }

    async fn drop(&mut self, session: Resource<OpenSession>) -> Result<()> {
        self.table.delete(session)?;
        Ok(())
    }
}

impl Guest {
    async fn transaction(
        &mut self,
        session: &Resource<OpenSession>,
        act: sql::Transaction,
    ) -> Result<Result<(), Error>> {
        let session = self.table.get(session)?.0.key;
        answer!(self.attempt.call(Call::SqlTransaction { session, act }).await, Reply::Unit => ())
    }
}

impl wit::HostRows for Guest {
    async fn columns(&mut self, rows: Resource<OpenRows>) -> Result<Vec<wit::Column>> {
        Ok(self.table.get(&rows)?.columns.clone())
    }

    async fn next(&mut self, rows: Resource<OpenRows>) -> Result<Result<Vec<Vec<Datum>>, Error>> {
        let stream = self.table.get(&rows)?.stream.key;
        answer!(self.attempt.call(Call::SqlNext { stream }).await, Reply::Batch(batch) => {
            batch.into_iter().map(|row| row.into_iter().map(Datum::from).collect()).collect()
        })
    }

    async fn drop(&mut self, rows: Resource<OpenRows>) -> Result<()> {
        self.table.delete(rows)?;
        Ok(())
    }
}

/// Too many are not for one frame.
fn all(parameters: Vec<Datum>) -> Result<Vec<sql::Datum>, Error> {
    sql::check_parameters(parameters.len()).map_err(Error::TooLarge)?;
    Ok(parameters.into_iter().map(sql::Datum::from).collect())
}

/// Both have the same cases.
macro_rules! same {
    ($from:path => $to:path: $($case:ident),+) => {
        impl From<$from> for $to {
            fn from(datum: $from) -> Self {
                use $from as Other;
                match datum {
                    Other::Null => Self::Null,
                    $(Other::$case(value) => Self::$case(value),)+
                }
            }
        }
    };
}
same!(Datum => sql::Datum: Boolean, Integer, Float, Decimal, Text, Bytes, Time, Json);
same!(sql::Datum => Datum: Boolean, Integer, Float, Decimal, Text, Bytes, Time, Json);
