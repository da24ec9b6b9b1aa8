//! Instants and lengths of time.

use std::fmt::Write as _;

use chrono::{
    DateTime, Datelike as _, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _,
    format::{Item, StrftimeItems},
};
use chrono_tz::Tz;

use super::{
    evaluate::Args,
    functions::{float, short},
    value::{Val, iso},
};

type Found<'a> = Result<Val<'a>, String>;

/// `macros.datetime(2026, 1, 31, 6)`.
pub(super) fn datetime<'a>(args: &mut Args<'a>) -> Found<'a> {
    let part = |number: i64| u32::try_from(number).map_err(|_| "it is no date".to_owned());
    let year = i32::try_from(args.number("year")?).map_err(|_| "it is no date")?;
    let (month, day) = (part(args.number("month")?)?, part(args.number("day")?)?);
    let mut rest = ["hour", "minute", "second", "microsecond"].map(|name| args.maybe_number(name)).into_iter();
    let mut next = || rest.next().unwrap_or(Ok(None)).and_then(|number| part(number.unwrap_or(0)));
    let date = NaiveDate::from_ymd_opt(year, month, day).filter(|_| (1..=9999).contains(&year));
    let at = date.ok_or("it is no date")?.and_hms_micro_opt(next()?, next()?, next()?, next()?);
    at.map(|at| Val::Instant(at.and_utc().with_timezone(&Tz::UTC))).ok_or_else(|| "it is no time of day".to_owned())
}

/// The length that `days=1, hours=2` and so on add up to.
pub(super) fn span(args: &mut Args<'_>) -> Result<TimeDelta, String> {
    let units =
        [("days", 86_400_000), ("seconds", 1_000), ("minutes", 60_000), ("hours", 3_600_000), ("weeks", 604_800_000)];
    let mut sum = 0_i64;
    for (name, ms) in units {
        let number = args.maybe_number(name)?.unwrap_or(0);
        sum = number.checked_mul(ms).and_then(|part| sum.checked_add(part)).ok_or("it is too long")?;
    }
    TimeDelta::try_milliseconds(sum).ok_or_else(|| "it is too long".to_owned())
}

pub(super) fn method_of_instant<'a>(at: &DateTime<Tz>, name: &str, args: &mut Args<'a>) -> Found<'a> {
    let out = || "the instant is out of range".to_owned();
    Ok(match name {
        "strftime" => format(at, &args.text("format")?)?.into(),
        "isoformat" => iso(at).into(),
        "to_date_string" => at.format("%Y-%m-%d").to_string().into(),
        "timestamp" => seconds(at.timestamp_micros())?,
        "weekday" => i64::from(at.weekday().num_days_from_monday()).into(),
        "isoweekday" => i64::from(at.weekday().number_from_monday()).into(),
        "in_timezone" | "in_tz" | "astimezone" => {
            let name = args.text("tz")?;
            let zone: Tz = name.parse().map_err(|_| format!("`{}` is not an IANA time zone", short(&name)))?;
            Val::Instant(at.with_timezone(&zone))
        }
        "add" | "subtract" => {
            let (years, months) = (args.maybe_number("years")?.unwrap_or(0), args.maybe_number("months")?.unwrap_or(0));
            let months = years.checked_mul(12).and_then(|years| years.checked_add(months)).ok_or_else(out)?;
            let span = span(args)?;
            let sign = if name == "add" { 1 } else { -1 };
            let months = months.checked_mul(sign).ok_or_else(out)?;
            let by = Months::new(u32::try_from(months.unsigned_abs()).map_err(|_| out())?);
            let moved = if months < 0 { at.checked_sub_months(by) } else { at.checked_add_months(by) };
            let moved = moved.ok_or_else(out)?;
            let moved = if sign > 0 { moved.checked_add_signed(span) } else { moved.checked_sub_signed(span) };
            Val::Instant(in_range(moved)?)
        }
        "replace" => {
            let mut moved = at.naive_local();
            for (name, put) in PARTS {
                if let Some(number) = args.maybe_number(name)? {
                    let number = u32::try_from(number).map_err(|_| format!("`{name}` can't be {number}"))?;
                    moved = put(moved, number).ok_or_else(|| format!("`{name}` can't be {number}"))?;
                }
            }
            Val::Instant(in_range(at.timezone().from_local_datetime(&moved).latest())?)
        }
        _ => return Err(format!("an instant has no method `{name}`")),
    })
}

type Put = fn(NaiveDateTime, u32) -> Option<NaiveDateTime>;

const PARTS: [(&str, Put); 7] = [
    ("year", |at, year| at.with_year(i32::try_from(year).ok()?)),
    ("month", |at, month| at.with_month(month)),
    ("day", |at, day| at.with_day(day)),
    ("hour", |at, hour| at.with_hour(hour)),
    ("minute", |at, minute| at.with_minute(minute)),
    ("second", |at, second| at.with_second(second)),
    ("microsecond", |at, micro| at.with_nanosecond(micro.checked_mul(1_000)?)),
];

/// An attribute of an instant.
pub(super) fn part_of_instant(at: &DateTime<Tz>, name: &str) -> Option<i64> {
    Some(match name {
        "year" => i64::from(at.year()),
        "month" => i64::from(at.month()),
        "day" => i64::from(at.day()),
        "hour" => i64::from(at.hour()),
        "minute" => i64::from(at.minute()),
        "second" => i64::from(at.second()),
        "microsecond" => i64::from(at.timestamp_subsec_micros()),
        "day_of_year" => i64::from(at.ordinal()),
        "week_of_year" => i64::from(at.iso_week().week()),
        "quarter" => i64::from(at.month0() / 3 + 1),
        _ => return None,
    })
}

/// An instant, or what a text says is one.
pub(super) fn instant(value: &Val<'_>) -> Option<DateTime<Tz>> {
    if let Val::Instant(at) = value {
        return Some(*at);
    }
    let at: crate::model::time::Timestamp = value.as_text()?.parse().ok()?;
    Some(at.to_utc().with_timezone(&Tz::UTC))
}

/// Within the years that can be written with four digits.
pub(super) fn in_range(at: Option<DateTime<Tz>>) -> Result<DateTime<Tz>, String> {
    at.filter(|at| (1..=9999).contains(&at.year())).ok_or_else(|| "the instant is out of range".to_owned())
}

pub(super) fn parse_instant(text: &str, format: &str) -> Result<DateTime<Tz>, String> {
    let format = checked(format)?;
    let at = DateTime::parse_from_str(text, &format).map(|at| at.with_timezone(&Tz::UTC)).or_else(|_| {
        let local = NaiveDateTime::parse_from_str(text, &format)
            .or_else(|_| NaiveDate::parse_from_str(text, &format).map(|date| date.and_time(chrono::NaiveTime::MIN)));
        local.map(|local| local.and_utc().with_timezone(&Tz::UTC))
    });
    in_range(Some(at.map_err(|_| format!("`{}` is not of the form `{}`", short(text), short(&format)))?))
}

pub(super) fn format(at: &DateTime<Tz>, format: &str) -> Result<String, String> {
    let mut text = String::new();
    write!(text, "{}", at.format(&checked(format)?)).map_err(|_| format!("`{}` can't be written", short(format)))?;
    Ok(text)
}

/// A format of Python's `strftime` as chrono takes it.
fn checked(format: &str) -> Result<String, String> {
    if format.len() > 1_000 {
        return Err("the format is too long".into());
    }
    // Python's is six digits, chrono's nine.
    let format = format.replace("%f", "%6f");
    if StrftimeItems::new(&format).any(|item| item == Item::Error) {
        return Err(format!("`{}` is not a format as `%Y-%m-%d`", short(&format)));
    }
    Ok(format)
}

/// Microseconds as seconds, as Python's `timestamp()` and `total_seconds()` have them.
#[expect(clippy::cast_precision_loss, reason = "fractions of a microsecond are lost in some centuries only")]
pub(super) fn seconds<'a>(micros: i64) -> Found<'a> {
    float(micros as f64 / 1e6)
}
