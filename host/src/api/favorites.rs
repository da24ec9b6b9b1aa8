//! Dags that users mark for themselves, to find them quickly.

use axum::{extract::State, http::StatusCode};

use super::{Api, dags::find_dag, error::ApiError, extract::Path, paths::DagPath};
use crate::auth::CurrentUser;

fn conflict(path: &DagPath, is: &str) -> ApiError {
    ApiError::conflict(format!("dag `{}` {is} a favorite of yours", path.dag_id))
}

/// Marks the dag for oneself. 409: it is marked already.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/favorite", tag = "DAG", params(DagPath),
    responses((status = 204), (status = 409)),
)]
pub async fn favorite_dag(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
) -> Result<StatusCode, ApiError> {
    find_dag(&api, &path.dag_id).await?;
    let is_new = api.store.dag_favorite_put(&user.username, &path.dag_id).await?;
    if is_new { Ok(StatusCode::NO_CONTENT) } else { Err(conflict(&path, "is already")) }
}

/// Takes one's mark off the dag. 409: it is not marked.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/unfavorite", tag = "DAG", params(DagPath),
    responses((status = 204), (status = 409)),
)]
pub async fn unfavorite_dag(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
) -> Result<StatusCode, ApiError> {
    find_dag(&api, &path.dag_id).await?;
    let was_there = api.store.dag_favorite_delete(&user.username, &path.dag_id).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(conflict(&path, "is not")) }
}
