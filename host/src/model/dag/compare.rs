//! What differs between two versions of a dag, for people.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{
    ids::Digest,
    spec::{DagSpec, NodeSpec},
};

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What it is of, as `dag`, `task load`, `group parts`, `edge a -> b`.
    pub of: String,
    /// The field, or the part of it that differs, as `grants.variables`; none: the whole came or went.
    pub field: Option<String>,
    /// None: it was not there, or had its default. Of a whole: what it said, without defaults.
    pub before: Option<Value>,
    /// None: it is not there any more, or has its default.
    pub after: Option<Value>,
}

/// Lists of things that have a name: the field of the list, what one is called, and the fields that name it.
const NAMED: [(&str, &str, &str); 4] = [
    ("nodes", "task", "task_id"),
    ("groups", "group", "group_id"),
    ("params", "param", "name"),
    ("assets", "asset", "name"),
];

/// The differences from `before` to `after`: of the dag itself first, then of what it is made of, by name.
pub fn differences(before: &DagSpec, after: &DagSpec) -> Vec<Difference> {
    let (mut before_fields, mut after_fields) = (fields(before), fields(after));
    let mut parts = Vec::new();
    for (list, kind, name) in NAMED {
        let (old, new) = (named(before_fields.remove(list), name), named(after_fields.remove(list), name));
        for id in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let of = format!("{kind} {id}");
            match (old.get(id), new.get(id)) {
                (Some(old), Some(new)) => parts.extend(of_fields(&of, old, new)),
                (old, new) => parts.push(Difference { of, field: None, before: old.map(said), after: new.map(said) }),
            }
        }
    }
    before_fields.remove("edges");
    after_fields.remove("edges");
    let edge = |(from, to): &(String, String), before: bool| Difference {
        of: format!("edge {from} -> {to}"),
        field: None,
        before: before.then_some(Value::Bool(true)),
        after: (!before).then_some(Value::Bool(true)),
    };
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.edges.iter().collect(), after.edges.iter().collect());
    parts.extend(old.difference(&new).map(|gone| edge(gone, true)));
    parts.extend(new.difference(&old).map(|come| edge(come, false)));
    let mut differences = of_fields("dag", &before_fields, &after_fields);
    differences.extend(parts);
    differences
}

/// Whether tasks may do other things though the two say the same: those of the component that the dag came with, if that is another.
/// Tasks of a dag in YAML name their components themselves, so that another one is a difference of theirs.
pub fn is_other_code(before: Digest, after: Digest, spec: &DagSpec) -> bool {
    before != after && spec.nodes.iter().any(|node| node.component.is_none())
}

fn of_fields(of: &str, before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut put = |field: &str, before: Option<&Value>, after: Option<&Value>| {
        let there = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
        let (of, field) = (of.to_owned(), Some(field.to_owned()));
        differences.push(Difference { of, field, before: there(before), after: there(after) });
    };
    walk("", before, after, &mut put);
    differences
}

/// Goes down to what differs. Objects without a key in common are two things, and not one that changed.
fn walk(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    put: &mut impl FnMut(&str, Option<&Value>, Option<&Value>),
) {
    for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let field = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (before.get(name), after.get(name)) {
            (old, new) if old == new => {}
            (Some(Value::Object(old)), Some(Value::Object(new))) if old.keys().any(|key| new.contains_key(key)) => {
                walk(&field, old, new, put);
            }
            (old, new) => put(&field, old, new),
        }
    }
}

/// What a part says: none of its names (they stand before it), nothing that is so if nothing is said.
fn said(fields: &Map<String, Value>) -> Value {
    let defaults = fields_of(&NodeSpec::new("", ""));
    let is_name = |key: &str| NAMED.iter().any(|(.., name)| *name == key);
    let said = fields.iter().filter(|(key, value)| {
        !is_name(key) && !value.is_null() && **value != Value::Bool(false) && defaults.get(*key) != Some(*value)
    });
    Value::Object(said.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Inputs of a task are told apart by name.
fn fields(spec: &DagSpec) -> Map<String, Value> {
    let mut fields = fields_of(spec);
    for node in fields.get_mut("nodes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(inputs) = node.get_mut("inputs") {
            let by_name = named(Some(inputs.take()), "name").into_iter();
            let sources = by_name.map(|(name, mut input)| (name, input.remove("source").unwrap_or_default()));
            *inputs = Value::Object(sources.collect());
        }
    }
    fields
}

fn fields_of(spec: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        // A spec is written to the database in the same way.
        Ok(_) | Err(_) => Map::new(),
    }
}

fn named(list: Option<Value>, name: &str) -> BTreeMap<String, Map<String, Value>> {
    let Some(Value::Array(items)) = list else { return BTreeMap::new() };
    let named = items.into_iter().filter_map(|item| match item {
        Value::Object(fields) => Some((fields.get(name)?.as_str()?.to_owned(), fields)),
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::spec::{BindingSpec, ScheduleSpec, SourceSpec};

    fn spec(tasks: &[&str], edges: &[(&str, &str)]) -> DagSpec {
        DagSpec {
            nodes: tasks.iter().map(|id| NodeSpec::new(*id, "work")).collect(),
            edges: edges.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect(),
            ..DagSpec::new("d")
        }
    }

    #[test]
    fn code_is_another_only_where_no_task_tells_of_it() {
        let (old, new) = (Digest([1; 32]), Digest([2; 32]));
        let mut dag = spec(&["a"], &[]);
        assert!(is_other_code(old, new, &dag) && !is_other_code(old, old, &dag));
        dag.nodes[0].component = Some(Digest([3; 32]));
        assert!(!is_other_code(old, new, &dag));
    }

    #[test]
    fn what_came_went_and_changed_is_named() {
        let before = spec(&["a", "b", "c"], &[("a", "b"), ("b", "c")]);
        assert_eq!(differences(&before, &before), []);
        let mut after = spec(&["c", "a", "x"], &[("a", "x")]);
        after.schedule = ScheduleSpec::Once;
        after.nodes[0].retries = 2;
        let line = |it: &Difference| {
            let what = match (&it.before, &it.after) {
                (None, _) => "came",
                (_, None) => "went",
                _ => "changed",
            };
            format!("{} {}{what}", it.of, it.field.as_deref().map(|field| format!("{field} ")).unwrap_or_default())
        };
        let found = differences(&before, &after);
        assert_eq!(
            found.iter().map(line).collect::<Vec<_>>(),
            [
                "dag schedule changed",
                "task b went",
                "task c retries changed",
                "task x came",
                "edge a -> b went",
                "edge b -> c went",
                "edge a -> x came"
            ]
        );
        assert_eq!((&found[2].before, &found[2].after), (&Some(json!(0)), &Some(json!(2))));
        assert_eq!(found[3].after, Some(json!({"entry": "work"})), "defaults are not told");
    }

    #[test]
    fn only_the_part_that_differs_is_told() {
        let mut before = spec(&["a"], &[]);
        before.schedule = ScheduleSpec::cron("@daily", false);
        let input = |name: &str, text: &str| BindingSpec {
            name: name.to_owned(),
            source: SourceSpec::Literal(text.to_owned()),
        };
        before.nodes[0].inputs = vec![input("x", "1"), input("y", "2")];
        let mut after = before.clone();
        after.schedule = ScheduleSpec::cron("@hourly", false);
        after.grants.variables = vec!["v".into()];
        after.nodes[0].inputs = vec![input("y", "3"), input("z", "4")];
        let told = differences(&before, &after).into_iter().map(|it| {
            let field = it.field.unwrap_or_default();
            (field, it.before.unwrap_or_default(), it.after.unwrap_or_default())
        });
        let told: Vec<_> = told.collect();
        let fields: Vec<_> = told.iter().map(|(field, ..)| field.as_str()).collect();
        assert_eq!(
            fields,
            ["grants.variables", "schedule.cron.expressions", "inputs.x", "inputs.y.literal", "inputs.z"],
            "{told:?}"
        );
        assert_eq!((&told[3].1, &told[3].2), (&json!("2"), &json!("3")));
        assert_eq!(told[4].2, json!({"literal": "4"}));
    }
}
