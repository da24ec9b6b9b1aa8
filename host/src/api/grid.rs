//! The states of a run's tasks, packed: a byte each.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    dag_runs::find_run,
    error::ApiError,
    extract::{Path, Query, flag},
    paths::RunPath,
};
use crate::{model::state::TaskState, store::StateOfTask};

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
    #[serde(deserialize_with = "flag")]
    tasks: bool,
}

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
    let (states, mapped) = pack(&task_ids, &api.store.task_instance_states(run.key).await?);
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
fn pack(task_ids: &[String], states: &[StateOfTask]) -> (String, Mapped) {
    let mut letters = vec![None; task_ids.len()];
    let mut mapped = Mapped::new();
    for of in states {
        // A task that the version no longer has is not in its grid.
        let Ok(place) = task_ids.binary_search_by(|id| id.as_str().cmp(of.task_id.as_str())) else { continue };
        letters[place] = Some(letters[place].map_or(of.state, |other: TaskState| other.summary(of.state)));
        if of.mapped > 0 {
            mapped.entry(place).or_default().insert(of.state.as_str(), of.mapped);
        }
    }
    let letter = |state: Option<TaskState>| char::from(state.unwrap_or(TaskState::None).letter());
    (letters.into_iter().map(letter).collect(), mapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::TaskId;

    #[test]
    fn each_task_has_its_letter_and_a_mapped_one_that_of_the_worst() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let of = |task_id: &str, state, mapped| StateOfTask { task_id: TaskId::new(task_id).unwrap(), state, mapped };
        let states = [
            of("a", TaskState::Success, 0),
            of("b", TaskState::Success, 2),
            of("b", TaskState::Failed, 1),
            of("gone", TaskState::Removed, 0),
        ];
        let (letters, mapped) = pack(&ids, &states);
        assert_eq!(letters, "sf.");
        assert_eq!(mapped, BTreeMap::from([(1, BTreeMap::from([("success", 2), ("failed", 1)]))]));
    }
}
