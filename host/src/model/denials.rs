//! How much of what is refused is written to the audit log: who is refused without end must not fill it.

use std::{collections::BTreeMap, time::Duration};

use super::time::Timestamp;

/// Refusals of one kind that are written in a [`WINDOW`].
const OF_ONE: u32 = 20;
/// Refusals that are written in a [`WINDOW`] altogether. No more kinds than that are remembered.
const OF_ALL: u32 = 200;
const WINDOW: Duration = Duration::from_mins(1);

/// How many refusals were written of late.
#[derive(Debug, Default)]
pub struct Denials {
    since: Timestamp,
    written: u32,
    by: BTreeMap<String, u32>,
}

impl Denials {
    /// Whether one more refusal of this kind is to be written: what was done, and by whom.
    pub fn take(&mut self, kind: &str, now: Timestamp) -> bool {
        if now.since(self.since) >= WINDOW {
            *self = Self { since: now, ..Self::default() };
        }
        if self.written >= OF_ALL {
            return false;
        }
        let of_one = self.by.entry(kind.to_owned()).or_default();
        let is_written = *of_one < OF_ONE;
        if is_written {
            *of_one += 1;
            self.written += 1;
        }
        is_written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_written_up_to_a_bound() {
        let mut denials = Denials::default();
        let start = Timestamp::from_micros(1_000_000_000);
        let written = (0..100).filter(|_| denials.take("eve", start)).count();
        assert_eq!(written, 20);
        let of_many = (0..10_000).filter(|nth| denials.take(&format!("user{nth}"), start)).count();
        assert_eq!(of_many, 180);
        assert!(denials.by.len() <= 200);
        assert!(denials.take("eve", start.after(WINDOW)));
    }
}
