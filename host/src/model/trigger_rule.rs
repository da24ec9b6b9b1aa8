//! When a task may start, given where its upstream tasks stand.

use serde::{Deserialize, Serialize};

use super::state::TaskState;

/// The words and their meaning are Airflow's (`TriggerRule`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TriggerRule {
    AllSuccess,
    AllFailed,
    AllDone,
    AllDoneMinOneSuccess,
    /// The rule of a teardown.
    AllDoneSetupSuccess,
    AllSkipped,
    OneSuccess,
    OneFailed,
    OneDone,
    NoneFailed,
    NoneFailedMinOneSuccess,
    NoneSkipped,
    Always,
}

/// How many upstream instances stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them, finished or not.
    pub total: u32,
    pub success: u32,
    pub failed: u32,
    pub skipped: u32,
    pub upstream_failed: u32,
    pub removed: u32,
    /// Of `total`: instances of setups.
    pub setups: u32,
    pub setups_success: u32,
    pub setups_skipped: u32,
}

impl Tally {
    /// Counts an instance in `state` (`sign` 1) or no longer (-1). States that are not finished count in `total` only.
    pub fn count(&mut self, state: TaskState, is_setup: bool, sign: i32) {
        let add = |field: &mut u32| *field = field.saturating_add_signed(sign);
        match state {
            TaskState::Success => add(&mut self.success),
            TaskState::Failed => add(&mut self.failed),
            TaskState::Skipped => add(&mut self.skipped),
            TaskState::UpstreamFailed => add(&mut self.upstream_failed),
            TaskState::Removed => add(&mut self.removed),
            TaskState::None
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::UpForRetry
            | TaskState::UpForReschedule => {}
        }
        if is_setup && state == TaskState::Success {
            add(&mut self.setups_success);
        }
        if is_setup && state == TaskState::Skipped {
            add(&mut self.setups_skipped);
        }
    }

    /// Adds `count` instances to those there are.
    pub fn expect(&mut self, count: i32, is_setup: bool) {
        self.total = self.total.saturating_add_signed(count);
        if is_setup {
            self.setups = self.setups.saturating_add_signed(count);
        }
    }

    /// The tally of both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            success: self.success + other.success,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            upstream_failed: self.upstream_failed + other.upstream_failed,
            removed: self.removed + other.removed,
            setups: self.setups + other.setups,
            setups_success: self.setups_success + other.setups_success,
            setups_skipped: self.setups_skipped + other.setups_skipped,
        }
    }

    /// How many are finished.
    pub fn done(&self) -> u32 {
        self.success + self.failed + self.skipped + self.upstream_failed + self.removed
    }

    pub fn is_done(&self) -> bool {
        self.done() >= self.total
    }
}

/// All that a decision hangs on, besides the rule.
#[derive(Debug, Clone, Copy, Default)]
pub struct Upstream {
    /// Direct upstream instances.
    pub direct: Tally,
    /// Instances of setups that are not directly upstream, and whose scope the task is in. They must succeed.
    pub setups: Tally,
    /// Of a teardown: instances of work in its scope that is not directly upstream. They must be finished.
    pub scope: Tally,
    pub is_teardown: bool,
    /// Of the instance that is decided on; none if it is not mapped.
    pub map_index: Option<u32>,
    /// It may not be skipped yet. Airflow: `wait_for_past_depends_before_skipping`, and the past is not done.
    pub hold_skip: bool,
}

/// What becomes of an instance in state none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may start.
    Run,
    /// Nothing yet.
    Wait,
    Skipped,
    UpstreamFailed,
    /// Its `map_index` is no longer produced.
    Removed,
}

impl TriggerRule {
    /// Decides on an instance from where its upstream instances stand. Airflow: `TriggerRuleDep`.
    ///
    /// One difference: under `all_skipped`, and among the setups around an instance that is not mapped, removed
    /// instances are left out of account, where Airflow's run would wait for ever.
    pub fn decide(self, upstream: &Upstream) -> Decision {
        let Upstream { direct, setups, .. } = *upstream;
        if direct.total == 0 || self == Self::Always {
            return Decision::Run;
        }
        let mut may_run = true;
        if !upstream.is_teardown {
            if setups.failed + setups.upstream_failed > 0 {
                return Decision::UpstreamFailed;
            }
            if setups.skipped > 0 {
                return upstream.skip();
            }
            may_run = setups.success + setups.removed >= setups.total;
        }
        match self.settle(upstream) {
            Decision::Skipped => upstream.skip(),
            Decision::Run if !may_run || !upstream.scope.is_done() => Decision::Wait,
            decision @ (Decision::Run | Decision::Wait | Decision::UpstreamFailed | Decision::Removed) => decision,
        }
    }

    /// The decision from the direct upstream instances alone.
    fn settle(self, upstream: &Upstream) -> Decision {
        let all = upstream.direct;
        let done = all.is_done();
        let bad = all.failed + all.upstream_failed;
        let run_if = |holds: bool| if holds { Decision::Run } else { Decision::Wait };
        match self {
            Self::AllSuccess => {
                if bad > 0 {
                    Decision::UpstreamFailed
                } else if all.skipped > 0 {
                    Decision::Skipped
                } else if done && all.removed > 0 && all.success > 0 && upstream.map_index >= Some(all.success) {
                    Decision::Removed
                } else {
                    run_if(done)
                }
            }
            Self::AllFailed => {
                if all.success + all.skipped > 0 {
                    Decision::Skipped
                } else {
                    run_if(done)
                }
            }
            Self::AllDone => run_if(done),
            Self::AllDoneMinOneSuccess => {
                if all.skipped > 0 {
                    Decision::Skipped
                } else if done && all.success == 0 {
                    Decision::UpstreamFailed
                } else {
                    run_if(done)
                }
            }
            Self::AllDoneSetupSuccess => {
                if done && all.setups > 0 && all.setups_skipped >= all.setups {
                    Decision::Skipped
                } else if done && all.setups > 0 && all.setups_success == 0 {
                    Decision::UpstreamFailed
                } else {
                    run_if(done)
                }
            }
            Self::AllSkipped => {
                if all.success + bad > 0 {
                    Decision::Skipped
                } else {
                    run_if(done)
                }
            }
            Self::OneSuccess => {
                if all.success > 0 {
                    Decision::Run
                } else if done && all.skipped == all.done() {
                    Decision::Skipped
                } else if done {
                    Decision::UpstreamFailed
                } else {
                    Decision::Wait
                }
            }
            Self::OneFailed => {
                if bad > 0 {
                    Decision::Run
                } else if done {
                    Decision::Skipped
                } else {
                    Decision::Wait
                }
            }
            Self::OneDone => {
                if all.success + all.failed > 0 {
                    Decision::Run
                } else if done {
                    Decision::Skipped
                } else {
                    Decision::Wait
                }
            }
            Self::NoneFailed => {
                if bad > 0 {
                    Decision::UpstreamFailed
                } else {
                    run_if(done)
                }
            }
            Self::NoneFailedMinOneSuccess => {
                if bad > 0 {
                    Decision::UpstreamFailed
                } else if all.skipped == all.total {
                    Decision::Skipped
                } else if done && all.success == 0 {
                    Decision::UpstreamFailed
                } else {
                    run_if(done)
                }
            }
            Self::NoneSkipped => {
                if all.skipped > 0 {
                    Decision::Skipped
                } else {
                    run_if(done)
                }
            }
            Self::Always => Decision::Run,
        }
    }
}

impl Upstream {
    fn skip(&self) -> Decision {
        if self.hold_skip { Decision::Wait } else { Decision::Skipped }
    }
}
