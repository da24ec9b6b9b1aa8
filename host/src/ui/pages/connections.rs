//! Connections. Passwords and extras are sealed, and go in but never out.

use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::settings::{
    self, Deed, FormView, KeyQuery, Kind, ListLine, ListQuery, SettingField, SettingKind, Wrong, given,
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{ids::ConnectionId, role::Permission},
    scheduler::Tested,
    secrets::place,
    store::{ConnectionRow, Like},
    ui::{
        UiState,
        error::UiError,
        shell::{Frame, Section, go_and_tell, go_and_warn, page},
    },
    vault::{Kept, refuse_moved_secret},
};

const CONNECTIONS: Kind = Kind {
    section: Section::Connections,
    path: "/connections",
    one: "connection",
    many: "connections",
    about: "Addresses and credentials of other systems. Passwords and extras are encrypted, and shown to nobody.",
    empty: "Tasks read a connection by its id, if the DAG has the grant connection:<id>.",
    columns: &["Id", "Type", "Host", "Login", "Password", "Description"],
    permission: Permission::ConnectionWrite,
    loss: "Tasks that use it will fail.",
};
const TEST: Deed =
    Deed { action: "/connections/test", label: "Test", title: "Whether the system is reached, and lets us in" };

/// `GET /connections`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let listed = ui.store.connection_head_list(&Like::default(), query.page()).await?;
    let sees_all = frame.may(Permission::SettingRead);
    let shown = |value: String| if sees_all || value.is_empty() { value } else { "•••••".to_owned() };
    let rows = listed
        .items
        .iter()
        .map(|row| {
            let port = row.port.map(|port| format!(":{port}")).unwrap_or_default();
            let host = format!("{}{port}", row.host.as_deref().unwrap_or_default());
            let secret = if row.has_password { "set" } else { "" };
            let cells = [
                row.conn_type.clone(),
                shown(host),
                shown(row.login.clone().unwrap_or_default()),
                secret.to_owned(),
                row.description.clone().unwrap_or_default(),
            ];
            ListLine { deed: Some(TEST), ..CONNECTIONS.line(row.id.as_str(), cells) }
        })
        .collect();
    let mut view = CONNECTIONS.list(frame, &query, rows, listed.total);
    settings::tell_places(&ui.vault, &mut view, query.offset == 0, |found| &found.connections).await?;
    Ok(page(&view.offered()))
}

async fn find(ui: &UiState, id: &str) -> Result<ConnectionRow, UiError> {
    ui.store.connection_get(&ConnectionId::new(id)?).await?.ok_or_else(|| CONNECTIONS.missing(id))
}

/// What was typed. Secrets are not put back into the form.
#[derive(Debug, Default, Deserialize)]
pub struct ConnectionForm {
    key: String,
    #[serde(default)]
    conn_type: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    schema: String,
    #[serde(default)]
    login: String,
    #[serde(default)]
    port: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    extra: String,
    #[serde(default)]
    clear_password: bool,
    #[serde(default)]
    clear_extra: bool,
    #[serde(default)]
    is_new: bool,
}

fn form(frame: Frame, typed: ConnectionForm, wrong: Option<Wrong>) -> FormView {
    let is_new = typed.is_new;
    let text = |name, label, value: String| SettingField::new(SettingKind::Text, name, label, value);
    let keep = if is_new { "" } else { "What is there is not shown. Leave it empty to keep it." };
    let mut fields = vec![
        SettingField::key("key", "Id", &typed.key, is_new),
        text("conn_type", "Type", typed.conn_type).required().help("As in Airflow: http, postgres, aws, generic."),
        text("description", "Description", typed.description),
        text("host", "Host", typed.host),
        text("port", "Port", typed.port),
        text("schema", "Schema", typed.schema),
        text("login", "Login", typed.login),
        SettingField::new(SettingKind::Password, "password", "Password", "")
            .help(keep)
            .lost(wrong.is_some() && !typed.password.is_empty()),
        SettingField::new(SettingKind::Area, "extra", "Extra", "")
            .help(if is_new { "A JSON object. It is a secret, too." } else { keep })
            .lost(wrong.is_some() && !typed.extra.trim().is_empty()),
    ];
    if !is_new {
        fields.push(SettingField::check("clear_password", "Remove the password", typed.clear_password));
        fields.push(SettingField::check("clear_extra", "Remove the extra", typed.clear_extra));
    }
    CONNECTIONS.form(frame, (&typed.key, is_new), fields, wrong)
}

/// `GET /connections/edit`: a new one, or `?key=...`.
pub async fn edit(State(ui): State<UiState>, frame: Frame, Query(query): Query<KeyQuery>) -> Result<Response, UiError> {
    if query.key.is_empty() {
        return Ok(page(&form(frame, ConnectionForm { is_new: true, ..ConnectionForm::default() }, None)));
    }
    let row = find(&ui, &query.key).await?;
    let typed = ConnectionForm {
        key: query.key,
        conn_type: row.conn_type,
        description: row.description.unwrap_or_default(),
        host: row.host.unwrap_or_default(),
        schema: row.schema.unwrap_or_default(),
        login: row.login.unwrap_or_default(),
        port: row.port.map(|port| port.to_string()).unwrap_or_default(),
        ..ConnectionForm::default()
    };
    Ok(page(&form(frame, typed, None)))
}

/// What is wrong with the form, if anything; else the id and the port.
fn check(typed: &ConnectionForm) -> Result<(ConnectionId, Option<u16>), Wrong> {
    let id = ConnectionId::new(typed.key.trim()).map_err(|error| Wrong::at("key", error))?;
    if typed.conn_type.trim().is_empty() {
        return Err(Wrong::at("conn_type", "a connection needs a type, as `http`"));
    }
    let port = match typed.port.trim() {
        "" => None,
        port => {
            let wrong = |_| Wrong::at("port", format_args!("port `{port}` is not a number from 0 to 65535"));
            Some(port.parse().map_err(wrong)?)
        }
    };
    let is_object = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| value.is_object());
    if !typed.extra.trim().is_empty() && !is_object(&typed.extra) {
        return Err(Wrong::at("extra", "the extra is not a JSON object; write it as {\"timeout\": 10}"));
    }
    Ok((id, port))
}

/// `POST /connections/edit`
pub async fn save(
    State(ui): State<UiState>,
    audit: Audit,
    frame: Frame,
    Form(typed): Form<ConnectionForm>,
) -> Result<Response, UiError> {
    let refuse = |frame, typed, wrong| Ok(form(frame, typed, Some(wrong)).refused());
    let (id, port) = match check(&typed) {
        Ok(checked) => checked,
        Err(wrong) => return refuse(frame, typed, wrong),
    };
    let _alone = ui.updates.lock().await;
    let known = ui.store.connection_get(&id).await?;
    if typed.is_new && known.is_some() {
        return refuse(frame, typed, CONNECTIONS.taken(id.as_str()));
    }
    let before = known.as_ref().map(ConnectionRow::shown).unwrap_or_default();
    let old = known.clone();
    let (old_password, old_extra) = known.map_or((None, None), |row| (row.sealed_password, row.sealed_extra));
    let seal = |place: String, text: &str, is_cleared: bool, old: Option<Vec<u8>>| match text {
        "" if is_cleared => None,
        "" => old,
        text => Some(ui.secrets.seal(&place, text.as_bytes())),
    };
    let row = ConnectionRow {
        conn_type: typed.conn_type.trim().to_owned(),
        description: given(&typed.description),
        host: given(&typed.host),
        schema: given(&typed.schema),
        login: given(&typed.login),
        port,
        sealed_password: seal(place::connection_password(&id), &typed.password, typed.clear_password, old_password),
        sealed_extra: seal(place::connection_extra(&id), typed.extra.trim(), typed.clear_extra, old_extra),
        updated_at: ui.clock.now(),
        id,
    };
    if let Some(old) = old {
        let kept = Kept { password: typed.password.is_empty(), extra: typed.extra.trim().is_empty() };
        let (old, new) = (ui.vault.opened(old), ui.vault.opened(row.clone()));
        let (old, new) = (old?, new?);
        if let Err(error) = refuse_moved_secret(&old, &new, kept) {
            return refuse(frame, typed, Wrong::at_all(error));
        }
    }
    audit.change(row.id.as_str(), &before, &row.shown());
    ui.store.connection_put(&row).await?;
    Ok(CONNECTIONS.saved(row.id.as_str()))
}

/// `POST /connections/test`
pub async fn test(
    State(ui): State<UiState>,
    audit: Audit,
    user: CurrentUser,
    Form(query): Form<KeyQuery>,
) -> Result<Response, UiError> {
    let id = ConnectionId::new(&query.key)?;
    let connection = ui.vault.connection(&id).await?.ok_or_else(|| CONNECTIONS.missing(id.as_str()))?;
    let (status, told) = match ui.scheduler.test_connection(&connection, &user.username).await {
        Tested::Reached(found) => (true, format!("Connection {id}: {found}.")),
        Tested::Failed(why) => (false, format!("Connection {id} can't be used: {why}.")),
        Tested::TooMany(wait) => {
            let told = format!("Too many connections are tested; wait {} s.", wait.as_secs().max(1));
            return Ok(go_and_warn(CONNECTIONS.path, &told));
        }
    };
    let row = &connection.row;
    let after = json!({"conn_type": row.conn_type, "host": row.host, "port": row.port, "status": status});
    audit.change(id.as_str(), &serde_json::Value::Null, &after);
    let go = if status { go_and_tell } else { go_and_warn };
    Ok(go(CONNECTIONS.path, &told))
}

/// `GET /connections/delete?key=...`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<KeyQuery>,
) -> Result<Response, UiError> {
    find(&ui, &query.key).await?;
    Ok(CONNECTIONS.confirm_delete(frame, &query.key))
}

/// `POST /connections/delete`
pub async fn delete(State(ui): State<UiState>, audit: Audit, Form(query): Form<KeyQuery>) -> Result<Response, UiError> {
    let _alone = ui.updates.lock().await;
    let row = find(&ui, &query.key).await?;
    audit.change(&query.key, &row.shown(), &serde_json::Value::Null);
    ui.store.connection_delete(&ConnectionId::new(&query.key)?).await?;
    Ok(CONNECTIONS.deleted(&query.key))
}
