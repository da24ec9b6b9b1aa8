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
//!
//! # What a task has
//!
//! One thread, clocks, random numbers and 256 MiB of memory, unless its dag asks for more; no files, no sockets, no
//! environment. Crates that only compute work as they are; all else goes by [`artifacts`], [`objects`], [`http`] and
//! [`sql`]. `docs/tasks.md` says more.
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

// The macros write `::airlock_sdk`, also in this crate's own tests.
extern crate self as airlock_sdk;

pub mod approval;
pub mod artifacts;
pub mod assets;
pub mod connections;
mod context;
mod dag;
pub mod dags;
mod entry;
mod error;
#[cfg(target_family = "wasm")]
mod guest;
pub mod http;
mod logging;
pub mod objects;
mod options;
mod pieces;
mod sensor;
pub mod sql;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod value;
pub mod variables;
pub mod webhook;
pub mod xcom;

#[cfg(target_family = "wasm")]
use guest::host;
#[cfg(not(target_family = "wasm"))]
use testing::host;

/// Makes a function that calls tasks a dag. The function takes `&Dag` (or `&mut Dag`) and returns nothing or a `Result<()>`.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task]
/// fn report(ctx: &Context) -> Result<()> {
///     let interval = ctx.data_interval().ok_or_else(|| Fatal::new("this dag needs a data interval"))?;
///     info!("{} until {}", interval.start, interval.end);
///     Ok(())
/// }
///
/// /// The monthly report.
/// #[dag(
///     schedule = "0 6 1 * *",
///     timezone = "Asia/Seoul",
///     start = "2026-01-01",
///     end = "2026-12-31T00:00:00",
///     data_interval = true,
///     catchup = true,
///     max_active_runs = 1,
///     tags = ["finance"],
///     variables = ["reports/*"],
///     hosts = ["api.example.org"],
///     memory = "512MiB"
/// )]
/// fn reports(dag: &Dag) {
///     report(dag);
/// }
/// ```
///
/// | argument | what |
/// | --- | --- |
/// | `id = ".."` | the dag's id; the function's name if nothing is said |
/// | `schedule = "0 6 * * *"` | cron of five fields (then, if you must, second and year), `@hourly`, `@daily`, `@weekly`, `@monthly`, `@quarterly`, `@yearly`, or `@once`, or `@continuous` (run after run); instants as `"2026-01-31T06:00:00"`; `"every 90m"`: equal periods from `start` on; several as `["0 6 * * *", "30 18 * * 5"]`; only triggered if nothing is said |
/// | `data_interval = true` | a run covers the time between two ticks and runs at its end (the way of Airflow 2); otherwise a run happens at a tick |
/// | `assets = ORDERS & (CUSTOMERS \| SUPPLIERS)` | a run whenever the [`Asset`]s were updated since the last such run; beside a `schedule`, either makes runs |
/// | `timezone = "Asia/Seoul"` | where the schedule, `start` and `end` are read; `UTC` if nothing is said |
/// | `start`, `end` | `"2026-01-01"`, `"2026-01-01T06:00:00"` in the time zone, or with an offset: the first and last instant of a run |
/// | `business_days` | only on days that are neither in `weekend = ["sat", "sun"]` nor in `holidays = ["2026-12-25", ..]`; with `nth_business_days = [1, -1]` only on the first and the last of a month |
/// | `jitter = "10m"` | scheduled runs start up to so much later, each by a span of its own |
/// | `catchup = true` | runs missed since `start` are made up for, oldest first |
/// | `max_active_runs`, `max_active_tasks` | 16 each if nothing is said |
/// | `concurrency_key = "{{ params.customer }}"`, `concurrency_limit = 2` | runs with the same key at a time; one if no limit is said |
/// | `weight_rule = "downstream"` | what makes up a task's weight: also `"upstream"`; `"absolute"` if nothing is said |
/// | `run_timeout = "2h"` | the longest that a run may take |
/// | `fail_fast = true` | the first task that fails for good ends the others: those in flight fail, those that have not begun are skipped; teardowns go on |
/// | `max_consecutive_failed_dag_runs = 3` | after so many runs that failed in a row the dag is paused |
/// | `on_success`, `on_failure` `= "alerts"` | who is told how a run ended: ids of connections of type `http` or `smtp`, `dag:<dag_id>`, one or several |
/// | `deadline = "2h"`, `on_deadline = "alerts"` | who is told if a run is not finished so long after it could start |
/// | `paused = true` | a newly uploaded dag starts paused (or not) |
/// | `allowed_run_types = ["scheduled", "backfill"]` | how its runs may come about: also `"manual"`, `"asset_triggered"`, `"operator_triggered"`; in any way if nothing is said |
/// | `record = "failure"` | which attempts of its tasks are recorded for `airlock replay`: `"off"`, `"failure"`, `"always"` |
/// | `display_name`, `description`, `doc`, `owners = [..]`, `tags = [..]` | for people; `doc` is the doc comment and `description` its first line if nothing is said |
/// | `variables = [..]`, `connections = [..]`, `connection_secrets = [..]`, `hosts = [..]`, `dags = [..]` | what the tasks may reach: nothing else |
/// | `memory = "512MiB"` | memory of one attempt, at most 4 GiB; 256 MiB if nothing is said |
pub use airlock_sdk_macros::dag;
/// Makes a type one that tasks can take and return.
///
/// It derives `Debug`, `Clone`, serde's `Serialize` and `Deserialize`, and [`JsonSchema`], without need for those
/// crates. Attributes of serde and schemars on the type work as always. The derives by hand do as well.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// /// A row of the shop's list.
/// #[data]
/// #[derive(PartialEq)]
/// struct Row {
///     shop: String,
///     #[serde(default)]
///     sold: u32,
/// }
///
/// #[task]
/// fn read(text: &str) -> Result<Row> {
///     Ok(airlock_sdk::serde_json::from_str(text)?)
/// }
/// assert_eq!(read::run(r#"{"shop": "Seoul"}"#).unwrap(), Row { shop: "Seoul".into(), sold: 0 });
/// ```
pub use airlock_sdk_macros::data;
/// Makes a function a task.
///
/// The function takes `&Context` if it wants it, and inputs: any types that serde reads and that have a JSON Schema;
/// references are read as what they point at; an `Option` may be left without a value. It returns any type that
/// serde writes, as it is or in a `Result`; `()` and `None` are no result. JSON has no NaN and no infinity: they are
/// written as null, which an `Option<f64>` reads.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[data]
/// struct Row {
///     shop: String,
///     sold: u32,
/// }
///
/// /// The rows of shops that sold anything. (The page shows this.)
/// #[task(retries = 3, retry_delay = "30s", backoff = 2.0, max_retry_delay = "10m", timeout = "5m")]
/// fn selling(ctx: &Context, rows: Vec<Row>, least: Option<u32>) -> Result<Vec<Row>> {
///     info!("try {}", ctx.try_number());
///     Ok(rows.into_iter().filter(|row| row.sold >= least.unwrap_or(1)).collect())
/// }
///
/// #[task(trigger_rule = "all_done", pool = "mail", priority_weight = 2)]
/// fn count(rows: &[Row]) -> usize {
///     rows.len()
/// }
/// ```
///
/// | argument | what |
/// | --- | --- |
/// | `branch` | the function returns a `Branch`: which tasks directly downstream run |
/// | `short_circuit` | the function returns a `bool` (or a [`ShortCircuit`]): if it is false, all that is downstream is skipped, but for teardowns; with `ignore_downstream_trigger_rules = false` only what is directly downstream, and the rest by its trigger rules |
/// | `sensor` | the function returns a [`Poke`]: it is called again every `poke_interval = "1m"` (with `exponential_backoff = true` ever less often, at least every `max_wait = "1h"`) until it finds what it waits for; after `poke_timeout = "7d"` it fails, or with `soft_fail = true` is skipped |
/// | `name = ".."` | the entry's name in the component and the default id; the function's name if nothing is said |
/// | `retries = 3` | tries after the first; 0 if nothing is said |
/// | `retry_delay = "30s"` | the wait before the second try; five minutes if nothing is said |
/// | `backoff = 2.0` | each wait is the one before times this |
/// | `max_retry_delay = "10m"` | the longest wait |
/// | `timeout = "5m"` | the longest that an attempt may take |
/// | `trigger_rule = "all_done"` | when it may start; Airflow's words |
/// | `pool = ".."`, `pool_slots = 2` | the pool, and how many of its slots an attempt takes |
/// | `queue = ".."` | the queue in which attempts wait for a worker that serves it; `default` if it is left out |
/// | `priority_weight = 2` | higher goes first |
/// | `weight_rule = "downstream"` | what makes up the weight: also `"upstream"`, `"absolute"`; as the dag says if nothing is said |
/// | `depends_on_past` | an instance waits until the task succeeded or was skipped in the run before |
/// | `wait_for_downstream` | the same, and the tasks directly downstream of it in that run, too |
/// | `max_active_tis_per_dag = 4` | so many instances at a time in all runs together |
/// | `max_active_tis_per_dagrun = 4` | so many instances of a mapped task at a time in one run |
/// | `concurrency_key = "bank {{ inputs.account }}"`, `concurrency_limit = 2` | instances with the same key at a time, in all dags; one if no limit is said |
/// | `cache = "24h"` | how long a result counts for instances with the same component, inputs and grants |
/// | `map_index_template = "{{ inputs.file }}"` | what an instance of a mapped task is called |
/// | `record = "failure"` | which attempts are recorded for `airlock replay`: `"off"`, `"failure"`, `"always"`; as the dag says if nothing is said |
/// | `on_success`, `on_failure`, `on_retry`, `on_skipped`, `on_question` `= "alerts"` | who is told: ids of connections of type `http` or `smtp`, `dag:<dag_id>`, one or several |
/// | `display_name = ".."` | what the page shows instead of the id |
/// | `doc = ".."` | Markdown; the doc comment if nothing is said |
///
/// Durations are numbers with `ms`, `s`, `m`, `h` or `d`, as `"1h30m"`. Methods of the handle say the same for a
/// single node.
pub use airlock_sdk_macros::task;
pub use assets::{Asset, AssetCondition};
pub use context::{Context, DataInterval};
pub use dag::{
    All, Dag, DagFunction, Each, Elements, Group, Handle, Handles, IntoInput, List, Literal, Param, Template,
};
pub use entry::{Branch, ShortCircuit, Task};
pub use error::{Error, Fatal, HostError, Later, Result, ResultExt, Retry, Skip};
pub use logging::Level;
pub use options::{Recording, RunType, TriggerRule, WeightRule};
pub use schemars::JsonSchema;
pub use sensor::Poke;
pub use value::{Bytes, TaskInput, TaskOutput};
pub use {chrono, log, schemars, serde, serde_json, tracing};

/// All that a pipeline usually needs: `use airlock_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Asset, Branch, Bytes, Context, Dag, Each, Error, Fatal, Handle, HostError, JsonSchema, Later, Param, Poke,
        Result, ResultExt, Retry, Skip, TriggerRule, WeightRule, approval, artifacts, assets, bail, connections, dag,
        dags, data, ensure, http, objects, sql, task, variables, webhook, xcom,
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
                let package = $crate::__private::Package {
                    name: ::core::env!("CARGO_PKG_NAME"),
                    version: ::core::env!("CARGO_PKG_VERSION"),
                };
                $crate::__private::describe(package, $dags, $tasks)
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
    pub use crate::guest::{Package, Registered, bindings, describe, run, runner};
    pub use crate::{
        dag::{Built, Calendar, Definition, Input, Schedule},
        entry::{Decision, Entry, Inputs, Outcome, Parameter, Plain, Returned},
        error::kind,
        options::{Callback, CallbackEvent, Options},
        sensor::Sensor,
        value::{input_schema, output_schema},
    };
}

/// The examples of the docs compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/limits.md")]
#[doc = include_str!("../../docs/mapping.md")]
#[doc = include_str!("../../docs/templates.md")]
#[doc = include_str!("../../docs/shapes.md")]
#[doc = include_str!("../../docs/schedules.md")]
#[doc = include_str!("../../docs/sensors.md")]
#[doc = include_str!("../../docs/events.md")]
#[doc = include_str!("../../docs/approvals.md")]
#[doc = include_str!("../../docs/assets.md")]
#[doc = include_str!("../../docs/callbacks.md")]
#[doc = include_str!("../../docs/replay.md")]
#[doc = include_str!("../../docs/cache.md")]
#[doc = include_str!("../../docs/http.md")]
#[doc = include_str!("../../docs/sql.md")]
#[doc = include_str!("../../docs/objects.md")]
struct Docs;
