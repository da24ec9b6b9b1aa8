//! Users and their roles; Airflow keeps them in its auth managers.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api,
    error::ApiError,
    extract::{self, Paging, Path, Query},
    identity::Peer,
    paths::UserPath,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::role::Role,
    secrets::{MASK, SecretString},
    store::UserRow,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct UserResponse {
    username: String,
    /// `viewer`, `author`, `operator` or `admin`.
    role: &'static str,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserCollectionResponse {
    users: Vec<UserResponse>,
    total_entries: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MeResponse {
    username: String,
    role: &'static str,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserBody {
    username: String,
    /// Without one, the user can't sign in: tokens alone act for it.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
    #[serde(default = "viewer")]
    #[schema(value_type = String, default = "viewer")]
    role: Role,
}

fn viewer() -> Role {
    Role::Viewer
}

/// One of both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatchBody {
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
}

impl From<UserRow> for UserResponse {
    fn from(row: UserRow) -> Self {
        Self {
            username: row.username,
            role: row.role.as_str(),
            created_at: row.created_at.to_utc(),
            updated_at: row.updated_at.to_utc(),
        }
    }
}

/// Who the request comes from.
#[utoipa::path(get, path = "/api/v2/users/me", tag = "User", responses((status = 200, body = MeResponse)))]
pub async fn get_me(user: CurrentUser) -> Json<MeResponse> {
    Json(MeResponse { username: user.username, role: user.role.as_str() })
}

/// What the user who asks may change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MePatchBody {
    #[schema(value_type = String, format = Password)]
    present_password: SecretString,
    /// Ends all of the user's sessions and tokens.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Gives whoever asks a new password.
#[utoipa::path(
    patch, path = "/api/v2/users/me", tag = "User", request_body = MePatchBody,
    responses((status = 200, body = MeResponse)),
)]
pub async fn patch_me(
    State(api): State<Api>,
    audit: Audit,
    user: CurrentUser,
    peer: Peer,
    extract::Json(body): extract::Json<MePatchBody>,
) -> Result<Json<MeResponse>, ApiError> {
    let MePatchBody { present_password, password } = body;
    api.auth.user_change_password(&user, present_password.expose(), password.expose(), peer.0).await?;
    audit.change(&user.username, &Value::Null, &json!({"password": MASK}));
    Ok(get_me(user).await)
}

#[utoipa::path(get, path = "/api/v2/users", tag = "User", params(Paging), responses((status = 200, body = UserCollectionResponse)))]
pub async fn get_users(
    State(api): State<Api>,
    Query(paging): Query<Paging>,
) -> Result<Json<UserCollectionResponse>, ApiError> {
    let listed = api.auth.user_list(paging.page()).await?;
    let users = listed.items.into_iter().map(UserResponse::from).collect();
    Ok(Json(UserCollectionResponse { users, total_entries: listed.total }))
}

#[utoipa::path(
    post, path = "/api/v2/users", tag = "User", request_body = UserBody,
    responses((status = 201, body = UserResponse)),
)]
pub async fn post_user(
    State(api): State<Api>,
    audit: Audit,
    extract::Json(body): extract::Json<UserBody>,
) -> Result<(StatusCode, Json<UserResponse>), ApiError> {
    let user =
        api.auth.user_create(&body.username, body.password.as_ref().map(SecretString::expose), body.role).await?;
    audit.change(&user.username, &Value::Null, &json!({"role": user.role}));
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// Gives a user another role, or a new password, which ends all of the user's sessions and tokens.
#[utoipa::path(
    patch, path = "/api/v2/users/{username}", tag = "User", params(UserPath), request_body = UserPatchBody,
    responses((status = 200, body = UserResponse)),
)]
pub async fn patch_user(
    State(api): State<Api>,
    audit: Audit,
    Path(path): Path<UserPath>,
    extract::Json(body): extract::Json<UserPatchBody>,
) -> Result<Json<UserResponse>, ApiError> {
    let before = api.store.user_get(&path.username).await?.map(|user| json!({"role": user.role}));
    let is_password = body.password.is_some();
    let user = match (body.role, body.password) {
        (Some(role), None) => api.auth.user_set_role(&path.username, role).await?,
        (None, Some(password)) => api.auth.user_set_password(&path.username, password.expose()).await?,
        // Both would be two changes, of which the second can fail.
        _ => return Err(ApiError::invalid(["body"], "give either a `role` or a `password`")),
    };
    let after = json!({"role": user.role, "password": if is_password { MASK } else { "unchanged" }});
    audit.change(&user.username, &before.unwrap_or_default(), &after);
    Ok(Json(user.into()))
}

/// Deletes a user and ends all of the user's sessions and tokens.
#[utoipa::path(
    delete, path = "/api/v2/users/{username}", tag = "User", params(UserPath), responses((status = 204)),
)]
pub async fn delete_user(State(api): State<Api>, Path(path): Path<UserPath>) -> Result<StatusCode, ApiError> {
    api.auth.user_delete(&path.username).await?;
    Ok(StatusCode::NO_CONTENT)
}
