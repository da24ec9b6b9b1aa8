//! Rows, and what is read from them.

use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

use super::value::{Raw, Read};

#[derive(Debug)]
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column's name or its place.
pub trait Column: Copy {
    fn raw(self, row: &Row) -> sqlx::Result<Result<Raw<'_>, sqlx::error::BoxDynError>>;
    fn name(self) -> String;
}

macro_rules! column {
    ($type:ty) => {
        impl Column for $type {
            fn raw(self, row: &Row) -> sqlx::Result<Result<Raw<'_>, sqlx::error::BoxDynError>> {
                Ok(match row {
                    Row::Sqlite(row) => Raw::of_sqlite(row.try_get_raw(self)?),
                    Row::Postgres(row) => Raw::of_postgres(row.try_get_raw(self)?),
                })
            }
            fn name(self) -> String {
                self.to_string()
            }
        }
    };
}
column!(&str);
column!(usize);

impl Row {
    /// The value of a column, whatever its type is.
    pub fn raw(&self, column: impl Column) -> sqlx::Result<Raw<'_>> {
        column.raw(self)?.map_err(|source| sqlx::Error::ColumnDecode { index: column.name(), source })
    }

    /// The value of a column.
    ///
    /// # Errors
    /// If there is no such column, or its value is none of `T`.
    pub fn try_get<T: Read>(&self, column: impl Column) -> sqlx::Result<T> {
        let read = column.raw(self)?.and_then(T::read);
        read.map_err(|source| sqlx::Error::ColumnDecode { index: column.name(), source })
    }
}

/// What a whole row can be read as.
pub trait FromRow: Sized {
    fn from_row(row: &Row) -> sqlx::Result<Self>;
}

/// Reads a row into a struct, each field from the column of its name, or of the name that is given; the field behind `..` is read from
/// the whole row.
macro_rules! from_row {
    ($type:ident { $($field:ident $(: $column:literal)?),+ $(, ..$part:ident)? $(,)? }) => {
        impl $crate::store::db::FromRow for $type {
            fn from_row(row: &$crate::store::db::Row) -> sqlx::Result<Self> {
                Ok(Self {
                    $($field: row.try_get(from_row!(@column $field $($column)?))?,)+
                    $($part: $crate::store::db::FromRow::from_row(row)?,)?
                })
            }
        }
    };
    (@column $field:ident) => { stringify!($field) };
    (@column $field:ident $column:literal) => { $column };
}
pub(in crate::store) use from_row;

macro_rules! tuple {
    ($($type:ident $place:literal),*) => {
        impl<$($type: Read),*> FromRow for ($($type,)*) {
            fn from_row(row: &Row) -> sqlx::Result<Self> {
                Ok(($(row.try_get::<$type>($place)?,)*))
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
