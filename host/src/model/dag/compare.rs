//! What differs between two versions of a dag, for people.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::{ids::Digest, spec::DagSpec};

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What it is of, as `dag`, `task load`, `group parts`, `edge a -> b`.
    pub of: String,
    /// The field; none: the whole came or went.
    pub field: Option<String>,
    /// None: it was not there, or had its default.
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
                (old, new) => parts.push(Difference {
                    of,
                    field: None,
                    before: old.map(|fields| Value::Object(fields.clone())),
                    after: new.map(|fields| Value::Object(fields.clone())),
                }),
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
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differ
        .map(|name| Difference {
            of: of.to_owned(),
            field: Some(name.clone()),
            before: before.get(name).filter(|value| !value.is_null()).cloned(),
            after: after.get(name).filter(|value| !value.is_null()).cloned(),
        })
        .collect()
}

fn fields(spec: &DagSpec) -> Map<String, Value> {
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
    use crate::model::spec::{NodeSpec, ScheduleSpec};

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
    }
}
