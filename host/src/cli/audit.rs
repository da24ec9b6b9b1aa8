//! `airlock audit`.

use super::{client::Client, error::Result, output::json_line};

/// Entries that a request asks for.
const PAGE: usize = 100;

#[derive(Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// Print the audit log, oldest first: a line of JSON for each entry.
    Export {
        /// Only what came after this `event_log_id`, as to go on where an earlier export ended.
        #[arg(long, default_value_t = 0)]
        after_id: i64,
    },
}

impl AuditCommand {
    pub async fn run(self, client: &Client) -> Result<()> {
        let Self::Export { mut after_id } = self;
        loop {
            let query = [("after_id", after_id.to_string())];
            let (entries, _) = client.part(&["eventLogs"], &query, "event_logs", PAGE).await?;
            for entry in &entries {
                after_id = entry["event_log_id"].as_i64().unwrap_or(after_id);
                json_line(entry)?;
            }
            if entries.len() < PAGE {
                return Ok(());
            }
        }
    }
}
