//! The grid as a table: for keyboards, screen readers, and whoever has no JavaScript.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use crate::{
    model::{
        dag::{Dag, GroupIndex},
        ids::RunId,
        state::TaskState,
    },
    store::DagRunRow,
    ui::{
        UiState,
        error::UiError,
        links,
        shape::Shape,
        show::{State as StateView, StateCell, StateIcon, Zones},
    },
};

/// Rows of tasks, and columns.
pub const TWIN_ROWS: usize = 60;
pub const TWIN_RUNS: usize = 10;

pub struct Twin {
    /// The newest at the right, as in the grid.
    pub runs: Vec<TwinRun>,
    pub rows: Vec<TwinRow>,
}

pub struct TwinRun {
    /// Tells it from the others, shorter than its id.
    pub key: i64,
    pub run_id: RunId,
    pub href: String,
    pub state: StateIconOf,
    pub state_name: &'static str,
    /// Month and day.
    pub short: String,
    /// The time of the day, if another one is of the same.
    pub time: Option<String>,
}

/// A run's state as an icon in its colour.
pub struct StateIconOf(StateView);

impl std::fmt::Display for StateIconOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let icon: StateIcon = self.0.icon();
        write!(f, "<span class=\"state s-{}\">{icon}</span>", self.0.name())
    }
}

impl askama::filters::HtmlSafe for StateIconOf {}

/// A task, or a group above its tasks.
pub struct TwinRow {
    pub name: String,
    pub is_group: bool,
    /// Groups around it.
    pub depth: usize,
    pub cells: Vec<TwinCell>,
}

pub struct TwinCell {
    /// The key of its run.
    pub run: i64,
    pub href: String,
    pub told: String,
    pub state: StateCell,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Group(GroupIndex),
    Task(usize),
}

/// The groups around a task, the outermost first.
fn around(dag: &Dag, row: usize) -> Vec<GroupIndex> {
    let parent = |group: &GroupIndex| dag.groups.get(*group as usize).and_then(|group| group.parent);
    let mut groups: Vec<_> = std::iter::successors(dag.nodes[row].group, parent).collect();
    groups.reverse();
    groups
}

/// The rows of all tasks, those of a group one after another; a group stands where its first task does.
pub fn tree_order(dag: &Dag) -> Vec<usize> {
    let mut first: BTreeMap<GroupIndex, usize> = BTreeMap::new();
    for row in 0..dag.nodes.len() {
        for group in around(dag, row) {
            first.entry(group).or_insert(row);
        }
    }
    let place = |row: &usize| {
        let groups = around(dag, *row);
        groups.iter().map(|group| first[group]).chain([*row]).collect::<Vec<_>>()
    };
    let mut rows: Vec<_> = (0..dag.nodes.len()).collect();
    rows.sort_by_cached_key(place);
    rows
}

/// The tasks `shown`, each group above its first.
fn with_groups(dag: &Dag, shown: &[usize]) -> Vec<(usize, Place)> {
    let mut rows = Vec::with_capacity(shown.len());
    let mut before: Vec<GroupIndex> = Vec::new();
    for row in shown {
        let groups = around(dag, *row);
        let same = before.iter().zip(&groups).take_while(|(one, other)| one == other).count();
        rows.extend(groups.iter().enumerate().skip(same).map(|(depth, group)| (depth, Place::Group(*group))));
        rows.push((groups.len(), Place::Task(*row)));
        before = groups;
    }
    rows
}

/// The rows `shown` of the grid, and the groups around them.
///
/// # Errors
/// If the store can't be read.
pub async fn twin(
    ui: &UiState,
    shape: &Shape,
    runs: &[DagRunRow],
    shown: &[usize],
    zone: Zones,
) -> Result<Twin, UiError> {
    let rows = with_groups(&shape.dag, shown);
    let mut members: BTreeMap<GroupIndex, Vec<usize>> = BTreeMap::new();
    if !shape.dag.groups.is_empty() {
        for row in 0..shape.rows() {
            for group in around(&shape.dag, row) {
                members.entry(group).or_default().push(row);
            }
        }
    }
    // A group is in the state of the task in it that needs a look first, whether that is shown or not.
    let of_groups = rows.iter().flat_map(|(_, place)| match place {
        Place::Group(group) => members[group].as_slice(),
        Place::Task(row) => std::slice::from_ref(row),
    });
    let asked: BTreeSet<usize> = of_groups.copied().collect();
    let tasks: Vec<_> = asked.iter().map(|row| shape.dag.nodes[*row].task_id.clone()).collect();
    let states = try_join_all(runs.iter().map(|run| ui.store.task_instance_counts_of(run.key, &tasks))).await?;
    let letters: Vec<BTreeMap<usize, TaskState>> = states.iter().map(|states| shape.worst(states)).collect();
    let line = |(depth, place): (usize, Place)| {
        let (id, is_group, of_row) = match place {
            Place::Group(group) => (&shape.dag.groups[group as usize].group_id, true, members[&group].as_slice()),
            Place::Task(row) => (&shape.dag.nodes[row].task_id, false, &[row][..]),
        };
        let cell = |(run, letters): (&DagRunRow, &BTreeMap<usize, TaskState>)| {
            let states = of_row.iter().filter_map(|row| letters.get(row).copied());
            let state = StateView::from(states.reduce(TaskState::summary).unwrap_or(TaskState::None));
            TwinCell {
                run: run.key.0,
                href: if is_group {
                    links::run(&run.dag_id, &run.run_id)
                } else {
                    links::task(&run.dag_id, &run.run_id, id, -1)
                },
                told: format!("{}{id} in {}: {}", if is_group { "group " } else { "" }, run.run_id, state.words()),
                state: state.cell(),
            }
        };
        TwinRow { name: id.to_string(), is_group, depth, cells: runs.iter().zip(&letters).map(cell).collect() }
    };
    let at = |run: &DagRunRow| run.logical_date.unwrap_or(run.run_after).to_utc().with_timezone(&zone.shown);
    let mut of_day: BTreeMap<_, usize> = BTreeMap::new();
    for run in runs {
        *of_day.entry(at(run).date_naive()).or_default() += 1;
    }
    Ok(Twin {
        runs: runs
            .iter()
            .map(|run| TwinRun {
                key: run.key.0,
                run_id: run.run_id.clone(),
                href: links::run(&run.dag_id, &run.run_id),
                state: StateIconOf(run.state.into()),
                state_name: run.state.as_str(),
                short: at(run).format("%m-%d").to_string(),
                time: (of_day[&at(run).date_naive()] > 1).then(|| at(run).format("%H:%M").to_string()),
            })
            .collect(),
        rows: rows.into_iter().map(line).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        dag::Catalog,
        spec::{DagSpec, EntrySpec, GroupSpec, NodeSpec},
    };

    #[test]
    fn groups_stand_above_their_tasks_where_the_first_of_them_does() {
        let group = |id: &str, parent: Option<&str>| GroupSpec {
            group_id: id.into(),
            parent: parent.map(Into::into),
            doc: None,
            expand: None,
        };
        let node = |(task, group): (&str, Option<&str>)| NodeSpec {
            group: group.map(Into::into),
            ..NodeSpec::new(task, "work")
        };
        let nodes = [("a", None), ("x", Some("in")), ("b", None), ("y", Some("out")), ("z", Some("in"))];
        let spec = DagSpec {
            nodes: nodes.map(node).into(),
            groups: vec![group("out", None), group("in", Some("out"))],
            ..DagSpec::new("d")
        };
        let work = [EntrySpec::new("work")];
        let dag = Dag::from_spec(&spec, &Catalog::new(&work)).unwrap();
        let name = |(depth, place): &(usize, Place)| match place {
            Place::Group(group) => format!("{depth}[{}]", dag.groups[*group as usize].group_id),
            Place::Task(row) => format!("{depth}{}", dag.nodes[*row].task_id),
        };
        let order = tree_order(&dag);
        let shown = |rows: &[usize]| with_groups(&dag, rows).iter().map(name).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(&order), "0a 0[out] 1[in] 2x 2z 1y 0b");
        // A page that begins in a group says which.
        assert_eq!(shown(&order[2..]), "0[out] 1[in] 2z 1y 0b");
    }
}
