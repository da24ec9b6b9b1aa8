//! What somebody waits for, who asks over HTTP, has a deadline: nobody waits for a minute, and a list that the database would look for
//! that long would take a connection from everybody. It has connections of its own, so that the scheduler does not wait for lists.

use std::time::Duration;

/// How long a statement may take that reads for a request: less than a request may, so that it says what was too slow.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 20 });

tokio::task_local! {
    static ASKED: ();
}

/// Carries out what a request asks for: each statement that it reads by ends after 20 seconds, with
/// [`StoreError::TooSlow`](super::StoreError::TooSlow). Tasks that it spawns read without an end.
pub async fn asked<F: Future>(work: F) -> F::Output {
    ASKED.scope((), work).await
}

/// The connections that read.
#[derive(Debug)]
pub(super) struct Readers<P> {
    /// For what the process does by itself, which takes as long as it takes.
    pub own: P,
    /// For requests: their statements end after [`READ_LIMIT`].
    pub asked: P,
}

impl<P> Readers<P> {
    pub fn map<Q>(self, change: impl Fn(P) -> Q) -> Readers<Q> {
        Readers { own: change(self.own), asked: change(self.asked) }
    }

    /// Those by which this task reads.
    pub fn for_this_task(&self) -> &P {
        if ASKED.try_with(|()| ()).is_ok() { &self.asked } else { &self.own }
    }
}
