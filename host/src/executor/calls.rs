//! Answers what guests ask of the host: within the grants of the attempt that asks, as the books have it.

mod approvals;
mod artifacts;
mod assets;
mod dags;
mod http;
mod labels;
mod objects;
pub(super) mod settings;
mod sql;
mod streams;
mod traffic;
mod xcoms;

use std::{sync::Arc, time::Duration};

pub(super) use {
    approvals::check as check_question,
    assets::{by_asset as triggering_events, check as check_asset},
    dags::{check as check_wait, previous_success},
    settings::{connection_facts, hidden_in, secret_in, variable_text},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{Shared, books::Attempt, ledger::spend, outbox::Outbox};
use crate::{
    databases::Statement,
    model::{asset::Added, limits::Resource},
    wire::{Call, CallError, CallKey, Level, Reply},
};

/// How long one who begins to write waits until fewer artifacts and objects are being written.
const SLOT_TIMEOUT: Duration = Duration::from_mins(1);

/// Takes in a call of `attempt` and sees to it that it is answered. Does not wait.
/// `taken` is the memory that the request takes.
pub(super) fn receive(
    shared: &Arc<Shared>,
    outbox: &Outbox,
    attempt: &Arc<Attempt>,
    call: CallKey,
    request: Call,
    taken: Memory,
) {
    if let Call::StreamDrop { stream } = request {
        attempt.effects(|effects| effects.streams.remove(&stream));
        return;
    }
    if let Some(recorder) = &attempt.recorder {
        recorder.asked(call, &request);
    }
    let counted = spend(attempt.ledger.as_ref(), Resource::HostCalls, 1, "this is");
    let Some(begun) = attempt.effects(|effects| counted.and_then(|()| effects.begin_call())) else { return };
    if let Err(error) = begun {
        let refused = Err(error);
        if let Some(recorder) = &attempt.recorder {
            recorder.answered(call, &refused);
        }
        return outbox.reply(attempt.key, call, refused, None);
    }
    // What needs no waiting is answered at once.
    let request = match xcoms::push_small(shared, attempt, request) {
        Ok(result) => return answer(shared, outbox, attempt, call, result, None),
        Err(request) => request,
    };
    let Some(over) = attempt.effects(|effects| effects.over.clone()) else { return };
    // Whether an object is there is known at the end: given up before, it would be left behind.
    let stores = matches!(request, Call::XComPush { .. } | Call::ArtifactFinish { .. });
    let over = if stores { shared.closing.clone() } else { over };
    let (shared, outbox, attempt) = (Arc::clone(shared), outbox.clone(), Arc::clone(attempt));
    shared.tasks.clone().spawn(async move {
        let _taken = taken;
        let mut memory = None;
        let work = async {
            shared.store.leads().await;
            match traffic::Use::by(&attempt, &request) {
                Some(used) => {
                    let work = serve(&shared, &attempt, request, &mut memory);
                    traffic::counted(&shared, &attempt, used, work).await
                }
                None => serve(&shared, &attempt, request, &mut memory).await,
            }
        };
        if let Some(result) = over.run_until_cancelled(work).await {
            answer(&shared, &outbox, &attempt, call, result, memory);
        }
    });
}

/// Memory that a large request or answer takes.
pub(super) type Memory = Option<tokio::sync::OwnedSemaphorePermit>;

async fn serve(
    shared: &Shared,
    attempt: &Arc<Attempt>,
    request: Call,
    memory: &mut Memory,
) -> Result<Reply, CallError> {
    match request {
        Call::XComPush { key, value } => xcoms::push(shared, attempt, &key, value).await,
        Call::XComPull { task_id, map_index, key } => {
            xcoms::pull(shared, attempt, &task_id, map_index, &key, memory).await
        }
        Call::XComPullRuns { task_id, key, since, until } => {
            xcoms::pull_runs(shared, attempt, &task_id, &key, since, until, memory).await
        }
        Call::VariableGet { key } => settings::variable(shared, attempt, &key).await,
        Call::ConnectionGet { id } => settings::connection(shared, attempt, &id).await,
        Call::ArtifactCreate { name, media_type } => artifacts::create(shared, attempt, name, media_type).await,
        Call::ArtifactWrite { stream, chunk } => streams::write(attempt, stream, chunk).await,
        Call::ArtifactFinish { stream } => streams::finish(shared, attempt, stream).await,
        Call::ArtifactOpen { task_id, map_index, name } => {
            artifacts::open(shared, attempt, &task_id, map_index, &name).await
        }
        Call::StreamRead { stream, max_bytes } => streams::read(shared, attempt, stream, max_bytes).await,
        Call::HttpRequest { method, uri, headers, body, timeout_ms } => {
            let request = super::egress::HttpRequest { method, uri, headers, body, timeout_ms };
            http::request(shared, attempt, request).await
        }
        Call::AssetSetExtra { asset, extra } => assets::set_extra(attempt, asset, extra),
        Call::AssetAdd { alias, name, uri, group, extra } => {
            assets::add(attempt, Added { alias, name, uri, group, extra })
        }
        Call::AssetTriggering => assets::triggering(shared, attempt).await,
        Call::AssetEvents { asset, limit } => assets::events(shared, attempt, &asset, limit).await,
        Call::ApprovalFind { subject } => approvals::find(shared, attempt, &subject).await,
        Call::LabelSet { label } => labels::set(attempt, &label),
        Call::RetryDelaySet { delay_ms } => {
            let delay = Duration::from_millis(delay_ms);
            attempt.effects(|effects| effects.retry_delay = Some(delay)).ok_or_else(over)?;
            Ok(Reply::Unit)
        }
        Call::DagLook(wait) => dags::look(shared, attempt, &wait).await,
        Call::DagTrigger(request) => dags::trigger(shared, attempt, request).await,
        Call::ObjectGet { connection, key } => Box::pin(objects::get(shared, attempt, &connection, &key)).await,
        Call::ObjectPut { connection, key, media_type } => {
            Box::pin(objects::put(shared, attempt, &connection, &key, &media_type)).await
        }
        Call::ObjectList { connection, prefix, after, limit } => {
            Box::pin(objects::list(shared, attempt, &connection, &prefix, after.as_deref(), limit)).await
        }
        Call::ObjectHead { connection, key } => Box::pin(objects::head(shared, attempt, &connection, &key)).await,
        Call::ObjectDelete { connection, key } => Box::pin(objects::delete(shared, attempt, &connection, &key)).await,
        // Boxed, for others would be as large.
        Call::SqlOpen { id } => Box::pin(sql::open(shared, attempt, &id)).await,
        Call::SqlQuery { session, statement, parameters } => {
            sql::query(attempt, session, Statement { text: statement, parameters }).await
        }
        Call::SqlExecute { session, statement, parameters } => {
            sql::execute(attempt, session, Statement { text: statement, parameters }).await
        }
        Call::SqlTransaction { session, act } => sql::transaction(attempt, session, act).await,
        Call::SqlNext { stream } => sql::next(attempt, stream).await,
        Call::StreamDrop { .. } => Ok(Reply::Unit),
    }
}

fn answer(
    shared: &Shared,
    outbox: &Outbox,
    attempt: &Attempt,
    call: CallKey,
    result: Result<Reply, CallError>,
    memory: Memory,
) {
    let wanted = attempt.effects(|effects| {
        effects.end_call();
        matches!(result, Err(CallError::Denied(_))) && effects.count_denied()
    });
    let Some(tell) = wanted else { return };
    if tell && let Err(CallError::Denied(why)) = &result {
        shared.logs.tell(attempt, Level::Warn, &format!("denied: {why}"));
        super::denials::write(shared, attempt, why);
    }
    if let Some(recorder) = &attempt.recorder {
        recorder.answered(call, &result);
    }
    outbox.reply(attempt.key, call, result, memory);
}

/// Leave to write something, of all attempts together.
async fn writer_slot(shared: &Shared) -> Result<OwnedSemaphorePermit, CallError> {
    match tokio::time::timeout(SLOT_TIMEOUT, Arc::clone(&shared.writers).acquire_owned()).await {
        Ok(Ok(slot)) => Ok(slot),
        _ => Err(CallError::Unavailable("too many artifacts and objects are being written just now".into())),
    }
}

/// What a guest is told when the database or object storage fails it.
fn storage_failed(error: &(dyn std::error::Error + 'static)) -> CallError {
    tracing::warn!(error, "a host call could not use storage");
    CallError::Unavailable("storage can't be used just now".into())
}

/// What an attempt is told that is over; nobody reads it.
fn over() -> CallError {
    CallError::Unavailable("the attempt is over".into())
}

fn invalid(error: impl std::fmt::Display) -> CallError {
    CallError::Invalid(error.to_string())
}

/// The words of an error, for a message.
pub(super) fn text(error: &CallError) -> &str {
    match error {
        CallError::Denied(text)
        | CallError::NotFound(text)
        | CallError::TooLarge(text)
        | CallError::Unavailable(text)
        | CallError::Invalid(text) => text,
    }
}

/// An RFC 9110 media type, roughly: it ends up in a header of a download.
pub(super) fn check_media_type(media_type: &str) -> Result<(), CallError> {
    let plain = media_type.len() <= 255
        && media_type.contains('/')
        && media_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain {
        return Ok(());
    }
    Err(CallError::Invalid(format!(
        "`{}` is not a media type; write it as `text/csv`, in at most 255 bytes",
        media_type.chars().take(80).collect::<String>()
    )))
}
