//! One dag_run as a state machine, and who may start next. Pure: no I/O, no clock, no randomness.
//!
//! [`RunState`] answers each [`Event`] with [`Command`]s: what to write, what is ready, what to kill, when to wake it.
//! [`Admission`] stands above all runs: it is told what is ready and answers what may start now, so that no limit is
//! ever exceeded. The driver (room `scheduler`) does, for each event:
//!
//! ```text
//!  event ──► RunState::apply ──► Persist ──► Changes ───────────────┐
//!                │                                                  ├─► one commit ─► dispatch what was admitted
//!                ├── Ready / Withdraw / Release ──► Admission       │
//!                │                                     │ admit()    │
//!                └──◄── Event::Started / Queued ◄──────┘            │
//!                └── Run, Delete ───────────────────────────────────┘
//! ```
//!
//! States of a task instance:
//!
//! ```text
//!            rule holds           slots             started
//!  none ───────────────► scheduled ─────► (queued) ────────► running ──► success | failed | skipped
//!   │                      ▲    ▲                              │  │
//!   │ rule can't hold      │    └── up_for_reschedule ◄─ later ┘  │ failed, tries left
//!   ▼                      └─────── up_for_retry ◄────────────────┘
//!  skipped | upstream_failed | removed            clear while running: restarting ──► none
//! ```
//!
//! A try that is lost is scheduled again: at once the first time, by way of up_for_reschedule when that happens again.
//! What is scheduled goes back to none when its upstream is cleared before it has its slots.
//!
//! What it promises: the same events give the same commands; a run restored from what was persisted goes on as the
//! one that was lost; at most one attempt of an instance is in flight; an event of any other attempt changes nothing.
//! What it leaves out: which runs are created when (`model::timetable`), max_active_runs (the driver's), the database.

mod admission;
mod changes;
#[cfg(test)]
mod conformance;
mod event;
mod run;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use admission::{Admission, Admitted, Demand, Key, RunKey, Waiting};
pub use changes::Changes;
pub use event::{
    Attempt, Command, Event, InstanceChange, InstanceId, InstanceSnapshot, Outcome, RunChange, RunSnapshot, Verdict,
};
pub use run::{RunIdentity, RunState};

/// How often one try is started again because its runner was lost, before it counts as failed.
pub const MAX_RESTARTS: u32 = 5;
/// How long the second restart waits; each one after it waits twice as long.
const FIRST_RESTART_PAUSE: Duration = Duration::from_secs(1);
