//! The audit log's side of a request: what it changes is written before it is answered.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lru::LruCache;
use serde_json::Value;

use super::{Auth, CurrentUser};
use crate::{
    model::time::Timestamp,
    store::{EventNew, StoreError},
};

/// Entries that wait while the database can't be written; what comes then is lost.
const MAX_WAITING: usize = 10_000;
/// Bytes of `before` and `after` at most, each; what is longer is left out.
const MAX_VALUE_BYTES: usize = 16 << 10;
/// Refusals of one kind, of one user or address, that are written in a [`WINDOW`]; more are counted only in the server's log.
const DENIALS_OF_ONE: u32 = 20;
/// Refusals that are written in a [`WINDOW`] altogether.
const DENIALS: u32 = 200;
const WINDOW: Duration = Duration::from_mins(1);
/// Users and addresses whose refusals are counted.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_000).expect("it is not zero");

/// The entry that a request will make. A handler tells it what changed; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    event: Arc<Mutex<Option<EventNew>>>,
    has_begun: Arc<AtomicBool>,
}

impl Audit {
    pub fn new(event: EventNew) -> Self {
        Self { event: Arc::new(Mutex::new(Some(event))), has_begun: Arc::default() }
    }

    fn edit(&self, edit: impl FnOnce(&mut EventNew)) {
        if let Some(event) = self.event.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            edit(event);
        }
    }

    /// What `object` was and what it is now; null is nothing. Secrets must not be in it.
    pub fn change(&self, object: &str, before: &Value, after: &Value) {
        let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
        let short = |value: &Value| text(value).filter(|text| text.len() <= MAX_VALUE_BYTES);
        self.edit(|event| {
            event.object = Some(object.to_owned());
            (event.before, event.after) = (short(before), short(after));
        });
    }

    /// The run that was made.
    pub fn run(&self, run_id: &str) {
        self.edit(|event| event.run_id = Some(run_id.to_owned()));
    }

    /// Something is changed already: there is an entry even if the rest fails.
    pub fn begun(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// The request only asked what would change.
    pub fn nothing(&self) {
        self.take();
    }

    /// The entry, to be written now; then there is none any more.
    pub fn take(&self) -> Option<EventNew> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How many refusals were written of late.
#[derive(Debug)]
pub(super) struct Denials {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    since: Timestamp,
    written: u32,
    by: LruCache<String, u32>,
}

impl Default for Denials {
    fn default() -> Self {
        let seen = Seen { since: Timestamp::default(), written: 0, by: LruCache::new(REMEMBERED) };
        Self { seen: Mutex::new(seen) }
    }
}

impl Denials {
    /// Whether one more refusal of `who` is to be written.
    fn take(&self, who: String, now: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(seen.since) >= WINDOW {
            seen.since = now;
            seen.written = 0;
            seen.by.clear();
        }
        let of_one = seen.by.get_or_insert_mut(who, || 0);
        *of_one = of_one.saturating_add(1);
        let is_written = *of_one <= DENIALS_OF_ONE && seen.written < DENIALS;
        if is_written {
            seen.written += 1;
        }
        is_written
    }
}

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
        if self.inner.denials.take(format!("{} {who}", event.event), event.at)
            && let Err(error) = self.record(event).await
        {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_written_up_to_a_bound() {
        let denials = Denials::default();
        let start = Timestamp::from_micros(1_000_000_000);
        let written = (0..100).filter(|_| denials.take("eve".into(), start)).count();
        assert_eq!(written, 20);
        let of_many = (0..10_000).filter(|nth| denials.take(format!("user{nth}"), start)).count();
        assert_eq!(of_many, 180);
        assert!(denials.take("eve".into(), start.after(WINDOW)));
    }
}
