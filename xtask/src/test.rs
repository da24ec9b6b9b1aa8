//! `cargo xtask test`.

use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    shell::{self, Stream, cargo, run_watched, say, target_dir},
    supply, tools,
};

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Run the tests whose name contains this only, without format, lints and documentation.
    filter: Option<String>,
}

/// Passed and failed tests.
#[derive(Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
}

/// Does everything that CI does, in one order: what is cheap to find out comes first. Nothing is skipped in silence.
pub fn run(args: &TestArgs) -> Result<()> {
    if args.filter.is_none() {
        run_cargo(&["fmt", "--all", "--check"])?;
        supply::check()?;
    }
    tools::wasm_target()?;
    tools::browser()?;
    tools::databases()?;
    let python = tools::python()?;
    if args.filter.is_none() {
        run_cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    }
    let components = tools::components(&["tasks", "tests/guests", "tests/hostile", "tests/shapes"])?;
    // The same selection of packages as the tests: cargo builds each dependency once.
    run_cargo(&["build", "--workspace", "--all-targets"])?;

    let mut count = Count::default();
    let mut all_well = true;
    let has_nextest = tools::is_installed("cargo-nextest");
    let stream = if has_nextest { Stream::Err } else { Stream::Out };
    let mut test = |tests: &mut Command| {
        tests.args(&args.filter);
        tests
            .env("AIRLOCK_TEST_BIN", target_dir().join("debug").join("airlock"))
            .env("AIRLOCK_TEST_WASM_DIR", &components)
            .env("AIRLOCK_TEST_PYTHON", &python);
        run_watched(tests, stream, |line| count.read(line))
    };
    if has_nextest {
        all_well &= test(&mut cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]))?;
        all_well &= test(
            with_postgres()
                .args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"])
                .args(["-E", ON_POSTGRES]),
        )?;
    } else {
        say("cargo-nextest is not installed: the tests run with `cargo test`, one file after the other");
        all_well &= test(&mut cargo(&["test", "--workspace", "--all-targets", "--no-fail-fast"]))?;
        all_well &= test(with_postgres().args(["test", "--package", "airlock", "--lib", "--no-fail-fast"]))?;
    }

    if args.filter.is_none() {
        let mut docs = cargo(&["test", "--doc", "--package", "airlock-sdk"]);
        all_well &= run_watched(&mut docs, Stream::Out, |line| count.read(line))?;
    }

    println!("\n{} passed, {} failed", count.passed, count.failed);
    if !all_well || count.failed > 0 {
        bail!("some tests failed");
    }
    if count.passed == 0 {
        bail!("no test has that name");
    }
    Ok(())
}

/// What is tested again on PostgreSQL: all that reads and writes the database, but what is about SQLite's disk or the
/// sources, and what starts databases of its own.
const ON_POSTGRES: &str = "(package(airlock) & kind(lib) & test(/^(store|scheduler|api|ui|vault|executor)::/)) \
    | (package(airlock-tests) & kind(test) & !test(/^(chaos|cluster|kubernetes|rooms|upgrade)::/) & !test(a_full_disk) & !test(python_tasks))";

/// `cargo ...`, beside a server of PostgreSQL whose database `AIRLOCK_TEST_DATABASE_URL` names.
fn with_postgres() -> Command {
    let mut command = Command::new(target_dir().join("debug/examples/with_postgres"));
    command.current_dir(shell::root()).arg(env!("CARGO"));
    command
}

fn run_cargo(args: &[&str]) -> Result<()> {
    shell::run(&mut cargo(args))
}

impl Count {
    /// Takes what a runner's summary says: `Summary [ 1.2s] 9 tests run: 8 passed, 1 failed` or
    /// `test result: ok. 8 passed; 1 failed; ...`.
    fn read(&mut self, line: &str) {
        // nextest colours its words when it thinks that a terminal reads them.
        let plain: String = without_colors(line);
        let Some(numbers) = plain
            .trim_start()
            .strip_prefix("Summary [")
            .and_then(|rest| rest.split_once("run:").map(|(_, numbers)| numbers))
            .or_else(|| {
                plain.strip_prefix("test result:").and_then(|rest| rest.split_once('.').map(|(_, after)| after))
            })
        else {
            return;
        };
        for part in numbers.split([',', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" | "timed" => self.failed += number,
                _ => {}
            }
        }
    }
}

fn without_colors(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_read() {
        let mut count = Count::default();
        count.read("     Summary [   0.044s] 12 tests run: 11 passed (1 slow), 1 failed, 10 skipped");
        count.read("\u{1b}[32;1m     Summary\u{1b}[0m [   0.044s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped");
        count.read("test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        count.read("test result of something else");
        assert_eq!((count.passed, count.failed), (16, 3));
    }
}
