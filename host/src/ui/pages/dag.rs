//! The pages of a dag: grid, graph, runs, details.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::{
    Question, confirm,
    dags::{Switch, Tag, next_run},
};
use crate::{
    model::{
        ids::{DagId, RunId},
        state::{RunState, TaskState},
    },
    store::{DagRow, DagRunFilter, DagRunOrder, DagRunRow, Order, Page},
    ui::{
        UiState, data, doc,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{self, Crumbs, Facts, Html, Pager, Span, State as StateView, StateCell, StateIcon, When},
    },
};

/// Rows and columns of the grid's table twin.
const TWIN_ROWS: usize = 60;
const TWIN_RUNS: usize = 10;
const RUNS: u32 = 50;
/// Tasks that an outline lists.
const OUTLINE: usize = 200;

/// What the pages of a dag have above.
struct DagHead {
    crumbs: Crumbs,
    title: DagId,
    description: Option<String>,
    is_paused: bool,
    switch: Switch,
    schedule: String,
    next: Option<When>,
    tags: Vec<Tag>,
    base_href: String,
    trigger_href: String,
    delete_href: String,
    tabs: Vec<Tab>,
}

/// A view among others.
pub struct Tab {
    pub name: &'static str,
    pub label: String,
    pub href: String,
    pub current: bool,
}

impl DagHead {
    async fn new(ui: &UiState, dag: &DagRow, current: &'static str, here: &str) -> Self {
        let base = links::dag(&dag.dag_id);
        let tab = |(name, label): (&'static str, &str)| Tab {
            name,
            label: label.to_owned(),
            href: if name == "grid" { base.clone() } else { format!("{base}/{name}") },
            current: name == current,
        };
        Self {
            crumbs: Crumbs::new([("/dags".to_owned(), "DAGs".to_owned())]),
            title: dag.dag_id.clone(),
            description: dag.spec.description.clone().or_else(|| dag.spec.display_name.clone()),
            is_paused: dag.is_paused,
            switch: Switch {
                dag_id: dag.dag_id.clone(),
                is_paused: dag.is_paused,
                next: here.to_owned(),
                labelled: true,
            },
            schedule: show::schedule(&dag.spec),
            next: next_run(ui, dag).await,
            tags: Tag::all(&dag.spec.tags),
            trigger_href: format!("{base}/trigger"),
            delete_href: format!("{base}/delete"),
            tabs: [("grid", "Grid"), ("graph", "Graph"), ("runs", "Runs"), ("details", "Details")].map(tab).into(),
            base_href: base,
        }
    }
}

// ---- grid ---------------------------------------------------------------------------------------

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
    legend: Vec<StateView>,
}

/// The grid as a table.
struct Twin {
    runs: Vec<TwinRun>,
    rows: Vec<TwinRow>,
    pager: Pager,
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
    cells: Vec<Option<TwinCell>>,
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
    let twin = twin(&ui, &shape, &runs, &rows, query.offset, address).await?;
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
        head: DagHead::new(&ui, &dag, "grid", &shell.here).await,
        shell,
        run_choices,
        runs_shown,
        data_href: format!("/ui{base}/grid?runs={runs_shown}"),
        tasks_href: links::version_tasks(dag.version),
        twin,
        legend: TaskState::ALL.iter().copied().map(StateView::from).collect(),
        q: query.q,
    }))
}

async fn twin(
    ui: &UiState,
    shape: &Shape,
    runs: &[DagRunRow],
    rows: &[usize],
    offset: usize,
    address: impl Fn(usize) -> String,
) -> Result<Twin, UiError> {
    let states = try_join_all(runs.iter().map(|run| ui.store.task_instance_states(run.key))).await?;
    let packed: Vec<Vec<u8>> = states.iter().map(|states| shape.pack(states).into_bytes()).collect();
    let state_of = |letter: u8| TaskState::ALL.iter().copied().find(|state| state.letter() == letter);
    let shown: Vec<_> = rows.iter().copied().skip(offset).take(TWIN_ROWS).collect();
    let line = |row: usize| {
        let task_id = &shape.dag.nodes[row].task_id;
        let cell = |(run, letters): (&DagRunRow, &Vec<u8>)| {
            let state = StateView::from(state_of(*letters.get(row)?)?);
            Some(TwinCell {
                href: links::task(&run.dag_id, &run.run_id, task_id, -1),
                told: format!("{task_id} in {}: {}", run.run_id, state.words()),
                state: state.cell(),
            })
        };
        TwinRow { task_id: task_id.to_string(), cells: runs.iter().zip(&packed).map(cell).collect() }
    };
    let total = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut pager = Pager::new(offset, TWIN_ROWS, shown.len(), total, address);
    pager.more = false;
    Ok(Twin {
        runs: runs
            .iter()
            .map(|run| TwinRun {
                run_id: run.run_id.clone(),
                href: links::run(&run.dag_id, &run.run_id),
                state: StateIconOf(run.state.into()),
                state_name: run.state.as_str(),
                short: run.logical_date.unwrap_or(run.run_after).to_utc().format("%m-%d").to_string(),
            })
            .collect(),
        rows: shown.into_iter().map(line).collect(),
        pager,
    })
}

// ---- graph --------------------------------------------------------------------------------------

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
        let line = |node: &crate::model::dag::Node| {
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
    Ok(page(&DagGraphView { head: DagHead::new(&ui, &dag, "graph", &shell.here).await, shell, graph, fold }))
}

/// `GET /dags/{dag_id}/tasks/{task_id}`: the task in the newest run.
pub async fn task(
    State(ui): State<UiState>,
    Path((dag_id, task_id)): Path<(DagId, crate::model::ids::TaskId)>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let newest = data::newest_runs(&ui, &dag_id, 1).await?.pop();
    let to = match newest {
        Some(run) => links::task(&dag_id, &run.run_id, &task_id, -1),
        None => format!("{}/details", links::dag(&dag_id)),
    };
    Ok(Redirect::to(&to).into_response())
}

// ---- runs ---------------------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "dag_runs.html")]
struct RunsView {
    shell: Shell,
    head: DagHead,
    chips: Vec<Chip>,
    filtered: bool,
    rows: Vec<RunLine>,
    pager: Pager,
}

/// A choice among filters.
pub struct Chip {
    pub label: Html,
    pub href: String,
    pub class: Option<String>,
    pub current: bool,
}

struct RunLine {
    run_id: RunId,
    href: String,
    state: StateView,
    logical_date: When,
    started: When,
    duration: Span,
    trigger: String,
    note: String,
}

#[derive(Debug, Deserialize)]
pub struct RunsQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    offset: u32,
}

/// `GET /dags/{dag_id}/runs`
pub async fn runs(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<RunsQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let zone = show::zone(&dag.spec);
    let filter = DagRunFilter {
        dag_id: Some(dag_id.clone()),
        states: query.state.parse().into_iter().collect(),
        order_by: DagRunOrder::Key,
        order: Order::Descending,
        ..DagRunFilter::default()
    };
    let listed = ui.store.dag_run_list(&filter, Page { limit: RUNS, offset: query.offset }).await?;
    let now = ui.clock.now();
    let path = format!("{}/runs", links::dag(&dag_id));
    let rows: Vec<_> = listed
        .items
        .into_iter()
        .map(|run| RunLine {
            href: links::run(&dag_id, &run.run_id),
            state: run.state.into(),
            logical_date: When { at: run.logical_date, zone },
            started: When { at: run.start_date, zone },
            duration: Span::between(run.start_date, run.end_date, now),
            trigger: trigger_of(&run),
            note: run.note.unwrap_or_default(),
            run_id: run.run_id,
        })
        .collect();
    let chip = |state: Option<RunState>| {
        let name = state.map_or("", RunState::as_str);
        let view = state.map(StateView::from);
        Chip {
            label: view
                .map_or_else(|| Html::new().text("All"), |view| Html::new().markup(view.icon()).text(view.words())),
            href: links::with_query(&path, &[("state", name)]),
            class: view.map(StateView::class),
            current: query.state == name,
        }
    };
    let offset = usize::try_from(query.offset).unwrap_or(0);
    let address = |at: usize| links::with_query(&path, &[("state", &query.state), ("offset", &at.to_string())]);
    let events = links::with_query("/ui/events", &[("dag", dag_id.as_str())]);
    let shell = frame.shell(Section::Dags, "dag-runs", format!("{dag_id} runs")).live(events);
    Ok(page(&RunsView {
        head: DagHead::new(&ui, &dag, "runs", &shell.here).await,
        shell,
        chips: std::iter::once(None).chain(RunState::ALL.iter().copied().map(Some)).map(chip).collect(),
        filtered: !query.state.is_empty(),
        pager: Pager::new(offset, RUNS as usize, rows.len(), listed.total, address),
        rows,
    }))
}

/// What made a run, in words.
pub fn trigger_of(run: &DagRunRow) -> String {
    match &run.triggering_user {
        Some(user) => format!("{} by {user} ({})", run.run_type.as_str(), run.triggered_by),
        None => format!("{} ({})", run.run_type.as_str(), run.triggered_by),
    }
}

// ---- details ------------------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "dag_details.html")]
struct DetailsView {
    shell: Shell,
    head: DagHead,
    facts: Facts,
    grants: Facts,
    params: Vec<ParamLine>,
    versions: Vec<VersionLine>,
    next_runs: Vec<show::WhenBoth>,
    doc: Html,
}

struct ParamLine {
    name: String,
    default: String,
    schema: String,
}

struct VersionLine {
    number: i64,
    href: String,
    digest: String,
    at: When,
}

/// `GET /dags/{dag_id}/details`
pub async fn details(State(ui): State<UiState>, frame: Frame, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let spec = &dag.spec;
    let zone = show::zone(spec);
    let versions = ui.store.dag_version_list(&dag_id, Page::first(20)).await?.items;
    let next_runs = ui.scheduler.next_runs(&dag_id, ui.clock.now(), 10).await.unwrap_or_default();
    let seconds = |ms: u64| Span(Some(std::time::Duration::from_millis(ms)));
    let facts = Facts::new()
        .text("Schedule", show::schedule(spec))
        .text("Time zone", &spec.timezone)
        .html("Start", When { at: spec.start, zone })
        .html("End", When { at: spec.end, zone })
        .text("Catchup", if spec.catchup { "yes" } else { "no" })
        .text("Runs at a time", spec.max_active_runs)
        .text("Tasks at a time, per run", spec.max_active_tasks)
        .maybe("Run timeout", spec.run_timeout_ms.map(seconds))
        .text("Tasks", show::grouped(spec.nodes.len()))
        .maybe("Owners", (!spec.owners.is_empty()).then(|| spec.owners.join(", ")))
        .html("Created", When { at: Some(dag.created_at), zone })
        .html("Changed", When { at: Some(dag.updated_at), zone });
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let memory = spec.grants.memory_mib.unwrap_or(crate::model::grants::DEFAULT_MEMORY_MIB);
    let grants = Facts::new()
        .text("Variables", list(&spec.grants.variables))
        .text("Connections", list(&spec.grants.connections))
        .text("Hosts", list(&spec.grants.hosts))
        .text("Memory of an attempt", format!("{memory} MiB"));
    let params = spec
        .params
        .iter()
        .map(|param| ParamLine {
            name: param.name.clone(),
            default: param.default.clone().unwrap_or_else(|| "needed".into()),
            schema: param.schema.clone(),
        })
        .collect();
    let versions = versions
        .into_iter()
        .map(|version| VersionLine {
            number: version.version_number,
            href: links::component(&version.component),
            digest: super::components::short(&version.component),
            at: When { at: Some(version.created_at), zone },
        })
        .collect();
    let shell = frame.shell(Section::Dags, "dag-details", format!("{dag_id} details"));
    Ok(page(&DetailsView {
        head: DagHead::new(&ui, &dag, "details", &shell.here).await,
        shell,
        facts,
        grants,
        params,
        versions,
        next_runs: next_runs.into_iter().map(|run| show::WhenBoth(When { at: Some(run.run_after), zone })).collect(),
        doc: spec.doc.as_deref().map(doc::render).unwrap_or_default(),
    }))
}

// ---- actions ------------------------------------------------------------------------------------

#[derive(Deserialize)]
pub struct PauseForm {
    paused: bool,
    #[serde(default)]
    next: String,
}

/// `POST /dags/{dag_id}/pause`
pub async fn pause(
    State(ui): State<UiState>,
    Path(dag_id): Path<DagId>,
    Form(form): Form<PauseForm>,
) -> Result<Response, UiError> {
    ui.scheduler.dag_set_paused(&dag_id, form.paused).await?;
    Ok(Redirect::to(links::local(&form.next)).into_response())
}

/// `GET /dags/{dag_id}/delete`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let base = links::dag(&dag_id);
    Ok(confirm(
        frame,
        Question {
            section: Section::Dags,
            crumbs: Crumbs::new([("/dags".to_owned(), "DAGs".to_owned()), (base.clone(), dag_id.to_string())]),
            text: format!("Delete {dag_id}?"),
            lines: vec![
                "Its runs, logs, XComs and artifacts are deleted with it. This can't be undone.".into(),
                "Its component stays; uploading it again brings the DAG back, without its history.".into(),
            ],
            action: format!("{base}/delete"),
            fields: Vec::new(),
            verb: "Delete",
            dangerous: true,
            back: base,
        },
    ))
}

/// `POST /dags/{dag_id}/delete`
pub async fn delete(State(ui): State<UiState>, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    ui.scheduler.dag_delete(&dag_id).await?;
    Ok(go_and_tell("/dags", &format!("{dag_id} was deleted.")))
}
