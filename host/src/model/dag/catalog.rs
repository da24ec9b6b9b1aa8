//! The entries that a dag's nodes may name.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;

use crate::model::{
    ids::{Digest, EntryName},
    spec::{EntrySpec, NodeSpec},
};

/// Whether the entries of a component can be named and told apart, and their schemas are JSON. A schema that can't be used is let
/// through: the task itself says what does not fit.
///
/// # Errors
/// The first that is wrong.
pub fn check_entries(entries: &[EntrySpec]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = EntryName::new(&entry.name).map_err(|error| error.to_string())?;
        if !names.insert(name) {
            return Err(format!("the component carries entry `{}` twice; rename one", entry.name));
        }
        let mut inputs = BTreeSet::new();
        for input in &entry.inputs {
            let place = format!("entry `{}`: input `{}`", entry.name, super::shorten(&input.name));
            if !inputs.insert(&input.name) {
                return Err(format!("{place} is there twice; rename one"));
            }
            check_json(&input.schema).map_err(|error| format!("{place}: its schema is not JSON: {error}"))?;
        }
        if let Some(output) = &entry.output {
            let wrong = |error| format!("entry `{}`: the schema of its result is not JSON: {error}", entry.name);
            check_json(output).map_err(wrong)?;
        }
    }
    Ok(())
}

fn check_json(text: &str) -> Result<IgnoredAny, serde_json::Error> {
    serde_json::from_str(text)
}

/// The entries of the component that a dag came with, and those of others that its nodes name.
#[derive(Debug, Default)]
pub struct Catalog<'a> {
    by_component: BTreeMap<Option<Digest>, BTreeMap<&'a str, &'a EntrySpec>>,
}

impl<'a> Catalog<'a> {
    /// The entries of the component that the dag came with.
    pub fn new(entries: &'a [EntrySpec]) -> Self {
        let mut catalog = Self::default();
        catalog.put(None, entries);
        catalog
    }

    /// Adds the entries of another component.
    #[must_use]
    pub fn with(mut self, component: Digest, entries: &'a [EntrySpec]) -> Self {
        self.put(Some(component), entries);
        self
    }

    fn put(&mut self, component: Option<Digest>, entries: &'a [EntrySpec]) {
        self.by_component.insert(component, entries.iter().map(|entry| (entry.name.as_str(), entry)).collect());
    }

    /// The entry that `node` names.
    ///
    /// # Errors
    /// If there is none.
    pub fn entry(&self, node: &NodeSpec) -> Result<&'a EntrySpec, String> {
        let found = self.by_component.get(&node.component).and_then(|entries| entries.get(node.entry.as_str()));
        found.copied().ok_or_else(|| {
            let entry = super::shorten(&node.entry);
            match node.component {
                None => format!("the component has no entry `{entry}`"),
                Some(component) => format!("component {component} has no entry `{entry}`"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::ParameterSpec;

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        let input =
            |name: &str, schema: &str| ParameterSpec { name: name.into(), schema: schema.into(), required: true };
        let entry = |name: &str, inputs: &[ParameterSpec], output: Option<&str>| EntrySpec {
            name: name.into(),
            doc: None,
            inputs: inputs.into(),
            output: output.map(Into::into),
        };
        for (entries, says) in [
            (vec![entry("two words", &[], None)], "entry name `two words` is not valid"),
            (vec![entry("a", &[], None), entry("a", &[], None)], "carries entry `a` twice"),
            (vec![entry("a", &[input("x", "{}"), input("x", "{}")], None)], "entry `a`: input `x` is there twice"),
            (vec![entry("a", &[input("x", "int")], None)], "entry `a`: input `x`: its schema is not JSON"),
            (vec![entry("a", &[], Some(""))], "entry `a`: the schema of its result is not JSON"),
        ] {
            let error = check_entries(&entries).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let right = [entry("a", &[input("x", "{}"), input("y", "true")], Some("{}")), entry("b", &[], None)];
        assert_eq!(check_entries(&right), Ok(()));
    }
}
