//! Compiled code of components, for runners: from the cache, or compiled again from what is stored.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::{
    CompileError, Shared,
    code_cache::CodeCache,
    compiler::{Compiler, Described},
};
use crate::{
    blobs,
    model::{ids::Digest, spec::ComponentKind},
};

/// Waits between tries to read a component.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// Components that have the same one wait for each other.
const LOCKS: usize = 16;

/// Why a component has no code.
#[derive(Debug)]
pub(super) struct CodeError {
    pub message: String,
    /// Whether it may have some later.
    pub retry: bool,
}

/// Compiles, and remembers.
#[derive(Debug)]
pub(super) struct Code {
    cache: Arc<CodeCache>,
    compiler: Compiler,
    /// Held while code is made for a runner: others that want the same find it in the cache then.
    locks: [Mutex<()>; LOCKS],
}

impl Code {
    pub fn new(cache: CodeCache, compiler: Compiler) -> Self {
        Self { cache: Arc::new(cache), compiler, locks: Default::default() }
    }

    /// Compiles `wasm` and keeps its code.
    pub async fn compile(&self, wasm: Bytes) -> Result<Described, CompileError> {
        let component = digest(wasm.clone()).await;
        self.compile_as(component, wasm).await.map(|(described, _)| described)
    }

    async fn compile_as(&self, component: Digest, wasm: Bytes) -> Result<(Described, Vec<u8>), CompileError> {
        let (described, code) = self.compiler.compile(wasm).await?;
        let cache = Arc::clone(&self.cache);
        let code = on_a_thread(move || {
            cache.put(component, &code);
            code
        })
        .await;
        Ok((described, code))
    }

    /// The code of `component`, made once for all who want it now; `again`: what is in the cache is of no use.
    pub async fn get(&self, shared: &Shared, component: Digest, again: bool) -> Result<Vec<u8>, CodeError> {
        if let Some(code) = self.cached(component, again).await {
            return Ok(code);
        }
        let wasm = read(shared, component).await?;
        let _others_wait = self.locks[usize::from(component.0[0]) % LOCKS].lock().await;
        if let Some(code) = self.cached(component, false).await {
            return Ok(code);
        }
        match self.compile_as(component, wasm).await {
            Ok((_, code)) => Ok(code),
            Err(error) => Err(CodeError {
                retry: matches!(error, CompileError::Failed(_)),
                message: format!("component `{component}` can't be compiled: {error}"),
            }),
        }
    }

    /// What the cache has; `again`: what it had is forgotten.
    async fn cached(&self, component: Digest, again: bool) -> Option<Vec<u8>> {
        let cache = Arc::clone(&self.cache);
        on_a_thread(move || {
            if again {
                cache.delete(component);
            }
            cache.get(component)
        })
        .await
    }
}

/// The component's bytes, if they are what they were.
async fn read(shared: &Shared, component: Digest) -> Result<Bytes, CodeError> {
    let key = blobs::keys::component(&component, ComponentKind::Wasm);
    let mut delays = RETRY_DELAYS.iter();
    let found = loop {
        match shared.blobs.get(&key).await {
            Ok(found) => break found,
            Err(error) => {
                tracing::warn!(%component, error = &error as &dyn std::error::Error, "a component can't be read");
                let Some(delay) = delays.next() else {
                    let message = format!("component `{component}` can't be read from storage just now");
                    return Err(CodeError { message, retry: true });
                };
                tokio::time::sleep(*delay).await;
            }
        }
    };
    let damaged =
        |what: &str| CodeError { message: format!("component `{component}` {what}; upload it again"), retry: false };
    let wasm = found.ok_or_else(|| damaged("is not in storage"))?;
    if digest(wasm.clone()).await != component {
        return Err(damaged("is damaged in storage"));
    }
    Ok(wasm)
}

async fn digest(wasm: Bytes) -> Digest {
    on_a_thread(move || Digest(Sha256::digest(&wasm).into())).await
}

/// Work that reads or hashes megabytes.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work that has begun can't be cancelled; what has not is dropped with the runtime, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}
