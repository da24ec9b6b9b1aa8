//! What the attempts of a dag have together in a day, counted against its limits.
//!
//! A dag without such limits has no ledger, and costs nothing. What is counted is in memory, and in the database about a second
//! later: who kills this process gives a dag back what it had in that second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    model::{
        dag_numbers::DagNumbers,
        ids::DagId,
        limits::{DagLimits, OverLimit, Resource, Spent},
        time::Clock,
    },
    store::{Store, StoreError},
    wire::CallError,
};

/// How often what was counted is stored, if something was.
const INTERVAL: Duration = Duration::from_secs(1);

/// Of one dag.
#[derive(Debug)]
pub(super) struct Ledger {
    dag_id: DagId,
    state: Mutex<State>,
    news: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    limits: DagLimits,
    spent: Spent,
    /// What the database has of before is in `spent`.
    is_loaded: bool,
    /// The database does not have all of it.
    is_changed: bool,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something that an attempt is about to have.
    ///
    /// # Errors
    /// If the dag may not have it today; then it is not counted.
    pub fn spend(&self, resource: Resource, amount: u64) -> Result<(), OverLimit> {
        self.count(resource, |state| state.spent.spend(state.limits, resource, amount, Clock.now()))
    }

    /// Counts what an attempt has had.
    ///
    /// # Errors
    /// If the dag may have no more today.
    pub fn had(&self, resource: Resource, amount: u64) -> Result<(), OverLimit> {
        self.count(resource, |state| state.spent.had(state.limits, resource, amount, Clock.now()))
    }

    fn count(&self, resource: Resource, count: impl FnOnce(&mut State) -> Result<(), u32>) -> Result<(), OverLimit> {
        let mut state = self.state();
        let before = state.spent;
        let counted = count(&mut state);
        if state.spent != before && !std::mem::replace(&mut state.is_changed, true) {
            self.news.notify_one();
        }
        counted.map_err(|limit| OverLimit { dag_id: self.dag_id.clone(), resource, limit })
    }

    /// Whether an attempt may start: none may that would have no time.
    ///
    /// # Errors
    /// If the dag has had its CPU time of today.
    pub fn admit(&self) -> Result<(), OverLimit> {
        let state = self.state();
        let left = state.spent.left(state.limits, Resource::Cpu, Clock.now());
        left.map_err(|limit| OverLimit { dag_id: self.dag_id.clone(), resource: Resource::Cpu, limit })
    }

    pub fn is_loaded(&self) -> bool {
        self.state().is_loaded
    }

    /// Takes over what the database has of before, unless somebody did.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn load(&self, store: &Store) -> Result<(), StoreError> {
        let stored = store.dag_usage_get(&self.dag_id).await?;
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_loaded, true) {
            state.spent = stored.unwrap_or_else(|| Spent::on(Clock.now()));
        }
        Ok(())
    }
}

/// Counts for `ledger`, if there is one, what an attempt is about to have; `what` begins the error.
pub(super) fn spend(
    ledger: Option<&Arc<Ledger>>,
    resource: Resource,
    amount: usize,
    what: &str,
) -> Result<(), CallError> {
    let Some(ledger) = ledger else { return Ok(()) };
    ledger.spend(resource, amount as u64).map_err(|over| CallError::TooLarge(format!("{what} {over}")))
}

/// Those of all dags.
#[derive(Debug)]
pub(super) struct Ledgers {
    /// What holds where nothing is said of a dag.
    server: DagLimits,
    table: RwLock<Table>,
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    /// What is said of dags.
    own: BTreeMap<DagId, DagLimits>,
    /// Of dags that have, or had, limits by day.
    open: HashMap<DagId, Arc<Ledger>>,
}

impl Ledgers {
    pub fn new(server: DagLimits) -> Self {
        Self { server, table: RwLock::default(), news: Arc::default() }
    }

    /// What is said of a dag from now on; attempts that have a ledger are held to it at once, others go on without.
    pub fn limit(&self, dag_id: &DagId, own: DagLimits) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if own.is_empty() {
            table.own.remove(dag_id);
        } else {
            table.own.insert(dag_id.clone(), own);
        }
        if let Some(ledger) = table.open.get(dag_id) {
            ledger.state().limits = own.or(self.server);
        }
    }

    /// A dag is gone: another of its name begins anew.
    pub fn forget(&self, dag_id: &DagId) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.own.remove(dag_id);
        table.open.remove(dag_id);
    }

    /// What counts for a dag; none if nothing of it is limited by day.
    pub fn of(&self, dag_id: &DagId) -> Option<Arc<Ledger>> {
        let limits = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let limits = table.own.get(dag_id).copied().unwrap_or_default().or(self.server);
            if !limits.has_day() {
                return None;
            }
            if let Some(ledger) = table.open.get(dag_id) {
                return Some(Arc::clone(ledger));
            }
            limits
        };
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let ledger = table.open.entry(dag_id.clone()).or_insert_with(|| {
            let state = State { limits, spent: Spent::on(Clock.now()), is_loaded: false, is_changed: false };
            Arc::new(Ledger { dag_id: dag_id.clone(), state: Mutex::new(state), news: Arc::clone(&self.news) })
        });
        Some(Arc::clone(ledger))
    }

    /// Stores what was counted, until `closing`, and then what is left.
    pub async fn keep(&self, store: &Store, closing: &CancellationToken) {
        loop {
            tokio::select! {
                () = self.news.notified() => {}
                () = closing.cancelled() => break,
            }
            if closing.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                break;
            }
            self.store(store).await;
        }
        self.store(store).await;
    }

    async fn store(&self, store: &Store) {
        let changed: Vec<_> = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let changed = table.open.values().filter(|ledger| std::mem::take(&mut ledger.state().is_changed));
            changed.cloned().collect()
        };
        let usage: Vec<_> = changed.iter().map(|ledger| (ledger.dag_id.clone(), ledger.state().spent)).collect();
        if let Err(error) = store.dag_usage_put(&usage).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what dags had today can't be stored; this is tried again"
            );
            for ledger in changed {
                ledger.state().is_changed = true;
            }
            self.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: DagLimits = DagLimits {
        memory_mib: None,
        cpu_seconds_per_day: Some(1),
        log_mib_per_day: None,
        data_mib_per_day: None,
        network_mib_per_day: None,
        host_calls_per_day: Some(2),
    };

    fn dag(name: &str) -> DagId {
        DagId::new(name).unwrap()
    }

    #[test]
    fn only_what_is_limited_by_day_has_a_ledger() {
        let ledgers = Ledgers::new(DagLimits::default());
        assert!(ledgers.of(&dag("a")).is_none());
        ledgers.limit(&dag("a"), DagLimits { memory_mib: Some(64), ..DagLimits::default() });
        assert!(ledgers.of(&dag("a")).is_none());
        ledgers.limit(&dag("a"), CALLS);
        assert!(ledgers.of(&dag("a")).is_some() && ledgers.of(&dag("b")).is_none());
        let of_all = Ledgers::new(CALLS);
        of_all.limit(&dag("a"), DagLimits { cpu_seconds_per_day: Some(0), host_calls_per_day: Some(0), ..CALLS });
        assert!(of_all.of(&dag("a")).is_none() && of_all.of(&dag("b")).is_some());
    }

    #[test]
    fn attempts_of_a_dag_count_together_and_a_new_limit_holds_at_once() {
        let ledgers = Ledgers::new(DagLimits::default());
        ledgers.limit(&dag("a"), CALLS);
        let (one, other) = (ledgers.of(&dag("a")).unwrap(), ledgers.of(&dag("a")).unwrap());
        one.spend(Resource::HostCalls, 1).unwrap();
        other.spend(Resource::HostCalls, 1).unwrap();
        assert_eq!(one.spend(Resource::HostCalls, 1).unwrap_err().limit, 2);
        ledgers.limit(&dag("a"), DagLimits { host_calls_per_day: Some(3), ..CALLS });
        one.spend(Resource::HostCalls, 1).unwrap();
        other.spend(Resource::HostCalls, 1).unwrap_err();
        assert_eq!(one.admit(), Ok(()));
        assert_eq!(one.had(Resource::Cpu, 1_500_000).unwrap_err(), other.admit().unwrap_err());
        ledgers.forget(&dag("a"));
        assert!(ledgers.of(&dag("a")).is_none());
    }
}
