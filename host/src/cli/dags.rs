//! `airlock dags`.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{
    client::Client,
    dag_diff,
    error::{CliError, Kind, Result},
    output::{Column, Format, note},
    runs::RUN_COLUMNS,
    trial, wait,
};
use crate::model::{
    spec::ScheduleSpec,
    time::{Clock, Timestamp},
    timetable::{NextRun, Timetable},
};

#[derive(Debug, clap::Subcommand)]
pub enum DagsCommand {
    /// List dags.
    List {
        /// With this tag; may be given more than once.
        #[arg(long = "tag")]
        tags: Vec<String>,
        /// Only favorites of yours.
        #[arg(long)]
        favorites: bool,
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Mark a dag for yourself, to find it quickly.
    Favorite { dag_id: String },
    /// Take your mark off a dag.
    Unfavorite { dag_id: String },
    /// Show a dag.
    Show { dag_id: String },
    /// Start a run.
    Trigger(TriggerArgs),
    /// Stop creating and starting runs; tasks that run go on.
    Pause { dag_id: String },
    /// Go on.
    Unpause { dag_id: String },
    /// Print when the next runs start: of a dag, or, without a server, of a dag in a file or of a cron expression.
    NextRuns(NextRunsArgs),
    /// Show a dag's webhook, by which other systems start its runs; or make one and show its secret.
    Webhook {
        dag_id: String,
        /// Make it, or give it a new secret; the old one is good no more.
        #[arg(long, conflicts_with = "delete")]
        create: bool,
        #[arg(long)]
        delete: bool,
    },
    /// List a dag's versions, newest first.
    Versions {
        dag_id: String,
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show what a version of a dag changed.
    Diff {
        dag_id: String,
        version: i64,
        /// The version to compare with; the one before, if it is left out.
        #[arg(long, value_name = "VERSION")]
        since: Option<i64>,
    },
    /// Make an earlier version of a dag the newest again. Runs keep theirs.
    RollBack { dag_id: String, version: i64 },
    /// Delete a dag with its runs, logs and artifacts.
    Delete { dag_id: String },
}

const VERSION_COLUMNS: &[Column] =
    &[("version", "/version_number"), ("component", "/bundle_version"), ("created_at", "/created_at")];

#[derive(Debug, clap::Args)]
pub struct TriggerArgs {
    dag_id: String,
    /// The run's params: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = super::json_object)]
    params: Option<Map<String, Value>>,
    /// The instant that the run is about, as 2026-01-31T06:00:00Z.
    #[arg(long, value_name = "T")]
    logical_date: Option<Timestamp>,
    /// The run's id; made from the time if it is left out.
    #[arg(long)]
    run_id: Option<String>,
    #[arg(long)]
    note: Option<String>,
    /// Wait until the run is over; exit with 1 if it fails.
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, clap::Args)]
pub struct NextRunsArgs {
    #[arg(required_unless_present = "cron", conflicts_with = "cron")]
    dag_id: Option<String>,
    /// A cron expression of five fields, as `0 6 * * 1-5`, or `@daily`.
    #[arg(long, value_name = "EXPR")]
    cron: Option<String>,
    /// A component that carries the dag, instead of a server; of a dag in YAML, its file and those of its components.
    #[arg(long = "file", value_name = "FILE", conflicts_with = "cron")]
    files: Vec<PathBuf>,
    /// An IANA time zone, as Asia/Seoul.
    #[arg(long, value_name = "TZ", default_value = "UTC", requires = "cron")]
    timezone: chrono_tz::Tz,
    /// Runs after this instant; after now if it is left out.
    #[arg(long, value_name = "T")]
    after: Option<Timestamp>,
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
}

impl DagsCommand {
    pub async fn run(self, client: impl FnOnce() -> Result<Client>, format: Format) -> Result<()> {
        match self {
            Self::List { tags, favorites, limit } => {
                let mut query: Vec<_> = tags.into_iter().map(|tag| ("tags", tag)).collect();
                query.extend(favorites.then(|| ("is_favorite", "true".to_owned())));
                let dags = client()?.list(&["dags"], &query, "dags", limit).await?;
                format.list(
                    &dags,
                    &[
                        ("dag_id", "/dag_id"),
                        ("schedule", "/timetable_summary"),
                        ("paused", "/is_paused"),
                        ("next_run", "/next_dagrun_run_after"),
                        ("owners", "/owners"),
                        ("description", "/description"),
                    ],
                )
            }
            Self::Favorite { dag_id } => mark(&client()?, &dag_id, "favorite").await,
            Self::Unfavorite { dag_id } => mark(&client()?, &dag_id, "unfavorite").await,
            Self::Show { dag_id } => format.object(&client()?.get(&["dags", &dag_id, "details"], &[]).await?),
            Self::Trigger(args) => args.run(&client()?, format).await,
            Self::Pause { dag_id } => set_paused(&client()?, &dag_id, true).await,
            Self::Unpause { dag_id } => set_paused(&client()?, &dag_id, false).await,
            Self::NextRuns(args) => args.run(client, format).await,
            Self::Webhook { dag_id, create, delete } => {
                let (client, path) = (client()?, ["dags", &dag_id, "webhook"]);
                if delete {
                    return client.delete(&path).await;
                }
                let webhook =
                    if create { client.put(&path, &json!({})).await? } else { client.get(&path, &[]).await? };
                format.object(&webhook)
            }
            Self::Versions { dag_id, limit } => {
                let versions = client()?.list(&["dags", &dag_id, "dagVersions"], &[], "dag_versions", limit).await?;
                format.list(&versions, VERSION_COLUMNS)
            }
            Self::Diff { dag_id, version, since } => {
                let query: Vec<_> = since.iter().map(|since| ("since", since.to_string())).collect();
                let segments = ["dags", &dag_id, "dagVersions", &version.to_string(), "differences"];
                dag_diff::show(&client()?.get(&segments, &query).await?, format)
            }
            Self::RollBack { dag_id, version } => {
                let segments = ["dags", &dag_id, "dagVersions", &version.to_string(), "rollBack"];
                let rolled = client()?.post(&segments, &json!({})).await?;
                format.list(&[rolled], VERSION_COLUMNS)
            }
            Self::Delete { dag_id } => client()?.delete(&["dags", &dag_id]).await,
        }
    }
}

async fn mark(client: &Client, dag_id: &str, verb: &str) -> Result<()> {
    client.post(&["dags", dag_id, verb], &json!({})).await?;
    Ok(())
}

async fn set_paused(client: &Client, dag_id: &str, is_paused: bool) -> Result<()> {
    client.patch(&["dags", dag_id], &json!({"is_paused": is_paused})).await?;
    note(&format!("dag `{dag_id}` is {}", if is_paused { "paused" } else { "active" }));
    Ok(())
}

/// Says that a run which was made waits for somebody to unpause its dag.
async fn tell_if_paused(client: &Client, dag_id: &str) {
    // The run is made, whatever becomes of this question.
    if client.get(&["dags", dag_id], &[]).await.is_ok_and(|dag| dag["is_paused"] == true) {
        note(&format!("dag `{dag_id}` is paused: the run starts when it is not; airlock dags unpause {dag_id}"));
    }
}

impl TriggerArgs {
    async fn run(self, client: &Client, format: Format) -> Result<()> {
        let mut body = json!({"logical_date": self.logical_date, "conf": self.params.unwrap_or_default()});
        for (field, value) in [("dag_run_id", self.run_id), ("note", self.note)] {
            if let Some(value) = value {
                body[field] = value.into();
            }
        }
        let mut run = client.post(&["dags", &self.dag_id, "dagRuns"], &body).await?;
        if run["state"] == "queued" {
            tell_if_paused(client, &self.dag_id).await;
        }
        if !self.wait {
            return show_run(&run, format);
        }
        let run_id = run.get("dag_run_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        run = wait::run_to_end(client, &self.dag_id, &run_id, run).await?;
        show_run(&run, format)?;
        wait::require_success(&run)
    }
}

fn show_run(run: &Value, format: Format) -> Result<()> {
    match format {
        Format::Table => format.list(std::slice::from_ref(run), RUN_COLUMNS),
        Format::Json | Format::Yaml => format.object(run),
    }
}

fn shown_run(run: &NextRun) -> Value {
    json!({
        "run_after": run.run_after, "logical_date": run.logical_date,
        "data_interval_start": run.data_interval.start, "data_interval_end": run.data_interval.end,
    })
}

impl NextRunsArgs {
    async fn run(self, client: impl FnOnce() -> Result<Client>, format: Format) -> Result<()> {
        let from = self.after.unwrap_or_else(|| Clock.now());
        let Some(expression) = self.cron else {
            let dag_id = self.dag_id.unwrap_or_default();
            let runs = if self.files.is_empty() {
                let mut query = vec![("limit", self.count.to_string())];
                query.extend(self.after.map(|after| ("after", after.to_string())));
                let answer = client()?.get(&["dags", &dag_id, "nextRuns"], &query).await?;
                answer.get("next_runs").and_then(Value::as_array).cloned().unwrap_or_default()
            } else {
                let count = usize::try_from(self.count).unwrap_or(usize::MAX);
                trial::next_runs(&self.files, &dag_id, self.after, count).await?.iter().map(shown_run).collect()
            };
            if runs.is_empty() {
                note(&format!("no run of dag `{dag_id}` comes by time: it has no schedule, or none after {from}"));
            }
            return format.list(
                &runs,
                &[
                    ("run_after", "/run_after"),
                    ("logical_date", "/logical_date"),
                    ("data_interval_start", "/data_interval_start"),
                    ("data_interval_end", "/data_interval_end"),
                ],
            );
        };
        let schedule = ScheduleSpec::cron(expression, false);
        let timetable = Timetable::from_spec(&schedule, self.timezone, None).map_err(|error| {
            CliError::new(Kind::Usage, error).hint("write five fields, as `0 6 * * 1-5`: minute hour day month weekday")
        })?;
        let ticks = timetable.next_ticks(from, usize::try_from(self.count).unwrap_or(usize::MAX));
        let rows: Vec<_> = ticks
            .into_iter()
            .map(|tick| json!({"run_after": tick, "local": tick.to_utc().with_timezone(&self.timezone).to_rfc3339()}))
            .collect();
        format.list(&rows, &[("run_after", "/run_after"), ("local", "/local")])
    }
}
