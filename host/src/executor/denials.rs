//! What tasks were refused, in the audit log.

use std::sync::{Mutex, PoisonError};

use super::{Shared, books::Attempt};
use crate::{
    model::{denials, time::Clock},
    store::EventNew,
};

/// How the audit log calls it when a task reaches for what it is not granted.
const EVENT: &str = "grant.use";
/// What stands where other entries name a route.
const ROUTE: &str = "host call";
/// Of the reason, in characters.
const MAX_WHY_CHARS: usize = 500;

/// Bounds the entries of all attempts.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<denials::Denials>);

/// Writes that the attempt was refused something, unless there was too much of it of late. Does not wait: the refusal itself is
/// in the attempt's log.
pub(super) fn write(shared: &Shared, attempt: &Attempt, why: &str) {
    let (run, instance) = (&attempt.assignment.run, &attempt.id().instance);
    let now = Clock.now();
    let mut denials = shared.denials.0.lock().unwrap_or_else(PoisonError::into_inner);
    if !denials.take(run.dag_id.as_str(), now) {
        return;
    }
    drop(denials);
    let masked = attempt.effects(|effects| effects.masker().mask(why).into_owned());
    let event = EventNew {
        at: now,
        event: EVENT.to_owned(),
        is_denied: true,
        route: ROUTE.to_owned(),
        dag_id: Some(run.dag_id.to_string()),
        run_id: Some(run.run_id.to_string()),
        task_id: Some(instance.task_id.to_string()),
        map_index: Some(instance.map_index),
        object: Some(masked.as_deref().unwrap_or(why).chars().take(MAX_WHY_CHARS).collect()),
        ..EventNew::default()
    };
    let store = shared.store.clone();
    shared.tasks.spawn(async move {
        if let Err(error) = store.event_append(&[event]).await {
            tracing::error!(error = %error, "a refusal could not be written to the audit log");
        }
    });
}
