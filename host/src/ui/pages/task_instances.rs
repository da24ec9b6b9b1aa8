//! The task instances of all dags, those of the newest run first: what runs, waits and failed anywhere. Airflow: Task Instances.

use askama::Template;
use axum::{
    extract::{Query, State},
    response::Response,
};
use chrono_tz::Tz;
use serde::Deserialize;

use super::{
    dag::Chip,
    run::{label, shortened, tries},
    runs::{NAMED, named},
};
use crate::{
    api::permit::Scoped,
    model::{
        days::Day,
        ids::{DagId, PoolName, RunId, TaskId},
        state::TaskState,
    },
    store::{DagRunKey, FoundInstances, Order, Place, Range, Spans, TaskInstanceFilter, TaskInstanceRow, Walk as _},
    ui::{
        UiState, doc,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{Html, Lasting, State as StateView, Wait, When},
    },
};

const ROWS: u32 = 50;
pub const PATH: &str = "/task-instances";
/// What the address calls all states of what goes on: those that hold slots or wait for some.
pub const ACTIVE: &str = "active";

#[derive(Template)]
#[template(path = "task_instances.html")]
struct TaskInstancesView {
    shell: Shell,
    chips: Vec<Chip>,
    asked: TaskInstancesQuery,
    filtered: bool,
    /// How many dags' task instances are listed, if the name of more fits.
    at_most: Option<u32>,
    rows: Vec<InstanceLine>,
    /// The first page, where another is shown.
    newest: Option<String>,
    next: Option<String>,
    /// How far it was looked, if there may be more that fit.
    reached: Html,
}

struct InstanceLine {
    key: String,
    label: String,
    href: String,
    state: StateView,
    dag_id: DagId,
    dag_href: String,
    run_id: RunId,
    run_href: String,
    tries: String,
    started: When,
    duration: Lasting,
    pool: String,
    wait: Wait,
    message: Html,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TaskInstancesQuery {
    state: String,
    /// What the dag's name holds.
    q: String,
    task: String,
    pool: String,
    /// Those that started on this day: `2026-01-31`.
    day: String,
    /// The page's place in the list, as JSON.
    after: String,
}

impl TaskInstancesQuery {
    fn address(&self, state: &str, after: &str) -> String {
        let rest = [("q", &self.q), ("task", &self.task), ("pool", &self.pool), ("day", &self.day)];
        let rest = rest.map(|(name, value)| (name, value.trim()));
        let all: Vec<_> = [("state", state)].into_iter().chain(rest).chain([("after", after)]).collect();
        links::with_query(PATH, &all)
    }

    /// What the address asks for, of all dags; none: nothing can be called as it says.
    fn filter(&self, zone: Tz) -> Result<Option<TaskInstanceFilter>, UiError> {
        let (task, pool) = (self.task.trim(), self.pool.trim());
        let mut filter = TaskInstanceFilter {
            states: if self.state == ACTIVE {
                TaskInstanceFilter::ACTIVE.to_vec()
            } else {
                self.state.parse().into_iter().collect()
            },
            order: Order::Descending,
            ..TaskInstanceFilter::default()
        };
        if !task.is_empty() {
            let Ok(task_id) = TaskId::new(task) else { return Ok(None) };
            filter.task_ids = vec![task_id];
        }
        if !pool.is_empty() {
            let Ok(pool) = PoolName::new(pool) else { return Ok(None) };
            filter.pools = vec![pool];
        }
        if !self.day.is_empty() {
            let date = self.day.parse().map_err(|_| UiError::Invalid("a day is written as 2026-01-31".into()))?;
            filter.spans = Spans { start_date: Range::from(Day::new(date, zone)), ..Spans::default() };
        }
        if !self.after.is_empty() {
            let place: Option<Place> = serde_json::from_str(&self.after).ok();
            let place = place.filter(|place| filter.has_place(place));
            let unknown =
                || UiError::Invalid("the address names no place in this list; begin with its first page".into());
            filter.after = Some(place.ok_or_else(unknown)?);
        }
        Ok(Some(filter))
    }
}

/// How far it was looked, in words.
async fn told(ui: &UiState, reached: Option<DagRunKey>) -> Result<Html, UiError> {
    let Some(key) = reached else { return Ok(Html::new()) };
    let told = Html::new().text("Looked as far back as ");
    Ok(match ui.store.dag_run_get_by_key(key).await? {
        Some(run) => {
            let href = links::run(&run.dag_id, &run.run_id);
            told.text("run ").link(&href, &run.run_id).text(format_args!(" of {}", run.dag_id))
        }
        None => told.text("a run that was deleted since"),
    })
}

/// `GET /task-instances`
pub async fn list(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    frame: Frame,
    Query(asked): Query<TaskInstancesQuery>,
) -> Result<Response, UiError> {
    let (now, zone) = (ui.clock.now(), frame.zones_of_none());
    let (dags, is_cut) = named(&ui, scope.seen(), asked.q.trim()).await?;
    let found = match asked.filter(zone.shown)? {
        Some(filter) => ui.store.task_instance_search(&TaskInstanceFilter { dags, ..filter }, ROWS).await?,
        None => FoundInstances::default(),
    };
    let line = |row: TaskInstanceRow| InstanceLine {
        key: format!("{} {} {} {}", row.dag_id, row.run_id, row.task_id, row.map_index),
        label: label(&row.task_id, row.map_index, row.rendered_map_index.as_deref()),
        href: links::task(&row.dag_id, &row.run_id, &row.task_id, row.map_index),
        state: row.state.into(),
        dag_href: links::dag(&row.dag_id),
        run_href: links::run(&row.dag_id, &row.run_id),
        tries: if row.try_number > 0 { format!("{}/{}", row.try_number, tries(&row)) } else { String::new() },
        started: When { at: row.start_date, zone },
        duration: Lasting::between(row.start_date, row.end_date, now),
        wait: Wait::of(&row, zone, now),
        message: doc::line(&shortened(row.message.as_deref().unwrap_or_default())),
        dag_id: row.dag_id,
        run_id: row.run_id,
        pool: row.pool,
    };
    let chip = |state: Option<TaskState>| {
        let name = state.map_or("", TaskState::as_str);
        Chip::of_state(state, asked.address(name, ""), asked.state == name)
    };
    let mut chips: Vec<_> = std::iter::once(None).chain(TaskState::ALL.iter().copied().map(Some)).map(chip).collect();
    let active = Chip {
        label: Html::new().text("Waiting or running"),
        href: asked.address(ACTIVE, ""),
        class: None,
        current: asked.state == ACTIVE,
    };
    chips.insert(1, active);
    let next = found.next.as_ref().map(|place| asked.address(&asked.state, &serde_json::json!(place).to_string()));
    Ok(page(&TaskInstancesView {
        shell: frame.shell(Section::Runs, "task-instances", "Task Instances").live("/ui/events?of=tasks".into()),
        chips,
        filtered: asked.address(&asked.state, "") != PATH,
        at_most: is_cut.then_some(NAMED),
        newest: (!asked.after.is_empty()).then(|| asked.address(&asked.state, "")),
        next,
        reached: told(&ui, found.reached).await?,
        rows: found.items.into_iter().map(line).collect(),
        asked,
    }))
}
