//! Bearer tokens: a password for a token, and the token given back.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Redirect,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{self, Query},
    identity::{Peer, bearer_secret, session_secret},
};
use crate::{
    auth::{SessionKind, leads_here},
    secrets::SecretString,
};

/// Airflow: `LoginBody`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    username: String,
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Airflow: `LoginResponse`.
#[derive(Serialize, ToSchema)]
pub struct LoginResponse {
    access_token: String,
    token_type: &'static str,
    expires_at: DateTime<Utc>,
}

/// Opens a bearer token for whoever knows the password.
#[utoipa::path(
    post, path = "/auth/token", tag = "Authentication", request_body = LoginBody,
    responses((status = 201, body = LoginResponse)),
)]
pub async fn create_token(
    State(api): State<Api>,
    Peer(peer): Peer,
    extract::Json(body): extract::Json<LoginBody>,
) -> Result<(StatusCode, Json<LoginResponse>), ApiError> {
    let session = api.auth.login(&body.username, body.password.expose(), SessionKind::Bearer, peer).await?;
    let view = LoginResponse {
        access_token: session.secret.expose().to_owned(),
        token_type: "bearer",
        expires_at: session.expires_at.to_utc(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// As `POST /auth/token`: Airflow's command line asks here.
#[utoipa::path(
    post, path = "/auth/token/cli", tag = "Authentication", request_body = LoginBody,
    responses((status = 201, body = LoginResponse)),
)]
pub async fn create_token_cli(
    state: State<Api>,
    peer: Peer,
    body: extract::Json<LoginBody>,
) -> Result<(StatusCode, Json<LoginResponse>), ApiError> {
    create_token(state, peer, body).await
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct LoginQuery {
    /// Where the page leads whoever signs in: a path of this server.
    next: Option<String>,
}

/// Leads to the page on which people sign in. Nothing signs out by GET: a link on any other page could.
#[utoipa::path(
    get, path = "/api/v2/auth/login", tag = "Authentication", params(LoginQuery), responses((status = 307), (status = 400)),
)]
pub async fn login(Query(query): Query<LoginQuery>) -> Result<Redirect, ApiError> {
    let Some(next) = query.next.filter(|next| !next.is_empty()) else { return Ok(Redirect::temporary("/login")) };
    if !leads_here(&next) {
        return Err(ApiError::bad_request("`next` must be a path of this server, as `/dags`"));
    }
    let query = serde_html_form::to_string(&[("next", next)][..]).map_err(|error| ApiError::internal(&error))?;
    Ok(Redirect::temporary(&format!("/login?{query}")))
}

/// Ends the token (or session) that the request shows.
#[utoipa::path(delete, path = "/auth/token", tag = "Authentication", responses((status = 204)))]
pub async fn delete_token(State(api): State<Api>, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    if let Some(secret) = bearer_secret(&headers).or_else(|| session_secret(&headers)) {
        api.auth.logout(secret).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
