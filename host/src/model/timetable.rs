//! When a dag runs, and which data interval each run is about.

use chrono_tz::Tz;

use super::{
    cron::Cron,
    spec::{DagSpec, ScheduleSpec},
    time::{DataInterval, Timestamp},
};

/// A dag's schedule in its time zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    pub timezone: Tz,
    pub schedule: ScheduleSpec,
    rule: Rule,
}

/// The schedule, ready for use.
#[derive(Debug, Clone)]
enum Rule {
    Manual,
    Once,
    /// A run at each tick, about no time at all. Airflow: `CronTriggerTimetable`.
    Trigger(Cron),
    /// A run at the end of each interval between two ticks. Airflow: `CronDataIntervalTimetable`.
    Interval(Cron),
}

/// A schedule that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimetableError(pub String);

/// What bounds the runs of a timetable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// No run's `logical_date` is before it.
    pub start: Option<Timestamp>,
    /// No run's `logical_date` is after it.
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
        Self { timezone: Tz::UTC, schedule: ScheduleSpec::Manual, rule: Rule::Manual }
    }

    /// # Errors
    /// If the cron expression can't be read or never fires.
    pub fn from_spec(spec: &ScheduleSpec, timezone: Tz) -> Result<Self, TimetableError> {
        let rule = match spec {
            ScheduleSpec::Manual => Rule::Manual,
            ScheduleSpec::Once => Rule::Once,
            ScheduleSpec::Cron { expression, data_interval: false } => Rule::Trigger(Cron::new(expression, timezone)?),
            ScheduleSpec::Cron { expression, data_interval: true } => Rule::Interval(Cron::new(expression, timezone)?),
        };
        Ok(Self { timezone, schedule: spec.clone(), rule })
    }

    /// The run after the one about `last` (none: the first), seen from `now`. It may lie in the future.
    ///
    /// With catchup, runs follow each other without a gap from `bounds.start`. Without, all that was missed but the
    /// newest is left out. A dag without a start that has not run yet begins with the next tick; or, without catchup,
    /// if it has data intervals, with the last whole interval, as Airflow's does.
    pub fn next_run(&self, last: Option<DataInterval>, bounds: Bounds, now: Timestamp) -> Option<NextRun> {
        let next = match &self.rule {
            Rule::Manual => None,
            Rule::Once if last.is_some() => None,
            Rule::Once => Some(NextRun::at(bounds.start.unwrap_or(now))),
            Rule::Trigger(cron) => next_trigger(cron, last, bounds, now),
            Rule::Interval(cron) => next_interval(cron, last, bounds, now),
        };
        next.filter(|next| bounds.end.is_none_or(|end| next.logical_date <= end))
    }

    /// The data interval of a run that is triggered by hand at `at`: the last whole interval, or no time at all.
    pub fn manual_interval(&self, at: Timestamp) -> DataInterval {
        let whole = match &self.rule {
            Rule::Manual | Rule::Once | Rule::Trigger(_) => None,
            Rule::Interval(cron) => cron.align_prev(at).and_then(|end| {
                let start = cron.prev_before(end)?;
                Some(DataInterval { start, end })
            }),
        };
        whole.unwrap_or(DataInterval { start: at, end: at })
    }

    /// The next `count` ticks strictly after `after`; fewer if the schedule ends.
    pub fn next_ticks(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        match &self.rule {
            Rule::Manual | Rule::Once => Vec::new(),
            Rule::Trigger(cron) | Rule::Interval(cron) => {
                let next = |at: &Timestamp| cron.next_after(*at);
                std::iter::successors(cron.next_after(after), next).take(count).collect()
            }
        }
    }
}

fn next_trigger(cron: &Cron, last: Option<DataInterval>, bounds: Bounds, now: Timestamp) -> Option<NextRun> {
    let first = bounds.start.map(|start| cron.align_next(start));
    let following = last.map(|last| cron.next_after(last.end));
    let tick = match (following, first) {
        // The schedule has come to its end.
        (Some(None), _) | (None, Some(None)) => return None,
        (Some(tick), None) | (None, Some(tick)) => tick,
        (Some(Some(tick)), Some(Some(_))) if bounds.catchup => Some(tick),
        (Some(tick), Some(first)) => tick.max(first),
        (None, None) => cron.align_next(now),
    }?;
    let newest = if bounds.catchup { None } else { cron.align_prev(now) };
    Some(NextRun::at(newest.map_or(tick, |newest| tick.max(newest))))
}

fn next_interval(cron: &Cron, last: Option<DataInterval>, bounds: Bounds, now: Timestamp) -> Option<NextRun> {
    let first = match bounds.start {
        Some(start) => Some(cron.align_next(start)?),
        None => None,
    };
    // The start of the last interval that is whole at `now`.
    let newest = if bounds.catchup { None } else { cron.align_prev(now).and_then(|end| cron.prev_before(end)) };
    let following = match last {
        None => None,
        // A changed schedule goes on at its own ticks.
        Some(last) => {
            let start = cron.align_prev(last.end).or_else(|| cron.align_next(last.end))?;
            if start > last.start { Some(start) } else { Some(cron.next_after(last.start)?) }
        }
    };
    let start = [first, newest, following].into_iter().flatten().max();
    let start = match start {
        Some(start) => start,
        None => cron.align_next(now)?,
    };
    let end = cron.next_after(start)?;
    Some(NextRun { logical_date: start, data_interval: DataInterval { start, end }, run_after: end })
}

impl NextRun {
    /// A run at `tick` that is about no time at all.
    fn at(tick: Timestamp) -> Self {
        Self { logical_date: tick, data_interval: DataInterval { start: tick, end: tick }, run_after: tick }
    }
}

#[cfg(test)]
mod tests;
