//! Waiting for the end of a run, and for what its tasks gave back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::IntoParams;

use super::find_run;
use crate::{
    api::{
        Api,
        error::ApiError,
        extract::{Path, Query},
        paths::RunPath,
        permit::{UNBUFFERED, Visitor},
        xcoms::{self, MAX_SHOWN_BYTES},
    },
    model::{
        ids::{TaskId, XComKey},
        state::RunState,
    },
    scheduler::Change,
    store::{DagRunKey, MAX_PAGE, Page, XComFilter},
};

/// Tasks that a request names.
const MAX_RESULTS: usize = 100;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Seconds between two lines while nothing changes; 1 to 60.
    interval: Option<f64>,
    /// Tasks whose results the last line has as well; at most 100.
    #[param(value_type = Vec<String>)]
    result: BTreeSet<TaskId>,
}

/// Lines of JSON with the run's state: at once, at each change, every `interval` seconds, and at its end the last. That has in `results`
/// what the tasks gave back that `result` names, of mapped ones a list; those of which it would be too much, 16 MiB together or
/// 1,000 values of one, it names in `left_out`.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/wait", tag = "DagRun", params(RunPath, WaitQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = String)),
)]
pub async fn wait_dag_run(
    State(api): State<Api>,
    visitor: Visitor,
    Path(path): Path<RunPath>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, ApiError> {
    find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let interval = query.interval.unwrap_or(5.0);
    if interval.is_nan() {
        return Err(ApiError::invalid(["query", "interval"], "it must be a number of seconds"));
    }
    if query.result.len() > MAX_RESULTS {
        return Err(ApiError::invalid(["query", "result"], format!("at most {MAX_RESULTS} tasks can be named")));
    }
    let waiting = Waiting {
        // Asked before the state is read, so that no change falls between.
        changes: api.scheduler.subscribe(),
        api,
        path,
        interval: Duration::from_secs_f64(interval.clamp(1.0, 60.0)),
        results: query.result,
        is_first: true,
        is_over: false,
    };
    // Whoever may not see the run any more is told no more of it.
    let stream = visitor.listen(waiting.lines())?;
    // No content type, as in Airflow: its client refuses `application/x-ndjson`, though its document names it.
    Ok((UNBUFFERED, Body::from_stream(stream)).into_response())
}

/// What a waiting client has been told so far.
struct Waiting {
    api: Api,
    path: RunPath,
    interval: Duration,
    results: BTreeSet<TaskId>,
    changes: Receiver<std::sync::Arc<Vec<Change>>>,
    is_first: bool,
    is_over: bool,
}

#[derive(Serialize)]
struct Line {
    /// Null: the run was deleted.
    state: Option<RunState>,
    #[serde(flatten)]
    results: Option<Results>,
}

/// What tasks gave back.
#[derive(Default, Serialize)]
struct Results {
    results: BTreeMap<TaskId, Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<TaskId>,
}

impl Waiting {
    /// Ends with the run; breaks off with an error if it can't be told how it stands.
    fn lines(self) -> impl Stream<Item = io::Result<Bytes>> {
        stream::unfold(self, |mut waiting| async move {
            if waiting.is_over {
                return None;
            }
            if !waiting.is_first {
                waiting.change().await;
            }
            waiting.is_first = false;
            let line = waiting.line().await.map_err(|_| io::Error::other("the run can't be read"));
            waiting.is_over |= line.is_err();
            Some((line, waiting))
        })
        // A compressed body is asked once more after its end.
        .fuse()
    }

    async fn line(&mut self) -> Result<Bytes, ApiError> {
        let run = self.api.store.dag_run_get(&self.path.dag_id, &self.path.dag_run_id).await?;
        let state = run.as_ref().map(|run| run.state);
        self.is_over = state.is_none_or(RunState::is_finished);
        let results = match run.filter(|_| self.is_over && !self.results.is_empty()) {
            Some(run) => Some(results(&self.api, run.key, &self.results).await?),
            None => None,
        };
        let mut line = serde_json::to_vec(&Line { state, results }).map_err(|error| ApiError::internal(&error))?;
        line.push(b'\n');
        Ok(line.into())
    }

    /// Returns when the run may have changed, or the interval is over.
    async fn change(&mut self) {
        let about_it = async {
            loop {
                match self.changes.recv().await {
                    Ok(changes) => {
                        let mine = changes.iter().any(|change| {
                            matches!(change, Change::Run { dag_id, run_id, .. }
                                if *run_id == self.path.dag_run_id && *dag_id == self.path.dag_id)
                        });
                        if mine {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        // Either way it is time to look.
        let _ = tokio::time::timeout(self.interval, about_it).await;
    }
}

/// What these tasks of a run gave back; nothing of one that gave nothing back.
async fn results(api: &Api, run: DagRunKey, tasks: &BTreeSet<TaskId>) -> Result<Results, ApiError> {
    let mut found = Results::default();
    let mut room = MAX_SHOWN_BYTES;
    for task_id in tasks {
        let filter = XComFilter {
            dag_run: Some(run),
            task_id: Some(task_id.clone()),
            key: Some(XComKey::return_value()),
            ..XComFilter::default()
        };
        let rows = api.store.xcom_list(&filter, Page::first(MAX_PAGE)).await?;
        let size: i64 = rows.items.iter().map(|row| row.size_bytes).sum();
        if rows.total > i64::from(MAX_PAGE) || size > room {
            found.left_out.push(task_id.clone());
            continue;
        }
        room -= size;
        let is_mapped = rows.items.iter().any(|row| row.instance.map_index >= 0);
        let keys: Vec<_> = rows.items.into_iter().map(|row| (row.instance, row.key)).collect();
        let mut values = Vec::with_capacity(keys.len());
        for xcom in api.store.xcom_get_many(&keys).await? {
            values.push(xcoms::value(api, &xcom, false).await?);
        }
        let value = if is_mapped { to_raw_value(&values).ok() } else { values.pop() };
        found.results.extend(value.map(|value| (task_id.clone(), value)));
    }
    Ok(found)
}
