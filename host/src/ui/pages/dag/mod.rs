//! The pages of a dag: what they have in common, and its actions.

mod backfills;
mod calendar;
mod details;
pub mod grants;
mod graph;
mod grid;
mod limits;
pub mod numbers;
mod retention;
mod runs;
mod twin;
pub mod version;
pub mod webhook;

use std::slice;

use axum::{
    Form,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

pub use self::{
    backfills::{backfills, change_backfill, create_backfill},
    calendar::calendar,
    details::details,
    graph::{GraphView, fold_link, graph, task},
    grid::grid,
    runs::{Chip, runs, trigger_of},
};
use super::{
    Question, confirm,
    dags::{Star, Switch, Tag, next_run},
};
use crate::{
    auth::{Audit, CurrentUser},
    model::{dag_warning::DagWarning, ids::DagId, role::Permission, state::RunType},
    store::DagRow,
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, go_and_tell},
        show::{self, Crumbs, When, Zones},
    },
};

/// What the pages of a dag have above.
struct DagHead {
    crumbs: Crumbs,
    dag_id: DagId,
    /// What people call it, if that is not its id.
    display_name: Option<String>,
    description: Option<String>,
    is_paused: bool,
    pause_reason: Option<String>,
    warnings: Vec<String>,
    switch: Switch,
    star: Star,
    schedule: String,
    next: Option<When>,
    tags: Vec<Tag>,
    base_href: String,
    /// None: whoever looks at it may start no runs, or nobody may.
    trigger_href: Option<String>,
    delete_href: String,
    tabs: Vec<Tab>,
}

/// A view among others.
pub struct Tab {
    pub name: &'static str,
    pub label: String,
    pub href: String,
    pub current: bool,
}

impl DagHead {
    async fn new(
        ui: &UiState,
        dag: &DagRow,
        current: &'static str,
        shell: &Shell,
        zone: Zones,
    ) -> Result<Self, UiError> {
        let base = links::dag(&dag.dag_id);
        let tab = |(name, label): (&'static str, &str)| Tab {
            name,
            label: label.to_owned(),
            href: if name == "grid" { base.clone() } else { format!("{base}/{name}") },
            current: name == current,
        };
        let warnings = ui.scheduler.dag_warnings(&dag.spec).await?;
        let user = shell.user().unwrap_or_default();
        let favorites = ui.store.dag_favorite_list(user, slice::from_ref(&dag.dag_id)).await?;
        Ok(Self {
            crumbs: Crumbs::new([("/dags".to_owned(), "DAGs".to_owned())]),
            dag_id: dag.dag_id.clone(),
            display_name: dag.spec.other_name().map(str::to_owned),
            description: dag.spec.description.clone(),
            is_paused: dag.is_paused,
            pause_reason: dag.pause_reason.clone(),
            warnings: warnings.iter().map(DagWarning::to_string).collect(),
            switch: Switch {
                dag_id: dag.dag_id.clone(),
                is_paused: dag.is_paused,
                next: shell.here.clone(),
                labelled: true,
            },
            star: Star { dag_id: dag.dag_id.clone(), is_favorite: !favorites.is_empty(), next: shell.here.clone() },
            schedule: show::schedule(&dag.spec),
            next: next_run(ui, dag, zone).await,
            tags: Tag::all(&dag.spec.tags),
            trigger_href: (shell.may(Permission::RunTrigger) && dag.spec.check_run_type(RunType::Manual).is_ok())
                .then(|| format!("{base}/trigger")),
            delete_href: format!("{base}/delete"),
            tabs: [
                ("grid", "Grid"),
                ("graph", "Graph"),
                ("runs", "Runs"),
                ("calendar", "Calendar"),
                ("backfills", "Backfills"),
                ("grants", "Grants"),
                ("details", "Details"),
            ]
            .map(tab)
            .into(),
            base_href: base,
        })
    }
}

#[derive(Deserialize)]
pub struct PauseForm {
    paused: bool,
    #[serde(default)]
    next: String,
}

/// `POST /dags/{dag_id}/pause`
pub async fn pause(
    State(ui): State<UiState>,
    audit: Audit,
    Path(dag_id): Path<DagId>,
    Form(form): Form<PauseForm>,
) -> Result<Response, UiError> {
    audit.change(dag_id.as_str(), &serde_json::Value::Null, &serde_json::json!({"is_paused": form.paused}));
    ui.scheduler.dag_set_paused(&dag_id, form.paused).await?;
    Ok(Redirect::to(links::local(&form.next)).into_response())
}

#[derive(Deserialize)]
pub struct FavoriteForm {
    favorite: bool,
    #[serde(default)]
    next: String,
}

/// `POST /dags/{dag_id}/favorite`
pub async fn favorite(
    State(ui): State<UiState>,
    user: CurrentUser,
    Path(dag_id): Path<DagId>,
    Form(form): Form<FavoriteForm>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    if form.favorite {
        ui.store.dag_favorite_put(&user.username, &dag_id).await?;
    } else {
        ui.store.dag_favorite_delete(&user.username, &dag_id).await?;
    }
    Ok(Redirect::to(links::local(&form.next)).into_response())
}

/// `GET /dags/{dag_id}/delete`
pub async fn confirm_delete(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let base = links::dag(&dag_id);
    Ok(confirm(
        frame,
        Question {
            section: Section::Dags,
            crumbs: Crumbs::new([("/dags".to_owned(), "DAGs".to_owned()), (base.clone(), dag_id.to_string())]),
            text: format!("Delete {dag_id}?"),
            lines: vec![
                "Its runs, logs, XComs and artifacts are deleted with it. This can't be undone.".into(),
                "Its component stays; uploading it again brings the DAG back, without its history.".into(),
            ],
            action: format!("{base}/delete"),
            fields: Vec::new(),
            verb: "Delete",
            dangerous: true,
            back: base,
        },
    ))
}

/// `POST /dags/{dag_id}/delete`
pub async fn delete(State(ui): State<UiState>, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    ui.scheduler.dag_delete(&dag_id).await?;
    Ok(go_and_tell("/dags", &format!("{dag_id} was deleted.")))
}
