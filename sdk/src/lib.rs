//! Write Airlock pipelines in Rust: a task is a function, a dag is a function that calls tasks.
//!
//! ```
//! use airlock_sdk::prelude::*;
//!
//! /// Reads the day's numbers.
//! #[task(retries = 3, retry_delay = "30s")]
//! fn extract(ctx: &Context, source: &str) -> Result<Vec<u32>> {
//!     info!("reading {source} for run {}", ctx.run_id());
//!     Ok(vec![1, 2, 3])
//! }
//!
//! #[task]
//! fn total(numbers: Vec<u32>) -> u32 {
//!     numbers.iter().sum()
//! }
//!
//! #[dag(schedule = "0 6 * * *", timezone = "Asia/Seoul", start = "2026-01-01")]
//! fn numbers(dag: &Dag) {
//!     let source = dag.param_with_default("source", "shop".to_owned());
//!     let numbers = extract(dag, source); // a node
//!     total(dag, numbers); // another, and an edge that rustc type-checks
//! }
//!
//! airlock_sdk::export!(dags = [numbers]);
//!
//! // In `cargo test`, without a server and without wasm:
//! let run = airlock_sdk::testing::Host::new().run_dag::<numbers>().unwrap();
//! assert_eq!(run.result::<u32>("total").unwrap(), 6);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2` and upload the file: `airlock new` makes a crate that does.
//!
//! # What the macros make
//!
//! `#[task] fn extract(ctx: &Context, source: &str) -> Result<Vec<u32>>` makes
//! - `extract(dag, source)`, which adds a node to a dag that is being built and returns its [`Handle`];
//! - `extract::run(&ctx, "shop")`, the function as it was written, for tests and other tasks;
//! - `extract::ID`, the id that the task has in a dag unless it is given another.
//!
//! `#[dag] fn numbers(dag: &Dag)` leaves the function as it is and makes a type `numbers` for [`export!`] and
//! [`testing::Host::run_dag`].
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

// The macros write `::airlock_sdk`, also in this crate's own tests.
extern crate self as airlock_sdk;

pub mod artifacts;
pub mod connections;
mod context;
mod dag;
mod entry;
mod error;
#[cfg(target_family = "wasm")]
mod guest;
mod logging;
mod options;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod value;
pub mod variables;
pub mod xcom;

#[cfg(target_family = "wasm")]
use guest::host;
#[cfg(not(target_family = "wasm"))]
use testing::host;

pub use airlock_sdk_macros::{dag, task};
pub use context::{Context, DataInterval};
pub use dag::{Dag, DagFunction, Handle, Handles, IntoInput, Param};
pub use entry::{Branch, Task};
pub use error::{Error, Fatal, HostError, Later, Result, ResultExt, Skip};
pub use logging::Level;
pub use options::TriggerRule;
pub use schemars::JsonSchema;
pub use value::{Bytes, TaskInput, TaskOutput};
pub use {chrono, log, schemars, serde, serde_json, tracing};

/// All that a pipeline usually needs: `use airlock_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Branch, Bytes, Context, Dag, Error, Fatal, Handle, HostError, JsonSchema, Later, Param, Result, ResultExt,
        Skip, TriggerRule, artifacts, bail, connections, dag, ensure, task, variables, xcom,
    };
    pub use log::{debug, error, info, trace, warn};
    pub use serde::{Deserialize, Serialize};
}

/// Makes the crate a component that carries `dags` and `tasks`. Once in a crate, at its root.
///
/// The tasks that the dags use need not be listed. A library of tasks lists no dags; whatever the order, each part
/// may be left out:
///
/// ```
/// # use airlock_sdk::prelude::*;
/// #[task]
/// fn fetch(url: &str) -> Result<String> { Ok(url.to_owned()) }
///
/// airlock_sdk::export!(tasks = [fetch]);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    (dags = [$($dag:path),* $(,)?] $(,)?) => { $crate::export!(dags = [$($dag),*], tasks = []); };
    (tasks = [$($task:path),* $(,)?] $(,)?) => { $crate::export!(dags = [], tasks = [$($task),*]); };
    (tasks = [$($task:path),* $(,)?], dags = [$($dag:path),* $(,)?] $(,)?) => {
        $crate::export!(dags = [$($dag),*], tasks = [$($task),*]);
    };
    (dags = [$($dag:path),* $(,)?], tasks = [$($task:path),* $(,)?] $(,)?) => {
        const _: () = {
            const DAGS: &[fn() -> &'static $crate::__private::Definition] =
                &[$(<$dag as $crate::DagFunction>::definition),*];
            const TASKS: &[fn() -> &'static $crate::__private::Entry] = &[$(<$task as $crate::Task>::entry),*];
            $crate::__export!(DAGS, TASKS);
        };
    };
}

/// The component's exports.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($dags:ident, $tasks:ident) => {
        use $crate::__private::runner;
        struct Component;
        impl runner::Guest for Component {
            fn describe() -> ::core::result::Result<runner::Module, ::std::string::String> {
                $crate::__private::describe($dags, $tasks)
            }
            fn run(
                entry: ::std::string::String,
                instance: runner::Instance,
                inputs: ::std::vec::Vec<runner::Input>,
            ) -> ::core::result::Result<runner::Outcome, runner::Failure> {
                $crate::__private::run($tasks, &entry, instance, inputs)
            }
        }
        $crate::__private::bindings::export_task!(Component with_types_in $crate::__private::bindings);
    };
}

/// Native builds are for tests and have no exports; the tables are looked at, so that they are checked.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($dags:ident, $tasks:ident) => {
        const _: (&[fn() -> &'static $crate::__private::Definition], &[fn() -> &'static $crate::__private::Entry]) =
            ($dags, $tasks);
    };
}

/// What the macros' code uses; no part of the interface.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::guest::{Registered, bindings, describe, run, runner};
    pub use crate::{
        dag::{Definition, Input, Schedule},
        entry::{Entry, Inputs, Outcome, Parameter},
        error::kind,
        options::Options,
        value::{input_schema, output_schema},
    };
}
