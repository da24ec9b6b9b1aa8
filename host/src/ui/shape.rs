//! What never changes about a dag_version: its tasks in rows, its graph. Computed once, kept for the versions last seen.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::body::Bytes;
use lru::LruCache;
use serde_json::{Value, json};

use super::{
    error::UiError,
    layout::{self, Folded, Size, fold, layout},
};
use crate::{
    model::{dag::Dag, ids::TaskId, spec::DagSpec, state::TaskState},
    store::{DagVersionKey, Store},
};

/// More tasks of the same shape than this are one box.
const MOST_SIBLINGS: usize = 50;
/// Boxes of a graph that is drawn; above it there is the outline only.
const MOST_BOXES: usize = 5_000;
/// Tasks of all shapes that are kept.
const MOST_TASKS: usize = 400_000;
const MOST_SHAPES: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");

/// A dag_version as the page needs it. Its rows are its tasks, upstream first.
#[derive(Debug)]
pub struct Shape {
    pub version: DagVersionKey,
    pub dag: Dag,
    pub spec: Arc<DagSpec>,
    tasks: OnceLock<Bytes>,
    folded: OnceLock<Bytes>,
    whole: OnceLock<Bytes>,
}

impl Shape {
    fn new(version: DagVersionKey, dag: Dag, spec: Arc<DagSpec>) -> Self {
        Self { version, dag, spec, tasks: OnceLock::new(), folded: OnceLock::new(), whole: OnceLock::new() }
    }

    pub fn rows(&self) -> usize {
        self.dag.nodes.len()
    }

    /// Whether the task has instances 0, 1, ... instead of one.
    pub fn is_mapped(&self, row: usize) -> bool {
        self.dag.nodes.get(row).is_some_and(|node| self.dag.expansion(node).is_some())
    }

    pub fn row(&self, task_id: &TaskId) -> Option<usize> {
        self.dag.index(task_id).map(|index| index as usize)
    }

    /// `{"tasks": [...]}`: the names of the rows.
    pub fn tasks_json(&self) -> Bytes {
        let make = || {
            let tasks: Vec<_> = self.dag.nodes.iter().map(|node| node.task_id.as_str()).collect();
            Bytes::from(json!({ "tasks": tasks }).to_string())
        };
        self.tasks.get_or_init(make).clone()
    }

    /// Where the boxes stand; see [`graph_json`]. Takes some hundred milliseconds the first time for thousands of tasks.
    pub fn graph_json(&self, is_folded: bool) -> Bytes {
        let cached = if is_folded { &self.folded } else { &self.whole };
        cached.get_or_init(|| Bytes::from(graph_json(&self.dag, is_folded).to_string())).clone()
    }

    /// Whether folding makes the graph smaller.
    pub fn can_fold(&self) -> bool {
        self.rows() > MOST_SIBLINGS && folded(&self.dag, true).boxes.len() < self.rows()
    }

    /// One letter a row, of the instances `states`. A mapped task shows what of its instances needs a look first.
    pub fn pack(&self, states: &[(TaskId, i32, TaskState)]) -> String {
        let mut letters = vec![None; self.rows()];
        for (task_id, _, state) in states {
            let Some(letter) = self.row(task_id).and_then(|row| letters.get_mut(row)) else { continue };
            *letter = Some(letter.map_or(*state, |other| weightier(other, *state)));
        }
        letters.into_iter().map(|state| char::from(state.unwrap_or(TaskState::None).letter())).collect()
    }
}

/// Which of two states stands for both: the one that needs a look first.
fn weightier(a: TaskState, b: TaskState) -> TaskState {
    let weight = |state: TaskState| match state {
        TaskState::Failed => 11,
        TaskState::UpstreamFailed => 10,
        TaskState::UpForRetry => 9,
        TaskState::Running => 8,
        TaskState::Restarting => 7,
        TaskState::UpForReschedule => 6,
        TaskState::Queued => 5,
        TaskState::Scheduled => 4,
        TaskState::None => 3,
        TaskState::Success => 2,
        TaskState::Skipped => 1,
        TaskState::Removed => 0,
    };
    if weight(b) > weight(a) { b } else { a }
}

fn edges(dag: &Dag) -> Vec<(usize, usize)> {
    let downstream = |(from, node): (usize, &crate::model::dag::Node)| {
        node.downstream.iter().map(move |to| (from, *to as usize)).collect::<Vec<_>>()
    };
    dag.nodes.iter().enumerate().flat_map(downstream).collect()
}

fn folded(dag: &Dag, is_folded: bool) -> Folded {
    let mut kinds = std::collections::BTreeMap::new();
    let kind_of: Vec<usize> = dag
        .nodes
        .iter()
        .map(|node| {
            let next = kinds.len();
            *kinds.entry(node.entry.as_str()).or_insert(next)
        })
        .collect();
    fold(&kind_of, &edges(dag), if is_folded { MOST_SIBLINGS } else { usize::MAX })
}

/// `{"tasks": [name of each row], "boxes": [[x, y, width, height, row, ...]], "edges": [[from, to, x, y, ...]], "width":
/// ..., "height": ...}`; `{"boxes": null}` if there are too many. An edge without points is drawn as a stub.
fn graph_json(dag: &Dag, is_folded: bool) -> Value {
    let folded = folded(dag, is_folded);
    if folded.boxes.len() > MOST_BOXES {
        return json!({ "boxes": null });
    }
    let sizes: Vec<Size> = folded
        .boxes
        .iter()
        .map(|members| {
            let letters = members.first().map_or(0, |row| dag.nodes[*row].task_id.as_str().len().min(28));
            let width = f64::from(u8::try_from(letters).unwrap_or(u8::MAX)) * 7.2 + 44.0;
            Size { width: width.max(92.0).round(), height: if members.len() > 1 { 50.0 } else { 32.0 } }
        })
        .collect();
    let layout::Layout { places, routes, width, height } = layout(&sizes, &folded.edges);
    let boxes: Vec<_> = places
        .iter()
        .zip(&folded.boxes)
        .map(|(place, members)| {
            let mut row = vec![whole(place.x), whole(place.y), whole(place.width), whole(place.height)];
            row.extend(members.iter().map(|member| i64::try_from(*member).unwrap_or(i64::MAX)));
            row
        })
        .collect();
    let edges: Vec<_> = routes
        .iter()
        .map(|route| {
            let mut row: Vec<i64> =
                [route.from, route.to].iter().map(|end| i64::try_from(*end).unwrap_or(i64::MAX)).collect();
            row.extend(route.points.iter().flat_map(|(x, y)| [whole(*x), whole(*y)]));
            row
        })
        .collect();
    let tasks: Vec<_> = dag.nodes.iter().map(|node| node.task_id.as_str()).collect();
    json!({ "tasks": tasks, "boxes": boxes, "edges": edges, "width": whole(width), "height": whole(height) })
}

#[expect(clippy::cast_possible_truncation, reason = "pixels are far below 2^52, and a cast of a float saturates")]
fn whole(pixels: f64) -> i64 {
    pixels.round() as i64
}

/// The shapes of the versions that were asked for last.
#[derive(Debug, Clone)]
pub struct Shapes(Arc<Mutex<LruCache<DagVersionKey, Arc<Shape>>>>);

impl Default for Shapes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MOST_SHAPES))))
    }
}

impl Shapes {
    /// The shape of `version`.
    ///
    /// # Errors
    /// If there is no such version, or it can't be read.
    pub async fn get(&self, store: &Store, version: DagVersionKey) -> Result<Arc<Shape>, UiError> {
        if let Some(shape) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&version) {
            return Ok(Arc::clone(shape));
        }
        let missing = || UiError::NotFound(format!("dag_version {} does not exist", version.0));
        let row = store.dag_version_get(version).await?.ok_or_else(missing)?;
        let component = store.component_get(row.component).await?.ok_or_else(missing)?;
        let dag = Dag::from_spec(&row.spec, &component.module.entries)?;
        let shape = Arc::new(Shape::new(version, dag, row.spec));
        let mut shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.put(version, Arc::clone(&shape));
        let mut tasks: usize = shapes.iter().map(|(_, shape)| shape.rows()).sum();
        while tasks > MOST_TASKS && shapes.len() > 1 {
            tasks -= shapes.pop_lru().map_or(0, |(_, shape)| shape.rows());
        }
        Ok(shape)
    }
}
