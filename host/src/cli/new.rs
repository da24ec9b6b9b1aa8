//! `airlock new`: a task project that builds and tests at once, without a network: the SDK comes with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rust_embed::Embed;
use toml::{Table, Value};

use super::{
    error::{CliError, Kind, OrFail, Result},
    output::note,
};

/// The project's own files. They are a project themselves, called [`TEMPLATE_NAME`], so that they are tested.
#[derive(Embed)]
#[folder = "../sdk/template"]
struct Template;

/// The SDK that this binary was built with.
#[derive(Embed)]
#[folder = "../sdk"]
#[include = "src/*"]
#[include = "macros/src/*"]
struct Sdk;

const TEMPLATE_NAME: &str = "airlock-template";
/// How the template names the SDK, and how a project does.
const SDK_PATHS: (&str, &str) = ("path = \"..\"", "path = \"vendor/airlock-sdk\"");

const SDK_MANIFEST: &str = include_str!("../../../sdk/Cargo.toml");
const MACROS_MANIFEST: &str = include_str!("../../../sdk/macros/Cargo.toml");
const WORKSPACE_MANIFEST: &str = include_str!("../../../Cargo.toml");
/// The crates' versions that the SDK was tested with. Cargo removes what the project does not need.
const LOCK: &str = include_str!("../../../Cargo.lock");
const CONTRACT: &str = include_str!("../../../wit/task.wit");

#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Where to make the project; its last part is the project's name.
    #[arg(value_name = "NAME")]
    path: PathBuf,
}

impl NewArgs {
    pub fn run(self) -> Result<()> {
        // `.` has no name of its own.
        let named = if self.path.file_name().is_none() { fs::canonicalize(&self.path) } else { Ok(self.path.clone()) };
        let named = named.or_fail(Kind::Usage, || format!("can't use `{}`", self.path.display()))?;
        let name = named.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        check_name(name)?;
        if fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(CliError::text(Kind::Refused, format!("`{}` is there and not empty", self.path.display()))
                .hint("choose another name, or remove it"));
        }
        for (path, text) in project(name).or_fail(Kind::Failed, || "can't read the SDK in this binary".into())? {
            let path = self.path.join(path);
            write(&path, &text).or_fail(Kind::Failed, || format!("can't write `{}`", path.display()))?;
        }
        note(&format!(
            "made `{}`; next:\n  cd {}\n  cargo test\n  cargo build --release --target wasm32-wasip2",
            self.path.display(),
            shell_word(&self.path.to_string_lossy())
        ));
        Ok(())
    }
}

/// `text` as a shell reads it as one word.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@%:,=".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A name that is a package, and (with `_` for `-`) a Rust function and a dag.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let is_fine = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_plain) && name.len() <= 64;
    // Words of Rust and of the template, and what cargo refuses as a package's name.
    let is_taken = [
        "as",
        "async",
        "await",
        "break",
        "const",
        "continue",
        "crate",
        "dyn",
        "else",
        "enum",
        "extern",
        "false",
        "fn",
        "for",
        "gen",
        "if",
        "impl",
        "in",
        "let",
        "loop",
        "match",
        "mod",
        "move",
        "mut",
        "pub",
        "ref",
        "return",
        "self",
        "static",
        "struct",
        "super",
        "trait",
        "true",
        "try",
        "type",
        "unsafe",
        "use",
        "where",
        "while",
        "abstract",
        "become",
        "box",
        "do",
        "final",
        "macro",
        "override",
        "priv",
        "typeof",
        "unsized",
        "virtual",
        "yield",
        "test",
        "tests",
        "core",
        "std",
        "alloc",
        "proc-macro",
        "proc_macro",
        "extract",
        "total",
        "report",
        "artifacts",
    ];
    if is_fine && !is_taken.contains(&name) {
        return Ok(());
    }
    Err(CliError::text(Kind::Usage, format!("`{name}` can't be a project's name"))
        .hint("use lower-case letters, digits, `-` and `_`, as `daily-sales`"))
}

/// The files of a project, by path.
fn project(name: &str) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let ident = |name: &str| name.replace('-', "_");
    let mut files = Vec::new();
    for path in Template::iter().filter(|path| path != "Cargo.lock" && !path.starts_with("target/")) {
        let mut text = text_of(Template::get(&path))?;
        if path == "Cargo.toml" {
            // A workspace of its own, wherever it is made.
            text = text.replace(SDK_PATHS.0, SDK_PATHS.1) + "\n[workspace]\n";
        }
        let text = text.replace(TEMPLATE_NAME, name).replace(&ident(TEMPLATE_NAME), &ident(name));
        files.push((path.as_ref().into(), text));
    }
    let sdk = Path::new("vendor").join("airlock-sdk");
    for path in Sdk::iter() {
        files.push((sdk.join(path.as_ref()), text_of(Sdk::get(&path))?));
    }
    files.push((sdk.join("Cargo.toml"), stand_alone(SDK_MANIFEST, "macros")?));
    files.push((sdk.join("macros").join("Cargo.toml"), stand_alone(MACROS_MANIFEST, ".")?));
    files.push((Path::new("vendor").join("wit").join("task.wit"), CONTRACT.to_owned()));
    files.push(("Cargo.lock".into(), LOCK.replace(TEMPLATE_NAME, name)));
    Ok(files)
}

fn text_of(file: Option<rust_embed::EmbeddedFile>) -> anyhow::Result<String> {
    let file = file.ok_or_else(|| anyhow::anyhow!("a file is gone"))?;
    Ok(String::from_utf8(file.data.into_owned())?)
}

/// A manifest of this workspace, made to stand without it: what it inherits is written out.
fn stand_alone(manifest: &str, macros: &str) -> anyhow::Result<String> {
    let mut manifest: Table = manifest.parse()?;
    let root: Table = WORKSPACE_MANIFEST.parse()?;
    let workspace = root.get("workspace").and_then(Value::as_table).cloned().unwrap_or_default();
    let part = |name: &str| workspace.get(name).and_then(Value::as_table).cloned().unwrap_or_default();

    manifest.remove("dev-dependencies");
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        inherit(package, &part("package"));
    }
    let mut dependencies = part("dependencies");
    dependencies
        .insert("airlock-sdk-macros".into(), Value::Table([("path".to_owned(), macros.into())].into_iter().collect()));
    if let Some(own) = manifest.get_mut("dependencies").and_then(Value::as_table_mut) {
        inherit(own, &dependencies);
    }
    for (_, target) in manifest.get_mut("target").and_then(Value::as_table_mut).into_iter().flatten() {
        if let Some(own) = target.get_mut("dependencies").and_then(Value::as_table_mut) {
            inherit(own, &dependencies);
        }
    }
    if manifest.contains_key("lints") {
        manifest.insert("lints".into(), Value::Table(part("lints")));
    }
    Ok(toml::to_string(&manifest)?)
}

/// Replaces each `key = { workspace = true }` by the workspace's.
fn inherit(table: &mut Table, workspace: &Table) {
    for (key, value) in table.iter_mut() {
        let Some(own) = value.as_table().filter(|own| own.contains_key("workspace")) else { continue };
        let Some(mut inherited) = workspace.get(key).cloned() else { continue };
        if let Some(features) = own.get("features") {
            if let Value::String(version) = inherited {
                inherited = Value::Table([("version".to_owned(), Value::String(version))].into_iter().collect());
            }
            if let Some(table) = inherited.as_table_mut() {
                table.insert("features".into(), features.clone());
            }
        }
        *value = inherited;
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_stands_alone_under_its_own_name() {
        let files = project("daily-sales").unwrap();
        for (path, text) in &files {
            assert!(!text.contains(TEMPLATE_NAME), "{}", path.display());
            if path.ends_with("Cargo.toml") {
                let leaves = ["\"..\"", "workspace = true"].iter().any(|mark| text.contains(mark));
                assert!(!leaves, "{}:\n{text}", path.display());
            }
        }
        for expected in
            ["src/lib.rs", ".gitignore", "vendor/airlock-sdk/src/lib.rs", "vendor/airlock-sdk/macros/src/lib.rs"]
        {
            assert!(files.iter().any(|(path, _)| path == Path::new(expected)), "{expected}");
        }
    }

    #[test]
    fn names_that_rust_or_cargo_refuse_are_refused() {
        for name in ["", "Sales", "9lives", "a b", "../x", "test", "fn", "é"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        check_name("daily-sales_2").unwrap();
    }
}
