//! Logs of attempts: what is being written and what is stored, as one list of lines.

use std::sync::Arc;

use futures_util::Stream;

use crate::store::InstanceKey;

/// One line: a JSON object without line break, as `{"timestamp": "...", "level": "info", "source": "log", "logger":
/// "module", "event": "text", ...fields}`. Airflow: `StructuredLogMessage`. Secrets are masked.
pub type LogLine = Arc<str>;

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// At this line, counted from 0.
    Line(u64),
    /// So that the last line is the last of the answer.
    Tail,
}

/// Lines that stand together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPage {
    /// The number of the first of `lines`, counted from 0.
    pub first_line: u64,
    pub lines: Vec<LogLine>,
    /// Lines that there are in all, as of now.
    pub total_lines: u64,
    /// Whether the attempt may still add lines.
    pub is_live: bool,
}

/// Why a log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log is in storage that can't be read now; try again")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a stored piece of the log is damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// All logs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Logs {}

impl Logs {
    /// At most `limit` lines of try `try_number`: stored and not yet stored alike, without gaps or duplicates.
    pub async fn read(
        &self,
        _instance: &InstanceKey,
        _try_number: u32,
        _from: LogFrom,
        _limit: usize,
    ) -> Result<LogPage, LogError> {
        Ok(LogPage::default())
    }

    /// The lines of try `try_number` from `from_line` on, in batches, and then those that are still to come; ends when
    /// the attempt has ended.
    pub fn follow(
        &self,
        _instance: InstanceKey,
        _try_number: u32,
        _from_line: u64,
    ) -> impl Stream<Item = Result<Vec<LogLine>, LogError>> + Send + 'static + use<> {
        futures_util::stream::empty()
    }
}
