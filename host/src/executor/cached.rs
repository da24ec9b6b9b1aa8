//! Results that count for other instances, too: tasks with `cache`.
//!
//! A result is known by all that is declared to make it: component, entry, inputs and grants. Who finds one takes copies of
//! its objects, so that each run owns what it names and may be deleted on its own. Whatever goes wrong on the way is no reason to
//! fail: then the task runs.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};

use super::{
    Shared,
    books::Attempt,
    effects::{Effects, Finished, Pushed},
    results::TaskResult,
    values,
};
use crate::{
    blobs::{self, BlobError},
    model::{
        grants::Grants,
        ids::{AssetName, Digest, XComKey},
        time::{Clock, Timestamp},
    },
    store::{CachedResult, CachedResultRow, XComBody},
    wire::{AttemptEnd, Input, Level, Value},
};

/// Objects of one result that are copied at a time.
const COPIES: usize = 8;
/// What is hashed of an input at a time.
const HASH_BYTES: usize = 256 << 10;

/// What is known of an attempt's place among the cached results.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub key: Digest,
    /// What it took instead of running.
    pub taken: Option<CachedResultRow>,
}

/// A result that was found, copied, and nobody else's.
#[derive(Debug)]
pub(super) struct Taken {
    pub row: CachedResultRow,
    pub effects: Box<Effects>,
    /// What the instance returned, if that is in memory.
    pub result: Option<TaskResult>,
    pub list_length: Option<u32>,
}

/// Why a result that is there can't be taken.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Blobs(#[from] BlobError),
    #[error("object `{0}` is not in storage")]
    Gone(String),
}

/// A result that the attempt may take instead of running; none if it has to run. Remembers the attempt's key for its own
/// result.
pub(super) async fn find(shared: &Shared, attempt: &Attempt, inputs: &[Input]) -> Option<Taken> {
    let cache = attempt.node().cache?;
    let assignment = &attempt.assignment;
    let key = key(assignment.component, attempt.node().entry.as_str(), inputs, &assignment.grants).await;
    attempt.state().cached = Some(Box::new(Place { key, taken: None }));
    // Another try is made because somebody wants it to run.
    if assignment.id.try_number > 1 {
        return None;
    }
    let found = match shared.store.cached_result_find(&key, Clock.now().before(cache)).await {
        Ok(found) => found?,
        Err(error) => {
            let why = format!("the cache can't be read just now, so that it runs: {error}");
            shared.logs.tell(attempt, Level::Warn, &why);
            return None;
        }
    };
    let (dag_id, run_id) = (found.row.dag_id.clone(), found.row.run_id.clone());
    match take(shared, attempt, found).await {
        Ok(taken) => Some(taken),
        Err(error) => {
            let why = format!("what run `{run_id}` of dag `{dag_id}` left can't be copied, so that it runs: {error}");
            shared.logs.tell(attempt, Level::Warn, &why);
            None
        }
    }
}

/// All that a result depends on, as far as it is declared.
async fn key(component: Digest, entry: &str, inputs: &[Input], grants: &Grants) -> Digest {
    let grants = serde_json::to_vec(grants).expect("names and numbers are always JSON");
    let mut hash = Hash(Sha256::new());
    for part in [b"airlock cached result 1".as_slice(), &component.0, entry.as_bytes(), &grants] {
        hash.part(part).await;
    }
    let mut inputs: Vec<_> = inputs.iter().collect();
    inputs.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    for input in inputs {
        hash.part(input.name.as_bytes()).await;
        let value = input.value.as_ref();
        hash.part(&[u8::from(value.is_some())]).await;
        if let Some(Value { media_type, bytes }) = value {
            hash.part(media_type.as_bytes()).await;
            hash.part(bytes).await;
        }
    }
    Digest(hash.0.finalize().into())
}

struct Hash(Sha256);

impl Hash {
    /// Each part stands behind its length, so that no two lists of parts look the same. A large one lets others run between.
    async fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        for (at, chunk) in bytes.chunks(HASH_BYTES).enumerate() {
            if at > 0 {
                tokio::task::yield_now().await;
            }
            self.0.update(chunk);
        }
    }
}

/// Copies what was found, so that it is the attempt's own.
async fn take(shared: &Shared, attempt: &Attempt, found: CachedResult) -> Result<Taken, TakeError> {
    let CachedResult { row, xcoms, artifacts } = found;
    let stem = attempt.id().stem();
    let mut effects = Box::<Effects>::default();
    let mut copies = Vec::new();
    let mut returned = None;
    for xcom in xcoms {
        let body = match xcom.body {
            XComBody::Inline(bytes) => XComBody::Inline(bytes),
            XComBody::Blob(from) => {
                let to = blobs::keys::xcom(&stem, uuid::Uuid::now_v7());
                copies.push((from, to.clone()));
                XComBody::Blob(to)
            }
        };
        let size_bytes = u64::try_from(xcom.row.size_bytes).unwrap_or(0);
        let pushed = Pushed { media_type: xcom.row.media_type, size_bytes, body };
        if xcom.row.key == XComKey::return_value() {
            returned = Some(pushed.clone());
        }
        effects.xcoms.insert(xcom.row.key, pushed);
    }
    for artifact in artifacts {
        let to = blobs::keys::artifact(&stem, uuid::Uuid::now_v7());
        copies.push((artifact.blob, to.clone()));
        let size_bytes = u64::try_from(artifact.size_bytes).unwrap_or(0);
        let finished = Finished { media_type: artifact.media_type, size_bytes, sha256: artifact.sha256, blob: to };
        effects.artifacts.insert(artifact.name, finished);
    }
    effects.asset_extras.clone_from(&row.asset_extras);
    let taken = async {
        copy(shared, copies).await?;
        result_of(shared, attempt, returned).await
    };
    match taken.await {
        Ok((result, list_length)) => Ok(Taken { row, effects, result, list_length }),
        Err(error) => {
            shared.discard(effects.blobs());
            Err(error)
        }
    }
}

async fn copy(shared: &Shared, copies: Vec<(String, String)>) -> Result<(), TakeError> {
    let copies = futures_util::stream::iter(copies)
        .map(async |(from, to)| if shared.blobs.copy(&from, &to).await? { Ok(()) } else { Err(TakeError::Gone(from)) });
    copies.buffer_unordered(COPIES).try_collect().await
}

/// What the instance returned, if it is small or the dag is expanded over it; and how long a list that is.
async fn result_of(
    shared: &Shared,
    attempt: &Attempt,
    returned: Option<Pushed>,
) -> Result<(Option<TaskResult>, Option<u32>), TakeError> {
    let Some(Pushed { media_type, body, size_bytes }) = returned else { return Ok((Some(None), None)) };
    let is_mapped_over = attempt.assignment.dag.expands.contains_key(&attempt.assignment.node);
    let _memory;
    let bytes = match body {
        XComBody::Inline(bytes) => bytes,
        XComBody::Blob(_) if !is_mapped_over => return Ok((None, None)),
        XComBody::Blob(blob) => {
            _memory = shared.outbound.reserve(size_bytes).await;
            shared.blobs.get(&blob).await?.ok_or(TakeError::Gone(blob))?.into()
        }
    };
    let value = Value { media_type, bytes };
    let list_length = if is_mapped_over { values::list_length(&value) } else { None };
    Ok((Some(Some(Arc::new(value))), list_length))
}

impl Place {
    /// What people are told of a result that was taken.
    pub fn message(&self) -> Option<String> {
        let CachedResultRow { run_id, dag_id, .. } = self.taken.as_ref()?;
        Some(format!("from the cache: run `{run_id}` of dag `{dag_id}`"))
    }

    /// What is to be committed with the success of the attempt, which made or took a result.
    pub fn row(
        self,
        attempt: &Attempt,
        asset_extras: &BTreeMap<AssetName, String>,
        ended_at: Timestamp,
    ) -> Option<CachedResultRow> {
        let cache = attempt.node().cache?;
        let id = attempt.id();
        let run = &attempt.assignment.run;
        let (instance, try_number) = (id.instance.clone(), id.try_number);
        // Runs go, and what they hold with them: the one that took it last keeps it for longest.
        if let Some(taken) = self.taken {
            return Some(CachedResultRow { instance, try_number, ..taken });
        }
        Some(CachedResultRow {
            key: self.key,
            instance,
            try_number,
            dag_id: run.dag_id.clone(),
            run_id: run.run_id.clone(),
            made_at: ended_at,
            expires_at: ended_at.after(cache),
            asset_extras: asset_extras.clone(),
        })
    }
}

/// The end of an attempt, or a failure if its task has a cache and it is no result: taken from the cache it would decide or wait
/// for nothing.
pub(super) fn only_results(attempt: &Attempt, end: AttemptEnd) -> AttemptEnd {
    let node = attempt.node();
    let what = match &end {
        AttemptEnd::Branch(_) => "a branch",
        AttemptEnd::ShortCircuit { .. } => "a short circuit",
        AttemptEnd::Later(_) | AttemptEnd::Wait(..) => "a wait",
        AttemptEnd::Success(_)
        | AttemptEnd::Skipped(_)
        | AttemptEnd::Retryable(_)
        | AttemptEnd::Fatal(_)
        | AttemptEnd::Trapped { .. }
        | AttemptEnd::TimedOut { .. }
        | AttemptEnd::Killed
        | AttemptEnd::NotRun(_) => return end,
    };
    if node.cache.is_none() {
        return end;
    }
    let task_id = &node.task_id;
    AttemptEnd::Fatal(format!(
        "task `{task_id}` has `cache` and ended in {what}: only results are remembered; take `cache` out"
    ))
}

#[cfg(test)]
mod tests {
    use crate::model::spec::GrantsSpec;

    use super::*;

    fn input(name: &str, value: Option<&str>) -> Input {
        let value = value.map(|text| Value { media_type: values::JSON.into(), bytes: text.into() });
        Input { name: name.into(), value }
    }

    #[tokio::test]
    async fn a_key_depends_on_all_that_is_declared_and_on_nothing_else() {
        let granted = |variables: &[&str]| {
            let variables = variables.iter().map(|key| (*key).to_owned()).collect();
            Grants::from_spec(&GrantsSpec { variables, ..GrantsSpec::default() }).unwrap()
        };
        let (a, b) = (input("a", Some("1")), input("b", None));
        let base = async |inputs: &[Input]| key(Digest([1; 32]), "load", inputs, &granted(&[])).await;
        let first = base(&[a.clone(), b.clone()]).await;
        assert_eq!(base(&[b.clone(), a.clone()]).await, first, "inputs have no order");
        let inputs = [a.clone(), b.clone()];
        let others = [
            key(Digest([2; 32]), "load", &inputs, &granted(&[])).await,
            key(Digest([1; 32]), "loa", &inputs, &granted(&[])).await,
            key(Digest([1; 32]), "load", &inputs, &granted(&["a"])).await,
            base(std::slice::from_ref(&a)).await,
            base(&[a.clone(), input("b", Some("null"))]).await,
            base(&[input("a", Some("2")), b.clone()]).await,
            base(&[input("a", Some("1b")), input("", None)]).await,
            base(&[input("b", Some("1")), input("a", None)]).await,
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(*other, first, "{at}");
            assert!(!others[..at].contains(other), "{at}");
        }
    }
}
