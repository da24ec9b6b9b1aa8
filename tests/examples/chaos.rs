//! `cargo xtask chaos`, without the building.

use std::{process::ExitCode, time::Duration};

use airlock_tests::chaos::{self, Options};
use clap::Parser;

#[derive(Debug, Parser)]
struct Args {
    /// How long things go wrong.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The same faults in the same order.
    #[arg(long)]
    seed: u64,
    /// One server on SQLite.
    #[arg(long)]
    sqlite: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { seconds, seed, sqlite } = Args::parse();
    let report = chaos::run(Options { time: Duration::from_secs(seconds), seed, sqlite }).await;
    println!("{report}");
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
