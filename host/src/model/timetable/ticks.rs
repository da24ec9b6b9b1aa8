//! The instants at which a schedule fires.

use std::time::Duration;

use crate::model::{cron::Cron, time::Timestamp};

/// A cron expression, several of them, or a period.
#[derive(Debug, Clone)]
pub(super) enum Ticks {
    /// Whenever one of them fires. At least one.
    Crons(Vec<Cron>),
    /// At `anchor` and every whole number of periods before and after it, whatever clocks show. Airflow: `timedelta`.
    Every { period_us: i64, anchor_us: i64 },
}

impl Ticks {
    /// None if `period` is shorter than a second or longer than can be counted.
    pub fn every(period: Duration, anchor: Timestamp) -> Option<Self> {
        let period_us = i64::try_from(period.as_micros()).ok().filter(|period| *period >= 1_000_000)?;
        Some(Self::Every { period_us, anchor_us: anchor.as_micros() })
    }

    /// The first tick after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(crons) => crons.iter().filter_map(|cron| cron.next_after(after)).min(),
            Self::Every { period_us, .. } => self.align_prev(after)?.as_micros().checked_add(*period_us).map(at),
        }
    }

    /// The last tick before `before`.
    pub fn prev_before(&self, before: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(crons) => crons.iter().filter_map(|cron| cron.prev_before(before)).max(),
            Self::Every { period_us, .. } => self.align_next(before)?.as_micros().checked_sub(*period_us).map(at),
        }
    }

    /// The first tick at or after `instant`.
    pub fn align_next(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(crons) => crons.iter().filter_map(|cron| cron.align_next(instant)).min(),
            Self::Every { .. } => {
                let before = self.align_prev(instant)?;
                if before == instant { Some(before) } else { self.next_after(before) }
            }
        }
    }

    /// The last tick at or before `instant`.
    pub fn align_prev(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Crons(crons) => crons.iter().filter_map(|cron| cron.align_prev(instant)).max(),
            Self::Every { period_us, anchor_us } => {
                let since = instant.as_micros().checked_sub(*anchor_us)?;
                instant.as_micros().checked_sub(since.rem_euclid(*period_us)).map(at)
            }
        }
    }
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_micros(us)
}
