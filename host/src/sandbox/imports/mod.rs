//! What a guest may import: a file for each interface of `wit/task.wit`, and `wasi:http`.
//!
//! None of them decides anything: a call is a frame to the supervisor, which knows what the attempt was granted.

pub(in crate::sandbox) mod approvals;
pub mod artifacts;
mod assets;
mod connections;
pub mod dags;
pub mod http;
mod labels;
mod log;
pub mod objects;
mod retries;
pub mod sql;
mod variables;
mod xcom;

use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
    format_err,
};

use super::{
    bindings::{Task, airlock::task::types},
    guest::Guest,
    tape,
};
use crate::wire::{CallError, Reply, Value};

/// A linker with all that a guest may import.
///
/// # Errors
/// If two interfaces have one name, which would be a bug here.
pub fn linker(engine: &Engine) -> Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    tape::add_to_linker(&mut linker)?;
    Task::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl types::Host for Guest {}

impl From<CallError> for types::Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Denied(text) => Self::Denied(text),
            CallError::NotFound(text) => Self::NotFound(text),
            CallError::TooLarge(text) => Self::TooLarge(text),
            CallError::Unavailable(text) => Self::Unavailable(text),
            CallError::Invalid(text) => Self::Invalid(text),
        }
    }
}

impl From<types::Value> for Value {
    fn from(value: types::Value) -> Self {
        Self { media_type: value.media_type, bytes: value.bytes }
    }
}

impl From<Value> for types::Value {
    fn from(value: Value) -> Self {
        Self { media_type: value.media_type, bytes: value.bytes }
    }
}

/// The part of a reply that the call expects.
macro_rules! answer {
    ($answer:expr, $pattern:pat => $value:expr) => {
        match $answer? {
            Ok($pattern) => Ok(Ok($value)),
            Ok(other) => Err($crate::sandbox::imports::unexpected(&other)),
            Err(error) => Ok(Err(error.into())),
        }
    };
}
pub(crate) use answer;

fn unexpected(reply: &Reply) -> wasmtime::Error {
    let kind = match reply {
        Reply::Unit => "Unit",
        Reply::Value(_) => "Value",
        Reply::RunValues(_) => "RunValues",
        Reply::Text(_) => "Text",
        Reply::Connection(_) => "Connection",
        Reply::Stream { .. } => "Stream",
        Reply::Bytes(_) => "Bytes",
        Reply::Size(_) => "Size",
        Reply::Response { .. } => "Response",
        Reply::DagRun(_) => "DagRun",
        Reply::Look(_) => "Look",
        Reply::AssetEvents(_) => "AssetEvents",
        Reply::Approval(_) => "Approval",
        Reply::Rows { .. } => "Rows",
        Reply::Batch(_) => "Batch",
        Reply::Object { .. } => "Object",
        Reply::ObjectInfo(_) => "ObjectInfo",
        Reply::Objects { .. } => "Objects",
    };
    format_err!("the supervisor answered a host call with `{kind}`, which does not fit it; this is a bug of airlock")
}
