//! Filters, tests, methods and macros.

use std::cmp::Ordering;

use chrono::{NaiveDate, TimeDelta};
use serde_json::{Map, Number, Value};

use super::{
    evaluate::Args,
    instants::{datetime, format, instant, method_of_instant, parse_instant, seconds, span},
    value::{Space, Val, iso},
};

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $type { $($variant),+ }

        impl $type {
            pub fn named(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// All of them, for messages.
            pub fn names() -> String {
                [$($word),+].join(", ")
            }
        }
    };
}

words! {
    /// What follows a `|`.
    Filter {
        "default" => Default, "upper" => Upper, "lower" => Lower, "title" => Title, "capitalize" => Capitalize,
        "trim" => Trim, "replace" => Replace, "split" => Split, "join" => Join, "length" => Length, "first" => First,
        "last" => Last, "list" => List, "sort" => Sort, "unique" => Unique, "min" => Min, "max" => Max, "sum" => Sum,
        "int" => Int, "float" => Float, "string" => Text, "round" => Round, "abs" => Abs, "tojson" => ToJson,
        "ds" => Ds, "ds_nodash" => DsNodash, "ts" => Ts, "ts_nodash" => TsNodash,
        "ts_nodash_with_tz" => TsNodashWithTz,
    }
}

words! {
    /// What follows `is`.
    Test {
        "defined" => Defined, "undefined" => Undefined, "none" => None, "string" => Text, "number" => Number,
        "mapping" => Map, "sequence" => List,
    }
}

type Found<'a> = Result<Val<'a>, String>;

pub(super) fn test(test: Test, value: &Val<'_>) -> bool {
    match test {
        Test::Defined => !matches!(value, Val::Undefined(_)),
        Test::Undefined => matches!(value, Val::Undefined(_)),
        Test::None => value.is_null(),
        Test::Text => value.as_text().is_some(),
        Test::Number => value.as_json().is_some_and(Value::is_number),
        Test::Map => value.as_json().is_some_and(Value::is_object),
        Test::List => value.as_json().is_some_and(Value::is_array),
    }
}

/// All but `default`, which does not evaluate strictly.
pub(super) fn filter<'a>(filter: Filter, value: &Val<'a>, args: &mut Args<'a>) -> Found<'a> {
    let text = || value.as_text().ok_or_else(|| format!("it is {}, and a text is wanted", value.kind()));
    let at = || instant(value).ok_or_else(|| format!("it is {}, and an instant is wanted", value.kind()));
    let list = || match value.as_json() {
        Some(Value::Array(items)) => Ok(items.clone()),
        Some(Value::Object(fields)) => Ok(fields.keys().cloned().map(Value::String).collect()),
        Some(Value::String(text)) => Ok(text.chars().map(|letter| Value::String(letter.into())).collect()),
        _ => Err(format!("it is {}, and a list is wanted", value.kind())),
    };
    Ok(match filter {
        Filter::Default => value.clone(),
        Filter::Upper => text()?.to_uppercase().into(),
        Filter::Lower => text()?.to_lowercase().into(),
        Filter::Title => title(text()?, |before| before.is_whitespace() || "-({[<".contains(before)).into(),
        Filter::Capitalize => capitalize(text()?).into(),
        Filter::Trim => text()?.trim().into(),
        Filter::Replace => {
            let (old, new) = (args.text("old")?, args.text("new")?);
            replace(text()?, &old, &new)?.into()
        }
        Filter::Split => split(text()?, args.maybe_text("sep")?.as_deref())?,
        Filter::Join => {
            let separator = args.maybe_text("d")?.unwrap_or_default();
            join(&list()?, &separator)?.into()
        }
        Filter::Length => match value.as_json() {
            Some(Value::String(text)) => text.chars().count().into(),
            Some(Value::Array(items)) => items.len().into(),
            Some(Value::Object(fields)) => fields.len().into(),
            _ => return Err(format!("{} has no length", value.kind())),
        },
        Filter::First => list()?.into_iter().next().map_or_else(|| nothing("the first of nothing"), Val::from),
        Filter::Last => list()?.into_iter().next_back().map_or_else(|| nothing("the last of nothing"), Val::from),
        Filter::List => Value::Array(list()?).into(),
        Filter::Sort => {
            let mut items = list()?;
            // Sorting panics where an order contradicts itself: all of one kind have one that does not.
            if let Some((first, others)) = items.split_first()
                && others.iter().any(|other| order(first, other).is_none())
            {
                return Err("what it holds can't be put in order".to_owned());
            }
            items.sort_by(|one, other| order(one, other).unwrap_or(Ordering::Equal));
            Value::Array(items).into()
        }
        Filter::Unique => {
            let items = list()?;
            // Compared with each before it: a long list is not for a template.
            if items.len() > 1_000 {
                return Err(format!("it has {} items; `unique` takes 1000", items.len()));
            }
            let mut kept: Vec<Value> = Vec::new();
            for item in items {
                if !kept.iter().any(|known| *known == item || order(known, &item) == Some(Ordering::Equal)) {
                    kept.push(item);
                }
            }
            Value::Array(kept).into()
        }
        Filter::Min | Filter::Max => {
            let wanted = if filter == Filter::Min { Ordering::Less } else { Ordering::Greater };
            let mut items = list()?.into_iter();
            let mut best = items.next().ok_or("it is empty")?;
            for item in items {
                if order(&item, &best).ok_or("what it holds can't be put in order")? == wanted {
                    best = item;
                }
            }
            best.into()
        }
        Filter::Sum => {
            let items = list()?;
            let whole = items.iter().map(Value::as_i64).try_fold(0_i64, |sum, item| sum.checked_add(item?));
            match whole {
                Some(sum) => sum.into(),
                None => float(items.iter().map(Value::as_f64).sum::<Option<f64>>().ok_or("it holds no numbers only")?)?,
            }
        }
        Filter::Int => match value.as_json() {
            Some(Value::String(text)) => {
                text.trim().parse::<i64>().map_err(|_| format!("`{}` is not a whole number", short(text)))?.into()
            }
            Some(Value::Bool(flag)) => i64::from(*flag).into(),
            Some(Value::Number(number)) => whole(number)?.into(),
            _ => return Err(format!("{} is not a number", value.kind())),
        },
        Filter::Float => match value.as_json() {
            Some(Value::String(text)) => {
                float(text.trim().parse().map_err(|_| format!("`{}` is not a number", short(text)))?)?
            }
            Some(Value::Number(number)) => float(number.as_f64().unwrap_or_default())?,
            _ => return Err(format!("{} is not a number", value.kind())),
        },
        Filter::Text => match value {
            Val::Json(json) => plain(json).into(),
            other => plain(&*other.to_json().ok_or_else(|| format!("{} is no text", other.kind()))?).into(),
        },
        Filter::Round => {
            let digits = i32::try_from(args.maybe_number("precision")?.unwrap_or(0).clamp(-300, 30)).unwrap_or(0);
            match value.as_json() {
                Some(Value::Number(number)) if number.is_i64() && digits >= 0 => value.clone(),
                Some(Value::Number(number)) => float(round(number.as_f64().unwrap_or_default(), digits))?,
                _ => return Err("it is not a number".to_owned()),
            }
        }
        Filter::Abs => match value.as_json() {
            Some(Value::Number(number)) => match number.as_i64() {
                Some(number) => number.checked_abs().ok_or("the number is too large")?.into(),
                None => float(number.as_f64().unwrap_or_default().abs())?,
            },
            _ => return Err(format!("{} is not a number", value.kind())),
        },
        Filter::ToJson => value.to_json().ok_or_else(|| format!("{} is not JSON", value.kind()))?.to_string().into(),
        Filter::Ds => at()?.format("%Y-%m-%d").to_string().into(),
        Filter::DsNodash => at()?.format("%Y%m%d").to_string().into(),
        Filter::Ts => iso(&at()?).into(),
        Filter::TsNodash => at()?.format("%Y%m%dT%H%M%S").to_string().into(),
        Filter::TsNodashWithTz => at()?.format("%Y%m%dT%H%M%S%z").to_string().into(),
    })
}

/// A method of a value: `of.name(args)`.
pub(super) fn method<'a>(of: &Val<'a>, name: &str, args: &mut Args<'a>) -> Found<'a> {
    let unknown = || Err(format!("{} has no method `{name}`", of.kind()));
    match of {
        Val::Instant(at) => method_of_instant(at, name, args),
        Val::Span(span) => match name {
            "total_seconds" => seconds(span.num_microseconds().unwrap_or(i64::MAX)),
            _ => unknown(),
        },
        Val::Json(json) => match (&**json, name) {
            (Value::Object(fields), "get") => {
                let key = args.text("key")?;
                let default = args.maybe("default").unwrap_or(Val::NULL);
                Ok(fields.get(&key).cloned().map_or(default, Val::from))
            }
            (Value::Object(fields), "keys") => {
                Ok(Value::Array(fields.keys().cloned().map(Value::String).collect()).into())
            }
            (Value::Object(fields), "values") => Ok(Value::Array(fields.values().cloned().collect()).into()),
            (Value::Object(fields), "items") => {
                let pair = |(key, value): (&String, &Value)| Value::Array(vec![key.clone().into(), value.clone()]);
                Ok(Value::Array(fields.iter().map(pair).collect()).into())
            }
            (Value::String(text), "upper") => Ok(text.to_uppercase().into()),
            (Value::String(text), "lower") => Ok(text.to_lowercase().into()),
            (Value::String(text), "title") => Ok(title(text, |before| !before.is_alphabetic()).into()),
            (Value::String(text), "capitalize") => Ok(capitalize(text).into()),
            (Value::String(text), "strip") => Ok(text.trim().into()),
            (Value::String(text), "startswith") => Ok(text.starts_with(&args.text("prefix")?).into()),
            (Value::String(text), "endswith") => Ok(text.ends_with(&args.text("suffix")?).into()),
            (Value::String(text), "split") => split(text, args.maybe_text("sep")?.as_deref()),
            (Value::String(text), "replace") => {
                let (old, new) = (args.text("old")?, args.text("new")?);
                Ok(replace(text, &old, &new)?.into())
            }
            (Value::String(text), "join") => match args.maybe("iterable").as_ref().and_then(Val::as_json) {
                Some(Value::Array(items)) => Ok(join(items, text)?.into()),
                _ => Err("a list is wanted".into()),
            },
            _ => unknown(),
        },
        Val::Space(Space::Macros) => macros(name, args),
        Val::Space(Space::Datetime) => match name {
            "strptime" => {
                let (text, format) = (args.text("date_string")?, args.text("format")?);
                parse_instant(&text, &format).map(Val::Instant)
            }
            "fromisoformat" => {
                let text = args.text("date_string")?;
                instant(&text.as_str().into()).map(Val::Instant).ok_or_else(|| format!("`{}` is no date", short(&text)))
            }
            "now" | "today" | "utcnow" => {
                Err("what is rendered is the same at each try: there is no clock here".into())
            }
            _ => unknown(),
        },
        Val::Space(Space::Instance) if name == "xcom_push" => {
            Err("a template makes nothing but a value; let the task push it (`xcom::push`)".into())
        }
        Val::Undefined(_) | Val::Space(_) => unknown(),
    }
}

fn macros<'a>(name: &str, args: &mut Args<'a>) -> Found<'a> {
    match name {
        "ds_add" => {
            let (ds, days) = (args.text("ds")?, args.number("days")?);
            let date = NaiveDate::parse_from_str(&ds, "%Y-%m-%d")
                .map_err(|_| format!("`{}` is no date as 2026-01-31", short(&ds)))?;
            let moved = TimeDelta::try_days(days).and_then(|span| date.checked_add_signed(span));
            Ok(moved.ok_or("the date is out of range")?.format("%Y-%m-%d").to_string().into())
        }
        "ds_format" => {
            let (ds, from, to) = (args.text("ds")?, args.text("input_format")?, args.text("output_format")?);
            Ok(format(&parse_instant(&ds, &from)?, &to)?.into())
        }
        "datetime" => datetime(args),
        "timedelta" => Ok(Val::Span(span(args)?)),
        "uuid" | "random" | "time" => Err("what is rendered is the same at each try: there is no chance here".into()),
        _ => Err(format!("`macros` has no `{name}`; it has ds_add, ds_format, datetime, timedelta")),
    }
}

fn split<'a>(text: &str, separator: Option<&str>) -> Found<'a> {
    let words: Vec<Value> = match separator {
        None => text.split_whitespace().map(Value::from).collect(),
        Some("") => return Err("the separator is empty".into()),
        Some(separator) => text.split(separator).map(Value::from).collect(),
    };
    Ok(Value::Array(words).into())
}

fn replace(text: &str, old: &str, new: &str) -> Result<String, String> {
    if old.is_empty() {
        return Err("what is replaced is empty".into());
    }
    check_length(text.matches(old).count().saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(text.replace(old, new))
}

fn join(items: &[Value], separator: &str) -> Result<String, String> {
    let words: Vec<_> = items.iter().map(plain).collect();
    let separators = words.len().saturating_sub(1).saturating_mul(separator.len());
    check_length(words.iter().map(String::len).fold(separators, usize::saturating_add))?;
    Ok(words.join(separator))
}

/// Before a text is made that may be many times as long as what it is made of.
fn check_length(length: usize) -> Result<(), String> {
    if length > super::MAX_RENDERED_BYTES {
        return Err(format!("it would have {length} bytes; at most {} are allowed", super::MAX_RENDERED_BYTES));
    }
    Ok(())
}

/// Each word with a capital; whether one begins is seen by the letter before.
fn title(text: &str, begins_after: impl Fn(char) -> bool) -> String {
    let mut begins = true;
    let turn = |letter: char| {
        let is_first = std::mem::replace(&mut begins, begins_after(letter));
        if is_first { letter.to_uppercase().collect::<String>() } else { letter.to_lowercase().collect() }
    };
    text.chars().map(turn).collect()
}

fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect())
}

/// A value as text stands in text: texts as they are, all else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn nothing<'a>(what: &str) -> Val<'a> {
    Val::Undefined(what.to_owned())
}

pub(super) fn float<'a>(number: f64) -> Found<'a> {
    Number::from_f64(number).map(|number| Value::Number(number).into()).ok_or_else(|| "it is no number".to_owned())
}

#[expect(clippy::cast_possible_truncation, reason = "what is out of range was refused just before")]
fn whole(number: &Number) -> Result<i64, String> {
    if let Some(number) = number.as_i64() {
        return Ok(number);
    }
    let number = number.as_f64().unwrap_or(f64::NAN).trunc();
    if number.abs() < 9e18 { Ok(number as i64) } else { Err("the number is too large".into()) }
}

/// As Python rounds: what lies in the middle goes to the even side.
fn round(number: f64, digits: i32) -> f64 {
    let Ok(decimals) = usize::try_from(digits) else {
        let scale = 10_f64.powi(-digits);
        return (number / scale).round_ties_even() * scale;
    };
    // By its exact digits, of which a product would be another number.
    format!("{number:.decimals$}").parse().unwrap_or(number)
}

/// As Jinja puts lists in order: texts whatever their case.
fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.to_lowercase().cmp(&other.to_lowercase())),
        _ => compare(one, other),
    }
}

/// Which of two comes first; none if they are not of one kind that has an order.
pub(super) fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => Some(compare_numbers(one, other)),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// By what they are, not by what they are as floats: those beyond 2^53 would be equal to several that differ.
fn compare_numbers(one: &Number, other: &Number) -> Ordering {
    let whole = |number: &Number| number.as_i128();
    let float = |number: &Number| number.as_f64().unwrap_or_default();
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(one), None) => compare_whole(one, float(other)),
        (None, Some(other)) => compare_whole(other, float(one)).reverse(),
        (None, None) => float(one).partial_cmp(&float(other)).unwrap_or(Ordering::Equal),
    }
}

/// A whole number of 64 bits and a float that is a number.
fn compare_whole(whole: i128, float: f64) -> Ordering {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, far beyond 64 bits")]
    let floor = float.floor() as i128;
    whole.cmp(&floor).then(if float > float.floor() { Ordering::Less } else { Ordering::Equal })
}

/// A text as it stands in a message.
pub(super) fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A map of what `names` are bound to.
pub(super) fn map<'a>(entries: impl IntoIterator<Item = (String, Value)>) -> Val<'a> {
    Value::Object(entries.into_iter().collect::<Map<_, _>>()).into()
}
