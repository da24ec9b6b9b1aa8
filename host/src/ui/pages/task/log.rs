//! The log of an attempt.

use std::{collections::BTreeSet, convert::Infallible};

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

use super::{Found, TaskPath, TaskQuery, find, part};
use crate::{
    model::retention::Part,
    scheduler::LogFrom,
    ui::{
        UiState,
        error::UiError,
        log::{self, LEVELS, LineView, LogFilter, SHOWN},
        show::{self, Html, Zones},
    },
};

/// Lines that the plain log reads at a time.
const RAW_LINES: usize = 5_000;
/// Tries that are offered one by one. Of more, some around the one that is shown are, and the first and the newest.
const TRIES: u32 = 1_000;
const TRIES_AROUND: u32 = 50;
/// Lines after one that a link leads to. Before it are as many, of the [`SHOWN`] of a page.
const LINES_AFTER: u64 = 250;

#[derive(Template)]
#[template(path = "task_log.html")]
struct LogPart {
    map_index: Option<i32>,
    tries: Vec<u32>,
    try_number: u32,
    levels: [(&'static str, &'static str); 4],
    level: String,
    q: String,
    raw_href: String,
    recording: Option<RecordingView>,
    next: u64,
    following: bool,
    /// To the lines before these, and to the log's first.
    earlier: Option<String>,
    first: Option<String>,
    /// To the lines after these.
    later: Option<String>,
    /// If not all lines are shown: what leads to those about one, up to the number of the last.
    around: Option<String>,
    lines_after: u64,
    lines: Vec<LineView>,
    empty: &'static str,
    summary: String,
}

/// What can be replayed.
struct RecordingView {
    size: String,
    href: String,
    command: String,
}

async fn recording(ui: &UiState, found: &Found, try_number: u32) -> Result<Option<RecordingView>, UiError> {
    let row = if try_number == 0 { None } else { ui.store.recording_get(&found.key, try_number).await? };
    let Some(row) = row else { return Ok(None) };
    let index = found.map_index().map_or(String::new(), |index| format!(" --map-index {index}"));
    let (dag_id, run_id, task_id) = (&found.run.dag_id, &found.run.run_id, &found.key.task_id);
    Ok(Some(RecordingView {
        size: show::Bytes(row.size_bytes).to_string(),
        href: found.href("/recording", &[("try", &try_number.to_string())]),
        command: format!("airlock replay {dag_id} {} {task_id}{index} --try {try_number}", in_shell(run_id.as_str())),
    }))
}

/// A word of a command for a shell.
fn in_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:+/=@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The tries that the selector offers, the newest first.
fn offered(shown: u32, newest: u32) -> Vec<u32> {
    let (from, to) = if newest <= TRIES {
        (1, newest)
    } else {
        (shown.saturating_sub(TRIES_AROUND).max(1), shown.saturating_add(TRIES_AROUND).min(newest))
    };
    let mut tries: BTreeSet<u32> = (from..=to).collect();
    if newest > 0 {
        tries.extend([1, newest]);
    }
    tries.into_iter().rev().collect()
}

pub async fn view(
    ui: &UiState,
    found: &Found,
    try_number: u32,
    query: &TaskQuery,
    zone: Zones,
) -> Result<(Html, u64), UiError> {
    let filter = LogFilter::new(&query.level, &query.q).in_zone(zone.shown);
    let log = if try_number == 0 {
        log::LogView::default()
    } else {
        log::read(ui, &found.key, try_number, &filter, query.before).await?
    };
    let is_deleted = log.total == 0 && ui.store.dag_run_part_is_deleted(found.key.dag_run, Part::Logs).await?;
    let (try_text, total) = (try_number.to_string(), show::grouped(usize::try_from(log.total).unwrap_or(usize::MAX)));
    let address = |before: Option<u64>| {
        let before = before.map(|before| before.to_string()).unwrap_or_default();
        found.href("", &[("try", &try_text), ("level", &query.level), ("q", &query.q), ("before", &before)])
    };
    let later = (query.before.is_some() && log.next < log.total).then(|| {
        // Backwards is how lines that fit are looked for: from the newest on.
        if !filter.is_all() {
            return address(None);
        }
        let end = log.next + SHOWN as u64;
        format!("{}#L{}", address((end < log.total).then_some(end)), log.next)
    });
    let first = filter.is_all() && log.earlier.is_some_and(|earlier| earlier > SHOWN as u64);
    let is_present = found.row.as_ref().is_some_and(|row| row.try_number == try_number && !row.state.is_finished());
    let mut summary = if filter.is_all() {
        format!("{} of {total} lines", show::grouped(log.lines.len()))
    } else {
        format!("{} lines fit, of {total}", show::grouped(log.lines.len()))
    };
    if log.gave_up {
        summary.push_str("; the search stopped here, go on with “Earlier lines”");
    }
    let html = part(&LogPart {
        map_index: found.map_index(),
        tries: offered(try_number, found.newest_try()),
        try_number,
        levels: LEVELS,
        level: query.level.clone(),
        q: query.q.clone(),
        raw_href: found.href("/log", &[("try", &try_text)]),
        recording: recording(ui, found, try_number).await?,
        next: log.next,
        following: query.before.is_none() && (log.is_live || is_present),
        earlier: log.earlier.map(|earlier| address(Some(earlier))),
        first: first.then(|| format!("{}#L0", address(Some(SHOWN as u64)))),
        later,
        around: (!filter.is_all()).then(|| format!("{}&before=", found.href("", &[("try", &try_text)]))),
        lines_after: LINES_AFTER,
        empty: match (try_number, filter.is_all(), log.is_live || is_present) {
            (0, _, _) if found.row.as_ref().is_some_and(|row| row.state.is_finished()) => "It did not run.",
            (0, _, _) => "It has not started yet.",
            (_, false, _) => "No line fits.",
            (_, true, true) => "No line yet.",
            (_, true, false) if is_deleted => "The log was deleted by retention.",
            (_, true, false) => "It logged nothing.",
        },
        lines: log.lines,
        summary,
    })?;
    Ok((html, log.next))
}

#[derive(Debug, Deserialize)]
pub struct RawLogQuery {
    #[serde(default)]
    map_index: Option<i32>,
    #[serde(default)]
    r#try: Option<u32>,
}

/// `GET .../log?try=N`: the whole log as plain text, streamed.
pub async fn raw_log(
    State(ui): State<UiState>,
    Path(path): TaskPath,
    Query(query): Query<RawLogQuery>,
) -> Result<Response, UiError> {
    let found = find(&ui, path, query.map_index).await?;
    let try_number = found.try_of(query.r#try)?;
    let (logs, key) = (ui.logs.clone(), found.key);
    let pages = stream::unfold(Some(0), move |from| {
        let (logs, key) = (logs.clone(), key.clone());
        async move {
            let from = from?;
            let page = match logs.read(&key, try_number, LogFrom::Line(from), RAW_LINES).await {
                Ok(page) if page.lines.is_empty() => return None,
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(error = %error, "a log can't be read");
                    return Some((Bytes::from_static(b"\n[the rest of the log can't be read now]\n"), None));
                }
            };
            let all = LogFilter::default();
            let lines = (from..).zip(&page.lines).filter_map(|(number, line)| all.view(number, line));
            let text: String = lines.map(|line| line.plain()).collect();
            Some((Bytes::from(text), Some(from + page.lines.len() as u64)))
        }
    });
    let media_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((media_type, Body::from_stream(pages.map(Ok::<_, Infallible>).fuse())).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_try_is_always_offered_and_of_very_many_not_all_are() {
        assert_eq!(offered(0, 0), [0; 0]);
        assert_eq!(offered(2, 3), [3, 2, 1]);
        assert_eq!(offered(5, 112).len(), 112);
        let some = offered(5_000, 1_000_000);
        assert_eq!((some[0], some[1], some[51], some[101]), (1_000_000, 5_050, 5_000, 4_950));
        assert_eq!((some.len(), some[102]), (103, 1));
        assert_eq!(offered(1, 5_000).len(), 52);
        assert_eq!(offered(u32::MAX, u32::MAX).len(), 52);
    }
}
