//! `airlock variables`.

use std::{io::Read, path::PathBuf};

use serde_json::{Map, Value, json};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    output::{self, Format, note},
};

#[derive(Debug, clap::Subcommand)]
pub enum VariablesCommand {
    /// List variables.
    List {
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Print a variable's value.
    Get { key: String },
    /// Create a variable, or change one.
    Set {
        key: String,
        /// Its value; `-` reads standard input, so that it stands in no command line.
        value: String,
        #[arg(long)]
        description: Option<String>,
    },
    /// Delete a variable.
    Delete { key: String },
    /// Create and change variables from Airflow's JSON: an object from key to value, or to value and description.
    Import {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// What becomes of variables that exist.
        #[arg(long, value_enum, default_value_t)]
        existing: Existing,
    },
}

/// What an import does with what is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Existing {
    /// Take the file's.
    #[default]
    Overwrite,
    /// Keep what is there.
    Skip,
    /// Stop there.
    Fail,
}

impl VariablesCommand {
    pub async fn run(self, client: &Client, format: Format) -> Result<()> {
        match self {
            Self::List { limit } => {
                let variables = client.list(&["variables"], &[], "variables", limit).await?;
                format.list(&variables, &[("key", "/key"), ("value", "/value"), ("description", "/description")])
            }
            Self::Get { key } => {
                let variable = client.get(&["variables", &key], &[]).await?;
                match (format, variable.get("value").and_then(Value::as_str)) {
                    (Format::Table, Some(value)) => output::print(&format!("{value}\n")),
                    _ => format.object(&variable),
                }
            }
            Self::Set { key, value, description } => {
                let value = if value == "-" { read_text(&PathBuf::from("-"))? } else { value };
                let variable = body(&key, &Value::String(value), description.map(Value::String));
                put(client, "variables", &key, &variable, Existing::Overwrite).await.map(|_| ())
            }
            Self::Delete { key } => client.delete(&["variables", &key]).await,
            Self::Import { file, existing } => {
                let variables = read_object(&file)?;
                let mut done = 0;
                for (key, value) in &variables {
                    let variable = match value.as_object().filter(|object| is_described(object)) {
                        Some(object) => body(key, &object["value"], object.get("description").cloned()),
                        None => body(key, value, None),
                    };
                    done += usize::from(put(client, "variables", key, &variable, existing).await?);
                }
                note(&format!("{done} of {} variables imported", variables.len()));
                Ok(())
            }
        }
    }
}

/// Whether an imported value is `{"value": ..., "description": ...}` rather than a value that is an object.
fn is_described(object: &Map<String, Value>) -> bool {
    object.contains_key("value") && object.keys().all(|key| key == "value" || key == "description")
}

/// The API's form of a variable. Values that are not text are kept as JSON text, as Airflow does.
fn body(key: &str, value: &Value, description: Option<Value>) -> Value {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut body = json!({"key": key, "value": text});
    if let Some(description) = description {
        body["description"] = description;
    }
    body
}

/// Creates `noun/id`, or does with it what `existing` says; whether it was written.
pub async fn put(client: &Client, noun: &str, id: &str, body: &Value, existing: Existing) -> Result<bool> {
    let named = |error: CliError| error.in_front(format!("`{id}`"));
    match client.post(&[noun], body).await {
        Ok(_) => Ok(true),
        Err(error) if error.status() == Some(409) => match existing {
            Existing::Overwrite => client.patch(&[noun, id], body).await.map(|_| true).map_err(named),
            Existing::Skip => Ok(false),
            Existing::Fail => Err(named(error)),
        },
        Err(error) => Err(named(error)),
    }
}

/// The text of `file`; `-` is standard input.
fn read_text(file: &PathBuf) -> Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text));
    }
    std::fs::read_to_string(file).or_fail(Kind::Usage, || format!("can't read `{}`", file.display()))
}

/// The JSON object in `file`; `-` is standard input.
pub fn read_object(file: &PathBuf) -> Result<Map<String, Value>> {
    super::json_object(&read_text(file)?)
        .map_err(|why| CliError::text(Kind::Usage, format!("can't import `{}`: {why}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_text_become_json_text() {
        assert_eq!(body("k", &json!({"a": 1}), None), json!({"key": "k", "value": "{\"a\":1}"}));
        assert_eq!(body("k", &json!("v"), Some(json!("d"))), json!({"key": "k", "value": "v", "description": "d"}));
        let described = |value: Value| is_described(value.as_object().unwrap());
        assert!(described(json!({"value": 1, "description": null})));
        assert!(!described(json!({"value": 1, "other": 2})));
    }
}
