//! How `airlock dags diff` shows what a version of a dag changed.

use serde_json::Value;

use super::{
    error::Result,
    output::{self, Format, note},
};

/// Prints an answer of `.../differences`: for people as lines that came (`+`) and went (`-`), for scripts as the list that it is.
///
/// # Errors
/// If standard output can't be written.
pub fn show(answer: &Value, format: Format) -> Result<()> {
    let differences = answer.get("differences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_other_code = answer.get("component_changed") == Some(&Value::Bool(true));
    if is_other_code {
        note("the component is another: tasks may do other things though they look the same");
    }
    if format != Format::Table {
        return format.list(differences, &[]);
    }
    if differences.is_empty() && !is_other_code {
        note("nothing that the dag says differs");
    }
    output::print(&lines(differences).iter().map(|line| output::changed_line(line)).collect::<String>())
}

/// A heading for each part that changed, its fields below; what came or went whole has the sign itself.
fn lines(differences: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut last = None;
    for difference in differences {
        let of = difference.get("of").and_then(Value::as_str).unwrap_or_default();
        let sides = [('-', difference.get("before")), ('+', difference.get("after"))];
        let sides = sides.into_iter().filter_map(|(sign, value)| Some((sign, value.filter(|it| !it.is_null())?)));
        if let Some(field) = difference.get("field").and_then(Value::as_str) {
            if last != Some(of) {
                lines.push(of.to_owned());
            }
            lines.extend(sides.map(|(sign, value)| format!("  {sign} {field}: {}", shown(value))));
        } else {
            for (sign, value) in sides {
                lines.push(format!("{sign} {of}"));
                let fields = value.as_object().into_iter().flatten();
                lines.extend(fields.map(|(name, value)| format!("  {sign} {name}: {}", shown(value))));
            }
        }
        last = Some(of);
    }
    lines
}

/// Texts as they are, all else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_read_line_by_line() {
        let differences = json!([
            {"of": "dag", "field": "tags", "before": [], "after": ["new"]},
            {"of": "task load", "field": "retries", "before": 1, "after": 3},
            {"of": "task load", "field": "doc", "before": null, "after": "two\nlines"},
            {"of": "task old", "field": null, "before": {"entry": "empty"}, "after": null},
            {"of": "edge a -> b", "field": null, "before": null, "after": true},
        ]);
        assert_eq!(
            lines(differences.as_array().unwrap()),
            [
                "dag",
                "  - tags: []",
                "  + tags: [\"new\"]",
                "task load",
                "  - retries: 1",
                "  + retries: 3",
                "  + doc: two\nlines",
                "- task old",
                "  - entry: empty",
                "+ edge a -> b"
            ]
        );
    }
}
