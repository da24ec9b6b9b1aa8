//! Lists of task instances.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Api,
        cursor::{CursorQuery, Neighbours, Part},
        dag_runs::{asked_dags, find_run},
        error::ApiError,
        extract::{self, Paging, Path, Query, Scope, refuse_unknown},
        paths::{RunScopePath, TaskPath},
        patterns::TaskInstancePatterns,
        permit::Scoped,
        ranges::{DateRanges, DurationRange},
    },
    TaskInstanceCollectionResponse, find_scope, find_spec, show_all,
};
use crate::{
    model::{
        dag_access::DagSet,
        ids::{DagId, PoolName, QueueName, RunId, TaskId},
        spec::NodeSpec,
        state::TaskState,
    },
    store::{DagRunKey, Like, MAX_PAGE, Order, Page, TaskInstanceFilter, TaskInstanceOrder},
};

/// Runs that a batch names.
const MAX_BATCH_RUNS: usize = 100;

/// A state as Airflow's clients write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum StateWord {
    Known(TaskState),
    /// A state that Airflow has and Airlock does not: nothing is in it.
    Foreign,
}

impl<'de> Deserialize<'de> for StateWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("none" | "no_status") => Ok(Self::Known(TaskState::None)),
            Some("deferred" | "awaiting_input") => Ok(Self::Foreign),
            Some(text) => text.parse().map(Self::Known).map_err(serde::de::Error::custom),
        }
    }
}

/// Which task instances.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TaskInstanceQuery {
    #[param(value_type = Option<String>)]
    task_id: Option<TaskId>,
    /// `none` asks for those whose state is null.
    #[param(value_type = Vec<String>)]
    state: Vec<StateWord>,
    #[param(value_type = Vec<String>)]
    pool: Vec<PoolName>,
    map_index: Vec<i64>,
    try_number: Vec<i64>,
    /// Numbers of versions of the dag.
    version_number: Vec<i64>,
    /// Entries of components.
    operator: Vec<String>,
    /// A task group, with the groups in it; of one run. 404 if the run's dag_version has none of this name.
    task_group_id: Option<String>,
    /// Queues of workers; of one run.
    queue: Vec<String>,
}

/// Airflow: `TaskInstancesBatchBody`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct TaskInstancesBatchBody {
    #[schema(value_type = Option<Vec<String>>)]
    dag_ids: Option<Vec<DagId>>,
    #[schema(value_type = Option<Vec<String>>)]
    dag_run_ids: Option<Vec<RunId>>,
    #[schema(value_type = Option<Vec<String>>)]
    task_ids: Option<Vec<TaskId>>,
    #[schema(value_type = Option<Vec<String>>)]
    state: Option<Vec<StateWord>>,
    #[schema(value_type = Option<Vec<String>>)]
    pool: Option<Vec<PoolName>>,
    /// Queues of workers; of one run.
    queue: Option<Vec<String>>,
    /// Refused, as there is nothing to tell apart by it.
    #[schema(ignore)]
    executor: Option<Vec<String>>,
    order_by: Option<String>,
    #[serde(default)]
    page_offset: u32,
    page_limit: Option<u32>,
    #[serde(flatten)]
    dates: DateRanges,
    #[serde(flatten)]
    duration: DurationRange,
    /// The last: it takes what the others leave.
    #[serde(flatten)]
    #[schema(ignore)]
    unknown: BTreeMap<String, Value>,
}

fn order(paging: &Paging) -> Result<(Page, TaskInstanceOrder, Order), ApiError> {
    let known = [
        ("id", TaskInstanceOrder::Key),
        ("map_index", TaskInstanceOrder::MapIndex),
        ("task_id", TaskInstanceOrder::Key),
        ("state", TaskInstanceOrder::State),
        ("start_date", TaskInstanceOrder::StartDate),
        ("end_date", TaskInstanceOrder::EndDate),
        ("duration", TaskInstanceOrder::Duration),
        ("try_number", TaskInstanceOrder::TryNumber),
        ("rendered_map_index", TaskInstanceOrder::RenderedMapIndex),
        ("operator", TaskInstanceOrder::Entry),
        ("run_after", TaskInstanceOrder::RunAfter),
        ("logical_date", TaskInstanceOrder::LogicalDate),
        ("data_interval_start", TaskInstanceOrder::DataInterval),
        ("data_interval_end", TaskInstanceOrder::DataInterval),
    ];
    let (page, asked) = paging.sorted(&known)?;
    let (order_by, order) = asked.unwrap_or_default();
    Ok((page, order_by, order))
}

/// The filter's states; none if only such are asked for that nothing is in.
pub(in crate::api) fn known_states(words: &[StateWord]) -> Option<Vec<TaskState>> {
    let known: Vec<_> = words
        .iter()
        .filter_map(|word| match word {
            StateWord::Known(state) => Some(*state),
            StateWord::Foreign => None,
        })
        .collect();
    (words.is_empty() || !known.is_empty()).then_some(known)
}

async fn list(
    api: &Api,
    mut filter: TaskInstanceFilter,
    part: &Part,
) -> Result<TaskInstanceCollectionResponse, ApiError> {
    if filter.dag_runs.len() != 1 && filter.looks_into_each() {
        return Err(ApiError::bad_request(
            "task instances are found by names, lengths and numbers within one run: of all runs that would read all history; \
             name the run",
        ));
    }
    if filter.dag_runs.len() != 1 && filter.sorts_runs() {
        return Err(ApiError::bad_request(
            "task instances are ordered by data intervals within one run: of all runs that would sort all history; order them by \
             `logical_date`, or name the run",
        ));
    }
    let page = part.begin(&mut filter)?;
    let mut listed = api.store.task_instance_list(&filter, page).await?;
    let Neighbours { next, previous } = part.end(&filter, &mut listed.items);
    let shown = TaskInstanceCollectionResponse::new(show_all(api, listed.items).await?, listed.total);
    Ok(TaskInstanceCollectionResponse { next_cursor: next, previous_cursor: previous, ..shown })
}

/// All that a query says of which task instances.
type Asked = (Query<TaskInstanceQuery>, Query<TaskInstancePatterns>, Query<DateRanges>, Query<DurationRange>);

/// Of those in `scope`, what the query asks for.
async fn list_asked(
    api: &Api,
    scope: TaskInstanceFilter,
    (Query(query), Query(patterns), Query(dates), Query(duration)): Asked,
    (Query(paging), Query(cursor)): (Query<Paging>, Query<CursorQuery>),
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (Some(states), Some(task_ids)) =
        (known_states(&query.state), asked_tasks(api, &scope, &query, &patterns).await?)
    else {
        return Ok(Json(TaskInstanceCollectionResponse::new(Vec::new(), 0)));
    };
    let (page, order_by, order) = order(&paging)?;
    let filter = TaskInstanceFilter {
        task_ids,
        states,
        pools: query.pool,
        map_indexes: query.map_index,
        try_numbers: query.try_number,
        version_numbers: query.version_number,
        entries: query.operator,
        dag_id_like: patterns.dag_id()?,
        run_id_like: patterns.run_id()?,
        entry_like: patterns.entry()?,
        pool_like: patterns.pool()?,
        rendered_map_index_like: patterns.rendered_map_index()?,
        spans: dates.with(&duration),
        order_by,
        order,
        ..scope
    };
    Ok(Json(list(api, filter, &cursor.part(page, &paging)?).await?))
}

/// The tasks of the filter; of one run those in the group and queues, and with the names, that the query asks for. None if it names some and there is none of
/// them.
///
/// # Errors
/// If there is no such group, or no single run.
async fn asked_tasks(
    api: &Api,
    scope: &TaskInstanceFilter,
    query: &TaskInstanceQuery,
    patterns: &TaskInstancePatterns,
) -> Result<Option<Vec<TaskId>>, ApiError> {
    let (queue_like, name_like) = (patterns.queue()?, patterns.task_display_name()?);
    let any_name = [&queue_like, &name_like].into_iter().all(|like| *like == Like::default());
    if query.task_group_id.is_none() && query.queue.is_empty() && any_name {
        return Ok(Some(scope.task_ids.clone()));
    }
    let [run] = scope.dag_runs.as_slice() else {
        return Err(ApiError::bad_request(
            "groups, queues and display names are those of one run's dag_version; name the run",
        ));
    };
    let Some(run) = api.store.dag_run_get_by_key(*run).await? else { return Ok(None) };
    let spec = find_spec(api, run.version).await?;
    let of_group = match &query.task_group_id {
        Some(group_id) => {
            let missing = || ApiError::not_found(format!("the run has no task group `{group_id}`"));
            Some(spec.tasks_of_group(group_id).ok_or_else(missing)?)
        }
        None => None,
    };
    let too_large = |_| ApiError::bad_request("the patterns hold too much to look for; make them shorter");
    let queue_is_like = queue_like.matcher().map_err(too_large)?;
    let name_is_like = name_like.matcher().map_err(too_large)?;
    let is_asked = |node: &&NodeSpec| {
        let task_id = node.task_id.as_str();
        let queue = node.queue.as_deref().unwrap_or(QueueName::DEFAULT);
        (scope.task_ids.is_empty() || scope.task_ids.iter().any(|asked| asked.as_str() == task_id))
            && of_group.as_ref().is_none_or(|tasks| tasks.contains(&task_id))
            && (query.queue.is_empty() || query.queue.iter().any(|asked| asked == queue))
            && queue_is_like(queue)
            && name_is_like(node.display_name.as_deref().unwrap_or(task_id))
    };
    let tasks: Vec<_> = spec.nodes.iter().filter(is_asked).filter_map(|node| TaskId::new(&node.task_id).ok()).collect();
    Ok(Some(tasks).filter(|tasks| !tasks.is_empty()))
}

/// Task instances of a run, of a dag (`~` for the run) or of all (`~` for both).
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances", tag = "Task Instance",
    params(RunScopePath, Paging, CursorQuery, TaskInstanceQuery, TaskInstancePatterns, DateRanges, DurationRange),
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn get_task_instances(
    State(api): State<Api>,
    Scoped(seen): Scoped,
    Path(path): Path<RunScopePath>,
    paging: (Query<Paging>, Query<CursorQuery>),
    asked: Asked,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let (dag_id, dag_run) = find_scope(&api, path.dag_id, path.dag_run_id).await?;
    let (Query(query), ..) = &asked;
    let scope = TaskInstanceFilter {
        dags: dag_id.map_or_else(|| seen.seen().clone(), DagSet::one),
        dag_runs: dag_run.into_iter().collect(),
        task_ids: query.task_id.iter().cloned().collect(),
        ..TaskInstanceFilter::default()
    };
    list_asked(&api, scope, asked, paging).await
}

/// Task instances that the body asks for; the path's dag and run must be `~`.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list", tag = "Task Instance",
    params(RunScopePath), request_body = TaskInstancesBatchBody,
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn get_task_instances_batch(
    State(api): State<Api>,
    Scoped(seen): Scoped,
    Path(path): Path<RunScopePath>,
    extract::Json(body): extract::Json<TaskInstancesBatchBody>,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    refuse_unknown(&body.unknown)?;
    if body.executor.is_some_and(|executors| !executors.is_empty()) {
        let why = "Airlock does not filter by it; leave it out, and filter what comes";
        return Err(ApiError::invalid(["body", "executor"], why));
    }
    if path.dag_id != Scope::All || path.dag_run_id != Scope::All {
        return Err(ApiError::invalid(["path"], "dag and run must be `~`; name them in dag_ids and dag_run_ids"));
    }
    let dags = asked_dags(&seen, body.dag_ids)?;
    let dag_runs = asked_runs(&api, &dags, &body.dag_run_ids.unwrap_or_default()).await?;
    let paging = Paging::new(body.page_limit.unwrap_or(100), body.page_offset, body.order_by);
    let (page, order_by, order) = order(&paging)?;
    let none = || Ok(Json(TaskInstanceCollectionResponse::new(Vec::new(), 0)));
    let (Some(dag_runs), Some(states)) = (dag_runs, known_states(&body.state.unwrap_or_default())) else {
        return none();
    };
    let task_ids = body.task_ids.unwrap_or_default();
    let scope = TaskInstanceFilter { dags, dag_runs, task_ids, ..TaskInstanceFilter::default() };
    let query = TaskInstanceQuery { queue: body.queue.unwrap_or_default(), ..TaskInstanceQuery::default() };
    let Some(task_ids) = asked_tasks(&api, &scope, &query, &TaskInstancePatterns::default()).await? else {
        return none();
    };
    let filter = TaskInstanceFilter {
        task_ids,
        states,
        pools: body.pool.unwrap_or_default(),
        spans: body.dates.with(&body.duration),
        order_by,
        order,
        ..scope
    };
    Ok(Json(list(&api, filter, &Part::new(page, &paging)).await?))
}

/// The runs that a batch is about, empty for all; none if it names some and none of them is there.
///
/// # Errors
/// If it names too many.
async fn asked_runs(api: &Api, dags: &DagSet, run_ids: &[RunId]) -> Result<Option<Vec<DagRunKey>>, ApiError> {
    let too_many = |why| Err(ApiError::invalid(["body", "dag_run_ids"], why));
    if run_ids.is_empty() {
        return Ok(Some(Vec::new()));
    }
    if run_ids.len() > MAX_BATCH_RUNS {
        return too_many(format!("at most {MAX_BATCH_RUNS} can be named; name none for all"));
    }
    let runs = api.store.dag_run_keys(dags, run_ids).await?;
    if runs.len() >= MAX_PAGE as usize {
        return too_many(format!("{MAX_PAGE} runs or more have these ids; name fewer, or fewer dags"));
    }
    Ok(Some(runs).filter(|runs| !runs.is_empty()))
}

/// The instances of a mapped task. 404 if the run's dag_version has none of this id, or it is not mapped.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped",
    tag = "Task Instance",
    params(TaskPath, Paging, CursorQuery, TaskInstanceQuery, TaskInstancePatterns, DateRanges, DurationRange),
    responses((status = 200, body = TaskInstanceCollectionResponse)),
)]
pub async fn get_mapped_task_instances(
    State(api): State<Api>,
    Path(path): Path<TaskPath>,
    paging: (Query<Paging>, Query<CursorQuery>),
    asked: Asked,
) -> Result<Json<TaskInstanceCollectionResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let spec = find_spec(&api, run.version).await?;
    let missing = || ApiError::not_found(format!("the run's dag_version has no task `{}`", path.task_id));
    let node = spec.nodes.iter().find(|node| node.task_id == path.task_id.as_str()).ok_or_else(missing)?;
    if !spec.is_mapped(node) {
        return Err(ApiError::not_found(format!("task `{}` is not mapped", path.task_id)));
    }
    let scope = TaskInstanceFilter {
        dags: DagSet::one(path.dag_id),
        dag_runs: vec![run.key],
        task_ids: vec![path.task_id],
        ..TaskInstanceFilter::default()
    };
    list_asked(&api, scope, asked, paging).await
}
