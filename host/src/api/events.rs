//! Changes as they are committed, pushed (server-sent events).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::Query,
    permit::{UNBUFFERED, Visitor},
};
use crate::{
    model::{
        dag_access::DagSet,
        ids::{DagId, RunId},
        state::{RunState, TaskState},
    },
    scheduler::Change,
};

/// Events are at least so far apart; what happens between is told together.
const PAUSE: Duration = Duration::from_millis(250);
/// A stream ends after so long and the client opens the next, so that a session that is over is noticed.
const LIFETIME: Duration = Duration::from_mins(15);
/// More changes than these in one event are not told one by one.
const MAX_CHANGES: usize = 1_000;

/// What changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChangeView {
    /// A dag was deployed, paused, unpaused or deleted.
    Dag { dag_id: String },
    /// A run was made or changed its state; null: it was deleted.
    Run { dag_id: String, dag_run_id: String, state: Option<&'static str> },
    /// A task instance changed its state.
    Task {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        map_index: i32,
        state: Option<&'static str>,
        try_number: u32,
    },
}

/// The data of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangesView {
    changes: Vec<ChangeView>,
    /// There was more than can be told: read anew what is shown.
    reload: bool,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Changes of this dag only.
    #[param(value_type = Option<String>)]
    dag_id: Option<DagId>,
    /// Changes of this run only; needs `dag_id`.
    #[param(value_type = Option<String>)]
    dag_run_id: Option<RunId>,
}

impl EventQuery {
    fn wants(&self, change: &Change) -> bool {
        self.dag_id.as_ref().is_none_or(|dag_id| dag_id == change.dag_id())
            && self.dag_run_id.as_ref().is_none_or(|run_id| change.run_id() == Some(run_id))
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        match change {
            Change::Dag { dag_id } => Self::Dag { dag_id: dag_id.to_string() },
            Change::Run { dag_id, run_id, state, .. } => Self::Run {
                dag_id: dag_id.to_string(),
                dag_run_id: run_id.to_string(),
                state: state.map(RunState::as_str),
            },
            Change::Task { dag_id, run_id, task_id, map_index, state, try_number, .. } => Self::Task {
                dag_id: dag_id.to_string(),
                dag_run_id: run_id.to_string(),
                task_id: task_id.to_string(),
                map_index: *map_index,
                state: (*state != TaskState::None).then(|| state.as_str()),
                try_number: *try_number,
            },
        }
    }
}

/// Events named `changes` with what was committed, at most four a second.
#[utoipa::path(
    get, path = "/api/v2/events", tag = "Event", params(EventQuery),
    responses((status = 200, content_type = "text/event-stream", body = ChangesView)),
)]
pub async fn get_events(
    State(api): State<Api>,
    visitor: Visitor,
    Query(query): Query<EventQuery>,
) -> Result<Response, ApiError> {
    if query.dag_run_id.is_some() && query.dag_id.is_none() {
        return Err(ApiError::invalid(["query", "dag_id"], "a run has its id within a dag; name the dag too"));
    }
    // Before it is asked what may be seen, so that no dag that is new falls between.
    let changes = api.scheduler.subscribe();
    let events = Events {
        changes,
        seen: visitor.scope().await?.seen().clone(),
        visitor: visitor.clone(),
        query,
        until: Instant::now() + LIFETIME,
        next_at: Instant::now(),
        is_first: true,
    };
    let stream = visitor.listen(events.into_stream())?.fuse();
    let response = Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)));
    Ok((UNBUFFERED, response).into_response())
}

/// One client's place in the stream of changes.
struct Events {
    changes: Receiver<Arc<Vec<Change>>>,
    visitor: Visitor,
    /// The dags that the client may see.
    seen: DagSet,
    query: EventQuery,
    until: Instant,
    next_at: Instant,
    is_first: bool,
}

impl Events {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> + Send {
        stream::unfold(self, |mut events| async move {
            if std::mem::take(&mut events.is_first) {
                // Tells the client that it listens, and how long to wait before it opens the next stream.
                return Some((Ok(Event::default().comment("listening").retry(Duration::from_secs(1))), events));
            }
            let view = tokio::time::timeout_at(events.until, events.gather()).await.ok()??;
            let event = Event::default().event("changes").json_data(&view).unwrap_or_default();
            Some((Ok(event), events))
        })
    }

    /// A dag that is new, or has other tags, may be one that the client may see.
    async fn look_again(&mut self, changes: &[Change]) {
        let is_of_dag = |change: &Change| matches!(change, Change::Dag { .. });
        if self.seen.listed().is_some() && changes.iter().any(is_of_dag) {
            match self.visitor.scope().await {
                Ok(scope) => self.seen = scope.seen().clone(),
                Err(error) => tracing::warn!(error = %error, "what a listener may see could not be read"),
            }
        }
    }

    /// The changes since the last event, once there are any and the pause is over. None: there will be no more.
    async fn gather(&mut self) -> Option<ChangesView> {
        let mut view = ChangesView { changes: Vec::new(), reload: false };
        let mut latest = Latest::default();
        while latest.is_empty() && !view.reload {
            match self.changes.recv().await {
                Ok(changes) => {
                    self.look_again(&changes).await;
                    latest.add(&changes, &self.query, &self.seen);
                }
                Err(RecvError::Lagged(_)) => view.reload = true,
                Err(RecvError::Closed) => return None,
            }
        }
        loop {
            match tokio::time::timeout_at(self.next_at, self.changes.recv()).await {
                Ok(Ok(changes)) => {
                    self.look_again(&changes).await;
                    latest.add(&changes, &self.query, &self.seen);
                }
                Ok(Err(RecvError::Lagged(_))) => view.reload = true,
                Ok(Err(RecvError::Closed)) | Err(_) => break,
            }
        }
        self.next_at = Instant::now() + PAUSE;
        view.reload |= latest.overflowed;
        view.changes = latest.changes.iter().map(ChangeView::from).collect();
        Some(view)
    }
}

/// The changes that are not told yet, in order.
#[derive(Default)]
struct Latest {
    changes: Vec<Change>,
    overflowed: bool,
}

impl Latest {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.overflowed
    }

    fn add(&mut self, changes: &[Change], query: &EventQuery, seen: &DagSet) {
        let is_told = |change: &&Change| query.wants(change) && seen.contains(change.dag_id());
        self.changes.extend(changes.iter().filter(is_told).cloned());
        if self.changes.len() > MAX_CHANGES {
            // What is told last is what holds: runs and dags are kept, their tasks are to be read.
            self.overflowed = true;
            self.changes.retain(|change| !matches!(change, Change::Task { .. }));
            let superfluous = self.changes.len().saturating_sub(MAX_CHANGES);
            self.changes.drain(..superfluous);
        }
    }
}
