//! Values of XComs and inputs: where they are, and whether they are what they say.

use serde::de::{IgnoredAny, SeqAccess, Visitor};

pub(super) use crate::model::media_type::is_json;
use crate::{
    blobs::{BlobError, Blobs},
    store::XComBody,
    wire::{CallError, Value},
};

pub(super) const JSON: &str = "application/json";

/// Checking more than this takes long enough to be a matter for another thread.
const LONG_BYTES: usize = 256 << 10;

/// # Errors
/// Says why `value` is not the JSON that it claims to be.
pub(super) fn check_json(value: &Value) -> Result<(), String> {
    if !is_json(&value.media_type) {
        return Ok(());
    }
    match serde_json::from_slice::<IgnoredAny>(&value.bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("its media type is {}, and it is not valid JSON: {error}", value.media_type)),
    }
}

/// How many elements `value` has, if it is a JSON list.
pub(super) fn list_length(value: &Value) -> Option<u32> {
    struct Length;
    impl<'de> Visitor<'de> for Length {
        type Value = u32;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u32, A::Error> {
            let mut length = 0_u32;
            while list.next_element::<IgnoredAny>()?.is_some() {
                length = length.saturating_add(1);
            }
            Ok(length)
        }
    }
    if !is_json(&value.media_type) {
        return None;
    }
    serde::Deserializer::deserialize_seq(&mut serde_json::Deserializer::from_slice(&value.bytes), Length).ok()
}

/// Does what takes long for large values on a thread that may be busy.
pub(super) async fn off_the_loop<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    if bytes <= LONG_BYTES {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(CallError::Unavailable("the value could not be checked".into())))
}

/// The bytes of an XCom, wherever they are.
pub(super) async fn load(blobs: &Blobs, body: XComBody) -> Result<Vec<u8>, LoadError> {
    match body {
        XComBody::Inline(bytes) => Ok(bytes),
        XComBody::Blob(key) => match blobs.get(&key).await? {
            Some(bytes) => Ok(bytes.into()),
            None => Err(LoadError::Gone(key)),
        },
    }
}

/// Why a value can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("its object can't be read")]
    Blobs(#[from] BlobError),
    #[error("its object `{0}` is not in storage")]
    Gone(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        Value { media_type: JSON.into(), bytes: text.into() }
    }

    #[test]
    fn lengths_of_lists_and_of_nothing_else() {
        assert_eq!(list_length(&json("[]")), Some(0));
        assert_eq!(list_length(&json("[1, [2, 3], {\"a\": [4]}]")), Some(3));
        for other in ["{}", "1", "\"[1]\"", "[1", "null"] {
            assert_eq!(list_length(&json(other)), None, "{other}");
        }
        assert_eq!(list_length(&Value { media_type: "text/plain".into(), bytes: "[1]".into() }), None);
        assert_eq!(list_length(&Value { media_type: "application/x+json".into(), bytes: "[1]".into() }), Some(1));
    }

    #[test]
    fn what_claims_to_be_json_must_be() {
        assert_eq!(check_json(&json("{\"a\": 1}")), Ok(()));
        assert!(check_json(&json("{\"a\": 1")).is_err());
        assert!(check_json(&json(&"[".repeat(100_000))).is_err());
        assert_eq!(check_json(&Value { media_type: "text/csv".into(), bytes: "a,b".into() }), Ok(()));
        for media_type in ["Application/JSON; charset=utf-8", "application/geo+json"] {
            assert!(check_json(&Value { media_type: media_type.into(), bytes: "a".into() }).is_err(), "{media_type}");
        }
    }
}
