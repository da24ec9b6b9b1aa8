//! `airlock secrets`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    client::Client,
    error::Result,
    output::{self, Format},
};

/// How often it is asked whether all is sealed anew.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Subcommand)]
pub enum SecretsCommand {
    /// Show the keys, and how much each sealed. No key itself is shown.
    Keys,
    /// Make a new data key and seal all variables, connections and webhooks anew by it.
    Rotate {
        /// Return at once; it goes on in the server.
        #[arg(long)]
        no_wait: bool,
    },
}

impl SecretsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        let path = ["secrets", "keys"];
        let keys = match self {
            Self::Keys => client.get(&path, &[]).await?,
            Self::Rotate { no_wait } => {
                let mut keys = client.post(&["secrets", "keys", "rotate"], &json!({})).await?;
                while !no_wait && waiting(&keys) > 0 {
                    output::note(&format!("values that are still to be sealed anew: {}", waiting(&keys)));
                    tokio::time::sleep(POLL).await;
                    let before = waiting(&keys);
                    keys = client.get(&path, &[]).await?;
                    if waiting(&keys) == before {
                        output::note("it does not go on: the server's log says which values can't be opened");
                        break;
                    }
                }
                keys
            }
        };
        show(&keys, format)
    }
}

fn waiting(keys: &Value) -> i64 {
    keys.get("waiting").and_then(Value::as_i64).unwrap_or(0)
}

fn show(keys: &Value, format: Format) -> Result<()> {
    if format != Format::Table {
        return format.object(keys);
    }
    let of = |field: &str| keys.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let columns =
        [("data_key", "/id"), ("created_at", "/created_at"), ("retired_at", "/retired_at"), ("values", "/values")];
    format.list(&of("data_keys"), &columns)?;
    format.list(&of("master_keys"), &[("master_key", "/id"), ("needed_by", "/needed_by")])
}
