//! Values on their way into statements and out of rows.

use sqlx::{
    Arguments as _, Decode, Postgres, Sqlite, TypeInfo as _, ValueRef as _,
    error::BoxDynError,
    postgres::{PgArguments, PgValueRef},
    sqlite::{SqliteArguments, SqliteValueRef},
};

/// A value for a parameter. A NULL has a type, too: PostgreSQL asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Json(Option<String>),
    Blob(Option<Vec<u8>>),
}

/// A value of a column. NULL is read by [`Option`].
#[derive(Debug, Clone, Copy)]
pub enum Raw<'r> {
    Null,
    Int(i64),
    Text(&'r str),
    Blob(&'r [u8]),
}

/// Rows for a parameter that is read as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub String);

/// What can be bound to a parameter.
pub trait Bind {
    /// The NULL of its type.
    const NULL: Value;
    fn into_value(self) -> Value;
}

/// What a column can be read as.
pub trait Read: Sized {
    fn read(raw: Raw<'_>) -> Result<Self, BoxDynError>;
}

impl Value {
    pub(super) fn add_sqlite(self, to: &mut SqliteArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Int(value) => to.add(value),
            Self::Text(value) | Self::Json(value) => to.add(value),
            Self::Blob(value) => to.add(value),
        }
    }

    pub(super) fn add_postgres(self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Int(value) => to.add(value),
            Self::Text(value) => to.add(value.map(without_nul)),
            Self::Json(value) => to.add(value.map(json_without_nul)),
            Self::Blob(value) => to.add(value),
        }
    }
}

/// PostgreSQL's text holds no NUL: U+FFFD instead.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// As [`without_nul`] of the texts in it.
fn json_without_nul(json: String) -> String {
    const NUL: &str = "\\u0000";
    if !json.contains(NUL) {
        return json;
    }
    let mut clean = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        // An escape is `\uXXXX`, or a backslash and one more.
        let length = if from.starts_with("\\u") { NUL.len() } else { 2 };
        let (escape, after) = from.split_at_checked(length).unwrap_or((from, ""));
        clean.push_str(before);
        clean.push_str(if escape == NUL { "\\ufffd" } else { escape });
        rest = after;
    }
    clean.push_str(rest);
    clean
}

impl<'r> Raw<'r> {
    pub(super) fn of_sqlite(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.is_null() {
            return Ok(Self::Null);
        }
        let stored = value.type_info().into_owned();
        match stored.name() {
            "TEXT" => Decode::<Sqlite>::decode(value).map(Self::Text),
            "BLOB" => Decode::<Sqlite>::decode(value).map(Self::Blob),
            "INTEGER" => Decode::<Sqlite>::decode(value).map(Self::Int),
            other => Err(format!("a column holds a value of type {other}").into()),
        }
    }

    pub(super) fn of_postgres(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if value.is_null() {
            return Ok(Self::Null);
        }
        let stored = value.type_info().into_owned();
        match stored.name() {
            "TEXT" | "VARCHAR" | "NAME" => Decode::<Postgres>::decode(value).map(Self::Text),
            "BYTEA" => Decode::<Postgres>::decode(value).map(Self::Blob),
            "INT8" => Decode::<Postgres>::decode(value).map(Self::Int),
            "INT4" => <i32 as Decode<Postgres>>::decode(value).map(|value| Self::Int(value.into())),
            "BOOL" => <bool as Decode<Postgres>>::decode(value).map(|value| Self::Int(value.into())),
            other => Err(format!("a column holds a value of type {other}").into()),
        }
    }

    fn mismatch(self, wanted: &str) -> BoxDynError {
        let found = match self {
            Raw::Null => "NULL",
            Raw::Int(_) => "an integer",
            Raw::Text(_) => "text",
            Raw::Blob(_) => "bytes",
        };
        format!("expected {wanted}, found {found}").into()
    }
}

impl<T: Bind> Bind for Option<T> {
    const NULL: Value = T::NULL;
    fn into_value(self) -> Value {
        self.map_or(Self::NULL, T::into_value)
    }
}

impl<'a, T> Bind for &'a Option<T>
where
    &'a T: Bind,
{
    const NULL: Value = <&'a T as Bind>::NULL;
    fn into_value(self) -> Value {
        self.as_ref().into_value()
    }
}

impl<T: Read> Read for Option<T> {
    fn read(raw: Raw<'_>) -> Result<Self, BoxDynError> {
        match raw {
            Raw::Null => Ok(None),
            raw => T::read(raw).map(Some),
        }
    }
}

impl Bind for Value {
    const NULL: Value = Value::Text(None);
    fn into_value(self) -> Value {
        self
    }
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl Bind for $type {
            const NULL: Value = Value::Int(None);
            fn into_value(self) -> Value {
                Value::Int(Some(self.into()))
            }
        }
        impl Bind for &$type {
            const NULL: Value = Value::Int(None);
            fn into_value(self) -> Value {
                (*self).into_value()
            }
        }
        impl Read for $type {
            fn read(raw: Raw<'_>) -> Result<Self, BoxDynError> {
                match raw {
                    Raw::Int(value) => Ok(value.try_into()?),
                    other => Err(other.mismatch("an integer")),
                }
            }
        }
    )* };
}
integers!(i64, i32, u32, u16);

/// Flags are 0 or 1; conditions are of a type of their own in PostgreSQL.
impl Bind for bool {
    const NULL: Value = Value::Int(None);
    fn into_value(self) -> Value {
        i64::from(self).into_value()
    }
}

impl Bind for &bool {
    const NULL: Value = Value::Int(None);
    fn into_value(self) -> Value {
        (*self).into_value()
    }
}

impl Read for bool {
    fn read(raw: Raw<'_>) -> Result<Self, BoxDynError> {
        Ok(i64::read(raw)? != 0)
    }
}

impl Bind for String {
    const NULL: Value = Value::Text(None);
    fn into_value(self) -> Value {
        Value::Text(Some(self))
    }
}

impl Bind for &String {
    const NULL: Value = Value::Text(None);
    fn into_value(self) -> Value {
        self.clone().into_value()
    }
}

impl Bind for &str {
    const NULL: Value = Value::Text(None);
    fn into_value(self) -> Value {
        self.to_owned().into_value()
    }
}

impl Read for String {
    fn read(raw: Raw<'_>) -> Result<Self, BoxDynError> {
        match raw {
            Raw::Text(value) => Ok(value.to_owned()),
            other => Err(other.mismatch("text")),
        }
    }
}

impl Bind for Json {
    const NULL: Value = Value::Json(None);
    fn into_value(self) -> Value {
        Value::Json(Some(self.0))
    }
}

impl Bind for &Json {
    const NULL: Value = Value::Json(None);
    fn into_value(self) -> Value {
        self.clone().into_value()
    }
}

impl Bind for Vec<u8> {
    const NULL: Value = Value::Blob(None);
    fn into_value(self) -> Value {
        Value::Blob(Some(self))
    }
}

impl Bind for &Vec<u8> {
    const NULL: Value = Value::Blob(None);
    fn into_value(self) -> Value {
        self.clone().into_value()
    }
}

impl Bind for &[u8] {
    const NULL: Value = Value::Blob(None);
    fn into_value(self) -> Value {
        self.to_vec().into_value()
    }
}

impl Read for Vec<u8> {
    fn read(raw: Raw<'_>) -> Result<Self, BoxDynError> {
        match raw {
            Raw::Blob(value) => Ok(value.to_vec()),
            other => Err(other.mismatch("bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_what_looks_like_it_is_not() {
        for text in ["", "a\0b\0", "\\u0000", "\\\0", "\\\\u0000\0", "\u{1}\0\n\0\"\0\\", "ä\0🔒"] {
            let json = serde_json::to_string(&[text]).unwrap();
            let read: Vec<String> = serde_json::from_str(&json_without_nul(json)).unwrap();
            assert_eq!(read, [text.replace('\0', "\u{fffd}")], "{text:?}");
        }
    }
}
