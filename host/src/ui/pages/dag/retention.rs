//! How long history of a dag is kept.

use std::num::NonZeroU32;

use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    auth::Audit,
    model::{
        ids::DagId,
        retention::{DagRetention, Retention},
    },
    ui::{
        UiState,
        error::UiError,
        links,
        pages::{
            run::crumbs,
            settings::{FormView, SettingField, SettingKind},
        },
        shell::{Frame, Section, go_and_tell, page, page_with},
    },
};

/// How long runs are kept, in words.
pub(super) fn runs(retention: Retention) -> String {
    let days = retention.runs_days.map(|days| format!("for {days} days"));
    let count = retention.runs_count.map(|count| format!("the last {count}"));
    match (days, count) {
        (None, None) => "for ever".to_owned(),
        (Some(days), Some(count)) => format!("{days}, {count} at most"),
        (days, count) => days.or(count).unwrap_or_default(),
    }
}

/// How long logs are kept, in words.
pub(super) fn logs(retention: Retention) -> String {
    as_long_as(retention.logs_days)
}

/// How long XComs and artifacts are kept, in words.
pub(super) fn data(retention: Retention) -> String {
    as_long_as(retention.data_days)
}

fn as_long_as(days: Option<NonZeroU32>) -> String {
    days.map_or_else(|| "as long as their run".to_owned(), |days| format!("for {days} days"))
}

/// What is typed; empty: what the server's settings say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RetentionForm {
    runs_days: String,
    runs_count: String,
    logs_days: String,
    data_days: String,
}

impl RetentionForm {
    fn of(said: &DagRetention) -> Self {
        let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
        Self {
            runs_days: text(said.runs_days),
            runs_count: text(said.runs_count),
            logs_days: text(said.logs_days),
            data_days: text(said.data_days),
        }
    }

    fn read(&self) -> Result<DagRetention, String> {
        let number = |label: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("{label} must be a number: 0, 1, 2, ...")),
        };
        let said = DagRetention {
            runs_days: number("“Keep runs for days”", &self.runs_days)?,
            runs_count: number("“Keep so many runs”", &self.runs_count)?,
            logs_days: number("“Keep logs for days”", &self.logs_days)?,
            data_days: number("“Keep XComs and artifacts for days”", &self.data_days)?,
        };
        said.check().map_err(|error| error.to_string())?;
        Ok(said)
    }
}

fn form(frame: Frame, dag_id: &DagId, typed: RetentionForm, error: Option<String>) -> FormView {
    let heading = format!("Retention of {dag_id}");
    let field = |name, label, value: String| SettingField::new(SettingKind::Text, name, label, value);
    FormView {
        shell: frame.shell(Section::Dags, "dag-retention", heading.clone()),
        crumbs: crumbs(dag_id, None),
        heading,
        error,
        action: format!("{}/retention", links::dag(dag_id)).into(),
        fields: vec![
            field("runs_days", "Keep runs for days", typed.runs_days)
                .help("After their end. 0: for ever; empty: as the server's settings say."),
            field("runs_count", "Keep so many runs", typed.runs_count)
                .help("Finished ones, those that ended last. 0: all; empty: as the server's settings say."),
            field("logs_days", "Keep logs for days", typed.logs_days).help(
                "And recordings, after the end of their run. 0: as long as their run; empty: as the server's settings say.",
            ),
            field("data_days", "Keep XComs and artifacts for days", typed.data_days)
                .help("After the end of their run. 0: as long as their run; empty: as the server's settings say."),
        ],
        back: format!("{}/details", links::dag(dag_id)).into(),
    }
}

/// `GET /dags/{dag_id}/retention`
pub async fn edit(State(ui): State<UiState>, frame: Frame, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let said = ui.store.dag_retention_get(&dag_id).await?;
    Ok(page(&form(frame, &dag_id, RetentionForm::of(&said), None)))
}

/// `POST /dags/{dag_id}/retention`
pub async fn save(
    State(ui): State<UiState>,
    audit: Audit,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Form(typed): Form<RetentionForm>,
) -> Result<Response, UiError> {
    let said = match typed.read() {
        Ok(said) => said,
        Err(error) => {
            return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &form(frame, &dag_id, typed, Some(error))));
        }
    };
    let before = ui.store.dag_retention_get(&dag_id).await?;
    audit.change(dag_id.as_str(), &json!(before), &json!(said));
    ui.scheduler.dag_set_retention(&dag_id, &said).await?;
    Ok(go_and_tell(&format!("{}/details", links::dag(&dag_id)), "The retention was changed."))
}
