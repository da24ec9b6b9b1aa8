//! `airlock variables`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use reqwest::Method;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    client::Client,
    error::{CliError, Kind, OrFail, Result},
    local::LocalArgs,
    output::{self, Format, note},
};
use crate::{
    model::{ids::VariableKey, time::Clock},
    secrets::place,
    store::{Like, Order, Page, VariableRow},
    vault::Vault,
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
    /// Create a variable, or change one: without --description its description stays.
    Set {
        key: String,
        /// Its value; `-` reads standard input, so that it stands in no command line.
        value: String,
        /// What it is for; an empty text takes away what is there.
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
    /// Print all variables, with their values, as Airflow's JSON. Works on the data directory: the API shows no secrets.
    Export(LocalArgs),
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
    pub async fn run(self, client: impl FnOnce() -> Result<Client>, format: Format) -> Result<()> {
        match self {
            Self::List { limit } => {
                let variables = client()?.list(&["variables"], &[], "variables", limit).await?;
                format.list(&variables, &[("key", "/key"), ("value", "/value"), ("description", "/description")])
            }
            Self::Get { key } => {
                let variable = client()?.get(&["variables", &key], &[]).await?;
                match (format, variable.get("value").and_then(Value::as_str)) {
                    (Format::Table, Some(value)) => output::print(&format!("{value}\n")),
                    _ => format.object(&variable),
                }
            }
            Self::Set { key, value, description } => {
                let value = if value == "-" { read_text(Path::new("-"))? } else { value };
                let given: &[&str] = if description.is_some() { &["value", "description"] } else { &["value"] };
                let variable = Variable { key, value, description: description.filter(|text| !text.is_empty()) };
                set(&client()?, "variables", &variable.key, &variable.body(), given).await
            }
            Self::Delete { key } => client()?.delete(&["variables", &key]).await,
            Self::Import { file, existing } => {
                let (client, variables) = (client()?, read(&file)?);
                let bodies = variables.iter().map(|variable| (variable.key.as_str(), variable.body()));
                import(&client, "variables", bodies, existing).await
            }
            Self::Export(local) => export(&local.open().await?).await,
        }
    }
}

/// A variable as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub key: String,
    pub value: String,
    pub description: Option<String>,
}

impl Variable {
    /// One of Airflow's JSON. Values that are not text become JSON text, with all digits of their numbers.
    fn imported(key: String, json: &RawValue) -> Self {
        let object: Fields<'_> = serde_json::from_str(json.get()).unwrap_or_default();
        let (value, description) = match object.get("value") {
            Some(value) if is_described(object.keys()) => (*value, object.get("description").copied()),
            _ => (json, None),
        };
        let text = |json: &RawValue| serde_json::from_str(json.get()).unwrap_or_else(|_| compact(json.get()));
        let description = description.filter(|description| description.get() != "null").map(text);
        Self { key, value: text(value), description }
    }

    /// One of Airflow's JSON, such that it is imported as it was: JSON only where it is the very same text.
    fn exported(self) -> (String, Value) {
        let parsed = serde_json::from_str::<Value>(&self.value).ok().filter(|value| !value.is_string());
        let written = parsed.as_ref().map(Value::to_string);
        let value = parsed.filter(|_| written.as_ref() == Some(&self.value)).unwrap_or(Value::String(self.value));
        let is_ambiguous = value.as_object().is_some_and(|object| is_described(object.keys()));
        let value = match self.description {
            Some(description) => json!({"value": value, "description": description}),
            None if is_ambiguous => json!({"value": value}),
            None => value,
        };
        (self.key, value)
    }

    /// The API's form. It names all fields: one that is left out would stay what it is.
    fn body(&self) -> Value {
        json!({"key": self.key, "value": self.value, "description": self.description})
    }

    /// Stores it in the database itself.
    pub async fn put(self, vault: &Vault) -> Result<()> {
        let key = VariableKey::new(&self.key).map_err(|error| CliError::new(Kind::Usage, error))?;
        let sealed = vault.secrets().seal(&place::variable(&key), self.value.as_bytes());
        let row = VariableRow { key, sealed, description: self.description, updated_at: Clock.now() };
        vault.store().variable_put(&row).await.or_fail(Kind::Failed, || "can't store the variable".into())
    }
}

/// A JSON object whose values are as they were written.
type Fields<'a> = IndexMap<String, &'a RawValue>;

/// Whether an imported value of these keys is `{"value": ..., "description": ...}` rather than a value that is an object.
fn is_described<'a>(mut keys: impl Iterator<Item = &'a String> + Clone) -> bool {
    keys.clone().any(|key| key == "value") && keys.all(|key| key == "value" || key == "description")
}

/// `json` without the blanks between its parts.
fn compact(json: &str) -> String {
    let (mut in_text, mut is_escaped) = (false, false);
    let is_kept = |letter: &char| {
        let was_in_text = in_text;
        in_text ^= *letter == '"' && !is_escaped;
        is_escaped = in_text && *letter == '\\' && !is_escaped;
        was_in_text || !letter.is_ascii_whitespace()
    };
    json.chars().filter(is_kept).collect()
}

/// The variables in `file`; `-` is standard input.
pub fn read(file: &Path) -> Result<Vec<Variable>> {
    let text = read_text(file)?;
    let fields: Fields<'_> = serde_json::from_str(&text).map_err(|error| {
        CliError::text(Kind::Usage, format!("can't import `{}`: it must be a JSON object: {error}", file.display()))
    })?;
    Ok(fields.into_iter().map(|(key, json)| Variable::imported(key, json)).collect())
}

async fn export(vault: &Vault) -> Result<()> {
    let failed = || "can't read the variables".into();
    let mut all = Map::new();
    loop {
        let page = Page { limit: 1000, offset: u32::try_from(all.len()).unwrap_or(u32::MAX) };
        let rows = vault
            .store()
            .variable_list(&Like::default(), Order::Ascending, page)
            .await
            .or_fail(Kind::Failed, failed)?
            .items;
        let is_last = rows.len() < 1000;
        for row in rows {
            let value =
                vault.secrets().unseal(&place::variable(&row.key), &row.sealed).or_fail(Kind::Failed, failed)?;
            let key = row.key.as_str().to_owned();
            let variable = Variable { key, value: value.expose().to_owned(), description: row.description };
            all.extend([variable.exported()]);
        }
        if is_last {
            return output::json(&Value::Object(all));
        }
    }
}

/// Creates or changes things of `noun`. One that is refused does not keep the others from being imported.
///
/// # Errors
/// If one was refused, or the server can't be asked.
pub async fn import<'a>(
    client: &Client,
    noun: &str,
    bodies: impl ExactSizeIterator<Item = (&'a str, Value)>,
    existing: Existing,
) -> Result<()> {
    let (all, mut done, mut refused) = (bodies.len(), 0, Vec::new());
    for (id, body) in bodies {
        match put(client, noun, id, &body, existing).await {
            Ok(is_written) => done += usize::from(is_written),
            Err(error) if error.kind() == Kind::Refused && existing != Existing::Fail => refused.push(error),
            Err(error) => return Err(error),
        }
    }
    let imported = format!("{done} of {all} {noun} imported");
    let Some(last) = refused.pop() else {
        note(&imported);
        return Ok(());
    };
    for error in refused {
        note(&error.to_string());
    }
    Err(last.hint(imported))
}

/// Creates `noun/id`, or does with it what `existing` says; whether it was written.
async fn put(client: &Client, noun: &str, id: &str, body: &Value, existing: Existing) -> Result<bool> {
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

/// Creates `noun/id`, or changes those fields of it that are `given`: the others stay what they are.
pub async fn set(client: &Client, noun: &str, id: &str, body: &Value, given: &[&str]) -> Result<()> {
    let named = |error: CliError| error.in_front(format!("`{id}`"));
    match client.post(&[noun], body).await {
        Ok(_) => Ok(()),
        // A mask that names nothing would mean all fields.
        Err(error) if error.status() == Some(409) && given.is_empty() => Ok(()),
        Err(error) if error.status() == Some(409) => {
            let mask: Vec<_> = given.iter().map(|field| ("update_mask", (*field).to_owned())).collect();
            let request = client.request(Method::PATCH, &[noun, id], &mask)?.json(body);
            client.send(request).await.map(|_| ()).map_err(named)
        }
        Err(error) => Err(named(error)),
    }
}

/// The text of `file`; `-` is standard input.
fn read_text(file: &Path) -> Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text));
    }
    std::fs::read_to_string(file).or_fail(Kind::Usage, || format!("can't read `{}`", file.display()))
}

/// The JSON object in `file`; `-` is standard input.
pub fn read_object(file: &Path) -> Result<Map<String, Value>> {
    super::json_object(&read_text(file)?)
        .map_err(|why| CliError::text(Kind::Usage, format!("can't import `{}`: {why}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(json: &str) -> Variable {
        Variable::imported("k".into(), serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_exported_is_imported_as_it_was() {
        for value in [
            "text",
            "12",
            "1.50",
            "{\"a\":1}",
            "{\"a \\\" \\\\\":[1, 2]}",
            "{\"a b\":[1.5,\" \"]}",
            "{ \"a\": 1 }",
            "\"quoted\"",
            "{\"value\":1}",
            "",
            "null",
        ] {
            for description in [None, Some("words".to_owned())] {
                let variable = Variable { key: "k".into(), value: value.into(), description };
                let (_, exported) = variable.clone().exported();
                assert_eq!(imported(&serde_json::to_string_pretty(&exported).unwrap()), variable);
            }
        }
    }

    #[test]
    fn values_that_are_not_text_become_json_text() {
        let variable = imported(r#"{"a": 1}"#);
        assert_eq!(variable.body(), json!({"key": "k", "value": "{\"a\":1}", "description": null}));
        let variable = imported(r#"{"value": "v", "description": null}"#);
        assert_eq!(variable.body(), json!({"key": "k", "value": "v", "description": null}));
    }

    #[test]
    fn numbers_keep_all_their_digits() {
        for (json, value) in [
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("0.12345678901234567890", "0.12345678901234567890"),
            (r#"{"value": 18446744073709551616}"#, "18446744073709551616"),
            (r#"{"a \\\" b": [18446744073709551616, 1.50]}"#, r#"{"a \\\" b":[18446744073709551616,1.50]}"#),
        ] {
            assert_eq!(imported(json).value, value);
        }
    }
}
