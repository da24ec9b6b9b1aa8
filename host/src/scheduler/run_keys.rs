//! Runs of a dag that says how many with the same key may run at a time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use chrono_tz::Tz;

use super::params;
use crate::{
    model::{
        dag::Concurrency,
        ids::DagId,
        spec::ParamSpec,
        state::RunState,
        template::{Known, MAX_LABEL_BYTES, RunScope, Scope},
        time::Timestamp,
    },
    store::{DagRunKey, DagRunRow},
};

/// The key of a run, or why it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RunKey {
    Text(Arc<str>),
    /// Such a run waits for none, and fails when it starts.
    Wrong(Arc<str>),
}

/// By what the keys of a dag's runs are found.
#[derive(Debug)]
pub struct KeyOf {
    pub concurrency: Concurrency,
    pub timezone: Tz,
    pub params: Vec<ParamSpec>,
}

impl KeyOf {
    fn key(&self, row: &DagRunRow) -> RunKey {
        match self.render(&row.dag_id, row) {
            Ok(text) => RunKey::Text(text.into()),
            Err(why) => RunKey::Wrong(why.into()),
        }
    }

    fn render(&self, dag_id: &DagId, row: &DagRunRow) -> Result<String, String> {
        let conf = row.conf.as_deref().ok_or("its params were not read")?;
        let params = params::merged(&self.params, conf);
        let params = serde_json::from_str(&params).map_err(|error| format!("its params can't be read: {error}"))?;
        let scope = Scope {
            run: RunScope {
                dag_id: dag_id.as_str(),
                run_id: row.run_id.as_str(),
                run_type: row.run_type,
                timezone: self.timezone,
                logical_date: row.logical_date,
                data_interval: row.data_interval,
                run_after: row.run_after,
                params: &params,
            },
            task: None,
            known: &Known::default(),
        };
        let text = self.concurrency.key.render(&scope).map_err(|halt| halt.to_string())?;
        match text.trim() {
            "" => Err("it is empty".to_owned()),
            text if text.len() > MAX_LABEL_BYTES => {
                Err(format!("it has {} bytes; a key may have {MAX_LABEL_BYTES}", text.len()))
            }
            text => Ok(text.to_owned()),
        }
    }
}

/// The unfinished runs of a dag, by key.
#[derive(Debug)]
pub struct RunKeys {
    key_of: KeyOf,
    of_run: HashMap<DagRunKey, RunKey>,
    by_key: BTreeMap<Arc<str>, Holders>,
    /// Queued runs that no other keeps from starting: of each key with room the first, and those without a key.
    free: BTreeSet<(Timestamp, DagRunKey)>,
}

#[derive(Debug, Default)]
struct Holders {
    running: BTreeSet<DagRunKey>,
    /// In the order in which they start.
    queue: BTreeSet<(Timestamp, DagRunKey)>,
}

impl RunKeys {
    pub fn new(key_of: KeyOf) -> Self {
        Self { key_of, of_run: HashMap::new(), by_key: BTreeMap::new(), free: BTreeSet::new() }
    }

    /// The key of a run, remembered until it leaves: while it waits, its conf may be in the database only.
    fn key(&mut self, row: &DagRunRow) -> RunKey {
        self.of_run.entry(row.key).or_insert_with(|| self.key_of.key(row)).clone()
    }

    fn known(&self, row: &DagRunRow) -> RunKey {
        self.of_run.get(&row.key).cloned().unwrap_or_else(|| self.key_of.key(row))
    }

    /// Counts a run where it stands. `in_line`: if it is queued, it stands in line here; one of a backfill does not.
    pub fn enter(&mut self, row: &DagRunRow, in_line: bool) {
        let at = (row.run_after, row.key);
        match row.state {
            RunState::Queued if !in_line => drop(self.key(row)),
            RunState::Success | RunState::Failed => {}
            RunState::Queued => self.change(row, |holders, free| match holders {
                Some(holders) => drop(holders.queue.insert(at)),
                None => drop(free.insert(at)),
            }),
            RunState::Running => self.change(row, |holders, _| {
                if let Some(holders) = holders {
                    holders.running.insert(row.key);
                }
            }),
        }
    }

    /// Counts a run no longer where it stood.
    pub fn leave(&mut self, row: &DagRunRow) {
        let at = (row.run_after, row.key);
        self.change(row, |holders, free| match holders {
            Some(holders) => {
                holders.queue.remove(&at);
                holders.running.remove(&row.key);
            }
            None => drop(free.remove(&at)),
        });
        self.of_run.remove(&row.key);
    }

    fn change(
        &mut self,
        row: &DagRunRow,
        change: impl FnOnce(Option<&mut Holders>, &mut BTreeSet<(Timestamp, DagRunKey)>),
    ) {
        let RunKey::Text(key) = self.key(row) else { return change(None, &mut self.free) };
        let limit = self.key_of.concurrency.limit as usize;
        let holders = self.by_key.entry(Arc::clone(&key)).or_default();
        let first = |holders: &Holders| holders.queue.first().copied().filter(|_| holders.running.len() < limit);
        let before = first(holders);
        change(Some(holders), &mut self.free);
        let after = first(holders);
        if holders.running.is_empty() && holders.queue.is_empty() {
            self.by_key.remove(&key);
        }
        if before != after {
            if let Some(before) = before {
                self.free.remove(&before);
            }
            self.free.extend(after);
        }
    }

    /// Queued runs that are due and that no other keeps from starting, in the order in which they start.
    pub fn startable(&self, now: Timestamp) -> impl Iterator<Item = DagRunKey> + '_ {
        self.free.iter().take_while(move |(run_after, _)| *run_after <= now).map(|(_, key)| *key)
    }

    /// Whether no running run keeps this one from starting.
    pub fn has_room(&self, row: &DagRunRow) -> bool {
        match self.known(row) {
            RunKey::Text(key) => {
                let running = self.by_key.get(&key).map_or(0, |holders| holders.running.len());
                running < self.key_of.concurrency.limit as usize
            }
            RunKey::Wrong(_) => true,
        }
    }

    /// When the next of the queued runs is due that could start then.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.free.iter().map(|(run_after, _)| *run_after).find(|run_after| *run_after > now)
    }

    /// Why a run can't have a key, and so can't run.
    pub fn wrong(&self, row: &DagRunRow) -> Option<String> {
        match self.known(row) {
            RunKey::Wrong(why) => Some(format!("its concurrency_key can't be rendered: {why}")),
            RunKey::Text(_) => None,
        }
    }

    /// The key of a run, how many may run with it, and those who do.
    pub fn held(&self, row: &DagRunRow) -> Option<(Arc<str>, u32, Vec<DagRunKey>)> {
        let RunKey::Text(key) = self.known(row) else { return None };
        let running = self.by_key.get(&key).map(|holders| holders.running.iter().copied().collect());
        Some((key, self.key_of.concurrency.limit, running.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::{
            dag::run_concurrency,
            spec::{ConcurrencySpec, DagSpec},
        },
        scheduler::runs,
        store::DagVersionKey,
    };

    fn keys(key: &str, limit: u32) -> RunKeys {
        let mut spec = DagSpec::new("d");
        spec.params.push(ParamSpec { name: "c".into(), schema: "{}".into(), default: Some("0".into()) });
        spec.concurrency = Some(ConcurrencySpec { key: key.into(), limit });
        let concurrency = run_concurrency(&spec).unwrap().unwrap();
        RunKeys::new(KeyOf { concurrency, timezone: Tz::UTC, params: spec.params })
    }

    fn row(number: i64, customer: u32, state: RunState) -> DagRunRow {
        let interval = crate::model::time::DataInterval { start: Timestamp::default(), end: Timestamp::default() };
        let next = crate::model::timetable::NextRun {
            logical_date: Timestamp::default(),
            data_interval: interval,
            run_after: Timestamp::default(),
        };
        let dag_id = DagId::new("d").unwrap();
        let new = runs::scheduled(DagRunKey(number), &dag_id, DagVersionKey(1), &next, Timestamp::default());
        DagRunRow { state, conf: Some(format!(r#"{{"c": {customer}}}"#).into()), ..runs::row_of(&new, 1) }
    }

    #[test]
    fn a_run_whose_key_can_not_be_rendered_is_kept_by_none_and_says_why() {
        let mut keys = keys("{{ conf.missing }}", 1);
        for number in 1..=2 {
            keys.enter(&row(number, 0, RunState::Queued), true);
        }
        assert_eq!(keys.startable(Timestamp::default()).count(), 2);
        assert!(keys.wrong(&row(1, 0, RunState::Queued)).unwrap().contains("there is no `missing` in the map"));
        keys.leave(&row(1, 0, RunState::Queued));
        assert_eq!(keys.startable(Timestamp::default()).collect::<Vec<_>>(), [DagRunKey(2)]);
    }

    proptest! {
        /// Starting whatever may start, in any order of events, never exceeds the limit, and never leaves a run waiting
        /// whose key has room.
        #[test]
        fn no_more_than_the_limit_run_with_one_key(
            limit in 1..3_u32,
            ops in prop::collection::vec((0..8_i64, prop::bool::ANY), 1..80),
        ) {
            let mut keys = keys("customer {{ params.c }}", limit);
            let customer = |number: i64| u32::try_from(number % 3).unwrap();
            let mut states: BTreeMap<i64, RunState> = BTreeMap::new();
            for (number, starts) in ops {
                match states.get(&number).copied() {
                    None => {
                        states.insert(number, RunState::Queued);
                        keys.enter(&row(number, customer(number), RunState::Queued), true);
                    }
                    Some(state) => {
                        keys.leave(&row(number, customer(number), state));
                        states.remove(&number);
                    }
                }
                let next = keys.startable(Timestamp::default()).next();
                if let Some(next) = next.filter(|_| starts) {
                    prop_assert!(keys.has_room(&row(next.0, customer(next.0), RunState::Queued)));
                    keys.leave(&row(next.0, customer(next.0), RunState::Queued));
                    keys.enter(&row(next.0, customer(next.0), RunState::Running), true);
                    states.insert(next.0, RunState::Running);
                }
                for wanted in 0..3 {
                    let of = |state: RunState| {
                        states.iter().filter(|(number, is)| customer(**number) == wanted && **is == state).count()
                    };
                    let running = of(RunState::Running);
                    prop_assert!(running <= limit as usize);
                    let waits = of(RunState::Queued) > 0 && running < limit as usize;
                    let free = keys.startable(Timestamp::default()).any(|run| customer(run.0) == wanted);
                    prop_assert_eq!(free, waits);
                }
            }
        }
    }
}
