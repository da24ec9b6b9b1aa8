//! A target, driven by libFuzzer: an input that reaches what none reached before is built upon. `cargo xtask fuzz` builds and runs it.
//!
//! [`TARGET`] names the target; without it, the names of all are printed. Into [`FOLDER`] go the inputs that a target begins with and
//! that are not files (`more/`), and words to build inputs of (`words`).
#![no_main]

use std::{env, fs, io, path::Path, process, sync::OnceLock};

use airlock_fuzz::{TARGETS, Target, more_seeds, mutate::WORDS, target};
use libfuzzer_sys::fuzz_target;
use tokio::signal::unix::{SignalKind, signal};

const TARGET: &str = "AIRLOCK_FUZZ_TARGET";
const FOLDER: &str = "AIRLOCK_FUZZ_FOLDER";

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Called before libFuzzer reads its options and inputs.
fn begin() {
    let Ok(name) = env::var(TARGET) else {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        process::exit(0);
    };
    let Some(chosen) = target(&name) else {
        eprintln!("there is no target `{name}`");
        process::exit(2);
    };
    let _ = CHOSEN.set(chosen);
    outlive_broken_pipes().expect("a signal can be handled");
    if let Some(folder) = env::var_os(FOLDER) {
        prepare(&name, folder.as_ref()).expect("xtask made the folder");
    }
}

/// A broken pipe is an error of who writes to it, as it is wherever `main` is Rust's; here it is libFuzzer's.
fn outlive_broken_pipes() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { signal(SignalKind::pipe()).map(drop) })
}

fn prepare(name: &str, folder: &Path) -> io::Result<()> {
    let more = folder.join("more");
    fs::create_dir_all(&more)?;
    for (at, input) in more_seeds(name).iter().enumerate() {
        fs::write(more.join(at.to_string()), input)?;
    }
    let words = WORDS.iter().map(|word| {
        let bytes: Vec<_> = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{}\"", bytes.concat())
    });
    fs::write(folder.join("words"), words.collect::<Vec<_>>().join("\n"))
}

fuzz_target!(init: begin(), |input: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        target(input);
    }
});
