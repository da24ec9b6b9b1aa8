//! What dags may reach: what they ask for, what admins decided, what follows.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    dags::find_dag,
    error::ApiError,
    extract::{self, Path},
    paths::DagPath,
};
use crate::{
    auth::CurrentUser,
    model::{
        grants::{Decisions, Grant, GrantError, GrantsPolicy, MAX_DECISIONS},
        ids::DagId,
    },
    scheduler::GrantsDecision,
    store::DagRow,
};

/// What a dag may reach.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagGrantsResponse {
    dag_id: String,
    /// Which requests wait for an admin: `grant` (none), `review` (all), or the kinds that do.
    policy: String,
    /// Whether the policy is the dag's own and not the server's.
    has_own_policy: bool,
    /// What the newest version asks for.
    requested: Vec<RequestedGrantResponse>,
    /// What attempts get that start now. Memory is in it only if it is more than usual.
    #[schema(value_type = Vec<String>)]
    effective: Vec<Grant>,
    /// What waits for an admin.
    #[schema(value_type = Vec<String>)]
    pending: Vec<Grant>,
    decisions: Vec<GrantDecisionResponse>,
}

/// Something that a dag asks for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RequestedGrantResponse {
    /// As `http:api.example.org:8443`.
    #[schema(value_type = String)]
    grant: Grant,
    /// What the kind of grant is good for.
    about: &'static str,
    /// `granted` (by the policy), `approved`, `waits` or `revoked`.
    standing: &'static str,
}

/// What an admin decided.
#[derive(Debug, Serialize, ToSchema)]
pub struct GrantDecisionResponse {
    #[schema(value_type = String)]
    grant: Grant,
    /// `approved` or `revoked`.
    decision: &'static str,
    decided_at: DateTime<Utc>,
    decided_by: String,
}

/// What is decided about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsBody {
    /// Each as `variable:reports/*`, `connection:shop`, `connection-secret:shop`, `http:api.example.org:8443`, `dag:load` or
    /// `memory:1024`.
    #[schema(value_type = Vec<String>)]
    grants: Vec<Grant>,
}

/// All that was decided about what a dag may reach.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DagDecisionsBody {
    /// As of [`GrantsPolicyBody`]: `grant`, `review`, or the kinds of requests that wait; null: the server's.
    policy: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    approved: BTreeSet<Grant>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    revoked: BTreeSet<Grant>,
}

impl TryFrom<DagDecisionsBody> for Decisions {
    type Error = ApiError;

    fn try_from(DagDecisionsBody { policy, approved, revoked }: DagDecisionsBody) -> Result<Self, ApiError> {
        let wrong = |error: GrantError| ApiError::invalid(["body", "grants"], error.to_string());
        let policy = policy.map(|text| text.parse()).transpose().map_err(wrong)?;
        Self::all(policy, &approved, &revoked).map_err(wrong)
    }
}

/// What was decided about a dag.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagDecisionsResponse {
    dag_id: String,
    /// As of [`GrantsPolicyBody`]; null: the server's.
    policy: Option<String>,
    #[schema(value_type = Vec<String>)]
    approved: BTreeSet<Grant>,
    #[schema(value_type = Vec<String>)]
    revoked: BTreeSet<Grant>,
}

impl DagDecisionsResponse {
    fn new(dag_id: &DagId, decisions: &Decisions) -> Self {
        let decided = |is_approved| decisions.decided(is_approved).cloned().collect();
        Self {
            dag_id: dag_id.to_string(),
            policy: decisions.policy.as_ref().map(ToString::to_string),
            approved: decided(true),
            revoked: decided(false),
        }
    }
}

/// The dags about which something was decided.
#[derive(Debug, Serialize, ToSchema)]
pub struct DagDecisionsCollectionResponse {
    dags: Vec<DagDecisionsResponse>,
    total_entries: usize,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsPolicyBody {
    /// `grant`, `review`, or the kinds of requests that wait, divided by commas; null: the server's.
    policy: Option<String>,
}

async fn show(api: &Api, dag: DagRow) -> Result<Json<DagGrantsResponse>, ApiError> {
    let rows = api.store.dag_grant_list(&dag.dag_id).await?;
    let decisions = api.store.dag_decisions(std::slice::from_ref(&dag.dag_id)).await?.remove(&dag.dag_id);
    let decisions = decisions.unwrap_or_default();
    let verdict = api.scheduler.grants_verdict(&dag.spec, &decisions);
    let decision = |is_approved| if is_approved { "approved" } else { "revoked" };
    Ok(Json(DagGrantsResponse {
        dag_id: dag.dag_id.to_string(),
        policy: decisions.policy.as_ref().unwrap_or(api.scheduler.grants_policy()).to_string(),
        has_own_policy: decisions.policy.is_some(),
        effective: verdict.effective.requests().collect(),
        pending: verdict.pending().cloned().collect(),
        requested: verdict
            .requests
            .into_iter()
            .map(|(grant, standing)| RequestedGrantResponse {
                about: grant.kind().about(),
                standing: standing.as_str(),
                grant,
            })
            .collect(),
        decisions: rows
            .into_iter()
            .map(|row| GrantDecisionResponse {
                grant: row.request,
                decision: decision(row.is_approved),
                decided_at: row.decided_at.to_utc(),
                decided_by: row.decided_by,
            })
            .collect(),
    }))
}

async fn decide(
    api: &Api,
    user: CurrentUser,
    dag_id: &DagId,
    decision: GrantsDecision,
) -> Result<Json<DagGrantsResponse>, ApiError> {
    api.scheduler.grants_decide(dag_id, decision, &user.username).await?;
    show(api, find_dag(api, dag_id).await?).await
}

/// The grants of a body: some, and not too many.
fn named(body: GrantsBody) -> Result<BTreeSet<Grant>, ApiError> {
    match body.grants.len() {
        0 => Err(ApiError::invalid(["body", "grants"], "it names none; `GET` says what waits")),
        1..=MAX_DECISIONS => Ok(body.grants.into_iter().collect()),
        _ => Err(ApiError::invalid(["body", "grants"], format!("they are more than {MAX_DECISIONS}"))),
    }
}

/// What was decided about which dag. Who decided it, and what follows, is told of one dag.
#[utoipa::path(
    get, path = "/api/v2/grants", tag = "Grant", responses((status = 200, body = DagDecisionsCollectionResponse)),
)]
pub async fn get_grants(State(api): State<Api>) -> Result<Json<DagDecisionsCollectionResponse>, ApiError> {
    let all = api.store.dag_decisions_all().await?.into_iter();
    let dags: Vec<_> = all.map(|(dag_id, decisions)| DagDecisionsResponse::new(&dag_id, &decisions)).collect();
    Ok(Json(DagDecisionsCollectionResponse { total_entries: dags.len(), dags }))
}

/// What the dag asks to reach, what it may, and what waits.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/grants", tag = "Grant", params(DagPath),
    responses((status = 200, body = DagGrantsResponse)),
)]
pub async fn get_dag_grants(
    State(api): State<Api>,
    Path(path): Path<DagPath>,
) -> Result<Json<DagGrantsResponse>, ApiError> {
    show(&api, find_dag(&api, &path.dag_id).await?).await
}

/// Says which of the dag's requests wait for an admin, whatever the server's setting is.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/grants", tag = "Grant", params(DagPath), request_body = GrantsPolicyBody,
    responses((status = 200, body = DagGrantsResponse)),
)]
pub async fn patch_dag_grants(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<GrantsPolicyBody>,
) -> Result<Json<DagGrantsResponse>, ApiError> {
    let policy = body.policy.map(|text| text.parse::<GrantsPolicy>()).transpose();
    let policy = policy.map_err(|error| ApiError::invalid(["body", "policy"], error.why))?;
    decide(&api, user, &path.dag_id, GrantsDecision::Policy(policy)).await
}

/// Approves grants for the dag: this version's and later ones', as far as they ask for no more. Attempts that start from now on
/// have them.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/grants/approve", tag = "Grant", params(DagPath), request_body = GrantsBody,
    responses((status = 200, body = DagGrantsResponse)),
)]
pub async fn approve_dag_grants(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<GrantsBody>,
) -> Result<Json<DagGrantsResponse>, ApiError> {
    decide(&api, user, &path.dag_id, GrantsDecision::Approve(named(body)?)).await
}

/// Takes grants from the dag, also if the policy would grant them. Attempts that start from now on don't have them.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/grants/revoke", tag = "Grant", params(DagPath), request_body = GrantsBody,
    responses((status = 200, body = DagGrantsResponse)),
)]
pub async fn revoke_dag_grants(
    State(api): State<Api>,
    user: CurrentUser,
    Path(path): Path<DagPath>,
    extract::Json(body): extract::Json<GrantsBody>,
) -> Result<Json<DagGrantsResponse>, ApiError> {
    decide(&api, user, &path.dag_id, GrantsDecision::Revoke(named(body)?)).await
}
