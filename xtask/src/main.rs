//! The project's own commands: `cargo xtask demo`, `cargo xtask test`, `cargo xtask bench`.

mod bench;
mod demo;
mod shell;
mod test;
mod tools;

use clap::Parser;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Xtask {
    /// Builds everything, starts Airlock on an empty folder, runs the example pipelines and keeps serving.
    Demo(demo::DemoArgs),
    /// Formats (check only), lints, builds and tests everything, on real servers and in a real browser.
    Test(test::TestArgs),
    /// Measures the release build, each figure beside its physical limit.
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Demo(args) => demo::run(&args),
        Xtask::Test(args) => test::run(&args),
        Xtask::Bench(args) => bench::run(&args),
    }
}
