//! `airlock export` and `airlock import`: what people set, as one file.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    local::LocalArgs,
    output::{self, Format, note},
    variables::read_object,
};
use crate::{
    model::ids::{ConnectionId, VariableKey},
    secrets::place,
    vault::Vault,
};

/// Print variables, connections, pools and what is said of dags as one JSON file, by the API of a server.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// With the secrets in variables and connections, which the API shows to nobody: they are read from the data directory.
    #[arg(long)]
    with_secrets: bool,
    #[command(flatten)]
    local: LocalArgs,
}

/// Take over what `airlock export` printed: all of it, or nothing.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The file; `-` for standard input.
    file: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

impl ExportArgs {
    pub async fn run(self, client: &Client) -> Result<()> {
        let fields = |things: Vec<Value>, names: &[&str]| -> Vec<Value> {
            let pick = |thing: &Value| names.iter().map(|name| ((*name).to_owned(), thing[*name].clone())).collect();
            things.iter().map(pick).map(|fields: Map<String, Value>| Value::Object(fields)).collect()
        };
        let variables = client.list(&["variables"], &[], "variables", usize::MAX).await?;
        let mut variables = fields(variables, &["key", "value", "description"]);
        let connections = client.list(&["connections"], &[], "connections", usize::MAX).await?;
        let names =
            ["connection_id", "conn_type", "description", "host", "login", "schema", "port", "password", "extra"];
        let mut connections = fields(connections, &names);
        let pools = client.list(&["pools"], &[], "pools", usize::MAX).await?;
        let pools = fields(pools, &["name", "slots", "description", "include_deferred"]);
        let dags = client.list(&["dags"], &[], "dags", usize::MAX).await?;
        let mut dags = fields(dags, &["dag_id", "is_paused"]);
        for said in ["retention", "limits", "grants"] {
            for mut of_dag in client.whole_list(&[said], "dags").await? {
                if let Some(dag) = dags.iter_mut().find(|dag| dag["dag_id"] == of_dag["dag_id"]) {
                    dag[said] = of_dag["own"].take();
                }
            }
        }
        if self.with_secrets {
            let vault = self.local.open().await?;
            reveal(&vault, &mut variables, &mut connections).await?;
            note("the file holds secrets in plain text");
        }
        let all = json!({
            "airlock_export": 1, "variables": variables, "connections": connections, "pools": pools, "dags": dags,
        });
        output::json(&all)
    }
}

/// Puts the secrets in.
async fn reveal(vault: &Vault, variables: &mut [Value], connections: &mut [Value]) -> Result<()> {
    let failed = || "can't read the secrets in the data directory".to_owned();
    let missing = |what: &str| {
        CliError::text(Kind::Failed, format!("{what} is not in the data directory"))
            .hint("name the data directory of the server that answers, with --data-dir")
    };
    for variable in variables {
        let key = variable["key"].as_str().unwrap_or_default();
        let key = VariableKey::new(key).or_fail(Kind::Failed, failed)?;
        let row = vault.store().variable_get(&key).await.or_fail(Kind::Failed, failed)?;
        let row = row.ok_or_else(|| missing(&format!("variable `{key}`")))?;
        let value = vault.secrets().unseal(&place::variable(&key), &row.sealed).or_fail(Kind::Failed, failed)?;
        variable["value"] = value.expose().into();
    }
    for connection in connections {
        let id = connection["connection_id"].as_str().unwrap_or_default();
        let id = ConnectionId::new(id).or_fail(Kind::Failed, failed)?;
        let row = vault.store().connection_get(&id).await.or_fail(Kind::Failed, failed)?;
        let row = row.ok_or_else(|| missing(&format!("connection `{id}`")))?;
        let opened = vault.opened(row).or_fail(Kind::Failed, failed)?;
        for (field, secret) in [("password", opened.password), ("extra", opened.extra)] {
            if let Some(secret) = secret {
                connection[field] = secret.expose().into();
            }
        }
    }
    Ok(())
}

impl ImportArgs {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        let body = Value::Object(read_object(&self.file)?);
        let request = client.request(reqwest::Method::POST, &["import"], &[("dry_run", self.dry_run.to_string())])?;
        let done = client.send(request.json(&body)).await?;
        for name in done["to_be_set"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            note(&format!("to be set by hand, because the file does not hold it: {name}"));
        }
        for name in done["unknown_dags"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            note(&format!("there is no dag `{name}` here: upload its component, and import again"));
        }
        format.object(&done)
    }
}
