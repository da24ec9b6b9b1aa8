//! What one turn of the loop has decided: committed together, shown afterwards.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Change, RequestError, reply::Reply};
use crate::{
    executor::{Assignment, AttemptId, Executor, Fleet},
    model::{
        ids::{DagId, QueueName},
        limits::DagLimits,
        queue::Room,
        time::Timestamp,
    },
    store::{Commit, InstanceKey, StoreError},
};

/// Where attempts go. The executor; in tests a script, which knows of no workers and no limits.
pub trait Dispatch: Send + 'static {
    /// Starts attempts. Never blocks.
    fn dispatch(&self, assignments: Vec<Assignment>);
    /// Ends an attempt.
    fn kill(&self, attempt: &AttemptId);
    /// Where an attempt runs; none: it waits, or is over.
    fn host_of(&self, attempt: &AttemptId) -> Option<Arc<str>>;
    /// Forgets what is remembered of an instance's result.
    fn forget_result(&self, _instance: &InstanceKey) {}
    /// Deletes objects of attempts whose success does not count.
    fn discard(&self, blobs: Vec<String>);
    /// What the workers have room for that serve `queue`; none: its attempts run here.
    fn room_of(&self, _queue: &QueueName) -> Option<Room> {
        None
    }
    /// Whether all workers that serve `queue` are to leave, and take no more.
    fn is_left(&self, _queue: &QueueName) -> bool {
        false
    }
    /// Whether the attempt of an instance was dispatched, and no worker of its queue has room for it.
    fn is_homeless(&self, _instance: &InstanceKey) -> bool {
        false
    }
    /// The fleet of pods that serves `queue`.
    fn fleet_of(&self, _queue: &QueueName) -> Option<Fleet> {
        None
    }
    /// Says what the attempts of a dag may have together, beside what holds for all dags.
    fn limit_dag(&self, _dag_id: &DagId, _own: DagLimits) {}
    /// Forgets a dag that was deleted.
    fn forget_dag(&self, _dag_id: &DagId) {}
}

impl Dispatch for Executor {
    fn dispatch(&self, assignments: Vec<Assignment>) {
        Self::dispatch(self, assignments);
    }

    fn kill(&self, attempt: &AttemptId) {
        Self::kill(self, attempt);
    }

    fn host_of(&self, attempt: &AttemptId) -> Option<Arc<str>> {
        Self::host_of(self, attempt)
    }

    fn forget_result(&self, instance: &InstanceKey) {
        Self::forget_result(self, instance);
    }

    fn discard(&self, blobs: Vec<String>) {
        Self::discard(self, blobs);
    }

    fn room_of(&self, queue: &QueueName) -> Option<Room> {
        Self::room_of(self, queue)
    }

    fn is_left(&self, queue: &QueueName) -> bool {
        Self::is_left(self, queue)
    }

    fn is_homeless(&self, instance: &InstanceKey) -> bool {
        Self::is_homeless(self, instance)
    }

    fn fleet_of(&self, queue: &QueueName) -> Option<Fleet> {
        self.fleets(Some(queue)).pop()
    }

    fn limit_dag(&self, dag_id: &DagId, own: DagLimits) {
        Self::limit_dag(self, dag_id, own);
    }

    fn forget_dag(&self, dag_id: &DagId) {
        Self::forget_dag(self, dag_id);
    }
}

/// Collects a turn's decisions.
pub struct Tick {
    pub now: Timestamp,
    pub commit: Commit,
    starts: Vec<Assignment>,
    kills: Vec<AttemptId>,
    changes: Vec<Change>,
    answers: Vec<Answer>,
}

/// Tells whoever asked that it is done, or why it is not.
type Answer = Box<dyn FnOnce(Result<(), &Arc<StoreError>>) + Send>;

impl Tick {
    pub fn new(now: Timestamp) -> Self {
        let commit = Commit { now, ..Commit::default() };
        Self { now, commit, starts: Vec::new(), kills: Vec::new(), changes: Vec::new(), answers: Vec::new() }
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.commit.is_empty()
            && self.starts.is_empty()
            && self.kills.is_empty()
            && self.changes.is_empty()
            && self.answers.is_empty()
    }

    /// Starts an attempt after the commit.
    pub fn start(&mut self, assignment: Assignment) {
        self.starts.push(assignment);
    }

    /// Ends an attempt after the commit.
    pub fn kill(&mut self, attempt: AttemptId) {
        self.kills.push(attempt);
    }

    /// Tells listeners after the commit.
    pub fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Answers `done` after the commit, or why that failed.
    ///
    /// A refusal waits as well: it may rest on what another request of the same commit did.
    pub fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, done: Result<T, RequestError>) {
        self.answers.push(Box::new(move |committed| {
            reply.send(match committed {
                Ok(()) => done,
                Err(error) => Err(RequestError::Store(Arc::clone(error))),
            });
        }));
    }

    /// Shows what was decided: the commit is durable.
    pub fn committed(self, executor: &impl Dispatch, changes: &broadcast::Sender<Arc<Vec<Change>>>) {
        for attempt in self.kills {
            executor.kill(&attempt);
        }
        if !self.starts.is_empty() {
            executor.dispatch(self.starts);
        }
        for answer in self.answers {
            answer(Ok(()));
        }
        if !self.changes.is_empty() {
            // No listener is no fault.
            drop(changes.send(Arc::new(self.changes)));
        }
    }

    /// Nothing was done: whoever asked is told why.
    pub fn refused(self, error: &Arc<StoreError>) {
        for answer in self.answers {
            answer(Err(error));
        }
    }
}
