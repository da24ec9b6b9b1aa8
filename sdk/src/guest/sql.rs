//! `airlock:task/sql`, in the words of this crate.

use super::imports::sql;
use crate::{
    error::HostError,
    sql::{Column, Datum},
};

pub struct Session(sql::Session);

pub struct Rows(sql::Rows);

pub fn sql_open(id: &str) -> Result<Session, HostError> {
    Ok(Session(sql::open(id)?))
}

impl Session {
    pub fn query(&self, statement: &str, parameters: Vec<Datum>) -> Result<(Vec<Column>, Rows), HostError> {
        let rows = self.0.query(statement, &all(parameters))?;
        let column = |column: sql::Column| Column { name: column.name, type_name: column.type_name };
        let columns = rows.columns().into_iter().map(column).collect();
        Ok((columns, Rows(rows)))
    }

    pub fn execute(&self, statement: &str, parameters: Vec<Datum>) -> Result<u64, HostError> {
        Ok(self.0.execute(statement, &all(parameters))?)
    }

    pub fn begin(&self) -> Result<(), HostError> {
        Ok(self.0.begin()?)
    }

    pub fn commit(&self) -> Result<(), HostError> {
        Ok(self.0.commit()?)
    }

    pub fn rollback(&self) -> Result<(), HostError> {
        Ok(self.0.rollback()?)
    }
}

impl Rows {
    pub fn next(&mut self) -> Result<Vec<Vec<Datum>>, HostError> {
        let batch = self.0.next()?;
        Ok(batch.into_iter().map(|row| row.into_iter().map(Datum::from).collect()).collect())
    }
}

fn all(parameters: Vec<Datum>) -> Vec<sql::Datum> {
    parameters.into_iter().map(sql::Datum::from).collect()
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
