//! Tokens for programs: made by users for themselves, by admins for anybody.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{self, Paging, Path, Query},
    paths::TokenPath,
};
use crate::{
    auth::{CurrentUser, TokenRequest},
    model::{role::Role, time::Timestamp},
    store::ApiTokenRow,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct TokenResponse {
    token_id: i64,
    username: String,
    name: String,
    /// The token may no more than this role, nor more than its user.
    role: &'static str,
    created_at: DateTime<Utc>,
    created_by: String,
    expires_at: DateTime<Utc>,
    /// To the hour.
    last_used_at: Option<DateTime<Utc>>,
    /// In the answer to the request that made it only.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TokenCollectionResponse {
    tokens: Vec<TokenResponse>,
    total_entries: i64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    name: String,
    /// Default: that of the user.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// 1 to 366; default: 90.
    #[serde(default)]
    days: Option<u32>,
    /// Default: whoever asks. Others: for admins only.
    #[serde(default)]
    username: Option<String>,
}

/// Whose tokens.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// `~` for everybody's; default: those of whoever asks. Others: for admins only.
    username: Option<String>,
}

impl TokenResponse {
    fn new(row: ApiTokenRow, token: Option<String>) -> Self {
        Self {
            token_id: row.id,
            username: row.username,
            name: row.name,
            role: row.role.as_str(),
            created_at: row.created_at.to_utc(),
            created_by: row.created_by,
            expires_at: row.expires_at.to_utc(),
            last_used_at: row.last_used_at.map(Timestamp::to_utc),
            token,
        }
    }
}

#[utoipa::path(
    get, path = "/api/v2/tokens", tag = "Token", params(Paging, TokenQuery),
    responses((status = 200, body = TokenCollectionResponse)),
)]
pub async fn get_tokens(
    State(api): State<Api>,
    user: CurrentUser,
    Query(paging): Query<Paging>,
    Query(query): Query<TokenQuery>,
) -> Result<Json<TokenCollectionResponse>, ApiError> {
    let whose = match query.username.as_deref() {
        None => Some(user.username.as_str()),
        Some("~") => None,
        other => other,
    };
    let listed = api.auth.token_list(&user, whose, paging.in_order(&["username", "name"])?).await?;
    let tokens = listed.items.into_iter().map(|row| TokenResponse::new(row, None)).collect();
    Ok(Json(TokenCollectionResponse { tokens, total_entries: listed.total }))
}

/// Makes a token. It is told in this answer only. A request that shows such a token can't make another.
#[utoipa::path(
    post, path = "/api/v2/tokens", tag = "Token", request_body = TokenBody,
    responses((status = 201, body = TokenResponse)),
)]
pub async fn post_token(
    State(api): State<Api>,
    user: CurrentUser,
    extract::Json(body): extract::Json<TokenBody>,
) -> Result<(StatusCode, Json<TokenResponse>), ApiError> {
    let lifetime = body.days.map(|days| Duration::from_hours(24 * u64::from(days)));
    let request = TokenRequest { username: body.username, name: body.name, role: body.role, lifetime };
    let made = api.auth.token_create(&user, request).await?;
    Ok((StatusCode::CREATED, Json(TokenResponse::new(made.row, Some(made.secret.expose().to_owned())))))
}

/// Revokes a token: it is good no more. A request that shows such a token revokes that one only.
#[utoipa::path(delete, path = "/api/v2/tokens/{token_id}", tag = "Token", params(TokenPath), responses((status = 204)))]
pub async fn revoke_token(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<TokenPath>,
) -> Result<StatusCode, ApiError> {
    api.auth.token_revoke(&user, path.token_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
