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
    /// List the pods of the fleets that the server keeps in Kubernetes.
    Pods {
        /// Those only of the fleet that serves this queue.
        #[arg(long)]
        queue: Option<String>,
    },
    /// Give a worker no more attempts; it leaves when it has ended those that it has.
    Drain { name: String },
}

impl WorkersCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::Pods { queue } => {
                let load = workload(client, queue).await?;
                let fleets = load["fleets"].as_array().cloned().unwrap_or_default();
                let pods = fleets.iter().flat_map(|fleet| {
                    let pods = fleet["pods"].as_array().cloned().unwrap_or_default();
                    pods.into_iter().map(|mut pod| {
                        pod["fleet"] = fleet["name"].clone();
                        pod
                    })
                });
                format.list(
                    &pods.collect::<Vec<_>>(),
                    &[
                        ("name", "/name"),
                        ("fleet", "/fleet"),
                        ("state", "/state"),
                        ("node", "/node"),
                        ("since", "/created_at"),
                        ("trouble", "/trouble"),
                    ],
                )
            }
            Self::List { queue } => {
                let load = workload(client, queue).await?;
                let workers = load["workers"].as_array().cloned().unwrap_or_default();
                format.list(
                    &workers,
                    &[
                        ("name", "/name"),
                        ("queues", "/queues"),
                        ("slots", "/slots"),
                        ("running", "/running"),
                        ("memory", "/memory_mib"),
                        ("running memory", "/running_memory_mib"),
                        ("draining", "/is_draining"),
                        ("since", "/connected_at"),
                    ],
                )
            }
            Self::Drain { name } => client.post(&["workers", &name, "drain"], &serde_json::json!({})).await.map(drop),
        }
    }
}

async fn workload(client: &Client, queue: Option<String>) -> Result<serde_json::Value> {
    let query: Vec<_> = queue.into_iter().map(|queue| ("queue", queue)).collect();
    client.get(&["workers"], &query).await
}
