//! Results of attempts that ended lately, so that a chain of tasks does not read the database for its inputs.

use std::{
    num::NonZeroUsize,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use lru::LruCache;
use serde_json::value::RawValue;

use crate::{store::InstanceKey, wire::Value};

const MAX_BYTES: usize = 64 << 20;
/// Larger results are not kept.
const MAX_VALUE_BYTES: usize = 16 << 20;
const MAX_RESULTS: NonZeroUsize = NonZeroUsize::new(200_000).expect("it is not 0");
/// What a result costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 200;

/// What all remembered lists may take together, and the largest that is remembered.
const MAX_LIST_BYTES: usize = 64 << 20;
const MAX_LISTS: NonZeroUsize = NonZeroUsize::new(1_000).expect("it is not 0");

/// What an instance returned, if it returned anything.
pub(super) type TaskResult = Option<Arc<Value>>;

/// A JSON list and where its elements stand, so that each instance of a mapped task takes its own without reading the
/// others.
#[derive(Debug)]
pub(super) struct Elements {
    list: Arc<Value>,
    places: Vec<Range<u32>>,
}

impl Elements {
    /// None if `list` is not a JSON list, or one of 4 GiB.
    pub fn of(list: Arc<Value>) -> Option<Self> {
        let start = list.bytes.as_ptr() as usize;
        let places = serde_json::from_slice::<Vec<&RawValue>>(&list.bytes).ok()?.into_iter().map(|element| {
            let from = u32::try_from(element.get().as_ptr() as usize - start).ok()?;
            Some(from..from.checked_add(u32::try_from(element.get().len()).ok()?)?)
        });
        let places = places.collect::<Option<_>>()?;
        Some(Self { list, places })
    }

    pub fn len(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    /// The JSON of an element.
    pub fn get(&self, index: u32) -> Option<&[u8]> {
        let place = self.places.get(index as usize)?;
        self.list.bytes.get(place.start as usize..place.end as usize)
    }

    fn cost(&self) -> usize {
        OVERHEAD_BYTES + self.list.bytes.len() + self.places.len() * size_of::<Range<u32>>()
    }
}

/// A bounded memory of results; the ones that were used longest ago go first.
#[derive(Debug)]
pub(super) struct Results {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    results: LruCache<InstanceKey, TaskResult>,
    bytes: usize,
    /// Lists that are expanded over, by the task that made them with map_index -1.
    lists: LruCache<InstanceKey, Arc<Elements>>,
    list_bytes: usize,
}

impl Results {
    pub fn new() -> Self {
        let (results, lists) = (LruCache::sparse(MAX_RESULTS), LruCache::sparse(MAX_LISTS));
        Self { inner: Mutex::new(Inner { results, bytes: 0, lists, list_bytes: 0 }) }
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
        inner.pop_list(&instance);
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
        let mut inner = self.inner();
        inner.pop(instance);
        inner.pop_list(instance);
    }

    /// The list that `task` made, if it is remembered.
    pub fn elements(&self, task: &InstanceKey) -> Option<Arc<Elements>> {
        self.inner().lists.get(&whole(task)).cloned()
    }

    pub fn put_elements(&self, task: &InstanceKey, elements: Arc<Elements>) {
        let mut inner = self.inner();
        inner.pop_list(task);
        if elements.cost() > MAX_LIST_BYTES {
            return;
        }
        inner.list_bytes += elements.cost();
        if let Some((_, oldest)) = inner.lists.push(whole(task), elements) {
            inner.list_bytes -= oldest.cost();
        }
        while inner.list_bytes > MAX_LIST_BYTES {
            let Some((_, oldest)) = inner.lists.pop_lru() else { break };
            inner.list_bytes -= oldest.cost();
        }
    }
}

/// The task, whichever of its instances is named.
fn whole(instance: &InstanceKey) -> InstanceKey {
    InstanceKey { map_index: -1, ..instance.clone() }
}

impl Inner {
    fn pop(&mut self, instance: &InstanceKey) {
        if let Some(result) = self.results.pop(instance) {
            self.bytes -= cost(&result);
        }
    }

    fn pop_list(&mut self, instance: &InstanceKey) {
        if !self.lists.is_empty()
            && let Some(list) = self.lists.pop(&whole(instance))
        {
            self.list_bytes -= list.cost();
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
    fn elements_are_those_of_the_list_as_it_is_now() {
        let results = Results::new();
        let json = |text: &str| Arc::new(Value { media_type: "application/json".into(), bytes: text.into() });
        let list = Elements::of(json(r#"[1, {"a": [2]}, "x,y"]"#)).unwrap();
        assert_eq!((list.len(), list.get(1), list.get(3)), (3, Some(br#"{"a": [2]}"#.as_slice()), None));
        assert!(Elements::of(json("{}")).is_none());
        results.put_elements(&instance(-1), Arc::new(list));
        assert!(results.elements(&instance(-1)).is_some());
        // One of a mapped task's instances has another result: so has the list of them.
        results.put(instance(7), None);
        assert!(results.elements(&instance(-1)).is_none());
        assert_eq!(results.inner().list_bytes, 0);
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
