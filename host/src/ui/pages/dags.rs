//! The list of dags.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use askama::{Template, filters::HtmlSafe};
use axum::{
    extract::{Query, State},
    response::Response,
};
use futures_util::future::join_all;
use serde::Deserialize;

use crate::{
    api::{extract::pattern, permit::Scoped},
    auth::CurrentUser,
    model::{
        ids::DagId,
        role::Permission,
        spec::ScheduleSpec,
        state::{RunState, RunType},
        time::Timestamp,
    },
    store::{DagFilter, DagRow, DagRunRow, LastRunFilter, Page},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{self, Pager, Span, State as StateView, When, Zones, escape},
    },
};

const ROWS: u32 = 50;
/// Runs whose bars are shown.
const BARS: u32 = 14;

#[derive(Template)]
#[template(path = "dags.html")]
struct DagsView {
    shell: Shell,
    q: String,
    tag: String,
    paused: String,
    /// The state of the last run, and all that can be chosen.
    last: String,
    /// Whether only favorites are shown.
    favorites: bool,
    states: Vec<(&'static str, String)>,
    without_tag: String,
    filtered: bool,
    rows: Vec<DagLine>,
    pager: Pager,
}

struct DagLine {
    dag_id: DagId,
    /// What people call it, if that is not its id.
    display_name: Option<String>,
    href: String,
    description: Option<String>,
    is_paused: bool,
    switch: Switch,
    star: Star,
    may_pause: bool,
    may_trigger: bool,
    tags: Vec<Tag>,
    schedule: String,
    zone: Option<String>,
    bars: Bars,
    last: Option<LastRun>,
    next: Option<When>,
    trigger_href: String,
    /// What it asks to reach and waits for an admin, and where that stands; none: nothing waits.
    waiting: Option<(usize, String)>,
}

/// A tag and the dags that have it.
pub struct Tag {
    pub name: String,
    pub href: String,
}

impl Tag {
    pub fn all(names: &[String]) -> Vec<Self> {
        let tag = |name: &String| Self { href: links::with_query("/dags", &[("tag", name)]), name: name.clone() };
        names.iter().map(tag).collect()
    }
}

struct LastRun {
    href: String,
    state: StateView,
    at: When,
}

/// Pauses a dag, or lets it go on.
pub struct Switch {
    pub dag_id: DagId,
    pub is_paused: bool,
    /// The page to come back to.
    pub next: String,
    pub labelled: bool,
}

impl Display for Switch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let label = match (self.labelled, self.is_paused) {
            (false, _) => "",
            (true, true) => "paused",
            (true, false) => "active",
        };
        write!(
            f,
            "<form method=\"post\" action=\"{}/pause\"><input type=\"hidden\" name=\"next\" value=\"{}\">\
             <button class=\"switch\" role=\"switch\" aria-checked=\"{}\" name=\"paused\" value=\"{}\" \
             aria-label=\"{} is active\" data-action=\"pause\"><span class=\"track\"></span>{label}</button></form>",
            escape(&links::dag(&self.dag_id)),
            escape(&self.next),
            !self.is_paused,
            !self.is_paused,
            escape(self.dag_id.as_str()),
        )
    }
}

impl HtmlSafe for Switch {}

/// Marks a dag for whoever looks, or takes the mark off.
pub struct Star {
    pub dag_id: DagId,
    pub is_favorite: bool,
    /// The page to come back to.
    pub next: String,
}

impl Display for Star {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<form method=\"post\" action=\"{}/favorite\"><input type=\"hidden\" name=\"next\" value=\"{}\">\
             <button class=\"bare star\" aria-pressed=\"{}\" name=\"favorite\" value=\"{}\" \
             aria-label=\"{} is a favorite\" title=\"Favorite\" data-action=\"favorite\">{}</button></form>",
            escape(&links::dag(&self.dag_id)),
            escape(&self.next),
            self.is_favorite,
            !self.is_favorite,
            escape(self.dag_id.as_str()),
            if self.is_favorite { "★" } else { "☆" },
        )
    }
}

impl HtmlSafe for Star {}

/// Recent runs as bars: as high as they took long, coloured by state.
struct Bars(Vec<Bar>);

struct Bar {
    href: String,
    told: String,
    state: StateView,
    /// 3 to 26.
    height: u32,
}

impl Bars {
    /// Of runs, newest first.
    fn new(runs: &[DagRunRow], now: Timestamp) -> Self {
        let span = |run: &DagRunRow| Span::between(run.start_date, run.end_date, now);
        // By what is over: a run that has hung for days must not flatten the others.
        let over = runs.iter().filter(|run| run.end_date.is_some()).filter_map(|run| span(run).0).max();
        let longest = over.unwrap_or_default().as_secs_f64();
        let bar = |run: &DagRunRow| Bar {
            href: links::run(&run.dag_id, &run.run_id),
            told: format!("{}, {}, {}", run.run_id, run.state, span(run)),
            state: run.state.into(),
            height: bar_height(span(run).0.unwrap_or_default().as_secs_f64(), longest),
        };
        Self(runs.iter().rev().map(bar).collect())
    }
}

/// 3 to 26, by the square root, so that short ones are still told apart beside a long one.
fn bar_height(seconds: f64, longest: f64) -> u32 {
    let share = if longest > 0.0 { (seconds / longest).clamp(0.0, 1.0) } else { 1.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 3 to 26")]
    let height = (3.0 + 23.0 * share.sqrt()).round() as u32;
    height
}

impl Display for Bars {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let width = BARS * 10;
        write!(f, "<svg class=\"bars\" viewBox=\"0 0 {width} 26\" preserveAspectRatio=\"xMinYMid\">")?;
        for (at, bar) in self.0.iter().enumerate() {
            let told = escape(&bar.told);
            write!(
                f,
                "<a href=\"{}\" aria-label=\"{told}\"><title>{told}</title><rect class=\"s-{}\" x=\"{}\" y=\"{}\" \
                 width=\"7\" height=\"{}\" rx=\"1.5\"/></a>",
                escape(&bar.href),
                bar.state.name(),
                at * 10,
                26 - bar.height,
                bar.height,
            )?;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Bars {}

/// When the dag's timetable makes its next run; none if it never does, or is paused.
pub async fn next_run(ui: &UiState, dag: &DagRow, zone: Zones) -> Option<When> {
    if dag.is_paused || dag.spec.schedule == ScheduleSpec::Manual {
        return None;
    }
    let next = ui.scheduler.next_runs(&dag.dag_id, None, 1).await.ok()?.into_iter().next()?;
    Some(When { at: Some(next.run_after), zone })
}

#[derive(Debug, Default, Deserialize)]
pub struct DagsQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    paused: String,
    #[serde(default)]
    last: String,
    /// `true`: one's favorites only.
    #[serde(default)]
    favorites: String,
    #[serde(default)]
    offset: u32,
}

impl DagsQuery {
    /// The address of the page with another tag, and from another row on.
    fn address(&self, tag: &str, offset: &str) -> String {
        let Self { q, paused, last, favorites, .. } = self;
        let query = [
            ("q", q.as_str()),
            ("tag", tag),
            ("paused", paused.as_str()),
            ("last", last.as_str()),
            ("favorites", favorites.as_str()),
            ("offset", offset),
        ];
        links::with_query("/dags", &query)
    }
}

/// `GET /dags`
pub async fn list(
    State(ui): State<UiState>,
    Scoped(scope): Scoped,
    user: CurrentUser,
    frame: Frame,
    Query(query): Query<DagsQuery>,
) -> Result<Response, UiError> {
    let filter = DagFilter {
        dags: scope.seen().clone(),
        dag_id_or_name: pattern(Some(&query.q), None).map_err(|error| UiError::Invalid(error.said()))?,
        tags: (!query.tag.is_empty()).then(|| query.tag.clone()).into_iter().collect(),
        paused: query.paused.parse().ok(),
        last_run: LastRunFilter { state: query.last.parse().ok(), ..LastRunFilter::default() },
        favorite_of: (query.favorites == "true").then(|| (user.username.clone(), true)),
        ..DagFilter::default()
    };
    let listed = ui.store.dag_list(&filter, Page { limit: ROWS, offset: query.offset }).await?;
    let ids: Vec<_> = listed.items.iter().map(|dag| dag.dag_id.clone()).collect();
    let mut runs: BTreeMap<DagId, Vec<DagRunRow>> = BTreeMap::new();
    for run in ui.store.dag_run_latest(&ids, BARS).await? {
        runs.entry(run.dag_id.clone()).or_default().push(run);
    }
    let mut decisions = ui.store.dag_decisions(&ids).await?;
    let favorites = ui.store.dag_favorite_list(&user.username, &ids).await?;
    let now = ui.clock.now();
    let zones: Vec<_> = listed.items.iter().map(|dag| frame.zones(&dag.spec)).collect();
    let shell = frame.shell(Section::Dags, "dags", "DAGs").live("/ui/events".into());
    let next = join_all(listed.items.iter().zip(&zones).map(|(dag, zone)| next_run(&ui, dag, *zone))).await;
    let line = |((dag, next), zone): ((&DagRow, Option<When>), Zones)| {
        let mut runs = runs.remove(&dag.dag_id).unwrap_or_default();
        runs.sort_by_key(|run| std::cmp::Reverse(run.key));
        let verdict = ui.scheduler.grants_verdict(&dag.spec, &decisions.remove(&dag.dag_id).unwrap_or_default());
        let waiting = verdict.pending().count();
        DagLine {
            waiting: (waiting > 0).then(|| (waiting, format!("{}/grants", links::dag(&dag.dag_id)))),
            href: links::dag(&dag.dag_id),
            display_name: dag.spec.other_name().map(str::to_owned),
            description: dag.spec.description.clone(),
            is_paused: dag.is_paused,
            may_pause: shell.may_with(Permission::DagPause, &dag.dag_id, &dag.spec.tags),
            may_trigger: shell.may_with(Permission::RunTrigger, &dag.dag_id, &dag.spec.tags)
                && dag.spec.check_run_type(RunType::Manual).is_ok(),
            switch: Switch {
                dag_id: dag.dag_id.clone(),
                is_paused: dag.is_paused,
                next: shell.here.clone(),
                labelled: false,
            },
            star: Star {
                dag_id: dag.dag_id.clone(),
                is_favorite: favorites.contains(&dag.dag_id),
                next: shell.here.clone(),
            },
            tags: Tag::all(&dag.spec.tags),
            schedule: show::expression(&dag.spec),
            zone: show::foreign_zone(&dag.spec),
            bars: Bars::new(&runs, now),
            last: runs.first().map(|run| LastRun {
                href: links::run(&run.dag_id, &run.run_id),
                state: run.state.into(),
                at: When { at: run.start_date.or(Some(run.queued_at)), zone },
            }),
            next,
            trigger_href: format!("{}/trigger", links::dag(&dag.dag_id)),
            dag_id: dag.dag_id.clone(),
        }
    };
    let rows: Vec<_> = listed.items.iter().zip(next).zip(zones).map(line).collect();
    let offset = usize::try_from(query.offset).unwrap_or(0);
    let pager =
        Pager::new(offset, ROWS as usize, rows.len(), listed.total, |at| query.address(&query.tag, &at.to_string()));
    Ok(page(&DagsView {
        pager,
        filtered: query.address(&query.tag, "") != "/dags",
        without_tag: query.address("", ""),
        favorites: filter.favorite_of.is_some(),
        q: query.q,
        tag: query.tag,
        paused: query.paused,
        last: query.last,
        states: RunState::ALL.iter().map(|state| (state.as_str(), StateView::from(*state).words())).collect(),
        rows,
        shell,
    }))
}
