//! States of task instances and dag_runs. The words are Airflow's (`airflow/utils/state.py`).

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text is not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state")]
pub struct StateError(String);

impl StateError {
    pub(super) fn of(text: &str) -> Self {
        Self(text.chars().take(40).collect())
    }
}

macro_rules! states {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $type {
            /// All states, in the order in which they are listed to users.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = StateError;
            fn from_str(text: &str) -> Result<Self, StateError> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(StateError(text.chars().take(40).collect())) }
            }
        }
    };
}

states! {
    /// Where a task instance stands.
    TaskState {
        /// Its trigger rule is not decided. The API shows `null`, as Airflow does.
        None = "none",
        /// It may start and waits for a slot.
        Scheduled = "scheduled",
        /// It has its slots and waits for a worker.
        Queued = "queued",
        /// An attempt runs.
        Running = "running",
        Success = "success",
        /// It was cleared while it ran; the attempt is being ended and will be made again.
        Restarting = "restarting",
        Failed = "failed",
        Skipped = "skipped",
        UpstreamFailed = "upstream_failed",
        /// It failed and waits for its next try.
        UpForRetry = "up_for_retry",
        /// It asked to be started again later, with the same try.
        UpForReschedule = "up_for_reschedule",
        /// Its task or map_index is no longer in the dag.
        Removed = "removed",
    }
}

states! {
    /// Where a dag_run stands.
    RunState {
        /// It waits: for `run_after`, for max_active_runs, or because its dag is paused.
        Queued = "queued",
        Running = "running",
        Success = "success",
        Failed = "failed",
    }
}

impl TaskState {
    /// Whether nothing more happens by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Removed)
    }

    /// Whether an attempt holds slots.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Restarting)
    }

    /// The one state that is shown for instances in this and in `other`: that which needs a look first. Airflow:
    /// `state_priority` of its grid.
    #[must_use]
    pub fn summary(self, other: Self) -> Self {
        std::cmp::min_by_key(self, other, |state| state.place_in_summary())
    }

    fn place_in_summary(self) -> u8 {
        match self {
            Self::Failed => 0,
            Self::UpstreamFailed => 1,
            Self::UpForRetry => 2,
            Self::UpForReschedule => 3,
            Self::Queued => 4,
            Self::Scheduled => 5,
            Self::Running => 6,
            Self::Restarting => 7,
            Self::None => 8,
            Self::Success => 9,
            Self::Skipped => 10,
            Self::Removed => 11,
        }
    }

    /// A letter for packed run summaries (one byte an instance), unique among states.
    pub fn letter(self) -> u8 {
        match self {
            Self::None => b'.',
            Self::Scheduled => b'c',
            Self::Queued => b'q',
            Self::Running => b'r',
            Self::Success => b's',
            Self::Restarting => b'a',
            Self::Failed => b'f',
            Self::Skipped => b'k',
            Self::UpstreamFailed => b'u',
            Self::UpForRetry => b't',
            Self::UpForReschedule => b'd',
            Self::Removed => b'x',
        }
    }
}

impl RunState {
    /// Whether nothing more happens by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }
}

/// What made a dag_run. Airflow: `DagRunType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunType {
    Scheduled,
    Manual,
    /// The assets that its dag waits for were updated.
    AssetTriggered,
    /// A task started it. Airflow: `TriggerDagRunOperator`.
    OperatorTriggered,
    /// A backfill made it.
    Backfill,
}

impl RunType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Manual => "manual",
            Self::AssetTriggered => "asset_triggered",
            Self::OperatorTriggered => "operator_triggered",
            Self::Backfill => "backfill",
        }
    }

    /// The kind of runs to which ids like this one are left: the scheduler makes them of the instants that the runs are about,
    /// and makes no second run of an id. None: anybody may choose it. Airflow: `DagRunType.from_run_id`.
    pub fn reserving(run_id: &str) -> Option<Self> {
        let (kind, _) = run_id.split_once("__")?;
        match kind.parse::<Self>().ok()? {
            kind @ (Self::Scheduled | Self::Backfill | Self::AssetTriggered) => Some(kind),
            Self::Manual | Self::OperatorTriggered => None,
        }
    }
}

impl FromStr for RunType {
    type Err = StateError;
    fn from_str(text: &str) -> Result<Self, StateError> {
        match text {
            "scheduled" => Ok(Self::Scheduled),
            "manual" => Ok(Self::Manual),
            "asset_triggered" => Ok(Self::AssetTriggered),
            "operator_triggered" => Ok(Self::OperatorTriggered),
            "backfill" => Ok(Self::Backfill),
            other => Err(StateError(other.chars().take(40).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_letters_are_unique_and_read_back() {
        let letters: BTreeSet<u8> = TaskState::ALL.iter().map(|state| state.letter()).collect();
        assert_eq!(letters.len(), TaskState::ALL.len());
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>(), Ok(*state));
        }
        assert!("done".parse::<TaskState>().is_err());
    }

    #[test]
    fn ids_of_runs_that_the_scheduler_makes_are_reserved() {
        for (run_id, kind) in [
            ("scheduled__2026-01-01T00:00:00+00:00", Some(RunType::Scheduled)),
            ("backfill__x", Some(RunType::Backfill)),
            ("asset_triggered__", Some(RunType::AssetTriggered)),
            ("manual__2026-01-01T00:00:00+00:00", None),
            ("operator_triggered__152_start", None),
            ("callback__152_load_2_failure", None),
            ("webhook__1", None),
            ("scheduled_1", None),
            ("my_scheduled__1", None),
            ("scheduled", None),
        ] {
            assert_eq!(RunType::reserving(run_id), kind, "{run_id}");
        }
    }
}
