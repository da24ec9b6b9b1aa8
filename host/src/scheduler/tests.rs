//! The scheduler among the long-lived tasks of a server.

use super::*;
use crate::{
    executor::ExecutorConfig,
    secrets::{Secrets, SecretsConfig},
    store::StoreConfig,
    telemetry::{DutyError, Telemetry},
    vault::Vault,
};

#[tokio::test]
async fn a_loop_that_ends_by_itself_is_told_to_the_server() {
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
    let executor = Executor::start(config, store.clone(), blobs.clone(), vault, told).unwrap();
    let (ends, receiver) = mpsc::channel(1);
    let config = SchedulerConfig { telemetry, ..SchedulerConfig::default() };
    let (scheduler, _task) = Scheduler::start(config, store, blobs, executor, receiver).await.unwrap();
    assert_eq!(duties.check(), Ok(()));
    // Nobody is left who could tell it how attempts end.
    drop(ends);
    assert_eq!(duties.one_ended().await, DutyError::Ended("the scheduler's loop"));
    drop(scheduler);
}
