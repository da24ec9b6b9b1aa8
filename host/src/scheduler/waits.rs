//! Which task instances wait for which runs: what the loop looks up when a run or task ends.
//!
//! The store has the same in its table `wait`. Nothing here is looked at while nothing ends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    engine::InstanceId,
    model::{
        ids::{AssetName, DagId},
        wait::{RunChoice, RunWait, Wait, WhichRun},
    },
    store::{DagRunKey, DagRunRow},
};

/// An instance of a loaded run.
pub type Waiter = (DagRunKey, InstanceId);

/// What one waits for.
#[derive(Debug, Clone)]
enum Awaited {
    Run(Arc<RunWait>),
    Asset(AssetName),
    /// What is asked stands in the store.
    Approval,
}

/// All who wait.
#[derive(Debug, Default)]
pub struct Waits {
    by_condition: BTreeMap<Arc<RunWait>, BTreeSet<Waiter>>,
    by_asset: BTreeMap<AssetName, BTreeSet<Waiter>>,
    by_waiter: HashMap<DagRunKey, BTreeMap<InstanceId, Awaited>>,
    /// How many conditions are about each dag.
    dags: HashMap<DagId, usize>,
}

impl Waits {
    /// Remembers that `waiter` waits for this, and for nothing else.
    pub fn add(&mut self, waiter: Waiter, wait: Wait) {
        self.remove(waiter);
        let awaited = match wait {
            Wait::Run(wait) => Awaited::Run(self.add_run_wait(waiter, wait)),
            Wait::Asset { asset, .. } => {
                self.by_asset.entry(asset.clone()).or_default().insert(waiter);
                Awaited::Asset(asset)
            }
            Wait::Approval(_) => Awaited::Approval,
        };
        self.by_waiter.entry(waiter.0).or_default().insert(waiter.1, awaited);
    }

    fn add_run_wait(&mut self, waiter: Waiter, wait: RunWait) -> Arc<RunWait> {
        let condition = if let Some((known, _)) = self.by_condition.get_key_value(&wait) {
            Arc::clone(known)
        } else {
            *self.dags.entry(wait.of.dag_id.clone()).or_default() += 1;
            Arc::new(wait)
        };
        self.by_condition.entry(Arc::clone(&condition)).or_default().insert(waiter);
        condition
    }

    /// Whether it waited.
    pub fn remove(&mut self, (run, instance): Waiter) -> bool {
        let Some(of_run) = self.by_waiter.get_mut(&run) else { return false };
        let Some(condition) = of_run.remove(&instance) else { return false };
        if of_run.is_empty() {
            self.by_waiter.remove(&run);
        }
        self.drop_waiter(&condition, (run, instance));
        true
    }

    /// Forgets what instances of a run wait for.
    pub fn forget(&mut self, run: DagRunKey) {
        for (instance, condition) in self.by_waiter.remove(&run).unwrap_or_default() {
            self.drop_waiter(&condition, (run, instance));
        }
    }

    fn drop_waiter(&mut self, awaited: &Awaited, waiter: Waiter) {
        let condition = match awaited {
            Awaited::Run(condition) => condition,
            Awaited::Asset(asset) => {
                if let Some(waiters) = self.by_asset.get_mut(asset) {
                    waiters.remove(&waiter);
                    if waiters.is_empty() {
                        self.by_asset.remove(asset);
                    }
                }
                return;
            }
            Awaited::Approval => return,
        };
        let Some(waiters) = self.by_condition.get_mut(condition) else { return };
        waiters.remove(&waiter);
        if waiters.is_empty() {
            self.by_condition.remove(condition);
            if let Some(count) = self.dags.get_mut(&condition.of.dag_id) {
                *count -= 1;
                if *count == 0 {
                    self.dags.remove(&condition.of.dag_id);
                }
            }
        }
    }

    /// Whether it waits for an answer.
    pub fn is_asking(&self, (run, instance): Waiter) -> bool {
        let awaited = self.by_waiter.get(&run).and_then(|of_run| of_run.get(&instance));
        matches!(awaited, Some(Awaited::Approval))
    }

    /// Whether anybody waits for a run of this dag.
    pub fn is_awaited(&self, dag_id: &DagId) -> bool {
        !self.dags.is_empty() && self.dags.contains_key(dag_id)
    }

    /// The conditions that may be about this run; those about the newest run only if it is.
    pub fn about(&self, run: &DagRunRow, is_newest: bool) -> Vec<Arc<RunWait>> {
        let named = |run_choice| RunChoice { dag_id: run.dag_id.clone(), run: run_choice };
        let newest = is_newest.then(|| named(WhichRun::Newest));
        let dated = run.logical_date.map(|date| named(WhichRun::LogicalDate(date)));
        let choices = [newest, dated, Some(named(WhichRun::RunId(run.run_id.clone())))];
        choices.into_iter().flatten().flat_map(|choice| self.of_choice(choice)).collect()
    }

    /// Whether anybody waits for the newest run of this dag.
    pub fn is_newest_awaited(&self, dag_id: &DagId) -> bool {
        self.is_choice_awaited(RunChoice { dag_id: dag_id.clone(), run: WhichRun::Newest })
    }

    /// Whether anybody waits for the run that is chosen so.
    pub fn is_choice_awaited(&self, choice: RunChoice) -> bool {
        self.of_choice(choice).next().is_some()
    }

    fn of_choice(&self, of: RunChoice) -> impl Iterator<Item = Arc<RunWait>> {
        let first = first_of(of.clone());
        self.by_condition.range(first..).map(|(wait, _)| wait).take_while(move |wait| wait.of == of).map(Arc::clone)
    }

    /// Who waits for this.
    pub fn waiters(&self, condition: &RunWait) -> Vec<Waiter> {
        self.by_condition.get(condition).map(|waiters| waiters.iter().copied().collect()).unwrap_or_default()
    }

    /// Who waits for an event of this asset.
    pub fn of_asset(&self, asset: &AssetName) -> Vec<Waiter> {
        self.by_asset.get(asset).map(|waiters| waiters.iter().copied().collect()).unwrap_or_default()
    }

    /// Who waits for any run of this dag.
    pub fn of_dag(&self, dag_id: &DagId) -> Vec<Waiter> {
        let first = first_of(RunChoice { dag_id: dag_id.clone(), run: WhichRun::Newest });
        let of_dag = self.by_condition.range(first..).take_while(|(wait, _)| wait.of.dag_id == *dag_id);
        of_dag.flat_map(|(_, waiters)| waiters.iter().copied()).collect()
    }
}

/// What stands before all conditions about these runs.
fn first_of(of: RunChoice) -> Arc<RunWait> {
    Arc::new(RunWait { of, tasks: Vec::new(), all: BTreeSet::new(), any: BTreeSet::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            ids::{RunId, TaskId},
            state::{RunState, RunType, TaskState},
            time::Timestamp,
        },
        store::DagVersionKey,
    };

    fn dag_id(text: &str) -> DagId {
        DagId::new(text).unwrap()
    }

    fn date(number: i64) -> Timestamp {
        Timestamp::from_micros(number)
    }

    fn wait(dag: &str, run: WhichRun, tasks: &[&str]) -> Wait {
        Wait::Run(RunWait {
            of: RunChoice { dag_id: dag_id(dag), run },
            tasks: tasks.iter().map(|task| TaskId::new(task).unwrap()).collect(),
            all: [TaskState::Success].into(),
            any: BTreeSet::new(),
        })
    }

    fn run(dag: &str, number: i64) -> DagRunRow {
        DagRunRow {
            key: DagRunKey(number),
            dag_id: dag_id(dag),
            run_id: RunId::new(&format!("r{number}")).unwrap(),
            version: DagVersionKey(1),
            version_number: 1,
            run_type: RunType::Manual,
            state: RunState::Success,
            logical_date: Some(date(number)),
            data_interval: None,
            run_after: date(number),
            queued_at: date(number),
            start_date: None,
            end_date: None,
            conf: Some("{}".into()),
            triggered_by: "cli".into(),
            triggering_user: None,
            note: None,
            clear_number: 0,
            message: None,
        }
    }

    fn waiter(number: i64) -> Waiter {
        (DagRunKey(1_000 + number), InstanceId { node: 0, map_index: -1 })
    }

    #[test]
    fn a_run_finds_who_waits_for_it_and_nobody_else() {
        let mut waits = Waits::default();
        waits.add(waiter(1), wait("a", WhichRun::LogicalDate(date(7)), &[]));
        waits.add(waiter(2), wait("a", WhichRun::RunId(RunId::new("r7").unwrap()), &["t"]));
        waits.add(waiter(3), wait("a", WhichRun::Newest, &[]));
        waits.add(waiter(4), wait("a", WhichRun::LogicalDate(date(8)), &[]));
        waits.add(waiter(5), wait("ab", WhichRun::Newest, &[]));
        let about = |row: &DagRunRow, is_newest| {
            let conditions = waits.about(row, is_newest);
            let mut found: Vec<_> = conditions.iter().flat_map(|wait| waits.waiters(wait)).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(about(&run("a", 7), false), [waiter(1), waiter(2)]);
        assert_eq!(about(&run("a", 7), true), [waiter(1), waiter(2), waiter(3)]);
        assert_eq!(about(&run("b", 7), true), []);
        assert_eq!(waits.of_dag(&dag_id("a")).len(), 4);
        assert!(waits.is_newest_awaited(&dag_id("a")) && !waits.is_newest_awaited(&dag_id("b")));
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let mut waits = Waits::default();
        waits.add(waiter(1), wait("a", WhichRun::Newest, &[]));
        waits.add(waiter(1), wait("b", WhichRun::Newest, &[]));
        assert!(!waits.is_awaited(&dag_id("a")), "it waits for one thing at a time");
        assert!(waits.remove(waiter(1)) && !waits.remove(waiter(1)));
        waits.add(waiter(2), wait("b", WhichRun::Newest, &["x"]));
        waits.forget(waiter(2).0);
        let asset = AssetName::new("s3://a").unwrap();
        waits.add(waiter(3), Wait::Asset { asset: asset.clone(), since: date(0) });
        assert_eq!(waits.of_asset(&asset), [waiter(3)]);
        waits.remove(waiter(3));
        assert!(
            waits.by_asset.is_empty()
                && waits.by_condition.is_empty()
                && waits.by_waiter.is_empty()
                && waits.dags.is_empty()
        );
    }

    #[test]
    fn a_hundred_thousand_who_wait_cost_nothing_until_it_is_their_turn() {
        let mut waits = Waits::default();
        for number in 0..100_000 {
            waits.add(waiter(number), wait("a", WhichRun::LogicalDate(date(number % 50_000)), &[]));
        }
        let started = std::time::Instant::now();
        for number in 0..1_000 {
            assert!(!waits.is_awaited(&dag_id("b")));
            assert_eq!(waits.about(&run("a", 60_000 + number), true).len(), 0);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
        let condition = waits.about(&run("a", 7), false).remove(0);
        assert_eq!(waits.waiters(&condition), [waiter(7), waiter(50_007)]);
    }
}
