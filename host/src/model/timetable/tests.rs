use super::*;

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn timetable(expression: &str, data_interval: bool) -> Timetable {
    let spec = ScheduleSpec::Cron { expression: expression.to_owned(), data_interval };
    Timetable::from_spec(&spec, Tz::Asia__Seoul).unwrap()
}

fn bounds(start: Option<&str>, catchup: bool) -> Bounds {
    Bounds { start: start.map(instant), end: None, catchup }
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
    let run = timetable(DAILY, false).next_run(None, bounds(None, true), instant("2026-06-01T00:00:00Z"));
    assert_eq!(run.unwrap().run_after, instant("2026-06-01T15:00:00Z"));
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
    let once = Timetable::from_spec(&ScheduleSpec::Once, Tz::UTC).unwrap();
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
        let spec = ScheduleSpec::Cron { expression: expression.to_owned(), data_interval: false };
        Timetable::from_spec(&spec, Tz::UTC).unwrap_err().to_string()
    };
    assert!(refused("0 0 30 2 *").contains("never fires"));
    assert!(refused("0 0 * *").contains("4 fields"));
    assert!(refused("0 0 * * 5L").contains("`L5`"));
    assert!(refused("@once").contains("no such preset"));
    assert!(refused(&"9".repeat(100_000)).len() < 300);
}
