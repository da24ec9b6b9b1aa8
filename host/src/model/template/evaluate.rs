//! Renders: walks the tree, and counts what it does.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    Halt, MAX_RENDERED_BYTES,
    arithmetic::{arithmetic, range, slice},
    functions::{self, Filter, map, plain},
    pulls,
    scope::Scope,
    syntax::{Arguments, Expr, Kind, Operator, Piece, Place},
    value::{Space, Val},
};

/// Expressions and parts that may be evaluated: some ten milliseconds.
const MAX_STEPS: u32 = 100_000;
/// Lists in lists: as deep as JSON is read.
const MAX_DEPTH: usize = 128;

/// Names that every template has.
pub(super) const RUN_NAMES: [&str; 15] = [
    "ds",
    "ds_nodash",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "dag",
    "dag_run",
    "run_id",
    "params",
    "conf",
    "macros",
    "range",
];
/// Names of what is read from the database, for those that are rendered for an attempt.
pub(super) const READ_NAMES: [&str; 5] = [
    "prev_data_interval_start_success",
    "prev_data_interval_end_success",
    "prev_start_date_success",
    "prev_end_date_success",
    "triggering_asset_events",
];
/// Names of those that are rendered for a task instance.
pub(super) const TASK_NAMES: [&str; 4] = ["task", "ti", "task_instance", "try_number"];

/// What a name that holds others has; none: that is not known beforehand.
pub(super) fn attributes_of(space: &str) -> Option<&'static [&'static str]> {
    Some(match space {
        "dag" => &["dag_id", "timezone"],
        "dag_run" => &[
            "dag_id",
            "run_id",
            "run_type",
            "logical_date",
            "data_interval_start",
            "data_interval_end",
            "run_after",
            "conf",
        ],
        "task" => &["task_id"],
        "ti" | "task_instance" => &["task_id", "dag_id", "run_id", "map_index", "try_number", "max_tries"],
        "var" => &["value", "json"],
        "macros" => &["ds_add", "ds_format", "datetime", "timedelta"],
        _ => return None,
    })
}

/// Arguments of a call, as they are taken.
#[derive(Debug)]
pub(super) struct Args<'a> {
    positional: std::vec::IntoIter<Val<'a>>,
    named: Vec<(String, Val<'a>)>,
}

impl<'a> Args<'a> {
    /// No arguments.
    pub fn none() -> Self {
        Self { positional: Vec::new().into_iter(), named: Vec::new() }
    }

    /// The next by position, or that of this name.
    pub fn maybe(&mut self, name: &str) -> Option<Val<'a>> {
        let named = self.named.iter().position(|(known, _)| known == name);
        self.positional.next().or_else(|| named.map(|at| self.named.swap_remove(at).1))
    }

    pub fn maybe_text(&mut self, name: &str) -> Result<Option<String>, String> {
        let text = |value: Val<'_>| {
            let found = value.as_text().map(ToOwned::to_owned);
            found.ok_or_else(|| format!("`{name}` is {}, and a text is wanted", value.kind()))
        };
        self.maybe(name).map(text).transpose()
    }

    pub fn maybe_number(&mut self, name: &str) -> Result<Option<i64>, String> {
        let number = |value: Val<'_>| {
            value.as_i64().ok_or_else(|| format!("`{name}` is {}, and a whole number is wanted", value.kind()))
        };
        self.maybe(name).map(number).transpose()
    }

    pub fn text(&mut self, name: &str) -> Result<String, String> {
        self.maybe_text(name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    pub fn number(&mut self, name: &str) -> Result<i64, String> {
        self.maybe_number(name)?.ok_or_else(|| format!("`{name}` is missing"))
    }

    /// Refuses what was not taken.
    fn finish(self) -> Result<(), String> {
        match (self.positional.len(), self.named.first()) {
            (0, None) => Ok(()),
            (0, Some((name, _))) => Err(format!("it takes no `{name}`")),
            (many, _) => Err(format!("{many} arguments too many")),
        }
    }
}

/// One rendering.
pub(super) struct Renderer<'a> {
    pub(super) scope: &'a Scope<'a>,
    pub(super) locals: Vec<(String, Val<'a>)>,
    steps: u32,
    bytes: usize,
}

pub(super) type Found<'a> = Result<Val<'a>, Halt>;

pub(super) fn wrong<T>(place: Place, why: impl Into<String>) -> Result<T, Halt> {
    Err(Halt::Wrong(place.wrong(why)))
}

impl<'a> Renderer<'a> {
    pub fn new(scope: &'a Scope<'a>) -> Self {
        Self { scope, locals: Vec::new(), steps: 0, bytes: 0 }
    }

    pub fn text(mut self, pieces: &[Piece]) -> Result<String, Halt> {
        let mut out = String::new();
        self.pieces(pieces, &mut out)?;
        Ok(out)
    }

    pub fn json(mut self, expression: &Expr) -> Result<Value, Halt> {
        let value = self.defined(expression)?;
        match value.to_json() {
            Some(json) => Ok(json.into_owned()),
            None => wrong(expression.place, format!("{} is no value; name one of what it holds", value.kind())),
        }
    }

    fn step(&mut self, place: Place) -> Result<(), Halt> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return wrong(place, format!("it takes more than {MAX_STEPS} steps; let the task itself do this"));
        }
        Ok(())
    }

    /// Counts what is made or looked through.
    fn spend(&mut self, bytes: usize, place: Place) -> Result<(), Halt> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_RENDERED_BYTES {
            return wrong(
                place,
                format!("it handles more than {MAX_RENDERED_BYTES} bytes; let the task itself do this"),
            );
        }
        Ok(())
    }

    fn pieces(&mut self, pieces: &[Piece], out: &mut String) -> Result<(), Halt> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.spend(text.len(), Place::default())?;
                    out.push_str(text);
                }
                Piece::Emit(expression) => {
                    let value = self.defined(expression)?;
                    let text = Self::shown(&value, expression.place)?;
                    self.spend(text.len(), expression.place)?;
                    out.push_str(&text);
                }
                Piece::If { test, then, otherwise } => {
                    let branch = if self.truth(test)? { then } else { otherwise };
                    self.pieces(branch, out)?;
                }
                Piece::Set { name, value } => {
                    let value = self.defined(value)?;
                    self.locals.push((name.clone(), value));
                }
                Piece::For { names, list, filter, body, otherwise } => {
                    let items = self.items(list)?;
                    let outer = self.locals.len();
                    let mut rounds = Vec::with_capacity(items.len());
                    for item in items {
                        self.bind(names, item.clone(), list.place)?;
                        let is_wanted = filter.as_ref().map_or(Ok(true), |filter| self.truth(filter))?;
                        self.locals.truncate(outer);
                        rounds.extend(is_wanted.then_some(item));
                    }
                    let length = rounds.len();
                    for (index, item) in rounds.into_iter().enumerate() {
                        self.step(list.place)?;
                        self.bind(names, item, list.place)?;
                        self.locals.push(("loop".to_owned(), Val::Space(Space::Loop { index, length })));
                        self.pieces(body, out)?;
                        self.locals.truncate(outer);
                    }
                    if length == 0 {
                        self.pieces(otherwise, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn bind(&mut self, names: &[String], item: Value, place: Place) -> Result<(), Halt> {
        match (names, item) {
            ([name], item) => self.locals.push((name.clone(), item.into())),
            (names, Value::Array(parts)) if parts.len() == names.len() => {
                self.locals.extend(names.iter().cloned().zip(parts.into_iter().map(Val::from)));
            }
            _ => return wrong(place, format!("what it holds can't be taken apart into {} names", names.len())),
        }
        Ok(())
    }

    /// What a loop goes over.
    fn items(&mut self, list: &Expr) -> Result<Vec<Value>, Halt> {
        let value = self.defined(list)?;
        self.look_through(&value, list.place)?;
        match value.as_json() {
            Some(Value::Array(items)) => Ok(items.clone()),
            Some(Value::Object(fields)) => Ok(fields.keys().cloned().map(Value::String).collect()),
            _ => wrong(list.place, format!("it is {}, and a list is wanted", value.kind())),
        }
    }

    /// A value as it stands in text.
    fn shown<'v>(value: &'v Val<'_>, place: Place) -> Result<Cow<'v, str>, Halt> {
        if let Some(text) = value.as_text() {
            return Ok(Cow::Borrowed(text));
        }
        match value.to_json() {
            Some(json) => Ok(Cow::Owned(plain(&json))),
            None => wrong(place, format!("{} is no value; name one of what it holds", value.kind())),
        }
    }

    fn truth(&mut self, expression: &Expr) -> Result<bool, Halt> {
        Ok(self.defined(expression)?.is_true().unwrap_or(false))
    }

    fn defined(&mut self, expression: &Expr) -> Found<'a> {
        match self.eval(expression)? {
            Val::Undefined(what) => wrong(expression.place, format!("there is no {what}")),
            value => Ok(value),
        }
    }

    fn look_through(&mut self, value: &Val<'_>, place: Place) -> Result<(), Halt> {
        match value.as_json().map_or(Some(0), |json| size(json, 0)) {
            Some(size) => self.spend(size, place),
            None => wrong(place, format!("lists and maps are nested more than {MAX_DEPTH} deep")),
        }
    }

    fn eval(&mut self, expression: &Expr) -> Found<'a> {
        let place = expression.place;
        self.step(place)?;
        let value = match &*expression.kind {
            Kind::Constant(value) => value.clone().into(),
            Kind::Name(name) => {
                let value = self.name(name)?;
                if let Val::Json(Cow::Owned(_)) = &value {
                    // It is a copy.
                    self.look_through(&value, place)?;
                }
                return Ok(value);
            }
            Kind::Attribute(of, name) => {
                let of = self.defined(of)?;
                return self.attribute(of, name, place);
            }
            Kind::Item(of, key) => {
                let (of, key) = (self.defined(of)?, self.defined(key)?);
                return self.item(of, &key, place);
            }
            Kind::Slice { of, start, stop } => {
                let of = self.defined(of)?;
                let mut edge = |edge: &Option<Expr>| match edge {
                    None => Ok(None),
                    Some(edge) => match self.defined(edge)?.as_i64() {
                        Some(number) => Ok(Some(number)),
                        None => wrong(edge.place, "a whole number is wanted"),
                    },
                };
                let (start, stop) = (edge(start)?, edge(stop)?);
                self.look_through(&of, place)?;
                slice(&of, start, stop).or_else(|why| wrong(place, why))?
            }
            Kind::Not(value) => (!self.truth(value)?).into(),
            Kind::Negative(value) => {
                let value = self.defined(value)?;
                arithmetic(Operator::Subtract, &0_i64.into(), &value).or_else(|why| wrong(place, why))?
            }
            Kind::Binary(operator, left, right) => return self.binary(*operator, left, right, place),
            Kind::If { test, then, otherwise } => {
                let branch = if self.truth(test)? { Some(then) } else { otherwise.as_ref() };
                return branch.map_or(Ok("".into()), |branch| self.eval(branch));
            }
            Kind::Filter(Filter::Default, value, arguments) => {
                let value = self.eval(value)?;
                let mut args = self.arguments(arguments)?;
                let fallback = args.maybe("default_value").unwrap_or_else(|| "".into());
                let also_false = args.maybe("boolean").and_then(|flag| flag.is_true()).unwrap_or(false);
                args.finish().or_else(|why| wrong(place, why))?;
                let is_missing = match value.is_true() {
                    None => true,
                    Some(is_true) => also_false && !is_true,
                };
                return Ok(if is_missing { fallback } else { value });
            }
            Kind::Filter(filter, value, arguments) => {
                let value = self.defined(value)?;
                self.look_through(&value, place)?;
                let mut args = self.arguments(arguments)?;
                let filtered = functions::filter(*filter, &value, &mut args);
                filtered.and_then(|value| args.finish().map(|()| value)).or_else(|why| wrong(place, why))?
            }
            Kind::Test(test, value) => functions::test(*test, &self.eval(value)?).into(),
            Kind::Call(function, arguments) => return self.call(function, arguments, place),
            Kind::List(values) => {
                let values = values.iter().map(|value| self.owned(value)).collect::<Result<_, _>>()?;
                Value::Array(values).into()
            }
            Kind::Map(entries) => {
                let mut made = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key_value = self.defined(key)?;
                    let Some(text) = key_value.as_text() else { return wrong(key.place, "keys are texts") };
                    made.push((text.to_owned(), self.owned(value)?));
                }
                map(made)
            }
        };
        self.look_through(&value, place)?;
        Ok(value)
    }

    fn owned(&mut self, expression: &Expr) -> Result<Value, Halt> {
        let value = self.defined(expression)?;
        self.look_through(&value, expression.place)?;
        match value.to_json() {
            Some(json) => Ok(json.into_owned()),
            None => wrong(expression.place, format!("{} can't be put into a list or map", value.kind())),
        }
    }

    fn arguments(&mut self, arguments: &Arguments) -> Result<Args<'a>, Halt> {
        let positional: Vec<_> =
            arguments.positional.iter().map(|value| self.defined(value)).collect::<Result<_, _>>()?;
        let named = arguments.named.iter().map(|(name, value)| Ok((name.clone(), self.defined(value)?)));
        Ok(Args { named: named.collect::<Result<_, Halt>>()?, positional: positional.into_iter() })
    }

    fn call(&mut self, function: &Expr, arguments: &Arguments, place: Place) -> Found<'a> {
        let mut args = self.arguments(arguments)?;
        let made = match &*function.kind {
            Kind::Name(name) if name == "range" => range(&mut args),
            Kind::Attribute(of, name) => match self.defined(of)? {
                space @ Val::Space(Space::VarValue | Space::VarJson) if name == "get" => {
                    let (key, default) = (args.text("key"), args.maybe("default_var"));
                    let key = key.or_else(|why| wrong(place, why))?;
                    match (self.attribute(space, &key, place)?, default) {
                        (Val::Undefined(_), Some(default)) => Ok(default),
                        (Val::Undefined(_), None) => Ok(Val::NULL),
                        (value, _) => Ok(value),
                    }
                }
                Val::Space(Space::Instance) if name == "xcom_pull" => {
                    let wanted =
                        pulls::Wanted::new(&mut args, self.scope.run.dag_id).or_else(|why| wrong(place, why))?;
                    args.finish().or_else(|why| wrong(place, why))?;
                    let value = wanted.value(&self.scope.known.xcoms)?;
                    self.look_through(&value, place)?;
                    return Ok(value);
                }
                of => {
                    self.look_through(&of, place)?;
                    functions::method(&of, name, &mut args)
                }
            },
            _ => return wrong(place, "this can't be called"),
        };
        let value = made.and_then(|value| args.finish().map(|()| value)).or_else(|why| wrong(place, why))?;
        self.look_through(&value, place)?;
        Ok(value)
    }

    fn binary(&mut self, operator: Operator, left: &Expr, right: &Expr, place: Place) -> Found<'a> {
        match operator {
            Operator::And => return if self.truth(left)? { self.defined(right) } else { self.defined(left) },
            Operator::Or => {
                let left = self.defined(left)?;
                return if left.is_true() == Some(true) { Ok(left) } else { self.defined(right) };
            }
            _ => {}
        }
        let (left, right) = (self.defined(left)?, self.defined(right)?);
        self.look_through(&left, place)?;
        self.look_through(&right, place)?;
        let value = match operator {
            Operator::Concatenate => {
                let text = Self::shown(&left, place)?.into_owned() + &Self::shown(&right, place)?;
                text.into()
            }
            Operator::Multiply => {
                // Counted before it is made.
                let (text, times) = match (left.as_text(), right.as_text()) {
                    (Some(text), None) => (Some(text), right.as_i64()),
                    (None, Some(text)) => (Some(text), left.as_i64()),
                    _ => (None, None),
                };
                match (text, times) {
                    (Some(text), Some(times)) => {
                        let times = usize::try_from(times).unwrap_or(0);
                        self.spend(text.len().saturating_mul(times), place)?;
                        text.repeat(times).into()
                    }
                    _ => arithmetic(operator, &left, &right).or_else(|why| wrong(place, why))?,
                }
            }
            _ => arithmetic(operator, &left, &right).or_else(|why| wrong(place, why))?,
        };
        Ok(value)
    }
}

/// About how many bytes a value takes; none if it is nested too deep to be walked.
fn size(value: &Value, depth: usize) -> Option<usize> {
    if depth > MAX_DEPTH {
        return None;
    }
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| size(item, depth + 1)).sum::<Option<usize>>()?,
        Value::Object(fields) => {
            fields.iter().map(|(key, field)| Some(key.len() + size(field, depth + 1)?)).sum::<Option<usize>>()?
        }
    };
    Some(8 + inside)
}
