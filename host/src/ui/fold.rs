//! Folding tasks that are alike into one box, so that a graph of thousands can be read: pure.

use std::collections::BTreeMap;

/// Boxes that each stand for one or more tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    /// The tasks of each box, ascending; the boxes are in a topological order.
    pub boxes: Vec<Vec<usize>>,
    /// (upstream, downstream), sorted, without doubles.
    pub edges: Vec<(usize, usize)>,
}

/// Folds more than `most` tasks of the same shape into one box.
///
/// Tasks have the same shape if they are of the same `kind`, what lies downstream of them has, and
/// they hang on the same boxes. Edges must point from a lower to a higher index.
pub fn fold(kinds: &[usize], edges: &[(usize, usize)], most: usize) -> Folded {
    let count = kinds.len();
    let edges: Vec<_> = edges.iter().copied().filter(|&(from, to)| from < to && to < count).collect();
    let mut upstream = vec![Vec::new(); count];
    let mut downstream = vec![Vec::new(); count];
    for &(from, to) in &edges {
        upstream[to].push(from);
        downstream[from].push(to);
    }

    let mut shapes = BTreeMap::new();
    let mut shape_of = vec![0; count];
    for at in (0..count).rev() {
        let mut below: Vec<usize> = downstream[at].iter().map(|&to| shape_of[to]).collect();
        below.sort_unstable();
        below.dedup();
        let next = shapes.len();
        shape_of[at] = *shapes.entry((kinds[at], below)).or_insert(next);
    }

    let mut depth = vec![0; count];
    for at in 0..count {
        depth[at] = upstream[at].iter().map(|&from| depth[from] + 1).max().unwrap_or(0);
    }
    let mut levels = vec![Vec::new(); depth.iter().max().map_or(0, |last| last + 1)];
    for at in 0..count {
        levels[depth[at]].push(at);
    }

    let mut boxes: Vec<Vec<usize>> = Vec::new();
    let mut box_of = vec![0; count];
    for level in levels {
        let mut groups: BTreeMap<(usize, Vec<usize>), Vec<usize>> = BTreeMap::new();
        for at in level {
            let mut above: Vec<usize> = upstream[at].iter().map(|&from| box_of[from]).collect();
            above.sort_unstable();
            above.dedup();
            groups.entry((shape_of[at], above)).or_default().push(at);
        }
        let mut made: Vec<Vec<usize>> = Vec::new();
        for group in groups.into_values() {
            if group.len() > most {
                made.push(group);
            } else {
                made.extend(group.into_iter().map(|at| vec![at]));
            }
        }
        made.sort_unstable();
        for members in made {
            for &at in &members {
                box_of[at] = boxes.len();
            }
            boxes.push(members);
        }
    }
    let mut edges: Vec<_> = edges.into_iter().map(|(from, to)| (box_of[from], box_of[to])).collect();
    edges.sort_unstable();
    edges.dedup();
    Folded { boxes, edges }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ui::layout::tests::dags;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn folding_keeps_each_task_once_and_the_order((tasks, edges) in dags(60), most in 1_usize..4) {
            let folded = fold(&vec![0; tasks], &edges, most);
            let mut all: Vec<_> = folded.boxes.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..tasks).collect::<Vec<_>>());
            prop_assert!(folded.edges.iter().all(|(from, to)| from < to));
            prop_assert!(folded.boxes.iter().all(|members| members.len() == 1 || members.len() > most));
        }
    }

    #[test]
    fn nothing_folds_to_nothing() {
        assert_eq!(fold(&[], &[], 5), Folded { boxes: vec![], edges: vec![] });
    }

    #[test]
    fn a_wide_fan_out_folds_to_three_boxes_and_parallel_chains_to_one_each() {
        let fan: Vec<_> = (1..=300).flat_map(|at| [(0, at), (at, 301)]).collect();
        let folded = fold(&vec![0; 302], &fan, 50);
        assert_eq!(folded.boxes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 300, 1]);
        assert_eq!(folded.edges, [(0, 1), (1, 2)]);

        let chains: Vec<_> = (0..100).flat_map(|at| [(0, 1 + at), (1 + at, 101 + at), (101 + at, 201)]).collect();
        let folded = fold(&vec![0; 202], &chains, 50);
        assert_eq!(folded.boxes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 100, 100, 1]);
    }

    #[test]
    fn tasks_of_another_kind_are_not_folded_together() {
        let fan: Vec<_> = (1..=120).map(|at| (0, at)).collect();
        let kinds: Vec<_> = (0..=120).map(|at| at % 2).collect();
        let folded = fold(&kinds, &fan, 50);
        assert_eq!(folded.boxes.iter().map(Vec::len).collect::<Vec<_>>(), [1, 60, 60]);
    }
}
