//! Triggering a run by a form.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::settings::lines;
use crate::{
    api::identity::is_https,
    auth::CurrentUser,
    model::{
        ids::{DagId, RunId},
        time::Timestamp,
    },
    scheduler::{RequestError, RunRequest},
    store::DagRow,
    ui::{
        UiState,
        error::UiError,
        links,
        schema_form::{self, Field},
        shell::{Frame, Section, Shell, go_and_tell, page_with},
        show::Crumbs,
    },
};

#[derive(Template)]
#[template(path = "trigger.html")]
struct TriggerView {
    shell: Shell,
    crumbs: Crumbs,
    dag_id: String,
    is_paused: bool,
    error: Option<String>,
    action: String,
    back: String,
    fields: Vec<Field>,
    logical_date: Typed,
    run_id: Typed,
    note: String,
    curl: String,
    cli: String,
}

/// What was typed, and what is wrong with it.
#[derive(Debug, Default)]
struct Typed {
    value: String,
    error: Option<String>,
}

impl Typed {
    fn read<T: std::str::FromStr>(&mut self) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.value.trim();
        if text.is_empty() {
            return None;
        }
        text.parse().map_err(|error: T::Err| self.error = Some(error.to_string())).ok()
    }
}

/// All that was typed into the form.
#[derive(Debug, Default)]
struct Given {
    fields: Vec<Field>,
    conf: Map<String, Value>,
    logical_date: Typed,
    run_id: Typed,
    note: String,
    error: Option<String>,
}

fn view(frame: Frame, dag: &DagRow, headers: &HeaderMap, given: Given) -> TriggerView {
    let base = links::dag(&dag.dag_id);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = if is_https(headers) { "https" } else { "http" };
    let date = given.logical_date.value.trim();
    let body = json!({ "logical_date": (!date.is_empty()).then_some(date), "conf": given.conf });
    let params = Value::Object(given.conf);
    TriggerView {
        shell: frame.shell(Section::Dags, "trigger", format!("Trigger {}", dag.dag_id)),
        crumbs: Crumbs::new([("/dags".to_owned(), "DAGs".to_owned()), (base.clone(), dag.dag_id.to_string())]),
        dag_id: dag.dag_id.to_string(),
        is_paused: dag.is_paused,
        error: given.error,
        action: format!("{base}/trigger"),
        fields: given.fields,
        curl: format!(
            "curl -X POST {scheme}://{host}/api/v2{base}/dagRuns \\\n  -H \"Authorization: Bearer $AIRLOCK_TOKEN\" \
             -H 'Content-Type: application/json' \\\n  -d {}",
            quoted(&body.to_string())
        ),
        cli: format!("airlock dags trigger {} --params {}", dag.dag_id, quoted(&params.to_string())),
        logical_date: given.logical_date,
        run_id: given.run_id,
        note: given.note,
        back: base,
    }
}

/// `text` as one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// `GET /dags/{dag_id}/trigger`. `?from=RUN_ID` fills the form with that run's params.
pub async fn show(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let conf: Map<String, Value> = match query.get("from") {
        Some(run_id) => {
            let run = ui.run(&dag_id, &RunId::new(run_id)?).await?;
            serde_json::from_str(run.conf.as_deref().unwrap_or_default()).unwrap_or_default()
        }
        None => Map::new(),
    };
    let given = Given { fields: schema_form::fields(&dag.spec.params, &conf), conf, ..Given::default() };
    Ok(page_with(StatusCode::OK, &view(frame, &dag, &headers, given)))
}

/// `POST /dags/{dag_id}/trigger`: on to the new run, or the form again with what is wrong.
pub async fn trigger(
    State(ui): State<UiState>,
    frame: Frame,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let typed = |name: &str| Typed { value: form.get(name).cloned().unwrap_or_default(), error: None };
    let mut given = Given {
        logical_date: typed("logical_date"),
        run_id: typed("run_id"),
        note: lines(form.get("note").map_or("", String::as_str)),
        ..Given::default()
    };
    let logical_date: Option<Timestamp> = given.logical_date.read();
    let run_id: Option<RunId> = given.run_id.read();
    match schema_form::read(&dag.spec.params, &form) {
        Ok(conf) => {
            given.fields = schema_form::fields(&dag.spec.params, &conf);
            given.conf = conf;
        }
        Err(fields) => given.fields = fields,
    }
    let is_right = given.logical_date.error.is_none()
        && given.run_id.error.is_none()
        && given.fields.iter().all(|field| field.error.is_none());
    if !is_right {
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &view(frame, &dag, &headers, given)));
    }
    let request = RunRequest {
        run_id,
        logical_date,
        conf: given.conf.clone(),
        note: Some(given.note.trim().to_owned()).filter(|note| !note.is_empty()),
        triggered_by: "ui",
        user: Some(user.username),
        ..RunRequest::default()
    };
    let status = match ui.scheduler.trigger(&dag_id, request).await {
        Ok(run) => {
            return Ok(go_and_tell(&links::run(&dag_id, &run.run_id), &format!("{} was triggered.", run.run_id)));
        }
        Err(RequestError::Conflict(text)) => {
            given.error = Some(text);
            StatusCode::CONFLICT
        }
        Err(RequestError::Invalid(text)) => {
            given.error = Some(text);
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Err(error) => return Err(error.into()),
    };
    Ok(page_with(status, &view(frame, &dag, &headers, given)))
}
