//! Where everything of a dag's graph stands, groups in groups: pure.
//!
//! Each open group is laid out by itself and stands in the one around it as a box. An edge that crosses a group's border
//! is three: inside to the border, from box to box, and from the border inside. A closed group is a box without inside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    fold::Folded,
    layout::{Layout, Place, Route, Size, layout},
};
use crate::model::{
    dag::{Dag, Role},
    spec::DagSpec,
};

/// From one square of a block to the next, and what surrounds them. The page's script knows these.
const SQUARE: usize = 10;
const BLOCK_SIDES: usize = 12;
const BLOCK_HEAD: usize = 30;
/// What surrounds the inside of a group.
const SIDES: f64 = 26.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 18.0;
/// What [`layout`] leaves around everything.
const MARGIN: f64 = 16.0;
/// Groups deeper than this stay closed.
const DEEPEST: usize = 16;
/// Characters of a name, a label and a doc that are shown.
const MOST_LETTERS: usize = 28;
const MOST_LABEL: usize = 40;
const MOST_DOC: usize = 600;

/// What stands in a group, or at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    /// Where edges from outside come in.
    In,
    Box(usize),
    Group(usize),
    /// A label of the edge of this number.
    Label(usize),
    /// Where edges leave.
    Out,
}

/// What stands in a group: filled edge by edge, then laid out.
#[derive(Debug, Default)]
struct Inside {
    /// With the first row of each, which orders them where edges do not.
    items: BTreeMap<Item, usize>,
    edges: BTreeSet<(Item, Item)>,
    labels: BTreeMap<(Item, Item), BTreeSet<String>>,
}

/// An [`Inside`] that is laid out. Its coordinates begin at the corner of its group.
#[derive(Debug)]
struct Laid {
    order: Vec<Item>,
    texts: Vec<String>,
    places: Vec<Place>,
    routes: Vec<Route>,
    /// Edges that lead back, as two groups may each have to wait for a part of the other.
    back: Vec<(Item, Item)>,
    size: Size,
}

/// The boxes of a graph and the groups around them.
pub struct Graph<'a> {
    dag: &'a Dag,
    spec: &'a DagSpec,
    folded: &'a Folded,
    /// Whether blocks show a square for each task.
    blocks: bool,
    /// The groups around what is in each group and that one itself, outermost first, up to the first that is closed.
    paths: Vec<Vec<usize>>,
    is_closed: Vec<bool>,
}

impl<'a> Graph<'a> {
    pub fn new(dag: &'a Dag, spec: &'a DagSpec, folded: &'a Folded, blocks: bool, mut is_closed: Vec<bool>) -> Self {
        let mut paths: Vec<Vec<usize>> = Vec::with_capacity(dag.groups.len());
        is_closed.resize(dag.groups.len(), false);
        for (at, group) in dag.groups.iter().enumerate() {
            // A parent stands before the groups in it.
            let mut path = group.parent.and_then(|parent| paths.get(parent as usize)).cloned().unwrap_or_default();
            if path.last().is_none_or(|last| !is_closed[*last]) {
                path.push(at);
            }
            is_closed[at] |= path.len() >= DEEPEST;
            paths.push(path);
        }
        Self { dag, spec, folded, blocks, paths, is_closed }
    }

    fn group_of(&self, at: usize) -> Option<usize> {
        let row = self.folded.boxes[at].first()?;
        self.dag.nodes[*row].group.map(|group| group as usize)
    }

    /// The groups around a box and the box, or those up to the one that is closed.
    fn path(&self, at: usize) -> Vec<Item> {
        let groups = self.group_of(at).map(|group| self.paths[group].as_slice()).unwrap_or_default();
        let mut path: Vec<_> = groups.iter().map(|group| Item::Group(*group)).collect();
        if groups.last().is_none_or(|last| !self.is_closed[*last]) {
            path.push(Item::Box(at));
        }
        path
    }

    /// What stands in each group; at last, what stands in none.
    fn insides(&self) -> Vec<Inside> {
        let top = self.dag.groups.len();
        let place = |around: Option<&Item>| match around {
            Some(Item::Group(group)) => *group,
            _ => top,
        };
        let mut insides: Vec<Inside> = (0..=top).map(|_| Inside::default()).collect();
        let paths: Vec<_> = (0..self.folded.boxes.len()).map(|at| self.path(at)).collect();
        let mut box_of = BTreeMap::new();
        for (at, path) in paths.iter().enumerate() {
            let first = self.folded.boxes[at].first().copied().unwrap_or(0);
            for (depth, item) in path.iter().enumerate() {
                let inside = &mut insides[place(depth.checked_sub(1).map(|depth| &path[depth]))];
                inside.items.entry(*item).and_modify(|row| *row = first.min(*row)).or_insert(first);
            }
            box_of.extend(self.folded.boxes[at].iter().map(|row| (*row, at)));
        }
        // Where two paths part: the group, and the ends in it.
        let part = |from: usize, to: usize| {
            let (from, to) = (&paths[from], &paths[to]);
            let depth = from.iter().zip(to).position(|(a, b)| a != b)?;
            Some((depth, place(depth.checked_sub(1).map(|depth| &from[depth])), (from[depth], to[depth])))
        };
        for (from, to) in &self.folded.edges {
            let Some((depth, group, edge)) = part(*from, *to) else { continue };
            insides[group].edges.insert(edge);
            for pair in paths[*from][depth..].windows(2) {
                insides[place(pair.first())].edges.insert((pair[1], Item::Out));
            }
            for pair in paths[*to][depth..].windows(2) {
                insides[place(pair.first())].edges.insert((Item::In, pair[1]));
            }
        }
        let rows: BTreeMap<_, _> =
            self.dag.nodes.iter().enumerate().map(|(row, node)| (node.task_id.as_str(), row)).collect();
        let box_of = |task: &str| rows.get(task).and_then(|row| box_of.get(row)).copied();
        for label in &self.spec.labels {
            let Some((from, to)) = box_of(&label.upstream).zip(box_of(&label.downstream)) else { continue };
            if let Some((_, group, edge)) = part(from, to) {
                insides[group].labels.entry(edge).or_default().insert(cut(&label.label, MOST_LABEL));
            }
        }
        insides
    }

    fn lay(&self, inside: &Inside, laid: &BTreeMap<usize, Laid>) -> Laid {
        let items = sorted(inside);
        let mut texts: Vec<String> = Vec::new();
        let mut order = Vec::with_capacity(items.len());
        let mut edges: Vec<(Item, Item)> = Vec::with_capacity(inside.edges.len());
        let rank: BTreeMap<_, _> = items.iter().enumerate().map(|(rank, item)| (*item, rank)).collect();
        let (forth, back): (Vec<_>, Vec<_>) = inside.edges.iter().partition(|(from, to)| rank[from] < rank[to]);
        let mut labels: BTreeMap<Item, Vec<Item>> = BTreeMap::new();
        for edge in forth {
            let Some(text) = inside.labels.get(edge) else {
                edges.push(*edge);
                continue;
            };
            // A label is a box on the way, so that nothing else is where it stands.
            let label = Item::Label(texts.len());
            texts.push(cut(&text.iter().map(String::as_str).collect::<Vec<_>>().join(", "), MOST_LABEL));
            labels.entry(edge.1).or_default().push(label);
            edges.extend([(edge.0, label), (label, edge.1)]);
        }
        for item in items {
            order.extend(labels.remove(&item).unwrap_or_default());
            order.push(item);
        }
        let sizes: Vec<_> = order
            .iter()
            .map(|item| match item {
                Item::In | Item::Out => Size { width: 1.0, height: 0.0 },
                Item::Box(at) => self.size_of_box(*at),
                Item::Group(group) => laid.get(group).map_or_else(|| self.size_of_closed(*group), |laid| laid.size),
                Item::Label(at) => Size { width: letters(&texts[*at], MOST_LABEL) * 6.2 + 12.0, height: 18.0 },
            })
            .collect();
        let index: BTreeMap<_, _> = order.iter().enumerate().map(|(index, item)| (*item, index)).collect();
        let edges: Vec<_> = edges.iter().map(|(from, to)| (index[from], index[to])).collect();
        let Layout { places, routes, width, height } = layout(&sizes, &edges);
        let size = Size { width, height };
        Laid { order, texts, places, routes, back: back.into_iter().copied().collect(), size }
    }

    fn size_of_box(&self, at: usize) -> Size {
        let members = &self.folded.boxes[at];
        let Some(node) = members.first().map(|row| &self.dag.nodes[*row]) else {
            return Size { width: 0.0, height: 0.0 };
        };
        if members.len() > 1 && self.blocks {
            return block(members.len());
        }
        let is_mapped = self.dag.expansion(node).is_some();
        let name = short(node.task_id.as_str(), self.group_of(at).map(|group| self.id(group)));
        let mark = if node.role == Role::Work { 0.0 } else { 20.0 };
        // ` [12345]`
        let count = if is_mapped { 52.0 } else { 0.0 };
        let width = (letters(name, MOST_LETTERS) * 7.2 + 44.0 + mark + count).max(92.0).round();
        let height = match members.len() {
            1 if is_mapped => 40.0,
            1 => 32.0,
            _ => 50.0,
        };
        Size { width, height }
    }

    fn size_of_closed(&self, group: usize) -> Size {
        let width = (letters(self.name(group), MOST_LETTERS) * 7.2 + 60.0).max(176.0).round();
        Size { width, height: 54.0 }
    }

    fn id(&self, group: usize) -> &str {
        self.dag.groups[group].group_id.as_str()
    }

    fn name(&self, group: usize) -> &str {
        short(self.id(group), self.dag.groups[group].parent.map(|parent| self.id(parent as usize)))
    }

    /// What the page's script draws from:
    ///
    /// - `boxes`: `[x, y, width, height, row, ...]`, tasks and closed groups
    /// - `edges`: `[from, to, x, y, ...]`; an end that is no box is -1, an edge without points is a stub between boxes
    /// - `groups`: `id`, `name`, `doc`, `is_mapped`, and `at` (if open and seen: as a box) or `box` (if closed and seen)
    /// - `labels`: `[x, y, width, height, text]`
    /// - `tasks`: the name of each row; `group_of`: its group or -1, if there are groups
    /// - `setups`, `teardowns`, `mapped`: rows
    pub fn json(&self) -> Value {
        let top = self.dag.groups.len();
        let insides = self.insides();
        let mut laid: BTreeMap<usize, Laid> = BTreeMap::new();
        // What is in a group is laid out before that.
        for group in (0..top).rev().chain([top]) {
            if group < top && (self.is_closed[group] || insides[group].items.is_empty()) {
                continue;
            }
            let mut inner = self.lay(&insides[group], &laid);
            if group < top {
                inner.frame(letters(self.name(group), MOST_LETTERS) * 7.2 + 90.0);
            }
            laid.insert(group, inner);
        }
        let mut drawn = Drawn::default();
        let mut corners: BTreeMap<usize, Place> = BTreeMap::new();
        if let Some(size) = laid.get(&top).map(|laid| laid.size) {
            corners.insert(top, Place { x: 0.0, y: 0.0, width: size.width, height: size.height });
        }
        // A group stands before those in it: its own corner is known by then.
        for group in std::iter::once(top).chain(0..top) {
            let (Some(inner), Some(corner)) = (laid.get(&group), corners.get(&group).copied()) else { continue };
            for (item, place) in inner.order.iter().zip(&inner.places) {
                let place = Place { x: place.x + corner.x, y: place.y + corner.y, ..*place };
                match item {
                    Item::Box(at) => drawn.add(*item, place, &self.folded.boxes[*at]),
                    Item::Group(group) if laid.contains_key(group) => _ = corners.insert(*group, place),
                    Item::Group(group) => drawn.add(*item, place, &self.rows_of(*group)),
                    Item::Label(at) => drawn.labels.push(json!([
                        whole(place.x),
                        whole(place.y),
                        whole(place.width),
                        whole(place.height),
                        inner.texts[*at]
                    ])),
                    Item::In | Item::Out => {}
                }
            }
        }
        for (group, inner) in &laid {
            if let Some(corner) = corners.get(group) {
                drawn.connect(inner, *corner, &corners);
            }
        }
        let size = laid.get(&top).map_or(Size { width: 0.0, height: 0.0 }, |laid| laid.size);
        let rows =
            |fits: fn(&Dag, usize) -> bool| (0..self.dag.nodes.len()).filter(|row| fits(self.dag, *row)).collect();
        let setups: Vec<usize> = rows(|dag, row| dag.nodes[row].role == Role::Setup);
        let teardowns: Vec<usize> = rows(|dag, row| matches!(dag.nodes[row].role, Role::Teardown { .. }));
        let mapped: Vec<usize> = rows(|dag, row| dag.expansion(&dag.nodes[row]).is_some());
        let docs: BTreeMap<_, _> =
            self.spec.groups.iter().map(|group| (group.group_id.as_str(), group.doc.as_deref())).collect();
        let groups: Vec<_> = (0..top)
            .map(|group| {
                let at = corners.get(&group).map(|at| [at.x, at.y, at.width, at.height].map(whole));
                let doc = docs.get(self.id(group)).copied().flatten();
                json!({
                    "id": self.id(group),
                    "name": self.name(group),
                    "doc": doc.map(|doc| cut(doc, MOST_DOC)),
                    "is_mapped": self.dag.groups[group].expand.is_some(),
                    "at": at,
                    "box": drawn.index.get(&Item::Group(group)),
                })
            })
            .collect();
        let tasks: Vec<_> = self.dag.nodes.iter().map(|node| node.task_id.as_str()).collect();
        json!({
            "tasks": tasks, "group_of": group_of(self.dag), "boxes": drawn.boxes, "edges": drawn.edges, "groups": groups,
            "labels": drawn.labels, "setups": setups, "teardowns": teardowns, "mapped": mapped,
            "width": whole(size.width), "height": whole(size.height),
        })
    }

    /// The tasks of a group and of those in it.
    fn rows_of(&self, closed: usize) -> Vec<usize> {
        let is_in = |row: &usize| {
            let group = self.dag.nodes[*row].group;
            group.is_some_and(|group| self.paths[group as usize].last() == Some(&closed))
        };
        (0..self.dag.nodes.len()).filter(is_in).collect()
    }
}

impl Laid {
    /// Moves what [`layout`] has made into a group's frame, which is at least `least` wide.
    fn frame(&mut self, least: f64) {
        let is_port = |item: &Item| matches!(item, Item::In | Item::Out);
        let real = || self.order.iter().zip(&self.places).filter(|(item, _)| !is_port(item)).map(|(_, place)| place);
        let left = real().map(|place| place.x).fold(f64::INFINITY, f64::min).min(f64::MAX);
        let right = real().map(|place| place.x + place.width).fold(left, f64::max);
        let (x, y) = (SIDES - left, HEAD - MARGIN);
        self.size = Size {
            width: (right - left + 2.0 * SIDES).max(least).round(),
            height: self.size.height - 2.0 * MARGIN + HEAD + FOOT,
        };
        for place in &mut self.places {
            place.x += x;
            place.y += y;
        }
        for route in &mut self.routes {
            for point in &mut route.points {
                *point = (point.0 + x, point.1 + y);
            }
        }
        let (middle, width) = (self.size.height / 2.0, self.size.width);
        for route in &mut self.routes {
            let points = &mut route.points;
            if self.order[route.from] == Item::In {
                let port = self.places[route.from];
                // A port with other boxes above and below it is passed through as any column is.
                if port.x >= SIDES && !points.is_empty() {
                    points.splice(0..1, [(port.x, port.y), (port.x + 1.0, port.y)]);
                    points.insert(0, (0.0, middle));
                } else if let Some(point) = points.first_mut() {
                    *point = (0.0, middle);
                } else {
                    points.extend([(0.0, middle), (self.places[route.to].x, center(self.places[route.to]))]);
                }
            }
            if self.order[route.to] == Item::Out {
                if points.is_empty() {
                    let from = self.places[route.from];
                    points.push((from.x + from.width, center(from)));
                    points.push((width, middle));
                } else if let Some(point) = points.last_mut() {
                    *point = (width, middle);
                }
            }
        }
    }
}

/// What is drawn, as it is sent.
#[derive(Debug, Default)]
struct Drawn {
    index: BTreeMap<Item, usize>,
    places: Vec<Place>,
    boxes: Vec<Vec<i64>>,
    edges: Vec<Vec<i64>>,
    labels: Vec<Value>,
}

impl Drawn {
    fn add(&mut self, item: Item, place: Place, rows: &[usize]) {
        self.index.insert(item, self.boxes.len());
        self.places.push(place);
        let mut row = [place.x, place.y, place.width, place.height].map(whole).to_vec();
        row.extend(rows.iter().map(|row| i64::try_from(*row).unwrap_or(i64::MAX)));
        self.boxes.push(row);
    }

    /// Adds the edges of a group that stands at `corner`; open groups stand at `corners`.
    fn connect(&mut self, inner: &Laid, corner: Place, corners: &BTreeMap<usize, Place>) {
        let end = |item: Item| self.index.get(&item).map_or(-1, |index| i64::try_from(*index).unwrap_or(-1));
        let place = |item: Item| match (self.index.get(&item), item) {
            (Some(index), _) => self.places.get(*index).copied(),
            (None, Item::Group(group)) => corners.get(&group).copied(),
            (None, _) => None,
        };
        let mut edges = Vec::with_capacity(inner.routes.len());
        for route in &inner.routes {
            let (from, to) = (inner.order[route.from], inner.order[route.to]);
            let mut row = vec![end(from), end(to)];
            if route.points.is_empty() && (row[0] < 0 || row[1] < 0) {
                // A stub is drawn from box to box: what is none is told by its points.
                let (a, b) = (inner.places[route.from], inner.places[route.to]);
                row.extend(
                    [a.x + a.width + corner.x, center(a) + corner.y, b.x + corner.x, center(b) + corner.y].map(whole),
                );
            }
            row.extend(route.points.iter().flat_map(|(x, y)| [whole(x + corner.x), whole(y + corner.y)]));
            edges.push(row);
        }
        for (from, to) in &inner.back {
            let Some((a, b)) = place(*from).zip(place(*to)) else { continue };
            let points = [a.x + a.width, center(a), b.x, center(b)].map(whole);
            edges.push([end(*from), end(*to)].into_iter().chain(points).collect());
        }
        self.edges.extend(edges);
    }
}

/// The items of a group, upstream first where that can be: two groups may wait for parts of each other.
fn sorted(inside: &Inside) -> Vec<Item> {
    let mut items = inside.items.clone();
    let mut waits: BTreeMap<Item, usize> = BTreeMap::new();
    let mut below: BTreeMap<Item, Vec<Item>> = BTreeMap::new();
    for (from, to) in &inside.edges {
        if *from == Item::In {
            items.insert(Item::In, 0);
        } else if *to == Item::Out {
            items.insert(Item::Out, usize::MAX);
        }
        *waits.entry(*to).or_default() += 1;
        below.entry(*from).or_default().push(*to);
    }
    // `Out` is last whatever happens, `In` first.
    let key = |item: Item, row: usize| (item == Item::Out, item != Item::In, row, item);
    let mut left: BTreeSet<_> = items.iter().map(|(item, row)| key(*item, *row)).collect();
    let mut free: BTreeSet<_> = left.iter().copied().filter(|(.., item)| !waits.contains_key(item)).collect();
    let mut sorted = Vec::with_capacity(items.len());
    while let Some(next) = free.pop_first().or_else(|| left.first().copied()) {
        if !left.remove(&next) {
            continue;
        }
        sorted.push(next.3);
        for to in below.get(&next.3).into_iter().flatten() {
            let Some(count) = waits.get_mut(to) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                free.insert(key(*to, items.get(to).copied().unwrap_or(usize::MAX)));
            }
        }
    }
    sorted
}

/// The group of each row, -1 if it is in none; empty without groups.
pub fn group_of(dag: &Dag) -> Vec<i64> {
    if dag.groups.is_empty() {
        return Vec::new();
    }
    dag.nodes.iter().map(|node| node.group.map_or(-1, i64::from)).collect()
}

/// A name without that of the group around it.
pub fn short<'a>(id: &'a str, group: Option<&str>) -> &'a str {
    group.and_then(|group| id.strip_prefix(group)?.strip_prefix('.')).filter(|rest| !rest.is_empty()).unwrap_or(id)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn letters(text: &str, most: usize) -> f64 {
    f64::from(u8::try_from(text.chars().count().min(most + 1)).unwrap_or(u8::MAX))
}

fn center(place: Place) -> f64 {
    place.y + place.height / 2.0
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

#[cfg(test)]
mod tests;
