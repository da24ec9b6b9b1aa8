//! The audit log's entry of a request goes with what the request changes, in one transaction.
//!
//! It travels with the task that carries the request out, so that no function on the way has to hand it on: the first
//! transaction after it was said what changes takes it along. What is left is for whoever made it to write.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use super::EventNew;

/// Bytes of `before` and `after` at most, each; what is longer is left out.
const MAX_VALUE_BYTES: usize = 16 << 10;

tokio::task_local! {
    static CURRENT: Audit;
}

/// The entry that a request will make. A handler tells it what changes, before it changes it; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    event: Arc<Mutex<Option<EventNew>>>,
    /// It says all that it will say.
    is_told: Arc<AtomicBool>,
    has_begun: Arc<AtomicBool>,
}

impl Audit {
    pub fn new(event: EventNew) -> Self {
        Self { event: Arc::new(Mutex::new(Some(event))), ..Self::default() }
    }

    /// An entry of its own for one of several changes that the request makes. It says by whom and how, not yet what.
    #[must_use]
    pub fn part(&self) -> Self {
        let event = self.event.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { event: Arc::new(Mutex::new(event)), ..Self::default() }
    }

    /// Carries `work` out as what the entry is about.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// That of the request that this task carries out.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// That which a transaction of this task takes along.
    pub(super) fn due() -> Option<(Self, EventNew)> {
        let audit = Self::current().filter(|audit| audit.is_told.load(Ordering::Relaxed))?;
        let event = audit.event.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        Some((audit, event))
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
        self.is_told.store(true, Ordering::Relaxed);
    }

    /// [`change`](Self::change) of the request that this task carries out; of none if it is not one.
    pub fn tell(object: &str, before: &Value, after: &Value) {
        if let Some(audit) = Self::current() {
            audit.change(object, before, after);
        }
    }

    /// The request that this task carries out says no more than it is: the next transaction takes its entry along.
    pub fn settle() {
        if let Some(audit) = Self::current() {
            audit.is_told.store(true, Ordering::Relaxed);
        }
    }

    /// The run that is made.
    pub fn run(&self, run_id: &str) {
        self.edit(|event| event.run_id = Some(run_id.to_owned()));
    }

    /// What it is about, where the path of the request does not say it.
    pub fn about(&self, dag_id: &str, run_id: Option<&str>, task: Option<(&str, Option<i32>)>) {
        self.edit(|event| {
            (event.dag_id, event.run_id) = (Some(dag_id.to_owned()), run_id.map(str::to_owned));
            (event.task_id, event.map_index) = task.map_or((None, None), |(id, index)| (Some(id.to_owned()), index));
        });
    }

    /// [`about`](Self::about) a dag, of the request that this task carries out; of none if it is not one.
    pub fn about_dag(dag_id: &str) {
        if let Some(audit) = Self::current() {
            audit.about(dag_id, None, None);
        }
    }

    /// What is done, where it is not what the route says.
    pub fn rename(&self, word: &str) {
        self.edit(|event| word.clone_into(&mut event.event));
    }

    /// Something is changed already: there is an entry even if the rest fails.
    pub fn begun(&self) {
        self.has_begun.store(true, Ordering::Relaxed);
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// The request only asks what would change.
    pub fn nothing(&self) {
        self.take();
    }

    /// The entry, to be written now; then there is none any more.
    pub fn take(&self) -> Option<EventNew> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
