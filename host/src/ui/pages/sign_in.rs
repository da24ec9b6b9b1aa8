//! Signing in and out, and the choices of colours and of the time zone.

use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use crate::{
    api::identity::{Peer, clear_cookie, is_https, session_cookie, session_secret},
    auth::{AuthError, SessionKind},
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
}

#[derive(Deserialize)]
pub struct NextQuery {
    #[serde(default)]
    next: String,
}

/// `GET /login`
pub async fn show(frame: Frame, Query(query): Query<NextQuery>) -> Response {
    let shell = frame.shell(Section::None, "sign-in", "Sign in");
    if shell.user().is_some() {
        return Redirect::to(links::local(&query.next)).into_response();
    }
    let next = links::local(&query.next).to_owned();
    page_with(StatusCode::OK, &SignInView { shell, error: None, next, username: String::new() })
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
        Err(error) => return Err(UiError::internal(error)),
    };
    let mut text = status.1.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let shell = frame.shell(Section::None, "sign-in", "Sign in");
    let view = SignInView { shell, error: Some(format!("{text}.")), next: next.to_owned(), username: form.username };
    Ok(page_with(status.0, &view))
}

/// `POST /logout`
pub async fn sign_out(State(ui): State<UiState>, headers: HeaderMap) -> Result<Response, UiError> {
    if let Some(secret) = session_secret(&headers) {
        ui.auth.logout(secret).await.map_err(UiError::internal)?;
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
