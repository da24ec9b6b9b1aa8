//! Runs a command beside an S3 server, whose bucket `AIRLOCK_TEST_S3_URL` names, with credentials in `AWS_*`:
//! `cargo run --package airlock-tests --example with_s3 -- sh -c 'airlock serve --storage-url "$AIRLOCK_TEST_S3_URL"'`

use std::process::{Command, ExitCode};

use airlock_tests::s3::Bucket;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("with_s3 COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let bucket = Bucket::local().await;
    let mut command = Command::new(&program);
    command.args(words).env("AIRLOCK_TEST_S3_URL", &bucket.url).envs(bucket.env.iter().cloned());
    // The server is in this process, and answers meanwhile.
    match tokio::task::spawn_blocking(move || command.status()).await {
        Ok(Ok(status)) if status.success() => ExitCode::SUCCESS,
        Ok(Ok(_)) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            eprintln!("{} can't be started: {error}", program.display());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
