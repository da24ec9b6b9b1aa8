//! Versions of dags.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    dags::find_dag,
    error::ApiError,
    extract::{Paging, Path, Query},
    names::DagVersionResponse,
    paths::{DagPath, DagVersionPath},
};
use crate::store::Page;

#[derive(Debug, Serialize, ToSchema)]
pub struct DagVersionCollectionResponse {
    dag_versions: Vec<DagVersionResponse>,
    total_entries: i64,
}

/// Versions of a dag, newest first.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagVersions", tag = "DagVersion", params(DagPath, Paging),
    responses((status = 200, body = DagVersionCollectionResponse)),
)]
pub async fn get_dag_versions(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
    Query(paging): Query<Paging>,
) -> Result<Json<DagVersionCollectionResponse>, ApiError> {
    find_dag(&api, &path.dag_id).await?;
    let listed = api.store.dag_version_list(&path.dag_id, paging.page()).await?;
    let dag_versions = listed.items.iter().map(DagVersionResponse::from).collect();
    Ok(Json(DagVersionCollectionResponse { dag_versions, total_entries: listed.total }))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagVersions/{version_number}", tag = "DagVersion", params(DagVersionPath),
    responses((status = 200, body = DagVersionResponse)),
)]
pub async fn get_dag_version(
    State(api): State<Api>,
    Path(path): Path<DagVersionPath>,
) -> Result<Json<DagVersionResponse>, ApiError> {
    let newest = find_dag(&api, &path.dag_id).await?.version_number;
    let missing = || ApiError::not_found(format!("dag `{}` has no version {}", path.dag_id, path.version_number));
    // Versions count from 1 without gaps, and are listed newest first.
    let offset = newest.checked_sub(path.version_number).and_then(|offset| u32::try_from(offset).ok());
    let page = Page { limit: 1, offset: offset.ok_or_else(missing)? };
    let listed = api.store.dag_version_list(&path.dag_id, page).await?;
    let found = listed.items.iter().find(|version| version.version_number == path.version_number);
    Ok(Json(found.ok_or_else(missing)?.into()))
}
