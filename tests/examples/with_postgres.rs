//! Runs a command beside a PostgreSQL server, whose database `AIRLOCK_TEST_DATABASE_URL` names:
//! `cargo run --package airlock-tests --example with_postgres -- cargo nextest run ...`

use std::process::{Command, ExitCode};

use airlock_tests::postgres::Postgres;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("with_postgres COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let postgres = Postgres::start().await;
    let url = postgres.url(&postgres.database());
    match Command::new(&program).args(words).env("AIRLOCK_TEST_DATABASE_URL", url).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{} can't be started: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
