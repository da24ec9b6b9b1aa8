//! Queues: which attempts a worker takes, and how many. Airflow: the `queue` of an operator, `airflow celery worker --queues`.

use std::{collections::BTreeSet, fmt, str::FromStr};

use super::ids::QueueName;

/// Most names that a worker may serve.
const MAX_QUEUES: usize = 100;

/// The queues that a runner serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queues {
    All,
    Named(BTreeSet<QueueName>),
}

impl Queues {
    pub fn serve(&self, queue: &QueueName) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(queue),
        }
    }
}

impl Default for Queues {
    /// That of tasks that name none.
    fn default() -> Self {
        Self::Named([QueueName::default()].into())
    }
}

/// How much workers take at a time, of one or of all that serve a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Attempts.
    pub slots: u32,
    /// Memory that attempts may have together, each as much as its limit; `u64::MAX`: any.
    pub memory_mib: u64,
    /// The most memory that one attempt may have: that of the largest worker.
    pub largest_mib: u64,
}

impl Room {
    /// Of one worker. Without `memory_mib` it has any.
    pub fn of(slots: u32, memory_mib: Option<u64>) -> Self {
        let memory_mib = memory_mib.unwrap_or(u64::MAX);
        Self { slots, memory_mib, largest_mib: memory_mib }
    }

    /// Of this and another worker.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            slots: self.slots.saturating_add(other.slots),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            largest_mib: self.largest_mib.max(other.largest_mib),
        }
    }

    /// Whether one more attempt with `wanted_mib` may start beside what is taken.
    pub fn has_room(&self, taken: Taken, wanted_mib: u32) -> bool {
        let wanted = u64::from(wanted_mib);
        taken.attempts < self.slots
            && wanted <= self.largest_mib
            && taken.memory_mib.saturating_add(wanted) <= self.memory_mib
    }

    /// How much of it is taken, in thousandths: of slots or of memory, whichever is more.
    pub fn fullness(&self, taken: Taken) -> u64 {
        let of = |part: u64, all: u64| part.saturating_mul(1_000) / all.max(1);
        of(u64::from(taken.attempts), u64::from(self.slots)).max(of(taken.memory_mib, self.memory_mib))
    }

    /// How many slots `wanted` needs where each has its share of the memory: for whoever starts workers of this size.
    pub fn slots_for(&self, wanted: Taken) -> u32 {
        if self.slots == 0 || self.memory_mib == 0 || self.memory_mib == u64::MAX {
            return wanted.attempts;
        }
        let by_memory = u128::from(wanted.memory_mib) * u128::from(self.slots);
        wanted.attempts.max(u32::try_from(by_memory.div_ceil(u128::from(self.memory_mib))).unwrap_or(u32::MAX))
    }
}

/// What attempts take, or would.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub attempts: u32,
    pub memory_mib: u64,
}

impl Taken {
    /// So many attempts, each with `mib`.
    pub fn by(attempts: usize, mib: u32) -> Self {
        let attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        Self { attempts, memory_mib: u64::from(attempts) * u64::from(mib) }
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// Without what has ended.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(other.attempts),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Named(names) => f.write_str(&names.iter().map(QueueName::as_str).collect::<Vec<_>>().join(",")),
        }
    }
}

impl FromStr for Queues {
    type Err = String;

    /// Names with commas between, or `*` for all.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        let names = text.split(',').map(|name| QueueName::new(name.trim()).map_err(|error| error.to_string()));
        let names: BTreeSet<_> = names.collect::<Result<_, _>>()?;
        if names.len() > MAX_QUEUES {
            return Err(format!("{} queues are named, and at most {MAX_QUEUES} may be", names.len()));
        }
        Ok(Self::Named(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_needs_a_slot_and_its_memory_at_one_worker() {
        let two = Room::of(4, Some(1_024)).and(Room::of(4, Some(512)));
        assert_eq!(two, Room { slots: 8, memory_mib: 1_536, largest_mib: 1_024 });
        for (attempts, memory_mib, wanted, expected) in [
            (0, 0, 256, true),
            (0, 0, 1_024, true),
            // No worker is so large.
            (0, 0, 1_025, false),
            (7, 1_280, 256, true),
            (7, 1_280, 257, false),
            (8, 0, 1, false),
        ] {
            let taken = Taken { attempts, memory_mib };
            assert_eq!(two.has_room(taken, wanted), expected, "{taken:?} {wanted}");
        }
        assert!(Room::of(1, None).has_room(Taken::default(), u32::MAX));
        assert!(!Room::default().has_room(Taken::default(), 1));
    }

    #[test]
    fn fullness_and_wanted_slots_count_what_is_scarce() {
        let room = Room::of(64, Some(4_096));
        assert_eq!(room.fullness(Taken::by(16, 64)), 250);
        assert_eq!(room.fullness(Taken::by(8, 256)), 500);
        assert_eq!(Room::of(4, None).fullness(Taken::by(1, 4_096)), 250);
        // A slot's share is 64 MiB.
        assert_eq!(room.slots_for(Taken::by(10, 64)), 10);
        assert_eq!(room.slots_for(Taken::by(10, 256)), 40);
        assert_eq!(room.slots_for(Taken::by(1, 65)), 2);
        assert_eq!(Room::of(64, None).slots_for(Taken::by(10, 256)), 10);
        // Nobody is there who would say what a slot has.
        assert_eq!(Room::default().slots_for(Taken::by(10, 256)), 10);
        let both = Taken::by(2, 256).and(Taken::by(1, 8)).less(Taken::by(1, 256));
        assert_eq!(both, Taken { attempts: 2, memory_mib: 264 });
    }

    #[test]
    fn queues_are_read_as_they_are_told() {
        for (text, told) in [("*", "*"), (" * ", "*"), ("default", "default"), ("gpu, default,gpu", "default,gpu")] {
            assert_eq!(text.parse::<Queues>().unwrap().to_string(), told, "{text}");
        }
        for text in ["", "a,,b", "a b", "<script>", "*,gpu"] {
            text.parse::<Queues>().unwrap_err();
        }
        let many = (0..=MAX_QUEUES).map(|at| format!("q{at}")).collect::<Vec<_>>().join(",");
        assert!(many.parse::<Queues>().unwrap_err().contains("101 queues"));
    }

    #[test]
    fn a_queue_is_served_by_its_name_or_with_all() {
        let gpu = QueueName::new("gpu").unwrap();
        assert!(Queues::All.serve(&gpu));
        assert!(!Queues::default().serve(&gpu));
        assert!(Queues::default().serve(&QueueName::default()));
        assert!("default,gpu".parse::<Queues>().unwrap().serve(&gpu));
    }
}
