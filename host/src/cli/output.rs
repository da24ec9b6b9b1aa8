//! What commands print: tables for people, JSON and YAML for scripts.
//!
//! Results go to standard output, everything about them to standard error. Text that came from a server is shown
//! without control characters: a dag's description can't drive somebody's terminal.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
};

use comfy_table::{Cell, Color, Table, presets};
use serde_json::Value;

use super::error::{CliError, Kind, Result};

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// A column of a table: its title and where its value is (a JSON pointer).
pub type Column = (&'static str, &'static str);

impl Format {
    /// Prints a list: an array of objects, or a table with `columns`.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub fn list(self, items: &[Value], columns: &[Column]) -> Result<()> {
        if self != Self::Table {
            return self.value(&Value::Array(items.to_vec()));
        }
        let mut table = new_table();
        table.set_header(columns.iter().map(|(title, _)| title.to_uppercase()));
        for item in items {
            table.add_row(columns.iter().map(|(_, pointer)| cell(item.pointer(pointer))));
        }
        print_table(&mut table)
    }

    /// Prints one object: as it is, or as a table of its fields.
    ///
    /// # Errors
    /// If standard output can't be written.
    pub fn object(self, object: &Value) -> Result<()> {
        if self != Self::Table {
            return self.value(object);
        }
        let mut table = new_table();
        for (key, value) in object.as_object().into_iter().flatten() {
            table.add_row([Cell::new(printable(key)), cell(Some(value))]);
        }
        print_table(&mut table)
    }

    fn value(self, value: &Value) -> Result<()> {
        let text = match self {
            Self::Yaml => serde_saphyr::to_string(value).map_err(|error| CliError::new(Kind::Failed, error))?,
            Self::Table | Self::Json => return json(value),
        };
        print(&text)
    }
}

/// Writes to standard output. A reader that has gone (as in `| head`) is the end of the command, not a fault.
///
/// # Errors
/// If standard output can't be written.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Prints JSON, of several lines.
///
/// # Errors
/// If standard output can't be written.
pub fn json(value: &Value) -> Result<()> {
    print(&escaped(&format!("{value:#}\n")))
}

/// Prints JSON on one line.
///
/// # Errors
/// If standard output can't be written.
pub fn json_line(value: &Value) -> Result<()> {
    print(&escaped(&format!("{value}\n")))
}

/// JSON in which characters that drive terminals are escaped; it means the same.
fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(is_bad) {
        return Cow::Borrowed(json);
    }
    let escape = |all: String, c: char| {
        if is_bad(c) { all + &format!("\\u{:04x}", u32::from(c)) } else { all + c.encode_utf8(&mut [0; 4]) }
    };
    Cow::Owned(json.chars().fold(String::with_capacity(json.len()), escape))
}

/// Tells people something about a result; scripts do not see it.
pub fn note(text: &str) {
    // Nobody can be told that standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(text));
}

/// Whether standard output is a terminal that wants colours.
pub fn colored() -> bool {
    std::io::stdout().is_terminal() && colors_wanted()
}

/// A line of what changed: one that came is green on a terminal that wants colours, one that went is red.
pub fn changed_line(line: &str) -> String {
    let line = printable(line).replace('\n', " ");
    let color = match line.trim_start().chars().next() {
        _ if !colored() => None,
        Some('+') => Some(32),
        Some('-') => Some(31),
        _ => None,
    };
    color.map_or_else(|| format!("{line}\n"), |color| format!("\u{1b}[{color}m{line}\u{1b}[0m\n"))
}

/// Whether standard error is a terminal that wants colours.
pub fn error_colored() -> bool {
    std::io::stderr().is_terminal() && colors_wanted()
}

/// See <https://no-color.org>.
fn colors_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// `text` with every control character but tab and line feed replaced.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_bad) { Cow::Owned(text.replace(is_bad, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// Whether a character moves a terminal's cursor, or changes what stands before it.
fn is_bad(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t' || is_bidi_override(c)
}

fn is_bidi_override(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn print_table(table: &mut Table) -> Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    print(&text)
}

fn cell(value: Option<&Value>) -> Cell {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    let cell = Cell::new(printable(&text).replace('\n', " "));
    if !colored() {
        return cell;
    }
    match text.as_str() {
        "success" => cell.fg(Color::Green),
        "running" | "queued" | "scheduled" | "restarting" => cell.fg(Color::Cyan),
        "failed" | "upstream_failed" => cell.fg(Color::Red),
        "up_for_retry" | "up_for_reschedule" | "skipped" => cell.fg(Color::Yellow),
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\tc\nd\u{202e}e"), "a\u{fffd}[31mb\tc\nd\u{fffd}e");
        assert!(matches!(printable("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_that_is_printed_means_the_same_and_drives_no_terminal() {
        let value = serde_json::json!({"a\u{9b}31m": "\u{1b}[2J \u{7f} \u{202e} é \u{1f389}\n"});
        for text in [format!("{value:#}\n"), format!("{value}\n")] {
            let printed = escaped(&text);
            assert!(!printed.contains(is_bad), "{printed:?}");
            assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
        }
        assert!(matches!(escaped("{}\n"), Cow::Borrowed(_)));
    }
}
