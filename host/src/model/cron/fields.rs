//! The text of a cron expression, read as croniter reads it and written as `croner` wants it.

use std::{collections::BTreeSet, fmt};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The fields of an expression, in the order in which `croner` takes them.
pub(super) struct Fields {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    years: Field,
    /// Whether no hour is left out.
    pub is_hourly: bool,
}

/// What a field matches.
#[derive(Default)]
struct Field {
    /// Everything, and not by being listed: the other day field decides alone.
    is_star: bool,
    values: BTreeSet<u16>,
    /// Days that depend on the month, as `croner` writes them: `L`, `15W`, `5L`, `1#2`.
    special: BTreeSet<String>,
}

/// Which values a field may have, and what they are called.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    min: u16,
    max: u16,
    names: &'static [&'static str],
}

const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Kind = Kind { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Kind = Kind { name: "month", min: 1, max: 12, names: &MONTHS };
const WEEKDAY: Kind = Kind { name: "day of week", min: 0, max: 6, names: &WEEKDAYS };
const SECOND: Kind = Kind { name: "second", min: 0, max: 59, names: &[] };
const YEAR: Kind = Kind { name: "year", min: 1970, max: 2099, names: &[] };

impl Fields {
    pub fn read(expression: &str) -> Result<Self, String> {
        let text = expression.to_ascii_lowercase();
        let text = match text.trim_ascii() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@quarterly" => "0 0 1 */3 *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            preset if preset.starts_with('@') => {
                return Err("there is no such preset; there are @hourly, @daily, @midnight, @weekly, @monthly, \
                            @quarterly, @yearly and @annually"
                    .to_owned());
            }
            other => other,
        };
        let parts: Vec<_> = text.split_ascii_whitespace().collect();
        let &[minutes, hours, days, months, weekdays, ref rest @ ..] = parts.as_slice() else {
            return Err(wrong_count(parts.len()));
        };
        let (seconds, years) = match rest {
            [] => ("0", "*"),
            [seconds] => (*seconds, "*"),
            [seconds, years] => (*seconds, *years),
            _ => return Err(wrong_count(parts.len())),
        };
        let hours = Field::read(hours, HOUR)?.starred_if_full(HOUR, true);
        Ok(Self {
            is_hourly: hours.is_star,
            seconds: Field::read(seconds, SECOND)?.starred_if_full(SECOND, true),
            minutes: Field::read(minutes, MINUTE)?.starred_if_full(MINUTE, true),
            // All days listed one by one are a restriction, which the other day field then widens (OR), unless a `*`
            // stands in that one.
            days: Field::read(days, DAY)?.starred_if_full(DAY, weekdays.contains('*')),
            weekdays: Field::read(weekdays, WEEKDAY)?.starred_if_full(WEEKDAY, days.contains('*')),
            months: Field::read(months, MONTH)?.starred_if_full(MONTH, true),
            years: Field::read(years, YEAR)?.starred_if_full(YEAR, true),
            hours,
        })
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, minutes, hours, days, months, weekdays, years, .. } = self;
        write!(f, "{seconds} {minutes} {hours} {days} {months} {weekdays} {years}")
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_star {
            return f.write_str("*");
        }
        let all: Vec<_> = self.values.iter().map(ToString::to_string).chain(self.special.iter().cloned()).collect();
        f.write_str(&all.join(","))
    }
}

impl Field {
    fn read(text: &str, kind: Kind) -> Result<Self, String> {
        let mut field = Self::default();
        let is_day = kind.name == DAY.name;
        let is_weekday = kind.name == WEEKDAY.name;
        if text == "?" && (is_day || is_weekday) {
            field.is_star = true;
            return Ok(field);
        }
        for part in text.split(',') {
            if is_day && let Some(day) = part.strip_suffix('w').or_else(|| part.strip_prefix('w')) {
                let day = kind.value(day)?;
                if text.contains(',') {
                    return Err(format!("`{part}` must stand alone in its field"));
                }
                field.special.insert(format!("{day}W"));
            } else if is_day && part == "l" {
                field.special.insert("L".to_owned());
            } else if let Some(days) = is_weekday.then(|| special_weekdays(part)).transpose()?.flatten() {
                field.special.extend(days);
            } else if part == "*" {
                field.is_star = true;
            } else {
                field.values.extend(kind.values(part)?);
            }
        }
        if is_weekday && !field.special.is_empty() && !field.values.is_empty() {
            return Err("the day of week can't mix plain days with `#` or `L`".to_owned());
        }
        Ok(field)
    }

    /// Reads a field that lists everything as `*`, if `may` it be.
    fn starred_if_full(mut self, kind: Kind, may: bool) -> Self {
        let count = usize::from(kind.max - kind.min) + 1;
        self.is_star |= may && self.values.len() == count;
        self
    }
}

impl Kind {
    fn fail(self, part: &str) -> String {
        let part: String = part.chars().take(40).collect();
        let hint =
            if self.name == WEEKDAY.name && part.ends_with('l') { "; write the last friday as `L5`" } else { "" };
        format!("`{part}` is not a {} ({} to {}){hint}", self.name, self.min, self.max)
    }

    /// A number or a name.
    fn number(self, text: &str) -> Option<u16> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // Sunday is 0, and 7 too.
            return text.parse().ok().map(|value| if self.name == WEEKDAY.name && value == 7 { 0 } else { value });
        }
        self.names.iter().zip(self.min..).find(|(name, _)| **name == text).map(|(_, value)| value)
    }

    fn value(self, text: &str) -> Result<u16, String> {
        let value = self.number(text).filter(|value| (self.min..=self.max).contains(value));
        value.ok_or_else(|| self.fail(text))
    }

    /// `a`, `a-b`, `a-b/n`, `a/n`, `*/n`; a range may run over the end of its cycle.
    fn values(self, part: &str) -> Result<Vec<u16>, String> {
        let (range, step) = match part.split_once('/') {
            None => (part, 1),
            Some((range, step)) => {
                let digits = step.bytes().all(|byte| byte.is_ascii_digit());
                let step = step.parse::<u16>().ok().filter(|step| *step > 0 && digits);
                (range, step.ok_or_else(|| format!("`{part}` has a step that is not a number from 1"))?)
            }
        };
        let is_stepped = part.contains('/');
        let (low, high) = match range.split_once('-') {
            Some((low, "l")) if self.name == DAY.name => (self.value(low)?, self.max),
            Some((low, high)) => (self.value(low)?, self.value(high)?),
            None if range == "*" => (self.min, self.max),
            None if is_stepped => (self.value(range)?, self.max),
            None => return Ok(vec![self.value(range)?]),
        };
        if low == high {
            // `59/15` is one value; `jan-jan` goes once around.
            let is_range = range.contains('-');
            return Ok(if is_range { span(self.min, self.max, step) } else { vec![low] });
        }
        if low < high {
            return Ok(span(low, high, step));
        }
        let mut values = span(low, self.max, step);
        let last = values.last().copied().unwrap_or(low);
        let left = self.max - last;
        let is_cut = u32::from(last - self.min) + u32::from(step) > u32::from(self.max - self.min) + 1;
        let skipped = if is_cut && left < step { step - left } else { 0 };
        values.extend(span(self.min.saturating_add(skipped), high, step));
        Ok(values)
    }
}

fn span(low: u16, high: u16, step: u16) -> Vec<u16> {
    (low..=high).step_by(usize::from(step)).collect()
}

/// `L5` (the last friday) and `5#2` (the second), as `croner` writes them; none if the part is neither.
fn special_weekdays(part: &str) -> Result<Option<Vec<String>>, String> {
    if let Some(day) = part.strip_prefix('l') {
        return Ok(Some(vec![format!("{}L", WEEKDAY.value(day)?)]));
    }
    let Some((days, nth)) = part.split_once('#') else { return Ok(None) };
    let nth = nth.parse::<u8>().ok().filter(|nth| (1..=5).contains(nth));
    let nth = nth.ok_or_else(|| format!("`{part}` does not name the 1st to 5th such day of a month"))?;
    Ok(Some(WEEKDAY.values(days)?.into_iter().map(|day| format!("{day}#{nth}")).collect()))
}

fn wrong_count(count: usize) -> String {
    format!("it has {count} fields; write five (minute hour day month weekday), then, if you must, second and year")
}
