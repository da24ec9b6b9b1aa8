//! What Airflow lists and Airlock can't have: the lists are there, and always empty.

use axum::Json;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{error::ApiError, extract::Path, paths::ImportErrorPath};

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

/// Always none: what can't be read is refused at the upload, and the answer says why.
#[utoipa::path(
    get, path = "/api/v2/importErrors", tag = "Import Error",
    responses((status = 200, body = ImportErrorCollectionResponse)),
)]
pub async fn get_import_errors() -> Json<ImportErrorCollectionResponse> {
    Json(ImportErrorCollectionResponse::default())
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
