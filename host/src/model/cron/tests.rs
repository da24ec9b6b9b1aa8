use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::model::{
    spec::ScheduleSpec,
    time::DataInterval,
    timetable::{Bounds, Timetable, TimetableError},
};

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    expr: String,
    timezone: Tz,
    reference: Timestamp,
    valid: bool,
    next_after: Option<Vec<Timestamp>>,
    prev_before: Option<Timestamp>,
    trigger_runs: Option<Vec<Timestamp>>,
    data_intervals: Option<Vec<Interval>>,
    manual_interval: Option<DataInterval>,
}

#[derive(Deserialize, Debug, PartialEq, Clone, Copy)]
struct Interval {
    start: Timestamp,
    end: Timestamp,
    run_after: Timestamp,
}

fn timetable(expression: &str, timezone: Tz, data_interval: bool) -> Result<Timetable, TimetableError> {
    Timetable::from_spec(&ScheduleSpec::cron(expression, data_interval), timezone, None)
}

/// The runs of a dag that starts at `reference`, with catchup.
fn runs(timetable: &Timetable, start: Timestamp, count: usize) -> Vec<crate::model::timetable::NextRun> {
    let bounds = Bounds { start: Some(start), end: None, catchup: true, since: start };
    let next = |last| timetable.next_run(last, bounds, start);
    let first = next(None);
    std::iter::successors(first, |run| next(Some(run.data_interval))).take(count).collect()
}

/// Where Airlock answers otherwise, and why.
const BETTER: [(&str, &[&str], &str); 2] = [
    (
        "cron-259",
        &["next_after", "trigger_runs", "data_intervals"],
        "after Lord Howe's shift of 30 minutes the peer leaves the minute grid, and its intervals overlap",
    ),
    (
        "cron-340",
        &["prev_before", "manual_interval"],
        "the peer's answer 15:00Z is 01:30 on the wall, which `0 * * * *` does not match: the same defect",
    ),
];

#[test]
fn instants_are_those_of_the_peer() {
    let file: File = serde_json::from_str(include_str!("../../../../tests/conformance/cron.json")).unwrap();
    let better: BTreeMap<_, _> = BETTER.iter().map(|(id, parts, _)| (*id, *parts)).collect();
    let mut wrong = Vec::new();
    for case in file.cases {
        let cron = Cron::new(&case.expr, case.timezone);
        if cron.is_ok() != case.valid {
            wrong.push(format!("{} `{}`: {:?}, valid in the peer: {}", case.id, case.expr, cron.err(), case.valid));
        }
        let (true, Ok(cron)) = (case.valid, Cron::new(&case.expr, case.timezone)) else { continue };
        let mut check = |part: &str, answer: String, expected: String| {
            let is_better = better.get(case.id.as_str()).is_some_and(|parts| parts.contains(&part));
            if (answer == expected) == is_better {
                let Case { id, expr, timezone, reference, .. } = &case;
                wrong.push(format!("{id} `{expr}` {timezone} {reference} {part}: {answer}\n    not {expected}"));
            }
        };
        if let Some(expected) = &case.next_after {
            let next = |at: &Timestamp| cron.next_after(*at);
            let answer: Vec<_> =
                std::iter::successors(cron.first_after(case.reference), next).take(expected.len()).collect();
            check("next_after", format!("{answer:?}"), format!("{expected:?}"));
        }
        if let Some(expected) = case.prev_before {
            check("prev_before", format!("{:?}", cron.prev_before(case.reference)), format!("{:?}", Some(expected)));
        }
        if let Some(expected) = &case.trigger_runs {
            let timetable = timetable(&case.expr, case.timezone, false).unwrap();
            let answer: Vec<_> =
                runs(&timetable, case.reference, expected.len()).iter().map(|it| it.run_after).collect();
            check("trigger_runs", format!("{answer:?}"), format!("{expected:?}"));
        }
        let timetable = timetable(&case.expr, case.timezone, true).unwrap();
        if let Some(expected) = &case.data_intervals {
            let answer: Vec<_> = runs(&timetable, case.reference, expected.len())
                .iter()
                .map(|run| Interval {
                    start: run.data_interval.start,
                    end: run.data_interval.end,
                    run_after: run.run_after,
                })
                .collect();
            check("data_intervals", format!("{answer:?}"), format!("{expected:?}"));
        }
        if let Some(expected) = case.manual_interval {
            let answer = timetable.manual_interval(case.reference);
            check("manual_interval", format!("{answer:?}"), format!("{expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each fires at these times after 2026-01-01T12:00Z, by the peer; days stand for their midnights.
fn assert_fires(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        let cron = Cron::new(expression, Tz::UTC).unwrap();
        let start = "2026-01-01T12:00:00Z".parse::<Timestamp>().unwrap();
        let next = |at: &Timestamp| cron.next_after(*at);
        let times: Vec<_> =
            std::iter::successors(cron.next_after(start), next).take(expected.split(' ').count()).collect();
        let shown = |at: &Timestamp| at.to_utc().format("%FT%R").to_string().replace("T00:00", "");
        assert_eq!(times.iter().map(shown).collect::<Vec<_>>().join(" "), *expected, "{expression}");
        for pair in times.windows(2) {
            assert_eq!(cron.prev_before(pair[1]), Some(pair[0]), "{expression}");
        }
    }
}

/// `29W` in a month that has no 29th starts from its last day.
#[test]
fn a_nearest_weekday_starts_from_the_last_day_where_the_month_is_shorter() {
    assert_fires(&[
        ("0 0 31W * *", "2026-01-30 2026-02-27 2026-03-31 2026-04-30"),
        ("0 0 29W 2 *", "2026-02-27 2027-02-26 2028-02-29 2029-02-28"),
        ("0 0 30W 2 *", "2026-02-27 2027-02-26 2028-02-29 2029-02-28"),
        ("0 0 31W 4,6 *", "2026-04-30 2026-06-30 2027-04-30 2027-06-30"),
        ("0 0 w30 2,3 *", "2026-02-27 2026-03-30 2027-02-26 2027-03-30"),
        ("0 0 29W 1-3 *", "2026-01-29 2026-02-27 2026-03-30 2027-01-29"),
    ]);
}

/// Not the OR of plain day fields; where one is a `*`, or both are of this kind, a day must fit both.
#[test]
fn a_nearest_weekday_or_an_nth_one_leaves_the_other_day_field_out_of_account() {
    assert_fires(&[
        ("0 9 1-7 * MON#1", "2026-01-05T09:00 2026-02-02T09:00 2026-03-02T09:00 2026-04-06T09:00"),
        ("0 0 15W * 1", "2026-01-15 2026-02-16 2026-03-16 2026-04-15"),
        ("0 0 L * L5", "2026-01-30 2026-02-27 2026-03-27 2026-04-24"),
        ("0 0 29 2 1#5", "2044-02-29 2072-02-29 2112-02-29 2140-02-29"),
        ("0 0 1-31/2 * 0-6,5#1", "2026-01-02 2026-02-06 2026-03-06 2026-04-03"),
        ("0 0 */2 * 0-6,5#1", "2026-04-03 2026-05-01 2026-06-05 2026-07-03"),
        ("0 0 1 * *,5#1", "2026-05-01 2027-01-01 2027-10-01 2028-09-01"),
        ("0 0 15W * 1#3", "2026-02-16 2026-03-16 2026-06-15 2026-11-16"),
        ("0 0 29W * 1#5", "2026-03-30 2026-06-29 2026-11-30 2027-03-29"),
        ("0 0 29W * 1#4", "2033-02-28 2039-02-28 2050-02-28"),
        ("0 0 30W 2 1", "2026-02-27 2027-02-26 2028-02-29 2029-02-28"),
        ("0 0 ? * 5#1", "2026-01-02 2026-02-06 2026-03-06 2026-04-03"),
    ]);
}

#[test]
fn plain_weekdays_give_way_to_nth_ones() {
    assert_fires(&[
        ("0 0 * * mon-fri#1", "2026-01-02 2026-01-05 2026-01-06 2026-01-07"),
        ("0 0 * * fri-mon#2", "2026-01-09 2026-01-10 2026-01-11 2026-01-12"),
        ("0 0 * * 5#01", "2026-01-02 2026-02-06 2026-03-06 2026-04-03"),
        ("0 0 * * L5,5", "2026-01-30 2026-02-27 2026-03-27 2026-04-24"),
        ("5 20 25 * 7,L7", "2026-01-25T20:05 2026-02-22T20:05 2026-03-29T20:05 2026-04-26T20:05"),
        ("0 0 * * *,5#1", "2026-01-02 2026-02-06 2026-03-06 2026-04-03"),
        ("0 0 * * 0-4,5#1,6#1", "2026-01-02 2026-01-03 2026-02-06 2026-02-07"),
        ("0 0 * * 5#1,5#3,L5", "2026-01-02 2026-01-16 2026-01-30 2026-02-06"),
    ]);
}

/// Full lists are a `*` if the other day field has one in it; croniter counts `L` as one more day.
#[test]
fn the_last_day_counts_as_an_entry_of_a_full_list() {
    assert_fires(&[
        ("0 0 1-30,L * */6", "2026-01-03 2026-01-04 2026-01-10 2026-01-11"),
        ("0 0 1-31,L * */6", "2026-01-02 2026-01-03 2026-01-04 2026-01-05"),
    ]);
}

#[test]
fn a_step_may_be_longer_than_anything() {
    assert_fires(&[
        ("*/99999 * * * *", "2026-01-01T13:00 2026-01-01T14:00 2026-01-01T15:00 2026-01-01T16:00"),
        ("5/99999 * * * *", "2026-01-01T12:05 2026-01-01T13:05 2026-01-01T14:05 2026-01-01T15:05"),
        ("50-10/65536 * * * *", "2026-01-01T12:50 2026-01-01T13:50 2026-01-01T14:50 2026-01-01T15:50"),
        ("*/99999999999999999999999 * * * *", "2026-01-01T13:00 2026-01-01T14:00 2026-01-01T15:00 2026-01-01T16:00"),
    ]);
}

#[test]
fn a_range_over_the_end_of_its_cycle_may_end_in_zero() {
    assert_fires(&[
        ("0 0 30-0 * *", "2026-01-30 2026-01-31 2026-03-30 2026-03-31"),
        ("0 0 1 11-0 *", "2026-11-01 2026-12-01 2027-11-01 2027-12-01"),
        ("0 0 1 jan-00 *", "2026-02-01 2026-03-01 2026-04-01 2026-05-01"),
        ("0 0 1 0-0/6 *", "2026-07-01 2027-01-01 2027-07-01 2028-01-01"),
    ]);
}

#[test]
fn what_the_peer_cannot_read_is_refused() {
    let all = [
        "0 0 * * 1-3#1",
        "0 0 * * *#1",
        "0 0 * * 1/2#1",
        "0 0 * * 5#+2",
        "0 0 * * 5#0",
        "0 0 * * 5#6",
        "0 0 * * Lfri",
        "0 0 * * L",
        "0 0 * * L8",
        "0 0 * * mon-fri/2#1",
        "0 0 * * 1,5#2",
        "0 0 * * *,1,5#1",
        "0 0 15W,20 * *",
        "0 0 0-5 * *",
        "0 0 0/5 * *",
        "0 0 0 * *",
        "0 0 * 0-3 *",
        "0 0 1 1 * 0 5-3",
        "*/0 * * * *",
        "*/+5 * * * *",
    ];
    for expression in all {
        assert!(Cron::new(expression, Tz::UTC).is_err(), "{expression}");
    }
}

#[test]
fn what_the_peer_finds_no_day_for_is_refused() {
    let all = ["0 0 15W * 6", "0 0 29W 2 0,6", "0 0 1W * 1#5", "0 0 31 2 1#1", "0 0 13 * *,5#1", "0 0 L 2 5#1"];
    for expression in all {
        let error = Cron::new(expression, Tz::UTC).unwrap_err().to_string();
        assert!(error.contains("never fires"), "{error}");
    }
}

fn instant(text: &str) -> Timestamp {
    format!("{text}:00Z").parse().unwrap()
}

/// They fire in both of two hours that look the same; the others in the second.
#[test]
fn hours_are_every_hour_if_the_peer_makes_a_star_of_them() {
    let next = |hours: &str| {
        let cron = Cron::new(&format!("0 {hours} * * *"), Tz::Europe__Berlin).unwrap();
        cron.next_after(instant("2025-10-25T23:30"))
    };
    for hours in ["*", "*/1", "0-23", "*,*", "*,0-22", "5-4", "0-0", "0/1"] {
        assert_eq!(next(hours), Some(instant("2025-10-26T00:00")), "{hours}");
    }
    for hours in ["*,5", "*,0-23", "0-22"] {
        assert_eq!(next(hours), Some(instant("2025-10-26T01:00")), "{hours}");
    }
}

/// Of each: where it begins, when it then fires first (by the peer), and when it fires next if it began before.
#[test]
fn a_schedule_begins_with_a_time_that_its_clock_has_not_shown() {
    let berlin = "Europe/Berlin";
    let lord_howe = "Australia/Lord_Howe";
    let sao_paulo = "America/Sao_Paulo";
    let all = [
        // Clocks went forward over the time, which fires later.
        ("30 2 * * *", berlin, "2025-03-30T00:59", "2025-03-30T01:30", "2025-03-30T01:30"),
        ("30 2 * * *", berlin, "2025-03-30T01:00", "2025-03-31T00:30", "2025-03-30T01:30"),
        ("30 2 * * *", berlin, "2025-03-30T01:30", "2025-03-31T00:30", "2025-03-31T00:30"),
        ("5 2,3 * * *", berlin, "2025-03-30T01:00", "2025-03-30T01:05", "2025-03-30T01:05"),
        ("30 2 * * *", "America/New_York", "2025-03-09T07:00", "2025-03-10T06:30", "2025-03-09T07:30"),
        ("15 2 * * *", lord_howe, "2025-10-04T15:29", "2025-10-04T15:45", "2025-10-04T15:45"),
        ("15 2 * * *", lord_howe, "2025-10-04T15:30", "2025-10-05T15:15", "2025-10-04T15:45"),
        ("30 0 * * *", sao_paulo, "2018-11-04T03:00", "2018-11-05T02:30", "2018-11-04T03:30"),
        // The time comes twice, and fires the second time.
        ("30 2 * * *", berlin, "2025-10-26T00:29", "2025-10-26T01:30", "2025-10-26T01:30"),
        ("30 2 * * *", berlin, "2025-10-26T00:30", "2025-10-27T01:30", "2025-10-26T01:30"),
        ("30 2 * * *", berlin, "2025-10-26T01:29", "2025-10-26T01:30", "2025-10-26T01:30"),
        ("*/20 2 * * *", berlin, "2025-10-26T00:30", "2025-10-26T01:40", "2025-10-26T01:00"),
        ("0 *,5 * * *", berlin, "2025-10-26T00:30", "2025-10-26T02:00", "2025-10-26T01:00"),
        ("30 1 * * *", "America/New_York", "2025-11-02T05:30", "2025-11-03T06:30", "2025-11-02T06:30"),
        ("30 1 * * *", lord_howe, "2025-04-05T14:45", "2025-04-06T15:00", "2025-04-05T15:00"),
        ("30 23 * * *", sao_paulo, "2018-02-18T01:45", "2018-02-19T02:30", "2018-02-18T02:30"),
        // A day that was left out.
        ("30 2 * * *", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T12:30", "2011-12-30T12:30"),
        // Every hour.
        ("*/30 * * * *", berlin, "2025-10-26T00:30", "2025-10-26T01:00", "2025-10-26T01:00"),
    ];
    for (expression, zone, after, first, next) in all {
        let cron = Cron::new(expression, zone.parse().unwrap()).unwrap();
        let after = instant(after);
        assert_eq!(cron.first_after(after), Some(instant(first)), "{expression} {zone} {after}");
        assert_eq!(cron.next_after(after), Some(instant(next)), "{expression} {zone} {after}");
        // On an instant at which it fires, it begins with it.
        assert_eq!(cron.first_from(instant(next)), Some(instant(next)), "{expression} {zone} {next}");
    }
}

/// 02:15 fires at 02:45. The peer leaves out what comes before it.
#[test]
fn a_moved_time_takes_its_place_among_those_behind_the_gap() {
    let all = [
        ("15,35,40 2 * * *", "2025-10-04T15:35:00Z 2025-10-04T15:40:00Z 2025-10-04T15:45:00Z 2025-10-05T15:15:00Z"),
        ("15,35 *,5 * * * 0,30", "2025-10-04T15:35:00Z 2025-10-04T15:35:30Z 2025-10-04T15:45:00Z 2025-10-04T16:15:00Z"),
    ];
    for (expression, expected) in all {
        let cron = Cron::new(expression, Tz::Australia__Lord_Howe).unwrap();
        let start = instant("2025-10-04T15:10");
        let expected: Vec<Timestamp> = expected.split(' ').map(|tick| tick.parse().unwrap()).collect();
        let next = |at: &Timestamp| cron.next_after(*at);
        let ticks: Vec<_> = std::iter::successors(cron.first_after(start), next).take(expected.len()).collect();
        assert_eq!(ticks, expected, "{expression}");
        for pair in ticks.windows(2) {
            assert_eq!(cron.prev_before(pair[1]), Some(pair[0]), "{expression}");
            assert_eq!(cron.first_after(pair[0]), Some(pair[1]), "{expression}");
        }
    }
}
