//! The attribute macros of `airlock-sdk`, where they are documented.

use proc_macro::TokenStream;

mod args;
mod dag;
mod schedule;
mod task;

/// Makes a function a task.
///
/// The function takes `&Context` if it wants it, and inputs: any types that serde reads and that have a JSON Schema;
/// references are read as what they point at; an `Option` may be left without a value. It returns any type that
/// serde writes, as it is or in a `Result`; `()` and `None` are no result.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[derive(Serialize, Deserialize, JsonSchema)]
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
/// | `name = ".."` | the entry's name in the component and the default id; the function's name if nothing is said |
/// | `retries = 3` | tries after the first; 0 if nothing is said |
/// | `retry_delay = "30s"` | the wait before the second try; five minutes if nothing is said |
/// | `backoff = 2.0` | each wait is the one before times this |
/// | `max_retry_delay = "10m"` | the longest wait |
/// | `timeout = "5m"` | the longest that an attempt may take |
/// | `trigger_rule = "all_done"` | when it may start; Airflow's words |
/// | `pool = ".."`, `pool_slots = 2` | the pool, and how many of its slots an attempt takes |
/// | `priority_weight = 2` | higher goes first |
/// | `display_name = ".."` | what the page shows instead of the id |
/// | `doc = ".."` | Markdown; the doc comment if nothing is said |
///
/// Durations are numbers with `ms`, `s`, `m`, `h` or `d`, as `"1h30m"`. Methods of the handle say the same for a
/// single node.
#[proc_macro_attribute]
pub fn task(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = syn::parse_macro_input!(args as args::Args);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    task::expand(args, function).unwrap_or_else(|error| error.to_compile_error()).into()
}

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
/// | `schedule = "0 6 * * *"` | cron of five fields (six with seconds last), `@hourly`, `@daily`, `@weekly`, `@monthly`, `@quarterly`, `@yearly`, or `@once`; only triggered if nothing is said |
/// | `data_interval = true` | a run covers the time between two ticks and runs at its end (the way of Airflow 2); otherwise a run happens at a tick |
/// | `timezone = "Asia/Seoul"` | where the schedule, `start` and `end` are read; `UTC` if nothing is said |
/// | `start`, `end` | `"2026-01-01"`, `"2026-01-01T06:00:00"` in the time zone, or with an offset: the first and last instant of a run |
/// | `catchup = true` | runs missed since `start` are made up for, oldest first |
/// | `max_active_runs`, `max_active_tasks` | 16 each if nothing is said |
/// | `run_timeout = "2h"` | the longest that a run may take |
/// | `paused = true` | a newly uploaded dag starts paused (or not) |
/// | `display_name`, `description`, `doc`, `owners = [..]`, `tags = [..]` | for people; `doc` is the doc comment and `description` its first line if nothing is said |
/// | `variables = [..]`, `connections = [..]`, `hosts = [..]` | what the tasks may reach: nothing else |
/// | `memory = "512MiB"` | memory of one attempt, at most 4 GiB; 256 MiB if nothing is said |
#[proc_macro_attribute]
pub fn dag(args: TokenStream, item: TokenStream) -> TokenStream {
    let args = syn::parse_macro_input!(args as args::Args);
    let function = syn::parse_macro_input!(item as syn::ItemFn);
    dag::expand(args, function).unwrap_or_else(|error| error.to_compile_error()).into()
}
