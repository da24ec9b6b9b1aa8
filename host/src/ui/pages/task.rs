//! The pages of a task instance.

use std::{collections::BTreeMap, convert::Infallible};

use askama::Template;
use axum::{
    Form,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::{
    dag::Tab,
    run::{crumbs, label, shortened, tries},
};
use crate::{
    model::{
        dag::{Node, Source},
        expand::List,
        ids::{DagId, RunId, TaskId, XComKey},
        spec::SourceSpec,
        state::TaskState,
    },
    scheduler::{ClearRequest, LogFrom, MarkRequest},
    store::{ArtifactRow, DagRunRow, InstanceKey, Page, TaskInstanceRow, XComBody, XComFilter, XComValue},
    ui::{
        UiState, doc,
        error::UiError,
        links,
        log::{self, LEVELS, LineView, LogFilter},
        shape::Shape,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{self, Bytes as Size, Crumbs, Facts, Html, Pager, Span, State as StateView, When, WhenBoth},
    },
};

/// Mapped instances that are listed at once.
const INSTANCES: usize = 100;
/// Bytes of a value that are shown.
const MOST_SHOWN: usize = 64 << 10;
/// Lines that the plain log reads at a time.
const RAW_LINES: usize = 5_000;
/// Rows of a preview.
const PREVIEW: usize = 100;

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
}

struct InstanceChip {
    map_index: i32,
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
    /// Of the list of mapped instances.
    #[serde(default)]
    offset: usize,
}

type TaskPath = Path<(DagId, RunId, TaskId)>;

/// A task instance and what surrounds it.
struct Found {
    run: DagRunRow,
    shape: std::sync::Arc<Shape>,
    /// None: the instance is not there (yet), because its run has not started or its list is not known.
    row: Option<TaskInstanceRow>,
    key: InstanceKey,
    /// All instances of the task.
    states: Vec<(i32, TaskState)>,
}

impl Found {
    fn node(&self) -> Option<&Node> {
        self.shape.row(&self.key.task_id).map(|row| &self.shape.dag.nodes[row])
    }

    fn map_index(&self) -> Option<i32> {
        (self.key.map_index >= 0).then_some(self.key.map_index)
    }

    fn base(&self) -> String {
        let path = links::run(&self.run.dag_id, &self.run.run_id);
        format!("{path}/tasks/{}", links::part(self.key.task_id.as_str()))
    }

    /// The address of something of this instance.
    fn href(&self, below: &str, query: &[(&str, &str)]) -> String {
        let index = self.map_index().map(|index| index.to_string()).unwrap_or_default();
        let query: Vec<_> = std::iter::once(("map_index", index.as_str())).chain(query.iter().copied()).collect();
        links::with_query(&format!("{}{below}", self.base()), &query)
    }
}

/// Finds an instance; without `map_index` that of an unmapped task, or the first of a mapped one.
async fn find(ui: &UiState, path: (DagId, RunId, TaskId), map_index: Option<i32>) -> Result<Found, UiError> {
    let (dag_id, run_id, task_id) = path;
    let run = ui.run(&dag_id, &run_id).await?;
    let shape = ui.shapes.get(&ui.store, run.version).await?;
    let missing = || UiError::NotFound(format!("task `{task_id}` is not in dag_run `{run_id}` of dag `{dag_id}`"));
    let is_mapped = shape.row(&task_id).is_some_and(|row| shape.is_mapped(row));
    let mut states = Vec::new();
    if is_mapped {
        let all = ui.store.task_instance_states(run.key).await?;
        states
            .extend(all.into_iter().filter(|(other, _, _)| *other == task_id).map(|(_, index, state)| (index, state)));
        states.sort_unstable();
    }
    let first = states.first().map_or(-1, |(index, _)| *index);
    let key = InstanceKey { dag_run: run.key, task_id: task_id.clone(), map_index: map_index.unwrap_or(first) };
    let row = ui.store.task_instance_get(&key).await?;
    if row.is_none() && (shape.row(&task_id).is_none() || map_index.is_some()) {
        return Err(missing());
    }
    Ok(Found { run, shape, row, key, states })
}

/// `GET /dags/{dag_id}/runs/{run_id}/tasks/{task_id}`
pub async fn show(
    State(ui): State<UiState>,
    frame: Frame,
    Path(path): TaskPath,
    Query(query): Query<TaskQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let (dag_id, run_id) = (found.run.dag_id.clone(), found.run.run_id.clone());
    let zone = show::zone(&found.shape.spec);
    let now = ui.clock.now();
    let row = found.row.as_ref();
    let try_number = query.r#try.or(row.map(|row| row.try_number)).unwrap_or(0);
    let tab = match query.tab.as_str() {
        tab @ ("outputs" | "inputs" | "details") => tab,
        _ => "log",
    };
    let title = label(&found.key.task_id, found.key.map_index);
    let shell = frame.shell(Section::Dags, "task", format!("{title} of {run_id}"));
    let (view, next_line) = match tab {
        "outputs" => (outputs(&ui, &found).await?, 0),
        "inputs" => (inputs(&ui, &found).await?, 0),
        "details" => (details(&ui, &found, zone, now).await?, 0),
        _ => log_view(&ui, &found, try_number, &query).await?,
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
    Ok(page(&TaskView {
        crumbs: crumbs(&dag_id, Some(&run_id)),
        label: title,
        state,
        present_try: row.map_or(0, |row| row.try_number),
        clear_href: found.href("/clear", &[]),
        mark_href: found.href("/mark", &[]),
        message: row.and_then(message),
        facts: facts(&found, zone, now),
        instances: instances(&found, &query),
        tabs: tabs
            .map(|(name, text)| Tab {
                name,
                label: text.to_owned(),
                href: found.href("", &[("tab", if name == "log" { "" } else { name })]),
                current: name == tab,
            })
            .into(),
        view,
        shell,
    }))
}

fn message(row: &TaskInstanceRow) -> Option<Message> {
    let text = row.message.as_deref().filter(|text| !text.is_empty())?;
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let kind = match row.state {
        TaskState::Failed | TaskState::UpstreamFailed => "error",
        TaskState::UpForRetry | TaskState::Restarting => "warn",
        _ => "",
    };
    Some(Message { kind, first: first.to_owned(), rest: rest.trim_end().to_owned() })
}

fn facts(found: &Found, zone: chrono_tz::Tz, now: crate::model::time::Timestamp) -> Facts {
    let Some(row) = &found.row else {
        return Facts::new().text("State", "it has no instance yet: its run or its list is not there");
    };
    let both = |at| WhenBoth(When { at, zone });
    let mut facts = Facts::new().text(
        "Try",
        if row.try_number == 0 {
            format!("none yet, at most {}", tries(row))
        } else {
            format!("{} of {}", row.try_number, tries(row))
        },
    );
    if row.restarts > 0 {
        facts = facts.text("Started again after a lost runner", row.restarts);
    }
    if let Some(wake_at) = row.wake_at {
        facts = facts.html("Goes on at", both(Some(wake_at)));
    }
    facts
        .html("Started", both(row.start_date))
        .html("Ended", both(row.end_date))
        .text("Duration", Span::between(row.start_date, row.end_date, now))
        .text("Waited for a slot", Span::between(row.scheduled_at, row.start_date.or(row.end_date), now))
        .text("Pool", pool(&row.pool, row.pool_slots))
        .text("Entry", &row.entry)
}

fn pool(name: &str, slots: u32) -> String {
    if slots == 1 { name.to_owned() } else { format!("{name}, {slots} slots") }
}

fn instances(found: &Found, query: &TaskQuery) -> Option<Instances> {
    if found.states.iter().all(|(index, _)| *index < 0) {
        return None;
    }
    let items: Vec<_> = found
        .states
        .iter()
        .skip(query.offset)
        .take(INSTANCES)
        .map(|(index, state)| InstanceChip {
            map_index: *index,
            href: links::with_query(
                &found.base(),
                &[("map_index", &index.to_string()), ("tab", &query.tab), ("offset", &query.offset.to_string())],
            ),
            state: (*state).into(),
            current: *index == found.key.map_index,
        })
        .collect();
    let address = |at: usize| found.href("", &[("tab", &query.tab), ("offset", &at.to_string())]);
    let total = i64::try_from(found.states.len()).unwrap_or(i64::MAX);
    let pager = Pager::new(query.offset, INSTANCES, items.len(), total, address);
    Some(Instances { pager: Pager { more: false, ..pager }, items })
}

fn part(template: &impl Template) -> Result<Html, UiError> {
    // askama has escaped what the template was given.
    Ok(Html::new().markup(template.render().map_err(UiError::internal)?))
}

// ---- log ----------------------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "task_log.html")]
struct LogPart {
    map_index: Option<i32>,
    tries: Vec<u32>,
    try_number: u32,
    levels: [(&'static str, &'static str); 4],
    level: String,
    q: String,
    raw_href: String,
    next: u64,
    following: bool,
    earlier: Option<String>,
    lines: Vec<LineView>,
    empty: &'static str,
    summary: String,
}

async fn log_view(ui: &UiState, found: &Found, try_number: u32, query: &TaskQuery) -> Result<(Html, u64), UiError> {
    let filter = LogFilter::new(&query.level, &query.q);
    let log = if try_number == 0 {
        log::LogView::default()
    } else {
        log::read(ui, &found.key, try_number, &filter, query.before).await?
    };
    let last = found.row.as_ref().map_or(0, |row| row.try_number).max(try_number);
    let (try_text, total) = (try_number.to_string(), show::grouped(usize::try_from(log.total).unwrap_or(usize::MAX)));
    let address = |before: u64| {
        let before = before.to_string();
        found.href("", &[("try", &try_text), ("level", &query.level), ("q", &query.q), ("before", &before)])
    };
    let is_present = found.row.as_ref().is_some_and(|row| row.try_number == try_number && !row.state.is_finished());
    let mut summary = if filter.is_all() {
        format!("{} of {total} lines", show::grouped(log.lines.len()))
    } else {
        format!("{} lines fit, of {total}", show::grouped(log.lines.len()))
    };
    if log.gave_up {
        summary.push_str("; the search stopped here, go on with “Earlier lines”");
    }
    let html = part(&LogPart {
        map_index: found.map_index(),
        tries: (1..=last).rev().take(100).collect(),
        try_number,
        levels: LEVELS,
        level: query.level.clone(),
        q: query.q.clone(),
        raw_href: found.href("/log", &[("try", &try_text)]),
        next: log.next,
        following: query.before.is_none() && (log.is_live || is_present),
        earlier: log.earlier.map(address),
        empty: match (try_number, filter.is_all(), log.is_live || is_present) {
            (0, _, _) => "It has not started yet.",
            (_, false, _) => "No line fits.",
            (_, true, true) => "No line yet.",
            (_, true, false) => "It logged nothing.",
        },
        lines: log.lines,
        summary,
    })?;
    Ok((html, log.next))
}

#[derive(Debug, Deserialize)]
pub struct RawLogQuery {
    #[serde(default)]
    map_index: Option<i32>,
    #[serde(default)]
    r#try: Option<u32>,
}

/// `GET .../log?try=N`: the whole log as plain text, streamed.
pub async fn raw_log(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Query(query): Query<RawLogQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let try_number = query.r#try.or(found.row.as_ref().map(|row| row.try_number)).unwrap_or(0);
    let (logs, key) = (ui.logs.clone(), found.key);
    let pages = stream::unfold(Some(0), move |from| {
        let (logs, key) = (logs.clone(), key.clone());
        async move {
            let from = from?;
            let page = match logs.read(&key, try_number, LogFrom::Line(from), RAW_LINES).await {
                Ok(page) if page.lines.is_empty() => return None,
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(error = %error, "a log can't be read");
                    return Some((Bytes::from_static(b"\n[the rest of the log can't be read now]\n"), None));
                }
            };
            let all = LogFilter::default();
            let lines = (from..).zip(&page.lines).filter_map(|(number, line)| all.view(number, line));
            let text: String = lines.map(|line| line.plain()).collect();
            Some((Bytes::from(text), Some(from + page.lines.len() as u64)))
        }
    });
    let media_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((media_type, Body::from_stream(pages.map(Ok::<_, Infallible>).fuse())).into_response())
}

// ---- outputs ------------------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "task_outputs.html")]
struct OutputsPart {
    xcoms: Vec<XComView>,
    artifacts: Vec<ArtifactView>,
}

struct XComView {
    key: XComKey,
    media_type: String,
    size: Size,
    href: String,
    text: Option<String>,
    not_shown: Option<String>,
}

struct ArtifactView {
    name: String,
    media_type: String,
    size: Size,
    sha256: String,
    href: String,
    image: Option<String>,
}

async fn outputs(ui: &UiState, found: &Found) -> Result<Html, UiError> {
    let filter = XComFilter {
        dag_run: Some(found.key.dag_run),
        task_id: Some(found.key.task_id.clone()),
        map_index: Some(found.key.map_index),
        ..XComFilter::default()
    };
    let rows = ui.store.xcom_list(&filter, Page::first(100)).await?.items;
    let keys: Vec<_> = rows.into_iter().map(|row| (row.instance, row.key)).collect();
    let xcoms = ui.store.xcom_get_many(&keys).await?.into_iter().map(|value| {
        let (text, not_shown) = shown(&value);
        let map_index = found.key.map_index.to_string();
        let path = links::xcom_content(&value.row);
        XComView {
            href: links::with_query(&path, &[("map_index", &map_index)]),
            key: value.row.key,
            media_type: value.row.media_type,
            size: Size(value.row.size_bytes),
            text,
            not_shown,
        }
    });
    let artifacts = ui.store.artifact_list(&found.key).await?.into_iter().map(|artifact| {
        let address = |inline: &str| found.href("/artifact", &[("name", &artifact.name), ("inline", inline)]);
        ArtifactView {
            href: address(""),
            image: is_image(&artifact).then(|| address("true")),
            media_type: artifact.media_type.clone(),
            size: Size(artifact.size_bytes),
            sha256: artifact.sha256.to_string(),
            name: artifact.name.clone(),
        }
    });
    part(&OutputsPart { xcoms: xcoms.collect(), artifacts: artifacts.collect() })
}

/// The value as text, or why it is not shown.
fn shown(value: &XComValue) -> (Option<String>, Option<String>) {
    let media_type = value.row.media_type.as_str();
    let bytes = match &value.body {
        XComBody::Blob(_) => return (None, Some("It is in object storage: too large to show here.".into())),
        XComBody::Inline(bytes) => bytes,
    };
    let is_text = media_type.starts_with("text/") || media_type.contains("json");
    match std::str::from_utf8(bytes) {
        Ok(text) if is_text && bytes.len() <= MOST_SHOWN => {
            let text = if media_type.contains("json") { super::run::pretty(text) } else { text.to_owned() };
            (Some(text), None)
        }
        _ => (None, Some("It is not text.".into())),
    }
}

/// Whether it is shown as a picture: by `<img>`, in which nothing runs.
fn is_image(artifact: &ArtifactRow) -> bool {
    let known = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"];
    known.contains(&artifact.media_type.as_str()) && artifact.size_bytes < 8 << 20
}

#[derive(Debug, Deserialize)]
pub struct ArtifactQuery {
    name: String,
    #[serde(default)]
    map_index: Option<i32>,
    #[serde(default)]
    inline: bool,
}

/// `GET .../artifact?name=...`: a download; with `inline=true` a picture. Nothing in it may run or load.
pub async fn artifact(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Query(query): Query<ArtifactQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let missing = || UiError::NotFound(format!("artifact `{}` does not exist", query.name));
    let artifact = ui.store.artifact_get(&found.key, &query.name).await?.ok_or_else(missing)?;
    let blob = ui.blobs.stream(&artifact.blob).await.map_err(UiError::internal)?.ok_or_else(missing)?;
    let is_inline = query.inline && is_image(&artifact);
    let media_type = if is_inline { artifact.media_type.as_str() } else { "application/octet-stream" };
    let file = artifact.name.rsplit('/').next().unwrap_or("artifact");
    let plain: String =
        file.chars().map(|c| if c.is_ascii_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect();
    let kind = if is_inline { "inline" } else { "attachment" };
    let disposition = format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", links::part(file));
    let about: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(UiError::internal)?),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&disposition).map_err(UiError::internal)?),
        (header::CONTENT_LENGTH, blob.size_bytes.into()),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        ),
    ];
    Ok((about, Body::from_stream(blob.stream.into_stream())).into_response())
}

// ---- inputs -------------------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "task_inputs.html")]
struct InputsPart {
    inputs: Vec<InputView>,
}

struct InputView {
    name: String,
    source: String,
    text: Option<String>,
    not_shown: Option<String>,
}

async fn inputs(ui: &UiState, found: &Found) -> Result<Html, UiError> {
    let mut inputs = Vec::new();
    let params: serde_json::Value = serde_json::from_str(&found.run.conf).unwrap_or_default();
    for binding in found.node().map(|node| node.inputs.as_slice()).unwrap_or_default() {
        let (source, text, not_shown) = match &binding.source {
            Source::Literal(SourceSpec::Literal(json)) => ("fixed".to_owned(), Some(super::run::pretty(json)), None),
            Source::Literal(SourceSpec::Bytes { media_type, .. }) => {
                (format!("fixed, {media_type}"), None, Some("It is not text.".to_owned()))
            }
            Source::Literal(SourceSpec::Param(name)) | Source::Param(name) => {
                let value = params.get(name).map(|value| super::run::pretty(&value.to_string()));
                let missing = value.is_none().then(|| "The run has no such param.".to_owned());
                (format!("param {name}"), value, missing)
            }
            Source::Literal(SourceSpec::Output(name)) => (format!("result of {name}"), None, None),
            Source::Literal(SourceSpec::Element { .. }) => ("an element".to_owned(), None, None),
            Source::Output(upstream) => output(ui, found, *upstream).await?,
            Source::Element { axis, list } => element(ui, found, *axis as usize, *list as usize).await?,
        };
        inputs.push(InputView { name: binding.name.clone(), source, text, not_shown });
    }
    part(&InputsPart { inputs })
}

/// The result of an upstream task, as an input.
async fn output(
    ui: &UiState,
    found: &Found,
    upstream: u32,
) -> Result<(String, Option<String>, Option<String>), UiError> {
    let dag = &found.shape.dag;
    let node = dag.node(upstream);
    let source = format!("result of {}", node.task_id);
    let own = found.node();
    let is_together = own.is_some_and(|own| dag.mapped_group(own) == dag.mapped_group(node)) && node.expand.is_none();
    let map_index = match dag.expansion(node) {
        None => -1,
        Some(_) if is_together => found.key.map_index,
        Some(_) => return Ok((source, None, Some("A list of the results of all its instances.".into()))),
    };
    let key = InstanceKey { dag_run: found.key.dag_run, task_id: node.task_id.clone(), map_index };
    let Some(value) = ui.store.xcom_get(&key, &XComKey::return_value()).await? else {
        return Ok((source, None, Some("It has no result (yet).".into())));
    };
    let (text, not_shown) = shown(&value);
    Ok((source, text, not_shown))
}

/// The instance's element of a list that it is expanded over, as an input.
async fn element(
    ui: &UiState,
    found: &Found,
    axis: usize,
    list: usize,
) -> Result<(String, Option<String>, Option<String>), UiError> {
    let dag = &found.shape.dag;
    let unknown = || ("an element".to_owned(), None, Some("It is not known (yet).".to_owned()));
    let Some(expand) = found.node().and_then(|node| dag.expansion(node)) else { return Ok(unknown()) };
    let mut lists: BTreeMap<u32, Vec<serde_json::Value>> = BTreeMap::new();
    for source in expand.sources() {
        let (task_id, map_index) = (dag.node(source).task_id.clone(), -1);
        let key = InstanceKey { dag_run: found.key.dag_run, task_id, map_index };
        let value = ui.store.xcom_get(&key, &XComKey::return_value()).await?;
        let text = value.as_ref().and_then(|value| shown(value).0);
        lists.extend(text.and_then(|text| serde_json::from_str(&text).ok()).map(|list| (source, list)));
    }
    let length = |source| lists.get(&source).map(|list| u32::try_from(list.len()).unwrap_or(u32::MAX));
    let index = u32::try_from(found.key.map_index).ok();
    let Some(index) = index.and_then(|map_index| expand.element(axis, map_index, length)) else { return Ok(unknown()) };
    let at = index as usize;
    Ok(match &expand.axes[axis][list] {
        List::Literal(elements) => {
            (format!("element {index} of a fixed list"), elements.get(at).map(|json| super::run::pretty(json)), None)
        }
        List::Output(source) => {
            let item = lists.get(source).and_then(|list| list.get(at));
            let item = item.map(|item| super::run::pretty(&item.to_string()));
            let missing =
                item.is_none().then(|| "The list is too long to be shown, or that of a mapped task.".to_owned());
            (format!("element {index} of the result of {}", dag.node(*source).task_id), item, missing)
        }
    })
}

// ---- details ------------------------------------------------------------------------------------

#[derive(Template)]
#[template(path = "task_details.html")]
struct DetailsPart {
    facts: Facts,
    tries: Vec<TryLine>,
    doc: Html,
}

struct TryLine {
    number: u32,
    href: String,
    state: StateView,
    started: When,
    duration: Span,
    message: String,
}

async fn details(
    ui: &UiState,
    found: &Found,
    zone: chrono_tz::Tz,
    now: crate::model::time::Timestamp,
) -> Result<Html, UiError> {
    let tries = ui.store.task_instance_tries(&found.key).await?;
    let mut tries: Vec<_> = tries
        .into_iter()
        .map(|row| TryLine {
            number: row.try_number,
            href: found.href("", &[("try", &row.try_number.to_string())]),
            state: row.state.into(),
            started: When { at: row.start_date, zone },
            duration: Span::between(row.start_date, row.end_date, now),
            message: shortened(row.message.as_deref().unwrap_or_default()),
        })
        .collect();
    tries.reverse();
    let spec = found.shape.spec.nodes.iter().find(|node| node.task_id == found.key.task_id.as_str());
    let mut facts = Facts::new();
    if let Some(spec) = spec {
        let span = |ms: u64| Span(Some(std::time::Duration::from_millis(ms)));
        let rule = serde_json::to_value(spec.trigger_rule).unwrap_or_default();
        facts = facts
            .text("Trigger rule", rule.as_str().unwrap_or_default())
            .text("Retries", spec.retries)
            .text("Wait before a retry", span(spec.retry_delay_ms))
            .maybe("Backoff", (spec.retry_backoff > 1.0).then(|| format!("times {}", spec.retry_backoff)))
            .maybe("Longest wait", spec.max_retry_delay_ms.map(span))
            .maybe("Timeout", spec.timeout_ms.map(span))
            .text("Pool", pool(&spec.pool, spec.pool_slots))
            .text("Priority", spec.priority_weight);
    }
    if let Some(node) = found.node() {
        let run = links::run(&found.run.dag_id, &found.run.run_id);
        let list = |tasks: &[u32]| {
            let mut html = Html::new();
            for (at, task) in tasks.iter().take(50).enumerate() {
                let name = found.shape.dag.node(*task).task_id.as_str();
                html.add(|html| {
                    html.markup(if at > 0 { ", " } else { "" })
                        .markup("<a href=\"")
                        .text(format!("{run}/tasks/{}", links::part(name)))
                        .markup("\">")
                        .text(name)
                        .markup("</a>")
                });
            }
            if tasks.len() > 50 {
                html.add(|html| html.text(format!(" and {} more", tasks.len() - 50)));
            }
            if tasks.is_empty() { Html::new().text("none") } else { html }
        };
        facts = facts.html("Upstream", list(&node.upstream)).html("Downstream", list(&node.downstream));
    }
    let doc = spec.and_then(|spec| spec.doc.as_deref()).map(doc::render).unwrap_or_default();
    part(&DetailsPart { facts, tries, doc })
}

// ---- clear --------------------------------------------------------------------------------------

/// What a preview shows, of a run or of a task, of clearing or of marking.
#[derive(Template)]
#[template(path = "task_clear.html")]
pub struct ClearView {
    pub shell: Shell,
    pub crumbs: Crumbs,
    pub heading: String,
    pub about: &'static str,
    pub action: String,
    pub map_index: Option<i32>,
    pub options: Vec<Choice>,
    pub states: Vec<(&'static str, bool)>,
    pub summary: String,
    pub affected: Vec<AffectedLine>,
    pub affected_total: usize,
    pub fields: Vec<(&'static str, String)>,
    pub verb: String,
    pub back: String,
}

/// An option of a preview.
pub struct Choice {
    pub name: &'static str,
    pub label: &'static str,
    pub on: bool,
}

impl Choice {
    /// Of (name, label, whether it is on).
    pub fn all(choices: &[(&'static str, &'static str, bool)]) -> Vec<Self> {
        choices.iter().map(|&(name, label, on)| Self { name, label, on }).collect()
    }
}

/// A task instance that would be changed.
pub struct AffectedLine {
    pub task_id: TaskId,
    pub label: String,
    pub run_id: RunId,
    pub state: StateView,
}

impl ClearView {
    pub fn new(
        shell: Shell,
        crumbs: Crumbs,
        label: &str,
        base: String,
        options: Vec<Choice>,
        fields: Vec<(&'static str, String)>,
        affected: &[TaskInstanceRow],
    ) -> Self {
        Self {
            shell,
            crumbs,
            heading: format!("Clear {label}"),
            about: "A cleared task instance runs again, with a new try. What it pushed before is dropped then.",
            action: format!("{base}/clear"),
            map_index: None,
            options,
            states: Vec::new(),
            summary: summary(affected, "will run again"),
            affected: lines(affected),
            affected_total: affected.len(),
            fields,
            verb: "Clear".into(),
            back: base,
        }
    }
}

fn summary(affected: &[TaskInstanceRow], what: &str) -> String {
    match affected.len() {
        0 => "Nothing would change".into(),
        1 => format!("1 task instance {what}"),
        count => format!("{} task instances {what}", show::grouped(count)),
    }
}

fn lines(affected: &[TaskInstanceRow]) -> Vec<AffectedLine> {
    let line = |row: &TaskInstanceRow| AffectedLine {
        label: label(&row.task_id, row.map_index),
        task_id: row.task_id.clone(),
        run_id: row.run_id.clone(),
        state: row.state.into(),
    };
    affected.iter().take(PREVIEW).map(line).collect()
}

/// What surrounds a task instance that is cleared or marked.
#[expect(clippy::struct_excessive_bools, reason = "they are the check boxes of a form")]
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ClearOptions {
    /// Whether the options were chosen; if not, the defaults hold.
    #[serde(default)]
    pub chosen: bool,
    #[serde(default)]
    pub map_index: Option<i32>,
    #[serde(default)]
    pub upstream: bool,
    #[serde(default)]
    pub downstream: bool,
    #[serde(default)]
    pub past: bool,
    #[serde(default)]
    pub future: bool,
    #[serde(default)]
    pub only_failed: bool,
    /// Of marking.
    #[serde(default)]
    pub state: Option<TaskState>,
}

impl ClearOptions {
    fn around(&self) -> [(&'static str, &'static str, bool); 4] {
        [
            ("downstream", "Downstream tasks", self.downstream),
            ("upstream", "Upstream tasks", self.upstream),
            ("past", "Earlier runs", self.past),
            ("future", "Later runs", self.future),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields: Vec<_> = self.around().iter().map(|(name, _, on)| (*name, on.to_string())).collect();
        fields.push(("only_failed", self.only_failed.to_string()));
        fields.push(("chosen", "true".into()));
        fields.extend(self.map_index.map(|index| ("map_index", index.to_string())));
        fields.extend(self.state.map(|state| ("state", state.to_string())));
        fields
    }

    fn clear(&self, (dag_id, run_id, task_id): (DagId, RunId, TaskId), dry_run: bool) -> ClearRequest {
        ClearRequest {
            tasks: vec![(task_id, self.map_index)],
            upstream: self.upstream,
            downstream: self.downstream,
            past: self.past,
            future: self.future,
            only_failed: self.only_failed,
            dry_run,
            ..ClearRequest::of_run(dag_id, run_id)
        }
    }

    fn mark(&self, (dag_id, run_id, task_id): (DagId, RunId, TaskId), state: TaskState, dry_run: bool) -> MarkRequest {
        MarkRequest {
            dag_id,
            run_id,
            task_id,
            map_index: self.map_index,
            state,
            upstream: self.upstream,
            downstream: self.downstream,
            past: self.past,
            future: self.future,
            dry_run,
        }
    }
}

/// `GET .../clear`: the options and what they would clear.
pub async fn preview_clear(
    State(ui): State<UiState>,
    frame: Frame,
    Path(path): TaskPath,
    Query(mut options): Query<ClearOptions>,
) -> Result<Response, UiError> {
    let found = find(&ui, path.clone(), options.map_index).await?;
    if !options.chosen {
        // As in Airflow: what follows is made anew, too.
        options.downstream = true;
    }
    let affected = ui.scheduler.task_clear(options.clear(path.clone(), true)).await?;
    let title = label(&path.2, options.map_index.unwrap_or(-1));
    let mut choices = options.around().to_vec();
    choices.push(("only_failed", "Only failed", options.only_failed));
    let shell = frame.shell(Section::Dags, "clear", format!("Clear {title}"));
    let mut view = ClearView::new(
        shell,
        crumbs(&path.0, Some(&path.1)),
        &title,
        found.base(),
        Choice::all(&choices),
        options.fields(),
        &affected,
    );
    view.map_index = options.map_index;
    view.back = found.href("", &[]);
    Ok(page(&view))
}

/// `POST .../clear`
pub async fn clear(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Form(options): Form<ClearOptions>,
) -> Result<Response, UiError> {
    let to = links::task(&path.0, &path.1, &path.2, options.map_index.unwrap_or(-1));
    let affected = ui.scheduler.task_clear(options.clear(path, false)).await?;
    Ok(go_and_tell(&to, &format!("{} task instances were cleared.", affected.len())))
}

/// States that a task instance can be marked with.
const MARKS: [TaskState; 3] = [TaskState::Success, TaskState::Failed, TaskState::Skipped];

/// `GET .../mark`: the options and what they would mark.
pub async fn preview_mark(
    State(ui): State<UiState>,
    frame: Frame,
    Path(path): TaskPath,
    Query(mut options): Query<ClearOptions>,
) -> Result<Response, UiError> {
    let found = find(&ui, path.clone(), options.map_index).await?;
    let is_success = found.row.as_ref().is_some_and(|row| row.state == TaskState::Success);
    let state = options.state.unwrap_or(if is_success { TaskState::Failed } else { TaskState::Success });
    options.state = Some(state);
    let affected = ui.scheduler.task_mark(options.mark(path.clone(), state, true)).await?;
    let title = label(&path.2, options.map_index.unwrap_or(-1));
    let shell = frame.shell(Section::Dags, "mark", format!("Mark {title}"));
    Ok(page(&ClearView {
        shell,
        crumbs: crumbs(&path.0, Some(&path.1)),
        heading: format!("Mark {title}"),
        about: "The state is set by hand; what runs is ended, and what waits for it goes on by its trigger rule.",
        action: format!("{}/mark", found.base()),
        map_index: options.map_index,
        options: Choice::all(&options.around()),
        states: MARKS.iter().map(|mark| (mark.as_str(), *mark == state)).collect(),
        summary: summary(&affected, &format!("will be {state}")),
        affected: lines(&affected),
        affected_total: affected.len(),
        fields: options.fields(),
        verb: format!("Mark {state}"),
        back: found.href("", &[]),
    }))
}

/// `POST .../mark`
pub async fn mark(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Form(options): Form<ClearOptions>,
) -> Result<Response, UiError> {
    let state = options.state.ok_or_else(|| UiError::Invalid("choose a state to mark with".into()))?;
    let to = links::task(&path.0, &path.1, &path.2, options.map_index.unwrap_or(-1));
    let affected = ui.scheduler.task_mark(options.mark(path, state, false)).await?;
    Ok(go_and_tell(&to, &format!("{} task instances were marked {state}.", affected.len())))
}
