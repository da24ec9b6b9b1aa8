//! The scheduler among the long-lived tasks of a server, and uploads that come at once.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{
    executor::ExecutorConfig,
    model::{
        dag_access::Uploader,
        spec::{EntrySpec, ModuleSpec},
    },
    secrets::{Secrets, SecretsConfig},
    store::{Deploy, StoreConfig},
    telemetry::{DutyError, Telemetry},
    vault::Vault,
};

/// A scheduler whose attempts never run, its parts, and who tells it how they end.
struct Started {
    scheduler: Scheduler,
    duties: Duties,
    ends: mpsc::Sender<ExecutorEvent>,
    _task: SchedulerTask,
    _folder: tempfile::TempDir,
}

async fn start() -> Started {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreConfig::of_test(folder.path()).await).await.unwrap();
    let blobs = Blobs::in_memory();
    let secrets = Secrets::open(&SecretsConfig::default(), folder.path()).unwrap();
    let duties = Duties::default();
    let telemetry = Telemetry { duties: duties.clone(), ..Telemetry::default() };
    // Nothing is dispatched.
    let config = ExecutorConfig { binary: Some("/bin/false".into()), ..ExecutorConfig::new(folder.path().to_owned()) };
    let (told, _ends) = mpsc::channel(1);
    let vault = Vault::new(store.clone(), secrets);
    let executor = Executor::start(config, blobs.clone(), vault, told).unwrap();
    let (ends, receiver) = mpsc::channel(1);
    let config = SchedulerConfig { telemetry, ..SchedulerConfig::default() };
    let (scheduler, task) = Scheduler::start(config, store, blobs, executor, receiver).await.unwrap();
    Started { scheduler, duties, ends, _task: task, _folder: folder }
}

#[tokio::test]
async fn a_loop_that_ends_by_itself_is_told_to_the_server() {
    let started = start().await;
    assert_eq!(started.duties.check(), Ok(()));
    // Nobody is left who could tell it how attempts end.
    drop(started.ends);
    assert_eq!(started.duties.one_ended().await, DutyError::Ended("the scheduler's loop"));
    drop(started.scheduler);
}

#[tokio::test]
async fn two_uploads_at_once_make_no_circle_of_assets() {
    let started = start().await;
    let scheduler = &started.scheduler;
    let work = EntrySpec::new("work");
    let library = ModuleSpec { name: "lib".into(), entries: vec![work], ..ModuleSpec::default() };
    scheduler.store.deploy(&Deploy::of_test(1, library, Timestamp::from_micros(0))).await.unwrap();
    let dag = |id: &str, after: &str, makes: &str| {
        let task = format!("{{uses: lib/work, outlets: [{makes}]}}");
        Bytes::from(format!("dag_id: {id}\nasset_schedule: {after}\ntasks:\n  make: {task}\n"))
    };
    // Both are looked at before either is stored.
    let hold = scheduler.uploads.write().await;
    let release = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(hold);
    };
    let (ann, bob) = (Uploader::owner("ann"), Uploader::owner("bob"));
    let first = scheduler.deploy(dag("first", "a", "b"), None, &ann);
    let second = scheduler.deploy(dag("second", "b", "a"), None, &bob);
    let (first, second, ()) = tokio::join!(first, second, release);
    let refused: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    assert!(matches!(&refused[..], [DeployError::AssetCycle(_)]), "{refused:?}");
}
