//! Schedules, instants and sizes, checked where they are written.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr, Result};

use crate::args::{Args, duration_ms, option};

const PRESETS: [&str; 8] =
    ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@quarterly", "@yearly", "@annually"];

/// The dag's time zone.
pub fn timezone(text: Option<&LitStr>) -> Result<Tz> {
    let Some(text) = text else { return Ok(Tz::UTC) };
    text.value().parse().map_err(|_| {
        Error::new(text.span(), format!("`{}` is not an IANA time zone; write it as \"Asia/Seoul\"", text.value()))
    })
}

/// `business_days` and what goes with it, as tokens.
pub fn calendar(args: &mut Args) -> Result<Option<TokenStream>> {
    let is_set = args.flag("business_days")?.unwrap_or(false);
    let holidays = args.texts("holidays", "[\"2026-12-25\"]")?;
    let weekend = args.texts("weekend", "[\"sat\", \"sun\"]")?;
    let nth = args.numbers("nth_business_days", "[1, -1]")?;
    for day in &holidays {
        let text = day.value();
        NaiveDate::parse_from_str(&text, "%Y-%m-%d")
            .map_err(|_| Error::new(day.span(), format!("`{text}` is not a date; write it as \"2026-12-25\"")))?;
    }
    let number = |day: &LitStr| {
        let text = day.value().to_ascii_lowercase();
        // `DAYS` begins with Sunday.
        let at = DAYS.iter().position(|known| *known == text).and_then(|at| u8::try_from((at + 6) % 7).ok());
        at.ok_or_else(|| Error::new(day.span(), format!("`{text}` is not a weekday; there are {}", DAYS.join(", "))))
    };
    let mut days = weekend.iter().map(number).collect::<Result<Vec<u8>>>()?;
    if !is_set {
        return match holidays.iter().chain(&weekend).next() {
            None if nth.is_empty() => Ok(None),
            text => Err(Error::new(
                text.map_or_else(proc_macro2::Span::call_site, LitStr::span),
                "a calendar is for `business_days`: write that, too",
            )),
        };
    }
    if weekend.is_empty() {
        days = vec![5, 6];
    }
    let sdk = quote!(::airlock_sdk::__private);
    Ok(Some(quote!(#sdk::Calendar { holidays: &[#(#holidays),*], weekend: &[#(#days),*], nth: &[#(#nth),*] })))
}

/// The schedule as tokens. `texts`: cron expressions, or instants in `zone`, or one of `@once`, `@continuous` and
/// `every ..`.
pub fn schedule(
    texts: &[LitStr],
    data_interval: Option<bool>,
    zone: Tz,
    calendar: Option<&TokenStream>,
) -> Result<TokenStream> {
    let sdk = quote!(::airlock_sdk::__private);
    if calendar.is_some()
        && let Some(text) =
            texts.iter().find(|text| text.value().starts_with("every ") || is_instant(text) || is_word(text))
    {
        return Err(Error::new(text.span(), "`business_days` go with cron expressions"));
    }
    if texts.is_empty() {
        if data_interval == Some(true) {
            return Err(Error::new(
                proc_macro2::Span::call_site(),
                "`data_interval = true` needs a periodic `schedule`",
            ));
        }
        return Ok(quote!(#sdk::Schedule::Manual));
    }
    let data_interval = data_interval.unwrap_or(false);
    if let [only] = texts {
        let text = only.value();
        if text == "@once" {
            return Ok(quote!(#sdk::Schedule::Once));
        }
        if text == "@continuous" {
            return Ok(quote!(#sdk::Schedule::Continuous));
        }
        if let Some(period) = text.strip_prefix("every ") {
            let period_ms = duration_ms(period).map_err(|why| Error::new(only.span(), why))?;
            if period_ms < 1_000 {
                return Err(Error::new(only.span(), "the shortest period is 1s"));
            }
            return Ok(quote!(#sdk::Schedule::Every { period_ms: #period_ms, data_interval: #data_interval }));
        }
    } else if let Some(other) = texts.iter().find(|text| is_word(text) || text.value().starts_with("every ")) {
        return Err(Error::new(other.span(), "several schedules are all cron expressions"));
    }
    if texts.iter().all(is_instant) {
        let instants = texts.iter().map(|text| instant_us(text, zone)).collect::<Result<Vec<_>>>()?;
        if let Some(at) = instants.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(Error::new(texts[at + 1].span(), "instants must ascend"));
        }
        return Ok(quote!(#sdk::Schedule::Events { instants_us: &[#(#instants),*] }));
    }
    for text in texts {
        check_cron(&text.value()).map_err(|why| Error::new(text.span(), why))?;
    }
    let calendar = option(calendar);
    Ok(quote!(#sdk::Schedule::Cron {
        expressions: &[#(#texts),*], data_interval: #data_interval, calendar: #calendar
    }))
}

/// Whether it stands for itself, and is no preset of cron.
fn is_word(text: &LitStr) -> bool {
    matches!(text.value().as_str(), "@once" | "@continuous")
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 7] = [
    Field { name: "minute", least: 0, most: 59, words: &[] },
    Field { name: "hour", least: 0, most: 23, words: &[] },
    Field { name: "day of month", least: 1, most: 31, words: &[] },
    Field { name: "month", least: 1, most: 12, words: &MONTHS },
    Field { name: "day of week", least: 0, most: 7, words: &DAYS },
    Field { name: "second", least: 0, most: 59, words: &[] },
    Field { name: "year", least: 1970, most: 2099, words: &[] },
];

/// Finds what is surely wrong; the host has the last word.
fn check_cron(expression: &str) -> std::result::Result<(), String> {
    if let Some(preset) = expression.strip_prefix('@') {
        return if PRESETS.contains(&expression) {
            Ok(())
        } else {
            Err(format!("there is no preset `@{preset}`; there are @once, @continuous, {}", PRESETS.join(", ")))
        };
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    if !(5..=FIELDS.len()).contains(&fields.len()) {
        return Err(format!(
            "`{expression}` has {} fields; cron has 5 (minute, hour, day of month, month, day of week), then, if you must, second and year",
            fields.len()
        ));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        for part in text.split(',') {
            check_part(part, field).map_err(|why| format!("`{part}` as {} of `{expression}`: {why}", field.name))?;
        }
    }
    Ok(())
}

fn check_part(part: &str, field: &Field) -> std::result::Result<(), String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    if let Some(step) = step
        && step.parse::<u32>().map_or(true, |step| step == 0)
    {
        return Err("the step must be a number from 1".into());
    }
    if range == "*" || range == "?" {
        return Ok(());
    }
    // `L`, `W` and `#` in the fields of days are the host's to judge.
    let days = field.name.starts_with("day");
    if days && (range.contains('#') || range.contains(['L', 'l', 'W', 'w']) && range.len() <= 6) {
        let plain = range.chars().all(|c| c.is_ascii_alphanumeric() || c == '#' || c == '-');
        let is_word = field.words.contains(&range.to_ascii_lowercase().as_str());
        if plain && !is_word {
            return Ok(());
        }
    }
    range.splitn(2, '-').try_for_each(|value| {
        if field.words.contains(&value.to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        match value.parse::<u32>() {
            Ok(number) if (field.least..=field.most).contains(&number) => Ok(()),
            _ => Err(format!("it must be {} to {}", field.least, field.most)),
        }
    })
}

/// Whether it is to be an instant, and no cron expression: a year, and no minute, has four digits.
fn is_instant(text: &LitStr) -> bool {
    text.value().bytes().take_while(u8::is_ascii_digit).count() == 4
}

/// Microseconds since the epoch of an instant, read in `zone` if it has no offset.
pub fn instant_us(text: &LitStr, zone: Tz) -> Result<i64> {
    let value = text.value();
    if let Ok(instant) = DateTime::parse_from_rfc3339(&value) {
        return Ok(instant.timestamp_micros());
    }
    if let Ok(date) = NaiveDate::parse_from_str(&value, "%Y-%m-%d")
        && let Some(midnight) = midnight(date, zone)
    {
        return Ok(midnight.timestamp_micros());
    }
    let local = NaiveDateTime::parse_from_str(&value, "%Y-%m-%dT%H:%M:%S%.f");
    let local = local.or_else(|_| NaiveDateTime::parse_from_str(&value, "%Y-%m-%dT%H:%M")).map_err(|_| {
        Error::new(
            text.span(),
            format!("`{value}` is not a date; write it as \"2026-01-31\" or \"2026-01-31T06:00:00\", with an offset as \"+09:00\" if it is not in the dag's time zone"),
        )
    })?;
    // Of a time that comes twice, the second, as with cron expressions.
    zone.from_local_datetime(&local).latest().map(|instant| instant.timestamp_micros()).ok_or_else(|| {
        Error::new(text.span(), format!("`{value}` does not exist in {}: the clocks go forward then", zone.name()))
    })
}

/// The first instant of a day. Where clocks go forward over midnight, the day begins an hour or so later.
fn midnight(date: NaiveDate, zone: Tz) -> Option<DateTime<Tz>> {
    let wall = date.and_time(NaiveTime::MIN);
    (0..=48).find_map(|half_hours| zone.from_local_datetime(&(wall + TimeDelta::minutes(30 * half_hours))).earliest())
}

/// A size in MiB.
pub fn memory_mib(text: &LitStr) -> Result<u32> {
    let value = text.value();
    let wrong =
        || Error::new(text.span(), format!("`{value}` is not a size from 1MiB to 4GiB; write it as \"512MiB\""));
    let (number, factor) = match (value.strip_suffix("MiB"), value.strip_suffix("GiB")) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 1024),
        _ => return Err(wrong()),
    };
    let mib = number.trim().parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    mib.filter(|mib| (1..=4096).contains(mib)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    fn literal(text: &str) -> LitStr {
        LitStr::new(text, Span::call_site())
    }

    #[test]
    fn cron_expressions_are_checked_field_by_field() {
        for right in [
            "0 6 * * *",
            "*/5 0-6,12 1 jan-mar MON",
            "0 0 L * 5#2",
            "0 0 15W * 5L",
            "0 0 * * mon-fri#1",
            "@daily",
            "@midnight",
            "0 0 * * 7 30",
            "0 0 1 1 * 0 2027-2030",
        ] {
            assert_eq!(check_cron(right), Ok(()), "{right}");
        }
        for (wrong, why) in [
            ("0 6 * *", "has 4 fields"),
            ("60 6 * * *", "`60` as minute"),
            ("0 6 * * */0", "the step"),
            ("0 6 0 * *", "1 to 31"),
            ("0 6 1 1 * 0 27", "1970 to 2099"),
            ("0 6 1 1 * 0 2027 UTC", "has 8 fields"),
            ("0 6 * foo *", "`foo` as month"),
            ("@fortnightly", "no preset"),
        ] {
            let error = check_cron(wrong).unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn days_and_months_with_a_t_are_no_instants() {
        let is_cron = |text| {
            let calendar = quote!(calendar);
            let tokens = schedule(&[literal(text)], None, Tz::UTC, Some(&calendar)).unwrap();
            tokens.to_string().contains("Cron")
        };
        for text in ["0 6 * * SAT", "*/5 6 * * TUE-THU", "0 6 1 OCT *"] {
            assert!(is_cron(text), "{text}");
        }
        let instant = schedule(&[literal("2026-01-31T06:00")], None, Tz::UTC, None).unwrap();
        assert!(instant.to_string().contains("Events"));
    }

    #[test]
    fn dates_are_midnight_in_the_time_zone() {
        let us = |text, zone: Tz| instant_us(&literal(text), zone).map(|us| us / 1_000_000);
        assert_eq!(us("2026-01-01", Tz::UTC).unwrap(), 1_767_225_600);
        assert_eq!(us("2026-01-01", Tz::Asia__Seoul).unwrap(), 1_767_225_600 - 9 * 3600);
        assert_eq!(us("2026-01-01T09:00:00+09:00", Tz::UTC).unwrap(), 1_767_225_600);
        assert_eq!(us("2026-10-25T02:30", Tz::Europe__Berlin).unwrap(), us("2026-10-25T01:30:00Z", Tz::UTC).unwrap());
        // Clocks go forward over midnight.
        assert_eq!(us("2026-04-24", Tz::Africa__Cairo).unwrap(), us("2026-04-23T22:00:00Z", Tz::UTC).unwrap());
        assert!(us("2026-03-29T02:30:00", Tz::Europe__Berlin).unwrap_err().to_string().contains("clocks go forward"));
        assert!(us("1.1.2026", Tz::UTC).is_err());
    }

    #[test]
    fn sizes_are_mib_up_to_4_gib() {
        assert_eq!(memory_mib(&literal("512MiB")).unwrap(), 512);
        assert_eq!(memory_mib(&literal("4GiB")).unwrap(), 4096);
        for wrong in ["512", "0MiB", "5GiB", "512MB"] {
            assert!(memory_mib(&literal(wrong)).is_err(), "{wrong}");
        }
    }
}
