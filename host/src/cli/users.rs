//! `airlock users`: on the data directory itself, so that whoever owns the machine can always get in.

use serde_json::json;

use super::{
    error::{CliError, Kind, Result},
    local::LocalArgs,
    login::ask_password,
    output::{Format, note},
};
use crate::{
    auth::{Audit, Auth, AuthConfig, AuthError},
    model::{
        dag_access::DagPermission,
        role::{Permission, Role},
        time::Clock,
    },
    store::Page,
};

#[derive(Debug, clap::Args)]
pub struct UsersArgs {
    #[command(flatten)]
    local: LocalArgs,
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UsersCommand {
    /// List the users.
    List,
    /// Create a user; asks for the password, or reads a line of standard input.
    Add {
        username: String,
        /// member, viewer, author, operator or admin: for all dags.
        #[arg(long, default_value_t = Role::Viewer)]
        role: Role,
        /// A role on some dags, as `load=viewer`, `sales-*=author` or `tag:sales=operator`; may be repeated.
        #[arg(long, value_name = "DAGS=ROLE")]
        dags: Vec<DagPermission>,
        /// Without a password: a service account, which tokens alone act for.
        #[arg(long)]
        service: bool,
    },
    /// Give a user another role for all dags: member, viewer, author, operator or admin.
    SetRole { username: String, role: Role },
    /// Say on which dags a user has which role, as `sales-*=author`, in place of what was said before. Airflow: DAG-level permissions.
    SetDags {
        username: String,
        #[arg(value_name = "DAGS=ROLE")]
        permissions: Vec<DagPermission>,
    },
    /// End all sessions and tokens of a user.
    SignOut { username: String },
    /// Give a user a new password; ends the user's sessions and tokens.
    SetPassword { username: String },
    /// Delete a user; ends the user's sessions and tokens.
    Delete { username: String },
}

impl UsersArgs {
    pub async fn run(self, format: Format) -> Result<()> {
        let vault = self.local.open().await?;
        let auth = Auth::new(AuthConfig::default(), vault.store().clone(), Clock);
        let password_of = |username: &str| ask_password(&format!("New password of {username}: "));
        match self.command {
            UsersCommand::List => {
                let users = auth.user_list(Page::first(1000)).await.map_err(refusal)?.items;
                let rows: Vec<_> = users
                    .iter()
                    .map(|user| {
                        let on_dags: Vec<_> = user.dag_permissions.iter().map(ToString::to_string).collect();
                        let (username, created_at) = (&user.username, user.created_at);
                        let issuer = user.identity.as_ref().map(|identity| &identity.issuer);
                        json!({
                            "username": username, "role": user.role, "on_dags": on_dags.join(" "), "issuer": issuer,
                            "created_at": created_at,
                        })
                    })
                    .collect();
                let columns = [
                    ("username", "/username"),
                    ("role", "/role"),
                    ("on dags", "/on_dags"),
                    ("signed in by", "/issuer"),
                    ("created_at", "/created_at"),
                ];
                format.list(&rows, &columns)
            }
            UsersCommand::Add { username, role, dags, service } => {
                let password = if service { None } else { Some(password_of(&username)?) };
                let work = auth.user_create(&username, password.as_deref(), role, dags);
                audited(&auth, "add", work).await?;
                note(&format!("user `{username}` is created, as {role}"));
                Ok(())
            }
            UsersCommand::SetRole { username, role } => {
                audited(&auth, "set-role", auth.user_set_role(&username, role)).await?;
                note(&format!("user `{username}` is {role} now"));
                Ok(())
            }
            UsersCommand::SetDags { username, permissions } => {
                let work = auth.user_set_dag_permissions(&username, permissions);
                let user = audited(&auth, "set-dags", work).await?;
                note(&format!("user `{username}` has {} DAG permissions now", user.dag_permissions.len()));
                Ok(())
            }
            UsersCommand::SignOut { username } => {
                audited(&auth, "sign-out", auth.sign_out_everywhere(&username)).await?;
                note(&format!("all sessions and tokens of user `{username}` are over"));
                Ok(())
            }
            UsersCommand::SetPassword { username } => {
                let password = password_of(&username)?;
                audited(&auth, "set-password", auth.user_set_password(&username, &password)).await?;
                note(&format!("user `{username}` has a new password"));
                Ok(())
            }
            UsersCommand::Delete { username } => {
                audited(&auth, "delete", auth.user_delete(&username)).await?;
                note(&format!("user `{username}` is deleted"));
                Ok(())
            }
        }
    }
}

/// Does what changes a user, with its entry in the audit log, as nobody's: whoever owns the machine does it.
async fn audited<T>(auth: &Auth, command: &str, work: impl Future<Output = Result<T, AuthError>>) -> Result<T> {
    let event = auth.event(Permission::UserWrite.as_str(), None, None, format!("airlock users {command}"));
    Audit::new(event).scope(work).await.map_err(refusal)
}

fn refusal(error: AuthError) -> CliError {
    let kind = match &error {
        AuthError::UnknownUser(_) | AuthError::NoSuchToken(_) | AuthError::NoProvider => Kind::NotFound,
        AuthError::UserExists(_)
        | AuthError::NameTaken(_)
        | AuthError::PasswordOfVouched(_)
        | AuthError::LastAdmin(_)
        | AuthError::TokenExists(_)
        | AuthError::TooManyTokens => Kind::Refused,
        AuthError::Password(_)
        | AuthError::UserName(_)
        | AuthError::PresentPassword
        | AuthError::TokenName
        | AuthError::TokenRole { .. }
        | AuthError::DagPermission(_)
        | AuthError::TokenLifetime => Kind::Usage,
        AuthError::Throttled { .. }
        | AuthError::WrongPassword
        | AuthError::UnknownToken
        | AuthError::TokenByToken
        | AuthError::PasswordByToken
        | AuthError::EndByToken
        | AuthError::TokenOfOther
        | AuthError::NotLetIn(_)
        | AuthError::Provider(_)
        | AuthError::TooManyListeners(_) => Kind::Denied,
        AuthError::Store(_) => Kind::Failed,
    };
    CliError::new(kind, error)
}
