//! What the database can't do now is tried again, and told.

use std::time::Duration;

use crate::{model::causes::chain, store::StoreError};

/// Something that is tried until the database does it.
///
/// What is in its way is told more and more seldom: twice a second would fill what is left of a full disk.
#[derive(Debug)]
pub(super) struct Patience {
    what: &'static str,
    failures: u32,
}

impl Patience {
    pub fn new(what: &'static str) -> Self {
        Self { what, failures: 0 }
    }

    /// It failed: waits for the next try.
    pub async fn wait(&mut self, error: &StoreError, pause: Duration) {
        if self.fails() {
            tracing::error!(error = %chain(error), failures = self.failures, "{} fails, and is tried again", self.what);
        }
        tokio::time::sleep(pause).await;
    }

    /// It was done, or refused.
    pub fn over(&self) {
        if self.failures > 0 {
            tracing::warn!(failures = self.failures, "{} has an answer now", self.what);
        }
    }

    /// Counts a failure; whether it is told.
    fn fails(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures.is_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_a_day_is_told_some_times() {
        let mut patience = Patience::new("a commit");
        let told = (0..2 * 86_400).filter(|_| patience.fails()).count();
        assert_eq!((told, patience.failures), (18, 172_800));
    }
}
