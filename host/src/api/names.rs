//! What rows leave out and views show: display names and the dag_version of each run.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use lru::LruCache;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Api, error::ApiError};
use crate::{
    model::{
        ids::{DagId, Digest, QueueName, TaskId},
        spec::ComponentKind,
    },
    store::{DagRunKey, DagVersionKey, DagVersionRow},
};

/// The bundle that all dags are in.
pub const BUNDLE: &str = "component";

/// The dags and versions that `bundle_name` and `bundle_version` ask for, by the component that they came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundles {
    Any,
    One(Digest),
    /// There are none of this name.
    Unknown,
}

impl Bundles {
    pub fn asked(name: Option<&str>, version: Option<&str>) -> Self {
        if name.is_some_and(|name| name != BUNDLE) {
            return Self::Unknown;
        }
        version.map_or(Self::Any, |text| text.parse::<Digest>().map_or(Self::Unknown, Self::One))
    }

    /// The one component, if it is asked for.
    pub fn one(self) -> Option<Digest> {
        match self {
            Self::One(digest) => Some(digest),
            Self::Any | Self::Unknown => None,
        }
    }
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DagVersionResponse {
    id: Uuid,
    version_number: i64,
    dag_id: String,
    /// Always `component`.
    bundle_name: &'static str,
    /// The digest of the component that the version came with.
    bundle_version: String,
    /// Where the component can be downloaded.
    bundle_url: String,
    created_at: DateTime<Utc>,
    dag_display_name: String,
}

impl From<&DagVersionRow> for DagVersionResponse {
    fn from(row: &DagVersionRow) -> Self {
        // Each task of a dag in YAML is of another component.
        let is_yaml = row.spec.nodes.iter().all(|node| node.component.is_some());
        let kind = if is_yaml { ComponentKind::Yaml } else { ComponentKind::Wasm };
        Self {
            id: version_uuid(row.key),
            version_number: row.version_number,
            dag_id: row.dag_id.to_string(),
            bundle_name: BUNDLE,
            bundle_version: row.component.to_string(),
            bundle_url: format!("/api/v2/components/{}/{}", row.component, kind.as_str()),
            created_at: row.created_at.to_utc(),
            dag_display_name: row.spec.shown_name().to_owned(),
        }
    }
}

impl DagVersionResponse {
    pub fn dag_display_name(&self) -> &str {
        &self.dag_display_name
    }

    pub fn bundle_version(&self) -> &str {
        &self.bundle_version
    }
}

/// A number of the database as the UUID that Airflow's clients expect. Not random, but the same each time.
fn version_uuid(key: DagVersionKey) -> Uuid {
    uuid::Builder::from_custom_bytes(u128::from(key.0.unsigned_abs()).to_be_bytes()).into_uuid()
}

/// A dag_version, the tasks in it that have a name for people, and those that name a queue.
pub struct VersionNames {
    pub version: DagVersionResponse,
    task_names: BTreeMap<String, String>,
    queues: BTreeMap<String, String>,
}

impl VersionNames {
    fn new(row: &DagVersionRow) -> Self {
        let nodes = || row.spec.nodes.iter();
        let named = nodes().filter_map(|node| Some((node.task_id.clone(), node.display_name.clone()?)));
        let queued = nodes().filter_map(|node| Some((node.task_id.clone(), node.queue.clone()?)));
        Self { version: row.into(), task_names: named.collect(), queues: queued.collect() }
    }

    pub fn task(&self, task_id: &str) -> String {
        self.task_names.get(task_id).cloned().unwrap_or_else(|| task_id.to_owned())
    }
}

/// The names of the versions that were shown last: a version never changes.
pub struct NamesCache(Mutex<LruCache<DagVersionKey, Arc<VersionNames>>>);

const MOST_VERSIONS: NonZeroUsize = NonZeroUsize::new(512).expect("it is not zero");
/// Versions with more names than this are not kept.
const MOST_NAMES: usize = 500;

impl Default for NamesCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::sparse(MOST_VERSIONS)))
    }
}

impl NamesCache {
    fn get(&self, version: DagVersionKey) -> Option<Arc<VersionNames>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    fn put(&self, version: DagVersionKey, names: &Arc<VersionNames>) {
        if names.task_names.len() + names.queues.len() <= MOST_NAMES {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).put(version, Arc::clone(names));
        }
    }
}

/// The dag_versions of the runs in a list.
#[derive(Default)]
pub struct Names {
    by_version: BTreeMap<DagVersionKey, Arc<VersionNames>>,
    by_run: BTreeMap<DagRunKey, DagVersionKey>,
}

impl Names {
    /// Looks up what is needed to show rows of these versions.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn of_versions(api: &Api, versions: impl IntoIterator<Item = DagVersionKey>) -> Result<Self, ApiError> {
        let mut names = Self::default();
        for version in versions.into_iter().collect::<BTreeSet<_>>() {
            if let Some(known) = api.names.get(version) {
                names.by_version.insert(version, known);
            } else if let Some(row) = api.store.dag_version_get(version).await? {
                let found = Arc::new(VersionNames::new(&row));
                api.names.put(version, &found);
                names.by_version.insert(version, found);
            }
        }
        Ok(names)
    }

    /// Looks up what is needed to show rows of these runs.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn of_runs(api: &Api, runs: impl IntoIterator<Item = DagRunKey>) -> Result<Self, ApiError> {
        let runs: BTreeSet<_> = runs.into_iter().collect();
        let by_run = api.store.dag_run_versions_by_key(&Vec::from_iter(runs)).await?;
        let names = Self::of_versions(api, by_run.values().copied()).await?;
        Ok(Self { by_run, ..names })
    }

    pub fn version(&self, version: DagVersionKey) -> Option<&VersionNames> {
        self.by_version.get(&version).map(|names| &**names)
    }

    pub fn of_run(&self, run: DagRunKey) -> Option<&VersionNames> {
        self.by_run.get(&run).and_then(|version| self.version(*version))
    }

    pub fn dag(&self, run: DagRunKey, dag_id: &DagId) -> String {
        self.of_run(run).map_or_else(|| dag_id.to_string(), |names| names.version.dag_display_name.clone())
    }

    pub fn task(&self, run: DagRunKey, task_id: &TaskId) -> String {
        self.of_run(run).map_or_else(|| task_id.to_string(), |names| names.task(task_id.as_str()))
    }

    pub fn queue(&self, run: DagRunKey, task_id: &TaskId) -> String {
        let named = self.of_run(run).and_then(|names| names.queues.get(task_id.as_str()));
        named.cloned().unwrap_or_else(|| QueueName::DEFAULT.to_owned())
    }
}
