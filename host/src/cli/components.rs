//! `airlock components`.

use serde_json::Value;

use super::{client::Client, error::Result, output::Format};

#[derive(Debug, clap::Subcommand)]
pub enum ComponentsCommand {
    /// List the components that were uploaded, newest first.
    List {
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a component: who made and signed it, with which tools and of which packages, where it says so.
    Show {
        /// Its SHA-256, as `airlock components list` shows it.
        digest: String,
    },
}

impl ComponentsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { limit } => list(client, format, limit).await,
            Self::Show { digest } => show(client, format, &digest).await,
        }
    }
}

async fn list(client: &Client, format: Format, limit: usize) -> Result<()> {
    let components = client.list(&["components"], &[], "components", limit).await?;
    format.list(
        &components,
        &[
            ("digest", "/digest"),
            ("kind", "/kind"),
            ("name", "/name"),
            ("version", "/version"),
            ("size", "/size_bytes"),
            ("sdk", "/sdk"),
            ("uploaded_at", "/uploaded_at"),
            ("uploaded_by", "/uploaded_by"),
        ],
    )
}

async fn show(client: &Client, format: Format, digest: &str) -> Result<()> {
    let mut component = client.get(&["components", digest], &[]).await?;
    if format != Format::Table {
        return format.object(&component);
    }
    let provenance = component["provenance"].take();
    let labels = provenance["labels"].as_object().cloned().unwrap_or_default();
    let names: Vec<_> = list_of(&component["entries"]).iter().map(|entry| entry["name"].clone()).collect();
    if let Some(fields) = component.as_object_mut() {
        fields.remove("provenance");
        fields.insert("entries".to_owned(), Value::Array(names));
        for (name, value) in labels {
            fields.insert(format!("its {name}"), value);
        }
        fields.insert("notes".to_owned(), provenance["notes"].clone());
    }
    format.object(&component)?;
    let producers = list_of(&provenance["producers"]);
    if !producers.is_empty() {
        format.list(producers, &[("made with", "/name"), ("version", "/version"), ("as", "/field")])?;
    }
    let packages = list_of(&provenance["packages"]);
    if !packages.is_empty() {
        let columns = [("package", "/name"), ("version", "/version"), ("source", "/source"), ("to build", "/is_build")];
        format.list(packages, &columns)?;
    }
    Ok(())
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
