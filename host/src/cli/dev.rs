//! `airlock dev`: builds, uploads and runs what is being written, again at each save.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher as _};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    client::Client,
    deploy,
    error::{CliError, Kind, OrFail, Result},
    output::{self, note},
    tasks::{self, LogOf, Printed},
    wait,
};

/// An editor writes a file in several steps; what comes within this time is one save.
const SAVE: Duration = Duration::from_millis(200);
/// How often a run is asked for what has begun in it.
const LOOK: Duration = Duration::from_millis(200);
/// Logs that are followed at a time.
const MOST_FOLLOWED: usize = 16;

#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Crates (their folders), components (`.wasm`) and dags in YAML.
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Run this dag only; without it, each dag that a save changed.
    #[arg(long, value_name = "DAG_ID")]
    dag: Option<String>,
    /// The runs' params: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = super::json_object)]
    params: Option<Map<String, Value>>,
    /// Build, upload and run once, and exit with 1 if a run fails.
    #[arg(long)]
    once: bool,
}

impl DevArgs {
    pub async fn run(self, client: Client) -> Result<()> {
        for path in &self.paths {
            path.metadata().or_fail(Kind::Usage, || format!("can't read `{}`", path.display()))?;
        }
        if self.once {
            return self.round(&client, &mut BTreeSet::new()).await;
        }
        // Watched before the first round: a save during it is not missed.
        let (teller, mut saves) = mpsc::channel(1);
        let _watcher = watch(&self.paths, teller)?;
        let mut known = BTreeSet::new();
        loop {
            if let Err(error) = self.round(&client, &mut known).await {
                note(&error.to_string());
            }
            note("waiting for a save; Ctrl+C ends");
            if saves.recv().await.is_none() {
                return Err(CliError::text(Kind::Failed, "the files are not watched any more"));
            }
            tokio::time::sleep(SAVE).await;
            while saves.try_recv().is_ok() {}
        }
    }

    /// Builds, uploads and runs. `known`: dags that were uploaded in an earlier round.
    async fn round(&self, client: &Client, known: &mut BTreeSet<String>) -> Result<()> {
        let mut files = Vec::new();
        for path in &self.paths {
            if path.is_dir() { files.extend(build(path).await?) } else { files.push(path.clone()) }
        }
        let mut dags = Vec::new();
        for dag in deploy::upload_all(client, &files, None).await?.dags {
            let Some(dag_id) = dag.get("dag_id").and_then(Value::as_str) else { continue };
            let is_new = known.insert(dag_id.to_owned());
            let is_changed = dag.get("changed") == Some(&Value::Bool(true));
            if self.dag.as_deref().map_or(is_new || is_changed, |only| only == dag_id) {
                dags.push((dag_id.to_owned(), dag.get("is_paused") == Some(&Value::Bool(true))));
            }
        }
        if let (Some(dag), true) = (&self.dag, dags.is_empty()) {
            return Err(CliError::text(Kind::NotFound, format!("none of the files has a dag `{dag}`"))
                .hint(format!("they have {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", "))));
        }
        let mut ended = Ok(());
        for (dag_id, is_paused) in dags {
            if is_paused {
                client.patch(&["dags", &dag_id], &json!({"is_paused": false})).await?;
                note(&format!("dag `{dag_id}` was paused; it is active now"));
            }
            let run = self.run_dag(client, &dag_id).await?;
            ended = ended.and(wait::require_success(&run));
        }
        ended
    }

    /// Triggers a run and prints the logs of its tasks until it is over. Answers the run.
    async fn run_dag(&self, client: &Client, dag_id: &str) -> Result<Value> {
        let body = json!({"logical_date": null, "conf": self.params.clone().unwrap_or_default()});
        let run = client.post(&["dags", dag_id, "dagRuns"], &body).await?;
        let run_id = run.get("dag_run_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        note(&format!("run `{run_id}` of dag `{dag_id}`"));
        let mut followed = BTreeSet::new();
        let mut printers = JoinSet::new();
        let run = loop {
            // Asked first: what is over when the instances are listed has all of them.
            let run = wait::ask(client, &["dags", dag_id, "dagRuns", &run_id]).await?;
            let instances = ["dags", dag_id, "dagRuns", &run_id, "taskInstances"];
            let listed = client.list(&instances, &[], "task_instances", usize::MAX).await;
            // There may be a server again soon.
            if listed.as_ref().is_err_and(|error| error.kind() == Kind::Unreachable) {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            for instance in listed? {
                let Some(log) = LogOf::present_try(dag_id, &run_id, &instance) else { continue };
                if !followed.insert((log.task_id.clone(), log.map_index, log.try_number)) {
                    continue;
                }
                if printers.len() >= MOST_FOLLOWED {
                    printers.join_next().await;
                }
                let client = client.clone();
                printers.spawn(async move { follow(&client, &log).await });
            }
            if matches!(run.get("state").and_then(Value::as_str), Some("success" | "failed")) {
                break run;
            }
            tokio::time::sleep(LOOK).await;
        };
        while let Some(printed) = printers.join_next().await {
            printed.or_fail(Kind::Failed, || "a log could not be printed".into())??;
        }
        note(&format!("run `{run_id}` ended as {}", run.get("state").and_then(Value::as_str).unwrap_or("?")));
        Ok(run)
    }
}

async fn follow(client: &Client, log: &LogOf) -> Result<()> {
    let name = if log.map_index < 0 { log.task_id.clone() } else { format!("{}[{}]", log.task_id, log.map_index) };
    let each = |line: &Value| output::print(&format!("{name} | {}\n", tasks::plain_line(line)));
    Printed::default().print(client, log, true, each).await
}

/// Builds a crate and answers its components.
async fn build(folder: &Path) -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let failed = || format!("can't run cargo in `{}`", folder.display());
    let mut child = tokio::process::Command::new(cargo)
        .args(["build", "--release", "--target", "wasm32-wasip2", "--message-format=json-render-diagnostics"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .or_fail(Kind::Failed, failed)?;
    let mut components = Vec::new();
    if let Some(told) = child.stdout.take() {
        let mut lines = BufReader::new(told).lines();
        while let Some(line) = lines.next_line().await? {
            components.extend(built_component(&line, folder));
        }
    }
    if !child.wait().await.or_fail(Kind::Failed, failed)?.success() {
        return Err(CliError::text(Kind::Failed, format!("`{}` does not compile", folder.display())));
    }
    if components.is_empty() {
        return Err(CliError::text(Kind::Failed, format!("`{}` builds no component", folder.display()))
            .hint("its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`, as `airlock new` writes it"));
    }
    Ok(components)
}

/// The component that a line of `cargo build --message-format=json` tells of, if it is one of the crate in `folder`.
fn built_component(line: &str, folder: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    if message.get("reason")? != "compiler-artifact" || manifest.parent()? != folder.canonicalize().ok()? {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    let mut files = files.iter().filter_map(Value::as_str).map(PathBuf::from);
    files.find(|file| file.extension().is_some_and(|end| end == "wasm"))
}

/// Tells of each save of a file in `paths`, but for what a build writes.
fn watch(paths: &[PathBuf], saves: mpsc::Sender<()>) -> Result<notify::RecommendedWatcher> {
    let cannot = || "the files can't be watched".to_owned();
    let is_source = |path: &PathBuf| {
        !path
            .components()
            .any(|part| part.as_os_str() == "target" || part.as_os_str().as_encoded_bytes().starts_with(b"."))
    };
    let roots = paths.iter().map(|path| path.canonicalize()).collect::<Result<Vec<_>, _>>()?;
    let bases = roots.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        // Relative to what is watched: where the project itself lies does not matter.
        let of_a_source = event.paths.iter().any(|path| {
            bases.iter().any(|root| path.strip_prefix(root).is_ok_and(|inside| is_source(&inside.to_path_buf())))
        });
        if of_a_source && !matches!(event.kind, EventKind::Access(_)) {
            // Full: a save is waiting already.
            let _ = saves.try_send(());
        }
    })
    .or_fail(Kind::Failed, cannot)?;
    for root in roots {
        // Editors replace a file: its folder is watched, so that the new one is seen too.
        let (folder, mode) = if root.is_dir() {
            (root.as_path(), RecursiveMode::Recursive)
        } else {
            (root.parent().unwrap_or(&root), RecursiveMode::NonRecursive)
        };
        watcher.watch(folder, mode).or_fail(Kind::Failed, cannot)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_of_the_crate_itself_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let line = |manifest: &Path, file: &str| {
            json!({"reason": "compiler-artifact", "manifest_path": manifest, "filenames": ["/t/liba.rlib", file]})
                .to_string()
        };
        let own = folder.path().canonicalize().unwrap().join("Cargo.toml");
        let found = |line: &str| built_component(line, folder.path());
        assert_eq!(found(&line(&own, "/t/a.wasm")), Some(PathBuf::from("/t/a.wasm")));
        assert_eq!(found(&line(&own, "/t/a.d")), None);
        assert_eq!(found(&line(Path::new("/other/Cargo.toml"), "/t/a.wasm")), None);
        assert_eq!(found("warning: a text"), None);
    }
}
