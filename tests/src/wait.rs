//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Asks `question` until it answers something, at most for `limit`.
pub async fn until<T>(what: &str, limit: Duration, mut question: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}
