//! Guest code: compiled, described and run, in child processes of the same binary. This room is all that such a child is.
//!
//! A child holds no secret, no environment, no file and no network. It limits itself by the operating system before it
//! looks at a guest's bytes, so that killing it is always safe and is never needed for a well-formed guest.
//!
//! # The compiler: `airlock compile-child`
//!
//! One process for each upload.
//!
//! | | |
//! | --- | --- |
//! | argv | `airlock compile-child` |
//! | environment | empty (`env_clear`) |
//! | fd 0 | the wasm, from its first byte to end of file; a pipe or a socket |
//! | fd 1 | one frame, [`Compiled`](crate::wire::Compiled); then the child exits with code 0 |
//! | fd 2 | text for whoever looks for a fault of the child itself; keep the last few KiB |
//!
//! The child refuses more than [`MAX_COMPONENT_BYTES`] and answers before it has read the rest, so a writer must expect a
//! broken pipe and still read the answer. Reading, compiling and describing take at most [`COMPILE_CPU_S`] seconds of CPU and
//! [`COMPILE_WALL_S`] seconds of wall clock; the child watches both, and its memory, and answers `Refused` itself. As a last
//! resort the system ends it: an exit without a frame (a signal, or another code) means that the component asked for too
//! much memory or time, or that there is a bug here. The supervisor should kill it [`COMPILE_WALL_S`] + 5 s after its start.
//! A child whose parent is gone ends by itself within a tenth of a second.
//!
//! `Compiled::Ready.code` is native code for this build of airlock on this machine's CPU. It must come back to a runner byte for byte
//! (the supervisor authenticates what it caches); a runner that can't use it answers `LoadFailed`, and then the supervisor
//! compiles again.
//!
//! # The runner: `airlock run-child SLOTS [THREADS]`
//!
//! Long-lived; any number of components, up to `SLOTS` attempts at a time. `THREADS` is the number of cores by default.
//!
//! | | |
//! | --- | --- |
//! | argv | `airlock run-child 256` |
//! | environment | empty |
//! | fd 0 | a pipe: [`ToRunner`](crate::wire::ToRunner) |
//! | fd 1 | a pipe: [`FromRunner`](crate::wire::FromRunner) |
//! | fd 2 | text about faults of the runner itself |
//!
//! ```text
//! supervisor                          runner
//!     | <--------------------- Ready    |   first frame, after the engine is up and the system's filters are on
//!     | Load{digest, code} ---------->  |   no answer if it went well; else LoadFailed, and its runs end as NotRun
//!     | Run{attempt 1} -------------->  |   may follow at once: frames are taken in order
//!     | <----------- Log, Call{call 1}  |
//!     | Reply{attempt 1, call 1} ---->  |   in any order; `StreamDrop` is not answered
//!     | <------------- Tape{attempt 1}  |   only of an attempt that is recorded
//!     | <------------- Done{attempt 1}  |   the last frame of an attempt; its store and slot are free
//!     | Kill{attempt 2} ------------->  |   Done{Killed}, unless its Done was already under way
//!     | Ping ------------------------>  |   Pong, behind the frames that wait
//!     | (closes its end) ------------>  |   the runner exits at once with code 0, whatever runs
//! ```
//!
//! - More than `SLOTS` attempts at a time end as `NotRun`; so does one whose component is not loaded.
//! - Replies and kills for attempts that are over are ignored; an attempt may end (timeout, kill) while its calls are under way.
//! - When an attempt is over the supervisor drops what the attempt left open (writers, readers, responses): `StreamDrop` is sent
//!   for what the guest dropped itself only.
//! - The runner always reads its pipe, so a supervisor may write without fear of a deadlock. Its own output is bounded: guests
//!   wait when the supervisor reads slowly.
//! - A guest that is busy in its own code gives way each millisecond, so replies and kills of others are served.
//! - Limits of [`Limits`](crate::wire::Limits) are kept here; what a runner says about them is not proof of anything.
//! - A frame that can't be read, or a panic of the runner's own, ends the process with a code other than 0: all its attempts are lost.

mod attempt;
mod bindings;
mod check;
mod compiler;
mod confine;
mod describe;
mod engine;
mod failure;
mod guest;
mod imports;
mod last_words;
mod log;
mod meter;
mod provenance;
mod runner;
mod tape;
#[cfg(test)]
mod testing;
mod ticker;

use std::process::ExitCode;

pub use check::check;
pub use provenance::read as provenance;

use crate::{model::build::Build, wire::PROTOCOL};

/// The largest component that is taken.
pub const MAX_COMPONENT_BYTES: usize = 64 << 20;

/// CPU seconds for checking, compiling and describing one component.
pub const COMPILE_CPU_S: u64 = 60;

/// Wall-clock seconds for the same.
pub const COMPILE_WALL_S: u64 = 120;

/// What compiled code has to fit: the compiler, its settings and this machine's CPU. Two processes with the same fingerprint can run each
/// other's code, whatever their versions are.
///
/// # Errors
/// If wasmtime does not run on this machine.
fn fingerprint() -> Result<String, wasmtime::Error> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    engine::compiler()?.precompile_compatibility_hash().hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

/// What this process is, for others that it works with.
///
/// # Errors
/// If wasmtime does not run on this machine.
pub fn build() -> Result<Build, wasmtime::Error> {
    Ok(Build { version: env!("CARGO_PKG_VERSION").into(), protocol: PROTOCOL, code: fingerprint()? })
}

/// The process `airlock compile-child`. To be called before anything else in `main`: no thread may exist yet.
pub fn compiler_main() -> ExitCode {
    compiler::main()
}

/// The process `airlock run-child`; `args` are those that follow. To be called before anything else in `main`.
pub fn runner_main(args: impl IntoIterator<Item = String>) -> ExitCode {
    runner::main(args)
}
