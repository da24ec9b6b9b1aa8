//! Values on their way between tasks: bytes with a media type, JSON unless the author chose otherwise.

use std::{any::Any, borrow::Cow};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::{Error, Fatal, Result};

/// The media type of values that are not [`Bytes`].
pub(crate) const JSON: &str = "application/json";

/// A value as Airlock carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub media_type: Cow<'static, str>,
    pub bytes: Vec<u8>,
}

impl Value {
    /// What `()` and `None` are written as.
    fn is_null(&self) -> bool {
        self.bytes == b"null" && self.media_type == JSON
    }
}

/// Bytes with a media type of their own, as a task's input or result: they are carried as they are, not as JSON.
///
/// That holds where `Bytes` is the whole value (or `Option<Bytes>`); inside another type it is a JSON object.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task]
/// fn draw(width: u32) -> Bytes {
///     Bytes::new("image/svg+xml", format!("<svg width='{width}'/>"))
/// }
///
/// #[task]
/// fn measure(picture: Bytes) -> usize {
///     picture.bytes.len()
/// }
///
/// #[dag]
/// fn pictures(dag: &Dag) {
///     measure(dag, draw(dag, 40));
/// }
/// # let run = airlock_sdk::testing::Host::new().run_dag::<pictures>().unwrap();
/// # assert_eq!(run.result::<usize>("measure").unwrap(), 17);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// An RFC 9110 media type, at most 255 bytes.
    pub media_type: String,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

impl Bytes {
    /// `bytes` of `media_type`.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { media_type: media_type.into(), bytes: bytes.into() }
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "description": "Bytes with a media type of their own." })
    }
}

/// What a task can take: any type that serde reads, with a JSON Schema.
///
/// Mark a type of your own with [`#[data]`](macro@crate::data), or derive `serde::Deserialize` and [`JsonSchema`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a task's input",
    label = "a task can't take this",
    note = "an input is read from JSON: mark it with `#[data]`, or derive `serde::Deserialize` and `airlock_sdk::JsonSchema`",
    note = "references are read as what they point at: `&str`, `&[T]` and `&T` are fine; the context is taken as `&Context`"
)]
pub trait TaskInput: DeserializeOwned + JsonSchema + 'static {}
impl<T: DeserializeOwned + JsonSchema + 'static> TaskInput for T {}

/// What a task can return: any type that serde writes, with a JSON Schema.
///
/// Mark a type of your own with [`#[data]`](macro@crate::data), or derive `serde::Serialize` and [`JsonSchema`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a task's result",
    label = "a task can't return this",
    note = "a result is written as JSON: mark it with `#[data]`, or derive `serde::Serialize` and `airlock_sdk::JsonSchema`",
    note = "a task that returns `Branch` is marked `#[task(branch)]`"
)]
pub trait TaskOutput: Serialize + JsonSchema + 'static {}
impl<T: Serialize + JsonSchema + 'static> TaskOutput for T {}

/// Writes `value`.
pub(crate) fn encode<T: Serialize + 'static>(value: &T) -> Result<Value> {
    if let Some(Bytes { media_type, bytes }) = as_bytes(value) {
        return Ok(Value { media_type: media_type.clone().into(), bytes: bytes.clone() });
    }
    Ok(Value { media_type: JSON.into(), bytes: serde_json::to_vec(value)? })
}

/// The bytes that `value` is, if it is `Bytes`.
pub(crate) fn as_bytes<T: 'static>(value: &T) -> Option<&Bytes> {
    let any: &dyn Any = value;
    any.downcast_ref::<Bytes>().or_else(|| any.downcast_ref::<Option<Bytes>>()?.as_ref())
}

/// As [`encode`], where nothing (`()`, `None`) is no value.
pub(crate) fn encode_result<T: Serialize + 'static>(value: &T) -> Result<Option<Value>> {
    let any: &dyn Any = value;
    let single = any.downcast_ref::<f64>().copied().or_else(|| any.downcast_ref::<f32>().map(|value| (*value).into()));
    if let Some(value) = single.filter(|value| !value.is_finite()) {
        log::warn!("the result is {value}, which JSON does not have: the task has no result");
    }
    Ok(Some(encode(value)?).filter(|value| !value.is_null()))
}

/// Reads a `T` from `value`.
pub(crate) fn decode<T: DeserializeOwned + 'static>(value: Value) -> Result<T> {
    let mut read: Option<T> = None;
    let slot: &mut dyn Any = &mut read;
    if let Some(slot) = slot.downcast_mut::<Option<Bytes>>() {
        *slot = Some(value.into());
    } else if let Some(slot) = slot.downcast_mut::<Option<Option<Bytes>>>() {
        *slot = Some((!value.is_null()).then(|| value.into()));
    } else if is_json(&value.media_type) {
        read = Some(serde_json::from_slice(&value.bytes).map_err(explained)?);
    } else {
        return Err(Fatal::new(format!("it is `{}`; take it as `Bytes`", value.media_type)).into());
    }
    Ok(read.expect("each way above fills it"))
}

/// Says where a null comes from that stands where a number is wanted.
fn explained(error: serde_json::Error) -> Error {
    let text = error.to_string();
    if text.contains("invalid type: null, expected f") {
        return Error::new(format!("{text} (NaN and infinity are written as null, which an `Option` reads)"));
    }
    error.into()
}

impl From<Value> for Bytes {
    fn from(value: Value) -> Self {
        Self { media_type: value.media_type.into_owned(), bytes: value.bytes }
    }
}

/// RFC 6839, section 3.1.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == JSON || essence.ends_with("+json")
}

/// JSON Schema of what is read as `T`.
pub fn input_schema<T: TaskInput>() -> serde_json::Value {
    schema::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// JSON Schema of what `T` is written as; none for `()`.
pub fn output_schema<T: TaskOutput>() -> Option<serde_json::Value> {
    let nothing = std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>();
    (!nothing).then(|| schema::<T>(SchemaSettings::draft2020_12().for_serialize()))
}

fn schema<T: JsonSchema>(mut settings: SchemaSettings) -> serde_json::Value {
    // The contract says which draft it is.
    settings.meta_schema = None;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Reads `T` from the JSON text of a param.
pub(crate) fn from_json<T: DeserializeOwned>(json: &str, what: impl FnOnce() -> String) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::from(error).context(what()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_media_type_and_all_else_is_json() {
        let picture = Bytes::new("image/png", [1, 2]);
        let value = encode(&Some(picture.clone())).unwrap();
        assert_eq!((value.media_type.as_ref(), value.bytes.as_slice()), ("image/png", &[1, 2][..]));
        assert_eq!(decode::<Bytes>(value.clone()).unwrap(), picture);
        assert_eq!(decode::<String>(value).unwrap_err().to_string(), "it is `image/png`; take it as `Bytes`");
        assert_eq!(decode::<Bytes>(encode(&1).unwrap()).unwrap(), Bytes::new(JSON, "1"));
        assert_eq!(encode_result(&()).unwrap(), None);
        assert_eq!(encode_result(&None::<Bytes>).unwrap(), None);
        assert_eq!(decode::<Option<Bytes>>(encode(&None::<Bytes>).unwrap()).unwrap(), None);
        let named = Value { media_type: "Application/Geo+JSON; v=1".into(), bytes: b"7".to_vec() };
        assert_eq!(decode::<u32>(named).unwrap(), 7);
        assert_eq!(decode::<Vec<u8>>(encode(&[1_u8, 2]).unwrap()).unwrap(), [1, 2]);
    }

    #[test]
    fn nan_is_told_by_who_writes_it_and_by_who_can_not_read_it() {
        let host = crate::testing::Host::new();
        assert_eq!(host.run(|_| encode_result(&f64::NAN)).unwrap(), None);
        assert_eq!(host.run(|_| encode_result(&1.5_f32)).unwrap().unwrap().bytes, b"1.5");
        let told: Vec<_> = host.logs().into_iter().map(|line| line.message).collect();
        assert_eq!(told, ["the result is NaN, which JSON does not have: the task has no result"]);
        let list = encode(&[1.0, f64::INFINITY]).unwrap();
        let error = decode::<Vec<f64>>(list.clone()).unwrap_err().to_string();
        assert!(error.contains("null, expected f64") && error.contains("an `Option` reads"), "{error}");
        assert_eq!(decode::<Vec<Option<f64>>>(list).unwrap(), [Some(1.0), None]);
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in [0.011_000_000_000_000_001, 907.303_832_202_868_9, 5e-324, f64::MAX] {
            assert_eq!(decode::<f64>(encode(&number).unwrap()).unwrap().to_bits(), number.to_bits());
        }
    }
}
