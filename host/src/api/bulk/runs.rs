//! Runs in bulk.

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Action, BulkBody, BulkResponse, Item, Resource, carry_out};
use crate::{
    api::{
        Api,
        dag_runs::{DagRunPatchBody, patch},
        dags::UpdateMask,
        error::ApiError,
        extract::{self, Patch, Path},
        paths::{DagScopePath, RunPath},
        permit::Visitor,
    },
    auth::{Audit, DagScope, NotYours},
    model::{
        ids::{DagId, RunId},
        role::Permission,
        state::RunState,
    },
};

/// Airflow: `BulkDAGRunBody`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkDagRunBody {
    #[schema(value_type = String)]
    dag_run_id: RunId,
    /// That of the path if it is left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    dag_id: Option<DagId>,
    /// `queued` (clears it), `success` or `failed`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    state: Option<RunState>,
    /// Null takes the note away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: Patch<String>,
}

pub struct Runs<'a> {
    pub api: &'a Api,
    /// The dags whose runs may be marked,
    pub scope: DagScope,
    /// and those whose runs may be deleted.
    pub deletes: DagScope,
    /// The dag of runs that do not say theirs.
    pub dag_id: Option<DagId>,
}

impl BulkDagRunBody {
    /// Whether it says more than which run.
    pub fn changes(&self) -> bool {
        self.state.is_some() || self.note != Patch::Keep
    }

    /// The run, of `dag_id` unless it says another.
    ///
    /// # Errors
    /// If no dag is said.
    pub fn place(&self, dag_id: Option<&DagId>) -> Result<RunPath, ApiError> {
        place(self.dag_id.as_ref().or(dag_id), self.dag_run_id.clone())
    }

    /// # Errors
    /// If there is no such run, or it can't be marked so.
    pub async fn apply(self, api: &Api, path: &RunPath, mask: &UpdateMask) -> Result<(), ApiError> {
        patch(api, path, mask, DagRunPatchBody { state: self.state, note: self.note }).await
    }
}

/// A run of a dag.
///
/// # Errors
/// If no dag is said.
fn place(dag_id: Option<&DagId>, dag_run_id: RunId) -> Result<RunPath, ApiError> {
    let Some(dag_id) = dag_id.cloned() else {
        let why = format!("dag_run `{dag_run_id}`: with `~` in the path, each dag_run says its dag_id");
        return Err(ApiError::bad_request(why));
    };
    Ok(RunPath { dag_id, dag_run_id })
}

impl Runs<'_> {
    fn place(&self, item: &Item<BulkDagRunBody>) -> Result<RunPath, ApiError> {
        match item {
            Item::Name(name) => {
                let run_id = name.parse().map_err(|error| ApiError::not_found(format!("{error}")))?;
                place(self.dag_id.as_ref(), run_id)
            }
            Item::Entity(body) => body.place(self.dag_id.as_ref()),
        }
    }
}

impl Resource for Runs<'_> {
    type Entity = BulkDagRunBody;
    const NAMES: &'static str = "dag_runs";
    const ACTIONS: &'static [Action] = &[Action::Update, Action::Delete];

    fn name(&self, item: &Item<BulkDagRunBody>) -> Result<String, ApiError> {
        let RunPath { dag_id, dag_run_id } = self.place(item)?;
        Ok(format!("{dag_id}.{dag_run_id}"))
    }

    async fn exists(&self, item: &Item<BulkDagRunBody>, action: Action) -> Result<bool, ApiError> {
        let RunPath { dag_id, dag_run_id } = self.place(item)?;
        let scope = if action == Action::Delete { &self.deletes } else { &self.scope };
        match scope.check(&dag_id) {
            Ok(()) => Ok(self.api.store.dag_run_get(&dag_id, &dag_run_id).await?.is_some()),
            Err(NotYours::Unknown(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn update(&self, body: BulkDagRunBody, mask: &UpdateMask) -> Result<(), ApiError> {
        let path = body.place(self.dag_id.as_ref())?;
        body.apply(self.api, &path, mask).await
    }

    async fn delete(&self, item: Item<BulkDagRunBody>) -> Result<(), ApiError> {
        let RunPath { dag_id, dag_run_id } = self.place(&item)?;
        Ok(self.api.scheduler.dag_run_delete(&dag_id, &dag_run_id).await?)
    }

    fn tell(&self, entry: &Audit, item: &Item<BulkDagRunBody>, action: Action) {
        if let Ok(path) = self.place(item) {
            entry.about(path.dag_id.as_str(), Some(path.dag_run_id.as_str()), None);
        }
        if action == Action::Delete {
            entry.rename(Permission::RunDelete.as_str());
        }
    }
}

/// Marks, notes and deletes many runs. They can't be made so: 405 in the answer.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns", tag = "DagRun", params(DagScopePath),
    request_body = BulkBody<BulkDagRunBody>, responses((status = 200, body = BulkResponse)),
)]
pub async fn bulk_dag_runs(
    State(api): State<Api>,
    audit: Audit,
    visitor: Visitor,
    Path(path): Path<DagScopePath>,
    extract::Json(body): extract::Json<BulkBody<BulkDagRunBody>>,
) -> Result<Json<BulkResponse>, ApiError> {
    let scope = visitor.scope().await?;
    let deletes = visitor.scope_of(Permission::RunDelete).await?;
    let runs = Runs { api: &api, scope, deletes, dag_id: path.dag_id.one() };
    carry_out(&api, &audit, &runs, body).await
}
