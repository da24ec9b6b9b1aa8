//! Dags written in YAML, of entries that uploaded components carry.
//!
//! A text is one dag, or several divided by `---`; `docs/yaml.md` says what one may hold. It becomes a
//! [`DagSpec`] as a component's `describe` answers it, so that everything above knows one form of a dag only.
//! What is wrong is said with the line and the column where it stands.

mod convert;
mod file;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_saphyr::Location;

pub use self::file::DagFile;
use super::{dag::DagError, ids::Digest, spec::ModuleSpec};

/// The longest text in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// What is wrong in a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct YamlError {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// What is wrong and what is right.
    pub message: String,
    /// Whether it is that a component is not there.
    pub misses_component: bool,
}

impl YamlError {
    fn at(location: Location, message: impl Into<String>) -> Self {
        let (line, column) = (location.line().max(1), location.column().max(1));
        Self { line, column, message: message.into(), misses_component: false }
    }
}

/// What a text may hold, as a JSON Schema (draft 2020-12): editors complete and check with it.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(DagFile).to_value()
}

/// The components that dags may use, by the name that stands before the `/` of a `uses`.
pub type Libraries = BTreeMap<String, (Digest, Arc<ModuleSpec>)>;

/// Reads the dags of `text`.
///
/// # Errors
/// If it is not YAML, larger than [`MAX_BYTES`], holds no dag, or a key that a dag does not have.
pub fn parse(text: &str) -> Result<Vec<DagFile>, YamlError> {
    let start = |message: String| YamlError { line: 1, column: 1, message, misses_component: false };
    if text.len() > MAX_BYTES {
        return Err(start(format!("it has {} bytes; at most {MAX_BYTES} are allowed", text.len())));
    }
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let files: Vec<DagFile> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let message = said(error.without_snippet());
        match error.location() {
            Some(location) => YamlError::at(location, without_location(&message)),
            None => start(message),
        }
    })?;
    if files.is_empty() {
        return Err(start("there is no dag in it; begin with `dag_id:`".to_owned()));
    }
    Ok(files)
}

/// What the parser says, without words of Rust: what may stand where a number was meant.
fn said(error: &serde_saphyr::Error) -> String {
    fn whole<T: std::fmt::Display>(least: T, most: T) -> String {
        format!("it must be a whole number from {least} to {most}")
    }
    match error {
        serde_saphyr::Error::InvalidScalar { ty: "u32", .. } => whole(u32::MIN, u32::MAX),
        serde_saphyr::Error::InvalidScalar { ty: "i32", .. } => whole(i32::MIN, i32::MAX),
        serde_saphyr::Error::InvalidScalar { ty: "floating point", .. } => "it must be a number".to_owned(),
        serde_saphyr::Error::Unexpected { expected: "string scalar", .. } => {
            "one value is expected here, no list and no mapping".to_owned()
        }
        serde_saphyr::Error::Unexpected { expected: "sequence start", .. } => {
            "a list is expected here; write it as `[one, two]`".to_owned()
        }
        serde_saphyr::Error::Unexpected { expected: "mapping start", .. } => {
            "a mapping is expected here; write it as `{key: value}`".to_owned()
        }
        other => other.to_string(),
    }
}

/// The parser's message ends in where it is; so does ours begin. What it says to programmers is left out.
fn without_location(message: &str) -> &str {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    message.split_once(", set DuplicateKeyPolicy").map_or(message, |(message, _)| message)
}

impl DagFile {
    /// The names of the components that its tasks use.
    pub fn libraries(&self) -> BTreeSet<&str> {
        let name = |uses: &'_ str| uses.split_once('/').map_or(uses.len(), |(name, _)| name.len());
        self.tasks.values().map(|task| &task.value.uses.value[..name(&task.value.uses.value)]).collect()
    }

    /// Where in the text stands what is wrong with the whole dag.
    pub fn locate(&self, error: &DagError) -> YamlError {
        let named = |kind: &str| error.place.strip_prefix(kind)?.strip_prefix(" `")?.strip_suffix('`');
        let task = named("task").and_then(|id| self.tasks.get(id)).map(|task| task.value.uses.referenced);
        let group = named("group").and_then(|id| self.groups.get(id)).map(|group| group.referenced);
        let schedule = self.schedule.as_ref().filter(|_| error.place == "schedule").map(|it| it.referenced);
        let timezone = self.timezone.as_ref().filter(|_| error.place == "timezone").map(|it| it.referenced);
        let location = task.or(group).or(schedule).or(timezone).unwrap_or(self.dag_id.referenced);
        YamlError::at(location, error.to_string())
    }
}

#[cfg(test)]
mod tests;
