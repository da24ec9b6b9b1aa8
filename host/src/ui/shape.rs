//! What never changes about a dag_version: its tasks in rows, its graph. Computed once, kept for the versions last seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use axum::body::Bytes;
use lru::LruCache;
use serde::Deserialize;
use serde_json::json;

use super::{
    error::UiError,
    fold::{Folded, fold},
    graph::{self, Graph},
};
use crate::{
    model::{
        dag::{Dag, Group, Role},
        ids::TaskId,
        spec::DagSpec,
        state::TaskState,
    },
    scheduler,
    store::{DagVersionKey, StateOfTask, Store},
};

/// More tasks of the same shape than this are one box.
const MOST_SIBLINGS: usize = 50;
/// The same where every task is shown: these are a block, in which each is a square.
const MOST_SINGLE: usize = 200;
/// Boxes of a graph that is drawn; above it there is the outline only.
const MOST_BOXES: usize = 20_000;
/// Boxes of a graph whose groups are open at first.
const MOST_OPEN: usize = 200;
/// Tasks of all shapes that are kept.
const MOST_TASKS: usize = 400_000;
const MOST_SHAPES: NonZeroUsize = NonZeroUsize::new(64).expect("it is not zero");

/// Which groups a graph shows open.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct GroupsShown {
    #[serde(default)]
    groups: GroupsBase,
    /// Ids of groups that are the other way, with commas between.
    #[serde(default)]
    but: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GroupsBase {
    /// Open, unless there is much in them.
    #[default]
    AtFirst,
    Open,
    Closed,
}

/// A dag_version as the page needs it. Its rows are its tasks, upstream first.
#[derive(Debug)]
pub struct Shape {
    pub version: DagVersionKey,
    pub dag: Dag,
    pub spec: Arc<DagSpec>,
    tasks: OnceLock<Bytes>,
    folded: OnceLock<Boxes>,
    whole: OnceLock<Boxes>,
}

/// The boxes of a graph.
#[derive(Debug)]
struct Boxes {
    /// See [`Graph::json`]; empty until it was asked for, with its groups as they are at first.
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

    /// The names of the rows, the groups, and the group of each row; see [`Graph::json`].
    pub fn tasks_json(&self) -> Bytes {
        let make = || {
            let tasks: Vec<_> = self.dag.nodes.iter().map(|node| node.task_id.as_str()).collect();
            let closed = self.closed(&GroupsShown::default());
            let group = |(group, closed): (&Group, &bool)| json!({ "id": group.group_id, "parent": group.parent, "closed": closed });
            let groups: Vec<_> = self.dag.groups.iter().zip(&closed).map(group).collect();
            let mapped: Vec<_> = (0..self.rows()).filter(|row| self.is_mapped(*row)).collect();
            let group_of = graph::group_of(&self.dag);
            Bytes::from(json!({ "tasks": tasks, "groups": groups, "group_of": group_of, "mapped": mapped }).to_string())
        };
        self.tasks.get_or_init(make).clone()
    }

    fn boxes(&self, is_folded: bool) -> &Boxes {
        let (cached, most) = if is_folded { (&self.folded, MOST_SIBLINGS) } else { (&self.whole, MOST_SINGLE) };
        cached.get_or_init(|| Boxes { json: OnceLock::new(), folded: folded(&self.dag, most) })
    }

    /// Where the boxes stand; see [`Graph::json`], or `{"boxes": null}` if there are too many. Takes some hundred
    /// milliseconds for thousands of tasks.
    pub fn graph_json(&self, is_folded: bool, groups: &GroupsShown) -> Bytes {
        if !self.can_draw(is_folded) {
            return Bytes::from_static(b"{\"boxes\": null}");
        }
        let boxes = self.boxes(is_folded);
        let make = || {
            let graph = Graph::new(&self.dag, &self.spec, &boxes.folded, !is_folded, self.closed(groups));
            Bytes::from(graph.json().to_string())
        };
        if *groups == GroupsShown::default() { boxes.json.get_or_init(make).clone() } else { make() }
    }

    /// Which groups are shown closed.
    fn closed(&self, shown: &GroupsShown) -> Vec<bool> {
        let closed = match shown.groups {
            GroupsBase::AtFirst => self.boxes(true).folded.boxes.len() > MOST_OPEN,
            GroupsBase::Open => false,
            GroupsBase::Closed => true,
        };
        let but: BTreeSet<&str> = shown.but.split(',').collect();
        self.dag.groups.iter().map(|group| closed != but.contains(group.group_id.as_str())).collect()
    }

    /// Whether the graph has few enough boxes to be drawn.
    pub fn can_draw(&self, is_folded: bool) -> bool {
        self.boxes(is_folded).folded.boxes.len() <= MOST_BOXES
    }

    /// Whether tasks can be folded into one box, and each be shown as well.
    pub fn can_fold(&self) -> bool {
        self.boxes(true).folded.boxes.len() < self.rows() && self.can_draw(false)
    }

    /// The state of each task of which there are `counts`.
    pub fn worst(&self, counts: &[(TaskId, TaskState, i64)]) -> BTreeMap<usize, TaskState> {
        let mut worst = BTreeMap::new();
        for (task_id, state, _) in counts {
            if let Some(row) = self.row(task_id) {
                worst.entry(row).and_modify(|other: &mut TaskState| *other = other.summary(*state)).or_insert(*state);
            }
        }
        worst
    }

    /// How many instances of each mapped task are in which state, as (letter, count).
    pub fn mapped(&self, states: &[StateOfTask]) -> BTreeMap<usize, BTreeMap<char, u32>> {
        let mut mapped: BTreeMap<usize, BTreeMap<char, u32>> = BTreeMap::new();
        for of in states.iter().filter(|of| of.mapped > 0) {
            if let Some(row) = self.row(&of.task_id) {
                mapped.entry(row).or_default().insert(char::from(of.state.letter()), of.mapped);
            }
        }
        mapped
    }

    /// One letter a row, of the instances in `states`.
    pub fn pack(&self, states: &[StateOfTask]) -> String {
        let mut letters = vec![None; self.rows()];
        for of in states {
            let Some(letter) = self.row(&of.task_id).and_then(|row| letters.get_mut(row)) else { continue };
            *letter = Some(letter.map_or(of.state, |other: TaskState| other.summary(of.state)));
        }
        letters.into_iter().map(|state| char::from(state.unwrap_or(TaskState::None).letter())).collect()
    }
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
            let is_mapped = dag.expansion(node).is_some();
            *kinds.entry((node.entry.as_str(), node.group, is_mapped, node.role == Role::Work)).or_insert(next)
        })
        .collect();
    fold(&kind_of, &edges(dag), most)
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
        let dag = scheduler::graph(store, &row).await?;
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
