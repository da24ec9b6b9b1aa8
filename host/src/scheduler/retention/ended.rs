//! Which dags had runs that ended.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::model::ids::DagId;

/// Told by the loop, taken by retention. It holds each dag once, however many of its runs end, so that nobody can lag behind.
#[derive(Debug, Default)]
pub struct Ended {
    dags: Mutex<BTreeSet<DagId>>,
    some: Notify,
}

impl Ended {
    /// A run of the dag ended, durably.
    pub fn tell(&self, dag_id: &DagId) {
        let mut dags = self.dags.lock().unwrap_or_else(PoisonError::into_inner);
        if !dags.contains(dag_id) {
            dags.insert(dag_id.clone());
            self.some.notify_one();
        }
    }

    /// Waits until there are some, and takes them.
    pub async fn take(&self) -> BTreeSet<DagId> {
        loop {
            let dags = std::mem::take(&mut *self.dags.lock().unwrap_or_else(PoisonError::into_inner));
            if !dags.is_empty() {
                return dags;
            }
            self.some.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn each_dag_is_taken_once_however_often_it_was_told() {
        let (ended, dag) = (Ended::default(), |id: &str| DagId::new(id).unwrap());
        for id in ["a", "b", "a"] {
            ended.tell(&dag(id));
        }
        assert_eq!(ended.take().await, [dag("a"), dag("b")].into());
        assert!(tokio::time::timeout(Duration::from_millis(10), ended.take()).await.is_err());
        ended.tell(&dag("a"));
        assert_eq!(ended.take().await, [dag("a")].into());
    }
}
