//! The runs of a dag.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use chrono_tz::Tz;
use serde::Deserialize;

use super::{super::failure, DagHead};
use crate::{
    model::{
        days::Day,
        ids::{DagId, RunId},
        state::RunState,
    },
    store::{BackfillId, DagRunFilter, DagRunOrder, DagRunRow, Order, Page, Range, Spans},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{Html, Lasting, Pager, State as StateView, When},
    },
};

const RUNS: u32 = 50;

#[derive(Template)]
#[template(path = "dag_runs.html")]
struct RunsView {
    shell: Shell,
    head: DagHead,
    chips: Vec<Chip>,
    filtered: bool,
    rows: Vec<RunLine>,
    pager: Pager,
}

/// A choice among filters.
pub struct Chip {
    pub label: Html,
    pub href: String,
    pub class: Option<String>,
    pub current: bool,
}

impl Chip {
    /// What is in a state; without one, in any.
    pub fn of_state(state: Option<impl Into<StateView>>, href: String, current: bool) -> Self {
        let view: Option<StateView> = state.map(Into::into);
        let label =
            view.map_or_else(|| Html::new().text("All"), |view| Html::new().markup(view.icon()).text(view.words()));
        Self { label, href, class: view.map(StateView::class), current }
    }
}

struct RunLine {
    run_id: RunId,
    href: String,
    state: StateView,
    logical_date: When,
    started: When,
    duration: Lasting,
    trigger: String,
    /// Why it failed.
    message: Html,
    note: String,
}

#[derive(Debug, Deserialize)]
pub struct RunsQuery {
    #[serde(default)]
    state: String,
    /// Those of this backfill.
    #[serde(default)]
    backfill: String,
    /// Those that were to start on this day: `2026-01-31`.
    #[serde(default)]
    day: String,
    #[serde(default)]
    offset: u32,
}

impl RunsQuery {
    /// The day that is asked for.
    fn day(&self, zone: Tz) -> Result<Option<Day>, UiError> {
        if self.day.is_empty() {
            return Ok(None);
        }
        let date = self.day.parse().map_err(|_| UiError::Invalid("a day is written as 2026-01-31".into()))?;
        Ok(Some(Day::new(date, zone)))
    }
}

/// The address of the page with these choices.
fn address(path: &str, state: &str, backfill: &str, day: &str, offset: &str) -> String {
    links::with_query(path, &[("state", state), ("backfill", backfill), ("day", day), ("offset", offset)])
}

/// `GET /dags/{dag_id}/runs`
pub async fn runs(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<RunsQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let zone = frame.zones(&dag.spec);
    let day = query.day(zone.shown)?;
    let filter = DagRunFilter {
        states: query.state.parse().into_iter().collect(),
        backfill: query.backfill.parse().ok().map(BackfillId),
        spans: Spans { run_after: day.map(Range::from).unwrap_or_default(), ..Spans::default() },
        // By what it is chosen by, so that an index serves.
        order_by: if day.is_some() { DagRunOrder::RunAfter } else { DagRunOrder::Key },
        order: Order::Descending,
        ..DagRunFilter::of_dag(dag_id.clone())
    };
    let listed = ui.store.dag_run_list(&filter, Page { limit: RUNS, offset: query.offset }).await?;
    let now = ui.clock.now();
    let mut reasons = failure::reasons(&ui, &listed.items).await?;
    let path = format!("{}/runs", links::dag(&dag_id));
    let rows: Vec<_> = listed
        .items
        .into_iter()
        .map(|run| RunLine {
            href: links::run(&dag_id, &run.run_id),
            state: run.state.into(),
            logical_date: When { at: run.logical_date, zone },
            started: When { at: run.start_date, zone },
            duration: Lasting::between(run.start_date, run.end_date, now),
            trigger: trigger_of(&run),
            message: reasons.remove(&run.key).unwrap_or_default(),
            note: run.note.unwrap_or_default(),
            run_id: run.run_id,
        })
        .collect();
    let chip = |state: Option<RunState>| {
        let name = state.map_or("", RunState::as_str);
        Chip::of_state(state, address(&path, name, &query.backfill, &query.day, ""), query.state == name)
    };
    let offset = usize::try_from(query.offset).unwrap_or(0);
    let page_at = |at: usize| address(&path, &query.state, &query.backfill, &query.day, &at.to_string());
    let mut chips: Vec<_> = std::iter::once(None).chain(RunState::ALL.iter().copied().map(Some)).map(chip).collect();
    let without =
        |label: String, href: String| Chip { label: Html::new().text(label), href, class: None, current: true };
    if let Some(backfill) = filter.backfill {
        let href = address(&path, &query.state, "", &query.day, "");
        chips.push(without(format!("of backfill {} ✕", backfill.0), href));
    }
    if let Some(day) = day {
        let href = address(&path, &query.state, &query.backfill, "", "");
        chips.push(without(format!("of {} in {} ✕", day.date, zone.shown), href));
    }
    let events = links::with_query("/ui/events", &[("dag", dag_id.as_str())]);
    let shell = frame.shell(Section::Dags, "dag-runs", format!("{dag_id} runs")).live(events);
    Ok(page(&RunsView {
        head: DagHead::new(&ui, &dag, "runs", &shell, zone).await?,
        shell,
        chips,
        filtered: !query.state.is_empty() || filter.backfill.is_some() || day.is_some(),
        pager: Pager::new(offset, RUNS as usize, rows.len(), listed.total, page_at),
        rows,
    }))
}

/// What made a run, in words.
pub fn trigger_of(run: &DagRunRow) -> String {
    match &run.triggering_user {
        Some(user) => format!("{} by {user} ({})", run.run_type.as_str(), run.triggered_by),
        None => format!("{} ({})", run.run_type.as_str(), run.triggered_by),
    }
}
