//! How long history is kept: which runs and which parts of them go, and when to look again.
//!
//! All follow the order in which a dag's runs ended: what goes is always a beginning of that order. A run goes if it ended
//! longer ago than its days, *or* if enough others ended after it. Nothing goes unless somebody says so.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    dag_numbers::{DagNumbers, Field},
    time::Timestamp,
};

/// Days that may be set, at most: a hundred years.
pub const MAX_DAYS: u32 = 36_500;
/// Runs of a dag that may be counted, at most: a look walks over as many entries of an index.
pub const MAX_COUNT: u32 = 100_000;
/// Entries of the audit log that may be counted, at most.
pub const MAX_AUDIT_COUNT: u32 = 100_000_000;
/// A run stays at least so long after its end: the last lines of its log are stored about a second later.
pub const GRACE: Duration = Duration::from_secs(10);
/// When to look again at runs that something held.
const HELD: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What goes before its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Logs and recordings.
    Logs,
    /// XComs and artifacts.
    Data,
}

impl Part {
    pub const ALL: [Self; 2] = [Self::Logs, Self::Data];
}

/// How long runs and their parts are kept. None: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// A run goes so many days after its end.
    pub runs_days: Option<NonZeroU32>,
    /// So many finished runs stay: those that ended last.
    pub runs_count: Option<NonZeroU32>,
    /// Logs and recordings go so many days after the end of their run.
    pub logs_days: Option<NonZeroU32>,
    /// XComs and artifacts go so many days after the end of their run.
    pub data_days: Option<NonZeroU32>,
}

/// What is said of one dag. None: what the server says; 0: for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DagRetention {
    pub runs_days: Option<u32>,
    pub runs_count: Option<u32>,
    pub logs_days: Option<u32>,
    pub data_days: Option<u32>,
}

/// Where a finished run stands in the order of their ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub end_date: Timestamp,
    /// The run's key: of two that ended at one instant, the older is first.
    pub key: i64,
}

impl Place {
    /// Before all runs.
    pub const FIRST: Self = Self { end_date: Timestamp::MIN, key: i64::MIN };

    /// After all runs that ended at `at` or before.
    fn end_of(at: Timestamp) -> Self {
        Self { end_date: at, key: i64::MAX }
    }
}

/// What a look at a dag found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// When the oldest run ended that its age may take.
    pub oldest: Option<Timestamp>,
    /// When the oldest run ended that still has its logs.
    pub oldest_with_logs: Option<Timestamp>,
    /// When the oldest run ended that still has its data.
    pub oldest_with_data: Option<Timestamp>,
    /// Some stay because something needs them.
    pub is_held: bool,
    /// Some are too many and stay because they ended just now.
    pub is_young: bool,
}

impl DagNumbers for DagRetention {
    const UNBOUNDED: &'static str = "for ever";
    const FIELDS: &'static [Field<Self>] = &[
        Field { name: "runs_days", most: MAX_DAYS, place: |said| &mut said.runs_days },
        Field { name: "runs_count", most: MAX_COUNT, place: |said| &mut said.runs_count },
        Field { name: "logs_days", most: MAX_DAYS, place: |said| &mut said.logs_days },
        Field { name: "data_days", most: MAX_DAYS, place: |said| &mut said.data_days },
    ];
}

impl Retention {
    /// What holds for a dag of which `dag` is said.
    #[must_use]
    pub fn of_dag(self, dag: DagRetention) -> Self {
        let own = |own: Option<u32>, server| own.map_or(server, NonZeroU32::new);
        Self {
            runs_days: own(dag.runs_days, self.runs_days),
            runs_count: own(dag.runs_count, self.runs_count),
            logs_days: own(dag.logs_days, self.logs_days),
            data_days: own(dag.data_days, self.data_days),
        }
    }

    /// Whether nothing ever goes.
    pub fn is_for_ever(self) -> bool {
        self == Self::default()
    }

    /// How many of a dag's finished runs stay, however old they are: one, because others may wait for the newest run or look
    /// back at it, and as many as `max_consecutive_failed_dag_runs` counts.
    pub fn least_kept(max_consecutive_failed_dag_runs: u32) -> u32 {
        max_consecutive_failed_dag_runs.max(1)
    }

    /// How many of the runs that ended last `runs_count` keeps.
    pub fn kept_by_count(self, least: u32) -> Option<u32> {
        self.runs_count.map(|count| count.get().max(least))
    }

    /// The last run that goes at `now`; none goes without. `may_go`: the last one that may go at all. `beyond`: the last one of
    /// which enough ended later.
    pub fn runs_until(self, now: Timestamp, may_go: Option<Place>, beyond: Option<Place>) -> Option<Place> {
        let may_go = may_go?.min(Place::end_of(now.before(GRACE)));
        let by_age = self.runs_days.map(|days| Place::end_of(now.before(DAY * days.get())));
        by_age.max(beyond.filter(|_| self.runs_count.is_some())).map(|until| until.min(may_go))
    }

    /// The last run of which a part goes at `now`.
    pub fn part_until(self, part: Part, now: Timestamp) -> Option<Place> {
        let days = match part {
            Part::Logs => self.logs_days,
            Part::Data => self.data_days,
        };
        days.map(|days| Place::end_of(now.before(DAY * days.get())))
    }

    /// When to look at a dag of which a run ended at `now`.
    pub fn look_after_end(self, now: Timestamp) -> Option<Timestamp> {
        let by_count = self.runs_count.map(|_| now.after(GRACE));
        let by_age = [self.runs_days, self.logs_days, self.data_days].into_iter().flatten().min();
        [by_count, by_age.map(|days| now.after(DAY * days.get()))].into_iter().flatten().min()
    }

    /// When to look again at a dag that was looked at, if no run ends meanwhile.
    pub fn look_again(self, now: Timestamp, left: Left) -> Option<Timestamp> {
        let due = |days: Option<NonZeroU32>, end: Option<Timestamp>| {
            let at = end?.after(DAY * days?.get());
            // What is due and still there was held.
            Some(if at <= now { now.after(HELD) } else { at })
        };
        let held = left.is_held.then(|| now.after(HELD));
        let young = left.is_young.then(|| now.after(GRACE));
        let runs = due(self.runs_days, left.oldest);
        let logs = due(self.logs_days, left.oldest_with_logs);
        let data = due(self.data_days, left.oldest_with_data);
        [runs, logs, data, held, young].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(number: u32) -> Timestamp {
        Timestamp::default().after(DAY * number)
    }

    fn some(number: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(number)
    }

    fn place(at: Timestamp, key: i64) -> Place {
        Place { end_date: at, key }
    }

    #[test]
    fn a_dag_says_what_the_server_does_not() {
        let server = Retention { runs_days: some(30), runs_count: None, logs_days: some(7), data_days: some(14) };
        assert_eq!(server.of_dag(DagRetention::default()), server);
        let own = DagRetention { runs_days: Some(0), runs_count: Some(5), logs_days: None, data_days: Some(3) };
        let both = Retention { runs_days: None, runs_count: some(5), logs_days: some(7), data_days: some(3) };
        assert_eq!(server.of_dag(own), both);
    }

    #[test]
    fn numbers_have_bounds_that_are_told() {
        let error = DagRetention { runs_count: Some(100_001), ..DagRetention::default() }.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`runs_count` can be 0 (for ever) to 100000, or null for what the server's settings say, not 100001"
        );
        assert!(DagRetention { runs_days: Some(MAX_DAYS), ..DagRetention::default() }.check().is_ok());
    }

    #[test]
    fn a_run_goes_by_age_or_by_count_whichever_takes_more() {
        let (now, newest) = (day(100), Some(place(day(99), 99)));
        let by_age = Retention { runs_days: some(30), ..Retention::default() };
        assert_eq!(by_age.runs_until(now, newest, None), Some(Place::end_of(day(70))));
        let beyond = Some(place(day(80), 80));
        assert_eq!(by_age.runs_until(now, newest, beyond), Some(Place::end_of(day(70))), "nobody asked to count");
        let both = Retention { runs_count: some(5), ..by_age };
        assert_eq!(both.runs_until(now, newest, beyond), beyond);
        assert_eq!(both.runs_until(now, newest, Some(place(day(50), 50))), Some(Place::end_of(day(70))));
        assert_eq!(both.runs_until(now, None, beyond), None, "there is only one run");
        assert_eq!(Retention::default().runs_until(now, newest, beyond), None, "nothing is asked for");
    }

    #[test]
    fn what_ended_just_now_and_the_newest_runs_stay() {
        let now = day(100);
        let by_age = Retention { runs_days: some(1), ..Retention::default() };
        assert_eq!(by_age.runs_until(now, Some(place(day(3), 3)), None), Some(place(day(3), 3)));
        let by_count = Retention { runs_count: some(1), ..Retention::default() };
        let just_now = Some(place(now, 7));
        assert_eq!(by_count.runs_until(now, just_now, just_now), Some(Place::end_of(now.before(GRACE))));
        assert_eq!((Retention::least_kept(0), Retention::least_kept(4)), (1, 4));
        assert_eq!(by_count.kept_by_count(4), Some(4));
    }

    #[test]
    fn it_looks_again_when_the_next_thing_is_due() {
        let keeps = Retention { runs_days: some(30), logs_days: some(7), data_days: some(9), ..Retention::default() };
        let left = Left { oldest: Some(day(90)), oldest_with_logs: Some(day(98)), ..Left::default() };
        assert_eq!(keeps.look_again(day(100), left), Some(day(105)));
        let data = Left { oldest_with_data: Some(day(94)), ..left };
        assert_eq!(keeps.look_again(day(100), data), Some(day(103)));
        let held = Left { oldest: Some(day(60)), ..Left::default() };
        assert_eq!(keeps.look_again(day(100), held), Some(day(100).after(HELD)), "it should be gone");
        assert_eq!(keeps.look_again(day(100), Left::default()), None);
        let young = Left { is_held: true, is_young: true, ..Left::default() };
        assert_eq!(keeps.look_again(day(100), young), Some(day(100).after(GRACE)));
        assert_eq!(keeps.look_after_end(day(100)), Some(day(107)));
        assert_eq!(Retention::default().look_after_end(day(100)), None);
    }

    proptest! {
        /// Whoever looks when it was told to misses nothing by more than the grace, and never takes what must stay.
        #[test]
        fn what_goes_is_old_or_superfluous(
            days in 0_u32..40, count in 0_u32..6, least in 1_u32..4, ends in proptest::collection::vec(0_u32..100, 0..20),
        ) {
            let keeps = Retention { runs_days: some(days), runs_count: some(count), ..Retention::default() };
            let now = day(100);
            let mut places: Vec<_> = (0_i64..).zip(&ends).map(|(key, end)| place(day(*end), key)).collect();
            places.sort_unstable();
            let beyond = |kept: u32| places.len().checked_sub(kept as usize + 1).map(|at| places[at]);
            let until = keeps.runs_until(now, beyond(least), keeps.kept_by_count(least).and_then(beyond));
            let goes: Vec<_> = places.iter().filter(|place| until.is_some_and(|until| **place <= until)).collect();
            for (at, run) in places.iter().enumerate() {
                let later = places.len() - at - 1;
                let is_old = days > 0 && now.since(run.end_date) >= DAY * days;
                let is_superfluous = count > 0 && later >= count as usize;
                prop_assert_eq!(goes.contains(&run), later >= least as usize && (is_old || is_superfluous));
            }
        }
    }
}
