//! What is allowed in a dag, and will not do as things stand.

use std::{collections::BTreeSet, fmt};

use super::spec::DagSpec;

/// Tasks that a warning names one by one.
const MAX_TASKS: usize = 5;

/// One thing that somebody should mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DagWarning {
    /// Tasks name a pool that is not there. Airflow: `non-existent pool`.
    NoPool { pool: String, tasks: Vec<String> },
}

impl DagWarning {
    /// Of a dag, where there are these pools.
    pub fn of(spec: &DagSpec, pools: &BTreeSet<String>) -> Vec<Self> {
        let missing = spec.pools().into_iter().filter(|(pool, _)| !pools.contains(*pool));
        let tasks = |tasks: Vec<&str>| tasks.into_iter().map(str::to_owned).collect();
        missing.map(|(pool, named)| Self::NoPool { pool: pool.to_owned(), tasks: tasks(named) }).collect()
    }

    /// Airflow's `DagWarningType`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoPool { .. } => "non-existent pool",
        }
    }
}

impl fmt::Display for DagWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool { pool, tasks } => {
                write!(f, "there is no pool `{pool}`: until it is made, ")?;
                for (at, task) in tasks.iter().take(MAX_TASKS).enumerate() {
                    write!(f, "{}`{task}`", if at == 0 { "" } else { ", " })?;
                }
                if let Some(more) = tasks.len().checked_sub(MAX_TASKS).filter(|more| *more > 0) {
                    write!(f, " and {more} more")?;
                }
                f.write_str(if tasks.len() == 1 { " waits" } else { " wait" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::NodeSpec;

    #[test]
    fn tasks_that_wait_for_a_pool_that_is_not_there_are_named() {
        let mut spec = DagSpec::new("load");
        for (task_id, pool) in [("a", "default_pool"), ("b", "few"), ("c", "none"), ("d", "none")] {
            let mut node = NodeSpec::new(task_id, "work");
            node.pool = pool.to_owned();
            spec.nodes.push(node);
        }
        let pools = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let said =
            |names: &[&str]| DagWarning::of(&spec, &pools(names)).iter().map(DagWarning::to_string).collect::<Vec<_>>();
        assert_eq!(said(&["default_pool", "few", "none"]), Vec::<String>::new());
        assert_eq!(
            said(&["default_pool"]),
            [
                "there is no pool `few`: until it is made, `b` waits",
                "there is no pool `none`: until it is made, `c`, `d` wait",
            ]
        );
        let many = DagWarning::NoPool { pool: "p".into(), tasks: (1..8).map(|task| task.to_string()).collect() };
        assert!(many.to_string().ends_with("`5` and 2 more wait"), "{many}");
    }
}
