//! Each target for a moment: [`AIRLOCK_FUZZ_SECONDS`](SECONDS), a second unless that says otherwise.
//!
//! A test fails if an input makes its reader panic, or take longer than a second. What is built upon is what a reader said in words
//! that were new. The same [`AIRLOCK_FUZZ_SEED`](SEED) gives the same inputs.

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use airlock_fuzz::{MAX_INPUT_BYTES, each_target, more_seeds, mutate::Mutator, seeds, target};

/// How long a target runs, in seconds.
const SECONDS: &str = "AIRLOCK_FUZZ_SECONDS";
/// A number that all that is random follows from.
const SEED: &str = "AIRLOCK_FUZZ_SEED";
/// An input that takes longer hangs, as far as somebody who waits can tell.
const HANG: Duration = Duration::from_secs(1);
/// Inputs that are remembered, because what came of them was new.
const MAX_CORPUS: usize = 5_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
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

fn fuzz(name: &str) {
    let target = target(name).unwrap();
    let limit = Duration::from_secs(number(SECONDS).unwrap_or(1));
    let mut mutator = Mutator::new(number(SEED).unwrap_or(1));
    let mut corpus: Vec<Vec<u8>> = vec![Vec::new()];
    let mut files: Vec<_> =
        fs::read_dir(seeds(name)).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    corpus.extend(files.iter().map(|path| fs::read(path).unwrap()));
    corpus.extend(more_seeds(name));
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

macro_rules! tests {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*
    };
}

each_target!(tests);
