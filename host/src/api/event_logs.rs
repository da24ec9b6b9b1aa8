//! The audit log, as Airflow's event logs. There is no way to change it.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{Instant, Paging, Path, Query},
    names::Names,
    paths::EventLogPath,
    patterns::EventLogPatterns,
    ranges::range,
};
use crate::{
    model::ids::{DagId, RunId},
    store::{DagVersionKey, EventFilter, EventOrder, EventRow},
};

/// Airflow: `EventLogResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventLogResponse {
    event_log_id: i64,
    when: DateTime<Utc>,
    dag_id: Option<String>,
    task_id: Option<String>,
    run_id: Option<String>,
    map_index: Option<i32>,
    try_number: Option<i32>,
    /// The permission that it took, as `dag.pause`; `sign_in`, `sign_out`, `token.write`.
    event: String,
    logical_date: Option<DateTime<Utc>>,
    /// Who did it.
    owner: Option<String>,
    /// JSON, as text: `route`, `denied`, `token`, `from`, `object`, `before`, `after`; without secrets.
    extra: String,
    /// As the dag is called now; null if it is not there any more.
    dag_display_name: Option<String>,
    /// As the task is called in its run; null if that is not there any more.
    task_display_name: Option<String>,
}

/// Airflow: `EventLogCollectionResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventLogCollectionResponse {
    event_logs: Vec<EventLogResponse>,
    total_entries: i64,
}

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct EventLogQuery {
    dag_id: Option<String>,
    run_id: Option<String>,
    task_id: Option<String>,
    event: Option<String>,
    owner: Option<String>,
    map_index: Option<i64>,
    /// Only these events.
    included_events: Vec<String>,
    /// But for these events.
    excluded_events: Vec<String>,
    /// Those that came after it.
    #[param(value_type = Option<String>)]
    after: Option<Instant>,
    /// Those that came before it.
    #[param(value_type = Option<String>)]
    before: Option<Instant>,
    /// Those that came after this `event_log_id`.
    after_id: Option<i64>,
}

/// What the dags and tasks of entries are called.
struct Called {
    dags: BTreeMap<DagId, String>,
    /// The versions of the runs whose tasks entries are about.
    runs: BTreeMap<(DagId, RunId), DagVersionKey>,
    names: Names,
}

/// The dag that an entry is about, if what it says is the name of one.
fn dag_of(row: &EventRow) -> Option<DagId> {
    row.event.dag_id.as_deref()?.parse().ok()
}

/// The run of the task that an entry is about.
fn run_of(row: &EventRow) -> Option<(DagId, RunId)> {
    row.event.task_id.as_ref()?;
    Some((dag_of(row)?, row.event.run_id.as_deref()?.parse().ok()?))
}

impl Called {
    async fn of(api: &Api, rows: &[EventRow]) -> Result<Self, ApiError> {
        let dag_ids: BTreeSet<_> = rows.iter().filter_map(dag_of).collect();
        let dags = api.store.dag_names(&Vec::from_iter(dag_ids)).await?;
        let runs: BTreeSet<_> = rows.iter().filter_map(run_of).collect();
        let runs = api.store.dag_run_versions(&Vec::from_iter(runs)).await?;
        let names = Names::of_versions(api, runs.values().copied()).await?;
        Ok(Self { dags, runs, names })
    }

    fn dag(&self, row: &EventRow) -> Option<String> {
        self.dags.get(&dag_of(row)?).cloned()
    }

    fn task(&self, row: &EventRow) -> Option<String> {
        let version = self.names.version(*self.runs.get(&run_of(row)?)?)?;
        Some(version.task(row.event.task_id.as_deref()?))
    }
}

impl EventLogResponse {
    fn new(row: EventRow, called: &Called) -> Self {
        let (dag_display_name, task_display_name) = (called.dag(&row), called.task(&row));
        let EventRow { id, event } = row;
        let read = |text: Option<String>| text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let extra = json!({
            "route": event.route, "denied": event.is_denied, "token": event.token, "from": event.peer,
            "object": event.object, "before": read(event.before), "after": read(event.after),
        });
        Self {
            event_log_id: id,
            when: event.at.to_utc(),
            dag_id: event.dag_id,
            task_id: event.task_id,
            run_id: event.run_id,
            map_index: event.map_index,
            try_number: None,
            event: event.event,
            logical_date: None,
            owner: event.username,
            extra: extra.to_string(),
            dag_display_name,
            task_display_name,
        }
    }
}

#[utoipa::path(
    get, path = "/api/v2/eventLogs", tag = "Event Log", params(Paging, EventLogQuery, EventLogPatterns),
    responses((status = 200, body = EventLogCollectionResponse)),
)]
pub async fn get_event_logs(
    State(api): State<Api>,
    Query(paging): Query<Paging>,
    Query(query): Query<EventLogQuery>,
    Query(patterns): Query<EventLogPatterns>,
) -> Result<Json<EventLogCollectionResponse>, ApiError> {
    let known = [
        ("event_log_id", EventOrder::Id),
        ("when", EventOrder::Id),
        ("id", EventOrder::Id),
        ("dttm", EventOrder::Id),
        ("event", EventOrder::Event),
        ("owner", EventOrder::Username),
        ("dag_id", EventOrder::DagId),
        ("run_id", EventOrder::RunId),
        ("task_id", EventOrder::TaskId),
    ];
    let (page, asked) = paging.sorted(&known)?;
    let (order_by, order) = asked.unwrap_or_default();
    let filter = EventFilter {
        dag_id: query.dag_id,
        run_id: query.run_id,
        task_id: query.task_id,
        event: query.event,
        username: query.owner,
        map_index: query.map_index,
        included_events: query.included_events,
        excluded_events: query.excluded_events,
        dag_id_like: patterns.dag_id()?,
        run_id_like: patterns.run_id()?,
        task_id_like: patterns.task_id()?,
        event_like: patterns.event()?,
        username_like: patterns.owner()?,
        at: range(None, query.after, None, query.before),
        after_id: query.after_id,
        order_by,
        order,
    };
    if filter.sorts_all() {
        return Err(ApiError::bad_request(
            "entries are ordered by runs and tasks of one dag: of all dags that would sort the whole log; name `dag_id`",
        ));
    }
    let listed = api.store.event_list(&filter, page).await?;
    let called = Called::of(&api, &listed.items).await?;
    let event_logs = listed.items.into_iter().map(|row| EventLogResponse::new(row, &called)).collect();
    Ok(Json(EventLogCollectionResponse { event_logs, total_entries: listed.total }))
}

#[utoipa::path(
    get, path = "/api/v2/eventLogs/{event_log_id}", tag = "Event Log", params(EventLogPath),
    responses((status = 200, body = EventLogResponse)),
)]
pub async fn get_event_log(
    State(api): State<Api>,
    Path(path): Path<EventLogPath>,
) -> Result<Json<EventLogResponse>, ApiError> {
    let row = api.store.event_get(path.event_log_id).await?;
    let missing = || ApiError::not_found(format!("event log {} does not exist", path.event_log_id));
    let row = row.ok_or_else(missing)?;
    let called = Called::of(&api, std::slice::from_ref(&row)).await?;
    Ok(Json(EventLogResponse::new(row, &called)))
}
