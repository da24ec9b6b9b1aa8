//! `airlock workers`.

use super::{client::Client, error::Result, output::Format};

#[derive(Debug, clap::Subcommand)]
pub enum WorkersCommand {
    /// List the workers that are connected.
    List {
        /// Those only that serve this queue.
        #[arg(long)]
        queue: Option<String>,
    },
    /// Give a worker no more attempts; it leaves when it has ended those that it has.
    Drain { name: String },
}

impl WorkersCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { queue } => {
                let query: Vec<_> = queue.into_iter().map(|queue| ("queue", queue)).collect();
                let load = client.get(&["workers"], &query).await?;
                let workers = load["workers"].as_array().cloned().unwrap_or_default();
                format.list(
                    &workers,
                    &[
                        ("name", "/name"),
                        ("queues", "/queues"),
                        ("slots", "/slots"),
                        ("running", "/running"),
                        ("draining", "/is_draining"),
                        ("since", "/connected_at"),
                    ],
                )
            }
            Self::Drain { name } => client.post(&["workers", &name, "drain"], &serde_json::json!({})).await.map(drop),
        }
    }
}
