//! What goes wrong, by chance but from a seed: the same seed gives the same faults in the same order and at the same times.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};

/// One of several of its kind, modulo how many there are.
pub type Which = usize;

/// What goes wrong, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`; it is started again after a while.
    KillServer(Which, Duration),
    KillWorker(Which, Duration),
    /// `kill -9` of the processes in which a server's tasks run.
    KillRunners(Which),
    /// SIGSTOP, and SIGCONT after a while.
    StopServer(Which, Duration),
    StopWorker(Which, Duration),
    /// The database ends at once (immediate mode), and is back after a while.
    RestartDatabase(Duration),
    /// The object store refuses connections.
    StoreOutage(Duration),
    /// Connections of a server to the database end.
    CutDatabase(Which),
    /// What a server asks the database is done, and the answers are lost; then the connections end.
    LoseAnswers(Which, Duration),
    /// Nothing passes between a server and the database for a while.
    StallDatabase(Which, Duration),
    CutStore,
    /// Connections of others to a server, among them those of workers, end.
    CutServer(Which),
    StallServer(Which, Duration),
}

impl Fault {
    /// Its kind, for people.
    pub fn kind(self) -> &'static str {
        match self {
            Self::KillServer(..) => "kill -9 of a server",
            Self::KillWorker(..) => "kill -9 of a worker",
            Self::KillRunners(_) => "kill -9 of runners",
            Self::StopServer(..) => "a server is stopped and continued",
            Self::StopWorker(..) => "a worker is stopped and continued",
            Self::RestartDatabase(_) => "restart of the database",
            Self::StoreOutage(_) => "outage of the object store",
            Self::CutDatabase(_) => "connections to the database cut",
            Self::LoseAnswers(..) => "answers of the database lost",
            Self::StallDatabase(..) => "connections to the database stalled",
            Self::CutStore => "connections to the object store cut",
            Self::CutServer(_) => "connections to a server cut",
            Self::StallServer(..) => "connections to a server stalled",
        }
    }

    /// Whether it is about several processes or PostgreSQL.
    fn needs_cluster(self) -> bool {
        match self {
            Self::RestartDatabase(_)
            | Self::CutDatabase(_)
            | Self::LoseAnswers(..)
            | Self::StallDatabase(..)
            | Self::CutServer(_)
            | Self::StallServer(..) => true,
            Self::KillServer(..)
            | Self::KillWorker(..)
            | Self::KillRunners(_)
            | Self::StopServer(..)
            | Self::StopWorker(..)
            | Self::StoreOutage(_)
            | Self::CutStore => false,
        }
    }

    /// The next, and how long after the one before.
    pub fn next(random: &mut StdRng, is_cluster: bool) -> (Duration, Self) {
        let pause = millis(random, 300..3_500);
        loop {
            let fault = Self::any(random);
            if is_cluster || !fault.needs_cluster() {
                return (pause, fault);
            }
        }
    }

    fn any(random: &mut StdRng) -> Self {
        let which = random.random_range(0..12);
        match random.random_range(0..20) {
            0..3 => Self::KillServer(which, millis(random, 50..2_000)),
            3..5 => Self::KillWorker(which, millis(random, 50..2_000)),
            5 => Self::KillRunners(which),
            6 | 7 => Self::StopServer(which, briefly_or_for_long(random)),
            8 => Self::StopWorker(which, briefly_or_for_long(random)),
            9 => Self::RestartDatabase(millis(random, 100..2_500)),
            10 => Self::StoreOutage(millis(random, 300..6_000)),
            11..13 => Self::CutDatabase(which),
            13..16 => Self::LoseAnswers(which, millis(random, 20..800)),
            16 => Self::StallDatabase(which, briefly_or_for_long(random)),
            17 => Self::CutStore,
            18 => Self::CutServer(which),
            _ => Self::StallServer(which, briefly_or_for_long(random)),
        }
    }
}

fn millis(random: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

/// For less than the lease, or for more.
fn briefly_or_for_long(random: &mut StdRng) -> Duration {
    if random.random_bool(0.6) { millis(random, 100..3_000) } else { millis(random, 11_000..15_000) }
}
