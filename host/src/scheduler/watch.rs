//! Looks after the server itself, in a loop of its own, and keeps what an operator should know of (`model::warning`). What it asks costs the
//! same whatever the history: it looks at what is in memory, whether database and storage answer, and how full the disk is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustix::fs::statvfs;

use super::Scheduler;
use crate::{
    model::{
        ids::QueueName,
        time::Timestamp,
        warning::{Disk, Facts, Failing, UnservedQueue, Warning, warnings},
    },
    store::slow_statements,
};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// What does not answer within this can't be used.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found when it was looked for last.
#[derive(Debug, Default)]
pub(super) struct Found(RwLock<Arc<[Warning]>>);

impl Found {
    pub fn get(&self) -> Arc<[Warning]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, found: Vec<Warning>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = found.into();
    }
}

/// Since when what is so has been so.
#[derive(Debug, Default)]
struct Since {
    database: Option<Timestamp>,
    storage: Option<Timestamp>,
    unserved: BTreeMap<QueueName, Timestamp>,
}

/// Never ends.
pub(super) async fn watch(scheduler: Scheduler, found: Arc<Found>) {
    let mut since = Since::default();
    loop {
        let facts = since.look(&scheduler).await;
        let told = warnings(&facts, scheduler.clock.now());
        for new in told.iter().filter(|warning| !found.get().iter().any(|known| known.kind == warning.kind)) {
            tracing::warn!(kind = new.kind.as_str(), "{}", new.text);
        }
        found.set(told);
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Since {
    async fn look(&mut self, scheduler: &Scheduler) -> Facts {
        let (store, blobs) = (&scheduler.store, &scheduler.blobs);
        let database = answers("the database", self.database.is_none(), store.ping());
        let storage = answers("the object storage", self.storage.is_none(), blobs.ping());
        let (database, storage) = tokio::join!(database, storage);
        let now = scheduler.clock.now();
        Facts {
            heartbeat: scheduler.health().heartbeat,
            scheduled_until: scheduler.heartbeat.scheduled_until(),
            database: failing(&mut self.database, database, now),
            storage: failing(&mut self.storage, storage, now),
            disk: scheduler.config.data_dir.as_deref().and_then(disk),
            backup: scheduler.config.backup.as_ref().and_then(|backup| *backup.borrow()),
            unserved: self.unserved(scheduler, now),
            running: scheduler.executor.running_tasks(),
            slow_statements: slow_statements(),
        }
    }

    fn unserved(&mut self, scheduler: &Scheduler, now: Timestamp) -> Vec<UnservedQueue> {
        let waiting: Vec<_> = scheduler
            .heartbeat
            .waiting_queues()
            .into_iter()
            .filter(|(queue, _)| scheduler.executor.workload(Some(queue)).slots == 0)
            .collect();
        let names: BTreeSet<_> = waiting.iter().map(|(queue, _)| queue).collect();
        self.unserved.retain(|queue, _| names.contains(queue));
        let told = waiting.into_iter().map(|(queue, waiting)| {
            let since = *self.unserved.entry(queue.clone()).or_insert(now);
            UnservedQueue { queue, waiting, since }
        });
        told.collect()
    }
}

/// Whether `what` answers. Why it does not is logged if it did before.
async fn answers<E: std::error::Error + 'static>(
    what: &str,
    did_before: bool,
    asked: impl Future<Output = Result<(), E>>,
) -> bool {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) if did_before => {
            tracing::warn!(error = &error as &dyn std::error::Error, "{what} can't be used");
        }
        Err(_) if did_before => tracing::warn!("{what} does not answer within {} s", ANSWER_TIMEOUT.as_secs()),
        Ok(Err(_)) | Err(_) => {}
    }
    false
}

fn failing(since: &mut Option<Timestamp>, answers: bool, now: Timestamp) -> Option<Failing> {
    *since = if answers { None } else { Some(since.unwrap_or(now)) };
    since.map(|since| Failing { since })
}

/// None: the system does not say.
fn disk(folder: &Path) -> Option<Disk> {
    let told = statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Some(Disk {
        free_bytes: bytes(told.f_bavail),
        total_bytes: bytes(told.f_blocks),
        free_files: told.f_favail,
        total_files: told.f_files,
    })
}
