//! Backfills: which intervals of the past, in which order, and what becomes of runs that are there already.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    state::{RunState, StateError},
    time::Timestamp,
    timetable::{NextRun, Timetable},
};

/// The most intervals that one backfill may be about.
pub const MAX_INTERVALS: u32 = 50_000;

/// What becomes of an interval whose run is there and finished. Airflow: `ReprocessBehavior`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReprocessBehavior {
    /// It stays as it is.
    #[default]
    None,
    /// It is run again if it failed.
    Failed,
    /// It is run again.
    Completed,
}

impl ReprocessBehavior {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for ReprocessBehavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReprocessBehavior {
    type Err = StateError;
    fn from_str(text: &str) -> Result<Self, StateError> {
        match text {
            "none" => Ok(Self::None),
            "failed" => Ok(Self::Failed),
            "completed" => Ok(Self::Completed),
            other => Err(StateError::of(other)),
        }
    }
}

/// What is done about an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// It has no run: one is made.
    Create,
    /// Its run is cleared.
    Reprocess,
    /// Its run stays as it is, finished or not.
    Skip,
}

impl Plan {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Reprocess => "reprocess",
            Self::Skip => "skip",
        }
    }
}

/// What to do about an interval whose run stands so; none: it has no run.
pub fn plan(run: Option<RunState>, behavior: ReprocessBehavior) -> Plan {
    match (run, behavior) {
        (None, _) => Plan::Create,
        (Some(RunState::Queued | RunState::Running), _)
        | (Some(_), ReprocessBehavior::None)
        | (Some(RunState::Success), ReprocessBehavior::Failed) => Plan::Skip,
        (Some(RunState::Failed), ReprocessBehavior::Failed | ReprocessBehavior::Completed)
        | (Some(RunState::Success), ReprocessBehavior::Completed) => Plan::Reprocess,
    }
}

/// The intervals of a backfill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// No logical_date is before it.
    pub from: Timestamp,
    /// No logical_date is after it.
    pub to: Timestamp,
    /// What is not over then is left out: the instant at which the backfill was made.
    pub until: Timestamp,
    /// The newest first.
    pub run_backwards: bool,
}

impl Intervals {
    /// The interval after the one of logical_date `last` (none: the first), in the order of the backfill.
    pub fn next(&self, timetable: &Timetable, last: Option<Timestamp>) -> Option<NextRun> {
        let mut last = last;
        loop {
            let tick = match (self.run_backwards, last) {
                (false, None) => timetable.tick_at_or_after(self.from)?,
                (false, Some(last)) => timetable.tick_after(last)?,
                (true, None) => timetable.tick_at_or_before(self.to.min(self.until))?,
                (true, Some(last)) => timetable.tick_before(last)?,
            };
            if tick < self.from || tick > self.to {
                return None;
            }
            let run = timetable.run_of(tick)?;
            if run.run_after <= self.until {
                return Some(run);
            }
            if !self.run_backwards {
                return None;
            }
            last = Some(tick);
        }
    }

    /// All of them, in order.
    pub fn all<'a>(&'a self, timetable: &'a Timetable) -> impl Iterator<Item = NextRun> + 'a {
        std::iter::successors(self.next(timetable, None), |run| self.next(timetable, Some(run.logical_date)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::FileFailurePersistence};

    use super::*;
    use crate::model::spec::ScheduleSpec;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_there_is_run_again_only_if_asked_for() {
        use ReprocessBehavior::{Completed, Failed, None as Never};
        let table = [
            (None, Never, Plan::Create),
            (Some(RunState::Running), Completed, Plan::Skip),
            (Some(RunState::Queued), Completed, Plan::Skip),
            (Some(RunState::Failed), Never, Plan::Skip),
            (Some(RunState::Success), Never, Plan::Skip),
            (Some(RunState::Failed), Failed, Plan::Reprocess),
            (Some(RunState::Success), Failed, Plan::Skip),
            (Some(RunState::Failed), Completed, Plan::Reprocess),
            (Some(RunState::Success), Completed, Plan::Reprocess),
        ];
        for (run, behavior, expected) in table {
            assert_eq!(plan(run, behavior), expected, "{run:?} {behavior}");
        }
    }

    #[test]
    fn an_interval_that_is_not_over_is_left_out() {
        let timetable = Timetable::from_spec(&ScheduleSpec::cron("@daily", true), chrono_tz::Tz::UTC, None).unwrap();
        let (from, to) = (at("2026-01-01"), at("2026-12-31"));
        for run_backwards in [false, true] {
            let intervals = Intervals { from, to, until: at("2026-01-03T12:00:00Z"), run_backwards };
            let mut dates: Vec<_> = intervals.all(&timetable).map(|run| run.logical_date).collect();
            dates.sort();
            assert_eq!(dates, [at("2026-01-01"), at("2026-01-02")]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
            ..ProptestConfig::default()
        })]

        #[test]
        fn each_interval_comes_once_in_either_order_wherever_it_goes_on(
            start in 0_i64..500_000_000, length in 0_i64..3_000_000, data_interval: bool, stop in 0_usize..60,
        ) {
            let second = |at: i64| Timestamp::from_micros((1_600_000_000 + at) * 1_000_000);
            let spec = ScheduleSpec::cron("0 */7 * * *", data_interval);
            let timetable = Timetable::from_spec(&spec, chrono_tz::Tz::Europe__Berlin, None).unwrap();
            let until = second(start + length / 2 + 1_500_000);
            let forward = Intervals { from: second(start), to: second(start + length), until, run_backwards: false };
            let there: Vec<_> = forward.all(&timetable).map(|run| run.logical_date).collect();
            prop_assert!(there.windows(2).all(|pair| pair[0] < pair[1]));
            let backward = Intervals { run_backwards: true, ..forward };
            let mut back: Vec<_> = backward.all(&timetable).map(|run| run.logical_date).collect();
            back.reverse();
            prop_assert_eq!(&there, &back);
            // After a crash it goes on behind the last that was dealt with.
            let cut = stop.min(there.len());
            let last = cut.checked_sub(1).map(|at| there[at]);
            let next = forward.next(&timetable, last).map(|run| run.logical_date);
            prop_assert_eq!(next, there.get(cut).copied());
        }
    }
}
