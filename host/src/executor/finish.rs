//! Ends attempts: what a runner, a kill or a fault says becomes one event for the scheduler.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    Shared,
    attempt::{AttemptResult, Completion, ExecutorEvent},
    books::{Attempt, Phase},
    cached::{self, Place, Taken},
    denials,
    effects::{Effects, INLINE_BYTES, Pushed},
    egress::shorten,
    ledger::spend,
    recording::Recording,
    values,
};
use crate::{
    blobs,
    model::{
        ids::{TaskId, XComKey},
        limits::Resource,
        time::Clock,
        wait::Wait,
    },
    secrets::Masker,
    store::{ArtifactRow, RecordingRow, XComBody, XComNew},
    wire::{AttemptEnd, AttemptKey, CallError, Level, Usage, Value},
};

/// Starts that may come to nothing before the attempt fails.
const MAX_NOT_RUN: u32 = 3;
/// Frames of a trap's backtrace that are logged.
const MAX_BACKTRACE: usize = 64;
/// A message is for a table's cell; the log has more of it.
const MAX_MESSAGE_CHARS: usize = 2_000;
/// What is looked at of a message, or of a frame of a backtrace: more than a line of the log shows.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// Waits between tries to use a storage or database that is down.
pub(super) const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// A runner says that an attempt is over.
pub(super) fn done(
    shared: &Arc<Shared>,
    attempt: &Arc<Attempt>,
    end: AttemptEnd,
    usage: Usage,
    memory: Option<OwnedSemaphorePermit>,
) {
    if let AttemptEnd::NotRun(why) = &end
        && start_again(shared, attempt, why)
    {
        return;
    }
    let Some(attempt) = shared.books.close(attempt.key) else { return };
    if let Some(recorder) = &attempt.recorder {
        recorder.ended(&end);
    }
    let end = cached::only_results(&attempt, shortened(end));
    if usage.log_bytes_dropped > 0 {
        let text = format!("{} bytes of log above the limit were dropped", usage.log_bytes_dropped);
        shared.logs.tell(&attempt, Level::Warn, &text);
    }
    let effects = close(&attempt);
    let conclusion = match end {
        AttemptEnd::Success(value) => return succeed(shared, attempt, effects, value, memory),
        AttemptEnd::Branch(ids) => match branch(&attempt, &ids) {
            Ok(ids) => return commit(shared, &attempt, effects, AttemptResult::Branch(ids), None),
            Err(why) => Conclusion::failed(why, false),
        },
        AttemptEnd::ShortCircuit { all } => {
            return commit(shared, &attempt, effects, AttemptResult::ShortCircuit { all }, None);
        }
        AttemptEnd::Wait(wait, until) => match may_wait(shared, &attempt, &wait) {
            Ok(()) => Conclusion::of(AttemptEnd::Wait(wait, until), attempt.node().task_id.as_str()),
            Err(why) => Conclusion::failed(why, false),
        },
        AttemptEnd::Killed => ended_from_outside(&attempt, None),
        AttemptEnd::Skipped(_)
        | AttemptEnd::Later(_)
        | AttemptEnd::Retryable(_)
        | AttemptEnd::Fatal(_)
        | AttemptEnd::Trapped { .. }
        | AttemptEnd::TimedOut { .. }
        | AttemptEnd::NotRun(_) => Conclusion::of(end, attempt.node().task_id.as_str()),
    };
    conclude(shared, &attempt, effects, conclusion);
}

/// An end without what nobody would read of its texts.
fn shortened(mut end: AttemptEnd) -> AttemptEnd {
    let cut = |text: &mut String| text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    match &mut end {
        AttemptEnd::Skipped(Some(text))
        | AttemptEnd::Retryable(text)
        | AttemptEnd::Fatal(text)
        | AttemptEnd::NotRun(text) => cut(text),
        AttemptEnd::Trapped { message, backtrace } => {
            cut(message);
            backtrace.truncate(MAX_BACKTRACE);
            backtrace.iter_mut().for_each(cut);
        }
        _ => {}
    }
    end
}

/// An attempt was never sent and never will be.
pub(super) fn not_started(shared: &Arc<Shared>, key: AttemptKey, retry: bool, message: String) {
    if let Some(attempt) = shared.books.close(key) {
        let effects = close(&attempt);
        conclude(shared, &attempt, effects, Conclusion::failed(message, retry));
    }
}

/// An attempt needs not run: there is a result that it takes.
pub(super) fn taken(shared: &Arc<Shared>, key: AttemptKey, taken: Taken) {
    let Taken { row, effects, result, list_length } = taken;
    let Some(attempt) = shared.books.close(key) else { return shared.discard(effects.blobs()) };
    close(&attempt);
    if let Some(result) = result.filter(|_| !attempt.node().downstream.is_empty()) {
        shared.results.put(attempt.id().instance.clone(), result);
    }
    attempt.state().cached = Some(Box::new(Place { key: row.key, taken: Some(row) }));
    commit(shared, &attempt, Some(effects), AttemptResult::Success, list_length);
}

/// The runner of an attempt is gone; why, if that is known.
pub(super) fn lost(shared: &Arc<Shared>, key: AttemptKey, why: Option<&str>) {
    if let Some(attempt) = shared.books.close(key) {
        let effects = close(&attempt);
        let conclusion = ended_from_outside(&attempt, why);
        conclude(shared, &attempt, effects, conclusion);
    }
}

/// An attempt that waits is ended as was asked for.
pub(super) fn killed(shared: &Arc<Shared>, key: AttemptKey) {
    lost(shared, key, None);
}

/// How an attempt ended that did not succeed.
struct Conclusion {
    result: AttemptResult,
    message: Option<String>,
    backtrace: Vec<String>,
}

impl Conclusion {
    /// That of an end that says all by itself.
    fn of(end: AttemptEnd, task_id: &str) -> Self {
        match end {
            AttemptEnd::Skipped(why) => Self { result: AttemptResult::Skipped, message: why, backtrace: Vec::new() },
            AttemptEnd::Retryable(why) => Self::failed(why, true),
            AttemptEnd::Fatal(why) => Self::failed(why, false),
            AttemptEnd::Trapped { message, backtrace } => Self { backtrace, ..Self::failed(message, true) },
            AttemptEnd::TimedOut { limit_ms } => {
                Self::failed(format!("task `{task_id}` ran longer than its limit of {limit_ms} ms"), true)
            }
            AttemptEnd::NotRun(why) => Self::failed(format!("no runner could run it: {why}"), true),
            AttemptEnd::Killed => {
                let message = Some("it was ended from outside".to_owned());
                Self { result: AttemptResult::Killed, message, backtrace: Vec::new() }
            }
            AttemptEnd::Wait(wait, until) => {
                let message = Some(wait.to_string());
                Self { result: AttemptResult::Wait(wait, until), message, backtrace: Vec::new() }
            }
            AttemptEnd::Later(at) => Self { result: AttemptResult::Later(at), message: None, backtrace: Vec::new() },
            AttemptEnd::Success(_) | AttemptEnd::Branch(_) | AttemptEnd::ShortCircuit { .. } => {
                Self { result: AttemptResult::Success, message: None, backtrace: Vec::new() }
            }
        }
    }

    /// Its lines in the log: how severe they are, the first, and the backtrace below it.
    fn lines(&self) -> Option<(Level, &str, impl Iterator<Item = String>)> {
        let level = match &self.result {
            AttemptResult::Success
            | AttemptResult::Branch(_)
            | AttemptResult::ShortCircuit { .. }
            | AttemptResult::Later(_) => return None,
            AttemptResult::Skipped | AttemptResult::Wait(..) => Level::Info,
            AttemptResult::Failed { .. } => Level::Error,
            AttemptResult::Lost | AttemptResult::Killed => Level::Warn,
        };
        let frames = self.backtrace.iter().take(MAX_BACKTRACE).enumerate();
        Some((level, self.message.as_deref()?, frames.map(|(depth, frame)| format!("  {depth}: {frame}"))))
    }

    fn failed(message: String, retry: bool) -> Self {
        Self { result: AttemptResult::Failed { retry }, message: Some(message), backtrace: Vec::new() }
    }
}

/// What the log of an attempt says about its end: how severe that is, and the lines.
pub(super) fn last_words(end: AttemptEnd, task_id: &str) -> Option<(Level, Vec<String>)> {
    let conclusion = Conclusion::of(end, task_id);
    let (level, first, others) = conclusion.lines()?;
    Some((level, std::iter::once(first.to_owned()).chain(others).collect()))
}

fn ended_from_outside(attempt: &Attempt, why: Option<&str>) -> Conclusion {
    if let Some(over) = attempt.state().over_limit.take() {
        return Conclusion::failed(format!("its dag used {over}"), true);
    }
    let (result, message) = if attempt.state().killed.is_some() {
        (AttemptResult::Killed, "it was ended from outside")
    } else {
        (AttemptResult::Lost, why.unwrap_or("its runner process is gone"))
    };
    Conclusion { result, message: Some(message.to_owned()), backtrace: Vec::new() }
}

/// Whether the attempt is started once more, because what happened says nothing about it.
fn start_again(shared: &Arc<Shared>, attempt: &Arc<Attempt>, why: &str) -> bool {
    {
        let mut state = attempt.state();
        state.not_run += 1;
        if state.not_run > MAX_NOT_RUN || state.killed.is_some() {
            return false;
        }
        state.phase = Phase::Waiting;
    }
    tracing::warn!(attempt = ?attempt.id(), why = shorten(why), "an attempt was not run; starting it again");
    shared.prepare(attempt);
    true
}

fn close(attempt: &Attempt) -> Option<Box<Effects>> {
    let effects = attempt.close();
    if let Some(effects) = &effects {
        effects.over.cancel();
    }
    effects
}

/// Whether the attempt may wait for this: as it may look at it.
fn may_wait(shared: &Shared, attempt: &Attempt, wait: &Wait) -> Result<(), String> {
    let refused = match wait {
        Wait::Asset { asset, .. } => super::calls::check_asset(attempt, asset),
        Wait::Approval(question) => return super::calls::check_question(question),
        Wait::Run(wait) => super::calls::check_wait(attempt, wait),
    };
    refused.map_err(|error| {
        if let CallError::Denied(why) = &error {
            denials::write(shared, attempt, why);
        }
        super::calls::text(&error).to_owned()
    })
}

/// The tasks that a branch goes on with.
fn branch(attempt: &Attempt, ids: &[String]) -> Result<Vec<TaskId>, String> {
    let dag = &attempt.assignment.dag;
    let node = attempt.node();
    let unique: BTreeSet<&String> = ids.iter().collect();
    let follow = |id: &String| {
        let task_id = TaskId::new(id).map_err(|error| error.to_string())?;
        // A group stands for the tasks that come first in it. Airflow takes what is downstream further on, too.
        let roots = dag.index(&task_id).map(|index| vec![index]).or_else(|| dag.group_roots(&task_id));
        let below = dag.descendants([attempt.assignment.node]);
        if roots.is_some_and(|roots| roots.iter().any(|root| below.contains(root))) {
            return Ok(task_id);
        }
        Err(format!("task `{}` branched to `{task_id}`, which is not downstream of it", node.task_id))
    };
    unique.into_iter().map(follow).collect()
}

fn succeed(
    shared: &Arc<Shared>,
    attempt: Arc<Attempt>,
    effects: Option<Box<Effects>>,
    value: Option<Value>,
    memory: Option<OwnedSemaphorePermit>,
) {
    let Some(value) = value else {
        if !attempt.node().downstream.is_empty()
            && !effects.as_ref().is_some_and(|effects| effects.xcoms.contains_key(&XComKey::return_value()))
        {
            shared.results.put(attempt.id().instance.clone(), None);
        }
        return commit(shared, &attempt, effects, AttemptResult::Success, None);
    };
    let effects = effects.unwrap_or_default();
    let size = value.bytes.len();
    let admitted = effects.admit_xcom(&XComKey::return_value(), size);
    match admitted.and_then(|inline| spend(attempt.ledger.as_ref(), Resource::Data, size, "it makes").map(|()| inline))
    {
        Err(error) => {
            let why = format!("its result can't be kept: {}", super::calls::text(&error));
            conclude(shared, &attempt, Some(effects), Conclusion::failed(why, false));
        }
        Ok(true) => match check_result(&value) {
            Ok(()) => keep_result(shared, &attempt, effects, value, None),
            Err(why) => conclude(shared, &attempt, Some(effects), Conclusion::failed(why, false)),
        },
        Ok(false) => {
            let shared = Arc::clone(shared);
            shared.tasks.clone().spawn(async move {
                let _memory = memory;
                store_result(&shared, &attempt, effects, value).await;
            });
        }
    }
}

fn check_result(value: &Value) -> Result<(), String> {
    super::calls::check_media_type(&value.media_type).map_err(|error| super::calls::text(&error).to_owned())?;
    values::check_json(value).map_err(|why| format!("the result can't be used: {why}"))
}

/// Puts a large result into object storage.
async fn store_result(shared: &Arc<Shared>, attempt: &Arc<Attempt>, effects: Box<Effects>, value: Value) {
    let size = value.bytes.len();
    let checked = values::off_the_loop(size, move || Ok(check_result(&value).map(|()| value)))
        .await
        .unwrap_or_else(|error| Err(super::calls::text(&error).to_owned()));
    let value = match checked {
        Ok(value) => value,
        Err(why) => return conclude(shared, attempt, Some(effects), Conclusion::failed(why, false)),
    };
    let blob = blobs::keys::xcom(&attempt.id().stem(), uuid::Uuid::now_v7());
    let bytes = bytes::Bytes::from(value.bytes);
    let mut delays = RETRY_DELAYS.iter();
    while let Err(error) = shared.blobs.put(&blob, bytes.clone()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a result can't be stored");
        let Some(delay) = delays.next() else {
            // It may be there: what is not known is whether it is.
            shared.discard(vec![blob]);
            let why = "its result could not be stored: object storage can't be used just now";
            return conclude(shared, attempt, Some(effects), Conclusion::failed(why.to_owned(), true));
        };
        tokio::time::sleep(*delay).await;
    }
    let value = Value { media_type: value.media_type, bytes: bytes.into() };
    keep_result(shared, attempt, effects, value, Some(blob));
}

/// Makes a value the result; `blob` is where it is stored, if it is.
fn keep_result(
    shared: &Arc<Shared>,
    attempt: &Arc<Attempt>,
    mut effects: Box<Effects>,
    value: Value,
    blob: Option<String>,
) {
    let node = attempt.node();
    let list_length = if is_mapped_over(attempt) { values::list_length(&value) } else { None };
    let size_bytes = value.bytes.len() as u64;
    debug_assert!(blob.is_some() || value.bytes.len() <= INLINE_BYTES, "large values are stored");
    let media_type = value.media_type.clone();
    let body = match blob {
        Some(blob) => XComBody::Blob(blob),
        None => XComBody::Inline(value.bytes.clone()),
    };
    if !node.downstream.is_empty() {
        shared.results.put(attempt.id().instance.clone(), Some(Arc::new(value)));
    }
    if let Some(replaced) = effects.push_xcom(XComKey::return_value(), Pushed { media_type, size_bytes, body }) {
        shared.discard(vec![replaced]);
    }
    commit(shared, attempt, Some(effects), AttemptResult::Success, list_length);
}

/// Whether a task or group has an instance for each element of the attempt's result.
fn is_mapped_over(attempt: &Attempt) -> bool {
    attempt.assignment.dag.expands.contains_key(&attempt.assignment.node)
}

/// Tells of a success and what it leaves behind.
fn commit(
    shared: &Arc<Shared>,
    attempt: &Arc<Attempt>,
    effects: Option<Box<Effects>>,
    result: AttemptResult,
    list_length: Option<u32>,
) {
    let ended_at = Clock.now();
    let id = attempt.id();
    let (mut xcoms, mut artifacts) = (Vec::new(), Vec::new());
    let (mut asset_extras, mut added) = (BTreeMap::new(), Vec::new());
    let hidden = recording_masker(attempt, effects.as_deref());
    let label = label(effects.as_deref());
    if let Some(effects) = effects {
        let Effects { xcoms: pushed, artifacts: finished, asset_extras: extras, added: assets, .. } = *effects;
        asset_extras = extras;
        added = assets.into_values().collect();
        xcoms.extend(pushed.into_iter().map(|(key, pushed)| XComNew {
            instance: id.instance.clone(),
            key,
            media_type: pushed.media_type,
            size_bytes: i64::try_from(pushed.size_bytes).unwrap_or(i64::MAX),
            body: pushed.body,
        }));
        artifacts.extend(finished.into_iter().map(|(name, finished)| ArtifactRow {
            instance: id.instance.clone(),
            try_number: id.try_number,
            name,
            media_type: finished.media_type,
            size_bytes: i64::try_from(finished.size_bytes).unwrap_or(i64::MAX),
            sha256: finished.sha256,
            blob: finished.blob,
            created_at: ended_at,
        }));
    }
    let place = attempt.state().cached.take().filter(|_| result == AttemptResult::Success);
    let message = place.as_ref().and_then(|place| place.message());
    if let Some(message) = &message {
        shared.logs.tell_masked(attempt, Level::Info, message);
    }
    deliver(
        shared,
        attempt,
        hidden,
        Completion {
            id: id.clone(),
            result,
            message,
            xcoms,
            artifacts,
            recording: None,
            cached: place.and_then(|place| place.row(attempt, &asset_extras, ended_at)),
            asset_extras,
            added,
            label,
            retry_delay: None,
            list_length,
            hostname: attempt.host(),
            started_at: attempt.started_at,
            ended_at,
        },
    );
}

/// Tells of an end that leaves nothing behind but the log.
fn conclude(shared: &Arc<Shared>, attempt: &Arc<Attempt>, effects: Option<Box<Effects>>, conclusion: Conclusion) {
    let masked = |text: &str| match &effects {
        Some(effects) => effects.masker().mask(text).into_owned(),
        None => text.to_owned(),
    };
    if let Some((level, first, others)) = conclusion.lines() {
        for line in std::iter::once(first.to_owned()).chain(others) {
            shared.logs.tell_masked(attempt, level, &masked(&line));
        }
    }
    let message = conclusion.message.as_deref().map(masked);
    let hidden = recording_masker(attempt, effects.as_deref());
    let label = label(effects.as_deref());
    let retry_delay = effects.as_ref().and_then(|effects| effects.retry_delay);
    if let Some(effects) = effects {
        shared.discard(effects.blobs());
    }
    deliver(
        shared,
        attempt,
        hidden,
        Completion {
            message: message.map(|message| message.chars().take(MAX_MESSAGE_CHARS).collect()),
            label,
            retry_delay,
            hostname: attempt.host(),
            ..Completion::new(attempt.id().clone(), conclusion.result, attempt.started_at, Clock.now())
        },
    );
}

/// What the attempt called its instance; secrets are hidden.
fn label(effects: Option<&Effects>) -> Option<String> {
    let effects = effects?;
    effects.label.as_ref().map(|label| effects.masker().mask(label).into_owned())
}

/// What a recording of the attempt must not hold; none if there is none.
fn recording_masker(attempt: &Attempt, effects: Option<&Effects>) -> Option<Masker> {
    attempt.recorder.as_ref()?;
    Some(effects.map_or_else(|| Masker::new([]), Effects::recording_masker))
}

/// Sends an attempt's event, once its recording is stored if it is to be kept.
fn deliver(shared: &Arc<Shared>, attempt: &Arc<Attempt>, masker: Option<Masker>, completion: Completion) {
    let failed = matches!(completion.result, AttemptResult::Failed { .. });
    if completion.result == AttemptResult::Success {
        let took = completion.ended_at.since(completion.started_at);
        shared.durations.add(&attempt.assignment.run.dag_id, &attempt.node().task_id, took);
    }
    let recorded = attempt.recorder.as_ref().zip(masker);
    match recorded.and_then(|(recorder, masker)| Some((recorder.finish(failed)?, masker))) {
        None => {}
        Some((Err(dropped), _)) => shared.logs.tell_masked(attempt, Level::Warn, &dropped.to_string()),
        Some((Ok(recording), masker)) => {
            let (shared, attempt) = (Arc::clone(shared), Arc::clone(attempt));
            shared.tasks.clone().spawn(async move {
                let recording = store_recording(&shared, &attempt, recording, masker).await;
                shared.logs.end(attempt.id());
                shared.tell(ExecutorEvent::Finished(Box::new(Completion { recording, ..completion })));
            });
            return;
        }
    }
    shared.logs.end(attempt.id());
    shared.tell(ExecutorEvent::Finished(Box::new(completion)));
}

/// Puts a recording into object storage. The attempt's end does not depend on it.
async fn store_recording(
    shared: &Shared,
    attempt: &Attempt,
    recording: Recording,
    masker: Masker,
) -> Option<RecordingRow> {
    let lost = |why: &str| shared.logs.tell_masked(attempt, Level::Warn, &format!("the recording {why}"));
    let bytes = match tokio::task::spawn_blocking(move || recording.into_bytes(&masker)).await {
        Ok(Ok(bytes)) => bytes::Bytes::from(bytes),
        Ok(Err(error)) => {
            lost(&format!("could not be written: {error}"));
            return None;
        }
        Err(error) => {
            tracing::error!(%error, "a recording could not be written");
            lost("could not be written; this is a bug of airlock");
            return None;
        }
    };
    let blob = blobs::keys::recording(&attempt.id().stem(), uuid::Uuid::now_v7());
    let mut delays = RETRY_DELAYS.iter();
    while let Err(error) = shared.blobs.put(&blob, bytes.clone()).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "a recording can't be stored");
        let Some(delay) = delays.next() else {
            lost("was dropped: object storage can't be used just now");
            shared.discard(vec![blob]);
            return None;
        };
        tokio::time::sleep(*delay).await;
    }
    let id = attempt.id();
    Some(RecordingRow {
        instance: id.instance.clone(),
        try_number: id.try_number,
        size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        created_at: Clock.now(),
        blob,
    })
}
