//! Variables: sealed at rest; values under telling names are never shown.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dags::{UpdateMask, check_mask},
    error::ApiError,
    extract::{self, Paging, Patch, Path, Query, pattern},
    made_apart,
    paths::VariablePath,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{ids::VariableKey, role::Permission},
    secrets::{MASK, SecretString, place, redact, restore},
    store::{Order, VariableRow},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct VariableResponse {
    key: String,
    /// The text; masked if the key or a field in it tells that it is a secret, and for whoever may not read settings.
    value: String,
    description: Option<String>,
    is_encrypted: bool,
    team_name: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct VariableCollectionResponse {
    variables: Vec<VariableResponse>,
    total_entries: i64,
}

/// What an `update_mask` may name.
pub const FIELDS: &[&str] = &["key", "value", "description", "val"];

/// Airflow: `VariableBody`. In a change, a description that is left out stays as it is, and null takes it away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VariableBody {
    #[schema(value_type = String)]
    key: VariableKey,
    /// A text is stored as it is, anything else as JSON.
    value: Value,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    /// Not supported: must be null.
    #[serde(default)]
    team_name: Option<String>,
}

/// Which variables.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct VariableQuery {
    /// Any text that the key holds; `%` stands for any text, `_` for any character, `|` for or.
    variable_key_pattern: Option<String>,
    /// How the key begins; `|` stands for or.
    variable_key_prefix_pattern: Option<String>,
}

impl VariableBody {
    fn text(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub fn key(&self) -> &VariableKey {
        &self.key
    }

    /// The row that it becomes; none if the value was left out and there is none here. Masked values stay as they are.
    pub async fn import(self, api: &Api) -> Result<Option<VariableRow>, ApiError> {
        self.check()?;
        let place = place::variable(&self.key);
        let old = match api.store.variable_get(&self.key).await? {
            Some(row) => Some(api.secrets.unseal(&place, &row.sealed)?),
            None => None,
        };
        let text = restore(&self.text(), old.as_ref().map_or(MASK, SecretString::expose));
        if text.contains(MASK) {
            return Ok(None);
        }
        let sealed = api.secrets.seal(&place, text.as_bytes());
        let description = self.description.into_value();
        Ok(Some(VariableRow { key: self.key, sealed, description, updated_at: api.clock.now() }))
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.team_name.is_some() {
            return Err(ApiError::invalid(["body", "team_name"], "teams are not supported"));
        }
        Ok(())
    }
}

fn show(api: &Api, user: &CurrentUser, row: &VariableRow) -> Result<VariableResponse, ApiError> {
    let value = if user.may(Permission::SettingRead) {
        let value = api.secrets.unseal(&place::variable(&row.key), &row.sealed)?;
        redact(row.key.as_str(), value.expose())
    } else {
        MASK.to_owned()
    };
    Ok(VariableResponse {
        key: row.key.to_string(),
        value,
        description: row.description.clone(),
        is_encrypted: true,
        team_name: None,
    })
}

async fn find(api: &Api, key: &VariableKey) -> Result<VariableRow, ApiError> {
    let row = api.store.variable_get(key).await?;
    row.ok_or_else(|| ApiError::not_found(format!("variable `{key}` does not exist")))
}

#[utoipa::path(
    get, path = "/api/v2/variables", tag = "Variable", params(Paging, VariableQuery),
    responses((status = 200, body = VariableCollectionResponse)),
)]
pub async fn get_variables(
    State(api): State<Api>,
    user: CurrentUser,
    Query(paging): Query<Paging>,
    Query(query): Query<VariableQuery>,
) -> Result<Response, ApiError> {
    let like = pattern(query.variable_key_pattern.as_deref(), query.variable_key_prefix_pattern.as_deref())?;
    let (page, order) = paging.sorted_by_key(&["key"], Order::Ascending)?;
    let _turn = api.turn(api.store.variable_list_bytes(&like, order, page).await?).await;
    let listed = api.store.variable_list(&like, order, page).await?;
    let shown = api.clone();
    made_apart(move || {
        let variables = listed.items.iter().map(|row| show(&shown, &user, row)).collect::<Result<_, _>>()?;
        Ok(VariableCollectionResponse { variables, total_entries: listed.total })
    })
    .await
}

#[utoipa::path(
    get, path = "/api/v2/variables/{variable_key}", tag = "Variable", params(VariablePath),
    responses((status = 200, body = VariableResponse)),
)]
pub async fn get_variable(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<VariablePath>,
) -> Result<Json<VariableResponse>, ApiError> {
    Ok(Json(show(&api, &user, &find(&api, &path.variable_key).await?)?))
}

/// # Errors
/// If there is one of the key.
pub async fn create(api: &Api, body: VariableBody) -> Result<VariableRow, ApiError> {
    body.check()?;
    let row = VariableRow {
        sealed: api.secrets.seal(&place::variable(&body.key), body.text().as_bytes()),
        key: body.key,
        description: body.description.into_value(),
        updated_at: api.clock.now(),
    };
    Audit::tell(row.key.as_str(), &Value::Null, &row.shown());
    if !api.store.variable_put_new(&row).await? {
        return Err(ApiError::conflict(format!("variable `{}` exists already", row.key)));
    }
    Ok(row)
}

/// Changes the variable of the body's key: what the mask names, or what stands in the body.
///
/// # Errors
/// If there is none.
pub async fn update(api: &Api, body: VariableBody, mask: &UpdateMask) -> Result<VariableRow, ApiError> {
    check_mask(mask, FIELDS)?;
    body.check()?;
    let _alone = api.updates.lock().await;
    let mut row = find(api, &body.key).await?;
    let before = row.shown();
    let at = place::variable(&row.key);
    if mask.asks("value", true) || mask.asks("val", true) {
        let old = api.secrets.unseal(&at, &row.sealed)?;
        row.sealed = api.secrets.seal(&at, restore(&body.text(), old.expose()).as_bytes());
    }
    if mask.asks("description", body.description.is_there()) {
        row.description = body.description.into_value();
    }
    row.updated_at = api.clock.now();
    Audit::tell(row.key.as_str(), &before, &row.shown());
    api.store.variable_put(&row).await?;
    Ok(row)
}

/// # Errors
/// If there is none.
pub async fn delete(api: &Api, key: &VariableKey) -> Result<(), ApiError> {
    let _alone = api.updates.lock().await;
    let row = find(api, key).await?;
    Audit::tell(row.key.as_str(), &row.shown(), &Value::Null);
    if api.store.variable_delete(key).await? {
        Ok(())
    } else {
        Err(ApiError::not_found(format!("variable `{key}` does not exist")))
    }
}

#[utoipa::path(
    post, path = "/api/v2/variables", tag = "Variable", request_body = VariableBody,
    responses((status = 201, body = VariableResponse)),
)]
pub async fn post_variable(
    State(api): State<Api>,
    user: CurrentUser,
    extract::Json(body): extract::Json<VariableBody>,
) -> Result<(StatusCode, Json<VariableResponse>), ApiError> {
    let row = create(&api, body).await?;
    Ok((StatusCode::CREATED, Json(show(&api, &user, &row)?)))
}

#[utoipa::path(
    patch, path = "/api/v2/variables/{variable_key}", tag = "Variable", params(VariablePath, UpdateMask),
    request_body = VariableBody, responses((status = 200, body = VariableResponse)),
)]
pub async fn patch_variable(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<VariablePath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<VariableBody>,
) -> Result<Json<VariableResponse>, ApiError> {
    if body.key != path.variable_key {
        return Err(ApiError::bad_request("the key in the body is not that of the path"));
    }
    Ok(Json(show(&api, &user, &update(&api, body, &mask).await?)?))
}

#[utoipa::path(
    delete, path = "/api/v2/variables/{variable_key}", tag = "Variable", params(VariablePath),
    responses((status = 204)),
)]
pub async fn delete_variable(State(api): State<Api>, Path(path): Path<VariablePath>) -> Result<StatusCode, ApiError> {
    delete(&api, &path.variable_key).await?;
    Ok(StatusCode::NO_CONTENT)
}
