//! Who asked the loop something, and is answered when it is committed.

use tokio::sync::oneshot;

use super::RequestError;
use crate::store::{Audit, EventNew};

/// How a request is answered; dropped, whoever asked learns that the scheduler is gone.
#[derive(Debug)]
pub struct Reply<T> {
    to: oneshot::Sender<Result<T, RequestError>>,
    audit: Option<Audit>,
}

impl<T> Reply<T> {
    /// For a request of this task, and where it is answered.
    pub fn new() -> (Self, oneshot::Receiver<Result<T, RequestError>>) {
        let (to, answer) = oneshot::channel();
        (Self { to, audit: Audit::current() }, answer)
    }

    /// For a request that only asks what would change.
    pub fn without_entry(self) -> Self {
        Self { audit: None, ..self }
    }

    /// What the audit log says of the request, to be committed with what it changes. It is carried out.
    pub fn entry(&self) -> Option<EventNew> {
        self.audit.as_ref()?.take()
    }

    /// What it says of a request that makes a run.
    pub fn entry_of_run(&self, run_id: &str) -> Option<EventNew> {
        let audit = self.audit.as_ref()?;
        audit.run(run_id);
        audit.take()
    }

    pub fn send(self, answer: Result<T, RequestError>) {
        // Whoever asked may have gone; what was done stays done.
        let _ = self.to.send(answer);
    }
}
