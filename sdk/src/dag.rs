//! Building a dag: calls of task functions add nodes, handles make edges.

mod group;
mod handle;
mod mapping;
mod template;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
};

pub use group::Group;
pub(crate) use group::GroupNode;
use handle::NodeRef;
pub use handle::{Handle, Handles};
pub use mapping::{All, Each, Elements, List, Literal};
pub(crate) use mapping::{EachList, Expand, ListSource};
use serde::Serialize;
pub use template::Template;

use crate::{
    assets::{Asset, AssetCondition},
    entry::{Entry, Task},
    error::{Error, Result},
    options::{Callback, Options, Recording, RunType, WeightRule},
    value::{self, TaskInput, Value},
};

/// A function marked [`#[dag]`](macro@crate::dag). The macro implements it for a type of the function's name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no dag",
    label = "not marked `#[dag]`",
    note = "dags stand in `export!(dags = [..])`, tasks that no dag of the crate uses in `export!(tasks = [..])`"
)]
pub trait DagFunction {
    /// What the macro's arguments say.
    #[doc(hidden)]
    fn definition() -> &'static Definition;
}

/// What a dag's function may return, if it returns something.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a dag can't return `{Self}`",
    label = "a dag returns nothing, or a `Result<()>`"
)]
pub trait Built {
    fn built(self) -> Result<()>;
}

impl<E: Into<Error>> Built for std::result::Result<(), E> {
    fn built(self) -> Result<()> {
        self.map_err(Into::into)
    }
}

/// A dag's settings, all known at compile time, and the function that builds its graph.
#[doc(hidden)]
#[derive(Debug)]
pub struct Definition {
    pub dag_id: &'static str,
    pub display_name: Option<&'static str>,
    pub description: Option<&'static str>,
    pub doc: Option<&'static str>,
    pub owners: &'static [&'static str],
    pub tags: &'static [&'static str],
    pub schedule: Schedule,
    pub assets: Option<fn() -> AssetCondition>,
    pub timezone: &'static str,
    pub start_us: Option<i64>,
    pub end_us: Option<i64>,
    pub catchup: bool,
    pub jitter_ms: Option<u64>,
    pub max_active_runs: u32,
    pub max_active_tasks: u32,
    pub run_timeout_ms: Option<u64>,
    pub fail_fast: bool,
    pub max_consecutive_failed_dag_runs: u32,
    pub deadline_ms: Option<u64>,
    pub weight_rule: WeightRule,
    pub concurrency: Option<(&'static str, u32)>,
    pub callbacks: &'static [Callback],
    pub paused: Option<bool>,
    pub allowed_run_types: &'static [RunType],
    pub record: Option<Recording>,
    pub variables: &'static [&'static str],
    pub connections: &'static [&'static str],
    pub connection_secrets: &'static [&'static str],
    pub hosts: &'static [&'static str],
    pub dags: &'static [&'static str],
    pub memory_mib: Option<u32>,
    pub build: fn(&mut Dag) -> Result<()>,
}

impl Definition {
    /// What is not said in the macro.
    pub const DEFAULT: Self = Self {
        dag_id: "",
        display_name: None,
        description: None,
        doc: None,
        owners: &[],
        tags: &[],
        schedule: Schedule::Manual,
        assets: None,
        timezone: "UTC",
        start_us: None,
        end_us: None,
        catchup: false,
        jitter_ms: None,
        max_active_runs: 16,
        max_active_tasks: 16,
        run_timeout_ms: None,
        fail_fast: false,
        max_consecutive_failed_dag_runs: 0,
        deadline_ms: None,
        weight_rule: WeightRule::Absolute,
        concurrency: None,
        callbacks: &[],
        paused: None,
        allowed_run_types: &[],
        record: None,
        variables: &[],
        connections: &[],
        connection_secrets: &[],
        hosts: &[],
        dags: &[],
        memory_mib: None,
        build: |_| Ok(()),
    };

    /// Builds the graph.
    pub(crate) fn graph(&self) -> Result<Graph> {
        let mut dag = Dag { graph: RefCell::default() };
        let built = (self.build)(&mut dag);
        let mut graph = dag.graph.into_inner();
        built
            .and_then(|()| graph.wrong.take().map_or(Ok(()), Err))
            .map_err(|error| error.context(format!("dag `{}`", self.dag_id)))?;
        graph.name_tasks();
        let checked = graph.check_groups().and_then(|()| graph.check_mapping());
        checked.map_err(|error| error.context(format!("dag `{}`", self.dag_id)))?;
        Ok(graph)
    }
}

/// When a dag runs.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub enum Schedule {
    Manual,
    Once,
    Continuous,
    Cron { expressions: &'static [&'static str], data_interval: bool, calendar: Option<Calendar> },
    Events { instants_us: &'static [i64] },
    Every { period_ms: u64, data_interval: bool },
}

/// Business days.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    pub holidays: &'static [&'static str],
    /// From 0, which is Monday.
    pub weekend: &'static [u8],
    pub nth: &'static [i32],
}

/// A dag that is being built. Calling a task function with it adds a task.
///
/// A `#[dag]` function takes it as `&Dag` or `&mut Dag`.
pub struct Dag {
    graph: RefCell<Graph>,
}

impl fmt::Debug for Dag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dag").finish_non_exhaustive()
    }
}

/// The nodes so far. Small, for a dag may have 100,000 and `describe` has 64 MiB.
#[derive(Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    /// (downstream, upstream) of edges that carry no value.
    pub edges: BTreeSet<(u32, u32)>,
    /// What the page shows at an edge.
    pub labels: Vec<(u32, u32, String)>,
    pub groups: Vec<GroupNode>,
    /// The group that tasks are added to now.
    open_group: Option<u32>,
    lists: Vec<EachList>,
    pub params: Vec<ParamSpec>,
    /// The first thing that went wrong.
    wrong: Option<Error>,
}

pub(crate) struct Node {
    /// Empty until the graph is finished, unless the author chose one.
    pub task_id: String,
    pub entry: &'static Entry,
    pub inputs: Vec<(&'static str, Source)>,
    /// None: those of the entry.
    pub options: Option<Box<Options>>,
    pub role: Role,
    pub group: Option<u32>,
    pub expand: Option<Expand>,
    /// What it makes and reads, if it does.
    pub assets: Option<Box<NodeAssets>>,
}

/// The assets of a node.
#[derive(Debug, Default)]
pub(crate) struct NodeAssets {
    pub outlets: Vec<Asset>,
    pub inlets: Vec<Asset>,
}

/// Whether a task does the work, prepares it or cleans up after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Role {
    #[default]
    Work,
    Setup,
    Teardown {
        setups: Vec<u32>,
        on_failure_fail_dagrun: bool,
    },
}

impl Node {
    pub(crate) fn options(&self) -> &Options {
        self.options.as_deref().unwrap_or(&self.entry.options)
    }
}

pub(crate) struct ParamSpec {
    pub name: String,
    pub schema: serde_json::Value,
    pub default: Option<serde_json::Value>,
}

/// Where an input's value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Literal(Value),
    /// JSON, in which each text is a template.
    Template(String),
    Param(u32),
    Output(u32),
    /// All results of a mapped task.
    All(u32),
    /// An element of this list of the expansion of the node, or of the mapped group around it.
    Element {
        axis: usize,
        place: usize,
    },
}

impl Graph {
    /// The assets that the dag names, each once.
    pub(crate) fn assets(&self, condition: Option<&AssetCondition>) -> Result<Vec<Asset>> {
        let mut named = Vec::new();
        if let Some(condition) = condition {
            condition.assets(&mut named);
        }
        for assets in self.nodes.iter().filter_map(|node| node.assets.as_deref()) {
            named.extend(assets.outlets.iter().chain(&assets.inlets));
        }
        let mut assets: BTreeMap<&str, Asset> = BTreeMap::new();
        for asset in named {
            if *assets.entry(asset.name).or_insert(asset) != asset {
                return Err(Error::new(format!("there are two assets `{}` that differ; declare it once", asset.name)));
            }
        }
        Ok(assets.into_values().collect())
    }

    /// Names the tasks that have no id: by their function, the second of a group `name__1` and so on. All ids begin
    /// with that of their group.
    fn name_tasks(&mut self) {
        let mut counts: BTreeMap<(Option<u32>, &'static str), u32> = BTreeMap::new();
        for node in &mut self.nodes {
            if node.task_id.is_empty() {
                let count = counts.entry((node.group, node.entry.name)).or_default();
                node.task_id =
                    if *count == 0 { node.entry.name.to_owned() } else { format!("{}__{count}", node.entry.name) };
                *count += 1;
            }
            if let Some(group) = node.group {
                node.task_id = format!("{}.{}", self.groups[group as usize].name, node.task_id);
            }
        }
    }

    /// Groups are told apart by their names.
    fn check_groups(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        match self.groups.iter().find(|group| !names.insert(&group.name)) {
            Some(twin) => Err(Error::new(format!("two groups are called `{}`; give one another name", twin.name))),
            None => Ok(()),
        }
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }
}

impl Dag {
    /// A param that whoever triggers a run must give; a dag with one can't be scheduled.
    ///
    /// ```
    /// # use airlock_sdk::prelude::*;
    /// # #[task] fn greet(name: &str) -> String { format!("hello {name}") }
    /// #[dag]
    /// fn greeting(dag: &Dag) {
    ///     greet(dag, dag.param("name"));
    /// }
    /// # let host = airlock_sdk::testing::Host::new().param("name", "Ada");
    /// # assert_eq!(host.run_dag::<greeting>().unwrap().result::<String>("greet").unwrap(), "hello Ada");
    /// ```
    ///
    /// The type says what is taken and what the form asks for: an enum is a list to choose from, and schemars' attributes narrow a
    /// type. What does not fit is refused when the run is triggered.
    ///
    /// ```
    /// use airlock_sdk::prelude::*;
    ///
    /// #[data]
    /// enum Size { Small, Large }
    ///
    /// /// Of the users.
    /// #[data]
    /// struct Percent(#[schemars(range(min = 1, max = 100))] u32);
    ///
    /// #[task]
    /// fn ship(size: Size, share: Percent) { info!("{size:?} to {} %", share.0) }
    ///
    /// #[dag]
    /// fn shipping(dag: &Dag) {
    ///     ship(dag, dag.param("size"), dag.param_with_default("share", Percent(5)));
    /// }
    /// # let host = airlock_sdk::testing::Host::new().param("size", "Large");
    /// # assert!(host.run_dag::<shipping>().unwrap().succeeded());
    /// ```
    pub fn param<T: TaskInput>(&self, name: impl Into<String>) -> Param<'_, T> {
        self.add_param::<T>(name.into(), None)
    }

    /// A param that has the value `default` unless whoever triggers a run says otherwise. A text is a `String`: of a `&str` rustc says
    /// that the implementation of `Deserialize` is not general enough.
    ///
    /// ```
    /// # use airlock_sdk::prelude::*;
    /// # #[task] fn greet(name: String) -> String { format!("hello {name}") }
    /// #[dag(schedule = "@daily")]
    /// fn greeting(dag: &Dag) {
    ///     let name = dag.param_with_default("name", "world".to_owned()).description("Whom to greet.");
    ///     greet(dag, name);
    /// }
    /// # let run = airlock_sdk::testing::Host::new().run_dag::<greeting>().unwrap();
    /// # assert_eq!(run.result::<String>("greet").unwrap(), "hello world");
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a default is written where it is given")]
    pub fn param_with_default<T: TaskInput + Serialize>(&self, name: impl Into<String>, default: T) -> Param<'_, T> {
        let name = name.into();
        let written = match value::as_bytes(&default) {
            Some(_) => Err(Error::new(
                "a param is JSON, which `Bytes` are not; take a `String`, or let a task return the bytes",
            )),
            None => serde_json::to_value(&default).map_err(Error::from),
        };
        let value = written.unwrap_or_else(|error| {
            self.graph.borrow_mut().refuse(error.context(format!("the default of param `{name}`")));
            serde_json::Value::Null
        });
        self.add_param::<T>(name, Some(value))
    }

    fn add_param<T: TaskInput>(&self, name: String, default: Option<serde_json::Value>) -> Param<'_, T> {
        let mut schema = value::input_schema::<T>();
        if let Some(schema) = schema.as_object_mut() {
            // The form's label is the param's name, not its type's.
            schema.remove("title");
            schema.extend(default.clone().map(|default| ("default".to_owned(), default)));
        }
        let mut graph = self.graph.borrow_mut();
        if graph.params.iter().any(|param| param.name == name) {
            graph.refuse(Error::new(format!("param `{name}` is declared twice; declare it once and pass it on")));
        }
        graph.params.push(ParamSpec { name, schema, default });
        Param { dag: self, index: last(&graph.params), value: PhantomData }
    }

    /// Adds a node; for the functions that `#[task]` makes.
    #[doc(hidden)]
    pub fn add<T: Task, O>(&self, inputs: Vec<(&'static str, Input)>) -> Handle<'_, O> {
        let mut graph = self.graph.borrow_mut();
        let entry = T::entry();
        let mut expand = None;
        let mut bound = Vec::with_capacity(inputs.len());
        for (name, input) in inputs {
            let source = input.0.and_then(|given| match given {
                Given::Each(list) => graph.element(list, &mut expand),
                Given::Source(source) => Ok(source),
            });
            match source {
                Ok(source) => bound.push((name, source)),
                Err(error) => graph.refuse(error.context(format!("input `{name}` of a task `{}`", entry.name))),
            }
        }
        let group = graph.open_group;
        graph.nodes.push(Node {
            task_id: String::new(),
            entry,
            inputs: bound,
            options: None,
            role: Role::Work,
            group,
            expand,
            assets: None,
        });
        Handle { dag: self, index: last(&graph.nodes), output: PhantomData }
    }
}

fn last<T>(list: &[T]) -> u32 {
    next(list) - 1
}

/// The index that the next to be added will have.
fn next<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// A param of a dag that is being built: a `T` once a run has it.
pub struct Param<'dag, T> {
    dag: &'dag Dag,
    index: u32,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Param<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Param<'_, T> {}

impl<T> fmt::Debug for Param<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Param({})", self.index)
    }
}

#[expect(clippy::return_self_not_must_use, reason = "the param is in the dag whatever becomes of it here")]
impl<T> Param<'_, T> {
    /// What the trigger form says about it.
    pub fn description(self, text: impl Into<String>) -> Self {
        let mut graph = self.dag.graph.borrow_mut();
        if let Some(schema) = graph.params[self.index as usize].schema.as_object_mut() {
            schema.insert("description".into(), text.into().into());
        }
        drop(graph);
        self
    }
}

/// Where an input's value comes from, or why it can't.
#[doc(hidden)]
#[derive(Debug)]
pub struct Input(Result<Given>);

/// What is given for an input.
#[derive(Debug)]
enum Given {
    Source(Source),
    /// An element of this list for each instance: where it stands is known when the node is added.
    Each(u32),
}

/// What can be given to a task function for an input of type `T`: a `T`, or the handle of a task that returns a
/// `T`, or a [`Param`] of type `T`.
///
/// Where an input is an `Option<T>`, what gives a `T` will do as well; it is `None` if the upstream task was
/// skipped or returned nothing (which needs a trigger rule that lets the task start at all).
#[diagnostic::on_unimplemented(
    message = "this input takes `{T}`, and `{Self}` does not give one",
    label = "does not give a `{T}`",
    note = "an input takes a value, a dag's param, or the handle of a task that returns the same type",
    note = "a task is mapped over a list by `.each()`; the results of a mapped task are a list by `.all()`"
)]
pub trait IntoInput<T> {
    /// Where the value comes from.
    #[doc(hidden)]
    fn into_input(self, dag: &Dag) -> Input;
}

impl<T> IntoInput<T> for Handle<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        Input(same_dag(dag, self.dag).map(|()| Given::Source(Source::Output(self.index))))
    }
}

impl<T> IntoInput<Option<T>> for Handle<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        <Self as IntoInput<T>>::into_input(self, dag)
    }
}

impl<T> IntoInput<T> for Param<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        Input(same_dag(dag, self.dag).map(|()| Given::Source(Source::Param(self.index))))
    }
}

impl<T> IntoInput<Option<T>> for Param<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        <Self as IntoInput<T>>::into_input(self, dag)
    }
}

impl<T: Serialize + 'static> IntoInput<T> for T {
    fn into_input(self, _: &Dag) -> Input {
        Input(value::encode(&self).map(Source::Literal).map(Given::Source))
    }
}

impl<T: Serialize + 'static> IntoInput<Option<T>> for T {
    fn into_input(self, _: &Dag) -> Input {
        Input(value::encode(&self).map(Source::Literal).map(Given::Source))
    }
}

impl IntoInput<String> for &str {
    fn into_input(self, dag: &Dag) -> Input {
        <String as IntoInput<String>>::into_input(self.to_owned(), dag)
    }
}

impl IntoInput<Option<String>> for &str {
    fn into_input(self, dag: &Dag) -> Input {
        <String as IntoInput<String>>::into_input(self.to_owned(), dag)
    }
}

fn same_dag(one: &Dag, other: &Dag) -> Result<()> {
    if std::ptr::eq(one, other) { Ok(()) } else { Err(Error::new("the handle belongs to another dag")) }
}
