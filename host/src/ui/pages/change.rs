//! Clearing and marking: what would change, and the change. Of task instances here; a run's page uses the same view.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    run::{crumbs, label},
    task::{TaskPath, find},
};
use crate::{
    model::{
        ids::{DagId, RunId, TaskId},
        state::TaskState,
    },
    scheduler::{ClearRequest, MarkRequest},
    store::TaskInstanceRow,
    ui::{
        UiState,
        error::UiError,
        links,
        shape::Shape,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{self, Crumbs, State as StateView},
    },
};

/// Rows of a preview.
const PREVIEW: usize = 100;

/// What the option `latest_version` is called.
pub const LATEST_VERSION: &str = "On the newest version of the dag";

/// What a preview shows, of a run or of a task, of clearing or of marking.
#[derive(Template)]
#[template(path = "task_clear.html")]
pub struct ClearView {
    pub shell: Shell,
    pub crumbs: Crumbs,
    pub heading: String,
    pub about: &'static str,
    pub action: String,
    pub map_index: Option<i32>,
    pub options: Vec<Choice>,
    pub states: Vec<(&'static str, bool)>,
    pub summary: String,
    pub affected: Affected,
    pub verb: &'static str,
    pub back: String,
}

/// An option of a preview.
pub struct Choice {
    pub name: &'static str,
    pub label: &'static str,
    pub on: bool,
}

impl Choice {
    /// Of (name, label, whether it is on).
    pub fn all(choices: &[(&'static str, &'static str, bool)]) -> Vec<Self> {
        choices.iter().map(|&(name, label, on)| Self { name, label, on }).collect()
    }
}

/// A task instance that would be changed.
pub struct AffectedLine {
    pub task_id: TaskId,
    pub label: String,
    pub run_id: RunId,
    pub state: StateView,
}

impl ClearView {
    pub fn new(
        shell: Shell,
        crumbs: Crumbs,
        label: &str,
        base: String,
        options: Vec<Choice>,
        affected: Affected,
    ) -> Self {
        Self {
            shell,
            crumbs,
            heading: format!("Clear {label}"),
            about: "A cleared task instance runs again, with a new try. What it pushed before is dropped then.",
            action: format!("{base}/clear"),
            map_index: None,
            options,
            states: Vec::new(),
            summary: affected.told("will run again"),
            affected,
            verb: "Clear",
            back: base,
        }
    }
}

/// The task instances that would be changed: how many, and the first of them.
pub struct Affected {
    pub total: usize,
    pub lines: Vec<AffectedLine>,
}

impl Affected {
    /// Run by run, upstream first.
    pub fn new(mut rows: Vec<TaskInstanceRow>, shape: &Shape) -> Self {
        rows.sort_by_key(|row| (row.dag_run, shape.row(&row.task_id), row.map_index));
        let line = |row: TaskInstanceRow| AffectedLine {
            label: label(&row.task_id, row.map_index, row.rendered_map_index.as_deref()),
            task_id: row.task_id,
            run_id: row.run_id,
            state: row.state.into(),
        };
        Self { total: rows.len(), lines: rows.into_iter().take(PREVIEW).map(line).collect() }
    }

    fn told(&self, what: &str) -> String {
        match self.total {
            0 => "Nothing would change".into(),
            1 => format!("1 task instance {what}"),
            count => format!("{} task instances {what}", show::grouped(count)),
        }
    }
}

/// What surrounds a task instance that is cleared or marked.
#[expect(clippy::struct_excessive_bools, reason = "they are the check boxes of a form")]
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ClearOptions {
    /// Whether the options were chosen; if not, the defaults hold.
    #[serde(default)]
    pub chosen: bool,
    #[serde(default)]
    pub map_index: Option<i32>,
    #[serde(default)]
    pub upstream: bool,
    #[serde(default)]
    pub downstream: bool,
    #[serde(default)]
    pub past: bool,
    #[serde(default)]
    pub future: bool,
    #[serde(default)]
    pub only_failed: bool,
    #[serde(default)]
    pub latest_version: bool,
    /// Of marking.
    #[serde(default)]
    pub state: Option<TaskState>,
}

impl ClearOptions {
    fn around(&self) -> [(&'static str, &'static str, bool); 4] {
        [
            ("downstream", "Downstream tasks", self.downstream),
            ("upstream", "Upstream tasks", self.upstream),
            ("past", "Earlier runs", self.past),
            ("future", "Later runs", self.future),
        ]
    }

    fn clear(&self, (dag_id, run_id, task_id): (DagId, RunId, TaskId), dry_run: bool) -> ClearRequest {
        ClearRequest {
            tasks: vec![(task_id, self.map_index)],
            upstream: self.upstream,
            downstream: self.downstream,
            past: self.past,
            future: self.future,
            only_failed: self.only_failed,
            run_on_latest_version: self.latest_version,
            dry_run,
            ..ClearRequest::of_run(dag_id, run_id)
        }
    }

    fn mark(&self, (dag_id, run_id, task_id): (DagId, RunId, TaskId), state: TaskState, dry_run: bool) -> MarkRequest {
        MarkRequest {
            dag_id,
            run_id,
            tasks: vec![(task_id, self.map_index)],
            state,
            upstream: self.upstream,
            downstream: self.downstream,
            past: self.past,
            future: self.future,
            dry_run,
        }
    }
}

/// `GET .../clear`: the options and what they would clear.
pub async fn preview_clear(
    State(ui): State<UiState>,
    frame: Frame,
    Path(path): TaskPath,
    Query(mut options): Query<ClearOptions>,
) -> Result<Response, UiError> {
    let found = find(&ui, path.clone(), options.map_index).await?;
    if !options.chosen {
        // As in Airflow: what follows is made anew, too.
        options.downstream = true;
    }
    let affected = ui.scheduler.task_clear(options.clear(path.clone(), true)).await?;
    let title = label(&path.2, options.map_index.unwrap_or(-1), None);
    let mut choices = options.around().to_vec();
    choices.push(("only_failed", "Only failed", options.only_failed));
    choices.push(("latest_version", LATEST_VERSION, options.latest_version));
    let shell = frame.shell(Section::Dags, "clear", format!("Clear {title}"));
    let mut view = ClearView::new(
        shell,
        crumbs(&path.0, Some(&path.1)),
        &title,
        found.base(),
        Choice::all(&choices),
        Affected::new(affected, &found.shape),
    );
    view.map_index = options.map_index;
    view.back = found.href("", &[]);
    Ok(page(&view))
}

/// `POST .../clear`
pub async fn clear(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Form(options): Form<ClearOptions>,
) -> Result<Response, UiError> {
    let to = links::task(&path.0, &path.1, &path.2, options.map_index.unwrap_or(-1));
    let affected = ui.scheduler.task_clear(options.clear(path, false)).await?;
    Ok(go_and_tell(&to, &format!("{} task instances were cleared.", affected.len())))
}

/// States that a task instance can be marked with.
const MARKS: [TaskState; 3] = [TaskState::Success, TaskState::Failed, TaskState::Skipped];

/// `GET .../mark`: the options and what they would mark.
pub async fn preview_mark(
    State(ui): State<UiState>,
    frame: Frame,
    Path(path): TaskPath,
    Query(options): Query<ClearOptions>,
) -> Result<Response, UiError> {
    let found = find(&ui, path.clone(), options.map_index).await?;
    let is_success = found.row.as_ref().is_some_and(|row| row.state == TaskState::Success);
    let state = options.state.unwrap_or(if is_success { TaskState::Failed } else { TaskState::Success });
    let affected = Affected::new(ui.scheduler.task_mark(options.mark(path.clone(), state, true)).await?, &found.shape);
    let title = label(&path.2, options.map_index.unwrap_or(-1), None);
    let shell = frame.shell(Section::Dags, "mark", format!("Mark {title}"));
    Ok(page(&ClearView {
        shell,
        crumbs: crumbs(&path.0, Some(&path.1)),
        heading: format!("Mark {title}"),
        about: "The state is set by hand; what runs is ended, and what waits for it goes on by its trigger rule.",
        action: format!("{}/mark", found.base()),
        map_index: options.map_index,
        options: Choice::all(&options.around()),
        states: MARKS.iter().map(|mark| (mark.as_str(), *mark == state)).collect(),
        summary: affected.told(&format!("will be {state}")),
        affected,
        verb: "Mark",
        back: found.href("", &[]),
    }))
}

/// `POST .../mark`
pub async fn mark(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Form(options): Form<ClearOptions>,
) -> Result<Response, UiError> {
    let state = options.state.ok_or_else(|| UiError::Invalid("choose a state to mark with".into()))?;
    let to = links::task(&path.0, &path.1, &path.2, options.map_index.unwrap_or(-1));
    let affected = ui.scheduler.task_mark(options.mark(path, state, false)).await?;
    Ok(go_and_tell(&to, &format!("{} task instances were marked {state}.", affected.len())))
}
