//! One line of a log as it is stored and shown.

use std::{borrow::Cow, sync::Arc};

use super::LogLine;
use crate::{
    secrets::Masker,
    wire::{Level, Line, LineSource},
};

/// A longer message, or name of who speaks, is cut. Runners cut all texts of a line to so many together.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// A line with so many was cut, or might have been: characters stay whole.
const MAYBE_CUT_BYTES: u64 = (MAX_MESSAGE_BYTES - 3) as u64;
/// What a line's fields may have in all.
const MAX_FIELDS_BYTES: usize = 64 << 10;
/// Names that a line has of itself.
const OWN_NAMES: &[&str] = &["timestamp", "level", "source", "logger", "event"];

/// Airflow's word for a level.
fn level_word(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warning",
        Level::Error => "error",
    }
}

fn source_word(source: LineSource) -> &'static str {
    match source {
        LineSource::Log => "log",
        LineSource::Stdout => "stdout",
        LineSource::Stderr => "stderr",
        LineSource::Airlock => "airlock",
    }
}

/// `line` as a JSON object, masked.
pub(in crate::executor) fn render(line: &Line, masker: Option<&Masker>) -> LogLine {
    let hide = masker.map(|masker| Hide { masker, is_cut: line.cost() >= Line::COST + MAYBE_CUT_BYTES });
    let mut json = Vec::with_capacity(128 + line.message.len());
    json.extend_from_slice(b"{\"timestamp\":\"");
    json.extend_from_slice(line.at.to_string().as_bytes());
    json.extend_from_slice(b"\",\"level\":\"");
    json.extend_from_slice(level_word(line.level).as_bytes());
    json.extend_from_slice(b"\",\"source\":\"");
    json.extend_from_slice(source_word(line.source).as_bytes());
    json.push(b'"');
    if !line.target.is_empty() {
        push_field(&mut json, "logger", cut(&line.target, MAX_MESSAGE_BYTES), hide);
    }
    push_field(&mut json, "event", cut(&line.message, MAX_MESSAGE_BYTES), hide);
    let mut left = MAX_FIELDS_BYTES;
    for (name, value) in &line.fields {
        let Some(rest) = left.checked_sub(name.len() + value.len()) else { break };
        left = rest;
        if OWN_NAMES.contains(&name.as_str()) {
            push_field(&mut json, &format!("{name}_"), value, hide);
        } else {
            push_field(&mut json, name, value, hide);
        }
    }
    json.push(b'}');
    Arc::from(String::from_utf8_lossy(&json))
}

/// How secrets are hidden in the texts of a line.
#[derive(Clone, Copy)]
struct Hide<'a> {
    masker: &'a Masker,
    /// A text may end within a secret.
    is_cut: bool,
}

fn push_field(json: &mut Vec<u8>, name: &str, value: &str, hide: Option<Hide<'_>>) {
    json.push(b',');
    push_text(json, name, hide.map(|hide| Hide { is_cut: false, ..hide }));
    json.push(b':');
    push_text(json, value, hide);
}

fn push_text(json: &mut Vec<u8>, text: &str, hide: Option<Hide<'_>>) {
    let shown = match hide {
        None => Cow::Borrowed(text),
        Some(Hide { masker, is_cut: false }) => masker.mask(text),
        Some(Hide { masker, is_cut: true }) => Cow::Owned(masker.mask_cut(text)),
    };
    // Text into memory can't fail.
    let _ = serde_json::to_writer(json, &shown);
}

/// The first `max` bytes of `text`, at a character's boundary.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max { text } else { &text[..text.floor_char_boundary(max)] }
}

#[cfg(test)]
mod tests {
    use crate::model::time::Timestamp;

    use super::*;

    fn line(message: &str, fields: &[(&str, &str)]) -> Line {
        Line {
            at: Timestamp::from_micros(1_500_000),
            level: Level::Warn,
            source: LineSource::Log,
            target: "app::db".into(),
            message: message.into(),
            fields: fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        }
    }

    #[test]
    fn a_line_is_one_json_object_in_the_manner_of_structlog() {
        let text = render(&line("a\n\"b\"", &[("rows", "3"), ("event", "mine")]), None);
        assert_eq!(
            &*text,
            r#"{"timestamp":"1970-01-01T00:00:01.500Z","level":"warning","source":"log","logger":"app::db","event":"a\n\"b\"","rows":"3","event_":"mine"}"#
        );
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let masker = Masker::new(["hunter2!"]);
        let mut line = line("password hunter2! sent", &[("hunter2!", "x"), ("y", "hunter2!")]);
        line.target = "hunter2!".into();
        let text = render(&line, Some(&masker));
        assert!(!text.contains("hunter2!"), "{text}");
        assert_eq!(text.matches("***").count(), 4);
    }

    #[test]
    fn a_secret_that_was_cut_with_its_line_is_masked() {
        let masker = Masker::new(["hunter2!"]);
        let before = "x".repeat(MAX_MESSAGE_BYTES - "app::db".len() - 4);
        let cut = render(&line(&format!("{before}hunt"), &[]), Some(&masker));
        assert!(cut.ends_with(r#"x***"}"#), "{}", &cut[cut.len() - 20..]);
        let fields = [("key", "hunt")];
        let cut = render(&line(&before[..before.len() - 3], &fields), Some(&masker));
        assert!(cut.ends_with(r#""key":"***"}"#), "{}", &cut[cut.len() - 20..]);
        let whole = render(&line("hunt", &[]), Some(&masker));
        assert!(whole.ends_with(r#""event":"hunt"}"#), "{whole}");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "ä".repeat(MAX_MESSAGE_BYTES);
        let text = render(&line(&long, &[("a", &long), ("b", "c")]), None);
        assert!(text.len() < MAX_MESSAGE_BYTES + 1_000);
    }
}
