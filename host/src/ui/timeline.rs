//! When the task instances of a run waited and ran, as bars under each other: what Airflow calls the Gantt chart.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;

use super::show::State;
use crate::{
    model::time::Timestamp,
    store::{DagRunRow, TaskInstanceRow},
};

/// The length of a timeline, in what its bars are measured in.
const LENGTH: i64 = 1_000;
/// What is shorter is drawn so long, to be seen.
const SHORTEST: i64 = 4;

/// From the start of a run to its end, or to now.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    from: Timestamp,
    to: Timestamp,
}

/// When the last try of an instance waited and ran.
#[derive(Debug, PartialEq, Eq)]
pub struct Bar {
    state: State,
    /// Where it begins to wait, begins to run, and ends.
    at: [i64; 3],
}

impl Timeline {
    /// None if the run has not started.
    pub fn of(run: &DagRunRow, now: Timestamp) -> Option<Self> {
        let to = if run.state.is_finished() { run.end_date? } else { now };
        run.start_date.filter(|from| *from < to).map(|from| Self { from, to })
    }

    /// None if the instance has not started.
    pub fn bar(&self, row: &TaskInstanceRow) -> Option<Bar> {
        let started = row.start_date?;
        let at = [row.scheduled_at.unwrap_or(started), started, row.end_date.unwrap_or(self.to)];
        Some(Bar { state: row.state.into(), at: at.map(|at| self.place(at)) })
    }

    fn place(&self, at: Timestamp) -> i64 {
        let all = self.to.as_micros() - self.from.as_micros();
        let passed = at.as_micros().clamp(self.from.as_micros(), self.to.as_micros()) - self.from.as_micros();
        // A run of 290,000 years would not fit.
        passed.saturating_mul(LENGTH) / all.max(1)
    }
}

impl Display for Bar {
    /// For eyes only: the columns beside it say the same in words.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [waited, started, ended] = self.at;
        write!(f, "<svg class=\"bar\" viewBox=\"0 0 {LENGTH} 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">")?;
        if started > waited {
            write!(f, "<rect class=\"waited\" x=\"{waited}\" y=\"3\" width=\"{}\" height=\"4\"/>", started - waited)?;
        }
        let width = (ended - started).max(SHORTEST);
        let x = started.min(LENGTH - width);
        write!(f, "<rect class=\"{}\" x=\"{x}\" width=\"{width}\" height=\"10\" rx=\"2\"/></svg>", self.state.class())
    }
}

impl HtmlSafe for Bar {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::state::TaskState;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_bar_stands_where_its_instance_ran_and_never_beside_the_line() {
        let line = Timeline { from: at(100), to: at(200) };
        let bar = |seconds: [i64; 3]| {
            let at = seconds.map(|seconds| line.place(at(seconds)));
            Bar { state: TaskState::Success.into(), at }.to_string()
        };
        let drawn = bar([110, 120, 150]);
        assert!(drawn.contains(r#"<rect class="waited" x="100" y="3" width="100""#), "{drawn}");
        assert!(drawn.contains(r#"<rect class="s-success" x="200" width="300""#), "{drawn}");
        // It ran before the run was cleared and started again.
        assert!(bar([10, 20, 50]).contains(r#"x="0" width="4""#));
        // It is too short to be seen, at the very end.
        assert!(bar([200, 200, 200]).contains(r#"x="996" width="4""#));
    }
}
