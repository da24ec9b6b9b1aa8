//! "Test" of a connection: whether it leads somewhere. For those who may change connections, so many times a minute, and in the
//! audit log.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api,
    connections::{self, ConnectionBody, ConnectionResponse},
    dags::UpdateMask,
    error::ApiError,
    extract::{self, Path, Query},
    paths::ConnectionPath,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::ids::ConnectionId,
    scheduler::Tested,
    vault::Connection,
};

/// Airflow: `ConnectionTestResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionTestResponse {
    /// Whether the system was reached and lets us in.
    status: bool,
    /// What was found, or what is wrong.
    message: String,
}

/// Tries a connection out that is not kept. Its password and extra stand in the body, for those that are kept are used with the host
/// that they were kept for only: see `POST /api/v2/connections/{connection_id}/test`.
#[utoipa::path(
    post, path = "/api/v2/connections/test", tag = "Connection", request_body = ConnectionBody,
    responses((status = 200, body = ConnectionTestResponse)),
)]
pub async fn post_connection_test(
    State(api): State<Api>,
    audit: Audit,
    user: CurrentUser,
    extract::Json(body): extract::Json<ConnectionBody>,
) -> Result<Json<ConnectionTestResponse>, ApiError> {
    let connection = body.into_unkept(api.clock.now())?;
    test(&api, &audit, &user, &connection).await
}

/// Tries a connection out that is kept, wherever that is.
#[utoipa::path(
    post, path = "/api/v2/connections/{connection_id}/test", tag = "Connection", params(ConnectionPath),
    responses((status = 200, body = ConnectionTestResponse)),
)]
pub async fn post_stored_connection_test(
    State(api): State<Api>,
    audit: Audit,
    user: CurrentUser,
    Path(path): Path<ConnectionPath>,
) -> Result<Json<ConnectionTestResponse>, ApiError> {
    let found = api.vault.connection(&path.connection_id).await?;
    let missing = || ApiError::not_found(format!("connection `{}` does not exist", path.connection_id));
    test(&api, &audit, &user, &found.ok_or_else(missing)?).await
}

async fn test(
    api: &Api,
    audit: &Audit,
    user: &CurrentUser,
    connection: &Connection,
) -> Result<Json<ConnectionTestResponse>, ApiError> {
    let tested = api.scheduler.test_connection(connection, &user.username).await;
    let (status, message) = match tested {
        Tested::Reached(message) => (true, message),
        Tested::Failed(message) => (false, message),
        Tested::TooMany(wait) => {
            let text = format!("too many connections are tested; wait {} s", wait.as_secs().max(1));
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text));
        }
    };
    let row = &connection.row;
    let told = json!({"conn_type": row.conn_type, "host": row.host, "port": row.port, "status": status});
    audit.change(row.id.as_str(), &Value::Null, &told);
    Ok(Json(ConnectionTestResponse { status, message }))
}

// The router takes `/connections/test` for what is above; a connection may be called so, too.

fn called_test() -> Result<Path<ConnectionPath>, ApiError> {
    let connection_id = ConnectionId::new("test").map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Path(ConnectionPath { connection_id }))
}

pub async fn get_test(state: State<Api>, user: CurrentUser) -> Result<Json<ConnectionResponse>, ApiError> {
    connections::get_connection(state, user, called_test()?).await
}

pub async fn patch_test(
    state: State<Api>,
    user: CurrentUser,
    mask: Query<UpdateMask>,
    body: extract::Json<ConnectionBody>,
) -> Result<Json<ConnectionResponse>, ApiError> {
    connections::patch_connection(state, user, called_test()?, mask, body).await
}

pub async fn delete_test(state: State<Api>) -> Result<StatusCode, ApiError> {
    connections::delete_connection(state, called_test()?).await
}
