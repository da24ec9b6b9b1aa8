use chrono::{Datelike, Days, NaiveDate};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use super::*;
use crate::model::spec::{CalendarSpec, WeekdaySpec};

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn timetable(expression: &str, data_interval: bool) -> Timetable {
    let spec = ScheduleSpec::cron(expression, data_interval);
    Timetable::from_spec(&spec, Tz::Asia__Seoul, None).unwrap()
}

fn bounds(start: Option<&str>, catchup: bool) -> Bounds {
    Bounds { start: start.map(instant), end: None, catchup, since: instant("2026-06-01T00:00:00Z") }
}

/// Midnight in Seoul.
const DAILY: &str = "0 0 * * *";

#[test]
fn catchup_runs_every_tick_since_the_start_oldest_first() {
    let timetable = timetable(DAILY, false);
    let bounds = bounds(Some("2026-01-01T00:00:00Z"), true);
    let now = instant("2026-06-01T00:00:00Z");
    let first = timetable.next_run(None, bounds, now).unwrap();
    assert_eq!(first.run_after, instant("2026-01-01T15:00:00Z"));
    let second = timetable.next_run(Some(first.data_interval), bounds, now).unwrap();
    assert_eq!(second.run_after, instant("2026-01-02T15:00:00Z"));
}

#[test]
fn without_catchup_only_the_newest_missed_tick_is_run() {
    let timetable = timetable(DAILY, false);
    let bounds = bounds(Some("1990-01-01T00:00:00Z"), false);
    let now = instant("2026-06-01T00:00:00Z");
    let run = timetable.next_run(None, bounds, now).unwrap();
    assert_eq!(run.run_after, instant("2026-05-31T15:00:00Z"));
    let next = timetable.next_run(Some(run.data_interval), bounds, now).unwrap();
    assert_eq!(next.run_after, instant("2026-06-01T15:00:00Z"));
    let late = timetable.next_run(Some(run.data_interval), bounds, instant("2026-07-01T00:00:00Z")).unwrap();
    assert_eq!(late.run_after, instant("2026-06-30T15:00:00Z"));
}

#[test]
fn a_run_is_about_the_interval_that_ends_when_it_starts() {
    let timetable = timetable(DAILY, true);
    let now = instant("2026-06-01T00:00:00Z");
    let run = timetable.next_run(None, bounds(Some("2026-01-01T00:00:00Z"), true), now).unwrap();
    assert_eq!(run.logical_date, instant("2026-01-01T15:00:00Z"));
    assert_eq!(run.run_after, instant("2026-01-02T15:00:00Z"));
    let newest = timetable.next_run(None, bounds(None, false), now).unwrap();
    assert_eq!(newest.run_after, instant("2026-05-31T15:00:00Z"));
    let next = timetable.next_run(Some(newest.data_interval), bounds(None, false), now).unwrap();
    assert_eq!((next.logical_date, next.run_after), (newest.run_after, instant("2026-06-01T15:00:00Z")));
    // On the boundary, the interval that ends now is the newest.
    let now = instant("2026-06-01T15:00:00Z");
    assert_eq!(timetable.next_run(None, bounds(None, false), now).unwrap().run_after, now);
}

#[test]
fn a_dag_without_a_start_waits_for_the_next_tick() {
    let (timetable, bounds) = (timetable(DAILY, false), bounds(None, false));
    // Nobody looks at the very instant.
    for now in ["2026-06-01T00:00:00Z", "2026-06-01T15:00:00.000001Z"] {
        let run = timetable.next_run(None, bounds, instant(now)).unwrap();
        assert_eq!(run.run_after, instant("2026-06-01T15:00:00Z"), "{now}");
    }
    let late = timetable.next_run(None, bounds, instant("2026-06-04T00:00:00Z")).unwrap();
    assert_eq!(late.run_after, instant("2026-06-03T15:00:00Z"), "the newest of those that were missed");
}

#[test]
fn nothing_runs_after_the_end() {
    let mut bounds = bounds(Some("2026-01-01T00:00:00Z"), true);
    bounds.end = Some(instant("2026-01-02T00:00:00Z"));
    let timetable = timetable(DAILY, false);
    let now = instant("2026-06-01T00:00:00Z");
    let first = timetable.next_run(None, bounds, now).unwrap();
    assert_eq!(timetable.next_run(Some(first.data_interval), bounds, now), None);
}

#[test]
fn a_changed_schedule_goes_on_without_an_overlap() {
    let last = DataInterval { start: instant("2026-05-30T15:00:00Z"), end: instant("2026-05-31T15:00:00Z") };
    let weekly = timetable("0 0 * * 0", true);
    let run = weekly.next_run(Some(last), bounds(Some("2026-01-01T00:00:00Z"), true), last.end).unwrap();
    assert!(run.logical_date > last.start);
}

#[test]
fn once_is_once() {
    let once = Timetable::from_spec(&ScheduleSpec::Once, Tz::UTC, None).unwrap();
    let now = instant("2026-06-01T00:00:00Z");
    let run = once.next_run(None, bounds(None, false), now).unwrap();
    assert_eq!(run.run_after, now);
    assert_eq!(once.next_run(Some(run.data_interval), bounds(None, false), now), None);
    assert_eq!(Timetable::manual().next_run(None, bounds(None, false), now), None);
}

#[test]
fn ticks_are_listed_and_end_with_the_schedule() {
    let now = instant("2026-06-01T00:00:00Z");
    assert_eq!(
        timetable(DAILY, true).next_ticks(now, 2),
        ["2026-06-01T15:00:00Z", "2026-06-02T15:00:00Z"].map(instant)
    );
    assert_eq!(timetable("0 0 1 1 * 0 2027", false).next_ticks(now, 5).len(), 1);
}

#[test]
fn what_never_fires_or_cannot_be_read_is_refused_by_name() {
    let refused = |expression: &str| {
        let spec = ScheduleSpec::cron(expression, false);
        Timetable::from_spec(&spec, Tz::UTC, None).unwrap_err().to_string()
    };
    assert!(refused("0 0 30 2 *").contains("never fires"));
    assert!(refused("0 0 * *").contains("4 fields"));
    assert!(refused("0 0 * * 5L").contains("`L5`"));
    assert!(refused("@once").contains("no such preset"));
    assert!(refused(&"9".repeat(100_000)).len() < 300);
}

#[test]
fn several_expressions_fire_whenever_one_does() {
    let expressions = vec!["0 6 * * *".to_owned(), "30 18 * * 5".to_owned()];
    let spec = ScheduleSpec::Cron { expressions, data_interval: true, calendar: None };
    let timetable = Timetable::from_spec(&spec, Tz::UTC, None).unwrap();
    // 2026-01-02 is a Friday.
    let ticks = timetable.next_ticks(instant("2026-01-01T07:00:00Z"), 4);
    let expected = ["2026-01-02T06:00:00Z", "2026-01-02T18:30:00Z", "2026-01-03T06:00:00Z", "2026-01-04T06:00:00Z"];
    assert_eq!(ticks, expected.map(instant));
    let run = timetable.next_run(None, bounds(Some("2026-01-02T00:00:00Z"), true), instant("2026-02-01T00:00:00Z"));
    let interval = DataInterval { start: instant(expected[0]), end: instant(expected[1]) };
    assert_eq!(run.unwrap().data_interval, interval);
    let none = ScheduleSpec::Cron { expressions: Vec::new(), data_interval: false, calendar: None };
    assert!(Timetable::from_spec(&none, Tz::UTC, None).is_err());
}

/// 03:00 and then, moved, 02:30; Airflow goes on with the next day.
#[test]
fn between_several_expressions_no_moved_tick_is_lost() {
    let spec = ScheduleSpec::Cron {
        expressions: vec!["30 2 * * *".to_owned(), "0 3 * * *".to_owned()],
        data_interval: false,
        calendar: None,
    };
    let timetable = Timetable::from_spec(&spec, Tz::Europe__Berlin, None).unwrap();
    assert_eq!(
        timetable.next_ticks(instant("2025-03-29T23:00:00Z"), 3),
        ["2025-03-30T01:00:00Z", "2025-03-30T01:30:00Z", "2025-03-31T00:30:00Z"].map(instant)
    );
}

/// It begins in the first of two hours, behind the time; what began before runs in the second.
#[test]
fn only_a_start_leaves_out_a_time_that_clocks_repeat() {
    let start = instant("2025-10-26T00:40:00Z");
    for (data_interval, calendar) in [(false, None), (true, None), (false, Some(CalendarSpec::default()))] {
        let spec = ScheduleSpec::Cron { expressions: vec!["30 2 * * *".to_owned()], data_interval, calendar };
        let timetable = Timetable::from_spec(&spec, Tz::Europe__Berlin, None).unwrap();
        let first = timetable.next_run(None, bounds(Some("2025-10-26T00:40:00Z"), true), start).unwrap();
        assert_eq!(first.logical_date, instant("2025-10-27T01:30:00Z"));
        assert_eq!(timetable.next_ticks(start, 1), [first.logical_date]);
        let second_hour = Some(instant("2025-10-26T01:30:00Z"));
        assert_eq!(timetable.tick_after(instant("2025-10-25T00:30:00Z")), second_hour);
        assert_eq!(timetable.tick_after(start), second_hour);
    }
}

#[test]
fn a_period_is_counted_from_the_start_whatever_clocks_show() {
    let start = instant("2026-03-28T12:10:00Z");
    let spec = ScheduleSpec::Every { period_ms: 90 * 60_000, data_interval: true };
    // The clocks of Berlin go forward in between.
    let timetable = Timetable::from_spec(&spec, Tz::Europe__Berlin, Some(start)).unwrap();
    assert_eq!(
        timetable.next_ticks(instant("2026-03-29T00:00:00Z"), 2),
        [instant("2026-03-29T00:10:00Z"), instant("2026-03-29T01:40:00Z")]
    );
    let bounds = Bounds { start: Some(start), end: None, catchup: true, since: start };
    let first = timetable.next_run(None, bounds, instant("2026-04-01T00:00:00Z")).unwrap();
    assert_eq!((first.logical_date, first.run_after), (start, instant("2026-03-28T13:40:00Z")));
    let second = timetable.next_run(Some(first.data_interval), bounds, instant("2026-04-01T00:00:00Z")).unwrap();
    assert_eq!(second.data_interval.start, first.data_interval.end);
    assert_eq!(timetable.manual_interval(instant("2026-03-28T15:00:00Z")).start, instant("2026-03-28T12:10:00Z"));
    assert_eq!(spec.to_string(), "every 1h 30m");
    let short = ScheduleSpec::Every { period_ms: 999, data_interval: false };
    assert!(Timetable::from_spec(&short, Tz::UTC, None).is_err());
}

fn on_days(expression: &str, holidays: &[&str], nth: &[i32]) -> Result<Timetable, TimetableError> {
    let calendar = CalendarSpec {
        holidays: holidays.iter().map(|day| (*day).to_owned()).collect(),
        weekend: vec![WeekdaySpec::Saturday, WeekdaySpec::Sunday],
        nth: nth.to_vec(),
    };
    let expressions = vec![expression.to_owned()];
    let spec = ScheduleSpec::Cron { expressions, data_interval: false, calendar: Some(calendar) };
    Timetable::from_spec(&spec, Tz::Asia__Seoul, None)
}

fn days(timetable: &Timetable, after: &str, count: usize) -> Vec<String> {
    let local = |at: Timestamp| at.to_utc().with_timezone(&timetable.timezone).format("%m-%d %a").to_string();
    timetable.next_ticks(instant(after), count).into_iter().map(local).collect()
}

#[test]
fn business_days_are_neither_weekend_nor_holiday() {
    // Midnight in Seoul is still the day before in UTC: the dag's zone tells which day it is.
    let daily = on_days(DAILY, &["2026-01-01", "2026-01-05"], &[]).unwrap();
    assert_eq!(days(&daily, "2025-12-30T15:00:00Z", 4), ["01-02 Fri", "01-06 Tue", "01-07 Wed", "01-08 Thu"]);
    let ends = on_days("30 18 * * *", &["2026-01-01", "2026-01-30"], &[1, -1]).unwrap();
    assert_eq!(days(&ends, "2025-12-31T15:00:00Z", 4), ["01-02 Fri", "01-29 Thu", "02-02 Mon", "02-27 Fri"]);
    let third = on_days("0 9 * * *", &[], &[3]).unwrap();
    assert_eq!(days(&third, "2026-01-31T00:00:00Z", 2), ["02-04 Wed", "03-04 Wed"]);
}

#[test]
fn a_calendar_that_leaves_nothing_is_refused() {
    let why = |result: Result<Timetable, TimetableError>| result.unwrap_err().to_string();
    assert!(why(on_days("0 0 * * 6", &[], &[])).contains("never fires"), "Saturdays only");
    assert!(why(on_days(DAILY, &["31.12.2026"], &[])).contains("write it as `2026-12-25`"));
    assert!(why(on_days(DAILY, &[], &[0])).contains("no business day 0"));
    assert!(why(on_days(DAILY, &[], &[24])).contains("never fires"), "a month has at most 23 of them");
    let weekend = vec![
        WeekdaySpec::Monday,
        WeekdaySpec::Tuesday,
        WeekdaySpec::Wednesday,
        WeekdaySpec::Thursday,
        WeekdaySpec::Friday,
        WeekdaySpec::Saturday,
        WeekdaySpec::Sunday,
    ];
    let calendar = Some(CalendarSpec { weekend, ..CalendarSpec::default() });
    let spec = ScheduleSpec::Cron { expressions: vec![DAILY.to_owned()], data_interval: false, calendar };
    assert!(why(Timetable::from_spec(&spec, Tz::UTC, None)).contains("all seven days"));
}

#[test]
fn a_continuous_dag_runs_whenever_it_may_and_never_twice_at_one_time() {
    let timetable = Timetable::from_spec(&ScheduleSpec::Continuous, Tz::UTC, None).unwrap();
    let now = instant("2026-06-01T00:00:00Z");
    let first = timetable.next_run(None, bounds(None, false), now).unwrap();
    assert_eq!(first.run_after, now);
    let second = timetable.next_run(Some(first.data_interval), bounds(None, false), now).unwrap();
    assert!(second.logical_date > first.logical_date);
    let late = bounds(Some("2026-07-01T00:00:00Z"), false);
    assert_eq!(timetable.next_run(None, late, now).unwrap().run_after, instant("2026-07-01T00:00:00Z"));
}

#[test]
fn a_schedule_of_instants_runs_at_them_and_ends() {
    let instants = ["2026-01-01T06:00:00Z", "2026-02-01T06:00:00Z"].map(instant);
    let timetable = Timetable::from_spec(&ScheduleSpec::Events(instants.to_vec()), Tz::UTC, None).unwrap();
    let all = bounds(Some("2025-01-01T00:00:00Z"), true);
    let now = instant("2026-06-01T00:00:00Z");
    let first = timetable.next_run(None, all, now).unwrap();
    let second = timetable.next_run(Some(first.data_interval), all, now).unwrap();
    assert_eq!([first.logical_date, second.logical_date], instants);
    assert_eq!(timetable.next_run(Some(second.data_interval), all, now), None);
    let why = |instants: &[Timestamp]| {
        Timetable::from_spec(&ScheduleSpec::Events(instants.to_vec()), Tz::UTC, None).unwrap_err().to_string()
    };
    assert!(why(&[]).contains("no instant"));
    assert!(why(&[instants[1], instants[0]]).contains("must ascend"));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn jitter_is_the_same_each_time_bounded_and_keeps_the_order(
        minutes in 0_u64..600, longest_s in 1_u64..7_200, days in 1_u64..400,
    ) {
        let spec = ScheduleSpec::Cron {
            expressions: vec!["0 */2 * * *".to_owned()], data_interval: true, calendar: None,
        };
        let plain = Timetable::from_spec(&spec, Tz::Europe__Berlin, None).unwrap();
        let longest = Duration::from_secs(longest_s);
        let late = plain.clone().with_jitter("d", Some(longest)).unwrap();
        let all = bounds(Some("2026-01-01T00:00:00Z"), true);
        let now = instant("2026-01-01T00:00:00Z").after(Duration::from_hours(24 * days) + Duration::from_mins(minutes));
        let (mut last, mut before) = (None, Timestamp::MIN);
        for _ in 0..30 {
            let (one, other) = (plain.next_run(last, all, now).unwrap(), late.next_run(last, all, now).unwrap());
            prop_assert_eq!((one.logical_date, one.data_interval), (other.logical_date, other.data_interval));
            prop_assert!(other.run_after >= one.run_after && other.run_after < one.run_after.after(longest));
            prop_assert_eq!(other, late.next_run(last, all, now).unwrap());
            prop_assert!(other.run_after > before, "runs keep their order");
            (last, before) = (Some(one.data_interval), other.run_after);
        }
    }

    #[test]
    fn business_days_are_those_that_a_calendar_on_paper_has(from in 0_u64..4_000, holidays in prop::collection::btree_set(0_u64..60, 0..10)) {
        let first = NaiveDate::from_ymd_opt(2020, 1, 1).unwrap().checked_add_days(Days::new(from)).unwrap();
        let date = |far: u64| first.checked_add_days(Days::new(far)).unwrap();
        let texts: Vec<_> = holidays.iter().map(|far| date(*far).to_string()).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let timetable = on_days("0 12 * * *", &texts, &[]).unwrap();
        let midnight = |date: NaiveDate| Timestamp::from(date.and_time(chrono::NaiveTime::MIN).and_utc());
        let expected: Vec<_> = (1..60)
            .filter(|far| !holidays.contains(far) && date(*far).weekday().number_from_monday() < 6)
            .map(|far| midnight(date(far)).after(Duration::from_hours(3)))
            .collect();
        prop_assert_eq!(&timetable.next_ticks(midnight(date(0)).after(Duration::from_hours(3)), expected.len()), &expected);
        // And backwards.
        let mut back = Vec::new();
        let mut at = midnight(date(60));
        while back.len() < expected.len() {
            let Rule::Trigger(ticks) = &timetable.rule else { unreachable!() };
            at = ticks.prev_before(at).unwrap();
            back.push(at);
        }
        back.reverse();
        prop_assert_eq!(back, expected);
    }
}
