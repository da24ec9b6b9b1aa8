//! How values are shown: instants, durations, sizes, states. What is [`HtmlSafe`] here holds no text from outside, or
//! has escaped it.

use std::{
    fmt::{self, Display, Formatter, Write as _},
    time::Duration,
};

use askama::filters::HtmlSafe;
use chrono_tz::Tz;

use crate::{
    model::{
        asset::AssetCondition,
        spec::{DagSpec, ScheduleSpec},
        state::{RunState, TaskState},
        time::Timestamp,
        wait,
    },
    store::TaskInstanceRow,
};

/// The icon of each state, drawn by strokes in a square of 16. No two states share one, so colour is never needed.
pub const STATE_PATHS: &[(&str, &str)] = &[
    ("none", "M8 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8"),
    ("scheduled", "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12M8 5v3.4l2.2 1.6"),
    ("queued", "M3 8h.01M8 8h.01M13 8h.01"),
    ("running", "M14 8a6 6 0 1 1-6-6"),
    ("success", "M3 8.6l3.3 3.2L13 4.8"),
    ("restarting", "M13.5 8a5.5 5.5 0 0 1-10 3M2.5 8a5.5 5.5 0 0 1 10-3M13 2v3h-3M3 14v-3h3"),
    ("failed", "M4 4l8 8M12 4l-8 8"),
    ("skipped", "M3 3.5l5.5 4.5L3 12.5M12.5 3.5v9"),
    ("upstream_failed", "M8 13.5V3M3.5 7.3L8 3l4.5 4.3"),
    ("up_for_retry", "M13 9a5 5 0 1 1-1.7-4.8M13 2v3.5H9.5"),
    ("up_for_reschedule", "M4 2h8M4 14h8M5 2c0 5 6 7 6 12M11 2c0 5-6 7-6 12"),
    ("removed", "M3.5 8h9"),
];

/// The zones in which instants are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zones {
    /// What the user chose.
    pub shown: Tz,
    /// That of the dag.
    pub of_dag: Tz,
}

impl Zones {
    /// The zone that is worth telling beside the one that was chosen.
    fn other(self) -> Option<Tz> {
        [self.of_dag, Tz::UTC].into_iter().find(|zone| *zone != self.shown)
    }
}

/// `at` in `zone`, to the second.
pub fn told(at: Timestamp, zone: Tz) -> String {
    at.to_utc().with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// An instant in the zone that the user chose, with what it is in the others as its title; a dash if there is none.
#[derive(Debug, Clone, Copy)]
pub struct When {
    pub at: Option<Timestamp>,
    pub zone: Zones,
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(at) = self.at else { return f.write_str("<span class=\"muted\">–</span>") };
        write!(f, "<time datetime=\"{at}\" title=\"{at}")?;
        if let Some(other) = self.zone.other().filter(|zone| *zone != Tz::UTC) {
            let there = at.to_utc().with_timezone(&other);
            write!(f, ", {} in {other}", there.format("%Y-%m-%d %H:%M:%S"))?;
        }
        write!(f, "\">{}</time>", told(at, self.zone.shown))
    }
}

impl HtmlSafe for When {}

/// An instant in the zone that the user chose and, below it, in another that matters.
#[derive(Debug, Clone, Copy)]
pub struct WhenBoth(pub When);

impl Display for WhenBoth {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let (Some(at), Some(other)) = (self.0.at, self.0.zone.other()) else { return Ok(()) };
        write!(f, "<small title=\"{other}\">{}</small>", told(at, other))
    }
}

impl HtmlSafe for WhenBoth {}

/// When a task instance that waits goes on, from now and as an instant; nothing if it does not wait.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// What comes then; none: it does not wait.
    what: Option<&'static str>,
    wake: When,
    now: Timestamp,
}

impl Wait {
    pub fn of(row: &TaskInstanceRow, zone: Zones, now: Timestamp) -> Self {
        Self::new(row.state, row.message.as_deref(), When { at: row.wake_at, zone }, now)
    }

    fn new(state: TaskState, message: Option<&str>, wake: When, now: Timestamp) -> Self {
        let what = match (state, message) {
            (TaskState::UpForReschedule, None) => Some("next poke at"),
            (TaskState::UpForReschedule, Some(message)) if wait::Wait::is_told_by(message) => Some("at the latest"),
            // Its runner was lost again, and it is not to end others as fast as they start.
            (TaskState::UpForReschedule, Some(_)) => Some("starts again at"),
            (TaskState::UpForRetry, _) => Some("next try at"),
            _ => None,
        };
        Self { what, wake, now }
    }
}

impl Display for Wait {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (Some(what), Some(at)) = (self.what, self.wake.at) else { return Ok(()) };
        let left = at.since(self.now);
        // Whole seconds, rounded up: the page's script counts them down.
        let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
        write!(f, "<span class=\"wait\">{what} {}, <span data-until=\"{at}\">", self.wake)?;
        match left {
            Duration::ZERO => f.write_str("now")?,
            left => write!(f, "in {}", Span(Some(left)))?,
        }
        f.write_str("</span></span>")
    }
}

impl HtmlSafe for Wait {}

/// A span of time, as `1.2 s` or `2 h 5 m`.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub Option<Duration>);

impl Span {
    /// From `start` to `end`, or to `now` while it has not ended.
    pub fn between(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> Self {
        Self(start.map(|start| end.unwrap_or(now).since(start)))
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(span) = self.0 else { return f.write_str("–") };
        let seconds = span.as_secs();
        match seconds {
            0 if span.as_millis() == 0 => write!(f, "{} µs", span.as_micros()),
            0 => write!(f, "{} ms", span.as_millis()),
            1..60 => write!(f, "{:.1} s", span.as_secs_f64()),
            60..3_600 => write!(f, "{} m {} s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}

/// How long something takes: the page's script counts on what is not over.
#[derive(Debug, Clone, Copy)]
pub struct Lasting {
    span: Span,
    is_over: bool,
}

impl Lasting {
    /// From `start` to `end`, or to `now` and on.
    pub fn between(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> Self {
        Self { span: Span::between(start, end, now), is_over: end.is_some() }
    }
}

impl Display for Lasting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.span.0 {
            Some(span) if !self.is_over => write!(f, "<span data-lasted=\"{}\">{}</span>", span.as_millis(), self.span),
            _ => self.span.fmt(f),
        }
    }
}

impl HtmlSafe for Lasting {}

/// A number of bytes, as `12.3 KiB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub i64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
        let mut size = self.0.max(0) as f64;
        if size < 1_024.0 {
            return write!(f, "{size} B");
        }
        let mut units = ["KiB", "MiB", "GiB", "TiB"].into_iter();
        let mut unit = "B";
        while size >= 1_024.0 {
            let Some(next) = units.next() else { break };
            size /= 1_024.0;
            unit = next;
        }
        write!(f, "{size:.1} {unit}")
    }
}

/// A state by icon and word. Of tasks and of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    name: &'static str,
}

impl From<TaskState> for State {
    fn from(state: TaskState) -> Self {
        Self { name: state.as_str() }
    }
}

impl From<RunState> for State {
    fn from(state: RunState) -> Self {
        Self { name: state.as_str() }
    }
}

impl State {
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its words, as `up for retry`.
    pub fn words(self) -> String {
        self.name.replace('_', " ")
    }

    /// The CSS class that sets its colour.
    pub fn class(self) -> String {
        format!("s-{}", self.name)
    }

    pub fn icon(self) -> StateIcon {
        StateIcon(self)
    }

    pub fn badge(self) -> StateBadge {
        StateBadge(self)
    }

    /// A square of its colour with its icon, as the grid has it.
    pub fn cell(self) -> StateCell {
        StateCell(self)
    }
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"state s-{}\">{}{}</span>", self.name, self.icon(), self.words())
    }
}

impl HtmlSafe for State {}

/// A state's icon alone.
#[derive(Debug, Clone, Copy)]
pub struct StateIcon(State);

impl Display for StateIcon {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.0.name;
        let turn = if matches!(name, "running" | "restarting") { " class=\"turn\"" } else { "" };
        write!(f, "<svg{turn} aria-hidden=\"true\"><use href=\"#i-{name}\"/></svg>")
    }
}

impl HtmlSafe for StateIcon {}

/// A state in a pill.
#[derive(Debug, Clone, Copy)]
pub struct StateBadge(State);

impl Display for StateBadge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"state badge s-{}\">{}{}</span>", self.0.name, self.0.icon(), self.0.words())
    }
}

impl HtmlSafe for StateBadge {}

/// A state as a cell of a grid.
#[derive(Debug, Clone, Copy)]
pub struct StateCell(State);

impl Display for StateCell {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"cellmark s-{}\">{}</span>", self.0.name, self.0.icon())
    }
}

impl HtmlSafe for StateCell {}

/// HTML that this room has put together and escaped.
#[derive(Debug, Clone, Default)]
pub struct Html(String);

impl Html {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a link that says `text`.
    #[must_use]
    pub fn link(self, href: &str, text: impl Display) -> Self {
        self.markup(format_args!("<a href=\"{}\">", escape(href))).text(text).markup("</a>")
    }

    /// Adds markup that is known here: never text from outside.
    #[must_use]
    pub fn markup(mut self, markup: impl Display) -> Self {
        write!(self.0, "{markup}").expect("a String takes all that is written to it");
        self
    }

    /// Adds text, escaped.
    #[must_use]
    pub fn text(mut self, text: impl Display) -> Self {
        self.0.push_str(&escape(&text.to_string()));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Empty after the call.
    pub fn add(&mut self, change: impl FnOnce(Self) -> Self) {
        *self = change(std::mem::take(self));
    }
}

impl Display for Html {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Html {}

/// `text` so that it is itself in HTML, inside and outside of quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Names and values beside each other.
#[derive(Debug, Default)]
pub struct Facts(Html);

impl Facts {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fact whose value is shown as text.
    #[must_use]
    pub fn text(self, name: &str, value: impl Display) -> Self {
        self.html(name, Html::new().text(value))
    }

    /// Adds a fact whose value is HTML already.
    #[must_use]
    pub fn html(mut self, name: &str, value: impl HtmlSafe) -> Self {
        self.0.add(|html| html.markup("<div><dt>").text(name).markup("</dt><dd>").markup(value).markup("</dd></div>"));
        self
    }

    /// Adds a fact if there is one.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }
}

impl Display for Facts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<dl class=\"facts\">{}</dl>", self.0)
    }
}

impl HtmlSafe for Facts {}

/// The way from the top to this page, itself left out.
#[derive(Debug, Default)]
pub struct Crumbs(Vec<(String, String)>);

impl Crumbs {
    /// `links` are (address, text).
    pub fn new(links: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(links.into_iter().collect())
    }
}

impl Display for Crumbs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<nav class=\"crumbs\" aria-label=\"Breadcrumb\">")?;
        for (at, (href, text)) in self.0.iter().enumerate() {
            let gap = if at > 0 { "<span aria-hidden=\"true\">/</span>" } else { "" };
            write!(f, "{gap}<a href=\"{}\">{}</a>", escape(href), escape(text))?;
        }
        f.write_str("</nav>")
    }
}

impl HtmlSafe for Crumbs {}

/// Links to the pages of a list.
#[derive(Debug)]
pub struct Pager {
    pub from: usize,
    pub shown: usize,
    pub total: usize,
    /// Whether there are more than `total`, which were not counted.
    pub more: bool,
    pub before: Option<String>,
    pub after: Option<String>,
    /// The last page, for whoever looks behind it.
    pub last: Option<String>,
}

impl Pager {
    /// Of a list whose rows from `offset` on are shown, `limit` a page; `href` makes the address of another offset.
    pub fn new(offset: usize, limit: usize, shown: usize, total: i64, href: impl Fn(usize) -> String) -> Self {
        let total = usize::try_from(total).unwrap_or(0);
        let more = total >= usize::try_from(crate::store::MAX_TOTAL).unwrap_or(usize::MAX);
        Self {
            from: offset,
            shown,
            total,
            more,
            before: (offset > 0).then(|| href(offset.saturating_sub(limit))),
            after: (offset + shown < total || (more && shown == limit)).then(|| href(offset + limit)),
            last: (shown == 0 && offset > 0 && total > 0).then(|| href((total - 1) / limit * limit)),
        }
    }

    /// What stands in place of the rows behind the last page of a list; none where a list has none at all.
    pub fn way_back(&self) -> Option<Html> {
        let last = self.last.as_deref()?;
        let told = Html::new().markup("<strong>The list ends before this page</strong><p>");
        Some(told.link(last, "Show its last page").markup("</p>"))
    }
}

impl Display for Pager {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<nav class=\"pager\" aria-label=\"Pages\">")?;
        if let Some(before) = &self.before {
            write!(f, "<a class=\"button small\" rel=\"prev\" href=\"{}\">Before</a>", escape(before))?;
        }
        let (first, last) = (self.from + usize::from(self.shown > 0), self.from + self.shown);
        let total = if self.more { "more than 10,000".to_owned() } else { grouped(self.total) };
        write!(f, "<span class=\"where\">{} – {} of {total}</span>", grouped(first), grouped(last))?;
        if let Some(after) = &self.after {
            write!(f, "<a class=\"button small\" rel=\"next\" href=\"{}\">Next</a>", escape(after))?;
        }
        f.write_str("</nav>")
    }
}

impl HtmlSafe for Pager {}

/// `1234567` as `1,234,567`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many instances are in which state, as a bar.
#[derive(Debug)]
pub struct Progress<'a>(pub &'a [(TaskState, i64)]);

impl Display for Progress<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let total: i64 = self.0.iter().map(|(_, count)| count).sum();
        if total == 0 {
            return Ok(());
        }
        let mut told = String::new();
        for (state, count) in self.0 {
            write!(told, "{count} {}, ", state.as_str().replace('_', " "))?;
        }
        let told = told.trim_end_matches(", ");
        write!(f, "<svg class=\"progress\" viewBox=\"0 0 {total} 1\" preserveAspectRatio=\"none\" role=\"img\" ")?;
        write!(f, "aria-label=\"{told}\">")?;
        let mut x = 0;
        for (state, count) in self.0 {
            write!(f, "<rect class=\"s-{}\" x=\"{x}\" width=\"{count}\" height=\"1\"/>", state.as_str())?;
            x += count;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for Progress<'_> {}

/// A schedule in a few words, with its zone if that is not UTC.
pub fn schedule(spec: &DagSpec) -> String {
    match foreign_zone(spec) {
        Some(zone) => format!("{} {zone}", expression(spec)),
        None => expression(spec),
    }
}

/// A schedule in a few words.
pub fn expression(spec: &DagSpec) -> String {
    let condition = spec.asset_schedule.as_ref().and_then(|spec| AssetCondition::from_spec(spec).ok());
    match (condition, &spec.schedule) {
        (None, schedule) => schedule.to_string(),
        (Some(condition), ScheduleSpec::Manual) => condition.to_string(),
        (Some(condition), schedule) => format!("{condition} or {schedule}"),
    }
}

/// The zone that a cron schedule is read in, if it is not UTC.
pub fn foreign_zone(spec: &DagSpec) -> Option<String> {
    (matches!(spec.schedule, ScheduleSpec::Cron { .. }) && spec.timezone != "UTC").then(|| spec.timezone.clone())
}

/// The dag's zone, or UTC if it has none that is known.
pub fn zone(spec: &DagSpec) -> Tz {
    spec.timezone.parse().unwrap_or(Tz::UTC)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_state_has_an_icon_of_its_own() {
        let paths: BTreeSet<_> = STATE_PATHS.iter().map(|(_, path)| path).collect();
        assert_eq!(paths.len(), TaskState::ALL.len());
        for state in TaskState::ALL {
            assert!(STATE_PATHS.iter().any(|(name, _)| *name == state.as_str()), "{state}");
        }
    }

    #[test]
    fn what_waits_tells_when_it_goes_on() {
        let [at, now] = ["2026-01-31T21:05:00Z", "2026-01-31T21:00:30Z"].map(|text| text.parse().unwrap());
        let wake = When { at: Some(at), zone: Zones { shown: Tz::UTC, of_dag: Tz::UTC } };
        let told = |state| Wait::new(state, None, wake, now).to_string();
        for (message, what) in [
            (None, "next poke"),
            (Some("waits for asset `a`"), "at the latest"),
            (Some("its runner process is gone"), "starts again"),
        ] {
            let told = Wait::new(TaskState::UpForReschedule, message, wake, now).to_string();
            assert!(told.starts_with(&format!("<span class=\"wait\">{what}")), "{told}");
        }
        assert!(told(TaskState::UpForRetry).contains(">in 4 m 30 s<"), "{}", told(TaskState::UpForRetry));
        assert_eq!(told(TaskState::Running), "");
        assert!(Wait::new(TaskState::UpForRetry, None, wake, at).to_string().contains(">now<"));
    }

    #[test]
    fn instants_are_told_in_the_chosen_zone_and_in_that_of_the_dag() {
        let at = "2026-01-31T21:00:00Z".parse().unwrap();
        let when = |shown, of_dag| When { at: Some(at), zone: Zones { shown, of_dag } };
        let seoul: Tz = "Asia/Seoul".parse().unwrap();
        let shown = when(Tz::UTC, seoul).to_string();
        assert!(shown.contains("datetime=\"2026-01-31T21:00:00Z\""), "{shown}");
        assert!(shown.contains("2026-02-01 06:00:00 in Asia/Seoul"), "{shown}");
        assert!(shown.contains(">2026-01-31 21:00:00 UTC<"), "{shown}");
        assert!(!when(Tz::UTC, Tz::UTC).to_string().contains(" in "));
        let shown = WhenBoth(when("Europe/Berlin".parse().unwrap(), seoul)).to_string();
        assert!(shown.contains(">2026-01-31 22:00:00 CET<"), "{shown}");
        assert!(shown.contains(">2026-02-01 06:00:00 KST<"), "{shown}");
        let shown = WhenBoth(when(seoul, seoul)).to_string();
        assert!(shown.contains("KST</time><small title=\"UTC\">2026-01-31 21:00:00 UTC<"), "{shown}");
    }

    #[test]
    fn spans_and_sizes_have_a_unit() {
        let span = |ms| Span(Some(Duration::from_millis(ms))).to_string();
        assert_eq!([span(7), span(1_240), span(125_000), span(3_900_000)], ["7 ms", "1.2 s", "2 m 5 s", "1 h 5 m"]);
        assert_eq!(Span(None).to_string(), "–");
        let [start, end, now] = [0, 1_000_000, 2_000_000].map(Timestamp::from_micros);
        let lasting = |start, end| Lasting::between(start, end, now).to_string();
        assert_eq!(lasting(Some(start), None), "<span data-lasted=\"2000\">2.0 s</span>");
        assert_eq!([lasting(Some(start), Some(end)), lasting(None, None)], ["1.0 s", "–"]);
        assert_eq!(
            [Bytes(0).to_string(), Bytes(1_536).to_string(), Bytes(3 << 30).to_string()],
            ["0 B", "1.5 KiB", "3.0 GiB"]
        );
        assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1,000", "1,234,567"]);
    }

    #[test]
    fn text_is_escaped_wherever_it_is_put() {
        let evil = "<script>'\"&";
        let safe = "&lt;script&gt;&#39;&quot;&amp;";
        assert_eq!(Html::new().text(evil).to_string(), safe);
        assert!(Facts::new().text(evil, evil).to_string().contains(&format!("<dt>{safe}</dt><dd>{safe}</dd>")));
        assert!(Crumbs::new([(evil.to_owned(), evil.to_owned())]).to_string().contains(&format!("\"{safe}\">{safe}")));
    }

    #[test]
    fn a_pager_leads_to_what_is_before_and_after() {
        let pager = |offset, shown, total| Pager::new(offset, 50, shown, total, |at| format!("?offset={at}"));
        assert!(pager(0, 50, 120).before.is_none());
        assert_eq!(pager(50, 50, 120).before.as_deref(), Some("?offset=0"));
        assert_eq!(pager(50, 50, 120).after.as_deref(), Some("?offset=100"));
        assert!(pager(100, 20, 120).after.is_none());
        assert!(pager(20_000, 50, 10_001).after.is_some());
        // Behind the end there is a way back to the last page that has rows; an empty list is just empty.
        let way_back = |offset, shown, total| pager(offset, shown, total).way_back().map(|html| html.to_string());
        assert!(way_back(5_000, 0, 120).unwrap().contains("<a href=\"?offset=100\">"));
        assert!(way_back(100, 0, 100).unwrap().contains("<a href=\"?offset=50\">"));
        assert_eq!([way_back(100, 20, 120), way_back(0, 0, 0), way_back(50, 0, 0)], [None, None, None]);
    }
}
