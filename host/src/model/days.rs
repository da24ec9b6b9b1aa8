//! Days as a time zone has them, and what the runs of a day amount to.

use chrono::{Datelike as _, NaiveDate, NaiveTime, TimeZone as _};
use chrono_tz::Tz;

use super::time::Timestamp;

/// The day that `instant` falls on.
pub fn date(instant: Timestamp, zone: Tz) -> NaiveDate {
    instant.to_utc().with_timezone(&zone).date_naive()
}

/// The first instant of a day. Where clocks go forward over midnight, the day begins an hour or so later.
pub fn midnight(date: NaiveDate, zone: Tz) -> Timestamp {
    let wall = date.and_time(NaiveTime::MIN);
    let first = (0..=48).find_map(|half_hours| {
        zone.from_local_datetime(&(wall + chrono::TimeDelta::minutes(30 * half_hours))).earliest()
    });
    first.map_or_else(|| wall.and_utc().into(), |instant| instant.to_utc().into())
}

/// A day: `start` is in it, `end` is not. One that its zone left out (Samoa, 2011-12-30) has no length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    pub date: NaiveDate,
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Day {
    pub fn new(date: NaiveDate, zone: Tz) -> Self {
        let next = date.succ_opt().map_or(Timestamp::MAX, |next| midnight(next, zone));
        Self { date, start: midnight(date, zone), end: next }
    }
}

/// The days of a year, in order; none of a year that is not 1 to 9999.
pub fn of_year(year: i32, zone: Tz) -> Vec<Day> {
    let first = NaiveDate::from_ymd_opt(year, 1, 1).filter(|_| (1..=9_999).contains(&year));
    let dates = first.into_iter().flat_map(|first| first.iter_days()).take_while(|date| date.year() == year);
    dates.map(|date| Day::new(date, zone)).collect()
}

/// How many runs of a day there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayRuns {
    /// In any state.
    pub runs: u32,
    pub failed: u32,
    /// Queued or running.
    pub unfinished: u32,
    /// That the timetable has yet to make.
    pub planned: u32,
}

/// What a day's runs amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayState {
    /// There are none.
    Empty,
    /// None yet.
    Planned,
    /// None failed, and some are not over.
    Unfinished,
    Success,
    /// Some failed.
    Mixed,
    /// All failed.
    Failed,
}

impl DayState {
    pub const ALL: [Self; 6] = [Self::Success, Self::Mixed, Self::Failed, Self::Unfinished, Self::Planned, Self::Empty];
}

impl DayRuns {
    pub fn state(self) -> DayState {
        match self {
            Self { runs: 0, planned: 0, .. } => DayState::Empty,
            Self { runs: 0, .. } => DayState::Planned,
            Self { runs, failed, .. } if failed >= runs => DayState::Failed,
            Self { failed: 1.., .. } => DayState::Mixed,
            Self { unfinished: 1.., .. } => DayState::Unfinished,
            Self { .. } => DayState::Success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_of_a_year_follow_each_other_without_a_gap() {
        for (year, zone, count) in [
            (2026, Tz::UTC, 365),
            (2024, Tz::Asia__Seoul, 366),
            (2026, Tz::Europe__Zurich, 365),
            // Clocks go forward over midnight.
            (2018, Tz::America__Sao_Paulo, 365),
            // The 30th of December was left out.
            (2011, Tz::Pacific__Apia, 365),
        ] {
            let days = of_year(year, zone);
            assert_eq!(days.len(), count, "{year} {zone}");
            assert!(days.windows(2).all(|pair| pair[0].end == pair[1].start), "{year} {zone}");
            for day in days.iter().filter(|day| day.start < day.end) {
                assert_eq!(date(day.start, zone), day.date, "{zone}");
                assert_eq!(date(Timestamp::from_micros(day.end.as_micros() - 1), zone), day.date, "{zone}");
            }
        }
        let apia = of_year(2011, Tz::Pacific__Apia);
        let left_out: Vec<_> = apia.iter().filter(|day| day.start == day.end).map(|day| day.date.to_string()).collect();
        assert_eq!(left_out, ["2011-12-30"]);
        assert_eq!((of_year(0, Tz::UTC), of_year(10_000, Tz::UTC)), (vec![], vec![]));
        assert_eq!(of_year(9_999, Tz::UTC).len(), 365);
    }

    #[test]
    fn what_went_wrong_shows_before_what_goes_on() {
        for (runs, failed, unfinished, planned, expected) in [
            (0, 0, 0, 0, DayState::Empty),
            (0, 0, 0, 24, DayState::Planned),
            (3, 0, 0, 0, DayState::Success),
            (3, 0, 0, 21, DayState::Success),
            (3, 0, 1, 0, DayState::Unfinished),
            (3, 1, 1, 0, DayState::Mixed),
            (3, 3, 0, 9, DayState::Failed),
        ] {
            assert_eq!(DayRuns { runs, failed, unfinished, planned }.state(), expected);
        }
    }
}
