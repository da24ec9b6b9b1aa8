//! What a refused or failed request is answered with: the members of RFC 9457, with `detail` as Airflow's clients read it.
//!
//! As `application/json`, as Airflow's are: `airflowctl` reads no other type.

use std::{error::Error, fmt, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::identity::Denied;
use crate::{
    auth::{AuthError, NotYours},
    blobs::BlobError,
    model::{causes::chain, ids::NameError, shares::Full},
    scheduler::{CompileError, DeployError, IntakeError, LogError, RequestError},
    secrets::SecretsError,
    store::StoreError,
    vault::VaultError,
};

/// Why a request was not answered as asked. Holds nothing that a client must not see.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Detail,
    retry_after: Option<Duration>,
}

/// What went wrong: a text, or for a wrong input (422) a list of what is wrong where.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Detail {
    Text(String),
    Inputs(Vec<WrongInput>),
}

/// One wrong input. Airflow: `ValidationError`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct WrongInput {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Where it is, as `["body", "conf", "target"]`.
    loc: Vec<Place>,
    msg: String,
}

impl fmt::Display for WrongInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.loc.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "." })?;
            match place {
                Place::Name(name) => f.write_str(name)?,
                Place::Index(index) => write!(f, "{index}")?,
            }
        }
        write!(f, ": {}", self.msg)
    }
}

/// A step on the way to an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Place {
    Name(String),
    Index(usize),
}

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem<'a> {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a Detail,
    /// A word for programs, as `not_found`.
    code: &'static str,
    /// Finds the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: Detail::Text(detail.into()), retry_after: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 429: the same request may do after `retry_after`.
    pub fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail) }
    }

    /// 503: the same request may do later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        }
    }

    /// 500. `error` goes to the log; the client learns nothing of it.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        Self::internal_unlogged()
    }

    /// 500 for what has been logged already.
    pub fn internal_unlogged() -> Self {
        let detail = "something went wrong in the server; its log says more under this request_id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// 422: the input at `loc` is wrong.
    pub fn invalid<P: Into<Place>>(loc: impl IntoIterator<Item = P>, msg: impl Into<String>) -> Self {
        let input = WrongInput { kind: "value_error", loc: loc.into_iter().map(Into::into).collect(), msg: msg.into() };
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "invalid_input",
            detail: Detail::Inputs(vec![input]),
            retry_after: None,
        }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in one line.
    pub fn said(&self) -> String {
        match &self.detail {
            Detail::Text(text) => text.clone(),
            Detail::Inputs(inputs) => inputs.iter().map(WrongInput::to_string).collect::<Vec<_>>().join("; "),
        }
    }

    /// As [`ApiError::said`], without the places in a body or query, which people did not write.
    pub fn said_to_people(&self) -> String {
        match &self.detail {
            Detail::Text(text) => text.clone(),
            Detail::Inputs(inputs) => inputs.iter().map(|input| input.msg.as_str()).collect::<Vec<_>>().join("; "),
        }
    }

    /// The answer, with the id under which the log knows the request.
    pub fn render(&self, request_id: Option<&str>) -> Response {
        let problem = Problem {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            request_id,
        };
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

impl IntoResponse for ApiError {
    /// The answer carries the error along, so that the outermost layer can add the request's id.
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<&str> for Place {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Place {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<&StoreError> for ApiError {
    fn from(error: &StoreError) -> Self {
        if error.is_transient() {
            tracing::warn!(error = %chain(error), "the database can't be used");
            return Self::unavailable("the database can't be used right now; try again");
        }
        match error {
            StoreError::Conflict(_) => Self::conflict("it exists already, or was changed by somebody else; look again"),
            StoreError::TooSlow(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", error.to_string()),
            StoreError::Stale => Self::not_found("it was deleted a moment ago"),
            other => Self::internal(other),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NotFound(what) => Self::not_found(what),
            RequestError::Conflict(what) => Self::conflict(what),
            RequestError::Invalid(what) => Self::invalid(["body"], what),
            RequestError::Forbidden(what) => Self::new(StatusCode::FORBIDDEN, "forbidden", what),
            RequestError::Store(error) => Self::from(&*error),
            RequestError::Stopped => Self::unavailable(error.to_string()),
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Compile(error) => Self::from(error),
            DeployError::Dag(_)
            | DeployError::Yaml(_)
            | DeployError::Name(_)
            | DeployError::Entry(_)
            | DeployError::Duplicate(_)
            | DeployError::AssetCycle(_)
            | DeployError::Signature(_)
            | DeployError::Unknown => Self::invalid(["body"], error.to_string()),
            DeployError::NotTheirs(_)
            | DeployError::LibraryOfAll
            | DeployError::NameOfOthers(_)
            | DeployError::AssetOfOthers(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", error.to_string()),
            DeployError::TooMany(error) => Self::from(error),
            DeployError::Blobs(error) => Self::from(error),
            DeployError::Store(error) => Self::from(error),
            DeployError::Stopped => Self::unavailable(error.to_string()),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::TooLarge => Self::too_large(error.to_string()),
            IntakeError::Full(Full::One) => Self::too_many(error.to_string(), Duration::from_secs(10)),
            IntakeError::Full(Full::All) => Self::unavailable(error.to_string()),
        }
    }
}

impl From<CompileError> for ApiError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Refused(why) => Self::invalid(["body"], why),
            CompileError::Failed(_) => {
                tracing::error!(error = %chain(&error), "a component could not be compiled");
                Self::unavailable("the component could not be compiled now; try again, the server's log says more")
            }
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        match error {
            AuthError::WrongPassword => Self::new(StatusCode::UNAUTHORIZED, "wrong_password", text),
            AuthError::UnknownToken => Self::new(StatusCode::UNAUTHORIZED, "unknown_token", text),
            AuthError::Throttled { retry_after } => {
                Self { code: "too_many_attempts", ..Self::too_many(text, retry_after) }
            }
            AuthError::Password(crate::auth::PasswordError::Hash) => Self::internal(&error),
            AuthError::PresentPassword => Self::invalid(["body", "present_password"], text),
            AuthError::Password(_) => Self::invalid(["body", "password"], text),
            AuthError::TokenByToken
            | AuthError::PasswordByToken
            | AuthError::EndByToken
            | AuthError::TokenOfOther
            | AuthError::NotLetIn(_)
            | AuthError::Provider(_) => Self::new(StatusCode::FORBIDDEN, "forbidden", text),
            AuthError::TokenName => Self::invalid(["body", "name"], text),
            AuthError::TokenRole { .. } => Self::invalid(["body", "role"], text),
            AuthError::DagPermission(_) => Self::invalid(["body", "dag_permissions"], text),
            AuthError::TokenLifetime => Self::invalid(["body", "days"], text),
            AuthError::UserName(_) => Self::invalid(["body", "username"], text),
            AuthError::UserExists(_)
            | AuthError::NameTaken(_)
            | AuthError::PasswordOfVouched(_)
            | AuthError::LastAdmin(_)
            | AuthError::TokenExists(_)
            | AuthError::TooManyTokens => Self::conflict(text),
            AuthError::UnknownUser(_) | AuthError::NoSuchToken(_) | AuthError::NoProvider => Self::not_found(text),
            AuthError::TooManyListeners(Full::One) => Self::too_many(text, Duration::from_secs(1)),
            AuthError::TooManyListeners(Full::All) => Self::unavailable(text),
            AuthError::Store(error) => Self::from(error),
        }
    }
}

impl From<NotYours> for ApiError {
    fn from(error: NotYours) -> Self {
        Denied::from(error).into()
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        let text = denied.to_string();
        match denied {
            Denied::NoToken => Self::new(StatusCode::UNAUTHORIZED, "no_token", text),
            Denied::UnknownToken => Self::new(StatusCode::UNAUTHORIZED, "unknown_token", text),
            Denied::ForeignOrigin => Self::new(StatusCode::FORBIDDEN, "foreign_origin", text),
            Denied::Forbidden { .. } | Denied::NotYours(NotYours::Forbidden { .. }) => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", text)
            }
            Denied::NoDag(_) | Denied::NotYours(NotYours::Unknown(_)) => Self::not_found(text),
            Denied::Failed(error) => Self::from(error),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        if !error.is_transient() {
            return Self::internal(&error);
        }
        tracing::warn!(error = %chain(&error), "object storage can't be used");
        Self::unavailable("object storage can't be used right now; try again")
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(_) => {
                tracing::warn!(error = %chain(&error), "a log can't be read");
                Self::unavailable(error.to_string())
            }
            LogError::Damaged(_) => Self::internal(&error),
        }
    }
}

impl From<SecretsError> for ApiError {
    fn from(error: SecretsError) -> Self {
        Self::internal(&error)
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::Secrets(error) => error.into(),
            VaultError::Backend(error) => Self::unavailable(error.to_string()),
        }
    }
}

impl From<NameError> for ApiError {
    fn from(error: NameError) -> Self {
        Self::invalid(["body"], error.to_string())
    }
}
