//! The graphs of dag_versions, built when a run needs one.

use std::sync::Arc;

use crate::{
    model::{
        dag::{Catalog, Dag, DagError},
        ids::Digest,
    },
    store::{DagVersionKey, DagVersionRow, Store, StoreError},
};

/// A dag_version that can be run.
#[derive(Debug)]
pub struct Version {
    pub component: Digest,
    pub dag: Arc<Dag>,
}

/// Why a version can't be run.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the dag_version or its component is not in the database")]
    Missing,
    /// It was valid for the airlock that stored it.
    #[error("the stored dag is not valid any more")]
    Invalid(#[from] DagError),
}

/// Reads a version and builds its graph.
///
/// # Errors
/// If it is not there, can't be read, or is not valid any more.
pub async fn load(store: &Store, key: DagVersionKey) -> Result<Version, VersionError> {
    let row = store.dag_version_get(key).await?.ok_or(VersionError::Missing)?;
    let dag = graph(store, &row).await?;
    Ok(Version { component: row.component, dag: Arc::new(dag) })
}

/// Builds the graph of `row`, whose entries are in the components that it names.
///
/// # Errors
/// If one of those is not there, or the dag is not valid any more.
pub async fn graph(store: &Store, row: &DagVersionRow) -> Result<Dag, VersionError> {
    let own = store.component_get(row.component).await?.ok_or(VersionError::Missing)?;
    let mut others = Vec::new();
    for digest in row.spec.used_components() {
        others.push(store.component_get(digest).await?.ok_or(VersionError::Missing)?);
    }
    let mut catalog = Catalog::new(&own.module.entries);
    for other in &others {
        catalog = catalog.with(other.digest, &other.module.entries);
    }
    Ok(Dag::from_spec(&row.spec, &catalog)?)
}
