//! `cargo xtask chaos`.

use std::{process::Command, time::UNIX_EPOCH};

use anyhow::Result;
use clap::Args;

use crate::{
    shell::{self, cargo, target_dir},
    tools,
};

#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// How long things go wrong.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// The same faults in the same order [default: another each time, which is printed].
    #[arg(long)]
    seed: Option<u64>,
    /// One server on SQLite, instead of several processes on PostgreSQL.
    #[arg(long)]
    sqlite: bool,
    /// Build Airlock with all optimisations (takes some minutes more).
    #[arg(long)]
    release: bool,
}

/// Builds the binary and the components, and lets processes die. Fails if a promise was broken.
pub fn run(args: &ChaosArgs) -> Result<()> {
    tools::wasm_target()?;
    tools::databases()?;
    let components = tools::components(&["tasks", "tests/hostile", "tests/shapes"])?;
    let airlock = tools::airlock(args.release)?;
    shell::run(&mut cargo(&["build", "--workspace", "--example", "chaos"]))?;
    #[expect(clippy::disallowed_methods, reason = "any number will do")]
    let by_chance = || std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seed = args.seed.unwrap_or_else(by_chance);
    let mut chaos = Command::new(target_dir().join("debug/examples/chaos"));
    chaos.args(["--seconds", &args.seconds.to_string(), "--seed", &seed.to_string()]);
    if args.sqlite {
        chaos.arg("--sqlite");
    }
    chaos.env("AIRLOCK_TEST_BIN", airlock).env("AIRLOCK_TEST_WASM_DIR", components);
    shell::run(&mut chaos)
}
