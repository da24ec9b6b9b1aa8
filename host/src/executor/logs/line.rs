//! One line of a log as it is stored and shown.

use std::{borrow::Cow, sync::Arc};

use super::LogLine;
use crate::{
    secrets::Masker,
    wire::{Level, Line, LineSource},
};

/// A longer message, or name of who speaks, is cut.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
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
    let mut json = Vec::with_capacity(128 + line.message.len());
    json.extend_from_slice(b"{\"timestamp\":\"");
    json.extend_from_slice(line.at.to_string().as_bytes());
    json.extend_from_slice(b"\",\"level\":\"");
    json.extend_from_slice(level_word(line.level).as_bytes());
    json.extend_from_slice(b"\",\"source\":\"");
    json.extend_from_slice(source_word(line.source).as_bytes());
    json.push(b'"');
    if !line.target.is_empty() {
        push_field(&mut json, "logger", cut(&line.target, MAX_MESSAGE_BYTES), masker);
    }
    push_field(&mut json, "event", cut(&line.message, MAX_MESSAGE_BYTES), masker);
    let mut left = MAX_FIELDS_BYTES;
    for (name, value) in &line.fields {
        let Some(rest) = left.checked_sub(name.len() + value.len()) else { break };
        left = rest;
        if OWN_NAMES.contains(&name.as_str()) {
            push_field(&mut json, &format!("{name}_"), value, masker);
        } else {
            push_field(&mut json, name, value, masker);
        }
    }
    json.push(b'}');
    Arc::from(String::from_utf8_lossy(&json))
}

fn push_field(json: &mut Vec<u8>, name: &str, value: &str, masker: Option<&Masker>) {
    json.push(b',');
    push_text(json, name, masker);
    json.push(b':');
    push_text(json, value, masker);
}

fn push_text(json: &mut Vec<u8>, text: &str, masker: Option<&Masker>) {
    let shown = masker.map_or(Cow::Borrowed(text), |masker| masker.mask(text));
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
    fn what_is_too_long_is_cut() {
        let long = "ä".repeat(MAX_MESSAGE_BYTES);
        let text = render(&line(&long, &[("a", &long), ("b", "c")]), None);
        assert!(text.len() < MAX_MESSAGE_BYTES + 1_000);
    }
}
