//! When a dag runs, and which data interval each run is about.

use chrono_tz::Tz;

use super::{
    spec::{DagSpec, ScheduleSpec},
    time::{DataInterval, Timestamp},
};

/// A dag's schedule in its time zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    pub timezone: Tz,
    pub schedule: ScheduleSpec,
}

/// A schedule that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimetableError(pub String);

/// What bounds the runs of a timetable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// No run's logical_date is before it.
    pub start: Option<Timestamp>,
    /// No run's logical_date is after it.
    pub end: Option<Timestamp>,
    /// Whether all that was missed is run, oldest first; else only the newest.
    pub catchup: bool,
}

/// A run that is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextRun {
    pub logical_date: Timestamp,
    pub data_interval: DataInterval,
    /// The earliest instant that it may start at.
    pub run_after: Timestamp,
}

impl Bounds {
    /// Those of a dag.
    pub fn of(dag: &DagSpec) -> Self {
        Self { start: dag.start, end: dag.end, catchup: dag.catchup }
    }
}

impl Timetable {
    /// That of a dag.
    ///
    /// # Errors
    /// If the time zone is unknown, or the schedule can't be.
    pub fn of(dag: &DagSpec) -> Result<Self, TimetableError> {
        let wrong =
            |_| TimetableError(format!("`{}` is not an IANA time zone; write it as `Asia/Seoul`", dag.timezone));
        Self::from_spec(&dag.schedule, dag.timezone.parse().map_err(wrong)?)
    }

    /// One that makes no runs.
    pub fn manual() -> Self {
        Self { timezone: Tz::UTC, schedule: ScheduleSpec::Manual }
    }

    /// # Errors
    /// If the cron expression can't be read or never fires.
    pub fn from_spec(spec: &ScheduleSpec, timezone: Tz) -> Result<Self, TimetableError> {
        Ok(Self { timezone, schedule: spec.clone() })
    }

    /// The run after the one about `last` (none: the first), seen from `now`. It may lie in the future.
    pub fn next_run(&self, _last: Option<DataInterval>, _bounds: Bounds, _now: Timestamp) -> Option<NextRun> {
        None
    }

    /// The data interval of a run that is triggered by hand at `at`.
    pub fn manual_interval(&self, at: Timestamp) -> DataInterval {
        DataInterval { start: at, end: at }
    }

    /// The next `count` ticks strictly after `after`; fewer if the schedule ends.
    pub fn next_ticks(&self, _after: Timestamp, _count: usize) -> Vec<Timestamp> {
        Vec::new()
    }
}
