//! `airlock runs`.

use serde_json::{Value, json};

use super::{
    client::Client,
    error::Result,
    output::{Column, Format},
    tasks::INSTANCE_COLUMNS,
    wait,
};

/// Columns of a list of runs.
pub const RUN_COLUMNS: &[Column] = &[
    ("dag_id", "/dag_id"),
    ("run_id", "/dag_run_id"),
    ("state", "/state"),
    ("type", "/run_type"),
    ("logical_date", "/logical_date"),
    ("start_date", "/start_date"),
    ("end_date", "/end_date"),
];

#[derive(Debug, clap::Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first.
    List {
        /// Of this dag; of all if it is left out.
        dag_id: Option<String>,
        /// In this state; may be given more than once.
        #[arg(long)]
        state: Vec<String>,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show a run.
    Show {
        dag_id: String,
        run_id: String,
        /// Wait until it is over; exit with 1 if it fails.
        #[arg(long)]
        wait: bool,
    },
    /// List who was told of a run and its task instances, and how that went.
    Callbacks {
        dag_id: String,
        run_id: String,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Run a run's tasks again.
    Clear {
        dag_id: String,
        run_id: String,
        /// Failed tasks and what depends on them only.
        #[arg(long)]
        only_failed: bool,
        /// Under the newest version of the dag, not the one that the run was made with.
        #[arg(long)]
        latest_version: bool,
        /// Only list what would be cleared.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say how a run ended: what runs of it is ended. `failed` cancels it.
    SetState { dag_id: String, run_id: String, state: EndState },
    /// List the runs that the tasks of a run started.
    Triggered { dag_id: String, run_id: String },
    /// Delete a run with its history, logs and artifacts.
    Delete { dag_id: String, run_id: String },
}

/// What people may say of a run.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum EndState {
    Success,
    Failed,
}

impl EndState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

impl RunsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { dag_id, state, limit } => {
                let dag_id = dag_id.as_deref().unwrap_or("~");
                let mut query: Vec<_> = state.into_iter().map(|state| ("state", state)).collect();
                query.push(("order_by", "-run_after".into()));
                format.list(&client.list(&["dags", dag_id, "dagRuns"], &query, "dag_runs", limit).await?, RUN_COLUMNS)
            }
            Self::Show { dag_id, run_id, wait } => {
                let run = client.get(&["dags", &dag_id, "dagRuns", &run_id], &[]).await?;
                if wait {
                    let run = wait::run_to_end(client, &dag_id, &run_id, run).await?;
                    format.object(&run)?;
                    return wait::require_success(&run);
                }
                format.object(&run)
            }
            Self::Callbacks { dag_id, run_id, limit } => {
                let segments = ["dags", &dag_id, "dagRuns", &run_id, "callbacks"];
                let callbacks = client.list(&segments, &[], "callbacks", limit).await?;
                format.list(
                    &callbacks,
                    &[
                        ("event", "/event"),
                        ("task_id", "/task_id"),
                        ("map_index", "/map_index"),
                        ("try", "/try_number"),
                        ("target", "/target"),
                        ("state", "/state"),
                        ("attempts", "/attempts"),
                        ("error", "/error"),
                    ],
                )
            }
            Self::Clear { dag_id, run_id, only_failed, latest_version, dry_run } => {
                let body =
                    json!({"dry_run": dry_run, "only_failed": only_failed, "run_on_latest_version": latest_version});
                let answer = client.post(&["dags", &dag_id, "dagRuns", &run_id, "clear"], &body).await?;
                match answer.get("task_instances").and_then(Value::as_array) {
                    Some(instances) => format.list(instances, INSTANCE_COLUMNS),
                    None => format.object(&answer),
                }
            }
            Self::SetState { dag_id, run_id, state } => {
                let body = json!({ "state": state.as_str() });
                let run = client.patch(&["dags", &dag_id, "dagRuns", &run_id], &body).await?;
                format.list(&[run], RUN_COLUMNS)
            }
            Self::Triggered { dag_id, run_id } => {
                let path = ["dags", &dag_id, "dagRuns", &run_id, "triggers"];
                let started = client.list(&path, &[], "triggered_dag_runs", usize::MAX).await?;
                format.list(
                    &started,
                    &[
                        ("task_id", "/triggering_task/task_id"),
                        ("map_index", "/triggering_task/map_index"),
                        ("dag_id", "/dag_run/dag_id"),
                        ("run_id", "/dag_run/dag_run_id"),
                        ("state", "/dag_run/state"),
                    ],
                )
            }
            Self::Delete { dag_id, run_id } => client.delete(&["dags", &dag_id, "dagRuns", &run_id]).await,
        }
    }
}
