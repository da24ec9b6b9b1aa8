//! Tasks and dags in `cargo test`: no server, no wasm, no files.
//!
//! A [`Host`] holds the variables, connections and XComs that a test chose, and what the tasks leave behind. Each
//! thread has its own, so tests run side by side.
//!
//! ```
//! use airlock_sdk::{prelude::*, testing::Host};
//!
//! #[task]
//! fn price(ctx: &Context, amount: f64) -> Result<f64> {
//!     let tax: f64 = variables::get_json("tax")?;
//!     info!("amount {amount} in run {}", ctx.run_id());
//!     xcom::push("net", &amount)?;
//!     Ok(amount * (1.0 + tax))
//! }
//!
//! let host = Host::new().variable("tax", "0.25").run_id("monday");
//! assert_eq!(host.run(|ctx| price::run(ctx, 100.0)).unwrap(), 125.0);
//! assert_eq!(host.pushed::<f64>("net"), Some(100.0));
//! assert_eq!(host.logs()[0].message, "amount 100 in run monday");
//!
//! let error = Host::new().run(|ctx| price::run(ctx, 100.0)).unwrap_err();
//! assert_eq!(error.to_string(), "not found: variable `tax`; set it with `Host::variable`");
//! ```

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    connections::Connection,
    context::{Context, DataInterval},
    dag::DagFunction,
    error::{Result, ResultExt},
    logging::{self, Level},
    value::{self, Bytes, Value},
};

mod approvals;
mod assets;
mod dags;
mod http;
mod labels;
mod objects;
mod run;
mod sql;

pub use dags::Triggered;
pub use run::{DagRun, TaskState};
pub use sql::Asked;

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// An XCom's or an artifact's place in a run: task, map index, key or name.
type Place = (String, Option<u32>, String);

/// A run that is over, for `xcom::pull_runs`.
#[derive(Debug, Default)]
struct PastRun {
    run_id: String,
    xcoms: BTreeMap<Place, Value>,
}

/// All that host calls read and write.
#[derive(Debug)]
struct State {
    variables: BTreeMap<String, String>,
    connections: BTreeMap<String, Connection>,
    level: Level,
    /// None: whatever the test set may be read.
    grants: Option<Grants>,
    /// Of the run, from attempts that succeeded or chosen by the test.
    xcoms: BTreeMap<Place, Value>,
    files: BTreeMap<Place, Bytes>,
    past: BTreeMap<DateTime<Utc>, PastRun>,
    dags: dags::Dags,
    assets: assets::Assets,
    http: http::Http,
    sql: sql::Sql,
    objects: objects::Buckets,
    answers: approvals::Answers,
    /// What a task called its instance.
    label: Option<String>,
    /// Of the present attempt.
    dag_id: String,
    place: (String, Option<u32>),
    pushed: BTreeMap<String, Value>,
    written: BTreeMap<String, Bytes>,
    logs: Vec<LogLine>,
}

#[derive(Debug)]
struct Grants {
    variables: &'static [&'static str],
    connections: &'static [&'static str],
    connection_secrets: &'static [&'static str],
    dags: &'static [&'static str],
    hosts: &'static [&'static str],
}

/// A line that a task logged by `log` or `tracing`. (What it prints goes where the test's output goes.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Which module spoke.
    pub target: String,
    /// What it said.
    pub message: String,
    /// The key-values of `log`; the fields of `tracing`, those of its spans too.
    pub fields: Vec<(String, String)>,
}

/// An Airlock in memory, for tests.
///
/// The methods that choose something return the host; see the [module](self) for an example.
#[derive(Debug)]
#[must_use = "a host does nothing until a task or a dag is run with it"]
pub struct Host {
    state: Rc<RefCell<State>>,
    context: Context,
    params: serde_json::Map<String, serde_json::Value>,
    /// What templates, written as JSON, are rendered to.
    rendered: BTreeMap<String, serde_json::Value>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host with nothing in it. Its run is called `test`, its task `task`; both have no dates.
    pub fn new() -> Self {
        let state = State {
            variables: BTreeMap::new(),
            connections: BTreeMap::new(),
            level: Level::Trace,
            grants: None,
            xcoms: BTreeMap::new(),
            files: BTreeMap::new(),
            past: BTreeMap::new(),
            dags: dags::Dags::default(),
            assets: assets::Assets::default(),
            http: http::Http::default(),
            sql: sql::Sql::default(),
            objects: objects::Buckets::new(),
            answers: approvals::Answers::new(),
            label: None,
            dag_id: String::new(),
            place: (String::new(), None),
            pushed: BTreeMap::new(),
            written: BTreeMap::new(),
            logs: Vec::new(),
        };
        #[expect(clippy::disallowed_methods, reason = "a native test has the machine's clock")]
        let started_at = Utc::now();
        let context = Context {
            dag_id: "dag".to_owned(),
            run_id: "test".to_owned(),
            task_id: "task".to_owned(),
            map_index: None,
            try_number: 1,
            max_tries: 1,
            started_at,
            logical_date: None,
            data_interval: None,
            run_after: DateTime::UNIX_EPOCH,
            next_run_after: None,
            traceparent: None,
            timezone: "UTC".to_owned(),
            params: "{}".to_owned(),
        };
        Self { state: Rc::new(RefCell::new(state)), context, params: serde_json::Map::new(), rendered: BTreeMap::new() }
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.borrow_mut());
        self
    }

    /// Sets variable `key`.
    pub fn variable(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|state| {
            state.variables.insert(key.into(), value.into());
        })
    }

    /// Sets a connection.
    pub fn connection(self, connection: Connection) -> Self {
        self.with(|state| {
            state.connections.insert(connection.id.clone(), connection);
        })
    }

    /// Sets what task `task_id` of this run pushed under `key`.
    ///
    /// # Panics
    /// If `value` can't be written as JSON.
    pub fn xcom<T: Serialize + 'static>(self, task_id: &str, key: &str, value: &T) -> Self {
        let value = value::encode(value).expect("the test's value can be written as JSON");
        self.with(|state| {
            state.xcoms.insert((task_id.to_owned(), None, key.to_owned()), value);
        })
    }

    /// Sets what task `task_id` pushed under `key` in the run of another logical date.
    ///
    /// # Panics
    /// If `value` can't be written as JSON.
    pub fn xcom_of_run<T: Serialize + 'static>(
        self,
        logical_date: DateTime<Utc>,
        task_id: &str,
        key: &str,
        value: &T,
    ) -> Self {
        let value = value::encode(value).expect("the test's value can be written as JSON");
        self.with(|state| {
            let run = state.past.entry(logical_date).or_default();
            run.run_id = format!("scheduled__{}", logical_date.to_rfc3339());
            run.xcoms.insert((task_id.to_owned(), None, key.to_owned()), value);
        })
    }

    /// Sets an artifact of task `task_id` of this run.
    pub fn artifact_of(self, task_id: &str, name: &str, artifact: Bytes) -> Self {
        self.with(|state| {
            state.files.insert((task_id.to_owned(), None, name.to_owned()), artifact);
        })
    }

    /// Keeps no log lines below `level`.
    pub fn log_level(self, level: Level) -> Self {
        self.with(|state| state.level = level)
    }

    /// Sets the run's param `name`.
    ///
    /// # Panics
    /// If `value` can't be written as JSON.
    pub fn param<T: Serialize>(mut self, name: impl Into<String>, value: T) -> Self {
        self.params.insert(name.into(), serde_json::to_value(value).expect("the test's value can be written as JSON"));
        self
    }

    /// Says what `template`, an input of a dag ([`Dag::template`](crate::Dag::template)), is rendered to.
    ///
    /// Rendering is the server's; a template of which a test says nothing gives no value: the task fails, unless the input is an
    /// `Option`.
    ///
    /// # Panics
    /// If `value` can't be written as JSON.
    pub fn rendered<T: Serialize>(mut self, template: impl Into<serde_json::Value>, value: T) -> Self {
        let value = serde_json::to_value(value).expect("the test's value can be written as JSON");
        self.rendered.insert(template.into().to_string(), value);
        self
    }

    /// Sets the run's id.
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.context.run_id = run_id.into();
        self
    }

    /// Sets the task's id, for [`run`](Self::run).
    pub fn task_id(mut self, task_id: impl Into<String>) -> Self {
        self.context.task_id = task_id.into();
        self
    }

    /// Sets which instance of a mapped task this is, for [`run`](Self::run).
    pub fn map_index(mut self, map_index: u32) -> Self {
        self.context.map_index = Some(map_index);
        self
    }

    /// Sets which try this is, and how many there may be, for [`run`](Self::run).
    pub fn try_number(mut self, try_number: u32, max_tries: u32) -> Self {
        self.context.try_number = try_number;
        self.context.max_tries = max_tries;
        self
    }

    /// Sets when the try was first started, for [`run`](Self::run): how long a sensor has been waiting. Now, if nothing
    /// is said.
    pub fn started_at(mut self, started_at: DateTime<Utc>) -> Self {
        self.context.started_at = started_at;
        self
    }

    /// Sets the run's logical date, without a data interval.
    pub fn logical_date(mut self, logical_date: DateTime<Utc>) -> Self {
        self.context.logical_date = Some(logical_date);
        self.context.run_after = logical_date;
        self
    }

    /// Sets the run's data interval; its logical date is the start, as that of a scheduled run.
    pub fn data_interval(mut self, start: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        self.context.data_interval = Some(DataInterval { start, end });
        self.context.logical_date = Some(start);
        self.context.run_after = end;
        self
    }

    /// Sets when the schedule's run after this one is due. None, if nothing is said.
    pub fn next_run_after(mut self, next_run_after: DateTime<Utc>) -> Self {
        self.context.next_run_after = Some(next_run_after);
        self
    }

    /// Sets the dag's time zone, for [`run`](Self::run).
    pub fn timezone(mut self, timezone: impl Into<String>) -> Self {
        self.context.timezone = timezone.into();
        self
    }

    /// Runs one attempt: host calls in `task` end here.
    pub fn run<T>(&self, task: impl FnOnce(&Context) -> T) -> T {
        let mut context = self.context.clone();
        context.params = serde_json::Value::Object(self.params.clone()).to_string();
        self.attempt(&context, || task(&context))
    }

    fn attempt<T>(&self, context: &Context, task: impl FnOnce() -> T) -> T {
        logging::install();
        let mut state = self.state.borrow_mut();
        state.dag_id.clone_from(&context.dag_id);
        state.place = (context.task_id.clone(), context.map_index);
        state.pushed.clear();
        state.written.clear();
        drop(state);
        let before = CURRENT.replace(Some(Rc::clone(&self.state)));
        let _restored = Restore(before);
        task()
    }

    /// Runs all tasks of dag `D`, upstream first, one at a time, without waiting between tries.
    ///
    /// Only variables and connections that the dag was granted can be read, and only granted hosts be reached. What the run's tasks pushed can be read
    /// by the runs that follow on the same host, by `xcom::pull_runs`.
    ///
    /// # Errors
    /// If the dag can't be built, or a param is missing. A task that fails is no error: see [`DagRun::state`].
    pub fn run_dag<D: DagFunction>(&self) -> Result<DagRun> {
        let definition = D::definition();
        self.state.borrow_mut().grants = Some(Grants {
            variables: definition.variables,
            connections: definition.connections,
            connection_secrets: definition.connection_secrets,
            dags: definition.dags,
            hosts: definition.hosts,
        });
        let run = run::run(self, definition);
        self.state.borrow_mut().grants = None;
        run
    }

    /// What the last attempt pushed under `key`.
    ///
    /// # Panics
    /// If it is not a `T`.
    pub fn pushed<T: DeserializeOwned + 'static>(&self, key: &str) -> Option<T> {
        let value = self.state.borrow().pushed.get(key).cloned()?;
        Some(value::decode(value).context(format!("xcom `{key}`")).expect("the test names the type that was pushed"))
    }

    /// The artifact `name` that the last attempt finished.
    pub fn artifact(&self, name: &str) -> Option<Bytes> {
        self.state.borrow().written.get(name).cloned()
    }

    /// All that was logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.state.borrow().logs.clone()
    }
}

/// Whether one of `granted` is `name`, or a prefix of it that ends in `*`.
fn is_granted(granted: &[&str], name: &str) -> bool {
    granted.iter().any(|granted| match granted.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *granted == name,
    })
}

/// Puts the thread's host back, even if a task panics.
struct Restore(Option<Rc<RefCell<State>>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The host calls of native tasks.
pub(crate) mod host {
    use std::{cell::RefCell, ops::Range, rc::Rc};

    use chrono::{DateTime, Utc};

    use super::{CURRENT, LogLine, State, is_granted};
    pub use super::{
        approvals::approval_find,
        assets::{asset_add, asset_events, asset_set_extra, asset_triggering},
        dags::{dag_look, dag_trigger},
        http::{Incoming, http_send},
        labels::label_set,
        objects::{Download, Upload, object_delete, object_get, object_head, object_list, object_put},
        sql::{Rows, Session, sql_open},
    };
    use crate::{
        connections::Connection,
        error::HostError,
        logging::Level,
        value::{Bytes, Value},
        xcom::RunValue,
    };

    type Result<T> = std::result::Result<T, HostError>;

    fn current() -> Option<Rc<RefCell<State>>> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(super) fn with<T>(what: &str, call: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        match current() {
            Some(state) => call(&mut state.borrow_mut()),
            None => Err(HostError::Unavailable(format!("{what}: run the task with `airlock_sdk::testing::Host::run`"))),
        }
    }

    fn check_key(key: &str) -> Result<()> {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if key.is_empty() || key.len() > 250 || !plain {
            return Err(HostError::Invalid(format!(
                "xcom key `{key}`: use 1 to 250 letters, digits, `_`, `-` and `.`"
            )));
        }
        Ok(())
    }

    fn check_name(name: &str) -> Result<()> {
        let part = |part: &str| {
            let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || "_-. ".contains(c));
            !part.is_empty() && part != "." && part != ".." && plain
        };
        if name.len() > 250 || !name.split('/').all(part) {
            return Err(HostError::Invalid(format!("artifact `{name}`: use a relative path of plain names")));
        }
        Ok(())
    }

    pub(super) fn check_media_type(media_type: &str) -> Result<()> {
        let plain = media_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if media_type.len() > 255 || !media_type.contains('/') || !plain {
            return Err(HostError::Invalid(format!(
                "`{media_type}` is not a media type; write it as `text/csv`, in at most 255 bytes"
            )));
        }
        Ok(())
    }

    pub fn xcom_push(key: &str, value: Value) -> Result<()> {
        check_key(key)?;
        check_media_type(&value.media_type)?;
        with(key, |state| {
            state.pushed.insert(key.to_owned(), value);
            Ok(())
        })
    }

    pub fn xcom_pull(task_id: &str, map_index: Option<u32>, key: &str) -> Result<Value> {
        with(key, |state| {
            let own = (state.place.0 == task_id && state.place.1 == map_index).then(|| state.pushed.get(key)).flatten();
            let found = own.or_else(|| state.xcoms.get(&(task_id.to_owned(), map_index, key.to_owned())));
            found.cloned().ok_or_else(|| HostError::NotFound(format!("xcom `{key}` of task `{task_id}`")))
        })
    }

    pub fn xcom_pull_runs(task_id: &str, key: &str, dates: Range<DateTime<Utc>>) -> Result<Vec<RunValue<Value>>> {
        if dates.is_empty() {
            return Ok(Vec::new());
        }
        with(key, |state| {
            let runs = state.past.range(dates).flat_map(|(logical_date, run)| {
                let wanted = run.xcoms.iter().filter(|((task, _, name), _)| task == task_id && name == key);
                wanted.map(|((_, map_index, _), value)| RunValue {
                    run_id: run.run_id.clone(),
                    logical_date: *logical_date,
                    map_index: *map_index,
                    value: value.clone(),
                })
            });
            Ok(runs.collect())
        })
    }

    pub fn variable_get(key: &str) -> Result<String> {
        with(key, |state| {
            if state.grants.as_ref().is_some_and(|grants| !is_granted(grants.variables, key)) {
                return Err(HostError::Denied(format!("variable:{key}")));
            }
            let missing = || HostError::NotFound(format!("variable `{key}`; set it with `Host::variable`"));
            state.variables.get(key).cloned().ok_or_else(missing)
        })
    }

    pub fn connection_get(id: &str) -> Result<Connection> {
        with(id, |state| {
            if state.grants.as_ref().is_some_and(|grants| !grants.connection_secrets.contains(&id)) {
                return Err(HostError::Denied(format!("connection-secret:{id}")));
            }
            let missing = || HostError::NotFound(format!("connection `{id}`; set it with `Host::connection`"));
            state.connections.get(id).cloned().ok_or_else(missing)
        })
    }

    pub struct Writer {
        name: String,
        written: Bytes,
    }

    pub fn artifact_create(name: &str, media_type: &str) -> Result<Writer> {
        check_name(name)?;
        check_media_type(media_type)?;
        with(name, |_| Ok(Writer { name: name.to_owned(), written: Bytes::new(media_type, []) }))
    }

    impl Writer {
        #[expect(clippy::unnecessary_wraps, reason = "the wasm side may fail")]
        pub fn write(&mut self, chunk: &[u8]) -> Result<()> {
            self.written.bytes.extend_from_slice(chunk);
            Ok(())
        }

        pub fn finish(self) -> Result<u64> {
            with(&self.name, |state| {
                let size = self.written.bytes.len() as u64;
                state.written.insert(self.name.clone(), self.written);
                Ok(size)
            })
        }
    }

    pub struct Reader {
        content: Vec<u8>,
        at: usize,
    }

    pub fn artifact_open(task_id: &str, map_index: Option<u32>, name: &str) -> Result<Reader> {
        check_name(name)?;
        with(name, |state| {
            let found = state.files.get(&(task_id.to_owned(), map_index, name.to_owned()));
            let missing = || HostError::NotFound(format!("artifact `{name}` of task `{task_id}`"));
            Ok(Reader { content: found.ok_or_else(missing)?.bytes.clone(), at: 0 })
        })
    }

    impl Reader {
        pub fn size(&self) -> u64 {
            self.content.len() as u64
        }

        #[expect(clippy::unnecessary_wraps, reason = "the wasm side may fail")]
        pub fn read(&mut self, most: usize) -> Result<Vec<u8>> {
            let until = (self.at + most).min(self.content.len());
            let piece = self.content[self.at..until].to_vec();
            self.at = until;
            Ok(piece)
        }
    }

    pub fn log_emit(level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        // A task may log from where the state is in use: its Debug or Drop, say.
        if let Some(state) = current()
            && let Ok(mut state) = state.try_borrow_mut()
        {
            state.logs.push(LogLine {
                level,
                target: target.to_owned(),
                message: message.to_owned(),
                fields: fields.to_vec(),
            });
        }
    }

    /// A thread without a host logs nothing but errors, and nowhere.
    pub fn log_enabled() -> Level {
        current().and_then(|state| state.try_borrow().ok().map(|state| state.level)).unwrap_or(Level::Error)
    }
}
