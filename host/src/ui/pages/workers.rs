//! Machines that run task instances.

use std::collections::BTreeSet;

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
    scheduler::{Fleet, Pod, PodState, Worker, Workload},
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
    let Workload { workers, fleets, .. } = load;
    let lines = fleets.iter().map(fleet_line);
    let connected: BTreeSet<_> = workers.iter().map(|worker| worker.name.as_str()).collect();
    let others = fleets.iter().flat_map(|fleet| {
        let pods = fleet.pods.iter().filter(|pod| !connected.contains(pod.name.as_str()));
        pods.map(|pod| pod_line(fleet, pod, told(pod.created_at, zone)))
    });
    let lines = lines.chain(workers.iter().map(|worker| worker_line(worker, told(worker.connected_at, zone))));
    let lines: Vec<_> = lines.chain(others).collect();
    let total = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    let rows: Vec<_> = lines.into_iter().skip(offset).take(limit).collect();
    let view = ListView {
        shell: frame.shell(Section::Workers, "workers", "Workers").live("/ui/events?of=tasks".into()),
        heading: "Workers".into(),
        about: "Machines and pods that run task instances of their queues for this server.",
        empty: "Start one with `airlock serve --worker`, or let this server run the tasks itself.",
        new: None,
        permission: Some(Permission::PoolWrite),
        columns: vec!["Name", "Queues", "Running", "Memory", "State", "Since"],
        pager: query.pager(PATH, rows.len(), total),
        beside: Vec::new(),
        rows,
    };
    page(&view.offered())
}

fn line(cells: [String; 6], deed: Option<Deed>) -> ListLine {
    ListLine { key: cells[0].clone(), cells: cells.into(), more: None, edit_href: None, delete_href: None, deed }
}

fn worker_line(worker: &Worker, since: String) -> ListLine {
    let state = if worker.is_draining { "draining" } else { "working" };
    let running = format!("{} of {}", worker.running, worker.slots);
    let memory = match worker.memory_mib {
        Some(mib) => format!("{} of {mib} MiB", worker.running_memory_mib),
        None => format!("{} MiB", worker.running_memory_mib),
    };
    let deed = (!worker.is_draining).then_some(DRAIN);
    line([worker.name.clone(), worker.queues.clone(), running, memory, state.to_owned(), since], deed)
}

/// A fleet, and what is wrong with it.
fn fleet_line(fleet: &Fleet) -> ListLine {
    let pods = fleet.pods.iter().filter(|pod| pod.state != PodState::Ended).count();
    let pods = format!("{pods} of {} pods", fleet.max);
    let is_stuck = fleet.pods.iter().any(|pod| pod.state == PodState::Starting && pod.trouble.is_some());
    let state = match fleet.trouble.as_deref() {
        Some(trouble) => trouble,
        None if fleet.max == 0 => "its pods leave: the settings name it no more",
        None if is_stuck => "pods can't start",
        None => "as it should be",
    };
    let queue = if fleet.max == 0 { String::new() } else { fleet.queue.to_string() };
    line([format!("fleet {}", fleet.name), queue, pods, String::new(), state.to_owned(), String::new()], None)
}

/// A pod whose worker is not here.
fn pod_line(fleet: &Fleet, pod: &Pod, since: String) -> ListLine {
    let state = match pod.state {
        PodState::Starting | PodState::Running => "starting",
        PodState::Leaving => "leaving",
        PodState::Ended => "ended",
    };
    let state = match &pod.trouble {
        Some(trouble) if pod.state == PodState::Starting => trouble.clone(),
        Some(trouble) => format!("{state}: it {trouble}"),
        None => state.to_owned(),
    };
    line([pod.name.clone(), fleet.queue.to_string(), String::new(), String::new(), state, since], None)
}

/// `POST /workers/drain`
pub async fn drain(State(ui): State<UiState>, audit: Audit, Form(form): Form<KeyQuery>) -> Result<Response, UiError> {
    if !ui.scheduler.drain_worker(&form.key) {
        return Err(UiError::NotFound(format!("there is no worker `{}`", form.key)));
    }
    audit.change(&form.key, &Value::Null, &json!({ "is_draining": true }));
    Ok(go_and_tell(PATH, &format!("Worker {} gets no more attempts.", form.key)))
}
