//! Statements that took long, for whoever looks after the server. Those of this process, whatever database they were for.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::SqlStr;

use crate::model::warning::{SLOW_STATEMENT, SLOW_STATEMENTS_KEPT, SlowStatements};

/// Of so many each is remembered; what came before them is forgotten.
const REMEMBERED: usize = 1_000;
const SHOWN_CHARS: usize = 120;

static SLOW: Mutex<Slow> = Mutex::new(Slow { statements: VecDeque::new() });

/// Slow statements of late, the oldest first.
#[derive(Debug)]
struct Slow {
    statements: VecDeque<(Instant, Duration, String)>,
}

impl Slow {
    fn add(&mut self, at: Instant, took: Duration, text: &str) {
        if self.statements.len() == REMEMBERED {
            self.statements.pop_front();
        }
        let words: Vec<_> = text.split_whitespace().collect();
        self.statements.push_back((at, took, words.join(" ").chars().take(SHOWN_CHARS).collect()));
    }

    fn of_late(&mut self, now: Instant) -> Option<SlowStatements> {
        self.statements.retain(|(at, ..)| now.saturating_duration_since(*at) < SLOW_STATEMENTS_KEPT);
        let (_, longest, statement) = self.statements.iter().max_by_key(|(_, took, _)| *took)?;
        Some(SlowStatements { count: self.statements.len() as u64, longest: *longest, statement: statement.clone() })
    }
}

/// Those of the last [`SLOW_STATEMENTS_KEPT`], if there are any.
pub fn slow_statements() -> Option<SlowStatements> {
    SLOW.lock().unwrap_or_else(PoisonError::into_inner).of_late(Instant::now())
}

/// Looks how long a statement takes, until it is dropped: waiting for a connection counts.
pub(in crate::store) struct Timed {
    begun: Instant,
    text: SqlStr,
}

impl Timed {
    pub(in crate::store) fn begin(text: &SqlStr) -> Self {
        Self { begun: Instant::now(), text: text.clone() }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        if took >= SLOW_STATEMENT {
            tracing::warn!(
                took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                statement = self.text.as_str(),
                "a statement was slow"
            );
            SLOW.lock().unwrap_or_else(PoisonError::into_inner).add(Instant::now(), took, self.text.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_statements_are_forgotten_after_a_while() {
        let mut slow = Slow { statements: VecDeque::new() };
        let start = Instant::now();
        assert_eq!(slow.of_late(start), None);
        slow.add(start, Duration::from_secs(3), "SELECT a\n    FROM b");
        slow.add(start + Duration::from_mins(1), Duration::from_secs(2), "DELETE");
        let found = slow.of_late(start + Duration::from_secs(61)).unwrap();
        assert_eq!((found.count, found.longest.as_secs(), found.statement.as_str()), (2, 3, "SELECT a FROM b"));
        let found = slow.of_late(start + SLOW_STATEMENTS_KEPT).unwrap();
        assert_eq!((found.count, found.statement.as_str()), (1, "DELETE"));
        for _ in 0..2 * REMEMBERED {
            slow.add(start, Duration::from_secs(1), "x");
        }
        assert_eq!(slow.statements.len(), REMEMBERED);
    }
}
