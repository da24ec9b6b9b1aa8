//! `ti.xcom_pull`: which values of which tasks.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Halt,
    evaluate::{Args, Found},
    scope::{Need, Pull},
    value::Val,
};
use crate::model::ids::{TaskId, XComKey};

/// What one call wants. Airflow: `TaskInstance.xcom_pull`.
pub(super) struct Wanted<'a> {
    tasks: Several<TaskId>,
    key: XComKey,
    map_indexes: Option<Several<i32>>,
    /// What stands for each value that is not there.
    default: Val<'a>,
}

/// One thing, or a list: which of them it is decides whether a list comes back.
enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Several<T> {
    fn of(value: &Val<'_>, each: impl Fn(&Value) -> Result<T, String>) -> Result<Self, String> {
        match value.as_json() {
            Some(Value::Array(items)) => Ok(Self::Many(items.iter().map(each).collect::<Result<_, _>>()?)),
            Some(one) => Ok(Self::One(each(one)?)),
            None => Err(format!("it is {}, and a value is wanted", value.kind())),
        }
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<'a> Wanted<'a> {
    /// Takes the arguments in Airflow's order: `task_ids`, `dag_id`, `key`, `include_prior_dates`, and by name
    /// `map_indexes` and `default`.
    ///
    /// # Errors
    /// What is missing, of the wrong kind, or of another run.
    pub fn new(args: &mut Args<'a>, own_dag: &str) -> Result<Self, String> {
        let given = |value: Option<Val<'a>>| value.filter(|value| !value.is_null());
        let tasks = given(args.maybe("task_ids")).ok_or("`task_ids` is missing; write `ti.xcom_pull('<task_id>')`")?;
        let tasks = Several::of(&tasks, |task| match task.as_str() {
            Some(id) => TaskId::new(id).map_err(|error| error.to_string()),
            None => Err("`task_ids` is a task_id, or a list of them".to_owned()),
        })?;
        if let Some(dag) = given(args.maybe("dag_id"))
            && dag.as_text() != Some(own_dag)
        {
            return Err("a template sees XComs of its own run only; wait for the other dag in a task".into());
        }
        let key = given(args.maybe("key"));
        let key = match key.as_ref().map(|key| key.as_text().ok_or_else(|| format!("`key` is {}", key.kind()))) {
            None => XComKey::return_value(),
            Some(key) => XComKey::new(key?).map_err(|error| error.to_string())?,
        };
        if args.maybe("include_prior_dates").and_then(|flag| flag.is_true()) == Some(true) {
            return Err(
                "a template sees XComs of its own run only; let the task read others (`xcom::pull_runs`)".into()
            );
        }
        let map_index = |index: &Value| {
            let index = index.as_i64().and_then(|index| i32::try_from(index).ok()).filter(|index| *index >= -1);
            index.ok_or_else(|| "`map_indexes` is a number from 0 on, or a list of them".to_owned())
        };
        let map_indexes =
            given(args.maybe("map_indexes")).map(|indexes| Several::of(&indexes, map_index)).transpose()?;
        Ok(Self { tasks, key, map_indexes, default: args.maybe("default").unwrap_or(Val::NULL) })
    }

    /// The value, or a list of them if lists were given.
    ///
    /// # Errors
    /// [`Halt::Needs`] as long as something is not known.
    pub fn value(self, known: &'a BTreeMap<Pull, Option<Value>>) -> Found<'a> {
        let indexes: Vec<_> = match &self.map_indexes {
            None => vec![None],
            Some(indexes) => indexes.as_slice().iter().copied().map(Some).collect(),
        };
        let mut found = Vec::new();
        for task_id in self.tasks.as_slice() {
            for map_index in &indexes {
                let pull = Pull { task_id: task_id.clone(), key: self.key.clone(), map_index: *map_index };
                match known.get(&pull) {
                    None => return Err(Halt::Needs(Need::XCom(pull))),
                    Some(value) => found.push(value.as_ref().map_or_else(|| self.default.clone(), Val::from)),
                }
            }
        }
        let is_one = matches!(self.tasks, Several::One(_)) && !matches!(self.map_indexes, Some(Several::Many(_)));
        match found.pop() {
            Some(only) if is_one => Ok(only),
            last => {
                found.extend(last);
                let values =
                    found.iter().map(|value| value.to_json().map_or(Value::Null, std::borrow::Cow::into_owned));
                Ok(Value::Array(values.collect()).into())
            }
        }
    }
}
