//! The grid of runs and tasks.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    DagHead,
    twin::{TWIN_ROWS, TWIN_RUNS, Twin, tree_order, twin},
};
use crate::{
    model::{ids::DagId, state::TaskState},
    ui::{
        UiState, data,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{Pager, State as StateView},
    },
};

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
    let runs = data::newest_runs(&ui, &dag_id, twin_runs).await?;
    let wanted = query.q.to_lowercase();
    let rows: Vec<usize> = tree_order(&shape.dag)
        .into_iter()
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
        head: DagHead::new(&ui, &dag, "grid", &shell, zone).await?,
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
