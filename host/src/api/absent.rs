//! What Airflow has and Airlock can't have: lists that are always empty, and addresses of what is elsewhere.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{Paging, Path, Query},
    paths::{ImportErrorPath, MapIndex, TaskPath, TryPath},
    task_instances::{find_instance, tries::find_try},
};

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ImportErrorCollectionResponse {
    import_errors: Vec<Value>,
    total_entries: i64,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct PluginCollectionResponse {
    plugins: Vec<Value>,
    total_entries: i64,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ProviderCollectionResponse {
    providers: Vec<Value>,
    total_entries: i64,
}

/// Airflow: `ExtraLinkCollectionResponse`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ExtraLinkCollectionResponse {
    extra_links: BTreeMap<String, Option<String>>,
    total_entries: i64,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct LinksQuery {
    /// The present one, if it is left out.
    try_number: Option<u32>,
}

/// Always none: links of operators are made by plugins.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/links", tag = "Task Instance",
    params(TaskPath, MapIndex, LinksQuery), responses((status = 200, body = ExtraLinkCollectionResponse)),
)]
pub async fn get_extra_links(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    Query(index): Query<MapIndex>,
    Query(query): Query<LinksQuery>,
) -> Result<Json<ExtraLinkCollectionResponse>, ApiError> {
    let (_, instance) = find_instance(&api, &path, index.map_index).await?;
    if let Some(number) = query.try_number.filter(|number| *number != instance.try_number) {
        find_try(&api, &path, index.map_index, number).await?;
    }
    Ok(Json(ExtraLinkCollectionResponse::default()))
}

/// Always 400, as Airflow answers where logs are kept in no other system: they are here.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/externalLogUrl/{try_number}",
    tag = "Task Instance", params(TryPath, MapIndex), responses((status = 400)),
)]
pub async fn get_external_log_url(Path(path): Path<TryPath>, Query(index): Query<MapIndex>) -> ApiError {
    let (task_id, number, map_index) = (path.task_id, path.try_number, index.map_index);
    let place = format!("taskInstances/{task_id}/logs/{number}?map_index={map_index}");
    ApiError::bad_request(format!("logs are kept by Airlock itself: ask for `{place}`"))
}

/// Always none: what can't be read is refused at the upload, and the answer says why.
#[utoipa::path(
    get, path = "/api/v2/importErrors", tag = "Import Error", params(Paging),
    responses((status = 200, body = ImportErrorCollectionResponse)),
)]
pub async fn get_import_errors(Query(paging): Query<Paging>) -> Result<Json<ImportErrorCollectionResponse>, ApiError> {
    // None are in any order.
    let fields = ["id", "timestamp", "filename", "bundle_name", "stacktrace", "import_error_id"];
    paging.sorted(&fields.map(|field| (field, ())))?;
    Ok(Json(ImportErrorCollectionResponse::default()))
}

/// Always 404: there are none.
#[utoipa::path(
    get, path = "/api/v2/importErrors/{import_error_id}", tag = "Import Error", params(ImportErrorPath),
    responses((status = 404)),
)]
pub async fn get_import_error(Path(path): Path<ImportErrorPath>) -> ApiError {
    let why = "what can't be read is refused at the upload";
    ApiError::not_found(format!("import error {} does not exist: {why}", path.import_error_id))
}

/// Always none: nothing is loaded into the server. What others wrote are components, which run in sandboxes.
#[utoipa::path(
    get, path = "/api/v2/plugins", tag = "Plugin", responses((status = 200, body = PluginCollectionResponse)),
)]
pub async fn get_plugins() -> Json<PluginCollectionResponse> {
    Json(PluginCollectionResponse::default())
}

/// Always none, as there are no plugins.
#[utoipa::path(
    get, path = "/api/v2/plugins/importErrors", tag = "Plugin",
    responses((status = 200, body = ImportErrorCollectionResponse)),
)]
pub async fn get_plugin_import_errors() -> Json<ImportErrorCollectionResponse> {
    Json(ImportErrorCollectionResponse::default())
}

/// Always none: what providers are in Airflow are components, which `components` lists.
#[utoipa::path(
    get, path = "/api/v2/providers", tag = "Provider", responses((status = 200, body = ProviderCollectionResponse)),
)]
pub async fn get_providers() -> Json<ProviderCollectionResponse> {
    Json(ProviderCollectionResponse::default())
}
