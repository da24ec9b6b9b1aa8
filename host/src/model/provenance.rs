//! What a component says of where it comes from: who built it, with which tools, of which packages.
//!
//! All of it is the component's own word: shown, never trusted, and nothing is decided by it. What a signature vouches for is
//! [`signers`](super::signers).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Of each list at most; more are counted.
pub const MAX_PRODUCERS: usize = 200;
pub const MAX_PACKAGES: usize = 5_000;
/// A name, a version.
const MAX_WORD_CHARS: usize = 200;
/// What people read, as a description.
const MAX_TEXT_CHARS: usize = 1_000;

/// Read once, at the upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// What `wasm-tools metadata add` writes, and registries show: `authors`, `description`, `homepage`, `licenses`, `revision`,
    /// `source`, `version`.
    pub labels: BTreeSet<Label>,
    /// Languages and tools, of all modules in it, as the section `producers` says.
    pub producers: BTreeSet<Producer>,
    /// The packages that it was built of, as `cargo auditable` embeds them; null: it embeds no list.
    pub packages: Option<BTreeSet<Package>>,
    /// What is there and can't be shown, and why.
    pub notes: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// A language or a tool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Producer {
    /// `language`, `processed-by` or `sdk`.
    pub field: String,
    pub name: String,
    pub version: String,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// `crates.io`, `local`, `git`, `registry` or what else it says.
    pub source: String,
    /// Whether it was needed to build, and is not in the code.
    pub is_build: bool,
}

/// The JSON of `cargo auditable`, of which other fields are left out
/// (<https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md>).
#[derive(Deserialize)]
struct Auditable {
    packages: Vec<AuditablePackage>,
}

#[derive(Deserialize)]
struct AuditablePackage {
    name: String,
    version: String,
    source: String,
    #[serde(default)]
    kind: Option<String>,
}

/// Text of at most `most` characters, none of which does anything but be seen.
fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

impl Provenance {
    pub fn label(&mut self, name: &str, value: &str) {
        // A section is there once; of several the first in the order of letters is as good as any, and one is bounded.
        if !self.labels.iter().any(|label| label.name == name) {
            self.labels.insert(Label { name: name.to_owned(), value: shown(value, MAX_TEXT_CHARS) });
        }
    }

    pub fn producer(&mut self, field: &str, name: &str, version: &str) {
        let word = |text| shown(text, MAX_WORD_CHARS);
        let producer = Producer { field: word(field), name: word(name), version: word(version) };
        if self.producers.len() < MAX_PRODUCERS {
            self.producers.insert(producer);
        } else if !self.producers.contains(&producer) {
            self.note(&format!("more than {MAX_PRODUCERS} languages and tools are named; the rest is not shown"));
        }
    }

    /// Adds the packages of a list as `cargo auditable` writes it, unpacked.
    ///
    /// # Errors
    /// If it is not such a list.
    pub fn auditable(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        let list: Auditable = serde_json::from_slice(json)?;
        let packages = self.packages.get_or_insert_default();
        let word = |text: &str| shown(text, MAX_WORD_CHARS);
        let mut is_cut = false;
        for package in list.packages {
            let package = Package {
                name: word(&package.name),
                version: word(&package.version),
                source: word(&package.source),
                is_build: package.kind.as_deref() == Some("build"),
            };
            if packages.len() < MAX_PACKAGES {
                packages.insert(package);
            } else {
                is_cut |= !packages.contains(&package);
            }
        }
        if is_cut {
            self.note(&format!("more than {MAX_PACKAGES} packages are named; the rest is not shown"));
        }
        Ok(())
    }

    /// Something is there that can't be shown.
    pub fn note(&mut self, note: &str) {
        if self.notes.len() < MAX_PRODUCERS {
            self.notes.insert(shown(note, MAX_TEXT_CHARS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_and_bounded() {
        let mut provenance = Provenance::default();
        let list = r#"{"packages": [
            {"name": "task", "version": "0.1.0", "source": "local", "root": true, "dependencies": [1]},
            {"name": "serde", "version": "1.0.228", "source": "crates.io"},
            {"name": "cc", "version": "1.2.0", "source": "crates.io", "kind": "build"}
        ], "format": 8}"#;
        provenance.auditable(list.as_bytes()).unwrap();
        let packages: Vec<_> = provenance.packages.iter().flatten().map(|p| (p.name.as_str(), p.is_build)).collect();
        assert_eq!(packages, [("cc", true), ("serde", false), ("task", false)]);

        let many: Vec<_> = (0..=MAX_PACKAGES)
            .map(|n| serde_json::json!({"name": format!("p{n}"), "version": "1", "source": "\u{1b}[2J<b>".repeat(100)}))
            .collect();
        provenance.auditable(serde_json::json!({"packages": many}).to_string().as_bytes()).unwrap();
        let packages = provenance.packages.clone().unwrap();
        assert_eq!(packages.len(), MAX_PACKAGES);
        assert!(packages.iter().all(|p| p.source.chars().count() <= 200 && !p.source.contains('\u{1b}')));
        assert_eq!(provenance.notes.len(), 1);
        assert!(provenance.auditable(b"[]").is_err());
    }

    #[test]
    fn who_names_much_is_shown_a_bounded_part() {
        let mut provenance = Provenance::default();
        for n in 0..1_000 {
            provenance.producer("processed-by", &format!("tool {n}"), &"1".repeat(1_000));
            provenance.label("version", &"2".repeat(10_000));
            provenance.note(&format!("note {n}"));
        }
        assert_eq!((provenance.producers.len(), provenance.labels.len()), (MAX_PRODUCERS, 1));
        assert!(provenance.notes.len() <= MAX_PRODUCERS);
        assert!(serde_json::to_vec(&provenance).unwrap().len() < 200_000);
    }
}
