//! Runs attempts in child processes and answers what they ask for, within their grants.

mod attempt;
mod config;
mod logs;

use bytes::Bytes;

pub use attempt::{Assignment, AttemptId, AttemptResult, Completion, ExecutorEvent, RunContext};
pub use config::ExecutorConfig;
pub use logs::{LogError, LogFrom, LogLine, LogPage, Logs};

use crate::{model::spec::ModuleSpec, store::InstanceKey};

/// Why a component could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component is at fault; the text says what is wrong and what to do.
    #[error("{0}")]
    Refused(String),
    /// Airlock is at fault, or its machine; another try may help.
    #[error("the compiler did not do its work: {0}")]
    Failed(String),
}

/// Why an executor could not start.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("`{path}` can't be used for compiled code")]
    Cache {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the HTTP client for tasks can't be made")]
    Egress(#[source] reqwest::Error),
}

/// Starts, feeds and ends runners. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executor {
    logs: Logs,
}

impl Executor {
    /// Checks, compiles and describes a component in a child process, and keeps its code for the runners.
    pub async fn compile(&self, _wasm: Bytes) -> Result<ModuleSpec, CompileError> {
        Err(CompileError::Failed("the executor is being built".into()))
    }

    /// Starts attempts. Never blocks; each answers with an [`ExecutorEvent::Finished`].
    pub fn dispatch(&self, _assignments: Vec<Assignment>) {}

    /// Ends an attempt. It answers with `Killed`, unless it was over before.
    ///
    /// A caller that no longer wants the result of an attempt must kill it even if it may be over: its result is
    /// forgotten then.
    pub fn kill(&self, _id: &AttemptId) {}

    /// Forgets what is remembered of an instance's result, because it was changed by hand.
    pub fn forget_result(&self, _instance: &InstanceKey) {}

    /// The logs of all attempts.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Ends all attempts as `Lost`, stores what is left of the logs, and ends the children.
    pub async fn shutdown(&self) {}
}
