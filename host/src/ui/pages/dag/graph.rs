//! The graph of a dag's tasks.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::DagHead;
use crate::{
    model::{
        dag::Node,
        ids::{DagId, TaskId},
    },
    ui::{
        UiState, data,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, page},
    },
};

/// Tasks that an outline lists.
const OUTLINE: usize = 200;

/// What `graph_box.html` needs.
pub struct GraphView {
    pub href: String,
    pub base_href: String,
    pub states_href: Option<String>,
    pub run_id: String,
    pub unfold_href: Option<String>,
    pub tasks: usize,
    pub outline: Vec<OutlineLine>,
    pub tall: bool,
    /// Whether there are few enough boxes.
    pub drawn: bool,
    pub open: bool,
}

/// A task and what it waits for.
pub struct OutlineLine {
    pub task_id: String,
    pub href: String,
    pub after: String,
}

impl GraphView {
    /// Of a version; `base_href` is what a task's address begins with.
    pub fn new(shape: &Shape, is_folded: bool, base_href: String) -> Self {
        let line = |node: &Node| {
            let name = |index: &u32| shape.dag.node(*index).task_id.to_string();
            let mut after: Vec<_> = node.upstream.iter().take(5).map(name).collect();
            if node.upstream.len() > after.len() {
                after.push(format!("{} more", node.upstream.len() - after.len()));
            }
            OutlineLine {
                task_id: node.task_id.to_string(),
                href: format!("{base_href}/tasks/{}", links::part(node.task_id.as_str())),
                after: after.join(", "),
            }
        };
        Self {
            href: links::version_graph(shape.version, is_folded),
            states_href: None,
            run_id: String::new(),
            unfold_href: None,
            tasks: shape.rows(),
            outline: shape.dag.nodes.iter().take(OUTLINE).map(line).collect(),
            drawn: shape.can_draw(is_folded),
            tall: false,
            open: true,
            base_href,
        }
    }
}

#[derive(Template)]
#[template(path = "dag_graph.html")]
struct DagGraphView {
    shell: Shell,
    head: DagHead,
    graph: GraphView,
    fold: Option<(String, String)>,
}

#[derive(Debug, Deserialize)]
pub struct GraphQuery {
    #[serde(default)]
    pub fold: Option<bool>,
}

/// The link that folds or unfolds a graph that can be folded, as (address, text).
pub fn fold_link(shape: &Shape, path: &str, is_folded: bool) -> Option<(String, String)> {
    shape.can_fold().then(|| {
        let text = if is_folded { "Show every task" } else { "Fold tasks that are alike" };
        (format!("{path}?fold={}", !is_folded), text.to_owned())
    })
}

/// `GET /dags/{dag_id}/graph`: with the states of the newest run.
pub async fn graph(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<GraphQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let shape = ui.shapes.get(&ui.store, dag.version).await?;
    let zone = frame.zones(&dag.spec);
    let is_folded = query.fold.unwrap_or(true);
    let newest = data::newest_runs(&ui, &dag_id, 1).await?.pop().filter(|run| run.version == dag.version);
    let base = links::dag(&dag_id);
    let shell = frame.shell(Section::Dags, "dag-graph", format!("{dag_id} graph"));
    let (base_href, shell) = match &newest {
        None => (base.clone(), shell),
        Some(run) => {
            let query = [("dag", dag_id.as_str()), ("run", run.run_id.as_str())];
            (links::run(&dag_id, &run.run_id), shell.live(links::with_query("/ui/events", &query)))
        }
    };
    let mut graph = GraphView::new(&shape, is_folded, base_href.clone());
    graph.tall = true;
    if let Some(run) = &newest {
        graph.states_href = Some(format!("/ui{base_href}/states"));
        graph.run_id = run.run_id.to_string();
    }
    let fold = fold_link(&shape, &format!("{base}/graph"), is_folded);
    graph.unfold_href = fold.as_ref().filter(|_| is_folded).map(|(href, _)| href.clone());
    Ok(page(&DagGraphView { head: DagHead::new(&ui, &dag, "graph", &shell, zone).await?, shell, graph, fold }))
}

/// `GET /dags/{dag_id}/tasks/{task_id}`: the task in the newest run.
pub async fn task(
    State(ui): State<UiState>,
    Path((dag_id, task_id)): Path<(DagId, TaskId)>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let newest = data::newest_runs(&ui, &dag_id, 1).await?.pop();
    let to = match newest {
        Some(run) => links::task(&dag_id, &run.run_id, &task_id, -1),
        None => format!("{}/details", links::dag(&dag_id)),
    };
    Ok(Redirect::to(&to).into_response())
}
