//! Variables, connections and pools in bulk.

use super::{Action, Item, Resource};
use crate::{
    api::{
        Api,
        connections::{self, ConnectionBody},
        dags::UpdateMask,
        error::ApiError,
        pools::{self, PoolBody},
        variables::{self, VariableBody},
    },
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
