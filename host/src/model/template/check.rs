//! What can be said of a template before it is rendered: that it names nothing that is not there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    TemplateError,
    evaluate::{READ_NAMES, RUN_NAMES, TASK_NAMES, attributes_of},
    functions::Filter,
    syntax::{Arguments, Expr, Kind, Piece, Place},
};
use crate::model::{
    grants::Grants,
    ids::{ConnectionId, VariableKey},
};

/// What a template may name.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The dag's params.
    pub params: &'a BTreeSet<&'a str>,
    /// None: nothing can be read where it is rendered, as variables and connections.
    pub grants: Option<&'a Grants>,
    /// Whether there is a task instance.
    pub has_task: bool,
    /// The inputs of the task that it may use.
    pub inputs: Option<&'a BTreeSet<&'a str>>,
}

/// A task whose XComs a template pulls, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledTask {
    pub task_id: String,
    place: Place,
}

impl PulledTask {
    /// That it is wrong, for `why`.
    pub fn wrong(&self, why: impl Into<String>) -> TemplateError {
        self.place.wrong(why)
    }
}

impl Names<'_> {
    pub(super) fn check(&self, pieces: &[Piece]) -> Result<Vec<PulledTask>, TemplateError> {
        let mut walk = Walk { names: self, locals: Vec::new(), pulled: Vec::new() };
        walk.pieces(pieces)?;
        Ok(walk.pulled)
    }
}

struct Walk<'a> {
    names: &'a Names<'a>,
    /// Names that the template itself gives.
    locals: Vec<String>,
    pulled: Vec<PulledTask>,
}

impl Walk<'_> {
    fn pieces(&mut self, pieces: &[Piece]) -> Result<(), TemplateError> {
        for piece in pieces {
            match piece {
                Piece::Text(_) => {}
                Piece::Emit(value) => self.expr(value)?,
                Piece::If { test, then, otherwise } => {
                    self.expr(test)?;
                    self.pieces(then)?;
                    self.pieces(otherwise)?;
                }
                Piece::For { names, list, filter, body, otherwise } => {
                    self.expr(list)?;
                    let outer = self.locals.len();
                    self.locals.extend(names.iter().cloned().chain(["loop".to_owned()]));
                    filter.as_ref().map_or(Ok(()), |filter| self.expr(filter))?;
                    self.pieces(body)?;
                    self.locals.truncate(outer);
                    self.pieces(otherwise)?;
                }
                Piece::Set { name, value } => {
                    self.expr(value)?;
                    self.locals.push(name.clone());
                }
            }
        }
        Ok(())
    }

    fn all<'e>(&mut self, values: impl IntoIterator<Item = &'e Expr>) -> Result<(), TemplateError> {
        values.into_iter().try_for_each(|value| self.expr(value))
    }

    fn arguments(&mut self, arguments: &Arguments) -> Result<(), TemplateError> {
        self.all(&arguments.positional)?;
        self.all(arguments.named.iter().map(|(_, value)| value))
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), TemplateError> {
        match &*expr.kind {
            Kind::Constant(_) => Ok(()),
            Kind::Name(name) => self.name(expr.place, name),
            Kind::Attribute(of, name) => {
                self.expr(of)?;
                self.attribute(expr.place, of, name, false)
            }
            Kind::Item(of, key) => {
                self.all([of, key])?;
                match &*key.kind {
                    Kind::Constant(Value::String(name)) => self.attribute(expr.place, of, name, false),
                    _ => Ok(()),
                }
            }
            Kind::Slice { of, start, stop } => {
                self.expr(of)?;
                self.all(start.iter().chain(stop))
            }
            Kind::Not(value) | Kind::Negative(value) => self.expr(value),
            Kind::Test(_, value) => self.softly(value),
            Kind::Binary(_, left, right) => self.all([left, right]),
            Kind::If { test, then, otherwise } => {
                self.all([test, then])?;
                self.all(otherwise)
            }
            Kind::Filter(filter, value, arguments) => {
                if *filter == Filter::Default {
                    self.softly(value)?;
                } else {
                    self.expr(value)?;
                }
                self.arguments(arguments)
            }
            Kind::Call(function, arguments) => {
                match &*function.kind {
                    Kind::Name(name) if name == "range" => {}
                    // A method: what it is of decides, and says so when it is rendered.
                    Kind::Attribute(of, name) => {
                        self.expr(of)?;
                        let is_instance = matches!(&*of.kind, Kind::Name(of) if is_instance(of) && !self.is_local(of));
                        if is_instance && name == "xcom_pull" {
                            self.pull(function.place, arguments)?;
                        }
                    }
                    _ => return Err(function.place.wrong("this can't be called")),
                }
                self.arguments(arguments)
            }
            Kind::List(values) => self.all(values),
            Kind::Map(entries) => self.all(entries.iter().flat_map(|(key, value)| [key, value])),
        }
    }

    /// Notes the tasks that `ti.xcom_pull` names, where they are written out.
    fn pull(&mut self, place: Place, arguments: &Arguments) -> Result<(), TemplateError> {
        if self.names.grants.is_none() {
            return Err(place.wrong("xcoms can't be read here: nothing but the run and its params is known"));
        }
        let named = arguments.named.iter().find(|(name, _)| name == "task_ids").map(|(_, value)| value);
        let Some(tasks) = arguments.positional.first().or(named) else {
            return Err(place.wrong("`task_ids` is missing; write `ti.xcom_pull('<task_id>')`"));
        };
        let mut note = |task: &Expr| {
            if let Kind::Constant(Value::String(task_id)) = &*task.kind {
                self.pulled.push(PulledTask { task_id: task_id.clone(), place: task.place });
            }
        };
        match &*tasks.kind {
            Kind::List(tasks) => tasks.iter().for_each(note),
            _ => note(tasks),
        }
        Ok(())
    }

    /// What may be undefined, for somebody asks whether it is.
    fn softly(&mut self, expr: &Expr) -> Result<(), TemplateError> {
        match &*expr.kind {
            Kind::Attribute(of, name) => {
                self.expr(of)?;
                self.attribute(expr.place, of, name, true)
            }
            _ => self.expr(expr),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|local| local == name)
    }

    fn name(&self, place: Place, name: &str) -> Result<(), TemplateError> {
        let names = self.names;
        let of_task = TASK_NAMES.contains(&name) && names.has_task;
        let is_read = ["var", "conn"].contains(&name) || (READ_NAMES.contains(&name) && names.has_task);
        let with_grants = is_read && names.grants.is_some();
        let inputs = name == "inputs" && names.inputs.is_some();
        if self.is_local(name) || RUN_NAMES.contains(&name) || of_task || with_grants || inputs {
            return Ok(());
        }
        let why = match name {
            _ if name == "var" || name == "conn" || READ_NAMES.contains(&name) => {
                format!("`{name}` can't be read here: nothing but the run and its params is known")
            }
            "ti" | "task_instance" | "task" => format!("there is no `{name}` here: it is rendered for a run"),
            "inputs" => "there is no `inputs` here; a label or a concurrency key of a task has them".to_owned(),
            "execution_date" | "next_ds" | "prev_ds" | "tomorrow_ds" | "yesterday_ds" => {
                format!("there is no `{name}` any more; write `macros.ds_add(ds, 1)` or use `data_interval_end`")
            }
            _ => {
                let mut known = RUN_NAMES.to_vec();
                known.extend(TASK_NAMES.iter().filter(|_| names.has_task));
                known.extend(["var", "conn"].iter().chain(&READ_NAMES).filter(|_| names.grants.is_some()));
                known.extend(["inputs"].iter().filter(|_| names.inputs.is_some()));
                format!("there is no `{name}`; there are {}", known.join(", "))
            }
        };
        Err(place.wrong(why))
    }

    /// `of.name`, as far as `of` is known. `is_soft`: it may be missing.
    fn attribute(&self, place: Place, of: &Expr, name: &str, is_soft: bool) -> Result<(), TemplateError> {
        match &*of.kind {
            Kind::Name(space) if !self.is_local(space) => match space.as_str() {
                "params" if !self.names.params.contains(name) && !is_soft => {
                    let known: Vec<_> = self.names.params.iter().copied().collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    Err(place.wrong(format!(
                        "the dag has no param `{name}`; it has {known}. What a trigger gives beyond them is in \
                         `dag_run.conf`"
                    )))
                }
                "inputs" => match self.names.inputs {
                    Some(inputs) if !inputs.contains(name) && !is_soft => {
                        let known: Vec<_> = inputs.iter().copied().collect();
                        Err(place.wrong(format!("the task has no input `{name}`; it has {}", known.join(", "))))
                    }
                    _ => Ok(()),
                },
                "conn" => {
                    let id = ConnectionId::new(name).map_err(|error| place.wrong(error.to_string()))?;
                    match self.names.grants {
                        Some(grants) if !grants.allows_connection(&id) => {
                            Err(place.wrong(format!("grant `connection:{id}` is missing in the dag")))
                        }
                        _ => Ok(()),
                    }
                }
                space => match attributes_of(space) {
                    Some(known) if !known.contains(&name) => {
                        Err(place.wrong(format!("`{space}` has no `{name}`; it has {}", known.join(", "))))
                    }
                    _ => Ok(()),
                },
            },
            Kind::Attribute(space, kind) if matches!(&*space.kind, Kind::Name(space) if space == "var") => {
                if kind != "value" && kind != "json" {
                    return Ok(());
                }
                let key = VariableKey::new(name).map_err(|error| place.wrong(error.to_string()))?;
                match self.names.grants {
                    Some(grants) if !grants.allows_variable(&key) => {
                        Err(place.wrong(format!("grant `variable:{key}` is missing in the dag")))
                    }
                    _ => Ok(()),
                }
            }
            Kind::Attribute(space, _)
                if matches!(&*space.kind, Kind::Name(space) if space == "conn")
                    && ["password", "extra", "extra_dejson"].contains(&name) =>
            {
                Err(place.wrong(super::value::no_secrets(name)))
            }
            _ => Ok(()),
        }
    }
}

fn is_instance(name: &str) -> bool {
    matches!(name, "ti" | "task_instance")
}
