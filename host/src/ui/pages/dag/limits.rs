//! What the attempts of a dag may have together.

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
        limits::{DagLimits, Resource},
    },
    scheduler::LimitsSeen,
    ui::{
        UiState,
        error::UiError,
        links,
        pages::{
            run::crumbs,
            settings::{FormView, SettingField, SettingKind},
        },
        shell::{Frame, Section, go_and_tell, page, page_with},
        show::grouped,
    },
};

/// What holds, and what of it was had today, in words.
pub(super) fn words(seen: &LimitsSeen) -> String {
    let memory = seen.effective.memory_mib().map(|mib| format!("{} MiB of memory at a time", grouped(mib as usize)));
    let by_day = Resource::ALL.into_iter().filter_map(|resource| {
        let limit = seen.effective.per_day(resource)?;
        let used = usize::try_from(seen.spent.of(resource) / resource.unit()).unwrap_or(usize::MAX);
        Some(format!("{} of {} {} today", grouped(used), grouped(limit as usize), resource.words()))
    });
    let all: Vec<_> = memory.into_iter().chain(by_day).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// What is typed; empty: what the server's settings say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LimitsForm {
    memory_mib: String,
    cpu_seconds_per_day: String,
    log_mib_per_day: String,
    data_mib_per_day: String,
    network_mib_per_day: String,
    host_calls_per_day: String,
}

const MEMORY: &str = "Memory at a time, MiB";
const CPU: &str = "CPU time a day, seconds";
const LOGS: &str = "Logs a day, MiB";
const DATA: &str = "Artifacts and XComs a day, MiB";
const NETWORK: &str = "Network a day, MiB";
const CALLS: &str = "Host calls a day";

impl LimitsForm {
    fn of(said: DagLimits) -> Self {
        let text = |limit: Option<u32>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        Self {
            memory_mib: text(said.memory_mib),
            cpu_seconds_per_day: text(said.cpu_seconds_per_day),
            log_mib_per_day: text(said.log_mib_per_day),
            data_mib_per_day: text(said.data_mib_per_day),
            network_mib_per_day: text(said.network_mib_per_day),
            host_calls_per_day: text(said.host_calls_per_day),
        }
    }

    fn read(&self) -> Result<DagLimits, String> {
        let number = |label: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("“{label}” must be a number: 0, 1, 2, ...")),
        };
        let said = DagLimits {
            memory_mib: number(MEMORY, &self.memory_mib)?,
            cpu_seconds_per_day: number(CPU, &self.cpu_seconds_per_day)?,
            log_mib_per_day: number(LOGS, &self.log_mib_per_day)?,
            data_mib_per_day: number(DATA, &self.data_mib_per_day)?,
            network_mib_per_day: number(NETWORK, &self.network_mib_per_day)?,
            host_calls_per_day: number(CALLS, &self.host_calls_per_day)?,
        };
        said.check().map_err(|error| error.to_string())?;
        Ok(said)
    }
}

fn form(frame: Frame, dag_id: &DagId, typed: LimitsForm, error: Option<String>) -> FormView {
    let heading = format!("Limits of {dag_id}");
    let field = |name, label, value: String, help| SettingField::new(SettingKind::Text, name, label, value).help(help);
    FormView {
        shell: frame.shell(Section::Dags, "dag-limits", heading.clone()),
        crumbs: crumbs(dag_id, None),
        heading,
        error,
        action: format!("{}/limits", links::dag(dag_id)).into(),
        fields: vec![
            field(
                "memory_mib",
                MEMORY,
                typed.memory_mib,
                "Of all attempts of the dag; the others wait. 0: any; empty: as the server's settings say. So are those below.",
            ),
            field("cpu_seconds_per_day", CPU, typed.cpu_seconds_per_day, "Above it attempts fail. Days are of UTC."),
            field("log_mib_per_day", LOGS, typed.log_mib_per_day, "What is above is dropped."),
            field("data_mib_per_day", DATA, typed.data_mib_per_day, "What is above is refused."),
            field("network_mib_per_day", NETWORK, typed.network_mib_per_day, "What is above is refused."),
            field("host_calls_per_day", CALLS, typed.host_calls_per_day, "What is above is refused."),
        ],
        back: format!("{}/details", links::dag(dag_id)).into(),
    }
}

/// `GET /dags/{dag_id}/limits`
pub async fn edit(State(ui): State<UiState>, frame: Frame, Path(dag_id): Path<DagId>) -> Result<Response, UiError> {
    ui.dag(&dag_id).await?;
    let said = ui.store.dag_limits_get(&dag_id).await?;
    Ok(page(&form(frame, &dag_id, LimitsForm::of(said), None)))
}

/// `POST /dags/{dag_id}/limits`
pub async fn save(
    State(ui): State<UiState>,
    audit: Audit,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Form(typed): Form<LimitsForm>,
) -> Result<Response, UiError> {
    let said = match typed.read() {
        Ok(said) => said,
        Err(error) => {
            return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &form(frame, &dag_id, typed, Some(error))));
        }
    };
    let before = ui.store.dag_limits_get(&dag_id).await?;
    audit.change(dag_id.as_str(), &json!(before), &json!(said));
    ui.scheduler.dag_set_limits(&dag_id, &said).await?;
    Ok(go_and_tell(&format!("{}/details", links::dag(&dag_id)), "The limits were changed."))
}
