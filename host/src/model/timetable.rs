//! When a dag runs, and which data interval each run is about.

mod calendar;
mod ticks;

use std::time::Duration;

use chrono_tz::Tz;

use self::{calendar::Calendar, ticks::Ticks};
use super::{
    cron::{Cron, CronError},
    spec::{DagSpec, ScheduleSpec},
    time::{DataInterval, Timestamp},
};

/// A dag's schedule in its time zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    pub timezone: Tz,
    pub schedule: ScheduleSpec,
    rule: Rule,
    jitter: Option<Jitter>,
}

/// How late runs start, on purpose.
#[derive(Debug, Clone, Copy)]
struct Jitter {
    /// Of the dag's id: dags of one schedule start apart.
    seed: u64,
    longest: Duration,
}

/// The schedule, ready for use.
#[derive(Debug, Clone)]
enum Rule {
    Manual,
    Once,
    /// A run whenever the one before is over. Airflow: `ContinuousTimetable`.
    Continuous,
    /// A run at each tick, about no time at all. Airflow: `CronTriggerTimetable`.
    Trigger(Ticks),
    /// A run at the end of each interval between two ticks. Airflow: `CronDataIntervalTimetable`.
    Interval(Ticks),
}

impl Rule {
    fn of(ticks: Ticks, data_interval: bool) -> Self {
        if data_interval { Self::Interval(ticks) } else { Self::Trigger(ticks) }
    }
}

/// A schedule that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimetableError(pub String);

impl From<CronError> for TimetableError {
    fn from(error: CronError) -> Self {
        Self(error.to_string())
    }
}

/// What bounds the runs of a timetable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// No run's `logical_date` is before it.
    pub start: Option<Timestamp>,
    /// No run's `logical_date` is after it.
    pub end: Option<Timestamp>,
    /// Whether all that was missed is run, oldest first; else only the newest.
    pub catchup: bool,
    /// Since when the timetable makes runs: what has no start and has not run begins there.
    pub since: Timestamp,
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
    /// Those of a dag whose timetable makes runs since `since`.
    pub fn of(dag: &DagSpec, since: Timestamp) -> Self {
        Self { start: dag.start, end: dag.end, catchup: dag.catchup, since }
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
        Self::from_spec(&dag.schedule, dag.timezone.parse().map_err(wrong)?, dag.start)?
            .with_jitter(&dag.dag_id, dag.jitter_ms.map(Duration::from_millis))
    }

    /// One that makes no runs.
    pub fn manual() -> Self {
        Self { timezone: Tz::UTC, schedule: ScheduleSpec::Manual, rule: Rule::Manual, jitter: None }
    }

    /// `start`: that of the dag, from which periods are counted.
    ///
    /// # Errors
    /// If a cron expression can't be read or never fires, or a period is shorter than a second or longer than a century.
    pub fn from_spec(spec: &ScheduleSpec, timezone: Tz, start: Option<Timestamp>) -> Result<Self, TimetableError> {
        let rule = match spec {
            ScheduleSpec::Manual => Rule::Manual,
            ScheduleSpec::Once => Rule::Once,
            ScheduleSpec::Continuous => Rule::Continuous,
            ScheduleSpec::Events(instants) => Rule::Trigger(Ticks::events(instants)?),
            ScheduleSpec::Cron { expressions, data_interval, calendar } => {
                let crons = expressions.iter().map(|expression| Cron::new(expression, timezone));
                let crons = crons.collect::<Result<Vec<_>, _>>()?;
                if crons.is_empty() {
                    return Err(TimetableError("it has no cron expression; write one, as `0 6 * * *`".to_owned()));
                }
                let ticks = match calendar {
                    None => Ticks::Crons(crons),
                    Some(calendar) => Ticks::on_business_days(crons, Calendar::from_spec(calendar)?, timezone)?,
                };
                Rule::of(ticks, *data_interval)
            }
            ScheduleSpec::Every { period_ms, data_interval } => {
                let ticks = Ticks::every(Duration::from_millis(*period_ms), start.unwrap_or(Timestamp::from_micros(0)));
                let wrong = || {
                    let text =
                        format!("a period of {period_ms} ms can't be; the shortest is 1 s, the longest 100 years");
                    TimetableError(text)
                };
                Rule::of(ticks.ok_or_else(wrong)?, *data_interval)
            }
        };
        Ok(Self { timezone, schedule: spec.clone(), rule, jitter: None })
    }

    /// The same, whose scheduled runs start later by up to `longest`; none: at their ticks.
    ///
    /// # Errors
    /// If it has no ticks that a run could be late for.
    pub fn with_jitter(mut self, dag_id: &str, longest: Option<Duration>) -> Result<Self, TimetableError> {
        if longest.is_some() && !matches!(self.rule, Rule::Trigger(_) | Rule::Interval(_)) {
            return Err(TimetableError(
                "only a schedule of cron expressions, periods or instants has jitter".to_owned(),
            ));
        }
        self.jitter = longest.map(|longest| Jitter { seed: fnv(dag_id.bytes()), longest });
        Ok(self)
    }

    /// The run after the one about `last` (none: the first), seen from `now`. It may lie in the future.
    ///
    /// With catchup, runs follow each other without a gap from `bounds.start`. Without, all that was missed but the
    /// newest is left out. A dag without a start that has not run yet begins with the first tick from `bounds.since` on; or,
    /// without catchup, if it has data intervals, with the last whole interval, as Airflow's does.
    pub fn next_run(&self, last: Option<DataInterval>, bounds: Bounds, now: Timestamp) -> Option<NextRun> {
        let next = match &self.rule {
            Rule::Manual => None,
            Rule::Once if last.is_some() => None,
            Rule::Once => Some(NextRun::at(bounds.start.unwrap_or(now))),
            Rule::Continuous => {
                // Two runs never have one date, however short the first was.
                let after = last.map(|last| Timestamp::from_micros(last.end.as_micros() + 1));
                Some(NextRun::at([bounds.start, after, Some(now)].into_iter().flatten().max()?))
            }
            Rule::Trigger(ticks) => next_trigger(ticks, last, bounds, now).map(|next| self.late(next, ticks)),
            Rule::Interval(ticks) => next_interval(ticks, last, bounds, now).map(|next| self.late(next, ticks)),
        };
        next.filter(|next| bounds.end.is_none_or(|end| next.logical_date <= end))
    }

    /// The run whose logical_date is `tick`, without jitter; none if the schedule has no ticks, or ends with it.
    pub fn run_of(&self, tick: Timestamp) -> Option<NextRun> {
        match &self.rule {
            Rule::Manual | Rule::Once | Rule::Continuous => None,
            Rule::Trigger(_) => Some(NextRun::at(tick)),
            Rule::Interval(ticks) => {
                let end = ticks.next_after(tick)?;
                Some(NextRun { logical_date: tick, data_interval: DataInterval { start: tick, end }, run_after: end })
            }
        }
    }

    pub fn tick_at_or_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.ticks()?.align_next(at)
    }

    pub fn tick_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.ticks()?.next_after(at)
    }

    pub fn tick_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        self.ticks()?.align_prev(at)
    }

    pub fn tick_before(&self, at: Timestamp) -> Option<Timestamp> {
        self.ticks()?.prev_before(at)
    }

    /// The ticks of the schedule, if it has any.
    fn ticks(&self) -> Option<&Ticks> {
        match &self.rule {
            Rule::Manual | Rule::Once | Rule::Continuous => None,
            Rule::Trigger(ticks) | Rule::Interval(ticks) => Some(ticks),
        }
    }

    /// Whether its runs can be made again for the past: it has ticks.
    pub fn is_backfillable(&self) -> bool {
        self.ticks().is_some()
    }

    /// `next` with its jitter: the same each time, and before the tick that follows.
    fn late(&self, next: NextRun, ticks: &Ticks) -> NextRun {
        let Some(Jitter { seed, longest }) = self.jitter else { return next };
        let room = ticks.next_after(next.run_after).map_or(longest, |following| following.since(next.run_after));
        let most = u64::try_from(longest.min(room).as_micros()).unwrap_or(u64::MAX).max(1);
        let tick = next.run_after.as_micros().to_le_bytes().into_iter();
        let late = Duration::from_micros(mix(fnv(seed.to_le_bytes().into_iter().chain(tick))) % most);
        NextRun { run_after: next.run_after.after(late), ..next }
    }

    /// The data interval of a run that is triggered by hand at `at`: the last whole interval, or no time at all.
    pub fn manual_interval(&self, at: Timestamp) -> DataInterval {
        let whole = match &self.rule {
            Rule::Manual | Rule::Once | Rule::Continuous | Rule::Trigger(_) => None,
            Rule::Interval(ticks) => ticks.align_prev(at).and_then(|end| {
                let start = ticks.prev_before(end)?;
                Some(DataInterval { start, end })
            }),
        };
        whole.unwrap_or(DataInterval { start: at, end: at })
    }

    /// The first `count` ticks strictly after `after`, were it to begin there; fewer if the schedule ends.
    pub fn next_ticks(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        match &self.rule {
            Rule::Manual | Rule::Once | Rule::Continuous => Vec::new(),
            Rule::Trigger(ticks) | Rule::Interval(ticks) => {
                let next = |at: &Timestamp| ticks.next_after(*at);
                std::iter::successors(ticks.first_after(after), next).take(count).collect()
            }
        }
    }
}

fn next_trigger(ticks: &Ticks, last: Option<DataInterval>, bounds: Bounds, now: Timestamp) -> Option<NextRun> {
    let first = bounds.start.map(|start| ticks.first_from(start));
    let following = last.map(|last| ticks.next_after(last.end));
    let tick = match (following, first) {
        // The schedule has come to its end.
        (Some(None), _) | (None, Some(None)) => return None,
        (Some(tick), None) | (None, Some(tick)) => tick,
        (Some(Some(tick)), Some(Some(_))) if bounds.catchup => Some(tick),
        (Some(tick), Some(first)) => tick.max(first),
        (None, None) => ticks.first_from(bounds.since),
    }?;
    let newest = if bounds.catchup { None } else { ticks.align_prev(now) };
    Some(NextRun::at(newest.map_or(tick, |newest| tick.max(newest))))
}

fn next_interval(ticks: &Ticks, last: Option<DataInterval>, bounds: Bounds, now: Timestamp) -> Option<NextRun> {
    let first = match bounds.start {
        Some(start) => Some(ticks.first_from(start)?),
        None => None,
    };
    // The start of the last interval that is whole at `now`.
    let newest = if bounds.catchup { None } else { ticks.align_prev(now).and_then(|end| ticks.prev_before(end)) };
    let following = match last {
        None => None,
        // A changed schedule goes on at its own ticks.
        Some(last) => {
            let start = ticks.align_prev(last.end).or_else(|| ticks.align_next(last.end))?;
            if start > last.start { Some(start) } else { Some(ticks.next_after(last.start)?) }
        }
    };
    let start = [first, newest, following].into_iter().flatten().max();
    let start = match start {
        Some(start) => start,
        None => ticks.first_from(bounds.since)?,
    };
    let end = ticks.next_after(start)?;
    Some(NextRun { logical_date: start, data_interval: DataInterval { start, end }, run_after: end })
}

/// FNV-1a: the same on every machine and in every version, unlike the standard library's.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads what differs little over all bits.
fn mix(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

impl NextRun {
    /// A run at `tick` that is about no time at all.
    fn at(tick: Timestamp) -> Self {
        Self { logical_date: tick, data_interval: DataInterval { start: tick, end: tick }, run_after: tick }
    }
}

#[cfg(test)]
mod tests;
