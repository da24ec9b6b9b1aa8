//! The small JSON answers that the page's scripts draw from.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    UiState,
    error::UiError,
    links,
    shape::{GroupsShown, Shape},
    shell::Frame,
    show::told,
};
use crate::{
    api::permit::Scoped,
    auth::DagScope,
    model::ids::{DagId, RunId},
    store::{DagRunFilter, DagRunOrder, DagRunRow, DagVersionKey, Order, Page},
};

/// Cells of a grid that are sent at most, but for one run of a larger dag.
const MOST_CELLS: usize = 60_000;
/// Runs of a grid at most.
pub const MOST_RUNS: u32 = 100;

#[derive(Deserialize)]
pub struct GridQuery {
    #[serde(default = "default_runs")]
    pub runs: u32,
}

pub fn default_runs() -> u32 {
    25
}

/// How many of `wanted` runs of a dag with `tasks` tasks a grid shows.
pub fn runs_within(wanted: u32, tasks: usize) -> u32 {
    let room = u32::try_from(MOST_CELLS / tasks.max(1)).unwrap_or(MOST_RUNS);
    wanted.clamp(1, MOST_RUNS).min(room.max(1))
}

/// A column of the grid.
#[derive(Serialize)]
struct GridRun {
    id: RunId,
    state: &'static str,
    letter: char,
    r#type: &'static str,
    /// The logical date as people read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    date: Option<String>,
    /// Microseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
    /// One letter a task.
    cells: String,
}

/// The newest runs of a dag, oldest first.
pub async fn newest_runs(ui: &UiState, dag_id: &DagId, count: u32) -> Result<Vec<DagRunRow>, UiError> {
    let filter =
        DagRunFilter { order_by: DagRunOrder::Key, order: Order::Descending, ..DagRunFilter::of_dag(dag_id.clone()) };
    let mut runs = ui.store.dag_run_list(&filter, Page::first(count)).await?.items;
    runs.reverse();
    Ok(runs)
}

async fn cells(ui: &UiState, shape: &Shape, run: &DagRunRow) -> Result<String, UiError> {
    Ok(shape.pack(&ui.store.task_instance_states(run.key).await?))
}

/// `GET /ui/dags/{dag_id}/grid`: the newest runs with the state of each task of the dag's present version.
pub async fn grid(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<GridQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let shape = ui.shapes.get(&ui.store, dag.version).await?;
    let runs = newest_runs(&ui, &dag_id, runs_within(query.runs, shape.rows())).await?;
    let zone = frame.zones(&dag.spec);
    let all_cells = try_join_all(runs.iter().map(|run| cells(&ui, &shape, run))).await?;
    let runs: Vec<_> = runs
        .into_iter()
        .zip(all_cells)
        .map(|(run, cells)| GridRun {
            state: run.state.as_str(),
            letter: char::from(super::run_letter(run.state)),
            r#type: run.run_type.as_str(),
            date: run.logical_date.map(|date| told(date, zone.shown)),
            start: run.start_date.map(crate::model::time::Timestamp::as_micros),
            end: run.end_date.map(crate::model::time::Timestamp::as_micros),
            id: run.run_id,
            cells,
        })
        .collect();
    Ok(Json(json!({ "version": dag.version.0, "tasks": links::version_tasks(dag.version), "runs": runs }))
        .into_response())
}

/// `GET /ui/dags/{dag_id}/runs/{run_id}/states`: one letter for each task of the run's version,
/// and counts of the instances of those that are mapped.
pub async fn states(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
) -> Result<Response, UiError> {
    let run = ui.run(&dag_id, &run_id).await?;
    let shape = ui.shapes.get(&ui.store, run.version).await?;
    let states = ui.store.task_instance_states(run.key).await?;
    let (cells, mapped) = (shape.pack(&states), shape.mapped(&states));
    Ok(Json(json!({ "state": run.state, "cells": cells, "mapped": mapped })).into_response())
}

/// The shape of a version of a dag that may be seen.
async fn seen_shape(ui: &UiState, scope: &DagScope, version: i64) -> Result<Arc<Shape>, UiError> {
    let shape = ui.shapes.get(&ui.store, DagVersionKey(version)).await?;
    if scope.sees(&DagId::new(&shape.spec.dag_id)?) {
        return Ok(shape);
    }
    Err(UiError::NotFound(format!("dag_version {version} does not exist")))
}

/// `GET /ui/dag_versions/{version}/tasks`: the names of the grid's rows.
pub async fn version_tasks(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    Path(version): Path<i64>,
) -> Result<Response, UiError> {
    let shape = seen_shape(&ui, &scope, version).await?;
    Ok(immutable(shape.tasks_json()))
}

#[derive(Deserialize)]
pub struct GraphQuery {
    #[serde(default = "yes")]
    pub fold: bool,
    #[serde(flatten)]
    pub groups: GroupsShown,
}

fn yes() -> bool {
    true
}

/// `GET /ui/dag_versions/{version}/graph`: where the boxes stand.
pub async fn version_graph(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    Path(version): Path<i64>,
    Query(query): Query<GraphQuery>,
) -> Result<Response, UiError> {
    let shape = seen_shape(&ui, &scope, version).await?;
    let graph = tokio::task::spawn_blocking(move || shape.graph_json(query.fold, &query.groups))
        .await
        .map_err(UiError::internal)?;
    Ok(immutable(graph))
}

/// A version's data never changes; only who may see it does, so it is kept by the browser alone.
fn immutable(json: Bytes) -> Response {
    let about =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "private, max-age=86400, immutable")];
    (about, json).into_response()
}
