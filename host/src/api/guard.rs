//! What every request passes: an id, a deadline, the question who asks, and headers that tell browsers to be careful.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{Api, audit, error::ApiError, permit::permit};
use crate::{
    auth::routes::{self, Access},
    store::asked,
    telemetry::{HttpRequest, Metrics},
};

/// The paths under which there is nothing.
pub const NO_ROUTE: [&str; 2] = ["/api", "/api/{*rest}"];

/// Where the id of a request stands, in the request if the client chose one and in the answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Routes whose work takes longer than an ordinary request's, with their deadlines.
const SLOW: &[(Method, &str, Duration)] = &[(Method::POST, "/api/v2/components", Duration::from_mins(5))];

/// What every answer carries: nothing is stored, framed, sniffed or run.
const HEADERS: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Counts each answer, and how long it took until it began.
pub async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    metrics.answered(&HttpRequest {
        method: method.as_str(),
        route: route.as_ref().map_or("", MatchedPath::as_str),
        status: response.status().as_u16(),
        took: begun.elapsed(),
    });
    response
}

/// What the request reads ends in time.
pub async fn ask(request: Request, next: Next) -> Response {
    asked(next.run(request)).await
}

/// Gives the request its id, and every error answer with it.
pub async fn identify(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let span =
        tracing::info_span!("request", request_id = %id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    if let Some(error) = response.extensions().get::<ApiError>().cloned() {
        response = error.render(Some(&id));
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(*name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    response
}

fn request_id(headers: &HeaderMap) -> String {
    let chosen = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    chosen.filter(plain).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

/// Refuses whoever does not show a good cookie or token, and whose role is not enough for the route, unless it is public.
/// A route that is not in the table is refused to everybody.
pub async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let access = match routes::access(request.method().as_str(), path) {
        None if NO_ROUTE.contains(&path) => Some(Access::SignedIn),
        access => access,
    };
    if access == Some(Access::Public) {
        return next.run(request).await;
    }
    let (user, credential) = match api.auth.identify(request.method(), request.headers()).await {
        Ok(found) => found,
        Err(denied) => return ApiError::from(denied).into_response(),
    };
    let Some(access) = access else { return no_method().await.into_response() };
    let path = path.to_owned();
    let is_change = routes::event(request.method().as_str(), &path, access).is_some();
    match permit(&api.auth, (user.clone(), credential), access, &path, &mut request).await {
        Ok(user) => {
            let done = audit::audited(&api.auth, (&user, access), &path, request, next).await;
            if is_change {
                api.scheduler.changed_otherwise();
            }
            done.unwrap_or_else(|error| ApiError::from(error).into_response())
        }
        Err(denied) => {
            let event = audit::refusal(&api.auth, &denied, &user, &path, &request);
            if let Some(event) = event {
                api.auth.record_denial(event).await;
            }
            ApiError::from(denied).into_response()
        }
    }
}

/// Ends a request that is not answered in time. A body that is being streamed may take longer.
pub async fn limit_time(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let slow = SLOW.iter().find(|(method, slow, _)| method == request.method() && path == Some(*slow));
    let limit = slow.map_or(api.config.request_timeout, |(_, _, limit)| *limit);
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        tracing::warn!(limit_ms = limit.as_millis(), "a request was given up");
        let detail = "the server did not answer in time; try again";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail).into_response()
    })
}

/// What a panic is answered with: nothing of what it said.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands over the panic")]
pub fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = said.unwrap_or("(no text)"), "a request panicked");
    ApiError::internal_unlogged().into_response()
}

/// 404 for whatever is not a route.
pub async fn no_route() -> ApiError {
    ApiError::not_found("there is no such path; `GET /openapi.json` lists those that there are")
}

/// 405 for a route that does not take the method.
pub async fn no_method() -> ApiError {
    let detail = "this path does not take this method; `GET /openapi.json` lists those that it takes";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
