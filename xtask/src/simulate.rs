//! `cargo xtask simulate`.

use anyhow::Result;
use clap::Args;

use crate::shell::{self, cargo};

#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// How many histories are played.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Plays this one again.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

/// Plays histories against the scheduler's loop, in virtual time. Fails if one breaks a promise, and names it.
pub fn run(args: &SimulateArgs) -> Result<()> {
    // The same selection of packages as all tests: cargo builds each dependency once.
    let mut test = cargo(&["test", "--workspace", "--lib", "--", "promises_hold_over_any_history", "--nocapture"]);
    match args.seed {
        Some(seed) => test.env("AIRLOCK_TEST_SEED", seed.to_string()),
        None => test.env("AIRLOCK_TEST_SEEDS", args.seeds.to_string()),
    };
    shell::run(&mut test)
}
