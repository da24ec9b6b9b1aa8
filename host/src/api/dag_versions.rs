//! Versions of dags.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dags::find_dag,
    error::ApiError,
    extract::{Paging, Path, Query, Scope},
    names::{Bundles, DagVersionResponse},
    paths::{DagScopePath, DagVersionPath},
    permit::Scoped,
};
use crate::{
    auth::CurrentUser,
    model::{
        dag::{differences, is_other_code},
        dag_access::DagSet,
        ids::DagId,
    },
    store::{DagVersionFilter, DagVersionRow, Listed},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct DagVersionCollectionResponse {
    dag_versions: Vec<DagVersionResponse>,
    total_entries: i64,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct VersionQuery {
    /// Of each dag this one alone.
    version_number: Option<i64>,
    /// All are in `component`.
    bundle_name: Option<String>,
    /// The digest of the component that the version came with.
    bundle_version: Option<String>,
}

/// Versions of a dag, or of all (`~`), the newest first.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagVersions", tag = "DagVersion", params(DagScopePath, Paging, VersionQuery),
    responses((status = 200, body = DagVersionCollectionResponse)),
)]
pub async fn get_dag_versions(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<DagScopePath>,
    Query(paging): Query<Paging>,
    Query(query): Query<VersionQuery>,
) -> Result<Json<DagVersionCollectionResponse>, ApiError> {
    let (dags, page) = match path.dag_id {
        Scope::All => (scope.seen().clone(), paging.in_order(&["-id"])?),
        Scope::One(dag_id) => {
            find_dag(&api, &dag_id).await?;
            (DagSet::one(dag_id), paging.in_order(&["-version_number"])?)
        }
    };
    let bundles = Bundles::asked(query.bundle_name.as_deref(), query.bundle_version.as_deref());
    let filter = DagVersionFilter { dags, version_number: query.version_number, component: bundles.one() };
    let listed = match bundles {
        Bundles::Unknown => Listed { items: Vec::new(), total: 0 },
        Bundles::Any | Bundles::One(_) => api.store.dag_version_list(&filter, page).await?,
    };
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
    Ok(Json((&find_version(&api, &path.dag_id, path.version_number).await?).into()))
}

/// # Errors
/// If the dag, or this version of it, does not exist.
pub async fn find_version(api: &Api, dag_id: &DagId, version_number: i64) -> Result<DagVersionRow, ApiError> {
    find_dag(api, dag_id).await?;
    let found = api.store.dag_version_numbered(dag_id, version_number).await?;
    found.ok_or_else(|| ApiError::not_found(format!("dag `{dag_id}` has no version {version_number}")))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DifferencesQuery {
    /// The version to compare with; the one before, if it is left out.
    since: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DifferencesResponse {
    since: i64,
    version_number: i64,
    /// Whether the component that the dag came with is another, so that its tasks may do other things though nothing differs here.
    component_changed: bool,
    differences: Vec<DifferenceResponse>,
}

/// One difference between two versions of a dag.
#[derive(Debug, Serialize, ToSchema)]
pub struct DifferenceResponse {
    /// What it is of, as `dag`, `task load`, `edge a -> b`.
    of: String,
    /// Null: the whole came or went.
    field: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
}

/// What a version of a dag changed.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagVersions/{version_number}/differences", tag = "DagVersion",
    params(DagVersionPath, DifferencesQuery), responses((status = 200, body = DifferencesResponse)),
)]
pub async fn get_differences(
    State(api): State<Api>,
    Path(path): Path<DagVersionPath>,
    Query(query): Query<DifferencesQuery>,
) -> Result<Json<DifferencesResponse>, ApiError> {
    let after = find_version(&api, &path.dag_id, path.version_number).await?;
    let since = match query.since {
        None if path.version_number <= 1 => {
            let why = "is its first: there is none before it; name another with `since`";
            return Err(ApiError::not_found(format!("version 1 of dag `{}` {why}", path.dag_id)));
        }
        since => since.unwrap_or(path.version_number - 1),
    };
    let before = find_version(&api, &path.dag_id, since).await?;
    let differences = differences(&before.spec, &after.spec).into_iter().map(|difference| DifferenceResponse {
        of: difference.of,
        field: difference.field,
        before: difference.before,
        after: difference.after,
    });
    Ok(Json(DifferencesResponse {
        since,
        version_number: path.version_number,
        component_changed: is_other_code(before.component, after.component, &after.spec),
        differences: differences.collect(),
    }))
}

/// Makes an earlier version the newest again, as a version of its own. Runs keep theirs.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagVersions/{version_number}/rollBack", tag = "DagVersion",
    params(DagVersionPath), responses((status = 200, body = DagVersionResponse)),
)]
pub async fn roll_back(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagVersionPath>,
) -> Result<Json<DagVersionResponse>, ApiError> {
    find_dag(&api, &path.dag_id).await?;
    let rolled = api.scheduler.dag_roll_back(&path.dag_id, path.version_number, &user.uploader()).await?;
    Ok(Json((&find_version(&api, &path.dag_id, rolled.version_number).await?).into()))
}
