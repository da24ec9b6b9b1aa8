//! A dag's year: how its runs went on each day. Airflow: the calendar view.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use askama::{Template, filters::HtmlSafe};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use chrono::{Datelike as _, NaiveDate};
use chrono_tz::Tz;
use serde::Deserialize;

use super::DagHead;
use crate::{
    model::{
        days::{self, Day, DayRuns, DayState},
        ids::DagId,
        time::Timestamp,
    },
    store::{DagRow, MOST_OF_DAY, MOST_UNFINISHED},
    ui::{
        UiState,
        error::UiError,
        links,
        shell::{Frame, Section, Shell, page},
        show::{escape, grouped},
    },
};

/// Runs of the timetable that are shown before they are made, at most.
const MOST_PLANNED: usize = 400;

#[derive(Template)]
#[template(path = "dag_calendar.html")]
struct CalendarView {
    shell: Shell,
    head: DagHead,
    year: i32,
    zone: Tz,
    earlier: Option<YearLink>,
    later: Option<YearLink>,
    legend: Vec<Legend>,
    months: Vec<Month>,
    /// There are more unfinished runs than were looked at.
    is_partial: bool,
    unfinished: String,
}

struct YearLink {
    year: i32,
    href: String,
}

struct Legend {
    class: &'static str,
    words: &'static str,
}

struct Month {
    name: String,
    weeks: Vec<[Option<Cell>; 7]>,
}

/// A day.
struct Cell {
    date: NaiveDate,
    is_today: bool,
    runs: DayRuns,
    /// Its runs.
    href: String,
}

#[derive(Debug, Deserialize)]
pub struct CalendarQuery {
    year: Option<i32>,
}

fn class(state: DayState) -> &'static str {
    match state {
        DayState::Empty => "day-empty",
        DayState::Planned => "day-planned",
        DayState::Unfinished => "day-unfinished",
        DayState::Success => "day-success",
        DayState::Mixed => "day-mixed",
        DayState::Failed => "day-failed",
    }
}

fn words(state: DayState) -> &'static str {
    match state {
        DayState::Empty => "no runs",
        DayState::Planned => "planned",
        DayState::Unfinished => "not over",
        DayState::Success => "success",
        DayState::Mixed => "some failed",
        DayState::Failed => "all failed",
    }
}

/// So many, or that they are more than were counted.
fn counted(runs: u32) -> String {
    let more = if runs >= MOST_OF_DAY { "+" } else { "" };
    format!("{}{more}", grouped(runs as usize))
}

/// A day's runs in words.
fn told(runs: DayRuns) -> String {
    let part = |count: u32, what: &str| (count > 0).then(|| format!("{} {what}", counted(count)));
    let parts = [
        Some(match runs.runs {
            0 => "no runs".to_owned(),
            1 => "1 run".to_owned(),
            more => format!("{} runs", counted(more)),
        }),
        part(runs.failed, "failed"),
        part(runs.unfinished, "not over"),
        part(runs.planned, "planned"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

impl Display for Cell {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (state, told) = (self.runs.state(), told(self.runs));
        let today = if self.is_today { " aria-current=\"date\"" } else { "" };
        let (class, date, day) = (class(state), self.date, self.date.day());
        // A sign beside the colour: what failed is told from what did not without it.
        let sign = match state {
            DayState::Empty => String::new(),
            DayState::Planned => "·".to_owned(),
            DayState::Success => counted(self.runs.runs),
            DayState::Unfinished => format!("{}…", counted(self.runs.runs)),
            DayState::Failed => format!("✕{}", counted(self.runs.failed)),
            DayState::Mixed => format!("✕{}/{}", counted(self.runs.failed), counted(self.runs.runs)),
        };
        let inside = format!("<time datetime=\"{date}\">{day}</time><small aria-hidden=\"true\">{sign}</small>");
        if self.runs.runs == 0 {
            return write!(f, "<td class=\"{class}\"{today}><span title=\"{date}: {told}\">{inside}</span></td>");
        }
        let href = escape(&self.href);
        write!(
            f,
            "<td class=\"{class}\"{today}><a href=\"{href}\" title=\"{date}: {told}\" aria-label=\"{date}: {told}\">{inside}</a></td>"
        )
    }
}

impl HtmlSafe for Cell {}

/// Sorts instants by the day that they fall on; what falls on none of them is left out. `days` follow each other.
fn by_day(days: &[Day], instants: impl IntoIterator<Item = Timestamp>) -> BTreeMap<NaiveDate, u32> {
    let mut counts = BTreeMap::new();
    for instant in instants {
        let place = days.partition_point(|day| day.end <= instant);
        if let Some(day) = days.get(place).filter(|day| day.start <= instant) {
            *counts.entry(day.date).or_default() += 1;
        }
    }
    counts
}

/// The months of a year, in weeks that begin on Monday.
fn months(cells: impl Iterator<Item = Cell>) -> Vec<Month> {
    let mut months: Vec<Month> = Vec::with_capacity(12);
    for cell in cells {
        let weekday = cell.date.weekday().num_days_from_monday() as usize;
        if cell.date.day() == 1 {
            months.push(Month { name: cell.date.format("%B").to_string(), weeks: Vec::new() });
        }
        let Some(month) = months.last_mut() else { continue };
        if weekday == 0 || month.weeks.is_empty() {
            month.weeks.push([const { None }; 7]);
        }
        if let Some(week) = month.weeks.last_mut() {
            week[weekday] = Some(cell);
        }
    }
    months
}

/// When the timetable makes runs that are not there yet.
async fn planned(ui: &UiState, dag: &DagRow) -> Vec<Timestamp> {
    if dag.is_paused {
        return Vec::new();
    }
    let next = ui.scheduler.next_runs(&dag.dag_id, None, MOST_PLANNED).await.unwrap_or_default();
    next.into_iter().map(|run| run.run_after).collect()
}

/// The year that is shown if none is asked for: the present one, or that of the newest run if it is over.
fn opening_year(today: NaiveDate, newest: Option<NaiveDate>) -> i32 {
    newest.map_or(today.year(), |newest| newest.year().min(today.year()))
}

/// `GET /dags/{dag_id}/calendar`
pub async fn calendar(
    State(ui): State<UiState>,
    frame: Frame,
    Path(dag_id): Path<DagId>,
    Query(query): Query<CalendarQuery>,
) -> Result<Response, UiError> {
    let dag = ui.dag(&dag_id).await?;
    let zones = frame.zones(&dag.spec);
    let (now, zone) = (ui.clock.now(), zones.shown);
    let today = days::date(now, zone);
    let ends = ui.store.dag_run_first_and_last(&dag_id).await?;
    let newest = ends.map(|(_, last)| days::date(last, zone));
    let year = query.year.unwrap_or_else(|| opening_year(today, newest));
    let days = days::of_year(year, zone);
    let (Some(first_day), Some(last_day)) = (days.first(), days.last()) else {
        return Err(UiError::Invalid(format!("there is no year {year}; ask for 1 to 9999")));
    };
    let (counts, unfinished) =
        tokio::try_join!(ui.store.dag_run_days(&dag_id, &days), ui.store.dag_run_unfinished_of(&dag_id))?;
    let is_partial = unfinished.len() >= MOST_UNFINISHED as usize;
    let unfinished = by_day(&days, unfinished);
    let planned = by_day(&days, planned(&ui, &dag).await);
    let base = links::dag(&dag_id);
    let count = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
    let cell = |(day, (runs, failed)): (&Day, (i64, i64))| Cell {
        date: day.date,
        is_today: day.date == today,
        runs: DayRuns {
            runs: count(runs),
            failed: count(failed),
            unfinished: unfinished.get(&day.date).copied().unwrap_or_default(),
            planned: planned.get(&day.date).copied().unwrap_or_default(),
        },
        href: links::with_query(&format!("{base}/runs"), &[("day", &day.date.to_string())]),
    };
    let year_link = |year: i32| YearLink { year, href: format!("{base}/calendar?year={year}") };
    let earlier = ends.is_some_and(|(first, _)| first < first_day.start).then(|| year_link(year - 1));
    let later = ends.is_some_and(|(_, last)| last >= last_day.end) || now >= last_day.end;
    let events = links::with_query("/ui/events", &[("dag", dag_id.as_str())]);
    let shell = frame.shell(Section::Dags, "dag-calendar", format!("{dag_id} calendar")).live(events);
    Ok(page(&CalendarView {
        head: DagHead::new(&ui, &dag, "calendar", &shell, zones).await?,
        shell,
        year,
        zone,
        earlier,
        later: later.then(|| year_link(year + 1)),
        legend: DayState::ALL.map(|state| Legend { class: class(state), words: words(state) }).into(),
        months: months(days.iter().zip(counts).map(cell)),
        is_partial,
        unfinished: grouped(MOST_UNFINISHED as usize),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(year: i32) -> impl Iterator<Item = Cell> {
        let cell = |day: Day| Cell { date: day.date, is_today: false, runs: DayRuns::default(), href: String::new() };
        days::of_year(year, Tz::UTC).into_iter().map(cell)
    }

    #[test]
    fn each_day_stands_once_under_its_weekday() {
        for year in [2024, 2026, 2027] {
            let months = months(cells(year));
            assert_eq!(months.len(), 12);
            let mut dates = Vec::new();
            for month in &months {
                assert!((4..=6).contains(&month.weeks.len()), "{}", month.name);
                for week in &month.weeks {
                    for (weekday, cell) in week.iter().enumerate() {
                        let Some(cell) = cell else { continue };
                        assert_eq!(cell.date.weekday().num_days_from_monday() as usize, weekday);
                        assert_eq!(cell.date.format("%B").to_string(), month.name);
                        dates.push(cell.date);
                    }
                }
            }
            assert!(dates.is_sorted());
            assert_eq!(dates.len(), cells(year).count());
        }
    }

    #[test]
    fn it_opens_on_the_newest_year_that_has_runs_and_has_begun() {
        let date = |year| NaiveDate::from_ymd_opt(year, 3, 1).unwrap();
        for (newest, year) in [(None, 2026), (Some(2024), 2024), (Some(2026), 2026), (Some(2031), 2026)] {
            assert_eq!(opening_year(date(2026), newest.map(date)), year);
        }
    }

    #[test]
    fn instants_are_counted_on_their_day() {
        let days = days::of_year(2026, Tz::Asia__Seoul);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let counts = by_day(
            &days,
            // The first is 2025 there too, the last is 2027.
            [
                "2025-12-31T14:59:59Z",
                "2025-12-31T15:00:00Z",
                "2026-01-01T14:59:59.999999Z",
                "2026-01-01T15:00:00Z",
                "2026-12-31T15:00:00Z",
            ]
            .map(at),
        );
        let counts: Vec<_> = counts.into_iter().map(|(date, count)| (date.to_string(), count)).collect();
        assert_eq!(counts, [("2026-01-01".to_owned(), 2), ("2026-01-02".to_owned(), 1)]);
    }

    #[test]
    fn runs_are_told_in_words_and_the_uncounted_as_more() {
        for (runs, failed, unfinished, planned, expected) in [
            (0, 0, 0, 0, "no runs"),
            (0, 0, 0, 2, "no runs, 2 planned"),
            (1, 0, 0, 0, "1 run"),
            (12, 3, 1, 4, "12 runs, 3 failed, 1 not over, 4 planned"),
            (1_000, 0, 0, 0, "1,000+ runs"),
        ] {
            assert_eq!(told(DayRuns { runs, failed, unfinished, planned }), expected);
        }
    }
}
