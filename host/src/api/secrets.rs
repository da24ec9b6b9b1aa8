//! The keys that seal variables, connections and webhooks.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{Api, error::ApiError};
use crate::{auth::Audit, vault::KeysStatus};

/// The keys, and how much each sealed. No key is told, only the beginning of a digest of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeysResponse {
    /// The one that seals first.
    data_keys: Vec<DataKeyResponse>,
    /// In the order in which they were given: the first seals the data keys.
    master_keys: Vec<MasterKeyResponse>,
    /// Values that are still to be sealed by the newest data key.
    waiting: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DataKeyResponse {
    id: String,
    created_at: DateTime<Utc>,
    /// Since when it seals nothing any more; null: it is the one that seals.
    retired_at: Option<DateTime<Utc>>,
    /// That it sealed.
    values: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MasterKeyResponse {
    id: String,
    /// Data keys and values that only this one opens. If there are none, it may be taken away.
    needed_by: i64,
}

impl From<KeysStatus> for KeysResponse {
    fn from(status: KeysStatus) -> Self {
        let data_keys = status.data_keys.into_iter().map(|key| DataKeyResponse {
            id: key.id,
            created_at: key.created_at.to_utc(),
            retired_at: key.retired_at.map(crate::model::time::Timestamp::to_utc),
            values: key.values,
        });
        let master_keys = status.master_keys.into_iter();
        Self {
            data_keys: data_keys.collect(),
            master_keys: master_keys.map(|key| MasterKeyResponse { id: key.id, needed_by: key.needed_by }).collect(),
            waiting: status.waiting,
        }
    }
}

#[utoipa::path(get, path = "/api/v2/secrets/keys", tag = "Secret", responses((status = 200, body = KeysResponse)))]
pub async fn get_keys(State(api): State<Api>) -> Result<Json<KeysResponse>, ApiError> {
    Ok(Json(api.vault.keys().await?.into()))
}

/// Makes a new data key, by which all is sealed from now on. What earlier ones sealed is sealed anew in the background: `waiting`
/// says how much is left.
#[utoipa::path(
    post, path = "/api/v2/secrets/keys/rotate", tag = "Secret", responses((status = 200, body = KeysResponse)),
)]
pub async fn rotate_keys(State(api): State<Api>, audit: Audit) -> Result<Json<KeysResponse>, ApiError> {
    api.vault.rotate().await?;
    let keys = KeysResponse::from(api.vault.keys().await?);
    audit.change("keys", &json!(null), &json!({"data_key": keys.data_keys.first().map(|key| &key.id)}));
    Ok(Json(keys))
}

/// Where variables and connections are looked for before the database, in this order.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceCollectionResponse {
    sources: Vec<SourceResponse>,
    total_entries: usize,
}

/// A place that holds variables and connections.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceResponse {
    /// As `files in `/run/secrets``.
    name: String,
    variables: Vec<String>,
    connections: Vec<String>,
    /// There may be others, which the place can't list.
    is_partial: bool,
}

/// Places are asked before the database, in the order of the answer. What one holds hides what the next ones hold.
#[utoipa::path(
    get, path = "/api/v2/secrets/sources", tag = "Secret", responses((status = 200, body = SourceCollectionResponse)),
)]
pub async fn get_sources(State(api): State<Api>) -> Result<Json<SourceCollectionResponse>, ApiError> {
    let sources = api.vault.outside().await?.into_iter().map(|(name, found)| SourceResponse {
        name,
        variables: found.variables.into_iter().collect(),
        connections: found.connections.into_iter().collect(),
        is_partial: found.is_partial,
    });
    let sources: Vec<_> = sources.collect();
    Ok(Json(SourceCollectionResponse { total_entries: sources.len(), sources }))
}
