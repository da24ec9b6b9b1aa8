//! What tasks and databases say to each other.

use serde::{Deserialize, Serialize};

/// A value in a database, or for a parameter. As `sql.datum` of `wit/task.wit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Datum {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    /// Digits, a sign and a point; or `NaN`, `Infinity`, `-Infinity`.
    Decimal(String),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A date, a time of day or both, as RFC 3339 writes them, with an offset or without.
    Time(String),
    Json(String),
}

/// Values are the same if they look the same: a `NaN` too.
impl Eq for Datum {}

/// As `sql.column`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// As the database calls it.
    pub type_name: String,
}

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transaction {
    Begin,
    Commit,
    Rollback,
}

impl Transaction {
    /// As all databases write it.
    pub fn statement(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
        }
    }
}

/// The most parameters of a statement.
const MAX_PARAMETERS: usize = 1_000;

/// # Errors
/// If a statement may not have so many parameters.
pub fn check_parameters(count: usize) -> Result<(), String> {
    if count <= MAX_PARAMETERS {
        return Ok(());
    }
    Err(format!("{count} parameters of a statement are above the limit of {MAX_PARAMETERS}"))
}

/// One value for each column.
pub type Row = Vec<Datum>;

impl Datum {
    /// Bytes that the value takes, roughly.
    pub fn size_bytes(&self) -> usize {
        let own = match self {
            Self::Null | Self::Boolean(_) | Self::Integer(_) | Self::Float(_) => 0,
            Self::Decimal(text) | Self::Text(text) | Self::Time(text) | Self::Json(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        };
        own + size_of::<Self>()
    }

    /// What sort of value it is, for a message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Decimal(_) => "a decimal",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Time(_) => "a time",
            Self::Json(_) => "JSON",
        }
    }
}
