//! Where the boxes of a dag's graph stand: a layered layout, left to right.
//!
//! Pure and iterative; any input has an answer. The steps are Sugiyama's: a column for each box (longest path, then
//! tightened), placeholders where an edge passes through a column, an order in each column (barycentre
//! sweeps, the best is kept), and heights (each column moved as near to its neighbours as the order allows). Long edges
//! are not routed but marked as stubs: ribbons across a whole graph hide more than they show.

/// Edges over more columns than this are stubs.
const LONGEST_ROUTE: usize = 6;
const COLUMN_GAP: f64 = 56.0;
const ROW_GAP: f64 = 14.0;
/// Room around an edge that passes between boxes.
const EDGE_GAP: f64 = 8.0;
const MARGIN: f64 = 16.0;

/// A box to place, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

/// Where a box stands: its top left corner and its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// An edge's way: from the right side of `from` to the left side of `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub from: usize,
    pub to: usize,
    /// Ascending in x; empty for a stub.
    pub points: Vec<(f64, f64)>,
}

/// A graph that is placed.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// As many as boxes were given, in their order.
    pub places: Vec<Place>,
    pub routes: Vec<Route>,
    pub width: f64,
    pub height: f64,
}

/// Places `sizes`, joined by `edges`, which must point from a lower to a higher index; others are left out.
///
/// Edges that follow from others (a to c beside a to b to c) are left out too.
pub fn layout(sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
    let edges = reduce(sizes.len(), edges);
    let columns = assign_columns(sizes.len(), &edges);
    let mut grid = Grid::new(sizes, &edges, columns);
    grid.order();
    grid.settle();
    grid.draw(sizes, &edges)
}

/// The edges that do not follow from others, sorted.
fn reduce(boxes: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut below = vec![Vec::new(); boxes];
    for &(from, to) in edges {
        if from < to && to < boxes {
            below[from].push(to);
        }
    }
    let words = boxes.div_ceil(64);
    // One bit for each pair of boxes: 3 MiB for 5,000 boxes.
    let mut reach = vec![0_u64; boxes * words];
    let mut kept = Vec::with_capacity(edges.len());
    for from in (0..boxes).rev() {
        below[from].sort_unstable();
        below[from].dedup();
        let (head, tail) = reach.split_at_mut((from + 1) * words);
        let own = &mut head[from * words..];
        for &to in &below[from] {
            if own[to / 64] >> (to % 64) & 1 == 0 {
                own[to / 64] |= 1 << (to % 64);
                let theirs = &tail[(to - from - 1) * words..][..words];
                own.iter_mut().zip(theirs).for_each(|(own, theirs)| *own |= theirs);
                kept.push((from, to));
            }
        }
    }
    kept.sort_unstable();
    kept
}

/// Each box's column: right of all that it depends on, and no further left of what depends on it than it must be.
fn assign_columns(boxes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut columns = vec![0; boxes];
    let mut degree = vec![(0_usize, 0_usize); boxes];
    for &(from, to) in edges {
        columns[to] = columns[to].max(columns[from] + 1);
        degree[from].1 += 1;
        degree[to].0 += 1;
    }
    let mut limit = vec![usize::MAX; boxes];
    for &(from, to) in edges.iter().rev() {
        // All edges out of `to` were seen: they start further back in the sorted list.
        if limit[to] != usize::MAX && degree[to].0 < degree[to].1 {
            columns[to] = columns[to].max(limit[to]);
        }
        limit[from] = limit[from].min(columns[to] - 1);
    }
    for at in (0..boxes).filter(|&at| degree[at].0 == 0 && limit[at] != usize::MAX) {
        columns[at] = limit[at];
    }
    columns
}

/// A box or a placeholder of an edge in its column.
#[derive(Debug, Clone)]
struct Cell {
    height: f64,
    gap: f64,
    /// How strongly its neighbours pull: straight edges are worth more than centred boxes.
    pull: f64,
    y: f64,
    left: Vec<usize>,
    right: Vec<usize>,
}

struct Grid {
    /// Boxes first, in their order, then placeholders.
    cells: Vec<Cell>,
    /// The cells of each column, top to bottom.
    columns: Vec<Vec<usize>>,
    /// Each cell's place in its column.
    rank: Vec<usize>,
    column_of: Vec<usize>,
    /// The placeholders of each edge, left to right; none for a stub.
    ways: Vec<Option<Vec<usize>>>,
}

impl Grid {
    fn new(sizes: &[Size], edges: &[(usize, usize)], mut column_of: Vec<usize>) -> Self {
        let cell = |height, gap, pull| Cell { height, gap, pull, y: 0.0, left: Vec::new(), right: Vec::new() };
        let mut cells: Vec<Cell> = sizes.iter().map(|size| cell(size.height, ROW_GAP, 1.0)).collect();
        let mut ways = Vec::with_capacity(edges.len());
        for &(from, to) in edges {
            let (first, last) = (column_of[from], column_of[to]);
            if last - first > LONGEST_ROUTE {
                ways.push(None);
                continue;
            }
            let mut way = Vec::with_capacity(last - first - 1);
            let mut before = from;
            for column in first + 1..last {
                cells.push(cell(0.0, EDGE_GAP, 4.0));
                column_of.push(column);
                let next = cells.len() - 1;
                cells[before].right.push(next);
                cells[next].left.push(before);
                way.push(next);
                before = next;
            }
            cells[before].right.push(to);
            cells[to].left.push(before);
            ways.push(Some(way));
        }
        let mut columns = vec![Vec::new(); column_of.iter().max().map_or(0, |last| last + 1)];
        let mut rank = vec![0; cells.len()];
        for (at, &column) in column_of.iter().enumerate() {
            rank[at] = columns[column].len();
            columns[column].push(at);
        }
        Self { cells, columns, rank, column_of, ways }
    }

    /// Orders each column for few crossings.
    fn order(&mut self) {
        let rounds = match self.cells.len() {
            0..=2_000 => 12,
            2_001..=10_000 => 6,
            _ => 3,
        };
        let mut best = (self.crossings(), self.columns.clone());
        for round in 0..rounds * 2 {
            if best.0 == 0 {
                break;
            }
            let rightwards = round % 2 == 0;
            for step in 0..self.columns.len() {
                let column = if rightwards { step } else { self.columns.len() - 1 - step };
                self.sort_column(column, rightwards);
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.columns.clone());
            }
        }
        self.columns = best.1;
        for at in 0..self.columns.len() {
            self.number(at);
        }
    }

    fn sort_column(&mut self, column: usize, rightwards: bool) {
        let mut keyed: Vec<(f64, usize)> = self.columns[column]
            .iter()
            .map(|&at| {
                let cell = &self.cells[at];
                let neighbours = if rightwards { &cell.left } else { &cell.right };
                (mean(neighbours.iter().map(|&other| real(self.rank[other]))).unwrap_or(real(self.rank[at])), at)
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.columns[column] = keyed.into_iter().map(|(_, at)| at).collect();
        self.number(column);
    }

    fn number(&mut self, column: usize) {
        for (rank, &at) in self.columns[column].iter().enumerate() {
            self.rank[at] = rank;
        }
    }

    /// How many pairs of edges cross: inversions, counted with a Fenwick tree, column by column.
    fn crossings(&self) -> u64 {
        let mut total = 0;
        for pair in self.columns.windows(2) {
            let mut tree = vec![0_u64; pair[1].len() + 1];
            let mut seen = 0;
            for &at in &pair[0] {
                let mut ends: Vec<usize> = self.cells[at].right.iter().map(|&to| self.rank[to]).collect();
                ends.sort_unstable();
                for &end in &ends {
                    let mut not_below = 0;
                    let mut node = end + 1;
                    while node > 0 {
                        not_below += tree[node];
                        node &= node - 1;
                    }
                    total += seen - not_below;
                }
                for end in ends {
                    seen += 1;
                    let mut node = end + 1;
                    while node < tree.len() {
                        tree[node] += 1;
                        node += node & node.wrapping_neg();
                    }
                }
            }
        }
        total
    }

    /// Gives each cell a height, in the order of its column, near its neighbours.
    fn settle(&mut self) {
        for column in 0..self.columns.len() {
            self.settle_column(column, |_| None);
        }
        for round in 0..8 {
            for step in 0..self.columns.len() {
                let column = if round % 2 == 0 { step } else { self.columns.len() - 1 - step };
                self.settle_column(column, |cell| {
                    let near = if round % 2 == 0 { &cell.left } else { &cell.right };
                    // The last rounds look both ways, so that nothing hangs on one side only.
                    let far: &[usize] = match (round, round % 2 == 0) {
                        (6.., true) => &cell.right,
                        (6.., false) => &cell.left,
                        _ => &[],
                    };
                    Some((near.clone(), far.to_vec()))
                });
            }
        }
    }

    /// Moves the cells of a column as near to the means of the chosen neighbours as their order allows: weighted
    /// isotonic regression, by pooling adjacent violators.
    fn settle_column(&mut self, column: usize, neighbours: impl Fn(&Cell) -> Option<(Vec<usize>, Vec<usize>)>) {
        struct Pool {
            wish: f64,
            weight: f64,
            members: usize,
        }
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(self.columns[column].len());
        let mut pools: Vec<Pool> = Vec::new();
        for &at in &self.columns[column] {
            let cell = &self.cells[at];
            offset += cell.height / 2.0 + cell.gap / 2.0;
            let chosen = neighbours(cell).unwrap_or_default();
            let wish = mean(chosen.0.iter().chain(&chosen.1).map(|&other| self.cells[other].y));
            let fixed = if pools.is_empty() && wish.is_none() { 0.0 } else { cell.y };
            let mut pool = Pool {
                wish: wish.unwrap_or(fixed) - offset,
                weight: if wish.is_some() { cell.pull } else { 0.01 },
                members: 1,
            };
            while let Some(last) = pools.pop_if(|last| last.wish > pool.wish) {
                let weight = last.weight + pool.weight;
                pool.wish = (last.wish * last.weight + pool.wish * pool.weight) / weight;
                pool.weight = weight;
                pool.members += last.members;
            }
            pools.push(pool);
            offsets.push(offset);
            offset += cell.height / 2.0 + cell.gap / 2.0;
        }
        let wishes = pools.iter().flat_map(|pool| std::iter::repeat_n(pool.wish, pool.members));
        for ((&at, wish), offset) in self.columns[column].iter().zip(wishes).zip(offsets) {
            self.cells[at].y = wish + offset;
        }
    }

    fn draw(&self, sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
        let top = (0..self.cells.len()).map(|at| self.cells[at].y - self.cells[at].height / 2.0);
        let shift = MARGIN - top.fold(f64::INFINITY, f64::min).min(f64::MAX);
        let mut column_x = Vec::with_capacity(self.columns.len());
        let mut x = MARGIN;
        for column in &self.columns {
            let width =
                column.iter().filter_map(|&at| sizes.get(at)).map(|size| size.width).fold(0.0, f64::max).max(1.0);
            column_x.push((x, width));
            x += width + COLUMN_GAP;
        }
        let y = |at: usize| (self.cells[at].y + shift).round();
        let places: Vec<Place> = sizes
            .iter()
            .enumerate()
            .map(|(at, size)| Place {
                x: column_x[self.column_of[at]].0,
                y: (self.cells[at].y + shift - size.height / 2.0).round(),
                width: size.width,
                height: size.height,
            })
            .collect();
        let routes = edges
            .iter()
            .zip(&self.ways)
            .map(|(&(from, to), way)| {
                let points = way.as_ref().map_or_else(Vec::new, |way| {
                    let mut points = vec![(places[from].x + places[from].width, y(from))];
                    for &at in way {
                        let (x, width) = column_x[self.column_of[at]];
                        points.push((x, y(at)));
                        points.push((x + width, y(at)));
                    }
                    points.push((places[to].x, y(to)));
                    points
                });
                Route { from, to, points }
            })
            .collect();
        let bottom = places.iter().map(|place| place.y + place.height).fold(0.0, f64::max);
        let lowest = (0..self.cells.len()).map(y).fold(0.0, f64::max);
        Layout { width: (x - COLUMN_GAP + MARGIN).max(0.0), height: bottom.max(lowest) + MARGIN, places, routes }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[expect(clippy::cast_precision_loss, reason = "ranks are far below 2^52")]
fn real(rank: usize) -> f64 {
    rank as f64
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { width: 120.0, height: 32.0 };

    pub fn dags(most: usize) -> impl Strategy<Value = (usize, Vec<(usize, usize)>)> {
        (1..most).prop_flat_map(|boxes| (Just(boxes), prop::collection::vec((0..boxes, 0..boxes), 0..boxes * 3)))
    }

    fn overlap(a: &Place, b: &Place) -> bool {
        a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn boxes_do_not_overlap_and_edges_go_left_to_right((boxes, edges) in dags(60)) {
            let sizes: Vec<_> = (0..boxes).map(|at| Size { width: 80.0 + real(at % 7) * 20.0, ..SIZE }).collect();
            let layout = layout(&sizes, &edges);
            prop_assert_eq!(layout.places.len(), boxes);
            for (at, place) in layout.places.iter().enumerate() {
                prop_assert!(place.x >= 0.0 && place.x + place.width <= layout.width);
                prop_assert!(place.y >= 0.0 && place.y + place.height <= layout.height);
                for other in &layout.places[at + 1..] {
                    prop_assert!(!overlap(place, other), "{:?} {:?}", place, other);
                }
            }
            for route in &layout.routes {
                prop_assert!(layout.places[route.from].x + layout.places[route.from].width < layout.places[route.to].x);
                prop_assert!(route.points.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{:?}", route);
            }
        }

        #[test]
        fn what_was_reachable_stays_reachable((boxes, edges) in dags(30)) {
            let reach = |edges: &[(usize, usize)]| {
                let mut reach = vec![vec![false; boxes]; boxes];
                for from in (0..boxes).rev() {
                    for &(_, to) in edges.iter().filter(|edge| edge.0 == from && edge.0 < edge.1) {
                        reach[from][to] = true;
                        let further = reach[to].clone();
                        reach[from].iter_mut().zip(further).for_each(|(own, theirs)| *own |= theirs);
                    }
                }
                reach
            };
            prop_assert_eq!(reach(&edges), reach(&reduce(boxes, &edges)));
        }
    }

    #[test]
    fn no_box_is_a_layout_too() {
        let none = layout(&[], &[(0, 1)]);
        assert!(none.places.is_empty() && none.routes.is_empty());
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let sizes = [SIZE; 40];
        let edges: Vec<_> = (0..39).map(|at| (at, at + 1)).collect();
        let layout = layout(&sizes, &edges);
        assert!(layout.places.windows(2).all(|pair| pair[0].x < pair[1].x && (pair[0].y - pair[1].y).abs() < 0.5));
    }

    #[test]
    fn five_thousand_boxes_of_any_form_are_placed() {
        let sizes = vec![SIZE; 5_000];
        let deep: Vec<_> = (0..4_999).flat_map(|at| [(at, at + 1), (at, (at * 7 + 13).min(4_999))]).collect();
        let layered: Vec<_> = (0..4_900)
            .flat_map(|at| (0..3).map(move |nth| (at, (at / 100 + 1) * 100 + (at * 31 + nth * 17) % 100)))
            .collect();
        let fan: Vec<_> = (1..4_999).flat_map(|at| [(0, at), (at, 4_999)]).collect();
        for edges in [deep, layered, fan] {
            assert_eq!(layout(&sizes, &edges).places.len(), 5_000);
        }
    }
}
