use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::model::{
    spec::ScheduleSpec,
    time::DataInterval,
    timetable::{Bounds, Timetable},
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
    let bounds = Bounds { start: Some(start), end: None, catchup: true };
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
                std::iter::successors(cron.next_after(case.reference), next).take(expected.len()).collect();
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
