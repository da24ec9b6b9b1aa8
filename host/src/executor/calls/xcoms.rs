//! `xcom` of `wit/task.wit`.

use std::sync::Arc;

use super::{Memory, Shared, check_media_type, invalid, over, storage_failed};
use crate::{
    blobs,
    executor::{
        books::Attempt,
        effects::{INLINE_BYTES, Pushed},
        ledger::spend,
        values,
    },
    model::{
        ids::{TaskId, XComKey},
        limits::Resource,
        time::Timestamp,
    },
    store::{InstanceKey, XComBody},
    wire::{Call, CallError, Reply, RunValue, Value},
};

/// `pull-runs` answers at most this.
const MAX_RUN_VALUES: u32 = 10_000;
const MAX_RUN_BYTES: u64 = 16 << 20;

/// Keeps a pushed value if it is small and valid, without waiting for anything; otherwise gives the call back.
pub(super) fn push_small(shared: &Shared, attempt: &Attempt, request: Call) -> Result<Result<Reply, CallError>, Call> {
    let Call::XComPush { key, value } = request else { return Err(request) };
    if value.bytes.len() > INLINE_BYTES {
        return Err(Call::XComPush { key, value });
    }
    let key = match check(&key, &value) {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    let size = value.bytes.len();
    let mut value = Some(value);
    let kept = attempt.effects(|effects| match effects.admit_xcom(&key, size) {
        Ok(true) => {
            spend(attempt.ledger.as_ref(), Resource::Data, size, &format!("xcom `{key}` makes"))?;
            let Some(Value { media_type, bytes }) = value.take() else { return Ok(None) };
            let pushed = Pushed { media_type, size_bytes: size as u64, body: XComBody::Inline(bytes) };
            Ok(effects.push_xcom(key.clone(), pushed))
        }
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    });
    match (kept, value) {
        (None, _) => Ok(Err(over())),
        (Some(Err(error)), _) => Ok(Err(error)),
        (Some(Ok(None)), None) => Ok(Ok(Reply::Unit)),
        // It replaces a value in object storage, or must go there itself.
        (Some(Ok(Some(replaced))), None) => {
            shared.discard(vec![replaced]);
            Ok(Ok(Reply::Unit))
        }
        (Some(Ok(_)), Some(value)) => Err(Call::XComPush { key: key.to_string(), value }),
    }
}

fn check(key: &str, value: &Value) -> Result<XComKey, CallError> {
    let key = XComKey::new(key).map_err(invalid)?;
    check_media_type(&value.media_type)?;
    values::check_json(value).map_err(|why| CallError::Invalid(format!("xcom `{key}`: {why}")))?;
    Ok(key)
}

/// Keeps a pushed value in object storage.
pub(super) async fn push(shared: &Shared, attempt: &Attempt, key: &str, value: Value) -> Result<Reply, CallError> {
    let size = value.bytes.len();
    let key = key.to_owned();
    let (key, value) = values::off_the_loop(size, move || check(&key, &value).map(|key| (key, value))).await?;
    attempt.effects(|effects| effects.admit_xcom(&key, size)).ok_or_else(over)??;
    spend(attempt.ledger.as_ref(), Resource::Data, size, &format!("xcom `{key}` makes"))?;
    let blob = blobs::keys::xcom(&attempt.id().stem(), uuid::Uuid::now_v7());
    if let Err(error) = shared.blobs.put(&blob, value.bytes.into()).await {
        shared.discard(vec![blob]);
        return Err(storage_failed(&error));
    }
    let body = XComBody::Blob(blob.clone());
    let pushed = Pushed { media_type: value.media_type, size_bytes: size as u64, body };
    let kept = attempt.effects(|effects| {
        // Again: others may have been pushed meanwhile.
        effects.admit_xcom(&key, size)?;
        Ok(effects.push_xcom(key, pushed))
    });
    match kept {
        Some(Ok(replaced)) => {
            shared.discard(replaced.into_iter().collect());
            Ok(Reply::Unit)
        }
        refused => {
            shared.discard(vec![blob]);
            Err(refused.and_then(Result::err).unwrap_or_else(over))
        }
    }
}

pub(super) async fn pull(
    shared: &Shared,
    attempt: &Attempt,
    task_id: &str,
    map_index: Option<i32>,
    key: &str,
    memory: &mut Memory,
) -> Result<Reply, CallError> {
    let instance = instance_of(attempt, task_id, map_index)?;
    let key = XComKey::new(key).map_err(invalid)?;
    let own = if instance == attempt.id().instance {
        attempt.effects(|effects| effects.xcoms.get(&key).cloned()).ok_or_else(over)?
    } else {
        None
    };
    let (media_type, size_bytes, body) = if let Some(pushed) = own {
        (pushed.media_type, pushed.size_bytes, pushed.body)
    } else {
        let found = shared.store.xcom_get(&instance, &key).await.map_err(|error| storage_failed(&error))?;
        let found = found.ok_or_else(|| {
            CallError::NotFound(format!(
                "task `{}` (map_index {}) has no xcom `{key}` in this run",
                instance.task_id, instance.map_index
            ))
        })?;
        (found.row.media_type, u64::try_from(found.row.size_bytes).unwrap_or(0), found.body)
    };
    *memory = shared.outbound.reserve(size_bytes).await;
    let bytes = values::load(&shared.blobs, body).await.map_err(|error| storage_failed(&error))?;
    Ok(Reply::Value(Value { media_type, bytes }))
}

pub(super) async fn pull_runs(
    shared: &Shared,
    attempt: &Attempt,
    task_id: &str,
    key: &str,
    since: Timestamp,
    until: Timestamp,
    memory: &mut Memory,
) -> Result<Reply, CallError> {
    let task_id = TaskId::new(task_id).map_err(invalid)?;
    let key = XComKey::new(key).map_err(invalid)?;
    let dag_id = &attempt.assignment.run.dag_id;
    *memory = shared.outbound.reserve(MAX_RUN_BYTES).await;
    let found = shared
        .store
        .xcom_list_runs(dag_id, &task_id, &key, since, until, MAX_RUN_VALUES + 1)
        .await
        .map_err(|error| storage_failed(&error))?;
    let size: u64 = found.iter().map(|value| u64::try_from(value.row.size_bytes).unwrap_or(0)).sum();
    if found.len() > MAX_RUN_VALUES as usize || size > MAX_RUN_BYTES {
        return Err(CallError::TooLarge(format!(
            "xcom `{key}` of task `{task_id}` from {since} to {until} is more than {MAX_RUN_VALUES} values or \
             {MAX_RUN_BYTES} bytes; ask for a shorter span"
        )));
    }
    let mut values = Vec::with_capacity(found.len());
    for value in found {
        // Runs without a logical date are in no span.
        let Some(logical_date) = value.row.logical_date else { continue };
        let bytes = values::load(&shared.blobs, value.body).await.map_err(|error| storage_failed(&error))?;
        values.push(RunValue {
            run_id: value.row.run_id.to_string(),
            logical_date,
            map_index: value.row.instance.map_index,
            value: Value { media_type: value.row.media_type, bytes },
        });
    }
    Ok(Reply::RunValues(values))
}

/// The instance of the attempt's own run that a guest names.
pub(super) fn instance_of(attempt: &Attempt, task_id: &str, map_index: Option<i32>) -> Result<InstanceKey, CallError> {
    let task_id = TaskId::new(task_id).map_err(invalid)?;
    let dag = Arc::as_ref(&attempt.assignment.dag);
    if dag.index(&task_id).is_none() {
        return Err(CallError::NotFound(format!("dag `{}` has no task `{task_id}`", dag.dag_id)));
    }
    Ok(InstanceKey { dag_run: attempt.id().instance.dag_run, task_id, map_index: map_index.unwrap_or(-1) })
}
