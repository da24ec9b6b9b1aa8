//! What the attempts of a dag may have together.

use super::numbers::ShownNumbers;
use crate::{
    model::limits::{DagLimits, Resource},
    scheduler::LimitsSeen,
    ui::show::grouped,
};

/// What holds, and what of it was had today, in words.
pub(super) fn words(seen: &LimitsSeen) -> String {
    let memory = seen.effective.memory_mib().map(|mib| format!("{} MiB of memory at a time", grouped(mib as usize)));
    let by_day = Resource::ALL.into_iter().filter_map(|resource| {
        let limit = seen.effective.per_day(resource)?;
        let used = usize::try_from(seen.spent.of(resource) / resource.unit()).unwrap_or(usize::MAX);
        Some(format!("{} of {} {} today", grouped(used), grouped(limit as usize), resource.words()))
    });
    let all: Vec<_> = memory.into_iter().chain(by_day).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

impl ShownNumbers for DagLimits {
    const PAGE: &'static str = "dag-limits";
    const PATH: &'static str = "limits";
    const HEADING: &'static str = "Limits";
    const CHANGED: &'static str = "The limits were changed.";
    const WORDS: &'static [(&'static str, &'static str)] = &[
        (
            "Memory at a time, MiB",
            "Of all attempts of the dag; the others wait. 0: any; empty: as the server's settings say. So are those below.",
        ),
        ("CPU time a day, seconds", "Above it attempts fail. Days are of UTC."),
        ("Logs a day, MiB", "What is above is dropped."),
        ("Artifacts and XComs a day, MiB", "What is above is refused."),
        ("Network a day, MiB", "What is above is refused."),
        ("Host calls a day", "What is above is refused."),
    ];
}
