//! Small values that tasks hand to each other besides their results. Airflow: XCom.
//!
//! A push is seen by others when the attempt succeeds, together with its result, or never.

use std::ops::Range;

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Result, ResultExt, found},
    host,
    value::{self, Value},
};

/// The key of a task's result.
pub const RETURN_VALUE: &str = "return_value";

/// One XCom of another `dag_run` of the same dag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunValue<T> {
    /// The run that it is of.
    pub run_id: String,
    /// That run's logical date.
    pub logical_date: DateTime<Utc>,
    /// Of which instance of a mapped task it is; none if the task is not mapped.
    pub map_index: Option<u32>,
    /// What was pushed.
    pub value: T,
}

/// Pushes `value` under `key` for this attempt; a second push of the same key replaces the first.
///
/// ```
/// # use airlock_sdk::prelude::*;
/// #[task]
/// fn count(words: Vec<String>) -> Result<()> {
///     xcom::push("count", &words.len())
/// }
/// let host = airlock_sdk::testing::Host::new();
/// host.run(|_| count::run(vec!["a".into(), "b".into()])).unwrap();
/// assert_eq!(host.pushed::<usize>("count"), Some(2));
/// ```
///
/// # Errors
/// If the value can't be written as JSON, the key is not one (1 to 250 letters, digits, `_`, `-`, `.`), or a limit is met.
pub fn push<T: Serialize + 'static>(key: &str, value: &T) -> Result<()> {
    let value = value::encode(value).with_context(|| format!("xcom `{key}`"))?;
    Ok(host::xcom_push(key, value)?)
}

/// Reads what task `task_id` of this `dag_run` pushed under `key`.
///
/// # Errors
/// [`HostError::NotFound`](crate::HostError::NotFound) if there is no such XCom; an error if it is not a `T`.
pub fn pull<T: DeserializeOwned + 'static>(task_id: &str, key: &str) -> Result<T> {
    read(host::xcom_pull(task_id, None, key)?, task_id, key)
}

/// As [`pull`], with `None` if there is no such XCom.
///
/// # Errors
/// If it is not a `T`, or could not be read.
pub fn find<T: DeserializeOwned + 'static>(task_id: &str, key: &str) -> Result<Option<T>> {
    found(host::xcom_pull(task_id, None, key))?.map(|value| read(value, task_id, key)).transpose()
}

/// Reads what instance `map_index` of the mapped task `task_id` of this `dag_run` pushed under `key`.
///
/// # Errors
/// [`HostError::NotFound`](crate::HostError::NotFound) if there is no such XCom; an error if it is not a `T`.
pub fn pull_mapped<T: DeserializeOwned + 'static>(task_id: &str, map_index: u32, key: &str) -> Result<T> {
    read(host::xcom_pull(task_id, Some(map_index), key)?, task_id, key)
}

/// Reads the XComs `key` of task `task_id` from all runs of this dag whose logical date lies in `dates`, in order of
/// logical date, then map index. Runs without it are left out.
///
/// ```
/// use airlock_sdk::{chrono::{DateTime, Utc}, prelude::*};
///
/// #[task]
/// fn best(ctx: &Context) -> Result<Option<u32>> {
///     let until = ctx.run_after();
///     let sold = xcom::pull_runs::<u32>("count", "sold", DateTime::<Utc>::MIN_UTC..until)?;
///     Ok(sold.into_iter().map(|run| run.value).max())
/// }
/// ```
///
/// # Errors
/// [`HostError::TooLarge`](crate::HostError::TooLarge) for more than 10,000 values or 16 MiB; an error if one is not a `T`.
pub fn pull_runs<T: DeserializeOwned + 'static>(
    task_id: &str,
    key: &str,
    dates: Range<DateTime<Utc>>,
) -> Result<Vec<RunValue<T>>> {
    let found = host::xcom_pull_runs(task_id, key, dates)?;
    let read = |RunValue { run_id, logical_date, map_index, value }: RunValue<Value>| {
        let value = read(value, task_id, key).with_context(|| format!("run `{run_id}`"))?;
        Ok(RunValue { run_id, logical_date, map_index, value })
    };
    found.into_iter().map(read).collect()
}

fn read<T: DeserializeOwned + 'static>(value: Value, task_id: &str, key: &str) -> Result<T> {
    value::decode(value).with_context(|| format!("xcom `{key}` of task `{task_id}`"))
}
