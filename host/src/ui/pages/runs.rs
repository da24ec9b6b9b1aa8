//! The runs of all dags, the newest first: what goes on, and what went wrong. Airflow: Dag Runs.

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::Deserialize;

use super::{
    dag::{Chip, trigger_of},
    failure,
};
use crate::{
    api::{extract::pattern, permit::Scoped},
    model::{
        dag_access::DagSet,
        ids::{DagId, RunId},
        state::RunState,
    },
    store::{DagFilter, DagRunFilter, DagRunOrder, DagRunRow, Order, Page},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{Html, Lasting, Pager, State as StateView, When},
    },
};

const ROWS: u32 = 50;
/// Dags whose runs are listed, if a name is looked for.
pub const NAMED: u32 = 100;

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsView {
    shell: Shell,
    chips: Vec<Chip>,
    state: String,
    q: String,
    filtered: bool,
    /// How many dags' runs are listed, if the name of more fits.
    at_most: Option<u32>,
    rows: Vec<RunLine>,
    pager: Pager,
}

struct RunLine {
    dag_id: DagId,
    dag_href: String,
    run_id: RunId,
    href: String,
    state: StateView,
    started: When,
    duration: Lasting,
    trigger: String,
    message: Html,
}

#[derive(Debug, Deserialize)]
pub struct RunsQuery {
    #[serde(default)]
    state: String,
    /// What the dag's name holds.
    #[serde(default)]
    q: String,
    #[serde(default)]
    offset: u32,
}

/// The first of `seen` whose id or name holds `q`, and whether there are more. Runs and their task instances are then found by the
/// ids of their dags: they are not searched for a name.
pub async fn named(ui: &UiState, seen: &DagSet, q: &str) -> Result<(DagSet, bool), UiError> {
    if q.is_empty() {
        return Ok((seen.clone(), false));
    }
    let filter = DagFilter {
        dags: seen.clone(),
        dag_id_or_name: pattern(Some(q), None).map_err(|error| UiError::Invalid(error.said()))?,
        ..DagFilter::default()
    };
    let found = ui.store.dag_list(&filter, Page::first(NAMED)).await?;
    Ok((found.items.into_iter().map(|dag| dag.dag_id).collect(), found.total > i64::from(NAMED)))
}

/// `GET /runs`
pub async fn list(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Query(query): Query<RunsQuery>,
) -> Result<Response, UiError> {
    let (dags, is_cut) = named(&ui, scope.seen(), &query.q).await?;
    let filter = DagRunFilter {
        dags,
        states: query.state.parse().into_iter().collect(),
        order_by: DagRunOrder::Key,
        order: Order::Descending,
        ..DagRunFilter::default()
    };
    let listed = ui.store.dag_run_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let (now, zone) = (ui.clock.now(), frame.zones_of_none());
    let mut reasons = failure::reasons(&ui, &listed.items).await?;
    let line = |run: DagRunRow| RunLine {
        dag_href: links::dag(&run.dag_id),
        href: links::run(&run.dag_id, &run.run_id),
        state: run.state.into(),
        started: When { at: run.start_date, zone },
        duration: Lasting::between(run.start_date, run.end_date, now),
        trigger: trigger_of(&run),
        message: reasons.remove(&run.key).unwrap_or_default(),
        dag_id: run.dag_id,
        run_id: run.run_id,
    };
    let rows: Vec<_> = listed.items.into_iter().map(line).collect();
    let address = |state: &str, offset: &str| {
        links::with_query("/runs", &[("state", state), ("q", &query.q), ("offset", offset)])
    };
    let chip = |state: Option<RunState>| {
        let name = state.map_or("", RunState::as_str);
        Chip::of_state(state, address(name, ""), query.state == name)
    };
    let chips = std::iter::once(None).chain(RunState::ALL.iter().copied().map(Some)).map(chip).collect();
    let pager = Pager::new(query.offset as usize, ROWS as usize, rows.len(), listed.total, |at| {
        address(&query.state, &at.to_string())
    });
    Ok(page(&RunsView {
        shell: frame.shell(Section::Runs, "runs", "Runs").live("/ui/events".into()),
        chips,
        filtered: !query.state.is_empty() || !query.q.is_empty(),
        at_most: is_cut.then_some(NAMED),
        state: query.state,
        q: query.q,
        rows,
        pager,
    }))
}
