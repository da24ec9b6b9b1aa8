//! Whatever is sent in: everything that reads what others wrote is fed with what nobody would write.
//!
//! Each test is a target. It runs for [`AIRLOCK_FUZZ_SECONDS`](SECONDS) (a second, unless that says otherwise), from the seeds in
//! `seeds/TARGET/`, and fails if an input makes the reader panic, take longer than a second, or break what the target promises.
//! `cargo xtask fuzz [TARGET] [--seconds N]` runs them for long and tells how many inputs there were. The same
//! [`AIRLOCK_FUZZ_SEED`](SEED) gives the same inputs; what was found is written beside the seeds, to be kept.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking; clippy knows test functions only, not their targets")]

mod mutate;
mod server;
mod targets;

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use mutate::Mutator;

/// How long a target runs, in seconds.
const SECONDS: &str = "AIRLOCK_FUZZ_SECONDS";
/// A number that all that is random follows from.
const SEED: &str = "AIRLOCK_FUZZ_SEED";
/// An input that takes longer hangs, as far as somebody who waits can tell.
const HANG: Duration = Duration::from_secs(1);
/// Inputs that are remembered, because what came of them was new.
const MAX_CORPUS: usize = 5_000;
const MAX_INPUT_BYTES: usize = 64 << 10;

/// Reads one input. The answer is what came of it, in words: inputs whose words are new are built upon.
type Target = fn(&[u8]) -> String;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name)
}

/// What is left of words when what was quoted from the input is taken out: texts that differ in that only are the same.
fn outline(words: &str) -> String {
    let mut kept = String::new();
    let mut is_quoted = false;
    for c in words.chars().take(200) {
        is_quoted ^= matches!(c, '`' | '"' | '\'');
        if !is_quoted && c.is_ascii_lowercase() {
            kept.push(c);
        }
    }
    kept.truncate(60);
    kept
}

fn fuzz(name: &str, target: Target, more: Vec<Vec<u8>>) {
    let limit = Duration::from_secs(number(SECONDS).unwrap_or(1));
    let mut mutator = Mutator::new(number(SEED).unwrap_or(1));
    let mut corpus: Vec<Vec<u8>> = vec![Vec::new()];
    let mut files: Vec<_> =
        fs::read_dir(seeds(name)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    corpus.extend(files.iter().map(|path| fs::read(path).unwrap()));
    corpus.extend(more);
    let given = corpus.len();

    let (mut outcomes, mut executions) = (BTreeSet::new(), 0_u64);
    let start = Instant::now();
    // The seeds as they are come first: what was found once is tried each time.
    let mut fresh = 0;
    while fresh < corpus.len() || start.elapsed() < limit {
        let input = match corpus.get(fresh) {
            Some(seed) if fresh < given => seed.clone(),
            _ => mutator.of(&corpus, MAX_INPUT_BYTES),
        };
        fresh = (fresh + 1).min(corpus.len());
        executions += 1;
        let begun = Instant::now();
        let came = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let took = begun.elapsed();
        match came {
            Ok(words) if took < HANG => {
                if corpus.len() < MAX_CORPUS && outcomes.insert(outline(&words)) {
                    corpus.push(input);
                }
            }
            found => {
                let what = if found.is_err() { "panics" } else { "hangs" };
                let path = std::env::temp_dir().join(format!("airlock-fuzz-{name}-{what}-{executions}"));
                fs::write(&path, &input).unwrap();
                let shown = String::from_utf8_lossy(&input[..input.len().min(400)]).into_owned();
                panic!(
                    "`{name}` {what} ({took:?}); put `{}` into {}: {shown:?}",
                    path.display(),
                    seeds(name).display()
                );
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!("fuzz {name}: {executions} executions in {took:.1} s, {} outcomes, 0 crashes", outcomes.len());
}

macro_rules! targets {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name), targets::$name, targets::more(stringify!($name)));
        })*
    };
}

targets! {
    upload,
    described,
    frames,
    yaml,
    cron,
    timetable,
    template,
    templates_in_json,
    log_line,
    document,
    mask,
    redact,
    names,
    grants,
    address,
    proxies,
    connection,
    signature,
    instant,
    permissions,
    provenance,
    recording,
    claims,
    fleets,
    request,
}
