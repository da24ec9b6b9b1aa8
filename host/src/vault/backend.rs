//! What a place outside of the database must do, and what is remembered of it.

use std::{
    collections::BTreeSet,
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use lru::LruCache;

use super::ImportedConnection;
use crate::{
    model::ids::{ConnectionId, VariableKey},
    secrets::SecretString,
};

/// How long an answer is remembered, also that there is nothing.
const CACHE: Duration = Duration::from_secs(15);
const CACHED: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// Why a place can't be asked. It names what was asked for, and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't be read from {place}: {why}")]
pub struct BackendError {
    /// As `variable `city``.
    pub what: String,
    pub place: String,
    pub why: String,
}

/// Names that a place has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub variables: BTreeSet<String>,
    pub connections: BTreeSet<String>,
    /// There may be others, which it can't list.
    pub is_partial: bool,
    /// Names are listed in lower case, and stand for any.
    pub ignores_case: bool,
}

impl Found {
    /// Whether `name` is among `names`, which are of this place.
    pub fn has(&self, names: &BTreeSet<String>, name: &str) -> bool {
        names.contains(name) || (self.ignores_case && names.contains(&name.to_ascii_lowercase()))
    }
}

/// A place besides the database where variables and connections are kept. Nothing is written there.
pub trait Backend: fmt::Debug + Send + Sync {
    /// What people call it, as `files in `/run/secrets``.
    fn name(&self) -> &str;

    /// None: it has no such variable.
    fn variable<'a>(&'a self, key: &'a VariableKey) -> BoxFuture<'a, Result<Option<SecretString>, BackendError>>;

    /// None: it has no such connection.
    fn connection<'a>(
        &'a self,
        id: &'a ConnectionId,
    ) -> BoxFuture<'a, Result<Option<ImportedConnection>, BackendError>>;

    /// What it has, as far as that can be listed. Of the environment, names are told as they stand there.
    fn list(&self) -> BoxFuture<'_, Result<Found, BackendError>>;
}

type Remembered<K, T> = Mutex<LruCache<K, (Option<T>, Instant)>>;

/// A place, and what it answered of late.
#[derive(Debug)]
pub(super) struct Cached {
    backend: Box<dyn Backend>,
    variables: Remembered<VariableKey, SecretString>,
    connections: Remembered<ConnectionId, ImportedConnection>,
}

impl Cached {
    pub fn new(backend: Box<dyn Backend>) -> Self {
        Self { backend, variables: Mutex::new(LruCache::new(CACHED)), connections: Mutex::new(LruCache::new(CACHED)) }
    }

    pub fn name(&self) -> &str {
        self.backend.name()
    }

    pub async fn list(&self) -> Result<Found, BackendError> {
        self.backend.list().await
    }

    pub async fn variable(&self, key: &VariableKey) -> Result<Option<SecretString>, BackendError> {
        remembered(&self.variables, key, self.backend.variable(key)).await
    }

    pub async fn connection(&self, id: &ConnectionId) -> Result<Option<ImportedConnection>, BackendError> {
        remembered(&self.connections, id, self.backend.connection(id)).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was answered of late, or else what `ask` answers now.
async fn remembered<K: Clone + std::hash::Hash + Eq, T: Clone>(
    cache: &Remembered<K, T>,
    key: &K,
    ask: BoxFuture<'_, Result<Option<T>, BackendError>>,
) -> Result<Option<T>, BackendError> {
    let known = lock(cache).get(key).filter(|(_, at)| at.elapsed() < CACHE).cloned();
    if let Some((known, _)) = known {
        return Ok(known);
    }
    let found = ask.await?;
    lock(cache).put(key.clone(), (found.clone(), Instant::now()));
    Ok(found)
}
