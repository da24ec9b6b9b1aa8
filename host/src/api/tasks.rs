//! The tasks of a dag's newest version.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dags::find_dag,
    error::ApiError,
    extract::{Path, Query},
    paths::{DagPath, DagTaskPath},
};
use crate::{
    model::{
        dag::upstream_ids,
        ids::QueueName,
        spec::{DagSpec, NodeSpec},
        time::Timestamp,
    },
    store::DagRow,
};

/// Airflow: `TimeDelta`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimeDelta {
    #[serde(rename = "__type")]
    kind: &'static str,
    days: u64,
    seconds: u64,
    microseconds: u64,
}

impl TimeDelta {
    fn from_millis(ms: u64) -> Self {
        const DAY_MS: u64 = 86_400_000;
        Self { kind: "TimeDelta", days: ms / DAY_MS, seconds: ms % DAY_MS / 1_000, microseconds: ms % 1_000 * 1_000 }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskResponse {
    task_id: String,
    task_display_name: String,
    owner: Option<String>,
    start_date: Option<DateTime<Utc>>,
    end_date: Option<DateTime<Utc>>,
    trigger_rule: String,
    depends_on_past: bool,
    wait_for_downstream: bool,
    max_active_tis_per_dag: Option<u32>,
    max_active_tis_per_dagrun: Option<u32>,
    retries: u32,
    queue: String,
    pool: String,
    pool_slots: u32,
    execution_timeout: Option<TimeDelta>,
    /// How long its results count.
    cache: Option<TimeDelta>,
    retry_delay: TimeDelta,
    retry_exponential_backoff: f64,
    max_retry_delay: Option<TimeDelta>,
    priority_weight: i32,
    weight_rule: &'static str,
    ui_color: &'static str,
    ui_fgcolor: &'static str,
    template_fields: Vec<String>,
    upstream_task_ids: Vec<String>,
    downstream_task_ids: Vec<String>,
    doc_md: Option<String>,
    /// The entry of the component that it runs.
    operator_name: String,
    params: Map<String, Value>,
    #[schema(value_type = Object)]
    class_ref: BTreeMap<&'static str, String>,
    is_mapped: bool,
    extra_links: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskCollectionResponse {
    tasks: Vec<TaskResponse>,
    total_entries: usize,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct TaskQuery {
    /// `task_id` or `-task_id`.
    order_by: Option<String>,
}

/// Who comes before and after each task.
struct Edges<'a> {
    upstream: BTreeMap<&'a str, BTreeSet<&'a str>>,
    downstream: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Edges<'a> {
    fn new(spec: &'a DagSpec) -> Self {
        let mut edges = Self { upstream: BTreeMap::new(), downstream: BTreeMap::new() };
        for node in &spec.nodes {
            for upstream in upstream_ids(node) {
                edges.add(upstream, &node.task_id);
            }
        }
        for (from, to) in &spec.edges {
            edges.add(from, to);
        }
        edges
    }

    fn add(&mut self, from: &'a str, to: &'a str) {
        self.upstream.entry(to).or_default().insert(from);
        self.downstream.entry(from).or_default().insert(to);
    }
}

fn ids(of: &BTreeMap<&str, BTreeSet<&str>>, task_id: &str) -> Vec<String> {
    of.get(task_id).into_iter().flatten().map(|id| (*id).to_owned()).collect()
}

impl TaskResponse {
    fn new(dag: &DagRow, node: &NodeSpec, edges: &Edges<'_>) -> Self {
        let trigger_rule = serde_json::to_value(node.trigger_rule).ok();
        Self {
            task_id: node.task_id.clone(),
            task_display_name: node.display_name.clone().unwrap_or_else(|| node.task_id.clone()),
            owner: dag.spec.owners.first().cloned(),
            start_date: dag.spec.start.map(Timestamp::to_utc),
            end_date: dag.spec.end.map(Timestamp::to_utc),
            trigger_rule: trigger_rule.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            // Airflow: the latter implies the former.
            depends_on_past: node.depends_on_past || node.wait_for_downstream,
            wait_for_downstream: node.wait_for_downstream,
            max_active_tis_per_dag: node.max_active_tis_per_dag,
            max_active_tis_per_dagrun: node.max_active_tis_per_dagrun,
            retries: node.retries,
            queue: node.queue.clone().unwrap_or_else(|| QueueName::DEFAULT.to_owned()),
            pool: node.pool.clone(),
            pool_slots: node.pool_slots,
            cache: node.cache_ms.map(TimeDelta::from_millis),
            execution_timeout: node.timeout_ms.map(TimeDelta::from_millis),
            retry_delay: TimeDelta::from_millis(node.retry_delay_ms),
            retry_exponential_backoff: node.retry_backoff,
            max_retry_delay: node.max_retry_delay_ms.map(TimeDelta::from_millis),
            priority_weight: node.priority_weight,
            weight_rule: node.weight_rule.as_str(),
            ui_color: "#fff",
            ui_fgcolor: "#000",
            template_fields: Vec::new(),
            upstream_task_ids: ids(&edges.upstream, &node.task_id),
            downstream_task_ids: ids(&edges.downstream, &node.task_id),
            doc_md: node.doc.clone(),
            operator_name: node.entry.clone(),
            params: Map::new(),
            class_ref: [
                ("class_name", node.entry.clone()),
                ("module_path", node.component.unwrap_or(dag.component).to_string()),
            ]
            .into(),
            is_mapped: dag.spec.is_mapped(node),
            extra_links: Vec::new(),
        }
    }
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/tasks", tag = "Task", params(DagPath, TaskQuery),
    responses((status = 200, body = TaskCollectionResponse)),
)]
pub async fn get_tasks(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
    Query(query): Query<TaskQuery>,
) -> Result<Json<TaskCollectionResponse>, ApiError> {
    let descending = match query.order_by.as_deref() {
        None | Some("task_id") => false,
        Some("-task_id") => true,
        Some(_) => return Err(ApiError::bad_request("tasks can be ordered by `task_id` only")),
    };
    let dag = find_dag(&api, &path.dag_id).await?;
    let edges = Edges::new(&dag.spec);
    let mut tasks: Vec<_> = dag.spec.nodes.iter().map(|node| TaskResponse::new(&dag, node, &edges)).collect();
    tasks.sort_unstable_by(|a, b| a.task_id.cmp(&b.task_id));
    if descending {
        tasks.reverse();
    }
    Ok(Json(TaskCollectionResponse { total_entries: tasks.len(), tasks }))
}

#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/tasks/{task_id}", tag = "Task", params(DagTaskPath),
    responses((status = 200, body = TaskResponse)),
)]
pub async fn get_task(State(api): State<Api>, Path(path): Path<DagTaskPath>) -> Result<Json<TaskResponse>, ApiError> {
    let dag = find_dag(&api, &path.dag_id).await?;
    let node = dag.spec.nodes.iter().find(|node| node.task_id == path.task_id.as_str());
    let node =
        node.ok_or_else(|| ApiError::not_found(format!("dag `{}` has no task `{}`", path.dag_id, path.task_id)))?;
    Ok(Json(TaskResponse::new(&dag, node, &Edges::new(&dag.spec))))
}
