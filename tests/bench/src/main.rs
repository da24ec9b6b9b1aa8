//! The workloads of `cargo xtask bench`: the real binary under load, each figure beside what the machine can do at best.
//!
//! The physical limits are measured in the same run, as closely before the workload as can be: a loop of durable commits
//! in SQLite itself, a loop of instantiate-and-call in wasmtime itself, a compilation by wasmtime itself. Run it by
//! `cargo xtask bench`, which builds the release binary and the components and names them to the harness
//! (`AIRLOCK_TEST_BIN`, `AIRLOCK_TEST_WASM_DIR`).

mod bare;
mod cluster;
mod history;
mod http;
mod measure;
mod report;
mod retention;
mod workloads;

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

use clap::Parser;
use futures_util::FutureExt;

use crate::report::{Figure, Output};

/// Measures Airlock, each figure beside its physical limit.
#[derive(Debug, Parser)]
struct Args {
    /// How the figures are printed.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Several processes on PostgreSQL, instead of one on SQLite.
    #[arg(long)]
    postgres: bool,
    /// The workloads whose name contains this only.
    filter: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let wanted = |name: &str| match &args.filter {
        Some(filter) => name.contains(filter.as_str()),
        None => !workloads::LONG.contains(&name),
    };
    let mut figures: Vec<Figure> = Vec::new();
    let mut broken = Vec::new();
    for (name, workload) in workloads::all(args.postgres) {
        if !wanted(name) {
            continue;
        }
        let begin = Instant::now();
        // The harness panics where a test would fail; the other workloads still have something to say.
        match AssertUnwindSafe(workload).catch_unwind().await {
            Ok(measured) => {
                eprintln!("{name}: {:.1} s", begin.elapsed().as_secs_f64());
                for figure in &measured {
                    eprintln!("  {figure}");
                }
                figures.extend(measured);
            }
            Err(_) => broken.push(name),
        }
    }
    report::print(args.output, &figures);
    if broken.is_empty() && !figures.is_empty() {
        return ExitCode::SUCCESS;
    }
    let names: Vec<_> = workloads::all(args.postgres).into_iter().map(|(name, _)| name).collect();
    if figures.is_empty() && broken.is_empty() {
        eprintln!("no workload is named so; there are {}", names.join(", "));
    } else {
        eprintln!("broken: {}", broken.join(", "));
    }
    ExitCode::FAILURE
}
