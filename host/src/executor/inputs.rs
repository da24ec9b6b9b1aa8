//! Turns a node's bindings into values.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Shared,
    attempt::Assignment,
    results::{Elements, TaskResult},
    values,
};
use crate::{
    model::{
        dag::{Binding, Node, NodeIndex, Source},
        expand::List,
        ids::XComKey,
        spec::SourceSpec,
        template::{MAX_RENDERED_BYTES, Pull},
    },
    store::{InstanceKey, XComBody, XComValue},
    wire::{Input, Value},
};

/// What all inputs of an attempt may be together: they travel in one frame.
const MAX_INPUT_BYTES: u64 = 256 << 20;
/// Waits between tries to read what is stored.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// Why an attempt can't have its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InputError {
    pub message: String,
    /// Whether another try may have them.
    pub retry: bool,
}

impl InputError {
    fn fatal(message: String) -> Self {
        Self { message, retry: false }
    }
}

/// The inputs of an attempt and the memory that they take.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub inputs: Vec<Input>,
    pub memory: Option<OwnedSemaphorePermit>,
}

/// Where the value of an output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    /// What this instance of the upstream returned.
    Instance(i32),
    /// What all instances of the upstream returned, as a list.
    All,
}

/// How `node`'s instance `map_index` sees the output of `upstream`.
fn take(assignment: &Assignment, upstream: NodeIndex) -> Take {
    let dag = &assignment.dag;
    let (node, map_index) = (dag.node(assignment.node), assignment.id.instance.map_index);
    let upstream = dag.node(upstream);
    if dag.expansion(upstream).is_none() {
        return Take::Instance(-1);
    }
    let together = upstream.expand.is_none() && dag.mapped_group(upstream) == dag.mapped_group(node);
    if together { Take::Instance(map_index) } else { Take::All }
}

/// The inputs, if nothing has to be waited for.
pub(super) fn resolve_now(shared: &Shared, assignment: &Assignment) -> Option<Result<Inputs, InputError>> {
    let node = assignment.dag.node(assignment.node);
    if node.has_templates() {
        return None;
    }
    if node.inputs.is_empty() {
        return Some(Ok(Inputs::default()));
    }
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for binding in &node.inputs {
        let value = match &binding.source {
            Source::Output(upstream) => {
                let Take::Instance(map_index) = take(assignment, *upstream) else { return None };
                let result = shared.results.get(&instance(assignment, *upstream, map_index))?;
                Ok(result.map(|value| Value::clone(&value)))
            }
            Source::Literal(literal) => literal_value(literal),
            Source::Template(_) => return None,
            Source::Param(name) => param_value(&assignment.run.params, name),
            Source::Element { axis, list } => {
                let known = |source| shared.results.elements(&instance(assignment, source, -1));
                element(assignment, *axis, *list, known)?.map(Some)
            }
        };
        match value.and_then(|value| bind(assignment, binding, value)) {
            Ok(input) => inputs.push(input),
            Err(error) => return Some(Err(error)),
        }
    }
    Some(Ok(Inputs { inputs, memory: None }))
}

/// The inputs, from the database and object storage if need be; those of templates are yet to be rendered. A storage that is down is tried again for a while.
pub(super) async fn resolve(shared: &Shared, assignment: &Assignment) -> Result<Inputs, InputError> {
    let mut delays = RETRY_DELAYS.iter();
    loop {
        match try_resolve(shared, assignment).await {
            Err(error) if error.retry => match delays.next() {
                Some(delay) => tokio::time::sleep(*delay).await,
                None => return Err(error),
            },
            resolved => return resolved,
        }
    }
}

async fn try_resolve(shared: &Shared, assignment: &Assignment) -> Result<Inputs, InputError> {
    let node = assignment.dag.node(assignment.node);
    let lists = lists(shared, assignment).await?;
    // First where they are and how large, then the bytes, so that their memory is taken once.
    let mut found = HashMap::new();
    for binding in &node.inputs {
        if let Source::Output(upstream) = &binding.source
            && !found.contains_key(upstream)
        {
            found.insert(*upstream, find(shared, assignment, take(assignment, *upstream), *upstream).await?);
        }
    }
    let size: u64 = found.values().flatten().map(Found::size_bytes).sum();
    if size > MAX_INPUT_BYTES {
        return Err(InputError::fatal(format!(
            "the inputs of task `{}` are {size} bytes in all; the limit is {MAX_INPUT_BYTES}: hand large data over as \
             artifacts",
            node.task_id
        )));
    }
    let memory = shared.outbound.reserve(size).await;
    let mut loaded = HashMap::new();
    for (upstream, found) in found {
        loaded.insert(upstream, load(shared, assignment, take(assignment, upstream), upstream, found).await?);
    }
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for binding in &node.inputs {
        let value = match &binding.source {
            Source::Output(upstream) => loaded.get(upstream).cloned().flatten().map(Arc::unwrap_or_clone),
            Source::Literal(literal) => literal_value(literal)?,
            Source::Template(_) => {
                inputs.push(Input { name: binding.name.clone(), value: None });
                continue;
            }
            Source::Param(name) => param_value(&assignment.run.params, name)?,
            Source::Element { axis, list } => {
                let known = |source: NodeIndex| lists.get(&source).cloned();
                element(assignment, *axis, *list, known).transpose()?
            }
        };
        inputs.push(bind(assignment, binding, value)?);
    }
    Ok(Inputs { inputs, memory })
}

/// The lists of tasks that the instance's elements are taken from, and whose lengths tell which.
async fn lists(shared: &Shared, assignment: &Assignment) -> Result<HashMap<NodeIndex, Arc<Elements>>, InputError> {
    let node = assignment.dag.node(assignment.node);
    let mut lists = HashMap::new();
    if !node.inputs.iter().any(|binding| matches!(binding.source, Source::Element { .. })) {
        return Ok(lists);
    }
    for source in assignment.dag.expansion(node).iter().flat_map(|expand| expand.sources()) {
        if lists.contains_key(&source) {
            continue;
        }
        let key = instance(assignment, source, -1);
        let elements = if let Some(elements) = shared.results.elements(&key) {
            elements
        } else {
            let elements = Arc::new(read_list(shared, assignment, source).await?);
            shared.results.put_elements(&key, Arc::clone(&elements));
            elements
        };
        lists.insert(source, elements);
    }
    Ok(lists)
}

async fn read_list(shared: &Shared, assignment: &Assignment, source: NodeIndex) -> Result<Elements, InputError> {
    let found = find(shared, assignment, take(assignment, source), source).await?;
    let size = found.iter().map(Found::size_bytes).sum();
    let _memory = shared.outbound.reserve(size).await;
    let value = load(shared, assignment, take(assignment, source), source, found).await?;
    value.and_then(Elements::of).ok_or_else(|| {
        InputError::fatal(format!(
            "the result of task `{}` is not a list, and task `{}` is expanded over it",
            assignment.dag.node(source).task_id,
            assignment.dag.node(assignment.node).task_id
        ))
    })
}

/// The instance's element of a list; none if a list that it takes is not among those that `known` has.
fn element(
    assignment: &Assignment,
    axis: u32,
    list: u32,
    known: impl Fn(NodeIndex) -> Option<Arc<Elements>>,
) -> Option<Result<Value, InputError>> {
    let expand = assignment.dag.expansion(assignment.dag.node(assignment.node))?;
    let (axis, list) = (axis as usize, list as usize);
    let lists = &expand.axes[axis][list];
    let index = u32::try_from(assignment.id.instance.map_index)
        .ok()
        .and_then(|map_index| expand.element(axis, map_index, |source| known(source).map(|list| list.len())))?;
    let bytes = match lists {
        List::Literal(elements) => elements.get(index as usize).map(|element| element.as_bytes().to_vec()),
        List::Output(source) => known(*source)?.get(index).map(<[u8]>::to_vec),
    };
    Some(bytes.map(|bytes| Value { media_type: values::JSON.into(), bytes }).ok_or_else(|| {
        InputError::fatal(format!("the list that it is expanded over has no element {index}; clear the task upstream"))
    }))
}

/// A result that is wanted, wherever it is.
enum Found {
    Remembered(Arc<Value>),
    Stored(Box<XComValue>),
}

impl Found {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Remembered(value) => value.bytes.len() as u64,
            Self::Stored(stored) => u64::try_from(stored.row.size_bytes).unwrap_or(0),
        }
    }

    fn media_type(&self) -> &str {
        match self {
            Self::Remembered(value) => &value.media_type,
            Self::Stored(stored) => &stored.row.media_type,
        }
    }
}

/// What a template pulls, as JSON; none if it is not there.
pub(super) async fn pull(
    shared: &Shared,
    assignment: &Assignment,
    pull: &Pull,
) -> Result<Option<serde_json::Value>, InputError> {
    let (task_id, key) = (&pull.task_id, &pull.key);
    let Some(upstream) = assignment.dag.index(task_id) else {
        return Err(InputError::fatal(format!("there is no task `{task_id}` in dag `{}`", assignment.dag.dag_id)));
    };
    let take = pull.map_index.map_or_else(|| take(assignment, upstream), Take::Instance);
    let found = if *key == XComKey::return_value() {
        find(shared, assignment, take, upstream).await?
    } else {
        let instances = map_indexes(shared, assignment, take, upstream).await?;
        let keys: Vec<_> =
            instances.into_iter().map(|index| (instance(assignment, upstream, index), key.clone())).collect();
        let stored = shared.store.xcom_get_many(&keys).await.map_err(|error| unavailable(&error))?;
        stored.into_iter().map(|value| Found::Stored(Box::new(value))).collect()
    };
    let size: u64 = found.iter().map(Found::size_bytes).sum();
    if size > MAX_RENDERED_BYTES as u64 {
        return Err(InputError::fatal(format!(
            "xcom `{key}` of task `{task_id}` has {size} bytes; a template may handle {MAX_RENDERED_BYTES}: bind an \
             input to it, or let the task pull it"
        )));
    }
    if let Some(other) = found.iter().find(|found| !values::is_json(found.media_type())) {
        return Err(InputError::fatal(format!(
            "xcom `{key}` of task `{task_id}` is `{}`; a template sees JSON only",
            other.media_type()
        )));
    }
    let Some(value) = load(shared, assignment, take, upstream, found).await? else { return Ok(None) };
    serde_json::from_slice(&value.bytes)
        .map(Some)
        .map_err(|error| InputError::fatal(format!("xcom `{key}` of task `{task_id}` can't be read as JSON: {error}")))
}

/// The instances of `upstream` that are taken, in order.
async fn map_indexes(
    shared: &Shared,
    assignment: &Assignment,
    take: Take,
    upstream: NodeIndex,
) -> Result<Vec<i32>, InputError> {
    match take {
        Take::Instance(map_index) => Ok(vec![map_index]),
        Take::All => {
            let (run, task_id) = (assignment.id.instance.dag_run, &assignment.dag.node(upstream).task_id);
            let last = shared.store.task_instance_last_element(run, task_id).await;
            Ok((0..=last.map_err(|error| unavailable(&error))?).collect())
        }
    }
}

/// The results that make up the output of `upstream`, in order.
async fn find(
    shared: &Shared,
    assignment: &Assignment,
    take: Take,
    upstream: NodeIndex,
) -> Result<Vec<Found>, InputError> {
    let map_indexes = map_indexes(shared, assignment, take, upstream).await?;
    let mut missing = Vec::new();
    let mut found = Vec::with_capacity(map_indexes.len());
    for map_index in map_indexes {
        let instance = instance(assignment, upstream, map_index);
        match shared.results.get(&instance) {
            Some(Some(value)) => found.push((map_index, Found::Remembered(value))),
            Some(None) => {}
            None => missing.push((instance, XComKey::return_value())),
        }
    }
    if !missing.is_empty() {
        let stored = shared.store.xcom_get_many(&missing).await.map_err(|error| unavailable(&error))?;
        found.extend(stored.into_iter().map(|value| (value.row.instance.map_index, Found::Stored(Box::new(value)))));
        found.sort_by_key(|(map_index, _)| *map_index);
    }
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// The value that the found results make.
async fn load(
    shared: &Shared,
    assignment: &Assignment,
    take: Take,
    upstream: NodeIndex,
    found: Vec<Found>,
) -> Result<TaskResult, InputError> {
    let upstream = assignment.dag.node(upstream);
    if take == Take::All {
        let mut list = vec![b'['];
        for found in found {
            if !values::is_json(found.media_type()) {
                return Err(InputError::fatal(format!(
                    "mapped task `{}` returned `{}`; only JSON can be put into a list",
                    upstream.task_id,
                    found.media_type()
                )));
            }
            if list.len() > 1 {
                list.push(b',');
            }
            list.extend_from_slice(&load_one(shared, found).await?.bytes);
        }
        list.push(b']');
        return Ok(Some(Arc::new(Value { media_type: values::JSON.into(), bytes: list })));
    }
    let Some(found) = found.into_iter().next() else { return Ok(None) };
    load_one(shared, found).await.map(Some)
}

async fn load_one(shared: &Shared, found: Found) -> Result<Arc<Value>, InputError> {
    match found {
        Found::Remembered(value) => Ok(value),
        Found::Stored(stored) => {
            let XComValue { row, body } = *stored;
            let bytes = match body {
                XComBody::Inline(bytes) => bytes,
                body @ XComBody::Blob(_) => {
                    values::load(&shared.blobs, body).await.map_err(|error| unavailable(&error))?
                }
            };
            Ok(Arc::new(Value { media_type: row.media_type, bytes }))
        }
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> InputError {
    tracing::warn!(error, "inputs can't be read");
    InputError { message: "its inputs can't be read from storage just now".into(), retry: true }
}

fn instance(assignment: &Assignment, node: NodeIndex, map_index: i32) -> InstanceKey {
    let task_id = assignment.dag.node(node).task_id.clone();
    InstanceKey { dag_run: assignment.id.instance.dag_run, task_id, map_index }
}

fn literal_value(literal: &SourceSpec) -> Result<Option<Value>, InputError> {
    match literal {
        SourceSpec::Literal(json) => {
            Ok(Some(Value { media_type: values::JSON.into(), bytes: json.clone().into_bytes() }))
        }
        SourceSpec::Bytes { media_type, base64 } => {
            let bytes = BASE64_STANDARD
                .decode(base64)
                .map_err(|error| InputError::fatal(format!("a literal is not base64: {error}")))?;
            Ok(Some(Value { media_type: media_type.clone(), bytes }))
        }
        SourceSpec::Template(_) | SourceSpec::Param(_) | SourceSpec::Output(_) | SourceSpec::Element { .. } => Ok(None),
    }
}

fn param_value(params: &str, name: &str) -> Result<Option<Value>, InputError> {
    let params: HashMap<String, &RawValue> = serde_json::from_str(params)
        .map_err(|error| InputError::fatal(format!("the run's params are not a JSON object: {error}")))?;
    Ok(params.get(name).map(|value| Value { media_type: values::JSON.into(), bytes: value.get().as_bytes().to_vec() }))
}

fn bind(assignment: &Assignment, binding: &Binding, value: Option<Value>) -> Result<Input, InputError> {
    if value.is_none() && binding.required {
        let node: &Node = assignment.dag.node(assignment.node);
        let whence = match &binding.source {
            Source::Output(upstream) => {
                let upstream = &assignment.dag.node(*upstream).task_id;
                format!("task `{upstream}`, which has no result; if it had one, clear it, too, to have it made again")
            }
            Source::Param(name) => format!("param `{name}`, which the run does not have"),
            Source::Literal(_) => "a literal that can't be read".to_owned(),
            Source::Template(_) => "a template that has no value".to_owned(),
            Source::Element { .. } => "a list that it is not expanded over".to_owned(),
        };
        return Err(InputError::fatal(format!(
            "input `{}` of task `{}` is bound to {whence}",
            binding.name, node.task_id
        )));
    }
    Ok(Input { name: binding.name.clone(), value })
}
