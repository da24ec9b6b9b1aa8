//! Bodies of what is said of a dag in place of what the server's settings say, and what becomes of them.

use super::{Api, error::ApiError};
use crate::{
    model::{dag_numbers::NumberError, ids::DagId},
    scheduler::HeldNumbers,
};

/// A body with the fields of `$said`, and what they mean for whoever reads the document of the API.
macro_rules! body {
    ($(#[$about:meta])* $body:ident = $said:ty { $($(#[$about_field:meta])* $field:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $body {
            $($(#[$about_field])* $field: Option<u32>,)*
        }

        impl From<$body> for $said {
            fn from($body { $($field),* }: $body) -> Self {
                Self { $($field),* }
            }
        }

        impl From<$said> for $body {
            fn from(said: $said) -> Self {
                Self { $($field: said.$field),* }
            }
        }
    };
}

pub(super) use body;

/// Says it of a dag.
///
/// # Errors
/// 422 if a number is too large, 404 if there is no such dag.
pub async fn put<T: HeldNumbers>(api: &Api, dag_id: &DagId, said: impl Into<T>) -> Result<(), ApiError> {
    let said = said.into();
    check(said, &["body"])?;
    Ok(api.scheduler.dag_set_numbers(dag_id, said).await?)
}

/// Refuses a number that is too large, and tells where it is in the request.
///
/// # Errors
/// 422.
pub fn check<T: HeldNumbers>(said: T, at: &[&'static str]) -> Result<(), ApiError> {
    let refuse = |error: NumberError| ApiError::invalid(at.iter().copied().chain([error.field]), error.to_string());
    said.check().map_err(refuse)
}
