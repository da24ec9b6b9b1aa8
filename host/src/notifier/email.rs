//! A mail by a connection of type `smtp`.

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::authentication::Credentials,
};
use serde_json::Value;

use super::{Notice, NotifyError, TIMEOUT};
use crate::{
    connections::{Connection, without_brackets},
    secrets::SecretString,
};

/// Sends `notice`. The connection's extra says from whom (`from_email`) and to whom (`to`: a list, or addresses with commas
/// between them). TLS from the start, unless it has `disable_ssl`; then STARTTLS, unless it has `disable_tls` too.
/// Airflow: `SmtpHook`.
pub async fn send(connection: &Connection, notice: &Notice) -> Result<(), NotifyError> {
    let extra = connection.extra();
    let sender = extra.get("from_email").and_then(Value::as_str).ok_or_else(|| lacks("from_email"))?;
    let mut message = Message::builder().from(mailbox(sender)?).subject(notice.text.lines().next().unwrap_or_default());
    let recipients: Vec<&str> = match extra.get("to") {
        Some(Value::String(addresses)) => addresses.split(',').collect(),
        Some(Value::Array(addresses)) => addresses.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if recipients.is_empty() {
        return Err(lacks("to"));
    }
    for recipient in recipients {
        message = message.to(mailbox(recipient.trim())?);
    }
    let message = message.header(ContentType::TEXT_PLAIN).body(body(notice));
    let message = message.map_err(|error| NotifyError(format!("the mail can't be written: {error}")))?;
    transport(connection, &extra)?
        .send(message)
        .await
        .map_err(|error| NotifyError(format!("the mail server: {error}")))?;
    Ok(())
}

fn lacks(field: &str) -> NotifyError {
    NotifyError(format!("the connection's extra lacks `{field}`"))
}

fn mailbox(address: &str) -> Result<Mailbox, NotifyError> {
    address.parse().map_err(|error| NotifyError(format!("`{address}` is no mail address: {error}")))
}

fn body(notice: &Notice) -> String {
    let mut lines = vec![notice.text.clone(), String::new()];
    let date = notice.logical_date.map(|date| date.to_string());
    let try_number = notice.try_number.map(|number| number.to_string());
    for (name, value) in [
        ("dag_id", Some(&notice.dag_id)),
        ("dag_run_id", Some(&notice.dag_run_id)),
        ("logical_date", date.as_ref()),
        ("task_id", notice.task_id.as_ref()),
        ("try_number", try_number.as_ref()),
    ] {
        lines.extend(value.map(|value| format!("{name}: {value}")));
    }
    lines.join("\r\n")
}

fn transport(connection: &Connection, extra: &Value) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyError> {
    let row = &connection.row;
    let host = row.host.as_deref().ok_or_else(|| NotifyError(format!("connection `{}` has no host", row.id)))?;
    let host = without_brackets(host);
    let is_set = |field| extra.get(field).and_then(Value::as_bool).unwrap_or(false);
    let builder = match (is_set("disable_ssl"), is_set("disable_tls")) {
        (false, _) => AsyncSmtpTransport::<Tokio1Executor>::relay(host),
        (true, false) => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host),
        (true, true) => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)),
    };
    let mut builder =
        builder.map_err(|error| NotifyError(format!("TLS can't be used: {error}")))?.timeout(Some(TIMEOUT));
    if let Some(port) = row.port {
        builder = builder.port(port);
    }
    if let (Some(login), Some(password)) = (&row.login, &connection.password) {
        builder = builder.credentials(Credentials::new(login.clone(), SecretString::expose(password).to_owned()));
    }
    Ok(builder.build())
}
