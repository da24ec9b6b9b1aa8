//! Pools of slots.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dags::{UpdateMask, check_mask},
    error::ApiError,
    extract::{self, Paging, Patch, Path, Query, given, pattern},
    paths::PoolPath,
};
use crate::{
    auth::Audit,
    model::ids::PoolName,
    store::{Order, PoolRow, PoolUse},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolResponse {
    name: String,
    /// -1: unlimited.
    slots: i32,
    description: Option<String>,
    include_deferred: bool,
    team_name: Option<String>,
    occupied_slots: i64,
    running_slots: i64,
    queued_slots: i64,
    scheduled_slots: i64,
    deferred_slots: i64,
    /// -1: unlimited.
    open_slots: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolCollectionResponse {
    pools: Vec<PoolResponse>,
    total_entries: i64,
}

/// What an `update_mask` may name.
pub const FIELDS: &[&str] = &["pool", "name", "slots", "description", "include_deferred"];

/// Airflow: `PoolBody`. In a change, a field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolBody {
    #[schema(value_type = String)]
    name: PoolName,
    /// -1: unlimited.
    #[schema(minimum = -1)]
    slots: i32,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool)]
    include_deferred: Option<bool>,
    /// Not supported: must be null.
    #[serde(default)]
    team_name: Option<String>,
}

/// Airflow: `PoolPatchBody`. What is left out stays as it is; a description that is null is taken away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolPatchBody {
    #[serde(default, alias = "name")]
    #[schema(value_type = Option<String>)]
    pool: Option<PoolName>,
    #[serde(default)]
    #[schema(minimum = -1)]
    slots: Option<i32>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default)]
    include_deferred: Option<bool>,
    /// Not supported: must be null.
    #[serde(default)]
    team_name: Option<String>,
}

/// Which pools.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct PoolQuery {
    /// Any text that the name holds; `%` stands for any text, `_` for any character, `|` for or.
    pool_name_pattern: Option<String>,
    /// How the name begins; `|` stands for or.
    pool_name_prefix_pattern: Option<String>,
}

impl PoolBody {
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// The row that it becomes.
    pub fn import(self) -> Result<PoolRow, ApiError> {
        check(Some(self.slots), self.team_name.as_ref())?;
        let Self { name, slots, description, include_deferred, .. } = self;
        let (description, include_deferred) = (description.into_value(), include_deferred.unwrap_or_default());
        Ok(PoolRow { name, slots, description, include_deferred })
    }

    /// The change that it is of the pool of its name.
    pub fn patch(self, mask: &UpdateMask) -> PoolPatchBody {
        let Self { name, slots, description, include_deferred, team_name } = self;
        // What a mask names is what it would be in a new one, if it is left out.
        let include_deferred = include_deferred.or_else(|| mask.asks("include_deferred", false).then_some(false));
        PoolPatchBody { pool: Some(name), slots: Some(slots), description, include_deferred, team_name }
    }
}

impl PoolResponse {
    fn new(row: PoolRow, used: &[PoolUse]) -> Self {
        let used = used.iter().find(|used| used.pool == row.name.as_str()).cloned().unwrap_or_default();
        Self {
            occupied_slots: used.occupied(&row),
            open_slots: used.open(&row).unwrap_or(-1),
            name: row.name.to_string(),
            slots: row.slots,
            description: row.description,
            include_deferred: row.include_deferred,
            team_name: None,
            running_slots: used.running,
            queued_slots: used.queued,
            scheduled_slots: used.scheduled,
            deferred_slots: used.deferred,
        }
    }
}

fn check(slots: Option<i32>, team_name: Option<&String>) -> Result<(), ApiError> {
    if slots.is_some_and(|slots| slots < -1) {
        return Err(ApiError::invalid(["body", "slots"], "it must be -1 (unlimited), 0 or more"));
    }
    if team_name.is_some() {
        return Err(ApiError::invalid(["body", "team_name"], "teams are not supported"));
    }
    Ok(())
}

async fn show(api: &Api, row: PoolRow) -> Result<PoolResponse, ApiError> {
    Ok(PoolResponse::new(row, &api.store.pool_use().await?))
}

async fn find(api: &Api, name: &PoolName) -> Result<PoolRow, ApiError> {
    let row = api.store.pool_get(name).await?;
    row.ok_or_else(|| ApiError::not_found(format!("pool `{name}` does not exist")))
}

#[utoipa::path(
    get, path = "/api/v2/pools", tag = "Pool", params(Paging, PoolQuery),
    responses((status = 200, body = PoolCollectionResponse)),
)]
pub async fn get_pools(
    State(api): State<Api>,
    Query(paging): Query<Paging>,
    Query(query): Query<PoolQuery>,
) -> Result<Json<PoolCollectionResponse>, ApiError> {
    let like = pattern(query.pool_name_pattern.as_deref(), query.pool_name_prefix_pattern.as_deref())?;
    let (page, order) = paging.sorted_by_key(&["name", "pool"], Order::Ascending)?;
    let listed = api.store.pool_list(&like, order, page).await?;
    let used = api.store.pool_use().await?;
    let pools = listed.items.into_iter().map(|row| PoolResponse::new(row, &used)).collect();
    Ok(Json(PoolCollectionResponse { pools, total_entries: listed.total }))
}

#[utoipa::path(
    get, path = "/api/v2/pools/{pool_name}", tag = "Pool", params(PoolPath),
    responses((status = 200, body = PoolResponse)),
)]
pub async fn get_pool(State(api): State<Api>, Path(path): Path<PoolPath>) -> Result<Json<PoolResponse>, ApiError> {
    let row = find(&api, &path.pool_name).await?;
    Ok(Json(show(&api, row).await?))
}

/// # Errors
/// If there is one of the name.
pub async fn create(api: &Api, body: PoolBody) -> Result<PoolRow, ApiError> {
    let row = body.import()?;
    Audit::tell(row.name.as_str(), &Value::Null, &row.shown());
    if !api.store.pool_put_new(&row).await? {
        return Err(ApiError::conflict(format!("pool `{}` exists already", row.name)));
    }
    api.scheduler.pools_changed().await?;
    Ok(row)
}

/// Changes a pool: what the mask names, or what stands in the body.
///
/// # Errors
/// If there is none of the name.
pub async fn update(api: &Api, name: &PoolName, body: PoolPatchBody, mask: &UpdateMask) -> Result<PoolRow, ApiError> {
    check_mask(mask, FIELDS)?;
    check(body.slots, body.team_name.as_ref())?;
    if body.pool.as_ref().is_some_and(|given| given != name) {
        return Err(ApiError::bad_request("a pool can't be renamed; make a new one and delete this one"));
    }
    let alone = api.updates.lock().await;
    let mut row = find(api, name).await?;
    let before = row.shown();
    if let Some(slots) = body.slots.filter(|_| mask.asks("slots", true)) {
        row.slots = slots;
    }
    if let Some(include_deferred) = body.include_deferred.filter(|_| mask.asks("include_deferred", true)) {
        row.include_deferred = include_deferred;
    }
    if mask.asks("description", body.description.is_there()) {
        row.description = body.description.into_value();
    }
    Audit::tell(row.name.as_str(), &before, &row.shown());
    api.store.pool_put(&row).await?;
    drop(alone);
    api.scheduler.pools_changed().await?;
    Ok(row)
}

/// # Errors
/// If there is none of the name, or it is the default pool.
pub async fn delete(api: &Api, name: &PoolName) -> Result<(), ApiError> {
    if *name == PoolName::default_pool() {
        return Err(ApiError::bad_request("the default pool can't be deleted"));
    }
    let alone = api.updates.lock().await;
    let row = find(api, name).await?;
    Audit::tell(row.name.as_str(), &row.shown(), &Value::Null);
    if !api.store.pool_delete(name).await? {
        return Err(ApiError::not_found(format!("pool `{name}` does not exist")));
    }
    drop(alone);
    api.scheduler.pools_changed().await?;
    Ok(())
}

#[utoipa::path(
    post, path = "/api/v2/pools", tag = "Pool", request_body = PoolBody,
    responses((status = 201, body = PoolResponse)),
)]
pub async fn post_pool(
    State(api): State<Api>,
    extract::Json(body): extract::Json<PoolBody>,
) -> Result<(StatusCode, Json<PoolResponse>), ApiError> {
    let row = create(&api, body).await?;
    Ok((StatusCode::CREATED, Json(show(&api, row).await?)))
}

#[utoipa::path(
    patch, path = "/api/v2/pools/{pool_name}", tag = "Pool", params(PoolPath, UpdateMask),
    request_body = PoolPatchBody, responses((status = 200, body = PoolResponse)),
)]
pub async fn patch_pool(
    State(api): State<Api>,
    Path(path): Path<PoolPath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<PoolPatchBody>,
) -> Result<Json<PoolResponse>, ApiError> {
    let row = update(&api, &path.pool_name, body, &mask).await?;
    Ok(Json(show(&api, row).await?))
}

#[utoipa::path(delete, path = "/api/v2/pools/{pool_name}", tag = "Pool", params(PoolPath), responses((status = 204)))]
pub async fn delete_pool(State(api): State<Api>, Path(path): Path<PoolPath>) -> Result<StatusCode, ApiError> {
    delete(&api, &path.pool_name).await?;
    Ok(StatusCode::NO_CONTENT)
}
