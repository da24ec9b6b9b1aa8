//! `airlock pools`.

use serde_json::json;

use super::{client::Client, error::Result, output::Format};

#[derive(Debug, clap::Subcommand)]
pub enum PoolsCommand {
    /// List the pools.
    List,
    /// Create a pool, or change one: without --description its description stays.
    Set {
        name: String,
        /// How many slots it has; -1 for no limit.
        #[arg(allow_negative_numbers = true)]
        slots: i32,
        /// What it is for; an empty text takes away what is there.
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete a pool.
    Delete { name: String },
}

impl PoolsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List => {
                let pools = client.list(&["pools"], &[], "pools", usize::MAX).await?;
                format.list(
                    &pools,
                    &[
                        ("name", "/name"),
                        ("slots", "/slots"),
                        ("occupied", "/occupied_slots"),
                        ("queued", "/queued_slots"),
                        ("description", "/description"),
                    ],
                )
            }
            Self::Set { name, slots, description } => {
                let mut pool = json!({"name": name, "slots": slots});
                if let Some(description) = description {
                    pool["description"] = Some(description).filter(|text| !text.is_empty()).into();
                }
                let set = match client.post(&["pools"], &pool).await {
                    Err(error) if error.status() == Some(409) => client.patch(&["pools", &name], &pool).await,
                    other => other,
                };
                format.object(&set?)
            }
            Self::Delete { name } => client.delete(&["pools", &name]).await,
        }
    }
}
