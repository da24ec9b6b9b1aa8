//! The `airlock` binary.

use std::process::ExitCode;

use airlock::{cli, sandbox};

fn main() -> ExitCode {
    // The children that a supervisor starts: nothing may run before they have limited themselves.
    match std::env::args().nth(1).as_deref() {
        Some("compile-child") => sandbox::compiler_main(),
        Some("run-child") => sandbox::runner_main(std::env::args().skip(2)),
        _ => cli::main(),
    }
}
