//! Which instances go before others. Airflow: `weight_rule`.

use super::{Node, NodeIndex};
use crate::model::spec::WeightRule;

/// The most tasks of a dag whose weights are sums over others: each takes a walk through the dag.
const MAX_SUMMED_NODES: usize = 10_000;

/// Gives each task the weight that its rule makes of its own and those of others, within 32 bits.
///
/// # Errors
/// If the dag is too large for weights that are sums.
pub(super) fn weigh(nodes: &mut [Node]) -> Result<(), String> {
    let is_sum = |node: &&Node| node.weight_rule != WeightRule::Absolute;
    let Some(first) = nodes.iter().find(is_sum) else { return Ok(()) };
    if nodes.len() > MAX_SUMMED_NODES {
        return Err(format!(
            "task `{}` has the rule `{}`, and the dag {} tasks; in a dag of more than {MAX_SUMMED_NODES}, weights are \
             `absolute`",
            first.task_id,
            first.weight_rule.as_str(),
            nodes.len()
        ));
    }
    let mut walk = Walk { seen: vec![NodeIndex::MAX; nodes.len()], stack: Vec::new() };
    let weights: Vec<_> = (0..)
        .zip(&*nodes)
        .map(|(index, node)| {
            let others = match node.weight_rule {
                WeightRule::Absolute => 0,
                WeightRule::Downstream => walk.sum(nodes, index, |node| &node.downstream),
                WeightRule::Upstream => walk.sum(nodes, index, |node| &node.upstream),
            };
            let sum = i64::from(node.priority_weight).saturating_add(others);
            i32::try_from(sum).unwrap_or(if sum < 0 { i32::MIN } else { i32::MAX })
        })
        .collect();
    for (node, weight) in nodes.iter_mut().zip(weights) {
        node.weight = weight;
    }
    Ok(())
}

struct Walk {
    /// By which task each was met last.
    seen: Vec<NodeIndex>,
    stack: Vec<NodeIndex>,
}

impl Walk {
    /// The own weights of all that can be reached from `from`, each once.
    fn sum(&mut self, nodes: &[Node], from: NodeIndex, next: impl Fn(&Node) -> &[NodeIndex]) -> i64 {
        let mut sum = 0;
        self.stack.extend_from_slice(next(&nodes[from as usize]));
        while let Some(node) = self.stack.pop() {
            if std::mem::replace(&mut self.seen[node as usize], from) != from {
                sum += i64::from(nodes[node as usize].priority_weight);
                self.stack.extend_from_slice(next(&nodes[node as usize]));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{
        dag::{Catalog, Dag},
        spec::{DagSpec, EntrySpec, NodeSpec, WeightRule},
    };

    /// The weights of the tasks of a dag, each (name, own weight, rule), by name.
    fn weights(tasks: &[(&str, i32, WeightRule)], edges: &[(&str, &str)]) -> Vec<(String, i32)> {
        let entries = [EntrySpec::new("e")];
        let mut spec = DagSpec::new("d");
        spec.nodes = tasks
            .iter()
            .map(|(id, weight, rule)| NodeSpec {
                priority_weight: *weight,
                weight_rule: *rule,
                ..NodeSpec::new(*id, "e")
            })
            .collect();
        spec.edges = edges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let dag = Dag::from_spec(&spec, &Catalog::new(&entries)).unwrap();
        let mut weights: Vec<_> = dag.nodes.iter().map(|node| (node.task_id.to_string(), node.weight)).collect();
        weights.sort();
        weights
    }

    #[test]
    fn weights_are_sums_over_all_that_follows_or_went_before_each_once() {
        use WeightRule::{Absolute, Downstream, Upstream};
        let edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("a", "d")];
        for (rule, expected) in [
            (Absolute, [1, 10, 100, 1_000]),
            (Downstream, [1_111, 1_010, 1_100, 1_000]),
            (Upstream, [1, 11, 101, 1_111]),
        ] {
            let tasks = [("a", 1, rule), ("b", 10, rule), ("c", 100, rule), ("d", 1_000, rule)];
            let found: Vec<_> = weights(&tasks, &edges).into_iter().map(|(_, weight)| weight).collect();
            assert_eq!(found, expected, "{rule:?}");
        }
        // Each task has a rule of its own.
        let mixed =
            weights(&[("a", 1, Downstream), ("b", -5, Absolute), ("c", 2, Upstream)], &[("a", "b"), ("b", "c")]);
        assert_eq!(mixed.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [-2, -5, -2]);
    }

    #[test]
    fn weights_stay_within_32_bits() {
        use WeightRule::Downstream;
        let found = weights(&[("a", i32::MAX, Downstream), ("b", i32::MAX, Downstream)], &[("a", "b")]);
        assert_eq!(found[0].1, i32::MAX);
        let found = weights(&[("a", i32::MIN, Downstream), ("b", -1, Downstream)], &[("a", "b")]);
        assert_eq!(found[0].1, i32::MIN);
    }

    #[test]
    fn a_dag_that_is_too_large_for_sums_says_so() {
        let entries = [EntrySpec::new("e")];
        let mut spec = DagSpec::new("d");
        spec.nodes = (0..=super::MAX_SUMMED_NODES).map(|number| NodeSpec::new(format!("t{number}"), "e")).collect();
        assert!(Dag::from_spec(&spec, &Catalog::new(&entries)).is_ok());
        spec.nodes[7].weight_rule = WeightRule::Upstream;
        let error = Dag::from_spec(&spec, &Catalog::new(&entries)).unwrap_err().to_string();
        assert!(error.contains("task `t7` has the rule `upstream`, and the dag 10001 tasks"), "{error}");
    }
}
