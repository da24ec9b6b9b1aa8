//! What people set, taken over from another installation: all of it, or nothing.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    connections::ConnectionBody,
    dag_numbers,
    error::ApiError,
    extract::{self, Query},
    grants::DagDecisionsBody,
    limits::DagLimitsBody,
    pools::PoolBody,
    retention::DagRetentionBody,
    variables::VariableBody,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{grants::Decisions, ids::DagId, limits::DagLimits, retention::DagRetention, role::Permission},
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

/// What people say of a dag.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagSettingsBody {
    #[schema(value_type = String)]
    dag_id: DagId,
    is_paused: bool,
    #[serde(default)]
    retention: DagRetentionBody,
    /// Who changes them needs the permission `limits.write`. Null: they stay as they are.
    limits: Option<DagLimitsBody>,
    /// Who changes them needs the permission `grant.write`. Null: they stay as they are.
    grants: Option<DagDecisionsBody>,
}

impl DagSettingsBody {
    /// What is to be stored of a dag that is there.
    ///
    /// # Errors
    /// 422 if something can't be said of a dag; 403 if `user` may not say something that is otherwise here.
    async fn import(self, api: &Api, user: &CurrentUser) -> Result<DagSettings, ApiError> {
        let Self { dag_id, is_paused, retention, limits, grants } = self;
        let retention = DagRetention::from(retention);
        dag_numbers::check(retention, AT)?;
        let limits = limits.map(DagLimits::from);
        if let Some(limits) = limits {
            dag_numbers::check(limits, AT)?;
            let is_so = limits == api.store.dag_numbers_get::<DagLimits>(&dag_id).await?;
            refuse_change(user, is_so, "limits", &dag_id, Permission::LimitsWrite)?;
        }
        let decisions = grants.map(Decisions::try_from).transpose()?;
        if let Some(decisions) = &decisions {
            let known = api.store.dag_decisions(std::slice::from_ref(&dag_id)).await?.remove(&dag_id);
            let is_so = *decisions == known.unwrap_or_default();
            refuse_change(user, is_so, "grants", &dag_id, Permission::GrantWrite)?;
        }
        Ok(DagSettings { dag_id, is_paused, retention, limits, decisions })
    }
}

/// Where dags are in the body.
const AT: &[&str] = &["body", "dags"];

/// Refuses to change `what` of a dag by somebody who may not.
fn refuse_change(
    user: &CurrentUser,
    is_so: bool,
    what: &str,
    dag_id: &DagId,
    needed: Permission,
) -> Result<(), ApiError> {
    if is_so || user.may(needed) {
        return Ok(());
    }
    let holders = needed.holders();
    let why = format!(
        "the {what} of dag `{dag_id}` are others here: to change them needs the permission `{needed}`, which {holders} \
         have; leave `{what}` out of the file"
    );
    Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", why))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Only says what would be done.
    #[serde(deserialize_with = "extract::flag")]
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
    user: CurrentUser,
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
        let is_here = api.store.dag_get(&dag.dag_id).await?.is_some();
        let name = dag.dag_id.to_string();
        let dag = dag.import(&api, &user).await?;
        if is_here {
            import.dags.push(dag);
        } else {
            response.unknown_dags.push(name);
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
    api.store.settings_import(&import, &user.username, api.clock.now()).await?;
    audit.begun();
    let dags = import.dags.into_iter().map(|dag| dag.dag_id).collect();
    api.scheduler.settings_imported(dags).await?;
    Ok(Json(response))
}
