//! `airlock replay`: runs a recorded attempt again, here.

use std::path::PathBuf;

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    output::{self, Format},
    tasks::print_line,
};
use crate::{
    executor::{Given, Recording, Replay, Replayed},
    model::ids::Digest,
    wire::AttemptEnd,
};

/// How much of a result is shown.
const SHOWN_BYTES: usize = 2_000;

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// Whose attempt: the ids of dag, run and task.
    #[arg(required_unless_present = "recording")]
    dag_id: Option<String>,
    #[arg(required_unless_present = "recording")]
    run_id: Option<String>,
    #[arg(required_unless_present = "recording")]
    task_id: Option<String>,
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    map_index: i32,
    /// Which try; the last that was recorded if it is left out.
    #[arg(long = "try", value_name = "NUMBER")]
    try_number: Option<u32>,
    /// Run this component instead of the recorded one.
    #[arg(long, value_name = "FILE.wasm")]
    component: Option<PathBuf>,
    /// Take the recording from this file, not from the server.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dag_id", "run_id", "task_id", "try_number"])]
    recording: Option<PathBuf>,
    /// Keep the recording in this file, too.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// The value of a variable, instead of the recorded one; may be given more than once.
    #[arg(long = "variable", value_name = "KEY=VALUE", value_parser = pair)]
    variables: Vec<(String, String)>,
    /// The password of a connection, which no recording has; may be given more than once.
    #[arg(long = "password", value_name = "CONNECTION=PASSWORD", value_parser = pair)]
    passwords: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ReplayArgs {
    /// # Errors
    /// If there is no recording or component, or the attempt does not end as it was recorded.
    pub async fn run(self, client: impl FnOnce() -> Result<Client>, format: Format) -> Result<()> {
        let mut client = Lazy { make: Some(client), made: None };
        let (bytes, whence) = match &self.recording {
            Some(path) => (read_file(path)?, format!("`{}`", path.display())),
            None => (self.fetch(client.get()?).await?, "the server's recording".to_owned()),
        };
        if let Some(path) = &self.save {
            std::fs::write(path, &bytes).or_fail(Kind::Failed, || format!("can't write `{}`", path.display()))?;
        }
        let recording = Recording::from_bytes(&bytes).or_fail(Kind::Usage, || format!("can't replay {whence}"))?;
        let wasm = match &self.component {
            Some(path) => read_file(path)?,
            None => component(client.get()?, recording.run.component).await?,
        };
        let variables = self.variables.into_iter().collect();
        let given = Given { variables, passwords: self.passwords.into_iter().collect() };
        let mut printed = Ok(());
        let replay = Replay { binary: None, recording, wasm, given };
        let replayed = replay
            .run(|line| {
                let line = serde_json::from_str(&line).unwrap_or_default();
                if printed.is_ok() {
                    printed = print_line(&line, format);
                }
            })
            .await
            .or_fail(Kind::Failed, || "can't replay it".into())?;
        printed?;
        conclude(&replayed, format)
    }

    /// The recording, from the server.
    async fn fetch(&self, client: &Client) -> Result<Bytes> {
        let (Some(dag_id), Some(run_id), Some(task_id)) = (&self.dag_id, &self.run_id, &self.task_id) else {
            return Err(CliError::text(Kind::Usage, "name the dag, the run and the task, or a file with --recording"));
        };
        let segments = ["dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, "recordings"];
        let query = [("map_index", self.map_index.to_string())];
        let number = if let Some(number) = self.try_number {
            number.to_string()
        } else {
            let known = client.get(&segments, &query).await?;
            let last = known.pointer("/recordings/0/try_number").and_then(Value::as_u64);
            let missing = || {
                CliError::text(Kind::NotFound, format!("no try of task `{task_id}` was recorded"))
                    .hint("record = \"failure\" or \"always\" of a task or dag has its attempts recorded from then on")
            };
            last.ok_or_else(missing)?.to_string()
        };
        let segments: Vec<_> = segments.into_iter().chain([number.as_str()]).collect();
        download(client, &segments, &query, "recording").await
    }
}

/// A client that is made when it is needed: a recording in a file needs no server.
struct Lazy<F> {
    make: Option<F>,
    made: Option<Client>,
}

impl<F: FnOnce() -> Result<Client>> Lazy<F> {
    fn get(&mut self) -> Result<&Client> {
        if let Some(make) = self.make.take() {
            self.made = Some(make()?);
        }
        self.made.as_ref().ok_or_else(|| CliError::text(Kind::Failed, "there is no client"))
    }
}

fn read_file(path: &std::path::Path) -> Result<Bytes> {
    let bytes = std::fs::read(path).or_fail(Kind::Usage, || format!("can't read `{}`", path.display()))?;
    Ok(bytes.into())
}

async fn download(client: &Client, segments: &[&str], query: &[(&str, String)], what: &str) -> Result<Bytes> {
    let response = client.exchange(client.request(Method::GET, segments, query)?).await?;
    response.bytes().await.or_fail(Kind::Unreachable, || format!("the {what} broke off"))
}

/// The component that was recorded.
async fn component(client: &Client, digest: Digest) -> Result<Bytes> {
    let bytes = download(client, &["components", &digest.to_string(), "wasm"], &[], "component").await?;
    if Digest(Sha256::digest(&bytes).into()) != digest {
        return Err(CliError::text(Kind::Failed, format!("component `{digest}` is not what the server sent")));
    }
    Ok(bytes)
}

/// Says how it ended; an error if that is not how it was recorded.
fn conclude(replayed: &Replayed, format: Format) -> Result<()> {
    let names = replayed.placeholders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let hidden = format!("the recording holds no secret; placeholders stood for {names}");
    let with_hint = |error: CliError| if names.is_empty() { error } else { error.hint(&hidden) };
    if let Some(why) = &replayed.diverged {
        return Err(with_hint(CliError::text(Kind::Failed, format!("diverged: {why}"))));
    }
    let (end, recorded) = (shown(&replayed.end), shown(&replayed.recorded));
    match format {
        Format::Table => output::print(&format!("end: {end}\n"))?,
        Format::Json | Format::Yaml => {
            output::json_line(&json!({"end": end, "recorded": recorded, "same": replayed.is_same()}))?;
        }
    }
    if !replayed.is_same() {
        let why = format!("it did not end as it was recorded, which was: {recorded}");
        return Err(with_hint(CliError::text(Kind::Failed, why)));
    }
    if !names.is_empty() {
        output::note(&format!("note: {hidden}"));
    }
    Ok(())
}

/// An end for people.
fn shown(end: &AttemptEnd) -> String {
    let plain = match end {
        AttemptEnd::Success(None) => "success".to_owned(),
        AttemptEnd::Success(Some(value)) => match std::str::from_utf8(&value.bytes) {
            Ok(text) if text.len() <= SHOWN_BYTES => format!("success, with {text}"),
            _ => format!("success, with {} bytes of {}", value.bytes.len(), value.media_type),
        },
        AttemptEnd::Skipped(why) => format!("skipped: {}", why.as_deref().unwrap_or("it said nothing")),
        AttemptEnd::Branch(task_ids) => format!("branch to {}", task_ids.join(", ")),
        AttemptEnd::ShortCircuit { .. } => "short circuit".to_owned(),
        AttemptEnd::Later(at) => format!("later, at {at}"),
        AttemptEnd::Wait(wait, until) => format!("later: {wait}, until {until}"),
        AttemptEnd::Retryable(why) => format!("failed: {why}"),
        AttemptEnd::Fatal(why) => format!("failed for good: {why}"),
        AttemptEnd::Trapped { message, .. } => format!("trapped: {message}"),
        AttemptEnd::TimedOut { limit_ms } => format!("stopped after its limit of {limit_ms} ms"),
        AttemptEnd::Killed => "ended from outside".to_owned(),
        AttemptEnd::NotRun(why) => format!("not run: {why}"),
    };
    output::printable(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Value as WireValue;

    #[test]
    fn an_end_is_one_line_without_control_characters() {
        let value = |bytes: &[u8]| Some(WireValue { media_type: "text/plain".into(), bytes: bytes.to_vec() });
        assert_eq!(shown(&AttemptEnd::Success(None)), "success");
        assert_eq!(shown(&AttemptEnd::Success(value(b"[1]"))), "success, with [1]");
        assert_eq!(shown(&AttemptEnd::Success(value(&[0xff; 3]))), "success, with 3 bytes of text/plain");
        assert!(!shown(&AttemptEnd::Fatal("\u{1b}[31mred".into())).contains('\u{1b}'));
    }

    #[test]
    fn pairs_have_a_name_and_a_value() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err());
    }
}
