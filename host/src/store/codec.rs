//! How the model's types stand in columns: names and states as text, instants as microseconds, digests as bytes.

use std::io::Read as _;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::error::BoxDynError;

use super::{
    DagRunKey, DagVersionKey, StoreError,
    db::{Bind, Json, Raw, Read, Value},
};
use crate::model::{
    backfill::ReprocessBehavior,
    grants::{Grant, GrantsPolicy},
    ids::{AssetName, ConnectionId, DagId, Digest, EntryName, PoolName, RunId, TaskId, VariableKey, XComKey},
    role::Role,
    state::{RunState, RunType, TaskState},
    time::Timestamp,
};

macro_rules! column {
    ($raw:ty: $($type:ty, |$value:ident| $encode:expr, |$stored:ident| $decode:expr;)*) => { $(
        impl Bind for &$type {
            const NULL: Value = <$raw as Bind>::NULL;
            fn into_value(self) -> Value {
                let $value = self;
                Bind::into_value($encode)
            }
        }
        impl Bind for $type {
            const NULL: Value = <$raw as Bind>::NULL;
            fn into_value(self) -> Value {
                (&self).into_value()
            }
        }
        impl Read for $type {
            fn read(raw: Raw<'_>) -> Result<Self, BoxDynError> {
                let $stored = <$raw as Read>::read(raw)?;
                Ok($decode)
            }
        }
    )* };
}

macro_rules! text_column {
    ($($type:ty),*) => { column! { String:
        $($type, |value| value.as_str().to_owned(), |stored| stored.parse()?;)*
    } };
}

text_column!(
    AssetName,
    DagId,
    RunId,
    TaskId,
    EntryName,
    XComKey,
    VariableKey,
    ConnectionId,
    PoolName,
    TaskState,
    RunState,
    RunType,
    ReprocessBehavior,
    Role
);

column! { String:
    Grant, |value| value.to_string(), |stored| stored.parse()?;
    GrantsPolicy, |value| value.to_string(), |stored| stored.parse()?;
}

column! { i64:
    Timestamp, |value| value.as_micros(), |stored| Timestamp::from_micros(stored);
    DagRunKey, |value| value.0, |stored| DagRunKey(stored);
    DagVersionKey, |value| value.0, |stored| DagVersionKey(stored);
}

column! { Vec<u8>:
    Digest, |value| value.0.to_vec(), |stored| Digest(stored.as_slice().try_into()?);
}

/// Above this, JSON is compressed.
const COMPRESS_ABOVE_BYTES: usize = 16 << 10;
/// Refuses to unpack more than this: no spec that was accepted is larger.
const UNPACKED_MAX_BYTES: u64 = 256 << 20;
/// The first byte of packed JSON: what follows.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// `json` for a column: as it is, or compressed if it is long.
pub(super) fn pack(json: &[u8]) -> Result<Vec<u8>, StoreError> {
    let (tag, body) = if json.len() > COMPRESS_ABOVE_BYTES {
        (ZSTD, zstd::encode_all(json, 3).map_err(StoreError::corrupt)?)
    } else {
        (PLAIN, json.to_vec())
    };
    let mut packed = Vec::with_capacity(body.len() + 1);
    packed.push(tag);
    packed.extend_from_slice(&body);
    Ok(packed)
}

/// What [`pack`] was given, and its length.
pub(super) fn unpack<T: DeserializeOwned>(packed: &[u8]) -> Result<(T, usize), StoreError> {
    let json = match packed.split_first() {
        Some((&PLAIN, body)) => std::borrow::Cow::Borrowed(body),
        Some((&ZSTD, body)) => {
            let mut json = Vec::new();
            let decoder = zstd::Decoder::new(body).map_err(StoreError::corrupt)?;
            decoder.take(UNPACKED_MAX_BYTES).read_to_end(&mut json).map_err(StoreError::corrupt)?;
            json.into()
        }
        Some(_) | None => return Err(StoreError::corrupt("packed json starts with an unknown byte")),
    };
    let value = serde_json::from_slice(&json).map_err(StoreError::corrupt)?;
    Ok((value, json.len()))
}

/// A parameter that holds rows.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Json, StoreError> {
    json_text(value).map(Json)
}

/// What a column of text holds as JSON.
pub(super) fn json_text<T: Serialize + ?Sized>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::corrupt)
}
