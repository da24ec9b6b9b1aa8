//! What goes wrong, as a page.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::shell::{Frame, Section, Shell, page_with};
use crate::{
    api::error::ApiError,
    auth::{AuthError, NotYours},
    blobs::BlobError,
    model::{causes::chain, ids::NameError},
    scheduler::{DeployError, IntakeError, LogError, RequestError, VersionError},
    secrets::SecretsError,
    store::StoreError,
    vault::VaultError,
};

/// Why there is no page, or a form did nothing.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
    /// Only its log entry tells what it was.
    #[error("{UNTOLD}")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the rooms below say is for the page what it is for the API.
    #[error("{}", told(.0))]
    Api(ApiError),
}

const UNTOLD: &str = "something went wrong here; the server's log says what";

fn told(error: &ApiError) -> String {
    if error.status() == StatusCode::INTERNAL_SERVER_ERROR { UNTOLD.to_owned() } else { error.said_to_people() }
}

impl UiError {
    pub fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(error.into())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            // Who sees a page is signed in; scripts take 401 for the end of the session.
            Self::Api(error) if error.status() == StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN,
            Self::Api(error) => error.status(),
        }
    }
}

macro_rules! as_in_the_api {
    ($($error:ty),*) => {$(
        impl From<$error> for UiError {
            fn from(error: $error) -> Self {
                Self::Api(error.into())
            }
        }
    )*};
}

as_in_the_api!(
    AuthError,
    BlobError,
    DeployError,
    IntakeError,
    LogError,
    NotYours,
    RequestError,
    SecretsError,
    StoreError,
    &StoreError,
    VaultError
);

impl From<VersionError> for UiError {
    fn from(error: VersionError) -> Self {
        Self::internal(error)
    }
}

/// A name that can't be is the name of nothing.
impl From<NameError> for UiError {
    fn from(error: NameError) -> Self {
        Self::NotFound(error.to_string())
    }
}

/// An error that is on its way out: [`as_page`] makes the page, which needs the request.
#[derive(Debug, Clone)]
pub struct ErrorPage {
    status: StatusCode,
    text: String,
}

impl IntoResponse for UiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if let Self::Internal(source) = &self {
            tracing::error!(error = chain(&**source), "a page failed");
        }
        let mut response = status.into_response();
        response.extensions_mut().insert(ErrorPage { status, text: self.to_string() });
        response
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorView {
    shell: Shell,
    status: u16,
    heading: &'static str,
    text: String,
    back: (&'static str, &'static str),
}

/// The page of an error that was answered, also of axum's own (a form that can't be read, a method that is not there).
pub fn as_page(response: Response, frame: Frame) -> Response {
    let status = response.status();
    let known = response.extensions().get::<ErrorPage>().cloned();
    let has_page = response.headers().get(axum::http::header::CONTENT_TYPE).is_some_and(|media_type| {
        media_type.as_bytes().starts_with(b"text/html") || media_type.as_bytes().starts_with(b"application/json")
    });
    if !(status.is_client_error() || status.is_server_error()) || has_page {
        return response;
    }
    let ErrorPage { status, text } = known.unwrap_or_else(|| ErrorPage {
        status,
        text: match status {
            StatusCode::NOT_FOUND => "There is no page at this address.".into(),
            StatusCode::METHOD_NOT_ALLOWED => "This address does not take that.".into(),
            StatusCode::PAYLOAD_TOO_LARGE => "What was sent is too large.".into(),
            _ => "The request could not be understood.".into(),
        },
    });
    let heading = match status.as_u16() {
        404 => "Not found",
        403 => "Not allowed",
        409 => "That collides with what is there",
        400..500 => "That can't be done",
        _ => "Something went wrong",
    };
    let shell = frame.shell(Section::None, "error", heading);
    page_with(status, &ErrorView { shell, status: status.as_u16(), heading, text, back: ("/dags", "To the DAGs") })
}

/// A refusal that the guard makes.
pub fn refuse(status: StatusCode, text: &str) -> Response {
    let mut response = status.into_response();
    response.extensions_mut().insert(ErrorPage { status, text: text.to_owned() });
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_has_the_status_that_the_api_gives_it_and_says_no_places_of_a_body() {
        for (error, status, said) in [
            (AuthError::Throttled { retry_after: Duration::from_secs(5) }.into(), 429, "5 seconds"),
            (AuthError::UnknownToken.into(), 403, "token"),
            (RequestError::Invalid("no such task".into()).into(), 422, "no such task"),
            (RequestError::Stopped.into(), 503, "shutting down"),
            (UiError::internal("a password"), 500, UNTOLD),
        ] {
            assert_eq!(error.status().as_u16(), status, "{error}");
            assert!(error.to_string().contains(said) && !error.to_string().contains("body"), "{error}");
        }
    }
}
