//! The backfills of a dag: what there are, and a form for a new one that says first what it would do.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

use super::DagHead;
use crate::{
    auth::CurrentUser,
    model::{dag_access::DagSet, ids::DagId, time::Timestamp},
    scheduler::{BackfillRequest, PlannedRun, RequestError},
    store::{BackfillId, BackfillRow, DagRow, Page},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell, page_with},
        show::{self, Pager, When, WhenBoth, Zones},
    },
};

/// Backfills, and intervals of one that is to be made, that are listed.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "dag_backfills.html")]
struct BackfillsView {
    shell: Shell,
    head: DagHead,
    rows: Vec<BackfillLine>,
    pager: Pager,
    typed: BackfillForm,
    error: Option<String>,
    preview: Option<Preview>,
}

struct BackfillLine {
    id: i64,
    /// The address of its runs.
    runs: String,
    from: When,
    to: When,
    progress: String,
    dealt_with: u32,
    total: u32,
    state: &'static str,
    action: String,
    /// What can be done about it.
    verbs: Vec<(&'static str, &'static str)>,
}

/// What a backfill would do.
struct Preview {
    summary: String,
    rows: Vec<(WhenBoth, &'static str)>,
    more: usize,
}

/// What was typed, as it was typed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackfillForm {
    from_date: String,
    to_date: String,
    max_active_runs: String,
    reprocess_behavior: String,
    run_backwards: bool,
    /// Of the list of those that there are.
    offset: u32,
}

impl BackfillForm {
    fn request(&self, dag_id: &DagId, user: Option<String>) -> Result<BackfillRequest, String> {
        let date =
            |name: &str, text: &str| text.trim().parse::<Timestamp>().map_err(|error| format!("{name}: {error}"));
        let max_active_runs = self.max_active_runs.trim();
        Ok(BackfillRequest {
            dag_id: dag_id.clone(),
            from_date: date("From", &self.from_date)?,
            to_date: date("To", &self.to_date)?,
            run_backwards: self.run_backwards,
            max_active_runs: if max_active_runs.is_empty() { Ok(10) } else { max_active_runs.parse() }
                .map_err(|_| "Runs at a time: it must be a number, at least 1".to_owned())?,
            reprocess_behavior: if self.reprocess_behavior.is_empty() { "none" } else { &self.reprocess_behavior }
                .parse()
                .map_err(|_| "Runs that are there: choose what becomes of them".to_owned())?,
            conf: serde_json::Map::new(),
            user,
        })
    }
}

fn line(row: &BackfillRow, zone: Zones, base: &str) -> BackfillLine {
    let is_over = row.completed_at.is_some();
    BackfillLine {
        id: row.id.0,
        runs: links::backfill_runs(&row.new.dag_id, row.id),
        from: When { at: Some(row.new.intervals.from), zone },
        to: When { at: Some(row.new.intervals.to), zone },
        progress: format!("{} of {}, {} skipped", row.dealt_with, row.new.total, row.skipped),
        dealt_with: row.dealt_with,
        total: row.new.total,
        state: match (is_over, row.is_paused) {
            (true, _) => "over",
            (false, true) => "paused",
            (false, false) => "runs",
        },
        action: format!("{base}/{}", row.id.0),
        verbs: match (is_over, row.is_paused) {
            (true, _) => Vec::new(),
            (false, true) => vec![("unpause", "Go on"), ("cancel", "Cancel")],
            (false, false) => vec![("pause", "Pause"), ("cancel", "Cancel")],
        },
    }
}

fn preview(planned: &[PlannedRun], zone: Zones) -> Preview {
    let count = |word: &str| planned.iter().filter(|one| one.plan.as_str() == word).count();
    let rows = planned.iter().take(ROWS);
    Preview {
        summary: format!(
            "{} intervals: {} runs are made, {} are run again, {} stay as they are",
            show::grouped(planned.len()),
            show::grouped(count("create")),
            show::grouped(count("reprocess")),
            show::grouped(count("skip"))
        ),
        rows: rows.map(|one| (WhenBoth(When { at: Some(one.run.logical_date), zone }), one.plan.as_str())).collect(),
        more: planned.len().saturating_sub(ROWS),
    }
}

/// The page, with what is wrong about what was typed or what it would do.
async fn view(
    ui: &UiState,
    frame: Frame,
    dag: &DagRow,
    typed: BackfillForm,
    outcome: Option<Result<Vec<PlannedRun>, String>>,
) -> Result<Response, UiError> {
    let zone = frame.zones(&dag.spec);
    let limit = u32::try_from(ROWS).unwrap_or(u32::MAX);
    let page = Page { limit, offset: typed.offset };
    let listed = ui.store.backfill_list(Some(&dag.dag_id), &DagSet::all(), page).await?;
    let base = format!("{}/backfills", links::dag(&dag.dag_id));
    let mut shell = frame.shell(Section::Dags, "dag-backfills", format!("{} backfills", dag.dag_id));
    if outcome.is_none() {
        // With an outcome, each look at the page would plan the backfill again.
        shell = shell.live(links::with_query("/ui/events", &[("dag", dag.dag_id.as_str())]));
    }
    let (preview, error) = match outcome {
        None => (None, None),
        Some(Ok(planned)) => (Some(preview(&planned, zone)), None),
        Some(Err(error)) => (None, Some(error)),
    };
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    Ok(page_with(
        status,
        &BackfillsView {
            head: DagHead::new(ui, dag, "backfills", &shell, zone).await?,
            shell,
            pager: Pager::new(typed.offset as usize, ROWS, listed.items.len(), listed.total, |at| {
                links::with_query(&base, &[("offset", &at.to_string())])
            }),
            rows: listed.items.iter().map(|row| line(row, zone, &base)).collect(),
            typed,
            error,
            preview,
        },
    ))
}

/// What is to be said on the form; none if it is no fault of who filled it in.
pub(super) fn said(error: RequestError) -> Result<String, UiError> {
    match error {
        RequestError::Conflict(text) | RequestError::Invalid(text) | RequestError::Forbidden(text) => Ok(text),
        error @ (RequestError::NotFound(_) | RequestError::Store(_) | RequestError::Stopped) => Err(error.into()),
    }
}

/// `GET /dags/{dag_id}/backfills`; with dates it says what a backfill of them would do.
pub async fn backfills(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(typed): Query<BackfillForm>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    if typed.from_date.is_empty() && typed.to_date.is_empty() {
        return view(&ui, frame, &dag, typed, None).await;
    }
    let outcome = match typed.request(&dag_id, None) {
        Ok(request) => match ui.scheduler.backfill_dry_run(&request).await {
            Ok(planned) => Ok(planned),
            Err(error) => Err(said(error)?),
        },
        Err(error) => Err(error),
    };
    view(&ui, frame, &dag, typed, Some(outcome)).await
}

/// `POST /dags/{dag_id}/backfills`
pub async fn create_backfill(
    State(ui): State<UiState>,
    frame: Frame,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    Form(typed): Form<BackfillForm>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let error = match typed.request(&dag_id, Some(user.username)) {
        Ok(request) => match ui.scheduler.backfill_create(request).await {
            Ok(row) => {
                let path = format!("{}/backfills", links::dag(&dag_id));
                return Ok(go_and_tell(&path, &format!("Backfill {} has begun.", row.id.0)));
            }
            Err(error) => said(error)?,
        },
        Err(error) => error,
    };
    view(&ui, frame, &dag, typed, Some(Err(error))).await
}

/// `POST /dags/{dag_id}/backfills/{id}/{verb}`: pause, unpause or cancel.
pub async fn change_backfill(
    State(ui): State<UiState>,
    Path((dag_id, id, verb)): Path<(DagId, i64, String)>,
) -> Result<Response, UiError> {
    // What the guard let through is about this dag, and a backfill's number alone may be of any.
    let known = ui.store.backfill_get(BackfillId(id)).await?.filter(|row| row.new.dag_id == dag_id);
    let id = known.ok_or_else(|| UiError::NotFound(format!("dag `{dag_id}` has no backfill {id}")))?.id;
    let text = match verb.as_str() {
        "pause" => ui.scheduler.backfill_set_paused(id, true).await.map(|_| "is paused"),
        "unpause" => ui.scheduler.backfill_set_paused(id, false).await.map(|_| "goes on"),
        "cancel" => ui.scheduler.backfill_cancel(id).await.map(|_| "was cancelled"),
        _ => return Err(UiError::NotFound("There is no page at this address.".into())),
    }?;
    Ok(go_and_tell(&format!("{}/backfills", links::dag(&dag_id)), &format!("Backfill {} {text}.", id.0)))
}
