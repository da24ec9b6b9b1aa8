//! The states of a run's tasks, packed: a byte each.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dag_runs::find_run,
    error::ApiError,
    extract::{Path, Query},
    paths::RunPath,
};
use crate::model::state::TaskState;

#[derive(Debug, Serialize, ToSchema)]
pub struct GridResponse {
    dag_id: String,
    dag_run_id: String,
    state: &'static str,
    version_number: i64,
    /// A letter for each task, in the order of task ids (bytewise); of a mapped task the state that matters most.
    states: String,
    /// What the letters stand for.
    letters: BTreeMap<char, &'static str>,
    /// How many instances of a mapped task are in each state, by its place in `states`.
    mapped: BTreeMap<usize, BTreeMap<&'static str, u32>>,
    /// The tasks in the order of `states`; with `tasks=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_ids: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct GridQuery {
    /// Also answers the task ids. They are the same for all runs of a `version_number`.
    tasks: bool,
}

/// Which state of several a summary shows: the first of these that one of them is in.
const PRECEDENCE: &[TaskState] = &[
    TaskState::Failed,
    TaskState::UpstreamFailed,
    TaskState::UpForRetry,
    TaskState::UpForReschedule,
    TaskState::Restarting,
    TaskState::Running,
    TaskState::Queued,
    TaskState::Scheduled,
    TaskState::None,
    TaskState::Success,
    TaskState::Skipped,
    TaskState::Removed,
];

/// The states of all tasks of a run, packed.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/grid", tag = "DagRun", params(RunPath, GridQuery),
    responses((status = 200, body = GridResponse)),
)]
pub async fn get_grid(
    State(api): State<Api>,
    Path(path): Path<RunPath>,
    Query(query): Query<GridQuery>,
) -> Result<Json<GridResponse>, ApiError> {
    let run = find_run(&api, &path.dag_id, &path.dag_run_id).await?;
    let version = api.store.dag_version_get(run.version).await?;
    let mut task_ids: Vec<_> =
        version.iter().flat_map(|version| &version.spec.nodes).map(|node| node.task_id.clone()).collect();
    task_ids.sort_unstable();
    let instances = api.store.task_instance_states(run.key).await?;
    let instances = instances.iter().map(|(task_id, map_index, state)| (task_id.as_str(), *map_index, *state));
    let (states, mapped) = pack(&task_ids, instances);
    Ok(Json(GridResponse {
        dag_id: run.dag_id.to_string(),
        dag_run_id: run.run_id.to_string(),
        state: run.state.as_str(),
        version_number: run.version_number,
        states,
        letters: TaskState::ALL.iter().map(|state| (char::from(state.letter()), state.as_str())).collect(),
        mapped,
        task_ids: query.tasks.then_some(task_ids),
    }))
}

type Mapped = BTreeMap<usize, BTreeMap<&'static str, u32>>;

/// The letters of `task_ids` (ascending), and what is in the mapped ones.
fn pack<'a>(task_ids: &[String], instances: impl Iterator<Item = (&'a str, i32, TaskState)>) -> (String, Mapped) {
    let mut states = vec![TaskState::None.letter(); task_ids.len()];
    let mut mapped = Mapped::new();
    for (task_id, map_index, state) in instances {
        // A task that the version no longer has is not in its grid.
        let Ok(place) = task_ids.binary_search_by(|id| id.as_str().cmp(task_id)) else { continue };
        if map_index < 0 {
            states[place] = state.letter();
        } else {
            *mapped.entry(place).or_default().entry(state.as_str()).or_default() += 1;
        }
    }
    for (place, counts) in &mapped {
        if let Some(state) = PRECEDENCE.iter().find(|state| counts.contains_key(state.as_str())) {
            states[*place] = state.letter();
        }
    }
    (states.into_iter().map(char::from).collect(), mapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_has_its_letter_and_a_mapped_one_that_of_the_worst() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let instances = [
            ("a", -1, TaskState::Success),
            ("b", 0, TaskState::Success),
            ("b", 1, TaskState::Failed),
            ("b", 2, TaskState::Success),
            ("gone", -1, TaskState::Removed),
        ];
        let (states, mapped) = pack(&ids, instances.into_iter());
        assert_eq!(states, "sf.");
        assert_eq!(mapped, BTreeMap::from([(1, BTreeMap::from([("success", 2), ("failed", 1)]))]));
    }

    #[test]
    fn precedence_ranks_every_state() {
        assert!(TaskState::ALL.iter().all(|state| PRECEDENCE.contains(state)));
    }
}
