//! Keeps the pods of the fleets in Kubernetes: creates them for what waits on their queue, drains those that are idle, deletes those that
//! ended, and tells what became of them.
//!
//! ```text
//!   scheduler --what there is to run, who runs it--> Keeper --create, delete--> API of the cluster
//!       ^                                              |  ^                            |
//!       +---- drain, fleets, why pods ended -----------+  +------- list, watch --------+
//! ```
//!
//! Decisions are [`model::pods::plan`](crate::model::pods::plan)'s. It promises that nothing is remembered here that the cluster does not
//! show: a process that takes over finds the pods of the one before by their labels, and names them as that one did. It leaves out what
//! runs in pods: to all else their workers are workers. Nobody else knows `kube`.

mod cluster;
mod keeper;
mod read;
#[cfg(test)]
mod tests;
mod watch;

use tokio_util::task::AbortOnDropHandle;

pub use self::cluster::{Cluster, ClusterError};
use self::keeper::{Keeper, Work};
use crate::{
    model::{ids::QueueName, pods::settings::Fleets},
    scheduler::{FleetsSeen, Scheduler, Workload},
    telemetry::Metrics,
};

/// Keeps pods until it is dropped; they stay, and whoever leads next keeps them.
#[derive(Debug)]
pub struct Pods {
    _keeper: AbortOnDropHandle<()>,
}

impl Pods {
    /// Starts keeping the pods of `fleets`. `installation`: what tells it from others in the same cluster. Must be called within a tokio
    /// runtime.
    pub fn start(fleets: Fleets, cluster: Cluster, installation: String, scheduler: Scheduler) -> Self {
        let duties = scheduler.duties().clone();
        let keeper = Keeper::new(fleets, cluster, installation, scheduler);
        Self { _keeper: duties.spawn("the keeper of pods", keeper.run()) }
    }
}

impl Work for Scheduler {
    fn workload(&self, queue: Option<&QueueName>) -> Workload {
        self.work_and_workers(queue)
    }

    fn has_met(&self, worker: &str) -> bool {
        self.has_met_worker(worker)
    }

    fn drain(&self, worker: &str) {
        // One that has left meanwhile is what was wanted.
        self.drain_worker(worker);
    }

    fn show(&self, seen: FleetsSeen) {
        self.show_fleets(seen);
    }

    fn metrics(&self) -> &Metrics {
        Scheduler::metrics(self)
    }

    async fn changed(&self) {
        self.workload_changed().await;
    }
}
