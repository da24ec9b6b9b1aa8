//! What we depend on, against `deny.toml` and the advisories that `tests/advisories.toml` holds.
//!
//! cargo-deny and cargo-audit would do the same; to build them takes longer than all our tests, and a test that fetches a database from
//! GitHub fails where only registries can be reached. So the questions are asked here, of `cargo metadata` and Cargo.lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use semver::{Version, VersionReq};
use serde_json::Value;
use toml::{Table, Value as Toml};

use crate::shell::{self, cargo, root};

/// The platform that is supported; what only others need is not built, and not looked at.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Debug, Args)]
pub struct AdvisoriesArgs {
    /// A checkout of <https://github.com/rustsec/advisory-db>.
    folder: PathBuf,
}

/// A crate that somebody else made.
#[derive(Debug)]
struct Package {
    name: String,
    version: Version,
    license: String,
    source: String,
}

/// Writes down which advisories there are about crates of Cargo.lock.
pub fn advisories(args: &AdvisoriesArgs) -> Result<()> {
    let names: BTreeSet<String> = locked()?.into_iter().map(|(name, _)| name).collect();
    let mut text = "# Advisories of https://github.com/rustsec/advisory-db about crates that Cargo.lock names: what `cargo xtask test` \
                    compares with.\n# Written by `cargo xtask advisories FOLDER`, from a checkout of that repository.\n"
        .to_owned();
    let mut count = 0;
    for name in &names {
        let folder = args.folder.join("crates").join(name);
        let files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let files: BTreeSet<_> = files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
        for path in files {
            if let Some(entry) = entry(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())? {
                write!(text, "\n[[advisory]]\n{entry}")?;
                count += 1;
            }
        }
    }
    if count == 0 {
        bail!("there are no advisories in `{}`; is it a checkout of advisory-db?", args.folder.display());
    }
    fs::write(root().join("tests/advisories.toml"), text)?;
    println!("{count} advisories about {} crates", names.len());
    Ok(())
}

/// Refuses what `deny.toml` does not allow, and what an advisory is about.
pub fn check() -> Result<()> {
    let found = findings()?;
    if !found.is_empty() {
        bail!("what we depend on is not as deny.toml wants it:\n{}", found.join("\n"));
    }
    Ok(())
}

/// An advisory in our words; none if it was withdrawn.
fn entry(text: &str) -> Result<Option<String>> {
    let head = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```"));
    let (head, rest) = head.context("it has no head in TOML")?;
    let head: Table = head.parse()?;
    let advisory = head["advisory"].as_table().context("it has no `advisory`")?;
    if advisory.contains_key("withdrawn") {
        return Ok(None);
    }
    let title = rest.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default().trim();
    let mut kept = Table::new();
    for name in ["id", "package", "informational"] {
        if let Some(value) = advisory.get(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    kept.insert("title".to_owned(), title.into());
    for name in ["patched", "unaffected"] {
        let versions = head.get("versions").and_then(|versions| versions.get(name));
        kept.insert(name.to_owned(), versions.cloned().unwrap_or_else(|| Toml::Array(Vec::new())));
    }
    Ok(Some(toml::to_string(&kept)?))
}

/// Names and versions in Cargo.lock of what is not ours.
fn locked() -> Result<Vec<(String, Version)>> {
    let lock: Table = fs::read_to_string(root().join("Cargo.lock"))?.parse()?;
    let packages = lock["package"].as_array().context("Cargo.lock has no packages")?;
    let others = packages.iter().filter(|package| package.get("source").is_some());
    others
        .map(|package| {
            let text = |field: &str| package[field].as_str().context("a package has a name and a version");
            Ok((text("name")?.to_owned(), text("version")?.parse()?))
        })
        .collect()
}

/// What is built for our platform, and is not ours.
fn packages() -> Result<Vec<Package>> {
    let command = ["metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", PLATFORM];
    let metadata: Value = serde_json::from_str(&shell::read(&mut cargo(&command))?)?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` has no packages")?;
    let others = packages.iter().filter(|package| package["source"].is_string());
    others
        .map(|package| {
            let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
            let version = text("version").parse()?;
            Ok(Package { name: text("name"), version, license: text("license"), source: text("source") })
        })
        .collect()
}

fn read(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(root().join(path)).with_context(|| path.display().to_string())?;
    text.parse().with_context(|| path.display().to_string())
}

/// The texts of a list, or those that its entries have in `field`.
fn texts<'a>(list: Option<&'a Toml>, field: &'a str) -> Vec<&'a str> {
    let entries = list.and_then(Toml::as_array).map_or(&[][..], Vec::as_slice);
    entries.iter().filter_map(|entry| entry.as_str().or_else(|| entry.get(field)?.as_str())).collect()
}

/// Whether an expression of SPDX can be met by what is in `allowed`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let allowed = any(&words, &mut at, allowed);
    allowed && at == words.len()
}

fn any(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut is_met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_met |= all(words, at, allowed);
    }
    is_met
}

fn all(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut is_met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        is_met &= one(words, at, allowed);
    }
    is_met
}

fn one(words: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let is_met = any(words, at, allowed);
        *at += 1;
        return is_met;
    }
    let mut name = (*word).to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{name} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name.as_str())
}

/// Whether an advisory is about `version`: it is in none of the ranges that are not.
fn concerns(advisory: &Toml, version: &Version) -> Result<bool> {
    for field in ["patched", "unaffected"] {
        for range in texts(advisory.get(field), "") {
            // `>= 1.2, < 2` of the database is what cargo reads, too.
            if VersionReq::parse(range)?.matches(version) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// What is wrong with what we depend on; nothing, if all is well.
fn findings() -> Result<Vec<String>> {
    let deny = read(Path::new("deny.toml"))?;
    let part =
        |name: &str| deny.get(name).and_then(Toml::as_table).with_context(|| format!("deny.toml has no `{name}`"));
    let (licenses, bans, sources) = (part("licenses")?, part("bans")?, part("sources")?);
    let allowed = texts(licenses.get("allow"), "");
    let banned = texts(bans.get("deny"), "crate");
    let registries = texts(sources.get("allow-registry"), "");
    let mut found = Vec::new();
    let mut versions: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for package in packages()? {
        let Package { name, version, license, source } = package;
        if !is_allowed(&license, &allowed) {
            found.push(format!("{name} {version} has the licence `{license}`, which deny.toml does not allow"));
        }
        if !registries.iter().any(|registry| source == format!("registry+{registry}")) {
            found.push(format!("{name} {version} comes from `{source}`, which deny.toml does not allow"));
        }
        if banned.contains(&name.as_str()) {
            found.push(format!("{name} {version} is banned by deny.toml"));
        }
        versions.entry(name).or_default().insert(version);
    }
    found.extend(duplicates(&versions, &texts(bans.get("skip"), "crate")));

    let ignored = texts(part("advisories")?.get("ignore"), "id");
    let locked = locked()?;
    let stored = read(Path::new("tests/advisories.toml"))?;
    let mut unused: BTreeSet<_> = ignored.iter().copied().collect();
    for advisory in stored["advisory"].as_array().context("there are no advisories")? {
        let text = |field: &str| advisory.get(field).and_then(Toml::as_str).unwrap_or_default();
        for (name, version) in locked.iter().filter(|(name, _)| name == text("package")) {
            if !concerns(advisory, version)? {
                continue;
            }
            unused.remove(text("id"));
            if !ignored.contains(&text("id")) {
                found.push(format!("{name} {version}: {} {} ({})", text("id"), text("title"), text("informational")));
            }
        }
    }
    found.extend(unused.into_iter().map(|id| format!("deny.toml ignores {id}, which concerns nothing any more")));
    Ok(found)
}

/// Crates of which there are two versions, but those of `skip`, as `name@version`; and what of `skip` there is no more.
fn duplicates(versions: &BTreeMap<String, BTreeSet<Version>>, skip: &[&str]) -> Vec<String> {
    let is_skipped = |name: &str, version: &Version| {
        skip.contains(&format!("{name}@{}.{}.{}", version.major, version.minor, version.patch).as_str())
    };
    let mut found = Vec::new();
    for (name, versions) in versions {
        let left: Vec<_> = versions.iter().filter(|version| !is_skipped(name, version)).collect();
        if left.len() > 1 {
            found.push(format!(
                "there are {} versions of {name}: {left:?}; use one, or say why not in deny.toml",
                left.len()
            ));
        }
    }
    for entry in skip {
        let (name, version) = entry.split_once('@').unwrap_or((entry, ""));
        let is_needed = versions.get(name).is_some_and(|all| {
            all.len() > 1
                && all.iter().any(|found| format!("{}.{}.{}", found.major, found.minor, found.patch) == version)
        });
        if !is_needed {
            found.push(format!("deny.toml skips {entry}, which is no second version of anything any more"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_depend_on_is_allowed_and_no_advisory_is_about_it() {
        check().unwrap();
    }

    #[test]
    fn licences_are_read_as_spdx_writes_them() {
        let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "ISC"];
        for (expression, met) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("(GPL-3.0 OR ISC) AND MIT", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("GPL-3.0 OR (MIT AND LGPL-2.1)", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed), met, "{expression}");
        }
    }

    #[test]
    fn an_advisory_is_about_what_is_neither_patched_nor_unaffected() {
        let advisory: Toml =
            toml::from_str::<Table>("patched = [\">= 1.2.3, < 2\", \">= 2.1\"]\nunaffected = [\"< 0.5\"]")
                .unwrap()
                .into();
        for (version, is) in
            [("0.4.9", false), ("0.5.0", true), ("1.2.2", true), ("1.2.3", false), ("2.0.0", true), ("2.1.0", false)]
        {
            assert_eq!(concerns(&advisory, &version.parse().unwrap()).unwrap(), is, "{version}");
        }
        let markdown = "```toml\n[advisory]\nid = \"RUSTSEC-1\"\npackage = \"x\"\n[versions]\npatched = [\">= 1\"]\n```\n\n# It is bad\n";
        let kept: Table = entry(markdown).unwrap().unwrap().parse().unwrap();
        assert_eq!((kept["title"].as_str(), kept["id"].as_str()), (Some("It is bad"), Some("RUSTSEC-1")));
        assert!(entry("```toml\n[advisory]\nid = \"a\"\nwithdrawn = \"2026-01-01\"\n```\n").unwrap().is_none());
    }

    #[test]
    fn two_versions_need_a_reason() {
        let versions =
            |all: &[&str]| BTreeMap::from([("x".to_owned(), all.iter().map(|one| one.parse().unwrap()).collect())]);
        assert!(duplicates(&versions(&["1.0.0"]), &[]).is_empty());
        assert_eq!(duplicates(&versions(&["1.0.0", "2.0.0"]), &[]).len(), 1);
        assert!(duplicates(&versions(&["1.0.0+meta", "2.0.0"]), &["x@1.0.0"]).is_empty());
        assert_eq!(duplicates(&versions(&["2.0.0"]), &["x@1.0.0"]).len(), 1);
    }
}
