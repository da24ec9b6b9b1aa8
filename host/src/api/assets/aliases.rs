//! Names for assets that tasks say when they run.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Api,
        error::ApiError,
        extract::{Paging, Path, Query, pattern},
        paths::AliasPath,
        permit::Scoped,
    },
    find_seen, order,
};
use crate::store::{AssetFilter, AssetRow};

/// Airflow: `AssetAliasResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetAliasResponse {
    id: i64,
    name: String,
    group: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AssetAliasCollectionResponse {
    asset_aliases: Vec<AssetAliasResponse>,
    total_entries: i64,
}

/// Which aliases.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct AssetAliasQuery {
    /// Any text that the name holds; `%` stands for any text, `_` for any character, `|` for or.
    name_pattern: Option<String>,
    /// How the name begins; `|` stands for or.
    name_prefix_pattern: Option<String>,
}

impl From<AssetRow> for AssetAliasResponse {
    fn from(row: AssetRow) -> Self {
        Self { id: row.id, name: row.name.to_string(), group: row.group }
    }
}

/// Aliases by name. The events that went through one are those of `assets/events` with its id.
#[utoipa::path(
    get, path = "/api/v2/assets/aliases", tag = "Asset", params(Paging, AssetAliasQuery),
    responses((status = 200, body = AssetAliasCollectionResponse)),
)]
pub async fn get_asset_aliases(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<AssetAliasQuery>,
) -> Result<Json<AssetAliasCollectionResponse>, ApiError> {
    let (page, order_by, order) = order(&paging)?;
    let filter = AssetFilter {
        name: pattern(query.name_pattern.as_deref(), query.name_prefix_pattern.as_deref())?,
        is_alias: Some(true),
        dags: scope.seen().clone(),
        order_by,
        order,
        ..AssetFilter::default()
    };
    let listed = api.store.asset_list(&filter, page).await?;
    let asset_aliases = listed.items.into_iter().map(Into::into).collect();
    Ok(Json(AssetAliasCollectionResponse { asset_aliases, total_entries: listed.total }))
}

#[utoipa::path(
    get, path = "/api/v2/assets/aliases/{asset_alias_id}", tag = "Asset", params(AliasPath),
    responses((status = 200, body = AssetAliasResponse)),
)]
pub async fn get_asset_alias(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Path(path): Path<AliasPath>,
) -> Result<Json<AssetAliasResponse>, ApiError> {
    let id = path.asset_alias_id;
    let (row, _) = find_seen(&api, &scope, id).await?;
    if !row.is_alias {
        return Err(ApiError::not_found(format!("asset {id} is no alias; get `/api/v2/assets/{id}`")));
    }
    Ok(Json(row.into()))
}
