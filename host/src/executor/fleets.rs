//! What is known of the pods that workers are in. Whoever starts pods writes it; whoever waits for workers, or lost one, reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::watch;

use super::Executor;
use crate::model::{ids::QueueName, time::Timestamp};

/// How long the loss of a worker waits for what became of its pod: the connection ends at once, and the cluster says why some moments later.
const FATE: Duration = Duration::from_secs(5);
/// Names of workers that are remembered.
const MAX_MET: usize = 10_000;

/// Pods of one kind, which serve one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Fleet {
    pub name: String,
    #[schema(value_type = String)]
    pub queue: QueueName,
    pub min: u32,
    /// 0: the settings name it no more, and its pods leave; it serves no queue.
    pub max: u32,
    /// Attempts that a pod runs at a time.
    pub slots: u32,
    /// Why it has no more pods, if something is wrong.
    pub trouble: Option<String>,
    pub pods: Vec<Pod>,
}

/// A pod in which a worker is, or is to be. It is named as its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Pod {
    pub name: String,
    pub state: PodState,
    /// The machine that it is on.
    pub node: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// What is wrong with it, as `was OOM-killed (limit 256Mi)`.
    pub trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodState {
    /// Its worker was not here yet.
    Starting,
    Running,
    /// It was asked to end.
    Leaving,
    Ended,
}

/// All fleets, and how pods ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetsSeen {
    pub fleets: Vec<Fleet>,
    /// Pods that may be there, by name: whether they are is not known yet.
    pub asked: BTreeSet<String>,
    /// What became of pods that ended, by name, as `was evicted`.
    pub ends: BTreeMap<String, String>,
}

impl FleetsSeen {
    fn knows(&self, pod: &str) -> bool {
        self.ends.contains_key(pod)
            || self.asked.contains(pod)
            || self.fleets.iter().any(|fleet| fleet.pods.iter().any(|one| one.name == pod))
    }
}

/// What is seen, for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Fleets {
    seen: watch::Sender<FleetsSeen>,
    met: Mutex<BTreeSet<String>>,
}

impl Fleets {
    fn met(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker is here.
    pub fn meet(&self, worker: &str) {
        let mut met = self.met();
        if met.len() >= MAX_MET {
            let seen = self.seen.borrow();
            met.retain(|name| seen.knows(name));
        }
        met.insert(worker.to_owned());
    }

    /// Why a worker is gone, if it is known to be in a pod: what the cluster says of it, for which it is given some time.
    pub async fn fate(&self, worker: &str) -> Option<String> {
        self.fate_within(worker, FATE).await
    }

    async fn fate_within(&self, worker: &str, limit: Duration) -> Option<String> {
        let mut seen = self.seen.subscribe();
        if !seen.borrow().knows(worker) {
            return None;
        }
        let told = seen.wait_for(|seen| seen.ends.contains_key(worker));
        let why = match tokio::time::timeout(limit, told).await {
            Ok(Ok(seen)) => seen.ends.get(worker).cloned(),
            Ok(Err(_)) | Err(_) => None,
        };
        Some(match why {
            Some(why) => format!("its pod `{worker}` {why}"),
            None => format!("the connection with its pod `{worker}` was lost"),
        })
    }
}

impl Executor {
    /// Tells what is seen of the fleets. Answers whether that is anything new.
    pub fn show_fleets(&self, seen: FleetsSeen) -> bool {
        self.shared.fleets.seen.send_if_modified(|before| {
            let is_new = *before != seen;
            *before = seen;
            is_new
        })
    }

    /// The fleets that serve `queue`, or all.
    pub fn fleets(&self, queue: Option<&QueueName>) -> Vec<Fleet> {
        let seen = self.shared.fleets.seen.borrow();
        let serves = |fleet: &&Fleet| queue.is_none_or(|queue| fleet.max > 0 && fleet.queue == *queue);
        seen.fleets.iter().filter(serves).cloned().collect()
    }

    /// Whether a worker of this name was connected since this process runs.
    pub fn has_met(&self, worker: &str) -> bool {
        self.shared.fleets.met().contains(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pods: &[&str], ends: &[(&str, &str)]) -> FleetsSeen {
        let pod = |name: &&str| Pod {
            name: (*name).to_owned(),
            state: PodState::Running,
            node: None,
            created_at: Timestamp::from_micros(0),
            trouble: None,
        };
        let fleet = Fleet {
            name: "gpu".into(),
            queue: QueueName::default(),
            min: 0,
            max: 1,
            slots: 1,
            trouble: None,
            pods: pods.iter().map(pod).collect(),
        };
        let ends = ends.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect();
        FleetsSeen { fleets: vec![fleet], asked: BTreeSet::from(["d".to_owned()]), ends }
    }

    #[tokio::test]
    async fn the_fate_of_a_pod_is_waited_for_and_of_others_not() {
        let fleets = Fleets::default();
        fleets.seen.send_replace(seen(&["a", "b"], &[("c", "was evicted")]));
        assert_eq!(fleets.fate("a machine").await, None);
        assert_eq!(fleets.fate("c").await.unwrap(), "its pod `c` was evicted");
        // One may be here and gone before the cluster has answered that it is created.
        assert!(fleets.fate_within("d", Duration::from_millis(10)).await.is_some());
        let told_later = async {
            tokio::task::yield_now().await;
            fleets.seen.send_replace(seen(&["b"], &[("a", "was OOM-killed (limit 1Mi)")]));
        };
        let (told, ()) = tokio::join!(fleets.fate("a"), told_later);
        assert_eq!(told.unwrap(), "its pod `a` was OOM-killed (limit 1Mi)");
        assert_eq!(
            fleets.fate_within("b", Duration::from_millis(10)).await.unwrap(),
            "the connection with its pod `b` was lost"
        );
    }

    #[test]
    fn workers_that_were_met_are_remembered_as_long_as_their_pods() {
        let fleets = Fleets::default();
        fleets.seen.send_replace(seen(&["a"], &[]));
        fleets.meet("a");
        for index in 0..MAX_MET {
            fleets.meet(&format!("machine-{index}"));
        }
        let met = fleets.met();
        assert!(met.contains("a") && met.len() <= MAX_MET, "{}", met.len());
    }
}
