//! How long history of a dag is kept.

use std::num::NonZeroU32;

use super::numbers::ShownNumbers;
use crate::model::retention::{DagRetention, Retention};

/// How long runs are kept, in words.
pub(super) fn runs(retention: Retention) -> String {
    let days = retention.runs_days.map(|days| format!("for {days} days"));
    let count = retention.runs_count.map(|count| format!("the last {count}"));
    match (days, count) {
        (None, None) => "for ever".to_owned(),
        (Some(days), Some(count)) => format!("{days}, {count} at most"),
        (days, count) => days.or(count).unwrap_or_default(),
    }
}

/// How long logs are kept, in words.
pub(super) fn logs(retention: Retention) -> String {
    as_long_as(retention.logs_days)
}

/// How long XComs and artifacts are kept, in words.
pub(super) fn data(retention: Retention) -> String {
    as_long_as(retention.data_days)
}

fn as_long_as(days: Option<NonZeroU32>) -> String {
    days.map_or_else(|| "as long as their run".to_owned(), |days| format!("for {days} days"))
}

impl ShownNumbers for DagRetention {
    const PAGE: &'static str = "dag-retention";
    const PATH: &'static str = "retention";
    const HEADING: &'static str = "Retention";
    const CHANGED: &'static str = "The retention was changed.";
    const WORDS: &'static [(&'static str, &'static str)] = &[
        ("Keep runs for days", "After their end. 0: for ever; empty: as the server's settings say."),
        ("Keep so many runs", "Finished ones, those that ended last. 0: all; empty: as the server's settings say."),
        (
            "Keep logs for days",
            "And recordings, after the end of their run. 0: as long as their run; empty: as the server's settings say.",
        ),
        (
            "Keep XComs and artifacts for days",
            "After the end of their run. 0: as long as their run; empty: as the server's settings say.",
        ),
    ];
}
