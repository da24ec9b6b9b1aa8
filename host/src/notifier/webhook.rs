//! A POST of JSON to a connection of type `http`.

use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::{Notice, NotifyError, chain};
use crate::connections::{Connection, Connections, Endpoint, refused_literally};

/// Posts `notice` to the connection's [`Endpoint`], at the path `endpoint` of its extra. Airflow: `HttpHook`.
pub async fn send(
    connections: &Connections,
    client: &Client,
    connection: &Connection,
    notice: &Notice,
) -> Result<(), NotifyError> {
    let endpoint = Endpoint::of(connection).map_err(|error| NotifyError(error.to_string()))?;
    if let Some(why) = endpoint.base().host_str().and_then(refused_literally) {
        return Err(NotifyError(format!("its host is {why}")));
    }
    let extra = connection.extra();
    let url = match extra.get("endpoint").and_then(Value::as_str) {
        Some(path) => endpoint.url(path, None),
        None => endpoint.base().clone(),
    };
    let request = client.post(url).header("idempotency-key", &notice.id).json(notice).build();
    let mut request = request.map_err(|error| NotifyError(chain(error)))?;
    let authorized = endpoint.authorize(connections, client, &mut request).await;
    let token = authorized.map_err(|error| NotifyError(error.to_string()))?;
    let response = client.execute(request).await.map_err(|error| NotifyError(chain(error)))?;
    if response.status().is_success() {
        return Ok(());
    }
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(token) = &token
    {
        connections.forget(token);
    }
    Err(NotifyError(format!("it was answered with HTTP {}", response.status().as_u16())))
}
