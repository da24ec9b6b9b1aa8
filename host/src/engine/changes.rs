//! All changes of one commit, at most one per row.

use std::collections::BTreeMap;

use super::{InstanceChange, InstanceId};

/// Gathers what the commands of several events say about the instances of one run, so that each row is written once.
#[derive(Debug, Default)]
pub struct Changes {
    rows: BTreeMap<InstanceId, Option<Box<InstanceChange>>>,
}

impl Changes {
    /// Adds a [`super::Command::Persist`]; it wins over what was added before.
    pub fn persist(&mut self, mut change: Box<InstanceChange>) {
        if let Some(Some(mut before)) = self.rows.remove(&change.instance) {
            change.is_new |= before.is_new;
            change.drop_results |= before.drop_results;
            if before.archive {
                change.archive = true;
                change.ended = before.ended.take();
            } else if change.archive {
                change.ended = Some(before);
            }
        }
        self.rows.insert(change.instance, Some(change));
    }

    /// Adds a [`super::Command::Delete`].
    pub fn delete(&mut self, instance: InstanceId) {
        match self.rows.get(&instance) {
            Some(Some(before)) if before.is_new => self.rows.remove(&instance),
            _ => self.rows.insert(instance, None),
        };
    }

    /// The changes in the order of their ids; `None`: the row is to go.
    pub fn into_iter_rows(self) -> impl Iterator<Item = (InstanceId, Option<Box<InstanceChange>>)> {
        self.rows.into_iter()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
