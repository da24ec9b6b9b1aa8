//! The entries that a dag's nodes may name.

use std::collections::BTreeMap;

use crate::model::{
    ids::Digest,
    spec::{EntrySpec, NodeSpec},
};

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
