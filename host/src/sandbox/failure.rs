//! Why a guest did not come to its end, in words for its author.

use wasmtime::{Error, PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::guest::Guest;

/// Why a guest did not come to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    /// The guest's functions, innermost first.
    pub backtrace: Vec<String>,
}

const MAX_FRAMES: usize = 50;
/// So many calls of a function in a backtrace (wasmtime keeps 20 frames) are recursion.
const RECURSIVE_FRAMES: usize = 8;
const MAX_FRAME_CHARS: usize = 300;
/// More than is kept of stderr: a secret in it is not cut before it is hidden.
const MAX_MESSAGE_CHARS: usize = 5_000;

/// Explains `error`, with which a call into the guest of `store` ended.
pub fn explain(error: &Error, store: &Store<Guest>) -> Failure {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(backtrace).unwrap_or_default();
    let guest = store.data();
    // A guest that ran into a limit of memory mostly aborts without a word of its own.
    let mut message = if let Some(denied) = guest.limiter.denied {
        denied.to_string()
    } else if let Some(exit) = error.downcast_ref::<I32Exit>() {
        // All that WASI 0.2 tells of an exit code is whether it was 0.
        let code = if exit.0 == 0 { "0" } else { "a code other than 0" };
        format!("the task called exit with {code}; it must return its outcome")
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        match trap {
            Trap::StackOverflow => exhausted(&backtrace),
            // A guest's own stack lies at the start of its memory, and ends with this trap.
            Trap::MemoryOutOfBounds if recursion(&backtrace).is_some() => exhausted(&backtrace),
            Trap::UnreachableCodeReached => guest
                .attempt
                .log()
                .last_words()
                .unwrap_or_else(|| "the task aborted (it reached `unreachable`)".to_owned()),
            other => other.to_string(),
        }
    } else {
        let cause = error.root_cause().to_string();
        // Wasmtime keeps this error's type to itself.
        if cause.starts_with("too much data is being copied") {
            let limit = store.hostcall_fuel() >> 20;
            format!("the task handed more to the host in one call than it may; the limit is {limit} MiB")
        } else {
            cause
        }
    };
    if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
        message.truncate(at);
    }
    Failure { message, backtrace }
}

/// Whether `error` says nothing about the guest: the pool had no room.
pub fn is_no_room(error: &Error) -> bool {
    error.is::<PoolConcurrencyLimitError>()
}

fn exhausted(backtrace: &[String]) -> String {
    let who = recursion(backtrace).map_or_else(|| "a function".to_owned(), |name| format!("`{name}`"));
    format!("the call stack is exhausted; does {who} call itself for ever?")
}

/// The function that calls itself again and again, if one does; also by way of others.
fn recursion(backtrace: &[String]) -> Option<&str> {
    let calls = |name: &String| backtrace.iter().filter(|frame| *frame == name).count();
    backtrace.iter().find(|name| calls(name) >= RECURSIVE_FRAMES).map(String::as_str)
}

fn backtrace(trace: &WasmBacktrace) -> Vec<String> {
    let mut frames = Vec::new();
    for frame in trace.frames() {
        // Functions that were inlined into the frame's own come first; only debug information knows them.
        for symbol in frame.symbols() {
            if let Some(name) = symbol.name() {
                let place = match (symbol.file(), symbol.line()) {
                    (Some(file), Some(line)) => format!(" at {file}:{line}"),
                    _ => String::new(),
                };
                frames.push((demangled(name), place));
            }
        }
        if frame.symbols().iter().all(|symbol| symbol.name().is_none()) {
            let name = frame.func_name().map_or_else(|| format!("<function {}>", frame.func_index()), demangled);
            frames.push((name, String::new()));
        }
    }
    // A panic's way through the standard library tells nothing; if there is nothing else, it is better than nothing.
    let first = frames.iter().position(|(name, _)| !is_panic_machinery(name)).unwrap_or(0);
    frames
        .drain(first..)
        .take(MAX_FRAMES)
        .map(|(name, place)| format!("{name}{place}").chars().take(MAX_FRAME_CHARS).collect())
        .collect()
}

fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

fn is_panic_machinery(name: &str) -> bool {
    const PREFIXES: &[&str] = &[
        "std::panicking",
        "std::process::abort",
        "std::sys::",
        "std::rt::",
        "std::alloc::",
        "core::panicking",
        "core::option::unwrap_failed",
        "core::option::expect_failed",
        "core::result::unwrap_failed",
        "core::slice::index::",
        "alloc::alloc::handle_alloc_error",
        "alloc::raw_vec::",
        "__rust",
        "rust_",
        "abort",
        "panic_",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
