//! The pages of a run.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    Question, confirm,
    dag::{Chip, GraphView, fold_link, trigger_of},
    task::{Choice, ClearOptions, ClearView},
};
use crate::{
    model::{
        ids::{DagId, RunId, TaskId},
        state::{RunState, TaskState},
    },
    scheduler::ClearRequest,
    store::{DagRunRow, InstanceKey, MAX_PAGE, Page, TaskInstanceFilter, TaskInstanceRow},
    ui::{
        UiState,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{self, Crumbs, Facts, Html, Pager, Progress, Span, State as StateView, StateBadge, When, WhenBoth},
    },
};

const ROWS: usize = 100;
/// Characters of a message that a list shows.
const MESSAGE: usize = 160;

/// The states in the order in which progress is told: what is done, what needs a look, what goes on, what waits.
const PROGRESS: [TaskState; 12] = [
    TaskState::Success,
    TaskState::Skipped,
    TaskState::Failed,
    TaskState::UpstreamFailed,
    TaskState::UpForRetry,
    TaskState::Running,
    TaskState::Restarting,
    TaskState::UpForReschedule,
    TaskState::Queued,
    TaskState::Scheduled,
    TaskState::None,
    TaskState::Removed,
];

#[derive(Template)]
#[template(path = "run.html")]
struct RunView {
    shell: Shell,
    crumbs: Crumbs,
    run_id: RunId,
    base_href: String,
    state: StateBadge,
    state_name: &'static str,
    is_finished: bool,
    facts: Facts,
    progress: Html,
    graph: GraphView,
    fold: Option<(String, String)>,
    state_filter: String,
    q: String,
    filtered: bool,
    chips: Vec<Chip>,
    rows: Vec<TaskLine>,
    pager: Pager,
    conf: String,
    note: String,
}

struct TaskLine {
    task_id: TaskId,
    label: String,
    href: String,
    state: StateView,
    tries: String,
    started: When,
    duration: Span,
    message: String,
}

/// A task's name, with its index if it is mapped.
pub fn label(task_id: &TaskId, map_index: i32) -> String {
    if map_index < 0 { task_id.to_string() } else { format!("{task_id} [{map_index}]") }
}

/// How many tries an instance may have in all. Airflow counts the retries only.
pub fn tries(row: &TaskInstanceRow) -> u32 {
    row.try_number.max(row.max_tries.saturating_add(1))
}

/// The way to a run.
pub fn crumbs(dag_id: &DagId, run_id: Option<&RunId>) -> Crumbs {
    let top = [("/dags".to_owned(), "DAGs".to_owned()), (links::dag(dag_id), dag_id.to_string())];
    Crumbs::new(top.into_iter().chain(run_id.map(|run_id| (links::run(dag_id, run_id), run_id.to_string()))))
}

#[derive(Debug, Deserialize)]
pub struct RunQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    fold: Option<bool>,
}

/// `GET /dags/{dag_id}/runs/{run_id}`
pub async fn show(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Query(query): Query<RunQuery>,
) -> Result<Response, UiError> {
    let run = ui.run(&dag_id, &run_id).await?;
    let shape = ui.shapes.get(&ui.store, run.version).await?;
    let base = links::run(&dag_id, &run_id);
    let states = ui.store.task_instance_states(run.key).await?;
    let mut counts = Vec::new();
    for state in &PROGRESS {
        let count = states.iter().filter(|(_, _, other)| other == state).count();
        if count > 0 {
            counts.push((*state, i64::try_from(count).unwrap_or(i64::MAX)));
        }
    }
    let (keys, found) = instances(&shape, &run, states, &query);
    let rows = fetch(&ui, &run, &keys).await?;

    let now = ui.clock.now();
    let zone = show::zone(&shape.spec);
    let address = |state: &str, offset: usize| {
        let offset = if offset == 0 { String::new() } else { offset.to_string() };
        links::with_query(&base, &[("state", state), ("q", &query.q), ("offset", &offset)])
    };
    let all: i64 = counts.iter().map(|(_, count)| count).sum();
    let mut chips = vec![Chip {
        label: Html::new()
            .markup("<b>")
            .text(show::grouped(usize::try_from(all).unwrap_or(0)))
            .markup("</b>")
            .text(" all"),
        href: address("", 0),
        class: None,
        current: query.state.is_empty(),
    }];
    chips.extend(counts.iter().map(|(state, count)| {
        let view = StateView::from(*state);
        let count = show::grouped(usize::try_from(*count).unwrap_or(0));
        Chip {
            label: Html::new()
                .markup(view.icon())
                .markup("<b>")
                .text(count)
                .markup("</b>")
                .text(format!(" {}", view.words())),
            href: address(view.name(), 0),
            class: Some(view.class()),
            current: query.state == view.name(),
        }
    }));
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| TaskLine {
            label: label(&row.task_id, row.map_index),
            href: links::task(&dag_id, &run_id, &row.task_id, row.map_index),
            state: row.state.into(),
            tries: if row.try_number > 0 { format!("{}/{}", row.try_number, tries(&row)) } else { String::new() },
            started: When { at: row.start_date, zone },
            duration: Span::between(row.start_date, row.end_date, now),
            message: shortened(row.message.as_deref().unwrap_or_default()),
            task_id: row.task_id,
        })
        .collect();
    let is_folded = query.fold.unwrap_or(true);
    let fold = fold_link(&shape, &base, is_folded);
    let mut graph = GraphView::new(&shape, is_folded, base.clone());
    graph.states_href = Some(format!("/ui{base}/states"));
    graph.run_id = run_id.to_string();
    graph.unfold_href = fold.as_ref().filter(|_| is_folded).map(|(href, _)| href.clone());
    let events = links::with_query("/ui/events", &[("dag", dag_id.as_str()), ("run", run_id.as_str())]);
    Ok(page(&RunView {
        shell: frame.shell(Section::Dags, "run", format!("{run_id} of {dag_id}")).live(events),
        crumbs: crumbs(&dag_id, None),
        base_href: base.clone(),
        state: StateView::from(run.state).badge(),
        state_name: run.state.as_str(),
        is_finished: run.state.is_finished(),
        facts: facts(&run, zone, now),
        progress: Html::new().markup(Progress(&counts)),
        graph,
        fold,
        filtered: !query.state.is_empty() || !query.q.is_empty(),
        pager: Pager {
            more: false,
            ..Pager::new(query.offset, ROWS, rows.len(), i64::try_from(found).unwrap_or(0), |at| {
                address(&query.state, at)
            })
        },
        chips,
        rows,
        conf: pretty(&run.conf),
        note: run.note.clone().unwrap_or_default(),
        state_filter: query.state,
        q: query.q,
        run_id,
    }))
}

fn facts(run: &DagRunRow, zone: chrono_tz::Tz, now: crate::model::time::Timestamp) -> Facts {
    let both = |at| WhenBoth(When { at, zone });
    let mut facts = Facts::new().html("Logical date", both(run.logical_date));
    if let Some(interval) = run.data_interval {
        facts = facts
            .html("Data interval start", both(Some(interval.start)))
            .html("Data interval end", both(Some(interval.end)));
    }
    if run.start_date.is_none() {
        facts = facts.html("Runs after", both(Some(run.run_after)));
    }
    facts = facts
        .html("Started", both(run.start_date))
        .html("Ended", both(run.end_date))
        .text("Duration", Span::between(run.start_date, run.end_date, now))
        .text("Trigger", trigger_of(run))
        .text("DAG version", run.version_number);
    if run.clear_number > 0 { facts.text("Cleared", format!("{} times", run.clear_number)) } else { facts }
}

/// JSON with line breaks.
pub fn pretty(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned())
}

/// The first line of `text`, cut to what a list shows.
pub fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The instances of one page that pass the filter, upstream first, and how many pass in all.
fn instances(
    shape: &Shape,
    run: &DagRunRow,
    states: Vec<(TaskId, i32, TaskState)>,
    query: &RunQuery,
) -> (Vec<InstanceKey>, usize) {
    let wanted: Option<TaskState> = query.state.parse().ok();
    let search = query.q.to_lowercase();
    let mut found: Vec<_> = states
        .into_iter()
        .filter(|(_, _, state)| wanted.is_none_or(|wanted| wanted == *state))
        .filter(|(task_id, _, _)| search.is_empty() || task_id.as_str().to_lowercase().contains(&search))
        .map(|(task_id, map_index, _)| (shape.row(&task_id).unwrap_or(usize::MAX), map_index, task_id))
        .collect();
    found.sort_unstable();
    let total = found.len();
    let page = found.into_iter().skip(query.offset).take(ROWS);
    (page.map(|(_, map_index, task_id)| InstanceKey { dag_run: run.key, task_id, map_index }).collect(), total)
}

/// The rows of `keys`, in their order.
async fn fetch(ui: &UiState, run: &DagRunRow, keys: &[InstanceKey]) -> Result<Vec<TaskInstanceRow>, UiError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let tasks: BTreeSet<_> = keys.iter().map(|key| key.task_id.clone()).collect();
    let filter = TaskInstanceFilter {
        dag_run: Some(run.key),
        task_ids: tasks.into_iter().collect(),
        ..TaskInstanceFilter::default()
    };
    let mut rows = ui.store.task_instance_list(&filter, Page::first(MAX_PAGE)).await?.items;
    let mut sorted = Vec::with_capacity(keys.len());
    for key in keys {
        let at = rows.iter().position(|row| row.task_id == key.task_id && row.map_index == key.map_index);
        match at {
            Some(at) => sorted.push(rows.swap_remove(at)),
            // A mapped task may have more instances than one list holds.
            None => sorted.extend(ui.store.task_instance_get(key).await?),
        }
    }
    Ok(sorted)
}

// ---- actions ------------------------------------------------------------------------------------

/// `GET /dags/{dag_id}/runs/{run_id}/clear`
pub async fn preview_clear(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Query(options): Query<ClearOptions>,
) -> Result<Response, UiError> {
    ui.run(&dag_id, &run_id).await?;
    let base = links::run(&dag_id, &run_id);
    let mut request = ClearRequest::of_run(dag_id.clone(), run_id.clone());
    request.only_failed = options.only_failed;
    request.dry_run = true;
    let affected = ui.scheduler.task_clear(request).await?;
    let view = ClearView::new(
        frame.shell(Section::Dags, "clear", format!("Clear {run_id}")),
        crumbs(&dag_id, Some(&run_id)),
        run_id.as_str(),
        base,
        Choice::all(&[("only_failed", "Only failed tasks", options.only_failed)]),
        vec![("only_failed", options.only_failed.to_string())],
        &affected,
    );
    Ok(page(&view))
}

/// `POST /dags/{dag_id}/runs/{run_id}/clear`
pub async fn clear(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Form(options): Form<ClearOptions>,
) -> Result<Response, UiError> {
    let mut request = ClearRequest::of_run(dag_id.clone(), run_id.clone());
    request.only_failed = options.only_failed;
    let affected = ui.scheduler.task_clear(request).await?;
    Ok(go_and_tell(&links::run(&dag_id, &run_id), &format!("{} task instances were cleared.", affected.len())))
}

#[derive(Debug, Deserialize)]
pub struct MarkForm {
    state: RunState,
}

/// `GET /dags/{dag_id}/runs/{run_id}/mark?state=...`
pub async fn confirm_mark(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Query(form): Query<MarkForm>,
) -> Result<Response, UiError> {
    let run = ui.run(&dag_id, &run_id).await?;
    let base = links::run(&dag_id, &run_id);
    let cancels = form.state == RunState::Failed && !run.state.is_finished();
    let mut lines = vec![format!("The run becomes {}.", form.state)];
    if !run.state.is_finished() {
        lines.push("Task instances that are running are ended; those that have not started won't.".into());
    }
    Ok(confirm(
        frame,
        Question {
            section: Section::Dags,
            crumbs: crumbs(&dag_id, Some(&run_id)),
            text: if cancels { format!("Cancel {run_id}?") } else { format!("Mark {run_id} {}?", form.state) },
            lines,
            action: format!("{base}/mark"),
            fields: vec![("state", form.state.to_string())],
            verb: match (cancels, form.state) {
                (true, _) => "Cancel the run",
                (false, RunState::Success) => "Mark success",
                (false, _) => "Mark failed",
            },
            dangerous: cancels,
            back: base,
        },
    ))
}

/// `POST /dags/{dag_id}/runs/{run_id}/mark`
pub async fn mark(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Form(form): Form<MarkForm>,
) -> Result<Response, UiError> {
    let run = ui.scheduler.dag_run_mark(&dag_id, &run_id, form.state).await?;
    Ok(go_and_tell(&links::run(&dag_id, &run_id), &format!("The run is {} now.", run.state)))
}

/// `GET /dags/{dag_id}/runs/{run_id}/delete`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
) -> Result<Response, UiError> {
    ui.run(&dag_id, &run_id).await?;
    let base = links::run(&dag_id, &run_id);
    Ok(confirm(
        frame,
        Question {
            section: Section::Dags,
            crumbs: crumbs(&dag_id, Some(&run_id)),
            text: format!("Delete {run_id}?"),
            lines: vec!["Its logs, XComs and artifacts are deleted with it. This can't be undone.".into()],
            action: format!("{base}/delete"),
            fields: Vec::new(),
            verb: "Delete",
            dangerous: true,
            back: base,
        },
    ))
}

/// `POST /dags/{dag_id}/runs/{run_id}/delete`
pub async fn delete(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
) -> Result<Response, UiError> {
    ui.scheduler.dag_run_delete(&dag_id, &run_id).await?;
    Ok(go_and_tell(&format!("{}/runs", links::dag(&dag_id)), &format!("{run_id} was deleted.")))
}

#[derive(Deserialize)]
pub struct NoteForm {
    note: String,
}

/// Characters of a note at most. Airflow: 1,000.
const MAX_NOTE: usize = 1_000;

/// `POST /dags/{dag_id}/runs/{run_id}/note`
pub async fn note(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Form(form): Form<NoteForm>,
) -> Result<Response, UiError> {
    let note = form.note.trim();
    if note.chars().count() > MAX_NOTE {
        return Err(UiError::Invalid(format!("a note may have at most {MAX_NOTE} characters")));
    }
    let run = ui.run(&dag_id, &run_id).await?;
    ui.store.dag_run_set_note(run.key, (!note.is_empty()).then_some(note)).await?;
    Ok(go_and_tell(&links::run(&dag_id, &run_id), "The note was saved."))
}
