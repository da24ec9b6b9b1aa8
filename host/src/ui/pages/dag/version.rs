//! A version of a dag: what it changed, and the way back to it.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    auth::CurrentUser,
    model::{
        dag::{Difference, differences, is_other_code},
        ids::DagId,
    },
    store::DagVersionRow,
    ui::{
        UiState,
        error::UiError,
        links,
        pages::run::crumbs,
        shell::{Frame, Section, Shell, go_and_tell, page},
        show::{Crumbs, When},
    },
};

/// Lines at most; the API has the others.
const MOST: usize = 1_000;

#[derive(Template)]
#[template(path = "dag_version.html")]
struct VersionView {
    shell: Shell,
    crumbs: Crumbs,
    number: i64,
    at: When,
    /// The version that it is compared with; none: it is the first.
    since: Option<i64>,
    others: Vec<(i64, String)>,
    component_changed: bool,
    lines: Vec<Line>,
    more: usize,
    /// Where it is made the newest again; none: it is the newest.
    roll_back_href: Option<String>,
}

struct Line {
    of: String,
    field: String,
    before: String,
    after: String,
}

#[derive(Debug, Default, Deserialize)]
pub struct VersionQuery {
    since: Option<i64>,
}

/// `GET /dags/{dag_id}/versions/{number}`
pub async fn show(
    State(ui): State<UiState>,
    frame: Frame,
    Path((dag_id, number)): Path<(DagId, i64)>,
    Query(query): Query<VersionQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let version = find(&ui, &dag_id, number).await?;
    let before = match query.since.unwrap_or(number - 1) {
        0 => None,
        since => Some(find(&ui, &dag_id, since).await?),
    };
    let found = before.as_ref().map(|before| differences(&before.spec, &version.spec)).unwrap_or_default();
    let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    let base = links::dag_version(&dag_id, number);
    let at = When { at: Some(version.created_at), zone: frame.zones(&version.spec) };
    let numbers = (1..=dag.version_number).rev().filter(|other| *other != number).take(20);
    Ok(page(&VersionView {
        shell: frame.shell(Section::Dags, "dag-version", format!("Version {number} of {dag_id}")),
        crumbs: crumbs(&dag_id, None),
        number,
        at,
        since: before.as_ref().map(|before| before.version_number),
        others: numbers.map(|other| (other, format!("{base}?since={other}"))).collect(),
        component_changed: before
            .is_some_and(|before| is_other_code(before.component, version.component, &version.spec)),
        more: found.len().saturating_sub(MOST),
        lines: found
            .iter()
            .take(MOST)
            .map(|Difference { of, field, before, after }| {
                let whole = if before.is_some() { "gone" } else { "new" };
                // Of an edge there is no more to say.
                let of_edge = |value: &Option<Value>| field.is_none() && *value == Some(Value::Bool(true));
                let said = |value| if of_edge(value) { String::new() } else { text(value) };
                Line {
                    of: of.clone(),
                    field: field.clone().unwrap_or_else(|| whole.to_owned()),
                    before: said(before),
                    after: said(after),
                }
            })
            .collect(),
        roll_back_href: (number != dag.version_number).then(|| format!("{base}/roll-back")),
    }))
}

async fn find(ui: &UiState, dag_id: &DagId, number: i64) -> Result<DagVersionRow, UiError> {
    let found = ui.store.dag_version_numbered(dag_id, number).await?;
    found.ok_or_else(|| UiError::NotFound(format!("dag `{dag_id}` has no version {number}")))
}

/// `POST /dags/{dag_id}/versions/{number}/roll-back`
pub async fn roll_back(
    State(ui): State<UiState>,
    user: CurrentUser,
    Path((dag_id, number)): Path<(DagId, i64)>,
) -> Result<Response, UiError> {
    let rolled = ui.scheduler.dag_roll_back(&dag_id, number, &user.uploader()).await?;
    let told = format!("Version {number} is the newest again, as version {}.", rolled.version_number);
    Ok(go_and_tell(&links::dag_version(&dag_id, rolled.version_number), &told))
}
