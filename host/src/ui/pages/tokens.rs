//! Tokens for programs: one's own, and for admins everybody's.

use std::time::Duration;

use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    Question, confirm,
    settings::{FormView, ListLine, ListQuery, ListView, SettingField, SettingKind, Wrong, given},
};
use crate::{
    auth::{AuthError, CurrentUser, NewToken, TokenRequest},
    model::role::{Permission, Role},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{Crumbs, told},
    },
};

const PATH: &str = "/tokens";

/// `GET /tokens`
pub async fn list(
    State(ui): State<UiState>,
    user: CurrentUser,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let whose = (!user.may(Permission::UserWrite)).then_some(user.username.as_str());
    let listed = ui.auth.token_list(&user, whose, query.page()).await?;
    let zone = frame.zones_of_none().shown;
    let rows: Vec<_> = listed
        .items
        .iter()
        .map(|row| {
            let last_use = row.last_used_at.map_or_else(|| "never".to_owned(), |at| told(at, zone));
            let cells = vec![
                row.name.clone(),
                row.username.clone(),
                row.role.to_string(),
                told(row.created_at, zone),
                told(row.expires_at, zone),
                last_use,
            ];
            let key = row.id.to_string();
            let revoke = links::with_query(&format!("{PATH}/revoke"), &[("key", &key)]);
            ListLine { key, cells, more: None, edit_href: None, delete_href: Some(revoke), deed: None }
        })
        .collect();
    Ok(page(&ListView {
        shell: frame.shell(Section::Tokens, "tokens", "Tokens"),
        heading: "Tokens".into(),
        about: "Programs send them as `Authorization: Bearer`. A token acts in its user's name, with its own role.",
        empty: "Make one for a program that uses the API, or for `airlock` in a pipeline (AIRLOCK_TOKEN).",
        new: Some((format!("{PATH}/new"), "New token".to_owned())),
        permission: None,
        columns: vec!["Name", "User", "Role", "Created", "Expires", "Last used"],
        pager: query.pager(PATH, rows.len(), listed.total),
        beside: vec![("/password", "Change password"), ("/tokens/sign-out", "Sign out everywhere")],
        rows,
    }))
}

#[derive(Debug, Default, Deserialize)]
pub struct TokenForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    days: String,
    #[serde(default)]
    username: String,
}

fn form(frame: Frame, typed: TokenForm, wrong: Option<Wrong>) -> FormView {
    let text = |name, label, value| SettingField::new(SettingKind::Text, name, label, value);
    let mut fields = vec![
        text("name", "Name", typed.name).required().help("What it is for."),
        SettingField::choice("role", "Role", typed.role, Role::ALL.iter().map(|role| role.as_str()))
            .help("Not above the user's own. It counts on each DAG."),
        text("days", "Days", typed.days).help("How long it is good: 1 to 366."),
    ];
    if frame.may(Permission::UserWrite) {
        fields.push(text("username", "User", typed.username).help("In whose name it acts; empty: in yours."));
    }
    FormView {
        shell: frame.shell(Section::Tokens, "token", "New token"),
        crumbs: Crumbs::new([(PATH.to_owned(), "Tokens".to_owned())]),
        heading: "New token".to_owned(),
        wrong,
        action: "/tokens/new".into(),
        fields,
        back: PATH.into(),
    }
}

/// `GET /tokens/new`
pub async fn ask(user: CurrentUser, frame: Frame) -> Response {
    let typed = TokenForm { role: user.dags.strongest().to_string(), days: "90".to_owned(), ..TokenForm::default() };
    page(&form(frame, typed, None))
}

#[derive(Template)]
#[template(path = "token.html")]
struct TokenView {
    shell: Shell,
    crumbs: Crumbs,
    name: String,
    secret: String,
    about: String,
}

/// Where the form says what is wrong.
fn wrong(error: &AuthError) -> Wrong {
    let field = match error {
        AuthError::TokenName | AuthError::TokenExists(_) => "name",
        AuthError::TokenRole { .. } => "role",
        AuthError::TokenLifetime => "days",
        AuthError::UnknownUser(_) => "username",
        _ => return Wrong::at_all(error),
    };
    Wrong::at(field, error)
}

/// What is wrong with the form, if anything; else what it asks for.
fn check(typed: &TokenForm) -> Result<TokenRequest, Wrong> {
    let role = match typed.role.trim() {
        "" => None,
        role => Some(role.parse::<Role>().map_err(|error| Wrong::at("role", error))?),
    };
    let lifetime = match typed.days.trim() {
        "" => None,
        days => {
            let days: u32 = days.parse().map_err(|_| wrong(&AuthError::TokenLifetime))?;
            Some(Duration::from_hours(24 * u64::from(days)))
        }
    };
    Ok(TokenRequest { username: given(&typed.username), name: typed.name.clone(), role, lifetime })
}

/// `POST /tokens/new`: makes it and shows it once.
pub async fn make(
    State(ui): State<UiState>,
    user: CurrentUser,
    frame: Frame,
    Form(typed): Form<TokenForm>,
) -> Result<Response, UiError> {
    let made = match check(&typed) {
        Ok(request) => ui.auth.token_create(&user, request).await,
        Err(wrong) => return Ok(form(frame, typed, Some(wrong)).refused()),
    };
    match made {
        Ok(NewToken { secret, row }) => {
            let until = told(row.expires_at, frame.zones_of_none().shown);
            Ok(page(&TokenView {
                shell: frame.shell(Section::Tokens, "token-made", format!("Token {}", row.name)),
                crumbs: Crumbs::new([(PATH.to_owned(), "Tokens".to_owned())]),
                about: format!("It acts for {} as {} until {until}.", row.username, row.role),
                name: row.name,
                secret: secret.expose().to_owned(),
            }))
        }
        Err(error @ (AuthError::Store(_) | AuthError::TokenOfOther | AuthError::TokenByToken)) => Err(error.into()),
        Err(error) => Ok(form(frame, typed, Some(wrong(&error))).refused()),
    }
}

#[derive(Debug, Deserialize)]
pub struct KeyQuery {
    key: i64,
}

/// `GET /tokens/revoke?key=...`
pub async fn confirm_revoke(
    State(ui): State<UiState>,
    user: CurrentUser,
    frame: Frame,
    Query(query): Query<KeyQuery>,
) -> Result<Response, UiError> {
    let row = ui.auth.token_get(&user, query.key).await?;
    let question = Question {
        section: Section::Tokens,
        crumbs: Crumbs::new([(PATH.to_owned(), "Tokens".to_owned())]),
        text: format!("Revoke the token {} of {}?", row.name, row.username),
        lines: vec!["Programs that use it are refused from now on.".to_owned()],
        action: format!("{PATH}/revoke"),
        fields: vec![("key", query.key.to_string())],
        verb: "Revoke",
        dangerous: true,
        back: PATH.to_owned(),
    };
    Ok(confirm(frame, question))
}

/// `POST /tokens/revoke`
pub async fn revoke(
    State(ui): State<UiState>,
    user: CurrentUser,
    Form(query): Form<KeyQuery>,
) -> Result<Response, UiError> {
    let row = ui.auth.token_revoke(&user, query.key).await?;
    Ok(go_and_tell(PATH, &format!("Token {} was revoked.", row.name)))
}

/// `GET /tokens/sign-out`
pub async fn confirm_sign_out(frame: Frame) -> Response {
    let question = Question {
        section: Section::Tokens,
        crumbs: Crumbs::new([(PATH.to_owned(), "Tokens".to_owned())]),
        text: "Sign out everywhere?".to_owned(),
        lines: vec!["All of your sessions and tokens end at once, this one too.".to_owned()],
        action: format!("{PATH}/sign-out"),
        fields: Vec::new(),
        verb: "Sign out",
        dangerous: true,
        back: PATH.to_owned(),
    };
    confirm(frame, question)
}

/// `POST /tokens/sign-out`: all sessions and tokens of whoever asks.
pub async fn sign_out(State(ui): State<UiState>, user: CurrentUser) -> Result<Response, UiError> {
    ui.auth.sign_out_self(&user).await?;
    Ok(go_and_tell("/login", "You are signed out everywhere."))
}
