//! Task types: what `run` can be asked to do.

use std::marker::PhantomData;

use crate::{
    context::Context,
    error::{Error, Fatal, Later, Result, Skip},
    options::Options,
    value::{self, TaskInput, TaskOutput, Value},
};

/// A function marked [`#[task]`](macro@crate::task). The macro implements it for a type of the function's name.
#[diagnostic::on_unimplemented(message = "`{Self}` is no task", label = "not marked `#[task]`")]
pub trait Task {
    /// What the component says of the task.
    #[doc(hidden)]
    fn entry() -> &'static Entry;
}

/// What the component says of a task, all of it known at compile time.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entry {
    pub name: &'static str,
    pub doc: Option<&'static str>,
    pub inputs: &'static [Parameter],
    pub output: fn() -> Option<serde_json::Value>,
    pub options: Options,
    pub run: fn(&Context, &mut Inputs) -> Result<Outcome>,
}

/// An argument of a task.
#[doc(hidden)]
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub required: bool,
    pub schema: fn() -> serde_json::Value,
}

/// Which of the tasks directly downstream run; the others are skipped. The result of a `#[task(branch)]`.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task(branch)]
/// fn check(rows: u32) -> Branch {
///     if rows > 0 { Branch::to(load::ID) } else { Branch::to(complain::ID) }
/// }
///
/// #[task]
/// fn load() {}
///
/// #[task]
/// fn complain() {}
///
/// #[dag]
/// fn checked(dag: &Dag) {
///     let check = check(dag, dag.param_with_default("rows", 0));
///     load(dag).after(check);
///     complain(dag).after(check);
/// }
/// # let run = airlock_sdk::testing::Host::new().run_dag::<checked>().unwrap();
/// # use airlock_sdk::testing::TaskState;
/// # assert_eq!((run.state("load"), run.state("complain")), (TaskState::Skipped, TaskState::Success));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branch {
    pub(crate) task_ids: Vec<String>,
}

impl Branch {
    /// The task `task_id` runs.
    ///
    /// A task that was not given another id has its function's name, which stands in its constant `ID`.
    pub fn to(task_id: impl Into<String>) -> Self {
        Self { task_ids: vec![task_id.into()] }
    }

    /// The tasks `task_ids` run.
    pub fn to_all<S: Into<String>>(task_ids: impl IntoIterator<Item = S>) -> Self {
        Self { task_ids: task_ids.into_iter().map(Into::into).collect() }
    }

    /// No task directly downstream runs.
    pub fn none() -> Self {
        Self::default()
    }

    /// The tasks that run.
    pub fn task_ids(&self) -> &[String] {
        &self.task_ids
    }
}

/// What a task decides that is a `#[task(short_circuit)]` and does not return a `bool`.
///
/// ```
/// use airlock_sdk::{ShortCircuit, prelude::*};
///
/// #[task(short_circuit)]
/// fn enough(rows: u64) -> ShortCircuit {
///     match rows {
///         0 => ShortCircuit::SkipDownstream,
///         1..100 => ShortCircuit::SkipDirectlyDownstream,
///         _ => ShortCircuit::GoOn,
///     }
/// }
/// ```
///
/// Airflow: ShortCircuitOperator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShortCircuit {
    /// What is downstream runs by its trigger rules.
    GoOn,
    /// All that is downstream is skipped, whatever the trigger rules say, but for teardowns.
    SkipDownstream,
    /// What is directly downstream is skipped, but for teardowns, and the rest goes by its trigger rules. Airflow:
    /// `ignore_downstream_trigger_rules=False`.
    SkipDirectlyDownstream,
}

/// What a `#[task(short_circuit)]` may return.
#[doc(hidden)]
pub trait Decision: TaskOutput + Sized {
    /// The outcome of the task; `ignore_rules` is the macro's argument, for what does not say it itself.
    fn outcome(&self, ignore_rules: bool) -> Result<Outcome>;
}

impl Decision for bool {
    fn outcome(&self, ignore_rules: bool) -> Result<Outcome> {
        if *self { Outcome::of(self) } else { Ok(Outcome::ShortCircuit(ignore_rules)) }
    }
}

impl Decision for ShortCircuit {
    fn outcome(&self, _: bool) -> Result<Outcome> {
        match self {
            Self::GoOn => Outcome::of(self),
            Self::SkipDownstream => Ok(Outcome::ShortCircuit(true)),
            Self::SkipDirectlyDownstream => Ok(Outcome::ShortCircuit(false)),
        }
    }
}

/// Whether what a task returns is a `Result`. `#[task]` knows one by its name, so another name for it would make
/// errors results.
#[doc(hidden)]
#[derive(Debug)]
pub struct Returned<T>(PhantomData<T>);

impl<T, E> Returned<std::result::Result<T, E>> {
    pub const IS_RESULT: bool = true;
}

/// What no `Result` is. (Constants of the type itself go before those of traits.)
#[doc(hidden)]
pub trait Plain {
    const IS_RESULT: bool = false;
}

impl<T> Plain for Returned<T> {}

/// How the body of a task ended well.
#[doc(hidden)]
#[derive(Debug)]
pub enum Outcome {
    Success(Option<Encoded>),
    Branch(Branch),
    /// Whether the trigger rules of what is downstream are ignored.
    ShortCircuit(bool),
}

/// A value that only this crate can look into.
#[doc(hidden)]
#[derive(Debug)]
pub struct Encoded(pub(crate) Value);

impl Outcome {
    /// The outcome of a task that returned `value`.
    pub fn of<T: TaskOutput>(value: &T) -> Result<Self> {
        let value =
            value::encode_result(value).map_err(|error| error.context("writing the result")).map_err(Fatal::because)?;
        Ok(Self::Success(value.map(Encoded)))
    }
}

/// The values of an attempt's inputs.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Inputs(pub(crate) Vec<(String, Option<Value>)>);

impl Inputs {
    /// Takes out the input `name`.
    pub fn take<T: TaskInput>(&mut self, name: &'static str, required: bool) -> Result<T> {
        let value = self.0.iter_mut().find(|(known, _)| known == name).and_then(|(_, value)| value.take());
        let read = match value {
            Some(value) => value::decode(value),
            None if required => {
                Err(Error::new("it has no value: nothing is bound, or the upstream task returned none"))
            }
            None => serde_json::from_slice(b"null").map_err(Error::from),
        };
        read.map_err(|error| Fatal::because(error.context(format!("input `{name}`"))).into())
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Success(Option<Value>),
    Branch(Vec<String>),
    ShortCircuit(bool),
    Skipped(Option<String>),
    Later(Later),
    Failed(Error),
}

/// Runs one attempt.
pub(crate) fn run(entry: &Entry, ctx: &Context, mut inputs: Inputs) -> Ending {
    match (entry.run)(ctx, &mut inputs) {
        Ok(Outcome::Success(value)) => Ending::Success(value.map(|value| value.0)),
        Ok(Outcome::Branch(branch)) => Ending::Branch(branch.task_ids),
        Ok(Outcome::ShortCircuit(all)) => Ending::ShortCircuit(all),
        Err(error) => {
            if let Some(skip) = error.find::<Skip>() {
                Ending::Skipped(skip.reason.clone())
            } else if let Some(later) = error.find::<Later>() {
                Ending::Later(later.clone())
            } else {
                Ending::Failed(error)
            }
        }
    }
}
