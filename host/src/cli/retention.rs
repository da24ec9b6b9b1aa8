//! `airlock retention`.

use serde_json::{Value, json};

use super::{
    client::Client,
    dag_numbers::{self, Number, number},
    error::Result,
    output::{Format, note},
};

#[derive(Debug, clap::Subcommand)]
pub enum RetentionCommand {
    /// How long history is kept: what the server's settings say, and what is said of dags; of one dag, what holds for it.
    Show { dag_id: Option<String> },
    /// Say how long history of a dag is kept. What is left out stays as it is.
    Set {
        dag_id: String,
        #[command(flatten)]
        said: Said,
    },
    /// What would be deleted of which dag now.
    Preview,
    /// Delete now what is due, and wait until it is done.
    Run {
        /// Only show what would be deleted.
        #[arg(long)]
        dry_run: bool,
    },
}

/// A number of days or runs; `for-ever`; or `default`, for what the server's settings say.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Said {
    /// A run is deleted so many days after its end; or `for-ever`, or `default`: as the server's settings say.
    #[arg(long, value_parser = number("for-ever"))]
    runs_days: Option<Number>,
    /// So many finished runs stay, those that ended last; or `for-ever` or `default`.
    #[arg(long, value_parser = number("for-ever"))]
    runs_count: Option<Number>,
    /// Logs and recordings are deleted so many days after the end of their run; or `for-ever` or `default`.
    #[arg(long, value_parser = number("for-ever"))]
    logs_days: Option<Number>,
    /// XComs and artifacts are deleted so many days after the end of their run; or `for-ever` or `default`.
    #[arg(long, value_parser = number("for-ever"))]
    data_days: Option<Number>,
}

impl RetentionCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::Show { dag_id: None } => {
                let all = client.get(&["retention"], &[]).await?;
                if format != Format::Table {
                    return format.object(&all);
                }
                let mut settings = all.clone();
                let dags = settings.as_object_mut().and_then(|settings| settings.remove("dags"));
                format.object(&settings)?;
                match dags.as_ref().and_then(Value::as_array) {
                    Some(dags) if !dags.is_empty() => format.list(
                        dags,
                        &[
                            ("dag", "/dag_id"),
                            ("runs_days", "/own/runs_days"),
                            ("runs_count", "/own/runs_count"),
                            ("logs_days", "/own/logs_days"),
                            ("data_days", "/own/data_days"),
                        ],
                    ),
                    _ => Ok(()),
                }
            }
            Self::Show { dag_id: Some(dag_id) } => {
                format.object(&client.get(&["dags", &dag_id, "retention"], &[]).await?)
            }
            Self::Set { dag_id, said } => {
                let said = [
                    ("runs_days", said.runs_days),
                    ("runs_count", said.runs_count),
                    ("logs_days", said.logs_days),
                    ("data_days", said.data_days),
                ];
                format.object(&dag_numbers::put(client, &["dags", &dag_id, "retention"], said).await?)
            }
            Self::Preview | Self::Run { dry_run: true } => preview(client, format).await,
            Self::Run { dry_run: false } => delete(client, format).await,
        }
    }
}

async fn preview(client: &Client, format: Format) -> Result<()> {
    let preview = client.post(&["retention", "dry_run"], &json!({})).await?;
    let dags = preview["dags"].as_array().cloned().unwrap_or_default();
    format.list(
        &dags,
        &[
            ("dag", "/dag_id"),
            ("runs", "/runs"),
            ("held", "/held"),
            ("logs_of_runs", "/logs_of_runs"),
            ("data_of_runs", "/data_of_runs"),
            ("task_instances", "/task_instances"),
            ("bytes", "/bytes"),
            ("more", "/has_more"),
        ],
    )
}

/// Asks until all is done.
async fn delete(client: &Client, format: Format) -> Result<()> {
    let mut total = serde_json::Map::new();
    loop {
        let answer = client.post(&["retention", "run"], &json!({})).await?;
        for (name, count) in answer.as_object().into_iter().flatten() {
            if let Some(count) = count.as_u64() {
                let before = total.get(name).and_then(Value::as_u64).unwrap_or_default();
                total.insert(name.clone(), json!(before + count));
            }
        }
        if answer["is_done"] == json!(true) {
            return format.object(&Value::Object(total));
        }
        note(&format!("{} runs deleted so far", total.get("runs").and_then(Value::as_u64).unwrap_or_default()));
    }
}
