//! What a dag is written as: the YAML; a WebAssembly component brings no source.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    components::readable,
    dag_versions::find_version,
    dags::find_dag,
    error::ApiError,
    extract::{Path, Query},
    paths::DagPath,
    permit::Scoped,
};
use crate::{blobs::keys, model::spec::ComponentKind};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct DagSourceQuery {
    /// The newest if it is left out.
    version_number: Option<i64>,
}

/// Airflow: `DAGSourceResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagSourceResponse {
    /// The text, as it was uploaded: with its other dags.
    content: Option<String>,
    dag_id: String,
    version_number: Option<i64>,
    dag_display_name: String,
}

/// The text that a dag in YAML was uploaded as. 404 for a dag of a WebAssembly component, which has none.
#[utoipa::path(
    get, path = "/api/v2/dagSources/{dag_id}", tag = "DagSource", params(DagPath, DagSourceQuery),
    responses((status = 200, content((DagSourceResponse = "application/json"), (String = "text/plain")))),
)]
pub async fn get_dag_source(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    headers: HeaderMap,
    Path(path): Path<DagPath>,
    Query(query): Query<DagSourceQuery>,
) -> Result<Response, ApiError> {
    let dag = find_dag(&api, &path.dag_id).await?;
    let version = find_version(&api, &path.dag_id, query.version_number.unwrap_or(dag.version_number)).await?;
    let component = readable(&api, &scope, version.component).await?;
    if component.module.kind != ComponentKind::Yaml {
        let digest = version.component;
        return Err(ApiError::not_found(format!(
            "dag `{}` came with a WebAssembly component, which brings no source; its code is at \
             `/api/v2/components/{digest}/wasm`",
            path.dag_id
        )));
    }
    let bytes = api.blobs.get(&keys::component(&version.component, ComponentKind::Yaml)).await?;
    let bytes = bytes.ok_or_else(|| ApiError::unavailable("the text is not in object storage"))?;
    let content = String::from_utf8_lossy(&bytes).into_owned();
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.starts_with("text/plain") {
        return Ok(content.into_response());
    }
    Ok(Json(DagSourceResponse {
        content: Some(content),
        dag_display_name: version.spec.shown_name().to_owned(),
        dag_id: path.dag_id.to_string(),
        version_number: Some(version.version_number),
    })
    .into_response())
}
