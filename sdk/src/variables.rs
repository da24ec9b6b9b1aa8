//! Settings that operators keep apart from code. Airflow: Variables.
//!
//! A dag reads those that it was granted: `#[dag(variables = ["target", "reports/*"])]`.
//!
//! ```
//! # use airlock_sdk::prelude::*;
//! #[task]
//! fn target() -> Result<f64> {
//!     Ok(variables::get("target")?.parse()?)
//! }
//! let host = airlock_sdk::testing::Host::new().variable("target", "0.5");
//! assert_eq!(host.run(|_| target::run()).unwrap(), 0.5);
//! ```

use serde::de::DeserializeOwned;

use crate::{
    error::{HostError, Result, found},
    host,
    value::from_json,
};

/// The value of variable `key`.
///
/// # Errors
/// [`HostError::Denied`] without the grant; [`HostError::NotFound`] if there is no such variable.
pub fn get(key: &str) -> Result<String, HostError> {
    host::variable_get(key)
}

/// As [`get`], with `None` if there is no such variable.
///
/// # Errors
/// [`HostError::Denied`] without the grant.
pub fn find(key: &str) -> Result<Option<String>, HostError> {
    found(get(key))
}

/// The value of variable `key`, which is JSON.
///
/// # Errors
/// As [`get`]; and if the value is not a `T`.
pub fn get_json<T: DeserializeOwned>(key: &str) -> Result<T> {
    from_json(&get(key)?, || format!("variable `{key}`"))
}
