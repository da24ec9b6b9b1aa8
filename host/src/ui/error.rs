//! What goes wrong, as a page.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::shell::{Frame, Section, Shell, page_with};
use crate::{
    auth::{AuthError, NotYours},
    model::{causes::chain, ids::NameError},
    scheduler::{IntakeError, LogError, RequestError, VersionError},
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
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    TooMany(String),
    /// Only its log entry tells what it was.
    #[error("something went wrong here; the server's log says what")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    TooSlow(StoreError),
    #[error("the server is shutting down; try again")]
    Unavailable,
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
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooSlow(_) | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<StoreError> for UiError {
    fn from(error: StoreError) -> Self {
        if let StoreError::TooSlow(_) = error { Self::TooSlow(error) } else { Self::internal(error) }
    }
}

impl From<AuthError> for UiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::UnknownUser(_) | AuthError::NoSuchToken(_) | AuthError::NoProvider => {
                Self::NotFound(error.to_string())
            }
            AuthError::UserExists(_)
            | AuthError::NameTaken(_)
            | AuthError::PasswordOfVouched(_)
            | AuthError::LastAdmin(_)
            | AuthError::TokenExists(_)
            | AuthError::TooManyTokens => Self::Conflict(error.to_string()),
            AuthError::UserName(_)
            | AuthError::Password(_)
            | AuthError::PresentPassword
            | AuthError::TokenName
            | AuthError::TokenRole { .. }
            | AuthError::DagPermission(_)
            | AuthError::TokenLifetime => Self::Invalid(error.to_string()),
            AuthError::WrongPassword
            | AuthError::Throttled { .. }
            | AuthError::UnknownToken
            | AuthError::TokenByToken
            | AuthError::PasswordByToken
            | AuthError::EndByToken
            | AuthError::TokenOfOther
            | AuthError::NotLetIn(_)
            | AuthError::Provider(_) => Self::Forbidden(error.to_string()),
            AuthError::TooManyListeners(_) => Self::TooMany(error.to_string()),
            AuthError::Store(error) => Self::internal(error),
        }
    }
}

impl From<IntakeError> for UiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::TooLarge => Self::Invalid(error.to_string()),
            IntakeError::Full(_) => Self::TooMany(error.to_string()),
        }
    }
}

impl From<NotYours> for UiError {
    fn from(error: NotYours) -> Self {
        match error {
            NotYours::Unknown(_) => Self::NotFound(error.to_string()),
            NotYours::Forbidden { .. } => Self::Forbidden(error.to_string()),
        }
    }
}

impl From<LogError> for UiError {
    fn from(error: LogError) -> Self {
        Self::internal(error)
    }
}

impl From<VaultError> for UiError {
    fn from(error: VaultError) -> Self {
        Self::internal(error)
    }
}

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

impl From<RequestError> for UiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotFound(text) => Self::NotFound(text),
            RequestError::Conflict(text) => Self::Conflict(text),
            RequestError::Invalid(text) => Self::Invalid(text),
            RequestError::Forbidden(text) => Self::Forbidden(text),
            RequestError::Store(error) => Self::internal(error),
            RequestError::Stopped => Self::Unavailable,
        }
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
