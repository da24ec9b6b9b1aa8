//! What a dag may reach, and the buttons by which admins say so.

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

use super::{DagHead, backfills::said};
use crate::{
    auth::CurrentUser,
    model::{
        grants::{Grant, GrantKind, GrantsPolicy, MAX_DECISIONS, Standing},
        ids::DagId,
    },
    scheduler::GrantsDecision,
    store::DagGrantRow,
    ui::{
        UiState, doc,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page, page_with},
        show::{Html, When, Zones},
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
    /// What is typed as the policy, and as another grant.
    typed_policy: Typed,
    typed_grant: Typed,
}

/// What stands in a field, and what is wrong with it.
#[derive(Default)]
struct Typed {
    text: String,
    wrong: Option<Html>,
}

impl Typed {
    fn refused(text: String, why: &str) -> Self {
        Self { text, wrong: Some(doc::line(why)) }
    }
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
    Ok(page(&view(&ui, frame, &dag_id, None, Typed::default()).await?))
}

/// The page; `typed_policy` is none where the dag's own is to be shown.
async fn view(
    ui: &UiState,
    frame: Frame,
    dag_id: &DagId,
    typed_policy: Option<Typed>,
    typed_grant: Typed,
) -> Result<GrantsView, UiError> {
    let dag = ui.dag(dag_id).await?;
    let zone = frame.zones(&dag.spec);
    let rows = ui.store.dag_grant_list(dag_id).await?;
    let decisions = ui.store.dag_decisions(std::slice::from_ref(dag_id)).await?.remove(dag_id).unwrap_or_default();
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
    let policy = decisions.policy.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(GrantsView {
        head: DagHead::new(ui, &dag, "grants", &shell, zone).await?,
        shell,
        action: base(dag_id),
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
        typed_policy: typed_policy.unwrap_or_else(|| Typed { text: policy.clone(), wrong: None }),
        typed_grant,
        policy,
        has_own_policy: decisions.policy.is_some(),
        server_policy: server.to_string(),
        kinds: GrantKind::ALL.map(GrantKind::as_str).join(", "),
    })
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

impl DecideForm {
    /// What is decided, and how it is told; or what is wrong with what was typed.
    fn read(&self) -> Result<(GrantsDecision, String), String> {
        let lines = self.grants.lines().map(str::trim).filter(|line| !line.is_empty());
        let grants = lines.take(MAX_DECISIONS + 1).map(str::parse).collect::<Result<BTreeSet<Grant>, _>>();
        let grants = grants.map_err(|error| error.to_string())?;
        if grants.is_empty() {
            return Err("no grant was named".to_owned());
        }
        let names: Vec<_> = grants.iter().map(ToString::to_string).collect();
        match self.verb.as_str() {
            "approve" => Ok((GrantsDecision::Approve(grants), format!("Approved: {}.", names.join(", ")))),
            "revoke" => Ok((GrantsDecision::Revoke(grants), format!("Revoked: {}.", names.join(", ")))),
            _ => Err("it is neither `approve` nor `revoke`".to_owned()),
        }
    }
}

/// `POST /dags/{dag_id}/grants`
pub async fn decide(
    State(ui): State<UiState>,
    frame: Frame,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    Form(form): Form<DecideForm>,
) -> Result<Response, UiError> {
    let why = match form.read() {
        Ok((decision, told)) => match change(&ui, &user, &dag_id, decision, &told).await? {
            Ok(done) => return Ok(done),
            Err(why) => why,
        },
        Err(why) => why,
    };
    // Several were not typed: they stand behind a button.
    let typed = Some(form.grants).filter(|grants| !grants.trim().contains('\n')).unwrap_or_default();
    let view = view(&ui, frame, &dag_id, None, Typed::refused(typed, &why)).await?;
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &view))
}

#[derive(Debug, Deserialize)]
pub struct PolicyForm {
    /// Empty: the server's.
    policy: String,
}

/// `POST /dags/{dag_id}/grants/policy`
pub async fn set_policy(
    State(ui): State<UiState>,
    frame: Frame,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    Form(form): Form<PolicyForm>,
) -> Result<Response, UiError> {
    let text = Some(form.policy.trim()).filter(|text| !text.is_empty());
    let why = match text.map(str::parse::<GrantsPolicy>).transpose() {
        Ok(policy) => {
            let told = match &policy {
                Some(policy) => format!("The policy of {dag_id} is {policy}."),
                None => format!("The policy of {dag_id} is the server's."),
            };
            match change(&ui, &user, &dag_id, GrantsDecision::Policy(policy), &told).await? {
                Ok(done) => return Ok(done),
                Err(why) => why,
            }
        }
        Err(error) => error.why,
    };
    let view = view(&ui, frame, &dag_id, Some(Typed::refused(form.policy, &why)), Typed::default()).await?;
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &view))
}

/// Back to the page; or what is to be said on it.
async fn change(
    ui: &UiState,
    user: &CurrentUser,
    dag_id: &DagId,
    decision: GrantsDecision,
    told: &str,
) -> Result<Result<Response, String>, UiError> {
    match ui.scheduler.grants_decide(dag_id, decision, &user.username).await {
        Ok(()) => Ok(Ok(go_and_tell(&base(dag_id), told))),
        Err(error) => said(error).map(Err),
    }
}
