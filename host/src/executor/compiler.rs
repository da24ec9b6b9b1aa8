//! The compiler: one child process for each component.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
};

use super::CompileError;
use crate::{
    model::{provenance::Provenance, spec::ModuleSpec},
    wire::{Compiled, FrameReader},
};

/// How much of a child's own words is kept.
const STDERR_BYTES: u64 = 4 << 10;

/// What a component says of itself.
#[derive(Debug)]
pub struct Described {
    pub module: ModuleSpec,
    pub provenance: Provenance,
}

/// Starts compilers, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Compiler {
    binary: PathBuf,
    timeout: Duration,
    slots: Arc<Semaphore>,
}

impl Compiler {
    pub fn new(binary: PathBuf, timeout: Duration, at_a_time: u32) -> Self {
        Self { binary, timeout, slots: Arc::new(Semaphore::new(at_a_time.max(1) as usize)) }
    }

    /// What `wasm` describes, and its code.
    pub async fn compile(&self, wasm: Bytes) -> Result<(Described, Vec<u8>), CompileError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| CompileError::Failed(format!("{what}: {error}"));
        let _slot = self.slots.acquire().await.map_err(|error| failed("no slot", &error))?;
        let mut child = Command::new(&self.binary)
            .arg0("airlock")
            .arg("compile-child")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed("its process can't be started", &error))?;
        if let Ok(answer) = tokio::time::timeout(self.timeout, converse(&mut child, &wasm)).await {
            return answer;
        }
        // Reaped here, so that a compiler's memory is free when its slot is.
        let _ = child.kill().await;
        Err(CompileError::Refused(format!(
            "the component took more than {} s to compile; make it smaller or split it",
            self.timeout.as_secs()
        )))
    }
}

async fn converse(child: &mut Child, wasm: &[u8]) -> Result<(Described, Vec<u8>), CompileError> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(CompileError::Failed("its process has no pipes".into()));
    };
    let write = async move {
        // A compiler that refuses the first bytes does not read the rest.
        let _ = stdin.write_all(wasm).await;
    };
    let read = async move {
        let mut frames = FrameReader::new(stdout);
        frames.next::<Compiled>().await
    };
    let complain = async move {
        let mut text = Vec::new();
        let mut stderr = stderr.take(STDERR_BYTES);
        let _ = stderr.read_to_end(&mut text).await;
        let _ = tokio::io::copy(stderr.get_mut(), &mut tokio::io::sink()).await;
        String::from_utf8_lossy(&text).into_owned()
    };
    let ((), answer, complaint) = tokio::join!(write, read, complain);
    let status = child.wait().await.map_err(|error| CompileError::Failed(format!("its process is gone: {error}")))?;
    match answer {
        Ok(Some(Compiled::Ready { module, provenance, code })) => {
            let unread = |error| CompileError::Failed(format!("its answer can't be read: {error}"));
            let module = serde_json::from_slice(&module).map_err(unread)?;
            let provenance = serde_json::from_slice(&provenance).map_err(unread)?;
            Ok((Described { module, provenance }, code))
        }
        Ok(Some(Compiled::Refused(why))) => Err(CompileError::Refused(why)),
        Ok(None) | Err(_) => {
            let complaint = complaint.trim();
            tracing::warn!(%status, complaint, "a compiler ended without an answer");
            Err(CompileError::Refused(
                "compiling the component took more memory or time than is allowed; make it smaller or split it".into(),
            ))
        }
    }
}
