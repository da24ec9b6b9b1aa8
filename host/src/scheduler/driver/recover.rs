//! What is unfinished, as it is read when the loop starts, and whenever memory can't be trusted any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;
use tokio::sync::broadcast;

use super::{
    super::{
        Change, SchedulerConfig, dags::Dags, heartbeat::Heartbeat, retention::Ended, runs, tick::Dispatch, waits::Waits,
    },
    Driver, Turn, backfills, conf, past,
    patience::Patience,
};
use crate::{
    engine::{self, Admission, Event, Verdict},
    model::{
        ids::DagId,
        limits::DagLimits,
        state::{RunState, TaskState},
        time::Timestamp,
    },
    store::{DagRunKey, DagRunRow, Like, MAX_PAGE, Order, Page, Store, StoreError},
};

/// Graphs of dag_versions that are kept for the next run.
const MAX_GRAPHS: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not zero");
/// Unfinished runs that are read at a time at the start.
const RECOVERY_PAGE: u32 = 500;

impl<D: Dispatch> Driver<D> {
    /// Reads what is unfinished. Attempts that were in flight are started again.
    pub async fn recover(
        config: Arc<SchedulerConfig>,
        store: Store,
        executor: D,
        now: Timestamp,
        changes: broadcast::Sender<Arc<Vec<Change>>>,
        heartbeat: Arc<Heartbeat>,
        ended: Arc<Ended>,
    ) -> Result<Self, StoreError> {
        let mut driver = Self {
            admission: Admission::new(config.parallelism),
            running: 0,
            config,
            store,
            executor,
            changes,
            heartbeat,
            ended,
            next_key: 0,
            next_event: 0,
            dags: Dags::default(),
            versions: LruCache::new(MAX_GRAPHS),
            grants: LruCache::new(MAX_GRAPHS),
            queued: HashMap::new(),
            never_loaded: HashSet::new(),
            runs: HashMap::new(),
            timers: BTreeSet::new(),
            waits: Waits::default(),
            touched: BTreeSet::new(),
            recent: runs::Recent::new(now),
            backfills: backfills::Backfills::default(),
            links: past::Links::default(),
            failing: BTreeSet::new(),
            maybe_over: Vec::new(),
        };
        driver.reload(now).await?;
        Ok(driver)
    }

    /// Forgets all and reads it anew.
    pub(super) async fn reload(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.admission = Admission::new(self.config.parallelism);
        self.running = 0;
        self.dags = Dags::default();
        self.queued.clear();
        self.never_loaded.clear();
        self.runs.clear();
        self.timers.clear();
        self.waits = Waits::default();
        self.links.clear();
        self.failing.clear();
        self.note_lost(now).await?;
        // Of runs that were made in a turn that did not become durable there is nothing.
        self.recent = runs::Recent::new(now);
        self.next_key = self.store.dag_run_next_key().await?;
        self.next_event = self.store.asset_event_next_key().await?;
        self.reload_pools().await?;
        let mut decisions = self.store.dag_decisions_all().await?;
        let mut limits: BTreeMap<_, _> = self.store.dag_numbers_list().await?.into_iter().collect();
        self.grants.clear();
        self.store.dag_display_names_fill().await?;
        for row in self.store.dag_list_all().await? {
            self.admission.set_paused(&row.dag_id, row.is_paused);
            self.limit_dag(&row.dag_id, limits.remove(&row.dag_id).unwrap_or_default());
            self.touched.insert(row.dag_id.clone());
            if let Some(last) = row.last_scheduled {
                self.heartbeat.scheduled(last.end);
            }
            let decisions = decisions.remove(&row.dag_id).unwrap_or_default();
            self.dags.put(row, decisions);
        }
        for (dag_id, name) in self.store.asset_queue_names().await? {
            if let Some(entry) = self.dags.get_mut(&dag_id) {
                entry.updated.insert(name);
            }
        }
        let mut turn = Turn::new(now);
        self.recover_backfills().await?;
        let (mut after, mut resumed) = (None, Vec::new());
        loop {
            let page = self.store.dag_run_list_unfinished(after, RECOVERY_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            for row in page {
                self.recover_run(row, &mut resumed, &mut turn).await?;
            }
        }
        for (key, state) in self.store.dag_run_verdicts().await? {
            if let Some(run) = self.runs.get_mut(&key) {
                run.state.set_verdict(if state == RunState::Success { Verdict::Success } else { Verdict::Failed });
            }
        }
        // Only now is all in memory that a run may look back at.
        for key in resumed {
            self.look_back(key, &mut turn).await?;
            self.apply(key, &Event::Resume, &mut turn);
        }
        self.recover_waits(&mut turn).await?;
        self.settle(&mut turn).await?;
        self.commit(turn).await
    }

    /// Notes what is in flight, before it is started again: what those attempts stored is named by nobody then.
    async fn note_lost(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut patience = Patience::new("noting what was in flight");
        while let Err(error) = self.store.lost_attempt_note(now).await {
            if !error.is_transient() {
                return Err(error);
            }
            patience.wait(&error, self.config.commit_retry).await;
        }
        patience.over();
        Ok(())
    }

    /// Says what the attempts of a dag may have together, beside what holds for all dags.
    pub(super) fn limit_dag(&mut self, dag_id: &DagId, own: DagLimits) {
        self.admission.set_memory(dag_id, own.or(self.config.dag_limits).memory_mib());
        self.executor.limit_dag(dag_id, own);
    }

    /// Takes in an unfinished run; one that is running is added to `resumed`.
    async fn recover_run(
        &mut self,
        mut row: DagRunRow,
        resumed: &mut Vec<DagRunKey>,
        turn: &mut Turn,
    ) -> Result<(), StoreError> {
        if let Some(unfinished) = self.unfinished_of(&row) {
            *unfinished += 1;
        }
        if self.dags.get(&row.dag_id).is_some_and(|entry| entry.keys.is_some()) {
            row = self.with_conf(row).await?;
        }
        if row.state == RunState::Queued {
            self.enqueue(&row);
            conf::rest(&mut row);
            self.queued.insert(row.key, row);
            return Ok(());
        }
        self.enter(&row);
        let key = row.key;
        if let Some(run) = self.load(row.clone(), turn).await? {
            self.open(run);
            self.defer_again(key);
            resumed.push(key);
        }
        Ok(())
    }

    /// Those of a run that wait to be started again still have their slots where pools say so.
    fn defer_again(&mut self, key: DagRunKey) {
        let Some(run) = self.runs.get(&key) else { return };
        for instance in run.state.instances() {
            if run.state.instance(instance).is_some_and(|row| row.state == TaskState::UpForReschedule) {
                let node = run.version.dag.node(instance.node);
                self.admission.defer(engine::RunKey(key.0), instance, &node.pool, node.pool_slots);
            }
        }
    }

    pub(super) async fn reload_pools(&mut self) -> Result<(), StoreError> {
        let (mut offset, mut names) = (0, BTreeSet::new());
        loop {
            let page = Page { limit: MAX_PAGE, offset };
            let pools = self.store.pool_list(&Like::default(), Order::Ascending, page).await?;
            for pool in &pools.items {
                names.insert(pool.name.clone());
                self.admission.set_pool(&pool.name, u32::try_from(pool.slots).ok(), pool.include_deferred);
            }
            offset += MAX_PAGE;
            if pools.items.len() < MAX_PAGE as usize {
                self.admission.keep_pools(&names);
                return Ok(());
            }
        }
    }
}
