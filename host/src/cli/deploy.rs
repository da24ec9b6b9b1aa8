//! `airlock deploy`.

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures_util::TryStreamExt;
use reqwest::{Body, Method, header};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    output::{self, Format},
    progress,
};
use crate::{api::SIGNATURE, model::spec::ComponentKind};

#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    /// Components (`.wasm` files built for wasm32-wasip2) and dags in YAML (`.yaml`, `.yml`), in this order or any other:
    /// components go first, so that the dags find them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What `minisign -Sm FILE` wrote; default: `FILE.minisig`, if it is there.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

impl DeployArgs {
    /// Uploads one file after the other and lists the dags that they carry.
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        if self.signature.is_some() && self.files.len() > 1 {
            let text = "a signature is of one file, and several are given";
            return Err(CliError::text(Kind::Usage, text).hint("put each signature beside its file, as `FILE.minisig`"));
        }
        let Uploaded { dags, entries } = upload_all(client, &self.files, self.signature.as_deref()).await?;
        if dags.is_empty() && !entries.is_empty() {
            output::note(&format!("there is no dag, but tasks for dags in YAML: {}", entries.join(", ")));
        }
        for dag in &dags {
            tell_grants(dag);
            tell_warnings(dag);
        }
        format.list(
            &dags,
            &[
                ("dag_id", "/dag_id"),
                ("version", "/version_number"),
                ("changed", "/changed"),
                ("paused", "/is_paused"),
                ("component", "/component"),
            ],
        )
    }
}

/// Says what will not do in a dag as things stand.
fn tell_warnings(dag: &Value) {
    let dag_id = dag.get("dag_id").and_then(Value::as_str).unwrap_or_default();
    let warnings = dag.get("warnings").and_then(Value::as_array).into_iter().flatten();
    for warning in warnings.filter_map(Value::as_str) {
        output::note(&format!("{dag_id}: {warning}"));
    }
}

/// Says what a dag asks to reach that it did not before, and what waits for an admin.
pub fn tell_grants(dag: &Value) {
    let words = |list: &str| {
        let grants = dag.pointer(&format!("/grants/{list}")).and_then(Value::as_array);
        let words: Vec<_> =
            grants.into_iter().flatten().filter_map(Value::as_str).map(|text| format!("`{text}`")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    };
    let dag_id = dag.get("dag_id").and_then(Value::as_str).unwrap_or_default();
    if let Some(added) = words("added") {
        output::note(&format!("{dag_id} asks for {added}"));
    }
    if let Some(removed) = words("removed") {
        output::note(&format!("{dag_id} asks no more for {removed}"));
    }
    if let Some(pending) = words("pending") {
        output::note(&format!(
            "{dag_id} runs without {pending} until an admin approves: airlock grants approve {dag_id} --all"
        ));
    }
}

/// What files carried.
pub struct Uploaded {
    /// Each with its `component`.
    pub dags: Vec<Value>,
    /// The names of tasks.
    pub entries: Vec<String>,
}

/// Uploads one file after the other, components first.
///
/// # Errors
/// The first file that can't be read or is refused; what was uploaded before stays.
pub async fn upload_all(client: &Client, files: &[PathBuf], signature: Option<&Path>) -> Result<Uploaded> {
    let (mut dags, mut entries) = (Vec::new(), Vec::new());
    // Before anything is uploaded. What can't be read is told where it is read.
    for path in files {
        if let Ok(found) = tokio::fs::metadata(path).await
            && !found.is_file()
        {
            let what = if found.is_dir() { "a folder" } else { "no regular file" };
            return Err(CliError::text(Kind::Usage, format!("`{}` is {what}; name a file", path.display())));
        }
    }
    for path in components_first(files) {
        let answer = upload(client, path, signature).await;
        let mut answer = answer.map_err(|error| error.in_front(format!("`{}`", path.display())))?;
        let digest = answer.get("digest").cloned().unwrap_or_default();
        let carried = answer.get("entries").and_then(Value::as_array).into_iter().flatten();
        entries.extend(carried.filter_map(Value::as_str).map(str::to_owned));
        if let Some(Value::Array(carried)) = answer.get_mut("dags").map(Value::take) {
            dags.extend(carried.into_iter().map(|mut dag| {
                if let Some(fields) = dag.as_object_mut() {
                    fields.entry("component").or_insert_with(|| digest.clone());
                }
                dag
            }));
        }
    }
    Ok(Uploaded { dags, entries })
}

/// `files`, so that dags in YAML find the components that they name.
pub fn components_first(files: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    let (texts, components): (Vec<_>, Vec<_>) = files.iter().partition(|path| is_yaml(path));
    components.into_iter().chain(texts)
}

/// The signature at `named`, or beside the file, if there is one.
async fn read_signature(path: &Path, named: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let beside = {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".minisig");
        PathBuf::from(beside)
    };
    match tokio::fs::read(named.unwrap_or(&beside)).await {
        Ok(text) => Ok(Some(text)),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let named = named.unwrap_or(&beside).display().to_string();
            Err(error).or_fail(Kind::Usage, || format!("its signature `{named}` can't be read"))
        }
    }
}

async fn upload(client: &Client, path: &Path, signature: Option<&Path>) -> Result<Value> {
    let signature = read_signature(path, signature).await?;
    let kind = if is_yaml(path) { ComponentKind::Yaml } else { ComponentKind::Wasm };
    let read = || "can't be read".to_owned();
    let file = tokio::fs::File::open(path).await.or_fail(Kind::Usage, read)?;
    let size = file.metadata().await.or_fail(Kind::Usage, read)?.len();
    let bar = progress::bytes(path.display().to_string(), size);
    let sent = bar.clone();
    let body = ReaderStream::with_capacity(file, 64 << 10).inspect_ok(move |part| sent.inc(part.len() as u64));
    let mut request = client
        .request(Method::POST, &["components"], &[])?
        .header(header::CONTENT_TYPE, kind.media_type())
        .header(header::CONTENT_LENGTH, size);
    if let Some(signature) = signature {
        request = request.header(SIGNATURE, BASE64_STANDARD.encode(signature));
    }
    let request = request.body(Body::wrap_stream(body));
    let answer = client.send(request).await;
    bar.finish_and_clear();
    answer
}

/// Whether a file is of dags in YAML, by its name.
pub fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"))
}
