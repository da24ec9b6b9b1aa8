//! Values as databases have them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone};

/// A value in a database, or for a parameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Datum {
    /// No value.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, as exact as it goes.
    Float(f64),
    /// A number as its digits: `-12.50`.
    Decimal(String),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A date, a time of day or both, as RFC 3339 writes them; without an offset where the database keeps none.
    Time(String),
    /// JSON.
    Json(String),
}

/// What can be a parameter of a statement.
pub trait ToDatum {
    /// The value, as the database gets it.
    fn to_datum(&self) -> Datum;
}

impl ToDatum for Datum {
    fn to_datum(&self) -> Datum {
        self.clone()
    }
}

impl<T: ToDatum> ToDatum for Option<T> {
    fn to_datum(&self) -> Datum {
        self.as_ref().map_or(Datum::Null, T::to_datum)
    }
}

impl<T: ToDatum + ?Sized> ToDatum for &T {
    fn to_datum(&self) -> Datum {
        T::to_datum(self)
    }
}

macro_rules! to_datum {
    ($($type:ty: |$value:ident| $datum:expr;)+) => {
        $(impl ToDatum for $type {
            fn to_datum(&self) -> Datum {
                let $value = self;
                $datum
            }
        })+
    };
}

to_datum! {
    bool: |value| Datum::Boolean(*value);
    i8: |value| Datum::Integer((*value).into());
    i16: |value| Datum::Integer((*value).into());
    i32: |value| Datum::Integer((*value).into());
    i64: |value| Datum::Integer(*value);
    u8: |value| Datum::Integer((*value).into());
    u16: |value| Datum::Integer((*value).into());
    u32: |value| Datum::Integer((*value).into());
    u64: |value| i64::try_from(*value).map_or_else(|_| Datum::Decimal(value.to_string()), Datum::Integer);
    usize: |value| (*value as u64).to_datum();
    f32: |value| Datum::Float((*value).into());
    f64: |value| Datum::Float(*value);
    str: |value| Datum::Text(value.to_owned());
    String: |value| Datum::Text(value.clone());
    [u8]: |value| Datum::Bytes(value.to_vec());
    Vec<u8>: |value| Datum::Bytes(value.clone());
    NaiveDate: |value| Datum::Time(value.to_string());
    NaiveTime: |value| Datum::Time(value.to_string());
    NaiveDateTime: |value| Datum::Time(value.format("%Y-%m-%dT%H:%M:%S%.f").to_string());
    serde_json::Value: |value| Datum::Json(value.to_string());
}

impl<Z: TimeZone> ToDatum for DateTime<Z> {
    fn to_datum(&self) -> Datum {
        Datum::Time(self.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}
