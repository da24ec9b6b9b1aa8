//! What tasks ask people, and the form to answer it. Airflow: Required Actions.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::Map;

use super::{
    run::{crumbs, label},
    task::{self, Found, TaskPath},
};
use crate::{
    api::permit::Scoped,
    auth::{CurrentUser, WEBHOOK_USER},
    model::role::{Permission, Role},
    scheduler::{AnswerRequest, RequestError},
    store::{ApprovalFilter, ApprovalRow, Page, WhichApprovals},
    ui::{
        UiState, doc,
        error::UiError,
        links,
        schema_form::{self, Field},
        shell::{Frame, Section, Shell, go_and_tell, page, page_with},
        show::{Crumbs, Html, Pager, When, Zones},
    },
};

const ROWS: u32 = 100;
/// Questions of an instance that its page shows; the API has the others.
const OF_TASK: u32 = 20;

#[derive(Template)]
#[template(path = "approvals.html")]
struct ListView {
    shell: Shell,
    rows: Vec<Line>,
    pager: Pager,
}

struct Line {
    subject: String,
    href: String,
    task: String,
    run: String,
    run_href: String,
    assignees: String,
    since: When,
}

/// The page that comes when the form was wrong.
#[derive(Template)]
#[template(path = "approval.html")]
struct FormView {
    shell: Shell,
    crumbs: Crumbs,
    ask: Ask,
}

/// The form of a question that is waited for.
pub struct Ask {
    pub subject: String,
    pub body: Option<Html>,
    pub choices: Vec<Choice>,
    pub multiple: bool,
    pub fields: Vec<Field>,
    pub assignees: String,
    /// The weakest role that may answer.
    pub role: Role,
    pub action: String,
    pub error: Option<String>,
    /// Where another system posts the answer, if no person is asked.
    pub webhook: Option<String>,
    /// Where the dag's webhook is made.
    pub webhook_page: String,
}

/// An option, by its place.
pub struct Choice {
    pub name: String,
    pub value: usize,
    pub text: String,
    pub checked: bool,
}

/// A question that was asked before.
pub struct Answered {
    pub subject: String,
    pub chosen: String,
    pub values: String,
    pub by: String,
    pub at: When,
}

/// What an instance asks, and what it asked before.
#[derive(Default)]
pub struct Questions {
    pub ask: Option<Ask>,
    pub answered: Vec<Answered>,
}

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    #[serde(default)]
    offset: u32,
}

#[derive(Debug, Deserialize)]
pub struct AnswerQuery {
    #[serde(default)]
    map_index: Option<i32>,
}

/// `GET /approvals`
pub async fn list(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Query(query): Query<ListQuery>,
) -> Result<Response, UiError> {
    let filter =
        ApprovalFilter { dags: scope.seen().clone(), which: WhichApprovals::Waiting, ..ApprovalFilter::default() };
    let listed = ui.store.approval_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let zone = frame.zones_of_none();
    let line = |row: ApprovalRow| Line {
        href: links::task(&row.dag_id, &row.run_id, &row.instance.task_id, row.instance.map_index),
        task: label(&row.instance.task_id, row.instance.map_index, None),
        run: format!("{} {}", row.dag_id, row.run_id),
        run_href: links::run(&row.dag_id, &row.run_id),
        assignees: assignees(&row),
        since: When { at: Some(row.created_at), zone },
        subject: row.question.subject,
    };
    let rows: Vec<_> = listed.items.into_iter().map(line).collect();
    let pager = Pager::new(query.offset as usize, ROWS as usize, rows.len(), listed.total, |offset| {
        links::with_query("/approvals", &[("offset", &offset.to_string())])
    });
    let shell = frame.shell(Section::Approvals, "approvals", "Required Actions").live("/ui/events?of=tasks".into());
    Ok(page(&ListView { shell, rows, pager }))
}

fn assignees(row: &ApprovalRow) -> String {
    if row.question.assignees.is_empty() { "everybody".to_owned() } else { row.question.assignees.join(", ") }
}

/// The form as it is before somebody fills it in.
fn ask(row: ApprovalRow, found: &Found) -> Ask {
    let assignees = assignees(&row);
    let (run, task_id) = (&found.run, &found.key.task_id);
    let path = format!("/hooks/{}/{}/{task_id}", run.dag_id, run.run_id);
    let index = found.map_index().map(|index| index.to_string()).unwrap_or_default();
    let is_webhook = row.question.assignees == [WEBHOOK_USER];
    let question = row.question;
    let multiple = question.multiple;
    let choice = |(value, text): (usize, String)| Choice {
        name: if multiple { format!("option.{value}") } else { "option".to_owned() },
        value,
        checked: question.defaults.contains(&text),
        text,
    };
    Ask {
        choices: question.options.into_iter().enumerate().map(choice).collect(),
        subject: question.subject,
        body: question.body.as_deref().map(doc::render),
        multiple,
        fields: schema_form::fields(&question.fields, &Map::new()),
        assignees,
        role: Permission::ApprovalAnswer.least_role(),
        action: found.href("/answer", &[]),
        error: None,
        webhook: is_webhook.then(|| links::with_query(&path, &[("map_index", &index)])),
        webhook_page: format!("{}/webhook", links::dag(&run.dag_id)),
    }
}

/// What the instance asks.
///
/// # Errors
/// If the store can't be read.
pub async fn questions(ui: &UiState, found: &Found, zone: Zones) -> Result<Questions, UiError> {
    let Some(row) = &found.row else { return Ok(Questions::default()) };
    // One that never ended an attempt to wait asked nothing.
    if row.start_date.is_none() {
        return Ok(Questions::default());
    }
    let mut questions = Questions::default();
    for row in ui.store.approval_list_of(&found.key, None, OF_TASK).await? {
        if row.waiting {
            questions.ask = Some(ask(row, found));
        } else if let Some(answer) = row.answer {
            questions.answered.push(Answered {
                subject: row.question.subject,
                chosen: answer.chosen.join(", "),
                values: if answer.values == "{}" { String::new() } else { answer.values },
                by: answer.username,
                at: When { at: Some(answer.at), zone },
            });
        }
    }
    Ok(questions)
}

/// `POST /dags/{dag_id}/runs/{run_id}/tasks/{task_id}/answer`: back to the task, or the form again with what is wrong.
pub async fn answer(
    State(ui): State<UiState>,
    frame: Frame,
    user: CurrentUser,
    axum::extract::Path(path): TaskPath,
    Query(query): Query<AnswerQuery>,
    Form(form): Form<BTreeMap<String, String>>,
) -> Result<Response, UiError> {
    let found = task::find(&ui, path, query.map_index).await?;
    let none = || UiError::Conflict("The task does not wait for an answer any more.".into());
    let row = ui.store.approval_list_of(&found.key, None, 1).await?.pop().filter(|row| row.waiting).ok_or_else(none)?;
    let question = row.question.clone();
    let mut ask = ask(row, &found);
    for choice in &mut ask.choices {
        choice.checked = form.get(&choice.name).is_some_and(|value| *value == choice.value.to_string());
    }
    let chosen = ask.choices.iter().filter(|choice| choice.checked).map(|choice| choice.text.clone()).collect();
    match schema_form::read(&question.fields, &form) {
        Ok(values) => {
            ask.fields = schema_form::fields(&question.fields, &values);
            let request = AnswerRequest {
                dag_id: found.run.dag_id.clone(),
                run_id: found.run.run_id.clone(),
                task_id: found.key.task_id.clone(),
                map_index: found.key.map_index,
                chosen,
                values,
                username: user.username,
                delivery: None,
            };
            match ui.scheduler.approval_answer(request).await {
                Ok(_) => return Ok(go_and_tell(&found.href("", &[]), &format!("{} was answered.", question.subject))),
                Err(RequestError::Invalid(why)) => ask.error = Some(why),
                Err(error) => return Err(error.into()),
            }
        }
        Err(fields) => ask.fields = fields,
    }
    let shell = frame.shell(Section::Approvals, "approval", question.subject);
    let crumbs = crumbs(&found.run.dag_id, Some(&found.run.run_id));
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &FormView { shell, crumbs, ask }))
}
