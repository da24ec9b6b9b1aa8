//! Mapped tasks: the lists that a task has an instance for each element of. Airflow: dynamic task mapping.

use std::sync::Arc;

use super::dag::NodeIndex;

/// The most instances that one task may be expanded to.
pub const MAX_MAP_LENGTH: u32 = 100_000;

/// What a mapped task or group has an instance for each of.
///
/// Axes multiply; the first varies slowest (Airflow: `expand` with several arguments). The lists of one axis go along
/// with each other, as far as the shortest (Airflow: `zip`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expand {
    /// At least one axis, each of at least one list.
    pub axes: Vec<Vec<List>>,
}

/// A list that is expanded over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// Its elements, each as JSON.
    Literal(Arc<[Box<str>]>),
    /// What this task returns; of a mapped task, what all its instances return.
    Output(NodeIndex),
}

impl Expand {
    /// The lists, axis by axis.
    pub fn lists(&self) -> impl Iterator<Item = &List> {
        self.axes.iter().flatten()
    }

    /// The tasks whose lists it needs; one may come up more than once.
    pub fn sources(&self) -> impl Iterator<Item = NodeIndex> {
        self.lists().filter_map(|list| match list {
            List::Output(source) => Some(*source),
            List::Literal(_) => None,
        })
    }

    /// How many instances there are, if no task has to be waited for.
    pub fn fixed_length(&self) -> Option<u64> {
        self.length(|_| None)
    }

    /// How many instances there are, where `of_output` tells the length of a task's list; none if it does not of one.
    pub fn length(&self, of_output: impl Fn(NodeIndex) -> Option<u32>) -> Option<u64> {
        let lengths = (0..self.axes.len()).map(|axis| self.axis_length(axis, &of_output));
        lengths.map(|length| length.map(u64::from)).try_fold(1, |all: u64, length| Some(all.saturating_mul(length?)))
    }

    fn axis_length(&self, axis: usize, of_output: &impl Fn(NodeIndex) -> Option<u32>) -> Option<u32> {
        let lengths = self.axes[axis].iter().map(|list| match list {
            List::Literal(elements) => Some(u32::try_from(elements.len()).unwrap_or(u32::MAX)),
            List::Output(source) => of_output(*source),
        });
        lengths.reduce(|shortest, length| Some(shortest?.min(length?))).flatten()
    }

    /// Which element along `axis` instance `map_index` has. None if a length is not known, or there is no such axis.
    pub fn element(&self, axis: usize, map_index: u32, of_output: impl Fn(NodeIndex) -> Option<u32>) -> Option<u32> {
        let mut rest = map_index;
        for later in (axis + 1..self.axes.len()).rev() {
            rest = rest.checked_div(self.axis_length(later, &of_output)?)?;
        }
        // Along the first axis nothing is left to divide by: its length need not be known.
        if axis == 0 { Some(rest) } else { rest.checked_rem(self.axis_length(axis, &of_output)?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(length: usize) -> List {
        List::Literal((0..length).map(|n| n.to_string().into_boxed_str()).collect())
    }

    #[test]
    fn axes_multiply_and_lists_of_one_go_along() {
        let expand = Expand { axes: vec![vec![literal(2)], vec![literal(3), literal(5)]] };
        assert_eq!(expand.fixed_length(), Some(6));
        let at = |axis| (0..6).map(|index| expand.element(axis, index, |_| None).unwrap()).collect::<Vec<_>>();
        assert_eq!(at(0), [0, 0, 0, 1, 1, 1]);
        assert_eq!(at(1), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn an_unknown_list_makes_the_length_unknown() {
        let expand = Expand { axes: vec![vec![List::Output(7)], vec![literal(3)]] };
        assert_eq!(expand.fixed_length(), None);
        assert_eq!(expand.length(|_| Some(4)), Some(12));
        assert_eq!(expand.element(0, 5, |_| None), Some(1));
        assert_eq!(expand.element(1, 5, |_| None), Some(2));
        assert_eq!(expand.sources().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn an_empty_list_makes_no_instances() {
        let expand = Expand { axes: vec![vec![literal(0)], vec![literal(3)]] };
        assert_eq!(expand.fixed_length(), Some(0));
        let expand = Expand { axes: vec![vec![literal(3)], vec![literal(0)]] };
        assert_eq!(expand.element(0, 1, |_| None), None);
    }

    #[test]
    fn lengths_do_not_overflow() {
        let expand = Expand { axes: vec![vec![List::Output(0)]; 4] };
        assert_eq!(expand.length(|_| Some(u32::MAX)), Some(u64::MAX));
    }
}
