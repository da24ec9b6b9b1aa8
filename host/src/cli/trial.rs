//! `airlock test`: runs a dag here, without a server, in the real sandbox under the real scheduler.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{sync::broadcast::error::RecvError, task::JoinSet};

use super::{
    connections,
    deploy::components_first,
    error::{CliError, Kind, OrFail, Result},
    log,
    output::{self, Format},
    services::{Services, open_vault},
    settings::ServeConfig,
    tasks::event_with_fields,
    variables,
};
use crate::{
    executor::{LogLine, Logs},
    model::{
        dag_access::Uploader,
        ids::{DagId, RunId},
        state::{RunState, TaskState},
        time::Timestamp,
        timetable::NextRun,
    },
    scheduler::{AnswerRequest, Change, DeployError, RequestError, RunRequest, Scheduler},
    store::{ApprovalFilter, DagRunKey, InstanceKey, MAX_PAGE, Page, WhichApprovals},
    telemetry::Duties,
};

/// How often the run's state is read even if no change was told.
const SAFETY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Components (`.wasm`), and dags in YAML (`.yaml`, `.yml`) of entries of theirs.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Which of their dags.
    dag_id: DagId,
    /// The run's params: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = super::json_object)]
    params: Option<Map<String, Value>>,
    /// The instant that the run is about, as 2026-01-31T06:00:00Z.
    #[arg(long, value_name = "T")]
    logical_date: Option<Timestamp>,
    /// What people answer, by the subject of the question: `{"Ship it?": {"chosen_options": ["Approve"], "params_input": {}}}`.
    #[arg(long, value_name = "JSON", value_parser = answers)]
    answers: Option<BTreeMap<String, Answer>>,
    /// Variables for it: Airflow's JSON.
    #[arg(long, value_name = "FILE")]
    variables: Option<PathBuf>,
    /// Connections for it: Airflow's JSON.
    #[arg(long, value_name = "FILE")]
    connections: Option<PathBuf>,
    /// Let granted hosts be at private addresses, as 127.0.0.1.
    #[arg(long)]
    allow_private: bool,
}

/// An answer, as the API takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    chosen_options: Vec<String>,
    #[serde(default)]
    params_input: Map<String, Value>,
}

fn answers(text: &str) -> std::result::Result<BTreeMap<String, Answer>, String> {
    let example = r#"{"Ship it?": {"chosen_options": ["Approve"]}}"#;
    serde_json::from_str(text).map_err(|error| format!("it must be like {example}: {error}"))
}

impl TestArgs {
    pub async fn run(self, format: Format) -> Result<()> {
        let files = read_all(&self.files)?;
        let folder = TempDir::with_prefix("airlock-test-")?;
        let config = ServeConfig::of_trial(folder.path(), self.allow_private)?;
        log::start(&config);
        let vault = open_vault(&config, folder.path()).await?;
        for variable in self.variables.as_deref().map(variables::read).transpose()?.unwrap_or_default() {
            variable.put(&vault).await?;
        }
        for (id, connection) in self.connections.as_deref().map(connections::read).transpose()?.unwrap_or_default() {
            connections::store(&id, connection, &vault).await?;
        }
        let duties = Duties::default();
        let services = Services::start(&config, vault, folder.path(), false, &duties).await?;
        let ended = tokio::select! {
            ended = self.run_on(&services, files, format) => ended,
            error = duties.one_ended() => Err(CliError::new(Kind::Failed, error)),
        };
        services.stop().await;
        ended
    }

    async fn run_on(&self, services: &Services, files: Vec<Read<'_>>, format: Format) -> Result<()> {
        let scheduler = &services.scheduler;
        deploy(scheduler, files, &self.dag_id).await?;
        scheduler.dag_set_paused(&self.dag_id, false).await.map_err(request_refusal)?;
        let mut changes = scheduler.subscribe();
        let request = RunRequest {
            logical_date: self.logical_date,
            conf: self.params.clone().unwrap_or_default(),
            triggered_by: "cli",
            ..RunRequest::default()
        };
        let run = scheduler.trigger(&self.dag_id, request).await.map_err(request_refusal)?;

        let mut printers = Printers::default();
        let mut told_questions = BTreeSet::new();
        let state = loop {
            let told = tokio::time::timeout(SAFETY_INTERVAL, changes.recv()).await;
            match told {
                Ok(Ok(batch)) => {
                    batch.iter().for_each(|change| printers.follow(scheduler.logs(), run.key, change));
                    let may_ask =
                        |change: &Change| matches!(change, Change::Task { state: TaskState::UpForReschedule, .. });
                    if batch.iter().any(may_ask) {
                        self.answer(services, run.key, &mut told_questions).await?;
                    }
                    let is_end = |change: &Change| matches!(change, Change::Run { key, state: Some(state), .. } if *key == run.key && state.is_finished());
                    if !batch.iter().any(is_end) {
                        continue;
                    }
                }
                Ok(Err(RecvError::Closed)) => return Err(CliError::text(Kind::Failed, "the scheduler ended")),
                Ok(Err(RecvError::Lagged(_))) | Err(_) => self.answer(services, run.key, &mut told_questions).await?,
            }
            let row = services.vault.store().dag_run_get_by_key(run.key).await.or_fail(Kind::Failed, store_failed)?;
            if let Some(row) = row.filter(|row| row.state.is_finished()) {
                break row.state;
            }
        };
        printers.finish().await;
        self.tell(services, &run.run_id, run.key, state, format).await
    }

    /// Answers what the tasks of run `key` ask. Of a question without an answer it says, once, how it is given.
    async fn answer(
        &self,
        services: &Services,
        key: DagRunKey,
        told: &mut BTreeSet<(InstanceKey, String)>,
    ) -> Result<()> {
        let waiting =
            ApprovalFilter { dag_run: Some(key), which: WhichApprovals::Waiting, ..ApprovalFilter::default() };
        let listed = services.vault.store().approval_list(&waiting, Page::first(MAX_PAGE)).await;
        for asked in listed.or_fail(Kind::Failed, store_failed)?.items {
            let question = asked.question;
            let instance = asked.instance;
            if let Some(answer) = self.answers.as_ref().and_then(|answers| answers.get(&question.subject)) {
                let request = AnswerRequest {
                    dag_id: asked.dag_id,
                    run_id: asked.run_id,
                    task_id: instance.task_id,
                    map_index: instance.map_index,
                    chosen: answer.chosen_options.clone(),
                    values: answer.params_input.clone(),
                    // Here is nobody but who is asked.
                    username: question.assignees.into_iter().next().unwrap_or_else(|| "cli".to_owned()),
                    delivery: None,
                };
                match services.scheduler.approval_answer(request).await {
                    // Its time ran out just now.
                    Ok(_) | Err(RequestError::Conflict(_)) => {}
                    Err(error) => {
                        let what = format!("the answer to `{}`", question.subject);
                        return Err(request_refusal(error).in_front(what));
                    }
                }
            } else if told.insert((instance.clone(), question.subject.clone())) {
                let options =
                    question.options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ");
                let answer = json!({ &question.subject: { "chosen_options": question.options.get(..1) } });
                output::note(&format!("{} waits for {options}, as by --answers '{answer}'", instance.task_id));
            }
        }
        Ok(())
    }

    /// Prints how each task ended; fails if the run did.
    async fn tell(
        &self,
        services: &Services,
        run_id: &RunId,
        key: DagRunKey,
        state: RunState,
        format: Format,
    ) -> Result<()> {
        let rows = services.vault.store().task_instance_list_of_run(key).await.or_fail(Kind::Failed, store_failed)?;
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let duration = row.start_date.zip(row.end_date).map(|(start, end)| end.since(start).as_secs_f64());
                json!({
                    "task_id": row.task_id, "map_index": row.map_index, "state": row.state, "try_number": row.try_number,
                    "duration": duration, "message": row.message,
                })
            })
            .collect();
        format.list(
            &rows,
            &[
                ("task_id", "/task_id"),
                ("map_index", "/map_index"),
                ("state", "/state"),
                ("try", "/try_number"),
                ("seconds", "/duration"),
                ("message", "/message"),
            ],
        )?;
        if state == RunState::Success {
            return Ok(());
        }
        Err(CliError::text(Kind::Failed, format!("run `{run_id}` of dag `{}` ended as {state}", self.dag_id)))
    }
}

/// A file and what it holds.
type Read<'a> = (&'a Path, Vec<u8>);

/// Components stand before dags in YAML.
fn read_all(files: &[PathBuf]) -> Result<Vec<Read<'_>>> {
    let read = |file: &PathBuf| std::fs::read(file).or_fail(Kind::Usage, || format!("can't read `{}`", file.display()));
    components_first(files).map(|file| Ok((file.as_path(), read(file)?))).collect()
}

/// Takes in files of which one carries `dag_id`.
async fn deploy(scheduler: &Scheduler, files: Vec<Read<'_>>, dag_id: &DagId) -> Result<()> {
    let names: Vec<_> = files.iter().map(|(file, _)| format!("`{}`", file.display())).collect();
    let mut there = BTreeSet::new();
    for (file, bytes) in files {
        let deployed = scheduler.deploy(bytes.into(), None, &Uploader::owner("cli")).await;
        let deployed = deployed.map_err(|error| {
            let misses_component = matches!(&error, DeployError::Yaml(error) if error.misses_component);
            match deploy_refusal(file, error) {
                error if misses_component => {
                    error.hint("known here are the components whose files are given, and no others")
                }
                error => error,
            }
        });
        there.extend(deployed?.dags.into_iter().map(|dag| dag.dag_id));
    }
    if there.contains(dag_id) {
        return Ok(());
    }
    let error = CliError::text(Kind::NotFound, format!("{} has no dag `{dag_id}`", names.join(", ")));
    if there.is_empty() {
        return Err(error.hint("it has tasks for dags in YAML; give such a dag as well, as a file of its own"));
    }
    let there: Vec<_> = there.iter().map(|dag_id| format!("`{dag_id}`")).collect();
    Err(error.hint(format!("there is {}", there.join(", "))))
}

/// The runs that the timetable of a dag in `files` makes next.
///
/// # Errors
/// If a file can't be deployed, or none has such a dag.
pub async fn next_runs(
    files: &[PathBuf],
    dag_id: &str,
    after: Option<Timestamp>,
    count: usize,
) -> Result<Vec<NextRun>> {
    let files = read_all(files)?;
    let dag_id = DagId::new(dag_id).map_err(|error| CliError::new(Kind::Usage, error))?;
    let folder = TempDir::with_prefix("airlock-test-")?;
    let config = ServeConfig::of_trial(folder.path(), false)?;
    log::start(&config);
    let vault = open_vault(&config, folder.path()).await?;
    let services = Services::start(&config, vault, folder.path(), false, &Duties::default()).await?;
    let scheduler = &services.scheduler;
    let runs = match deploy(scheduler, files, &dag_id).await {
        Ok(()) => scheduler.next_runs(&dag_id, after, count).await.map_err(request_refusal),
        Err(error) => Err(error),
    };
    services.stop().await;
    runs
}

/// Prints logs while they are written, each line whole, on standard error.
#[derive(Default)]
struct Printers {
    started: BTreeSet<(InstanceKey, u32)>,
    running: JoinSet<()>,
}

impl Printers {
    /// Starts to print the log of the attempt that `change` is about, if it is a new one of run `key`.
    fn follow(&mut self, logs: &Logs, key: DagRunKey, change: &Change) {
        let Change::Task { key: of_run, task_id, map_index, state, try_number, .. } = change else { return };
        let has_begun = !matches!(state, TaskState::None | TaskState::Scheduled) && *try_number > 0;
        let instance = InstanceKey { dag_run: *of_run, task_id: task_id.clone(), map_index: *map_index };
        if *of_run != key || !has_begun || !self.started.insert((instance.clone(), *try_number)) {
            return;
        }
        let name = if *map_index < 0 { task_id.to_string() } else { format!("{task_id}[{map_index}]") };
        let mut lines = Box::pin(logs.follow(instance, *try_number, 0));
        self.running.spawn(async move {
            while let Some(Ok(batch)) = lines.next().await {
                for line in &batch {
                    output::note(&shown(&name, line));
                }
            }
        });
    }

    /// Waits until all logs are printed.
    async fn finish(mut self) {
        // A log that does not end is no reason not to.
        let all = async { while self.running.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), all).await;
    }
}

fn shown(name: &str, line: &LogLine) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    let text = |field| line.get(field).and_then(Value::as_str).unwrap_or_default();
    let time = text("timestamp").split_once('T').map_or("", |(_, time)| time.get(..12).unwrap_or(time));
    let plain = format!("{time} {name} {:5} {}", text("level").to_uppercase(), event_with_fields(&line));
    output::printable(&plain).into_owned()
}

fn store_failed() -> String {
    "can't read the database".into()
}

fn deploy_refusal(file: &Path, error: DeployError) -> CliError {
    let kind = if error.is_refusal() { Kind::Refused } else { Kind::Failed };
    CliError::new(kind, error).in_front(format!("`{}`", file.display()))
}

fn request_refusal(error: RequestError) -> CliError {
    let kind = match &error {
        RequestError::NotFound(_) => Kind::NotFound,
        RequestError::Conflict(_) | RequestError::Invalid(_) | RequestError::Forbidden(_) => Kind::Refused,
        RequestError::Store(_) | RequestError::Stopped => Kind::Failed,
    };
    CliError::new(kind, error)
}
