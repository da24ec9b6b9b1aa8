//! Which attempt of which task instance this is.

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use crate::{
    error::{Fatal, Result},
    host,
    value::from_json,
};

/// The span of time that a `dag_run` is about: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataInterval {
    /// The first instant of it.
    pub start: DateTime<Utc>,
    /// The first instant after it.
    pub end: DateTime<Utc>,
}

/// The task instance that an attempt is for, and its `dag_run`. A task that wants it takes `&Context`.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task]
/// fn greet(ctx: &Context) -> Result<String> {
///     let name: String = ctx.param("name")?;
///     Ok(format!("hello {name}, this is try {} of {}", ctx.try_number(), ctx.run_id()))
/// }
///
/// let host = airlock_sdk::testing::Host::new().param("name", "Ada").run_id("monday");
/// assert_eq!(host.run(greet::run).unwrap(), "hello Ada, this is try 1 of monday");
/// ```
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) dag_id: String,
    pub(crate) run_id: String,
    pub(crate) task_id: String,
    pub(crate) map_index: Option<u32>,
    pub(crate) try_number: u32,
    pub(crate) max_tries: u32,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) logical_date: Option<DateTime<Utc>>,
    pub(crate) data_interval: Option<DataInterval>,
    pub(crate) run_after: DateTime<Utc>,
    pub(crate) next_run_after: Option<DateTime<Utc>>,
    pub(crate) traceparent: Option<String>,
    pub(crate) timezone: String,
    /// A JSON object.
    pub(crate) params: String,
}

impl Context {
    /// The dag's id.
    pub fn dag_id(&self) -> &str {
        &self.dag_id
    }

    /// The run's id, unique in the dag.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The task's id, unique in the dag.
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// Which of the instances of a mapped task this is, from 0; none if the task is not mapped.
    pub fn map_index(&self) -> Option<u32> {
        self.map_index
    }

    /// Names this instance of a mapped task: the page shows `label` instead of the map index as soon as the attempt ends, however
    /// it ends. It takes the place of what `map_index_template` made of the inputs, and of what was set before. At most 250 bytes
    /// are kept. Airflow: what a task puts into its context for `map_index_template`.
    ///
    /// # Errors
    /// [`HostError::Invalid`](crate::HostError::Invalid) if the task is not mapped, or the label is empty.
    pub fn set_map_label(&self, label: impl AsRef<str>) -> Result<()> {
        Ok(host::label_set(label.as_ref())?)
    }

    /// Which try of the task instance this is, from 1.
    pub fn try_number(&self) -> u32 {
        self.try_number
    }

    /// The tries that the task instance may have in all.
    pub fn max_tries(&self) -> u32 {
        self.max_tries
    }

    /// When this try was first started: before now if the task asked to be started again later.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// The instant that names the run; none if it was triggered without one.
    pub fn logical_date(&self) -> Option<DateTime<Utc>> {
        self.logical_date
    }

    /// The span of time that the run is about; none if it was triggered without one.
    pub fn data_interval(&self) -> Option<DataInterval> {
        self.data_interval
    }

    /// The earliest instant that the run could start.
    pub fn run_after(&self) -> DateTime<Utc> {
        self.run_after
    }

    /// The span of this attempt as [W3C Trace Context](https://www.w3.org/TR/trace-context/) writes it, if the server sends traces.
    /// Requests by [`http`](crate::http) carry it without it being asked for.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// When the schedule's run after this one is due; none if somebody made this one by hand, it is about no date, or it is the
    /// schedule's last.
    pub fn next_run_after(&self) -> Option<DateTime<Utc>> {
        self.next_run_after
    }

    /// The dag's time zone, an IANA name.
    pub fn timezone(&self) -> &str {
        &self.timezone
    }

    /// The run's param `name`.
    ///
    /// # Errors
    /// A [`Fatal`] if the run has no such param or it is not a `T`.
    pub fn param<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let mut params = self.params()?;
        let Some(value) = params.remove(name) else {
            return Err(Fatal::new(format!("the run has no param `{name}`; declare it with `dag.param`")).into());
        };
        serde_json::from_value(value)
            .map_err(|error| Fatal::because(crate::Error::from(error).context(format!("param `{name}`"))).into())
    }

    /// All params of the run.
    ///
    /// # Errors
    /// If they are not a JSON object, which the host rules out.
    pub fn params(&self) -> Result<serde_json::Map<String, serde_json::Value>> {
        from_json(&self.params, || "the run's params".to_owned())
    }
}
