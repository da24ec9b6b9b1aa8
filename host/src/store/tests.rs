//! The store's contract, each test on a database of its own.

mod asked;
mod cached_results;
mod calendar;
mod commits;
mod deletes;
mod deploys;
mod leases;
mod lists;
mod plans;
mod retention;
mod set_by_people;

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::model::{
    dag_access::DagSet,
    ids::{DagId, Digest, EntryName, PoolName, RunId, TaskId, XComKey},
    role::Role,
    spec::{DagSpec, ModuleSpec},
    state::{RunState, RunType, TaskState},
    time::Timestamp,
};

/// A store in a folder that is gone with it.
struct TestStore {
    store: Store,
    folder: TempDir,
}

impl std::ops::Deref for TestStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestStore {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&config(&folder).await).await.unwrap();
        Self { store, folder }
    }

    /// For what is said of SQLite only.
    async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&sqlite_config(&folder)).await.unwrap();
        Self { store, folder }
    }

    /// The same database, opened again.
    async fn reopen(self) -> Self {
        self.store.close().await;
        let store = Store::open(&config(&self.folder).await).await.unwrap();
        Self { store, folder: self.folder }
    }

    /// Deploys `dag_ids` with one component.
    async fn deployed(&self, dag_ids: &[&str]) -> Vec<DeployedDag> {
        self.deploy(&deploy(1, dag_ids.iter().map(|id| spec(id)).collect())).await.unwrap()
    }

    /// A dag `a` with a run for each of `keys`, each with the instances `x` and `y`.
    async fn with_runs(keys: std::ops::RangeInclusive<i64>) -> Self {
        Self::new().await.filled(keys).await
    }

    /// As [`TestStore::with_runs`].
    async fn filled(self, keys: std::ops::RangeInclusive<i64>) -> Self {
        let version = self.deployed(&["a"]).await[0].version;
        let runs: Vec<_> = keys.map(|key| run(key, "a", version)).collect();
        let instances = runs.iter().flat_map(|run| [new_instance(run.key, "x"), new_instance(run.key, "y")]).collect();
        let commit = Commit { dag_runs_new: runs, instances_new: instances, now: at(0), ..Commit::default() };
        self.commit(&commit).await.unwrap();
        self
    }
}

fn sqlite_config(folder: &TempDir) -> StoreConfig {
    StoreConfig { place: StorePlace::Sqlite(folder.path().join("airlock.db")), synchronous: Synchronous::Normal }
}

async fn config(folder: &TempDir) -> StoreConfig {
    StoreConfig::of_test(folder.path()).await
}

/// `seconds` after the beginning of time, with a fraction, which must not be lost.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_001 + seconds * 1_000_000)
}

fn dag_id(text: &str) -> DagId {
    DagId::new(text).unwrap()
}

pub(super) fn spec(dag_id: &str) -> DagSpec {
    serde_json::from_value(serde_json::json!({
        "dag_id": dag_id, "schedule": "manual", "timezone": "UTC", "max_active_runs": 1, "max_active_tasks": 16,
        "owners": ["ann"], "tags": ["all", format!("tag-{dag_id}")], "nodes": [],
    }))
    .unwrap()
}

fn deploy(component: u8, dags: Vec<DagSpec>) -> Deploy {
    Deploy::of_test(component, ModuleSpec { sdk: "test".into(), dags, ..ModuleSpec::default() }, at(0))
}

/// An admin whose password has the hash `old`.
fn user(username: &str) -> UserRow {
    UserRow {
        username: username.to_owned(),
        password_hash: "old".to_owned(),
        role: Role::Admin,
        dag_permissions: Vec::new(),
        identity: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

fn run(key: i64, dag: &str, version: DagVersionKey) -> DagRunNew {
    let run_id = RunId::new(&format!("run-{key}")).unwrap();
    DagRunNew {
        logical_date: Some(at(key)),
        conf: r#"{"a":"'\"; DROP TABLE dag_run; --"}"#.into(),
        triggering_user: Some("ann".into()),
        ..DagRunNew::queued(DagRunKey(key), dag_id(dag), run_id, version, at(key))
    }
}

fn instance(run: i64, task: &str) -> InstanceKey {
    InstanceKey { dag_run: DagRunKey(run), task_id: TaskId::new(task).unwrap(), map_index: -1 }
}

fn new_instance(run: DagRunKey, task: &str) -> InstanceNew {
    InstanceNew {
        key: instance(run.0, task),
        state: TaskState::None,
        max_tries: 3,
        placement: Placement::usual(EntryName::new("entry").unwrap()),
    }
}

fn update(key: InstanceKey, state: TaskState, try_number: u32) -> InstanceUpdate {
    InstanceUpdate { max_tries: 3, start_date: Some(at(1)), ..InstanceUpdate::of_test(key, state, try_number) }
}

fn xcom(key: InstanceKey, name: &str, body: XComBody) -> XComNew {
    let size_bytes = match &body {
        XComBody::Inline(body) => i64::try_from(body.len()).unwrap(),
        XComBody::Blob(_) => 1 << 20,
    };
    XComNew { instance: key, key: XComKey::new(name).unwrap(), media_type: "application/json".into(), size_bytes, body }
}

fn artifact(key: InstanceKey, name: &str, blob: &str) -> ArtifactRow {
    ArtifactRow {
        instance: key,
        try_number: 1,
        name: name.into(),
        media_type: "image/svg+xml".into(),
        size_bytes: 5,
        sha256: Digest([0xab; 32]),
        blob: blob.into(),
        created_at: at(5),
    }
}

fn log_chunk(key: InstanceKey, seq: u32, blob: &str) -> LogChunkRow {
    LogChunkRow {
        instance: key,
        try_number: 1,
        seq,
        blob: blob.into(),
        offset: 7,
        length: 9,
        lines: 2,
        created_at: at(6),
    }
}
