//! A POST of JSON to a connection of type `http`.

use reqwest::{Client, Url, header};
use serde_json::Value;

use super::{Notice, NotifyError, Opened, chain};
use crate::secrets::SecretString;

/// Posts `notice`. The connection's host is a URL or a host's name, of `schema` (or `http`) and `port`; its extra may
/// have an `endpoint`, the path, and `headers`. With a login the password is that of basic authentication, without one
/// it is a bearer token. Airflow: `HttpHook`.
pub async fn send(client: &Client, connection: &Opened, notice: &Notice) -> Result<(), NotifyError> {
    let mut request = client.post(url(connection)?).header("idempotency-key", &notice.id).json(notice);
    request = match (&connection.row.login, &connection.password) {
        (Some(login), password) => request.basic_auth(login, password.as_ref().map(SecretString::expose)),
        (None, Some(token)) => request.bearer_auth(token.expose()),
        (None, None) => request,
    };
    if let Some(Value::Object(headers)) = connection.extra.get("headers") {
        for (name, value) in headers {
            let wrong = || NotifyError(format!("the connection's extra has a header `{name}` that can't be sent"));
            let name = header::HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            let value = header::HeaderValue::try_from(value.as_str().ok_or_else(wrong)?).map_err(|_| wrong())?;
            request = request.header(name, value);
        }
    }
    let response = request.send().await.map_err(|error| NotifyError(chain(error)))?;
    if response.status().is_success() {
        return Ok(());
    }
    Err(NotifyError(format!("it was answered with HTTP {}", response.status().as_u16())))
}

fn url(connection: &Opened) -> Result<Url, NotifyError> {
    let row = &connection.row;
    let wrong = |what: &str| NotifyError(format!("connection `{}` {what}", row.id));
    let host = row.host.as_deref().filter(|host| !host.is_empty()).ok_or_else(|| wrong("has no host"))?;
    let base = if host.contains("://") {
        host.to_owned()
    } else {
        let scheme = row.schema.as_deref().filter(|schema| !schema.is_empty()).unwrap_or(&row.conn_type);
        format!("{scheme}://{host}")
    };
    let mut url = Url::parse(&base).map_err(|_| wrong("has a host that is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("is neither http nor https"));
    }
    if row.port.is_some() {
        url.set_port(row.port).map_err(|()| wrong("has a host that takes no port"))?;
    }
    if let Some(endpoint) = connection.extra.get("endpoint").and_then(Value::as_str) {
        let path = format!("{}/{}", url.path().trim_end_matches('/'), endpoint.trim_start_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}
