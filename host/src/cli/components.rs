//! `airlock components`.

use super::{client::Client, error::Result, output::Format};

#[derive(Debug, clap::Subcommand)]
pub enum ComponentsCommand {
    /// List the components that were uploaded, newest first.
    List {
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

impl ComponentsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        let Self::List { limit } = self;
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
}
