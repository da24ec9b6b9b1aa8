//! How often a task is tried again, and when.

use std::time::Duration;

use super::spec::NodeSpec;

/// A task's retry settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Tries after the first.
    pub retries: u32,
    pub delay: Duration,
    /// Each wait is the one before times this; 0 or 1: constant.
    pub backoff: f64,
    pub max_delay: Option<Duration>,
}

impl Retry {
    /// # Errors
    /// If the backoff is not a number of 0 to 1,000.
    pub fn from_spec(node: &NodeSpec) -> Result<Self, String> {
        if !(0.0..=1_000.0).contains(&node.retry_backoff) {
            return Err("retry_backoff must be a number from 0 to 1000".into());
        }
        Ok(Self {
            retries: node.retries,
            delay: Duration::from_millis(node.retry_delay_ms),
            backoff: node.retry_backoff,
            max_delay: node.max_retry_delay_ms.map(Duration::from_millis),
        })
    }
}
