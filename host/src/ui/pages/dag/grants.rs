//! What a dag may reach, and the buttons by which admins say so.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    response::Response,
};
use serde::Deserialize;

use super::DagHead;
use crate::{
    auth::CurrentUser,
    model::{
        grants::{Grant, GrantKind, GrantsPolicy, MAX_DECISIONS, Standing},
        ids::DagId,
    },
    scheduler::GrantsDecision,
    store::DagGrantRow,
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{When, Zones},
    },
};

#[derive(Template)]
#[template(path = "dag_grants.html")]
struct GrantsView {
    shell: Shell,
    head: DagHead,
    action: String,
    /// What the newest version asks for.
    requests: Vec<RequestLine>,
    /// All that waits, one in a line.
    pending: Vec<String>,
    /// What attempts get, where that is neither all nor nothing of what is asked for.
    instead: Vec<String>,
    /// Decisions that no request needs.
    others: Vec<DecisionLine>,
    memory_mib: u32,
    policy: String,
    server_policy: String,
    has_own_policy: bool,
    kinds: String,
}

struct RequestLine {
    grant: String,
    about: &'static str,
    standing: &'static str,
    waits: bool,
    decided: Option<(When, String)>,
    /// What can be done about it.
    verb: &'static str,
}

struct DecisionLine {
    grant: String,
    decision: &'static str,
    at: When,
    by: String,
}

fn base(dag_id: &DagId) -> String {
    format!("{}/grants", links::dag(dag_id))
}

/// `GET /dags/{dag_id}/grants`
pub async fn show(State(ui): State<UiState>, frame: Frame, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let zone = frame.zones(&dag.spec);
    let rows = ui.store.dag_grant_list(&dag_id).await?;
    let decisions = ui.store.dag_decisions(std::slice::from_ref(&dag_id)).await?.remove(&dag_id).unwrap_or_default();
    let verdict = ui.scheduler.grants_verdict(&dag.spec, &decisions);
    let request = |(grant, standing): &(Grant, Standing)| RequestLine {
        grant: grant.to_string(),
        about: grant.kind().about(),
        standing: standing.as_str(),
        waits: *standing == Standing::Waits,
        decided: rows.iter().find(|row| row.request == *grant).map(|row| decided(row, zone)),
        verb: if standing.is_given() { "revoke" } else { "approve" },
    };
    let asked: BTreeSet<_> = verdict.requests.iter().map(|(grant, _)| grant).collect();
    let others = rows.iter().filter(|row| !asked.contains(&row.request));
    let server = ui.scheduler.grants_policy();
    let shell = frame.shell(Section::Dags, "dag-grants", format!("{dag_id} grants"));
    Ok(page(&GrantsView {
        head: DagHead::new(&ui, &dag, "grants", &shell, zone).await?,
        shell,
        action: base(&dag_id),
        requests: verdict.requests.iter().map(request).collect(),
        pending: verdict.pending().map(ToString::to_string).collect(),
        instead: verdict
            .effective
            .requests()
            .filter(|grant| !asked.contains(grant))
            .map(|grant| grant.to_string())
            .collect(),
        others: others
            .map(|row| {
                let (at, by) = decided(row, zone);
                let decision = if row.is_approved { "approved" } else { "revoked" };
                DecisionLine { grant: row.request.to_string(), decision, at, by }
            })
            .collect(),
        memory_mib: verdict.effective.memory_mib(),
        policy: decisions.policy.as_ref().map(ToString::to_string).unwrap_or_default(),
        has_own_policy: decisions.policy.is_some(),
        server_policy: server.to_string(),
        kinds: GrantKind::ALL.map(GrantKind::as_str).join(", "),
    }))
}

fn decided(row: &DagGrantRow, zone: Zones) -> (When, String) {
    (When { at: Some(row.decided_at), zone }, row.decided_by.clone())
}

#[derive(Debug, Deserialize)]
pub struct DecideForm {
    /// One in a line.
    grants: String,
    /// `approve` or `revoke`.
    verb: String,
}

/// `POST /dags/{dag_id}/grants`
pub async fn decide(
    State(ui): State<UiState>,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    Form(form): Form<DecideForm>,
) -> Result<Response, UiError> {
    let lines = form.grants.lines().map(str::trim).filter(|line| !line.is_empty());
    let grants = lines.take(MAX_DECISIONS + 1).map(str::parse).collect::<Result<BTreeSet<Grant>, _>>();
    let grants = grants.map_err(|error| UiError::Invalid(error.to_string()))?;
    if grants.is_empty() {
        return Err(UiError::Invalid("no grant was named".to_owned()));
    }
    let names: Vec<_> = grants.iter().map(ToString::to_string).collect();
    let (decision, told) = match form.verb.as_str() {
        "approve" => (GrantsDecision::Approve(grants), format!("Approved: {}.", names.join(", "))),
        "revoke" => (GrantsDecision::Revoke(grants), format!("Revoked: {}.", names.join(", "))),
        _ => return Err(UiError::Invalid("it is neither `approve` nor `revoke`".to_owned())),
    };
    change(&ui, user, dag_id, decision, &told).await
}

#[derive(Debug, Deserialize)]
pub struct PolicyForm {
    /// Empty: the server's.
    policy: String,
}

/// `POST /dags/{dag_id}/grants/policy`
pub async fn set_policy(
    State(ui): State<UiState>,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    Form(form): Form<PolicyForm>,
) -> Result<Response, UiError> {
    let text = Some(form.policy.trim()).filter(|text| !text.is_empty());
    let policy = text.map(str::parse::<GrantsPolicy>).transpose();
    let policy = policy.map_err(|error| UiError::Invalid(error.why))?;
    let told = match &policy {
        Some(policy) => format!("The policy of {dag_id} is {policy}."),
        None => format!("The policy of {dag_id} is the server's."),
    };
    change(&ui, user, dag_id, GrantsDecision::Policy(policy), &told).await
}

async fn change(
    ui: &UiState,
    user: CurrentUser,
    dag_id: DagId,
    decision: GrantsDecision,
    told: &str,
) -> Result<Response, UiError> {
    ui.scheduler.grants_decide(&dag_id, decision, &user.username).await?;
    Ok(go_and_tell(&base(&dag_id), told))
}
