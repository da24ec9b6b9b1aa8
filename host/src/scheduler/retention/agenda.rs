//! When retention looks at what.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{ids::DagId, time::Timestamp};

/// What retention looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Runs of a dag and their logs.
    Dag(DagId),
    /// What all dags share: versions, components, the audit log, events of assets.
    Shared,
}

/// Duties by when they are due; each once.
#[derive(Debug, Default)]
pub struct Agenda {
    due: BTreeMap<Duty, Timestamp>,
    queue: BTreeSet<(Timestamp, Duty)>,
}

impl Agenda {
    /// Looks at it at `at`, or before if that was said already.
    pub fn add(&mut self, duty: Duty, at: Timestamp) {
        if let Some(known) = self.due.get(&duty) {
            if *known <= at {
                return;
            }
            self.queue.remove(&(*known, duty.clone()));
        }
        self.due.insert(duty.clone(), at);
        self.queue.insert((at, duty));
    }

    /// When something is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// What has been due for longest; it is off the agenda then.
    pub fn pop(&mut self, now: Timestamp) -> Option<Duty> {
        if self.next()? > now {
            return None;
        }
        let (_, duty) = self.queue.pop_first()?;
        self.due.remove(&duty);
        Some(duty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_is_done_once_when_it_is_first_due() {
        let at = Timestamp::from_micros;
        let dag = |id: &str| Duty::Dag(DagId::new(id).unwrap());
        let mut agenda = Agenda::default();
        assert_eq!((agenda.next(), agenda.pop(Timestamp::MAX)), (None, None));
        agenda.add(dag("a"), at(50));
        agenda.add(dag("b"), at(20));
        agenda.add(Duty::Shared, at(30));
        agenda.add(dag("a"), at(10));
        agenda.add(dag("a"), at(90));
        assert_eq!((agenda.next(), agenda.pop(at(9))), (Some(at(10)), None));
        let done: Vec<_> = std::iter::from_fn(|| agenda.pop(at(30))).collect();
        assert_eq!(done, [dag("a"), dag("b"), Duty::Shared]);
        assert_eq!(agenda.next(), None);
    }
}
