//! Variables, connections and pools in bulk.

use axum::{Json, extract::State};

use super::{Action, BulkBody, BulkResponse, Item, Resource, carry_out};
use crate::{
    api::{
        Api,
        connections::{self, ConnectionBody},
        dags::UpdateMask,
        error::ApiError,
        extract,
        pools::{self, PoolBody},
        variables::{self, VariableBody},
    },
    auth::Audit,
    model::ids::{ConnectionId, PoolName, VariableKey},
};

pub struct Variables<'a>(pub &'a Api);

pub struct Connections<'a>(pub &'a Api);

pub struct Pools<'a>(pub &'a Api);

/// A name that can't be one names nothing.
fn named<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str) -> Result<T, ApiError> {
    name.parse().map_err(|error: T::Err| ApiError::not_found(error.to_string()))
}

impl Resource for Variables<'_> {
    type Entity = VariableBody;
    const NAMES: &'static str = "variables";
    const FIELDS: &'static [&'static str] = variables::FIELDS;

    fn name(&self, item: &Item<VariableBody>) -> Result<String, ApiError> {
        Ok(key(item)?.to_string())
    }

    async fn exists(&self, item: &Item<VariableBody>, _: Action) -> Result<bool, ApiError> {
        Ok(self.0.store.variable_get(&key(item)?).await?.is_some())
    }

    async fn create(&self, body: VariableBody) -> Result<(), ApiError> {
        variables::create(self.0, body).await.map(drop)
    }

    async fn update(&self, body: VariableBody, mask: &UpdateMask) -> Result<(), ApiError> {
        variables::update(self.0, body, mask).await.map(drop)
    }

    async fn delete(&self, item: Item<VariableBody>) -> Result<(), ApiError> {
        variables::delete(self.0, &key(&item)?).await
    }
}

fn key(item: &Item<VariableBody>) -> Result<VariableKey, ApiError> {
    match item {
        Item::Name(name) => named(name),
        Item::Entity(body) => Ok(body.key().clone()),
    }
}

impl Resource for Connections<'_> {
    type Entity = ConnectionBody;
    const NAMES: &'static str = "connections";
    const FIELDS: &'static [&'static str] = connections::FIELDS;

    fn name(&self, item: &Item<ConnectionBody>) -> Result<String, ApiError> {
        Ok(connection_id(item)?.to_string())
    }

    async fn exists(&self, item: &Item<ConnectionBody>, _: Action) -> Result<bool, ApiError> {
        Ok(self.0.store.connection_get(&connection_id(item)?).await?.is_some())
    }

    async fn create(&self, body: ConnectionBody) -> Result<(), ApiError> {
        connections::create(self.0, body).await.map(drop)
    }

    async fn update(&self, body: ConnectionBody, mask: &UpdateMask) -> Result<(), ApiError> {
        connections::update(self.0, body, mask).await.map(drop)
    }

    async fn delete(&self, item: Item<ConnectionBody>) -> Result<(), ApiError> {
        connections::delete(self.0, &connection_id(&item)?).await
    }
}

fn connection_id(item: &Item<ConnectionBody>) -> Result<ConnectionId, ApiError> {
    match item {
        Item::Name(name) => named(name),
        Item::Entity(body) => Ok(body.id().clone()),
    }
}

impl Resource for Pools<'_> {
    type Entity = PoolBody;
    const NAMES: &'static str = "pools";
    const FIELDS: &'static [&'static str] = pools::FIELDS;

    fn name(&self, item: &Item<PoolBody>) -> Result<String, ApiError> {
        Ok(pool_name(item)?.to_string())
    }

    async fn exists(&self, item: &Item<PoolBody>, _: Action) -> Result<bool, ApiError> {
        Ok(self.0.store.pool_get(&pool_name(item)?).await?.is_some())
    }

    async fn create(&self, body: PoolBody) -> Result<(), ApiError> {
        pools::create(self.0, body).await.map(drop)
    }

    async fn update(&self, body: PoolBody, mask: &UpdateMask) -> Result<(), ApiError> {
        let name = body.name().clone();
        pools::update(self.0, &name, body.patch(mask), mask).await.map(drop)
    }

    async fn delete(&self, item: Item<PoolBody>) -> Result<(), ApiError> {
        pools::delete(self.0, &pool_name(&item)?).await
    }
}

fn pool_name(item: &Item<PoolBody>) -> Result<PoolName, ApiError> {
    match item {
        Item::Name(name) => named(name),
        Item::Entity(body) => Ok(body.name().clone()),
    }
}

/// Makes, changes and deletes many variables.
#[utoipa::path(
    patch, path = "/api/v2/variables", tag = "Variable", request_body = BulkBody<VariableBody>,
    responses((status = 200, body = BulkResponse)),
)]
pub async fn bulk_variables(
    State(api): State<Api>,
    audit: Audit,
    extract::Json(body): extract::Json<BulkBody<VariableBody>>,
) -> Result<Json<BulkResponse>, ApiError> {
    carry_out(&api, &audit, &Variables(&api), body).await
}

/// Makes, changes and deletes many connections.
#[utoipa::path(
    patch, path = "/api/v2/connections", tag = "Connection", request_body = BulkBody<ConnectionBody>,
    responses((status = 200, body = BulkResponse)),
)]
pub async fn bulk_connections(
    State(api): State<Api>,
    audit: Audit,
    extract::Json(body): extract::Json<BulkBody<ConnectionBody>>,
) -> Result<Json<BulkResponse>, ApiError> {
    carry_out(&api, &audit, &Connections(&api), body).await
}

/// Makes, changes and deletes many pools.
#[utoipa::path(
    patch, path = "/api/v2/pools", tag = "Pool", request_body = BulkBody<PoolBody>,
    responses((status = 200, body = BulkResponse)),
)]
pub async fn bulk_pools(
    State(api): State<Api>,
    audit: Audit,
    extract::Json(body): extract::Json<BulkBody<PoolBody>>,
) -> Result<Json<BulkResponse>, ApiError> {
    carry_out(&api, &audit, &Pools(&api), body).await
}
