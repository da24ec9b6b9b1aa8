//! The project's own commands: `cargo xtask demo | test | bench | chaos | simulate | fuzz | schemathesis | advisories`.

mod bench;
mod chaos;
mod demo;
mod fuzz;
mod shell;
mod simulate;
mod supply;
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
    /// Feeds all that reads what others wrote with what nobody would write, for as long as is asked for.
    Fuzz(fuzz::FuzzArgs),
    /// Asks a real server whatever its OpenAPI document allows and forbids.
    Schemathesis(fuzz::SchemathesisArgs),
    /// Writes the advisories about what we depend on into the repository, from a checkout of RustSec's database.
    Advisories(supply::AdvisoriesArgs),
    /// Measures the release build, each figure beside its physical limit.
    Bench(bench::BenchArgs),
    /// Lets processes, databases and connections die by chance, and checks what Airlock promises.
    Chaos(chaos::ChaosArgs),
    /// Plays thousands of histories against the scheduler's loop in virtual time, with a database that fails.
    Simulate(simulate::SimulateArgs),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Demo(args) => demo::run(&args),
        Xtask::Test(args) => test::run(&args),
        Xtask::Fuzz(args) => fuzz::fuzz(&args),
        Xtask::Schemathesis(args) => fuzz::schemathesis(&args),
        Xtask::Advisories(args) => supply::advisories(&args),
        Xtask::Bench(args) => bench::run(&args),
        Xtask::Chaos(args) => chaos::run(&args),
        Xtask::Simulate(args) => simulate::run(&args),
    }
}
