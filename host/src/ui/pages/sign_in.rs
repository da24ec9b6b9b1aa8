//! Signing in and out, and the choices of colours and of the time zone.

use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use crate::{
    api::identity::{
        Peer, clear_cookie, clear_sign_in_cookie, clear_sign_in_cookies, is_https, session_cookie, session_secret,
        sign_in_cookie, sign_in_secret,
    },
    auth::{Answer, Auth, AuthError, Oidc, OidcError, SessionKind},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, ZoneChoice, page_with, set_theme, set_zone},
    },
};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInView {
    shell: Shell,
    error: Option<String>,
    next: String,
    username: String,
    /// The text and the address of the button of another way to sign in.
    provider: Option<(String, String)>,
}

impl SignInView {
    fn new(auth: &Auth, frame: &Frame, next: &str) -> Self {
        let address = || links::with_query("/login/oidc", &[("next", next)]);
        Self {
            shell: frame.clone().shell(Section::None, "sign-in", "Sign in"),
            error: None,
            next: next.to_owned(),
            username: String::new(),
            provider: auth.provider().map(Oidc::button).map(|button| (button.to_owned(), address())),
        }
    }

    fn with_error(self, error: &AuthError) -> Self {
        let mut text = error.to_string();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { error: Some(format!("{text}.")), ..self }
    }
}

#[derive(Deserialize)]
pub struct NextQuery {
    #[serde(default)]
    next: String,
}

/// `GET /login`
pub async fn show(State(ui): State<UiState>, frame: Frame, Query(query): Query<NextQuery>) -> Response {
    let next = links::local(&query.next);
    let view = SignInView::new(&ui.auth, &frame, next);
    if view.shell.user().is_some() {
        return Redirect::to(next).into_response();
    }
    page_with(StatusCode::OK, &view)
}

#[derive(Deserialize)]
pub struct SignInForm {
    username: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`
pub async fn sign_in(
    State(ui): State<UiState>,
    frame: Frame,
    peer: Peer,
    headers: HeaderMap,
    Form(form): Form<SignInForm>,
) -> Result<Response, UiError> {
    let next = links::local(&form.next);
    let status = match ui.auth.login(&form.username, &form.password, SessionKind::Cookie, peer.0).await {
        Ok(session) => {
            let cookie = session_cookie(&session, is_https(&headers));
            return Ok(([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response());
        }
        Err(error @ AuthError::WrongPassword) => (StatusCode::UNAUTHORIZED, error),
        Err(error @ AuthError::Throttled { .. }) => (StatusCode::TOO_MANY_REQUESTS, error),
        Err(error) => return Err(error.into()),
    };
    let view = SignInView::new(&ui.auth, &frame, next).with_error(&status.1);
    Ok(page_with(status.0, &SignInView { username: form.username, ..view }))
}

/// `GET /login/oidc`: off to the provider.
pub async fn begin(
    State(ui): State<UiState>,
    frame: Frame,
    headers: HeaderMap,
    Query(query): Query<NextQuery>,
) -> Result<Response, UiError> {
    let next = links::local(&query.next);
    let is_https = is_https(&headers);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let here = format!("{}://{host}/login/oidc/callback", if is_https { "https" } else { "http" });
    match ui.auth.vouched_begin(&here, next).await {
        Ok(begun) => {
            let mut cookies = vec![sign_in_cookie(&begun.state, &begun.cookie, is_https)];
            cookies.extend(clear_sign_in_cookies(&headers, is_https));
            let cookies = cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie));
            Ok((AppendHeaders(cookies), Redirect::to(&begun.url)).into_response())
        }
        Err(error) => not_vouched(&ui, &frame, next, error),
    }
}

/// `GET /login/oidc/callback`: back from the provider.
pub async fn finish(
    State(ui): State<UiState>,
    frame: Frame,
    peer: Peer,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Result<Response, UiError> {
    let is_https = is_https(&headers);
    let cookie = sign_in_secret(&headers, answer.state());
    // Of no other sign-in: there may be one in another tab.
    let over = cookie.map(|_| (header::SET_COOKIE, clear_sign_in_cookie(answer.state(), is_https)));
    match ui.auth.vouched_finish(cookie.unwrap_or_default(), answer, peer.0).await {
        Ok((session, next)) => {
            let cookies = over.into_iter().chain([(header::SET_COOKIE, session_cookie(&session, is_https))]);
            Ok((AppendHeaders(cookies), Redirect::to(links::local(&next))).into_response())
        }
        Err(error) => Ok((AppendHeaders(over), not_vouched(&ui, &frame, links::local(""), error)?).into_response()),
    }
}

/// The sign-in page, which says why the provider's word did not do.
fn not_vouched(ui: &UiState, frame: &Frame, next: &str, error: AuthError) -> Result<Response, UiError> {
    let status = match &error {
        AuthError::Provider(OidcError::Unavailable(_)) => StatusCode::BAD_GATEWAY,
        AuthError::Provider(OidcError::NotBegun) => StatusCode::BAD_REQUEST,
        AuthError::Provider(OidcError::Refused(_) | OidcError::Untrusted(_)) => StatusCode::UNAUTHORIZED,
        AuthError::NotLetIn(_) | AuthError::NameTaken(_) | AuthError::UserName(_) => StatusCode::FORBIDDEN,
        AuthError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => return Err(UiError::from(error)),
    };
    if let AuthError::Provider(OidcError::Unavailable(reason) | OidcError::Untrusted(reason)) = &error {
        tracing::warn!(%reason, "a sign-in by the provider failed");
    }
    Ok(page_with(status, &SignInView::new(&ui.auth, frame, next).with_error(&error)))
}

/// `POST /logout`
pub async fn sign_out(State(ui): State<UiState>, headers: HeaderMap) -> Result<Response, UiError> {
    if let Some(secret) = session_secret(&headers) {
        ui.auth.logout(secret).await?;
    }
    Ok(([(header::SET_COOKIE, clear_cookie(is_https(&headers)))], Redirect::to("/login")).into_response())
}

#[derive(Deserialize)]
pub struct ThemeForm {
    theme: String,
    #[serde(default)]
    next: String,
}

/// `POST /ui/theme`
pub async fn theme(Form(form): Form<ThemeForm>) -> Response {
    set_theme(&form.theme, links::local(&form.next))
}

#[derive(Deserialize)]
pub struct ZoneForm {
    /// `utc`, `dag` or `local`.
    zone: String,
    /// The browser's zone, if a script has told it.
    #[serde(default)]
    local: String,
    #[serde(default)]
    next: String,
}

/// `POST /ui/zone`
pub async fn zone(Form(form): Form<ZoneForm>) -> Response {
    let name = if form.zone == "local" { &form.local } else { &form.zone };
    set_zone(ZoneChoice::new(name), links::local(&form.next))
}
