//! `airlock assets`.

use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, Result},
    output::Format,
};

#[derive(Debug, clap::Subcommand)]
pub enum AssetsCommand {
    /// List the assets.
    List,
    /// List events, the newest first.
    Events {
        /// Of this asset; of all if it is left out.
        name: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Update an asset as if a task had made it: the dags that wait for it run.
    Update {
        name: String,
        /// What the event carries: a JSON object.
        #[arg(long, value_name = "JSON", value_parser = super::json_object)]
        extra: Option<Map<String, Value>>,
    },
    /// List the events that a dag has not consumed.
    Queued { dag_id: String },
}

impl AssetsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List => {
                let assets = all(client).await?;
                format.list(
                    &assets,
                    &[
                        ("id", "/id"),
                        ("name", "/name"),
                        ("uri", "/uri"),
                        ("group", "/group"),
                        ("last_event", "/last_asset_event/timestamp"),
                    ],
                )
            }
            Self::Events { name, limit } => {
                let mut query = Vec::new();
                if let Some(name) = name {
                    query.push(("asset_id", id_of(client, &name).await?.to_string()));
                }
                let events = client.list(&["assets", "events"], &query, "asset_events", limit).await?;
                format.list(
                    &events,
                    &[
                        ("id", "/id"),
                        ("asset", "/name"),
                        ("timestamp", "/timestamp"),
                        ("dag_id", "/source_dag_id"),
                        ("run_id", "/source_run_id"),
                        ("task_id", "/source_task_id"),
                        ("extra", "/extra"),
                    ],
                )
            }
            Self::Update { name, extra } => {
                let body = json!({"asset_id": id_of(client, &name).await?, "extra": extra.unwrap_or_default()});
                format.object(&client.post(&["assets", "events"], &body).await?)
            }
            Self::Queued { dag_id } => {
                let path = ["dags", &dag_id, "assets", "queuedEvents"];
                let events = client.list(&path, &[], "queued_events", usize::MAX).await?;
                format.list(&events, &[("asset_id", "/asset_id"), ("created_at", "/created_at")])
            }
        }
    }
}

/// Those that no dag names, too: what tasks named when they ran, and what dags named once.
async fn all(client: &Client) -> Result<Vec<Value>> {
    client.list(&["assets"], &[("only_active", "false".to_owned())], "assets", usize::MAX).await
}

async fn id_of(client: &Client, name: &str) -> Result<i64> {
    let assets = all(client).await?;
    let found = assets.iter().find(|asset| asset["name"] == name).and_then(|asset| asset["id"].as_i64());
    found.ok_or_else(|| {
        CliError::text(Kind::NotFound, format!("there is no asset `{name}`")).hint("`airlock assets list` lists them")
    })
}
