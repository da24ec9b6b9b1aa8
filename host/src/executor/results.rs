//! Results of attempts that ended lately, so that a chain of tasks does not read the database for its inputs.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard},
};

use lru::LruCache;

use crate::{store::InstanceKey, wire::Value};

const MAX_BYTES: usize = 64 << 20;
/// Larger results are not kept.
const MAX_VALUE_BYTES: usize = 16 << 20;
const MAX_RESULTS: NonZeroUsize = NonZeroUsize::new(200_000).expect("it is not 0");
/// What a result costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 200;

/// What an instance returned, if it returned anything.
pub(super) type TaskResult = Option<Arc<Value>>;

/// A bounded memory of results; the ones that were used longest ago go first.
#[derive(Debug)]
pub(super) struct Results {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    results: LruCache<InstanceKey, TaskResult>,
    bytes: usize,
}

impl Results {
    pub fn new() -> Self {
        Self { inner: Mutex::new(Inner { results: LruCache::sparse(MAX_RESULTS), bytes: 0 }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The result of `instance`, if it is remembered.
    pub fn get(&self, instance: &InstanceKey) -> Option<TaskResult> {
        self.inner().results.get(instance).cloned()
    }

    pub fn put(&self, instance: InstanceKey, result: TaskResult) {
        let mut inner = self.inner();
        if cost(&result) > MAX_VALUE_BYTES {
            inner.pop(&instance);
            return;
        }
        inner.bytes += cost(&result);
        if let Some((_, replaced)) = inner.results.push(instance, result) {
            inner.bytes -= cost(&replaced);
        }
        while inner.bytes > MAX_BYTES {
            let Some((_, oldest)) = inner.results.pop_lru() else { break };
            inner.bytes -= cost(&oldest);
        }
    }

    pub fn forget(&self, instance: &InstanceKey) {
        self.inner().pop(instance);
    }
}

impl Inner {
    fn pop(&mut self, instance: &InstanceKey) {
        if let Some(result) = self.results.pop(instance) {
            self.bytes -= cost(&result);
        }
    }
}

fn cost(result: &TaskResult) -> usize {
    OVERHEAD_BYTES + result.as_ref().map_or(0, |value| value.bytes.len() + value.media_type.len())
}

#[cfg(test)]
mod tests {
    use crate::{model::ids::TaskId, store::DagRunKey};

    use super::*;

    fn instance(map_index: i32) -> InstanceKey {
        InstanceKey { dag_run: DagRunKey(1), task_id: TaskId::new("a").unwrap(), map_index }
    }

    fn value(size: usize) -> Arc<Value> {
        Arc::new(Value { media_type: "text/plain".into(), bytes: vec![0; size] })
    }

    #[test]
    fn a_result_is_remembered_until_it_is_forgotten_or_replaced() {
        let results = Results::new();
        assert_eq!(results.get(&instance(0)), None);
        results.put(instance(0), Some(value(1)));
        results.put(instance(0), None);
        assert_eq!(results.get(&instance(0)), Some(None));
        results.forget(&instance(0));
        assert_eq!(results.get(&instance(0)), None);
        assert_eq!(results.inner().bytes, 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let results = Results::new();
        for map_index in 0..20 {
            results.put(instance(map_index), Some(value(8 << 20)));
        }
        assert!(results.inner().bytes <= MAX_BYTES);
        assert_eq!(results.get(&instance(0)), None);
        assert!(results.get(&instance(19)).is_some());
        results.put(instance(19), Some(value(MAX_VALUE_BYTES + 1)));
        assert_eq!(results.get(&instance(19)), None, "a value that is too large replaces what was there");
    }
}
