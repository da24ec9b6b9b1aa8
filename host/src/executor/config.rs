//! Settings of the executor.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    databases::DatabasesConfig,
    model::{limits::DagLimits, queue::Queues, recording::Recording, traffic::TrafficCaps},
    telemetry::Telemetry,
};

/// How an executor runs attempts. Each has a default that suits a laptop.
#[derive(Debug, Clone)]
pub struct ExecutorConfig {
    /// Where compiled code is kept, in a folder of its own.
    pub data_dir: PathBuf,
    /// What this machine is called, where attempts run that no worker takes.
    pub hostname: Arc<str>,
    /// The binary that is started as children. None: this process's own.
    pub binary: Option<PathBuf>,
    /// Attempts that run at a time, in all runners.
    pub parallelism: u32,
    /// Runner processes here; with none, attempts wait for workers.
    pub runners: u32,
    /// The queues that they serve.
    pub queues: Queues,
    /// Threads of each runner; none: the number of cores.
    pub runner_threads: Option<u32>,
    /// Compilers that run at a time.
    pub compilers: u32,
    /// How long a compiler may take, by the clock on the wall.
    pub compile_timeout: Duration,
    /// Whether tasks may speak HTTP to loopback and private addresses. For tests and closed networks.
    pub egress_allow_private: bool,
    /// How much of the network an attempt may use.
    pub traffic: TrafficCaps,
    /// What the attempts of one dag may have together, where nothing else is said of it.
    pub dag_limits: DagLimits,
    /// How tasks may use databases.
    pub databases: DatabasesConfig,
    /// Which attempts are recorded, where neither task nor dag says.
    pub record: Recording,
    /// The largest recording of an attempt, as it is in memory; a larger one is dropped.
    pub max_recording_bytes: u64,
    /// How long a runner that was asked something may keep silent before it is killed.
    pub runner_silence: Duration,
    /// Where it tells what it does.
    pub telemetry: Telemetry,
}

impl ExecutorConfig {
    /// The defaults, with this data directory.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            hostname: "localhost".into(),
            binary: None,
            parallelism: 128,
            runners: 1,
            queues: Queues::All,
            runner_threads: None,
            compilers: 2,
            compile_timeout: Duration::from_secs(125),
            egress_allow_private: false,
            traffic: TrafficCaps::default(),
            dag_limits: DagLimits::default(),
            databases: DatabasesConfig::default(),
            record: Recording::Off,
            max_recording_bytes: 64 << 20,
            runner_silence: Duration::from_secs(15),
            telemetry: Telemetry::default(),
        }
    }
}
