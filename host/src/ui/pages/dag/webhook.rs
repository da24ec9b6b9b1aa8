//! A dag's webhook.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

use crate::{
    api::webhooks,
    auth::{Audit, CurrentUser},
    model::ids::DagId,
    ui::{
        UiState,
        error::UiError,
        links,
        pages::{Question, confirm, run::crumbs},
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{Crumbs, When},
    },
};

#[derive(Template)]
#[template(path = "webhook.html")]
struct WebhookView {
    shell: Shell,
    crumbs: Crumbs,
    base_href: String,
    path: String,
    /// What is signed of it.
    target: String,
    /// When it was made, and by whom; none: there is none.
    made: Option<(When, String)>,
    /// Told once.
    secret: Option<String>,
}

fn base(dag_id: &DagId) -> String {
    format!("{}/webhook", links::dag(dag_id))
}

/// `GET /dags/{dag_id}/webhook`
pub async fn show(State(ui): State<UiState>, frame: Frame, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    view(&ui, frame, dag_id, None).await
}

async fn view(ui: &UiState, frame: Frame, dag_id: DagId, secret: Option<String>) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let zone = frame.zones(&dag.spec);
    let row = ui.store.webhook_get(&dag_id).await?;
    Ok(page(&WebhookView {
        shell: frame.shell(Section::Dags, "webhook", format!("Webhook of {dag_id}")),
        crumbs: crumbs(&dag_id, None),
        base_href: base(&dag_id),
        path: format!("/hooks/{dag_id}"),
        target: dag_id.to_string(),
        made: row.map(|row| (When { at: Some(row.created_at), zone }, row.created_by)),
        secret,
    }))
}

/// `POST /dags/{dag_id}/webhook`: makes it, or another secret.
pub async fn make(
    State(ui): State<UiState>,
    user: CurrentUser,
    frame: Frame,
    Path(dag_id): Path<DagId>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let (_, secret) = webhooks::make(&ui.store, &ui.secrets, dag_id.clone(), user.username, ui.clock.now()).await?;
    view(&ui, frame, dag_id, Some(secret)).await
}

/// Asks before what makes the present secret worthless.
async fn ask(
    ui: &UiState,
    frame: Frame,
    dag_id: &DagId,
    (text, line): (&str, &str),
    (action, verb): (String, &'static str),
) -> Result<Response, UiError> {
    ui.dag(dag_id).await?;
    let question = Question {
        section: Section::Dags,
        crumbs: crumbs(dag_id, None),
        text: format!("{text} of {dag_id}?"),
        lines: vec![line.to_owned()],
        action,
        fields: Vec::new(),
        verb,
        dangerous: true,
        back: base(dag_id),
    };
    Ok(confirm(frame, question))
}

/// `GET /dags/{dag_id}/webhook/replace`
pub async fn confirm_replace(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
) -> Result<Response, UiError> {
    let text = ("Replace the secret of the webhook", "What is signed with the present one is refused from then on.");
    ask(&ui, frame, &dag_id, text, (base(&dag_id), "Replace")).await
}

/// `GET /dags/{dag_id}/webhook/delete`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
) -> Result<Response, UiError> {
    let text = ("Delete the webhook", "What other systems send is refused from then on. A new one has another secret.");
    ask(&ui, frame, &dag_id, text, (format!("{}/delete", base(&dag_id)), "Delete")).await
}

/// `POST /dags/{dag_id}/webhook/delete`
pub async fn delete(State(ui): State<UiState>, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    Audit::settle();
    ui.store.webhook_delete(&dag_id).await?;
    Ok(go_and_tell(&base(&dag_id), "The webhook was deleted."))
}
