//! Lines of a log as they are shown, filtered and searched.

use chrono_tz::Tz;
use serde::Serialize;
use serde_json::Value;

use super::{UiState, ansi};
use crate::{
    model::time::Timestamp,
    scheduler::{LogError, LogFrom},
    store::InstanceKey,
};

/// Lines that a page shows at once.
pub const SHOWN: usize = 500;
/// Lines that a filtered page looks through at most.
const SEARCHED: u64 = 200_000;
const CHUNK: usize = 5_000;

/// Levels from which on lines can be shown.
pub const LEVELS: [(&str, &str); 4] =
    [("", "All levels"), ("info", "Info and above"), ("warn", "Warnings and errors"), ("error", "Errors")];

/// A line, in the pieces that it is shown by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineView {
    /// From 0.
    pub number: u64,
    /// `hh:mm:ss.mmm`, in the zone that is shown.
    pub at: String,
    pub at_full: String,
    pub level: String,
    /// CSS classes: level and source.
    pub class: String,
    pub target: String,
    /// The message, cut where its colours change and where the search hits.
    pub parts: Vec<Part>,
    pub fields: String,
}

/// A piece of a message: its text, its CSS classes, whether the search hits it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part(pub String, pub String, pub bool);

impl LineView {
    /// The line for a terminal, with its line break.
    pub fn plain(&self) -> String {
        let target = if self.target.is_empty() { String::new() } else { format!("{}: ", self.target) };
        let message: String = self.parts.iter().map(|part| part.0.as_str()).collect();
        let fields = if self.fields.is_empty() { String::new() } else { format!(" {}", self.fields) };
        format!("{} {:5} {target}{message}{fields}\n", self.at_full, self.level.to_uppercase())
    }
}

/// Which lines are shown.
#[derive(Debug, Clone)]
pub struct LogFilter {
    least: usize,
    search: String,
    zone: Tz,
}

/// Lowest first.
const LEVEL_NAMES: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// The place of a level among [`LEVEL_NAMES`]; also of Airflow's names. What is not known is info.
fn rank(level: &str) -> usize {
    let name = match level {
        "warning" => "warn",
        "critical" => "error",
        name => name,
    };
    LEVEL_NAMES.iter().position(|known| *known == name).unwrap_or(2)
}

impl Default for LogFilter {
    fn default() -> Self {
        Self::new("", "")
    }
}

impl LogFilter {
    /// `level` is the lowest that is shown; empty: all. `search` is found whatever its case.
    pub fn new(level: &str, search: &str) -> Self {
        Self { least: if level.is_empty() { 0 } else { rank(level) }, search: search.to_lowercase(), zone: Tz::UTC }
    }

    /// Lines tell their time in `zone`.
    #[must_use]
    pub fn in_zone(self, zone: Tz) -> Self {
        Self { zone, ..self }
    }

    pub fn is_all(&self) -> bool {
        self.least == 0 && self.search.is_empty()
    }

    /// The line, or none if it is not to be shown.
    pub fn view(&self, number: u64, line: &str) -> Option<LineView> {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()));
        let text = |name: &str| parsed.get(name).and_then(Value::as_str).unwrap_or_default();
        let level = rank(text("level"));
        if level < self.least {
            return None;
        }
        let level = LEVEL_NAMES[level];
        let pieces = ansi::pieces(parsed.as_str().unwrap_or_else(|| text("event")));
        let event: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
        let mut fields = String::new();
        let known = ["timestamp", "level", "source", "logger", "event"];
        for (name, value) in
            parsed.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()))
        {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !fields.is_empty() {
                fields.push(' ');
            }
            fields.extend([name.as_str(), "=", &value]);
        }
        if !self.search.is_empty()
            && ![event.as_str(), text("logger"), &fields].iter().any(|text| text.to_lowercase().contains(&self.search))
        {
            return None;
        }
        let at_full = text("timestamp");
        let at = at_full.parse::<Timestamp>().map_or_else(
            |_| at_full.chars().take(12).collect(),
            |at| at.to_utc().with_timezone(&self.zone).format("%H:%M:%S%.3f").to_string(),
        );
        let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).take(20).collect::<String>();
        Some(LineView {
            number,
            at,
            at_full: at_full.to_owned(),
            class: format!("{level} from-{}", plain(text("source"))),
            level: level.to_owned(),
            target: text("logger").to_owned(),
            parts: self.cut(&event, pieces),
            fields,
        })
    }

    /// `pieces`, which make up `text`, cut at the hits of the search.
    fn cut(&self, text: &str, pieces: Vec<(String, String)>) -> Vec<Part> {
        let lower = text.to_lowercase();
        // Lower case may be longer or shorter in some scripts; then a hit can't be told by its place.
        if self.search.is_empty() || lower.len() != text.len() {
            return pieces.into_iter().map(|(text, classes)| Part(text, classes, false)).collect();
        }
        let hits: Vec<_> = lower.match_indices(&self.search).map(|(at, hit)| at..at + hit.len()).collect();
        let mut parts = Vec::new();
        let mut start = 0;
        for (piece, classes) in pieces {
            let end = start + piece.len();
            let mut at = start;
            for hit in hits.iter().filter(|hit| hit.start < end && hit.end > start) {
                let (from, to) = (hit.start.max(start), hit.end.min(end));
                let cut = [(at..from, false), (from..to, true)];
                let texts = cut.map(|(range, is_hit)| (text.get(range).unwrap_or_default(), is_hit));
                parts.extend(texts.map(|(text, is_hit)| Part(text.to_owned(), classes.clone(), is_hit)));
                at = to;
            }
            parts.push(Part(text.get(at..end).unwrap_or_default().to_owned(), classes, false));
            start = end;
        }
        parts.retain(|part| !part.0.is_empty());
        parts
    }
}

/// A page of a log.
#[derive(Debug, Default)]
pub struct LogView {
    pub lines: Vec<LineView>,
    /// The number of the line after the last that was looked at.
    pub next: u64,
    pub total: u64,
    pub is_live: bool,
    /// Where the lines before these end, if there are any.
    pub earlier: Option<u64>,
    /// Whether a search gave up before the log's start.
    pub gave_up: bool,
}

/// The last [`SHOWN`] lines before line `before` (the log's end, if none) that pass the filter, read backwards.
///
/// # Errors
/// If storage fails.
pub async fn read(
    ui: &UiState,
    key: &InstanceKey,
    try_number: u32,
    filter: &LogFilter,
    before: Option<u64>,
) -> Result<LogView, LogError> {
    let chunk = if filter.is_all() { SHOWN } else { CHUNK };
    let size = chunk as u64;
    let first = match before {
        None => ui.logs.read(key, try_number, LogFrom::Tail, chunk).await?,
        Some(before) => {
            let from = before.saturating_sub(size);
            let wanted = usize::try_from(before - from).unwrap_or(chunk);
            ui.logs.read(key, try_number, LogFrom::Line(from), wanted).await?
        }
    };
    let next = first.first_line + first.lines.len() as u64;
    let mut view =
        LogView { lines: Vec::new(), next, total: first.total_lines, is_live: first.is_live, ..LogView::default() };
    let mut page = first;
    let mut at;
    loop {
        at = page.first_line;
        let mut found: Vec<_> =
            (page.first_line..).zip(&page.lines).filter_map(|(number, line)| filter.view(number, line)).collect();
        found.append(&mut view.lines);
        view.lines = found;
        if at == 0 || view.lines.len() >= SHOWN || filter.is_all() {
            break;
        }
        if next - at > SEARCHED {
            view.gave_up = true;
            break;
        }
        let from = at.saturating_sub(size);
        let wanted = usize::try_from(at - from).unwrap_or(chunk);
        page = ui.logs.read(key, try_number, LogFrom::Line(from), wanted).await?;
        if page.lines.is_empty() {
            break;
        }
    }
    let surplus = view.lines.len().saturating_sub(SHOWN);
    view.lines.drain(..surplus);
    view.earlier = if surplus > 0 { view.lines.first().map(|line| line.number) } else { (at > 0).then_some(at) };
    Ok(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"timestamp":"2026-01-31T06:00:00.123456Z","level":"warning","source":"log","logger":"a::b","event":"Wet <b>wet</b>","n":3}"#;

    #[test]
    fn a_line_is_shown_in_its_pieces() {
        let view = LogFilter::new("", "wet").view(7, LINE).unwrap();
        assert_eq!((view.number, view.at.as_str(), view.level.as_str()), (7, "06:00:00.123", "warn"));
        assert_eq!((view.class.as_str(), view.target.as_str(), view.fields.as_str()), ("warn from-log", "a::b", "n=3"));
        assert_eq!(view.plain(), "2026-01-31T06:00:00.123456Z WARN  a::b: Wet <b>wet</b> n=3\n");
        let part = |text: &str, hit| Part(text.to_owned(), String::new(), hit);
        assert_eq!(view.parts, [part("Wet", true), part(" <b>", false), part("wet", true), part("</b>", false)]);
    }

    #[test]
    fn levels_and_searches_leave_lines_out() {
        assert!(LogFilter::new("error", "").view(0, LINE).is_none());
        assert!(LogFilter::new("warn", "").view(0, LINE).is_some());
        assert!(LogFilter::new("", "dry").view(0, LINE).is_none());
        assert!(LogFilter::new("", "N=3").view(0, LINE).is_some());
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        let view = LogFilter::default().view(0, "plain").unwrap();
        assert_eq!(view.parts, [Part("plain".into(), String::new(), false)]);
        assert!(LogFilter::new("", "ß").view(0, "\u{130}ß").is_some());
    }

    #[test]
    fn colours_are_shown_and_searched_through() {
        let line = r#"{"timestamp":"2026-01-31T23:30:00Z","event":"\u001b[31mred\u001b[0m alert"}"#;
        let view = LogFilter::new("", "d al").in_zone("Asia/Seoul".parse().unwrap()).view(0, line).unwrap();
        let part = |text: &str, classes: &str, hit| Part(text.to_owned(), classes.to_owned(), hit);
        let parts =
            [part("re", "a-red", false), part("d", "a-red", true), part(" al", "", true), part("ert", "", false)];
        assert_eq!((view.at.as_str(), view.parts.as_slice()), ("08:30:00.000", parts.as_slice()));
        assert_eq!(view.plain(), "2026-01-31T23:30:00Z INFO  red alert\n");
    }
}
