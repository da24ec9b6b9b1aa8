//! Machines that run task instances.

use axum::{
    Form,
    extract::{Query, State},
    response::Response,
};
use serde_json::{Value, json};

use super::settings::{Deed, KeyQuery, ListLine, ListQuery, ListView};
use crate::{
    auth::Audit,
    model::role::Permission,
    ui::{
        UiState,
        error::UiError,
        shell::{Frame, Section, go_and_tell, page},
        show::told,
    },
};

const PATH: &str = "/workers";
const DRAIN: Deed = Deed {
    action: "/workers/drain",
    label: "Drain",
    title: "Give it no more attempts; it leaves when it has ended those that it has",
};

/// `GET /workers`
pub async fn list(State(ui): State<UiState>, frame: Frame, Query(query): Query<ListQuery>) -> Response {
    let load = ui.scheduler.workload(None);
    let zone = frame.zones_of_none().shown;
    let (limit, offset) = (query.page().limit as usize, query.page().offset as usize);
    let total = i64::try_from(load.workers.len()).unwrap_or(i64::MAX);
    let rows: Vec<_> = load
        .workers
        .into_iter()
        .skip(offset)
        .take(limit)
        .map(|worker| {
            let state = if worker.is_draining { "draining" } else { "working" };
            let running = format!("{} of {}", worker.running, worker.slots);
            let since = told(worker.connected_at, zone);
            let cells = vec![worker.name.clone(), worker.queues, running, state.to_owned(), since];
            let deed = (!worker.is_draining).then_some(DRAIN);
            ListLine { key: worker.name, cells, edit_href: None, delete_href: None, deed }
        })
        .collect();
    let view = ListView {
        shell: frame.shell(Section::Workers, "workers", "Workers"),
        heading: "Workers",
        about: "Machines that run task instances of their queues for this server.",
        empty: "Start one with `airlock serve --worker`, or let this server run the tasks itself.",
        new: None,
        permission: Some(Permission::PoolWrite),
        columns: vec!["Name", "Queues", "Running", "State", "Connected"],
        pager: query.pager(PATH, rows.len(), total),
        beside: Vec::new(),
        rows,
    };
    page(&view.offered())
}

/// `POST /workers/drain`
pub async fn drain(State(ui): State<UiState>, audit: Audit, Form(form): Form<KeyQuery>) -> Result<Response, UiError> {
    if !ui.scheduler.drain_worker(&form.key) {
        return Err(UiError::NotFound(format!("there is no worker `{}`", form.key)));
    }
    audit.change(&form.key, &Value::Null, &json!({ "is_draining": true }));
    Ok(go_and_tell(PATH, &format!("Worker {} gets no more attempts.", form.key)))
}
