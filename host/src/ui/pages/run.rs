//! The page of a run.

pub mod actions;

use std::{
    fmt::{self, Display, Formatter},
    ops,
};

use askama::{Template, filters::HtmlSafe};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    audit,
    callbacks::{self, CallbackLine},
    dag::{Chip, GraphView, fold_link, trigger_of},
    failure,
};
use crate::{
    api::permit::Scoped,
    auth::DagScope,
    model::{
        ids::{DagId, RunId, TaskId},
        role::Permission,
        state::{RunState, RunType, TaskState},
        time::Timestamp,
    },
    store::{
        DagRunFilter, DagRunOrder, DagRunRow, Order, Page, Range, Spans, StartedRun, TaskInstanceFilter,
        TaskInstanceOrder, TaskInstanceRow, Walk,
    },
    ui::{
        UiState, ansi, doc,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, page},
        show::{
            self, Crumbs, Facts, Html, Lasting, Pager, Progress, State as StateView, StateBadge, Wait, When, WhenBoth,
            Zones, escape,
        },
        timeline::{Bar, Timeline},
    },
};

const ROWS: u32 = 100;
/// Runs that its tasks started, as many as are listed.
const STARTED: u32 = 20;
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
    /// Why it ended as it did.
    message: Html,
    /// Which task failed first, and why.
    failure: Html,
    facts: Facts,
    callbacks: Vec<CallbackLine>,
    progress: Html,
    graph: GraphView,
    fold: Option<(String, String)>,
    state_filter: String,
    sort: String,
    q: String,
    filtered: bool,
    chips: Vec<Chip>,
    sorts: [Sort; 3],
    /// None: the user may not, or the dag has no manual runs.
    again_href: Option<String>,
    /// The runs before and after it.
    older: Option<String>,
    newer: Option<String>,
    rows: Vec<TaskLine>,
    pager: Pager,
    conf: String,
    note: String,
    /// Why what was typed there is no note.
    note_error: Option<String>,
}

/// A note that was refused: the text, and why.
type RefusedNote = (String, String);

struct TaskLine {
    task_id: TaskId,
    map_index: i32,
    label: String,
    href: String,
    state: StateView,
    tries: String,
    started: When,
    duration: Lasting,
    bar: Option<Bar>,
    wait: Wait,
    message: Html,
}

/// A column that the list can be ordered by.
struct Sort {
    label: &'static str,
    href: String,
    /// How it is ordered by this column, as `aria-sort` says it.
    order: Option<&'static str>,
}

impl Display for Sort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let order = self.order.map(|order| format!(" aria-sort=\"{order}\"")).unwrap_or_default();
        let class = if self.label == "Duration" { " class=\"num\"" } else { "" };
        write!(f, "<th{class}{order}><a class=\"sort\" href=\"{}\">{}</a></th>", escape(&self.href), self.label)
    }
}

impl HtmlSafe for Sort {}

/// A task's name, and for an instance of a mapped one what it is called, or its index.
pub fn label(task_id: &TaskId, map_index: i32, called: Option<&str>) -> String {
    match (map_index, called) {
        (..0, _) => task_id.to_string(),
        (_, Some(called)) => format!("{task_id} [{called}]"),
        (index, None) => format!("{task_id} [{index}]"),
    }
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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RunQuery {
    state: String,
    q: String,
    /// Empty: upstream first.
    sort: String,
    offset: u32,
    fold: Option<bool>,
}

impl RunQuery {
    /// What the store is to order by; none: upstream first, as only the dag knows.
    fn order(&self) -> Option<(TaskInstanceOrder, Order)> {
        match self.sort.as_str() {
            "started" => Some((TaskInstanceOrder::StartDate, Order::Ascending)),
            "duration" => Some((TaskInstanceOrder::Duration, Order::Descending)),
            _ => None,
        }
    }
}

/// `GET /dags/{dag_id}/runs/{run_id}`
pub async fn show(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Path(path): Path<(DagId, RunId)>,
    Query(query): Query<RunQuery>,
) -> Result<Response, UiError> {
    Ok(page(&view(&ui, &scope, frame, path, query, None).await?))
}

async fn view(
    ui: &UiState,
    scope: &DagScope,
    frame: Frame,
    (dag_id, run_id): (DagId, RunId),
    query: RunQuery,
    refused: Option<RefusedNote>,
) -> Result<RunView, UiError> {
    let run = ui.run(&dag_id, &run_id).await?;
    let shape = ui.shapes.get(&ui.store, run.version).await?;
    let base = links::run(&dag_id, &run_id);
    let known = ui.store.task_instance_counts(run.key).await?;
    let count_of =
        |state: &TaskState| known.iter().find(|(other, _)| other == state).map(|(_, count)| (*state, *count));
    let counts: Vec<_> = PROGRESS.iter().filter_map(count_of).collect();
    let all: i64 = counts.iter().map(|(_, count)| count).sum();
    let (rows, found) = listed(ui, &shape, &run, &query, &counts).await?;

    let now = ui.clock.now();
    let zone = frame.zones(&shape.spec);
    let address = |state: &str, sort: &str, offset: usize| {
        let offset = if offset == 0 { String::new() } else { offset.to_string() };
        links::with_query(&base, &[("state", state), ("q", &query.q), ("sort", sort), ("offset", &offset)])
    };
    let sort = |(name, label): (&str, &'static str)| Sort {
        label,
        href: address(&query.state, name, 0),
        order: (query.sort == name && !name.is_empty()).then_some(if name == "duration" {
            "descending"
        } else {
            "ascending"
        }),
    };
    let mut chips = vec![Chip {
        label: Html::new()
            .markup("<b>")
            .text(show::grouped(usize::try_from(all).unwrap_or(0)))
            .markup("</b>")
            .text(" all"),
        href: address("", &query.sort, 0),
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
            href: address(view.name(), &query.sort, 0),
            class: Some(view.class()),
            current: query.state == view.name(),
        }
    }));
    let timeline = Timeline::of(&run, now);
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| TaskLine {
            label: label(&row.task_id, row.map_index, row.rendered_map_index.as_deref()),
            href: links::task(&dag_id, &run_id, &row.task_id, row.map_index),
            state: row.state.into(),
            tries: if row.try_number > 0 { format!("{}/{}", row.try_number, tries(&row)) } else { String::new() },
            started: When { at: row.start_date, zone },
            duration: Lasting::between(row.start_date, row.end_date, now),
            bar: timeline.as_ref().and_then(|timeline| timeline.bar(&row)),
            wait: Wait::of(&row, zone, now),
            message: doc::line(&shortened(row.message.as_deref().unwrap_or_default())),
            map_index: row.map_index,
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
    let (older, newer) = neighbours(ui, &run).await?;
    let mut shell = frame.shell(Section::Dags, "run", format!("{run_id} of {dag_id}"));
    if refused.is_none() {
        // The address of what was refused shows nothing.
        shell = shell.live(events);
    }
    let (note, note_error) = match refused {
        Some((text, why)) => (text, Some(why)),
        None => (run.note.clone().unwrap_or_default(), None),
    };
    let facts = with_triggers(ui, scope, &run, facts(&run, zone, now)).await?;
    let facts = audit::with_changes(facts, &shell, &dag_id, Some(&run_id));
    let newest = ui.store.dag_get(&dag_id).await?;
    let may_again =
        shell.may(Permission::RunTrigger) && newest.is_some_and(|dag| dag.spec.check_run_type(RunType::Manual).is_ok());
    Ok(RunView {
        older,
        newer,
        shell,
        crumbs: crumbs(&dag_id, None),
        base_href: base.clone(),
        state: StateView::from(run.state).badge(),
        state_name: run.state.as_str(),
        is_finished: run.state.is_finished(),
        message: run.message.as_deref().map(|text| doc::line(&ansi::plain(text))).unwrap_or_default(),
        failure: failure_of(ui, &run, &counts, &links::with_query(&base, &[("state", "failed")]), zone).await?,
        facts,
        callbacks: callbacks::lines(&ui.store, &run, zone).await?,
        progress: Html::new().markup(Progress(&counts)),
        graph,
        fold,
        filtered: !query.state.is_empty() || !query.q.is_empty(),
        pager: Pager {
            more: false,
            ..Pager::new(usize::try_from(query.offset).unwrap_or(0), ROWS as usize, rows.len(), found, |at| {
                address(&query.state, &query.sort, at)
            })
        },
        sorts: [("", "Task"), ("started", "Started"), ("duration", "Duration")].map(sort),
        again_href: may_again
            .then(|| links::with_query(&format!("{}/trigger", links::dag(&dag_id)), &[("from", run_id.as_str())])),
        chips,
        rows,
        conf: pretty(run.conf.as_deref().unwrap_or_default()),
        note,
        note_error,
        state_filter: query.state,
        sort: query.sort,
        q: query.q,
        run_id,
    })
}

/// Which task of the run failed first, and why; `all`: where those stand that failed. Nothing of a run that succeeded all the same.
async fn failure_of(
    ui: &UiState,
    run: &DagRunRow,
    counts: &[(TaskState, i64)],
    all: &str,
    zone: Zones,
) -> Result<Html, UiError> {
    let failed = counts.iter().find(|(state, _)| *state == TaskState::Failed).map_or(0, |(_, count)| *count);
    if failed == 0 || run.state == RunState::Success {
        return Ok(Html::new());
    }
    let Some(row) = ui.store.task_instance_first_failed(&[run.key]).await?.into_iter().next() else {
        return Ok(Html::new());
    };
    let mut told = failure::link(&row).text(if failed > 1 { " failed first" } else { " failed" });
    if row.end_date.is_some() {
        told = told.text(", ").markup(When { at: row.end_date, zone });
    }
    if let Some(message) = &row.message {
        told = told.text(": ").markup(doc::line(&shortened(message)));
    }
    if failed > 1 {
        let count = show::grouped(usize::try_from(failed).unwrap_or(0));
        told = told.text(" ").link(all, format_args!("All {count} that failed"));
    }
    Ok(told)
}

/// The addresses of the runs of the dag before and after `run`.
async fn neighbours(ui: &UiState, run: &DagRunRow) -> Result<(Option<String>, Option<String>), UiError> {
    let beside = async |order: Order| {
        let limit = Some(run.run_after);
        let run_after = match order {
            Order::Descending => Range { lte: limit, ..Range::default() },
            Order::Ascending => Range { gte: limit, ..Range::default() },
        };
        let order_by = DagRunOrder::RunAfter;
        let mut filter = DagRunFilter {
            spans: Spans { run_after, ..Spans::default() },
            order_by,
            ..DagRunFilter::of_dag(run.dag_id.clone())
        };
        // Runs may come about for the same instant.
        let place = filter.place(run);
        filter.go_on(place, order);
        let runs = ui.store.dag_run_list(&filter, Page::first(1)).await?.items;
        Ok::<_, UiError>(runs.first().map(|other| links::run(&other.dag_id, &other.run_id)))
    };
    Ok((beside(Order::Descending).await?, beside(Order::Ascending).await?))
}

fn facts(run: &DagRunRow, zone: Zones, now: Timestamp) -> Facts {
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
        .html("Duration", Lasting::between(run.start_date, run.end_date, now))
        .text("Trigger", trigger_of(run))
        .text("DAG version", run.version_number);
    if run.clear_number > 0 { facts.text("Cleared", format!("{} times", run.clear_number)) } else { facts }
}

/// Adds the ways to the task that started the run and to the runs that its tasks started.
async fn with_triggers(ui: &UiState, scope: &DagScope, run: &DagRunRow, mut facts: Facts) -> Result<Facts, UiError> {
    if let Some(origin) = ui.store.origin_get(run.key).await?
        && let Some(parent) = ui.store.dag_run_get_by_key(origin.parent.dag_run).await?
        && scope.sees(&parent.dag_id)
    {
        let (href, what) = match &origin.parent.task {
            Some((task_id, map_index)) => (
                links::task(&parent.dag_id, &parent.run_id, task_id, *map_index),
                format!("{} of ", label(task_id, *map_index, None)),
            ),
            None => (links::run(&parent.dag_id, &parent.run_id), String::new()),
        };
        let name = format!("{what}{} in {}", parent.run_id, parent.dag_id);
        facts = facts.html("Started by", Html::new().link(&href, &name));
    }
    if let Some(backfill) = ui.store.backfill_of_run(run.key).await? {
        facts = facts
            .html("Backfill", Html::new().link(&links::backfill_runs(&run.dag_id, backfill), backfill.0.to_string()));
    }
    if run.run_type == RunType::AssetTriggered {
        let mut list = Html::new();
        for event in ui.store.asset_event_list_of_run(run.key, STARTED).await? {
            if !event.source_dag_id.as_ref().is_none_or(|dag_id| scope.sees(dag_id)) {
                continue;
            }
            list = list
                .markup("<div>")
                .link(&links::asset(&event.name), &event.name)
                .text(" by ")
                .markup(super::assets::source(&event))
                .markup("</div>");
        }
        facts = facts.html("Asset events", list);
    }
    let started = ui.store.dag_run_list_started_by(run.key, scope.seen(), Page::first(STARTED)).await?;
    if !started.items.is_empty() {
        let mut list = Html::new();
        for StartedRun { run, .. } in &started.items {
            let name = format!("{} of {}", run.run_id, run.dag_id);
            list = list
                .markup("<div>")
                .markup(StateView::from(run.state).badge())
                .text(" ")
                .link(&links::run(&run.dag_id, &run.run_id), &name)
                .markup("</div>");
        }
        let more = usize::try_from(started.total).unwrap_or(0).saturating_sub(started.items.len());
        if more > 0 {
            list = list.text(format!("and {} more", show::grouped(more)));
        }
        facts = facts.html("Started runs", list);
    }
    Ok(facts)
}

/// JSON with line breaks.
pub fn pretty(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned())
}

/// The first line of `text`, cut to what a list shows.
pub fn shortened(text: &str) -> String {
    let line = ansi::plain(text.lines().next().unwrap_or_default());
    match line.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The instances of one page that pass the filter, and how many pass in all.
///
/// No page reads all instances: a run may have 100,000. Without a filter by state, the dag itself says which stand on a
/// page, upstream first; else the store lists them.
async fn listed(
    ui: &UiState,
    shape: &Shape,
    run: &DagRunRow,
    query: &RunQuery,
    counts: &[(TaskState, i64)],
) -> Result<(Vec<TaskInstanceRow>, i64), UiError> {
    let wanted: Option<TaskState> = query.state.parse().ok();
    let search = query.q.to_lowercase();
    let all: i64 = counts.iter().map(|(_, count)| count).sum();
    let fits = |row: &usize| shape.dag.nodes[*row].task_id.as_str().to_lowercase().contains(&search);
    let found: Vec<usize> = (0..shape.rows()).filter(fits).collect();
    let order = query.order();
    if wanted.is_none() && order.is_none() {
        return if all == 0 { Ok((Vec::new(), 0)) } else { upstream_first(ui, shape, run, &found, query.offset).await };
    }
    if found.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let (order_by, order) = order.unwrap_or_default();
    let is_searched = found.len() < shape.rows();
    let filter = TaskInstanceFilter {
        states: wanted.into_iter().collect(),
        task_ids: if is_searched { task_ids(shape, &found) } else { Vec::new() },
        order_by,
        order,
        ..TaskInstanceFilter::of_run(run.key)
    };
    let listed = ui.store.task_instance_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let exact = || match wanted {
        Some(wanted) => counts.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count),
        None => all,
    };
    Ok((listed.items, if is_searched { listed.total } else { exact() }))
}

fn task_ids(shape: &Shape, rows: &[usize]) -> Vec<TaskId> {
    rows.iter().map(|row| shape.dag.nodes[*row].task_id.clone()).collect()
}

/// One page of the instances of the tasks `found`, in the order of the dag, and how many they are in all.
async fn upstream_first(
    ui: &UiState,
    shape: &Shape,
    run: &DagRunRow,
    found: &[usize],
    offset: u32,
) -> Result<(Vec<TaskInstanceRow>, i64), UiError> {
    let mapped: Vec<usize> = found.iter().copied().filter(|row| shape.is_mapped(*row)).collect();
    let counts = if mapped.is_empty() {
        Vec::new()
    } else {
        ui.store.task_instance_counts_of(run.key, &task_ids(shape, &mapped)).await?
    };
    let mut instances = vec![1_u32; shape.rows()];
    for row in &mapped {
        instances[*row] = 0;
    }
    for (task_id, _, count) in &counts {
        if let Some(row) = shape.row(task_id) {
            instances[row] += u32::try_from(*count).unwrap_or(u32::MAX);
        }
    }
    let page = offset..offset.saturating_add(ROWS);
    let (mut whole, mut rows, mut at) = (Vec::new(), Vec::new(), 0_u32);
    for row in found {
        let next = at.saturating_add(instances[*row]);
        let shown: ops::Range<u32> = page.start.max(at)..page.end.min(next);
        if shown == (at..next) && !shown.is_empty() {
            whole.push(*row);
        } else if !shown.is_empty() {
            // A mapped task of which a part stands on this page: its first or last.
            let part = Page { limit: shown.end - shown.start, offset: shown.start - at };
            rows.extend(instances_of(ui, run, task_ids(shape, &[*row]), part).await?);
        }
        at = next;
    }
    if !whole.is_empty() {
        rows.extend(instances_of(ui, run, task_ids(shape, &whole), Page::first(ROWS)).await?);
    }
    rows.sort_by_key(|row| (shape.row(&row.task_id), row.map_index));
    Ok((rows, i64::from(at)))
}

async fn instances_of(
    ui: &UiState,
    run: &DagRunRow,
    task_ids: Vec<TaskId>,
    page: Page,
) -> Result<Vec<TaskInstanceRow>, UiError> {
    let filter = TaskInstanceFilter { task_ids, ..TaskInstanceFilter::of_run(run.key) };
    Ok(ui.store.task_instance_list(&filter, page).await?.items)
}
