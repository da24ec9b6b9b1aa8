//! Users and what they may do.

use axum::{
    Form,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::settings::{self, FormView, ListLine, ListView, ROWS, SettingField, SettingKind};
use crate::{
    auth::{Audit, AuthError},
    model::role::{Permission, Role},
    secrets::MASK,
    store::{Page, UserRow},
    ui::{
        UiState,
        error::UiError,
        shell::{Frame, Section, go_and_tell, page, page_with},
        show::{Crumbs, Pager, told},
    },
};

const PATH: &str = "/users";

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    #[serde(default)]
    offset: u32,
}

/// `GET /users`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let listed = ui.auth.user_list(Page { limit: ROWS, offset: query.offset }).await?;
    let zone = frame.zones_of_none();
    let rows: Vec<_> = listed
        .items
        .iter()
        .map(|row| {
            let cells = [row.role.to_string(), told(row.created_at, zone.shown), told(row.updated_at, zone.shown)];
            ListLine::new(PATH, &row.username, cells)
        })
        .collect();
    let offset = usize::try_from(query.offset).unwrap_or(0);
    let view = ListView {
        shell: frame.shell(Section::Users, "users", "Users"),
        heading: "Users",
        about: "Viewers look. Authors also upload, trigger and clear. Operators also pause, mark, backfill and keep \
                pools, variables and connections. Admins also keep users.",
        empty: "There is always one.",
        new_href: "/users/edit",
        permission: Permission::UserWrite,
        new_label: "New user",
        columns: vec!["Name", "Role", "Created", "Changed"],
        pager: Pager::new(offset, ROWS as usize, rows.len(), listed.total, |at| format!("{PATH}?offset={at}")),
        rows,
    };
    Ok(page(&view.offered()))
}

#[derive(Debug, Default, Deserialize)]
pub struct KeyQuery {
    #[serde(default)]
    key: String,
}

async fn find(ui: &UiState, username: &str) -> Result<UserRow, UiError> {
    let missing = || UiError::NotFound(format!("user `{username}` does not exist"));
    ui.store.user_get(username).await?.ok_or_else(missing)
}

/// What was typed. A password is not put back into the form.
#[derive(Debug, Default, Deserialize)]
pub struct UserForm {
    key: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    is_new: bool,
}

fn form(frame: Frame, typed: UserForm, error: Option<String>) -> FormView {
    let is_new = typed.is_new;
    let heading = if is_new { "New user".to_owned() } else { format!("User {}", typed.key) };
    let password = SettingField::new(SettingKind::Password, "password", "Password", "");
    FormView {
        shell: frame.shell(Section::Users, "user", heading.clone()),
        crumbs: Crumbs::new([(PATH.to_owned(), "Users".to_owned())]),
        heading,
        error,
        action: "/users/edit",
        fields: vec![
            SettingField::key("key", "Name", &typed.key, is_new),
            SettingField::new(SettingKind::Text, "role", "Role", typed.role)
                .required()
                .help("viewer, author, operator or admin."),
            if is_new {
                password.help("At least 8 characters. Without one the user can't sign in: tokens alone act for it.")
            } else {
                password.help("A new one ends the user's sessions and tokens. Leave it empty to keep the present one.")
            },
            SettingField::new(SettingKind::Fixed, "is_new", "", is_new.to_string()),
        ],
        back: PATH,
    }
}

/// `GET /users/edit`: a new one, or `?key=...`.
pub async fn edit(State(ui): State<UiState>, frame: Frame, Query(query): Query<KeyQuery>) -> Result<Response, UiError> {
    let typed = if query.key.is_empty() {
        UserForm { role: Role::Viewer.to_string(), is_new: true, ..UserForm::default() }
    } else {
        let role = find(&ui, &query.key).await?.role.to_string();
        UserForm { key: query.key, role, ..UserForm::default() }
    };
    Ok(page(&form(frame, typed, None)))
}

async fn apply(ui: &UiState, audit: &Audit, typed: &UserForm, role: Role) -> Result<(), AuthError> {
    let username = typed.key.trim();
    if typed.is_new {
        ui.auth.user_create(username, (!typed.password.is_empty()).then_some(typed.password.as_str()), role).await?;
        return Ok(());
    }
    if !typed.password.is_empty() {
        ui.auth.user_set_password(username, &typed.password).await?;
        audit.change(username, &json!({"password": MASK}), &json!({"password": MASK}));
        audit.begun();
    }
    ui.auth.user_set_role(username, role).await?;
    Ok(())
}

/// `POST /users/edit`
pub async fn save(
    State(ui): State<UiState>,
    audit: Audit,
    frame: Frame,
    Form(typed): Form<UserForm>,
) -> Result<Response, UiError> {
    let before = ui.store.user_get(typed.key.trim()).await?.map(|user| json!({"role": user.role}));
    let done = match typed.role.trim().parse::<Role>() {
        Ok(role) => match apply(&ui, &audit, &typed, role).await {
            Ok(()) => Ok(()),
            Err(error @ AuthError::Store(_)) => return Err(error.into()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => {
            let password = if typed.password.is_empty() { "unchanged" } else { MASK };
            let after = json!({"role": typed.role.trim(), "password": password});
            audit.change(typed.key.trim(), &before.unwrap_or_default(), &after);
            Ok(go_and_tell(PATH, &format!("User {} was saved.", typed.key.trim())))
        }
        Err(text) => Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &form(frame, typed, Some(text)))),
    }
}

/// `GET /users/delete?key=...`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<KeyQuery>,
) -> Result<Response, UiError> {
    find(&ui, &query.key).await?;
    let line = "Sessions and tokens of the user end.";
    Ok(settings::confirm_delete(frame, Section::Users, (PATH, "Users"), &query.key, line))
}

/// `POST /users/delete`
pub async fn delete(State(ui): State<UiState>, audit: Audit, Form(query): Form<KeyQuery>) -> Result<Response, UiError> {
    let row = find(&ui, &query.key).await?;
    audit.change(&query.key, &json!({"role": row.role}), &serde_json::Value::Null);
    ui.auth.user_delete(&query.key).await?;
    Ok(go_and_tell(PATH, &format!("User {} was deleted.", query.key)))
}
