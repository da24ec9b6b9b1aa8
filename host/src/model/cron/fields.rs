//! The text of a cron expression, read as croniter reads it and written as `croner` wants it.
//!
//! Two plain day fields fire on the days of either. With a `W`, `#` or `L5` croniter looks no further than that field,
//! but gives up if the other one has no day in common with it. It wants both for one day where either is a `*`, or both
//! are of this kind.

use std::{collections::BTreeSet, fmt};

use super::LAST_YEAR;

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
    /// Whether croniter counts it among those for every hour: `*`, `*/1` and `0-23` are, `*,5` is not.
    pub is_hourly: bool,
}

/// What a field matches.
#[derive(Default)]
struct Field {
    /// Everything, and not by being listed: the other day field decides alone.
    is_star: bool,
    /// Of weekdays, also those that `nth` names.
    values: BTreeSet<u16>,
    /// Whether the last day of the month is one of the days.
    has_last_day: bool,
    /// Weekdays of which not all count, as `croner` writes them: `5L`, `1#2`. Plain ones give way to them.
    nth: BTreeSet<String>,
    /// The day of `15W`; it stands alone.
    nearest: Option<u16>,
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
const YEAR: Kind = Kind { name: "year", min: 1970, max: LAST_YEAR, names: &[] };

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
        let hours = Field::read(hours, HOUR)?;
        Ok(Self {
            is_hourly: hours.is_all(HOUR),
            seconds: Field::read(seconds, SECOND)?.starred_if_full(SECOND, true),
            minutes: Field::read(minutes, MINUTE)?.starred_if_full(MINUTE, true),
            // All days listed one by one are a restriction, which the other day field then widens (OR), unless a `*`
            // stands in that one.
            days: Field::read(days, DAY)?.starred_if_full(DAY, weekdays.contains('*')),
            weekdays: Field::read(weekdays, WEEKDAY)?.starred_if_full(WEEKDAY, days.contains('*')),
            months: Field::read(months, MONTH)?.starred_if_full(MONTH, true),
            years: Field::read(years, YEAR)?.starred_if_full(YEAR, true),
            hours: hours.starred_if_full(HOUR, true),
        })
    }

    /// As `croner` takes them: it fires when one of these matches.
    pub fn patterns(&self) -> Vec<String> {
        let (dates, weekdays) = (self.dates(), self.weekdays.to_string());
        match (self.days.nearest, self.weekdays.nth.is_empty()) {
            (None, true) => self.write(dates, &weekdays),
            (Some(_), true) => self.write(dates, "*"),
            (None, false) if !self.weekdays.is_star && !self.days.is_star => {
                self.write(vec![("*".to_owned(), self.months.to_string())], &weekdays)
            }
            // A plus wants both day fields to match.
            (_, false) => self.write(dates, &format!("+{weekdays}")),
        }
    }

    /// Of these one must match sometime, or croniter finds nothing, although [`Self::patterns`] may.
    pub fn conditions(&self) -> Vec<String> {
        let is_plain = self.days.nearest.is_none() && self.weekdays.nth.is_empty();
        let both = if is_plain { "" } else { "+" };
        self.write(self.dates(), &format!("{both}{}", self.weekdays))
    }

    fn write(&self, dates: Vec<(String, String)>, weekdays: &str) -> Vec<String> {
        let Self { seconds, minutes, hours, years, .. } = self;
        let write = |(days, months)| format!("{seconds} {minutes} {hours} {days} {months} {weekdays} {years}");
        dates.into_iter().map(write).collect()
    }

    /// The days of the month, and in which months.
    ///
    /// In a month that has no such day, `29W` to `31W` start from its last, which to `croner` is `LW`.
    fn dates(&self) -> Vec<(String, String)> {
        let (days, months) = (self.days.to_string(), self.months.to_string());
        match self.days.nearest {
            Some(31) => vec![("LW".to_owned(), months)],
            Some(29 | 30) => {
                let all = (MONTH.min..=MONTH.max).filter(|month| self.months.has(*month));
                let (february, others): (Vec<_>, Vec<_>) = all.partition(|month| *month == 2);
                let dates = [("LW".to_owned(), list(february)), (days, list(others))];
                dates.into_iter().filter(|(_, months)| !months.is_empty()).collect()
            }
            Some(_) | None => vec![(days, months)],
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(day) = self.nearest {
            return write!(f, "{day}W");
        }
        if !self.nth.is_empty() {
            return f.write_str(&list(&self.nth));
        }
        if self.is_star {
            return f.write_str("*");
        }
        let last_day = self.has_last_day.then(|| "L".to_owned());
        f.write_str(&list(self.values.iter().map(ToString::to_string).chain(last_day)))
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
        // The weekdays that a `#` or `L` names.
        let mut named = BTreeSet::new();
        for part in text.split(',') {
            if is_day && let Some(day) = part.strip_suffix('w').or_else(|| part.strip_prefix('w')) {
                field.nearest = Some(kind.value(day)?);
                if text.contains(',') {
                    return Err(format!("`{part}` must stand alone in its field"));
                }
            } else if is_day && part == "l" {
                field.has_last_day = true;
            } else if let Some((days, which)) = is_weekday.then(|| special_weekdays(part)).transpose()?.flatten() {
                field.nth.extend(days.iter().map(|day| format!("{day}{which}")));
                named.extend(days);
            } else if part == "*" {
                field.is_star = true;
            } else {
                field.values.extend(kind.values(part)?);
            }
        }
        let is_mixed = !named.is_empty() && !field.values.is_subset(&named);
        field.values.extend(named);
        // The exception is croniter's.
        if is_mixed && field.listed() != kind.count() {
            return Err("the day of week can't mix plain days with `#` or `L`".to_owned());
        }
        Ok(field)
    }

    /// Reads a field that lists everything as `*`, if `may` it be.
    fn starred_if_full(mut self, kind: Kind, may: bool) -> Self {
        self.is_star |= may && self.listed() == kind.count();
        self
    }

    /// Whether croniter makes a plain `*` of it.
    fn is_all(&self, kind: Kind) -> bool {
        self.listed() == kind.count() || (self.is_star && self.listed() == 1)
    }

    /// How many entries croniter counts: `*` and the last day are one each, whatever else is listed.
    fn listed(&self) -> usize {
        self.values.len() + usize::from(self.is_star) + usize::from(self.has_last_day)
    }

    fn has(&self, value: u16) -> bool {
        self.is_star || self.values.contains(&value)
    }
}

impl Kind {
    /// How many values there are.
    fn count(self) -> usize {
        usize::from(self.max - self.min) + 1
    }

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

    /// The two ends of a range.
    ///
    /// The day or month 0 may end a range that runs over the end of its cycle, which then has nothing of the next one;
    /// or be both ends.
    fn ends(self, low: &str, high: &str) -> Result<(u16, u16), String> {
        let end = |text| self.number(text).filter(|end| *end <= self.max).ok_or_else(|| self.fail(text));
        match (end(low)?, end(high)?) {
            (first, last) if first < self.min && first != last => Err(self.fail(low)),
            ends => Ok(ends),
        }
    }

    /// `a`, `a-b`, `a-b/n`, `a/n`, `*/n`; a range may run over the end of its cycle.
    fn values(self, part: &str) -> Result<Vec<u16>, String> {
        let (range, step) = match part.split_once('/') {
            None => (part, 1),
            Some((range, step)) => {
                let step = step_of(step).ok_or_else(|| format!("`{part}` has a step that is not a number from 1"))?;
                (range, step)
            }
        };
        let is_stepped = part.contains('/');
        let (low, high) = match range.split_once('-') {
            Some((low, "l")) if self.name == DAY.name => (self.value(low)?, self.max),
            Some((low, high)) => self.ends(low, high)?,
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

/// A step; what is too long for any field is as good as the longest.
fn step_of(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let step = text.parse::<u64>().unwrap_or(u64::MAX);
    Some(u16::try_from(step).unwrap_or(u16::MAX)).filter(|step| *step > 0)
}

/// The days of `L5` (the last friday), `5#2` (the second) or `mon-fri#2`, and which of each month as `croner` writes
/// it; none if the part is none of these.
fn special_weekdays(part: &str) -> Result<Option<(Vec<u16>, String)>, String> {
    if let Some(day) = part.strip_prefix('l') {
        let is_number = day.bytes().all(|byte| byte.is_ascii_digit());
        let day = if is_number { WEEKDAY.value(day).ok() } else { None };
        return Ok(Some((vec![day.ok_or_else(|| WEEKDAY.fail(part))?], "L".to_owned())));
    }
    let Some((days, nth)) = part.split_once('#') else { return Ok(None) };
    let is_number = nth.bytes().all(|byte| byte.is_ascii_digit());
    let number = nth.parse::<u8>().ok().filter(|nth| is_number && (1..=5).contains(nth));
    let nth = number.ok_or_else(|| format!("`{part}` does not name the 1st to 5th such day of a month"))?;
    let days = match days.split_once('-') {
        None => vec![WEEKDAY.value(days)?],
        Some((low, high)) if WEEKDAYS.contains(&low) && WEEKDAYS.contains(&high) => WEEKDAY.values(days)?,
        Some(_) => return Err(format!("`{part}` has a range that is not one of names, as `mon-fri#1`")),
    };
    Ok(Some((days, format!("#{nth}"))))
}

fn list(all: impl IntoIterator<Item = impl fmt::Display>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(",")
}

fn wrong_count(count: usize) -> String {
    format!("it has {count} fields; write five (minute hour day month weekday), then, if you must, second and year")
}
