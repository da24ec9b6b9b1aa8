//! What Airflow's API tells of all dags besides the dags themselves: how their runs went, their tags, their warnings.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    error::ApiError,
    extract::{Paging, Query, pattern},
    permit::Scoped,
};
use crate::{
    model::{ids::DagId, state::RunState},
    store::{DagFilter, Order, Page},
};

/// Runs of a dag that are counted: the newest.
const COUNTED_RUNS: u32 = 1_000;
/// Dags whose runs are counted in one request.
const MAX_DAGS: u32 = 100;

/// Which dags' runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct DagStatsQuery {
    /// At most 100; the first 100 if it is left out.
    #[param(value_type = Vec<String>)]
    dag_ids: Vec<DagId>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagStatsCollectionResponse {
    dags: Vec<DagStatsResponse>,
    total_entries: usize,
}

/// Airflow: `DagStatsResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagStatsResponse {
    dag_id: String,
    dag_display_name: String,
    stats: Vec<DagStatsStateResponse>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagStatsStateResponse {
    /// `queued`, `running`, `success` or `failed`.
    state: &'static str,
    /// Of the dag's newest 1,000 runs.
    count: i64,
}

/// How many of the newest 1,000 runs of each dag are in which state.
#[utoipa::path(
    get, path = "/api/v2/dagStats", tag = "DagStats", params(DagStatsQuery),
    responses((status = 200, body = DagStatsCollectionResponse)),
)]
pub async fn get_dag_stats(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(query): Query<DagStatsQuery>,
) -> Result<Json<DagStatsCollectionResponse>, ApiError> {
    if query.dag_ids.len() > MAX_DAGS as usize {
        return Err(ApiError::invalid(["query", "dag_ids"], format!("name at most {MAX_DAGS} dags")));
    }
    let filter = DagFilter { ids: query.dag_ids, dags: scope.seen().clone(), ..DagFilter::default() };
    let mut dags = Vec::new();
    for dag in api.store.dag_list(&filter, Page::first(MAX_DAGS)).await?.items {
        let counts = api.store.dag_run_states(&dag.dag_id, COUNTED_RUNS).await?;
        let count = |state| counts.iter().find(|(other, _)| *other == state).map_or(0, |(_, count)| *count);
        let all = [RunState::Queued, RunState::Running, RunState::Success, RunState::Failed];
        let stats = all.map(|state| DagStatsStateResponse { state: state.as_str(), count: count(state) });
        dags.push(DagStatsResponse {
            dag_display_name: dag.spec.shown_name().to_owned(),
            dag_id: dag.dag_id.to_string(),
            stats: stats.into(),
        });
    }
    Ok(Json(DagStatsCollectionResponse { total_entries: dags.len(), dags }))
}

/// Which tags.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct DagTagQuery {
    /// Any text that the tag holds; `%` stands for any text, `_` for any character, `|` for or.
    tag_name_pattern: Option<String>,
    /// How the tag begins; `|` stands for or.
    tag_name_prefix_pattern: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagTagCollectionResponse {
    tags: Vec<String>,
    total_entries: i64,
}

/// The tags of dags, by name.
#[utoipa::path(
    get, path = "/api/v2/dagTags", tag = "DAG", params(Paging, DagTagQuery),
    responses((status = 200, body = DagTagCollectionResponse)),
)]
pub async fn get_dag_tags(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<DagTagQuery>,
) -> Result<Json<DagTagCollectionResponse>, ApiError> {
    let (page, order) = paging.sorted_by_key(&["name"], Order::Ascending)?;
    let like = pattern(query.tag_name_pattern.as_deref(), query.tag_name_prefix_pattern.as_deref())?;
    let listed = api.store.dag_tag_list(scope.seen(), &like, order, page).await?;
    Ok(Json(DagTagCollectionResponse { tags: listed.items, total_entries: listed.total }))
}

/// Which warnings.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct DagWarningQuery {
    #[param(value_type = Option<String>)]
    dag_id: Option<DagId>,
    /// `non-existent pool`; there are none of Airflow's other kinds.
    warning_type: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DagWarningCollectionResponse {
    dag_warnings: Vec<DagWarningResponse>,
    total_entries: usize,
}

/// Airflow: `DAGWarningResponse`.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagWarningResponse {
    dag_id: String,
    dag_display_name: String,
    /// `non-existent pool`.
    warning_type: &'static str,
    message: String,
    /// When the dag was last changed.
    timestamp: DateTime<Utc>,
}

/// What will not do in dags as things stand, by dag. Nothing, if all is well.
#[utoipa::path(
    get, path = "/api/v2/dagWarnings", tag = "DagWarning", params(Paging, DagWarningQuery),
    responses((status = 200, body = DagWarningCollectionResponse)),
)]
pub async fn list_dag_warnings(
    State(api): State<Api>,
    Scoped(scope): Scoped,
    Query(paging): Query<Paging>,
    Query(query): Query<DagWarningQuery>,
) -> Result<Json<DagWarningCollectionResponse>, ApiError> {
    let (Page { limit, offset }, order) = paging.sorted_by_key(&["dag_id"], Order::Ascending)?;
    let mut warned = api.scheduler.dag_warnings_of(scope.seen()).await?;
    warned.retain(|(dag, warning)| {
        query.dag_id.as_ref().is_none_or(|dag_id| *dag_id == dag.dag_id)
            && query.warning_type.as_ref().is_none_or(|kind| kind == warning.kind())
    });
    if order == Order::Descending {
        warned.reverse();
    }
    let (limit, offset) = (limit as usize, usize::try_from(offset).unwrap_or(usize::MAX));
    let shown = warned.iter().skip(offset).take(limit).map(|(dag, warning)| DagWarningResponse {
        dag_id: dag.dag_id.to_string(),
        dag_display_name: dag.spec.shown_name().to_owned(),
        warning_type: warning.kind(),
        message: warning.to_string(),
        timestamp: dag.updated_at.to_utc(),
    });
    Ok(Json(DagWarningCollectionResponse { dag_warnings: shown.collect(), total_entries: warned.len() }))
}
