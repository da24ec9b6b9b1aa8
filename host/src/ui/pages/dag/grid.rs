//! The grid of runs and tasks.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::DagHead;
use crate::{
    model::{
        ids::{DagId, RunId},
        state::TaskState,
    },
    store::DagRunRow,
    ui::{
        UiState, data,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, page},
        show::{Pager, State as StateView, StateCell, StateIcon, Zones},
    },
};

/// Rows and columns of the grid's table twin.
const TWIN_ROWS: usize = 60;
const TWIN_RUNS: usize = 10;

#[derive(Template)]
#[template(path = "dag_grid.html")]
struct GridView {
    shell: Shell,
    head: DagHead,
    q: String,
    run_choices: Vec<u32>,
    runs_shown: u32,
    data_href: String,
    tasks_href: String,
    twin: Twin,
    pager: Pager,
    legend: Vec<StateView>,
}

/// The grid as a table.
struct Twin {
    runs: Vec<TwinRun>,
    rows: Vec<TwinRow>,
}

struct TwinRun {
    run_id: RunId,
    href: String,
    state: StateIconOf,
    state_name: &'static str,
    /// Month and day.
    short: String,
}

/// A run's state as an icon in its colour.
struct StateIconOf(StateView);

impl std::fmt::Display for StateIconOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let icon: StateIcon = self.0.icon();
        write!(f, "<span class=\"state s-{}\">{icon}</span>", self.0.name())
    }
}

impl askama::filters::HtmlSafe for StateIconOf {}

struct TwinRow {
    task_id: String,
    cells: Vec<TwinCell>,
}

struct TwinCell {
    href: String,
    told: String,
    state: StateCell,
}

#[derive(Debug, Deserialize)]
pub struct GridQuery {
    #[serde(default)]
    q: String,
    #[serde(default = "data::default_runs")]
    runs: u32,
    #[serde(default)]
    offset: usize,
}

/// `GET /dags/{dag_id}`
pub async fn grid(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<GridQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let shape = ui.shapes.get(&ui.store, dag.version).await?;
    let zone = frame.zones(&dag.spec);
    let runs_shown = data::runs_within(query.runs, shape.rows());
    let base = links::dag(&dag_id);
    let address = |offset: usize| {
        let (runs, offset) = (query.runs.to_string(), offset.to_string());
        links::with_query(&base, &[("q", &query.q), ("runs", &runs), ("offset", &offset)])
    };
    let twin_runs = runs_shown.min(u32::try_from(TWIN_RUNS).unwrap_or(runs_shown));
    let mut runs = data::newest_runs(&ui, &dag_id, twin_runs).await?;
    runs.reverse();
    let wanted = query.q.to_lowercase();
    let rows: Vec<usize> = (0..shape.rows())
        .filter(|row| shape.dag.nodes[*row].task_id.as_str().to_lowercase().contains(&wanted))
        .collect();
    let shown: Vec<_> = rows.iter().copied().skip(query.offset).take(TWIN_ROWS).collect();
    let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let pager = Pager { more: false, ..Pager::new(query.offset, TWIN_ROWS, shown.len(), total, address) };
    let twin = twin(&ui, &shape, &runs, &shown, zone).await?;
    let events = links::with_query("/ui/events", &[("dag", dag_id.as_str())]);
    let shell = frame.shell(Section::Dags, "dag-grid", dag_id.as_str()).live(events);
    let mut run_choices: Vec<u32> = [5, 10, 25, 50, data::MOST_RUNS]
        .into_iter()
        .filter(|count| *count <= data::runs_within(*count, shape.rows()))
        .collect();
    if !run_choices.contains(&runs_shown) {
        run_choices.push(runs_shown);
        run_choices.sort_unstable();
    }
    Ok(page(&GridView {
        head: DagHead::new(&ui, &dag, "grid", &shell.here, zone).await,
        shell,
        run_choices,
        runs_shown,
        data_href: format!("/ui{base}/grid?runs={runs_shown}"),
        tasks_href: links::version_tasks(dag.version),
        twin,
        pager,
        legend: TaskState::ALL.iter().copied().map(StateView::from).collect(),
        q: query.q,
    }))
}

/// The rows `shown` of the grid.
async fn twin(ui: &UiState, shape: &Shape, runs: &[DagRunRow], shown: &[usize], zone: Zones) -> Result<Twin, UiError> {
    let tasks: Vec<_> = shown.iter().map(|row| shape.dag.nodes[*row].task_id.clone()).collect();
    let states = try_join_all(runs.iter().map(|run| ui.store.task_instance_counts_of(run.key, &tasks))).await?;
    let letters: Vec<BTreeMap<usize, TaskState>> = states.iter().map(|states| shape.worst(states)).collect();
    let line = |row: usize| {
        let task_id = &shape.dag.nodes[row].task_id;
        let cell = |(run, letters): (&DagRunRow, &BTreeMap<usize, TaskState>)| {
            let state = StateView::from(letters.get(&row).copied().unwrap_or(TaskState::None));
            TwinCell {
                href: links::task(&run.dag_id, &run.run_id, task_id, -1),
                told: format!("{task_id} in {}: {}", run.run_id, state.words()),
                state: state.cell(),
            }
        };
        TwinRow { task_id: task_id.to_string(), cells: runs.iter().zip(&letters).map(cell).collect() }
    };
    let day = |run: &DagRunRow| run.logical_date.unwrap_or(run.run_after).to_utc().with_timezone(&zone.shown);
    Ok(Twin {
        runs: runs
            .iter()
            .map(|run| TwinRun {
                run_id: run.run_id.clone(),
                href: links::run(&run.dag_id, &run.run_id),
                state: StateIconOf(run.state.into()),
                state_name: run.state.as_str(),
                short: day(run).format("%m-%d").to_string(),
            })
            .collect(),
        rows: shown.iter().copied().map(line).collect(),
    })
}
