//! Long-lived tasks, and the word that one of them ended.
//!
//! Each of them goes round until the server ends. One that panics, or ends because what it listened to is gone, would
//! leave a server that answers and does only a part of its work. So it is told to whoever started the server, who ends
//! it: what looks after the server starts it again, and it goes on from what is committed.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use tokio::sync::SetOnce;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::AbortOnDropHandle,
};

/// Where it is told that a long-lived task ended. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Duties(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    first: SetOnce<DutyError>,
    may_end: CancellationToken,
}

/// A long-lived task ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DutyError {
    #[error("{0} ended by itself")]
    Ended(&'static str),
    #[error("{duty} panicked: {said}")]
    Panicked { duty: &'static str, said: String },
}

impl Duties {
    /// Does `duty`; its end is told unless the server ends. To drop it is no end.
    pub fn keep<F: Future<Output = ()>>(&self, name: &'static str, duty: F) -> impl Future<Output = ()> + use<F> {
        let shared = Arc::clone(&self.0);
        async move {
            let error = match AssertUnwindSafe(duty).catch_unwind().await {
                Ok(()) => DutyError::Ended(name),
                Err(panic) => DutyError::Panicked { duty: name, said: said(&*panic) },
            };
            shared.tell(error);
        }
    }

    /// As [`keep`](Self::keep), in a task of its own. Must be called within a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, duty: F) -> AbortOnDropHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        #[expect(clippy::disallowed_methods, reason = "it ends with the handle, or whoever detaches that waits for it")]
        let task = tokio::spawn(self.keep(name, duty));
        AbortOnDropHandle::new(task)
    }

    /// When the guard is dropped, the server ends: from then on it is no news that one of them does.
    #[must_use]
    pub fn until_dropped(&self) -> DropGuard {
        self.0.may_end.clone().drop_guard()
    }

    /// Waits until one of them has ended by itself.
    pub async fn one_ended(&self) -> DutyError {
        self.0.first.wait().await.clone()
    }

    /// # Errors
    /// The first of them that ended by itself.
    pub fn check(&self) -> Result<(), DutyError> {
        self.0.first.get().cloned().map_or(Ok(()), Err)
    }
}

impl Shared {
    fn tell(&self, error: DutyError) {
        let shown = &error as &dyn std::error::Error;
        if !self.may_end.is_cancelled() {
            tracing::error!(error = shown, "the server can't go on without one of its parts");
            // Others may end because the first did.
            let _ = self.first.set(error);
        } else if matches!(error, DutyError::Panicked { .. }) {
            // What it was about to write is missing, and nobody else says so.
            tracing::error!(error = shown, "a part of the server ended badly");
        }
    }
}

/// What whoever panicked said.
fn said(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "it does not say why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_that_ends_by_itself_is_told() {
        let duties = Duties::default();
        let goes_on = duties.spawn("one that goes on", std::future::pending());
        assert_eq!(duties.check(), Ok(()));
        let number = 7;
        let _panics = duties.spawn("one that panics", async move { assert_eq!(number, 0, "no {number}") });
        let error = duties.one_ended().await;
        let told = error.to_string();
        assert!(told.starts_with("one that panics panicked: ") && told.contains("no 7"), "{told}");
        duties.keep("another", async {}).await;
        assert_eq!(duties.check(), Err(error), "it was the first");
        drop(goes_on);
    }

    #[tokio::test]
    async fn one_that_only_ends_is_told_too() {
        let duties = Duties::default();
        duties.keep("the loop", async {}).await;
        assert_eq!(duties.check(), Err(DutyError::Ended("the loop")));
    }

    #[tokio::test]
    async fn that_they_end_with_the_server_is_no_news() {
        let duties = Duties::default();
        let serves = duties.until_dropped();
        drop(duties.spawn("one that is dropped", std::future::pending()));
        drop(serves);
        duties.keep("one that ends", async {}).await;
        duties.keep("one that panics", async { panic!("at the end") }).await;
        assert_eq!(duties.check(), Ok(()));
    }
}
