//! Inputs that are rendered for each attempt.

use std::{fmt, marker::PhantomData};

use super::{Dag, Given, Input, IntoInput, Source, same_dag};
use crate::error::Result;

/// A template: an input that the server renders for each attempt, as a `T`. See [`Dag::template`].
pub struct Template<'dag, T> {
    dag: &'dag Dag,
    json: String,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Template<'_, T> {
    fn clone(&self) -> Self {
        Self { dag: self.dag, json: self.json.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Template<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.json)
    }
}

impl Dag {
    /// An input that is rendered for each attempt, in the language of Jinja and with Airflow's names: `ds`, `ts`,
    /// `data_interval_start`, `params`, `var`, `conn`, `macros` and so on. `docs/templates.md` has them all.
    ///
    /// Where the input is a text, the template gives text. Where it is something else, a template that is one expression
    /// gives the expression's value: `{{ params.limit }}` a number. A JSON value (`json!(..)`) is rendered in each of its
    /// texts. What it names needs the grants that the task's own calls would; names that are not there are refused at the
    /// upload.
    ///
    /// ```
    /// use airlock_sdk::prelude::*;
    ///
    /// #[task]
    /// fn load(path: &str, limit: u32) -> String { format!("{limit} rows of {path}") }
    ///
    /// #[dag(schedule = "@daily")]
    /// fn loading(dag: &Dag) {
    ///     dag.param_with_default("limit", 100_u32);
    ///     load(dag, dag.template("s3://lake/{{ ds_nodash }}.csv"), dag.template("{{ params.limit }}"));
    /// }
    /// // A test says what templates are rendered to: rendering is the server's.
    /// # let host = airlock_sdk::testing::Host::new();
    /// let host = host.rendered("s3://lake/{{ ds_nodash }}.csv", "s3://lake/20260131.csv").rendered("{{ params.limit }}", 5);
    /// assert_eq!(host.run_dag::<loading>().unwrap().result::<String>("load").unwrap(), "5 rows of s3://lake/20260131.csv");
    /// ```
    pub fn template<T>(&self, template: impl Into<serde_json::Value>) -> Template<'_, T> {
        Template { dag: self, json: template.into().to_string(), value: PhantomData }
    }
}

fn given<T>(template: Template<'_, T>, dag: &Dag) -> Result<Given> {
    same_dag(dag, template.dag)?;
    Ok(Given::Source(Source::Template(template.json)))
}

impl<T> IntoInput<T> for Template<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        Input(given(self, dag))
    }
}
