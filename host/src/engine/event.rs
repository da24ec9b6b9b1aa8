//! What a run is told, and what it answers.

use std::{collections::BTreeSet, time::Duration};

use crate::model::{
    dag::NodeIndex,
    ids::TaskId,
    state::{RunState as State, TaskState},
    time::Timestamp,
};

/// Names a task instance inside its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    pub node: NodeIndex,
    /// -1 if the task is not mapped, or not expanded yet.
    pub map_index: i32,
}

impl InstanceId {
    /// The instance of a task that is not mapped.
    pub fn plain(node: NodeIndex) -> Self {
        Self { node, map_index: -1 }
    }
}

/// Names an attempt inside its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub instance: InstanceId,
    /// From 1.
    pub try_number: u32,
    /// How often this try was started again because its runner was lost.
    pub restart: u32,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run may begin: its `run_after` has come and max_active_runs allows it. For a run in state queued.
    Start,
    /// The run was restored after a crash: attempts that were in flight are lost, timers are set again.
    /// For a run in state running, once, before any other event.
    Resume,
    /// Of tasks with a [`Past`](crate::model::dag::Past): those that must wait for the run before, and no others any
    /// more. Of a run that is not running yet, it is remembered; it may come before [`Event::Resume`].
    Past(BTreeSet<NodeIndex>),
    /// A ready instance has its slots and waits for a worker. Optional: [`Event::Started`] may come at once.
    Queued(InstanceId),
    /// A ready or queued instance was handed to a runner.
    Started(InstanceId),
    /// An attempt is over.
    Finished {
        attempt: Attempt,
        outcome: Outcome,
        /// Why it failed or was skipped, or how it succeeded without running, for people; secrets masked.
        message: Option<String>,
    },
    /// The instant of the last [`Command::WakeAt`] has come.
    Timer,
    /// What an instance waits for has happened: it is started again now. One that does not wait stays as it is.
    Wake(InstanceId),
    /// A person sets instances to success, failed or skipped; other states change nothing. Attempts in flight are
    /// killed; failed and upstream_failed instances downstream are cleared, as Airflow does. A finished run goes on if
    /// anything was cleared, and stays as it ended if nothing was.
    Mark { instances: Vec<InstanceId>, state: TaskState, message: Option<String> },
    /// A person ends the run. What runs, or waits to be started again, is killed and becomes what the run does; what else
    /// is not finished is skipped; what is finished stays. Teardowns that are due still run before the run ends.
    MarkRun(Verdict),
    /// Instances are to be run again. A finished run becomes queued; it goes on at [`Event::Start`]. One that a person
    /// ended, and whose teardowns still run, ends as its tasks do, unless only teardowns are cleared.
    Clear { instances: Vec<InstanceId> },
    /// A person sets the run to queued: what failed, itself or for want of its upstream, is to be run again. A finished
    /// run becomes queued, also if there is none; it goes on at [`Event::Start`].
    Requeue,
}

/// How a run is ended by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failed,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// `list_length`: how long the returned list is; none if it is not a list. `has_result`: whether it returned
    /// anything.
    Success {
        list_length: Option<u32>,
        has_result: bool,
    },
    Skipped,
    /// Success; of the tasks directly downstream only these (ids of tasks or groups) and what follows them run.
    Branch(Vec<TaskId>),
    /// Success that ends the path. True: everything downstream is skipped, whatever its trigger rule (teardowns
    /// excepted). False: what is directly downstream is skipped and the rest follows its rules.
    ShortCircuit {
        ignore_downstream_trigger_rules: bool,
    },
    /// To be started again at this instant, with the same try_number.
    Later(Timestamp),
    Failed {
        /// Whether another try may help.
        retry: bool,
        /// How long to wait before it, where the attempt said so.
        delay: Option<Duration>,
    },
    /// Its runner died; says nothing about the task. It is started again, up to [`super::MAX_RESTARTS`] times a try, later each time.
    Lost,
    /// It was ended on request.
    Killed,
}

/// What must now happen, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The row of an instance is to hold this.
    Persist(Box<InstanceChange>),
    /// The row of this instance is to go: the placeholder of a mapped task that was expanded.
    Delete(InstanceId),
    /// The run's row is to hold this.
    Run(RunChange),
    /// The instance may start as soon as [`super::Admission`] has slots for it.
    Ready(InstanceId),
    /// It may not start any more (it was ready, and had no slots yet).
    Withdraw(InstanceId),
    /// The attempt holds its slots no longer.
    Release(InstanceId),
    /// The attempt is to be ended; [`Event::Finished`] follows.
    Kill(Attempt),
    /// [`Event::Timer`] is to come at this instant. Replaces the one before.
    WakeAt(Timestamp),
}

/// What the row of an instance holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSnapshot {
    pub state: TaskState,
    /// 0 before the first try.
    pub try_number: u32,
    /// Airflow's meaning: as many tries are allowed as this, plus one.
    pub max_tries: u32,
    pub restarts: u32,
    pub scheduled_at: Option<Timestamp>,
    pub queued_at: Option<Timestamp>,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    /// When a waiting retry or reschedule is due.
    pub wake_at: Option<Timestamp>,
    /// Of a branch that succeeded: which of the tasks directly downstream it follows.
    pub followed: Option<Vec<TaskId>>,
    /// Length of the list that it returned. Of an instance of a mapped task that others are expanded over, it says
    /// whether there is a result where the state does not: `u32::MAX` is none, any other number is one.
    pub list_length: Option<u32>,
}

/// A new content for the row of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceChange {
    pub instance: InstanceId,
    pub row: InstanceSnapshot,
    pub message: Option<String>,
    /// The row does not exist yet.
    pub is_new: bool,
    /// The present row is a try that is over and followed by another: copy it to the history first. Its state may be
    /// one that is not finished (up_for_retry, restarting, running); to people such a try failed.
    pub archive: bool,
    /// XComs and artifacts of the instance are to go.
    pub drop_results: bool,
    /// How the try ended that is to be archived, if no commit has written that yet.
    pub ended: Option<Box<InstanceChange>>,
}

impl InstanceChange {
    /// Of an instance that has no row yet.
    pub fn new(instance: InstanceId, row: InstanceSnapshot) -> Self {
        Self { instance, row, message: None, is_new: true, archive: false, drop_results: false, ended: None }
    }
}

/// What the row of a run holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSnapshot {
    pub state: State,
    pub queued_at: Timestamp,
    pub start_date: Option<Timestamp>,
    pub end_date: Option<Timestamp>,
    pub clear_number: i64,
    /// How a person ended the run, while teardowns still run.
    pub verdict: Option<Verdict>,
}

/// A new content for the row of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunChange {
    pub row: RunSnapshot,
    /// Why it failed, if its tasks alone do not tell: it timed out, or could not go on.
    pub message: Option<String>,
}
