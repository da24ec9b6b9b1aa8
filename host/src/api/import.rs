//! What people set, taken over from another installation: all of it, or nothing.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    connections::ConnectionBody,
    dag_numbers,
    error::ApiError,
    extract::{self, Query},
    pools::PoolBody,
    retention::DagRetentionBody,
    variables::VariableBody,
};
use crate::{
    auth::Audit,
    model::{ids::DagId, retention::DagRetention},
    store::{DagSettings, SettingsImport},
};

/// Things of one import, at most.
const MAX_THINGS: usize = 10_000;

/// What `airlock export` writes. Secrets that were left out are `***`: those that are there stay, others are to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportBody {
    /// The form of the file: 1.
    airlock_export: u32,
    #[serde(default)]
    variables: Vec<VariableBody>,
    #[serde(default)]
    connections: Vec<ConnectionBody>,
    #[serde(default)]
    pools: Vec<PoolBody>,
    /// Of dags that are there.
    #[serde(default)]
    dags: Vec<DagSettingsBody>,
}

/// What an operator says of a dag.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagSettingsBody {
    #[schema(value_type = String)]
    dag_id: DagId,
    is_paused: bool,
    #[serde(default)]
    retention: DagRetentionBody,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Only says what would be done.
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ImportResponse {
    variables: usize,
    connections: usize,
    pools: usize,
    dags: usize,
    /// Variables that were left out, and connections that have no secret now, because the file does not hold it.
    to_be_set: Vec<String>,
    /// Dags of the file that are not here; what is said of them was left out.
    unknown_dags: Vec<String>,
}

/// Takes over variables, connections, pools and what is said of dags: all of it, or nothing.
#[utoipa::path(
    post, path = "/api/v2/import", tag = "Import", params(ImportQuery), request_body = ImportBody,
    responses((status = 200, body = ImportResponse)),
)]
pub async fn import_settings(
    State(api): State<Api>,
    audit: Audit,
    Query(query): Query<ImportQuery>,
    extract::Json(body): extract::Json<ImportBody>,
) -> Result<Json<ImportResponse>, ApiError> {
    if body.airlock_export != 1 {
        return Err(ApiError::invalid(["body", "airlock_export"], "this version reads form 1 only"));
    }
    if body.variables.len() + body.connections.len() + body.pools.len() + body.dags.len() > MAX_THINGS {
        return Err(ApiError::too_large(format!("an import holds at most {MAX_THINGS} things; divide it")));
    }
    let mut response = ImportResponse::default();
    let mut import = SettingsImport::default();
    for variable in body.variables {
        let name = format!("variable {}", variable.key());
        match variable.import(&api).await? {
            Some(row) => import.variables.push(row),
            None => response.to_be_set.push(name),
        }
    }
    for connection in body.connections {
        let name = format!("connection {}", connection.id());
        let (row, is_whole) = connection.import(&api).await?;
        import.connections.push(row);
        if !is_whole {
            response.to_be_set.push(name);
        }
    }
    for pool in body.pools {
        import.pools.push(pool.import()?);
    }
    for dag in body.dags {
        let retention = DagRetention::from(dag.retention);
        dag_numbers::check(retention, &["body", "dags"])?;
        if api.store.dag_get(&dag.dag_id).await?.is_some() {
            import.dags.push(DagSettings { dag_id: dag.dag_id, is_paused: dag.is_paused, retention });
        } else {
            response.unknown_dags.push(dag.dag_id.to_string());
        }
    }
    response.variables = import.variables.len();
    response.connections = import.connections.len();
    response.pools = import.pools.len();
    response.dags = import.dags.len();
    if query.dry_run {
        audit.nothing();
        return Ok(Json(response));
    }
    let names = |rows: Vec<&str>| rows.into_iter().take(100).map(Value::from).collect::<Vec<_>>();
    audit.change(
        "settings",
        &Value::Null,
        &json!({
            "variables": names(import.variables.iter().map(|row| row.key.as_str()).collect()),
            "connections": names(import.connections.iter().map(|row| row.id.as_str()).collect()),
            "pools": names(import.pools.iter().map(|row| row.name.as_str()).collect()),
            "dags": names(import.dags.iter().map(|dag| dag.dag_id.as_str()).collect()),
        }),
    );
    api.store.settings_import(&import, api.clock.now()).await?;
    audit.begun();
    let dags = import.dags.into_iter().map(|dag| dag.dag_id).collect();
    api.scheduler.settings_imported(dags).await?;
    Ok(Json(response))
}
