//! Operators.

use chrono::DateTime;
use chrono_tz::Tz;
use serde_json::Value;

use super::{
    evaluate::Args,
    functions::{compare, float},
    instants::{in_range, instant},
    syntax::Operator,
    value::Val,
};

/// Numbers that a range may have.
const MAX_RANGE: i64 = 10_000;

pub(super) fn range<'a>(args: &mut Args<'a>) -> Result<Val<'a>, String> {
    let first = args.number("stop")?;
    let (start, stop) = args.maybe_number("stop")?.map_or((0, first), |stop| (first, stop));
    if stop.saturating_sub(start) > MAX_RANGE {
        return Err(format!("a range may have {MAX_RANGE} numbers"));
    }
    Ok(Value::Array((start..stop).map(Value::from).collect()).into())
}

pub(super) fn slice<'a>(of: &Val<'_>, start: Option<i64>, stop: Option<i64>) -> Result<Val<'a>, String> {
    let edges = |length: usize| {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let place = |edge: i64| (if edge < 0 { length.saturating_add(edge) } else { edge }).clamp(0, length);
        let (start, stop) = (start.map_or(0, place), stop.map_or(length, place));
        let to = |number: i64| usize::try_from(number).unwrap_or(0);
        (to(start), to(stop.max(start)))
    };
    match of.as_json() {
        Some(Value::Array(items)) => {
            let (start, stop) = edges(items.len());
            Ok(Value::Array(items[start..stop].to_vec()).into())
        }
        Some(Value::String(text)) => {
            let (start, stop) = edges(text.chars().count());
            Ok(text.chars().skip(start).take(stop - start).collect::<String>().into())
        }
        _ => Err(format!("{} can't be sliced", of.kind())),
    }
}

pub(super) fn arithmetic<'a>(operator: Operator, left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>, String> {
    let unfit = || format!("{} and {} don't go together here", left.kind(), right.kind());
    match (left, right) {
        (Val::Json(left), Val::Json(right)) => json_arithmetic(operator, left, right).unwrap_or_else(|| Err(unfit())),
        (Val::Instant(left), Val::Instant(right)) => match operator {
            Operator::Subtract => Ok(Val::Span(left.signed_duration_since(right))),
            _ => ordered(operator, left.cmp(right)).ok_or_else(unfit),
        },
        (Val::Instant(at), Val::Span(span)) => match operator {
            Operator::Add => in_range(at.checked_add_signed(*span)).map(Val::Instant),
            Operator::Subtract => in_range(at.checked_sub_signed(*span)).map(Val::Instant),
            _ => Err(unfit()),
        },
        (Val::Span(span), Val::Instant(at)) if operator == Operator::Add => {
            in_range(at.checked_add_signed(*span)).map(Val::Instant)
        }
        (Val::Span(left), Val::Span(right)) => {
            let sum = match operator {
                Operator::Add => left.checked_add(right),
                Operator::Subtract => left.checked_sub(right),
                _ => return ordered(operator, left.cmp(right)).ok_or_else(unfit),
            };
            sum.map(Val::Span).ok_or_else(|| "it is too long".to_owned())
        }
        (Val::Span(span), Val::Json(_)) if operator == Operator::Multiply => {
            let times = right.as_i64().and_then(|times| i32::try_from(times).ok()).ok_or_else(unfit)?;
            span.checked_mul(times).map(Val::Span).ok_or_else(|| "it is too long".to_owned())
        }
        // An instant and the text of one, as `logical_date > params.since`.
        (Val::Instant(at), Val::Json(_)) => {
            let other: DateTime<Tz> = instant(right).ok_or_else(unfit)?;
            ordered(operator, at.cmp(&other)).ok_or_else(unfit)
        }
        (Val::Json(_), Val::Instant(at)) => {
            let other: DateTime<Tz> = instant(left).ok_or_else(unfit)?;
            ordered(operator, other.cmp(at)).ok_or_else(unfit)
        }
        _ => Err(unfit()),
    }
}

fn ordered<'a>(operator: Operator, order: std::cmp::Ordering) -> Option<Val<'a>> {
    Some(
        match operator {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            _ => return None,
        }
        .into(),
    )
}

/// None: the operator is not for these.
fn json_arithmetic<'a>(operator: Operator, left: &Value, right: &Value) -> Option<Result<Val<'a>, String>> {
    let same = || match (left, right) {
        (Value::Number(_), Value::Number(_)) => compare(left, right).is_some_and(std::cmp::Ordering::is_eq),
        _ => left == right,
    };
    match (operator, left, right) {
        (Operator::Equal, ..) => Some(Ok(same().into())),
        (Operator::NotEqual, ..) => Some(Ok((!same()).into())),
        (Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual, ..) => {
            compare(left, right).and_then(|order| ordered(operator, order)).map(Ok)
        }
        (Operator::In, _, Value::Array(items)) => Some(Ok(items.contains(left).into())),
        (Operator::In, Value::String(key), Value::Object(fields)) => Some(Ok(fields.contains_key(key).into())),
        (Operator::In, Value::String(part), Value::String(text)) => Some(Ok(text.contains(part).into())),
        (Operator::Add, Value::String(left), Value::String(right)) => Some(Ok(format!("{left}{right}").into())),
        (Operator::Add, Value::Array(left), Value::Array(right)) => {
            Some(Ok(Value::Array(left.iter().chain(right).cloned().collect()).into()))
        }
        (_, Value::Number(one), Value::Number(other)) => {
            let too_large = || "the number is too large".to_owned();
            if let (Some(one), Some(other)) = (one.as_i64(), other.as_i64()) {
                let whole = match operator {
                    Operator::Add => one.checked_add(other),
                    Operator::Subtract => one.checked_sub(other),
                    Operator::Multiply => one.checked_mul(other),
                    Operator::Divide if other == 0 => return Some(Err("it divides by zero".into())),
                    Operator::Divide => return Some(float(left.as_f64()? / right.as_f64()?)),
                    Operator::DivideWhole | Operator::Remainder if other == 0 => {
                        return Some(Err("it divides by zero".into()));
                    }
                    // Python's: towards minus infinity, the remainder has the divisor's sign.
                    Operator::DivideWhole => one
                        .checked_div(other)
                        .map(|quotient| quotient - i64::from(one % other != 0 && (one < 0) != (other < 0))),
                    Operator::Remainder => one
                        .checked_rem(other)
                        .map(|rest| if rest != 0 && (rest < 0) != (other < 0) { rest + other } else { rest }),
                    _ => return None,
                };
                return Some(whole.map(Val::from).ok_or_else(too_large));
            }
            let (one, other) = (one.as_f64()?, other.as_f64()?);
            Some(float(match operator {
                Operator::Add => one + other,
                Operator::Subtract => one - other,
                Operator::Multiply => one * other,
                Operator::Divide => one / other,
                Operator::DivideWhole => (one / other).floor(),
                Operator::Remainder => one - other * (one / other).floor(),
                _ => return None,
            }))
        }
        _ => None,
    }
}
