//! `airlock backfill`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, Result},
    output::{Format, note},
    progress, wait,
};
use crate::model::time::Timestamp;

const COLUMNS: &[(&str, &str)] = &[
    ("id", "/id"),
    ("dag_id", "/dag_id"),
    ("from", "/from_date"),
    ("to", "/to_date"),
    ("dealt_with", "/dealt_with"),
    ("total", "/total"),
    ("success", "/success"),
    ("failed", "/failed"),
    ("paused", "/is_paused"),
    ("completed_at", "/completed_at"),
];

#[derive(Debug, clap::Subcommand)]
pub enum BackfillCommand {
    /// Make the runs of a dag's past intervals.
    Create(CreateArgs),
    /// List backfills, the newest first.
    List {
        /// Of this dag.
        #[arg(long)]
        dag_id: Option<String>,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a backfill and how far it is.
    Show { id: u64 },
    /// Make no more runs; those that run go on.
    Pause { id: u64 },
    /// Go on.
    Unpause { id: u64 },
    /// End a backfill: its queued runs fail, those that run go on.
    Cancel { id: u64 },
}

#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    dag_id: String,
    /// No logical date before it, as 2026-01-01 or 2026-01-01T06:00:00Z.
    #[arg(long, value_name = "T")]
    from_date: Timestamp,
    /// No logical date after it.
    #[arg(long, value_name = "T")]
    to_date: Timestamp,
    /// The newest first.
    #[arg(long)]
    run_backwards: bool,
    /// Its runs that are not finished at a time.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    max_active_runs: u32,
    /// Which of the runs that are there are run again.
    #[arg(long, default_value = "none", value_parser = ["none", "failed", "completed"])]
    reprocess_behavior: String,
    /// The runs' params: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = super::json_object)]
    params: Option<Map<String, Value>>,
    /// Print what it would do, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until it is over; exit with 1 if a run fails.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
}

impl BackfillCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        let changed = match self {
            Self::Create(args) => return args.run(client, format).await,
            Self::List { dag_id, limit } => {
                let query: Vec<_> = dag_id.into_iter().map(|dag_id| ("dag_id", dag_id)).collect();
                return format.list(&client.list(&["backfills"], &query, "backfills", limit).await?, COLUMNS);
            }
            Self::Show { id } => client.get(&["backfills", &id.to_string()], &[]).await?,
            Self::Pause { id } => client.put(&["backfills", &id.to_string(), "pause"], &json!({})).await?,
            Self::Unpause { id } => client.put(&["backfills", &id.to_string(), "unpause"], &json!({})).await?,
            Self::Cancel { id } => client.put(&["backfills", &id.to_string(), "cancel"], &json!({})).await?,
        };
        format.object(&changed)
    }
}

impl CreateArgs {
    async fn run(self, client: &Client, format: Format) -> Result<()> {
        let body = json!({
            "dag_id": self.dag_id, "from_date": self.from_date, "to_date": self.to_date,
            "run_backwards": self.run_backwards, "max_active_runs": self.max_active_runs,
            "reprocess_behavior": self.reprocess_behavior, "dag_run_conf": self.params,
        });
        if self.dry_run {
            let answer = client.post(&["backfills", "dry_run"], &body).await?;
            let planned = answer.get("backfills").and_then(Value::as_array).cloned().unwrap_or_default();
            return format.list(
                &planned,
                &[
                    ("logical_date", "/logical_date"),
                    ("data_interval_end", "/data_interval_end"),
                    ("action", "/action"),
                ],
            );
        }
        let made = client.post(&["backfills"], &body).await?;
        if !self.wait {
            return format.object(&made);
        }
        let id = made.get("id").map(ToString::to_string).unwrap_or_default();
        let over = to_end(client, &id).await?;
        format.object(&over)?;
        match over.get("failed").and_then(Value::as_u64) {
            Some(0) => Ok(()),
            failed => Err(CliError::text(Kind::Failed, format!("{} of its runs failed", failed.unwrap_or_default()))
                .hint(format!("`{}` shows which", failed_runs(&self.dag_id)))),
        }
    }
}

/// The command that lists a dag's failed runs.
fn failed_runs(dag_id: &str) -> String {
    format!("airlock runs list {dag_id} --state failed")
}

/// Waits until the backfill is over, on a terminal with a bar of its intervals.
async fn to_end(client: &Client, id: &str) -> Result<Value> {
    note(&format!("backfill {id} goes on by itself if you stop waiting"));
    let bar = progress::count(format!("backfill {id}"), 0);
    let mut pause = Duration::from_millis(100);
    loop {
        let backfill = wait::ask(client, &["backfills", id]).await?;
        let number = |field| backfill.get(field).and_then(Value::as_u64).unwrap_or(0);
        bar.set_length(number("total"));
        bar.set_position(number("skipped") + number("success") + number("failed"));
        if backfill.get("completed_at").is_some_and(|at| !at.is_null()) {
            bar.finish_and_clear();
            return Ok(backfill);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::failed_runs;
    use crate::cli::Cli;

    #[test]
    fn what_a_failed_backfill_hints_at_is_a_command() {
        Cli::try_parse_from(failed_runs("flow").split(' ')).unwrap();
    }
}
