//! `cargo xtask fuzz` and `cargo xtask schemathesis`: tests that run for a moment in `cargo xtask test`, for as long as one likes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    shell::{self, Stream, cargo, root, run_watched, target_dir},
    tools,
};

#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// The targets whose name contains this only (they are listed in `tests/fuzz/src/lib.rs`).
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What is random follows from this number, as far as coverage does not say otherwise.
    #[arg(long, default_value_t = 1)]
    seed: u32,
    /// Read this file once, as the target does that is named, instead of making inputs.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// How many components are made up and uploaded to a real server, too.
    #[arg(long, default_value_t = 0)]
    components: u32,
}

#[derive(Debug, Args)]
pub struct SchemathesisArgs {
    /// Requests that are made up for each operation, at most.
    #[arg(long, default_value_t = 200)]
    examples: u32,
}

/// An input that takes longer hangs.
const HANG_SECONDS: u64 = 10;
/// One that takes longer is told of as slow.
const SLOW_SECONDS: u64 = 2;
/// Memory that reading one input may take, with all that the process has already.
const MAX_RSS_MIB: u64 = 4_096;
/// As `MAX_INPUT_BYTES` of `tests/fuzz`.
const MAX_INPUT_BYTES: usize = 64 << 10;

/// Feeds each reader for as long as was asked for, and prints how many inputs there were and what they reached.
pub fn fuzz(args: &FuzzArgs) -> Result<()> {
    if args.components > 0 {
        let mut tests = black_box("made_up_components")?;
        shell::run(tests.env("AIRLOCK_FUZZ_COMPONENTS", args.components.to_string()))?;
        if args.target.is_none() {
            return Ok(());
        }
    }
    let binary = fuzzer()?;
    let all = shell::read(&mut Command::new(&binary))?;
    let wanted = args.target.as_deref().unwrap_or_default();
    let targets: Vec<&str> = match all.lines().find(|name| *name == wanted) {
        Some(exactly) => vec![exactly],
        None => all.lines().filter(|name| name.contains(wanted)).collect(),
    };
    if let Some(input) = &args.input {
        let [target] = targets[..] else { bail!("`{wanted}` is not one target; there are:\n{all}") };
        let input = fs::canonicalize(input).with_context(|| input.display().to_string())?;
        return shell::run(Command::new(&binary).env("AIRLOCK_FUZZ_TARGET", target).arg(input));
    }
    if targets.is_empty() {
        bail!("no target has `{wanted}` in its name; there are:\n{all}");
    }
    let mut told = Vec::new();
    let mut found = Vec::new();
    for target in targets {
        let run = Run::new(target, &binary, args)?;
        told.push(run.to_string());
        found.extend(run.found);
    }
    println!("\n{}", told.join("\n"));
    if !found.is_empty() {
        let again: Vec<_> = found.iter().map(|(target, path)| again(target, path)).collect();
        bail!(
            "what was found is read again by\n{}\nput it into `tests/fuzz/seeds` when it is mended",
            again.join("\n")
        );
    }
    Ok(())
}

fn again(target: &str, input: &Path) -> String {
    format!("  cargo xtask fuzz {target} --input {}", input.display())
}

/// Builds what libFuzzer drives: our crates anew, with coverage; what they depend on is that of the tests. Of code that others wrote
/// it is seen what is generic, as serde's, and what comes back.
fn fuzzer() -> Result<PathBuf> {
    tools::cxx()?;
    let mut build = cargo(&["build", "--workspace", "--example", "libfuzzer", "--features", "airlock-fuzz/libfuzzer"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", root().join("xtask/cover.sh")).env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    shell::run(&mut build)?;
    Ok(target_dir().join("debug/examples/libfuzzer"))
}

/// What a target came to.
#[derive(Debug, Default)]
struct Run {
    target: String,
    executions: u64,
    seconds: u64,
    /// Edges of the code that were taken.
    edges: u64,
    /// Inputs that are kept, because they reached what none had reached.
    kept: usize,
    /// Inputs that made it panic, hang or take all memory, and slow ones.
    found: Vec<(String, PathBuf)>,
}

impl Run {
    fn new(target: &str, binary: &Path, args: &FuzzArgs) -> Result<Self> {
        let folder = target_dir().join("fuzz-corpus").join(target);
        let (corpus, finds, scratch) = (folder.join("corpus"), folder.join("found"), folder.join("scratch"));
        let _ = fs::remove_dir_all(&scratch);
        for made in [&corpus, &finds, &scratch] {
            fs::create_dir_all(made)?;
        }
        let before = files(&finds)?;
        let seeds = root().join("tests/fuzz/seeds").join(target);
        let mut command = Command::new(binary);
        command
            .env("AIRLOCK_FUZZ_TARGET", target)
            .env("AIRLOCK_FUZZ_FOLDER", &folder)
            // What the fuzzer leaves goes with the folder.
            .env("TMPDIR", &scratch)
            .current_dir(&scratch)
            // New inputs are written to the first folder.
            .args([&corpus, &folder.join("more")])
            .args(Some(seeds).filter(|seeds| seeds.is_dir()))
            .arg(format!("-dict={}", folder.join("words").display()))
            .arg(format!("-artifact_prefix={}/", finds.display()))
            .args([
                format!("-max_total_time={}", args.seconds),
                format!("-seed={}", args.seed),
                format!("-max_len={MAX_INPUT_BYTES}"),
                format!("-timeout={HANG_SECONDS}"),
                format!("-report_slow_units={SLOW_SECONDS}"),
                format!("-rss_limit_mb={MAX_RSS_MIB}"),
                "-print_final_stats=1".to_owned(),
            ]);
        let mut run = Self { target: target.to_owned(), seconds: args.seconds, ..Self::default() };
        let is_well = run_watched(&mut command, Stream::Err, |line| run.read(line))?;
        fs::remove_dir_all(&scratch)?;
        run.kept = files(&corpus)?.len();
        let new = files(&finds)?.into_iter().filter(|path| !before.contains(path));
        run.found = new.map(|path| (target.to_owned(), path)).collect();
        if !is_well && run.found.is_empty() {
            bail!("the fuzzer of `{target}` failed, and left no input");
        }
        Ok(run)
    }

    /// Takes what libFuzzer says: `#512 NEW cov: 120 ft: 200 ...` and, at the end, `stat::number_of_executed_units: 512`.
    fn read(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        if let Some(executions) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = executions.trim().parse().unwrap_or(self.executions);
        } else if line.starts_with('#') && words.any(|word| word == "cov:") {
            self.edges = words.next().and_then(|edges| edges.parse().ok()).unwrap_or(self.edges);
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, executions, seconds, edges, kept, found } = self;
        let found = found.len();
        write!(
            f,
            "fuzz {target}: {executions} executions in {seconds} s, {edges} edges, {kept} inputs kept, {found} found"
        )
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// Asks a real server whatever its document allows and forbids, and prints how many requests there were.
pub fn schemathesis(args: &SchemathesisArgs) -> Result<()> {
    let python = tools::python()?;
    let mut tests = black_box("openapi::")?;
    tests.env("AIRLOCK_TEST_PYTHON", python).env("AIRLOCK_SCHEMATHESIS_EXAMPLES", args.examples.to_string());
    shell::run(&mut tests)
}

/// Tests of the real binary, with what they print.
fn black_box(filter: &str) -> Result<Command> {
    tools::wasm_target()?;
    let components = tools::components(&["tasks", "tests/hostile"])?;
    let airlock = tools::airlock(false)?;
    let mut tests = cargo(&["test", "--quiet", "--workspace", "--test", "airlock", filter]);
    tests.args(["--", "--nocapture", "--test-threads", "1"]);
    tests.env("AIRLOCK_TEST_BIN", airlock).env("AIRLOCK_TEST_WASM_DIR", components);
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let mut run = Run { target: "cron".into(), seconds: 3, ..Run::default() };
        for line in [
            "INFO: Loaded 1 PC tables (12 PCs): 12 [0x1,0x2),",
            "#2\tINITED cov: 11 ft: 12 corp: 1/1b exec/s: 0 rss: 30Mb",
            "#512\tNEW    cov: 120 ft: 200 corp: 3/9b lim: 4 exec/s: 0 rss: 31Mb L: 3/3 MS: 1 CopyPart-",
            "Done 600 runs in 3 second(s)",
            "stat::number_of_executed_units: 600",
            "stat::average_exec_per_sec:     200",
        ] {
            run.read(line);
        }
        assert_eq!(run.to_string(), "fuzz cron: 600 executions in 3 s, 120 edges, 0 inputs kept, 0 found");
    }
}
