//! Whatever is sent in: everything that reads what others wrote is fed with what nobody would write.
//!
//! A target reads one input and panics if the reader breaks what the target promises. `tests/fuzz.rs` feeds each for a moment, with a
//! mutator of ours; `cargo xtask fuzz` for as long as one likes, with libFuzzer, which knows what an input reached (`examples/libfuzzer.rs`).
//! Both begin with `seeds/TARGET/`, where what was found is put, to be kept.

pub mod mutate;
mod server;
mod targets;

use std::path::PathBuf;

/// Reads one input. The answer is what came of it, in words.
pub type Target = fn(&[u8]) -> String;

/// Longer inputs are not made.
pub const MAX_INPUT_BYTES: usize = 64 << 10;

/// Calls a macro with the names of all targets.
#[macro_export]
macro_rules! each_target {
    ($act:ident) => {
        $act! {
            upload,
            described,
            frames,
            yaml,
            cron,
            timetable,
            template,
            templates_in_json,
            log_line,
            document,
            mask,
            redact,
            names,
            grants,
            address,
            proxies,
            connection,
            signature,
            instant,
            permissions,
            provenance,
            recording,
            claims,
            fleets,
            request,
        }
    };
}

macro_rules! table {
    ($($name:ident,)*) => {
        /// All targets, by name.
        pub const TARGETS: &[(&str, Target)] = &[$((stringify!($name), targets::$name)),*];
    };
}

each_target!(table);

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

/// The folder of inputs that a target begins with.
pub fn seeds(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name)
}

/// Inputs that a target begins with, beside those in its folder.
pub fn more_seeds(name: &str) -> Vec<Vec<u8>> {
    if name == "request" { server::routes() } else { Vec::new() }
}
