//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Asks `question` until it answers something, at most for `limit`. Notices it late by a tenth of the time, at most.
pub async fn until<T>(what: &str, limit: Duration, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        let pause = start.elapsed() / 10;
        tokio::time::sleep(pause.clamp(Duration::from_millis(2), Duration::from_millis(200))).await;
    }
}
