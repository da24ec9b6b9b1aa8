//! Rooms of the host import downwards only. The reasons stand in ARCHITECTURE.md.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use airlock_tests::build::root;

struct Room {
    name: &'static str,
    /// Rooms that it may import, besides `model`.
    rooms: &'static [&'static str],
    /// Crates that it must not name, and why.
    never: &'static [(&'static str, &'static str)],
}

const NO_IO: &[(&str, &str)] = &[
    ("tokio", "model and engine are pure: the same events give the same commands"),
    ("sqlx", "model and engine are pure: the same events give the same commands"),
    ("axum", "model and engine are pure: the same events give the same commands"),
    ("rand", "randomness is an argument"),
    ("wasmtime", "guests run in the child processes only"),
];
const NO_SQL: (&str, &str) = ("sqlx", "SQL stands in the rooms `store` and `databases` only");
const NO_HTTP: (&str, &str) = ("axum", "HTTP is the business of `api` and `ui`");
const NO_WASM: (&str, &str) = ("wasmtime", "guests run in the child processes of `sandbox` only");

const ROOMS: &[Room] = &[
    Room { name: "model", rooms: &[], never: NO_IO },
    Room { name: "engine", rooms: &[], never: NO_IO },
    Room { name: "store", rooms: &[], never: &[NO_HTTP, NO_WASM] },
    Room { name: "telemetry", rooms: &[], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "blobs", rooms: &[], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "secrets", rooms: &[], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "wire", rooms: &[], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "backup", rooms: &["store", "blobs", "telemetry"], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "sandbox", rooms: &["wire"], never: &[NO_SQL, NO_HTTP] },
    Room { name: "vault", rooms: &["store", "secrets"], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "connections", rooms: &["store", "blobs", "secrets", "vault"], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    // Its SQL is that of tasks, in databases of others.
    Room { name: "databases", rooms: &["secrets", "connections"], never: &[NO_HTTP, NO_WASM] },
    Room {
        name: "executor",
        rooms: &["wire", "store", "blobs", "secrets", "vault", "connections", "databases", "telemetry"],
        never: &[NO_SQL, NO_HTTP, NO_WASM],
    },
    Room { name: "notifier", rooms: &["store", "secrets", "connections", "telemetry"], never: &[NO_SQL, NO_WASM] },
    Room {
        name: "scheduler",
        rooms: &["engine", "store", "blobs", "vault", "executor", "notifier", "telemetry"],
        never: &[NO_SQL, NO_HTTP, NO_WASM],
    },
    Room { name: "pods", rooms: &["scheduler", "telemetry"], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room { name: "auth", rooms: &["store", "secrets"], never: &[NO_SQL, NO_HTTP, NO_WASM] },
    Room {
        name: "api",
        rooms: &["scheduler", "store", "blobs", "secrets", "vault", "auth", "telemetry"],
        never: &[NO_SQL, NO_WASM],
    },
    Room {
        name: "ui",
        rooms: &["scheduler", "store", "blobs", "secrets", "vault", "auth", "api"],
        never: &[NO_SQL, NO_WASM],
    },
];

#[test]
fn rooms_import_downwards_only() {
    let source = root().join("host").join("src");
    let mut complaints = String::new();
    for room in ROOMS {
        for file in rust_files(&source.join(room.name)) {
            // Tests stand on whatever they need.
            if file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let shown = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            for named in rooms_named(text) {
                let is_fine = named == room.name || named == "model" || room.rooms.contains(&named.as_str());
                if !is_fine && ROOMS.iter().any(|room| room.name == named) {
                    let _ = writeln!(complaints, "{shown}: `{}` must not know `{named}`", room.name);
                }
            }
            for (krate, why) in room.never {
                if text.lines().any(|line| names_crate(line, krate)) {
                    let _ = writeln!(complaints, "{shown}: `{}` must not use `{krate}`: {why}", room.name);
                }
            }
        }
    }
    assert!(complaints.is_empty(), "\n{complaints}");
}

#[test]
fn the_api_of_clusters_is_known_to_one_room() {
    let source = root().join("host").join("src");
    // What holds the manifests of the docs against Kubernetes' own types; a test.
    let deployments = source.join("cli").join("deployments.rs");
    let is_other = |file: &PathBuf| !file.starts_with(source.join("pods")) && *file != deployments;
    for file in rust_files(&source).into_iter().filter(is_other) {
        let text = fs::read_to_string(&file).unwrap();
        let named = text.lines().find(|line| ["kube", "k8s_openapi"].iter().any(|krate| names_crate(line, krate)));
        assert_eq!(named, None, "{}: only `pods` knows Kubernetes", file.display());
    }
}

#[test]
fn sign_in_by_a_provider_has_one_file() {
    for file in rust_files(&root().join("host").join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let is_its = file.ends_with("auth/oidc.rs");
        let names = text.lines().any(|line| names_crate(line, "openidconnect"));
        assert!(is_its || !names, "{}: only `auth/oidc.rs` knows `openidconnect`", file.display());
    }
}

#[test]
fn every_folder_of_the_host_is_a_room() {
    let known: BTreeSet<_> = ROOMS.iter().map(|room| room.name).chain(["cli"]).collect();
    for entry in fs::read_dir(root().join("host").join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!entry.path().is_dir() || known.contains(name.as_str()), "`{name}` is not a room; put it into ROOMS");
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The rooms that `text` names as `crate::room`, alone or in a `use crate::{...}`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut named = BTreeSet::new();
    for (at, mark) in code.match_indices("crate::") {
        let rest = &code[at + mark.len()..];
        match rest.strip_prefix('{') {
            None => named.insert(word(rest)),
            Some(group) => {
                let mut depth = 1;
                let mut start = 0;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || (depth == 1 && c == ',') {
                        named.insert(word(group[start..at].trim_start()));
                        start = at + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
                true
            }
        };
    }
    named.remove("");
    named
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn names_crate(line: &str, krate: &str) -> bool {
    let line = line.trim_start();
    if line.starts_with("//") {
        return false;
    }
    line.match_indices(&format!("{krate}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::{\n    model::{ids::DagId, time},\n    store::Store,\n};\n// use crate::ui::x;\nfn f() { crate::wire::g() }";
    let named: Vec<_> = rooms_named(text).into_iter().collect();
    assert_eq!(named, ["model", "store", "wire"]);
    assert!(names_crate("    sqlx::query(x)", "sqlx"));
    assert!(!names_crate("    my_sqlx::query(x)", "sqlx"));
}
