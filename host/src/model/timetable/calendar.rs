//! Business days: those that are neither weekend nor holiday.

use std::collections::BTreeSet;

use chrono::{Datelike, Days, NaiveDate, Weekday};

use super::TimetableError;
use crate::model::spec::{CalendarSpec, WeekdaySpec};

/// The most business days that a month has.
const MAX_NTH: i32 = 31;

/// Which days count.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    holidays: BTreeSet<NaiveDate>,
    weekend: BTreeSet<WeekdaySpec>,
    /// Numbers of the business days of a month; empty: all.
    nth: BTreeSet<i32>,
}

impl Calendar {
    /// # Errors
    /// If a holiday is no date, every day is weekend, or a month never has such a business day.
    pub fn from_spec(spec: &CalendarSpec) -> Result<Self, TimetableError> {
        let date = |text: &String| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| {
                let shown: String = text.chars().take(80).collect();
                TimetableError(format!("holiday `{shown}` is not a date; write it as `2026-12-25`"))
            })
        };
        let holidays = spec.holidays.iter().map(date).collect::<Result<_, _>>()?;
        let weekend: BTreeSet<_> = spec.weekend.iter().copied().collect();
        if weekend.len() == 7 {
            return Err(TimetableError("all seven days are weekend; leave at least one for business".to_owned()));
        }
        if let Some(wrong) = spec.nth.iter().find(|nth| **nth == 0 || nth.abs() > MAX_NTH) {
            let text = format!("there is no business day {wrong} of a month; 1 is the first, -1 the last");
            return Err(TimetableError(text));
        }
        Ok(Self { holidays, weekend, nth: spec.nth.iter().copied().collect() })
    }

    /// Whether `date` is a business day, whatever its number.
    fn is_business(&self, date: NaiveDate) -> bool {
        !self.weekend.contains(&weekday(date.weekday())) && !self.holidays.contains(&date)
    }

    /// Whether runs may happen on `date`.
    pub fn has(&self, date: NaiveDate) -> bool {
        if !self.is_business(date) {
            return false;
        }
        if self.nth.is_empty() {
            return true;
        }
        let count = |days: &mut dyn Iterator<Item = NaiveDate>| {
            let of_month = days.take_while(|day| (day.year(), day.month()) == (date.year(), date.month()));
            i32::try_from(of_month.filter(|day| self.is_business(*day)).count()).unwrap_or(i32::MAX)
        };
        let back = std::iter::successors(Some(date), NaiveDate::pred_opt);
        let on = std::iter::successors(Some(date), NaiveDate::succ_opt);
        self.nth.contains(&count(&mut { back })) || self.nth.contains(&-count(&mut { on }))
    }

    /// The first day at or after `date` that counts, within `days` days.
    pub fn next(&self, date: NaiveDate, days: u64) -> Option<NaiveDate> {
        (0..days).filter_map(|far| date.checked_add_days(Days::new(far))).find(|date| self.has(*date))
    }

    /// The last day at or before `date` that counts, within `days` days.
    pub fn previous(&self, date: NaiveDate, days: u64) -> Option<NaiveDate> {
        (0..days).filter_map(|far| date.checked_sub_days(Days::new(far))).find(|date| self.has(*date))
    }
}

fn weekday(day: Weekday) -> WeekdaySpec {
    match day {
        Weekday::Mon => WeekdaySpec::Monday,
        Weekday::Tue => WeekdaySpec::Tuesday,
        Weekday::Wed => WeekdaySpec::Wednesday,
        Weekday::Thu => WeekdaySpec::Thursday,
        Weekday::Fri => WeekdaySpec::Friday,
        Weekday::Sat => WeekdaySpec::Saturday,
        Weekday::Sun => WeekdaySpec::Sunday,
    }
}
