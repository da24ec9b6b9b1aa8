//! `airlock approvals`.

use serde_json::{Map, Value, json};

use super::{client::Client, error::Result, output::Format};

#[derive(Debug, clap::Subcommand)]
pub enum ApprovalsCommand {
    /// List what tasks ask and wait for, the oldest first.
    List {
        /// Those that were answered instead.
        #[arg(long)]
        answered: bool,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Answer what a task asks; it goes on.
    Answer {
        dag_id: String,
        run_id: String,
        task_id: String,
        /// Which instance of a mapped task.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        map_index: i32,
        /// What is chosen; several times if several options can be.
        #[arg(long = "option", value_name = "OPTION")]
        options: Vec<String>,
        /// Values for what the form asks for beside the options: a JSON object.
        #[arg(long, value_name = "JSON", value_parser = super::json_object)]
        params: Option<Map<String, Value>>,
    },
}

impl ApprovalsCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { answered, limit } => {
                let query = [("response_received", answered.to_string())];
                let path = ["dags", "~", "dagRuns", "~", "hitlDetails"];
                let details = client.list(&path, &query, "hitl_details", limit).await?;
                format.list(
                    &details,
                    &[
                        ("dag_id", "/task_instance/dag_id"),
                        ("run_id", "/task_instance/dag_run_id"),
                        ("task_id", "/task_instance/task_id"),
                        ("map_index", "/task_instance/map_index"),
                        ("subject", "/subject"),
                        ("options", "/options"),
                        ("created_at", "/created_at"),
                        ("chosen", "/chosen_options"),
                        ("by", "/responded_by_user/name"),
                    ],
                )
            }
            Self::Answer { dag_id, run_id, task_id, map_index, options, params } => {
                let index = map_index.to_string();
                let path = ["dags", &dag_id, "dagRuns", &run_id, "taskInstances", &task_id, &index, "hitlDetails"];
                let body = json!({"chosen_options": options, "params_input": params.unwrap_or_default()});
                format.object(&client.patch(&path, &body).await?)
            }
        }
    }
}
