//! The instants at which a schedule fires.

use std::time::Duration;

use chrono_tz::Tz;

use super::{TimetableError, calendar::Calendar};
use crate::model::{
    cron::Cron,
    days::{date, midnight},
    time::Timestamp,
};

/// A business day on which an expression fires comes within so many years, or never.
const HORIZON_DAYS: u64 = 366 * 12;

/// Cron expressions, on some days or all, a period, or instants.
#[derive(Debug, Clone)]
pub(super) enum Ticks {
    /// Whenever one of them fires. At least one.
    Crons(Vec<Cron>),
    /// Whenever one of them fires on a day of the calendar.
    OnDays { crons: Vec<Cron>, calendar: Calendar, timezone: Tz },
    /// At `anchor` and every whole number of periods before and after it, whatever clocks show. Airflow: `timedelta`.
    Every { period_us: i64, anchor_us: i64 },
    /// These, ascending.
    Events(Vec<Timestamp>),
}

/// A hundred years.
const LONGEST_PERIOD: Duration = Duration::from_hours(24 * 36_525);

impl Ticks {
    /// None if `period` is shorter than a second or longer than a century: where instants end, ticks would be one and the same.
    pub fn every(period: Duration, anchor: Timestamp) -> Option<Self> {
        let is_fine = (Duration::from_secs(1)..=LONGEST_PERIOD).contains(&period);
        let period_us = i64::try_from(period.as_micros()).ok().filter(|_| is_fine)?;
        Some(Self::Every { period_us, anchor_us: anchor.as_micros() })
    }

    /// # Errors
    /// If there is none, or they don't ascend.
    pub fn events(instants: &[Timestamp]) -> Result<Self, TimetableError> {
        if instants.is_empty() {
            return Err(TimetableError("it has no instant; write one, as `2026-01-31T06:00:00Z`".to_owned()));
        }
        match instants.windows(2).find(|pair| pair[0] >= pair[1]) {
            None => Ok(Self::Events(instants.to_vec())),
            Some(pair) => {
                Err(TimetableError(format!("its instants must ascend; {} comes before {}", pair[0], pair[1])))
            }
        }
    }

    /// # Errors
    /// If none of the expressions ever fires on such a day.
    pub fn on_business_days(crons: Vec<Cron>, calendar: Calendar, timezone: Tz) -> Result<Self, TimetableError> {
        let ticks = Self::OnDays { crons, calendar, timezone };
        // From one of the years that holidays are given for to one that they are not.
        match ticks.next_after(at(1_767_225_600_000_000)) {
            Some(_) => Ok(ticks),
            None => Err(TimetableError(
                "it never fires: no day of its calendar is one that its expressions name".to_owned(),
            )),
        }
    }

    /// The first tick after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(_) | Self::OnDays { .. } => self.first_of_crons(|cron| cron.next_after(after)),
            Self::Every { period_us, .. } => self.align_prev(after)?.as_micros().checked_add(*period_us).map(at),
            Self::Events(instants) => instants.get(instants.partition_point(|instant| *instant <= after)).copied(),
        }
    }

    /// The first tick after `after` of a schedule that begins there ([`Cron::first_after`]).
    pub fn first_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(_) | Self::OnDays { .. } => self.first_of_crons(|cron| cron.first_after(after)),
            Self::Every { .. } | Self::Events(_) => self.next_after(after),
        }
    }

    /// The first tick at or after `instant` of a schedule that begins there ([`Cron::first_from`]).
    pub fn first_from(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(_) | Self::OnDays { .. } => self.first_of_crons(|cron| cron.first_from(instant)),
            Self::Every { .. } | Self::Events(_) => self.align_next(instant),
        }
    }

    /// The first of the expressions' ticks, where `begin` finds each expression's first; none of other kinds.
    fn first_of_crons(&self, begin: impl Fn(&Cron) -> Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Crons(crons) => crons.iter().filter_map(begin).min(),
            Self::OnDays { crons, calendar, timezone } => {
                crons.iter().filter_map(|cron| first_on_days(cron, calendar, *timezone, begin(cron)?)).min()
            }
            Self::Every { .. } | Self::Events(_) => None,
        }
    }

    /// The last tick before `before`.
    pub fn prev_before(&self, before: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(crons) => crons.iter().filter_map(|cron| cron.prev_before(before)).max(),
            Self::OnDays { crons, calendar, timezone } => {
                let ticks = crons.iter().filter_map(|cron| prev_on_days(cron, calendar, *timezone, before));
                ticks.max()
            }
            Self::Every { period_us, .. } => self.align_next(before)?.as_micros().checked_sub(*period_us).map(at),
            Self::Events(instants) => {
                let later = instants.partition_point(|instant| *instant < before);
                instants.get(later.checked_sub(1)?).copied()
            }
        }
    }

    /// The first tick at or after `instant`.
    pub fn align_next(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(_) | Self::OnDays { .. } | Self::Events(_) => self.next_after(at(instant.as_micros() - 1)),
            Self::Every { .. } => {
                let before = self.align_prev(instant)?;
                if before == instant { Some(before) } else { self.next_after(before) }
            }
        }
    }

    /// The last tick at or before `instant`.
    pub fn align_prev(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(_) | Self::OnDays { .. } | Self::Events(_) => self.prev_before(at(instant.as_micros() + 1)),
            Self::Every { period_us, anchor_us } => {
                let since = instant.as_micros().checked_sub(*anchor_us)?;
                instant.as_micros().checked_sub(since.rem_euclid(*period_us)).map(at)
            }
        }
    }
}

/// The first of `tick` and the times after it at which `cron` fires on a day of the calendar. Days that don't count are
/// passed over whole.
fn first_on_days(cron: &Cron, calendar: &Calendar, zone: Tz, mut tick: Timestamp) -> Option<Timestamp> {
    let last_day = date(tick, zone).checked_add_days(chrono::Days::new(HORIZON_DAYS))?;
    loop {
        let day = date(tick, zone);
        if calendar.has(day) {
            return Some(tick);
        }
        let next = calendar.next(day, HORIZON_DAYS).filter(|next| *next <= last_day)?;
        tick = cron.next_after(at(midnight(next, zone).as_micros() - 1).max(tick))?;
    }
}

/// The last time before `before` that `cron` fires on a day of the calendar.
fn prev_on_days(cron: &Cron, calendar: &Calendar, zone: Tz, mut before: Timestamp) -> Option<Timestamp> {
    let first_day = date(before, zone).checked_sub_days(chrono::Days::new(HORIZON_DAYS))?;
    loop {
        let tick = cron.prev_before(before)?;
        let day = date(tick, zone);
        if calendar.has(day) {
            return Some(tick);
        }
        let previous = calendar.previous(day, HORIZON_DAYS).filter(|previous| *previous >= first_day)?;
        before = midnight(previous.succ_opt()?, zone).min(tick);
    }
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_micros(us)
}
