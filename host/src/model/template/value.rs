//! What expressions have as values.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeDelta};
use chrono_tz::Tz;
use serde_json::Value;

use super::scope::ConnectionFacts;

/// A value while a template is rendered.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    /// There is none; the text names it. It may be asked for, and not used.
    Undefined(String),
    Json(Cow<'a, Value>),
    Instant(DateTime<Tz>),
    Span(TimeDelta),
    /// A name that holds others.
    Space(Space<'a>),
}

/// A name that holds others, which are looked up when they are used.
#[derive(Debug, Clone, Copy)]
pub(super) enum Space<'a> {
    Dag,
    DagRun,
    Task,
    Instance,
    Var,
    VarValue,
    VarJson,
    Conn,
    Connection(&'a ConnectionFacts),
    Macros,
    /// `macros.datetime`, which is called and has methods.
    Datetime,
    Loop {
        index: usize,
        length: usize,
    },
}

impl From<Value> for Val<'_> {
    fn from(value: Value) -> Self {
        Self::Json(Cow::Owned(value))
    }
}

impl<'a> From<&'a Value> for Val<'a> {
    fn from(value: &'a Value) -> Self {
        Self::Json(Cow::Borrowed(value))
    }
}

impl From<String> for Val<'_> {
    fn from(text: String) -> Self {
        Value::String(text).into()
    }
}

impl From<&str> for Val<'_> {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<bool> for Val<'_> {
    fn from(flag: bool) -> Self {
        Value::Bool(flag).into()
    }
}

impl From<i64> for Val<'_> {
    fn from(number: i64) -> Self {
        Value::from(number).into()
    }
}

impl From<usize> for Val<'_> {
    fn from(number: usize) -> Self {
        Value::from(number).into()
    }
}

impl Val<'_> {
    pub const NULL: Self = Self::Json(Cow::Owned(Value::Null));

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "nothing",
            Self::Instant(_) => "an instant",
            Self::Span(_) => "a length of time",
            Self::Space(_) => "a name that holds others",
            Self::Json(value) => match &**value {
                Value::Null => "none",
                Value::Bool(_) => "true or false",
                Value::Number(_) => "a number",
                Value::String(_) => "a text",
                Value::Array(_) => "a list",
                Value::Object(_) => "a map",
            },
        }
    }

    pub fn as_json(&self) -> Option<&Value> {
        if let Self::Json(value) = self { Some(value) } else { None }
    }

    pub fn as_text(&self) -> Option<&str> {
        self.as_json().and_then(Value::as_str)
    }

    pub fn as_i64(&self) -> Option<i64> {
        self.as_json().and_then(Value::as_i64)
    }

    pub fn is_null(&self) -> bool {
        self.as_json().is_some_and(Value::is_null)
    }

    /// Python's truth. None: of something undefined nothing is known.
    pub fn is_true(&self) -> Option<bool> {
        Some(match self {
            Self::Undefined(_) => return None,
            Self::Instant(_) | Self::Space(_) => true,
            Self::Span(span) => *span != TimeDelta::zero(),
            Self::Json(value) => match &**value {
                Value::Null => false,
                Value::Bool(flag) => *flag,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
            },
        })
    }

    /// As JSON: instants and lengths of time are texts. None: it can't be one.
    pub fn to_json(&self) -> Option<Cow<'_, Value>> {
        match self {
            Self::Undefined(_) | Self::Space(_) => None,
            Self::Json(value) => Some(Cow::Borrowed(value)),
            Self::Instant(at) => Some(Cow::Owned(Value::String(iso(at)))),
            Self::Span(span) => Some(Cow::Owned(Value::String(clock(*span)))),
        }
    }
}

/// An instant as Airflow's `ts` has it: `2026-01-31T06:00:00+00:00`, with microseconds if there are any.
pub(super) fn iso(at: &DateTime<Tz>) -> String {
    let precision = if at.timestamp_subsec_micros() == 0 { SecondsFormat::Secs } else { SecondsFormat::Micros };
    at.to_rfc3339_opts(precision, false)
}

/// A length of time as Python writes it: `1 day, 2:03:04`.
fn clock(span: TimeDelta) -> String {
    let (sign, span) = if span < TimeDelta::zero() { ("-", -span) } else { ("", span) };
    let days = match span.num_days() {
        0 => String::new(),
        1 => "1 day, ".to_owned(),
        days => format!("{days} days, "),
    };
    let seconds = span.num_seconds() % 86_400;
    format!("{sign}{days}{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// What is said to whoever asks for a connection's secret.
pub(super) fn no_secrets(name: &str) -> String {
    format!(
        "a template can't have the `{name}` of a connection, for what it makes is shown on the page: let the task read \
         it (`connections::get`), or send its request to `http://<id>.connection.internal/`"
    )
}
