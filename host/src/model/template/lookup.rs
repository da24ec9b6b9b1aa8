//! What names stand for.

use std::borrow::Cow;

use chrono_tz::Tz;
use serde_json::Value;

use super::{
    Halt,
    evaluate::{Args, Found, Renderer, wrong},
    functions::{self, Filter, short},
    instants::part_of_instant,
    scope::{Need, PreviousRun},
    syntax::Place,
    value::{Space, Val, no_secrets},
};
use crate::model::{
    ids::{ConnectionId, VariableKey},
    time::Timestamp,
};

impl<'a> Renderer<'a> {
    pub(super) fn name(&self, name: &str) -> Found<'a> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(known, _)| known == name) {
            return Ok(value.clone());
        }
        let run = &self.scope.run;
        let of_date = |filter: Filter| {
            let Some(at) = run.logical_date else {
                let what = format!("`{name}`: the run has no logical date; `dag_run.run_after` is always there");
                return Ok(Val::Undefined(what));
            };
            functions::filter(filter, &at_utc(at), &mut Args::none()).or_else(|why| wrong(Place::default(), why))
        };
        let absent = || Val::Undefined(format!("`{name}`: the run has none"));
        Ok(match name {
            "ds" => return of_date(Filter::Ds),
            "ds_nodash" => return of_date(Filter::DsNodash),
            "ts" => return of_date(Filter::Ts),
            "ts_nodash" => return of_date(Filter::TsNodash),
            "ts_nodash_with_tz" => return of_date(Filter::TsNodashWithTz),
            "logical_date" => run.logical_date.map_or_else(absent, at_utc),
            "data_interval_start" => run.data_interval.map_or_else(absent, |interval| at_utc(interval.start)),
            "data_interval_end" => run.data_interval.map_or_else(absent, |interval| at_utc(interval.end)),
            "dag" => Val::Space(Space::Dag),
            "dag_run" => Val::Space(Space::DagRun),
            "run_id" => run.run_id.into(),
            "params" | "conf" => run.params.into(),
            "macros" => Val::Space(Space::Macros),
            "var" => Val::Space(Space::Var),
            "conn" => Val::Space(Space::Conn),
            "prev_data_interval_start_success" => self.previous(|run| Some(run.data_interval?.start))?,
            "prev_data_interval_end_success" => self.previous(|run| Some(run.data_interval?.end))?,
            "prev_start_date_success" => self.previous(|run| run.start_date)?,
            "prev_end_date_success" => self.previous(|run| run.end_date)?,
            "triggering_asset_events" => match &self.scope.known.asset_events {
                Some(events) => events.into(),
                None => return Err(Halt::Needs(Need::AssetEvents)),
            },
            _ => match (name, &self.scope.task) {
                ("task", Some(_)) => Val::Space(Space::Task),
                ("ti" | "task_instance", Some(_)) => Val::Space(Space::Instance),
                ("try_number", Some(task)) => i64::from(task.try_number).into(),
                ("inputs", Some(task)) => task.inputs.map_or_else(absent, Val::from),
                _ => absent(),
            },
        })
    }

    pub(super) fn attribute(&mut self, of: Val<'a>, name: &str, place: Place) -> Found<'a> {
        let missing = |what: &str| Ok(Val::Undefined(format!("`{}` in {what}", short(name))));
        let run = &self.scope.run;
        match of {
            Val::Json(json) => match json {
                Cow::Borrowed(Value::Object(fields)) => {
                    fields.get(name).map_or_else(|| missing("the map"), |value| Ok(value.into()))
                }
                Cow::Owned(Value::Object(mut fields)) => {
                    fields.swap_remove(name).map_or_else(|| missing("the map"), |value| Ok(value.into()))
                }
                other => wrong(place, format!("{} has no `{}`", Val::Json(other).kind(), short(name))),
            },
            Val::Instant(at) => match part_of_instant(&at, name) {
                Some(number) => Ok(number.into()),
                None => wrong(place, format!("an instant has no `{}`", short(name))),
            },
            Val::Span(span) => match name {
                "days" => Ok(span.num_days().into()),
                "seconds" => Ok((span.num_seconds() % 86_400).into()),
                _ => wrong(place, format!("a length of time has no `{}`", short(name))),
            },
            Val::Undefined(what) => wrong(place, format!("there is no {what}")),
            Val::Space(space) => match (space, name) {
                (Space::Dag | Space::DagRun | Space::Instance, "dag_id") => Ok(run.dag_id.into()),
                (Space::Dag, "timezone") => Ok(run.timezone.name().into()),
                (Space::DagRun | Space::Instance, "run_id") => Ok(run.run_id.into()),
                (Space::DagRun, "run_type") => Ok(run.run_type.as_str().into()),
                (Space::DagRun, "run_after") => Ok(at_utc(run.run_after)),
                (Space::DagRun, "conf") => self.name("conf"),
                (Space::DagRun, "logical_date" | "data_interval_start" | "data_interval_end") => self.name(name),
                (Space::Task | Space::Instance, _) => {
                    let of_task = self.scope.task.and_then(|task| {
                        Some(match name {
                            "task_id" => task.task_id.into(),
                            "map_index" => i64::from(task.map_index).into(),
                            "try_number" => i64::from(task.try_number).into(),
                            "max_tries" => i64::from(task.max_tries).into(),
                            _ => return None,
                        })
                    });
                    of_task.map_or_else(|| missing("the task instance"), Ok)
                }
                (Space::Var, "value") => Ok(Val::Space(Space::VarValue)),
                (Space::Var, "json") => Ok(Val::Space(Space::VarJson)),
                (Space::VarValue | Space::VarJson, _) => self.variable(space, name, place),
                (Space::Conn, _) => self.connection(name, place),
                (Space::Connection(facts), _) => match name {
                    "conn_type" => Ok(facts.conn_type.as_str().into()),
                    "host" => Ok(maybe(facts.host.as_deref())),
                    "schema" => Ok(maybe(facts.schema.as_deref())),
                    "login" => Ok(maybe(facts.login.as_deref())),
                    "port" => Ok(facts.port.map_or(Val::NULL, |port| i64::from(port).into())),
                    "password" | "extra" | "extra_dejson" => wrong(place, no_secrets(name)),
                    _ => missing("the connection; it has conn_type, host, schema, login, port"),
                },
                (Space::Macros, "datetime") => Ok(Val::Space(Space::Datetime)),
                (Space::Loop { index, length }, _) => match name {
                    "index" => Ok((index + 1).into()),
                    "index0" => Ok(index.into()),
                    "first" => Ok((index == 0).into()),
                    "last" => Ok((index + 1 == length).into()),
                    "length" => Ok(length.into()),
                    _ => missing("the loop; it has index, index0, first, last, length"),
                },
                _ => missing("it"),
            },
        }
    }

    pub(super) fn item(&mut self, of: Val<'a>, key: &Val<'a>, place: Place) -> Found<'a> {
        if let Some(name) = key.as_text() {
            return self.attribute(of, name, place);
        }
        let (Some(index), Some(json)) = (key.as_i64(), of.as_json()) else {
            return wrong(place, format!("{} has no item named by {}", of.kind(), key.kind()));
        };
        let at = |length: usize| {
            let index = if index < 0 { i64::try_from(length).ok()?.checked_add(index)? } else { index };
            usize::try_from(index).ok()
        };
        let found = match json {
            Value::Array(items) => at(items.len()).and_then(|at| items.get(at)).cloned(),
            Value::String(text) => {
                at(text.chars().count()).and_then(|at| text.chars().nth(at)).map(|letter| Value::String(letter.into()))
            }
            _ => return wrong(place, format!("{} has no item {index}", of.kind())),
        };
        Ok(found.map_or_else(|| Val::Undefined(format!("item {index} in it")), Val::from))
    }

    fn variable(&self, space: Space<'a>, name: &str, place: Place) -> Found<'a> {
        let key = VariableKey::new(name).or_else(|error| wrong(place, error.to_string()))?;
        match self.scope.known.variables.get(&key) {
            None => Err(Halt::Needs(Need::Variable(key))),
            Some(None) => Ok(Val::Undefined(format!("variable `{key}`"))),
            Some(Some(text)) if matches!(space, Space::VarJson) => match serde_json::from_str::<Value>(text) {
                Ok(value) => Ok(value.into()),
                Err(_) => wrong(place, format!("variable `{key}` is not JSON")),
            },
            Some(Some(text)) => Ok(text.as_str().into()),
        }
    }

    /// An instant of the newest run before this one that succeeded; `none` if there is no such run, as in Airflow.
    fn previous(&self, instant: impl FnOnce(&PreviousRun) -> Option<Timestamp>) -> Found<'a> {
        match &self.scope.known.previous_success {
            None => Err(Halt::Needs(Need::PreviousSuccess)),
            Some(run) => Ok(run.as_ref().and_then(instant).map_or(Val::NULL, at_utc)),
        }
    }

    fn connection(&self, name: &str, place: Place) -> Found<'a> {
        let id = ConnectionId::new(name).or_else(|error| wrong(place, error.to_string()))?;
        match self.scope.known.connections.get(&id) {
            None => Err(Halt::Needs(Need::Connection(id))),
            Some(None) => Ok(Val::Undefined(format!("connection `{id}`"))),
            Some(Some(facts)) => Ok(Val::Space(Space::Connection(facts))),
        }
    }
}

fn maybe(text: Option<&str>) -> Val<'_> {
    text.map_or(Val::NULL, Val::from)
}

fn at_utc<'a>(at: Timestamp) -> Val<'a> {
    Val::Instant(at.to_utc().with_timezone(&Tz::UTC))
}
