//! Cron expressions in a time zone, as Airflow (croniter) reads them.
//!
//! The expression is read here, field by field; the crate `croner` finds its next wall-clock times; here again, wall
//! clock becomes instant. On days when clocks change:
//!
//! - An expression with restricted hours (`30 2 * * *`, `0 */2 * * *`) fires at wall-clock times. Of those that don't
//!   exist on a day, because clocks go forward over them, the first fires, later by as much as the clocks are put
//!   forward; of one that comes twice, the second.
//! - An expression for every hour (`*/15 * * * *`) fires at every instant at which a clock on the wall shows a matching
//!   time: in both of two repeated hours, and not in one that is left out.
//!
//! Its instants are the same from wherever one looks, so that a schedule that goes from one to the next leaves none out
//! and repeats none. Only where a schedule begins ([`Cron::first_after`]), what a clock on the wall shows counts, as in
//! Airflow: what it has shown already is over, though its instant may be still to come.

mod fields;

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    CronComponent,
    parser::{CronParser, Seconds, Year},
};

use self::fields::Fields;
use super::time::Timestamp;

/// Between two changes of a zone's clocks lies more than twice this.
const LONGEST_SHIFT: TimeDelta = TimeDelta::hours(26);

/// The last year that an expression may name; the first is 1970.
const LAST_YEAR: u16 = 2099;

/// The instants that a cron expression stands for, in a time zone.
#[derive(Clone)]
pub struct Cron {
    expression: String,
    timezone: Tz,
    /// Match wall-clock times, which are handed to them as if they were UTC; it fires when one of them does.
    wall: Vec<croner::Cron>,
    /// Whether it fires in every hour of a day.
    is_hourly: bool,
}

/// An expression that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cron expression `{expression}`: {why}")]
pub struct CronError {
    /// Its beginning, if it is long.
    pub expression: String,
    pub why: String,
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?}, {})", self.expression, self.timezone)
    }
}

/// What a wall-clock time is in a zone.
enum Local {
    /// An instant; the later of two.
    At(DateTime<Utc>),
    /// None: clocks are put forward over it.
    Gap(Gap),
}

/// Wall-clock times that clocks are put forward over.
struct Gap {
    start: NaiveDateTime,
    end: NaiveDateTime,
    /// The zone's offset before.
    offset: TimeDelta,
}

impl Cron {
    /// Reads `expression`: five fields, a sixth for seconds, a seventh for the year, or a preset as `@daily`.
    ///
    /// # Errors
    /// If it can't be read, or never fires.
    pub fn new(expression: &str, timezone: Tz) -> Result<Self, CronError> {
        let shown: String = expression.chars().take(80).collect();
        let fail = |why: &str| CronError { expression: shown.clone(), why: why.to_owned() };
        let fields = Fields::read(expression).map_err(|why| fail(&why))?;
        let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required).build();
        let parse = |patterns: Vec<String>| {
            let parsed = patterns.iter().map(|pattern| parser.parse(pattern)).collect::<Result<Vec<_>, _>>();
            parsed.map_err(|error| fail(&error.to_string()))
        };
        if !parse(fields.conditions())?.iter().any(fires) {
            return Err(fail("it never fires; there is no such day"));
        }
        let mut wall = parse(fields.patterns())?;
        if wall.len() > 1 {
            // One that never matches would be searched to the end of time at each call.
            wall.retain(fires);
        }
        Ok(Self { expression: shown.clone(), timezone, wall, is_hourly: fields.is_hourly })
    }

    /// The first instant strictly after `after`; none after the last.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_utc();
        let next = if self.is_hourly { self.next_hourly(after) } else { self.next_daily(after) };
        next.map(Timestamp::from)
    }

    /// The last instant strictly before `before`; none before the first.
    pub fn prev_before(&self, before: Timestamp) -> Option<Timestamp> {
        let before = before.to_utc();
        let previous = if self.is_hourly { self.prev_hourly(before) } else { self.prev_daily(before) };
        previous.map(Timestamp::from)
    }

    /// The first instant strictly after `after` of a schedule that begins there; none after the last.
    ///
    /// Airflow: `_get_next`. `30 2 * * *` that begins at 03:00 sharp when clocks have just skipped 02:00 to 03:00, or
    /// in the first of two hours at 02:40, leaves that day out: 02:30 is over. From an instant at which it fires, and
    /// for every hour, this is [`Self::next_after`].
    pub fn first_after(&self, after: Timestamp) -> Option<Timestamp> {
        if self.is_hourly || self.fires_at(after) {
            self.next_after(after)
        } else {
            self.next_on_wall(after.to_utc()).map(Timestamp::from)
        }
    }

    /// `at` if it fires then, else the first instant of a schedule that begins there.
    pub fn first_from(&self, at: Timestamp) -> Option<Timestamp> {
        if self.is_hourly {
            self.align_next(at)
        } else if self.fires_at(at) {
            Some(at)
        } else {
            self.next_on_wall(at.to_utc()).map(Timestamp::from)
        }
    }

    /// Whether it fires at `at`; for an expression with restricted hours.
    fn fires_at(&self, at: Timestamp) -> bool {
        let at = at.to_utc();
        let wall = at.naive_utc() + self.offset(at);
        let is_shown = at.timestamp_subsec_nanos() == 0
            && self.wall.iter().any(|cron| cron.is_time_matching(&wall.and_utc()).unwrap_or(false))
            && matches!(self.local(wall), Local::At(local) if local == at);
        is_shown || self.gap_before(at).and_then(|gap| self.in_gap(&gap)) == Some(at)
    }

    /// `at` if it fires then, else the next instant.
    pub fn align_next(&self, at: Timestamp) -> Option<Timestamp> {
        self.next_after(Timestamp::from_micros(at.as_micros() - 1))
    }

    /// `at` if it fires then, else the instant before.
    pub fn align_prev(&self, at: Timestamp) -> Option<Timestamp> {
        self.prev_before(Timestamp::from_micros(at.as_micros() + 1))
    }

    fn next_daily(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let around = [shift(after, -LONGEST_SHIFT), after, shift(after, LONGEST_SHIFT)];
        let offset = around.map(|at| self.offset(at)).into_iter().min()?;
        let mut wall = self.wall_next(after.naive_utc() + offset, false);
        // What a gap has moved; times behind the gap may come before it.
        let mut moved: Option<DateTime<Utc>> = None;
        loop {
            wall = match wall.map(|wall| (wall, self.local(wall))) {
                Some((_, Local::At(at))) if at > after => return moved.into_iter().chain([at]).min(),
                Some((wall, Local::At(_))) => self.wall_next(wall, false),
                Some((_, Local::Gap(gap))) if moved.is_none() => {
                    moved = self.in_gap(&gap).filter(|moved| *moved > after);
                    self.wall_next(gap.end, true)
                }
                Some((_, Local::Gap(_))) | None => return moved,
            };
        }
    }

    /// When the first time fires that a clock on the wall shows after `after`.
    fn next_on_wall(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wall = self.wall_next(after.naive_utc() + self.offset(after), false)?;
        match self.local(wall) {
            Local::At(at) => Some(at),
            // Times behind the gap may come before it.
            Local::Gap(gap) => {
                let change = gap.start.checked_sub_signed(gap.offset)?.and_utc();
                self.next_daily(shift(change, -TimeDelta::microseconds(1)).max(after))
            }
        }
    }

    fn prev_daily(&self, before: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let around = [shift(before, -LONGEST_SHIFT), before, shift(before, LONGEST_SHIFT)];
        let offset = around.map(|at| self.offset(at)).into_iter().max()?;
        let mut wall = self.wall_prev(before.naive_utc() + offset)?;
        loop {
            match self.local(wall) {
                Local::At(at) if at < before => {
                    let moved = self.gap_before(at).and_then(|gap| self.in_gap(&gap)).filter(|moved| *moved < before);
                    return moved.into_iter().chain([at]).max();
                }
                Local::At(_) => wall = self.wall_prev(wall)?,
                Local::Gap(gap) => {
                    if let Some(moved) = self.in_gap(&gap).filter(|moved| *moved < before) {
                        return Some(moved);
                    }
                    wall = self.wall_prev(gap.start)?;
                }
            }
        }
    }

    fn next_hourly(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (mut from, mut is_inclusive) = (after, false);
        loop {
            let offset = self.offset(from);
            let next = self.wall_next(from.naive_utc() + offset, is_inclusive)?;
            let next = next.checked_sub_signed(offset)?.and_utc();
            let horizon = next.min(shift(from, LONGEST_SHIFT));
            if let Some(change) = self.change_between(from, horizon) {
                (from, is_inclusive) = (change, true);
            } else if next <= horizon {
                return Some(next);
            } else {
                // No wall-clock time between here and `next` matches, whatever clocks do in between.
                (from, is_inclusive) = (horizon.max(shift(next, -LONGEST_SHIFT)), true);
            }
        }
    }

    fn prev_hourly(&self, before: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut until = before;
        loop {
            let last = shift(until, -TimeDelta::microseconds(1));
            let offset = self.offset(last);
            let previous = self.wall_prev(until.naive_utc() + offset)?.checked_sub_signed(offset)?.and_utc();
            let horizon = previous.max(shift(until, -LONGEST_SHIFT));
            if let Some(change) = self.change_between(shift(horizon, -TimeDelta::microseconds(1)), last) {
                // What lies behind the change has been looked through, unless `previous` lies there itself.
                if previous >= change {
                    return Some(previous);
                }
                until = change;
            } else if previous >= horizon {
                return Some(previous);
            } else {
                until = horizon.min(shift(previous, LONGEST_SHIFT));
            }
        }
    }

    /// The first wall-clock time after `wall` (or at it) that matches.
    fn wall_next(&self, wall: NaiveDateTime, is_inclusive: bool) -> Option<NaiveDateTime> {
        // The crate works in whole seconds.
        let whole = wall.and_utc().timestamp();
        let is_whole = wall.and_utc().timestamp_subsec_nanos() == 0;
        let start = DateTime::from_timestamp(whole, 0)?;
        let is_inclusive = is_inclusive && is_whole;
        let found = self.wall.iter().filter_map(|wall| wall.find_next_occurrence(&start, is_inclusive).ok()).min();
        found.map(|found| found.naive_utc())
    }

    /// The last wall-clock time before `wall` that matches.
    fn wall_prev(&self, wall: NaiveDateTime) -> Option<NaiveDateTime> {
        let whole = wall.and_utc().timestamp();
        let is_whole = wall.and_utc().timestamp_subsec_nanos() == 0;
        let start = DateTime::from_timestamp(whole, 0)?;
        let found = self.wall.iter().filter_map(|wall| wall.find_previous_occurrence(&start, !is_whole).ok()).max();
        found.map(|found| found.naive_utc())
    }

    fn offset(&self, at: DateTime<Utc>) -> TimeDelta {
        let offset = self.timezone.offset_from_utc_datetime(&at.naive_utc()).fix();
        TimeDelta::seconds(i64::from(offset.local_minus_utc()))
    }

    fn local(&self, wall: NaiveDateTime) -> Local {
        if let Some(at) = self.timezone.from_local_datetime(&wall).latest() {
            return Local::At(at.to_utc());
        }
        let middle = wall.and_utc();
        match self.gap_within(shift(middle, -LONGEST_SHIFT), shift(middle, LONGEST_SHIFT)) {
            Some(gap) => Local::Gap(gap),
            // A zone whose data contradicts itself: as if its clocks did not change.
            None => Local::At(middle - self.offset(middle)),
        }
    }

    /// When the first time of `gap` that matches fires instead.
    fn in_gap(&self, gap: &Gap) -> Option<DateTime<Utc>> {
        let first = self.wall_next(gap.start, true).filter(|wall| *wall < gap.end)?;
        Some(first.checked_sub_signed(gap.offset)?.and_utc())
    }

    /// The gap that ended shortly before `at`, if one did.
    fn gap_before(&self, at: DateTime<Utc>) -> Option<Gap> {
        self.gap_within(shift(at, -LONGEST_SHIFT), at)
    }

    fn gap_within(&self, low: DateTime<Utc>, high: DateTime<Utc>) -> Option<Gap> {
        let change = self.change_between(low, high)?;
        let (before, after) = (self.offset(low), self.offset(high));
        let wall = change.naive_utc();
        (before < after).then(|| Gap { start: wall + before, end: wall + after, offset: before })
    }

    /// The instant in (`low`, `high`] from which on clocks go otherwise than at `low`, if there is one.
    fn change_between(&self, low: DateTime<Utc>, high: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset = self.offset(low);
        if low >= high || self.offset(high) == offset {
            return None;
        }
        let (mut low, mut high) = (low.timestamp(), high.timestamp());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.offset(DateTime::from_timestamp(middle, 0)?) == offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        DateTime::from_timestamp(high, 0)
    }
}

/// Whether a day of the years that an expression may name matches; among them are years of all kinds.
///
/// The crate's own search goes on for three thousand years.
fn fires(wall: &croner::Cron) -> bool {
    let first = |field: &CronComponent| field.values().first().copied().map(u32::from);
    let croner::CronPattern { hours, minutes, seconds, .. } = &wall.pattern;
    let (Some(hour), Some(minute), Some(second)) = (first(hours), first(minutes), first(seconds)) else { return false };
    let days = DateTime::UNIX_EPOCH.date_naive().iter_days().take_while(|day| day.year() <= i32::from(LAST_YEAR));
    days.filter_map(|day| day.and_hms_opt(hour, minute, second))
        .any(|time| wall.is_time_matching(&time.and_utc()).unwrap_or(false))
}

fn shift(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

#[cfg(test)]
mod tests;
