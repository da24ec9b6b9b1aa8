//! Users and their roles; Airflow keeps them in its auth managers.

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    error::ApiError,
    extract::{self, Paging, Path, Query},
    identity::Peer,
    paths::UserPath,
};
use crate::{
    auth::CurrentUser,
    model::{dag_access::DagPermission, role::Role},
    secrets::SecretString,
    store::UserRow,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct UserResponse {
    username: String,
    /// `member`, `viewer`, `author`, `operator` or `admin`.
    role: &'static str,
    /// Roles on some dags, where they are stronger.
    #[schema(value_type = Vec<DagPermissionView>)]
    dag_permissions: Vec<DagPermission>,
    /// The provider (of OpenID Connect) that signs the user in; null: this server does, by a password.
    issuer: Option<String>,
    /// Who the user is there.
    subject: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A role on some dags.
#[derive(ToSchema)]
#[schema(as = DagPermission)]
#[expect(dead_code, reason = "it says in the document what the model's type reads and writes")]
pub struct DagPermissionView {
    /// An id (`load`), the beginning of ids (`sales-*`), or a tag (`tag:sales`).
    dags: String,
    /// `viewer`, `author` or `operator`.
    role: String,
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
    /// Roles on some dags, where they are stronger; with a token no more than it may.
    #[schema(value_type = Vec<DagPermissionView>)]
    dag_permissions: Vec<DagPermission>,
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
    #[serde(default)]
    #[schema(value_type = Vec<DagPermissionView>)]
    dag_permissions: Vec<DagPermission>,
}

fn viewer() -> Role {
    Role::Viewer
}

/// One of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatchBody {
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<SecretString>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    /// All that the user has from then on.
    #[serde(default)]
    #[schema(value_type = Option<Vec<DagPermissionView>>)]
    dag_permissions: Option<Vec<DagPermission>>,
}

impl From<UserRow> for UserResponse {
    fn from(row: UserRow) -> Self {
        let (issuer, subject) = row.identity.map(|identity| (identity.issuer, identity.subject)).unzip();
        Self {
            username: row.username,
            role: row.role.as_str(),
            dag_permissions: row.dag_permissions,
            issuer,
            subject,
            created_at: row.created_at.to_utc(),
            updated_at: row.updated_at.to_utc(),
        }
    }
}

/// Who the request comes from.
#[utoipa::path(get, path = "/api/v2/users/me", tag = "User", responses((status = 200, body = MeResponse)))]
pub async fn get_me(user: CurrentUser) -> Json<MeResponse> {
    let dag_permissions = user.dags.permissions().to_vec();
    Json(MeResponse { role: user.role().as_str(), dag_permissions, username: user.username })
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
    user: CurrentUser,
    peer: Peer,
    extract::Json(body): extract::Json<MePatchBody>,
) -> Result<Json<MeResponse>, ApiError> {
    let MePatchBody { present_password, password } = body;
    api.auth.user_change_password(&user, present_password.expose(), password.expose(), peer.0).await?;
    Ok(get_me(user).await)
}

/// Ends all sessions and tokens of whoever asks, this one too. A request that shows a token of `/api/v2/tokens` can't.
#[utoipa::path(post, path = "/api/v2/users/me/signOut", tag = "User", responses((status = 204)))]
pub async fn sign_out_me(State(api): State<Api>, user: CurrentUser) -> Result<StatusCode, ApiError> {
    api.auth.sign_out_self(&user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions and tokens of a user; of its own a request that shows a token can't.
#[utoipa::path(
    post, path = "/api/v2/users/{username}/signOut", tag = "User", params(UserPath), responses((status = 204)),
)]
pub async fn sign_out_user(
    State(api): State<Api>,
    by: CurrentUser,
    Path(path): Path<UserPath>,
) -> Result<StatusCode, ApiError> {
    by.check_not_by_own_token(&path.username)?;
    api.auth.sign_out_everywhere(&path.username).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/api/v2/users", tag = "User", params(Paging), responses((status = 200, body = UserCollectionResponse)))]
pub async fn get_users(
    State(api): State<Api>,
    Query(paging): Query<Paging>,
) -> Result<Json<UserCollectionResponse>, ApiError> {
    let listed = api.auth.user_list(paging.in_order(&["username"])?).await?;
    let users = listed.items.into_iter().map(UserResponse::from).collect();
    Ok(Json(UserCollectionResponse { users, total_entries: listed.total }))
}

#[utoipa::path(
    post, path = "/api/v2/users", tag = "User", request_body = UserBody,
    responses((status = 201, body = UserResponse)),
)]
pub async fn post_user(
    State(api): State<Api>,
    extract::Json(body): extract::Json<UserBody>,
) -> Result<(StatusCode, Json<UserResponse>), ApiError> {
    let password = body.password.as_ref().map(SecretString::expose);
    let user = api.auth.user_create(&body.username, password, body.role, body.dag_permissions).await?;
    Ok((StatusCode::CREATED, Json(user.into())))
}

/// Gives a user another role, other DAG permissions, or a new password, which ends all of the user's sessions and tokens.
///
/// To its own user a request that shows a token can't.
#[utoipa::path(
    patch, path = "/api/v2/users/{username}", tag = "User", params(UserPath), request_body = UserPatchBody,
    responses((status = 200, body = UserResponse)),
)]
pub async fn patch_user(
    State(api): State<Api>,
    by: CurrentUser,
    Path(path): Path<UserPath>,
    extract::Json(body): extract::Json<UserPatchBody>,
) -> Result<Json<UserResponse>, ApiError> {
    by.check_not_by_own_token(&path.username)?;
    let user = match (body.role, body.password, body.dag_permissions) {
        (Some(role), None, None) => api.auth.user_set_role(&path.username, role).await?,
        (None, Some(password), None) => api.auth.user_set_password(&path.username, password.expose()).await?,
        (None, None, Some(permissions)) => api.auth.user_set_dag_permissions(&path.username, permissions).await?,
        // More would be several changes, of which the second can fail.
        _ => return Err(ApiError::invalid(["body"], "give one of `role`, `password` and `dag_permissions`")),
    };
    Ok(Json(user.into()))
}

/// Deletes a user and ends all of the user's sessions and tokens; its own user a request that shows a token can't.
#[utoipa::path(
    delete, path = "/api/v2/users/{username}", tag = "User", params(UserPath), responses((status = 204)),
)]
pub async fn delete_user(
    State(api): State<Api>,
    by: CurrentUser,
    Path(path): Path<UserPath>,
) -> Result<StatusCode, ApiError> {
    by.check_not_by_own_token(&path.username)?;
    api.auth.user_delete(&path.username).await?;
    Ok(StatusCode::NO_CONTENT)
}
