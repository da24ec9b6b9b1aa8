//! Variables. Their values are sealed, and go in but never out.

use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::settings::{self, FormView, KeyQuery, Kind, ListQuery, SettingField, SettingKind, Wrong, given, lines};
use crate::{
    auth::Audit,
    model::{ids::VariableKey, role::Permission},
    secrets::place,
    store::{Like, VariableRow},
    ui::{
        UiState,
        error::UiError,
        shell::{Frame, Section, page},
        show::told,
    },
};

const VARIABLES: Kind = Kind {
    section: Section::Variables,
    path: "/variables",
    one: "variable",
    many: "variables",
    about: "Settings that tasks read if their DAG's grants name them. Values are encrypted, and shown to nobody.",
    empty: "Tasks read a variable by its key, if the DAG has the grant variable:<key>.",
    columns: &["Key", "Description", "Value", "Changed"],
    permission: Permission::VariableWrite,
    loss: "Tasks that read it will fail.",
};
/// Bytes of a value at most.
const MAX_VALUE: usize = 1 << 20;

/// `GET /variables`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let listed = ui.store.variable_head_list(&Like::default(), query.page()).await?;
    let zone = frame.zones_of_none();
    let rows = listed
        .items
        .iter()
        .map(|row| {
            let changed = told(row.updated_at, zone.shown);
            let cells = [row.description.clone().unwrap_or_default(), "•••••".into(), changed];
            VARIABLES.line(row.key.as_str(), cells)
        })
        .collect();
    let mut view = VARIABLES.list(frame, &query, rows, listed.total);
    settings::tell_places(&ui.vault, &mut view, query.offset == 0, |found| &found.variables).await?;
    Ok(page(&view.offered()))
}

async fn find(ui: &UiState, key: &str) -> Result<VariableRow, UiError> {
    ui.store.variable_get(&VariableKey::new(key)?).await?.ok_or_else(|| VARIABLES.missing(key))
}

fn form(frame: Frame, typed: VariableForm, wrong: Option<Wrong>) -> FormView {
    let is_new = typed.is_new;
    let value =
        SettingField::new(SettingKind::Area, "value", "Value", "").lost(wrong.is_some() && !typed.value.is_empty());
    let fields = vec![
        SettingField::key("key", "Key", &typed.key, is_new)
            .help("Letters, digits, _ - . : and / to divide parts, so that a prefix can be granted."),
        if is_new { value.required() } else { value.help("What is there is not shown. Leave it empty to keep it.") },
        SettingField::new(SettingKind::Text, "description", "Description", typed.description),
    ];
    VARIABLES.form(frame, (&typed.key, is_new), fields, wrong)
}

/// `GET /variables/edit`: a new one, or `?key=...`.
pub async fn edit(State(ui): State<UiState>, frame: Frame, Query(query): Query<KeyQuery>) -> Result<Response, UiError> {
    if query.key.is_empty() {
        return Ok(page(&form(frame, VariableForm { is_new: true, ..VariableForm::default() }, None)));
    }
    let description = find(&ui, &query.key).await?.description.unwrap_or_default();
    let typed = VariableForm { key: query.key, description, ..VariableForm::default() };
    Ok(page(&form(frame, typed, None)))
}

#[derive(Debug, Default, Deserialize)]
pub struct VariableForm {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    is_new: bool,
}

/// `POST /variables/edit`
pub async fn save(
    State(ui): State<UiState>,
    audit: Audit,
    frame: Frame,
    Form(mut typed): Form<VariableForm>,
) -> Result<Response, UiError> {
    typed.value = lines(&typed.value);
    let refuse = |frame, typed, wrong| Ok(form(frame, typed, Some(wrong)).refused());
    let key = match VariableKey::new(typed.key.trim()) {
        Ok(key) => key,
        Err(error) => return refuse(frame, typed, Wrong::at("key", error)),
    };
    if typed.value.len() > MAX_VALUE {
        let text = "the value is larger than 1 MiB; keep it as an artifact or in a service";
        return refuse(frame, typed, Wrong::at("value", text));
    }
    let _alone = ui.updates.lock().await;
    let known = ui.store.variable_get(&key).await?;
    let sealed = match (&known, typed.value.as_str()) {
        (Some(_), _) if typed.is_new => return refuse(frame, typed, VARIABLES.taken(key.as_str())),
        (Some(known), "") => known.sealed.clone(),
        (None, "") => return refuse(frame, typed, Wrong::at("value", "a new variable needs a value")),
        (_, value) => ui.secrets.seal(&place::variable(&key), value.as_bytes()),
    };
    let description = given(&typed.description);
    let row = VariableRow { key: key.clone(), sealed, description, updated_at: ui.clock.now() };
    audit.change(key.as_str(), &known.map(|known| known.shown()).unwrap_or_default(), &row.shown());
    ui.store.variable_put(&row).await?;
    Ok(VARIABLES.saved(key.as_str()))
}

/// `GET /variables/delete?key=...`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<KeyQuery>,
) -> Result<Response, UiError> {
    find(&ui, &query.key).await?;
    Ok(VARIABLES.confirm_delete(frame, &query.key))
}

/// `POST /variables/delete`
pub async fn delete(State(ui): State<UiState>, audit: Audit, Form(query): Form<KeyQuery>) -> Result<Response, UiError> {
    let _alone = ui.updates.lock().await;
    let row = find(&ui, &query.key).await?;
    audit.change(&query.key, &row.shown(), &serde_json::Value::Null);
    ui.store.variable_delete(&VariableKey::new(&query.key)?).await?;
    Ok(VARIABLES.deleted(&query.key))
}
