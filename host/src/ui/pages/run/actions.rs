//! What is done to a run on its page, and what is asked before.

use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

use super::{RunQuery, crumbs, view};
use crate::{
    api::permit::Scoped,
    model::{
        ids::{DagId, RunId},
        state::RunState,
    },
    scheduler::ClearRequest,
    ui::{
        UiState,
        error::UiError,
        links,
        pages::{
            Question,
            change::{Affected, Choice, ClearOptions, ClearView, LATEST_VERSION},
            confirm,
            settings::lines,
        },
        shell::{Frame, Section, go_and_tell, page, page_with},
    },
};

/// `GET /dags/{dag_id}/runs/{run_id}/clear`
pub async fn preview_clear(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Query(options): Query<ClearOptions>,
) -> Result<Response, UiError> {
    let run = ui.run(&dag_id, &run_id).await?;
    let shape = ui.shapes.get(&ui.store, run.version).await?;
    let base = links::run(&dag_id, &run_id);
    let mut request = ClearRequest::of_run(dag_id.clone(), run_id.clone());
    request.only_failed = options.only_failed;
    request.run_on_latest_version = options.latest_version;
    request.dry_run = true;
    let affected = ui.scheduler.task_clear(request).await?;
    let view = ClearView::new(
        frame.shell(Section::Dags, "clear", format!("Clear {run_id}")),
        crumbs(&dag_id, Some(&run_id)),
        run_id.as_str(),
        base,
        Choice::all(&[
            ("only_failed", "Only failed tasks", options.only_failed),
            ("latest_version", LATEST_VERSION, options.latest_version),
        ]),
        Affected::new(affected, &shape),
    );
    Ok(page(&view))
}

/// `POST /dags/{dag_id}/runs/{run_id}/clear`
pub async fn clear(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Form(options): Form<ClearOptions>,
) -> Result<Response, UiError> {
    let mut request = ClearRequest::of_run(dag_id.clone(), run_id.clone());
    request.only_failed = options.only_failed;
    request.run_on_latest_version = options.latest_version;
    let affected = ui.scheduler.task_clear(request).await?;
    Ok(go_and_tell(&links::run(&dag_id, &run_id), &format!("{} task instances were cleared.", affected.len())))
}

#[derive(Debug, Deserialize)]
pub struct MarkForm {
    state: RunState,
}

/// `GET /dags/{dag_id}/runs/{run_id}/mark?state=...`
pub async fn confirm_mark(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Query(form): Query<MarkForm>,
) -> Result<Response, UiError> {
    let run = ui.run(&dag_id, &run_id).await?;
    let base = links::run(&dag_id, &run_id);
    let cancels = form.state == RunState::Failed && !run.state.is_finished();
    let mut lines = vec![format!("The run becomes {}.", form.state)];
    if !run.state.is_finished() {
        lines.push(format!(
            "Task instances that are running are ended and become {}; those that have not started are skipped.",
            form.state
        ));
    }
    Ok(confirm(
        frame,
        Question {
            section: Section::Dags,
            crumbs: crumbs(&dag_id, Some(&run_id)),
            text: if cancels { format!("Cancel {run_id}?") } else { format!("Mark {run_id} {}?", form.state) },
            lines,
            action: format!("{base}/mark"),
            fields: vec![("state", form.state.to_string())],
            verb: match (cancels, form.state) {
                (true, _) => "Cancel the run",
                (false, RunState::Success) => "Mark success",
                (false, _) => "Mark failed",
            },
            dangerous: cancels,
            back: base,
        },
    ))
}

/// `POST /dags/{dag_id}/runs/{run_id}/mark`
pub async fn mark(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Form(form): Form<MarkForm>,
) -> Result<Response, UiError> {
    let run = ui.scheduler.dag_run_mark(&dag_id, &run_id, form.state).await?;
    Ok(go_and_tell(&links::run(&dag_id, &run_id), &format!("The run is {} now.", run.state)))
}

/// `GET /dags/{dag_id}/runs/{run_id}/delete`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
) -> Result<Response, UiError> {
    ui.run(&dag_id, &run_id).await?;
    let base = links::run(&dag_id, &run_id);
    Ok(confirm(
        frame,
        Question {
            section: Section::Dags,
            crumbs: crumbs(&dag_id, Some(&run_id)),
            text: format!("Delete {run_id}?"),
            lines: vec!["Its logs, XComs and artifacts are deleted with it. This can't be undone.".into()],
            action: format!("{base}/delete"),
            fields: Vec::new(),
            verb: "Delete",
            dangerous: true,
            back: base,
        },
    ))
}

/// `POST /dags/{dag_id}/runs/{run_id}/delete`
pub async fn delete(
    State(ui): State<UiState>,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
) -> Result<Response, UiError> {
    ui.scheduler.dag_run_delete(&dag_id, &run_id).await?;
    Ok(go_and_tell(&format!("{}/runs", links::dag(&dag_id)), &format!("{run_id} was deleted.")))
}

#[derive(Deserialize)]
pub struct NoteForm {
    note: String,
}

/// Characters of a note at most. Airflow: 1,000.
const MAX_NOTE: usize = 1_000;

/// `POST /dags/{dag_id}/runs/{run_id}/note`
pub async fn note(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Path((dag_id, run_id)): Path<(DagId, RunId)>,
    Form(form): Form<NoteForm>,
) -> Result<Response, UiError> {
    let typed = lines(&form.note);
    let note = typed.trim();
    let long = note.chars().count();
    if long > MAX_NOTE {
        let why = format!("a note may have at most {MAX_NOTE} characters; this one has {long}");
        let view = view(&ui, &scope, frame, (dag_id, run_id), RunQuery::default(), Some((typed, why))).await?;
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &view));
    }
    let run = ui.run(&dag_id, &run_id).await?;
    ui.store.dag_run_set_note(run.key, (!note.is_empty()).then_some(note)).await?;
    Ok(go_and_tell(&links::run(&dag_id, &run_id), "The note was saved."))
}
