//! `airlock tokens`.

use serde_json::json;

use super::{client::Client, error::Result, output::Format};
use crate::model::role::Role;

#[derive(Debug, clap::Subcommand)]
pub enum TokensCommand {
    /// Make a token and print it; it is not shown again. Not with a token of this kind, but after `airlock login`.
    Create {
        /// What it is for.
        name: String,
        /// viewer, author, operator or admin; default: that of the user.
        #[arg(long)]
        role: Option<Role>,
        /// How long it is good: 1 to 366.
        #[arg(long, default_value_t = 90)]
        days: u32,
        /// In whose name it acts; for admins. Default: in yours.
        #[arg(long)]
        username: Option<String>,
    },
    /// List your tokens.
    List {
        /// Everybody's; for admins.
        #[arg(long)]
        all: bool,
    },
    /// End a token.
    Revoke { token_id: i64 },
}

impl TokensCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::Create { name, role, days, username } => {
                let body = json!({"name": name, "role": role, "days": days, "username": username});
                format.object(&client.post(&["tokens"], &body).await?)
            }
            Self::List { all } => {
                let query: &[_] = if all { &[("username", "~".to_owned())] } else { &[] };
                let tokens = client.list(&["tokens"], query, "tokens", usize::MAX).await?;
                format.list(
                    &tokens,
                    &[
                        ("id", "/token_id"),
                        ("name", "/name"),
                        ("username", "/username"),
                        ("role", "/role"),
                        ("expires_at", "/expires_at"),
                        ("last_used_at", "/last_used_at"),
                    ],
                )
            }
            Self::Revoke { token_id } => client.delete(&["tokens", &token_id.to_string()]).await,
        }
    }
}
