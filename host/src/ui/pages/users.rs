//! Users and what they may do.

use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::settings::{FormView, KeyQuery, Kind, ListQuery, SettingField, SettingKind, Wrong};
use crate::{
    api::identity::Peer,
    auth::{AuthError, CurrentUser},
    model::{
        dag_access::{DagPermission, DagPermissionError},
        role::{Permission, Role},
    },
    store::UserRow,
    ui::{
        UiState,
        error::UiError,
        shell::{Frame, Section, go_and_tell, page},
        show::{Crumbs, told},
    },
};

const USERS: Kind = Kind {
    section: Section::Users,
    path: "/users",
    one: "user",
    many: "users",
    about: "Members see the DAGs that DAG permissions name. Viewers look at all. Authors also upload, trigger and clear. Operators also pause, mark, backfill and keep \
            pools, variables and connections. Admins also keep users.",
    empty: "There is always one.",
    columns: &["Name", "Role", "On some DAGs", "Signed in by", "Created", "Changed"],
    permission: Permission::UserWrite,
    loss: "Sessions and tokens of the user end.",
};

/// `GET /users`
pub async fn list(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let listed = ui.auth.user_list(query.page()).await?;
    let zone = frame.zones_of_none();
    let rows = listed
        .items
        .iter()
        .map(|row| {
            let cells = [
                row.role.to_string(),
                lines(&row.dag_permissions, ", "),
                signed_in_by(row),
                told(row.created_at, zone.shown),
                told(row.updated_at, zone.shown),
            ];
            USERS.line(&row.username, cells)
        })
        .collect();
    Ok(page(&USERS.list(frame, &query, rows, listed.total).offered()))
}

fn lines(permissions: &[DagPermission], between: &str) -> String {
    permissions.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

fn signed_in_by(row: &UserRow) -> String {
    match &row.identity {
        Some(identity) => identity.issuer.clone(),
        None if row.password_hash.is_empty() => "nobody: tokens only".into(),
        None => "password".into(),
    }
}

async fn find(ui: &UiState, username: &str) -> Result<UserRow, UiError> {
    ui.store.user_get(username).await?.ok_or_else(|| USERS.missing(username))
}

/// What was typed. A password is not put back into the form.
#[derive(Debug, Default, Deserialize)]
pub struct UserForm {
    key: String,
    #[serde(default)]
    role: String,
    /// One in a line.
    #[serde(default)]
    dag_permissions: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    sign_out: bool,
    #[serde(default)]
    is_new: bool,
}

impl UserForm {
    fn read(&self) -> Result<(Role, Vec<DagPermission>), DagPermissionError> {
        let lines = self.dag_permissions.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok((self.role.trim().parse()?, lines.map(str::parse).collect::<Result<_, _>>()?))
    }
}

fn form(frame: Frame, typed: UserForm, wrong: Option<Wrong>) -> FormView {
    let is_new = typed.is_new;
    let password = SettingField::new(SettingKind::Password, "password", "Password", "")
        .lost(wrong.is_some() && !typed.password.is_empty());
    let sign_out = SettingField::check("sign_out", "Sign out everywhere", typed.sign_out)
        .help(" Ends the user's sessions and tokens.");
    let mut fields = vec![
        SettingField::key("key", "Name", &typed.key, is_new),
        SettingField::choice("role", "Role", typed.role, Role::ALL.iter().map(|role| role.as_str()))
            .help("For all DAGs. A member sees those that are named below."),
        SettingField::new(SettingKind::Area, "dag_permissions", "On some DAGs", typed.dag_permissions)
            .help("A role on some DAGs, one in a line: load=viewer, sales-*=author, tag:sales=operator."),
        if is_new {
            password.help("At least 8 characters. Without one the user can't sign in: tokens alone act for it.")
        } else {
            password.help("A new one ends the user's sessions and tokens. Leave it empty to keep the present one.")
        },
    ];
    fields.extend((!is_new).then_some(sign_out));
    USERS.form(frame, (&typed.key, is_new), fields, wrong)
}

/// `GET /users/edit`: a new one, or `?key=...`.
pub async fn edit(State(ui): State<UiState>, frame: Frame, Query(query): Query<KeyQuery>) -> Result<Response, UiError> {
    let typed = if query.key.is_empty() {
        UserForm { role: Role::Viewer.to_string(), is_new: true, ..UserForm::default() }
    } else {
        let row = find(&ui, &query.key).await?;
        let dag_permissions = lines(&row.dag_permissions, "\n");
        UserForm { key: query.key, role: row.role.to_string(), dag_permissions, ..UserForm::default() }
    };
    Ok(page(&form(frame, typed, None)))
}

/// Where the form of a user or of a password says what is wrong.
fn wrong(error: &AuthError) -> Wrong {
    let field = match error {
        AuthError::UserName(_) | AuthError::UserExists(_) => "key",
        AuthError::LastAdmin(_) => "role",
        AuthError::DagPermission(_) => "dag_permissions",
        AuthError::Password(_) | AuthError::PasswordOfVouched(_) => "password",
        AuthError::PresentPassword => "present_password",
        _ => return Wrong::at_all(error),
    };
    Wrong::at(field, error)
}

async fn apply(ui: &UiState, by: &CurrentUser, typed: &UserForm) -> Result<UserRow, AuthError> {
    let (role, permissions) = typed.read()?;
    let username = typed.key.trim();
    let password = Some(typed.password.as_str()).filter(|password| !password.is_empty());
    if typed.is_new {
        return ui.auth.user_create(username, password, role, permissions).await;
    }
    by.check_not_by_own_token(username)?;
    ui.auth.user_update(username, role, permissions, password, typed.sign_out).await
}

/// `POST /users/edit`
pub async fn save(
    State(ui): State<UiState>,
    user: CurrentUser,
    frame: Frame,
    Form(typed): Form<UserForm>,
) -> Result<Response, UiError> {
    match apply(&ui, &user, &typed).await {
        Ok(_) => Ok(USERS.saved(typed.key.trim())),
        Err(error @ AuthError::Store(_)) => Err(error.into()),
        Err(error) => Ok(form(frame, typed, Some(wrong(&error))).refused()),
    }
}

/// `GET /users/delete?key=...`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Query(query): Query<KeyQuery>,
) -> Result<Response, UiError> {
    find(&ui, &query.key).await?;
    Ok(USERS.confirm_delete(frame, &query.key))
}

/// `POST /users/delete`
pub async fn delete(
    State(ui): State<UiState>,
    user: CurrentUser,
    Form(query): Form<KeyQuery>,
) -> Result<Response, UiError> {
    user.check_not_by_own_token(&query.key)?;
    find(&ui, &query.key).await?;
    ui.auth.user_delete(&query.key).await?;
    Ok(USERS.deleted(&query.key))
}

/// What was typed to change one's own password; none of it is put back into the form.
#[derive(Debug, Default, Deserialize)]
pub struct PasswordForm {
    present_password: String,
    password: String,
}

fn password_form(frame: Frame, wrong: Option<Wrong>) -> FormView {
    let field = |name, label| SettingField::new(SettingKind::Password, name, label, "").required();
    FormView {
        shell: frame.shell(Section::Tokens, "password", "Password"),
        crumbs: Crumbs::new([("/tokens".to_owned(), "Tokens".to_owned())]),
        heading: "Password".to_owned(),
        wrong,
        action: "/password".into(),
        fields: vec![
            field("present_password", "Present password"),
            field("password", "New password").help("At least 8 characters. All of your sessions and tokens end."),
        ],
        back: "/tokens".into(),
    }
}

/// `GET /password`
pub async fn ask_password(frame: Frame) -> Response {
    page(&password_form(frame, None))
}

/// `POST /password`: of whoever asks.
pub async fn change_password(
    State(ui): State<UiState>,
    user: CurrentUser,
    peer: Peer,
    frame: Frame,
    Form(typed): Form<PasswordForm>,
) -> Result<Response, UiError> {
    match ui.auth.user_change_password(&user, &typed.present_password, &typed.password, peer.0).await {
        Ok(_) => Ok(go_and_tell("/login", "The password was changed. Sign in with the new one.")),
        Err(error @ (AuthError::Store(_) | AuthError::PasswordByToken)) => Err(error.into()),
        Err(error) => Ok(password_form(frame, Some(wrong(&error))).refused()),
    }
}
