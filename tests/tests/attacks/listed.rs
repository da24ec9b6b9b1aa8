//! `docs/attacks.md` against the list of attacks and against the tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use airlock_tests::build;
use serde_json::Value;

/// All code of the workspace's tests.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The rows of the page: what each says, and the tests that it names.
fn rows(page: &str) -> BTreeMap<String, (String, Vec<String>)> {
    let mut rows = BTreeMap::new();
    for line in
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id") && !line.starts_with("| ---"))
    {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, why, tests] = cells[..] else { panic!("a row has four cells: {line}") };
        let tests = tests.trim_end_matches('|').split(',').map(|name| name.trim().trim_matches('`').to_owned());
        let row = (why.to_owned(), tests.filter(|name| !name.is_empty()).collect());
        assert!(rows.insert(id.to_owned(), row).is_none(), "{id} stands there twice");
    }
    rows
}

#[test]
fn each_attack_has_a_test_or_a_reason() {
    let root = build::root();
    let list = fs::read_to_string(root.join("tests/conformance/attacks.json")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let known: BTreeSet<_> =
        list["cases"].as_array().unwrap().iter().map(|case| case["id"].as_str().unwrap()).collect();
    let page = rows(&fs::read_to_string(root.join("docs/attacks.md")).unwrap());
    let told: BTreeSet<_> = page.keys().map(String::as_str).collect();
    let untold: Vec<_> = known.difference(&told).collect();
    assert!(untold.is_empty(), "the page does not tell of {untold:?}");

    let mut code = String::new();
    for folder in ["tests/tests", "tests/fuzz", "host/tests", "host/src", "xtask/src"] {
        sources(&root.join(folder), &mut code);
    }
    let targets = fs::read_to_string(root.join("tests/fuzz/src/lib.rs")).unwrap();
    for (id, (why, tests)) in &page {
        assert!(!why.is_empty() || !tests.is_empty(), "{id} has neither a reason nor a test");
        for test in tests {
            let is_there = code.contains(&format!("fn {test}("));
            // Targets of the fuzzer are made by a macro.
            let is_target = targets.contains(&format!("            {test},\n"));
            assert!(is_there || is_target, "{id}: there is no test `{test}`");
        }
    }
    // What stands on the page besides is of the same kinds.
    let kinds: BTreeSet<_> = known.iter().map(|id| &id[..3]).collect();
    assert!(kinds.len() > 10 && told.iter().all(|id| kinds.contains(&id[..3])), "{told:?}");
}
