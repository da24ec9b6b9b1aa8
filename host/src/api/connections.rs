//! Connections: passwords and extras are sealed at rest; secrets in them are never shown.

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
    paths::ConnectionPath,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{ids::ConnectionId, role::Permission, time::Timestamp},
    secrets::{MASK, SecretString, place, redact, restore},
    store::{ConnectionRow, Order},
    vault::{Connection, Kept, refuse_moved_secret},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionResponse {
    connection_id: String,
    conn_type: String,
    description: Option<String>,
    host: Option<String>,
    login: Option<String>,
    schema: Option<String>,
    port: Option<u16>,
    /// `***` if there is one.
    password: Option<&'static str>,
    /// JSON, as text, with its secrets masked.
    extra: Option<String>,
    team_name: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionCollectionResponse {
    connections: Vec<ConnectionResponse>,
    total_entries: i64,
}

/// What an `update_mask` may name.
pub const FIELDS: &[&str] =
    &["connection_id", "conn_type", "description", "host", "login", "schema", "port", "password", "extra"];

/// Airflow: `ConnectionBody`. In a change, a field that is left out stays as it is, and null takes it away.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionBody {
    #[schema(value_type = String)]
    connection_id: ConnectionId,
    conn_type: String,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    host: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    login: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    schema: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<u16>)]
    port: Patch<u16>,
    /// `***` leaves the present one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    password: Patch<SecretString>,
    /// A JSON object, as text. Values `***` leave the present ones.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    extra: Patch<SecretString>,
    /// Not supported: must be null.
    #[serde(default)]
    team_name: Option<String>,
}

/// Which connections.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ConnectionQuery {
    /// Any text that the id holds; `%` stands for any text, `_` for any character, `|` for or.
    connection_id_pattern: Option<String>,
    /// How the id begins; `|` stands for or.
    connection_id_prefix_pattern: Option<String>,
}

impl ConnectionBody {
    pub fn id(&self) -> &ConnectionId {
        &self.connection_id
    }

    /// The row that it becomes, and whether it has all its secrets. Masked ones stay as they are here; those that are not
    /// here are left out.
    pub async fn import(self, api: &Api) -> Result<(ConnectionRow, bool), ApiError> {
        self.check()?;
        let old = api.store.connection_get(&self.connection_id).await?;
        let kept = self.kept(|_| true);
        let id = &self.connection_id;
        let mut is_whole = true;
        let mut import = |place: &str, new: Option<&SecretString>, old: Option<&Vec<u8>>| {
            let is_left_out = new.is_some_and(|new| new.expose().contains(MASK)) && old.is_none();
            is_whole &= !is_left_out;
            seal(api, place, new.filter(|_| !is_left_out), old)
        };
        let (password, extra) = old.clone().map_or((None, None), |old| (old.sealed_password, old.sealed_extra));
        let row = ConnectionRow {
            sealed_password: import(&place::connection_password(id), self.password.get(), password.as_ref())?,
            sealed_extra: import(&place::connection_extra(id), self.extra.get(), extra.as_ref())?,
            ..self.into_row(api.clock.now())
        };
        if let Some(old) = old {
            check_moved(api, old, &row, kept)?;
        }
        Ok((row, is_whole))
    }

    /// Whether a field stands in it, be it null.
    fn has(&self, field: &str) -> bool {
        match field {
            "description" => self.description.is_there(),
            "host" => self.host.is_there(),
            "login" => self.login.is_there(),
            "schema" => self.schema.is_there(),
            "port" => self.port.is_there(),
            "password" => self.password.is_there(),
            "extra" => self.extra.is_there(),
            // The others must be given.
            _ => true,
        }
    }

    /// Which secrets stay what they are, if those fields are changed that are `asked` for.
    fn kept(&self, asked: impl Fn(&str) -> bool) -> Kept {
        let is_kept = |field: &str, secret: &Patch<SecretString>| {
            !asked(field) || secret.get().is_some_and(|secret| secret.expose().contains(MASK))
        };
        Kept { password: is_kept("password", &self.password), extra: is_kept("extra", &self.extra) }
    }

    /// The connection that it is, with the secrets that stand in it.
    pub fn into_unkept(self, now: Timestamp) -> Result<Connection, ApiError> {
        self.check()?;
        for (field, secret) in [("password", &self.password), ("extra", &self.extra)] {
            if secret.get().is_some_and(|secret| secret.expose().contains(MASK)) {
                let text = "it is masked; write it, or test the connection that is kept by its id";
                return Err(ApiError::invalid(["body", field], text));
            }
        }
        let given = |secret: &Patch<SecretString>| secret.get().filter(|secret| !secret.expose().is_empty()).cloned();
        Ok(Connection { password: given(&self.password), extra: given(&self.extra), row: self.into_row(now) })
    }

    /// The row that it becomes, without its secrets.
    fn into_row(self, now: Timestamp) -> ConnectionRow {
        ConnectionRow {
            id: self.connection_id,
            conn_type: self.conn_type,
            description: self.description.into_value(),
            host: self.host.into_value(),
            schema: self.schema.into_value(),
            login: self.login.into_value(),
            port: self.port.into_value(),
            sealed_password: None,
            sealed_extra: None,
            updated_at: now,
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.team_name.is_some() {
            return Err(ApiError::invalid(["body", "team_name"], "teams are not supported"));
        }
        if self.conn_type.is_empty() {
            return Err(ApiError::invalid(["body", "conn_type"], "it must not be empty"));
        }
        let extra = self.extra.get().map(SecretString::expose).filter(|extra| !extra.is_empty() && *extra != MASK);
        match extra.map(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>) {
            None | Some(Ok(_)) => Ok(()),
            // The cause could show a piece of the secret.
            Some(Err(_)) => Err(ApiError::invalid(["body", "extra"], "it must be a JSON object, as text")),
        }
    }
}

/// Whoever may not read settings sees which connections there are, and not where they lead.
fn show(api: &Api, user: &CurrentUser, row: &ConnectionRow) -> Result<ConnectionResponse, ApiError> {
    if !user.may(Permission::SettingRead) {
        return Ok(ConnectionResponse {
            connection_id: row.id.to_string(),
            conn_type: row.conn_type.clone(),
            description: row.description.clone(),
            host: None,
            login: None,
            schema: None,
            port: None,
            password: row.sealed_password.as_ref().map(|_| MASK),
            extra: row.sealed_extra.as_ref().map(|_| MASK.to_owned()),
            team_name: None,
        });
    }
    let extra = row.sealed_extra.as_ref().map(|sealed| {
        let extra = api.secrets.unseal(&place::connection_extra(&row.id), sealed)?;
        Ok::<_, ApiError>(redact("extra", extra.expose()))
    });
    Ok(ConnectionResponse {
        connection_id: row.id.to_string(),
        conn_type: row.conn_type.clone(),
        description: row.description.clone(),
        host: row.host.clone(),
        login: row.login.clone(),
        schema: row.schema.clone(),
        port: row.port,
        password: row.sealed_password.as_ref().map(|_| MASK),
        extra: extra.transpose()?,
        team_name: None,
    })
}

async fn find(api: &Api, id: &ConnectionId) -> Result<ConnectionRow, ApiError> {
    let row = api.store.connection_get(id).await?;
    row.ok_or_else(|| ApiError::not_found(format!("connection `{id}` does not exist")))
}

/// `new` sealed for `place`; masked values in it are those of `old`. An empty text is none.
fn seal(
    api: &Api,
    place: &str,
    new: Option<&SecretString>,
    old: Option<&Vec<u8>>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(new) = new.filter(|new| !new.expose().is_empty()) else { return Ok(None) };
    let old = old.map(|sealed| api.secrets.unseal(place, sealed)).transpose()?;
    let text = SecretString::from(restore(new.expose(), old.as_ref().map_or("", SecretString::expose)));
    Ok(Some(api.secrets.seal(place, text.expose().as_bytes())))
}

/// Refuses to send a secret elsewhere that was not given anew.
fn check_moved(api: &Api, old: ConnectionRow, new: &ConnectionRow, kept: Kept) -> Result<(), ApiError> {
    let (before, after) = (api.vault.opened(old)?, api.vault.opened(new.clone())?);
    refuse_moved_secret(&before, &after, kept)
        .map_err(|error| ApiError::invalid(["body", "password"], error.to_string()))
}

#[utoipa::path(
    get, path = "/api/v2/connections", tag = "Connection", params(Paging, ConnectionQuery),
    responses((status = 200, body = ConnectionCollectionResponse)),
)]
pub async fn get_connections(
    State(api): State<Api>,
    user: CurrentUser,
    Query(paging): Query<Paging>,
    Query(query): Query<ConnectionQuery>,
) -> Result<Response, ApiError> {
    let like = pattern(query.connection_id_pattern.as_deref(), query.connection_id_prefix_pattern.as_deref())?;
    let (page, order) = paging.sorted_by_key(&["connection_id", "conn_id"], Order::Ascending)?;
    let _turn = api.turn(api.store.connection_list_bytes(&like, order, page).await?).await;
    let listed = api.store.connection_list(&like, order, page).await?;
    let shown = api.clone();
    made_apart(move || {
        let connections = listed.items.iter().map(|row| show(&shown, &user, row)).collect::<Result<_, _>>()?;
        Ok(ConnectionCollectionResponse { connections, total_entries: listed.total })
    })
    .await
}

#[utoipa::path(
    get, path = "/api/v2/connections/{connection_id}", tag = "Connection", params(ConnectionPath),
    responses((status = 200, body = ConnectionResponse)),
)]
pub async fn get_connection(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<ConnectionPath>,
) -> Result<Json<ConnectionResponse>, ApiError> {
    Ok(Json(show(&api, &user, &find(&api, &path.connection_id).await?)?))
}

/// # Errors
/// If there is one of the id.
pub async fn create(api: &Api, body: ConnectionBody) -> Result<ConnectionRow, ApiError> {
    body.check()?;
    let id = &body.connection_id;
    let row = ConnectionRow {
        sealed_password: seal(api, &place::connection_password(id), body.password.get(), None)?,
        sealed_extra: seal(api, &place::connection_extra(id), body.extra.get(), None)?,
        ..body.into_row(api.clock.now())
    };
    Audit::tell(row.id.as_str(), &Value::Null, &row.shown());
    if !api.store.connection_put_new(&row).await? {
        return Err(ApiError::conflict(format!("connection `{}` exists already", row.id)));
    }
    Ok(row)
}

/// Changes the connection of the body's id: what the mask names, or what stands in the body.
///
/// # Errors
/// If there is none, or a secret would go elsewhere that was not given anew.
pub async fn update(api: &Api, body: ConnectionBody, mask: &UpdateMask) -> Result<ConnectionRow, ApiError> {
    check_mask(mask, FIELDS)?;
    body.check()?;
    let asked: Vec<_> = FIELDS.iter().copied().filter(|field| mask.asks(field, body.has(field))).collect();
    let asked = |field: &str| asked.contains(&field);
    let kept = body.kept(asked);
    let _alone = api.updates.lock().await;
    let mut row = find(api, &body.connection_id).await?;
    let before = row.clone();
    if asked("password") {
        let at = place::connection_password(&row.id);
        row.sealed_password = seal(api, &at, body.password.get(), row.sealed_password.as_ref())?;
    }
    if asked("extra") {
        let at = place::connection_extra(&row.id);
        row.sealed_extra = seal(api, &at, body.extra.get(), row.sealed_extra.as_ref())?;
    }
    let set = |field: &str, value: Patch<String>, to: &mut Option<String>| {
        if asked(field) {
            *to = value.into_value();
        }
    };
    set("description", body.description, &mut row.description);
    set("host", body.host, &mut row.host);
    set("login", body.login, &mut row.login);
    set("schema", body.schema, &mut row.schema);
    if asked("conn_type") {
        row.conn_type = body.conn_type;
    }
    if asked("port") {
        row.port = body.port.into_value();
    }
    row.updated_at = api.clock.now();
    let shown = before.shown();
    check_moved(api, before, &row, kept)?;
    Audit::tell(row.id.as_str(), &shown, &row.shown());
    api.store.connection_put(&row).await?;
    Ok(row)
}

/// # Errors
/// If there is none.
pub async fn delete(api: &Api, id: &ConnectionId) -> Result<(), ApiError> {
    let _alone = api.updates.lock().await;
    let row = find(api, id).await?;
    Audit::tell(row.id.as_str(), &row.shown(), &Value::Null);
    if api.store.connection_delete(id).await? {
        Ok(())
    } else {
        Err(ApiError::not_found(format!("connection `{id}` does not exist")))
    }
}

#[utoipa::path(
    post, path = "/api/v2/connections", tag = "Connection", request_body = ConnectionBody,
    responses((status = 201, body = ConnectionResponse)),
)]
pub async fn post_connection(
    State(api): State<Api>,
    user: CurrentUser,
    extract::Json(body): extract::Json<ConnectionBody>,
) -> Result<(StatusCode, Json<ConnectionResponse>), ApiError> {
    let row = create(&api, body).await?;
    Ok((StatusCode::CREATED, Json(show(&api, &user, &row)?)))
}

#[utoipa::path(
    patch, path = "/api/v2/connections/{connection_id}", tag = "Connection", params(ConnectionPath, UpdateMask),
    request_body = ConnectionBody, responses((status = 200, body = ConnectionResponse)),
)]
pub async fn patch_connection(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<ConnectionPath>,
    Query(mask): Query<UpdateMask>,
    extract::Json(body): extract::Json<ConnectionBody>,
) -> Result<Json<ConnectionResponse>, ApiError> {
    if body.connection_id != path.connection_id {
        return Err(ApiError::bad_request("the connection_id in the body is not that of the path"));
    }
    Ok(Json(show(&api, &user, &update(&api, body, &mask).await?)?))
}

#[utoipa::path(
    delete, path = "/api/v2/connections/{connection_id}", tag = "Connection", params(ConnectionPath),
    responses((status = 204)),
)]
pub async fn delete_connection(
    State(api): State<Api>,
    Path(path): Path<ConnectionPath>,
) -> Result<StatusCode, ApiError> {
    delete(&api, &path.connection_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
