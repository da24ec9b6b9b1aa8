//! How a request shows who sends it: the cookie, the bearer token, the origin. For the API and the page alike.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{Extensions, HeaderMap, HeaderName, Method, StatusCode, header, request::Parts},
};

use crate::{
    auth::{Auth, AuthError, Credential, CurrentUser, NewSession, NotYours, SIGN_IN_LIFETIME, SessionKind},
    model::{
        ids::DagId,
        role::{Permission, Role},
    },
    secrets::SecretString,
};

/// The cookie of the page's session.
pub const SESSION_COOKIE: &str = "airlock_session";
/// What cookies of sign-ins by a provider that were begun are called, before the state of each; and the only path that sees them.
const SIGN_IN_COOKIE: &str = "airlock_sign_in_";
/// Sign-ins that a browser has begun, in as many tabs; proxies refuse requests with more cookies than they like.
const MAX_BEGUN: usize = 4;
const SIGN_IN_PATH: &str = "/login/oidc";

/// Why a request is not let through. Each room shows it in its way.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error(
        "no token; sign in, or send `Authorization: Bearer <token>` with a token of `airlock tokens create` or `POST /auth/token`"
    )]
    NoToken,
    #[error("the session or token is unknown or over; sign in again")]
    UnknownToken,
    #[error(
        "the request came from another site, or through a proxy that changed its `Host`; send it from Airlock's own page, or with a \
         bearer token"
    )]
    ForeignOrigin,
    #[error("this needs the permission `{needed}`, which {} have; your role is {role}", needed.holders())]
    Forbidden { needed: Permission, role: Role },
    /// Or none that the user may see.
    #[error("dag `{0}` does not exist")]
    NoDag(DagId),
    #[error(transparent)]
    NotYours(#[from] NotYours),
    #[error("users or sessions could not be read")]
    Failed(#[source] AuthError),
}

impl From<AuthError> for Denied {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::UnknownToken => Self::UnknownToken,
            other => Self::Failed(other),
        }
    }
}

impl Auth {
    /// Who sends a request with these headers.
    ///
    /// A bearer token wins over a cookie. A cookie alone may change nothing unless the request comes from our own page.
    ///
    /// # Errors
    /// If there is no good credential, or the origin is foreign.
    pub async fn identify(&self, method: &Method, headers: &HeaderMap) -> Result<(CurrentUser, Credential), Denied> {
        let shown = |secret: &str, kind| Credential { secret: SecretString::from(secret.to_owned()), kind };
        if let Some(authorization) = headers.get(header::AUTHORIZATION) {
            let token = authorization.to_str().ok().and_then(bearer).ok_or(Denied::UnknownToken)?;
            let user = self.authenticate(token, SessionKind::Bearer).await?;
            return Ok((user, shown(token, SessionKind::Bearer)));
        }
        let secret = session_secret(headers).ok_or(Denied::NoToken)?;
        let user = self.authenticate(secret, SessionKind::Cookie).await?;
        if !method.is_safe() && !same_origin(headers) {
            return Err(Denied::ForeignOrigin);
        }
        Ok((user, shown(secret, SessionKind::Cookie)))
    }
}

/// What the room's guard found. Without a guard there is nobody: a route that forgot it refuses everyone.
impl<S: Send + Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// The address that the request came from, as far as the socket knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(peer_of(&parts.extensions)))
    }
}

/// The address that a request with these extensions came from.
pub fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

/// Whether a browser says that the request comes from a page of this very server.
pub fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    origin.split_once("://").is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host))
}

/// Whether the client speaks https, to us or to a proxy that is believed: nobody else's header comes so far.
pub fn is_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// The secret in the session cookie.
pub fn session_secret(headers: &HeaderMap) -> Option<&str> {
    cookie_value(headers, SESSION_COOKIE)
}

/// What was begun at a provider with `state`, sealed.
pub fn sign_in_secret<'a>(headers: &'a HeaderMap, state: &str) -> Option<&'a str> {
    cookie_value(headers, &sign_in_name(state))
}

fn sign_in_name(state: &str) -> String {
    format!("{SIGN_IN_COOKIE}{state}")
}

pub fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookies(headers).find_map(|(found, value)| (found == name).then_some(value))
}

/// Names and values.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// The bearer token of the request.
pub fn bearer_secret(headers: &HeaderMap) -> Option<&str> {
    bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The `Set-Cookie` that gives a browser its session.
pub fn session_cookie(session: &NewSession, secure: bool) -> String {
    cookie((SESSION_COOKIE, "/"), session.secret.expose(), secure, "")
}

/// The `Set-Cookie` that keeps what was begun at a provider with `state`. It comes back with the provider's answer, which another site
/// sends: a cookie that is `Strict` would not.
pub fn sign_in_cookie(state: &str, sealed: &str, secure: bool) -> String {
    let life = format!("; Max-Age={}", SIGN_IN_LIFETIME.as_secs());
    cookie((&sign_in_name(state), SIGN_IN_PATH), sealed, secure, &life)
}

/// The `Set-Cookie` that takes it away.
pub fn clear_sign_in_cookie(state: &str, secure: bool) -> String {
    cookie((&sign_in_name(state), SIGN_IN_PATH), "", secure, "; Max-Age=0")
}

/// The `Set-Cookie`s that take away all that a browser has begun, if that is a lot.
pub fn clear_sign_in_cookies(headers: &HeaderMap, secure: bool) -> Vec<String> {
    let begun: Vec<_> = cookies(headers).filter_map(|(name, _)| name.strip_prefix(SIGN_IN_COOKIE)).collect();
    if begun.len() < MAX_BEGUN {
        return Vec::new();
    }
    begun.into_iter().map(|state| clear_sign_in_cookie(state, secure)).collect()
}

/// The `Set-Cookie` that takes the session away.
pub fn clear_cookie(secure: bool) -> String {
    cookie((SESSION_COOKIE, "/"), "", secure, "; Max-Age=0")
}

fn cookie((name, path): (&str, &str), value: &str, secure: bool, more: &str) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax{secure}{more}")
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_our_own_page_is_the_same_origin() {
        assert!(same_origin(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(same_origin(&headers(&[("origin", "http://airlock:8080"), ("host", "airlock:8080")])));
        for foreign in [
            &[][..],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null"), ("host", "airlock")],
            &[("origin", "http://evil"), ("host", "airlock")],
            &[("origin", "http://airlock:81"), ("host", "airlock:80")],
            &[("host", "airlock")],
        ] {
            assert!(!same_origin(&headers(foreign)), "{foreign:?}");
        }
    }

    #[test]
    fn cookies_and_tokens_are_found_among_others() {
        let found = headers(&[("cookie", "a=b; airlock_session=alk_x; c=d"), ("authorization", "bearer  alk_y")]);
        assert_eq!(session_secret(&found), Some("alk_x"));
        assert_eq!(bearer_secret(&found), Some("alk_y"));
        assert_eq!(session_secret(&headers(&[("cookie", "airlock_session2=alk_x; x")])), None);
        assert_eq!(bearer_secret(&headers(&[("authorization", "Basic alk_y")])), None);
    }
}
