//! The one stream of a page: what changes, and the lines of the log that it shows.

use std::{collections::BTreeMap, convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use super::{
    UiState,
    error::UiError,
    log::{LineView, LogFilter},
    run_letter,
    shape::Shape,
    shell::Frame,
};
use crate::{
    api::permit::{UNBUFFERED, Visitor},
    model::{
        dag_access::DagSet,
        ids::{DagId, RunId, TaskId},
    },
    scheduler::{Change, LogError, LogLine},
    store::InstanceKey,
};

/// Changes are told at most four times a second.
const EVERY: Duration = Duration::from_millis(250);
/// Cells that are told one by one; above it the page is told to ask for all.
const MOST_CELLS: usize = 2_000;
/// A stream ends after this; the browser opens another one, with whatever session it has then.
const LIFETIME: Duration = Duration::from_mins(10);

/// What a page that is of no dag shows, besides what people set.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shown {
    Dags,
    #[default]
    Runs,
    Tasks,
}

#[derive(Debug, Default, Deserialize)]
pub struct EventsQuery {
    #[serde(default)]
    of: Shown,
    dag: Option<DagId>,
    run: Option<RunId>,
    task: Option<TaskId>,
    #[serde(default = "unmapped")]
    map_index: i32,
    r#try: Option<u32>,
    /// The first log line to send.
    #[serde(default)]
    after: u64,
    #[serde(default)]
    level: String,
    #[serde(default)]
    q: String,
}

fn unmapped() -> i32 {
    -1
}

/// What is told of a run.
#[derive(Debug, Default, Serialize)]
struct RunChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<char>,
    /// (row, letter) of tasks that are not mapped.
    cells: Vec<(usize, char)>,
    /// Not all is told: ask again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

#[derive(Debug, Default, Serialize)]
struct Changes {
    runs: BTreeMap<RunId, RunChange>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(skip)]
    any: bool,
    #[serde(skip)]
    cells: usize,
}

type LogStream = Pin<Box<dyn Stream<Item = Result<Vec<LogLine>, LogError>> + Send>>;

struct Feed {
    query: EventsQuery,
    visitor: Visitor,
    /// The dags that the page may show.
    seen: DagSet,
    shape: Option<Arc<Shape>>,
    changes: Receiver<Arc<Vec<Change>>>,
    log: Option<LogStream>,
    filter: LogFilter,
    next_line: u64,
    pending: Changes,
    due: Instant,
    ends: Instant,
}

/// `GET /ui/events`: `change` and `log`, as the page asks by its query.
pub async fn events(
    State(ui): State<UiState>,
    visitor: Visitor,
    frame: Frame,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, UiError> {
    let changes = ui.scheduler.subscribe();
    let scope = visitor.scope().await.map_err(UiError::internal)?;
    query.dag.as_ref().map_or(Ok(()), |dag_id| scope.check(dag_id))?;
    let last_seen: Option<u64> =
        headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let next_line = last_seen.unwrap_or(0).max(query.after);
    let (mut shape, mut log) = (None, None);
    if let Some(dag_id) = &query.dag {
        // A run page's rows are those of its own version; the grid's are those of the newest.
        let version = match &query.run {
            None => ui.dag(dag_id).await?.version,
            Some(run_id) => {
                let run = ui.run(dag_id, run_id).await?;
                if let (Some(task_id), Some(try_number)) = (&query.task, query.r#try) {
                    let key = InstanceKey { dag_run: run.key, task_id: task_id.clone(), map_index: query.map_index };
                    log = Some(Box::pin(ui.logs.follow(key, try_number, next_line)) as LogStream);
                }
                run.version
            }
        };
        shape = Some(ui.shapes.get(&ui.store, version).await?);
    }
    let zone = shape.as_ref().map_or_else(|| frame.zones_of_none(), |shape| frame.zones(&shape.spec));
    let now = Instant::now();
    let feed = Feed {
        filter: LogFilter::new(&query.level, &query.q).in_zone(zone.shown),
        query,
        visitor: visitor.clone(),
        seen: scope.seen().clone(),
        shape,
        changes,
        log,
        next_line,
        pending: Changes::default(),
        due: now,
        ends: now + LIFETIME,
    };
    let stopping = ui.stopping.clone();
    let events = stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    })
    .take_until(async move { stopping.cancelled().await });
    let events = visitor.listen(events)?;
    let hello = stream::once(async { Ok(Event::default().comment("airlock").retry(Duration::from_secs(2))) });
    let stream = Sse::new(hello.chain(events).fuse()).keep_alive(KeepAlive::default());
    Ok((UNBUFFERED, stream).into_response())
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let log = async {
                match &mut self.log {
                    Some(log) => log.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = sleep_until(self.ends) => return None,
                () = sleep_until(self.due), if self.pending.any => {
                    self.due = Instant::now() + EVERY;
                    let changes = std::mem::take(&mut self.pending);
                    return Event::default().event("change").json_data(changes).ok();
                }
                batch = self.changes.recv() => match batch {
                    Ok(batch) => {
                        self.look_again(&batch).await;
                        // It may be of any dag, or none: whoever sees some only is told of theirs.
                        self.pending.any |= batch.is_empty() && self.seen.listed().is_none();
                        batch.iter().for_each(|change| self.absorb(change));
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.pending.any = true;
                        self.pending.again = true;
                    }
                    Err(RecvError::Closed) => return None,
                },
                lines = log => match lines {
                    Some(Ok(lines)) => {
                        if let Some(event) = self.log_event(&lines) {
                            return Some(event);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::warn!(error = %error, "a log can't be followed");
                        self.log = None;
                    }
                    None => {
                        // The attempt is over: its page has more to say.
                        self.log = None;
                        self.pending.any = true;
                    }
                },
            }
        }
    }

    /// A dag that is new, or has other tags, may be one that the user may see.
    async fn look_again(&mut self, changes: &[Change]) {
        let is_of_dag = |change: &Change| matches!(change, Change::Dag { .. });
        if self.seen.listed().is_some() && changes.iter().any(is_of_dag) {
            match self.visitor.scope().await {
                Ok(scope) => self.seen = scope.seen().clone(),
                Err(error) => tracing::warn!(error = %error, "what a page may show could not be read"),
            }
        }
    }

    fn absorb(&mut self, change: &Change) {
        let Self { query, seen, shape, pending, .. } = self;
        if query.dag.as_ref().is_some_and(|dag_id| change.dag_id() != dag_id) || !seen.contains(change.dag_id()) {
            return;
        }
        if let (Some(wanted), Some(run_id)) = (&query.run, change.run_id())
            && wanted != run_id
        {
            return;
        }
        match change {
            Change::Dag { .. } => pending.any = true,
            // The list of dags shows runs, not tasks.
            Change::Run { .. } if query.dag.is_none() => pending.any |= query.of != Shown::Dags,
            Change::Task { .. } if query.dag.is_none() => pending.any |= query.of == Shown::Tasks,
            Change::Run { run_id, state, .. } => {
                pending.any = true;
                let run = pending.runs.entry(run_id.clone()).or_default();
                run.state = state.map(|state| char::from(run_letter(state)));
                run.again |= state.is_none();
            }
            Change::Task { task_id, .. } if query.task.as_ref().is_some_and(|wanted| wanted != task_id) => {}
            Change::Task { run_id, task_id, state, .. } => {
                pending.any = true;
                let run = pending.runs.entry(run_id.clone()).or_default();
                let row = shape.as_ref().and_then(|shape| shape.row(task_id).filter(|row| !shape.is_mapped(*row)));
                match row {
                    Some(row) if pending.cells < MOST_CELLS => {
                        run.cells.push((row, char::from(state.letter())));
                        pending.cells += 1;
                    }
                    _ => {
                        run.again = true;
                        run.cells.clear();
                    }
                }
            }
        }
    }

    fn log_event(&mut self, lines: &[LogLine]) -> Option<Event> {
        #[derive(Serialize)]
        struct LogEvent {
            lines: Vec<LineView>,
            next: u64,
        }
        let first = self.next_line;
        self.next_line += lines.len() as u64;
        let lines: Vec<_> = (first..).zip(lines).filter_map(|(number, line)| self.filter.view(number, line)).collect();
        if lines.is_empty() {
            return None;
        }
        let event = LogEvent { lines, next: self.next_line };
        Event::default().event("log").id(self.next_line.to_string()).json_data(event).ok()
    }
}
