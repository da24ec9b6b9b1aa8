//! The pages of a task instance.

mod details;
mod inputs;
mod log;
mod outputs;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;

pub use self::{
    log::raw_log,
    outputs::{artifact, recording},
};
use super::{
    approvals::Questions,
    dag::Tab,
    failure,
    run::{crumbs, label, tries},
};
use crate::{
    api::permit::Scoped,
    model::{
        dag::Node,
        dag_access::DagSet,
        ids::{DagId, RunId, TaskId},
        state::TaskState,
        time::Timestamp,
    },
    store::{DagRunRow, InstanceKey, Listed, MAX_PAGE, Page, TaskInstanceFilter, TaskInstanceOrder, TaskInstanceRow},
    ui::{
        UiState, ansi,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, page},
        show::{Crumbs, Facts, Html, Lasting, Pager, Span, State as StateView, Wait, When, WhenBoth, Zones, grouped},
    },
};

/// Instances that failed upstream, as many as are named.
const FAILED: u32 = 5;
/// Mapped instances that are listed at once.
const INSTANCES: u32 = 100;

#[derive(Template)]
#[template(path = "task.html")]
struct TaskView {
    shell: Shell,
    crumbs: Crumbs,
    label: String,
    state: StateView,
    /// The newest try, whatever try is shown.
    present_try: u32,
    clear_href: String,
    mark_href: String,
    message: Option<Message>,
    questions: Questions,
    facts: Facts,
    instances: Option<Instances>,
    tabs: Vec<Tab>,
    view: Html,
}

/// Why it failed or was skipped: a line, and below it a backtrace.
struct Message {
    kind: &'static str,
    first: String,
    rest: String,
}

struct Instances {
    items: Vec<InstanceChip>,
    pager: Pager,
    /// Where another one is asked for by its index, in the tab that is open.
    action: String,
    tab: String,
    shown: i32,
}

struct InstanceChip {
    /// Its index, or what it is called.
    name: String,
    href: String,
    state: StateView,
    current: bool,
}

#[derive(Debug, Deserialize)]
pub struct TaskQuery {
    #[serde(default)]
    map_index: Option<i32>,
    #[serde(default)]
    tab: String,
    #[serde(default)]
    r#try: Option<u32>,
    #[serde(default)]
    level: String,
    #[serde(default)]
    q: String,
    /// The log's lines before this one.
    #[serde(default)]
    before: Option<u64>,
    /// Of the list of mapped instances; else it begins at the part in which the shown one is.
    #[serde(default)]
    offset: Option<u32>,
}

pub type TaskPath = Path<(DagId, RunId, TaskId)>;

/// A task instance and what surrounds it.
pub struct Found {
    pub run: DagRunRow,
    pub shape: std::sync::Arc<Shape>,
    /// None: the instance is not there (yet), because its run has not started or its list is not known.
    pub row: Option<TaskInstanceRow>,
    pub key: InstanceKey,
}

impl Found {
    fn node(&self) -> Option<&Node> {
        self.shape.row(&self.key.task_id).map(|row| &self.shape.dag.nodes[row])
    }

    pub fn map_index(&self) -> Option<i32> {
        (self.key.map_index >= 0).then_some(self.key.map_index)
    }

    /// The number of the newest try; 0 before the first.
    fn newest_try(&self) -> u32 {
        self.row.as_ref().map_or(0, |row| row.try_number)
    }

    /// The try that is asked for, else the newest.
    fn try_of(&self, asked: Option<u32>) -> Result<u32, UiError> {
        let newest = self.newest_try();
        match asked {
            None | Some(0) => Ok(newest),
            Some(asked) if asked <= newest => Ok(asked),
            Some(asked) => {
                let task_id = &self.key.task_id;
                Err(UiError::NotFound(format!("try {asked} of task `{task_id}` never was; the newest is {newest}")))
            }
        }
    }

    pub fn base(&self) -> String {
        let path = links::run(&self.run.dag_id, &self.run.run_id);
        format!("{path}/tasks/{}", links::part(self.key.task_id.as_str()))
    }

    /// The address of something of this instance.
    pub fn href(&self, below: &str, query: &[(&str, &str)]) -> String {
        let index = self.map_index().map(|index| index.to_string()).unwrap_or_default();
        let query: Vec<_> = std::iter::once(("map_index", index.as_str())).chain(query.iter().copied()).collect();
        links::with_query(&format!("{}{below}", self.base()), &query)
    }
}

/// Finds an instance; without `map_index` that of an unmapped task, or the first of a mapped one.
pub async fn find(ui: &UiState, path: (DagId, RunId, TaskId), map_index: Option<i32>) -> Result<Found, UiError> {
    let (dag_id, run_id, task_id) = path;
    let run = ui.run(&dag_id, &run_id).await?;
    let shape = ui.shapes.get(&ui.store, run.version).await?;
    let missing = || {
        let instance = map_index.map(|index| format!("instance {index} of ")).unwrap_or_default();
        UiError::NotFound(format!("{instance}task `{task_id}` is not in dag_run `{run_id}` of dag `{dag_id}`"))
    };
    let mut key = InstanceKey { dag_run: run.key, task_id: task_id.clone(), map_index: map_index.unwrap_or(-1) };
    let is_mapped = shape.row(&task_id).is_some_and(|row| shape.is_mapped(row));
    let row = if is_mapped && map_index.is_none() {
        mapped(ui, &key, Page::first(1)).await?.items.pop()
    } else {
        ui.store.task_instance_get(&key).await?
    };
    if row.is_none() && (shape.row(&task_id).is_none() || map_index.is_some()) {
        return Err(missing());
    }
    key.map_index = row.as_ref().map_or(key.map_index, |row| row.map_index);
    Ok(Found { run, shape, row, key })
}

/// Instances of the task of `key`, by index.
async fn mapped(ui: &UiState, key: &InstanceKey, page: Page) -> Result<Listed<TaskInstanceRow>, UiError> {
    let filter = TaskInstanceFilter { task_ids: vec![key.task_id.clone()], ..TaskInstanceFilter::of_run(key.dag_run) };
    Ok(ui.store.task_instance_list(&filter, page).await?)
}

/// `GET /dags/{dag_id}/runs/{run_id}/tasks/{task_id}`
pub async fn show(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Path(path): TaskPath,
    Query(query): Query<TaskQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let (dag_id, run_id) = (found.run.dag_id.clone(), found.run.run_id.clone());
    let zone = frame.zones(&found.shape.spec);
    let now = ui.clock.now();
    let row = found.row.as_ref();
    let try_number = found.try_of(query.r#try)?;
    let tab = match query.tab.as_str() {
        tab @ ("outputs" | "inputs" | "details") => tab,
        _ => "log",
    };
    let called = row.and_then(|row| row.rendered_map_index.as_deref());
    let title = label(&found.key.task_id, found.key.map_index, called);
    let shell = frame.shell(Section::Dags, "task", format!("{title} of {run_id}"));
    let (view, next_line) = match tab {
        "outputs" => (outputs::view(&ui, &found).await?, 0),
        "inputs" => (inputs::view(&ui, &found, try_number).await?, 0),
        "details" => (details::view(&ui, &found, zone, now).await?, 0),
        _ => log::view(&ui, &found, try_number, &query, zone).await?,
    };
    let (map_index, try_text, after) = (found.key.map_index.to_string(), try_number.to_string(), next_line.to_string());
    let mut stream = vec![
        ("dag", dag_id.as_str()),
        ("run", run_id.as_str()),
        ("task", found.key.task_id.as_str()),
        ("map_index", map_index.as_str()),
    ];
    if tab == "log" && query.before.is_none() {
        stream.extend([("try", try_text.as_str()), ("after", &after), ("level", &query.level), ("q", &query.q)]);
    }
    let shell = shell.live(links::with_query("/ui/events", &stream));
    let tabs = [("log", "Log"), ("outputs", "XCom and artifacts"), ("inputs", "Inputs"), ("details", "Details")];
    let state = StateView::from(row.map_or(TaskState::None, |row| row.state));
    let chosen_try = query.r#try.map(|number| number.to_string()).unwrap_or_default();
    Ok(page(&TaskView {
        crumbs: crumbs(&dag_id, Some(&run_id)),
        label: title,
        state,
        present_try: found.newest_try(),
        clear_href: found.href("/clear", &[]),
        mark_href: found.href("/mark", &[]),
        message: row.and_then(message),
        questions: super::approvals::questions(&ui, &found, zone).await?,
        facts: facts(
            &ui,
            &found,
            &waits_for(&ui, &found, scope.seen()).await,
            failed_upstream(&ui, &found).await?,
            (zone, now),
        ),
        instances: instances(&ui, &found, &query).await?,
        tabs: tabs
            .map(|(name, text)| Tab {
                name,
                label: text.to_owned(),
                href: found.href("", &[("tab", if name == "log" { "" } else { name }), ("try", &chosen_try)]),
                current: name == tab,
            })
            .into(),
        view,
        shell,
    }))
}

fn message(row: &TaskInstanceRow) -> Option<Message> {
    let text = ansi::plain(row.message.as_deref().filter(|text| !text.is_empty())?);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let kind = match row.state {
        TaskState::Failed | TaskState::UpstreamFailed => "error",
        TaskState::UpForRetry | TaskState::Restarting => "warn",
        _ => "",
    };
    Some(Message { kind, first: first.to_owned(), rest: rest.trim_end().to_owned() })
}

/// What the instance waits for, if it does, to one who sees the dags of `seen`. The scheduler may be gone; then that is not
/// told.
async fn waits_for(ui: &UiState, found: &Found, seen: &DagSet) -> Vec<String> {
    let is_waiting = found.row.as_ref().is_none_or(|row| {
        matches!(row.state, TaskState::None | TaskState::Scheduled | TaskState::Running)
            && !found.run.state.is_finished()
    });
    if !is_waiting {
        return Vec::new();
    }
    let (run, key) = (&found.run, &found.key);
    let waits = ui.scheduler.task_dependencies(&run.dag_id, &run.run_id, &key.task_id, key.map_index).await;
    waits.unwrap_or_default().iter().map(|wait| wait.reason(seen)).collect()
}

/// What failed upstream, the first before the others, if that kept the instance from running.
async fn failed_upstream(ui: &UiState, found: &Found) -> Result<Html, UiError> {
    let dag = &found.shape.dag;
    let is_kept = found.row.as_ref().is_some_and(|row| row.state == TaskState::UpstreamFailed);
    let upstream = dag.ancestors(dag.index(&found.key.task_id).filter(|_| is_kept));
    if upstream.is_empty() {
        return Ok(Html::new());
    }
    let filter = TaskInstanceFilter {
        task_ids: upstream.into_iter().map(|index| dag.node(index).task_id.clone()).collect(),
        states: vec![TaskState::Failed],
        order_by: TaskInstanceOrder::EndDate,
        ..TaskInstanceFilter::of_run(found.key.dag_run)
    };
    let listed = ui.store.task_instance_list(&filter, Page::first(FAILED)).await?;
    let mut html = Html::new();
    for row in &listed.items {
        html = html.markup("<div>").markup(failure::link(row)).markup("</div>");
    }
    let more = usize::try_from(listed.total).unwrap_or(0).saturating_sub(listed.items.len());
    Ok(if more > 0 { html.text(format_args!("and {} more", grouped(more))) } else { html })
}

fn facts(
    ui: &UiState,
    found: &Found,
    waits_for: &[String],
    failed_upstream: Html,
    (zone, now): (Zones, Timestamp),
) -> Facts {
    let Some(row) = &found.row else {
        return Facts::new().text("State", "it has no instance yet: its run or its list is not there");
    };
    let both = |at| WhenBoth(When { at, zone });
    let mut facts = Facts::new().text(
        "Try",
        match row.try_number {
            0 if row.state.is_finished() => "none".to_owned(),
            0 => format!("none yet, at most {}", tries(row)),
            number => format!("{number} of {}", tries(row)),
        },
    );
    if !failed_upstream.is_empty() {
        facts = facts.html("Failed upstream", failed_upstream);
    }
    if !waits_for.is_empty() {
        facts = facts.text("Waits", waits_for.join("; "));
    }
    if row.restarts > 0 {
        facts = facts.text("Started again after a lost runner", row.restarts);
    }
    if row.wake_at.is_some() {
        facts = facts.html("Goes on", Wait::of(row, zone, now));
    }
    facts
        .html("Started", both(row.start_date))
        .html("Ended", both(row.end_date))
        .html("Duration", Lasting::between(row.start_date, row.end_date, now))
        .maybe("Ran on", ui.scheduler.host_of(row))
        .maybe("Waited for a slot", waited(row, now))
        .text("Pool", pool(&row.pool, row.pool_slots))
        .text("Entry", &row.entry)
}

/// How long it waited for a slot, or waits; none if it had one at once. What was before it was scheduled is of another start.
fn waited(row: &TaskInstanceRow, now: Timestamp) -> Option<Span> {
    let scheduled = row.scheduled_at?;
    let since = |at: Option<Timestamp>| at.filter(|at| *at >= scheduled);
    let waited = since(row.start_date).or(since(row.end_date)).unwrap_or(now).since(scheduled);
    (!waited.is_zero()).then_some(Span(Some(waited)))
}

fn pool(name: &str, slots: u32) -> String {
    if slots == 1 { name.to_owned() } else { format!("{name}, {slots} slots") }
}

/// The instances of a mapped task, some at a time.
async fn instances(ui: &UiState, found: &Found, query: &TaskQuery) -> Result<Option<Instances>, UiError> {
    if found.key.map_index < 0 {
        return Ok(None);
    }
    let limit = INSTANCES.min(MAX_PAGE);
    let place = u32::try_from(found.key.map_index).unwrap_or(0);
    let from = query.offset.unwrap_or(place / limit * limit);
    let listed = mapped(ui, &found.key, Page { limit, offset: from }).await?;
    let offset = from.to_string();
    let items: Vec<_> = listed
        .items
        .into_iter()
        .map(|row| InstanceChip {
            name: row.rendered_map_index.unwrap_or_else(|| row.map_index.to_string()),
            href: links::with_query(
                &found.base(),
                &[("map_index", &row.map_index.to_string()), ("tab", &query.tab), ("offset", &offset)],
            ),
            state: row.state.into(),
            current: row.map_index == found.key.map_index,
        })
        .collect();
    let address = |at: usize| found.href("", &[("tab", &query.tab), ("offset", &at.to_string())]);
    let pager = Pager::new(from as usize, limit as usize, items.len(), listed.total, address);
    let (action, tab, shown) = (found.base(), query.tab.clone(), found.key.map_index);
    Ok(Some(Instances { items, pager, action, tab, shown }))
}

fn part(template: &impl Template) -> Result<Html, UiError> {
    // askama has escaped what the template was given.
    Ok(Html::new().markup(template.render().map_err(UiError::internal)?))
}
