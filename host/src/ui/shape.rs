//! What never changes about a dag_version: its tasks in rows, its graph. Computed once, kept for the versions last seen.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::body::Bytes;
use lru::LruCache;
use serde_json::{Value, json};

use super::{
    error::UiError,
    fold::{Folded, fold},
    layout::{self, Size, layout},
};
use crate::{
    model::{dag::Dag, ids::TaskId, spec::DagSpec, state::TaskState},
    store::{DagVersionKey, Store},
};

/// More tasks of the same shape than this are one box.
const MOST_SIBLINGS: usize = 50;
/// The same where every task is shown: these are a block, in which each is a square.
const MOST_SINGLE: usize = 200;
/// Boxes of a graph that is drawn; above it there is the outline only.
const MOST_BOXES: usize = 20_000;
/// From one square of a block to the next, and what surrounds them. The page's script knows these.
const SQUARE: usize = 10;
const BLOCK_SIDES: usize = 12;
const BLOCK_HEAD: usize = 30;
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
    folded: OnceLock<Graph>,
    whole: OnceLock<Graph>,
}

/// A graph as the page's script draws it.
#[derive(Debug)]
struct Graph {
    /// See [`Graph::new`]; empty until it was asked for.
    json: OnceLock<Bytes>,
    folded: Folded,
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

    fn graph(&self, is_folded: bool) -> &Graph {
        let (cached, most) = if is_folded { (&self.folded, MOST_SIBLINGS) } else { (&self.whole, MOST_SINGLE) };
        cached.get_or_init(|| Graph { json: OnceLock::new(), folded: folded(&self.dag, most) })
    }

    /// Where the boxes stand; see [`graph_json`]. Takes some hundred milliseconds the first time for thousands of tasks.
    pub fn graph_json(&self, is_folded: bool) -> Bytes {
        let graph = self.graph(is_folded);
        graph.json.get_or_init(|| Bytes::from(graph_json(&self.dag, &graph.folded, is_folded).to_string())).clone()
    }

    /// Whether the graph has few enough boxes to be drawn.
    pub fn can_draw(&self, is_folded: bool) -> bool {
        self.graph(is_folded).folded.boxes.len() <= MOST_BOXES
    }

    /// Whether tasks can be folded into one box, and each be shown as well.
    pub fn can_fold(&self) -> bool {
        self.graph(true).folded.boxes.len() < self.rows() && self.can_draw(false)
    }

    /// The state of each task of which there are `counts`. A mapped task shows what of its instances needs a look first.
    pub fn worst(&self, counts: &[(TaskId, TaskState, i64)]) -> BTreeMap<usize, TaskState> {
        let mut worst = BTreeMap::new();
        for (task_id, state, _) in counts {
            if let Some(row) = self.row(task_id) {
                worst.entry(row).and_modify(|other| *other = weightier(*other, *state)).or_insert(*state);
            }
        }
        worst
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

fn folded(dag: &Dag, most: usize) -> Folded {
    let mut kinds = BTreeMap::new();
    let kind_of: Vec<usize> = dag
        .nodes
        .iter()
        .map(|node| {
            let next = kinds.len();
            *kinds.entry(node.entry.as_str()).or_insert(next)
        })
        .collect();
    fold(&kind_of, &edges(dag), most)
}

/// `{"tasks": [name of each row], "boxes": [[x, y, width, height, row, ...]], "edges": [[from, to, x, y, ...]], "width":
/// ..., "height": ...}`; `{"boxes": null}` if there are too many. An edge without points is drawn as a stub.
fn graph_json(dag: &Dag, folded: &Folded, is_folded: bool) -> Value {
    if folded.boxes.len() > MOST_BOXES {
        return json!({ "boxes": null });
    }
    let sizes: Vec<Size> = folded
        .boxes
        .iter()
        .map(|members| {
            let letters = members.first().map_or(0, |row| dag.nodes[*row].task_id.as_str().len().min(28));
            let width = f64::from(u8::try_from(letters).unwrap_or(u8::MAX)) * 7.2 + 44.0;
            if members.len() > 1 && !is_folded {
                return block(members.len());
            }
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

/// The size of a block of `tasks` squares, about twice as wide as high.
fn block(tasks: usize) -> Size {
    let columns = (tasks * 2).isqrt().max(12);
    let pixels = |squares: usize, more: usize| f64::from(u32::try_from(squares * SQUARE + more).unwrap_or(u32::MAX));
    Size { width: pixels(columns, BLOCK_SIDES), height: pixels(tasks.div_ceil(columns), BLOCK_HEAD) }
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
