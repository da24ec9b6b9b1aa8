//! `cargo xtask fuzz` and `cargo xtask schemathesis`: tests that run for a moment in `cargo xtask test`, for as long as one likes.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{
    shell::{self, cargo, target_dir},
    tools,
};

#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// The targets whose name contains this only (they are the tests of `host/tests/fuzz`).
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// All that is random follows from this number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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

/// Feeds each reader for as long as was asked for, and prints how many inputs there were.
pub fn fuzz(args: &FuzzArgs) -> Result<()> {
    let mut tests = shown(&["--workspace", "--test", "fuzz"], args.target.as_deref());
    tests.env("AIRLOCK_FUZZ_SECONDS", args.seconds.to_string()).env("AIRLOCK_FUZZ_SEED", args.seed.to_string());
    shell::run(&mut tests)?;
    if args.components > 0 {
        let mut tests = black_box("made_up_components")?;
        shell::run(tests.env("AIRLOCK_FUZZ_COMPONENTS", args.components.to_string()))?;
    }
    Ok(())
}

/// Asks a real server whatever its document allows and forbids, and prints how many requests there were.
pub fn schemathesis(args: &SchemathesisArgs) -> Result<()> {
    let python = tools::python()?;
    let mut tests = black_box("openapi::")?;
    tests.env("AIRLOCK_TEST_PYTHON", python).env("AIRLOCK_SCHEMATHESIS_EXAMPLES", args.examples.to_string());
    shell::run(&mut tests)
}

/// Tests of the real binary.
fn black_box(filter: &str) -> Result<Command> {
    tools::wasm_target()?;
    let components = tools::components(&["tasks", "tests/hostile"])?;
    shell::run(&mut cargo(&["build", "--package", "airlock"]))?;
    let mut tests = shown(&["--workspace", "--test", "airlock"], Some(filter));
    tests.env("AIRLOCK_TEST_BIN", target_dir().join("debug").join("airlock")).env("AIRLOCK_TEST_WASM_DIR", components);
    Ok(tests)
}

/// `cargo test`, with what the tests print.
fn shown(which: &[&str], filter: Option<&str>) -> Command {
    let mut command = cargo(&["test", "--quiet"]);
    command.args(which).args(filter).args(["--", "--nocapture", "--test-threads", "1"]);
    command
}
