//! Variables and connections in files of a folder, as orchestrators mount them: `variables/KEY`, `connections/ID`.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt as _;

use super::{Backend, BackendError, Found, ImportedConnection};
use crate::{
    model::ids::{ConnectionId, VariableKey},
    secrets::SecretString,
};

/// The longest file.
const MAX_BYTES: u64 = 1 << 20;
/// Names that are listed of a folder.
const MAX_LISTED: usize = 10_000;
const VARIABLES: &str = "variables";
const CONNECTIONS: &str = "connections";

/// A folder with a file for each.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    name: String,
}

impl Files {
    pub fn new(folder: PathBuf) -> Self {
        let name = format!("files in `{}`", folder.display());
        Self { folder, name }
    }

    /// The text of a file without the line's end at its end; none if there is no such file. `name` was checked: it holds no `..`.
    async fn read(&self, kind: &str, what: &str, name: &str) -> Result<Option<SecretString>, BackendError> {
        let failed = |why: String| BackendError { what: format!("{what} `{name}`"), place: self.name.clone(), why };
        // A name that begins with a slash is not the folder's.
        if name.starts_with('/') {
            return Ok(None);
        }
        let file = match tokio::fs::File::open(self.folder.join(kind).join(name)).await {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return if self.folder.is_dir() { Ok(None) } else { Err(failed("the folder is not there".to_owned())) };
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        if file.metadata().await.is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(None);
        }
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).await.map_err(|error| failed(error.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(failed(format!("the file is longer than {MAX_BYTES} bytes")));
        }
        let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        Ok(Some(text.to_owned().into()))
    }
}

/// The names of files below `folder`; hidden ones are the orchestrator's.
fn names(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || found.len() >= MAX_LISTED {
            continue;
        }
        let path = entry.path();
        // A link is followed to a file and not into a folder: there may be circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names(&path, &format!("{prefix}{name}/"), found);
        } else if path.is_file() {
            found.insert(format!("{prefix}{name}"));
        }
    }
}

impl Backend for Files {
    fn name(&self) -> &str {
        &self.name
    }

    fn variable<'a>(&'a self, key: &'a VariableKey) -> BoxFuture<'a, Result<Option<SecretString>, BackendError>> {
        Box::pin(self.read(VARIABLES, "variable", key.as_str()))
    }

    fn connection<'a>(
        &'a self,
        id: &'a ConnectionId,
    ) -> BoxFuture<'a, Result<Option<ImportedConnection>, BackendError>> {
        Box::pin(async move {
            let Some(text) = self.read(CONNECTIONS, "connection", id.as_str()).await? else { return Ok(None) };
            let parsed = ImportedConnection::parse(text.expose());
            parsed.map(Some).map_err(|why| BackendError {
                what: format!("connection `{id}`"),
                place: self.name.clone(),
                why,
            })
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Found, BackendError>> {
        let folder = self.folder.clone();
        Box::pin(async move {
            let read = move || {
                let mut found = Found::default();
                names(&folder.join(VARIABLES), "", &mut found.variables);
                names(&folder.join(CONNECTIONS), "", &mut found.connections);
                found
            };
            tokio::task::spawn_blocking(read).await.map_err(|error| BackendError {
                what: "the list".to_owned(),
                place: self.name.clone(),
                why: error.to_string(),
            })
        })
    }
}
