//! `cargo xtask bench`.

use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    shell::{self, cargo, target_dir},
    tools,
};

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// How the figures are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Several processes on PostgreSQL, instead of one on SQLite.
    #[arg(long)]
    postgres: bool,
    /// The workloads whose name contains this only.
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Builds the release binary and hands it to the package `airlock-bench`.
pub fn run(args: &BenchArgs) -> Result<()> {
    tools::wasm_target()?;
    let components = tools::components(&["tasks"])?;
    shell::run(&mut cargo(&["build", "--release", "--package", "airlock", "--package", "airlock-bench"]))?;
    let release = target_dir().join("release");
    let mut bench = Command::new(release.join("airlock-bench"));
    bench.env("AIRLOCK_TEST_BIN", release.join("airlock")).env("AIRLOCK_TEST_WASM_DIR", components);
    if matches!(args.output, Output::Json) {
        bench.args(["--output", "json"]);
    }
    if args.postgres {
        tools::databases()?;
        bench.arg("--postgres");
    }
    bench.args(&args.filter);
    shell::run(&mut bench)
}
