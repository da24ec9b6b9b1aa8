//! The audit log's side of a request: what it changes is written before it is answered.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::{Auth, CurrentUser};
pub use crate::store::Audit;
use crate::store::{EventNew, StoreError};

/// Entries that wait while the database can't be written; what comes then is lost.
const MAX_WAITING: usize = 10_000;

/// Entries that wait to be written, so that requests at the same time share a commit.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// How many were written up to now; who holds it writes.
    written: tokio::sync::Mutex<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: Vec<EventNew>,
    /// How many came up to now.
    came: u64,
}

impl Auth {
    /// Writes an entry. It is durable when this returns; entries of the same moment share a commit.
    ///
    /// # Errors
    /// If the store fails. The entry is kept then, and written with the next.
    pub async fn record(&self, event: EventNew) -> Result<(), StoreError> {
        let outbox = &self.inner.audit;
        let lock = || outbox.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let number = {
            let mut waiting = lock();
            waiting.events.push(event);
            waiting.came += 1;
            waiting.came
        };
        let mut written = outbox.written.lock().await;
        if *written >= number {
            return Ok(());
        }
        let (events, came) = {
            let mut waiting = lock();
            (std::mem::take(&mut waiting.events), waiting.came)
        };
        match self.inner.store.event_append(&events).await {
            Ok(()) => {
                *written = came;
                Ok(())
            }
            Err(error) => {
                let mut waiting = lock();
                waiting.events.splice(0..0, events);
                if waiting.events.len() > MAX_WAITING {
                    let lost = waiting.events.len() - MAX_WAITING;
                    tracing::error!(lost, "the audit log could not be written for too long; entries are lost");
                    waiting.events.truncate(MAX_WAITING);
                }
                Err(error)
            }
        }
    }

    /// Writes that something was refused, unless there was too much of it of late.
    pub async fn record_denial(&self, event: EventNew) {
        let who = event.username.clone().or_else(|| event.peer.clone()).unwrap_or_default();
        let event = EventNew { is_denied: true, at: self.inner.clock.now(), ..event };
        tracing::warn!(
            event = event.event,
            username = event.username,
            peer = event.peer,
            route = event.route,
            "refused"
        );
        // Of each kind: who is refused much can't hide that somebody guesses the password.
        let kind = format!("{} {who}", event.event);
        let is_written = self.inner.denials.lock().unwrap_or_else(PoisonError::into_inner).take(&kind, event.at);
        if is_written && let Err(error) = self.record(event).await {
            tracing::error!(error = %error, "a refusal could not be written to the audit log");
        }
    }

    /// An entry of what `user` does now.
    pub fn event(&self, event: &str, user: Option<&CurrentUser>, peer: Option<IpAddr>, route: String) -> EventNew {
        EventNew {
            at: self.inner.clock.now(),
            event: event.to_owned(),
            username: user.map(|user| user.username.clone()),
            token: user.and_then(|user| user.token.clone()),
            peer: peer.map(|peer| peer.to_string()),
            route,
            ..EventNew::default()
        }
    }
}
